//! States as they change: of one build and its steps, and "something changed" for lists. The
//! store's bell wakes; the rows are read; what is the same as before is not sent.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{PING, message, ping};
use crate::api;
use crate::error::WebError;
use crate::places::BuildPath;
use crate::state::App;

/// The store's bell rings for everything; no stream looks more often than this.
const PACE: Duration = Duration::from_millis(250);

/// `GET /repos/{repo}/builds/{number}/events`
pub(crate) async fn build(State(app): State<App>, path: BuildPath) -> Result<Response, WebError> {
    let bell = app.store.changes();
    let build = app.store.build(&path.repo, path.number).await?;
    Ok(watch_for(app, bell, What::Build(build.id)))
}

/// `GET /events`
pub(crate) async fn builds(State(app): State<App>) -> Response {
    let bell = app.store.changes();
    watch_for(app, bell, What::List)
}

#[derive(Clone, Copy)]
enum What {
    Build(i64),
    List,
}

struct Watcher {
    app: App,
    bell: watch::Receiver<u64>,
    what: What,
    last: Option<serde_json::Value>,
    looked_at: Option<Instant>,
}

fn watch_for(app: App, bell: watch::Receiver<u64>, what: What) -> Response {
    let watcher = Watcher {
        app,
        bell,
        what,
        last: None,
        looked_at: None,
    };
    super::response(stream::unfold(watcher, |mut watcher| async {
        let bytes = watcher.next().await?;
        Some((Ok::<_, Infallible>(bytes), watcher))
    }))
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        let shutdown = self.app.shutdown.clone();
        let ping_at = Instant::now() + PING;
        loop {
            if let Some(looked_at) = self.looked_at {
                tokio::select! {
                    // The bell lives as long as the store, and we hold the store.
                    _ = self.bell.changed() => {}
                    () = sleep_until(ping_at) => return Some(ping()),
                    () = shutdown.cancelled() => return None,
                }
                tokio::select! {
                    () = sleep_until(looked_at + PACE) => {}
                    () = shutdown.cancelled() => return None,
                }
            }
            if shutdown.is_cancelled() {
                return None;
            }
            self.looked_at = Some(Instant::now());
            self.bell.borrow_and_update();
            let now = match self.look().await {
                Ok(now) => now,
                Err(error) => {
                    tracing::warn!(?error, "a stream of states ends early");
                    return None;
                }
            };
            if self.last.as_ref() != Some(&now) {
                let bytes = message(None, "states", &now);
                self.last = Some(now);
                return Some(bytes);
            }
        }
    }

    async fn look(&self) -> Result<serde_json::Value, WebError> {
        match self.what {
            What::Build(id) => {
                let build = self.app.store.build_by_id(id).await?;
                let jobs = self.app.store.jobs(id, build.run).await?;
                let steps = match self.app.store.attempt(id, build.attempt).await {
                    Ok(attempt) => self.app.store.steps(attempt.id).await?,
                    Err(error) => return Err(error.into()),
                };
                Ok(api::builds::states(&build, &jobs, &steps))
            }
            // The bell itself is the news: a list shows many rows of many tables.
            What::List => Ok(serde_json::json!({"change": *self.bell.borrow()})),
        }
    }
}
