//! The jobs of a build: what was planned, how far each is, and what follows from what happened.
//!
//! Deciding is not done here: whoever calls brings a [`Judge`]. Its moves are made in the same
//! transaction in which the reason for them is stored, so that a crash leaves either both or none.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_model::board::{AttemptEnd, Board, BoardJob, Move};
use windlass_model::status::CommitStatus;
use windlass_model::{BuildState, JobPlan, JobState, Plan};

use crate::builds::{json, parsed, to_json};
use crate::db::{WriteTx, now_ms};
use crate::queue::{Finish, lost_lease};
use crate::sql::{On, Row, query, query_scalar};
use crate::{Build, Claim, Store, StoreError, outbox, queue, steps};

/// So many jobs of a plan are stored by one statement: six values each, far below SQLite's limit of
/// 32,766.
const JOBS_PER_INSERT: usize = 200;

/// A job of a build.
#[derive(Debug, Clone)]
pub struct Job {
    /// Row number.
    pub id: i64,
    /// Its build's row.
    pub build_id: i64,
    /// Which planning of the build it belongs to; 1 for the first.
    pub run: i64,
    /// Its place in the plan, from 0.
    pub index: i64,
    /// What is planned.
    pub plan: Arc<JobPlan>,
    /// How far it is.
    pub state: JobState,
    /// One line: why it waits, or how it ended.
    pub reason: String,
    /// How many attempts there were.
    pub tries: i64,
    /// The number of its newest attempt.
    pub attempt: Option<i64>,
    /// The values that it handed on.
    pub outputs: BTreeMap<String, String>,
    /// What a person decided, if somebody did.
    pub approved: Option<bool>,
    /// When its newest attempt began.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
}

/// How a build ended, as far as the forge is told.
#[derive(Debug, Clone)]
pub struct BuildEnd {
    /// A final state.
    pub state: BuildState,
    /// One line.
    pub summary: String,
    /// The attempt that decided it.
    pub attempt: i64,
    /// The step of that attempt that decided it.
    pub failed_step: Option<i64>,
}

/// Who decides, and what the forge is told.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// What is to happen, given how far the jobs are.
    pub decide: &'a (dyn Fn(&Board) -> Vec<Move> + Sync),
    /// The status for the forge when the build ends, if its forge is to hear of it.
    pub status: &'a (dyn Fn(&BuildEnd) -> Option<CommitStatus> + Sync),
}

/// Everything but the plan, which never changes: see [`Plans`].
const JOB: &str = "select id, build_id, run, idx, state, reason, tries, attempt, outputs,
    approved, started_ms, finished_ms from jobs";

/// So many plans are kept in memory: some builds of the largest kind.
const PLANS_KEPT: usize = 40_000;

/// Plans of jobs that were read lately. A build of 10,000 jobs is looked at 10,000 times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plans(Arc<Mutex<HashMap<i64, Arc<JobPlan>>>>);

impl Plans {
    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Arc<JobPlan>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The jobs of rows, their plans from memory or from the database.
    async fn jobs(&self, rows: &[Row], on: impl Into<On<'_>>) -> Result<Vec<Job>, StoreError> {
        let Some(first) = rows.first() else {
            return Ok(Vec::new());
        };
        let missing = {
            let known = self.lock();
            rows.iter()
                .any(|row| !known.contains_key(&row.get::<i64, _>("id")))
        };
        let mut fresh = HashMap::new();
        if missing {
            let (build, run): (i64, i64) = (first.get("build_id"), first.get("run"));
            let plans = query("select id, plan from jobs where build_id = ? and run = ?")
                .bind(build)
                .bind(run)
                .fetch_all(on)
                .await
                .map_err(StoreError::db("read the jobs' plans"))?;
            for row in &plans {
                let plan: JobPlan = json("a job's plan", row.get("plan"))?;
                fresh.insert(row.get::<i64, _>("id"), Arc::new(plan));
            }
        }
        let mut known = self.lock();
        if known.len() + fresh.len() > PLANS_KEPT {
            known.clear();
        }
        known.extend(fresh.iter().map(|(id, plan)| (*id, Arc::clone(plan))));
        rows.iter()
            .map(|row| {
                let id: i64 = row.get("id");
                let plan = fresh.get(&id).or_else(|| known.get(&id)).cloned();
                let plan = plan.ok_or_else(|| StoreError::NotFound(format!("job {id}")))?;
                job(row, plan)
            })
            .collect()
    }
}

fn job(row: &Row, plan: Arc<JobPlan>) -> Result<Job, StoreError> {
    Ok(Job {
        id: row.get("id"),
        build_id: row.get("build_id"),
        run: row.get("run"),
        index: row.get("idx"),
        plan,
        state: parsed(row, "state")?,
        reason: row.get("reason"),
        tries: row.get("tries"),
        attempt: row.get("attempt"),
        outputs: json("a job's outputs", row.get("outputs"))?,
        approved: row.get("approved"),
        started_ms: row.get("started_ms"),
        finished_ms: row.get("finished_ms"),
    })
}

/// A build's jobs inside of a transaction.
struct Standing {
    build_id: i64,
    repo_id: i64,
    run: i64,
    jobs: Vec<Job>,
    board: Board,
}

impl Store {
    /// The jobs of one run of a build, in the order of the plan; empty until it is planned.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn jobs(&self, build_id: i64, run: i64) -> Result<Vec<Job>, StoreError> {
        let rows = query(format!("{JOB} where build_id = ? and run = ? order by idx"))
            .bind(build_id)
            .bind(run)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the jobs"))?;
        self.plans().jobs(&rows, self.reader()).await
    }

    /// Keeps the plan of a build as jobs, and lets those begin that may. The first of them adopts
    /// the attempt that planned: its workspace is there already. Returns whether one did; if not,
    /// the attempt is over.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `owner` lost its lease.
    pub async fn planned(
        &self,
        claim: &Claim,
        owner: &str,
        spec_file: &str,
        plan: &Plan,
        judge: Judge<'_>,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let (attempt, build) = (&claim.attempt, &claim.build);
        let held = query(
            "update attempts set spec_file = ? where id = ? and lease_owner = ?
             and phase = 'preparing' and job_id is null",
        )
        .bind(spec_file)
        .bind(attempt.id)
        .bind(owner)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("keep the plan"))?;
        if held.rows_affected() == 0 {
            return Err(lost_lease(attempt.id));
        }
        let mut index = 0_i64;
        // A statement costs as much as a row: many rows share one.
        for jobs in plan.jobs.chunks(JOBS_PER_INSERT) {
            let mut rows = Vec::with_capacity(jobs.len());
            for job in jobs {
                rows.push((index, job, to_json("a job's plan", job)?));
                index += 1;
            }
            let values = vec!["(?, ?, ?, ?, ?, 'waiting', ?)"; rows.len()].join(", ");
            let insert = query(format!(
                "insert into jobs (build_id, run, idx, name, plan, state, concurrency)
                 values {values}"
            ));
            rows.into_iter()
                .fold(insert, |insert, (index, job, text)| {
                    insert
                        .bind(build.id)
                        .bind(attempt.run)
                        .bind(index)
                        .bind(&job.name)
                        .bind(text)
                        .bind(job.concurrency.as_ref().map(|group| &group.group))
                })
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("keep the jobs"))?;
        }
        if let Some(group) = &plan.concurrency {
            join_group(&mut tx, build, &group.group, group.cancel_in_progress).await?;
        }
        let mut adopter = Some(attempt.id);
        let standing = self
            // Should this fail, its row numbers are given to other jobs: nothing is remembered.
            .standing(&mut tx, &Plans::default(), build.id, &[])
            .await?;
        let moves = (judge.decide)(&standing.board);
        apply(&mut tx, &standing, &moves, &mut adopter, judge).await?;
        if adopter.is_some() {
            // Nothing begins now: everything is left out, waits, or asks.
            query(
                "update attempts set state = 'passed', phase = 'recorded', finished_ms = ? where id = ?",
            )
            .bind(now_ms())
            .bind(attempt.id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("end the planning"))?;
        }
        tx.commit("planned").await?;
        self.ring_cancel();
        Ok(adopter.is_none())
    }

    /// Stores how an attempt at a job ended, and makes what follows from it: another attempt, other
    /// jobs, the build's end, the status for the forge. One transaction.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if `owner` lost its lease.
    pub async fn finish_job(
        &self,
        claim: &Claim,
        owner: &str,
        finish: &Finish,
        end: &AttemptEnd,
        judge: Judge<'_>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        queue::store_end(&mut tx, claim, owner, finish).await?;
        let Some(job_id) = claim.attempt.job_id else {
            return Err(StoreError::Conflict(format!(
                "attempt {} belongs to no job",
                claim.attempt.id
            )));
        };
        query("update jobs set failed_step = ? where id = ?")
            .bind(finish.failed_step)
            .bind(job_id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("store the job's result"))?;
        if self.nothing_follows(&mut tx, claim, job_id, end).await? {
            pass(&mut tx, job_id, end).await?;
            return tx.commit("finish").await;
        }
        let standing = self
            .standing(&mut tx, self.plans(), claim.build.id, &[(job_id, end)])
            .await?;
        if standing.run == claim.attempt.run {
            let moves = (judge.decide)(&standing.board);
            apply(&mut tx, &standing, &moves, &mut None, judge).await?;
        }
        tx.commit("finish").await?;
        self.ring_cancel();
        Ok(())
    }

    /// Whether a job's good end changes nothing but the job: nobody waits, and others go on. Then
    /// deciding, which looks at all jobs, would find the same.
    async fn nothing_follows(
        &self,
        tx: &mut WriteTx,
        claim: &Claim,
        job: i64,
        end: &AttemptEnd,
    ) -> Result<bool, StoreError> {
        if end.state != JobState::Passed {
            return Ok(false);
        }
        query_scalar(
            "select b.cancel_requested = 0 and b.run = ?2
             and not exists (select 1 from jobs where build_id = ?1 and run = ?2
                and state in ('waiting', 'approval'))
             and exists (select 1 from jobs where build_id = ?1 and run = ?2
                and state in ('queued', 'running') and id <> ?3)
             from builds b where b.id = ?1",
        )
        .bind(claim.build.id)
        .bind(claim.attempt.run)
        .bind(job)
        .fetch_one(tx.conn())
        .await
        .map_err(StoreError::db("look for what follows"))
    }

    /// Reads the board of a build's current run; `ended` are attempts that are to be judged.
    async fn standing(
        &self,
        tx: &mut WriteTx,
        plans: &Plans,
        build_id: i64,
        ended: &[(i64, &AttemptEnd)],
    ) -> Result<Standing, StoreError> {
        let row = query(
            "select repo_id, number, run, cancel_requested, concurrency from builds where id = ?",
        )
        .bind(build_id)
        .fetch_one(tx.conn())
        .await
        .map_err(StoreError::db("read the build"))?;
        let (repo_id, number, run): (i64, i64, i64) =
            (row.get("repo_id"), row.get("number"), row.get("run"));
        let group: Option<String> = row.get("concurrency");
        let cancelled = row.get("cancel_requested");
        let rows = query(format!("{JOB} where build_id = ? and run = ? order by idx"))
            .bind(build_id)
            .bind(run)
            .fetch_all(tx.conn())
            .await
            .map_err(StoreError::db("read the jobs"))?;
        let jobs = plans.jobs(&rows, tx.conn()).await?;
        let board_job = |job: &Job| BoardJob {
            plan: Arc::clone(&job.plan),
            state: job.state,
            tries: u32::try_from(job.tries).unwrap_or(u32::MAX),
            ended: ended
                .iter()
                .find(|(id, _)| *id == job.id)
                .map(|(_, end)| (*end).clone()),
            approved: job.approved,
            outputs: job.outputs.clone(),
        };
        let mut board = Board {
            jobs: jobs.iter().map(board_job).collect(),
            cancelled,
            ..Board::default()
        };
        let started = jobs.iter().any(|job| job.tries > 0);
        if let Some(group) = group.filter(|_| !started) {
            // Who has begun has the group; of those that have not, the oldest gets it.
            let holder: Option<i64> = query_scalar(
                "select number from builds b where repo_id = ?1 and concurrency = ?2 and id <> ?3
                 and state = 'running' and (number < ?4 or exists (select 1 from jobs j
                    where j.build_id = b.id and j.run = b.run and j.tries > 0))
                 order by number limit 1",
            )
            .bind(repo_id)
            .bind(&group)
            .bind(build_id)
            .bind(number)
            .fetch_optional(tx.conn())
            .await
            .map_err(StoreError::db("look into the group"))?;
            board.held_back =
                holder.map(|holder| format!("#{holder}, which has the group {group}"));
        }
        let groups: Vec<String> = board.groups().into_iter().map(ToOwned::to_owned).collect();
        for group in groups {
            let holder: Option<i64> = query_scalar(
                "select b.number from jobs j join builds b on b.id = j.build_id and b.run = j.run
                 where j.concurrency = ? and b.repo_id = ? and b.id <> ?
                 and j.state in ('queued', 'running') limit 1",
            )
            .bind(&group)
            .bind(repo_id)
            .bind(build_id)
            .fetch_optional(tx.conn())
            .await
            .map_err(StoreError::db("look into the group"))?;
            if let Some(holder) = holder {
                board.held_groups.insert(group, format!("#{holder}"));
            }
        }
        Ok(Standing {
            build_id,
            repo_id,
            run,
            jobs,
            board,
        })
    }

    /// Looks at a build again: a group may be free, a person may have agreed or cancelled. Says
    /// whether anything came of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn advance(&self, build_id: i64, judge: Judge<'_>) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let standing = self.standing(&mut tx, self.plans(), build_id, &[]).await?;
        let moves: Vec<Move> = (judge.decide)(&standing.board)
            .into_iter()
            .filter(|made| news(made, &standing))
            .collect();
        if moves.is_empty() || standing.jobs.is_empty() {
            return Ok(false);
        }
        apply(&mut tx, &standing, &moves, &mut None, judge).await?;
        tx.commit("advance").await?;
        self.ring_cancel();
        Ok(true)
    }

    /// Running builds that nothing but [`Store::advance`] moves on: jobs wait and none is active,
    /// somebody agreed or cancelled, or a group is waited for. The oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stalled_builds(&self) -> Result<Vec<i64>, StoreError> {
        query_scalar(
            "select b.id from builds b where b.state = 'running'
             and exists (select 1 from jobs j where j.build_id = b.id and j.run = b.run
                and (j.state = 'waiting' and (j.reason <> '' or b.cancel_requested = 1)
                  or j.state = 'approval' and (j.approved is not null or b.cancel_requested = 1)))
             order by b.id",
        )
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look for builds that wait"))
    }

    /// Keeps what a person decided about a job that asks. The worker goes on from there.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if there is no such job; [`StoreError::Conflict`] if it doesn't ask.
    pub async fn approve(&self, build: &Build, index: i64, yes: bool) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = query(
            "update jobs set approved = ?, reason = case when ? = 1 then 'approved' else reason end
             where build_id = ? and run = ? and idx = ? and state = 'approval' and approved is null",
        )
        .bind(yes)
        .bind(yes)
        .bind(build.id)
        .bind(build.run)
        .bind(index)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("keep the approval"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!(
                "job {} of build {} does not wait for an approval",
                index + 1,
                build.number
            )));
        }
        tx.commit("approve").await
    }
}

/// The build joins a group of builds; with `cancel`, those that are in it are stopped.
async fn join_group(
    tx: &mut WriteTx,
    build: &Build,
    group: &str,
    cancel: bool,
) -> Result<(), StoreError> {
    query("update builds set concurrency = ? where id = ?")
        .bind(group)
        .bind(build.id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("join a group"))?;
    if cancel {
        query(
            "update builds set cancel_requested = 1 where repo_id = ? and concurrency = ?
             and number < ? and state = 'running'",
        )
        .bind(build.repo_id)
        .bind(group)
        .bind(build.number)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("stop the group's older builds"))?;
    }
    Ok(())
}

/// Whether a move changes anything: waiting for the same as before is no news.
fn news(made: &Move, standing: &Standing) -> bool {
    match made {
        Move::Wait { job, reason } => standing.jobs[*job].reason != *reason,
        // The flag is set; stopping takes its time.
        Move::Stop { .. } | Move::ClearGroup { .. } => false,
        _ => true,
    }
}

/// Makes the moves. The first job that begins at once takes `adopter`, if there is one.
async fn apply(
    tx: &mut WriteTx,
    standing: &Standing,
    moves: &[Move],
    adopter: &mut Option<i64>,
    judge: Judge<'_>,
) -> Result<(), StoreError> {
    let now = now_ms();
    for made in moves {
        match made {
            Move::Start { job, after } => {
                let job = &standing.jobs[*job];
                match adopter.take_if(|_| after.is_zero()) {
                    Some(attempt) => adopt(tx, job, attempt, now).await?,
                    None => start(tx, standing, job, *after, now).await?,
                }
            }
            Move::AskApproval { job } => {
                let job = &standing.jobs[*job];
                let question = job.plan.approve.clone().unwrap_or_default();
                set_state(tx, job.id, JobState::Approval, &question).await?;
            }
            Move::Wait { job, reason } => {
                set_state(tx, standing.jobs[*job].id, JobState::Waiting, reason).await?;
            }
            Move::End { job, state, reason } => {
                let outputs = match &standing.board.jobs[*job].ended {
                    Some(end) => &end.outputs,
                    None => &standing.jobs[*job].outputs,
                };
                query(
                    "update jobs set state = ?, reason = ?, outputs = ?, finished_ms = ? where id = ?",
                )
                .bind(state.as_str())
                .bind(reason)
                .bind(to_json("a job's outputs", outputs)?)
                .bind(now)
                .bind(standing.jobs[*job].id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("end a job"))?;
            }
            Move::Stop { job, .. } => {
                query("update jobs set cancel_requested = 1 where id = ?")
                    .bind(standing.jobs[*job].id)
                    .execute(tx.conn())
                    .await
                    .map_err(StoreError::db("stop a job"))?;
            }
            Move::ClearGroup { group, .. } => {
                query(
                    "update jobs set cancel_requested = 1 where concurrency = ? and build_id <> ?
                     and state in ('queued', 'running')
                     and build_id in (select id from builds where repo_id = ?)",
                )
                .bind(group)
                .bind(standing.build_id)
                .bind(standing.repo_id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("clear a group"))?;
            }
            Move::Finish {
                state,
                summary,
                job,
            } => {
                let decisive = job.map(|job| &standing.jobs[job]);
                end_build(tx, standing, *state, summary, decisive, judge).await?;
            }
        }
    }
    Ok(())
}

/// The job passed.
async fn pass(tx: &mut WriteTx, job: i64, end: &AttemptEnd) -> Result<(), StoreError> {
    query("update jobs set state = 'passed', reason = ?, outputs = ?, finished_ms = ? where id = ?")
        .bind(&end.summary)
        .bind(to_json("a job's outputs", &end.outputs)?)
        .bind(now_ms())
        .bind(job)
        .execute(tx.conn())
        .await
        .map(|_| ())
        .map_err(StoreError::db("end a job"))
}

async fn set_state(
    tx: &mut WriteTx,
    job: i64,
    state: JobState,
    reason: &str,
) -> Result<(), StoreError> {
    query("update jobs set state = ?, reason = ? where id = ?")
        .bind(state.as_str())
        .bind(reason)
        .bind(job)
        .execute(tx.conn())
        .await
        .map(|_| ())
        .map_err(StoreError::db("change a job"))
}

/// The attempt that planned goes on as the job's first.
async fn adopt(tx: &mut WriteTx, job: &Job, attempt: i64, now: i64) -> Result<(), StoreError> {
    query(
        "update jobs set state = 'running', reason = '', tries = tries + 1, started_ms = ?1,
         attempt = (select number from attempts where id = ?2) where id = ?3",
    )
    .bind(now)
    .bind(attempt)
    .bind(job.id)
    .execute(tx.conn())
    .await
    .map_err(StoreError::db("begin a job"))?;
    query("update attempts set job_id = ? where id = ?")
        .bind(job.id)
        .bind(attempt)
        .execute(tx.conn())
        .await
        .map(|_| ())
        .map_err(StoreError::db("begin a job"))
}

/// Queues a new attempt at a job.
async fn start(
    tx: &mut WriteTx,
    standing: &Standing,
    job: &Job,
    after: Duration,
    now: i64,
) -> Result<(), StoreError> {
    let pause = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    let number: i64 = query_scalar(
        "insert into attempts (build_id, number, state, phase, created_ms, job_id, run, not_before_ms)
         values (?1, (select max(number) from attempts where build_id = ?1) + 1, 'queued', 'queued',
             ?2, ?3, ?4, ?5)
         returning number",
    )
    .bind(standing.build_id)
    .bind(now)
    .bind(job.id)
    .bind(standing.run)
    .bind((pause > 0).then(|| now.saturating_add(pause)))
    .fetch_one(tx.conn())
    .await
    .map_err(StoreError::db("queue a job"))?;
    query(
        "update jobs set state = 'queued', reason = '', tries = tries + 1, attempt = ?,
         cancel_requested = 0, finished_ms = null where id = ?",
    )
    .bind(number)
    .bind(job.id)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("queue a job"))
}

async fn end_build(
    tx: &mut WriteTx,
    standing: &Standing,
    state: BuildState,
    summary: &str,
    decisive: Option<&Job>,
    judge: Judge<'_>,
) -> Result<(), StoreError> {
    // The page of the build shows the attempt that decided it.
    let row = query(
        "update builds set state = ?1, summary = ?2, finished_ms = ?3,
         failed_step = (select failed_step from jobs where id = ?4),
         attempt = coalesce((select attempt from jobs where id = ?4), attempt)
         where id = ?5 and state in ('queued', 'running') returning attempt, failed_step",
    )
    .bind(state.as_str())
    .bind(summary)
    .bind(now_ms())
    .bind(decisive.map(|job| job.id))
    .bind(standing.build_id)
    .fetch_optional(tx.conn())
    .await
    .map_err(StoreError::db("end the build"))?;
    let Some(row) = row else {
        return Ok(());
    };
    let end = BuildEnd {
        state,
        summary: summary.to_owned(),
        attempt: row.get("attempt"),
        failed_step: row.get("failed_step"),
    };
    if let Some(status) = (judge.status)(&end) {
        outbox::enqueue(tx, standing.repo_id, standing.build_id, &status).await?;
    }
    Ok(())
}

/// Steps that are still open when an attempt ends, end with it.
pub(crate) async fn close_steps(
    tx: &mut WriteTx,
    attempt: i64,
    state: BuildState,
    now: i64,
) -> Result<(), StoreError> {
    use windlass_model::{Outcome, StopCause};
    let running = if state == BuildState::Cancelled {
        Outcome::Stopped {
            cause: StopCause::Cancelled,
        }
    } else {
        Outcome::Lost {
            reason: "the job ended without it".to_owned(),
        }
    };
    steps::end_open(tx, attempt, &running, now * 1000).await
}
