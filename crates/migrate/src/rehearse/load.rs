//! Load of our own: what an application does all day, in short transactions, on the tables that the
//! plan touches.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::task::JoinHandle;

use super::Load;
use crate::database::Conn as _;
use crate::error::{Error, answer};

/// Sessions that read, and as many that write.
const SESSIONS: usize = 2;
/// What a session leaves the server between two statements.
const PAUSE: Duration = Duration::from_millis(2);

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
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Generator {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Generator {
    pub(super) async fn start(
        options: &PgConnectOptions,
        targets: Vec<Target>,
    ) -> Result<Self, Error> {
        let report = Arc::new(Mutex::new(Load {
            tables: targets.iter().map(|t| t.table.clone()).collect(),
            ..Load::default()
        }));
        let mut generator = Self {
            report: Arc::clone(&report),
            tasks: Vec::new(),
        };
        if targets.is_empty() {
            return Ok(generator);
        }
        for number in 0..SESSIONS * 2 {
            let conn = options.connect().await;
            let conn = conn.map_err(Error::database("connect for the load"))?;
            let work = work(conn, targets.clone(), Arc::clone(&report), number);
            generator.tasks.push(tokio::spawn(work));
        }
        Ok(generator)
    }

    /// What was done.
    pub(super) fn stop(self) -> Load {
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

async fn work(
    mut conn: PgConnection,
    targets: Vec<Target>,
    report: Arc<Mutex<Load>>,
    number: usize,
) {
    let writes = number % 2 == 1;
    for round in number.. {
        let target = &targets[round % targets.len()];
        let sql = match &target.column {
            Some(column) if writes => format!(
                "update {table} set {column} = {column} where ctid = any(array(select ctid \
                 from {table} offset {} limit 1))",
                round * 7 % 100,
                table = target.table
            ),
            _ => format!("select * from {} limit 20", target.table),
        };
        let began = Instant::now();
        let done = conn.texts(&sql).await;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Ok(mut load) = report.lock() {
            load.add(writes, ms, done.err());
        }
        tokio::time::sleep(PAUSE).await;
    }
    conn.close().await.unwrap_or_default();
}
