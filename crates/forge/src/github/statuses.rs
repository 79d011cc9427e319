//! Telling GitHub how a commit fares: the REST API's "Create a commit status".
//!
//! [`GithubStatuses::send`] tries once and says what came of it; the caller keeps the message in
//! its outbox until it is accepted or refused for good. What an answer means is decided in
//! `statuses/verdict.rs`, without a network.

mod verdict;

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Client, Response, StatusCode, Url};
use serde::Serialize;
use windlass_model::status::CommitStatus;
use windlass_model::{Revision, Secret};

use super::full_name;
use crate::{http, people};

/// The base URL of GitHub in the cloud. An Enterprise Server's is `https://HOST/api/v3`.
pub const GITHUB_API: &str = "https://api.github.com";

/// Characters of a description that GitHub takes; more is refused with 422.
const DESCRIPTION: usize = 140;

/// How long GitHub may take for an answer, from the connection to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Renamed twice, moved once: more redirects than that are a circle.
const REDIRECTS: usize = 3;

/// Bytes of an answer that are read. Only an error's message matters.
const ANSWER: usize = 64 * 1024;

/// The first wait of [`backoff`].
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// The longest wait of [`backoff`].
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What came of sending one status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// GitHub has it.
    Accepted,
    /// Not now. Try again.
    Later {
        /// Wait at least this long. None: [`backoff`] decides alone.
        after: Option<Duration>,
        /// Why, for people, and what they can do about it. Never holds the token.
        reason: String,
    },
    /// Never: sending the same again would be refused again.
    Refused {
        /// Why, for people. Never holds the token.
        reason: String,
    },
}

impl Sent {
    fn later(after: Option<Duration>, reason: impl Into<String>) -> Self {
        Self::Later {
            after,
            reason: reason.into(),
        }
    }

    fn refused(reason: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
        }
    }
}

/// The base URL can't be an API's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the API's base URL is not valid: {0}; give https://api.github.com or https://HOST/api/v3")]
pub struct BaseUrlError(String);

/// Sends commit statuses to one GitHub. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GithubStatuses {
    base: Url,
    client: Client,
    timeout: Duration,
}

/// The request's body (REST reference, "Create a commit status", body parameters).
#[derive(Serialize)]
struct Body<'a> {
    state: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<String>,
    description: String,
    context: &'a str,
}

impl GithubStatuses {
    /// For the API at `base_url` ([`GITHUB_API`], `https://HOST/api/v3`; `http://` is allowed), with
    /// a client from [`http_client`](crate::http_client): one that follows redirects by itself
    /// would carry the token elsewhere.
    ///
    /// # Errors
    ///
    /// When `base_url` isn't an `http(s)` URL, or holds a user, a password, `?` or `#`.
    pub fn new(base_url: &str, client: Client) -> Result<Self, BaseUrlError> {
        let error = |problem: &str| BaseUrlError(problem.to_owned());
        let base = Url::parse(base_url).map_err(|problem| BaseUrlError(problem.to_string()))?;
        if !matches!(base.scheme(), "https" | "http") {
            return Err(error("it doesn't start with https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(error("it holds a user or a password"));
        }
        if base.query().is_some() || base.fragment().is_some() {
            return Err(error("it holds ? or #"));
        }
        Ok(Self {
            base,
            client,
            timeout: TIMEOUT,
        })
    }

    /// With another patience than 10 s for each answer.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Tries once to set `status` on its commit in the repository `owner_repo` (`owner/name`, as
    /// from [`full_name_from_url`](super::full_name_from_url)), as the owner of `token`, which
    /// needs the permission `statuses: write` (fine-grained) or `repo:status` (classic).
    ///
    /// The description is cut to GitHub's 140 characters, and a `target_url` that isn't `http(s)`
    /// is left out, rather than lose the status. A redirect (a renamed repository) is followed if
    /// it stays on the same host.
    pub async fn send(&self, owner_repo: &str, token: &Secret, status: &CommitStatus) -> Sent {
        let Some(target) = self.target(owner_repo, &status.revision) else {
            let name = people::one_line(owner_repo, people::NAME);
            return Sent::refused(format!(
                "{name:?} is not owner/name, or the revision is not a full commit id"
            ));
        };
        let Some(authorization) = bearer(token) else {
            return verdict::bad_token();
        };
        let body = Body {
            state: status.state.as_str(),
            target_url: status.target_url.as_deref().and_then(people::link),
            description: people::one_line(&status.description, DESCRIPTION),
            context: &status.context,
        };
        let sent = self.post(target, authorization, &body).await;
        tracing::debug!(
            repository = owner_repo,
            state = body.state,
            ?sent,
            "commit status"
        );
        without(token, sent)
    }

    /// The URL of the operation. None if a part of it could lead elsewhere.
    fn target(&self, owner_repo: &str, revision: &str) -> Option<Url> {
        let (owner, repo) = full_name::parts(owner_repo)?;
        let revision: Revision = revision.parse().ok()?;
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend([
            "repos",
            owner,
            repo,
            "statuses",
            revision.as_str(),
        ]);
        Some(url)
    }

    async fn post(&self, mut url: Url, authorization: HeaderValue, body: &Body<'_>) -> Sent {
        for _ in 0..=REDIRECTS {
            let request = self
                .client
                .post(url.clone())
                .timeout(self.timeout)
                .header(ACCEPT, "application/vnd.github+json")
                .header("X-GitHub-Api-Version", "2022-11-28")
                .header(USER_AGENT, http::USER_AGENT)
                .header(AUTHORIZATION, authorization.clone())
                .json(body);
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) => return self.unreachable(error),
            };
            let code = response.status();
            if !code.is_redirection() {
                let answer = read(response).await;
                return verdict::judge(&answer, Timestamp::now());
            }
            match self.next(&url, code, response.headers().get(LOCATION)) {
                Ok(next) => url = next,
                Err(refused) => return refused,
            }
        }
        Sent::refused("GitHub redirects in a circle")
    }

    /// Where a redirect leads. Only the three that keep the method are followed (REST reference,
    /// "Follow redirects"), and only on the same host, scheme and port: the token is for this
    /// GitHub and nobody else.
    fn next(&self, from: &Url, code: StatusCode, to: Option<&HeaderValue>) -> Result<Url, Sent> {
        if !matches!(code.as_u16(), 301 | 307 | 308) {
            return Err(Sent::refused(format!(
                "GitHub answers {code}, which is no answer to this request; is the base URL {} \
                 that of an API?",
                self.base
            )));
        }
        let next = to
            .and_then(|to| to.to_str().ok())
            .and_then(|to| from.join(to).ok());
        match next {
            Some(next) if next.origin() == self.base.origin() => Ok(next),
            Some(next) => Err(Sent::refused(format!(
                "GitHub redirects to another host, {}, where the token is not sent: correct the \
                 repository's URL",
                people::one_line(&next.origin().ascii_serialization(), people::NAME)
            ))),
            None => Err(Sent::refused(format!(
                "GitHub answers {code} without saying where to"
            ))),
        }
    }

    fn unreachable(&self, error: reqwest::Error) -> Sent {
        if error.is_timeout() {
            let patience = self.timeout.as_secs_f64();
            return Sent::later(None, format!("GitHub did not answer within {patience} s"));
        }
        let text = http::chain(&error.without_url());
        let text = people::one_line(&text, people::LINE);
        Sent::later(None, format!("GitHub can't be reached: {text}"))
    }
}

/// How long to wait before the try after `attempt` failed ones: about 10 s after the first, twice
/// as long each time, at most an hour. `jitter`, from 0 to 1, is a random number of the caller's
/// and chooses within the upper half of the wait, so that a thousand statuses that failed together
/// don't come back together.
pub fn backoff(attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    let whole = (FIRST_WAIT * 2_u32.pow(doublings)).min(LONGEST_WAIT);
    // A number that is none counts as 0.
    let jitter = if jitter > 0.0 { jitter.min(1.0) } else { 0.0 };
    whole.mul_f64(0.5 + jitter / 2.0)
}

/// The header's value, marked as secret. None if the token can't be one: empty, or with characters
/// that no header holds. A line end, as at the end of a file, is not part of it.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let token = token.expose().trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What the answer says, as far as it matters. A body that breaks off is an empty one: the code
/// was there.
async fn read(mut response: Response) -> verdict::Answer {
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        Some(value.to_str().ok()?.trim().to_owned())
    };
    let mut answer = verdict::Answer {
        code: response.status().as_u16(),
        date: header("date"),
        retry_after: header("retry-after"),
        remaining: header("x-ratelimit-remaining"),
        reset: header("x-ratelimit-reset"),
        message: String::new(),
    };
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = ANSWER.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() >= ANSWER {
            break;
        }
    }
    answer.message = verdict::message(&body);
    answer
}

/// `sent`, with the token blotted out, should GitHub or a proxy have repeated it.
fn without(token: &Secret, sent: Sent) -> Sent {
    let blot = |reason: String| reason.replace(token.expose().trim(), "***");
    match sent {
        Sent::Accepted => Sent::Accepted,
        Sent::Later { after, reason } => Sent::later(after, blot(reason)),
        Sent::Refused { reason } => Sent::refused(blot(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_an_hour() {
        let waits: Vec<u64> = (0..=11).map(|n| backoff(n, 1.0).as_secs()).collect();
        let expected = [10, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600];
        assert_eq!(waits, expected);
        assert_eq!(backoff(u32::MAX, 1.0), LONGEST_WAIT);
    }

    #[test]
    fn jitter_spreads_over_the_upper_half_and_any_number_will_do() {
        assert_eq!(backoff(2, 0.0), Duration::from_secs(10));
        assert_eq!(backoff(2, 0.5), Duration::from_secs(15));
        assert_eq!(backoff(2, 7.0), Duration::from_secs(20));
        for strange in [f64::NAN, f64::NEG_INFINITY, -1.0] {
            assert_eq!(backoff(2, strange), Duration::from_secs(10));
        }
        assert_eq!(backoff(2, f64::INFINITY), Duration::from_secs(20));
    }

    #[test]
    fn only_an_apis_address_is_a_base_url() {
        let client = crate::http_client().unwrap();
        let new = |url: &str| GithubStatuses::new(url, client.clone());
        let revision = "a".repeat(40);
        for (base, expected) in [
            (GITHUB_API, "https://api.github.com/repos/o/r/statuses/"),
            ("https://h/api/v3", "https://h/api/v3/repos/o/r/statuses/"),
            ("https://h/api/v3/", "https://h/api/v3/repos/o/r/statuses/"),
            (
                "http://127.0.0.1:9",
                "http://127.0.0.1:9/repos/o/r/statuses/",
            ),
        ] {
            let target = new(base).unwrap().target("o/r", &revision).unwrap();
            assert_eq!(target.as_str(), format!("{expected}{revision}"));
        }
        for bad in [
            "",
            "api.github.com",
            "ftp://h/",
            "https://u:p@h/",
            "https://h/?a",
            "https://h/#a",
        ] {
            assert!(new(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Secret::new("ghp_secret\n");
        let value = bearer(&token).unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer ghp_secret");
        assert!(!format!("{value:?}").contains("ghp_secret"));
        for bad in ["", "\n", "two words", "a\nb", "ü"] {
            assert_eq!(bearer(&Secret::new(bad)), None, "{bad:?}");
        }
        let echo = without(&token, Sent::refused("no such token: ghp_secret"));
        assert_eq!(echo, Sent::refused("no such token: ***"));
    }
}
