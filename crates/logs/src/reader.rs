//! Reading one step's log: live or sealed, by offset or by row, in constant memory.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use crate::error::Result;
use crate::folder::RowMeta;
use crate::note::{Note, StepEnd};
use crate::seal::LogMeta;

/// One step's log as it was when it was opened or last [refreshed](LogReader::refresh).
///
/// A step that never started, or whose folder does not exist (yet), reads as empty. Sealing may
/// happen at any time: an open reader keeps what it has, and a refreshed one takes the sealed log.
/// Offsets and row numbers stay the same for ever.
#[derive(Debug)]
pub struct LogReader {}

impl LogReader {
    /// Opens the log of `step` in the attempt's folder.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn open(_dir: &Path, _step: u32) -> Result<Self> {
        unimplemented!()
    }

    /// Looks at the files again: a live log grows, a finished one gets sealed. Says whether there
    /// is anything new. (After a crash of the server a log can be shorter for a moment, until the
    /// recorder has derived the rest again.)
    ///
    /// # Errors
    /// As [`LogReader::open`].
    pub fn refresh(&mut self) -> Result<bool> {
        unimplemented!()
    }

    /// Bytes of the log.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of the log; the last one of a live log may still grow.
    pub fn rows(&self) -> u64 {
        unimplemented!()
    }

    /// Whether nothing more will come: the step has ended, was skipped, or its job was lost.
    pub fn is_complete(&self) -> bool {
        unimplemented!()
    }

    /// Whether the log is sealed.
    pub fn is_sealed(&self) -> bool {
        unimplemented!()
    }

    /// Fills `buf` with the bytes from `offset` on, as far as the log goes, and says how many those
    /// are: 0 at or behind the end.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn read_at(&mut self, _offset: u64, _buf: &mut [u8]) -> Result<usize> {
        unimplemented!()
    }

    /// The row with this number, or `None` behind the end.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row(&mut self, _number: u64) -> Result<Option<RowMeta>> {
        unimplemented!()
    }

    /// At most `count` rows from `from` on.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row_range(&mut self, _from: u64, _count: usize) -> Result<Vec<RowMeta>> {
        unimplemented!()
    }

    /// The last `count` rows.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn tail_rows(&mut self, _count: usize) -> Result<Vec<RowMeta>> {
        unimplemented!()
    }

    /// The row that holds the byte at `offset`, or `None` behind the end.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row_at_offset(&mut self, _offset: u64) -> Result<Option<RowMeta>> {
        unimplemented!()
    }

    /// Replaces `bytes` by a row's bytes.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn row_bytes(&mut self, _row: &RowMeta, _bytes: &mut Vec<u8>) -> Result<()> {
        unimplemented!()
    }

    /// Writes the bytes in `range` (cut at the end of the log) to `out`, piece by piece, and says
    /// how many those were.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log; [`crate::LogError::Output`] if `out` fails.
    pub fn copy_to(&mut self, _range: Range<u64>, _out: &mut dyn Write) -> Result<u64> {
        unimplemented!()
    }

    /// What happened between the lines, in order; at most about a thousand.
    pub fn notes(&self) -> &[Note] {
        unimplemented!()
    }

    /// How the step ended, if it has.
    pub fn end(&self) -> Option<&StepEnd> {
        unimplemented!()
    }

    /// The figures written by sealing.
    pub fn meta(&self) -> Option<&LogMeta> {
        unimplemented!()
    }
}
