//! Killed at any moment, with files that are ahead of or behind the checkpoint: the files come out
//! as if nothing had happened, and no event is missed.

use std::fs::{self, File};
use std::path::Path;

use proptest::prelude::*;
use windlass_logs::{LogEvent, Recorder};
use windlass_shim::journal::{StepResult, Stream};

use crate::journals::{Journal, check_log, files, record};

/// What is written, or what happens, in a random job.
#[derive(Debug, Clone)]
enum Act {
    Output(u8, Vec<u8>),
    Long(usize),
    Note(String),
    NextStep,
    /// A step that runs beside the others until the end.
    Beside,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        "[a-z\n]{0,200}".prop_map(String::into_bytes),
        Just(b"\x1b[3".to_vec()),
        Just(b"\n".repeat(500)),
    ];
    let act = prop_oneof![
        6 => (0u8..3, bytes).prop_map(|(stream, bytes)| Act::Output(stream, bytes)),
        1 => (60_000usize..200_000).prop_map(Act::Long),
        1 => "\\PC{0,30}".prop_map(Act::Note),
        1 => Just(Act::NextStep),
        1 => Just(Act::Beside),
    ];
    proptest::collection::vec(act, 0..30)
}

fn journal_of(acts: &[Act]) -> Journal {
    let mut journal = Journal::new();
    let (mut step, mut last) = (0, 0);
    let mut beside = Vec::new();
    journal.start(step);
    for (turn, act) in acts.iter().enumerate() {
        // All that run take turns.
        let speaker = match turn % (beside.len() + 1) {
            0 => step,
            n => beside[n - 1],
        };
        match act {
            Act::Output(stream, bytes) => {
                let stream = [Stream::Merged, Stream::Stdout, Stream::Stderr][usize::from(*stream)];
                journal.output(speaker, stream, bytes);
            }
            Act::Long(len) => journal.output(speaker, Stream::Merged, &vec![b'-'; *len]),
            Act::Note(text) => journal.note(speaker, text),
            Act::NextStep => {
                journal.end(step, 0);
                last += 1;
                step = last;
                journal.start(step);
            }
            Act::Beside => {
                last += 1;
                beside.push(last);
                journal.start_beside(last);
            }
        }
    }
    journal.end(step, 1);
    for step in beside {
        journal.end_as(step, StepResult::JobOver);
    }
    journal.finish();
    journal
}

/// What a crash leaves behind.
#[derive(Debug, Clone, Copy)]
enum Crash {
    /// Everything that was written (kill -9).
    Clean,
    /// More than was recorded: a write that was under way.
    Ahead,
    /// Files that lost their end (power loss).
    Behind(u64),
    /// A checkpoint that is no JSON.
    NoCheckpoint,
}

fn crash(dir: &Path, how: Crash) {
    let names: Vec<_> = files(dir).into_keys().collect();
    for name in names {
        let path = dir.join(name);
        let file = File::options().append(true).open(&path).unwrap();
        let len = file.metadata().unwrap().len();
        match how {
            Crash::Clean => {}
            Crash::Ahead => fs::write(
                &path,
                [fs::read(&path).unwrap(), b"\nhalf a write".to_vec()].concat(),
            )
            .unwrap(),
            Crash::Behind(by) => file.set_len(len.saturating_sub(by)).unwrap(),
            Crash::NoCheckpoint => fs::write(dir.join("recorder.json"), b"{").unwrap(),
        }
    }
}

fn crashes() -> impl Strategy<Value = Vec<(usize, usize, bool, Crash)>> {
    let how = prop_oneof![
        3 => Just(Crash::Clean),
        2 => Just(Crash::Ahead),
        1 => (1u64..3000).prop_map(Crash::Behind),
        1 => Just(Crash::NoCheckpoint),
    ];
    // After so many pushes of so many bytes, with or without a last confirmation.
    proptest::collection::vec((0usize..40, 1usize..5000, any::<bool>(), how), 0..6)
}

/// Events as a caller with idempotent handling knows them: each one once.
fn once(events: Vec<LogEvent>) -> Vec<LogEvent> {
    let mut known = Vec::new();
    for event in events {
        if !known.contains(&event) {
            known.push(event);
        }
    }
    known
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn crashes_change_nothing(acts in acts(), crashes in crashes(), piece in 100usize..100_000) {
        let journal = journal_of(&acts);
        let (smooth, rough) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = record(smooth.path(), &journal.bytes, 1 << 20).unwrap();

        let mut seen = Vec::new();
        for (pushes, piece, confirm, how) in crashes {
            let mut recorder = Recorder::open(rough.path()).unwrap();
            let from = recorder.position().offset as usize;
            for (i, bytes) in journal.bytes[from..].chunks(piece).take(pushes).enumerate() {
                seen.extend(recorder.push(bytes).unwrap());
                if confirm || i + 1 < pushes {
                    recorder.confirm().unwrap();
                }
            }
            drop(recorder);
            crash(rough.path(), how);
        }
        seen.extend(record(rough.path(), &journal.bytes, piece).unwrap());

        prop_assert!(files(rough.path()) == files(smooth.path()), "the files differ");
        prop_assert_eq!(once(seen), expected);
        for (step, log) in &journal.logs {
            check_log(rough.path(), *step, log);
        }
    }
}

#[test]
fn an_unconfirmed_event_comes_again_and_a_confirmed_one_does_not() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.output(0, Stream::Merged, b"one\n");
    journal.end(0, 0);
    let first = journal.bytes.len();
    journal.start(1);
    journal.end(1, 0);
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    let begun = recorder.push(&journal.bytes[..first]).unwrap();
    assert_eq!(begun.len(), 3);
    recorder.confirm().unwrap();
    assert_eq!(recorder.push(&journal.bytes[first..]).unwrap().len(), 2);
    drop(recorder);
    let mut recorder = Recorder::open(dir.path()).unwrap();
    assert_eq!(recorder.position().offset as usize, first);
    assert_eq!(recorder.push(&journal.bytes[first..]).unwrap().len(), 2);
    check_log(dir.path(), 0, b"one\n");
}

#[test]
fn a_long_step_is_not_derived_from_its_beginning_again() {
    let mut journal = Journal::new();
    journal.start(0);
    for _ in 0..100 {
        journal.output(0, Stream::Merged, &b"some line of output\n".repeat(5000));
    }
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &journal.bytes, 500_000).unwrap();
    let position = Recorder::open(dir.path()).unwrap().position().offset;
    assert!(position + (6 << 20) > journal.bytes.len() as u64);
    record(dir.path(), &journal.bytes, 500_000).unwrap();
    check_log(dir.path(), 0, &journal.logs[&0]);
}
