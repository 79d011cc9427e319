//! The executors of this program, and the options that choose their Docker daemon: the same for
//! `serve` and `run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use windlass_engine::executor::Executors;
use windlass_engine::executor::docker::{DEFAULT_HOST, DockerExecutor, DockerSettings, PullPolicy};
use windlass_engine::executor::process::ProcessExecutor;

/// Which Docker daemon runs the jobs that have an `image`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct DockerArgs {
    /// The Docker daemon for jobs with an `image`: unix:///PATH or tcp://HOST:PORT
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
}

impl From<DockerArgs> for DockerSettings {
    fn from(args: DockerArgs) -> Self {
        Self {
            host: args.host,
            pull: args.pull,
            pull_limit: Duration::from_secs(args.pull_limit),
        }
    }
}

/// `root` is the folder of all attempts.
pub(crate) fn new(
    root: PathBuf,
    shim: PathBuf,
    pass_env: Vec<String>,
    docker: DockerSettings,
) -> Executors {
    let process = ProcessExecutor::new(root, shim.clone(), pass_env);
    Executors {
        docker: DockerExecutor::new(docker, process.clone(), shim),
        process,
    }
}
