//! `background`: a step that runs beside the following ones.

use serde_json::json;

use crate::draft::{BackgroundDraft, StepDraft};
use crate::key::{self, About, Key};
use crate::keys::ready;
use crate::node::Value;
use crate::schema;
use crate::value;

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "background",
        required: false,
        summary: "whether the step runs beside those that follow",
        details: "`true` or `false` (the default), or a map with `ready`, for which the next step waits. The \
                  step goes on until the other steps are over, and is then stopped: SIGTERM to all its \
                  processes, SIGKILL after 10 seconds. That is its good end, whatever its exit code. \
                  `timeout` is the limit of its whole life.\n\n\
                  If it ends before, by itself, its exit code counts as that of any step; a failure is \
                  noticed before the next step begins. All steps that run at a time share the job's \
                  `limits`.",
        example: "steps:\n  - name: server\n    run: ./server\n    background:\n      ready:\n        port: \
                  8080\n        timeout: 30s\n  - run: ./check localhost:8080\n",
        schema: || json!({ "anyOf": [{ "type": "boolean" }, schema::object(KEYS)] }),
        inside: &[&READY.about],
    },
    lower: |step, entry, problems| {
        let mut draft = BackgroundDraft {
            span: entry.key_span.clone(),
            ready: None,
        };
        match &entry.value.value {
            Value::Map(entries) if entries.is_empty() => {
                let expected = "`true`, or a map with `ready`";
                value::wrong_type(&entry.value, "`background`", expected, None, problems);
            }
            Value::Map(entries) => {
                key::lower_map(entries, KEYS, "`background`", &mut draft, problems);
            }
            Value::List(_) => {
                let expected = "`true`, or a map with `ready`";
                value::wrong_type(&entry.value, "`background`", expected, None, problems);
            }
            Value::Scalar(_) => {
                if value::truth(entry, problems) == Some(false) {
                    return;
                }
            }
        }
        step.background = Some(draft);
    },
};

const KEYS: &[Key<BackgroundDraft>] = &[READY];

const READY: Key<BackgroundDraft> = Key {
    about: About {
        name: "ready",
        required: false,
        summary: "when the next step may begin",
        details: "A map with exactly one of `port`, `run` and `output`, and perhaps `timeout`. The check is \
                  repeated until it holds. A step that is not ready in its time, or that ends before, has \
                  failed. Without `ready` the next step begins at once.",
        example: "steps:\n  - run: ./server\n    background:\n      ready:\n        output: listening\n  - \
                  ./check\n",
        schema: ready::schema_of,
        inside: ready::INSIDE,
    },
    lower: |draft, entry, problems| draft.ready = ready::lower(entry, problems),
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use windlass_model::plan::{Background, Ready, ReadyCheck};

    use crate::value::testing::{codes, job};

    fn background(text: &str) -> Option<Background> {
        let source = format!("steps: [{{run: x, shell: bash, background: {text}}}]");
        job(&source).steps.remove(0).background
    }

    fn ready(text: &str) -> Ready {
        let background = background(&format!("{{ready: {text}}}"));
        background.and_then(|b| b.ready).unwrap()
    }

    #[test]
    fn beside_or_not() {
        assert_eq!(background("false"), None);
        assert_eq!(background("true"), Some(Background::default()));
    }

    #[test]
    fn one_check_and_a_time() {
        assert_eq!(
            ready("{port: 8080}"),
            Ready {
                check: ReadyCheck::Port(8080),
                timeout: Duration::from_secs(60)
            }
        );
        let bash = ["bash", "-eo", "pipefail", "-c", "curl -fsS x"].map(str::to_owned);
        assert_eq!(
            ready("{run: curl -fsS x, timeout: 2m}"),
            Ready {
                check: ReadyCheck::Run(bash.to_vec()),
                timeout: Duration::from_secs(120)
            }
        );
        let text = ReadyCheck::Output("listening on".to_owned());
        assert_eq!(ready("{output: listening on}").check, text);
    }

    #[test]
    fn what_is_no_background() {
        let codes = |text: &str| codes(&format!("steps: [{{run: x, background: {text}}}]"));
        assert_eq!(codes("yes"), ["E0138"]);
        assert_eq!(codes("[ready]"), ["E0132"]);
        assert_eq!(codes("{}"), ["E0132"]);
        assert_eq!(codes("{port: 8080}"), ["E0130"]);
        assert_eq!(codes("{ready: 8080}"), ["E0132"]);
        assert_eq!(codes("{ready: {}}"), ["E0218"]);
        assert_eq!(codes("{ready: {timeout: 1m}}"), ["E0218"]);
        assert_eq!(codes("{ready: {port: 1, output: x}}"), ["E0218"]);
        assert_eq!(codes("{ready: {prot: 1}}"), ["E0130"]);
        assert_eq!(codes("{ready: {port: 0}}"), ["E0137"]);
        assert_eq!(codes("{ready: {port: 65536}}"), ["E0137"]);
        assert_eq!(codes("{ready: {port: http}}"), ["E0132"]);
        assert_eq!(codes("{ready: {run: ''}}"), ["E0133"]);
        assert_eq!(codes("{ready: {run: [a]}}"), ["E0132"]);
        assert_eq!(codes("{ready: {run: 'curl ${{ branch }}'}}"), ["E0217"]);
        assert_eq!(codes("{ready: {output: \"a\\nb\"}}"), ["E0142"]);
        assert_eq!(codes("{ready: {port: 1, timeout: 90}}"), ["E0135"]);
        assert_eq!(codes("{ready: {port: 1, timeout: 25h}}"), ["E0135"]);
    }

    #[test]
    fn it_has_no_code_to_expect() {
        assert_eq!(
            codes("steps: [{run: x, background: true, expect: 1}]"),
            ["E0226"]
        );
        assert_eq!(
            codes("steps: [{run: x, background: false, expect: 1}]"),
            [""; 0]
        );
    }
}
