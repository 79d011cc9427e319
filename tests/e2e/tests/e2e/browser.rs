//! A real headless Chromium sees lines arrive, a state change, and can press a button.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::json;

use crate::lab::{Lab, PATIENCE};

struct Browser {
    driver: Child,
    client: Client,
}

impl Browser {
    async fn open(lab: &Lab) -> Self {
        for program in ["chromium", "chromedriver"] {
            let there = lab
                .command(program)
                .arg("--version")
                .stdout(Stdio::null())
                .status();
            assert!(
                there.is_ok_and(|s| s.success()),
                "{program} is missing: apt-get install chromium chromium-driver"
            );
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let driver = lab
            .command("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let profile = format!("--user-data-dir={}", lab.path("chromium").display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &profile,
        ];
        let wishes = json!({"goog:chromeOptions": {"args": args}});
        let deadline = Instant::now() + PATIENCE;
        let client = loop {
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(wishes.as_object().unwrap().clone());
            match builder.connect(&format!("http://127.0.0.1:{port}")).await {
                Ok(client) => break client,
                Err(error) => assert!(Instant::now() < deadline, "no browser: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        Self { driver, client }
    }

    async fn text(&self, css: &str) -> String {
        match self.client.find(Locator::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    async fn until(&self, css: &str, what: &str, holds: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.text(css).await;
            if holds(&text) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {css} is {text:?}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

#[tokio::test]
async fn lines_arrive_and_the_state_changes_without_a_reload() {
    let lab = Lab::new();
    let gate = |n: u32| lab.path(&format!("gate{n}"));
    let wait = |n: u32| format!("while [ ! -e {} ]; do sleep 0.02; done", gate(n).display());
    let spec = format!(
        "steps:\n  - name: live\n    run: |\n      echo one\n      {}\n      \
         printf '\\033[31mtwo\\033[0m <b>\\n'\n      {}\n      echo three\n",
        wait(1),
        wait(2)
    );
    lab.hooked("r", &spec);
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.until(&server, "/api/v1/repos/r/builds/1", |b| {
        b["attempts"][0]["steps"][0]["state"] == "running"
    })
    .await;
    let browser = Browser::open(&lab).await;
    let page = |path: &str| format!("{}{path}", server.url);

    browser
        .client
        .goto(&page("/repos/r/builds/1/steps/1"))
        .await
        .unwrap();
    browser
        .until("#log", "the first line", |t| t.contains("one"))
        .await;
    // Gone at a reload.
    browser
        .client
        .execute("window.still = 'here'", vec![])
        .await
        .unwrap();
    std::fs::write(gate(1), "").unwrap();
    let shown = Instant::now();
    browser
        .until("#log", "the second line", |t| t.contains("two <b>"))
        .await;
    eprintln!("a line was on the page after {:?}", shown.elapsed());
    assert_eq!(
        browser.text("#log .fg-1").await,
        "two",
        "the colour is missing"
    );
    assert!(browser.text("#state").await.contains("running"));
    std::fs::write(gate(2), "").unwrap();
    browser
        .until("#log", "the third line", |t| t.contains("three"))
        .await;
    browser
        .until("#state", "the end", |t| t.contains("passed"))
        .await;
    let still = browser
        .client
        .execute("return window.still", vec![])
        .await
        .unwrap();
    assert_eq!(still, json!("here"), "the page was loaded again");
    let order = browser.text("#log").await;
    let place = |word: &str| order.find(word).unwrap();
    assert!(
        place("one") < place("two") && place("two") < place("three"),
        "{order}"
    );

    browser
        .client
        .goto(&page("/repos/r/builds/1/steps/1#L2"))
        .await
        .unwrap();
    browser
        .until(
            "#log .r:target, #log .hit, #log :target",
            "line 2 is marked",
            |t| t.contains('2'),
        )
        .await;
    browser.client.clone().close().await.unwrap();
}

#[tokio::test]
async fn cancelling_needs_the_token_and_the_build_page_shows_the_end() {
    let lab = Lab::new();
    lab.hooked("r", "steps:\n  - name: long\n    run: sleep 300\n");
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.until(&server, "/api/v1/repos/r/builds/1", |b| {
        b["attempts"][0]["steps"][0]["state"] == "running"
    })
    .await;
    let browser = Browser::open(&lab).await;
    let client = &browser.client;
    client
        .goto(&format!("{}/repos/r/builds/1", server.url))
        .await
        .unwrap();
    browser
        .until("#acts", "a way to log in", |t| t.contains("Log in"))
        .await;
    client
        .find(Locator::Css("#acts a, #acts button"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    browser
        .until("h1", "the login page", |t| t.contains("Log in"))
        .await;
    let field = client.find(Locator::Id("token")).await.unwrap();
    field.send_keys(&lab.token()).await.unwrap();
    client
        .find(Locator::Css("main form button"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    browser
        .until("#acts", "back at the build, with buttons", |t| {
            t.contains("Cancel")
        })
        .await;
    client
        .find(Locator::Css("#acts button"))
        .await
        .unwrap()
        .click()
        .await
        .unwrap();
    browser
        .until("#state", "cancelled", |t| t.contains("cancelled"))
        .await;
    assert_eq!(lab.ended(&server, "r", 1).await["state"], "cancelled");
    lab.wait("the job is gone", || lab.job_processes().is_empty());
    browser.client.clone().close().await.unwrap();
}
