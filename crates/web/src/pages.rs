//! Pages: each module has the struct with everything that its template shows, and the handler that
//! fills it. Templates ask nobody for anything.

pub(crate) mod build;
pub(crate) mod builds;
pub(crate) mod deliveries;
pub(crate) mod log;
pub(crate) mod log_search;
pub(crate) mod login;
pub(crate) mod nodes;
pub(crate) mod repos;
pub(crate) mod search;

use askama::Template;
use axum::extract::State;
use axum::http::header;
use axum::response::{Html, IntoResponse, Response};

use crate::assets;
use crate::auth::Visitor;
use crate::error::WebError;
use crate::state::App;

/// What is around every page.
pub(crate) struct Frame {
    pub(crate) logged_in: bool,
    /// Whether the way to the nodes is shown.
    pub(crate) has_nodes: bool,
    /// Where the visitor is, to come back to after logging in.
    pub(crate) here: String,
    /// The word that the browser's tab shows as an icon.
    pub(crate) icon: &'static str,
    pub(crate) css: &'static str,
    pub(crate) js: &'static str,
    /// Without a script, the page is loaded again and again: something on it is still going on.
    pub(crate) refresh: bool,
}

impl Frame {
    pub(crate) fn new(here: &str, logged_in: bool, icon_word: &str) -> Self {
        Self {
            logged_in,
            has_nodes: false,
            here: here.to_owned(),
            icon: assets::icon(icon_word),
            css: assets::css(),
            js: assets::js(),
            refresh: false,
        }
    }

    pub(crate) fn of(visitor: &Visitor, icon_word: &str) -> Self {
        Self {
            has_nodes: visitor.has_nodes,
            ..Self::new(&visitor.here, visitor.logged_in, icon_word)
        }
    }

    pub(crate) fn refreshing(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }
}

pub(crate) fn render(page: &impl Template) -> Result<Response, WebError> {
    Ok(Html(page.render()?).into_response())
}

/// `GET /healthz`: whether the server answers and its database can be read.
pub(crate) async fn health(State(app): State<App>) -> Result<&'static str, WebError> {
    app.store.ping().await?;
    Ok("ok\n")
}

/// `GET /schema/windlass.json`: for editors, which check and complete specs with it.
pub(crate) async fn schema(State(app): State<App>) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/schema+json")];
    (kind, app.schema.to_string()).into_response()
}
