//! GitHub: a signed delivery becomes a build of exactly that revision, and GitHub hears of it.

use serde_json::{Value, json};
use windlass_forge::signature::sign_sha256;
use windlass_forge::testing::FakeGithub;
use windlass_model::Secret;
use windlass_model::status::StatusState;

use crate::bridge::{Bridge, Manner};
use crate::lab::{Lab, Server};

const SECRET: &str = "It's a Secret to Everybody";
const SPEC: &str = "steps:\n  - name: compile\n    run: echo compiled\n  - name: test\n    \
                    run: test \"$(cat verdict)\" = good\n";

struct Github {
    lab: Lab,
    fake: FakeGithub,
    bridge: Bridge,
}

impl Github {
    fn new() -> Self {
        let lab = Lab::new();
        std::fs::create_dir_all(lab.path("hosted/acme")).unwrap();
        let bridge = Bridge::start(&lab.path("hosted"), Manner::default());
        lab.repository("hosted/acme/app", SPEC);
        std::fs::write(lab.path("hook.secret"), format!("{SECRET}\n")).unwrap();
        std::fs::write(lab.path("token"), "ghp_0123456789abcdef\n").unwrap();
        Self {
            lab,
            fake: FakeGithub::start(),
            bridge,
        }
    }

    fn add(&self, further: &[&str]) {
        let url = format!("{}/acme/app.git", self.bridge.url);
        let mut args = vec!["repo", "add", "app", "--forge", "github", "--url", &url];
        args.extend([
            "--webhook-secret-file",
            "hook.secret",
            "--status-token-file",
            "token",
        ]);
        args.extend(further);
        self.lab.ok(&args);
    }

    fn serve(&self) -> Server {
        self.lab.serve(&["--github-api", self.fake.url()])
    }

    /// Commits and pushes to the hosted repository; the revision.
    fn commit(&self, verdict: &str, target: &str) -> String {
        let name = "hosted/acme/app";
        std::fs::write(self.lab.path(name).join("verdict"), verdict).unwrap();
        let revision = self.lab.commit(name, SPEC, &format!("Make it {verdict}"));
        self.lab.push(name, &[&format!("HEAD:{target}")]);
        revision
    }

    fn repository(&self) -> Value {
        json!({"id": 7, "full_name": "acme/app", "clone_url": format!("{}/acme/app.git", self.bridge.url)})
    }

    fn push_payload(&self, revision: &str, branch: &str) -> Value {
        json!({
            "ref": format!("refs/heads/{branch}"), "before": "1".repeat(40), "after": revision,
            "created": false, "deleted": false, "forced": false,
            "repository": self.repository(), "pusher": {"name": "ada"},
            "head_commit": {"id": revision, "message": "Make it", "author": {"name": "Ada"}},
        })
    }

    fn pull_payload(&self, revision: &str, number: u64, head_repo: &Value) -> Value {
        json!({
            "action": "opened", "number": number, "repository": self.repository(),
            "pull_request": {
                "number": number, "title": "A change", "user": {"login": "eve"},
                "head": {"ref": "topic", "sha": revision, "repo": head_repo},
                "base": {"ref": "main", "sha": "1".repeat(40), "repo": self.repository()},
            },
        })
    }

    async fn deliver(&self, server: &Server, event: &str, id: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let signature = sign_sha256(&Secret::new(SECRET), body.as_bytes());
        self.send(server, event, id, &signature, body, "application/json")
            .await
    }

    async fn send(
        &self,
        server: &Server,
        event: &str,
        id: &str,
        signature: &str,
        body: String,
        content_type: &str,
    ) -> (u16, Value) {
        let post = self.lab.http.post(format!("{}/hooks/github", server.url));
        let answer = post
            .header("x-github-event", event)
            .header("x-github-delivery", id)
            .header("x-hub-signature-256", signature)
            .header("content-type", content_type)
            .body(body)
            .send()
            .await
            .unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or_default(),
        )
    }

    async fn verdict(&self, server: &Server, index: usize) -> String {
        let read = move |v: &Value| {
            v["deliveries"][index]["verdict"]
                .as_str()
                .is_some_and(|t| !t.is_empty())
        };
        let all = self.lab.until(server, "/api/v1/deliveries", read).await;
        all["deliveries"][index]["verdict"]
            .as_str()
            .unwrap()
            .to_owned()
    }
}

#[tokio::test]
async fn the_status_quotes_the_line_that_says_what_went_wrong() {
    let github = Github::new();
    github.add(&[]);
    let server = github.serve();
    let name = "hosted/acme/app";
    let line = "tests/test_sum.py:12: error: the sum of 1 and 2 is 4";
    let long = "x".repeat(300);
    let spec = format!("steps:\n  - name: test\n    run: \"echo '{line}, {long}'; exit 1\"\n");
    let revision = github.lab.commit(name, &spec, "Break it");
    github.lab.push(name, &["HEAD:main"]);
    let push = github.push_payload(&revision, "main");
    github.deliver(&server, "push", "g-1", &push).await;
    let build = github.lab.ended(&server, "app", 1).await;
    assert_eq!(build["state"], "failed", "{build:#}");
    let is_final = || {
        let mut all = github.fake.statuses().into_iter();
        all.find(|s| s.status.state == StatusState::Failure)
    };
    github.lab.wait("the final status", || is_final().is_some());
    let words = is_final().unwrap().status.description;
    let begin = "build 1 failed: step \"test\": exit code 1: tests/test_sum.py:12: the sum of 1 and 2 is 4, xxx";
    assert!(words.starts_with(begin), "{words}");
    assert_eq!(words.chars().count(), 140, "{words}");
}

#[tokio::test]
async fn a_push_is_built_and_the_forge_hears_how_it_went() {
    let github = Github::new();
    github.add(&[]);
    let server = github.serve();
    let good = github.commit("good", "main");
    let bad = github.commit("bad", "main");

    let began = std::time::Instant::now();
    let (status, answer) = github
        .deliver(&server, "push", "g-1", &github.push_payload(&good, "main"))
        .await;
    eprintln!("answered after {:?}", began.elapsed());
    assert_eq!((status, &answer["known"]), (202, &json!(false)));
    github
        .deliver(&server, "push", "g-2", &github.push_payload(&bad, "main"))
        .await;

    let first = github.lab.ended(&server, "app", 1).await;
    let second = github.lab.ended(&server, "app", 2).await;
    assert_eq!(
        (&first["state"], &first["trigger"]["revision"]),
        (&json!("passed"), &json!(good))
    );
    assert_eq!(
        (&second["state"], &second["trigger"]["revision"]),
        (&json!("failed"), &json!(bad))
    );

    let last = |revision: &str| {
        github
            .fake
            .statuses()
            .into_iter()
            .rfind(|s| s.status.revision == *revision)
    };
    github.lab.wait("both final statuses", || {
        let is = |revision, state| last(revision).is_some_and(|s| s.status.state == state);
        is(&good, StatusState::Success) && is(&bad, StatusState::Failure)
    });
    let told = last(&bad).unwrap();
    assert_eq!(
        (told.repository.as_str(), told.token.as_str()),
        ("acme/app", "ghp_0123456789abcdef")
    );
    assert!(
        told.status
            .description
            .contains("step \"test\": exit code 1"),
        "{told:?}"
    );
    let page = github
        .lab
        .http
        .get(told.status.target_url.unwrap())
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains("step 2"), "the link opens another page");
    assert!(page.contains("cat verdict") && page.contains("exit code 1"));
    // Never backwards: nothing pending after the end.
    for revision in [&good, &bad] {
        let states: Vec<_> = github.fake.statuses();
        let states: Vec<_> = states
            .iter()
            .filter(|s| s.status.revision == **revision)
            .collect();
        let finals = states
            .iter()
            .position(|s| s.status.state != StatusState::Pending)
            .unwrap();
        assert_eq!(finals, states.len() - 1, "{states:?}");
    }
    assert_eq!(github.fake.violations(), [] as [String; 0]);

    // Sent again: nothing new.
    let (status, answer) = github
        .deliver(&server, "push", "g-1", &github.push_payload(&good, "main"))
        .await;
    assert_eq!((status, &answer["known"]), (202, &json!(true)));
    assert_eq!(github.lab.builds(&server).await.len(), 2);
}

#[tokio::test]
async fn what_is_not_to_be_built_gets_a_verdict() {
    let github = Github::new();
    github.add(&[]);
    let server = github.serve();
    let revision = github.commit("good", "topic");
    let push = github.push_payload(&revision, "topic");

    let (status, _) = github
        .send(
            &server,
            "push",
            "b-1",
            "sha256=00",
            push.to_string(),
            "application/json",
        )
        .await;
    assert_eq!(status, 401);
    assert_eq!(github.verdict(&server, 0).await, "bad signature");

    // The bad one does not keep the good one with the same id out.
    assert_eq!(github.deliver(&server, "push", "b-1", &push).await.0, 202);
    assert_eq!(github.verdict(&server, 0).await, "made build 1");

    let own = github.pull_payload(&revision, 3, &github.repository());
    github.deliver(&server, "pull_request", "b-2", &own).await;
    let verdict = github.verdict(&server, 0).await;
    assert_eq!(
        verdict,
        "ignored: this revision is build 1 already (by push)"
    );

    let fork = github.pull_payload(&revision, 4, &json!({"id": 8, "full_name": "eve/app"}));
    github.deliver(&server, "pull_request", "b-3", &fork).await;
    let verdict = github.verdict(&server, 0).await;
    assert!(
        verdict.contains("fork") && verdict.contains("--build-forks"),
        "{verdict}"
    );
    let gone = github.pull_payload(&revision, 5, &Value::Null);
    github.deliver(&server, "pull_request", "b-4", &gone).await;
    assert!(github.verdict(&server, 0).await.contains("fork"));

    let mut deleted = push.clone();
    deleted["deleted"] = json!(true);
    deleted["after"] = json!("0".repeat(40));
    deleted["head_commit"] = Value::Null;
    github.deliver(&server, "push", "b-5", &deleted).await;
    assert_eq!(github.verdict(&server, 0).await, "ignored: branch deleted");

    let ping = json!({"zen": "Speak like a human.", "repository": github.repository()});
    github.deliver(&server, "ping", "b-6", &ping).await;
    assert_eq!(github.verdict(&server, 0).await, "ping: the webhook works");
    assert_eq!(github.lab.builds(&server).await.len(), 1);
}

#[tokio::test]
async fn an_allowed_fork_is_built_without_secrets() {
    let github = Github::new();
    github.add(&["--build-forks"]);
    let lab = &github.lab;
    std::fs::write(lab.path("value"), "hunter2hunter2\n").unwrap();
    lab.ok(&["secret", "set", "app", "DEPLOY_KEY", "--from-file", "value"]);
    let server = github.serve();
    let spec = "secrets: [DEPLOY_KEY]\nsteps: ['echo \"key: $DEPLOY_KEY.\"']\n";
    let revision = lab.commit("hosted/acme/app", spec, "Fork");
    lab.push("hosted/acme/app", &["HEAD:refs/pull/9/head"]);
    let fork = github.pull_payload(&revision, 9, &json!({"id": 8, "full_name": "eve/app"}));
    github.deliver(&server, "pull_request", "f-1", &fork).await;
    assert_eq!(lab.ended(&server, "app", 1).await["state"], "passed");
    assert_eq!(
        lab.text(&server, "/repos/app/builds/1/steps/1/log").await,
        "key: .\n"
    );

    // The same from the repository's own branch gets the secret, masked in the log.
    lab.push("hosted/acme/app", &["HEAD:refs/heads/main"]);
    let push = github.push_payload(&revision, "main");
    github.deliver(&server, "push", "f-2", &push).await;
    assert_eq!(lab.ended(&server, "app", 2).await["state"], "passed");
    assert_eq!(
        lab.text(&server, "/repos/app/builds/2/steps/1/log").await,
        "key: ***.\n"
    );
    for file in ["windlass.db", "windlass.db-wal"] {
        let bytes = std::fs::read(lab.data().join(file)).unwrap_or_default();
        assert!(
            !bytes.windows(7).any(|w| w == b"hunter2"),
            "{file} holds the secret"
        );
    }
}

#[tokio::test]
async fn a_delivery_for_an_unknown_repository_can_be_replayed_when_it_is_known() {
    let github = Github::new();
    // Another repository has the same secret, so the delivery is let in.
    let url = format!("{}/acme/other.git", github.bridge.url);
    github.lab.ok(&[
        "repo",
        "add",
        "other",
        "--forge",
        "github",
        "--url",
        &url,
        "--webhook-secret-file",
        "hook.secret",
    ]);
    let server = github.serve();
    let revision = github.commit("good", "main");
    let form = |text: &str| {
        let encoded: String = text.bytes().map(|b| format!("%{b:02X}")).collect();
        format!("payload={encoded}")
    };
    let body = form(&github.push_payload(&revision, "main").to_string());
    let signature = sign_sha256(&Secret::new(SECRET), body.as_bytes());
    let kind = "application/x-www-form-urlencoded";
    let (status, answer) = github
        .send(&server, "push", "u-1", &signature, body, kind)
        .await;
    assert_eq!(status, 202);
    let verdict = github.verdict(&server, 0).await;
    assert!(verdict.contains("acme/app, which is not here"), "{verdict}");
    github.add(&[]);
    github
        .lab
        .ok(&["deliveries", "--replay", &answer["delivery"].to_string()]);
    assert_eq!(github.lab.ended(&server, "app", 1).await["state"], "passed");
    assert_eq!(github.verdict(&server, 0).await, "made build 1");
}

#[tokio::test]
async fn statuses_survive_a_forge_that_fails_and_a_server_that_is_killed() {
    let github = Github::new();
    github.add(&[]);
    github.fake.fail_next(2, 502, &[]);
    let mut server = github.lab.serve_with(
        &["--github-api", github.fake.url()],
        &[("WINDLASS_KILL_AT", "after-status")],
    );
    let revision = github.commit("good", "main");
    github
        .deliver(
            &server,
            "push",
            "s-1",
            &github.push_payload(&revision, "main"),
        )
        .await;
    assert_eq!(server.wait(), None);
    let server = github.serve();
    assert_eq!(github.lab.ended(&server, "app", 1).await["state"], "passed");
    github.lab.wait("the final status", || {
        github
            .fake
            .statuses()
            .last()
            .is_some_and(|s| s.status.state == StatusState::Success)
    });
    assert_eq!(github.lab.builds(&server).await.len(), 1);
}
