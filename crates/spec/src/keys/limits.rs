//! `limits`: what a job may use.

use serde_json::json;
use windlass_model::plan::Limits;

use crate::codes;
use crate::draft::JobDraft;
use crate::key::{self, About, Key};
use crate::node::{Entry, looks_like_number, shorten};
use crate::problems::{Problem, Problems};
use crate::schema;
use crate::value;

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "limits",
        required: false,
        summary: "what each step may use",
        details: "A map. Without it there is no limit but the machine's.",
        example: "limits:\n  memory: 2GiB\n  pids: 500\nsteps:\n  - make\n",
        schema: || schema::object(KEYS),
        inside: &[&MEMORY.about, &PIDS.about, &CPUS.about, &DISK.about],
    },
    lower: |job, entry, problems| {
        let expected = "a map with `memory`, `pids`, `cpus`, `disk`";
        if let Some(entries) = key::entries(&entry.value, "`limits`", expected, problems) {
            key::lower_map(entries, KEYS, "`limits`", &mut job.limits, problems);
        }
    },
};

const KEYS: &[Key<Limits>] = &[MEMORY, PIDS, CPUS, DISK];

const MEMORY: Key<Limits> = Key {
    about: About {
        name: "memory",
        required: false,
        summary: "how much memory all processes of a step may use together",
        details: "A whole number with a unit: `KiB`, `MiB`, `GiB`, `TiB`, or for short `k`, `m`, \
                  `g`, `t`, are powers of 1024; `kB`, `MB`, `GB`, `TB` are powers of 1000. \
                  Capitals or not is the same. At least `4MiB`.",
        example: "limits:\n  memory: 512MiB\nsteps:\n  - make\n",
        schema: || {
            json!({
                "type": "string",
                "pattern": "^[0-9]+([KkMmGgTt]([Ii]?[Bb])?)$",
            })
        },
        inside: &[],
    },
    lower: |limits, entry, problems| {
        if let Some(bytes) = size(entry, problems) {
            limits.memory_bytes = Some(bytes);
        }
    },
};

const CPUS: Key<Limits> = Key {
    about: About {
        name: "cpus",
        required: false,
        summary: "how many processors all processes of a step may use together",
        details: "A number such as `2` or `0.5`, from 0.01.",
        example: "limits:\n  cpus: 1.5\nsteps:\n  - make\n",
        schema: || json!({ "type": "number", "minimum": 0.01, "maximum": 1024 }),
        inside: &[],
    },
    lower: |limits, entry, problems| {
        if let Some(cpus) = cpus(entry, problems) {
            limits.cpu_millis = Some(cpus);
        }
    },
};

const DISK: Key<Limits> = Key {
    about: About {
        name: "disk",
        required: false,
        summary: "how much disk the workspace may use",
        details: "A size as for `memory`. The `process` executor can't enforce it and refuses the \
                  job; container executors can.",
        example: "limits:\n  disk: 10GiB\nsteps:\n  - make\n",
        schema: || {
            json!({
                "type": "string",
                "pattern": "^[0-9]+([KkMmGgTt]([Ii]?[Bb])?)$",
            })
        },
        inside: &[],
    },
    lower: |limits, entry, problems| {
        if let Some(bytes) = size(entry, problems) {
            limits.disk_bytes = Some(bytes);
        }
    },
};

const PIDS: Key<Limits> = Key {
    about: About {
        name: "pids",
        required: false,
        summary: "how many processes and threads a step may have at a time",
        details: "A number from 1. It stops a script that starts itself again and again.",
        example: "limits:\n  pids: 200\nsteps:\n  - make\n",
        schema: || json!({ "type": "integer", "minimum": 1, "maximum": MOST_PIDS }),
        inside: &[],
    },
    lower: |limits, entry, problems| {
        let expected = "a number of processes";
        if let Some(pids) = value::number(entry, 1..=MOST_PIDS, expected, problems) {
            limits.pids = Some(pids);
        }
    },
};

/// Linux's own upper limit (`PID_MAX_LIMIT`).
const MOST_PIDS: u64 = 4_194_304;
/// With less not even a shell starts.
const LEAST_MEMORY: u64 = 4 << 20;
/// A pebibyte: more is a mistake, and kernels take signed numbers.
const MOST_MEMORY: u64 = 1 << 50;

fn size(entry: &Entry, problems: &mut Problems<'_>) -> Option<u64> {
    const EXPECTED: &str = "a size such as `512MiB` or `2g`";
    let node = &entry.value;
    let name = format!("`{}`", entry.key);
    let text = value::scalar(node, &name, EXPECTED, problems)?
        .text
        .as_str();
    let shown = shorten(text, 40);
    let (message, help) = match parse(text) {
        Some(bytes) if bytes < LEAST_MEMORY => (
            format!("`{shown}` is too little"),
            "at least `4MiB`".to_owned(),
        ),
        Some(bytes) if bytes > MOST_MEMORY => (
            format!("`{shown}` is too much"),
            "at most `1024TiB`".to_owned(),
        ),
        Some(bytes) => return Some(bytes),
        None if looks_like_number(text) => {
            let number = shorten(text.trim_start_matches(['-', '+']), 20);
            (
                format!("`{shown}` has no unit"),
                format!("write `{number}MiB`, for example"),
            )
        }
        None => (
            format!("`{shown}` is not a size"),
            guess(text).unwrap_or("the units are `KiB`, `MiB`, `GiB` and `TiB`".to_owned()),
        ),
    };
    problems.push(
        Problem::new(codes::BAD_SIZE, node.span.clone(), message)
            .label(format!("expected {EXPECTED}"))
            .help(help),
    );
    None
}

/// Thousandths of a processor: `2`, `0.5`.
fn cpus(entry: &Entry, problems: &mut Problems<'_>) -> Option<u64> {
    const EXPECTED: &str = "a number of processors such as `2` or `0.5`";
    let text = value::scalar(&entry.value, "`cpus`", EXPECTED, problems)?
        .text
        .as_str();
    let number = entry
        .value
        .plain()
        .and_then(|text| text.parse::<f64>().ok());
    if let Some(number) = number.filter(|n| (0.01..=1024.0).contains(n)) {
        return Some((number * 1000.0).round() as u64);
    }
    let message = format!("`cpus` needs {EXPECTED}, not `{}`", shorten(text, 40));
    problems.push(
        Problem::new(codes::BAD_NUMBER, entry.value.span.clone(), message)
            .label("allowed is 0.01 to 1024, without quotes"),
    );
    None
}

/// Bytes of `512MiB`. Numbers too large for any machine count as the largest.
fn parse(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.to_ascii_lowercase();
    let (prefix, base) = match unit.as_bytes() {
        [prefix] | [prefix, b'i', b'b'] => (prefix, 1024u64),
        [prefix, b'b'] => (prefix, 1000),
        _ => return None,
    };
    let power = match prefix {
        b'k' => 1,
        b'm' => 2,
        b'g' => 3,
        b't' => 4,
        _ => return None,
    };
    let number = match digits {
        0 => return None,
        1..=18 => number.parse().ok()?,
        _ => u64::MAX,
    };
    Some(u64::saturating_mul(number, base.pow(power)))
}

/// What a person probably means by `1.5g` or `512 MiB`.
fn guess(text: &str) -> Option<String> {
    let together: String = text.split_whitespace().collect();
    if parse(&together).is_some() {
        return Some(format!("write `{}`", shorten(&together, 40)));
    }
    let (whole, rest) = together.split_once('.')?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = parse(&format!("1{}", &rest[digits..]))?;
    let number: f64 = format!("{whole}.{}", &rest[..digits]).parse().ok()?;
    let mebibytes = (number * unit as f64 / f64::from(1 << 20)).round();
    (1.0..1e9)
        .contains(&mebibytes)
        .then(|| format!("write `{mebibytes}MiB`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::{codes, job};

    #[test]
    fn sizes() {
        assert_eq!(parse("512MiB"), Some(512 << 20));
        assert_eq!(parse("1g"), Some(1 << 30));
        assert_eq!(parse("1G"), Some(1 << 30));
        assert_eq!(parse("2GB"), Some(2_000_000_000));
        assert_eq!(parse("99999999999999999999t"), Some(u64::MAX));
        for bad in [
            "",
            "512",
            "g",
            "1.5g",
            "512 MiB",
            "1x",
            "1gigabyte",
            "-1g",
            "1é",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn guesses() {
        assert_eq!(guess("1.5g").as_deref(), Some("write `1536MiB`"));
        assert_eq!(guess("512 MiB").as_deref(), Some("write `512MiB`"));
        assert_eq!(guess("much"), None);
        assert_eq!(guess("é.é"), None);
    }

    #[test]
    fn in_a_spec() {
        let limits = job("limits: {memory: 512MiB, pids: 64}\nsteps: [x]").limits;
        assert_eq!(
            (limits.memory_bytes, limits.pids),
            (Some(512 << 20), Some(64))
        );
        let codes = |text: &str| codes(&format!("limits: {text}\nsteps: [x]"));
        for bad in ["512", "1k", "9999t", "lots", "1.5g"] {
            assert_eq!(codes(&format!("{{memory: {bad}}}")), ["E0136"], "{bad}");
        }
        assert_eq!(codes("{pids: 0, memory: [1g]}"), ["E0137", "E0132"]);
        assert_eq!(codes("{cpu: 2}"), ["E0130"]);
        assert_eq!(codes("[1g]"), ["E0132"]);
    }
}
