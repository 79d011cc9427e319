//! What makes builds: `on`, schedules whose time comes, people who choose.

use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

use crate::lab::{Lab, Server};

async fn post(lab: &Lab, server: &Server, path: &str, body: &Value) -> (u16, Value) {
    let answer = reqwest::Client::new()
        .post(format!("{}{path}", server.url))
        .bearer_auth(lab.token())
        .json(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or(Value::Null))
}

/// Makes the clock of all schedules strike.
async fn strike(lab: &Lab) {
    let options = SqliteConnectOptions::new().filename(lab.data().join("windlass.db"));
    let mut database = options.connect().await.unwrap();
    let moved = sqlx::query("update schedules set next_ms = 1000")
        .execute(&mut database)
        .await
        .unwrap();
    assert!(moved.rows_affected() > 0, "there is no schedule");
}

#[tokio::test]
async fn what_on_does_not_name_is_a_skipped_build() {
    let lab = Lab::new();
    lab.hooked("r", "on: {push: {branches: main}}\nsteps: [echo ran]\n");
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:topic"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "skipped");
    assert_eq!(
        build["summary"],
        "`on`: `branches: main` does not hold: branch is \"topic\""
    );
    lab.push("r", &["HEAD:main"]);
    assert_eq!(lab.ended(&server, "r", 2).await["state"], "passed");
}

const NIGHTLY: &str = "on:\n  push:\n  schedule:\n    - {name: nightly, cron: '0 3 * * *', timezone: \
                       Europe/Berlin}\n    - {name: lts, cron: '@weekly', branch: lts}\njobs:\n  always:\n    \
                       steps: [echo \"$WINDLASS_EVENT $WINDLASS_BRANCH\"]\n  at-night:\n    when: schedule == \
                       \"nightly\"\n    steps: [echo night]\n";

#[tokio::test]
async fn a_schedule_builds_its_branch_once_also_when_the_server_is_killed() {
    let lab = Lab::new();
    lab.hooked("r", NIGHTLY);
    let bare = lab.path("r.git");
    lab.git(&bare, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let mut server = lab.serve(&[]);
    // A schedule counts on its own branch only.
    lab.push("r", &["HEAD:topic"]);
    lab.ended(&server, "r", 1).await;
    let page = lab.text(&server, "/repos/r").await;
    assert!(!page.contains("nightly"), "{page}");
    lab.commit("r", NIGHTLY, "second");
    lab.push("r", &["HEAD:main"]);
    lab.ended(&server, "r", 2).await;
    let page = lab.text(&server, "/repos/r").await;
    assert!(page.contains("nightly") && page.contains("Europe/Berlin"));
    assert!(!page.contains("lts"), "its branch has no such spec");

    // Its time comes while nobody is there, and the server is killed when it has made the build.
    server.kill();
    strike(&lab).await;
    let head = lab.commit("r", NIGHTLY, "third");
    lab.push("r", &["HEAD:refs/heads/main"]);
    let mut server = lab.serve_with(&[], &[("WINDLASS_KILL_AT", "before-schedule-moved")]);
    assert_eq!(server.wait(), None, "nothing was killed");
    let server = lab.serve(&[]);
    let done = lab
        .until(&server, "/api/v1/builds?repo=r", |list| {
            let builds = list["builds"].as_array().unwrap();
            builds.len() >= 4 && builds.iter().all(|b| b["state"] == "passed")
        })
        .await;
    let builds = done["builds"].as_array().unwrap();
    let nightly: Vec<&Value> = builds
        .iter()
        .filter(|b| b["trigger"]["event"] == "schedule")
        .collect();
    assert_eq!(nightly.len(), 1, "{done:#}");
    assert_eq!(nightly[0]["trigger"]["revision"], head);
    let number = nightly[0]["number"].as_i64().unwrap();
    let build = lab
        .json(&server, &format!("/api/v1/repos/r/builds/{number}"))
        .await;
    assert_eq!(build["jobs"][1]["state"], "passed", "{build:#}");
    let log = lab
        .text(
            &server,
            &format!("/repos/r/builds/{number}/steps/1/log?attempt=1"),
        )
        .await;
    assert_eq!(log, "schedule main\n");
}

#[tokio::test]
async fn people_and_programs_choose() {
    let lab = Lab::new();
    let spec = "params:\n  target: {type: choice, options: [staging, production]}\n  n: {type: number, default: \
                3}\nsteps: [echo \"$PARAM_TARGET $PARAM_N $WINDLASS_EVENT\"]\n";
    lab.hooked("r", spec);
    let bare = lab.path("r.git");
    lab.git(&bare, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main", "HEAD:refs/tags/v1"]);
    lab.ended(&server, "r", 1).await;
    let builds = "/api/v1/repos/r/builds";
    let wish = json!({"revision": "main", "params": {"target": "production", "n": "7"}});
    let (status, made) = post(&lab, &server, builds, &wish).await;
    assert_eq!(status, 202, "{made:#}");
    let number = made["number"].as_i64().unwrap();
    assert_eq!(lab.ended(&server, "r", number).await["state"], "passed");
    let log = format!("/repos/r/builds/{number}/steps/1/log");
    assert_eq!(lab.text(&server, &log).await, "production 7 api\n");
    // The default branch, a tag, and what there is not.
    for (wish, status) in [
        (json!({}), 202),
        (json!({"revision": "v1"}), 202),
        (json!({"revision": "nothing"}), 422),
        (json!({"revision": "-x"}), 422),
    ] {
        let (got, answer) = post(&lab, &server, builds, &wish).await;
        assert_eq!(got, status, "{wish}: {answer:#}");
    }
    // What does not fit is told by the build.
    let (_, made) = post(&lab, &server, builds, &json!({"params": {"n": "x"}})).await;
    let number = made["number"].as_i64().unwrap();
    let build = lab.ended(&server, "r", number).await;
    assert_eq!(build["state"], "error");
    assert!(
        build["summary"]
            .as_str()
            .unwrap()
            .contains("a whole number")
    );
    let page = lab.text(&server, "/repos/r").await;
    assert!(page.contains("Log in to build"), "{page}");
}
