//! Text as YAML: readable, quoted only where it must be.

/// Writes lines below each other.
#[derive(Debug, Default)]
pub(super) struct Text {
    out: String,
    /// What stands before the next line's content once: the dash of a list's item.
    dash: bool,
    indent: usize,
}

/// Comments are broken after so many characters.
const WIDTH: usize = 100;

impl Text {
    /// What was written.
    pub(super) fn into_string(self) -> String {
        self.out
    }

    /// An empty line.
    pub(super) fn empty_line(&mut self) {
        self.out.push('\n');
    }

    fn start(&mut self) {
        let indent = "  ".repeat(self.indent);
        self.out.push_str(&indent);
        if std::mem::take(&mut self.dash) {
            let at = self.out.len() - 2;
            self.out.replace_range(at.., "- ");
        }
    }

    fn line(&mut self, text: &str) {
        self.start();
        self.out.push_str(text);
        self.out.push('\n');
    }

    /// One or more lines of comment.
    pub(super) fn comments(&mut self, comments: &[String]) {
        for comment in comments {
            let room = WIDTH.saturating_sub(self.indent * 2 + 2).max(40);
            for (number, line) in wrapped(comment, room).into_iter().enumerate() {
                let lead = if number == 0 { "# " } else { "#   " };
                self.line(&format!("{lead}{line}"));
            }
        }
    }

    /// What `inside` writes, each line as a comment.
    pub(super) fn commented(&mut self, inside: impl FnOnce(&mut Self)) {
        let mut below = Self::default();
        inside(&mut below);
        self.line("# not yet accepted:");
        for line in below.into_string().lines() {
            self.line(format!("# {line}").trim_end());
        }
    }

    /// `key: value`
    pub(super) fn value(&mut self, key: &str, value: &str) {
        if value.contains('\n') && block_fits(value) {
            self.block(Some(key), value);
            return;
        }
        self.line(&format!("{}: {}", scalar(key), scalar(value)));
    }

    /// `key: value`, the value as it is: a number, `true`, or YAML already.
    pub(super) fn raw(&mut self, key: &str, value: &str) {
        self.line(&format!("{}: {value}", scalar(key)));
    }

    /// A line of YAML as it is.
    pub(super) fn verbatim(&mut self, yaml: &str) {
        self.line(yaml);
    }

    /// `key:` and what `inside` writes below it.
    pub(super) fn map(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        // Our YAML reads no truth into `on`.
        let key = if key == "on" {
            key.to_owned()
        } else {
            scalar(key)
        };
        self.line(&format!("{key}:"));
        self.indent += 1;
        inside(self);
        self.indent -= 1;
    }

    /// An item of a list whose keys `inside` writes.
    pub(super) fn item(&mut self, inside: impl FnOnce(&mut Self)) {
        self.indent += 1;
        self.dash = true;
        inside(self);
        self.dash = false;
        self.indent -= 1;
    }

    /// An item of a list that is a text.
    pub(super) fn text_item(&mut self, text: &str) {
        self.indent += 1;
        self.dash = true;
        if text.contains('\n') && block_fits(text) {
            self.block(None, text);
        } else {
            self.line(&scalar(text));
        }
        self.indent -= 1;
    }

    /// A text, or a list of several: in one line where that is short.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        match texts {
            [one] => self.value(key, one),
            several => self.list(key, several),
        }
    }

    /// A list, in one line where that is short.
    pub(super) fn list(&mut self, key: &str, texts: &[String]) {
        let line = flow_list(texts);
        if line.chars().count() + key.len() + self.indent * 2 < 80 {
            self.raw(key, &line);
            return;
        }
        self.map(key, |out| {
            for text in texts {
                out.text_item(text);
            }
        });
    }

    /// A map of texts.
    pub(super) fn vars(&mut self, key: &str, vars: &[(String, String)]) {
        if vars.is_empty() {
            return;
        }
        self.map(key, |out| {
            for (name, value) in vars {
                out.value(name, value);
            }
        });
    }

    fn block(&mut self, key: Option<&str>, text: &str) {
        let text = text.trim_matches('\n');
        // Where the first line is indented, YAML must be told by how much the text is.
        let mark = if text.starts_with(' ') { "|2" } else { "|" };
        match key {
            Some(key) => self.line(&format!("{}: {mark}", scalar(key))),
            None => self.line(mark),
        }
        // A list's item stands as deep as its dash; its text is one deeper.
        let depth = if key.is_some() {
            self.indent + 1
        } else {
            self.indent
        };
        let indent = "  ".repeat(depth);
        for line in text.lines() {
            if !line.trim().is_empty() {
                self.out.push_str(&indent);
                self.out.push_str(line);
            }
            self.out.push('\n');
        }
    }
}

/// Words in lines of a width; a long word stands alone.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let Some(line) = lines.last_mut() else {
            break;
        };
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines
}

/// Whether a text can be a block: nothing but visible characters, tabs and newlines.
fn block_fits(text: &str) -> bool {
    let text = text.trim_matches('\n');
    let first = text.lines().next().unwrap_or_default();
    !first.trim().is_empty()
        && !first.starts_with('\t')
        && text
            .chars()
            .all(|c| matches!(c, '\n' | '\t') || is_visible(c))
}

fn is_visible(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// A text as a value or key.
pub(super) fn scalar(text: &str) -> String {
    if is_plain(text) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let special = "-?:,[]{}#&*!|>'\"%@`=<~.";
    let dot = first == '.' && text.len() > 1 && !text.starts_with("..");
    let option =
        first == '-' && text.len() > 2 && !text.starts_with("- ") && !text.starts_with("---");
    (!special.contains(first) || dot || option)
        && !text.starts_with(' ')
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| c != '\t' && is_visible(c))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n"
        )
}

fn quoted(text: &str) -> String {
    if !text.contains('\'') && text.chars().all(is_visible) && text.contains(['"', '\\']) {
        return format!("'{text}'");
    }
    double_quoted(text)
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_visible(c) => out.push(c),
            c if u32::from(c) <= 0xff => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// A text inside of `[…]` or `{…}`.
pub(super) fn flow(text: &str) -> String {
    if is_plain(text) && !text.contains([',', '[', ']', '{', '}', ':', '"', '\'', '#']) {
        text.to_owned()
    } else if text.contains(['"', '\\']) {
        quoted(text)
    } else {
        double_quoted(text)
    }
}

/// `[a, b]`
pub(super) fn flow_list(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| flow(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// `{a: b, c: d}`
pub(super) fn flow_map(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}: {}", flow(name), flow(value)))
        .collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Value;
    use crate::problems::{Language, Problems};
    use proptest::prelude::*;

    #[test]
    fn quotes_only_where_they_must_be() {
        for plain in ["cargo test", "3.10", "a:b", "src/**", "-x y", ".drone", "é"] {
            assert_eq!(scalar(plain), plain);
        }
        assert_eq!(scalar("a: b"), "\"a: b\"");
        assert_eq!(scalar("\"x\" #"), "'\"x\" #'");
        assert_eq!(scalar("null"), "\"null\"");
        assert_eq!(scalar("true"), "\"true\"");
        assert_eq!(scalar(""), "\"\"");
        assert_eq!(flow("a,b"), "\"a,b\"");
        assert_eq!(flow("${{ x }}"), "\"${{ x }}\"");
    }

    /// What `key: value` is read back as.
    fn read_back(text: &str) -> Option<String> {
        let mut problems = Problems::new(text.as_bytes(), Language::Yaml);
        let node = crate::yaml::read(text, &mut problems);
        assert!(!problems.has_errors(), "{text:?}: {problems:?}");
        let node = node?;
        let value = match &node.value {
            Value::Map(entries) => entries.first()?.value.clone(),
            Value::List(items) => items.first()?.clone(),
            Value::Scalar(_) => return None,
        };
        let value = match value.value {
            Value::Map(entries) => entries.first()?.value.clone(),
            Value::List(items) => items.first()?.clone(),
            Value::Scalar(_) => value,
        };
        match value.value {
            Value::Scalar(scalar) => Some(scalar.text),
            _ => None,
        }
    }

    fn value(text: &str) -> String {
        let mut out = Text::default();
        out.value("key", text);
        out.into_string()
    }

    fn item(text: &str) -> String {
        let mut out = Text::default();
        out.map("key", |out| out.text_item(text));
        out.into_string()
    }

    #[test]
    fn blocks_are_read_back() {
        for text in [
            "a\nb",
            "a\n\n  b\n",
            "  a\nb",
            "#!x\n# y",
            "a \nb",
            "a\n\tb\n\n",
        ] {
            let expected = text
                .trim_matches('\n')
                .lines()
                .collect::<Vec<_>>()
                .join("\n");
            let value = read_back(&value(text)).unwrap();
            assert_eq!(value.trim_end_matches('\n'), expected, "{text:?}");
            let item = read_back(&item(text)).unwrap();
            assert_eq!(item.trim_end_matches('\n'), expected, "{text:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_line_is_read_back(text in "[ -~é日\t]{0,20}") {
            prop_assert_eq!(read_back(&value(&text)), Some(text.clone()));
            prop_assert_eq!(read_back(&item(&text)), Some(text.clone()));
            let list = format!("key: {}\n", flow_list(std::slice::from_ref(&text)));
            prop_assert_eq!(read_back(&list), Some(text.clone()));
        }

        #[test]
        fn any_text_is_read_back(text in "([ -~é\u{0}-\u{1f}\u{85}]{0,8}\n?){0,6}") {
            let text = text.replace('\0', "");
            let squeezed = |text: &str| {
                let lines: Vec<&str> = text.trim_matches('\n').split('\n').map(|l| if l.trim().is_empty() { "" } else { l }).collect();
                lines.join("\n").trim_matches('\n').to_owned()
            };
            prop_assert_eq!(squeezed(&read_back(&value(&text)).unwrap()), squeezed(&text));
            prop_assert_eq!(squeezed(&read_back(&item(&text)).unwrap()), squeezed(&text));
        }
    }
}
