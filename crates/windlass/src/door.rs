//! The door for the nodes of a Swarm: the requests of shims (`windlass_shim::remote`), and nothing else,
//! on an address of its own. Pages, the API and webhooks are not to be had here.

use std::io;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures_util::StreamExt as _;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc::channel;
use windlass_engine::executor::chunks::{ChunkReader, ChunkWriter, QUEUE};
use windlass_engine::executor::daemon::Daemon;
use windlass_engine::executor::swarm::{Desk, Place, Refusal, SwarmSettings, is_passing, nodes};
use windlass_model::AttemptId;
use windlass_shim::order::CANCEL;
use windlass_shim::remote::{DENIED, GONE, MOST, RUNNER, TAKEN, USELESS};

use crate::executors::SwarmChoice;
use crate::report::Problem;

/// How long a shim that asks for orders waits for one before it asks again.
const ORDERS_WAIT: Duration = Duration::from_secs(20);
/// How often it is looked whether there is one.
const ORDERS_LOOK: Duration = Duration::from_millis(150);

/// The last words of a shim are no longer than this.
const WORDS: usize = 16 * 1024;

/// A listener for the nodes, and what it leads to.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) url: String,
    pub(crate) desk: Desk,
}

/// What the Swarm told.
pub(crate) struct Found {
    pub(crate) settings: SwarmSettings,
    /// The processors of all its nodes.
    pub(crate) cores: usize,
}

/// Listens for the nodes, and asks the manager what has to be known.
///
/// # Errors
/// There is no manager, or the address is taken.
pub(crate) async fn open(choice: SwarmChoice, host: &str) -> Result<(TcpListener, Found), Problem> {
    let daemon = Daemon::new(host.to_owned());
    let all = nodes::list(&daemon).await?;
    let listener = TcpListener::bind(choice.listen).await.map_err(|e| {
        Problem::new(format!(
            "could not listen for the nodes on {}: {e}",
            choice.listen
        ))
        .hint("choose another address with --nodes-listen HOST:PORT")
    })?;
    let port = listener.local_addr()?.port();
    let url = match choice.url.clone() {
        Some(url) if url.starts_with("http://") => {
            // The port may be one that the system chose just now.
            url.strip_suffix(":0")
                .map_or(url.clone(), |host| format!("{host}:{port}"))
        }
        Some(url) => {
            return Err(
                Problem::new(format!("--nodes-url {url} is not an http URL")).hint(
                    "shims speak plain HTTP with a token of their own: give http://HOST:PORT, in a network \
                     that is the nodes' own",
                ),
            );
        }
        None => {
            let own = nodes::own_address(&daemon).await?;
            if own.contains(':') {
                format!("http://[{own}]:{port}")
            } else {
                format!("http://{own}:{port}")
            }
        }
    };
    let millis: u64 = all
        .iter()
        .filter(|node| node.is_usable())
        .map(|node| node.cpu_millis)
        .sum();
    let cores = usize::try_from(millis / 1000).unwrap_or(1).max(1);
    Ok((
        listener,
        Found {
            settings: choice.settings(host.to_owned(), url),
            cores,
        },
    ))
}

impl Door {
    /// Serves until dropped.
    pub(crate) async fn serve(self) -> io::Result<()> {
        let app = Router::new()
            .route("/attempts/{attempt}/files", get(files))
            .route("/attempts/{attempt}/journal", post(journal))
            .route("/attempts/{attempt}/orders", get(orders))
            .route("/attempts/{attempt}/ended", post(ended))
            .layer(DefaultBodyLimit::max(MOST))
            .route(
                "/attempts/{attempt}/results",
                put(results).layer(DefaultBodyLimit::disable()),
            )
            .with_state(self.desk);
        windlass_web::serve(self.listener, app).await
    }
}

/// What is answered to a shim that gets nothing.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let number = |n| StatusCode::from_u16(n).unwrap_or(StatusCode::BAD_REQUEST);
        match self.0 {
            Refusal::Denied => number(DENIED).into_response(),
            Refusal::Taken => number(TAKEN).into_response(),
            Refusal::Gone => number(GONE).into_response(),
            Refusal::Useless => number(USELESS).into_response(),
            Refusal::Io(error) => {
                tracing::error!(%error, "could not serve a shim; it will try again");
                let status = match error.kind() {
                    io::ErrorKind::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                (status, error.to_string()).into_response()
            }
        }
    }
}

/// The place of the shim that asks, if it is its own.
async fn admit(desk: Desk, attempt: &str, headers: &HeaderMap) -> Result<Place, Refused> {
    let attempt: AttemptId = attempt.parse().map_err(|_| Refusal::Gone)?;
    let token = headers
        .get(header::AUTHORIZATION)
        .map(axum::http::HeaderValue::as_bytes);
    let token = token.and_then(|v| v.strip_prefix(b"Bearer "));
    let token = token.ok_or(Refusal::Denied)?.to_vec();
    let runner = headers.get(RUNNER).and_then(|v| v.to_str().ok());
    let runner = runner.ok_or(Refusal::Denied)?.to_owned();
    blocking(move || desk.admit(&attempt, &token, &runner).map_err(Refused)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(io::Error::other(e).into()))
}

async fn files(
    State(desk): State<Desk>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
) -> Result<Body, Refused> {
    let place = admit(desk, &attempt, &headers).await?;
    let (sender, receiver) = channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let mut out = ChunkWriter::new(sender.clone());
        if let Err(error) = place.pack(&mut out) {
            tracing::error!(attempt, %error, "could not send a workspace to its node");
            // Nobody may take half an archive for a whole one.
            sender.blocking_send(Err(error)).unwrap_or_default();
        }
    });
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Ok(Body::from_stream(chunks))
}

#[derive(Deserialize)]
struct At {
    at: u64,
}

async fn journal(
    State(desk): State<Desk>,
    Path(attempt): Path<String>,
    Query(At { at }): Query<At>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<String, Refused> {
    let place = admit(desk, &attempt, &headers).await?;
    blocking(move || Ok(place.append(at, &bytes)?.to_string())).await
}

async fn orders(
    State(desk): State<Desk>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
) -> Result<&'static str, Refused> {
    let place = admit(desk, &attempt, &headers).await?;
    let end = Instant::now() + ORDERS_WAIT;
    while Instant::now() < end {
        if place.is_to_stop() {
            return Ok(CANCEL);
        }
        if !place.is_here() {
            return Err(Refusal::Gone.into());
        }
        tokio::time::sleep(ORDERS_LOOK).await;
    }
    Ok("")
}

async fn ended(
    State(desk): State<Desk>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
    words: Bytes,
) -> Result<(), Refused> {
    let place = admit(desk, &attempt, &headers).await?;
    let words = String::from_utf8_lossy(&words[..words.len().min(WORDS)]).into_owned();
    blocking(move || Ok(place.set_end(&words)?)).await
}

async fn results(
    State(desk): State<Desk>,
    Path(attempt): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(), Refused> {
    let place = admit(desk, &attempt, &headers).await?;
    let (sender, receiver) = channel(QUEUE);
    let into = place.clone();
    let taking = tokio::task::spawn_blocking(move || into.take_results(ChunkReader::new(receiver)));
    let mut stream = body.into_data_stream();
    let mut cut_off = false;
    while let Some(chunk) = stream.next().await {
        cut_off |= chunk.is_err();
        let chunk = chunk.map_err(io::Error::other);
        if sender.send(chunk).await.is_err() {
            break;
        }
    }
    drop(sender);
    let taken = taking.await.unwrap_or_else(|e| Err(io::Error::other(e)));
    let Err(error) = taken else {
        return Ok(());
    };
    if cut_off || is_passing(&error) {
        return Err(error.into());
    }
    // The same archive would fail again, for as long as the shim has patience.
    let words = format!("it can't be unpacked: {error}");
    blocking(move || Ok(place.set_end(&words)?)).await?;
    Err(Refused(Refusal::Useless))
}
