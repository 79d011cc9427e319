//! `ready`: when something that runs beside can be used.

use std::time::Duration;

use serde_json::{Value as Json, json};
use windlass_model::plan::{Ready, ReadyCheck};

use crate::codes;
use crate::draft::ReadyDraft;
use crate::key::{self, About, Key};
use crate::keys::shell::Shell;
use crate::keys::{steps, timeout};
use crate::node::{Entry, Value};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value::{self, At};

/// What is in the map.
pub(crate) const KEYS: &[Key<ReadyDraft>] = &[PORT, RUN, OUTPUT, TIMEOUT];
/// Their documentation.
pub(crate) const INSIDE: &[&About] = &[&PORT.about, &RUN.about, &OUTPUT.about, &TIMEOUT.about];

/// How long a check may take that has no `timeout`.
const USUAL: Duration = Duration::from_secs(60);

const PORT: Key<ReadyDraft> = Key {
    about: About {
        name: "port",
        required: false,
        summary: "ready when this TCP port accepts connections",
        details: "A number from 1 to 65535. The port is looked at on 127.0.0.1.",
        example: "steps:\n  - run: ./server --port 8080\n    background:\n      ready:\n        port: 8080\n  \
                  - ./check\n",
        schema: || json!({ "type": "integer", "minimum": 1, "maximum": 65535 }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        let number = value::number(entry, 1..=65535, "a port", problems);
        draft.port = number.and_then(|number| u16::try_from(number).ok());
    },
};

const RUN: Key<ReadyDraft> = Key {
    about: About {
        name: "run",
        required: false,
        summary: "ready when this script exits with 0",
        details: "A script for the same shell, with the same variables and in the same folder. It is \
                  tried every 200 ms; what it prints is not kept.",
        example: "steps:\n  - run: ./server\n    background:\n      ready:\n        run: curl -fsS \
                  localhost:8080/health\n  - ./check\n",
        schema: || json!({ "type": ["string", "number", "boolean"], "minLength": 1 }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        let Value::Scalar(scalar) = &entry.value.value else {
            value::wrong_type(&entry.value, "`run`", "a script", None, problems);
            return;
        };
        let script = steps::script(&entry.value, scalar, "`run`", "a script", problems);
        draft.run = script.map(|value| At {
            value,
            span: entry.value.span.clone(),
        });
    },
};

const OUTPUT: Key<ReadyDraft> = Key {
    about: About {
        name: "output",
        required: false,
        summary: "ready when this text was printed",
        details: "A text, no pattern, that is part of a line of the output.",
        example: "steps:\n  - run: ./server\n    background:\n      ready:\n        output: listening on\n  - \
                  ./check\n",
        schema: || json!({ "type": "string", "minLength": 1 }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        let text = value::line(&entry.value, "`output`", "a text of one line", problems);
        draft.output = text.map(str::to_owned);
    },
};

const TIMEOUT: Key<ReadyDraft> = Key {
    about: About {
        name: "timeout",
        required: false,
        summary: "how long it may take until the check holds",
        details: "A duration. Default: `60s`. When it is over, or when the program ends before, that is a \
                  failure.",
        example: "steps:\n  - run: ./server\n    background:\n      ready:\n        port: 8080\n        \
                  timeout: 2m\n  - ./check\n",
        schema: || json!({ "type": "string" }),
        inside: &[],
    },
    lower: |draft, entry, problems| {
        draft.timeout = timeout::duration(entry, Duration::from_secs(86_400), "24h", problems);
    },
};

/// The JSON Schema of the value: one check and a time.
pub(crate) fn schema_of() -> Json {
    schema::object(KEYS)
}

/// Reads the value of a `ready`. `None` was complained of.
pub(crate) fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<ReadyDraft> {
    let name = "`ready`";
    let expected = "a map with `port`, `run` or `output`";
    let entries = key::entries(&entry.value, name, expected, problems)?;
    let mut draft = ReadyDraft::default();
    key::lower_map(entries, KEYS, name, &mut draft, problems);
    let checks: Vec<&Entry> = entries
        .iter()
        .filter(|entry| ["port", "run", "output"].contains(&entry.key.as_str()))
        .collect();
    match checks[..] {
        [_] => Some(draft),
        // A key that is misspelt was complained of.
        [] if entries.iter().any(|e| e.key != TIMEOUT.about.name) => None,
        [] => {
            problems.push(
                Problem::new(
                    codes::NO_CHECK,
                    entry.key_span.clone(),
                    "nothing says when it is ready",
                )
                .label("has no check")
                .help("add `port: 8080`, `run: <a script>` or `output: <a text>`"),
            );
            None
        }
        [_, second, ..] => {
            problems.push(
                Problem::new(
                    codes::NO_CHECK,
                    second.key_span.clone(),
                    "several checks say when it is ready",
                )
                .label("is one check too many")
                .help("keep one of them; a script in `run` can check several things"),
            );
            None
        }
    }
}

impl ReadyDraft {
    /// The check, its script run by `shell`. `None` if it had problems.
    pub(crate) fn finish(self, shell: &Shell) -> Option<Ready> {
        let port = self.port.map(ReadyCheck::Port);
        let run = self.run.map(|run| ReadyCheck::Run(shell.argv(&run.value)));
        let output = self.output.map(ReadyCheck::Output);
        Some(Ready {
            check: port.or(run).or(output)?,
            timeout: self.timeout.unwrap_or(USUAL),
        })
    }
}
