//! The history put right by a person's word, and the lock for other tools.

use std::time::Duration;

use super::apply::insert_row;
use super::data::progress;
use super::locked::{Locked, lost_or};
use super::{Options, Tell, look, with_session};
use crate::database::{Conn as _, Database, Session, history, literal};
use crate::error::Error;
use crate::folder::Folder;
use crate::lock::Holder;
use crate::plan::{Mismatch, Rules, plan};
use crate::version::Version;

/// Records all files up to `version` as applied, without running them: for a database that has
/// their result already. Answers which.
///
/// # Errors
/// See [`Error`]; [`Error::Refused`] when the folder does not have that version.
pub async fn baseline(
    database: &Database,
    folder: &Folder,
    version: Version,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Vec<Version>, Error> {
    if folder.find(version).is_none() && folder.runs(version, Some(version)).is_none() {
        return Err(Error::Refused(format!(
            "the folder has no migration {version}"
        )));
    }
    with_session!(database, options, create: true, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, "recording a baseline", &|_| true).await? else {
            return Ok(Vec::new());
        };
        let worked = record(&mut locked, folder, version, options).await;
        locked.finish(worked).await
    })
}

async fn record<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    version: Version,
    options: &Options,
) -> Result<Vec<Version>, Error> {
    let seen = history(&mut locked.session).await?;
    let files = folder.files.iter().filter(|f| f.version <= version);
    // Where the files are gone, the one that stands for them.
    let gone = folder.runs(version, Some(version));
    let gone = gone.filter(|_| folder.find(version).is_none());
    let files = files.chain(gone);
    let files: Vec<_> = files.filter(|f| seen.find(f.version).is_none()).collect();
    let sql: Vec<String> = files
        .iter()
        .map(|file| insert_row(locked, file, "baseline", 0))
        .collect();
    locked.write(&sql, options.retries).await?;
    Ok(files.iter().map(|f| f.version).collect())
}

/// What a person knows better than the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// Changed files are fine as they are now: take their checksums.
    Checksums,
    /// This statement (from 1) of an interrupted migration took effect.
    Done(Version, usize),
    /// It did not: it is run again.
    Redo(Version, usize),
    /// Forget that this migration was applied.
    Forget(Version),
}

/// Puts the history right. Answers what was done, in words.
///
/// # Errors
/// See [`Error`]; [`Error::Refused`] when there is nothing to put right.
pub async fn repair(
    database: &Database,
    folder: &Folder,
    what: &[Repair],
    options: &Options,
    tell: Tell<'_>,
) -> Result<Vec<String>, Error> {
    with_session!(database, options, create: false, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, "repairing the history", &|_| true).await? else {
            return Ok(Vec::new());
        };
        let worked = put_right(&mut locked, folder, what, options).await;
        locked.finish(worked).await
    })
}

async fn put_right<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    what: &[Repair],
    options: &Options,
) -> Result<Vec<String>, Error> {
    let seen = history(&mut locked.session).await?;
    let half = look::interrupted(&mut locked.session, folder, &seen).await?;
    let tables = locked.session.tables().clone();
    let mut sql = Vec::new();
    let mut words = Vec::new();
    for repair in what {
        match repair {
            Repair::Checksums => {
                let found = plan(&seen, folder, &Rules::default(), false);
                for stop in found.stops {
                    let Mismatch::Changed {
                        version,
                        file,
                        ours,
                        ..
                    } = stop
                    else {
                        continue;
                    };
                    sql.push(format!(
                        "update {} set checksum = {} where version = {}",
                        tables.history,
                        literal(&ours, S::DIALECT),
                        version.key()
                    ));
                    words.push(format!("{file} is taken as it is now"));
                }
            }
            Repair::Done(version, step) | Repair::Redo(version, step) => {
                let done = matches!(repair, Repair::Done(..));
                let version = folder.named(*version).map_or(*version, |f| f.version);
                if !half.iter().any(|h| h.version == version && h.step == *step) {
                    return Err(Error::Refused(format!(
                        "statement {step} of migration {version} was not interrupted"
                    )));
                }
                let key = version.journal_key();
                let at = format!("where version = {key} and step = {}", step - 1);
                sql.push(if done {
                    format!("update {} set state = 'done' {at}", tables.journal)
                } else {
                    format!("delete from {} {at}", tables.journal)
                });
                let then = if done {
                    "is taken as done"
                } else {
                    "will be run again"
                };
                words.push(format!("statement {step} of migration {version} {then}"));
            }
            Repair::Forget(version) => {
                let is_half = half.iter().any(|h| h.version.is_of(*version));
                let called = |key: i64| {
                    if key == version.key() {
                        *version
                    } else {
                        key.into()
                    }
                };
                let begun = progress(&mut locked.session, called).await?;
                let begun = begun.iter().any(|p| p.version == *version);
                // Of a repeatable file, whichever text was applied.
                let rows = seen.rows.iter().map(|row| row.version);
                let rows: Vec<i64> = rows
                    .filter(|v| v.is_of(*version))
                    .map(Version::key)
                    .collect();
                if rows.is_empty() && !is_half && !begun {
                    return Err(Error::Refused(format!(
                        "migration {version} is not in the history"
                    )));
                }
                for key in rows {
                    sql.push(format!(
                        "delete from {} where version = {key}",
                        tables.history
                    ));
                }
                for (table, key) in [
                    (&tables.journal, version.journal_key()),
                    (&tables.progress, version.key()),
                ] {
                    sql.push(format!("delete from {table} where version = {key}"));
                }
                words.push(format!("migration {version} counts as not applied"));
            }
        }
    }
    locked.write(&sql, options.retries).await?;
    Ok(words)
}

/// Which lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// That of everything that changes the schema or the history.
    Schema,
    /// That of data migrations.
    Data,
}

/// Who has the lock; with `force`, takes it away from them.
///
/// # Errors
/// When the database can't be read, or does not let us.
pub async fn unlock(
    database: &Database,
    options: &Options,
    which: Which,
    force: bool,
) -> Result<Option<Holder>, Error> {
    with_session!(database, options, create: false, |session| {
        let mut session = session;
        if which == Which::Data {
            session.beside();
        }
        let holder = session.holder().await?;
        if let Some(holder) = &holder
            && force
        {
            session.evict(holder).await?;
        }
        Ok(holder)
    })
}

/// Holds the lock while `work` runs: for other migrators, which have none or a worse one. If the
/// lock is lost on the way, `work` is dropped: whoever gives it must then end what it began.
///
/// # Errors
/// See [`Error`]; [`Error::Lost`] when `work` was dropped.
pub async fn hold<T>(
    database: &Database,
    options: &Options,
    doing: &str,
    tell: Tell<'_>,
    work: impl Future<Output = T>,
) -> Result<T, Error> {
    with_session!(database, options, create: true, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, doing, &|_| true).await? else {
            return Err(Error::Locked { holder: None });
        };
        let worked = tokio::select! {
            done = work => Ok(done),
            error = until_lost(&mut locked, options.lease) => Err(error),
        };
        locked.finish(worked).await
    })
}

/// Comes back when the lock is not ours any more, or when nobody could know that it still is.
pub(super) async fn until_lost<S: Session>(locked: &mut Locked<S>, lease: Duration) -> Error {
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        if let Err(error) = locked.check() {
            return error;
        }
        if locked.heart.silence() > lease * 3 / 4 {
            return Error::Lost {
                why: "the database did not answer for too long".to_owned(),
            };
        }
        let sql = format!("select 1 where {}", locked.session.fence());
        match locked.session.conn().texts(&sql).await {
            Ok(rows) if !rows.is_empty() => {}
            Ok(_) => {
                return Error::Lost {
                    why: "this session does not have it any more".to_owned(),
                };
            }
            Err(error) => return lost_or("see whether the lock is still ours", error),
        }
    }
}
