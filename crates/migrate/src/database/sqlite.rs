//! SQLite: the lease is the lock. It is taken, and checked again by every write, under SQLite's own
//! write lock (`BEGIN IMMEDIATE`), so two holders can't both write; and a holder that died on this
//! machine is seen at once.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::{
    Conn, DATA, Database, Effect, Limits, Opening, Session, Tables, Texts, count_done, free_lease,
    lease_row, take_lease, token,
};
use crate::error::{Error, is_busy};
use crate::lock::{Attempt, Holder, Lease, Owner};
use crate::sql::{Dialect, Outside};

/// How long one statement waits for another writer. Longer waits are made of these.
const BUSY: Duration = Duration::from_millis(500);

impl Conn for SqliteConnection {
    async fn execute(&mut self, sql: &str) -> Result<u64, sqlx::Error> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut *self)
            .await?;
        Ok(done.rows_affected())
    }

    async fn execute_all(&mut self, sql: &str) -> (usize, Result<(), sqlx::Error>) {
        count_done(self, sql).await
    }

    async fn texts(&mut self, sql: &str) -> Result<Texts, sqlx::Error> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .fetch_all(&mut *self)
            .await?;
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|i| row.try_get_unchecked::<Option<String>, _>(i))
                    .collect()
            })
            .collect()
    }
}

/// A connection to SQLite.
pub(crate) struct Sqlite {
    conn: SqliteConnection,
    options: SqliteConnectOptions,
    tables: Tables,
}

impl Sqlite {
    /// `create`: a file that is not there is made; otherwise it is taken for an empty one.
    pub(crate) async fn connect(
        database: &Database,
        table: &str,
        create: bool,
    ) -> Result<Self, sqlx::Error> {
        let tables = Tables::parse(table, Dialect::Sqlite)
            .map_err(|e| sqlx::Error::Configuration(e.to_string().into()))?;
        let mut options = SqliteConnectOptions::from_str(&database.url)?;
        if !create && !options.get_filename().exists() {
            options = options.in_memory(true);
        }
        let options = options
            .create_if_missing(create)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        Ok(Self {
            conn: options.connect().await?,
            options,
            tables,
        })
    }
}

impl Session for Sqlite {
    type Conn = SqliteConnection;
    const DIALECT: Dialect = Dialect::Sqlite;
    const BEGIN: &'static str = "begin immediate";
    const OURSELVES: &'static str = "";
    const NOW: &'static str = "cast((julianday('now') - 2440587.5) * 86400000 as integer)";
    const MAY_SHARE: bool = true;

    fn conn(&mut self) -> &mut SqliteConnection {
        &mut self.conn
    }

    fn beside(&mut self) {
        let Tables { schema, name, .. } = &self.tables;
        self.tables = Tables::of(schema.clone(), name, DATA, Dialect::Sqlite);
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    async fn another(&mut self) -> Result<SqliteConnection, Error> {
        let conn = self.options.connect().await;
        conn.map_err(Error::database("open a second connection"))
    }

    async fn is_empty(&mut self) -> Result<bool, Error> {
        let names = self.tables.names();
        let sql = format!(
            "select count(*) from sqlite_master where type in ('table', 'view') \
             and name not like 'sqlite~_%' escape '~' \
             and name not in ({names})"
        );
        let rows = self
            .conn
            .texts(&sql)
            .await
            .map_err(Error::database("look for tables"))?;
        Ok(rows
            .first()
            .and_then(|r| r.first().cloned().flatten())
            .as_deref()
            == Some("0"))
    }

    async fn try_lock(&mut self, me: &Owner, lease: Duration) -> Result<Attempt, Error> {
        match self.conn.execute("begin immediate").await {
            Ok(_) => {}
            // Somebody writes: perhaps the holder.
            Err(error) if is_busy(&error) => return Ok(Attempt::Held(self.holder().await?)),
            Err(error) => return Err(Error::database("take the write lock")(error)),
        }
        let taken = self.take(me, lease).await;
        let end = if matches!(taken, Ok(Attempt::Got(_))) {
            "commit"
        } else {
            "rollback"
        };
        let ended = self.conn.execute(end).await;
        let taken = taken?;
        match ended {
            Ok(_) => {
                if matches!(taken, Attempt::Got(_)) {
                    self.keep_journal().await?;
                }
                Ok(taken)
            }
            Err(error) => {
                // The transaction is still open then.
                self.conn.execute("rollback").await.unwrap_or(0);
                // Without a write-ahead log, readers are in the way of a commit.
                if is_busy(&error) {
                    return Ok(Attempt::Held(None));
                }
                Err(Error::database("write the lock's row")(error))
            }
        }
    }

    async fn holder(&mut self) -> Result<Option<Holder>, Error> {
        match lease_row(self).await {
            Err(Error::Database { cause, .. }) if is_busy(&cause) => Ok(None),
            other => other,
        }
    }

    async fn evict(&mut self, holder: &Holder) -> Result<(), Error> {
        // The next token: whatever the holder still writes is refused.
        let sql = format!(
            "update {} set token = token + 1, owner = null where id = 1 and token = {}",
            self.tables.lock, holder.token
        );
        self.conn
            .execute(&sql)
            .await
            .map(|_| ())
            .map_err(Error::database("take the lock away"))
    }

    async fn release(&mut self, lease: &Lease) -> Result<(), Error> {
        let sql = free_lease(self, lease.token);
        let mut tries = 0;
        loop {
            match self.conn.execute(&sql).await {
                Ok(1..) => {
                    self.remove_journal().await;
                    return Ok(());
                }
                Ok(0) => {
                    return Err(Error::Lost {
                        why: "somebody else has it".to_owned(),
                    });
                }
                // Whoever waits for the lock writes for a moment at a time.
                Err(error) if is_busy(&error) && tries < 20 => tries += 1,
                Err(error) => return Err(Error::database("give the lock back")(error)),
            }
        }
    }

    fn fence(&self) -> String {
        "1 = 1".to_owned()
    }

    fn closing(
        &self,
        guard: &str,
        (lock, token): (&str, i64),
        beat: bool,
        row: impl FnOnce(&str) -> String,
    ) -> Option<String> {
        // The write lock is ours until the commit, so reading is enough, and one page less is
        // written. But files that follow each other closely leave the heartbeat no gap.
        let row = row(&format!(
            "(select token from {lock} where id = 1 and token = {token} and owner is not null)"
        ));
        Some(if beat { format!("{guard}; {row}") } else { row })
    }

    async fn fresh(&mut self) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn fresh_sql(&self) -> String {
        String::new()
    }

    fn opening(&self, limits: &Limits, _: bool) -> Option<Opening> {
        (!limits.foreign_keys_off).then(|| Opening {
            sql: "begin immediate; ".to_owned(),
            statements: 1,
            // There is no other clock than this machine's. It may be set back in between.
            since: format!(
                "max(0, {} - {})",
                Self::NOW,
                jiff::Timestamp::now().as_millisecond()
            ),
        })
    }

    async fn begin(&mut self, limits: &Limits, _: bool) -> Result<(), sqlx::Error> {
        if limits.foreign_keys_off {
            // Inside a transaction this would do nothing.
            self.conn.execute("pragma foreign_keys = off").await?;
        }
        self.conn.execute("begin immediate").await.map(|_| ())
    }

    async fn alone(&mut self, _: &Limits, _: &Outside) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn broken_keys(&mut self, limits: &Limits) -> Result<Option<String>, sqlx::Error> {
        if !limits.foreign_keys_off {
            return Ok(None);
        }
        let rows = self.conn.texts("pragma foreign_key_check").await?;
        Ok(rows.first().map(|row| {
            let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
            format!(
                "{} row(s) would point nowhere, the first in {} (rowid {}) at {}",
                rows.len(),
                text(0),
                text(1),
                text(2)
            )
        }))
    }

    async fn settle(&mut self, limits: &Limits) -> Result<(), sqlx::Error> {
        if limits.foreign_keys_off {
            self.conn.execute("pragma foreign_keys = on").await?;
        }
        Ok(())
    }

    async fn before(&mut self, _: &Outside) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn effect(&mut self, what: &Outside, _: Option<&str>) -> Result<Effect, Error> {
        Ok(match what {
            Outside::Repeatable => Effect::No,
            _ => Effect::Unknown,
        })
    }

    async fn clear(&mut self, _: &Outside) -> Result<(), Error> {
        Ok(())
    }

    async fn broken(&mut self) -> Result<Vec<String>, Error> {
        let rows = self
            .conn
            .texts("pragma foreign_key_check")
            .await
            .map_err(Error::database("check foreign keys"))?;
        Ok(rows
            .iter()
            .take(20)
            .map(|row| {
                let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
                format!(
                    "a row of {} (rowid {}) points nowhere in {}",
                    text(0),
                    text(1),
                    text(2)
                )
            })
            .collect())
    }
}

impl Sqlite {
    /// Until the lock is given back, our connection blanks its rollback journal at a commit and does
    /// not remove it: to make a file for each migration takes as long as the migration. Other
    /// connections know such a journal for what it is (<https://sqlite.org/pragma.html#pragma_journal_mode>).
    /// A write-ahead log stays one.
    async fn keep_journal(&mut self) -> Result<(), Error> {
        if self.has_journal_mode("delete").await? {
            let kept = self.conn.execute("pragma journal_mode = persist").await;
            kept.map_err(Error::database("keep the journal"))?;
        }
        Ok(())
    }

    /// Where it was kept. The work is done: if somebody else is writing just now, a blank file stays
    /// until somebody writes again.
    async fn remove_journal(&mut self) {
        // A file may have made it a write-ahead log.
        if self.has_journal_mode("persist").await.unwrap_or(false) {
            let removed = self.conn.execute("pragma journal_mode = delete").await;
            removed.unwrap_or(0);
        }
    }

    async fn has_journal_mode(&mut self, mode: &str) -> Result<bool, Error> {
        let rows = self.conn.texts("pragma journal_mode").await;
        let rows = rows.map_err(Error::database("look at the journal"))?;
        Ok(rows.first().and_then(|row| row.first()?.as_deref()) == Some(mode))
    }

    /// Under the write lock.
    async fn take(&mut self, me: &Owner, lease: Duration) -> Result<Attempt, Error> {
        for sql in self.tables.definitions() {
            self.conn
                .execute(&sql)
                .await
                .map_err(Error::database("create our tables"))?;
        }
        if let Some(holder) = lease_row(self).await?
            && !holder.is_gone(me, lease)
        {
            return Ok(Attempt::Held(Some(holder)));
        }
        let sql = take_lease(self, me, None);
        self.conn
            .execute(&sql)
            .await
            .map_err(Error::database("write the lock's row"))?;
        Ok(Attempt::Got(token(self).await?))
    }
}
