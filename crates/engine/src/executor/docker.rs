//! The `docker` executor: one container for all steps of a job, on any daemon that can be reached.
//!
//! ```text
//! in the container               on this machine, while it is filled and after the end
//! /windlass/shim/  order, shim
//! /windlass/src/   the workspace   <root>/<attempt>/src/
//! /windlass/tmp/   TMPDIR          <root>/<attempt>/tmp/
//! /windlass/home/  HOME, if a cache names `~/`   <root>/<attempt>/home/
//! ```
//!
//! Everything goes in and out through the Docker API: nothing of the host is mounted, the image needs
//! no tool of ours, and the daemon may be another machine's. The shim is the container's first
//! process; its journal goes to standard output, which the engine keeps (ADR 0010). The container's
//! name is made of the attempt, so that a second start finds the first.

mod follow;
mod image;
mod services;
mod shell;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerSummary, HostConfig,
    HostConfigLogConfig,
};
use bollard::query_parameters::{
    CreateContainerOptions, DownloadFromContainerOptions, InspectContainerOptions,
    KillContainerOptions, ListContainersOptions, ListNetworksOptions, RemoveContainerOptions,
    StartContainerOptions, UploadToContainerOptions,
};
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::sync::mpsc::channel;
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::archive::{self, Item, Owner};
use windlass_shim::order::{ORDER_FILE, Order, SECRETS_FILE, STREAM};
use windlass_shim::remote::ROOT;

use self::follow::ContainerLog;
use self::image::Images;
pub use self::image::PullPolicy;
pub use self::shell::{Shell, ShellHandle};
use super::chunks::{ChunkReader, ChunkWriter, QUEUE};
use super::daemon::{
    ATTEMPT_LABEL, DEFAULT_HOST, DROPPED, Daemon, JOB_LABEL, OWNER_LABEL, is_conflict, is_missing,
    mounts, refused, words,
};
use super::process::ProcessExecutor;
use super::service_log;
use super::{Executor, ExecutorError, Follower, Inside, Start};

const SHIM_FOLDER: &str = "/windlass/shim";
const WORKSPACE: &str = "/windlass/src";
const TMP: &str = "/windlass/tmp";
const HOME: &str = "/windlass/home";

/// No limit that a build reaches: the journal must stay whole, whatever the daemon's own settings.
const LOG_SIZE: &str = "1000g";

/// How long a name may stay in use by what a killed server asked for.
const NAME_PATIENCE: Duration = Duration::from_secs(60);

/// Which daemon, and how images are had.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// `unix:///path`, `tcp://host:port` or `http://host:port`.
    pub host: String,
    /// When images are pulled.
    pub pull: PullPolicy,
    /// How long one pull may take.
    pub pull_limit: Duration,
    /// How long a daemon that can't be reached is waited for while a job runs; then the job is lost.
    pub patience: Duration,
}

impl Default for DockerSettings {
    fn default() -> Self {
        Self {
            host: DEFAULT_HOST.to_owned(),
            pull: PullPolicy::default(),
            pull_limit: Duration::from_secs(15 * 60),
            patience: Duration::from_secs(30 * 60),
        }
    }
}

/// Runs jobs in containers.
#[derive(Clone)]
pub struct DockerExecutor {
    /// Knows the attempts' folders on this machine.
    local: ProcessExecutor,
    shim: PathBuf,
    daemon: Daemon,
    patience: Duration,
    images: Arc<Images>,
}

impl DockerExecutor {
    /// `local` knows the folders of attempts on this machine, `shim` is the program. Nothing is
    /// asked of the daemon before there is something to do.
    pub fn new(settings: DockerSettings, local: ProcessExecutor, shim: PathBuf) -> Self {
        let images = Images::new(settings.pull, settings.pull_limit);
        Self {
            local,
            shim,
            patience: settings.patience,
            daemon: Daemon::new(settings.host),
            images: Arc::new(images),
        }
    }

    /// The daemon's address, as in `DOCKER_HOST`.
    pub fn host(&self) -> &str {
        self.daemon.host()
    }

    fn docker(&self) -> Result<Docker, ExecutorError> {
        self.daemon.docker()
    }

    fn failed(&self, doing: impl Into<String>, error: Error) -> ExecutorError {
        self.daemon.failed(doing, error)
    }

    fn container(&self, attempt: &AttemptId) -> String {
        format!("windlass-{}", self.local.mark(attempt))
    }

    fn owner_label(&self) -> String {
        // The same for all attempts: it is the part of the mark behind the attempt.
        self.local.owner()
    }

    async fn inspect(
        &self,
        docker: &Docker,
        container: &str,
    ) -> Result<Option<ContainerInspectResponse>, ExecutorError> {
        let found = docker.inspect_container(container, None::<InspectContainerOptions>);
        match found.await {
            Ok(found) => Ok(Some(found)),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(self.failed("look at the container", e)),
        }
    }

    async fn remove_container(&self, docker: &Docker, name: &str) -> Result<(), ExecutorError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..RemoveContainerOptions::default()
        };
        match docker.remove_container(name, Some(options)).await {
            Ok(()) => Ok(()),
            Err(e) if is_missing(&e) => Ok(()),
            // Somebody else (an earlier call of ours) is removing it.
            Err(Error::DockerResponseServerError {
                status_code: 409, ..
            }) => Ok(()),
            Err(e) => Err(self.failed("remove the container", e)),
        }
    }

    /// Makes a container of this name, which is ours alone and is not running.
    ///
    /// The daemon finishes what a killed server asked for, and perhaps only after the next server
    /// looked and found nothing. The name is in use then, at first by a container that can't be seen
    /// yet. Nobody started it, as its maker died before the answer came: away with it.
    async fn make_container(
        &self,
        docker: &Docker,
        name: &str,
        body: ContainerCreateBody,
        doing: String,
    ) -> Result<(), ExecutorError> {
        let end = Instant::now() + NAME_PATIENCE;
        loop {
            let options = CreateContainerOptions {
                name: Some(name.to_owned()),
                ..CreateContainerOptions::default()
            };
            match docker.create_container(Some(options), body.clone()).await {
                Ok(_) => return Ok(()),
                Err(e) if is_conflict(&e) && Instant::now() < end => {
                    self.remove_container(docker, name).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(e) => return Err(self.failed(doing, e)),
            }
        }
    }

    async fn start_container(
        &self,
        attempt: &AttemptId,
        start: Start<'_>,
    ) -> Result<(), ExecutorError> {
        let Start {
            job,
            registries,
            said,
            ..
        } = start;
        let docker = self.docker()?;
        let name = self.container(attempt);
        match self.inspect(&docker, &name).await? {
            Some(found) if was_started(&found) => return Ok(()),
            // Killed between making and starting it: what is in it may be half of it.
            Some(_) => self.clear(&docker, attempt).await?,
            None if !job.services.is_empty() => self.clear(&docker, attempt).await?,
            None => {}
        }
        let wanted = job.image.as_deref().unwrap_or_default();
        let image = self.images.have(&docker, wanted, registries, said).await;
        let image = image.map_err(|failure| failure.into_error(&self.daemon))?;
        self.start_services(&docker, attempt, start).await?;
        let user = job.user.clone().unwrap_or(image.user);
        let body = self.body(attempt, job, &image.id, &user);
        let doing = format!("make a container of {wanted}");
        self.make_container(&docker, &name, body, doing).await?;
        let owner = self.owner_of(&docker, &name, &user).await?;
        self.fill(&docker, attempt, &name, start, owner).await?;
        docker
            .start_container(&name, None::<StartContainerOptions>)
            .await
            .map_err(|e| self.failed(format!("start a container of {wanted}"), e))?;
        if let Some(line) = limits_in_words(job) {
            said.line(line);
        }
        Ok(())
    }

    fn labels(&self, attempt: &AttemptId, job: &JobPlan) -> HashMap<String, String> {
        let labels = [
            (OWNER_LABEL, self.owner_label()),
            (ATTEMPT_LABEL, attempt.to_string()),
            (JOB_LABEL, job.name.clone()),
        ];
        labels.map(|(k, v)| (k.to_owned(), v)).into()
    }

    fn body(
        &self,
        attempt: &AttemptId,
        job: &JobPlan,
        image: &str,
        user: &str,
    ) -> ContainerCreateBody {
        let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        ContainerCreateBody {
            image: Some(image.to_owned()),
            entrypoint: Some(vec![
                format!("{SHIM_FOLDER}/windlass-shim"),
                STREAM.to_owned(),
                SHIM_FOLDER.to_owned(),
            ]),
            cmd: Some(Vec::new()),
            user: Some(user.to_owned()),
            working_dir: Some("/".to_owned()),
            labels: Some(self.labels(attempt, job)),
            host_config: Some(HostConfig {
                memory: job.limits.memory_bytes.map(whole),
                // No swap on top of it: a limit is a limit.
                memory_swap: job.limits.memory_bytes.map(whole),
                // The shim and the steps' keepers count, too.
                pids_limit: job.limits.pids.map(|n| whole(n).saturating_add(8)),
                nano_cpus: job
                    .limits
                    .cpu_millis
                    .map(|n| whole(n).saturating_mul(1_000_000)),
                network_mode: match (job.services.is_empty(), job.network) {
                    (false, _) => Some(self.network(attempt)),
                    (true, false) => Some("none".to_owned()),
                    (true, true) => None,
                },
                log_config: Some(log_config()),
                cap_drop: (!job.privileged).then(|| words(DROPPED)),
                security_opt: (!job.privileged).then(|| words(&["no-new-privileges:true"])),
                privileged: job.privileged.then_some(true),
                readonly_rootfs: job.read_only.then_some(true),
                mounts: Some(mounts(job)),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }

    /// The ids behind the user as whom the container runs.
    async fn owner_of(
        &self,
        docker: &Docker,
        container: &str,
        user: &str,
    ) -> Result<Owner, ExecutorError> {
        let numbers = |text: &str| text.split(':').all(|part| part.parse::<u64>().is_ok());
        if user.is_empty() || user.contains(':') && numbers(user) {
            return archive::owner(user, "", "").map_err(|e| refused("use `user`".to_owned(), e));
        }
        let passwd = self.small_file(docker, container, "/etc/passwd").await?;
        let group = self.small_file(docker, container, "/etc/group").await?;
        archive::owner(user, &passwd, &group)
            .map_err(|reason| refused(format!("run as the user {user:?}"), reason))
    }

    /// A file of the image; nothing if it is not there.
    async fn small_file(
        &self,
        docker: &Docker,
        container: &str,
        path: &str,
    ) -> Result<String, ExecutorError> {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let mut stream = std::pin::pin!(docker.download_from_container(container, Some(options)));
        let mut archive = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk {
                // More than a megabyte of users is nobody's image.
                Ok(chunk) if archive.len() < 1 << 20 => archive.extend_from_slice(&chunk),
                Ok(_) => break,
                Err(e) if is_missing(&e) => return Ok(String::new()),
                Err(e) => return Err(self.failed(format!("read {path} of the image"), e)),
            }
        }
        let mut text = String::new();
        let mut tar = tar::Archive::new(&archive[..]);
        if let Some(Ok(mut file)) = tar.entries().ok().and_then(|mut all| all.next()) {
            // Not text: then no user of it can be known.
            io::Read::read_to_string(&mut file, &mut text).unwrap_or_default();
        }
        Ok(text)
    }

    /// Puts shim, order, secrets and workspace into a container that was made and not started.
    async fn fill(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        container: &str,
        start: Start<'_>,
        owner: Owner,
    ) -> Result<(), ExecutorError> {
        let Start {
            job,
            order,
            secrets,
            ..
        } = start;
        let order = Order {
            attempt: self.local.mark(attempt),
            inherit_env: true,
            // The engine enforces them.
            limits: windlass_shim::order::Limits::default(),
            ..order.clone()
        };
        let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
        // A read-only container can only be filled where its volume is, and that is there already.
        let (into, prefix) = match job.read_only {
            true => (ROOT, ""),
            false => ("/", "windlass/"),
        };
        let at = |name: &str| format!("{prefix}{name}");
        let inside = |name: &str| format!("{prefix}shim/{name}");
        let workspace = self.local.workspace(attempt);
        let home = self.local.home(attempt);
        let mut items = vec![
            Item::Folder(at("shim"), 0o700),
            Item::Copy(inside("windlass-shim"), 0o755, self.shim.clone()),
            Item::File(inside(ORDER_FILE), 0o600, json(serde_json::to_vec(&order))),
            Item::File(
                inside(SECRETS_FILE),
                0o600,
                json(serde_json::to_vec(secrets)),
            ),
            Item::Folder(at("tmp"), 0o1777),
            Item::Tree(at("src"), workspace.clone()),
        ];
        if !job.read_only {
            items.insert(0, Item::Folder("windlass".to_owned(), 0o755));
        }
        if home.exists() {
            items.push(Item::Tree(at("home"), home));
        } else if names_home(job) {
            items.push(Item::Folder(at("home"), 0o755));
        }
        self.upload(docker, container, into, items, owner, &workspace)
            .await
    }

    /// `from` is what messages name when a file can't be read.
    async fn upload(
        &self,
        docker: &Docker,
        container: &str,
        into: &str,
        items: Vec<Item>,
        owner: Owner,
        from: &Path,
    ) -> Result<(), ExecutorError> {
        let (sender, receiver) = channel(QUEUE);
        let packing = tokio::task::spawn_blocking(move || {
            let mut out = ChunkWriter::new(sender.clone());
            let packed = archive::pack(&items, owner, &mut out);
            if let Err(e) = &packed {
                // Nobody may take half an archive for a whole one.
                let told = io::Error::new(e.kind(), e.to_string());
                sender.blocking_send(Err(told)).unwrap_or_default();
            }
            packed
        });
        let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        });
        let options = UploadToContainerOptions {
            path: into.to_owned(),
            ..UploadToContainerOptions::default()
        };
        let uploaded = docker
            .upload_to_container(container, Some(options), bollard::body_try_stream(chunks))
            .await;
        let packed = packing.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        match (packed, uploaded) {
            (Ok(()), Ok(())) => Ok(()),
            // The reader went away because of what the daemon said.
            (Err(e), Ok(())) => Err(file("read", from)(e)),
            (Err(e), Err(_)) if e.kind() != io::ErrorKind::BrokenPipe => Err(file("read", from)(e)),
            (_, Err(e)) => Err(self.failed("put files into the container", e)),
        }
    }

    async fn take_back(
        &self,
        docker: &Docker,
        container: &str,
        path: &str,
        into: PathBuf,
    ) -> Result<(), ExecutorError> {
        let options = DownloadFromContainerOptions {
            path: path.to_owned(),
        };
        let mut stream = Box::pin(
            docker
                .download_from_container(container, Some(options))
                .peekable(),
        );
        if let Some(Err(e)) = stream.as_mut().peek().await
            && is_missing(e)
        {
            return Ok(());
        }
        let (sender, receiver) = channel(QUEUE);
        let folder = into.clone();
        let unpacking = tokio::task::spawn_blocking(move || {
            archive::unpack(ChunkReader::new(receiver), &folder)
        });
        let mut stream = stream.map_err(io::Error::other);
        while let Some(chunk) = stream.next().await {
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
        drop(sender);
        unpacking
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)))
            .map_err(file("write", &into))
    }

    async fn collect_from(
        &self,
        attempt: &AttemptId,
        job: &JobPlan,
    ) -> Result<Vec<String>, ExecutorError> {
        let docker = self.docker()?;
        let container = self.container(attempt);
        let Some(found) = self.inspect(&docker, &container).await? else {
            return Ok(vec!["the container is gone, and what was in it".to_owned()]);
        };
        let mut said = Vec::new();
        if found
            .state
            .is_some_and(|state| state.oom_killed == Some(true))
        {
            let limit = job.limits.memory_bytes.unwrap_or_default() >> 20;
            said.push(format!(
                "the kernel ended a process of the container because its memory was used up: \
                 `limits.memory` is {limit} MiB"
            ));
        }
        let folder = self.local.folder(attempt);
        for service in &job.services {
            let name = self.service_container(attempt, service);
            let path = service_log::file(&folder, &service.name);
            service_log::keep(docker.logs(&name, Some(service_log::options())), &path).await?;
        }
        if !job.artifacts.is_empty() || !job.caches.is_empty() || !job.reports.is_empty() {
            let workspace = self.local.workspace(attempt);
            remove_tree(&workspace)?;
            self.take_back(&docker, &container, WORKSPACE, folder.clone())
                .await?;
            archive::only_folder(&workspace).map_err(file("write", &workspace))?;
        }
        if names_home(job) {
            remove_tree(&self.local.home(attempt))?;
            self.take_back(&docker, &container, HOME, folder.clone())
                .await?;
            let home = self.local.home(attempt);
            archive::only_folder(&home).map_err(file("write", &home))?;
        }
        if !job.outputs.is_empty() {
            let path = format!("{TMP}/{}", crate::order::OUTPUT_FILE);
            let tmp = self.local.tmp(attempt);
            remove_tree(&tmp)?;
            self.take_back(&docker, &container, &path, tmp).await?;
        }
        Ok(said)
    }

    /// Removes every container and network of an attempt.
    async fn clear(&self, docker: &Docker, attempt: &AttemptId) -> Result<(), ExecutorError> {
        let own = format!("{ATTEMPT_LABEL}={attempt}");
        for container in self.containers(docker, &own).await? {
            let id = container.id.unwrap_or_default();
            self.remove_container(docker, &id).await?;
        }
        self.remove_network(docker, &self.network(attempt)).await
    }

    async fn remove_network(&self, docker: &Docker, name: &str) -> Result<(), ExecutorError> {
        match docker.remove_network(name).await {
            Ok(()) => Ok(()),
            Err(e) if is_missing(&e) => Ok(()),
            Err(e) => Err(self.failed("remove the network", e)),
        }
    }

    /// Containers of ours that also have this label.
    async fn containers(
        &self,
        docker: &Docker,
        label: &str,
    ) -> Result<Vec<ContainerSummary>, ExecutorError> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(self.filters(label)),
            ..ListContainersOptions::default()
        };
        let list = docker.list_containers(Some(options)).await;
        list.map_err(|e| self.failed("list containers", e))
    }

    fn filters(&self, label: &str) -> HashMap<String, Vec<String>> {
        let owner = format!("{OWNER_LABEL}={}", self.owner_label());
        HashMap::from([("label".to_owned(), vec![owner, label.to_owned()])])
    }

    async fn ours(&self) -> Result<Vec<AttemptId>, ExecutorError> {
        let docker = self.docker()?;
        let containers = self.containers(&docker, ATTEMPT_LABEL).await?;
        let options = ListNetworksOptions {
            filters: Some(self.filters(ATTEMPT_LABEL)),
        };
        let networks = docker
            .list_networks(Some(options))
            .await
            .map_err(|e| self.failed("list networks", e))?;
        let mut all: Vec<AttemptId> = containers
            .into_iter()
            .map(|found| found.labels)
            .chain(networks.into_iter().map(|found| found.labels))
            .filter_map(|labels| labels?.remove(ATTEMPT_LABEL)?.parse().ok())
            .collect();
        all.sort();
        all.dedup();
        Ok(all)
    }
}

impl Executor for DockerExecutor {
    fn name(&self) -> &'static str {
        "docker"
    }

    fn inside(&self, _attempt: &AttemptId, job: &JobPlan) -> Inside {
        let home = names_home(job).then(|| ("HOME".to_owned(), HOME.to_owned()));
        Inside {
            workspace: WORKSPACE.into(),
            tmp: TMP.into(),
            env: home.into_iter().collect(),
        }
    }

    fn start<'a>(
        &'a self,
        attempt: &'a AttemptId,
        start: Start<'a>,
    ) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(self.start_container(attempt, start))
    }

    fn follow(
        &self,
        attempt: &AttemptId,
        from_offset: u64,
    ) -> Result<Box<dyn Follower>, ExecutorError> {
        let (docker, container) = (self.docker()?, self.container(attempt));
        Ok(Box::new(ContainerLog::open(
            docker,
            container,
            from_offset,
            self.patience,
        )))
    }

    fn stop<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move {
            // The shim takes it as "cancel": it ends the trees in its tidy way.
            let options = KillContainerOptions {
                signal: "TERM".to_owned(),
            };
            let docker = self.docker()?;
            match docker
                .kill_container(&self.container(attempt), Some(options))
                .await
            {
                Ok(()) => Ok(()),
                // Gone, or not running any more.
                Err(Error::DockerResponseServerError {
                    status_code: 404 | 409,
                    ..
                }) => Ok(()),
                Err(e) => Err(self.failed("stop the container", e)),
            }
        })
    }

    fn collect<'a>(
        &'a self,
        attempt: &'a AttemptId,
        job: &'a JobPlan,
    ) -> BoxFuture<'a, Result<Vec<String>, ExecutorError>> {
        Box::pin(self.collect_from(attempt, job))
    }

    fn remove<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<(), ExecutorError>> {
        Box::pin(async move {
            let docker = self.docker()?;
            self.clear(&docker, attempt).await?;
            self.forget_kept(&docker, attempt).await;
            self.local.remove(attempt).await
        })
    }

    fn present(&self) -> BoxFuture<'_, Result<Vec<AttemptId>, ExecutorError>> {
        Box::pin(self.ours())
    }

    fn discard<'a>(&'a self, attempt: &'a AttemptId) -> BoxFuture<'a, Result<bool, ExecutorError>> {
        Box::pin(async move {
            if self.is_kept(attempt) {
                return Ok(false);
            }
            let docker = self.docker()?;
            let found = self.inspect(&docker, &self.container(attempt)).await?;
            let runs = found
                .and_then(|found| found.state)
                .is_some_and(|state| state.running == Some(true));
            if runs {
                self.stop(attempt).await?;
                return Ok(false);
            }
            self.remove(attempt).await?;
            Ok(true)
        })
    }
}

fn log_config() -> HostConfigLogConfig {
    let config = [("max-size", LOG_SIZE), ("max-file", "1")];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(config.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
    }
}

/// Whether a cache of the job lies in the home folder: then the container gets one of ours.
pub(super) fn names_home(job: &JobPlan) -> bool {
    let mut paths = job.caches.iter().flat_map(|cache| &cache.paths);
    paths.any(|path| path.starts_with("~/"))
}

fn limits_in_words(job: &JobPlan) -> Option<String> {
    let limits = &job.limits;
    let mut parts = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        parts.push(format!("memory {} MiB", bytes >> 20));
    }
    if let Some(pids) = limits.pids {
        parts.push(format!("{pids} processes"));
    }
    if let Some(millis) = limits.cpu_millis {
        parts.push(format!("{}.{:03} processors", millis / 1000, millis % 1000));
    }
    (!parts.is_empty()).then(|| format!("limits: kept by Docker: {}", parts.join(", ")))
}

/// Whether the container ran, now or before. One that was made and never started has no time.
fn was_started(found: &ContainerInspectResponse) -> bool {
    let started = found.state.as_ref().and_then(|s| s.started_at.as_deref());
    started.is_some_and(|at| !at.is_empty() && !at.starts_with("0001-"))
}

fn remove_tree(path: &Path) -> Result<(), ExecutorError> {
    super::process::remove_tree(path).map_err(file("remove", path))
}

fn file<'a>(
    doing: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> ExecutorError + use<'a> {
    move |source| ExecutorError::File {
        doing,
        path: path.to_path_buf(),
        source,
    }
}
