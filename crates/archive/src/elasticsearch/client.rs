//! One exchange with the cluster: who we are, tries, and what an answer means.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Url};
use serde_json::Value;

use super::{Auth, ElasticsearchConfig, pause};
use crate::error::{ArchiveError, Result};
use crate::http::{self, body, chain, retry_after};

/// How often a request is sent that the cluster has no room for.
pub(super) const TRIES: u32 = 5;

/// An answer: its status, and its JSON (null if it was none).
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    auth: Auth,
    pub(super) pause: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.base).finish()
    }
}

impl Client {
    pub(super) fn new(config: ElasticsearchConfig) -> Result<Self> {
        let wrong = |why: &str| {
            Err(ArchiveError::setting(format!(
                "the address of Elasticsearch {why}: give it as https://search.example.org:9200"
            )))
        };
        let url = match Url::parse(&config.url) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => return wrong("is not an http(s) URL"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("must not hold a user or a password (other processes see it)");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return wrong("must have no query");
        }
        Ok(Self {
            http: http::client(config.ca_pem.as_deref(), config.timeout)?,
            base: url.as_str().trim_end_matches('/').to_owned(),
            auth: config.auth,
            pause: config.pause,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.base
    }

    pub(super) async fn get(&self, path: &str, what: &str) -> Result<Value> {
        let answer = self.call(Method::GET, path, None, what).await?;
        ok(answer, what)
    }

    pub(super) async fn put(&self, path: &str, json: &Value, what: &str) -> Result<Value> {
        let body = Some(("application/json", Bytes::from(json.to_string())));
        let answer = self.call(Method::PUT, path, body, what).await?;
        ok(answer, what)
    }

    pub(super) async fn post(&self, path: &str, json: Option<&Value>, what: &str) -> Result<Value> {
        let body = json.map(|json| ("application/json", Bytes::from(json.to_string())));
        let answer = self.call(Method::POST, path, body, what).await?;
        ok(answer, what)
    }

    pub(super) async fn delete(&self, path: &str, what: &str) -> Result<Value> {
        let answer = self.call(Method::DELETE, path, None, what).await?;
        ok(answer, what)
    }

    /// Sends, and sends again after a pause as long as the cluster says that it has no room.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        content: Option<(&'static str, Bytes)>,
        what: &str,
    ) -> Result<Answer> {
        let mut tries = 0;
        loop {
            let mut request = self
                .http
                .request(method.clone(), format!("{}{path}", self.base))
                .header("accept", "application/json");
            request = match &self.auth {
                Auth::None => request,
                Auth::Basic { user, password } => request.basic_auth(user, Some(password.expose())),
                Auth::ApiKey(key) => {
                    request.header("authorization", format!("ApiKey {}", key.expose()))
                }
            };
            if let Some((kind, body)) = &content {
                request = request.header("content-type", *kind).body(body.clone());
            }
            let answer = request
                .send()
                .await
                .map_err(|e| ArchiveError::outage(format!("{what}: {}", chain(&e))))?;
            let (status, after) = (answer.status().as_u16(), retry_after(&answer));
            let bytes = body(answer, what).await?;
            let json = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let answer = Answer { status, body: json };
            if !matches!(status, 429 | 502..=504) {
                return Ok(answer);
            }
            tries += 1;
            if tries >= TRIES || after.is_some_and(|wait| wait > Duration::from_secs(20)) {
                return Err(ArchiveError::Outage {
                    reason: format!("{what}: {}", explain(&answer)),
                    after,
                });
            }
            tokio::time::sleep(after.unwrap_or_else(|| pause(self.pause, tries))).await;
        }
    }
}

/// The body of an answer that says yes, or what is to be done about its no.
pub(super) fn ok(answer: Answer, what: &str) -> Result<Value> {
    let reason = || format!("{what}: {}", explain(&answer));
    match answer.status {
        200..=299 if answer.body.is_null() => Err(ArchiveError::outage(format!(
            "{what}: the answer is not JSON; is this the address of Elasticsearch or OpenSearch?"
        ))),
        200..=299 => Ok(answer.body),
        400 | 405 | 406 | 413 => Err(ArchiveError::refused(reason())),
        404 => Err(ArchiveError::missing(reason())),
        401 | 403 => Err(ArchiveError::outage(format!(
            "{}; check the user and password, or the API key, and what it may do",
            reason()
        ))),
        _ => Err(ArchiveError::outage(reason())),
    }
}

/// The words of an error: its type and reason, if it is one of Elasticsearch's.
pub(super) fn explain(answer: &Answer) -> String {
    let words = words(&answer.body["error"]);
    if words.is_empty() {
        format!("the answer was {}", answer.status)
    } else {
        format!("{words} ({})", answer.status)
    }
}

/// `{"type": .., "reason": .., "caused_by": ..}`, or a plain string.
pub(super) fn words(error: &Value) -> String {
    if let Some(text) = error.as_str() {
        return text.to_owned();
    }
    let part = |error: &Value| {
        let kind = error["type"].as_str().unwrap_or_default();
        let reason = error["reason"].as_str().unwrap_or_default();
        match (kind, reason) {
            ("", reason) => reason.to_owned(),
            (kind, "") => kind.to_owned(),
            (kind, reason) => format!("{kind}: {reason}"),
        }
    };
    let mut text = part(error);
    let cause = part(&error["caused_by"]);
    if !cause.is_empty() {
        text = format!("{text}, caused by {cause}");
    }
    // Of strangers, and without end.
    text.chars().take(600).collect()
}
