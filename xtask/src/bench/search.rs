//! A word in the output of many builds: how long the index takes to find it, and how large it is.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::server::{Folder, Repository, Server, build, wait};
use super::{Goal, Row, median, milliseconds};
use crate::command::{output, program};

const BUILDS: usize = 10;
const LINES: u64 = 1_000_000;
const READS: usize = 20;
/// Lines as builds have them: words that come again and again, and numbers and hashes that never do.
const SCRIPT: &str = "awk -v seed=$WINDLASS_BUILD 'BEGIN { srand(seed); \
    n = split(\"Compiling Checking Finished Running warning error note unused variable function module test ok FAILED passed \
    thread panicked at src lib rs main expected found type mismatched cannot borrow mutable reference lifetime\", w, \" \"); \
    for (i = 1; i <= 1000000; i++) { \
      printf \"[%02d:%02d:%02d] %s %s v%d.%d.%d %s %08x %s\\n\", i / 3600 % 24, i / 60 % 60, i % 60, w[int(rand() * n) + 1], \
        w[int(rand() * n) + 1], rand() * 9, rand() * 99, rand() * 99, w[int(rand() * n) + 1], rand() * 2147483647, \
        w[int(rand() * n) + 1] } \
    print \"needle\" seed }'";

pub(super) fn run() -> Result<Vec<Row>> {
    let folder = Folder::new("search")?;
    let data = folder.path().join("data");
    let spec = format!("steps:\n  - run: |\n      {SCRIPT}\n");
    let repository = Repository::create(folder.path(), "words", &spec)?;
    let server = Server::start(&data, 2)?;
    repository.add_to(&data, "words")?;
    let mut client = server.client();
    let begun = Instant::now();
    for _ in 0..BUILDS {
        let number = build(&mut client, "words", &repository.commit("words")?)?;
        wait(&mut client, "words", number, true)?;
    }
    let built = begun.elapsed();
    // The last build's last line: then all is in the index.
    let last = format!("/api/v1/search?q=needle{BUILDS}");
    while !String::from_utf8_lossy(&client.get(&last)?).contains("needle") {
        ensure!(
            begun.elapsed() < Duration::from_secs(1800),
            "the index is not made"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    let indexed = begun.elapsed();
    let size = |what: &str| -> Result<f64> {
        let path = data.join(what);
        let text = output(program("du", &["-sb", &path.to_string_lossy()]))?;
        Ok(text
            .split_whitespace()
            .next()
            .unwrap_or("0")
            .parse::<f64>()?
            / 1e6)
    };
    let (index, logs) = (size("search.db")?, size("logs")?);
    let lines = BUILDS as u64 * LINES / 1_000_000;
    let mut rows = vec![Row {
        what: format!(
            "{lines} million lines of {BUILDS} builds in the index of words: its size, beside the sealed logs"
        ),
        ours: format!("{index:.0} MB"),
        beside: format!("{logs:.0} MB of logs"),
        ratio: Some(index / logs),
        goal: Goal::None,
        value: index,
    }];
    rows.push(Row {
        what: "the same, made beside the builds: until the last line is found".to_owned(),
        ours: format!("{:.0} s", indexed.as_secs_f64()),
        beside: format!("{:.0} s until the last build ended", built.as_secs_f64()),
        ratio: Some(indexed.as_secs_f64() / built.as_secs_f64()),
        goal: Goal::None,
        value: indexed.as_secs_f64(),
    });
    for (what, query) in [
        ("a word that one line has", "needle7"),
        (
            "a word that every tenth line has, 100 lines of it",
            "panicked",
        ),
        (
            "three words on one line, 100 lines",
            "mismatched+lifetime+test",
        ),
        ("a word that no line has", "nowhere"),
    ] {
        let mut times = Vec::new();
        for _ in 0..READS {
            let begun = Instant::now();
            client.get(&format!("/api/v1/search?q={query}"))?;
            times.push(begun.elapsed());
        }
        let time = median(&mut times);
        rows.push(Row {
            what: format!("{what}, median of {READS}"),
            ours: milliseconds(time),
            beside: String::new(),
            ratio: None,
            goal: Goal::AtMost(100.0, " ms"),
            value: time.as_secs_f64() * 1e3,
        });
    }
    Ok(rows)
}
