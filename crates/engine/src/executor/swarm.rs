//! The `swarm` executor: each attempt is a one-shot service, which Swarm's own scheduler places.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | from the order to a container that runs; waiting for a node | `launch.rs` |
//! | what is asked of Swarm for a job: placement, limits, files. Pure | `spec.rs` |
//! | where an attempt's task stands, asked of the manager for all attempts at once | `tasks.rs` |
//! | what a task's state means; why a job waits. Pure | `standing.rs` |
//! | which of the jobs that wait is placed next | `turns.rs` |
//! | the program in the container, as configs | `program.rs` |
//! | containers beside the job, on an overlay network of its own | `services.rs` |
//! | the server's side of what the shim asks for: files, journal, results | `desk.rs` |
//! | containers that can't reach the server: Docker's log instead | `listen.rs` |
//! | and configs for their files | `carry.rs` |
//! | the nodes, for people | `nodes.rs` |
//! | what may be wrong with a cluster | `doctor.rs` |
//!
//! A node can't be reached from here, only a manager can. So the shim comes as Docker configs, its token
//! and the secrets as a Docker secret, and it asks the server for everything else ([`Desk`]): files, then
//! the journal goes back while it grows, then the results (ADR 0011). The journal lies in the attempt's
//! folder here, as that of a local process does, and is followed in the same way.

mod carry;
mod desk;
pub mod doctor;
mod launch;
mod listen;
pub mod nodes;
mod program;
mod services;
mod spec;
mod standing;
mod tasks;
mod turns;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::Service;
use bollard::query_parameters::{
    InspectServiceOptions, ListConfigsOptions, ListNetworksOptions, ListSecretsOptions,
    ListServicesOptions, LogsOptions,
};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::remote::SILENCE;

use self::carry::Deafness;
pub use self::desk::{Desk, Place, Refusal, is_passing};
use self::listen::Listening;
use self::program::Program;
pub(crate) use self::spec::refusals;
use self::standing::Standing;
use self::tasks::{Subscription, Tasks};
use self::turns::Turns;
use super::daemon::{ATTEMPT_LABEL, Daemon, OWNER_LABEL, has_status, is_missing};
use super::docker::names_home;
use super::process::ProcessExecutor;
use super::process::follow::JournalFile;
use super::service_log;
use super::{Executor, ExecutorError, Followed, Follower, Inside, Start};
use crate::order::OUTPUT_FILE;

/// How long an attempt's task may be missing from Swarm's list before the service is looked for.
const MISSING: Duration = Duration::from_secs(5);

/// How long a cancelled job may take to end by itself, beyond what its shim needs, before its service
/// is removed.
const CANCEL_LIMIT: Duration = Duration::from_secs(120);

/// The same for one whose shim has not asked for anything lately.
const DEAF_CANCEL_LIMIT: Duration = Duration::from_secs(5);

/// How long the log of a service is read for its last words.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// How the network of an attempt is waited for: tasks leave it a moment after their service is gone.
const NETWORK_TRIES: u32 = 20;
const NETWORK_PAUSE: Duration = Duration::from_millis(250);

/// Which Swarm, and how its nodes reach this server.
#[derive(Debug, Clone)]
pub struct SwarmSettings {
    /// A manager: `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// Where containers on the nodes reach [`Desk`] over HTTP, without a slash at the end.
    pub url: String,
    /// Placement constraints of every job, as Swarm writes them: `node.role==worker`.
    pub constraints: Vec<String>,
    /// How long a job may wait for a node that could run it.
    pub placement_limit: Duration,
}

/// Runs jobs on a Docker Swarm.
#[derive(Clone)]
pub struct SwarmExecutor {
    settings: SwarmSettings,
    daemon: Daemon,
    /// Knows the attempts' folders on this machine.
    local: ProcessExecutor,
    program: Arc<Program>,
    tasks: Tasks,
    /// One job at a time waits for Swarm to place it: the order of Swarm's own queue is none.
    turns: Arc<Turns>,
    desk: Desk,
    deafness: Arc<Deafness>,
}

impl SwarmExecutor {
    /// `local` knows the folders of attempts on this machine, `shim` is the program, `starter` the small
    /// one that puts it together in a container. Nothing is asked of Swarm before there is something to
    /// do.
    pub fn new(
        settings: SwarmSettings,
        local: ProcessExecutor,
        shim: PathBuf,
        starter: &'static [u8],
    ) -> Self {
        let daemon = Daemon::new(settings.host.clone());
        Self {
            tasks: Tasks::new(daemon.clone(), local.owner()),
            program: Arc::new(Program::new(shim, starter)),
            settings,
            daemon,
            desk: Desk::new(local.clone()),
            local,
            turns: Arc::default(),
            deafness: Arc::default(),
        }
    }

    /// The server's side of what shims ask for.
    pub fn desk(&self) -> Desk {
        self.desk.clone()
    }

    /// The nodes, for people.
    ///
    /// # Errors
    /// No manager can be reached.
    pub async fn nodes(&self) -> Result<Vec<windlass_model::Node>, ExecutorError> {
        nodes::list(&self.daemon).await
    }

    /// What this server is called on things that it made: [`windlass_model::NodeJob::owner`].
    pub fn owner(&self) -> String {
        self.local.owner()
    }

    fn docker(&self) -> Result<Docker, ExecutorError> {
        self.daemon.docker()
    }

    /// The name of an attempt's service, secret and network.
    fn name_of(&self, attempt: &AttemptId) -> String {
        format!("windlass-{}", self.local.mark(attempt))
    }

    fn labels(&self, attempt: &AttemptId, job: &JobPlan) -> HashMap<String, String> {
        let labels = [
            (OWNER_LABEL, self.local.owner()),
            (ATTEMPT_LABEL, attempt.to_string()),
            (super::daemon::JOB_LABEL, job.name.clone()),
        ];
        labels.map(|(k, v)| (k.to_owned(), v)).into()
    }

    fn filters(&self, label: &str) -> HashMap<String, Vec<String>> {
        let owner = format!("{OWNER_LABEL}={}", self.local.owner());
        HashMap::from([("label".to_owned(), vec![owner, label.to_owned()])])
    }

    async fn service(&self, docker: &Docker, name: &str) -> Result<Option<Service>, ExecutorError> {
        let found = docker.inspect_service(name, None::<InspectServiceOptions>);
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.daemon.failed("look at the service", e)),
        }
    }

    /// What the container of a job said of itself last. Its standard output is for frames.
    async fn shim_words(&self, docker: &Docker, attempt: &AttemptId) -> String {
        let options = LogsOptions {
            stderr: true,
            tail: "5".to_owned(),
            ..LogsOptions::default()
        };
        self.words(docker, &self.name_of(attempt), options).await
    }

    /// What a service's containers printed last; nothing if that can't be had in a moment.
    async fn last_words(&self, docker: &Docker, name: &str, lines: &str) -> String {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            tail: lines.to_owned(),
            ..LogsOptions::default()
        };
        self.words(docker, name, options).await
    }

    async fn words(&self, docker: &Docker, name: &str, options: LogsOptions) -> String {
        let mut text = Vec::new();
        let read = async {
            let mut stream = std::pin::pin!(docker.service_logs(name, Some(options)));
            while let Some(Ok(item)) = stream.next().await {
                // A service prints to no terminal: such an item is the daemon's own complaint.
                if !matches!(item, LogOutput::Console { .. }) {
                    text.extend_from_slice(&item.into_bytes());
                }
                if text.len() > 4 << 20 {
                    break;
                }
            }
        };
        tokio::time::timeout(LAST_WORDS, read).await.unwrap_or(());
        String::from_utf8_lossy(&text).trim().to_owned()
    }

    /// What an attempt brings back: paths below the container's folder.
    fn bring(job: &JobPlan) -> Vec<String> {
        let mut bring = Vec::new();
        if !job.artifacts.is_empty() || !job.caches.is_empty() || !job.reports.is_empty() {
            bring.push("src".to_owned());
        }
        if names_home(job) {
            bring.push("home".to_owned());
        }
        if !job.outputs.is_empty() {
            bring.push(format!("tmp/{OUTPUT_FILE}"));
        }
        bring
    }

    /// Waits until the shim has handed over what the job leaves behind.
    async fn await_results(&self, attempt: &AttemptId, job: &JobPlan) -> Result<(), ExecutorError> {
        if Self::bring(job).is_empty() {
            return Ok(());
        }
        let place = desk::Place::of(&self.local, attempt);
        let mut tasks = self.tasks.subscribe();
        let listening = Listening::begin(self, attempt);
        let begun = Instant::now();
        loop {
            // Asked before the results are looked for: they come before the end.
            let over = self.is_over(&mut tasks, attempt).await?;
            if place.has_results() {
                return Ok(());
            }
            // What can't be unpacked now can't be later: the door has told the shim so.
            if let Some(message) = place.end() {
                return Err(ExecutorError::Docker {
                    doing: "take what the job left behind".to_owned(),
                    message,
                    hint: "look at what the steps leave in the workspace".to_owned(),
                });
            }
            if over.is_some() {
                listening.read_to_end().await;
                if place.has_results() {
                    return Ok(());
                }
            } else if listen::is_given_up(self, attempt, begun) {
                let reason = format!(
                    "its container has not reached {} since the job ended, and could not hand over what it leaves \
                     behind",
                    self.settings.url
                );
                return Err(ExecutorError::Lost { reason });
            }
            if let Some(why) = over {
                return Err(ExecutorError::Lost {
                    reason: format!("{why}, before it had handed over what the job leaves behind"),
                });
            }
            tasks.changed().await;
        }
    }

    /// Whether nothing runs for this attempt any more, and why.
    async fn is_over(
        &self,
        tasks: &mut Subscription,
        attempt: &AttemptId,
    ) -> Result<Option<String>, ExecutorError> {
        let snapshot = tasks.latest();
        match snapshot.standing(attempt) {
            Some(Standing::Ended(end)) => Ok(Some(end.to_string())),
            Some(Standing::Lost { node, .. }) => Ok(Some(self.lost_words(node).await)),
            Some(_) => Ok(None),
            None if tasks.missing_for(attempt) < MISSING => Ok(None),
            None => {
                let docker = self.docker()?;
                let found = self.service(&docker, &self.name_of(attempt)).await?;
                Ok(found
                    .is_none()
                    .then(|| "its service was removed".to_owned()))
            }
        }
    }

    /// Why Swarm wants a task gone that we did not give up.
    async fn lost_words(&self, node: Option<&str>) -> String {
        let found = match node {
            Some(id) => nodes::list(&self.daemon)
                .await
                .ok()
                .and_then(|all| all.into_iter().find(|node| node.id == id)),
            None => None,
        };
        match found {
            Some(node) if node.state != "ready" => {
                format!("the node {} is {}", node.name, node.state)
            }
            Some(node) if node.availability == "drain" => {
                format!("the node {} was drained", node.name)
            }
            Some(node) => format!("Swarm stopped its task on the node {}", node.name),
            None => "Swarm stopped its task".to_owned(),
        }
    }

    /// Removes every service, secret, config and network of an attempt.
    async fn clear(&self, docker: &Docker, attempt: &AttemptId) -> Result<(), ExecutorError> {
        let filters = self.filters(&format!("{ATTEMPT_LABEL}={attempt}"));
        let options = ListServicesOptions {
            filters: Some(filters.clone()),
            ..ListServicesOptions::default()
        };
        let services = docker
            .list_services(Some(options))
            .await
            .map_err(|e| self.daemon.failed("list services", e))?;
        for id in services.into_iter().filter_map(|service| service.id) {
            match docker.delete_service(&id).await {
                Err(e) if !is_missing(&e) => {
                    return Err(self.daemon.failed("remove the service", e));
                }
                _ => {}
            }
        }
        let options = ListSecretsOptions {
            filters: Some(filters.clone()),
        };
        let secrets = docker
            .list_secrets(Some(options))
            .await
            .map_err(|e| self.daemon.failed("list secrets", e))?;
        for id in secrets.into_iter().filter_map(|secret| secret.id) {
            match docker.delete_secret(&id).await {
                Err(e) if !is_missing(&e) => {
                    return Err(self.daemon.failed("remove the secret", e));
                }
                _ => {}
            }
        }
        let options = ListConfigsOptions {
            filters: Some(filters.clone()),
        };
        let configs = docker
            .list_configs(Some(options))
            .await
            .map_err(|e| self.daemon.failed("list configs", e))?;
        for id in configs.into_iter().filter_map(|config| config.id) {
            match docker.delete_config(&id).await {
                Err(e) if !is_missing(&e) => {
                    return Err(self.daemon.failed("remove the config", e));
                }
                _ => {}
            }
        }
        let options = ListNetworksOptions {
            filters: Some(filters),
        };
        let networks = docker
            .list_networks(Some(options))
            .await
            .map_err(|e| self.daemon.failed("list networks", e))?;
        for id in networks.into_iter().filter_map(|network| network.id) {
            let mut tries = 0;
            loop {
                match docker.remove_network(&id).await {
                    Ok(()) => break,
                    Err(e) if is_missing(&e) => break,
                    Err(_) if tries < NETWORK_TRIES => tries += 1,
                    Err(e) => return Err(self.daemon.failed("remove the network", e)),
                }
                tokio::time::sleep(NETWORK_PAUSE).await;
            }
        }
        Ok(())
    }

    async fn ours(&self) -> Result<Vec<AttemptId>, ExecutorError> {
        let docker = self.docker()?;
        let filters = Some(self.filters(ATTEMPT_LABEL));
        let services = docker
            .list_services(Some(ListServicesOptions {
                filters: filters.clone(),
                ..ListServicesOptions::default()
            }))
            .await;
        let services = match services {
            // A node that has left its Swarm: nothing of ours is there.
            Err(e) if has_status(&e, 503) => return Err(self.daemon.gone(e.to_string())),
            services => services.map_err(|e| self.daemon.failed("list services", e))?,
        };
        let secrets = docker
            .list_secrets(Some(ListSecretsOptions {
                filters: filters.clone(),
            }))
            .await
            .map_err(|e| self.daemon.failed("list secrets", e))?;
        let configs = docker
            .list_configs(Some(ListConfigsOptions {
                filters: filters.clone(),
            }))
            .await
            .map_err(|e| self.daemon.failed("list configs", e))?;
        let networks = docker
            .list_networks(Some(ListNetworksOptions { filters }))
            .await
            .map_err(|e| self.daemon.failed("list networks", e))?;
        let configs = configs.into_iter().map(|c| c.spec.and_then(|s| s.labels));
        let services = services.into_iter().map(|s| s.spec.and_then(|s| s.labels));
        let secrets = secrets.into_iter().map(|s| s.spec.and_then(|s| s.labels));
        let networks = networks
            .into_iter()
            // Those of a Docker daemon without Swarm are the other executor's.
            .filter(|network| network.scope.as_deref() == Some("swarm"))
            .map(|network| network.labels);
        let mut all: Vec<AttemptId> = services
            .chain(secrets)
            .chain(configs)
            .chain(networks)
            .filter_map(|labels| labels?.remove(ATTEMPT_LABEL)?.parse().ok())
            .collect();
        all.sort();
        all.dedup();
        Ok(all)
    }
}

impl Executor for SwarmExecutor {
    fn name(&self) -> &'static str {
        "swarm"
    }

    fn inside(&self, _attempt: &AttemptId, job: &JobPlan) -> Inside {
        use windlass_shim::remote::ROOT;
        let home = names_home(job).then(|| ("HOME".to_owned(), format!("{ROOT}/home")));
        Inside {
            workspace: format!("{ROOT}/src").into(),
            tmp: format!("{ROOT}/tmp").into(),
            env: home.into_iter().collect(),
        }
    }

    fn start<'a>(
        &'a self,
        attempt: &'a AttemptId,
        start: Start<'a>,
    ) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(self.launch(attempt, start))
    }

    fn follow(
        &self,
        attempt: &AttemptId,
        from_offset: u64,
    ) -> Result<Box<dyn Follower>, ExecutorError> {
        let runtime = tokio::runtime::Handle::current();
        let epitaph: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
        let (executor, told) = (self.clone(), Arc::clone(&epitaph));
        let id = attempt.clone();
        let tasks = std::sync::Mutex::new(self.tasks.subscribe());
        let listening = Arc::new(Listening::begin(self, attempt));
        let last = Arc::clone(&listening);
        let lives = Box::new(move || {
            use std::sync::PoisonError;
            let place = Place::of(&executor.local, &id);
            let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
            let why = match place.end() {
                Some(why) => Some(why),
                None => match runtime.block_on(executor.is_over(&mut tasks, &id)) {
                    Ok(Some(why)) => {
                        // Whoever follows reads the journal once more after this.
                        runtime.block_on(last.read_to_end());
                        let docker = executor.docker()?;
                        let said = runtime.block_on(executor.shim_words(&docker, &id));
                        Some(match said.as_str() {
                            "" => why,
                            said => format!("{why}; it said: {said}"),
                        })
                    }
                    Ok(None) => None,
                    // The managers are away: nobody can say that it is over.
                    Err(error) => {
                        tracing::debug!(attempt = %id, %error, "can't see how it stands");
                        None
                    }
                },
            };
            let lives = why.is_none();
            if let Some(why) = why {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            }
            Ok(lives)
        });
        let journal = JournalFile::open(&self.local.shim_folder(attempt), from_offset, lives)?;
        Ok(Box::new(RemoteJournal {
            journal,
            epitaph,
            _listening: listening,
        }))
    }

    fn stop<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move {
            let place = Place::of(&self.local, attempt);
            place.ask_to_stop()?;
            if place.is_begun() || place.is_carried() {
                // The shim asks for orders all the time. One that can't ask gets a signal.
                let (executor, attempt) = (self.clone(), attempt.clone());
                tokio::spawn(async move {
                    // After a start of the server it may be about to ask for the first time.
                    tokio::time::sleep(DEAF_CANCEL_LIMIT).await;
                    let heard = executor.desk.heard(&attempt);
                    if heard.is_some_and(|at| at.elapsed() < SILENCE) {
                        tokio::time::sleep(CANCEL_LIMIT.saturating_sub(DEAF_CANCEL_LIMIT)).await;
                    }
                    let name = executor.name_of(&attempt);
                    if Place::of(&executor.local, &attempt).is_here()
                        && let Ok(docker) = executor.docker()
                    {
                        // Gone already, most of the time.
                        docker.delete_service(&name).await.unwrap_or_default();
                    }
                });
                return Ok(());
            }
            let docker = self.docker()?;
            match docker.delete_service(&self.name_of(attempt)).await {
                Err(e) if !is_missing(&e) => Err(self.daemon.failed("remove the service", e)),
                _ => Ok(()),
            }
        })
    }

    fn collect<'a>(
        &'a self,
        attempt: &'a AttemptId,
        job: &'a JobPlan,
    ) -> BoxFuture<'a, Result<Vec<String>, ExecutorError>> {
        Box::pin(async move {
            let docker = self.docker()?;
            for service in &job.services {
                let name = self.service_name(attempt, service);
                let path = service_log::file(&self.local.folder(attempt), &service.name);
                let log = docker.service_logs(&name, Some(service_log::options()));
                service_log::keep(log, &path).await?;
            }
            self.await_results(attempt, job).await?;
            Ok(Vec::new())
        })
    }

    fn remove<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move {
            let docker = self.docker()?;
            self.clear(&docker, attempt).await?;
            let place = Place::of(&self.local, attempt);
            if place.is_carried() && self.desk.heard(attempt).is_none() {
                self.deafness.remember();
            }
            self.desk.forget(attempt);
            // From now on the shim's requests are refused, should it still live on a node that is cut off.
            self.local.remove(attempt).await
        })
    }

    fn present(&self) -> BoxFuture<'_, Result<Vec<AttemptId>, ExecutorError>> {
        Box::pin(self.ours())
    }

    fn discard<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        Box::pin(async move {
            self.remove(attempt).await?;
            Ok(true)
        })
    }
}

/// The journal of a shim on another machine, as far as it was shipped.
struct RemoteJournal {
    journal: JournalFile,
    epitaph: Arc<std::sync::Mutex<Option<String>>>,
    _listening: Arc<Listening>,
}

impl Follower for RemoteJournal {
    fn read(&mut self, buf: &mut Vec<u8>, wait: Duration) -> Result<Followed, ExecutorError> {
        self.journal.read(buf, wait)
    }

    fn epitaph(&self) -> Option<String> {
        self.epitaph
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }
}
