//! `windlass migrate unlock`: who has the lock, and an end to it.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::run::{self, Which};

use super::{GateArgs, Outcome, Where, moment};
use crate::report::Problem;

/// Show who has the lock, since when, doing what. With --force: end the holder's session (PostgreSQL,
/// MySQL), or make its next write fail (SQLite); what it had not committed rolls back.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    gate: GateArgs,
    /// The lock of `windlass migrate data`, which is another one
    #[arg(long)]
    of_data: bool,
    /// Take it away. A holder that crashed needs no force: it loses the lock by itself
    #[arg(long)]
    force: bool,
    /// Print who has it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let which = if args.of_data {
        Which::Data
    } else {
        Which::Schema
    };
    let gate = args.gate.gate(&args.place)?.map(|gate| gate.of(which));
    let holder = run::unlock(&database, &args.place.options(), which, args.force).await?;
    let keyholder = match &gate {
        Some(gate) => gate.holder().await?,
        None => None,
    };
    if let (Some(gate), Some(keyholder), true) = (&gate, &keyholder, args.force) {
        gate.evict(keyholder).await?;
    }
    let mut text = Vec::new();
    match &holder {
        None => text.push("nobody has the lock".to_owned()),
        Some(holder) => text.push(format!(
            "held by {holder}, since {}",
            moment(holder.since_ms)
        )),
    }
    match &keyholder {
        Some(keyholder) => text.push(format!(
            "the lock in Redis is held by {keyholder}, since {}",
            moment(keyholder.since_ms)
        )),
        None if gate.is_some() => text.push("nobody has the lock in Redis".to_owned()),
        None => {}
    }
    let held = holder.is_some() || keyholder.is_some();
    if held {
        text.push(if args.force {
            "it was taken away".to_owned()
        } else {
            "take it away with --force".to_owned()
        });
    }
    let taken = args.force && held;
    Ok(Outcome::new(
        text,
        json!({ "holder": holder, "redis": keyholder, "taken": taken }),
    ))
}
