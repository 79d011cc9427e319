//! Artifacts and test reports: what a build made is shown and handed out, and never run.

use axum::http::StatusCode;
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;
use windlass_store::ForgeKind;

use crate::ask::get;
use crate::fixture::{Fixture, push};

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let mut job = fixture.job(&["test"]).await;
    job.start(0).await;
    job.out(0, "one\nFAIL <b>bad\n").await;
    job.end(0, StepResult::Exited { code: 1 }, 5).await;
    job.finish(BuildState::Failed, "step \"test\": exit code 1", Some(0))
        .await;
    let files = [
        ("page.html", "<script>alert(1)</script>"),
        ("ö \"x\".bin", "\0\u{1}"),
    ];
    fixture.artifact(1, 1, "the site", &files).await;
    fixture
}

const SITE: &str = "/repos/demo/builds/1/artifacts/1/the%20site";

#[tokio::test]
async fn files_come_as_attachments_and_nothing_of_them_is_run() {
    let fixture = filled().await;
    let page = get(&fixture.state, SITE).await;
    assert_eq!(page.status, StatusCode::OK);
    let link = format!("{SITE}/files/%C3%B6%20%22x%22.bin");
    assert!(page.body.contains(&link), "{}", page.body);
    assert!(
        page.body
            .contains(&format!("curl -fOJ http://ci.test:8080{SITE}/archive"))
    );
    let file = get(&fixture.state, &format!("{SITE}/files/page.html")).await;
    assert_eq!(file.body, "<script>alert(1)</script>");
    assert_eq!(file.header("content-type"), "application/octet-stream");
    assert_eq!(
        file.header("content-disposition"),
        "attachment; filename*=UTF-8''page.html"
    );
    assert_eq!(file.header("content-length"), "25");
    let other = get(&fixture.state, &link).await;
    assert_eq!(other.body, "\0\u{1}");
    let archive = get(&fixture.state, &format!("{SITE}/archive")).await;
    assert!(
        archive
            .header("content-disposition")
            .ends_with("demo-1-the%20site.tar.gz")
    );
    assert!(archive.body.contains("alert(1)"));
}

#[tokio::test]
async fn what_is_no_artifact_is_not_found() {
    let fixture = filled().await;
    for path in [
        "/repos/demo/builds/1/artifacts/1/other",
        "/repos/demo/builds/1/artifacts/2/the%20site",
        "/repos/demo/builds/1/artifacts/0/the%20site",
        "/repos/demo/builds/1/artifacts/1/..%2fthe%20site",
        "/repos/demo/builds/1/artifacts/1/the%20site/files/none",
        "/repos/demo/builds/9/artifacts/1/the%20site/archive",
    ] {
        let answer = get(&fixture.state, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let artifact = fixture.state.store.artifacts(1).await.unwrap().remove(0);
    fixture
        .state
        .store
        .artifact_removed(artifact.id)
        .await
        .unwrap();
    let gone = get(&fixture.state, SITE).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert!(gone.body.contains("retention"));
    let build = get(&fixture.state, "/repos/demo/builds/1").await.body;
    assert!(build.contains("its retention was over"), "{build}");
}

#[tokio::test]
async fn the_api_lists_them() {
    let fixture = filled().await;
    let answer = get(&fixture.state, "/api/v1/repos/demo/builds/1/artifacts").await;
    let json = answer.json();
    assert_eq!(json["artifacts"][0]["name"], "the site");
    assert_eq!(json["artifacts"][0]["files"], 2);
    let url = json["artifacts"][0]["archive"].as_str().unwrap();
    assert_eq!(url, format!("http://ci.test:8080{SITE}/archive"));
}

#[tokio::test]
async fn failed_tests_come_first_with_their_output_and_a_link_into_the_log() {
    let fixture = filled().await;
    let page = get(&fixture.state, "/repos/demo/builds/1").await.body;
    assert!(page.contains("1 of 2 failed"), "{page}");
    let bad = page
        .find("&#60;b&#62;bad")
        .expect("the failed test, escaped");
    assert!(bad < page.find("good").unwrap());
    assert!(page.contains("expected &#60;1&#62;") && page.contains("what it said"));
    assert!(page.contains("tests/a.py:7"));
    let link = "/repos/demo/builds/1/steps/1?attempt=1&#38;from=1#L2";
    assert!(page.contains(link), "{page}");
    assert!(page.contains("the site") && page.contains(".tar.gz"));
}
