//! A build: why it exists, how far it is, its steps, what is wrong and what to do about it.

use std::time::Duration;

use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use windlass_logs::findings::{Finding, Findings, Line};
use windlass_model::{Diagnostic, Event, JobState, Severity};
use windlass_store::results::{Artifact, Report, Test, TestEnd};
use windlass_store::{Attempt, Build, Job, OutboxRow, Step};

use super::{Frame, render};
use crate::actions::{self, Wish};
use crate::auth::{Admin, Visitor};
use crate::error::WebError;
use crate::findings;
use crate::places::{BuildPath, JobPath, RepoPath, find_attempt};
use crate::state::App;
use crate::{text, urls};

/// Characters of a source line that are shown.
const LINE_SHOWN: usize = 160;
/// Failed tests that are shown, and as many of the others.
const TESTS_SHOWN: usize = 500;

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
}

/// One problem of the spec, with the place as a compiler shows it.
struct Problem {
    is_error: bool,
    code: String,
    message: String,
    /// `windlass.yml:3:5`
    place: String,
    line: usize,
    /// The source line; empty if the whole file is meant.
    source: String,
    /// Spaces and carets below it.
    carets: String,
    label: String,
    help: Option<String>,
}

impl Problem {
    fn new(diagnostic: &Diagnostic, file: &str, source: &str) -> Self {
        let line = source.lines().nth(diagnostic.line.wrapping_sub(1));
        let line = line.filter(|_| !diagnostic.span.is_empty() || diagnostic.line > 0);
        let column = diagnostic.column.max(1) - 1;
        // Far to the right in a long line: what stands before is left out.
        let skipped = if column > LINE_SHOWN / 2 {
            column - LINE_SHOWN / 4
        } else {
            0
        };
        let shown: String = line
            .unwrap_or_default()
            .chars()
            .skip(skipped)
            .take(LINE_SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let span = source.get(diagnostic.span.clone()).unwrap_or_default();
        let width = span.lines().next().unwrap_or_default().chars().count();
        let room = shown.chars().count().saturating_sub(column - skipped);
        let carets = format!(
            "{}{}",
            " ".repeat(column - skipped),
            "^".repeat(width.min(room).max(1))
        );
        Self {
            is_error: diagnostic.severity == Severity::Error,
            code: diagnostic.code.clone(),
            message: diagnostic.message.clone(),
            place: match diagnostic.line {
                0 => file.to_owned(),
                line => format!("{file}:{line}:{}", diagnostic.column),
            },
            line: diagnostic.line,
            carets: if shown.is_empty() {
                String::new()
            } else {
                carets
            },
            source: shown,
            label: diagnostic.label.clone(),
            help: diagnostic.help.clone(),
        }
    }

    /// As wide as the line's number.
    fn gutter(&self) -> String {
        " ".repeat(self.line.to_string().len())
    }
}

/// The reports of one attempt.
struct Tested {
    /// Empty where there is only one job.
    job: String,
    attempt: i64,
    reports: Vec<Report>,
    tests: Tests,
}

/// The tests of one attempt.
#[derive(Default)]
struct Tests {
    failed: Vec<Test>,
    /// Flaky ones, then those that were left out, then the rest.
    others: Vec<Test>,
    /// How many more there are than are shown.
    hidden: usize,
}

impl Tests {
    fn new(tests: Vec<Test>) -> Self {
        let (mut failed, mut others): (Vec<Test>, Vec<Test>) =
            tests.into_iter().partition(|t| t.end == TestEnd::Failed);
        let hidden =
            failed.len().saturating_sub(TESTS_SHOWN) + others.len().saturating_sub(TESTS_SHOWN);
        failed.truncate(TESTS_SHOWN);
        others.truncate(TESTS_SHOWN);
        Self {
            failed,
            others,
            hidden,
        }
    }
}

/// What a person says to a job that asks.
#[derive(Deserialize)]
pub(crate) struct Answer {
    answer: String,
}

/// One job in the table of jobs.
struct JobRow {
    index: i64,
    name: String,
    /// Its newest attempt's page, once there is one.
    link: Option<String>,
    is_shown: bool,
    state: JobState,
    reason: String,
    tries: i64,
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    outputs: Vec<(String, String)>,
    /// It waits for a person, and nobody has decided yet.
    asks: bool,
}

impl JobRow {
    fn new(job: Job, build: &Build, shown: &Attempt) -> Self {
        let link = |attempt| urls::attempt(&build.repo, build.number, attempt);
        Self {
            index: job.index,
            name: job.plan.name.clone(),
            link: job.attempt.map(link),
            is_shown: shown.job_id == Some(job.id),
            asks: job.state == JobState::Approval && job.approved.is_none(),
            state: job.state,
            reason: job.reason,
            tries: job.tries,
            started_ms: job.started_ms,
            finished_ms: job.finished_ms,
            outputs: job.outputs.into_iter().collect(),
        }
    }
}

/// A row of a log.
struct LogLine {
    n: u64,
    text: String,
    link: String,
    /// It is the one that says what went wrong.
    is_hit: bool,
}

/// What went wrong in a step that failed.
struct Wrong {
    index: i64,
    step: String,
    words: String,
    first: Option<Finding>,
    first_link: String,
    excerpt: Vec<LogLine>,
    /// The last rows that are not blank, and where the log ends.
    last_words: Vec<LogLine>,
    errors: u64,
    warnings: u64,
    /// How many rows are new, against which run.
    new: Option<(u64, String)>,
}

impl Wrong {
    fn new(build: &Build, attempt: &Attempt, step: &Step, found: Findings) -> Self {
        let link = |n| urls::line(&build.repo, build.number, attempt.number, step.index, n);
        let first = found.first().cloned();
        let hit = first.as_ref().map(|first| first.line);
        let lines = |lines: Vec<Line>| -> Vec<LogLine> {
            let lines = lines.into_iter().map(|line| LogLine {
                link: link(line.n),
                is_hit: Some(line.n) == hit,
                n: line.n,
                text: line.text,
            });
            lines.collect()
        };
        Self {
            index: step.index,
            step: step.name.clone(),
            words: text::step_words(step),
            first_link: hit.map(link).unwrap_or_default(),
            first,
            excerpt: lines(found.excerpt),
            last_words: lines(found.last_words),
            errors: found.errors,
            warnings: found.warnings,
            new: found.novelty.and_then(|novelty| {
                let run = novelty.against.first().cloned()?;
                Some((novelty.rows, run))
            }),
        }
    }
}

/// Steps whose failures are shown.
const STEPS_SHOWN: usize = 3;
/// A page waits no longer for what is not known yet.
const WAIT: Duration = Duration::from_secs(1);

/// What went wrong in the steps of an attempt, as far as that is known soon.
async fn what_went_wrong(
    app: &App,
    build: &Build,
    attempt: &Attempt,
    steps: &[Step],
) -> Vec<Wrong> {
    let failed = steps.iter().filter(|step| {
        let outcome = step.outcome.as_ref();
        step.started_us.is_some() && outcome.is_some_and(|outcome| !outcome.is_success())
    });
    let mut wrong = Vec::new();
    for step in failed.take(STEPS_SHOWN) {
        let look = findings::look(&app.store, &app.logs_root, attempt, step);
        match tokio::time::timeout(WAIT, look).await {
            Ok(Ok(found)) => wrong.push(Wrong::new(build, attempt, step, found)),
            // The page is worth having without it.
            Ok(Err(error)) => tracing::error!(%error, "a step's log could not be looked at"),
            Err(_) => tracing::debug!(attempt = attempt.id, "a log is still being read"),
        }
    }
    wrong.retain(|wrong| wrong.first.is_some() || !wrong.last_words.is_empty());
    wrong
}

#[derive(Template)]
#[template(path = "build.html")]
struct BuildPage {
    frame: Frame,
    build: Build,
    attempt: Attempt,
    attempts: Vec<Attempt>,
    /// The build's jobs; empty where there is only one and it doesn't wait.
    jobs: Vec<JobRow>,
    /// The name of the shown attempt's job, where there are several.
    job_name: String,
    /// What stands on top: the build's state where there are several jobs, else the attempt's.
    state: String,
    started_ms: Option<i64>,
    finished_ms: Option<i64>,
    steps: Vec<Step>,
    /// Those whose logs were kept: their numbers and names.
    services: Vec<(i64, String)>,
    artifacts: Vec<Artifact>,
    /// Per job: the shown attempt's, or those of all jobs where no attempt was asked for.
    tested: Vec<Tested>,
    problems: Vec<Problem>,
    wrong: Vec<Wrong>,
    statuses: Vec<OutboxRow>,
    is_newest: bool,
    can_cancel: bool,
}

impl BuildPage {
    fn artifact_link(&self, artifact: &Artifact) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::artifact(repo, number, artifact.attempt, &artifact.name)
    }

    fn archive_link(&self, artifact: &Artifact) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::artifact_archive(repo, number, artifact.attempt, &artifact.name)
    }

    /// The line of the log that speaks of a test.
    fn log_link(&self, tested: &Tested, test: &Test) -> Option<String> {
        let (step, row) = test.log?;
        let (repo, number) = (&self.build.repo, self.build.number);
        let line = u64::try_from(row).ok()? + 1;
        Some(urls::line(repo, number, tested.attempt, step, line))
    }

    fn services_link(&self, service: Option<&str>) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::services(repo, number, self.attempt.number, service)
    }

    fn step_link(&self, index: &i64) -> String {
        urls::attempt_step(
            &self.build.repo,
            self.build.number,
            self.attempt.number,
            *index,
        )
    }
}

/// `GET /repos/{repo}/builds/{number}`
pub(crate) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    path: BuildPath,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let (build, attempt) = find_attempt(&app, &path, asked.attempt.as_ref()).await?;
    let steps = app.store.steps(attempt.id).await?;
    let file = attempt.spec_file.as_deref().unwrap_or("windlass.yml");
    let source = String::from_utf8_lossy(attempt.spec_source.as_deref().unwrap_or_default());
    let problems = attempt.diagnostics.iter();
    let jobs = app.store.jobs(build.id, attempt.run).await?;
    let own: Vec<i64> = jobs
        .iter()
        .filter_map(|job| job.attempt)
        .chain([attempt.number])
        .collect();
    let mut artifacts = app.store.artifacts(build.id).await?;
    artifacts.retain(|artifact| own.contains(&artifact.attempt));
    let all = app.store.attempts(build.id).await?;
    let mut tested = Vec::new();
    for other in &all {
        let wanted = if asked.attempt.is_some() {
            other.id == attempt.id
        } else {
            own.contains(&other.number)
        };
        let reports = if wanted {
            app.store.reports(other.id).await?
        } else {
            Vec::new()
        };
        if reports.is_empty() {
            continue;
        }
        let job = jobs.iter().find(|job| Some(job.id) == other.job_id);
        tested.push(Tested {
            job: job
                .filter(|_| jobs.len() > 1)
                .map(|job| job.plan.name.clone())
                .unwrap_or_default(),
            attempt: other.number,
            reports,
            tests: Tests::new(app.store.tests(other.id).await?),
        });
    }
    let problems = problems.map(|d| Problem::new(d, file, &source)).collect();
    let asks = jobs.iter().any(|job| job.state == JobState::Approval);
    let several = jobs.len() > 1 || asks;
    let mut attempts = all;
    if jobs.len() > 1 {
        // Those of other jobs are in the table of jobs.
        attempts.retain(|other| other.job_id == attempt.job_id);
    }
    let rows: Vec<JobRow> = jobs
        .into_iter()
        .map(|job| JobRow::new(job, &build, &attempt))
        .collect();
    let job_name = rows
        .iter()
        .find(|row| row.is_shown && rows.len() > 1)
        .map(|row| row.name.clone())
        .unwrap_or_default();
    let whole = several && attempt.run == build.run;
    let state = if whole {
        build.state.as_str()
    } else {
        attempt.state.as_str()
    }
    .to_owned();
    let wrong = what_went_wrong(&app, &build, &attempt, &steps).await;
    let moving = !build.state.is_final() || !attempt.state.is_final();
    render(&BuildPage {
        frame: Frame::of(&visitor, &state).refreshing(moving),
        state,
        started_ms: if whole {
            build.started_ms
        } else {
            attempt.started_ms
        },
        finished_ms: if whole {
            build.finished_ms
        } else {
            attempt.finished_ms
        },
        attempts,
        jobs: if several { rows } else { Vec::new() },
        job_name,
        statuses: app.store.statuses_of_build(build.id).await?,
        is_newest: whole || attempt.number == build.attempt,
        can_cancel: !build.state.is_final(),
        services: crate::services::kept(&app, &attempt),
        build,
        attempt,
        steps,
        artifacts,
        tested,
        problems,
        wrong,
    })
}

/// `POST /repos/{repo}/builds`
pub(crate) async fn start(
    _: Admin,
    State(app): State<App>,
    RepoPath(repo): RepoPath,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Redirect, WebError> {
    let wrong = || WebError::bad_request("the form has not the fields that it must have");
    let Form(fields) = form.map_err(|_| wrong())?;
    let mut wish = Wish::default();
    for (name, value) in fields {
        match name.as_str() {
            "revision" => wish.revision = value,
            "git_ref" => wish.git_ref = value,
            other => {
                let param = other.strip_prefix("param.").ok_or_else(wrong)?;
                wish.params.insert(param.to_owned(), value);
            }
        }
    }
    let number = actions::start(&app, &repo, &wish, Event::Manual).await?;
    Ok(Redirect::to(&urls::build(&repo, number)))
}

/// `POST /repos/{repo}/builds/{number}/cancel`
pub(crate) async fn cancel(
    _: Admin,
    State(app): State<App>,
    path: BuildPath,
) -> Result<Redirect, WebError> {
    let build = actions::cancel(&app, &path).await?;
    Ok(Redirect::to(&urls::build(&build.repo, build.number)))
}

/// `POST /repos/{repo}/builds/{number}/retry`
pub(crate) async fn retry(
    _: Admin,
    State(app): State<App>,
    path: BuildPath,
) -> Result<Redirect, WebError> {
    let build = actions::retry(&app, &path).await?;
    Ok(Redirect::to(&urls::build(&build.repo, build.number)))
}

/// `POST /repos/{repo}/builds/{number}/jobs/{job}/approve`
pub(crate) async fn approve(
    _: Admin,
    State(app): State<App>,
    path: JobPath,
    form: Result<Form<Answer>, FormRejection>,
) -> Result<Redirect, WebError> {
    let Form(answer) =
        form.map_err(|_| WebError::bad_request("the form has not the fields that it must have"))?;
    let build = actions::approve(&app, &path, answer.answer == "yes").await?;
    Ok(Redirect::to(&urls::build(&build.repo, build.number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, column: usize, span: std::ops::Range<usize>, source: &str) -> Problem {
        let diagnostic = Diagnostic {
            code: "E0101".to_owned(),
            severity: Severity::Error,
            message: "x".to_owned(),
            span,
            line,
            column,
            label: String::new(),
            help: None,
        };
        Problem::new(&diagnostic, "windlass.yml", source)
    }

    #[test]
    fn carets_stand_under_the_span() {
        let p = problem(2, 10, 15..18, "steps: \n  timeout: 90x\n");
        assert_eq!(p.source, "  timeout: 90x");
        assert_eq!(p.place, "windlass.yml:2:10");
        let p = problem(2, 12, 19..22, "steps: \n  timeout: 90x\n");
        assert_eq!(p.carets, "           ^^^");
    }

    #[test]
    fn strange_places_do_not_break_the_page() {
        for (line, column, span) in [(0, 0, 0..0), (9, 9, 5..99), (1, 900, 0..1), (1, 1, 4..5)] {
            let p = problem(line, column, span, "a: ü\tb");
            assert!(p.carets.len() < 400);
        }
        let long = format!("{}x: y", " ".repeat(500));
        let p = problem(1, 501, 500..501, &long);
        assert_eq!(p.source.find('x'), p.carets.find('^'));
    }
}
