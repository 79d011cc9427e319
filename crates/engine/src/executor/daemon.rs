//! The Docker daemon that an executor speaks to, and what its answers mean.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{Mount, MountType};
use windlass_model::JobPlan;
use windlass_shim::remote::ROOT;

use super::ExecutorError;

/// Where a daemon is looked for if nobody says otherwise.
pub const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// How long the daemon may take to begin an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// The label that says which server something belongs to.
pub(super) const OWNER_LABEL: &str = "windlass.owner";
/// The label that says which attempt.
pub(super) const ATTEMPT_LABEL: &str = "windlass.attempt";
/// The label with the job's name, for people.
pub(super) const JOB_LABEL: &str = "windlass.job";

/// What Docker grants by default and builds don't need: raw sockets (spoofing neighbours), device
/// files, the audit log, file capabilities (a way around no-new-privileges).
pub(super) const DROPPED: &[&str] = &["NET_RAW", "MKNOD", "AUDIT_WRITE", "SETFCAP"];

/// One daemon. Nothing is asked of it before there is something to do.
#[derive(Debug, Clone)]
pub struct Daemon {
    host: String,
    connected: Arc<Mutex<Option<Docker>>>,
}

impl Daemon {
    /// `host` is `unix:///path`, `ssh://user@host` (through the system's `ssh`), or `tcp://host:port`: with
    /// `DOCKER_TLS_VERIFY` set over TLS, with the certificates in `DOCKER_CERT_PATH`, as Docker's own client.
    pub fn new(host: String) -> Self {
        Self {
            host,
            connected: Arc::default(),
        }
    }

    /// Its address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The client for it.
    pub(super) fn docker(&self) -> Result<Docker, ExecutorError> {
        let mut connected = self
            .connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(docker) = &*connected {
            return Ok(docker.clone());
        }
        let docker = Docker::connect_with_host(&self.host)
            .map_err(|e| self.unreachable(&e))?
            .with_timeout(ANSWER_LIMIT);
        *connected = Some(docker.clone());
        Ok(docker)
    }

    pub(super) fn unreachable(&self, error: &Error) -> ExecutorError {
        self.gone(chain(error))
    }

    pub(super) fn gone(&self, reason: String) -> ExecutorError {
        ExecutorError::DaemonGone {
            host: self.host.clone(),
            state: "can't be reached",
            reason,
        }
    }

    /// A machine of it did not start a container for a reason that is over in a moment ([`is_passing`]).
    pub(super) fn stumbled(&self, reason: String) -> ExecutorError {
        ExecutorError::DaemonGone {
            host: self.host.clone(),
            state: "could not start a container now",
            reason,
        }
    }

    /// What the daemon's refusal means.
    pub(super) fn failed(&self, doing: impl Into<String>, error: Error) -> ExecutorError {
        match error {
            Error::DockerResponseServerError {
                status_code,
                message,
            } => {
                let message = message.trim().to_owned();
                if status_code >= 500 && has_no_leader(&message) {
                    return self.gone(message);
                }
                if status_code >= 500 && is_passing(&message) {
                    return self.stumbled(message);
                }
                refused(doing.into(), message)
            }
            error => self.unreachable(&error),
        }
    }
}

/// A Swarm whose managers have lost each other, or are just choosing another leader, answers so.
fn has_no_leader(message: &str) -> bool {
    let has = |text: &str| message.contains(text);
    has("does not have a leader")
        || has("DeadlineExceeded")
        || has("deadline exceeded")
        || has("Unavailable")
        || has("not ready")
        || has("transport is closing")
}

/// Whether a container was not started for a reason of its machine that is over in a moment: a race in the
/// kernel's mounts, a machine without memory or processes to spare. What the image or the job's spec causes is
/// none of these.
pub(super) fn is_passing(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "device or resource busy",
        "resource temporarily unavailable",
        "cannot allocate memory",
        "context deadline exceeded",
        "text file busy",
        "too many open files",
    ]
    .iter()
    .any(|words| message.contains(words))
}

pub(super) fn is_missing(error: &Error) -> bool {
    has_status(error, 404)
}

/// Somebody else has the name.
pub(super) fn is_conflict(error: &Error) -> bool {
    has_status(error, 409)
}

pub(super) fn has_status(error: &Error, wanted: u16) -> bool {
    matches!(error, Error::DockerResponseServerError { status_code, .. } if *status_code == wanted)
}

pub(super) fn refused(doing: String, message: String) -> ExecutorError {
    let has = |text: &str| message.to_lowercase().contains(text);
    let hint = if has("no space left") {
        "the disk of the Docker daemon is full: `docker system df` shows what takes it, \
         `docker system prune` frees what nobody uses"
    } else if has("no such image") {
        "is the image's name right, and is it there? `docker pull` on the daemon's machine shows"
    } else if has("not a swarm manager") {
        "`--executor swarm` needs a manager of the Swarm: name one with `--docker HOST` (`docker node ls` \
         there shows the managers), or make one with `docker swarm init`"
    } else if has("user") {
        "write a user that the image has, or numbers: `user: \"1000:1000\"`"
    } else if has("exec format error") {
        "the image is made for another kind of processor than the daemon's machine has"
    } else {
        "this is what the Docker daemon said; its own log tells more"
    };
    ExecutorError::Docker {
        doing,
        message,
        hint: hint.to_owned(),
    }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        next = cause.source();
    }
    words
}

pub(super) fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|&word| word.to_owned()).collect()
}

/// What of a job is not of its image: folders of the machine, folders in memory, and where the image can't be
/// changed, a place for the workspace.
pub(super) fn mounts(job: &JobPlan) -> Vec<Mount> {
    let binds = job.mounts.iter().map(|mount| Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.from.clone()),
        target: Some(mount.to.clone()),
        read_only: Some(mount.read_only),
        ..Mount::default()
    });
    let tmpfs = job.tmpfs.iter().map(|path| Mount {
        typ: Some(MountType::TMPFS),
        target: Some(path.clone()),
        ..Mount::default()
    });
    // The workspace must be writable: a volume without a name, which goes with the container.
    let own = job.read_only.then(|| Mount {
        typ: Some(MountType::VOLUME),
        target: Some(ROOT.to_owned()),
        ..Mount::default()
    });
    binds.chain(tmpfs).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_s_moment_of_weakness_is_no_fault_of_the_job() {
        // Seen on a node with Docker 20.10.24.
        let busy = "starting container failed: unable to remount dir as readonly: mount \
                    tmpfs:/var/lib/docker/containers/0/mounts/secrets, flags: 0x21: device or resource busy";
        assert!(is_passing(busy));
        for lasting in [
            "starting container failed: OCI runtime create failed: exec: \"x\": executable file not found in $PATH",
            "unable to find user nobody2: no matching entries in passwd file",
            "No such image: x:latest",
            "no space left on device",
            "exec format error",
        ] {
            assert!(!is_passing(lasting), "{lasting}");
        }
    }
}
