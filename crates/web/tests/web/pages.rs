//! Pages: all are there, well formed, and show hostile words as words.

use axum::http::StatusCode;
use windlass_model::{BuildState, Event};
use windlass_shim::journal::StepResult;
use windlass_store::schedules::NewSchedule;
use windlass_store::{ForgeKind, NewDelivery};

use crate::ask::{get, get_with, request, send};
use crate::fixture::{Fixture, push};
use crate::html;

const EVIL: &str = "\"><script>alert('1')</script><b onclick=\"x\">&amp;";

async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Github, Some("hush")).await;
    fixture.repo("plain", ForgeKind::Git, None).await;
    let mut trigger = push("main", EVIL);
    trigger.author = EVIL.to_owned();
    trigger.url = Some("javascript:alert(1)".to_owned());
    trigger.event = Event::PullRequest {
        number: 7,
        title: EVIL.to_owned(),
        base: EVIL.to_owned(),
        head: EVIL.to_owned(),
        from_fork: true,
    };
    fixture.queue(&demo, trigger).await;
    let mut job = fixture.job(&[EVIL, "test"]).await;
    job.start(0).await;
    job.out(0, format!("{EVIL}\n\x1b[31mred{EVIL}\x1b[0m\n"))
        .await;
    job.later(1_250);
    job.note(0, EVIL).await;
    job.out(0, "after the note\n").await;
    job.end(0, StepResult::Exited { code: 3 }, 1_500).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(
        BuildState::Failed,
        &format!("step {EVIL:?}: exit code 3"),
        Some(0),
    )
    .await;
    fixture
        .artifact(
            1,
            1,
            "all of it",
            &[("a <b>.txt", "hello"), ("é.html", EVIL)],
        )
        .await;
    fixture.queue(&demo, push("topic", "waits")).await;
    let delivery = NewDelivery {
        forge: ForgeKind::Github,
        key: EVIL,
        event: EVIL,
        repo_id: Some(demo.id),
        content_type: Some(EVIL),
        remote: EVIL,
        signature: None,
        body: EVIL.as_bytes(),
    };
    fixture.state.store.receive(&delivery).await.unwrap();
    fixture.state.store.reject(&delivery, EVIL).await.unwrap();
    fixture
}

#[tokio::test]
async fn every_page_is_well_formed_and_shows_hostile_words_as_words() {
    let fixture = filled().await;
    for path in [
        "/",
        "/?state=failed",
        "/?state=passed&before=5",
        "/repos",
        "/repos/demo",
        "/repos/plain",
        "/repos/demo/builds/1",
        "/repos/demo/builds/1?attempt=1",
        "/repos/demo/builds/2",
        "/repos/demo/builds/1/artifacts/1/all%20of%20it",
        "/repos/demo/builds/1/steps/1",
        "/repos/demo/builds/1/steps/1?from=2",
        "/repos/demo/builds/1/steps/2",
        "/deliveries",
        "/deliveries?before=1",
        "/login",
        "/login?next=/repos/demo",
    ] {
        for login in [false, true] {
            let bearer = format!("Bearer {}", crate::fixture::TOKEN);
            let headers: &[(&str, &str)] = &[("authorization", &bearer)];
            let headers = if login { headers } else { &[] };
            let answer = get_with(&fixture.state, path, headers).await;
            if login && path.starts_with("/login") {
                assert_eq!(answer.status, StatusCode::SEE_OTHER);
                continue;
            }
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
            assert!(answer.header("content-type").starts_with("text/html"));
            html::check(&answer.body);
            for bad in ["<script>", "<b onclick", "javascript:", "hush", "ghp_"] {
                assert!(!answer.body.contains(bad), "{path} has {bad}");
            }
        }
    }
}

#[tokio::test]
async fn pages_say_what_happened() {
    let fixture = filled().await;
    let list = get(&fixture.state, "/").await.body;
    assert!(list.contains("demo #1") && list.contains("> failed") && list.contains("> queued"));
    assert!(
        list.contains("http-equiv=\"refresh\""),
        "a queued build is not over"
    );
    let build = get(&fixture.state, "/repos/demo/builds/1").await.body;
    assert!(build.contains("exit code 3") && build.contains("skipped"));
    assert!(build.contains("Log in to retry") && !build.contains("<button>Retry"));
    assert!(build.contains("Told to the forge"));
    let log = get(&fixture.state, "/repos/demo/builds/1/steps/1")
        .await
        .body;
    assert!(log.contains("<a id=\"L1\" href=\"#L1\" aria-label=\"line 1\">1</a>"));
    assert!(log.contains("class=\"note\"") && log.contains("exit code 3"));
    let note = log.find("class=\"note\"").unwrap();
    assert!(log.find("id=\"L2\"").unwrap() < note && note < log.find("id=\"L3\"").unwrap());
    assert!(log.contains("class=\"fg-1\""));
    assert!(
        log.contains(">1.250</span>"),
        "the third line came 1.25 s after the start"
    );
    assert!(!log.contains("data-stream"));
}

#[tokio::test]
async fn what_is_not_there_is_a_page_with_a_way_back() {
    let fixture = filled().await;
    for path in [
        "/nothing",
        "/repos/nobody",
        "/repos/%2e%2e",
        "/repos/a%20b",
        "/repos/demo/builds/99",
        "/repos/demo/builds/x",
        "/repos/demo/builds/1?attempt=9",
        "/repos/demo/builds/1/steps/0",
        "/repos/demo/builds/1/steps/9",
        "/repos/demo/builds/2/steps/1",
        "/repos/demo/builds/1/steps/1?from=99",
        "/assets/windlass-000000000000.css",
        "/repos/demo/builds/1/steps/99999999999999999999",
    ] {
        let answer = get(&fixture.state, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        html::check(&answer.body);
        assert!(answer.body.contains("href=\"/\""));
    }
    for path in [
        "/?state=odd",
        "/?before=x",
        "/repos/demo/builds/1/steps/1?from=x",
    ] {
        let answer = get(&fixture.state, path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        html::check(&answer.body);
    }
    let answer = crate::ask::post(&fixture.state, "/deliveries", "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    html::check(&answer.body);
}

#[tokio::test]
async fn files_are_kept_for_ever_under_the_hash_of_their_contents() {
    let fixture = Fixture::new().await;
    let page = get(&fixture.state, "/").await.body;
    let urls = page.split('"').filter(|s| s.starts_with("/assets/"));
    let urls: Vec<&str> = urls.collect();
    assert_eq!(urls.len(), 3, "style sheet, script, icon: {urls:?}");
    for url in urls {
        let answer = get(&fixture.state, url).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.header("cache-control").contains("immutable"));
        assert!(!answer.body.is_empty());
    }
}

#[tokio::test]
async fn a_long_log_comes_in_windows_of_a_thousand_rows() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let mut job = fixture.job(&["test"]).await;
    job.start(0).await;
    let text: String = (1..=2_500).map(|n| format!("line {n}\n")).collect();
    job.out(0, "\x1b[32m").await;
    job.out(0, &text).await;
    job.out(0, "x".repeat(40_000) + "\n").await;
    job.end(0, StepResult::Exited { code: 0 }, 10).await;
    job.finish(BuildState::Passed, "", None).await;
    let rows = |page: &str| page.matches("<div class=\"r").count();
    let path = "/repos/demo/builds/1/steps/1";
    let last = get(&fixture.state, path).await.body;
    html::check(&last);
    assert_eq!(rows(&last), 1_000);
    assert!(last.contains("lines 1,502–2,501 of 2,501") && last.contains("from=502"));
    assert!(last.contains("23617 more bytes") && last.contains("lines=2501-2501"));
    let first = get(&fixture.state, &format!("{path}?from=1")).await.body;
    assert_eq!(rows(&first), 1_000);
    assert!(first.contains("from=1001") && !first.contains("rel=\"prev\""));
    // The colour that was set on the first line holds in the middle, too.
    let middle = get(&fixture.state, &format!("{path}?from=1200")).await.body;
    assert!(middle.contains("<span class=\"fg-2\">line 1200</span>"));
}

#[tokio::test]
async fn other_hosts_are_turned_away_but_hooks_are_not() {
    let fixture = Fixture::new().await;
    for (host, status) in [
        ("ci.test:8080", StatusCode::OK),
        ("ci.test", StatusCode::OK),
        ("localhost:1", StatusCode::OK),
        ("127.0.0.1", StatusCode::OK),
        ("[::1]:8080", StatusCode::OK),
        ("evil.example", StatusCode::MISDIRECTED_REQUEST),
    ] {
        let answer = get_with(&fixture.state, "/", &[("host", host)]).await;
        assert_eq!(answer.status, status, "{host}");
        html::check(&answer.body);
    }
    let request = crate::ask::request("POST", "/hooks/github", &[("host", "evil.example")], "");
    let answer = crate::ask::send(&fixture.state, request).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(&fixture.state, "/healthz").await.body, "ok\n");
}

#[tokio::test]
async fn the_form_has_the_fields_of_the_spec_and_makes_a_build_of_a_branch() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    let state = &fixture.state;
    let build = fixture.queue(&demo, push("main", "x")).await;
    let params = r#"[
        {"name":"target","kind":"choice","options":["staging","<production>"],"description":"Where <to>","default":"staging"},
        {"name":"count","kind":"number","options":[],"description":"","default":3},
        {"name":"dry","kind":"boolean","options":[],"description":"","default":true}]"#;
    let nightly = NewSchedule {
        name: "nightly".to_owned(),
        cron: "0 3 * * *".to_owned(),
        timezone: "Europe/Berlin".to_owned(),
        next_ms: 4_102_444_800_000,
    };
    state
        .store
        .note_spec(demo.id, "main", build.id, params, &[nightly])
        .await
        .unwrap();
    let bearer = format!("Bearer {}", crate::fixture::TOKEN);
    let login = [("authorization", bearer.as_str())];
    let page = get_with(state, "/repos/demo", &login).await.body;
    html::check(&page);
    for part in [
        "<option selected>staging</option>",
        "&#60;production&#62;",
        "Where &#60;to&#62;",
        "name=\"param.count\" value=\"3\" type=\"number\"",
        "<option selected>true</option>",
        "nightly",
        "Europe/Berlin",
        "2100-01-01",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let form = "revision=main&param.target=staging&param.count=7&param.dry=false";
    let headers = [
        login[0],
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let made = send(state, request("POST", "/repos/demo/builds", &headers, form)).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.body);
    let made = state.store.build(&demo.name, 2).await.unwrap();
    assert_eq!(made.trigger.event, Event::Manual);
    assert_eq!(made.trigger.git_ref, "refs/heads/main");
    assert_eq!(made.trigger.params["count"], "7");
    let bad = request("POST", "/repos/demo/builds", &headers, "evil=1");
    assert_eq!(send(state, bad).await.status, StatusCode::BAD_REQUEST);
}
