//! What a key of the spec is: documentation, schema and lowering in one value.
//!
//! The tables in [`crate::keys`] are the language. Reading, error messages, JSON Schema and the
//! reference page all come from them, so a new key is a new file there and one line in a table.

use serde_json::Value;

use crate::codes;
use crate::node::{Entry, Node, Value as NodeValue};
use crate::problems::{Problem, Problems};
use crate::suggest;

/// What people and editors are told about a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct About {
    /// The key itself.
    pub(crate) name: &'static str,
    /// Whether the map can't do without it.
    pub(crate) required: bool,
    /// One line without a full stop, for editors.
    pub(crate) summary: &'static str,
    /// What may be written and what it does: Markdown.
    pub(crate) details: &'static str,
    /// A whole spec that shows it.
    pub(crate) example: &'static str,
    /// The JSON Schema of its value.
    pub(crate) schema: fn() -> Value,
    /// The keys of its value, if that is a map of our own.
    pub(crate) inside: &'static [&'static About],
}

/// A key that may stand in a map that becomes a `T`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<T: 'static> {
    /// Its documentation.
    pub(crate) about: About,
    /// Takes its value over, or says what is wrong with it.
    pub(crate) lower: fn(&mut T, &Entry, &mut Problems<'_>),
}

/// Lowers every key of a map, and reports those that are unknown or missing. `place` is what a
/// person calls the map: "the top level", "a step".
pub(crate) fn lower_map<T>(
    entries: &[Entry],
    keys: &[Key<T>],
    place: &str,
    target: &mut T,
    problems: &mut Problems<'_>,
) {
    for entry in entries {
        match keys.iter().find(|key| key.about.name == entry.key) {
            Some(key) => (key.lower)(target, entry, problems),
            None => problems.push(suggest::unknown_key(entry, &names(keys), place)),
        }
    }
}

/// Reports the required keys that a map doesn't have. Says nothing when the file could not be
/// read to its end, or when a key is there misspelt: that is one mistake, not two.
pub(crate) fn require<T>(
    entries: &[Entry],
    keys: &[Key<T>],
    span: std::ops::Range<usize>,
    place: &str,
    problems: &mut Problems<'_>,
) {
    if problems.is_cut_off() {
        return;
    }
    for key in keys.iter().filter(|key| key.about.required) {
        let name = key.about.name;
        if entries.iter().any(|entry| entry.key == name) {
            continue;
        }
        let is_it = |entry: &Entry| {
            suggest::nearest(&entry.key, &names(keys)) == Some(name)
                || suggest::instead(&entry.key) == Some(name)
        };
        if entries.iter().any(is_it) {
            continue;
        }
        problems.push(
            Problem::new(
                codes::MISSING_KEY,
                span.clone(),
                format!("{place} needs `{name}`"),
            )
            .label(format!("`{name}` is missing"))
            .help(format!("add `{name}`: {}", key.about.summary)),
        );
    }
}

/// The names in a table.
pub(crate) fn names<T>(keys: &[Key<T>]) -> Vec<&'static str> {
    keys.iter().map(|key| key.about.name).collect()
}

/// The entries of a map, or a message that there is none.
pub(crate) fn entries<'n>(
    node: &'n Node,
    name: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n [Entry]> {
    if let NodeValue::Map(entries) = &node.value {
        return Some(entries);
    }
    crate::value::wrong_type(node, name, expected, None, problems);
    None
}
