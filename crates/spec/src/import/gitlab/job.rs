//! The keys of a job.

use std::collections::BTreeSet;

use super::super::Dialect;
use super::super::container::step_name;
use super::super::notes::Notes;
use super::super::pipeline::{Concurrency, Job, Matrix, Need, Retry, Step, Vars, legal_name};
use super::super::tree::Tree as _;
use super::super::variables;
use super::super::when::When;
use super::stages::About;
use super::{File, files, lines, only, rules, vars};
use crate::limits;
use crate::node::{Entry, Node};

/// A job while it is converted.
pub(super) struct InJob<'f> {
    pub(super) file: &'f File<'f>,
    /// The job's name.
    pub(super) what: String,
    /// Variables of the file and the job.
    pub(super) vars: Vars,
    /// Variables that the script puts together.
    pub(super) exports: Vars,
    /// Names of the matrix.
    pub(super) matrix: Vec<String>,
}

impl InJob<'_> {
    /// A text with our names in it, and variables without counterpart.
    pub(super) fn text(&self, text: &str) -> (String, Vec<String>) {
        variables::text(text, Dialect::Gitlab, &self.vars, &self.matrix)
    }
}

/// Reads a job of which templates are filled in already.
pub(super) fn read(
    file: &File<'_>,
    entry: &Entry,
    entries: &[Entry],
    notes: &mut Notes,
) -> (Job, About) {
    let mut job = Job {
        name: entry.key.clone(),
        ..Job::default()
    };
    let mut about = About {
        stage: "test".to_owned(),
        line: file.line_of(entry),
        ..About::default()
    };
    let mut here = InJob {
        file,
        what: entry.key.clone(),
        vars: file.vars.clone(),
        exports: file.exports.clone(),
        matrix: Vec::new(),
    };
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    if let Some(entry) = find("variables") {
        let what = format!("{}.variables", here.what);
        let (own, exports) = vars(
            file,
            &entry.value,
            &what,
            &file.vars,
            &mut job.comments,
            notes,
        );
        here.vars
            .retain(|(name, _)| !own.iter().any(|(known, _)| known == name));
        here.vars.extend(own.iter().cloned());
        let is_own = |name: &String| own.iter().chain(&exports).any(|(known, _)| known == name);
        here.exports.retain(|(name, _)| !is_own(name));
        here.exports.extend(exports);
        job.env = own;
    }
    if let Some(entry) = find("parallel") {
        parallel(&mut here, entry, &mut job, notes);
    }
    clone(&here, &mut job);
    for key in [
        "image",
        "services",
        "cache",
        "retry",
        "timeout",
        "tags",
        "artifacts",
        "interruptible",
    ] {
        if let Some(entry) = file.inherited(entries, key) {
            self::key(&here, &entry, &mut job, &mut about, notes);
        }
    }
    conditions(&here, entries, &mut job, &mut about, notes);
    for entry in entries {
        own_key(&here, entry, &mut job, &mut about, notes);
    }
    script(&here, entries, &mut job, notes);
    if find("trigger").is_some() || about.lacks_image {
        job.when = When::never();
    }
    (job, about)
}

/// Keys that may also stand above all jobs.
fn key(here: &InJob<'_>, entry: &Entry, job: &mut Job, about: &mut About, notes: &mut Notes) {
    let (line, node) = (here.file.line_of(entry), &entry.value);
    let what = format!("{}.{}", here.what, entry.key);
    match entry.key.as_str() {
        "image" => {
            let image = node
                .text()
                .or_else(|| node.text_of("name"))
                .unwrap_or_default();
            let (text, unknown) = here.text(image);
            if unknown.is_empty() && !text.trim().is_empty() {
                job.image = Some(text);
                notes.exact(line, what.clone());
            } else {
                let words = format!(
                    "the image {image} can't be told: the job never runs until it is written here"
                );
                notes.lost(&mut job.comments, line, what.clone(), words);
                about.lacks_image = true;
            }
            let others = node.entries().iter().filter(|entry| entry.key != "name");
            for entry in others {
                let what = format!("{what}.{}", entry.key);
                let line = here.file.line_of(entry);
                notes.lost(
                    &mut job.comments,
                    line,
                    what,
                    "images have no such key here",
                );
            }
        }
        "services" => files::services(here, entry, job, notes),
        "cache" => files::cache(here, entry, job, notes),
        "artifacts" => files::artifacts(here, entry, job, notes),
        "retry" => retry(node, (line, &what), job, notes),
        "timeout" => {
            job.timeout = node.text().and_then(duration);
            match job.timeout {
                Some(_) => notes.exact(line, what),
                None => notes.lost(&mut job.comments, line, what, "no duration that we know"),
            }
        }
        "tags" => {
            job.runs_on = node.texts();
            let words = "a machine must be started with these labels";
            notes.near(&mut job.comments, line, what, words);
        }
        _ => {
            let words = "see `concurrency` with `cancel-in-progress`";
            notes.lost(&mut job.comments, line, what, words);
        }
    }
}

/// Keys of a job alone.
fn own_key(here: &InJob<'_>, entry: &Entry, job: &mut Job, about: &mut About, notes: &mut Notes) {
    let (line, node) = (here.file.line_of(entry), &entry.value);
    let what = format!("{}.{}", here.what, entry.key);
    match entry.key.as_str() {
        "script" | "before_script" | "after_script" | "variables" | "parallel" | "image"
        | "services" | "cache" | "retry" | "timeout" | "tags" | "artifacts" | "interruptible"
        | "rules" | "only" | "except" => {}
        "when" | "extends" | "stage" => {
            if entry.key == "stage" {
                about.stage = node.text().unwrap_or("test").to_owned();
            }
            notes.exact(line, what);
        }
        "needs" => {
            about.has_needs = true;
            needs(here, node, &what, job, notes);
        }
        "dependencies" => {
            about.dependencies = Some(node.texts());
            notes.exact(line, what);
        }
        "allow_failure" => match node.truth() {
            Some(truth) => {
                job.allow_failure = truth;
                notes.exact(line, what);
            }
            None => {
                let words = "exit codes that are allowed have no counterpart: every failure counts";
                notes.lost(&mut job.comments, line, what, words);
            }
        },
        "resource_group" => {
            let (group, unknown) = here.text(node.text().unwrap_or("all"));
            // What isn't known makes the group larger.
            let group = if unknown.is_empty() {
                group
            } else {
                "all".to_owned()
            };
            let group: String = group
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            job.concurrency = (!group.trim().is_empty()).then_some(Concurrency {
                group,
                cancel: false,
            });
            notes.exact(line, what);
        }
        "environment" => {
            let words = "environments do not exist here; if it was protected, add `approve`";
            notes.lost(&mut job.comments, line, what, words);
        }
        "coverage" => {
            let words = "coverage is read from reports, not from the output: see `reports`";
            notes.lost(&mut job.comments, line, what, words);
        }
        "trigger" => {
            let words = "a pipeline of another project has no counterpart: the job never runs";
            notes.lost(&mut job.comments, line, what, words);
        }
        "start_in" => notes.near(&mut job.comments, line, what, "it begins at once"),
        _ => notes.lost(&mut job.comments, line, what, "jobs have no such key here"),
    }
}

fn conditions(
    here: &InJob<'_>,
    entries: &[Entry],
    job: &mut Job,
    about: &mut About,
    notes: &mut Notes,
) {
    let find = |key: &str| entries.iter().find(|entry| entry.key == key);
    let action = find("when")
        .and_then(|entry| entry.value.text())
        .unwrap_or("on_success");
    if let Some(entry) = find("rules") {
        let what = format!("{}.rules", here.what);
        let found = rules::read(
            here.file,
            &entry.value,
            &what,
            &here.vars,
            &mut job.comments,
            notes,
        );
        job.when = found.when;
        if found.manual {
            job.approve = Some(format!("Run {}?", plain(&here.what)));
            about.waits_aside = found.allow_failure;
        } else {
            job.allow_failure |= found.allow_failure;
        }
        return;
    }
    let (only, except) = (find("only"), find("except"));
    let comments = &mut job.comments;
    job.when = only::read(
        here.file, only, except, &here.what, &here.vars, comments, notes,
    );
    match action {
        "always" => job.when.result = Some("always"),
        "on_failure" => job.when.result = Some("failure"),
        "never" => job.when = When::never(),
        "manual" => {
            job.approve = Some(format!("Run {}?", plain(&here.what)));
            // Unless told otherwise, nothing waits for it.
            let waits = find("allow_failure").and_then(|entry| entry.value.truth()) == Some(false);
            about.waits_aside = !waits;
        }
        _ => {}
    }
}

/// A name that can stand in a question.
fn plain(text: &str) -> String {
    text.replace("${{", "{{")
        .chars()
        .filter(|c| !c.is_control())
        .take(100)
        .collect()
}

fn needs(here: &InJob<'_>, node: &Node, what: &str, job: &mut Job, notes: &mut Notes) {
    for item in node.list().into_iter().take(limits::ITEMS) {
        let line = here.file.document.line(&item.span);
        let name = item.text().or_else(|| item.text_of("job"));
        let elsewhere = ["project", "pipeline"]
            .iter()
            .any(|key| item.get(key).is_some());
        let Some(name) = name.filter(|_| !elsewhere) else {
            let words = "jobs of other pipelines can't be waited for";
            notes.lost(&mut job.comments, line, what, words);
            continue;
        };
        let truth = |key: &str| item.get(key).and_then(super::super::tree::Tree::truth);
        if item.get("parallel").is_some() {
            let words = "all cells of the job are waited for";
            notes.near(&mut job.comments, line, what, words);
        }
        job.needs.push(Need {
            job: name.to_owned(),
            optional: truth("optional") == Some(true),
            artifacts: truth("artifacts") != Some(false),
        });
        notes.exact(line, what);
    }
}

fn parallel(here: &mut InJob<'_>, entry: &Entry, job: &mut Job, notes: &mut Notes) {
    let (line, what) = (here.file.line_of(entry), format!("{}.parallel", here.what));
    let node = &entry.value;
    if let Some(count) = node.text().and_then(|text| text.parse::<u32>().ok()) {
        let count = count.clamp(1, 200);
        let values = (1..=count).map(|number| number.to_string()).collect();
        job.matrix = Some(Matrix {
            axes: vec![("node-index".to_owned(), values)],
            ..Matrix::default()
        });
        let var = |name: &str, value: String| (name.to_owned(), value);
        job.env
            .push(var("CI_NODE_INDEX", "${{ matrix.node-index }}".to_owned()));
        job.env.push(var("CI_NODE_TOTAL", count.to_string()));
        notes.exact(line, what);
        return;
    }
    let mut matrix = Matrix::default();
    let items = node
        .get("matrix")
        .map(|node| node.list())
        .unwrap_or_default();
    let single = items.len() == 1;
    for item in items.into_iter().take(200) {
        let mut one = Matrix::default();
        for entry in item.entries() {
            let mut seen = BTreeSet::new();
            let mut values = entry.value.texts();
            values.retain(|value| !value.contains('\0') && seen.insert(value.clone()));
            if !values.is_empty() && legal_name(&entry.key) == entry.key {
                one.axes.push((entry.key.clone(), values));
            }
        }
        if single {
            matrix = one;
        } else {
            matrix.include.extend(one.product());
        }
    }
    matrix.include.truncate(limits::CELLS);
    for name in matrix.names() {
        job.env.retain(|(known, _)| *known != name);
        job.env
            .push((name.clone(), format!("${{{{ matrix.{name} }}}}")));
        here.matrix.push(name);
    }
    if here.matrix.is_empty() {
        notes.lost(&mut job.comments, line, what, "the matrix can't be read");
    } else {
        notes.exact(line, what);
        job.matrix = Some(matrix);
    }
}

/// Variables that mean something to the runner.
fn clone(here: &InJob<'_>, job: &mut Job) {
    for (name, value) in &here.vars {
        match (name.as_str(), value.as_str()) {
            ("GIT_DEPTH", depth) => {
                job.clone.depth = depth.parse::<u32>().ok().map(|depth| match depth {
                    0 => "full".to_owned(),
                    depth => depth.min(1_000_000).to_string(),
                });
            }
            ("GIT_STRATEGY", "none" | "empty") => job.clone.off = true,
            ("GIT_SUBMODULE_STRATEGY", "normal" | "recursive") => job.clone.submodules = true,
            _ => {}
        }
    }
}

fn retry(node: &Node, (line, what): (usize, &str), job: &mut Job, notes: &mut Notes) {
    let count = node.text().or_else(|| node.text_of("max"));
    let count = count
        .and_then(|count| count.parse::<u32>().ok())
        .unwrap_or(0)
        .min(10);
    if count == 0 {
        notes.exact(line, what);
        return;
    }
    let reasons = node.texts_of("when");
    let mut on: Vec<String> = Vec::new();
    let mut any = reasons.is_empty();
    for reason in &reasons {
        match reason.as_str() {
            "always" | "script_failure" | "unknown_failure" => any = true,
            "job_execution_timeout" | "stuck_or_timeout_failure" => on.push("timeout".to_owned()),
            _ => on.push("infrastructure".to_owned()),
        }
    }
    on.extend(
        node.texts_of("exit_codes")
            .into_iter()
            .filter(|code| code.parse::<u8>().is_ok_and(|code| code > 0)),
    );
    if any && node.get("exit_codes").is_none() {
        on.clear();
    }
    on.sort();
    on.dedup();
    if on.contains(&"infrastructure".to_owned()) || on.contains(&"timeout".to_owned()) {
        let words = "the reasons are infrastructure, timeout, and exit codes";
        notes.near(&mut job.comments, line, what, words);
    } else {
        notes.exact(line, what);
    }
    job.retry = Some(Retry { count, on });
}

/// `before_script` and `script` are one script there; `after_script` is another one.
fn script(here: &InJob<'_>, entries: &[Entry], job: &mut Job, notes: &mut Notes) {
    let mut all: Vec<String> = Vec::new();
    let own = entries.iter().find(|entry| entry.key == "script");
    let before = here.file.inherited(entries, "before_script");
    let mut comments = Vec::new();
    for (key, entry) in [("before_script", before.as_ref()), ("script", own)] {
        if let Some(entry) = entry {
            let (line, what) = (here.file.line_of(entry), format!("{}.{key}", here.what));
            all.extend(rewritten(
                here,
                &entry.value,
                (line, &what),
                &mut comments,
                notes,
            ));
            notes.exact(line, what);
        }
    }
    if own.is_some() && !all.is_empty() {
        let mut step = Step::of(format!("{}{}", exports(here), all.join("\n")));
        step.comments = comments;
        job.steps.push(step);
        job.shell = shell(job.image.as_deref());
    }
    let Some(entry) = here
        .file
        .inherited(entries, "after_script")
        .filter(|_| own.is_some())
    else {
        return;
    };
    let (line, what) = (
        here.file.line_of(&entry),
        format!("{}.after_script", here.what),
    );
    let mut comments = Vec::new();
    let lines = rewritten(here, &entry.value, (line, &what), &mut comments, notes);
    if lines.is_empty() {
        return;
    }
    // Its failure changes nothing there.
    let script = lines.join("\n");
    let mut step = Step::of(format!("trap 'exit 0' EXIT\n{}{script}", exports(here)));
    step.name = step_name("after_script");
    step.comments = comments;
    step.timeout = Some("5m".to_owned());
    step.when.result = Some("always");
    job.steps.push(step);
    notes.exact(line, what);
}

/// The first lines of a script.
fn exports(here: &InJob<'_>) -> String {
    let line = |(name, value): &(String, String)| format!("export {name}=\"{value}\"\n");
    here.exports.iter().map(line).collect()
}

fn rewritten(
    here: &InJob<'_>,
    node: &Node,
    place: (usize, &str),
    comments: &mut Vec<String>,
    notes: &mut Notes,
) -> Vec<String> {
    let all = here.vars.iter().chain(&here.exports);
    let mut own: Vec<String> = all.map(|(name, _)| name.clone()).collect();
    own.extend(["CI_NODE_INDEX", "CI_NODE_TOTAL"].map(ToOwned::to_owned));
    lines(here.file, node, 0)
        .into_iter()
        .map(|line| {
            let line = line.trim_end_matches('\n');
            variables::script(line, Dialect::Gitlab, &own, place, comments, notes)
        })
        .collect()
}

/// The runner takes bash where there is one; small images have none.
fn shell(image: Option<&str>) -> Option<Vec<String>> {
    let small = ["alpine", "busybox", "docker", "kaniko", "distroless"];
    match image {
        Some(image) if small.iter().any(|word| image.contains(word)) => None,
        _ => Some(vec!["bash".to_owned()]),
    }
}

/// `1h 30m`, `3 hours 5 minutes`, `90 min` as a duration.
pub(super) fn duration(text: &str) -> Option<String> {
    let mut seconds: u64 = 0;
    let mut number: Option<u64> = None;
    let mut word = String::new();
    let mut take = |word: &mut String, number: &mut Option<u64>| -> Option<()> {
        if word.is_empty() {
            return Some(());
        }
        let factor = match word.as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            "mo" | "mos" | "month" | "months" => 2_592_000,
            "y" | "yr" | "yrs" | "year" | "years" => 31_536_000,
            "and" => {
                word.clear();
                return Some(());
            }
            _ => return None,
        };
        seconds = seconds.checked_add(number.take()?.checked_mul(factor)?)?;
        word.clear();
        Some(())
    };
    for c in text.chars() {
        if let Some(digit) = c.to_digit(10) {
            take(&mut word, &mut number)?;
            number = Some(
                number
                    .unwrap_or(0)
                    .checked_mul(10)?
                    .checked_add(u64::from(digit))?,
            );
        } else if c.is_ascii_alphabetic() {
            word.push(c.to_ascii_lowercase());
        } else if c.is_whitespace() || c == ',' {
            take(&mut word, &mut number)?;
        } else {
            return None;
        }
    }
    take(&mut word, &mut number)?;
    if let Some(bare) = number {
        seconds = seconds.checked_add(bare)?;
    }
    if seconds == 0 || seconds > 720 * 3600 {
        return None;
    }
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    Some(
        parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, unit)| format!("{n}{unit}"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (theirs, ours) in [
            ("1h 30m", "1h30m"),
            ("3 hours 5 minutes", "3h5m"),
            ("90 min", "1h30m"),
            ("3600", "1h"),
            ("1 hour and 1 second", "1h1s"),
            ("2 days", "48h"),
        ] {
            assert_eq!(duration(theirs).as_deref(), Some(ours), "{theirs}");
        }
        for bad in [
            "",
            "never",
            "1 fortnight",
            "-1h",
            "99999999999999999999h",
            "0",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
