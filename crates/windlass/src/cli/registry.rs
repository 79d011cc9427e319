//! `windlass registry`: logins at registries, with which a repository's images are pulled.

use std::path::PathBuf;

use clap::Subcommand;
use windlass_engine::executor::registry::is_sendable;
use windlass_model::RepoName;

use super::{find_repo, open_store, read_secret_file, say};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};

/// What to do with logins.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Pull a repository's images from this registry with this login; its steps don't see it
    Set {
        /// The repository
        repo: RepoName,
        /// The registry's host, as in the image's name: ghcr.io, registry.example:5000, docker.io
        host: String,
        /// The user's name there
        #[arg(long, value_name = "NAME")]
        user: String,
        /// A file with the password or token; - for standard input
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// List the registries for which a repository has logins
    List {
        /// The repository
        repo: RepoName,
    },
    /// Remove a login
    Remove {
        /// The repository
        repo: RepoName,
        /// The registry's host
        host: String,
    },
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    match command {
        Command::Set {
            repo,
            host,
            user,
            password_file,
        } => {
            let repo = find_repo(&store, &repo).await?;
            check_host(&host)?;
            if user.is_empty() || user.contains(':') {
                return Err(Problem::new(format!("{user:?} can't be a user's name"))
                    .hint("a registry's user has a name without a colon"));
            }
            let password = read_secret_file(&password_file)?;
            if !is_sendable(password.expose()) || !is_sendable(&user) {
                return Err(Problem::new(
                    "the password has a character that can't be handed to Docker: >, ?, ~ or one that is not ASCII",
                )
                .hint("use an access token of the registry, or another password"));
            }
            store.set_registry(repo.id, &host, &user, &password).await?;
            say(format_args!(
                "images of {host} are pulled as {user} for {}",
                repo.name
            ));
        }
        Command::List { repo } => {
            let repo = find_repo(&store, &repo).await?;
            for (host, (user, _)) in store.registries(repo.id).await? {
                say(format_args!("{host} {user}"));
            }
        }
        Command::Remove { repo, host } => {
            let repo = find_repo(&store, &repo).await?;
            store.remove_registry(repo.id, &host).await?;
            say(format_args!(
                "removed the login at {host} from {}",
                repo.name
            ));
        }
    }
    store.close().await;
    Ok(EXIT_OK)
}

fn check_host(host: &str) -> Result<(), Problem> {
    let legal = |c: char| c.is_ascii_alphanumeric() || ".:-[]".contains(c);
    if !host.is_empty() && host.chars().all(legal) {
        return Ok(());
    }
    Err(Problem::new(format!("{host:?} is not a registry's host"))
        .hint("write it as in the image's name, without https:// and path: registry.example:5000"))
}
