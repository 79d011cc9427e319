//! `windlass repo`: what may be built.

use std::path::PathBuf;

use clap::Subcommand;
use windlass_forge::github;
use windlass_model::RepoName;
use windlass_store::logs::KeepLogs;
use windlass_store::repos::RepoChange;
use windlass_store::{ForgeKind, NewRepo};

use super::serve::KeepLogsArgs;
use super::{find_repo, open_store, read_secret_file, say};
use crate::client::server_url;
use crate::folders::Folders;
use crate::intake::local_path;
use crate::report::{EXIT_OK, Problem};

/// What to do with repositories.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add a repository
    Add {
        /// Its name here: letters, digits, '.', '_', '-'
        name: RepoName,
        /// What git fetches from: https, ssh, or a path on this machine
        #[arg(long)]
        url: String,
        /// Where it lives
        #[arg(long, default_value = "git", value_parser = ["git", "github"])]
        forge: String,
        /// A file with the secret of the forge's webhook; - for standard input
        #[arg(long, value_name = "FILE")]
        webhook_secret_file: Option<PathBuf>,
        /// A file with a token that may write commit statuses (and read, if the repository is
        /// private)
        #[arg(long, value_name = "FILE")]
        status_token_file: Option<PathBuf>,
        /// Build pull requests from forks too: their code runs on this machine, without secrets
        #[arg(long)]
        build_forks: bool,
    },
    /// List repositories
    List,
    /// Change a repository
    Set {
        /// Its name
        name: RepoName,
        /// What git fetches from
        #[arg(long)]
        url: Option<String>,
        /// A file with the new secret of the forge's webhook
        #[arg(long, value_name = "FILE")]
        webhook_secret_file: Option<PathBuf>,
        /// A file with a new token for commit statuses
        #[arg(long, value_name = "FILE")]
        status_token_file: Option<PathBuf>,
        /// Whether pull requests from forks are built
        #[arg(long, value_name = "true|false")]
        build_forks: Option<bool>,
        #[command(flatten)]
        keep_logs: KeepLogsArgs,
        /// Keep logs as long as the server's own options say
        #[arg(long, conflicts_with_all = ["keep_log_days", "keep_log_builds", "keep_log_mib"])]
        keep_logs_as_server: bool,
    },
    /// Remove a repository; its builds and their logs stay readable
    Remove {
        /// Its name
        name: RepoName,
    },
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    match command {
        Command::Add {
            name,
            url,
            forge,
            webhook_secret_file,
            status_token_file,
            build_forks,
        } => {
            let forge: ForgeKind = forge.parse().map_err(|e: String| Problem::new(e))?;
            let url = usable_url(&url)?;
            let forge_name = match forge {
                ForgeKind::Git => None,
                ForgeKind::Github => Some(github_name(&url)?),
            };
            let read = |file: Option<PathBuf>| file.map(|f| read_secret_file(&f)).transpose();
            let new = NewRepo {
                name,
                url,
                forge,
                forge_name,
                webhook_secret: read(webhook_secret_file)?,
                status_token: read(status_token_file)?,
                build_forks,
            };
            let repo = store.add_repo(&new).await?;
            say(format_args!("added {}", repo.name));
            next_steps(&new, folders);
        }
        Command::List => {
            let repos = store.repos().await?;
            if repos.is_empty() {
                say("no repositories yet: windlass repo add NAME --url URL");
            }
            for repo in repos {
                let (forge, builds) = (repo.forge.as_str(), repo.last_build);
                say(format_args!(
                    "{:<24} {forge:<7} {builds:>6} builds  {}",
                    repo.name, repo.url
                ));
            }
        }
        Command::Set {
            name,
            url,
            webhook_secret_file,
            status_token_file,
            build_forks,
            keep_logs,
            keep_logs_as_server,
        } => {
            let repo = find_repo(&store, &name).await?;
            let read = |file: Option<PathBuf>| file.map(|f| read_secret_file(&f)).transpose();
            let change = RepoChange {
                url: url.map(|url| usable_url(&url)).transpose()?,
                webhook_secret: read(webhook_secret_file)?,
                status_token: read(status_token_file)?,
                build_forks,
            };
            store.change_repo(repo.id, &change).await?;
            let keep = KeepLogs::from(keep_logs);
            if keep_logs_as_server {
                store.set_keep_logs(repo.id, KeepLogs::default()).await?;
            } else if keep != KeepLogs::default() {
                let before = store.keep_logs(repo.id).await?;
                store.set_keep_logs(repo.id, keep.or(before)).await?;
            }
            say(format_args!("changed {}", repo.name));
        }
        Command::Remove { name } => {
            let repo = find_repo(&store, &name).await?;
            store.remove_repo(repo.id).await?;
            say(format_args!(
                "removed {}; its builds and logs stay",
                repo.name
            ));
        }
    }
    store.close().await;
    Ok(EXIT_OK)
}

/// A relative path would mean another folder for the server: it is made absolute here.
fn usable_url(url: &str) -> Result<String, Problem> {
    if url.trim().is_empty() || url.starts_with('-') {
        return Err(
            Problem::new(format!("{url:?} is not a URL that git can fetch from"))
                .hint("give https://..., ssh://..., user@host:path, or a path on this machine"),
        );
    }
    if let Some((_, rest)) = url.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        if url.starts_with("http") && authority.contains('@') {
            return Err(Problem::new("the URL holds a user name or password").hint(
                "leave it out of the URL and give the token with --status-token-file: \
                 it is kept encrypted and never shown",
            ));
        }
        return Ok(url.to_owned());
    }
    let path = std::path::Path::new(url);
    if path.exists() {
        let path = path
            .canonicalize()
            .map_err(|e| Problem::new(format!("could not use {}: {e}", path.display())))?;
        return Ok(path.to_string_lossy().into_owned());
    }
    if url.contains(':') {
        return Ok(url.to_owned());
    }
    Err(Problem::new(format!("there is no folder {url}"))
        .hint("give an existing path, or a URL such as https://host/owner/name.git"))
}

fn github_name(url: &str) -> Result<String, Problem> {
    github::full_name_from_url(url).ok_or_else(|| {
        Problem::new(format!("{url} does not name a repository on GitHub"))
            .hint("use https://github.com/OWNER/NAME.git or git@github.com:OWNER/NAME.git")
    })
}

fn next_steps(new: &NewRepo, folders: &Folders) {
    let server = server_url(None, folders);
    match new.forge {
        ForgeKind::Github => {
            say("next, on GitHub: Settings, Webhooks, Add webhook");
            say(format_args!(
                "  Payload URL   {server}/hooks/github/{}",
                new.name
            ));
            say("  Content type  application/json");
            match new.webhook_secret {
                Some(_) => say("  Secret        the one in your --webhook-secret-file"),
                None => say(format_args!(
                    "  Secret        none set yet, so nothing is let in: \
                     windlass repo set {} --webhook-secret-file FILE",
                    new.name
                )),
            }
            say("  Events        pushes, pull requests");
        }
        ForgeKind::Git => match local_path(&new.url) {
            Some(path) => say(format_args!("next: windlass hook install {path}")),
            None => say("next: this server hears of no pushes to it; \
                 `windlass hook install` works for repositories on this machine"),
        },
    }
}
