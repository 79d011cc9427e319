//! The viewer's questions to a log of ten million lines and a gigabyte: its first screen, any window
//! of it, a search through all of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::http::Client;
use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, median, milliseconds};

const READS: usize = 20;
const ROUNDS: usize = 5;
const LINES: u64 = 10_000_000;
/// Filled up to 96 characters of which 7 become 10: a gigabyte in all, which is just below the limit
/// of a step's log.
const FORMAT: &str =
    "test suite::module_of_some_name::case_%010.0f in a package with a name ... ok ";

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("log")?;
    let data = folder.path().join("data");
    let spec = format!("steps:\n  - run: seq -f '{FORMAT:.<96}' 1 {LINES}\n");
    let repository = Repository::create(folder.path(), "log", &spec)?;
    let server = Server::start(&data, 2)?;
    repository.add_to(&data, "log")?;
    let mut client = server.client();
    let number = build(&mut client, "log", &repository.commit("log")?)?;
    wait(&mut client, "log", number, true)?;
    let before = server.resident()?;

    let page = format!("/repos/log/builds/{number}/steps/1");
    let api = format!("/api/v1{page}/log");
    let first: Value = serde_json::from_slice(&client.get(&format!("{api}/rows?count=1"))?)?;
    let (lines, bytes) = (first["total"].as_u64(), first["bytes"].as_u64());
    ensure!(lines == Some(LINES), "the log has {lines:?} lines");
    let megabytes = bytes.context("no length")? as f64 / 1e6;

    let mut rows = Vec::new();
    let mut screens = Vec::new();
    for _ in 0..READS {
        let begun = Instant::now();
        client.get(&page)?;
        screens.push(begun.elapsed());
    }
    rows.push(row(
        format!("first screen of a log of 10,000,000 lines, {megabytes:.0} MB, median of {READS}"),
        median(&mut screens),
        Goal::AtMost(30.0, " ms"),
    ));
    let mut windows = Vec::new();
    for n in 0..READS as u64 {
        let from = n * 7_919_000_003 % (LINES - 500);
        let begun = Instant::now();
        client.get(&format!("{api}/rows?from={from}&count=500"))?;
        windows.push(begun.elapsed());
    }
    rows.push(row(
        format!("500 rows of it, anywhere, median of {READS}"),
        median(&mut windows),
        Goal::AtMost(10.0, " ms"),
    ));
    for (what, query, hits) in [
        ("a word, once", "q=case_0009999999&case=1", 1),
        (
            "a word, either case",
            "q=CASE_0009999999&literal=1&case=0",
            0,
        ),
        (
            "`case_\\d*77777 .*ok`",
            "q=case_%5Cd*77777%20.*ok&case=1",
            100,
        ),
        (
            "`error|panicked|fatal`",
            "q=error%7Cpanicked%7Cfatal&case=1",
            0,
        ),
    ] {
        rows.extend(search(&mut client, &api, what, query, hits, megabytes)?);
    }

    let begun = Instant::now();
    let (mut from, mut read) = (1, 0);
    while read < 1_000_000 {
        let answer = client.get(&format!("{api}/rows?from={from}&count=2000"))?;
        ensure!(!answer.is_empty(), "no rows");
        from += 2000;
        read += 2000;
    }
    let rate = 1_000_000.0 / begun.elapsed().as_secs_f64();
    rows.push(Row {
        what: "rows rendered and sent, 2,000 at a time".to_owned(),
        ours: format!("{rate:.0} rows/s"),
        beside: String::new(),
        ratio: None,
        goal: Goal::None,
        value: rate,
    });
    let grown = server.resident()?.saturating_sub(before) as f64 / 1e6;
    rows.push(Row {
        what: "growth of the server's memory by all of this".to_owned(),
        ours: format!("{grown:.1} MB"),
        beside: String::new(),
        ratio: None,
        goal: Goal::AtMost(30.0, " MB"),
        value: grown,
    });
    Ok(rows)
}

fn row(what: String, time: Duration, goal: Goal) -> Row {
    Row {
        what,
        ours: milliseconds(time),
        beside: String::new(),
        ratio: None,
        goal,
        value: time.as_secs_f64() * 1e3,
    }
}

/// A search through all of it: until its end, and until its first hit is here.
fn search(
    client: &mut Client,
    api: &str,
    what: &str,
    query: &str,
    hits: u64,
    megabytes: f64,
) -> Result<Vec<Row>> {
    let (mut wholes, mut firsts) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (begun, mut first, mut body) = (Instant::now(), None, Vec::new());
        client.read(&format!("{api}/search?{query}"), |bytes| {
            body.extend_from_slice(bytes);
            if first.is_none() && body.windows(8).any(|w| w == b"{\"line\":") {
                first = Some(begun.elapsed());
            }
        })?;
        wholes.push(begun.elapsed());
        firsts.extend(first);
        let done = body.split(|b| *b == b'\n').rfind(|line| !line.is_empty());
        let done: Value = serde_json::from_slice(done.context("no answer")?)?;
        ensure!(done["hits"] == hits, "{what}: {} hits", done["hits"]);
    }
    let whole = median(&mut wholes);
    let rate = megabytes / whole.as_secs_f64();
    let mut found = vec![row(
        format!("search through all of it: {what} ({rate:.0} MB/s), median of {ROUNDS}"),
        whole,
        Goal::AtMost(1500.0, " ms"),
    )];
    if !firsts.is_empty() && hits > 1 {
        found.push(row(
            "the same, its first hit".to_owned(),
            median(&mut firsts),
            Goal::None,
        ));
    }
    Ok(found)
}
