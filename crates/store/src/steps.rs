//! Steps of an attempt: what pages list and statuses name.

use sqlx::Row as _;
use windlass_model::Outcome;

use crate::builds::{json, to_json};
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

/// A step's end, as the journal tells it.
#[derive(Debug, Clone)]
pub struct StepEnd<'a> {
    /// How.
    pub outcome: &'a Outcome,
    /// When, microseconds since 1970.
    pub ended_us: i64,
    /// How long it took.
    pub duration_us: u64,
    /// Bytes in its log.
    pub output_bytes: u64,
    /// Processes that it left behind.
    pub leftovers: u32,
}

impl Store {
    /// A step began. Told again after a crash, it changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn step_started(
        &self,
        attempt: i64,
        index: u32,
        time_us: i64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "update steps set started_us = coalesce(started_us, ?)
             where attempt_id = ? and idx = ?",
        )
        .bind(time_us)
        .bind(attempt)
        .bind(index)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note a step's start"))?;
        tx.commit("step_started").await
    }

    /// A step ended. Told again after a crash, it changes nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn step_ended(
        &self,
        attempt: i64,
        index: u32,
        end: &StepEnd<'_>,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "update steps set outcome = ?, ended_us = ?, duration_us = ?, output_bytes = ?,
             leftovers = ? where attempt_id = ? and idx = ? and outcome is null",
        )
        .bind(to_json("the outcome", end.outcome)?)
        .bind(end.ended_us)
        .bind(i64::try_from(end.duration_us).unwrap_or(i64::MAX))
        .bind(i64::try_from(end.output_bytes).unwrap_or(i64::MAX))
        .bind(end.leftovers)
        .bind(attempt)
        .bind(index)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note a step's end"))?;
        tx.commit("step_ended").await
    }

    /// Steps that have no end get this one: their shim is gone, or the job ended before them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_open_steps(
        &self,
        attempt: i64,
        running: &Outcome,
        waiting: &Outcome,
        time_us: i64,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query(
            "update steps set outcome = case when started_us is null then ?1 else ?2 end,
             ended_us = ?3 where attempt_id = ?4 and outcome is null",
        )
        .bind(to_json("the outcome", waiting)?)
        .bind(to_json("the outcome", running)?)
        .bind(time_us)
        .bind(attempt)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("end the open steps"))?;
        tx.commit("end_open_steps").await
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
