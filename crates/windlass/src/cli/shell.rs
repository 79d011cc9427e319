//! `windlass shell`: a terminal in the container of a job that failed (or runs).

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use clap::Args as ClapArgs;
use futures_util::StreamExt as _;
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use windlass_model::BuildState;
use windlass_store::{Attempt, Build, Store};

use super::{complain, open_store, parse_build};
use crate::executors::{self, DockerArgs};
use crate::folders::Folders;
use crate::report::Problem;

/// In which job.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The build: demo/12
    build: String,
    /// The job, if the build has several
    job: Option<String>,
    #[command(flatten)]
    docker: DockerArgs,
}

/// How much is read of the keyboard at once.
const CHUNK: usize = 4096;

pub(crate) async fn run(args: Args, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    let (repo, number) = parse_build(&args.build)?;
    let build = store.build(&repo, number).await?;
    let attempt = find(&store, &build, args.job.as_deref()).await?;
    if attempt.executor != "docker" {
        return Err(Problem::new(format!(
            "attempt {} did not run in a container of this Docker daemon",
            attempt.number
        ))
        .hint(
            "a job that ran as processes leaves nothing, and one on a Swarm is out of reach here",
        ));
    }
    let executors = executors::new(
        folders.work(),
        folders.shim()?,
        Vec::new(),
        args.docker.into(),
        None,
    );
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let shell = executors
        .docker
        .shell(&attempt.attempt_id(), terminal)
        .await?;
    store.close().await;
    if terminal {
        complain(format_args!(
            "in the container of attempt {} of {repo}/{number}; the variables of the build are not set here",
            attempt.number
        ));
    }
    let raw = if terminal { Some(Raw::new()?) } else { None };
    let (mut output, mut input, handle) = (shell.output, shell.input, shell.handle);
    let mut keyboard = keyboard();
    let mut resized = signal(SignalKind::window_change())?;
    resize(&handle).await;
    let mut typing = true;
    loop {
        tokio::select! {
            item = output.next() => match item {
                Some(Ok(item)) => {
                    let mut out = std::io::stdout();
                    out.write_all(&item.into_bytes()).and_then(|()| out.flush())?;
                }
                Some(Err(_)) | None => break,
            },
            typed = keyboard.recv(), if typing => match typed {
                Some(bytes) => {
                    // A shell that has ended says so on its output.
                    if input.write_all(&bytes).await.is_err() || input.flush().await.is_err() {
                        typing = false;
                    }
                }
                None => {
                    typing = false;
                    input.shutdown().await.unwrap_or_default();
                }
            },
            _ = resized.recv() => resize(&handle).await,
        }
    }
    drop(raw);
    // The end is known a moment after the last byte.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let code = handle.end().await.unwrap_or_default();
    Ok(u8::try_from(code).unwrap_or(u8::MAX))
}

/// The newest attempt at the job; of several jobs, the first that did not pass.
async fn find(store: &Store, build: &Build, job: Option<&str>) -> Result<Attempt, Problem> {
    let jobs = store.jobs(build.id, build.run).await?;
    let mut attempts = store.attempts(build.id).await?;
    let wanted = match job {
        Some(name) => {
            let found = jobs.iter().find(|one| one.plan.name == name);
            let known: Vec<&str> = jobs.iter().map(|one| one.plan.name.as_str()).collect();
            let job = found.ok_or_else(|| {
                Problem::new(format!("the build has no job {name:?}"))
                    .hint(format!("it has: {}", known.join(", ")))
            })?;
            Some(job.id)
        }
        None => {
            let bad = |one: &&Attempt| one.state != BuildState::Passed;
            attempts.iter().find(bad).and_then(|one| one.job_id)
        }
    };
    attempts.retain(|one| wanted.is_none() || one.job_id == wanted);
    attempts.sort_by_key(|one| one.number);
    let newest = attempts.pop();
    newest.ok_or_else(|| Problem::new("nothing of this job was run yet".to_owned()))
}

/// What is typed, read by a thread of its own: nothing else can be waited for while a terminal is read.
fn keyboard() -> tokio::sync::mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; CHUNK];
        while let Ok(n) = std::io::stdin().read(&mut buffer) {
            if n == 0 || sender.blocking_send(buffer[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn resize(handle: &windlass_engine::executor::docker::ShellHandle) {
    let size = terminal_size::terminal_size();
    if let Some((terminal_size::Width(columns), terminal_size::Height(rows))) = size {
        handle.resize(columns, rows).await;
    }
}

/// The terminal hands on every key as it is, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn new() -> Result<Self, Problem> {
        let stdin = std::io::stdin();
        let failed = |e: nix::Error| Problem::new(format!("could not use the terminal: {e}"));
        let before = tcgetattr(stdin.as_fd()).map_err(failed)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell if that fails.
        let _ = tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &self.0);
    }
}
