//! Opening the database, its two kinds of connection, and the bell that rings on every change.
//!
//! A file of SQLite, or a database of PostgreSQL. In both there is one writer at a time: SQLite has no
//! more, and in PostgreSQL each transaction that writes begins with a lock of ours (ADR 0015). What
//! a function reads in its transaction therefore stays true until it commits.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use crate::jobs::Plans;
use crate::schema::{OnPending, Schema};
use crate::seal::Sealer;
use crate::sql::{Connection, Dialect, Pool, query};
use crate::{StoreError, failpoint};

/// File name of the database in the data folder.
pub const DATABASE_FILE: &str = "windlass.db";
/// File name of the key for sealed values in the data folder.
pub const KEY_FILE: &str = "secret.key";

/// How long a connection waits for another program that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// PostgreSQL: begins a transaction that writes. The lock is that of the transaction, so a pooler,
/// an error and a crash give it back.
const BEGIN: &str = "begin; select pg_advisory_xact_lock(8604517236440921427)";
/// PostgreSQL: the lock of the session of the one server that works on a database.
const SERVER: &str = "select pg_try_advisory_lock(8604517236440921428)";
/// PostgreSQL: the channel on which commits are told.
const CHANNEL: &str = "windlass";
/// How long a start waits for the server before it to be gone.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether the server's lock is still ours.
const SERVER_LOOK: Duration = Duration::from_secs(5);

/// Where the store's data are.
#[derive(Debug, Clone)]
pub struct Place {
    /// The data folder: the key of secrets, and SQLite's file.
    pub folder: PathBuf,
    /// `postgres://user:password@host/database`; without it, a file in the folder.
    pub database: Option<String>,
}

impl<P: AsRef<Path>> From<P> for Place {
    fn from(folder: P) -> Self {
        Self {
            folder: folder.as_ref().to_path_buf(),
            database: None,
        }
    }
}

/// A handle; clones share everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// One writer at a time, and this is ours. Waiting here is fairer and cheaper than waiting for
    /// the database's lock.
    writer: Arc<Mutex<Writer>>,
    readers: Pool,
    /// The session that has the server's lock.
    server: Mutex<Option<PgConnection>>,
    sealer: Sealer,
    changes: watch::Sender<u64>,
    cancels: watch::Sender<u64>,
    plans: Plans,
}

/// The connection that writes.
struct Writer {
    conn: Connection,
    /// PostgreSQL: how to connect again when the server was restarted.
    again: Option<PgConnectOptions>,
}

/// A write transaction; rings the bell when it is committed. Dropped without a commit (an error, a
/// caller that went away), it is rolled back before anybody else may write.
pub(crate) struct WriteTx {
    /// `None` once committed.
    guard: Option<OwnedMutexGuard<Writer>>,
    changes: watch::Sender<u64>,
}

impl Store {
    /// Opens the database; a file that is not there is made. An empty database gets its schema at
    /// once; one with data in it only with [`OnPending::Migrate`].
    ///
    /// # Errors
    /// [`StoreError::MigrationPending`] and [`StoreError::SchemaTooNew`]; when the folder is not
    /// writable, the database out of reach, the schema does not fit, or the key file is damaged.
    pub async fn open(place: impl Into<Place>, on_pending: OnPending) -> Result<Self, StoreError> {
        let place = place.into();
        std::fs::create_dir_all(&place.folder).map_err(|source| StoreError::File {
            doing: "create the folder",
            path: place.folder.clone(),
            source,
        })?;
        let schema = Schema::of(&place)?;
        let (writer, readers) = match &place.database {
            None => open_sqlite(&place, &schema, on_pending).await?,
            Some(url) => open_postgres(url, &schema, on_pending).await?,
        };
        let sealer = Sealer::open(&place.folder.join(KEY_FILE))?;
        let (changes, _) = watch::channel(0);
        let (cancels, _) = watch::channel(0);
        Ok(Self {
            inner: Arc::new(Inner {
                path: place.folder.join(DATABASE_FILE),
                writer: Arc::new(Mutex::new(writer)),
                readers,
                server: Mutex::new(None),
                sealer,
                changes,
                cancels,
                plans: Plans::default(),
            }),
        })
    }

    /// Takes the database for one server, for as long as this store lives. A data folder has its own
    /// lock; here it is about folders of several machines and one PostgreSQL.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if another server has it.
    pub async fn take_for_server(&self) -> Result<(), StoreError> {
        let Some(options) = self.inner.writer.lock().await.again.clone() else {
            return Ok(());
        };
        let end = std::time::Instant::now() + SERVER_PATIENCE;
        loop {
            let tried = async {
                let mut conn = options.connect().await?;
                let got: bool = sqlx::query_scalar(SERVER).fetch_one(&mut conn).await?;
                Ok(got.then_some(conn))
            };
            match tried.await {
                Ok(Some(conn)) => {
                    *self.inner.server.lock().await = Some(conn);
                    return Ok(());
                }
                // The session of a server that was killed ends in a moment.
                _ if std::time::Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(None) => {
                    return Err(StoreError::Conflict(
                        "another server works on this database: stop it first, or give this one \
                         a database of its own"
                            .to_owned(),
                    ));
                }
                Err(source) => return Err(StoreError::db("be taken for this server")(source)),
            }
        }
    }

    /// Whether the server's lock is still held; takes it again after the database was restarted.
    async fn keep_for_server(&self) -> Result<(), StoreError> {
        let mut server = self.inner.server.lock().await;
        let Some(conn) = server.as_mut() else {
            return Ok(());
        };
        if conn.ping().await.is_ok() {
            return Ok(());
        }
        *server = None;
        drop(server);
        tracing::warn!("the connection that keeps other servers away was lost");
        self.take_for_server().await
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
        match &self.inner.readers {
            Pool::Sqlite(pool) => self.watch_sqlite(pool, every).await,
            Pool::Postgres(pool) => self.watch_postgres(pool).await,
        }
    }

    async fn watch_sqlite(&self, pool: &SqlitePool, every: Duration) -> Result<(), StoreError> {
        let mut conn = pool.acquire().await.map_err(StoreError::db("be watched"))?;
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

    async fn watch_postgres(&self, pool: &PgPool) -> Result<(), StoreError> {
        let mut looks = tokio::time::interval(SERVER_LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            match listen(pool).await {
                Ok(mut listener) => loop {
                    // What was told while nobody listened is made up for by this ring.
                    self.ring();
                    self.ring_cancel();
                    tokio::select! {
                        told = listener.try_recv() => if let Err(error) = told {
                            tracing::warn!(%error, "does not hear of commits of other processes");
                            break;
                        },
                        _ = looks.tick() => self.keep_for_server().await?,
                    }
                },
                Err(error) => tracing::warn!(%error, "can't listen to commits of other processes"),
            }
            looks.tick().await;
            self.keep_for_server().await?;
        }
    }

    /// Answers whether the database can be read: for the health check.
    ///
    /// # Errors
    /// When it can't.
    pub async fn ping(&self) -> Result<(), StoreError> {
        query("select 1")
            .execute(self.reader())
            .await
            .map(|_| ())
            .map_err(StoreError::db("answer"))
    }

    /// Closes the connections. A crash instead loses nothing; SQLite's log is written into its file.
    pub async fn close(&self) {
        self.inner.readers.close().await;
        let mut writer = self.inner.writer.lock().await;
        if let Connection::Sqlite(conn) = &mut writer.conn {
            // A failed checkpoint is made up for at the next start.
            sqlx::query("pragma wal_checkpoint(truncate)")
                .execute(conn)
                .await
                .ok();
        }
        self.inner.server.lock().await.take();
    }

    pub(crate) fn reader(&self) -> &Pool {
        &self.inner.readers
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.inner.readers {
            Pool::Sqlite(_) => Dialect::Sqlite,
            Pool::Postgres(_) => Dialect::Postgres,
        }
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
        tx.writer()
            .begin()
            .await
            .map_err(StoreError::db("begin a transaction"))?;
        Ok(tx)
    }
}

impl Writer {
    async fn begin(&mut self) -> Result<(), sqlx::Error> {
        let (conn, again) = match (&mut self.conn, &self.again) {
            (Connection::Sqlite(conn), _) => {
                return sqlx::query("begin immediate").execute(conn).await.map(drop);
            }
            (Connection::Postgres(conn), again) => (conn, again),
        };
        let Err(error) = sqlx::raw_sql(BEGIN).execute(&mut *conn).await else {
            return Ok(());
        };
        match again {
            // The server was restarted, or ended this session. Nothing was begun.
            Some(options) if is_gone(&error) => {
                tracing::info!(%error, "connects to the database again");
                *conn = connect_postgres(options).await?;
                sqlx::raw_sql(BEGIN).execute(conn).await.map(drop)
            }
            _ => Err(error),
        }
    }

    /// `tell`: other processes hear of it.
    async fn commit(&mut self, tell: bool) -> Result<(), sqlx::Error> {
        match &mut self.conn {
            Connection::Sqlite(conn) => sqlx::query("commit").execute(conn).await.map(drop),
            Connection::Postgres(conn) => {
                let sql = if tell {
                    "notify windlass; commit"
                } else {
                    "commit"
                };
                sqlx::raw_sql(sql).execute(conn).await.map(drop)
            }
        }
    }

    async fn rollback(&mut self) -> Result<(), sqlx::Error> {
        match &mut self.conn {
            Connection::Sqlite(conn) => sqlx::query("rollback").execute(conn).await.map(drop),
            Connection::Postgres(conn) => sqlx::raw_sql("rollback").execute(conn).await.map(drop),
        }
    }
}

impl WriteTx {
    fn writer(&mut self) -> &mut Writer {
        // Only `commit` and `drop` take the guard, and both end this value.
        self.guard.as_mut().expect("the transaction is open")
    }

    pub(crate) fn conn(&mut self) -> &mut Connection {
        &mut self.writer().conn
    }

    /// Makes the transaction durable. `name` is that of the calling function, for
    /// [`crate::failpoint`].
    pub(crate) async fn commit(mut self, name: &str) -> Result<(), StoreError> {
        failpoint::hit(format_args!("before-{name}"));
        self.writer()
            .commit(true)
            .await
            .map_err(StoreError::db("commit"))?;
        self.guard = None;
        failpoint::hit(format_args!("after-{name}"));
        self.changes.send_modify(|n| *n += 1);
        Ok(())
    }

    /// [`WriteTx::commit`] without the bell: for what nobody waits for.
    pub(crate) async fn commit_quietly(mut self) -> Result<(), StoreError> {
        self.writer()
            .commit(false)
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
                if let Err(error) = guard.rollback().await {
                    tracing::debug!(%error, "nothing to roll back");
                }
            });
        }
    }
}

async fn open_sqlite(
    place: &Place,
    schema: &Schema,
    on_pending: OnPending,
) -> Result<(Writer, Pool), StoreError> {
    let options = SqliteConnectOptions::new()
        .filename(place.folder.join(DATABASE_FILE))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL: an acknowledged delivery survives a power cut, not only a crash of ours.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    // First, because it makes the file, with its write-ahead log.
    let conn = connect(&options).await?;
    schema.prepare(on_pending).await?;
    let readers = SqlitePoolOptions::new()
        .max_connections(6)
        .min_connections(1)
        .connect_with(options.read_only(true).create_if_missing(false))
        .await
        .map_err(StoreError::db("open for reading"))?;
    let writer = Writer {
        conn: Connection::Sqlite(conn),
        again: None,
    };
    Ok((writer, Pool::Sqlite(readers)))
}

async fn open_postgres(
    url: &str,
    schema: &Schema,
    on_pending: OnPending,
) -> Result<(Writer, Pool), StoreError> {
    schema.prepare(on_pending).await?;
    let options = PgConnectOptions::from_str(url)
        .map_err(StoreError::db("be found"))?
        .application_name("windlass")
        .disable_statement_logging();
    let conn = connect_postgres(&options)
        .await
        .map_err(StoreError::db("open"))?;
    let readers = PgPoolOptions::new()
        .max_connections(6)
        .min_connections(1)
        .connect_with(options.clone())
        .await
        .map_err(StoreError::db("open for reading"))?;
    let writer = Writer {
        conn: Connection::Postgres(conn),
        again: Some(options),
    };
    Ok((writer, Pool::Postgres(readers)))
}

/// Connects for writing. An acknowledged delivery survives a power cut, whatever a role's default is.
async fn connect_postgres(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut conn = options.connect().await?;
    sqlx::raw_sql(
        "select set_config('synchronous_commit', 'on', false) \
         where current_setting('synchronous_commit') = 'off'; \
         set statement_timeout = 0; set lock_timeout = 0; \
         set idle_in_transaction_session_timeout = '60s'",
    )
    .execute(&mut conn)
    .await?;
    Ok(conn)
}

async fn listen(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// The session is gone: the network, a restart, an administrator.
fn is_gone(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed
    ) || error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code.starts_with("57P0") || code.starts_with("25P"))
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
