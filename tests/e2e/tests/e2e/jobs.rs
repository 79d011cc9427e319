//! A build of many jobs on a real server: order, conditions, retries, outputs, groups, approvals,
//! and that killing the server at any decision changes nothing of it.

use serde_json::{Value, json};

use crate::lab::{Lab, Server};

/// Every job notes outside its workspace that it ran.
fn graph(lab: &Lab) -> String {
    let count = lab.path("count");
    let count = count.display();
    format!(
        r#"
env:
  COUNT: {count}
jobs:
  build:
    outputs: [version]
    steps:
      - echo "build" >> "$COUNT"
      - echo "version=1.2" >> "$WINDLASS_OUTPUT"
  test:
    needs: build
    matrix:
      n: [1.10, 2]
    env:
      VERSION: ${{{{ needs.build.outputs.version }}}}
      NAME: n-${{{{ matrix.n }}}}
    steps:
      - echo "test $VERSION $NAME $MATRIX_N" >> "$COUNT"
  docs:
    when: branch == "docs"
    steps:
      - echo "docs" >> "$COUNT"
  flaky:
    needs: build
    retry: {{ count: 1, backoff: 1s, on: [3] }}
    steps:
      - run: |
          echo "flaky" >> "$COUNT"
          test "$(grep -c flaky "$COUNT")" = 2 || exit 3
  deploy:
    needs: [test, flaky, docs?]
    when: needs.build.outputs.version == "1.2" && event == "push"
    steps:
      - echo "deploy" >> "$COUNT"
"#
    )
    .replace(
        "needs: [test, flaky, docs?]",
        "needs: [build, test, flaky, docs?]",
    )
}

fn job<'a>(build: &'a Value, name: &str) -> &'a Value {
    let jobs = build["jobs"].as_array().unwrap();
    jobs.iter()
        .find(|job| job["name"] == name)
        .unwrap_or_else(|| panic!("no job {name}: {build:#}"))
}

/// Everything ran as often as it should, in an order that the needs allow.
async fn check_graph(lab: &Lab, server: &Server) {
    let build = lab.ended(server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    for (name, state) in [
        ("build", "passed"),
        ("test (1.10)", "passed"),
        ("test (2)", "passed"),
        ("docs", "skipped"),
        ("flaky", "passed"),
        ("deploy", "passed"),
    ] {
        assert_eq!(job(&build, name)["state"], state, "{name}: {build:#}");
    }
    assert_eq!(job(&build, "flaky")["tries"], 2);
    assert_eq!(
        job(&build, "docs")["reason"],
        "`branch == \"docs\"` does not hold: branch is \"main\""
    );
    assert_eq!(job(&build, "build")["outputs"]["version"], "1.2");
    let ran = std::fs::read_to_string(lab.path("count")).unwrap();
    let mut lines: Vec<&str> = ran.lines().collect();
    assert_eq!(lines.first(), Some(&"build"));
    assert_eq!(lines.last(), Some(&"deploy"));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "build",
            "deploy",
            "flaky",
            "flaky",
            "test 1.2 n-1.10 1.10",
            "test 1.2 n-2 2"
        ]
    );
    lab.wait("the work folder is empty", || lab.work().is_empty());
    assert_eq!(lab.job_processes(), [] as [i32; 0]);
}

#[tokio::test]
async fn a_graph_runs_in_order_with_matrix_conditions_retries_and_outputs() {
    let lab = Lab::new();
    lab.hooked("r", &graph(&lab));
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    check_graph(&lab, &server).await;
    let page = lab.text(&server, "/repos/r/builds/1").await;
    for words in ["test (1.10)", "does not hold", "version = ", "Steps of"] {
        assert!(page.contains(words), "{words} is not on the page");
    }
}

async fn killed_at(point: &str) {
    let lab = Lab::new();
    lab.hooked("r", &graph(&lab));
    let mut server = lab.serve_with(&[], &[("WINDLASS_KILL_AT", point)]);
    lab.push("r", &["HEAD:main"]);
    assert_eq!(server.wait(), None, "nothing was killed at {point}");
    let server = lab.serve(&[]);
    check_graph(&lab, &server).await;
}

macro_rules! killed_at {
    ($($name:ident: $point:literal,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                killed_at($point).await;
            }
        )*
    };
}

killed_at! {
    killed_before_the_jobs_are_stored: "before-planned",
    killed_after_the_jobs_are_stored: "after-planned",
    killed_before_the_second_job_is_launched: "before-launched:2",
    killed_after_the_third_job_is_launched: "after-launched:3",
    killed_before_the_first_job_s_end: "before-finish:1",
    killed_after_the_first_job_s_end: "after-finish:1",
    killed_before_the_third_job_s_end: "before-finish:3",
    killed_after_the_fourth_job_s_end: "after-finish:4",
    killed_when_the_third_shim_has_started: "after-start:3",
    killed_before_the_second_job_s_checkout: "before-checkout:2",
}

#[tokio::test]
async fn a_failure_skips_what_needs_it_and_decides_the_build() {
    let lab = Lab::new();
    let spec = "jobs:\n  a:\n    steps: [exit 4]\n  b:\n    needs: a\n    steps: [echo b]\n  \
                tell:\n    needs: b\n    when: {result: failure}\n    steps: [echo tell]\n  \
                nice:\n    allow-failure: true\n    steps: [exit 1]\n";
    lab.hooked("r", spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "failed");
    let a = job(&build, "a");
    assert_eq!(job(&build, "b")["reason"], "needs `a`, which failed");
    assert_eq!(job(&build, "tell")["state"], "passed");
    assert_eq!(job(&build, "nice")["state"], "failed");
    // What the page of the build shows is the attempt that decided.
    assert_eq!(build["attempt"], a["attempt"]);
    assert_eq!(build["failed_step"], 1);
}

#[tokio::test]
async fn a_job_asks_before_it_begins() {
    let lab = Lab::new();
    let spec = "jobs:\n  test:\n    steps: [echo test]\n  deploy:\n    needs: test\n    approve: Deploy now?\n    \
                steps: [echo deployed]\n";
    lab.hooked("r", spec);
    let mut server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let path = "/api/v1/repos/r/builds/1";
    let asks = |build: &Value| build["jobs"][1]["state"] == "approval";
    let build = lab.until(&server, path, asks).await;
    assert_eq!(build["jobs"][1]["reason"], "Deploy now?");
    assert_eq!(build["state"], "running");
    let page = lab.text(&server, "/repos/r/builds/1").await;
    assert!(page.contains("Deploy now?") && page.contains("Log in to answer"));
    let approve = |url: &str, token: &str| {
        lab.http
            .post(format!("{url}{path}/jobs/2/approve"))
            .bearer_auth(token)
            .body(json!({"approve": true}).to_string())
            .send()
    };
    let refused = approve(&server.url, "wrong").await.unwrap();
    assert_eq!(refused.status(), 401);
    // A question survives the server.
    server.kill();
    let server = lab.serve(&[]);
    let agreed = approve(&server.url, &lab.token()).await.unwrap();
    assert!(agreed.status().is_success(), "{}", agreed.status());
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    let again = approve(&server.url, &lab.token()).await.unwrap();
    assert_eq!(again.status(), 409);
}

#[tokio::test]
async fn builds_of_a_group_run_one_at_a_time_or_replace_each_other() {
    let lab = Lab::new();
    let count = lab.path("count");
    let count = count.display().to_string();
    let spec = format!(
        "concurrency: one\nsteps:\n  - run: |\n      echo begin >> {count}\n      sleep 0.7\n      echo end >> {count}\n"
    );
    lab.hooked("r", &spec);
    let server = lab.serve(&["--slots", "4"]);
    for branch in ["a", "b", "c"] {
        lab.commit("r", &spec, branch);
        lab.push("r", &[&format!("HEAD:{branch}")]);
    }
    for number in 1..=3 {
        assert_eq!(lab.ended(&server, "r", number).await["state"], "passed");
    }
    let ran = std::fs::read_to_string(&count).unwrap();
    assert_eq!(ran, "begin\nend\n".repeat(3), "they ran side by side");

    let spec = "concurrency: {group: x, cancel-in-progress: true}\nsteps: [sleep 30]\n";
    lab.commit("r", spec, "long");
    lab.push("r", &["HEAD:d"]);
    let running = |build: &Value| build["attempts"][0]["steps"][0]["state"] == "running";
    lab.until(&server, "/api/v1/repos/r/builds/4", running)
        .await;
    lab.commit("r", &spec.replace("sleep 30", "true"), "short");
    lab.push("r", &["HEAD:e"]);
    assert_eq!(lab.ended(&server, "r", 4).await["state"], "cancelled");
    assert_eq!(lab.ended(&server, "r", 5).await["state"], "passed");
}

#[tokio::test]
async fn cancel_ends_jobs_that_run_and_those_that_wait() {
    let lab = Lab::new();
    let spec = "jobs:\n  a:\n    steps: [sleep 30]\n  b:\n    needs: a\n    when: {result: always}\n    steps: [echo b]\n";
    lab.hooked("r", spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let running = |build: &Value| build["attempts"][0]["steps"][0]["state"] == "running";
    lab.until(&server, "/api/v1/repos/r/builds/1", running)
        .await;
    lab.ok(&["cancel", "r/1"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "cancelled", "{build:#}");
    assert_eq!(job(&build, "b")["state"], "cancelled");
    // A retry is a new run of all jobs.
    lab.ok(&["retry", "r/1"]);
    lab.until(&server, "/api/v1/repos/r/builds/1", |build| {
        build["jobs"][0]["state"] == "running"
    })
    .await;
    lab.ok(&["cancel", "r/1"]);
    assert_eq!(lab.ended(&server, "r", 1).await["state"], "cancelled");
}

#[tokio::test]
async fn changed_paths_skip_ci_and_parameters_decide() {
    let lab = Lab::new();
    let spec = "params:\n  who: {default: nobody}\njobs:\n  code:\n    when: {paths: src/**}\n    steps: [echo code]\n  \
                all:\n    steps:\n      - echo \"hello $PARAM_WHO\"\n";
    lab.hooked("r", spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let first = lab.ended(&server, "r", 1).await;
    assert_eq!(
        job(&first, "code")["state"],
        "passed",
        "a first push changed everything"
    );
    std::fs::write(lab.path("r").join("README"), "x").unwrap();
    let revision = lab.commit("r", spec, "Docs only");
    lab.push("r", &["HEAD:main"]);
    let second = lab.ended(&server, "r", 2).await;
    assert_eq!(job(&second, "code")["state"], "skipped", "{second:#}");
    lab.commit("r", spec, "Nothing [skip ci]");
    lab.push("r", &["HEAD:main"]);
    let third = lab.ended(&server, "r", 3).await;
    assert_eq!(
        (third["state"].as_str(), third["summary"].as_str()),
        (Some("skipped"), Some("the commit message says [skip ci]"))
    );
    let ask = |params: Value| {
        let body = json!({"revision": revision, "git_ref": "refs/heads/main", "params": params});
        lab.http
            .post(format!("{}/api/v1/repos/r/builds", server.url))
            .bearer_auth(lab.token())
            .body(body.to_string())
            .send()
    };
    assert!(
        ask(json!({"who": "Ada"}))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let fourth = lab.ended(&server, "r", 4).await;
    assert_eq!(fourth["trigger"]["event"], "api");
    let attempt = &job(&fourth, "all")["attempt"];
    let log = lab
        .text(
            &server,
            &format!("/repos/r/builds/4/steps/1/log?attempt={attempt}"),
        )
        .await;
    assert_eq!(log, "hello Ada\n");
    assert!(
        ask(json!({"whom": "Ada"}))
            .await
            .unwrap()
            .status()
            .is_success()
    );
    let fifth = lab.ended(&server, "r", 5).await;
    assert_eq!(fifth["state"], "error");
    assert_eq!(
        fifth["summary"],
        "there is no parameter whom; did you mean who?"
    );
}

#[tokio::test]
async fn what_needs_containers_is_refused_with_advice() {
    let lab = Lab::new();
    lab.hooked("r", "user: ci\nsteps: [cargo test]\n");
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "error");
    let hint = build["attempts"][0]["hint"].as_str().unwrap();
    assert!(hint.contains("take `user` away"), "{hint}");
}
