//! A server of the release build, with a data folder of its own, and a bare repository to build.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::http::Client;
use crate::command::output;

/// No single build of a measurement takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder that is removed at the end.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("windlass-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} stays: {error}", self.0.display());
        }
    }
}

/// The program that is measured.
pub(super) fn windlass() -> PathBuf {
    crate::target_dir().join("release/windlass")
}

/// A running server; killed when dropped.
pub(super) struct Server {
    child: Child,
    pub(super) address: String,
    token: String,
}

impl Server {
    /// Starts it and waits until it answers.
    pub(super) fn start(data: &Path, slots: usize) -> Result<Self> {
        Ok(Self::start_with(data, slots, None)?.0)
    }

    /// [`Server::start`] with a Docker daemon, and how long it took from the start of the process to
    /// the first answer.
    pub(super) fn start_with(
        data: &Path,
        slots: usize,
        docker: Option<&str>,
    ) -> Result<(Self, Duration)> {
        Self::start_env(
            data,
            slots,
            docker.map(|host| ("DOCKER_HOST", host)).as_slice(),
        )
    }

    /// [`Server::start`] with further variables.
    pub(super) fn start_env(
        data: &Path,
        slots: usize,
        env: &[(&str, &str)],
    ) -> Result<(Self, Duration)> {
        // A port that is free now. Asking the server for its own would need its first line.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let begun = Instant::now();
        let child = Command::new(windlass())
            .arg("--data")
            .arg(data)
            .args(["serve", "--listen", &address, "--slots", &slots.to_string()])
            .env("WINDLASS_LOG", "warn")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("could not start the server")?;
        let mut server = Self {
            child,
            address,
            token: String::new(),
        };
        let mut client = server.client();
        while client.get("/healthz").is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended ({status})");
            }
            if begun.elapsed() > LIMIT {
                bail!("the server did not answer");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = begun.elapsed();
        let token = std::fs::read_to_string(data.join("admin.token"))?;
        server.token = token.trim().to_owned();
        Ok((server, took))
    }

    pub(super) fn client(&self) -> Client {
        Client::new(&self.address, &self.token)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that it has now, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing that a kill could damage.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("the server could not be stopped: {error}");
        }
    }
}

/// VmRSS of a process in bytes.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let file = std::fs::File::open(format!("/proc/{pid}/status"))?;
    for line in BufReader::new(file).lines() {
        if let Some(size) = line?.strip_prefix("VmRSS:") {
            let kilobytes = size.trim().trim_end_matches(" kB").parse::<u64>()?;
            return Ok(kilobytes * 1024);
        }
    }
    bail!("process {pid} has no memory");
}

/// Does something, and says what was the most memory that a process had meanwhile (looked at every
/// 5 ms), in bytes.
pub(super) fn peak_while(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let (peak, over) = (AtomicU64::new(resident(pid)?), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Ok(now) = resident(pid) {
                    peak.fetch_max(now, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })?;
    Ok(peak.into_inner())
}

/// A bare repository whose only file is a spec.
pub(super) struct Repository {
    pub(super) path: PathBuf,
    spec: String,
}

impl Repository {
    pub(super) fn create(folder: &Path, name: &str, spec: &str) -> Result<Self> {
        let repository = Self {
            path: folder.join(format!("{name}.git")),
            spec: spec.to_owned(),
        };
        let path = repository.path.to_string_lossy().into_owned();
        let mut init = Command::new("git");
        init.args(["init", "--quiet", "--bare", "--initial-branch=main", &path]);
        output(init)?;
        Ok(repository)
    }

    /// A new commit on `main`, without a work tree.
    pub(super) fn commit(&self, message: &str) -> Result<String> {
        let spec = self.path.join("spec");
        std::fs::write(&spec, &self.spec)?;
        let blob = self.git(&["hash-object", "-w", "--", &spec.to_string_lossy()])?;
        let listing = self.path.join("tree");
        std::fs::write(&listing, format!("100644 blob {blob}\twindlass.yml\n"))?;
        let mut mktree = self.command(&["mktree"]);
        let tree = mktree
            .stdin(std::fs::File::open(&listing)?)
            .output()
            .context("could not run git mktree")?;
        let tree = String::from_utf8_lossy(&tree.stdout).trim().to_owned();
        let commit = self.git(&["commit-tree", &tree, "-m", message])?;
        self.git(&["update-ref", "refs/heads/main", &commit])?;
        Ok(commit)
    }

    fn git(&self, args: &[&str]) -> Result<String> {
        output(self.command(args))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&self.path).args(args);
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "bench");
            git.env(format!("GIT_{role}_EMAIL"), "bench@example.org");
        }
        git
    }

    /// Lets the server of this data folder build it, under `name`.
    pub(super) fn add_to(&self, data: &Path, name: &str) -> Result<()> {
        let path = self.path.to_string_lossy();
        cli(data, &["repo", "add", name, "--url", &path])
    }
}

/// Runs a command of windlass beside the server.
pub(super) fn cli(data: &Path, args: &[&str]) -> Result<()> {
    let mut windlass = Command::new(windlass());
    windlass.arg("--data").arg(data).args(args);
    output(windlass).map(drop)
}

/// Starts a build by hand and returns its number.
pub(super) fn build(client: &mut Client, repo: &str, revision: &str) -> Result<u64> {
    let wish = json!({"revision": revision, "git_ref": "refs/heads/main"}).to_string();
    let answer = client.post(
        &format!("/api/v1/repos/{repo}/builds"),
        &[],
        wish.as_bytes(),
    )?;
    let answer: Value = serde_json::from_slice(&answer)?;
    answer["number"].as_u64().context("the build has no number")
}

/// Waits until the build has ended (`sealed`: and its logs are sealed), and returns it. Asks every
/// 5 ms: the server's own times are what is measured.
pub(super) fn wait(client: &mut Client, repo: &str, number: u64, sealed: bool) -> Result<Value> {
    let build = ended(client, repo, number, sealed)?;
    if build["state"] != "passed" {
        bail!("build {number} of {repo} did not pass: {build}");
    }
    Ok(build)
}

/// [`wait`] for any end.
pub(super) fn ended(client: &mut Client, repo: &str, number: u64, sealed: bool) -> Result<Value> {
    let begun = Instant::now();
    let path = format!("/api/v1/repos/{repo}/builds/{number}");
    loop {
        let build: Value = serde_json::from_slice(&client.get(&path)?)?;
        let attempt = build["attempts"].as_array().and_then(|list| list.last());
        let done = attempt.is_some_and(|attempt| attempt["phase"] == "done");
        if !build["finished_ms"].is_null() && (done || !sealed) {
            return Ok(build);
        }
        if begun.elapsed() > LIMIT {
            bail!("build {number} of {repo} does not end: {build}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
