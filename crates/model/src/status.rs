//! What the forge is told about a commit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;

/// The four states of GitHub's commit status API (REST reference, "Create a commit status").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusState {
    /// Queued or running.
    Pending,
    /// Passed.
    Success,
    /// The code failed.
    Failure,
    /// We failed, or a person cancelled.
    Error,
}

impl StatusState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for StatusState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StatusState {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        [Self::Pending, Self::Success, Self::Failure, Self::Error]
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| InvalidId {
                what: "status state",
                given: s.to_owned(),
                rule: "use pending, success, failure or error",
            })
    }
}

/// One message to a forge: the state of one context on one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitStatus {
    /// The commit.
    pub revision: String,
    /// Which check this is, `windlass`. The forge keeps the newest per commit and context.
    pub context: String,
    /// How it stands.
    pub state: StatusState,
    /// One line for people. GitHub takes at most 140 characters.
    pub description: String,
    /// The page that the description links to.
    pub target_url: Option<String>,
}
