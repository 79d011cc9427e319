//! `use`: what a job is made of before its own keys count.

use serde_json::json;

use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::node::Entry;
use crate::problems::Problems;
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "use",
        required: false,
        summary: "the templates that the job starts from",
        details: "The name of one of the `templates`, or a list of them. Their keys count as if \
                  they stood in the job; where several have a key, the later template's counts, \
                  and the job's own before all. Only `env` is merged variable by variable.",
        example: "templates:\n  rust:\n    env:\n      RUST_BACKTRACE: 1\njobs:\n  test:\n    \
                  use: rust\n    steps:\n      - cargo test\n",
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
    // Resolved before the job is read; here only the shape is looked at.
    lower: |_, entry, problems| {
        names(entry, problems);
    },
};

/// The names that stand there.
pub(crate) fn names(entry: &Entry, problems: &mut Problems<'_>) -> Vec<value::At<String>> {
    value::texts(&entry.value, "`use`", "the name of a template", problems)
}
