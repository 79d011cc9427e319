//! GitHub, in the cloud or as an Enterprise Server: its webhooks, names and API addresses.
//!
//! [`read`] says what a delivery means. The payload's fields are in `payload.rs`, what a push and
//! a pull request mean in `push.rs` and `pull_request.rs`, repository names in `full_name.rs`, and
//! telling GitHub how a commit fares in [`statuses`].

mod full_name;
mod payload;
mod pull_request;
mod push;
pub mod statuses;

pub use full_name::{api_base_from_url, full_name_from_url};

use std::borrow::Cow;

use crate::incoming::{Incoming, Meaning, PayloadError};
use crate::people;
use payload::Payload;

/// What a delivery means. `event` is the header `X-GitHub-Event`, `content_type` the header
/// `Content-Type` (absent means JSON), `body` the raw body, whose signature was checked before.
///
/// GitHub adds events, actions and fields at any time ("Webhook events and payloads"), and its own
/// examples don't fit its own schemas. So only the fields that are needed are looked at, one with
/// an unexpected type counts as absent, and what is unknown is ignored with a reason.
///
/// # Errors
///
/// When the body is no payload at all, or when a push or a pull request lacks what a build needs.
pub fn read(
    event: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<Incoming, PayloadError> {
    let json = json_of(content_type, body)?;
    // serde would also read a struct from an array, field by field.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(PayloadError::NotJson {
            detail: "it does not start with {".to_owned(),
        });
    }
    let payload: Payload =
        serde_json::from_slice(&json).map_err(|error| PayloadError::NotJson {
            detail: error.to_string(),
        })?;
    let meaning = match event {
        "ping" => Meaning::Ping {
            zen: people::one_line(&payload.zen, people::LINE),
        },
        "push" => push::meaning(&payload)?,
        "pull_request" => pull_request::meaning(&payload)?,
        other => {
            let event = people::one_line(other, people::NAME);
            Meaning::ignored(format!("event '{event}' starts no build"))
        }
    };
    let repository = payload.repository.as_ref();
    Ok(Incoming {
        repository: repository.and_then(payload::Repository::identity),
        meaning,
    })
}

/// The JSON in the body: the body itself, or a form's field `payload`.
fn json_of<'a>(content_type: Option<&str>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, PayloadError> {
    let given = content_type.unwrap_or("application/json");
    // Without parameters: `application/json; charset=utf-8`.
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/json") {
        Ok(Cow::Borrowed(body))
    } else if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        form_urlencoded::parse(body)
            .find(|(name, _)| name == "payload")
            .map(|(_, json)| Cow::Owned(json.into_owned().into_bytes()))
            .ok_or(PayloadError::NoPayloadField)
    } else {
        Err(PayloadError::ContentType {
            given: people::one_line(given, people::NAME),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAR: &[u8] = br#"{"action":"created","repository":{"full_name":"o/r","id":7}}"#;

    #[test]
    fn both_of_githubs_content_types_are_read() {
        let form: String = form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", std::str::from_utf8(STAR).unwrap())
            .finish();
        let plain = read("star", Some("application/json"), STAR).unwrap();
        assert_eq!(plain.repository.as_ref().unwrap().full_name, "o/r");
        assert_eq!(
            plain.meaning,
            Meaning::ignored("event 'star' starts no build")
        );
        for (content_type, body) in [
            (None, STAR),
            (Some("Application/JSON; charset=utf-8"), STAR),
            (Some("application/x-www-form-urlencoded"), form.as_bytes()),
        ] {
            assert_eq!(read("star", content_type, body).as_ref(), Ok(&plain));
        }
    }

    #[test]
    fn what_is_no_payload_is_said_to_be_none() {
        let form = Some("application/x-www-form-urlencoded");
        assert_eq!(
            read("push", form, b"data=1"),
            Err(PayloadError::NoPayloadField)
        );
        let xml = read("push", Some("text/xml"), b"<a/>").unwrap_err();
        assert!(xml.to_string().contains("application/json"), "{xml}");
        for body in [
            &b""[..],
            b"null",
            b"7",
            b"[]",
            b"[1]",
            b"\"x\"",
            b"{",
            b"\xff\xfe",
        ] {
            let result = read("push", None, body);
            assert!(
                matches!(result, Err(PayloadError::NotJson { .. })),
                "{result:?}"
            );
        }
        let deep = "[".repeat(100_000);
        let deep = format!("{{\"zen\":{deep}");
        assert!(read("ping", None, deep.as_bytes()).is_err());
    }

    #[test]
    fn a_strange_event_is_named_without_its_control_characters() {
        let event = format!("\u{1b}[31m{}", "x".repeat(1000));
        let Meaning::Ignored { reason } = read(&event, None, b"{}").unwrap().meaning else {
            panic!("not ignored");
        };
        assert!(reason.len() < 150 && !reason.contains('\u{1b}'), "{reason}");
    }
}
