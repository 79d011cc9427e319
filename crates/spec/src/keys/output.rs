//! `output`: how what the steps print is captured.

use serde_json::{Value as Json, json};
use windlass_model::plan::OutputMode;

use crate::draft::{JobDraft, StepDraft};
use crate::key::{About, Key};
use crate::value::{self, At};

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "output",
        required: false,
        summary: "how the output of all steps is captured",
        details: "- `merged` (the default): stdout and stderr are one stream, in exactly the \
                  order in which it was written.\n\
                  - `separate`: each line knows whether it came from stdout or stderr; the order \
                  between the two may be a little off.\n\
                  - `tty`: the step gets a terminal, so programs show colours and progress.",
        example: "output: separate\nsteps:\n  - make\n",
        schema,
        inside: &[],
    },
    lower: |job, entry, problems| job.output = value::choice(entry, &WORDS, problems),
};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "output",
        required: false,
        summary: "how the output of this step is captured",
        details: "As `output` of the top level, for this step only.",
        example: "steps:\n  - run: make\n    output: tty\n",
        schema,
        inside: &[],
    },
    lower: |step, entry, problems| {
        let span = entry.value.span.clone();
        let mode = value::choice(entry, &WORDS, problems);
        step.output = mode.map(|value| At { value, span });
    },
};

const WORDS: [(&str, OutputMode); 3] = [
    ("merged", OutputMode::Merged),
    ("separate", OutputMode::Separate),
    ("tty", OutputMode::Tty),
];

fn schema() -> Json {
    json!({ "enum": WORDS.map(|(word, _)| word) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::{codes, job};

    #[test]
    fn modes() {
        assert_eq!(job("steps: [x]").steps[0].output, OutputMode::Merged);
        let job = job("output: separate\nsteps: [x, {run: x, output: tty}]");
        assert_eq!(job.steps[0].output, OutputMode::Separate);
        assert_eq!(job.steps[1].output, OutputMode::Tty);
        assert_eq!(codes("output: mergd\nsteps: [x]"), ["E0138"]);
        assert_eq!(codes("output: [tty]\nsteps: [x]"), ["E0132"]);
    }
}
