//! `stages`: a job without `needs` waits for all of the stages before its own.

use super::super::notes::Notes;
use super::super::pipeline::{Job, Need};
use super::super::tree::Tree as _;
use crate::limits;
use crate::node::Node;

/// What must be known of a job beside itself.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) stage: String,
    /// Whether it has `needs`, which count alone.
    pub(super) has_needs: bool,
    /// Jobs whose files it takes; nothing is those of all stages before.
    pub(super) dependencies: Option<Vec<String>>,
    /// Later stages don't wait until someone starts it.
    pub(super) waits_aside: bool,
    /// Its image isn't known.
    pub(super) lacks_image: bool,
    pub(super) line: usize,
}

/// The stages, and the jobs in them.
#[derive(Debug, Default)]
pub(super) struct Stages {
    names: Vec<String>,
    jobs: Vec<About>,
}

impl Stages {
    /// As the file lists them.
    pub(super) fn of(root: &Node) -> Self {
        let mut names = root
            .get("stages")
            .or_else(|| root.get("types"))
            .map(super::super::tree::Tree::texts)
            .unwrap_or_default();
        if names.is_empty() {
            names = ["build", "test", "deploy"].map(ToOwned::to_owned).to_vec();
        }
        names.insert(0, ".pre".to_owned());
        names.push(".post".to_owned());
        Self {
            names,
            jobs: Vec::new(),
        }
    }

    /// One more job.
    pub(super) fn add(&mut self, _: &Job, about: About) {
        self.jobs.push(about);
    }

    fn place(&self, about: &About) -> usize {
        let found = self.names.iter().position(|name| *name == about.stage);
        // A stage that the list lacks is an error there; here it is the last but one.
        found.unwrap_or(self.names.len().saturating_sub(2))
    }

    /// Gives every job its `needs`.
    pub(super) fn join(&self, jobs: &mut [Job], notes: &mut Notes) {
        let names: Vec<String> = jobs.iter().map(|job| job.name.clone()).collect();
        let conditional: Vec<bool> = jobs.iter().map(|job| !job.when.any.is_empty()).collect();
        let gives: Vec<bool> = jobs.iter().map(|job| !job.artifacts.is_empty()).collect();
        for at in 0..jobs.len().min(self.jobs.len()) {
            let about = &self.jobs[at];
            let mine = self.place(about);
            if !about.has_needs {
                let earlier = self.earlier(mine, &conditional, &gives, about, &names);
                jobs[at].needs = earlier
                    .into_iter()
                    .take(limits::ITEMS)
                    .map(|job| Need {
                        job: names[job].clone(),
                        optional: true,
                        artifacts: gives[job] && takes(about, &names[job]),
                    })
                    .collect();
                if jobs[at].needs.len() == limits::ITEMS {
                    let words = "only the first 200 jobs of the stages before are waited for";
                    notes.near(&mut jobs[at].comments, about.line, "stage", words);
                }
            } else if let Some(wanted) = &about.dependencies {
                for need in &mut jobs[at].needs {
                    need.artifacts &= wanted.contains(&need.job);
                }
            }
        }
    }

    /// The jobs before: those of the stage before, and of further ones where that may be left out.
    fn earlier(
        &self,
        mine: usize,
        conditional: &[bool],
        gives: &[bool],
        about: &About,
        names: &[String],
    ) -> Vec<usize> {
        let mut found = Vec::new();
        let mut chained = false;
        for stage in (0..mine).rev() {
            let inside = self
                .jobs
                .iter()
                .enumerate()
                .filter(|(_, other)| self.place(other) == stage);
            let mut holds = false;
            for (job, other) in inside {
                let wanted = gives[job] && takes(about, &names[job]);
                if other.waits_aside || chained && !wanted {
                    continue;
                }
                // With `needs` of its own it may begin before the stages above are done.
                holds |= !conditional[job] && !other.has_needs;
                found.push(job);
            }
            chained |= holds;
        }
        found.sort_unstable();
        found
    }
}

fn takes(about: &About, job: &String) -> bool {
    about
        .dependencies
        .as_ref()
        .is_none_or(|wanted| wanted.contains(job))
}
