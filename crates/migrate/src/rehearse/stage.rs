//! The measured run: what is the same for every database. What a database is asked is behind
//! [`Probe`].

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use super::load::{Generator, Target};
use super::sampler::{Eye, Sampler, Seen};
use super::{Measured, Rehearsal, TableLock};
use crate::database::{Conn as _, Limits, Session, Texts};
use crate::error::{Error, answer, is_lock_wait, is_missing_name};
use crate::folder::{File, Folder, Phase};
use crate::run::{Event, Options, Status, Tell, unfit};
use crate::sql::{Outside, Shape, Statement, shape};

/// The load runs for so long before the first statement.
const WARM_UP: Duration = Duration::from_millis(300);
/// Tables that the load works on, at most.
const LOADED_TABLES: usize = 8;

/// A table that was there before, or what else can be locked.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// For people.
    pub(super) shown: String,
    /// As SQL, if the load may work on it.
    pub(super) sql: Option<String>,
    /// Its name without a schema.
    pub(super) bare: String,
    /// A column to write, as SQL.
    pub(super) column: Option<String>,
}

/// What is known of a table at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shot {
    /// Another number: the rows are in another place.
    pub(super) file: i64,
    /// A higher number: it was read from end to end.
    pub(super) scans: i64,
    /// Its size.
    pub(super) bytes: u64,
}

/// What a statement is going to do, where it can only be known before.
#[derive(Debug, Default)]
pub(super) struct Foreseen {
    /// Keys of tables.
    pub(super) scanned: Vec<String>,
    pub(super) rewritten: Vec<String>,
}

/// What a rehearsal asks of a kind of database. Tables have keys, which only the probe understands.
pub(super) trait Probe: Sized + Send + 'static {
    type Session: Session;
    type Eye: Eye;
    /// Whether a transaction has its lock from the moment when it begins.
    const LOCKS_AT_BEGIN: bool = false;
    /// What a session of the load sets.
    const LOAD_SETTINGS: &'static [&'static str] = &[];

    fn session(&mut self) -> &mut Self::Session;
    /// The server's version number.
    fn version(&self) -> u32;
    /// What this server can't tell, in sentences.
    fn notes(&self) -> Vec<String>;
    /// Who watches the session. `busy`: how many of the load's sessions are refused.
    fn eye(
        &mut self,
        conn: <Self::Session as Session>::Conn,
        busy: Arc<AtomicU64>,
    ) -> impl Future<Output = Result<Self::Eye, Error>> + Send;
    /// Tables by key, without ours.
    fn tables(&mut self) -> impl Future<Output = Result<BTreeMap<String, Table>, Error>> + Send;
    /// SQL that writes a row: the `at`th or any.
    fn write_sql(table: &str, column: &str, at: usize) -> String;
    /// How strong a mode is. 0: it is not told.
    fn strength(mode: &str) -> usize;
    /// Before a statement runs.
    fn foresee(
        &mut self,
        _statement: &Statement,
        _shape: &Shape,
    ) -> impl Future<Output = Result<Foreseen, Error>> + Send {
        async { Ok(Foreseen::default()) }
    }
    /// Locks that the transaction has now: key and mode.
    fn held(
        &mut self,
        seen: &Seen,
    ) -> impl Future<Output = Result<Vec<(String, String)>, Error>> + Send;
    /// Locks that a statement outside of transactions surely had, for at least or at most so long.
    fn certain(&self, _what: &Outside, _took: Duration) -> Option<(String, String, Duration)> {
        None
    }
    /// Where the tables' rows are now.
    fn shots(&mut self) -> impl Future<Output = Result<BTreeMap<String, Shot>, Error>> + Send;
    /// Rows that the statement changed, where the driver's count is wrong.
    fn rows(&mut self, counted: u64) -> impl Future<Output = Result<u64, Error>> + Send {
        async move { Ok(counted) }
    }
    /// How a table was altered, in the database's words.
    fn algorithm(&self, _what: &Outside, _one: &Measured) -> Option<&'static str> {
        None
    }
    /// A lock that a statement outside of transactions had by the way in which it did its work, and that the
    /// database does not show.
    fn unshown(
        &self,
        _what: &Outside,
        _one: &Measured,
        _took: Duration,
    ) -> Option<(String, String, Duration)> {
        None
    }
    /// A lock that only the commit takes. `has`: modes that are known.
    fn at_commit(&self, _has: &[&str]) -> Option<(String, String)> {
        None
    }
}

/// Rows of a query about the copy.
pub(super) async fn rows<S: Session>(session: &mut S, sql: &str) -> Result<Texts, Error> {
    let rows = session.conn().texts(sql).await;
    rows.map_err(Error::database("look at the copy"))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Stage<'a, P> {
    probe: P,
    sampler: Sampler,
    /// The tables that were there before.
    tables: BTreeMap<String, Table>,
    options: &'a Options,
    report: Rehearsal,
}

/// Statement, its lock, since when.
type Since = Vec<(usize, usize, Instant)>;

/// Locks of the transaction that is open: the strongest mode.
type Held = HashMap<String, usize>;

/// A file's statements that belong together.
type Piece<'a> = Vec<(&'a Statement, &'a Shape)>;

pub(super) async fn run<P: Probe>(
    mut probe: P,
    status: &Status,
    folder: &Folder,
    options: &Options,
    generate_load: bool,
    tell: Tell<'_>,
) -> Result<Rehearsal, Error> {
    let files: Vec<&File> = status
        .plan
        .run
        .iter()
        .filter_map(|v| folder.runs(*v, status.plan.begin))
        .collect();
    let tables = probe.tables().await?;
    let busy = Arc::new(AtomicU64::new(0));
    let watcher = probe.session().another().await?;
    let sampler = Sampler::start(probe.eye(watcher, Arc::clone(&busy)).await?);
    let mut stage = Stage {
        report: Rehearsal {
            hash: status.plan.hash(folder),
            files: files.iter().map(|f| f.file.clone()).collect(),
            server: probe.version(),
            notes: probe.notes(),
            ..Rehearsal::default()
        },
        probe,
        sampler,
        tables,
        options,
    };
    let applied: Vec<&File> = folder
        .files
        .iter()
        .filter(|f| status.history.stands(f.version))
        .collect();
    let contracted = |file: &File| status.history.contracted_since(file.version);
    stage.report.checks_before = stage.checks(&applied, contracted).await?;
    let generator = if generate_load {
        let targets = stage.targets(&files)?;
        let generator = Generator::start(&mut stage.probe, targets, &busy).await?;
        tokio::time::sleep(WARM_UP).await;
        Some(generator)
    } else {
        None
    };
    for file in &files {
        if file.batch.is_some() {
            return Err(Error::Refused(format!(
                "{} changes data: rehearse on a copy that has data, where `windlass migrate data` \
                 runs it apart from the schema",
                file.file
            )));
        }
        tell(Event::Begin {
            version: file.version,
            file: file.file.clone(),
        });
        stage.file(file, tell).await?;
    }
    if stage.sampler.is_blind() {
        return Err(Error::Refused(
            "the session that watched for locks was ended, so who waited for how long is not known: \
             rehearse again, on a server where nobody ends it"
                .to_owned(),
        ));
    }
    if let Some(generator) = generator {
        stage.report.load = Some(generator.stop().await);
    }
    let newly = files.iter().rposition(|f| f.phase == Phase::Contract);
    let all: Vec<&File> = applied.into_iter().chain(files.iter().copied()).collect();
    // All applied files were before the new ones.
    let contracted = |file: &File| {
        let at = files.iter().position(|f| f.version == file.version);
        contracted(file) || newly.is_some_and(|last| at.is_none_or(|at| at < last))
    };
    stage.report.checks_after = stage.checks(&all, contracted).await?;
    Ok(stage.report)
}

impl<P: Probe> Stage<'_, P> {
    const DIALECT: crate::sql::Dialect = <P::Session as Session>::DIALECT;

    /// Tables that the statements name.
    fn targets(&self, files: &[&File]) -> Result<Vec<Target>, Error> {
        let mut words = Vec::new();
        for file in files {
            for statement in file.up.statements(Self::DIALECT)? {
                let tokens = statement.tokens.iter();
                words.extend(tokens.map(|t| t.text.trim_matches(['"', '`']).to_lowercase()));
            }
        }
        let named = |table: &&Table| words.contains(&table.bare.to_lowercase());
        let target = |table: &Table| {
            Some(Target {
                table: table.sql.clone()?,
                column: table.column.clone(),
            })
        };
        let tables = self.tables.values().filter(named).filter_map(target);
        Ok(tables.take(LOADED_TABLES).collect())
    }

    /// What the checks of these files find, in words. `contracted`: what a query names may be gone.
    async fn checks(
        &mut self,
        files: &[&File],
        contracted: impl Fn(&File) -> bool,
    ) -> Result<Vec<String>, Error> {
        let mut found = Vec::new();
        for file in files {
            let Some(section) = &file.verify else {
                continue;
            };
            for query in section.statements(Self::DIALECT)? {
                let what = match self.probe.session().conn().texts(&query.text).await {
                    Ok(rows) if rows.is_empty() => continue,
                    Err(error) if contracted(file) && is_missing_name(&error) => continue,
                    Ok(rows) => format!("{} row(s)", rows.len()),
                    Err(error) => answer(&error),
                };
                found.push(format!("{}, line {}: {what}", section.file, query.line));
            }
        }
        Ok(found)
    }

    async fn file(&mut self, file: &File, tell: Tell<'_>) -> Result<(), Error> {
        let mut statements = Vec::new();
        let mut limits = Limits {
            lock_timeout: file.lock_timeout.unwrap_or(self.options.lock_timeout),
            statement_timeout: file
                .statement_timeout
                .unwrap_or(self.options.statement_timeout),
            foreign_keys_off: file.foreign_keys_off && Self::DIALECT == crate::sql::Dialect::Sqlite,
        };
        for statement in file.up.statements(Self::DIALECT)? {
            let shape = shape(&statement, Self::DIALECT);
            if let Some(problem) = unfit(&shape) {
                return Err(Error::Unfit {
                    file: file.up.file.clone(),
                    line: statement.line,
                    problem: problem.to_owned(),
                });
            }
            // Done outside of the transaction, where it has an effect.
            if shape == Shape::ForeignKeysOff {
                limits.foreign_keys_off = true;
            } else {
                statements.push((statement, shape));
            }
        }
        let outside = |(_, shape): &(_, Shape)| matches!(shape, Shape::Outside(_));
        let alone = file.no_transaction || statements.iter().any(outside);
        let each = statements
            .iter()
            .map(|(statement, shape)| (statement, shape));
        let pieces: Vec<Piece<'_>> = if alone {
            each.map(|one| vec![one]).collect()
        } else {
            vec![each.collect()]
        };
        if alone {
            let fresh = self.probe.session().fresh().await;
            fresh.map_err(Error::database("set up the session"))?;
        }
        for piece in pieces {
            let retries = file.retries.unwrap_or(self.options.retries);
            let mut attempt = 1;
            loop {
                let done = match &piece[..] {
                    [(statement, shape @ Shape::Outside(what))] => {
                        self.outside(file, statement, shape, what, &limits).await
                    }
                    _ => self.transaction(file, &piece, &limits, !alone).await,
                };
                let error = match done {
                    Ok(measured) => {
                        self.report.statements.extend(measured);
                        break;
                    }
                    Err(error) => error,
                };
                let (line, cause) = match &error {
                    Error::Statement { cause, line, .. } => (*line, cause),
                    Error::Database { cause, .. } => (file.up.line, cause),
                    _ => return Err(error),
                };
                if !is_lock_wait(cause) || attempt > retries {
                    return Err(error);
                }
                attempt += 1;
                self.report.retries += 1;
                let pause = Duration::from_millis(100 * u64::from(attempt.min(20)));
                tell(Event::Retry {
                    file: file.file.clone(),
                    line,
                    attempt,
                    pause_ms: millis(pause),
                    why: answer(cause),
                });
                tokio::time::sleep(pause).await;
            }
        }
        if alone {
            self.verify(file).await?;
        }
        Ok(())
    }

    fn failed(file: &File, statement: &Statement, cause: sqlx::Error) -> Error {
        Error::Statement {
            file: file.up.file.clone(),
            line: statement.line,
            kept: false,
            cause,
        }
    }

    /// As the runner does it: the statements, the checks, the commit.
    async fn transaction(
        &mut self,
        file: &File,
        piece: &Piece<'_>,
        limits: &Limits,
        whole: bool,
    ) -> Result<Vec<Measured>, Error> {
        let worked = self.inside(file, piece, limits, whole).await;
        let end = if worked.is_ok() { "commit" } else { "rollback" };
        let ending = Instant::now();
        let session = self.probe.session();
        let ended = session.conn().execute(end).await;
        let now = Instant::now();
        if worked.is_ok() && ended.is_err() {
            // SQLite: readers were in the way, and the transaction is still open.
            session.conn().execute("rollback").await.unwrap_or(0);
        }
        let settled = session.settle(limits).await;
        let (mut measured, since) = worked?;
        ended.map_err(Error::database("commit"))?;
        settled.map_err(Error::database("settle the session"))?;
        let last = self.sampler.take();
        for (step, lock, began) in since {
            measured[step].locks[lock].held_ms = millis(now - began);
        }
        let locks = measured.iter().flat_map(|m| &m.locks);
        let modes: Vec<&str> = locks.map(|l| l.mode.as_str()).collect();
        let more = self.probe.at_commit(&modes);
        if let Some(measured) = measured.last_mut() {
            measured.add_waits(&last);
            if let Some((key, mode)) = more
                && let Some(table) = self.tables.get(&key)
            {
                measured.locks.push(TableLock {
                    table: table.shown.clone(),
                    mode,
                    held_ms: millis(now - ending),
                });
            }
        }
        Ok(measured)
    }

    async fn inside(
        &mut self,
        file: &File,
        piece: &Piece<'_>,
        limits: &Limits,
        whole: bool,
    ) -> Result<(Vec<Measured>, Since), Error> {
        let beginning = Instant::now();
        let begun = self.probe.session().begin(limits, whole).await;
        begun.map_err(Error::database("begin"))?;
        let locked = Instant::now();
        let mut held = Held::new();
        let mut measured = Vec::new();
        let mut since = Vec::new();
        let mut before = self.probe.shots().await?;
        // The count begins here.
        self.probe.rows(0).await?;
        for (statement, shape) in piece {
            let foreseen = self.probe.foresee(statement, shape).await?;
            self.sampler.take();
            let began = Instant::now();
            let done = self.probe.session().conn().execute(&statement.text).await;
            let took = began.elapsed();
            let counted = done.map_err(|cause| Self::failed(file, statement, cause))?;
            let seen = self.sampler.take();
            let rows = self.probe.rows(counted).await?;
            let mut one = Measured::of(file, statement, took, rows);
            one.add_waits(&seen);
            let first = P::LOCKS_AT_BEGIN && measured.is_empty();
            if first {
                one.ms += millis(locked - beginning);
                one.waited_ms += millis(locked - beginning);
            }
            let mut now = self.probe.held(&seen).await?;
            // The strongest of a table first, so that it is the one which counts.
            now.sort_by_key(|(key, mode)| (key.clone(), std::cmp::Reverse(P::strength(mode))));
            for (key, mode) in now {
                let strength = P::strength(&mode);
                if strength == 0 || held.get(&key).is_some_and(|s| *s >= strength) {
                    continue;
                }
                let Some(table) = self.tables.get(&key) else {
                    continue;
                };
                // Never seen: it was got, after all waiting, and the statement was over between
                // two looks.
                let got = if first { locked } else { began + seen.waited };
                let entry = (key, mode);
                let got = seen.held.get(&entry).map_or(got, |(at, _)| *at);
                let (key, mode) = entry;
                held.insert(key, strength);
                since.push((measured.len(), one.locks.len(), got));
                one.locks.push(TableLock {
                    table: table.shown.clone(),
                    mode,
                    held_ms: 0,
                });
            }
            let after = self.probe.shots().await?;
            self.compare(&mut one, &before, &after, &foreseen);
            before = after;
            measured.push(one);
        }
        if whole {
            self.verify(file).await?;
            let broken = self.probe.session().broken_keys(limits).await;
            if let Some(problem) = broken.map_err(Error::database("check foreign keys"))? {
                return Err(Error::Unfit {
                    file: file.up.file.clone(),
                    line: file.up.line,
                    problem,
                });
            }
        }
        Ok((measured, since))
    }

    /// What became of the tables.
    fn compare(
        &self,
        one: &mut Measured,
        before: &BTreeMap<String, Shot>,
        after: &BTreeMap<String, Shot>,
        foreseen: &Foreseen,
    ) {
        for (key, shot) in after {
            let (Some(old), Some(table)) = (before.get(key), self.tables.get(key)) else {
                continue;
            };
            let rewritten = shot.file != old.file || foreseen.rewritten.contains(key);
            let scanned = shot.scans > old.scans || foreseen.scanned.contains(key);
            if rewritten {
                one.rewritten.push(table.shown.clone());
            }
            if scanned {
                one.scanned.push(table.shown.clone());
            }
            if rewritten || scanned {
                one.bytes += shot.bytes.max(old.bytes);
            }
        }
    }

    /// The file's own checks, as the runner does them before it records the file.
    async fn verify(&mut self, file: &File) -> Result<(), Error> {
        let Some(section) = &file.verify else {
            return Ok(());
        };
        for query in section.statements(Self::DIALECT)? {
            let found = self.probe.session().conn().texts(&query.text).await;
            let found = found.map_err(|cause| Self::failed(file, &query, cause))?;
            if !found.is_empty() {
                return Err(Error::Verify {
                    file: section.file.clone(),
                    line: query.line,
                    rows: found.len(),
                    sample: None,
                });
            }
        }
        Ok(())
    }

    /// A statement that no transaction covers: its locks as the other session saw them.
    async fn outside(
        &mut self,
        file: &File,
        statement: &Statement,
        shape: &Shape,
        what: &Outside,
        limits: &Limits,
    ) -> Result<Vec<Measured>, Error> {
        self.probe.session().clear(what).await?;
        let set = self.probe.session().alone(limits, what).await;
        set.map_err(Error::database("set limits"))?;
        let before = self.probe.shots().await?;
        self.probe.rows(0).await?;
        let foreseen = self.probe.foresee(statement, shape).await?;
        self.sampler.take();
        let began = Instant::now();
        let done = self.probe.session().conn().execute(&statement.text).await;
        let elapsed = began.elapsed();
        if done.is_err() {
            self.probe.session().clear(what).await?;
        }
        let counted = done.map_err(|cause| Self::failed(file, statement, cause))?;
        let seen = self.sampler.take();
        let rows = self.probe.rows(counted).await?;
        let mut one = Measured::of(file, statement, elapsed, rows);
        one.add_waits(&seen);
        let after = self.probe.shots().await?;
        self.compare(&mut one, &before, &after, &foreseen);
        one.algorithm = self.probe.algorithm(what, &one).map(str::to_owned);
        let mut locks: Vec<(&String, &String, Duration)> = seen
            .held
            .iter()
            .map(|((key, mode), (first, last))| (key, mode, *last - *first))
            .collect();
        let took = elapsed.saturating_sub(seen.waited);
        let certain = [
            self.probe.certain(what, took),
            self.probe.unshown(what, &one, took),
        ];
        for (key, mode, time) in certain.iter().flatten() {
            if !locks.iter().any(|(k, m, _)| (*k, *m) == (key, mode)) {
                locks.push((key, mode, *time));
            }
        }
        locks.sort_by_key(|(key, mode, _)| (*key, std::cmp::Reverse(P::strength(mode))));
        let mut told: Vec<(&String, Duration)> = Vec::new();
        for (key, mode, time) in locks {
            let lock = TableLock {
                table: self
                    .tables
                    .get(key)
                    .map(|t| t.shown.clone())
                    .unwrap_or_default(),
                mode: mode.clone(),
                held_ms: millis(time),
            };
            // Of a table the strongest, and a weaker one only if it stopped somebody for longer.
            let of_it = |t: &&(&String, Duration)| t.0 == key;
            let known = told.iter().filter(of_it).map(|t| t.1).max();
            let counts = known.is_none_or(|most| lock.blocks().is_some() && time > most);
            if P::strength(mode) > 0 && self.tables.contains_key(key) && counts {
                told.push((key, time));
                one.locks.push(lock);
            }
        }
        Ok(vec![one])
    }
}

impl Measured {
    fn of(file: &File, statement: &Statement, elapsed: Duration, rows: u64) -> Self {
        Self {
            file: file.file.clone(),
            line: statement.line,
            sql: statement.text.chars().take(200).collect(),
            ms: millis(elapsed),
            rows,
            ..Self::default()
        }
    }

    fn add_waits(&mut self, seen: &Seen) {
        self.waited_ms += millis(seen.waited);
        self.blocked_ms += millis(seen.blocked);
        self.blocked_sessions = self.blocked_sessions.max(seen.blocked_sessions);
    }
}
