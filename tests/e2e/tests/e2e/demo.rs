//! The README's main command.

use crate::lab::Lab;

#[tokio::test]
async fn the_demo_makes_one_build_that_passes_and_one_that_fails() {
    let lab = Lab::new();
    let server = lab.serve(&["--demo"]);
    let first = lab.ended(&server, "demo", 1).await;
    let second = lab.ended(&server, "demo", 2).await;
    assert_eq!(first["state"], "passed");
    assert_eq!(second["state"], "failed");
    assert_eq!(
        second["summary"],
        "step \"test\": exit code 1: count.sh says 2 words, there are 9"
    );
    let log = lab
        .text(&server, "/repos/demo/builds/1/steps/3/log?strip=ansi")
        .await;
    assert!(log.ends_with("ok    count.sh counts 9 words\n"), "{log:?}");

    for (path, words) in [
        ("/", "Count faster"),
        ("/repos", "demo"),
        ("/repos/demo", "windlass hook install"),
        ("/repos/demo/builds/2", "exit code 1"),
        ("/repos/demo/builds/2/steps/3", "FAIL"),
        ("/deliveries", "made build 2"),
    ] {
        let page = lab.text(&server, path).await;
        assert!(page.contains(words), "{path} does not say {words:?}");
    }
    // What it prints to open can be opened.
    for url in server
        .said()
        .split_whitespace()
        .filter(|w| w.starts_with("http://"))
    {
        assert_eq!(
            lab.http.get(url).send().await.unwrap().status(),
            200,
            "{url}"
        );
    }
}
