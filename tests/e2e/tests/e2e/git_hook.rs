//! Plain git repositories: pushes are kept while the server is down.

use crate::lab::Lab;

#[tokio::test]
async fn pushes_while_the_server_is_down_are_built_later() {
    let lab = Lab::new();
    lab.hooked("r", "steps: ['echo $WINDLASS_BRANCH $WINDLASS_TAG']\n");
    let work = lab.path("r");
    lab.push("r", &["HEAD:refs/heads/main", "HEAD:refs/heads/side"]);
    lab.git(&work, &["tag", "-a", "v1", "-m", "one"]);
    lab.push("r", &["v1"]);
    lab.push("r", &[":refs/heads/side"]);
    let server = lab.serve(&[]);
    let mut logs = Vec::new();
    for number in 1..=3 {
        let build = lab.ended(&server, "r", number).await;
        assert_eq!(build["state"], "passed", "{build:#}");
        assert_eq!(build["trigger"]["message"], "First");
        assert_eq!(build["trigger"]["author"], "Ada");
        let log = format!("/repos/r/builds/{number}/steps/1/log");
        logs.push(lab.text(&server, &log).await.trim().to_owned());
    }
    logs.sort();
    assert_eq!(logs, ["main", "side", "v1"]);
    let four = |v: &serde_json::Value| v["deliveries"].as_array().is_some_and(|d| d.len() == 4);
    let deliveries = lab.until(&server, "/api/v1/deliveries", four).await;
    assert_eq!(
        deliveries["deliveries"][0]["verdict"],
        "ignored: branch deleted"
    );
    let listed = lab.ok(&["deliveries"]);
    assert!(listed.contains("ignored: branch deleted") && listed.contains("made build 3"));
}

#[tokio::test]
async fn a_hook_for_something_that_is_no_repository_is_refused() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("empty")).unwrap();
    let output = lab.run(&["hook", "install", "empty"]);
    assert_eq!(output.status.code(), Some(4));
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        words.contains("not a bare git repository") && words.contains("hint:"),
        "{words}"
    );
}
