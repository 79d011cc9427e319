//! `privileged`: a container that is root on its machine.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "privileged",
        required: false,
        summary: "a container with all rights on its machine",
        details: "`true` or `false` (the default). Whoever runs the server must allow it for the repository \
                  (`windlass serve --allow-privileged REPO`), and builds of forks never have it. Not on a Swarm.",
        example: "image: docker:dind\nprivileged: true\nsteps:\n  - dockerd & sleep 3; docker build .\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        job.privileged = value::truth(entry, problems);
    },
};
