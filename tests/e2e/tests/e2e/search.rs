//! Searching the output of all builds on a real server, and output that is not kept, or not all.

use serde_json::Value;

use crate::lab::{Lab, Server};

async fn lines(lab: &Lab, server: &Server, words: &str) -> Vec<(i64, String)> {
    let found = lab.json(server, &format!("/api/v1/search?q={words}")).await;
    let line = |l: &Value| {
        (
            l["build"].as_i64().unwrap(),
            l["text"].as_str().unwrap().to_owned(),
        )
    };
    found["lines"]
        .as_array()
        .map(|all| all.iter().map(line).collect())
        .unwrap_or_default()
}

/// The index follows the builds in a moment.
async fn until(lab: &Lab, server: &Server, words: &str, builds: &[i64]) {
    lab.until(server, &format!("/api/v1/search?q={words}"), |found| {
        let found = found["lines"].as_array().cloned().unwrap_or_default();
        found
            .iter()
            .map(|l| l["build"].as_i64().unwrap())
            .eq(builds.iter().copied())
    })
    .await;
}

async fn build(lab: &Lab, server: &Server, number: i64) {
    let spec =
        format!("steps:\n  - seq 1 3000 && echo \"needle in build{number}\" && seq 1 3000\n");
    lab.commit("r", &spec, &format!("Build {number}"));
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(server, "r", number).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    // Its log is sealed, too.
    let path = format!("/api/v1/repos/r/builds/{number}");
    lab.until(server, &path, |build| {
        build["attempts"][0]["phase"] == "done"
    })
    .await;
}

#[tokio::test]
async fn what_was_printed_is_found_also_with_an_index_made_anew() {
    let lab = Lab::new();
    lab.hooked("r", "steps: [\"true\"]\n");
    let mut server = lab.serve(&[]);
    for number in 1..=3 {
        build(&lab, &server, number).await;
    }
    until(&lab, &server, "needle", &[3, 2, 1]).await;
    assert_eq!(
        lines(&lab, &server, "build2").await,
        [(2, "needle in build2".to_owned())]
    );
    // Killed and without its index, the server makes it again.
    server.kill();
    for file in ["search.db", "search.db-wal", "search.db-shm"] {
        std::fs::remove_file(lab.data().join(file)).ok();
    }
    let mut server = lab.serve(&[]);
    until(&lab, &server, "needle", &[3, 2, 1]).await;
    // A damaged one does not keep it from starting.
    server.kill();
    std::fs::write(lab.data().join("search.db"), vec![b'x'; 100_000]).unwrap();
    let server = lab.serve(&[]);
    until(&lab, &server, "needle", &[3, 2, 1]).await;

    let said = lab.ok(&["erase", "r/2", "--why", "it showed a key"]);
    assert!(said.contains("1 attempt"), "{said}");
    assert_eq!(lines(&lab, &server, "needle").await.len(), 2);
    let log = format!("{}/repos/r/builds/2/steps/1/log", server.url);
    let gone = lab.http.get(log).send().await.unwrap();
    assert_eq!(gone.status(), 410);
    assert!(gone.text().await.unwrap().contains("it showed a key"));
    let json = lab.json(&server, "/api/v1/repos/r/builds/2").await;
    let attempt = json["attempts"][0]["id"].as_str().unwrap();
    assert!(!lab.data().join("logs").join(attempt).exists());
    // A build that fails quotes its output in more places than its log.
    let spec = "steps:\n  - run: |\n      cat key; exit 1\n";
    std::fs::write(lab.path("r").join("key"), "error: the key is swordfish-7\n").unwrap();
    lab.commit("r", spec, "Build 4");
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 4).await.to_string();
    assert!(build.contains("swordfish-7"), "{build}");
    lab.until(&server, "/api/v1/repos/r/builds/4", |b| {
        b["attempts"][0]["phase"] == "done"
    })
    .await;
    lab.ok(&["erase", "r/4", "--why", "it showed a key"]);
    let page = lab.text(&server, "/repos/r/builds/4").await;
    let list = lab.text(&server, "/").await;
    let json = lab
        .json(&server, "/api/v1/repos/r/builds/4")
        .await
        .to_string();
    for text in [page, list, json] {
        assert!(!text.contains("swordfish-7"), "{text}");
    }
    let again = lab.ok(&["erase", "r/2", "--why", "again"]);
    assert!(again.contains("already"), "{again}");
    let unknown = lab.run(&["erase", "r/9", "--why", "x"]);
    assert!(!unknown.status.success(), "{unknown:?}");
}

#[tokio::test]
async fn logs_are_kept_as_long_as_the_server_and_the_repository_say() {
    let lab = Lab::new();
    lab.hooked("r", "steps: [\"true\"]\n");
    let mut server = lab.serve(&["--no-search"]);
    for number in 1..=3 {
        build(&lab, &server, number).await;
    }
    let kept = || std::fs::read_dir(lab.data().join("logs")).unwrap().count();
    assert_eq!(kept(), 3);
    server.kill();
    // The repository wants more than the server gives by itself.
    lab.ok(&["repo", "set", "r", "--keep-log-builds", "2"]);
    let mut server = lab.serve(&["--keep-log-builds", "1", "--no-search"]);
    lab.wait("the first build's logs go", || kept() == 2);
    server.kill();
    lab.ok(&["repo", "set", "r", "--keep-logs-as-server"]);
    let server = lab.serve(&["--keep-log-builds", "1", "--no-search"]);
    lab.wait("the second build's logs go", || kept() == 1);
    let text = lab.text(&server, "/repos/r/builds/3/steps/1/log").await;
    assert!(text.contains("needle in build3"));
    let log = format!("{}/repos/r/builds/1/steps/1/log", server.url);
    let gone = lab
        .http
        .get(log)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(gone.contains("newest 2 builds"), "{gone}");
}

#[tokio::test]
async fn too_much_output_keeps_its_head_and_tail_and_the_build_passes() {
    let lab = Lab::new();
    // 12 MB, of which 1 MiB is kept.
    lab.hooked(
        "r",
        "steps:\n  - yes 'all is well' | head -n 999999; echo the very last line\n",
    );
    let server = lab.serve(&["--log-limit", "1"]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    let log = lab.bytes(&server, "/repos/r/builds/1/steps/1/log").await;
    assert!(
        log.len() <= 1 << 20 && log.len() > 1_000_000,
        "{}",
        log.len()
    );
    assert!(log.starts_with(b"all is well\n") && log.ends_with(b"the very last line\n"));
    let page = lab.text(&server, "/repos/r/builds/1/steps/1").await;
    // The page shows the end; what is left out before is told there, too.
    assert!(page.contains("bytes of output were not kept"), "{page}");
    let middle = lab
        .text(&server, "/repos/r/builds/1/steps/1?from=65500")
        .await;
    assert!(middle.contains("were left out here"), "{middle}");
}
