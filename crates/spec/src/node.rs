//! The tree that both languages are read into: text with places, and no guess at types.
//!
//! `3.10`, `yes` and `010` stay the text that was written; each key decides what a scalar means.

use std::ops::Range;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Bytes of the source.
    pub(crate) span: Range<usize>,
    /// What is there.
    pub(crate) value: Value,
}

/// The three shapes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// One text.
    Scalar(Scalar),
    /// Values in order.
    List(Vec<Node>),
    /// Keys with values, in the order of the file; no key twice.
    Map(Vec<Entry>),
}

/// One text as it was written, escapes resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// The text.
    pub(crate) text: String,
    /// How it was written.
    pub(crate) style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: `3.10`, and in TOML every value that isn't a string.
    Plain,
    /// In quotes. A string in TOML always is.
    Quoted,
    /// YAML's `|` and `>`.
    Block,
}

/// One key of a map with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key's text.
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) key_span: Range<usize>,
    /// Its value.
    pub(crate) value: Node,
}

impl Node {
    /// A scalar of this style.
    pub(crate) fn scalar(span: Range<usize>, text: impl Into<String>, style: Style) -> Self {
        let text = text.into();
        Self {
            span,
            value: Value::Scalar(Scalar { text, style }),
        }
    }

    /// Whether nothing was written: `key:` and the end of the line.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar)
            if scalar.style == Style::Plain && scalar.text.is_empty())
    }

    /// The text of a plain scalar.
    pub(crate) fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) if scalar.style == Style::Plain => Some(&scalar.text),
            _ => None,
        }
    }

    /// "a list", "a map" or "a text".
    pub(crate) fn found_shape(&self) -> &'static str {
        match self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
            Value::Scalar(_) => "a text",
        }
    }

    /// What a person would call it: "a list", "the number `90`", "nothing".
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(entries) if entries.is_empty() => "an empty map".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar(_) if self.is_nothing() => "nothing".to_owned(),
            Value::Scalar(Scalar { text, style }) => {
                let shown = shorten(text, 40);
                match (style, text.as_str()) {
                    (Style::Plain, "null" | "Null" | "NULL" | "~") => format!("`{shown}`"),
                    (Style::Plain, text) if looks_like_number(text) => {
                        format!("the number `{shown}`")
                    }
                    (Style::Plain, _) => format!("`{shown}`"),
                    (Style::Quoted | Style::Block, _) => format!("the text `{shown}`"),
                }
            }
        }
    }
}

/// Whether a person means a number: digits with sign, point and separators.
pub(crate) fn looks_like_number(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'_' | b'-' | b'+'))
}

/// The first line of a text, cut to so many characters, fit to stand inside a message.
pub(crate) fn shorten(text: &str, most: usize) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let mut shown: String = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most + 1)
        .collect();
    if shown.chars().count() > most {
        shown = shown.chars().take(most.saturating_sub(1)).collect();
        shown.truncate(shown.trim_end().len());
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn found_says_what_a_person_sees() {
        let found = |text: &str, style| Node::scalar(0..0, text, style).found();
        assert_eq!(found("", Style::Plain), "nothing");
        assert_eq!(found("90", Style::Plain), "the number `90`");
        assert_eq!(found("yes", Style::Plain), "`yes`");
        assert_eq!(found("90", Style::Quoted), "the text `90`");
    }

    #[test]
    fn shorten_keeps_one_line() {
        assert_eq!(shorten("\n one\ntwo", 9), "one");
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdefg", 6), "abcde…");
        assert_eq!(shorten("a\tb", 6), "a b");
        assert_eq!(shorten("ééééééé", 3), "éé…");
    }
}
