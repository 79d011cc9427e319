//! What was said between the lines of a log: by the shim, or by the recorder about damage, limits
//! and the step's end. Pages show notes where they happened; logs hold program output and nothing
//! else.

use serde::{Deserialize, Serialize};
use windlass_model::Outcome;

/// One note, with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Bytes of the log before it.
    pub offset: u64,
    /// Rows of the log before it. If the last of them has no `\n` yet, the note fell into it.
    pub row: u64,
    /// Microseconds since 1970.
    pub time_us: i64,
    /// What kind of note.
    #[serde(flatten)]
    pub kind: NoteKind,
}

/// No step's log has more notes than this (and its end); later ones are dropped with one loud
/// [`NoteKind::TooManyNotes`].
pub const MAX_NOTES: u32 = 1000;
/// The longest text of a note in bytes.
pub const MAX_NOTE_TEXT: usize = 4096;

/// What a note is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoteKind {
    /// The shim's own words about the step.
    Shim {
        /// One line for people. It may repeat words of the job: escape it like output.
        text: String,
    },
    /// The journal has a gap, an unreadable line or a wrong checksum here: output may be missing.
    Damage {
        /// One line for people.
        text: String,
    },
    /// The log has reached its limit: what came after this place was not kept.
    Full {
        /// One line for people, with the limit.
        text: String,
    },
    /// How much was not kept, told at the step's end.
    Dropped {
        /// Output bytes that are not in the log.
        bytes: u64,
    },
    /// More notes came than are kept; told once.
    TooManyNotes,
    /// The step's end, told once: all output that the log will hold is in it.
    Ended(StepEnd),
}

/// How a step ended, as its log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    /// How.
    pub outcome: Outcome,
    /// Output bytes that the shim wrote, or, where its word is missing, that arrived.
    pub output_bytes: u64,
    /// Bytes that the log must hold.
    pub log_bytes: u64,
    /// Output bytes that are not in the log because of its limit.
    pub dropped_bytes: u64,
    /// From the start of the program to its end in microseconds; 0 where nobody knows.
    pub duration_us: u64,
}

impl NoteKind {
    /// One line for people, without markup: escape it like output.
    pub fn text(&self) -> String {
        match self {
            Self::Shim { text } | Self::Damage { text } | Self::Full { text } => text.clone(),
            Self::Dropped { bytes } => {
                format!("{bytes} bytes of output were not kept, because the log was full")
            }
            Self::TooManyNotes => "more notes came than are kept".to_owned(),
            Self::Ended(end) => end.outcome.to_string(),
        }
    }

    /// Whether output may be missing at this place.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Damage { .. } | Self::Full { .. } | Self::Dropped { .. } => true,
            Self::Ended(end) => matches!(end.outcome, Outcome::Lost { .. }),
            Self::Shim { .. } | Self::TooManyNotes => false,
        }
    }
}

/// The notes in a `.notes` file. A last line without `\n` is still being written and is left out;
/// so is a line that can't be read, because a page with the other notes is better than none.
pub(crate) fn parse_notes(bytes: &[u8]) -> Vec<Note> {
    bytes
        .split_inclusive(|b| *b == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect()
}
