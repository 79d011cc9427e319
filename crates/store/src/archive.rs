//! Copies of sealed logs elsewhere: the outbox to the archive's sinks.
//!
//! | state | what it means | what the archiver does |
//! | --- | --- | --- |
//! | `waiting` | the attempt is done, its log is not there yet | write, check |
//! | `kept` | written, and what was read back is the same | - |
//! | `empty` | there is no log to copy | - |
//! | `refused` | the sink will not take it; tried again at the next start | - |
//! | `removing` | it is to go | remove |
//! | `removed` | it is gone | - |
//!
//! A step's row is made in the transaction that closes its attempt, for every sink that the server
//! was started with, and one for each service beside its job. What was done before a sink was there follows when it comes.

use windlass_model::plan::FIRST_SERVICE_LOG;
use windlass_model::{Plan, RepoName};

use crate::builds::{json, parsed};
use crate::db::{WriteTx, now_ms};
use crate::seal::random;
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError};

/// One step's log in one sink, with what names it there.
#[derive(Debug, Clone)]
pub struct ArchiveCopy {
    /// Row number.
    pub id: i64,
    /// `elasticsearch` or `s3`.
    pub sink: String,
    /// The attempt's row.
    pub attempt_id: i64,
    /// The step, from 0, or the number of a service's log.
    pub step: i64,
    /// See the head of this module.
    pub state: String,
    /// How often it was tried in vain.
    pub tries: i64,
    /// Not before this time.
    pub next_ms: i64,
    /// What the sink, or the network, said to the last try.
    pub last_error: String,
    /// Where it is: an index, a key.
    pub place: String,
    /// Bytes of the log.
    pub bytes: i64,
    /// SHA-256 of the log.
    pub sha256: String,
    /// Documents or objects that it is made of.
    pub parts: i64,
    /// When it was last written and checked.
    pub kept_ms: Option<i64>,
    /// The repository's name.
    pub repo: RepoName,
    /// The build's number.
    pub build: i64,
    /// When the build was made.
    pub build_ms: i64,
    /// The attempt's number in the build.
    pub attempt: i64,
    /// The job's name; empty if the attempt had none.
    pub job: String,
    /// The step's or the service's name.
    pub step_name: String,
}

/// What was written, for [`Store::copy_kept`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptCopy {
    /// Where: an index, a key.
    pub place: String,
    /// Bytes of the log.
    pub bytes: i64,
    /// SHA-256 of the log.
    pub sha256: String,
    /// Documents or objects.
    pub parts: i64,
    /// Keys of objects that other copies may share.
    pub objects: Vec<String>,
}

/// How many copies of a sink are in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveCount {
    /// The sink.
    pub sink: String,
    /// Whether the server was last started with it.
    pub active: bool,
    /// The state; empty for a sink without any copy.
    pub state: String,
    /// How many copies.
    pub copies: i64,
    /// Bytes of their logs, as far as known.
    pub bytes: i64,
    /// When the oldest of them was made.
    pub oldest_ms: i64,
}

const COLUMNS: &str = "select c.id, c.sink, c.attempt_id, c.step, c.state, c.tries, c.next_ms,
    c.last_error, c.place, c.bytes, c.sha256, c.parts, c.kept_ms, r.name as repo,
    b.number as build, b.created_ms as build_ms, a.number as attempt,
    coalesce(j.name, '') as job, s.name as step_name,
    case when s.name is null then a.plan end as plan
    from archive_copies c
    join builds b on b.id = c.build_id
    join repos r on r.id = b.repo_id
    join attempts a on a.id = c.attempt_id
    left join steps s on s.attempt_id = c.attempt_id and s.idx = c.step
    left join jobs j on j.id = a.job_id";

fn copy(row: &Row) -> Result<ArchiveCopy, StoreError> {
    let step_name = match row.get::<Option<String>, _>("step_name") {
        Some(name) => name,
        None => service_name(row)?,
    };
    Ok(ArchiveCopy {
        id: row.get("id"),
        sink: row.get("sink"),
        attempt_id: row.get("attempt_id"),
        step: row.get("step"),
        state: row.get("state"),
        tries: row.get("tries"),
        next_ms: row.get("next_ms"),
        last_error: row.get("last_error"),
        place: row.get("place"),
        bytes: row.get("bytes"),
        sha256: row.get("sha256"),
        parts: row.get("parts"),
        kept_ms: row.get("kept_ms"),
        repo: parsed(row, "repo")?,
        build: row.get("build"),
        build_ms: row.get("build_ms"),
        attempt: row.get("attempt"),
        job: row.get("job"),
        step_name,
    })
}

/// Whose a log is that is no step's.
fn service_name(row: &Row) -> Result<String, StoreError> {
    let plan: Option<&str> = row.get("plan");
    let plan: Option<Plan> = plan.map(|plan| json("a plan", plan)).transpose()?;
    let number: i64 = row.get("step");
    let all = plan.iter().flat_map(Plan::service_logs);
    let name = all
        .filter(|(log, _)| i64::from(*log) == number)
        .map(|(_, name)| name.to_owned())
        .next();
    Ok(name.unwrap_or_default())
}

/// ?1 = now. Rows for the steps of done attempts that began, one for each active sink.
const ENLIST: &str = "insert into archive_copies
    (sink, attempt_id, build_id, step, state, next_ms, created_ms)
    select k.name, a.id, a.build_id, s.idx, 'waiting', ?1, ?1
    from archive_sinks k, attempts a join steps s on s.attempt_id = a.id
    where k.active = 1 and a.phase = 'done' and s.started_us is not null
    and a.logs_removed_ms is null";

/// The same for the logs of services, of one attempt or of all that lack some: their names are in the plan only.
async fn enlist_services(tx: &mut WriteTx, attempt: Option<i64>) -> Result<(), StoreError> {
    let failed = "note the logs of services for the archive";
    let first = i64::from(FIRST_SERVICE_LOG);
    let attempts = query(
        "select a.id, a.build_id, a.plan from attempts a
         where a.phase = 'done' and a.logs_removed_ms is null and a.plan like '%\"services\":[{%'
         and (?1 is null or a.id = ?1) and exists (select 1 from archive_sinks k
         where k.active = 1 and not exists (select 1 from archive_copies c
         where c.sink = k.name and c.attempt_id = a.id and c.step = ?2))",
    )
    .bind(attempt)
    .bind(first)
    .fetch_all(tx.conn())
    .await
    .map_err(StoreError::db(failed))?;
    let now = now_ms();
    for row in attempts {
        let plan: Plan = json("a plan", row.get("plan"))?;
        for (number, _) in plan.service_logs() {
            query(
                "insert into archive_copies
                 (sink, attempt_id, build_id, step, state, next_ms, created_ms)
                 select k.name, ?1, ?2, ?3, 'waiting', ?4, ?4 from archive_sinks k
                 where k.active = 1 on conflict do nothing",
            )
            .bind(row.get::<i64, _>("id"))
            .bind(row.get::<i64, _>("build_id"))
            .bind(i64::from(number))
            .bind(now)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db(failed))?;
        }
    }
    Ok(())
}

/// Makes the rows of an attempt that was just closed, in the same transaction.
pub(crate) async fn enlist(tx: &mut WriteTx, attempt: i64) -> Result<(), StoreError> {
    enlist_services(tx, Some(attempt)).await?;
    query(format!("{ENLIST} and a.id = ?2 on conflict do nothing"))
        .bind(now_ms())
        .bind(attempt)
        .execute(tx.conn())
        .await
        .map(drop)
        .map_err(StoreError::db("note logs for the archive"))
}

/// Asks for the removal of copies, as a part of a transaction of another's.
pub(crate) async fn remove(
    tx: &mut WriteTx,
    build_id: Option<i64>,
    attempt: Option<i64>,
) -> Result<u64, StoreError> {
    let done = query(
        "update archive_copies set state = 'removing', next_ms = ?1, tries = 0, last_error = ''
         where (?2 is null or build_id = ?2) and (?3 is null or attempt_id = ?3)
         and state not in ('removing', 'removed')",
    )
    .bind(now_ms())
    .bind(build_id)
    .bind(attempt)
    .execute(tx.conn())
    .await
    .map_err(StoreError::db("ask for a removal"))?;
    Ok(done.rows_affected())
}

impl Store {
    /// A name for this data folder that no other has: copies of several servers may lie in one
    /// cluster or bucket. Made at the first call, and kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_instance(&self) -> Result<String, StoreError> {
        const READ: &str = "select value from settings where key = 'archive_instance'";
        let known: Option<String> = query_scalar(READ)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("read a setting"))?;
        if let Some(known) = known {
            return Ok(known);
        }
        let mut tx = self.write().await?;
        query(
            "insert into settings (key, value) values ('archive_instance', ?)
             on conflict do nothing",
        )
        .bind(hex::encode(random::<6>()?))
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("keep a setting"))?;
        let made = query_scalar(READ)
            .fetch_one(tx.conn())
            .await
            .map_err(StoreError::db("read a setting"))?;
        tx.commit_quietly().await?;
        Ok(made)
    }

    /// From now on there are these sinks and no others. Makes rows for all logs that a new one
    /// lacks, and lets refused ones and those that wait be tried at once.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_archive_sinks(&self, names: &[&str]) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let failed = "set up the archive";
        query("update archive_sinks set active = 0 where active = 1")
            .execute(tx.conn())
            .await
            .map_err(StoreError::db(failed))?;
        for name in names {
            query(
                "insert into archive_sinks (name, active) values (?, 1)
                 on conflict (name) do update set active = 1",
            )
            .bind(*name)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db(failed))?;
        }
        if !names.is_empty() {
            let now = now_ms();
            query(format!("{ENLIST} on conflict do nothing"))
                .bind(now)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db(failed))?;
            enlist_services(&mut tx, None).await?;
            query(
                "update archive_copies set next_ms = ?1,
                 state = case state when 'refused' then 'waiting' else state end
                 where state in ('waiting', 'refused', 'removing')
                 and sink in (select name from archive_sinks where active = 1)",
            )
            .bind(now)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db(failed))?;
        }
        tx.commit("set_archive_sinks").await
    }

    /// Copies that may be written or removed now, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_copies(&self, sink: &str, limit: i64) -> Result<Vec<ArchiveCopy>, StoreError> {
        query(format!(
            "{COLUMNS} where c.sink = ? and c.state in ('waiting', 'removing') and c.next_ms <= ?
             order by c.next_ms, c.id limit ?"
        ))
        .bind(sink)
        .bind(now_ms())
        .bind(limit)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("read the archive's outbox"))?
        .iter()
        .map(copy)
        .collect()
    }

    /// When the next copy may be written or removed, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_copy_ms(&self, sink: &str) -> Result<Option<i64>, StoreError> {
        query_scalar(
            "select min(next_ms) from archive_copies
             where sink = ? and state in ('waiting', 'removing')",
        )
        .bind(sink)
        .fetch_one(self.reader())
        .await
        .map_err(StoreError::db("read the archive's outbox"))
    }

    /// Copies in a sink, those of one build or all, in the order of repositories and builds.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copies(
        &self,
        sink: &str,
        build: Option<i64>,
    ) -> Result<Vec<ArchiveCopy>, StoreError> {
        query(format!(
            "{COLUMNS} where c.sink = ?1 and (?2 is null or c.build_id = ?2)
             order by r.name, b.number, a.number, c.step"
        ))
        .bind(sink)
        .bind(build)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the archive"))?
        .iter()
        .map(copy)
        .collect()
    }

    /// The copies of one step's log, in whatever sinks.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copies_of_step(
        &self,
        attempt: i64,
        step: i64,
    ) -> Result<Vec<ArchiveCopy>, StoreError> {
        query(format!(
            "{COLUMNS} where c.attempt_id = ? and c.step = ? order by c.sink"
        ))
        .bind(attempt)
        .bind(step)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look into the archive"))?
        .iter()
        .map(copy)
        .collect()
    }

    /// How many copies are in which state, per sink.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_counts(&self) -> Result<Vec<ArchiveCount>, StoreError> {
        let rows = query(
            "select k.name, k.active, coalesce(c.state, '') as state, count(c.id) as copies,
             cast(coalesce(sum(c.bytes), 0) as bigint) as bytes, coalesce(min(c.created_ms), 0) as oldest_ms
             from archive_sinks k left join archive_copies c on c.sink = k.name
             group by k.name, k.active, c.state order by k.name, c.state",
        )
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("count the archive"))?;
        let count = |row: &Row| ArchiveCount {
            sink: row.get("name"),
            active: row.get("active"),
            state: row.get("state"),
            copies: row.get("copies"),
            bytes: row.get("bytes"),
            oldest_ms: row.get("oldest_ms"),
        };
        Ok(rows.iter().map(count).collect())
    }

    /// The last words of those that could not be written or removed, the newest few.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn archive_troubles(
        &self,
        sink: &str,
        limit: i64,
    ) -> Result<Vec<ArchiveCopy>, StoreError> {
        query(format!(
            "{COLUMNS} where c.sink = ? and c.last_error <> ''
             and c.state in ('waiting', 'refused', 'removing') order by c.id desc limit ?"
        ))
        .bind(sink)
        .bind(limit)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the archive's troubles"))?
        .iter()
        .map(copy)
        .collect()
    }

    /// It is there, and was checked. One that shall be removed meanwhile stays so.
    ///
    /// # Errors
    /// When the database fails; then it is written again, which is harmless.
    pub async fn copy_kept(&self, id: i64, kept: &KeptCopy) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = now_ms();
        query(
            "update archive_copies set place = ?1, bytes = ?2, sha256 = ?3, parts = ?4,
             kept_ms = ?5, tries = 0, last_error = '',
             state = case state when 'waiting' then 'kept' else state end where id = ?6",
        )
        .bind(&kept.place)
        .bind(kept.bytes)
        .bind(&kept.sha256)
        .bind(kept.parts)
        .bind(now)
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note a copy"))?;
        for key in &kept.objects {
            query(
                "insert into archive_objects (key, copy_id) values (?, ?) on conflict do nothing",
            )
            .bind(key)
            .bind(id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("note an object"))?;
        }
        tx.commit("copy_kept").await
    }

    /// Try again at `next_ms`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copy_later(&self, id: i64, next_ms: i64, reason: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "update archive_copies set tries = tries + 1, next_ms = ?, last_error = ?
             where id = ?",
        )
        .bind(next_ms)
        .bind(reason)
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("put a copy off"))?;
        // Without the bell: nobody waits for bad news.
        tx.commit_quietly().await
    }

    /// The sink will not take it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copy_refused(&self, id: i64, reason: &str) -> Result<(), StoreError> {
        self.settle_copy(id, "waiting", "refused", reason).await
    }

    /// There is no log to copy.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copy_empty(&self, id: i64, reason: &str) -> Result<(), StoreError> {
        self.settle_copy(id, "waiting", "empty", reason).await
    }

    /// What was kept is not there any more, or not the same: it is to be written again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copy_again(&self, id: i64, reason: &str) -> Result<(), StoreError> {
        self.settle_copy(id, "kept", "waiting", reason).await
    }

    /// It is gone, and so are the objects that only it had.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copy_removed(&self, id: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "update archive_copies set state = 'removed', last_error = ''
             where id = ? and state = 'removing'",
        )
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note a removal"))?;
        query("delete from archive_objects where copy_id = ?")
            .bind(id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("forget objects"))?;
        tx.commit("copy_removed").await
    }

    async fn settle_copy(
        &self,
        id: i64,
        from: &str,
        to: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "update archive_copies set state = ?, last_error = ?, next_ms = ?
             where id = ? and state = ?",
        )
        .bind(to)
        .bind(reason)
        .bind(now_ms())
        .bind(id)
        .bind(from)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("settle a copy"))?;
        tx.commit("settle_copy").await
    }

    /// Objects of a copy that no other copy has: they go with it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lone_objects(&self, copy_id: i64) -> Result<Vec<String>, StoreError> {
        query_scalar(
            "select key from archive_objects o where copy_id = ?1 and not exists
             (select 1 from archive_objects p where p.key = o.key and p.copy_id <> ?1) order by key",
        )
        .bind(copy_id)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("look for objects"))
    }

    /// Asks for the removal of all copies of a build's logs, or of one attempt's: for retention.
    /// The archiver does it, also after an outage; says how many there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn remove_copies(
        &self,
        build_id: i64,
        attempt: Option<i64>,
    ) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let removed = remove(&mut tx, Some(build_id), attempt).await?;
        tx.commit("remove_copies").await?;
        Ok(removed)
    }

    /// Everything at this place is gone: an index that was dropped for its age.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn place_dropped(&self, sink: &str, place: &str) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let done = query(
            "update archive_copies set state = 'removed' where sink = ? and place = ?
             and state = 'kept'",
        )
        .bind(sink)
        .bind(place)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note a dropped index"))?;
        tx.commit("place_dropped").await?;
        Ok(done.rows_affected())
    }
}
