//! One text for what databases write in several ways.

use crate::sql::{Dialect, Piece, TokenKind, next};

/// The tokens of a text, with where they begin and end. A text that can't be cut has none.
pub(super) fn tokens(text: &str, dialect: Dialect) -> Vec<(TokenKind, usize, usize)> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Ok(Some((piece, end))) = next(text, at, dialect) {
        if let Piece::Token(kind) = piece {
            out.push((kind, at, end));
        }
        at = end;
    }
    out
}

/// One text for SQL of SQLite that differs in spaces, comments, the case of words, and quotes that
/// are not needed.
pub(super) fn sqlite(text: &str) -> String {
    let words: Vec<String> = tokens(text, Dialect::Sqlite)
        .into_iter()
        .map(|(kind, start, end)| sqlite_word(kind, &text[start..end]))
        .collect();
    words.join(" ")
}

fn sqlite_word(kind: TokenKind, word: &str) -> String {
    match kind {
        TokenKind::Word => word.to_lowercase(),
        TokenKind::Name => {
            let inner = &word[1..word.len() - 1];
            // Where these stand without quotes, a constraint begins.
            let words = ["constraint", "primary", "unique", "check", "foreign"];
            let plain = !inner.is_empty()
                && !words.iter().any(|w| inner.eq_ignore_ascii_case(w))
                && !inner.starts_with(|c: char| c.is_ascii_digit())
                && inner.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if plain {
                inner.to_lowercase()
            } else {
                format!("\"{}\"", inner.replace("``", "`").to_lowercase())
            }
        }
        _ => word.to_owned(),
    }
}

/// A `CREATE TABLE` of SQLite: what is between its outer parentheses, cut at the commas, and what
/// follows them. `None`: there are no columns in parentheses.
pub(super) fn sqlite_table(text: &str) -> Option<(Vec<String>, String)> {
    let mut depth = 0;
    let mut items = Vec::new();
    let mut item: Vec<String> = Vec::new();
    let mut tail = None;
    for (kind, start, end) in tokens(text, Dialect::Sqlite) {
        let raw = &text[start..end];
        let word = sqlite_word(kind, raw);
        if let Some(tail) = &mut tail {
            let tail: &mut Vec<String> = tail;
            tail.push(word);
            continue;
        }
        match raw {
            "(" if kind == TokenKind::Sign => {
                depth += 1;
                if depth == 1 {
                    continue;
                }
            }
            ")" if kind == TokenKind::Sign => {
                depth -= 1;
                if depth == 0 {
                    items.push(std::mem::take(&mut item).join(" "));
                    tail = Some(Vec::new());
                    continue;
                }
            }
            "," if depth == 1 => {
                items.push(std::mem::take(&mut item).join(" "));
                continue;
            }
            _ => {}
        }
        if depth > 0 {
            item.push(word);
        }
    }
    Some((items, tail?.join(" ")))
}

/// Whether a `;` put behind the text would be part of a comment.
pub(super) fn ends_in_comment(text: &str, dialect: Dialect) -> bool {
    let last = tokens(text, dialect).last().map_or(0, |t| t.2);
    let tail = text[last..].rsplit('\n').next().unwrap_or("");
    tail.contains("--") || tail.contains('#')
}

/// PostgreSQL writes `x IN ('a', 'b')` of a varchar first as `(ARRAY['a'::character varying,
/// ...])::text[]`, and once that was read again, as `ARRAY[('a'::character varying)::text, ...]`.
/// This makes the second of the first.
pub(super) fn arrays(text: &str) -> String {
    if !text.contains("])::") {
        return text.to_owned();
    }
    let tokens = tokens(text, Dialect::Postgres);
    let word = |i: usize| tokens.get(i).map_or("", |t| &text[t.1..t.2]);
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut i = 0;
    while i < tokens.len() {
        if word(i) == "("
            && word(i + 1) == "ARRAY"
            && word(i + 2) == "["
            && let Some((elements, cast, end)) = cast_array(&tokens, text, i + 3)
        {
            out.push_str(&text[copied..tokens[i].1]);
            let cast = &text[tokens[cast.0].1..tokens[cast.1].2];
            let elements: Vec<String> = elements
                .iter()
                .map(|e| format!("({})::{cast}", &text[e.0..e.1]))
                .collect();
            out.push_str(&format!("ARRAY[{}]", elements.join(", ")));
            copied = tokens[end].2;
            i = end + 1;
            continue;
        }
        i += 1;
    }
    out.push_str(&text[copied..]);
    out
}

/// From behind `(ARRAY[`: the elements if all are strings with a cast, the tokens of the array's own
/// cast, and its last token.
type Cast = (Vec<(usize, usize)>, (usize, usize), usize);

fn cast_array(tokens: &[(TokenKind, usize, usize)], text: &str, from: usize) -> Option<Cast> {
    let word = |i: usize| tokens.get(i).map(|t| &text[t.1..t.2]);
    let mut elements = Vec::new();
    let mut i = from;
    loop {
        let start = tokens.get(i).filter(|t| t.0 == TokenKind::Text)?.1;
        i += 1;
        if (word(i)?, word(i + 1)?) != (":", ":") {
            return None;
        }
        i += 2;
        let first = i;
        while matches!(tokens.get(i)?.0, TokenKind::Word | TokenKind::Name) || word(i)? == "." {
            i += 1;
        }
        if i == first {
            return None;
        }
        elements.push((start, tokens[i - 1].2));
        match word(i)? {
            "," => i += 1,
            "]" => break,
            _ => return None,
        }
    }
    if [word(i + 1)?, word(i + 2)?, word(i + 3)?] != [")", ":", ":"] {
        return None;
    }
    i += 4;
    let first = i;
    while tokens
        .get(i)
        .is_some_and(|t| matches!(t.0, TokenKind::Word | TokenKind::Name))
        || word(i) == Some(".")
    {
        i += 1;
    }
    if i == first || (word(i)?, word(i + 1)?) != ("[", "]") {
        return None;
    }
    Some((elements, (first, i - 1), i + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cast_array_becomes_an_array_of_casts() {
        assert_eq!(
            arrays(
                "CHECK (((a)::text = ANY ((ARRAY['x'::character varying, 'y''(ARRAY['::character \
                 varying])::text[])))"
            ),
            "CHECK (((a)::text = ANY (ARRAY[('x'::character varying)::text, \
             ('y''(ARRAY['::character varying)::text])))"
        );
        let others = [
            "CHECK ((b = ANY (ARRAY['q'::text, 'r'::text])))",
            "x = '(ARRAY[''x''::character varying])::text[]'",
            "(ARRAY[a, b])::text[]",
            "$$ (ARRAY['x'::varchar])::text[] $$",
        ];
        for text in others {
            assert_eq!(arrays(text), text);
        }
    }

    #[test]
    fn comments_at_the_end_are_seen() {
        assert!(ends_in_comment("select 1 -- one", Dialect::Sqlite));
        assert!(!ends_in_comment("select 1 -- one\n", Dialect::Sqlite));
        assert!(!ends_in_comment("select '-- one'", Dialect::Sqlite));
        assert!(!ends_in_comment("/* -- */ select 1", Dialect::Postgres));
    }
}
