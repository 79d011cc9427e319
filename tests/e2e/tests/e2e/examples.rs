//! The examples are what people copy: each that this machine has the tools for is run.

use std::path::{Path, PathBuf};

use crate::lab::{Lab, windlass};

/// Name, how it is run, and what it must say.
const RUN: &[(&str, &[&str], &[&str])] = &[
    (
        "c-cmake",
        &[],
        &[
            "100% tests passed",
            "junit: 2 tests, 0 failed",
            "artifact \"hello-Release\": 1 file",
        ],
    ),
    (
        "docs-site",
        &["--branch", "topic"],
        &[
            "made begin.md",
            "artifact \"site\": 2 files",
            "`branch == \"main\"",
        ],
    ),
    ("make", &[], &["made", "checked"]),
    (
        "monorepo",
        &["--branch", "main", "--changed", "api/x.c"],
        &["api is good", "all is good", "`paths: web/**, shared/**"],
    ),
    ("nightly", &["--schedule", "nightly"], &["good", "round 3"]),
    (
        "nightly",
        &["--branch", "topic"],
        &["good", "does not hold"],
    ),
    ("python", &[], &["Ran 2 tests", "lines"]),
    (
        "release",
        &["--tag", "v1.2.3", "--job", "test"],
        &["app.tar.gz: OK", "app runs"],
    ),
    (
        "rust",
        &["--pass-env", "RUSTUP_HOME"],
        &["test tests::initials"],
    ),
    ("toml", &[], &["made", "checked"]),
];

/// Where they are.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The example as a checkout of its own.
pub(crate) fn checkout(lab: &Lab, name: &str) -> PathBuf {
    let dir = lab.path(name);
    copy(&examples().join(name), &dir);
    lab.git(&dir, &["init", "-q"]);
    lab.git(&dir, &["add", "-A"]);
    lab.git(&dir, &["commit", "-q", "-m", "An example"]);
    dir
}

fn run(number: usize) {
    let lab = Lab::new();
    let (name, args, words) = RUN[number];
    let dir = checkout(&lab, name);
    let mut all = vec!["run", "--dir", dir.to_str().unwrap()];
    all.extend(args);
    let mut command = lab.command(windlass());
    command.args(&all);
    // The toolchain of whoever runs these tests; the lab has a home folder of its own.
    let rustup = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    let usual = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".rustup"));
    if let Some(rustup) = rustup.or_else(usual) {
        command.env("RUSTUP_HOME", rustup);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {output:?}");
    for word in words {
        assert!(said.contains(word), "{name} does not say {word:?}:\n{said}");
    }
}

macro_rules! examples {
    ($($test:ident: $number:literal,)*) => {
        $(
            #[test]
            fn $test() {
                run($number);
            }
        )*

        #[test]
        fn all_are_run() {
            let numbers = [$($number),*];
            assert_eq!(numbers.len(), RUN.len());
            assert!(numbers.iter().enumerate().all(|(i, n)| i == *n));
        }
    };
}

examples! {
    c_cmake: 0,
    docs_site: 1,
    make: 2,
    monorepo: 3,
    nightly_at_night: 4,
    nightly_by_day: 5,
    python: 6,
    release: 7,
    rust: 8,
    toml: 9,
}
