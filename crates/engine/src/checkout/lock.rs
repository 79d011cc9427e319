//! One process at a time changes a mirror.
//!
//! The lock is `flock` on a file beside the mirror, so it ends with the process that holds it,
//! however that ends. But its git may live on: we were killed, and it is a process group of its
//! own. So the holder writes its git's process id into the file, and the next holder ends what it
//! finds there before it touches anything.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::CheckoutError;

/// How often another process's lock is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// Held while a mirror changes.
pub(super) struct Lock {
    file: File,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

impl Lock {
    /// Waits for the lock; dropping the future gives up the place in the queue.
    pub(super) async fn take(path: &Path) -> Result<Self, CheckoutError> {
        // The tasks of this process queue in memory, so that only the first one polls the file.
        let turn = queue(path).lock_owned().await;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(CheckoutError::io("opening the lock", path))?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => tokio::time::sleep(RETRY).await,
                Err(TryLockError::Error(e)) => {
                    return Err(CheckoutError::io("locking", path)(e));
                }
            }
        }
        let lock = Self { file, _turn: turn };
        lock.end_orphan().await;
        Ok(lock)
    }

    /// Notes the process group that works under this lock; `None` when it is over.
    pub(super) fn note(&self, pid: Option<u32>) {
        // Only a safety net: without it a killed server's git would run on to its end.
        let _ = self.file.set_len(0);
        if let Some((pid, start)) = pid.and_then(|p| Some((p, start_time(p)?))) {
            let _ = self
                .file
                .write_all_at(format!("{pid} {start}\n").as_bytes(), 0);
        }
    }

    async fn end_orphan(&self) {
        let mut text = [0; 64];
        let read = self.file.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..read]);
        let mut numbers = text
            .split_whitespace()
            .filter_map(|n| n.parse::<u64>().ok());
        let (Some(pid), Some(start)) = (numbers.next(), numbers.next()) else {
            return;
        };
        let Ok(raw) = u32::try_from(pid) else { return };
        let group = Pid::from_raw(raw.cast_signed());
        // A number is given anew only when no group bears it. So this group is the old one, unless
        // a younger process leads it.
        let ours = |now: Option<u64>| now.is_none_or(|now| now == start);
        if group.as_raw() > 1 && ours(start_time(raw)) && killpg(group, None).is_ok() {
            tracing::warn!(pid, "ending the git of a server that was killed");
            let _ = killpg(group, Signal::SIGKILL);
            for _ in 0..200 {
                if killpg(group, None).is_err() {
                    break;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
        self.note(None);
    }
}

/// When a process began, in ticks since boot; `None` if it is not there.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name in brackets, which may hold anything; the 22nd is wanted.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

fn queue(path: &Path) -> Arc<tokio::sync::Mutex<()>> {
    type Queues = HashMap<PathBuf, Weak<tokio::sync::Mutex<()>>>;
    static QUEUES: LazyLock<Mutex<Queues>> = LazyLock::new(Mutex::default);
    let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(queue) = queues.get(path).and_then(Weak::upgrade) {
        return queue;
    }
    queues.retain(|_, queue| queue.strong_count() > 0);
    let queue = Arc::new(tokio::sync::Mutex::new(()));
    queues.insert(path.to_owned(), Arc::downgrade(&queue));
    queue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_git_of_a_killed_server_is_ended_and_nobody_else() {
        use std::os::unix::process::CommandExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let sleep = |s: &str| {
            std::process::Command::new("sleep")
                .arg(s)
                .process_group(0)
                .spawn()
                .unwrap()
        };
        let (mut orphan, mut other) = (sleep("60"), sleep("60"));
        let start = start_time(orphan.id()).unwrap();
        std::fs::write(&path, format!("{} {start}\n", orphan.id())).unwrap();
        drop(
            tokio::time::timeout(Duration::from_secs(5), Lock::take(&path))
                .await
                .unwrap(),
        );
        assert!(!orphan.wait().unwrap().success());
        // The same number, but of a younger process: not ours.
        std::fs::write(&path, format!("{} {}\n", other.id(), start - 1)).unwrap();
        drop(Lock::take(&path).await.unwrap());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
