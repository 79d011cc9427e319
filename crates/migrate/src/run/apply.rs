//! One file, up or down: in one transaction with its row of the history, or statement by statement
//! with a journal.

mod message;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

pub(super) use message::may_share;

use super::locked::{Locked, lost_or, taken};
use super::{Done, Event, Options, Pauses, Tell};
use crate::database::{Conn as _, Effect, Limits, Session, literal};
use crate::error::{Error, answer, is_gone, is_lock_wait, is_refused_token};
use crate::folder::{File, Folder, Section};
use crate::sql::{Dialect, Outside, Shape, Statement, shape};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

impl Direction {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// A file, ready to run.
pub(super) struct Job<'a> {
    file: &'a File,
    section: &'a Section,
    direction: Direction,
    steps: Vec<(Statement, Shape)>,
    verify: Vec<Statement>,
    limits: Limits,
    retries: u32,
    /// Statement by statement.
    alone: bool,
    /// What our tables call the data migrations above it: on the way down.
    pub(super) above: Vec<i64>,
    /// It is a baseline, and these files count as applied with it.
    pub(super) stands_for: Option<Vec<&'a File>>,
}

impl<'a> Job<'a> {
    /// Cuts the file into statements and refuses what no file may hold. Done for all files before
    /// the first runs.
    pub(super) fn new(
        file: &'a File,
        direction: Direction,
        dialect: Dialect,
        options: &Options,
    ) -> Result<Self, Error> {
        let section = match direction {
            Direction::Up => &file.up,
            Direction::Down => file.down.as_ref().ok_or_else(|| Error::NoDown {
                version: file.version,
                why: format!("{} has no down section", file.file),
            })?,
        };
        let mut limits = Limits {
            lock_timeout: file.lock_timeout.unwrap_or(options.lock_timeout),
            statement_timeout: file.statement_timeout.unwrap_or(options.statement_timeout),
            foreign_keys_off: file.foreign_keys_off && dialect == Dialect::Sqlite,
        };
        let mut steps = Vec::new();
        let mut alone = file.no_transaction;
        for statement in section.statements(dialect)? {
            let shape = shape(&statement, dialect);
            if let Some(problem) = unfit(&shape) {
                return Err(Error::Unfit {
                    file: section.file.clone(),
                    line: statement.line,
                    problem: problem.to_owned(),
                });
            }
            match shape {
                // Done outside of the transaction, where it has an effect.
                Shape::ForeignKeysOff => {
                    limits.foreign_keys_off = true;
                    continue;
                }
                Shape::Outside(_) => alone = true,
                _ => {}
            }
            steps.push((statement, shape));
        }
        let verify = match (&file.verify, direction) {
            (Some(section), Direction::Up) => section.statements(dialect)?,
            _ => Vec::new(),
        };
        Ok(Self {
            file,
            section,
            direction,
            steps,
            verify,
            limits,
            retries: file.retries.unwrap_or(options.retries),
            alone,
            above: Vec::new(),
            stands_for: None,
        })
    }

    /// The baseline that an empty database begins with: a file and all whose work it does.
    pub(super) fn beginning(
        file: &'a File,
        folder: &'a Folder,
        dialect: Dialect,
        options: &Options,
    ) -> Result<Self, Error> {
        let mut job = Self::new(file, Direction::Up, dialect, options)?;
        let files = folder.files.iter();
        job.stands_for = Some(files.filter(|f| f.version <= file.version).collect());
        Ok(job)
    }

    /// The file whose row is written, and how it came there: of a baseline, the file of its version, if there is one.
    fn recorded(&self) -> (&File, &'static str) {
        let files = self.stands_for.iter().flatten();
        match files.last() {
            Some(last) if last.version == self.file.version => (last, "baseline"),
            _ => (self.file, "applied"),
        }
    }

    /// SQL for the rows of the files below a baseline.
    fn record_below<S: Session>(&self, locked: &Locked<S>) -> Vec<String> {
        let files = self.stands_for.iter().flatten();
        files
            .filter(|file| file.version < self.file.version)
            .map(|file| insert_row(locked, file, "baseline", 0))
            .collect()
    }

    /// The row of the history comes, or goes.
    fn record<S: Session>(&self, locked: &Locked<S>, ms: u128) -> String {
        let history = &locked.session.tables().history;
        match self.direction {
            // What data migrations above it had done so far may be gone with it.
            Direction::Down => {
                let key = self.file.version.key();
                let progress = &locked.session.tables().progress;
                let mut above = format!("version = {key}");
                if let Some(number) = self.file.version.number() {
                    above.push_str(&format!(" or version > {number}"));
                }
                // Their numbers say nothing of their order.
                for key in self.above.iter().filter(|key| **key < 0) {
                    above.push_str(&format!(" or version = {key}"));
                }
                format!(
                    "delete from {history} where version = {key}; delete from {progress} where {above}"
                )
            }
            Direction::Up => {
                let (file, how) = self.recorded();
                insert_row(locked, file, how, ms)
            }
        }
    }

    /// What another migrator beside us writes of it.
    fn record_beside<S: Session>(&self, locked: &Locked<S>, ms: u128) -> Vec<String> {
        let Some(beside) = &locked.beside else {
            return Vec::new();
        };
        match &self.stands_for {
            Some(files) => beside.record_baseline(self.file.version, files, ms, S::DIALECT),
            None => beside.record(self.file.version, self.direction, ms, S::DIALECT),
        }
    }

    fn hash(&self, step: usize) -> String {
        hex::encode(Sha256::digest(self.steps[step].0.text.as_bytes()))
    }
}

/// Why no file may hold such a statement.
pub(crate) fn unfit(shape: &Shape) -> Option<&'static str> {
    Some(match shape {
        Shape::Control => {
            "remove it: the runner begins and commits by itself, so that the file and its row in \
             the history are one (`-- windlass: no-transaction` runs a file statement by statement)"
        }
        Shape::Client => {
            "this needs a client that sends the data: use INSERT, or load it with \
             `windlass migrate run -- psql ...`"
        }
        Shape::Outside(Outside::CreateIndex { name: None, .. }) => {
            "give the index a name: without one nobody can tell, after a crash, whether it is there"
        }
        _ => return None,
    })
}

/// SQL that records a file in the history.
pub(super) fn insert_row<S: Session>(
    locked: &Locked<S>,
    file: &File,
    how: &str,
    ms: u128,
) -> String {
    insert_with(locked, file, how, ms, &locked.lease.token.to_string())
}

/// The same with this SQL for time and token.
fn insert_with<S: Session>(
    locked: &Locked<S>,
    file: &File,
    how: &str,
    ms: impl std::fmt::Display,
    token: &str,
) -> String {
    let text = |text: &str| literal(text, S::DIALECT);
    let floors: Vec<String> = file
        .floors()
        .iter()
        .map(crate::release::Floor::stored)
        .collect();
    let floors = if floors.is_empty() {
        "null".to_owned()
    } else {
        text(&floors.join(" "))
    };
    format!(
        "insert into {} (version, name, phase, checksum, app_floor, how, applied_ms, duration_ms, \
         applied_by, token) values ({}, {}, {}, {}, {floors}, {}, {}, {ms}, {}, {token})",
        locked.session.tables().history,
        file.version.key(),
        text(&file.version.stored_name(&file.name)),
        text(file.phase.as_str()),
        text(&file.checksum),
        text(how),
        S::NOW,
        text(&locked.me.name),
    )
}

/// What the journal says of a statement.
struct Journaled {
    hash: String,
    done: bool,
    seen_before: Option<String>,
}

impl<S: Session> Locked<S> {
    /// Runs a file.
    pub(super) async fn apply(&mut self, job: &Job<'_>, tell: Tell<'_>) -> Result<Done, Error> {
        self.check()?;
        self.tell_of_gate(&mut *tell);
        self.heart.doing(match job.direction {
            Direction::Up => format!("applying {}", job.file.file),
            Direction::Down => format!("undoing {}", job.file.file),
        });
        tell(Event::Begin {
            version: job.file.version,
            file: job.file.file.clone(),
        });
        let began = Instant::now();
        if job.alone {
            self.clean = false;
            self.step_by_step(job, began, tell).await?;
        } else {
            let run = Run::Whole(began);
            self.with_retries(job, 0, tell, &run).await?;
        }
        let done = Done {
            version: job.file.version,
            file: job.file.file.clone(),
            phase: job.file.phase,
            ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.tell_of_gate(&mut *tell);
        tell(Event::Done(done.clone()));
        Ok(done)
    }

    /// Tries again when other sessions' locks were in the way; in between, they pass.
    async fn with_retries(
        &mut self,
        job: &Job<'_>,
        step: usize,
        tell: Tell<'_>,
        run: &Run,
    ) -> Result<(), Error> {
        let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut attempt = 1;
        loop {
            let error = match self.once(job, step, run).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let (line, cause) = match &error {
                Error::Statement { cause, line, .. } => (*line, cause),
                Error::Database { cause, .. } => (job.section.line, cause),
                _ => return Err(error),
            };
            if !is_lock_wait(cause) || attempt > job.retries {
                return Err(error);
            }
            self.check()?;
            attempt += 1;
            let pause = pauses.next();
            tell(Event::Retry {
                file: job.section.file.clone(),
                line,
                attempt,
                pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                why: answer(cause),
            });
            tokio::time::sleep(pause).await;
        }
    }

    async fn once(&mut self, job: &Job<'_>, step: usize, run: &Run) -> Result<(), Error> {
        match run {
            Run::Whole(began) => self.whole(job, *began).await,
            Run::Inside => self.inside(job, step).await,
            Run::Outside(what) => self.outside(job, step, what).await,
        }
    }

    /// The file, its checks, the fence, its row: one transaction.
    async fn whole(&mut self, job: &Job<'_>, began: Instant) -> Result<(), Error> {
        let worked = async {
            let clean = std::mem::take(&mut self.clean);
            let opening = self.session.opening(&job.limits, clean);
            if let Some(opening) = &opening
                && let Some(message) = self.message(job, opening, began)
            {
                return self.send(job, &message).await;
            }
            let mut opening = opening.map(|opening| opening.sql);
            if opening.is_none() || job.steps.is_empty() {
                let begun = self.session.begin(&job.limits, true).await;
                begun.map_err(|e| lost_or("begin", e))?;
                opening = None;
            }
            for step in 0..job.steps.len() {
                let opening = opening.take().unwrap_or_default();
                self.statement(job, step, false, &opening).await?;
            }
            self.checks(job).await?;
            self.close(job, began.elapsed().as_millis()).await
        }
        .await;
        if worked.is_err() {
            // A commit that failed may have left it open: SQLite without a write-ahead log, when
            // readers were in the way.
            self.session.conn().execute("rollback").await.unwrap_or(0);
        }
        let settled = self.session.settle(&job.limits).await;
        worked?;
        settled.map_err(|e| lost_or("settle the session", e))
    }

    /// The file's row of the history, behind the fence, and the commit: one message where the
    /// database takes it so.
    async fn close(&mut self, job: &Job<'_>, ms: u128) -> Result<(), Error> {
        let mut beside = job.record_below(self);
        beside.extend(job.record_beside(self, ms));
        let (file, how) = job.recorded();
        let closing = match job.direction {
            Direction::Down => None,
            Direction::Up => self.closing(|token| insert_with(self, file, how, ms, token), &beside),
        };
        if let Some(sql) = closing {
            return match self.session.conn().execute(&sql).await {
                Ok(_) => {
                    self.clean = true;
                    Ok(())
                }
                Err(error) if is_refused_token(&error, &self.session.tables().name) => Err(taken()),
                Err(error) => Err(lost_or("record a migration and commit", error)),
            };
        }
        let sql = job.record(self, ms);
        match job.direction {
            Direction::Up => self.fenced("record a migration", &sql).await?,
            // How many rows go says nothing of the fence.
            Direction::Down => {
                self.fence().await?;
                let done = self.session.conn().execute(&sql).await;
                done.map_err(|e| lost_or("record that a migration is undone", e))?;
            }
        }
        self.also(&beside).await?;
        let ended = self.session.conn().execute("commit").await;
        ended.map(|_| ()).map_err(|e| lost_or("commit", e))
    }

    /// What another migrator is to know, in our transaction.
    pub(super) async fn also(&mut self, beside: &[String]) -> Result<(), Error> {
        for sql in beside {
            let done = self.session.conn().execute(sql).await;
            done.map_err(|e| lost_or("write to the other tool's history", e))?;
        }
        Ok(())
    }

    /// Commits or rolls back what [`Session::begin`] began.
    async fn end(&mut self, job: &Job<'_>, worked: Result<(), Error>) -> Result<(), Error> {
        let end = if worked.is_ok() { "commit" } else { "rollback" };
        let ended = self.session.conn().execute(end).await;
        if worked.is_ok() && ended.is_err() {
            // SQLite without a write-ahead log: readers were in the way. The transaction is still
            // open, and the next try begins another.
            self.session.conn().execute("rollback").await.unwrap_or(0);
        }
        let settled = self.session.settle(&job.limits).await;
        worked?;
        ended.map_err(|e| lost_or("commit", e))?;
        settled.map_err(|e| lost_or("settle the session", e))
    }

    /// `opening` is sent before it, in the same message, and has no line of its own.
    async fn statement(
        &mut self,
        job: &Job<'_>,
        step: usize,
        kept: bool,
        opening: &str,
    ) -> Result<(), Error> {
        let statement = &job.steps[step].0;
        let sent = if opening.is_empty() {
            Cow::Borrowed(&statement.text)
        } else {
            Cow::Owned(format!("{opening}{}", statement.text))
        };
        let done = self.session.conn().execute(&sent).await;
        done.map(|_| ()).map_err(|cause| {
            if is_gone(&cause) {
                return lost_or("run a statement", cause);
            }
            Error::Statement {
                file: job.section.file.clone(),
                line: statement.line + position(&cause, &sent).map_or(0, |at| lines(&sent[..at])),
                kept,
                cause,
            }
        })
    }

    /// The queries of the verify section, and SQLite's foreign keys.
    async fn checks(&mut self, job: &Job<'_>) -> Result<(), Error> {
        let broken = self.session.broken_keys(&job.limits).await;
        if let Some(problem) = broken.map_err(|e| lost_or("check foreign keys", e))? {
            return Err(Error::Unfit {
                file: job.section.file.clone(),
                line: job.section.line,
                problem,
            });
        }
        let file = job.file.verify.as_ref().map_or("", |s| s.file.as_str());
        check_rows(&mut self.session, file, &job.verify).await
    }

    /// Statement by statement: each takes effect once, whatever happens in between.
    async fn step_by_step(
        &mut self,
        job: &Job<'_>,
        began: Instant,
        tell: Tell<'_>,
    ) -> Result<(), Error> {
        let fresh = self.session.fresh().await;
        fresh.map_err(|e| lost_or("set up the session", e))?;
        let journal = self.journal(job).await?;
        for step in 0..job.steps.len() {
            self.check()?;
            if job.steps[step].1 == Shape::Setting {
                // Also when the rest is taken up again: this is a new session.
                self.statement(job, step, true, "").await?;
                continue;
            }
            let seen = journal.iter().find(|(n, _)| *n == step).map(|(_, j)| j);
            if let Some(seen) = seen
                && seen.hash != job.hash(step)
            {
                return Err(self.interrupted(
                    job,
                    step,
                    "this statement was changed after it had been run in part",
                ));
            }
            if seen.is_some_and(|s| s.done) {
                continue;
            }
            let run = match &job.steps[step].1 {
                Shape::Outside(what) => {
                    if let Some(seen) = seen
                        && self.recovered(job, step, what, seen, tell).await?
                    {
                        continue;
                    }
                    Run::Outside(what.clone())
                }
                _ => Run::Inside,
            };
            self.with_retries(job, step, tell, &run).await?;
        }
        self.checks(job).await?;
        let ms = began.elapsed().as_millis();
        let mut sql = vec![job.record(self, ms), forget(self, job)];
        sql.extend(job.record_below(self));
        sql.extend(job.record_beside(self, ms));
        self.write(&sql, job.retries).await
    }

    /// A statement that was running when its runner ended: whether it took effect, and then it
    /// is done.
    async fn recovered(
        &mut self,
        job: &Job<'_>,
        step: usize,
        what: &Outside,
        seen: &Journaled,
        tell: Tell<'_>,
    ) -> Result<bool, Error> {
        let effect = self
            .session
            .effect(what, seen.seen_before.as_deref())
            .await?;
        if effect == Effect::Unknown {
            return Err(self.interrupted(
                job,
                step,
                "this statement was interrupted, and the catalog can't tell whether it took effect",
            ));
        }
        let took_effect = effect == Effect::Yes;
        tell(Event::Resumed {
            file: job.file.file.clone(),
            step: step + 1,
            took_effect,
        });
        if took_effect {
            let sql = journal_row(self, job, step, "done", None);
            self.write(&sql, job.retries).await?;
        }
        Ok(took_effect)
    }

    fn interrupted(&self, job: &Job<'_>, step: usize, why: &str) -> Error {
        Error::Interrupted {
            version: job.file.version,
            file: Some(format!(
                "{}, line {}",
                job.section.file, job.steps[step].0.line
            )),
            step: step + 1,
            why: why.to_owned(),
        }
    }

    /// A statement in a transaction, with its row in the journal.
    async fn inside(&mut self, job: &Job<'_>, step: usize) -> Result<(), Error> {
        let worked = async {
            let begun = self.session.begin(&job.limits, false).await;
            begun.map_err(|e| lost_or("begin", e))?;
            self.statement(job, step, true, "").await?;
            self.fence().await?;
            for sql in journal_row(self, job, step, "done", None) {
                let done = self.session.conn().execute(&sql).await;
                done.map_err(|e| lost_or("write the journal", e))?;
            }
            Ok(())
        }
        .await;
        self.end(job, worked).await
    }

    /// A statement that no transaction covers: written down before, checked after.
    async fn outside(&mut self, job: &Job<'_>, step: usize, what: &Outside) -> Result<(), Error> {
        // CREATE INDEX CONCURRENTLY IF NOT EXISTS takes an invalid index for the real one.
        self.session.clear(what).await?;
        let before = self.session.before(what).await?;
        let sql = journal_row(self, job, step, "running", before.as_deref());
        self.write(&sql, job.retries).await?;
        let set = self.session.alone(&job.limits, what).await;
        set.map_err(|e| lost_or("set limits", e))?;
        if let Err(error) = self.statement(job, step, true, "").await {
            if matches!(error, Error::Statement { .. }) {
                self.session.clear(what).await?;
                // The server said no: nothing is left of it, except where nobody can know.
                if *what != Outside::Unknown {
                    let sql = [journal_delete(self, job, Some(step))];
                    self.write(&sql, job.retries).await?;
                }
            }
            return Err(error);
        }
        if let Outside::CreateIndex { .. } = what
            && self.session.effect(what, None).await? != Effect::Yes
        {
            self.session.clear(what).await?;
            let sql = [journal_delete(self, job, Some(step))];
            self.write(&sql, job.retries).await?;
            return Err(Error::Unfit {
                file: job.section.file.clone(),
                line: job.steps[step].0.line,
                problem: "the index is not valid after it was built: it was removed; try again"
                    .to_owned(),
            });
        }
        let sql = journal_row(self, job, step, "done", None);
        self.write(&sql, job.retries).await
    }

    async fn journal(&mut self, job: &Job<'_>) -> Result<Vec<(usize, Journaled)>, Error> {
        let sql = format!(
            "select step, hash, state, seen_before from {} where direction = '{}' and version = {}",
            self.session.tables().journal,
            job.direction.as_str(),
            job.file.version.journal_key()
        );
        let rows = self.session.conn().texts(&sql).await;
        let rows = rows.map_err(|e| lost_or("read the journal", e))?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let text = |i: usize| row.get(i).cloned().flatten();
                let step = text(0).and_then(|t| t.parse().ok()).unwrap_or(0);
                let seen = Journaled {
                    hash: text(1).unwrap_or_default(),
                    done: text(2).as_deref() == Some("done"),
                    seen_before: text(3),
                };
                (step, seen)
            })
            .collect())
    }
}

/// How a piece of a file is run.
enum Run {
    Whole(Instant),
    Inside,
    Outside(Outside),
}

/// SQL that writes a statement's state down.
fn journal_row<S: Session>(
    locked: &Locked<S>,
    job: &Job<'_>,
    step: usize,
    state: &str,
    before: Option<&str>,
) -> [String; 2] {
    let insert = format!(
        "insert into {} (direction, version, step, hash, state, seen_before, started_ms, token) \
         values ('{}', {}, {step}, '{}', '{state}', {}, {}, {})",
        locked.session.tables().journal,
        job.direction.as_str(),
        job.file.version.journal_key(),
        job.hash(step),
        before.map_or_else(|| "null".to_owned(), |text| literal(text, S::DIALECT)),
        S::NOW,
        locked.lease.token
    );
    [journal_delete(locked, job, Some(step)), insert]
}

fn journal_delete<S: Session>(locked: &Locked<S>, job: &Job<'_>, step: Option<usize>) -> String {
    let step = step.map_or_else(String::new, |step| format!(" and step = {step}"));
    format!(
        "delete from {} where direction = '{}' and version = {}{step}",
        locked.session.tables().journal,
        job.direction.as_str(),
        job.file.version.journal_key()
    )
}

fn forget<S: Session>(locked: &Locked<S>, job: &Job<'_>) -> String {
    journal_delete(locked, job, None)
}

/// Queries that should find nothing.
pub(super) async fn check_rows<S: Session>(
    session: &mut S,
    file: &str,
    queries: &[Statement],
) -> Result<(), Error> {
    for query in queries {
        let rows = session.conn().texts(&query.text).await;
        let rows = rows.map_err(|cause| {
            if is_gone(&cause) {
                return lost_or("run a check", cause);
            }
            Error::Statement {
                file: file.to_owned(),
                line: query.line,
                kept: false,
                cause,
            }
        })?;
        if let Some(first) = rows.first() {
            let words: Vec<&str> = first
                .iter()
                .map(|c| c.as_deref().unwrap_or("NULL"))
                .collect();
            return Err(Error::Verify {
                file: file.to_owned(),
                line: query.line,
                rows: rows.len(),
                sample: Some(words.join(" | ").chars().take(200).collect()),
            });
        }
    }
    Ok(())
}

/// PostgreSQL says at which character of the text it stumbled: here, at which byte.
fn position(error: &sqlx::Error, text: &str) -> Option<usize> {
    let error = error
        .as_database_error()?
        .try_downcast_ref::<PgDatabaseError>()?;
    let PgErrorPosition::Original(at) = error.position()? else {
        return None;
    };
    let found = text.char_indices().nth(at.checked_sub(1)?);
    // Behind the last one: something is missing there.
    Some(found.map_or(text.len(), |(at, _)| at))
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}
