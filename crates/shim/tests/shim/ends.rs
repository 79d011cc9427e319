//! How steps and jobs end: exit codes, signals, timeouts, cancel.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use windlass_shim::journal::StepResult;
use windlass_shim::order::When;

use crate::attempt::{Attempt, sh, until};

#[test]
fn exit_codes_are_exact_and_a_failure_skips_the_rest() {
    for code in [1, 42, 255] {
        let steps = vec![
            sh("exit 0"),
            sh(&format!("exit {code}")),
            sh("true"),
            sh("true"),
        ];
        let journal = Attempt::new(steps).run();
        assert_eq!(
            journal.results(),
            [
                StepResult::Exited { code: 0 },
                StepResult::Exited { code },
                StepResult::Skipped,
                StepResult::Skipped,
            ]
        );
        assert_eq!(journal.began, [0, 1]);
        assert_eq!(journal.ends[3].duration_us, 0);
    }
}

#[test]
fn expected_codes_are_success_and_others_are_not() {
    let expecting = |code: i32, expect: &[i32]| {
        let mut step = sh(&format!("exit {code}"));
        step.expect = expect.to_vec();
        step
    };
    let steps = vec![
        expecting(3, &[1, 3]),
        expecting(0, &[0]),
        expecting(0, &[1]),
        sh("true"),
    ];
    assert_eq!(
        Attempt::new(steps).run().results(),
        [
            StepResult::AsExpected { code: 3 },
            StepResult::Exited { code: 0 },
            StepResult::Unexpected { code: 0 },
            StepResult::Skipped,
        ]
    );
}

#[test]
fn steps_run_as_their_conditions_say() {
    let when = |script: &str, when| {
        let mut step = sh(script);
        step.when = when;
        step
    };
    let mut left_out = sh("true");
    left_out.skip = Some("not today".to_owned());
    let early = when("true", When::Failure);
    let steps = vec![
        left_out,
        early,
        sh("exit 2"),
        sh("true"),
        when("exit 3", When::Failure),
        when("true", When::Always),
    ];
    let results = Attempt::new(steps).run().results();
    let not_needed = |reason: &str| StepResult::NotNeeded {
        reason: reason.to_owned(),
    };
    assert_eq!(
        results,
        [
            not_needed("not today"),
            not_needed("no step before it failed"),
            StepResult::Exited { code: 2 },
            StepResult::Skipped,
            StepResult::Exited { code: 3 },
            StepResult::Exited { code: 0 },
        ]
    );
}

#[test]
fn nothing_runs_after_the_job_s_time_is_over() {
    let mut always = sh("true");
    always.when = When::Always;
    let mut attempt = Attempt::new(vec![sh("sleep 60"), always]);
    attempt.order.timeout_ms = Some(300);
    attempt.order.grace_ms = 300;
    assert_eq!(
        attempt.run().results(),
        [StepResult::JobTimeout, StepResult::Skipped]
    );
}

#[test]
fn a_workdir_is_below_the_workspace() {
    let within = |folder: &str| {
        let mut step = sh("pwd");
        step.workdir = Some(folder.into());
        step
    };
    let prepare = sh("mkdir -p sub/deep; ln -s /etc out");
    let journal = Attempt::new(vec![prepare, within("sub/deep"), within("out")]).run();
    let results = journal.results();
    assert_eq!(results[1], StepResult::Exited { code: 0 });
    let StepResult::NotStarted { reason } = &results[2] else {
        panic!("{results:?}");
    };
    assert!(reason.contains("leads out of the workspace"), "{reason}");
    let output: Vec<u8> = journal
        .output
        .iter()
        .flat_map(|(_, _, bytes)| bytes.clone())
        .collect();
    assert!(
        String::from_utf8_lossy(&output)
            .trim_end()
            .ends_with("/sub/deep")
    );
}

#[test]
fn signals_are_exact_even_real_time_ones() {
    for signal in [9, 11, 15, 34, 64] {
        let journal = Attempt::new(vec![sh(&format!("kill -{signal} $$"))]).run();
        assert_eq!(journal.results(), [StepResult::Signaled { signal }]);
    }
}

#[test]
fn a_step_that_ignores_term_is_killed_after_the_grace_period() {
    let mut step = sh("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    step.timeout_ms = Some(700);
    let mut attempt = Attempt::new(vec![step, sh("true")]);
    attempt.order.grace_ms = 300;
    let begin = Instant::now();
    let journal = attempt.run();
    assert_eq!(
        journal.results(),
        [StepResult::StepTimeout, StepResult::Skipped]
    );
    assert!(begin.elapsed() >= Duration::from_secs(1));
    let notes = journal.notes_text();
    assert!(notes.contains("timed out after 0.7 s; "), "{notes}");
    assert!(notes.contains("got SIGTERM"), "{notes}");
    assert!(
        notes.contains("did not end within 0.3 s and got SIGKILL"),
        "{notes}"
    );
}

#[test]
fn what_a_step_says_on_term_is_recorded_and_it_does_not_wait_for_the_grace_period() {
    let mut step =
        sh("trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    step.timeout_ms = Some(500);
    let begin = Instant::now();
    let journal = Attempt::new(vec![step]).run();
    assert_eq!(journal.results(), [StepResult::StepTimeout]);
    assert!(
        journal.text().ends_with("cleaned up\n"),
        "{}",
        journal.text()
    );
    assert!(begin.elapsed() < Duration::from_secs(8));
}

#[test]
fn the_job_has_a_time_limit_of_its_own() {
    let mut attempt = Attempt::new(vec![sh("true"), sh("exec sleep 1000"), sh("true")]);
    attempt.order.timeout_ms = Some(600);
    let journal = attempt.run();
    assert_eq!(
        journal.results(),
        [
            StepResult::Exited { code: 0 },
            StepResult::JobTimeout,
            StepResult::Skipped,
        ]
    );
    let notes = journal.notes_text();
    assert!(
        notes.contains("the job timed out after 0.6 s; 1 process got SIGTERM"),
        "{notes}"
    );
}

#[test]
fn waiting_costs_nothing_even_when_the_jobs_time_ends_during_a_grace_period() {
    let mut step = sh("trap '' TERM; echo ready; sleep 1000 & wait; sleep 1000");
    step.timeout_ms = Some(300);
    let mut attempt = Attempt::new(vec![step]);
    attempt.order.timeout_ms = Some(500);
    attempt.order.grace_ms = 2000;
    let shim = attempt.start();
    let stat = format!("/proc/{}/stat", shim.pid());
    let mut ticks = 0;
    until("the end of the shim", || {
        let text = std::fs::read_to_string(&stat).unwrap_or_default();
        // utime and stime; a zombie keeps its last values.
        let fields: Vec<&str> = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split(' ')
            .collect();
        ticks = [12, 13]
            .iter()
            .map(|i| fields[*i].parse::<u64>().unwrap())
            .sum();
        fields[1] == "Z"
    });
    assert_eq!(shim.wait().code(), Some(0));
    assert_eq!(attempt.journal().results(), [StepResult::StepTimeout]);
    assert!(
        ticks < 50,
        "{ticks} hundredths of a second of processor time"
    );
}

#[test]
fn cancel_on_the_fifo_stops_the_job() {
    let attempt = Attempt::new(vec![
        sh("echo ready; sleep 1000 & sleep 1000; echo never"),
        sh("true"),
    ]);
    let shim = attempt.start();
    attempt.until_output("ready");
    attempt.cancel();
    assert_eq!(shim.wait().code(), Some(0));
    attempt.assert_nothing_left();
    let journal = attempt.journal();
    assert_eq!(
        journal.results(),
        [StepResult::Cancelled, StepResult::Skipped]
    );
    assert!(
        journal.notes_text().contains("cancelled; "),
        "{:?}",
        journal.notes
    );
}

#[test]
fn nonsense_on_the_fifo_is_ignored() {
    let attempt = Attempt::new(vec![sh(
        "echo ready; while [ ! -e go ]; do sleep 0.02; done",
    )]);
    let shim = attempt.start();
    attempt.until_output("ready");
    let nonsense = [vec![b'x'; 5000], b"\ncancel it\n\n\xff\n".to_vec()].concat();
    std::fs::write(attempt.dir.join("control"), nonsense).unwrap();
    std::fs::write(attempt.order.workspace.join("go"), "").unwrap();
    assert_eq!(shim.wait().code(), Some(0));
    assert_eq!(
        attempt.journal().results(),
        [StepResult::Exited { code: 0 }]
    );
}

#[test]
fn term_to_the_shim_is_cancel_and_hangup_is_nothing() {
    let attempt = Attempt::new(vec![sh("echo ready; sleep 1000")]);
    let mut shim = attempt.start();
    attempt.until_output("ready");
    let pid = Pid::from_raw(shim.pid());
    kill(pid, Signal::SIGHUP).unwrap();
    kill(pid, Signal::SIGPIPE).unwrap();
    assert!(shim.is_running());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(shim.wait().code(), Some(0));
    assert_eq!(attempt.journal().results(), [StepResult::Cancelled]);
}

#[test]
fn a_stopped_shim_takes_its_leader_along_when_it_is_killed() {
    let attempt = Attempt::new(vec![sh("echo ready; exec sleep 1000")]);
    let shim = attempt.start();
    attempt.until_output("ready");
    drop(shim);
    until("the leader's end", || attempt.left().is_empty());
}
