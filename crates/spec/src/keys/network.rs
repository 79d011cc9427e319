//! `network`: whether steps may speak to others.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "network",
        required: false,
        summary: "whether the steps may use the network",
        details: "`none` or `full` (the default). The `process` executor can't take the network away \
                  and refuses the job.",
        example: "network: none\nsteps:\n  - make test\n",
        schema: || json!({ "enum": ["none", "full"] }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        job.network = value::choice(entry, &[("none", false), ("full", true)], problems);
    },
};
