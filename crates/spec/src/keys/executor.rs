//! `executor`: by what means the job is run.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "executor",
        required: false,
        summary: "by what means the job is run",
        details: "`process` (local processes), `docker` or `swarm` (containers). Default: what the \
                  server is set up for.",
        example: "executor: process\nsteps:\n  - make\n",
        schema: || json!({ "enum": ["process", "docker", "swarm"] }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let words = [
            ("process", "process"),
            ("docker", "docker"),
            ("swarm", "swarm"),
        ];
        job.executor = value::choice(entry, &words, problems).map(ToOwned::to_owned);
    },
};
