//! `windlass migrate wait`: until an application may start.

use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;
use tokio::time::Instant;
use windlass_migrate::Version;
use windlass_migrate::plan::{Answer, App};
use windlass_migrate::release::Release;
use windlass_migrate::run;

use super::{Files, Outcome, Where, duration};
use crate::cli::complain;
use crate::report::{EXIT_MIGRATE_PENDING, EXIT_MIGRATE_TOO_OLD, EXIT_OK, Problem};

/// Which application.
#[derive(Debug, ClapArgs)]
pub(super) struct AppArgs {
    /// The application's release, for contract migrations that name one
    #[arg(long, value_name = "RELEASE", env = "WINDLASS_RELEASE")]
    release: Option<String>,
    /// The application needs this migration: instead of a folder
    #[arg(long, value_name = "VERSION")]
    needs: Option<Version>,
    /// How long to wait for the schema, and for the database itself
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = duration)]
    pub(super) timeout: Duration,
}

impl AppArgs {
    pub(super) fn app(&self, files: &Files) -> Result<App, Problem> {
        let release =
            match &self.release {
                None => None,
                Some(text) => Some(Release::parse(text).ok_or_else(|| {
                    super::refused(format!("{text:?} is no release such as 1.4.0"))
                })?),
            };
        Ok(match self.needs {
            Some(version) => App {
                needs: vec![version],
                newest: version,
                release,
            },
            None => App::of(&files.read()?, release),
        })
    }
}

/// Wait until an application may start on the schema. Takes no lock; for init containers.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    app: AppArgs,
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let app = args.app.app(&args.files)?;
    let answer = until_known(&args.place, &app, args.app.timeout).await?;
    let code = exit_code(&answer);
    Ok(Outcome::new(vec![words(&answer)], json!(answer)).code(code))
}

pub(super) fn exit_code(answer: &Answer) -> u8 {
    match answer {
        Answer::Compatible { .. } => EXIT_OK,
        Answer::Pending { .. } => EXIT_MIGRATE_PENDING,
        Answer::TooOld { .. } => EXIT_MIGRATE_TOO_OLD,
    }
}

pub(super) fn words(answer: &Answer) -> String {
    match answer {
        Answer::Compatible { ahead: 0 } => "compatible".to_owned(),
        Answer::Compatible { ahead } => {
            format!("compatible: {ahead} migration(s) of newer releases leave room for this one")
        }
        Answer::Pending { versions } => {
            let few: Vec<String> = versions.iter().take(5).map(ToString::to_string).collect();
            let more = if versions.len() > 5 { ", ..." } else { "" };
            format!(
                "pending: {} migration(s): {}{more}",
                versions.len(),
                few.join(", ")
            )
        }
        Answer::TooOld {
            version,
            name,
            floors,
        } => {
            let floors: Vec<String> = floors.iter().map(ToString::to_string).collect();
            format!(
                "too old: since migration {version} ({name}) this schema needs {}",
                floors.join(", or ")
            )
        }
    }
}

/// Asks until the answer is final, or the time is over.
pub(super) async fn until_known(
    place: &Where,
    app: &App,
    timeout: Duration,
) -> Result<Answer, Problem> {
    let database = place.database()?;
    let mut options = place.options();
    // We come back by ourselves.
    options.lock_wait = Duration::ZERO;
    let end = Instant::now() + timeout;
    let mut pause = Duration::from_millis(100);
    let mut told = String::new();
    let mut told_at = Instant::now();
    loop {
        let asked = tokio::time::timeout(
            timeout.max(Duration::from_secs(5)),
            run::answer(&database, app, &options),
        );
        let (line, last) = match asked.await {
            Ok(Ok(answer @ Answer::Pending { .. })) => (words(&answer), Ok(answer)),
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if error.is_unreachable() => {
                let problem = Problem::from(error);
                (problem.message().to_owned(), Err(problem))
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => {
                let problem = super::refused("the database does not answer");
                (problem.message().to_owned(), Err(problem))
            }
        };
        let now = Instant::now();
        if now >= end {
            return last;
        }
        if line != told || now - told_at > Duration::from_secs(10) {
            complain(format_args!("windlass: waiting for the schema: {line}"));
            told = line;
            told_at = now;
        }
        tokio::time::sleep(pause.min(end - now)).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}
