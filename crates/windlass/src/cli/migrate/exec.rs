//! `windlass migrate exec`: becomes the application, once the schema fits it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::plan::Answer;
use windlass_migrate::run;

use super::wait::{AppArgs, exit_code, until_known, words};
use super::{Allow, Beside, Files, Limits, Lock, Where, block_on, interruptible, refused, tell};
use crate::cli::complain;
use crate::report::Problem;

/// Wait until the schema fits, then become the application: same process id, its own signals. With
/// WINDLASS_MIGRATE=1 in the environment (or --migrate), migrate first, under the lock.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    app: AppArgs,
    #[command(flatten)]
    allow: Allow,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    beside: Beside,
    /// Migrate first; WINDLASS_MIGRATE=1 says the same, and WINDLASS_MIGRATE=skip starts at once
    #[arg(long)]
    migrate: bool,
    /// A file that is there only while the application may be running: removed first, written just
    /// before it starts
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Say what came of it as JSON, on one line of standard error: standard output is the application's
    #[arg(long)]
    pub(super) json: bool,
    /// The application and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

/// What the environment asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Migrate,
    Wait,
    Skip,
}

fn mode(flag: bool, variable: Option<&str>) -> Result<Mode, Problem> {
    match variable.unwrap_or_default() {
        "1" | "true" | "yes" => Ok(Mode::Migrate),
        "skip" => Ok(Mode::Skip),
        "" | "0" | "false" | "no" if flag => Ok(Mode::Migrate),
        "" | "0" | "false" | "no" => Ok(Mode::Wait),
        other => Err(refused(format!(
            "WINDLASS_MIGRATE is {other:?}: say 1 to migrate, 0 to wait, skip to do neither"
        ))),
    }
}

/// Comes back only with an exit code or a problem: otherwise this process is the application.
pub(super) fn main(args: Args) -> Result<u8, Problem> {
    if let Some(file) = &args.ready_file
        && let Err(error) = std::fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(refused(format!(
            "could not remove {}: {error}",
            file.display()
        )));
    }
    let variable = std::env::var("WINDLASS_MIGRATE").ok();
    let mode = mode(args.migrate, variable.as_deref())?;
    if mode != Mode::Skip {
        let answer = block_on(interruptible(prepare(&args, mode)))??;
        let starts = matches!(answer, Answer::Compatible { .. });
        let code = exit_code(&answer);
        if args.json {
            let mut said = json!(answer);
            said["starts"] = json!(starts);
            said["exit_code"] = json!((!starts).then_some(code));
            complain(said);
        } else if starts {
            complain(format_args!("windlass: the schema is {}", words(&answer)));
        } else {
            complain(format_args!(
                "windlass: the application is not started: {}",
                words(&answer)
            ));
        }
        if !starts {
            return Ok(code);
        }
    }
    if let Some(file) = &args.ready_file {
        std::fs::write(file, "ready\n")
            .map_err(|e| refused(format!("could not write {}: {e}", file.display())))?;
    }
    Err(become_command(&args.command))
}

async fn prepare(args: &Args, mode: Mode) -> Result<Answer, Problem> {
    let app = args.app.app(&args.files)?;
    if mode == Mode::Migrate {
        let folder = args.files.read()?;
        let database = args.place.database()?;
        let mut options = args.place.options();
        options.rules = args.allow.rules();
        // An application of the older release that starts once more while the newer one starts, too.
        options.rules.go_back = false;
        args.lock.put(&mut options, &args.place)?;
        args.limits.put(&mut options);
        options.beside = args.beside.beside;
        let end = tokio::time::Instant::now() + args.app.timeout;
        let mut told = false;
        let done = loop {
            match run::up(&database, &folder, &options, &mut tell).await {
                // In a composition of containers the database may come up after us.
                Err(error) if error.is_unreachable() && tokio::time::Instant::now() < end => {
                    if !told {
                        let problem = Problem::from(error);
                        complain(format_args!(
                            "windlass: waiting for the database: {}",
                            problem.message()
                        ));
                        told = true;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                }
                other => break other?,
            }
        };
        for line in super::report(&done, &folder, &database, "applied") {
            complain(format_args!("windlass: {line}"));
        }
    }
    until_known(&args.place, &app, args.app.timeout).await
}

/// Replaces this process. Comes back only if that fails.
fn become_command(command: &[OsString]) -> Problem {
    let [program, arguments @ ..] = command else {
        return refused("no command");
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    not_started(program, &error)
}

/// The code as in shells: 127 no such program, 126 not runnable.
pub(super) fn not_started(program: &std::ffi::OsStr, error: &std::io::Error) -> Problem {
    let code = if error.kind() == std::io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    let name = Path::new(program).display();
    refused(format!("could not start {name}: {error}")).code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_and_a_typing_error_is_not_no() {
        assert_eq!(mode(false, Some("1")).unwrap(), Mode::Migrate);
        assert_eq!(mode(false, None).unwrap(), Mode::Wait);
        assert_eq!(mode(true, None).unwrap(), Mode::Migrate);
        assert_eq!(mode(true, Some("skip")).unwrap(), Mode::Skip);
        assert!(mode(false, Some("ture")).is_err());
    }
}
