//! Builds and their attempts: making one, reading them, cancelling and retrying.

use windlass_model::status::CommitStatus;
use windlass_model::{AttemptId, BuildNumber, BuildState, Diagnostic, Plan, RepoName, Trigger};

use crate::db::now_ms;
use crate::deliveries::{DeliveryState, settle};
use crate::queue::Phase;
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError, outbox};

/// A build, as lists show it.
#[derive(Debug, Clone)]
pub struct Build {
    /// Row number.
    pub id: i64,
    /// Its repository's row.
    pub repo_id: i64,
    /// Its repository's name.
    pub repo: RepoName,
    /// Its number in the repository.
    pub number: BuildNumber,
    /// How far it is; that of its newest attempt.
    pub state: BuildState,
    /// Why it exists and what it builds.
    pub trigger: Trigger,
    /// The delivery that made it.
    pub delivery_id: Option<i64>,
    /// The number of the attempt that its page shows: the newest one at first, in the end the one
    /// that decided.
    pub attempt: i64,
    /// Which planning of it counts: 1, and one more with each retry by a person.
    pub run: i64,
    /// A person wants it stopped.
    pub cancel_requested: bool,
    /// One line about its end: `step "test": exit code 1`.
    pub summary: String,
    /// The index of the step that decided it.
    pub failed_step: Option<i64>,
    /// When it was made.
    pub created_ms: i64,
    /// When a worker took its newest attempt.
    pub started_ms: Option<i64>,
    /// When its newest attempt ended.
    pub finished_ms: Option<i64>,
}

/// One try at a build's job.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Row number; see [`Attempt::attempt_id`].
    pub id: i64,
    /// Its build's row.
    pub build_id: i64,
    /// Counted through all jobs and tries of the build, from 1.
    pub number: i64,
    /// The job that it tries; none if it only planned, or could not.
    pub job_id: Option<i64>,
    /// Which planning of the build it belongs to.
    pub run: i64,
    /// How far it is.
    pub state: BuildState,
    /// What the worker still has to do.
    pub phase: Phase,
    /// Which executor runs it; empty until it is prepared.
    pub executor: String,
    /// What it does, once that is known.
    pub plan: Option<Plan>,
    /// The spec's name in the repository.
    pub spec_file: Option<String>,
    /// What is wrong with the spec.
    pub diagnostics: Vec<Diagnostic>,
    /// The spec's text, if something is wrong with it.
    pub spec_source: Option<Vec<u8>>,
    /// Why we (not the code) failed.
    pub error: Option<String>,
    /// What the reader can do about it.
    pub hint: Option<String>,
    /// For people: what enforces limits.
    pub remarks: String,
    /// When it was queued.
    pub created_ms: i64,
    /// When a worker took it.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// When its logs were removed, in milliseconds since 1970, and why.
    pub logs_removed: Option<(i64, String)>,
}

impl Attempt {
    /// Its name for folders, cgroups and executors.
    pub fn attempt_id(&self) -> AttemptId {
        AttemptId::from_row(self.id)
    }
}

/// A build to be made.
#[derive(Debug, Clone)]
pub struct NewBuild {
    /// Of which repository.
    pub repo_id: i64,
    /// Why and what.
    pub trigger: Trigger,
    /// What must not be built twice; see [`dedupe_key`].
    pub dedupe: Option<String>,
    /// The delivery to acknowledge in the same transaction.
    pub delivery_id: Option<i64>,
}

/// What [`Store::submit`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submitted {
    /// A new build with this number.
    New(BuildNumber),
    /// The same was built before, as this number.
    Already(BuildNumber),
}

/// Which builds to list.
#[derive(Debug, Clone, Default)]
pub struct BuildFilter {
    /// Only of this repository.
    pub repo_id: Option<i64>,
    /// Only in this state.
    pub state: Option<BuildState>,
    /// Only rows below this one: for the next page.
    pub before: Option<i64>,
}

/// What makes two triggers the same build: a branch and a revision, however we heard of them. GitHub
/// tells of commits on a pull request's branch twice, as `push` and as `pull_request`.
pub fn dedupe_key(trigger: &Trigger) -> Option<String> {
    use windlass_model::Event;
    let revision = &trigger.revision;
    match &trigger.event {
        Event::Push { branch, .. } => Some(format!("branch:{branch}:{revision}")),
        Event::PullRequest {
            head,
            from_fork: false,
            ..
        } => Some(format!("branch:{head}:{revision}")),
        Event::PullRequest { number, .. } => Some(format!("pull:{number}:{revision}")),
        Event::Tag { tag } => Some(format!("tag:{tag}:{revision}")),
        Event::Schedule { .. } | Event::Manual | Event::Api => None,
    }
}

const BUILD: &str = "select b.id, b.repo_id, r.name as repo, b.number, b.state, b.trigger,
    b.delivery_id, b.attempt, b.run, b.cancel_requested, b.summary, b.failed_step, b.created_ms,
    b.started_ms, b.finished_ms from builds b join repos r on r.id = b.repo_id";

const ATTEMPT: &str =
    "select id, build_id, number, job_id, run, state, phase, executor, plan, spec_file,
    diagnostics, spec_source, error, hint, remarks, created_ms, started_ms, finished_ms,
    logs_removed_ms, logs_removed_why from attempts";

pub(crate) fn parsed<T: std::str::FromStr>(row: &Row, column: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    row.get::<&str, _>(column)
        .parse()
        .map_err(|e: T::Err| StoreError::corrupt(column, e))
}

pub(crate) fn json<T: serde::de::DeserializeOwned>(
    what: &str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|e| StoreError::corrupt(what, e))
}

pub(crate) fn to_json<T: serde::Serialize>(what: &str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::corrupt(what, e))
}

fn build(row: &Row) -> Result<Build, StoreError> {
    Ok(Build {
        id: row.get("id"),
        repo_id: row.get("repo_id"),
        repo: parsed(row, "repo")?,
        number: row.get("number"),
        state: parsed(row, "state")?,
        trigger: json("a build's trigger", row.get("trigger"))?,
        delivery_id: row.get("delivery_id"),
        attempt: row.get("attempt"),
        run: row.get("run"),
        cancel_requested: row.get("cancel_requested"),
        summary: row.get("summary"),
        failed_step: row.get("failed_step"),
        created_ms: row.get("created_ms"),
        started_ms: row.get("started_ms"),
        finished_ms: row.get("finished_ms"),
    })
}

fn attempt(row: &Row) -> Result<Attempt, StoreError> {
    let plan: Option<&str> = row.get("plan");
    let diagnostics: Option<&str> = row.get("diagnostics");
    Ok(Attempt {
        id: row.get("id"),
        build_id: row.get("build_id"),
        number: row.get("number"),
        job_id: row.get("job_id"),
        run: row.get("run"),
        state: parsed(row, "state")?,
        phase: parsed(row, "phase")?,
        executor: row.get("executor"),
        plan: plan.map(|text| json("a plan", text)).transpose()?,
        spec_file: row.get("spec_file"),
        diagnostics: diagnostics
            .map(|text| json("diagnostics", text))
            .transpose()?
            .unwrap_or_default(),
        spec_source: row.get("spec_source"),
        error: row.get("error"),
        hint: row.get("hint"),
        remarks: row.get("remarks"),
        created_ms: row.get("created_ms"),
        started_ms: row.get("started_ms"),
        finished_ms: row.get("finished_ms"),
        logs_removed: row.get::<Option<i64>, _>("logs_removed_ms").map(|ms| {
            (
                ms,
                row.get::<Option<String>, _>("logs_removed_why")
                    .unwrap_or_default(),
            )
        }),
    })
}

impl Store {
    /// Makes a build, its first attempt in the queue, the first status in the outbox, and settles
    /// its delivery: all in one transaction. `status` says what the forge is told, given the
    /// build's number; `verdict` what the delivery's page says.
    ///
    /// # Errors
    /// When the database fails; then nothing of it happened.
    pub async fn submit(
        &self,
        new: &NewBuild,
        status: impl FnOnce(BuildNumber) -> Option<CommitStatus> + Send,
    ) -> Result<Submitted, StoreError> {
        let mut tx = self.write().await?;
        if let Some(dedupe) = &new.dedupe {
            let known = query(
                "select id, number, event, delivery_id from builds
                 where repo_id = ? and dedupe = ?",
            )
            .bind(new.repo_id)
            .bind(dedupe)
            .fetch_optional(tx.conn())
            .await
            .map_err(StoreError::db("look for the same build"))?;
            if let Some(row) = known {
                let (id, number): (i64, i64) = (row.get("id"), row.get("number"));
                if let Some(delivery) = new.delivery_id {
                    let own = row.get::<Option<i64>, _>("delivery_id") == Some(delivery);
                    let verdict = if own {
                        format!("made build {number}")
                    } else {
                        let event: &str = row.get("event");
                        format!("ignored: this revision is build {number} already (by {event})")
                    };
                    let build = own.then_some(id);
                    let repo = Some(new.repo_id);
                    settle(
                        &mut tx,
                        delivery,
                        DeliveryState::Done,
                        repo,
                        &verdict,
                        build,
                    )
                    .await?;
                }
                tx.commit("submit").await?;
                return Ok(Submitted::Already(number));
            }
        }
        let number: i64 = query_scalar(
            "update repos set last_build = last_build + 1 where id = ? returning last_build",
        )
        .bind(new.repo_id)
        .fetch_optional(tx.conn())
        .await
        .map_err(StoreError::db("number the build"))?
        .ok_or_else(|| StoreError::NotFound(format!("repository {}", new.repo_id)))?;
        let now = now_ms();
        let id: i64 = query_scalar(
            "insert into builds (repo_id, number, state, trigger, event, revision, git_ref,
             dedupe, delivery_id, attempt, created_ms)
             values (?, ?, 'queued', ?, ?, ?, ?, ?, ?, 1, ?) returning id",
        )
        .bind(new.repo_id)
        .bind(number)
        .bind(to_json("the trigger", &new.trigger)?)
        .bind(new.trigger.event.kind())
        .bind(new.trigger.revision.as_str())
        .bind(&new.trigger.git_ref)
        .bind(&new.dedupe)
        .bind(new.delivery_id)
        .bind(now)
        .fetch_one(tx.conn())
        .await
        .map_err(StoreError::db("make the build"))?;
        insert_attempt(&mut tx, id, 1, 1, now).await?;
        if let Some(marker) = &new.trigger.skip {
            leave_out(&mut tx, id, marker, now).await?;
        }
        if let Some(status) = status(number) {
            outbox::enqueue(&mut tx, new.repo_id, id, &status).await?;
        }
        if let Some(delivery) = new.delivery_id {
            let verdict = format!("made build {number}");
            let repo = Some(new.repo_id);
            settle(
                &mut tx,
                delivery,
                DeliveryState::Done,
                repo,
                &verdict,
                Some(id),
            )
            .await?;
        }
        tx.commit("submit").await?;
        Ok(Submitted::New(number))
    }

    /// Builds, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn builds(&self, filter: &BuildFilter, limit: i64) -> Result<Vec<Build>, StoreError> {
        query(format!(
            "{BUILD} where b.id < ?1 and (?2 is null or b.repo_id = ?2)
             and (?3 is null or b.state = ?3) order by b.id desc limit ?4"
        ))
        .bind(filter.before.unwrap_or(i64::MAX))
        .bind(filter.repo_id)
        .bind(filter.state.map(BuildState::as_str))
        .bind(limit)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the builds"))?
        .iter()
        .map(build)
        .collect()
    }

    /// One build by repository and number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn build(&self, repo: &RepoName, number: BuildNumber) -> Result<Build, StoreError> {
        query(format!("{BUILD} where r.name = ? and b.number = ?"))
            .bind(repo.as_str())
            .bind(number)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the build"))?
            .map_or_else(
                || Err(StoreError::NotFound(format!("build {number} of {repo}"))),
                |row| build(&row),
            )
    }

    /// One build by row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn build_by_id(&self, id: i64) -> Result<Build, StoreError> {
        query(format!("{BUILD} where b.id = ?"))
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the build"))?
            .map_or_else(
                || Err(StoreError::NotFound(format!("build in row {id}"))),
                |row| build(&row),
            )
    }

    /// All tries at a build, the first first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts(&self, build_id: i64) -> Result<Vec<Attempt>, StoreError> {
        query(format!("{ATTEMPT} where build_id = ? order by number"))
            .bind(build_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the attempts"))?
            .iter()
            .map(attempt)
            .collect()
    }

    /// One attempt by build and number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn attempt(&self, build_id: i64, number: i64) -> Result<Attempt, StoreError> {
        query(format!("{ATTEMPT} where build_id = ? and number = ?"))
            .bind(build_id)
            .bind(number)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the attempt"))?
            .map_or_else(
                || {
                    Err(StoreError::NotFound(format!(
                        "attempt {number} of this build"
                    )))
                },
                |row| attempt(&row),
            )
    }

    /// One attempt by row.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn attempt_by_id(&self, id: i64) -> Result<Attempt, StoreError> {
        query(format!("{ATTEMPT} where id = ?"))
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the attempt"))?
            .map_or_else(
                || Err(StoreError::NotFound(format!("attempt {id}"))),
                |row| attempt(&row),
            )
    }

    /// Asks for a build to be stopped. One that waits ends at once (with `status` for the forge);
    /// one that runs is stopped by its worker, which sees the request.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it has ended.
    pub async fn cancel(
        &self,
        build: &Build,
        status: Option<CommitStatus>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = now_ms();
        // A queued attempt belongs to nobody; a claim is one transaction, so this can't race it.
        let queued = query(
            "update attempts set state = 'cancelled', phase = 'done', finished_ms = ?
             where build_id = ? and number = ? and phase = 'queued' and job_id is null",
        )
        .bind(now)
        .bind(build.id)
        .bind(build.attempt)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("cancel the attempt"))?;
        if queued.rows_affected() == 1 {
            query(
                "update builds set state = 'cancelled', summary = 'cancelled before it started',
                 cancel_requested = 1, finished_ms = ? where id = ?",
            )
            .bind(now)
            .bind(build.id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("cancel the build"))?;
            if let Some(status) = status {
                outbox::enqueue(&mut tx, build.repo_id, build.id, &status).await?;
            }
        } else {
            let running =
                query("update builds set cancel_requested = 1 where id = ? and state = 'running'")
                    .bind(build.id)
                    .execute(tx.conn())
                    .await
                    .map_err(StoreError::db("cancel the build"))?;
            if running.rows_affected() == 0 {
                return Err(StoreError::Conflict(format!(
                    "build {} of {} has ended already",
                    build.number, build.repo
                )));
            }
        }
        tx.commit("cancel").await?;
        self.ring_cancel();
        Ok(())
    }

    /// Whether somebody asked for the build to be cancelled, or something for this job of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_requested(
        &self,
        build_id: i64,
        job_id: Option<i64>,
    ) -> Result<bool, StoreError> {
        query_scalar(
            "select cancel_requested = 1 or exists
                 (select 1 from jobs where id = ?2 and cancel_requested = 1)
             from builds where id = ?1",
        )
        .bind(build_id)
        .bind(job_id)
        .fetch_one(self.reader())
        .await
        .map_err(StoreError::db("look for a cancellation"))
    }

    /// Queues a new attempt at a build that has ended and returns its number. The old attempts and
    /// their logs stay.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it has not ended.
    pub async fn retry(
        &self,
        build: &Build,
        status: Option<CommitStatus>,
    ) -> Result<i64, StoreError> {
        let mut tx = self.write().await?;
        let row = query(
            "update builds set state = 'queued', cancel_requested = 0, run = run + 1,
             attempt = (select max(number) + 1 from attempts where build_id = ?1),
             summary = '', failed_step = null, started_ms = null, finished_ms = null
             where id = ?1 and state in ('passed', 'failed', 'error', 'cancelled', 'skipped')
             returning attempt, run",
        )
        .bind(build.id)
        .fetch_optional(tx.conn())
        .await
        .map_err(StoreError::db("retry the build"))?;
        let Some(row) = row else {
            return Err(StoreError::Conflict(format!(
                "build {} of {} has not ended yet: cancel it first",
                build.number, build.repo
            )));
        };
        let (number, run): (i64, i64) = (row.get("attempt"), row.get("run"));
        insert_attempt(&mut tx, build.id, number, run, now_ms()).await?;
        if let Some(status) = status {
            outbox::enqueue(&mut tx, build.repo_id, build.id, &status).await?;
        }
        tx.commit("retry").await?;
        Ok(number)
    }
}

async fn insert_attempt(
    tx: &mut crate::db::WriteTx,
    build_id: i64,
    number: i64,
    run: i64,
    now: i64,
) -> Result<(), StoreError> {
    query(
        "insert into attempts (build_id, number, run, state, phase, created_ms)
         values (?, ?, ?, 'queued', 'queued', ?)",
    )
    .bind(build_id)
    .bind(number)
    .bind(run)
    .bind(now)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("queue the attempt"))
}

/// The commit's message says that nothing is to be built: the build is there, so that people see
/// why nothing happens, and it is over.
async fn leave_out(
    tx: &mut crate::db::WriteTx,
    build_id: i64,
    marker: &str,
    now: i64,
) -> Result<(), StoreError> {
    query("update builds set state = 'skipped', summary = ?, finished_ms = ? where id = ?")
        .bind(format!("the commit message says {marker}"))
        .bind(now)
        .bind(build_id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("leave the build out"))?;
    query(
        "update attempts set state = 'skipped', phase = 'done', finished_ms = ? where build_id = ?",
    )
    .bind(now)
    .bind(build_id)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("leave the build out"))
}
