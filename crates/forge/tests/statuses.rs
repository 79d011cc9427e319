//! Commit statuses, sent over a real connection to a GitHub that checks every request against
//! GitHub's own description of the operation.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::time::{Duration, Instant};

use windlass_forge::github::statuses::{GithubStatuses, Sent};
use windlass_forge::http_client;
use windlass_forge::testing::{FakeGithub, Recorded};
use windlass_model::Secret;
use windlass_model::status::{CommitStatus, StatusState};

const REPO: &str = "octocat/Hello-World";
const TOKEN: &str = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
const REVISION: &str = "6dcb09b5b57875f334f61aebed695e2e4193db5e";

fn status() -> CommitStatus {
    CommitStatus {
        revision: REVISION.to_owned(),
        context: "windlass".to_owned(),
        state: StatusState::Success,
        description: "passed in 12 s".to_owned(),
        target_url: Some("https://ci.example.com/demo/7".to_owned()),
    }
}

fn sender(base: &str) -> GithubStatuses {
    GithubStatuses::new(base, http_client().unwrap()).unwrap()
}

async fn send(github: &FakeGithub, status: &CommitStatus) -> Sent {
    let sent = sender(github.url())
        .send(REPO, &Secret::new(TOKEN), status)
        .await;
    assert!(!format!("{sent:?}").contains(TOKEN), "{sent:?}");
    sent
}

fn later(sent: Sent) -> (Option<u64>, String) {
    match sent {
        Sent::Later { after, reason } => (after.map(|after| after.as_secs()), reason),
        other => panic!("{other:?}"),
    }
}

fn refused(sent: Sent) -> String {
    match sent {
        Sent::Refused { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_state_arrives_as_it_was_sent() {
    let github = FakeGithub::start();
    let states = [
        StatusState::Pending,
        StatusState::Success,
        StatusState::Failure,
        StatusState::Error,
    ];
    let mut expected = Vec::new();
    for state in states {
        for target_url in [None, Some("http://ci.local/7?a=b&c=ü#L3".to_owned())] {
            let status = CommitStatus {
                state,
                target_url,
                ..status()
            };
            assert_eq!(send(&github, &status).await, Sent::Accepted);
            expected.push(Recorded {
                repository: REPO.to_owned(),
                token: TOKEN.to_owned(),
                status,
            });
        }
    }
    assert_eq!(github.statuses(), expected);
}

#[tokio::test]
async fn an_enterprise_server_has_its_api_below_a_path() {
    let github = FakeGithub::start();
    for base in ["/api/v3", "/api/v3/"] {
        let sender = sender(&format!("{}{base}", github.url()));
        let sent = sender.send(REPO, &Secret::new(TOKEN), &status()).await;
        assert_eq!(sent, Sent::Accepted);
    }
    assert_eq!(github.statuses().len(), 2);
}

#[tokio::test]
async fn a_description_is_cut_to_140_characters_not_bytes() {
    let github = FakeGithub::start();
    for (given, expected) in [
        ("ü".repeat(140), "ü".repeat(140)),
        ("🚀".repeat(141), format!("{}…", "🚀".repeat(139))),
        ("two\nlines\u{1b}[2J".to_owned(), "two lines[2J".to_owned()),
        (String::new(), String::new()),
    ] {
        let status = CommitStatus {
            description: given,
            ..status()
        };
        assert_eq!(send(&github, &status).await, Sent::Accepted);
        assert_eq!(
            github.statuses().pop().unwrap().status.description,
            expected
        );
    }
}

#[tokio::test]
async fn a_link_that_github_would_refuse_does_not_cost_the_status() {
    let github = FakeGithub::start();
    for bad in ["/demo/7", "javascript:alert(1)", ""] {
        let target_url = Some(bad.to_owned());
        let status = CommitStatus {
            target_url,
            ..status()
        };
        assert_eq!(send(&github, &status).await, Sent::Accepted);
        assert_eq!(github.statuses().pop().unwrap().status.target_url, None);
    }
}

#[tokio::test]
async fn what_could_lead_elsewhere_is_refused_before_anything_is_sent() {
    let github = FakeGithub::start();
    let sender = sender(github.url());
    let token = Secret::new(TOKEN);
    for name in [
        "", "demo", "a/b/c", "../..", "o/..", "o/r?x=1", "o/r#", "o/%2e%2e", "/r", "o/",
    ] {
        let reason = refused(sender.send(name, &token, &status()).await);
        assert!(reason.contains("owner/name"), "{reason}");
    }
    for revision in ["", "main", "../x", "6dcb09b"] {
        let revision = revision.to_owned();
        let status = CommitStatus {
            revision,
            ..status()
        };
        refused(sender.send(REPO, &token, &status).await);
    }
    for token in ["", "\n", "a b", "a\r\nX-Evil: 1"] {
        let (after, reason) = later(sender.send(REPO, &Secret::new(token), &status()).await);
        assert_eq!(after, Some(1800));
        assert!(reason.contains("--status-token-file"), "{reason}");
    }
    assert_eq!(github.requests(), 0);
}

#[tokio::test]
async fn each_failure_says_when_to_come_back_and_what_to_do() {
    let github = FakeGithub::start();
    let soon = (jiff::Timestamp::now().as_second() + 100).to_string();
    let reset = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &soon)];
    for (code, headers, after, word) in [
        (
            401,
            &[][..],
            1800..=1800,
            "windlass repo set NAME --status-token-file F",
        ),
        (403, &[("retry-after", "7")], 7..=7, "rate limit"),
        (403, &reset, 95..=102, "rate limit"),
        (403, &[], 60..=60, "secondary rate limit"),
        (429, &[], 60..=60, "rate limit"),
        (429, &reset, 95..=102, "rate limit"),
        (404, &[], 1800..=1800, "statuses: write"),
        (503, &[("retry-after", "30")], 30..=30, "503"),
    ] {
        github.fail_next(1, code, headers);
        let (wait, reason) = later(send(&github, &status()).await);
        assert!(after.contains(&wait.unwrap()), "{code}: {wait:?}");
        assert!(reason.contains(word), "{code}: {reason}");
    }
    for code in [200, 202, 408, 500, 502] {
        github.fail_next(1, code, &[]);
        assert_eq!(later(send(&github, &status()).await).0, None, "{code}");
    }
    let body = r#"{"message":"Resource not accessible by personal access token"}"#;
    github.fail_next_with(1, 403, &[("x-ratelimit-remaining", "4999")], body);
    let (wait, reason) = later(send(&github, &status()).await);
    assert_eq!(wait, Some(1800));
    assert!(
        reason.contains("not accessible") && reason.contains("repo:status"),
        "{reason}"
    );
    assert_eq!(github.statuses(), []);
    assert_eq!(send(&github, &status()).await, Sent::Accepted);
}

#[tokio::test]
async fn what_can_never_succeed_is_refused_in_githubs_words() {
    let github = FakeGithub::start();
    let body = format!(r#"{{"message":"No commit found for SHA: {REVISION}"}}"#);
    github.fail_next_with(1, 422, &[], &body);
    let reason = refused(send(&github, &status()).await);
    assert!(
        reason.contains("422") && reason.contains("No commit found"),
        "{reason}"
    );
    for code in [400, 410, 418, 451] {
        github.fail_next(1, code, &[]);
        assert!(refused(send(&github, &status()).await).contains(&code.to_string()));
    }
    // Whatever answers, and however much: no page of HTML, no token, no megabytes.
    let page = format!("<html>{TOKEN}</html>{}", "x".repeat(1_000_000));
    github.fail_next_with(1, 400, &[], &page);
    let reason = refused(send(&github, &status()).await);
    assert_eq!(reason, "GitHub refuses the status (400)");
    let echo = format!(r#"{{"message":"bad token {TOKEN}"}}"#);
    github.fail_next_with(1, 400, &[], &echo);
    assert!(refused(send(&github, &status()).await).ends_with("bad token ***"));
}

#[tokio::test]
async fn the_thousand_and_first_status_of_a_context_is_refused() {
    let github = FakeGithub::start();
    let sender = sender(github.url());
    let token = Secret::new(TOKEN);
    for _ in 0..1000 {
        let sent = sender.send(REPO, &token, &status()).await;
        assert_eq!(sent, Sent::Accepted);
    }
    let reason = refused(sender.send(REPO, &token, &status()).await);
    assert!(reason.contains("maximum number of statuses"), "{reason}");
    let context = "windlass/other".to_owned();
    let other = CommitStatus {
        context,
        ..status()
    };
    assert_eq!(sender.send(REPO, &token, &other).await, Sent::Accepted);
}

#[tokio::test]
async fn a_renamed_repository_is_found_on_the_same_host() {
    let github = FakeGithub::start();
    let moved = format!("/repos/octocat/Renamed/statuses/{REVISION}");
    let whole = format!("{}{moved}", github.url());
    for (code, location) in [(301, &moved), (307, &whole), (308, &whole)] {
        github.fail_next(1, code, &[("location", location)]);
        assert_eq!(send(&github, &status()).await, Sent::Accepted);
        let got = github.statuses().pop().unwrap();
        assert_eq!(got.repository, "octocat/Renamed");
        assert_eq!((got.token.as_str(), got.status), (TOKEN, status()));
    }
    github.fail_next(10, 301, &[("location", &whole)]);
    let before = github.requests();
    assert!(refused(send(&github, &status()).await).contains("circle"));
    assert_eq!(github.requests() - before, 4);
}

#[tokio::test]
async fn the_token_never_leaves_for_another_host() {
    let github = FakeGithub::start();
    let thief = FakeGithub::start();
    let path = format!("/repos/{REPO}/statuses/{REVISION}");
    let other_port = format!("{}{path}", thief.url());
    let other_name = github.url().replace("127.0.0.1", "localhost") + &path;
    let other_scheme = github.url().replace("http:", "https:") + &path;
    let network_path = other_port.replace("http:", "");
    for location in [&other_port, &other_name, &other_scheme, &network_path] {
        for code in [301, 307, 308] {
            github.fail_next(1, code, &[("location", location)]);
            let reason = refused(send(&github, &status()).await);
            assert!(reason.contains("another host"), "{location}: {reason}");
        }
    }
    for code in [302, 303, 304] {
        github.fail_next(1, code, &[("location", &path)]);
        refused(send(&github, &status()).await);
    }
    github.fail_next(1, 301, &[]);
    assert!(refused(send(&github, &status()).await).contains("where to"));
    assert_eq!((thief.requests(), github.statuses()), (0, vec![]));
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_tried_again() {
    let github = FakeGithub::start();
    github.stall_next(1, Duration::from_secs(60));
    let token = Secret::new(TOKEN);
    let patient = sender(github.url()).with_timeout(Duration::from_millis(200));
    let begin = Instant::now();
    let (after, reason) = later(patient.send(REPO, &token, &status()).await);
    assert_eq!(
        (after, reason.as_str()),
        (None, "GitHub did not answer within 0.2 s")
    );
    assert!(begin.elapsed() < Duration::from_secs(10));

    let url = github.url().to_owned();
    drop(github);
    let (after, reason) = later(sender(&url).send(REPO, &token, &status()).await);
    assert_eq!(after, None);
    assert!(reason.starts_with("GitHub can't be reached: "), "{reason}");
    let (_, reason) = later(
        sender("http://windlass.invalid")
            .send(REPO, &token, &status())
            .await,
    );
    assert!(reason.starts_with("GitHub can't be reached: "), "{reason}");
}

#[tokio::test]
async fn https_to_a_server_that_speaks_none_fails_and_does_not_panic() {
    let github = FakeGithub::start();
    let sender = sender(&github.url().replace("http:", "https:"));
    let (after, reason) = later(sender.send(REPO, &Secret::new(TOKEN), &status()).await);
    assert_eq!(after, None);
    assert!(!reason.contains(TOKEN), "{reason}");
}

/// The fake must notice what isn't as GitHub describes it, or all of the above proves nothing.
#[tokio::test]
async fn the_fake_github_notices_every_wrong_request() {
    let github = FakeGithub::start();
    let client = http_client().unwrap();
    let path = format!("{}/repos/{REPO}/statuses/{REVISION}", github.url());
    let right = |method: reqwest::Method, url: &str| {
        client
            .request(method, url)
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .header("content-type", "application/json")
            .bearer_auth(TOKEN)
    };
    let body = r#"{"state":"success"}"#;
    let post = || right(reqwest::Method::POST, &path);
    let answer = post().body(body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    let example: serde_json::Value =
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(example["creator"]["login"], "octocat");
    assert_eq!(github.take_violations(), [""; 0]);

    let elsewhere = |path: String| right(reqwest::Method::POST, &path).body(body);
    let url = github.url();
    for (request, word) in [
        (right(reqwest::Method::PUT, &path).body(body), "not POST"),
        (elsewhere(format!("{path}?x=1")), "query"),
        (
            elsewhere(format!("{url}/repos/o/r/status/{REVISION}")),
            "path",
        ),
        (
            elsewhere(format!("{url}/repos/o/r/statuses/main")),
            "commit id",
        ),
        (elsewhere(format!("{url}/")), "path"),
        (post().body("state=success"), "not JSON"),
        (post().body(r#"{"state":"passed"}"#), "not one of"),
        (post().body("{}"), "state is missing"),
        (
            post().body(r#"{"state":"success","color":"red"}"#),
            "not described",
        ),
        (
            post().body(r#"{"state":"success","target_url":"/x"}"#),
            "not http(s)",
        ),
        (
            post().body(format!(
                r#"{{"state":"error","description":"{}"}}"#,
                "x".repeat(141)
            )),
            "140",
        ),
        (client.post(&path).body(body), "accept"),
        (post().header("user-agent", "curl").body(body), "user-agent"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 400, "{word}");
        let violations = github.take_violations();
        assert!(
            violations.iter().any(|v| v.contains(word)),
            "{word}: {violations:?}"
        );
    }
    assert_eq!(github.statuses().len(), 1);
}

#[test]
fn a_fake_github_with_violations_fails_its_test() {
    let result = std::thread::spawn(|| {
        let github = FakeGithub::start();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let client = http_client().unwrap();
        let answer = runtime.block_on(client.get(github.url()).send()).unwrap();
        assert_eq!(answer.status(), 400);
        assert!(!github.violations().is_empty());
        drop(runtime);
        drop(github);
    })
    .join();
    assert!(result.is_err());
}
