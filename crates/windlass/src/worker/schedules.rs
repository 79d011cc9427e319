//! Builds whose time has come.
//!
//! A schedule's row says when it is due. The build is submitted under a name that has this time in
//! it, and only then the row is moved on: killed in between, the server submits it again, and the
//! store says that there is one already.

use std::time::Duration;

use futures_util::future::BoxFuture;
use windlass_engine::checkout::{CheckoutError, Source, default_branch, resolve_head};
use windlass_model::{BuildState, Event, Revision, Trigger};
use windlass_spec::{Spec, schedules};
use windlass_store::schedules::{NewSchedule, Schedule};
use windlass_store::{Claim, NewBuild, Repo, StoreError, Submitted, db};

use super::Worker;
use windlass_web::{RefError, Refs};

use crate::report::Problem;

/// How often the clock is looked at, at least: it may be put forward.
const LOOK: Duration = Duration::from_secs(30);
/// The pause after a time that made no build because the repository can't be reached.
const AGAIN_MS: i64 = 60_000;

impl Worker {
    /// Makes builds when their time comes, for ever.
    pub(crate) async fn keep_schedules(self: std::sync::Arc<Self>) {
        let mut changes = self.store.changes();
        loop {
            changes.mark_unchanged();
            if let Err(error) = self.fire_all().await {
                tracing::error!(%error, "could not look for schedules");
            }
            let next = self.store.next_schedule_ms().await.ok().flatten();
            let wait = next.map(|at| (at - db::now_ms()).max(0).unsigned_abs());
            let nap = wait.map_or(LOOK, |ms| LOOK.min(Duration::from_millis(ms + 1)));
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Much changes while builds run; a schedule is never so urgent.
                    tokio::time::sleep(nap.min(Duration::from_secs(1))).await;
                }
            }
        }
    }

    async fn fire_all(&self) -> Result<(), StoreError> {
        if self.draining.load(std::sync::atomic::Ordering::SeqCst) {
            return Ok(());
        }
        for due in self.store.due_schedules().await? {
            let repo = self.store.repo(due.repo_id).await?;
            let (repo_name, name) = (&repo.name, &due.name);
            match self.fire(&repo, &due).await {
                Ok(number) => {
                    tracing::info!(repo = %repo_name, schedule = name, build = number, "its time has come");
                    // From now, not from the due time: what was missed is made up for once.
                    let next = schedules::next_ms(&due.cron, &due.timezone, db::now_ms());
                    match next {
                        Some(next) => self.store.schedule_moved(&due, next, "").await?,
                        None => self.store.schedule_gone(due.id).await?,
                    }
                }
                Err(NotFired::Store(error)) => return Err(error),
                Err(NotFired::Checkout(CheckoutError::NoSuchRef { .. })) => {
                    tracing::warn!(repo = %repo_name, schedule = name, branch = due.branch,
                        "the branch of this schedule is gone, and so is the schedule");
                    self.store.schedule_gone(due.id).await?;
                }
                Err(NotFired::Checkout(error)) => {
                    let problem = Problem::from(error).message().to_owned();
                    tracing::warn!(repo = %repo_name, schedule = name, problem, "its time has come, but no build");
                    let next = db::now_ms() + AGAIN_MS;
                    self.store.schedule_moved(&due, next, &problem).await?;
                }
            }
        }
        Ok(())
    }

    /// Submits the build; its number.
    async fn fire(&self, repo: &Repo, due: &Schedule) -> Result<i64, NotFired> {
        let git_ref = format!("refs/heads/{}", due.branch);
        let source = self.source_of(repo, Some(git_ref.clone())).await?;
        let revision = resolve_head(&self.git, &source, Some(&git_ref)).await?;
        let event = Event::Schedule {
            name: due.name.clone(),
        };
        let new = NewBuild {
            repo_id: repo.id,
            trigger: Trigger::new(event, revision.clone(), git_ref),
            dedupe: Some(format!("schedule:{}:{}", due.id, due.next_ms)),
            delivery_id: None,
        };
        let status = |number| {
            let page = windlass_web::urls::build(&repo.name, number);
            repo.has_status_token.then(|| {
                windlass_forge::report::commit_status(
                    &revision,
                    number,
                    BuildState::Queued,
                    "",
                    Some(format!("{}{page}", self.public_url)),
                )
            })
        };
        let (Submitted::New(number) | Submitted::Already(number)) =
            self.store.submit(&new, status).await?;
        Ok(number)
    }

    /// Notes what the spec of a branch says, if this build is one of the branch as it is now.
    pub(super) async fn note_spec(
        &self,
        repo: &Repo,
        source: &Source,
        claim: &Claim,
        spec: &Spec,
    ) -> Result<(), StoreError> {
        let trigger = &claim.build.trigger;
        if !matches!(trigger.event, Event::Push { .. } | Event::Schedule { .. }) {
            return Ok(());
        }
        let branch = trigger.branch();
        let mut default = None;
        if spec.schedules().iter().any(|s| s.branch.is_none()) {
            match default_branch(&self.git, source).await {
                Ok(name) => default = name,
                Err(error) => {
                    tracing::warn!(repo = %repo.name, %error, "the default branch can't be known");
                }
            }
        }
        let now = db::now_ms();
        let own: Vec<NewSchedule> = spec
            .schedules()
            .iter()
            .filter(|s| s.branch.as_deref().or(default.as_deref()) == Some(branch))
            .filter_map(|s| {
                Some(NewSchedule {
                    name: s.name.clone(),
                    cron: s.cron.clone(),
                    timezone: s.timezone.clone(),
                    next_ms: s.next_ms(now)?,
                })
            })
            .collect();
        let params = serde_json::to_string(spec.params()).unwrap_or_else(|_| "[]".to_owned());
        self.store
            .note_spec(repo.id, branch, claim.build.id, &params, &own)
            .await
    }
}

impl Refs for Worker {
    fn resolve<'a>(
        &'a self,
        repo: &'a Repo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, String), RefError>> {
        Box::pin(async move {
            let found = self.find_ref(repo, name).await;
            found.map_err(|problem| RefError {
                message: problem.message().to_owned(),
                hint: problem.hint_text().map(ToOwned::to_owned),
            })
        })
    }
}

impl Worker {
    async fn find_ref(&self, repo: &Repo, name: &str) -> Result<(Revision, String), Problem> {
        let source = self.source_of(repo, None).await?;
        let candidates = match name {
            "" => match default_branch(&self.git, &source).await? {
                Some(branch) => vec![format!("refs/heads/{branch}")],
                None => vec!["HEAD".to_owned()],
            },
            full if full == "HEAD" || full.starts_with("refs/") => vec![full.to_owned()],
            short => vec![format!("refs/heads/{short}"), format!("refs/tags/{short}")],
        };
        let mut missing = None;
        for git_ref in candidates {
            match resolve_head(&self.git, &source, Some(&git_ref)).await {
                Ok(revision) => return Ok((revision, git_ref)),
                Err(error @ CheckoutError::NoSuchRef { .. }) => missing = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let shown = if name.is_empty() { "HEAD" } else { name };
        let words = format!("{} has no branch or tag {shown}", repo.url);
        Err(match missing {
            Some(_) => Problem::new(words).hint(
                "give a branch, a tag, or all 40 digits of a commit id; was it pushed already?",
            ),
            None => Problem::new(words),
        })
    }
}

enum NotFired {
    Store(StoreError),
    Checkout(CheckoutError),
}

impl From<StoreError> for NotFired {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<CheckoutError> for NotFired {
    fn from(error: CheckoutError) -> Self {
        Self::Checkout(error)
    }
}
