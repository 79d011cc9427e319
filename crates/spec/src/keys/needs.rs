//! `needs`: which jobs must have ended before this one begins.

use serde_json::json;
use windlass_model::plan::Need;

use crate::codes;
use crate::draft::JobDraft;
use crate::key::{self, About, Key};
use crate::limits;
use crate::node::{Entry, Node, Value};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "needs",
        required: false,
        summary: "the jobs that must have passed before this one begins",
        details: "A name or a list of names. `lint?` may be missing or left out. A job with a \
                  `matrix` is awaited with all its cells. What counts as passed can be changed \
                  with `when.result`. Without `needs` all jobs may run side by side.",
        example: "jobs:\n  test:\n    steps: [make test]\n  deploy:\n    needs: test\n    steps: \
                  [./deploy]\n",
        schema: || {
            json!({
                "anyOf": [
                    { "type": "string" },
                    {
                        "type": "array",
                        "maxItems": limits::ITEMS,
                        "items": { "anyOf": [{ "type": "string" }, schema::object(KEYS)] },
                    },
                ],
            })
        },
        inside: &[&NAME.about, &OPTIONAL.about, &ARTIFACTS.about],
    },
    lower,
};

#[derive(Default)]
struct Draft {
    job: Option<String>,
    optional: bool,
    artifacts: bool,
}

const KEYS: &[Key<Draft>] = &[NAME, OPTIONAL, ARTIFACTS];

const NAME: Key<Draft> = Key {
    about: About {
        name: "job",
        required: true,
        summary: "the job's name",
        details: "One of the names below `jobs`.",
        example: "jobs:\n  a:\n    steps: [make]\n  b:\n    needs: [{job: a}]\n    steps: [make]\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |need, entry, problems| {
        let text = value::text(&entry.value, "`job`", "the name of a job", problems);
        need.job = text.map(ToOwned::to_owned);
    },
};

const OPTIONAL: Key<Draft> = Key {
    about: About {
        name: "optional",
        required: false,
        summary: "whether the job may be missing or left out",
        details: "`true` or `false`. Default: `false`. Its failure counts all the same.",
        example: "jobs:\n  a:\n    needs: [{job: b, optional: true}]\n    steps: [make]\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |need, entry, problems| need.optional = value::truth(entry, problems).unwrap_or(false),
};

const ARTIFACTS: Key<Draft> = Key {
    about: About {
        name: "artifacts",
        required: false,
        summary: "whether the job's artifacts are put into the workspace",
        details: "`true` or `false`. Default: `false`. The files stand where they stood in the other \
                  job's workspace, those of all its cells.",
        example: "jobs:\n  a:\n    artifacts: dist\n    steps: [make dist]\n  b:\n    needs: [{job: a, \
                  artifacts: true}]\n    steps: [ls dist]\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |need, entry, problems| need.artifacts = value::truth(entry, problems).unwrap_or(false),
};

fn lower(job: &mut JobDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let one = std::slice::from_ref(&entry.value);
    let items = match &entry.value.value {
        Value::List(items) => items.as_slice(),
        _ => one,
    };
    if !value::not_too_many(items, "`needs`", problems) {
        return;
    }
    for item in items {
        let Some(need) = need(item, problems) else {
            continue;
        };
        if let Some(first) = job.needs.iter().find(|known| known.value.job == need.job) {
            let (line, _) = problems.place(first.span.start);
            let message = format!("`{}` again", need.job);
            problems.push(
                Problem::new(codes::REPEATED, item.span.clone(), message)
                    .label(format!("the first one is on line {line}"))
                    .help("take one of them away"),
            );
            continue;
        }
        job.needs.push(At {
            value: need,
            span: item.span.clone(),
        });
    }
}

fn need(item: &Node, problems: &mut Problems<'_>) -> Option<Need> {
    let mut draft = Draft::default();
    if let Value::Map(entries) = &item.value {
        key::lower_map(entries, KEYS, "an item of `needs`", &mut draft, problems);
        key::require(
            entries,
            KEYS,
            item.span.clone(),
            "an item of `needs`",
            problems,
        );
    } else {
        let text = value::text(item, "an item of `needs`", "the name of a job", problems)?;
        draft.optional = text.ends_with('?');
        draft.job = Some(text.trim_end_matches('?').to_owned());
    }
    Some(Need {
        job: draft.job?,
        optional: draft.optional,
        artifacts: draft.artifacts,
    })
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, plan};

    #[test]
    fn names_options_and_matrices() {
        let plan = plan(
            "jobs:\n  a: {steps: [x]}\n  b: {needs: a, steps: [x]}\n  c: {needs: [a, b?, {job: z, \
             optional: true}], steps: [x]}",
        );
        assert_eq!(plan.jobs[1].needs[0].job, "a");
        let c: Vec<(&str, bool)> = plan.jobs[2]
            .needs
            .iter()
            .map(|n| (n.job.as_str(), n.optional))
            .collect();
        assert_eq!(c, [("a", false), ("b", true), ("z", true)]);
    }

    #[test]
    fn what_can_not_be_needed() {
        let job = |needs: &str| {
            codes(&format!(
                "jobs: {{a: {{needs: {needs}, steps: [x]}}, b: {{steps: [x]}}}}"
            ))
        };
        assert_eq!(job("b"), [""; 0]);
        assert_eq!(job("c"), ["E0204"]);
        assert_eq!(job("a"), ["E0205"]);
        assert_eq!(job("[b, b]"), ["W0154"]);
        assert_eq!(job("{b: c}"), ["E0131", "E0130"]);
    }
}
