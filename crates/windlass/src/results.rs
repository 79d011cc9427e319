//! What a job finds before its steps (caches, artifacts of others) and what it leaves behind
//! (artifacts, caches, reports): the same in the server and in `windlass run`.
//!
//! All functions block.

use std::path::{Path, PathBuf};
use std::time::Duration;

use windlass_engine::results::artifacts::{self, Kept};
use windlass_engine::results::cache::{self, Saved};
use windlass_engine::results::report::{self, Report, TestCase, TestResult};
use windlass_logs::LogReader;
use windlass_model::plan::{ArtifactPlan, CachePlan, OnResult, ReportKind};
use windlass_model::{BuildState, JobPlan, Secret};
use windlass_store::results as rows;

use crate::report::Problem;

/// One artifact has so many bytes at most, if nobody says otherwise.
pub(crate) const ARTIFACT_LIMIT: u64 = 2 << 30;
/// One cache.
const CACHE_LIMIT: u64 = 4 << 30;
/// All caches of a repository together; the oldest go first.
pub(crate) const CACHES_LIMIT: u64 = 20 << 30;
/// So many tests of an attempt are kept for its page; failed ones are first.
const TESTS_KEPT: usize = 5000;
/// So many failed tests get a link into the log.
const TESTS_LINKED: usize = 500;
/// So many lines of a log are looked at for those links.
const LINES_LOOKED_AT: u64 = 2_000_000;
/// So many of them speak of failures.
const LINES_OF_FAILURES: usize = 20_000;
/// The file beside the workspace that says under which keys caches will be saved: what the steps
/// change must not change the keys.
const KEYS_FILE: &str = "cache-keys.json";

/// Where a job's files are.
pub(crate) struct Places {
    /// The job's workspace.
    pub(crate) workspace: PathBuf,
    /// The home folder of its steps, if they have one.
    pub(crate) home: Option<PathBuf>,
    /// The caches of its repository.
    pub(crate) caches: PathBuf,
    /// The folder for this attempt's artifacts.
    pub(crate) artifacts: PathBuf,
}

impl Places {
    fn home(&self) -> &Path {
        // Without a home, `~/` leads to a place that doesn't exist: nothing is taken from there.
        self.home
            .as_deref()
            .unwrap_or(Path::new("/nonexistent/home"))
    }

    fn keys_file(&self) -> PathBuf {
        self.workspace
            .parent()
            .unwrap_or(&self.workspace)
            .join(KEYS_FILE)
    }
}

/// Fills the workspace: artifacts of needed jobs (folders of artifacts), then caches. Returns lines
/// for people. Done twice, it does the same.
///
/// # Errors
/// An artifact that can't be put back: the job would run on something else than it asked for. A
/// cache never fails a job.
pub(crate) fn put_in(
    job: &JobPlan,
    places: &Places,
    needed: &[(String, PathBuf)],
) -> Result<Vec<String>, Problem> {
    let mut said = Vec::new();
    for (name, folder) in needed {
        let files = artifacts::put_back(folder, &places.workspace).map_err(|e| {
            Problem::new(format!("artifact {name:?} of a needed job: {e}")).hint(e.hint())
        })?;
        said.push(format!(
            "artifact {name:?}: {} put in",
            files_of(files.len())
        ));
    }
    let mut keys = Vec::new();
    for plan in &job.caches {
        keys.push(restore(plan, places, &mut said));
    }
    if !job.caches.is_empty() {
        let text = serde_json::to_vec(&keys).map_err(|e| Problem::new(e.to_string()))?;
        std::fs::write(places.keys_file(), text)?;
    }
    Ok(said)
}

fn restore(plan: &CachePlan, places: &Places, said: &mut Vec<String>) -> Option<String> {
    let key = match cache::key(&places.workspace, plan) {
        Ok(key) => key,
        Err(e) => {
            said.push(format!("cache `{}`: {e}", plan.key));
            return None;
        }
    };
    said.extend(key.warnings);
    let have = match cache::list(&places.caches) {
        Ok(have) => have,
        Err(e) => {
            said.push(format!("cache `{}`: {e}", plan.key));
            return Some(key.text);
        }
    };
    let chosen = cache::choose(&key.text, &plan.restore, &have);
    let Some((chosen, file)) =
        chosen.and_then(|key| Some((key, cache::file(&places.caches, key)?)))
    else {
        said.push(format!("cache `{}`: there is none yet", key.text));
        return Some(key.text);
    };
    let home = places.home();
    match cache::restore(&file, &places.workspace, home, &plan.paths, CACHE_LIMIT) {
        Ok(restored) => {
            let from = if chosen == key.text {
                String::new()
            } else {
                format!(" from `{chosen}`")
            };
            said.push(format!(
                "cache `{}`: {} put in{from}",
                key.text,
                files_of(restored.entries)
            ));
            said.extend(restored.refused.iter().take(5).map(ToString::to_string));
        }
        Err(e) => said.push(format!("cache `{}`: {e}", key.text)),
    }
    Some(key.text)
}

/// What a job left behind.
#[derive(Default)]
pub(crate) struct Left {
    /// Its artifacts, which are on our disk now.
    pub(crate) kept: Vec<(Kept, Option<Duration>)>,
    /// Its reports.
    pub(crate) reports: Vec<Report>,
    /// Lines for people.
    pub(crate) said: Vec<String>,
    /// What it promised and did not keep.
    pub(crate) broken: Option<Problem>,
}

/// Takes what the job leaves behind, given how its steps ended. `writes` is false where strangers
/// must not leave a cache for others. Done twice, it does the same.
pub(crate) fn take_out(
    job: &JobPlan,
    places: &Places,
    state: BuildState,
    writes: bool,
    artifact_limit: u64,
) -> Left {
    let mut left = Left::default();
    if matches!(state, BuildState::Cancelled | BuildState::Skipped) {
        return left;
    }
    let passed = state == BuildState::Passed;
    for plan in &job.artifacts {
        let wanted = match plan.when {
            OnResult::Always => true,
            OnResult::Success => passed,
            OnResult::Failure => !passed,
        };
        if wanted {
            keep(plan, places, passed, artifact_limit, &mut left);
        }
    }
    for plan in &job.reports {
        left.reports.extend(report::read(&places.workspace, plan));
    }
    if passed && left.broken.is_none() && !job.caches.is_empty() {
        save(job, places, writes, &mut left.said);
    }
    left
}

fn keep(plan: &ArtifactPlan, places: &Places, passed: bool, limit: u64, left: &mut Left) {
    match artifacts::keep(&places.workspace, plan, &places.artifacts, limit) {
        Ok(kept) => {
            let bytes = kept.files.iter().map(|file| file.bytes).sum::<u64>();
            left.said.push(format!(
                "artifact {:?}: {} kept, {}",
                plan.name,
                files_of(kept.files.len()),
                windlass_engine::results::size(bytes)
            ));
            let skipped = kept.skipped.iter().take(5).map(ToString::to_string);
            left.said.extend(kept.warnings.iter().take(5).cloned());
            left.said.extend(skipped);
            left.kept.push((kept, plan.retention));
        }
        Err(e) => {
            let message = format!("artifact {:?}: {e}", plan.name);
            if passed && left.broken.is_none() {
                left.broken = Some(Problem::new(message).hint(e.hint()));
            } else {
                left.said.push(message);
            }
        }
    }
}

fn save(job: &JobPlan, places: &Places, writes: bool, said: &mut Vec<String>) {
    let keys: Vec<Option<String>> = std::fs::read(places.keys_file())
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    for (plan, key) in job.caches.iter().zip(keys) {
        let Some(key) = key else { continue };
        if !writes && !plan.read_only {
            said.push(format!("cache `{key}`: not saved, pull requests only read"));
            continue;
        }
        let (home, store) = (places.home(), &places.caches);
        let saved = cache::save(&places.workspace, home, plan, &key, store, CACHE_LIMIT);
        match saved {
            Ok(Saved::Stored { bytes, entries, .. }) => said.push(format!(
                "cache `{key}`: {} saved, {}",
                files_of(entries),
                windlass_engine::results::size(bytes)
            )),
            Ok(Saved::Nothing { .. }) => {
                said.push(format!("cache `{key}`: none of its paths is there"));
            }
            Ok(Saved::ReadOnly | Saved::AlreadyThere) => {}
            Err(e) => said.push(format!("cache `{key}`: {e}")),
        }
    }
}

/// Removes the oldest caches until all together have no more than `limit` bytes.
pub(crate) fn trim_caches(folder: &Path, limit: u64) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let meta = entry.metadata()?;
        files.push((meta.modified()?, meta.len(), entry.path()));
    }
    files.sort();
    let mut all: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
    let mut removed = Vec::new();
    for (_, bytes, path) in files {
        if all <= limit {
            break;
        }
        std::fs::remove_file(&path)?;
        all -= bytes;
        removed.push(path);
    }
    Ok(removed)
}

/// The rows for the store: summaries, and the tests with their places in the logs. No secret's
/// value is in them.
pub(crate) fn rows(left: &Left, logs: &Path, steps: &[u32], secrets: &[Secret]) -> rows::Results {
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let artifacts = left.kept.iter().map(|(kept, retention)| rows::NewArtifact {
        name: kept.name.clone(),
        files: number(kept.files.len()),
        bytes: kept.files.iter().map(|f| f.bytes as i64).sum(),
        retention_ms: retention.map(|r| i64::try_from(r.as_millis()).unwrap_or(i64::MAX)),
    });
    let mut cases: Vec<&TestCase> = left.reports.iter().flat_map(|r| &r.tests).collect();
    cases.sort_by_key(|case| end_of(case));
    cases.truncate(TESTS_KEPT);
    let speaking = if cases
        .iter()
        .any(|case| end_of(case) == rows::TestEnd::Failed)
    {
        lines_of_failures(logs, steps)
    } else {
        Vec::new()
    };
    let hidden = |text: &str| hide(text, secrets);
    let tests = cases.iter().enumerate().map(|(position, case)| {
        let end = end_of(case);
        let failed = end == rows::TestEnd::Failed;
        let lines = speaking.iter().map(|(_, _, text)| text.as_str());
        let place = (failed && position < TESTS_LINKED)
            .then(|| report::log_line(case, lines))
            .flatten();
        rows::Test {
            end,
            suite: hidden(&case.suite),
            name: hidden(&case.name),
            duration_ms: case.duration.map(|d| d.as_millis() as i64),
            message: case.message.as_deref().map(hidden),
            output: case.output.as_deref().filter(|_| failed).map(hidden),
            file: case.file.as_deref().map(hidden),
            line: case.line.map(i64::from),
            log: place.map(|at| (i64::from(speaking[at].0), speaking[at].1 as i64)),
        }
    });
    rows::Results {
        artifacts: artifacts.collect(),
        reports: ReportKind::ALL
            .into_iter()
            .filter_map(|kind| summary(kind, &left.reports, &hidden))
            .collect(),
        tests: tests.collect(),
    }
}

fn end_of(case: &TestCase) -> rows::TestEnd {
    match case.result {
        TestResult::Failed | TestResult::Error => rows::TestEnd::Failed,
        TestResult::Passed if case.flaky() => rows::TestEnd::Flaky,
        TestResult::Skipped => rows::TestEnd::Skipped,
        TestResult::Passed => rows::TestEnd::Passed,
    }
}

fn summary(
    kind: ReportKind,
    reports: &[Report],
    hidden: &dyn Fn(&str) -> String,
) -> Option<rows::Report> {
    let mut all = reports.iter().filter(|r| r.kind == kind).peekable();
    all.peek()?;
    let mut sum = rows::Report {
        kind,
        tests: 0,
        failed: 0,
        skipped: 0,
        flaky: 0,
        duration_ms: 0,
        lines: None,
        problems: String::new(),
    };
    let mut problems = Vec::new();
    for report in all {
        for case in &report.tests {
            sum.tests += 1;
            sum.duration_ms += case.duration.map_or(0, |d| d.as_millis() as i64);
            match end_of(case) {
                rows::TestEnd::Failed => sum.failed += 1,
                rows::TestEnd::Skipped => sum.skipped += 1,
                rows::TestEnd::Flaky => sum.flaky += 1,
                rows::TestEnd::Passed => {}
            }
        }
        if let Some(coverage) = &report.coverage {
            let (covered, total) = sum.lines.unwrap_or_default();
            sum.lines = Some((
                covered + coverage.lines_covered as i64,
                total + coverage.lines_total as i64,
            ));
        }
        problems.extend(report.problems.iter().map(|p| hidden(p)));
    }
    problems.truncate(20);
    sum.problems = problems.join("\n");
    Some(sum)
}

/// Lines that may speak of a failed test: step, row, text.
fn lines_of_failures(logs: &Path, steps: &[u32]) -> Vec<(u32, u64, String)> {
    const WORDS: [&str; 6] = ["fail", "error", "not ok", "panick", "✗", "✖"];
    let mut lines = Vec::new();
    let mut left = LINES_LOOKED_AT;
    let mut bytes = Vec::new();
    for &step in steps {
        let Ok(mut reader) = LogReader::open(logs, step) else {
            continue;
        };
        let rows = reader.rows();
        let mut from = 0;
        while from < rows && left > 0 && lines.len() < LINES_OF_FAILURES {
            let Ok(range) = reader.row_range(from, 1000) else {
                break;
            };
            if range.is_empty() {
                break;
            }
            for (row, meta) in (from..).zip(&range) {
                if reader.row_bytes(meta, &mut bytes).is_err() {
                    break;
                }
                let text = String::from_utf8_lossy(&bytes);
                let lower = text.to_lowercase();
                if WORDS.iter().any(|word| lower.contains(word)) {
                    lines.push((step, row, text.into_owned()));
                }
            }
            left = left.saturating_sub(range.len() as u64);
            from += range.len() as u64;
        }
    }
    lines
}

fn hide(text: &str, secrets: &[Secret]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().filter(|s| !s.expose().trim().is_empty()) {
        if text.contains(secret.expose()) {
            text = text.replace(secret.expose(), "***");
        }
    }
    text
}

fn files_of(number: usize) -> String {
    match number {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(root: &Path) -> Places {
        let places = Places {
            workspace: root.join("work/a/ws"),
            home: Some(root.join("home")),
            caches: root.join("caches"),
            artifacts: root.join("artifacts"),
        };
        for dir in [&places.workspace, &root.join("home")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        places
    }

    fn job(text: &str) -> JobPlan {
        let source = format!("{text}\nsteps: [x]\n");
        let loaded = windlass_spec::load("windlass.yml", source.as_bytes());
        assert_eq!(loaded.diagnostics, []);
        loaded.plan.unwrap().jobs.remove(0)
    }

    fn after(job: &JobPlan, places: &Places, state: BuildState) -> Left {
        take_out(job, places, state, true, ARTIFACT_LIMIT)
    }

    #[test]
    fn a_cache_comes_back_in_the_next_workspace() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let job = job("cache: {key: c, hash: lock, paths: [out, ~/.tool]}");
        std::fs::write(places.workspace.join("lock"), "1").unwrap();
        let said = put_in(&job, &places, &[]).unwrap();
        assert!(said[0].contains("there is none yet"), "{said:?}");
        std::fs::create_dir_all(places.workspace.join("out")).unwrap();
        std::fs::write(places.workspace.join("out/x"), "made").unwrap();
        std::fs::create_dir_all(root.path().join("home/.tool")).unwrap();
        std::fs::write(root.path().join("home/.tool/y"), "tool").unwrap();
        // A step changes what the key is made of: it is saved under the key of the beginning.
        std::fs::write(places.workspace.join("lock"), "2").unwrap();
        assert!(after(&job, &places, BuildState::Failed).said.is_empty());
        let left = after(&job, &places, BuildState::Passed);
        assert!(left.said[0].contains("saved"), "{:?}", left.said);

        std::fs::remove_dir_all(&places.workspace).unwrap();
        std::fs::remove_dir_all(root.path().join("home/.tool")).unwrap();
        std::fs::create_dir_all(&places.workspace).unwrap();
        std::fs::write(places.workspace.join("lock"), "1").unwrap();
        put_in(&job, &places, &[]).unwrap();
        let read = |path: &str| std::fs::read_to_string(root.path().join(path)).unwrap();
        assert_eq!(read("work/a/ws/out/x"), "made");
        assert_eq!(read("home/.tool/y"), "tool");
    }

    #[test]
    fn strangers_leave_no_cache() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let job = job("cache: {key: c, paths: out}");
        put_in(&job, &places, &[]).unwrap();
        std::fs::create_dir_all(places.workspace.join("out")).unwrap();
        std::fs::write(places.workspace.join("out/x"), "evil").unwrap();
        take_out(&job, &places, BuildState::Passed, false, ARTIFACT_LIMIT);
        assert!(!places.caches.exists());
    }

    #[test]
    fn artifacts_are_kept_as_the_plan_says() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let job = job("artifacts: [dist, {name: shots, paths: shots, when: failure}]");
        let left = after(&job, &places, BuildState::Passed);
        let broken = left.broken.unwrap();
        assert!(broken.message().contains("no file matches"), "{broken}");
        assert!(broken.hint_text().is_some());
        let left = after(&job, &places, BuildState::Failed);
        assert!(left.broken.is_none() && left.said.len() == 1);
        std::fs::create_dir_all(places.workspace.join("dist")).unwrap();
        std::fs::write(places.workspace.join("dist/a"), "a").unwrap();
        let left = after(&job, &places, BuildState::Passed);
        assert_eq!(left.kept[0].0.files[0].path, "dist/a");
        let other = root.path().join("other");
        std::fs::create_dir_all(&other).unwrap();
        let next = Places {
            workspace: other.clone(),
            ..places
        };
        let from = [("build".to_owned(), left.kept[0].0.folder.clone())];
        put_in(&job, &next, &from).unwrap();
        assert_eq!(std::fs::read(other.join("dist/a")).unwrap(), b"a");
        let too_much = take_out(&job, &next, BuildState::Passed, true, 0);
        assert!(too_much.broken.unwrap().message().contains("limit"));
    }

    #[test]
    fn tests_are_summed_up_failed_ones_first_and_say_no_secret() {
        let root = tempfile::tempdir().unwrap();
        let places = places(root.path());
        let job = job("reports: {junit: r.xml, lcov: none.info}");
        let xml = "<testsuite><testcase classname=\"s\" name=\"good\" time=\"0.5\"/><testcase \
                   classname=\"s\" name=\"bad\"><failure message=\"got hunter22\">at \
                   hunter22</failure></testcase></testsuite>";
        std::fs::write(places.workspace.join("r.xml"), xml).unwrap();
        let left = after(&job, &places, BuildState::Failed);
        let rows = rows(&left, root.path(), &[], &[Secret::new("hunter22")]);
        assert_eq!((rows.reports[0].tests, rows.reports[0].failed), (2, 1));
        assert_eq!(rows.tests[0].name, "bad");
        assert_eq!(rows.tests[0].message.as_deref(), Some("got ***"));
        assert!(rows.reports[1].problems.contains("no file matches"));
        assert!(!format!("{rows:?}").contains("hunter22"));
    }

    #[test]
    fn the_oldest_caches_go_first() {
        let root = tempfile::tempdir().unwrap();
        for (name, age) in [("old", 200), ("new", 100)] {
            let path = root.path().join(name);
            std::fs::write(&path, [0; 100]).unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            let then = std::time::SystemTime::now() - Duration::from_secs(age);
            file.set_modified(then).unwrap();
        }
        assert_eq!(trim_caches(root.path(), 200).unwrap().len(), 0);
        let removed = trim_caches(root.path(), 150).unwrap();
        assert_eq!(removed, [root.path().join("old")]);
    }
}
