//! Journal bytes -> log files, index, notes and events.
//!
//! | part | what it does |
//! | --- | --- |
//! | here | when something is written, confirmed, checkpointed |
//! | `derive` | what each journal record means |
//! | `step_writer` | one step's bytes -> rows, files, the limit |
//! | `checkpoint` | what survives a crash, and whether the files still fit it |

mod checkpoint;
mod derive;
mod step_writer;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use windlass_model::Outcome;
use windlass_shim::journal::{Decoder, Position};

use self::derive::Derivation;
use crate::error::{Doing as _, LogError, Result};
use crate::folder;

/// A checkpoint is due this long after the one before it ...
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// ... or after this many bytes of the journal. What was recorded since is derived again after a
/// crash, so this is the work of some milliseconds.
const CHECKPOINT_BYTES: u64 = 4 << 20;

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
pub struct Recorder {
    dir: PathBuf,
    decoder: Decoder,
    derivation: Derivation,
    checkpointed: Instant,
    /// Bytes of the journal since the last checkpoint.
    since: u64,
    /// A step or the job ended: the next checkpoint is worth writing at once.
    milestone: bool,
    /// Events were handed out that the caller has not confirmed: no checkpoint may pass them.
    unconfirmed: bool,
    failed: Option<String>,
    /// Held as long as the recorder lives.
    _lock: folder::FolderLock,
}

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
    /// I/O; [`LogError::InUse`] while another recorder has the folder; [`LogError::Sealed`] if
    /// recording would have to start over and a log is sealed already.
    pub fn open_with(dir: &Path, limits: RecorderLimits) -> Result<Self> {
        fs::create_dir_all(dir).doing("create", dir)?;
        let lock = folder::lock(dir)?;
        let state = checkpoint::recover(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            decoder: Decoder::at(state.position),
            derivation: Derivation::new(dir, limits, state),
            checkpointed: Instant::now(),
            since: 0,
            milestone: false,
            unconfirmed: false,
            failed: None,
            _lock: lock,
        })
    }

    /// Where to read the journal on: the next byte for [`Recorder::push`] is the one at
    /// `position().offset`. (Bytes of an unfinished line that were pushed already are not counted:
    /// this is for a new start, not for between two pushes.)
    pub fn position(&self) -> Position {
        self.decoder.position()
    }

    /// Takes the next bytes of the journal, writes what they hold to the files, and returns what
    /// happened, in order.
    ///
    /// # Errors
    /// I/O. After an error this recorder takes no more; open a new one.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<LogEvent>> {
        self.check_open()?;
        if self.derivation.is_lost() {
            return Err(self.closed("the job was declared lost"));
        }
        let derivation = &mut self.derivation;
        let mut result = Ok(());
        self.decoder.push(bytes, |entry, position| {
            if result.is_ok() {
                result = derivation.take(entry, position);
            }
        });
        self.since += bytes.len() as u64;
        let events = result.and_then(|()| self.derivation.flush());
        let events = self.guard(events)?;
        self.hand_out(events)
    }

    /// Says that all events so far are stored by the caller and need not be seen again. Writes a
    /// checkpoint if one is due.
    ///
    /// # Errors
    /// I/O. After an error this recorder takes no more; open a new one.
    pub fn confirm(&mut self) -> Result<()> {
        self.check_open()?;
        self.unconfirmed = false;
        self.checkpoint_if_due()
    }

    /// Ends the job of a shim that died: the running step's log gets a visible end, and its
    /// [`LogEvent::StepEnded`] says [`Outcome::Lost`]. If no step was running, the last one's log
    /// gets a note, and there is no event. Nothing happens if the job has ended already.
    ///
    /// # Errors
    /// I/O. After an error this recorder takes no more; open a new one.
    pub fn lost(&mut self, reason: &str) -> Result<Vec<LogEvent>> {
        self.check_open()?;
        let events = self
            .derivation
            .lose(reason)
            .and_then(|()| self.derivation.flush());
        let events = self.guard(events)?;
        self.milestone = true;
        self.hand_out(events)
    }

    /// Whether the journal's last record was seen, or the job was declared lost.
    pub fn is_ended(&self) -> bool {
        self.derivation.is_ended()
    }

    fn hand_out(&mut self, events: Vec<LogEvent>) -> Result<Vec<LogEvent>> {
        self.milestone |= events
            .iter()
            .any(|e| matches!(e, LogEvent::StepEnded { .. } | LogEvent::JobEnded { .. }));
        self.unconfirmed |= !events.is_empty();
        self.checkpoint_if_due()?;
        Ok(events)
    }

    fn checkpoint_if_due(&mut self) -> Result<()> {
        let due = self.milestone
            || self.since >= CHECKPOINT_BYTES
            || self.since > 0 && self.checkpointed.elapsed() >= CHECKPOINT_EVERY;
        if self.unconfirmed || !due {
            return Ok(());
        }
        let written = checkpoint::write(&self.dir, self.derivation.state());
        self.guard(written)?;
        self.checkpointed = Instant::now();
        self.since = 0;
        self.milestone = false;
        Ok(())
    }

    /// After an error the files may be ahead of, or behind, what is known here: only a new start
    /// from the checkpoint puts that right.
    fn guard<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result {
            self.failed = Some(format!("it failed before: {error}"));
        }
        result
    }

    fn check_open(&self) -> Result<()> {
        match &self.failed {
            Some(reason) => Err(self.closed(reason)),
            None => Ok(()),
        }
    }

    fn closed(&self, reason: &str) -> LogError {
        LogError::Closed {
            dir: self.dir.clone(),
            reason: reason.to_owned(),
        }
    }
}
