//! `if` of a rule: variables, texts, regular expressions.

use super::super::when::quoted;
use super::regex;

/// A condition: known, asked for, or with something in it that has no counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::import) enum Truth {
    /// Known already.
    Known(bool),
    /// A condition of ours.
    Asked(String),
    /// No counterpart.
    Unknown,
}

/// What is known where the condition stands, and what was found on the way.
pub(super) struct Reader<'a> {
    pub(super) vars: &'a [(String, String)],
    /// Variables without counterpart.
    pub(super) unknown: Vec<String>,
    /// What differs.
    pub(super) near: Vec<&'static str>,
}

/// A condition that is at most as true as it should be, or at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::import) enum Round {
    /// Unknown parts make it true less often.
    Down,
    /// Unknown parts make it true more often.
    Up,
}

enum Token<'t> {
    Var(&'t str),
    Text(String),
    Regex(&'t str),
    Null,
    Mark(&'static str),
}

fn tokens(text: &str) -> Option<Vec<Token<'_>>> {
    const MARKS: [&str; 8] = ["&&", "||", "==", "!=", "=~", "!~", "(", ")"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (token, length) = if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark))
        {
            (Token::Mark(mark), mark.len())
        } else if c == '$' {
            let braces = rest.starts_with("${");
            let start = 1 + usize::from(braces);
            let end = rest[start..]
                .find(|c| !legal(c))
                .map_or(rest.len(), |end| start + end);
            if end == start {
                return None;
            }
            let close = usize::from(braces);
            if braces && !rest[end..].starts_with('}') {
                return None;
            }
            (Token::Var(&rest[start..end]), end + close)
        } else if c == '"' || c == '\'' {
            let end = rest[1..].find(c)?;
            (Token::Text(rest[1..=end].to_owned()), end + 2)
        } else if c == '/' {
            let mut end = None;
            let mut escaped = false;
            for (at, c) in rest.char_indices().skip(1) {
                match c {
                    '\\' if !escaped => escaped = true,
                    '/' if !escaped => {
                        end = Some(at);
                        break;
                    }
                    _ => escaped = false,
                }
            }
            let end = end?;
            let flags = rest[end + 1..].find(|c: char| !c.is_ascii_alphabetic());
            let after = flags.map_or(rest.len(), |flags| end + 1 + flags);
            if after > end + 1 {
                // `i`: letters of any size.
                return None;
            }
            (Token::Regex(&rest[1..end]), after)
        } else if rest.starts_with("null") {
            (Token::Null, 4)
        } else {
            return None;
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Some(tokens)
}

impl Reader<'_> {
    /// Reads a condition.
    pub(super) fn read(&mut self, text: &str, round: Round) -> Truth {
        let Some(tokens) = tokens(text) else {
            self.unknown.push(text.to_owned());
            return Truth::Unknown;
        };
        let mut parser = Parser {
            reader: self,
            tokens: &tokens,
            at: 0,
            depth: 0,
            round,
        };
        match parser.or() {
            Some(truth) if parser.at == tokens.len() => truth,
            _ => {
                self.unknown.push(text.to_owned());
                Truth::Unknown
            }
        }
    }

    fn lost(&mut self, name: &str) -> Truth {
        let name = format!("${name}");
        if !self.unknown.contains(&name) {
            self.unknown.push(name);
        }
        Truth::Unknown
    }

    /// `$NAME` alone: it is there and not empty.
    fn there(&mut self, name: &str) -> Truth {
        if let Some((_, value)) = self.vars.iter().find(|(known, _)| known == name) {
            return Truth::Known(!value.is_empty());
        }
        let text = match name {
            "CI_COMMIT_TAG" => "tag != \"\"",
            "CI_COMMIT_BRANCH" => "(event != \"pull_request\" && branch != \"\")",
            "CI_MERGE_REQUEST_ID"
            | "CI_MERGE_REQUEST_IID"
            | "CI_MERGE_REQUEST_TARGET_BRANCH_NAME"
            | "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME" => "event == \"pull_request\"",
            "CI" | "GITLAB_CI" | "CI_COMMIT_SHA" | "CI_COMMIT_REF_NAME" | "CI_PIPELINE_SOURCE"
            | "CI_DEFAULT_BRANCH" => return Truth::Known(true),
            _ => return self.lost(name),
        };
        Truth::Asked(text.to_owned())
    }

    fn equal(&mut self, name: &str, value: &str) -> Truth {
        if let Some((_, known)) = self.vars.iter().find(|(known, _)| known == name) {
            return Truth::Known(known == value);
        }
        if value.is_empty() {
            return negated(self.there(name));
        }
        let value_text = quoted(value);
        let text = match name {
            "CI_COMMIT_BRANCH" => format!("(event != \"pull_request\" && branch == {value_text})"),
            "CI_COMMIT_TAG" => format!("tag == {value_text}"),
            "CI_COMMIT_REF_NAME" | "CI_COMMIT_REF_SLUG" => {
                format!("(branch == {value_text} || tag == {value_text})")
            }
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME" => format!("base == {value_text}"),
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME" => {
                format!("(event == \"pull_request\" && branch == {value_text})")
            }
            "CI_COMMIT_SHA" => format!("revision == {value_text}"),
            "CI_PIPELINE_SOURCE" => return source(value),
            _ => return self.lost(name),
        };
        Truth::Asked(text)
    }

    fn matches(&mut self, name: &str, pattern: &str) -> Truth {
        let Some(glob) = regex::glob(pattern) else {
            self.unknown.push(format!("/{pattern}/"));
            return Truth::Unknown;
        };
        if glob.contains("[0-9][0-9]") {
            self.near.push("numbers of at most three digits");
        }
        let glob = quoted(&glob);
        let text = match name {
            "CI_COMMIT_BRANCH" => format!("(event != \"pull_request\" && glob(branch, {glob}))"),
            "CI_COMMIT_TAG" => format!("(tag != \"\" && glob(tag, {glob}))"),
            "CI_COMMIT_REF_NAME" => format!(
                "(branch != \"\" && glob(branch, {glob}) || tag != \"\" && glob(tag, {glob}))"
            ),
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME" => {
                format!("(base != \"\" && glob(base, {glob}))")
            }
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME" => {
                format!("(event == \"pull_request\" && glob(branch, {glob}))")
            }
            "CI_COMMIT_MESSAGE" | "CI_COMMIT_TITLE" => {
                let legal =
                    |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | ':' | '/');
                if !pattern.chars().all(legal) {
                    return self.lost(name);
                }
                format!("contains(message, {})", quoted(pattern))
            }
            _ => return self.lost(name),
        };
        // A pattern may take less, so what doesn't match it may match the expression.
        Truth::Asked(text)
    }
}

/// `$CI_PIPELINE_SOURCE == "…"`
pub(super) fn source(value: &str) -> Truth {
    let text = match value {
        "push" => "event in [\"push\", \"tag\"]",
        "merge_request_event" | "external_pull_request_event" => "event == \"pull_request\"",
        "schedule" => "event == \"schedule\"",
        "web" => "event == \"manual\"",
        "api" | "trigger" => "event == \"api\"",
        // No build is made by these.
        _ => return Truth::Known(false),
    };
    Truth::Asked(text.to_owned())
}

/// What doesn't hold.
pub(in crate::import) fn negated(truth: Truth) -> Truth {
    match truth {
        Truth::Known(truth) => Truth::Known(!truth),
        Truth::Unknown => Truth::Unknown,
        Truth::Asked(text) => {
            let simple = !text.contains(['(', '&', '|']) && text.matches(" == ").count() == 1;
            match simple {
                true => Truth::Asked(text.replacen(" == ", " != ", 1)),
                false => Truth::Asked(format!("!({text})")),
            }
        }
    }
}

struct Parser<'p, 'r, 't> {
    reader: &'p mut Reader<'r>,
    tokens: &'t [Token<'t>],
    at: usize,
    depth: usize,
    round: Round,
}

impl Parser<'_, '_, '_> {
    fn mark(&mut self, wanted: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some(Token::Mark(mark)) if *mark == wanted);
        self.at += usize::from(found);
        found
    }

    fn or(&mut self) -> Option<Truth> {
        self.depth += 1;
        if self.depth > 30 {
            return None;
        }
        let mut parts = vec![self.and()?];
        while self.mark("||") {
            parts.push(self.and()?);
        }
        self.depth -= 1;
        Some(joined(parts, false, self.round))
    }

    fn and(&mut self) -> Option<Truth> {
        let mut parts = vec![self.compare()?];
        while self.mark("&&") {
            parts.push(self.compare()?);
        }
        Some(joined(parts, true, self.round))
    }

    fn compare(&mut self) -> Option<Truth> {
        if self.mark("(") {
            let inner = self.or()?;
            return self.mark(")").then_some(inner);
        }
        let tokens = self.tokens;
        let name = match tokens.get(self.at)? {
            Token::Var(name) => *name,
            // `"x" == $Y`
            Token::Text(text) => {
                let (Token::Mark(mark), Token::Var(name)) =
                    (tokens.get(self.at + 1)?, tokens.get(self.at + 2)?)
                else {
                    return None;
                };
                self.at += 3;
                let equal = self.reader.equal(name, text);
                return match *mark {
                    "==" => Some(equal),
                    "!=" => Some(negated(equal)),
                    _ => None,
                };
            }
            _ => return None,
        };
        self.at += 1;
        let operator = match tokens.get(self.at) {
            Some(Token::Mark(mark)) if matches!(*mark, "==" | "!=" | "=~" | "!~") => *mark,
            _ => return Some(self.reader.there(name)),
        };
        let right = tokens.get(self.at + 1)?;
        self.at += 2;
        let found = match (operator, right) {
            ("==" | "!=", Token::Text(text)) => self.reader.equal(name, text),
            ("==" | "!=", Token::Null) => negated(self.reader.there(name)),
            ("==" | "!=", Token::Var("CI_DEFAULT_BRANCH")) => {
                self.reader
                    .near
                    .push("the default branch is taken to be main");
                self.reader.equal(name, "main")
            }
            ("==" | "!=", Token::Var(other)) => {
                let value = self.reader.vars.iter().find(|(known, _)| known == other);
                match value.map(|(_, value)| value.clone()) {
                    Some(value) => self.reader.equal(name, &value),
                    None => self.reader.lost(other),
                }
            }
            ("=~" | "!~", Token::Regex(pattern)) => self.reader.matches(name, pattern),
            _ => return None,
        };
        // A pattern takes at most what the expression takes; its opposite must not take more.
        let inexact = operator == "!~" && self.round == Round::Down
            || operator == "=~" && self.round == Round::Up;
        let loose = |pattern: &str| pattern.contains(['+', '*', '?', '.', '[', '\\', '(']);
        if inexact && matches!(right, Token::Regex(pattern) if loose(pattern)) {
            return Some(self.reader.lost(name));
        }
        Some(match operator {
            "!=" | "!~" => negated(found),
            _ => found,
        })
    }
}

/// `&&` or `||`; unknown parts are left out where that errs on the right side.
pub(in crate::import) fn joined(parts: Vec<Truth>, and: bool, round: Round) -> Truth {
    let mut texts: Vec<String> = Vec::new();
    let mut unknown = false;
    for part in parts {
        match part {
            Truth::Known(truth) if truth == and => {}
            Truth::Known(truth) => return Truth::Known(truth),
            Truth::Unknown => unknown = true,
            Truth::Asked(text) if texts.contains(&text) => {}
            Truth::Asked(text) => texts.push(text),
        }
    }
    let may_drop = if and {
        round == Round::Up
    } else {
        round == Round::Down
    };
    if unknown && (!may_drop || texts.is_empty()) {
        return Truth::Unknown;
    }
    match texts.len() {
        0 => Truth::Known(and),
        1 => Truth::Asked(texts.remove(0)),
        _ if and => Truth::Asked(texts.join(" && ")),
        _ => Truth::Asked(format!("({})", texts.join(" || "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, round: Round) -> Truth {
        let vars = [("KIND".to_owned(), "full".to_owned())];
        let mut reader = Reader {
            vars: &vars,
            unknown: Vec::new(),
            near: Vec::new(),
        };
        reader.read(text, round)
    }

    #[test]
    fn what_has_a_counterpart() {
        for (theirs, ours) in [
            ("$CI_COMMIT_TAG", "tag != \"\""),
            (
                "$CI_PIPELINE_SOURCE == \"merge_request_event\"",
                "event == \"pull_request\"",
            ),
            ("$CI_PIPELINE_SOURCE != 'schedule'", "event != \"schedule\""),
            (
                "$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH",
                "(event != \"pull_request\" && branch == \"main\")",
            ),
            (
                "$CI_COMMIT_TAG =~ /^v/",
                "(tag != \"\" && glob(tag, \"v*\"))",
            ),
            ("$CI_COMMIT_TAG == null", "!(tag != \"\")"),
            ("$KIND == \"full\" && $CI_COMMIT_TAG", "tag != \"\""),
        ] {
            assert_eq!(
                of(theirs, Round::Down),
                Truth::Asked(ours.to_owned()),
                "{theirs}"
            );
        }
        assert_eq!(of("$KIND == 'x'", Round::Down), Truth::Known(false));
    }

    #[test]
    fn what_is_unknown_errs_on_the_right_side() {
        let asked = |text: &str| Truth::Asked(text.to_owned());
        assert_eq!(of("$X", Round::Down), Truth::Unknown);
        assert_eq!(
            of("$X || $CI_COMMIT_TAG", Round::Down),
            asked("tag != \"\"")
        );
        assert_eq!(of("$X && $CI_COMMIT_TAG", Round::Down), Truth::Unknown);
        assert_eq!(of("$X && $CI_COMMIT_TAG", Round::Up), asked("tag != \"\""));
        assert_eq!(of("$X || $CI_COMMIT_TAG", Round::Up), Truth::Unknown);
        assert_eq!(
            of("$CI_COMMIT_TAG !~ /^v\\d+/", Round::Down),
            Truth::Unknown
        );
        for bad in ["", "$", "$A ==", "$A == b", "($A", "$A =~ /x/i", "\"a"] {
            assert_eq!(of(bad, Round::Down), Truth::Unknown, "{bad}");
        }
    }
}
