//! A headless Chromium with a page of a server in this process.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use fantoccini::key::Key;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use windlass_web::AppState;

const PATIENCE: Duration = Duration::from_secs(30);

/// How the browser is set up.
pub(crate) struct Setup {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Of the whole page, as with Ctrl and +.
    pub(crate) zoom: u32,
    pub(crate) dark: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            width: 1280,
            height: 800,
            zoom: 1,
            dark: false,
        }
    }
}

/// A running browser; it is stopped when this is dropped.
pub(crate) struct Browser {
    driver: Child,
    _profile: tempfile::TempDir,
    pub(crate) client: Client,
}

impl Browser {
    pub(crate) async fn open(setup: &Setup) -> Self {
        for program in ["chromium", "chromedriver"] {
            let there = Command::new(program)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(
                there.is_ok_and(|status| status.success()),
                "{program} is missing: apt-get install chromium chromium-driver"
            );
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let profile = tempfile::tempdir().unwrap();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut args = vec![
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--hide-scrollbars=false".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
            format!(
                "--window-size={},{}",
                setup.width / setup.zoom,
                setup.height / setup.zoom
            ),
            format!("--force-device-scale-factor={}", setup.zoom),
        ];
        if setup.dark {
            args.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
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
        Self {
            driver,
            _profile: profile,
            client,
        }
    }

    /// What a piece of script returns.
    pub(crate) async fn eval(&self, script: &str) -> Value {
        let script = format!("return ({script})");
        let result = self.client.execute(&script, vec![]).await;
        result.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until a piece of script returns true.
    pub(crate) async fn until(&self, what: &str, script: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.eval(script).await != json!(true) {
            if Instant::now() > deadline {
                let shown = self.eval("document.getElementById('span').textContent + ' | ' + document.getElementById('found').textContent + ' | ' + document.getElementById('log').innerText.slice(0, 600)").await;
                panic!("{what}: {script} does not hold: {shown}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Types on whatever has the focus.
    pub(crate) async fn keys(&self, keys: &str) {
        let active = self.client.active_element().await.unwrap();
        active.send_keys(keys).await.unwrap();
    }

    pub(crate) async fn key(&self, key: Key) {
        self.keys(&String::from(char::from(key))).await;
    }

    pub(crate) async fn click(&self, css: &str) {
        let found = self.client.find(Locator::Css(css)).await;
        let element = found.unwrap_or_else(|error| panic!("{css}: {error}"));
        element.click().await.unwrap();
    }

    /// The lines of the log that are seen now: number and text.
    pub(crate) async fn seen(&self) -> Vec<(u64, String)> {
        let rows = self
            .eval(
                "[...document.querySelectorAll('#log .r')].filter((r) => { \
                 const [a, b] = [r.getBoundingClientRect(), document.getElementById('log').getBoundingClientRect()]; \
                 return a.bottom > b.top + 2 && a.top < b.bottom - 2; }) \
                 .map((r) => [Number(r.firstChild.textContent), r.querySelector('.x').textContent])",
            )
            .await;
        serde_json::from_value(rows).unwrap()
    }

    /// Writes a picture, where pictures are asked for.
    pub(crate) async fn picture(&self, name: &str) {
        let Some(folder) = std::env::var_os("WINDLASS_SCREENSHOTS") else {
            return;
        };
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let png = self.client.screenshot().await.unwrap();
        std::fs::write(root.join(folder).join(name), png).unwrap();
    }

    pub(crate) async fn close(self) {
        self.client.clone().close().await.unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

/// A server, with what it says about problems in the first step of the first build of `demo`.
pub(crate) async fn serve(state: &AppState, findings: Value) -> SocketAddr {
    let path = "/api/v1/repos/demo/builds/1/steps/1/findings";
    let router = Router::new()
        .route(path, get(move || async move { Json(findings) }))
        .fallback_service(windlass_web::router(state.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.unwrap();
    });
    address
}
