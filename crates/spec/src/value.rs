//! Values that more than one key is made of: texts, numbers, truth, choices.
//!
//! Each reader takes what it can or reports one problem, and never guesses.

use std::ops::{Range, RangeInclusive};

use crate::codes;
use crate::limits;
use crate::node::{Entry, Node, Scalar, Value, looks_like_number, shorten};
use crate::problems::{Problem, Problems};
use crate::suggest;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Bytes of the source.
    pub(crate) span: Range<usize>,
}

/// Reports a value of a wrong shape. Nothing at all is a problem of its own.
pub(crate) fn wrong_type(
    node: &Node,
    name: &str,
    expected: &str,
    help: Option<String>,
    problems: &mut Problems<'_>,
) {
    let problem = if node.is_nothing() {
        Problem::new(
            codes::NO_VALUE,
            node.span.clone(),
            format!("{name} is empty"),
        )
    } else {
        let found = node.found();
        Problem::new(
            codes::WRONG_TYPE,
            node.span.clone(),
            format!("{name} can't be {found}"),
        )
    };
    let problem = problem.label(format!("expected {expected}"));
    problems.push(match help {
        Some(help) => problem.help(help),
        None => problem,
    });
}

/// A scalar that says something, of any style.
pub(crate) fn scalar<'n>(
    node: &'n Node,
    name: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n Scalar> {
    let Value::Scalar(scalar) = &node.value else {
        wrong_type(node, name, expected, None, problems);
        return None;
    };
    if node.is_nothing() {
        wrong_type(node, name, expected, None, problems);
        return None;
    }
    if scalar.text.contains('\0') {
        problems.push(
            Problem::new(
                codes::NUL,
                node.span.clone(),
                format!("{name} has a NUL character"),
            )
            .label("no program can be given this")
            .help("take the `\\0` away; a script can make one with `printf '\\0'`"),
        );
        return None;
    }
    Some(scalar)
}

/// A text that the system can pass on.
pub(crate) fn text<'n>(
    node: &'n Node,
    name: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    let scalar = scalar(node, name, expected, problems)?;
    if scalar.text.len() > limits::TEXT {
        problems.push(
            Problem::new(
                codes::TOO_LONG,
                node.span.clone(),
                format!("{name} has {} bytes", scalar.text.len()),
            )
            .label(format!("at most {} can be passed on", limits::TEXT))
            .help("put it in a file in the repository"),
        );
        return None;
    }
    Some(&scalar.text)
}

/// One text, or a list of texts.
pub(crate) fn texts(
    node: &Node,
    name: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Vec<At<String>> {
    let one = std::slice::from_ref(node);
    let (items, item_name) = match &node.value {
        Value::List(items) if items.is_empty() => {
            wrong_type(
                node,
                name,
                &format!("{expected}, or a list of such"),
                None,
                problems,
            );
            return Vec::new();
        }
        Value::List(items) => (items.as_slice(), format!("an item of {name}")),
        _ => (one, name.to_owned()),
    };
    let read = |item: &Node, problems: &mut Problems<'_>| {
        let text = text(item, &item_name, expected, problems)?;
        Some(At {
            value: text.to_owned(),
            span: item.span.clone(),
        })
    };
    items
        .iter()
        .filter_map(|item| read(item, problems))
        .collect()
}

/// One line of visible text.
pub(crate) fn line<'n>(
    node: &'n Node,
    name: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    let text = text(node, name, expected, problems)?;
    if !text.trim().is_empty() && !text.chars().any(char::is_control) && text.len() <= 1000 {
        return Some(text);
    }
    problems.push(
        Problem::new(
            codes::BAD_NAME,
            node.span.clone(),
            format!("{name} needs one line of text"),
        )
        .label(format!("expected {expected}"))
        .help("write one line of at most 1000 visible characters"),
    );
    None
}

/// Whether a name can stand in expressions and URLs; says so if not.
pub(crate) fn word(
    text: &str,
    span: &Range<usize>,
    what: &str,
    problems: &mut Problems<'_>,
) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(legal)
        && text.len() <= limits::WORD;
    if !good {
        let message = format!("{what} can't be named `{}`", shorten(text, 40));
        problems.push(
            Problem::new(codes::BAD_JOB_NAME, span.clone(), message)
                .label("expected letters, digits, `-` and `_`, a letter first")
                .help(format!(
                    "take a short name of at most {} characters",
                    limits::WORD
                )),
        );
    }
    good
}

/// Whether a path stays in the workspace; says so if not.
pub(crate) fn inside(path: &str, span: &Range<usize>, problems: &mut Problems<'_>) -> bool {
    let out = path.starts_with(['/', '~']) || path.split('/').any(|part| part == "..");
    let template = path.contains("${{");
    if !out && !template {
        return true;
    }
    let (label, help) = if template {
        ("`${{ }}` is not replaced here", "write the path itself")
    } else {
        (
            "not below the repository's root",
            "write a path relative to the repository's root, without `..`",
        )
    };
    let message = format!("`{}` can't be used as a path", shorten(path, 60));
    problems.push(
        Problem::new(codes::BAD_PATH, span.clone(), message)
            .label(label)
            .help(help),
    );
    false
}

/// One pattern, or a list of patterns.
pub(crate) fn globs(entry: &Entry, problems: &mut Problems<'_>) -> Vec<At<String>> {
    let mut globs = texts(
        &entry.value,
        &format!("`{}`", entry.key),
        "a pattern",
        problems,
    );
    globs.retain(|glob| crate::keys::when::is_glob(&glob.value, &glob.span, problems));
    globs
}

/// Patterns for files: one, or a list. `home` also takes paths that begin with `~/`. One with
/// `${{ }}` is looked at when it is filled in.
pub(crate) fn paths(
    node: &Node,
    name: &str,
    home: bool,
    problems: &mut Problems<'_>,
) -> Vec<At<String>> {
    let paths = some_paths(node, name, home, problems);
    not_only_out(paths, name, problems)
}

/// As [`paths`], for a part of a list.
pub(crate) fn some_paths(
    node: &Node,
    name: &str,
    home: bool,
    problems: &mut Problems<'_>,
) -> Vec<At<String>> {
    let mut paths = texts(node, name, "a path or a pattern", problems);
    paths.retain(|at| {
        let path = at.value.trim_start_matches('!');
        let path = match path.strip_prefix("~/") {
            Some(rest) if home => rest,
            _ => path,
        };
        path.contains("${{")
            || (crate::keys::when::is_glob(path, &at.span, problems)
                && inside(path, &at.span, problems))
    });
    paths
}

/// Patterns of which at least one takes something in; none at all if not.
pub(crate) fn not_only_out(
    paths: Vec<At<String>>,
    name: &str,
    problems: &mut Problems<'_>,
) -> Vec<At<String>> {
    if let Some(only) = paths.first()
        && paths.iter().all(|at| at.value.starts_with('!'))
    {
        let message = format!("{name} only takes files out");
        problems.push(
            Problem::new(codes::ONLY_OUT, only.span.clone(), message)
                .label("nothing was taken in before it")
                .help("begin with a pattern without `!`: `**` is everything"),
        );
        return Vec::new();
    }
    paths
}

/// Whether a list is short enough; says so if not.
pub(crate) fn not_too_many(items: &[Node], name: &str, problems: &mut Problems<'_>) -> bool {
    let Some(beyond) = items.get(limits::ITEMS) else {
        return true;
    };
    let message = format!("{name} has {} items", items.len());
    problems.push(
        Problem::new(codes::TOO_LONG, beyond.span.clone(), message)
            .label(format!("at most {}", limits::ITEMS))
            .help("take some away"),
    );
    false
}

/// A value in one line, for people.
pub(crate) fn shown(node: &Node) -> String {
    match &node.value {
        Value::Scalar(scalar) => shorten(&scalar.text, 60),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(shown).collect();
            shorten(&items.join(", "), 60)
        }
        Value::Map(_) => "…".to_owned(),
    }
}

/// `true` or `false`, and no other word for it.
pub(crate) fn truth(entry: &Entry, problems: &mut Problems<'_>) -> Option<bool> {
    let name = format!("`{}`", entry.key);
    let expected = "`true` or `false`";
    let scalar = scalar(&entry.value, &name, expected, problems)?;
    match (entry.value.plain(), scalar.text.to_lowercase().as_str()) {
        (Some("true"), _) => return Some(true),
        (Some("false"), _) => return Some(false),
        (_, "true" | "yes" | "on" | "1" | "y") => {
            refuse_choice(
                &entry.value,
                &name,
                expected,
                "write `true`".to_owned(),
                problems,
            );
        }
        (_, "false" | "no" | "off" | "0" | "n") => {
            refuse_choice(
                &entry.value,
                &name,
                expected,
                "write `false`".to_owned(),
                problems,
            );
        }
        _ => wrong_type(&entry.value, &name, expected, None, problems),
    }
    None
}

/// One of a few words.
pub(crate) fn choice<T: Copy>(
    entry: &Entry,
    words: &[(&'static str, T)],
    problems: &mut Problems<'_>,
) -> Option<T> {
    let name = format!("`{}`", entry.key);
    let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    let expected = format!("one of {}", all.join(", "));
    let text = &scalar(&entry.value, &name, &expected, problems)?.text;
    if let Some((_, value)) = words.iter().find(|(word, _)| word == text) {
        return Some(*value);
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let help = match suggest::nearest(text, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("write {}", all.join(", or ")),
    };
    refuse_choice(&entry.value, &name, &expected, help, problems);
    None
}

/// Reports a value that isn't one of those that are allowed.
pub(crate) fn refuse_choice(
    node: &Node,
    name: &str,
    expected: &str,
    help: String,
    problems: &mut Problems<'_>,
) {
    let found = node.found();
    problems.push(
        Problem::new(
            codes::BAD_CHOICE,
            node.span.clone(),
            format!("{name} can't be {found}"),
        )
        .label(format!("expected {expected}"))
        .help(help),
    );
}

/// A whole number without quotes.
pub(crate) fn number(
    entry: &Entry,
    range: RangeInclusive<u64>,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<u64> {
    let name = format!("`{}`", entry.key);
    let scalar = scalar(&entry.value, &name, expected, problems)?;
    let parsed = scalar.text.parse::<u64>().ok();
    let digits = scalar.text.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = entry.value.plain().is_some();
    let (label, help) = match parsed {
        Some(number) if is_plain && digits && range.contains(&number) => return Some(number),
        Some(number) if !is_plain && range.contains(&number) => (
            "this is a text".to_owned(),
            Some(format!("take the quotes away: {number}")),
        ),
        _ if looks_like_number(&scalar.text) => (
            format!("allowed is {} to {}", range.start(), range.end()),
            None,
        ),
        _ => {
            wrong_type(&entry.value, &name, expected, None, problems);
            return None;
        }
    };
    let shown = shorten(&scalar.text, 40);
    let message = format!("{name} needs {expected}, not `{shown}`");
    let problem = Problem::new(codes::BAD_NUMBER, entry.value.span.clone(), message).label(label);
    problems.push(match help {
        Some(help) => problem.help(help),
        None => problem,
    });
    None
}

#[cfg(test)]
pub(crate) mod testing {
    //! For the tests that stand beside each key.

    use windlass_model::plan::JobPlan;

    /// The plan of a spec that has no problems at all.
    pub(crate) fn plan(source: &str) -> windlass_model::Plan {
        let loaded = crate::load("windlass.yml", source.as_bytes());
        assert_eq!(loaded.diagnostics, [], "{source}");
        loaded.plan.unwrap()
    }

    /// The job of a spec that has no problems at all.
    pub(crate) fn job(source: &str) -> JobPlan {
        let loaded = crate::load("windlass.yml", source.as_bytes());
        assert_eq!(loaded.diagnostics, [], "{source}");
        loaded.plan.unwrap().jobs.remove(0)
    }

    /// The codes of all problems of a spec.
    pub(crate) fn codes(source: &str) -> Vec<String> {
        let loaded = crate::load("windlass.yml", source.as_bytes());
        loaded.diagnostics.into_iter().map(|d| d.code).collect()
    }
}
