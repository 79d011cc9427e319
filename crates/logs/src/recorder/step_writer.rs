//! One step's output and notes -> its three files: rows, the limit, buffered appending.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::RecorderLimits;
use super::checkpoint::{Extent, StepState};
use crate::error::{Doing as _, Result};
use crate::folder::{IndexRow, MAX_ROW, RowFlags, StepFile, Stream, step_path};
use crate::note::{MAX_NOTE_TEXT, MAX_NOTES, Note, NoteKind};

/// Buffered bytes of a log at which it is written before the end of a push.
const WRITE_AT: usize = 1 << 20;

/// Appends to one step's files. Whatever is not flushed is lost when it is dropped.
#[derive(Debug)]
pub(super) struct StepWriter {
    pub(super) step: u32,
    index: Appender,
    log: Appender,
    notes: Appender,
}

#[derive(Debug)]
struct Appender {
    path: PathBuf,
    file: Option<File>,
    buffer: Vec<u8>,
}

impl Appender {
    fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            buffer: Vec::new(),
        }
    }

    fn flush(&mut self, extent: &mut Extent) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if self.file.is_none() {
            let mut options = File::options();
            let options = options.create(true).append(true);
            self.file = Some(options.open(&self.path).doing("open", &self.path)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.buffer).doing("write", &self.path)?;
        }
        extent.add(&self.buffer);
        self.buffer.clear();
        Ok(())
    }
}

impl StepWriter {
    pub(super) fn new(dir: &Path, step: u32) -> Self {
        let appender = |file| Appender::new(step_path(dir, step, file));
        Self {
            step,
            index: appender(StepFile::Index),
            log: appender(StepFile::Log),
            notes: appender(StepFile::Notes),
        }
    }

    /// Bytes of the log, written or still in the buffer.
    pub(super) fn len(&self, state: &StepState) -> u64 {
        state.log.bytes + self.log.buffer.len() as u64
    }

    fn rows(&self, state: &StepState) -> u64 {
        state.rows() + (self.index.buffer.len() / size_of::<[u8; 16]>()) as u64
    }

    /// Takes output; what is beyond the limit is counted and dropped.
    pub(super) fn output(
        &mut self,
        state: &mut StepState,
        limits: &RecorderLimits,
        time_us: i64,
        stream: Stream,
        bytes: &[u8],
    ) -> Result<()> {
        state.arrived += bytes.len() as u64;
        let kept = if state.full {
            0
        } else {
            self.split_rows(state, limits, time_us, stream, bytes)
        };
        self.log.buffer.extend_from_slice(&bytes[..kept]);
        if kept < bytes.len() {
            state.dropped += (bytes.len() - kept) as u64;
            if !state.full {
                state.full = true;
                let text = format!(
                    "this log has reached its limit of {} bytes or {} rows: the output that \
                     follows is not kept (the result of the step is not affected)",
                    limits.log_bytes, limits.rows
                );
                self.write_note(state, time_us, NoteKind::Full { text })?;
            }
        }
        if self.log.buffer.len() >= WRITE_AT || self.index.buffer.len() >= WRITE_AT {
            self.flush(state)?;
        }
        Ok(())
    }

    /// Puts the rows that begin in `bytes` into the index; says how many bytes may be kept.
    fn split_rows(
        &mut self,
        state: &mut StepState,
        limits: &RecorderLimits,
        time_us: i64,
        stream: Stream,
        bytes: &[u8],
    ) -> usize {
        let begin = self.len(state);
        let room = usize::try_from(limits.log_bytes.saturating_sub(begin)).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        let mut rows = self.rows(state);
        let mut at = 0;
        while at < bytes.len() {
            let offset = begin + at as u64;
            if !state.row_open {
                if rows >= limits.rows {
                    return at;
                }
                let row = IndexRow {
                    offset,
                    stream,
                    flags: RowFlags::continuing(state.line_open),
                    time_us,
                };
                self.index.buffer.extend_from_slice(&row.to_bytes());
                rows += 1;
                state.row_start = offset;
                state.row_open = true;
            }
            // At most MAX_ROW.
            let row_room = (state.row_start + MAX_ROW - offset) as usize;
            let window = &bytes[at..bytes.len().min(at + row_room)];
            if let Some(newline) = memchr::memchr(b'\n', window) {
                at += newline + 1;
                (state.row_open, state.line_open) = (false, false);
            } else {
                at += window.len();
                state.line_open = true;
                state.row_open = window.len() < row_room;
            }
        }
        at
    }

    /// Keeps a note, unless there are too many. Says whether it was kept.
    pub(super) fn note(
        &mut self,
        state: &mut StepState,
        time_us: i64,
        mut kind: NoteKind,
    ) -> Result<bool> {
        state.noted = state.noted.saturating_add(1);
        if state.noted > MAX_NOTES {
            if state.noted == MAX_NOTES + 1 {
                self.write_note(state, time_us, NoteKind::TooManyNotes)?;
            }
            return Ok(false);
        }
        if let NoteKind::Shim { text } | NoteKind::Damage { text } = &mut kind {
            text.truncate(text.floor_char_boundary(MAX_NOTE_TEXT));
        }
        self.write_note(state, time_us, kind)?;
        Ok(true)
    }

    /// Writes a note that must be there, however many there are.
    pub(super) fn write_note(
        &mut self,
        state: &StepState,
        time_us: i64,
        kind: NoteKind,
    ) -> Result<()> {
        let note = Note {
            offset: self.len(state),
            row: self.rows(state),
            time_us,
            kind,
        };
        serde_json::to_writer(&mut self.notes.buffer, &note)
            .map_err(std::io::Error::from)
            .doing("write", &self.notes.path)?;
        self.notes.buffer.push(b'\n');
        Ok(())
    }

    /// Hands everything to the system. The index goes first, so that a reader who looks at the
    /// log's length before the index knows every row of it; the notes go last, so that who sees
    /// the step's end sees all of its output.
    pub(super) fn flush(&mut self, state: &mut StepState) -> Result<()> {
        self.index.flush(&mut state.index)?;
        self.log.flush(&mut state.log)?;
        self.notes.flush(&mut state.notes)
    }
}
