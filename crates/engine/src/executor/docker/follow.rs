//! Following a container's output: the shim's journal, as the engine keeps it.
//!
//! A stream that breaks (the daemon was restarted, the network cut) is opened anew and read on from
//! the byte after the last one: the journal is a sequence of bytes, and no time stamp is trusted.
//! The engine's driver splits at 16 KiB, and no line of a journal is longer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerState};
use bollard::query_parameters::{InspectContainerOptions, LogsOptions};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use super::was_started;
use crate::executor::daemon::is_missing;
use crate::executor::{ExecutorError, Followed, Follower};

/// Chunks (of at most 16 KiB) that wait for the reader.
const QUEUE: usize = 64;

/// Pauses before a broken stream is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// So much of what the shim itself complained of is kept.
const COMPLAINT: usize = 2000;

pub(super) struct ContainerLog {
    runtime: tokio::runtime::Handle,
    chunks: Receiver<Bytes>,
    epitaph: Arc<Mutex<Option<String>>>,
    task: JoinHandle<()>,
}

impl ContainerLog {
    pub(super) fn open(
        docker: Docker,
        container: String,
        from_offset: u64,
        patience: Duration,
    ) -> Self {
        let (sender, chunks) = channel(QUEUE);
        // Whoever reads finds the channel closed only when the epitaph is there.
        let open = sender.clone();
        let epitaph: Arc<Mutex<Option<String>>> = Arc::default();
        let runtime = tokio::runtime::Handle::current();
        let reader = Reader {
            docker,
            container,
            sent: from_offset,
            patience,
            sender,
            complaint: Vec::new(),
        };
        let told = Arc::clone(&epitaph);
        let task = runtime.spawn(async move {
            let words = reader.read_all().await;
            *told.lock().unwrap_or_else(PoisonError::into_inner) = words;
            drop(open);
        });
        Self {
            runtime,
            chunks,
            epitaph,
            task,
        }
    }
}

impl Drop for ContainerLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Follower for ContainerLog {
    fn read(&mut self, buf: &mut Vec<u8>, wait: Duration) -> Result<Followed, ExecutorError> {
        let first = self
            .runtime
            .block_on(async { tokio::time::timeout(wait, self.chunks.recv()).await });
        let Ok(first) = first else {
            return Ok(Followed::Quiet);
        };
        let Some(first) = first else {
            return Ok(Followed::Gone);
        };
        buf.extend_from_slice(&first);
        for _ in 0..QUEUE {
            let Ok(more) = self.chunks.try_recv() else {
                break;
            };
            buf.extend_from_slice(&more);
        }
        Ok(Followed::Bytes)
    }

    fn epitaph(&self) -> Option<String> {
        self.epitaph
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Reader {
    docker: Docker,
    container: String,
    /// How many bytes of the journal were handed on.
    sent: u64,
    /// How long a daemon that does not answer is waited for.
    patience: Duration,
    sender: Sender<Bytes>,
    complaint: Vec<u8>,
}

impl Reader {
    /// Reads until there can't be any more; why. `None` when nobody listens any more.
    async fn read_all(mut self) -> Option<String> {
        let mut pause = FIRST_PAUSE;
        let mut away_since: Option<Instant> = None;
        loop {
            let before = self.sent;
            // Asked first: a container that had ended before the stream was opened has no more to say
            // than the stream.
            let inspected = self
                .docker
                .inspect_container(&self.container, None::<InspectContainerOptions>)
                .await;
            let over = match &inspected {
                Err(e) if is_missing(e) => return Some("its container was removed".to_owned()),
                Err(error) => {
                    let away = away_since.get_or_insert_with(Instant::now).elapsed();
                    if away > self.patience {
                        return Some(format!(
                            "the Docker daemon could not be reached for {} s: {error}",
                            away.as_secs()
                        ));
                    }
                    None
                }
                Ok(found) => was_started(found).then(|| ended(found)).flatten(),
            };
            if inspected.is_ok() {
                away_since = None;
            }
            let whole = self.stream(over.is_none()).await?;
            if let (Some(words), true) = (over, whole) {
                return Some(self.with_complaint(words));
            }
            pause = if self.sent > before {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
            if !whole {
                tracing::debug!(
                    container = self.container,
                    "the log's stream broke; opening it again"
                );
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// One stream from the start to its end, without what was handed on before. Whether it came to
    /// an end of its own; `None` when nobody listens.
    async fn stream(&mut self, follow: bool) -> Option<bool> {
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            tail: "all".to_owned(),
            ..LogsOptions::default()
        };
        let mut stream = std::pin::pin!(self.docker.logs(&self.container, Some(options)));
        let mut skip = self.sent;
        let mut complaint = Vec::new();
        let mut whole = true;
        while let Some(item) = stream.next().await {
            match item {
                Ok(LogOutput::StdOut { mut message }) => {
                    let known =
                        usize::try_from(skip).map_or(message.len(), |n| n.min(message.len()));
                    skip -= known as u64;
                    let fresh = message.split_off(known);
                    if !fresh.is_empty() {
                        self.sent += fresh.len() as u64;
                        self.sender.send(fresh).await.ok()?;
                    }
                }
                Ok(other) => {
                    complaint.extend_from_slice(&other.into_bytes());
                    complaint.truncate(COMPLAINT);
                }
                Err(error) => {
                    tracing::debug!(%error, container = self.container, "reading the log");
                    whole = false;
                    break;
                }
            }
        }
        self.complaint = complaint;
        Some(whole)
    }

    fn with_complaint(&self, words: String) -> String {
        let complaint = String::from_utf8_lossy(&self.complaint);
        match complaint.trim() {
            "" => words,
            said => format!("{words}; it said: {said}"),
        }
    }
}

/// How the container ended, for people, if it has.
fn ended(found: &ContainerInspectResponse) -> Option<String> {
    let state = found.state.as_ref()?;
    if state.running == Some(true) || state.restarting == Some(true) {
        return None;
    }
    Some(words(state))
}

fn words(state: &ContainerState) -> String {
    let code = state.exit_code.unwrap_or_default();
    if state.oom_killed == Some(true) {
        return "its container ran out of memory and was ended by the kernel: \
                raise `limits.memory`, or let the steps use less"
            .to_owned();
    }
    match state.error.as_deref().unwrap_or_default() {
        "" if code == 137 || code == 255 => format!(
            "its container was killed from outside (exit code {code}): \
             dockerd or the machine was restarted, or somebody ran `docker kill`"
        ),
        "" => format!("its container ended before the job did (exit code {code})"),
        error => format!("its container ended before the job did: {error}"),
    }
}
