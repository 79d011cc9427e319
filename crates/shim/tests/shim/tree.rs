//! Whole trees: whatever a step starts, nothing of it outlives the step.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use windlass_shim::journal::StepResult;
use windlass_shim::order::OutputMode;

use crate::attempt::{Attempt, sh};

#[test]
fn daemons_that_a_step_leaves_behind_are_stopped_and_counted() {
    for script in [
        "nohup setsid sleep 1000 >/dev/null 2>&1 & echo $!",
        "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; echo away",
        "sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & sleep 1000 & echo five",
    ] {
        let attempt = Attempt::new(vec![sh(script), sh("echo next")]);
        let begin = Instant::now();
        let journal = attempt.run();
        assert_eq!(journal.results(), vec![StepResult::Exited { code: 0 }; 2]);
        let leftovers = journal.ends[0].leftovers;
        let expected = if script.ends_with("five") {
            5..=5
        } else {
            1..=3
        };
        assert!(expected.contains(&leftovers), "{leftovers} of {script}");
        let notes = journal.notes_text();
        assert!(notes.contains("left running and w"), "{notes}");
        assert!(!notes.contains("SIGKILL"), "{notes}");
        assert!(begin.elapsed() < Duration::from_secs(30));
        assert_eq!(journal.ends[1].leftovers, 0);
    }
}

#[test]
fn leftovers_that_ignore_term_are_killed() {
    let script = "sh -c 'trap \"\" TERM HUP; touch ready; while :; do sleep 0.05; done' & \
                  while [ ! -e ready ]; do sleep 0.02; done";
    let mut attempt = Attempt::new(vec![sh(script)]);
    attempt.order.grace_ms = 200;
    let journal = attempt.run();
    assert_eq!(journal.results(), [StepResult::Exited { code: 0 }]);
    assert!(journal.ends[0].leftovers >= 1);
    let notes = journal.notes_text();
    assert!(notes.contains("needed SIGKILL"), "{notes}");
}

#[test]
fn what_ends_by_itself_in_a_moment_is_no_leftover_and_loses_nothing() {
    let mut step = sh("");
    step.argv = [
        "bash",
        "-c",
        "exec > >(cat; sleep 0.03; echo last); echo first",
    ]
    .map(str::to_owned)
    .to_vec();
    let journal = Attempt::new(vec![step]).run();
    assert_eq!(journal.text(), "first\nlast\n");
    assert_eq!(journal.ends[0].leftovers, 0);
    assert!(journal.notes.is_empty(), "{:?}", journal.notes);
}

#[test]
fn a_background_child_that_holds_the_pipe_does_not_hold_the_step() {
    let begin = Instant::now();
    let journal = Attempt::new(vec![sh("sleep 1000 & echo done")]).run();
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert_eq!(journal.text(), "done\n");
    assert_eq!(journal.ends[0].leftovers, 1);
    assert_eq!(
        journal.notes,
        [(0, "1 process was left running and was stopped".to_owned())]
    );
    assert!(journal.ends[0].duration_us < 10_000_000);
}

#[test]
fn a_process_outside_the_tree_that_holds_the_pipe_is_waited_for_one_second() {
    let attempt = Attempt::new(vec![sh(
        "echo $$; while [ ! -e held ]; do sleep 0.02; done; echo last",
    )]);
    let shim = attempt.start();
    attempt.until_output("\n");
    let pid = String::from_utf8(attempt.output_so_far()).unwrap();
    let pipe = fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{}/fd/1", pid.trim()))
        .unwrap();
    fs::write(attempt.order.workspace.join("held"), "").unwrap();
    assert_eq!(shim.wait().code(), Some(0));
    drop(pipe);
    let journal = attempt.journal();
    assert!(journal.text().ends_with("last\n"));
    let notes = journal.notes_text();
    assert!(
        notes.contains("outside this step holds its output open"),
        "{notes}"
    );
}

#[test]
fn hundreds_of_children_in_sessions_of_their_own_get_term_and_kill() {
    let script = "i=0; while [ $i -lt 150 ]; do \
                    setsid sh -c 'trap \"\" TERM; while :; do sleep 100; done' & i=$((i+1)); \
                  done; sleep 1000 & echo ready; wait";
    let mut attempt = Attempt::new(vec![sh(script)]);
    attempt.order.grace_ms = 500;
    let shim = attempt.start();
    attempt.until_output("ready");
    attempt.cancel();
    assert_eq!(shim.wait().code(), Some(0));
    attempt.assert_nothing_left();
    assert_eq!(attempt.journal().results(), [StepResult::Cancelled]);
}

#[test]
fn a_process_that_forks_and_exits_in_a_circle_is_caught() {
    // No two looks through /proc see the same process.
    let comet = "$SIG{TERM} = 'IGNORE'; $| = 1; print qq(ready\\n); \
                 while (1) { my $p = fork; exit 0 if $p; setpgrp; }";
    let mut step = sh("");
    step.argv = ["perl", "-e", comet].map(str::to_owned).to_vec();
    step.output = OutputMode::Merged;
    let mut attempt = Attempt::new(vec![step]);
    attempt.order.grace_ms = 300;
    let journal = attempt.run();
    assert_eq!(journal.results(), [StepResult::Exited { code: 0 }]);
    assert!(journal.ends[0].leftovers > 0);
}

#[test]
fn a_fork_bomb_is_outrun() {
    // Grows to 300 processes, each of which replaces whatever dies.
    let bomb = "$SIG{TERM} = 'IGNORE'; $SIG{CHLD} = 'IGNORE'; $| = 1; print qq(ready\\n); \
                for (1..300) { my $p = fork; if (!$p) { while (1) { \
                    my $q = fork; select(undef,undef,undef,0.02); exit 0 if $q; } } } sleep 1000";
    let mut step = sh("");
    step.argv = ["perl", "-e", bomb].map(str::to_owned).to_vec();
    step.timeout_ms = Some(1500);
    let mut attempt = Attempt::new(vec![step]);
    attempt.order.grace_ms = 200;
    let journal = attempt.run();
    assert_eq!(journal.results(), [StepResult::StepTimeout]);
    assert!(
        !journal.notes_text().contains("could not be killed"),
        "{:?}",
        journal.notes
    );
}

#[test]
fn the_shim_works_as_pid_1() {
    let parent = "sed -n 's/^PPid:\t*//p' /proc/$PPID/status";
    let script = format!("setsid sleep 1000 & {parent}");
    let attempt = Attempt::new(vec![sh(&script), sh("echo next")]);
    attempt.place();
    let output = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc"])
        .arg(env!("CARGO_BIN_EXE_windlass-shim"))
        .arg("run")
        .arg(&attempt.dir)
        .stdin(Stdio::null())
        .output()
        .expect("unshare is in util-linux: apt-get install util-linux");
    assert!(
        output.status.success(),
        "a pid namespace needs root (run the tests as root): {output:?}"
    );
    let journal = attempt.journal();
    assert_eq!(journal.text(), "1\nnext\n");
    assert_eq!(journal.started.pid, 1);
    assert_eq!(journal.ends[0].leftovers, 1);
    attempt.assert_nothing_left();
}
