//! Text that a shell takes as nothing but text: quoted words and comments.

/// One word of a POSIX shell. Plain ones stay as they are, everything else stands in single quotes,
/// in which a shell understands nothing at all.
pub(super) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    // No argument and no variable can hold NUL.
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// `NAME=value` as one word for `env`.
pub(super) fn assignment(name: &str, value: &str) -> String {
    if value.is_empty() {
        return format!("{name}=");
    }
    let quoted = quote(value);
    if quoted == value {
        return format!("{name}={value}");
    }
    quote(&format!("{name}={value}"))
}

/// A text as one line without anything that a terminal or a shell could take for more than a letter.
pub(super) fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        // U+2028 and its like end lines in some editors; bidirectional marks make code lie.
        let hidden = matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || hidden {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// A text as comment lines, indented.
pub(super) fn comment(indent: &str, text: &str) -> String {
    let mut shown = String::new();
    for row in text.split('\n') {
        shown.push_str(format!("{indent}# {}", line(row)).trim_end());
        shown.push('\n');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_they_must_be() {
        assert_eq!(quote("src/main.rs"), "src/main.rs");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's"), r"'it'\''s'");
        assert_eq!(quote("~"), "'~'");
        assert_eq!(quote("$(id)\n`id`"), "'$(id)\n`id`'");
        assert_eq!(assignment("A", "x"), "A=x");
        assert_eq!(assignment("A", "x y"), "'A=x y'");
        assert_eq!(assignment("A", ""), "A=");
    }

    #[test]
    fn nothing_gets_out_of_a_comment() {
        assert_eq!(
            comment("  ", "a\nid\r\u{1b}[1m"),
            "  # a\n  # id\\r\\u{1b}[1m\n"
        );
        assert_eq!(line("a\nb\u{202e}"), "a\\nb\\u{202e}");
    }
}
