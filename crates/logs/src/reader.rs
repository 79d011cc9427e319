//! Reading one step's log: live or sealed, by offset or by row, in constant memory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Doing as _, LogError, Result};
use crate::folder::{INDEX_ROW, IndexRow, MAX_ROW, RowMeta, StepFile, open_if_exists, step_path};
use crate::note::{Note, NoteKind, StepEnd, parse_notes};
use crate::seal::{self, LogMeta};
use crate::seekable::SeekableReader;

/// Bytes per read of a raw log.
const PIECE: usize = 256 * 1024;
/// No call returns more rows than this, whatever a request asks for.
pub const MAX_ROWS_AT_ONCE: usize = 100_000;

/// One step's log as it was when it was opened or last [refreshed](LogReader::refresh).
///
/// A step that never started, or whose folder does not exist (yet), reads as empty. Sealing may
/// happen at any time: an open reader keeps what it has, and a refreshed one takes the sealed log.
/// Offsets and row numbers stay the same for ever.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    step: u32,
    log: Source,
    index: Source,
    len: u64,
    rows: u64,
    notes: Vec<Note>,
    /// Bytes of the file that `notes` are from.
    notes_len: u64,
    meta: Option<LogMeta>,
    buffer: Vec<u8>,
}

impl LogReader {
    /// Opens the log of `step` in the attempt's folder.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn open(dir: &Path, step: u32) -> Result<Self> {
        let mut reader = Self {
            dir: dir.to_owned(),
            step,
            log: Source::Nothing,
            index: Source::Nothing,
            len: 0,
            rows: 0,
            notes: Vec::new(),
            notes_len: 0,
            meta: None,
            buffer: Vec::new(),
        };
        reader.refresh()?;
        Ok(reader)
    }

    /// Looks at the files again: a live log grows, a finished one gets sealed. Says whether there
    /// is anything new. (After a crash of the server a log can be shorter for a moment, until the
    /// recorder has derived the rest again.)
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn refresh(&mut self) -> Result<bool> {
        if self.meta.is_some() {
            return Ok(false);
        }
        let before = (self.len, self.notes_len);
        // The order matters, because all of this may change meanwhile. Whoever wrote "ended" had
        // written the log before; whoever wrote the log had written its rows before.
        self.read_notes()?;
        self.meta = seal::read_meta(&self.dir, self.step)?;
        self.log = self.source(StepFile::Log, StepFile::SealedLog)?;
        self.len = self.log.len()?;
        self.index = self.source(StepFile::Index, StepFile::SealedIndex)?;
        self.rows = self.index.len()? / INDEX_ROW;
        // Rows whose bytes were not yet there when the length was taken.
        self.rows = match self.index_row(self.rows.saturating_sub(1)) {
            Ok(Some(last)) if last.offset >= self.len => self.rows_before(self.len)?,
            checked => checked.map(|_| self.rows)?,
        };
        Ok(before != (self.len, self.notes_len) || self.meta.is_some())
    }

    /// Bytes of the log.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the log; the last one of a live log may still grow.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether nothing more will come: the step has ended, was skipped, or its job was lost.
    pub fn is_complete(&self) -> bool {
        self.meta.is_some() || self.end().is_some()
    }

    /// Whether the log is sealed.
    pub fn is_sealed(&self) -> bool {
        self.meta.is_some()
    }

    /// Fills `buf` with the bytes from `offset` on, as far as the log goes, and says how many those
    /// are: 0 at or behind the end.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let room = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(room);
        self.log.read_at(offset, &mut buf[..wanted])
    }

    /// The row with this number, or `None` behind the end.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row(&mut self, number: u64) -> Result<Option<RowMeta>> {
        Ok(self.row_range(number, 1)?.pop())
    }

    /// At most `count` rows from `from` on, and at most [`MAX_ROWS_AT_ONCE`].
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row_range(&mut self, from: u64, count: usize) -> Result<Vec<RowMeta>> {
        let count = count.min(MAX_ROWS_AT_ONCE) as u64;
        let count = count.min(self.rows.saturating_sub(from));
        let mut rows = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        if count == 0 {
            return Ok(rows);
        }
        // One more, because a row ends where the next one begins.
        let with_next = (count + 1).min(self.rows - from);
        let mut bytes = vec![0; usize::try_from(with_next * INDEX_ROW).unwrap_or(0)];
        let read = self.index.read_at(from * INDEX_ROW, &mut bytes)?;
        bytes.truncate(read);
        let mut next = index_rows(&bytes).peekable();
        for number in from..from + count {
            // Missing rows: a recovering recorder has just cut the index back.
            let Some(row) = next.next() else { break };
            let end = next.peek().map_or(self.len, |next| next.offset);
            rows.push(RowMeta {
                number,
                offset: row.offset,
                len: end.saturating_sub(row.offset),
                time_us: row.time_us,
                stream: row.stream,
                flags: row.flags,
            });
        }
        Ok(rows)
    }

    /// The last `count` rows, at most [`MAX_ROWS_AT_ONCE`].
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn tail_rows(&mut self, count: usize) -> Result<Vec<RowMeta>> {
        let count = count.min(MAX_ROWS_AT_ONCE);
        self.row_range(self.rows.saturating_sub(count as u64), count)
    }

    /// The row that holds the byte at `offset`, or `None` behind the end.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row_at_offset(&mut self, offset: u64) -> Result<Option<RowMeta>> {
        if offset >= self.len {
            return Ok(None);
        }
        match self.rows_before(offset + 1)?.checked_sub(1) {
            Some(number) => self.row(number),
            None => Ok(None),
        }
    }

    /// Replaces `bytes` by a row's bytes.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row_bytes(&mut self, row: &RowMeta, bytes: &mut Vec<u8>) -> Result<()> {
        // A damaged index must not make us allocate.
        bytes.resize(row.len.min(MAX_ROW) as usize, 0);
        let read = self.read_at(row.offset, bytes)?;
        bytes.truncate(read);
        Ok(())
    }

    /// Writes the bytes in `range` (cut at the end of the log) to `out`, piece by piece, and says
    /// how many those were.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log; [`crate::LogError::Output`] if `out` fails.
    pub fn copy_to(&mut self, range: Range<u64>, out: &mut dyn Write) -> Result<u64> {
        let end = range.end.min(self.len);
        let mut at = range.start;
        while at < end {
            let room = usize::try_from(end - at).unwrap_or(usize::MAX);
            let piece = self.log.piece(at, room, &mut self.buffer)?;
            if piece.is_empty() {
                break;
            }
            out.write_all(piece).map_err(LogError::Output)?;
            at += piece.len() as u64;
        }
        Ok(at.saturating_sub(range.start))
    }

    /// Gives back the memory that reading took: for who keeps many readers and reads with few at a
    /// time. A sealed log takes about a megabyte, which is decoded again for the next reading.
    pub fn release(&mut self) {
        self.buffer = Vec::new();
        for source in [&mut self.log, &mut self.index] {
            if let Source::Sealed(sealed) = source {
                sealed.release();
            }
        }
    }

    /// What happened between the lines, in order; at most about a thousand.
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How the step ended, if it has.
    pub fn end(&self) -> Option<&StepEnd> {
        self.notes.iter().rev().find_map(|note| match &note.kind {
            NoteKind::Ended(end) => Some(end),
            _ => None,
        })
    }

    /// The whole log as it is kept, in the zstd format, and the file's length; `None` if it is not
    /// sealed, or too small to be compressed.
    pub fn compressed(&self) -> Option<(File, u64)> {
        let path = step_path(&self.dir, self.step, StepFile::SealedLog);
        let file = match &self.log {
            Source::Sealed(_) => File::open(path).ok()?,
            Source::Raw { .. } | Source::Nothing => return None,
        };
        let len = file.metadata().ok()?.len();
        Some((file, len))
    }

    /// The figures written by sealing.
    pub fn meta(&self) -> Option<&LogMeta> {
        self.meta.as_ref()
    }

    fn source(&self, raw: StepFile, sealed: StepFile) -> Result<Source> {
        // Raw first: it is removed after the sealed one has its name, so one of them is there.
        let path = step_path(&self.dir, self.step, raw);
        if let Some(file) = open_if_exists(&path)? {
            return Ok(Source::Raw { file, path });
        }
        let path = step_path(&self.dir, self.step, sealed);
        Ok(match open_if_exists(&path)? {
            Some(file) => Source::Sealed(SeekableReader::new(file, &path)?),
            None => Source::Nothing,
        })
    }

    fn read_notes(&mut self) -> Result<()> {
        let path = step_path(&self.dir, self.step, StepFile::Notes);
        let len = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            meta => meta.doing("read", &path)?.len(),
        };
        if len != self.notes_len {
            let bytes = fs::read(&path).doing("read", &path)?;
            self.notes = parse_notes(&bytes);
            self.notes_len = bytes.len() as u64;
        }
        Ok(())
    }

    fn index_row(&mut self, number: u64) -> Result<Option<IndexRow>> {
        let mut bytes = [0; INDEX_ROW as usize];
        let read = self.index.read_at(number * INDEX_ROW, &mut bytes)?;
        Ok((read == bytes.len()).then(|| IndexRow::from_bytes(&bytes)))
    }

    /// How many rows begin before `offset`.
    fn rows_before(&mut self, offset: u64) -> Result<u64> {
        let (mut low, mut high) = (0, self.rows);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.index_row(middle)? {
                Some(row) if row.offset < offset => low = middle + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

fn index_rows(bytes: &[u8]) -> impl Iterator<Item = IndexRow> {
    bytes.as_chunks().0.iter().map(IndexRow::from_bytes)
}

/// Where bytes come from.
#[derive(Debug)]
enum Source {
    /// There is no file: nothing was written.
    Nothing,
    /// The file as the recorder writes it.
    Raw { file: File, path: PathBuf },
    /// Compressed.
    Sealed(SeekableReader),
}

impl Source {
    fn len(&self) -> Result<u64> {
        Ok(match self {
            Self::Nothing => 0,
            Self::Raw { file, path } => file.metadata().doing("read", path)?.len(),
            Self::Sealed(sealed) => sealed.len(),
        })
    }

    /// At least one byte from `offset` on, at most `room`, or nothing at the end.
    fn piece<'a>(
        &'a mut self,
        offset: u64,
        room: usize,
        buffer: &'a mut Vec<u8>,
    ) -> Result<&'a [u8]> {
        match self {
            Self::Nothing => Ok(&[]),
            Self::Raw { .. } => {
                buffer.resize(PIECE, 0);
                let wanted = room.min(PIECE);
                let read = self.read_at(offset, &mut buffer[..wanted])?;
                Ok(&buffer[..read])
            }
            Self::Sealed(sealed) => {
                let piece = sealed.frame_from(offset)?;
                Ok(&piece[..piece.len().min(room)])
            }
        }
    }

    /// Fills `buf` as far as there are bytes.
    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            let (at, rest) = (offset + filled as u64, &mut buf[filled..]);
            let n = match self {
                Self::Nothing => 0,
                Self::Raw { file, path } => match file.read_at(rest, at) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.doing("read", path)?,
                },
                Self::Sealed(sealed) => {
                    let piece = sealed.frame_from(at)?;
                    let n = piece.len().min(rest.len());
                    rest[..n].copy_from_slice(&piece[..n]);
                    n
                }
            };
            if n == 0 {
                break;
            }
            filled += n;
        }
        Ok(filled)
    }
}
