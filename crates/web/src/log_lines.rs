//! A log as text, made row by row: with time stamps or numbers before the lines, and only those
//! lines that a search finds, as `grep` shows them. Everything here blocks.

use std::fmt::Write as _;
use std::ops::Range;

use jiff::Timestamp;
use windlass_logs::folder::MAX_ROW;
use windlass_logs::{LogError, LogReader, RowMeta, Search, Stripper};

/// Rows in one piece, at most.
const ROWS: usize = 4096;
/// About how many bytes of log are in one piece.
const BYTES: u64 = 256 * 1024;

/// What is done with each row.
pub(crate) struct Lines {
    strip: Option<Stripper>,
    /// The time at which its first byte came, RFC 3339 in UTC with microseconds.
    stamps: bool,
    /// Its number, from 1.
    numbers: bool,
    grep: Option<Grep>,
}

struct Grep {
    search: Search,
    /// Lines before and behind a hit.
    context: u64,
    /// Rows before this one were sent.
    sent: u64,
    /// Rows before this one are behind a hit, and are sent.
    until: u64,
    /// The row behind the last one that was sent.
    shown: Option<u64>,
}

impl Lines {
    pub(crate) fn new(strip: Option<Stripper>, stamps: bool, numbers: bool) -> Self {
        Self {
            strip,
            stamps,
            numbers,
            grep: None,
        }
    }

    /// Only lines with a hit, and some around them.
    pub(crate) fn grep(self, search: Search, context: u64) -> Self {
        Self {
            grep: Some(Grep {
                search,
                context,
                sent: 0,
                until: 0,
                shown: None,
            }),
            ..self
        }
    }

    /// The text of the next rows from the byte `at` on, not beyond the byte `end`, and where to
    /// read on: at the same place if there is nothing (yet). A row that `grows` is left out until
    /// it is whole.
    pub(crate) fn read(
        &mut self,
        reader: &mut LogReader,
        at: u64,
        end: u64,
        grows: bool,
    ) -> Result<(Vec<u8>, u64), LogError> {
        let Some(first) = reader.row_at_offset(at)?.filter(|row| row.offset < end) else {
            return Ok((Vec::new(), at));
        };
        let waits = grows && !reader.is_complete();
        let mut out = String::new();
        let mut raw = Vec::new();
        let to = if let Some(mut grep) = self.grep.take() {
            let searched = self.matching(&mut grep, reader, first.number, end, waits, &mut raw);
            self.grep = Some(grep);
            searched?
        } else {
            let mut rows = reader.row_range(first.number, ROWS)?;
            let fitting = rows
                .iter()
                .take_while(|row| row.offset < end && row.offset <= first.offset + BYTES);
            let fitting = fitting.count();
            rows.truncate(fitting);
            if waits {
                let unfinished = rows.last().copied().map(|row| unfinished(reader, &row));
                if unfinished.transpose()? == Some(true) {
                    rows.pop();
                }
            }
            for row in &rows {
                self.put(reader, row, at, &mut out, &mut raw)?;
            }
            rows.last().map_or(first.number, |row| row.number + 1)
        };
        let next = if to == first.number {
            at
        } else {
            reader.row(to)?.map_or(reader.len(), |row| row.offset)
        };
        Ok((raw, next))
    }

    /// Appends the rows from `from` on that match, with those around them. Says which row is next.
    fn matching(
        &mut self,
        grep: &mut Grep,
        reader: &mut LogReader,
        from: u64,
        end: u64,
        waits: bool,
        raw: &mut Vec<u8>,
    ) -> Result<u64, LogError> {
        let mut hits = Vec::new();
        let mut next = grep.search.step(reader, from, |hit| {
            hits.push(hit.row);
            true
        })?;
        let last_row = match reader.row_at_offset(end.saturating_sub(1))? {
            Some(row) => row.number + 1,
            None => reader.rows(),
        };
        next = next.min(last_row);
        if waits && next == reader.rows() && next > from {
            let last = reader.row(next - 1)?;
            if let Some(last) = last
                && unfinished(reader, &last)?
            {
                next -= 1;
            }
        }
        hits.retain(|row| *row < next);
        grep.sent = grep.sent.max(from.saturating_sub(grep.context));
        let mut wanted: Vec<Range<u64>> = Vec::new();
        if grep.until > grep.sent {
            wanted.push(grep.sent..grep.until.min(next));
        }
        for hit in hits {
            wanted.push(hit.saturating_sub(grep.context)..(hit + grep.context + 1).min(next));
            grep.until = hit + grep.context + 1;
        }
        let mut out = String::new();
        for rows in wanted {
            let begin = rows.start.max(grep.sent);
            if begin >= rows.end {
                continue;
            }
            // As grep does it between lines that do not follow each other.
            if grep.context > 0 && grep.shown.is_some_and(|shown| begin > shown) {
                raw.extend_from_slice(b"--\n");
            }
            for row in reader.row_range(begin, (rows.end - begin) as usize)? {
                self.put(reader, &row, row.offset, &mut out, raw)?;
            }
            grep.sent = rows.end;
            grep.shown = Some(rows.end);
        }
        Ok(next)
    }

    /// Appends a row; of the first one only what is behind the byte `at`.
    fn put(
        &mut self,
        reader: &mut LogReader,
        row: &RowMeta,
        at: u64,
        out: &mut String,
        raw: &mut Vec<u8>,
    ) -> Result<(), LogError> {
        let mut bytes = Vec::new();
        reader.row_bytes(row, &mut bytes)?;
        let skip = (at.saturating_sub(row.offset) as usize).min(bytes.len());
        if !row.flags.continues() && skip == 0 {
            // Writing to a String can't fail.
            if self.numbers {
                let _ = write!(out, "{}:", row.number + 1);
            }
            if self.stamps {
                let time = Timestamp::from_microsecond(row.time_us).unwrap_or_default();
                let _ = write!(out, "{} ", time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ"));
            }
        }
        match &mut self.strip {
            Some(strip) => strip.row(&bytes[skip..], out),
            None => {
                raw.extend_from_slice(out.as_bytes());
                out.clear();
                raw.extend_from_slice(&bytes[skip..]);
            }
        }
        raw.extend_from_slice(out.as_bytes());
        out.clear();
        Ok(())
    }
}

/// Whether a row may still grow.
fn unfinished(reader: &mut LogReader, row: &RowMeta) -> Result<bool, LogError> {
    let mut last = [0];
    if row.len >= MAX_ROW || row.number + 1 < reader.rows() || row.len == 0 {
        return Ok(false);
    }
    reader.read_at(row.offset + row.len - 1, &mut last)?;
    Ok(last != *b"\n")
}
