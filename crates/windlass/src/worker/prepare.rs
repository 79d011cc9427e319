//! From a claimed build to a plan and a complete workspace. Has no effect outside the attempt's own
//! folder and the mirror, so it may be cut off and done again at any moment.

use tokio_util::sync::CancellationToken;
use windlass_engine::checkout::{self, CheckoutError, Credential, Mirror, Source};
use windlass_engine::executor::Executor as _;
use windlass_engine::order;
use windlass_engine::results::artifacts;
use windlass_engine::schedule::decide;
use windlass_model::plan::ClonePlan;
use windlass_model::{AttemptId, BuildState, Diagnostic, JobPlan, Plan, Severity};
use windlass_store::queue::Finish;
use windlass_store::steps::Told;
use windlass_store::{BuildEnd, Claim, Job, Judge, Repo, StoreError, failpoint};

use super::Worker;
use super::job::Setback;
use crate::cli::event;
use crate::report::Problem;
use crate::results;
use crate::spec_file::{self, Elsewhere};

/// Why there is nothing to run.
pub(super) enum NotPrepared {
    /// The build ends here: the revision or its spec can't be had.
    Finish(Box<Finish>),
    /// Not now.
    Setback(Setback),
}

impl<E: Into<Setback>> From<E> for NotPrepared {
    fn from(error: E) -> Self {
        Self::Setback(error.into())
    }
}

pub(super) fn ended(state: BuildState, summary: impl Into<String>) -> Finish {
    Finish {
        state,
        summary: summary.into(),
        failed_step: None,
        error: None,
        hint: None,
        spec_problems: None,
    }
}

/// The spec has errors: the build's page shows them as `windlass check` does.
fn bad_spec(file: String, text: Vec<u8>, diagnostics: Vec<Diagnostic>) -> NotPrepared {
    let errors: Vec<&Diagnostic> = diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .collect();
    let summary = match errors.first() {
        Some(d) => format!("{file}:{}: {}", d.line, d.message),
        None => format!("{file} has errors"),
    };
    let mut finish = ended(BuildState::Error, summary);
    finish.error = Some(match errors.len() {
        1 => format!("{file} has an error"),
        n => format!("{file} has {n} errors"),
    });
    finish.hint = Some(format!(
        "`windlass check {file}` shows the same on your machine"
    ));
    finish.spec_problems = Some((file, text, diagnostics));
    NotPrepared::Finish(Box::new(finish))
}

fn could_not(problem: &Problem) -> NotPrepared {
    let mut finish = ended(BuildState::Error, first_line(problem.message()));
    finish.error = Some(problem.message().to_owned());
    finish.hint = problem.hint_text().map(ToOwned::to_owned);
    NotPrepared::Finish(Box::new(finish))
}

/// The name of a repository's mirror.
pub(super) fn mirror_key(repo: i64) -> String {
    format!("r{repo}")
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl Worker {
    /// Fetches, reads the spec, plans, and marks the attempt as launched.
    pub(super) async fn prepare(
        &self,
        claim: &mut Claim,
        stop: &CancellationToken,
    ) -> Result<(), NotPrepared> {
        failpoint::hit(format_args!("before-checkout"));
        let (build_id, job_id) = (claim.build.id, claim.attempt.job_id);
        tokio::select! {
            // Dropping the work kills its git.
            prepared = self.fetch_and_plan(claim) => prepared,
            () = stop.cancelled() => Err(Setback::Stopping.into()),
            cancelled = self.cancelled(build_id, job_id) => {
                cancelled?;
                let finish = ended(BuildState::Cancelled, "cancelled while it was being fetched");
                Err(NotPrepared::Finish(Box::new(finish)))
            }
        }
    }

    /// Resolves when somebody asks for the build to be cancelled.
    pub(super) async fn cancelled(
        &self,
        build_id: i64,
        job_id: Option<i64>,
    ) -> Result<(), StoreError> {
        let mut cancels = self.store.cancels();
        loop {
            cancels.mark_unchanged();
            if self.store.cancel_requested(build_id, job_id).await? {
                return Ok(());
            }
            if cancels.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn fetch_and_plan(&self, claim: &mut Claim) -> Result<(), NotPrepared> {
        let repo = self.store.repo(claim.build.repo_id).await?;
        let source = self.source(&repo, claim).await?;
        // What is in the workspace now, if anything.
        let mut there = None;
        if claim.attempt.job_id.is_none() {
            let usual = ClonePlan::default();
            self.check_out(&repo, &source, claim, &usual).await?;
            failpoint::hit(format_args!("after-checkout"));
            if !self.plan(&repo, &source, claim).await? {
                return Ok(());
            }
            there = Some(usual);
            claim.attempt = self.store.attempt_by_id(claim.attempt.id).await?;
        }
        let jobs = self.store.jobs(claim.build.id, claim.attempt.run).await?;
        let own = jobs.iter().find(|job| Some(job.id) == claim.attempt.job_id);
        let Some(own) = own else {
            return Err(could_not(
                &Problem::new("the job of this attempt is gone")
                    .hint("the database was changed by hand? Retry the build"),
            ));
        };
        let mut job = JobPlan::clone(&own.plan);
        for (name, from) in std::mem::take(&mut job.env_from) {
            let cells = jobs.iter().filter(|other| other.plan.base == from.job);
            let value = cells
                .filter_map(|other| other.outputs.get(&from.output))
                .next_back();
            job.env.insert(name, value.cloned().unwrap_or_default());
        }
        if there.as_ref() != Some(&job.clone) {
            self.check_out(&repo, &source, claim, &job.clone).await?;
        }
        self.check_secrets(&repo, claim, &[&job]).await?;
        self.put_in(claim, &job, &jobs).await?;
        failpoint::hit(format_args!("after-put-in"));
        let executor = self.executors.of(&job).name();
        if job.image.is_some() && !job.clone.off {
            let workspace = self
                .executors
                .process
                .workspace(&claim.attempt.attempt_id());
            let own = checkout::own_objects(&self.git, &workspace).await;
            own.map_err(|error| could_not(&error.into()))?;
        }
        let file = claim.attempt.spec_file.clone().unwrap_or_default();
        let plan = Plan {
            jobs: vec![job],
            ..Plan::default()
        };
        let (id, owner) = (claim.attempt.id, &self.owner);
        self.store
            .launched(id, owner, executor, &file, &plan)
            .await?;
        Ok(())
    }

    /// Caches, and artifacts of the jobs that this one needs.
    async fn put_in(&self, claim: &Claim, job: &JobPlan, jobs: &[Job]) -> Result<(), NotPrepared> {
        let wanted = |base: &str| {
            job.needs
                .iter()
                .any(|need| need.artifacts && need.job == base)
        };
        let attempts: Vec<i64> = jobs
            .iter()
            .filter(|other| wanted(&other.plan.base))
            .filter_map(|other| other.attempt)
            .collect();
        if attempts.is_empty() && job.caches.is_empty() {
            return Ok(());
        }
        let mut needed = Vec::new();
        for artifact in self.store.artifacts(claim.build.id).await? {
            if !attempts.contains(&artifact.attempt) {
                continue;
            }
            if artifact.removed_ms.is_some() {
                let name = &artifact.name;
                return Err(could_not(
                    &Problem::new(format!("the artifact {name:?} of a needed job is gone"))
                        .hint("its `retention` is over: retry the whole build"),
                ));
            }
            let into = self.artifacts_of(&AttemptId::from_row(artifact.attempt_id));
            let folder = artifacts::folder(&into, &artifact.name).unwrap_or(into);
            needed.push((artifact.name, folder));
        }
        let places = self.places(claim, job);
        let job = job.clone();
        let put = tokio::task::spawn_blocking(move || results::put_in(&job, &places, &needed));
        let said = put.await.map_err(|e| Setback::Again(e.into()))?;
        let said = said.map_err(|problem| could_not(&problem))?;
        let told: Vec<Told> = said.into_iter().map(Told::Remark).collect();
        Ok(self.store.record(claim.attempt.id, &told).await?)
    }

    /// Reads the spec and plans the build. Whether this attempt goes on with one of its jobs.
    async fn plan(&self, repo: &Repo, source: &Source, claim: &Claim) -> Result<bool, NotPrepared> {
        let workspace = self
            .executors
            .process
            .workspace(&claim.attempt.attempt_id());
        let (file, text) = match spec_file::read(&workspace) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(could_not(&spec_file::missing())),
            Err(error) => return Err(could_not(&error.into())),
        };
        let elsewhere = Elsewhere {
            git: &self.git,
            mirrors: &self.mirrors,
            only_beside: Some(&repo.url),
        };
        let included = spec_file::included(&workspace, &file, &text, Some(&elsewhere)).await;
        let read = windlass_spec::read_with(&file, &text, &included);
        let Some(spec) = read.spec else {
            return Err(bad_spec(file, text, read.diagnostics));
        };
        self.note_spec(repo, source, claim, &spec).await?;
        let trigger = claim.build.trigger.clone();
        let mut facts =
            event::facts(&spec, trigger, repo.name.as_str()).map_err(|p| could_not(&p))?;
        if spec.asks_for_changes() {
            facts.changed = self.changed_paths(repo, source, claim).await;
        }
        let plan = spec.plan(&facts);
        if let Some(reason) = &plan.skipped {
            let finish = ended(BuildState::Skipped, reason.clone());
            return Err(NotPrepared::Finish(Box::new(finish)));
        }
        let jobs: Vec<&JobPlan> = plan
            .jobs
            .iter()
            .filter(|job| job.skipped.is_none())
            .collect();
        let is_untrusted = claim.build.trigger.event.is_untrusted();
        let here = self
            .executors
            .here(self.allow.grants(&repo.name, is_untrusted));
        for job in &jobs {
            if let Some(refused) = order::refusals(job, &here).into_iter().next() {
                let problem = Problem::new(format!("the job {} can't run here", job.name));
                return Err(could_not(&problem.hint(refused)));
            }
        }
        self.check_secrets(repo, claim, &jobs).await?;
        let build = &claim.build;
        let status = |end: &BuildEnd| self.end_status(repo.has_status_token, build, end);
        let judge = Judge {
            decide: &decide,
            status: &status,
        };
        Ok(self
            .store
            .planned(claim, &self.owner, &file, &plan, judge)
            .await?)
    }

    /// The paths that differ between what was there before and what is built; `None` if that can't
    /// be known: everything may have changed then.
    async fn changed_paths(
        &self,
        repo: &Repo,
        source: &Source,
        claim: &Claim,
    ) -> Option<Vec<String>> {
        let trigger = &claim.build.trigger;
        let before = trigger.before.as_ref()?;
        let log = |line: &str| tracing::debug!("git: {line}");
        let mirror = Mirror::open(&self.mirrors, &mirror_key(repo.id)).ok()?;
        let from = Source {
            git_ref: None,
            ..source.clone()
        };
        let paths = async {
            mirror
                .ensure(&self.git, &from, before, &ClonePlan::default(), &log)
                .await?;
            mirror
                .changed_paths(&self.git, before, &trigger.revision)
                .await
        };
        match paths.await {
            Ok(paths) => Some(paths),
            Err(error) => {
                tracing::info!(repo = %repo.name, %error, "what changed can't be known");
                None
            }
        }
    }

    /// Where to fetch from, as whom.
    async fn source(&self, repo: &Repo, claim: &Claim) -> Result<Source, NotPrepared> {
        let git_ref = Some(claim.build.trigger.git_ref.clone()).filter(|r| !r.is_empty());
        Ok(self.source_of(repo, git_ref).await?)
    }

    /// Where to fetch a ref of a repository from, as whom.
    pub(super) async fn source_of(
        &self,
        repo: &Repo,
        git_ref: Option<String>,
    ) -> Result<Source, StoreError> {
        let credential = match self.store.status_token(repo.id).await? {
            Some(password) if repo.url.starts_with("https://") => Some(Credential {
                username: "x-access-token".to_owned(),
                password,
            }),
            _ => None,
        };
        Ok(Source {
            url: repo.url.clone(),
            credential,
            git_ref,
        })
    }

    async fn check_out(
        &self,
        repo: &Repo,
        source: &Source,
        claim: &Claim,
        clone: &ClonePlan,
    ) -> Result<(), NotPrepared> {
        let attempt = claim.attempt.attempt_id();
        let revision = &claim.build.trigger.revision;
        let workspace = self.executors.process.workspace(&attempt);
        if clone.off {
            let removed = self.executors.process.remove(&attempt).await;
            removed.map_err(|e| Setback::Again(e.into()))?;
            let made = std::fs::create_dir_all(&workspace);
            return Ok(made.map_err(|e| Setback::Again(e.into()))?);
        }
        let log = |line: &str| tracing::debug!(%attempt, "git: {line}");
        let fetched = async {
            let mirror = Mirror::open(&self.mirrors, &mirror_key(repo.id))?;
            mirror
                .ensure(&self.git, source, revision, clone, &log)
                .await?;
            checkout::checkout(
                &self.git, &mirror, source, revision, clone, &workspace, &log,
            )
            .await
        };
        let removed = self.executors.process.remove(&attempt).await;
        removed.map_err(|e| Setback::Again(e.into()))?;
        fetched
            .await
            .map_err(|error: CheckoutError| could_not(&error.into()))
    }

    /// A secret that the spec names and that is not set would be an empty variable in the middle
    /// of a deployment: better to stop here.
    async fn check_secrets(
        &self,
        repo: &Repo,
        claim: &Claim,
        jobs: &[&JobPlan],
    ) -> Result<(), NotPrepared> {
        if claim.build.trigger.event.is_untrusted() {
            // Strangers' code gets none; follow.rs hands none out either.
            return Ok(());
        }
        let set = self.store.secret_names(repo.id).await?;
        let missing: Vec<&str> = jobs
            .iter()
            .flat_map(|job| &job.secrets)
            .filter(|name| !set.iter().any(|(known, _)| known == *name))
            .map(String::as_str)
            .collect();
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(could_not(
                &Problem::new(format!("secret {} is not set", missing.join(", "))).hint(format!(
                    "windlass secret set {} {first} --from-file FILE",
                    repo.name
                )),
            )),
        }
    }
}
