//! Jobs on a Swarm beside bare one-shot services of the same image, made with Docker's own client: one
//! that does nothing, one of five steps, one that prints a million lines, and one that is killed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::docker::whole;
use super::http::Client;
use super::lines::long_lines;
use super::server::{Folder, Repository, Server, build, ended, wait};
use super::{Goal, Row, median, milliseconds};
use crate::command::{output, program};
use crate::lab;

const ROUNDS: usize = 15;
const LONG_ROUNDS: usize = 3;
const KILLS: usize = 7;

/// The pause between two looks at a service by hand.
const LOOK: Duration = Duration::from_millis(20);
const LIMIT: Duration = Duration::from_secs(120);

pub(super) fn run() -> Result<Vec<Row>> {
    lab::up()?;
    let mut rows = nothing()?;
    rows.extend(million()?);
    rows.extend(killed()?);
    Ok(rows)
}

fn docker(args: &[&str]) -> Command {
    let mut command = program("docker", args);
    command.env("DOCKER_HOST", lab::manager());
    command
}

fn serve(data: &Path) -> Result<Server> {
    let port = std::net::TcpListener::bind((lab::HOST_FOR_NODES, 0))?
        .local_addr()?
        .to_string();
    let url = format!("http://{port}");
    let manager = lab::manager();
    let env = [
        ("DOCKER_HOST", manager.as_str()),
        ("WINDLASS_EXECUTOR", "swarm"),
        ("WINDLASS_NODES_LISTEN", &port),
        ("WINDLASS_NODES_URL", &url),
    ];
    Ok(Server::start_env(data, 2, &env)?.0)
}

/// A bare one-shot service, from its creation to the state `complete`.
fn by_hand(argv: &[&str]) -> Result<Duration> {
    let begun = Instant::now();
    let make = [
        "service",
        "create",
        "--detach",
        "--quiet",
        "--no-resolve-image",
        "--restart-condition",
        "none",
        "--endpoint-mode",
        "dnsrr",
        "--name",
        "by-hand",
        lab::TINY,
    ];
    output(docker(&[&make[..], argv].concat()))?;
    let state = || {
        output(docker(&[
            "service",
            "ps",
            "--format",
            "{{.CurrentState}}",
            "by-hand",
        ]))
    };
    while !state()?.starts_with("Complete") {
        if begun.elapsed() > LIMIT {
            bail!("a service by hand did not end");
        }
        std::thread::sleep(LOOK);
    }
    let took = begun.elapsed();
    output(docker(&["service", "rm", "by-hand"]))?;
    Ok(took)
}

fn one(client: &mut Client, name: &str, revision: &str) -> Result<Duration> {
    let number = build(client, name, revision)?;
    whole(&wait(client, name, number, true)?)
}

fn nothing() -> Result<Vec<Row>> {
    let folder = Folder::new("swarm")?;
    let data = folder.path().join("data");
    let step = "  - \"true\"\n";
    let spec = |steps: usize| format!("image: {}\nsteps:\n{}", lab::TINY, step.repeat(steps));
    let single = Repository::create(folder.path(), "one", &spec(1))?;
    let many = Repository::create(folder.path(), "five", &spec(5))?;
    let server = serve(&data)?;
    single.add_to(&data, "one")?;
    many.add_to(&data, "five")?;
    let mut client = server.client();
    let (of_one, of_five) = (single.commit("one")?, many.commit("five")?);
    let (mut ours, mut five, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    // The first round makes mirrors and configs and warms all up; it does not count.
    for round in 0..=ROUNDS {
        let hand = by_hand(&["true"])?;
        let took = one(&mut client, "one", &of_one)?;
        let took_five = one(&mut client, "five", &of_five)?;
        if round > 0 {
            ours.push(took);
            five.push(took_five);
            beside.push(hand);
        }
    }
    let (ours, five, beside) = (median(&mut ours), median(&mut five), median(&mut beside));
    let ratio = ours.as_secs_f64() / beside.as_secs_f64();
    let longer = five.as_secs_f64() / ours.as_secs_f64();
    Ok(vec![
        Row {
            what: format!("no-op job on a Swarm, begin to recorded success, median of {ROUNDS}"),
            ours: milliseconds(ours),
            beside: format!("{} bare service, create to complete", milliseconds(beside)),
            ratio: Some(ratio),
            goal: Goal::AtMost(1.5, "x"),
            value: ratio,
        },
        Row {
            what: format!("the same with five steps, median of {ROUNDS}"),
            ours: milliseconds(five),
            beside: format!("{} with one step", milliseconds(ours)),
            ratio: Some(longer),
            goal: Goal::AtMost(1.3, "x"),
            value: longer,
        },
    ])
}

fn million() -> Result<Vec<Row>> {
    let folder = Folder::new("swarm-lines")?;
    let data = folder.path().join("data");
    let command = long_lines();
    let spec = format!(
        "image: {}\nsteps:\n  - run: |\n      {command}\n",
        lab::TINY
    );
    let repository = Repository::create(folder.path(), "lines", &spec)?;
    let server = serve(&data)?;
    repository.add_to(&data, "lines")?;
    let mut client = server.client();
    let revision = repository.commit("lines")?;
    let to_file = format!("{{ {command}\n}} >/tmp/lines");
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..LONG_ROUNDS {
        beside.push(by_hand(&["sh", "-c", &to_file])?);
        ours.push(one(&mut client, "lines", &revision)?);
    }
    let (ours, beside) = (median(&mut ours), median(&mut beside));
    let ratio = ours.as_secs_f64() / beside.as_secs_f64();
    Ok(vec![Row {
        what: format!(
            "1,000,000 lines of 100 bytes on a Swarm, whole build, median of {LONG_ROUNDS}"
        ),
        ours: milliseconds(ours),
        beside: format!(
            "{} bare service that writes them to a file",
            milliseconds(beside)
        ),
        ratio: Some(ratio),
        goal: Goal::AtMost(2.0, "x"),
        value: ratio,
    }])
}

/// From Swarm's knowing that a task has ended to our having recorded it. The container of a job is killed on its
/// node, and the manager is asked all the time when it got to know; our removal of the service comes later.
fn killed() -> Result<Vec<Row>> {
    let folder = Folder::new("swarm-kill")?;
    let data = folder.path().join("data");
    let spec = format!("image: {}\nsteps:\n  - sleep 100\n", lab::TINY);
    let repository = Repository::create(folder.path(), "kill", &spec)?;
    let server = serve(&data)?;
    repository.add_to(&data, "kill")?;
    let mut client = server.client();
    let revision = repository.commit("kill")?;
    let mut late = Vec::new();
    for _ in 0..KILLS {
        let number = build(&mut client, "kill", &revision)?;
        let begun = Instant::now();
        let (node, container) = loop {
            if let Some(found) = running()? {
                break found;
            }
            if begun.elapsed() > LIMIT {
                bail!("the job did not begin");
            }
            std::thread::sleep(LOOK);
        };
        // Until the first step runs.
        std::thread::sleep(Duration::from_millis(700));
        let mut kill = program("docker", &["kill", &container]);
        kill.env(
            "DOCKER_HOST",
            lab::manager().replace("/n1/", &format!("/{node}/")),
        );
        output(kill)?;
        let known = loop {
            if tasks()?.contains("failed") {
                break now_ms()?;
            }
            if begun.elapsed() > LIMIT {
                bail!("Swarm did not notice that its container was killed");
            }
        };
        let ended = ended(&mut client, "kill", number, true)?;
        let at = ended["finished_ms"].as_u64().context("no end")?;
        late.push(Duration::from_millis(at.saturating_sub(known)));
    }
    let worst = late.iter().max().copied().unwrap_or_default();
    let median = median(&mut late);
    Ok(vec![Row {
        what: format!("Swarm knows that a task has ended, to our record of it, median of {KILLS}"),
        ours: format!("{} (at most {})", milliseconds(median), milliseconds(worst)),
        beside: String::new(),
        ratio: None,
        goal: Goal::AtMost(250.0, " ms"),
        value: median.as_secs_f64() * 1000.0,
    }])
}

fn now_ms() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}

/// All tasks, straight from the manager's API: Docker's client takes longer than what is measured.
fn tasks() -> Result<String> {
    let socket = lab::manager().replace("unix://", "");
    let ask = ["-s", "--unix-socket", &socket, "http://docker/tasks"];
    output(program("curl", &ask))
}

/// The node and the container of the one task that runs.
fn running() -> Result<Option<(String, String)>> {
    let all: Value = serde_json::from_str(&tasks()?)?;
    let all = all.as_array().cloned().unwrap_or_default();
    let Some(task) = all.iter().find(|task| task["Status"]["State"] == "running") else {
        return Ok(None);
    };
    let container = task["Status"]["ContainerStatus"]["ContainerID"].as_str();
    let node = task["NodeID"].as_str().unwrap_or_default();
    let name = output(docker(&[
        "node",
        "inspect",
        "--format",
        "{{.Description.Hostname}}",
        node,
    ]))?;
    Ok(container.map(|id| (name, id.to_owned())))
}
