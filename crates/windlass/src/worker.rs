//! The worker: takes attempts from the queue and sees each through to its end.
//!
//! This is the only place that sees queue, engine, logs and store together. It keeps nothing in
//! memory that matters: killed at any moment, the next worker claims the same rows and goes on from
//! the phase that they name.

mod follow;
pub(crate) mod indexer;
mod job;
mod prepare;
pub(crate) mod retention;
mod schedules;
pub(crate) mod wrong;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_engine::executor::{ExecutorError, Executors};
use windlass_engine::git::Git;
use windlass_engine::results::artifacts;
use windlass_engine::schedule::decide;
use windlass_forge::report::commit_status;
use windlass_logs::Hub;
use windlass_model::status::CommitStatus;
use windlass_model::{AttemptId, BuildState};
use windlass_store::logs::KeepLogs;
use windlass_store::queue::Willing;
use windlass_store::{Build, BuildEnd, Judge, SearchIndex, Store, StoreError};

use crate::archive::Fetcher;
use crate::executors::AllowArgs;
use crate::report::Problem;

/// How long a worker that is not heard of keeps its attempts.
const LEASE_MS: i64 = 30_000;

/// How often the queue is looked at without any bell.
const TICK: Duration = Duration::from_secs(5);

/// How often what nobody owns is removed.
const SWEEP: Duration = Duration::from_secs(60);

/// Old bodies are looked for once an hour.
const SWEEPS_PER_HOUR: u32 = 60;

/// How long the bodies of deliveries are kept for a replay: 30 days.
const BODIES_KEPT_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Everything that seeing a job through needs.
pub(crate) struct Worker {
    pub(crate) store: Store,
    pub(crate) executors: Executors,
    pub(crate) git: Git,
    pub(crate) hub: Hub,
    /// Names this worker in leases; new at every start.
    pub(crate) owner: String,
    pub(crate) logs: PathBuf,
    pub(crate) mirrors: PathBuf,
    pub(crate) artifacts: PathBuf,
    pub(crate) caches: PathBuf,
    /// How many bytes one artifact may have.
    pub(crate) artifact_limit: u64,
    pub(crate) public_url: String,
    /// How many jobs run at once.
    pub(crate) slots: usize,
    /// What jobs may ask of the machine.
    pub(crate) allow: AllowArgs,
    /// For how many seconds the container of a job that failed is kept.
    pub(crate) keep_failed: u64,
    /// How many bytes of a step's output are kept.
    pub(crate) log_limit: u64,
    /// How long logs are kept where a repository says nothing else.
    pub(crate) keep_logs: KeepLogs,
    /// Who knows the copies of logs elsewhere, if there are any.
    pub(crate) archive: Option<Arc<Fetcher>>,
    /// The index of words, if there is one.
    pub(crate) index: Option<SearchIndex>,
    /// Set when what runs may end, but nothing more is taken.
    pub(crate) draining: AtomicBool,
}

impl Worker {
    /// Works until `stop`; then takes nothing more. Jobs that run are on `jobs`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken, jobs: TaskTracker) {
        let running = Arc::new(AtomicUsize::new(0));
        let mut changes = self.store.changes();
        loop {
            // Mark what was seen before looking, so that nothing that comes meanwhile is missed.
            changes.mark_unchanged();
            if let Err(error) = self.advance_stalled().await {
                tracing::error!(%error, "could not look at builds that wait");
            }
            while self.may_take(&stop) && self.take_one(&running, &stop, &jobs).await {}
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(self.nap().await) => {}
            }
        }
    }

    /// How long to wait without any bell: until a pause before a retry is over, or one tick.
    async fn nap(&self) -> Duration {
        let next = self.store.next_start_ms().await.unwrap_or_default();
        let wait = next.map(|at| (at - windlass_store::db::now_ms()).max(0).unsigned_abs());
        wait.map_or(TICK, |ms| TICK.min(Duration::from_millis(ms + 1)))
    }

    /// Goes on with builds that no attempt's end moves on: a group is free, a person agreed.
    async fn advance_stalled(&self) -> Result<(), StoreError> {
        for build_id in self.store.stalled_builds().await? {
            let build = self.store.build_by_id(build_id).await?;
            let repo = self.store.repo(build.repo_id).await?;
            let status = |end: &BuildEnd| self.end_status(repo.has_status_token, &build, end);
            let judge = Judge {
                decide: &decide,
                status: &status,
            };
            if self.store.advance(build_id, judge).await? {
                tracing::info!(repo = %build.repo, build = build.number, "went on");
            }
        }
        Ok(())
    }

    /// The status for the forge when a build ends.
    pub(crate) fn end_status(
        &self,
        reports: bool,
        build: &Build,
        end: &BuildEnd,
    ) -> Option<CommitStatus> {
        let build = Build {
            attempt: end.attempt,
            ..build.clone()
        };
        self.status(reports, &build, end.state, &end.summary, end.failed_step)
    }

    /// From now on no attempt is taken; those that run go on.
    pub(crate) fn take_no_more(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    fn may_take(&self, stop: &CancellationToken) -> bool {
        !stop.is_cancelled() && !self.draining.load(Ordering::SeqCst)
    }

    /// Claims one attempt and spawns its task; `false` if there is none to take.
    async fn take_one(
        self: &Arc<Self>,
        running: &Arc<AtomicUsize>,
        stop: &CancellationToken,
        jobs: &TaskTracker,
    ) -> bool {
        let free = running.load(Ordering::SeqCst) < self.slots;
        let willing = if free {
            Willing::Anything
        } else {
            Willing::Orphans
        };
        let claim = match self.store.claim(&self.owner, LEASE_MS, willing).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "could not look for work");
                return false;
            }
        };
        running.fetch_add(1, Ordering::SeqCst);
        let (worker, running, stop) = (Arc::clone(self), Arc::clone(running), stop.clone());
        let changes = self.store.clone();
        jobs.spawn(async move {
            worker.see_through(claim, &stop, &running).await;
            changes.ring();
        });
        true
    }

    /// Prolongs the leases of this worker, for ever.
    pub(crate) async fn heartbeat(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_millis(LEASE_MS as u64 / 3));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Err(error) = self.store.renew_leases(&self.owner, LEASE_MS).await {
                tracing::error!(%error, "could not renew leases");
            }
        }
    }

    /// Removes what belongs to no living attempt, now and every minute.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            if let Err(error) = self.drop_old_bodies().await {
                tracing::error!(%error, "could not drop old deliveries' bodies");
            }
            if let Err(problem) = self.drop_old_logs().await {
                tracing::error!(%problem, "could not remove old logs");
            }
            if let Err(problem) = self.drop_local_logs().await {
                tracing::error!(%problem, "could not remove logs that have copies elsewhere");
            }
            for _ in 0..SWEEPS_PER_HOUR {
                if let Err(problem) = self.drop_old_artifacts().await {
                    tracing::error!(%problem, "could not remove old artifacts");
                }
                if let Err(problem) = self.sweep_once().await {
                    tracing::error!(%problem, "could not sweep");
                }
                tokio::time::sleep(SWEEP).await;
            }
        }
    }

    async fn drop_old_bodies(&self) -> Result<(), StoreError> {
        let dropped = self
            .store
            .drop_bodies(windlass_store::db::now_ms() - BODIES_KEPT_MS)
            .await?;
        if dropped > 0 {
            tracing::info!(dropped, "dropped the bodies of old deliveries");
        }
        Ok(())
    }

    /// Removes artifacts whose retention is over.
    async fn drop_old_artifacts(&self) -> Result<(), Problem> {
        for old in self.store.expired_artifacts().await? {
            let into = self.artifacts_of(&AttemptId::from_row(old.attempt_id));
            if let Some(folder) = artifacts::folder(&into, &old.name) {
                match std::fs::remove_dir_all(&folder) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                    _ => {}
                }
            }
            // Only if it was the last one.
            let _ = std::fs::remove_dir(&into);
            self.store.artifact_removed(old.id).await?;
            tracing::info!(
                attempt = old.attempt_id,
                name = old.name,
                "removed an old artifact"
            );
        }
        Ok(())
    }

    async fn sweep_once(&self) -> Result<(), Problem> {
        for executor in self.executors.all() {
            let present = match executor.present().await {
                Ok(present) => present,
                // Most servers have no Docker; jobs that need it say so.
                Err(error @ ExecutorError::DaemonGone { .. }) => {
                    tracing::debug!(%error, "nothing swept there");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let living = self.store.living_attempts().await?;
            for attempt in present {
                let lives = attempt.row().is_some_and(|row| living.contains(&row));
                if !lives && executor.discard(&attempt).await? {
                    tracing::info!(%attempt, executor = executor.name(), "removed what nobody owned");
                }
            }
        }
        Ok(())
    }

    /// The status for the forge when `build` takes `state`, if its forge is to hear of it.
    pub(crate) fn status(
        &self,
        reports: bool,
        build: &Build,
        state: BuildState,
        summary: &str,
        failed_step: Option<i64>,
    ) -> Option<CommitStatus> {
        reports.then(|| {
            let path = match failed_step {
                Some(step) => {
                    let (repo, number) = (&build.repo, build.number);
                    windlass_web::urls::attempt_step(repo, number, build.attempt, step)
                }
                None => windlass_web::urls::build(&build.repo, build.number),
            };
            let url = format!("{}{path}", self.public_url);
            commit_status(
                &build.trigger.revision,
                build.number,
                state,
                summary,
                Some(url),
            )
        })
    }
}
