//! The `process` executor: a shim on this machine, with a folder of its own.
//!
//! ```text
//! <root>/<attempt>/shim/   order, journal, lock, control (windlass_shim::order has the table)
//! <root>/<attempt>/src/    the workspace
//! <root>/<attempt>/tmp/    TMPDIR
//! ```
//!
//! No process id is ever stored or trusted: whether a shim lives is asked of its lock (the kernel
//! releases it with the process), and it is spoken to through its FIFO.

pub(super) mod follow;
mod strays;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::BoxFuture;
use nix::fcntl::{Flock, FlockArg};
use tokio::time::Instant;
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::journal::{Record, parse_line};
use windlass_shim::order::{
    CANCEL, CONTROL_FILE, EXIT_ALREADY_TAKEN, JOURNAL_FILE, LOCK_FILE, ORDER_FILE, Order,
    SECRETS_FILE, SHIM_LOG_FILE, Secrets,
};

use crate::executor::{Executor, ExecutorError, Follower, Inside, Start};
use crate::order;

/// How long a shim may take from its start to its journal. It does almost nothing before that.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Runs jobs as processes of this machine, as the user of this process.
#[derive(Debug, Clone)]
pub struct ProcessExecutor {
    root: PathBuf,
    shim: PathBuf,
    pass_env: Vec<String>,
}

impl ProcessExecutor {
    /// `root` is the folder of all attempts, `shim` the program, `pass_env` names variables of this
    /// machine that steps may see beyond the usual ones.
    pub fn new(root: PathBuf, shim: PathBuf, pass_env: Vec<String>) -> Self {
        Self {
            root,
            shim,
            pass_env,
        }
    }

    /// The folder of everything that belongs to an attempt.
    pub fn folder(&self, attempt: &AttemptId) -> PathBuf {
        self.root.join(attempt.as_str())
    }

    /// The attempt's workspace.
    pub fn workspace(&self, attempt: &AttemptId) -> PathBuf {
        self.folder(attempt).join("src")
    }

    /// The attempt's `TMPDIR`.
    pub fn tmp(&self, attempt: &AttemptId) -> PathBuf {
        self.folder(attempt).join("tmp")
    }

    /// The home folder of an attempt in a container, for caches that name `~/`.
    pub(super) fn home(&self, attempt: &AttemptId) -> PathBuf {
        self.folder(attempt).join("home")
    }

    /// What the attempt's processes and cgroups are marked with. Attempts of another data folder on
    /// this machine have the same ids: they must never be taken for ours.
    pub(super) fn mark(&self, attempt: &AttemptId) -> String {
        format!("{attempt}-{}", self.owner())
    }

    /// The part of the marks that is this data folder's.
    /// The folder of all attempts.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn owner(&self) -> String {
        use sha2::{Digest as _, Sha256};
        let folder = Sha256::digest(self.root.as_os_str().as_encoded_bytes());
        hex::encode(&folder[..6])
    }

    /// What its shim and the server know of each other.
    pub(super) fn shim_folder(&self, attempt: &AttemptId) -> PathBuf {
        self.folder(attempt).join("shim")
    }

    async fn start_shim(
        &self,
        attempt: &AttemptId,
        order: &Order,
        secrets: &Secrets,
    ) -> Result<(), ExecutorError> {
        let dir = self.shim_folder(attempt);
        let journal = dir.join(JOURNAL_FILE);
        if journal.exists() || is_locked(&dir)? {
            wait_for_journal(&journal, None).await?;
            return Ok(());
        }
        create_dir(&dir)?;
        create_dir(&self.tmp(attempt))?;
        write_private(&dir.join(SECRETS_FILE), &to_json(secrets))?;
        let order = Order {
            attempt: self.mark(attempt),
            ..order.clone()
        };
        write_private(&dir.join(ORDER_FILE), &to_json(&order))?;
        // A shim that finds its lock taken leaves. Mostly another shim has it; but whoever asks
        // whether the lock is held takes it for a moment, too, and then nobody has the attempt.
        while !self.spawn_shim(&dir, &journal).await? {}
        Ok(())
    }

    /// `false` if the shim left because its lock was taken, and no other shim has the attempt.
    async fn spawn_shim(&self, dir: &Path, journal: &Path) -> Result<bool, ExecutorError> {
        let log = dir.join(SHIM_LOG_FILE);
        let stderr = File::create(&log).map_err(file("create", &log))?;
        // Not killed on drop: the shim outlives this process. It makes a session of its own.
        let child = tokio::process::Command::new(&self.shim)
            .arg("run")
            .arg(dir)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(file("run", &self.shim))?;
        wait_for_journal(journal, Some((child, log))).await
    }
}

impl Executor for ProcessExecutor {
    fn name(&self) -> &'static str {
        "process"
    }

    fn inside(&self, attempt: &AttemptId, _job: &JobPlan) -> Inside {
        Inside {
            workspace: self.workspace(attempt),
            tmp: self.tmp(attempt),
            env: order::machine_env(&self.pass_env),
        }
    }

    fn start<'a>(
        &'a self,
        attempt: &'a AttemptId,
        start: Start<'a>,
    ) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(self.start_shim(attempt, start.order, start.secrets))
    }

    fn follow(
        &self,
        attempt: &AttemptId,
        from_offset: u64,
    ) -> Result<Box<dyn Follower>, ExecutorError> {
        let dir = self.shim_folder(attempt);
        let lock = dir.clone();
        let lives = Box::new(move || is_locked(&lock));
        let follower = follow::JournalFile::open(&dir, from_offset, lives)?;
        Ok(Box::new(follower))
    }

    fn stop<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move { tell_shim(&self.shim_folder(attempt), CANCEL).await })
    }

    fn collect<'a>(
        &'a self,
        _attempt: &'a AttemptId,
        _job: &'a JobPlan,
    ) -> BoxFuture<'a, Result<Vec<String>, ExecutorError>> {
        // It is all here.
        Box::pin(async { Ok(Vec::new()) })
    }

    fn remove<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>> {
        let folder = self.folder(attempt);
        let journal = self.shim_folder(attempt).join(JOURNAL_FILE);
        let mark = self.mark(attempt);
        Box::pin(async move {
            let path = folder.clone();
            tokio::task::spawn_blocking(move || {
                // A shim that came to its end has cleaned up; a killed one could not.
                if journal.exists() && !is_complete(&journal) {
                    strays::kill(&mark);
                    strays::remove_cgroups(&mark);
                }
                remove_tree(&folder)
            })
            .await
            .unwrap_or_else(|e| Err(std::io::Error::other(e)))
            .map_err(file("remove", &path))
        })
    }

    fn present(&self) -> BoxFuture<'_, Result<Vec<AttemptId>, ExecutorError>> {
        Box::pin(async { attempts_in(&self.root) })
    }

    fn discard<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        Box::pin(async move {
            if is_locked(&self.shim_folder(attempt))? {
                self.stop(attempt).await?;
                return Ok(false);
            }
            self.remove(attempt).await?;
            Ok(true)
        })
    }
}

fn attempts_in(root: &Path) -> Result<Vec<AttemptId>, ExecutorError> {
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(file("read", root)(e)),
    };
    let mut attempts = Vec::new();
    for entry in entries {
        let name = entry.map_err(file("read", root))?.file_name();
        // Other names are not ours; they are left alone.
        attempts.extend(name.to_str().and_then(|n| n.parse().ok()));
    }
    Ok(attempts)
}

/// Whether a shim holds the attempt's lock. The lock is only tried, and let go at once.
fn is_locked(dir: &Path) -> Result<bool, ExecutorError> {
    let path = dir.join(LOCK_FILE);
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(file("open", &path)(e)),
    };
    match Flock::lock(lock, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, e)) => Err(file("lock", &path)(e.into())),
    }
}

/// Whether the journal's last line is the record that ends the job.
fn is_complete(journal: &Path) -> bool {
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(journal)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(end.saturating_sub(1024)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        Ok(tail)
    };
    let Ok(tail) = tail() else { return false };
    let Some(lines) = tail.strip_suffix(b"\n") else {
        return false;
    };
    let line = lines.rsplit(|b| *b == b'\n').next().unwrap_or_default();
    parse_line(line).is_ok_and(|entry| matches!(entry.record, Record::JobEnded(_)))
}

/// Waits until the shim has made its journal: from then on it is the shim that answers for the
/// attempt. `false` if the given shim left to another one that is not there.
async fn wait_for_journal(
    journal: &Path,
    mut child: Option<(tokio::process::Child, PathBuf)>,
) -> Result<bool, ExecutorError> {
    let deadline = Instant::now() + START_LIMIT;
    let mut pause = Duration::from_micros(500);
    loop {
        // Asked before the journal is looked for: a shim may do its whole job between the two.
        let ended = match &mut child {
            Some((child, log)) => child.try_wait().map_err(file("watch", log))?,
            None => None,
        };
        if std::fs::metadata(journal).is_ok_and(|m| m.len() > 0) {
            return Ok(true);
        }
        if let (Some(status), Some((_, log))) = (ended, &child) {
            if status.code() == Some(EXIT_ALREADY_TAKEN) {
                // Another shim was faster and its journal is about to appear, or nobody has it.
                let dir = journal.parent().unwrap_or(journal);
                if !is_locked(dir)? && !journal.exists() {
                    return Ok(false);
                }
            } else {
                let words = std::fs::read_to_string(log).unwrap_or_default();
                return Err(ExecutorError::Shim {
                    reason: format!("{status}; it said: {:?}", words.trim()),
                });
            }
        }
        if Instant::now() > deadline {
            return Err(ExecutorError::Shim {
                reason: format!("no journal after {} s", START_LIMIT.as_secs()),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

async fn tell_shim(dir: &Path, word: &str) -> Result<(), ExecutorError> {
    let path = dir.join(CONTROL_FILE);
    let deadline = Instant::now() + START_LIMIT;
    loop {
        // Without O_NONBLOCK this would wait for a reader that may be dead.
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(&path);
        match opened {
            Ok(mut fifo) => {
                return fifo
                    .write_all(format!("{word}\n").as_bytes())
                    .map_err(file("write", &path));
            }
            // No FIFO yet, or nobody reads it: either the shim is about to make it or it is gone.
            Err(e) if e.kind() == ErrorKind::NotFound || is_no_reader(&e) => {
                if !is_locked(dir)? || Instant::now() > deadline {
                    return Ok(());
                }
            }
            Err(e) => return Err(file("open", &path)(e)),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn is_no_reader(e: &std::io::Error) -> bool {
    e.raw_os_error() == Some(nix::errno::Errno::ENXIO as i32)
}

pub(super) fn create_dir(path: &Path) -> Result<(), ExecutorError> {
    std::fs::create_dir_all(path).map_err(file("create", path))
}

pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), ExecutorError> {
    let mut out = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(file("write", path))?;
    out.write_all(bytes).map_err(file("write", path))
}

pub(super) fn to_json(value: &impl serde::Serialize) -> Vec<u8> {
    // Structs with text keys: can't fail.
    serde_json::to_vec(value).unwrap_or_default()
}

pub(super) fn file<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(std::io::Error) -> ExecutorError + use<'a> {
    move |source| ExecutorError::File {
        doing,
        path: path.to_path_buf(),
        source,
    }
}

/// `remove_dir_all`, also where a tool left folders without write permission (Go's module cache).
pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => {
            unlock_tree(path)?;
            std::fs::remove_dir_all(path)
        }
        other => other,
    }
}

fn unlock_tree(path: &Path) -> std::io::Result<()> {
    let meta = path.symlink_metadata()?;
    if meta.is_dir() {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
        for entry in std::fs::read_dir(path)? {
            unlock_tree(&entry?.path())?;
        }
    }
    Ok(())
}
