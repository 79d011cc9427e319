//! Whether a statement is SQL at all, by the dialect's own grammar.
//!
//! PostgreSQL: squawk's parser, which read 15,541 of the 15,544 DDL statements of PostgreSQL's own
//! regression tests that PostgreSQL 15 accepts. SQLite: lemon-rs, made from SQLite's own grammar.
//! No parser in Rust reads MySQL's and MariaDB's DDL; there, what this tool doesn't know is told as
//! a note.

use super::Span;
use super::dialect::Dialect;
use super::script::Raw;
use super::token::Kind;

/// Deeper nesting than this is left to the server: the parsers call themselves for each level.
const DEEPEST: usize = 64;
/// Tokens between two commas or parentheses.
const LONGEST_CHAIN: usize = 500;
/// A longer statement (data, usually) is left to the server.
const LONGEST: usize = 256 * 1024;

/// What is wrong with a statement, and where.
pub(crate) fn check(text: &str, raw: &Raw, dialect: Dialect) -> Option<(String, Span)> {
    if raw.span.end - raw.span.start > LONGEST || deep(text, raw) {
        return None;
    }
    // Placeholders of batches (`:lo`) are numbers to a parser that doesn't know them.
    let mut sql = text.get(raw.span.start..raw.span.end)?.to_owned();
    for param in raw.tokens.iter().filter(|t| t.kind == Kind::Param) {
        let (start, end) = (
            param.span.start - raw.span.start,
            param.span.end - raw.span.start,
        );
        if sql.is_char_boundary(start) && sql.is_char_boundary(end) {
            sql.replace_range(start..end, &"1".repeat(end - start));
        }
    }
    let (message, at) = match dialect {
        Dialect::Postgres => postgres(&sql)?,
        Dialect::Sqlite => sqlite(&sql)?,
        Dialect::Mysql => return None,
    };
    Some((message, place(text, raw, raw.span.start + at)))
}

/// The token at a place, or the statement's last one.
fn place(text: &str, raw: &Raw, at: usize) -> Span {
    let token = raw
        .tokens
        .iter()
        .find(|t| t.span.end > at)
        .or(raw.tokens.last());
    let span = token.map_or(raw.span, |t| t.span);
    debug_assert!(text.is_char_boundary(span.start) && text.is_char_boundary(span.end));
    span
}

/// Whether the parsers would call themselves too often: for parentheses and CASE, which nest, and
/// for long chains without a comma, in which each operator may nest.
fn deep(text: &str, raw: &Raw) -> bool {
    let (mut depth, mut chain) = (0_usize, 0_usize);
    for token in &raw.tokens {
        let word = text
            .get(token.span.start..token.span.end)
            .unwrap_or_default();
        chain += 1;
        match (token.kind, word) {
            (Kind::Punct, "(" | "[") => (depth, chain) = (depth + 1, 0),
            (Kind::Punct, ")" | "]") => (depth, chain) = (depth.saturating_sub(1), 0),
            (Kind::Punct, ",") => chain = 0,
            (Kind::Word, word) if word.eq_ignore_ascii_case("case") => depth += 1,
            (Kind::Word, word) if word.eq_ignore_ascii_case("end") => {
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
        if depth > DEEPEST || chain > LONGEST_CHAIN {
            return true;
        }
    }
    false
}

fn postgres(sql: &str) -> Option<(String, usize)> {
    let parsed = squawk_syntax::SourceFile::parse(sql);
    let errors = parsed.errors();
    let first = errors.first()?;
    Some((
        first.message().trim().to_owned(),
        usize::from(first.range().start()),
    ))
}

fn sqlite(sql: &str) -> Option<(String, usize)> {
    use fallible_iterator::FallibleIterator as _;
    let bump = bumpalo::Bump::new();
    // The grammar wants the `;`.
    let whole = format!("{sql};");
    let mut parser = sqlite3_parser::lexer::sql::Parser::new(&bump, whole.as_bytes());
    loop {
        match parser.next() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => {
                let position = parser.position();
                let before: usize = whole
                    .split_inclusive('\n')
                    .take(position.line.saturating_sub(1))
                    .map(str::len)
                    .sum();
                let at = (before + position.column.saturating_sub(1)).min(sql.len());
                // Its messages end with a place within the statement, which means nothing to
                // readers of the whole file.
                let words = error.to_string();
                let words = words.split(" at ").next().unwrap_or_default().trim();
                let words = if words.is_empty() {
                    "syntax error"
                } else {
                    words
                };
                return Some((words.to_owned(), at));
            }
        }
    }
}
