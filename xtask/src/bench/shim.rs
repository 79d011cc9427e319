//! What the shim adds to the start of one command, beside `sh -c true` alone and beside the
//! shell that a step really is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use super::server::{Folder, Server};
use super::{Goal, Row, median, milliseconds};

const ROUNDS: usize = 100;

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("shim")?;
    let data = folder.path().join("data");
    // A start of the server unpacks the shim.
    drop(Server::start(&data, 1)?);
    let shim = unpacked(&data.join("bin"))?;
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let dir = order(folder.path(), round)?;
        let mut with = Command::new(&shim);
        with.arg("run").arg(&dir).current_dir("/");
        let with = time(with)?;
        // The record of the job's end is the last one, and the step's end says how it went.
        let journal = std::fs::read_to_string(dir.join("journal"))?;
        let mut lines = journal.lines().rev();
        let ended = lines.next().is_some_and(|line| line.contains(" E {"));
        if !ended || !lines.any(|line| line.contains(r#""code":0"#)) {
            bail!("the shim did not run its step: {journal}");
        }
        let mut without = Command::new("sh");
        without.args(["-c", "true"]);
        let without = time(without)?;
        // The first round reads the programs from the disk.
        if round > 0 {
            ours.push(with);
            beside.push(without);
        }
    }
    let (ours, beside) = (median(&mut ours), median(&mut beside));
    Ok(vec![Row {
        what: format!("`sh -c true` under the shim, median of {ROUNDS}"),
        ours: milliseconds(ours),
        beside: format!("{} sh -c true", milliseconds(beside)),
        ratio: Some(ours.as_secs_f64() / beside.as_secs_f64()),
        goal: Goal::None,
        value: 0.0,
    }])
}

fn unpacked(bin: &Path) -> Result<PathBuf> {
    for entry in std::fs::read_dir(bin).context("the server unpacked no shim")? {
        let entry = entry?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with("windlass-shim-")
        {
            return Ok(entry.path());
        }
    }
    bail!("there is no shim in {}", bin.display())
}

/// The folder of an attempt with one step: crates/shim/src/order.rs says what is in it.
fn order(folder: &Path, round: usize) -> Result<PathBuf> {
    let dir = folder.join(format!("attempt-{round}"));
    std::fs::create_dir(&dir)?;
    let order = json!({
        "version": 1,
        "attempt": format!("bench-{}-{round}", std::process::id()),
        "workspace": folder,
        "env": {"PATH": std::env::var("PATH").unwrap_or_default()},
        "timeout_ms": null,
        "grace_ms": 1000,
        "limits": {"memory_bytes": null, "pids": null},
        "steps": [{
            "argv": ["sh", "-c", "true"], "env": {}, "timeout_ms": null, "output": "merged",
        }],
    });
    std::fs::write(dir.join("order.json"), order.to_string())?;
    std::fs::write(dir.join("secrets.json"), r#"{"env": {}, "mask": []}"#)?;
    Ok(dir)
}

fn time(mut command: Command) -> Result<Duration> {
    let begun = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .context("it does not start")?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(begun.elapsed())
}
