//! How a step or a job ended. A step that exits with 1 is normal data, not an error of ours.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why somebody ended a job from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// The step's own limit.
    StepTimeout,
    /// The job's limit.
    JobTimeout,
    /// A person, or a newer build.
    Cancelled,
    /// The steps that a background step served are over: its good end.
    JobOver,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// It ended by itself with this exit code.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// It ended by itself with an exit code that the step's `expect` names.
    AsExpected {
        /// 0 to 255.
        code: i32,
    },
    /// It ended by itself with an exit code that the step's `expect` does not name.
    Unexpected {
        /// 0 to 255.
        code: i32,
    },
    /// A signal ended it that we did not send.
    Signaled {
        /// The number, as in signal(7).
        signal: i32,
    },
    /// The kernel killed it because its memory limit was reached.
    OutOfMemory {
        /// The limit, if it was ours.
        limit_bytes: Option<u64>,
    },
    /// We stopped it.
    Stopped {
        /// Why.
        cause: StopCause,
    },
    /// It was to run in the background, and we stopped it because it was not ready in its time.
    NotReady {
        /// Which check failed, and for how long.
        reason: String,
    },
    /// It never ran: the program could not be started.
    NotStarted {
        /// The system's words.
        reason: String,
    },
    /// It never ran, because an earlier step failed or the job was stopped.
    Skipped,
    /// It never ran, because its `when` left it out. That is no failure.
    NotNeeded {
        /// Which condition, and why it doesn't hold.
        reason: String,
    },
    /// The shim was killed or the machine went down; what happened after its last record is
    /// unknown.
    Lost {
        /// What we know.
        reason: String,
    },
}

impl Outcome {
    /// Whether the job may go on.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Self::Exited { code: 0 }
                | Self::AsExpected { .. }
                | Self::NotNeeded { .. }
                | Self::Stopped {
                    cause: StopCause::JobOver
                }
        )
    }
}

/// The signal's name, as `kill -l` says it.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}

impl fmt::Display for Outcome {
    /// What a person reads behind the step's name: `exit code 2`, `killed by SIGSEGV`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code: 0 } => f.write_str("passed"),
            Self::Exited { code } => write!(f, "exit code {code}"),
            Self::AsExpected { code } => write!(f, "exit code {code}, as expected"),
            Self::Unexpected { code } => write!(f, "exit code {code}, which was not expected"),
            Self::Signaled { signal } => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::OutOfMemory {
                limit_bytes: Some(n),
            } => {
                write!(f, "out of memory (limit {} MiB)", n / (1 << 20))
            }
            Self::OutOfMemory { limit_bytes: None } => f.write_str("out of memory"),
            Self::Stopped {
                cause: StopCause::StepTimeout,
            } => f.write_str("timed out"),
            Self::Stopped {
                cause: StopCause::JobTimeout,
            } => f.write_str("job timed out"),
            Self::Stopped {
                cause: StopCause::Cancelled,
            } => f.write_str("cancelled"),
            Self::Stopped {
                cause: StopCause::JobOver,
            } => f.write_str("stopped at the end"),
            Self::NotNeeded { reason } => write!(f, "left out: {reason}"),
            Self::NotReady { reason } => write!(f, "not ready: {reason}"),
            Self::NotStarted { reason } => write!(f, "could not start: {reason}"),
            Self::Skipped => f.write_str("skipped"),
            Self::Lost { reason } => write!(f, "lost: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exit_code_zero_is_success() {
        assert!(Outcome::Exited { code: 0 }.is_success());
        let over = StopCause::JobOver;
        assert!(Outcome::Stopped { cause: over }.is_success());
        for bad in [
            Outcome::Exited { code: 1 },
            Outcome::Signaled { signal: 9 },
            Outcome::Skipped,
            Outcome::Stopped {
                cause: StopCause::StepTimeout,
            },
        ] {
            assert!(!bad.is_success(), "{bad}");
        }
    }

    #[test]
    fn the_words_name_the_cause() {
        assert_eq!(
            Outcome::Signaled { signal: 11 }.to_string(),
            "killed by SIGSEGV"
        );
        assert_eq!(
            Outcome::Signaled { signal: 40 }.to_string(),
            "killed by signal 40"
        );
        assert_eq!(
            Outcome::OutOfMemory {
                limit_bytes: Some(64 << 20)
            }
            .to_string(),
            "out of memory (limit 64 MiB)"
        );
    }
}
