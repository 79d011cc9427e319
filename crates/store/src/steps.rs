//! Steps of an attempt: what pages list and statuses name.

use windlass_model::{AttemptId, BuildNumber, Outcome};

use crate::builds::{json, to_json};
use crate::db::WriteTx;
use crate::sql::{query, query_scalar};
use crate::{Store, StoreError};

/// A step.
#[derive(Debug, Clone)]
pub struct Step {
    /// Index in the job: 0 for the first.
    pub index: i64,
    /// Its name.
    pub name: String,
    /// How it ended; `None` while it waits or runs.
    pub outcome: Option<Outcome>,
    /// When it began, microseconds since 1970.
    pub started_us: Option<i64>,
    /// When it ended, microseconds since 1970.
    pub ended_us: Option<i64>,
    /// How long it took, by a clock that does not jump.
    pub duration_us: Option<i64>,
    /// Bytes in its log.
    pub output_bytes: Option<i64>,
    /// Processes that it left behind and that were stopped.
    pub leftovers: i64,
}

impl Step {
    /// A step without times: one that never ran, or of which more is not known.
    pub fn untimed(index: i64, name: String, outcome: Option<Outcome>) -> Self {
        Self {
            index,
            name,
            outcome,
            started_us: None,
            ended_us: None,
            duration_us: None,
            output_bytes: None,
            leftovers: 0,
        }
    }

    /// The number of its log in the attempt's folder; one that no log has, if its index is none.
    pub fn log_number(&self) -> u32 {
        u32::try_from(self.index).unwrap_or(u32::MAX)
    }

    /// Whether it has begun and not ended.
    pub fn is_running(&self) -> bool {
        self.started_us.is_some() && self.outcome.is_none()
    }
}

/// A run of a step that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedRun {
    /// The attempt's name for folders.
    pub attempt: AttemptId,
    /// The step's index in that attempt.
    pub step: i64,
    /// The number of its build.
    pub build: BuildNumber,
}

/// So many builds back passing runs are looked for.
const BUILDS_BACK: i64 = 500;
/// So many ended runs of a step are looked at.
const RUNS_LOOKED_AT: i64 = 100;

/// What the journal tells of an attempt. Told again after a crash, it changes nothing.
#[derive(Debug, Clone)]
pub enum Told {
    /// A line for people: what enforces limits, what was wrong with the journal.
    Remark(String),
    /// A step began.
    Started {
        /// Which.
        step: u32,
        /// When, microseconds since 1970.
        time_us: i64,
    },
    /// A step ended, or never began.
    Ended {
        /// Which.
        step: u32,
        /// When, microseconds since 1970.
        time_us: i64,
        /// How.
        outcome: Outcome,
        /// How long it took.
        duration_us: u64,
        /// Bytes in its log.
        output_bytes: u64,
        /// Processes that it left behind.
        leftovers: u32,
    },
}

impl Store {
    /// Keeps what the journal told, in one transaction.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record(&self, attempt: i64, told: &[Told]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for told in told {
            match told {
                Told::Remark(text) => remark(&mut tx, attempt, text).await?,
                Told::Started { step, time_us } => {
                    started(&mut tx, attempt, *step, *time_us).await?;
                }
                Told::Ended { outcome, .. } => {
                    ended(&mut tx, attempt, told, &to_json("the outcome", outcome)?).await?;
                }
            }
        }
        tx.commit("record").await
    }

    /// Earlier runs of the same step of the same job in the same repository that passed, those of the
    /// attempt's own branch first, the newest first. Pull requests of strangers teach nothing to
    /// other branches.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn passed_runs(
        &self,
        attempt: i64,
        step: &str,
        most: usize,
    ) -> Result<Vec<PassedRun>, StoreError> {
        let rows = query(
            "with own as (
                 select a.id, a.number, a.build_id, b.repo_id, b.number as build, b.git_ref,
                        coalesce(j.name, '') as job
                 from attempts a join builds b on b.id = a.build_id
                 left join jobs j on j.id = a.job_id where a.id = ?1
             )
             select a.id, s.idx, s.outcome, b.number, b.git_ref = own.git_ref as own_ref, b.event
             from own
             join builds b on b.repo_id = own.repo_id
                  and b.number between own.build - ?3 and own.build
             join attempts a on a.build_id = b.id
             left join jobs j on j.id = a.job_id
             join steps s on s.attempt_id = a.id
             where s.name = ?2 and s.outcome is not null and s.started_us is not null
                   and coalesce(j.name, '') = own.job
                   and not (a.build_id = own.build_id and a.number >= own.number)
             order by b.number desc, a.number desc, s.idx limit ?4",
        )
        .bind(attempt)
        .bind(step)
        .bind(BUILDS_BACK)
        .bind(RUNS_LOOKED_AT)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look for runs that passed"))?;
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for row in &rows {
            let outcome: Outcome = json("an outcome", row.get("outcome"))?;
            if !outcome.is_success() {
                continue;
            }
            let run = PassedRun {
                attempt: AttemptId::from_row(row.get("id")),
                step: row.get("idx"),
                build: row.get("number"),
            };
            if row.get("own_ref") {
                own.push(run);
            } else if row.get::<&str, _>("event") != "pull_request" {
                others.push(run);
            }
        }
        own.extend(others);
        own.truncate(most);
        Ok(own)
    }

    /// The steps of an attempt, in order; empty until it is planned.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steps(&self, attempt: i64) -> Result<Vec<Step>, StoreError> {
        let rows = query(
            "select idx, name, outcome, started_us, ended_us, duration_us, output_bytes, leftovers
             from steps where attempt_id = ? order by idx",
        )
        .bind(attempt)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the steps"))?;
        rows.iter()
            .map(|row| {
                let outcome: Option<&str> = row.get("outcome");
                Ok(Step {
                    index: row.get("idx"),
                    name: row.get("name"),
                    outcome: outcome.map(|text| json("an outcome", text)).transpose()?,
                    started_us: row.get("started_us"),
                    ended_us: row.get("ended_us"),
                    duration_us: row.get("duration_us"),
                    output_bytes: row.get("output_bytes"),
                    leftovers: row.get("leftovers"),
                })
            })
            .collect()
    }
}

async fn remark(tx: &mut WriteTx, attempt: i64, text: &str) -> Result<(), StoreError> {
    let remarks: Option<String> = query_scalar("select remarks from attempts where id = ?")
        .bind(attempt)
        .fetch_optional(tx.conn())
        .await
        .map_err(StoreError::db("read the remarks"))?;
    let remarks = match remarks {
        Some(remarks) if remarks.is_empty() => text.to_owned(),
        Some(remarks) if !remarks.contains(text) => format!("{remarks}\n{text}"),
        _ => return Ok(()),
    };
    query("update attempts set remarks = ? where id = ?")
        .bind(remarks)
        .bind(attempt)
        .execute(tx.conn())
        .await
        .map(|_| ())
        .map_err(StoreError::db("note a remark"))
}

async fn started(
    tx: &mut WriteTx,
    attempt: i64,
    step: u32,
    time_us: i64,
) -> Result<(), StoreError> {
    query("update steps set started_us = coalesce(started_us, ?) where attempt_id = ? and idx = ?")
        .bind(time_us)
        .bind(attempt)
        .bind(step)
        .execute(tx.conn())
        .await
        .map(|_| ())
        .map_err(StoreError::db("note a step's start"))
}

async fn ended(
    tx: &mut WriteTx,
    attempt: i64,
    told: &Told,
    outcome: &str,
) -> Result<(), StoreError> {
    let Told::Ended {
        step,
        time_us,
        duration_us,
        output_bytes,
        leftovers,
        ..
    } = told
    else {
        return Ok(());
    };
    query(
        "update steps set outcome = ?, ended_us = ?, duration_us = ?, output_bytes = ?,
         leftovers = ? where attempt_id = ? and idx = ? and outcome is null",
    )
    .bind(outcome)
    .bind(time_us)
    .bind(i64::try_from(*duration_us).unwrap_or(i64::MAX))
    .bind(i64::try_from(*output_bytes).unwrap_or(i64::MAX))
    .bind(leftovers)
    .bind(attempt)
    .bind(step)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("note a step's end"))
}

/// Steps that have no end get one: `running` for those that began, skipped for those that did not.
pub(crate) async fn end_open(
    tx: &mut WriteTx,
    attempt: i64,
    running: &Outcome,
    time_us: i64,
) -> Result<(), StoreError> {
    query(
        "update steps set outcome = case when started_us is null then ?1 else ?2 end,
         ended_us = ?3 where attempt_id = ?4 and outcome is null",
    )
    .bind(to_json("the outcome", &Outcome::Skipped)?)
    .bind(to_json("the outcome", running)?)
    .bind(time_us)
    .bind(attempt)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("end the open steps"))
}
