//! `windlass migrate repair`: what a person knows better than the tables.

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Version;
use windlass_migrate::run::{self, Repair};

use super::{Files, Lock, Outcome, Where, tell};
use crate::report::Problem;

/// Put the history right after something went wrong. Without a flag: says what is wrong.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    lock: Lock,
    /// Changed files mean the same as before: take their checksums
    #[arg(long)]
    checksums: bool,
    /// This interrupted statement took effect: VERSION:STATEMENT
    #[arg(long, value_name = "V:N", value_parser = step)]
    done: Vec<(Version, usize)>,
    /// This interrupted statement did not: run it again with the next `up`
    #[arg(long, value_name = "V:N", value_parser = step)]
    redo: Vec<(Version, usize)>,
    /// Forget that this migration was applied; its tables stay as they are. A repeatable file is R__name
    #[arg(long, value_name = "VERSION")]
    forget: Vec<Version>,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

fn step(text: &str) -> Result<(Version, usize), String> {
    let (version, step) = text
        .split_once(':')
        .ok_or_else(|| "say VERSION:STATEMENT, such as 7:2".to_owned())?;
    match (version.parse(), step.parse()) {
        (Ok(version), Ok(step)) if step > 0 => Ok((version, step)),
        _ => Err("say VERSION:STATEMENT, such as 7:2".to_owned()),
    }
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let mut options = args.place.options();
    args.lock.put(&mut options, &args.place)?;
    let mut what = Vec::new();
    if args.checksums {
        what.push(Repair::Checksums);
    }
    what.extend(args.done.iter().map(|(v, n)| Repair::Done(*v, *n)));
    what.extend(args.redo.iter().map(|(v, n)| Repair::Redo(*v, *n)));
    what.extend(args.forget.iter().map(|v| Repair::Forget(*v)));
    if what.is_empty() {
        let found = run::verify(&database, &folder, &options).await?;
        let mut text = Vec::new();
        for finding in &found {
            text.push(finding.problem.clone());
            text.extend(finding.hint.iter().map(|hint| format!("  hint: {hint}")));
        }
        if text.is_empty() {
            text.push("nothing is wrong".to_owned());
        }
        return Ok(Outcome::new(text, json!({ "findings": found })));
    }
    let mut done = run::repair(&database, &folder, &what, &options, &mut tell).await?;
    let json = json!({ "done": done });
    if done.is_empty() {
        done.push("nothing to put right".to_owned());
    }
    Ok(Outcome::new(done, json))
}
