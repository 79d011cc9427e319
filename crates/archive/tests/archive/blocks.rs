//! Whatever a log holds: cut and joined, it is the same, and so is its index.

use std::fs::File;

use proptest::prelude::*;
use windlass_archive::block::{BLOCK_BYTES, BLOCK_ROWS, Cutter, Joiner, Part};

use crate::lab::Lab;

/// Lines of all lengths, of all bytes.
fn log() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..60),
        2 => proptest::collection::vec(any::<u8>(), 0..9_000),
        1 => (60_000_usize..140_000).prop_map(|n| vec![b'x'; n]),
    ];
    let lines = proptest::collection::vec(line, 0..400);
    (lines, any::<bool>()).prop_map(|(lines, ends)| {
        let mut log = lines.join(&b'\n');
        if ends && !log.is_empty() {
            log.push(b'\n');
        }
        log
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn cut_and_joined_a_log_is_the_same(log in log()) {
        let lab = Lab::new();
        // Small logs stay raw when they are sealed; large ones are compressed.
        let (dir, meta) = lab.sealed("log", &log);
        let mut cutter = Cutter::open(&dir, 0).unwrap();
        let (log_file, index_file) = (lab.path("joined.log"), lab.path("joined.idx"));
        let mut joiner = Joiner::into_files(
            File::create(&log_file).unwrap(),
            File::create(&index_file).unwrap(),
        );
        let mut rows = 0;
        while let Some(block) = cutter.next_block().unwrap() {
            prop_assert!(block.rows as usize <= BLOCK_ROWS && block.rows > 0);
            prop_assert!(u64::from(block.bytes) <= BLOCK_BYTES);
            prop_assert_eq!(block.first_row, rows);
            prop_assert_eq!(block.text.matches('\n').count(), block.rows as usize);
            rows += u64::from(block.rows);
            let part = Part {
                seq: block.seq,
                line_count: block.rows,
                first_byte: block.first_byte,
                byte_count: block.bytes,
                raw: block.raw,
                index: block.index,
                crc32: block.crc32,
            };
            // Out of order is never taken.
            let wrong = Part { seq: part.seq + 1, ..part.clone() };
            prop_assert!(joiner.take(&wrong).is_err());
            joiner.take(&part).unwrap();
        }
        let joined = joiner.finish();
        prop_assert_eq!((joined.bytes, joined.rows), (meta.bytes, meta.rows));
        prop_assert_eq!(&joined.sha256, &meta.sha256);
        prop_assert!(std::fs::read(&log_file).unwrap() == log);
        prop_assert!(std::fs::read(&index_file).unwrap() == crate::lab::index_of(&log));
    }
}
