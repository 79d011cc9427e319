//! `windlass hook install`: a plain git repository tells of pushes.

use std::path::PathBuf;

use clap::Subcommand;

use super::{open_store, say};
use crate::folders::Folders;
use crate::intake::local_path;
use crate::report::{EXIT_OK, Problem};
use crate::spool;

/// What to do with hooks.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install a post-receive hook in a bare repository on this machine
    Install {
        /// The bare repository
        repository: PathBuf,
    },
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    let Command::Install { repository } = command;
    let repository = repository.canonicalize().map_err(|e| {
        Problem::new(format!("could not use {}: {e}", repository.display()))
            .hint("give the folder of a bare repository on this machine")
    })?;
    let hook = spool::install(&repository)?;
    say(format_args!("installed {}", hook.display()));
    say("pushes are kept there and built when the server runs");
    let store = open_store(folders).await?;
    let repos = store.repos().await?;
    let known = repos.iter().find(|repo| {
        local_path(&repo.url).is_some_and(|path| {
            std::path::Path::new(path)
                .canonicalize()
                .is_ok_and(|path| path == repository)
        })
    });
    match known {
        Some(repo) => say(format_args!("it belongs to {}", repo.name)),
        None => say(format_args!(
            "next: windlass repo add NAME --url {}",
            repository.display()
        )),
    }
    store.close().await;
    Ok(EXIT_OK)
}
