//! Where a text stands in a whole log: a scan in constant memory.
//!
//! What is searched is the log's bytes: a text that a program printed with colours within it is not
//! found. A text that is torn over two rows of one very long line is not found either.

use std::io;

use regex::bytes::{Regex, RegexBuilder};

use crate::error::{LogError, Result};
use crate::folder::MAX_ROW;
use crate::reader::LogReader;

/// Bytes that are searched at once.
const BLOCK: usize = 1 << 20;

/// What is searched for.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// A text as it is; letters of ASCII in any case with `ignore_case`.
    pub fn text(text: &str, ignore_case: bool) -> Self {
        let regex = RegexBuilder::new(&regex::escape(text))
            .unicode(false)
            .case_insensitive(ignore_case)
            .size_limit(usize::MAX)
            .build()
            .expect("an escaped text is an expression");
        Self(regex)
    }
}

/// Calls `hit` with the number (from 1) and the bytes of each row that holds the pattern, in order,
/// until it says `false`.
///
/// # Errors
/// I/O, or a damaged sealed log.
pub fn scan(
    reader: &mut LogReader,
    pattern: &Pattern,
    hit: impl FnMut(u64, &[u8]) -> bool,
) -> Result<()> {
    let mut scanner = Scanner {
        pattern,
        hit,
        block: Vec::with_capacity(BLOCK + MAX_ROW as usize),
        rows: 0,
    };
    match reader.copy_to(0..u64::MAX, &mut scanner) {
        Ok(_) => {
            scanner.search(true);
            Ok(())
        }
        // It wants no more.
        Err(LogError::Output(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

struct Scanner<'a, F> {
    pattern: &'a Pattern,
    hit: F,
    /// Bytes from the begin of a row on.
    block: Vec<u8>,
    /// Rows before the block.
    rows: u64,
}

impl<F: FnMut(u64, &[u8]) -> bool> Scanner<'_, F> {
    /// Searches the whole rows of the block, and keeps the rest; `false`: enough was found.
    fn search(&mut self, at_end: bool) -> bool {
        let whole = match memchr::memrchr(b'\n', &self.block) {
            _ if at_end => self.block.len(),
            Some(at) => at + 1,
            // A piece of a very long line: as many rows as it fills.
            None => self.block.len() / MAX_ROW as usize * MAX_ROW as usize,
        };
        let mut at = 0;
        let mut counted = (0, self.rows);
        while let Some(found) = self.pattern.0.find_at(&self.block[..whole], at) {
            let (number, begin, end) = self.row_at(found.start(), &mut counted, whole);
            if !(self.hit)(number, &self.block[begin..end]) {
                return false;
            }
            at = end;
        }
        let rest = &self.block[..whole];
        let (_, rows) = count(rest, counted);
        self.rows = rows;
        self.block.drain(..whole);
        true
    }

    /// Number, begin and end of the row that holds the byte `at`.
    fn row_at(&self, at: usize, counted: &mut (usize, u64), whole: usize) -> (u64, usize, usize) {
        let (begin, rows) = count(&self.block[..at], *counted);
        *counted = (begin, rows);
        let rest = &self.block[begin..whole];
        let near = &rest[..rest.len().min(MAX_ROW as usize)];
        let len = memchr::memchr(b'\n', near).map_or(near.len(), |at| at + 1);
        (rows + 1, begin, begin + len)
    }
}

/// Counts whole rows from `from` (a place where a row begins, and the rows before it) to the end of
/// `bytes`; where the last, unfinished row begins, and how many rows are before that.
fn count(bytes: &[u8], from: (usize, u64)) -> (usize, u64) {
    let (mut begin, mut rows) = from;
    loop {
        let rest = &bytes[begin..];
        let near = &rest[..rest.len().min(MAX_ROW as usize)];
        match memchr::memchr(b'\n', near) {
            Some(at) => begin += at + 1,
            None if near.len() == MAX_ROW as usize => begin += near.len(),
            None => return (begin, rows),
        }
        rows += 1;
    }
}

impl<F: FnMut(u64, &[u8]) -> bool> io::Write for Scanner<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK && !self.search(false) {
            return Err(io::Error::other("enough was found"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn hits(text: &str, log: &[u8], pieces: usize, most: usize) -> Vec<(u64, usize)> {
        let mut found = Vec::new();
        let pattern = Pattern::text(text, true);
        let mut scanner = Scanner {
            pattern: &pattern,
            hit: |row, bytes: &[u8]| {
                found.push((row, bytes.len()));
                found.len() < most
            },
            block: Vec::new(),
            rows: 0,
        };
        let done = log.chunks(pieces).all(|piece| scanner.write(piece).is_ok());
        if done {
            scanner.search(true);
        }
        found
    }

    #[test]
    fn any_text_can_be_searched_for() {
        assert_eq!(
            hits(
                "GR\u{f6}\u{df}e \u{2717}",
                "gr\u{f6}\u{df}E \u{2717}".as_bytes(),
                9,
                9
            )
            .len(),
            1
        );
        assert_eq!(hits("(?-u)[\\x{ff}", b"(?-u)[\\x{ff}", 99, 9).len(), 1);
        assert_eq!(hits("\0\t", b"\0\t", 99, 9).len(), 1);
        let long = "\u{e9}k".repeat(400);
        assert_eq!(hits(&long, long.to_uppercase().as_bytes(), 99, 9).len(), 0);
        assert_eq!(hits(&long, long.as_bytes(), 99, 9).len(), 1);
    }

    proptest::proptest! {
        #[test]
        fn a_text_is_found_in_itself(text in "[^\n]{1,40}", ignore_case: bool) {
            let pattern = Pattern::text(&text, ignore_case);
            assert!(pattern.0.is_match(text.as_bytes()));
        }
    }

    #[test]
    fn each_row_is_told_once_with_its_number() {
        let log = b"one\ntwo x X\n\nX.three\nx";
        let expected = [(2, 8), (4, 8), (5, 1)];
        assert_eq!(hits("x", log, 1000, 9), expected);
        assert_eq!(hits("x", log, 1000, 2), expected[..2]);
        assert_eq!(hits(".t", log, 1000, 9), [(4, 8)]);
        assert_eq!(hits("nothing", log, 1000, 9), []);
    }

    #[test]
    fn rows_of_large_logs_and_long_lines_are_numbered_as_the_index_does() {
        let row = MAX_ROW as usize;
        let mut log = Vec::new();
        for n in 0..60_000 {
            log.extend_from_slice(format!("line {n} is like any other line\n").as_bytes());
        }
        log.extend_from_slice(&vec![b'-'; 40 * row]);
        log.extend_from_slice(b"needle\nneedle\n");
        let expected = [(60_041, 7), (60_042, 7)];
        assert_eq!(hits("needle", &log, 256 * 1024, 9), expected);
        assert_eq!(hits("needle", &log, 999_983, 9), expected);
        assert_eq!(hits("line 59999", &log, 70_000, 9)[0].0, 60_000);
        // Enough, before the end.
        assert_eq!(hits("line", &log, 70_000, 3).len(), 3);
    }
}
