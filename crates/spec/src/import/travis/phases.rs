//! The phases of a job, and what a language does where nothing is said.

use super::super::Dialect;
use super::super::container::step_name;
use super::super::gitlab::condition::{Round, Truth, joined};
use super::super::notes::Notes;
use super::super::pipeline::{Job, Step};
use super::super::tree::Tree as _;
use super::super::variables;
use super::super::when::When;
use super::super::when::quoted;
use super::Around;
use super::condition::of_branch;
use crate::node::{Entry, Node};

/// What a language installs and runs by itself.
fn usual(language: &str, phase: &str) -> Option<&'static str> {
    let (install, script) = match language {
        "rust" => ("", "cargo build --verbose\ncargo test --verbose"),
        "node_js" => (
            "if [ -f package-lock.json ]; then npm ci; else npm install; fi",
            "npm test",
        ),
        "python" => (
            "if [ -f requirements.txt ]; then pip install -r requirements.txt; fi",
            "",
        ),
        "go" => (
            "go get -v -t ./...",
            "if [ -f Makefile ]; then make; else go test -v ./...; fi",
        ),
        "ruby" => ("bundle install --jobs=3 --retry=3", "bundle exec rake"),
        "php" => ("", "phpunit"),
        "elixir" => (
            "mix local.rebar --force\nmix local.hex --force\nmix deps.get",
            "mix test",
        ),
        "perl" => ("cpanm --quiet --installdeps --notest .", "make test"),
        "c" | "cpp" => ("", "./configure && make && make test"),
        "java" | "groovy" | "kotlin" => (
            "if [ -x gradlew ]; then ./gradlew assemble; else mvn install -DskipTests=true -B -V; fi",
            "if [ -x gradlew ]; then ./gradlew check; else mvn test -B; fi",
        ),
        "scala" => ("", "sbt test"),
        "haskell" => (
            "cabal update\ncabal build --only-dependencies --enable-tests",
            "cabal test",
        ),
        "dart" => ("dart pub get", "dart test"),
        "julia" => ("", "julia --project -e 'using Pkg; Pkg.test()'"),
        _ => ("", ""),
    };
    let text = match phase {
        "install" => install,
        "script" => script,
        _ => "",
    };
    (!text.is_empty()).then_some(text)
}

/// Adds the steps of all phases.
pub(super) fn read(
    around: &Around<'_>,
    entries: &[Entry],
    language: &str,
    job: &mut Job,
    notes: &mut Notes,
) {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let mut comments = Vec::new();
    let mut all: Vec<String> = Vec::new();
    let mut many = false;
    for phase in ["before_install", "install", "before_script", "script"] {
        let Some(entry) = find(phase) else {
            if let Some(text) = usual(language, phase) {
                let words = format!("what `language: {language}` does by itself");
                notes.near(
                    &mut comments,
                    around.line,
                    format!("{}: {phase}", around.what),
                    words,
                );
                all.push(text.to_owned());
            }
            continue;
        };
        let (line, what) = (
            around.document.line_of(entry),
            format!("{}: {phase}", around.what),
        );
        // `skip`, `true` and the like do nothing.
        if matches!(entry.value.text(), Some("skip" | "true" | "false")) {
            notes.exact(line, what);
            continue;
        }
        let lines = commands(around, &entry.value, (line, &what), &mut comments, notes);
        if phase == "script" && lines.len() > 1 {
            let words = "it stops at the first command that fails";
            notes.near(&mut comments, line, what, words);
        } else {
            notes.exact(line, what);
        }
        many |= !all.is_empty();
        all.extend(lines);
    }
    if !all.is_empty() {
        let mut step = Step::of(all.join("\n"));
        // One shell, so that what a phase sets is there in the next one.
        step.name = if many {
            step_name("install and test")
        } else {
            None
        };
        step.comments = comments;
        job.steps.push(step);
    } else {
        job.comments.append(&mut comments);
    }
    deployments(around, entries, job, notes);
    for (phase, result) in [
        ("after_success", None),
        ("after_failure", Some("failure")),
        ("after_script", Some("always")),
    ] {
        let Some(entry) = find(phase) else {
            continue;
        };
        let (line, what) = (
            around.document.line_of(entry),
            format!("{}: {phase}", around.what),
        );
        let mut comments = Vec::new();
        let lines = commands(around, &entry.value, (line, &what), &mut comments, notes);
        if lines.is_empty() {
            continue;
        }
        let mut step = Step::of(format!("trap 'exit 0' EXIT\n{}", lines.join("\n")));
        step.name = step_name(phase);
        step.when.result = result;
        let words = "a shell of its own; its failure is hidden by the trap in its first line";
        notes.near(&mut comments, line, what, words);
        step.comments = comments;
        job.steps.push(step);
    }
}

fn commands(
    around: &Around<'_>,
    node: &Node,
    place: (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Vec<String> {
    let mut all = Vec::new();
    for text in node.texts().into_iter().take(1000) {
        let mut text = text.trim_end_matches('\n').to_owned();
        for helper in ["travis_retry ", "travis_wait ", "travis_fold "] {
            if text.contains(helper) {
                let words = format!("the helper {helper}does not exist here");
                notes.near(comments, place.0, place.1, words);
            }
        }
        text = text.replace("travis_retry ", "");
        if let Some(rest) = text.strip_prefix("travis_wait ") {
            text = rest
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .trim_start()
                .to_owned();
        }
        let script = variables::script(&text, Dialect::Travis, around.own, place, comments, notes);
        all.push(script);
    }
    all
}

/// `deploy`: scripts are steps, everything else is told.
fn deployments(around: &Around<'_>, entries: &[Entry], job: &mut Job, notes: &mut Notes) {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let Some(entry) = find("deploy") else {
        return;
    };
    for (number, item) in entry.value.list().into_iter().enumerate().take(50) {
        let line = around.document.line(&item.span);
        let what = format!("{}: deploy[{number}]", around.what);
        let provider = item.text_of("provider").unwrap_or("?");
        let mut comments = Vec::new();
        let mut lines = Vec::new();
        for phase in ["before_deploy", "after_deploy"] {
            if let Some(entry) = find(phase).filter(|_| number == 0) {
                let place = (around.document.line_of(entry), phase);
                let found = commands(around, &entry.value, place, &mut comments, notes);
                if phase == "before_deploy" {
                    lines.extend(found);
                } else if provider == "script" {
                    lines.extend(commands_of(
                        around,
                        item,
                        (line, &what),
                        &mut comments,
                        notes,
                    ));
                    lines.extend(found);
                }
            }
        }
        if find("after_deploy").filter(|_| number == 0).is_none() && provider == "script" {
            lines.extend(commands_of(
                around,
                item,
                (line, &what),
                &mut comments,
                notes,
            ));
        }
        if provider != "script" {
            let keys: Vec<&str> = item
                .entries()
                .iter()
                .map(|entry| entry.key.as_str())
                .filter(|key| !matches!(*key, "provider" | "on"))
                .collect();
            let words = format!(
                "the provider {provider} ({}): write its commands here",
                keys.join(", ")
            );
            notes.lost(&mut comments, line, what.clone(), words);
        } else {
            notes.exact(line, what.clone());
        }
        if lines.is_empty() {
            job.comments.append(&mut comments);
            continue;
        }
        let mut step = Step::of(lines.join("\n"));
        step.name = step_name("deploy");
        step.when = conditions(around, item.get("on"), (line, &what), &mut comments, notes);
        step.comments = comments;
        job.steps.push(step);
    }
}

fn commands_of(
    around: &Around<'_>,
    item: &Node,
    place: (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Vec<String> {
    let script = item.get("script");
    script
        .map(|node| commands(around, node, place, comments, notes))
        .unwrap_or_default()
}

/// `on` of a deployment: pushes to the default branch if nothing is said.
fn conditions(
    around: &Around<'_>,
    node: Option<&Node>,
    (line, what): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> When {
    let mut all = vec![Truth::Asked("event != \"pull_request\"".to_owned())];
    let truth = |key: &str| {
        node.and_then(|node| node.get(key))
            .and_then(super::super::tree::Tree::truth)
    };
    let branches = node.and_then(|node| node.get("branch"));
    let names = |node: &Node| -> Vec<String> {
        match node.entries() {
            [] => node.texts(),
            entries => entries.iter().map(|entry| entry.key.clone()).collect(),
        }
    };
    if truth("tags") == Some(true) {
        all.push(Truth::Asked("tag != \"\"".to_owned()));
    } else if let Some(branches) = branches {
        let any: Vec<Truth> = names(branches)
            .iter()
            .map(|name| of_branch(|key| format!("{key} == {}", quoted(name))))
            .collect();
        all.push(joined(any, false, Round::Down));
    } else if truth("all_branches") != Some(true) {
        let words = "the default branch is taken to be master";
        notes.near(comments, line, format!("{what}: on"), words);
        all.push(Truth::Asked("branch == \"master\"".to_owned()));
    }
    for entry in node
        .map(super::super::tree::Tree::entries)
        .unwrap_or_default()
    {
        let line = around.document.line_of(entry);
        let here = format!("{what}: on.{}", entry.key);
        match entry.key.as_str() {
            "tags" | "branch" | "all_branches" => notes.exact(line, here),
            key if super::matrix::VERSIONS.contains(&key)
                && around.axes.iter().any(|axis| axis == key) =>
            {
                let value = quoted(entry.value.text().unwrap_or_default());
                all.push(Truth::Asked(format!("matrix.{key} == {value}")));
                notes.exact(line, here);
            }
            _ => {
                all.push(Truth::Unknown);
                let words = "this condition has no counterpart: it never runs because of this";
                notes.lost(comments, line, here, words);
            }
        }
    }
    match joined(all, true, Round::Down) {
        Truth::Asked(text) => When::of(text),
        _ => When::never(),
    }
}
