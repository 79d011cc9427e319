//! Steps that run at a time: each log is its own, whole and in order, whatever happens between.

use windlass_logs::{LogEvent, Recorder, RecorderLimits, seal};
use windlass_model::{Outcome, StopCause};
use windlass_shim::journal::{StepResult, Stream};

use crate::journals::{Journal, check_log, files, record};

/// Two in the background whose lines are torn by each other's, and steps beside them.
fn interleaved() -> Journal {
    let mut journal = Journal::new();
    journal.start_beside(0);
    journal.start_beside(1);
    journal.note(0, "ready after 0.2 s");
    for step in 2..4 {
        journal.start(step);
        for n in 0..6 {
            journal.output(0, Stream::Merged, format!("first {n} ").as_bytes());
            journal.output(1, Stream::Stdout, format!("second {n}\n").as_bytes());
            journal.output(step, Stream::Stderr, b"front");
            journal.output(0, Stream::Merged, b"line\n");
            journal.output(step, Stream::Stderr, b"\n");
        }
        journal.end(step, 0);
    }
    journal.end(1, 0);
    journal.output(0, Stream::Merged, b"bye");
    journal.end_as(0, StepResult::JobOver);
    journal.finish();
    journal
}

fn ends(events: &[LogEvent]) -> Vec<(u32, Outcome)> {
    let end = |event: &LogEvent| match event {
        LogEvent::StepEnded { step, outcome, .. } => Some((*step, outcome.clone())),
        _ => None,
    };
    events.iter().filter_map(end).collect()
}

fn passed(step: u32) -> (u32, Outcome) {
    (step, Outcome::Exited { code: 0 })
}

#[test]
fn each_step_has_its_own_log_and_end() {
    let journal = interleaved();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), &journal.bytes, 70).unwrap();
    let over = Outcome::Stopped {
        cause: StopCause::JobOver,
    };
    assert_eq!(ends(&events), [passed(2), passed(3), passed(1), (0, over)]);
    let damage = |event: &&LogEvent| matches!(event, LogEvent::Damage { .. });
    assert_eq!(events.iter().find(damage), None);
    for (step, log) in &journal.logs {
        check_log(dir.path(), *step, log);
    }
    seal(dir.path()).unwrap();
    for (step, log) in &journal.logs {
        check_log(dir.path(), *step, log);
    }
}

#[test]
fn a_restart_at_every_border_of_records_loses_and_doubles_nothing() {
    let journal = interleaved();
    let smooth = tempfile::tempdir().unwrap();
    let expected = record(smooth.path(), &journal.bytes, 1 << 20).unwrap();
    let borders = journal
        .bytes
        .iter()
        .enumerate()
        .filter_map(|(at, byte)| (*byte == b'\n').then_some(at + 1));
    for border in borders {
        for confirm in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let mut recorder = Recorder::open(dir.path()).unwrap();
            let mut events = recorder.push(&journal.bytes[..border]).unwrap();
            if confirm {
                recorder.confirm().unwrap();
            }
            drop(recorder);
            for event in record(dir.path(), &journal.bytes, 1000).unwrap() {
                if !events.contains(&event) {
                    events.push(event);
                }
            }
            assert_eq!(events, expected, "at {border}");
            assert!(
                files(dir.path()) == files(smooth.path()),
                "the files differ, at {border}"
            );
        }
    }
}

#[test]
fn a_dead_shim_ends_all_that_run() {
    let mut journal = Journal::new();
    journal.start_beside(0);
    journal.start(1);
    journal.end(1, 0);
    journal.start(2);
    journal.output(0, Stream::Merged, b"serving");
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &journal.bytes, 1000).unwrap();
    // What runs is known after a restart, too.
    let mut recorder = Recorder::open(dir.path()).unwrap();
    let events = recorder.lost("killed").unwrap();
    let lost = Outcome::Lost {
        reason: "killed".to_owned(),
    };
    assert_eq!(ends(&events), [(0, lost.clone()), (2, lost)]);
}

#[test]
fn a_missing_end_is_still_noticed() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.start_beside(1);
    journal.start(2);
    journal.finish();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), &journal.bytes, 1000).unwrap();
    let lost = |step| {
        let reason = "its end is missing in the journal".to_owned();
        (step, Outcome::Lost { reason })
    };
    assert_eq!(ends(&events), [lost(0), lost(1), lost(2)]);
}

#[test]
fn more_steps_at_a_time_than_files_are_held_open() {
    let mut journal = Journal::new();
    for step in 0..40 {
        journal.start_beside(step);
    }
    for round in 0..3 {
        for step in 0..40 {
            journal.output(step, Stream::Merged, format!("{round} {step}").as_bytes());
        }
    }
    for step in 0..40 {
        journal.end_as(step, StepResult::JobOver);
    }
    journal.finish();
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &journal.bytes, 1 << 20).unwrap();
    for (step, log) in &journal.logs {
        check_log(dir.path(), *step, log);
    }
}

#[test]
fn one_that_prints_too_much_costs_no_other_its_log() {
    let limits = RecorderLimits {
        log_bytes: 100,
        ..RecorderLimits::default()
    };
    let mut journal = Journal::new();
    journal.start_beside(0);
    journal.start(1);
    for _ in 0..50 {
        journal.output(0, Stream::Merged, b"chatter\n");
        journal.output(1, Stream::Merged, b".");
    }
    journal.end(1, 0);
    journal.end_as(0, StepResult::JobOver);
    journal.finish();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open_with(dir.path(), limits).unwrap();
    recorder.push(&journal.bytes).unwrap();
    check_log(dir.path(), 0, &journal.logs[&0][..100]);
    check_log(dir.path(), 1, &journal.logs[&1]);
}
