//! Who may do what: token, cookie, other sites, private installations.

use axum::http::StatusCode;
use windlass_store::ForgeKind;

use crate::ask::{get, get_with, post, request, send};
use crate::fixture::{Fixture, TOKEN, push};

async fn cookie(fixture: &Fixture) -> String {
    let form = format!("token={}&next=/repos", TOKEN.replace(' ', "+"));
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = send(&fixture.state, request("POST", "/login", &headers, form)).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/repos");
    let cookie = answer.header("set-cookie");
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    assert!(!cookie.contains("horse"));
    cookie.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn changes_need_the_token_or_a_cookie_from_our_own_page() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let cookie = cookie(&fixture).await;
    let bearer = format!("Bearer {TOKEN}");
    let (own, evil) = ("http://ci.test:8080", "https://evil.example");
    let path = "/api/v1/repos/demo/builds/1/retry";
    // 409: it got through, and the build has not ended yet.
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Bearer wrong")], 401),
        (vec![("authorization", "Basic eDp5")], 401),
        (vec![("authorization", bearer.as_str())], 409),
        (
            vec![("authorization", bearer.as_str()), ("origin", evil)],
            409,
        ),
        (vec![("cookie", cookie.as_str())], 403),
        (vec![("cookie", cookie.as_str()), ("origin", own)], 409),
        (vec![("cookie", cookie.as_str()), ("origin", evil)], 403),
        (vec![("cookie", cookie.as_str()), ("origin", "null")], 403),
        (
            vec![
                ("cookie", cookie.as_str()),
                ("sec-fetch-site", "same-origin"),
            ],
            409,
        ),
        (
            vec![("cookie", cookie.as_str()), ("sec-fetch-site", "same-site")],
            403,
        ),
        (
            vec![
                ("cookie", cookie.as_str()),
                ("sec-fetch-site", "cross-site"),
                ("origin", own),
            ],
            403,
        ),
        (
            vec![("cookie", "windlass_session=00"), ("origin", own)],
            401,
        ),
        (
            vec![
                ("cookie", cookie.as_str()),
                ("authorization", "Bearer wrong"),
                ("origin", own),
            ],
            401,
        ),
    ] {
        let answer = send(&fixture.state, request("POST", path, &headers, "")).await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{headers:?}: {}",
            answer.body
        );
        assert!(answer.json()["error"].is_string());
    }
    for (path, back) in [
        (
            "/repos/demo/builds/1/cancel",
            "/login?next=/repos/demo/builds/1",
        ),
        (
            "/repos/demo/builds/1/retry",
            "/login?next=/repos/demo/builds/1",
        ),
        ("/repos/demo/builds", "/login?next=/repos/demo"),
        ("/deliveries/1/replay", "/login?next=/deliveries"),
    ] {
        let answer = send(&fixture.state, request("POST", path, &[], "")).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert_eq!(answer.header("location"), back);
    }
    let headers = [("cookie", cookie.as_str()), ("origin", own)];
    let answer = send(
        &fixture.state,
        request("POST", "/repos/demo/builds/1/cancel", &headers, ""),
    )
    .await;
    assert_eq!(answer.header("location"), "/repos/demo/builds/1");
    let page = get_with(&fixture.state, "/repos/demo/builds/1", &headers)
        .await
        .body;
    assert!(page.contains("<button>Retry</button>") && page.contains("Log out"));
    assert!(page.contains("cancelled before it started"));
}

#[tokio::test]
async fn a_wrong_token_and_another_sites_form_do_not_log_in() {
    let fixture = Fixture::new().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    for (next, token) in [("//evil.example", "wrong"), ("/", "")] {
        let body = format!("token={token}&next={next}");
        let answer = send(&fixture.state, request("POST", "/login", &[form], body)).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(answer.header("set-cookie").is_empty());
        crate::html::check(&answer.body);
        assert!(answer.body.contains("That is not the token") && !answer.body.contains("evil"));
    }
    let body = format!("token={TOKEN}&next=//evil.example").replace(' ', "+");
    let answer = send(
        &fixture.state,
        request("POST", "/login", &[form], body.clone()),
    )
    .await;
    assert_eq!(answer.header("location"), "/");
    let headers = [form, ("origin", "https://evil.example")];
    let answer = send(&fixture.state, request("POST", "/login", &headers, body)).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_private_installation_shows_nothing_to_strangers() {
    let mut fixture = Fixture::new().await;
    fixture.state.private = true;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    for path in [
        "/",
        "/repos",
        "/repos/nobody",
        "/repos/demo/builds/1",
        "/deliveries",
        "/no/such",
    ] {
        let answer = get(&fixture.state, path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert_eq!(answer.header("location"), format!("/login?next={path}"));
    }
    for path in [
        "/api/v1/builds",
        "/repos/demo/builds/1/steps/1/log",
        "/repos/demo/builds/1/steps/1/stream",
        "/repos/demo/builds/1/events",
        "/events",
    ] {
        let answer = get(&fixture.state, path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for (path, status) in [("/login", 200), ("/healthz", 200), ("/assets/x", 404)] {
        assert_eq!(
            get(&fixture.state, path).await.status.as_u16(),
            status,
            "{path}"
        );
    }
    let cookie = cookie(&fixture).await;
    let answer = get_with(&fixture.state, "/", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, StatusCode::OK);
    let hook = request("POST", "/hooks/github", &[], "{}");
    let answer = send(&fixture.state, hook).await;
    assert_eq!(answer.json()["error"], "no repository has a webhook secret");
}

#[tokio::test]
async fn the_api_tells_and_does_what_pages_do() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Github, Some("hush")).await;
    let state = &fixture.state;
    let schema = get(state, "/schema/windlass.json").await;
    assert_eq!(schema.header("content-type"), "application/schema+json");
    assert_eq!(schema.json()["title"], "spec");
    let repos = get(state, "/api/v1/repos").await;
    assert!(!repos.body.contains("hush") && !repos.body.contains("ghp_"));
    assert_eq!(repos.json()["repos"][0]["name"], "demo");
    let revision = "a".repeat(40);
    let body = format!(r#"{{"revision": "{revision}", "git_ref": "refs/heads/main"}}"#);
    let made = post(state, "/api/v1/repos/demo/builds", &body).await;
    assert_eq!(made.status, StatusCode::ACCEPTED);
    assert_eq!(made.json()["number"], 1);
    assert_eq!(
        made.json()["url"],
        "http://ci.test:8080/repos/demo/builds/1"
    );
    for (body, status, words) in [
        ("", 400, "the body"),
        (r#"{"revision": "none"}"#, 422, "no branch or tag none"),
        (
            r#"{"revision": "--upload-pack=x"}"#,
            422,
            "no branch or tag",
        ),
    ] {
        let answer = post(state, "/api/v1/repos/demo/builds", body).await;
        assert_eq!(answer.status, status);
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    let bad_ref = format!(r#"{{"revision": "{revision}", "git_ref": "--exec=x"}}"#);
    let answer = post(state, "/api/v1/repos/demo/builds", &bad_ref).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let cancelled = post(state, "/api/v1/repos/demo/builds/1/cancel", "").await;
    assert_eq!(cancelled.status, StatusCode::ACCEPTED);
    assert_eq!(cancelled.json()["state"], "cancelled");
    let again = post(state, "/api/v1/repos/demo/builds/1/cancel", "").await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    let retried = post(state, "/api/v1/repos/demo/builds/1/retry", "").await;
    assert_eq!(retried.json()["attempt"], 2);
    let one = get(state, "/api/v1/repos/demo/builds/1").await.json();
    assert_eq!(one["attempts"].as_array().unwrap().len(), 2);
    let list = get(state, "/api/v1/builds?repo=demo&state=queued&limit=1")
        .await
        .json();
    assert_eq!(list["builds"][0]["number"], 1);
    for (path, status) in [
        ("/api/v1/builds?state=odd", 400),
        ("/api/v1/builds?repo=nobody", 404),
        ("/api/v1/nothing", 404),
        // Bodies are for the administrator alone.
        ("/api/v1/deliveries/9/body", 401),
        ("/api/v1/repos/demo/builds/9/steps/1/log", 404),
    ] {
        let answer = get(state, path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert!(answer.json()["error"].is_string());
    }
    state.store.remove_repo(demo.id).await.unwrap();
    let answer = post(state, "/api/v1/repos/demo/builds", &body).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
}
