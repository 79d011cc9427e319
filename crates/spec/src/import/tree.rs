//! Looking around in a tree of YAML without complaining.

use crate::node::{Entry, Node, Value};

/// Questions to a value; what has another shape answers with nothing.
pub(super) trait Tree {
    /// The entries of a map.
    fn entries(&self) -> &[Entry];
    /// The value of a key of a map, if one is written.
    fn get(&self, key: &str) -> Option<&Node>;
    /// The text of a scalar; `null` is none.
    fn text(&self) -> Option<&str>;
    /// The items of a list; a single value is a list of one, nothing an empty one.
    fn list(&self) -> Vec<&Node>;
    /// The texts of a list, lists in lists laid flat; what is no text is left out.
    fn texts(&self) -> Vec<String>;
    /// `true` or `false`.
    fn truth(&self) -> Option<bool>;
    /// The text of a key.
    fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }
    /// The texts of a key.
    fn texts_of(&self, key: &str) -> Vec<String> {
        self.get(key).map(Tree::texts).unwrap_or_default()
    }
}

impl Tree for Node {
    fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries().iter().find(|entry| entry.key == key)?;
        let null = matches!(
            entry.value.plain(),
            Some("" | "~" | "null" | "Null" | "NULL")
        );
        (!null).then_some(&entry.value)
    }

    fn text(&self) -> Option<&str> {
        if matches!(self.plain(), Some("" | "~" | "null" | "Null" | "NULL")) {
            return None;
        }
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    fn list(&self) -> Vec<&Node> {
        match &self.value {
            Value::List(items) => items.iter().collect(),
            Value::Scalar(_) if self.text().is_none() => Vec::new(),
            _ => vec![self],
        }
    }

    fn texts(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for item in self.list() {
            match &item.value {
                Value::List(_) => texts.extend(item.texts()),
                _ => texts.extend(item.text().map(ToOwned::to_owned)),
            }
        }
        texts
    }

    fn truth(&self) -> Option<bool> {
        match self.plain()?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        }
    }
}
