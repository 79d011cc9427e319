//! Regular expressions as patterns: the simple ones. What a pattern takes, the expression takes too.

/// A pattern that matches no more than the expression between the slashes.
pub(in crate::import) fn glob(regex: &str) -> Option<String> {
    let (start, rest) = match regex.strip_prefix('^') {
        Some(rest) => ("", rest),
        None => ("*", regex),
    };
    let (end, rest) = match rest.strip_suffix('$') {
        Some(rest) if !rest.ends_with('\\') => ("", rest),
        _ => ("*", rest),
    };
    if rest.contains('|') && !rest.starts_with('(') {
        // `a|^b$`: each side has ends of its own.
        let sides: Option<Vec<String>> = match (start, end) {
            ("*", "*") => rest.split('|').map(glob).collect(),
            _ => None,
        };
        return Some(format!("{{{}}}", sides?.join(",")));
    }
    let inside = sequence(rest, 0)?;
    let text = format!("{start}{inside}{end}");
    (text.len() <= 400).then_some(text)
}

fn sequence(regex: &str, depth: usize) -> Option<String> {
    let mut out: Vec<String> = Vec::new();
    let mut rest = regex;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        match c {
            '\\' => {
                let next = rest[1..].chars().next()?;
                length += next.len_utf8();
                out.push(match next {
                    'd' => "[0-9]".to_owned(),
                    'w' => "[a-zA-Z0-9_]".to_owned(),
                    '.' | '-' | '/' | '_' | ':' | '#' => next.to_string(),
                    _ => return None,
                });
            }
            '.' => out.push("?".to_owned()),
            '[' => {
                let end = rest.find(']')?;
                let set = &rest[1..end];
                let bad = |c: char| matches!(c, '\\' | '[' | '!' | '^' | '/');
                if set.is_empty() || set.contains(bad) {
                    return None;
                }
                length = end + 1;
                out.push(format!("[{set}]"));
            }
            '(' => {
                let end = rest.find(')')?;
                let inside = rest[1..end].strip_prefix("?:").unwrap_or(&rest[1..end]);
                if inside.contains('(') || depth > 0 {
                    return None;
                }
                let sides: Option<Vec<String>> = inside
                    .split('|')
                    .map(|side| sequence(side, depth + 1))
                    .collect();
                length = end + 1;
                out.push(format!("{{{}}}", sides?.join(",")));
            }
            '*' => match out.pop()?.as_str() {
                "?" => out.push("*".to_owned()),
                last => out.push(format!("{{,{}", &repeated(last)?[1..])),
            },
            '+' => match out.pop()?.as_str() {
                "?" => out.push("?*".to_owned()),
                last => out.push(repeated(last)?),
            },
            '?' => {
                let last = out.pop()?;
                out.push(format!("{{,{last}}}"));
            }
            c if c.is_ascii_alphanumeric()
                || matches!(c, '-' | '_' | '/' | '#' | ':' | ' ' | '=') =>
            {
                out.push(c.to_string());
            }
            _ => return None,
        }
        rest = &rest[length..];
    }
    Some(out.concat())
}

/// Numbers of one to three digits; of other repetitions a pattern would take too little.
fn repeated(last: &str) -> Option<String> {
    (last == "[0-9]").then(|| format!("{{{last},{last}{last},{last}{last}{last}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_takes_no_more_than_the_expression() {
        for (regex, pattern) in [
            ("^release-", "release-*"),
            ("^main$", "main"),
            ("^v\\d+\\.x$", "v{[0-9],[0-9][0-9],[0-9][0-9][0-9]}.x"),
            ("^(dev|test)$", "{dev,test}"),
            ("fix", "*fix*"),
            ("^feature/.*$", "feature/*"),
            ("a|b", "{*a*,*b*}"),
            ("^ab?$", "a{,b}"),
        ] {
            let found = glob(regex);
            assert_eq!(found.as_deref(), Some(pattern), "{regex}");
            assert!(windlass_model::glob::compile(pattern).is_ok(), "{pattern}");
        }
        for bad in [
            "^(a(b))$", "a{2}", "\\bx", "[^a]", "^a|b$", "(?i)x", "*", "^[a-z]+$",
        ] {
            assert_eq!(glob(bad), None, "{bad}");
        }
    }
}
