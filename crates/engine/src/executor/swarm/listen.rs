//! The second way home of a journal and of results: what a shim that can't reach this server prints, read
//! through the managers (`docker service logs`) and written where the first way writes, by offsets.
//!
//! Such a log never tells that it has ended, and falls silent when a node is cut off
//! (`../shared/research/swarm-lab.md`). So it is not followed but read again and again, from a moment before
//! the last frame that was read on.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use bytes::BytesMut;
use futures_util::StreamExt as _;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use windlass_model::AttemptId;
use windlass_shim::frame::{Frame, Said};
use windlass_shim::remote::SILENCE;

use super::SwarmExecutor;
use super::desk::Place;
use super::standing::Standing;
use crate::executor::ExecutorError;

/// The pause between two readings.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest one, while nothing can be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How long the managers may be silent within one reading: a node that is gone never answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// So many seconds before the last frame the next reading begins: clocks are set back now and then.
const OVERLAP: u64 = 3;

/// One reading of all that there is, in so many: a clock may have been set back by more.
const WHOLE_EVERY: u32 = 20;

/// A line longer than this is no frame.
const LONGEST_LINE: usize = 32 * 1024;

/// So long a job that is over is waited for, if it can't hand over what it leaves behind.
const RESULTS_LIMIT: Duration = Duration::from_secs(600);

/// Reads an attempt's log for as long as it lives, whenever its shim has not been heard of for a while.
pub(super) struct Listening {
    task: JoinHandle<()>,
    listener: Arc<Mutex<Listener>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listening {
    pub(super) fn begin(executor: &SwarmExecutor, attempt: &AttemptId) -> Self {
        let listener = Arc::new(Mutex::new(Listener {
            executor: executor.clone(),
            attempt: attempt.clone(),
            place: Place::of(&executor.local, attempt),
            since: 0,
            readings: 0,
            told: false,
        }));
        let shared = Arc::clone(&listener);
        let task = tokio::spawn(async move { listen(&shared).await });
        Self { task, listener }
    }

    /// Reads once more, all of it: nothing is printed any more.
    pub(super) async fn read_to_end(&self) {
        let mut listener = self.listener.lock().await;
        listener.since = 0;
        if let Err(error) = listener.read().await {
            let attempt = &listener.attempt;
            tracing::debug!(%attempt, %error, "could not read what the shim printed");
        }
    }
}

async fn listen(listener: &Mutex<Listener>) {
    let begun = Instant::now();
    let mut pause = PAUSE;
    let mut subscription = listener.lock().await.executor.tasks.subscribe();
    loop {
        tokio::time::sleep(pause).await;
        let mut listener = listener.lock().await;
        if !listener.place.is_here() {
            return;
        }
        // After a start of the server nobody knows when it was heard of last.
        let silent = match listener.executor.desk.heard(&listener.attempt) {
            Some(at) => at.elapsed(),
            None if listener.place.is_carried() => SILENCE,
            None => begun.elapsed(),
        };
        let snapshot = subscription.latest();
        let runs = matches!(
            snapshot.standing(&listener.attempt),
            Some(Standing::Running { .. } | Standing::Ended(_))
        );
        if silent < SILENCE || !runs {
            pause = PAUSE;
            continue;
        }
        pause = match listener.read().await {
            Ok(()) => PAUSE,
            Err(error) => {
                let attempt = &listener.attempt;
                tracing::debug!(%attempt, %error, "could not read what the shim printed");
                (pause * 2).min(LONGEST_PAUSE)
            }
        };
    }
}

struct Listener {
    executor: SwarmExecutor,
    attempt: AttemptId,
    place: Place,
    /// The node's time of the last frame that was read.
    since: u64,
    readings: u32,
    /// That the second way is taken was told.
    told: bool,
}

impl Listener {
    /// Reads what there is, once.
    async fn read(&mut self) -> Result<(), ExecutorError> {
        let docker = self.executor.docker()?;
        let name = self.executor.name_of(&self.attempt);
        self.readings += 1;
        let since = match self.readings % WHOLE_EVERY {
            0 => 0,
            _ => self.since.saturating_sub(OVERLAP),
        };
        let options = LogsOptions {
            stdout: true,
            tail: "all".to_owned(),
            since: i32::try_from(since).unwrap_or(0),
            ..LogsOptions::default()
        };
        let mut stream = std::pin::pin!(docker.service_logs(&name, Some(options)));
        let mut pending = BytesMut::new();
        loop {
            let next = tokio::time::timeout(ANSWER_LIMIT, stream.next()).await;
            let item = match next {
                Err(_) => {
                    let words = "the node's log is not answered for".to_owned();
                    return Err(self.executor.daemon.gone(words));
                }
                Ok(None) => return Ok(()),
                Ok(Some(item)) => {
                    item.map_err(|e| self.executor.daemon.failed("read the job's log", e))?
                }
            };
            // Any other item is the daemon's own complaint.
            let LogOutput::StdOut { message } = item else {
                continue;
            };
            pending.extend_from_slice(&message);
            let mut frames = Vec::new();
            while let Some(end) = memchr::memchr(b'\n', &pending) {
                frames.extend(Frame::parse(&pending.split_to(end + 1)));
            }
            if pending.len() > LONGEST_LINE {
                pending.clear();
            }
            if frames.is_empty() {
                continue;
            }
            let newest = frames.iter().map(|frame| frame.seconds).max();
            self.since = self.since.max(newest.unwrap_or_default());
            self.tell();
            let place = self.place.clone();
            let written = tokio::task::spawn_blocking(move || {
                frames
                    .into_iter()
                    .try_for_each(|frame| place.hear(frame.said))
            });
            let written = written.await.unwrap_or_else(|e| Err(io::Error::other(e)));
            written.map_err(|source| ExecutorError::File {
                doing: "write",
                path: self.place.folder().to_owned(),
                source,
            })?;
        }
    }

    fn tell(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                attempt = %self.attempt,
                url = self.executor.settings.url,
                "the job's container can't reach this server: its output is read from Docker's log, through the \
                 managers. `windlass cluster doctor` finds the node"
            );
        }
    }
}

impl Place {
    /// Takes what a frame says.
    fn hear(&self, said: Said<'_>) -> io::Result<()> {
        match said {
            // Bytes behind a gap are refused; the first way, or another reading, fills it.
            Said::Journal(at, bytes) => self.append(at, &bytes).map(drop),
            Said::Results(at, bytes) => self.append_results(at, &bytes),
            Said::ResultsEnd(length) => self.unpack_results(length),
            Said::Died(why) => self.set_end(&why),
        }
    }
}

/// Whether a job that is over has been silent for too long to be waited for.
pub(super) fn is_given_up(executor: &SwarmExecutor, attempt: &AttemptId, since: Instant) -> bool {
    let heard = executor.desk.heard(attempt);
    since.elapsed() > RESULTS_LIMIT && heard.is_none_or(|at| at.elapsed() > RESULTS_LIMIT)
}
