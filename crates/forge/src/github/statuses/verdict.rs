//! What GitHub's answer to a status means: try again, when, or never. Pure.
//!
//! The rules for 403 and 429 are GitHub's ("Rate limits for the REST API", "Exceeding the rate
//! limit"): `retry-after`, else `x-ratelimit-reset` when nothing remains, else at least a minute.
//! Who goes on regardless may be banned.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

use super::Sent;
use crate::people;

/// The least wait after a limit without a time.
const LIMITED: Duration = Duration::from_secs(60);

/// The wait when only a person can help. Every try with a bad token counts against the account
/// ("Authenticating to the REST API", "Failed login limit").
const FOR_A_PERSON: Duration = Duration::from_secs(30 * 60);

/// The longest wait that is believed. GitHub's windows last an hour; a wrong clock or a proxy may
/// say years.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// The part of an answer that matters. The headers are as they came.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) date: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) remaining: Option<String>,
    pub(super) reset: Option<String>,
    /// GitHub's words, or empty.
    pub(super) message: String,
}

/// What `answer` means. `now` is only used when the answer has no date of its own, by which the
/// server's clock, not ours, measures the wait.
pub(super) fn judge(answer: &Answer, now: Timestamp) -> Sent {
    let now = answer.date.as_deref().and_then(http_date).unwrap_or(now);
    let code = answer.code;
    let said = if answer.message.is_empty() {
        String::new()
    } else {
        format!(": {}", answer.message)
    };
    match code {
        201 => Sent::Accepted,
        // Somebody else answers in GitHub's place: a proxy's log-in page, a wrong base URL.
        200..=299 => Sent::later(
            None,
            format!("GitHub should answer 201 and answers {code}; is the base URL that of an API?"),
        ),
        401 => bad_token(),
        403 | 429 => limited(answer, now, &said),
        404 => Sent::later(
            Some(FOR_A_PERSON),
            "GitHub finds no such repository (404): the token lacks `statuses: write` \
             (fine-grained) or `repo:status` (classic) for it, or the repository was renamed, made \
             private or deleted",
        ),
        408 | 500..=599 => Sent::later(
            wait(answer, now),
            format!("GitHub is in trouble ({code}){said}"),
        ),
        _ => Sent::refused(format!("GitHub refuses the status ({code}){said}")),
    }
}

/// The token is not valid, or can't be one.
pub(super) fn bad_token() -> Sent {
    Sent::later(
        Some(FOR_A_PERSON),
        "the token is not valid; set a new one with `windlass repo set NAME --status-token-file F`",
    )
}

/// 403 says both "too fast" and "you may not". Only the first passes by itself.
fn limited(answer: &Answer, now: Timestamp, said: &str) -> Sent {
    let wait = wait(answer, now);
    let message = answer.message.to_ascii_lowercase();
    let speaks_of_limits = message.contains("rate limit") || message.contains("abuse");
    if answer.code == 403 && wait.is_none() && !speaks_of_limits {
        return Sent::later(
            Some(FOR_A_PERSON),
            format!(
                "GitHub does not allow it (403){said}; the token needs `statuses: write` \
                 (fine-grained) or `repo:status` (classic) for the repository"
            ),
        );
    }
    Sent::later(
        Some(wait.unwrap_or(LIMITED)),
        format!("GitHub's rate limit is reached ({}){said}", answer.code),
    )
}

/// How long the answer says to wait. None if it doesn't.
fn wait(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let until = |then: Timestamp| Duration::try_from(then.duration_since(now)).ok();
    let retry_after = answer.retry_after.as_deref().and_then(|value| {
        // RFC 9110, 10.2.3: seconds or a date.
        let seconds = value.parse().ok().map(Duration::from_secs);
        seconds.or_else(|| http_date(value).and_then(until))
    });
    if let Some(wait) = retry_after {
        return Some(wait.clamp(Duration::from_secs(1), BELIEVED));
    }
    if answer.remaining.as_deref() != Some("0") {
        return None;
    }
    let reset = answer.reset.as_deref()?.parse().ok();
    let reset = reset.and_then(|seconds| Timestamp::from_second(seconds).ok());
    // A second more, because both clocks count whole ones. A time that is past helps nobody.
    let wait = reset.and_then(until).filter(|wait| !wait.is_zero());
    Some(wait.map_or(LIMITED, |wait| {
        (wait + Duration::from_secs(1)).min(BELIEVED)
    }))
}

/// The date of HTTP's headers: RFC 2822's with `GMT`.
fn http_date(value: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(value).ok()
}

/// GitHub's own words in an error's body: `message`, and what `errors` say more precisely. Empty
/// when the body isn't GitHub's.
pub(super) fn message(body: &[u8]) -> String {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return String::new();
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut words: Vec<String> = body.get("message").and_then(text).into_iter().collect();
    let errors = body.get("errors").and_then(Value::as_array);
    // Texts, or objects with a message.
    words.extend(
        errors
            .into_iter()
            .flatten()
            .filter_map(|error| text(error).or_else(|| error.get("message").and_then(text))),
    );
    people::one_line(&words.join(": "), people::LINE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01T00:00:00Z.
    const NOW: i64 = 1_767_225_600;

    fn verdict(answer: Answer) -> (Option<u64>, String) {
        match judge(&answer, Timestamp::from_second(NOW).unwrap()) {
            Sent::Later { after, reason } => (after.map(|after| after.as_secs()), reason),
            other => panic!("{other:?}"),
        }
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    #[test]
    fn a_limit_is_waited_for_as_long_as_it_says() {
        let reset = |seconds: i64| text(&(NOW + seconds).to_string());
        for (retry_after, remaining, reset, expected) in [
            (text("7"), None, None, 7),
            (text("0"), None, None, 1),
            (text("Thu, 01 Jan 2026 00:02:00 GMT"), None, None, 120),
            (text("7"), text("0"), reset(300), 7),
            (None, text("0"), reset(300), 301),
            (None, text("0"), reset(-5), 60),
            (None, text("0"), text("soon"), 60),
            (None, text("12"), reset(300), 60),
            (text("never"), None, None, 60),
            (None, None, None, 60),
            (text("99999999999"), None, None, 86_400),
            (None, text("0"), text("9999999999"), 86_400),
        ] {
            for code in [403, 429] {
                let case = format!("{retry_after:?} {remaining:?} {reset:?}");
                let (after, reason) = verdict(Answer {
                    code,
                    retry_after: retry_after.clone(),
                    remaining: remaining.clone(),
                    reset: reset.clone(),
                    message: "You have exceeded a secondary rate limit".to_owned(),
                    ..Answer::default()
                });
                assert_eq!(after, Some(expected), "{case}");
                assert!(reason.contains("rate limit"), "{reason}");
            }
        }
    }

    #[test]
    fn the_servers_clock_measures_the_wait() {
        let (after, _) = verdict(Answer {
            code: 429,
            date: text("Thu, 01 Jan 2026 00:04:00 GMT"),
            remaining: text("0"),
            reset: text(&(NOW + 300).to_string()),
            ..Answer::default()
        });
        assert_eq!(after, Some(61));
    }

    #[test]
    fn a_403_without_a_limit_is_about_permissions() {
        let (after, reason) = verdict(Answer {
            code: 403,
            remaining: text("4999"),
            message: "Resource not accessible by personal access token".to_owned(),
            ..Answer::default()
        });
        assert_eq!(after, Some(1800));
        assert!(reason.contains("not accessible") && reason.contains("statuses: write"));
    }

    #[test]
    fn every_code_has_a_verdict() {
        let now = Timestamp::from_second(NOW).unwrap();
        for code in 100..=999 {
            let sent = judge(
                &Answer {
                    code,
                    message: "words".to_owned(),
                    ..Answer::default()
                },
                now,
            );
            match code {
                201 => assert_eq!(sent, Sent::Accepted),
                200..=299 | 401 | 403 | 404 | 408 | 429 | 500..=599 => {
                    assert!(matches!(sent, Sent::Later { .. }), "{code}: {sent:?}");
                }
                _ => {
                    let reason = format!("GitHub refuses the status ({code}): words");
                    assert_eq!(sent, Sent::Refused { reason });
                }
            }
        }
    }

    #[test]
    fn githubs_words_are_found_and_another_servers_are_not() {
        for (body, expected) in [
            (
                r#"{"message":"No commit found for SHA: 1"}"#,
                "No commit found for SHA: 1",
            ),
            (
                r#"{"message":"Validation Failed","errors":["a",{"message":"b"},{"code":"c"}]}"#,
                "Validation Failed: a: b",
            ),
            (r#"{"message":"a\nb\u001b[2J","errors":{}}"#, "a b[2J"),
            (r#"{"message":7}"#, ""),
            ("<html>Bad gateway</html>", ""),
            ("", ""),
            ("[]", ""),
        ] {
            assert_eq!(message(body.as_bytes()), expected, "{body}");
        }
    }
}
