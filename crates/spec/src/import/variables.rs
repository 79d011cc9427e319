//! Variables that other systems set, as far as ours say the same.

use super::Dialect;
use super::notes::Notes;
use super::pipeline::is_variable;

/// What stands for a variable of another system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ours {
    /// Another variable; also inside of `${NAME:-…}`.
    Name(&'static str),
    /// A piece of shell; only for `$NAME` and `${NAME}`.
    Shell(&'static str),
}
use Ours::{Name, Shell};

const SHA: Ours = Name("WINDLASS_REVISION");
const SHORT: Ours = Shell("$(printf %.8s \"$WINDLASS_REVISION\")");
const BRANCH: Ours = Name("WINDLASS_BRANCH");
const TAG: Ours = Name("WINDLASS_TAG");
const EITHER: Ours = Shell("${WINDLASS_TAG:-$WINDLASS_BRANCH}");
const REF: Ours = Name("WINDLASS_REF");
const BASE: Ours = Name("WINDLASS_BASE_BRANCH");
const PULL: Ours = Name("WINDLASS_PULL_REQUEST");
const EVENT: Ours = Name("WINDLASS_EVENT");
const NUMBER: Ours = Name("WINDLASS_BUILD");
const REPO: Ours = Name("WINDLASS_REPO");
const FOLDER: Ours = Name("WINDLASS_WORKSPACE");
const URL: Ours = Name("WINDLASS_URL");

const GITHUB: &[(&str, Ours)] = &[
    ("GITHUB_SHA", SHA),
    ("GITHUB_REF", REF),
    ("GITHUB_REF_NAME", EITHER),
    ("GITHUB_HEAD_REF", BRANCH),
    ("GITHUB_BASE_REF", BASE),
    ("GITHUB_EVENT_NAME", EVENT),
    ("GITHUB_WORKSPACE", FOLDER),
    ("GITHUB_REPOSITORY", REPO),
    ("GITHUB_RUN_NUMBER", NUMBER),
    ("GITHUB_RUN_ID", NUMBER),
    ("GITHUB_OUTPUT", Name("WINDLASS_OUTPUT")),
    ("GITHUB_STEP_SUMMARY", Shell("/dev/null")),
    ("RUNNER_TEMP", Name("TMPDIR")),
    ("RUNNER_OS", Shell("Linux")),
];

const GITLAB: &[(&str, Ours)] = &[
    ("CI_COMMIT_SHA", SHA),
    ("CI_BUILD_REF", SHA),
    ("CI_COMMIT_SHORT_SHA", SHORT),
    ("CI_COMMIT_REF_NAME", EITHER),
    ("CI_BUILD_REF_NAME", EITHER),
    ("CI_COMMIT_BRANCH", BRANCH),
    ("CI_COMMIT_TAG", TAG),
    ("CI_BUILD_TAG", TAG),
    ("CI_MERGE_REQUEST_IID", PULL),
    ("CI_MERGE_REQUEST_TARGET_BRANCH_NAME", BASE),
    ("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", BRANCH),
    ("CI_PIPELINE_SOURCE", EVENT),
    ("CI_PIPELINE_ID", NUMBER),
    ("CI_PIPELINE_IID", NUMBER),
    ("CI_JOB_ID", NUMBER),
    ("CI_BUILD_ID", NUMBER),
    ("CI_PIPELINE_URL", URL),
    ("CI_JOB_URL", URL),
    ("CI_PROJECT_DIR", FOLDER),
    ("CI_PROJECT_NAME", REPO),
];

const WOODPECKER: &[(&str, Ours)] = &[
    ("CI_COMMIT_SHA", SHA),
    ("CI_COMMIT_REF", REF),
    ("CI_COMMIT_BRANCH", BRANCH),
    ("CI_COMMIT_SOURCE_BRANCH", BRANCH),
    ("CI_COMMIT_TARGET_BRANCH", BASE),
    ("CI_COMMIT_TAG", TAG),
    ("CI_COMMIT_PULL_REQUEST", PULL),
    ("CI_PIPELINE_EVENT", EVENT),
    ("CI_BUILD_EVENT", EVENT),
    ("CI_PIPELINE_NUMBER", NUMBER),
    ("CI_BUILD_NUMBER", NUMBER),
    ("CI_PIPELINE_URL", URL),
    ("CI_REPO_NAME", REPO),
    ("CI_REPO", REPO),
    ("CI_WORKSPACE", FOLDER),
];

const DRONE: &[(&str, Ours)] = &[
    ("DRONE_COMMIT", SHA),
    ("DRONE_COMMIT_SHA", SHA),
    ("DRONE_COMMIT_REF", REF),
    ("DRONE_BRANCH", BRANCH),
    ("DRONE_COMMIT_BRANCH", BRANCH),
    ("DRONE_SOURCE_BRANCH", BRANCH),
    ("DRONE_TARGET_BRANCH", BASE),
    ("DRONE_TAG", TAG),
    ("DRONE_PULL_REQUEST", PULL),
    ("DRONE_BUILD_EVENT", EVENT),
    ("DRONE_BUILD_NUMBER", NUMBER),
    ("DRONE_BUILD_LINK", URL),
    ("DRONE_REPO", REPO),
    ("DRONE_REPO_NAME", REPO),
    ("DRONE_WORKSPACE", FOLDER),
];

const TRAVIS: &[(&str, Ours)] = &[
    ("TRAVIS_COMMIT", SHA),
    ("TRAVIS_BRANCH", BRANCH),
    ("TRAVIS_TAG", TAG),
    ("TRAVIS_PULL_REQUEST", PULL),
    ("TRAVIS_PULL_REQUEST_BRANCH", BRANCH),
    ("TRAVIS_EVENT_TYPE", EVENT),
    ("TRAVIS_BUILD_NUMBER", NUMBER),
    ("TRAVIS_BUILD_ID", NUMBER),
    ("TRAVIS_JOB_ID", NUMBER),
    ("TRAVIS_JOB_NUMBER", NUMBER),
    ("TRAVIS_BUILD_WEB_URL", URL),
    ("TRAVIS_REPO_SLUG", REPO),
    ("TRAVIS_BUILD_DIR", FOLDER),
    ("TRAVIS_OS_NAME", Shell("linux")),
    ("TRAVIS_PYTHON_VERSION", Name("MATRIX_PYTHON")),
    ("TRAVIS_RUST_VERSION", Name("MATRIX_RUST")),
    ("TRAVIS_GO_VERSION", Name("MATRIX_GO")),
    ("TRAVIS_NODE_VERSION", Name("MATRIX_NODE_JS")),
    ("TRAVIS_RUBY_VERSION", Name("MATRIX_RVM")),
    ("TRAVIS_PHP_VERSION", Name("MATRIX_PHP")),
];

fn table(dialect: Dialect) -> (&'static [(&'static str, Ours)], &'static [&'static str]) {
    match dialect {
        Dialect::Github => (GITHUB, &["GITHUB_", "RUNNER_", "ACTIONS_"]),
        Dialect::Gitlab => (GITLAB, &["CI_", "GITLAB_"]),
        Dialect::Woodpecker => (WOODPECKER, &["CI_"]),
        Dialect::Drone => (DRONE, &["DRONE_"]),
        Dialect::Travis => (TRAVIS, &["TRAVIS_"]),
    }
}

/// A script with our variables in it, and what was found on the way.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// Theirs and ours.
    pub(super) replaced: Vec<(String, String)>,
    /// Those of the other system that nothing sets here.
    pub(super) unknown: Vec<String>,
}

/// One use of a variable: its name and where the use ends.
struct Use<'t> {
    name: &'t str,
    /// `${NAME}` or `$NAME`, nothing else in it.
    whole: bool,
    end: usize,
}

fn variable_at(text: &str) -> Option<Use<'_>> {
    let braces = text.starts_with("${");
    let start = if braces { 2 } else { 1 };
    let rest = text.get(start..)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let length = rest.find(|c| !legal(c)).unwrap_or(rest.len());
    let name = &rest[..length];
    if !is_variable(name) {
        return None;
    }
    let closed = braces && rest[length..].starts_with('}');
    Some(Use {
        name,
        whole: !braces || closed,
        end: start + length + usize::from(closed),
    })
}

/// Puts our variables in place of those of the other system.
pub(super) fn rewrite(script: &str, dialect: Dialect) -> Rewritten {
    let (table, prefixes) = table(dialect);
    let mut done = Rewritten::default();
    let mut at = 0;
    while let Some(found) = script[at..].find('$') {
        let open = at + found;
        done.text.push_str(&script[at..open]);
        let Some(used) = variable_at(&script[open..]) else {
            done.text.push('$');
            at = open + 1;
            continue;
        };
        let whole = &script[open..open + used.end];
        at = open + used.end;
        let known = table.iter().find(|(name, _)| *name == used.name);
        let new = match known {
            Some((_, Name(ours))) => Some(whole.replacen(used.name, ours, 1)),
            Some((_, Shell(shell))) if used.whole => Some((*shell).to_owned()),
            _ => None,
        };
        let remember = |list: &mut Vec<(String, String)>, new: &str| {
            let pair = (used.name.to_owned(), new.to_owned());
            if !list.contains(&pair) {
                list.push(pair);
            }
        };
        match new {
            Some(new) => {
                remember(&mut done.replaced, &new);
                done.text.push_str(&new);
            }
            None => {
                if prefixes.iter().any(|prefix| used.name.starts_with(prefix))
                    && !done.unknown.iter().any(|name| name == used.name)
                {
                    done.unknown.push(used.name.to_owned());
                }
                done.text.push_str(whole);
            }
        }
    }
    done.text.push_str(&script[at..]);
    done
}

/// As [`rewrite`], and tells the reader. `own` are variables that the file itself sets.
pub(super) fn script(
    text: &str,
    dialect: Dialect,
    own: &[String],
    (line, what): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> String {
    let done = rewrite(text, dialect);
    if !done.replaced.is_empty() {
        let pairs: Vec<String> = done
            .replaced
            .iter()
            .map(|(theirs, ours)| format!("${theirs} is now {ours}"))
            .collect();
        notes.near(
            comments,
            line,
            format!("{what}: variables"),
            pairs.join(", "),
        );
    }
    for name in done.unknown.iter().filter(|name| !own.contains(name)) {
        let words = "nothing sets it here";
        notes.lost(comments, line, format!("{what}: ${name}"), words);
    }
    done.text
}

/// A value of `env`, or another text in which names are filled in: no shell will see it.
/// `own` has the values of the file's own variables, `matrix` the names of its matrix.
pub(super) fn text(
    text: &str,
    dialect: Dialect,
    own: &[(String, String)],
    matrix: &[String],
) -> (String, Vec<String>) {
    let (table, _) = table(dialect);
    let mut unknown = Vec::new();
    // What is one of our own names already is no text to be put together.
    let is_text = |(_, value): &&(String, String)| !value.contains("${{");
    let own: Vec<(String, String)> = own.iter().filter(is_text).cloned().collect();
    let text = fill(text, &own, 0);
    let mut out = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let open = at + found;
        out.push_str(&text[at..open]);
        let rest = &text[open..];
        if rest.starts_with("$$") && dialect != Dialect::Travis {
            // An escaped `$`: the text has one.
            out.push_str(if rest[1..].starts_with("${{") {
                "$$"
            } else {
                "$"
            });
            at = open + 2;
            continue;
        }
        let Some(used) = variable_at(rest).filter(|used| used.whole) else {
            // What looks like our own braces must stay text.
            out.push_str(if rest.starts_with("${{") { "$$" } else { "$" });
            at = open + 1;
            continue;
        };
        at = open + used.end;
        if matrix.iter().any(|name| name == used.name) {
            out.push_str(&format!("${{{{ matrix.{} }}}}", used.name));
            continue;
        }
        let ours = table.iter().find(|(name, _)| *name == used.name);
        let name = match ours.map(|(_, ours)| *ours) {
            Some(SHA) => "revision",
            Some(BRANCH) => "branch",
            Some(TAG) => "tag",
            Some(EVENT) => "event",
            Some(BASE) => "base",
            Some(REPO) => "repo",
            Some(Shell(shell)) if !shell.contains('$') => {
                out.push_str(shell);
                continue;
            }
            _ => {
                unknown.push(used.name.to_owned());
                out.push_str(&rest[..used.end]);
                continue;
            }
        };
        out.push_str(&format!("${{{{ {name} }}}}"));
    }
    out.push_str(&text[at..]);
    (out, unknown)
}

/// Fills in variables of the file itself; one that speaks of itself is left as it is.
fn fill(text: &str, own: &[(String, String)], depth: usize) -> String {
    // A few hundred bytes could stand for gigabytes otherwise.
    if depth > 8 || text.len() > 8 * 1024 {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut at = 0;
    while let Some(found) = text[at..].find('$') {
        let open = at + found;
        out.push_str(&text[at..open]);
        let rest = &text[open..];
        if rest.starts_with("$$") {
            out.push_str("$$");
            at = open + 2;
            continue;
        }
        let used = variable_at(rest).filter(|used| used.whole);
        let value = used.as_ref().and_then(|used| {
            let value = own.iter().find(|(name, _)| name == used.name);
            value.filter(|(_, value)| value != text)
        });
        match (used, value) {
            (Some(used), Some((_, value))) if out.len() < 8 * 1024 => {
                out.push_str(&fill(value, own, depth + 4));
                at = open + used.end;
            }
            _ => {
                out.push('$');
                at = open + 1;
            }
        }
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_others_become_ours() {
        let text = |script: &str, dialect| rewrite(script, dialect).text;
        for (script, dialect, ours) in [
            ("x $CI_COMMIT_SHA", Dialect::Gitlab, "x $WINDLASS_REVISION"),
            (
                "${CI_COMMIT_SHA:0:8}",
                Dialect::Gitlab,
                "${WINDLASS_REVISION:0:8}",
            ),
            ("$CI_COMMIT_SHAX", Dialect::Gitlab, "$CI_COMMIT_SHAX"),
            (
                "\"${DRONE_TAG##v}\"",
                Dialect::Drone,
                "\"${WINDLASS_TAG##v}\"",
            ),
            ("$TRAVIS_BRANCH-x", Dialect::Travis, "$WINDLASS_BRANCH-x"),
            (
                "$GITHUB_REF_NAME",
                Dialect::Github,
                "${WINDLASS_TAG:-$WINDLASS_BRANCH}",
            ),
            (">> $GITHUB_STEP_SUMMARY", Dialect::Github, ">> /dev/null"),
            ("$1 $$ $(x) ${y} $", Dialect::Github, "$1 $$ $(x) ${y} $"),
        ] {
            assert_eq!(text(script, dialect), ours);
        }
        let done = rewrite("$CI_A $CI_A $HOME", Dialect::Gitlab);
        assert_eq!(done.unknown, ["CI_A"]);
    }

    #[test]
    fn texts_that_no_shell_sees() {
        let own = [
            ("A".to_owned(), "1$B".to_owned()),
            ("B".to_owned(), "2".to_owned()),
            ("S".to_owned(), "x$S".to_owned()),
        ];
        let text = |value: &str| text(value, Dialect::Gitlab, &own, &["M".to_owned()]).0;
        assert_eq!(text("$A-${CI_COMMIT_SHA}"), "12-${{ revision }}");
        assert_eq!(text("$M"), "${{ matrix.M }}");
        assert_eq!(text("a $$B ${{ x }}"), "a $B $${{ x }}");
        assert!(text("$S").len() < 100);
    }
}
