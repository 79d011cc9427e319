//! `windlass migrate verify`: whether files, history and data fit.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Database;
use windlass_migrate::run::{self, Finding};

use super::{Files, Outcome, Where};
use crate::report::{EXIT_MIGRATE_MISMATCH, EXIT_OK, Problem};

/// Check that files, history and data fit. Changes nothing.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    /// Print what was found as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
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
