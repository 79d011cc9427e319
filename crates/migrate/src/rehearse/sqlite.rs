//! What SQLite says: little. Its lock is the whole database's. Who may write is known from the
//! transaction; whether readers are shut out is tried; what a statement reads and rewrites is in
//! its program, which `EXPLAIN` shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnection;

use super::sampler::{Eye, Seen};
use super::stage::{Foreseen, Probe, Shot, Table, rows};
use crate::database::sqlite::Sqlite;
use crate::database::{Conn as _, Database, Session as _, Texts};
use crate::error::{Error, is_busy};
use crate::run::Options;
use crate::sql::{Outside, Shape, Statement};

/// The key of what is locked: no table is called so.
const WHOLE: &str = "";

/// Statements that may be explained. A pragma would take effect.
const EXPLAINED: &[&str] = &[
    "alter", "create", "delete", "drop", "insert", "reindex", "replace", "select", "update", "with",
];

pub(super) struct File {
    session: Sqlite,
    version: u32,
    wal: bool,
    /// Sizes before the plan. Asked for later, they would have to be read under the lock.
    bytes: BTreeMap<String, u64>,
    /// Rows that this connection had changed so far.
    changed: u64,
    /// Where the tables were when they were last looked for.
    roots: BTreeMap<String, i64>,
}

/// Tries to read, and counts who is refused.
pub(super) struct Reader {
    conn: SqliteConnection,
    busy: Arc<AtomicU64>,
}

impl Eye for Reader {
    async fn look(&mut self) -> Option<Texts> {
        let busy = self.busy.load(Ordering::Relaxed).to_string();
        let mut seen = vec![vec![None, Some(busy), None]];
        let read = self.conn.texts("select 1 from sqlite_master limit 1").await;
        if read.is_err_and(|e| is_busy(&e)) {
            let lock = [WHOLE, "EXCLUSIVE", "t"];
            seen.push(lock.map(|word| Some(word.to_owned())).to_vec());
        }
        Some(seen)
    }
}

fn number(rows: &Texts) -> u64 {
    let text = rows.first().and_then(|r| r.first()?.as_deref());
    text.and_then(|t| t.parse().ok()).unwrap_or(0)
}

impl File {
    pub(super) async fn open(copy: &Database, options: &Options) -> Result<Self, Error> {
        let session = Sqlite::connect(copy, &options.table, false).await;
        let mut session = session.map_err(Error::database("open the copy"))?;
        let seen = rows(&mut session, "select sqlite_version()").await?;
        let text = seen.into_iter().flatten().flatten().next();
        let parts = text.unwrap_or_default();
        let version = parts
            .split('.')
            .take(3)
            .fold(0, |all, part| all * 1000 + part.parse().unwrap_or(0));
        let mode = rows(&mut session, "pragma journal_mode").await?;
        let wal = mode.into_iter().flatten().flatten().any(|m| m == "wal");
        let sql = "select name, pgsize from dbstat where aggregate = true";
        let bytes = rows(&mut session, sql)
            .await?
            .into_iter()
            .filter_map(|row| {
                let mut row = row.into_iter();
                Some((row.next()??, row.next()??.parse().ok()?))
            });
        Ok(Self {
            bytes: bytes.collect(),
            session,
            version,
            wal,
            changed: 0,
            roots: BTreeMap::new(),
        })
    }
}

impl Probe for File {
    type Session = Sqlite;
    type Eye = Reader;
    const LOCKS_AT_BEGIN: bool = true;
    const LOAD_SETTINGS: &'static [&'static str] = &["pragma busy_timeout = 0"];

    fn session(&mut self) -> &mut Sqlite {
        &mut self.session
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn notes(&self) -> Vec<String> {
        let mode = if self.wal {
            "with a write-ahead log, readers go on while the plan writes"
        } else {
            "without a write-ahead log (pragma journal_mode = wal), readers wait at each commit, \
             and earlier when the changes don't fit into the cache"
        };
        let notes = [
            "SQLite has one lock, of the whole database: a table's own time is not known",
            mode,
            "SQLite does not say who waits: only sessions of the generated load are counted, not \
             those of --load",
            "what is read and rewritten is what the statement's program says: a LIMIT, or a \
             condition that ends a loop early, is not seen",
            "the copy is in the temporary folder: a slower disk takes longer",
        ];
        notes.map(str::to_owned).to_vec()
    }

    async fn eye(
        &mut self,
        mut conn: SqliteConnection,
        busy: Arc<AtomicU64>,
    ) -> Result<Reader, Error> {
        let set = conn.execute("pragma busy_timeout = 0").await;
        set.map_err(Error::database("set up the watching session"))?;
        Ok(Reader { conn, busy })
    }

    async fn tables(&mut self) -> Result<BTreeMap<String, Table>, Error> {
        let sql = format!(
            "select m.name, l.wr, (select c.name from pragma_table_xinfo(m.name) c \
             where c.hidden = 0 order by c.pk > 0, c.cid limit 1) from sqlite_master m \
             join pragma_table_list l on l.schema = 'main' and l.name = m.name \
             where l.type = 'table' and m.name not like 'sqlite~_%' escape '~' \
             and m.name not in ({})",
            self.session.tables().names()
        );
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let mut tables = BTreeMap::new();
        for row in rows(&mut self.session, &sql).await? {
            let [Some(name), Some(without_rowid), column] = &row[..] else {
                continue;
            };
            let table = Table {
                shown: name.clone(),
                sql: Some(quoted(name)),
                bare: name.clone(),
                // Without a row id, a row is not so easily named.
                column: column
                    .as_deref()
                    .filter(|_| without_rowid == "0")
                    .map(quoted),
            };
            tables.insert(name.clone(), table);
        }
        let whole = Table {
            shown: "the whole database".to_owned(),
            ..Table::default()
        };
        tables.insert(WHOLE.to_owned(), whole);
        Ok(tables)
    }

    fn write_sql(table: &str, column: &str, at: usize) -> String {
        format!(
            "update {table} set {column} = {column} where rowid = \
             (select rowid from {table} limit 1 offset {at})"
        )
    }

    fn strength(mode: &str) -> usize {
        ["", "RESERVED", "EXCLUSIVE"]
            .iter()
            .position(|m| *m == mode)
            .unwrap_or(0)
    }

    async fn foresee(&mut self, statement: &Statement, _: &Shape) -> Result<Foreseen, Error> {
        let first = statement.tokens.first();
        let verb = first.map(|t| t.text.to_lowercase()).unwrap_or_default();
        if !EXPLAINED.contains(&verb.as_str()) {
            return Ok(Foreseen::default());
        }
        // What it can't explain it can't run either, and says why when it does not.
        let program = self
            .session
            .conn()
            .texts(&format!("explain {}", statement.text))
            .await
            .unwrap_or_default();
        Ok(read_program(&program, &self.roots, verb == "alter"))
    }

    async fn held(&mut self, seen: &Seen) -> Result<Vec<(String, String)>, Error> {
        let lock = |mode: &str| (WHOLE.to_owned(), mode.to_owned());
        let mut held = vec![lock("RESERVED")];
        held.extend(
            seen.held
                .keys()
                .filter(|(key, _)| key.as_str() == WHOLE)
                .cloned(),
        );
        Ok(held)
    }

    fn certain(&self, _: &Outside, took: Duration) -> Option<(String, String, Duration)> {
        // `VACUUM` and `PRAGMA journal_mode` need the file for themselves.
        let mode = if self.wal { "RESERVED" } else { "EXCLUSIVE" };
        Some((WHOLE.to_owned(), mode.to_owned(), took))
    }

    async fn shots(&mut self) -> Result<BTreeMap<String, Shot>, Error> {
        let sql = "select name, rootpage from sqlite_master where type = 'table'";
        let found = rows(&mut self.session, sql).await?;
        // A table that was dropped and made again, or renamed into its place, is compared with
        // what had its name: so a name that is gone is kept.
        for row in found {
            if let [Some(name), Some(root)] = &row[..]
                && let Ok(root) = root.parse()
            {
                self.roots.insert(name.clone(), root);
            }
        }
        let shot = |(name, root): (&String, &i64)| {
            let bytes = self.bytes.get(name).copied().unwrap_or(0);
            let shot = Shot {
                file: *root,
                scans: 0,
                bytes,
            };
            (name.clone(), shot)
        };
        Ok(self.roots.iter().map(shot).collect())
    }

    async fn rows(&mut self, _: u64) -> Result<u64, Error> {
        // The driver's count is that of the last statement which changed rows.
        let total = number(&rows(&mut self.session, "select total_changes()").await?);
        let since = total.saturating_sub(self.changed);
        self.changed = total;
        Ok(since)
    }

    fn at_commit(&self, has: &[&str]) -> Option<(String, String)> {
        let lock = (WHOLE.to_owned(), "EXCLUSIVE".to_owned());
        (!self.wal && !has.contains(&"EXCLUSIVE")).then_some(lock)
    }
}

/// Which tables a program goes through from end to end, and puts their rows back changed.
fn read_program(program: &Texts, roots: &BTreeMap<String, i64>, alters: bool) -> Foreseen {
    let mut cursors: BTreeMap<i64, &String> = BTreeMap::new();
    let mut begun: BTreeSet<i64> = BTreeSet::new();
    let (mut scanned, mut rewritten) = (BTreeSet::new(), BTreeSet::new());
    for row in program {
        let [_, Some(operation), Some(p1), p2, p3, ..] = &row[..] else {
            continue;
        };
        let of = |p: &Option<String>| p.as_deref().and_then(|p| p.parse::<i64>().ok());
        let cursor = p1.parse().unwrap_or(-1);
        match operation.as_str() {
            "OpenRead" | "OpenWrite" => {
                let table = roots
                    .iter()
                    .find(|(_, root)| of(p2) == Some(**root) && of(p3) == Some(0));
                begun.remove(&cursor);
                match table {
                    Some((name, _)) => cursors.insert(cursor, name),
                    None => cursors.remove(&cursor),
                };
            }
            "Rewind" | "Last" => {
                begun.insert(cursor);
            }
            "Next" | "Prev" if begun.contains(&cursor) => {
                scanned.extend(cursors.get(&cursor).copied());
            }
            "Count" => scanned.extend(cursors.get(&cursor).copied()),
            "Insert" | "IdxInsert" if alters => rewritten.extend(cursors.get(&cursor).copied()),
            _ => {}
        }
    }
    rewritten.retain(|name| scanned.contains(name));
    let keys = |names: BTreeSet<&String>| names.into_iter().cloned().collect();
    Foreseen {
        scanned: keys(scanned),
        rewritten: keys(rewritten),
    }
}
