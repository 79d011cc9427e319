//! Where all attempts stand: one request to the manager for all of them, again and again, as long as
//! anybody wants to know. There is no event for it (Docker's `/events` has none of tasks).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use bollard::models::Task;
use bollard::query_parameters::ListTasksOptions;
use tokio::sync::watch;
use windlass_model::AttemptId;

use super::super::ExecutorError;
use super::super::daemon::{ATTEMPT_LABEL, Daemon, OWNER_LABEL};
use super::spec::{JOB_ROLE, ROLE_LABEL};
use super::standing::Standing;

/// The pause between two requests.
const PAUSE: Duration = Duration::from_millis(80);
/// The pause after one that failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// How long one answer may take: managers that have lost each other let one wait for 20 seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What the manager said last.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    /// 0 before there was any answer.
    pub(super) number: u64,
    tasks: HashMap<String, Task>,
    /// Why there is no newer answer.
    pub(super) trouble: Option<String>,
}

impl Snapshot {
    /// Where the attempt's task stands, if it has one.
    pub(super) fn standing(&self, attempt: &AttemptId) -> Option<Standing<'_>> {
        self.tasks.get(attempt.as_str()).map(Standing::of)
    }
}

#[derive(Clone)]
pub(super) struct Tasks {
    daemon: Daemon,
    owner: String,
    poller: Arc<Mutex<Weak<Poller>>>,
}

struct Poller {
    latest: watch::Receiver<Arc<Snapshot>>,
}

/// Wants to know; the manager is asked as long as one of these lives.
pub(super) struct Subscription {
    poller: Arc<Poller>,
    latest: watch::Receiver<Arc<Snapshot>>,
    /// Since when an attempt is not in the list, with the number of the snapshot that showed it first.
    missing_since: Option<Instant>,
}

impl Tasks {
    pub(super) fn new(daemon: Daemon, owner: String) -> Self {
        Self {
            daemon,
            owner,
            poller: Arc::default(),
        }
    }

    /// Needs a runtime.
    pub(super) fn subscribe(&self) -> Subscription {
        let mut current = self.poller.lock().unwrap_or_else(PoisonError::into_inner);
        let poller = current.upgrade().unwrap_or_else(|| {
            let (sender, latest) = watch::channel(Arc::default());
            let poller = Arc::new(Poller { latest });
            *current = Arc::downgrade(&poller);
            let (tasks, alive) = (self.clone(), Arc::downgrade(&poller));
            tokio::spawn(async move { tasks.poll(&sender, &alive).await });
            poller
        });
        Subscription {
            latest: poller.latest.clone(),
            poller,
            missing_since: None,
        }
    }

    async fn poll(&self, sender: &watch::Sender<Arc<Snapshot>>, wanted: &Weak<Poller>) {
        let mut number = 0;
        while wanted.strong_count() > 0 {
            match self.list().await {
                Ok(tasks) => {
                    number += 1;
                    sender.send_replace(Arc::new(Snapshot {
                        number,
                        tasks,
                        trouble: None,
                    }));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let old = Arc::clone(&sender.borrow());
                    sender.send_replace(Arc::new(Snapshot {
                        number,
                        tasks: old.tasks.clone(),
                        trouble: Some(error.to_string()),
                    }));
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    }

    async fn list(&self) -> Result<HashMap<String, Task>, ExecutorError> {
        let docker = self.daemon.docker()?;
        let labels = vec![
            format!("{OWNER_LABEL}={}", self.owner),
            format!("{ROLE_LABEL}={JOB_ROLE}"),
        ];
        let options = ListTasksOptions {
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
        };
        let listed = tokio::time::timeout(ANSWER_LIMIT, docker.list_tasks(Some(options))).await;
        let listed = listed
            .map_err(|_| self.daemon.gone("the managers don't answer".to_owned()))?
            .map_err(|e| self.daemon.failed("list tasks", e))?;
        let mut tasks = HashMap::new();
        for task in listed {
            let labels = task.spec.as_ref().and_then(|spec| {
                let container = spec.container_spec.as_ref()?;
                container.labels.as_ref()
            });
            let Some(attempt) = labels.and_then(|labels| labels.get(ATTEMPT_LABEL)) else {
                continue;
            };
            tasks.insert(attempt.clone(), task);
        }
        Ok(tasks)
    }
}

impl Subscription {
    pub(super) fn latest(&mut self) -> Arc<Snapshot> {
        Arc::clone(&self.latest.borrow_and_update())
    }

    /// Waits for another answer of the manager.
    pub(super) async fn changed(&mut self) {
        debug_assert!(Arc::strong_count(&self.poller) > 0);
        // The poller lives as long as this does; should it be gone, nobody shall spin.
        if self.latest.changed().await.is_err() {
            tokio::time::sleep(TROUBLE_PAUSE).await;
        }
    }

    /// How long the manager has been saying that the attempt has no task.
    pub(super) fn missing_for(&mut self, attempt: &AttemptId) -> Duration {
        let snapshot = self.latest();
        if snapshot.number == 0
            || snapshot.trouble.is_some()
            || snapshot.standing(attempt).is_some()
        {
            self.missing_since = None;
            return Duration::ZERO;
        }
        self.missing_since
            .get_or_insert_with(Instant::now)
            .elapsed()
    }
}
