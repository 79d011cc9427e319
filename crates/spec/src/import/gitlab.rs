//! GitLab CI/CD: stages become `needs`, rules become conditions.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | the keys of a job | `gitlab/job.rs` |
//! | files that are kept, containers beside | `gitlab/files.rs` |
//! | `rules`, `only`, `except`, `workflow` | `gitlab/rules.rs`, `gitlab/only.rs` |
//! | conditions and regular expressions | `gitlab/condition.rs`, `gitlab/regex.rs` |
//! | `stages` | `gitlab/stages.rs` |

pub(super) mod condition;
mod files;
mod job;
mod only;
pub(super) mod regex;
mod rules;
mod stages;

use super::Dialect;
use super::notes::Notes;
use super::pipeline::{Filter, On, Pipeline, Vars, is_variable};
use super::source::Document;
use super::tree::Tree as _;
use super::variables;
use super::when::When;
use crate::node::{Entry, Node, Value};

/// Keys at the top level that are no jobs.
const GLOBAL: [&str; 13] = [
    "default",
    "include",
    "stages",
    "types",
    "variables",
    "workflow",
    "image",
    "services",
    "cache",
    "before_script",
    "after_script",
    "spec",
    "retry",
];

/// The file while it is converted.
struct File<'d> {
    document: &'d Document,
    root: &'d Node,
    /// Variables of the whole file.
    vars: Vars,
    /// Those of them that only a shell can put together.
    exports: Vars,
    /// Conditions of every job, from `workflow`.
    workflow: Option<When>,
    /// Whether anything speaks of merge requests.
    has_requests: bool,
}

impl File<'_> {
    fn line_of(&self, entry: &Entry) -> usize {
        self.document.line_of(entry)
    }

    /// A key of the job, or of `default`, or of the whole file.
    fn inherited(&self, job: &[Entry], key: &str) -> Option<Entry> {
        let of = |entries: &[Entry]| entries.iter().find(|entry| entry.key == key).cloned();
        of(job)
            .or_else(|| of(self.root.get("default")?.entries()))
            .or_else(|| of(self.root.entries()))
    }
}

/// Reads the file.
pub(super) fn read(documents: &[Document], notes: &mut Notes) -> Pipeline {
    let mut pipeline = Pipeline::default();
    // A first document may hold `spec`, the inputs of those that include the file.
    let main = documents
        .iter()
        .find(|document| document.root.get("spec").is_none());
    let Some(document) = main else {
        return pipeline;
    };
    for other in documents
        .iter()
        .filter(|other| !std::ptr::eq(*other, document))
    {
        let line = other.line(&other.root.span);
        notes.lost(
            &mut pipeline.comments,
            line,
            "document",
            "only one document is converted",
        );
    }
    let mut file = File {
        document,
        root: &document.root,
        vars: Vec::new(),
        exports: Vec::new(),
        workflow: None,
        has_requests: document.mentions("merge_request"),
    };
    globals(&mut file, &mut pipeline, notes);
    let mut stages = stages::Stages::of(&document.root);
    for entry in document.root.entries() {
        let is_job = !GLOBAL.contains(&entry.key.as_str()) && !entry.key.starts_with('.');
        if !is_job || entry.value.entries().is_empty() {
            continue;
        }
        let entries = extended(&document.root, entry.value.entries(), 0);
        let (job, about) = job::read(&file, entry, &entries, notes);
        stages.add(&job, about);
        pipeline.jobs.push(job);
    }
    stages.join(&mut pipeline.jobs, notes);
    if let Some(when) = &file.workflow {
        for job in &mut pipeline.jobs {
            job.when = when.clone().and(std::mem::take(&mut job.when));
        }
    }
    if !file.has_requests {
        // Merge requests get no pipeline of their own without a word about them.
        pipeline.on = Some(On {
            push: Some(Filter::default()),
            tag: Some(Vec::new()),
            manual: true,
            api: true,
            ..On::default()
        });
        let words = "no job asks for merge requests, so pull requests make no build: add \
                     pull_request where they should";
        pipeline.comments.push(words.to_owned());
    }
    if document.mentions("schedule") {
        let words = "schedules stand in GitLab's settings: add them to `on`";
        pipeline.comments.push(words.to_owned());
    }
    pipeline
}

fn globals(file: &mut File<'_>, pipeline: &mut Pipeline, notes: &mut Notes) {
    let comments = &mut pipeline.comments;
    for entry in file.root.entries() {
        let (line, node) = (file.line_of(entry), &entry.value);
        match entry.key.as_str() {
            "variables" => {
                (file.vars, file.exports) = vars(file, node, "variables", &[], comments, notes);
                pipeline.env.clone_from(&file.vars);
            }
            "workflow" => {
                let rules = node.get("rules");
                if let Some(rules) = rules {
                    let what = "workflow.rules";
                    let found = rules::read(file, rules, what, &file.vars, comments, notes);
                    file.workflow = Some(found.when);
                }
                for entry in node.entries().iter().filter(|entry| entry.key != "rules") {
                    let what = format!("workflow.{}", entry.key);
                    let line = file.line_of(entry);
                    notes.lost(comments, line, what, "there is no such key here");
                }
            }
            "include" => {
                let words = "files that are included are not looked at: import them too";
                notes.lost(comments, line, "include", words);
            }
            "stages" | "types" => {
                notes.near(
                    comments,
                    line,
                    "stages",
                    "jobs need those of the stages before instead",
                );
            }
            "default" | "image" | "services" | "cache" | "before_script" | "after_script"
            | "retry" => notes.exact(line, entry.key.clone()),
            _ => {}
        }
    }
}

/// `variables`: texts, or maps with `value`.
fn vars(
    file: &File<'_>,
    node: &Node,
    what: &str,
    outer: &[(String, String)],
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> (Vars, Vars) {
    let mut own: Vars = outer.to_vec();
    for entry in node.entries() {
        if let Some(value) = value_of(&entry.value) {
            own.retain(|(name, _)| *name != entry.key);
            own.push((entry.key.clone(), value.to_owned()));
        }
    }
    let (mut vars, mut exports) = (Vars::new(), Vars::new());
    for entry in node.entries() {
        let (line, here) = (file.line_of(entry), format!("{what}.{}", entry.key));
        if !is_variable(&entry.key) {
            notes.lost(comments, line, here, "not a name of a variable");
            continue;
        }
        let value = value_of(&entry.value).unwrap_or_default();
        let others: Vars = own
            .iter()
            .filter(|(name, _)| *name != entry.key)
            .cloned()
            .collect();
        let (text, unknown) = variables::text(value, Dialect::Gitlab, &others, &[]);
        match unknown.first() {
            Some(_) if exported(value).is_some() => {
                exports.push((entry.key.clone(), exported(value).unwrap_or_default()));
                let words = "scripts put it together in their first lines";
                notes.near(comments, line, here, words);
                continue;
            }
            Some(name) => {
                let words = format!("${name} is not filled in here: the text stays as it is");
                notes.lost(comments, line, here, words);
            }
            None => notes.exact(line, here),
        }
        vars.push((entry.key.clone(), text));
    }
    (vars, exports)
}

/// A value with variables of ours, if it means the same between double quotes of a shell.
fn exported(value: &str) -> Option<String> {
    let special = value.contains(['"', '`', '\\', '\n', '\r', '\0'])
        || value.contains("$(")
        || value.contains("$$");
    let done = variables::rewrite(value, Dialect::Gitlab);
    let mixed = done.text.contains("${") && value.contains(":-");
    (!special && !mixed && done.unknown.is_empty() && !done.text.contains("${{"))
        .then_some(done.text)
}

fn value_of(node: &Node) -> Option<&str> {
    match node.entries() {
        [] => node.text(),
        _ => node.text_of("value"),
    }
}

/// A job's entries on top of those of the templates that it extends.
fn extended(root: &Node, entries: &[Entry], depth: usize) -> Vec<Entry> {
    let parents = entries.iter().find(|entry| entry.key == "extends");
    let mut all: Vec<Entry> = Vec::new();
    if depth < 12 {
        for name in parents
            .map(|entry| entry.value.texts())
            .unwrap_or_default()
            .into_iter()
            .take(12)
        {
            if let Some(parent) = root.get(&name) {
                let parent = extended(root, parent.entries(), depth + 1);
                all = merged(&all, &parent, 0);
            }
        }
    }
    merged(&all, entries, 0)
}

/// `over` on top of `below`: maps are merged, everything else is replaced.
fn merged(below: &[Entry], over: &[Entry], depth: usize) -> Vec<Entry> {
    let mut all = below.to_vec();
    for entry in over {
        let Some(known) = all.iter_mut().find(|known| known.key == entry.key) else {
            all.push(entry.clone());
            continue;
        };
        let value = match (&known.value.value, &entry.value.value) {
            (Value::Map(below), Value::Map(over)) if depth < 8 => {
                let span = entry.value.span.clone();
                let value = Value::Map(merged(below, over, depth + 1));
                Node { span, value }
            }
            _ => entry.value.clone(),
        };
        *known = Entry {
            value,
            ..entry.clone()
        };
    }
    all
}

/// The lines of a script, with what `!reference` stands for.
fn lines(file: &File<'_>, node: &Node, depth: usize) -> Vec<String> {
    if file.document.has_tag(node, "!reference") && depth < 8 {
        let path = node.texts();
        let Some((first, rest)) = path.split_first() else {
            return Vec::new();
        };
        let Some(entries) = file
            .root
            .get(first)
            .map(|job| extended(file.root, job.entries(), 0))
        else {
            return Vec::new();
        };
        let Some((key, _)) = rest.split_first() else {
            return Vec::new();
        };
        let found = entries.iter().find(|entry| entry.key == *key);
        return found
            .map(|entry| lines(file, &entry.value, depth + 1))
            .unwrap_or_default();
    }
    if depth > 8 {
        return Vec::new();
    }
    match &node.value {
        Value::List(items) => {
            let mut all = Vec::new();
            for item in items {
                all.extend(lines(file, item, depth + 1));
                // A few hundred bytes could stand for very many otherwise.
                all.truncate(crate::limits::STEPS * 4);
            }
            all
        }
        _ => node.text().map(ToOwned::to_owned).into_iter().collect(),
    }
}
