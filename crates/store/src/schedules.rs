//! What the newest spec of a branch says beyond its builds: times at which to build it, and the
//! parameters that people may choose.

use crate::db::{WriteTx, now_ms};
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError};

/// A time at which a branch is built, as its spec has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSchedule {
    /// Its name in the spec.
    pub name: String,
    /// Five fields of crontab(5).
    pub cron: String,
    /// A name of the IANA database.
    pub timezone: String,
    /// The next time, from now on.
    pub next_ms: i64,
}

/// A schedule that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Row number.
    pub id: i64,
    /// The repository.
    pub repo_id: i64,
    /// The branch that is built.
    pub branch: String,
    /// Its name in the spec.
    pub name: String,
    /// Five fields of crontab(5).
    pub cron: String,
    /// A name of the IANA database.
    pub timezone: String,
    /// The next time.
    pub next_ms: i64,
    /// Why the last time made no build; empty if it did.
    pub problem: String,
}

fn schedule(row: &Row) -> Schedule {
    Schedule {
        id: row.get("id"),
        repo_id: row.get("repo_id"),
        branch: row.get("branch"),
        name: row.get("name"),
        cron: row.get("cron"),
        timezone: row.get("timezone"),
        next_ms: row.get("next_ms"),
        problem: row.get("problem"),
    }
}

impl Store {
    /// Notes what the spec of a branch says, unless a newer build noted it already. A schedule that
    /// stays as it was keeps its next time.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_spec(
        &self,
        repo_id: i64,
        branch: &str,
        build_id: i64,
        params: &str,
        schedules: &[NewSchedule],
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let noted = query(
            "insert into specs (repo_id, branch, build_id, params) values (?, ?, ?, ?)
             on conflict (repo_id, branch) do update
             set build_id = excluded.build_id, params = excluded.params
             where excluded.build_id >= specs.build_id",
        )
        .bind(repo_id)
        .bind(branch)
        .bind(build_id)
        .bind(params)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note the spec"))?;
        if noted.rows_affected() == 0 {
            return Ok(());
        }
        let known = query("select * from schedules where repo_id = ? and branch = ?")
            .bind(repo_id)
            .bind(branch)
            .fetch_all(tx.conn())
            .await
            .map_err(StoreError::db("list the branch's schedules"))?;
        for old in known.iter().map(schedule) {
            if !schedules.iter().any(|new| new.name == old.name) {
                delete(&mut tx, old.id).await?;
            }
        }
        for new in schedules {
            query(
                "insert into schedules (repo_id, branch, name, cron, timezone, next_ms)
                 values (?, ?, ?, ?, ?, ?)
                 on conflict (repo_id, branch, name) do update
                 set cron = excluded.cron, timezone = excluded.timezone,
                     next_ms = excluded.next_ms, problem = ''
                 where schedules.cron <> excluded.cron or schedules.timezone <> excluded.timezone",
            )
            .bind(repo_id)
            .bind(branch)
            .bind(&new.name)
            .bind(&new.cron)
            .bind(&new.timezone)
            .bind(new.next_ms)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("note a schedule"))?;
        }
        tx.commit("note-spec").await
    }

    /// The parameters of the newest spec of a branch, as JSON; `None` if none was read yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn params(&self, repo_id: i64, branch: &str) -> Result<Option<String>, StoreError> {
        query_scalar("select params from specs where repo_id = ? and branch = ?")
            .bind(repo_id)
            .bind(branch)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("read the parameters"))
    }

    /// The branches whose specs are known, the one that was built last first; at most 50.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn branches(&self, repo_id: i64) -> Result<Vec<String>, StoreError> {
        query_scalar("select branch from specs where repo_id = ? order by build_id desc limit 50")
            .bind(repo_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the branches"))
    }

    /// The schedules of a repository, the next one first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedules(&self, repo_id: i64) -> Result<Vec<Schedule>, StoreError> {
        let rows = query("select * from schedules where repo_id = ? order by next_ms, id")
            .bind(repo_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the schedules"))?;
        Ok(rows.iter().map(schedule).collect())
    }

    /// Schedules whose time has come, of repositories that were not removed; at most 100.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_schedules(&self) -> Result<Vec<Schedule>, StoreError> {
        let rows = query(
            "select schedules.* from schedules join repos on repos.id = repo_id
             where next_ms <= ? and removed_ms is null order by next_ms limit 100",
        )
        .bind(now_ms())
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look for schedules"))?;
        Ok(rows.iter().map(schedule).collect())
    }

    /// When the next schedule's time comes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_schedule_ms(&self) -> Result<Option<i64>, StoreError> {
        query_scalar(
            "select min(next_ms) from schedules join repos on repos.id = repo_id
             where removed_ms is null",
        )
        .fetch_one(self.reader())
        .await
        .map_err(StoreError::db("look for the next schedule"))
    }

    /// Moves a schedule on to its next time, or to the next try with the reason for it. Nothing
    /// happens if its spec was changed meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedule_moved(
        &self,
        due: &Schedule,
        next_ms: i64,
        problem: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("update schedules set next_ms = ?, problem = ? where id = ? and next_ms = ?")
            .bind(next_ms)
            .bind(problem)
            .bind(due.id)
            .bind(due.next_ms)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("move a schedule"))?;
        tx.commit("schedule-moved").await
    }

    /// Forgets a schedule whose branch is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedule_gone(&self, id: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        delete(&mut tx, id).await?;
        tx.commit("schedule-gone").await
    }
}

async fn delete(tx: &mut WriteTx, id: i64) -> Result<(), StoreError> {
    query("delete from schedules where id = ?")
        .bind(id)
        .execute(tx.conn())
        .await
        .map(|_| ())
        .map_err(StoreError::db("forget a schedule"))
}
