//! What stops the runner, and what its reader can do about it.

use crate::folder::FolderError;
use crate::gate::Keyholder;
use crate::lock::Holder;
use crate::plan::Mismatch;
use crate::version::Version;
use sqlx::postgres::PgDatabaseError;

/// What stops the runner.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder can't be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Not a database's address that we know.
    #[error("{0}")]
    Url(String),
    /// The database itself failed.
    #[error("could not {doing}: {}", answer(cause))]
    Database {
        /// What was tried.
        doing: String,
        /// The database's answer.
        cause: sqlx::Error,
    },
    /// A statement of a file failed. In a transaction: nothing of the file was kept.
    #[error("{file}, line {line}: {}{}", answer(cause), if *kept { "; what came before it in this file is kept" } else { "; nothing of this file is kept" })]
    Statement {
        /// The file.
        file: String,
        /// Where the statement stands, or where in it the database sees the error.
        line: usize,
        /// Whether earlier statements of the file stay applied.
        kept: bool,
        /// The database's answer.
        cause: sqlx::Error,
    },
    /// Nothing is recorded as applied, tables are there, and the folder begins with a baseline.
    #[error(
        "this database is not empty, and the folder begins with {file}, which is for an empty one"
    )]
    NotEmpty {
        /// The baseline.
        file: String,
        /// Its version.
        version: Version,
    },
    /// A statement that no file may hold.
    #[error("{file}, line {line}: {problem}")]
    Unfit {
        /// The file.
        file: String,
        /// Its line.
        line: usize,
        /// Why not, and what to do.
        problem: String,
    },
    /// History and folder don't fit.
    #[error("{}", words(.0))]
    Mismatch(Vec<Mismatch>),
    /// Somebody else has the lock, for longer than we would wait.
    #[error("somebody else migrates this database{}", holder.as_ref().map_or_else(String::new, |h| format!(": {h}")))]
    Locked {
        /// Who, if it can be seen.
        holder: Option<Box<Holder>>,
    },
    /// Another migrator has its own lock, for longer than we would wait.
    #[error("{tool} migrates this database: it has its own lock")]
    LockedBeside {
        /// Which.
        tool: &'static str,
    },
    /// Somebody else has the lock in Redis, for longer than we would wait.
    #[error("somebody else migrates this database: {holder} has the lock in Redis")]
    Shut {
        /// Who.
        holder: Box<Keyholder>,
    },
    /// The lock in Redis can't be asked for.
    #[error("the lock in Redis can't be had: {gate}: {why}")]
    Gate {
        /// Where it should be.
        gate: String,
        /// Why not.
        why: String,
    },
    /// The lock was taken from us. Nothing was written after that.
    #[error("the lock was lost: {why}")]
    Lost {
        /// How we know.
        why: String,
    },
    /// A connection pooler hands out another session for each transaction.
    #[error(
        "between here and the database stands a pooler in transaction mode: a session's lock does \
         not hold through it"
    )]
    Pooled,
    /// A statement outside a transaction was interrupted, and nobody can know whether it ran.
    #[error("{}{why}", file.as_ref().map_or_else(String::new, |f| format!("{f}: ")))]
    Interrupted {
        /// The migration.
        version: Version,
        /// Its file, if the folder has it.
        file: Option<String>,
        /// The statement, from 1.
        step: usize,
        /// In words.
        why: String,
    },
    /// A query of a `verify` section found rows.
    #[error("{file}, line {line}: the check found {rows} row(s){}", sample.as_ref().map_or_else(String::new, |s| format!(", the first: {s}")))]
    Verify {
        /// The file.
        file: String,
        /// Where the query stands.
        line: usize,
        /// How many.
        rows: usize,
        /// The first row's columns.
        sample: Option<String>,
    },
    /// There is no way back.
    #[error("migration {version} can't be undone: {why}")]
    NoDown {
        /// The migration.
        version: Version,
        /// Why.
        why: String,
    },
    /// What would run is not what was allowed to.
    #[error("the plan {ours:.12} is not the one that was rehearsed ({allowed:.12})")]
    OtherPlan {
        /// The hash of what would run.
        ours: String,
        /// The hash that was allowed.
        allowed: String,
    },
    /// It can't be done as asked.
    #[error("{0}")]
    Refused(String),
    /// A dump can't be written, or read.
    #[error("could not write or read the dump: {0}")]
    Output(std::io::Error),
}

/// The database's words, as its own client would print them; not those about its source code.
pub(crate) fn answer(error: &sqlx::Error) -> String {
    let Some(said) = error.as_database_error() else {
        return error.to_string();
    };
    let mut text = said.message().to_owned();
    if let Some(pg) = said.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        for more in [pg.detail(), pg.hint()].into_iter().flatten() {
            text.push_str(". ");
            text.push_str(more);
        }
    }
    text
}

fn words(mismatches: &[Mismatch]) -> String {
    let words: Vec<String> = mismatches.iter().map(ToString::to_string).collect();
    words.join("\n")
}

impl Error {
    pub(crate) fn database(doing: impl std::fmt::Display) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.to_string();
        move |cause| Self::Database { doing, cause }
    }

    /// What the reader can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Mismatch(list) => match list.first()? {
                Mismatch::Changed { .. } => {
                    "put the file back as it was and write a new migration; if only its words \
                     changed, not its meaning: windlass migrate repair --checksums"
                }
                Mismatch::OutOfOrder { .. } => {
                    "give the file a number above, or let it run late: --allow-out-of-order"
                }
                Mismatch::Superseded { .. } => {
                    "to go back to it: windlass migrate up, with this folder; after `repair --forget R__name` even \
                     below migrations of a newer release"
                }
                Mismatch::Behind { .. } => {
                    "bring it up to that version with a release that still has those files, then with this one"
                }
                Mismatch::Missing { .. } => return None,
            }
            .to_owned(),
            Self::Locked { .. } => {
                "wait longer with --lock-wait, see `windlass migrate unlock`; a holder that \
                 crashed loses the lock by itself within seconds"
                    .to_owned()
            }
            Self::LockedBeside { tool } => format!(
                "wait longer with --lock-wait, or see what {tool} does: its lock goes with its connection"
            ),
            Self::Shut { .. } => {
                "wait longer with --lock-wait, see `windlass migrate unlock --lock ...`; the key of a \
                 holder that crashed goes by itself within seconds"
                    .to_owned()
            }
            Self::Gate { .. } => {
                "start this Redis, or correct its address and password in --lock; or leave --lock \
                 away everywhere: the database's own lock excludes by itself"
                    .to_owned()
            }
            Self::Lost { .. } => {
                "start again: whatever was not recorded was rolled back or is in the journal"
                    .to_owned()
            }
            Self::Pooled => "give the database's own address instead of the pooler's (PgBouncer: \
                 port 5432 instead of 6432, or pool_mode=session; Supabase: port 5432; Neon: the \
                 host without -pooler)"
                .to_owned(),
            Self::Interrupted { version, step, .. } => format!(
                "look whether statement {step} took effect, then say so: windlass migrate repair \
                 --done {version}:{step}, or --redo {version}:{step}"
            ),
            Self::NotEmpty { version, .. } => format!(
                "if it has all that the file would make: windlass migrate baseline {version}; otherwise give an \
                 empty database"
            ),
            Self::NoDown { .. } => {
                "write what undoes it below a line `-- windlass: down` in its file".to_owned()
            }
            Self::OtherPlan { .. } => {
                "rehearse again: windlass migrate rehearse --from ... --output FILE".to_owned()
            }
            Self::Url(_) => "say --url postgres://user:password@host/database, \
                 mysql://user:password@host/database or sqlite:PATH, or set DATABASE_URL"
                .to_owned(),
            Self::Statement { cause, .. } if is_lock_wait(cause) => {
                "other sessions hold locks on what it touches: try again when they are done, or \
                 with a longer --lock-timeout or more --retries"
                    .to_owned()
            }
            _ => return None,
        })
    }
}

/// The code that the database gives an error, such as SQLSTATE.
pub(crate) fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .map_or_else(String::new, std::borrow::Cow::into_owned)
}

fn mysql_number(error: &sqlx::Error) -> u16 {
    error
        .as_database_error()
        .and_then(|e| e.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>())
        .map_or(0, sqlx::mysql::MySqlDatabaseError::number)
}

/// Somebody's lock was in the way for too long, or two of them in a circle: worth another try.
pub(crate) fn is_lock_wait(error: &sqlx::Error) -> bool {
    // PostgreSQL: lock_not_available, deadlock_detected, serialization_failure.
    matches!(code(error).as_str(), "55P03" | "40P01" | "40001")
        || matches!(mysql_number(error), 1205 | 1213)
        || is_busy(error)
}

/// SQLite: somebody else writes. SQLITE_BUSY and SQLITE_LOCKED with their extended codes.
pub(crate) fn is_busy(error: &sqlx::Error) -> bool {
    is_sqlite(error)
        && code(error)
            .parse::<u32>()
            .is_ok_and(|c| matches!(c & 0xff, 5 | 6))
}

fn is_sqlite(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|e| e.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some())
}

/// The table of this bare name refused a row without a token.
pub(crate) fn is_refused_token(error: &sqlx::Error, table: &str) -> bool {
    let Some(error) = error.as_database_error() else {
        return false;
    };
    match error.try_downcast_ref::<PgDatabaseError>() {
        // not_null_violation
        Some(error) => {
            error.code() == "23502"
                && error.column() == Some("token")
                && error.table() == Some(table)
        }
        None => error.message() == format!("NOT NULL constraint failed: {table}.token"),
    }
}

/// The table (or its schema) is not there.
pub(crate) fn is_missing_table(error: &sqlx::Error) -> bool {
    matches!(code(error).as_str(), "42P01" | "3F000")
        || mysql_number(error) == 1146
        || is_sqlite(error) && error.to_string().contains("no such table")
}

/// Something that the statement names is not there: a table, a column, a function, a type.
pub(crate) fn is_missing_name(error: &sqlx::Error) -> bool {
    is_missing_table(error)
        || matches!(code(error).as_str(), "42703" | "42704" | "42883")
        || matches!(mysql_number(error), 1054 | 1305)
        || is_sqlite(error) && error.to_string().contains("no such column")
}

/// MySQL: there is no such database, or this user may not use or make it.
pub(crate) fn is_refused_database(error: &sqlx::Error) -> bool {
    matches!(mysql_number(error), 1044 | 1049)
}

/// The server has no room for another session: it may in a moment.
pub(crate) fn is_crowded(error: &sqlx::Error) -> bool {
    matches!(code(error).as_str(), "53300" | "57P03") || matches!(mysql_number(error), 1040 | 1203)
}

/// The connection is gone, or was ended from outside.
pub(crate) fn is_gone(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_))
        // admin_shutdown and its like; MySQL's "server has gone away", "killed".
        || code(error).starts_with("57P0")
        || matches!(mysql_number(error), 1317 | 1927 | 2006 | 2013)
}

impl Error {
    /// The database's disk is full: SQLITE_FULL, and PostgreSQL's disk_full.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Database { cause, .. } | Self::Statement { cause, .. } => {
                is_sqlite(cause) && code(cause) == "13" || code(cause) == "53100"
            }
            _ => false,
        }
    }

    /// The server does not answer, or not yet: it starts, is full, or its file is not there.
    pub fn is_unreachable(&self) -> bool {
        if matches!(self, Self::Gate { .. }) {
            return true;
        }
        let Self::Database { cause, .. } = self else {
            return false;
        };
        matches!(cause, sqlx::Error::Io(_))
            || is_crowded(cause)
            || is_sqlite(cause) && code(cause) == "14"
    }
}
