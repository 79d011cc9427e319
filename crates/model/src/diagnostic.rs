//! What is wrong with a person's file, as data: no rendering here.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Whether a build can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can't.
    Error,
    /// It can, but a person should look.
    Warning,
}

/// One problem in one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// A stable code, `E0101`: the key of the documentation.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where, as bytes of the file; empty when the file as a whole is meant.
    pub span: Range<usize>,
    /// 1-based line of the span's start.
    pub line: usize,
    /// 1-based column (in characters) of the span's start.
    pub column: usize,
    /// What stands under the span: "expected a duration such as 90s".
    pub label: String,
    /// What to do, if we know.
    pub help: Option<String>,
}
