//! The HTTP server itself.

use std::net::SocketAddr;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

/// Serves `app` until dropped. Handlers learn the other side's address.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, app: Router) -> std::io::Result<()> {
    // Live lines are small writes: waiting to fill a packet (Nagle) would hold them back.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "could not set TCP_NODELAY");
        }
    });
    axum::serve(
        listener,
        app.into_make_service_with_connect_info::<SocketAddr>(),
    )
    .await
}
