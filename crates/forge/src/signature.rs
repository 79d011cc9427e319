//! Whether a webhook delivery was sent by somebody who knows the secret.
//!
//! GitHub ("Validating webhook deliveries") and others sign the raw body with HMAC-SHA256 and send
//! `X-Hub-Signature-256: sha256=<64 hex digits>`. Check before anything is parsed.

use ring::hmac;
use windlass_model::Secret;

/// Why a delivery isn't trusted. No message repeats a signature or a secret: what is sent by a
/// stranger doesn't belong in a log, and the right signature even less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The receiver has no secret. Everybody could sign with an empty one.
    #[error("no webhook secret is configured for this repository")]
    NoSecret,
    /// The header is absent.
    #[error("the header X-Hub-Signature-256 is missing: give the webhook the repository's secret")]
    Missing,
    /// The header names another method, for example the legacy `sha1=`.
    #[error("the signature is not of the kind sha256=")]
    OtherMethod,
    /// `sha256=` is there, but not followed by exactly 64 hex digits.
    #[error("the signature is not sha256= and 64 hex digits")]
    Malformed,
    /// Signed with another secret, or the body was changed on its way.
    #[error(
        "the signature does not fit: the webhook has another secret, or a proxy changed the body"
    )]
    Mismatch,
}

/// The length of an HMAC-SHA256 in hex digits.
const HEX_DIGITS: usize = 64;

/// Checks `header`, the value of `X-Hub-Signature-256`, against `body`, the raw bytes as they came
/// (for a form: the whole form). The comparison takes the same time wherever the first difference
/// is. Hex digits may be upper or lower case.
///
/// # Errors
///
/// Each way of not being trusted has its own; an empty secret trusts nobody.
pub fn verify_sha256(
    secret: &Secret,
    header: Option<&str>,
    body: &[u8],
) -> Result<(), SignatureError> {
    if secret.expose().is_empty() {
        return Err(SignatureError::NoSecret);
    }
    let header = header.ok_or(SignatureError::Missing)?;
    let digits = header
        .strip_prefix("sha256=")
        .ok_or(SignatureError::OtherMethod)?;
    if digits.len() != HEX_DIGITS {
        return Err(SignatureError::Malformed);
    }
    let tag = hex::decode(digits).map_err(|_| SignatureError::Malformed)?;
    hmac::verify(&key(secret), body, &tag).map_err(|_| SignatureError::Mismatch)
}

/// Which of `secrets` signed the delivery: the position of the first that fits, or None. Two
/// secrets are valid at once while one takes the place of the other.
pub fn verify_any(secrets: &[Secret], header: Option<&str>, body: &[u8]) -> Option<usize> {
    secrets
        .iter()
        .position(|secret| verify_sha256(secret, header, body).is_ok())
}

/// The header's value for `body`, as GitHub would send it: for senders, and for tests.
pub fn sign_sha256(secret: &Secret, body: &[u8]) -> String {
    format!(
        "sha256={}",
        hex::encode(hmac::sign(&key(secret), body).as_ref())
    )
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub's own test values ("Validating webhook deliveries", "Testing the webhook payload
    /// validation").
    const SECRET: &str = "It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const HEADER: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn verify(header: Option<&str>) -> Result<(), SignatureError> {
        verify_sha256(&Secret::new(SECRET), header, BODY)
    }

    #[test]
    fn githubs_own_vector_is_good_and_is_what_we_sign() {
        assert_eq!(verify(Some(HEADER)), Ok(()));
        assert_eq!(sign_sha256(&Secret::new(SECRET), BODY), HEADER);
    }

    #[test]
    fn every_other_header_is_refused_with_its_own_reason() {
        let changed = HEADER.replace("757107", "757108");
        let sha1 = format!("sha1={}", "a".repeat(40));
        let trailing_space = format!("{HEADER} ");
        let not_hex = format!("sha256={}", "g".repeat(64));
        let wide = format!("sha256={}", "ü".repeat(32));
        let none = SignatureError::Missing;
        assert_eq!(verify(None), Err(none));
        for (header, error) in [
            (changed.as_str(), SignatureError::Mismatch),
            (&sha1, SignatureError::OtherMethod),
            ("", SignatureError::OtherMethod),
            (&HEADER[7..], SignatureError::OtherMethod),
            (
                &HEADER.replace("sha256", "SHA256"),
                SignatureError::OtherMethod,
            ),
            // Gitea sends this when its hook has no secret.
            ("sha256=", SignatureError::Malformed),
            (&HEADER[..HEADER.len() - 1], SignatureError::Malformed),
            (&HEADER[..HEADER.len() - 2], SignatureError::Malformed),
            (&trailing_space, SignatureError::Malformed),
            (&not_hex, SignatureError::Malformed),
            (&wide, SignatureError::Malformed),
        ] {
            assert_eq!(verify(Some(header)), Err(error), "{header:?}");
        }
    }

    #[test]
    fn another_body_or_secret_does_not_fit() {
        let secret = Secret::new(SECRET);
        for body in [&b"Hello, World"[..], b"Hello, World!\n", b""] {
            let verdict = verify_sha256(&secret, Some(HEADER), body);
            assert_eq!(verdict, Err(SignatureError::Mismatch));
        }
        let other = verify_sha256(&Secret::new("it's a secret"), Some(HEADER), BODY);
        assert_eq!(other, Err(SignatureError::Mismatch));
    }

    #[test]
    fn upper_case_digits_are_the_same_digits() {
        let upper = format!("sha256={}", HEADER[7..].to_uppercase());
        assert_eq!(verify(Some(&upper)), Ok(()));
    }

    #[test]
    fn an_empty_secret_trusts_nobody_not_even_who_signed_with_it() {
        let empty = Secret::new("");
        let header = sign_sha256(&empty, BODY);
        let verdict = verify_sha256(&empty, Some(&header), BODY);
        assert_eq!(verdict, Err(SignatureError::NoSecret));
        assert_eq!(verify_any(&[empty], Some(&header), BODY), None);
    }

    #[test]
    fn a_secret_and_a_body_may_hold_any_character() {
        let secret = Secret::new("Schlüssel 🔑");
        let body = "{\"message\":\"größer 🚀\"}".as_bytes();
        let header = sign_sha256(&secret, body);
        assert_eq!(verify_sha256(&secret, Some(&header), body), Ok(()));
        let binary = [0, 255, 10, 13, 0];
        let header = sign_sha256(&secret, &binary);
        assert_eq!(verify_sha256(&secret, Some(&header), &binary), Ok(()));
    }

    #[test]
    fn while_secrets_change_either_fits() {
        let secrets = [Secret::new("new"), Secret::new(SECRET)];
        assert_eq!(verify_any(&secrets, Some(HEADER), BODY), Some(1));
        let header = sign_sha256(&secrets[0], BODY);
        assert_eq!(verify_any(&secrets, Some(&header), BODY), Some(0));
        assert_eq!(verify_any(&secrets, None, BODY), None);
        assert_eq!(verify_any(&[], Some(HEADER), BODY), None);
    }

    #[test]
    fn the_largest_delivery_that_github_sends_is_checked_too() {
        let body = vec![b'x'; 25 * 1024 * 1024];
        let secret = Secret::new(SECRET);
        let header = sign_sha256(&secret, &body);
        assert_eq!(verify_sha256(&secret, Some(&header), &body), Ok(()));
    }

    #[test]
    fn no_message_repeats_what_was_sent() {
        for error in [
            SignatureError::NoSecret,
            SignatureError::Missing,
            SignatureError::OtherMethod,
            SignatureError::Malformed,
            SignatureError::Mismatch,
        ] {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("757107") && !text.contains(SECRET), "{text}");
        }
    }
}
