//! `:lo` and `:hi`, the ends of a batch, in a statement.

use super::Dialect;
use super::lexer::{self, Piece, TokenKind};

/// The statement with the ends of a batch in their places, and which of both it has. What stands in
/// strings, quoted names and comments is left alone, and so is a cast (`::lo`).
pub(crate) fn fill(text: &str, dialect: Dialect, lo: &str, hi: &str) -> (String, bool, bool) {
    let mut out = String::with_capacity(text.len() + lo.len() + hi.len());
    let (mut has_lo, mut has_hi) = (false, false);
    let mut at = 0;
    // Whether a sign `:` was just seen, and another one before it.
    let mut colons = 0;
    while let Ok(Some((piece, end))) = lexer::next(text, at, dialect) {
        let word = &text[at..end];
        let parameter = (piece == Piece::Token(TokenKind::Word) && colons == 1)
            .then_some(word)
            .filter(|word| matches!(*word, "lo" | "hi"));
        if let Some(word) = parameter {
            out.pop();
            out.push_str(if word == "lo" { lo } else { hi });
            has_lo |= word == "lo";
            has_hi |= word == "hi";
        } else {
            out.push_str(word);
        }
        colons = if piece == Piece::Token(TokenKind::Sign) && word == ":" {
            colons + 1
        } else {
            0
        };
        at = end;
    }
    out.push_str(&text[at..]);
    (out, has_lo, has_hi)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_are_filled() {
        for dialect in [Dialect::Postgres, Dialect::Sqlite, Dialect::Mysql] {
            let (text, lo, hi) = fill(
                "update t set a = ':lo' /* :hi */ where id between :lo and :hi",
                dialect,
                "1",
                "'x'",
            );
            assert_eq!(
                text,
                "update t set a = ':lo' /* :hi */ where id between 1 and 'x'"
            );
            assert!(lo && hi);
        }
        let (text, lo, hi) = fill(
            "select a::lo, $$:hi$$, :low, b:lo",
            Dialect::Postgres,
            "1",
            "2",
        );
        assert_eq!(text, "select a::lo, $$:hi$$, :low, b1");
        assert!(lo && !hi);
    }
}
