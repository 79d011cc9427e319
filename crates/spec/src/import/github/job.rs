//! Jobs: everything around their steps.

use super::super::container::{port_of, step_name, usual_port};
use super::super::notes::Notes;
use super::super::pipeline::{Job, Need, Service, Step, is_inside, legal_name};
use super::super::tree::Tree as _;
use super::super::when::When;
use super::Workflow;
use super::condition::{self, Place};
use super::expression::{Expr, bare, parse};
use super::script::{Shape, read_output};
use super::step::{self, Shell};
use super::strategy::{self, Strategy, is_other_system};
use super::value::{self, Env, Scope, output_name};
use crate::node::{Entry, Node};

/// A job while it is converted.
pub(super) struct InJob<'w> {
    pub(super) workflow: &'w Workflow<'w>,
    /// `jobs.test`
    pub(super) what: String,
    pub(super) name: String,
    pub(super) strategy: Strategy,
    pub(super) needs: Vec<String>,
    /// Variables of workflow and job.
    pub(super) env: Env,
    pub(super) shell: Shell,
    /// `id`s of the scripts so far.
    pub(super) ids: Vec<String>,
    /// Comments for the next step.
    pub(super) pending: Vec<String>,
    /// Artifacts that it takes; none in it are all.
    pub(super) downloads: Vec<Option<String>>,
    pub(super) checks_out: bool,
}

impl InJob<'_> {
    /// Which names exist here.
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            inputs: &self.workflow.inputs,
            matrix: &self.strategy.names,
            needs: &self.needs,
            env: &self.env.vars,
            workflow: &self.workflow.name,
            job: &self.name,
        }
    }

    /// What the values of an axis look like.
    pub(super) fn shape(&self, axis: &str) -> Shape {
        let values = self.strategy.values(axis);
        let splits = |value: &&str| value.is_empty() || value.contains(char::is_whitespace);
        if !values.iter().any(splits) {
            return Shape::Word;
        }
        let special = |c: char| "|&;<>()$`\\\"'*?[]{}~#\n".contains(c);
        if values.iter().any(|value| value.contains(special)) {
            Shape::Script
        } else {
            Shape::Words
        }
    }
}

/// Reads a job, and the artifacts that it takes.
pub(super) fn read(
    workflow: &Workflow<'_>,
    entry: &Entry,
    env: &Env,
    notes: &mut Notes,
) -> Option<(Job, Vec<Option<String>>)> {
    let document = workflow.document;
    let node = &entry.value;
    if node.entries().is_empty() {
        return None;
    }
    let mut job = Job {
        name: entry.key.clone(),
        ..Job::default()
    };
    let what = format!("jobs.{}", entry.key);
    if let Some(called) = node.get("uses") {
        let line = document.line(&called.span);
        let words = format!(
            "it called the workflow {}: import that too, and put its jobs here; the job never runs",
            called.text().unwrap_or("?")
        );
        notes.lost(&mut job.comments, line, format!("{what}.uses"), words);
        job.needs = node.texts_of("needs").into_iter().map(Need::of).collect();
        job.when = When::never();
        return Some((job, Vec::new()));
    }
    let mut here = InJob {
        workflow,
        name: entry.key.clone(),
        strategy: Strategy::default(),
        needs: node.texts_of("needs"),
        env: env.clone(),
        shell: shell_of(workflow, node),
        ids: Vec::new(),
        pending: Vec::new(),
        downloads: Vec::new(),
        checks_out: false,
        what: what.clone(),
    };
    if let Some(node) = node.get("strategy") {
        let what = format!("{what}.strategy");
        here.strategy = strategy::read(document, node, &what, &mut job.comments, notes);
    }
    if let Some(entry) = node.entries().iter().find(|entry| entry.key == "env") {
        own_env(&mut here, entry, &mut job, notes);
    }
    job.needs = here.needs.iter().map(Need::of).collect();
    for entry in node.entries() {
        key(&mut here, entry, &mut job, notes);
    }
    if here.strategy.never {
        job.when = When::never();
    }
    // Jobs' keys are read in any order, steps last: they need all names.
    if let Some(steps) = node.get("steps") {
        step::read_all(&mut here, steps, &mut job, notes);
    }
    if let Some(outputs) = node.get("outputs") {
        self::outputs(&here, outputs, &mut job, notes);
    }
    if !here.checks_out && !job.steps.is_empty() {
        job.clone.off = true;
    }
    job.matrix = here.strategy.matrix.take();
    // There it stops the other cells unless told not to.
    job.fail_fast = job
        .matrix
        .as_ref()
        .map(|_| here.strategy.fail_fast.unwrap_or(true));
    job.max_parallel = here.strategy.max_parallel;
    job.shell = here.shell.words.clone();
    job.secrets.extend(here.env.secrets.iter().cloned());
    job.comments.append(&mut here.pending);
    Some((job, here.downloads))
}

fn own_env(here: &mut InJob<'_>, entry: &Entry, job: &mut Job, notes: &mut Notes) {
    let what = format!("{}.env", here.what);
    let own = value::env(
        here.workflow.document,
        &entry.value,
        &what,
        &here.scope(),
        &mut job.comments,
        notes,
    );
    job.env.clone_from(&own.vars);
    let all = &mut here.env;
    all.vars
        .retain(|(name, _)| !own.vars.iter().any(|(known, _)| known == name));
    all.vars.extend(own.vars);
    all.secrets.extend(own.secrets);
    all.unknown.extend(own.unknown);
    all.renamed.extend(own.renamed);
}

fn shell_of(workflow: &Workflow<'_>, node: &Node) -> Shell {
    let defaults = node
        .get("defaults")
        .and_then(|defaults| defaults.get("run"));
    let text = defaults
        .and_then(|run| run.text_of("shell"))
        .or_else(|| workflow.defaults.and_then(|run| run.text_of("shell")));
    match text.and_then(Shell::of) {
        Some(shell) => shell,
        None if node.get("container").is_some() => Shell::plain(),
        None => Shell::usual(),
    }
}

fn key(here: &mut InJob<'_>, entry: &Entry, job: &mut Job, notes: &mut Notes) {
    let document = here.workflow.document;
    let (line, node) = (document.line_of(entry), &entry.value);
    let what = format!("{}.{}", here.what, entry.key);
    match entry.key.as_str() {
        "steps" | "strategy" | "env" | "outputs" => {}
        "name" => notes.exact(line, what),
        "needs" => notes.exact(line, what),
        "if" => {
            let text = node.text().unwrap_or("false");
            let found = condition::read(text, &here.scope(), Place::Job);
            told(&found, (line, &what), &mut job.comments, notes);
            job.when = found.when;
        }
        "runs-on" => runs_on(here, node, (line, &what), job, notes),
        "defaults" => {
            let run = node.get("run");
            if let Some(folder) = run.and_then(|run| run.text_of("working-directory")) {
                folder_of(
                    folder,
                    (line, &what),
                    &mut job.workdir,
                    &mut job.comments,
                    notes,
                );
            }
            notes.exact(line, what);
        }
        "timeout-minutes" => {
            job.timeout = node.text().and_then(minutes);
            match job.timeout {
                Some(_) => notes.exact(line, what),
                None => notes.lost(
                    &mut job.comments,
                    line,
                    what,
                    "only a number can stand here",
                ),
            }
        }
        "continue-on-error" => match node.truth() {
            Some(truth) => {
                job.allow_failure = truth;
                notes.exact(line, what);
            }
            None => {
                let words = "only true or false can stand here: every failure counts";
                notes.lost(&mut job.comments, line, what, words);
            }
        },
        "container" => container(here, node, (line, &what), job, notes),
        "services" => services(here, node, &what, job, notes),
        "concurrency" => {
            let comments = &mut job.comments;
            job.concurrency =
                super::concurrency(document, node, line, &here.scope(), comments, notes);
        }
        "environment" => {
            let name = node.text().or_else(|| node.text_of("name")).unwrap_or("it");
            let filled = value::text(name, &here.scope());
            let name = if filled.unknown.is_empty() {
                filled.text
            } else {
                "it".to_owned()
            };
            let name: String = name.chars().filter(|c| !c.is_control()).collect();
            let short = name.len() <= 200 && !name.contains("${{ needs.");
            job.approve = Some(format!("Deploy to {}?", if short { &name } else { "it" }));
            let words = "environments do not exist here: someone approves the job; store the \
                         environment's secrets in the repository";
            notes.near(&mut job.comments, line, what, words);
        }
        "permissions" => {
            let words =
                "builds get no token of the forge: store one as a secret where a step needs it";
            notes.lost(&mut job.comments, line, what, words);
        }
        _ => notes.lost(&mut job.comments, line, what, "jobs have no such key here"),
    }
}

/// Says what a condition could not be translated to.
pub(super) fn told(
    found: &condition::Condition,
    (line, what): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) {
    if !found.unknown.is_empty() {
        let effect = if found.when.is_never() {
            "it never runs because of this"
        } else {
            "without this it runs less often"
        };
        let words = format!("{} has no counterpart: {effect}", found.unknown.join(", "));
        notes.lost(comments, line, what, words);
        return;
    }
    match found.near.first() {
        Some(near) => notes.near(comments, line, what, *near),
        None => notes.exact(line, what),
    }
}

fn runs_on(
    here: &mut InJob<'_>,
    node: &Node,
    (line, what): (usize, &str),
    job: &mut Job,
    notes: &mut Notes,
) {
    let labels = match node.get("labels").or_else(|| node.get("group")) {
        Some(labels) => labels.texts(),
        None => node.texts(),
    };
    for label in labels {
        let plain = label.to_ascii_lowercase();
        if label.contains("${{") {
            let gone = here.strategy.only_linux(&label);
            if gone.is_empty() {
                let words = "cells run on any machine: use `runs-on` with labels of your own";
                notes.near(&mut job.comments, line, what, words);
            } else {
                let words = format!(
                    "there are no machines for {}: these cells are left out",
                    gone.join(", ")
                );
                notes.lost(&mut job.comments, line, what, words);
            }
        } else if is_other_system(&label) {
            let words = format!("there are no machines for {label}: the job never runs");
            notes.lost(&mut job.comments, line, what, words);
            here.strategy.never = true;
        } else if plain.starts_with("ubuntu") || matches!(plain.as_str(), "linux" | "x64") {
            let words = "any Linux machine, with the programs that are installed there";
            notes.near(&mut job.comments, line, what, words);
        } else if plain == "self-hosted" {
            notes.exact(line, what);
        } else {
            job.runs_on.push(label.clone());
            let words = format!("a machine must be started with the label {label}");
            notes.near(&mut job.comments, line, what, words);
        }
    }
}

fn container(
    here: &InJob<'_>,
    node: &Node,
    (line, what): (usize, &str),
    job: &mut Job,
    notes: &mut Notes,
) {
    let Some(image) = node.text().or_else(|| node.text_of("image")) else {
        notes.lost(&mut job.comments, line, what, "the container has no image");
        return;
    };
    let filled = value::text(image, &here.scope());
    if filled.unknown.is_empty() {
        job.image = Some(filled.text);
        notes.exact(line, what);
    } else {
        let words = format!("the image {image} can't be told: the job never runs");
        notes.lost(&mut job.comments, line, what, words);
        job.when = When::never();
    }
    for entry in node.entries() {
        let line = here.workflow.document.line_of(entry);
        let what = format!("{what}.{}", entry.key);
        match entry.key.as_str() {
            "image" => {}
            "env" => {
                let document = here.workflow.document;
                let comments = &mut job.comments;
                let env = value::env(
                    document,
                    &entry.value,
                    &what,
                    &here.scope(),
                    comments,
                    notes,
                );
                job.env.extend(env.vars);
                job.secrets.extend(env.secrets);
            }
            _ => notes.lost(
                &mut job.comments,
                line,
                what,
                "containers have no such key here",
            ),
        }
    }
}

fn services(here: &InJob<'_>, node: &Node, what: &str, job: &mut Job, notes: &mut Notes) {
    let document = here.workflow.document;
    for entry in node.entries() {
        let line = document.line_of(entry);
        let what = format!("{what}.{}", entry.key);
        let image = entry.value.text_of("image").unwrap_or_default();
        let filled = value::text(image, &here.scope());
        if filled.text.is_empty() || !filled.unknown.is_empty() {
            notes.lost(&mut job.comments, line, what, "its image can't be told");
            continue;
        }
        let mut service = Service {
            name: legal_name(&entry.key),
            image: filled.text,
            ..Service::default()
        };
        let mut comments = Vec::new();
        let ports = entry.value.texts_of("ports");
        let port = ports.first().and_then(|port| port_of(port));
        service.ready = port
            .or_else(|| usual_port(&service.image))
            .map(|port| (port, None));
        for entry in entry.value.entries() {
            let line = document.line_of(entry);
            let what = format!("{what}.{}", entry.key);
            match entry.key.as_str() {
                "image" => {}
                "ports" => notes.exact(line, what),
                "env" => {
                    let scope = here.scope();
                    let env =
                        value::env(document, &entry.value, &what, &scope, &mut comments, notes);
                    service.env = env.vars;
                    for secret in env.secrets {
                        let words = format!("the secret {secret} does not reach services");
                        notes.lost(&mut comments, line, what.clone(), words);
                    }
                }
                "options"
                    if entry
                        .value
                        .text()
                        .is_some_and(|text| text.contains("--health")) =>
                {
                    let words = "its port is waited for instead";
                    notes.near(&mut comments, line, what, words);
                }
                _ => notes.lost(&mut comments, line, what, "services have no such key here"),
            }
        }
        service.comments = comments;
        notes.exact(line, what);
        job.services.push(service);
    }
}

/// `outputs`: what steps wrote into files of their own is handed on by a last step.
fn outputs(here: &InJob<'_>, node: &Node, job: &mut Job, notes: &mut Notes) {
    let mut lines = Vec::new();
    for entry in node.entries() {
        let line = here.workflow.document.line_of(entry);
        let what = format!("{}.outputs.{}", here.what, entry.key);
        let name = output_name(&entry.key);
        if job.outputs.contains(&name) || job.outputs.len() >= 50 {
            continue;
        }
        job.outputs.push(name.clone());
        let inside = bare(entry.value.text().unwrap_or_default());
        let path = parse(inside)
            .as_ref()
            .and_then(Expr::path)
            .unwrap_or_default();
        let step = path
            .strip_prefix("steps.")
            .and_then(|rest| rest.split_once(".outputs."));
        let shell = step
            .filter(|(id, _)| here.ids.iter().any(|known| known == id))
            .and_then(|(id, output)| read_output(id, output));
        match shell {
            Some(shell) => {
                lines.push(format!(
                    "printf '{name}=%s\\n' \"{shell}\" >> \"$WINDLASS_OUTPUT\""
                ));
                notes.exact(line, what);
            }
            None => {
                let words =
                    format!("nothing here says what {inside} is: write it to $WINDLASS_OUTPUT");
                notes.lost(&mut job.comments, line, what, words);
            }
        }
    }
    if !lines.is_empty() {
        let mut step = Step::of(lines.join("\n"));
        step.name = step_name("Outputs");
        job.steps.push(step);
    }
}

/// A folder, if it is one below the workspace.
pub(super) fn folder_of(
    text: &str,
    (line, what): (usize, &str),
    folder: &mut Option<String>,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) {
    let text = text.trim_start_matches("./").trim_end_matches('/');
    if matches!(text, "" | ".") {
        notes.exact(line, what);
    } else if is_inside(text) {
        *folder = Some(text.to_owned());
        notes.exact(line, what);
    } else {
        let words = "only a folder below the workspace, without expressions, can stand here";
        notes.lost(comments, line, what, words);
    }
}

/// `10` or `2.5` minutes as a duration.
pub(super) fn minutes(text: &str) -> Option<String> {
    let minutes: f64 = text.parse().ok()?;
    if !(0.02..=43_200.0).contains(&minutes) {
        return None;
    }
    if minutes.fract() == 0.0 {
        return Some(format!("{minutes:.0}m"));
    }
    Some(format!("{:.0}s", (minutes * 60.0).ceil()))
}

/// Who takes which files from whom.
pub(super) fn join_artifacts(jobs: &mut [Job], downloads: &[Vec<Option<String>>]) {
    let made: Vec<(String, Vec<String>)> = jobs
        .iter()
        .map(|job| {
            let names = job
                .artifacts
                .iter()
                .filter_map(|artifact| artifact.name.clone());
            (job.name.clone(), names.collect())
        })
        .collect();
    for (job, wanted) in jobs.iter_mut().zip(downloads) {
        for need in &mut job.needs {
            let Some((_, names)) = made.iter().find(|(name, _)| *name == need.job) else {
                continue;
            };
            let gives = |wanted: &Option<String>| match wanted {
                None => !names.is_empty(),
                Some(name) => names.contains(name),
            };
            need.artifacts |= wanted.iter().any(gives);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_durations() {
        assert_eq!(minutes("10").as_deref(), Some("10m"));
        assert_eq!(minutes("2.5").as_deref(), Some("150s"));
        for bad in ["0", "-1", "x", "1e9", "nan", "inf"] {
            assert_eq!(minutes(bad), None, "{bad}");
        }
    }
}
