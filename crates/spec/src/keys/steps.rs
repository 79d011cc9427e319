//! `steps`: what to do, in order.

use serde_json::{Value as Json, json};

use crate::codes;
use crate::draft::{JobDraft, StepDraft};
use crate::key::{self, About, Key};
use crate::keys;
use crate::limits;
use crate::node::{Entry, Node, Scalar, Style, Value};
use crate::problems::{Language, Problem, Problems};
use crate::schema;
use crate::value;

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "steps",
        required: true,
        summary: "what to do, in order; the first step that fails ends the job",
        details: "A list with at least one step and at most 500. A step is a script, or a map \
                  with `run` and more keys. All steps run one after the other in the same \
                  folder, the repository's root; each is a process of its own, so a `cd` or a \
                  variable of one step is gone in the next. A step fails when its exit code \
                  isn't 0.",
        example: "steps:\n  - cargo build\n  - name: Test\n    run: cargo test\n",
        schema: job_schema,
        inside: &[],
    },
    lower,
};

fn job_schema() -> Json {
    json!({
        "type": "array",
        "minItems": 1,
        "maxItems": limits::STEPS,
        "items": {
            "anyOf": [
                { "type": ["string", "number", "boolean"], "minLength": 1, "description": "the script of the step" },
                step_schema(),
            ],
        },
    })
}

/// A step has a script, or makes an image.
fn step_schema() -> Json {
    let mut schema = schema::object(keys::STEP);
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("required");
        let one = json!([{ "required": ["run"] }, { "required": ["build"] }]);
        fields.insert("oneOf".to_owned(), one);
    }
    schema
}

fn lower(job: &mut JobDraft, entry: &Entry, problems: &mut Problems<'_>) {
    const EXPECTED: &str = "a list of steps";
    let items = match &entry.value.value {
        Value::List(items) => items,
        Value::Scalar(scalar) if !entry.value.is_nothing() => {
            let first = crate::node::shorten(&scalar.text, 40);
            let help = match problems.language() {
                Language::Yaml => format!("begin each step on a line with a dash: `- {first}`"),
                Language::Toml => format!("put it into a list: `steps = [\"{first}\"]`"),
            };
            value::wrong_type(&entry.value, "`steps`", EXPECTED, Some(help), problems);
            return;
        }
        Value::Map(_) => {
            let help = match problems.language() {
                Language::Yaml => "begin each step on a line with a dash: `- run: make`",
                Language::Toml => "write `[[steps]]`, with two brackets, above each step",
            };
            value::wrong_type(
                &entry.value,
                "`steps`",
                EXPECTED,
                Some(help.into()),
                problems,
            );
            return;
        }
        Value::Scalar(_) if problems.is_cut_off() => return,
        Value::Scalar(_) => &Vec::new(),
    };
    if items.is_empty() && !problems.is_cut_off() {
        problems.push(
            Problem::new(
                codes::NO_VALUE,
                entry.value.span.clone(),
                "`steps` is empty",
            )
            .label("expected at least one step")
            .help("write what to run below it, each on a line with a dash: `- make`"),
        );
    }
    if let Some(beyond) = items.get(limits::STEPS) {
        let message = format!("{} steps are too many", items.len());
        problems.push(
            Problem::new(codes::TOO_MANY_STEPS, beyond.span.clone(), message)
                .label(format!("a job has at most {}", limits::STEPS))
                .help("put commands that belong together into one script"),
        );
    }
    job.steps = items
        .iter()
        .take(limits::STEPS)
        .map(|item| step(item, problems))
        .collect();
}

fn step(node: &Node, problems: &mut Problems<'_>) -> StepDraft {
    const EXPECTED: &str = "a script, or a map with `run`";
    let mut step = StepDraft {
        script_span: node.span.clone(),
        ..StepDraft::default()
    };
    match &node.value {
        Value::Map(entries) => {
            key::lower_map(entries, keys::STEP, keys::IN_STEP, &mut step, problems);
            // `- echo a: b` was reported already, as the key that it became.
            if !is_split_command(entries) && !builds(entries) {
                let first = entries
                    .first()
                    .map_or(node.span.clone(), |e| e.key_span.clone());
                key::require(entries, keys::STEP, first, keys::IN_STEP, problems);
            }
        }
        Value::Scalar(scalar) => step.script = script(node, scalar, "a step", EXPECTED, problems),
        Value::List(_) => {
            let help = match problems.language() {
                Language::Yaml => {
                    "put a step's commands into one text: `- |`, and below it the lines"
                }
                Language::Toml => "put a step's commands into one text in `\'\'\'`, one per line",
            };
            value::wrong_type(node, "a step", EXPECTED, Some(help.to_owned()), problems);
        }
    }
    step
}

/// Whether a step's map is one that makes an image, which has no script.
pub(crate) fn builds(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.key == "build")
}

fn is_split_command(entries: &[Entry]) -> bool {
    matches!(entries, [only] if only.key.contains(' '))
}

/// A script, in whatever style it was written.
pub(super) fn script(
    node: &Node,
    scalar: &Scalar,
    name: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) -> Option<String> {
    let text = value::text(node, name, expected, problems)?;
    if text.trim().is_empty() {
        problems.push(
            Problem::new(
                codes::NO_VALUE,
                node.span.clone(),
                format!("{name} is empty"),
            )
            .label("expected a script")
            .help("write the command to run, or take the step away"),
        );
        return None;
    }
    let lines = problems.lines(&node.span);
    if scalar.style == Style::Plain && lines > 1 && !text.contains('\n') {
        problems.push(
            Problem::new(
                codes::JOINED_LINES,
                node.span.clone(),
                format!("YAML joins these {lines} lines into one"),
            )
            .label("is run as one command")
            .help(
                "write `|` in place of this text, and the text on the next lines; or `>` if one \
                   long line is what you want",
            ),
        );
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn a_step_is_a_script_or_a_map() {
        let job = job("steps:\n- make\n- run: make test\n");
        let scripts: Vec<&str> = job.steps.iter().map(|step| step.script.as_str()).collect();
        assert_eq!(scripts, ["make", "make test"]);
    }

    #[test]
    fn scalars_are_scripts_whatever_they_look_like() {
        assert_eq!(job("steps: [true]").steps[0].script, "true");
    }

    #[test]
    fn every_step_with_a_problem_is_named() {
        assert_eq!(
            codes("steps:\n- name: a\n- [a]\n-\n- ''\n- echo a: b\n- {}\n"),
            ["E0131", "E0132", "E0133", "E0133", "E0130", "E0131"]
        );
        assert_eq!(codes("steps: []"), ["E0133"]);
        assert_eq!(codes("steps:"), ["E0133"]);
        assert_eq!(codes("steps: make"), ["E0132"]);
    }

    #[test]
    fn five_hundred_steps_and_no_more() {
        assert_eq!(
            job(&format!("steps:\n{}", "- x\n".repeat(500))).steps.len(),
            500
        );
        assert_eq!(
            codes(&format!("steps:\n{}", "- x\n".repeat(501))),
            ["E0139"]
        );
    }
}
