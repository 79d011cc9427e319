//! The whole URL table.

use axum::Router;

use crate::state::AppState;

/// The server: give it to `axum::serve`, with
/// `into_make_service_with_connect_info::<std::net::SocketAddr>()` so that deliveries are noted
/// with the address that sent them.
pub fn router(_state: AppState) -> Router {
    Router::new()
}
