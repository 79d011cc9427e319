//! Who may do what. There is one administrator, who has the token. Programs send it as
//! `Authorization: Bearer`; browsers trade it for a cookie at `/login`. The cookie holds an HMAC
//! made with the token, so it tells nobody the token and ends when the token is changed.

use axum::extract::{FromRequestParts, OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use ring::hmac;
use windlass_model::Secret;

use crate::error::WebError;
use crate::headers::asked_host;
use crate::state::{App, AppState};
use crate::urls;

const COOKIE: &str = "windlass_session";
/// What the cookie's HMAC is made of. Another number here ends all sessions.
const SESSION: &[u8] = b"windlass session 1";
const SESSION_SECONDS: u32 = 30 * 24 * 60 * 60;

/// How a request proved that it comes from the administrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    Token,
    Cookie,
}

/// Whether `given` is the token, in a time that does not depend on how much of it is right.
pub(crate) fn is_token(token: &Secret, given: &str) -> bool {
    let text = b"token";
    !token.expose().is_empty()
        && hmac::verify(
            &key(token),
            text,
            hmac::sign(&key(&Secret::new(given)), text).as_ref(),
        )
        .is_ok()
}

fn key(token: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, token.expose().as_bytes())
}

fn proof(app: &AppState, headers: &HeaderMap) -> Option<Proof> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, given) = value.to_str().ok()?.split_once(' ')?;
        let good = scheme.eq_ignore_ascii_case("bearer") && is_token(&app.token, given.trim());
        return good.then_some(Proof::Token);
    }
    let good = !app.token.expose().is_empty()
        && cookies(headers)
            .filter_map(|(name, value)| (name == COOKIE).then(|| hex::decode(value).ok())?)
            .any(|tag| hmac::verify(&key(&app.token), SESSION, &tag).is_ok());
    good.then_some(Proof::Cookie)
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
}

/// Whether pages show what only the administrator can do.
pub(crate) fn is_logged_in(app: &AppState, headers: &HeaderMap) -> bool {
    proof(app, headers).is_some()
}

/// The cookie that means "logged in".
pub(crate) fn session_cookie(app: &AppState) -> HeaderValue {
    let tag = hex::encode(hmac::sign(&key(&app.token), SESSION).as_ref());
    cookie(app, &tag, SESSION_SECONDS)
}

/// The cookie that ends a session.
pub(crate) fn no_cookie(app: &AppState) -> HeaderValue {
    cookie(app, "", 0)
}

fn cookie(app: &AppState, value: &str, seconds: u32) -> HeaderValue {
    let secure = if app.public_url.starts_with("https://") {
        "; Secure"
    } else {
        ""
    };
    let text =
        format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    // Hex digits and our own words are always a legal header.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

/// Whether a browser sent this request from one of our own pages. `None`: nothing is said about
/// where it comes from.
fn is_own_page(app: &AppState, parts: &Parts) -> Option<bool> {
    let text = |name| {
        parts
            .headers
            .get(name)
            .map(|v: &HeaderValue| v.to_str().unwrap_or("?"))
    };
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return Some(matches!(site, "same-origin" | "none"));
    }
    let origin = text(header::ORIGIN)?;
    let host = asked_host(&parts.uri, &parts.headers).unwrap_or_default();
    let named = origin.split_once("://").map(|(_, rest)| rest);
    let public = app
        .public_url
        .split('/')
        .take(3)
        .collect::<Vec<_>>()
        .join("/");
    Some(origin.eq_ignore_ascii_case(&public) || (named.is_some() && named == Some(host.as_str())))
}

fn other_site() -> WebError {
    WebError::new(
        StatusCode::FORBIDDEN,
        "this request comes from a page of another site",
    )
    .hint("open Windlass itself and press the button there")
}

/// Refuses a form that a page of another site sent. A request that says nothing of its origin
/// passes: it has no cookie to abuse.
pub(crate) struct OwnPage;

impl FromRequestParts<App> for OwnPage {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, WebError> {
        match is_own_page(app, parts) {
            Some(false) => Err(other_site()),
            _ => Ok(Self),
        }
    }
}

/// The administrator asks. Everything that changes something takes this.
pub(crate) struct Admin;

impl FromRequestParts<App> for Admin {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        match proof(app, &parts.headers) {
            Some(Proof::Token) => Ok(Self),
            // A cookie is sent by the browser whoever made it send the request.
            Some(Proof::Cookie) if is_own_page(app, parts) == Some(true) => Ok(Self),
            Some(Proof::Cookie) => Err(other_site().into_response()),
            None => Err(ask_for_proof(parts)),
        }
    }
}

/// People are led to the login page, programs are told what is missing.
fn ask_for_proof(parts: &Parts) -> Response {
    let path = parts.uri.path();
    if path.starts_with("/api/") || parts.headers.contains_key(header::AUTHORIZATION) {
        return unauthorized();
    }
    let next = if parts.method == Method::GET {
        parts.uri.path_and_query().map_or(path, |p| p.as_str())
    } else {
        page_of_form(path)
    };
    Redirect::to(&urls::login(next)).into_response()
}

fn unauthorized() -> Response {
    let error = WebError::new(
        StatusCode::UNAUTHORIZED,
        "this needs the administrator's token",
    )
    .hint("send it as `Authorization: Bearer TOKEN`, or log in at /login");
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer realm=\"windlass\"")];
    (challenge, error).into_response()
}

/// The page on which the form for this path is.
fn page_of_form(path: &str) -> &str {
    if path.starts_with("/deliveries/") {
        return "/deliveries";
    }
    ["/cancel", "/retry", "/builds"]
        .iter()
        .find_map(|end| path.strip_suffix(end))
        .unwrap_or("/")
}

/// In a private installation everything needs the token, except what is needed to get in, and
/// hooks, which are signed.
pub(crate) async fn wall(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_open = !app.private
        || ["/hooks/", "/assets/"].iter().any(|p| path.starts_with(p))
        || path == "/login"
        || path == "/healthz";
    if is_open || is_logged_in(&app, request.headers()) {
        return next.run(request).await;
    }
    let (parts, _) = request.into_parts();
    let accept = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    // `curl` and event streams can't follow a login form.
    let is_page = !["/log", "/stream", "/events"]
        .iter()
        .any(|p| parts.uri.path().ends_with(p))
        || accept.is_some_and(|a| a.contains("text/html"));
    if is_page {
        ask_for_proof(&parts)
    } else {
        unauthorized()
    }
}

/// Who looks at a page, and at which.
pub(crate) struct Visitor {
    pub(crate) logged_in: bool,
    /// There are nodes to show.
    pub(crate) has_nodes: bool,
    /// Path and query, to come back to after logging in.
    pub(crate) here: String,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let uri = match parts.extensions.get::<OriginalUri>() {
            Some(OriginalUri(uri)) => uri,
            None => &parts.uri,
        };
        Ok(Self {
            logged_in: is_logged_in(app, &parts.headers),
            has_nodes: app.cluster.is_some(),
            here: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
        })
    }
}

/// `next` if it leads to a page of ours, otherwise the first page. Browsers take `//host` and
/// `/\host` for other sites, and drop tabs and line ends anywhere.
pub(crate) fn safe_next(next: Option<&str>) -> &str {
    match next {
        Some(path)
            if path.starts_with('/')
                && !path[1..].starts_with(['/', '\\'])
                && !path.contains(|c: char| c.is_control() || c == '\\')
                && path.is_ascii() =>
        {
            path
        }
        _ => "/",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_returns_only_to_our_own_pages() {
        for good in ["/", "/repos/demo", "/?state=failed&before=7"] {
            assert_eq!(safe_next(Some(good)), good);
        }
        for bad in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil.example",
            "javascript:alert(1)",
            "/\n/evil",
            "repos",
        ] {
            assert_eq!(safe_next(Some(bad)), "/", "{bad:?}");
        }
        assert_eq!(safe_next(None), "/");
    }

    #[test]
    fn an_empty_token_lets_nobody_in() {
        assert!(!is_token(&Secret::new(""), ""));
        assert!(is_token(&Secret::new("t0ken"), "t0ken"));
        for bad in ["", "t0ke", "t0kenn", "T0ken"] {
            assert!(!is_token(&Secret::new("t0ken"), bad));
        }
    }
}
