//! Asking the server: without a socket where the answer is whole, through one where it streams.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;
use windlass_web::AppState;

use crate::fixture::TOKEN;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

/// What every response must have, whatever it is.
fn check(response: &Response<Body>) {
    let header = |name: &str| response.headers().get(name).map(|v| v.to_str().unwrap());
    let csp = header("content-security-policy").expect("a content security policy");
    assert!(csp.starts_with("default-src 'none'") && !csp.contains("unsafe"));
    assert_eq!(header("x-content-type-options"), Some("nosniff"));
    assert_eq!(header("referrer-policy"), Some("same-origin"));
    assert!(header("cache-control").is_some());
}

pub(crate) async fn send(state: &AppState, request: Request<Body>) -> Answer {
    let response = windlass_web::router(state.clone())
        .oneshot(request)
        .await
        .unwrap();
    check(&response);
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

pub(crate) async fn get(state: &AppState, path: &str) -> Answer {
    get_with(state, path, &[]).await
}

pub(crate) async fn get_with(state: &AppState, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(state, request("GET", path, headers, "")).await
}

/// As the administrator's program.
pub(crate) async fn post(state: &AppState, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    send(state, request("POST", path, &headers, body.to_owned())).await
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "ci.test:8080");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

pub(crate) async fn listen(state: &AppState) -> SocketAddr {
    let router: Router = windlass_web::router(state.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        windlass_web::serve(listener, router).await.unwrap();
    });
    address
}

/// A response that is still coming.
pub(crate) struct Open {
    socket: TcpStream,
    pub(crate) text: String,
}

/// Asks with HTTP/1.0, so that the body comes as it is, without chunks.
pub(crate) async fn open(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Open {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let headers: String = headers
        .iter()
        .map(|(n, v)| format!("{n}: {v}\r\n"))
        .collect();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    Open {
        socket,
        text: String::new(),
    }
}

impl Open {
    /// Reads until `needle` is there.
    pub(crate) async fn until(&mut self, needle: &str) {
        while !self.text.contains(needle) {
            assert!(self.more().await, "ended without {needle:?}: {}", self.text);
        }
    }

    /// Reads to the end.
    pub(crate) async fn end(&mut self) -> &str {
        while self.more().await {}
        self.text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body)
    }

    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        let read = tokio::time::timeout(Duration::from_secs(20), self.socket.read(&mut buffer));
        let read = read.await.expect("news within 20 s").unwrap();
        self.text
            .push_str(&String::from_utf8_lossy(&buffer[..read]));
        read > 0
    }
}
