//! Databases of our own, for a while: to try something that no real database should see.
//!
//! Each is made on a server that the user names, under a name that says what it is, and removed
//! afterwards. Whoever makes one holds a lock for it as long as it lives: a session's lock on
//! PostgreSQL and MySQL, a lock on a file for SQLite. If we are killed, the lock is freed by the
//! server or by the kernel, and the next one who comes by removes what nobody holds.

mod mysql;
mod postgres;
mod sqlite;

use sqlx::{MySqlConnection, PgConnection};

use crate::database::Database;
use crate::error::Error;
use crate::sql::Dialect;

/// What the names begin with.
const PREFIX: &str = "windlass_scratch_";

/// A database of our own. Call [`Scratch::remove`] at the end: a dropped one stays on a server until
/// the next is made there (a file of SQLite goes at once).
pub struct Scratch {
    database: Database,
    name: String,
    keeper: Keeper,
}

/// What shows others that somebody still needs the database.
enum Keeper {
    Postgres(Box<PgConnection>),
    Mysql(Box<MySqlConnection>),
    Sqlite(sqlite::Folder),
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch({})", self.database)
    }
}

impl Scratch {
    /// An empty one on the server of `place`, with the encoding, the collation and the settings of
    /// that database if it exists. First, those are removed that killed processes left there.
    ///
    /// # Errors
    /// When the server can't be reached, or does not let us make databases.
    pub async fn create(place: &Database) -> Result<Self, Error> {
        match place.dialect() {
            Dialect::Postgres => postgres::create(place).await,
            Dialect::Mysql => mysql::create(place).await,
            Dialect::Sqlite => sqlite::create(place).await,
        }
    }

    /// A copy of the database at `source`, on its own server. PostgreSQL: nobody may be connected to
    /// it (waited for during some seconds). SQLite: consistent, whoever writes at the same time.
    ///
    /// # Errors
    /// As [`Scratch::create`]; [`Error::Refused`] on MySQL, which can't copy databases.
    pub async fn copy_of(source: &Database) -> Result<Self, Error> {
        match source.dialect() {
            Dialect::Postgres => postgres::copy(source, false).await,
            Dialect::Sqlite => sqlite::copy(source).await,
            Dialect::Mysql => Err(Error::Refused(
                "MySQL and MariaDB can't copy a database by themselves: give its address, or a dump".to_owned(),
            )),
        }
    }

    /// A copy of this one; sessions that are still connected to it are ended. `None`: the server
    /// can't (MySQL).
    ///
    /// # Errors
    /// As [`Scratch::create`].
    pub async fn copy(&self) -> Result<Option<Self>, Error> {
        match self.database.dialect() {
            Dialect::Postgres => postgres::copy(&self.database, true).await.map(Some),
            Dialect::Sqlite => sqlite::copy(&self.database).await.map(Some),
            Dialect::Mysql => Ok(None),
        }
    }

    /// Where it is.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Its name on the server; SQLite: the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Removes it, and ends sessions that are still connected to it.
    ///
    /// # Errors
    /// When the server does not do it. Then the next one who makes one tries again.
    pub async fn remove(self) -> Result<(), Error> {
        match self.keeper {
            Keeper::Postgres(conn) => postgres::remove(*conn, &self.name).await,
            Keeper::Mysql(conn) => mysql::remove(*conn, &self.name).await,
            Keeper::Sqlite(folder) => folder.remove(),
        }
    }
}

/// Several, for a piece of work that makes, copies and removes them on its way.
#[derive(Debug, Default)]
pub struct Scratches(Vec<Scratch>);

impl Scratches {
    /// See [`Scratch::create`].
    ///
    /// # Errors
    /// As there.
    pub async fn create(&mut self, place: &Database) -> Result<Database, Error> {
        Ok(self.keep(Scratch::create(place).await?))
    }

    /// See [`Scratch::copy_of`].
    ///
    /// # Errors
    /// As there.
    pub async fn copy_of(&mut self, source: &Database) -> Result<Database, Error> {
        Ok(self.keep(Scratch::copy_of(source).await?))
    }

    /// A copy of one of these; `None`: the server can't.
    ///
    /// # Errors
    /// As [`Scratch::copy`].
    pub async fn copy(&mut self, of: &Database) -> Result<Option<Database>, Error> {
        let Some(scratch) = self.0.iter().find(|s| s.database.url() == of.url()) else {
            return Ok(None);
        };
        let copy = scratch.copy().await?;
        Ok(copy.map(|copy| self.keep(copy)))
    }

    fn keep(&mut self, scratch: Scratch) -> Database {
        let database = scratch.database.clone();
        self.0.push(scratch);
        database
    }

    /// Removes one of these.
    ///
    /// # Errors
    /// As [`Scratch::remove`].
    pub async fn remove(&mut self, database: &Database) -> Result<(), Error> {
        match self
            .0
            .iter()
            .position(|s| s.database.url() == database.url())
        {
            Some(at) => self.0.swap_remove(at).remove().await,
            None => Ok(()),
        }
    }

    /// Removes all that are left. Tries each; the first failure is told.
    ///
    /// # Errors
    /// As [`Scratch::remove`].
    pub async fn remove_all(&mut self) -> Result<(), Error> {
        let mut result = Ok(());
        for scratch in self.0.drain(..) {
            let removed = scratch.remove().await;
            result = result.and(removed);
        }
        result
    }
}

/// A name that nobody else takes: time and process.
fn fresh_name() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos());
    format!("{PREFIX}{nanos:x}_{:x}_{count:x}", std::process::id())
}

/// Whether a database of this name is one of ours: only these are ever swept.
fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('_').collect();
        let hex = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_hexdigit());
        parts.len() == 3 && parts.iter().all(hex)
    })
}

fn not_allowed(what: &str) -> Error {
    Error::Refused(format!(
        "this user may not make databases, and a scratch database is needed: {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ours_and_only_those() {
        let (a, b) = (fresh_name(), fresh_name());
        assert_ne!(a, b);
        assert!(is_ours(&a) && a.len() < 63, "{a}");
        for other in [
            "windlass_scratch_",
            "windlass_scratch_of_anna",
            "windlass_scratch_1_2_x",
        ] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
