//! The runner: what a command does to a database, under the lock or without it.

mod adopt;
mod apply;
mod data;
mod down;
mod keep;
mod locked;
mod look;
mod tool;
mod up;

use std::time::Duration;

use crate::database::Database;
use crate::database::mysql::Mysql;
use crate::database::postgres::Postgres;
use crate::database::sqlite::Sqlite;
use crate::error::{Error, is_crowded};
use crate::folder::Phase;
use crate::gate::Gate;
use crate::lock::Holder;
use crate::plan::{Held, Mismatch, Rules};
use crate::version::Version;

pub(crate) use apply::unfit;

pub use adopt::{Adopted, HandedBack, adopt, hand_back};
pub use data::{Command, DataReport, How, Progress, Range, check_batches, data};
pub use down::down;
pub use keep::{Repair, Which, baseline, hold, repair, unlock};
pub use look::{Finding, Interrupted, Status, answer, status, verify};
pub use tool::Tool;
pub use up::{up, up_at};

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// The history table: `name` or `schema.name`. The others are named after it.
    pub table: String,
    /// How long to wait for somebody else's lock.
    pub lock_wait: Duration,
    /// How long a statement may wait for locks of the database before it lets others pass and tries
    /// again. Zero: for as long as it takes.
    pub lock_timeout: Duration,
    /// How long a statement may run. Zero: for as long as it takes.
    pub statement_timeout: Duration,
    /// How often a statement that waited too long is tried again.
    pub retries: u32,
    /// How long a holder may be silent before its lock is taken.
    pub lease: Duration,
    /// MySQL: no named lock, the lease alone (Galera is found by itself).
    pub lease_only: bool,
    /// A lock in Redis to ask for before the database's own.
    pub gate: Option<Gate>,
    /// Another migrator that works on this database too, for as long as a change from one to the other takes:
    /// its lock is taken besides ours, and the two histories are kept in step.
    pub beside: Option<Tool>,
    /// Run nothing but the plan with this hash ([`crate::plan::Plan::hash`]), or what is left of it:
    /// nothing.
    pub only_plan: Option<String>,
    /// What to allow.
    pub rules: Rules,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            table: "windlass_migrations".to_owned(),
            lock_wait: Duration::from_secs(300),
            lock_timeout: Duration::from_secs(2),
            statement_timeout: Duration::ZERO,
            retries: 20,
            lease: Duration::from_secs(20),
            lease_only: false,
            gate: None,
            beside: None,
            only_plan: None,
            rules: Rules::default(),
        }
    }
}

/// What happens, as it happens.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// Somebody else has the lock. Told again when it is somebody else.
    Waiting {
        /// Who, if it can be seen.
        holder: Option<Holder>,
    },
    /// The lock in Redis has to be waited for. Told again when the reason changes.
    Gate {
        /// Who has it, or that Redis is away.
        why: String,
    },
    /// The lock in Redis is not ours any more, or was not for a moment. The work goes on: the
    /// database's own lock excludes others.
    GateLost {
        /// How we know.
        why: String,
    },
    /// Another migrator has its own lock, and has to be waited for.
    Beside {
        /// Which.
        tool: &'static str,
    },
    /// A migration begins.
    Begin {
        /// Its number.
        version: Version,
        /// Its file.
        file: String,
    },
    /// A statement waited too long for a lock of the database, or was the victim of a deadlock.
    Retry {
        /// The file.
        file: String,
        /// Its line.
        line: usize,
        /// Which try comes next, from 2.
        attempt: u32,
        /// After how long.
        pause_ms: u64,
        /// The database's words.
        why: String,
    },
    /// An interrupted migration goes on.
    Resumed {
        /// The file.
        file: String,
        /// The statement, from 1.
        step: usize,
        /// Whether it had taken effect before the interruption.
        took_effect: bool,
    },
    /// A batch of a data migration took effect.
    Batch {
        /// The file.
        file: String,
        /// The batch: how many keys, how long.
        keys: u64,
        /// How long it took.
        ms: u64,
        /// How far it has come with it.
        progress: Progress,
    },
    /// A migration is applied, or undone.
    Done(Done),
}

/// A migration that was applied, or undone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Done {
    /// Its number.
    pub version: Version,
    /// Its file.
    pub file: String,
    /// Its phase.
    pub phase: Phase,
    /// How long it took.
    pub ms: u64,
}

/// Hears what happens.
pub type Tell<'a> = &'a mut (dyn FnMut(Event) + Send);

/// What came of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// What was applied or undone, in order.
    pub done: Vec<Done>,
    /// Contract migrations that wait.
    pub held: Vec<Held>,
    /// Data migrations that are not finished.
    pub data: Vec<Version>,
    /// What another migrator had applied ([`Options::beside`]), and now counts here, too.
    pub taken: Vec<Version>,
    /// Applied migrations that are newer than the folder.
    pub ahead: Vec<Version>,
    /// What should be known.
    pub warnings: Vec<Mismatch>,
}

/// Opens a connection; a server that is full is asked again for a while.
async fn patient<T, F: Future<Output = Result<T, sqlx::Error>>>(
    wait: Duration,
    // An async closure would keep callers from spawning us: its future is not seen as `Send`.
    mut connect: impl FnMut() -> F,
) -> Result<T, Error> {
    let end = tokio::time::Instant::now() + wait;
    let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_secs(2));
    loop {
        match connect().await {
            Err(error) if is_crowded(&error) && tokio::time::Instant::now() < end => {
                tokio::time::sleep(pauses.next()).await;
            }
            other => return other.map_err(Error::database("connect to the database")),
        }
    }
}

pub(crate) async fn postgres(database: &Database, options: &Options) -> Result<Postgres, Error> {
    patient(options.lock_wait, || {
        Postgres::connect(database, &options.table)
    })
    .await
}

pub(crate) async fn mysql(database: &Database, options: &Options) -> Result<Mysql, Error> {
    patient(options.lock_wait, || {
        Mysql::connect(database, &options.table, options.lease_only)
    })
    .await
}

pub(crate) async fn sqlite(
    database: &Database,
    options: &Options,
    create: bool,
) -> Result<Sqlite, Error> {
    patient(options.lock_wait, || {
        Sqlite::connect(database, &options.table, create)
    })
    .await
}

/// Runs the body with a session of the database's kind.
macro_rules! with_session {
    ($database:expr, $options:expr, create: $create:expr, |$session:ident| $body:expr) => {
        match $database.dialect() {
            $crate::sql::Dialect::Postgres => {
                let $session = $crate::run::postgres($database, $options).await?;
                $body
            }
            $crate::sql::Dialect::Sqlite => {
                let $session = $crate::run::sqlite($database, $options, $create).await?;
                $body
            }
            $crate::sql::Dialect::Mysql => {
                let $session = $crate::run::mysql($database, $options).await?;
                $body
            }
        }
    };
}
pub(crate) use with_session;

/// Growing pauses with some chance in them, so that many that wait do not come back together.
#[derive(Debug)]
struct Pauses {
    next: Duration,
    most: Duration,
    seed: u64,
}

impl Pauses {
    fn new(first: Duration, most: Duration) -> Self {
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| u64::from(d.subsec_nanos()));
        Self {
            next: first,
            most,
            seed: nanos ^ (u64::from(std::process::id()) << 32) | 1,
        }
    }

    /// Between half of the pause and the whole of it; then the pause doubles.
    fn next(&mut self) -> Duration {
        // xorshift64: chance enough to keep processes apart.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        let part = u32::try_from(self.seed % 512).unwrap_or(0) + 512;
        let pause = self.next * part / 1024;
        self.next = (self.next * 2).min(self.most);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_in_their_bounds() {
        let mut pauses = Pauses::new(Duration::from_millis(100), Duration::from_millis(400));
        for most in [100, 200, 400, 400] {
            let pause = pauses.next();
            assert!(pause >= Duration::from_millis(most / 2));
            assert!(pause <= Duration::from_millis(most));
        }
    }
}
