//! Searching one log, live or sealed, with a regular expression: a scan, piece by piece, in
//! constant memory. Whoever stops asking has cancelled it.
//!
//! What is searched is each row as text: without escape sequences, its bytes otherwise as they
//! came. A match lies within one row; a line longer than a row ([`crate::folder::MAX_ROW`]) is
//! searched row by row. Text that was drawn over is found, too: it was printed.
//!
//! Most of the work is done on whole pieces: escape sequences are taken out at once, and
//! `grep-regex` looks for the rows that can match by the literals that every match must hold.

use grep_matcher::{LineMatchKind, Matcher as _};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use memchr::memchr;

use crate::error::{LogError, Result};
use crate::folder::{MAX_ROW, RowMeta};
use crate::reader::LogReader;

/// Rows that are looked at in one step, at most.
const STEP_ROWS: usize = 16 * 1024;
/// About how many bytes are looked at in one step.
const STEP_BYTES: u64 = 1024 * 1024;
/// Places within one row that are told.
const MAX_SPANS: usize = 50;
/// After so many lines of a piece it is judged whether the quick look is worth its time.
const MANY: u32 = 256;
/// The longest pattern in bytes.
pub const MAX_PATTERN: usize = 1000;
/// A compiled pattern takes no more memory than this, nor do the states made while searching.
const MAX_COMPILED: usize = 4 << 20;

/// How a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SearchOptions {
    /// Upper and lower case are different. Without it, only where the pattern holds an upper-case
    /// letter.
    pub case_sensitive: bool,
    /// The pattern is text, and not a regular expression.
    pub literal: bool,
}

/// Why a pattern can not be searched for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SearchError {
    /// It is empty.
    #[error("there is nothing to search for")]
    Empty,
    /// It is longer than [`MAX_PATTERN`].
    #[error("the pattern is longer than {MAX_PATTERN} bytes")]
    TooLong,
    /// It is no regular expression, or too large a one. Several lines: the last says why.
    #[error("{message}")]
    Pattern {
        /// What is wrong, with the place marked beneath the pattern.
        message: String,
    },
}

/// A row with at least one match.
#[derive(Debug)]
pub struct Hit<'a> {
    /// The row, from 0.
    pub row: u64,
    line: &'a [u8],
    matcher: &'a RegexMatcher,
}

impl Hit<'_> {
    /// Begin and end of the matches in the row's text ([`text_of`]), in bytes; at most fifty. Looked
    /// for only now: where every row matches, most of the work is here.
    pub fn spans(&self) -> Vec<(usize, usize)> {
        spans(self.matcher, self.line)
    }
}

/// A pattern, and where the search for it is.
#[derive(Debug, Clone)]
pub struct Search {
    matcher: RegexMatcher,
    bytes: Vec<u8>,
    text: Vec<u8>,
    /// A row and its first byte: where the last step ended.
    place: (u64, u64),
    /// Most of what looked like a match was none: the quick look costs more than it saves.
    direct: bool,
}

impl Search {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`SearchError`]: words for whoever wrote the pattern.
    pub fn new(pattern: &str, options: SearchOptions) -> std::result::Result<Self, SearchError> {
        if pattern.is_empty() {
            return Err(SearchError::Empty);
        }
        if pattern.len() > MAX_PATTERN {
            return Err(SearchError::TooLong);
        }
        // For words as people type them. What this takes away, that K also finds a Kelvin sign, makes
        // searching half as fast.
        let plain = |c: char| c.is_ascii() && (options.literal || !is_meta_character(c));
        let matcher = RegexMatcherBuilder::new()
            .unicode(!pattern.chars().all(plain))
            .case_smart(!options.case_sensitive)
            .fixed_strings(options.literal)
            .multi_line(true)
            .crlf(true)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .nest_limit(50)
            .build(pattern)
            .map_err(|error| SearchError::Pattern {
                message: hint(&error.to_string()),
            })?;
        Ok(Self {
            matcher,
            bytes: Vec::new(),
            text: Vec::new(),
            place: (0, 0),
            direct: false,
        })
    }

    /// Looks at the next rows from `from` on, hands out those that match in their order, and says
    /// where to go on: at the same place if there is nothing more (yet). `found` may say that it
    /// has enough, by `false`; then the place is behind that row.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn step(
        &mut self,
        reader: &mut LogReader,
        from: u64,
        mut found: impl FnMut(Hit<'_>) -> bool,
    ) -> Result<u64> {
        if let Some(lines) = self.load_lines(reader, from)? {
            let stopped = self.scan_lines(from, from + lines, &mut found)?;
            return Ok(stopped.unwrap_or(from + lines));
        }
        let rows = self.load(reader, from, STEP_ROWS)?;
        let next = rows.last().map_or(from, |row| row.number + 1);
        let stopped = self.scan(&rows, &mut found)?;
        Ok(stopped.unwrap_or(next))
    }

    /// Loads whole lines without a look at the index, and says how many. `None` where a line is, or
    /// may be, longer than a row, and at the end of the log: then the index must tell.
    fn load_lines(&mut self, reader: &mut LogReader, from: u64) -> Result<Option<u64>> {
        if self.place.0 != from {
            let Some(row) = reader.row(from)? else {
                return Ok(None);
            };
            self.place = (from, row.offset);
        }
        self.bytes.resize(STEP_BYTES as usize, 0);
        let read = reader.read_at(self.place.1, &mut self.bytes)?;
        let Some(end) = memchr::memrchr(b'\n', &self.bytes[..read]) else {
            return Ok(None);
        };
        // A line as long as a row has half a row without an end, wherever it lies.
        let half = (MAX_ROW / 2) as usize;
        let short = self.bytes[..=end]
            .chunks(half)
            .all(|c| memchr(b'\n', c).is_some());
        if !short || read < self.bytes.len() && end + half < read {
            return Ok(None);
        }
        self.bytes.truncate(end + 1);
        let lines = memchr::memchr_iter(b'\n', &self.bytes).count() as u64;
        self.place = (from + lines, self.place.1 + end as u64 + 1);
        Ok(Some(lines))
    }

    /// The last row before `before` that matches, looking back at about `max_bytes` of the log.
    /// Without one: where to go on looking back, 0 at the beginning.
    ///
    /// # Errors
    /// I/O, or a damaged sealed log.
    pub fn step_back(
        &mut self,
        reader: &mut LogReader,
        before: u64,
    ) -> Result<std::result::Result<u64, u64>> {
        let before = before.min(reader.rows());
        let end = reader.row(before)?.map_or(reader.len(), |row| row.offset);
        let near = reader.row_at_offset(end.saturating_sub(STEP_BYTES))?;
        let from = near
            .map_or(0, |row| row.number)
            .max(before.saturating_sub(STEP_ROWS as u64))
            .min(before.saturating_sub(1));
        let mut last = None;
        let rows = self.load(reader, from, (before - from) as usize)?;
        self.scan(&rows, &mut |hit| {
            last = Some(hit.row);
            true
        })?;
        Ok(last.ok_or(from))
    }

    /// Where the pattern matches in one row.
    pub fn spans(&mut self, row: &[u8]) -> Vec<(usize, usize)> {
        text_of(row, &mut self.text);
        let line = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
        spans(&self.matcher, line)
    }

    fn load(&mut self, reader: &mut LogReader, from: u64, count: usize) -> Result<Vec<RowMeta>> {
        let mut rows = reader.row_range(from, count)?;
        let Some(first) = rows.first().copied() else {
            self.bytes.clear();
            return Ok(rows);
        };
        let most = first.offset + STEP_BYTES + MAX_ROW;
        let fitting = rows.partition_point(|row| row.offset + row.len <= most);
        rows.truncate(fitting.max(1));
        let last = rows[rows.len() - 1];
        let len = (last.offset + last.len).saturating_sub(first.offset);
        // A damaged index must not make us allocate.
        self.bytes
            .resize(len.min(STEP_BYTES + 2 * MAX_ROW) as usize, 0);
        let read = reader.read_at(first.offset, &mut self.bytes)?;
        self.bytes.truncate(read);
        Ok(rows)
    }

    /// Hands out the hits in what was loaded. Says where it was stopped, if it was.
    fn scan(
        &mut self,
        rows: &[RowMeta],
        found: &mut dyn FnMut(Hit<'_>) -> bool,
    ) -> Result<Option<u64>> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(None);
        };
        // Rows and lines are the same unless a line is longer than a row.
        if !rows
            .iter()
            .any(|row| row.flags.continues() || row.len >= MAX_ROW)
        {
            return self.scan_lines(first.number, last.number + 1, found);
        }
        for row in rows {
            let begin = (row.offset - first.offset) as usize;
            let end = (begin + row.len as usize).min(self.bytes.len());
            let Some(bytes) = self.bytes.get(begin..end) else {
                break;
            };
            text_of(bytes, &mut self.text);
            let line = self.text.strip_suffix(b"\n").unwrap_or(&self.text);
            if self.matcher.is_match(line).map_err(impossible)? {
                let hit = Hit {
                    row: row.number,
                    line,
                    matcher: &self.matcher,
                };
                if !found(hit) {
                    return Ok(Some(row.number + 1));
                }
            }
        }
        Ok(None)
    }

    /// The same where every line is a row; `first` is the number of the first.
    fn scan_lines(
        &mut self,
        first: u64,
        end_row: u64,
        found: &mut dyn FnMut(Hit<'_>) -> bool,
    ) -> Result<Option<u64>> {
        let text = if memchr(0x1b, &self.bytes).is_none() {
            &self.bytes
        } else {
            text_of(&self.bytes, &mut self.text);
            &self.text
        };
        let (mut at, mut row, mut counted) = (0, first, 0);
        // Lines that the quick look took for hits, and those that were none.
        let (mut looked, mut wrong) = (0_u32, 0_u32);
        while at < text.len() {
            let candidate = if self.direct {
                let end = self.matcher.shortest_match_at(text, at);
                end.map(|end| end.map(|end| LineMatchKind::Confirmed(end - at)))
            } else {
                self.matcher.find_candidate_line(&text[at..])
            };
            let (place, confirmed) = match candidate.map_err(impossible)? {
                None => break,
                Some(LineMatchKind::Confirmed(place)) => (at + place, true),
                Some(LineMatchKind::Candidate(place)) => (at + place, false),
            };
            // It may be the end of a match, and so of the text.
            let place = place.min(text.len());
            let begin = memchr::memrchr(b'\n', &text[at..place]).map_or(at, |n| at + n + 1);
            let end = memchr(b'\n', &text[place..]).map_or(text.len(), |n| place + n);
            let line = &text[begin..end];
            at = end + 1;
            if !confirmed {
                looked += 1;
                if !self.matcher.is_match(line).map_err(impossible)? {
                    wrong += 1;
                    self.direct = looked >= MANY && wrong > looked / 2;
                    continue;
                }
            }
            row += memchr::memchr_iter(b'\n', &text[counted..begin]).count() as u64;
            counted = begin;
            let hit = Hit {
                row,
                line,
                matcher: &self.matcher,
            };
            if row < end_row && !found(hit) {
                return Ok(Some(row + 1));
            }
        }
        Ok(None)
    }
}

/// Whether a character may mean something in a regular expression.
fn is_meta_character(c: char) -> bool {
    r"\.+*?()|[]{}^$".contains(c)
}

/// The matcher knows no errors; its trait could have some.
fn impossible(error: grep_matcher::NoError) -> LogError {
    LogError::Output(error.into())
}

fn spans(matcher: &RegexMatcher, line: &[u8]) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    // It has no errors either; what was found until then stays.
    let _ = matcher.find_iter(line, |found| {
        spans.push((found.start(), found.end()));
        spans.len() < MAX_SPANS
    });
    spans
}

/// What to do, behind the words of the regular expression's parser.
fn hint(error: &str) -> String {
    let advice = if error.contains("look-around") {
        "look-around is not supported: search for the text itself, and use `grep` for more"
    } else if error.contains("backreferences") {
        "backreferences are not supported"
    } else if error.contains("exceeds size limit") || error.contains("size limit") {
        "the pattern is too large: use smaller counts in `{}`"
    } else if error.contains("literal \"\\n\"") || error.contains("'\\n'") {
        "a match lies within one line: take `\\n` out"
    } else {
        "put a `\\` before a character that stands for itself, or search for plain text"
    };
    format!("{}\n{advice}", error.trim_end())
}

/// Rows as they are searched: without escape sequences. Everything else stays as it is. Replaces
/// `text`; line ends stay, so rows stay rows. (`^` and `$` also match beside a `\r`.)
pub fn text_of(rows: &[u8], text: &mut Vec<u8>) {
    text.clear();
    text.reserve(rows.len());
    let mut rest = rows;
    while let Some(at) = memchr(0x1b, rest) {
        text.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let skipped = sequence_len(rest);
        if skipped == 0 {
            text.push(0x1b);
            rest = &rest[1..];
        } else {
            rest = &rest[skipped..];
        }
    }
    text.extend_from_slice(rest);
}

/// The length of the escape sequence that begins here; 0 if it is none. Colours, most of all, are
/// recognised at once.
fn sequence_len(bytes: &[u8]) -> usize {
    if bytes.get(1) == Some(&b'[') {
        for (i, b) in bytes[2..].iter().enumerate().take(64) {
            match b {
                b'0'..=b'9' | b';' => {}
                0x40..=0x7e => return i + 3,
                _ => break,
            }
        }
    }
    crate::screen::sequence_len(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_sequences_and_keeps_its_lines() {
        let mut text = Vec::new();
        text_of(
            b"\x1b[1;31mred\x1b[0m\n\x1b]8;;http://a\x07link\x1b]8;;\x07\n\x1b[3\nm\x1b",
            &mut text,
        );
        assert_eq!(text, b"red\nlink\n\x1b[3\nm\x1b");
    }

    #[test]
    fn a_bad_pattern_is_explained() {
        for (pattern, word) in [
            ("", "nothing"),
            ("(a", "unclosed group"),
            ("a(?=b)", "look-around is not supported"),
            (r"(a)\1", "backreferences"),
            ("*", "before a character"),
            (r"\w{1000}{50}", "too large"),
            (&"a".repeat(2000), "longer"),
        ] {
            let error = Search::new(pattern, SearchOptions::default()).unwrap_err();
            assert!(error.to_string().contains(word), "{pattern}: {error}");
        }
    }
}
