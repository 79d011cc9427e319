//! `max-parallel`: how many cells of a matrix run at a time.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::limits;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "max-parallel",
        required: false,
        summary: "how many cells of the matrix run at a time",
        details: "A number from 1. Default: as many as there are slots.",
        example: "jobs:\n  test:\n    matrix:\n      shard: [1, 2, 3]\n    max-parallel: 1\n    \
                  steps: [make]\n",
        schema: || json!({ "type": "integer", "minimum": 1, "maximum": limits::CELLS }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let number = value::number(
            entry,
            1..=limits::CELLS as u64,
            "a number of cells",
            problems,
        );
        job.max_parallel = number.and_then(|n| u32::try_from(n).ok()).map(|value| At {
            value,
            span: entry.key_span.clone(),
        });
    },
};
