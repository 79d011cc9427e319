//! A server with realistic builds and no worker, for looking at pages:
//! `cargo run -p windlass-web --example fixture_server`, then http://localhost:8077/. The newest
//! build never ends: its log grows, a few lines per second.

#![expect(clippy::unwrap_used, reason = "an example for developers")]

use std::net::SocketAddr;
use std::time::Duration;

use windlass_model::{BuildState, Diagnostic, Event, Severity};
use windlass_shim::journal::StepResult;
use windlass_store::queue::{Finish, Willing};
use windlass_store::{DeliveryState, ForgeKind, NewDelivery};

#[path = "../tests/web/fixture.rs"]
mod fixture;

use fixture::{Fixture, HOUR, WORKER, push};

const COLOURS: &str = "\x1b[1mRunning\x1b[0m \x1b[32m42 tests\x1b[0m\n\
\x1b[33mwarning\x1b[0m: unused variable: `x`\n  \x1b[34m-->\x1b[0m src/lib.rs:4:9\n\
\x1b[31mred\x1b[0m \x1b[32mgreen\x1b[0m \x1b[33myellow\x1b[0m \x1b[34mblue\x1b[0m \x1b[35mmagenta\x1b[0m \x1b[36mcyan\x1b[0m \x1b[37mwhite\x1b[0m \x1b[30mblack\x1b[0m\n\
\x1b[91mred\x1b[0m \x1b[92mgreen\x1b[0m \x1b[93myellow\x1b[0m \x1b[94mblue\x1b[0m \x1b[95mmagenta\x1b[0m \x1b[96mcyan\x1b[0m \x1b[97mwhite\x1b[0m \x1b[90mblack\x1b[0m\n\
\x1b[41mon red\x1b[0m \x1b[42mon green\x1b[0m \x1b[43mon yellow\x1b[0m \x1b[44;37mon blue\x1b[0m \x1b[7minverse\x1b[0m \x1b[1;4mbold underlined\x1b[0m \x1b[2mdim\x1b[0m\n\
\x1b[38;5;208m256 colours: orange\x1b[0m \x1b[38;5;39msky\x1b[0m \x1b[38;2;200;100;250mtrue colour\x1b[0m\n\
See https://example.org/build/report.html for more.\n";

#[tokio::main]
async fn main() {
    let fixture = Fixture::new().await;
    let store = fixture.state.store.clone();
    let api = fixture
        .repo("payments-api", ForgeKind::Github, Some("s3cret"))
        .await;
    let site = fixture.repo("website", ForgeKind::Git, None).await;
    store
        .set_secret(api.id, "DEPLOY_KEY", &windlass_model::Secret::new("x"))
        .await
        .unwrap();

    for (i, message) in [
        "Add idempotency keys to refunds",
        "Bump tokio from 1.44 to 1.45",
        "Read the currency from the ledger, not from the request",
    ]
    .iter()
    .enumerate()
    {
        fixture.queue(&api, push("main", message)).await;
        let mut job = fixture.job(&["build", "test", "package"]).await;
        for step in 0..3 {
            job.start(step).await;
            job.out(step, COLOURS).await;
            for n in 0..(1_400 * (u64::from(step) + 1)) {
                job.later(7);
                job.out(
                    step,
                    format!("   Compiling crate-{n} v0.{i}.{n} (/workspace/crates/crate-{n})\n"),
                )
                .await;
            }
            job.end(step, StepResult::Exited { code: 0 }, 9_800).await;
        }
        job.finish(BuildState::Passed, "", None).await;
    }

    let mut failing = push("refund-webhooks", "Send a webhook when a refund settles");
    failing.author = "jonas".to_owned();
    let failing_build = fixture.queue(&api, failing).await;
    let mut job = fixture.job(&["build", "test", "package"]).await;
    job.start(0).await;
    job.out(0, COLOURS).await;
    job.later(31_000);
    job.end(0, StepResult::Exited { code: 0 }, 31_000).await;
    job.start(1).await;
    for n in 0..60 {
        job.later(120);
        job.out(
            1,
            format!("test refunds::case_{n:02} ... \x1b[32mok\x1b[0m\n"),
        )
        .await;
    }
    job.out(1, "test webhooks::settled_refund_is_announced ... \x1b[31mFAILED\x1b[0m\n\nfailures:\n\n---- webhooks::settled_refund_is_announced stdout ----\nthread 'webhooks::settled_refund_is_announced' panicked at crates/webhooks/tests/settle.rs:88:5:\nassertion `left == right` failed: the announced amount is the settled one\n  left: \x1b[31m1200\x1b[0m\n right: \x1b[32m1250\x1b[0m\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\n").await;
    job.note(1, "2 processes were left behind and stopped")
        .await;
    job.out(
        1,
        format!(
            "a very long line: {}\n",
            "lorem ipsum dolor sit amet ".repeat(40)
        ),
    )
    .await;
    job.out(
        1,
        "test result: \x1b[31mFAILED\x1b[0m. 60 passed; 1 failed; 0 ignored; 0 measured\n",
    )
    .await;
    job.end(1, StepResult::Exited { code: 101 }, 48_300).await;
    job.end(2, StepResult::Skipped, 0).await;
    job.finish(BuildState::Failed, "step \"test\": exit code 101", Some(1))
        .await;
    let attempt = store.attempt(failing_build.id, 1).await.unwrap().id;
    let files = [("windlass.deb", "not really"), ("SHA256SUMS", "0000\n")];
    fixture
        .artifact(failing_build.id, attempt, "packages", &files)
        .await;
    let status = store.statuses_of_build(failing_build.id).await.unwrap();
    let later = windlass_store::db::now_ms() + HOUR;
    store
        .status_later(
            status[0].id,
            later,
            "GitHub answered 503: Service Unavailable",
        )
        .await
        .unwrap();

    let mut pull = push("spec-typo", "Cache the toolchain");
    pull.event = Event::PullRequest {
        number: 128,
        title: "Cache the toolchain between builds".to_owned(),
        base: "main".to_owned(),
        head: "cache-toolchain".to_owned(),
        from_fork: true,
    };
    pull.author = "a-contributor".to_owned();
    fixture.queue(&api, pull).await;
    let claim = store
        .claim(WORKER, HOUR, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    let source = "# How we build\nsteps:\n  - name: build\n    run: make\n    timeout: 90x\n  - nmae: test\n    run: make test\n";
    let at = |needle: &str| source.find(needle).unwrap();
    let problems = vec![
        Diagnostic {
            code: "E0204".to_owned(),
            severity: Severity::Error,
            message: "\"90x\" is not a duration".to_owned(),
            span: at("90x")..at("90x") + 3,
            line: 5,
            column: 14,
            label: "expected a duration such as 90s".to_owned(),
            help: Some("units are s, m and h".to_owned()),
        },
        Diagnostic {
            code: "E0101".to_owned(),
            severity: Severity::Error,
            message: "unknown key \"nmae\"".to_owned(),
            span: at("nmae")..at("nmae") + 4,
            line: 6,
            column: 5,
            label: "did you mean \"name\"?".to_owned(),
            help: None,
        },
    ];
    let finish = Finish {
        state: BuildState::Error,
        summary: "windlass.yml has 2 errors".to_owned(),
        failed_step: None,
        error: None,
        hint: None,
        spec_problems: Some(("windlass.yml".to_owned(), source.into(), problems)),
    };
    store.finish(&claim, WORKER, &finish, None).await.unwrap();

    fixture
        .queue(&site, push("main", "New opening hours"))
        .await;
    let claim = store
        .claim(WORKER, HOUR, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    let finish = Finish {
        state: BuildState::Error,
        summary: "the repository could not be fetched".to_owned(),
        failed_step: None,
        error: Some("git could not fetch /srv/git/website.git: permission denied".to_owned()),
        hint: Some("let the user that Windlass runs as read the repository".to_owned()),
        spec_problems: None,
    };
    store.finish(&claim, WORKER, &finish, None).await.unwrap();

    for (key, event, verdict) in [
        ("72d3162e-cc78-11e3", "push", "made build 4"),
        ("82d3162e-cc78-11e4", "ping", "the hook works"),
        (
            "92d3162e-cc78-11e5",
            "push",
            "no repository here is acme/unknown",
        ),
    ] {
        let new = NewDelivery {
            forge: ForgeKind::Github,
            key,
            event,
            repo_id: Some(api.id),
            content_type: Some("application/json"),
            remote: "140.82.115.9",
            signature: None,
            body: b"{\"zen\": \"Keep it logically awesome.\"}",
        };
        let id = store.receive(&new).await.unwrap().id();
        let state = if verdict.starts_with("no ") {
            DeliveryState::Failed
        } else {
            DeliveryState::Done
        };
        store
            .settle(id, state, Some(api.id), verdict)
            .await
            .unwrap();
        if event == "ping" {
            store
                .reject(&NewDelivery { key: "x", ..new }, "bad signature")
                .await
                .unwrap();
        }
    }

    fixture
        .queue(
            &api,
            push(
                "main",
                "Retry settlement with back-off when the bank is away",
            ),
        )
        .await;
    let mut job = fixture.job(&["build", "test", "package"]).await;
    fixture
        .queue(
            &api,
            push(
                "docs",
                "Explain settlement <script>alert('x')</script> in the handbook",
            ),
        )
        .await;
    job.start(0).await;
    job.out(0, COLOURS).await;
    job.end(0, StepResult::Exited { code: 0 }, 12_400).await;
    job.start(1).await;
    for n in 0..1_500 {
        job.later(5);
        job.out(
            1,
            format!("test settlement::case_{n:04} ... \x1b[32mok\x1b[0m\n"),
        )
        .await;
    }
    let port: u16 = std::env::args().nth(1).map_or(8077, |p| p.parse().unwrap());
    let mut state = fixture.state.clone();
    state.public_url = format!("http://localhost:{port}");
    let router = windlass_web::router(state);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    tokio::spawn(async move {
        for n in 1_500.. {
            job.later(300);
            job.out(1, format!("test settlement::case_{n:04} ... "))
                .await;
            tokio::time::sleep(Duration::from_millis(150)).await;
            job.out(1, "\x1b[32mok\x1b[0m\n").await;
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await.unwrap();
}
