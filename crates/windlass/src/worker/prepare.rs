//! From a claimed build to a plan and a complete workspace. Has no effect outside the attempt's own
//! folder and the mirror, so it may be cut off and done again at any moment.

use tokio_util::sync::CancellationToken;
use windlass_engine::checkout::{self, CheckoutError, Credential, Mirror, Source};
use windlass_engine::executor::Executor as _;
use windlass_model::plan::ClonePlan;
use windlass_model::{BuildState, Plan, Severity};
use windlass_store::queue::Finish;
use windlass_store::{Claim, Repo, StoreError, failpoint};

use super::Worker;
use super::job::Setback;
use crate::report::Problem;
use crate::spec_file;

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

fn ended(state: BuildState, summary: impl Into<String>) -> Finish {
    Finish {
        state,
        summary: summary.into(),
        failed_step: None,
        error: None,
        hint: None,
        spec_problems: None,
    }
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

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl Worker {
    /// Fetches, reads the spec, plans, and marks the attempt as launched.
    pub(super) async fn prepare(
        &self,
        claim: &Claim,
        stop: &CancellationToken,
    ) -> Result<(), NotPrepared> {
        failpoint::hit(format_args!("before-checkout"));
        tokio::select! {
            // Dropping the work kills its git.
            prepared = self.fetch_and_plan(claim) => prepared,
            () = stop.cancelled() => Err(Setback::Stopping.into()),
            cancelled = self.cancelled(claim.build.id) => {
                cancelled?;
                let finish = ended(BuildState::Cancelled, "cancelled while it was being fetched");
                Err(NotPrepared::Finish(Box::new(finish)))
            }
        }
    }

    /// Resolves when somebody asks for the build to be cancelled.
    pub(super) async fn cancelled(&self, build_id: i64) -> Result<(), StoreError> {
        let mut cancels = self.store.cancels();
        loop {
            cancels.mark_unchanged();
            if self.store.cancel_requested(build_id).await? {
                return Ok(());
            }
            if cancels.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    async fn fetch_and_plan(&self, claim: &Claim) -> Result<(), NotPrepared> {
        let attempt = claim.attempt.attempt_id();
        let repo = self.store.repo(claim.build.repo_id).await?;
        let source = self.source(&repo, claim).await?;
        let usual = ClonePlan::default();
        self.check_out(&repo, &source, claim, &usual).await?;
        failpoint::hit(format_args!("after-checkout"));
        let workspace = self.executor.workspace(&attempt);
        let (file, text) = match spec_file::read(&workspace) {
            Ok(Some(found)) => found,
            Ok(None) => return Err(could_not(&spec_file::missing())),
            Err(error) => return Err(could_not(&error.into())),
        };
        let loaded = windlass_spec::load(&file, &text);
        let Some(plan) = loaded.plan else {
            let errors = loaded
                .diagnostics
                .iter()
                .filter(|d| d.severity == Severity::Error)
                .count();
            let first = loaded
                .diagnostics
                .iter()
                .find(|d| d.severity == Severity::Error);
            let summary = match first {
                Some(d) => format!("{file}:{}: {}", d.line, d.message),
                None => format!("{file} has errors"),
            };
            let mut finish = ended(BuildState::Error, summary);
            finish.error = Some(match errors {
                1 => format!("{file} has an error"),
                n => format!("{file} has {n} errors"),
            });
            finish.hint = Some(format!(
                "`windlass check {file}` shows the same on your machine"
            ));
            finish.spec_problems = Some((file, text, loaded.diagnostics));
            return Err(NotPrepared::Finish(Box::new(finish)));
        };
        let clone = plan
            .jobs
            .first()
            .map(|job| job.clone.clone())
            .unwrap_or_default();
        if clone != usual {
            self.check_out(&repo, &source, claim, &clone).await?;
        }
        self.check_secrets(&repo, claim, &plan).await?;
        self.store
            .launched(
                claim.attempt.id,
                &self.owner,
                self.executor.name(),
                &file,
                &plan,
            )
            .await?;
        Ok(())
    }

    /// Where to fetch from, as whom.
    async fn source(&self, repo: &Repo, claim: &Claim) -> Result<Source, NotPrepared> {
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
            git_ref: Some(claim.build.trigger.git_ref.clone()).filter(|r| !r.is_empty()),
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
        let workspace = self.executor.workspace(&attempt);
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
        let removed = self.executor.remove(&attempt).await;
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
        plan: &Plan,
    ) -> Result<(), NotPrepared> {
        if claim.build.trigger.event.is_untrusted() {
            // Strangers' code gets none; follow.rs hands none out either.
            return Ok(());
        }
        let set = self.store.secret_names(repo.id).await?;
        let missing: Vec<&str> = plan
            .jobs
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
