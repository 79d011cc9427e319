//! Webhooks: only what is signed gets in, and it is on the disk before the answer.

use axum::http::StatusCode;
use windlass_forge::signature::sign_sha256;
use windlass_model::Secret;
use windlass_store::{DeliveryState, ForgeKind};

use crate::ask::{Answer, request, send};
use crate::fixture::Fixture;

async fn deliver(fixture: &Fixture, path: &str, key: &str, secret: &str, body: &str) -> Answer {
    let signature = sign_sha256(&Secret::new(secret), body.as_bytes());
    let headers = [
        ("x-github-delivery", key),
        ("x-github-event", "push"),
        ("x-hub-signature-256", signature.as_str()),
        ("content-type", "application/json"),
    ];
    let headers: Vec<_> = headers
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    send(
        &fixture.state,
        request("POST", path, &headers, body.to_owned()),
    )
    .await
}

#[tokio::test]
async fn only_what_is_signed_with_the_right_secret_gets_in() {
    let fixture = Fixture::new().await;
    let one = fixture
        .repo("one", ForgeKind::Github, Some("secret one"))
        .await;
    fixture.repo("two", ForgeKind::Github, Some("shared")).await;
    fixture
        .repo("three", ForgeKind::Github, Some("shared"))
        .await;
    fixture.repo("none", ForgeKind::Github, None).await;
    let hook = "/hooks/github";
    for (path, secret, status, repo) in [
        (hook, "secret one", 202, Some(Some("one"))),
        (hook, "shared", 202, Some(None)),
        (hook, "wrong", 401, None),
        ("/hooks/github/one", "secret one", 202, Some(Some("one"))),
        ("/hooks/github/two", "shared", 202, Some(Some("two"))),
        ("/hooks/github/one", "shared", 401, None),
        ("/hooks/github/none", "shared", 401, None),
        ("/hooks/github/nobody", "shared", 404, None),
    ] {
        let key = format!("{path} {secret}");
        let answer = deliver(&fixture, path, &key, secret, "not even json").await;
        assert_eq!(answer.status.as_u16(), status, "{key}: {}", answer.body);
        if let Some(repo) = repo {
            let id = answer.json()["delivery"].as_i64().unwrap();
            let stored = fixture.state.store.delivery(id).await.unwrap();
            assert_eq!(stored.repo_name.as_deref(), repo, "{key}");
            let body = fixture.state.store.delivery_body(id).await.unwrap();
            assert_eq!(body, b"not even json");
        }
    }
    assert_eq!(one.name.as_str(), "one");
    let verdicts: Vec<String> = fixture
        .state
        .store
        .deliveries(None, 50)
        .await
        .unwrap()
        .into_iter()
        .filter(|d| d.state == DeliveryState::Rejected)
        .map(|d| d.verdict)
        .collect();
    assert_eq!(
        verdicts,
        [
            "no repository has a webhook secret",
            "bad signature",
            "bad signature"
        ]
    );
}

#[tokio::test]
async fn a_second_receipt_is_known_and_kept_once() {
    let fixture = Fixture::new().await;
    fixture.repo("one", ForgeKind::Github, Some("s")).await;
    let first = deliver(&fixture, "/hooks/github", "k1", "s", "{}")
        .await
        .json();
    let second = deliver(&fixture, "/hooks/github", "k1", "s", "{}")
        .await
        .json();
    assert_eq!(first["known"], false);
    assert_eq!(second["known"], true);
    assert_eq!(first["delivery"], second["delivery"]);
}

#[tokio::test]
async fn missing_headers_are_told_only_to_who_knows_the_secret() {
    let fixture = Fixture::new().await;
    fixture.repo("one", ForgeKind::Github, Some("s")).await;
    let answer = deliver(&fixture, "/hooks/github", "", "s", "{}").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(
        answer.json()["error"]
            .as_str()
            .unwrap()
            .contains("X-GitHub-Delivery")
    );
    let answer = deliver(&fixture, "/hooks/github", "", "wrong", "{}").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let long = "k".repeat(300);
    let answer = deliver(&fixture, "/hooks/github", &long, "s", "{}").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let unsigned = request("POST", "/hooks/github", &[("x-gitea-event", "push")], "{}");
    let answer = send(&fixture.state, unsigned).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert_eq!(answer.json()["error"], "no signature");
}

#[tokio::test]
async fn the_largest_delivery_fits_and_a_larger_one_is_refused_with_words() {
    let fixture = Fixture::new().await;
    fixture.repo("one", ForgeKind::Github, Some("s")).await;
    let fits = "x".repeat(26 * 1024 * 1024);
    let answer = deliver(&fixture, "/hooks/github", "big", "s", &fits).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    let answer = deliver(&fixture, "/hooks/github", "bigger", "s", &(fits + "x")).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(answer.json()["error"].as_str().unwrap().contains("26 MiB"));
}
