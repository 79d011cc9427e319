//! What is recorded is what was printed, and everything else stands beside it.

use std::fs;

use windlass_logs::{
    LogError, LogEvent, LogReader, NoteKind, Recorder, RecorderLimits, Stream as LogStream,
};
use windlass_model::Outcome;
use windlass_shim::journal::Stream;

use crate::journals::{Journal, check_log, naive_rows, read_all, read_rows, record};

#[test]
fn all_kinds_of_output_are_kept_byte_for_byte() {
    let long = vec![b'x'; 10_000_000];
    let exact = [
        vec![b'y'; 65_536],
        b"\n".to_vec(),
        vec![b'z'; 65_535],
        b"\n".to_vec(),
    ]
    .concat();
    let cases: [&[u8]; 14] = [
        b"",
        b"\n",
        b"no newline at the end",
        b"a\nb\nc\n",
        b"\n\n\n",
        "gr\u{fc}\u{df}e \u{1f600}\n".as_bytes(),
        b"torn \xc3",
        b"\xff\xfe\0\0binary\x00\x01\x9b\n",
        b"10%\r20%\r100%\r\n",
        b"\x1b[31mred\x1b[0m\n",
        b"back\\slash \\n \\x41\n",
        &exact,
        &long,
        &[&long[..], b"\n"].concat(),
    ];
    for output in cases {
        for piece in [7, 4096, 1 << 20] {
            if piece < 100 && output.len() > 100_000 {
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            record(dir.path(), &Journal::of(output).bytes, piece).unwrap();
            check_log(dir.path(), 0, output);
        }
    }
    assert_eq!(naive_rows(&long).len(), 153);
}

#[test]
fn events_rows_and_notes_say_what_happened_and_when() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.output(0, Stream::Stdout, b"out ");
    journal.output(0, Stream::Stderr, b"err\nsecond\n");
    journal.note(0, "2 processes were left");
    journal.end(0, 3);
    journal.finish();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), &journal.bytes, 10).unwrap();
    let t = 1_764_000_000_000_000;
    assert_eq!(
        events,
        [
            LogEvent::JobStarted {
                time_us: t + 1,
                limits: "cgroup".to_owned(),
                pid: 812
            },
            LogEvent::StepStarted {
                step: 0,
                time_us: t + 2
            },
            LogEvent::StepEnded {
                step: 0,
                time_us: t + 6,
                outcome: Outcome::Exited { code: 3 },
                duration_us: 55,
                output_bytes: 15,
                leftovers: 0
            },
            LogEvent::JobEnded { time_us: t + 7 },
        ]
    );
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    let rows = read_rows(&mut reader);
    // A row has the time and the stream of its first byte.
    assert_eq!(
        (rows[0].time_us, rows[0].stream),
        (t + 3, LogStream::Stdout)
    );
    assert_eq!(
        (rows[1].time_us, rows[1].stream),
        (t + 4, LogStream::Stderr)
    );
    let notes = reader.notes();
    assert_eq!(
        (notes[0].row, notes[0].offset, notes[0].time_us),
        (2, 15, t + 5)
    );
    assert_eq!(notes[0].kind.text(), "2 processes were left");
    assert!(!notes[0].kind.is_loss());
    assert_eq!(notes.len(), 2);
    let end = reader.end().unwrap();
    assert_eq!((end.log_bytes, end.duration_us), (15, 55));
    assert!(reader.is_complete() && !reader.is_sealed());
}

#[test]
fn a_live_log_is_readable_after_every_push() {
    let mut journal = Journal::new();
    journal.start(0);
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    assert!(reader.is_empty() && reader.rows() == 0 && !reader.is_complete());
    let mut pushed = 0;
    for text in ["one", " two\nthr", "ee\n"] {
        journal.output(0, Stream::Merged, text.as_bytes());
        recorder.push(&journal.bytes[pushed..]).unwrap();
        pushed = journal.bytes.len();
        assert!(reader.refresh().unwrap());
        assert!(!reader.refresh().unwrap());
        assert_eq!(read_all(&mut reader), journal.logs[&0]);
        check_log(dir.path(), 0, &journal.logs[&0]);
    }
    assert!(!reader.is_complete());
    assert!(matches!(
        Recorder::open(dir.path()),
        Err(LogError::InUse { .. })
    ));
    journal.end(0, 0);
    recorder.push(&journal.bytes[pushed..]).unwrap();
    assert!(reader.refresh().unwrap());
    assert!(reader.is_complete());
}

#[test]
fn steps_that_never_ran_and_folders_that_do_not_exist_read_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().to_owned(), dir.path().join("none")] {
        let mut reader = LogReader::open(&path, 7).unwrap();
        assert!(reader.is_empty() && !reader.is_complete() && reader.notes().is_empty());
        assert!(reader.tail_rows(5).unwrap().is_empty());
        assert!(reader.row(0).unwrap().is_none());
        assert_eq!(reader.read_at(0, &mut [0; 9]).unwrap(), 0);
    }
    assert!(!dir.path().join("none").exists());
}

#[test]
fn a_gap_is_visible_in_the_log_and_to_the_caller() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.output(0, Stream::Merged, b"one\n");
    let before = journal.bytes.len();
    journal.output(0, Stream::Merged, b"lost\n");
    let after = journal.bytes.len();
    journal.output(0, Stream::Merged, b"three\n");
    journal.end(0, 0);
    journal.finish();
    let holed = [
        &journal.bytes[..before],
        b"rubbish\n",
        &journal.bytes[after..],
    ]
    .concat();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), &holed, 1 << 20).unwrap();
    let damages = events
        .iter()
        .filter(|e| matches!(e, LogEvent::Damage { .. }))
        .count();
    // The unreadable line, the gap, the missing bytes of the step, the checksum.
    assert_eq!(damages, 4);
    check_log(dir.path(), 0, b"one\nthree\n");
    let reader = LogReader::open(dir.path(), 0).unwrap();
    let losses: Vec<_> = reader.notes().iter().filter(|n| n.kind.is_loss()).collect();
    assert_eq!(losses.len(), 4);
    assert_eq!((losses[0].row, losses[0].offset), (1, 4));
    assert!(losses[1].kind.text().contains("records 3 to 3"));
    assert_eq!(
        losses[2].kind.text(),
        "the step wrote 15 bytes of output, 10 arrived"
    );
}

#[test]
fn a_gap_over_the_border_of_steps_ends_one_and_begins_the_other_visibly() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.output(0, Stream::Merged, b"one\n");
    let before = journal.bytes.len();
    journal.end(0, 0);
    journal.start(1);
    let after = journal.bytes.len();
    journal.output(1, Stream::Merged, b"two\n");
    journal.end(1, 0);
    journal.finish();
    let holed = [&journal.bytes[..before], &journal.bytes[after..]].concat();
    let dir = tempfile::tempdir().unwrap();
    let events = record(dir.path(), &holed, 50).unwrap();
    let lost = |step| {
        events.iter().any(|e| {
            matches!(e, LogEvent::StepEnded { step: s, outcome: Outcome::Lost { .. }, .. } if *s == step)
        })
    };
    assert!(lost(0) && !lost(1));
    assert!(
        events
            .iter()
            .any(|e| matches!(e, LogEvent::StepStarted { step: 1, .. }))
    );
    for (step, text) in [(0, "one\n"), (1, "two\n")] {
        check_log(dir.path(), step, text.as_bytes());
        let reader = LogReader::open(dir.path(), step).unwrap();
        assert!(reader.is_complete());
        assert!(reader.notes().iter().any(|note| note.kind.is_loss()));
    }
}

#[test]
fn a_job_whose_shim_died_has_a_visible_end() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.output(0, Stream::Merged, b"working");
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    recorder.push(&journal.bytes).unwrap();
    recorder
        .push(b"5 1764000000000009 O 0 m half a rec")
        .unwrap();
    let events = recorder.lost("the machine went down").unwrap();
    assert!(matches!(
        &events[..],
        [LogEvent::StepEnded {
            step: 0,
            outcome: Outcome::Lost { .. },
            output_bytes: 7,
            ..
        }]
    ));
    assert!(recorder.is_ended());
    assert!(recorder.lost("again").unwrap().is_empty());
    // Not confirmed, so it is told again after a crash.
    drop(recorder);
    let mut recorder = Recorder::open(dir.path()).unwrap();
    assert_eq!(recorder.position().offset, 0);
    recorder.push(&journal.bytes).unwrap();
    assert_eq!(recorder.lost("the machine went down").unwrap(), events);
    recorder.confirm().unwrap();
    drop(recorder);
    let mut recorder = Recorder::open(dir.path()).unwrap();
    assert!(recorder.is_ended());
    assert!(matches!(recorder.push(b"x"), Err(LogError::Closed { .. })));
    let reader = LogReader::open(dir.path(), 0).unwrap();
    assert!(reader.is_complete());
    let last = reader.notes().last().unwrap();
    assert!(last.kind.is_loss() && last.kind.text().contains("the machine went down"));
    check_log(dir.path(), 0, b"working");
}

#[test]
fn a_full_log_says_so_and_says_how_much_is_missing() {
    let output = b"0123456789\n".repeat(1000);
    for (limits, kept) in [
        (
            RecorderLimits {
                log_bytes: 5005,
                rows: u64::MAX,
            },
            5005,
        ),
        (
            RecorderLimits {
                log_bytes: 1 << 30,
                rows: 10,
            },
            110,
        ),
    ] {
        let journal = Journal::of(&output);
        let dir = tempfile::tempdir().unwrap();
        let mut recorder = Recorder::open_with(dir.path(), limits).unwrap();
        let mut ended = None;
        for piece in journal.bytes.chunks(999) {
            for event in recorder.push(piece).unwrap() {
                if let LogEvent::StepEnded {
                    outcome,
                    output_bytes,
                    ..
                } = event
                {
                    ended = Some((outcome, output_bytes));
                }
            }
        }
        assert_eq!(ended, Some((Outcome::Exited { code: 0 }, 11_000)));
        check_log(dir.path(), 0, &output[..kept]);
        let reader = LogReader::open(dir.path(), 0).unwrap();
        let dropped = output.len() as u64 - kept as u64;
        assert!(matches!(
            [&reader.notes()[0].kind, &reader.notes()[1].kind],
            [NoteKind::Full { .. }, NoteKind::Dropped { bytes }] if *bytes == dropped
        ));
        assert_eq!(reader.end().unwrap().dropped_bytes, dropped);
    }
}

#[test]
fn a_flood_of_rubbish_fills_neither_disk_nor_store() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    let rubbish = b"what is this\n0 1 S 4000000000\n".repeat(50_000);
    let events = recorder.push(&rubbish).unwrap();
    assert_eq!(events.len(), 1000);
    let mut reader = LogReader::open(dir.path(), 0).unwrap();
    assert_eq!(reader.notes().len(), 1001);
    assert_eq!(reader.notes()[1000].kind, NoteKind::TooManyNotes);
    assert!(read_all(&mut reader).is_empty());
    assert!(fs::read_dir(dir.path()).unwrap().count() < 5);
}

#[test]
fn a_full_disk_is_told_and_recording_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", dir.path().join("0.log")).unwrap();
    let journal = Journal::of(b"x\n");
    let error = recorder.push(&journal.bytes).unwrap_err();
    assert!(error.is_disk_full());
    assert!(error.to_string().contains("0.log"), "{error}");
    // What is known and what is in the files differ now: only a new start puts that right.
    assert!(matches!(recorder.push(b""), Err(LogError::Closed { .. })));
    assert!(matches!(recorder.confirm(), Err(LogError::Closed { .. })));
    fs::remove_file(dir.path().join("0.log")).unwrap();
    drop(recorder);
    record(dir.path(), &journal.bytes, 100).unwrap();
    check_log(dir.path(), 0, b"x\n");
}

#[test]
fn a_job_lost_between_two_steps_says_so_in_the_last_log() {
    let mut journal = Journal::new();
    journal.start(0);
    journal.end(0, 0);
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::open(dir.path()).unwrap();
    recorder.push(&journal.bytes).unwrap();
    assert!(recorder.lost("killed").unwrap().is_empty());
    assert!(recorder.is_ended());
    let reader = LogReader::open(dir.path(), 0).unwrap();
    assert_eq!(reader.notes()[1].kind.text(), "the job was lost: killed");
}

#[test]
fn a_viewer_beside_the_recorder_sees_whole_rows_at_every_moment_and_through_sealing() {
    let line = |i: usize| format!("line {i} {}\n", "=".repeat(i * 37 % 90));
    let mut journal = Journal::new();
    journal.start(0);
    for part in 0..300 {
        let lines: String = (part * 100..part * 100 + 100).map(line).collect();
        journal.output(0, Stream::Merged, lines.as_bytes());
    }
    journal.end(0, 0);
    journal.finish();
    let dir = tempfile::tempdir().unwrap();
    let log = &journal.logs[&0];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            record(dir.path(), &journal.bytes, 3000).unwrap();
            windlass_logs::seal(dir.path()).unwrap();
        });
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reader = LogReader::open(dir.path(), 0).unwrap();
                let (mut seen, mut next_row) = (Vec::new(), 0);
                while !reader.is_sealed() {
                    let complete = reader.is_complete();
                    let before = reader.len();
                    reader
                        .copy_to(seen.len() as u64..u64::MAX, &mut seen)
                        .unwrap();
                    assert_eq!(seen.len() as u64, before);
                    assert!(log.starts_with(&seen));
                    assert!(!complete || seen.len() == log.len());
                    for row in reader.row_range(next_row, 100_000).unwrap() {
                        let end = (row.offset + row.len) as usize;
                        assert_eq!(
                            log[row.offset as usize..end],
                            line(next_row as usize).into_bytes()
                        );
                        next_row += 1;
                    }
                    reader.refresh().unwrap();
                }
                reader
                    .copy_to(seen.len() as u64..u64::MAX, &mut seen)
                    .unwrap();
                assert!(&seen == log);
                assert_eq!(reader.rows(), 30_000);
            });
        }
    });
}
