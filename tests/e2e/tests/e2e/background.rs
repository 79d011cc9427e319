//! Steps in the background, on a real server and in a terminal.

use std::time::Duration;

use crate::lab::{Lab, Server, windlass};

const LINES: usize = 300;

/// A server that talks all the time, and two steps that need it; each notes outside the workspace
/// that it ran.
fn spec(lab: &Lab) -> String {
    let count = lab.path("count");
    let count = count.display();
    format!(
        r#"
steps:
  - name: server
    run: |
      exec 2>/dev/null
      echo server >> {count}
      sleep 0.3
      touch up
      echo listening
      for i in $(seq 1 {LINES}); do echo served $i; sleep 0.004; done
      touch served
      trap 'echo bye; exit 5' TERM
      while :; do sleep 0.02; done
    background: {{ ready: {{ output: listening, timeout: 1m }} }}
  - name: client
    run: |
      ls up
      echo client >> {count}
      for i in $(seq 1 {LINES}); do echo asked $i; sleep 0.003; done
  - name: last
    run: |
      while [ ! -e served ]; do sleep 0.02; done
      echo last >> {count}
      sleep 0.3
"#
    )
}

fn lines(first: &str, word: &str, last: &str) -> String {
    let lines: String = (1..=LINES).map(|i| format!("{word} {i}\n")).collect();
    format!("{first}{lines}{last}")
}

async fn check(lab: &Lab, server: &Server) {
    let build = lab.ended(server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    assert_eq!(build["attempts"].as_array().unwrap().len(), 1);
    let path = |step| format!("/repos/r/builds/1/steps/{step}/log");
    let expected = [
        lines("listening\n", "served", "bye\n"),
        lines("up\n", "asked", ""),
        String::new(),
    ];
    for (step, log) in (1..).zip(&expected) {
        let found = lab.text(server, &path(step)).await;
        assert!(found == *log, "the log of step {step} differs: {found}");
    }
    // Each ran once: killing the server started nothing again.
    assert_eq!(
        std::fs::read_to_string(lab.path("count")).unwrap(),
        "server\nclient\nlast\n"
    );
    lab.wait("the work folder is empty", || lab.work().is_empty());
    assert_eq!(lab.job_processes(), [] as [i32; 0]);
    // After sealing it still reads the same.
    let sealed = lab.text(server, &path(1)).await;
    assert!(sealed == expected[0], "the sealed log differs");
    let page = lab.text(server, "/repos/r/builds/1/steps/1").await;
    for words in [
        "stopped at the end",
        "ready after",
        "it printed `listening`",
    ] {
        assert!(page.contains(words), "{words} is not on the page");
    }
}

#[tokio::test]
async fn killing_the_server_while_a_background_step_runs_changes_nothing() {
    let lab = Lab::new();
    lab.hooked("r", &spec(&lab));
    let mut server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.wait("the background step runs", || lab.path("count").exists());
    // Before it is ready, while both talk, and once more.
    for pause in [100, 400, 300] {
        std::thread::sleep(Duration::from_millis(pause));
        assert!(!lab.job_processes().is_empty(), "the job is over too soon");
        server.kill();
        server = lab.serve(&[]);
    }
    check(&lab, &server).await;
}

#[tokio::test]
async fn killed_between_the_records_of_two_steps() {
    for point in ["before-record:3", "after-record:20"] {
        let lab = Lab::new();
        lab.hooked("r", &spec(&lab));
        let mut server = lab.serve_with(&[], &[("WINDLASS_KILL_AT", point)]);
        lab.push("r", &["HEAD:main"]);
        assert_eq!(server.wait(), None, "nothing was killed at {point}");
        let server = lab.serve(&[]);
        check(&lab, &server).await;
    }
}

#[tokio::test]
async fn one_that_is_never_ready_fails_the_build_and_says_why() {
    let lab = Lab::new();
    lab.hooked(
        "r",
        "steps:\n  - name: server\n    run: sleep 1000\n    background:\n      ready:\n        \
         output: listening\n        timeout: 1s\n  - echo never\n",
    );
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "failed", "{build:#}");
    assert_eq!(
        build["summary"], "step \"server\": not ready: it did not print `listening` within 1 s",
        "{build:#}"
    );
    let page = lab.text(&server, "/repos/r/builds/1/steps/1").await;
    assert!(page.contains("it did not print `listening`"), "{page}");
}

#[test]
fn in_a_terminal_its_lines_have_its_name() {
    let lab = Lab::new();
    lab.repository(
        "r",
        "steps:\n  - name: server\n    run: printf 'up\\nhalf'; sleep 0.3; echo ' a line'; touch go; sleep 1000\n    \
         background: { ready: { output: up } }\n  - name: client\n    run: |\n      \
         while [ ! -e go ]; do sleep 0.02; done; sleep 0.3; echo front\n",
    );
    let mut command = lab.command(windlass());
    let command = command.arg("run").current_dir(lab.path("r"));
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    let lines: Vec<&str> = out.lines().skip(1).collect();
    let expected = [
        "▶ [1/2] server (in the background)",
        "server │ up",
        "▶ [2/2] client",
        "server │ half a line",
        "front",
    ];
    assert_eq!(lines[..5], expected, "{out}");
    assert!(lines[5].starts_with("✓ client"), "{out}");
    assert!(lines[6].starts_with("✓ server"), "{out}");
}
