//! `workdir`: the folder in which steps run.

use serde_json::{Value as Json, json};

use crate::draft::{JobDraft, StepDraft};
use crate::key::{About, Key};
use crate::node::Entry;
use crate::problems::Problems;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "workdir",
        required: false,
        summary: "the folder in which all steps run",
        details: "A path relative to the repository's root, without `..`. Default: the root.",
        example: "workdir: backend\nsteps:\n  - make\n",
        schema,
        inside: &[],
    },
    lower: |job, entry, problems| job.workdir = lower(entry, problems),
};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "workdir",
        required: false,
        summary: "the folder in which this step runs",
        details: "As `workdir` of the job, and also relative to the repository's root.",
        example: "steps:\n  - run: npm test\n    workdir: frontend\n",
        schema,
        inside: &[],
    },
    lower: |step, entry, problems| step.workdir = lower(entry, problems),
};

fn schema() -> Json {
    json!({ "type": "string", "minLength": 1 })
}

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<At<String>> {
    let text = value::line(&entry.value, "`workdir`", "a folder", problems)?;
    let span = entry.value.span.clone();
    value::inside(text, &span, problems).then(|| At {
        value: text.to_owned(),
        span,
    })
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn only_below_the_workspace() {
        assert_eq!(
            job("workdir: a/b\nsteps: [x]").workdir.as_deref(),
            Some("a/b")
        );
        for bad in ["/etc", "../x", "a/../../b", "~/x"] {
            assert_eq!(
                codes(&format!("workdir: {bad}\nsteps: [x]")),
                ["E0212"],
                "{bad}"
            );
        }
    }
}
