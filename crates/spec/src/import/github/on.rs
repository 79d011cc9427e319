//! `on`: what makes a build.

use super::super::notes::Notes;
use super::super::pipeline::{Filter, On, Param, Pipeline, Schedule, legal_name};
use super::super::source::Document;
use super::super::tree::Tree as _;
use super::super::when::patterns;
use crate::limits;
use crate::node::{Entry, Node};
use crate::schedules;

/// Reads `on`: a word, a list of words, or a map.
pub(super) fn read(document: &Document, entry: &Entry, pipeline: &mut Pipeline, notes: &mut Notes) {
    let mut on = On::default();
    let line = document.line_of(entry);
    if entry.value.entries().is_empty() {
        for node in entry.value.list() {
            let name = node.text().unwrap_or("?");
            event(
                document,
                name,
                None,
                document.line(&node.span),
                &mut on,
                pipeline,
                notes,
            );
        }
    }
    for entry in entry.value.entries() {
        let line = document.line_of(entry);
        event(
            document,
            &entry.key,
            Some(&entry.value),
            line,
            &mut on,
            pipeline,
            notes,
        );
    }
    if on == On::default() {
        let words = "none of its events exists here: no job runs until `when` says otherwise";
        notes.lost(&mut pipeline.comments, line, "on", words);
    }
    pipeline.on = Some(on);
}

fn event(
    document: &Document,
    name: &str,
    node: Option<&Node>,
    line: usize,
    on: &mut On,
    pipeline: &mut Pipeline,
    notes: &mut Notes,
) {
    let here = format!("on.{name}");
    let comments = &mut pipeline.comments;
    match name {
        "push" => {
            let found = node.map(|node| push(document, node, on, comments, notes));
            if found.is_none() {
                on.push = Some(Filter::default());
                on.tag = Some(Vec::new());
            }
            notes.exact(line, here);
        }
        "pull_request" => {
            let mut filter = Some(Filter::default());
            if let Some(node) = node {
                filter = pull_request(document, node, comments, notes);
            }
            on.pull_request = filter;
            notes.exact(line, here);
        }
        "schedule" => {
            let items = node.map(|node| node.list()).unwrap_or_default();
            for (number, item) in items.into_iter().enumerate().take(limits::ITEMS) {
                let Some(cron) = item.text_of("cron") else {
                    continue;
                };
                let timezone = item.text_of("timezone");
                let known = timezone.is_none_or(schedules::is_timezone);
                if schedules::fields(cron).is_err() || !known {
                    let line = document.line(&item.span);
                    let words = format!("{cron} is no schedule that we know");
                    notes.lost(comments, line, here.clone(), words);
                    continue;
                }
                on.schedule.push(Schedule {
                    name: format!("schedule-{}", number + 1),
                    cron: cron.to_owned(),
                    timezone: timezone.map(ToOwned::to_owned),
                    branch: None,
                });
            }
            notes.exact(line, here);
        }
        "workflow_dispatch" => {
            (on.manual, on.api) = (true, true);
            notes.exact(line, here);
            let inputs = node.and_then(|node| node.get("inputs"));
            for entry in inputs
                .map(super::super::tree::Tree::entries)
                .unwrap_or_default()
            {
                input(document, entry, pipeline, notes);
            }
        }
        "repository_dispatch" => {
            on.api = true;
            let words = "a build through the API; its payload does not exist";
            notes.near(comments, line, here, words);
        }
        "workflow_call" => {
            let words =
                "workflows that others call do not exist here: use `templates` and `include`";
            notes.lost(comments, line, here, words);
        }
        "pull_request_target" => {
            let words = "builds of a pull request with secrets do not exist here; a maintainer can start one";
            notes.lost(comments, line, here, words);
        }
        _ => {
            let words = "no such event makes a build here";
            notes.lost(comments, line, here, words);
        }
    }
}

/// `push` with filters: branches and tags are events of their own here.
fn push(
    document: &Document,
    node: &Node,
    on: &mut On,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) {
    let has = |key: &str| node.get(key).is_some();
    let branches = has("branches") || has("branches-ignore");
    let tags = has("tags") || has("tags-ignore");
    let mut filter = Filter::default();
    let mut tag: Vec<String> = Vec::new();
    let mut nothing = (false, false);
    for entry in node.entries() {
        let line = document.line_of(entry);
        let here = format!("on.push.{}", entry.key);
        let found = filters(&entry.key, &entry.value);
        let list = match entry.key.as_str() {
            "branches" | "branches-ignore" => &mut filter.branches,
            "tags" | "tags-ignore" => &mut tag,
            "paths" | "paths-ignore" => &mut filter.paths,
            _ => {
                notes.lost(comments, line, here, "pushes have no such filter here");
                continue;
            }
        };
        match found {
            Ok(found) => {
                if found.iter().any(|pattern| pattern.contains("[0-9][0-9]")) {
                    notes.near(
                        comments,
                        line,
                        here.clone(),
                        "numbers of at most three digits",
                    );
                }
                list.extend(found);
                notes.exact(line, here);
            }
            Err(words) => {
                if entry.key.starts_with("tags") {
                    nothing.1 = true;
                } else {
                    nothing.0 = true;
                }
                notes.lost(comments, line, here, words);
            }
        }
    }
    let wants_branches = branches || !tags;
    if wants_branches && !nothing.0 {
        on.push = Some(filter);
    }
    if (tags || !branches) && !nothing.1 {
        on.tag = Some(tag);
    }
}

fn pull_request(
    document: &Document,
    node: &Node,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Option<Filter> {
    let mut filter = Filter::default();
    let mut never = false;
    for entry in node.entries() {
        let line = document.line_of(entry);
        let here = format!("on.pull_request.{}", entry.key);
        match entry.key.as_str() {
            "types" => {
                let types = entry.value.texts();
                let usual = ["opened", "synchronize", "reopened"];
                never |= !types.iter().any(|word| usual.contains(&word.as_str()));
                if types.iter().any(|word| !usual.contains(&word.as_str())) {
                    let words =
                        "a build is made when a pull request is opened, reopened, or gets commits";
                    notes.near(comments, line, here, words);
                } else {
                    notes.exact(line, here);
                }
            }
            "branches" | "branches-ignore" | "paths" | "paths-ignore" => {
                match filters(&entry.key, &entry.value) {
                    Ok(found) if entry.key.starts_with("branches") => filter.branches.extend(found),
                    Ok(found) => filter.paths.extend(found),
                    Err(words) => {
                        never = true;
                        notes.lost(comments, line, here, words);
                        continue;
                    }
                }
                notes.exact(line, here);
            }
            _ => notes.lost(
                comments,
                line,
                here,
                "pull requests have no such filter here",
            ),
        }
    }
    (!never).then_some(filter)
}

fn filters(key: &str, node: &Node) -> Result<Vec<String>, String> {
    let negated = key.ends_with("-ignore");
    let mut all = Vec::new();
    for pattern in node.texts() {
        let (mark, bare) = match pattern.strip_prefix('!') {
            Some(rest) => ("!", rest),
            None if negated => ("!", pattern.as_str()),
            None => ("", pattern.as_str()),
        };
        let bare =
            translated(bare).ok_or_else(|| format!("the pattern {pattern} has no counterpart"))?;
        all.push(format!("{mark}{bare}"));
    }
    let (good, bad) = patterns(all);
    match bad.first() {
        Some(bad) => Err(format!("the pattern {bad} has no counterpart")),
        None => Ok(good),
    }
}

/// `+` and `?` repeat what stands before them there; here a few repetitions are written down.
fn translated(pattern: &str) -> Option<String> {
    let mut out: Vec<String> = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '[' => rest.find(']')? + 1,
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            c => c.len_utf8(),
        };
        match c {
            '+' => {
                let last = out.pop()?;
                // Of other repetitions a pattern would take too little.
                if last != "[0-9]" {
                    return None;
                }
                out.push(format!("{{{last},{last}{last},{last}{last}{last}}}"));
            }
            '?' => {
                let last = out.pop()?;
                if last.starts_with('*') || last.starts_with('{') {
                    return None;
                }
                out.push(format!("{{{last},}}"));
            }
            '{' | '}' => return None,
            // There `**` goes through folders wherever it stands, here only between slashes.
            '*' if rest.starts_with("**")
                && !matches!(rest[2..].chars().next(), None | Some('/')) =>
            {
                if out.last().is_some_and(|last| last != "/") {
                    return None;
                }
                out.push("**/*".to_owned());
                rest = &rest[2..];
                continue;
            }
            '*' if rest.starts_with("**") => {
                if out.last().is_some_and(|last| last != "/") {
                    return None;
                }
                out.push("**".to_owned());
                rest = &rest[2..];
                continue;
            }
            _ => out.push(rest[..length].to_owned()),
        }
        rest = &rest[length..];
    }
    let out = out.concat();
    (out.len() <= 500).then_some(out)
}

fn input(document: &Document, entry: &Entry, pipeline: &mut Pipeline, notes: &mut Notes) {
    let line = document.line_of(entry);
    let here = format!("on.workflow_dispatch.inputs.{}", entry.key);
    let name = legal_name(&entry.key);
    if pipeline.params.iter().any(|param| param.name == name)
        || pipeline.params.len() >= limits::ITEMS
    {
        let words = "another input has this name already";
        notes.lost(&mut pipeline.comments, line, here, words);
        return;
    }
    let node = &entry.value;
    let default = node.text_of("default").map(ToOwned::to_owned);
    let mut param = Param {
        name,
        kind: "text",
        default: default.filter(|text| text.len() <= 1000 && !text.contains('\0')),
        ..Param::default()
    };
    let description = node.text_of("description").unwrap_or_default();
    let words: Vec<&str> = description
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    if !words.is_empty() {
        param.description = Some(words.join(" ").chars().take(500).collect());
    }
    match node.text_of("type") {
        Some("boolean") => {
            param.kind = "boolean";
            param.default = param
                .default
                .filter(|text| text == "true" || text == "false");
        }
        Some("number") => {
            param.kind = "number";
            param.default = param
                .default
                .filter(|text| text.parse::<i32>().is_ok_and(|n| n.to_string() == *text));
        }
        Some("choice") => {
            let mut options = node.texts_of("options");
            options.retain(|option| !option.trim().is_empty() && !option.contains('\n'));
            options.dedup();
            if !options.is_empty() {
                param.kind = "choice";
                param.default = param.default.filter(|text| options.contains(text));
                param.options = options;
            }
        }
        Some("environment") => {
            let words = "environments do not exist here: it is a text";
            notes.near(&mut pipeline.comments, line, here.clone(), words);
        }
        _ => {}
    }
    if node.text_of("required") == Some("true") && param.default.is_none() {
        let words = "an input can't be required here: it is empty if none is given";
        notes.near(&mut pipeline.comments, line, here.clone(), words);
    }
    notes.exact(line, here);
    pipeline.params.push(param);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_written_down() {
        let of = |pattern| translated(pattern);
        assert_eq!(of("release/**").as_deref(), Some("release/**"));
        assert_eq!(
            of("v[0-9]+.*").as_deref(),
            Some("v{[0-9],[0-9][0-9],[0-9][0-9][0-9]}.*")
        );
        assert_eq!(of("*.jsx?").as_deref(), Some("*.js{x,}"));
        assert_eq!(of("**.md").as_deref(), Some("**/*.md"));
        assert_eq!(of("src/**.js").as_deref(), Some("src/**/*.js"));
        assert_eq!(of("feature**"), None);
        assert_eq!(of("*?"), None);
        assert_eq!(of("+"), None);
        assert_eq!(of("[a"), None);
    }
}
