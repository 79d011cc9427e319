//! The whole URL table.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::catch_panic::CatchPanicLayer;

use crate::error::{panicked, present};
use crate::log_find;
use crate::pages::log_search;
use crate::pages::{self, build, builds, deliveries, log, login, nodes, repos};
use crate::state::{App, AppState};
use crate::{api, artifacts, assets, auth, headers, hooks, live, log_text, search, services};

/// The largest form or API request; hooks have their own limit.
const MAX_BODY: usize = 64 * 1024;

/// The server: give it to `axum::serve`, with
/// `into_make_service_with_connect_info::<std::net::SocketAddr>()` so that deliveries are noted
/// with the address that sent them.
pub fn router(state: AppState) -> Router {
    let app: App = Arc::new(state);
    #[rustfmt::skip]
    let table = Router::new()
        .route("/", get(builds::list))
        .route("/events", get(live::states::builds))
        .route("/repos", get(repos::list))
        .route("/repos/{repo}", get(repos::one))
        .route("/repos/{repo}/builds", post(build::start))
        .route("/repos/{repo}/builds/{number}", get(build::page))
        .route("/repos/{repo}/builds/{number}/events", get(live::states::build))
        .route("/repos/{repo}/builds/{number}/cancel", post(build::cancel))
        .route("/repos/{repo}/builds/{number}/retry", post(build::retry))
        .route(
            "/repos/{repo}/builds/{number}/jobs/{job}/approve",
            post(build::approve),
        )
        .route("/repos/{repo}/builds/{number}/services", get(services::log))
        .route("/repos/{repo}/builds/{number}/steps/{step}", get(log::page))
        .route("/repos/{repo}/builds/{number}/steps/{step}/search", get(log_search::page))
        .route("/repos/{repo}/builds/{number}/steps/{step}/log", get(log_text::log))
        .route("/repos/{repo}/builds/{number}/steps/{step}/stream", get(live::log::stream))
        .route(
            "/repos/{repo}/builds/{number}/artifacts/{attempt}/{name}",
            get(artifacts::page),
        )
        .route(
            "/repos/{repo}/builds/{number}/artifacts/{attempt}/{name}/archive",
            get(artifacts::archive),
        )
        .route(
            "/repos/{repo}/builds/{number}/artifacts/{attempt}/{name}/files/{*path}",
            get(artifacts::file),
        )
        .route("/api/v1/repos/{repo}/builds/{number}/artifacts", get(artifacts::api))
        .route("/search", get(pages::search::page))
        .route("/api/v1/search", get(search::api))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/nodes", get(nodes::page))
        .route("/api/v1/nodes", get(nodes::api))
        .route("/login", get(login::page).post(login::login))
        .route("/logout", post(login::logout))
        .route("/healthz", get(pages::health))
        .route("/schema/windlass.json", get(pages::schema))
        .route("/assets/{file}", get(assets::asset))
        .route("/favicon.ico", get(assets::favicon))
        .route("/api/v1/repos", get(api::repos::list))
        .route("/api/v1/repos/{repo}", get(api::repos::one))
        .route("/api/v1/repos/{repo}/builds", post(api::builds::start))
        .route("/api/v1/repos/{repo}/builds/{number}", get(api::builds::one))
        .route("/api/v1/repos/{repo}/builds/{number}/cancel", post(api::builds::cancel))
        .route("/api/v1/repos/{repo}/builds/{number}/retry", post(api::builds::retry))
        .route(
            "/api/v1/repos/{repo}/builds/{number}/jobs/{job}/approve",
            post(api::builds::approve),
        )
        .route("/api/v1/repos/{repo}/builds/{number}/steps/{step}/log", get(log_text::log))
        .route(
            "/api/v1/repos/{repo}/builds/{number}/steps/{step}/findings",
            get(api::findings::of_step),
        )
        .route(
            "/api/v1/repos/{repo}/builds/{number}/steps/{step}/new",
            get(api::findings::new_rows),
        )
        .route("/api/v1/repos/{repo}/scan", get(api::findings::scan))
        .route("/api/v1/repos/{repo}/builds/{number}/steps/{step}/log/rows", get(log_find::rows))
        .route("/api/v1/repos/{repo}/builds/{number}/steps/{step}/log/search", get(log_find::find))
        .route("/api/v1/repos/{repo}/builds/{number}/steps/{step}/log/groups", get(log_find::groups))
        .route("/api/v1/builds", get(api::builds::list))
        .route("/api/v1/deliveries", get(api::deliveries::list))
        .route("/api/v1/deliveries/{id}/body", get(api::deliveries::body))
        .route("/api/v1/deliveries/{id}/replay", post(api::deliveries::replay))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let hooks = Router::new()
        .route("/hooks/github", post(hooks::github))
        .route("/hooks/github/{repo}", post(hooks::github_repo))
        .layer(DefaultBodyLimit::max(hooks::MAX_BODY));
    // The last layer is the outermost.
    table
        .merge(hooks)
        .layer(from_fn_with_state(app.clone(), auth::wall))
        .layer(from_fn_with_state(app.clone(), headers::only_our_host))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), present))
        .layer(from_fn(headers::secure))
        .with_state(app)
}
