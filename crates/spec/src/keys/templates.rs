//! `templates`: what several jobs have in common.

use serde_json::{Value as Json, json};

use crate::draft::SpecDraft;
use crate::key::{self, About, Key};
use crate::keys;
use crate::schema;

/// At the top level.
pub(crate) const SPEC: Key<SpecDraft> = Key {
    about: About {
        name: "templates",
        required: false,
        summary: "parts of jobs that jobs take over with `use`",
        details: "A map of names; each has keys of a job, none of them required.",
        example: "templates:\n  rust:\n    env:\n      RUST_BACKTRACE: 1\n    timeout: 20m\njobs:\n  test:\n    \
                  use: rust\n    steps:\n      - cargo test\n",
        schema: || {
            let mut job = schema::object(keys::JOB);
            if let Json::Object(fields) = &mut job {
                fields.remove("required");
            }
            json!({ "type": "object", "additionalProperties": job })
        },
        inside: &[],
    },
    lower: |spec, entry, problems| {
        let expected = "a map of names and parts of jobs";
        if let Some(entries) = key::entries(&entry.value, "`templates`", expected, problems) {
            spec.templates = entries.to_vec();
        }
    },
};
