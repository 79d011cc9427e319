//! Measurements of the release build, each beside something else that runs in the same minute on
//! the same machine: times alone say more about the machine than about us.

mod browser;
mod docker;
mod http;
mod idle;
mod lines;
mod live;
mod log;
mod migrate;
mod noop;
mod search;
mod server;
mod shim;
mod spec;
mod swarm;
mod throughput;
mod window;

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, output, program, run as run_command};

type Bench = fn() -> Result<Vec<Row>>;

const BENCHES: &[(&str, Bench)] = &[
    ("noop", noop::run),
    ("lines", lines::run),
    ("window", window::run),
    ("log", log::run),
    ("live", live::run),
    ("idle", idle::run),
    ("throughput", throughput::run),
    ("shim", shim::run),
    ("spec", spec::run),
    ("search", search::run),
    ("docker", docker::run),
    ("swarm", swarm::run),
    ("migrate", migrate::run),
];

/// What a figure must be.
enum Goal {
    AtMost(f64, &'static str),
    AtLeast(f64, &'static str),
    None,
}

/// One line of the table.
struct Row {
    what: String,
    ours: String,
    /// What ran beside it, and how it did.
    beside: String,
    /// Ours divided by the other.
    ratio: Option<f64>,
    goal: Goal,
    /// What the goal is about.
    value: f64,
}

impl Row {
    fn print(&self) {
        let ratio = self.ratio.map(|r| format!("{r:.2}x")).unwrap_or_default();
        let (goal, reached) = match self.goal {
            Goal::AtMost(most, unit) => (format!("<= {most}{unit}"), self.value <= most),
            Goal::AtLeast(least, unit) => (format!(">= {least}{unit}"), self.value >= least),
            Goal::None => (String::new(), true),
        };
        let verdict = match (&self.goal, reached) {
            (Goal::None, _) => "",
            (_, true) => "ok",
            (_, false) => "MISSED",
        };
        let (what, ours, beside) = (&self.what, &self.ours, &self.beside);
        println!("| {what} | {ours} | {beside} | {ratio} | {goal} | {verdict} |");
    }
}

/// `cargo xtask bench [NAME...]`
pub(crate) fn run(names: &[String]) -> Result<()> {
    for name in names {
        if !BENCHES.iter().any(|(known, _)| known == name) {
            let known: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
            bail!(
                "there is no benchmark {name}; there are: {}",
                known.join(", ")
            );
        }
    }
    run_command(cargo(&["build", "--release", "--locked", "-p", "windlass"]))?;
    let (cores, kernel) = (
        std::thread::available_parallelism().map_or(0, usize::from),
        output(program("uname", &["-sr"]))?,
    );
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("\n{cores} cores, {kernel}, load at the start {load}\n");
    println!("| what | ours | beside | ratio | goal | |\n| --- | --- | --- | --- | --- | --- |");
    for (name, bench) in BENCHES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            let rows = bench().with_context(|| format!("could not measure {name}"))?;
            rows.iter().for_each(Row::print);
        }
    }
    Ok(())
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
