//! A server whose database is to be migrated first, or does not answer yet: it says so, to whoever asks,
//! and waits.
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

use crate::report::{MIGRATE_HINT, Problem, chain};

/// How often the schema is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often the log is told that it still waits.
const SAY_AGAIN: Duration = Duration::from_secs(600);

/// How long a database may take to say how it stands, before that counts as no answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The first pause between two tries to reach the database, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));
/// How often the log is told why there is no database.
const SAY_NO_DATABASE: Duration = Duration::from_secs(30);
/// What to do about a database that does not answer.
const DATABASE_HINT: &str = "start the database, or correct the address in WINDLASS_DATABASE_URL; \
    the server goes on by itself when it answers";

type Words = Arc<Mutex<String>>;

/// Returns when the database answers, whatever it says: the schema, or that the password is wrong.
/// `when_not` is called once if it does not at first.
///
/// # Errors
/// When it did not answer within `limit`, or the listener can't be used.
pub(crate) async fn until_reachable(
    listener: &TcpListener,
    schema: &Schema,
    limit: Duration,
    when_not: impl FnOnce(),
) -> Result<(), Problem> {
    let begun = Instant::now();
    let Some(mut why) = unreachable(schema).await else {
        return Ok(());
    };
    let given_up = |why: &str| {
        Problem::new(format!("{why} (after {} s)", begun.elapsed().as_secs())).hint(
            "start the database, correct the address in WINDLASS_DATABASE_URL, or give it longer \
             with --database-wait",
        )
    };
    if limit.is_zero() {
        return Err(given_up(&why));
    }
    let words = Words::new(Mutex::new(why.clone()));
    let stop = CancellationToken::new();
    let on_end = stop.clone().drop_guard();
    let serving = serve(listener, (Arc::clone(&words), DATABASE_HINT), stop)?;
    when_not();
    tracing::warn!(
        "{why}. The server waits for the database, for {} s at most: {DATABASE_HINT}",
        limit.as_secs()
    );
    let (mut pause, mut said) = (PAUSES.0, Instant::now());
    loop {
        let left = limit.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(given_up(&why));
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(PAUSES.1);
        why = match unreachable(schema).await {
            None => break,
            Some(why) => why,
        };
        words
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&why);
        if said.elapsed() > SAY_NO_DATABASE {
            said = Instant::now();
            let so_far = begun.elapsed().as_secs();
            tracing::warn!("{why}. The server still waits for the database, {so_far} s so far");
        }
    }
    tracing::info!("the database answers after {} s", begun.elapsed().as_secs());
    drop(on_end);
    ended(serving).await;
    Ok(())
}

/// Why the database can't be reached; `None` if it answers.
async fn unreachable(schema: &Schema) -> Option<String> {
    match tokio::time::timeout(ANSWER, schema.standing()).await {
        Ok(Err(error)) if error.is_unreachable() => Some(chain(&error)),
        Ok(_) => None,
        Err(_) => Some(format!(
            "{} gave no answer within {} s",
            schema.database,
            ANSWER.as_secs()
        )),
    }
}

/// Waits a moment for the end of the connections.
async fn ended(serving: tokio::task::JoinHandle<()>) {
    if tokio::time::timeout(Duration::from_secs(1), serving)
        .await
        .is_err()
    {
        tracing::debug!("somebody's connection is still open");
    }
}

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
    let serving = serve(listener, (Arc::clone(&words), MIGRATE_HINT), stop)?;
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
    ended(serving).await;
    Ok(())
}

/// Answers on a second handle of the listener, until told to stop.
fn serve(
    listener: &TcpListener,
    words: (Words, &'static str),
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
async fn answer(
    State((words, hint)): State<(Words, &'static str)>,
    OriginalUri(uri): OriginalUri,
) -> Response {
    let words = words.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let retry = (header::RETRY_AFTER, "5");
    if uri.path().starts_with("/api/") {
        let body = json!({ "error": words, "hint": hint });
        let kind = (header::CONTENT_TYPE, "application/json");
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [retry, kind],
            body.to_string(),
        )
            .into_response();
    }
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    let body = format!("waiting: {words}\nhint: {hint}\n");
    (StatusCode::SERVICE_UNAVAILABLE, [retry, kind], body).into_response()
}
