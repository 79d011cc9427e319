//! `windlass migrate up`: applies what is pending.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::run;

use super::{Allow, Files, Limits, Lock, Outcome, Where, report, tell};
use crate::report::Problem;

/// Apply what is pending.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    allow: Allow,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    limits: Limits,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let mut options = args.place.options();
    options.rules = args.allow.rules();
    args.lock.put(&mut options);
    args.limits.put(&mut options);
    let done = run::up(&database, &folder, &options, &mut tell).await?;
    let text = report(&done, &folder, &database, "applied");
    Ok(Outcome::new(text, json!(done)))
}
