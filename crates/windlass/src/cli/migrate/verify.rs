//! `windlass migrate verify`: whether files, history and data fit.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Database;
use windlass_migrate::run::{self, Finding};

use super::diff::ScratchArgs;
use super::{Files, Outcome, Where, upgrades};
use crate::report::{EXIT_MIGRATE_MISMATCH, EXIT_OK, Problem};

/// Check that files, history and data fit. Changes nothing.
///
/// With --upgrades the database is only the server for scratch ones: for each fixture (a file such as
/// fixtures/0007_release_1.4.sql with that release's rows) a scratch database is brought to migration
/// 7, filled, and upgraded to the newest. Its checks must find nothing, and its schema must be a fresh
/// install's.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    /// Check upgrades from each release that has a fixture
    #[arg(long)]
    upgrades: bool,
    /// Where the fixtures are; otherwise in `fixtures`, in the folder of migrations
    #[arg(long, value_name = "DIR", requires = "upgrades")]
    fixtures: Option<PathBuf>,
    #[command(flatten)]
    scratch: ScratchArgs,
    /// Print what was found as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    if args.upgrades {
        let fixtures = args.fixtures.as_deref();
        return upgrades::run(&args.place, &args.files, &args.scratch, fixtures).await;
    }
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let found = run::verify(&database, &folder, &args.place.options()).await?;
    Ok(outcome(&database, &found))
}

pub(in crate::cli) fn outcome(database: &Database, found: &[Finding]) -> Outcome {
    let mut text = Vec::new();
    for finding in found {
        text.push(finding.problem.clone());
        text.extend(finding.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    if found.is_empty() {
        text.push(format!("files, history and data fit: {database}"));
    }
    let code = if found.is_empty() {
        EXIT_OK
    } else {
        EXIT_MIGRATE_MISMATCH
    };
    Outcome::new(text, json!({ "findings": found })).code(code)
}
