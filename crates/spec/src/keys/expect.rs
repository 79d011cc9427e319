//! `expect`: exit codes that count as success.

use serde_json::json;

use crate::codes;
use crate::draft::StepDraft;
use crate::key::{About, Key};
use crate::node::shorten;
use crate::problems::Problem;
use crate::value;

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "expect",
        required: false,
        summary: "the exit codes that count as success",
        details: "A number or a list of numbers from 0 to 255. Default: 0. With `expect: 1` a program must \
                  fail: 0 is then a failure.",
        example: "steps:\n  - run: ./must-refuse\n    expect: [1, 2]\n",
        schema: || {
            let code = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
            json!({ "anyOf": [code, { "type": "array", "minItems": 1, "items": code }] })
        },
        inside: &[],
    },
    lower: |step, entry, problems| {
        const EXPECTED: &str = "an exit code from 0 to 255";
        step.expect_span = entry.key_span.clone();
        for item in value::texts(&entry.value, "`expect`", EXPECTED, problems) {
            match item.value.parse::<i32>() {
                Ok(code) if (0..=255).contains(&code) => step.expect.push(code),
                _ => {
                    let message = format!("`{}` is not an exit code", shorten(&item.value, 40));
                    problems.push(
                        Problem::new(codes::BAD_NUMBER, item.span, message)
                            .label(format!("expected {EXPECTED}")),
                    );
                }
            }
        }
    },
};

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn one_or_several() {
        assert_eq!(job("steps: [{run: x, expect: 1}]").steps[0].expect, [1]);
        assert_eq!(
            job("steps: [{run: x, expect: [0, 2]}]").steps[0].expect,
            [0, 2]
        );
        assert_eq!(codes("steps: [{run: x, expect: 256}]"), ["E0137"]);
        assert_eq!(codes("steps: [{run: x, expect: fail}]"), ["E0137"]);
    }
}
