//! How many builds that do nothing go through the server: 200 of one commit, with 8 slots.
//!
//! All are queued before the first begins: 8 other builds hold the slots until a file appears.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::http::Client;
use super::noop::clone;
use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, median, milliseconds};

const BUILDS: u64 = 200;
const SLOTS: usize = 8;
const ROUNDS: usize = 3;

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("throughput")?;
    let data = folder.path().join("data");
    let gate = folder.path().join("gate");
    let held = format!(
        "steps:\n  - until test -e '{}'; do sleep 0.02; done\n",
        gate.display()
    );
    let server = Server::start(&data, SLOTS)?;
    let holder = Repository::create(folder.path(), "holder", &held)?;
    let noop = Repository::create(folder.path(), "noop", "steps:\n  - \"true\"\n")?;
    holder.add_to(&data, "holder")?;
    noop.add_to(&data, "noop")?;
    let mut round = Round {
        client: server.client(),
        gate,
        held: holder.commit("hold")?,
        revision: noop.commit("noop")?,
    };
    // The first build of a commit fetches it; that is measured elsewhere.
    let first = build(&mut round.client, "noop", &round.revision)?;
    wait(&mut round.client, "noop", first, true)?;
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    let ticks = processor_ticks(server.pid())?;
    for number in 0..ROUNDS {
        ours.push(round.run()?);
        // What the machine can do without us: clones, as many at once.
        beside.push(clones(&noop, folder.path(), number)?);
    }
    let own = (processor_ticks(server.pid())? - ticks) * 10 / (BUILDS * ROUNDS as u64);
    let (ours, beside) = (median(&mut ours), median(&mut beside));
    let (rate, clones) = (1.0 / ours.as_secs_f64(), 1.0 / beside.as_secs_f64());
    let cpu = format!("{own} ms of the server's CPU each, with queueing and sealing");
    Ok(vec![Row {
        what: format!("{BUILDS} no-op builds, {SLOTS} slots, median of {ROUNDS} ({cpu})"),
        ours: format!("{rate:.1}/s ({} each)", milliseconds(ours)),
        beside: format!("{clones:.1}/s git clone --depth 1, {SLOTS} at once"),
        ratio: Some(rate / clones),
        goal: Goal::AtLeast(60.0, "/s"),
        value: rate,
    }])
}

struct Round {
    client: Client,
    gate: PathBuf,
    held: String,
    revision: String,
}

impl Round {
    /// The time per build, from the first one's begin to the last one's recorded end.
    fn run(&mut self) -> Result<Duration> {
        let client = &mut self.client;
        if self.gate.exists() {
            std::fs::remove_file(&self.gate)?;
        }
        for _ in 0..SLOTS {
            build(client, "holder", &self.held)?;
        }
        while running(client, "holder")? < SLOTS {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut numbers = Vec::new();
        for _ in 0..BUILDS {
            numbers.push(build(client, "noop", &self.revision)?);
        }
        let begun = Instant::now();
        std::fs::write(&self.gate, "")?;
        while unfinished(client)? {
            if begun.elapsed() > Duration::from_secs(300) {
                bail!("{BUILDS} builds that do nothing do not end");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let (mut from, mut to) = (u64::MAX, 0);
        for number in numbers {
            let build = wait(client, "noop", number, true)?;
            from = from.min(build["started_ms"].as_u64().unwrap_or(u64::MAX));
            to = to.max(build["finished_ms"].as_u64().unwrap_or_default());
        }
        Ok(Duration::from_millis(to.saturating_sub(from).max(1)) / BUILDS as u32)
    }
}

fn running(client: &mut Client, repo: &str) -> Result<usize> {
    let path = format!("/api/v1/builds?repo={repo}&state=running&limit=100");
    let list: Value = serde_json::from_slice(&client.get(&path)?)?;
    Ok(list["builds"].as_array().map_or(0, Vec::len))
}

fn unfinished(client: &mut Client) -> Result<bool> {
    for state in ["queued", "running"] {
        let path = format!("/api/v1/builds?state={state}&limit=1");
        let list: Value = serde_json::from_slice(&client.get(&path)?)?;
        if list["builds"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The processor time of a process without its children, in hundredths of a second.
fn processor_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<u64> = fields
        .split(' ')
        .skip(11)
        .take(2)
        .flat_map(str::parse)
        .collect();
    Ok(fields.iter().sum())
}

/// The time per clone, when [`SLOTS`] run at once.
fn clones(repository: &Repository, folder: &Path, round: usize) -> Result<Duration> {
    const EACH: usize = 12;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SLOTS)
            .map(|slot| {
                scope.spawn(move || {
                    (0..EACH).try_for_each(|n| {
                        clone(
                            repository,
                            &folder.join(format!("clone-{round}-{slot}-{n}")),
                        )
                    })
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            thread
                .join()
                .unwrap_or_else(|_| bail!("a thread that clones broke"))
        })
    })?;
    Ok(begun.elapsed() / (SLOTS * EACH) as u32)
}
