//! A small migration runner: ordered, checksummed, under a lock, never by surprise.
//!
//! Windlass's own schema uses it today; the migration tool for everybody grows from it. The rules
//! are the tool's own from the start: a list of files in order, each applied exactly once and
//! recorded with the checksum of what was applied; a file that changed after it was applied stops
//! everything; the lock is the database's (`BEGIN IMMEDIATE` around *re-read, apply, record*), so
//! two processes that start together apply each file once.

pub mod history;
pub mod lint;
pub mod sqlite;

use std::fmt;

pub use history::{Applied, Standing, judge};

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
