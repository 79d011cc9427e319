//! `rules`: the first that fits decides. Here one condition says when any of them lets the job run.

use super::super::notes::Notes;
use super::super::tree::Tree as _;
use super::super::when::{When, patterns, quoted};
use super::File;
use super::condition::{Reader, Round, Truth, joined, negated};
use crate::node::Node;

/// What rules come to.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) when: When,
    /// Someone must start it.
    pub(super) manual: bool,
    pub(super) allow_failure: bool,
}

/// Reads `rules`.
pub(super) fn read(
    file: &File<'_>,
    node: &Node,
    what: &str,
    vars: &[(String, String)],
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Found {
    let mut found = Found::default();
    // What keeps the later rules from being asked.
    let mut before: Vec<Truth> = Vec::new();
    let mut any: Vec<Truth> = Vec::new();
    let mut results: Vec<Option<&'static str>> = Vec::new();
    for (number, rule) in flat(node).into_iter().enumerate().take(100) {
        let line = file.document.line(&rule.span);
        let here = format!("{what}[{number}]");
        if file.document.has_tag(rule, "!reference") {
            notes.lost(
                comments,
                line,
                here,
                "rules of other jobs must be written here: it runs less",
            );
            continue;
        }
        let action = rule.text_of("when").unwrap_or("on_success");
        let never = action == "never";
        let round = if never { Round::Up } else { Round::Down };
        let mut reader = Reader {
            vars,
            unknown: Vec::new(),
            near: Vec::new(),
        };
        let holds = holds(rule, round, &mut reader);
        let always = holds == Truth::Known(true);
        if !reader.unknown.is_empty() {
            let effect = if never {
                "it keeps the job from running more often"
            } else {
                "it runs less often"
            };
            let words = format!("{} has no counterpart: {effect}", reader.unknown.join(", "));
            notes.lost(comments, line, here.clone(), words);
        } else if let Some(near) = reader.near.first() {
            notes.near(comments, line, here.clone(), *near);
        } else {
            notes.exact(line, here.clone());
        }
        for entry in rule.entries() {
            let line = file.line_of(entry);
            let here = format!("{here}.{}", entry.key);
            match entry.key.as_str() {
                "if" | "changes" | "exists" | "when" => {}
                "allow_failure" => found.allow_failure |= entry.value.truth() == Some(true),
                _ => notes.lost(comments, line, here, "rules have no such key here"),
            }
        }
        if never {
            match holds {
                // It may fit: whatever comes below might not be asked.
                Truth::Unknown | Truth::Known(true) => break,
                Truth::Known(false) => {}
                holds => before.push(negated(holds)),
            }
            continue;
        }
        match action {
            "manual" => found.manual = true,
            "delayed" => {
                let words = "it begins at once";
                notes.near(comments, line, format!("{here}.when"), words);
            }
            _ => {}
        }
        results.push(match action {
            "always" => Some("always"),
            "on_failure" => Some("failure"),
            _ => None,
        });
        let mut all = before.clone();
        all.push(holds);
        any.push(joined(all, true, Round::Down));
        if always {
            break;
        }
    }
    found.when = match joined(any, false, Round::Down) {
        Truth::Known(true) => When::default(),
        Truth::Known(false) | Truth::Unknown => When::never(),
        Truth::Asked(text) => When::of(outermost(&text)),
    };
    results.dedup();
    match results[..] {
        [one] => found.when.result = one,
        [] => {}
        _ => {
            let line = file.document.line(&node.span);
            let words = "how what came before must have ended differs from rule to rule: it must have passed";
            notes.near(comments, line, what, words);
        }
    }
    found
}

/// Without the parentheses around all of it.
fn outermost(text: &str) -> &str {
    let Some(inside) = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
    else {
        return text;
    };
    let mut depth = 0_i32;
    for c in inside.chars() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => return text_without_quotes(text, inside),
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    inside
}

/// As [`outermost`], where texts may hold parentheses.
fn text_without_quotes<'t>(text: &'t str, inside: &'t str) -> &'t str {
    let mut depth = 0_i32;
    let mut quoted = false;
    let mut escaped = false;
    for c in inside.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return text;
        }
    }
    inside
}

/// Rules may stand in lists of lists.
fn flat(node: &Node) -> Vec<&Node> {
    let mut all = Vec::new();
    for item in node.list() {
        match &item.value {
            crate::node::Value::List(items) => all.extend(items),
            _ => all.push(item),
        }
    }
    all
}

/// All conditions of a rule.
fn holds(rule: &Node, round: Round, reader: &mut Reader<'_>) -> Truth {
    let mut all = Vec::new();
    if let Some(text) = rule.text_of("if") {
        all.push(reader.read(text, round));
    }
    if let Some(node) = rule.get("changes") {
        all.push(changes(node, reader));
    }
    if rule.get("exists").is_some() {
        reader.unknown.push("exists".to_owned());
        all.push(Truth::Unknown);
    }
    joined(all, true, round)
}

/// `changes`: a list, or a map with `paths`.
pub(super) fn changes(node: &Node, reader: &mut Reader<'_>) -> Truth {
    let paths = match node.entries() {
        [] => node.texts(),
        _ => node.texts_of("paths"),
    };
    let (good, bad) = patterns(paths);
    let variable = good.iter().any(|path| path.contains('$'));
    if !bad.is_empty() || variable || good.is_empty() {
        reader.unknown.push("changes".to_owned());
        return Truth::Unknown;
    }
    let paths: Vec<String> = good.iter().map(|path| quoted(path)).collect();
    Truth::Asked(format!("changed({})", paths.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parentheses_around_all_of_it_go() {
        assert_eq!(outermost("(a || b)"), "a || b");
        assert_eq!(outermost("(a) || (b)"), "(a) || (b)");
        assert_eq!(outermost("(x == \")(\" || b)"), "x == \")(\" || b");
        assert_eq!(outermost("a"), "a");
    }
}
