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
use crate::version::Version;

/// What was taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    /// Recorded as applied.
    pub recorded: Vec<Version>,
    /// In the other tool's history, and not in this folder.
    pub unknown: Vec<String>,
    /// Below the newest applied, and not in the other tool's history: `up` would call them out of
    /// order.
    pub skipped: Vec<Version>,
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
    let seen = history(&mut locked.session).await?;
    let mut sql = Vec::new();
    let mut below = Vec::new();
    for file in &folder.files {
        let theirs_too = theirs.has(file)?;
        if theirs_too && file.version.repeats().is_none() {
            // What was not applied until here is below one that was.
            out.skipped.append(&mut below);
        }
        if seen.stands(file.version) {
            continue;
        }
        if theirs_too {
            sql.extend(forget_text(locked, &seen, file));
            sql.push(insert_row(locked, file, "baseline", 0));
            out.recorded.push(file.version);
        } else {
            below.push(file.version);
        }
    }
    locked.write(&sql, options.retries).await?;
    Ok(out)
}

/// SQL that takes a text of a repeatable file out of our history, which was applied before another one.
fn forget_text<S: Session>(locked: &Locked<S>, seen: &History, file: &File) -> Option<String> {
    seen.find(file.version)?;
    Some(format!(
        "delete from {} where version = {}",
        locked.session.tables().history,
        file.version.key()
    ))
}

/// What another tool's table says is applied.
struct Theirs {
    tool: Tool,
    /// Versions as the tool writes them.
    rows: Vec<String>,
    /// With their checksums.
    numbers: HashMap<Version, Option<String>>,
    newest: Version,
    /// Flyway: up to here all counts as applied, whatever it is.
    baseline: Version,
    /// Flyway: the checksum of the text that was applied last, by the repeatable file's description.
    repeats: HashMap<String, Option<String>>,
}

impl Theirs {
    fn has(&self, file: &File) -> Result<bool, Error> {
        if file.version.repeats().is_some() {
            let entry = self.tool.entry(file, Width::Narrow)?;
            return Ok(entry.is_some_and(|entry| {
                self.repeats.get(&entry.description) == Some(&entry.checksum)
            }));
        }
        Ok(match self.tool {
            Tool::GolangMigrate => file.version <= self.newest,
            _ => self.numbers.contains_key(&file.version) || file.version <= self.baseline,
        })
    }

    /// Versions that no file has.
    fn unknown(&self, folder: &Folder) -> Vec<String> {
        let rows = self.rows.iter();
        // Versions are numbers here, and text with some tools: 001 is 1.
        let rows = rows.filter(|row| {
            let version = self.version(row);
            version.is_none_or(|v| folder.find(v).is_none() && v > self.baseline)
        });
        let described = |words: &str| {
            let mut names = folder.files.iter().filter_map(|f| f.version.repeats());
            names.any(|name| name.replace('_', " ") == words)
        };
        let mut repeats: Vec<String> = self
            .repeats
            .keys()
            .filter(|words| !described(words))
            .map(|words| format!("R__{}", words.replace(' ', "_")))
            .collect();
        repeats.sort();
        rows.cloned().chain(repeats).collect()
    }

    /// Theirs as ours.
    fn version(&self, text: &str) -> Option<Version> {
        match self.tool {
            Tool::Flyway => text.parse().ok(),
            _ => text.parse().ok().map(|number: i64| Version::from(number)),
        }
    }

    /// A row of Flyway's.
    fn replay(&mut self, version: Option<String>, sum: Option<String>, words: String, kind: &str) {
        let Some(text) = version else {
            match kind {
                "DELETE" => self.repeats.remove(&words),
                _ => self.repeats.insert(words, sum),
            };
            return;
        };
        let Some(version) = self.version(&text) else {
            self.rows.push(text);
            return;
        };
        match kind {
            "BASELINE" | "SQL_BASELINE" | "JDBC_BASELINE" => {
                self.baseline = self.baseline.max(version);
            }
            // Taken out, or undone.
            kind if kind == "DELETE" || kind.starts_with("UNDO") => {
                self.numbers.remove(&version);
                self.rows.retain(|row| *row != text);
            }
            _ => {
                self.numbers.insert(version, sum);
                self.rows.push(text);
            }
        }
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
        newest: Version::NONE,
        baseline: Version::NONE,
        repeats: HashMap::new(),
    };
    for row in rows {
        let text = |i: usize| row.get(i).cloned().flatten();
        if text(1).as_deref() != Some("1") {
            let what = text(0).or_else(|| text(3)).unwrap_or_default();
            return Err(Error::Refused(format!(
                "the other tool left {what} half done: put that right with it first"
            )));
        }
        if tool == Tool::Flyway {
            let kind = text(4).unwrap_or_default();
            found.replay(text(0), text(2), text(3).unwrap_or_default(), &kind);
            continue;
        }
        let version = text(0).unwrap_or_default();
        if let Some(number) = found.version(&version) {
            found.newest = found.newest.max(number);
            found.numbers.insert(number, text(2));
        }
        found.rows.push(version);
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
    pub recorded: Vec<Version>,
    /// Not applied here any more, and taken out there.
    pub removed: Vec<Version>,
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
        if newest.unwrap_or(0) != theirs.newest.number().unwrap_or(0) {
            sql = number(tool.table(), newest);
            out.recorded.extend(newest.map(Version::from));
        }
    } else {
        let width = theirs.width(folder)?;
        for file in &folder.files {
            let Some(entry) = tool.entry(file, width)? else {
                continue;
            };
            // dbmate compares the digits as text.
            let there = match tool {
                Tool::Dbmate => theirs
                    .rows
                    .iter()
                    .any(|v| Some(v) == entry.version.as_ref()),
                _ => theirs.has(file)?,
            };
            let ours = seen.find(file.version).filter(|row| seen.is_last(row));
            match (ours, there) {
                (Some(row), false) => {
                    let ms = u128::try_from(row.duration_ms).unwrap_or(0);
                    sql.push(tool.insert(tool.table(), &entry, ms, S::DIALECT));
                    out.recorded.push(file.version);
                }
                // Up to a baseline there are no rows; of what repeats, the next text will come.
                (None, true) if theirs.numbers.contains_key(&file.version) => {
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
    let files = folder.files.iter();
    let (applied, open): (Vec<_>, Vec<_>) = files
        .filter(|file| file.version.number().is_some())
        .partition(|file| seen.find(file.version).is_some());
    let newest = applied.last().and_then(|file| file.version.number());
    if let (Some(newest), Some(open)) = (newest, open.first())
        && open.version < Version::from(newest)
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
    entries: HashMap<Version, Entry>,
    baselines: HashMap<Version, Entry>,
}

impl Beside {
    /// SQL that writes in its table what happened to a file; nothing for files that it does not know.
    pub(super) fn record(
        &self,
        version: Version,
        direction: Direction,
        ms: u128,
        dialect: Dialect,
    ) -> Vec<String> {
        let Some(entry) = self.entries.get(&version) else {
            return Vec::new();
        };
        match (self.tool, direction) {
            (Tool::GolangMigrate, Direction::Up) => number(&self.table, version.number()),
            (Tool::GolangMigrate, Direction::Down) => {
                let below = self.entries.keys().copied().filter(|v| *v < version);
                number(&self.table, below.max().and_then(Version::number))
            }
            (tool, Direction::Up) => vec![tool.insert(&self.table, entry, ms, dialect)],
            (tool, Direction::Down) => vec![tool.delete(&self.table, entry, dialect)],
        }
    }

    /// The same of a baseline. Flyway has rows for these; of the others, each file that it stands for is applied.
    pub(super) fn record_baseline(
        &self,
        version: Version,
        files: &[&File],
        ms: u128,
        dialect: Dialect,
    ) -> Vec<String> {
        if let Some(entry) = self.baselines.get(&version) {
            return vec![self.tool.insert(&self.table, entry, ms, dialect)];
        }
        let each = files.iter();
        each.flat_map(|file| self.record(file.version, Direction::Up, 0, dialect))
            .collect()
    }

    fn new(tool: Tool, key: Option<Key>) -> Self {
        Self {
            tool,
            key,
            table: tool.table().to_owned(),
            entries: HashMap::new(),
            baselines: HashMap::new(),
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
        for file in &folder.baselines {
            if let Some(entry) = self.tool.entry(file, width)? {
                self.baselines.insert(file.version, entry);
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
    for file in folder.files.iter().filter(|file| tool.takes(file)) {
        if theirs.has(file)? != seen.stands(file.version) {
            return Ok(true);
        }
    }
    Ok(false)
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
    /// recorded there. Answers what was taken over, and whether our history is another one now. `fresh`: nothing is
    /// in this database yet, so their table is made.
    pub(super) async fn in_step(
        &mut self,
        folder: &Folder,
        seen: &History,
        fresh: bool,
        options: &Options,
    ) -> Result<(Vec<Version>, bool), Error> {
        let Some(tool) = self.beside.as_ref().map(|beside| beside.tool) else {
            return Ok((Vec::new(), false));
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
        for file in folder.files.iter().filter(|f| tool.takes(f)) {
            match (seen.stands(file.version), theirs.has(file)?) {
                (false, true) => {
                    sql.extend(forget_text(self, seen, file));
                    sql.push(insert_row(self, file, "baseline", 0));
                    taken.push(file.version);
                }
                // They have applied another text since, or none: it runs again.
                (true, false) if file.version.repeats().is_some() => {
                    sql.extend(forget_text(self, seen, file));
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
        Ok((taken, !sql.is_empty()))
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
