//! Taking over from another tool: what its history table says was applied, is applied.

use super::apply::insert_row;
use super::locked::Locked;
use super::{Options, Tell, with_session};
use crate::database::{Conn as _, Database, Session, history};
use crate::error::{Error, is_missing_table};
use crate::folder::Folder;

/// Another migrator, and how it keeps its history. Formats: see docs/migrate.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `schema_migrations(version)`: a row is an applied file.
    Dbmate,
    /// `_sqlx_migrations(version, success)`.
    Sqlx,
    /// `schema_migrations(version, dirty)`: one row, and everything up to it counts as applied.
    GolangMigrate,
    /// `goose_db_version(id, version_id, is_applied)`: the newest row of a version counts.
    Goose,
    /// `refinery_schema_history(version)`.
    Refinery,
    /// `flyway_schema_history(version, success)`.
    Flyway,
}

impl Tool {
    /// Its name on the command line.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("dbmate", Self::Dbmate),
        ("sqlx", Self::Sqlx),
        ("golang-migrate", Self::GolangMigrate),
        ("goose", Self::Goose),
        ("refinery", Self::Refinery),
        ("flyway", Self::Flyway),
    ];

    /// Two columns: the version as text, and whether it is applied: `1`, or `0` for half done.
    fn query(self) -> &'static str {
        match self {
            Self::Dbmate => "select version, 1 from schema_migrations",
            Self::Sqlx => {
                "select version, case when success then 1 else 0 end from _sqlx_migrations"
            }
            Self::GolangMigrate => {
                "select version, case when dirty then 0 else 1 end from schema_migrations"
            }
            Self::Goose => {
                "select version_id, 1 from goose_db_version g where is_applied and version_id > 0 \
                 and not exists (select 1 from goose_db_version n \
                 where n.version_id = g.version_id and n.id > g.id)"
            }
            Self::Refinery => "select version, 1 from refinery_schema_history",
            Self::Flyway => {
                "select version, case when success then 1 else 0 end from flyway_schema_history \
                 where version is not null and installed_rank > 0"
            }
        }
    }
}

/// What was taken over.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Adopted {
    /// Recorded as applied.
    pub recorded: Vec<i64>,
    /// In the other tool's history, and not in this folder.
    pub unknown: Vec<String>,
    /// Below the newest applied, and not in the other tool's history: `up` would call them out of
    /// order.
    pub skipped: Vec<i64>,
}

/// Reads another tool's history table and records the same in ours. Theirs stays as it is.
///
/// # Errors
/// See [`Error`]; [`Error::Refused`] when there is no such table, or it says that something is half
/// done.
pub async fn adopt(
    database: &Database,
    folder: &Folder,
    tool: Tool,
    options: &Options,
    tell: Tell<'_>,
) -> Result<Adopted, Error> {
    let doing = "taking over another tool's history";
    with_session!(database, options, create: false, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, doing, &|_| true).await?
        else {
            return Ok(Adopted::default());
        };
        let worked = take_over(&mut locked, folder, tool, options).await;
        locked.finish(worked).await
    })
}

async fn take_over<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    tool: Tool,
    options: &Options,
) -> Result<Adopted, Error> {
    let theirs = theirs(locked, tool).await?;
    let mut out = Adopted::default();
    let mut applied = Vec::new();
    for version in theirs {
        // Versions are numbers here, and text with some tools: 001 is 1.
        match version.parse::<i64>() {
            Ok(number) if folder.find(number).is_some() => applied.push(number),
            _ => out.unknown.push(version),
        }
    }
    let newest = applied.iter().copied().max().unwrap_or(0);
    if tool == Tool::GolangMigrate {
        let below = folder.files.iter().map(|f| f.version);
        applied = below.filter(|v| *v <= newest).collect();
    }
    let seen = history(&mut locked.session).await?;
    let mut sql = Vec::new();
    for file in &folder.files {
        if seen.find(file.version).is_some() {
            continue;
        }
        if applied.contains(&file.version) {
            sql.push(insert_row(locked, file, "baseline", 0));
            out.recorded.push(file.version);
        } else if file.version < newest {
            out.skipped.push(file.version);
        }
    }
    locked.write(&sql, options.retries).await?;
    Ok(out)
}

/// What the other tool's table says is applied.
async fn theirs<S: Session>(locked: &mut Locked<S>, tool: Tool) -> Result<Vec<String>, Error> {
    let rows = match locked.session.conn().texts(tool.query()).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => {
            return Err(Error::Refused(
                "the other tool's history table is not in this database (or not on its search_path)"
                    .to_owned(),
            ));
        }
        Err(error) => return Err(Error::database("read the other tool's history")(error)),
    };
    let mut theirs = Vec::new();
    for row in rows {
        let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
        if text(1) != "1" {
            return Err(Error::Refused(format!(
                "the other tool left {} half done: put that right with it first",
                text(0)
            )));
        }
        theirs.push(text(0));
    }
    Ok(theirs)
}

/// What was written into another tool's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct HandedBack {
    /// Applied here, and new there.
    pub recorded: Vec<i64>,
    /// Not applied here any more, and taken out there.
    pub removed: Vec<i64>,
}

/// Writes into another tool's history table what ours says of the folder's files, so that it can go
/// on from here. What it knows besides stays.
///
/// # Errors
/// See [`Error`]; [`Error::Refused`] for tools that keep more than versions (checksums, ranks), when
/// there is no such table, or when its one number can't say it.
pub async fn hand_back(
    database: &Database,
    folder: &Folder,
    tool: Tool,
    options: &Options,
    tell: Tell<'_>,
) -> Result<HandedBack, Error> {
    if matches!(tool, Tool::Sqlx | Tool::Refinery | Tool::Flyway) {
        return Err(Error::Refused(
            "sqlx, refinery and Flyway keep checksums and ranks of their own, which are not written \
             here: record the files with `sqlx migrate override skip`, `refinery migrate -f` or `flyway baseline`"
                .to_owned(),
        ));
    }
    let doing = "handing the history to another tool";
    with_session!(database, options, create: false, |session| {
        let Some(mut locked) = Locked::acquire(session, options, tell, doing, &|_| true).await?
        else {
            return Ok(HandedBack::default());
        };
        let worked = give(&mut locked, folder, tool, options).await;
        locked.finish(worked).await
    })
}

async fn give<S: Session>(
    locked: &mut Locked<S>,
    folder: &Folder,
    tool: Tool,
    options: &Options,
) -> Result<HandedBack, Error> {
    let theirs = theirs(locked, tool).await?;
    let seen = history(&mut locked.session).await?;
    let mut out = HandedBack::default();
    let mut sql = Vec::new();
    if tool == Tool::GolangMigrate {
        let (applied, open): (Vec<_>, Vec<_>) = folder
            .files
            .iter()
            .partition(|file| seen.find(file.version).is_some());
        let newest = applied.last().map(|file| file.version);
        if let (Some(newest), Some(open)) = (newest, open.first())
            && open.version < newest
        {
            return Err(Error::Refused(format!(
                "golang-migrate remembers one number, and takes all files up to it for applied: {} is \
                 not, although {newest} is",
                open.file
            )));
        }
        if theirs.first().and_then(|t| t.parse().ok()) != newest {
            sql.push("delete from schema_migrations".to_owned());
            if let Some(newest) = newest {
                sql.push(format!(
                    "insert into schema_migrations (version, dirty) values ({newest}, false)"
                ));
                out.recorded.push(newest);
            }
        }
    } else {
        for file in &folder.files {
            // dbmate compares the digits as text.
            let digits: String = file.file.chars().take_while(char::is_ascii_digit).collect();
            let version = file.version;
            let there = match tool {
                Tool::Dbmate => theirs.contains(&digits),
                _ => theirs.iter().any(|t| t.parse() == Ok(version)),
            };
            let here = seen.find(version).is_some();
            let change = match (tool, here, there) {
                (Tool::Dbmate, true, false) => {
                    format!("insert into schema_migrations (version) values ('{digits}')")
                }
                (Tool::Dbmate, false, true) => {
                    format!("delete from schema_migrations where version = '{digits}'")
                }
                (_, true, false) => format!(
                    "insert into goose_db_version (version_id, is_applied) values ({version}, true)"
                ),
                (_, false, true) => {
                    format!("delete from goose_db_version where version_id = {version}")
                }
                _ => continue,
            };
            sql.push(change);
            if here {
                out.recorded.push(version);
            } else {
                out.removed.push(version);
            }
        }
    }
    locked.write(&sql, options.retries).await?;
    Ok(out)
}
