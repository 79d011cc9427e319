//! `outputs`: values that a job hands to those that need it.

use serde_json::json;

use crate::codes;
use crate::draft::JobDraft;
use crate::key::{About, Key};
use crate::node::shorten;
use crate::problems::Problem;
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "outputs",
        required: false,
        summary: "the names of values that the job hands to those that need it",
        details: "A list of names. Steps append lines `name=value` to the file `$WINDLASS_OUTPUT`; the last \
                  line of a name counts. Others use them in conditions (`needs.build.outputs.name`), or as \
                  the whole value of a variable (`${{ needs.build.outputs.name }}`). At most 64 KiB together; \
                  never secrets: they are shown on pages.",
        example: "jobs:\n  build:\n    outputs: [version]\n    steps:\n      - echo \"version=$(git describe)\" >> \
                  \"$WINDLASS_OUTPUT\"\n  release:\n    needs: build\n    env:\n      VERSION: ${{ \
                  needs.build.outputs.version }}\n    steps: [./release]\n",
        schema: || json!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] }),
        inside: &[],
    },
    lower: |job, entry, problems| {
        for item in value::texts(&entry.value, "`outputs`", "the name of an output", problems) {
            let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let good = item.value.starts_with(|c: char| c.is_ascii_alphabetic())
                && item.value.chars().all(legal)
                && item.value.len() <= crate::limits::WORD;
            if good {
                job.outputs.push(item.value);
                continue;
            }
            let message = format!("an output can't be named `{}`", shorten(&item.value, 40));
            problems.push(
                Problem::new(codes::BAD_OUTPUT, item.span, message)
                    .label("expected letters, digits and `_`, a letter first")
                    .help("take another name"),
            );
        }
    },
};

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, plan};

    #[test]
    fn an_output_becomes_a_variable() {
        let plan = plan(
            "jobs:\n  a: {outputs: v, steps: [x]}\n  b: {needs: a, env: {V: '${{ needs.a.outputs.v }}'}, steps: [x]}",
        );
        let from = &plan.jobs[1].env_from["V"];
        assert_eq!((from.job.as_str(), from.output.as_str()), ("a", "v"));
        assert!(plan.jobs[1].env.is_empty());
    }

    #[test]
    fn what_is_no_output() {
        assert_eq!(codes("outputs: [a-b]\nsteps: [x]"), ["E0220"]);
        let other = |env: &str| {
            codes(&format!(
                "jobs:\n  a: {{outputs: v, steps: [x]}}\n  b: {{needs: a, env: {{V: '{env}'}}, steps: [x]}}"
            ))
        };
        assert_eq!(other("${{ needs.a.outputs.w }}"), ["E0161"]);
        assert_eq!(other("v${{ needs.a.outputs.v }}"), ["E0170"]);
        assert_eq!(other("${{ needs.c.outputs.v }}"), ["E0161"]);
    }
}
