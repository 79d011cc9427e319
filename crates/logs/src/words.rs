//! What an index of words over all logs needs to know: the words of a log, block by block, and what a person's
//! question asks of lines.
//!
//! The index names blocks and not lines: 256 times fewer entries. Which lines of a block it is, its text says.

use std::collections::HashSet;

use crate::{LogReader, Result, Stripper};

/// Rows of one block, unless they are long.
pub const BLOCK_ROWS: u64 = 256;
/// No block goes on beyond so many bytes.
const BLOCK_BYTES: u64 = 256 * 1024;
/// Shorter words are in every block, and say nothing.
const SHORTEST: usize = 2;
/// Of longer words (encoded files) only the beginning counts. Characters.
const LONGEST: usize = 40;
/// The most terms of one question.
const MOST_TERMS: usize = 16;

/// Rows that lie together, and all words in them, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The first row, from 0.
    pub first_row: u64,
    /// How many rows.
    pub rows: u64,
    /// Lower case, a space between them.
    pub words: String,
}

/// Reads a log and hands out its blocks in order.
///
/// # Errors
/// What the log or `take` fails with.
pub fn blocks<E: From<crate::LogError>>(
    reader: &mut LogReader,
    mut take: impl FnMut(Block) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut stripper = Stripper::new();
    let (mut text, mut bytes) = (String::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut next = 0;
    loop {
        let mut rows = reader.row_range(next, BLOCK_ROWS as usize)?;
        let Some(first) = rows.first().map(|row| row.offset) else {
            return Ok(());
        };
        let fitting = rows
            .iter()
            .take_while(|row| row.offset - first < BLOCK_BYTES);
        rows.truncate(fitting.count());
        let mut words = String::new();
        seen.clear();
        for row in &rows {
            text.clear();
            bytes.clear();
            reader.row_bytes(row, &mut bytes)?;
            stripper.row(&bytes, &mut text);
            each_word(&text, |word| {
                if !seen.contains(word) {
                    seen.insert(word.to_owned());
                    if !words.is_empty() {
                        words.push(' ');
                    }
                    words.push_str(word);
                }
            });
        }
        let block = Block {
            first_row: next,
            rows: rows.len() as u64,
            words,
        };
        next += block.rows;
        take(block)?;
    }
}

/// Calls `take` with every word of the text: letters, digits and `_`, in lower case.
fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut word = String::new();
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    for piece in text.split(|c| !is_part(c)) {
        if piece.len() < SHORTEST {
            continue;
        }
        word.clear();
        if piece.is_ascii() {
            word.push_str(&piece[..piece.len().min(LONGEST)]);
            word.make_ascii_lowercase();
        } else {
            word.extend(piece.chars().take(LONGEST).flat_map(char::to_lowercase));
            // What lower case may bring along, such as the dot of `İ`, is no letter.
            word.retain(is_part);
        }
        take(&word);
    }
}

/// What is looked for: lines that have all terms, each as it is written, whatever the case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    terms: Vec<Term>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    /// In lower case.
    text: String,
    words: Vec<String>,
    /// The last word may go on.
    open: bool,
}

/// Why a question can't be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// Nothing is asked.
    #[error("there is nothing to look for: write one or more words")]
    Empty,
    /// No word can be looked up.
    #[error("every word is too short: at least one needs two letters or digits")]
    TooShort,
    /// `*` behind one or two letters.
    #[error("`*` needs three letters or digits before it: everything begins with fewer")]
    TooOpen,
    /// More than can be meant.
    #[error("these are more than {MOST_TERMS} words: leave some out")]
    TooMany,
}

impl Question {
    /// Words, and phrases in double quotes. `*` at the end of a term: the word may go on.
    ///
    /// # Errors
    /// A sentence for whoever asked.
    pub fn parse(text: &str) -> std::result::Result<Self, QuestionError> {
        let mut terms = Vec::new();
        for (number, part) in text.split('"').enumerate() {
            if number % 2 == 1 {
                terms.push(part.trim());
            } else {
                terms.extend(part.split_whitespace());
            }
        }
        terms.retain(|term| !term.is_empty());
        if terms.is_empty() {
            return Err(QuestionError::Empty);
        }
        if terms.len() > MOST_TERMS {
            return Err(QuestionError::TooMany);
        }
        let mut all = Vec::with_capacity(terms.len());
        for term in terms {
            let (text, open) = match term.strip_suffix('*') {
                Some(text) if !text.is_empty() => (text, true),
                _ => (term, false),
            };
            let mut words = Vec::new();
            each_word(text, |word| words.push(word.to_owned()));
            let last_is_word = text.ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let open = open && last_is_word;
            if open && words.last().is_none_or(|word| word.chars().count() < 3) {
                return Err(QuestionError::TooOpen);
            }
            all.push(Term {
                text: text.to_lowercase(),
                words,
                open,
            });
        }
        if all.iter().all(|term| term.words.is_empty()) {
            return Err(QuestionError::TooShort);
        }
        Ok(Self { terms: all })
    }

    /// The words that a block must have, and whether the word may go on.
    pub fn words(&self) -> impl Iterator<Item = (&str, bool)> {
        self.terms.iter().flat_map(|term| {
            let last = term.words.len().saturating_sub(1);
            let words = term.words.iter().enumerate();
            words.map(move |(n, word)| (word.as_str(), term.open && n == last))
        })
    }

    /// Where the terms are in a line: byte ranges in order, none inside another; `None` if one of them is
    /// missing. The line is plain text.
    pub fn find(&self, line: &str) -> Option<Vec<std::ops::Range<usize>>> {
        let (lower, places) = lowered(line);
        let mut found = Vec::new();
        for term in &self.terms {
            let mut any = false;
            for (at, _) in lower.match_indices(term.text.as_str()) {
                let end = at + term.text.len();
                if !term.fits(&lower, at, end) {
                    continue;
                }
                any = true;
                found.push(places.original(at)..places.original(end));
            }
            if !any {
                return None;
            }
        }
        found.sort_by_key(|range| (range.start, range.end));
        let mut apart: Vec<std::ops::Range<usize>> = Vec::new();
        for range in found {
            match apart.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => apart.push(range),
            }
        }
        Some(apart)
    }
}

impl Term {
    /// As the index has whole words, a line has the term only as whole words, too.
    fn fits(&self, line: &str, start: usize, end: usize) -> bool {
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let goes_on =
            |a: Option<char>, b: Option<char>| a.is_some_and(is_part) && b.is_some_and(is_part);
        let first = self.text.chars().next();
        let last = self.text.chars().next_back();
        let before = line[..start].chars().next_back();
        let after = line[end..].chars().next();
        !goes_on(before, first) && (self.open || !goes_on(last, after))
    }
}

/// A text in lower case, and the way back.
fn lowered(text: &str) -> (String, Places) {
    if text.is_ascii() {
        return (text.to_ascii_lowercase(), Places(None));
    }
    let mut lower = String::with_capacity(text.len());
    let mut places = Vec::with_capacity(text.len() + 1);
    for (at, c) in text.char_indices() {
        lower.extend(c.to_lowercase());
        places.resize(lower.len(), at);
    }
    places.push(text.len());
    (lower, Places(Some(places)))
}

/// For each byte of a lowered text, where its character begins in the original; `None` if nothing moved.
struct Places(Option<Vec<usize>>);

impl Places {
    fn original(&self, at: usize) -> usize {
        match &self.0 {
            Some(places) => places.get(at).copied().unwrap_or_default(),
            None => at,
        }
    }
}

/// The lines of a block that answer a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its row, from 0.
    pub row: u64,
    /// When it came, microseconds since 1970.
    pub time_us: i64,
    /// Plain text without the line's end, at most [`SHOWN`] bytes around the first place.
    pub text: String,
    /// Places in `text`.
    pub places: Vec<std::ops::Range<usize>>,
}

/// Bytes of a line that are shown.
pub const SHOWN: usize = 400;

/// The lines among `rows` rows from `first_row` on that have all terms.
///
/// # Errors
/// I/O, or a damaged log.
pub fn lines(
    reader: &mut LogReader,
    question: &Question,
    first_row: u64,
    rows: u64,
) -> Result<Vec<Line>> {
    let mut stripper = Stripper::new();
    let (mut text, mut bytes) = (String::new(), Vec::new());
    let mut found = Vec::new();
    for row in reader.row_range(first_row, rows as usize)? {
        text.clear();
        bytes.clear();
        reader.row_bytes(&row, &mut bytes)?;
        stripper.row(&bytes, &mut text);
        let line = text.trim_end_matches('\n');
        if let Some(places) = question.find(line) {
            let (text, places) = around(line, places);
            found.push(Line {
                row: row.number,
                time_us: row.time_us,
                text,
                places,
            });
        }
    }
    Ok(found)
}

/// The part of a long line around the first place.
fn around(
    line: &str,
    places: Vec<std::ops::Range<usize>>,
) -> (String, Vec<std::ops::Range<usize>>) {
    if line.len() <= SHOWN {
        return (line.to_owned(), places);
    }
    let first = places.first().map_or(0, |place| place.start);
    let start = line.floor_char_boundary(first.saturating_sub(SHOWN / 4));
    let end = line.floor_char_boundary((start + SHOWN).min(line.len()));
    let (before, after) = (start > 0, end < line.len());
    let mark = if before { "…" } else { "" };
    let text = format!(
        "{mark}{}{}",
        &line[start..end],
        if after { "…" } else { "" }
    );
    let moved = places.into_iter().filter(|place| place.end <= end);
    let moved = moved.map(|p| p.start - start + mark.len()..p.end - start + mark.len());
    (text, moved.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(question: &str, line: &str) -> Option<Vec<String>> {
        let places = Question::parse(question).unwrap().find(line)?;
        Some(places.into_iter().map(|p| line[p].to_owned()).collect())
    }

    #[test]
    fn a_line_has_all_terms_as_whole_words() {
        let line = "error[E0308]: mismatched types --> src/main.rs:7:5";
        assert_eq!(found("e0308", line).unwrap(), ["E0308"]);
        assert_eq!(
            found("types mismatched", line).unwrap(),
            ["mismatched", "types"]
        );
        assert_eq!(
            found("\"mismatched types\"", line).unwrap(),
            ["mismatched types"]
        );
        assert_eq!(found("src/main.rs:7", line).unwrap(), ["src/main.rs:7"]);
        assert_eq!(found("mism", line), None);
        assert_eq!(found("mism*", line).unwrap(), ["mism"]);
        assert_eq!(found("\"types mismatched\"", line), None);
        assert_eq!(found("E0308 E0309", line), None);
        assert_eq!(
            found("İSTANBUL größe", "Größe: İstanbul").unwrap(),
            ["Größe", "İstanbul"]
        );
    }

    #[test]
    fn what_can_not_be_asked_says_why() {
        for (text, error) in [
            (" ", QuestionError::Empty),
            ("\"\"", QuestionError::Empty),
            ("a - :", QuestionError::TooShort),
            ("ab*", QuestionError::TooOpen),
            (&"ab ".repeat(17), QuestionError::TooMany),
        ] {
            assert_eq!(Question::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_long_line_is_shown_around_its_first_place() {
        let line = format!("{}needle{}", "ä".repeat(5_000), "x".repeat(5_000));
        let line = format!("{} needle {}", &line[..10_000], &line[10_006..]);
        let places = Question::parse("needle").unwrap().find(&line).unwrap();
        let (text, places) = around(&line, places);
        assert!(text.len() <= SHOWN + 8, "{}", text.len());
        assert_eq!(&text[places[0].clone()], "needle");
    }

    proptest! {
        /// Whatever a line has as a word, a question for that word finds, in the index and in the line.
        #[test]
        fn what_is_indexed_is_found(line in "\\PC{0,80}") {
            let mut words = Vec::new();
            each_word(&line, |word| words.push(word.to_owned()));
            for word in words.iter().filter(|word| word.chars().count() < LONGEST) {
                let Ok(question) = Question::parse(word) else { continue };
                prop_assert!(question.words().all(|(w, _)| words.iter().any(|known| known == w)));
                // Lower case of single letters may differ from that of the whole (final sigma).
                if line.to_lowercase() == lowered(&line).0 {
                    prop_assert!(question.find(&line).is_some(), "{word:?} in {line:?}");
                }
            }
        }

        #[test]
        fn places_are_in_the_line(line in "\\PC{0,60}", question in "\\PC{1,12}") {
            if let Ok(question) = Question::parse(&question)
                && let Some(places) = question.find(&line)
            {
                for place in places {
                    prop_assert!(line.get(place).is_some());
                }
            }
        }
    }
}
