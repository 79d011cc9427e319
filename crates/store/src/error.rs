//! What can go wrong with the store.

use std::path::PathBuf;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing; the text says what.
    #[error("there is no {0}")]
    NotFound(String),
    /// It can't be done in the present state; the text says why.
    #[error("{0}")]
    Conflict(String),
    /// The database holds data of an older release.
    #[error(
        "the database {path} has the schema of an older release ({pending} migrations are pending)"
    )]
    MigrationPending {
        /// The database file.
        path: PathBuf,
        /// How many.
        pending: usize,
    },
    /// The schema's history does not fit this program.
    #[error("the schema of {path} does not fit this program")]
    Migrate {
        /// The database file.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: windlass_migrate::MigrateError,
    },
    /// A value that this program wrote can't be read back.
    #[error("{what} in the database is not readable: {reason}")]
    Corrupt {
        /// Which value.
        what: String,
        /// Why.
        reason: String,
    },
    /// A sealed value can't be opened: the key file is not the one it was sealed with.
    #[error("{what} can't be decrypted: the key file {key_file} is not the one it was sealed with")]
    WrongKey {
        /// Which value.
        what: String,
        /// The key file.
        key_file: PathBuf,
    },
    /// A file of the data folder can't be read or written.
    #[error("could not {doing} {path}")]
    File {
        /// "read", "create", ...
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The database failed.
    #[error("the database could not {doing}")]
    Database {
        /// What was tried.
        doing: &'static str,
        /// Its answer.
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Whether the disk is full: worth waiting for, and worth telling people.
    pub fn is_disk_full(&self) -> bool {
        match self {
            // SQLITE_FULL is 13; https://www.sqlite.org/rescode.html#full
            Self::Database {
                source: sqlx::Error::Database(e),
                ..
            } => e.code().is_some_and(|code| code == "13"),
            Self::File { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    pub(crate) fn db(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    pub(crate) fn corrupt(what: &str, reason: impl ToString) -> Self {
        Self::Corrupt {
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }
}
