//! What PostgreSQL says of locks and tables.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sqlx::postgres::PgConnection;

use super::sampler::{Asking, Seen};
use super::stage::{Foreseen, Probe, Shot, Table, rows};
use crate::database::postgres::Postgres;
use crate::database::{Conn as _, Database, Session as _};
use crate::error::Error;
use crate::run::Options;
use crate::sql::{Outside, Shape, Statement};

/// Modes from weak to strong, as the server's documentation lists them.
const MODES: &[&str] = &[
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

pub(super) struct Server {
    session: Postgres,
    /// Names of tables for people, by key.
    names: BTreeMap<String, String>,
}

impl Server {
    pub(super) async fn open(copy: &Database, options: &Options) -> Result<Self, Error> {
        let failed = Error::database("connect to the copy");
        let session = Postgres::connect(copy, &options.table).await;
        let mut session = session.map_err(failed)?;
        let fresh = session.fresh().await;
        fresh.map_err(Error::database("set up the session"))?;
        // A copy made of a dump has no statistics: neither the planner's nor the tables' sizes.
        let analyzed = session.conn().execute("analyze").await;
        analyzed.map_err(Error::database("analyze the copy"))?;
        Ok(Self {
            session,
            names: BTreeMap::new(),
        })
    }
}

impl Probe for Server {
    type Session = Postgres;
    type Eye = Asking<PgConnection>;

    fn session(&mut self) -> &mut Postgres {
        &mut self.session
    }

    fn version(&self) -> u32 {
        self.session.version()
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    async fn eye(&mut self, conn: PgConnection, _: Arc<AtomicU64>) -> Result<Self::Eye, Error> {
        let pid = rows(&mut self.session, "select pg_backend_pid()").await?;
        let pid: i64 = pid
            .first()
            .and_then(|r| r.first()?.as_deref()?.parse().ok())
            .unwrap_or(0);
        let sql = format!(
            "select relation::text, mode, granted::text from pg_catalog.pg_locks \
             where pid = {pid} and (locktype = 'relation' or not granted) \
             union all select null, count(*)::text, null from \
             (select pid from pg_catalog.pg_stat_activity where wait_event_type = 'Lock' \
             and datname = current_database() and pid <> {pid} offset 0) waiting \
             where {pid} = any(pg_catalog.pg_blocking_pids(waiting.pid))"
        );
        Ok(Asking::new(conn, vec![sql], Vec::new()))
    }

    async fn tables(&mut self) -> Result<BTreeMap<String, Table>, Error> {
        let sql = format!(
            "select c.oid, c.oid::regclass, c.relname, c.relkind in ('r', 'p'), \
             (select quote_ident(a.attname) from pg_catalog.pg_attribute a \
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
             and a.attgenerated = '' and a.attidentity <> 'a' order by a.attnum limit 1) \
             from pg_catalog.pg_class c \
             join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
             where c.relkind in ('r', 'p', 'm', 'v', 'f') and n.nspname !~ '^pg_' \
             and n.nspname <> 'information_schema' and c.relname not in ({})",
            self.session.tables().names()
        );
        let mut tables = BTreeMap::new();
        for row in rows(&mut self.session, &sql).await? {
            let [Some(oid), Some(name), Some(bare), Some(loaded), column] = &row[..] else {
                continue;
            };
            let table = Table {
                shown: name.clone(),
                sql: loaded.starts_with('t').then(|| name.clone()),
                bare: bare.clone(),
                column: column.clone(),
            };
            self.names.insert(oid.clone(), name.clone());
            tables.insert(oid.clone(), table);
        }
        Ok(tables)
    }

    fn write_sql(table: &str, column: &str, at: usize) -> String {
        format!(
            "update {table} set {column} = {column} where ctid = any(array(select ctid \
             from {table} offset {at} limit 1))"
        )
    }

    fn strength(mode: &str) -> usize {
        MODES.iter().position(|m| *m == mode).unwrap_or(0)
    }

    async fn foresee(&mut self, _: &Statement, shape: &Shape) -> Result<Foreseen, Error> {
        let mut foreseen = Foreseen::default();
        // Its reads are in transactions of its own, which nobody counts for us.
        if let Shape::Outside(Outside::CreateIndex { table, .. }) = shape {
            let same = |(_, name): &(_, &String)| name.trim_matches('"') == table.trim_matches('"');
            let found = self.names.iter().find(same);
            foreseen.scanned = found.map(|(oid, _)| oid.clone()).into_iter().collect();
        }
        Ok(foreseen)
    }

    async fn held(&mut self, _: &Seen) -> Result<Vec<(String, String)>, Error> {
        let sql = "select relation, mode from pg_catalog.pg_locks where pid = pg_backend_pid() \
            and locktype = 'relation' and granted";
        let found = rows(&mut self.session, sql).await?;
        let pair = |row: Vec<Option<String>>| {
            let mut row = row.into_iter();
            Some((row.next()??, row.next()??))
        };
        Ok(found.into_iter().filter_map(pair).collect())
    }

    async fn shots(&mut self) -> Result<BTreeMap<String, Shot>, Error> {
        // From the catalog alone: asking for a size would take a lock.
        let sql = "select oid, coalesce(pg_relation_filenode(oid), 0), \
            coalesce(pg_stat_get_xact_numscans(oid), 0), \
            relpages::bigint * current_setting('block_size')::bigint \
            from pg_catalog.pg_class where relkind in ('r', 'p', 'm')";
        let found = rows(&mut self.session, sql).await?;
        Ok(found
            .into_iter()
            .filter_map(|row| {
                let of = |i: usize| row.get(i)?.as_deref()?.parse::<i64>().ok();
                let shot = Shot {
                    file: of(1)?,
                    scans: of(2)?,
                    bytes: u64::try_from(of(3)?).unwrap_or(0),
                };
                Some((row.first()?.clone()?, shot))
            })
            .collect())
    }
}
