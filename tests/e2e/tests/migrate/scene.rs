//! A folder of migrations, a database's address, and the program under test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn windlass() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own
        .parent()
        .and_then(Path::parent)
        .unwrap()
        .join("windlass");
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p windlass` first (`cargo xtask test` does)",
        path.display()
    );
    path
}

pub(crate) struct Scene {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    /// In the environment of each command.
    pub(crate) env: Vec<(&'static str, String)>,
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    /// Fails with all that was said unless the code is this.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(
            self.out.contains(words) || self.err.contains(words),
            "{words:?} is not in {self:#?}"
        );
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// A command that runs beside the test.
pub(crate) struct Running {
    child: Option<Child>,
    pub(crate) pid: i32,
    said: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid), signal).unwrap();
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Waits for its end; a killed one has the code -1.
    pub(crate) fn end(mut self) -> Ran {
        let status = self.child.take().unwrap().wait().unwrap();
        let read = |what: &str| std::fs::read_to_string(self.said.with_extension(what)).unwrap();
        Ran {
            code: status.code().unwrap_or(-1),
            out: read("out"),
            err: read("err"),
        }
    }

    pub(crate) fn err(&self) -> String {
        std::fs::read_to_string(self.said.with_extension("err")).unwrap()
    }

    /// Waits until it has said this.
    pub(crate) async fn until_says(&self, words: &str) {
        until(&format!("{words:?} to be said"), async || {
            self.err().contains(words)
        })
        .await;
    }
}

/// Waits for a condition, at most half a minute.
pub(crate) async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is().await {
        assert!(Instant::now() < end, "waited too long for {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

impl Scene {
    pub(crate) fn new(url: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("migrations")).unwrap();
        let url = url.to_owned();
        let env = Vec::new();
        Self { dir, url, env }
    }

    /// With an SQLite file in its folder.
    pub(crate) fn sqlite() -> Self {
        let mut scene = Self::new("");
        scene.url = format!("sqlite:{}", scene.dir.path().join("app.db").display());
        scene
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.dir.path().join("migrations").join(name), text).unwrap();
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(windlass());
        command
            .arg("migrate")
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("DATABASE_URL", &self.url)
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    pub(crate) fn run_with(&self, args: &[&str], env: &[(&str, &str)]) -> Ran {
        let mut command = self.command(args);
        let done = command.envs(env.iter().copied()).output().unwrap();
        Ran {
            code: done.status.code().unwrap_or(-1),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    pub(crate) fn spawn(&self, args: &[&str]) -> Running {
        self.spawn_with(args, &[])
    }

    pub(crate) fn spawn_with(&self, args: &[&str], env: &[(&str, &str)]) -> Running {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let said = self.dir.path().join(format!("said-{number}"));
        let file = |what: &str| std::fs::File::create(said.with_extension(what)).unwrap();
        let child = self
            .command(args)
            .envs(env.iter().copied())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn()
            .unwrap();
        Running {
            pid: i32::try_from(child.id()).unwrap(),
            child: Some(child),
            said,
        }
    }
}
