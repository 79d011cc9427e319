//! Numbers, times and states in the words of pages. Pure, apart from the clock for ages.

use jiff::Timestamp;
use windlass_model::{BuildState, Event, Outcome, StopCause, Trigger};
use windlass_store::Step;
use windlass_store::db::now_ms;

/// `just now`, `5 min ago`, `3 h ago`, `12 d ago`, and a date after two months.
pub(crate) fn age(then_ms: &i64) -> String {
    age_at(now_ms(), *then_ms)
}

fn age_at(now_ms: i64, then_ms: i64) -> String {
    let minutes = (now_ms - then_ms) / 60_000;
    match minutes {
        ..1 => "just now".to_owned(),
        1..60 => format!("{minutes} min ago"),
        60..2_880 => format!("{} h ago", minutes / 60),
        2_880..86_400 => format!("{} d ago", minutes / 1_440),
        _ => iso(&then_ms)[..10].to_owned(),
    }
}

/// `2026-11-23T10:15:00Z`.
pub(crate) fn iso(ms: &i64) -> String {
    let seconds = ms.div_euclid(1_000);
    Timestamp::from_second(seconds).map_or_else(|_| String::new(), |t| t.to_string())
}

/// `2026-11-23 10:15:00 UTC`.
pub(crate) fn utc(ms: &i64) -> String {
    iso(ms).replace('T', " ").replace('Z', " UTC")
}

/// `0.4 s`, `12 s`, `3 min 4 s`, `2 h 5 min`.
pub(crate) fn duration(ms: &i64) -> String {
    let ms = (*ms).max(0);
    let seconds = ms / 1_000;
    match seconds {
        ..10 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// From a start to an end, or to now: `12 s`; nothing before the start.
pub(crate) fn span(started_ms: Option<i64>, finished_ms: Option<i64>) -> String {
    match (started_ms, finished_ms) {
        (Some(start), end) => duration(&(end.unwrap_or_else(now_ms) - start)),
        (None, _) => String::new(),
    }
}

/// `81.3 %`; of nothing, all.
pub(crate) fn percent(part: &i64, whole: &i64) -> String {
    if *whole <= 0 {
        return "100 %".to_owned();
    }
    // Never rounded up to all: 99.96 % is not everything.
    let tenths = part.saturating_mul(1000) / whole;
    format!("{}.{} %", tenths / 10, tenths % 10)
}

/// The state whose colour and icon a test has.
pub(crate) fn test_mood(test: &windlass_store::results::Test) -> &'static str {
    use windlass_store::results::TestEnd;
    match test.end {
        TestEnd::Failed => "failed",
        TestEnd::Flaky => "error",
        TestEnd::Skipped => "skipped",
        TestEnd::Passed => "passed",
    }
}

/// Bytes of a file, as [`size`].
pub(crate) fn file_size(bytes: &u64) -> String {
    size(&i64::try_from(*bytes).unwrap_or(i64::MAX))
}

/// Thousandths: `1.5`, `2`.
pub(crate) fn decimal(millis: &u64) -> String {
    windlass_model::node::decimal(*millis)
}

/// `812 B`, `12.5 KiB`, `3.0 GiB`.
pub(crate) fn size(bytes: &i64) -> String {
    let bytes = (*bytes).max(0);
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1024.0, 0);
    while value >= 1024.0 && unit < 3 {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", ["KiB", "MiB", "GiB", "TiB"][unit])
}

/// `1,234,567`.
pub(crate) fn number(n: &u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How long after the step's start, as a log's line shows it: `3.120`, `1:02.500`, `1:00:02.500`.
pub(crate) fn since_start(us: i64) -> String {
    let ms = us.max(0) / 1_000;
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    let (minutes, s) = (seconds / 60, seconds % 60);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{s}.{rest:03}"),
        (0, m) => format!("{m}:{s:02}.{rest:03}"),
        (h, m) => format!("{h}:{m:02}:{s:02}.{rest:03}"),
    }
}

/// The sign beside a state's word, so that nobody needs colours.
pub(crate) fn icon(state: &str) -> &'static str {
    match state {
        "passed" => "✓",
        "failed" => "✕",
        "error" => "!",
        "running" => "▶",
        "cancelled" => "⊘",
        "skipped" => "–",
        _ => "○",
    }
}

/// All states that a list can be filtered by.
pub(crate) fn states() -> [BuildState; 7] {
    BuildState::ALL
}

/// One word for how far a step is: that of its sign and colour.
pub(crate) fn step_state(step: &Step) -> &'static str {
    match &step.outcome {
        Some(outcome) => outcome_state(outcome),
        None if step.is_running() => "running",
        None => "waiting",
    }
}

/// One word for how a step ended.
pub(crate) fn outcome_state(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Skipped | Outcome::NotNeeded { .. } => "skipped",
        good if good.is_success() => "passed",
        Outcome::Stopped {
            cause: StopCause::Cancelled,
        } => "cancelled",
        Outcome::Lost { .. } => "error",
        _ => "failed",
    }
}

/// What a person reads about a step: `running`, `exit code 1`.
pub(crate) fn step_words(step: &Step) -> String {
    match &step.outcome {
        Some(outcome) => outcome.to_string(),
        None => step_state(step).to_owned(),
    }
}

/// How long a step took, or has been running.
pub(crate) fn step_duration(step: &Step) -> String {
    match (step.duration_us, step.started_us) {
        (_, None) => String::new(),
        (Some(us), _) => duration(&(us / 1_000)),
        (None, Some(start)) => span(Some(start / 1_000), step.ended_us.map(|us| us / 1_000)),
    }
}

/// Where a build's code is: `main`, `tag v1`, `#7 from topic`.
pub(crate) fn origin(trigger: &Trigger) -> String {
    match &trigger.event {
        Event::Push { branch, .. } => branch.clone(),
        Event::Tag { tag } => format!("tag {tag}"),
        Event::PullRequest { number, head, .. } => format!("#{number} from {head}"),
        Event::Schedule { .. } | Event::Manual | Event::Api => trigger
            .git_ref
            .strip_prefix("refs/heads/")
            .unwrap_or(&trigger.git_ref)
            .to_owned(),
    }
}

/// Why a build exists, as a sentence.
pub(crate) fn reason(trigger: &Trigger) -> String {
    match &trigger.event {
        Event::Push {
            branch,
            forced: false,
        } => format!("push to {branch}"),
        Event::Push { branch, .. } => format!("forced push to {branch}"),
        Event::Tag { tag } => format!("tag {tag}"),
        Event::PullRequest {
            number,
            title,
            base,
            head,
            from_fork,
        } => {
            let fork = if *from_fork { " (from a fork)" } else { "" };
            format!("pull request #{number} “{title}”: {head} into {base}{fork}")
        }
        Event::Schedule { name } => format!("schedule {name}, {}", origin(trigger)),
        Event::Manual => format!("asked for by hand, {}", origin(trigger)),
        Event::Api => format!("asked for by a program, {}", origin(trigger)),
    }
}

/// The title of a build: its commit's message, or its pull request's title.
pub(crate) fn title(trigger: &Trigger) -> String {
    match &trigger.event {
        _ if !trigger.message.is_empty() => trigger.message.clone(),
        Event::PullRequest { title, .. } if !title.is_empty() => title.clone(),
        _ => reason(trigger),
    }
}

/// A link that a stranger gave, if it is one to the web: `javascript:` is none.
pub(crate) fn web_link(url: &Option<String>) -> Option<&str> {
    let url = url.as_deref()?;
    let lower = url.get(..8).unwrap_or(url).to_ascii_lowercase();
    (lower.starts_with("https://") || lower.starts_with("http://")).then_some(url)
}

/// At most `max` characters, and a sign that there were more.
pub(crate) fn cut(text: impl AsRef<str>, max: usize) -> String {
    let text = text.as_ref();
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_durations_are_short() {
        let now = 1_764_000_000_000;
        for (ago_s, words) in [
            (-5, "just now"),
            (59, "just now"),
            (60, "1 min ago"),
            (3_600, "1 h ago"),
            (47 * 3_600, "47 h ago"),
            (48 * 3_600, "2 d ago"),
            (90 * 86_400, "2025-08-26"),
        ] {
            assert_eq!(age_at(now, now - ago_s * 1_000), words);
        }
        for (ms, words) in [
            (-1, "0.0 s"),
            (412, "0.4 s"),
            (12_900, "12 s"),
            (184_000, "3 min 4 s"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(duration(&ms), words);
        }
    }

    #[test]
    fn sizes_numbers_and_offsets() {
        assert_eq!(size(&812), "812 B");
        assert_eq!(size(&12_800), "12.5 KiB");
        assert_eq!(size(&(3 << 30)), "3.0 GiB");
        assert_eq!(number(&1_234_567), "1,234,567");
        assert_eq!(number(&12), "12");
        assert_eq!(since_start(3_120_000), "3.120");
        assert_eq!(since_start(62_500_000), "1:02.500");
        assert_eq!(since_start(3_602_500_000), "1:00:02.500");
    }

    #[test]
    fn only_web_addresses_become_links() {
        assert!(web_link(&Some("https://x/y".to_owned())).is_some());
        assert!(web_link(&Some("HTTP://x".to_owned())).is_some());
        for bad in ["javascript:alert(1)", "data:text/html,x", "", "//x", "ü"] {
            assert!(web_link(&Some(bad.to_owned())).is_none(), "{bad}");
        }
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}
