//! `windlass migrate status`: where a database stands.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::plan::{How, Mismatch};
use windlass_migrate::run::{self, Status};
use windlass_migrate::{Database, Folder, Version};

use super::data::far;
use super::{Allow, Files, Outcome, Where, moment};
use crate::report::{
    EXIT_MIGRATE_HALF, EXIT_MIGRATE_MISMATCH, EXIT_MIGRATE_PENDING, EXIT_OK, Problem,
};

/// Where a database stands.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    allow: Allow,
    /// Say it with the exit code too: 3 pending, 5 half done, 6 files and history don't fit
    #[arg(long)]
    check: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let mut options = args.place.options();
    options.rules = args.allow.rules();
    let status = run::status(&database, &folder, &options).await?;
    Ok(outcome(&database, &folder, &status, args.check))
}

/// What there is to say; `check`: with the exit code too.
pub(in crate::cli) fn outcome(
    database: &Database,
    folder: &Folder,
    status: &Status,
    check: bool,
) -> Outcome {
    let code = if !check {
        EXIT_OK
    } else if !status.interrupted.is_empty() {
        EXIT_MIGRATE_HALF
    } else if !status.plan.stops.is_empty() {
        EXIT_MIGRATE_MISMATCH
    } else if !status.plan.run.is_empty() {
        EXIT_MIGRATE_PENDING
    } else {
        EXIT_OK
    };
    let json = json!({
        "database": database.to_string(),
        "applied": status.history.rows,
        "pending": status.plan.run,
        "held": status.plan.held,
        "data": status.plan.data,
        "progress": status.progress,
        "ahead": status.plan.ahead,
        "problems": status.plan.stops,
        "warnings": status.plan.warnings,
        "interrupted": status.interrupted,
        "lock": status.holder,
        "data_lock": status.mover,
    });
    Outcome::new(lines(folder, status), json).code(code)
}

fn lines(folder: &Folder, status: &Status) -> Vec<String> {
    let mut versions: Vec<Version> = folder.files.iter().map(|f| f.version).collect();
    // Of a repeatable file, the text that was applied last: what came before it is of no use to anybody here.
    let rows = status.history.rows.iter();
    let rows = rows.filter(|row| status.history.is_last(row));
    let rows =
        rows.filter(|row| row.version.repeats().is_none() || folder.named(row.version).is_none());
    versions.extend(rows.map(|r| r.version));
    versions.sort_unstable();
    versions.dedup();
    let mut text = Vec::new();
    for version in versions {
        let row = status.history.find(version);
        let row = row.filter(|row| status.history.is_last(row));
        let older = status
            .plan
            .warnings
            .iter()
            .any(|w| matches!(w, Mismatch::Superseded { version: v, .. } if *v == version));
        // Of a baseline: its own, where there is none of that version.
        let begun = folder.runs(version, Some(version));
        let file = folder.find(version).or(begun);
        let name = file.map_or_else(
            || row.map_or_else(String::new, |r| format!("{version} {}", r.name)),
            |f| f.file.clone(),
        );
        let half = status.interrupted.iter().any(|i| i.version == version);
        let changed = status
            .plan
            .stops
            .iter()
            .any(|s| matches!(s, Mismatch::Changed { version: v, .. } if *v == version));
        let word = match row {
            _ if half => "half done",
            Some(_) if changed => "changed",
            Some(_) if file.is_none() && version > folder.newest() => "newer",
            // A baseline stands for it.
            Some(_) if file.is_none() && folder.baselines.iter().any(|b| version < b.version) => {
                "squashed"
            }
            Some(_) if file.is_none() => "no file",
            Some(row) if row.how == How::Baseline => "baseline",
            Some(_) => "applied",
            None if older => "older",
            None if status.plan.begin.is_some_and(|begin| version <= begin) => "skipped",
            None if status.plan.data.contains(&version) => "data",
            None if status.plan.held.iter().any(|h| h.version == version) => "waits",
            None => "pending",
        };
        let when = row.map_or_else(String::new, |row| {
            format!(
                "{}  {} ms  {}",
                moment(row.applied_ms),
                row.duration_ms,
                row.applied_by
            )
        });
        text.push(
            format!("{word:<10} {name:<44} {when}")
                .trim_end()
                .to_owned(),
        );
    }
    if let Some(begin) = status.plan.begin
        && let Some(file) = folder.runs(begin, Some(begin))
    {
        let name = &file.file;
        text.insert(
            0,
            format!("pending    {name:<44} an empty database begins with it"),
        );
    }
    if text.is_empty() {
        text.push("no migrations, here or there".to_owned());
    }
    for held in &status.plan.held {
        text.push(format!("{}: {}", held.file, held.why));
    }
    let mismatches = status.plan.stops.iter().chain(&status.plan.warnings);
    text.extend(mismatches.map(ToString::to_string));
    for half in &status.interrupted {
        text.push(format!(
            "migration {} was interrupted on its way {}, at statement {}: `up` goes on with it",
            half.version, half.direction, half.step
        ));
    }
    for progress in &status.progress {
        if let Some(file) = folder.find(progress.version) {
            text.push(format!("{}{}", file.file, far(progress)));
        }
    }
    if let Some(mover) = &status.mover {
        text.push(format!("data is being changed by {mover}"));
    }
    if let Some(holder) = &status.holder {
        text.push(format!("the lock is held by {holder}"));
    }
    text
}
