//! SQL text to tokens, for three dialects. Any text gives tokens: what is not closed goes to the
//! end, what is no token is punctuation.

use super::Span;
use super::dialect::Dialect;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or a plain name.
    Word,
    /// A quoted name.
    Ident,
    /// A string.
    Str,
    /// A string in dollar quotes.
    Dollar,
    /// A number.
    Number,
    /// `:lo`, `$1`, `?`.
    Param,
    /// One character of punctuation, or `::`.
    Punct,
    /// What ends a statement: `;`, or what `DELIMITER` made of it.
    End,
    /// A comment: `-- ...`, `# ...`, `/* ... */`.
    Comment,
    /// A line for the client program: `\set ...` of psql, `DELIMITER ...` of mysql.
    Client,
}

/// A token and its place in the text, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
}

/// All tokens of a text, comments among them.
pub(crate) fn tokens(text: &str, dialect: Dialect) -> Vec<Token> {
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
        dialect,
        delimiter: None,
        fresh: true,
        copy: (false, false),
        tokens: Vec::with_capacity(text.len() / 5),
    };
    while lexer.at < lexer.bytes.len() {
        lexer.one();
    }
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    dialect: Dialect,
    /// What `DELIMITER` said, unless it is `;`.
    delimiter: Option<&'a str>,
    /// Whether a statement may begin here.
    fresh: bool,
    /// Whether this is `COPY`, and whether its rows follow.
    copy: (bool, bool),
    tokens: Vec<Token>,
}

fn in_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80
}

impl Lexer<'_> {
    fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn push(&mut self, kind: Kind, end: usize) {
        let mut end = end.clamp(self.at + 1, self.bytes.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        let span = Span {
            start: self.at,
            end,
        };
        self.tokens.push(Token { kind, span });
        self.at = end;
        if kind == Kind::Comment {
            return;
        }
        let first = std::mem::replace(&mut self.fresh, matches!(kind, Kind::End | Kind::Client));
        if self.dialect != Dialect::Postgres {
            return;
        }
        match kind {
            Kind::Word => {
                let word = &self.text[span.start..span.end];
                self.copy.0 |= first && word.eq_ignore_ascii_case("copy");
                self.copy.1 |= self.copy.0 && word.eq_ignore_ascii_case("stdin");
            }
            // pg_dump writes the rows behind the statement, up to a line `\.`.
            Kind::End => {
                if self.copy == (true, true) {
                    let rest = &self.bytes[self.at..];
                    let rows = memchr::memmem::find(rest, b"\n\\.");
                    self.at = rows.map_or(self.bytes.len(), |n| self.at + n + 3);
                }
                self.copy = (false, false);
            }
            _ => {}
        }
    }

    /// The end of this line, before its newline.
    fn line_end(&self) -> usize {
        memchr::memchr(b'\n', &self.bytes[self.at..]).map_or(self.bytes.len(), |n| self.at + n)
    }

    fn one(&mut self) {
        if let Some(delimiter) = self.delimiter
            && self.bytes[self.at..].starts_with(delimiter.as_bytes())
        {
            return self.push(Kind::End, self.at + delimiter.len());
        }
        let (pg, mysql) = (
            self.dialect == Dialect::Postgres,
            self.dialect == Dialect::Mysql,
        );
        match self.byte(0) {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0c | 0x0b => self.at += 1,
            // MySQL wants a space behind the dashes: `5--3` is 8 there.
            b'-' if self.byte(1) == b'-' && (!mysql || self.byte(2) <= b' ') => {
                self.push(Kind::Comment, self.line_end());
            }
            b'#' if mysql => self.push(Kind::Comment, self.line_end()),
            b'/' if self.byte(1) == b'*' => self.block_comment(),
            b'*' if mysql && self.byte(1) == b'/' => self.at += 2,
            b'\'' => self.quoted(Kind::Str, b'\'', mysql),
            b'"' if mysql => self.quoted(Kind::Str, b'"', true),
            b'"' => self.quoted(Kind::Ident, b'"', false),
            b'`' if !pg => self.quoted(Kind::Ident, b'`', false),
            b'[' if self.dialect == Dialect::Sqlite => self.quoted(Kind::Ident, b']', false),
            b'\\' if pg && self.fresh => self.push(Kind::Client, self.line_end()),
            b'$' if pg => self.dollar(),
            b':' if self.byte(1) == b':' => self.push(Kind::Punct, self.at + 2),
            b':' if self.byte(1).is_ascii_alphabetic() || self.byte(1) == b'_' => {
                let end = self.word_end(self.at + 1);
                self.push(Kind::Param, end);
            }
            b';' if self.delimiter.is_none() => self.push(Kind::End, self.at + 1),
            b'0'..=b'9' => self.number(),
            b if in_word(b) || b == b'@' && mysql => self.word(),
            _ => self.push(Kind::Punct, self.at + 1),
        }
    }

    fn word_end(&self, from: usize) -> usize {
        let rest = &self.bytes[from..];
        from + rest.iter().position(|b| !in_word(*b)).unwrap_or(rest.len())
    }

    fn number(&mut self) {
        let rest = &self.bytes[self.at..];
        let part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'.' || *b == b'_';
        let length = rest.iter().position(|b| !part(b)).unwrap_or(rest.len());
        self.push(Kind::Number, self.at + length);
    }

    fn word(&mut self) {
        let end = self.word_end(self.at + 1);
        let word = &self.bytes[self.at..end];
        let (single, next) = (word.len() == 1, self.bytes.get(end) == Some(&b'\''));
        // E'..', B'..', X'..', N'..': a string with a letter before it.
        if single && next && matches!(word[0].to_ascii_lowercase(), b'e' | b'b' | b'x' | b'n') {
            let escapes = self.dialect == Dialect::Mysql || word[0].eq_ignore_ascii_case(&b'e');
            let start = self.at;
            self.at += 1;
            self.quoted(Kind::Str, b'\'', escapes);
            if let Some(token) = self.tokens.last_mut() {
                token.span.start = start;
            }
            return;
        }
        if self.dialect == Dialect::Mysql && self.fresh && word.eq_ignore_ascii_case(b"delimiter") {
            let line = self.line_end();
            let new = self.text.get(end..line).unwrap_or_default().trim();
            self.delimiter = if new == ";" || new.is_empty() {
                None
            } else {
                Some(self.text[end..line].trim())
            };
            return self.push(Kind::Client, line);
        }
        self.push(Kind::Word, end);
    }

    fn quoted(&mut self, kind: Kind, quote: u8, escapes: bool) {
        let mut end = self.at + 1;
        loop {
            match self.bytes.get(end) {
                None => break,
                Some(b'\\') if escapes => end += 2,
                Some(b) if *b == quote => {
                    end += 1;
                    if quote == b']' || self.bytes.get(end) != Some(&quote) {
                        break;
                    }
                    end += 1;
                }
                Some(_) => end += 1,
            }
        }
        self.push(kind, end);
    }

    fn block_comment(&mut self) {
        // What MySQL runs although it stands in a comment: `/*!80000 ... */`, `/*M! ... */`.
        let runs = self.byte(2) == b'!' || (self.byte(2) == b'M' && self.byte(3) == b'!');
        if self.dialect == Dialect::Mysql && runs {
            let from = self.at + if self.byte(2) == b'!' { 3 } else { 4 };
            let digits = self.bytes[from.min(self.bytes.len())..].iter();
            self.at = from + digits.take_while(|b| b.is_ascii_digit()).count();
            return;
        }
        let mut depth = 1;
        let mut end = self.at + 2;
        while end < self.bytes.len() && depth > 0 {
            match (&self.bytes[end], self.bytes.get(end + 1)) {
                (b'*', Some(b'/')) => {
                    depth -= 1;
                    end += 2;
                }
                // PostgreSQL alone nests them.
                (b'/', Some(b'*')) if self.dialect == Dialect::Postgres => {
                    depth += 1;
                    end += 2;
                }
                _ => end += 1,
            }
        }
        self.push(Kind::Comment, end);
    }

    /// `$1`, or `$tag$ ... $tag$`.
    fn dollar(&mut self) {
        let rest = &self.bytes[self.at + 1..];
        if rest.first().is_some_and(u8::is_ascii_digit) {
            return self.push(Kind::Param, self.word_end(self.at + 1));
        }
        let tag = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80;
        let length = rest.iter().position(|b| !tag(b)).unwrap_or(rest.len());
        if rest.get(length) != Some(&b'$') {
            return self.push(Kind::Punct, self.at + 1);
        }
        let body = self.at + length + 2;
        let tag = &self.bytes[self.at..body];
        let found = memchr::memmem::find(&self.bytes[body..], tag);
        let end = found.map_or(self.bytes.len(), |n| body + n + tag.len());
        self.push(Kind::Dollar, end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str, dialect: Dialect) -> Vec<(Kind, &str)> {
        let token = |t: &Token| (t.kind, &text[t.span.start..t.span.end]);
        tokens(text, dialect).iter().map(token).collect()
    }

    #[test]
    fn quotes_of_each_dialect() {
        use Kind::{Comment, Dollar, Ident, Punct, Str, Word};
        let pg = words(
            r#"a "b""c" E'\';' $x$;$x$ /* /* */ ; */ b"#,
            Dialect::Postgres,
        );
        let kinds: Vec<Kind> = pg.iter().map(|t| t.0).collect();
        assert_eq!(kinds, [Word, Ident, Str, Dollar, Comment, Word]);
        let mysql = words(r#"`a` "b\";" # ;"#, Dialect::Mysql);
        let kinds: Vec<Kind> = mysql.iter().map(|t| t.0).collect();
        assert_eq!(kinds, [Ident, Str, Comment]);
        let sqlite = words("[a;b] 'it''s' /* /* */ ,", Dialect::Sqlite);
        let kinds: Vec<Kind> = sqlite.iter().map(|t| t.0).collect();
        assert_eq!(kinds, [Ident, Str, Comment, Punct]);
    }

    #[test]
    fn rows_behind_copy_are_no_sql() {
        let text = "COPY t (a) FROM stdin;\nit's\t(\n\\.\nSELECT 1;";
        let kinds: Vec<&str> = words(text, Dialect::Postgres).iter().map(|t| t.1).collect();
        assert_eq!(kinds[kinds.len() - 4..], [";", "SELECT", "1", ";"]);
    }

    #[test]
    fn a_comment_that_mysql_runs_is_no_comment() {
        let found = words("/*!80000 ALTER */ t", Dialect::Mysql);
        assert_eq!(found, [(Kind::Word, "ALTER"), (Kind::Word, "t")]);
    }
}
