//! Webhooks: check who sent it, write it down, answer. Nothing is decided here, so nothing can be
//! lost here: whoever reads the inbox decides.
//!
//! The URL alone says which forge it is: `/hooks/github` takes every repository's webhooks,
//! `/hooks/github/{repo}` only those that are signed with that repository's secret.
//!
//! Which secret fitted is remembered as the delivery's repository: when the URL names one, or when
//! the secret belongs to exactly one. When several repositories share a secret, the delivery is
//! stored without a repository, and the reader finds it by the payload; it must then take only a
//! repository that has a webhook secret. When the repository is set, the reader must refuse a
//! payload about another one: whoever knows one repository's secret must not speak for the rest.

use std::net::SocketAddr;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Extension, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use windlass_forge::signature;
use windlass_model::Secret;
use windlass_store::{ForgeKind, NewDelivery, Receipt};

use crate::error::WebError;
use crate::places::RepoPath;
use crate::state::App;

/// GitHub sends at most 25 MB; a form around it takes a little more.
pub(crate) const MAX_BODY: usize = 26 * 1024 * 1024;
/// Longer headers are cut before they are noted: they are a stranger's.
const MAX_HEADER: usize = 200;

type Peer = Option<Extension<ConnectInfo<SocketAddr>>>;
type Body = Result<Bytes, BytesRejection>;

/// `POST /hooks/github`
pub(crate) async fn github(
    State(app): State<App>,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, WebError> {
    let secrets = app.store.webhook_secrets(ForgeKind::Github).await?;
    let secrets = secrets.into_iter().map(|(secret, repos)| {
        let only = (repos.len() == 1).then(|| repos[0]);
        (secret, only)
    });
    take(&app, secrets.collect(), peer, &headers, body).await
}

/// `POST /hooks/github/{repo}`
pub(crate) async fn github_repo(
    State(app): State<App>,
    RepoPath(name): RepoPath,
    peer: Peer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, WebError> {
    let repo = app.store.repo_by_name(&name).await?;
    let secrets = app.store.webhook_secrets(ForgeKind::Github).await?;
    let secrets = secrets
        .into_iter()
        .filter(|(_, repos)| repos.contains(&repo.id))
        .map(|(secret, _)| (secret, Some(repo.id)));
    take(&app, secrets.collect(), peer, &headers, body).await
}

async fn take(
    app: &App,
    secrets: Vec<(Secret, Option<i64>)>,
    peer: Peer,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, WebError> {
    let remote = remote(peer, headers);
    let key = header(headers, "x-github-delivery");
    let event = header(headers, "x-github-event");
    let mut new = NewDelivery {
        forge: ForgeKind::Github,
        key: key.unwrap_or_default(),
        event: event.unwrap_or_default(),
        repo_id: None,
        content_type: header(headers, "content-type"),
        remote: &remote,
        signature: header(headers, "x-hub-signature-256"),
        body: &[],
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let too_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
            if !too_large {
                return Err(WebError::bad_request("the body did not arrive whole"));
            }
            app.store.reject(&new, "larger than 26 MiB").await?;
            return Err(WebError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "the delivery is larger than 26 MiB",
            )
            .hint("GitHub sends at most 25 MB: something else is calling this hook"));
        }
    };
    new.body = &body;
    match trusted(&secrets, headers, &body) {
        Ok(repo_id) => new.repo_id = repo_id,
        Err((verdict, error)) => {
            app.store.reject(&new, verdict).await?;
            return Err(error);
        }
    }
    if key.is_none() || event.is_none() {
        return Err(WebError::bad_request(
            "the headers X-GitHub-Delivery and X-GitHub-Event must be there, \
             with at most 200 characters",
        ));
    }
    let receipt = app.store.receive(&new).await?;
    let known = !matches!(receipt, Receipt::New(_));
    let answer = serde_json::json!({"delivery": receipt.id(), "known": known});
    Ok((StatusCode::ACCEPTED, Json(answer)).into_response())
}

/// Whose secret signed the body. Nothing of the body has been looked at before.
fn trusted(
    secrets: &[(Secret, Option<i64>)],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Option<i64>, (&'static str, WebError)> {
    let refuse = |verdict, hint: &str| {
        let error = WebError::new(StatusCode::UNAUTHORIZED, verdict).hint(hint);
        Err((verdict, error))
    };
    if secrets.is_empty() {
        return refuse(
            "no repository has a webhook secret",
            "set one with `windlass repo set NAME --webhook-secret-file FILE`",
        );
    }
    let given = headers.get("x-hub-signature-256");
    let Some(given) = given else {
        return refuse(
            "no signature",
            "give the webhook on the forge the same secret as the repository here",
        );
    };
    let (keys, owners): (Vec<Secret>, Vec<Option<i64>>) = secrets.iter().cloned().unzip();
    match signature::verify_any(&keys, given.to_str().ok(), body) {
        Some(position) => Ok(owners[position]),
        None => refuse(
            "bad signature",
            "the webhook has another secret than the repository, or a proxy changed the body",
        ),
    }
}

/// A header's text, unless it is empty, too long or not text.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    (!text.is_empty() && text.len() <= MAX_HEADER).then_some(text)
}

/// Who sent it, for people: nothing is decided by it.
fn remote(peer: Peer, headers: &HeaderMap) -> String {
    let address = match peer {
        Some(Extension(ConnectInfo(address))) => address.ip().to_string(),
        None => "unknown".to_owned(),
    };
    match header(headers, "x-forwarded-for") {
        Some(forwarded) => format!("{address} (for {forwarded})"),
        None => address,
    }
}
