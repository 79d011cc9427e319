//! From text to tokens with their places.

use std::ops::Range;

use super::Fault;
use crate::codes;

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// `branch`, `needs.build.result`, `true`, `in`
    Word(String),
    /// `"text"` or `'text'`
    Text(String),
    /// `42`
    Number(i64),
    /// `&&`, `(`, `==`, …
    Mark(&'static str),
}

/// The marks, longest first.
const MARKS: [&str; 14] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")", "[", "]", ",",
];

/// A fault of the grammar.
pub(super) fn syntax(
    span: Range<usize>,
    message: impl Into<String>,
    label: impl Into<String>,
    help: impl Into<String>,
) -> Fault {
    Fault {
        code: &codes::EXPRESSION_SYNTAX,
        span,
        message: message.into(),
        label: label.into(),
        help: help.into(),
    }
}

/// All tokens of a text.
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Fault> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (token, length) = if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            (Token::Mark(mark), mark.len())
        } else if matches!(c, '"' | '\'') {
            quoted(text, at, c)?
        } else if c.is_ascii_digit()
            || (c == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit()))
        {
            let end = rest[1..].find(|c: char| !c.is_ascii_digit());
            let length = end.map_or(rest.len(), |end| end + 1);
            let number = rest[..length].parse().map_err(|_| {
                syntax(
                    at..at + length,
                    "the number is too large",
                    "no number of ours",
                    "use a smaller one",
                )
            })?;
            (Token::Number(number), length)
        } else if c.is_ascii_alphabetic() || c == '_' {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            let length = rest.find(|c: char| !legal(c)).unwrap_or(rest.len());
            (Token::Word(rest[..length].to_owned()), length)
        } else {
            return Err(stranger(rest, at, c));
        };
        tokens.push((token, at..at + length));
        at += length;
    }
    Ok(tokens)
}

fn stranger(rest: &str, at: usize, c: char) -> Fault {
    let span = at..at + c.len_utf8();
    if rest.starts_with("${{") {
        return Fault {
            code: &codes::EXPRESSION_WRAPPED,
            span: at..at + 3,
            message: "a condition is an expression already".to_owned(),
            label: "not needed here".to_owned(),
            help: "take `${{` and `}}` away".to_owned(),
        };
    }
    let (message, help) = match c {
        '=' if rest.starts_with("=~") => (
            "there is no `=~`",
            "use glob(text, \"pattern\"), contains, starts_with or ends_with",
        ),
        '=' => ("`=` compares nothing", "write `==`"),
        '&' => ("a single `&`", "write `&&` for \"and\""),
        '|' => ("a single `|`", "write `||` for \"or\""),
        '$' => (
            "variables of the shell mean nothing here",
            "use a name such as branch, event or matrix.os",
        ),
        _ => (
            "this has no meaning in a condition",
            "texts stand in quotes; the operators are == != < <= > >= in && || !",
        ),
    };
    syntax(span, message, "not understood", help)
}

/// A text in quotes. In `"` a backslash takes the next character as it is.
fn quoted(text: &str, at: usize, quote: char) -> Result<(Token, usize), Fault> {
    let mut value = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            c if c == quote => return Ok((Token::Text(value), offset + 2)),
            '\\' if quote == '"' => match chars.next() {
                Some((_, escaped)) => value.push(escaped),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(syntax(
        at..text.len(),
        "the text is not closed",
        format!("begins here, and no {quote} follows"),
        format!("add {quote} at its end"),
    ))
}
