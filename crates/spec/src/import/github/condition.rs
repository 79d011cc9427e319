//! `if`: as far as our conditions say the same. What doesn't runs less, never more.

use super::super::pipeline::legal_name;
use super::super::when::{When, quoted};
use super::expression::{Expr, bare, parse};
use super::value::Scope;

/// Where a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a job, where the ends of other jobs can be asked.
    Job,
    /// In a step.
    Step,
}

/// A condition in our words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) when: When,
    /// What could not be said; without these it runs less.
    pub(super) unknown: Vec<String>,
    /// What differs.
    pub(super) near: Vec<&'static str>,
}

/// Reads a condition.
pub(super) fn read(text: &str, scope: &Scope<'_>, place: Place) -> Condition {
    let inside = bare(text);
    let never = |words: &str| Condition {
        when: When::never(),
        unknown: vec![words.to_owned()],
        near: Vec::new(),
    };
    let Some(expr) = parse(inside) else {
        return never("it can't be read");
    };
    let parts = match expr {
        Expr::And(parts) => parts,
        other => vec![other],
    };
    let mut reader = Reader {
        scope,
        place,
        unknown: Vec::new(),
        near: Vec::new(),
    };
    let mut result = None;
    let mut rest = Vec::new();
    for part in parts {
        match status(&part) {
            None => rest.push(part),
            Some(Status::Success) => {}
            Some(Status::Always) => result = result.or(Some("always")),
            Some(Status::Failure) => result = Some("failure"),
            Some(Status::Cancelled) => return never("nothing runs after a build was cancelled"),
        }
    }
    let truth = match rest.len() {
        0 => Truth::Known(true),
        1 => reader.truth(&rest[0], true).unwrap_or(Truth::Known(false)),
        _ => reader
            .truth(&Expr::And(rest), true)
            .unwrap_or(Truth::Known(false)),
    };
    let mut when = match truth {
        Truth::Known(true) => When::default(),
        Truth::Known(false) => When::never(),
        Truth::Asked(text, _) => When::of(text),
    };
    when.result = result;
    Condition {
        when,
        unknown: reader.unknown,
        near: reader.near,
    }
}

/// How what came before must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Success,
    Failure,
    Always,
    Cancelled,
}

fn status(expr: &Expr) -> Option<Status> {
    match expr {
        Expr::Call(name, arguments) if arguments.is_empty() => match name.as_str() {
            "success" => Some(Status::Success),
            "failure" => Some(Status::Failure),
            "always" => Some(Status::Always),
            "cancelled" => Some(Status::Cancelled),
            _ => None,
        },
        Expr::Not(inner) => match status(inner)? {
            Status::Cancelled => Some(Status::Always),
            Status::Failure => Some(Status::Success),
            Status::Success => Some(Status::Failure),
            Status::Always => Some(Status::Cancelled),
        },
        Expr::Or(parts) => {
            let all: Option<Vec<Status>> = parts.iter().map(status).collect();
            let mut all = all?;
            all.retain(|one| *one != Status::Cancelled);
            match (
                all.contains(&Status::Success),
                all.contains(&Status::Failure),
            ) {
                _ if all.contains(&Status::Always) => Some(Status::Always),
                (true, true) => Some(Status::Always),
                (true, false) => Some(Status::Success),
                (false, true) => Some(Status::Failure),
                (false, false) => Some(Status::Cancelled),
            }
        }
        Expr::Compare("==", left, right) => match (left.path()?.as_str(), &**right) {
            ("job.status", Expr::Text(text)) => match text.as_str() {
                "success" => Some(Status::Success),
                "failure" => Some(Status::Failure),
                "cancelled" => Some(Status::Cancelled),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// How tightly a condition's outermost part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bond {
    Atom,
    And,
    Or,
}

enum Truth {
    Known(bool),
    Asked(String, Bond),
}

impl Truth {
    fn atom(text: impl Into<String>) -> Self {
        Self::Asked(text.into(), Bond::Atom)
    }

    fn negated(self) -> Self {
        match self {
            Self::Known(truth) => Self::Known(!truth),
            Self::Asked(text, _) => Self::atom(format!("!({text})")),
        }
    }
}

struct Reader<'a> {
    scope: &'a Scope<'a>,
    place: Place,
    unknown: Vec<String>,
    near: Vec<&'static str>,
}

impl Reader<'_> {
    /// `positive`: whether more truth here is more truth in the whole.
    fn truth(&mut self, expr: &Expr, positive: bool) -> Option<Truth> {
        match expr {
            Expr::Truth(truth) => Some(Truth::Known(*truth)),
            Expr::Null => Some(Truth::Known(false)),
            Expr::Text(text) => Some(Truth::Known(!text.is_empty())),
            Expr::Number(number) => Some(Truth::Known(number.parse::<f64>() != Ok(0.0))),
            Expr::Not(inner) => Some(self.truth(inner, !positive)?.negated()),
            Expr::And(parts) => self.joined(parts, true, positive),
            Expr::Or(parts) => self.joined(parts, false, positive),
            Expr::Compare(operator, left, right) => {
                let found = self.compare(operator, left, right);
                self.known(found, expr)
            }
            Expr::Call(name, arguments) => {
                let found = self.call(name, arguments);
                self.known(found, expr)
            }
            Expr::Name(_) => {
                let found = self.named(&expr.path().unwrap_or_default());
                self.known(found, expr)
            }
        }
    }

    fn known(&mut self, found: Option<Truth>, expr: &Expr) -> Option<Truth> {
        if found.is_none() {
            let words = shown(expr);
            if !self.unknown.contains(&words) {
                self.unknown.push(words);
            }
        }
        found
    }

    /// `&&` or `||`. What isn't known may be left out where that makes the whole true less often.
    fn joined(&mut self, parts: &[Expr], and: bool, positive: bool) -> Option<Truth> {
        let mut texts: Vec<String> = Vec::new();
        let mut left_out = false;
        let mut bond = if and { Bond::And } else { Bond::Or };
        let mut last = Bond::Atom;
        for part in parts {
            match self.truth(part, positive) {
                None if and != positive => left_out = true,
                None => return None,
                Some(Truth::Known(truth)) if truth == and => {}
                Some(Truth::Known(truth)) => return Some(Truth::Known(truth)),
                Some(Truth::Asked(text, inner)) => {
                    let wraps = and && inner == Bond::Or;
                    texts.push(if wraps { format!("({text})") } else { text });
                    last = if wraps { Bond::Atom } else { inner };
                }
            }
        }
        match texts.len() {
            0 if left_out => None,
            0 => Some(Truth::Known(and)),
            count => {
                if count == 1 {
                    bond = last;
                }
                Some(Truth::Asked(
                    texts.join(if and { " && " } else { " || " }),
                    bond,
                ))
            }
        }
    }

    fn named(&self, path: &str) -> Option<Truth> {
        if let Some((input, kind)) = self.scope.input(path) {
            let asked = match kind {
                "boolean" => format!("params.{input}"),
                "number" => format!("params.{input} != 0"),
                _ => format!("params.{input} != \"\""),
            };
            return Some(of_input(&asked));
        }
        if let Some(axis) = self.scope.axis(path) {
            let text = format!("matrix.{axis} != \"\" && matrix.{axis} != \"false\"");
            return Some(Truth::Asked(text, Bond::And));
        }
        if let Some(name) = self.output(path) {
            return Some(Truth::atom(format!("{name} != \"\"")));
        }
        let text = match path {
            "github.head_ref" | "github.event.pull_request" => "event == \"pull_request\"",
            "github.event.pull_request.head.repo.fork" => "fork",
            "github.base_ref" => "base != \"\"",
            "github.ref" | "github.sha" | "github.actor" => return Some(Truth::Known(true)),
            other => {
                let name = other.strip_prefix("env.")?;
                let (_, value) = self.scope.env.iter().find(|(known, _)| known == name)?;
                return (!value.contains("${{")).then_some(Truth::Known(!value.is_empty()));
            }
        };
        Some(Truth::atom(text))
    }

    fn output(&self, path: &str) -> Option<String> {
        let (job, output) = self.scope.output(path)?;
        (self.place == Place::Job).then(|| format!("needs.{job}.outputs.{output}"))
    }

    /// What can be compared with a text as it is.
    fn text_name(&mut self, path: &str) -> Option<String> {
        if let Some(axis) = self.scope.axis(path) {
            return Some(format!("matrix.{axis}"));
        }
        if let Some(output) = self.output(path) {
            return Some(output);
        }
        let name = match path {
            "github.sha" => "revision",
            "github.base_ref" | "github.event.pull_request.base.ref" => "base",
            "github.event.head_commit.message" => {
                self.near
                    .push("the message of the commit, also of a pull request's; letters count");
                "message"
            }
            "github.event.repository.name" => "repo",
            _ => return None,
        };
        Some(name.to_owned())
    }

    /// The text that an expression always is.
    fn constant(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Text(text) | Expr::Number(text) => Some(text.clone()),
            Expr::Truth(truth) => Some(truth.to_string()),
            Expr::Null => Some(String::new()),
            Expr::Name(_) => {
                let path = expr.path()?;
                match path.as_str() {
                    // Other machines are left out of every matrix.
                    "runner.os" => Some("Linux".to_owned()),
                    "github.workflow" => Some(self.scope.workflow.to_owned()),
                    path => {
                        let name = path.strip_prefix("env.")?;
                        let found = self.scope.env.iter().find(|(known, _)| known == name);
                        let value = found.map(|(_, value)| value.clone())?;
                        (!value.contains("${{")).then_some(value)
                    }
                }
            }
            _ => None,
        }
    }

    fn compare(&mut self, operator: &str, left: &Expr, right: &Expr) -> Option<Truth> {
        if let (Some(a), Some(b)) = (self.constant(left), self.constant(right)) {
            let same = a.eq_ignore_ascii_case(&b);
            return match operator {
                "==" => Some(Truth::Known(same)),
                "!=" => Some(Truth::Known(!same)),
                _ => None,
            };
        }
        if same_repository(left, right) {
            return match operator {
                "==" => Some(Truth::atom("!fork")),
                "!=" => Some(Truth::atom("fork")),
                _ => None,
            };
        }
        let (name, value) = match (left.path(), self.constant(right)) {
            (Some(name), Some(value)) => (name, value),
            _ => (right.path()?, self.constant(left)?),
        };
        match operator {
            "==" => self.equal(&name, &value),
            "!=" => Some(match self.equal(&name, &value)? {
                // Easier to read than a negation.
                Truth::Asked(text, Bond::Atom)
                    if text.matches(" == ").count() == 1 && !text.contains('(') =>
                {
                    Truth::atom(text.replacen(" == ", " != ", 1))
                }
                other => other.negated(),
            }),
            _ => {
                let (input, kind) = self.scope.input(&name)?;
                let number: i64 = value.parse().ok()?;
                let is_first = left.path().is_some();
                (kind == "number" && is_first)
                    .then(|| of_input(&format!("params.{input} {operator} {number}")))
            }
        }
    }

    fn equal(&mut self, path: &str, value: &str) -> Option<Truth> {
        if let Some((input, kind)) = self.scope.input(path) {
            return input_equal(&input, kind, value);
        }
        if let Some(job) = path
            .strip_prefix("needs.")
            .and_then(|p| p.strip_suffix(".result"))
        {
            return self.result(job, value);
        }
        if let Some(name) = self.text_name(path) {
            return Some(Truth::atom(format!("{name} == {}", quoted(value))));
        }
        let truth = |yes: &str, no: &str| match value {
            "true" => Some(Truth::atom(yes)),
            "false" => Some(Truth::atom(no)),
            _ => None,
        };
        match path {
            "github.event_name" => Some(event(value)),
            "github.ref" => {
                if let Some(branch) = value.strip_prefix("refs/heads/") {
                    return Some(on_branch(&format!("branch == {}", quoted(branch))));
                }
                let tag = value.strip_prefix("refs/tags/")?;
                Some(Truth::atom(format!("tag == {}", quoted(tag))))
            }
            "github.ref_name" => {
                let name = quoted(value);
                let text =
                    format!("event != \"pull_request\" && branch == {name} || tag == {name}");
                Some(Truth::Asked(text, Bond::Or))
            }
            "github.ref_type" => match value {
                "tag" => Some(Truth::atom("tag != \"\"")),
                "branch" => Some(Truth::atom("tag == \"\"")),
                _ => Some(Truth::Known(false)),
            },
            "github.head_ref" if value.is_empty() => Some(Truth::atom("event != \"pull_request\"")),
            "github.head_ref" | "github.event.pull_request.head.ref" => {
                let text = format!("event == \"pull_request\" && branch == {}", quoted(value));
                Some(Truth::Asked(text, Bond::And))
            }
            "github.repository" => {
                self.near
                    .push("the repository's name on this server is compared, without its owner");
                let name = value.rsplit('/').next().unwrap_or_default();
                Some(Truth::atom(format!("repo == {}", quoted(name))))
            }
            "github.event.pull_request.head.repo.fork" => truth("fork", "!fork"),
            _ => None,
        }
    }

    fn result(&self, job: &str, value: &str) -> Option<Truth> {
        if self.place == Place::Step || !self.scope.needs.iter().any(|need| need == job) {
            return None;
        }
        let job = legal_name(job);
        let text = match value {
            "success" => format!("needs.{job}.result == \"passed\""),
            "failure" => format!("needs.{job}.result in [\"failed\", \"error\"]"),
            "cancelled" | "skipped" => format!("needs.{job}.result == {}", quoted(value)),
            _ => return Some(Truth::Known(false)),
        };
        Some(Truth::atom(text))
    }

    fn call(&mut self, name: &str, arguments: &[Expr]) -> Option<Truth> {
        let [left, right] = arguments else {
            return None;
        };
        if name == "contains"
            && let Some(items) = list_of(left)
        {
            let path = right.path()?;
            let any: Option<Vec<Expr>> = Some(
                items
                    .into_iter()
                    .map(|item| {
                        let name = path.split('.').map(ToOwned::to_owned).collect();
                        Expr::Compare("==", Box::new(Expr::Name(name)), Box::new(Expr::Text(item)))
                    })
                    .collect(),
            );
            return self.joined(&any?, false, true);
        }
        let path = left.path()?;
        let value = self.constant(right)?;
        if name == "contains" && path == "needs.*.result" {
            let needs = self.scope.needs;
            let texts: Option<Vec<String>> = needs
                .iter()
                .map(|job| match self.result(job, &value)? {
                    Truth::Asked(text, _) => Some(text),
                    Truth::Known(_) => None,
                })
                .collect();
            let texts = texts.filter(|texts| !texts.is_empty())?;
            return Some(Truth::Asked(texts.join(" || "), Bond::Or));
        }
        let begins = name == "startswith" || name == "contains" && value.starts_with("refs/");
        if path == "github.ref" && begins {
            return start_of_ref(&value);
        }
        let function = match name {
            "startswith" => "starts_with",
            "endswith" => "ends_with",
            "contains" => "contains",
            _ => return None,
        };
        let call = |name: &str| format!("{function}({name}, {})", quoted(&value));
        match path.as_str() {
            "github.ref_name" => Some(Truth::Asked(
                format!(
                    "event != \"pull_request\" && {} || {}",
                    call("branch"),
                    call("tag")
                ),
                Bond::Or,
            )),
            "github.head_ref" => Some(Truth::Asked(
                format!("event == \"pull_request\" && {}", call("branch")),
                Bond::And,
            )),
            _ => {
                let name = self.text_name(&path)?;
                Some(Truth::atom(call(&name)))
            }
        }
    }
}

/// Texts of `fromJSON('["a", "b"]')`.
fn list_of(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Call(name, arguments) if name == "fromjson" => match &arguments[..] {
            [Expr::Text(text)] => serde_json::from_str(text).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn same_repository(left: &Expr, right: &Expr) -> bool {
    let is = |expr: &Expr, path: &str| expr.path().as_deref() == Some(path);
    let head = "github.event.pull_request.head.repo.full_name";
    is(left, head) && is(right, "github.repository")
        || is(right, head) && is(left, "github.repository")
}

/// Inputs have values only in builds by hand.
fn of_input(asked: &str) -> Truth {
    Truth::Asked(
        format!("event in [\"manual\", \"api\"] && {asked}"),
        Bond::And,
    )
}

fn input_equal(input: &str, kind: &str, value: &str) -> Option<Truth> {
    match (kind, value) {
        ("boolean", "true") => Some(of_input(&format!("params.{input}"))),
        ("boolean", "false") => Some(of_input(&format!("!params.{input}"))),
        ("boolean", _) => None,
        ("number", value) => {
            let number: i64 = value.parse().ok()?;
            Some(of_input(&format!("params.{input} == {number}")))
        }
        // Nothing is given outside of builds by hand.
        (_, "") => None,
        (_, value) => Some(of_input(&format!("params.{input} == {}", quoted(value)))),
    }
}

fn on_branch(asked: &str) -> Truth {
    Truth::Asked(format!("event != \"pull_request\" && {asked}"), Bond::And)
}

fn start_of_ref(value: &str) -> Option<Truth> {
    if let Some(branch) = value.strip_prefix("refs/heads/") {
        return Some(match branch {
            "" => on_branch("branch != \"\""),
            branch => on_branch(&format!("starts_with(branch, {})", quoted(branch))),
        });
    }
    if let Some(tag) = value.strip_prefix("refs/tags") {
        let tag = tag.strip_prefix('/').unwrap_or(tag);
        return Some(Truth::atom(match tag {
            "" => "tag != \"\"".to_owned(),
            tag => format!("starts_with(tag, {})", quoted(tag)),
        }));
    }
    value
        .starts_with("refs/pull")
        .then(|| Truth::atom("event == \"pull_request\""))
}

/// `github.event_name == '…'`: a push of a tag is a push there.
fn event(value: &str) -> Truth {
    match value {
        "push" => Truth::atom("event in [\"push\", \"tag\"]"),
        "pull_request" => Truth::atom("event == \"pull_request\""),
        "schedule" => Truth::atom("event == \"schedule\""),
        "workflow_dispatch" => Truth::atom("event in [\"manual\", \"api\"]"),
        // No build is made by such an event.
        _ => Truth::Known(false),
    }
}

/// An expression for people.
pub(super) fn shown(expr: &Expr) -> String {
    let list = |parts: &[Expr], mark: &str| {
        let texts: Vec<String> = parts.iter().map(shown).collect();
        texts.join(mark)
    };
    match expr {
        Expr::Text(text) => format!("'{text}'"),
        Expr::Number(text) => text.clone(),
        Expr::Truth(truth) => truth.to_string(),
        Expr::Null => "null".to_owned(),
        Expr::Name(_) => expr.path().unwrap_or_default(),
        Expr::Call(name, arguments) => format!("{name}({})", list(arguments, ", ")),
        Expr::Not(inner) => format!("!{}", shown(inner)),
        Expr::Compare(operator, left, right) => {
            format!("{} {operator} {}", shown(left), shown(right))
        }
        Expr::And(parts) => format!("({})", list(parts, " && ")),
        Expr::Or(parts) => format!("({})", list(parts, " || ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Option<&'static str>, String) {
        let inputs = [("dry".to_owned(), "boolean"), ("to".to_owned(), "text")];
        let matrix = [("os".to_owned(), "os".to_owned())];
        let needs = ["build".to_owned(), "lint".to_owned()];
        let scope = Scope {
            inputs: &inputs,
            matrix: &matrix,
            needs: &needs,
            ..Scope::default()
        };
        let condition = read(text, &scope, Place::Job);
        (condition.when.result, condition.when.expr(false))
    }

    #[test]
    fn what_has_a_counterpart() {
        for (theirs, ours) in [
            ("github.event_name == 'push'", r#"event in ["push", "tag"]"#),
            (
                "github.event_name != 'pull_request'",
                r#"event != "pull_request""#,
            ),
            (
                "${{ github.ref == 'refs/heads/main' }}",
                r#"event != "pull_request" && branch == "main""#,
            ),
            (
                "startsWith(github.ref, 'refs/tags/v')",
                r#"starts_with(tag, "v")"#,
            ),
            ("startsWith(github.ref, 'refs/tags/')", r#"tag != """#),
            (
                "matrix.os == 'a' || matrix.os == 'b'",
                r#"matrix.os == "a" || matrix.os == "b""#,
            ),
            (
                "needs.build.outputs.x == 'y'",
                r#"needs.build.outputs.x == "y""#,
            ),
            (
                "needs.build.result == 'success'",
                r#"needs.build.result == "passed""#,
            ),
            ("inputs.dry", r#"event in ["manual", "api"] && params.dry"#),
            (
                "github.event.inputs.to == 'x'",
                r#"event in ["manual", "api"] && params.to == "x""#,
            ),
            (
                "github.event.pull_request.head.repo.full_name == github.repository",
                "!fork",
            ),
            ("runner.os == 'Linux'", "true"),
            ("runner.os == 'Windows'", "false"),
            ("github.event_name == 'release'", "false"),
            (
                "(true || false) && github.base_ref == 'x'",
                r#"base == "x""#,
            ),
            (
                "contains(fromJSON('[\"push\", \"schedule\"]'), github.event_name)",
                r#"event in ["push", "tag"] || event == "schedule""#,
            ),
        ] {
            assert_eq!(of(theirs), (None, ours.to_owned()), "{theirs}");
        }
    }

    #[test]
    fn how_what_came_before_ended() {
        assert_eq!(of("always()"), (Some("always"), "true".to_owned()));
        assert_eq!(of("!cancelled()").0, Some("always"));
        assert_eq!(of("success() || failure()").0, Some("always"));
        assert_eq!(of("failure()").0, Some("failure"));
        assert_eq!(of("success()"), (None, "true".to_owned()));
        assert_eq!(of("cancelled()"), (None, "false".to_owned()));
        let both = of("always() && contains(needs.*.result, 'failure')");
        assert_eq!(both.0, Some("always"));
        assert!(both.1.contains("needs.lint.result in"), "{both:?}");
    }

    #[test]
    fn what_is_not_known_runs_less() {
        for theirs in [
            "github.actor == 'x'",
            "!contains(github.event.pull_request.labels.*.name, 'x')",
            "github.event.x && matrix.os == 'a'",
            "a ==",
            "failure() || matrix.os == 'a'",
            "!(github.event.x || matrix.os == 'a')",
            "vars.X == 'y'",
        ] {
            let (_, ours) = of(theirs);
            assert!(
                ours == "false" || ours == "matrix.os == \"a\"",
                "{theirs}: {ours}"
            );
        }
        assert_eq!(
            of("github.event.x || matrix.os == 'a'").1,
            r#"matrix.os == "a""#
        );
        assert_eq!(
            of("!(github.event.x && matrix.os == 'a')").1,
            r#"!(matrix.os == "a")"#
        );
    }
}
