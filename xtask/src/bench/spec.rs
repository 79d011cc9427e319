//! Reading, checking and planning specs, beside the YAML parser alone; deciding about 10,000 jobs.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::{Goal, Row};
use crate::command::{cargo, output};

/// The `name microseconds` lines of an example.
fn figures(package: &str, example: &str) -> Result<HashMap<String, f64>> {
    let args = [
        "run",
        "--release",
        "--locked",
        "-q",
        "-p",
        package,
        "--example",
        example,
    ];
    let text = output(cargo(&args))?;
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(' ').context("not a figure")?;
            Ok((name.to_owned(), value.parse()?))
        })
        .collect()
}

fn time(microseconds: f64) -> String {
    if microseconds < 1000.0 {
        format!("{microseconds:.0} µs")
    } else {
        format!("{:.1} ms", microseconds / 1e3)
    }
}

pub(super) fn run() -> Result<Vec<Row>> {
    let spec = figures("windlass-spec", "bench_spec")?;
    let schedule = figures("windlass-engine", "bench_schedule")?;
    let store = figures("windlass-store", "bench_jobs")?;
    let figure = |from: &HashMap<String, f64>, name: &str| {
        from.get(name)
            .copied()
            .with_context(|| format!("there is no figure {name}"))
    };
    let (typical, parser) = (figure(&spec, "typical")?, figure(&spec, "parser")?);
    let row = |what: &str, value: f64, goal: f64, unit: &'static str, shown: String| Row {
        what: what.to_owned(),
        ours: shown,
        beside: String::new(),
        ratio: None,
        goal: Goal::AtMost(goal, unit),
        value,
    };
    let cells = figure(&spec, "cells")? / 1e3;
    let decide = figure(&schedule, "decide")?;
    let (planned, finished) = (figure(&store, "planned")?, figure(&store, "finished")?);
    Ok(vec![
        Row {
            what: "a spec of 60 lines: read, checked, planned, median of 2001".to_owned(),
            ours: time(typical),
            beside: format!("{} the YAML parser alone", time(parser)),
            ratio: Some(typical / parser),
            goal: Goal::AtMost(1.0, " ms"),
            value: typical / 1e3,
        },
        row(
            "a matrix of 10,000 cells: read, checked, planned, median of 51",
            cells,
            50.0,
            " ms",
            format!("{cells:.1} ms"),
        ),
        row(
            "10,000 ready jobs: decided, each",
            decide,
            100.0,
            " µs",
            format!("{decide:.2} µs"),
        ),
        row(
            "the same: stored, decided and queued, each",
            planned,
            100.0,
            " µs",
            format!("{planned:.1} µs"),
        ),
        Row {
            what: "one of 10,000 jobs ends: stored, decided, committed".to_owned(),
            ours: time(finished),
            beside: format!("{} a write of one row", time(figure(&store, "write")?)),
            ratio: Some(finished / figure(&store, "write")?),
            goal: Goal::None,
            value: finished,
        },
    ])
}
