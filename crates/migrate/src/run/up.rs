//! `up`: applies what is pending.

use super::apply::{Direction, Job};
use super::data::Batches;
use super::locked::{Locked, lost_or};
use super::{Options, Report, Tell, look, with_session};
use crate::database::{Conn as _, Database, Session, history};
use crate::error::Error;
use crate::folder::Folder;
use crate::plan::{History, Plan, plan};

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
        run(session, folder, options, tell).await
    })
}

async fn run<S: Session>(
    mut session: S,
    folder: &Folder,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    let seen = history(&mut session).await?;
    let needed = |history: &History| {
        let found = plan(history, folder, &options.rules, false);
        // An empty history: whether contract migrations run depends on what else is there.
        !found.run.is_empty()
            || !found.stops.is_empty()
            || (history.rows.is_empty() && !folder.files.is_empty())
    };
    let found = checked(plan(&seen, folder, &options.rules, false))?;
    if !needed(&seen) {
        return Ok(report(found));
    }
    let Some(mut locked) = Locked::acquire(session, options, tell, "migrating", &needed).await?
    else {
        return Ok(report(found));
    };
    let worked = under_lock(&mut locked, folder, options, tell).await;
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
    let seen = history(&mut locked.session).await?;
    let fresh = seen.rows.is_empty() && locked.session.is_empty().await?;
    let filling = fresh || filling(locked).await?;
    let seen = History {
        filling: filling.then(|| folder.newest()),
        ..seen
    };
    let found = checked(plan(&seen, folder, &options.rules, fresh))?;
    if let Some(allowed) = &options.only_plan
        && !found.run.is_empty()
        && found.hash(folder) != *allowed
    {
        return Err(Error::OtherPlan {
            ours: found.hash(folder),
            allowed: allowed.clone(),
        });
    }
    for interrupted in look::interrupted(&mut locked.session, &seen).await? {
        let resumable = interrupted.direction == "up" && found.run.contains(&interrupted.version);
        if !resumable {
            return Err(interrupted.into_error());
        }
    }
    let jobs = found
        .run
        .iter()
        .filter_map(|version| folder.find(*version))
        .map(|file| match &file.batch {
            // In an empty database only.
            Some(batch) => Batches::new(file, batch, S::DIALECT, options).map(Work::Data),
            None => Job::new(file, Direction::Up, S::DIALECT, options).map(Work::Schema),
        })
        .collect::<Result<Vec<_>, _>>()?;
    if fresh && !jobs.is_empty() {
        let sql = format!(
            "update {} set filling = {} where id = 1",
            locked.session.tables().lock,
            folder.newest()
        );
        locked.write(&[sql], options.retries).await?;
    }
    let mut out = report(found);
    for job in &jobs {
        match job {
            Work::Schema(job) => out.done.push(locked.apply(job, tell).await?),
            Work::Data(job) => {
                out.done
                    .extend(locked.batches(job, None, &mut *tell, None).await?);
            }
        }
    }
    if filling {
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

/// Whether an empty database was being filled when its runner ended.
async fn filling<S: Session>(locked: &mut Locked<S>) -> Result<bool, Error> {
    let sql = format!(
        "select 1 from {} where id = 1 and filling is not null",
        locked.session.tables().lock
    );
    let rows = locked.session.conn().texts(&sql).await;
    Ok(!rows
        .map_err(|e| lost_or("read the lock's row", e))?
        .is_empty())
}
