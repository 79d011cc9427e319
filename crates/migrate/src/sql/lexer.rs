//! From text to tokens, per dialect: quotes, comments, dollar quotes. Never fails on a stray byte;
//! only a quote or comment that never ends is an error.

use super::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A bare word: keyword, name or number.
    Word,
    /// A quoted name: `"x"`, `` `x` ``, `[x]`.
    Name,
    /// A string, also a dollar-quoted one.
    Text,
    /// One other character.
    Sign,
    /// MySQL's `/*! ... */`, which the server runs.
    Hint,
}

/// A token that counts: no space, no comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// As it stands in the text, quotes included.
    pub text: String,
}

impl Token {
    /// Whether it is this keyword, in any case.
    pub fn is(&self, keyword: &str) -> bool {
        self.kind == TokenKind::Word && self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether it is this character.
    pub fn is_sign(&self, sign: &str) -> bool {
        self.kind == TokenKind::Sign && self.text == sign
    }
}

/// A piece of the text, as [`next`] finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Space or a comment.
    Blank,
    /// A token that counts.
    Token(TokenKind),
}

/// A quote or comment that never ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unended(pub(super) &'static str);

/// The piece that begins at `at`, and where it ends.
pub(crate) fn next(
    text: &str,
    at: usize,
    dialect: Dialect,
) -> Result<Option<(Piece, usize)>, Unended> {
    let bytes = text.as_bytes();
    let Some(&first) = bytes.get(at) else {
        return Ok(None);
    };
    let second = bytes.get(at + 1).copied().unwrap_or(0);
    let piece = match (first, second) {
        (b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c, _) => {
            let end = bytes[at..]
                .iter()
                .position(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c))
                .map_or(bytes.len(), |n| at + n);
            (Piece::Blank, end)
        }
        (b'-', b'-') if dialect != Dialect::Mysql || blank_after(bytes, at + 2) => {
            (Piece::Blank, line_end(bytes, at))
        }
        (b'#', _) if dialect == Dialect::Mysql => (Piece::Blank, line_end(bytes, at)),
        (b'/', b'*') => block(bytes, at, dialect)?,
        (b'\'', _) => (
            Piece::Token(TokenKind::Text),
            quoted(bytes, at, b'\'', dialect == Dialect::Mysql, "a string")?,
        ),
        (b'E' | b'e', b'\'') if dialect == Dialect::Postgres => (
            Piece::Token(TokenKind::Text),
            quoted(bytes, at + 1, b'\'', true, "a string")?,
        ),
        (b'"', _) if dialect == Dialect::Mysql => (
            Piece::Token(TokenKind::Text),
            quoted(bytes, at, b'"', true, "a string")?,
        ),
        (b'"', _) => (
            Piece::Token(TokenKind::Name),
            quoted(bytes, at, b'"', false, "a quoted name")?,
        ),
        (b'`', _) if dialect != Dialect::Postgres => (
            Piece::Token(TokenKind::Name),
            quoted(bytes, at, b'`', false, "a quoted name")?,
        ),
        (b'[', _) if dialect == Dialect::Sqlite => {
            let end = bytes[at..].iter().position(|b| *b == b']');
            let end = end.ok_or(Unended("a name in brackets"))?;
            (Piece::Token(TokenKind::Name), at + end + 1)
        }
        (b'$', _) if dialect == Dialect::Postgres => dollar(text, at)?,
        (b, _) if is_word(b) => {
            let end = bytes[at..]
                .iter()
                // A dollar sign inside a word belongs to it: `a$b$` opens no quote.
                .position(|b| !is_word(*b) && *b != b'$')
                .map_or(bytes.len(), |n| at + n);
            (Piece::Token(TokenKind::Word), end)
        }
        _ => (Piece::Token(TokenKind::Sign), at + 1),
    };
    Ok(Some(piece))
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    bytes[at..]
        .iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |n| at + n)
}

/// MySQL takes `--` for a comment only before a blank or the end.
fn blank_after(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_none_or(|b| *b <= b' ')
}

/// A block comment. PostgreSQL's nest; SQLite's may end with the file; MySQL runs `/*! */`.
fn block(bytes: &[u8], at: usize, dialect: Dialect) -> Result<(Piece, usize), Unended> {
    // `/*!50003 ...` runs, and so does MariaDB's `/*M!100100 ...`.
    let runs = dialect == Dialect::Mysql
        && (bytes.get(at + 2) == Some(&b'!') || bytes[at + 2..].starts_with(b"M!"));
    if runs {
        return hint(bytes, at);
    }
    let mut depth = 1;
    let mut i = at + 2;
    while i < bytes.len() {
        match (bytes[i], bytes.get(i + 1)) {
            (b'*', Some(b'/')) => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return Ok((Piece::Blank, i));
                }
            }
            (b'/', Some(b'*')) if dialect == Dialect::Postgres => {
                depth += 1;
                i += 2;
            }
            _ => i += 1,
        }
    }
    if dialect == Dialect::Sqlite {
        return Ok((Piece::Blank, bytes.len()));
    }
    Err(Unended("a comment"))
}

/// The whole of `/*! ... */`; a `*/` inside a quote does not end it.
fn hint(bytes: &[u8], at: usize) -> Result<(Piece, usize), Unended> {
    let mut i = at + 2;
    while i < bytes.len() {
        i = match bytes[i] {
            quote @ (b'\'' | b'"') => quoted(bytes, i, quote, true, "a string")?,
            b'`' => quoted(bytes, i, b'`', false, "a quoted name")?,
            b'*' if bytes.get(i + 1) == Some(&b'/') => {
                return Ok((Piece::Token(TokenKind::Hint), i + 2));
            }
            _ => i + 1,
        };
    }
    Err(Unended("a comment"))
}

/// The end of a quote that opens at `at`; doubled quotes stay inside.
fn quoted(
    bytes: &[u8],
    at: usize,
    quote: u8,
    backslash: bool,
    what: &'static str,
) -> Result<usize, Unended> {
    let mut i = at + 1;
    while i < bytes.len() {
        if backslash && bytes[i] == b'\\' {
            i += 2;
        } else if bytes[i] == quote {
            if bytes.get(i + 1) != Some(&quote) {
                return Ok(i + 1);
            }
            i += 2;
        } else {
            i += 1;
        }
    }
    Err(Unended(what))
}

/// `$tag$ ... $tag$`, or a parameter such as `$1`, or a lone sign.
fn dollar(text: &str, at: usize) -> Result<(Piece, usize), Unended> {
    let bytes = text.as_bytes();
    let mut end = at + 1;
    while end < bytes.len() && is_word(bytes[end]) {
        end += 1;
    }
    let tag_is_name = bytes.get(at + 1).is_some_and(|b| !b.is_ascii_digit());
    if bytes.get(end) != Some(&b'$') || !(end == at + 1 || tag_is_name) {
        return Ok((Piece::Token(TokenKind::Sign), at + 1));
    }
    let tag = &text[at..=end];
    match text[end + 1..].find(tag) {
        Some(n) => Ok((Piece::Token(TokenKind::Text), end + 1 + n + tag.len())),
        None => Err(Unended("a dollar-quoted string")),
    }
}
