//! `windlass migrate data`: changes rows in batches, beside everything else.

use std::os::unix::process::ExitStatusExt as _;
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use nix::unistd::Pid;
use serde_json::json;
use windlass_migrate::Version;
use windlass_migrate::run::{Event, How, Progress, Range};

use super::run::{Group, guarded};
use super::{Beside, Files, Limits, Lock, Outcome, Where, tell};
use crate::cli::complain;
use crate::report::{EXIT_MIGRATE_PENDING, EXIT_OK, Problem};

const HELP: &str = "\
A data migration is a file whose statements say of which rows they are:

  -- windlass: phase data
  -- windlass: batch users.id size 1000 pause 100ms target 1s
  update users set email_lower = lower(email) where id between :lo and :hi;

Each batch is a transaction, together with the row that says how far it came: killed at any moment, each
takes effect once, and the next run goes on from there. `up` does not wait for it and is not stopped by it.
A contract migration that needs it says `-- windlass: requires-data NUMBER`.

Exit codes: 0 finished; 3 something is left (--time-limit); 4 somebody else has the lock.";

/// Run data migrations: rows in batches, resumable, beside applications and `up`.
#[derive(Debug, ClapArgs)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// Only this migration
    version: Option<Version>,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    beside: Beside,
    /// Begin no batch after this time; the next run goes on
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    time_limit: Option<Duration>,
    /// How long to leave the database alone after each batch, instead of what the files say
    #[arg(long, value_name = "TIME", value_parser = super::duration)]
    pause: Option<Duration>,
    /// At most so many keys in a batch, instead of what the files say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    size: Option<u32>,
    /// Run commands that files name with `-- windlass: command`: in a shell, with WINDLASS_LO,
    /// WINDLASS_HI, WINDLASS_BATCH and DATABASE_URL in their environment
    #[arg(long)]
    allow_commands: bool,
    /// Print what was done and what is left as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let folder = args.files.read()?;
    let database = args.place.database()?;
    let mut options = args.place.options();
    args.lock.put(&mut options, &args.place)?;
    args.limits.put(&mut options);
    options.beside = args.beside.beside;
    let how = How {
        only: args.version,
        time_limit: args.time_limit,
        pause: args.pause,
        size: args.size,
    };
    let url = args.place.url.clone();
    let mut command = |range: Range| -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> {
        Box::pin(shell(range, url.clone()))
    };
    let mut news = News::default();
    let mut tell = |event| news.tell(event);
    let report = windlass_migrate::run::data(
        &database,
        &folder,
        &options,
        &how,
        &mut tell,
        args.allow_commands.then_some(&mut command),
    )
    .await?;
    let mut text: Vec<String> = report
        .done
        .iter()
        .map(|done| format!("finished {} ({} ms)", done.file, done.ms))
        .collect();
    for version in &report.pending {
        let file = folder
            .find(*version)
            .map_or_else(String::new, |f| f.file.clone());
        let begun = report.progress.iter().find(|p| p.version == *version);
        text.push(format!(
            "pending {file}{}",
            begun.map_or_else(String::new, far)
        ));
    }
    if text.is_empty() {
        text.push(format!("nothing to do: {database}"));
    }
    let code = if report.pending.is_empty() {
        EXIT_OK
    } else {
        EXIT_MIGRATE_PENDING
    };
    Ok(Outcome::new(text, json!(report)).code(code))
}

/// How far it is, in words that follow a file's name.
pub(super) fn far(progress: &Progress) -> String {
    let mut words = format!(": {} keys in {} batches", progress.keys, progress.batches);
    if let Some(part) = progress.part {
        words.push_str(&format!(", {:.1} %", part * 100.0));
    }
    if let Some(ms) = progress.eta_ms {
        words.push_str(&format!(", about {} left", span(ms)));
    }
    words
}

fn span(ms: i64) -> String {
    match ms / 1000 {
        s @ ..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s / 60),
        s => format!("{} h {} min", s / 3600, s / 60 % 60),
    }
}

/// Says on standard error how far it is, every two seconds.
#[derive(Default)]
pub(super) struct News(Option<Instant>);

impl News {
    pub(super) fn tell(&mut self, event: Event) {
        let Event::Batch { file, progress, .. } = event else {
            tell(event);
            return;
        };
        let now = Instant::now();
        if self
            .0
            .is_none_or(|last| now - last > Duration::from_secs(2))
        {
            complain(format_args!("windlass: {file}{}", far(&progress)));
            self.0 = Some(now);
        }
    }
}

/// Runs the command for a batch. Killed with us, and when the lock is lost.
async fn shell(range: Range, url: String) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("could not be started: {e}");
    let mut command = guarded(&["/bin/sh", "-c", range.command.as_str()]);
    command
        .env("DATABASE_URL", url)
        .env("WINDLASS_LO", &range.lo)
        .env("WINDLASS_HI", &range.hi)
        .env("WINDLASS_BATCH", range.batch.to_string())
        .stdin(Stdio::null());
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .map_err(failed)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let _group = Group(Pid::from_raw(pid.ok_or("is gone")?));
    let status = child.wait().await.map_err(failed)?;
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(format!("ended with code {code}")),
        (None, signal) => Err(format!("was ended by signal {}", signal.unwrap_or(0))),
    }
}
