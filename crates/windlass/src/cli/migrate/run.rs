//! `windlass migrate run`: another migrator under our lock.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ExitStatus, Stdio};

use clap::Args as ClapArgs;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use windlass_migrate::run;

use super::exec::become_command;
use super::{Lock, Outcome, Where, refused, tell};
use crate::report::Problem;

/// Run another migrator under our lock: it waits for others, shows up in `unlock`, and ends if the
/// lock is lost. The exit code is the command's.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    lock: Lock,
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

/// The command's process: killed by the kernel when its parent, who has the lock, dies.
pub(super) fn child(args: &ChildArgs) -> Result<u8, Problem> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|e| refused(format!("could not bind the command to the lock: {e}")))?;
    // It may have died before that was set.
    if nix::unistd::getppid().as_raw() != args.parent {
        return Err(refused("the lock's holder is gone"));
    }
    Err(become_command(&args.command))
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let mut options = args.place.options();
    args.lock.put(&mut options);
    let words: Vec<_> = args.command.iter().map(|w| w.to_string_lossy()).collect();
    let doing: String = format!("running {}", words.join(" "))
        .chars()
        .take(300)
        .collect();
    let status = run::hold(&database, &options, &doing, &mut tell, command(args)).await??;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1);
    Ok(Outcome::new(Vec::new(), json!(null)).code(code))
}

/// The whole group of processes dies with this.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // Gone already in the good case.
        killpg(self.0, Signal::SIGKILL).unwrap_or_default();
    }
}

async fn command(args: &Args) -> Result<ExitStatus, Problem> {
    let failed = |e: std::io::Error| refused(format!("could not start the command: {e}"));
    let mut command = std::process::Command::new("/proc/self/exe");
    command
        .args(["migrate", "run-child", "--parent"])
        .arg(std::process::id().to_string())
        .arg("--")
        .args(&args.command)
        .stdin(Stdio::inherit())
        .process_group(0);
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
    loop {
        let received = tokio::select! {
            status = child.wait() => return status.map_err(failed),
            _ = terminate.recv() => Signal::SIGTERM,
            _ = interrupt.recv() => Signal::SIGINT,
            _ = hangup.recv() => Signal::SIGHUP,
            _ = quit.recv() => Signal::SIGQUIT,
        };
        killpg(group.0, received).unwrap_or_default();
    }
}
