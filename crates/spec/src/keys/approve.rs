//! `approve`: a person must agree before the job begins.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "approve",
        required: false,
        summary: "the question that a person must agree to before the job begins",
        details: "One line of text, or `true`. When everything that the job needs has passed, the \
                  build's page asks; whoever is logged in may agree or refuse. `windlass run` asks \
                  on the terminal.",
        example: "jobs:\n  deploy:\n    approve: Deploy to production?\n    steps: [./deploy]\n",
        schema: || json!({ "type": ["string", "boolean"], "minLength": 1 }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        let text = match entry.value.plain() {
            Some("true") => Some("Go on?"),
            Some("false") => None,
            _ => value::line(&entry.value, "`approve`", "a question, or `true`", problems),
        };
        job.approve = text.map(|text| At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};
