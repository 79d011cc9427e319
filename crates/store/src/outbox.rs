//! The outbox: what forges still have to be told. Rows are written in the transaction of the change
//! that they report, and sent until accepted.

use windlass_model::status::CommitStatus;

use crate::builds::{json, to_json};
use crate::db::{WriteTx, now_ms};
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError};

/// A status that waits to be sent, or was.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    /// Row number; rows of one commit and context are sent in this order.
    pub id: i64,
    /// Whose forge hears it.
    pub repo_id: i64,
    /// Which build it is about.
    pub build_id: i64,
    /// What to say.
    pub status: CommitStatus,
    /// `waiting`, `sent`, `replaced` or `refused`.
    pub state: String,
    /// How often it was tried.
    pub tries: i64,
    /// Not before this time.
    pub next_ms: i64,
    /// What the forge, or the network, said to the last try.
    pub last_error: String,
    /// When it was accepted.
    pub sent_ms: Option<i64>,
}

const COLUMNS: &str =
    "select id, repo_id, build_id, status, state, tries, next_ms, last_error, sent_ms from outbox";

fn outbox_row(row: &Row) -> Result<OutboxRow, StoreError> {
    Ok(OutboxRow {
        id: row.get("id"),
        repo_id: row.get("repo_id"),
        build_id: row.get("build_id"),
        status: json("a status", row.get("status"))?,
        state: row.get("state"),
        tries: row.get("tries"),
        next_ms: row.get("next_ms"),
        last_error: row.get("last_error"),
        sent_ms: row.get("sent_ms"),
    })
}

/// Adds a status and takes back older ones about the same commit and context that are not sent yet:
/// only the newest state is worth a request.
pub(crate) async fn enqueue(
    tx: &mut WriteTx,
    repo_id: i64,
    build_id: i64,
    status: &CommitStatus,
) -> Result<(), StoreError> {
    query(
        "update outbox set state = 'replaced'
         where repo_id = ? and revision = ? and context = ? and state = 'waiting'",
    )
    .bind(repo_id)
    .bind(&status.revision)
    .bind(&status.context)
    .execute(tx.conn())
    .await
    .map_err(StoreError::db("replace older statuses"))?;
    let now = now_ms();
    query(
        "insert into outbox (repo_id, build_id, status, revision, context, state, next_ms,
         created_ms) values (?, ?, ?, ?, ?, 'waiting', ?, ?)",
    )
    .bind(repo_id)
    .bind(build_id)
    .bind(to_json("the status", status)?)
    .bind(&status.revision)
    .bind(&status.context)
    .bind(now)
    .bind(now)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("put a status into the outbox"))
}

impl Store {
    /// Statuses that may be sent now, the oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_statuses(&self, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
        query(format!(
            "{COLUMNS} where state = 'waiting' and next_ms <= ? order by id limit ?"
        ))
        .bind(now_ms())
        .bind(limit)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("read the outbox"))?
        .iter()
        .map(outbox_row)
        .collect()
    }

    /// When the next status may be sent, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_status_ms(&self) -> Result<Option<i64>, StoreError> {
        query_scalar("select min(next_ms) from outbox where state = 'waiting'")
            .fetch_one(self.reader())
            .await
            .map_err(StoreError::db("read the outbox"))
    }

    /// Everything the forge was to be told about a build, the newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn statuses_of_build(&self, build_id: i64) -> Result<Vec<OutboxRow>, StoreError> {
        query(format!("{COLUMNS} where build_id = ? order by id desc"))
            .bind(build_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("read the outbox"))?
            .iter()
            .map(outbox_row)
            .collect()
    }

    /// The forge took it.
    ///
    /// # Errors
    /// When the database fails; then it is sent again, which is harmless.
    pub async fn status_sent(&self, id: i64) -> Result<(), StoreError> {
        self.settle_status(id, "sent", None, "").await
    }

    /// The forge will never take it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn status_refused(&self, id: i64, reason: &str) -> Result<(), StoreError> {
        self.settle_status(id, "refused", None, reason).await
    }

    /// Try again at `next_ms`, unless a newer status took its place meanwhile.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn status_later(
        &self,
        id: i64,
        next_ms: i64,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.settle_status(id, "waiting", Some(next_ms), reason)
            .await
    }

    async fn settle_status(
        &self,
        id: i64,
        state: &str,
        next_ms: Option<i64>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "update outbox set tries = tries + 1, last_error = ?1,
             next_ms = coalesce(?2, next_ms),
             state = case when state = 'replaced' and ?3 = 'waiting' then state else ?3 end,
             sent_ms = case when ?3 = 'sent' then ?4 else sent_ms end
             where id = ?5",
        )
        .bind(reason)
        .bind(next_ms)
        .bind(state)
        .bind(now_ms())
        .bind(id)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("settle a status"))?;
        tx.commit("settle_status").await
    }
}
