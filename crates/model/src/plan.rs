//! The spec after all defaults: data, nothing left to decide.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The job of every spec that has only `steps`.
pub const DEFAULT_JOB: &str = "build";

/// What to do for one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The jobs, in the order of the file. Today there is exactly one.
    pub jobs: Vec<JobPlan>,
}

/// One environment in which steps run in order; the unit of scheduling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Its name, unique in the plan.
    pub name: String,
    /// Variables for all steps.
    pub env: BTreeMap<String, String>,
    /// Names of secrets that the steps get as variables.
    pub secrets: Vec<String>,
    /// The whole job's limit.
    pub timeout: Duration,
    /// How the revision is brought into the workspace.
    pub clone: ClonePlan,
    /// What the job may use.
    pub limits: Limits,
    /// What to run, in order; the first that fails ends the job.
    pub steps: Vec<StepPlan>,
}

/// How the revision is brought into the workspace (spec key `clone`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClonePlan {
    /// How many commits of history; `None` is all of it.
    pub depth: Option<u32>,
    /// Whether submodules are checked out too, recursively.
    pub submodules: bool,
    /// Whether Git LFS files are fetched. Needs `git-lfs` on the machine.
    pub lfs: bool,
}

impl Default for ClonePlan {
    fn default() -> Self {
        Self {
            depth: Some(1),
            submodules: false,
            lfs: false,
        }
    }
}

/// What a job may use. `None` is "no limit of ours".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory for all processes of a step together.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads of a step together.
    pub pids: Option<u64>,
}

/// How a step's output is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// stdout and stderr are one pipe: the order is exactly the order of the writes.
    #[default]
    Merged,
    /// Two pipes: each byte knows its stream; the order between the two is that of our reads.
    Separate,
    /// A pseudo-terminal: one stream, and programs think that a person looks on.
    Tty,
}

/// One command or script; the unit of log, timeout and result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// For people; unique in its job.
    pub name: String,
    /// The program and its arguments, the script being the last. For `shell: sh` it is
    /// `["/bin/sh", "-e", "-c", script]`.
    pub argv: Vec<String>,
    /// What a person would type: shown at the head of the log.
    pub script: String,
    /// Variables on top of the job's.
    pub env: BTreeMap<String, String>,
    /// The step's limit; `None` leaves only the job's.
    pub timeout: Option<Duration>,
    /// How its output is captured.
    pub output: OutputMode,
}
