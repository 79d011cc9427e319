//! After the job's end: checks, compresses and closes its logs.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::note::{Note, StepEnd};

/// A sealed log's figures: the contents of `<step>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMeta {
    /// The format of this file and of the files beside it: 1.
    pub version: u32,
    /// Bytes of the log.
    pub bytes: u64,
    /// Rows of the log.
    pub rows: u64,
    /// SHA-256 of the log's bytes, in hex.
    pub sha256: String,
    /// Bytes on the disk, log and index together.
    pub stored_bytes: u64,
    /// Microseconds since 1970 of the first row; `None` for an empty log.
    pub first_us: Option<i64>,
    /// Microseconds since 1970 of the last row; `None` for an empty log.
    pub last_us: Option<i64>,
    /// The step's end, if it was seen.
    pub end: Option<StepEnd>,
    /// The notes about missing output; empty for a whole log.
    pub losses: Vec<Note>,
}

/// One step's sealed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedStep {
    /// The step.
    pub step: u32,
    /// Its figures.
    pub meta: LogMeta,
}

/// Seals all logs in the attempt's folder, in the order of the steps. A crash at any point leaves
/// readable logs, and sealing again finishes the work; sealing what is sealed does nothing.
///
/// # Errors
/// I/O; [`crate::LogError::InUse`] while a recorder has the folder (drop it first);
/// [`crate::LogError::Length`] if a log does not hold what was recorded (open a recorder, push the
/// rest of the journal, and seal again).
pub fn seal(_dir: &Path) -> Result<Vec<SealedStep>> {
    unimplemented!()
}
