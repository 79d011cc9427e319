//! How far the jobs of a build are, and what may happen to them next: the words between the store,
//! which keeps it, and the engine, which decides it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;
use crate::plan::JobPlan;
use crate::state::BuildState;

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// For jobs that it needs, for its group, or for a pause before a retry.
    Waiting,
    /// Everything else is ready: a person must agree.
    Approval,
    /// It has an attempt that waits for a worker.
    Queued,
    /// It has an attempt that runs.
    Running,
    /// Its last attempt ended well.
    Passed,
    /// Its last attempt did not.
    Failed,
    /// We or the machine failed.
    Error,
    /// Somebody stopped it, or did not agree.
    Cancelled,
    /// A condition left it out.
    Skipped,
}

impl JobState {
    /// All of them, in the order of a job's life.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Approval,
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
            Self::Waiting => "waiting",
            Self::Approval => "approval",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }

    /// Whether nothing more will happen to it in this run.
    pub fn is_final(self) -> bool {
        !self.is_active() && !matches!(self, Self::Waiting | Self::Approval)
    }

    /// Whether it has an attempt that is not over.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for JobState {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == s)
            .ok_or_else(|| InvalidId {
                what: "job state",
                given: s.to_owned(),
                rule: "use waiting, approval, queued, running, passed, failed, error, cancelled \
                       or skipped",
            })
    }
}

/// Why an attempt did not end well: what a [`crate::plan::Retry`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum FailureCause {
    /// A step ended with this exit code.
    Exit {
        /// The code.
        code: i32,
    },
    /// A limit of time was over.
    Timeout,
    /// We or the machine failed: lost, out of memory, not started.
    Infrastructure,
    /// Anything else: a signal, a missing artifact.
    Other,
}

/// How an attempt at a job ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptEnd {
    /// `Passed`, `Failed`, `Error` or `Cancelled`.
    pub state: JobState,
    /// Why, if not well.
    pub cause: Option<FailureCause>,
    /// One line for people: the step and what happened.
    pub summary: String,
    /// The values that the job hands on.
    pub outputs: BTreeMap<String, String>,
}

/// A job with all that decides about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoardJob {
    /// What is planned.
    pub plan: Arc<JobPlan>,
    /// How far it is. An attempt that ended and was not judged yet leaves it as it was
    /// ([`BoardJob::ended`] says how it ended).
    pub state: JobState,
    /// How many attempts there were, the current one included.
    pub tries: u32,
    /// The end of its current attempt, when it has ended and nobody has decided what follows.
    pub ended: Option<AttemptEnd>,
    /// What a person decided, if somebody did.
    pub approved: Option<bool>,
    /// The values that it handed on.
    pub outputs: BTreeMap<String, String>,
}

impl BoardJob {
    /// Its plan, to be changed; a copy of its own if others have it, too.
    pub fn plan_mut(&mut self) -> &mut JobPlan {
        Arc::make_mut(&mut self.plan)
    }

    /// A job at the beginning.
    pub fn new(plan: JobPlan) -> Self {
        Self {
            plan: Arc::new(plan),
            state: JobState::Waiting,
            tries: 0,
            ended: None,
            approved: None,
            outputs: BTreeMap::new(),
        }
    }
}

/// All jobs of a build, and what decides about them from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Board {
    /// In the order of the plan.
    pub jobs: Vec<BoardJob>,
    /// Somebody asked for the build to stop.
    pub cancelled: bool,
    /// Another build that came earlier has the build's own group.
    pub held_back: Option<String>,
    /// The groups that jobs of other builds hold, and who: for people.
    pub held_groups: BTreeMap<String, String>,
}

impl Board {
    /// The groups that the jobs ask for.
    pub fn groups(&self) -> BTreeSet<&str> {
        self.jobs
            .iter()
            .filter_map(|job| Some(job.plan.concurrency.as_ref()?.group.as_str()))
            .collect()
    }
}

/// What is to happen. `job` is the index in [`Board::jobs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Its first attempt, or a further one, may begin, after a pause.
    Start {
        /// Which.
        job: usize,
        /// Zero, or the pause before a retry.
        after: Duration,
    },
    /// Everything is ready: a person must be asked.
    AskApproval {
        /// Which.
        job: usize,
    },
    /// It still waits, and for this.
    Wait {
        /// Which.
        job: usize,
        /// For people: "for the group deploy, which #7 has".
        reason: String,
    },
    /// It is over, without an attempt or with the end of its last one.
    End {
        /// Which.
        job: usize,
        /// A final state.
        state: JobState,
        /// One line for people.
        reason: String,
    },
    /// Its running attempt is to be stopped; its end will come.
    Stop {
        /// Which.
        job: usize,
        /// Why, for people.
        reason: String,
    },
    /// Whoever holds this group in other builds is to be stopped.
    ClearGroup {
        /// The job that wants it.
        job: usize,
        /// The group.
        group: String,
    },
    /// All jobs are over, and so is the build.
    Finish {
        /// A final state.
        state: BuildState,
        /// One line for people.
        summary: String,
        /// The job that decided it.
        job: Option<usize>,
    },
}
