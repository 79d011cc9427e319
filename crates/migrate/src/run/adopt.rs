//! Teams that come from another tool, go back to it, or use both for a while: what its history table says was
//! applied is applied here, and the other way round.
//!
//! While one runs beside the other ([`Options::beside`]), both locks are held, and a file's row in their table is
//! written in the transaction that writes ours. So a difference between the two is always the other tool's doing.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::apply::{Direction, insert_row};
use super::locked::{Locked, lost_or};
use super::tool::{Entry, Key, Tool, Width};
use super::{Event, Options, Pauses, Tell, with_session};
use crate::database::{Conn as _, Database, Session, history, identifier, literal};
use crate::error::{Error, is_missing_table};
use crate::folder::{File, Folder};
use crate::plan::History;
use crate::sql::Dialect;

/// What was taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    /// Recorded as applied.
    pub recorded: Vec<i64>,
    /// In the other tool's history, and not in this folder.
    pub unknown: Vec<String>,
    /// Below the newest applied, and not in the other tool's history: `up` would call them out of
    /// order.
    pub skipped: Vec<i64>,
}

/// Reads another tool's history table and records the same in ours. Theirs stays as it is.
///
/// # Errors
/// See [`Error`]; [`Error::Refused`] when there is no such table, or it says that something is half
/// done.
pub async fn adopt(
    database: &Database,
    folder: &Folder,
    tool: Tool,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Adopted, Error> {
    let doing = "taking over another tool's history";
    with_session!(database, options, create: false, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, doing, &|_| true).await?
        else {
            return Ok(Adopted::default());
        };
        let worked = async {
            locked.lock_beside(tool, options, tell).await?;
            take_over(&mut locked, folder, tool, options).await
        }
        .await;
        locked.finish(worked).await
    })
}

async fn take_over<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    tool: Tool,
    options: &Options,
) -> Result<Adopted, Error> {
    let theirs = known(&mut locked.session, tool, false).await?;
    let mut out = Adopted {
        unknown: theirs.unknown(folder),
        ..Adopted::default()
    };
    let newest = folder.files.iter().map(|f| f.version);
    let newest = newest.filter(|v| theirs.has(*v)).max().unwrap_or(0);
    let seen = history(&mut locked.session).await?;
    let mut sql = Vec::new();
    for file in &folder.files {
        if seen.find(file.version).is_some() {
            continue;
        }
        if theirs.has(file.version) {
            sql.push(insert_row(locked, file, "baseline", 0));
            out.recorded.push(file.version);
        } else if file.version < newest {
            out.skipped.push(file.version);
        }
    }
    locked.write(&sql, options.retries).await?;
    Ok(out)
}

/// What another tool's table says is applied.
struct Theirs {
    tool: Tool,
    /// As the tool writes them, with their checksums.
    rows: Vec<(String, Option<String>)>,
    numbers: HashMap<i64, Option<String>>,
    newest: i64,
}

impl Theirs {
    fn has(&self, version: i64) -> bool {
        match self.tool {
            Tool::GolangMigrate => version <= self.newest,
            _ => self.numbers.contains_key(&version),
        }
    }

    /// Versions that no file has.
    fn unknown(&self, folder: &Folder) -> Vec<String> {
        let rows = self.rows.iter().map(|(version, _)| version);
        // Versions are numbers here, and text with some tools: 001 is 1.
        rows.filter(|v| !v.parse().is_ok_and(|n| folder.find(n).is_some()))
            .cloned()
            .collect()
    }

    /// Whether the checksums in the table are those that files give, and of which kind they are.
    fn width(&self, folder: &Folder) -> Result<Width, Error> {
        let differs = |width| -> Result<Option<&File>, Error> {
            for file in &folder.files {
                let Some(Some(there)) = self.numbers.get(&file.version) else {
                    continue;
                };
                let entry = self.tool.entry(file, width)?;
                if entry.is_some_and(|entry| entry.checksum.as_ref() != Some(there)) {
                    return Ok(Some(file));
                }
            }
            Ok(None)
        };
        let Some(file) = differs(Width::Narrow)? else {
            return Ok(Width::Narrow);
        };
        if self.tool == Tool::Refinery && differs(Width::Wide)?.is_none() {
            return Ok(Width::Wide);
        }
        let tool = self.tool.name();
        Err(Error::Refused(format!(
            "{tool}'s history has another checksum for {}: the file was changed after {tool} had applied it \
             (or {tool} is told to leave characters out). Put that right with {tool} first",
            file.file
        )))
    }
}

/// What the other tool's table says is applied; `sums`: and of which content. `None`: there is no such table.
async fn theirs<S: Session>(
    session: &mut S,
    tool: Tool,
    sums: bool,
) -> Result<Option<Theirs>, Error> {
    let sql = tool.query(sums, S::DIALECT);
    let rows = match session.conn().texts(&sql).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => return Ok(None),
        Err(error) => return Err(Error::database("read the other tool's history")(error)),
    };
    let mut found = Theirs {
        tool,
        rows: Vec::new(),
        numbers: HashMap::new(),
        newest: 0,
    };
    for row in rows {
        let text = |i: usize| row.get(i).cloned().flatten();
        let version = text(0).unwrap_or_default();
        if text(1).as_deref() != Some("1") {
            return Err(Error::Refused(format!(
                "the other tool left {version} half done: put that right with it first"
            )));
        }
        if let Ok(number) = version.parse() {
            found.newest = found.newest.max(number);
            found.numbers.insert(number, text(2));
        }
        found.rows.push((version, text(2)));
    }
    Ok(Some(found))
}

/// The same, where it must be there.
async fn known<S: Session>(session: &mut S, tool: Tool, sums: bool) -> Result<Theirs, Error> {
    let found = theirs(session, tool, sums).await?;
    found.ok_or_else(|| not_there(tool))
}

fn not_there(tool: Tool) -> Error {
    Error::Refused(format!(
        "the other tool's history table is not in this database (or not on its search_path): {} of {}",
        tool.table(),
        tool.name()
    ))
}

/// What was written into another tool's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct HandedBack {
    /// Applied here, and new there.
    pub recorded: Vec<i64>,
    /// Not applied here any more, and taken out there.
    pub removed: Vec<i64>,
}

/// Writes into another tool's history table what ours says of the folder's files, so that it can go
/// on from here. What it knows besides stays, and so does a file that it would not take by its name.
///
/// # Errors
/// See [`Error`]; [`Error::Refused`] when there is no such table, when its one number can't say it, or when its
/// checksums are not those of the files.
pub async fn hand_back(
    database: &Database,
    folder: &Folder,
    tool: Tool,
    options: &Options,
    tell: Tell<'_>,
) -> Result<HandedBack, Error> {
    let doing = "handing the history to another tool";
    with_session!(database, options, create: false, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, doing, &|_| true).await?
        else {
            return Ok(HandedBack::default());
        };
        let worked = async {
            locked.lock_beside(tool, options, tell).await?;
            give(&mut locked, folder, tool, options).await
        }
        .await;
        locked.finish(worked).await
    })
}

async fn give<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    tool: Tool,
    options: &Options,
) -> Result<HandedBack, Error> {
    let theirs = known(&mut locked.session, tool, true).await?;
    let seen = history(&mut locked.session).await?;
    let mut out = HandedBack::default();
    let mut sql = Vec::new();
    if tool == Tool::GolangMigrate {
        let newest = one_number(folder, &seen)?;
        if newest.unwrap_or(0) != theirs.newest {
            sql = number(tool.table(), newest);
            out.recorded.extend(newest);
        }
    } else {
        let width = theirs.width(folder)?;
        for file in &folder.files {
            let Some(entry) = tool.entry(file, width)? else {
                continue;
            };
            // dbmate compares the digits as text.
            let there = match tool {
                Tool::Dbmate => theirs.rows.iter().any(|(v, _)| *v == entry.version),
                _ => theirs.has(file.version),
            };
            match (seen.find(file.version), there) {
                (Some(row), false) => {
                    let ms = u128::try_from(row.duration_ms).unwrap_or(0);
                    sql.push(tool.insert(tool.table(), &entry, ms, S::DIALECT));
                    out.recorded.push(file.version);
                }
                (None, true) => {
                    sql.push(tool.delete(tool.table(), &entry, S::DIALECT));
                    out.removed.push(file.version);
                }
                _ => {}
            }
        }
    }
    locked.write(&sql, options.retries).await?;
    Ok(out)
}

/// The number that golang-migrate would remember.
fn one_number(folder: &Folder, seen: &History) -> Result<Option<i64>, Error> {
    let (applied, open): (Vec<_>, Vec<_>) = folder
        .files
        .iter()
        .partition(|file| seen.find(file.version).is_some());
    let newest = applied.last().map(|file| file.version);
    if let (Some(newest), Some(open)) = (newest, open.first())
        && open.version < newest
    {
        return Err(Error::Refused(format!(
            "golang-migrate remembers one number, and takes all files up to it for applied: {} is \
             not, although {newest} is",
            open.file
        )));
    }
    Ok(newest)
}

/// SQL that makes golang-migrate remember this.
fn number(table: &str, newest: Option<i64>) -> Vec<String> {
    let mut sql = vec![format!("delete from {table}")];
    sql.extend(
        newest
            .map(|newest| format!("insert into {table} (version, dirty) values ({newest}, false)")),
    );
    sql
}

/// Another tool that works on the database too.
#[derive(Debug)]
pub(super) struct Beside {
    tool: Tool,
    key: Option<Key>,
    /// Its table, with its schema: a file that sets `search_path` moves nothing of theirs.
    table: String,
    /// What it writes of each file.
    entries: HashMap<i64, Entry>,
}

impl Beside {
    /// SQL that writes in its table what happened to a file; nothing for files that it does not know.
    pub(super) fn record(
        &self,
        version: i64,
        direction: Direction,
        ms: u128,
        dialect: Dialect,
    ) -> Vec<String> {
        let Some(entry) = self.entries.get(&version) else {
            return Vec::new();
        };
        match (self.tool, direction) {
            (Tool::GolangMigrate, Direction::Up) => number(&self.table, Some(version)),
            (Tool::GolangMigrate, Direction::Down) => {
                let below = self.entries.keys().copied().filter(|v| *v < version);
                number(&self.table, below.max())
            }
            (tool, Direction::Up) => vec![tool.insert(&self.table, entry, ms, dialect)],
            (tool, Direction::Down) => vec![tool.delete(&self.table, entry, dialect)],
        }
    }

    fn new(tool: Tool, key: Option<Key>) -> Self {
        Self {
            tool,
            key,
            table: tool.table().to_owned(),
            entries: HashMap::new(),
        }
    }

    fn learn(&mut self, table: String, folder: &Folder, theirs: &Theirs) -> Result<(), Error> {
        self.table = table;
        let width = theirs.width(folder)?;
        for file in &folder.files {
            if let Some(entry) = self.tool.entry(file, width)? {
                self.entries.insert(file.version, entry);
            }
        }
        Ok(())
    }
}

/// The tool's table with its schema, as SQL. It must be there.
async fn full_name<S: Session>(session: &mut S, tool: Tool) -> Result<String, Error> {
    let sql = match S::DIALECT {
        Dialect::Postgres => format!(
            "select n.nspname from pg_catalog.pg_class c join pg_catalog.pg_namespace n \
             on n.oid = c.relnamespace where c.oid = pg_catalog.to_regclass('{}')",
            tool.table()
        ),
        Dialect::Mysql => "select database()".to_owned(),
        Dialect::Sqlite => "select 'main'".to_owned(),
    };
    let rows = session.conn().texts(&sql).await;
    let rows = rows.map_err(|e| lost_or("look for the other tool's history", e))?;
    let schema = rows.first().and_then(|row| row.first().cloned().flatten());
    let schema = schema.ok_or_else(|| not_there(tool))?;
    let schema = identifier(&schema, S::DIALECT);
    Ok(format!("{schema}.{}", tool.table()))
}

/// Whether the two histories say different things of the folder's files.
pub(super) async fn is_apart<S: Session>(
    session: &mut S,
    tool: Tool,
    folder: &Folder,
    seen: &History,
) -> Result<bool, Error> {
    let Some(theirs) = theirs(session, tool, false).await? else {
        return Ok(true);
    };
    let mut files = folder.files.iter();
    Ok(files.any(|file| {
        tool.takes(&file.file) && theirs.has(file.version) != seen.find(file.version).is_some()
    }))
}

impl<S: Session> Locked<S> {
    /// Takes the other tool's own lock, too. Polls for it, as for ours: a session that waits inside the server
    /// would hold up what the other tool may be building.
    pub(super) async fn lock_beside(
        &mut self,
        tool: Tool,
        options: &Options,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let key = match S::DIALECT {
            Dialect::Sqlite => None,
            _ => {
                let sql = match S::DIALECT {
                    Dialect::Postgres => "select current_database(), current_schema()",
                    _ => "select database(), database()",
                };
                let rows = self.session.conn().texts(sql).await;
                let rows = rows.map_err(|e| lost_or("ask for the database's name", e))?;
                let name = |i: usize| {
                    let row = rows.first();
                    row.and_then(|row| row.get(i).cloned().flatten())
                };
                let (database, schema) = (name(0), name(1));
                tool.key(
                    &database.unwrap_or_default(),
                    &schema.unwrap_or_default(),
                    S::DIALECT,
                )
            }
        };
        if let Some(key) = &key {
            let sql = match key {
                Key::Number(number) => format!("select pg_catalog.pg_try_advisory_lock({number})"),
                Key::Name(name) => format!("select get_lock({}, 0)", literal(name, S::DIALECT)),
            };
            self.heart
                .doing(format!("waiting for the lock of {}", tool.name()));
            let end = Instant::now() + options.lock_wait;
            let mut pauses = Pauses::new(Duration::from_millis(50), Duration::from_millis(500));
            let mut told = false;
            loop {
                let rows = self.session.conn().texts(&sql).await;
                let rows = rows.map_err(|e| lost_or("ask for the other tool's lock", e))?;
                let got = rows.first().and_then(|row| row.first().cloned().flatten());
                if matches!(got.as_deref(), Some("t" | "1")) {
                    break;
                }
                if Instant::now() >= end {
                    return Err(Error::LockedBeside { tool: tool.name() });
                }
                if !told {
                    tell(Event::Beside { tool: tool.name() });
                    told = true;
                }
                tokio::time::sleep(pauses.next()).await;
                self.check()?;
            }
        }
        self.beside = Some(Beside::new(tool, key));
        Ok(())
    }

    /// SQL that gives the other tool's lock back.
    pub(super) fn unlock_beside(&mut self) -> Option<String> {
        let beside = self.beside.take()?;
        Some(match beside.key? {
            Key::Number(number) => format!("select pg_catalog.pg_advisory_unlock({number})"),
            Key::Name(name) => format!("select release_lock({})", literal(&name, S::DIALECT)),
        })
    }

    /// Takes what the other tool has applied since for applied. From here on, whatever is recorded here is
    /// recorded there. Answers what was taken over. `fresh`: nothing is in this database yet, so
    /// their table is made.
    pub(super) async fn in_step(
        &mut self,
        folder: &Folder,
        seen: &History,
        fresh: bool,
        options: &Options,
    ) -> Result<Vec<i64>, Error> {
        let Some(tool) = self.beside.as_ref().map(|beside| beside.tool) else {
            return Ok(Vec::new());
        };
        let theirs = match theirs(&mut self.session, tool, true).await? {
            None if fresh => {
                self.write(&tool.definition(S::DIALECT), options.retries)
                    .await?;
                known(&mut self.session, tool, true).await?
            }
            None => return Err(not_there(tool)),
            Some(theirs) => theirs,
        };
        let (mut sql, mut taken) = (Vec::new(), Vec::new());
        for file in folder.files.iter().filter(|f| tool.takes(&f.file)) {
            match (seen.find(file.version).is_some(), theirs.has(file.version)) {
                (false, true) => {
                    sql.push(insert_row(self, file, "baseline", 0));
                    taken.push(file.version);
                }
                (true, false) => {
                    let tool = tool.name();
                    return Err(Error::Refused(format!(
                        "{} is applied here, and not in the history of {tool}. If {tool} undid it: windlass \
                         migrate repair --forget {}. If it was applied without --beside: windlass migrate \
                         baseline --into {tool}",
                        file.file, file.version
                    )));
                }
                _ => {}
            }
        }
        let table = full_name(&mut self.session, tool).await?;
        if let Some(beside) = &mut self.beside {
            beside.learn(table, folder, &theirs)?;
        }
        self.write(&sql, options.retries).await?;
        Ok(taken)
    }

    /// From here on, whatever is recorded here is recorded there. Without the other tool's lock: what takes
    /// hours is not to keep it away.
    pub(super) async fn learn_beside(&mut self, tool: Tool, folder: &Folder) -> Result<(), Error> {
        let theirs = known(&mut self.session, tool, true).await?;
        let table = full_name(&mut self.session, tool).await?;
        let mut beside = Beside::new(tool, None);
        beside.learn(table, folder, &theirs)?;
        self.beside = Some(beside);
        Ok(())
    }
}
