//! TOML to nodes. The only file that knows the TOML parser.
//!
//! A string is a quoted scalar; numbers, booleans and dates are plain scalars with the text as it
//! stands in the file, so that `3.10` stays 3.10 here too.

use std::ops::Range;

use ::toml::de::{DeTable, DeValue, Error};

use crate::codes;
use crate::limits;
use crate::node::{Entry, Node, Style, Value};
use crate::problems::{Problem, Problems};

/// Reads the document; after syntax errors, what could be read in spite of them.
pub(crate) fn read(source: &str, problems: &mut Problems<'_>) -> Option<Node> {
    let (table, mut errors) = DeTable::parse_recoverable(source);
    let place = |error: &Error| error.span().map_or(source.len(), |span| span.start);
    errors.sort_by_key(place);
    // Where the structure breaks, the parser goes on by guessing: what it says then is noise.
    let breaks = errors
        .iter()
        .filter(|error| !keeps_structure(error.message()));
    let end = breaks.map(place).min().unwrap_or(source.len());
    let is_empty = table.get_ref().is_empty() && errors.is_empty();
    for error in errors.iter().filter(|error| place(error) <= end) {
        let span = error.span().unwrap_or(source.len()..source.len());
        problems.push(syntax(error.message(), span));
        problems.cut_off();
    }
    if is_empty {
        return None;
    }
    let mut reader = Reader {
        source,
        problems,
        nodes: 0,
        end,
    };
    reader.map(table.into_inner(), 0..source.len(), 1)
}

/// Whether the rest of the file is read rightly in spite of this error.
fn keeps_structure(message: &str) -> bool {
    message.contains("must be quoted") || message.contains("duplicate key")
}

/// A table of pyproject.toml and the like as JSON, for [`crate::detect`]. Best effort.
pub(crate) fn to_json(source: &str) -> serde_json::Value {
    ::toml::from_str(source).unwrap_or_default()
}

fn syntax(message: &str, span: Range<usize>) -> Problem {
    // Some of the parser's messages are sentences.
    let message = message
        .to_lowercase()
        .trim_end_matches(['.', ' '])
        .to_owned();
    if message.contains("duplicate key") {
        return Problem::new(codes::DUPLICATE_KEY, span, "this key stands here twice")
            .label("the second one")
            .help("take one of them away");
    }
    if message.contains("recurs") {
        return Problem::new(
            codes::TOO_DEEP,
            span,
            "tables and arrays are nested too deep",
        )
        .label(format!("at most {} levels", limits::DEPTH));
    }
    if message.contains("must be quoted") {
        return Problem::new(codes::TOML_SYNTAX, span, "a text without quotes")
            .label("expected a value")
            .help("put it in quotes; only numbers, `true` and `false` go without");
    }
    if message.contains("invalid basic string") || message.contains("invalid literal string") {
        return Problem::new(
            codes::UNCLOSED,
            span,
            "this text is not closed, or has a bad escape",
        )
        .label(message)
        .help("close it with the quote that it began with; write a backslash twice in `\"…\"`");
    }
    let problem = Problem::new(codes::TOML_SYNTAX, span, message.clone());
    let problem = problem.label("can't be read as TOML from here on");
    if message.contains("comma") || message.contains("array") {
        problem.help("put `,` between the items of a list, and `]` at its end")
    } else if message.contains("expected `=`") || message.contains("missing assignment") {
        problem.help("write `key = value`, with texts in quotes")
    } else {
        problem
    }
}

struct Reader<'r, 's> {
    source: &'r str,
    problems: &'r mut Problems<'s>,
    nodes: usize,
    /// Where the structure breaks: nothing behind it counts.
    end: usize,
}

impl Reader<'_, '_> {
    fn map(&mut self, table: DeTable<'_>, span: Range<usize>, depth: usize) -> Option<Node> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let key_span = key.span();
            if key_span.start >= self.end {
                continue;
            }
            let Some(value) = self.node(value.span(), value.into_inner(), depth) else {
                continue;
            };
            entries.push(Entry {
                key: key.into_inner().into_owned(),
                key_span,
                value,
            });
        }
        // The parser sorts by name; people read in the order of the file.
        entries.sort_by_key(|entry| entry.key_span.start);
        Some(Node {
            span,
            value: Value::Map(entries),
        })
    }

    /// `None` when a limit was met, which is reported.
    fn node(&mut self, span: Range<usize>, value: DeValue<'_>, depth: usize) -> Option<Node> {
        self.nodes += 1;
        if self.nodes > limits::NODES {
            self.problems.push(
                Problem::new(codes::TOO_MANY_NODES, span, "the file has too many values")
                    .label("at most 20,000"),
            );
            self.problems.cut_off();
            return None;
        }
        if depth >= limits::DEPTH && matches!(value, DeValue::Array(_) | DeValue::Table(_)) {
            self.problems.push(syntax("recursion", span));
            self.problems.cut_off();
            return None;
        }
        match value {
            DeValue::String(text) => Some(Node::scalar(span, text, Style::Quoted)),
            DeValue::Table(table) => self.map(table, span, depth + 1),
            DeValue::Array(items) => {
                let mut list = Vec::new();
                for item in items {
                    if item.span().start >= self.end {
                        continue;
                    }
                    list.extend(self.node(item.span(), item.into_inner(), depth + 1));
                }
                Some(Node {
                    span,
                    value: Value::List(list),
                })
            }
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => {
                let text = self.source.get(span.clone()).unwrap_or_default();
                Some(Node::scalar(span, text, Style::Plain))
            }
        }
    }
}
