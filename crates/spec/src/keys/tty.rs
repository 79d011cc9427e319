//! `tty`: the short form of `output: tty`.

use serde_json::json;

use crate::draft::StepDraft;
use crate::key::{About, Key};
use crate::value::{self, At};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "tty",
        required: false,
        summary: "whether this step gets a terminal",
        details: "`tty: true` is short for `output: tty`. `tty: false` takes the terminal away \
                  that the top level's `output: tty` gives.",
        example: "steps:\n  - run: ./configure\n    tty: true\n",
        schema: || json!({ "type": "boolean" }),
        inside: &[],
    },
    lower: |step, entry, problems| {
        let span = entry.value.span.clone();
        step.tty = value::truth(entry, problems).map(|value| At { value, span });
    },
};

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};
    use windlass_model::plan::OutputMode;

    #[test]
    fn short_form() {
        assert_eq!(
            job("steps: [{run: x, tty: true}]").steps[0].output,
            OutputMode::Tty
        );
        assert_eq!(
            codes("steps: [{run: x, tty: true, output: separate}]"),
            ["E0140"]
        );
        assert_eq!(codes("steps: [{run: x, tty: yes}]"), ["E0138"]);
        assert_eq!(codes("steps: [{run: x, tty: 'true'}]"), ["E0138"]);
        assert_eq!(codes("steps: [{run: x, tty: maybe}]"), ["E0132"]);
    }
}
