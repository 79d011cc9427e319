//! Real logs of real tools: is the line that a person would point at the one that is found?
//!
//! Each folder of `tests/corpus` holds a `log` and, in `expected.toml`, what a person saw in it
//! before the code did. `record.sh` there records the logs anew. The folders `held-*` were recorded
//! and judged after the matchers had been written: of these 30 first failures the first version
//! found 23, and then it learnt.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use windlass_logs::findings::{Finder, Findings, Severity};

/// What was reached; less is a step back.
const RECALL_FIRST: f64 = 0.985;
const RECALL: f64 = 0.987;
const PRECISION: f64 = 1.0;

#[derive(Deserialize)]
struct Expected {
    /// Where the log says what went wrong first; none for a log of a passing run.
    first: Option<u64>,
    /// Every row with an error of its own.
    errors: Vec<u64>,
    /// Rows that repeat, sum up or follow from an error.
    may: Vec<u64>,
}

fn found(log: &[u8], failed: bool) -> Findings {
    let mut finder = Finder::default();
    for piece in log.chunks(777) {
        finder.push(piece);
    }
    finder.finish(failed)
}

#[test]
fn the_first_failure_is_the_one_that_a_person_points_at() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut logs, mut firsts, mut right_firsts) = (0, 0, 0);
    let (mut wanted, mut seen, mut told, mut justified) = (0, 0, 0, 0);
    let mut folders: Vec<_> = fs::read_dir(&corpus)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let log = fs::read(folder.join("log")).unwrap();
        let text = fs::read_to_string(folder.join("expected.toml")).unwrap();
        let expected: Expected = toml::from_str(&text).unwrap();
        let found = found(&log, expected.first.is_some());
        logs += 1;
        let first = found.first().map(|finding| finding.line);
        if let Some(line) = expected.first {
            firsts += 1;
            right_firsts += u32::from(first == Some(line));
            if first != Some(line) {
                println!("{name}: the first failure is in line {line}, found: {first:?}");
            }
        }
        let errors = || {
            let all = found.findings.iter();
            all.filter(|finding| finding.severity == Severity::Error)
        };
        for line in &expected.errors {
            wanted += 1;
            if errors().any(|finding| finding.line == *line) {
                seen += 1;
            } else {
                println!("{name}: the error in line {line} was not found");
            }
        }
        for finding in errors() {
            told += 1;
            if expected.errors.contains(&finding.line) || expected.may.contains(&finding.line) {
                justified += 1;
            } else {
                println!("{name}: line {} is no error: {finding:?}", finding.line);
            }
        }
    }
    assert!(logs > 40, "only {logs} logs are there");
    let share = |part: u32, of: u32| f64::from(part) / f64::from(of);
    let (first, recall) = (share(right_firsts, firsts), share(seen, wanted));
    let precision = share(justified, told);
    println!(
        "{logs} logs: first failure right in {right_firsts} of {firsts} ({first:.3}); errors: \
         recall {seen} of {wanted} ({recall:.3}), precision {justified} of {told} ({precision:.3})"
    );
    assert!(first >= RECALL_FIRST && recall >= RECALL && precision >= PRECISION);
}
