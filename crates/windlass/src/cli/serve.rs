//! `windlass serve`: the server.

use std::net::SocketAddr;

use clap::Args as ClapArgs;

use windlass_engine::order;
use windlass_store::OnPending;
use windlass_store::logs::KeepLogs;

use super::{on_pending, say};
use crate::archive::ArchiveArgs;
use crate::demo;
use crate::executors::{AllowArgs, DockerArgs, SwarmArgs};
use crate::folders::{Folders, xdg};
use crate::report::{EXIT_OK, Problem};
use crate::results;
use crate::server::{Server, Settings};

/// How to serve. Everything has a default that works on a laptop.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(
        long,
        default_value = "127.0.0.1:8080",
        value_name = "HOST:PORT",
        env = "WINDLASS_LISTEN"
    )]
    listen: SocketAddr,
    /// Where people and forges reach this server, if not at --listen: `https://ci.example.org`
    #[arg(long, value_name = "URL", env = "WINDLASS_PUBLIC_URL")]
    public_url: Option<String>,
    /// How many jobs run at once [default: the number of cores, here or of the Swarm]
    #[arg(long, value_name = "N")]
    slots: Option<usize>,
    /// How many MiB one artifact may have
    #[arg(long, value_name = "MIB", default_value_t = results::ARTIFACT_LIMIT >> 20)]
    artifact_limit: u64,
    /// A further variable of this machine that steps may see (may be given several times)
    #[arg(long, value_name = "NAME")]
    pass_env: Vec<String>,
    #[command(flatten)]
    docker: DockerArgs,
    #[command(flatten)]
    swarm: SwarmArgs,
    #[command(flatten)]
    allow: AllowArgs,
    #[command(flatten)]
    archive: ArchiveArgs,
    /// Keep the container of a job that failed for so many seconds: `windlass shell` goes there
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    keep_failed: u64,
    /// How many MiB of one step's output are kept: the head, and of what is beyond it the last 4
    #[arg(long, value_name = "MIB", default_value_t = order::OUTPUT_KEPT >> 20, value_parser = clap::value_parser!(u64).range(1..))]
    log_limit: u64,
    #[command(flatten)]
    keep_logs: KeepLogsArgs,
    /// Remove the files of logs here so many days after the end of their job, once a copy of them in the archive
    /// (--elasticsearch, --s3-endpoint) was read back; whoever opens one gets it from there [default: keep them]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=100_000))]
    keep_local_log_days: Option<i64>,
    /// Make no index of the words of all logs, and search in none
    #[arg(long)]
    no_search: bool,
    /// GitHub's API, if it does not follow from the repositories' URLs
    #[arg(long, value_name = "URL", env = "WINDLASS_GITHUB_API")]
    github_api: Option<String>,
    /// Ask for the token for reading too, not only for changing
    #[arg(long)]
    private: bool,
    /// When told to stop, wait for running jobs (without this they go on under their shims, and
    /// the next start takes them up again)
    #[arg(long)]
    drain: bool,
    /// Bring a database that holds data of an older release to this one's schema. Without this the
    /// server waits until somebody ran `windlass db migrate` [env: WINDLASS_MIGRATE=1]
    #[arg(long)]
    migrate: bool,
    /// How long to wait for a database (WINDLASS_DATABASE_URL) that does not answer: 30s, 5min, 2h; 0: fail at once.
    /// A wrong password, or a database that the server does not have, is an error at once
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = super::migrate::duration, env = "WINDLASS_DATABASE_WAIT")]
    database_wait: std::time::Duration,
    /// Make a sample repository, push commits to it and print what to open; uses a data folder of
    /// its own
    #[arg(long)]
    demo: bool,
}

/// How long logs are kept. The newest build of each repository keeps its logs in any case.
#[derive(Debug, Clone, Copy, Default, ClapArgs)]
pub(crate) struct KeepLogsArgs {
    /// Remove the logs of builds that ended so many days ago [default: keep them]
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) keep_log_days: Option<i64>,
    /// Keep the logs of the newest so many builds of a repository
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) keep_log_builds: Option<i64>,
    /// Keep so many MiB of a repository's logs, the newest
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(i64).range(1..))]
    pub(crate) keep_log_mib: Option<i64>,
}

impl From<KeepLogsArgs> for KeepLogs {
    fn from(args: KeepLogsArgs) -> Self {
        Self {
            days: args.keep_log_days,
            builds: args.keep_log_builds,
            mib: args.keep_log_mib,
        }
    }
}

pub(crate) async fn run(args: Args, mut folders: Folders) -> Result<u8, Problem> {
    start_log();
    if args.demo && folders.is_default() {
        folders.root = xdg("XDG_DATA_HOME", ".local/share")?.join("windlass-demo");
    }
    if let Some(url) = &args.public_url
        && !url.starts_with("http://")
        && !url.starts_with("https://")
    {
        return Err(
            Problem::new(format!("--public-url {url} is not an http(s) URL"))
                .hint("give the address that people type, such as https://ci.example.org"),
        );
    }
    if args.slots == Some(0) {
        return Err(Problem::new("with --slots 0 nothing would ever run")
            .hint("give at least 1, or leave it out"));
    }
    let sinks = args.archive.sinks()?;
    if args.keep_local_log_days.is_some() && sinks.is_empty() {
        return Err(
            Problem::new("--keep-local-log-days removes logs here that have copies in an archive, and there is none")
                .hint("name one with --elasticsearch or --s3-endpoint, or use --keep-log-days"),
        );
    }
    let settings = Settings {
        listen: args.listen,
        public_url: args
            .public_url
            .map(|url| url.trim_end_matches('/').to_owned()),
        slots: args.slots,
        artifact_limit: args.artifact_limit.saturating_mul(1 << 20),
        pass_env: args.pass_env,
        docker: args.docker.into(),
        swarm: args.swarm.into(),
        allow: args.allow,
        sinks,
        keep_failed: args.keep_failed,
        log_limit: args.log_limit.saturating_mul(1 << 20),
        keep_logs: args.keep_logs.into(),
        keep_local_log_days: args.keep_local_log_days,
        search: !args.no_search,
        github_api: args.github_api,
        private: args.private,
        drain: args.drain,
        database_wait: args.database_wait,
        on_pending: if args.migrate {
            OnPending::Migrate
        } else {
            on_pending()
        },
    };
    let open_to_all = !args.listen.ip().is_loopback() && !args.private;
    let Some(server) = Server::open(settings, folders.clone()).await? else {
        return Ok(EXIT_OK);
    };
    say(format_args!("windlass serves at {}", server.url()));
    say(format_args!("  data   {}", folders.root.display()));
    say(format_args!(
        "  token  {} (for buttons, and for everything that changes something)",
        folders.root.join("admin.token").display()
    ));
    if let Some(url) = server.nodes_url() {
        say(format_args!(
            "  nodes  {url} (the nodes of the Swarm must reach it)"
        ));
    }
    if open_to_all {
        say(
            "  note   everybody who reaches this address can read builds and logs; \
             --private asks for the token",
        );
    }
    if args.demo {
        demo::set_up(&server, &folders).await?;
    }
    server.run().await
}

/// Diagnostic output to stderr; `RUST_LOG` or `WINDLASS_LOG` chooses what.
fn start_log() {
    use std::io::IsTerminal as _;
    use tracing_subscriber::EnvFilter;
    let wanted = std::env::var("WINDLASS_LOG").or_else(|_| std::env::var("RUST_LOG"));
    let filter = wanted.unwrap_or_else(|_| "info,hyper=warn,sqlx=warn,reqwest=warn".to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
