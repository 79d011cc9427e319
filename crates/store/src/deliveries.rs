//! The inbox: every webhook request as it came, what became of it, and once more on demand.

use crate::db::now_ms;
use crate::repos::ForgeKind;
use crate::sql::{Row, query, query_scalar};
use crate::{Store, StoreError};

/// How many rejected deliveries are kept: enough to see what is wrong, too few to fill a disk.
const REJECTED_KEPT: i64 = 500;

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// Stored, not read yet.
    Received,
    /// Read; the verdict says what came of it.
    Done,
    /// It could not be read; the verdict says why. It may be replayed.
    Failed,
    /// It never got in: its signature is bad. Nothing but its measure is kept.
    Rejected,
}

impl DeliveryState {
    /// The word in the database, the API and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
        }
    }
}

/// A request, before anything is decided.
#[derive(Debug, Clone)]
pub struct NewDelivery<'a> {
    /// Chosen by the URL.
    pub forge: ForgeKind,
    /// The forge's id of the delivery, the same when it is sent again.
    pub key: &'a str,
    /// The forge's word for what happened.
    pub event: &'a str,
    /// Known already for hooks that belong to one repository.
    pub repo_id: Option<i64>,
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// Who sent it: an address, or a path for local hooks.
    pub remote: &'a str,
    /// The signature as it came, so that whoever reads the delivery later can check it against the
    /// secret of the very repository that it turns out to be about.
    pub signature: Option<&'a str>,
    /// As it came.
    pub body: &'a [u8],
}

/// What storing a delivery did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is new.
    New(i64),
    /// It was here before and has been dealt with: nothing more happens.
    Known(i64),
    /// It was here before and failed: it is read again.
    Again(i64),
}

impl Receipt {
    /// The delivery's row.
    pub fn id(self) -> i64 {
        match self {
            Self::New(id) | Self::Known(id) | Self::Again(id) => id,
        }
    }
}

/// A delivery.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Row number.
    pub id: i64,
    /// Which forge.
    pub forge: ForgeKind,
    /// The forge's id.
    pub key: String,
    /// The forge's word for what happened.
    pub event: String,
    /// The repository, once it is known.
    pub repo_id: Option<i64>,
    /// Its name.
    pub repo_name: Option<String>,
    /// When it came first.
    pub received_ms: i64,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// Who sent it.
    pub remote: String,
    /// The signature as it came.
    pub signature: Option<String>,
    /// Size of the body as it came.
    pub body_bytes: i64,
    /// How far it is.
    pub state: DeliveryState,
    /// What became of it, for people.
    pub verdict: String,
    /// The build's number in its repository, if it made one.
    pub build_number: Option<i64>,
    /// How often it came in.
    pub receipts: i64,
    /// How often it was read.
    pub readings: i64,
}

const COLUMNS: &str = "select d.id, d.forge, d.key, d.event, d.repo_id, r.name as repo_name,
    d.received_ms, d.content_type, d.remote, d.signature, d.body_bytes, d.state, d.verdict,
    b.number as build_number, d.receipts, d.readings
    from deliveries d left join repos r on r.id = d.repo_id
    left join builds b on b.id = d.build_id";

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    let forge: String = row.get("forge");
    let state: String = row.get("state");
    let state = match state.as_str() {
        "received" => DeliveryState::Received,
        "done" => DeliveryState::Done,
        "failed" => DeliveryState::Failed,
        _ => DeliveryState::Rejected,
    };
    Ok(Delivery {
        id: row.get("id"),
        forge: forge
            .parse()
            .map_err(|e: String| StoreError::corrupt("a delivery's forge", e))?,
        key: row.get("key"),
        event: row.get("event"),
        repo_id: row.get("repo_id"),
        repo_name: row.get("repo_name"),
        received_ms: row.get("received_ms"),
        content_type: row.get("content_type"),
        remote: row.get("remote"),
        signature: row.get("signature"),
        body_bytes: row.get("body_bytes"),
        state,
        verdict: row.get("verdict"),
        build_number: row.get("build_number"),
        receipts: row.get("receipts"),
        readings: row.get("readings"),
    })
}

impl Store {
    /// Stores a delivery whose signature is good. When this returns, it is on the disk: answer the
    /// forge now. Storing it again is harmless.
    ///
    /// # Errors
    /// When the database fails; then nothing may be acknowledged.
    pub async fn receive(&self, new: &NewDelivery<'_>) -> Result<Receipt, StoreError> {
        let mut tx = self.write().await?;
        let known = query(
            "update deliveries set receipts = receipts + 1,
             state = case state when 'failed' then 'received' else state end
             where forge = ? and key = ? and state <> 'rejected'
             returning id, state, readings",
        )
        .bind(new.forge.as_str())
        .bind(new.key)
        .fetch_optional(tx.conn())
        .await
        .map_err(StoreError::db("look for the delivery"))?;
        let receipt = match known {
            Some(row) => {
                let again =
                    row.get::<&str, _>("state") == "received" && row.get::<i64, _>("readings") > 0;
                if again {
                    Receipt::Again(row.get("id"))
                } else {
                    Receipt::Known(row.get("id"))
                }
            }
            None => {
                let id = query_scalar(
                    "insert into deliveries (forge, key, event, repo_id, received_ms,
                     content_type, remote, signature, body, body_bytes, state)
                     values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'received') returning id",
                )
                .bind(new.forge.as_str())
                .bind(new.key)
                .bind(new.event)
                .bind(new.repo_id)
                .bind(now_ms())
                .bind(new.content_type)
                .bind(new.remote)
                .bind(new.signature)
                .bind(new.body)
                .bind(new.body.len() as i64)
                .fetch_one(tx.conn())
                .await
                .map_err(StoreError::db("store the delivery"))?;
                Receipt::New(id)
            }
        };
        tx.commit("receive").await?;
        Ok(receipt)
    }

    /// Notes a delivery that was refused, without its body, and forgets all but the newest few.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reject(&self, new: &NewDelivery<'_>, verdict: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query(
            "insert into deliveries (forge, key, event, received_ms, content_type, remote,
             body_bytes, state, verdict, processed_ms)
             values (?, ?, ?, ?, ?, ?, ?, 'rejected', ?, ?)",
        )
        .bind(new.forge.as_str())
        .bind(new.key)
        .bind(new.event)
        .bind(now_ms())
        .bind(new.content_type)
        .bind(new.remote)
        .bind(new.body.len() as i64)
        .bind(verdict)
        .bind(now_ms())
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("note the rejected delivery"))?;
        query(
            "delete from deliveries where state = 'rejected' and id <= (
                 select id from deliveries where state = 'rejected'
                 order by id desc limit 1 offset ?)",
        )
        .bind(REJECTED_KEPT)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("forget old rejected deliveries"))?;
        tx.commit("reject").await
    }

    /// The oldest delivery that is still to be read, with its body.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_delivery(&self) -> Result<Option<(Delivery, Vec<u8>)>, StoreError> {
        let id: Option<i64> =
            query_scalar("select id from deliveries where state = 'received' order by id limit 1")
                .fetch_optional(self.reader())
                .await
                .map_err(StoreError::db("look for deliveries"))?;
        match id {
            Some(id) => Ok(Some((
                self.delivery(id).await?,
                self.delivery_body(id).await?,
            ))),
            None => Ok(None),
        }
    }

    /// Marks a delivery as read, without a build.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle(
        &self,
        id: i64,
        state: DeliveryState,
        repo_id: Option<i64>,
        verdict: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        settle(&mut tx, id, state, repo_id, verdict, None).await?;
        tx.commit("settle").await
    }

    /// Puts a delivery back into the inbox, to be read once more: after a repository was added, or
    /// a program mended. A trigger that made a build makes no second one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]; [`StoreError::Conflict`] for rejected deliveries, whose bodies
    /// were not kept.
    pub async fn replay(&self, id: i64) -> Result<(), StoreError> {
        let delivery = self.delivery(id).await?;
        if delivery.state == DeliveryState::Rejected {
            return Err(StoreError::Conflict(format!(
                "delivery {id} was rejected ({}), so its body was not kept: \
                 mend the secret and let the forge send it again",
                delivery.verdict
            )));
        }
        let mut tx = self.write().await?;
        let done =
            query("update deliveries set state = 'received' where id = ? and body is not null")
                .bind(id)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("replay the delivery"))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict(format!(
                "the body of delivery {id} was dropped because of its age: \
                 let the forge send it again"
            )));
        }
        tx.commit("replay").await
    }

    /// Drops the bodies of deliveries that are settled and came before `before_ms`; what they were
    /// and what became of them stays. Returns how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn drop_bodies(&self, before_ms: i64) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        let done = query(
            "update deliveries set body = null
             where received_ms < ? and body is not null and state <> 'received'",
        )
        .bind(before_ms)
        .execute(tx.conn())
        .await
        .map_err(StoreError::db("drop old bodies"))?;
        tx.commit("drop_bodies").await?;
        Ok(done.rows_affected())
    }

    /// One delivery.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delivery(&self, id: i64) -> Result<Delivery, StoreError> {
        query(format!("{COLUMNS} where d.id = ?"))
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("find the delivery"))?
            .map_or_else(
                || Err(StoreError::NotFound(format!("delivery {id}"))),
                |row| delivery(&row),
            )
    }

    /// Its body as it came; empty for rejected ones.
    ///
    /// # Errors
    /// [`StoreError::NotFound`].
    pub async fn delivery_body(&self, id: i64) -> Result<Vec<u8>, StoreError> {
        query_scalar::<Option<Vec<u8>>>("select body from deliveries where id = ?")
            .bind(id)
            .fetch_optional(self.reader())
            .await
            .map_err(StoreError::db("read the delivery"))?
            .map(Option::unwrap_or_default)
            .ok_or_else(|| StoreError::NotFound(format!("delivery {id}")))
    }

    /// Deliveries, newest first, at most `limit`, older than row `before` if given.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries(
        &self,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Delivery>, StoreError> {
        query(format!(
            "{COLUMNS} where d.id < ? order by d.id desc limit ?"
        ))
        .bind(before.unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(self.reader())
        .await
        .map_err(StoreError::db("list the deliveries"))?
        .iter()
        .map(delivery)
        .collect()
    }
}

pub(crate) async fn settle(
    tx: &mut crate::db::WriteTx,
    id: i64,
    state: DeliveryState,
    repo_id: Option<i64>,
    verdict: &str,
    build_id: Option<i64>,
) -> Result<(), StoreError> {
    query(
        "update deliveries set state = ?, repo_id = coalesce(?, repo_id), verdict = ?,
         build_id = coalesce(?, build_id), readings = readings + 1, processed_ms = ?
         where id = ?",
    )
    .bind(state.as_str())
    .bind(repo_id)
    .bind(verdict)
    .bind(build_id)
    .bind(now_ms())
    .bind(id)
    .execute(tx.conn())
    .await
    .map_err(StoreError::db("settle the delivery"))?;
    Ok(())
}
