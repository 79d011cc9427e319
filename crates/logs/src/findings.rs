//! What went wrong, first: reads a step's log once, in constant memory, and says which lines tell
//! of errors, warnings and failures, which of them are new, and which one to read first.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | one pass over a log: rows in, findings out | `findings/finder.rs` |
//! | bytes -> rows, and what of a row is looked at | `findings/rows.rs` |
//! | workflow commands in the log: `::error file=…::…` | `findings/commands.rs` |
//! | problem matchers: GitHub's format and what we add to it | `findings/matcher.rs` |
//! | the matchers themselves, a file per family of tools | `findings/matchers` |
//! | words of errors that no tool's format covers; what is no error | `findings/generic.rs` |
//! | lines that a passing run printed, too | [`known`] |
//! | scores, and which failure is the first | `findings/rank.rs` |
//! | the files beside a log | [`sidecar`] |
//!
//! What a program prints decides here what people see first, and nothing else: no finding changes
//! how a build ends.

mod commands;
mod finder;
mod generic;
pub mod known;
mod matcher;
mod rank;
mod rows;
pub mod sidecar;

use serde::{Deserialize, Serialize};

pub use finder::Finder;
pub use known::{Known, Learner, Sketch};
pub use sidecar::{Baseline, find, learn, read};

/// How bad what was found is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth a look.
    Notice,
    /// Something may be wrong.
    Warning,
    /// Something is wrong.
    Error,
}

impl Severity {
    /// The word in JSON and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that a log says. All texts are plain: no control characters, no escape sequences; but
/// a program chose them, so escape them like output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The row that says it best, 1 for the log's first.
    pub line: u64,
    /// The first row that belongs to it.
    pub begin: u64,
    /// The last row that belongs to it.
    pub end: u64,
    /// How bad.
    pub severity: Severity,
    /// Whose format it is: `rustc`, `pytest`, ...; `command` for a workflow command, `words` where
    /// only the words speak of an error.
    pub tool: String,
    /// What it says, in one line of at most [`MAX_TEXT`] characters.
    pub message: String,
    /// The source file, as the tool names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line in that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_line: Option<u64>,
    /// The column in that line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u64>,
    /// The tool's name for this kind of problem: `E0308`, `TS2322`, `no-undef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Whether no passing run printed this line. `None`: there was none to compare with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<bool>,
    /// How much it looks like the reason of the failure; see the table in `findings/rank.rs`.
    pub score: i32,
    /// Where that score comes from, for people.
    pub why: String,
}

impl Finding {
    /// `src/lib.rs:10:5`, if a file is known.
    pub fn place(&self) -> Option<String> {
        let mut place = self.file.clone()?;
        let numbers = [self.file_line, self.file_line.and(self.column)];
        for number in numbers.into_iter().flatten() {
            place.push_str(&format!(":{number}"));
        }
        Some(place)
    }

    /// Place and message in one line: `src/lib.rs:10:5: mismatched types`.
    pub fn quote(&self) -> String {
        match self.place() {
            // A message that names the place itself needs it only once.
            Some(place) if !self.message.starts_with(&place) => {
                format!("{place}: {}", self.message)
            }
            _ => self.message.clone(),
        }
    }
}

/// The longest text of a finding, in characters.
pub const MAX_TEXT: usize = 400;

/// A row as plain text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, 1 for the log's first.
    pub n: u64,
    /// Its text, cut where it is very long.
    pub text: String,
}

/// Which lines are new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Novelty {
    /// The runs that it was compared with, the newest first: `build 41`.
    pub against: Vec<String>,
    /// How many rows none of them printed.
    pub rows: u64,
    /// Those rows: first and last, both included.
    pub ranges: Vec<(u64, u64)>,
    /// There are more than `ranges` holds.
    pub more: bool,
}

/// Everything that was found in one step's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The format of this document.
    pub version: u32,
    /// Rows that were read.
    pub rows: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// `false`: reading was given up because it took too long; the rest was not looked at.
    pub complete: bool,
    /// How many errors there are, without what only follows from one or repeats it. `findings` may
    /// hold fewer.
    pub errors: u64,
    /// How many warnings.
    pub warnings: u64,
    /// How many notices.
    pub notices: u64,
    /// Which of `findings` to read first.
    pub first: Option<usize>,
    /// What was found, in the order of the rows.
    pub findings: Vec<Finding>,
    /// The first failure with some rows around it.
    pub excerpt: Vec<Line>,
    /// The last rows that are not blank.
    pub last_words: Vec<Line>,
    /// What is new; `None` if there was nothing to compare with.
    pub novelty: Option<Novelty>,
}

impl Findings {
    /// The failure to read first.
    pub fn first(&self) -> Option<&Finding> {
        self.findings.get(self.first?)
    }
}
