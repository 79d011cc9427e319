//! `concurrency`: of all that are in a group, one runs at a time.

use serde_json::json;

use crate::draft::{ConcurrencyDraft, JobDraft, SpecDraft};
use crate::key::{self, About, Key};
use crate::node::{Entry, Value};
use crate::problems::Problems;
use crate::schema;
use crate::value::{self, At};

/// At the top level: of the whole build.
pub(crate) const SPEC: Key<SpecDraft> = Key {
    about: About {
        name: "concurrency",
        required: false,
        summary: "the group of builds of which one runs at a time",
        details: "A name, or a map with `group` and `cancel-in-progress`. Builds of the repository \
                  with the same group wait for each other in the order in which they came; with \
                  `cancel-in-progress` the newest stops the others.",
        example: "concurrency:\n  group: pr-${{ branch }}\n  cancel-in-progress: true\nsteps:\n  - make\n",
        schema: schema_of,
        inside: &[&GROUP.about, &CANCEL.about],
    },
    lower: |spec, entry, problems| spec.concurrency = lower(entry, problems),
};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "concurrency",
        required: false,
        summary: "the group of jobs, across builds, of which one runs at a time",
        details: "As `concurrency` of the top level, for this job only: a deployment, for example.",
        example: "jobs:\n  deploy:\n    concurrency: production\n    steps: [./deploy]\n",
        schema: schema_of,
        inside: &[],
    },
    lower: |job, entry, problems| job.concurrency = lower(entry, problems),
};

const KEYS: &[Key<ConcurrencyDraft>] = &[GROUP, CANCEL];

const GROUP: Key<ConcurrencyDraft> = Key {
    about: About {
        name: "group",
        required: true,
        summary: "the group's name",
        details: "A text; `${{ branch }}` and the like make a group for each branch.",
        example: "concurrency:\n  group: docs\nsteps:\n  - make\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        let text = value::line(&entry.value, "`group`", "a name", problems);
        draft.group = text.map(|text| At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    },
};

const CANCEL: Key<ConcurrencyDraft> = Key {
    about: About {
        name: "cancel-in-progress",
        required: false,
        summary: "whether a newcomer stops who is in the group",
        details: "`true` or `false`. Default: `false`: it waits.",
        example: "concurrency:\n  group: docs\n  cancel-in-progress: true\nsteps:\n  - make\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |draft, entry, problems| draft.cancel = value::truth(entry, problems).unwrap_or(false),
};

fn schema_of() -> serde_json::Value {
    json!({ "anyOf": [{ "type": "string", "minLength": 1 }, schema::object(KEYS)] })
}

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<ConcurrencyDraft> {
    let mut draft = ConcurrencyDraft::default();
    if let Value::Map(entries) = &entry.value.value {
        key::lower_map(entries, KEYS, "`concurrency`", &mut draft, problems);
        key::require(
            entries,
            KEYS,
            entry.key_span.clone(),
            "`concurrency`",
            problems,
        );
    } else {
        let text = value::line(
            &entry.value,
            "`concurrency`",
            "the name of a group, or a map",
            problems,
        )?;
        draft.group = Some(At {
            value: text.to_owned(),
            span: entry.value.span.clone(),
        });
    }
    draft.group.is_some().then_some(draft)
}
