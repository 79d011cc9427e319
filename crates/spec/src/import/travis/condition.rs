//! `if`: `branch = main AND NOT type = pull_request`.

use super::super::gitlab::condition::{Round, Truth, joined, negated};
use super::super::gitlab::regex;
use super::super::when::quoted;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Mark(&'static str),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    const MARKS: [&str; 11] = ["&&", "||", "==", "!=", "=~", "!~", "=", "(", ")", ",", "!"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_-./^$*+?\\[]{}|:".contains(c);
        let (token, length) = if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark))
        {
            (Token::Mark(mark), mark.len())
        } else if c == '"' || c == '\'' {
            let end = rest[1..].find(c)?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if c == '/' {
            let end = rest[1..].find('/')?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if legal(c) {
            let end = rest.find(|c| !legal(c)).unwrap_or(rest.len());
            (Token::Word(rest[..end].to_owned()), end)
        } else {
            return None;
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

/// A condition of ours that holds at most as often; words if there is none.
pub(super) fn read(text: &str) -> Truth {
    let Some(tokens) = tokens(text) else {
        return Truth::Unknown;
    };
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    match parser.or() {
        Some(truth) if parser.at == tokens.len() => truth,
        _ => Truth::Unknown,
    }
}

/// For a push the branch, for a pull request the one that it wants to go into.
pub(super) fn of_branch(test: impl Fn(&str) -> String) -> Truth {
    Truth::Asked(format!(
        "(event == \"pull_request\" && {} || event != \"pull_request\" && {})",
        test("base"),
        test("branch")
    ))
}

struct Parser<'t> {
    tokens: &'t [Token],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn mark(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Mark(mark)) if *mark == wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, wanted: &str) -> bool {
        let is = |word: &String| word.eq_ignore_ascii_case(wanted);
        let found = matches!(self.tokens.get(self.at), Some(Token::Word(word)) if is(word));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Option<Truth> {
        self.depth += 1;
        if self.depth > 30 {
            return None;
        }
        let mut parts = vec![self.and()?];
        while self.word("or") || self.mark("||") {
            parts.push(self.and()?);
        }
        self.depth -= 1;
        Some(joined(parts, false, Round::Down))
    }

    fn and(&mut self) -> Option<Truth> {
        let mut parts = vec![self.not()?];
        while self.word("and") || self.mark("&&") {
            parts.push(self.not()?);
        }
        Some(joined(parts, true, Round::Down))
    }

    fn not(&mut self) -> Option<Truth> {
        if self.word("not") || self.mark("!") {
            self.depth += 1;
            if self.depth > 30 {
                return None;
            }
            let before = self.at;
            let inner = self.not()?;
            self.depth -= 1;
            // Inside of a negation parts that aren't known must not have been left out.
            let whole = self.tokens[before..self.at].iter().all(is_sure);
            return Some(if whole {
                negated(inner)
            } else {
                Truth::Unknown
            });
        }
        if self.mark("(") {
            let inner = self.or()?;
            return self.mark(")").then_some(inner);
        }
        self.compare()
    }

    fn text(&mut self) -> Option<String> {
        let text = match self.tokens.get(self.at)? {
            Token::Word(text) | Token::Text(text) => text.clone(),
            Token::Mark(_) => return None,
        };
        self.at += 1;
        Some(text)
    }

    fn compare(&mut self) -> Option<Truth> {
        let Some(Token::Word(name)) = self.tokens.get(self.at) else {
            return None;
        };
        let name = name.to_ascii_lowercase();
        self.at += 1;
        match name.as_str() {
            "true" => return Some(Truth::Known(true)),
            "false" => return Some(Truth::Known(false)),
            "env" | "concat" => return None,
            _ => {}
        }
        if self.word("is") {
            let negative = self.word("not");
            let there = self.word("present");
            if !there && !self.word("blank") {
                return None;
            }
            let found = match name.as_str() {
                "tag" => Truth::Asked("tag != \"\"".to_owned()),
                "branch" => Truth::Known(true),
                "fork" => return Some(Truth::Unknown),
                _ => Truth::Unknown,
            };
            return Some(if there == negative {
                negated(found)
            } else {
                found
            });
        }
        let negative = self.word("not");
        if self.word("in") {
            if !self.mark("(") {
                return None;
            }
            let mut any = Vec::new();
            while !self.mark(")") {
                if !any.is_empty() && !self.mark(",") {
                    return None;
                }
                let value = self.text()?;
                any.push(equal(&name, &value));
            }
            let unknown = any.contains(&Truth::Unknown);
            let found = joined(any, false, Round::Down);
            return Some(match (negative, unknown) {
                (false, _) => found,
                (true, true) => Truth::Unknown,
                (true, false) => negated(found),
            });
        }
        if negative {
            return None;
        }
        for mark in ["==", "=", "!=", "=~", "!~"] {
            if !self.mark(mark) {
                continue;
            }
            let value = self.text()?;
            return Some(match mark {
                "==" | "=" => equal(&name, &value),
                "!=" => negated(equal(&name, &value)),
                "=~" => matches(&name, &value),
                // A pattern takes less than the expression, so its opposite takes more.
                _ => Truth::Unknown,
            });
        }
        // A name alone: it is there.
        Some(match name.as_str() {
            "tag" => Truth::Asked("tag != \"\"".to_owned()),
            "fork" => Truth::Asked("fork".to_owned()),
            _ => Truth::Unknown,
        })
    }
}

/// Whether a word says the same negated as not.
fn is_sure(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            let known = ["sender", "env", "os", "dist", "head_repo", "repo", "concat"];
            !known.contains(&word.to_ascii_lowercase().as_str())
        }
        Token::Mark(mark) => !matches!(*mark, "=~" | "!~"),
        Token::Text(_) => true,
    }
}

fn equal(name: &str, value: &str) -> Truth {
    let value_text = quoted(value);
    let text = match name {
        "branch" => return of_branch(|name| format!("{name} == {value_text}")),
        "tag" => format!("tag == {value_text}"),
        "head_branch" => format!("(event == \"pull_request\" && branch == {value_text})"),
        "type" => match value {
            "push" => "event in [\"push\", \"tag\"]".to_owned(),
            "pull_request" => "event == \"pull_request\"".to_owned(),
            "api" => "event in [\"manual\", \"api\"]".to_owned(),
            "cron" => "event == \"schedule\"".to_owned(),
            _ => return Truth::Known(false),
        },
        "fork" => match value {
            "true" => "fork".to_owned(),
            "false" => "!fork".to_owned(),
            _ => return Truth::Unknown,
        },
        "commit_message" => format!("message == {value_text}"),
        _ => return Truth::Unknown,
    };
    Truth::Asked(text)
}

fn matches(name: &str, pattern: &str) -> Truth {
    if name == "commit_message" {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | ':');
        return match pattern.chars().all(legal) {
            true => Truth::Asked(format!("contains(message, {})", quoted(pattern))),
            false => Truth::Unknown,
        };
    }
    let Some(glob) = regex::glob(pattern) else {
        return Truth::Unknown;
    };
    let glob = quoted(&glob);
    match name {
        "branch" => of_branch(|name| format!("{name} != \"\" && glob({name}, {glob})")),
        "tag" => Truth::Asked(format!("(tag != \"\" && glob(tag, {glob}))")),
        _ => Truth::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_counterpart() {
        for (theirs, ours) in [
            ("tag IS present", "tag != \"\""),
            ("tag IS blank", "!(tag != \"\")"),
            ("type = cron", "event == \"schedule\""),
            ("NOT type = pull_request", "event != \"pull_request\""),
            (
                "type IN (push, api) AND tag =~ ^v",
                "(event in [\"push\", \"tag\"] || event in [\"manual\", \"api\"]) && (tag != \"\" && glob(tag, \"v*\"))",
            ),
            ("fork = false", "!fork"),
        ] {
            assert_eq!(read(theirs), Truth::Asked(ours.to_owned()), "{theirs}");
        }
        let branch = read("branch = main OR sender = me");
        assert!(
            matches!(&branch, Truth::Asked(text) if text.contains("base == \"main\"")),
            "{branch:?}"
        );
        for unknown in [
            "",
            "sender = me",
            "NOT sender = me",
            "a b",
            "(tag",
            "env(X) = y",
            "branch !~ ^x",
            "type NOT IN (x",
            "NOT (sender = a OR tag = b)",
        ] {
            assert_eq!(read(unknown), Truth::Unknown, "{unknown}");
        }
    }
}
