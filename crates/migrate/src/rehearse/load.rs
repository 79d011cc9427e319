//! Load of our own: what an application does all day, in short transactions, on the tables that the
//! plan touches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::Load;
use super::stage::Probe;
use crate::database::{Conn, Session as _, Texts};
use crate::error::{Error, answer, is_busy};

/// Sessions that read, and as many that write.
const SESSIONS: usize = 2;
/// What a session leaves the server between two statements.
const PAUSE: Duration = Duration::from_millis(2);
/// Between two tries of a statement that SQLite refuses because somebody writes.
const AGAIN: Duration = Duration::from_millis(1);
/// So long a statement may take to end when the plan has run: it may have waited until now.
const PATIENCE: Duration = Duration::from_secs(5);

/// A table that the load works on.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// As SQL.
    pub(super) table: String,
    /// A column to write, as SQL; none: it is only read.
    pub(super) column: Option<String>,
}

/// At work until [`Generator::stop`].
pub(super) struct Generator {
    report: Arc<Mutex<Load>>,
    over: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Generator {
    /// `busy`: how many of them SQLite refuses at the moment.
    pub(super) async fn start<P: Probe>(
        probe: &mut P,
        targets: Vec<Target>,
        busy: &Arc<AtomicU64>,
    ) -> Result<Self, Error> {
        let report = Arc::new(Mutex::new(Load {
            tables: targets.iter().map(|t| t.table.clone()).collect(),
            ..Load::default()
        }));
        let mut generator = Self {
            report: Arc::clone(&report),
            over: Arc::default(),
            tasks: Vec::new(),
        };
        if targets.is_empty() {
            return Ok(generator);
        }
        for number in 0..SESSIONS * 2 {
            let mut conn = probe.session().another().await?;
            for sql in P::LOAD_SETTINGS {
                let set = conn.execute(sql).await;
                set.map_err(Error::database("set up a session of the load"))?;
            }
            let worker = Worker {
                conn,
                targets: targets.clone(),
                report: Arc::clone(&report),
                over: Arc::clone(&generator.over),
                busy: Arc::clone(busy),
                number,
            };
            generator.tasks.push(tokio::spawn(worker.work::<P>()));
        }
        Ok(generator)
    }

    /// What was done. Statements that still wait are given a moment, so that their waits count.
    pub(super) async fn stop(mut self) -> Load {
        self.over.store(true, Ordering::Relaxed);
        for task in &mut self.tasks {
            tokio::time::timeout(PATIENCE, task).await.ok();
        }
        self.report
            .lock()
            .map_or_else(|_| Load::default(), |report| report.clone())
    }
}

impl Load {
    fn add(&mut self, writes: bool, ms: u64, error: Option<sqlx::Error>) {
        let (count, longest) = if writes {
            (&mut self.writes, &mut self.longest_write_ms)
        } else {
            (&mut self.reads, &mut self.longest_read_ms)
        };
        *count += 1;
        *longest = ms.max(*longest);
        if let Some(error) = error {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| answer(&error));
        }
    }
}

struct Worker<C> {
    conn: C,
    targets: Vec<Target>,
    report: Arc<Mutex<Load>>,
    over: Arc<AtomicBool>,
    busy: Arc<AtomicU64>,
    number: usize,
}

impl<C: Conn> Worker<C> {
    async fn work<P: Probe>(mut self) {
        let writes = self.number % 2 == 1;
        for round in self.number.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let target = &self.targets[round % self.targets.len()];
            let sql = match &target.column {
                Some(column) if writes => P::write_sql(&target.table, column, round * 7 % 100),
                _ => format!("select * from {} limit 20", target.table),
            };
            let began = Instant::now();
            let done = self.patiently(&sql).await;
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            if let Ok(mut load) = self.report.lock() {
                load.add(writes, ms, done.err());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// SQLite doesn't say who waits. So we don't let it wait, but do so ourselves, and count.
    async fn patiently(&mut self, sql: &str) -> Result<Texts, sqlx::Error> {
        let mut done = self.conn.texts(sql).await;
        if done.as_ref().is_err_and(is_busy) {
            self.busy.fetch_add(1, Ordering::Relaxed);
            while done.as_ref().is_err_and(is_busy) {
                tokio::time::sleep(AGAIN).await;
                done = self.conn.texts(sql).await;
            }
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
        done
    }
}
