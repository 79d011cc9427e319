//! `name`: what people call a step.

use serde_json::json;

use crate::codes;
use crate::draft::StepDraft;
use crate::key::{About, Key};
use crate::limits;
use crate::node::Entry;
use crate::problems::{Problem, Problems};
use crate::value::{self, At};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "name",
        required: false,
        summary: "what people call the step",
        details: "One line of at most 100 characters. Default: the first line of the script, \
                  shortened. A second step of the same name is shown as `name (2)`.",
        example: "steps:\n  - name: Unit tests\n    run: cargo test --lib\n",
        schema: || {
            json!({
                "type": ["string", "number", "boolean"],
                "minLength": 1,
                "maxLength": limits::NAME,
            })
        },
        inside: &[],
    },
    lower,
};

fn lower(step: &mut StepDraft, entry: &Entry, problems: &mut Problems<'_>) {
    let node = &entry.value;
    let Some(text) = value::text(node, "`name`", "a name", problems) else {
        return;
    };
    let name = text.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        problems.push(
            Problem::new(
                codes::BAD_NAME,
                node.span.clone(),
                "`name` is one line that can be seen",
            )
            .label("expected a name")
            .help("write a few words, or take `name` away: then it is the script's first line"),
        );
        return;
    }
    let length = name.chars().count();
    if length > limits::NAME {
        problems.push(
            Problem::new(
                codes::TOO_LONG,
                node.span.clone(),
                format!("a name of {length} characters"),
            )
            .label(format!("a name has at most {}", limits::NAME))
            .help("shorten it"),
        );
        return;
    }
    step.name = Some(At {
        value: name.to_owned(),
        span: node.span.clone(),
    });
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn a_name_is_one_visible_line() {
        assert_eq!(
            job("steps: [{run: x, name: ' Té st '}]").steps[0].name,
            "Té st"
        );
        assert_eq!(codes("steps: [{run: x, name: \"a\\nb\"}]"), ["E0142"]);
        assert_eq!(codes("steps: [{run: x, name: ' '}]"), ["E0142"]);
        assert_eq!(codes("steps: [{run: x, name: [a]}]"), ["E0132"]);
        assert_eq!(
            codes(&format!("steps: [{{run: x, name: {}}}]", "é".repeat(101))),
            ["E0141"]
        );
    }

    #[test]
    fn a_name_given_twice_is_a_warning() {
        assert_eq!(
            codes("steps: [{run: x, name: a}, {run: y, name: a}]"),
            ["W0150"]
        );
    }
}
