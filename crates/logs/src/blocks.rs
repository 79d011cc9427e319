//! Which rows of a log are drawn over by later ones, and so must be given to one screen together:
//! [`crate::Renderer::block`].
//!
//! A program can only draw over lines that are on its screen. So a row with a movement up
//! (`CSI A`, `CSI H`, ...) concerns the rows of one screen before it, and those of one screen
//! behind it, at the end of which the cursor is at the bottom again. Overlapping ones are one
//! block. Blocks are also cut where the log's offset passes a multiple of [`SEGMENT`] bytes: that
//! bounds what a window costs, and whoever begins to read anywhere finds the same blocks.
//!
//! Nothing is stored: the rows around a window tell. A log without such movements pays for looking
//! at two hundred rows more.

use std::ops::Range;

use crate::error::Result;
use crate::folder::{MAX_ROW, RowMeta};
use crate::reader::LogReader;
use crate::screen::block::SCREEN_LINES;

/// No block crosses a multiple of this many bytes of the log.
pub const SEGMENT: u64 = 256 * 1024;
const REACH: u64 = SCREEN_LINES as u64;

/// Whether the cursor may move to an earlier line in these bytes.
pub fn moves_up(bytes: &[u8]) -> bool {
    memchr::memchr_iter(0x1b, bytes).any(|at| {
        let rest = &bytes[at + 1..];
        match rest.first() {
            Some(b'[') => {
                let end = rest[1..]
                    .iter()
                    .take(64)
                    .find(|b| !(0x20..0x40).contains(*b));
                matches!(end, Some(b'A' | b'F' | b'H' | b'f' | b'd' | b'k' | b'u'))
            }
            Some(b'M' | b'8') => true,
            _ => false,
        }
    })
}

/// The blocks that touch the rows in `range`, in order. They may begin before it and end behind it;
/// the last one of a live log grows with the log.
///
/// # Errors
/// I/O, or a damaged sealed log.
pub fn blocks(reader: &mut LogReader, range: Range<u64>) -> Result<Vec<Range<u64>>> {
    let end = range.end.min(reader.rows());
    if range.start >= end {
        return Ok(Vec::new());
    }
    let (Some(first), Some(last)) = (reader.row(range.start)?, reader.row(end - 1)?) else {
        return Ok(Vec::new());
    };
    let (head, tail) = (first.offset / SEGMENT, last.offset / SEGMENT);
    let mut found = Moves::default();
    let (mut from, mut to) = (range.start.saturating_sub(REACH), end + REACH);
    found.look(reader, from..range.start, Some(head))?;
    found.look(reader, range.start..end, None)?;
    found.look(reader, end..to, Some(tail))?;
    // On to both sides as long as the chain holds: two rows of one block are at most twice the
    // screen apart.
    while let Some((first, _)) = found.rows.first().copied() {
        let next = first.saturating_sub(2 * REACH);
        if next >= from || !found.look(reader, next..from, Some(head))? {
            break;
        }
        from = next;
    }
    while let Some((last, _)) = found.rows.last().copied() {
        let next = last + 2 * REACH + 1;
        if next <= to || !found.look(reader, to..next, Some(tail))? {
            break;
        }
        to = next;
    }
    let mut blocks: Vec<Range<u64>> = Vec::new();
    let mut segment = None;
    let mut bounds = 0..0;
    for (row, offset) in found.rows {
        if segment != Some(offset / SEGMENT) {
            segment = Some(offset / SEGMENT);
            bounds = rows_of_segment(reader, offset / SEGMENT)?;
        }
        let block = row.saturating_sub(REACH).max(bounds.start)..(row + REACH + 1).min(bounds.end);
        match blocks.last_mut() {
            Some(last) if block.start < last.end => last.end = last.end.max(block.end),
            _ => blocks.push(block),
        }
    }
    blocks.retain(|block| block.end > range.start && block.start < end);
    Ok(blocks)
}

/// The rows that begin in a segment.
fn rows_of_segment(reader: &mut LogReader, segment: u64) -> Result<Range<u64>> {
    let mut first_from = |offset: u64| -> Result<u64> {
        let row = reader.row_at_offset(offset)?;
        Ok(row.map_or(reader.rows(), |row| {
            row.number + u64::from(row.offset < offset)
        }))
    };
    Ok(first_from(segment * SEGMENT)?..first_from((segment + 1) * SEGMENT)?)
}

/// Rows with movements up, and their offsets, in order.
#[derive(Default)]
struct Moves {
    rows: Vec<(u64, u64)>,
}

impl Moves {
    /// Looks at rows that lie before or behind all that were looked at, of one segment or of all.
    /// Says whether there was anything.
    fn look(
        &mut self,
        reader: &mut LogReader,
        rows: Range<u64>,
        segment: Option<u64>,
    ) -> Result<bool> {
        let count = usize::try_from(rows.end.saturating_sub(rows.start)).unwrap_or(usize::MAX);
        let mut metas = reader.row_range(rows.start, count)?;
        metas.retain(|row| segment.is_none_or(|segment| row.offset / SEGMENT == segment));
        let mut found = Vec::new();
        let mut bytes = Vec::new();
        let mut rest = metas.as_slice();
        while let Some(first) = rest.first() {
            let few = rest
                .iter()
                .take_while(|row| row.offset + row.len - first.offset <= 4 * MAX_ROW)
                .count()
                .max(1);
            let (now, later) = rest.split_at(few);
            rest = later;
            read_rows(reader, now, &mut bytes)?;
            if memchr::memchr(0x1b, &bytes).is_none() {
                continue;
            }
            for row in now {
                let begin = (row.offset - first.offset) as usize;
                let end = (begin + row.len as usize).min(bytes.len());
                if bytes.get(begin..end).is_some_and(moves_up) {
                    found.push((row.number, row.offset));
                }
            }
        }
        let any = !found.is_empty();
        match self.rows.first() {
            Some((first, _)) if rows.start < *first => {
                found.append(&mut self.rows);
                self.rows = found;
            }
            _ => self.rows.append(&mut found),
        }
        Ok(any)
    }
}

fn read_rows(reader: &mut LogReader, rows: &[RowMeta], bytes: &mut Vec<u8>) -> Result<()> {
    bytes.clear();
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Ok(());
    };
    let len = (last.offset + last.len).saturating_sub(first.offset);
    // A damaged index must not make us allocate.
    bytes.resize(len.min(5 * MAX_ROW) as usize, 0);
    let read = reader.read_at(first.offset, bytes)?;
    bytes.truncate(read);
    Ok(())
}
