//! Searching the output of all builds, and output that was removed.

use axum::http::StatusCode;
use windlass_logs::{LogReader, words};
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;
use windlass_store::ForgeKind;
use windlass_store::search::NewBlock;

use crate::ask::get;
use crate::fixture::{Fixture, push};

/// A build of the repository whose only step printed this, in the index. Its attempt's row.
async fn built(fixture: &Fixture, repo: &str, message: &str, text: &str) -> i64 {
    let name = repo.parse().unwrap();
    let known = match fixture.state.store.repo_by_name(&name).await {
        Ok(known) => known,
        Err(_) => fixture.repo(repo, ForgeKind::Git, None).await,
    };
    fixture.queue(&known, push("main", message)).await;
    let mut job = fixture.job(&["test"]).await;
    job.start(0).await;
    job.out(0, text).await;
    job.end(0, StepResult::Exited { code: 1 }, 1).await;
    job.finish(BuildState::Failed, "", Some(0)).await;
    let (attempt, of) = fixture.state.store.attempts_over(0).await.unwrap()[0];
    assert_eq!(of, known.id);
    let folder = fixture.state.logs_root.join(format!("a{attempt}"));
    let mut reader = LogReader::open(&folder, 0).unwrap();
    let mut blocks = Vec::new();
    words::blocks(&mut reader, |block| {
        blocks.push(NewBlock {
            step: 0,
            first_row: block.first_row as i64,
            rows: block.rows as i64,
            words: block.words,
        });
        Ok::<(), windlass_logs::LogError>(())
    })
    .unwrap();
    let index = fixture.state.index.as_ref().unwrap();
    index.put(attempt, of, &blocks).await.unwrap();
    attempt
}

fn numbered(count: u32) -> String {
    (1..=count)
        .map(|n| format!("line {n} all is well\n"))
        .collect()
}

#[tokio::test]
async fn lines_of_all_builds_are_found_the_newest_first() {
    let fixture = Fixture::new().await;
    let state = &fixture.state;
    let text = format!(
        "{}connection \x1b[31mREFUSED\x1b[0m by 10.0.0.1:5432 <b>&\n{}",
        numbered(300),
        numbered(300)
    );
    built(&fixture, "demo", "one", &text).await;
    built(
        &fixture,
        "other",
        "two",
        "connection refused\nconnection lost\n",
    )
    .await;
    built(
        &fixture,
        "demo",
        "three",
        "refused connection\nconnections refused\n",
    )
    .await;

    let json = get(state, "/api/v1/search?q=refused+connection")
        .await
        .json();
    let lines = json["lines"].as_array().unwrap();
    let places: Vec<_> = lines
        .iter()
        .map(|l| {
            (
                l["repo"].as_str().unwrap(),
                l["build"].as_i64().unwrap(),
                l["line"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(places, [("demo", 2, 1), ("other", 1, 1), ("demo", 1, 301)]);
    assert!(
        lines[2]["url"].as_str().unwrap().ends_with("#L301"),
        "{json:#}"
    );
    assert_eq!(json["next_before"], serde_json::Value::Null);
    let json = get(state, "/api/v1/search?q=refused&repo=other")
        .await
        .json();
    assert_eq!(json["lines"].as_array().unwrap().len(), 1, "{json:#}");
    // Page by page, every line comes once.
    let first = get(state, "/api/v1/search?q=refused&limit=2").await.json();
    let next = first["next_before"].as_i64().unwrap();
    let rest = get(state, &format!("/api/v1/search?q=refused&before={next}"))
        .await
        .json();
    let count = |json: &serde_json::Value| json["lines"].as_array().unwrap().len();
    assert_eq!((count(&first), count(&rest)), (2, 2));

    let page = get(state, "/search?q=%22refused+by%22+5432").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        page.body.contains(
            "connection <mark>REFUSED by</mark> 10.0.0.1:<mark>5432</mark> &#60;b&#62;&#38;"
        ),
        "{}",
        page.body
    );
    assert!(page.body.contains("1 line of 1 build"), "{}", page.body);
    // The link leads to the line.
    let link = page
        .body
        .split("href=\"")
        .find(|part| part.contains("#L301"))
        .unwrap();
    let link = link.split('#').next().unwrap().replace("&#38;", "&");
    let log = get(state, &link).await;
    assert!(log.body.contains("id=\"L301\""), "{link}");
}

#[tokio::test]
async fn what_is_asked_wrongly_is_answered_where_it_is_asked() {
    let mut fixture = Fixture::new().await;
    let page = get(&fixture.state, "/search?q=a+%3Cscript%3E*").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(!page.body.contains("<script>"), "{}", page.body);
    let page = get(&fixture.state, "/search?q=ab*").await;
    assert!(
        page.body.contains("three letters") && page.body.contains("value=\"ab*\""),
        "{}",
        page.body
    );
    assert_eq!(get(&fixture.state, "/search").await.status, StatusCode::OK);
    let wrong = get(&fixture.state, "/api/v1/search?q=ab*").await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    let unknown = get(&fixture.state, "/api/v1/search?q=abc&repo=nobody").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    fixture.state.index = None;
    for path in ["/search", "/search?q=abc", "/api/v1/search?q=abc"] {
        let none = get(&fixture.state, path).await;
        assert_eq!(none.status, StatusCode::NOT_FOUND, "{path}");
        assert!(none.body.contains("--no-search"), "{}", none.body);
    }
}

#[tokio::test]
async fn removed_output_is_found_nowhere_and_says_why() {
    let fixture = Fixture::new().await;
    let state = &fixture.state;
    let attempt = built(&fixture, "demo", "one", "the password is swordfish\n").await;
    let gone = [(attempt, "it <showed> a password".to_owned())];
    state.store.bury_logs(&gone).await.unwrap();
    // Even while file and index still have it.
    let json = get(state, "/api/v1/search?q=swordfish").await.json();
    assert_eq!(json["lines"].as_array().unwrap().len(), 0, "{json:#}");
    for path in ["", "/log", "/stream"] {
        let path = format!("/repos/demo/builds/1/steps/1{path}");
        let answer = get(state, &path).await;
        assert_eq!(answer.status, StatusCode::GONE, "{path}: {}", answer.body);
        assert!(answer.body.contains("a password") && !answer.body.contains("swordfish"));
    }
    let build = get(state, "/repos/demo/builds/1").await;
    assert!(
        build.body.contains("it &#60;showed&#62; a password"),
        "{}",
        build.body
    );
    let json = get(state, "/api/v1/repos/demo/builds/1").await.json();
    assert_eq!(
        json["attempts"][0]["logs_removed"]["why"],
        "it <showed> a password"
    );
}
