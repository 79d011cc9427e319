//! What services print is found, copied, dropped here, brought back and erased as what steps print.

use windlass_archive::testing::FakeCluster;

use crate::archive::{age, until_copies};
use crate::containers::daemon;
use crate::lab::Lab;

const SPEC: &str = r#"
image: windlass-test/tiny:1
services:
  db:
    image: windlass-test/tiny:1
    command: [sh, -c, "echo the pelican is ready; exec sleep 1000"]
    ready: { output: is ready }
steps: [echo done]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_printed_is_found_kept_elsewhere_and_erased() {
    let (cluster, lab, host) = (FakeCluster::start().await, Lab::new(), daemon());
    lab.hooked("r", SPEC);
    let url = cluster.url();
    let docker = [
        "--docker",
        &host,
        "--docker-pull",
        "never",
        "--elasticsearch",
        &url,
    ];
    let server = lab.serve(&docker);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}\n{}", server.said());
    until_copies(&lab, &server, "kept", 2).await;
    let search = "/api/v1/search?q=pelican";
    let found = lab
        .until(&server, search, |found| {
            found["lines"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    let lines = found["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 1, "{found:#}");
    assert_eq!(lines[0]["service"], "db", "{found:#}");
    assert_eq!(lines[0]["text"], "the pelican is ready", "{found:#}");
    let page = lines[0]["url"].as_str().unwrap();
    let page = lab.http.get(page).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("the pelican is ready"));
    let scan = lab.run(&["logs", "r", "--search", "elican"]);
    assert_eq!(
        String::from_utf8(scan.stdout).unwrap(),
        "r/1 attempt 1 service db:1: the pelican is ready\n"
    );

    // Old enough, it is in the archive only, which a search tells; and it comes back.
    drop(server);
    age(&lab, 5).await;
    let local = [&docker[..], &["--keep-local-log-days", "3"]].concat();
    let server = lab.serve(&local);
    let json = lab.data().join("logs/a1/10000.json");
    lab.wait("the service's log is not here", || {
        !json.exists() && !lab.data().join("logs/a1/0.json").exists()
    });
    // (The copy is younger than what the archive is asked for: it was written before the build was made older.)
    let found = lab.json(&server, search).await;
    let unsearched = &found["archive"]["not_searched"][0];
    assert_eq!(unsearched["service"], "db", "{found:#}");
    assert!(!json.exists(), "searching brought a log back");
    let all = lab.text(&server, "/repos/r/builds/1/services").await;
    assert!(all.contains("db     | the pelican is ready\n"), "{all}");
    assert!(all.contains("step 1 | done\n"), "{all}");
    assert!(json.exists());

    lab.ok(&["erase", "r/1", "--why", "it showed a key"]);
    until_copies(&lab, &server, "removed", 2).await;
    assert!(cluster.documents().is_empty(), "{:#?}", cluster.documents());
    assert!(!json.exists());
    let found = lab.json(&server, search).await;
    assert_eq!(found["lines"], serde_json::json!([]));
    for path in ["steps/10001", "services"] {
        let path = format!("{}/repos/r/builds/1/{path}", server.url);
        assert_eq!(lab.http.get(path).send().await.unwrap().status(), 410);
    }
}
