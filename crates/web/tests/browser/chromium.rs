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
    /// A phone or tablet: fingers, and no mouse.
    pub(crate) touch: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            width: 1280,
            height: 800,
            zoom: 1,
            dark: false,
            touch: false,
        }
    }
}

/// A running browser; it is stopped when this is dropped.
pub(crate) struct Browser {
    driver: Child,
    /// Where the driver takes commands of Chromium's own protocol.
    own_protocol: String,
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
        let session = client.session_id().await.unwrap().unwrap();
        let browser = Self {
            driver,
            own_protocol: format!("http://127.0.0.1:{port}/session/{session}/goog/cdp/execute"),
            _profile: profile,
            client,
        };
        if setup.touch {
            let screen = json!({"width": setup.width, "height": setup.height, "deviceScaleFactor": 1, "mobile": true});
            browser
                .cdp("Emulation.setDeviceMetricsOverride", screen)
                .await;
            let touch = json!({"enabled": true, "maxTouchPoints": 5});
            browser
                .cdp("Emulation.setTouchEmulationEnabled", touch)
                .await;
        }
        browser
    }

    /// A command of Chromium's own protocol: for what WebDriver has no words.
    pub(crate) async fn cdp(&self, command: &str, params: Value) -> Value {
        use http_body_util::BodyExt as _;

        let http =
            hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                .build::<_, axum::body::Body>(HttpConnector::new());
        let order = json!({"cmd": command, "params": params}).to_string();
        let request = axum::http::Request::post(&self.own_protocol)
            .header("content-type", "application/json")
            .body(axum::body::Body::from(order))
            .unwrap();
        let answer = http.request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let mut answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(status.is_success(), "{command}: {answer}");
        answer["value"].take()
    }

    /// Puts a finger at the first place, moves it over the others, and lifts it.
    pub(crate) async fn finger(&self, places: &[(f64, f64)]) {
        for (n, (x, y)) in places.iter().enumerate() {
            let kind = if n == 0 { "touchStart" } else { "touchMove" };
            let points = json!({"type": kind, "touchPoints": [{"x": x, "y": y}]});
            self.cdp("Input.dispatchTouchEvent", points).await;
            // As fast as a finger: it is no tap, and no fling.
            tokio::time::sleep(Duration::from_millis(16)).await;
        }
        let lifted = json!({"type": "touchEnd", "touchPoints": []});
        self.cdp("Input.dispatchTouchEvent", lifted).await;
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
