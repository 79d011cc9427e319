//! Journals for tests, and what their logs must be: naively, from the definition.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use windlass_logs::{LogEvent, LogReader, Recorder, Result, RowMeta};
use windlass_shim::journal::{
    Encoder, JobEnded, JobStarted, Record, StepEnded, StepResult, Stream,
};

/// Writes a journal like a shim; the clock ticks once per record.
pub(crate) struct Journal {
    encoder: Encoder,
    pub(crate) bytes: Vec<u8>,
    pub(crate) now_us: i64,
    written: BTreeMap<u32, u64>,
    pub(crate) logs: BTreeMap<u32, Vec<u8>>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        let mut journal = Self {
            encoder: Encoder::new(),
            bytes: Vec::new(),
            now_us: 1_764_000_000_000_000,
            written: BTreeMap::new(),
            logs: BTreeMap::new(),
        };
        journal.record(&Record::JobStarted(JobStarted {
            version: 1,
            attempt: "a1".to_owned(),
            pid: 812,
            limits: "cgroup".to_owned(),
        }));
        journal
    }

    pub(crate) fn record(&mut self, record: &Record<'_>) {
        self.now_us += 1;
        self.encoder.encode(self.now_us, record, &mut self.bytes);
    }

    pub(crate) fn start(&mut self, step: u32) {
        self.begin(step, false);
    }

    /// Starts a step that runs beside the others.
    pub(crate) fn start_beside(&mut self, step: u32) {
        self.begin(step, true);
    }

    fn begin(&mut self, step: u32, background: bool) {
        self.written.insert(step, 0);
        self.logs.entry(step).or_default();
        self.record(&Record::StepStarted { step, background });
    }

    pub(crate) fn output(&mut self, step: u32, stream: Stream, bytes: &[u8]) {
        *self.written.entry(step).or_default() += bytes.len() as u64;
        self.logs.entry(step).or_default().extend_from_slice(bytes);
        self.now_us += 1;
        self.encoder
            .output(self.now_us, step, stream, bytes, &mut self.bytes);
    }

    pub(crate) fn note(&mut self, step: u32, text: &str) {
        self.record(&Record::Note {
            step,
            text: text.to_owned(),
        });
    }

    pub(crate) fn end(&mut self, step: u32, code: i32) {
        self.end_as(step, StepResult::Exited { code });
    }

    pub(crate) fn end_as(&mut self, step: u32, result: StepResult) {
        let end = StepEnded {
            result,
            output_bytes: self.written.get(&step).copied().unwrap_or_default(),
            left_out_bytes: 0,
            duration_us: 55,
            leftovers: 0,
        };
        self.record(&Record::StepEnded { step, end });
    }

    pub(crate) fn finish(&mut self) {
        self.record(&Record::JobEnded(JobEnded {
            records: 0,
            output_bytes: 0,
            crc32: 0,
        }));
    }

    /// A job of one step that prints this and ends well.
    pub(crate) fn of(output: &[u8]) -> Self {
        let mut journal = Self::new();
        journal.start(0);
        journal.output(0, Stream::Merged, output);
        journal.end(0, 0);
        journal.finish();
        journal
    }
}

/// Pushes all of it in pieces, confirming after each.
pub(crate) fn record(dir: &Path, journal: &[u8], piece: usize) -> Result<Vec<LogEvent>> {
    let mut recorder = Recorder::open(dir)?;
    let mut events = Vec::new();
    let from = recorder.position().offset as usize;
    for piece in journal[from..].chunks(piece) {
        events.extend(recorder.push(piece)?);
        recorder.confirm()?;
    }
    Ok(events)
}

/// All bytes of a log.
pub(crate) fn read_all(reader: &mut LogReader) -> Vec<u8> {
    let mut bytes = Vec::new();
    let copied = reader.copy_to(0..u64::MAX, &mut bytes).unwrap();
    assert_eq!(copied, bytes.len() as u64);
    bytes
}

/// All rows of a log, in several calls.
pub(crate) fn read_rows(reader: &mut LogReader) -> Vec<RowMeta> {
    let mut rows = Vec::new();
    loop {
        let more = reader.row_range(rows.len() as u64, 1000).unwrap();
        if more.is_empty() {
            return rows;
        }
        rows.extend(more);
    }
}

/// The rows by definition: offset, length, and whether the row continues a line.
pub(crate) fn naive_rows(log: &[u8]) -> Vec<(u64, u64, bool)> {
    let mut rows = Vec::new();
    let mut offset = 0;
    for line in log.split_inclusive(|b| *b == b'\n') {
        for (i, piece) in line.chunks(64 * 1024).enumerate() {
            rows.push((offset, piece.len() as u64, i > 0));
            offset += piece.len() as u64;
        }
    }
    rows
}

/// Names and contents of all files, apart from the recorder's own.
pub(crate) fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !name.starts_with("recorder.") {
            files.insert(name, fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// Checks that a step's log, live or sealed, is exactly this.
pub(crate) fn check_log(dir: &Path, step: u32, log: &[u8]) {
    let mut reader = LogReader::open(dir, step).unwrap();
    assert_eq!(reader.len(), log.len() as u64);
    assert!(read_all(&mut reader) == log, "the bytes differ");
    let naive = naive_rows(log);
    assert_eq!(reader.rows(), naive.len() as u64);
    let rows = read_rows(&mut reader);
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.offset, row.len, row.flags.continues()))
        .collect();
    assert_eq!(found, naive);
    for (i, row) in rows.iter().enumerate().step_by(1 + rows.len() / 50) {
        assert_eq!(row.number, i as u64);
        assert_eq!(reader.row(i as u64).unwrap(), Some(*row));
        for offset in [row.offset, row.offset + row.len - 1] {
            assert_eq!(reader.row_at_offset(offset).unwrap(), Some(*row));
        }
        let mut bytes = Vec::new();
        reader.row_bytes(row, &mut bytes).unwrap();
        assert!(bytes == log[row.offset as usize..(row.offset + row.len) as usize]);
    }
    assert_eq!(reader.row(rows.len() as u64).unwrap(), None);
    assert_eq!(reader.row_at_offset(log.len() as u64).unwrap(), None);
    let tail = reader.tail_rows(3).unwrap();
    assert_eq!(tail, rows[rows.len().saturating_sub(3)..]);
}
