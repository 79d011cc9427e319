//! `image`: the container in which the steps run.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "image",
        required: false,
        summary: "the container image in which the steps run",
        details: "A reference such as `rust:1.95`. All steps of the job run in one container of it, on the Docker daemon that the server (or `windlass run`) was given; variables of the image are seen by the steps, nothing of the machine is. The image needs a shell for steps that are scripts, and nothing of ours: no git, no curl.",
        example: "image: python:3.13\nsteps:\n  - python -m pytest\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let text = value::line(&entry.value, "`image`", "a container image", problems);
        job.image = text.map(|text| At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};
