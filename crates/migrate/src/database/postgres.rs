//! PostgreSQL: a session advisory lock, polled and never waited in, and the lease beside it.
//!
//! Polled: a session that waits inside `pg_advisory_lock` holds a snapshot, and `CREATE INDEX
//! CONCURRENTLY` of the holder waits for that snapshot: a deadlock.

use std::str::FromStr as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::{
    Conn, DATA, Database, Effect, Limits, Opening, Session, Tables, Texts, count_done, folded,
    free_lease, lease_row, literal, take_lease, token,
};
use crate::error::{Error, code, is_gone};
use crate::lock::{Attempt, Holder, Lease, Owner};
use crate::sql::{Dialect, Outside};

impl Conn for PgConnection {
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
        rows.iter().map(row_texts).collect()
    }
}

/// The simple protocol answers in text, whatever the type.
fn row_texts(row: &PgRow) -> Result<Vec<Option<String>>, sqlx::Error> {
    use sqlx::ValueRef as _;
    (0..row.len())
        .map(|i| {
            let value = row.try_get_raw(i)?;
            if value.is_null() {
                return Ok(None);
            }
            let text = value.as_str().map_err(sqlx::Error::Decode)?;
            Ok(Some(text.to_owned()))
        })
        .collect()
}

/// A session of PostgreSQL.
pub(crate) struct Postgres {
    conn: PgConnection,
    options: PgConnectOptions,
    tables: Tables,
    /// The server process that serves us; known once the lock was tried.
    pid: i64,
    key: i64,
    settings: String,
    /// The second connection, once it is known to be one.
    other: Option<PgConnection>,
}

impl Postgres {
    pub(crate) async fn connect(database: &Database, table: &str) -> Result<Self, sqlx::Error> {
        let tables = Tables::parse(table, Dialect::Postgres)
            .map_err(|e| sqlx::Error::Configuration(e.to_string().into()))?;
        let options = PgConnectOptions::from_str(&database.url)?
            .application_name(&format!("windlass migrate {}", Owner::me("").name))
            // PgBouncer refuses this one at the start of a session.
            .extra_float_digits(None)
            .disable_statement_logging();
        let conn = options.connect().await?;
        let settings = settings(conn.server_version_num().unwrap_or(0));
        Ok(Self {
            conn,
            options,
            key: key(&tables),
            tables,
            pid: 0,
            settings,
            other: None,
        })
    }

    /// Such as 150014.
    pub(crate) fn version(&self) -> u32 {
        self.conn.server_version_num().unwrap_or(0)
    }

    async fn texts(&mut self, doing: &str, sql: &str) -> Result<Texts, Error> {
        let rows = self.conn.texts(sql).await;
        rows.map_err(Error::database(doing))
    }

    async fn scalar(&mut self, doing: &str, sql: &str) -> Result<Option<String>, Error> {
        let rows = self.texts(doing, sql).await?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|r| r.into_iter().next())
            .flatten())
    }

    /// The schema that our tables are in, or will be in. From here on names hold it: a file that
    /// sets `search_path` moves nothing of ours.
    pub(crate) async fn find_schema(&mut self) -> Result<(), Error> {
        if self.tables.schema.is_none() {
            let sql = format!(
                "select coalesce((select n.nspname from pg_catalog.pg_class c \
                 join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
                 where c.oid = to_regclass({})), current_schema())",
                literal(&self.tables.history, Dialect::Postgres)
            );
            let schema = self.scalar("look for the schema", &sql).await?;
            let schema = schema.ok_or_else(|| {
                Error::Refused("no schema of the search_path exists: create one first".to_owned())
            })?;
            let Tables { name, lane, .. } = &self.tables;
            self.tables = Tables::of(Some(schema), name, lane, Dialect::Postgres);
            self.key = key(&self.tables);
        }
        Ok(())
    }

    /// SQL: sessions that hold our lock.
    fn lock_rows(&self) -> String {
        format!(
            "pg_catalog.pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1 \
             and l.classid = {}::bigint::oid and l.objid = {}::bigint::oid \
             and l.database = (select oid from pg_catalog.pg_database \
             where datname = current_database())",
            self.key.cast_unsigned() >> 32,
            self.key.cast_unsigned() & 0xffff_ffff,
        )
    }

    /// Whether we are still in the session that has the lock, and the other connection is not, but
    /// sees the lock.
    async fn is_direct(&mut self, other: &mut PgConnection) -> Result<bool, Error> {
        let mine = self
            .scalar("look for a pooler", "select pg_backend_pid()")
            .await?;
        let ask = format!(
            "select pg_backend_pid(), exists(select from {} and l.pid = {})",
            self.lock_rows(),
            self.pid
        );
        let theirs = other
            .texts(&ask)
            .await
            .map_err(Error::database("look for a pooler"))?;
        let theirs = theirs.first().cloned().unwrap_or_default();
        let pid = self.pid.to_string();
        Ok(mine.as_deref() == Some(&pid)
            && theirs.first().cloned().flatten().as_deref() != Some(&pid)
            && theirs.get(1).cloned().flatten().as_deref() == Some("t"))
    }

    /// With the lock in hand: whether two connections to this address share a session. If so, the
    /// lock is given back, by ending the session if there is no other way.
    async fn refuse_pooler(&mut self, other: &mut PgConnection) -> Result<(), Error> {
        let pid = self.pid.to_string();
        let mut direct = true;
        // Once may be chance: a pool that gets one more session between two questions looks like none.
        for _ in 0..POOLER_PROBES {
            direct = direct && self.is_direct(other).await?;
        }
        if direct {
            return Ok(());
        }
        let free = format!(
            "select case when pg_backend_pid() = {pid} then pg_catalog.pg_advisory_unlock({}) \
             else pg_terminate_backend({pid}) end from {} and l.pid = {pid}",
            self.key,
            self.lock_rows(),
        );
        // If even that fails, the pooler's own life time of sessions frees it.
        other.texts(&free).await.unwrap_or_default();
        Err(Error::Pooled)
    }
}

/// The lock's key: one per database (the server's own rule), schema and table.
fn key(tables: &Tables) -> i64 {
    let schema = tables.schema.as_deref().unwrap_or_default();
    let name = format!("{}{}", tables.name, tables.lane);
    let digest = Sha256::digest(format!("windlass migrate\0{schema}\0{name}"));
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(bytes)
}

/// What a session needs so that a lost client frees the lock, and so that no setting of the role
/// ends it early.
pub(crate) fn settings(version: u32) -> String {
    let mut text = "set standard_conforming_strings = on; set tcp_keepalives_idle = 10; \
        set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3; \
        set idle_in_transaction_session_timeout = 0; "
        .to_owned();
    if version >= 120_000 {
        text.push_str("set tcp_user_timeout = '20s'; ");
    }
    if version >= 140_000 {
        text.push_str(
            "set client_connection_check_interval = '2s'; set idle_session_timeout = 0; ",
        );
    }
    text
}

const RESET: &str = "reset session authorization; reset role; reset all; ";

/// How often it is asked whether there is a pooler, each time of both connections.
const POOLER_PROBES: usize = 3;

fn begin(limits: &Limits) -> String {
    format!(
        "begin; set local lock_timeout = {}; set local statement_timeout = {}",
        millis(limits.lock_timeout),
        millis(limits.statement_timeout)
    )
}

fn millis(duration: Duration) -> String {
    format!("'{}ms'", duration.as_millis())
}

impl Session for Postgres {
    type Conn = PgConnection;
    const DIALECT: Dialect = Dialect::Postgres;
    const BEGIN: &'static str = "begin";
    const OURSELVES: &'static str =
        "set local session authorization default; set local role none; ";
    const NOW: &'static str = "(extract(epoch from clock_timestamp()) * 1000)::bigint";
    const MAY_SHARE: bool = false;

    fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    fn beside(&mut self) {
        let Tables { schema, name, .. } = &self.tables;
        self.tables = Tables::of(schema.clone(), name, DATA, Dialect::Postgres);
        self.key = key(&self.tables);
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    async fn another(&mut self) -> Result<PgConnection, Error> {
        if let Some(other) = self.other.take() {
            return Ok(other);
        }
        let conn = self.options.connect().await;
        conn.map_err(Error::database("open a second connection"))
    }

    async fn is_empty(&mut self) -> Result<bool, Error> {
        let schema = match &self.tables.schema {
            Some(schema) => literal(schema, Dialect::Postgres),
            None => "current_schema()".to_owned(),
        };
        let names = self.tables.names();
        let sql = format!(
            "select not exists(select from pg_catalog.pg_class c \
             join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname = {schema} \
             and c.relname not in ({names}) \
             and not exists(select from pg_catalog.pg_depend d where d.objid = c.oid \
             and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype = 'e'))"
        );
        Ok(self.scalar("look for tables", &sql).await?.as_deref() == Some("t"))
    }

    async fn try_lock(&mut self, me: &Owner, lease: Duration) -> Result<Attempt, Error> {
        self.find_schema().await?;
        let sql = format!(
            "select pg_catalog.pg_try_advisory_lock({}), pg_backend_pid()",
            self.key
        );
        let rows = self.texts("try the lock", &sql).await?;
        let row = rows.first().cloned().unwrap_or_default();
        if row.first().cloned().flatten().as_deref() != Some("t") {
            let holder = self.holder().await?;
            if let Some(holder) = &holder {
                self.end_silent(holder, lease).await?;
            }
            return Ok(Attempt::Held(holder));
        }
        let pid = row.get(1).cloned().flatten().and_then(|t| t.parse().ok());
        self.pid = pid.unwrap_or(0);
        let mut other = self.another().await?;
        self.refuse_pooler(&mut other).await?;
        let settings = self.settings.clone();
        for conn in [&mut self.conn, &mut other] {
            conn.execute(&settings)
                .await
                .map_err(Error::database("set up the session"))?;
        }
        self.other = Some(other);
        let there = format!(
            "select to_regclass({}) is not null and to_regclass({}) is not null",
            literal(&self.tables.lock, Dialect::Postgres),
            // The newest of our tables: an older release made the others.
            literal(&self.tables.progress, Dialect::Postgres)
        );
        if self.scalar("look for our tables", &there).await?.as_deref() != Some("t") {
            let sql = format!("begin; {}; commit", self.tables.definitions().join("; "));
            let mut made = self.conn.execute(&sql).await;
            // The holder of our other lock may make the same tables: "if not exists" fails then.
            if let Err(error) = &made
                && matches!(code(error).as_str(), "23505" | "42P07")
            {
                made = match self.conn.execute("rollback").await {
                    Ok(_) => self.conn.execute(&sql).await,
                    Err(error) => Err(error),
                };
            }
            made.map_err(Error::database("create our tables"))?;
        }
        let sql = take_lease(self, me, Some(self.pid));
        self.conn
            .execute(&sql)
            .await
            .map_err(Error::database("write the lock's row"))?;
        Ok(Attempt::Got(token(self).await?))
    }

    async fn holder(&mut self) -> Result<Option<Holder>, Error> {
        self.find_schema().await?;
        let sql = format!(
            "select l.pid, a.state, a.application_name, \
             (extract(epoch from a.backend_start) * 1000)::bigint \
             from {} limit 1",
            self.lock_rows().replacen(
                "pg_catalog.pg_locks l",
                "pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid",
                1
            )
        );
        let rows = self.texts("see who has the lock", &sql).await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let text = |i: usize| row.get(i).cloned().flatten();
        let number = |i: usize| text(i).and_then(|t| t.parse::<i64>().ok());
        let session = number(0);
        let lease = lease_row(self).await?.filter(|l| l.session == session);
        let state = text(1);
        Ok(Some(match lease {
            Some(lease) => Holder {
                session_state: state,
                ..lease
            },
            // It has the lock and has not written its row yet, or is no Windlass.
            None => Holder {
                name: text(2).unwrap_or_default(),
                since_ms: number(3).unwrap_or(0),
                silent_ms: 0,
                doing: String::new(),
                token: 0,
                session,
                session_state: state,
                home: String::new(),
                pid: 0,
                born: 0,
            },
        }))
    }

    async fn evict(&mut self, holder: &Holder) -> Result<(), Error> {
        if let Some(session) = holder.session {
            let sql = format!(
                "select pg_terminate_backend(l.pid) from {} and l.pid = {session}",
                self.lock_rows()
            );
            self.texts("end the holder's session", &sql).await?;
        }
        Ok(())
    }

    async fn release(&mut self, lease: &Lease) -> Result<(), Error> {
        // Whoever the last file has made of us.
        let sql = format!("{RESET}{}", free_lease(self, lease.token));
        self.conn
            .execute(&sql)
            .await
            .map_err(Error::database("give the lock's row back"))?;
        let sql = format!("select pg_catalog.pg_advisory_unlock({})", self.key);
        if self.scalar("give the lock back", &sql).await?.as_deref() == Some("t") {
            return Ok(());
        }
        Err(Error::Lost {
            why: "this session did not have it any more when it gave it back".to_owned(),
        })
    }

    fn fence(&self) -> String {
        // pg_locks would tell, but to plan a query of it takes longer than the rest of our row. Only
        // who has the lock can give it back; meanwhile the transaction has it.
        let key = self.key;
        format!(
            "case when pg_catalog.pg_try_advisory_xact_lock({key}) then case when pg_catalog.pg_advisory_unlock({key}) \
             then pg_catalog.pg_try_advisory_lock({key}) else false end else false end"
        )
    }

    fn closing(
        &self,
        guard: &str,
        _: (&str, i64),
        _: bool,
        row: impl FnOnce(&str) -> String,
    ) -> Option<String> {
        let row = row("(select token from ours)");
        Some(format!("with ours as ({guard} returning token) {row}"))
    }

    async fn fresh(&mut self) -> Result<(), sqlx::Error> {
        let sql = format!("{RESET}{}", self.settings);
        self.conn.execute(&sql).await.map(|_| ())
    }

    fn fresh_sql(&self) -> String {
        format!("; {RESET}{}", self.settings)
    }

    fn opening(&self, limits: &Limits, clean: bool) -> Option<Opening> {
        // Unclean: the server reads a message's strings as the last file has set it, and only then
        // does what the message says.
        clean.then(|| Opening {
            sql: format!("{}; ", begin(limits)),
            statements: 3,
            since: "(extract(epoch from pg_catalog.clock_timestamp() - pg_catalog.now()) * 1000)::bigint"
                .to_owned(),
        })
    }

    async fn begin(&mut self, limits: &Limits, first: bool) -> Result<(), sqlx::Error> {
        let (reset, settings) = if first {
            (RESET, self.settings.as_str())
        } else {
            ("", "")
        };
        let sql = format!("{reset}{settings}{}", begin(limits));
        self.conn.execute(&sql).await.map(|_| ())
    }

    async fn alone(&mut self, limits: &Limits, what: &Outside) -> Result<(), sqlx::Error> {
        // What runs CONCURRENTLY waits for old transactions without being in anybody's way.
        let waits = matches!(
            what,
            Outside::CreateIndex { .. } | Outside::DropIndex { .. } | Outside::Reindex
        );
        let lock = if waits {
            Duration::ZERO
        } else {
            limits.lock_timeout
        };
        let sql = format!(
            "set lock_timeout = {}; set statement_timeout = {}",
            millis(lock),
            millis(limits.statement_timeout)
        );
        self.conn.execute(&sql).await.map(|_| ())
    }

    async fn broken_keys(&mut self, _: &Limits) -> Result<Option<String>, sqlx::Error> {
        Ok(None)
    }

    async fn settle(&mut self, _: &Limits) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn before(&mut self, _: &Outside) -> Result<Option<String>, Error> {
        Ok(None)
    }

    async fn effect(&mut self, what: &Outside, _: Option<&str>) -> Result<Effect, Error> {
        let yes = |is: bool| if is { Effect::Yes } else { Effect::No };
        match what {
            Outside::CreateIndex {
                name: Some(name),
                table,
            } => {
                let sql = format!("{} and i.indisvalid", index(name, table));
                Ok(yes(self
                    .scalar("look for the index", &sql)
                    .await?
                    .is_some()))
            }
            Outside::DropIndex { name } => {
                let sql = format!("select to_regclass({})", literal(name, Dialect::Postgres));
                Ok(yes(self
                    .scalar("look for the index", &sql)
                    .await?
                    .is_none()))
            }
            Outside::DetachPartition { parent, child } => {
                let quoted = |name: &str| literal(name, Dialect::Postgres);
                let sql = format!(
                    "select inhdetachpending from pg_catalog.pg_inherits \
                     where inhparent = to_regclass({}) and inhrelid = to_regclass({})",
                    quoted(parent),
                    quoted(child)
                );
                match self
                    .scalar("look for the partition", &sql)
                    .await?
                    .as_deref()
                {
                    None => Ok(Effect::Yes),
                    Some("t") => {
                        let sql = format!("alter table {parent} detach partition {child} finalize");
                        self.conn
                            .execute(&sql)
                            .await
                            .map_err(Error::database("finish detaching a partition"))?;
                        Ok(Effect::Yes)
                    }
                    Some(_) => Ok(Effect::No),
                }
            }
            Outside::Reindex | Outside::Repeatable => Ok(Effect::No),
            _ => Ok(Effect::Unknown),
        }
    }

    async fn clear(&mut self, what: &Outside) -> Result<(), Error> {
        let sql = match what {
            Outside::CreateIndex {
                name: Some(name),
                table,
            } => {
                format!(
                    "{} and not i.indisvalid and {UNATTENDED}",
                    index(name, table)
                )
            }
            Outside::Reindex => format!(
                "select i.indexrelid::regclass from pg_catalog.pg_index i \
                 join pg_catalog.pg_class c on c.oid = i.indexrelid \
                 where not i.indisvalid and c.relname ~ '_cc(new|old)[0-9]*$' and {UNATTENDED}"
            ),
            _ => return Ok(()),
        };
        for row in self.texts("look for invalid indexes", &sql).await? {
            let Some(name) = row.into_iter().next().flatten() else {
                continue;
            };
            // Not in one message: CONCURRENTLY must stand alone.
            let drop = format!("drop index concurrently if exists {name}");
            for sql in ["set lock_timeout = 0", &drop] {
                self.conn
                    .execute(sql)
                    .await
                    .map_err(Error::database(format_args!(
                        "drop the invalid index {name}"
                    )))?;
            }
        }
        Ok(())
    }

    async fn broken(&mut self) -> Result<Vec<String>, Error> {
        let sql = format!(
            "select i.indexrelid::regclass, i.indrelid::regclass from pg_catalog.pg_index i \
             where not i.indisvalid and {UNATTENDED} order by 1"
        );
        let rows = self.texts("look for invalid indexes", &sql).await?;
        let name =
            |row: &[Option<String>], i: usize| row.get(i).cloned().flatten().unwrap_or_default();
        Ok(rows
            .iter()
            .map(|row| format!("the index {} on {} is invalid", name(row, 0), name(row, 1)))
            .collect())
    }
}

/// SQL: nobody is building it at this moment.
const UNATTENDED: &str = "not exists(select from pg_catalog.pg_stat_progress_create_index p \
    where p.index_relid = i.indexrelid or p.relid = i.indrelid)";

/// SQL: the index of this name on this table.
fn index(name: &str, table: &str) -> String {
    format!(
        "select i.indexrelid::regclass from pg_catalog.pg_index i \
         join pg_catalog.pg_class c on c.oid = i.indexrelid \
         where c.relname = {} and i.indrelid = to_regclass({})",
        literal(&folded(name), Dialect::Postgres),
        literal(table, Dialect::Postgres)
    )
}

impl Postgres {
    /// Ends the session of a holder that was paused, cut off or frozen: its lease ran out, and its
    /// session does nothing. A session that works on a statement is left alone, however silent.
    async fn end_silent(&mut self, holder: &Holder, lease: Duration) -> Result<(), Error> {
        let silent = u128::try_from(holder.silent_ms).is_ok_and(|ms| ms > lease.as_millis());
        if !silent || holder.session_state.as_deref() == Some("active") {
            return Ok(());
        }
        let sql = format!(
            "select pg_terminate_backend(a.pid) from pg_catalog.pg_stat_activity a \
             join {row} r on r.id = 1 and r.session_id = a.pid and r.token = {token} \
             where r.heartbeat_ms < {now} - {lease} and a.state <> 'active' \
             and exists(select from {locks} and l.pid = a.pid)",
            row = self.tables.lock,
            token = holder.token,
            now = Self::NOW,
            lease = lease.as_millis(),
            locks = self.lock_rows(),
        );
        match self.conn.texts(&sql).await {
            Err(error) if is_gone(&error) => {
                Err(Error::database("end a silent holder's session")(error))
            }
            // Not our role's session: its owner's `unlock` can.
            _ => Ok(()),
        }
    }
}
