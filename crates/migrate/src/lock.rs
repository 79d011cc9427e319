//! The lock as data: who holds it, since when, doing what, and whether it may be taken.
//!
//! On PostgreSQL and MySQL the truth is a lock of the *session* that runs the statements: the
//! server frees it when that session ends, however it ends. Beside it stands a committed row, the
//! lease: it has the holder's name for people, and a token that grows by one with each holder (the
//! fence). Whoever writes checks the token in the same transaction. On SQLite, which has no sessions,
//! the lease is the lock.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::database::{Conn, Tables, literal};
use crate::sql::Dialect;

/// How often the holder says that it lives.
pub(crate) const BEAT: Duration = Duration::from_secs(2);

/// Us: what the lease says of its holder.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    /// `user@host:pid`.
    pub(crate) name: String,
    /// Boot and process namespace: only there the process id means something.
    pub(crate) home: String,
    pub(crate) pid: i64,
    /// When the process began, in the kernel's ticks: process ids are used again.
    pub(crate) born: i64,
    /// What it takes the lock for.
    pub(crate) doing: String,
}

impl Owner {
    pub(crate) fn me(doing: &str) -> Self {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_or_else(|_| String::new(), |t| t.trim().to_owned())
        };
        let pid = i64::from(std::process::id());
        let host = read("/proc/sys/kernel/hostname");
        let user = std::env::var("USER").unwrap_or_else(|_| "windlass".to_owned());
        let namespace = std::fs::read_link("/proc/self/ns/pid")
            .map_or_else(|_| String::new(), |p| p.display().to_string());
        Self {
            name: format!("{user}@{host}:{pid}"),
            home: format!("{} {namespace}", read("/proc/sys/kernel/random/boot_id")),
            pid,
            born: born(pid).unwrap_or(0),
            doing: doing.to_owned(),
        }
    }
}

/// When a process of this machine began.
fn born(pid: i64) -> Option<i64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; field 22 counts from 1.
    let rest = &stat[stat.rfind(')')? + 1..];
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Who holds the lock, as far as the database tells.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Holder {
    /// `user@host:pid`.
    pub name: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// How long ago it last said that it lives.
    pub silent_ms: i64,
    /// What it is doing, in words.
    pub doing: String,
    /// The fence: grows by one with each holder.
    pub token: i64,
    /// The database's session that has the lock: PostgreSQL's process, MySQL's connection.
    pub session: Option<i64>,
    /// That session's state, as the database calls it.
    pub session_state: Option<String>,
    #[serde(skip)]
    pub(crate) home: String,
    #[serde(skip)]
    pub(crate) pid: i64,
    #[serde(skip)]
    pub(crate) born: i64,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() {
            "somebody"
        } else {
            &self.name
        };
        write!(f, "{name}")?;
        if !self.doing.is_empty() {
            write!(f, ", {}", self.doing)?;
        }
        if let Some(session) = self.session {
            write!(f, " (session {session}")?;
            if let Some(state) = &self.session_state {
                write!(f, ", {state}")?;
            }
            write!(f, ")")?;
        }
        if self.silent_ms > 10_000 {
            write!(f, ", silent for {} s", self.silent_ms / 1000)?;
        }
        Ok(())
    }
}

impl Holder {
    /// Where the lease is the lock: whether its holder is gone. A process of this machine is looked
    /// at; of others, only silence tells. A time in the future is no sign of life: it came with a
    /// copy, or from a wrong clock.
    pub(crate) fn is_gone(&self, me: &Owner, lease: Duration) -> bool {
        if self.home == me.home && self.home.len() > 1 && self.born != 0 {
            return born(self.pid) != Some(self.born);
        }
        let lease = i64::try_from(lease.as_millis()).unwrap_or(i64::MAX);
        self.silent_ms.abs() > lease
    }
}

/// The lock is ours, under this token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) token: i64,
}

/// What came of one try to take the lock.
pub(crate) enum Attempt {
    /// It is ours.
    Got(Lease),
    /// Somebody else has it.
    Held(Option<Holder>),
}

#[derive(Debug)]
struct Shared {
    doing: Mutex<String>,
    lost: AtomicBool,
    beaten: Mutex<Instant>,
}

/// Says that we live, on a connection of its own, until dropped.
#[derive(Debug)]
pub(crate) struct Heart {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Heart {
    pub(crate) fn start<C: Conn>(
        mut conn: C,
        tables: Tables,
        lease: Lease,
        dialect: Dialect,
        now: &'static str,
        doing: &str,
    ) -> Self {
        let shared = Arc::new(Shared {
            doing: Mutex::new(doing.to_owned()),
            lost: AtomicBool::new(false),
            beaten: Mutex::new(Instant::now()),
        });
        let ours = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                let doing = ours
                    .doing
                    .lock()
                    .map_or_else(|_| String::new(), |d| d.clone());
                let sql = format!(
                    "update {} set heartbeat_ms = {now}, doing = {} where id = 1 and token = {} \
                     and owner is not null",
                    tables.lock,
                    literal(&doing, dialect),
                    lease.token
                );
                match conn.execute(&sql).await {
                    Ok(0) => {
                        ours.lost.store(true, Ordering::Relaxed);
                        return;
                    }
                    Ok(_) => {
                        if let Ok(mut at) = ours.beaten.lock() {
                            *at = Instant::now();
                        }
                    }
                    // SQLite: our own long transaction is in the way, and nobody can take the lease
                    // while it is. A broken connection: the writes' own check decides.
                    Err(_) => {}
                }
            }
        });
        Self { shared, task }
    }

    /// What to tell people that we are doing. Written with the next beat.
    pub(crate) fn doing(&self, words: impl Into<String>) {
        if let Ok(mut doing) = self.shared.doing.lock() {
            *doing = words.into();
        }
    }

    /// Another holder's token was seen.
    pub(crate) fn is_lost(&self) -> bool {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// A write of ours was a sign of life as well.
    pub(crate) fn has_beaten(&self) {
        if let Ok(mut at) = self.shared.beaten.lock() {
            *at = Instant::now();
        }
    }

    /// Since when the database last heard us.
    pub(crate) fn silence(&self) -> Duration {
        self.shared
            .beaten
            .lock()
            .map_or(Duration::MAX, |at| at.elapsed())
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_process_of_this_machine_is_gone_at_once_and_others_after_the_lease() {
        let me = Owner::me("");
        let holder = Holder {
            name: me.name.clone(),
            since_ms: 0,
            silent_ms: 999_999,
            doing: String::new(),
            token: 1,
            session: None,
            session_state: None,
            home: me.home.clone(),
            pid: me.pid,
            born: me.born,
        };
        let lease = Duration::from_secs(20);
        assert!(!holder.is_gone(&me, lease), "we live, however silent");
        let again = Holder {
            born: me.born - 1,
            silent_ms: 0,
            ..holder.clone()
        };
        assert!(again.is_gone(&me, lease), "the number was used again");
        let far = |silent_ms| Holder {
            home: "elsewhere".to_owned(),
            silent_ms,
            ..holder.clone()
        };
        assert!(!far(19_000).is_gone(&me, lease));
        assert!(far(21_000).is_gone(&me, lease));
        assert!(far(-999_000).is_gone(&me, lease), "from the future");
    }
}
