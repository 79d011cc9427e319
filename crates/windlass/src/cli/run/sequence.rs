//! The jobs of one build on this machine, one after the other: what the server does with many
//! workers, by the same decisions.

use std::collections::BTreeMap;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use windlass_engine::order;
use windlass_engine::results::artifacts;
use windlass_engine::schedule::{apply, decide};
use windlass_logs::findings;
use windlass_model::board::{AttemptEnd, Board, BoardJob, Move};
use windlass_model::{AttemptId, BuildState, JobPlan, Outcome, Plan};
use windlass_store::Step;
use windlass_store::queue::Finish;
use windlass_store::results::{self as rows, TestEnd};

use super::display::Display;
use super::{Build, Ended};
use crate::cli::logs::found::first_failure;
use crate::report::{EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, Problem};
use crate::results::{self, Left};
use crate::verdict;
use crate::worker::wrong;

/// The build as it goes on.
pub(super) struct Sequence {
    board: Board,
    skipped: Option<String>,
    display: Option<Display>,
    changed: usize,
    /// Jobs that may begin, in order.
    ready: Vec<(usize, Duration)>,
    attempts: Vec<AttemptId>,
    /// What each job's newest attempt kept: names and folders.
    kept: BTreeMap<usize, Vec<(String, PathBuf)>>,
}

impl Sequence {
    pub(super) fn new(plan: Plan, changed: usize) -> Self {
        Self {
            board: Board {
                jobs: plan.jobs.into_iter().map(BoardJob::new).collect(),
                ..Board::default()
            },
            skipped: plan.skipped,
            display: Some(Display::new()),
            changed,
            ready: Vec::new(),
            attempts: Vec::new(),
            kept: BTreeMap::new(),
        }
    }

    /// The attempts that there were.
    pub(super) fn attempts(&self) -> &[AttemptId] {
        &self.attempts
    }

    fn display(&mut self) -> &mut Display {
        self.display.get_or_insert_with(Display::new)
    }

    /// Runs everything; the program's exit code. `first` is an attempt whose workspace is filled
    /// already.
    pub(super) async fn run(&mut self, build: &Build, first: AttemptId) -> Result<u8, Problem> {
        let changed = self.changed;
        self.display().begin(&build.trigger.revision, changed);
        self.attempts.push(first.clone());
        if let Some(reason) = self.skipped.take() {
            // Whoever runs it by hand wants it to run.
            let words = format!("on the server this would not be built: {reason}");
            self.display().note(&words);
        }
        let mut filled = Some(first);
        loop {
            self.board.cancelled |= build.interrupted.load(Ordering::SeqCst);
            let moves = decide(&self.board);
            for made in &moves {
                match made {
                    Move::Start { job, after } => self.ready.push((*job, *after)),
                    Move::End { job, reason, .. } if self.board.jobs[*job].ended.is_none() => {
                        let plan = self.board.jobs[*job].plan.clone();
                        self.display().job_note(&plan, reason);
                    }
                    Move::Finish { state, summary, .. } => {
                        self.display().end(*state, summary);
                        return Ok(match state {
                            BuildState::Passed | BuildState::Skipped => EXIT_OK,
                            BuildState::Cancelled if build.interrupted.load(Ordering::SeqCst) => {
                                EXIT_INTERRUPTED
                            }
                            _ => EXIT_FAILED,
                        });
                    }
                    _ => {}
                }
            }
            apply(&mut self.board, &moves);
            if self.stop_waiting(&moves) {
                continue;
            }
            if self.ready.is_empty() {
                self.ask(build)?;
                continue;
            }
            let (job, after) = self.ready.remove(0);
            if self.board.cancelled {
                // It was to begin and never did: as if it had been stopped at once.
                self.board.jobs[job].ended = Some(cancelled());
                continue;
            }
            if !after.is_zero() {
                let plan = self.board.jobs[job].plan.clone();
                let words = format!("tried again in {} s", after.as_secs());
                self.display().job_note(&plan, &words);
                tokio::time::sleep(after).await;
            }
            let end = self.attempt(build, job, filled.take()).await?;
            self.board.jobs[job].ended = Some(end);
        }
    }

    /// Jobs that were to begin and shall stop (`fail-fast`, a group) never begin. Whether there were
    /// any.
    fn stop_waiting(&mut self, moves: &[Move]) -> bool {
        let before = self.ready.len();
        for made in moves {
            let Move::Stop { job, reason } = made else {
                continue;
            };
            if self.ready.iter().any(|(ready, _)| ready == job) {
                self.ready.retain(|(ready, _)| ready != job);
                let plan = self.board.jobs[*job].plan.clone();
                self.display().job_note(&plan, reason);
                self.board.jobs[*job].ended = Some(AttemptEnd {
                    summary: reason.clone(),
                    ..cancelled()
                });
            }
        }
        self.ready.len() < before
    }

    async fn attempt(
        &mut self,
        build: &Build,
        index: usize,
        filled: Option<AttemptId>,
    ) -> Result<AttemptEnd, Problem> {
        let mut job = JobPlan::clone(&self.board.jobs[index].plan);
        take_outputs(&mut job, &self.board);
        let attempt = match filled {
            Some(attempt) => {
                if job.clone != windlass_model::plan::ClonePlan::default() {
                    build.fill(&attempt, &job.clone).await?;
                }
                attempt
            }
            None => {
                let attempt = build.attempt(self.attempts.len())?;
                self.attempts.push(attempt.clone());
                build.fill(&attempt, &job.clone).await?;
                attempt
            }
        };
        let alone = self.board.jobs.len() == 1;
        let mut display = self.display.take().unwrap_or_else(Display::new);
        display.job_began(&job, self.board.jobs[index].tries, alone);
        let places = build.places(&attempt, &job);
        let needed = self.needed(&job);
        let said = results::put_in(&job, &places, &needed)?;
        said.iter().for_each(|line| display.said(line));
        let (ends, display) = build.run_job(&attempt, &job, display).await?;
        self.display = Some(display);
        let steps = steps(&job, ends);
        let mut finish = verdict::verdict(&steps);
        if !build.interrupted.load(Ordering::SeqCst) {
            verdict::stopped_from_outside(&mut finish);
        }
        let executor = build.executors.of(&job);
        let said = executor.collect(&attempt, &job).await?;
        said.iter().for_each(|line| self.display().said(line));
        let left = results::take_out(&job, &places, finish.state, true, results::ARTIFACT_LIMIT);
        results::trim_caches(&places.caches, results::CACHES_LIMIT)?;
        self.show_left(&left, &build.logs(&attempt), &steps);
        self.show_wrong(&mut finish, &build.logs(&attempt)).await;
        if let Some(problem) = &left.broken {
            verdict::spoil(&mut finish, problem.message());
            self.display().note(problem.message());
            if let Some(hint) = problem.hint_text() {
                self.display().note(hint);
            }
        }
        self.keep(index, &job, left, build.args.artifacts.as_deref())?;
        let written = crate::outputs::read(&build.executors.process.tmp(&attempt));
        let outputs = written.and_then(|text| order::read_outputs(&text, &job.outputs));
        let outputs = outputs.unwrap_or_else(|problem| {
            verdict::spoil(&mut finish, &problem);
            self.display().note(&problem);
            BTreeMap::new()
        });
        // Otherwise the folders were named already.
        if !build.args.keep {
            executor.remove(&attempt).await?;
        }
        Ok(verdict::attempt_end(&finish, &steps, outputs))
    }

    /// The artifacts that a job wants in its workspace.
    fn needed(&self, job: &JobPlan) -> Vec<(String, PathBuf)> {
        let wanted = |base: &str| job.needs.iter().any(|n| n.artifacts && n.job == base);
        self.kept
            .iter()
            .filter(|(index, _)| wanted(&self.board.jobs[**index].plan.base))
            .flat_map(|(_, kept)| kept.iter().cloned())
            .collect()
    }

    /// What went wrong in the step that failed, as the server finds it: shown, and quoted in the summary. There
    /// are no earlier runs here to compare with.
    async fn show_wrong(&mut self, finish: &mut Finish, logs: &Path) {
        let step = finish.failed_step.and_then(|step| u32::try_from(step).ok());
        let Some(step) = step.filter(|_| finish.state == BuildState::Failed) else {
            return;
        };
        let logs = logs.to_owned();
        let looking = tokio::task::spawn_blocking(move || findings::find(&logs, step, &[]));
        let found = match looking.await {
            Ok(Ok(found)) => found,
            // The whole log was shown: nothing is lost.
            Ok(Err(error)) => return tracing::debug!(%error, "not looked for what went wrong"),
            Err(error) => return tracing::debug!(%error, "not looked for what went wrong"),
        };
        let Some(first) = found.first() else {
            return;
        };
        finish.summary = wrong::quoted(&finish.summary, &first.quote());
        let value = serde_json::to_value(&found).unwrap_or_default();
        for line in first_failure(&value) {
            self.display().line(&line);
        }
        if found.errors > 1 {
            let further = found.errors - 1;
            let s = if further == 1 { "" } else { "s" };
            self.display()
                .said(&format!("{further} further error{s} in this step's output"));
        }
    }

    fn show_left(&mut self, left: &Left, logs: &Path, steps: &[Step]) {
        left.said.iter().for_each(|line| self.display().said(line));
        if left.reports.is_empty() {
            return;
        }
        let numbers: Vec<u32> = steps
            .iter()
            .filter_map(|step| u32::try_from(step.index).ok())
            .collect();
        let rows = results::rows(left, logs, &numbers, &[]);
        for report in &rows.reports {
            self.display().said(&summary(report));
        }
        for test in rows
            .tests
            .iter()
            .filter(|t| t.end == TestEnd::Failed)
            .take(20)
        {
            let name = format!("{} {}", test.suite, test.name);
            let place = match (&test.file, test.line) {
                (Some(file), Some(line)) => format!("  {file}:{line}"),
                _ => String::new(),
            };
            self.display()
                .note(&format!("failed: {}{place}", name.trim()));
        }
    }

    /// Remembers what a job kept, and copies it to where the person wants it.
    fn keep(
        &mut self,
        index: usize,
        job: &JobPlan,
        left: Left,
        into: Option<&Path>,
    ) -> Result<(), Problem> {
        let kept: Vec<(String, PathBuf)> = left
            .kept
            .into_iter()
            .map(|(kept, _)| (kept.name, kept.folder))
            .collect();
        if let Some(into) = into {
            for (name, folder) in &kept {
                let target = into.join(&job.name).join(name);
                std::fs::create_dir_all(&target).map_err(|e| {
                    Problem::new(format!("could not make {}: {e}", target.display()))
                })?;
                artifacts::put_back(folder, &target)
                    .map_err(|e| Problem::new(e.to_string()).hint(e.hint()))?;
                self.display()
                    .said(&format!("copied to {}", target.display()));
            }
        }
        self.kept.insert(index, kept);
        Ok(())
    }

    /// Asks the first question that waits for an answer.
    fn ask(&mut self, build: &Build) -> Result<(), Problem> {
        let waiting =
            self.board.jobs.iter_mut().find(|job| {
                job.state == windlass_model::JobState::Approval && job.approved.is_none()
            });
        let Some(job) = waiting else {
            return Err(Problem::new("the build can't go on, and no job runs")
                .hint("this is a mistake of Windlass: please report it, with the spec"));
        };
        let question = job.plan.approve.clone().unwrap_or_default();
        if build.args.yes {
            job.approved = Some(true);
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let name = &job.plan.name;
            return Err(Problem::new(format!("the job {name} asks: {question}"))
                .hint("nobody can answer here: `--yes` agrees to everything"));
        }
        let mut out = std::io::stdout().lock();
        write!(out, "━━ {}  {question} [y/N] ", job.plan.name)?;
        out.flush()?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        job.approved = Some(matches!(answer.trim(), "y" | "Y" | "yes"));
        Ok(())
    }
}

fn summary(report: &rows::Report) -> String {
    let kind = report.kind.as_str();
    let mut parts = Vec::new();
    if report.tests > 0 {
        parts.push(format!("{} tests, {} failed", report.tests, report.failed));
    }
    if report.flaky > 0 {
        parts.push(format!("{} flaky", report.flaky));
    }
    if let Some((covered, total)) = report.lines {
        parts.push(format!("{covered} of {total} lines covered"));
    }
    parts.extend(report.problems.lines().map(ToOwned::to_owned));
    format!("{kind}: {}", parts.join(", "))
}

fn cancelled() -> AttemptEnd {
    AttemptEnd {
        state: windlass_model::JobState::Cancelled,
        cause: None,
        summary: "cancelled".to_owned(),
        outputs: BTreeMap::new(),
    }
}

/// Fills in the variables that come from other jobs.
fn take_outputs(job: &mut JobPlan, board: &Board) {
    for (name, from) in std::mem::take(&mut job.env_from) {
        let cells = board
            .jobs
            .iter()
            .filter(|other| other.plan.base == from.job);
        let value = cells
            .filter_map(|other| other.outputs.get(&from.output))
            .next_back();
        job.env.insert(name, value.cloned().unwrap_or_default());
    }
}

/// The job's steps with their ends, as the verdict takes them.
fn steps(job: &JobPlan, ends: Vec<Ended>) -> Vec<Step> {
    let mut outcomes: BTreeMap<u32, Outcome> = ends
        .into_iter()
        .map(|end| (end.step, end.outcome))
        .collect();
    (0u32..)
        .zip(&job.steps)
        .map(|(index, step)| {
            let outcome = outcomes.remove(&index);
            Step::untimed(index.into(), step.name.clone(), outcome)
        })
        .collect()
}
