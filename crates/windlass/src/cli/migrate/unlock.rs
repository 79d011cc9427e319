//! `windlass migrate unlock`: who has the lock, and an end to it.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::run;

use super::{Outcome, Where, moment};
use crate::report::Problem;

/// Show who has the lock, since when, doing what. With --force: end the holder's session (PostgreSQL,
/// MySQL), or make its next write fail (SQLite); what it had not committed rolls back.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// Take it away. A holder that crashed needs no force: it loses the lock by itself
    #[arg(long)]
    force: bool,
    /// Print who has it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let holder = run::unlock(&database, &args.place.options(), args.force).await?;
    let mut text = Vec::new();
    match &holder {
        None => text.push("nobody has the lock".to_owned()),
        Some(holder) => {
            text.push(format!(
                "held by {holder}, since {}",
                moment(holder.since_ms)
            ));
            text.push(if args.force {
                "it was taken away".to_owned()
            } else {
                "take it away with --force".to_owned()
            });
        }
    }
    let taken = args.force && holder.is_some();
    Ok(Outcome::new(
        text,
        json!({ "holder": holder, "taken": taken }),
    ))
}
