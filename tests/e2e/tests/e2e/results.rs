//! What jobs leave behind, on a real server and on a laptop: artifacts go to the next job and to
//! people, caches come back, reports are understood, and killing the server changes nothing.

use std::io::Read as _;

use serde_json::Value;

use crate::lab::{Lab, Server};

const SPEC: &str = r#"
jobs:
  build:
    artifacts:
      - out/**
      - { name: "bin linux", paths: app, retention: 30d }
    steps:
      - mkdir -p out/sub && echo one > out/a && echo two > "out/sub/ü b" && ln -s /etc/passwd out/link
      - printf '#!/bin/sh\necho app runs\n' > app && chmod +x app
  test:
    needs: [{ job: build, artifacts: true }]
    cache: { key: deps, hash: windlass.yml, paths: deps }
    reports: { junit: report.xml }
    steps:
      - test "$(./app)" = "app runs" && test "$(cat "out/sub/ü b")" = two && test ! -e out/link
      - run: |
          if [ -e deps/x ]; then echo "cache: hit"; else echo "cache: miss"; mkdir deps && echo x > deps/x; fi
      - run: |
          echo "FAILED pkg.test_bad"
          cat > report.xml <<'X'
          <testsuite name="s" tests="2"><testcase classname="pkg" name="test_good" time="0.5"/>
          <testcase classname="pkg" name="test_bad" time="0.1" file="t.py" line="9"><failure message="1 is not 2">trace of it</failure></testcase></testsuite>
          X
"#;

/// The files of an archive: path, contents.
fn unpack(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (path, text)
    });
    let mut all: Vec<_> = entries.filter(|(path, _)| !path.ends_with('/')).collect();
    all.sort();
    all
}

async fn check(lab: &Lab, server: &Server, number: i64) -> Value {
    let build = lab.ended(server, "r", number).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    let list = lab
        .json(
            server,
            &format!("/api/v1/repos/r/builds/{number}/artifacts"),
        )
        .await;
    let artifacts = list["artifacts"].as_array().unwrap();
    let names: Vec<&str> = artifacts
        .iter()
        .map(|a| a["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["build", "bin linux"], "{list:#}");
    assert!(artifacts[0]["expires_ms"].is_null() && artifacts[1]["expires_ms"].is_i64());
    let attempt = &artifacts[0]["attempt"];
    let path = format!("/repos/r/builds/{number}/artifacts/{attempt}");
    let archive = lab.bytes(server, &format!("{path}/build/archive")).await;
    let expected = [("out/a", "one\n"), ("out/sub/ü b", "two\n")];
    let expected = expected.map(|(p, t)| (p.to_owned(), t.to_owned()));
    assert_eq!(unpack(&archive), expected);
    let file = lab
        .text(server, &format!("{path}/build/files/out/sub/%C3%BC%20b"))
        .await;
    assert_eq!(file, "two\n");
    let page = lab.text(server, &format!("{path}/bin%20linux")).await;
    assert!(page.contains("/bin%20linux/files/app"), "{page}");
    let page = lab.text(server, &format!("/repos/r/builds/{number}")).await;
    for words in [
        "1 of 2 failed",
        "1 is not 2",
        "trace of it",
        "t.py:9",
        "in the log",
    ] {
        assert!(page.contains(words), "{words} is not on the page:\n{page}");
    }
    build
}

#[tokio::test]
async fn artifacts_caches_and_reports() {
    let lab = Lab::new();
    lab.hooked("r", SPEC);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = check(&lab, &server, 1).await;
    let log = |number: i64, build: &Value| {
        let attempt = build["jobs"][1]["attempt"].as_i64().unwrap();
        format!("/repos/r/builds/{number}/steps/2/log?attempt={attempt}")
    };
    let first = lab.text(&server, &log(1, &build)).await;
    assert_eq!(first, "cache: miss\n");
    lab.commit("r", SPEC, "again");
    lab.push("r", &["HEAD:main"]);
    let build = check(&lab, &server, 2).await;
    assert_eq!(lab.text(&server, &log(2, &build)).await, "cache: hit\n");
    // What was left out is said.
    let page = lab.text(&server, "/repos/r/builds/2?attempt=1").await;
    assert!(page.contains("out/link"), "{page}");
}

async fn killed_at(point: &str) {
    let lab = Lab::new();
    lab.hooked("r", SPEC);
    let mut server = lab.serve_with(&[], &[("WINDLASS_KILL_AT", point)]);
    lab.push("r", &["HEAD:main"]);
    assert_eq!(server.wait(), None, "nothing was killed at {point}");
    let server = lab.serve(&[]);
    check(&lab, &server, 1).await;
}

#[tokio::test]
async fn killed_when_the_first_job_s_artifacts_are_kept() {
    killed_at("after-take-out:1").await;
}

#[tokio::test]
async fn killed_when_artifacts_are_put_into_the_second_job() {
    killed_at("after-put-in:2").await;
}

#[tokio::test]
async fn killed_between_the_results_and_the_end() {
    killed_at("before-keep-results:2").await;
}

#[tokio::test]
async fn a_promised_artifact_that_is_missing_fails_the_job_and_says_what_is_near() {
    let lab = Lab::new();
    lab.hooked(
        "r",
        "artifacts: target/app\nsteps: [mkdir target && touch target/application]\n",
    );
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "failed");
    let summary = build["summary"].as_str().unwrap();
    assert!(summary.contains("no file matches"), "{build:#}");
    let page = lab.text(&server, "/repos/r/builds/1").await;
    assert!(page.contains("required: false"), "{page}");
    // A limit is told with the biggest files.
    drop(server);
    let server = lab.serve(&["--artifact-limit", "1"]);
    lab.commit(
        "r",
        "artifacts: big\nsteps: [head -c 2000000 /dev/zero > big]\n",
        "big",
    );
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 2).await;
    assert_eq!(build["state"], "failed");
    let page = lab.text(&server, "/repos/r/builds/2").await;
    assert!(
        page.contains("the limit is 1 MiB") && page.contains("1.9 MiB"),
        "{page}"
    );
}

#[tokio::test]
async fn the_laptop_does_the_same() {
    let lab = Lab::new();
    lab.repository("r", SPEC);
    let repository = lab.path("r");
    let into = lab.path("kept");
    let run = || {
        let (dir, into) = (repository.to_str().unwrap(), into.to_str().unwrap());
        lab.ok(&["run", "--dir", dir, "--artifacts", into])
    };
    let said = run();
    assert!(said.contains("cache: miss"), "{said}");
    assert!(said.contains("failed: pkg test_bad  t.py:9"), "{said}");
    assert_eq!(
        std::fs::read_to_string(into.join("build/build/out/sub/ü b")).unwrap(),
        "two\n"
    );
    assert!(into.join("build/bin linux/app").exists());
    assert!(run().contains("cache: hit"));
}
