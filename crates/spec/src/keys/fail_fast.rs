//! `fail-fast`: one failed cell of a matrix ends the others.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "fail-fast",
        required: false,
        summary: "whether one failed cell of the matrix cancels the others",
        details: "`true` or `false`. Default: `false`: all cells run to their end, and one sees all that fail.",
        example: "jobs:\n  test:\n    matrix:\n      python: [3.9, 3.10]\n    fail-fast: true\n    steps: [make]\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let span = entry.key_span.clone();
        job.fail_fast = value::truth(entry, problems).map(|value| At { value, span });
    },
};
