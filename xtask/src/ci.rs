//! What CI runs: the same here as there, on a machine that has nothing but Debian and Rust.
//!
//! The steps run one after the other and the first that fails ends it. The last line of the output
//! is always the sum of the tests, `N passed, N failed`; a step that is no test and fails counts as
//! one failed, so that the line never says that all is well when it is not.
//!
//! Clippy needs every dependency checked, the tests need them compiled and the release needs them
//! optimised: three times each is the least. To keep it at that, every call names the whole
//! workspace with all targets and features; another selection would have other features in
//! dependencies, and compile them again.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::command::{cargo, program, run, run_looking};
use crate::{databases, lab, machine, root, target_dir, tidy};

const ALL: &[&str] = &["--workspace", "--all-features", "--locked"];

/// How many tests went how.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tests {
    passed: u64,
    failed: u64,
}

type Step = fn(&mut Tests) -> Result<()>;

const STEPS: &[(&str, Step)] = &[
    ("set-up", |_| machine::prepare()),
    ("format", |_| run(cargo(&["fmt", "--all", "--check"]))),
    ("clippy", clippy),
    ("tidy", |_| tidy::run()),
    ("build", |_| build()),
    ("Docker daemon", |_| lab::up()),
    ("tests", all_tests),
    ("PostgreSQL 18", newer_database),
    ("doc tests", doc_tests),
    ("documentation", documentation),
    ("release build", |_| {
        let both = ["-p", "windlass", "-p", "windlass-spec"];
        let what = ["--bins", "--example", "fuzz_inputs"];
        let args = ["build", "--release", "--locked"]
            .iter()
            .chain(&both)
            .chain(&what);
        run(cargo(&args.copied().collect::<Vec<_>>()))
    }),
    ("100,000 changed specs", |_| {
        let example = target_dir().join("release/examples/fuzz_inputs");
        run(program(&example.to_string_lossy(), &["100000"]))
    }),
    ("release smoke test", |_| smoke_test()),
];

/// `cargo xtask ci`
pub(crate) fn ci() -> ExitCode {
    let (mut tests, mut times, mut ended) = (Tests::default(), Vec::new(), Ok(()));
    for (number, (name, step)) in STEPS.iter().enumerate() {
        println!("\n=== {}/{} {name}", number + 1, STEPS.len());
        let begun = Instant::now();
        let done = step(&mut tests);
        times.push((*name, begun.elapsed()));
        println!("=== {name}: {}", seconds(begun.elapsed()));
        if let Err(error) = done {
            ended = Err(error.context(format!("CI stopped at step {}, {name}", number + 1)));
            break;
        }
    }
    if let Err(error) = lab::down() {
        println!("xtask: the tests' Docker daemon is not cleaned up: {error:#}");
    }
    println!();
    for (name, time) in &times {
        println!("{name:<20} {:>9}", seconds(*time));
    }
    let total = times.iter().map(|(_, time)| *time).sum();
    println!("{:<20} {:>9}\n", "total", seconds(total));
    if let Err(error) = &ended {
        // On standard output, so that it can't come after the last line.
        println!("xtask: {error:#}");
        tests.failed = tests.failed.max(1);
    }
    println!("{} passed, {} failed", tests.passed, tests.failed);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `cargo xtask test`: what a developer runs. `args` go to nextest: a filter, `-p CRATE`.
pub(crate) fn test(args: &[String]) -> Result<()> {
    machine::prepare()?;
    build()?;
    lab::up()?;
    let mut nextest = cargo(&["nextest", "run"]);
    nextest.args(ALL).args(args);
    run(nextest)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn clippy(_: &mut Tests) -> Result<()> {
    let mut clippy = cargo(&["clippy", "--all-targets"]);
    clippy.args(ALL).args(["--", "-D", "warnings"]);
    run(clippy)
}

/// The programs and the tests, as nextest would build them, and what only `build` makes: the
/// program `windlass` that the tests in tests/e2e start.
fn build() -> Result<()> {
    let mut build = cargo(&["build", "--all-targets"]);
    build.args(ALL);
    run(build)
}

fn all_tests(tests: &mut Tests) -> Result<()> {
    counted(tests, |nextest| {
        nextest.args(ALL);
        Ok(())
    })
}

/// Migrations once more, on the PostgreSQL that most people have.
fn newer_database(tests: &mut Tests) -> Result<()> {
    counted(tests, |nextest| {
        databases::tests_with(nextest, databases::IN_CI)
    })
}

fn counted(
    tests: &mut Tests,
    choose: impl FnOnce(&mut std::process::Command) -> Result<()>,
) -> Result<()> {
    // nextest keeps it here, wherever cargo builds.
    let report = root().join("target/nextest/ci/junit.xml");
    // A report of an earlier run must not be taken for this one's.
    if report.exists() {
        std::fs::remove_file(&report).context("could not remove the last report")?;
    }
    let mut nextest = cargo(&["nextest", "run", "--profile", "ci"]);
    choose(&mut nextest)?;
    nextest.env("INSTA_UPDATE", "no");
    let ended = run(nextest);
    let found = junit(&report)?;
    if let Some(counted) = found {
        tests.passed += counted.passed;
        tests.failed += counted.failed;
    }
    ended?;
    if found.is_none_or(|counted| counted.passed == 0) {
        bail!("nextest left no report of any test in {}", report.display());
    }
    Ok(())
}

/// What the report says, if nextest came as far as writing one.
fn junit(report: &Path) -> Result<Option<Tests>> {
    if !report.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(report).context("could not read nextest's report")?;
    junit_counts(&text)
        .map(Some)
        .with_context(|| format!("{} is not a report as nextest writes it", report.display()))
}

/// The counts in `<testsuites ... tests="3" failures="1" errors="0">`.
fn junit_counts(xml: &str) -> Option<Tests> {
    let (_, head) = xml.split_once("<testsuites ")?;
    let (head, _) = head.split_once('>')?;
    let count = |name: &str| -> Option<u64> {
        let (_, rest) = head.split_once(&format!(" {name}=\""))?;
        rest.split_once('"')?.0.parse().ok()
    };
    let failed = count("failures")? + count("errors")?;
    let passed = count("tests")?.checked_sub(failed)?;
    Some(Tests { passed, failed })
}

fn doc_tests(tests: &mut Tests) -> Result<()> {
    let mut command = cargo(&["test", "--doc", "--no-fail-fast"]);
    command.args(ALL);
    let ended_well = run_looking(command, |line| {
        if let Some(counted) = doc_counts(line) {
            tests.passed += counted.passed;
            tests.failed += counted.failed;
        }
    })?;
    if !ended_well {
        bail!("`cargo test --doc` failed");
    }
    Ok(())
}

/// The counts in `test result: ok. 2 passed; 0 failed; 0 ignored; ...`.
fn doc_counts(line: &str) -> Option<Tests> {
    let counts = line.strip_prefix("test result: ")?;
    let count = |word: &str| -> Option<u64> {
        let before = counts.split_once(word)?.0;
        before.rsplit([' ', ';', '.']).next()?.parse().ok()
    };
    Some(Tests {
        passed: count(" passed")?,
        failed: count(" failed")?,
    })
}

fn documentation(_: &mut Tests) -> Result<()> {
    let mut doc = cargo(&["doc", "--no-deps"]);
    doc.args(ALL).env("RUSTDOCFLAGS", "-Dwarnings");
    run(doc)
}

/// That the program which people get starts, and accepts what we tell them to write.
fn smoke_test() -> Result<()> {
    let windlass = target_dir().join("release/windlass");
    let windlass = windlass.to_string_lossy();
    run(program(&windlass, &["--version"]))?;
    let mut specs = Vec::new();
    let examples = root().join("examples");
    for example in std::fs::read_dir(&examples).context("could not list examples/")? {
        for file in std::fs::read_dir(example?.path())? {
            let file = file?.path();
            if file.file_stem().is_some_and(|stem| stem == "windlass") {
                specs.push(file);
            }
        }
    }
    specs.sort();
    if specs.is_empty() {
        bail!("there is no example in {}", examples.display());
    }
    for spec in specs {
        run(program(&windlass, &["check", &spec.to_string_lossy()]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nextests_report_is_counted() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x" time="1.5">
    <testsuite name="a" tests="5" disabled="0" errors="0" failures="0"/>"#;
        let expected = Tests {
            passed: 9,
            failed: 3,
        };
        assert_eq!(junit_counts(xml), Some(expected));
        assert_eq!(junit_counts("<testsuite tests=\"1\"/>"), None);
    }

    #[test]
    fn doc_tests_are_counted() {
        let line = "test result: FAILED. 21 passed; 3 failed; 1 ignored; 0 measured; 0 filtered";
        let expected = Tests {
            passed: 21,
            failed: 3,
        };
        assert_eq!(doc_counts(line), Some(expected));
        assert_eq!(doc_counts("running 3 tests"), None);
    }
}
