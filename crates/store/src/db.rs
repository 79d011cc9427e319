//! Opening the database, its two kinds of connection, and the bell that rings on every change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, SqliteConnection};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::jobs::Plans;
use crate::schema::{OnPending, Schema};
use crate::seal::Sealer;
use crate::{StoreError, failpoint};

/// File name of the database in the data folder.
pub const DATABASE_FILE: &str = "windlass.db";
/// File name of the key for sealed values in the data folder.
pub const KEY_FILE: &str = "secret.key";

/// How long a connection waits for another program that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// SQLite has one writer at a time: ours is this one. Waiting here is fairer and cheaper than
    /// waiting for SQLite's lock.
    writer: Arc<Mutex<SqliteConnection>>,
    readers: SqlitePool,
    sealer: Sealer,
    changes: watch::Sender<u64>,
    cancels: watch::Sender<u64>,
    plans: Plans,
}

/// A write transaction; rings the bell when it is committed. Dropped without a commit (an error, a
/// caller that went away), it is rolled back before anybody else may write.
pub(crate) struct WriteTx {
    /// `None` once committed.
    guard: Option<OwnedMutexGuard<SqliteConnection>>,
    changes: watch::Sender<u64>,
}

impl Store {
    /// Opens (or creates) the database in `folder`. An empty database gets its schema at once; one
    /// with data in it only with [`OnPending::Migrate`].
    ///
    /// # Errors
    /// [`StoreError::MigrationPending`] and [`StoreError::SchemaTooNew`]; when the folder is not
    /// writable, the schema does not fit, or the key file is damaged.
    pub async fn open(folder: &Path, on_pending: OnPending) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::File {
            doing: "create the folder",
            path: folder.to_path_buf(),
            source,
        })?;
        let path = folder.join(DATABASE_FILE);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: an acknowledged delivery survives a power cut, not only a crash of ours.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        // First, because it makes the file, with its write-ahead log.
        let writer = connect(&options).await?;
        Schema::in_folder(folder)?.prepare(on_pending).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(6)
            .min_connections(1)
            .connect_with(options.read_only(true).create_if_missing(false))
            .await
            .map_err(StoreError::db("open for reading"))?;
        let sealer = Sealer::open(&folder.join(KEY_FILE))?;
        let (changes, _) = watch::channel(0);
        let (cancels, _) = watch::channel(0);
        let writer = Arc::new(Mutex::new(writer));
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                writer,
                readers,
                sealer,
                changes,
                cancels,
                plans: Plans::default(),
            }),
        })
    }

    /// Plans of jobs that were read lately.
    pub(crate) fn plans(&self) -> &Plans {
        &self.inner.plans
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Wakes whenever something was committed through this store, or noticed by
    /// [`Store::watch_other_processes`]. Carries no data: whoever wakes reads the rows.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Wakes when somebody may have asked for a build to be cancelled. Apart from
    /// [`Store::changes`], because every running job listens to it.
    pub fn cancels(&self) -> watch::Receiver<u64> {
        self.inner.cancels.subscribe()
    }

    /// Rings the bell of [`Store::changes`] without a change: something outside the database that
    /// waiters look at is different now, such as a free slot.
    pub fn ring(&self) {
        self.inner.changes.send_modify(|n| *n += 1);
    }

    pub(crate) fn ring_cancel(&self) {
        self.inner.cancels.send_modify(|n| *n += 1);
    }

    /// Notices commits of other processes (the command line beside the server) and rings the bell.
    /// Runs until dropped. `PRAGMA data_version` reads one number from shared memory.
    ///
    /// # Errors
    /// When the database can't be read any more.
    pub async fn watch_other_processes(&self, every: Duration) -> Result<(), StoreError> {
        let mut conn = self
            .inner
            .readers
            .acquire()
            .await
            .map_err(StoreError::db("be watched"))?;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut last = 0_i64;
        loop {
            ticks.tick().await;
            let version = sqlx::query_scalar("pragma data_version")
                .fetch_one(&mut *conn)
                .await
                .map_err(StoreError::db("be watched"))?;
            if version != last {
                last = version;
                self.ring();
                self.ring_cancel();
            }
        }
    }

    /// Answers whether the database can be read: for the health check.
    ///
    /// # Errors
    /// When it can't.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("select 1")
            .execute(self.reader())
            .await
            .map(|_| ())
            .map_err(StoreError::db("answer"))
    }

    /// Writes what is left in the log into the database and closes both. For a tidy end; a crash
    /// instead loses nothing.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        let mut writer = self.inner.writer.lock().await;
        // A failed checkpoint is made up for at the next start.
        sqlx::query("pragma wal_checkpoint(truncate)")
            .execute(&mut *writer)
            .await
            .ok();
    }

    pub(crate) fn reader(&self) -> &SqlitePool {
        &self.inner.readers
    }

    pub(crate) fn sealer(&self) -> &Sealer {
        &self.inner.sealer
    }

    pub(crate) async fn write(&self) -> Result<WriteTx, StoreError> {
        let guard = Arc::clone(&self.inner.writer).lock_owned().await;
        // Made before it is begun: a caller that goes away while it begins must not leave it open.
        let mut tx = WriteTx {
            guard: Some(guard),
            changes: self.inner.changes.clone(),
        };
        sqlx::query("begin immediate")
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("begin a transaction"))?;
        Ok(tx)
    }
}

impl WriteTx {
    pub(crate) fn conn(&mut self) -> &mut SqliteConnection {
        // Only `commit` and `drop` take the guard, and both end this value.
        self.guard.as_mut().expect("the transaction is open")
    }

    /// Makes the transaction durable. `name` is that of the calling function, for
    /// [`crate::failpoint`].
    pub(crate) async fn commit(mut self, name: &str) -> Result<(), StoreError> {
        failpoint::hit(format_args!("before-{name}"));
        sqlx::query("commit")
            .execute(self.conn())
            .await
            .map_err(StoreError::db("commit"))?;
        self.guard = None;
        failpoint::hit(format_args!("after-{name}"));
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    /// [`WriteTx::commit`] without the bell: for what nobody waits for.
    pub(crate) async fn commit_quietly(mut self) -> Result<(), StoreError> {
        sqlx::query("commit")
            .execute(self.conn())
            .await
            .map_err(StoreError::db("commit"))?;
        self.guard = None;
        Ok(())
    }
}

impl Drop for WriteTx {
    fn drop(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            tokio::spawn(async move {
                if let Err(error) = sqlx::query("rollback").execute(&mut *guard).await {
                    tracing::debug!(%error, "nothing to roll back");
                }
            });
        }
    }
}

/// Connects. SQLite's own waiting (`busy_timeout`) doesn't cover the change to the write-ahead log
/// that two programs opening a new database try at the same moment.
async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection, StoreError> {
    let deadline = std::time::Instant::now() + BUSY_TIMEOUT;
    loop {
        let error = match options.connect().await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        // The low byte of every kind of "busy" is SQLITE_BUSY, 5.
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        let is_busy = code.is_some_and(|code| code.parse::<u32>().is_ok_and(|c| c & 0xff == 5));
        if !is_busy || std::time::Instant::now() >= deadline {
            return Err(StoreError::db("open")(error));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Wall clock in milliseconds since 1970.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
