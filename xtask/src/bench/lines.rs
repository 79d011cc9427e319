//! A step that prints a million lines, beside the same command into a file.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::server::{Folder, Repository, Server, build, peak_while, wait};
use super::{Goal, Row, median, megabytes, milliseconds};
use crate::command::{output, program};

const ROUNDS: usize = 5;

/// 99 characters and a line break.
const LONG: &str = "2026-01-01T00:00:00Z INFO compiling crate number 12345 of many, which takes \
                    a while on this machine";

/// A command that prints a million lines of 100 bytes.
pub(super) fn long_lines() -> String {
    format!("yes '{LONG:.<99}' | head -n 1000000")
}

pub(super) fn run() -> Result<Vec<Row>> {
    let mut rows = million("1,000,000 lines of 100 bytes", &long_lines())?;
    rows.extend(million(
        "1,000,000 numbers (11 MB)",
        "seq 1000000001 1001000000",
    )?);
    Ok(rows)
}

fn million(what: &str, command: &str) -> Result<Vec<Row>> {
    let folder = Folder::new("lines")?;
    let data = folder.path().join("data");
    let spec = format!("steps:\n  - run: |\n      {command}\n");
    let repository = Repository::create(folder.path(), "lines", &spec)?;
    let server = Server::start(&data, 2)?;
    repository.add_to(&data, "lines")?;
    let mut client = server.client();
    let revision = repository.commit("lines")?;
    std::thread::sleep(Duration::from_secs(1));
    let before = server.resident()?;
    let file = folder.path().join("file");
    let beside = format!("{command} | cat > '{}'", file.display());
    let (mut steps, mut builds, mut files) = (Vec::new(), Vec::new(), Vec::new());
    let peak = peak_while(server.pid(), || {
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            output(program("sh", &["-c", &beside]))?;
            files.push(begun.elapsed());
            let number = build(&mut client, "lines", &revision)?;
            let build = wait(&mut client, "lines", number, true)?;
            let step = &build["attempts"][0]["steps"][0];
            steps.push(Duration::from_micros(number_in(step, "duration_us")?));
            let ended = number_in(&build, "finished_ms")?;
            let took = ended.saturating_sub(number_in(&build, "started_ms")?);
            builds.push(Duration::from_millis(took));
        }
        Ok(())
    })?;
    let (step, build, file) = (median(&mut steps), median(&mut builds), median(&mut files));
    let grown = peak.saturating_sub(before);
    let beside = format!("{} cat into a file", milliseconds(file));
    let row = |what: String, time: Duration| Row {
        what,
        ours: milliseconds(time),
        beside: beside.clone(),
        ratio: Some(time.as_secs_f64() / file.as_secs_f64()),
        goal: Goal::AtMost(3.0, "x"),
        value: time.as_secs_f64() / file.as_secs_f64(),
    };
    let mut whole = row("the same, whole build".to_owned(), build);
    whole.goal = Goal::None;
    Ok(vec![
        row(format!("{what}: the step, median of {ROUNDS}"), step),
        whole,
        Row {
            what: "the same, growth of the server's memory".to_owned(),
            ours: format!("{} (from {})", megabytes(grown), megabytes(before)),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(20.0, " MB"),
            value: grown as f64 / 1e6,
        },
    ])
}

fn number_in(value: &Value, key: &str) -> Result<u64> {
    value[key]
        .as_u64()
        .with_context(|| format!("{key} is missing in {value}"))
}
