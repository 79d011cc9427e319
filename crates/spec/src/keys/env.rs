//! `env`: variables, of the job or of one step.

use serde_json::{Value as Json, json};

use crate::codes;
use crate::draft::{Env, JobDraft, StepDraft};
use crate::key::{self, About, Key};
use crate::limits;
use crate::node::{Entry, Style, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::value::{self, At};

/// What the shim marks its processes with; a job that changed it could hide from the sweep.
const RESERVED: &str = "WINDLASS_ATTEMPT";

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "env",
        required: false,
        summary: "variables for all steps",
        details: "A map of names and values. A value is text exactly as it is written: `3.10` \
                  stays 3.10, `yes` stays yes. For an empty text write `\"\"`. A step's own `env` \
                  comes on top. What must not be read by others belongs in `secrets`.",
        example: "env:\n  PYTHON: 3.10\n  RUST_BACKTRACE: 1\nsteps:\n  - echo \"$PYTHON\"\n",
        schema,
        inside: &[],
    },
    lower: |job, entry, problems| job.env = lower(entry, problems),
};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "env",
        required: false,
        summary: "variables for this step, on top of the job's",
        details: "As `env` of the top level. Where both have a name, the step's value counts.",
        example: "steps:\n  - run: make\n    env:\n      CC: clang\n",
        schema,
        inside: &[],
    },
    lower: |step, entry, problems| step.env = lower(entry, problems),
};

/// The JSON Schema of variables.
pub(crate) fn schema() -> Json {
    json!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
        "additionalProperties": { "type": ["string", "number", "boolean"] },
    })
}

/// Reads variables.
pub(crate) fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Env {
    const EXPECTED: &str = "a map of names and values";
    let mut env = Env::new();
    let Some(entries) = key::entries(&entry.value, "`env`", EXPECTED, problems) else {
        return env;
    };
    for Entry {
        key,
        key_span,
        value: node,
    } in entries
    {
        let name_is_good = check_name(key, key_span, problems);
        let name = format!("`{}`", shorten(key, 40));
        if node.is_nothing() {
            problems.push(
                Problem::new(
                    codes::NO_VALUE,
                    key_span.clone(),
                    format!("{name} has no value"),
                )
                .label("expected a value")
                .help(format!(
                    "write `{}: \"\"` for an empty text",
                    shorten(key, 40)
                )),
            );
            continue;
        }
        let Some(text) = value::text(node, &name, "a text", problems) else {
            continue;
        };
        if let (Value::Scalar(scalar), "null" | "~") = (&node.value, text)
            && scalar.style == Style::Plain
        {
            let message = format!("{name} is the text `{text}`, not nothing");
            problems.push(
                Problem::new(codes::NULL_TEXT, node.span.clone(), message)
                    .label("is taken as it is written")
                    .help(format!(
                        "write `\"\"` for an empty text, or `\"{text}\"` if it is meant"
                    )),
            );
        }
        if key.len() + 1 + text.len() > limits::TEXT {
            let message = format!("{name} has {} bytes", text.len());
            problems.push(
                Problem::new(codes::TOO_LONG, node.span.clone(), message)
                    .label(format!("name and value have at most {}", limits::TEXT))
                    .help("put it in a file in the repository"),
            );
            continue;
        }
        if name_is_good {
            let at = At {
                value: text.to_owned(),
                span: key_span.clone(),
            };
            env.insert(key.clone(), at);
        }
    }
    env
}

fn check_name(name: &str, span: &std::ops::Range<usize>, problems: &mut Problems<'_>) -> bool {
    let mut bytes = name.bytes();
    let first = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if first && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') && name != RESERVED {
        return true;
    }
    let shown = shorten(name, 40);
    let problem = Problem::new(
        codes::BAD_VARIABLE,
        span.clone(),
        format!("a variable can't be named `{shown}`"),
    );
    problems.push(if name == RESERVED {
        problem
            .label("belongs to Windlass")
            .help("take another name")
    } else {
        let fixed: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(40)
            .collect();
        let under = if fixed.starts_with(|c: char| c.is_ascii_digit()) {
            "_"
        } else {
            ""
        };
        let problem = problem.label("expected letters, digits and `_`, and no digit first");
        if fixed.bytes().any(|b| b.is_ascii_alphanumeric()) {
            problem.help(format!("for example `{under}{fixed}`"))
        } else {
            problem.help("take another name")
        }
    });
    false
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn values_stay_as_they_are_written() {
        let source = "env:\n  A: 3.10\n  B: yes\n  C: 010\n  D: ''\n  E: 1_000\n  F: \"a\\tb\"\n  \
                      G: |\n    x\nsteps: [make]";
        let values: Vec<String> = job(source).env.into_values().collect();
        assert_eq!(values, ["3.10", "yes", "010", "", "1_000", "a\tb", "x\n"]);
    }

    #[test]
    fn names_are_checked() {
        let source = "env: {A-B: x, 1A: x, '': x, WINDLASS_ATTEMPT: x, a_1: x}\nsteps: [make]";
        assert_eq!(codes(source), ["E0134"; 4]);
    }

    #[test]
    fn values_are_texts() {
        let source = "env: {A: [x], B: {x: y}, C: , D: ~}\nsteps: [make]";
        assert_eq!(codes(source), ["E0132", "E0132", "E0133", "W0153"]);
        assert_eq!(codes("env: [A=b]\nsteps: [make]"), ["E0132"]);
    }

    #[test]
    fn a_step_has_its_own() {
        let job = job("env: {A: x}\nsteps: [{run: x, env: {A: y}}]");
        assert_eq!(
            (job.env["A"].as_str(), job.steps[0].env["A"].as_str()),
            ("x", "y")
        );
    }
}
