//! Steps: scripts here, actions in `actions.rs`.

use super::super::Dialect;
use super::super::container::step_name;
use super::super::notes::Notes;
use super::super::pipeline::{Job, Step};
use super::super::tree::Tree as _;
use super::super::variables;
use super::actions;
use super::condition::{self, Place};
use super::expression::{Piece, pieces};
use super::job::{InJob, folder_of, minutes, told};
use super::script::{Around, output_file, script, stop};
use super::value::{self, Env};
use crate::node::{Entry, Node};

/// Who runs a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shell {
    /// As our `shell`; nothing is `sh -e`.
    pub(super) words: Option<Vec<String>>,
    /// Whether it is a shell of POSIX.
    is_posix: bool,
}

impl Shell {
    /// Without any word about it: `bash -e`.
    pub(super) fn usual() -> Self {
        Self::words(&["bash", "-e", "-c"], true)
    }

    /// In a container: `sh -e`.
    pub(super) fn plain() -> Self {
        Self {
            words: None,
            is_posix: true,
        }
    }

    fn words(words: &[&str], is_posix: bool) -> Self {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            words: Some(words),
            is_posix,
        }
    }

    /// Of a word, or of a command with `{0}`.
    pub(super) fn of(text: &str) -> Option<Self> {
        match text.trim() {
            "bash" => return Some(Self::words(&["bash"], true)),
            "sh" => return Some(Self::plain()),
            "python" => return Some(Self::words(&["python"], false)),
            "pwsh" => return Some(Self::words(&["pwsh", "-Command"], false)),
            _ => {}
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        let (last, command) = words.split_last()?;
        let (program, options) = command.split_first()?;
        let known = matches!(*program, "bash" | "sh" | "dash" | "zsh");
        if *last != "{0}" || !known || command.iter().any(|word| word.contains(['$', '{'])) {
            return None;
        }
        let mut all = vec![*program];
        all.extend(options);
        all.push("-c");
        Some(Self::words(&all, true))
    }
}

/// Reads all steps.
pub(super) fn read_all(here: &mut InJob<'_>, node: &Node, job: &mut Job, notes: &mut Notes) {
    let document = here.workflow.document;
    for (number, item) in node.list().into_iter().enumerate() {
        let what = format!("{}.steps[{number}]", here.what);
        let line = document.line(&item.span);
        if let Some(uses) = item.get("uses") {
            actions::read(here, item, uses, &what, job, notes);
        } else if let Some(entry) = item.entries().iter().find(|entry| entry.key == "run") {
            run(here, item, entry, &what, job, notes);
        } else {
            notes.lost(
                &mut here.pending,
                line,
                what,
                "a step without `run` and `uses`",
            );
        }
    }
}

fn run(
    here: &mut InJob<'_>,
    node: &Node,
    run: &Entry,
    what: &str,
    job: &mut Job,
    notes: &mut Notes,
) {
    let document = here.workflow.document;
    let line = document.line_of(run);
    let mut step = Step {
        comments: std::mem::take(&mut here.pending),
        ..Step::default()
    };
    let mut env = Env::default();
    let mut shell = here.shell.clone();
    let mut ignores_failure = false;
    for entry in node.entries() {
        let line = document.line_of(entry);
        let place = format!("{what}.{}", entry.key);
        let value = entry.value.text();
        match entry.key.as_str() {
            "run" | "id" => {}
            "name" => step.name = step_name(&plain(value.unwrap_or_default())),
            "if" => {
                let found = condition::read(value.unwrap_or("false"), &here.scope(), Place::Step);
                told(&found, (line, &place), &mut step.comments, notes);
                step.when = found.when;
            }
            "env" => {
                let scope = here.scope();
                env = value::env(
                    document,
                    &entry.value,
                    &place,
                    &scope,
                    &mut step.comments,
                    notes,
                );
            }
            "shell" => match value.and_then(Shell::of) {
                Some(other) => {
                    if other != here.shell {
                        let sh = || vec!["sh".to_owned()];
                        step.shell = Some(other.words.clone().unwrap_or_else(sh));
                    }
                    shell = other;
                    notes.exact(line, place);
                }
                None => {
                    let words = "this interpreter is not known: the step never runs";
                    notes.lost(&mut step.comments, line, place, words);
                    step.when = super::super::when::When::never();
                }
            },
            "working-directory" => {
                let text = value.unwrap_or_default();
                let never = text.contains("${{");
                folder_of(
                    text,
                    (line, &place),
                    &mut step.workdir,
                    &mut step.comments,
                    notes,
                );
                if never {
                    step.when = super::super::when::When::never();
                }
            }
            "timeout-minutes" => {
                step.timeout = value.and_then(minutes);
                match step.timeout {
                    Some(_) => notes.exact(line, place),
                    None => notes.lost(
                        &mut step.comments,
                        line,
                        place,
                        "only a number can stand here",
                    ),
                }
            }
            "continue-on-error" => match entry.value.truth() {
                Some(truth) => ignores_failure = truth,
                None => {
                    let words = "only true or false can stand here: every failure counts";
                    notes.lost(&mut step.comments, line, place, words);
                }
            },
            _ => notes.lost(
                &mut step.comments,
                line,
                place,
                "steps have no such key here",
            ),
        }
    }
    let id = node.text_of("id").unwrap_or("step").to_owned();
    let text = run.value.text().unwrap_or_default();
    step.env = env.vars.clone();
    step.run = if shell.is_posix {
        let place = (line, what, id.as_str());
        posix(here, text, place, &env, &mut step, job, notes)
    } else {
        other(here, text, (line, what), &env, &mut step, notes)
    };
    if ignores_failure {
        let words = "its failure is hidden by the trap in its first line";
        let place = format!("{what}.continue-on-error");
        if shell.is_posix {
            step.run = format!("trap 'exit 0' EXIT\n{}", step.run);
            notes.near(&mut step.comments, line, place, words);
        } else {
            let words = "a failure counts here";
            notes.lost(&mut step.comments, line, place, words);
        }
    }
    job.secrets.extend(env.secrets);
    if node.get("id").is_some() {
        here.ids.push(id);
    }
    job.steps.push(step);
}

/// A script for a shell.
fn posix(
    here: &InJob<'_>,
    text: &str,
    (line, what, id): (usize, &str, &str),
    env: &Env,
    step: &mut Step,
    job: &mut Job,
    notes: &mut Notes,
) -> String {
    let shape = |axis: &str| here.shape(axis);
    let around = Around {
        scope: here.scope(),
        steps: &here.ids,
        axis_shape: &shape,
        line,
    };
    let done = script(text, &around);
    if done.secrets.iter().any(|secret| secret == "GITHUB_TOKEN") {
        let words =
            "builds get no token of the forge: make one and store it as the secret GITHUB_TOKEN";
        notes.lost(
            &mut step.comments,
            line,
            format!("{what}.run: GITHUB_TOKEN"),
            words,
        );
    }
    job.secrets.extend(done.secrets);
    for pair in done.env {
        if !job.env.contains(&pair) {
            job.env.push(pair);
        }
    }
    let file = output_file(id);
    let mut text = done
        .text
        .replace("${GITHUB_OUTPUT}", &file)
        .replace("$GITHUB_OUTPUT", &file);
    let own: Vec<String> = [&here.env.vars, &env.vars]
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .chain(
            here.env
                .secrets
                .iter()
                .chain(&env.secrets)
                .chain(&job.secrets)
                .cloned(),
        )
        .chain(
            here.env
                .renamed
                .iter()
                .chain(&env.renamed)
                .map(|(name, _)| name.clone()),
        )
        .collect();
    let place = (line, what);
    text = variables::script(
        &text,
        Dialect::Github,
        &own,
        place,
        &mut step.comments,
        notes,
    );
    if text.contains("::set-output") || text.contains("::add-path") || text.contains("::set-env") {
        let words = "commands in the output mean nothing here";
        notes.lost(
            &mut step.comments,
            line,
            format!("{what}.run: ::set-output"),
            words,
        );
    }
    if done.unknown.is_empty() {
        if !done.replaced.is_empty() {
            let pairs: Vec<String> = done
                .replaced
                .iter()
                .map(|(theirs, ours)| format!("{theirs} is now {ours}"))
                .collect();
            notes.near(
                &mut step.comments,
                line,
                format!("{what}.run"),
                pairs.join(", "),
            );
        }
    } else {
        let words = format!(
            "nothing here says what {} is: the script stops where it uses it",
            done.unknown.join(", ")
        );
        notes.lost(&mut step.comments, line, format!("{what}.run"), words);
    }
    notes.exact(line, format!("{what}.run"));
    let mut first = String::new();
    for name in here.env.unknown.iter().chain(&env.unknown) {
        if text.contains(&format!("${name}")) || text.contains(&format!("${{{name}")) {
            first.push_str(&format!(
                ": \"{}\"\n",
                stop(&format!("the variable {name}"), line)
            ));
        }
    }
    for (name, secret) in here.env.renamed.iter().chain(&env.renamed) {
        first.push_str(&format!("export {name}=\"${secret}\"\n"));
    }
    format!("{first}{text}")
}

/// A script of another language: nothing can be put into it safely.
fn other(
    here: &InJob<'_>,
    text: &str,
    (line, what): (usize, &str),
    env: &Env,
    step: &mut Step,
    notes: &mut Notes,
) -> String {
    let has_expressions = pieces(text)
        .iter()
        .any(|piece| matches!(piece, Piece::Expr(_)));
    let lacks = here
        .env
        .unknown
        .iter()
        .chain(&env.unknown)
        .any(|name| text.contains(name.as_str()))
        || !here.env.renamed.is_empty()
        || !env.renamed.is_empty();
    if !has_expressions && !lacks {
        notes.exact(line, format!("{what}.run"));
        return text.to_owned();
    }
    let words = "expressions can't be put into this script safely: read variables in it; it stops until then";
    notes.lost(&mut step.comments, line, format!("{what}.run"), words);
    step.comments.extend(text.lines().map(|line| {
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        format!("| {line}")
    }));
    step.shell = Some(vec!["sh".to_owned()]);
    format!(": \"{}\"", stop("this script has expressions", line))
}

/// A name without braces.
pub(super) fn plain(text: &str) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.replace("${{", "{{"),
            Piece::Expr(inside) => inside.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells() {
        assert_eq!(Shell::of("bash"), Some(Shell::words(&["bash"], true)));
        assert_eq!(
            Shell::of("bash -el {0}"),
            Some(Shell::words(&["bash", "-el", "-c"], true))
        );
        assert_eq!(Shell::of("sh"), Some(Shell::plain()));
        assert_eq!(Shell::of("cmd"), None);
        assert_eq!(Shell::of("perl {0}"), None);
        assert_eq!(Shell::of("bash {0} x"), None);
    }

    #[test]
    fn names_lose_their_braces() {
        assert_eq!(plain("Test ${{ matrix.os }}"), "Test matrix.os");
    }
}
