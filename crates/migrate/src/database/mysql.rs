//! MySQL and MariaDB: a named lock of the session (`GET_LOCK`, polled) and the lease beside it. On
//! Galera, where named locks stop at the node, the lease alone.
//!
//! DDL commits by itself here. So files run statement by statement with a journal, and after a
//! crash the catalog is compared with a fingerprint from before.

use std::str::FromStr as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::{
    Conn, DATA, Database, Effect, Limits, Opening, Session, Tables, Texts, count_done, free_lease,
    lease_row, take_lease, token,
};
use crate::error::{Error, is_missing_table};
use crate::lock::{Attempt, Holder, Lease, Owner};
use crate::sql::{Dialect, Outside};

impl Conn for MySqlConnection {
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
                    .map(|i| {
                        let bytes = row.try_get_unchecked::<Option<Vec<u8>>, _>(i)?;
                        Ok(bytes.map(|b| String::from_utf8_lossy(&b).into_owned()))
                    })
                    .collect()
            })
            .collect()
    }
}

/// A session of MySQL or MariaDB.
pub(crate) struct Mysql {
    conn: MySqlConnection,
    options: MySqlConnectOptions,
    tables: Tables,
    /// The named lock; `None`: the lease alone.
    lock: Option<String>,
    /// Whether to find that out.
    lease_only: bool,
    id: i64,
    mariadb: bool,
    /// The address's database.
    home: String,
}

impl Mysql {
    pub(crate) async fn connect(
        database: &Database,
        table: &str,
        lease_only: bool,
    ) -> Result<Self, sqlx::Error> {
        let tables = Tables::parse(table, Dialect::Mysql)
            .map_err(|e| sqlx::Error::Configuration(e.to_string().into()))?;
        let options = MySqlConnectOptions::from_str(&database.url)?
            // The server's own rules, as for any other client.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .disable_statement_logging();
        Ok(Self {
            conn: options.connect().await?,
            options,
            tables,
            lock: None,
            lease_only,
            id: 0,
            mariadb: false,
            home: String::new(),
        })
    }

    /// Whether it is MariaDB; known after [`Mysql::look`].
    pub(crate) fn is_mariadb(&self) -> bool {
        self.mariadb
    }

    async fn scalar(&mut self, doing: &str, sql: &str) -> Result<Option<String>, Error> {
        let rows = self.conn.texts(sql).await.map_err(Error::database(doing))?;
        Ok(rows
            .into_iter()
            .next()
            .and_then(|r| r.into_iter().next())
            .flatten())
    }

    async fn run(&mut self, doing: &str, sql: &str) -> Result<u64, Error> {
        self.conn.execute(sql).await.map_err(Error::database(doing))
    }

    /// Who we are, where we are, and which lock is right here.
    pub(crate) async fn look(&mut self) -> Result<(), Error> {
        if self.id != 0 {
            return Ok(());
        }
        let rows = self
            .conn
            .texts("select database(), connection_id(), version()")
            .await
            .map_err(Error::database("look at the server"))?;
        let row = rows.into_iter().next().unwrap_or_default();
        let text = |i: usize| row.get(i).cloned().flatten();
        let Some(home) = text(0) else {
            return Err(Error::Url("the address names no database".to_owned()));
        };
        let schema = self.tables.schema.clone().unwrap_or_else(|| home.clone());
        self.home = home;
        let Tables { name, lane, .. } = &self.tables;
        self.tables = Tables::of(Some(schema.clone()), name, lane, Dialect::Mysql);
        self.id = text(1).and_then(|t| t.parse().ok()).unwrap_or(0);
        self.mariadb = text(2).is_some_and(|v| v.contains("MariaDB"));
        let galera = self
            .conn
            .texts("show variables like 'wsrep_on'")
            .await
            .map_err(Error::database("look for Galera"))?;
        let galera = galera
            .first()
            .and_then(|r| r.get(1).cloned().flatten())
            .as_deref()
            == Some("ON");
        if !galera && !self.lease_only {
            // Named locks belong to the whole server, and take 64 characters.
            let name = format!("{}{}", self.tables.name, self.tables.lane);
            let digest = Sha256::digest(format!("{schema}\0{name}"));
            self.lock = Some(format!("windlass:{}", hex::encode(&digest[..16])));
        }
        Ok(())
    }

    /// Under a row lock: the lease, if it is free or its holder is gone.
    async fn take(&mut self, me: &Owner, lease: Duration) -> Result<Attempt, Error> {
        self.run("begin", Self::BEGIN).await?;
        let sql = format!(
            "select token from {} where id = 1 for update",
            self.tables.lock
        );
        self.scalar("lock the lock's row", &sql).await?;
        if self.lock.is_none()
            && let Some(holder) = lease_row(self).await?
            && !holder.is_gone(me, lease)
        {
            self.run("roll back", "rollback").await?;
            return Ok(Attempt::Held(Some(holder)));
        }
        let sql = take_lease(self, me, Some(self.id));
        self.run("write the lock's row", &sql).await?;
        let token = token(self).await?;
        self.run("commit", "commit").await?;
        Ok(Attempt::Got(token))
    }

    fn limits(&self, limits: &Limits) -> String {
        let seconds = |d: Duration, none: u64| match d.as_millis() {
            0 => none,
            ms => u64::try_from(ms.div_ceil(1000)).unwrap_or(none),
        };
        let mut sql = format!(
            "set session lock_wait_timeout = {}, session innodb_lock_wait_timeout = {}",
            seconds(limits.lock_timeout, 31_536_000),
            seconds(limits.lock_timeout, 31_536_000)
        );
        let timeout = limits.statement_timeout;
        if self.mariadb {
            sql.push_str(&format!(
                ", session max_statement_time = {}",
                timeout.as_secs_f64()
            ));
        } else {
            // MySQL limits only SELECT.
            sql.push_str(&format!(
                ", session max_execution_time = {}",
                timeout.as_millis()
            ));
        }
        sql
    }
}

impl Session for Mysql {
    type Conn = MySqlConnection;
    const DIALECT: Dialect = Dialect::Mysql;
    const BEGIN: &'static str = "start transaction";
    const OURSELVES: &'static str = "";
    const NOW: &'static str = "cast(unix_timestamp(now(6)) * 1000 as signed)";
    const MAY_SHARE: bool = false;

    fn conn(&mut self) -> &mut MySqlConnection {
        &mut self.conn
    }

    fn beside(&mut self) {
        let Tables { schema, name, .. } = &self.tables;
        self.tables = Tables::of(schema.clone(), name, DATA, Dialect::Mysql);
        // The lock's name is found with the rest.
        self.id = 0;
        self.lock = None;
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    async fn another(&mut self) -> Result<MySqlConnection, Error> {
        let conn = self.options.connect().await;
        conn.map_err(Error::database("open a second connection"))
    }

    async fn is_empty(&mut self) -> Result<bool, Error> {
        self.look().await?;
        let names = self.tables.names();
        let sql = format!(
            "select count(*) from information_schema.tables where table_schema = database() \
             and table_name not in ({names})"
        );
        Ok(self.scalar("look for tables", &sql).await?.as_deref() == Some("0"))
    }

    async fn try_lock(&mut self, me: &Owner, lease: Duration) -> Result<Attempt, Error> {
        self.look().await?;
        if let Some(lock) = self.lock.clone() {
            let sql = format!("select get_lock('{lock}', 0)");
            if self.scalar("try the lock", &sql).await?.as_deref() != Some("1") {
                let holder = self.holder().await?;
                if let Some(holder) = &holder {
                    let silent =
                        u128::try_from(holder.silent_ms).is_ok_and(|ms| ms > lease.as_millis());
                    // Paused or cut off, and its session does nothing.
                    if silent && holder.session_state.as_deref() == Some("Sleep") {
                        self.evict(holder).await?;
                    }
                }
                return Ok(Attempt::Held(holder));
            }
        }
        let [history, row, journal, progress, _] = self.tables.definitions();
        let first = format!(
            "insert ignore into {} (id, token) values (1, 0)",
            self.tables.lock
        );
        for sql in [history, row, journal, progress, first] {
            self.run("create our tables", &sql).await?;
        }
        self.take(me, lease).await
    }

    async fn holder(&mut self) -> Result<Option<Holder>, Error> {
        self.look().await?;
        let Some(lock) = &self.lock else {
            return lease_row(self).await;
        };
        let sql = format!("select is_used_lock('{lock}')");
        let session = self.scalar("see who has the lock", &sql).await?;
        let Some(session) = session.and_then(|t| t.parse::<i64>().ok()) else {
            return Ok(None);
        };
        let sql =
            format!("select command from information_schema.processlist where id = {session}");
        let state = self.scalar("see what the holder does", &sql).await?;
        let lease = lease_row(self)
            .await?
            .filter(|l| l.session == Some(session));
        Ok(Some(match lease {
            Some(lease) => Holder {
                session_state: state,
                ..lease
            },
            None => Holder {
                name: String::new(),
                since_ms: 0,
                silent_ms: 0,
                doing: String::new(),
                token: 0,
                session: Some(session),
                session_state: state,
                home: String::new(),
                pid: 0,
                born: 0,
            },
        }))
    }

    async fn evict(&mut self, holder: &Holder) -> Result<(), Error> {
        if self.lock.is_some() {
            let Some(session) = holder.session else {
                return Ok(());
            };
            // It may be gone already.
            self.conn
                .execute(&format!("kill {session}"))
                .await
                .unwrap_or(0);
            return Ok(());
        }
        let sql = format!(
            "update {} set token = token + 1, owner = null where id = 1 and token = {}",
            self.tables.lock, holder.token
        );
        self.run("take the lock away", &sql).await.map(|_| ())
    }

    async fn release(&mut self, lease: &Lease) -> Result<(), Error> {
        let sql = free_lease(self, lease.token);
        let rows = self.run("give the lock's row back", &sql).await?;
        let freed = match self.lock.clone() {
            None => rows > 0,
            Some(lock) => {
                let sql = format!("select release_lock('{lock}')");
                self.scalar("give the lock back", &sql).await?.as_deref() == Some("1")
            }
        };
        if freed {
            return Ok(());
        }
        Err(Error::Lost {
            why: "this session did not have it any more when it gave it back".to_owned(),
        })
    }

    fn fence(&self) -> String {
        match &self.lock {
            Some(lock) => format!("is_used_lock('{lock}') = connection_id()"),
            None => "1 = 1".to_owned(),
        }
    }

    fn closing(
        &self,
        _: &str,
        _: (&str, i64),
        _: bool,
        _: impl FnOnce(&str) -> String,
    ) -> Option<String> {
        None
    }

    async fn fresh(&mut self) -> Result<(), sqlx::Error> {
        self.conn
            .execute(
                "set session sql_mode = @@global.sql_mode, \
                 session foreign_key_checks = @@global.foreign_key_checks, \
                 session unique_checks = @@global.unique_checks",
            )
            .await?;
        let sql = format!("use `{}`", self.home.replace('`', "``"));
        self.conn.execute(&sql).await.map(|_| ())
    }

    fn fresh_sql(&self) -> String {
        String::new()
    }

    fn opening(&self, _: &Limits, _: bool) -> Option<Opening> {
        None
    }

    async fn begin(&mut self, limits: &Limits, first: bool) -> Result<(), sqlx::Error> {
        if first {
            self.fresh().await?;
        }
        let sql = self.limits(limits);
        self.conn.execute(&sql).await?;
        self.conn.execute(Self::BEGIN).await.map(|_| ())
    }

    async fn alone(&mut self, limits: &Limits, _: &Outside) -> Result<(), sqlx::Error> {
        let sql = self.limits(limits);
        self.conn.execute(&sql).await.map(|_| ())
    }

    async fn broken_keys(&mut self, _: &Limits) -> Result<Option<String>, sqlx::Error> {
        Ok(None)
    }

    async fn settle(&mut self, _: &Limits) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn before(&mut self, what: &Outside) -> Result<Option<String>, Error> {
        let Outside::Ddl { table } = what else {
            return Ok(None);
        };
        let mut hash = Sha256::new();
        match table {
            Some(table) => match self.conn.texts(&format!("show create table {table}")).await {
                Ok(rows) => {
                    let row = rows.into_iter().next().unwrap_or_default();
                    let text = row.get(1).cloned().flatten().unwrap_or_default();
                    hash.update(without_counter(&text));
                }
                Err(error) if is_missing_table(&error) => hash.update("absent"),
                Err(error) => {
                    return Err(Error::database(format_args!("look at {table}"))(error));
                }
            },
            None => {
                for (table, schema, columns) in CATALOG {
                    let sql = format!(
                        "select {columns} from information_schema.{table} \
                         where {schema} = database() order by 1, 2"
                    );
                    let rows = self
                        .conn
                        .texts(&sql)
                        .await
                        .map_err(Error::database("look at the catalog"))?;
                    hash.update(format!("{table} {rows:?}"));
                }
            }
        }
        Ok(Some(hex::encode(hash.finalize())))
    }

    async fn effect(&mut self, what: &Outside, before: Option<&str>) -> Result<Effect, Error> {
        match what {
            Outside::Repeatable => Ok(Effect::No),
            Outside::Ddl { .. } => {
                let now = self.before(what).await?;
                Ok(if now.as_deref() == before {
                    Effect::No
                } else {
                    Effect::Yes
                })
            }
            _ => Ok(Effect::Unknown),
        }
    }

    async fn clear(&mut self, _: &Outside) -> Result<(), Error> {
        Ok(())
    }

    async fn broken(&mut self) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }
}

/// What is compared for a statement that is about no single table.
const CATALOG: &[(&str, &str, &str)] = &[
    ("tables", "table_schema", "table_name, table_type"),
    ("views", "table_schema", "table_name, view_definition"),
    (
        "routines",
        "routine_schema",
        "routine_name, routine_type, routine_definition, last_altered",
    ),
    (
        "triggers",
        "trigger_schema",
        "trigger_name, event_object_table, action_timing, event_manipulation, action_statement",
    ),
    (
        "events",
        "event_schema",
        "event_name, event_definition, last_altered",
    ),
];

/// The counter moves with every row.
fn without_counter(text: &str) -> String {
    let Some(at) = text.find(" AUTO_INCREMENT=") else {
        return text.to_owned();
    };
    let (head, tail) = text.split_at(at);
    let tail = tail[" AUTO_INCREMENT=".len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{head}{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_of_a_table_is_no_change_of_its_shape() {
        assert_eq!(
            without_counter("a) ENGINE=x AUTO_INCREMENT=17 CHARSET=y"),
            "a) ENGINE=x CHARSET=y"
        );
        assert_eq!(without_counter("a) ENGINE=x"), "a) ENGINE=x");
    }
}
