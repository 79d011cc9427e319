//! A machine of a cluster, as people and pages see it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::AttemptId;

/// A node of a Docker Swarm, with what is left of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Swarm's id.
    pub id: String,
    /// Its host name.
    pub name: String,
    /// `manager` or `worker`.
    pub role: String,
    /// Whether it leads the managers.
    pub leader: bool,
    /// Of a manager: whether the others reach it (`reachable`, `unreachable`, `unknown`).
    pub reachability: Option<String>,
    /// `ready`, `down`, `unknown` or `disconnected`.
    pub state: String,
    /// `active`, `pause` or `drain`.
    pub availability: String,
    /// Its address, as the managers see it.
    pub address: String,
    /// Its kind of processor.
    pub arch: String,
    /// The version of its engine.
    pub engine: String,
    /// Its labels (`docker node update --label-add`).
    pub labels: BTreeMap<String, String>,
    /// Thousandths of its processors.
    pub cpu_millis: u64,
    /// Bytes of its memory.
    pub memory_bytes: u64,
    /// Thousandths of processors that tasks have reserved.
    pub reserved_cpu_millis: u64,
    /// Bytes of memory that tasks have reserved.
    pub reserved_memory_bytes: u64,
    /// Jobs of Windlass that run on it.
    pub jobs: Vec<NodeJob>,
}

/// A job on a [`Node`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeJob {
    /// Which server it belongs to: several may share a cluster.
    pub owner: String,
    /// That server's attempt.
    pub attempt: AttemptId,
    /// The job's name.
    pub job: String,
}

impl Node {
    /// Whether tasks are placed on it.
    pub fn is_usable(&self) -> bool {
        self.state == "ready" && self.availability == "active"
    }

    /// One word for how it is: its state, or, if that is well, that it takes nothing new.
    pub fn word(&self) -> &str {
        match (self.state.as_str(), self.availability.as_str()) {
            ("ready", "drain") => "drained",
            ("ready", "pause") => "paused",
            (state, _) => state,
        }
    }

    /// Thousandths of processors that nobody has reserved.
    pub fn free_cpu_millis(&self) -> u64 {
        self.cpu_millis.saturating_sub(self.reserved_cpu_millis)
    }

    /// Bytes of memory that nobody has reserved.
    pub fn free_memory_bytes(&self) -> u64 {
        self.memory_bytes.saturating_sub(self.reserved_memory_bytes)
    }
}

/// Thousandths as people write them: `1.5`, `2`.
pub fn decimal(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_read_well() {
        for (millis, text) in [
            (0, "0"),
            (500, "0.5"),
            (2000, "2"),
            (10, "0.01"),
            (10_000, "10"),
        ] {
            assert_eq!(decimal(millis), text);
        }
    }
}
