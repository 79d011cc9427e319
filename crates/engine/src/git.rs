//! The git program, run so that nothing on the way can hurt.
//!
//! Every call gets an environment of its own instead of ours: no prompt can appear, no pager, no
//! hook, no file system monitor, no transport but the ones that the call names. What the user who
//! runs Windlass has put into `~/.gitconfig` stays readable on purpose (`url.*.insteadOf`,
//! `safe.directory`, proxies, certificates and credential helpers live there), but the settings
//! that could run something or change what is written are overridden. All of it travels in the
//! environment (`GIT_CONFIG_COUNT`), never in the argument list, where every user of the machine
//! could read it.
//!
//! A call is a process group of its own. Dropping its future kills the whole group.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use crate::checkout::process::{Group, Tail, keep_head};
use crate::checkout::{Credential, Log};

/// The oldest git that knows everything used here (and has the fixes of the 2022 CVEs).
pub const MINIMUM_VERSION: (u32, u32) = (2, 39);

/// How long a process that git left behind may hold the pipes open after git itself has ended (a
/// shared ssh connection does).
const PIPE_GRACE: Duration = Duration::from_millis(500);

/// Variables of our own environment that git may see. Everything else is hidden.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "XDG_CONFIG_HOME",
    "SSH_AUTH_SOCK",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// Settings that hold for every call, whatever the user's configuration says.
const SETTINGS: &[(&str, &str)] = &[
    // Nothing may run.
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.pager", "cat"),
    ("core.editor", "false"),
    ("init.templateDir", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("protocol.ext.allow", "never"),
    ("protocol.fd.allow", "never"),
    // What arrives is checked, and what is written stays inside.
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("core.attributesFile", "/dev/null"),
    ("core.excludesFile", "/dev/null"),
    ("transfer.fsckObjects", "true"),
    ("fetch.fsckObjects", "true"),
    // Untidy, common in old histories, and harmless.
    ("fetch.fsck.zeroPaddedFilemode", "ignore"),
    ("fetch.fsck.badFilemode", "ignore"),
    ("fetch.fsck.missingSpaceBeforeDate", "ignore"),
    ("fetch.fsck.missingSpaceBeforeEmail", "ignore"),
    ("fetch.fsck.missingNameBeforeEmail", "ignore"),
    ("fetch.fsck.missingEmail", "ignore"),
    ("fetch.fsck.badEmail", "ignore"),
    ("fetch.fsck.badName", "ignore"),
    ("fetch.fsck.badDate", "ignore"),
    ("fetch.fsck.badDateOverflow", "ignore"),
    ("fetch.fsck.badTimezone", "ignore"),
    ("fetch.fsck.zeroPaddedDate", "ignore"),
    ("fetch.fsck.missingAuthor", "ignore"),
    ("fetch.fsck.multipleAuthors", "ignore"),
    ("fetch.fsck.missingTaggerEntry", "ignore"),
    ("fetch.fsck.nulInCommit", "ignore"),
    // Objects arrive as one pack, however few they are: one file to write and to sync.
    ("fetch.unpackLimit", "1"),
    ("fetch.writeCommitGraph", "false"),
    // A server that says nothing for two minutes is gone. curl takes the rest.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "120"),
    // No question to a person.
    ("credential.interactive", "false"),
    ("advice.detachedHead", "false"),
];

/// Why a call of git gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// There is no `git` on the `PATH`.
    #[error("git was not found on the PATH")]
    Missing,
    /// It is there, but too old.
    #[error("git {found} is too old: 2.39 or later is needed")]
    TooOld {
        /// What `git version` says.
        found: String,
    },
    /// The system could not start it.
    #[error("git could not be started: {0}")]
    Spawn(#[source] std::io::Error),
    /// It was killed when its time was over.
    #[error("git did not end within {} s and was killed", after.as_secs())]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// It ended, and not well.
    #[error("git failed ({status}): {}", stderr.trim())]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said, at most 64 KiB, secrets replaced by `***`.
        stderr: String,
    },
}

/// The git on this machine: where it is, and in which surroundings it runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Git {
    program: Arc<Path>,
    version: String,
    lfs: bool,
    ssh: String,
    environment: Vec<(OsString, OsString)>,
    time_limit: Duration,
}

impl Git {
    /// Looks for git on the `PATH`, and asks it for its version.
    ///
    /// # Errors
    /// [`GitError::Missing`], [`GitError::TooOld`], or [`GitError::Spawn`] when it can't run.
    pub fn find() -> Result<Self, GitError> {
        Self::find_in(
            PASSED_ON
                .iter()
                .filter_map(|&k| Some((k.into(), std::env::var_os(k)?)))
                .collect(),
            std::env::var("GIT_SSH_COMMAND").ok(),
        )
    }

    fn find_in(
        environment: Vec<(OsString, OsString)>,
        ssh: Option<String>,
    ) -> Result<Self, GitError> {
        let path = environment
            .iter()
            .find(|(k, _)| k == "PATH")
            .map(|(_, v)| v.clone());
        let path = path.unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let program = find_program(&path, "git").ok_or(GitError::Missing)?;
        let ask = |args: &[&str]| {
            std::process::Command::new(&program)
                .args(args)
                .env_clear()
                .envs(environment.iter().map(|(k, v)| (k, v)))
                .env("LC_ALL", "C")
                .current_dir("/")
                .stdin(Stdio::null())
                .output()
                .map_err(GitError::Spawn)
                .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
        };
        let version = ask(&["version"])?;
        let version = version
            .strip_prefix("git version ")
            .unwrap_or(&version)
            .to_owned();
        if parse_version(&version) < Some(MINIMUM_VERSION) {
            return Err(GitError::TooOld { found: version });
        }
        // `core.sshCommand` is where people name their deploy key. Our own command must replace
        // it (to forbid questions), so it is built on top of theirs.
        let ssh = match ssh {
            Some(ssh) => ssh,
            None => ask(&["config", "--get", "core.sshCommand"])?,
        };
        let ssh = if ssh.trim().is_empty() {
            "ssh".to_owned()
        } else {
            ssh
        };
        Ok(Self {
            lfs: find_program(&path, "git-lfs").is_some(),
            program: program.into(),
            version,
            ssh,
            environment,
            time_limit: Duration::from_secs(30 * 60),
        })
    }

    /// What `git version` says: `2.47.3`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether `git-lfs` is on the `PATH`.
    pub fn has_lfs(&self) -> bool {
        self.lfs
    }

    /// The limit for each single call; 30 minutes if not set. A call that reaches it is killed.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets one variable for all calls: `HOME`, `GIT_CONFIG_GLOBAL`, a proxy. The settings that
    /// make a call safe can't be undone by it. A new `PATH` changes where `git-lfs` is looked for,
    /// not which git is used.
    #[must_use]
    pub fn with_env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let (key, value) = (key.into(), value.into());
        if key == "PATH" {
            self.lfs = find_program(&value, "git-lfs").is_some();
        }
        self.environment.retain(|(k, _)| *k != key);
        self.environment.push((key, value));
        self
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.environment
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_os_str())
    }

    /// The file in which the user's settings are, found as git does.
    fn user_config(&self) -> Option<PathBuf> {
        if let Some(named) = self.variable("GIT_CONFIG_GLOBAL") {
            return Some(named.into());
        }
        let home = self.variable("HOME").map(PathBuf::from);
        let usual = home.as_ref().map(|h| h.join(".gitconfig"));
        let xdg = self.variable("XDG_CONFIG_HOME").map(PathBuf::from);
        let xdg = xdg
            .or_else(|| home.map(|h| h.join(".config")))
            .map(|x| x.join("git/config"));
        usual.filter(|f| f.exists()).or(xdg)
    }

    /// Prepares one call. It runs in `/`, and may not reach any other repository or server.
    pub(crate) fn call<I, S>(&self, args: I) -> Call<'_>
    where
        I: IntoIterator<Item = S>,
        S: Into<OsString>,
    {
        Call {
            git: self,
            args: args.into_iter().map(Into::into).collect(),
            dir: PathBuf::from("/"),
            environment: Vec::new(),
            settings: Vec::new(),
            access: Access::None,
            secret: None,
            log: None,
            started: None,
        }
    }
}

/// What a call may reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access<'a> {
    /// Nothing but its own directory.
    None,
    /// Other repositories on this machine.
    Local,
    /// Servers. The credential belongs to the origin (`https://host:port`) beside it.
    Server(Option<(&'a str, &'a Credential)>),
    /// Servers that the repository named, not its owner: no key, token, agent or helper of ours.
    Stranger,
}

/// Takes the id of a call's process group when it has begun, and `None` when it is over.
pub(crate) type Started<'a> = &'a (dyn Fn(Option<u32>) + Send + Sync);

/// One call of git, being prepared.
pub(crate) struct Call<'a> {
    git: &'a Git,
    args: Vec<OsString>,
    dir: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    settings: Vec<(String, String)>,
    access: Access<'a>,
    secret: Option<&'a str>,
    log: Option<Log<'a>>,
    started: Option<Started<'a>>,
}

/// What a call that went well has printed.
pub(crate) struct Output {
    /// At most 16 MiB.
    pub(crate) stdout: Vec<u8>,
    /// What it complained about all the same: the end, at most 64 KiB.
    pub(crate) stderr: String,
}

impl<'a> Call<'a> {
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// The directory in which it runs.
    pub(crate) fn dir(mut self, dir: &Path) -> Self {
        self.dir = dir.to_owned();
        self
    }

    /// Names the repository instead of letting git look for one.
    pub(crate) fn git_dir(mut self, dir: &Path) -> Self {
        self.environment.push(("GIT_DIR", dir.into()));
        self
    }

    pub(crate) fn env(mut self, key: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((key, value.into()));
        self
    }

    /// One setting for this call, on top of those that hold for all.
    pub(crate) fn setting(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((key.into(), value.into()));
        self
    }

    pub(crate) fn access(mut self, access: Access<'a>) -> Self {
        self.access = access;
        self
    }

    pub(crate) fn log(mut self, log: Log<'a>) -> Self {
        self.log = Some(log);
        self
    }

    pub(crate) fn started(mut self, started: Started<'a>) -> Self {
        self.started = Some(started);
        self
    }

    /// Applies [`Access`]: which transports git may use, and with what it proves who we are.
    fn apply_access(&mut self) {
        let (protocols, credential, stranger) = match self.access {
            Access::None => ("", None, false),
            Access::Local => ("file", None, false),
            Access::Server(credential) => ("https:http:ssh:git", credential, false),
            Access::Stranger => ("https:http:ssh:git", None, true),
        };
        // Stronger than every `protocol.*.allow`.
        self.environment
            .push(("GIT_ALLOW_PROTOCOL", protocols.into()));
        let options = "-oBatchMode=yes -oConnectTimeout=20 -oServerAliveInterval=30";
        let ssh = if stranger {
            format!(
                "ssh {options} -oIdentitiesOnly=yes -oIdentityAgent=none -oIdentityFile=none \
                 -oForwardAgent=no -oClearAllForwardings=yes"
            )
        } else {
            format!("{} {options}", self.git.ssh)
        };
        self.environment.push(("GIT_SSH_COMMAND", ssh.into()));
        if stranger {
            // No helper may answer, and curl must not find ~/.netrc. The user's settings stay.
            self.settings
                .push(("credential.helper".into(), String::new()));
            if let Some(config) = self.git.user_config() {
                self.environment.push(("GIT_CONFIG_GLOBAL", config.into()));
            }
            self.environment.push(("HOME", "/nonexistent".into()));
        }
        if let Some((origin, credential)) = credential {
            // A helper, not a ready-made header: when a server redirects elsewhere, git asks
            // again for the new host, and this one stays silent. A header would be sent along.
            let key = format!("credential.{origin}.helper");
            self.settings.push((key.clone(), String::new()));
            self.settings.push((
                key,
                r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$WINDLASS_GIT_USERNAME" "$WINDLASS_GIT_PASSWORD"; }; f"#
                    .into(),
            ));
            self.environment
                .push(("WINDLASS_GIT_USERNAME", (&credential.username).into()));
            let password = credential.password.expose();
            self.environment
                .push(("WINDLASS_GIT_PASSWORD", password.into()));
            self.secret = Some(password);
        }
    }

    /// The process as it will be started, stdin empty, stdout and stderr piped.
    pub(crate) fn into_command(mut self) -> Command {
        self.apply_access();
        let mut command = Command::new(&*self.git.program);
        command
            .args(&self.args)
            .current_dir(&self.dir)
            .env_clear()
            .envs(self.git.environment.iter().map(|(k, v)| (k, v)))
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GIT_NO_LAZY_FETCH", "1")
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_LITERAL_PATHSPECS", "1")
            .env("GIT_CEILING_DIRECTORIES", "/")
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if !matches!(self.access, Access::Server(_)) {
            command.env_remove("SSH_AUTH_SOCK");
        }
        let settings = SETTINGS
            .iter()
            .copied()
            .chain(self.settings.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        let mut count = 0;
        for (key, value) in settings {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
        command
    }

    /// Runs it to its end. Dropping the future kills git and everything that it has started.
    pub(crate) async fn run(mut self) -> Result<Output, GitError> {
        let limit = self.git.time_limit;
        let (log, started) = (self.log, self.started.take());
        let secret = match self.access {
            Access::Server(Some((_, c))) => Some(c.password.expose()),
            _ => None,
        };
        let (mut child, mut group) = Group::start(self.into_command())?;
        if let Some(started) = started {
            started(child.id());
        }
        let (mut out, mut err) = (Vec::new(), Tail::new(log, secret));
        let ended = {
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let reading = async {
                tokio::join!(keep_head(stdout, &mut out), err.read(stderr));
            };
            let work = async {
                tokio::pin!(reading);
                let mut drained = false;
                let status = loop {
                    tokio::select! {
                        () = &mut reading, if !drained => drained = true,
                        status = child.wait() => break status,
                    }
                };
                if !drained {
                    let _ = tokio::time::timeout(PIPE_GRACE, &mut reading).await;
                }
                status
            };
            tokio::time::timeout(limit, work).await
        };
        let status = match ended {
            Ok(status) => {
                group.forget();
                status.map_err(GitError::Spawn)
            }
            Err(_) => {
                group.kill();
                let _ = child.wait().await;
                Err(GitError::TimedOut { after: limit })
            }
        };
        if let Some(started) = started {
            started(None);
        }
        let status = status?;
        if status.success() {
            Ok(Output {
                stdout: out,
                stderr: err.into_text(),
            })
        } else {
            Err(GitError::Failed {
                status,
                stderr: err.into_text(),
            })
        }
    }
}

fn find_program(path: &OsStr, name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

/// `2.47.3` or `2.39.5 (Apple Git-154)` -> (2, 39).
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', ' ', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("2.47.3"), Some((2, 47)));
        assert_eq!(parse_version("2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(parse_version("2.50-rc1"), None.or(Some((2, 50))));
        assert!(parse_version("2.9.1") < Some(MINIMUM_VERSION));
        assert!(parse_version("nonsense") < Some(MINIMUM_VERSION));
    }

    #[test]
    fn without_git_on_the_path_it_says_so() {
        let path = vec![("PATH".into(), "/nonexistent".into())];
        assert!(matches!(Git::find_in(path, None), Err(GitError::Missing)));
    }

    #[test]
    fn an_old_git_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("git");
        std::fs::write(&program, "#!/bin/sh\necho git version 2.25.1\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = vec![("PATH".into(), dir.path().into())];
        let error = Git::find_in(path, None).unwrap_err();
        assert!(
            matches!(&error, GitError::TooOld { found } if found == "2.25.1"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_call_that_takes_too_long_is_killed_with_everything_it_started() {
        let git = Git::find()
            .expect("install git 2.39 or later")
            .with_time_limit(Duration::from_millis(300));
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("alive");
        let alias = format!("!sleep 2; touch {}", mark.display());
        let call = git.call(["nap"]).setting("alias.nap", alias);
        assert!(matches!(call.run().await, Err(GitError::TimedOut { .. })));
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(!mark.exists(), "the child of git outlived it");
    }

    #[tokio::test]
    async fn git_sees_none_of_our_environment_and_cannot_ask() {
        let git = Git::find()
            .expect("install git 2.39 or later")
            .with_env("HOME", "/nonexistent");
        let out = git
            .call(["env"])
            .setting("alias.env", "!env")
            .run()
            .await
            .unwrap();
        let env = String::from_utf8(out.stdout).unwrap();
        assert!(!env.contains("CARGO"), "{env}");
        for line in ["GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true", "LC_ALL=C"] {
            assert!(env.lines().any(|l| l == line), "{line} is missing:\n{env}");
        }
    }
}
