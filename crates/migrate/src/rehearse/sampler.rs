//! A second session that watches the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use tokio::task::JoinHandle;

use crate::database::Conn as _;

/// Between two looks. A lock that is held for less may be missed; the session itself says what it
/// holds before it commits.
const EVERY: Duration = Duration::from_millis(5);

/// What was seen since the last [`Sampler::take`].
#[derive(Debug, Default, Clone)]
pub(super) struct Seen {
    /// Relation and mode: first and last time that it was held.
    pub(super) held: HashMap<(i64, String), (Instant, Instant)>,
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
    pub(super) fn start(mut conn: PgConnection, pid: i64) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let ours = Arc::clone(&seen);
        let sql = format!(
            "select relation::text, mode, granted::text from pg_catalog.pg_locks \
             where pid = {pid} and (locktype = 'relation' or not granted) \
             union all select null, count(*)::text, null from \
             (select pid from pg_catalog.pg_stat_activity where wait_event_type = 'Lock' \
             and datname = current_database() and pid <> {pid} offset 0) waiting \
             where {pid} = any(pg_catalog.pg_blocking_pids(waiting.pid))"
        );
        let task = tokio::spawn(async move {
            // If this session breaks, what the other one says itself remains.
            while let Ok(rows) = conn.texts(&sql).await {
                let now = Instant::now();
                if let Ok(mut seen) = ours.lock() {
                    seen.add(&rows, now);
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { seen, task }
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
    fn add(&mut self, rows: &[Vec<Option<String>>], now: Instant) {
        let since = self.last.map_or(Duration::ZERO, |last| now - last);
        self.last = Some(now);
        let mut waits = false;
        for row in rows {
            match &row[..] {
                [None, Some(count), None] => {
                    let count = count.parse().unwrap_or(0);
                    self.blocked_sessions = self.blocked_sessions.max(count);
                    if count > 0 {
                        self.blocked += since;
                    }
                }
                [relation, Some(mode), Some(granted)] => {
                    if !granted.starts_with('t') {
                        waits = true;
                    } else if let Some(relation) = relation.as_ref().and_then(|r| r.parse().ok()) {
                        let entry = self.held.entry((relation, mode.clone()));
                        entry.or_insert((now, now)).1 = now;
                    }
                }
                _ => {}
            }
        }
        if waits {
            self.waited += since;
        }
    }
}
