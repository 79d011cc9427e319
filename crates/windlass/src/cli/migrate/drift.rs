//! `windlass migrate drift`: whether a database has the schema that its migrations make.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::drift::{self, Recorded};

use super::diff::{ScratchArgs, code, words};
use super::{Files, Outcome, Where, moment};
use crate::report::{EXIT_MIGRATE_MISMATCH, Problem};

/// Say whether the database has the schema that its applied migrations make, and what was changed by
/// hand.
///
/// The applied files are run in a scratch database (on the same server, or --scratch), which is
/// removed afterwards. With --recorded no folder is needed: it compares with what the last
/// `windlass migrate run --drift` left.
///
/// Exit codes: 0 no drift; 6 drift, or files that changed; 1 it could not be found out.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    scratch: ScratchArgs,
    /// Compare with the schema that was recorded last, instead of the folder
    #[arg(long)]
    recorded: bool,
    /// Record the schema as it is now: the next look at drift compares with it
    #[arg(long, conflicts_with = "recorded")]
    record: bool,
    /// Print SQL, too, that makes the database what it should be, where it follows without a guess
    #[arg(long)]
    sql: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let options = args.place.options();
    if args.record {
        let schema = drift::record(&database, &options).await?;
        let text = format!("recorded: {} object(s)", schema.objects.len());
        return Ok(Outcome::new(vec![text], json!({ "hash": schema.hash() })));
    }
    if args.recorded {
        let Some((then, found)) = drift::since_recorded(&database, &options).await? else {
            return Ok(Outcome::new(
                vec![format!(
                    "no schema is recorded: {database}\n  hint: windlass migrate drift --record"
                )],
                json!({ "drift": null }),
            )
            .code(EXIT_MIGRATE_MISMATCH));
        };
        let mut text = words(&found, "the record", "the database", args.sql);
        let since = since(&then);
        text.insert(
            0,
            if found.is_empty() {
                format!("no drift {since}: {database}")
            } else {
                format!("drift {since}: {database}")
            },
        );
        let json = json!({
            "drift": !found.is_empty(),
            "recorded_ms": then.when_ms,
            "recorded_by": then.by,
            "differences": found,
        });
        return Ok(Outcome::new(text, json).code(code(&found)));
    }
    let folder = args.files.read()?;
    let place = args.scratch.place(Some(&database))?;
    let found = drift::drift(&database, &folder, &options, &place).await?;
    let mut text = words(
        &found.differences,
        "the migrations",
        "the database",
        args.sql,
    );
    let version = found.version.map_or_else(String::new, |v| v.to_string());
    if found.differences.is_empty() {
        text.push(format!(
            "no drift: {database} is what its migrations make, up to {version}"
        ));
    } else {
        text.insert(
            0,
            format!("drift: {database} is not what its migrations make, up to {version}"),
        );
    }
    let left_out = found.left_out.iter();
    text.extend(left_out.map(|what| format!("not compared: {what}")));
    let json = json!({
        "drift": !found.differences.is_empty(),
        "version": found.version,
        "differences": found.differences,
        "not_compared": found.left_out,
    });
    Ok(Outcome::new(text, json).code(code(&found.differences)))
}

/// Since when, and by whom.
pub(super) fn since(then: &Recorded) -> String {
    format!("since {} ({})", moment(then.when_ms), then.by)
}
