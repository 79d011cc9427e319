//! The measured run on PostgreSQL.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::load::{Generator, Target};
use super::sampler::{Sampler, Seen};
use super::{Measured, Rehearsal, TableLock};
use crate::database::postgres::Postgres;
use crate::database::{Conn as _, Database, Limits, Session as _, Texts};
use crate::error::{Error, answer, is_lock_wait, is_missing_name};
use crate::folder::{File, Folder, Phase};
use crate::run::{Event, Options, Tell, status, unfit};
use crate::sql::{Dialect, Outside, Shape, Statement, shape};

/// The load runs for so long before the first statement.
const WARM_UP: Duration = Duration::from_millis(300);
/// Tables that the load works on, at most.
const LOADED_TABLES: usize = 8;

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

fn strength(mode: &str) -> usize {
    MODES.iter().position(|m| *m == mode).unwrap_or(0)
}

/// What is known of a table at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shot {
    file: i64,
    scans: i64,
    bytes: u64,
}

struct Stage<'a> {
    session: Postgres,
    sampler: Sampler,
    /// The tables that were there before: their names as SQL.
    tables: BTreeMap<i64, String>,
    options: &'a Options,
    report: Rehearsal,
}

/// Statement, its lock, since when.
type Since = Vec<(usize, usize, Instant)>;

/// Locks of the transaction that is open: the strongest mode, since when.
type Held = HashMap<i64, (usize, Instant)>;

pub(super) async fn run(
    copy: &Database,
    folder: &Folder,
    options: &Options,
    generate_load: bool,
    tell: Tell<'_>,
) -> Result<Rehearsal, Error> {
    let status = status(copy, folder, options).await?;
    if !status.plan.stops.is_empty() {
        return Err(Error::Mismatch(status.plan.stops));
    }
    let files: Vec<&File> = status
        .plan
        .run
        .iter()
        .filter_map(|v| folder.find(*v))
        .collect();
    let failed = Error::database("connect to the copy");
    let mut session = Postgres::connect(copy, &options.table)
        .await
        .map_err(failed)?;
    session
        .fresh()
        .await
        .map_err(Error::database("set up the session"))?;
    // A copy made of a dump has no statistics: neither the planner's nor the tables' sizes.
    let analyzed = session.conn().execute("analyze").await;
    analyzed.map_err(Error::database("analyze the copy"))?;
    let pid = rows(&mut session, "select pg_backend_pid()").await?;
    let pid = number(&pid, 0);
    let tables = tables(&mut session, &options.table).await?;
    let connect = PgConnectOptions::from_str(copy.url())
        .map_err(Error::database("read the address"))?
        .extra_float_digits(None)
        .application_name("windlass rehearsal")
        .disable_statement_logging();
    let watcher = connect.connect().await;
    let sampler = Sampler::start(
        watcher.map_err(Error::database("connect to the copy"))?,
        pid,
    );
    let mut stage = Stage {
        session,
        sampler,
        tables,
        options,
        report: Rehearsal {
            hash: status.plan.hash(folder),
            files: files.iter().map(|f| f.file.clone()).collect(),
            ..Rehearsal::default()
        },
    };
    stage.report.server = stage.session.version();
    let applied: Vec<&File> = folder
        .files
        .iter()
        .filter(|f| status.history.find(f.version).is_some())
        .collect();
    let contracted = |file: &File| status.history.contracted_since(file.version);
    stage.report.checks_before = stage.checks(&applied, contracted).await?;
    let generator = if generate_load {
        let targets = stage.targets(&files).await?;
        let generator = Generator::start(&connect, targets).await?;
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
    stage.report.load = generator.map(Generator::stop);
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

async fn rows(session: &mut Postgres, sql: &str) -> Result<Texts, Error> {
    let rows = session.conn().texts(sql).await;
    rows.map_err(Error::database("look at the copy"))
}

fn number(rows: &Texts, column: usize) -> i64 {
    let text = rows
        .first()
        .and_then(|r| r.get(column)?.as_deref()?.parse().ok());
    text.unwrap_or(0)
}

/// Tables and what is like them, of users, without ours.
async fn tables(session: &mut Postgres, ours: &str) -> Result<BTreeMap<i64, String>, Error> {
    let name = ours.rsplit('.').next().unwrap_or(ours);
    let sql = format!(
        "select c.oid, c.oid::regclass from pg_catalog.pg_class c \
         join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
         where c.relkind in ('r', 'p', 'm', 'v', 'f') and n.nspname !~ '^pg_' \
         and n.nspname <> 'information_schema' \
         and c.relname not in ('{name}', '{name}_lock', '{name}_journal', '{name}_data')"
    );
    let found = rows(session, &sql).await?;
    Ok(found
        .into_iter()
        .filter_map(|row| {
            let mut row = row.into_iter();
            Some((row.next()??.parse().ok()?, row.next()??))
        })
        .collect())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Stage<'_> {
    /// Tables that the statements name.
    async fn targets(&mut self, files: &[&File]) -> Result<Vec<Target>, Error> {
        let mut words = Vec::new();
        for file in files {
            for statement in file.up.statements(Dialect::Postgres)? {
                words.extend(
                    statement
                        .tokens
                        .iter()
                        .map(|t| t.text.trim_matches('"').to_lowercase()),
                );
            }
        }
        let sql = "select c.oid, (select quote_ident(a.attname) from pg_catalog.pg_attribute a \
            where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' \
            and a.attidentity <> 'a' order by a.attnum limit 1), c.relname \
            from pg_catalog.pg_class c where c.relkind in ('r', 'p')";
        let mut targets = Vec::new();
        for row in rows(&mut self.session, sql).await? {
            let [Some(oid), column, Some(name)] = &row[..] else {
                continue;
            };
            let table = oid.parse().ok().and_then(|oid: i64| self.tables.get(&oid));
            if let Some(table) = table
                && words.contains(&name.to_lowercase())
                && targets.len() < LOADED_TABLES
            {
                targets.push(Target {
                    table: table.clone(),
                    column: column.clone(),
                });
            }
        }
        Ok(targets)
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
            for query in section.statements(Dialect::Postgres)? {
                match self.session.conn().texts(&query.text).await {
                    Ok(rows) if rows.is_empty() => {}
                    Err(error) if contracted(file) && is_missing_name(&error) => {}
                    Ok(rows) => found.push(format!(
                        "{}, line {}: {} row(s)",
                        section.file,
                        query.line,
                        rows.len()
                    )),
                    Err(error) => found.push(format!(
                        "{}, line {}: {}",
                        section.file,
                        query.line,
                        answer(&error)
                    )),
                }
            }
        }
        Ok(found)
    }

    async fn file(&mut self, file: &File, tell: Tell<'_>) -> Result<(), Error> {
        let statements = file.up.statements(Dialect::Postgres)?;
        let limits = Limits {
            lock_timeout: file.lock_timeout.unwrap_or(self.options.lock_timeout),
            statement_timeout: file
                .statement_timeout
                .unwrap_or(self.options.statement_timeout),
            foreign_keys_off: false,
        };
        let shapes: Vec<Shape> = statements
            .iter()
            .map(|s| shape(s, Dialect::Postgres))
            .collect();
        for (statement, shape) in statements.iter().zip(&shapes) {
            if let Some(problem) = unfit(shape) {
                return Err(Error::Unfit {
                    file: file.up.file.clone(),
                    line: statement.line,
                    problem: problem.to_owned(),
                });
            }
        }
        let alone = file.no_transaction || shapes.iter().any(|s| matches!(s, Shape::Outside(_)));
        let pieces: Vec<Vec<(&Statement, &Shape)>> = if alone {
            statements
                .iter()
                .zip(&shapes)
                .map(|one| vec![one])
                .collect()
        } else {
            vec![statements.iter().zip(&shapes).collect()]
        };
        if alone {
            let fresh = self.session.fresh().await;
            fresh.map_err(Error::database("set up the session"))?;
        }
        for piece in pieces {
            let retries = file.retries.unwrap_or(self.options.retries);
            let mut attempt = 1;
            loop {
                let done = match &piece[..] {
                    [(statement, Shape::Outside(what))] => {
                        self.outside(file, statement, what, &limits).await
                    }
                    _ => self.transaction(file, &piece, &limits, !alone).await,
                };
                match done {
                    Ok(measured) => {
                        self.report.statements.extend(measured);
                        break;
                    }
                    Err(Error::Statement { cause, line, .. })
                        if is_lock_wait(&cause) && attempt <= retries =>
                    {
                        attempt += 1;
                        self.report.retries += 1;
                        let pause = Duration::from_millis(100 * u64::from(attempt.min(20)));
                        tell(Event::Retry {
                            file: file.file.clone(),
                            line,
                            attempt,
                            pause_ms: millis(pause),
                            why: answer(&cause),
                        });
                        tokio::time::sleep(pause).await;
                    }
                    Err(error) => return Err(error),
                }
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
        piece: &[(&Statement, &Shape)],
        limits: &Limits,
        whole: bool,
    ) -> Result<Vec<Measured>, Error> {
        let worked = self.inside(file, piece, limits, whole).await;
        let end = if worked.is_ok() { "commit" } else { "rollback" };
        let ended = self.session.conn().execute(end).await;
        let now = Instant::now();
        let (mut measured, since) = worked?;
        ended.map_err(Error::database("commit"))?;
        let last = self.sampler.take();
        if let Some(measured) = measured.last_mut() {
            measured.add_waits(&last);
        }
        for (step, lock, began) in since {
            measured[step].locks[lock].held_ms = millis(now - began);
        }
        Ok(measured)
    }

    async fn inside(
        &mut self,
        file: &File,
        piece: &[(&Statement, &Shape)],
        limits: &Limits,
        whole: bool,
    ) -> Result<(Vec<Measured>, Since), Error> {
        let begun = self.session.begin(limits, whole).await;
        begun.map_err(Error::database("begin"))?;
        let mut held = Held::new();
        let mut measured = Vec::new();
        let mut since = Vec::new();
        let mut before = self.shots().await?;
        for (statement, _) in piece {
            self.sampler.take();
            let began = Instant::now();
            let done = self.session.conn().execute(&statement.text).await;
            let rows = done.map_err(|cause| Self::failed(file, statement, cause))?;
            let mut one = Measured::of(file, statement, began.elapsed(), rows);
            let seen = self.sampler.take();
            one.add_waits(&seen);
            for (oid, mode) in self.mine().await? {
                let strength = strength(&mode);
                if strength == 0 || held.get(&oid).is_some_and(|(s, _)| *s >= strength) {
                    continue;
                }
                let Some(table) = self.tables.get(&oid) else {
                    continue;
                };
                // Never seen: it was got, after all waiting, and the statement was over between
                // two looks.
                let first = seen
                    .held
                    .get(&(oid, mode.clone()))
                    .map_or(began + seen.waited, |(at, _)| *at);
                held.insert(oid, (strength, first));
                since.push((measured.len(), one.locks.len(), first));
                one.locks.push(TableLock {
                    table: table.clone(),
                    mode,
                    held_ms: 0,
                });
            }
            let after = self.shots().await?;
            for (oid, shot) in &after {
                let (Some(old), Some(table)) = (before.get(oid), self.tables.get(oid)) else {
                    continue;
                };
                let (rewritten, scanned) = (shot.file != old.file, shot.scans > old.scans);
                if rewritten {
                    one.rewritten.push(table.clone());
                }
                if scanned {
                    one.scanned.push(table.clone());
                }
                if rewritten || scanned {
                    one.bytes += shot.bytes.max(old.bytes);
                }
            }
            before = after;
            measured.push(one);
        }
        if whole {
            self.verify(file).await?;
        }
        Ok((measured, since))
    }

    /// The file's own checks, as the runner does them before it records the file.
    async fn verify(&mut self, file: &File) -> Result<(), Error> {
        let Some(section) = &file.verify else {
            return Ok(());
        };
        for query in section.statements(Dialect::Postgres)? {
            let found = self.session.conn().texts(&query.text).await;
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
        what: &Outside,
        limits: &Limits,
    ) -> Result<Vec<Measured>, Error> {
        self.session.clear(what).await?;
        let set = self.session.alone(limits, what).await;
        set.map_err(Error::database("set limits"))?;
        let before = self.shots().await?;
        self.sampler.take();
        let began = Instant::now();
        let done = self.session.conn().execute(&statement.text).await;
        let elapsed = began.elapsed();
        if done.is_err() {
            self.session.clear(what).await?;
        }
        let rows = done.map_err(|cause| Self::failed(file, statement, cause))?;
        let seen = self.sampler.take();
        let mut one = Measured::of(file, statement, elapsed, rows);
        one.add_waits(&seen);
        let mut strongest: BTreeMap<i64, (usize, &String, Duration)> = BTreeMap::new();
        for ((oid, mode), (first, last)) in &seen.held {
            let strength = strength(mode);
            let known = strongest.get(oid).is_some_and(|(s, ..)| *s >= strength);
            if strength > 0 && !known {
                strongest.insert(*oid, (strength, mode, *last - *first));
            }
        }
        for (oid, (_, mode, time)) in strongest {
            if let Some(table) = self.tables.get(&oid) {
                one.locks.push(TableLock {
                    table: table.clone(),
                    mode: mode.clone(),
                    held_ms: millis(time),
                });
            }
        }
        let after = self.shots().await?;
        for (oid, shot) in &after {
            let (Some(old), Some(table)) = (before.get(oid), self.tables.get(oid)) else {
                continue;
            };
            let scanned = matches!(what, Outside::CreateIndex { table: t, .. } if t.trim_matches('"') == table.trim_matches('"'));
            if shot.file != old.file {
                one.rewritten.push(table.clone());
            }
            if scanned {
                one.scanned.push(table.clone());
            }
            if scanned || shot.file != old.file {
                one.bytes += shot.bytes.max(old.bytes);
            }
        }
        Ok(vec![one])
    }

    /// Locks on relations that this session has.
    async fn mine(&mut self) -> Result<Vec<(i64, String)>, Error> {
        let sql = "select relation, mode from pg_catalog.pg_locks where pid = pg_backend_pid() \
            and locktype = 'relation' and granted";
        let mut found: Vec<(i64, String)> = rows(&mut self.session, sql)
            .await?
            .into_iter()
            .filter_map(|row| {
                let mut row = row.into_iter();
                Some((row.next()??.parse().ok()?, row.next()??))
            })
            .collect();
        // The strongest of a table first, so that it is the one which counts.
        found.sort_by_key(|(oid, mode)| (*oid, std::cmp::Reverse(strength(mode))));
        Ok(found)
    }

    /// Where the tables' rows are, and how often this transaction has read them from end to end.
    async fn shots(&mut self) -> Result<BTreeMap<i64, Shot>, Error> {
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
                Some((of(0)?, shot))
            })
            .collect())
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
