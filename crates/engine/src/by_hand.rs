//! What a plan does, for a person who does it without Windlass: as a shell script
//! ([`script()`]) or in words.
//!
//! Both come from the same [`crate::order`] as what the shim obeys, so that nothing that a step sees
//! is said twice. A spec may come from strangers: whatever it says is quoted, or stands in a comment
//! as one line without control characters.

mod condition;
mod glob;
mod script;
mod shell;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use windlass_model::{JobPlan, Plan};

use crate::order::About;

pub use self::script::script;

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

impl<'a> ByHand<'a> {
    /// The jobs with their places in the plan, those that others need first, otherwise as the spec
    /// has them.
    fn in_order(&self) -> Vec<(usize, &'a JobPlan)> {
        let jobs = &self.plan.jobs;
        let bases: BTreeSet<&str> = jobs.iter().map(|job| job.base.as_str()).collect();
        let mut left: Vec<(usize, &JobPlan)> = jobs.iter().enumerate().collect();
        let mut ordered = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let waits = |job: &JobPlan| {
                job.needs
                    .iter()
                    .filter(|need| bases.contains(need.job.as_str()))
                    .any(|need| left.iter().any(|(_, other)| other.base == need.job))
            };
            // In a circle nothing could begin; the spec lets none through.
            let next = left.iter().position(|(_, job)| !waits(job)).unwrap_or(0);
            ordered.push(left.remove(next));
        }
        ordered
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
