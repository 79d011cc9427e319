//! A log cut into blocks of whole rows, and joined again byte for byte, index and all.
//!
//! A block has at most [`BLOCK_ROWS`] rows and [`BLOCK_BYTES`] bytes. Its bytes are kept as one zstd
//! frame, and so are its index rows, as three columns of little-endian numbers: the rows' lengths
//! (u32), the microseconds since the row before (i64; the first: since 1970), stream and flags (two
//! bytes). Its text is for searching only: no escape sequences, no NUL, always valid UTF-8.

use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};
use windlass_logs::folder::{INDEX_ROW, IndexRow, MAX_ROW};
use windlass_logs::{LogMeta, LogReader, RowMeta, Stripper};

use crate::error::{ArchiveError, Result};

/// The most rows in a block.
pub const BLOCK_ROWS: usize = 256;
/// The most bytes of log in a block; no row is longer.
pub const BLOCK_BYTES: u64 = MAX_ROW;
const LEVEL: i32 = 3;
const COLUMNS: usize = 4 + 8 + 2;
/// Rows that are looked up at once.
const ROWS_AHEAD: usize = 16 * BLOCK_ROWS;

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its number in the log, from 0.
    pub seq: u64,
    /// The number of its first row, from 0.
    pub first_row: u64,
    /// How many rows it has.
    pub rows: u32,
    /// The offset of its first byte.
    pub first_byte: u64,
    /// How many bytes of log it has.
    pub bytes: u32,
    /// When its first row came, microseconds since 1970.
    pub time_us: i64,
    /// What a person sees of it.
    pub text: String,
    /// Its bytes: base64 of a zstd frame.
    pub raw: String,
    /// Its index rows: base64 of a zstd frame.
    pub index: String,
    /// CRC-32 of its bytes.
    pub crc32: u32,
}

/// Cuts a sealed log.
#[derive(Debug)]
pub struct Cutter {
    reader: LogReader,
    meta: LogMeta,
    ahead: std::collections::VecDeque<RowMeta>,
    stripper: Stripper,
    next_row: u64,
    next_byte: u64,
    seq: u64,
    sha: Sha256,
}

impl Cutter {
    /// Opens a step's sealed log.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] if there is none, or it is not sealed; I/O.
    pub fn open(dir: &Path, step: u32) -> Result<Self> {
        let reader = LogReader::open(dir, step)?;
        let Some(meta) = reader.meta().cloned() else {
            return Err(ArchiveError::missing(format!(
                "{} has no sealed log of step {}",
                dir.display(),
                step + 1
            )));
        };
        Ok(Self {
            reader,
            meta,
            ahead: std::collections::VecDeque::new(),
            stripper: Stripper::new(),
            next_row: 0,
            next_byte: 0,
            seq: 0,
            sha: Sha256::new(),
        })
    }

    /// The log's figures.
    pub fn meta(&self) -> &LogMeta {
        &self.meta
    }

    /// How many blocks were cut so far.
    pub fn blocks(&self) -> u64 {
        self.seq
    }

    /// The next block, or `None` at the end.
    ///
    /// # Errors
    /// I/O; [`ArchiveError::Refused`] if the log is not what its figures say: no copy is made of
    /// a damaged log.
    pub fn next_block(&mut self) -> Result<Option<Block>> {
        let mut rows: Vec<RowMeta> = Vec::new();
        let mut size = 0;
        while rows.len() < BLOCK_ROWS {
            if self.ahead.is_empty() {
                let from = self.next_row + rows.len() as u64;
                self.ahead = self.reader.row_range(from, ROWS_AHEAD)?.into();
            }
            let Some(row) = self.ahead.front() else { break };
            if row.offset != self.next_byte + size || row.len > BLOCK_BYTES {
                return Err(self.damaged());
            }
            if size + row.len > BLOCK_BYTES {
                break;
            }
            size += row.len;
            rows.extend(self.ahead.pop_front());
        }
        let Some(first) = rows.first().copied() else {
            let whole = self.next_byte == self.meta.bytes
                && self.next_row == self.meta.rows
                && hex::encode(self.sha.clone().finalize()) == self.meta.sha256;
            return if whole { Ok(None) } else { Err(self.damaged()) };
        };
        let mut bytes = Vec::with_capacity(size as usize);
        self.reader
            .copy_to(first.offset..first.offset + size, &mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(self.damaged());
        }
        self.sha.update(&bytes);
        let mut text = String::with_capacity(bytes.len());
        let mut at = 0;
        for row in &rows {
            let end = at + row.len as usize;
            let start = text.len();
            self.stripper.row(&bytes[at..end], &mut text);
            // One line of text per row, so that a hit's place can be counted.
            if text.len() == start || !text.ends_with('\n') {
                text.push('\n');
            }
            at = end;
        }
        let index = columns(&rows);
        let block = Block {
            seq: self.seq,
            first_row: first.number,
            rows: rows.len() as u32,
            first_byte: first.offset,
            bytes: bytes.len() as u32,
            time_us: first.time_us,
            text,
            crc32: crc32fast::hash(&bytes),
            raw: frame(&bytes)?,
            index: frame(&index)?,
        };
        self.seq += 1;
        self.next_row += rows.len() as u64;
        self.next_byte += size;
        Ok(Some(block))
    }

    fn damaged(&self) -> ArchiveError {
        ArchiveError::refused(format!(
            "the log is not the one that was sealed (near byte {}): no copy of it is made",
            self.next_byte
        ))
    }
}

/// base64 of a zstd frame.
///
/// # Errors
/// When there is no memory.
pub fn frame(bytes: &[u8]) -> Result<String> {
    let frame = zstd::bulk::compress(bytes, LEVEL)
        .map_err(|e| ArchiveError::later(format!("could not compress: {e}")))?;
    Ok(STANDARD.encode(frame))
}

/// What is in base64 of a zstd frame: at most `most` bytes.
///
/// # Errors
/// [`ArchiveError::Differs`] if it is anything else.
pub fn unframe(text: &str, most: usize) -> Result<Vec<u8>> {
    let differs = |e: String| ArchiveError::differs(format!("a part can't be decoded: {e}"));
    let frame = STANDARD.decode(text).map_err(|e| differs(e.to_string()))?;
    zstd::bulk::decompress(&frame, most).map_err(|e| differs(e.to_string()))
}

fn columns(rows: &[RowMeta]) -> Vec<u8> {
    let mut columns = Vec::with_capacity(rows.len() * COLUMNS);
    for row in rows {
        columns.extend((row.len as u32).to_le_bytes());
    }
    let mut before = 0;
    for row in rows {
        columns.extend(row.time_us.wrapping_sub(before).to_le_bytes());
        before = row.time_us;
    }
    for row in rows {
        let index = IndexRow {
            offset: row.offset,
            stream: row.stream,
            flags: row.flags,
            time_us: row.time_us,
        };
        columns.extend(&index.to_bytes()[6..8]);
    }
    columns
}

/// The index rows as they stand in a log's index file.
fn index_rows(columns: &[u8], rows: usize, first_byte: u64) -> Result<(Vec<u8>, u64)> {
    if columns.len() != rows * COLUMNS {
        return Err(ArchiveError::differs("a block's index has a wrong length"));
    }
    let (lengths, rest) = columns.split_at(rows * 4);
    let (times, kinds) = rest.split_at(rows * 8);
    let mut bytes = Vec::with_capacity(rows * INDEX_ROW as usize);
    let (mut offset, mut time) = (first_byte, 0_i64);
    let all = lengths
        .as_chunks::<4>()
        .0
        .iter()
        .zip(times.as_chunks::<8>().0)
        .zip(kinds.as_chunks::<2>().0);
    for ((length, delta), kind) in all {
        time = time.wrapping_add(i64::from_le_bytes(*delta));
        bytes.extend(&offset.to_le_bytes()[..6]);
        bytes.extend(kind);
        bytes.extend(time.to_le_bytes());
        offset += u64::from(u32::from_le_bytes(*length));
    }
    Ok((bytes, offset - first_byte))
}

/// Joins blocks, and checks each: they must come in order, without gaps.
#[derive(Debug, Default)]
pub struct Joiner {
    files: Option<(std::fs::File, std::fs::File)>,
    sha: Sha256,
    blocks: u64,
    bytes: u64,
    rows: u64,
}

/// What makes a [`Block`] again.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct Part {
    /// See [`Block::seq`].
    pub seq: u64,
    /// How many rows.
    pub line_count: u32,
    /// See [`Block::first_byte`].
    pub first_byte: u64,
    /// How many bytes.
    pub byte_count: u32,
    /// See [`Block::raw`].
    pub raw: String,
    /// See [`Block::index`].
    pub index: String,
    /// See [`Block::crc32`].
    pub crc32: u32,
}

/// What was joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// How many blocks.
    pub blocks: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Its SHA-256.
    pub sha256: String,
}

impl Joiner {
    /// Writes the log and its index to these files.
    pub fn into_files(log: std::fs::File, index: std::fs::File) -> Self {
        Self {
            files: Some((log, index)),
            ..Self::default()
        }
    }

    /// Takes the next block.
    ///
    /// # Errors
    /// [`ArchiveError::Differs`] if it is not the next one, or is damaged; I/O.
    pub fn take(&mut self, part: &Part) -> Result<()> {
        if part.seq != self.blocks || part.first_byte != self.bytes {
            return Err(ArchiveError::differs(format!(
                "block {} is missing",
                self.blocks
            )));
        }
        let bytes = unframe(&part.raw, BLOCK_BYTES as usize)?;
        let rows = part.line_count as usize;
        let index = unframe(&part.index, BLOCK_ROWS * COLUMNS)?;
        let (index, covered) = index_rows(&index, rows, part.first_byte)?;
        if bytes.len() != part.byte_count as usize
            || covered != bytes.len() as u64
            || crc32fast::hash(&bytes) != part.crc32
        {
            return Err(ArchiveError::differs(format!(
                "block {} is damaged",
                part.seq
            )));
        }
        self.sha.update(&bytes);
        if let Some((log_file, index_file)) = &mut self.files {
            log_file
                .write_all(&bytes)
                .and_then(|()| index_file.write_all(&index))
                .map_err(|e| ArchiveError::later(format!("could not write the log: {e}")))?;
        }
        self.blocks += 1;
        self.bytes += bytes.len() as u64;
        self.rows += rows as u64;
        Ok(())
    }

    /// How many blocks were taken.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The figures of what was taken.
    pub fn finish(self) -> Joined {
        Joined {
            blocks: self.blocks,
            bytes: self.bytes,
            rows: self.rows,
            sha256: hex::encode(self.sha.finalize()),
        }
    }
}
