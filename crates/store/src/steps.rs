//! Steps of an attempt: what pages list and statuses name.

use sqlx::Row as _;
use windlass_model::Outcome;

use crate::builds::{json, to_json};
use crate::db::WriteTx;
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
    /// Whether it has begun and not ended.
    pub fn is_running(&self) -> bool {
        self.started_us.is_some() && self.outcome.is_none()
    }
}

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

    /// The steps of an attempt, in order; empty until it is planned.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn steps(&self, attempt: i64) -> Result<Vec<Step>, StoreError> {
        let rows = sqlx::query(
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
    sqlx::query(
        "update attempts set remarks = case
             when remarks = '' then ?1
             when instr(remarks, ?1) > 0 then remarks
             else remarks || char(10) || ?1 end
         where id = ?2",
    )
    .bind(text)
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
    sqlx::query(
        "update steps set started_us = coalesce(started_us, ?) where attempt_id = ? and idx = ?",
    )
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
    sqlx::query(
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
    sqlx::query(
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
