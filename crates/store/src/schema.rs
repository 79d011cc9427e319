//! The product's own schema: files in the program, applied by the migration library.
//!
//! By our own rule (docs/migrate.md) a server never changes the schema of a database that holds
//! data by itself: a person says so. An empty one is filled at once.

use std::path::Path;

use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, SqliteConnection};
use windlass_migrate::plan::{Answer, App, Mismatch};
use windlass_migrate::release::Release;
use windlass_migrate::run::{self, Event, Report, Status, Tell};
use windlass_migrate::sql::Dialect;
use windlass_migrate::{Database, Error, Folder, Options};

use crate::StoreError;
use crate::db::{DATABASE_FILE, Place};

macro_rules! files {
    ($folder:literal: $($name:literal,)*) => {
        &[$(($name, include_str!(concat!("../migrations/", $folder, "/", $name))),)*]
    };
}

/// Every migration, in order: name and text. Append only; a released file never changes.
pub const SQLITE: &[(&str, &str)] = files!["sqlite":
    "0001_first.sql",
    "0002_jobs.sql",
    "0003_results.sql",
    "0004_schedules.sql",
    "0005_retention.sql",
    "0006_archive.sql",
];

/// The same for PostgreSQL. A number means the same in both; what came before the first is in it.
pub const POSTGRES: &[(&str, &str)] = files!["postgres":
    "0006_first.sql",
];

/// The newest migration that the first releases' own runner may have applied. It kept a table
/// `schema_history (version, name, checksum, applied_ms)`, which we read once and leave as it is:
/// those releases go on reading it, after a rollback too.
const FIRST_RUNNER_NEWEST: i64 = 6;

/// A database and the schema that it should have.
#[derive(Debug, Clone)]
pub struct Schema {
    /// Where it is.
    pub database: Database,
    /// What this program carries.
    pub folder: Folder,
    /// Its file, if it is one.
    file: Option<std::path::PathBuf>,
}

/// Where a database stands against this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// There is nothing in it, or its first filling was interrupted: nobody needs to be asked.
    Empty,
    /// All that this program needs is there.
    Current {
        /// Migrations of a newer release that are applied too, and leave room for this one.
        ahead: usize,
    },
    /// It holds data, and these files are still to be applied.
    Pending(Vec<String>),
    /// A newer release has removed what this one needs.
    TooNew {
        /// What a program must be to use it.
        needs: String,
    },
}

/// What to do with a database that holds data and whose schema is older than this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPending {
    /// Stop with [`StoreError::MigrationPending`]: the default, a person decides.
    Refuse,
    /// Migrate now (`windlass db migrate`, `WINDLASS_MIGRATE=1`).
    Migrate,
}

impl Schema {
    /// That of the store at this place.
    ///
    /// # Errors
    /// When the folder's name is not UTF-8, or the address is not that of a PostgreSQL.
    pub fn of(place: &Place) -> Result<Self, StoreError> {
        let file = place.folder.join(DATABASE_FILE);
        let (database, texts) = match &place.database {
            None => (Database::sqlite(&file), SQLITE),
            Some(url) => (Database::parse(url), POSTGRES),
        };
        let made = database.and_then(|database| {
            if place.database.is_some() && database.dialect() != Dialect::Postgres {
                return Err(Error::Url(
                    "the server keeps its data in a file of its own, or in PostgreSQL".to_owned(),
                ));
            }
            let texts = texts
                .iter()
                .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
            Ok((database, Folder::from_texts(texts)?))
        });
        let (database, folder) = made.map_err(StoreError::migrate("the database"))?;
        Ok(Self {
            database,
            folder,
            file: place.database.is_none().then_some(file),
        })
    }

    /// What the library says: history, plan, who migrates.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn status(&self, options: &Options) -> Result<Status, Error> {
        let status = run::status(&self.database, &self.folder, options).await?;
        let unknown = status.history.rows.is_empty() && !status.empty;
        if unknown && self.adopt(options).await? {
            return run::status(&self.database, &self.folder, options).await;
        }
        Ok(status)
    }

    /// Where the database stands. Changes nothing in it, except that a history of the first
    /// releases is written down in the form of today.
    ///
    /// # Errors
    /// [`StoreError::Migrate`] when history and program don't fit.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let options = Options::default();
        let failed = || StoreError::migrate(&self.database);
        let mut status = self.status(&options).await.map_err(failed())?;
        if status.history.rows.is_empty() && !status.empty {
            // Another process may have applied the first file between two looks.
            status = self.status(&options).await.map_err(failed())?;
        }
        if status.history.rows.is_empty() && !status.empty {
            return Err(StoreError::Conflict(format!(
                "{} has tables that Windlass did not make: give it a database of its own",
                self.database
            )));
        }
        // A release's number that can't be read is a bug of the build: then its newest file counts.
        let app = App::of(&self.folder, Release::parse(env!("CARGO_PKG_VERSION")));
        let answer = app.judge(&status.history);
        if let Answer::TooOld { floors, .. } = &answer {
            let needs: Vec<String> = floors.iter().map(ToString::to_string).collect();
            let needs = needs.join(", or ");
            return Ok(Standing::TooNew { needs });
        }
        if !status.plan.stops.is_empty() {
            return Err(failed()(Error::Mismatch(status.plan.stops)));
        }
        Ok(match answer {
            Answer::Compatible { ahead } => Standing::Current { ahead },
            _ if status.empty || status.history.filling.is_some() => Standing::Empty,
            _ => {
                let files = status.plan.run.iter().filter_map(|v| self.folder.find(*v));
                Standing::Pending(files.map(|f| f.file.clone()).collect())
            }
        })
    }

    /// Applies what is pending.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn migrate(&self, options: &Options, tell: Tell<'_>) -> Result<Report, Error> {
        // Takes over the history of the first releases, if there is one.
        self.status(options).await?;
        run::up(&self.database, &self.folder, options, tell).await
    }

    /// Lets the program use the database, or says why it must not.
    pub(crate) async fn prepare(&self, on_pending: OnPending) -> Result<(), StoreError> {
        match self.standing().await? {
            Standing::Current { ahead: 0 } => Ok(()),
            Standing::Current { ahead } => {
                tracing::warn!(
                    ahead,
                    "the database was migrated by a newer release, which leaves room for this one"
                );
                Ok(())
            }
            Standing::TooNew { needs } => Err(StoreError::SchemaTooNew {
                database: self.database.to_string(),
                needs,
            }),
            Standing::Pending(files) if on_pending == OnPending::Refuse => {
                Err(StoreError::MigrationPending {
                    database: self.database.to_string(),
                    files,
                })
            }
            Standing::Empty | Standing::Pending(_) => {
                let done = self.migrate(&Options::default(), &mut log).await;
                done.map(|_| ())
                    .map_err(StoreError::migrate(&self.database))
            }
        }
    }

    /// Writes down in our history what that of the first releases says. `false`: there is none.
    async fn adopt(&self, options: &Options) -> Result<bool, Error> {
        let Some(file) = &self.file else {
            return Ok(false);
        };
        let rows = first_history(file).await.map_err(|cause| Error::Database {
            doing: "read the history of an earlier release".to_owned(),
            cause,
        })?;
        let mut newest = None;
        for (version, checksum) in rows {
            let Some((name, text)) = SQLITE
                .iter()
                .find(|(name, _)| number(name) == Some(version))
                .filter(|_| version <= FIRST_RUNNER_NEWEST)
            else {
                return Err(Error::Refused(format!(
                    "the history of this database has a migration {version} that no release made"
                )));
            };
            let ours = hex::encode(Sha256::digest(text.as_bytes()));
            if checksum != ours {
                return Err(Error::Mismatch(vec![Mismatch::Changed {
                    version: version.into(),
                    file: (*name).to_owned(),
                    applied: checksum,
                    ours,
                }]));
            }
            newest = Some(version);
        }
        let Some(newest) = newest else {
            return Ok(false);
        };
        let options = Options {
            lock_wait: std::time::Duration::from_secs(20),
            ..options.clone()
        };
        let recorded = run::baseline(
            &self.database,
            &self.folder,
            newest.into(),
            &options,
            &mut log,
        )
        .await?;
        tracing::info!(?recorded, "took over the schema's history");
        Ok(true)
    }
}

/// `0007_name.sql`
fn number(name: &str) -> Option<i64> {
    name.split('_').next()?.parse().ok()
}

/// The rows of the first releases' history: version, checksum.
async fn first_history(file: &Path) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .busy_timeout(std::time::Duration::from_secs(5))
        .disable_statement_logging();
    let mut conn: SqliteConnection = options.connect().await?;
    let there: i64 = sqlx::query_scalar(
        "select count(*) from sqlite_master where type = 'table' and name = 'schema_history'",
    )
    .fetch_one(&mut conn)
    .await?;
    if there == 0 {
        return Ok(Vec::new());
    }
    sqlx::query_as("select version, checksum from schema_history order by version")
        .fetch_all(&mut conn)
        .await
}

/// What happens, for the log.
fn log(event: Event) {
    match event {
        Event::Waiting { holder } => {
            let holder = holder.map_or_else(|| "somebody".to_owned(), |h| h.to_string());
            tracing::info!(holder, "waiting for who migrates the database");
        }
        Event::Retry { file, why, .. } => tracing::info!(file, why, "tries again"),
        Event::Resumed { file, step, .. } => tracing::info!(file, step, "goes on"),
        Event::Done(done) => tracing::debug!(file = done.file, ms = done.ms, "migrated"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_the_folder() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut place = Place::from("/x");
        for (name, database) in [("sqlite", None), ("postgres", Some("postgres://h/d"))] {
            place.database = database.map(ToOwned::to_owned);
            let read = Folder::read(&dir.join(name)).unwrap();
            let ours = Schema::of(&place).unwrap().folder;
            assert_eq!(read, ours, "{name}: a file is missing in schema.rs");
        }
        place.database = Some("mysql://h/d".to_owned());
        assert!(Schema::of(&place).is_err());
    }
}
