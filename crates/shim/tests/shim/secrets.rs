//! Secrets: given to steps, never shown, not left on the disk.

use std::fs;

use windlass_shim::journal::StepResult;
use windlass_shim::order::OutputMode;

use crate::attempt::{Attempt, sh};

const SECRET: &str = "s3cr'et/T0ken\"with+everything==";

fn run(script: &str, mode: OutputMode) -> String {
    let mut step = sh(script);
    step.output = mode;
    let attempt = Attempt::new(vec![step]).secret("TOKEN", SECRET);
    let journal = attempt.run();
    assert_eq!(journal.results(), [StepResult::Exited { code: 0 }]);
    let raw = fs::read_to_string(attempt.dir.join("journal")).unwrap();
    assert!(!raw.contains("T0ken"), "{raw}");
    journal.text()
}

#[test]
fn a_secret_is_given_but_not_shown() {
    let text = run(
        "test ${#TOKEN} = 31 && echo \"<$TOKEN>\"",
        OutputMode::Merged,
    );
    assert_eq!(text, "<***>\n");
}

#[test]
fn encodings_are_masked() {
    let text = run(
        "env | grep TOKEN | base64 -w0; env | base64",
        OutputMode::Merged,
    );
    assert!(text.contains("***"), "{text}");
    let unwrapped: String = text.lines().collect();
    for part in ["M2Ny", "VG9r", "MGtlbg", "VDBrZW", "QwUtlb", "QwBrZW"] {
        assert!(!unwrapped.contains(part), "{part} in {text}");
    }
}

#[test]
fn halves_with_a_pause_and_colours_between_are_masked() {
    let script = "head=${TOKEN%ken*}; tail=ken${TOKEN#*ken}; \
                  printf 'a %s' \"$head\"; sleep 0.3; printf '%s b\\n' \"$tail\"; \
                  printf 'c %s\\033[31m\\033[1m%s\\033[0m d\\n' \"$head\" \"$tail\"";
    for mode in [OutputMode::Merged, OutputMode::Separate, OutputMode::Tty] {
        assert_eq!(run(script, mode), "a *** b\nc ***\u{1b}[0m d\n");
    }
}

#[test]
fn values_to_mask_need_not_be_variables() {
    let mut attempt = Attempt::new(vec![sh(
        "echo checkout-credential; env | grep -c credential || :",
    )]);
    let secrets = attempt.secrets.get_or_insert_default();
    secrets.mask.push("checkout-credential".to_owned());
    assert_eq!(attempt.run().text(), "***\n0\n");
}

#[test]
fn notes_and_reasons_are_masked() {
    let mut step = sh("");
    step.argv = vec!["/no/such/hunter2hunter2".to_owned()];
    let journal = Attempt::new(vec![step]).secret("A", "hunter2hunter2").run();
    let reason = "/no/such/***: No such file or directory".to_owned();
    assert_eq!(journal.results(), [StepResult::NotStarted { reason }]);
}

#[test]
fn nothing_of_the_secrets_is_left_on_the_disk() {
    let attempt = Attempt::new(vec![sh(
        "echo ready; while [ ! -e go ]; do sleep 0.02; done",
    )])
    .secret("TOKEN", SECRET);
    let shim = attempt.start();
    attempt.until_output("ready");
    assert!(
        !attempt.dir.join("secrets.json").exists(),
        "already while it runs"
    );
    fs::write(attempt.order.workspace.join("go"), "").unwrap();
    assert_eq!(shim.wait().code(), Some(0));
    for entry in fs::read_dir(&attempt.dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            let text = fs::read(entry.path()).unwrap();
            assert!(
                !String::from_utf8_lossy(&text).contains("T0ken"),
                "{entry:?}"
            );
        }
    }
}
