//! One attempt, from the phase in which it was claimed to its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use windlass_engine::checkout::Mirror;
use windlass_engine::executor::{Executor as _, ExecutorError, service_log};
use windlass_engine::order;
use windlass_engine::schedule::decide;
use windlass_model::board::AttemptEnd;
use windlass_model::{AttemptId, BuildState, Event, JobPlan, Plan};
use windlass_store::queue::{Finish, Phase};
use windlass_store::steps::Told;
use windlass_store::{BuildEnd, Claim, Judge, Step, StoreError, failpoint};

use super::Worker;
use super::follow::planned_job;
use super::prepare::{NotPrepared, ended, first_line, mirror_key};
use crate::report::Problem;
use crate::results::{self, Places};
use crate::verdict::{attempt_end, lost_when_cancelled, spoil, stopped_from_outside, verdict};

/// A mirror with more packs than this is repacked after a build.
const MAX_PACKS: usize = 40;

/// A shorter value can't be masked without masking half of every log; none can be set.
const SHORTEST_MASKED: usize = 4;

/// Why an attempt is left alone for now. Its row says where to go on.
pub(super) enum Setback {
    /// The server stops.
    Stopping,
    /// Another worker has it.
    LeaseLost,
    /// It is over: what it needs can't be had.
    Ends(BuildState, Problem),
    /// The store or the disk failed; it may be better in a moment.
    Again(Problem),
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => Self::LeaseLost,
            other => Self::Again(other.into()),
        }
    }
}

impl Worker {
    /// Goes on with the attempt until it is done. `running` is given back as soon as the job
    /// itself is over: sealing its logs needs no slot.
    pub(super) async fn see_through(
        &self,
        mut claim: Claim,
        stop: &CancellationToken,
        running: &AtomicUsize,
    ) {
        let mut slot = Some(running);
        let mut pause = Duration::from_millis(200);
        loop {
            match self.go_on(&mut claim, stop, &mut slot).await {
                Ok(()) | Err(Setback::Stopping) => break,
                Err(Setback::LeaseLost) => {
                    tracing::warn!(
                        attempt = claim.attempt.id,
                        "another worker took this attempt"
                    );
                    break;
                }
                Err(Setback::Ends(state, problem)) => {
                    match self.give_up(&mut claim, state, &problem).await {
                        // The rest of its life: sealing, cleaning up.
                        Ok(()) => continue,
                        Err(Setback::Again(problem)) => {
                            let attempt = claim.attempt.id;
                            tracing::error!(attempt, %problem, "could not end the job; trying again");
                        }
                        Err(_) => break,
                    }
                }
                Err(Setback::Again(problem)) => {
                    let attempt = claim.attempt.id;
                    tracing::error!(attempt, %problem, "the job is held up; trying again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(10));
            match self.store.attempt_by_id(claim.attempt.id).await {
                Ok(attempt) => claim.attempt = attempt,
                Err(error) => tracing::error!(%error, "could not read the attempt"),
            }
        }
        free(&mut slot);
    }

    async fn go_on(
        &self,
        claim: &mut Claim,
        stop: &CancellationToken,
        slot: &mut Option<&AtomicUsize>,
    ) -> Result<(), Setback> {
        if claim.attempt.phase == Phase::Preparing {
            match self.prepare(claim, stop).await {
                Ok(()) => claim.attempt = self.store.attempt_by_id(claim.attempt.id).await?,
                Err(NotPrepared::Setback(setback)) => return Err(setback),
                Err(NotPrepared::Finish(finish)) => {
                    let end = attempt_end(&finish, &[], BTreeMap::new());
                    self.finish(claim, &finish, &end).await?;
                }
            }
        }
        if claim.attempt.phase == Phase::Launched {
            self.run_job(claim, stop).await?;
            let steps = self.store.steps(claim.attempt.id).await?;
            let mut finish = verdict(&steps);
            let (build, job) = (claim.build.id, claim.attempt.job_id);
            if self.store.cancel_requested(build, job).await? {
                lost_when_cancelled(&mut finish, &steps);
            } else {
                stopped_from_outside(&mut finish);
            }
            self.collect(claim, &mut finish).await?;
            self.take_out(claim, &mut finish, &steps).await?;
            failpoint::hit(format_args!("after-take-out"));
            let outputs = self.outputs(claim).unwrap_or_else(|problem| {
                spoil(&mut finish, &problem);
                BTreeMap::new()
            });
            self.quote(claim, &mut finish, &steps).await;
            let end = attempt_end(&finish, &steps, outputs);
            self.finish(claim, &finish, &end).await?;
        }
        free(slot);
        if claim.attempt.phase == Phase::Recorded {
            self.learn(claim).await?;
            self.seal(claim).await?;
            self.store.done(claim.attempt.id).await?;
            self.maintain(claim.build.repo_id).await;
        }
        Ok(())
    }

    /// Ends an attempt whose shim never ran.
    async fn give_up(
        &self,
        claim: &mut Claim,
        state: BuildState,
        problem: &Problem,
    ) -> Result<(), Setback> {
        let mut finish = ended(state, first_line(problem.message()));
        if state == BuildState::Error {
            finish.error = Some(problem.message().to_owned());
            finish.hint = problem.hint_text().map(ToOwned::to_owned);
        }
        let end = attempt_end(&finish, &[], BTreeMap::new());
        self.finish(claim, &finish, &end).await
    }

    /// Brings what the job left behind to this machine.
    async fn collect(&self, claim: &Claim, finish: &mut Finish) -> Result<(), Setback> {
        let job = planned_job(claim)?;
        let attempt = claim.attempt.attempt_id();
        let collected = self.executors.of(job).collect(&attempt, job).await;
        self.keep_service_logs(claim, job).await?;
        match collected {
            Ok(said) => {
                let told: Vec<Told> = said.into_iter().map(Told::Remark).collect();
                self.store.record(claim.attempt.id, &told).await?;
            }
            // The job is lost already, and what ran it is still away: there is nothing to be had of it.
            Err(ExecutorError::DaemonGone { .. }) if finish.state == BuildState::Error => {}
            Err(error) if error.is_passing() => return Err(Setback::Again(error.into())),
            Err(error @ ExecutorError::Lost { .. }) => {
                // Whatever the steps did: without what they made, it is as if nothing was run.
                let problem = Problem::from(error);
                finish.state = BuildState::Error;
                finish.failed_step = None;
                problem.message().clone_into(&mut finish.summary);
                finish.error = Some(problem.message().to_owned());
                finish.hint = problem.hint_text().map(ToOwned::to_owned);
            }
            Err(error) => {
                let problem = Problem::from(error);
                spoil(finish, problem.message());
                finish.hint = problem.hint_text().map(ToOwned::to_owned);
            }
        }
        Ok(())
    }

    /// Puts what services printed to the logs, without secrets. Services get none, but a job may hand them one.
    async fn keep_service_logs(&self, claim: &Claim, job: &JobPlan) -> Result<(), Setback> {
        if job.services.is_empty() {
            return Ok(());
        }
        let attempt = claim.attempt.attempt_id();
        let into = self.logs.join(attempt.as_str());
        let plan = claim.attempt.plan.iter();
        let logs: Vec<(u32, PathBuf)> = plan
            .flat_map(Plan::service_logs)
            .map(|(number, name)| {
                (
                    number,
                    service_log::file(&self.executors.process.folder(&attempt), name),
                )
            })
            .collect();
        let secrets = self
            .store
            .secret_values(claim.build.repo_id, &job.secrets)
            .await?;
        let kept = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            for (number, path) in logs {
                let bytes = match std::fs::read(&path) {
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    bytes => bytes?,
                };
                std::fs::create_dir_all(&into)?;
                let mut text = String::from_utf8_lossy(&bytes).into_owned();
                for secret in secrets
                    .values()
                    .filter(|s| s.expose().len() >= SHORTEST_MASKED)
                {
                    text = text.replace(secret.expose(), "***");
                }
                windlass_logs::service::write(&into, number, text.as_bytes())
                    .map_err(std::io::Error::other)?;
            }
            Ok(())
        });
        kept.await
            .map_err(|e| Setback::Again(e.into()))?
            .map_err(|e| Setback::Again(e.into()))
    }

    /// The places of an attempt's files on this machine.
    pub(super) fn places(&self, claim: &Claim, job: &JobPlan) -> Places {
        let attempt = claim.attempt.attempt_id();
        Places {
            workspace: self.executors.process.workspace(&attempt),
            home: self.executors.home(&attempt, job),
            caches: self.caches.join(mirror_key(claim.build.repo_id)),
            artifacts: self.artifacts_of(&attempt),
        }
    }

    /// The folder of an attempt's artifacts.
    pub(super) fn artifacts_of(&self, attempt: &AttemptId) -> PathBuf {
        self.artifacts.join(attempt.as_str())
    }

    /// Keeps what the job leaves behind. Done again after a crash, it does the same.
    async fn take_out(
        &self,
        claim: &Claim,
        finish: &mut Finish,
        steps: &[Step],
    ) -> Result<(), Setback> {
        let plan = claim.attempt.plan.as_ref();
        let Some(job) = plan.and_then(|plan| plan.jobs.first()).cloned() else {
            return Ok(());
        };
        if job.artifacts.is_empty() && job.caches.is_empty() && job.reports.is_empty() {
            return Ok(());
        }
        let secrets = self
            .store
            .secret_values(claim.build.repo_id, &job.secrets)
            .await?
            .into_values()
            .collect::<Vec<_>>();
        let logs = self.logs.join(claim.attempt.attempt_id().as_str());
        let places = self.places(claim, &job);
        let is_pull_request = matches!(claim.build.trigger.event, Event::PullRequest { .. });
        let (state, limit) = (finish.state, self.artifact_limit);
        let numbers: Vec<u32> = steps
            .iter()
            .filter_map(|step| u32::try_from(step.index).ok())
            .collect();
        let caches = places.caches.clone();
        let taken = tokio::task::spawn_blocking(move || {
            let left = results::take_out(&job, &places, state, !is_pull_request, limit);
            if let Err(error) = results::trim_caches(&caches, results::CACHES_LIMIT) {
                tracing::error!(%error, "could not remove old caches");
            }
            let rows = results::rows(&left, &logs, &numbers, &secrets);
            (left, rows)
        });
        let (left, rows) = taken.await.map_err(|e| Setback::Again(e.into()))?;
        let (build, attempt) = (claim.build.id, claim.attempt.id);
        self.store.keep_results(build, attempt, &rows).await?;
        let told: Vec<Told> = left.said.into_iter().map(Told::Remark).collect();
        self.store.record(attempt, &told).await?;
        if let Some(problem) = left.broken {
            spoil(finish, problem.message());
            finish.hint = problem.hint_text().map(ToOwned::to_owned);
        }
        Ok(())
    }

    /// Keeps the repository's mirror fast. Nothing depends on it.
    async fn maintain(&self, repo: i64) {
        let tidied = match Mirror::open(&self.mirrors, &mirror_key(repo)) {
            Ok(mirror) => mirror.maintain(&self.git, MAX_PACKS).await,
            Err(error) => Err(error),
        };
        if let Err(error) = tidied {
            tracing::warn!(repo, %error, "could not tidy the mirror");
        }
    }

    /// What the job hands on to others.
    fn outputs(&self, claim: &Claim) -> Result<BTreeMap<String, String>, String> {
        let plan = claim.attempt.plan.as_ref();
        let Some(job) = plan.and_then(|plan| plan.jobs.first()) else {
            return Ok(BTreeMap::new());
        };
        let text = crate::outputs::read(&self.executors.process.tmp(&claim.attempt.attempt_id()))?;
        order::read_outputs(&text, &job.outputs)
    }

    async fn finish(
        &self,
        claim: &mut Claim,
        finish: &Finish,
        end: &AttemptEnd,
    ) -> Result<(), Setback> {
        let repo = self.store.repo(claim.build.repo_id).await?;
        let id = claim.attempt.id;
        let build = &claim.build;
        if claim.attempt.job_id.is_some() {
            let status = |end: &BuildEnd| self.end_status(repo.has_status_token, build, end);
            let judge = Judge {
                decide: &decide,
                status: &status,
            };
            self.store
                .finish_job(claim, &self.owner, finish, end, judge)
                .await?;
        } else {
            let status = self.status(
                repo.has_status_token,
                build,
                finish.state,
                &finish.summary,
                finish.failed_step,
            );
            self.store
                .finish(claim, &self.owner, finish, status)
                .await?;
        }
        claim.attempt = self.store.attempt_by_id(id).await?;
        self.hub.bump(claim.attempt.attempt_id().as_str());
        tracing::info!(
            repo = %claim.build.repo, build = claim.build.number, attempt = claim.attempt.number,
            state = %finish.state, "{}", finish.summary
        );
        Ok(())
    }

    /// Removes what is left of an attempt, or keeps its container for a person who may look at it.
    async fn give_back(
        &self,
        claim: &Claim,
        job: &JobPlan,
        attempt: &AttemptId,
    ) -> Result<(), ExecutorError> {
        let executor = self.executors.of(job);
        let failed = matches!(claim.attempt.state, BuildState::Failed | BuildState::Error);
        if failed && self.keep_failed > 0 && executor.name() == self.executors.docker.name() {
            return self.executors.docker.keep(attempt, self.keep_failed).await;
        }
        executor.remove(attempt).await
    }

    /// Seals the logs and removes the attempt's folder. Harmless when done twice.
    async fn seal(&self, claim: &Claim) -> Result<(), Setback> {
        let attempt = claim.attempt.attempt_id();
        let dir = self.logs.join(attempt.as_str());
        failpoint::hit(format_args!("before-seal"));
        let sealed = tokio::task::spawn_blocking(move || match dir.is_dir() {
            true => windlass_logs::seal(&dir),
            false => Ok(Vec::new()),
        })
        .await
        .map_err(|e| Setback::Again(e.into()))?
        .map_err(|e| Setback::Again(e.into()))?;
        let bytes = sealed
            .iter()
            .map(|step| step.meta.stored_bytes)
            .sum::<u64>();
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.store.logs_sealed(claim.attempt.id, bytes).await?;
        failpoint::hit(format_args!("after-seal"));
        self.hub.bump(attempt.as_str());
        let removed = match claim
            .attempt
            .plan
            .as_ref()
            .and_then(|plan| plan.jobs.first())
        {
            Some(job) => match self.give_back(claim, job, &attempt).await {
                // The job is over and its log is here: nothing waits for the daemon. When it is back, a
                // sweep finds what nobody owns.
                Err(ExecutorError::DaemonGone { .. }) => {
                    self.executors.process.remove(&attempt).await
                }
                removed => removed,
            },
            None => self.executors.process.remove(&attempt).await,
        };
        removed.map_err(|e| Setback::Again(e.into()))?;
        failpoint::hit(format_args!("after-clean-up"));
        Ok(())
    }
}

fn free(slot: &mut Option<&AtomicUsize>) {
    if let Some(running) = slot.take() {
        running.fetch_sub(1, Ordering::SeqCst);
    }
}
