//! `windlass migrate run`: another migrator under our lock.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use clap::Args as ClapArgs;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use windlass_migrate::sql::Dialect;
use windlass_migrate::{Database, drift, run};

use super::diff::words;
use super::drift::since;
use super::exec::not_started;
use super::{Lock, Outcome, Where, block_on, duration, refused, tell};
use crate::cli::complain;
use crate::report::{EXIT_MIGRATE_MISMATCH, Problem};

/// Run another migrator under our lock: it waits for others, shows up in `unlock`, and ends if the
/// lock is lost. The exit code is the command's.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    lock: Lock,
    /// Before: compare the schema with what the last run with --drift left, and refuse (exit code 6)
    /// if somebody changed it since. Afterwards, if the command succeeded: record it
    #[arg(long)]
    drift: bool,
    /// With --drift: say what changed, and go on
    #[arg(long, requires = "drift")]
    accept_drift: bool,
    /// How long the command may take, such as 10min: then it is asked to end (SIGTERM), and after 5 s it is ended with
    /// all that it has started
    #[arg(long, value_name = "TIME", value_parser = duration)]
    time_limit: Option<Duration>,
    /// PostgreSQL: how long its statements may wait for locks of other sessions. Given in PGOPTIONS, which whatever
    /// stands on libpq reads (psql, psycopg, Ruby's pg)
    #[arg(long, value_name = "TIME", value_parser = duration)]
    lock_timeout: Option<Duration>,
    /// PostgreSQL: how long one of its statements may run; in the same way
    #[arg(long, value_name = "TIME", value_parser = duration)]
    statement_timeout: Option<Duration>,
    /// Say how the command ended as JSON, on the last line of standard error: standard output is the command's
    #[arg(long)]
    pub(super) json: bool,
    /// The command and its arguments, such as: alembic upgrade head
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What we call ourselves with.
#[derive(Debug, ClapArgs)]
pub(super) struct ChildArgs {
    #[arg(long)]
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Stands between the lock's holder and the command: if the holder dies, the kernel tells this
/// process, and it ends the command with all that the command has started.
pub(super) fn child(args: &ChildArgs) -> Result<u8, Problem> {
    block_on(guard(args))?
}

async fn guard(args: &ChildArgs) -> Result<u8, Problem> {
    let failed = |e: std::io::Error| refused(format!("could not listen for signals: {e}"));
    let mut orphaned = signal(SignalKind::user_defined2()).map_err(failed)?;
    // These go to the whole group: what becomes of them is the command's business.
    let mut theirs = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ] {
        theirs.push(signal(kind).map_err(failed)?);
    }
    nix::sys::prctl::set_pdeathsig(Signal::SIGUSR2)
        .map_err(|e| refused(format!("could not bind the command to the lock: {e}")))?;
    // It may have died before that was set.
    if nix::unistd::getppid().as_raw() != args.parent {
        return Err(refused("the lock's holder is gone"));
    }
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(refused("no command"));
    };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .spawn()
        .map_err(|error| not_started(program, &error))?;
    tokio::select! {
        status = child.wait() => {
            let status = status.map_err(|e| refused(format!("could not wait for the command: {e}")))?;
            Ok(code(status))
        }
        _ = orphaned.recv() => {
            killpg(nix::unistd::getpgrp(), Signal::SIGKILL).unwrap_or_default();
            Err(refused("the lock's holder is gone"))
        }
    }
}

/// As shells say it: a signal is 128 and its number.
fn code(status: ExitStatus) -> u8 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1)
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let limits = limits(args);
    if limits.is_some() && database.dialect() != Dialect::Postgres {
        return Err(refused(
            "--lock-timeout and --statement-timeout are for PostgreSQL, where the environment can say them",
        )
        .hint("give the command's own options, or --time-limit"));
    }
    let mut options = args.place.options();
    args.lock.put(&mut options, &args.place)?;
    let words: Vec<_> = args.command.iter().map(|w| w.to_string_lossy()).collect();
    let doing: String = format!("running {}", words.join(" "))
        .chars()
        .take(300)
        .collect();
    let work = async {
        if args.drift {
            look_for_drift(args, &database, &options).await?;
        }
        let status = command(args, limits).await?;
        if args.drift && status.success() {
            drift::record(&database, &options).await?;
        }
        Ok::<_, Problem>(status)
    };
    let status = run::hold(&database, &options, &doing, &mut tell, work).await??;
    let code = code(status);
    let json = json!({
        "command": words,
        "exit_code": code,
        "recorded": args.drift && status.success(),
    });
    Ok(Outcome::new(Vec::new(), json).code(code))
}

/// PGOPTIONS with the limits, if there are any.
fn limits(args: &Args) -> Option<String> {
    let limits = [
        ("lock_timeout", args.lock_timeout),
        ("statement_timeout", args.statement_timeout),
    ];
    let limits = limits.iter().filter_map(|(name, limit)| {
        let ms = (*limit)?.as_millis();
        Some(format!("-c {name}={ms}"))
    });
    let limits: Vec<String> = limits.collect();
    if limits.is_empty() {
        return None;
    }
    // What is said last counts.
    let before = std::env::var("PGOPTIONS").unwrap_or_default();
    Some(format!("{before} {}", limits.join(" ")).trim().to_owned())
}

/// Under the lock, so that nobody migrates between the look and the command.
async fn look_for_drift(
    args: &Args,
    database: &Database,
    options: &run::Options,
) -> Result<(), Problem> {
    let Some((then, found)) = drift::since_recorded(database, options).await? else {
        complain("windlass: no schema is recorded yet: it will be after this run");
        return Ok(());
    };
    if found.is_empty() {
        return Ok(());
    }
    let mut text = vec![format!("the schema was changed {}", since(&then))];
    text.extend(words(&found, "the record", "the database", false));
    let text = text.join("\n");
    if args.accept_drift {
        complain(format_args!("windlass: {text}"));
        return Ok(());
    }
    Err(Problem::new(text)
        .code(EXIT_MIGRATE_MISMATCH)
        .hint("undo it, or take it as it is: --accept-drift"))
}

/// Between being asked to end and being ended.
pub(super) const GRACE: Duration = Duration::from_secs(5);

fn words_of(time: Duration) -> String {
    match time.as_millis() {
        ms if ms % 1000 == 0 => format!("{} s", ms / 1000),
        ms => format!("{ms} ms"),
    }
}

/// The whole group of processes dies with this.
pub(super) struct Group(pub(super) Pid);

impl Group {
    /// Asks it to end, and ends it if it does not hear. How the command ended, which is in it.
    pub(super) async fn end(
        &self,
        command: &mut tokio::process::Child,
    ) -> std::io::Result<ExitStatus> {
        killpg(self.0, Signal::SIGTERM).unwrap_or_default();
        if let Ok(status) = tokio::time::timeout(GRACE, command.wait()).await {
            return status;
        }
        killpg(self.0, Signal::SIGKILL).unwrap_or_default();
        command.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already in the good case.
        killpg(self.0, Signal::SIGKILL).unwrap_or_default();
    }
}

/// The command below a guard, in a process group of its own.
pub(super) fn guarded(command: &[impl AsRef<std::ffi::OsStr>]) -> std::process::Command {
    let mut guard = std::process::Command::new("/proc/self/exe");
    guard
        .args(["migrate", "run-child", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .args(command)
        .process_group(0);
    guard
}

async fn command(args: &Args, limits: Option<String>) -> Result<ExitStatus, Problem> {
    let failed = |e: std::io::Error| refused(format!("could not start the command: {e}"));
    let mut command = guarded(&args.command);
    command.stdin(Stdio::inherit());
    if let Some(limits) = limits {
        command.env("PGOPTIONS", limits);
    }
    let mut signals = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ] {
        signals.push((kind, signal(kind).map_err(failed)?));
    }
    let [(_, terminate), (_, interrupt), (_, hangup), (_, quit)] = signals.as_mut_slice() else {
        return Err(refused("no signals"));
    };
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .map_err(failed)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Group(Pid::from_raw(
        pid.ok_or_else(|| refused("the command is gone"))?,
    ));
    // A year, where there is none.
    let limit = args
        .time_limit
        .unwrap_or(Duration::from_secs(365 * 24 * 3600));
    let over = tokio::time::sleep(limit);
    tokio::pin!(over);
    loop {
        let received = tokio::select! {
            status = child.wait() => return status.map_err(failed),
            () = &mut over => {
                group.end(&mut child).await.map_err(failed)?;
                return Err(refused(format!(
                    "the command had not ended after {}, and was ended",
                    words_of(limit)
                ))
                .hint("look at what it was waiting for; --time-limit gives it longer"));
            }
            _ = terminate.recv() => Signal::SIGTERM,
            _ = interrupt.recv() => Signal::SIGINT,
            _ = hangup.recv() => Signal::SIGHUP,
            _ = quit.recv() => Signal::SIGQUIT,
        };
        killpg(group.0, received).unwrap_or_default();
    }
}
