//! `only` and `except`, from before there were rules.

use super::super::notes::Notes;
use super::super::tree::Tree as _;
use super::super::when::{When, quoted};
use super::condition::{Reader, Round, Truth, joined, negated, source};
use super::{File, regex, rules};
use crate::node::{Entry, Node};

/// When a job without `rules` runs. `only` is branches and tags if nothing is said.
pub(super) fn read(
    file: &File<'_>,
    only: Option<&Entry>,
    except: Option<&Entry>,
    what: &str,
    vars: &[(String, String)],
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> When {
    let mut all = Vec::new();
    for (key, entry) in [("only", only), ("except", except)] {
        let Some(entry) = entry else {
            continue;
        };
        let round = if key == "only" {
            Round::Down
        } else {
            Round::Up
        };
        let mut reader = Reader {
            vars,
            unknown: Vec::new(),
            near: Vec::new(),
        };
        let held = held(&entry.value, round, &mut reader);
        let (line, here) = (file.line_of(entry), format!("{what}.{key}"));
        if reader.unknown.is_empty() {
            notes.exact(line, here);
        } else {
            let words = format!(
                "{} has no counterpart: it runs less often",
                reader.unknown.join(", ")
            );
            notes.lost(comments, line, here, words);
        }
        all.push(if key == "only" { held } else { negated(held) });
    }
    let names_refs =
        |entry: &Entry| entry.value.entries().is_empty() || entry.value.get("refs").is_some();
    if !only.is_some_and(names_refs) && file.has_requests {
        all.push(Truth::Asked("event != \"pull_request\"".to_owned()));
    }
    match joined(all, true, Round::Down) {
        Truth::Known(true) => When::default(),
        Truth::Known(false) | Truth::Unknown => When::never(),
        Truth::Asked(text) => When::of(text),
    }
}

/// `[main, tags]`, or a map with `refs`, `changes`, `variables`.
fn held(node: &Node, round: Round, reader: &mut Reader<'_>) -> Truth {
    if node.entries().is_empty() {
        return refs(&node.texts(), round, reader);
    }
    let mut all = Vec::new();
    for entry in node.entries() {
        all.push(match entry.key.as_str() {
            "refs" => refs(&entry.value.texts(), round, reader),
            "changes" => rules::changes(&entry.value, reader),
            "variables" => {
                let conditions = entry.value.texts();
                let any = conditions
                    .iter()
                    .map(|text| reader.read(text, round))
                    .collect();
                joined(any, false, round)
            }
            key => {
                reader.unknown.push(key.to_owned());
                Truth::Unknown
            }
        });
    }
    // Of `only` all must hold, of `except` one is enough.
    joined(all, round == Round::Down, round)
}

fn refs(texts: &[String], round: Round, reader: &mut Reader<'_>) -> Truth {
    let any = texts.iter().map(|text| one(text, round, reader)).collect();
    joined(any, false, round)
}

fn one(text: &str, round: Round, reader: &mut Reader<'_>) -> Truth {
    let text = text.split('@').next().unwrap_or_default();
    let asked = |text: &str| Truth::Asked(text.to_owned());
    match text {
        "branches" => asked("(event != \"pull_request\" && branch != \"\")"),
        "tags" => asked("tag != \"\""),
        "merge_requests" | "external_pull_requests" => asked("event == \"pull_request\""),
        "pushes" => source("push"),
        "schedules" => source("schedule"),
        "web" => source("web"),
        "api" | "triggers" => source("api"),
        "pipelines" | "external" | "chat" => Truth::Known(false),
        text if text.starts_with('/') => {
            let pattern = text
                .strip_prefix('/')
                .and_then(|text| text.strip_suffix('/'));
            let exact =
                round == Round::Down || !text.contains(['+', '*', '?', '.', '[', '\\', '(']);
            match pattern.and_then(regex::glob).filter(|_| exact) {
                Some(glob) => {
                    let glob = quoted(&glob);
                    Truth::Asked(format!(
                        "(event != \"pull_request\" && branch != \"\" && glob(branch, {glob}) || tag != \"\" \
                         && glob(tag, {glob}))"
                    ))
                }
                None => {
                    reader.unknown.push(text.to_owned());
                    Truth::Unknown
                }
            }
        }
        text if text.contains('$') || text.is_empty() => {
            reader.unknown.push(text.to_owned());
            Truth::Unknown
        }
        text => {
            let name = quoted(text);
            Truth::Asked(format!(
                "(event != \"pull_request\" && branch == {name} || tag == {name})"
            ))
        }
    }
}
