//! Repositories made on the spot, and short words for what every test does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;
use windlass_engine::checkout::{CheckoutError, Credential, Fetched, Mirror, Source, checkout};
use windlass_engine::git::Git;
use windlass_model::plan::ClonePlan;
use windlass_model::{Revision, Secret};

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    pub(crate) git: Git,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let git = Git::find()
            .expect("git 2.39 or later is needed: apt-get install git")
            .with_env("HOME", dir.path().join("home"))
            .with_env("GIT_CONFIG_NOSYSTEM", "1");
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir, git }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An empty bare repository, and a folder in which commits are made for it.
    pub(crate) fn repo(&self, name: &str) -> Repo {
        let path = self.path("srv").join(name);
        std::fs::create_dir_all(&path).unwrap();
        let repo = Repo {
            path,
            home: self.path("home"),
        };
        repo.run(&["init", "-q", "--bare", "-b", "main", "."]);
        repo
    }

    pub(crate) fn mirror(&self) -> Mirror {
        Mirror::open(&self.path("mirrors"), "demo").unwrap()
    }

    pub(crate) async fn ensure(
        &self,
        source: &Source,
        revision: &Revision,
        plan: &ClonePlan,
    ) -> Result<Fetched, CheckoutError> {
        self.mirror()
            .ensure(&self.git, source, revision, plan, &|_| ())
            .await
    }

    /// Checks out into `workspace`, below the laboratory's folder.
    pub(crate) async fn checkout(
        &self,
        source: &Source,
        revision: &Revision,
        plan: &ClonePlan,
        workspace: &str,
    ) -> Result<PathBuf, CheckoutError> {
        let path = self.path(workspace);
        let mirror = self.mirror();
        checkout(&self.git, &mirror, source, revision, plan, &path, &|_| ()).await?;
        Ok(path)
    }

    /// Runs git in a workspace, as a build's step would.
    pub(crate) fn ask(&self, workspace: &Path, args: &[&str]) -> String {
        Repo {
            path: workspace.to_owned(),
            home: self.path("home"),
        }
        .run(args)
    }
}

pub(crate) struct Repo {
    pub(crate) path: PathBuf,
    home: PathBuf,
}

impl Repo {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(&self.path)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "Ada")
                .env(format!("GIT_{who}_EMAIL"), "ada@example.com")
                .env(format!("GIT_{who}_DATE"), "2026-01-02T03:04:05Z");
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> String {
        self.feed(args, b"")
    }

    pub(crate) fn feed(&self, args: &[&str], input: &[u8]) -> String {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let out = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(
            out.status.success(),
            "git {args:?} in {}: {stderr}",
            self.path.display()
        );
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> String {
        self.feed(&["hash-object", "-w", "--stdin"], bytes)
    }

    /// A tree exactly as given, legal or not: mode, name, object.
    pub(crate) fn tree(&self, entries: &[(&str, &str, &str)]) -> String {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(format!("{mode} {name}\0").as_bytes());
            let pairs = id.as_bytes().chunks(2);
            bytes.extend(
                pairs.map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()),
            );
        }
        self.feed(
            &["hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
            &bytes,
        )
    }

    /// A commit of a tree on top of a branch, which moves to it.
    pub(crate) fn commit_tree(&self, branch: &str, tree: &str) -> Revision {
        let name = format!("refs/heads/{branch}");
        let old = self.run(&["for-each-ref", "--format=%(objectname)", &name]);
        let mut args = vec!["commit-tree", "-m", "a commit", tree];
        if !old.is_empty() {
            args.extend(["-p", &old]);
        }
        let id = self.run(&args);
        self.run(&["update-ref", &name, &id]);
        id.parse().unwrap()
    }

    /// A commit on `main` with exactly these files. Folders in names are made.
    pub(crate) fn commit(&self, files: &[(&str, &str)]) -> Revision {
        let files: Vec<_> = files
            .iter()
            .map(|(n, t)| (*n, "100644", t.as_bytes()))
            .collect();
        self.commit_on("main", &files, &[])
    }

    /// A commit on a branch: files with their modes, and submodules with their commits.
    pub(crate) fn commit_on(
        &self,
        branch: &str,
        files: &[(&str, &str, &[u8])],
        submodules: &[(&str, &Revision)],
    ) -> Revision {
        let mut lines = String::new();
        for (name, mode, bytes) in files {
            lines.push_str(&format!("{mode} {}\t{name}\n", self.blob(bytes)));
        }
        for (name, revision) in submodules {
            lines.push_str(&format!("160000 {revision}\t{name}\n"));
        }
        let _ = std::fs::remove_file(self.path.join("lab-index"));
        let with_index = |args: &[&str], input: &str| {
            let config = ["-c", "core.protectNTFS=false"];
            let mut child = self
                .command(&[&config[..], args].concat())
                .env("GIT_INDEX_FILE", self.path.join("lab-index"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child
                .stdin
                .take()
                .unwrap()
                .write_all(input.as_bytes())
                .unwrap();
            let out = child.wait_with_output().unwrap();
            assert!(out.status.success(), "git {args:?}");
            String::from_utf8(out.stdout).unwrap().trim().to_owned()
        };
        with_index(&["update-index", "--add", "--index-info"], &lines);
        let tree = with_index(&["write-tree", "--missing-ok"], "");
        self.commit_tree(branch, &tree)
    }

    /// As a source: the local path.
    pub(crate) fn source(&self) -> Source {
        source(self.path.to_str().unwrap())
    }
}

pub(crate) fn source(url: &str) -> Source {
    Source {
        url: url.to_owned(),
        credential: None,
        git_ref: None,
    }
}

pub(crate) fn with_password(mut source: Source, username: &str, password: &str) -> Source {
    let (username, password) = (username.to_owned(), Secret::new(password));
    source.credential = Some(Credential { username, password });
    source
}

pub(crate) fn depth(depth: impl Into<Option<u32>>) -> ClonePlan {
    ClonePlan {
        depth: depth.into(),
        ..ClonePlan::default()
    }
}

pub(crate) fn with_submodules() -> ClonePlan {
    ClonePlan {
        submodules: true,
        ..ClonePlan::default()
    }
}

/// Text that no compression makes small: its pack is half a megabyte.
pub(crate) fn noise() -> String {
    (0..120_000u32)
        .map(|i| format!("{:08x}", i.wrapping_mul(i ^ 2_654_435_761)))
        .collect()
}

/// Every byte of every file below a folder, for looking for what must not be there.
pub(crate) fn everything_in(dir: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.extend(everything_in(&entry.path()));
        } else if entry.file_type().unwrap().is_file() {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

pub(crate) fn contains(hay: &[u8], needle: &str) -> bool {
    hay.windows(needle.len()).any(|w| w == needle.as_bytes())
}

pub(crate) fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref())
        .unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display()))
}

/// Unwraps an error of the expected kind, and shows what came instead.
macro_rules! assert_error {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {
        match $result {
            Err(error) => {
                assert!(
                    matches!(&error, $pattern $(if $guard)?),
                    "another error: {error:?}"
                );
                assert!(!error.hint().is_empty());
                error.to_string()
            }
            Ok(_) => panic!("no error, expected {}", stringify!($pattern)),
        }
    };
}
pub(crate) use assert_error;
