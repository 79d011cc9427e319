//! GitHub Actions: a workflow is a build, its jobs are jobs.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | events, filters, inputs | `github/on.rs` |
//! | jobs, matrices, containers | `github/job.rs`, `github/strategy.rs` |
//! | steps and what `uses` stands for | `github/step.rs`, `github/actions.rs` |
//! | conditions | `github/condition.rs` |
//! | expressions in values and in scripts | `github/expression.rs`, `github/value.rs`, `github/script.rs` |

mod actions;
mod condition;
mod expression;
mod job;
mod on;
mod script;
mod step;
mod strategy;
mod value;

use super::notes::Notes;
use super::pipeline::{Concurrency, Pipeline};
use super::source::Document;
use super::tree::Tree as _;
use crate::node::Node;

/// What is the same for the whole workflow.
struct Workflow<'d> {
    document: &'d Document,
    /// Its name, or nothing.
    name: String,
    /// Inputs that may be given, with their types.
    inputs: Vec<(String, &'static str)>,
    /// `defaults.run` of the workflow.
    defaults: Option<&'d Node>,
}

/// Reads the file.
pub(super) fn read(documents: &[Document], notes: &mut Notes) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            let line = document.line(&document.root.span);
            let words = "a workflow is one document, so only the first is converted";
            notes.lost(&mut pipeline.comments, line, "document", words);
            continue;
        }
        self::document(document, &mut pipeline, notes);
    }
    pipeline
}

fn document(document: &Document, pipeline: &mut Pipeline, notes: &mut Notes) {
    let root = &document.root;
    let mut workflow = Workflow {
        document,
        name: root.text_of("name").unwrap_or_default().to_owned(),
        inputs: Vec::new(),
        defaults: root
            .get("defaults")
            .and_then(|defaults| defaults.get("run")),
    };
    if let Some(entry) = root.entries().iter().find(|entry| entry.key == "on") {
        on::read(document, entry, pipeline, notes);
    }
    workflow.inputs = pipeline
        .params
        .iter()
        .map(|param| (param.name.clone(), param.kind))
        .collect();
    let scope = value::Scope {
        inputs: &workflow.inputs,
        workflow: &workflow.name,
        ..value::Scope::default()
    };
    let mut env = value::Env::default();
    if let Some(entry) = root.entries().iter().find(|entry| entry.key == "env") {
        let comments = &mut pipeline.comments;
        env = value::env(document, &entry.value, "env", &scope, comments, notes);
        pipeline.env.clone_from(&env.vars);
    }
    let mut downloads = Vec::new();
    for entry in root.entries() {
        let (line, node) = (document.line_of(entry), &entry.value);
        match entry.key.as_str() {
            "on" | "env" => {}
            "name" => notes.exact(line, "name"),
            "defaults" => notes.exact(line, "defaults"),
            "jobs" => {
                for entry in node.entries() {
                    if let Some((job, wanted)) = job::read(&workflow, entry, &env, notes) {
                        pipeline.jobs.push(job);
                        downloads.push(wanted);
                    }
                }
            }
            "concurrency" => {
                let comments = &mut pipeline.comments;
                pipeline.concurrency = concurrency(document, node, line, &scope, comments, notes);
            }
            "permissions" => {
                let words =
                    "builds get no token of the forge: store one as a secret where a step needs it";
                notes.lost(&mut pipeline.comments, line, "permissions", words);
            }
            key => {
                let words = "the whole build has no such key here";
                notes.lost(&mut pipeline.comments, line, key, words);
            }
        }
    }
    for job in &mut pipeline.jobs {
        // Secrets of the workflow's own variables are in every job.
        job.secrets.extend(env.secrets.iter().cloned());
    }
    job::join_artifacts(&mut pipeline.jobs, &downloads);
}

/// `concurrency`: a name, or a map.
fn concurrency(
    document: &Document,
    node: &Node,
    line: usize,
    scope: &value::Scope<'_>,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Option<Concurrency> {
    let text = node.text().or_else(|| node.text_of("group"));
    let Some(text) = text else {
        notes.lost(comments, line, "concurrency", "the group has no name");
        return None;
    };
    let filled = value::text(text, scope);
    let mut group: String = filled.text.chars().filter(|c| !c.is_control()).collect();
    if !filled.unknown.is_empty() {
        let words = format!(
            "{} is not known here: the group is larger, so fewer run side by side",
            filled.unknown.join(", ")
        );
        notes.near(comments, line, "concurrency.group", words);
    }
    if group.trim().is_empty() || group.len() > 500 {
        group = "all".to_owned();
    }
    let mut cancel = false;
    if let Some(value) = node.get("cancel-in-progress") {
        match value.truth() {
            Some(truth) => cancel = truth,
            None => {
                let line = document.line(&value.span);
                let words = "a condition can't stand here: newcomers wait and cancel nothing";
                notes.near(comments, line, "concurrency.cancel-in-progress", words);
            }
        }
    }
    notes.exact(line, "concurrency");
    Some(Concurrency { group, cancel })
}
