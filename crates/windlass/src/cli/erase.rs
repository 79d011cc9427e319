//! `windlass erase`: remove a build's output for good, such as one that shows what it should not.

use clap::Args as ClapArgs;
use windlass_store::{Phase, SearchIndex};

use super::{open_store, parse_build, say};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};
use crate::worker::retention;

/// Of which build.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The build: demo/12
    build: String,
    /// Only this attempt
    #[arg(long, value_name = "N")]
    attempt: Option<i64>,
    /// Why: it is shown in the output's place
    #[arg(long, value_name = "TEXT")]
    why: String,
}

pub(crate) async fn run(args: &Args, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    let (repo, number) = parse_build(&args.build)?;
    let build = store.build(&repo, number).await?;
    let mut attempts = store.attempts(build.id).await?;
    if let Some(wanted) = args.attempt {
        attempts.retain(|attempt| attempt.number == wanted);
        if attempts.is_empty() {
            return Err(Problem::new(format!(
                "{} has no attempt {wanted}",
                args.build
            )));
        }
    }
    if let Some(busy) = attempts.iter().find(|attempt| attempt.phase != Phase::Done) {
        return Err(Problem::new(format!(
            "attempt {} of {} is not over",
            busy.number, args.build
        ))
        .hint(format!("stop it first: windlass cancel {}", args.build)));
    }
    attempts.retain(|attempt| attempt.logs_removed.is_none());
    let gone: Vec<(i64, String)> = attempts
        .iter()
        .map(|attempt| (attempt.id, args.why.clone()))
        .collect();
    let has_index = folders
        .root
        .join(windlass_store::search::SEARCH_FILE)
        .exists();
    let index = match has_index {
        true => Some(SearchIndex::open(&folders.root).await?),
        false => None,
    };
    store.erase_quotes(build.id).await?;
    retention::remove(&store, index.as_ref(), &folders.logs(), &gone).await?;
    if let Some(index) = index {
        index.close().await;
    }
    store.close().await;
    say(match gone.len() {
        0 => format!("the output of {} is removed already", args.build),
        1 => format!("removed the output of 1 attempt of {}", args.build),
        n => format!("removed the output of {n} attempts of {}", args.build),
    });
    Ok(EXIT_OK)
}
