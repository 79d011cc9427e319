//! Server-sent events (the HTML standard, section 9.2): what a message looks like on the wire, and
//! what every stream has in common.
//!
//! Every stream is a state machine that the connection pulls: nothing is read while the reader's
//! socket is full, no task and no thread waits for anybody, and a reader that goes away drops it.

pub(crate) mod log;
mod shared;
pub(crate) mod states;

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;

/// How often a stream without news says that it is alive: proxies close silent connections.
pub(crate) const PING: Duration = Duration::from_secs(15);
/// No stream speaks more often than this, unless it has to catch up.
pub(crate) const PACE: Duration = Duration::from_millis(50);

/// The response for a stream of messages.
pub(crate) fn response(
    stream: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(stream)).into_response()
}

/// One message. JSON has no line ends outside of strings, and none inside them.
pub(crate) fn message(id: Option<u64>, event: &str, data: &impl serde::Serialize) -> Bytes {
    let data = serde_json::to_string(data).unwrap_or_default();
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    Bytes::from(format!("{id}event: {event}\ndata: {data}\n\n"))
}

/// Says that the stream is alive.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}
