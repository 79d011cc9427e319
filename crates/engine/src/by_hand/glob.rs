//! Globs of the spec as regular expressions that every `grep -E` understands.

/// What matches a pattern as [`crate::results::collect`] takes it, and everything below it; without
/// the `!`. `None` if it can't be said in a portable way.
pub(super) fn path_regex(pattern: &str) -> Option<String> {
    let mut pattern = pattern.trim_end_matches('/');
    while let Some(rest) = pattern.strip_prefix("./") {
        pattern = rest;
    }
    let pattern = if pattern == "." { "**" } else { pattern };
    Some(format!("^({})(/.*)?$", translate(pattern)?))
}

/// What matches a text (a branch, an output) as the function `glob` takes it.
pub(super) fn text_regex(pattern: &str) -> Option<String> {
    Some(format!("^({})$", translate(pattern)?))
}

fn translate(pattern: &str) -> Option<String> {
    // A pattern that the engine can't understand has no meaning that one could translate.
    windlass_model::glob::compile(pattern).ok()?;
    if pattern.contains(['\n', '\0']) {
        return None;
    }
    let mut regex = String::new();
    let mut rest = pattern;
    while let Some(after) = strip_folders(rest) {
        rest = after;
    }
    if rest == "**" {
        return Some(".*".to_owned());
    }
    if rest != pattern {
        regex.push_str("(.*/)?");
    }
    let mut depth = 0_usize;
    while let Some(c) = rest.chars().next() {
        if depth == 0
            && let Some(after) = rest.strip_prefix("/**")
        {
            if after.is_empty() {
                regex.push_str("/.*");
                return Some(regex);
            }
            if let Some(mut after) = after.strip_prefix('/') {
                while let Some(further) = strip_folders(after) {
                    after = further;
                }
                if after == "**" {
                    regex.push_str("/.*");
                    return Some(regex);
                }
                regex.push_str("/(.*/)?");
                rest = after;
                continue;
            }
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if depth > 0 && rest.starts_with('*') => return None,
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' => rest = class(rest, &mut regex)?,
            '{' => {
                if rest.starts_with([',', '}']) {
                    return None;
                }
                depth += 1;
                regex.push('(');
            }
            ',' if depth > 0 => {
                if rest.starts_with([',', '}']) {
                    return None;
                }
                regex.push('|');
            }
            '}' if depth > 0 => {
                depth -= 1;
                regex.push(')');
            }
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                literal(escaped, &mut regex);
            }
            other => literal(other, &mut regex),
        }
    }
    (!regex.is_empty()).then_some(regex)
}

/// What comes after `**/`.
fn strip_folders(pattern: &str) -> Option<&str> {
    pattern.strip_prefix("**/").filter(|rest| !rest.is_empty())
}

fn literal(c: char, regex: &mut String) {
    if ".[]\\()*+?{}|^$".contains(c) {
        regex.push('\\');
    }
    regex.push(c);
}

/// A set of characters; returns what comes after it.
fn class<'p>(text: &'p str, regex: &mut String) -> Option<&'p str> {
    let (text, negated) = match text.strip_prefix(['!', '^']) {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    // A `]` that comes first is a member.
    let end = text.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
    let (members, rest) = (&text[..end], &text[end + 1..]);
    // What brackets of regular expressions understand otherwise, or not byte by byte.
    if !members.is_ascii() || members.contains(['[', '\\', ']', '^', '/']) || negated {
        return None;
    }
    regex.push('[');
    regex.push_str(members);
    regex.push(']');
    Some(rest)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::results::collect::Patterns;

    const PATHS: &[&str] = &[
        "a",
        "b",
        "a/b",
        "a/b/c",
        "a/x.py",
        "x.py",
        "a/b/x.py",
        "dist/x.whl",
        "dist/a/x.whl",
        "src/t1.py",
        "src/a/t2.py",
        "src/a/tb/c.py",
        "a.b",
        "aXb",
        "a+b",
        "a b/c d",
        ".hidden/x",
        "{x}",
        "ab",
        "abc",
        "dist",
        "distx",
        "é",
        "a/é.py",
        "$(id)",
        "x'y",
    ];

    fn grep(regex: &str) -> Vec<String> {
        let mut child = Command::new("grep")
            .env("LC_ALL", "C")
            .args(["-E", "-e", regex])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = PATHS.join("\n") + "\n";
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.code() != Some(2), "grep refuses {regex}");
        String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn grep_takes_what_the_engine_takes() {
        let patterns = [
            "a",
            "a/",
            "./a",
            ".",
            "**",
            "*",
            "*.py",
            "**/*.py",
            "**/x.py",
            "src/**/t*.py",
            "dist/**",
            "dist/*.whl",
            "a/**/c",
            "a/**/**/c",
            "**/**/x.py",
            "a.b",
            "a+b",
            "a?b",
            "{a,b}",
            "{a,b}/x.py",
            "*.{py,whl}",
            "dist/{a,b}/*",
            "[ab]",
            "[a-c]b",
            "a b/*",
            "é",
            "a/*.py",
            "\\{x\\}",
            "$(id)",
            "x'y",
            "a/**/x.py",
            "**/**",
            "**/é.py",
            "a**",
            "src/**/**",
        ];
        for pattern in patterns {
            let ours = Patterns::new(&[pattern]).unwrap();
            let wanted: Vec<&str> = PATHS.iter().copied().filter(|p| ours.take(p)).collect();
            let regex = path_regex(pattern).unwrap_or_else(|| panic!("{pattern}"));
            assert_eq!(grep(&regex), wanted, "{pattern} as {regex}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_not_guessed() {
        for pattern in ["[!a]", "{**/a,b}", "[a", "a\nb", "[é]"] {
            assert_eq!(path_regex(pattern), None, "{pattern}");
        }
    }
}
