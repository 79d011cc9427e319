//! `windlass migrate prove`: the old release's tests on the new schema.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Database;
use windlass_migrate::prove::{Cell, Claim, Code, Demand, Proof, Stage, prove};
use windlass_migrate::run::Options;
use windlass_migrate::scratch::Scratches;

use super::old_image::OldImage;
use super::old_release::OldRelease;
use super::trial::{Ended, Trial, shell, stopped};
use super::{Files, Limits, Outcome, Where, duration, refused, tell};
use crate::cli::complain;
use crate::report::{EXIT_MIGRATE_UNSAFE, EXIT_OK, Problem};

const HELP: &str = "\
While a deployment runs, and after a rollback, old code meets the new schema. This runs the tests of both on
scratch databases, which are made on the server of --url (or of --scratch) and removed afterwards:

                 before        after expand   after contract
  old code       must pass     must pass      may fail
  new code       information   must pass      must pass

  windlass migrate prove --old-rev v1.4 --old-test 'make test' --new-test 'make test'
  windlass migrate prove --old-image app:1.4 --old-dir /app/migrations --old-test ./test --new-test ./test

Tests run with /bin/sh, with DATABASE_URL (a fresh database for each cell), WINDLASS_DATABASE (its name, or its
file), WINDLASS_PROVE_CODE (old, new), WINDLASS_PROVE_STAGE (before, after-expand, after-contract) and
WINDLASS_MIGRATE=skip: they must not migrate by themselves. With --old-rev, the old test runs in a copy of that
revision; with --old-image, in the image's working folder.

Exit codes: 0 proved; 1 it could not be tried, or the old release's tests fail on its own schema; 6 the files
don't fit those of the old release; 7 not proved: a cell failed that must pass; 130, 143 after SIGINT, SIGTERM.";

/// What a test is told in its environment.
const VARIABLES: [&str; 5] = [
    "DATABASE_URL",
    "WINDLASS_DATABASE",
    "WINDLASS_MIGRATE",
    "WINDLASS_PROVE_CODE",
    "WINDLASS_PROVE_STAGE",
];

/// Prove that the old release runs on the new schema.
#[derive(Debug, ClapArgs)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    limits: Limits,
    /// The release that runs now, as a git revision: v1.4, origin/production
    #[arg(long, value_name = "REV")]
    old_rev: Option<String>,
    /// The release that runs now, as an image: the old test runs in containers of it, on the host's network
    #[arg(long, value_name = "IMAGE")]
    old_image: Option<String>,
    /// The old release's folder of migrations; with --old-rev: in that revision, by default as --dir; with --old-image
    /// alone: in the image
    #[arg(long, value_name = "DIR", required_unless_present = "old_rev")]
    old_dir: Option<PathBuf>,
    /// With --old-image: a further argument of `docker run`, such as --network=db; may be given again
    #[arg(
        long,
        value_name = "ARG",
        requires = "old_image",
        allow_hyphen_values = true
    )]
    docker_arg: Vec<String>,
    /// The old release's tests
    #[arg(long, value_name = "COMMAND")]
    old_test: String,
    /// The new release's tests
    #[arg(long, value_name = "COMMAND")]
    new_test: String,
    /// SQL that fills the old schema: rows to be migrated
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Make the scratch databases on the server of this address instead
    #[arg(
        long,
        value_name = "URL",
        env = "WINDLASS_SCRATCH_URL",
        hide_env_values = true
    )]
    scratch: Option<String>,
    /// How long each run of a test may take
    #[arg(long, value_name = "TIME", default_value = "30min", value_parser = duration)]
    time_limit: Duration,
    /// Leave out what nothing depends on: new code before, old code after contract
    #[arg(long)]
    only_required: bool,
    /// Show what tests say while they run, not only when they fail
    #[arg(long)]
    verbose: bool,
    /// Print everything as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let place = match &args.scratch {
        Some(url) => Database::parse(url)?,
        None => args.place.database()?,
    };
    let new = args.files.read()?;
    let release = args
        .old_rev
        .as_deref()
        .map(OldRelease::check_out)
        .transpose()?;
    let here = std::env::current_dir().map_err(|e| refused(format!("no current folder: {e}")))?;
    let old_here = release
        .as_ref()
        .map_or(here.as_path(), |r| r.here.as_path());
    let old_dir = args.old_dir.as_deref().unwrap_or(&args.files.dir);
    if release.is_some() && old_dir.is_absolute() {
        return Err(refused(
            "with --old-rev, say the folder of migrations by a path that begins here",
        ));
    }
    let in_image = args.old_dir.as_deref().filter(|_| args.old_rev.is_none());
    let image = args
        .old_image
        .as_deref()
        .map(|image| OldImage::take(image, in_image, &args.docker_arg))
        .transpose()?;
    let old_dir = match &image {
        Some(image) if in_image.is_some() => image.migrations(),
        _ => old_here.join(old_dir),
    };
    let old = args.files.placeholders.source(&old_dir).read();
    let old = old.map_err(windlass_migrate::Error::from)?;
    let mut options = args.place.options();
    args.limits.put(&mut options);
    let claim = Claim {
        place: &place,
        old: &old,
        new: &new,
        seed: args.seed.as_deref(),
        only_required: args.only_required,
    };
    let mut scratches = Scratches::default();
    let worked = tokio::select! {
        proof = try_all(args, claim, &options, &mut scratches, image.as_ref(), (old_here, &here)) => proof,
        problem = stopped() => Err(problem),
    };
    let removed = scratches.remove_all().await;
    let proof = worked?;
    removed?;
    Ok(outcome(args, release.as_ref(), &proof))
}

async fn try_all(
    args: &Args,
    claim: Claim<'_>,
    options: &Options,
    scratches: &mut Scratches,
    image: Option<&OldImage>,
    (old_here, new_here): (&Path, &Path),
) -> Result<Proof<Ended>, Problem> {
    let check = async |code: Code, stage: Stage, database: &Database| {
        complain(format_args!(
            "windlass: {} code, {} ...",
            code.as_str(),
            stage.words()
        ));
        let (command, folder, _container) = match (code, image) {
            (Code::Old, Some(image)) => {
                let (command, container) = image.command(&args.old_test, database, &VARIABLES);
                (command, new_here, Some(container))
            }
            (Code::Old, None) => (shell(&args.old_test), old_here, None),
            (Code::New, _) => (shell(&args.new_test), new_here, None),
        };
        Trial {
            command: &command,
            folder,
            database,
            env: &[
                ("WINDLASS_PROVE_CODE", code.as_str()),
                ("WINDLASS_PROVE_STAGE", stage.id()),
            ],
            time_limit: args.time_limit,
            verbose: args.verbose,
        }
        .run()
        .await
    };
    Ok(prove(claim, options, scratches, &mut tell, check).await?)
}

fn outcome(args: &Args, release: Option<&OldRelease>, proof: &Proof<Ended>) -> Outcome {
    let mut text = Vec::new();
    let failed = |cell: &&Cell<Ended>| cell.outcome.as_ref().is_some_and(|e| !e.passed);
    if !args.verbose {
        for cell in proof.cells.iter().filter(failed) {
            // What is expected to fail is no news.
            let Some(ended) = &cell.outcome else { continue };
            text.push(format!(
                "--- {} code, {}: {} in {:.1} s",
                cell.code.as_str(),
                cell.stage.words(),
                ended.words(),
                seconds(ended.ms)
            ));
            let lines: Vec<&str> = ended.output.lines().collect();
            let few = if cell.demand == Demand::MustPass {
                200
            } else {
                5
            };
            text.extend(
                lines
                    .iter()
                    .skip(lines.len().saturating_sub(few))
                    .map(|l| format!("    {l}")),
            );
        }
    }
    text.extend(table(proof));
    for (files, what) in [
        (&proof.expand, "expand"),
        (&proof.data, "data"),
        (&proof.contract, "contract"),
    ] {
        text.extend(files.iter().map(|file| format!("{what}: {file}")));
    }
    let fault = proof.fault(|ended| ended.passed);
    let nothing = proof.expand.is_empty() && proof.data.is_empty() && proof.contract.is_empty();
    let (verdict, words, code) = match fault {
        None if nothing => (
            "nothing-new",
            "nothing new since the old release: there was nothing to prove".to_owned(),
            EXIT_OK,
        ),
        None => ("proved", "proved: old code runs on the new schema, and new code at each stage".to_owned(), EXIT_OK),
        Some(cell) if (cell.code, cell.stage) == (Code::Old, Stage::Before) => (
            "no-basis",
            "the old release's tests fail on its own schema: that says nothing about the migrations"
                .to_owned(),
            crate::report::EXIT_MIGRATE_FAILED,
        ),
        Some(cell) => (
            "refuted",
            format!(
                "not proved: {} code does not run {}{}",
                cell.code.as_str(),
                cell.stage.words(),
                match (cell.code, cell.stage) {
                    (Code::Old, _) =>
                        ": what breaks it belongs into a file with `-- windlass: phase contract`",
                    _ => "",
                }
            ),
            EXIT_MIGRATE_UNSAFE,
        ),
    };
    text.push(words.clone());
    let json = json!({
        "verdict": verdict,
        "proved": code == EXIT_OK,
        "words": words,
        "old_revision": args.old_rev,
        "old_image": args.old_image,
        "old_commit": release.map(|r| &r.commit),
        "hash": proof.hash,
        "expand": proof.expand,
        "data": proof.data,
        "contract": proof.contract,
        "cells": proof.cells,
    });
    Outcome::new(text, json).code(code)
}

/// The matrix.
fn table(proof: &Proof<Ended>) -> Vec<String> {
    let mut lines = vec![format!(
        "{:<10}{:<24}{:<24}{}",
        "", "before", "after expand", "after contract"
    )];
    for code in [Code::Old, Code::New] {
        let mut line = format!("{:<10}", format!("{} code", code.as_str()));
        for cell in proof.cells.iter().filter(|c| c.code == code) {
            let words = match &cell.outcome {
                None => "-".to_owned(),
                Some(ended) => {
                    let note = match (cell.demand, ended.passed) {
                        (Demand::MayFail, false) => ", may",
                        (Demand::Information, false) => ", needs them",
                        (Demand::MustPass, false) => " !",
                        _ => "",
                    };
                    format!("{}{note}", ended.words())
                }
            };
            line.push_str(&format!("{words:<24}"));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}
