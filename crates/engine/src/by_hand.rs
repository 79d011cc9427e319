//! What a plan does, for a person who does it without Windlass: as a shell script
//! ([`script()`]) or in words
//! ([`prose()`]).
//!
//! Both come from the same [`crate::order`] as what the shim obeys, so that nothing that a step sees
//! is said twice. A spec may come from strangers: whatever it says is quoted, or stands in a comment
//! as one line without control characters.

mod condition;
mod glob;
mod prose;
mod script;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use windlass_model::{AttemptId, JobPlan, Plan};
use windlass_shim::order::Order;

use crate::executor::Inside;
use crate::order::{self, About};

pub use self::prose::prose;
pub use self::script::script;

/// Variables that say where things are on the machine; only a run knows.
const PLACES: &[&str] = &["WINDLASS_WORKSPACE", "TMPDIR", "WINDLASS_OUTPUT"];

/// A plan, and what it is a plan of.
#[derive(Debug, Clone)]
pub struct ByHand<'a> {
    /// What is to be done.
    pub plan: &'a Plan,
    /// What steps can know.
    pub about: About<'a>,
    /// Where the commit can be fetched: a folder or a URL.
    pub source: &'a str,
    /// The spec's file, for people.
    pub file: &'a str,
}

/// The plan with its jobs in an order in which one after the other can be done: those that others
/// need first, otherwise as the spec has them.
fn in_order(plan: &Plan) -> Plan {
    let mut left = plan.jobs.clone();
    let mut jobs = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |job: &JobPlan| {
            let mut needs = job.needs.iter();
            needs.any(|need| left.iter().any(|other| other.base == need.job))
        };
        // In a circle nothing could begin; the spec lets none through.
        let next = left.iter().position(|job| !waits(job)).unwrap_or(0);
        jobs.push(left.remove(next));
    }
    Plan {
        jobs,
        ..plan.clone()
    }
}

impl<'a> ByHand<'a> {
    /// The job's order as the shim would get it: what is said of a job is made from this.
    fn order(&self, job: &JobPlan) -> Option<Order> {
        let attempt: AttemptId = "by-hand".parse().ok()?;
        let nowhere = Inside {
            workspace: "/".into(),
            tmp: "/".into(),
            env: BTreeMap::new(),
        };
        Some(order::order(&attempt, job, &self.about, nowhere))
    }

    /// The variables of the job that are known before it runs.
    fn variables(&self, job: &JobPlan) -> BTreeMap<String, String> {
        let mut env = self.order(job).map(|order| order.env).unwrap_or_default();
        for name in PLACES {
            if !job.env.contains_key(*name) {
                env.remove(*name);
            }
        }
        for name in job.env_from.keys() {
            env.remove(name);
        }
        env
    }

    /// The places of a job's cells.
    fn cells(&self, base: &str) -> Vec<usize> {
        let jobs = self.plan.jobs.iter().enumerate();
        jobs.filter(|(_, job)| job.base == base)
            .map(|(index, _)| index)
            .collect()
    }

    /// The places of all jobs whose failure may be why this one was skipped: it, what it needs, what
    /// that needs.
    fn upstream(&self, base: &'a str) -> Vec<usize> {
        let mut bases = vec![base];
        let mut next = 0;
        let mut places = Vec::new();
        while let Some(&base) = bases.get(next) {
            next += 1;
            for cell in self.cells(base) {
                places.push(cell);
                for need in &self.plan.jobs[cell].needs {
                    if !bases.contains(&need.job.as_str()) {
                        bases.push(&need.job);
                    }
                }
            }
        }
        places
    }

    /// The jobs that this event doesn't leave out.
    fn planned(&self) -> impl Iterator<Item = &'a JobPlan> {
        self.plan.jobs.iter().filter(|job| job.skipped.is_none())
    }
}

/// Seconds, rounded up; never so many that a shell can't count them.
fn seconds(duration: std::time::Duration) -> u64 {
    let more = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(more).min(1_000_000_000)
}
