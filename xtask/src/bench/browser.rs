//! A headless Chromium, driven through chromedriver: as much of WebDriver (W3C) as a measurement needs.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::http::Client;
use super::server::Folder;

const PATIENCE: Duration = Duration::from_secs(60);

/// A running browser with one page; it is stopped when this is dropped.
pub(super) struct Browser {
    driver: Child,
    client: Client,
    session: String,
    _profile: Folder,
}

impl Browser {
    pub(super) fn open() -> Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let profile = Folder::new("chromium")?;
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", profile.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("no chromedriver: apt-get install chromium chromium-driver")?;
        let mut browser = Self {
            driver,
            client: Client::new(&format!("127.0.0.1:{port}"), ""),
            session: String::new(),
            _profile: profile,
        };
        let data = format!("--user-data-dir={}", browser._profile.path().display());
        let args = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            "--window-size=1280,800",
            &data,
        ];
        let wishes =
            json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": args}}}});
        let begun = Instant::now();
        let answer = loop {
            match browser.ask("/session", &wishes) {
                Ok(answer) => break answer,
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let id = answer["sessionId"].as_str().context("no session")?;
        browser.session = format!("/session/{id}");
        Ok(browser)
    }

    pub(super) fn go(&mut self, url: &str) -> Result<()> {
        let path = format!("{}/url", self.session);
        self.ask(&path, &json!({"url": url})).map(drop)
    }

    /// What the body of a function returns in the page.
    pub(super) fn run(&mut self, script: &str) -> Result<Value> {
        let path = format!("{}/execute/sync", self.session);
        self.ask(&path, &json!({"script": script, "args": []}))
    }

    /// Waits until the body of a function returns true.
    pub(super) fn until(&mut self, script: &str) -> Result<()> {
        let begun = Instant::now();
        while self.run(script)? != true {
            if begun.elapsed() > PATIENCE {
                bail!("this does not become true in the page: {script}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn ask(&mut self, path: &str, body: &Value) -> Result<Value> {
        let json = ("Content-Type", "application/json");
        let answer = self
            .client
            .post(path, &[json], body.to_string().as_bytes())?;
        let answer: Value = serde_json::from_slice(&answer)?;
        Ok(answer["value"].clone())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; the driver alone would leave it.
        if !self.session.is_empty() {
            let _ = self.client.delete(&self.session);
        }
        if let Err(error) = self.driver.kill().and_then(|()| self.driver.wait()) {
            eprintln!("chromedriver could not be stopped: {error}");
        }
    }
}
