//! `windlass migrate plan`: what `up` would run, and how.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::folder::{File, Phase};
use windlass_migrate::sql::{self, Dialect, Outside, Shape};
use windlass_migrate::{Error, run};

use super::{Allow, Files, Outcome, Where};
use crate::report::Problem;

/// What `up` would run.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    allow: Allow,
    /// Print everything as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let dialect = database.dialect();
    let mut options = args.place.options();
    options.rules = args.allow.rules();
    let status = run::status(&database, &folder, &options).await?;
    let hash = status.plan.hash(&folder);
    let mut text = Vec::new();
    let mut files = Vec::new();
    let begin = status.plan.begin;
    for file in status
        .plan
        .run
        .iter()
        .filter_map(|v| folder.runs(*v, begin))
    {
        let statements = file.up.statements(dialect).map_err(Error::from)?;
        let shapes: Vec<Shape> = statements.iter().map(|s| sql::shape(s, dialect)).collect();
        let alone = file.no_transaction || shapes.iter().any(|s| matches!(s, Shape::Outside(_)));
        let how = if alone {
            "statement by statement"
        } else {
            "in one transaction"
        };
        text.push(format!("{} ({}, {how})", file.file, file.phase.as_str()));
        let mut list = Vec::new();
        for (statement, shape) in statements.iter().zip(&shapes) {
            let first = statement.text.lines().next().unwrap_or_default();
            let short: String = first.chars().take(90).collect();
            let outside = matches!(shape, Shape::Outside(_));
            let mark = if outside {
                " [outside of transactions]"
            } else {
                ""
            };
            text.push(format!("  line {}: {short}{mark}", statement.line));
            list.push(json!({
                "line": statement.line,
                "sql": statement.text,
                "in_transaction": !outside,
                "recovery": recovery(shape),
                "takes_away": sql::losses(statement),
            }));
        }
        for loss in losses(file, dialect) {
            let advice = if file.version.repeats().is_some() {
                ": that belongs into a file with a number and `-- windlass: phase contract`"
            } else if file.phase == Phase::Expand {
                ": mark it with `-- windlass: phase contract`"
            } else {
                ""
            };
            text.push(format!("  it {loss}{advice}"));
        }
        files.push(json!({
            "version": file.version,
            "file": file.file,
            "phase": file.phase,
            "checksum": file.checksum,
            "transaction": !alone,
            "statements": list,
        }));
    }
    if files.is_empty() {
        text.push(format!("nothing to do: {database}"));
    } else {
        text.push(format!("plan {hash}"));
    }
    let mut data = Vec::new();
    for file in status.plan.data.iter().filter_map(|v| folder.find(*v)) {
        run::check_batches(file, dialect)?;
        let Some(batch) = &file.batch else { continue };
        text.push(format!(
            "data: {} (by `windlass migrate data`: batches of {} keys of {})",
            file.file,
            batch.size,
            batch.key()
        ));
        data.push(json!({
            "version": file.version,
            "file": file.file,
            "checksum": file.checksum,
            "key": batch.key(),
            "size": batch.size,
            "command": batch.command,
        }));
    }
    for held in &status.plan.held {
        text.push(format!("waits: {}: {}", held.file, held.why));
        if let Some(file) = folder.find(held.version) {
            text.extend(
                losses(file, dialect)
                    .iter()
                    .map(|loss| format!("       it {loss}")),
            );
        }
    }
    let mismatches = status.plan.stops.iter().chain(&status.plan.warnings);
    text.extend(mismatches.map(|m| format!("note: {m}")));
    let json = json!({
        "database": database.to_string(),
        "hash": hash,
        "files": files,
        "data": data,
        "held": status.plan.held,
        "problems": status.plan.stops,
        "warnings": status.plan.warnings,
        "ahead": status.plan.ahead,
    });
    Ok(Outcome::new(text, json))
}

/// What a file takes away from older code, in words. A file that can't be cut says so elsewhere.
pub(super) fn losses(file: &File, dialect: Dialect) -> Vec<String> {
    let statements = file.up.statements(dialect).unwrap_or_default();
    sql::losses_of(&statements)
}

/// How a crash in the middle of the statement is dealt with.
fn recovery(shape: &Shape) -> &'static str {
    match shape {
        Shape::Outside(Outside::Repeatable | Outside::Reindex) => "run again",
        Shape::Outside(Outside::Unknown) => "ask a person",
        Shape::Outside(_) => "look at the catalog",
        _ => "roll back",
    }
}
