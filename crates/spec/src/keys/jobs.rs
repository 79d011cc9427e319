//! `jobs`: several jobs in one spec.

use serde_json::json;

use crate::draft::SpecDraft;
use crate::key::{self, About, Key};
use crate::keys;
use crate::limits;
use crate::schema;

/// At the top level.
pub(crate) const SPEC: Key<SpecDraft> = Key {
    about: About {
        name: "jobs",
        required: false,
        summary: "the jobs of the build, by name",
        details: "A map of names and jobs. Each job runs in a fresh workspace of its own, side by side with \
                  the others unless `needs` says otherwise. What stands at the top level beside `jobs` (`env`, \
                  `secrets`, `timeout`, `shell`, `output`, `clone`, `limits`, `image`, `executor`, `runs-on`, \
                  `workdir`, `user`, `network`, `retry`) counts for all jobs that don't say otherwise. At most 500.",
        example: "env:\n  RUST_BACKTRACE: 1\njobs:\n  lint:\n    steps:\n      - cargo clippy\n  test:\n    \
                  steps:\n      - cargo test\n  publish:\n    needs: [lint, test]\n    when:\n      tag: v*\n    \
                  steps:\n      - cargo publish\n",
        schema: || {
            json!({
                "type": "object",
                "minProperties": 1,
                "maxProperties": limits::JOBS,
                "additionalProperties": schema::object(keys::JOB),
            })
        },
        inside: &[],
    },
    lower: |spec, entry, problems| {
        let expected = "a map of names and jobs";
        spec.jobs_at = Some(entry.key_span.clone());
        if let Some(entries) = key::entries(&entry.value, "`jobs`", expected, problems) {
            spec.jobs = entries.to_vec();
        } else {
            spec.jobs_broken = true;
        }
    },
};
