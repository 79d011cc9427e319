//! `down`: undoes the newest, if their files say how.

use super::apply::{Direction, Job};
use super::locked::Locked;
use super::{Options, Report, Tell, look, with_session};
use crate::database::{Database, Session, history};
use crate::error::Error;
use crate::folder::Folder;
use crate::version::Version;

/// Undoes migrations above `keep`, newest first; or, without it, the newest one.
///
/// # Errors
/// See [`Error`]. Nothing is undone if one of them can't be.
pub async fn down(
    database: &Database,
    folder: &Folder,
    keep: Option<Version>,
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
    keep: Option<Version>,
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
    keep: Option<Version>,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Report, Error> {
    let seen = history(&mut locked.session).await?;
    // What repeats is not undone: it runs again with another text.
    let rows = seen.rows.iter().rev().map(|r| r.version);
    let newest_first = rows.filter(|version| version.repeats().is_none());
    let versions: Vec<Version> = match keep {
        Some(keep) => newest_first.take_while(|v| *v > keep).collect(),
        None => newest_first.take(1).collect(),
    };
    for interrupted in look::interrupted(&mut locked.session, folder, &seen).await? {
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
            let mut job = Job::new(file, Direction::Down, S::DIALECT, options)?;
            let above = folder.files.iter().filter(|f| f.version > *version);
            let above = above.filter(|f| f.batch.is_some());
            job.above = above.map(|f| f.version.key()).collect();
            Ok(job)
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mut out = Report::default();
    for job in &jobs {
        out.done.push(locked.apply(job, tell).await?);
    }
    Ok(out)
}
