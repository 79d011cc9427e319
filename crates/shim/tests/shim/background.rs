//! Steps that run beside others: when they are ready, how they end, what is recorded of them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use windlass_shim::journal::StepResult;
use windlass_shim::order::{Background, Check, Ready, StepOrder, When};

use crate::attempt::{Attempt, Journal, sh, until};

/// A step in the background for which nobody waits.
fn beside(script: &str) -> StepOrder {
    StepOrder {
        background: Some(Background::default()),
        ..sh(script)
    }
}

/// A step in the background with a check.
fn awaited(script: &str, check: Check, timeout_ms: u64) -> StepOrder {
    StepOrder {
        background: Some(Background {
            ready: Some(Ready { check, timeout_ms }),
        }),
        ..sh(script)
    }
}

fn run_check(script: &str) -> Check {
    Check::Run(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
}

fn text_of(journal: &Journal, step: u32) -> String {
    String::from_utf8(journal.of_step(step)).unwrap()
}

const PASSED: StepResult = StepResult::Exited { code: 0 };
const LONG: u64 = 60_000;

#[test]
fn it_runs_beside_the_following_steps_and_is_stopped_after_the_last() {
    let server = "echo up > up; trap 'echo bye; exit 3' TERM; while :; do sleep 0.02; done";
    let steps = vec![
        beside(server),
        sh("while [ ! -e up ]; do sleep 0.02; done; echo one"),
        sh("echo two"),
    ];
    let journal = Attempt::new(steps).run();
    assert_eq!(journal.results(), [StepResult::JobOver, PASSED, PASSED]);
    assert!(StepResult::JobOver.is_success());
    assert_eq!(journal.began, [0, 1, 2]);
    // The shell itself may say that its `sleep` was terminated.
    assert!(text_of(&journal, 0).ends_with("bye\n"));
    assert_eq!(text_of(&journal, 1), "one\n");
    let notes = journal.notes_text();
    assert!(
        notes.contains("the steps that it served are over; "),
        "{notes}"
    );
}

#[test]
fn the_next_step_begins_when_the_port_accepts() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let server = format!(
        "import socket, time\ntime.sleep(0.7)\ns = socket.create_server(('127.0.0.1', {port}))\n\
         open('up', 'w').close()\nwhile True: s.accept()\n"
    );
    let mut step = awaited("", Check::Port(port), LONG);
    step.argv = vec!["python3".to_owned(), "-c".to_owned(), server];
    let journal = Attempt::new(vec![step, sh("ls up")]).run();
    assert_eq!(journal.results(), [StepResult::JobOver, PASSED]);
    let notes = journal.notes_text();
    assert!(
        notes.contains(&format!("port {port} accepts connections")),
        "{notes}"
    );
}

#[test]
fn the_next_step_begins_when_the_check_exits_with_0() {
    // The check runs as the step does: its variables, its folder, the secrets.
    let check = run_check(
        "echo x >> tries; [ \"$MINE\" = yes ] && [ \"$TOKEN\" = hunter2hunter2 ] && [ -e up ]",
    );
    let mut step = awaited(
        "sleep 0.5; touch up; while :; do sleep 0.02; done",
        check,
        LONG,
    );
    step.env.insert("MINE".to_owned(), "yes".to_owned());
    step.workdir = Some("sub".into());
    let steps = vec![sh("mkdir sub"), step, sh("ls sub/up; wc -l < sub/tries")];
    let journal = Attempt::new(steps).secret("TOKEN", "hunter2hunter2").run();
    assert_eq!(journal.results(), [PASSED, StepResult::JobOver, PASSED]);
    let text = text_of(&journal, 2);
    let tries: u32 = text.lines().nth(1).unwrap().trim().parse().unwrap();
    assert!(tries >= 2, "{tries}");
}

#[test]
fn what_a_check_leaves_behind_or_that_hangs_is_killed() {
    let leaves = run_check("setsid sleep 1000 & [ -e up ]");
    let step = awaited("sleep 0.3; touch up; sleep 1000", leaves, LONG);
    let journal = Attempt::new(vec![step, sh("true")]).run();
    assert_eq!(journal.results(), [StepResult::JobOver, PASSED]);

    let hangs = run_check("sleep 1000");
    let journal = Attempt::new(vec![awaited("sleep 1000", hangs, 500), sh("true")]).run();
    let StepResult::NotReady { reason } = &journal.results()[0] else {
        panic!("{journal:?}");
    };
    assert_eq!(
        reason,
        "`sleep 1000` did not succeed (it still runs) within 0.5 s"
    );
}

#[test]
fn the_next_step_begins_when_the_text_was_printed() {
    for mode in [
        windlass_shim::order::OutputMode::Merged,
        windlass_shim::order::OutputMode::Separate,
        windlass_shim::order::OutputMode::Tty,
    ] {
        // In two pieces; and the last bytes look like the beginning of a secret.
        let script = "printf 'now list'; sleep 0.3; touch up; printf 'ening on h'; sleep 1000";
        let mut step = awaited(script, Check::Output("listening on h".to_owned()), LONG);
        step.output = mode;
        let journal = Attempt::new(vec![step, sh("ls up")])
            .secret("TOKEN", "hunter2hunter2")
            .run();
        assert_eq!(journal.results(), [StepResult::JobOver, PASSED]);
        assert_eq!(text_of(&journal, 0), "now listening on h");
    }
}

#[test]
fn one_that_is_never_ready_fails_and_says_why() {
    let checks = [
        // Nobody but root can listen there, and nobody does.
        (Check::Port(9), "port 9 did not accept connections (Connec"),
        (
            run_check("exit 7"),
            "`exit 7` did not succeed (exit code 7) within 0.6 s",
        ),
        (
            Check::Output("ready".to_owned()),
            "it did not print `ready` within 0.6 s",
        ),
    ];
    for (check, words) in checks {
        let step = awaited("echo started; exec sleep 1000", check, 600);
        let mut clean = sh("echo cleaned");
        clean.when = When::Failure;
        let journal = Attempt::new(vec![step, sh("true"), clean]).run();
        let results = journal.results();
        let StepResult::NotReady { reason } = &results[0] else {
            panic!("{results:?}");
        };
        assert!(reason.starts_with(words), "{reason}");
        assert_eq!(results[1..], [StepResult::Skipped, PASSED]);
        let notes = journal.notes_text();
        assert!(notes.contains(&format!("not ready: {reason}; ")), "{notes}");
        assert_eq!(text_of(&journal, 0), "started\n");
    }
}

#[test]
fn one_that_ends_before_it_is_ready_fails() {
    for (code, result) in [
        (3, StepResult::Exited { code: 3 }),
        (0, StepResult::Unexpected { code: 0 }),
    ] {
        let begin = Instant::now();
        let script = format!("sleep 0.1; exit {code}");
        let step = awaited(&script, Check::Output("ready".to_owned()), LONG);
        let journal = Attempt::new(vec![step, sh("true")]).run();
        assert_eq!(journal.results(), [result, StepResult::Skipped]);
        let notes = journal.notes_text();
        assert_eq!(notes, "it ended before it was ready");
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}

#[test]
fn one_that_fails_by_itself_is_noticed_before_the_next_step() {
    // Not before the step in front runs.
    let fails = "while [ ! -e go ]; do sleep 0.02; done; exit 4";
    let steps = vec![
        beside(fails),
        sh("touch go; sleep 1; echo goes on"),
        sh("echo never"),
    ];
    let journal = Attempt::new(steps).run();
    assert_eq!(
        journal.results(),
        [StepResult::Exited { code: 4 }, PASSED, StepResult::Skipped]
    );
    assert_eq!(journal.text(), "goes on\n");
    // Also beside the last step; and one that ends well is no failure.
    let steps = vec![beside("true"), beside(fails), sh("touch go; sleep 1")];
    assert_eq!(
        Attempt::new(steps).run().results(),
        [PASSED, StepResult::Exited { code: 4 }, PASSED]
    );
}

#[test]
fn one_that_can_t_start_fails_the_job() {
    let mut step = beside("");
    step.argv = vec!["no-such-program".to_owned()];
    let journal = Attempt::new(vec![step, sh("true")]).run();
    let results = journal.results();
    assert!(matches!(results[0], StepResult::NotStarted { .. }));
    assert_eq!(results[1], StepResult::Skipped);
}

#[test]
fn one_that_ignores_term_is_killed_after_the_grace_period() {
    let script = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let step = awaited(script, Check::Output("up".to_owned()), LONG);
    let mut attempt = Attempt::new(vec![step, sh("true")]);
    attempt.order.grace_ms = 300;
    let journal = attempt.run();
    assert_eq!(journal.results(), [StepResult::JobOver, PASSED]);
    let notes = journal.notes_text();
    assert!(
        notes.contains("did not end within 0.3 s and got SIGKILL"),
        "{notes}"
    );
}

#[test]
fn its_tree_is_its_own_whoever_forks_beside_it() {
    // Daemons of the one in the background survive the end of each step, and the leftovers of
    // those are stopped all the same.
    let server = "setsid sh -c 'while :; do echo beat >> beats; sleep 0.02; done' & \
                  sleep 1000 & echo up; wait";
    let alive = "a=$(wc -l < beats); sleep 0.4; b=$(wc -l < beats); [ $b -gt $a ]";
    let steps = vec![
        awaited(server, Check::Output("up".to_owned()), LONG),
        sh("setsid sleep 1000 & setsid sleep 1000 & sleep 0.1"),
        sh(alive),
    ];
    let journal = Attempt::new(steps).run();
    assert_eq!(journal.results(), [StepResult::JobOver, PASSED, PASSED]);
    assert_eq!(journal.ends[1].leftovers, 2);
    assert_eq!(journal.ends[2].leftovers, 0);
}

#[test]
fn one_without_a_leader_is_over() {
    // What it leaves behind is stopped as that of any step.
    let steps = vec![
        beside("setsid sleep 1000 & true"),
        sh("sleep 0.5"),
        sh("true"),
    ];
    let journal = Attempt::new(steps).run();
    assert_eq!(journal.results(), vec![PASSED; 3]);
    assert_eq!(journal.ends[0].leftovers, 1);
}

#[test]
fn its_timeout_is_for_its_whole_life() {
    let mut step = beside("exec sleep 1000");
    step.timeout_ms = Some(1000);
    let journal = Attempt::new(vec![step, sh("sleep 2.5"), sh("true")]).run();
    assert_eq!(
        journal.results(),
        [StepResult::StepTimeout, PASSED, StepResult::Skipped]
    );
}

#[test]
fn the_job_s_timeout_is_carried_by_the_step_in_front() {
    let up = Check::Output("up".to_owned());
    let server = "echo up; exec sleep 1000";
    let mut attempt = Attempt::new(vec![
        awaited(server, up.clone(), LONG),
        sh("exec sleep 1000"),
    ]);
    attempt.order.timeout_ms = Some(1500);
    let journal = attempt.run();
    assert_eq!(
        journal.results(),
        [StepResult::JobOver, StepResult::JobTimeout]
    );
    // While it is awaited, that is itself.
    let mut attempt = Attempt::new(vec![awaited("exec sleep 1000", up, LONG), sh("true")]);
    attempt.order.timeout_ms = Some(500);
    let journal = attempt.run();
    assert_eq!(
        journal.results(),
        [StepResult::JobTimeout, StepResult::Skipped]
    );
}

#[test]
fn a_cancel_stops_both() {
    let attempt = Attempt::new(vec![
        beside("while :; do sleep 0.02; done"),
        sh("echo front; sleep 1000"),
    ]);
    let shim = attempt.start();
    attempt.until_output("front");
    attempt.cancel();
    assert_eq!(shim.wait().code(), Some(0));
    attempt.assert_nothing_left();
    assert_eq!(
        attempt.journal().results(),
        [StepResult::JobOver, StepResult::Cancelled]
    );
}

#[test]
fn two_in_the_background_and_one_in_front_lose_no_byte() {
    const LINES: u32 = 20_000;
    let lines = |letter: char| -> String {
        (0..LINES)
            .map(|n| format!("{letter} {n} \\ \u{1b}[1mbold\u{1b}[0m\n"))
            .collect()
    };
    let script = |letter: char| {
        format!(
            "import sys\nfor n in range({LINES}):\n  sys.stdout.write('{letter} %d \\\\ \\x1b[1mbold\\x1b[0m\\n' % n)\n\
             \x20 if n % 50 == 0: sys.stdout.flush()\nopen('{letter}', 'w').close()\n"
        )
    };
    let step = |letter: char, background: bool| StepOrder {
        argv: vec!["python3".to_owned(), "-c".to_owned(), script(letter)],
        background: background.then(Background::default),
        ..sh("")
    };
    let steps = vec![
        step('a', true),
        step('b', true),
        step('c', false),
        sh("while [ ! -e a ] || [ ! -e b ]; do sleep 0.02; done"),
    ];
    let journal = Attempt::new(steps).run();
    for (number, letter) in (0..).zip(['a', 'b', 'c']) {
        assert!(text_of(&journal, number) == lines(letter), "step {number}");
        assert!(journal.results()[number as usize].is_success());
    }
    let switches = journal
        .output
        .windows(2)
        .filter(|pair| pair[0].0 != pair[1].0)
        .count();
    assert!(switches > 10, "{switches}");
}

#[test]
fn a_killed_keeper_costs_its_step_and_nothing_survives() {
    let attempt = Attempt::new(vec![
        beside(
            "trap '' TERM; setsid sleep 1000 & while [ ! -e go ]; do sleep 0.02; done; \
             kill -9 $PPID; sleep 1000",
        ),
        sh("touch go; sleep 1"),
    ]);
    let journal = attempt.run();
    assert_eq!(
        journal.results(),
        [StepResult::Signaled { signal: 9 }, PASSED]
    );
}

#[test]
fn waiting_beside_one_costs_nothing() {
    let attempt = Attempt::new(vec![beside("exec sleep 1000"), sh("echo front; sleep 2")]);
    let shim = attempt.start();
    let stat = format!("/proc/{}/stat", shim.pid());
    let mut ticks = 0;
    until("the end of the shim", || {
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        let rest = text.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = rest.split(' ').collect();
        // utime and stime; a zombie keeps its last values.
        ticks = [12, 13]
            .iter()
            .map(|i| fields[*i].parse::<u64>().unwrap())
            .sum();
        fields[1] == "Z"
    });
    assert_eq!(shim.wait().code(), Some(0));
    assert!(
        ticks < 50,
        "{ticks} hundredths of a second of processor time"
    );
}
