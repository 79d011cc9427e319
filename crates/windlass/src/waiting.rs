//! A server whose database is to be migrated first: it says so, to whoever asks, and waits.
//!
//! Nothing of the store is open meanwhile. Webhooks are refused with 503: an answer that says
//! "stored" would be a lie.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{OriginalUri, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use windlass_store::{Schema, Standing, StoreError};

use crate::report::{MIGRATE_HINT, Problem};

/// How often the schema is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the log is told that it still waits.
const SAY_AGAIN: Duration = Duration::from_secs(600);

type Words = Arc<Mutex<String>>;

/// Returns when there is a reason to open the store again. Dropped, it stops answering.
///
/// # Errors
/// When database and program don't fit, or the listener can't be used.
pub(crate) async fn until_migrated(
    listener: &TcpListener,
    schema: &Schema,
    pending: &StoreError,
) -> Result<(), Problem> {
    let words = Words::new(Mutex::new(pending.to_string()));
    let stop = CancellationToken::new();
    // Whoever keeps its connection open is asked to come back with another.
    let on_end = stop.clone().drop_guard();
    let serving = serve(listener, Arc::clone(&words), stop)?;
    let mut said = Instant::now();
    tracing::warn!("{pending}. The server waits: {MIGRATE_HINT}");
    loop {
        tokio::time::sleep(LOOK).await;
        let now = match schema.standing().await {
            Ok(Standing::Pending(files)) => StoreError::MigrationPending {
                database: schema.database.to_string(),
                files,
            },
            Ok(_) => break,
            // Busy, or for a moment out of reach.
            Err(StoreError::Migrate {
                source: windlass_migrate::Error::Database { .. },
                ..
            }) => continue,
            Err(error) => return Err(error.into()),
        };
        *words.lock().unwrap_or_else(PoisonError::into_inner) = now.to_string();
        if said.elapsed() > SAY_AGAIN {
            said = Instant::now();
            tracing::warn!("{now}. The server still waits: {MIGRATE_HINT}");
        }
    }
    tracing::info!("the database has this release's schema now");
    drop(on_end);
    if tokio::time::timeout(Duration::from_secs(1), serving)
        .await
        .is_err()
    {
        tracing::debug!("somebody's connection is still open");
    }
    Ok(())
}

/// Answers on a second handle of the listener, until told to stop.
fn serve(
    listener: &TcpListener,
    words: Words,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, Problem> {
    use std::os::fd::AsFd as _;
    let failed = |e: std::io::Error| Problem::new(format!("could not listen: {e}"));
    let handle = listener.as_fd().try_clone_to_owned().map_err(failed)?;
    let listener = TcpListener::from_std(handle.into()).map_err(failed)?;
    let app = Router::new().fallback(answer).with_state(words);
    Ok(tokio::spawn(async move {
        let served = axum::serve(listener, app)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!(%error, "could not answer while waiting");
        }
    }))
}

/// 503 for everything, in the words of the log; as JSON for programs.
async fn answer(State(words): State<Words>, OriginalUri(uri): OriginalUri) -> Response {
    let words = words.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let retry = (header::RETRY_AFTER, "5");
    if uri.path().starts_with("/api/") {
        let body = json!({ "error": words, "hint": MIGRATE_HINT });
        let kind = (header::CONTENT_TYPE, "application/json");
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [retry, kind],
            body.to_string(),
        )
            .into_response();
    }
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    let body = format!("waiting: {words}\nhint: {MIGRATE_HINT}\n");
    (StatusCode::SERVICE_UNAVAILABLE, [retry, kind], body).into_response()
}
