//! Runs other programs in the repository's root, shows what they print, and says what failed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The cargo that runs us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(crate::root());
    command
}

/// A program with arguments, without standard input: nothing here may wait for a person.
pub(crate) fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).current_dir(crate::root());
    command
}

/// The command as one would type it.
fn words(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let args = command.get_args().map(|a| a.to_string_lossy().into_owned());
    std::iter::once(program.to_string_lossy().into_owned())
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Runs it with our output; an exit code other than 0 is an error.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let words = words(&command);
    println!("$ {words}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("could not run `{words}`"))?;
    if !status.success() {
        bail!("`{words}` failed ({status})");
    }
    Ok(())
}

/// Whether it can be run and ends well. Shows nothing.
pub(crate) fn works(mut command: Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    quiet
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// What it prints, trimmed.
pub(crate) fn output(mut command: Command) -> Result<String> {
    let words = words(&command);
    let out = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("could not run `{words}`"))?;
    if !out.status.success() {
        bail!("`{words}` failed ({})", out.status);
    }
    Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

/// Runs it, shows each line of its standard output as it comes, and hands it to `look`. The answer
/// is whether it ended well.
pub(crate) fn run_looking(mut command: Command, mut look: impl FnMut(&str)) -> Result<bool> {
    let words = words(&command);
    println!("$ {words}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not run `{words}`"))?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).split(b'\n') {
            let line = line.with_context(|| format!("could not read what `{words}` prints"))?;
            let line = String::from_utf8_lossy(&line);
            look(&line);
            writeln!(std::io::stdout(), "{line}")?;
        }
    }
    Ok(child.wait()?.success())
}
