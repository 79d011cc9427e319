//! The command line: one file per command.

mod archive;
mod build_image;
mod builds;
mod cancel;
mod check;
mod cluster;
mod db;
mod deliveries;
mod erase;
pub(crate) mod event;
mod explain;
mod fmt;
mod hook;
mod import;
mod init;
mod logs;
mod migrate;
mod migrate_lint;
mod nodes;
mod plan;
mod registry;
mod repo;
mod retry;
mod run;
mod script;
mod secret;
mod serve;
mod shell;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use windlass_model::{BuildNumber, RepoName};
use windlass_store::OnPending;
use windlass_store::{Repo, Store};

use crate::folders::Folders;
use crate::report::{EXIT_INTERNAL, EXIT_OK, Problem};

/// From a pushed commit to a running release, in one program.
#[derive(Debug, Parser)]
#[command(name = "windlass", version, max_term_width = 100)]
struct Cli {
    /// The data folder [default: $XDG_DATA_HOME/windlass or ~/.local/share/windlass]
    #[arg(long, global = true, value_name = "DIR", env = "WINDLASS_DATA")]
    data: Option<PathBuf>,

    /// The server's database, if it is not a file in the data folder: postgres://user:password@host/name
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "WINDLASS_DATABASE_URL",
        hide_env_values = true
    )]
    database: Option<String>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the build spec of this checkout here, as the server would
    Run(run::Args),
    /// Write a first windlass.yml by looking at this folder
    Init(init::Args),
    /// Write a windlass.yml that does what another system's file says
    Import(import::Args),
    /// Say what is wrong with a build spec
    Check(check::Args),
    /// Give a build spec the usual layout, and keep its comments
    Fmt(fmt::Args),
    /// Say in words what a build would do, step by step; or what the code of a problem means
    Explain(explain::Args),
    /// Show what a build would do for an event, and why
    Plan(plan::Args),
    /// Print a shell script that does by hand what a build would do
    Script(script::Args),
    /// Run the server
    Serve(Box<serve::Args>),
    /// Add, list, change and remove repositories
    #[command(subcommand)]
    Repo(repo::Command),
    /// Set, list and remove a repository's secrets
    #[command(subcommand)]
    Secret(secret::Command),
    /// Set, list and remove a repository's logins at image registries
    #[command(subcommand)]
    Registry(registry::Command),
    /// Let a plain git repository tell Windlass of pushes
    #[command(subcommand)]
    Hook(hook::Command),
    /// List what forges delivered and what became of it; replay one
    Deliveries(deliveries::Args),
    /// List builds
    Builds(builds::Args),
    /// Print a build's output
    Logs(logs::Args),
    /// Open a terminal in the container of a job that failed, or that runs
    Shell(shell::Args),
    /// Remove a build's output for good
    Erase(erase::Args),
    /// Stop a build
    Cancel(cancel::Args),
    /// Build the same revision again, as a new attempt
    Retry(retry::Args),
    /// List the nodes of the Swarm, what they have free, and what runs where
    Nodes(nodes::Args),
    /// Look after the Swarm
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Look after the copies of logs in Elasticsearch and object storage
    #[command(subcommand)]
    Archive(Box<archive::Command>),
    /// Look after the server's database
    Db(db::Args),
    /// Make a container image: what a `build` step runs
    #[command(hide = true)]
    BuildImage(build_image::Args),
    /// Migrate any application's database: PostgreSQL, MySQL, MariaDB, SQLite
    Migrate(migrate::Args),
}

/// Parses, runs, reports.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    // For whatever speaks TLS later. An error means that it is set already.
    rustls::crypto::ring::default_provider()
        .install_default()
        .unwrap_or_default();
    let command = match cli.command {
        Command::Migrate(args) => return migrate::main(args),
        Command::Db(args) => return db::main(&args, Folders::choose(cli.data, cli.database)),
        command => command,
    };
    let done =
        Folders::choose(cli.data, cli.database).and_then(|folders| dispatch(command, folders));
    match done {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            terminal_error(&problem);
            ExitCode::from(problem.exit_code())
        }
    }
}

#[expect(clippy::print_stderr, reason = "this is where problems are told")]
fn terminal_error(problem: &Problem) {
    eprintln!("{problem}");
}

fn dispatch(command: Command, folders: Folders) -> Result<u8, Problem> {
    let threads = match &command {
        Command::Serve(_) | Command::Run(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let mut threads = threads;
    let runtime = threads
        .enable_all()
        .build()
        .map_err(|e| Problem::new(format!("could not start threads: {e}")).code(EXIT_INTERNAL))?;
    let done = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(args).await,
            Command::Init(args) => init::run(&args),
            Command::Import(args) => import::run(&args),
            Command::Fmt(args) => fmt::run(&args),
            Command::Check(args) => check::run(&args).await,
            Command::Explain(args) => explain::run(&args).await,
            Command::Plan(args) => plan::run(args).await,
            Command::Script(args) => script::run(args).await,
            Command::Serve(args) => serve::run(*args, folders).await,
            Command::Repo(command) => repo::run(command, &folders).await,
            Command::Secret(command) => secret::run(command, &folders).await,
            Command::Registry(command) => registry::run(command, &folders).await,
            Command::Hook(command) => hook::run(command, &folders).await,
            Command::Deliveries(args) => deliveries::run(&args, &folders).await,
            Command::Builds(args) => builds::run(&args, &folders).await,
            Command::Logs(args) => logs::run(&args, &folders).await,
            Command::Shell(args) => shell::run(args, &folders).await,
            Command::Erase(args) => erase::run(&args, &folders).await,
            Command::Cancel(args) => cancel::run(&args, &folders).await,
            Command::Retry(args) => retry::run(&args, &folders).await,
            Command::Nodes(args) => nodes::run(&args).await,
            Command::Cluster(command) => cluster::run(command, &folders).await,
            Command::Archive(command) => archive::run(*command, &folders).await,
            Command::BuildImage(args) => build_image::run(&args),
            // They have their own way through `main`.
            Command::Migrate(_) | Command::Db(_) => {
                Err(Problem::new("not here").code(EXIT_INTERNAL))
            }
        }
    });
    // Threads that still follow a journal must not hold up the end.
    runtime.shutdown_background();
    done
}

/// Opens the store of the data folder, for commands that work without the server.
async fn open_store(folders: &Folders) -> Result<Store, Problem> {
    folders.create()?;
    Ok(Store::open(folders.store(), on_pending()).await?)
}

/// `demo/12`
fn parse_build(text: &str) -> Result<(RepoName, BuildNumber), Problem> {
    let bad = || {
        Problem::new(format!("{text:?} names no build")).hint("write REPO/NUMBER, such as demo/12")
    };
    let (repo, number) = text.rsplit_once('/').ok_or_else(bad)?;
    Ok((
        repo.parse().map_err(|_| bad())?,
        number.parse().map_err(|_| bad())?,
    ))
}

fn on_pending() -> OnPending {
    match std::env::var("WINDLASS_MIGRATE").as_deref() {
        Ok("1" | "true" | "yes") => OnPending::Migrate,
        _ => OnPending::Refuse,
    }
}

/// The repository of this name, and if there is none, which there are.
async fn find_repo(store: &Store, name: &RepoName) -> Result<Repo, Problem> {
    let repos = store.repos().await?;
    if let Some(repo) = repos.iter().find(|repo| repo.name == *name) {
        return Ok(repo.clone());
    }
    let known: Vec<&str> = repos.iter().map(|repo| repo.name.as_str()).collect();
    let problem = Problem::new(format!("there is no repository named {name}"));
    Err(match known.as_slice() {
        [] => problem.hint("add one: windlass repo add NAME --url URL"),
        known => problem.hint(format!("there are: {}", known.join(", "))),
    })
}

/// The contents of a secret's file, without the newline that editors put at the end. `-` is
/// standard input. Never an argument: those are visible to every process of the machine.
fn read_secret_file(path: &std::path::Path) -> Result<windlass_model::Secret, Problem> {
    use std::io::Read as _;
    let failed = |e: std::io::Error| {
        Problem::new(format!("could not read {}: {e}", path.display()))
            .hint("give a file that holds the value, or - to type it or pipe it in")
    };
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
    } else {
        text = std::fs::read_to_string(path).map_err(failed)?;
    }
    let value = text.strip_suffix('\n').unwrap_or(&text);
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(Problem::new(format!("{} is empty", path.display()))
            .hint("an empty secret protects nothing: put a value into the file"));
    }
    Ok(windlass_model::Secret::new(value))
}

/// Prints a line to standard output. A reader that went away (`| head`) ends the program quietly.
pub(crate) fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(i32::from(EXIT_OK));
    }
}

/// Prints to standard error, beside what a command is asked for.
pub(crate) fn complain(text: impl std::fmt::Display) {
    // In one piece: `eprintln` writes each part of a text by itself, so that the lines of two programs
    // mix. There is nobody to tell of an error.
    let line = format!("{text}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .unwrap_or_default();
}

/// Whether standard output is a terminal that wants colours (<https://no-color.org>).
fn wants_colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
