//! Containers that can't reach the server, while its managers can: files go out as configs, output and
//! results come home in Docker's log.

use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};

use crate::lab::{Lab, Server};
use crate::swarm::{attempts, cancel, running_on};
use crate::swarm_lab::Place;

/// A container tries for a minute before it gives up, and a test machine may be slow.
const LONG: Duration = Duration::from_secs(150);

const WORK: &str = r#"
image: windlass-test/tiny:1
secrets: [TOKEN]
artifacts: [{ paths: ["out/**"], when: always }]
steps:
  - mkdir out && head -c 300000 /dev/urandom > out/random && sha256sum < out/random
  - test ${#TOKEN} = 15 && echo "token $TOKEN" && cat README
  - seq 1 200000; sleep 5; exit 3
"#;

const BUILD: &str = "/api/v1/repos/r/builds/1";

fn log(step: u32) -> String {
    format!("/repos/r/builds/1/steps/{step}/log")
}

async fn until_said(lab: &Lab, server: &Server, path: &str, words: &str) {
    let deadline = Instant::now() + LONG;
    loop {
        // It may not be there yet.
        let asked = lab.http.get(format!("{}{path}", server.url)).send().await;
        let text = asked.unwrap().text().await.unwrap();
        if text.contains(words) {
            return;
        }
        let end = &text[text.floor_char_boundary(text.len().saturating_sub(2000))..];
        let said = server.said();
        assert!(Instant::now() < deadline, "no {words:?}: {end}\n{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_container_that_never_reaches_the_server_gets_and_leaves_everything() {
    let place = Place::new();
    let lab = &place.lab;
    lab.hooked("r", WORK);
    let file = lab.path("secret");
    std::fs::write(&file, "hunter2-hunter2").unwrap();
    let from = ["--from-file", file.to_str().unwrap()];
    lab.ok(&[&["secret", "set", "r", "TOKEN"], &from[..]].concat());
    std::fs::write(lab.path("r").join("README"), "read me\n").unwrap();
    lab.commit("r", WORK, "With a file");
    let _shut = place.shut();
    let mut server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    until_said(lab, &server, BUILD, "go through the managers now").await;
    until_said(lab, &server, &log(1), "  -").await;
    // A restart is a non-event on this way, too.
    server.kill();
    server = place.serve(&[]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "failed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build).len(), 1, "{build:#}");
    assert!(build.to_string().contains("exit code 3"), "{build:#}");
    let wanted: String = (1..=200_000).map(|n| format!("{n}\n")).collect();
    assert!(lab.text(&server, &log(3)).await == wanted);
    let text = lab.text(&server, &log(2)).await;
    assert!(
        text.contains("read me") && !text.contains("hunter2"),
        "{text}"
    );
    let sum = lab.text(&server, &log(1)).await;
    let job = &build["jobs"][0];
    let (name, attempt) = (job["name"].as_str().unwrap(), &job["attempt"]);
    let path = format!("/repos/r/builds/1/artifacts/{attempt}/{name}/files/out/random");
    let artifact = lab.bytes(&server, &path).await;
    let digest = hex::encode(Sha256::digest(&artifact));
    assert!(sum.contains(&digest), "{sum} {digest} {path}");

    // It is known now: the next job does not try for long. And it can be cancelled.
    let slow = "image: windlass-test/tiny:1\nsteps:\n  - echo marker-7; sleep 1000\n";
    lab.commit("r", slow, "Slow");
    lab.push("r", &["HEAD:main"]);
    let path = "/repos/r/builds/2/steps/1/log";
    until_said(lab, &server, path, "marker-7\n").await;
    cancel(lab, &server, 2).await;
    let build = lab.ended(&server, "r", 2).await;
    assert_eq!(build["state"], "cancelled", "{build:#}\n{}", server.said());
    place.nothing_is_left();
}

#[tokio::test]
async fn a_container_that_loses_the_server_goes_on_through_the_managers() {
    let place = Place::new();
    let lab = &place.lab;
    let spec = "image: windlass-test/tiny:1\nsteps:\n  - seq 1 1000; sleep 4; \
                for i in $(seq 1 600); do echo late $i; sleep 0.1; done\n";
    lab.hooked("r", spec);
    let server = place.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    running_on(lab, &server, 1).await;
    until_said(lab, &server, &log(1), "1000\n").await;
    let shut = place.shut();
    // It is live: what is printed after the cut is here before the end.
    until_said(lab, &server, &log(1), "late 50\n").await;
    let build = lab.json(&server, BUILD).await;
    assert_eq!(build["state"], "running", "{build:#}");
    assert!(
        server.said().contains("through the managers"),
        "{}",
        server.said()
    );
    // The first way takes over again.
    drop(shut);
    until_said(lab, &server, &log(1), "late 600\n").await;
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    assert_eq!(attempts(&build).len(), 1, "{build:#}");
    let mut wanted: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    wanted.extend((1..=600).map(|n| format!("late {n}\n")));
    assert_eq!(lab.text(&server, &log(1)).await, wanted);
    place.nothing_is_left();
}
