//! A place for one test: its own home, data folder, repositories and server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// A variable that every process of a test inherits, so that none is left behind.
const MARK: &str = "WINDLASS_E2E";

pub(crate) struct Lab {
    dir: tempfile::TempDir,
    mark: String,
    pub(crate) http: reqwest::Client,
    /// PostgreSQL's address, for servers that keep their data there.
    pub(crate) database: Option<String>,
}

/// A running `windlass serve`.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    said: PathBuf,
}

/// The program under test.
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

impl Lab {
    pub(crate) fn new() -> Self {
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        let http = reqwest::Client::builder()
            .tls_certs_only(std::iter::empty::<reqwest::Certificate>())
            .build()
            .unwrap();
        let mark = dir.path().display().to_string();
        let database = None;
        Self {
            dir,
            mark,
            http,
            database,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A command with nothing in its environment but what this place gives it.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("WINDLASS_DATA", self.data())
            .env("WINDLASS_LOG", "info")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env(MARK, &self.mark)
            .envs(
                self.database
                    .iter()
                    .map(|url| ("WINDLASS_DATABASE_URL", url)),
            )
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    /// `windlass ARGS`, to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(windlass()).args(args).output().unwrap()
    }

    /// `windlass ARGS`, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "windlass {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    pub(crate) fn git(&self, dir: &Path, args: &[&str]) -> String {
        let output = self
            .command("git")
            .args([
                "-c",
                "user.name=Ada",
                "-c",
                "user.email=ada@windlass.invalid",
            ])
            .args([
                "-c",
                "init.defaultBranch=main",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(args)
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A bare repository `NAME.git` and a checkout `NAME` with one commit of this spec.
    pub(crate) fn repository(&self, name: &str, spec: &str) -> PathBuf {
        let root = self.dir.path();
        let bare = root.join(format!("{name}.git"));
        std::fs::create_dir_all(bare.parent().unwrap()).unwrap();
        self.git(root, &["init", "-q", "--bare", bare.to_str().unwrap()]);
        self.git(&bare, &["config", "http.receivepack", "false"]);
        self.git(&bare, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
        let work = root.join(name);
        self.git(root, &["init", "-q", work.to_str().unwrap()]);
        self.commit(name, spec, "First");
        bare
    }

    /// Commits this spec in the checkout and returns the revision.
    pub(crate) fn commit(&self, name: &str, spec: &str, message: &str) -> String {
        let work = self.path(name);
        std::fs::write(work.join("windlass.yml"), spec).unwrap();
        self.git(&work, &["add", "-A"]);
        self.git(&work, &["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&work, &["rev-parse", "HEAD"])
    }

    pub(crate) fn push(&self, name: &str, refs: &[&str]) {
        let bare = self.path(&format!("{name}.git"));
        let mut args = vec!["push", "-q", bare.to_str().unwrap()];
        args.extend(refs);
        self.git(&self.path(name), &args);
    }

    /// A plain repository with our hook, known to Windlass.
    pub(crate) fn hooked(&self, name: &str, spec: &str) {
        let bare = self.repository(name, spec);
        let bare = bare.to_str().unwrap();
        self.ok(&["repo", "add", name, "--url", bare]);
        self.ok(&["hook", "install", bare]);
    }

    pub(crate) fn serve(&self, args: &[&str]) -> Server {
        self.serve_with(args, &[])
    }

    /// Starts the server on a free port and waits until it says where it listens.
    pub(crate) fn serve_with(&self, args: &[&str], env: &[(&str, &str)]) -> Server {
        self.serve_as(self.command(windlass()), args, env)
    }

    /// As [`Self::serve_with`], through another program that becomes the server.
    pub(crate) fn serve_as(&self, program: Command, args: &[&str], env: &[(&str, &str)]) -> Server {
        self.start(program, args, env, "windlass serves at ")
    }

    /// A server that waits for its database to be migrated.
    pub(crate) fn serve_waiting(&self, args: &[&str]) -> Server {
        self.start(self.command(windlass()), args, &[], "windlass waits at ")
    }

    /// Starts a server and waits until it says these words and its address.
    fn start(
        &self,
        mut program: Command,
        args: &[&str],
        env: &[(&str, &str)],
        words: &str,
    ) -> Server {
        let said = self.path(&format!("server-{}.log", std::process::id()));
        let out = std::fs::File::create(&said).unwrap();
        let child = program
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(args)
            .envs(env.iter().copied())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let mut server = Server {
            child,
            url: String::new(),
            said,
        };
        let deadline = Instant::now() + PATIENCE;
        while server.url.is_empty() {
            let text = server.said();
            let url = text.lines().find_map(|l| l.strip_prefix(words));
            server.url = url.unwrap_or_default().to_owned();
            // One that is to be killed while it starts never gets further.
            let ended = server.child.try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                assert!(
                    !server.url.is_empty() || !env.is_empty(),
                    "no server: {text}"
                );
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        server
    }

    pub(crate) fn token(&self) -> String {
        std::fs::read_to_string(self.data().join("admin.token"))
            .unwrap()
            .trim()
            .to_owned()
    }

    pub(crate) async fn json(&self, server: &Server, path: &str) -> Value {
        let answer = self.http.get(format!("{}{path}", server.url)).send().await;
        match answer {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    pub(crate) async fn text(&self, server: &Server, path: &str) -> String {
        String::from_utf8_lossy(&self.bytes(server, path).await).into_owned()
    }

    pub(crate) async fn bytes(&self, server: &Server, path: &str) -> Vec<u8> {
        let answer = self
            .http
            .get(format!("{}{path}", server.url))
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
        answer.bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn builds(&self, server: &Server) -> Vec<Value> {
        let answer = self.json(server, "/api/v1/builds?limit=100").await;
        answer["builds"].as_array().cloned().unwrap_or_default()
    }

    /// Waits for the end of a build and returns it with its attempts and steps.
    pub(crate) async fn ended(&self, server: &Server, repo: &str, number: i64) -> Value {
        let path = format!("/api/v1/repos/{repo}/builds/{number}");
        let is_final = |b: &Value| {
            b["state"]
                .as_str()
                .is_some_and(|s| !matches!(s, "queued" | "running"))
        };
        self.until(server, &path, is_final).await
    }

    /// Asks until the answer is as wished.
    pub(crate) async fn until(
        &self,
        server: &Server,
        path: &str,
        wished: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.json(server, path).await;
            if wished(&answer) {
                return answer;
            }
            assert!(
                Instant::now() < deadline,
                "{path} is not as wished: {answer:#}\nthe server said:\n{}",
                server.said()
            );
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Waits until a condition holds that has nothing to do with HTTP.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Processes of this test that belong to a job.
    pub(crate) fn job_processes(&self) -> Vec<i32> {
        let place = self.mark.clone().into_bytes();
        processes(|environ| {
            let of_job = |v: &[u8]| v.starts_with(b"WINDLASS_ATTEMPT=");
            let here = |v: &[u8]| v.windows(place.len()).any(|w| w == place);
            let mut variables = environ.split(|b| *b == 0);
            variables.clone().any(of_job) && variables.any(here)
        })
    }

    pub(crate) fn work(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.data().join("work")) else {
            return Vec::new();
        };
        entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

fn processes(of_interest: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let environ = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            of_interest(&environ).then_some(pid)
        })
        .collect()
}

impl Drop for Lab {
    fn drop(&mut self) {
        let place = self.mark.clone().into_bytes();
        let ours = processes(|environ| environ.windows(place.len()).any(|w| w == place));
        for pid in ours
            .into_iter()
            .filter(|pid| *pid != std::process::id() as i32)
        {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

impl Server {
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).ok();
    }

    /// `kill -9`, and it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().unwrap();
    }

    /// Waits for its end; the exit code, `None` if a signal ended it.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "the server did not end:\n{}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.said());
        }
        self.kill();
    }
}
