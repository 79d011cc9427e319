//! Which states a build may take, and which may follow which. Pure: the store asks before it
//! writes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;

/// How far a build (or its current attempt) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    /// Waits for a slot.
    Queued,
    /// A worker has it: fetching, planning or running.
    Running,
    /// Every step ended as expected.
    Passed,
    /// A step did not.
    Failed,
    /// We, the spec or the machine failed; the code was not judged.
    Error,
    /// A person stopped it.
    Cancelled,
    /// The spec or the commit says that this event builds nothing.
    Skipped,
}

impl BuildState {
    /// All of them, in the order of a build's life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Passed,
        Self::Failed,
        Self::Error,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// The word in the database, the API and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more will happen (except a retry, which is a new attempt).
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }

    /// Whether `next` may follow. A final state is left only to `Queued`, by a retry. `Running`
    /// goes back to `Queued` when the worker that had it is gone and no shim was started.
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Queued => matches!(next, Self::Running | Self::Cancelled | Self::Error),
            Self::Running => next != Self::Running,
            Self::Passed | Self::Failed | Self::Error | Self::Cancelled | Self::Skipped => {
                next == Self::Queued
            }
        }
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for BuildState {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| InvalidId {
                what: "build state",
                given: s.to_owned(),
                rule: "use queued, running, passed, failed, error, cancelled or skipped",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_is_left_only_by_a_retry() {
        for from in BuildState::ALL {
            assert_eq!(from.as_str().parse::<BuildState>().unwrap(), from);
            assert!(!from.may_become(from), "{from} -> {from}");
            for to in BuildState::ALL {
                if from.is_final() && from.may_become(to) {
                    assert_eq!(to, BuildState::Queued, "{from} -> {to}");
                }
            }
        }
    }

    #[test]
    fn every_state_can_be_reached_from_queued() {
        let mut seen = vec![BuildState::Queued];
        let mut i = 0;
        while i < seen.len() {
            for to in BuildState::ALL {
                if seen[i].may_become(to) && !seen.contains(&to) {
                    seen.push(to);
                }
            }
            i += 1;
        }
        assert_eq!(seen.len(), BuildState::ALL.len());
    }
}
