//! A rehearsal: the plan, run on a copy under load, and measured statement by statement.
//!
//! The session that runs the statements says what it holds before it commits; a second one watches
//! it every few milliseconds: since when it has each lock, whether it waits, who waits for it. What
//! a database is asked for that differs, and what it can't tell is in the report's notes.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | the run, and what it asks of a database | `stage` |
//! | what each database says | `postgres`, `mysql`, `sqlite` |
//! | the generated load | `load` |
//! | the second session | `sampler` |

mod load;
mod mysql;
mod postgres;
mod sampler;
mod sqlite;
mod stage;

use crate::database::Database;
use crate::error::Error;
use crate::folder::Folder;
use crate::run::{Options, Tell, status};
use crate::sql::Dialect;

/// A lock on a table.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TableLock {
    /// The table, as SQL.
    pub table: String,
    /// The server's word: `AccessExclusiveLock`; MySQL and MariaDB: `SHARED_NO_WRITE`; SQLite:
    /// `RESERVED`, `EXCLUSIVE`.
    pub mode: String,
    /// From the moment that it was got to the end of the transaction.
    pub held_ms: u64,
}

impl TableLock {
    /// What it keeps applications from doing.
    pub fn blocks(&self) -> Option<&'static str> {
        match self.mode.as_str() {
            "AccessExclusiveLock" | "EXCLUSIVE" | "SHARED_NO_READ_WRITE" => {
                Some("reads and writes")
            }
            "ExclusiveLock"
            | "ShareRowExclusiveLock"
            | "ShareLock"
            | "RESERVED"
            | "SHARED_NO_WRITE"
            | "SHARED_READ_ONLY" => Some("writes"),
            _ => None,
        }
    }
}

/// What a statement did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Measured {
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// Its beginning, 200 characters at most.
    pub sql: String,
    /// How long it took, waiting included.
    pub ms: u64,
    /// Of that, waiting for locks of others.
    pub waited_ms: u64,
    /// Rows that it changed, as the server counts.
    pub rows: u64,
    /// The strongest new lock for each table that was there before.
    pub locks: Vec<TableLock>,
    /// How MySQL and MariaDB altered the table, as it was seen: `INSTANT`, `INPLACE`, `COPY`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Tables whose rows were written anew.
    pub rewritten: Vec<String>,
    /// Tables that were read from end to end.
    pub scanned: Vec<String>,
    /// The size of the tables that were rewritten or read.
    pub bytes: u64,
    /// At most so many sessions waited for us at once.
    pub blocked_sessions: u64,
    /// For so long somebody waited for us.
    pub blocked_ms: u64,
}

/// What others did meanwhile.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Load {
    /// Tables that were read and written.
    pub tables: Vec<String>,
    /// How many reads.
    pub reads: u64,
    /// How many writes.
    pub writes: u64,
    /// How long the slowest read took.
    pub longest_read_ms: u64,
    /// How long the slowest write took.
    pub longest_write_ms: u64,
    /// How many failed.
    pub errors: u64,
    /// The first failure.
    pub first_error: Option<String>,
}

/// What came of it: the report.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rehearsal {
    /// [`crate::plan::Plan::hash`] of what was run.
    pub hash: String,
    /// The files, in order.
    pub files: Vec<String>,
    /// Each statement.
    pub statements: Vec<Measured>,
    /// How often a file began again because a lock did not come in time.
    pub retries: u32,
    /// The generated load.
    pub load: Option<Load>,
    /// Queries of `verify` sections that found rows before anything was run.
    pub checks_before: Vec<String>,
    /// The same afterwards, those of the new files included.
    pub checks_after: Vec<String>,
    /// The server's version number.
    pub server: u32,
    /// The kind of database: `postgresql`, `mysql` (MariaDB, too), `sqlite`. Empty in reports of
    /// older releases, which knew PostgreSQL only.
    #[serde(default)]
    pub database: String,
    /// What this database could not tell, in sentences.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Rehearsal {
    /// The longest time for which a table could not be written or read: statement and lock.
    pub fn longest(&self) -> Option<(&Measured, &TableLock)> {
        let all = self
            .statements
            .iter()
            .flat_map(|s| s.locks.iter().map(move |l| (s, l)));
        all.filter(|(_, l)| l.blocks().is_some())
            .max_by_key(|(_, l)| l.held_ms)
    }

    /// Why this plan should not be run, if it should not.
    pub fn problem(&self, max_hold_ms: Option<u64>) -> Option<String> {
        let new = |c: &&String| !self.checks_before.contains(c);
        if let Some(check) = self.checks_after.iter().find(new) {
            return Some(format!("a check fails afterwards: {check}"));
        }
        let max = max_hold_ms?;
        let (statement, lock) = self.longest()?;
        (lock.held_ms > max).then(|| {
            format!(
                "{}, line {}: {} was locked against {} for {} ms, and at most {max} ms are allowed",
                statement.file,
                statement.line,
                lock.table,
                lock.blocks().unwrap_or_default(),
                lock.held_ms
            )
        })
    }
}

/// [`Rehearsal::database`] for a kind of database.
fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "postgresql",
        Dialect::Mysql => "mysql",
        Dialect::Sqlite => "sqlite",
    }
}

impl Rehearsal {
    /// Whether it was made on another kind of database than this: then its locks say nothing here.
    pub fn is_of_another_kind(&self, database: &Database) -> bool {
        let kind = match self.database.as_str() {
            "" => word(Dialect::Postgres),
            kind => kind,
        };
        kind != word(database.dialect())
    }
}

/// Runs on `copy` what [`crate::run::up`] would, and measures it. The copy is of no use afterwards:
/// the history is not written.
///
/// # Errors
/// [`Error::Mismatch`], [`Error::Statement`], [`Error::Verify`] as in the real run.
pub async fn rehearse(
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
    macro_rules! run {
        ($probe:expr) => {
            stage::run($probe, &status, folder, options, generate_load, tell).await
        };
    }
    let mut report = match copy.dialect() {
        Dialect::Postgres => run!(postgres::Server::open(copy, options).await?),
        Dialect::Mysql => run!(mysql::Server::open(copy, options).await?),
        Dialect::Sqlite => run!(sqlite::File::open(copy, options).await?),
    }?;
    word(copy.dialect()).clone_into(&mut report.database);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locks_that_stop_applications_count_against_the_budget() {
        let with = |mode: &str, held_ms| Rehearsal {
            statements: vec![Measured {
                locks: vec![TableLock {
                    table: "t".to_owned(),
                    mode: mode.to_owned(),
                    held_ms,
                }],
                ..Measured::default()
            }],
            ..Rehearsal::default()
        };
        assert!(
            with("AccessExclusiveLock", 501)
                .problem(Some(500))
                .is_some()
        );
        assert!(with("AccessExclusiveLock", 501).problem(None).is_none());
        assert!(with("ShareLock", 500).problem(Some(500)).is_none());
        for other in ["EXCLUSIVE", "SHARED_NO_WRITE", "RESERVED"] {
            assert!(with(other, 501).problem(Some(500)).is_some(), "{other}");
        }
        for other in ["SHARED_UPGRADABLE", "SHARED_WRITE"] {
            assert!(with(other, 9999).problem(Some(500)).is_none(), "{other}");
        }
        assert!(
            with("ShareUpdateExclusiveLock", 9999)
                .problem(Some(500))
                .is_none()
        );
        assert!(with("RowExclusiveLock", 9999).problem(Some(500)).is_none());
        let mut checks = with("ShareLock", 1);
        checks.checks_before = vec!["a".to_owned()];
        checks.checks_after = vec!["a".to_owned()];
        assert!(checks.problem(None).is_none());
        checks.checks_after.push("b".to_owned());
        assert!(checks.problem(None).is_some());
    }
}
