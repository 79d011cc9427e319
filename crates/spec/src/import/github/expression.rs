//! The language between `${{` and `}}`: read into a tree, without knowing what names mean.

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    /// `'text'`
    Text(String),
    /// `1`, `0x10`, `-2.5`: as it is written.
    Number(String),
    /// `true`, `false`
    Truth(bool),
    /// `null`
    Null,
    /// `github.event.number`, in small letters but for what people named; `*` for all.
    Name(Vec<String>),
    /// `contains(a, b)`, the name in small letters.
    Call(String, Vec<Expr>),
    /// `!a`
    Not(Box<Expr>),
    /// `a == b`, with its operator.
    Compare(&'static str, Box<Expr>, Box<Expr>),
    /// `a && b`
    And(Vec<Expr>),
    /// `a || b`
    Or(Vec<Expr>),
}

impl Expr {
    /// The name as text: `github.ref`.
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Self::Name(parts) => Some(parts.join(".")),
            _ => None,
        }
    }
}

/// Parentheses in each other; more are not written by people.
const DEPTH: usize = 40;

/// Reads an expression; nothing if it isn't one.
pub(super) fn parse(text: &str) -> Option<Expr> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    let expr = parser.or()?;
    parser.space();
    (parser.at == text.len()).then_some(expr)
}

/// A text with expressions in it: what stands between them, and they.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${{") {
        let open = at + found;
        let Some(length) = end_of(&text[open + 3..]) else {
            break;
        };
        if open > at {
            pieces.push(Piece::Text(&text[at..open]));
        }
        pieces.push(Piece::Expr(text[open + 3..open + 3 + length].trim()));
        at = open + 3 + length + 2;
    }
    if at < text.len() {
        pieces.push(Piece::Text(&text[at..]));
    }
    pieces
}

/// A part of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'t> {
    /// As it is.
    Text(&'t str),
    /// What stood between the braces.
    Expr(&'t str),
}

/// Where `}}` stands outside of quotes.
fn end_of(text: &str) -> Option<usize> {
    let mut quoted = false;
    for (at, c) in text.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '}' if !quoted && text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

/// The text without `${{ }}` around all of it: conditions may be written either way.
pub(super) fn bare(text: &str) -> &str {
    let text = text.trim();
    match pieces(text)[..] {
        [Piece::Expr(inside)] => inside,
        _ => text,
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

const OPERATORS: [&str; 6] = ["==", "!=", "<=", ">=", "<", ">"];

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn eat(&mut self, mark: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(mark);
        if found {
            self.at += mark.len();
        }
        found
    }

    fn or(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let mut parts = vec![self.and()?];
        while self.eat("||") {
            parts.push(self.and()?);
        }
        self.depth -= 1;
        Some(match parts.len() {
            1 => parts.remove(0),
            _ => Expr::Or(parts),
        })
    }

    fn and(&mut self) -> Option<Expr> {
        let mut parts = vec![self.compare()?];
        while self.eat("&&") {
            parts.push(self.compare()?);
        }
        Some(match parts.len() {
            1 => parts.remove(0),
            _ => Expr::And(parts),
        })
    }

    fn compare(&mut self) -> Option<Expr> {
        let left = self.not()?;
        for operator in OPERATORS {
            if self.eat(operator) {
                let right = self.not()?;
                return Some(Expr::Compare(operator, Box::new(left), Box::new(right)));
            }
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Expr> {
        self.space();
        if !self.rest().starts_with("!=") && self.eat("!") {
            self.depth += 1;
            if self.depth > DEPTH {
                return None;
            }
            let inner = self.not()?;
            self.depth -= 1;
            return Some(Expr::Not(Box::new(inner)));
        }
        self.value()
    }

    fn value(&mut self) -> Option<Expr> {
        self.space();
        let first = self.rest().chars().next()?;
        match first {
            '(' => {
                self.at += 1;
                let inner = self.or()?;
                self.eat(")").then_some(inner)
            }
            '\'' => self.quoted().map(Expr::Text),
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
                let number = self.word(legal);
                Some(Expr::Number(number))
            }
            c if c.is_ascii_alphabetic() || c == '_' => self.name(),
            _ => None,
        }
    }

    fn word(&mut self, legal: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let length = rest.find(|c| !legal(c)).unwrap_or(rest.len());
        let word = rest[..length].to_owned();
        self.at += length;
        word
    }

    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut rest = self.text[self.at..].strip_prefix('\'')?;
        loop {
            let end = rest.find('\'')?;
            text.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('\'') {
                Some(after) => {
                    text.push('\'');
                    rest = after;
                }
                None => break,
            }
        }
        self.at = self.text.len() - rest.len();
        Some(text)
    }

    fn name(&mut self) -> Option<Expr> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        let first = self.word(legal).to_ascii_lowercase();
        match first.as_str() {
            "true" => return Some(Expr::Truth(true)),
            "false" => return Some(Expr::Truth(false)),
            "null" => return Some(Expr::Null),
            _ => {}
        }
        if self.eat("(") {
            let mut arguments = Vec::new();
            while !self.eat(")") {
                if !arguments.is_empty() && !self.eat(",") {
                    return None;
                }
                arguments.push(self.or()?);
            }
            return Some(Expr::Call(first, arguments));
        }
        let mut parts = vec![first];
        loop {
            if self.rest().starts_with('.') {
                self.at += 1;
                if self.rest().starts_with('*') {
                    self.at += 1;
                    parts.push("*".to_owned());
                    continue;
                }
                let part = self.word(legal);
                if part.is_empty() {
                    return None;
                }
                parts.push(part);
            } else if self.rest().starts_with('[') {
                self.at += 1;
                self.space();
                parts.push(self.quoted()?);
                if !self.eat("]") {
                    return None;
                }
            } else {
                return Some(Expr::Name(parts));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Expr {
        Expr::Name(path.split('.').map(ToOwned::to_owned).collect())
    }

    #[test]
    fn what_is_written_is_understood() {
        assert_eq!(parse("github.ref"), Some(name("github.ref")));
        assert_eq!(
            parse("matrix['node-version']"),
            Some(name("matrix.node-version"))
        );
        assert_eq!(parse("needs.*.result"), Some(name("needs.*.result")));
        assert_eq!(parse(" 'it''s' "), Some(Expr::Text("it's".to_owned())));
        let both = parse("always() && !cancelled()");
        assert!(matches!(both, Some(Expr::And(parts)) if parts.len() == 2));
        let compared = parse("(a.b == 'x' || a.c != true) && contains(a.d, 'y')");
        assert!(matches!(compared, Some(Expr::And(_))));
        for bad in ["", "a ==", "a b", "(a", "'x", "a.", "f(a", "a[1]", "%"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&"(".repeat(10_000)), None);
        assert_eq!(parse(&"!".repeat(10_000)), None);
    }

    #[test]
    fn texts_fall_into_pieces() {
        let found = pieces("a ${{ b }}c${{ '}}' }}");
        assert_eq!(
            found,
            [
                Piece::Text("a "),
                Piece::Expr("b"),
                Piece::Text("c"),
                Piece::Expr("'}}'"),
            ]
        );
        assert_eq!(pieces("${{ open"), [Piece::Text("${{ open")]);
        assert_eq!(bare(" ${{ a }} "), "a");
        assert_eq!(bare("${{ a }} && b"), "${{ a }} && b");
    }
}
