//! `windlass migrate baseline`: takes over a database that has the tables already.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Version;
use windlass_migrate::run::{self, Tool};

use super::{Files, Lock, Outcome, Where, tell};
use crate::report::Problem;

/// Record all files up to a version as applied, and run nothing.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The newest file whose result the database has already
    #[arg(required_unless_present_any = ["from", "into"])]
    version: Option<Version>,
    /// Record what this tool's history table says was applied: dbmate, sqlx, golang-migrate, goose,
    /// refinery or flyway. Its table stays as it is
    #[arg(long, value_name = "TOOL", conflicts_with = "version", value_parser = tool)]
    from: Option<Tool>,
    /// The way back: write into this tool's history table what ours says of the files
    #[arg(long, value_name = "TOOL", conflicts_with_all = ["version", "from"], value_parser = tool)]
    into: Option<Tool>,
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
    args.lock.put(&mut options, &args.place)?;
    if let Some(tool) = args.into {
        let done = run::hand_back(&database, &folder, tool, &options, &mut tell).await?;
        let words = |versions: &[Version], words: &str| -> Vec<String> {
            let files = versions.iter().filter_map(|v| folder.find(*v));
            files.map(|f| format!("{} {words}", f.file)).collect()
        };
        let mut text = words(&done.recorded, "counts as applied there");
        text.extend(words(&done.removed, "counts as not applied there"));
        if text.is_empty() {
            text.push("nothing to record".to_owned());
        }
        return Ok(Outcome::new(text, json!(done)));
    }
    let (recorded, json, mut text) = match (args.from, args.version) {
        (Some(tool), _) => {
            let done = run::adopt(&database, &folder, tool, &options, &mut tell).await?;
            let mut text = Vec::new();
            for version in &done.unknown {
                text.push(format!(
                    "{version} is applied there, and not in this folder"
                ));
            }
            for file in done.skipped.iter().filter_map(|v| folder.find(*v)) {
                text.push(format!(
                    "{} is not applied there, although a newer one is",
                    file.file
                ));
            }
            (done.recorded.clone(), json!(done), text)
        }
        (None, version) => {
            // The command line asks for one of the two.
            let version = version.unwrap_or_default();
            let done = run::baseline(&database, &folder, version, &options, &mut tell).await?;
            (done.clone(), json!({ "recorded": done }), Vec::new())
        }
    };
    let files = recorded.iter();
    let files = files.filter_map(|v| folder.find(*v).or_else(|| folder.runs(*v, Some(*v))));
    text.extend(files.map(|file| format!("{} counts as applied", file.file)));
    if text.is_empty() {
        text.push("nothing to record".to_owned());
    }
    Ok(Outcome::new(text, json))
}

pub(super) fn tool(text: &str) -> Result<Tool, String> {
    let found = Tool::NAMES.iter().find(|(name, _)| *name == text);
    found.map(|(_, tool)| *tool).ok_or_else(|| {
        let names: Vec<&str> = Tool::NAMES.iter().map(|(name, _)| *name).collect();
        format!("there are: {}", names.join(", "))
    })
}
