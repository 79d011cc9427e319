//! What became of everything, while it is converted.

use super::{Kind, Note};

/// Comments are short; the rest of a long text says nothing more.
const MOST: usize = 400;

/// Collects notes of one file.
#[derive(Debug)]
pub(super) struct Notes {
    file: String,
    list: Vec<Note>,
}

impl Notes {
    /// None yet.
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            list: Vec::new(),
        }
    }

    fn push(&mut self, line: usize, what: String, kind: Kind, words: String) {
        // What differs counts more than that it was understood.
        let same = |known: &Note| known.line == line && known.what == what;
        if kind == Kind::Exact && self.list.iter().any(same) {
            return;
        }
        if kind != Kind::Exact {
            self.list
                .retain(|known| !(same(known) && known.kind == Kind::Exact));
        }
        let note = Note {
            file: self.file.clone(),
            line,
            what,
            kind,
            words,
        };
        // An alias is converted wherever it stands: its place tells it once.
        if !self.list.contains(&note) {
            self.list.push(note);
        }
    }

    /// It means the same.
    pub(super) fn exact(&mut self, line: usize, what: impl Into<String>) {
        self.push(line, what.into(), Kind::Exact, String::new());
    }

    /// It means nearly the same: the reader of the result is told what differs.
    pub(super) fn near(
        &mut self,
        comments: &mut Vec<String>,
        line: usize,
        what: impl Into<String>,
        words: impl Into<String>,
    ) {
        self.told(comments, line, what.into(), Kind::Approximate, words.into());
    }

    /// It has no counterpart: the reader of the result is told so.
    pub(super) fn lost(
        &mut self,
        comments: &mut Vec<String>,
        line: usize,
        what: impl Into<String>,
        words: impl Into<String>,
    ) {
        self.told(
            comments,
            line,
            what.into(),
            Kind::NotConverted,
            words.into(),
        );
    }

    fn told(
        &mut self,
        comments: &mut Vec<String>,
        line: usize,
        what: String,
        kind: Kind,
        words: String,
    ) {
        let head = match kind {
            Kind::NotConverted => "NOT CONVERTED",
            _ => "approximate",
        };
        let what = one_line(&what);
        let words = one_line(&words);
        let comment = format!("{head} (line {line}): {what}: {words}");
        if !comments.contains(&comment) {
            comments.push(comment);
        }
        self.push(line, what, kind, words);
    }

    /// All, in the order of the file.
    pub(super) fn into_notes(mut self) -> Vec<Note> {
        self.list.sort_by_key(|note| note.line);
        self.list
    }
}

/// A text that fits into a comment.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let text = words.join(" ");
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars()
        .take(MOST)
        .chain(std::iter::once('…'))
        .collect()
}
