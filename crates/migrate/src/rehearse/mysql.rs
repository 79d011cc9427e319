//! What MySQL and MariaDB say of metadata locks, and of how they altered a table.
//!
//! DDL commits by itself there, so a session can't say what its statement held: the second session
//! has to see it. MariaDB shows metadata locks only with its plugin `metadata_lock_info`, which we
//! don't install on a server that is not ours.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sqlx::mysql::MySqlConnection;

use super::Measured;
use super::sampler::{Asking, EVERY, Seen};
use super::stage::{Foreseen, Probe, Shot, Table, rows};
use crate::database::mysql::Mysql;
use crate::database::{Conn as _, Database, Session as _, literal};
use crate::error::Error;
use crate::run::Options;
use crate::sql::{Dialect, Outside, Shape, Statement};

/// Modes of metadata locks that are told, from weak to strong; the first stands for the weaker.
const MODES: &[&str] = &[
    "SHARED_READ",
    "SHARED_WRITE",
    "SHARED_UPGRADABLE",
    "SHARED_READ_ONLY",
    "SHARED_NO_WRITE",
    "SHARED_NO_READ_WRITE",
    "EXCLUSIVE",
];

/// Statements that can be explained.
const EXPLAINED: &[&str] = &["delete", "insert", "replace", "select", "update", "with"];

pub(super) struct Server {
    session: Mysql,
    version: u32,
    /// The connection's number.
    id: i64,
    /// The copy's name.
    home: String,
    /// The session's own metadata locks; `None`: the server does not show them.
    locks: Option<String>,
    /// What else the second session asks.
    watches: Vec<String>,
    /// What it asks InnoDB's tables of transactions.
    seldom: Vec<String>,
    /// Where tables and indexes are; `None`: this user may not see it.
    places: Option<String>,
    /// Sizes before the plan. Sizes of later are estimates of the past, too.
    bytes: BTreeMap<String, u64>,
    notes: Vec<String>,
}

/// A row's texts, if all are there.
fn full(row: Vec<Option<String>>) -> Option<Vec<String>> {
    row.into_iter().collect()
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

impl Server {
    pub(super) async fn open(copy: &Database, options: &Options) -> Result<Self, Error> {
        let session = Mysql::connect(copy, &options.table, options.lease_only).await;
        let mut session = session.map_err(Error::database("connect to the copy"))?;
        session.look().await?;
        let seen = rows(
            &mut session,
            "select connection_id(), database(), version()",
        )
        .await?;
        let mut seen = seen.into_iter().next().and_then(full).unwrap_or_default();
        seen.resize(3, String::new());
        let digits = |c: char| !c.is_ascii_digit();
        let version = seen[2]
            .split(digits)
            .take(3)
            .fold(0, |all, part| all * 100 + part.parse::<u32>().unwrap_or(0));
        let mut server = Self {
            version,
            id: seen[0].parse().unwrap_or(0),
            home: seen[1].clone(),
            session,
            locks: None,
            watches: Vec::new(),
            seldom: Vec::new(),
            places: None,
            bytes: BTreeMap::new(),
            notes: vec![
                "locks are seen by a second session every 5 ms: shorter ones may be missed, except \
                 that every DDL statement counts as EXCLUSIVE for a moment"
                    .to_owned(),
                "row locks are not told by table; who waits for one is looked up every 150 ms: InnoDB \
                 renews what it says of that no sooner"
                    .to_owned(),
                "what is read is what EXPLAIN says of a statement, and new indexes; sizes are \
                 InnoDB's estimates"
                    .to_owned(),
            ],
        };
        server.find_what_is_shown().await;
        server.measure().await?;
        Ok(server)
    }

    /// Tries which of the server's tables there are, and may be read.
    async fn find_what_is_shown(&mut self) {
        let (id, home) = (self.id, literal(&self.home, Dialect::Mysql));
        let thread = format!(
            "(select thread_id from performance_schema.threads where processlist_id = {id})"
        );
        let mariadb = self.session.is_mariadb();
        let locks = if mariadb {
            format!(
                "select table_name, replace(lock_mode, 'MDL_', ''), 't' \
                 from information_schema.metadata_lock_info where thread_id = {id} \
                 and lock_type = 'Table metadata lock' and table_schema = {home}"
            )
        } else {
            format!(
                "select object_name, lock_type, 't' from performance_schema.metadata_locks \
                 where object_type = 'TABLE' and lock_status = 'GRANTED' \
                 and object_schema = {home} and owner_thread_id = {thread}"
            )
        };
        if self.works(&locks).await {
            self.locks = Some(locks);
        } else {
            self.notes.push(
                if mariadb {
                    "metadata locks are not shown here, so all of a DDL statement's time counts as \
                     EXCLUSIVE: INSTALL SONAME 'metadata_lock_info' on the server where the copy is \
                     made has them measured"
                } else {
                    "metadata locks are not shown here, so all of a DDL statement's time counts as \
                     EXCLUSIVE: grant SELECT on performance_schema, and enable its instrument \
                     wait/lock/metadata/sql/mdl, to have them measured"
                }
                .to_owned(),
            );
        }
        let row_waits = if mariadb {
            format!(
                "select null, count(distinct w.requesting_trx_id), null \
                 from information_schema.innodb_lock_waits w \
                 join information_schema.innodb_trx b on b.trx_id = w.blocking_trx_id \
                 where b.trx_mysql_thread_id = {id}"
            )
        } else {
            format!(
                "select null, count(distinct requesting_thread_id), null \
                 from performance_schema.data_lock_waits where blocking_thread_id = {thread}"
            )
        };
        let watches = [
            // Its own waiting, and who waits for its metadata locks: nobody else has strong ones.
            format!(
                "select null, state, 'f' from information_schema.processlist \
                 where id = {id} and state like 'Waiting for %lock'"
            ),
            format!(
                "select null, count(*), null from information_schema.processlist \
                 where db = {home} and id <> {id} and state like 'Waiting for %lock'"
            ),
        ];
        let seldom = [
            format!(
                "select null, trx_state, 'f' from information_schema.innodb_trx \
                 where trx_mysql_thread_id = {id} and trx_state = 'LOCK WAIT'"
            ),
            row_waits,
        ];
        let mut shown = true;
        for sql in watches {
            if self.works(&sql).await {
                self.watches.push(sql);
            } else {
                shown = false;
            }
        }
        for sql in seldom {
            if self.works(&sql).await {
                self.seldom.push(sql);
            } else {
                shown = false;
            }
        }
        let prefix = if mariadb { "sys_" } else { "" };
        let places = format!(
            "select substring_index(substr(t.name, {}), '#', 1), max(t.table_id), \
             max(i.index_id) from information_schema.innodb_{prefix}tables t \
             join information_schema.innodb_{prefix}indexes i on i.table_id = t.table_id \
             where left(t.name, {}) = concat({home}, '/') group by 1",
            self.home.chars().count() + 2,
            self.home.chars().count() + 1
        );
        if self.works(&places).await {
            self.places = Some(places);
        } else {
            shown = false;
        }
        if !shown {
            self.notes.push(
                "this user may not see all of InnoDB's tables: GRANT PROCESS ON *.* to it has \
                 rewrites, algorithms and waits for row locks told"
                    .to_owned(),
            );
        }
    }

    async fn works(&mut self, sql: &str) -> bool {
        self.session.conn().texts(sql).await.is_ok()
    }

    /// Sizes. A copy has no statistics yet.
    async fn measure(&mut self) -> Result<(), Error> {
        for (_, table) in self.tables().await? {
            if let Some(sql) = table.sql {
                rows(&mut self.session, &format!("analyze table {sql}")).await?;
            }
        }
        let sql = "select table_name, data_length + index_length from information_schema.tables \
            where table_schema = database() and table_type = 'BASE TABLE'";
        for row in rows(&mut self.session, sql).await? {
            if let Some([name, bytes]) = full(row).as_deref() {
                self.bytes.insert(name.clone(), bytes.parse().unwrap_or(0));
            }
        }
        Ok(())
    }

    /// The key of a table that is named in SQL; `None`: in another database.
    fn key(&self, name: &str) -> Option<String> {
        let bare = |name: &str| name.trim_matches('`').replace("``", "`");
        match name.split_once('.') {
            Some((schema, name)) => (bare(schema) == self.home).then(|| bare(name)),
            None => Some(bare(name)),
        }
    }
}

impl Probe for Server {
    type Session = Mysql;
    type Eye = Asking<MySqlConnection>;

    fn session(&mut self) -> &mut Mysql {
        &mut self.session
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    async fn eye(&mut self, conn: MySqlConnection, _: Arc<AtomicU64>) -> Result<Self::Eye, Error> {
        let queries = self.locks.iter().chain(&self.watches).cloned().collect();
        Ok(Asking::new(conn, queries, self.seldom.clone()))
    }

    async fn tables(&mut self) -> Result<BTreeMap<String, Table>, Error> {
        // A column that belongs to no key: writing a key's column to itself may take more locks.
        let sql = format!(
            "select t.table_name, (select c.column_name from information_schema.columns c \
             where c.table_schema = t.table_schema and c.table_name = t.table_name \
             and c.extra not like '%generated%' order by c.column_key <> '', c.ordinal_position \
             limit 1) from information_schema.tables t where t.table_schema = database() \
             and t.table_type = 'BASE TABLE' and t.table_name not in ({})",
            self.session.tables().names()
        );
        let mut tables = BTreeMap::new();
        for row in rows(&mut self.session, &sql).await? {
            let [Some(name), column] = &row[..] else {
                continue;
            };
            let table = Table {
                shown: name.clone(),
                sql: Some(quoted(name)),
                bare: name.clone(),
                column: column.as_deref().map(quoted),
            };
            tables.insert(name.clone(), table);
        }
        Ok(tables)
    }

    fn write_sql(table: &str, column: &str, _: usize) -> String {
        // Skipped rows would be locked, too: so it is the first.
        format!("update {table} set {column} = {column} limit 1")
    }

    fn strength(mode: &str) -> usize {
        MODES.iter().position(|m| *m == mode).unwrap_or(0)
    }

    async fn foresee(&mut self, statement: &Statement, _: &Shape) -> Result<Foreseen, Error> {
        let mut foreseen = Foreseen::default();
        let first = statement.tokens.first();
        let verb = first.map(|t| t.text.to_lowercase()).unwrap_or_default();
        if !EXPLAINED.contains(&verb.as_str()) {
            return Ok(foreseen);
        }
        let plan = self
            .session
            .conn()
            .texts(&format!("explain {}", statement.text))
            .await
            .unwrap_or_default();
        for row in plan {
            // MySQL has a column with partitions in between.
            let at = if self.session.is_mariadb() { 3 } else { 4 };
            let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
            if matches!(text(at).as_str(), "ALL" | "index") {
                foreseen.scanned.push(text(2));
            }
        }
        Ok(foreseen)
    }

    async fn held(&mut self, _: &Seen) -> Result<Vec<(String, String)>, Error> {
        let Some(sql) = self.locks.clone() else {
            return Ok(Vec::new());
        };
        let found = rows(&mut self.session, &sql).await?;
        let pair = |row| {
            let mut row = full(row)?.into_iter();
            Some((row.next()?, row.next()?))
        };
        Ok(found.into_iter().filter_map(pair).collect())
    }

    fn certain(&self, what: &Outside, took: Duration) -> Option<(String, String, Duration)> {
        let Outside::Ddl { table: Some(table) } = what else {
            return None;
        };
        // Each has it at its end, mostly for less than the time between two looks.
        let time = if self.locks.is_some() {
            took.min(EVERY)
        } else {
            took
        };
        Some((self.key(table)?, "EXCLUSIVE".to_owned(), time))
    }

    async fn shots(&mut self) -> Result<BTreeMap<String, Shot>, Error> {
        let Some(sql) = self.places.clone() else {
            return Ok(BTreeMap::new());
        };
        let found = rows(&mut self.session, &sql).await?;
        let shot = |row| {
            let row: Vec<String> = full(row)?;
            let shot = Shot {
                file: row.get(1)?.parse().ok()?,
                // A new index has the highest number, and the table was read for it.
                scans: row.get(2)?.parse().ok()?,
                bytes: self.bytes.get(row.first()?).copied().unwrap_or(0),
            };
            Some((row.first()?.clone(), shot))
        };
        Ok(found.into_iter().filter_map(shot).collect())
    }

    /// MySQL's performance schema goes on showing the lock that a statement began with (SHARED_UPGRADABLE), also
    /// while it has a stronger one. Who copies a table lets nobody write for that time, and so does the building of
    /// a full text or spatial index (MySQL's manual, "Online DDL Operations").
    fn unshown(
        &self,
        what: &Outside,
        one: &Measured,
        took: Duration,
    ) -> Option<(String, String, Duration)> {
        let Outside::Ddl { table: Some(table) } = what else {
            return None;
        };
        if self.session.is_mariadb() || self.locks.is_none() {
            return None;
        }
        let sql = one.sql.to_uppercase();
        let reads_only = match one.algorithm.as_deref() {
            Some("COPY") => true,
            Some("INPLACE") => sql.contains("FULLTEXT") || sql.contains("SPATIAL"),
            _ => false,
        };
        reads_only.then_some((self.key(table)?, "SHARED_NO_WRITE".to_owned(), took))
    }

    fn algorithm(&self, what: &Outside, one: &Measured) -> Option<&'static str> {
        let Outside::Ddl { table: Some(table) } = what else {
            return None;
        };
        let key = self.key(table)?;
        let verb = one.sql.split_whitespace().next()?.to_lowercase();
        let alters = verb == "alter" || verb == "create" && !one.scanned.is_empty();
        self.places
            .as_ref()
            .filter(|_| alters && self.bytes.contains_key(&key))?;
        Some(if one.rewritten.is_empty() {
            if one.scanned.is_empty() {
                "INSTANT"
            } else {
                "INPLACE"
            }
        } else if one.rows > 0 {
            // Only this one counts the rows.
            "COPY"
        } else {
            "INPLACE"
        })
    }
}
