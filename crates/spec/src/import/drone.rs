//! Drone: each document of the file is a pipeline, each pipeline a job.

use super::Dialect;
use super::container::{Containers, named};
use super::notes::Notes;
use super::pipeline::{Job, Need, Pipeline};
use super::source::Document;
use super::tree::Tree as _;
use super::when::{Alternative, When, quoted};
use super::woodpecker::{events_of, globs, lists, of_branch};
use crate::node::Node;

/// Reads the file.
pub(super) fn read(documents: &[Document], notes: &mut Notes) -> Pipeline {
    let mut pipeline = Pipeline::default();
    for document in documents {
        let root = &document.root;
        let line = document.line(&root.span);
        let kind = root.text_of("kind").unwrap_or("pipeline");
        if kind != "pipeline" {
            let name = root.text_of("name").unwrap_or("without a name");
            let words = match kind {
                "secret" => format!("store it with `windlass secret set`: {name}"),
                "signature" => "signatures of specs do not exist here".to_owned(),
                _ => format!("{name} has no counterpart"),
            };
            notes.lost(&mut pipeline.comments, line, format!("kind: {kind}"), words);
            continue;
        }
        let mut job = Job {
            name: root.text_of("name").unwrap_or("default").to_owned(),
            ..Job::default()
        };
        self::document(document, &mut job, notes);
        pipeline.jobs.push(job);
    }
    pipeline
}

fn document(document: &Document, job: &mut Job, notes: &mut Notes) {
    let root = &document.root;
    let place = format!("{}.steps", job.name);
    let containers = Containers {
        dialect: Dialect::Drone,
        document,
        place,
        matrix: Vec::new(),
        when,
    };
    if let Some(node) = root.get("environment") {
        let mut comments = Vec::new();
        job.env = containers.environment(node, "environment", job, &mut comments, notes);
        job.comments.append(&mut comments);
    }
    for entry in root.entries() {
        let (line, node) = (document.line_of(entry), &entry.value);
        let here = format!("{}.{}", job.name, entry.key);
        match entry.key.as_str() {
            "kind" | "name" | "environment" => {}
            "type" => match node.text() {
                Some("docker" | "kubernetes") => notes.exact(line, here),
                Some("exec") => {
                    job.runs_on.push("executor=process".to_owned());
                    let words = "it ran without containers: give a machine this label";
                    notes.near(&mut job.comments, line, here, words);
                }
                other => {
                    let words = format!("a machine of type {} is not known", other.unwrap_or("?"));
                    notes.lost(&mut job.comments, line, here, words);
                }
            },
            "steps" => {
                containers.steps(named(document, node), job, notes);
                let words =
                    "the steps were containers; they are steps of one job, one after the other";
                notes.near(&mut job.comments, line, here, words);
            }
            "services" => containers.services(named(document, node), job, notes),
            "trigger" => {
                let mut comments = Vec::new();
                let when = when(document, node, &here, &mut comments, notes);
                job.when = when;
                job.comments.append(&mut comments);
            }
            "depends_on" => {
                job.needs.extend(node.texts().into_iter().map(Need::of));
                notes.exact(line, here);
            }
            "platform" => {
                for (key, name) in [("os", "os"), ("arch", "arch")] {
                    if let Some(value) = node.text_of(key) {
                        job.runs_on.push(format!("{name}={value}"));
                    }
                }
                let words = "a machine must be started with these labels";
                notes.near(&mut job.comments, line, here, words);
            }
            "node" => {
                for label in node.entries() {
                    let value = label.value.text().unwrap_or_default();
                    job.runs_on.push(format!("{}={value}", label.key));
                }
                let words = "a machine must be started with these labels";
                notes.near(&mut job.comments, line, here, words);
            }
            "clone" => {
                job.clone.off = node.text_of("disable") == Some("true");
                // Drone's own default is the whole history.
                if let Some(depth) = node.text_of("depth").and_then(|d| d.parse::<u32>().ok()) {
                    job.clone.depth = Some(if depth == 0 {
                        "full".to_owned()
                    } else {
                        depth.to_string()
                    });
                }
                notes.exact(line, here);
            }
            "concurrency" => {
                let words = format!(
                    "at most {} at a time: see `concurrency`, which is one",
                    node.text_of("limit").unwrap_or("?")
                );
                notes.lost(&mut job.comments, line, here, words);
            }
            _ => {
                let words = "pipelines have no such key here";
                notes.lost(&mut job.comments, line, here, words);
            }
        }
    }
    if job.clone.depth.is_none() && !job.clone.off {
        job.clone.depth = Some("full".to_owned());
    }
}

/// `trigger` and `when`: all keys must hold.
fn when(
    document: &Document,
    node: &Node,
    what: &str,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> When {
    let mut one = Alternative::default();
    let mut result = None;
    let mut never = false;
    let mut exprs: Vec<String> = Vec::new();
    for entry in node.entries() {
        let line = document.line_of(entry);
        let here = format!("{what}.{}", entry.key);
        match key(&entry.key, &entry.value, &mut one, &mut exprs, &mut result) {
            Ok(()) => notes.exact(line, here),
            Err(words) => {
                never = true;
                let words = format!("{words}; it never runs because of this");
                notes.lost(comments, line, here, words);
            }
        }
    }
    if !exprs.is_empty() {
        one.expr = Some(exprs.join(" && "));
    }
    let mut when = if never {
        When::never()
    } else {
        When::any(vec![one])
    };
    when.result = result;
    when
}

fn key(
    key: &str,
    node: &Node,
    one: &mut Alternative,
    exprs: &mut Vec<String>,
    result: &mut Option<&'static str>,
) -> Result<(), String> {
    let (include, exclude) = lists(node);
    match key {
        "event" => {
            one.event = events_of(&include, &exclude)?;
        }
        "branch" => exprs.push(of_branch(include, exclude)?),
        "ref" => refs(&include, &exclude, exprs)?,
        "status" => {
            let fails = include.iter().any(|result| result == "failure");
            let succeeds = include.iter().any(|result| result == "success");
            if fails {
                *result = Some(if succeeds { "always" } else { "failure" });
            }
        }
        "cron" => {
            let names: Vec<String> = include.iter().map(|name| quoted(name)).collect();
            if names.is_empty() || !exclude.is_empty() {
                return Err("such a choice of schedules has no counterpart".to_owned());
            }
            exprs.push(format!("schedule in [{}]", names.join(", ")));
        }
        "paths" => one.paths = globs(include, exclude)?,
        _ => return Err("this condition has no counterpart".to_owned()),
    }
    Ok(())
}

/// `refs/heads/…`, `refs/tags/…` and `refs/pull/**`, any of them.
fn refs(include: &[String], exclude: &[String], exprs: &mut Vec<String>) -> Result<(), String> {
    let one = |pattern: &String| -> Result<String, String> {
        if let Some(branch) = pattern.strip_prefix("refs/heads/") {
            let branch = globs(vec![branch.to_owned()], Vec::new())?;
            let branch = Alternative {
                branch,
                ..Alternative::default()
            };
            return Ok(format!(
                "event != \"pull_request\" && {}",
                branch.expr_text()
            ));
        }
        if let Some(tag) = pattern.strip_prefix("refs/tags/") {
            let tag = globs(vec![tag.to_owned()], Vec::new())?;
            let tag = Alternative {
                tag,
                ..Alternative::default()
            };
            return Ok(format!("tag != \"\" && {}", tag.expr_text()));
        }
        if pattern.starts_with("refs/pull/") {
            return Ok("event == \"pull_request\"".to_owned());
        }
        Err(format!("{pattern} has no counterpart"))
    };
    let any: Vec<String> = include.iter().map(one).collect::<Result<_, _>>()?;
    match &any[..] {
        [] => {}
        [one] => exprs.push(one.clone()),
        several => exprs.push(format!("({})", several.join(" || "))),
    }
    for pattern in exclude {
        exprs.push(format!("!({})", one(pattern)?));
    }
    Ok(())
}
