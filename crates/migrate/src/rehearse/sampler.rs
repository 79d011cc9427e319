//! A second session that watches the first.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::database::{Conn, Texts};

/// Between two looks. A lock that is held for less may be missed; the session itself says what it
/// holds before it commits.
pub(super) const EVERY: Duration = Duration::from_millis(5);

/// Whoever looks. Each row is one of: table, mode, `t` (we have this lock); nothing, anything, `f`
/// (we wait); nothing, number, nothing (so many wait for us).
pub(super) trait Eye: Send + 'static {
    /// `None`: it can't any more.
    fn look(&mut self) -> impl Future<Output = Option<Texts>> + Send;
}

/// Between two looks at tables that the server renews only when nobody has read them for a while
/// (InnoDB: 100 ms). Asked more often they would never change.
const SELDOM: Duration = Duration::from_millis(150);

/// Asks a server.
pub(super) struct Asking<C> {
    conn: C,
    queries: Vec<String>,
    /// Asked every [`SELDOM`]; what they said stands until then.
    seldom: Vec<String>,
    said: Texts,
    asked: Option<Instant>,
}

impl<C> Asking<C> {
    pub(super) fn new(conn: C, queries: Vec<String>, seldom: Vec<String>) -> Self {
        Self {
            conn,
            queries,
            seldom,
            said: Texts::new(),
            asked: None,
        }
    }
}

impl<C: Conn> Eye for Asking<C> {
    async fn look(&mut self) -> Option<Texts> {
        let mut all = Texts::new();
        for sql in &self.queries {
            all.extend(self.conn.texts(sql).await.ok()?);
        }
        if self.asked.is_none_or(|at| at.elapsed() >= SELDOM) {
            self.said.clear();
            for sql in &self.seldom {
                self.said.extend(self.conn.texts(sql).await.ok()?);
            }
            self.asked = Some(Instant::now());
        }
        all.extend(self.said.iter().cloned());
        Some(all)
    }
}

/// What was seen since the last [`Sampler::take`].
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// Table and mode: first and last time that it was held.
    pub(super) held: HashMap<(String, String), (Instant, Instant)>,
    pub(super) waited: Duration,
    pub(super) blocked: Duration,
    pub(super) blocked_sessions: u64,
    last: Option<Instant>,
}

/// Watches until dropped.
pub(super) struct Sampler {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Sampler {
    pub(super) fn start(mut eye: impl Eye) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let ours = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // It ends only if this session breaks: see `is_blind`.
            while let Some(rows) = eye.look().await {
                let now = Instant::now();
                if let Ok(mut seen) = ours.lock() {
                    seen.add(rows, now);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// Whether it has stopped watching: what it would have seen is missing, and a budget that is kept
    /// without it is none.
    pub(super) fn is_blind(&self) -> bool {
        self.task.is_finished()
    }

    /// What was seen since the last time.
    pub(super) fn take(&self) -> Seen {
        self.seen.lock().map_or_else(
            |_| Seen::default(),
            |mut seen| {
                let last = seen.last;
                let taken = std::mem::take(&mut *seen);
                seen.last = last;
                taken
            },
        )
    }
}

impl Seen {
    fn add(&mut self, rows: Texts, now: Instant) {
        let since = self.last.map_or(Duration::ZERO, |last| now - last);
        self.last = Some(now);
        let (mut waits, mut waiting) = (false, 0);
        for row in rows {
            let mut row = row.into_iter();
            match [(); 3].map(|()| row.next().flatten()) {
                [None, Some(count), None] => waiting += count.parse().unwrap_or(0),
                [_, Some(_), Some(granted)] if !granted.starts_with('t') => waits = true,
                [Some(table), Some(mode), Some(_)] => {
                    let entry = self.held.entry((table, mode));
                    entry.or_insert((now, now)).1 = now;
                }
                _ => {}
            }
        }
        self.blocked_sessions = self.blocked_sessions.max(waiting);
        if waiting > 0 {
            self.blocked += since;
        }
        if waits {
            self.waited += since;
        }
    }
}
