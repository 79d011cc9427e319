//! Expressions inside of values, as far as our `${{ name }}` says the same.

use super::super::notes::Notes;
use super::super::pipeline::{Vars, is_secret, is_variable, legal_name};
use super::super::source::Document;
use super::super::tree::Tree as _;
use super::expression::{Expr, Piece, parse, pieces};
use crate::node::Node;

/// Which names exist where a value stands.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Scope<'a> {
    /// Inputs of the workflow, with their types.
    pub(super) inputs: &'a [(String, &'static str)],
    /// Names of the matrix: the path there, and our name.
    pub(super) matrix: &'a [(String, String)],
    /// The jobs that are needed: their name there, and their outputs.
    pub(super) needs: &'a [String],
    /// Variables of which the value is known.
    pub(super) env: &'a [(String, String)],
    /// The workflow's name.
    pub(super) workflow: &'a str,
    /// The job's name.
    pub(super) job: &'a str,
}

impl Scope<'_> {
    /// Our name of `matrix.a.b`.
    pub(super) fn axis(&self, path: &str) -> Option<&str> {
        let path = path.strip_prefix("matrix.")?;
        let found = self.matrix.iter().find(|(name, _)| name == path)?;
        Some(&found.1)
    }

    /// The type of `inputs.a`, and our name.
    pub(super) fn input(&self, path: &str) -> Option<(String, &'static str)> {
        let name = path
            .strip_prefix("inputs.")
            .or_else(|| path.strip_prefix("github.event.inputs."))?;
        let name = legal_name(name);
        let found = self.inputs.iter().find(|(known, _)| *known == name)?;
        Some((name, found.1))
    }

    /// Job and output of `needs.a.outputs.b`, if the job is needed.
    pub(super) fn output(&self, path: &str) -> Option<(String, String)> {
        let rest = path.strip_prefix("needs.")?;
        let (job, output) = rest.split_once(".outputs.")?;
        self.needs
            .iter()
            .any(|need| need == job)
            .then(|| (legal_name(job), output_name(output)))
    }
}

/// An output's name in our letters.
pub(super) fn output_name(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = name.chars().map(legal).take(50).collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name
    } else {
        format!("o{name}")
    }
}

/// A value with our names in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) text: String,
    /// Expressions that have no counterpart; they are left out of the text.
    pub(super) unknown: Vec<String>,
    /// What differs.
    pub(super) near: Vec<String>,
}

/// Fills in what can be. The result may stand wherever names are replaced.
pub(super) fn text(text: &str, scope: &Scope<'_>) -> Filled {
    let mut filled = Filled::default();
    let parts = pieces(text);
    let whole = parts.len() == 1;
    for piece in parts {
        match piece {
            // What is no expression of theirs must not become one of ours.
            Piece::Text(text) => filled.text.push_str(&text.replace("${{", "$${{")),
            Piece::Expr(text) => match parse(text).and_then(|expr| name(&expr, scope, whole)) {
                Some((ours, near)) => {
                    filled.text.push_str(&ours);
                    filled
                        .near
                        .extend(near.map(|near| format!("{text}: {near}")));
                }
                None => filled.unknown.push(text.to_owned()),
            },
        }
    }
    filled
}

/// What stands for an expression, and what differs.
fn name(expr: &Expr, scope: &Scope<'_>, whole: bool) -> Option<(String, Option<&'static str>)> {
    let ours = |name: &str| format!("${{{{ {name} }}}}");
    let path = match expr {
        Expr::Text(text) => return Some((text.replace("${{", "$${{"), None)),
        Expr::Number(number) => return Some((number.clone(), None)),
        Expr::Truth(truth) => return Some((truth.to_string(), None)),
        // `a || b` where a is there in most cases.
        Expr::Or(parts) => {
            let (first, rest) = parts.split_first()?;
            let path = first.path()?;
            if path == "github.head_ref" && rest.iter().any(is_ref) {
                return Some((ours("branch"), Some("the branch, also of a pull request")));
            }
            return None;
        }
        Expr::Name(_) => expr.path()?,
        _ => return None,
    };
    let both = format!("{}{}", ours("branch"), ours("tag"));
    let (text, near) = match path.as_str() {
        "github.sha" | "github.event.pull_request.head.sha" | "github.event.after" => {
            (ours("revision"), None)
        }
        "github.ref_name" => (both, Some("of a pull request, its branch")),
        "github.ref" => (both, Some("without refs/heads/ or refs/tags/")),
        "github.head_ref" | "github.event.pull_request.head.ref" => (
            ours("branch"),
            Some("the branch, also outside of pull requests"),
        ),
        "github.base_ref" | "github.event.pull_request.base.ref" => (ours("base"), None),
        "github.event_name" => (
            ours("event"),
            Some("the words are push, tag, pull_request, schedule, manual, api"),
        ),
        "github.repository" | "github.event.repository.name" => {
            (ours("repo"), Some("the repository's name on this server"))
        }
        "github.actor" | "github.triggering_actor" => {
            (ours("author"), Some("who wrote the commit"))
        }
        "github.workflow" => (scope.workflow.replace("${{", "$${{"), None),
        "github.job" => (scope.job.to_owned(), None),
        "runner.os" => ("Linux".to_owned(), None),
        "runner.arch" => ("X64".to_owned(), None),
        other => {
            if let Some(axis) = scope.axis(other) {
                (ours(&format!("matrix.{axis}")), None)
            } else if let Some((input, _)) = scope.input(other) {
                let near = "outside of builds by hand it has its default";
                (ours(&format!("params.{input}")), Some(near))
            } else if let Some((job, output)) = scope.output(other).filter(|_| whole) {
                (ours(&format!("needs.{job}.outputs.{output}")), None)
            } else {
                let name = other.strip_prefix("env.")?;
                let (_, value) = scope.env.iter().find(|(known, _)| known == name)?;
                (value.clone(), None)
            }
        }
    };
    Some((text, near))
}

fn is_ref(expr: &Expr) -> bool {
    let path = expr.path();
    matches!(
        path.as_deref(),
        Some("github.ref" | "github.ref_name" | "github.run_id" | "github.sha")
    )
}

/// Variables of the workflow, a job or a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Env {
    /// Those with a value.
    pub(super) vars: Vars,
    /// Those that are secrets.
    pub(super) secrets: Vec<String>,
    /// Those whose value isn't known: a script that reads one must stop.
    pub(super) unknown: Vec<String>,
    /// Where a variable is only another name of a secret, both.
    pub(super) renamed: Vec<(String, String)>,
}

/// The words of a secret: `secrets.X`, `github.token`.
pub(super) fn secret_of(expr: &Expr) -> Option<String> {
    let path = expr.path()?;
    if path == "github.token" {
        return Some("GITHUB_TOKEN".to_owned());
    }
    let name = path.strip_prefix("secrets.")?.to_ascii_uppercase();
    is_secret(&name).then_some(name)
}

/// Reads `env`.
pub(super) fn env(
    document: &Document,
    node: &Node,
    what: &str,
    scope: &Scope<'_>,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Env {
    let mut env = Env::default();
    if node.entries().is_empty() && node.text().is_some() {
        let line = document.line(&node.span);
        notes.lost(
            comments,
            line,
            what,
            "variables that come from an expression",
        );
    }
    for entry in node.entries() {
        let line = document.line_of(entry);
        let here = format!("{what}.{}", entry.key);
        let name = entry.key.clone();
        if !is_variable(&name) {
            notes.lost(comments, line, here, "not a name of a variable");
            continue;
        }
        let value = entry.value.text().unwrap_or_default();
        if let [Piece::Expr(inside)] = pieces(value)[..]
            && let Some(secret) = parse(inside).as_ref().and_then(secret_of)
        {
            self::secret(&mut env, &name, &secret, (line, &here), comments, notes);
            continue;
        }
        let filled = text(value, scope);
        if let Some(unknown) = filled.unknown.first() {
            let words = format!("nothing here says what {unknown} does: set ${name} by hand");
            notes.lost(comments, line, here, words);
            env.unknown.push(name);
            continue;
        }
        match filled.near.first() {
            Some(near) => notes.near(comments, line, here, near.clone()),
            None => notes.exact(line, here),
        }
        env.vars.push((name, filled.text));
    }
    env
}

fn secret(
    env: &mut Env,
    name: &str,
    secret: &str,
    (line, here): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) {
    if secret == "GITHUB_TOKEN" {
        let words =
            "builds get no token of the forge: make one and store it as the secret GITHUB_TOKEN";
        notes.lost(comments, line, here, words);
    } else {
        notes.exact(line, here);
    }
    env.secrets.push(secret.to_owned());
    if name != secret {
        env.renamed.push((name.to_owned(), secret.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ours() {
        let inputs = [("target".to_owned(), "text")];
        let matrix = [("node-version".to_owned(), "node-version".to_owned())];
        let needs = ["build".to_owned()];
        let env = [("A".to_owned(), "1".to_owned())];
        let scope = Scope {
            inputs: &inputs,
            matrix: &matrix,
            needs: &needs,
            env: &env,
            workflow: "CI",
            job: "test",
        };
        let fill = |value: &str| {
            let filled = text(value, &scope);
            assert_eq!(filled.unknown, [""; 0], "{value}");
            filled.text
        };
        assert_eq!(
            fill("node:${{ matrix.node-version }}"),
            "node:${{ matrix.node-version }}"
        );
        assert_eq!(fill("${{ github.workflow }}-${{ env.A }}"), "CI-1");
        assert_eq!(fill("${{ inputs.target }}"), "${{ params.target }}");
        assert_eq!(
            fill("${{ needs.build.outputs.v-1 }}"),
            "${{ needs.build.outputs.v_1 }}"
        );
        assert_eq!(fill("a ${{ 'b' }}"), "a b");
        assert_eq!(fill("${{ open"), "$${{ open");
        for unknown in [
            "${{ github.event.x }}",
            "x${{ needs.build.outputs.v }}",
            "${{ f( }}",
        ] {
            assert_eq!(text(unknown, &scope).unknown.len(), 1, "{unknown}");
        }
    }
}
