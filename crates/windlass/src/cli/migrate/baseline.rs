//! `windlass migrate baseline`: takes over a database that has the tables already.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::run;

use super::{Files, Lock, Outcome, Where, tell};
use crate::report::Problem;

/// Record all files up to a version as applied, and run nothing.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The newest file whose result the database has already
    version: i64,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    lock: Lock,
    /// Print what was recorded as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let mut options = args.place.options();
    args.lock.put(&mut options);
    let done = run::baseline(&database, &folder, args.version, &options, &mut tell).await?;
    let mut text: Vec<String> = done
        .iter()
        .filter_map(|version| folder.find(*version))
        .map(|file| format!("{} counts as applied", file.file))
        .collect();
    if text.is_empty() {
        text.push("nothing to record".to_owned());
    }
    Ok(Outcome::new(text, json!({ "recorded": done })))
}
