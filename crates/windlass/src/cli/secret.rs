//! `windlass secret`: values that steps get as variables, encrypted at rest, masked in output.

use std::path::PathBuf;

use clap::Subcommand;
use windlass_model::RepoName;

use super::{find_repo, open_store, read_secret_file, say};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};

/// Shorter values can't be masked without masking half of every log.
const MIN_BYTES: usize = 4;

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set a secret of a repository, or replace it
    Set {
        /// The repository
        repo: RepoName,
        /// The variable's name: capital letters, digits, '_'
        name: String,
        /// A file with the value; - for standard input
        #[arg(long, value_name = "FILE")]
        from_file: PathBuf,
    },
    /// List the names of a repository's secrets
    List {
        /// The repository
        repo: RepoName,
    },
    /// Remove a secret
    Remove {
        /// The repository
        repo: RepoName,
        /// Its name
        name: String,
    },
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    match command {
        Command::Set {
            repo,
            name,
            from_file,
        } => {
            let repo = find_repo(&store, &repo).await?;
            check_name(&name)?;
            let value = read_secret_file(&from_file)?;
            if value.expose().len() < MIN_BYTES {
                return Err(
                    Problem::new(format!("the value has fewer than {MIN_BYTES} bytes"))
                        .hint("such a short value can't be masked in output; use a longer one"),
                );
            }
            store.set_secret(repo.id, &name, &value).await?;
            say(format_args!(
                "set {name} for {}; a spec asks for it with",
                repo.name
            ));
            say(format_args!("  secrets: [{name}]"));
        }
        Command::List { repo } => {
            let repo = find_repo(&store, &repo).await?;
            for (name, _) in store.secret_names(repo.id).await? {
                say(name);
            }
        }
        Command::Remove { repo, name } => {
            let repo = find_repo(&store, &repo).await?;
            store.remove_secret(repo.id, &name).await?;
            say(format_args!("removed {name} from {}", repo.name));
        }
    }
    store.close().await;
    Ok(EXIT_OK)
}

fn check_name(name: &str) -> Result<(), Problem> {
    let legal = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_');
    if starts_well && name.chars().all(legal) && !name.starts_with("WINDLASS_") {
        Ok(())
    } else {
        Err(
            Problem::new(format!("{name:?} can't be a secret's name")).hint(
                "use capital letters, digits and '_', and none of Windlass's own WINDLASS_ names",
            ),
        )
    }
}
