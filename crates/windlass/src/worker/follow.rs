//! A launched attempt: start its shim (or find it running, or ended), read its journal into the
//! logs and the store, until the end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use windlass_engine::executor::registry::Registries;
use windlass_engine::executor::{ExecutorError, Executors, Followed as News, Said, Start};
use windlass_engine::image_build;
use windlass_engine::order::{self, About};
use windlass_logs::{LogEvent, Recorder, RecorderLimits};
use windlass_model::plan::Limits;
use windlass_model::{AttemptId, BuildState, JobPlan, Secret};
use windlass_store::steps::Told;
use windlass_store::{Claim, Store, failpoint};

use super::Worker;
use super::job::Setback;
use crate::report::Problem;

/// How long a read of the journal waits before it looks whether the server stops.
const LOOK_UP: Duration = Duration::from_millis(250);

/// How long a job waits for a Docker daemon that can't be reached, before it counts as failed by its
/// infrastructure.
const DAEMON_PATIENCE: Duration = Duration::from_secs(60);
const DAEMON_PAUSE: Duration = Duration::from_secs(2);

impl Worker {
    /// Starts the shim if it was not, and follows it to its end.
    pub(super) async fn run_job(
        &self,
        claim: &Claim,
        stop: &CancellationToken,
    ) -> Result<(), Setback> {
        let attempt = claim.attempt.attempt_id();
        let job = planned_job(claim)?;
        tokio::select! {
            started = self.start(claim, &attempt, job) => started?,
            // Pulling an image may take long. Whoever starts next finds what was begun.
            () = stop.cancelled(), if job.image.is_some() => return Err(Setback::Stopping),
            asked = self.cancelled(claim.build.id, claim.attempt.job_id), if job.image.is_some() => {
                asked?;
                let summary = "cancelled while its container was being made".to_owned();
                return Err(Setback::Ends(BuildState::Cancelled, Problem::new(summary)));
            }
        }
        failpoint::hit(format_args!("after-start"));
        let stopping = Arc::new(AtomicBool::new(false));
        let recording = Recording {
            store: self.store.clone(),
            hub: self.hub.clone(),
            executors: self.executors.clone(),
            job: job.clone(),
            dir: self.logs.join(attempt.as_str()),
            attempt: attempt.clone(),
            row: claim.attempt.id,
            // In a container the shim has nothing to say about them.
            limited: job.image.is_none() && job.limits != Limits::default(),
            limits: RecorderLimits {
                // The shim keeps to the limit; here it only holds what a damaged journal brings.
                log_bytes: self.log_limit.saturating_add(1 << 20),
                ..RecorderLimits::default()
            },
            stopping: Arc::clone(&stopping),
        };
        let runtime = tokio::runtime::Handle::current();
        let mut follow = tokio::task::spawn_blocking(move || recording.to_the_end(&runtime));
        let mut cancel_heard = false;
        loop {
            tokio::select! {
                ended = &mut follow => {
                    return match ended {
                        Ok(Ok(Followed::ToTheEnd)) => Ok(()),
                        Ok(Ok(Followed::NotYet)) => Err(Setback::Stopping),
                        Ok(Ok(Followed::NothingCame(why))) => {
                            let hint = "the program beside the job ended before it could begin: retry the build";
                            Err(Setback::Ends(BuildState::Error, Problem::new(why).hint(hint)))
                        }
                        Ok(Err(problem)) => Err(Setback::Again(problem)),
                        Err(error) => Err(Setback::Again(error.into())),
                    };
                }
                () = stop.cancelled(), if !stopping.load(Ordering::SeqCst) => {
                    // The shim goes on alone; whoever starts next takes it up again.
                    stopping.store(true, Ordering::SeqCst);
                }
                asked = self.cancelled(claim.build.id, claim.attempt.job_id), if !cancel_heard => {
                    asked?;
                    cancel_heard = true;
                    let stopped = self.executors.of(job).stop(&attempt).await;
                    stopped.map_err(|e| Setback::Again(e.into()))?;
                }
            }
        }
    }

    async fn start(
        &self,
        claim: &Claim,
        attempt: &AttemptId,
        job: &JobPlan,
    ) -> Result<(), Setback> {
        // Asked again: what was allowed when the build was planned may not be any more.
        let untrusted = claim.build.trigger.event.is_untrusted();
        let grants = self.allow.grants(&claim.build.repo, untrusted);
        let here = self.executors.here(grants);
        if let Some(refused) = order::refusals(job, &here).into_iter().next() {
            let problem = Problem::new(format!("the job {} can't run here", job.name));
            return Err(Setback::Ends(BuildState::Error, problem.hint(refused)));
        }
        let executor = self.executors.of(job);
        let inside = executor.inside(attempt, job);
        let path = windlass_web::urls::build(&claim.build.repo, claim.build.number);
        let url = format!("{}{path}", self.public_url);
        let about = About {
            repo: claim.build.repo.as_str(),
            number: claim.build.number,
            trigger: &claim.build.trigger,
            url: Some(&url),
        };
        let mut order = order::order(attempt, job, &about, inside);
        order.output = Some(order::output_limit(self.log_limit));
        let values: BTreeMap<String, Secret> = if claim.build.trigger.event.is_untrusted() {
            BTreeMap::new()
        } else {
            self.store
                .secret_values(claim.build.repo_id, &job.secrets)
                .await?
        };
        // The fetching token never enters the job, but a careless tool may still print it.
        let token = self.store.status_token(claim.build.repo_id).await?;
        let mut secrets = order::secrets(&values, token.as_slice());
        let mut registries = Registries::default();
        let asks = job.image.is_some() || image_build::has_builds(job);
        if asks && !untrusted {
            for (host, (user, password)) in self.store.registries(claim.build.repo_id).await? {
                registries.insert(&host, user, password);
            }
        }
        let program = crate::executors::own_program().map_err(|e| Setback::Again(e.into()))?;
        let push = match untrusted {
            true => Err("a build of a fork does not push".to_owned()),
            false => Ok(()),
        };
        let builder = self.executors.builder(&program, push, Some(&registries));
        image_build::prepare(&mut order, &mut secrets, job, &builder);
        let mut waited = Duration::ZERO;
        loop {
            let (said, mut lines) = Said::channel();
            let start = Start {
                job,
                order: &order,
                secrets: &secrets,
                registries: &registries,
                said: &said,
            };
            let mut starting = executor.start(attempt, start);
            let started = loop {
                tokio::select! {
                    biased;
                    Some(line) = lines.recv() => self.remark(claim, line).await?,
                    started = &mut starting => break started,
                }
            };
            drop(starting);
            while let Ok(line) = lines.try_recv() {
                self.remark(claim, line).await?;
            }
            match started {
                Ok(()) => return Ok(()),
                Err(error @ ExecutorError::DaemonGone { .. }) if waited < DAEMON_PATIENCE => {
                    tracing::warn!(%attempt, %error, "waiting for it");
                    tokio::time::sleep(DAEMON_PAUSE).await;
                    waited += DAEMON_PAUSE;
                }
                Err(error @ ExecutorError::DaemonGone { .. }) => return Err(ends(error)),
                Err(error) if error.is_passing() => return Err(Setback::Again(error.into())),
                Err(error) => return Err(ends(error)),
            }
        }
    }

    /// A line for people about the attempt.
    async fn remark(&self, claim: &Claim, line: String) -> Result<(), Setback> {
        let told = [Told::Remark(line)];
        self.store.record(claim.attempt.id, &told).await?;
        self.hub.bump(claim.attempt.attempt_id().as_str());
        Ok(())
    }
}

fn ends(error: ExecutorError) -> Setback {
    Setback::Ends(BuildState::Error, error.into())
}

/// The one job that an attempt's plan holds.
pub(super) fn planned_job(claim: &Claim) -> Result<&JobPlan, Setback> {
    let plan = claim.attempt.plan.as_ref();
    let job = plan.and_then(|plan| plan.jobs.first());
    job.ok_or_else(|| Setback::Again(Problem::new("the plan is gone".to_owned())))
}

/// How far a journal was followed.
enum Followed {
    /// The job has ended.
    ToTheEnd,
    /// The server stops before that.
    NotYet,
    /// The job has ended, or never begun, without a single record; why.
    NothingCame(String),
}

/// The thread that reads one journal.
struct Recording {
    store: Store,
    hub: windlass_logs::Hub,
    executors: Executors,
    job: JobPlan,
    dir: PathBuf,
    attempt: AttemptId,
    row: i64,
    /// The job has limits, so it is worth saying what enforces them.
    limited: bool,
    limits: RecorderLimits,
    stopping: Arc<AtomicBool>,
}

impl Recording {
    fn to_the_end(&self, runtime: &tokio::runtime::Handle) -> Result<Followed, Problem> {
        let mut recorder = Recorder::open_with(&self.dir, self.limits)?;
        let mut follower = self
            .executors
            .of(&self.job)
            .follow(&self.attempt, recorder.position().offset)?;
        let mut bytes = Vec::new();
        while !recorder.is_ended() {
            if self.stopping.load(Ordering::SeqCst) {
                return Ok(Followed::NotYet);
            }
            bytes.clear();
            let events = match follower.read(&mut bytes, LOOK_UP)? {
                News::Quiet => continue,
                News::Bytes => recorder.push(&bytes)?,
                News::Gone => {
                    let usual = "the program beside the job (windlass-shim) was killed";
                    let why = follower.epitaph().unwrap_or_else(|| usual.to_owned());
                    if recorder.position().offset == 0 {
                        return Ok(Followed::NothingCame(why));
                    }
                    recorder.lost(&why)?
                }
            };
            if !events.is_empty() {
                runtime.block_on(self.keep(&events))?;
            }
            recorder.confirm()?;
            failpoint::hit(format_args!("after-record"));
            self.hub.bump(self.attempt.as_str());
        }
        Ok(Followed::ToTheEnd)
    }

    async fn keep(&self, events: &[LogEvent]) -> Result<(), Problem> {
        let told: Vec<Told> = events.iter().filter_map(|event| self.told(event)).collect();
        if told.is_empty() {
            return Ok(());
        }
        Ok(self.store.record(self.row, &told).await?)
    }

    fn told(&self, event: &LogEvent) -> Option<Told> {
        Some(match event {
            LogEvent::JobStarted { limits, .. } if self.limited => {
                Told::Remark(format!("limits: {limits}"))
            }
            LogEvent::StepStarted { step, time_us } => Told::Started {
                step: *step,
                time_us: *time_us,
            },
            LogEvent::StepEnded {
                step,
                time_us,
                outcome,
                duration_us,
                output_bytes,
                leftovers,
            } => Told::Ended {
                step: *step,
                time_us: *time_us,
                outcome: outcome.clone(),
                duration_us: *duration_us,
                output_bytes: *output_bytes,
                leftovers: *leftovers,
            },
            LogEvent::Damage { text, .. } => {
                tracing::error!("{text}");
                Told::Remark(text.clone())
            }
            LogEvent::JobStarted { .. } | LogEvent::JobEnded { .. } => return None,
        })
    }
}
