//! A command that is tried on a scratch database: its environment, its output, its end.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use windlass_migrate::{Database, Error};

use super::refused;
use super::run::{GRACE, Group, guarded};
use crate::report::Problem;

/// How much of a command's output is kept: its end.
const KEPT_BYTES: usize = 64 << 10;
/// How a command ended.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Ended {
    /// It ended with code 0.
    pub(super) passed: bool,
    /// Its exit code; none: a signal ended it.
    pub(super) exit_code: Option<i32>,
    /// The time limit ended it.
    pub(super) timed_out: bool,
    /// How long it took.
    pub(super) ms: u64,
    /// The end of what it said on standard output and standard error, at most 64 KiB.
    pub(super) output: String,
}

impl Ended {
    /// In a word or two.
    pub(super) fn words(&self) -> String {
        match (self.passed, self.timed_out, self.exit_code) {
            (true, ..) => "passed".to_owned(),
            (_, true, _) => "timed out".to_owned(),
            (_, _, Some(code)) => format!("failed ({code})"),
            _ => "killed".to_owned(),
        }
    }
}

/// Text for a shell, as a command.
pub(super) fn shell(text: &str) -> Vec<String> {
    ["/bin/sh", "-c", text].map(str::to_owned).into()
}

/// What a command is run with.
pub(super) struct Trial<'a> {
    /// The program and its arguments: [`shell`], mostly.
    pub(super) command: &'a [String],
    /// Where.
    pub(super) folder: &'a Path,
    /// Its database.
    pub(super) database: &'a Database,
    /// Further variables.
    pub(super) env: &'a [(&'a str, &'a str)],
    /// How long it may run.
    pub(super) time_limit: Duration,
    /// Whether what it says is shown at once, too.
    pub(super) verbose: bool,
}

impl Trial<'_> {
    /// Runs it. It dies with us, with all that it has started, and when this is dropped.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) async fn run(&self) -> Result<Ended, Error> {
        let failed = |e: std::io::Error| {
            Error::Refused(format!("could not start {}: {e}", self.command.join(" ")))
        };
        let (mut output, input) = std::io::pipe().map_err(failed)?;
        let began = Instant::now();
        let mut command = guarded(self.command);
        let name = self.database.name();
        command
            .current_dir(self.folder)
            .env("DATABASE_URL", self.database.url())
            .env("WINDLASS_DATABASE", name)
            // The schema is as it should be: whatever starts must leave it.
            .env("WINDLASS_MIGRATE", "skip")
            .envs(self.env.iter().copied())
            .stdin(Stdio::null())
            .stdout(input.try_clone().map_err(failed)?)
            .stderr(input);
        let mut command = tokio::process::Command::from(command);
        let mut child = command.spawn().map_err(failed)?;
        // The command's ends of the pipe are in it, and would keep the pipe open.
        drop(command);
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let group =
            Group(Pid::from_raw(pid.ok_or_else(|| {
                Error::Refused("the command is gone".to_owned())
            })?));
        let kept = Arc::new(Mutex::new(VecDeque::new()));
        let (keep, verbose) = (Arc::clone(&kept), self.verbose);
        // Not of the runtime: a process that left the group may hold the pipe for ever.
        let (over, mut is_over) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            let mut piece = [0; 16 << 10];
            while let Ok(n @ 1..) = output.read(&mut piece) {
                if verbose {
                    std::io::stderr().write_all(&piece[..n]).ok();
                }
                if let Ok(mut kept) = keep.lock() {
                    kept.extend(&piece[..n]);
                    let more = kept.len().saturating_sub(KEPT_BYTES);
                    kept.drain(..more);
                }
            }
            drop(over);
        });
        let waited = tokio::time::timeout(self.time_limit, child.wait()).await;
        let timed_out = waited.is_err();
        let status = match waited {
            Ok(status) => status,
            Err(_) => group.end(&mut child).await,
        }
        .map_err(failed)?;
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        // What it left behind goes, and with it the other end of the pipe.
        drop(group);
        tokio::time::timeout(GRACE, &mut is_over).await.ok();
        let bytes: Vec<u8> = kept
            .lock()
            .map_or_else(|_| Vec::new(), |kept| kept.iter().copied().collect());
        Ok(Ended {
            passed: status.success() && !timed_out,
            exit_code: status.code().or(status.signal().map(|s| 128 + s)),
            timed_out,
            ms,
            output: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

/// Comes back when SIGINT or SIGTERM came, with the problem that the command ends with.
pub(super) async fn stopped() -> Problem {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return refused("could not listen for signals");
    };
    let (name, number) = tokio::select! {
        _ = interrupt.recv() => ("SIGINT", 2),
        _ = terminate.recv() => ("SIGTERM", 15),
    };
    refused(format!(
        "stopped by {name}; the scratch databases are removed"
    ))
    .code(128 + number)
}
