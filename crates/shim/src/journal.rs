//! The journal: the one ordered stream that a shim writes, and everybody else reads.
//!
//! It is text, one record per line, valid UTF-8, at most [`MAX_LINE`] bytes per line (a container
//! engine's log driver mangles anything else). Output is byte-exact after decoding.
//!
//! ```text
//! <sequence> <microseconds since 1970> <kind> <rest>\n
//!
//! 0 1764000000000000 J {"version":1,"attempt":"a17","pid":812,"limits":"cgroup v1: memory, pids"}
//! 1 1764000000000100 S 0
//! 2 1764000000000900 O 0 m hello\n\x1b[1mworld\x1b[0m\xff
//! 3 1764000000001000 N 0 2 processes were left running and were stopped
//! 4 1764000000001100 X 0 {"result":"exited","code":0,...}
//! 5 1764000000001200 E {"records":5,"output_bytes":20,"crc32":12345}
//! ```
//!
//! `S 0 background` begins a step that runs beside the following ones: their records come between
//! its own. Of all other steps only one runs at a time.
//!
//! The sequence starts at 0 and has no holes; times never go back. In output, `\` is written `\\`,
//! newline `\n`, carriage return `\r`, and every other control character (except tab and ESC) and
//! every byte that is not valid UTF-8 as `\xHH`. The last record counts the records before it and
//! holds the CRC-32 of all bytes before its line: whoever has read everything can prove it.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

pub use decode::{Damage, Decoder, Position, parse_line, unescape};
pub use encode::Encoder;

/// The longest line, with its newline. Docker's log drivers split at 16 KiB.
pub const MAX_LINE: usize = 16 * 1024;

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// stdout and stderr in one pipe, or a terminal.
    Merged,
    /// stdout alone.
    Stdout,
    /// stderr alone.
    Stderr,
}

impl Stream {
    /// The letter on the wire.
    pub fn letter(self) -> char {
        match self {
            Self::Merged => 'm',
            Self::Stdout => 'o',
            Self::Stderr => 'e',
        }
    }

    pub(super) fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "m" => Some(Self::Merged),
            "o" => Some(Self::Stdout),
            "e" => Some(Self::Stderr),
            _ => None,
        }
    }
}

/// The first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStarted {
    /// The journal's format: 1.
    pub version: u32,
    /// The attempt's id, from the order.
    pub attempt: String,
    /// The shim's process id, for people who look around on the machine.
    pub pid: u32,
    /// What enforces the limits, or why nothing does; for people.
    pub limits: String,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum StepResult {
    /// By itself.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// By itself, with a code that the step's `expect` names.
    AsExpected {
        /// 0 to 255.
        code: i32,
    },
    /// By itself, with a code that the step's `expect` does not name.
    Unexpected {
        /// 0 to 255.
        code: i32,
    },
    /// By a signal that we did not send.
    Signaled {
        /// As in signal(7).
        signal: i32,
    },
    /// By the kernel, because the memory limit was reached.
    OutOfMemory {
        /// The order's limit.
        limit_bytes: Option<u64>,
    },
    /// By the step's own time limit.
    StepTimeout,
    /// By the job's time limit.
    JobTimeout,
    /// By a `cancel` on the control FIFO.
    Cancelled,
    /// A background step, by us, because the steps that it served are over: its good end.
    JobOver,
    /// A background step, by us, because it was not ready in its time.
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
    /// It never ran, because its condition left it out: no failure.
    NotNeeded {
        /// Which condition.
        reason: String,
    },
}

impl StepResult {
    /// Whether the job goes on as if all were well.
    pub fn is_success(&self) -> bool {
        matches!(
            self,
            Self::Exited { code: 0 }
                | Self::AsExpected { .. }
                | Self::JobOver
                | Self::NotNeeded { .. }
        )
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// A step's last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnded {
    /// How.
    #[serde(flatten)]
    pub result: StepResult,
    /// Output bytes of this step, decoded and masked: what its log must hold.
    pub output_bytes: u64,
    /// Output bytes that were left out because of the order's limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_bytes: u64,
    /// From the start of the program to its end, by a clock that does not jump.
    pub duration_us: u64,
    /// Processes that the step left behind and that we stopped.
    pub leftovers: u32,
}

/// The last record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnded {
    /// Records before this one: its own sequence number.
    pub records: u64,
    /// Output bytes of all steps.
    pub output_bytes: u64,
    /// CRC-32 (IEEE) of all bytes of the journal before this line.
    pub crc32: u32,
}

/// One line, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// `J`
    JobStarted(JobStarted),
    /// `S`
    StepStarted {
        /// Index into the order's steps.
        step: u32,
        /// It runs beside the steps that follow.
        background: bool,
    },
    /// `O`
    Output {
        /// Index into the order's steps.
        step: u32,
        /// Where the bytes came from.
        stream: Stream,
        /// The bytes, as the program wrote them, secrets masked.
        bytes: Cow<'a, [u8]>,
    },
    /// `N`: the shim's own words about a step.
    Note {
        /// Index into the order's steps.
        step: u32,
        /// One line for people.
        text: String,
    },
    /// `X`
    StepEnded {
        /// Index into the order's steps.
        step: u32,
        /// How.
        end: StepEnded,
    },
    /// `E`
    JobEnded(JobEnded),
}

/// A record with its place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// 0, 1, 2, ... without holes.
    pub seq: u64,
    /// Microseconds since 1970-01-01 UTC, never going back within a journal.
    pub time_us: i64,
    /// What happened.
    pub record: Record<'a>,
}

/// A line that is not a journal record: a damaged carrier, never a person's fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What was expected.
    pub reason: String,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "damaged journal line: {}", self.reason)
    }
}

impl std::error::Error for Malformed {}
