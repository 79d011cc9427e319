//! `allow-failure`: a failure that does no harm.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "allow-failure",
        required: false,
        summary: "whether the build passes although this job fails",
        details: "`true` or `false`. Default: `false`. Jobs that need it begin all the same.",
        example: "allow-failure: true\nsteps:\n  - cargo +nightly test\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let span = entry.key_span.clone();
        job.allow_failure = value::truth(entry, problems).map(|value| At { value, span });
    },
};
