//! A sealed log is the same log, at every moment of sealing.

use std::fs;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use windlass_logs::{LogError, LogReader, Recorder, seal};
use windlass_shim::journal::Stream;

use crate::journals::{Journal, check_log, files, read_all, record};

fn text(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|i| format!("line {i} of {}\n", i * 7919 % 1000).into_bytes())
        .collect()
}

/// A job with a large log, a small one, and one of an empty step.
fn job() -> Journal {
    let mut journal = Journal::new();
    for (step, lines) in [(0, 60_000), (1, 10), (2, 0)] {
        journal.start(step);
        for part in text(lines).chunks(100_000) {
            journal.output(step, Stream::Merged, part);
        }
        journal.end(step, 0);
    }
    journal.finish();
    journal
}

fn check_all(dir: &Path, journal: &Journal) {
    for (step, log) in &journal.logs {
        check_log(dir, *step, log);
    }
}

#[test]
fn a_sealed_log_reads_as_before_and_every_zstd_tool_decodes_it() {
    let journal = job();
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &journal.bytes, 1 << 16).unwrap();
    let mut open_before = LogReader::open(dir.path(), 0).unwrap();
    let sealed = seal(dir.path()).unwrap();
    assert_eq!(sealed.len(), 3);
    let meta = &sealed[0].meta;
    let log = &journal.logs[&0];
    assert_eq!((meta.bytes, meta.rows), (log.len() as u64, 60_000));
    assert_eq!(meta.sha256, hex::encode(Sha256::digest(log)));
    assert!(meta.losses.is_empty() && meta.end.as_ref().unwrap().outcome.is_success());
    assert!(meta.first_us.unwrap() < meta.last_us.unwrap());
    assert!(meta.stored_bytes * 3 < meta.bytes);
    let names: Vec<_> = files(dir.path()).into_keys().collect();
    assert_eq!(
        names,
        [
            "0.idx.zst",
            "0.json",
            "0.log.zst",
            "0.notes",
            "1.idx",
            "1.json",
            "1.log",
            "1.notes",
            "2.json",
            "2.notes"
        ]
    );
    check_all(dir.path(), &journal);
    // A reader from before goes on, with or without looking again.
    assert!(!open_before.is_sealed());
    assert_eq!(&read_all(&mut open_before), log);
    assert!(open_before.refresh().unwrap() && open_before.is_sealed());
    assert_eq!(&read_all(&mut open_before), log);
    assert_eq!(open_before.meta(), Some(meta));

    let tool = Command::new("zstd")
        .args(["-dc", "0.log.zst"])
        .current_dir(dir.path())
        .output()
        .expect("this test needs the zstd tool: apt-get install zstd");
    assert!(
        tool.status.success(),
        "{}",
        String::from_utf8_lossy(&tool.stderr)
    );
    assert!(&tool.stdout == log, "zstd decodes something else");

    let before = files(dir.path());
    assert_eq!(seal(dir.path()).unwrap(), sealed);
    assert!(files(dir.path()) == before);
}

#[test]
fn a_crash_at_any_point_of_sealing_leaves_readable_logs() {
    let journal = job();
    let recorded = tempfile::tempdir().unwrap();
    record(recorded.path(), &journal.bytes, 1 << 16).unwrap();
    let raw = files(recorded.path());
    let finished = tempfile::tempdir().unwrap();
    record(finished.path(), &journal.bytes, 1 << 16).unwrap();
    let sealed = seal(finished.path()).unwrap();
    let end = files(finished.path());
    // The names in the order in which sealing makes (+) and removes (-) them, with the files that
    // it writes first under another name.
    let acts = [
        "+0.log.zst.tmp",
        "+0.log.zst",
        "+0.idx.zst",
        "+0.json.tmp",
        "+0.json",
        "-0.log",
        "-0.idx",
        "+1.json",
    ];
    for done in 0..=acts.len() {
        let dir = tempfile::tempdir().unwrap();
        for (name, contents) in &raw {
            fs::write(dir.path().join(name), contents).unwrap();
        }
        for act in &acts[..done] {
            let path = dir.path().join(&act[1..]);
            match &act[..1] {
                "-" => fs::remove_file(path).unwrap(),
                _ if act.ends_with(".tmp") => fs::write(path, b"half").unwrap(),
                _ => fs::write(path, &end[&act[1..]]).unwrap(),
            }
        }
        check_all(dir.path(), &journal);
        assert_eq!(seal(dir.path()).unwrap(), sealed);
        check_all(dir.path(), &journal);
        let mut left = files(dir.path());
        left.retain(|name, _| !name.ends_with(".tmp"));
        assert!(left == end, "after {done} acts: {:?}", left.keys());
    }
}

#[test]
fn what_does_not_fit_is_not_sealed_and_a_recorder_repairs_it() {
    let journal = job();
    let dir = tempfile::tempdir().unwrap();
    record(dir.path(), &journal.bytes, 1 << 16).unwrap();
    let path = dir.path().join("0.log");
    fs::write(&path, b"short").unwrap();
    assert!(matches!(
        seal(dir.path()),
        Err(LogError::Length { found: 5, .. })
    ));
    record(dir.path(), &journal.bytes, 1 << 16).unwrap();
    seal(dir.path()).unwrap();
    check_all(dir.path(), &journal);
}

#[test]
fn nothing_is_sealed_under_a_recorder_and_nothing_recorded_into_a_sealed_log() {
    let journal = job();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    recorder.push(&journal.bytes).unwrap();
    assert!(matches!(seal(dir.path()), Err(LogError::InUse { .. })));
    recorder.confirm().unwrap();
    drop(recorder);
    seal(dir.path()).unwrap();
    let recorder = Recorder::open(dir.path()).unwrap();
    assert!(recorder.is_ended());
    assert_eq!(recorder.position().offset, journal.bytes.len() as u64);
    drop(recorder);
    // Without the checkpoint it would have to start over: never, the journal may be gone.
    fs::remove_file(dir.path().join("recorder.json")).unwrap();
    assert!(matches!(
        Recorder::open(dir.path()),
        Err(LogError::Sealed { .. })
    ));
    check_all(dir.path(), &journal);
    let empty = tempfile::tempdir().unwrap();
    assert!(seal(&empty.path().join("none")).unwrap().is_empty());
}

#[test]
fn a_log_with_gaps_is_sealed_with_them() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.output(0, Stream::Merged, b"one\n");
    let bytes = [&journal.bytes[..], b"rubbish\n"].concat();
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    recorder.push(&bytes).unwrap();
    recorder.lost("killed").unwrap();
    recorder.confirm().unwrap();
    drop(recorder);
    let sealed = seal(dir.path()).unwrap();
    assert_eq!(sealed[0].meta.losses.len(), 2);
    let reader = LogReader::open(dir.path(), 0).unwrap();
    assert!(reader.is_complete() && reader.is_sealed());
    assert_eq!(reader.notes().len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn sealed_and_raw_reads_are_the_same_everywhere(
        seed in any::<u32>(),
        ranges in proptest::collection::vec((0u64..1_300_000, 0usize..700_000), 1..20),
    ) {
        let mut state = seed;
        let output: Vec<u8> = (0..1_200_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 24 < 4 { b'\n' } else { b'a' + (state >> 29) as u8 }
            })
            .collect();
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), &Journal::of(&output).bytes, 1 << 18).unwrap();
        let mut raw = LogReader::open(dir.path(), 0).unwrap();
        seal(dir.path()).unwrap();
        let mut sealed = LogReader::open(dir.path(), 0).unwrap();
        for (from, len) in ranges {
            let (mut a, mut b) = (vec![1; len], vec![2; len]);
            let n = raw.read_at(from, &mut a).unwrap();
            prop_assert_eq!(n, len.min(output.len().saturating_sub(from as usize)));
            prop_assert_eq!(sealed.read_at(from, &mut b).unwrap(), n);
            prop_assert!(a[..n] == b[..n]);
            let mut copied = Vec::new();
            sealed.copy_to(from..from + len as u64, &mut copied).unwrap();
            prop_assert!(copied == a[..n]);
            prop_assert_eq!(raw.row_at_offset(from).unwrap(), sealed.row_at_offset(from).unwrap());
        }
    }
}
