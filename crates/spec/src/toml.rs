//! TOML to nodes. The only file that knows the TOML parser.
//!
//! A string is a quoted scalar; numbers, booleans and dates are plain scalars with the text as it
//! stands in the file, so that `3.10` stays 3.10 here too.

use std::ops::Range;

use ::toml::de::{DeTable, DeValue};

use crate::codes;
use crate::limits;
use crate::node::{Entry, Node, Style, Value};
use crate::problems::{Problem, Problems};

/// Reads the document; after syntax errors, what could be read in spite of them.
pub(crate) fn read(source: &str, problems: &mut Problems<'_>) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(source);
    for error in &errors {
        let span = error.span().unwrap_or(source.len()..source.len());
        problems.push(syntax(error.message(), span));
        problems.cut_off();
    }
    let table = table.into_inner();
    if table.is_empty() && errors.is_empty() {
        return None;
    }
    let mut reader = Reader {
        source,
        problems,
        nodes: 0,
    };
    reader.map(table, 0..source.len(), 1)
}

/// A table of pyproject.toml and the like as JSON, for [`crate::detect`]. Best effort.
pub(crate) fn to_json(source: &str) -> serde_json::Value {
    ::toml::from_str(source).unwrap_or_default()
}

fn syntax(message: &str, span: Range<usize>) -> Problem {
    let message = message.to_lowercase();
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
    let problem =
        Problem::new(codes::TOML_SYNTAX, span, message.clone()).label("can't be read as TOML");
    if message.contains("string values must be quoted") || message.contains("missing") {
        problem.help("texts stand in quotes in TOML: `timeout = \"10m\"`")
    } else {
        problem
    }
}

struct Reader<'r, 's> {
    source: &'r str,
    problems: &'r mut Problems<'s>,
    nodes: usize,
}

impl Reader<'_, '_> {
    fn map(&mut self, table: DeTable<'_>, span: Range<usize>, depth: usize) -> Option<Node> {
        let mut entries = Vec::new();
        for (key, value) in table {
            let key_span = key.span();
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
