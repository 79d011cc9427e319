//! `runs-on`: what the machine must be like.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "runs-on",
        required: false,
        summary: "labels that the machine must have",
        details: "A label or a list of labels. A machine has those of its system and processor: `linux`, \
                  `amd64` or `arm64`, also written `os=linux`, `arch=amd64`. A job with a label that no \
                  machine has is refused, not run elsewhere. On a Docker Swarm, `key=value` is a label of \
                  a node, a word is `word=true`; `hostname=` and `role=` are Swarm's own.",
        example: "runs-on: [linux, arch=amd64]\nsteps:\n  - make\n",
        schema: || {
            json!({
                "anyOf": [
                    { "type": "string" },
                    { "type": "array", "items": { "type": "string" } },
                ],
            })
        },
        inside: &[],
    },
    lower: |job, entry, problems| {
        let labels = value::texts(&entry.value, "`runs-on`", "a label", problems);
        job.runs_on = labels.into_iter().map(|label| label.value).collect();
    },
};
