//! What the state of a task means for an attempt. Pure.

use bollard::models::{Task, TaskState};

use crate::executor::daemon::is_passing;

/// Where an attempt's task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing<'a> {
    /// No node has it yet; the scheduler's reason, if it has told one.
    Waiting(Option<&'a str>),
    /// A node fetches the image and makes the container.
    Preparing {
        /// Its id.
        node: &'a str,
    },
    /// The container runs.
    Running {
        /// The node's id.
        node: &'a str,
    },
    /// It came to an end of its own.
    Ended(End<'a>),
    /// Swarm wants it gone, and we did not ask for that: the node is down or drained.
    Lost {
        /// The node's id, if it had one.
        node: Option<&'a str>,
        /// Whether it still seems to run there.
        runs: bool,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End<'a> {
    /// Whether a container ever ran.
    pub(super) ran: bool,
    /// Its exit code.
    pub(super) code: Option<i64>,
    /// Swarm's words.
    pub(super) error: &'a str,
}

impl End<'_> {
    /// Whether the node could not start the container, for a reason that is not the job's.
    pub(super) fn is_passing(&self) -> bool {
        is_passing(self.error)
    }
}

impl std::fmt::Display for End<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.error) {
            (Some(137), _) => f.write_str(
                "its container was killed (exit code 137): was its memory used up (`limits.memory`), or \
                 did somebody run `docker kill`?",
            ),
            (Some(code), "") => write!(f, "its container ended (exit code {code})"),
            (Some(code), error) => write!(f, "its container ended (exit code {code}, {error})"),
            (None, "") => f.write_str("its task ended"),
            (None, error) => write!(f, "its task ended: {error}"),
        }
    }
}

impl<'a> Standing<'a> {
    pub(super) fn of(task: &'a Task) -> Self {
        use TaskState as S;
        let status = task.status.as_ref();
        let state = status.and_then(|s| s.state).unwrap_or(S::NEW);
        let node = task.node_id.as_deref().filter(|id| !id.is_empty());
        let error = status.and_then(|s| s.err.as_deref()).unwrap_or_default();
        let code = status
            .and_then(|s| s.container_status.as_ref())
            .and_then(|c| c.exit_code);
        match state {
            S::COMPLETE | S::FAILED | S::REJECTED => {
                return Self::Ended(End {
                    ran: state != S::REJECTED,
                    code: code.filter(|_| state != S::REJECTED),
                    error: error.trim(),
                });
            }
            S::SHUTDOWN | S::ORPHANED | S::REMOVE => return Self::Lost { node, runs: false },
            _ => {}
        }
        if matches!(
            task.desired_state,
            Some(S::SHUTDOWN | S::REMOVE | S::ORPHANED)
        ) {
            let runs = state == S::RUNNING;
            return Self::Lost { node, runs };
        }
        match (state, node) {
            (S::RUNNING, Some(node)) => Self::Running { node },
            (S::NEW | S::ALLOCATED | S::PENDING, _) | (_, None) => {
                Self::Waiting(Some(error.trim()).filter(|e| !e.is_empty()))
            }
            (_, Some(node)) => Self::Preparing { node },
        }
    }
}

/// Whether what a job waits for is a node with enough left, and not one that there is none of: then
/// it keeps its turn, and nobody overtakes it.
pub(super) fn waits_for_capacity(reason: &str) -> bool {
    reason.contains("insufficient resources") && !reason.contains("constraints")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::{ContainerStatus, TaskStatus};

    fn task(state: TaskState, desired: TaskState, node: &str, err: &str, code: i64) -> Task {
        Task {
            node_id: Some(node.to_owned()),
            desired_state: Some(desired),
            status: Some(TaskStatus {
                state: Some(state),
                err: Some(err.to_owned()),
                container_status: Some(ContainerStatus {
                    exit_code: Some(code),
                    ..ContainerStatus::default()
                }),
                ..TaskStatus::default()
            }),
            ..Task::default()
        }
    }

    #[test]
    fn states_mean_what_the_lab_found() {
        use TaskState as S;
        // `../shared/research/swarm-lab.md`, "Node loss" and "Exit data".
        let down = task(S::RUNNING, S::SHUTDOWN, "n", "", 0);
        let lost = Standing::of(&down);
        assert_eq!(
            lost,
            Standing::Lost {
                node: Some("n"),
                runs: true
            }
        );
        let done = task(S::COMPLETE, S::SHUTDOWN, "n", "", 0);
        assert!(matches!(Standing::of(&done), Standing::Ended(end) if end.code == Some(0)));
        let full = "no suitable node (insufficient resources on 3 nodes)";
        let pending = task(S::PENDING, S::RUNNING, "", full, 0);
        assert_eq!(Standing::of(&pending), Standing::Waiting(Some(full)));
        assert!(waits_for_capacity(full));
        assert!(!waits_for_capacity(
            "no suitable node (scheduling constraints not satisfied on 3 nodes)"
        ));
        let image = task(S::REJECTED, S::SHUTDOWN, "n", "No such image: x", 0);
        let Standing::Ended(end) = Standing::of(&image) else {
            panic!("a rejected task is over");
        };
        assert_eq!((end.ran, end.code), (false, None));
        assert!(end.to_string().contains("No such image: x"), "{end}");
        let drained = task(S::SHUTDOWN, S::SHUTDOWN, "n", "", 0);
        assert!(matches!(
            Standing::of(&drained),
            Standing::Lost { runs: false, .. }
        ));
        let fetching = task(S::PREPARING, S::RUNNING, "n", "", 0);
        assert_eq!(Standing::of(&fetching), Standing::Preparing { node: "n" });
    }
}
