//! What the shim is told: one folder per attempt, and the JSON document in it.
//!
//! | file | who writes it | what it is |
//! | --- | --- | --- |
//! | `order.json` | executor | the [`Order`]; holds no secret value |
//! | `secrets.json` | executor, mode 0600 | the [`Secrets`]; the shim reads and removes it |
//! | `lock` | shim | held with `flock` as long as the shim lives |
//! | `journal` | shim | see [`crate::journal`]; made only after the lock is held |
//! | `control` | shim | a FIFO; one command per line, [`CANCEL`] |
//! | `shim.log` | executor | the shim's own stderr; empty unless the shim itself is broken |
//!
//! The order of the shim's first steps makes a start idempotent: lock (or leave quietly: another
//! shim has this attempt), then refuse if there is a journal (it ran already), then read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The version of [`Order`] that this shim understands.
pub const ORDER_VERSION: u32 = 1;
/// File name of the order.
pub const ORDER_FILE: &str = "order.json";
/// File name of the secrets.
pub const SECRETS_FILE: &str = "secrets.json";
/// File name of the lock.
pub const LOCK_FILE: &str = "lock";
/// File name of the journal.
pub const JOURNAL_FILE: &str = "journal";
/// File name of the control FIFO.
pub const CONTROL_FILE: &str = "control";
/// File name of the shim's own stderr.
pub const SHIM_LOG_FILE: &str = "shim.log";
/// The shim's verb for a container: the journal goes to standard output, which the container's
/// engine keeps. The file [`JOURNAL_FILE`] is then made too, but stays empty: it marks the attempt as
/// taken.
pub const STREAM: &str = "stream";
/// The shim's verb that only tries to connect to an address, `HOST:PORT`: 0 if that works. For services,
/// whose images need no tool for it.
pub const PROBE: &str = "probe";
/// The control command that stops the job: TERM to the whole tree, KILL after the grace period.
pub const CANCEL: &str = "cancel";
/// The variable that every process of an attempt carries, so that a sweep finds strays.
pub const ATTEMPT_VARIABLE: &str = "WINDLASS_ATTEMPT";
/// The shim's exit code when another shim has, or had, this attempt: nothing was done.
pub const EXIT_ALREADY_TAKEN: i32 = 3;

/// Everything that a shim must know, except secret values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// [`ORDER_VERSION`].
    pub version: u32,
    /// The attempt's id: `[a-z0-9-]`, names the cgroup and marks the processes.
    pub attempt: String,
    /// The folder in which the steps run. Absolute.
    pub workspace: PathBuf,
    /// The steps' environment, apart from secrets and the step's own variables.
    pub env: BTreeMap<String, String>,
    /// Whether the steps have the shim's own variables too, below all others: in a container they
    /// are the image's. Otherwise nothing is inherited.
    #[serde(default, skip_serializing_if = "is_false")]
    pub inherit_env: bool,
    /// The whole job's limit in milliseconds, counted by the shim from its start.
    pub timeout_ms: Option<u64>,
    /// How long a tree has between TERM and KILL.
    pub grace_ms: u64,
    /// What the steps may use.
    pub limits: Limits,
    /// How much output of each step is kept; orders of older releases have no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<OutputLimit>,
    /// What to run, in order. The first step that fails ends the job; the rest is skipped. Steps
    /// in the background run until the last of the others is over.
    pub steps: Vec<StepOrder>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Limits for all processes of one step together, enforced by a cgroup where the system allows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Thousandths of a processor. Orders of older releases don't have it.
    #[serde(default)]
    pub cpu_millis: Option<u64>,
}

/// How much output of one step is kept: its head, and of the rest its tail. Reaching it never changes the
/// step's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputLimit {
    /// Bytes of both together.
    pub bytes: u64,
    /// Bytes of the tail, which the shim holds in memory until the step is over.
    pub tail_bytes: u64,
}

/// One command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepOrder {
    /// Program and arguments. A program without a slash is looked up in the order's `PATH`.
    pub argv: Vec<String>,
    /// Variables on top of [`Order::env`].
    pub env: BTreeMap<String, String>,
    /// The step's limit in milliseconds.
    pub timeout_ms: Option<u64>,
    /// How the output is captured.
    pub output: OutputMode,
    /// The folder in which it runs, below the workspace, if not the workspace itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<PathBuf>,
    /// It never runs, and why: the plan left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<String>,
    /// How the steps before must have ended.
    #[serde(default)]
    pub when: When,
    /// The exit codes that count as success; empty is 0 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<i32>,
    /// It runs beside the steps that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Background>,
}

/// How a step runs beside those that follow. Its [`StepOrder::timeout_ms`] is for its whole life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Background {
    /// The next step begins when this holds; `None` is at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

/// How one sees that a step can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What is checked, again and again.
    pub check: Check,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// What is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Something accepts TCP connections on this port of 127.0.0.1.
    Port(u16),
    /// This program, run as the step is, exits with 0.
    Run(Vec<String>),
    /// A line of the step's output contains this text.
    Output(String),
}

/// How the steps before must have ended for a step to run. Nothing runs after a cancel or the
/// job's timeout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// All well.
    #[default]
    Success,
    /// At least one badly.
    Failure,
    /// In any way.
    Always,
}

/// How a step's output is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// stdout and stderr are one pipe: the order is exactly the order of the writes.
    #[default]
    Merged,
    /// Two pipes: each byte knows its stream.
    Separate,
    /// A pseudo-terminal, 160 columns by 100 rows, that leaves `\n` as it is.
    Tty,
}

/// Secret values, read once and removed from the disk by the shim.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// Variables for the steps; their values are masked in all output.
    pub env: BTreeMap<String, String>,
    /// Further values to mask (such as the credentials of the checkout).
    pub mask: Vec<String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secrets")
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}
