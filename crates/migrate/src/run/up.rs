//! `up`: applies what is pending.

use tokio::task::{JoinError, spawn_blocking};

use super::adopt::is_apart;
use super::apply::{Direction, Job, may_share};
use super::data::Batches;
use super::locked::{Locked, lost_or};
use super::{Options, Report, Tell, look, mysql, postgres, with_session};
use crate::database::{Conn as _, Database, Session, history};
use crate::error::Error;
use crate::folder::{Folder, FolderError, Source};
use crate::plan::{History, Plan, plan};
use crate::sql::Dialect;
use crate::version::Version;

/// Applies what is pending, each file once, however many processes do this together. With nothing
/// pending: one round trip after connecting, and no lock.
///
/// # Errors
/// See [`Error`]. What was applied before the error stays applied and recorded.
pub async fn up(
    database: &Database,
    folder: &Folder,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    with_session!(database, options, create: true, |session| {
        run(met(session).await?, folder, options, tell).await
    })
}

/// [`up`] with the folder at `source`, which is read while the server answers: with nothing pending,
/// these two are all that takes time.
///
/// # Errors
/// As [`up`]. A folder that can't be read is told before a server that can't be reached.
pub async fn up_at(
    database: &Database,
    source: Source,
    options: &Options,
    tell: Tell<'_>,
) -> Result<(Folder, Report), Error> {
    let reading = async { spawn_blocking(move || source.read()).await };
    let (folder, report) = match database.dialect() {
        Dialect::Postgres => {
            let met = async { met(postgres(database, options).await?).await };
            let (met, folder) = both(met, reading).await?;
            let report = run(met, &folder, options, tell).await;
            (folder, report)
        }
        Dialect::Mysql => {
            let met = async { met(mysql(database, options).await?).await };
            let (met, folder) = both(met, reading).await?;
            let report = run(met, &folder, options, tell).await;
            (folder, report)
        }
        // Connecting costs nothing, and would make the file.
        Dialect::Sqlite => {
            let folder = unpanicked(reading.await)?;
            let report = up(database, &folder, options, tell).await;
            (folder, report)
        }
    };
    Ok((folder, report?))
}

/// A session, and the history that it found.
type Met<S> = (S, History);

async fn met<S: Session>(mut session: S) -> Result<Met<S>, Error> {
    let seen = history(&mut session).await?;
    Ok((session, seen))
}

/// The database's failure waits for the folder's; the folder's does not wait for the database.
async fn both<S>(
    meeting: impl Future<Output = Result<Met<S>, Error>>,
    reading: impl Future<Output = Result<Result<Folder, FolderError>, JoinError>>,
) -> Result<(Met<S>, Folder), Error> {
    let meeting = async { Ok::<_, Error>(meeting.await) };
    let reading = async { unpanicked(reading.await) };
    let (met, folder) = tokio::try_join!(meeting, reading)?;
    Ok((met?, folder))
}

fn unpanicked(read: Result<Result<Folder, FolderError>, JoinError>) -> Result<Folder, Error> {
    match read {
        Ok(read) => Ok(read?),
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn run<S: Session>(
    (mut session, seen): Met<S>,
    folder: &Folder,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    let apart = match options.beside {
        Some(tool) => is_apart(&mut session, tool, folder, &seen).await?,
        None => false,
    };
    let needed = |history: &History| {
        let found = plan(history, folder, &options.rules, false);
        // An empty history: whether contract migrations run depends on what else is there.
        !found.run.is_empty()
            || !found.stops.is_empty()
            || (history.rows.is_empty() && folder.newest() > Version::NONE)
            || apart
    };
    let found = plan(&seen, folder, &options.rules, false);
    // What the other tool has applied is not pending, so it may also not be out of order.
    let found = if apart { found } else { checked(found)? };
    if !needed(&seen) {
        return Ok(report(found));
    }
    let Some(mut locked) = Locked::acquire(session, options, tell, "migrating", &needed).await?
    else {
        return Ok(report(found));
    };
    let worked = async {
        if let Some(tool) = options.beside {
            locked.lock_beside(tool, options, &mut *tell).await?;
        }
        under_lock(&mut locked, folder, options, tell).await
    }
    .await;
    locked.finish(worked).await
}

fn checked(plan: Plan) -> Result<Plan, Error> {
    if plan.stops.is_empty() {
        return Ok(plan);
    }
    Err(Error::Mismatch(plan.stops))
}

fn report(plan: Plan) -> Report {
    Report {
        done: Vec::new(),
        taken: Vec::new(),
        held: plan.held,
        data: plan.data,
        ahead: plan.ahead,
        warnings: plan.warnings,
    }
}

async fn under_lock<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    // Read again: whoever had the lock before may have applied some.
    let mut seen = history(&mut locked.session).await?;
    let fresh = seen.rows.is_empty() && locked.session.is_empty().await?;
    let (taken, changed) = locked.in_step(folder, &seen, fresh, options).await?;
    if changed {
        seen = history(&mut locked.session).await?;
    }
    let marked = marked(locked).await?;
    let filling = fresh || marked.is_some_and(|newest| !is_filled(&seen, newest, folder, options));
    let seen = History {
        filling: filling.then(|| folder.newest().key()),
        ..seen
    };
    let found = checked(plan(&seen, folder, &options.rules, fresh))?;
    if seen.rows.is_empty()
        && found.begin.is_none()
        && let Some(file) = folder.squashed()
        && options.rules.to.is_none_or(|to| to >= file.version)
    {
        return Err(Error::NotEmpty {
            file: file.file.clone(),
            version: file.version,
        });
    }
    if let Some(allowed) = &options.only_plan
        && !found.run.is_empty()
        && found.hash(folder) != *allowed
    {
        return Err(Error::OtherPlan {
            ours: found.hash(folder),
            allowed: allowed.clone(),
        });
    }
    for interrupted in look::interrupted(&mut locked.session, folder, &seen).await? {
        let resumable = interrupted.direction == "up" && found.run.contains(&interrupted.version);
        if !resumable {
            return Err(interrupted.into_error());
        }
    }
    let jobs = found
        .run
        .iter()
        .filter_map(|version| Some((*version, folder.runs(*version, found.begin)?)))
        .map(|(version, file)| match &file.batch {
            _ if found.begin == Some(version) => {
                Job::beginning(file, folder, S::DIALECT, options).map(Work::Schema)
            }
            // In an empty database only.
            Some(batch) => Batches::new(file, batch, S::DIALECT, options).map(Work::Data),
            None => Job::new(file, Direction::Up, S::DIALECT, options).map(Work::Schema),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if fresh && !jobs.is_empty() {
        let sql = format!(
            "update {} set filling = {} where id = 1",
            locked.session.tables().lock,
            folder.newest().key()
        );
        locked.write(&[sql], options.retries).await?;
    }
    // A text of a repeatable file that was applied before, and is gone back to: it gets a row of its own again.
    let again = found
        .run
        .iter()
        .filter(|version| seen.find(**version).is_some());
    let again: Vec<String> = again
        .map(|version| {
            let history = &locked.session.tables().history;
            format!("delete from {history} where version = {}", version.key())
        })
        .collect();
    if !again.is_empty() {
        locked.write(&again, options.retries).await?;
    }
    let mut out = Report {
        taken,
        ..report(found)
    };
    locked.filling = filling;
    // Before this file, none shares a commit.
    let mut alone_before = if filling && may_share(folder) {
        0
    } else {
        jobs.len()
    };
    let mut at = 0;
    while let Some(job) = jobs.get(at) {
        if at >= alone_before {
            let several = locked.together(jobs[at..].iter().map(Work::schema));
            let some: Vec<&Job<'_>> = jobs[at..at + several]
                .iter()
                .filter_map(Work::schema)
                .collect();
            if several > 1 {
                if let Some(done) = locked.apply_together(&some, &mut *tell).await? {
                    out.done.extend(done);
                    at += several;
                    continue;
                }
                alone_before = at + several;
            }
        }
        match job {
            Work::Schema(job) => out.done.push(locked.apply(job, tell).await?),
            Work::Data(job) => {
                out.done
                    .extend(locked.batches(job, None, &mut *tell, None).await?);
            }
        }
        at += 1;
    }
    if filling || marked.is_some() {
        let sql = format!(
            "update {} set filling = null where id = 1",
            locked.session.tables().lock
        );
        locked.write(&[sql], options.retries).await?;
    }
    Ok(out)
}

enum Work<'a> {
    Schema(Job<'a>),
    Data(Batches<'a>),
}

impl<'a> Work<'a> {
    fn schema(&self) -> Option<&Job<'a>> {
        match self {
            Self::Schema(job) => Some(job),
            Self::Data(_) => None,
        }
    }
}

/// Whether the runner that filled an empty database ended only after its last file. Then there may
/// be an application on it since, and what has come to the folder later gets no special treatment.
fn is_filled(seen: &History, newest: i64, folder: &Folder, options: &Options) -> bool {
    let as_then = History {
        filling: Some(newest),
        ..seen.clone()
    };
    let left = plan(&as_then, folder, &options.rules, false).run;
    let newest = folder.by_key(newest);
    !seen.rows.is_empty() && left.iter().all(|version| *version > newest)
}

/// Up to which version an empty database was to be filled by a runner that ended before it said
/// that it was done.
async fn marked<S: Session>(locked: &mut Locked<S>) -> Result<Option<i64>, Error> {
    let sql = format!(
        "select filling from {} where id = 1 and filling is not null",
        locked.session.tables().lock
    );
    let rows = locked.session.conn().texts(&sql).await;
    let rows = rows.map_err(|e| lost_or("read the lock's row", e))?;
    let newest = rows.into_iter().flatten().flatten().next();
    Ok(newest.and_then(|text| text.parse().ok()))
}
