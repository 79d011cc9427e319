//! `windlass migrate down`: undoes the newest.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Version;
use windlass_migrate::run;

use super::{Beside, Files, Limits, Lock, Outcome, Where, report, tell};
use crate::report::Problem;

/// Undo the newest migration, or those above a version.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    beside: Beside,
    /// Undo all above this version, which stays; 0: all [default: only the newest]
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let mut options = args.place.options();
    args.lock.put(&mut options, &args.place)?;
    args.limits.put(&mut options);
    options.beside = args.beside.beside;
    let done = run::down(&database, &folder, args.to, &options, &mut tell).await?;
    let text = report(&done, &folder, &database, "undid");
    Ok(Outcome::new(text, json!(done)))
}
