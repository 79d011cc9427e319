//! What the database knows of log files: how large they are, how long they are kept, why they are gone, and
//! whose they are. The bytes themselves are in files.

use std::collections::HashMap;

use windlass_model::plan::{FIRST_SERVICE_LOG, log_words};
use windlass_model::status::CommitStatus;
use windlass_model::{BuildNumber, BuildState, Plan, RepoName};

use crate::builds::{json, parsed, to_json};
use crate::db::now_ms;
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError};

/// How long logs are kept. Each rule alone removes; `None` is no rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepLogs {
    /// Days since the attempt ended.
    pub days: Option<i64>,
    /// The newest so many builds of the repository.
    pub builds: Option<i64>,
    /// The newest builds that have so many MiB on the disk together.
    pub mib: Option<i64>,
}

impl KeepLogs {
    /// These rules, and where there is none, those of the server.
    pub fn or(self, server: Self) -> Self {
        Self {
            days: self.days.or(server.days),
            builds: self.builds.or(server.builds),
            mib: self.mib.or(server.mib),
        }
    }
}

/// An attempt whose logs are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLog {
    /// The attempt's row.
    pub attempt: i64,
    /// Its build's number.
    pub build: BuildNumber,
    /// When it ended.
    pub finished_ms: i64,
    /// Bytes on the disk; `None` if nobody has counted them yet.
    pub bytes: Option<i64>,
}

/// Whose an attempt is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptPlace {
    /// The repository.
    pub repo: RepoName,
    /// The build's number.
    pub build: BuildNumber,
    /// How the build stands.
    pub state: BuildState,
    /// The attempt's number in its build.
    pub attempt: i64,
    /// The job's name; empty if it never had one.
    pub job: String,
    /// The names of its steps.
    pub steps: Vec<String>,
    /// The names of the services beside its job.
    pub services: Vec<String>,
}

impl AttemptPlace {
    /// The service whose log has this number; `None` for a step's.
    pub fn service(&self, log: i64) -> Option<&str> {
        let index = log.checked_sub(i64::from(FIRST_SERVICE_LOG))?;
        let index = usize::try_from(index).ok()?;
        self.services.get(index).map(String::as_str)
    }

    /// The name of the step or service whose log has this number; empty if there is none.
    pub fn log_name(&self, log: i64) -> &str {
        let step = || self.steps.get(usize::try_from(log).ok()?);
        let step = || step().map_or("", String::as_str);
        self.service(log).unwrap_or_else(step)
    }

    /// What people call the log with this number: `step 2` (from 1), or `service db`.
    pub fn log_words(&self, log: i64) -> String {
        match self.service(log) {
            Some(name) => format!("service {name}"),
            None => log_words(u32::try_from(log).unwrap_or(u32::MAX)),
        }
    }
}

impl Store {
    /// Notes how large an attempt's sealed logs are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logs_sealed(&self, attempt: i64, bytes: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("update attempts set log_bytes = ? where id = ?")
            .bind(bytes)
            .bind(attempt)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("note the size of logs"))?;
        tx.commit_quietly().await
    }

    /// How long a repository's logs are kept, where it differs from the server.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_logs(&self, repo_id: i64) -> Result<KeepLogs, StoreError> {
        let row =
            query("select keep_log_days, keep_log_builds, keep_log_mib from repos where id = ?")
                .bind(repo_id)
                .fetch_one(self.reader())
                .await
                .map_err(StoreError::db("read how long logs are kept"))?;
        Ok(KeepLogs {
            days: row.get(0),
            builds: row.get(1),
            mib: row.get(2),
        })
    }

    /// Sets it; `None` is what the server says.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_keep_logs(&self, repo_id: i64, keep: KeepLogs) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("update repos set keep_log_days = ?, keep_log_builds = ?, keep_log_mib = ? where id = ?")
            .bind(keep.days)
            .bind(keep.builds)
            .bind(keep.mib)
            .bind(repo_id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("set how long logs are kept"))?;
        tx.commit("set_keep_logs").await
    }

    /// The rows of all repositories that ever were: removed ones have logs, too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all_repo_ids(&self) -> Result<Vec<i64>, StoreError> {
        query_scalar("select id from repos order by id")
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the repositories"))
    }

    /// A repository's attempts that are over and have their logs, the newest build first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept_logs(&self, repo_id: i64) -> Result<Vec<KeptLog>, StoreError> {
        let rows = query(
            "select a.id, b.number, coalesce(a.finished_ms, a.created_ms) as finished_ms, a.log_bytes
             from builds b join attempts a on a.build_id = b.id
             where b.repo_id = ? and a.phase = 'done' and a.logs_removed_ms is null
             order by b.number desc, a.id desc",
        )
        .bind(repo_id)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the logs"))?;
        let kept = |row: &Row| KeptLog {
            attempt: row.get("id"),
            build: row.get("number"),
            finished_ms: row.get("finished_ms"),
            bytes: row.get("log_bytes"),
        };
        Ok(rows.iter().map(kept).collect())
    }

    /// Sets the tombstones: from now on nobody is shown these logs. `why` is for people. The files are
    /// the caller's to remove.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bury_logs(&self, attempts: &[(i64, String)]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for (attempt, why) in attempts {
            query(
                "update attempts set logs_removed_ms = ?, logs_removed_why = ?
                 where id = ? and phase = 'done' and logs_removed_ms is null",
            )
            .bind(now_ms())
            .bind(why)
            .bind(attempt)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("note that logs are removed"))?;
            crate::archive::remove(&mut tx, None, Some(*attempt)).await?;
        }
        tx.commit("bury_logs").await
    }

    /// Takes back what the database itself quotes of the output of a build: in its summary and those of its
    /// jobs, in statuses, and in what test reports said. Statuses that were sent are with the forge.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn erase_quotes(&self, build_id: i64) -> Result<(), StoreError> {
        const GONE: &str = "the output was removed";
        let mut tx = self.write().await?;
        for update in [
            "update builds set summary = ?2 where id = ?1 and summary <> ''",
            "update jobs set reason = ?2 where build_id = ?1 and reason <> ''",
            "update tests set message = ?2, output = null
             where attempt_id in (select id from attempts where build_id = ?1)
             and (message is not null or output is not null)",
        ] {
            query(update)
                .bind(build_id)
                .bind(GONE)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("take quotes back"))?;
        }
        let statuses = query("select id, status from outbox where build_id = ?")
            .bind(build_id)
            .fetch_all(tx.conn())
            .await
            .map_err(StoreError::db("read the statuses"))?;
        for row in statuses {
            let status = CommitStatus {
                description: GONE.to_owned(),
                ..json("a status", row.get("status"))?
            };
            query("update outbox set status = ? where id = ?")
                .bind(to_json("the status", &status)?)
                .bind(row.get::<i64, _>("id"))
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("take quotes back"))?;
        }
        tx.commit("erase_quotes").await
    }

    /// Those of these attempts whose logs are removed.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn buried_logs(&self, attempts: &[i64]) -> Result<Vec<i64>, StoreError> {
        let ids = serde_json::to_string(attempts).unwrap_or_default();
        query_scalar(format!(
            "select id from attempts where logs_removed_ms is not null and id in ({})",
            self.dialect().numbers_of_list()
        ))
        .bind(ids)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look for removed logs"))
    }

    /// Attempts that are over, above this row, with their repository's row; the newest first. Those whose
    /// logs were removed are not among them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempts_over(&self, above: i64) -> Result<Vec<(i64, i64)>, StoreError> {
        let rows = query(
            "select a.id, b.repo_id from attempts a join builds b on b.id = a.build_id
             where a.id > ? and a.phase = 'done' and a.logs_removed_ms is null order by a.id desc",
        )
        .bind(above)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the attempts that are over"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The row below which all attempts are over.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all_over_below(&self) -> Result<i64, StoreError> {
        query_scalar(
            "select coalesce((select min(id) from attempts where phase <> 'done'),
             (select coalesce(max(id), 0) + 1 from attempts))",
        )
        .fetch_one(self.reader())
        .await
        .map_err(StoreError::db(
            "look for the oldest attempt that is going on",
        ))
    }

    /// Whose these attempts are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn attempt_places(
        &self,
        attempts: &[i64],
    ) -> Result<HashMap<i64, AttemptPlace>, StoreError> {
        let ids = serde_json::to_string(attempts).unwrap_or_default();
        let list = self.dialect().numbers_of_list();
        let rows = query(format!(
            "select a.id, a.number as attempt, b.number as build, b.state, r.name as repo,
             coalesce(j.name, '') as job,
             case when a.plan like '%\"services\":[{{%' then a.plan end as plan
             from attempts a join builds b on b.id = a.build_id join repos r on r.id = b.repo_id
             left join jobs j on j.id = a.job_id
             where a.id in ({list}) and a.logs_removed_ms is null"
        ))
        .bind(&ids)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look up attempts"))?;
        let mut places = HashMap::with_capacity(rows.len());
        for row in rows {
            let plan: Option<&str> = row.get("plan");
            let plan: Option<Plan> = plan.map(|plan| json("a plan", plan)).transpose()?;
            let services = plan.iter().flat_map(Plan::service_logs);
            let place = AttemptPlace {
                repo: parsed(&row, "repo")?,
                build: row.get("build"),
                state: parsed(&row, "state")?,
                attempt: row.get("attempt"),
                job: row.get("job"),
                steps: Vec::new(),
                services: services.map(|(_, name)| name.to_owned()).collect(),
            };
            places.insert(row.get("id"), place);
        }
        let steps = query(format!(
            "select attempt_id, name from steps where attempt_id in ({list})
             order by attempt_id, idx"
        ))
        .bind(&ids)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look up steps"))?;
        for row in steps {
            if let Some(place) = places.get_mut(&row.get::<i64, _>("attempt_id")) {
                place.steps.push(row.get("name"));
            }
        }
        Ok(places)
    }
}
