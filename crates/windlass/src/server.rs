//! The server: what runs, in which order it starts, and how it stops.
//!
//! Nothing here needs a tidy end. SIGTERM only saves the next start some work: it stops taking
//! jobs, gives up the leases, and exits at once. Jobs go on under their shims, and the next server
//! takes them up again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::Flock;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_engine::executor::Executors;
use windlass_engine::executor::docker::DockerSettings;
use windlass_engine::git::Git;
use windlass_logs::Hub;
use windlass_model::Secret;
use windlass_store::logs::KeepLogs;
use windlass_store::{OnPending, Schema, SearchIndex, Store, StoreError};
use windlass_web::AppState;

use crate::archive::{Fetcher, Sinks};
use crate::archiver::{Archiver, Sink};
use crate::cli::say;
use crate::door::{self, Door};
use crate::executors::{AllowArgs, Nodes, SwarmChoice};
use crate::folders::Folders;
use crate::intake::Intake;
use crate::report::{EXIT_INTERNAL, EXIT_OK, Problem};
use crate::reporter::Reporter;
use crate::shelf::Shelf;
use crate::spool;
use crate::waiting;
use crate::worker::Worker;
use crate::worker::indexer::Indexer;

/// How often commits of other processes (the command line) are looked for.
const LOOK_FOR_OTHERS: Duration = Duration::from_millis(200);

/// What the server was told.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) public_url: Option<String>,
    /// How many jobs run at once, if somebody said so.
    pub(crate) slots: Option<usize>,
    /// How many bytes one artifact may have.
    pub(crate) artifact_limit: u64,
    pub(crate) pass_env: Vec<String>,
    pub(crate) docker: DockerSettings,
    /// Jobs with an image run on a Swarm.
    pub(crate) swarm: Option<SwarmChoice>,
    /// What jobs may ask of the machine.
    pub(crate) allow: AllowArgs,
    /// Where copies of logs go.
    pub(crate) sinks: Sinks,
    /// For how many seconds the container of a job that failed is kept.
    pub(crate) keep_failed: u64,
    pub(crate) log_limit: u64,
    pub(crate) keep_logs: KeepLogs,
    /// For how many days logs stay here that have copies elsewhere.
    pub(crate) keep_local_log_days: Option<i64>,
    /// Whether there is an index of words.
    pub(crate) search: bool,
    pub(crate) github_api: Option<String>,
    pub(crate) private: bool,
    pub(crate) drain: bool,
    pub(crate) on_pending: OnPending,
    /// How long the start waits for a database that does not answer. Zero: it fails at once.
    pub(crate) database_wait: std::time::Duration,
}

/// A server that listens, but does not work yet.
pub(crate) struct Server {
    settings: Settings,
    folders: Folders,
    listener: TcpListener,
    store: Store,
    token: Secret,
    public_url: String,
    executors: Executors,
    slots: usize,
    door: Option<Door>,
    /// Held as long as the server lives.
    _lock: Flock<std::fs::File>,
}

impl Server {
    /// Takes the data folder, listens, opens the store. `None`: it was told to stop while it waited
    /// for the store, or for its schema.
    pub(crate) async fn open(
        settings: Settings,
        folders: Folders,
    ) -> Result<Option<Self>, Problem> {
        folders.create()?;
        let lock = folders.lock()?;
        let listener = TcpListener::bind(settings.listen).await.map_err(|e| {
            Problem::new(format!("could not listen on {}: {e}", settings.listen))
                .hint("choose another address with --listen HOST:PORT")
        })?;
        let address = listener.local_addr()?;
        let public_url = settings
            .public_url
            .clone()
            .unwrap_or_else(|| format!("http://{address}"));
        let postgres = folders.store().database.is_some();
        let store = loop {
            if postgres {
                let schema = Schema::of(&folders.store())?;
                let when_not = || say(format_args!("windlass waits at {public_url}"));
                let limit = settings.database_wait;
                let waits = waiting::until_reachable(&listener, &schema, limit, when_not);
                tokio::select! {
                    waited = waits => waited?,
                    () = until_stopped() => return Ok(None),
                }
            }
            match Store::open(folders.store(), settings.on_pending).await {
                Err(pending @ StoreError::MigrationPending { .. }) => {
                    let schema = Schema::of(&folders.store())?;
                    say(format_args!("windlass waits at {public_url}"));
                    let waits = waiting::until_migrated(&listener, &schema, &pending);
                    tokio::select! {
                        waited = waits => waited?,
                        () = until_stopped() => return Ok(None),
                    }
                }
                // It went away in between.
                Err(error) if postgres && error.is_unreachable() => {
                    tracing::warn!("{error}; trying again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
                opened => break opened?,
            }
        };
        store.take_for_server().await?;
        // This process holds the folder's lock and the database, so whoever has a lease in it is dead.
        store.release_leases(None).await?;
        let token = folders.token()?;
        let (mut swarm, mut listener_for_nodes, mut cores) = (None, None, own_cores());
        if let Some(choice) = settings.swarm.clone() {
            let (nodes_listener, found) = door::open(choice, &settings.docker.host).await?;
            cores = found.cores;
            listener_for_nodes = Some((nodes_listener, found.settings.url.clone()));
            swarm = Some(found.settings);
        }
        let executors = crate::executors::new(
            folders.work(),
            folders.shim()?,
            settings.pass_env.clone(),
            settings.docker.clone(),
            swarm,
        );
        let door = match (listener_for_nodes, &executors.swarm) {
            (Some((listener, url)), Some(swarm)) => Some(Door {
                listener,
                url,
                desk: swarm.desk(),
            }),
            _ => None,
        };
        let slots = settings.slots.unwrap_or(cores);
        note_address(&folders, address)?;
        Ok(Some(Self {
            settings,
            folders,
            listener,
            store,
            token,
            public_url,
            executors,
            slots,
            door,
            _lock: lock,
        }))
    }

    /// Where the nodes of a Swarm reach it, if jobs run there.
    pub(crate) fn nodes_url(&self) -> Option<&str> {
        self.door.as_ref().map(|door| door.url.as_str())
    }

    /// Where people reach it.
    pub(crate) fn url(&self) -> &str {
        &self.public_url
    }

    /// The store, for what is to be done before the work starts.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Works until a signal says stop.
    pub(crate) async fn run(self) -> Result<u8, Problem> {
        let git = Git::find()?;
        let hub = Hub::new();
        let stop = CancellationToken::new();
        let end_streams = CancellationToken::new();
        let index = match self.settings.search {
            true => Some(SearchIndex::open(&self.folders.root).await?),
            false => None,
        };
        self.store
            .set_archive_sinks(&self.settings.sinks.names())
            .await?;
        let instance = self.store.archive_instance().await?;
        let fetcher = Arc::new(Fetcher {
            store: self.store.clone(),
            sinks: self.settings.sinks.clone(),
            logs: self.folders.logs(),
            instance: instance.clone(),
            keep_days: self.settings.keep_local_log_days,
            turn: tokio::sync::Mutex::default(),
        });
        let has_archive = !self.settings.sinks.is_empty();
        let worker = Arc::new(Worker {
            archive: has_archive.then(|| Arc::clone(&fetcher)),
            store: self.store.clone(),
            executors: self.executors.clone(),
            git: git.clone(),
            hub: hub.clone(),
            owner: format!("{}-{}", std::process::id(), windlass_store::db::now_ms()),
            logs: self.folders.logs(),
            mirrors: self.folders.mirrors(),
            artifacts: self.folders.artifacts(),
            caches: self.folders.caches(),
            artifact_limit: self.settings.artifact_limit,
            public_url: self.public_url.clone(),
            slots: self.slots,
            allow: self.settings.allow.clone(),
            keep_failed: self.settings.keep_failed,
            log_limit: self.settings.log_limit,
            keep_logs: self.settings.keep_logs,
            index: index.clone(),
            draining: false.into(),
        });
        let app = windlass_web::router(AppState {
            copies: has_archive.then(|| Arc::clone(&fetcher) as Arc<dyn windlass_web::LogCopies>),
            store: self.store.clone(),
            hub,
            index: index.clone(),
            logs_root: self.folders.logs(),
            schema: windlass_spec::schema().to_string().into(),
            refs: Arc::clone(&worker) as Arc<dyn windlass_web::Refs>,
            artifacts: Arc::new(Shelf(self.folders.artifacts())),
            cluster: self.executors.swarm.clone().map(|swarm| {
                let nodes: Arc<dyn windlass_web::Cluster> = Arc::new(Nodes(swarm));
                nodes
            }),
            public_url: self.public_url.clone(),
            token: self.token.clone(),
            shutdown: end_streams.clone(),
            private: self.settings.private,
        });
        let intake = Intake {
            store: self.store.clone(),
            git,
            public_url: self.public_url.clone(),
        };
        let reporter = Reporter {
            store: self.store.clone(),
            github_api: self.settings.github_api.clone(),
        };

        let jobs = TaskTracker::new();
        let mut tasks = tokio::task::JoinSet::new();
        let others = self.store.clone();
        tasks.spawn(async move {
            if let Err(error) = others.watch_other_processes(LOOK_FOR_OTHERS).await {
                tracing::error!(%error, "can't see what other processes write");
            }
        });
        tasks.spawn(intake.run());
        tasks.spawn(spool::watch(self.store.clone()));
        tasks.spawn(reporter.run());
        for sink in sinks(&self.settings.sinks) {
            let archiver = Archiver {
                fetcher: Arc::clone(&fetcher),
                store: self.store.clone(),
                logs: self.folders.logs(),
                instance: instance.clone(),
                sink,
            };
            tasks.spawn(archiver.run());
        }
        tasks.spawn(Arc::clone(&worker).heartbeat());
        tasks.spawn(Arc::clone(&worker).sweep());
        if let Some(index) = index {
            let indexer = Indexer {
                store: self.store.clone(),
                index,
                logs: self.folders.logs(),
            };
            tasks.spawn(indexer.run());
        }
        tasks.spawn(Arc::clone(&worker).keep_schedules());
        tasks.spawn(Arc::clone(&worker).run(stop.clone(), jobs.clone()));
        if let Some(door) = self.door {
            tasks.spawn(async move {
                if let Err(error) = door.serve().await {
                    tracing::error!(%error, "the nodes' HTTP server ended");
                }
            });
        }
        let listener = self.listener;
        tasks.spawn(async move {
            if let Err(error) = windlass_web::serve(listener, app).await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });

        let stopped = tokio::select! {
            () = until_stopped() => Ok(EXIT_OK),
            // Each of them runs for ever; an end is a bug, and a server that only half works is
            // worse than one that its supervisor starts anew.
            ended = tasks.join_next() => {
                let words = match ended {
                    Some(Err(error)) => format!("a part of the server ended: {error}"),
                    _ => "a part of the server ended".to_owned(),
                };
                Err(Problem::new(words).code(EXIT_INTERNAL))
            }
        };
        if self.settings.drain && stopped.is_ok() {
            tracing::info!(
                jobs = jobs.len(),
                "waiting for running jobs; again to stop at once"
            );
            worker.take_no_more();
            jobs.close();
            tokio::select! {
                () = jobs.wait() => {}
                () = until_stopped() => {}
            }
        }
        stop.cancel();
        end_streams.cancel();
        tasks.abort_all();
        let owner = worker.owner.clone();
        // Not needed for safety: without this the next start releases them.
        let release = self.store.release_leases(Some(&owner));
        if tokio::time::timeout(Duration::from_secs(2), release)
            .await
            .is_err()
        {
            tracing::warn!("the leases could not be given up in time");
        }
        std::fs::remove_file(self.folders.server_file()).unwrap_or_default();
        stopped
    }
}

fn sinks(sinks: &Sinks) -> Vec<Sink> {
    let elasticsearch = sinks.elasticsearch.clone().map(Sink::Elasticsearch);
    let objects = sinks.objects.clone().map(Sink::Objects);
    elasticsearch.into_iter().chain(objects).collect()
}

fn own_cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

async fn until_stopped() {
    let (Ok(mut term), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("can't listen to signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// So that the command line finds the server of its data folder.
fn note_address(folders: &Folders, address: SocketAddr) -> Result<(), Problem> {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let note = serde_json::json!({
        "url": format!("http://{reachable}"),
        "pid": std::process::id(),
    });
    let path = folders.server_file();
    let temporary = path.with_extension("json.new");
    std::fs::write(&temporary, note.to_string())
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(|e| Problem::new(format!("could not write {}: {e}", path.display())))
}
