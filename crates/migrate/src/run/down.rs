//! `down`: undoes the newest, if their files say how.

use super::apply::{Direction, Job};
use super::locked::Locked;
use super::{Options, Report, Tell, look, with_session};
use crate::database::{Database, Session, history};
use crate::error::Error;
use crate::folder::Folder;

/// Undoes migrations above `keep`, newest first; or, without it, the newest one.
///
/// # Errors
/// See [`Error`]. Nothing is undone if one of them can't be.
pub async fn down(
    database: &Database,
    folder: &Folder,
    keep: Option<i64>,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    with_session!(database, options, create: false, |session| {
        run(session, folder, keep, options, tell).await
    })
}

async fn run<S: Session>(
    session: S,
    folder: &Folder,
    keep: Option<i64>,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    let Some(mut locked) =
        Locked::acquire(session, options, tell, "undoing migrations", &|_| true).await?
    else {
        return Ok(Report::default());
    };
    let worked = async {
        if let Some(tool) = options.beside {
            locked.lock_beside(tool, options, &mut *tell).await?;
            let seen = history(&mut locked.session).await?;
            locked.in_step(folder, &seen, false, options).await?;
        }
        under_lock(&mut locked, folder, keep, options, tell).await
    }
    .await;
    locked.finish(worked).await
}

async fn under_lock<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    keep: Option<i64>,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    let seen = history(&mut locked.session).await?;
    let newest_first = seen.rows.iter().rev().map(|r| r.version);
    let versions: Vec<i64> = match keep {
        Some(keep) => newest_first.take_while(|v| *v > keep).collect(),
        None => newest_first.take(1).collect(),
    };
    for interrupted in look::interrupted(&mut locked.session, &seen).await? {
        let resumable = interrupted.direction == "down" && versions.contains(&interrupted.version);
        if !resumable {
            return Err(interrupted.into_error());
        }
    }
    let jobs = versions
        .iter()
        .map(|version| {
            let file = folder.find(*version).ok_or_else(|| Error::NoDown {
                version: *version,
                why: "this folder does not have its file".to_owned(),
            })?;
            Job::new(file, Direction::Down, S::DIALECT, options)
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mut out = Report::default();
    for job in &jobs {
        out.done.push(locked.apply(job, tell).await?);
    }
    Ok(out)
}
