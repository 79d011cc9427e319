//! Sealed logs to copy, and a client for the cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use windlass_archive::testing::FakeCluster;
use windlass_archive::{Elasticsearch, ElasticsearchConfig, LogName};
use windlass_logs::folder::{INDEX_ROW, IndexRow, MAX_ROW, RowFlags, Stream};
use windlass_logs::{LogMeta, seal};

/// 2026-09-15 12:00 UTC.
pub(crate) const SEPTEMBER: i64 = 1_789_473_600_000;

pub(crate) struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A sealed log of step 0 in the folder of this name.
    pub(crate) fn sealed(&self, name: &str, log: &[u8]) -> (PathBuf, LogMeta) {
        let dir = self.path(name);
        std::fs::remove_dir_all(&dir).unwrap_or_default();
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("0.log"), log).unwrap();
        std::fs::write(dir.join("0.idx"), index_of(log)).unwrap();
        let notes = r#"{"row":0,"time_us":1789473600000000,"kind":{"remark":"hello"}}"#;
        std::fs::write(dir.join("0.notes"), format!("{notes}\n")).unwrap();
        let meta = seal(&dir).unwrap().remove(0).meta;
        (dir, meta)
    }
}

/// Rows as the recorder makes them: lines, and pieces of long lines. Times differ, streams too.
pub(crate) fn index_of(log: &[u8]) -> Vec<u8> {
    let mut index = Vec::with_capacity(log.len() / 50 * INDEX_ROW as usize);
    let (mut offset, mut number) = (0_u64, 0_u64);
    for line in log.split_inclusive(|b| *b == b'\n') {
        for (piece, bytes) in line.chunks(MAX_ROW as usize).enumerate() {
            let flags = IndexRow::from_bytes(&{
                let mut bytes = [0; INDEX_ROW as usize];
                bytes[7] = u8::from(piece > 0);
                bytes
            })
            .flags;
            assert_eq!(flags == RowFlags::default(), piece == 0);
            let row = IndexRow {
                offset,
                stream: [Stream::Merged, Stream::Stdout, Stream::Stderr][number as usize % 3],
                flags,
                time_us: SEPTEMBER * 1000 + (number * 1371) as i64,
            };
            index.extend(row.to_bytes());
            offset += bytes.len() as u64;
            number += 1;
        }
    }
    index
}

/// Logs of all the kinds that make trouble.
pub(crate) fn troublesome() -> Vec<(&'static str, Vec<u8>)> {
    let mut long_line = vec![b'x'; 1_000_000];
    long_line.extend(b"\nafter\n");
    let many: Vec<u8> = (0..3_000)
        .flat_map(|i| format!("line {i}: compiling crate number {}\n", i * 7).into_bytes())
        .collect();
    let mut noise = Vec::new();
    let mut state = 1_u32;
    for _ in 0..300_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.push((state >> 24) as u8);
    }
    vec![
        ("empty", Vec::new()),
        ("one", b"hello\n".to_vec()),
        ("no-newline", b"hello\nworld".to_vec()),
        ("nul", b"a\0b\n\0\0\n\xff\xfe\xc3(\n\xe2\x82".to_vec()),
        (
            "terminal",
            b"\x1b[31merror\x1b[0m: no\r\n10%\r100%\n\x1b[2K\n\n".to_vec(),
        ),
        ("long-line", long_line),
        ("many", many),
        ("noise", noise),
        ("newlines", vec![b'\n'; 5_000]),
        (
            "quotes",
            "{\"index\":{}}\n\u{2028}</script>\\\"\u{e4}\u{1f4a9}\n".into(),
        ),
    ]
}

pub(crate) fn name(repo: &str, build: i64, step: u32) -> LogName {
    LogName {
        instance: "0123456789ab".to_owned(),
        repo: repo.to_owned(),
        build,
        attempt: 1,
        job: "test (a, b)".to_owned(),
        step,
        step_name: "cargo test \u{e4}".to_owned(),
        started_ms: SEPTEMBER,
    }
}

pub(crate) fn config(url: &str) -> ElasticsearchConfig {
    let mut config = ElasticsearchConfig::new(url);
    config.pause = Duration::from_millis(2);
    config.timeout = Duration::from_secs(20);
    config
}

pub(crate) fn client(cluster: &FakeCluster) -> Elasticsearch {
    Elasticsearch::new(config(&cluster.url())).unwrap()
}

/// Every file of the sealed log is the same in both folders.
#[track_caller]
pub(crate) fn assert_same(step: u32, left: &Path, right: &Path) {
    let files = windlass_logs::copy::sealed_files(left, step).unwrap();
    assert!(!files.is_empty());
    let others = windlass_logs::copy::sealed_files(right, step).unwrap();
    assert_eq!(files.len(), others.len());
    for file in files {
        let name = file.path.file_name().unwrap();
        let (a, b) = (
            std::fs::read(&file.path).unwrap(),
            std::fs::read(right.join(name)).unwrap(),
        );
        assert!(
            a == b,
            "{name:?} differs: {} and {} bytes",
            a.len(),
            b.len()
        );
    }
}
