//! `windlass db`: the server's own database.

use clap::Subcommand;
use windlass_store::Store;
use windlass_store::db::OnPending;

use super::say;
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};

/// What to do with the database.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the database to this release's schema. `windlass serve` never does that by itself to a
    /// database that has data in it.
    Migrate,
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    let Command::Migrate = command;
    folders.create()?;
    let store = Store::open(&folders.root, OnPending::Migrate).await?;
    say(format_args!(
        "{} has this release's schema",
        store.path().display()
    ));
    store.close().await;
    Ok(EXIT_OK)
}
