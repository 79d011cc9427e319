//! `timeout`: how long the job or a step may take.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::codes;
use crate::draft::{JobDraft, StepDraft};
use crate::key::{About, Key};
use crate::node::{Entry, Value, looks_like_number, shorten};
use crate::problems::{Problem, Problems};
use crate::value::{self, At};

/// At the top level.
pub(crate) const JOB: Key<JobDraft> = Key {
    about: About {
        name: "timeout",
        required: false,
        summary: "how long the whole job may take",
        details: "A duration: numbers with the units `h`, `m`, `s`, `ms`, the largest first: \
                  `90s`, `10m`, `1h30m`, `500ms`. Default: `1h`. When it is over, all processes \
                  of the job are stopped, also those in the background.",
        example: "timeout: 20m\nsteps:\n  - make\n",
        schema,
        inside: &[],
    },
    lower: |job, entry, problems| job.timeout = lower(entry, problems),
};

/// In a step.
pub(crate) const STEP: Key<StepDraft> = Key {
    about: About {
        name: "timeout",
        required: false,
        summary: "how long this step may take",
        details: "A duration, as `timeout` of the top level. Default: only the job's limit.",
        example: "steps:\n  - run: ./slow-test\n    timeout: 90s\n",
        schema,
        inside: &[],
    },
    lower: |step, entry, problems| {
        let span = entry.value.span.clone();
        step.timeout = lower(entry, problems).map(|value| At { value, span });
    },
};

/// 30 days: more is a mistake, and sums of it stay far from any overflow.
const MOST: Duration = Duration::from_secs(720 * 60 * 60);
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

fn schema() -> Json {
    json!({
        "type": "string",
        "pattern": "^(?=[0-9])([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
    })
}

fn lower(entry: &Entry, problems: &mut Problems<'_>) -> Option<Duration> {
    duration(entry, MOST, "720h", problems)
}

/// The duration that a key of any name has, up to `most` (in words: `limit`).
pub(crate) fn duration(
    entry: &Entry,
    most: Duration,
    limit: &str,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    const EXPECTED: &str = "a duration such as `90s`, `10m` or `1h30m`";
    let node = &entry.value;
    let name = format!("`{}`", entry.key);
    let Value::Scalar(_) = &node.value else {
        value::wrong_type(node, &name, EXPECTED, None, problems);
        return None;
    };
    let text = &value::scalar(node, &name, EXPECTED, problems)?.text;
    let problem = |message: String| {
        Problem::new(codes::BAD_DURATION, node.span.clone(), message)
            .label(format!("expected {EXPECTED}"))
    };
    let shown = shorten(text, 40);
    match parse(text) {
        Some(duration) if duration.is_zero() => {
            problems.push(
                problem("no time at all".to_owned())
                    .help(format!("take {name} away if you want none of your own")),
            );
            None
        }
        Some(duration) if duration <= most => Some(duration),
        Some(_) => {
            let help = format!("at most `{limit}`");
            problems.push(problem(format!("`{shown}` is too long")).help(help));
            None
        }
        None if looks_like_number(text) => {
            let problem = problem(format!("`{shown}` has no unit"));
            let (seconds, minutes) = (guess(&format!("{text}s")), guess(&format!("{text}m")));
            problems.push(match (seconds, minutes) {
                // `90` is shown as `90s`, not as the `1m30s` that it also is.
                (Some(_), Some(_)) if !text.contains('.') => problem.help(format!(
                    "write `{text}s` for seconds or `{text}m` for minutes"
                )),
                (Some(seconds), Some(minutes)) => problem.help(format!(
                    "write `{seconds}` for seconds or `{minutes}` for minutes"
                )),
                _ => problem.help("add a unit: `h`, `m`, `s` or `ms`"),
            });
            None
        }
        None => {
            let problem = problem(format!("`{shown}` is not a duration"));
            problems.push(match guess(text) {
                Some(guess) => problem.help(format!("write `{guess}`")),
                None => problem.help("the units are `h`, `m`, `s` and `ms`, the largest first"),
            });
            None
        }
    }
}

/// Whole numbers, each with a unit, the largest first and no unit twice.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut millis = 0u64;
    let mut units = UNITS.iter();
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        // More digits than fit mean "too long", not "not a duration".
        let number = if digits > 18 {
            u64::MAX
        } else {
            number.parse().ok()?
        };
        millis = millis.saturating_add(number.saturating_mul(*factor));
        rest = after;
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

/// What a person probably means by `1.5h`, `10 min`, `2 hours`, `30m1h` or `1d`.
fn guess(text: &str) -> Option<String> {
    if text.len() > 40 {
        return None;
    }
    let mut millis = 0f64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = rest[end..].trim_start();
        let end = rest
            .find(|c: char| !c.is_alphabetic())
            .unwrap_or(rest.len());
        let factor = match rest[..end].to_lowercase().as_str() {
            "d" | "day" | "days" => 86_400_000.0,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
            "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1000.0,
            "ms" | "msec" | "millis" | "milliseconds" => 1.0,
            _ => return None,
        };
        millis += number * factor;
        rest = rest[end..].trim_start_matches([' ', ',']);
    }
    if !(1.0..=MOST.as_millis() as f64).contains(&millis) {
        return None;
    }
    let mut left = millis.round() as u64;
    let mut written = String::new();
    for (unit, factor) in UNITS {
        if left / factor > 0 {
            written.push_str(&format!("{}{unit}", left / factor));
        }
        left %= factor;
    }
    Some(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::testing::{codes, job};

    #[test]
    fn durations() {
        let seconds = |text| parse(text).map(|d| d.as_secs_f64());
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("10m"), Some(600.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("1h2m3s4ms"), Some(3723.004));
        for bad in [
            "", "90", "s", "1.5h", "30m1h", "1m1m", "10 m", "-1s", "1M", "1d", "٣s",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn guesses() {
        let guess = |text| guess(text).unwrap_or_default();
        assert_eq!(guess("1.5h"), "1h30m");
        assert_eq!(guess("10 min"), "10m");
        assert_eq!(guess("2 hours, 5 seconds"), "2h5s");
        assert_eq!(guess("30m1h"), "1h30m");
        assert_eq!(guess("1d"), "24h");
        assert_eq!(guess("soon"), "");
        assert_eq!(guess("é1s"), "");
        assert_eq!(guess("1"), "");
    }

    #[test]
    fn in_a_spec() {
        let job = job("timeout: 1h30m\nsteps: [{run: x, timeout: 500ms}]");
        assert_eq!(job.timeout, Duration::from_secs(5400));
        assert_eq!(job.steps[0].timeout, Some(Duration::from_millis(500)));
        for bad in [
            "90",
            "'90'",
            "0s",
            "721h",
            "99999999999999999999h",
            "soon",
            "1.5",
        ] {
            assert_eq!(
                codes(&format!("timeout: {bad}\nsteps: [x]")),
                ["E0135"],
                "{bad}"
            );
        }
        assert_eq!(codes("steps: [{run: x, timeout: 2h}]"), ["W0152"]);
    }
}
