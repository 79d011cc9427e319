//! `read-only`: a container whose image can't be changed by the steps.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "read-only",
        required: false,
        summary: "whether the image's files can't be changed",
        details: "`true` or `false` (the default). The workspace, `TMPDIR` and the home folder of caches can be \
                  written all the same; for more, see `tmpfs`.",
        example: "image: rust\nread-only: true\ntmpfs: [/tmp]\nsteps:\n  - cargo test\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        job.read_only = value::truth(entry, problems);
    },
};
