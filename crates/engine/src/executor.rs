//! The four verbs of an executor: start, follow, stop, sweep. Everything else is inside.
//!
//! An executor knows attempts only by their id and keeps nothing in memory that a restart would
//! lose: after a crash, a new process calls the same verbs with the same ids.

pub mod chunks;
pub mod daemon;
pub mod docker;
pub mod process;
pub mod registry;
pub mod service_log;
pub mod swarm;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::order::{Order, Secrets};

use crate::image_build::Builder;
use crate::order::{Grants, Here};

use self::docker::DockerExecutor;
use self::process::ProcessExecutor;
use self::registry::Registries;
use self::swarm::SwarmExecutor;

/// What an attempt is started with.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The plan of its job.
    pub job: &'a JobPlan,
    /// For the shim.
    pub order: &'a Order,
    /// For the shim.
    pub secrets: &'a Secrets,
    /// For pulling images.
    pub registries: &'a Registries,
    /// For people.
    pub said: &'a Said,
}

/// Lines for people, told while something takes its time.
#[derive(Debug, Clone)]
pub struct Said(UnboundedSender<String>);

impl Said {
    /// Both ends.
    pub fn channel() -> (Self, UnboundedReceiver<String>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), receiver)
    }

    /// Tells one line.
    pub fn line(&self, line: impl Into<String>) {
        // Nobody listens any more: then nobody misses it.
        self.0.send(line.into()).unwrap_or_default();
    }
}

/// A way to run a job somewhere.
pub trait Executor: Send + Sync {
    /// Its name in the store and on pages: `process`.
    fn name(&self) -> &'static str;

    /// What the steps of an attempt will see of their machine: the order is made of it.
    fn inside(&self, attempt: &AttemptId, job: &JobPlan) -> Inside;

    /// Starts the attempt's shim; tells people about it. Idempotent: an attempt that was
    /// started, by this process or by one that is dead, is not started again, whether it still runs
    /// or has ended.
    fn start<'a>(
        &'a self,
        attempt: &'a AttemptId,
        start: Start<'a>,
    ) -> BoxFuture<'a, Result<(), ExecutorError>>;

    /// Reads the attempt's journal from a byte offset on. Blocking: use it on a thread that may
    /// block.
    ///
    /// # Errors
    /// When there is no journal to read.
    fn follow(
        &self,
        attempt: &AttemptId,
        from_offset: u64,
    ) -> Result<Box<dyn Follower>, ExecutorError>;

    /// Stops the job: TERM to the whole tree, KILL after the order's grace period. Returns when the
    /// shim has heard of it (or is gone), not when the tree is dead: the journal tells that.
    fn stop<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>>;

    /// After the job's end: brings what it left behind (workspace, outputs) to this machine, if the
    /// job promises anything of it; lines for people about its end. Done twice, it does the same.
    fn collect<'a>(
        &'a self,
        attempt: &'a AttemptId,
        job: &'a JobPlan,
    ) -> BoxFuture<'a, Result<Vec<String>, ExecutorError>>;

    /// Removes all that is left of one attempt: stray processes, limits, folders.
    fn remove<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>>;

    /// The attempts of which anything is here: the first half of a sweep. Ask this *before* asking
    /// which attempts live: one that is started between the two questions must not look dead.
    ///
    /// # Errors
    /// When that can't be read.
    fn present(&self) -> BoxFuture<'_, Result<Vec<AttemptId>, ExecutorError>>;

    /// The second half of a sweep, for an attempt that was present and does not live: stops it if
    /// it runs (in its own tidy way; a later sweep finds it again), removes it if it does not. Says
    /// whether it is gone.
    fn discard<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<bool, ExecutorError>>;
}

/// The executors of this server or laptop.
#[derive(Clone)]
pub struct Executors {
    /// For jobs without an image; knows the folders of all attempts on this machine.
    pub process: ProcessExecutor,
    /// For jobs with one.
    pub docker: DockerExecutor,
    /// For jobs with an image, instead of `docker`, if the server is set up for it.
    pub swarm: Option<SwarmExecutor>,
}

impl Executors {
    /// The one that runs this job.
    pub fn of(&self, job: &JobPlan) -> &dyn Executor {
        match &self.swarm {
            _ if job.image.is_none() => &self.process,
            Some(swarm) if job.executor.as_deref() != Some("docker") => swarm,
            _ => &self.docker,
        }
    }

    /// What jobs are refused here for.
    pub fn here(&self, grants: Grants) -> Here {
        Here {
            swarm: self.swarm.is_some(),
            grants,
        }
    }

    /// How images are made here, by our `program`.
    pub fn builder<'a>(
        &'a self,
        program: &'a Path,
        push: Result<(), String>,
        registries: Option<&'a Registries>,
    ) -> Builder<'a> {
        Builder {
            program,
            host: self.docker.host(),
            owner: self.process.owner(),
            root: self.process.root(),
            push,
            registries,
        }
    }

    /// The home folder, on this machine, of what caches of this job name with `~/`.
    pub fn home(&self, attempt: &AttemptId, job: &JobPlan) -> Option<PathBuf> {
        if job.image.is_some() {
            return Some(self.process.home(attempt));
        }
        let mut env = self.process.inside(attempt, job).env;
        env.remove("HOME").map(Into::into)
    }

    /// All of them.
    pub fn all(&self) -> Vec<&dyn Executor> {
        let mut all: Vec<&dyn Executor> = vec![&self.process, &self.docker];
        if let Some(swarm) = &self.swarm {
            all.push(swarm);
        }
        all
    }
}

/// What steps see of the machine that they run on.
#[derive(Debug, Clone)]
pub struct Inside {
    /// Where the workspace is for them.
    pub workspace: PathBuf,
    /// Their `TMPDIR`.
    pub tmp: PathBuf,
    /// Variables of the machine or the executor, below those of the build.
    pub env: BTreeMap<String, String>,
}

/// An attempt's journal, as it grows.
pub trait Follower: Send {
    /// Appends the next bytes to `buf`, waiting for them at most `wait`.
    ///
    /// # Errors
    /// When the journal can't be read.
    fn read(&mut self, buf: &mut Vec<u8>, wait: Duration) -> Result<Followed, ExecutorError>;

    /// After [`Followed::Gone`]: how the shim died, if anything tells.
    fn epitaph(&self) -> Option<String> {
        None
    }
}

/// What [`Follower::read`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Followed {
    /// There are new bytes.
    Bytes,
    /// There was nothing new in the given time; the shim lives.
    Quiet,
    /// There is nothing new and never will be: the shim is dead.
    Gone,
}

/// Why an executor could not do its part. Never the fault of the code that is built.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A file or folder of an attempt.
    #[error("could not {doing} {path}")]
    File {
        /// "write", "read", ...
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The shim did not come up.
    #[error("the shim did not start: {reason}")]
    Shim {
        /// What it said, or how it ended.
        reason: String,
    },
    /// The Docker daemon can't be reached, or its machine has a moment of weakness. It may be back soon.
    #[error("the Docker daemon at {host} {state}: {reason}")]
    DaemonGone {
        /// Its address.
        host: String,
        /// "can't be reached", or what else keeps it from serving us for a moment.
        state: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// What ran the job is gone: a node that went down, a service that somebody removed. The job is as
    /// sound as before.
    #[error("lost: {reason}")]
    Lost {
        /// What happened.
        reason: String,
    },
    /// The Docker daemon refused. Trying again would be refused again.
    #[error("could not {doing}: {message}")]
    Docker {
        /// "pull the image rust:1", ...
        doing: String,
        /// The daemon's words.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl ExecutorError {
    /// Whether trying again soon may help. If not, the attempt ends with this error.
    pub fn is_passing(&self) -> bool {
        !matches!(self, Self::Docker { .. } | Self::Lost { .. })
    }

    /// What the reader can do about it.
    pub fn hint(&self) -> &str {
        match self {
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "the disk of the data folder is full: free some space, then retry the build"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "the server's user must own the data folder and everything in it"
                }
                _ => "look at the data folder; if it is sound, retry the build",
            },
            Self::DaemonGone { .. } => {
                "is dockerd running, and may this user speak to it? `--docker HOST` (or DOCKER_HOST) \
                 names another one"
            }
            Self::Docker { hint, .. } => hint,
            Self::Lost { .. } => {
                "retry the build (`retry: {on: [infrastructure]}` does it by itself, on another node)"
            }
            Self::Shim { .. } => {
                "the data folder must allow programs to run (no `noexec` mount), and the process \
                 limit of the server's user must leave room; then retry the build"
            }
        }
    }
}
