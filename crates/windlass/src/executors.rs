//! The executors of this program, and the options that choose their Docker daemon: the same for
//! `serve` and `run`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use futures_util::future::BoxFuture;
use windlass_engine::executor::Executors;
use windlass_engine::executor::daemon::DEFAULT_HOST;
use windlass_engine::executor::docker::{DockerExecutor, DockerSettings, PullPolicy};
use windlass_engine::executor::process::ProcessExecutor;
use windlass_engine::executor::swarm::{SwarmExecutor, SwarmSettings};
use windlass_engine::order::Grants;
use windlass_model::{Node, RepoName};

/// The program that puts the shim together in a container of a Swarm, as the build script made it.
pub(crate) const STARTER: &[u8] = include_bytes!(env!("WINDLASS_STARTER"));

/// Which Docker daemon runs the jobs that have an `image`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DockerArgs {
    /// The Docker daemon for jobs with an `image`: unix:///PATH, ssh://USER@HOST, or tcp://HOST:PORT (with
    /// DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH=DIR over TLS)
    #[arg(
        long = "docker",
        value_name = "HOST",
        env = "DOCKER_HOST",
        default_value = DEFAULT_HOST
    )]
    host: String,
    /// When images are pulled: always, if-not-present or never
    #[arg(
        long = "docker-pull",
        value_name = "WHEN",
        env = "WINDLASS_DOCKER_PULL",
        default_value = "if-not-present"
    )]
    pull: PullPolicy,
    /// How many seconds one pull may take
    #[arg(
        long = "docker-pull-limit",
        value_name = "SECONDS",
        default_value_t = 900
    )]
    pull_limit: u64,
    /// How many seconds a daemon that can't be reached is waited for while a job runs there
    #[arg(
        long = "docker-patience",
        value_name = "SECONDS",
        default_value_t = 1800
    )]
    patience: u64,
}

impl From<DockerArgs> for DockerSettings {
    fn from(args: DockerArgs) -> Self {
        Self {
            host: args.host,
            pull: args.pull,
            pull_limit: Duration::from_secs(args.pull_limit),
            patience: Duration::from_secs(args.patience),
        }
    }
}

/// What jobs may ask of the machine, by repository.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct AllowArgs {
    /// Let jobs of this repository ask for `privileged` containers (may be given several times)
    #[arg(long, value_name = "REPO")]
    allow_privileged: Vec<RepoName>,
    /// Let jobs of this repository mount exactly this path of the machine (may be given several times)
    #[arg(long, value_name = "REPO:PATH", value_parser = repo_and_path)]
    allow_mount: Vec<(RepoName, String)>,
}

impl AllowArgs {
    /// What a build of this repository has; a stranger's has nothing.
    pub(crate) fn grants(&self, repo: &RepoName, is_untrusted: bool) -> Grants {
        if is_untrusted {
            return Grants::default();
        }
        let mounts = self.allow_mount.iter().filter(|(of, _)| of == repo);
        Grants {
            privileged: self.allow_privileged.contains(repo),
            mounts: mounts.map(|(_, path)| path.clone()).collect(),
        }
    }
}

fn repo_and_path(text: &str) -> Result<(RepoName, String), String> {
    let (repo, path) = text
        .split_once(':')
        .ok_or("write REPO:PATH, such as app:/var/run/docker.sock")?;
    if !path.starts_with('/') || path.contains("..") {
        return Err(format!("{path:?} is not an absolute path"));
    }
    Ok((
        repo.parse().map_err(|e| format!("{repo:?}: {e}"))?,
        path.to_owned(),
    ))
}

/// A manager of a Swarm, for commands that look at it.
#[derive(Debug, ClapArgs)]
pub(crate) struct ManagerArgs {
    /// A manager of the Swarm: unix:///PATH, ssh://USER@HOST or tcp://HOST:PORT
    #[arg(
        long = "docker",
        value_name = "HOST",
        env = "DOCKER_HOST",
        default_value = DEFAULT_HOST
    )]
    pub(crate) host: String,
}

/// Which machine runs the jobs that have an `image`, and how a Swarm's nodes reach this server.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct SwarmArgs {
    /// Where jobs with an `image` run: on one docker daemon, or on the swarm that it manages
    #[arg(
        long,
        value_name = "NAME",
        env = "WINDLASS_EXECUTOR",
        default_value = "docker"
    )]
    executor: Containers,
    /// Where the nodes of the Swarm reach this server; nothing but running jobs is served there
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "WINDLASS_NODES_LISTEN",
        default_value = "0.0.0.0:8081"
    )]
    nodes_listen: SocketAddr,
    /// The same address as the nodes write it [default: this manager's address in the Swarm]
    #[arg(long, value_name = "URL", env = "WINDLASS_NODES_URL")]
    nodes_url: Option<String>,
    /// A placement constraint of every job, such as node.role==worker (may be given several times)
    #[arg(long, value_name = "CONSTRAINT")]
    swarm_constraint: Vec<String>,
    /// How many seconds a job waits for a node that could run it
    #[arg(long, value_name = "SECONDS", default_value_t = 1800)]
    placement_limit: u64,
}

/// What runs jobs with an `image`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Containers {
    /// One Docker daemon.
    Docker,
    /// The Swarm that it manages.
    Swarm,
}

/// What `serve` needs to know of a Swarm before there is one.
#[derive(Debug, Clone)]
pub(crate) struct SwarmChoice {
    pub(crate) listen: SocketAddr,
    pub(crate) url: Option<String>,
    constraints: Vec<String>,
    placement_limit: Duration,
}

impl From<SwarmArgs> for Option<SwarmChoice> {
    fn from(args: SwarmArgs) -> Self {
        (args.executor == Containers::Swarm).then(|| SwarmChoice {
            listen: args.nodes_listen,
            url: args
                .nodes_url
                .map(|url| url.trim_end_matches('/').to_owned()),
            constraints: args.swarm_constraint,
            placement_limit: Duration::from_secs(args.placement_limit),
        })
    }
}

impl SwarmChoice {
    /// With the address that the nodes use.
    pub(crate) fn settings(self, host: String, url: String) -> SwarmSettings {
        SwarmSettings {
            host,
            url,
            constraints: self.constraints,
            placement_limit: self.placement_limit,
        }
    }
}

/// This program's file. One that was replaced meanwhile (an upgrade) is found under the same name.
pub(crate) fn own_program() -> std::io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let name = path.to_string_lossy();
    Ok(match name.strip_suffix(" (deleted)") {
        Some(name) => PathBuf::from(name),
        None => path,
    })
}

/// `root` is the folder of all attempts.
pub(crate) fn new(
    root: PathBuf,
    shim: PathBuf,
    pass_env: Vec<String>,
    docker: DockerSettings,
    swarm: Option<SwarmSettings>,
) -> Executors {
    let process = ProcessExecutor::new(root, shim.clone(), pass_env);
    Executors {
        docker: DockerExecutor::new(docker, process.clone(), shim.clone()),
        swarm: swarm.map(|swarm| SwarmExecutor::new(swarm, process.clone(), shim, STARTER)),
        process,
    }
}

/// The nodes for the pages.
pub(crate) struct Nodes(pub(crate) SwarmExecutor);

impl windlass_web::Cluster for Nodes {
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<Node>, String>> {
        Box::pin(async { self.0.nodes().await.map_err(|e| e.to_string()) })
    }

    fn owner(&self) -> String {
        self.0.owner()
    }
}
