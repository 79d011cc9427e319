//! What went wrong, first: on the build's page, in the API, against runs that passed, and the scan
//! through all logs.

use axum::http::StatusCode;
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;
use windlass_store::{ForgeKind, Repo};

use crate::ask::{Answer, get};
use crate::fixture::{Fixture, push};
use crate::html;

const NOISE: &str = "error: the cache is cold, which is fine\n";
const EVIL: &str = "<script>alert(1)</script>";

async fn run(fixture: &Fixture, repo: &Repo, branch: &str, log: &str, code: i32) {
    fixture
        .queue(repo, push(branch, &format!("{log}{branch}")))
        .await;
    let mut job = fixture.job(&["test", "deploy"]).await;
    job.start(0).await;
    job.out(0, log).await;
    job.end(0, StepResult::Exited { code }, 1).await;
    job.end(1, StepResult::Skipped, 0).await;
    let folder = fixture
        .state
        .logs_root
        .join(job.claim.attempt.attempt_id().as_str());
    let (state, failed) = match code {
        0 => (BuildState::Passed, None),
        _ => (BuildState::Failed, Some(0)),
    };
    job.finish(state, "", failed).await;
    if code == 0 {
        // As the worker does.
        windlass_logs::findings::learn(&folder, 0).unwrap();
    }
}

fn failing() -> String {
    format!(
        "{NOISE}compiling 7 files in 0.{}s\n\x1b[1;31mmain.c:3:9: error: \x1b[0mwhat is {EVIL}?\n\
         \t3 | {EVIL}\nmake: *** [Makefile:2: all] Error 1\n",
        7
    )
}

async fn two_builds() -> Fixture {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    let passing = format!("{NOISE}compiling 6 files in 1.25s\ndone\n");
    run(&fixture, &demo, "main", &passing, 0).await;
    run(&fixture, &demo, "main", &failing(), 2).await;
    fixture
}

async fn findings(fixture: &Fixture, build: i64) -> Answer {
    let path = format!("/api/v1/repos/demo/builds/{build}/steps/1/findings?attempt=1");
    get(&fixture.state, &path).await
}

#[tokio::test]
async fn the_build_s_page_shows_the_first_failure_as_words() {
    let fixture = two_builds().await;
    let page = get(&fixture.state, "/repos/demo/builds/2").await;
    html::check(&page.body);
    assert!(
        page.body.contains("What went wrong, first"),
        "{}",
        page.body
    );
    assert!(page.body.contains("<code>main.c:3:9</code>"));
    assert!(page.body.contains("what is &#60;script&#62;alert(1)"));
    assert!(!page.body.contains(EVIL));
    assert!(
        page.body.contains("/steps/1?attempt=1&#38;from=1#L3"),
        "{}",
        page.body
    );
    assert!(page.body.contains("new: build 1 did not print it"));
    assert!(
        page.body.contains("3 lines are new since build 1"),
        "{}",
        page.body
    );
    assert!(page.body.contains("make: *** [Makefile:2: all] Error 1"));
    let page = get(&fixture.state, "/repos/demo/builds/1").await;
    assert!(!page.body.contains("What went wrong"));
}

#[tokio::test]
async fn what_a_passing_run_printed_too_is_not_the_reason() {
    let fixture = two_builds().await;
    let answer = findings(&fixture, 2).await.json();
    let first = answer["first"].as_u64().unwrap() as usize;
    let found = answer["findings"].as_array().unwrap();
    assert_eq!(found[first]["line"], 3);
    assert_eq!(found[first]["new"], true);
    assert_eq!(found[0]["line"], 1);
    assert_eq!(found[0]["new"], false);
    assert_eq!(answer["novelty"]["ranges"], serde_json::json!([[3, 5]]));
    let link = "http://ci.test:8080/repos/demo/builds/2/steps/1?attempt=1&from=1#L3";
    assert_eq!(answer["first_url"], link);

    // The file beside the log can go at any time.
    let logs = fixture.state.logs_root.join("a2");
    std::fs::remove_file(logs.join("0.findings.json")).unwrap();
    assert_eq!(findings(&fixture, 2).await.json(), answer);
    std::fs::write(logs.join("0.findings.json"), "{}").unwrap();
    assert_eq!(findings(&fixture, 2).await.json(), answer);

    let new = "/api/v1/repos/demo/builds/2/steps/1/new?attempt=1";
    let rows = get(&fixture.state, new).await;
    assert_eq!(rows.header("content-type"), "application/x-ndjson");
    let rows: Vec<serde_json::Value> = rows
        .body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["line"], 3);
    assert_eq!(
        rows[0]["text"],
        format!("main.c:3:9: error: what is {EVIL}?")
    );
}

#[tokio::test]
async fn pull_requests_of_strangers_teach_nothing_to_other_branches() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    let mut trigger = push("main", "from a fork");
    trigger.git_ref = "refs/pull/7/head".to_owned();
    trigger.event = windlass_model::Event::PullRequest {
        number: 7,
        title: "t".to_owned(),
        base: "main".to_owned(),
        head: "x".to_owned(),
        from_fork: true,
    };
    fixture.queue(&demo, trigger).await;
    let mut job = fixture.job(&["test", "deploy"]).await;
    job.start(0).await;
    job.out(0, failing()).await;
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    job.finish(BuildState::Passed, "", None).await;
    windlass_logs::findings::learn(&fixture.state.logs_root.join("a1"), 0).unwrap();
    run(&fixture, &demo, "main", &failing(), 2).await;
    let answer = findings(&fixture, 2).await.json();
    assert!(answer["novelty"].is_null(), "{answer:#}");
    let new = "/api/v1/repos/demo/builds/2/steps/1/new";
    let nothing = get(&fixture.state, new).await;
    assert_eq!(nothing.status, StatusCode::CONFLICT);
    assert!(
        nothing.body.contains("nothing to compare"),
        "{}",
        nothing.body
    );
}

#[tokio::test]
async fn a_step_that_runs_has_no_findings_yet() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let mut job = fixture.job(&["test"]).await;
    job.start(0).await;
    job.out(0, "error: x\n").await;
    let answer = findings(&fixture, 1).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(!fixture.state.logs_root.join("a1/0.findings.json").exists());
    let none = get(
        &fixture.state,
        "/api/v1/repos/demo/builds/1/steps/9/findings",
    )
    .await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_scan_finds_lines_the_newest_build_first() {
    let fixture = two_builds().await;
    let scan = |query: &'static str| {
        let path = format!("/api/v1/repos/demo/scan?{query}");
        let state = fixture.state.clone();
        async move {
            let answer = get(&state, &path).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
            let lines = answer
                .body
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            lines.collect::<Vec<serde_json::Value>>()
        }
    };
    let lines = scan("text=compiling").await;
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(
        (&lines[0]["build"], &lines[1]["build"]),
        (&2.into(), &1.into())
    );
    assert_eq!(
        (&lines[0]["line"], &lines[0]["name"]),
        (&2.into(), &"test".into())
    );
    assert_eq!(
        (&lines[2]["done"], &lines[2]["logs"], &lines[2]["more"]),
        (&true.into(), &2.into(), &false.into())
    );
    assert_eq!(scan("text=COMPILING").await.len(), 1);
    assert_eq!(scan("text=COMPILING&ignore_case=1").await.len(), 3);
    // A text, not an expression.
    assert_eq!(scan("text=.%2A").await.len(), 1);
    assert_eq!(scan("text=%3Cscript%3E").await.len(), 3);
    let one = scan("text=compiling&limit=1").await;
    assert_eq!((one.len(), &one[1]["more"]), (2, &true.into()));
    let empty = get(&fixture.state, "/api/v1/repos/demo/scan?text=").await;
    assert_eq!(empty.status, StatusCode::BAD_REQUEST);
    let other = get(&fixture.state, "/api/v1/repos/other/scan?text=x").await;
    assert_eq!(other.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn runs_of_the_own_branch_come_first() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    for branch in ["topic", "main", "main", "main"] {
        run(&fixture, &demo, branch, "fine\n", 0).await;
    }
    run(&fixture, &demo, "topic", "error: no\n", 1).await;
    let answer = findings(&fixture, 5).await.json();
    let against = serde_json::json!(["build 1", "build 4", "build 3"]);
    assert_eq!(answer["novelty"]["against"], against);
    // A run whose lines are gone is left out.
    std::fs::remove_file(fixture.state.logs_root.join("a1/0.lines")).unwrap();
    std::fs::remove_file(fixture.state.logs_root.join("a5/0.findings.json")).unwrap();
    let answer = findings(&fixture, 5).await.json();
    let against = serde_json::json!(["build 4", "build 3"]);
    assert_eq!(answer["novelty"]["against"], against);
}
