//! Journal bytes -> log files, index, notes and events.

use std::path::Path;

use windlass_model::Outcome;
use windlass_shim::journal::Position;

use crate::error::Result;

/// How much one step's log may hold. Reaching it never changes the job's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecorderLimits {
    /// Bytes of `<step>.log`; the default is 1 GiB.
    pub log_bytes: u64,
    /// Rows of the index; the default is 50 million (a log of empty lines needs 16 times its own
    /// size for the index).
    pub rows: u64,
}

impl Default for RecorderLimits {
    fn default() -> Self {
        Self {
            log_bytes: 1 << 30,
            rows: 50_000_000,
        }
    }
}

/// What the journal said, apart from output. All times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    /// The shim runs.
    JobStarted {
        /// When.
        time_us: i64,
        /// What enforces the limits, or why nothing does; for people.
        limits: String,
        /// The shim's process id.
        pid: u32,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: u32,
        /// When.
        time_us: i64,
    },
    /// A step ended, or will never run.
    StepEnded {
        /// Which.
        step: u32,
        /// When.
        time_us: i64,
        /// How.
        outcome: Outcome,
        /// From the start of the program to its end; 0 where nobody knows.
        duration_us: u64,
        /// Output bytes that the step wrote.
        output_bytes: u64,
        /// Processes that the step left behind and that were stopped.
        leftovers: u32,
    },
    /// The shim is done.
    JobEnded {
        /// When.
        time_us: i64,
    },
    /// The journal is damaged; a note in the step's log says so, too.
    Damage {
        /// The step whose log has the note.
        step: u32,
        /// When it was noticed, by the journal's clock.
        time_us: i64,
        /// One line for people.
        text: String,
    },
}

/// Records one attempt: takes journal bytes in any pieces, appends to the files in the attempt's
/// folder, and hands out events.
///
/// # Crashes
/// The recorder may be killed at any moment. [`Recorder::open`] goes on from the last checkpoint;
/// what was recorded after it is taken back and derived again from the journal, to the same bytes
/// at the same offsets. Events are handed out *at least once*: after their bytes are in the files,
/// and again after a crash, unless [`Recorder::confirm`] was called. So the caller's handling must
/// be idempotent.
///
/// The loop: `push`, store the events, `confirm`, wake the viewers.
#[derive(Debug)]
pub struct Recorder {}

impl Recorder {
    /// Opens with the default [`RecorderLimits`]; see [`Recorder::open_with`].
    ///
    /// # Errors
    /// As [`Recorder::open_with`].
    pub fn open(dir: &Path) -> Result<Self> {
        Self::open_with(dir, RecorderLimits::default())
    }

    /// Creates `dir`, or goes on with what is there. If the files do not fit the checkpoint (power
    /// loss), recording starts over: [`Recorder::position`] is then 0.
    ///
    /// # Errors
    /// I/O; [`crate::LogError::InUse`] while another recorder has the folder.
    pub fn open_with(_dir: &Path, _limits: RecorderLimits) -> Result<Self> {
        unimplemented!()
    }

    /// Where to read the journal on: the next byte for [`Recorder::push`] is the one at
    /// `position().offset`. (Bytes of an unfinished line that were pushed already are not counted:
    /// this is for a new start, not for between two pushes.)
    pub fn position(&self) -> Position {
        unimplemented!()
    }

    /// Takes the next bytes of the journal, writes what they hold to the files, and returns what
    /// happened, in order.
    ///
    /// # Errors
    /// I/O. After an error this recorder takes no more; open a new one.
    pub fn push(&mut self, _bytes: &[u8]) -> Result<Vec<LogEvent>> {
        unimplemented!()
    }

    /// Says that all events so far are stored by the caller and need not be seen again. Writes a
    /// checkpoint if one is due.
    ///
    /// # Errors
    /// I/O. After an error this recorder takes no more; open a new one.
    pub fn confirm(&mut self) -> Result<()> {
        unimplemented!()
    }

    /// Ends the job of a shim that died: the running step's log gets a visible end, and the
    /// returned events say [`Outcome::Lost`]. Nothing happens if the job has ended already.
    ///
    /// # Errors
    /// I/O. After an error this recorder takes no more; open a new one.
    pub fn lost(&mut self, _reason: &str) -> Result<Vec<LogEvent>> {
        unimplemented!()
    }

    /// Whether the journal's last record was seen, or the job was declared lost.
    pub fn is_ended(&self) -> bool {
        unimplemented!()
    }
}
