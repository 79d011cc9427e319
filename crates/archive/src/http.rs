//! The HTTP client for archives, and what every exchange has in common: time limits, answers of a
//! bounded size, pauses.

use std::error::Error as _;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::{Certificate, Client, Response};

use crate::error::{ArchiveError, Result};

/// No answer that we keep in memory may be larger.
const MOST_ANSWER: usize = 64 * 1024 * 1024;

/// The longest pause that the other side can make us wait.
const MOST_PAUSE: Duration = Duration::from_secs(120);

/// A client that follows no redirect: an archive that moved is a setting that is to be changed.
pub(crate) fn client(ca_pem: Option<&[u8]>, timeout: Duration) -> Result<Client> {
    // Fails only when another part of the process was first, with the one that it wants.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("windlass/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10).min(timeout))
        .read_timeout(timeout);
    if let Some(pem) = ca_pem {
        let found = Certificate::from_pem_bundle(pem)
            .map_err(|e| ArchiveError::setting(format!("the CA file is not usable: {e}")))?;
        if found.is_empty() {
            return Err(ArchiveError::setting(
                "the CA file holds no certificate: it must be PEM",
            ));
        }
        builder = builder.tls_certs_only(found);
    }
    builder
        .build()
        .map_err(|e| ArchiveError::setting(format!("no HTTP client can be made: {}", chain(&e))))
}

/// An error with its causes, and without its URL: URLs of object storage are signed.
pub(crate) fn chain(error: &reqwest::Error) -> String {
    let mut text = if error.is_timeout() {
        "no answer in time".to_owned()
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the request failed".to_owned()
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        source = cause.source();
    }
    text
}

/// The whole body, if it is not too large.
pub(crate) async fn body(mut answer: Response, what: &str) -> Result<Bytes> {
    let mut body = BytesMut::new();
    loop {
        let chunk = answer
            .chunk()
            .await
            .map_err(|e| ArchiveError::outage(format!("{what}: {}", chain(&e))))?;
        let Some(chunk) = chunk else {
            return Ok(body.freeze());
        };
        if body.len() + chunk.len() > MOST_ANSWER {
            return Err(ArchiveError::outage(format!(
                "{what}: the answer has more than {MOST_ANSWER} bytes"
            )));
        }
        body.extend_from_slice(&chunk);
    }
}

/// What `Retry-After` asks for, if it is a number of seconds.
pub(crate) fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get("retry-after")?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().ok()?).min(MOST_PAUSE))
}

/// The pause before try number `tries` (from 0): doubled each time, at most `most`, and between
/// half and all of that by chance, so that those who failed together don't come back together.
pub fn backoff(base: Duration, tries: u32, most: Duration) -> Duration {
    let whole = base.saturating_mul(1 << tries.min(16)).min(most);
    let chance = RandomState::new().hash_one(tries) >> 40;
    whole.mul_f64(0.5 + chance as f64 / f64::from(1 << 25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let (base, most) = (Duration::from_millis(100), Duration::from_secs(60));
        for tries in 0..40 {
            let whole = base.saturating_mul(1 << tries.min(16)).min(most);
            let pause = backoff(base, tries, most);
            assert!(pause >= whole / 2 && pause <= whole, "{tries}: {pause:?}");
        }
        let first = backoff(base, 3, most);
        assert!((0..50).any(|_| backoff(base, 3, most) != first));
    }
}
