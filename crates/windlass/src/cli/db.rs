//! `windlass db`: the server's own database.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::json;
use windlass_migrate::Options;
use windlass_migrate::plan::Rules;
use windlass_migrate::release::Oldest;
use windlass_migrate::run;
use windlass_store::Schema;

use super::migrate::{self, Outcome};
use crate::folders::Folders;
use crate::report::Problem;

const HELP: &str = "\
The database is the file of the data folder (--data), or PostgreSQL (--database). `windlass serve` fills an empty one by itself. One that holds
data it never changes unless told to: it waits, says so (also at /healthz), and goes on by itself after

  windlass db migrate

in another terminal, while it waits or while the release before still serves: migrations add, so that older
code goes on. `serve --migrate` and WINDLASS_MIGRATE=1 do it at the start. Make a copy of the data folder first.

Exit codes, as of `windlass migrate`: 0 done, or nothing to do; 1 it failed; 2 the command line is wrong;
3 migrations are pending (status --check); 4 somebody else migrates; 5 a migration is half done; 6 database and
program don't fit, or a check found something.

More: docs/ops/server.md";

/// Look after the server's own database
#[derive(Debug, ClapArgs)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what is applied, what is pending, what waits, and who migrates
    Status {
        /// Say it with the exit code too: 3 pending, 5 half done, 6 database and program don't fit
        #[arg(long)]
        check: bool,
        /// Print everything as JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring the database to this release's schema
    Migrate {
        /// The oldest release that still runs on this database, or may again after a rollback: lets
        /// migrations run that remove what older ones need
        #[arg(long, value_name = "RELEASE", env = "WINDLASS_OLDEST_RUNNING")]
        oldest_running: Option<Oldest>,
        /// How long to wait while somebody else migrates, such as 30s, 5min; 0: not at all
        #[arg(long, value_name = "TIME", default_value = "5min", value_parser = migrate::duration)]
        lock_wait: Duration,
        /// Print what was done as JSON
        #[arg(long)]
        json: bool,
    },
    /// Check that program, history and data fit. Changes nothing
    Verify {
        /// Print what was found as JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn main(args: &Args, folders: Result<Folders, Problem>) -> ExitCode {
    let (Command::Status { json, .. } | Command::Migrate { json, .. } | Command::Verify { json }) =
        &args.command;
    migrate::finish(*json, run(&args.command, folders))
}

async fn run(command: &Command, folders: Result<Folders, Problem>) -> Result<Outcome, Problem> {
    let folders = folders?;
    let schema = Schema::of(&folders.store())?;
    let (database, folder) = (&schema.database, &schema.folder);
    match command {
        Command::Status { check, .. } => {
            let status = schema.status(&Options::default()).await?;
            let mut outcome = migrate::status::outcome(database, folder, &status, *check);
            if status.empty {
                outcome
                    .text
                    .push("nothing is in it yet: `windlass serve` fills it".to_owned());
            }
            Ok(outcome)
        }
        Command::Migrate {
            oldest_running,
            lock_wait,
            ..
        } => {
            folders.create()?;
            let options = Options {
                lock_wait: *lock_wait,
                rules: Rules {
                    oldest: oldest_running.clone(),
                    ..Rules::default()
                },
                ..Options::default()
            };
            let done = schema.migrate(&options, &mut migrate::tell).await?;
            let text = migrate::report(&done, folder, database, "applied");
            Ok(Outcome::new(text, json!(done)))
        }
        Command::Verify { .. } => {
            // A history of the first releases is taken over by looking.
            schema.status(&Options::default()).await?;
            let found = run::verify(database, folder, &Options::default()).await?;
            Ok(migrate::verify::outcome(database, &found))
        }
    }
}
