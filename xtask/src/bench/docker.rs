//! Jobs in containers beside the same container run by hand with Docker's own client: one that does
//! nothing, and one that prints a million lines.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::lines::long_lines;
use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, median, megabytes, milliseconds};
use crate::command::output;
use crate::lab;

const ROUNDS: usize = 15;
const LONG_ROUNDS: usize = 3;

/// Jobs that run at the same time, and how long it may take to start them.
const AT_ONCE: usize = 200;
const MANY_LIMIT: Duration = Duration::from_secs(600);

pub(super) fn run() -> Result<Vec<Row>> {
    lab::up()?;
    let mut rows = nothing()?;
    rows.extend(million()?);
    rows.push(many()?);
    Ok(rows)
}

/// A shell script with Docker's client.
fn by_hand(script: &str) -> Result<Duration> {
    let mut command = crate::command::program("sh", &["-ec", script]);
    command.env("DOCKER_HOST", lab::host());
    let begun = Instant::now();
    output(command)?;
    Ok(begun.elapsed())
}

fn nothing() -> Result<Vec<Row>> {
    let folder = Folder::new("docker")?;
    let data = folder.path().join("data");
    let spec = format!("image: {}\nsteps:\n  - \"true\"\n", lab::TINY);
    let repository = Repository::create(folder.path(), "docker", &spec)?;
    let server = Server::start_with(&data, 2, Some(&lab::host()))?.0;
    repository.add_to(&data, "docker")?;
    let mut client = server.client();
    let revision = repository.commit("docker")?;
    let script = format!(
        "c=$(docker create {} true); docker start $c; docker wait $c; docker logs $c; docker rm $c",
        lab::TINY
    );
    let (mut ours, mut beside) = (Vec::new(), Vec::new());
    // The first round makes the mirror and warms both up; it does not count.
    for round in 0..=ROUNDS {
        let hand = by_hand(&script)?;
        let number = build(&mut client, "docker", &revision)?;
        let took = whole(&wait(&mut client, "docker", number, true)?)?;
        if round > 0 {
            ours.push(took);
            beside.push(hand);
        }
    }
    let (ours, beside) = (median(&mut ours), median(&mut beside));
    let ratio = ours.as_secs_f64() / beside.as_secs_f64();
    Ok(vec![Row {
        what: format!("no-op job in a container, begin to recorded success, median of {ROUNDS}"),
        ours: milliseconds(ours),
        beside: format!(
            "{} docker create, start, wait, logs, rm",
            milliseconds(beside)
        ),
        ratio: Some(ratio),
        goal: Goal::AtMost(1.3, "x"),
        value: ratio,
    }])
}

fn million() -> Result<Vec<Row>> {
    let folder = Folder::new("docker-lines")?;
    let data = folder.path().join("data");
    let command = long_lines();
    let spec = format!(
        "image: {}\nsteps:\n  - run: |\n      {command}\n",
        lab::TINY
    );
    let repository = Repository::create(folder.path(), "lines", &spec)?;
    let server = Server::start_with(&data, 2, Some(&lab::host()))?.0;
    repository.add_to(&data, "lines")?;
    let mut client = server.client();
    let revision = repository.commit("lines")?;
    std::thread::sleep(Duration::from_secs(1));
    let before = server.resident()?;
    let script = folder.path().join("print.sh");
    std::fs::write(&script, &command)?;
    let (mut ours, mut beside, mut peak) = (Vec::new(), Vec::new(), before);
    for _ in 0..LONG_ROUNDS {
        let run = format!(
            "docker rm -f hand >/dev/null 2>&1 || true
             docker create --name hand {} sh /print.sh >/dev/null
             docker cp -q {} hand:/print.sh
             docker start hand >/dev/null; docker wait hand >/dev/null",
            lab::TINY,
            script.display()
        );
        let ran = by_hand(&run)?;
        let read = by_hand("docker logs hand >/dev/null; docker rm hand >/dev/null")?;
        beside.push(ran + read);
        let number = build(&mut client, "lines", &revision)?;
        ours.push(whole(&wait(&mut client, "lines", number, true)?)?);
        peak = peak.max(server.resident()?);
    }
    let (ours, beside) = (median(&mut ours), median(&mut beside));
    let ratio = ours.as_secs_f64() / beside.as_secs_f64();
    let grown = peak.saturating_sub(before);
    Ok(vec![
        Row {
            what: format!(
                "1,000,000 lines of 100 bytes in a container, whole build, median of {LONG_ROUNDS}"
            ),
            ours: milliseconds(ours),
            beside: format!("{} docker start, wait, logs", milliseconds(beside)),
            ratio: Some(ratio),
            goal: Goal::AtMost(1.5, "x"),
            value: ratio,
        },
        Row {
            what: "the same, growth of the server's memory, after each build".to_owned(),
            ours: format!("{} (from {})", megabytes(grown), megabytes(before)),
            beside: String::new(),
            ratio: None,
            goal: Goal::None,
            value: grown as f64 / 1e6,
        },
    ])
}

/// The memory of a server whose jobs all run at once.
fn many() -> Result<Row> {
    let folder = Folder::new("docker-many")?;
    let data = folder.path().join("data");
    let numbers: Vec<String> = (1..=AT_ONCE).map(|n| n.to_string()).collect();
    let spec = format!(
        "image: {}\nnetwork: none\njobs:\n  j:\n    matrix: {{ n: [{}] }}\n    steps:\n      \
         - while sleep 1; do echo tick; done\n",
        lab::TINY,
        numbers.join(", ")
    );
    let repository = Repository::create(folder.path(), "many", &spec)?;
    let server = Server::start_with(&data, AT_ONCE, Some(&lab::host()))?.0;
    repository.add_to(&data, "many")?;
    let mut client = server.client();
    let revision = repository.commit("many")?;
    std::thread::sleep(Duration::from_secs(1));
    let before = server.resident()?;
    let number = build(&mut client, "many", &revision)?;
    let path = format!("/api/v1/repos/many/builds/{number}");
    let begun = Instant::now();
    loop {
        let build: Value = serde_json::from_slice(&client.get(&path)?)?;
        let attempts = build["attempts"].as_array().cloned().unwrap_or_default();
        let running = |a: &&Value| !a["steps"][0]["started_us"].is_null();
        if attempts.iter().filter(running).count() == AT_ONCE {
            break;
        }
        anyhow::ensure!(begun.elapsed() < MANY_LIMIT, "not all jobs run: {build}");
        std::thread::sleep(Duration::from_secs(1));
    }
    // All of them print while it is measured.
    std::thread::sleep(Duration::from_secs(5));
    let grown = server.resident()?.saturating_sub(before);
    client.post(&format!("{path}/cancel"), &[], b"")?;
    super::server::ended(&mut client, "many", number, true)?;
    let each = grown as f64 / AT_ONCE as f64 / 1e6;
    Ok(Row {
        what: format!("{AT_ONCE} containers at once that print: the server's memory per job"),
        ours: format!(
            "{each:.2} MB ({} from {})",
            megabytes(grown),
            megabytes(before)
        ),
        beside: String::new(),
        ratio: None,
        goal: Goal::AtMost(0.5, " MB"),
        value: each,
    })
}

/// From the build's begin to its recorded end.
pub(super) fn whole(build: &Value) -> Result<Duration> {
    let at = |key: &str| {
        build[key]
            .as_u64()
            .with_context(|| format!("{key} is missing in {build}"))
    };
    anyhow::ensure!(build["state"] == "passed", "the build failed: {build}");
    let took = at("finished_ms")?.saturating_sub(at("started_ms")?);
    Ok(Duration::from_millis(took))
}
