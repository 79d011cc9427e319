//! `shell`: which interpreter runs the scripts.

use serde_json::{Value as Json, json};

use crate::codes;
use crate::draft::{JobDraft, StepDraft};
use crate::key::{About, Key};
use crate::limits;
use crate::node::{Entry, Value};
use crate::problems::{Problem, Problems};
use crate::suggest;
use crate::value;

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "shell",
        required: false,
        summary: "which interpreter runs the scripts of all steps",
        details: "`sh` (the default), `bash` or `python`, or a list of words to which the script \
                  is added as the last.\n\n\
                  | `shell` | is run as |\n| --- | --- |\n\
                  | `sh` | `/bin/sh -e -c SCRIPT` |\n\
                  | `bash` | `bash -eo pipefail -c SCRIPT` |\n\
                  | `python` | `python3 -c SCRIPT` |\n\
                  | `[perl, -e]` | `perl -e SCRIPT` |\n\n\
                  With `sh` and `bash` a script stops at its first line that fails; `bash` also \
                  notices a failure inside of a pipe. A list of words gets no such help.",
        example: "shell: bash\nsteps:\n  - curl -sf https://example.org/list | sort > list\n",
        schema,
        inside: &[],
    },
    lower: |job, entry, problems| job.shell = lower(entry, problems),
};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "shell",
        required: false,
        summary: "which interpreter runs the script of this step",
        details: "As `shell` of the top level, for this step only.",
        example: "steps:\n  - run: print(6 * 7)\n    shell: python\n",
        schema,
        inside: &[],
    },
    lower: |step, entry, problems| step.shell = lower(entry, problems),
};

const WORDS: [&str; 3] = ["sh", "bash", "python"];

/// The words before the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shell(Vec<String>);

impl Default for Shell {
    fn default() -> Self {
        Self::of(&["/bin/sh", "-e", "-c"])
    }
}

impl Shell {
    fn of(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// The program and its arguments.
    pub(crate) fn argv(&self, script: &str) -> Vec<String> {
        self.0
            .iter()
            .cloned()
            .chain(std::iter::once(script.to_owned()))
            .collect()
    }
}

fn schema() -> Json {
    json!({
        "anyOf": [
            { "enum": WORDS },
            {
                "type": "array",
                "items": { "type": "string", "minLength": 1 },
                "minItems": 1,
                "maxItems": limits::SHELL_WORDS,
            },
        ],
    })
}

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<Shell> {
    const EXPECTED: &str = "`sh`, `bash`, `python`, or a list of words";
    let node = &entry.value;
    match &node.value {
        Value::Scalar(scalar) if !node.is_nothing() => match scalar.text.as_str() {
            "sh" => Some(Shell::default()),
            "bash" => Some(Shell::of(&["bash", "-eo", "pipefail", "-c"])),
            "python" => Some(Shell::of(&["python3", "-c"])),
            text => {
                let words: Vec<&str> = text.split_whitespace().collect();
                let help = match suggest::nearest(text, &WORDS) {
                    Some(near) if words.len() == 1 && text.len() > 3 => {
                        format!("did you mean `{near}`?")
                    }
                    _ if words.len() > 1 && text.len() <= 60 => {
                        format!("write its words as a list: `shell: [{}]`", words.join(", "))
                    }
                    _ => "write another interpreter as a list of words: `shell: [perl, -e]`"
                        .to_owned(),
                };
                value::refuse_choice(node, "`shell`", EXPECTED, help, problems);
                None
            }
        },
        Value::List(items) if !items.is_empty() => {
            if items.len() > limits::SHELL_WORDS {
                let message = format!("an interpreter of {} words", items.len());
                problems.push(
                    Problem::new(codes::TOO_LONG, node.span.clone(), message)
                        .label(format!("at most {}", limits::SHELL_WORDS))
                        .help("put it into a script in the repository"),
                );
                return None;
            }
            let mut words = Vec::new();
            for item in items {
                let text = value::text(item, "a word of `shell`", "a text", problems)?;
                if text.len() > limits::SHELL_WORD {
                    let message = format!("a word of {} bytes", text.len());
                    problems.push(
                        Problem::new(codes::TOO_LONG, item.span.clone(), message)
                            .label(format!("at most {}", limits::SHELL_WORD))
                            .help("put it into a script in the repository"),
                    );
                    return None;
                }
                words.push(text.to_owned());
            }
            if words[0].trim().is_empty() {
                problems.push(
                    Problem::new(
                        codes::NO_VALUE,
                        items[0].span.clone(),
                        "the program is empty",
                    )
                    .label("expected the name of a program"),
                );
                return None;
            }
            Some(Shell(words))
        }
        _ => {
            value::wrong_type(node, "`shell`", EXPECTED, None, problems);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    fn argv(shell: &str) -> Vec<String> {
        job(&format!("steps: [make]\nshell: {shell}"))
            .steps
            .remove(0)
            .argv
    }

    #[test]
    fn interpreters() {
        assert_eq!(argv("sh"), ["/bin/sh", "-e", "-c", "make"]);
        assert_eq!(argv("bash"), ["bash", "-eo", "pipefail", "-c", "make"]);
        assert_eq!(argv("python"), ["python3", "-c", "make"]);
        assert_eq!(argv("[nix, develop, -c]"), ["nix", "develop", "-c", "make"]);
    }

    #[test]
    fn a_step_chooses_for_itself() {
        let job = job("steps: [a, {run: b, shell: python}]\nshell: bash");
        assert_eq!(
            (job.steps[0].argv[0].as_str(), job.steps[1].argv[0].as_str()),
            ("bash", "python3")
        );
    }

    #[test]
    fn what_is_no_shell() {
        assert_eq!(codes("steps: [x]\nshell: zsh"), ["E0138"]);
        assert_eq!(codes("steps: [x]\nshell: perl -e"), ["E0138"]);
        assert_eq!(codes("steps: [x]\nshell: []"), ["E0132"]);
        assert_eq!(codes("steps: [x]\nshell:"), ["E0133"]);
        assert_eq!(codes("steps: [x]\nshell: ['']"), ["E0133"]);
        assert_eq!(codes("steps: [x]\nshell: [[a]]"), ["E0132"]);
        assert_eq!(
            codes(&format!("steps: [x]\nshell: [{}]", "a,".repeat(33))),
            ["E0141"]
        );
    }
}
