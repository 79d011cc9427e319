//! What only looks: status, verify, and whether an application may start. No lock.

use super::apply::check_rows;
use super::data::{Progress, progress};
use super::{Options, with_session};
use crate::database::{Conn as _, Database, Session, history};
use crate::error::{Error, is_missing_name, is_missing_table};
use crate::folder::Folder;
use crate::lock::Holder;
use crate::plan::{Answer, App, History, Plan, plan};
use crate::version::Version;

/// A statement that was running when its runner ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Interrupted {
    /// `up` or `down`.
    pub direction: String,
    /// The migration.
    pub version: Version,
    /// The statement, from 1: the first that is not done, or the last that is.
    pub step: usize,
}

impl Interrupted {
    pub(super) fn into_error(self) -> Error {
        Error::Interrupted {
            version: self.version,
            file: None,
            step: self.step,
            why: format!(
                "migration {} was interrupted on its way {}, after statement {} had begun",
                self.version, self.direction, self.step
            ),
        }
    }
}

/// Where a database stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What the database says.
    pub history: History,
    /// Whether there is no table at all, of nobody: it may be filled without asking.
    pub empty: bool,
    /// What `up` would do.
    pub plan: Plan,
    /// Who has the lock now.
    pub holder: Option<Holder>,
    /// What is half done.
    pub interrupted: Vec<Interrupted>,
    /// How far data migrations have come that have begun.
    pub progress: Vec<Progress>,
    /// Who has the lock of data migrations.
    pub mover: Option<Holder>,
}

/// Where a database stands.
///
/// # Errors
/// When the database can't be read.
pub async fn status(
    database: &Database,
    folder: &Folder,
    options: &Options,
) -> Result<Status, Error> {
    with_session!(database, options, create: false, |session| {
        let mut session = session;
        let seen = history(&mut session).await?;
        let fresh = seen.rows.is_empty() && session.is_empty().await?;
        let plan = plan(&seen, folder, &options.rules, fresh);
        let interrupted = interrupted(&mut session, folder, &seen).await?;
        let holder = session.holder().await?;
        let (mut begun, mut mover) = (Vec::new(), None);
        if !plan.data.is_empty() {
            begun = progress(&mut session, |key| folder.by_key(key)).await?;
            session.beside();
            mover = session.holder().await?;
        }
        Ok(Status {
            plan,
            interrupted,
            holder,
            empty: fresh,
            history: seen,
            progress: begun,
            mover,
        })
    })
}

/// Something that `verify` found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// In words.
    pub problem: String,
    /// What to do.
    pub hint: Option<String>,
}

/// Whether history and folder fit, nothing is half done, nothing is broken, and the checks of the
/// applied files find nothing.
///
/// # Errors
/// When the database can't be read.
pub async fn verify(
    database: &Database,
    folder: &Folder,
    options: &Options,
) -> Result<Vec<Finding>, Error> {
    with_session!(database, options, create: false, |session| {
        let mut session = session;
        inspect(&mut session, folder, options).await
    })
}

async fn inspect<S: Session>(
    session: &mut S,
    folder: &Folder,
    options: &Options,
) -> Result<Vec<Finding>, Error> {
    let mut found = Vec::new();
    let mut say = |error: &Error| {
        found.push(Finding {
            problem: error.to_string(),
            hint: error.hint(),
        });
    };
    let seen = history(session).await?;
    let plan = plan(&seen, folder, &options.rules, false);
    for mismatch in plan.stops.into_iter().chain(plan.warnings) {
        say(&Error::Mismatch(vec![mismatch]));
    }
    for interrupted in interrupted(session, folder, &seen).await? {
        say(&interrupted.into_error());
    }
    for broken in session.broken().await? {
        say(&Error::Refused(broken));
    }
    for file in &folder.files {
        let (Some(section), true) = (&file.verify, seen.stands(file.version)) else {
            continue;
        };
        let contracted = seen.contracted_since(file.version);
        for query in section.statements(S::DIALECT)? {
            match check_rows(session, &section.file, &[query]).await {
                Ok(()) => {}
                // A contract has taken away what the query is about: it has nothing left to check.
                Err(Error::Statement { cause, .. }) if contracted && is_missing_name(&cause) => {}
                Err(error @ (Error::Verify { .. } | Error::Statement { .. })) => say(&error),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// Whether this application may start. One round trip, no lock.
///
/// # Errors
/// When the database can't be read.
pub async fn answer(database: &Database, app: &App, options: &Options) -> Result<Answer, Error> {
    with_session!(database, options, create: false, |session| {
        let mut session = session;
        Ok(app.judge(&history(&mut session).await?))
    })
}

/// What the journal says is half done.
pub(super) async fn interrupted<S: Session>(
    session: &mut S,
    folder: &Folder,
    seen: &History,
) -> Result<Vec<Interrupted>, Error> {
    let sql = format!(
        "select direction, version, max(step) from {} group by direction, version order by version",
        session.tables().journal
    );
    let rows = match session.conn().texts(&sql).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
        Err(error) => return Err(Error::database("read the journal")(error)),
    };
    let all = rows.into_iter().map(|row| {
        let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
        Interrupted {
            direction: text(0),
            version: folder.by_key(text(1).parse().unwrap_or(0)),
            step: text(2).parse::<usize>().unwrap_or(0) + 1,
        }
    });
    // A record and the end of its journal are one transaction; this is only for the eye.
    Ok(all
        .filter(|i| (i.direction == "up") != seen.stands(i.version))
        .collect())
}
