//! How the jobs that a job needs ended, and what that means for it.

use std::collections::HashMap;

use windlass_model::board::{BoardJob, JobState};
use windlass_model::expression::{Lookup, Name, Value};
use windlass_model::plan::OnResult;

use super::{Decision, wants_success};

/// The cells of one job of the spec.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) cells: Vec<usize>,
}

/// How a needed job ended, all its cells together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needed {
    /// A cell isn't over.
    Open,
    /// Over, with the worst of its cells' states.
    Over {
        /// The worst state.
        state: JobState,
        /// Whether that is a failure that counts (not one that is allowed).
        failed: bool,
    },
    /// The plan has no such job.
    Absent,
}

pub(super) enum Verdict {
    Wait,
    Skip(String),
    Ready,
}

/// The worse, the higher.
fn rank(state: JobState) -> u8 {
    match state {
        JobState::Failed => 4,
        JobState::Error => 3,
        JobState::Cancelled => 2,
        JobState::Passed => 1,
        _ => 0,
    }
}

impl<'a> Decision<'a> {
    pub(super) fn needs_of(
        &self,
        job: &'a BoardJob,
        known: &mut HashMap<&'a str, Needed>,
    ) -> Verdict {
        let plan = &job.plan;
        let mut failed = false;
        for need in &plan.needs {
            let end = *known
                .entry(&need.job)
                .or_insert_with(|| self.end_of(&need.job));
            let (state, bad) = match end {
                Needed::Open => return Verdict::Wait,
                Needed::Absent => (JobState::Skipped, false),
                Needed::Over { state, failed } => (state, failed),
            };
            failed |= bad || state == JobState::Skipped && self.skipped_by_failure(&need.job);
            if !wants_success(job) {
                continue;
            }
            let name = &need.job;
            if bad {
                let words = match state {
                    JobState::Cancelled => "was cancelled",
                    JobState::Error => "could not be run",
                    _ => "failed",
                };
                return Verdict::Skip(format!("needs `{name}`, which {words}"));
            }
            if state == JobState::Skipped && !need.optional {
                return Verdict::Skip(format!("needs `{name}`, which was skipped"));
            }
        }
        if plan.on_result == OnResult::Failure && !failed {
            return Verdict::Skip("nothing that it needs failed".to_owned());
        }
        let lookup = Ends { decision: self };
        for clause in &plan.when {
            // A name that is still unknown belongs to a job that isn't there: that holds for nothing.
            if clause.expr.simplify(&lookup).truth() != Some(true) {
                return Verdict::Skip(format!("`{}` does not hold", clause.text));
            }
        }
        Verdict::Ready
    }

    fn end_of(&self, base: &str) -> Needed {
        let Some(group) = self.groups.get(base) else {
            return Needed::Absent;
        };
        let mut worst = JobState::Skipped;
        let mut failed = false;
        for &cell in &group.cells {
            let state = self.states[cell];
            if !state.is_final() {
                return Needed::Open;
            }
            let bad = matches!(
                state,
                JobState::Failed | JobState::Error | JobState::Cancelled
            );
            let allowed = self.board.jobs[cell].plan.allow_failure && state != JobState::Cancelled;
            failed |= bad && !allowed;
            if rank(state) > rank(worst) {
                worst = state;
            }
        }
        Needed::Over {
            state: worst,
            failed,
        }
    }

    /// Whether a skipped job was skipped because of a failure further up.
    fn skipped_by_failure(&self, base: &str) -> bool {
        let mut seen = vec![base];
        let mut next = 0;
        while let Some(&base) = seen.get(next) {
            next += 1;
            if matches!(self.end_of(base), Needed::Over { failed: true, .. }) {
                return true;
            }
            let Some(group) = self.groups.get(base) else {
                continue;
            };
            for need in group
                .cells
                .iter()
                .flat_map(|&cell| &self.board.jobs[cell].plan.needs)
            {
                if !seen.contains(&need.job.as_str()) {
                    seen.push(&need.job);
                }
            }
        }
        false
    }
}

/// What conditions may ask of other jobs.
struct Ends<'d, 'a> {
    decision: &'d Decision<'a>,
}

impl Lookup for Ends<'_, '_> {
    fn value(&self, name: &Name) -> Option<Value> {
        match name {
            Name::NeedResult(job) => Some(Value::Text(match self.decision.end_of(job) {
                Needed::Over { state, .. } => state.as_str().to_owned(),
                Needed::Absent => JobState::Skipped.as_str().to_owned(),
                Needed::Open => return None,
            })),
            Name::NeedOutput(job, output) => {
                let cells = self
                    .decision
                    .groups
                    .get(job.as_str())
                    .map(|group| &group.cells);
                let mut outputs = cells.into_iter().flatten().filter_map(|&cell| {
                    let job = &self.decision.board.jobs[cell];
                    let fresh = job.ended.as_ref().and_then(|end| end.outputs.get(output));
                    fresh.or_else(|| job.outputs.get(output))
                });
                Some(Value::Text(
                    outputs.next_back().cloned().unwrap_or_default(),
                ))
            }
            _ => None,
        }
    }

    fn changed(&self, _: &[String]) -> Option<bool> {
        None
    }
}
