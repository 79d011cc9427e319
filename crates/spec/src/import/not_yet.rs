//! Keys that are written as comments because specs don't have them yet.
//!
//! To turn one on, take it out of [`NOT_YET`]; a test says when it is time.

use std::mem::take;

use super::pipeline::{On, Pipeline};
use super::when::When;
use super::{Kind, Note};

/// Keys of a job or of the whole spec.
const NOT_YET: &[&str] = &[];

/// Whether specs have this key.
pub(super) fn accepts(key: &str) -> bool {
    !NOT_YET.contains(&key)
}

/// Does without the keys that can't be written; what makes a build becomes a condition of each job.
pub(super) fn lower(pipeline: &mut Pipeline, file: &str, notes: &mut Vec<Note>) {
    let mut tell = |what: String, words: &str| {
        notes.push(Note {
            file: file.to_owned(),
            line: 1,
            what,
            kind: Kind::NotConverted,
            words: words.to_owned(),
        });
    };
    if let Some(on) = &pipeline.on {
        if *on == On::default() {
            pipeline
                .jobs
                .iter_mut()
                .for_each(|job| job.when = When::never());
        } else if !accepts("on") {
            let when = on.when();
            for job in &mut pipeline.jobs {
                job.when = when.clone().and(take(&mut job.when));
            }
            if !on.schedule.is_empty() {
                tell(
                    "schedule".to_owned(),
                    "not accepted yet: it stands in a comment",
                );
            }
        }
    }
    for job in &mut pipeline.jobs {
        let there = [
            ("services", !job.services.is_empty()),
            ("artifacts", !job.artifacts.is_empty()),
            ("cache", !job.cache.is_empty()),
            ("reports", !job.reports.is_empty()),
        ];
        for (key, is_there) in there {
            if is_there && !accepts(key) {
                let what = format!("{}: {key}", job.name);
                tell(what, "not accepted yet: it stands in a comment");
            }
        }
        if !accepts("artifacts") {
            job.needs.iter_mut().for_each(|need| need.artifacts = false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    #[test]
    fn only_keys_that_specs_lack_are_comments() {
        let spec = keys::SPEC.iter().map(|key| key.about.name);
        let job = keys::JOB.iter().map(|key| key.about.name);
        let step = keys::STEP.iter().map(|key| key.about.name);
        for key in spec.chain(job).chain(step) {
            assert!(
                accepts(key),
                "specs have `{key}` now: take it out of NOT_YET"
            );
        }
    }
}
