//! Any bytes as a shim's journal: read in any pieces they say the same; recorded, they make logs that
//! can be read, row by row what they are as a whole, and the same again after sealing.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use windlass_logs::{LogReader, Recorder, RecorderLimits, seal};
use windlass_shim::journal::{Decoder, Encoder, Record, Stream, parse_line, unescape};

/// What is read of one step: all bytes, and how many rows.
fn read(dir: &Path, step: u32) -> (Vec<u8>, u64) {
    let mut reader = LogReader::open(dir, step).expect("a log that we wrote can be opened");
    let mut whole = Vec::new();
    let range = 0..u64::MAX;
    reader
        .copy_to(range, &mut whole)
        .expect("and read from begin to end");
    let (mut joined, mut bytes) = (Vec::new(), Vec::new());
    for row in reader.row_range(0, 100_000).expect("and row by row") {
        reader.row_bytes(&row, &mut bytes).expect("each of them");
        joined.extend_from_slice(&bytes);
    }
    assert!(joined == whole || reader.rows() > 100_000);
    (whole, reader.rows())
}

/// Records `journal` in pieces, and again from where a new recorder would go on.
fn record(dir: &Path, journal: &[u8], piece: usize) {
    let limits = RecorderLimits {
        log_bytes: 4096,
        rows: 256,
    };
    let mut recorder = Recorder::open_with(dir, limits).expect("a new folder");
    for piece in journal.chunks(piece) {
        if recorder.push(piece).is_err() {
            break;
        }
        let _ = recorder.confirm();
    }
    drop(recorder);
    // Whoever comes after a crash takes the journal up again.
    let mut recorder = Recorder::open_with(dir, limits).expect("the same folder");
    let from = (recorder.position().offset as usize).min(journal.len());
    if recorder.push(&journal[from..]).is_ok() {
        let _ = recorder.lost("the fuzzer stopped it");
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, body)) = bytes.split_first() else {
        return;
    };
    let piece = usize::from(*first) + 1;
    // As they are; or as the output of a step, which the format must carry whatever it is.
    let mut journal = Vec::new();
    if first % 2 == 0 {
        journal.extend_from_slice(body);
    } else {
        let mut encoder = Encoder::new();
        let begin = Record::StepStarted {
            step: 0,
            background: false,
        };
        encoder.encode(1, &begin, &mut journal);
        for (n, out) in body.chunks(piece).enumerate() {
            encoder.output(n as i64 + 2, 0, Stream::Merged, out, &mut journal);
        }
    }
    let tell = |size: usize| {
        let (mut decoder, mut told) = (Decoder::default(), Vec::new());
        for piece in journal.chunks(size) {
            decoder.push(piece, |entry, at| told.push(format!("{entry:?} {at:?}")));
        }
        told
    };
    assert_eq!(tell(piece), tell(journal.len().max(1)));
    for line in journal.split(|b| *b == b'\n') {
        let _ = parse_line(line);
        let _ = unescape(line);
    }

    let dir = tempfile::tempdir().expect("a folder for the logs");
    record(dir.path(), &journal, piece);
    let live: Vec<_> = (0..3).map(|step| read(dir.path(), step)).collect();
    if first % 2 == 1 && body.len() <= 4096 && live[0].1 < 256 {
        assert!(live[0].0.starts_with(body), "what was printed is not what is kept");
    }
    if seal(dir.path()).is_ok() {
        let sealed: Vec<_> = (0..3).map(|step| read(dir.path(), step)).collect();
        assert!(live == sealed, "sealing changed a log");
    }
});
