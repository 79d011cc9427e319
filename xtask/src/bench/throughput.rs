//! How many builds that do nothing go through the server: 200 of one commit, with 8 slots.
//!
//! All are queued before the first begins: 8 other builds hold the slots until a file appears.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, milliseconds};

const BUILDS: u64 = 200;
const SLOTS: usize = 8;

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("throughput")?;
    let data = folder.path().join("data");
    let gate = folder.path().join("gate");
    let held = format!(
        "steps:\n  - until test -e '{}'; do sleep 0.02; done\n",
        gate.display()
    );
    let server = Server::start(&data, SLOTS)?;
    let (holder, noop) = (
        Repository::create(folder.path(), "holder", &held)?,
        Repository::create(folder.path(), "noop", "steps:\n  - \"true\"\n")?,
    );
    holder.add_to(&data, "holder")?;
    noop.add_to(&data, "noop")?;
    let mut client = server.client();
    let (held, revision) = (holder.commit("hold")?, noop.commit("noop")?);
    // The first build of a commit fetches it; that is measured elsewhere.
    let first = build(&mut client, "noop", &revision)?;
    wait(&mut client, "noop", first, true)?;
    for _ in 0..SLOTS {
        build(&mut client, "holder", &held)?;
    }
    while running(&mut client, "holder")? < SLOTS {
        std::thread::sleep(Duration::from_millis(20));
    }
    for _ in 0..BUILDS {
        build(&mut client, "noop", &revision)?;
    }
    std::thread::sleep(Duration::from_millis(500));
    let ticks = processor_ticks(server.pid())?;
    let begun = Instant::now();
    std::fs::write(&gate, "")?;
    let last = first + BUILDS;
    while unfinished(&mut client)? {
        if begun.elapsed() > Duration::from_secs(300) {
            bail!("{BUILDS} builds that do nothing do not end");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (mut from, mut to) = (u64::MAX, 0);
    for number in first + 1..=last {
        let build = wait(&mut client, "noop", number, false)?;
        from = from.min(build["started_ms"].as_u64().unwrap_or(u64::MAX));
        to = to.max(build["finished_ms"].as_u64().unwrap_or_default());
    }
    let wall = Duration::from_millis(to.saturating_sub(from).max(1));
    let own = processor_ticks(server.pid())?.saturating_sub(ticks) * 10 / BUILDS;
    let rate = BUILDS as f64 / wall.as_secs_f64();
    // What the machine can do without us: as many clones, by as many at once.
    let beside = clones(&noop, folder.path())?;
    Ok(vec![
        Row {
            what: format!(
                "{BUILDS} no-op builds, {SLOTS} slots ({own} ms of the server's CPU each)"
            ),
            ours: format!("{rate:.1}/s"),
            beside: format!("{beside:.1}/s git clone --depth 1, {SLOTS} at once"),
            ratio: Some(rate / beside),
            goal: Goal::AtLeast(60.0, "/s"),
            value: rate,
        },
        Row::plain("the same, per build", milliseconds(wall / BUILDS as u32)),
    ])
}

fn running(client: &mut super::http::Client, repo: &str) -> Result<usize> {
    let path = format!("/api/v1/builds?repo={repo}&state=running&limit=100");
    let list: Value = serde_json::from_slice(&client.get(&path)?)?;
    Ok(list["builds"].as_array().map_or(0, Vec::len))
}

fn unfinished(client: &mut super::http::Client) -> Result<bool> {
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

fn clones(repository: &Repository, folder: &std::path::Path) -> Result<f64> {
    const EACH: usize = 12;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..SLOTS)
            .map(|thread| {
                scope.spawn(move || {
                    (0..EACH).try_for_each(|n| {
                        super::noop::clone(repository, &folder.join(format!("clone-{thread}-{n}")))
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
    Ok((SLOTS * EACH) as f64 / begun.elapsed().as_secs_f64())
}
