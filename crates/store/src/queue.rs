//! The queue: attempts that still need a worker, under leases.
//!
//! An attempt's phase says what is still to be done, so that whoever takes it up after a crash goes
//! on at the right place:
//!
//! | phase | what has happened | what a worker does next |
//! | --- | --- | --- |
//! | `queued` | nothing | fetch, read the spec, plan |
//! | `preparing` | a worker began | the same again, from the start: it has no effect outside |
//! | `launched` | the plan is stored, the workspace complete | start the shim (idempotent), follow |
//! | `recorded` | the result is stored and on its way to the forge | seal the logs, clean up |
//! | `done` | everything | - |
//!
//! Every write of a worker names its lease: a worker that was taken for dead and is not can't write
//! into an attempt that another one has.

use std::fmt;
use std::str::FromStr;

use windlass_model::ids::InvalidId;
use windlass_model::status::CommitStatus;
use windlass_model::{BuildState, Diagnostic, Plan};

use crate::builds::to_json;
use crate::db::now_ms;
use crate::sql::{query, query_scalar};
use crate::{Attempt, Build, Store, StoreError, archive, outbox};

/// What a worker still has to do with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Waits for a worker.
    Queued,
    /// Is being fetched and planned.
    Preparing,
    /// Its shim was started, or may have been.
    Launched,
    /// Its result is stored; its logs are to be sealed.
    Recorded,
    /// Nothing is left to do.
    Done,
}

impl Phase {
    /// The word in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Launched => "launched",
            Self::Recorded => "recorded",
            Self::Done => "done",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Phase {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        [
            Self::Queued,
            Self::Preparing,
            Self::Launched,
            Self::Recorded,
            Self::Done,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == s)
        .ok_or_else(|| InvalidId {
            what: "phase",
            given: s.to_owned(),
            rule: "use queued, preparing, launched, recorded or done",
        })
    }
}

/// An attempt that a worker holds.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The attempt, in the phase from which to go on.
    pub attempt: Attempt,
    /// Its build.
    pub build: Build,
}

/// Which attempts a worker is ready to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Willing {
    /// Only those that somebody began and left: they need no slot, their jobs run already.
    Orphans,
    /// New ones too.
    Anything,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct Finish {
    /// A final state.
    pub state: BuildState,
    /// One line for lists.
    pub summary: String,
    /// The step that decided it.
    pub failed_step: Option<i64>,
    /// Why we failed, if we did.
    pub error: Option<String>,
    /// What the reader can do about it.
    pub hint: Option<String>,
    /// What is wrong with the spec: its name, its text and the problems.
    pub spec_problems: Option<(String, Vec<u8>, Vec<Diagnostic>)>,
}

pub(crate) fn lost_lease(attempt: i64) -> StoreError {
    StoreError::Conflict(format!("attempt {attempt} belongs to another worker now"))
}

impl Store {
    /// Takes the oldest attempt that nobody holds, or none. One transaction under SQLite's write
    /// lock: two workers never get the same.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn claim(
        &self,
        owner: &str,
        lease_ms: i64,
        willing: Willing,
    ) -> Result<Option<Claim>, StoreError> {
        // A look without the lock first: most calls find nothing.
        let free: Option<i64> = query_scalar(FREE)
            .bind(now_ms())
            .bind(willing == Willing::Orphans)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("look for work"))?;
        if free.is_none() {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        let now = now_ms();
        let row = query(format!(
            "update attempts set lease_owner = ?3, lease_until_ms = ?4,
             started_ms = coalesce(started_ms, ?1),
             state = case phase when 'queued' then 'running' else state end,
             phase = case phase when 'queued' then 'preparing' else phase end
             where id = ({FREE}) returning id, build_id, phase"
        ))
        .bind(now)
        .bind(willing == Willing::Orphans)
        .bind(owner)
        .bind(now + lease_ms)
        .fetch_optional(tx.conn())
        .await
        .map_err(StoreError::db("claim an attempt"))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let (id, build_id): (i64, i64) = (row.get("id"), row.get("build_id"));
        // Not for an old attempt that is only to be sealed while a retry of the build waits.
        query(
            "update builds set state = 'running', started_ms = ?1
             where id = ?2 and state = 'queued' and attempt =
                 (select number from attempts where id = ?3 and phase = 'preparing')",
        )
        .bind(now)
        .bind(build_id)
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("mark the build as running"))?;
        query(
            "update jobs set state = 'running', started_ms = ?1 where state = 'queued'
             and id = (select job_id from attempts where id = ?2 and phase = 'preparing')",
        )
        .bind(now)
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("mark the job as running"))?;
        tx.commit("claim").await?;
        let attempt = self.attempt_by_id(id).await?;
        let build = self.build_by_id(build_id).await?;
        Ok(Some(Claim { attempt, build }))
    }

    /// Prolongs all leases of `owner`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew_leases(&self, owner: &str, lease_ms: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("update attempts set lease_until_ms = ? where lease_owner = ? and phase <> 'done'")
            .bind(now_ms() + lease_ms)
            .bind(owner)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("renew the leases"))?;
        // Without the bell: nobody waits for this.
        tx.commit_quietly().await
    }

    /// Gives up all leases of `owner`, or of every owner when this data folder has just one server
    /// and that one is starting: whoever held them is dead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_leases(&self, owner: Option<&str>) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let done = query(
            "update attempts set lease_owner = null, lease_until_ms = null
             where phase <> 'done' and lease_owner is not null and (?1 is null or lease_owner = ?1)",
        )
        .bind(owner)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("release leases"))?;
        tx.commit("release_leases").await?;
        Ok(done.rows_affected())
    }

    /// The attempt is planned and its workspace complete: from now on its shim may run.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `owner` lost its lease.
    pub async fn launched(
        &self,
        attempt: i64,
        owner: &str,
        executor: &str,
        spec_file: &str,
        plan: &Plan,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = query(
            "update attempts set phase = 'launched', executor = ?, spec_file = ?, plan = ?
             where id = ? and lease_owner = ? and phase = 'preparing'",
        )
        .bind(executor)
        .bind(spec_file)
        .bind(to_json("the plan", plan)?)
        .bind(attempt)
        .bind(owner)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("keep the plan"))?;
        if done.rows_affected() == 0 {
            return Err(lost_lease(attempt));
        }
        for (idx, step) in plan.jobs.iter().flat_map(|job| &job.steps).enumerate() {
            query("insert into steps (attempt_id, idx, name) values (?, ?, ?)")
                .bind(attempt)
                .bind(idx as i64)
                .bind(&step.name)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("list the steps"))?;
        }
        tx.commit("launched").await
    }

    /// Stores how an attempt ended, and the status for the forge, in one transaction. Steps that
    /// are still open end with it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `owner` lost its lease.
    pub async fn finish(
        &self,
        claim: &Claim,
        owner: &str,
        finish: &Finish,
        status: Option<CommitStatus>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = now_ms();
        store_end(&mut tx, claim, owner, finish).await?;
        query(
            "update builds set state = ?, summary = ?, failed_step = ?, finished_ms = ?
             where id = ? and attempt = ?",
        )
        .bind(finish.state.as_str())
        .bind(&finish.summary)
        .bind(finish.failed_step)
        .bind(now)
        .bind(claim.build.id)
        .bind(claim.attempt.number)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("store the build's result"))?;
        if let Some(status) = status {
            outbox::enqueue(&mut tx, claim.build.repo_id, claim.build.id, &status).await?;
        }
        tx.commit("finish").await
    }

    /// Nothing is left to do for this attempt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn done(&self, attempt: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "update attempts set phase = 'done', lease_owner = null, lease_until_ms = null
             where id = ?",
        )
        .bind(attempt)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("close the attempt"))?;
        archive::enlist(&mut tx, attempt).await?;
        tx.commit("done").await
    }

    /// Attempts that are not done: everything else in the work folder belongs to nobody.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn living_attempts(&self) -> Result<Vec<i64>, StoreError> {
        query_scalar("select id from attempts where phase <> 'done' order by id")
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the living attempts"))
    }

    /// When the next attempt that pauses before a retry may begin.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_start_ms(&self) -> Result<Option<i64>, StoreError> {
        query_scalar(
            "select min(not_before_ms) from attempts where phase = 'queued' and not_before_ms > ?",
        )
        .bind(now_ms())
        .fetch_one(self.reader())
        .await
        .map_err(StoreError::db("look for pauses"))
    }

    /// How many attempts wait for a slot.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn queue_length(&self) -> Result<i64, StoreError> {
        query_scalar("select count(*) from attempts where phase = 'queued'")
            .fetch_one(self.reader())
            .await
            .map_err(StoreError::db("count the queue"))
    }
}

/// Keeps the end of an attempt and of its steps.
pub(crate) async fn store_end(
    tx: &mut crate::db::WriteTx,
    claim: &Claim,
    owner: &str,
    finish: &Finish,
) -> Result<(), StoreError> {
    let now = now_ms();
    let (file, source, diagnostics) = match &finish.spec_problems {
        Some((file, source, diagnostics)) => (
            Some(file.as_str()),
            Some(source.as_slice()),
            Some(to_json("the diagnostics", diagnostics)?),
        ),
        None => (None, None, None),
    };
    let done = query(
        "update attempts set state = ?, phase = 'recorded', error = ?, hint = ?,
         spec_file = coalesce(?, spec_file), spec_source = ?, diagnostics = ?, finished_ms = ?
         where id = ? and lease_owner = ? and phase in ('preparing', 'launched')",
    )
    .bind(finish.state.as_str())
    .bind(&finish.error)
    .bind(&finish.hint)
    .bind(file)
    .bind(source)
    .bind(diagnostics)
    .bind(now)
    .bind(claim.attempt.id)
    .bind(owner)
    .execute(tx.conn())
    .await
    .map_err(StoreError::db("store the result"))?;
    if done.rows_affected() == 0 {
        return Err(lost_lease(claim.attempt.id));
    }
    crate::jobs::close_steps(tx, claim.attempt.id, finish.state, now).await
}

/// ?1 = now, ?2 = only orphans. What was begun comes first: its job runs already.
const FREE: &str = "select id from attempts
    where phase <> 'done' and (lease_owner is null or lease_until_ms < ?1)
    and (?2 = 0 or phase in ('launched', 'recorded'))
    and (not_before_ms is null or not_before_ms <= ?1)
    order by case phase when 'launched' then 0 when 'recorded' then 1 else 2 end, id limit 1";
