//! What reaches the journal, and what a program is given.

use windlass_shim::journal::{StepResult, Stream};
use windlass_shim::order::{OutputLimit, OutputMode};

use crate::attempt::{Attempt, sh};

#[test]
fn a_partial_line_is_visible_before_the_program_ends() {
    let attempt = Attempt::new(vec![sh(
        "printf 'Password: '; while [ ! -e go ]; do sleep 0.02; done; printf 'thanks'",
    )]);
    let shim = attempt.start();
    attempt.until_output("Password: ");
    std::fs::write(attempt.order.workspace.join("go"), "").unwrap();
    assert_eq!(shim.wait().code(), Some(0));
    assert_eq!(attempt.journal().text(), "Password: thanks");
}

#[test]
fn any_bytes_are_exact() {
    let attempt = Attempt::new(vec![sh("cat bytes")]);
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(attempt.order.workspace.join("bytes"), &bytes).unwrap();
    assert!(attempt.run().bytes() == bytes);
}

#[test]
fn merged_output_keeps_the_order_of_the_writes() {
    let script = "i=0; while [ $i -lt 10000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done";
    let journal = Attempt::new(vec![sh(script)]).run();
    let expected: String = (0..10_000).map(|i| format!("o{i}\ne{i}\n")).collect();
    assert!(journal.text() == expected);
    assert!(journal.output.iter().all(|(_, s, _)| *s == Stream::Merged));
}

#[test]
fn separate_streams_stay_apart() {
    let mut step = sh("i=0; while [ $i -lt 5000 ]; do echo o$i; echo e$i >&2; i=$((i+1)); done");
    step.output = OutputMode::Separate;
    let journal = Attempt::new(vec![step]).run();
    let expected = |c| (0..5000).map(|i| format!("{c}{i}\n")).collect::<String>();
    assert!(journal.stream(Stream::Stdout) == expected('o').as_bytes());
    assert!(journal.stream(Stream::Stderr) == expected('e').as_bytes());
    assert!(journal.stream(Stream::Merged).is_empty());
}

#[test]
fn a_program_may_close_its_output_and_go_on() {
    let journal = Attempt::new(vec![sh("echo a; exec >&- 2>&-; sleep 0.8; exit 7")]).run();
    assert_eq!(journal.results(), [StepResult::Exited { code: 7 }]);
    // The shim's clock starts when it hears that the program runs: on a busy machine, later.
    assert!(journal.ends[0].duration_us >= 300_000);
}

#[test]
fn a_terminal_is_one_and_leaves_newlines_alone() {
    let mut step = sh(
        "test -t 1 && test -t 2 && ! test -t 0 && stty size </dev/tty; \
                       echo \"$TERM\"; echo to the terminal >/dev/tty; cat",
    );
    step.output = OutputMode::Tty;
    let mut named = step.clone();
    named.env.insert("TERM".to_owned(), "dumb".to_owned());
    let journal = Attempt::new(vec![step, named]).run();
    assert_eq!(
        journal.text(),
        "100 160\nxterm-256color\nto the terminal\n100 160\ndumb\nto the terminal\n"
    );
}

#[test]
fn a_terminal_loses_nothing_at_its_end() {
    let mut step = sh("seq 200000; sleep 1000 &");
    step.output = OutputMode::Tty;
    let journal = Attempt::new(vec![step]).run();
    let expected: String = (1..=200_000).map(|i| format!("{i}\n")).collect();
    assert!(journal.text() == expected);
}

#[test]
fn a_program_may_leave_its_terminal_and_come_back() {
    let mut step = sh("echo a; exec >/dev/null 2>&1; sleep 0.3; echo b >/dev/tty; exit 5");
    step.output = OutputMode::Tty;
    let journal = Attempt::new(vec![step]).run();
    assert_eq!(journal.results(), [StepResult::Exited { code: 5 }]);
    assert_eq!(journal.text(), "a\nb\n");
}

#[test]
fn the_environment_is_exactly_the_orders() {
    let mut step = sh("");
    step.argv = vec!["env".to_owned(), "-0".to_owned()];
    step.env
        .insert("SHADOWED".to_owned(), "by the step".to_owned());
    step.env
        .insert("WINDLASS_ATTEMPT".to_owned(), "forged".to_owned());
    let mut attempt = Attempt::new(vec![step]).secret("SHORT", "abc");
    let env = &mut attempt.order.env;
    env.insert("SHADOWED".to_owned(), "by the order".to_owned());
    env.insert("LINES".to_owned(), "a\nb".to_owned());
    let path = env["PATH"].clone();
    let journal = attempt.run();
    let text = journal.text();
    let mut variables: Vec<&str> = text.split_terminator('\0').collect();
    variables.sort_unstable();
    assert_eq!(
        variables,
        [
            "LINES=a\nb",
            &format!("PATH={path}"),
            "SHADOWED=by the step",
            "SHORT=abc",
            &format!("WINDLASS_ATTEMPT={}", attempt.order.attempt),
        ]
    );
}

#[test]
fn a_program_gets_nothing_of_the_shims_own() {
    let script = "readlink /proc/self/fd/0; ls /proc/self/fd | wc -l; \
                  grep -E '^Sig(Blk|Ign)' /proc/self/status; pwd; \
                  ps -o sid= -p $$ | tr -d ' ' | grep -qx $$ && echo own session";
    let attempt = Attempt::new(vec![sh(script)]);
    let text = attempt.run().text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "/dev/null");
    assert_eq!(lines[1], "4", "0, 1, 2 and that of ls itself");
    assert_eq!(lines[2], "SigBlk:\t0000000000000000");
    assert_eq!(lines[3], "SigIgn:\t0000000000000000");
    assert_eq!(lines[4], attempt.order.workspace.to_str().unwrap());
    assert_eq!(lines[5], "own session");
}

fn limited(script: &str, bytes: u64, tail_bytes: u64) -> crate::attempt::Journal {
    let mut attempt = Attempt::new(vec![sh(script)]);
    attempt.order.output = Some(OutputLimit { bytes, tail_bytes });
    attempt.run()
}

#[test]
fn of_too_much_output_head_and_tail_are_kept_and_the_rest_is_counted() {
    let journal = limited("seq 1 100000; exit 7", 10_000, 1_000);
    let text = journal.text();
    let lines: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    let gap = lines
        .windows(2)
        .position(|pair| pair[0] + 1 != pair[1])
        .unwrap();
    assert_eq!((lines[0], lines[lines.len() - 1]), (1, 100_000));
    let (head, tail) = (&lines[..=gap], &lines[gap + 1..]);
    assert!(
        head.windows(2)
            .chain(tail.windows(2))
            .all(|pair| pair[0] + 1 == pair[1])
    );
    let bytes_of = |lines: &[u64]| lines.iter().map(|n| n.to_string().len() + 1).sum::<usize>();
    assert!((8_900..=9_000).contains(&bytes_of(head)));
    assert!((900..=1_000).contains(&bytes_of(tail)));
    assert_eq!(journal.results(), [StepResult::Exited { code: 7 }]);
    let whole: u64 = (1..=100_000_u64)
        .map(|n| n.to_string().len() as u64 + 1)
        .sum();
    let end = &journal.ends[0];
    assert_eq!(end.output_bytes, text.len() as u64);
    assert_eq!(end.output_bytes + end.left_out_bytes, whole);
    let left_out = 100_000 - lines.len();
    let notes = journal.notes_text();
    assert!(notes.contains(&format!("({left_out} lines)")), "{notes}");
    assert!(
        notes.contains("has reached its limit of 9.8 KiB"),
        "{notes}"
    );
}

#[test]
fn output_up_to_its_limit_is_whole() {
    for (bytes, tail) in [(588_895, 588_895), (600_000, 1_000), (589_000, 588_000)] {
        let journal = limited("seq 1 100000", bytes, tail);
        let whole: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
        assert!(journal.text() == whole, "{bytes} {tail}");
        assert_eq!(journal.ends[0].left_out_bytes, 0);
        assert!(
            !journal.notes_text().contains("were left out"),
            "{}",
            journal.notes_text()
        );
    }
    // A line without end, and both streams.
    let mut step = sh("head -c 100000 /dev/zero | tr '\\0' x; echo last >&2");
    step.output = OutputMode::Separate;
    let mut attempt = Attempt::new(vec![step]);
    attempt.order.output = Some(OutputLimit {
        bytes: 5_000,
        tail_bytes: 1_000,
    });
    let journal = attempt.run();
    assert!(
        journal.text().ends_with("last\n"),
        "{:?}",
        journal.notes_text()
    );
    assert!(journal.ends[0].output_bytes <= 5_000);
    assert_eq!(
        journal.ends[0].output_bytes + journal.ends[0].left_out_bytes,
        100_005
    );
}
