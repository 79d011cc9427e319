//! Data migrations: rows are changed in batches over a key, beside the applications and beside `up`,
//! under a lock of their own.
//!
//! A batch, the fence and the row that says how far it came are one transaction: so each batch takes
//! effect once, whenever its runner is killed. The row is also compared before it is written: whoever
//! else had moved it makes the batch roll back.

mod pace;

use std::pin::Pin;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

pub use pace::Progress;
pub(super) use pace::progress;
use pace::{Pace, Table, moved, next_size};

use super::apply::{Direction, check_rows, insert_row};
use super::keep::until_lost;
use super::locked::{Locked, lost_or};
use super::{Done, Event, Options, Pauses, Tell, with_session};
use crate::database::{Conn as _, Database, Limits, Session, history, literal};
use crate::error::{Error, answer, is_gone, is_lock_wait};
use crate::folder::{Batch, File, Folder, Phase, catalog_name};
use crate::plan::{History, plan};
use crate::sql::{Dialect, Shape, Statement, fill, shape};
use crate::version::Version;

/// What to run, and for how long.
#[derive(Debug, Clone, Copy, Default)]
pub struct How {
    /// Only this migration.
    pub only: Option<Version>,
    /// No batch begins after this time.
    pub time_limit: Option<Duration>,
    /// In the place of what the files say.
    pub pause: Option<Duration>,
    /// In the place of what the files say.
    pub size: Option<u32>,
}

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct DataReport {
    /// What was finished.
    pub done: Vec<Done>,
    /// What is not.
    pub pending: Vec<Version>,
    /// How far those have come that have begun.
    pub progress: Vec<Progress>,
}

/// The keys of a batch that a command is run for.
#[derive(Debug, Clone)]
pub struct Range {
    /// The command, for a shell.
    pub command: String,
    /// The first key.
    pub lo: String,
    /// The last key, which belongs to the batch.
    pub hi: String,
    /// Which batch, from 1.
    pub batch: i64,
}

/// Runs a command for a batch; its error in words. Dropped if the lock is lost: what was begun must
/// end then.
pub type Command<'a> =
    &'a mut (dyn FnMut(Range) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send);

/// Runs data migrations that are pending, in order.
///
/// # Errors
/// See [`Error`]. Batches before the error have taken effect; the next run goes on after them.
pub async fn data(
    database: &Database,
    folder: &Folder,
    options: &Options,
    how: &How,
    tell: Tell<'_>,
    command: Option<Command<'_>>,
) -> Result<DataReport, Error> {
    with_session!(database, options, create: false, |session| {
        run(session, folder, options, how, tell, command).await
    })
}

async fn run<S: Session>(
    mut session: S,
    folder: &Folder,
    options: &Options,
    how: &How,
    tell: Tell<'_>,
    command: Option<Command<'_>>,
) -> Result<DataReport, Error> {
    let pending = |history: &History| -> Vec<Version> {
        let found = plan(history, folder, &options.rules, false).data;
        let asked = |version: &Version| how.only.is_none_or(|only| only == *version);
        found.into_iter().filter(asked).collect()
    };
    if let Some(only) = how.only
        && folder.find(only).is_none_or(|f| f.phase != Phase::Data)
    {
        return Err(Error::Refused(format!(
            "the folder has no data migration {only}"
        )));
    }
    let seen = history(&mut session).await?;
    let found = pending(&seen);
    if found.is_empty() {
        return Ok(DataReport::default());
    }
    if let Some(file) = found.iter().find_map(|v| folder.find(*v)) {
        ready(file, folder, &seen)?;
    }
    session.beside();
    let needed = |history: &History| !pending(history).is_empty();
    let doing = "changing data";
    let Some(mut locked) = Locked::acquire(session, options, &mut *tell, doing, &needed).await?
    else {
        return Ok(DataReport::default());
    };
    let worked = async {
        if let Some(tool) = options.beside {
            locked.learn_beside(tool, folder).await?;
        }
        under_lock(&mut locked, folder, options, how, tell, command, &pending).await
    }
    .await;
    locked.finish(worked).await
}

/// The migration's table must be there, and have the columns that it fills.
fn ready(file: &File, folder: &Folder, seen: &History) -> Result<(), Error> {
    let below = folder.files.iter().find(|f| {
        f.version < file.version && f.phase == Phase::Expand && seen.find(f.version).is_none()
    });
    match below {
        Some(below) => Err(Error::Refused(format!(
            "{} has to be applied before {}: windlass migrate up",
            below.file, file.file
        ))),
        None => Ok(()),
    }
}

async fn under_lock<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    options: &Options,
    how: &How,
    tell: Tell<'_>,
    mut command: Option<Command<'_>>,
    pending: &(dyn Fn(&History) -> Vec<Version> + Sync),
) -> Result<DataReport, Error> {
    let until = how.time_limit.map(|limit| Instant::now() + limit);
    let mut report = DataReport::default();
    let seen = history(&mut locked.session).await?;
    let mut jobs = Vec::new();
    for file in pending(&seen).iter().filter_map(|v| folder.find(*v)) {
        ready(file, folder, &seen)?;
        if let Some(batch) = &file.batch {
            let mut job = Batches::new(file, batch, S::DIALECT, options)?;
            job.pause = how.pause.unwrap_or(job.pause);
            job.size = how.size.unwrap_or(job.size);
            jobs.push(job);
        }
    }
    for job in &jobs {
        // A shorter life for the second borrow of the callback.
        let command = command.as_mut().map(|c| &mut **c as Command<'_>);
        match locked.batches(job, until, &mut *tell, command).await? {
            Some(done) => report.done.push(done),
            None => break,
        }
    }
    report.pending = pending(&history(&mut locked.session).await?);
    let begun = progress(&mut locked.session, |key| folder.by_key(key)).await?;
    report.progress = begun
        .into_iter()
        .filter(|p| report.pending.contains(&p.version))
        .collect();
    Ok(report)
}

/// Whether a file's statements can be run in batches.
///
/// # Errors
/// [`Error::Unfit`] and [`Error::Folder`].
pub fn check_batches(file: &File, dialect: Dialect) -> Result<(), Error> {
    match &file.batch {
        Some(batch) => Batches::new(file, batch, dialect, &Options::default()).map(|_| ()),
        None => Ok(()),
    }
}

/// A data migration, ready to run.
pub(super) struct Batches<'a> {
    file: &'a File,
    batch: &'a Batch,
    statements: Vec<Statement>,
    verify: Vec<Statement>,
    limits: Limits,
    retries: u32,
    lease: Duration,
    pause: Duration,
    size: u32,
}

impl<'a> Batches<'a> {
    pub(super) fn new(
        file: &'a File,
        batch: &'a Batch,
        dialect: Dialect,
        options: &Options,
    ) -> Result<Self, Error> {
        let statements = file.up.statements(dialect)?;
        let unfit = |line: usize, problem: &str| Error::Unfit {
            file: file.file.clone(),
            line,
            problem: problem.to_owned(),
        };
        for statement in &statements {
            if batch.command.is_some() {
                return Err(unfit(
                    statement.line,
                    "a data migration has statements or a command, not both",
                ));
            }
            if shape(statement, dialect) != Shape::Inside {
                return Err(unfit(
                    statement.line,
                    "only what a transaction covers can run in batches: INSERT, UPDATE, DELETE",
                ));
            }
            let (_, lo, hi) = fill(&statement.text, dialect, "", "");
            if !lo || !hi {
                return Err(unfit(
                    statement.line,
                    &format!(
                        "a statement that runs in batches says of which rows: \
                         `where {} between :lo and :hi`",
                        batch.column
                    ),
                ));
            }
        }
        if statements.is_empty() && batch.command.is_none() {
            return Err(unfit(file.up.line, "a data migration without a statement"));
        }
        Ok(Self {
            file,
            batch,
            statements,
            verify: match &file.verify {
                Some(section) => section.statements(dialect)?,
                None => Vec::new(),
            },
            limits: Limits {
                lock_timeout: file.lock_timeout.unwrap_or(options.lock_timeout),
                statement_timeout: file.statement_timeout.unwrap_or(options.statement_timeout),
                foreign_keys_off: false,
            },
            retries: file.retries.unwrap_or(options.retries),
            lease: options.lease,
            pause: batch.pause,
            size: batch.size,
        })
    }

    /// What must not change while it is under way.
    fn hash(&self) -> String {
        let text = format!("{} {}", self.file.checksum, self.batch.key());
        hex::encode(Sha256::digest(text.as_bytes()))
    }

    /// SQL: keys behind the last one, in order.
    fn keys(&self, last: Option<&str>, limit: u32) -> String {
        let Batch { table, column, .. } = self.batch;
        let behind = last.map_or_else(
            || format!("{column} is not null"),
            |last| format!("{column} > {last}"),
        );
        format!("select {column} from {table} where {behind} order by {column} limit {limit}")
    }

    fn failed(&self, line: usize, cause: sqlx::Error) -> Error {
        if is_gone(&cause) {
            return lost_or("run a batch", cause);
        }
        Error::Statement {
            file: self.file.file.clone(),
            line,
            kept: true,
            cause,
        }
    }
}

/// What one try of a batch came to.
enum Tried {
    Moved { hi: String, keys: u64 },
    Finished,
}

impl<S: Session> Locked<S> {
    /// Runs a data migration from where it was left. `None`: the time was over.
    pub(super) async fn batches(
        &mut self,
        job: &Batches<'_>,
        until: Option<Instant>,
        tell: Tell<'_>,
        mut command: Option<Command<'_>>,
    ) -> Result<Option<Done>, Error> {
        if job.batch.command.is_some() && command.is_none() {
            return Err(Error::Refused(format!(
                "{} runs a command: allow that with --allow-commands",
                job.file.file
            )));
        }
        tell(Event::Begin {
            version: job.file.version,
            file: job.file.file.clone(),
        });
        self.clean = false;
        let mut state = self.begun(job).await?;
        let mut table = self.table(job).await?;
        let began = Instant::now();
        let from = state
            .last_key
            .as_deref()
            .and_then(|key| table.part(key, state.keys));
        let mut size = job.size;
        loop {
            self.check()?;
            self.tell_of_gate(&mut *tell);
            self.heart.doing(format!(
                "changing data: {}, batch {}",
                job.file.file,
                state.batches + 1
            ));
            if state.batches % 20 == 19 && table.numbers {
                table.last = self.end_of(job, "desc").await?;
            }
            let tried = Instant::now();
            let base = Progress {
                eta_ms: None,
                ..state.clone()
            };
            let pace = Pace {
                table: &table,
                from: from.unwrap_or(0.0),
                began,
            };
            let outcome = match &mut command {
                Some(run) if job.batch.command.is_some() => {
                    self.by_command(job, &base, size, &pace, &mut **run).await?
                }
                _ => self.by_sql(job, &base, size, &pace, &mut *tell).await?,
            };
            let Some((keys, next)) = outcome else {
                let done = Done {
                    version: job.file.version,
                    file: job.file.file.clone(),
                    phase: job.file.phase,
                    ms: u64::try_from(state.busy_ms).unwrap_or(0),
                };
                tell(Event::Done(done.clone()));
                return Ok(Some(done));
            };
            state = next;
            let took = tried.elapsed();
            tell(Event::Batch {
                file: job.file.file.clone(),
                keys,
                ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                progress: state.clone(),
            });
            size = next_size(size, took, job);
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
            tokio::time::sleep(job.pause).await;
        }
    }

    /// The migration's row, made if it is not there.
    async fn begun(&mut self, job: &Batches<'_>) -> Result<Progress, Error> {
        let mine = job.file.version;
        let called = |key: i64| if key == mine.key() { mine } else { key.into() };
        let find = |rows: Vec<Progress>| rows.into_iter().find(|p| p.version == job.file.version);
        let state = match find(progress(&mut self.session, called).await?) {
            Some(state) => state,
            None => {
                let sql = format!(
                    "insert into {} (version, hash, batches, seen, busy_ms, started_ms, updated_ms, \
                     token) values ({}, '{}', 0, 0, 0, {now}, {now}, {})",
                    self.session.tables().progress,
                    job.file.version.key(),
                    job.hash(),
                    self.lease.token,
                    now = S::NOW
                );
                self.write(&[sql], job.retries).await?;
                let state = find(progress(&mut self.session, called).await?);
                state.ok_or_else(|| Error::Refused("the row of the progress is gone".to_owned()))?
            }
        };
        if state.hash != job.hash() {
            return Err(Error::Refused(format!(
                "{} was changed after {} of its batches had taken effect: put it back as it was, or \
                 begin again with `windlass migrate repair --forget {}`",
                job.file.file, state.batches, job.file.version
            )));
        }
        Ok(state)
    }

    async fn table(&mut self, job: &Batches<'_>) -> Result<Table, Error> {
        let Batch { table, column, .. } = job.batch;
        let sql = match S::DIALECT {
            Dialect::Postgres => format!("select pg_typeof({column}) from {table} limit 1"),
            Dialect::Sqlite => {
                format!("select typeof({column}) from {table} where {column} is not null limit 1")
            }
            Dialect::Mysql => {
                let (schema, name) = match table.rsplit_once('.') {
                    Some((schema, name)) => {
                        (literal(&catalog_name(schema, S::DIALECT), S::DIALECT), name)
                    }
                    None => ("database()".to_owned(), table.as_str()),
                };
                format!(
                    "select data_type from information_schema.columns where table_schema = {schema} \
                     and table_name = {} and column_name = {}",
                    literal(&catalog_name(name, S::DIALECT), S::DIALECT),
                    literal(&catalog_name(column, S::DIALECT), S::DIALECT),
                )
            }
        };
        let kind = self.one(job, &sql).await?.unwrap_or_default();
        let numbers = matches!(
            kind.as_str(),
            "smallint" | "integer" | "bigint" | "int" | "mediumint" | "tinyint"
        );
        let texts = match S::DIALECT {
            Dialect::Postgres => !matches!(kind.as_str(), "bytea" | "real" | "double precision"),
            Dialect::Sqlite => matches!(kind.as_str(), "text" | ""),
            Dialect::Mysql => matches!(
                kind.as_str(),
                "char" | "varchar" | "uuid" | "date" | "datetime" | "timestamp" | "decimal"
            ),
        };
        if !numbers && !texts {
            return Err(Error::Refused(format!(
                "{} is of the type {kind}: batches go by whole numbers, text, times or UUIDs",
                job.batch.key()
            )));
        }
        let mut found = Table {
            numbers,
            first: None,
            last: None,
            rows: None,
        };
        if numbers {
            found.first = self.end_of(job, "asc").await?;
            found.last = self.end_of(job, "desc").await?;
        } else {
            let sql = match S::DIALECT {
                Dialect::Postgres => format!(
                    "select reltuples::bigint from pg_catalog.pg_class where oid = {}::regclass",
                    literal(table, S::DIALECT)
                ),
                Dialect::Sqlite => format!("select count(*) from {table}"),
                Dialect::Mysql => format!(
                    "select table_rows from information_schema.tables where table_schema = \
                     database() and table_name = {}",
                    literal(&catalog_name(table, S::DIALECT), S::DIALECT)
                ),
            };
            found.rows = self.one(job, &sql).await?.and_then(|t| t.parse().ok());
        }
        Ok(found)
    }

    async fn one(&mut self, job: &Batches<'_>, sql: &str) -> Result<Option<String>, Error> {
        let rows = self.session.conn().texts(sql).await;
        let rows = rows.map_err(|e| job.failed(job.file.up.line, e))?;
        Ok(rows.into_iter().next().and_then(|r| r.into_iter().next()?))
    }

    /// The least or the greatest key.
    async fn end_of(&mut self, job: &Batches<'_>, order: &str) -> Result<Option<f64>, Error> {
        let Batch { table, column, .. } = job.batch;
        let sql = format!(
            "select {column} from {table} where {column} is not null order by {column} {order} limit 1"
        );
        Ok(self.one(job, &sql).await?.and_then(|t| t.parse().ok()))
    }

    /// The first and the last key of the next batch, and how many.
    async fn next(
        &mut self,
        job: &Batches<'_>,
        last: Option<&str>,
        size: u32,
    ) -> Result<Option<(String, String, u64)>, Error> {
        let rows = self.session.conn().texts(&job.keys(last, size)).await;
        let rows = rows.map_err(|e| job.failed(job.file.up.line, e))?;
        let count = rows.len() as u64;
        let mut keys = rows.into_iter().filter_map(|row| row.into_iter().next()?);
        let Some(lo) = keys.next() else {
            return Ok(None);
        };
        let hi = keys.next_back().unwrap_or_else(|| lo.clone());
        Ok(Some((lo, hi, count)))
    }

    /// A batch of SQL; tried again when others' locks were in the way. `None`: it was the end.
    async fn by_sql(
        &mut self,
        job: &Batches<'_>,
        state: &Progress,
        size: u32,
        pace: &Pace<'_>,
        tell: Tell<'_>,
    ) -> Result<Option<(u64, Progress)>, Error> {
        let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut attempt = 1;
        loop {
            let mut next = state.clone();
            let error = match self.try_batch(job, &mut next, size, pace).await {
                Ok(Tried::Moved { hi, keys }) => {
                    next.last_key = Some(hi);
                    return Ok(Some((keys, next)));
                }
                Ok(Tried::Finished) => return Ok(None),
                Err(error) => error,
            };
            let (line, cause) = match &error {
                Error::Statement { cause, line, .. } => (*line, cause),
                Error::Database { cause, .. } => (job.file.up.line, cause),
                _ => return Err(error),
            };
            if !is_lock_wait(cause) || attempt > job.retries {
                return Err(error);
            }
            self.check()?;
            attempt += 1;
            let pause = pauses.next();
            tell(Event::Retry {
                file: job.file.file.clone(),
                line,
                attempt,
                pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                why: answer(cause),
            });
            tokio::time::sleep(pause).await;
        }
    }

    async fn try_batch(
        &mut self,
        job: &Batches<'_>,
        state: &mut Progress,
        size: u32,
        pace: &Pace<'_>,
    ) -> Result<Tried, Error> {
        let worked = async {
            let begun = self.session.begin(&job.limits, true).await;
            begun.map_err(|e| lost_or("begin", e))?;
            let began = Instant::now();
            let last = state.last_key.as_deref();
            let last = last.map(|key| pace.table.literal::<S>(key));
            let Some((lo, hi, keys)) = self.next(job, last.as_deref(), size).await? else {
                self.last_words(job, state).await?;
                return Ok(Tried::Finished);
            };
            for statement in &job.statements {
                let (sql, ..) = fill(
                    &statement.text,
                    S::DIALECT,
                    &pace.table.literal::<S>(&lo),
                    &pace.table.literal::<S>(&hi),
                );
                let done = self.session.conn().execute(&sql).await;
                done.map_err(|e| job.failed(statement.line, e))?;
            }
            let sql = moved(self, state, &hi, keys, began.elapsed(), pace);
            self.fenced("write how far it came", &sql).await?;
            Ok(Tried::Moved { hi, keys })
        }
        .await;
        self.end_batch(worked).await
    }

    /// Commits, or rolls back.
    async fn end_batch<T>(&mut self, worked: Result<T, Error>) -> Result<T, Error> {
        let end = if worked.is_ok() { "commit" } else { "rollback" };
        let ended = self.session.conn().execute(end).await;
        let worked = worked?;
        ended.map_err(|e| lost_or("commit", e))?;
        Ok(worked)
    }

    /// No key is left, as this transaction sees the table: the checks, and the row in the history.
    async fn last_words(&mut self, job: &Batches<'_>, state: &Progress) -> Result<(), Error> {
        let file = job.file.verify.as_ref().map_or("", |s| s.file.as_str());
        check_rows(&mut self.session, file, &job.verify).await?;
        let busy = u128::try_from(state.busy_ms).unwrap_or(0);
        let record = insert_row(self, job.file, "applied", busy);
        let forget = format!(
            "delete from {} where version = {} and batches = {}",
            self.session.tables().progress,
            job.file.version.key(),
            state.batches
        );
        self.fenced("end a data migration", &forget).await?;
        self.fenced("record a migration", &record).await?;
        let beside = self.beside.as_ref().map_or_else(Vec::new, |beside| {
            beside.record(job.file.version, Direction::Up, busy, S::DIALECT)
        });
        self.also(&beside).await
    }

    /// A batch by a command, which has no part in our transaction: killed before it is written down,
    /// it is run for the same keys again.
    async fn by_command(
        &mut self,
        job: &Batches<'_>,
        state: &Progress,
        size: u32,
        pace: &Pace<'_>,
        run: Command<'_>,
    ) -> Result<Option<(u64, Progress)>, Error> {
        let mut next = state.clone();
        let last = state.last_key.as_deref();
        let last = last.map(|key| pace.table.literal::<S>(key));
        let Some((lo, hi, keys)) = self.next(job, last.as_deref(), size).await? else {
            let worked = async {
                let begun = self.session.begin(&job.limits, true).await;
                begun.map_err(|e| lost_or("begin", e))?;
                // A key that came in this moment: not the end.
                if self.next(job, last.as_deref(), 1).await?.is_some() {
                    return Ok(false);
                }
                self.last_words(job, state).await?;
                Ok(true)
            }
            .await;
            let finished = self.end_batch(worked).await?;
            return Ok((!finished).then_some((0, next)));
        };
        let began = Instant::now();
        let work = run(Range {
            command: job.batch.command.clone().unwrap_or_default(),
            lo,
            hi: hi.clone(),
            batch: state.batches + 1,
        });
        let done = tokio::select! {
            done = work => done,
            error = until_lost(self, job.lease) => return Err(error),
        };
        if let Err(why) = done {
            return Err(Error::Refused(format!(
                "{}: the command of batch {} (up to {hi}) {why}; the batches before it are kept",
                job.file.file,
                state.batches + 1
            )));
        }
        let sql = moved(self, &mut next, &hi, keys, began.elapsed(), pace);
        let begun = self.session.begin(&job.limits, true).await;
        begun.map_err(|e| lost_or("begin", e))?;
        let worked = self.fenced("write how far it came", &sql).await;
        self.end_batch(worked).await?;
        next.last_key = Some(hi);
        Ok(Some((keys, next)))
    }
}
