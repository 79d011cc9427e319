//! The HTTP server itself.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::serve::Listener;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// Bytes of answers that wait in memory for one connection whose reader is slow, about: one piece of a
/// body more may come on top. hyper's default of 400 kB would be 80 MB for two hundred slow followers of a
/// log. A request's head must fit, too.
const BUFFERED: usize = 32 * 1024;

/// Serves `app` until dropped. Handlers learn the other side's address.
///
/// # Errors
/// None at present: a listener that fails (there are too many open files) is asked again a second later.
pub async fn serve(mut listener: TcpListener, app: Router) -> std::io::Result<()> {
    loop {
        let (stream, address) = Listener::accept(&mut listener).await;
        tokio::spawn(connection(stream, address, app.clone()));
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, app: Router) {
    // Live lines are small writes: waiting to fill a packet (Nagle) would hold them back.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not set TCP_NODELAY");
    }
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(address));
        app.clone().oneshot(request)
    });
    let served = http1::Builder::new()
        .max_buf_size(BUFFERED)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // The other side went away, or what it sent is no HTTP.
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection broke");
    }
}
