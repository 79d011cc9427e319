//! `retry`: when a failed job is tried again.

use std::time::Duration;

use serde_json::json;
use windlass_model::plan::Retry;

use crate::codes;
use crate::draft::JobDraft;
use crate::key::{self, About, Key};
use crate::keys::timeout;
use crate::node::{Entry, Value, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value;

/// In a job.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "retry",
        required: false,
        summary: "how often, and when, a failed job is tried again",
        details: "A number of further tries, or a map with `count`, `backoff` and `on`. Each try is \
                  an attempt of its own, with its own log; the last one decides.",
        example: "retry:\n  count: 2\n  backoff: 30s\n  on: [infrastructure, timeout, 75]\nsteps:\n  \
                  - make test\n",
        schema: || json!({ "anyOf": [{ "type": "integer", "minimum": 1, "maximum": MOST }, schema::object(KEYS)] }),
        inside: &[&COUNT.about, &BACKOFF.about, &ON.about],
    },
    lower: |job, entry, problems| {
        let mut retry = usual();
        match &entry.value.value {
            Value::Map(entries) => {
                key::lower_map(entries, KEYS, "`retry`", &mut retry, problems);
                key::require(entries, KEYS, entry.key_span.clone(), "`retry`", problems);
            }
            _ => count(&mut retry, entry, problems),
        }
        job.retry = (retry.count > 0).then_some(retry);
    },
};

/// More is a loop, not a retry.
const MOST: u64 = 10;

fn usual() -> Retry {
    Retry {
        count: 0,
        backoff: Duration::from_secs(10),
        exit_codes: Vec::new(),
        infrastructure: false,
        timeout: false,
    }
}

const KEYS: &[Key<Retry>] = &[COUNT, BACKOFF, ON];

const COUNT: Key<Retry> = Key {
    about: About {
        name: "count",
        required: true,
        summary: "how often at most, beyond the first try",
        details: "A number from 1 to 10.",
        example: "retry:\n  count: 2\nsteps:\n  - make\n",
        schema: || json!({ "type": "integer", "minimum": 1, "maximum": MOST }),
        inside: &[],
    },
    lower: count,
};

const BACKOFF: Key<Retry> = Key {
    about: About {
        name: "backoff",
        required: false,
        summary: "the pause before the first retry; it doubles with each",
        details: "A duration. Default: `10s`.",
        example: "retry:\n  count: 3\n  backoff: 1m\nsteps:\n  - make\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |retry, entry, problems| {
        let most = Duration::from_secs(3600);
        if let Some(backoff) = timeout::duration(entry, most, "1h", problems) {
            retry.backoff = backoff;
        }
    },
};

const ON: Key<Retry> = Key {
    about: About {
        name: "on",
        required: false,
        summary: "which failures are worth a retry",
        details: "A list of `infrastructure` (the machine failed, not the code), `timeout`, and exit \
                  codes of the failing step. Default: any failure.",
        example: "retry:\n  count: 1\n  on: [infrastructure]\nsteps:\n  - make\n",
        schema: || {
            json!({
                "type": "array",
                "items": {
                    "anyOf": [
                        { "enum": ["infrastructure", "timeout"] },
                        { "type": "integer", "minimum": 1, "maximum": 255 },
                    ],
                },
            })
        },
        inside: &[],
    },
    lower: |retry, entry, problems| {
        const EXPECTED: &str = "`infrastructure`, `timeout` or an exit code from 1 to 255";
        for item in value::texts(&entry.value, "`on`", EXPECTED, problems) {
            match (item.value.as_str(), item.value.parse::<i32>()) {
                ("infrastructure", _) => retry.infrastructure = true,
                ("timeout", _) => retry.timeout = true,
                (_, Ok(code)) if (1..=255).contains(&code) => retry.exit_codes.push(code),
                (text, _) => {
                    let message = format!("`{}` is no cause", shorten(text, 40));
                    problems.push(
                        Problem::new(codes::BAD_CHOICE, item.span, message)
                            .label(format!("expected {EXPECTED}"))
                            .help("write `on: [infrastructure]`, for example"),
                    );
                }
            }
        }
    },
};

fn count(retry: &mut Retry, entry: &Entry, problems: &mut Problems<'_>) {
    let number = value::number(entry, 1..=MOST, "a number of tries, or a map", problems);
    retry.count = number.and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    #[test]
    fn a_number_or_a_map() {
        let retry = job("retry: 2\nsteps: [x]").retry.unwrap();
        assert_eq!((retry.count, retry.infrastructure), (2, false));
        let retry = job("retry: {count: 1, backoff: 1m, on: [timeout, 75]}\nsteps: [x]")
            .retry
            .unwrap();
        assert_eq!(
            (retry.backoff.as_secs(), retry.exit_codes.as_slice()),
            (60, &[75][..])
        );
        assert!(retry.timeout && !retry.infrastructure);
    }

    #[test]
    fn what_is_no_retry() {
        let codes = |text: &str| codes(&format!("retry: {text}\nsteps: [x]"));
        assert_eq!(codes("0"), ["E0137"]);
        assert_eq!(codes("many"), ["E0132"]);
        assert_eq!(codes("{backoff: 1m}"), ["E0131"]);
        assert_eq!(codes("{count: 1, on: [flaky]}"), ["E0138"]);
        assert_eq!(codes("{count: 1, backoff: 2h}"), ["E0135"]);
    }
}
