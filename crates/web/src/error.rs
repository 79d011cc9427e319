//! What goes wrong, told once: as a page to people, as JSON to programs, as text to `curl` at a
//! log. Handlers return a [`WebError`]; [`present`] gives it its form, and gives one to the bare
//! errors of the framework.

use askama::Template;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use windlass_logs::LogError;
use windlass_store::StoreError;

use crate::auth;
use crate::pages::Frame;
use crate::state::App;
use crate::urls;

/// An answer that is not the one that was hoped for.
#[derive(Debug, Clone)]
pub(crate) struct WebError {
    status: StatusCode,
    message: String,
    hint: Option<String>,
}

impl WebError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The message, and the hint or an empty text.
    pub(crate) fn into_words(self) -> (String, String) {
        (self.message, self.hint.unwrap_or_default())
    }

    /// What the reader can do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Message and hint in one text.
    pub(crate) fn words(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\n{hint}", self.message),
            None => self.message.clone(),
        }
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// Our own fault. The reason goes to the server's log, because it may hold what a visitor
    /// must not see.
    pub(crate) fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(deeper) = source {
            // Some errors repeat their source in their own words.
            let words = deeper.to_string();
            if !reason.contains(&words) {
                reason = format!("{reason}: {words}");
            }
            source = deeper.source();
        }
        tracing::error!(reason, "a request could not be answered");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the server could not answer this request",
        )
        .hint("the reason is in the server's log")
    }

    fn disk_full() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the server's disk is full",
        )
        .hint("make room on the disk of the data folder; nothing was lost")
    }
}

impl From<StoreError> for WebError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound(_) => Self::new(StatusCode::NOT_FOUND, error.to_string()),
            StoreError::Conflict(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            _ if error.is_disk_full() => Self::disk_full(),
            _ => Self::internal(&error),
        }
    }
}

impl From<LogError> for WebError {
    fn from(error: LogError) -> Self {
        Self::internal(&error)
    }
}

impl From<askama::Error> for WebError {
    fn from(error: askama::Error) -> Self {
        Self::internal(&error)
    }
}

impl From<tokio::task::JoinError> for WebError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for WebError {
    /// Without a body: [`present`] knows who asks and writes it.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Marks a response that is an error but has its page already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Whole;

/// The answer to a request in which a handler panicked.
pub(crate) fn panicked(reason: Box<dyn std::any::Any + Send>) -> Response {
    let words = reason
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| reason.downcast_ref::<&str>().copied())
        .unwrap_or("no words");
    tracing::error!(reason = words, "a request handler panicked");
    WebError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the server stumbled over this request",
    )
    .hint("this is a mistake in Windlass; its server's log has the reason")
    .into_response()
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    code: u16,
    message: String,
    hint: Option<String>,
    back: Vec<(String, String)>,
}

#[derive(Clone, Copy)]
enum Form {
    Page,
    Json,
    Text,
}

/// Gives every error its form.
pub(crate) async fn present(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let form = form(&path, request.headers());
    let logged_in = auth::is_logged_in(&app, request.headers());
    let response = next.run(request).await;
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let error = match response.extensions().get::<WebError>() {
        Some(error) => error.clone(),
        None if response.extensions().get::<Whole>().is_some() => return response,
        None => framework_error(status),
    };
    let (content_type, body) = match form {
        Form::Page => {
            let page = ErrorPage {
                frame: Frame::new(&path, logged_in, "error"),
                code: status.as_u16(),
                back: ways_back(&path),
                message: error.message,
                hint: error.hint,
            };
            let html = page.render().unwrap_or_else(|e| e.to_string());
            ("text/html; charset=utf-8", html)
        }
        Form::Json => {
            let json = serde_json::json!({"error": error.message, "hint": error.hint});
            ("application/json", format!("{json}\n"))
        }
        Form::Text => {
            let hint = error.hint.map(|hint| format!("hint: {hint}\n"));
            let text = format!("error: {}\n{}", error.message, hint.unwrap_or_default());
            ("text/plain; charset=utf-8", text)
        }
    };
    let mut answer = (status, Body::from(body)).into_response();
    for (name, value) in response.headers() {
        if name != header::CONTENT_TYPE && name != header::CONTENT_LENGTH {
            answer.headers_mut().append(name, value.clone());
        }
    }
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// Browsers say that they want `text/html`; `curl` at a log says `*/*`.
fn form(path: &str, headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let is_text = ["/log", "/stream", "/events", "/healthz"]
        .iter()
        .any(|end| path.ends_with(end));
    if path.starts_with("/api/") || path.starts_with("/hooks/") {
        Form::Json
    } else if is_text && !accept.is_some_and(|a| a.contains("text/html")) {
        Form::Text
    } else {
        Form::Page
    }
}

fn framework_error(status: StatusCode) -> WebError {
    let message = match status {
        StatusCode::NOT_FOUND => "there is no such page",
        StatusCode::METHOD_NOT_ALLOWED => "this address does not take this kind of request",
        StatusCode::PAYLOAD_TOO_LARGE => "the request is too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "the request's content type is not the right one",
        status if status.is_client_error() => "the request could not be understood",
        _ => "the server could not answer this request",
    };
    WebError::new(status, message)
}

/// Where a lost reader may want to go.
fn ways_back(path: &str) -> Vec<(String, String)> {
    let mut ways = vec![(urls::builds(), "All builds".to_owned())];
    let mut parts = path.split('/').skip(1);
    if parts.next() == Some("repos")
        && let Some(repo) = parts.next().and_then(|name| name.parse().ok())
    {
        ways.push((urls::repo(&repo), format!("Builds of {repo}")));
        if parts.next() == Some("builds")
            && let Some(number) = parts.next().and_then(|n| n.parse().ok())
        {
            let link = urls::build(&repo, number);
            if link != path {
                ways.push((link, format!("Build {number} of {repo}")));
            }
        }
    }
    ways
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_answer_and_tells_strangers_nothing() {
        async fn stumble() -> &'static str {
            panic!("the secret is 42")
        }
        let router = Router::new()
            .route("/", get(stumble))
            .layer(CatchPanicLayer::custom(panicked));
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let error = response.extensions().get::<WebError>().unwrap();
        assert!(!format!("{error:?}").contains("42"));
    }
}
