//! Files that a spec includes: parts of jobs, and jobs, from elsewhere.
//!
//! This crate opens no files. Whoever reads a spec first asks [`includes`] what it wants, fetches
//! that, and gives it to [`crate::read_with`].

use std::collections::BTreeMap;
use std::fmt;

use windlass_model::Revision;

use crate::codes;
use crate::draft::{JobDraft, SpecDraft};
use crate::key;
use crate::keys;
use crate::load;
use crate::node::{Entry, Node, Value, shorten};
use crate::problems::{Language, Problem, Problems};
use crate::value::At;

/// A file that a spec includes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Include {
    /// Another repository and its commit; `None` is the spec's own.
    pub from: Option<(String, Revision)>,
    /// The path below the repository's root. Relative, without `..`.
    pub file: String,
}

impl fmt::Display for Include {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some((repo, revision)) => write!(f, "{} of {repo} at {}", self.file, revision.short()),
            None => f.write_str(&self.file),
        }
    }
}

/// The contents of included files, or why there are none, for people.
pub type Included = BTreeMap<Include, Result<Vec<u8>, String>>;

/// What a spec includes. Says nothing about mistakes: reading the spec does.
pub fn includes(file_name: &str, source: &[u8]) -> Vec<Include> {
    let mut problems = Problems::new(source, Language::of(file_name));
    let Some(root) = load::tree(source, &mut problems) else {
        return Vec::new();
    };
    let Value::Map(entries) = &root.value else {
        return Vec::new();
    };
    let mut draft = SpecDraft::default();
    for entry in entries.iter().filter(|entry| entry.key == "include") {
        (keys::include::SPEC.lower)(&mut draft, entry, &mut problems);
    }
    draft.includes.into_iter().map(|at| at.value).collect()
}

/// Adds what the included files have. What is wrong in them is told at the place that includes
/// them.
pub(crate) fn take(draft: &mut SpecDraft, included: &Included, problems: &mut Problems<'_>) {
    for include in std::mem::take(&mut draft.includes) {
        let contents = match included.get(&include.value) {
            Some(Ok(contents)) => contents,
            Some(Err(why)) => {
                failed(&include, why, problems);
                continue;
            }
            None => {
                failed(&include, "included files are not read here", problems);
                continue;
            }
        };
        match fragment(&include.value, contents) {
            Ok(part) => add(draft, part, &include, problems),
            Err(why) => failed(&include, &why, problems),
        }
    }
}

fn failed(include: &At<Include>, why: &str, problems: &mut Problems<'_>) {
    let shown = shorten(&include.value.to_string(), 100);
    let message = format!("`{shown}` can't be included: {why}");
    problems.push(
        Problem::new(codes::INCLUDE_FAILED, include.span.clone(), message)
            .label("included here")
            .help("`windlass check FILE` checks a file that is whole; parts have `templates` and `jobs`"),
    );
}

/// The parts of an included file.
#[derive(Default)]
struct Part {
    templates: Vec<Entry>,
    jobs: Vec<Entry>,
}

/// Reads an included file; the first mistake in it as an error, with its place.
fn fragment(include: &Include, source: &[u8]) -> Result<Part, String> {
    let file = &include.file;
    let mut problems = Problems::new(source, Language::of(file));
    let mut part = Part::default();
    if let Some(root) = load::tree(source, &mut problems) {
        let Value::Map(entries) = &root.value else {
            return Err(format!("{file} is no map with `templates` or `jobs`"));
        };
        for entry in entries {
            let list = match entry.key.as_str() {
                "templates" => &mut part.templates,
                "jobs" => &mut part.jobs,
                "include" => {
                    return Err(format!("{file} includes files itself; one level is enough"));
                }
                other => {
                    let (line, column) = problems.place(entry.key_span.start);
                    let other = shorten(other, 40);
                    return Err(format!(
                        "{file}:{line}:{column}: only `templates` and `jobs` can be included, not \
                         `{other}`"
                    ));
                }
            };
            let place = format!("`{}`", entry.key);
            if let Some(own) = key::entries(&entry.value, &place, "a map of names", &mut problems) {
                list.extend(own.iter().cloned());
            }
        }
        for job in part.templates.iter().chain(&part.jobs) {
            if let Some(entries) = key::entries(&job.value, "a job", "a map", &mut problems) {
                let mut scratch = JobDraft::default();
                key::lower_map(
                    entries,
                    keys::JOB,
                    keys::IN_JOB,
                    &mut scratch,
                    &mut problems,
                );
            }
        }
    }
    let diagnostics = problems.into_diagnostics();
    let error = diagnostics.iter().find(|d| d.code.starts_with('E'));
    match error {
        Some(e) => Err(format!("{file}:{}:{}: {}", e.line, e.column, e.message)),
        None => Ok(part),
    }
}

fn add(draft: &mut SpecDraft, part: Part, include: &At<Include>, problems: &mut Problems<'_>) {
    if !part.jobs.is_empty() && draft.jobs_at.is_none() {
        draft.jobs_at = Some(include.span.clone());
    }
    let names = part.templates.iter().map(|entry| entry.key.clone());
    draft.borrowed.extend(names);
    for (list, new, what) in [
        (&mut draft.templates, part.templates, "template"),
        (&mut draft.jobs, part.jobs, "job"),
    ] {
        for mut entry in new {
            if list.iter().any(|known| known.key == entry.key) {
                let name = shorten(&entry.key, 40);
                let message = format!("there is another {what} `{name}`");
                problems.push(
                    Problem::new(codes::INCLUDE_FAILED, include.span.clone(), message)
                        .label("this file has one, too")
                        .help("rename one of them"),
                );
                continue;
            }
            here(&mut entry, include);
            list.push(entry);
        }
    }
}

/// Whatever is said about an included entry is said at the place that includes it.
fn here(entry: &mut Entry, include: &At<Include>) {
    entry.key_span = include.span.clone();
    node_here(&mut entry.value, include);
}

fn node_here(node: &mut Node, include: &At<Include>) {
    node.span = include.span.clone();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| node_here(item, include)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| here(entry, include)),
        Value::Scalar(_) => {}
    }
}

impl Language {
    /// What a file with this name is written in.
    pub(crate) fn of(file_name: &str) -> Self {
        if file_name.to_lowercase().ends_with(".toml") {
            Self::Toml
        } else {
            Self::Yaml
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str, files: &[(&str, &str)]) -> crate::Read {
        let wanted = includes("windlass.yml", spec.as_bytes());
        let contents = |include: &Include| {
            let found = files.iter().find(|(name, _)| *name == include.file);
            match found {
                Some((_, text)) => Ok(text.as_bytes().to_vec()),
                None => Err("there is no such file".to_owned()),
            }
        };
        let included = wanted.iter().map(|i| (i.clone(), contents(i))).collect();
        crate::read_with("windlass.yml", spec.as_bytes(), &included)
    }

    const COMMON: &str =
        "templates:\n  rust: {env: {A: 1}, steps: [cargo test]}\njobs:\n  lint: {steps: [lint]}\n";

    #[test]
    fn templates_and_jobs_come_from_other_files() {
        let spec = "include: [ci/common.yml, ci/more.toml]\njobs:\n  test: {use: rust, needs: lint}\n  b: {use: \
                    more}\n";
        let more = "[templates.more]\nsteps = [\"more\"]\n";
        let read = read(spec, &[("ci/common.yml", COMMON), ("ci/more.toml", more)]);
        assert_eq!(read.diagnostics, []);
        let plan = read.spec.unwrap().plan(&windlass_model::Facts::new(
            windlass_model::Trigger::new(windlass_model::Event::Manual, Revision::zero(), ""),
            "r",
        ));
        let names: Vec<&str> = plan.jobs.iter().map(|job| job.name.as_str()).collect();
        assert_eq!(names, ["test", "b", "lint"]);
        assert_eq!(plan.jobs[0].steps[0].script, "cargo test");
        assert_eq!(plan.jobs[0].env["A"], "1");
    }

    #[test]
    fn another_repository_is_pinned() {
        let pinned = format!(
            "include: {{repo: 'https://a.example/b.git', revision: {}, file: x.yml}}\nsteps: [x]",
            "a".repeat(40)
        );
        let wanted = includes("windlass.yml", pinned.as_bytes());
        assert_eq!(
            wanted[0].from.as_ref().unwrap().0,
            "https://a.example/b.git"
        );
        let codes = |text: &str| {
            let read = read(
                &format!("include: {text}\nsteps: [x]"),
                &[("x.yml", "templates: {a: {}}")],
            );
            let codes = read.diagnostics.iter().map(|d| d.code.clone());
            codes.collect::<Vec<_>>()
        };
        assert_eq!(
            codes("{repo: 'https://a/b', revision: main, file: x.yml}"),
            ["E0138"]
        );
        assert_eq!(codes("{repo: 'https://a/b', file: x.yml}"), ["E0131"]);
        assert_eq!(codes("{file: x.yml}"), [""; 0]);
        assert_eq!(codes("../x.yml"), ["E0212"]);
    }

    #[test]
    fn what_is_wrong_there_is_told_here() {
        let message = |files: &[(&str, &str)]| {
            let read = read("steps: [x]\ninclude: x.yml\n", files);
            let first = read.diagnostics.first().unwrap();
            assert_eq!((first.code.as_str(), first.line), ("E0219", 2));
            first.message.clone()
        };
        assert!(message(&[]).contains("no such file"));
        assert!(message(&[("x.yml", "steps: [x]")]).contains("x.yml:1:1: only `templates`"));
        let unknown = [("x.yml", "templates:\n  a:\n    stepz: [x]\n")];
        assert!(message(&unknown).contains("x.yml:3:5: unknown key `stepz`"));
        assert!(message(&[("x.yml", "include: y.yml")]).contains("one level"));
        assert!(message(&[("x.yml", "\u{0}")]).contains("NUL"));
        assert!(message(&[("x.yml", "[a]")]).contains("no map"));
    }

    #[test]
    fn two_of_one_name_are_a_mistake() {
        let spec = "include: c.yml\njobs:\n  lint: {steps: [x]}\n  test: {use: rust}\n";
        let read = read(spec, &[("c.yml", COMMON)]);
        assert_eq!(read.diagnostics.len(), 1);
        assert!(read.diagnostics[0].message.contains("another job `lint`"));
    }
}
