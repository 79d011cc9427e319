//! `user`: as whom the steps run.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "user",
        required: false,
        summary: "the user as whom the steps run",
        details: "A name or a number of the image, as for `docker run --user`; the workspace is that user's. Without an `image`, steps run as the server's own user, and the job is refused.",
        example: "image: node\nuser: node\nsteps:\n  - npm test\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let text = value::line(&entry.value, "`user`", "the name of a user", problems);
        job.user = text.map(|text| At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};
