//! Files that are kept, and containers beside the job.

use super::super::container::{command, usual_port};
use super::super::notes::Notes;
use super::super::pipeline::{Artifact, Cache, Job, Service, legal_name};
use super::super::tree::Tree as _;
use super::job::{InJob, duration};
use super::vars;
use crate::node::{Entry, Node};

/// `services`: images, or maps.
pub(super) fn services(here: &InJob<'_>, entry: &Entry, job: &mut Job, notes: &mut Notes) {
    for item in entry.value.list() {
        let line = here.file.document.line(&item.span);
        let image = item
            .text()
            .or_else(|| item.text_of("name"))
            .unwrap_or_default();
        let what = format!("{}.services.{image}", here.what);
        let (text, unknown) = here.text(image);
        if text.trim().is_empty() || !unknown.is_empty() {
            notes.lost(&mut job.comments, line, what, "its image can't be told");
            continue;
        }
        let usual = text.split([':', '@']).next().unwrap_or_default();
        let name = item.text_of("alias").unwrap_or(usual);
        let mut service = Service {
            name: legal_name(name),
            ready: usual_port(&text).map(|port| (port, None)),
            image: text,
            ..Service::default()
        };
        let mut comments = Vec::new();
        for entry in item.entries() {
            let line = here.file.line_of(entry);
            let what = format!("{what}.{}", entry.key);
            match entry.key.as_str() {
                "name" | "alias" => {}
                "variables" => {
                    let outer = &here.vars;
                    service.env =
                        vars(here.file, &entry.value, &what, outer, &mut comments, notes).0;
                }
                "command" => {
                    service.command = command(&entry.value);
                    notes.exact(line, what);
                }
                _ => notes.lost(&mut comments, line, what, "services have no such key here"),
            }
        }
        if service.env.is_empty() {
            // A service gets the job's variables there.
            let prefixes = [
                "POSTGRES_",
                "MYSQL_",
                "MARIADB_",
                "MONGO_",
                "REDIS_",
                "RABBITMQ_",
            ];
            let wanted =
                |(name, _): &&(String, String)| prefixes.iter().any(|p| name.starts_with(p));
            service.env = here.vars.iter().filter(wanted).cloned().collect();
        }
        if job.services.iter().any(|known| known.name == service.name) {
            notes.lost(
                &mut job.comments,
                line,
                what,
                "another service has this name",
            );
            continue;
        }
        service.comments = comments;
        notes.exact(line, what);
        job.services.push(service);
    }
}

/// Paths below the workspace.
fn paths(
    here: &InJob<'_>,
    node: Option<&Node>,
    mark: &str,
    (line, what): (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Vec<String> {
    let mut good: Vec<String> = Vec::new();
    for path in node
        .map(super::super::tree::Tree::texts)
        .unwrap_or_default()
        .into_iter()
        .take(200)
    {
        let path = path
            .trim_start_matches("$CI_PROJECT_DIR/")
            .trim_start_matches("${CI_PROJECT_DIR}/")
            .to_owned();
        let (text, unknown) = here.text(&path);
        let text = text
            .trim_start_matches("./")
            .trim_end_matches('/')
            .to_owned();
        let out = text.starts_with(['/', '~']) || text.split('/').any(|part| part == "..");
        if !unknown.is_empty()
            || out
            || text.trim().is_empty()
            || text.chars().any(char::is_control)
            || windlass_model::glob::compile(text.trim_start_matches('!')).is_err()
        {
            let words = format!("the path {path} can't be used here");
            notes.lost(comments, line, what, words);
            continue;
        }
        let text = format!("{mark}{text}");
        if !good.contains(&text) {
            good.push(text);
        }
    }
    good
}

/// `artifacts`
pub(super) fn artifacts(here: &InJob<'_>, entry: &Entry, job: &mut Job, notes: &mut Notes) {
    let node = &entry.value;
    let mut comments = Vec::new();
    let mut artifact = Artifact {
        // Nothing found is only a warning there.
        required: Some(false),
        ..Artifact::default()
    };
    let place = |key: &str| format!("{}.artifacts.{key}", here.what);
    for entry in node.entries() {
        let (line, what) = (here.file.line_of(entry), place(&entry.key));
        match entry.key.as_str() {
            "paths" => {
                let node = Some(&entry.value);
                let mut found = paths(here, node, "", (line, &what), &mut comments, notes);
                found.append(&mut artifact.paths);
                artifact.paths = found;
                notes.exact(line, what);
            }
            "exclude" => {
                let node = Some(&entry.value);
                artifact
                    .paths
                    .extend(paths(here, node, "!", (line, &what), &mut comments, notes));
                notes.exact(line, what);
            }
            "name" => {
                let (name, unknown) = here.text(entry.value.text().unwrap_or_default());
                let name: String = name
                    .replace('/', "-")
                    .chars()
                    .filter(|c| !c.is_control())
                    .collect();
                if unknown.is_empty() && !name.trim().is_empty() && name.len() <= 100 {
                    artifact.name = Some(name);
                    notes.exact(line, what);
                } else {
                    notes.near(&mut comments, line, what, "it has the job's name");
                }
            }
            "expire_in" => {
                let text = entry.value.text().unwrap_or_default();
                artifact.retention = days(text);
                if artifact.retention.is_some() || text == "never" {
                    notes.exact(line, what);
                } else {
                    notes.lost(&mut comments, line, what, "no duration that we know");
                }
            }
            "when" => {
                artifact.when = match entry.value.text() {
                    Some("always") => Some("always"),
                    Some("on_failure") => Some("failure"),
                    _ => None,
                };
                notes.exact(line, what);
            }
            "reports" => reports(here, &entry.value, job, &mut comments, notes),
            _ => notes.lost(&mut comments, line, what, "artifacts have no such key here"),
        }
    }
    if artifact.paths.iter().any(|path| !path.starts_with('!')) {
        job.artifacts.push(artifact);
    }
    job.comments.append(&mut comments);
}

/// `1 week` in days, `12 hours` as a duration.
fn days(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let number_and_unit = match words[..] {
        [number, unit] => number.parse::<u32>().ok().map(|number| (number, unit)),
        [word] => {
            let digits = word
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(word.len());
            word[..digits]
                .parse()
                .ok()
                .map(|number| (number, &word[digits..]))
        }
        _ => None,
    };
    let factor = number_and_unit.and_then(|(number, unit)| {
        let factor: u32 = match unit.trim_end_matches('s') {
            "d" | "day" => 1,
            "w" | "wk" | "week" => 7,
            "mo" | "month" => 30,
            "y" | "yr" | "year" => 365,
            _ => return None,
        };
        number.checked_mul(factor)
    });
    match factor {
        Some(days) => (1..=3650).contains(&days).then(|| format!("{days}d")),
        None => duration(text),
    }
}

fn reports(
    here: &InJob<'_>,
    node: &Node,
    job: &mut Job,
    comments: &mut Vec<String>,
    notes: &mut Notes,
) {
    for entry in node.entries() {
        let line = here.file.line_of(entry);
        let what = format!("{}.artifacts.reports.{}", here.what, entry.key);
        let (kind, found) = match entry.key.as_str() {
            "junit" => ("junit", Some(&entry.value)),
            "cobertura" => ("cobertura", Some(&entry.value)),
            "coverage_report" if entry.value.text_of("coverage_format") == Some("cobertura") => {
                ("cobertura", entry.value.get("path"))
            }
            "dotenv" => {
                let words =
                    "values for other jobs are `outputs` here: write them to $WINDLASS_OUTPUT";
                notes.lost(comments, line, what, words);
                continue;
            }
            _ => {
                notes.lost(comments, line, what, "there is no such report here");
                continue;
            }
        };
        let found = paths(here, found, "", (line, &what), comments, notes);
        if !found.is_empty() {
            match job.reports.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, known)) => known.extend(found),
                None => job.reports.push((kind, found)),
            }
            notes.exact(line, what);
        }
    }
}

/// `cache`: a map, or a list of maps.
pub(super) fn cache(here: &InJob<'_>, entry: &Entry, job: &mut Job, notes: &mut Notes) {
    let what = format!("{}.cache", here.what);
    for item in entry
        .value
        .list()
        .into_iter()
        .filter(|item| !item.entries().is_empty())
    {
        let line = here.file.document.line(&item.span);
        let mut comments = Vec::new();
        let mut cache = Cache {
            key: "default".to_owned(),
            paths: paths(
                here,
                item.get("paths"),
                "",
                (line, &what),
                &mut comments,
                notes,
            ),
            ..Cache::default()
        };
        for entry in item.entries() {
            let line = here.file.line_of(entry);
            let what = format!("{what}.{}", entry.key);
            let value = &entry.value;
            match entry.key.as_str() {
                "paths" => {}
                "key" => {
                    let text = value
                        .text()
                        .or_else(|| value.text_of("prefix"))
                        .unwrap_or("default");
                    cache.key = key(here, text);
                    let node = value.get("files");
                    cache.hash = paths(here, node, "", (line, &what), &mut comments, notes);
                }
                "policy" => cache.read_only = value.text() == Some("pull"),
                "fallback_keys" => {
                    cache.restore = value
                        .texts()
                        .iter()
                        .map(|text| key(here, text))
                        .take(10)
                        .collect();
                }
                "when" => {
                    let words = "a cache is saved after a success";
                    notes.near(&mut comments, line, what, words);
                    continue;
                }
                _ => {
                    notes.lost(&mut comments, line, what, "caches have no such key here");
                    continue;
                }
            }
            notes.exact(line, what);
        }
        if cache.paths.iter().any(|path| !path.starts_with('!')) {
            let words = "pull requests read it and never write it";
            notes.near(&mut comments, line, what.clone(), words);
            job.cache.push(cache);
        }
        job.comments.append(&mut comments);
    }
}

fn key(here: &InJob<'_>, text: &str) -> String {
    let text = text
        .replace("$CI_COMMIT_REF_SLUG", "$CI_COMMIT_BRANCH")
        .replace("${CI_COMMIT_REF_SLUG}", "$CI_COMMIT_BRANCH")
        .replace("$CI_JOB_NAME", &here.what);
    let (key, unknown) = here.text(&text);
    let key: String = key.chars().filter(|c| !c.is_control()).collect();
    // With only a part of its name a cache would be another one's.
    if key.trim().is_empty() || key.len() > 100 || !unknown.is_empty() {
        return "default".to_owned();
    }
    key
}
