//! `run`: a step's script.

use serde_json::json;

use crate::draft::StepDraft;
use crate::key::{About, Key};
use crate::keys::steps;
use crate::node::{Entry, Value};
use crate::problems::{Language, Problems};
use crate::value;

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "run",
        required: true,
        summary: "the script of the step",
        details: "Each step has it, but one with `build`. A text, given to the step's `shell` as it stands. With the default shell a \
                  script of several lines stops at the first line that fails. Write several \
                  lines below `run: |`. At most 120 KiB.",
        example: "steps:\n  - run: |\n      ./configure\n      make\n",
        schema: || json!({ "type": ["string", "number", "boolean"], "minLength": 1 }),
        inside: &[],
    },
    lower,
};

fn lower(step: &mut StepDraft, entry: &Entry, problems: &mut Problems<'_>) {
    const EXPECTED: &str = "a script";
    match &entry.value.value {
        Value::Scalar(scalar) => {
            step.script_span = entry.value.span.clone();
            step.script = steps::script(&entry.value, scalar, "`run`", EXPECTED, problems);
        }
        Value::List(_) => {
            let help = match problems.language() {
                Language::Yaml => "write `run: |` and the commands on the lines below, no dashes",
                Language::Toml => "put the commands into one text in `\'\'\'`, one per line",
            };
            value::wrong_type(
                &entry.value,
                "`run`",
                EXPECTED,
                Some(help.to_owned()),
                problems,
            );
        }
        Value::Map(_) => {
            let help = "put the whole command in quotes if the colon belongs to it";
            value::wrong_type(
                &entry.value,
                "`run`",
                EXPECTED,
                Some(help.to_owned()),
                problems,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn the_script_keeps_its_lines() {
        let job = job("steps:\n- run: |\n    a\n    b\n");
        assert_eq!(job.steps[0].script, "a\nb\n");
        assert_eq!(job.steps[0].argv, ["/bin/sh", "-e", "-c", "a\nb\n"]);
    }

    #[test]
    fn what_is_no_script() {
        assert_eq!(codes("steps: [{run: [a, b]}]"), ["E0132"]);
        assert_eq!(codes("steps: [{run: {a: b}}]"), ["E0132"]);
        assert_eq!(codes("steps:\n- run:\n"), ["E0133"]);
        assert_eq!(codes("steps: [{run: \"a\\0b\"}]"), ["E0103"]);
        let long = format!("steps: ['{}']", "x".repeat(120 * 1024 + 1));
        assert_eq!(codes(&long), ["E0141"]);
    }

    #[test]
    fn lines_that_yaml_joins_are_pointed_out() {
        assert_eq!(codes("steps:\n- run: make\n    test\n"), ["W0151"]);
        assert_eq!(codes("steps:\n- run: >\n    make\n    test\n"), [""; 0]);
    }
}
