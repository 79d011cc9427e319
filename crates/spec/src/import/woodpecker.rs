//! Woodpecker: a file is a pipeline, a pipeline is a job here.

use super::Dialect;
use super::container::{Containers, named};
use super::notes::Notes;
use super::pipeline::{Job, Matrix, Need, On, Pipeline, legal_name};
use super::source::Document;
use super::tree::Tree as _;
use super::when::{Alternative, When, patterns, quoted};
use crate::node::Node;

/// Reads the file.
pub(super) fn read(path: &str, documents: &[Document], notes: &mut Notes) -> Pipeline {
    let mut pipeline = Pipeline::default();
    let single = path.ends_with(".woodpecker.yml") || path.ends_with(".woodpecker.yaml");
    for (number, document) in documents.iter().enumerate() {
        if number > 0 {
            let line = document.line(&document.root.span);
            let words = "Woodpecker reads only the first document, so only that one is converted";
            notes.lost(&mut pipeline.comments, line, "document", words);
            continue;
        }
        let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let stem = file.split('.').find(|part| !part.is_empty());
        let mut job = Job {
            name: match stem {
                Some(stem) if !single => legal_name(stem),
                _ => "build".to_owned(),
            },
            ..Job::default()
        };
        self::document(document, &mut job, notes);
        if !job.steps.is_empty() || document.root.get("steps").is_some() {
            pipeline.on = on(&job);
            pipeline.jobs.push(job);
        }
    }
    pipeline
}

/// A schedule must be named in `on`; Woodpecker keeps its times outside of the file.
fn on(_: &Job) -> Option<On> {
    None
}

fn document(document: &Document, job: &mut Job, notes: &mut Notes) {
    let root = &document.root;
    if let Some(node) = root.get("matrix") {
        job.matrix = Some(matrix(node));
        notes.exact(document.line(&node.span), "matrix");
    }
    let names = job.matrix.as_ref().map(Matrix::names).unwrap_or_default();
    for name in &names {
        let value = format!("${{{{ matrix.{name} }}}}");
        job.env.push((name.clone(), value));
    }
    let containers = Containers {
        dialect: Dialect::Woodpecker,
        document,
        place: "steps".to_owned(),
        matrix: names,
        when,
    };
    for entry in root.entries() {
        let (line, node) = (document.line_of(entry), &entry.value);
        match entry.key.as_str() {
            // Only a place for anchors.
            "variables" | "matrix" => {}
            "steps" | "pipeline" => {
                containers.steps(named(document, node), job, notes);
                let words =
                    "the steps were containers; they are steps of one job, one after the other";
                notes.near(&mut job.comments, line, "steps", words);
            }
            "services" => containers.services(named(document, node), job, notes),
            "when" => {
                let mut comments = Vec::new();
                job.when = when(document, node, "when", &mut comments, notes);
                job.comments.append(&mut comments);
            }
            "depends_on" => {
                for name in node.texts() {
                    job.needs.push(Need::of(name));
                }
                notes.exact(line, "depends_on");
            }
            "runs_on" => {
                let results = node.texts();
                if results.iter().any(|result| result == "failure") {
                    let success = results.iter().any(|result| result == "success");
                    job.when.result = Some(if success { "always" } else { "failure" });
                }
                notes.exact(line, "runs_on");
            }
            "labels" => {
                for label in node.entries() {
                    let value = label.value.text().unwrap_or_default();
                    job.runs_on.push(format!("{}={value}", label.key));
                }
                let words = "a machine must be started with these labels";
                notes.near(&mut job.comments, line, "labels", words);
            }
            "skip_clone" => {
                job.clone.off = node.truth() == Some(true);
                notes.exact(line, "skip_clone");
            }
            "clone" => clone(document, node, job, notes),
            key => {
                let words = "pipelines have no such key here";
                notes.lost(&mut job.comments, line, key, words);
            }
        }
    }
}

fn clone(document: &Document, node: &Node, job: &mut Job, notes: &mut Notes) {
    for (name, step, line) in named(document, node) {
        let settings = step.get("settings");
        let text = |key: &str| settings.and_then(|settings| settings.text_of(key));
        if let Some(depth) = text("depth").and_then(|depth| depth.parse::<u32>().ok()) {
            job.clone.depth = Some(if depth == 0 {
                "full".to_owned()
            } else {
                depth.to_string()
            });
        }
        if text("partial") == Some("false") || text("tags") == Some("true") {
            job.clone.depth = Some("full".to_owned());
        }
        job.clone.submodules |= text("recursive") == Some("true");
        job.clone.lfs |= text("lfs") == Some("true");
        let words = "only depth, submodules and LFS are taken over";
        notes.near(&mut job.comments, line, format!("clone.{name}"), words);
    }
}

/// `matrix`: axes, or `include` only.
fn matrix(node: &Node) -> Matrix {
    let mut matrix = Matrix::default();
    for entry in node.entries() {
        if entry.key == "include" {
            for cell in entry.value.list() {
                let pair = |e: &crate::node::Entry| {
                    (e.key.clone(), e.value.text().unwrap_or_default().to_owned())
                };
                matrix
                    .include
                    .push(cell.entries().iter().map(pair).collect());
            }
            continue;
        }
        let mut values = entry.value.texts();
        let mut seen = std::collections::BTreeSet::new();
        values.retain(|value| seen.insert(value.clone()));
        if !values.is_empty() && legal_name(&entry.key) == entry.key {
            matrix.axes.push((entry.key.clone(), values));
        }
    }
    matrix
}

/// `when`: a map or a list of maps.
fn when(
    document: &Document,
    node: &Node,
    what: &str,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> When {
    let mut any = Vec::new();
    let mut result = None;
    let items = node.list();
    for item in &items {
        let mut one = Alternative::default();
        let mut never = false;
        for entry in item.entries() {
            let line = document.line_of(entry);
            let here = format!("{what}.{}", entry.key);
            let known = key(&entry.key, &entry.value, &mut one, &mut result);
            match known {
                Ok(()) => notes.exact(line, here),
                Err(words) => {
                    never = true;
                    let words = format!("{words}; it never runs because of this");
                    notes.lost(comments, line, here, words);
                }
            }
        }
        if never {
            one = Alternative {
                expr: Some("false".to_owned()),
                ..Alternative::default()
            };
        }
        any.push(one);
    }
    let mut when = When::any(any);
    if when.any.len() > 1 {
        when.any.retain(|one| one.expr.as_deref() != Some("false"));
    }
    when.result = result;
    when
}

/// One key of a condition; the words say why it can't be converted.
fn key(
    key: &str,
    node: &Node,
    one: &mut Alternative,
    result: &mut Option<&'static str>,
) -> Result<(), String> {
    match key {
        "event" => {
            let (include, exclude) = lists(node);
            one.event = events_of(&include, &exclude)?;
            Ok(())
        }
        "tag" => {
            let (include, exclude) = lists(node);
            one.tag = globs(include, exclude)?;
            Ok(())
        }
        "branch" => {
            let (include, exclude) = lists(node);
            one.add(of_branch(include, exclude)?);
            Ok(())
        }
        "path" => {
            let include = node.get("include").map_or_else(
                || {
                    if node.entries().is_empty() {
                        node.texts()
                    } else {
                        Vec::new()
                    }
                },
                super::tree::Tree::texts,
            );
            one.paths = globs(include, node.texts_of("exclude"))?;
            // `on_empty` and `ignore_message` change little: an empty change counts as changed.
            Ok(())
        }
        "status" => {
            let results = node.texts();
            if results.iter().any(|result| result == "failure") {
                let success = results.iter().any(|result| result == "success");
                *result = Some(if success { "always" } else { "failure" });
            }
            Ok(())
        }
        "cron" => {
            let names = node.texts();
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            one.add(format!("schedule in [{}]", names.join(", ")));
            Ok(())
        }
        "matrix" => {
            let mut parts = Vec::new();
            for entry in node.entries() {
                let value = entry.value.text().unwrap_or_default();
                if value.contains('*') {
                    return Err("a pattern in a matrix has no counterpart".to_owned());
                }
                parts.push(format!("matrix.{} == {}", entry.key, quoted(value)));
            }
            if !parts.is_empty() {
                one.add(parts.join(" && "));
            }
            Ok(())
        }
        "ref" => match node.text().and_then(|text| text.strip_prefix("refs/tags/")) {
            Some(tag) => {
                one.tag = globs(vec![tag.to_owned()], Vec::new())?;
                Ok(())
            }
            None => Err("only refs/tags/ has a counterpart".to_owned()),
        },
        "platform" if node.texts() == ["linux/amd64"] => Ok(()),
        _ => Err("this condition has no counterpart".to_owned()),
    }
}

/// `include` and `exclude`, or a list that is the first.
pub(super) fn lists(node: &Node) -> (Vec<String>, Vec<String>) {
    if node.entries().is_empty() {
        return (node.texts(), Vec::new());
    }
    (node.texts_of("include"), node.texts_of("exclude"))
}

/// Patterns of which the excluded ones come last.
pub(super) fn globs(include: Vec<String>, exclude: Vec<String>) -> Result<Vec<String>, String> {
    let all: Vec<String> = include
        .into_iter()
        .chain(exclude.into_iter().map(|pattern| format!("!{pattern}")))
        .collect();
    let (good, bad) = patterns(all);
    match bad.first() {
        Some(bad) => Err(format!("{bad} is no pattern that we know")),
        None => Ok(good),
    }
}

/// The branch of a pull request is there the one that it wants to go into.
pub(super) fn of_branch(include: Vec<String>, exclude: Vec<String>) -> Result<String, String> {
    let mut only = Alternative {
        branch: globs(include, exclude)?,
        ..Alternative::default()
    };
    let push = only.expr_text();
    only.base = std::mem::take(&mut only.branch);
    let request = only.expr_text();
    if push == "true" {
        return Ok(push);
    }
    Ok(format!(
        "(event == \"pull_request\" && {request} || event != \"pull_request\" && {push})"
    ))
}

/// Those that are named, or all but those that are taken out.
pub(super) fn events_of(include: &[String], exclude: &[String]) -> Result<Vec<String>, String> {
    let all = || crate::expression::EVENTS.map(ToOwned::to_owned).to_vec();
    let mut ours = match include {
        [] if exclude.is_empty() => return Ok(Vec::new()),
        [] => all(),
        named => events(named)?,
    };
    for event in exclude {
        // What makes no build here need not be taken out.
        let out = events(std::slice::from_ref(event)).unwrap_or_default();
        ours.retain(|known| !out.contains(known));
    }
    if ours.is_empty() {
        return Err("no event is left".to_owned());
    }
    Ok(ours)
}

/// Events in our words.
pub(super) fn events(theirs: &[String]) -> Result<Vec<String>, String> {
    let mut ours: Vec<String> = Vec::new();
    for event in theirs {
        let words: &[&str] = match event.as_str() {
            "push" => &["push"],
            "pull_request" => &["pull_request"],
            "tag" => &["tag"],
            "cron" => &["schedule"],
            "manual" => &["manual", "api"],
            "custom" => &["manual", "api"],
            // These bring a build of their own kind that does not exist here.
            "deployment"
            | "release"
            | "promote"
            | "rollback"
            | "pull_request_closed"
            | "pull_request_metadata" => &[],
            other => return Err(format!("the event {other} does not exist here")),
        };
        for word in words {
            if !ours.iter().any(|known| known == word) {
                ours.push((*word).to_owned());
            }
        }
    }
    if ours.is_empty() && !theirs.is_empty() {
        return Err(format!(
            "the event {} does not exist here",
            theirs.join(", ")
        ));
    }
    Ok(ours)
}
