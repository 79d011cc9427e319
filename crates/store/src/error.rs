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
        "the database {database} has the schema of an older release; pending: {}",
        files.join(", ")
    )]
    MigrationPending {
        /// The database.
        database: String,
        /// The files that are to be applied.
        files: Vec<String>,
    },
    /// A newer release has removed what this one needs.
    #[error("the schema of {database} is too new for this release: it needs {needs}")]
    SchemaTooNew {
        /// The database.
        database: String,
        /// What it takes.
        needs: String,
    },
    /// The schema's history does not fit this program, or could not be read or changed.
    #[error("the schema of {database}")]
    Migrate {
        /// The database.
        database: String,
        /// What does not fit, or what failed.
        #[source]
        source: windlass_migrate::Error,
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
            Self::Migrate { source, .. } => source.is_disk_full(),
            Self::File { source, .. } => source.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }

    /// Whether the database did not answer, or not yet: worth waiting for. A wrong password, or a name
    /// that the server does not know, is an answer.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Migrate { source, .. } if source.is_unreachable())
    }

    pub(crate) fn db(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    pub(crate) fn migrate(
        database: impl std::fmt::Display,
    ) -> impl FnOnce(windlass_migrate::Error) -> Self {
        let database = database.to_string();
        move |source| Self::Migrate { database, source }
    }

    pub(crate) fn corrupt(what: &str, reason: impl ToString) -> Self {
        Self::Corrupt {
            what: what.to_owned(),
            reason: reason.to_string(),
        }
    }
}
