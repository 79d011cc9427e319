//! What a server costs that does nothing, and how soon one answers that was started again.

use std::time::Duration;

use anyhow::Result;

use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, median, megabytes, milliseconds};

const STARTS: usize = 10;

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("idle")?;
    let data = folder.path().join("data");
    // Not an empty database: one with a build in it.
    {
        let server = Server::start(&data, 2)?;
        let repository = Repository::create(folder.path(), "noop", "steps:\n  - \"true\"\n")?;
        repository.add_to(&data, "noop")?;
        let mut client = server.client();
        let number = build(&mut client, "noop", &repository.commit("one")?)?;
        wait(&mut client, "noop", number, true)?;
    }
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        let (_server, took) = Server::start_with(&data, 2, None)?;
        starts.push(took);
    }
    let start = median(&mut starts);
    let server = Server::start(&data, 2)?;
    std::thread::sleep(Duration::from_secs(3));
    let idle = server.resident()?;
    Ok(vec![
        Row {
            what: "memory of an idle server (VmRSS)".to_owned(),
            ours: megabytes(idle),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(25.0, " MB"),
            value: idle as f64 / 1e6,
        },
        Row {
            what: format!("start with a database to the first 200, median of {STARTS}"),
            ours: milliseconds(start),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(100.0, " ms"),
            value: start.as_secs_f64() * 1e3,
        },
    ])
}
