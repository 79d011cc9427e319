//! The migration tool as a library: read, plan, lock, apply.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | files, their names, directives, checksums | [`folder`] |
//! | what would run, and whether an application may start | [`plan`] |
//! | SQL cut into statements | [`sql`] |
//! | the lock, the lease, the fence | [`lock`] |
//! | a lock in Redis in front of it | [`gate`] |
//! | what each database needs | `database` |
//! | up, down, status, verify, repair | [`run`] |
//! | a schema as SQL text | [`dump`] |
//! | what is dangerous, and the safe way | [`lint`] |
//! | databases that are there for a while | [`scratch`] |
//! | what stops it, and hints | [`error`] |
//! | Windlass's own schema, embedded | [`history`], [`sqlite`] |
//!
//! Two runners: [`run`] is the tool for everybody, with folders and three kinds of databases.
//! [`sqlite`] is a small one for a list that a program carries and applies while it opens its own
//! file: one transaction around *re-read, apply, record*.

mod database;
pub mod dump;
pub mod error;
pub mod folder;
pub mod gate;
pub mod history;
pub mod lint;
pub mod lock;
pub mod plan;
pub mod release;
pub mod run;
pub mod scratch;
pub mod sql;
pub mod sqlite;

use std::fmt;

pub use database::Database;
pub use error::Error;
pub use folder::Folder;
pub use history::{Applied, Standing, judge};
pub use run::Options;
pub use scratch::Scratch;

/// One step of the schema's history, usually `include_str!`ed from a file `0001_name.sql`.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Position in the history: 1, 2, 3, ... without holes.
    pub version: i64,
    /// A word for people, from the file's name.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

impl Migration {
    /// SHA-256 (hex) of the statements, blind to line endings: a checkout on another system must
    /// not look like a change.
    pub fn checksum(&self) -> String {
        use sha2::{Digest as _, Sha256};
        hex::encode(Sha256::digest(self.sql.replace("\r\n", "\n").as_bytes()))
    }
}

/// What stops a migration.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database itself failed.
    #[error("could not {doing}")]
    Database {
        /// What was tried.
        doing: String,
        /// The database's answer.
        #[source]
        source: sqlx::Error,
    },
    /// A file is not what was applied.
    #[error(
        "migration {version} ({name}) was changed after it was applied: \
         the database has checksum {applied:.12}, this program has {ours:.12}"
    )]
    Changed {
        /// Its number.
        version: i64,
        /// Its name here.
        name: String,
        /// The checksum in the history table.
        applied: String,
        /// The checksum of what this program carries.
        ours: String,
    },
    /// The history has a hole: a lower number is missing below an applied one.
    #[error("migration {missing} is not applied although {applied} is")]
    OutOfOrder {
        /// The number that is missing.
        missing: i64,
        /// A higher one that is there.
        applied: i64,
    },
}

impl MigrateError {
    pub(crate) fn database(doing: impl fmt::Display) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.to_string();
        move |source| Self::Database { doing, source }
    }
}
