//! What can go wrong between a URL and a workspace, as people need to hear it.
//!
//! git says it in English sentences (every call has `LC_ALL=C`); [`from_git`] knows them.

use std::path::Path;
use std::time::Duration;

use windlass_model::Revision;

use crate::git::GitError;

/// Why there is no workspace. `Display` says what happened, [`CheckoutError::hint`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// The server doesn't have the commit (any more).
    #[error("commit {revision} is not in {url}")]
    NoSuchRevision {
        /// What was asked for.
        revision: Revision,
        /// Where, without credentials.
        url: String,
    },
    /// The server doesn't have the branch or tag.
    #[error("{git_ref} is not in {url}")]
    NoSuchRef {
        /// What was asked for.
        git_ref: String,
        /// Where, without credentials.
        url: String,
    },
    /// The server wants to know who we are, or doesn't believe it.
    #[error("{url} refused us: {detail}")]
    AuthenticationFailed {
        /// Where, without credentials.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// Nothing is there, or the server hides it from us.
    #[error("there is no repository at {url}")]
    RepositoryNotFound {
        /// Where, without credentials.
        url: String,
    },
    /// The name of the server can't be resolved.
    #[error("the host of {url} is unknown: {detail}")]
    HostUnknown {
        /// Where, without credentials.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// The server is there, but nothing listens, or there is no way to it.
    #[error("{url} can't be reached: {detail}")]
    ConnectionRefused {
        /// Where, without credentials.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// The server doesn't answer.
    #[error("{url} doesn't answer: {detail}")]
    ConnectionTimeout {
        /// Where, without credentials.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// ssh doesn't know the server's key, or knows another one.
    #[error("the ssh host key of {url} is not known here: {detail}")]
    HostKeyUnknown {
        /// Where, without credentials.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// The server's certificate is not trusted here.
    #[error("the certificate of {url} is not valid here: {detail}")]
    CertificateInvalid {
        /// Where, without credentials.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// No room for the objects or for the files.
    #[error("the disk is full: {detail}")]
    DiskFull {
        /// The system's words.
        detail: String,
    },
    /// A local repository belongs to another user.
    #[error("{url} belongs to another user: {detail}")]
    DubiousOwnership {
        /// Its path.
        url: String,
        /// git's own words.
        detail: String,
    },
    /// What was asked for, or what the repository holds, is not safe.
    #[error("refused: {what}")]
    Refused {
        /// What, and why.
        what: String,
    },
    /// The spec wants Git LFS, and this machine doesn't have it.
    #[error("the spec asks for Git LFS, but git-lfs is not installed on this machine")]
    LfsMissing,
    /// git is not on the `PATH`.
    #[error("git is not installed on this machine")]
    GitMissing,
    /// git is too old.
    #[error("git {found} is too old: 2.39 or later is needed")]
    GitTooOld {
        /// What `git version` says.
        found: String,
    },
    /// git took too long and was killed.
    #[error("git did not finish within {} s and was stopped", after.as_secs())]
    TimedOut {
        /// The limit.
        after: Duration,
    },
    /// The mirror is damaged. It is removed and fetched anew once before anybody sees this.
    #[error("the local mirror is damaged: {detail}")]
    MirrorDamaged {
        /// git's own words.
        detail: String,
    },
    /// A file or folder of ours can't be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// git said something that is not known here.
    #[error("git failed: {stderr}")]
    Other {
        /// The end of what it said.
        stderr: String,
    },
}

impl CheckoutError {
    /// What a person can do about it: one sentence, to be shown below the message.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoSuchRevision { .. } => {
                "The branch was probably force-pushed or deleted after this build was triggered. \
                 Build its present tip instead."
            }
            Self::NoSuchRef { .. } => {
                "Check the spelling. The branch or tag may have been deleted."
            }
            Self::AuthenticationFailed { .. } => {
                "Check the repository's credential: it may have expired, or lack the right to \
                 read the contents. For ssh, check that the key is loaded and known to the server."
            }
            Self::RepositoryNotFound { .. } => {
                "Check the URL. Many servers also say this when the credential is missing or may \
                 not see a private repository."
            }
            Self::HostUnknown { .. } => {
                "Check the host name in the URL, and the DNS of the machine that runs Windlass."
            }
            Self::ConnectionRefused { .. } => {
                "Check that the server runs, and that no firewall or wrong port stands between."
            }
            Self::ConnectionTimeout { .. } => {
                "Check the network, the firewall and the proxy settings, then run the build again."
            }
            Self::HostKeyUnknown { .. } => {
                "Put the server's key into ~/.ssh/known_hosts of the user who runs Windlass \
                 (ssh-keyscan HOST, then compare the fingerprint with the published one)."
            }
            Self::CertificateInvalid { .. } => {
                "Install the certificate authority on this machine, or name its file with git's \
                 http.sslCAInfo. The date of this machine may be wrong too."
            }
            Self::DiskFull { .. } => {
                "Free some space in Windlass's data folder. Old mirrors and workspaces may be \
                 deleted while no build runs."
            }
            Self::DubiousOwnership { .. } => {
                "Run Windlass as the owner of the repository, or say `git config --global --add \
                 safe.directory PATH` as the user who runs it."
            }
            Self::Refused { .. } => {
                "This could reach outside of the workspace or run something on the server, so \
                 there is no switch to allow it. Change the repository or the URL."
            }
            Self::LfsMissing => {
                "Install git-lfs on the machine that runs Windlass, or remove `lfs` from `clone`."
            }
            Self::GitMissing => "Install git 2.39 or later on the machine that runs Windlass.",
            Self::GitTooOld { .. } => "Upgrade git on the machine that runs Windlass.",
            Self::TimedOut { .. } => {
                "The repository may be very large: fetch less history (`clone: depth`), or raise \
                 the limit."
            }
            Self::MirrorDamaged { .. } => {
                "It came back after a fresh fetch: check the disk, or the repository itself with \
                 `git fsck`."
            }
            Self::Io { .. } => "Check the rights on Windlass's data folder, and the disk.",
            Self::Other { .. } => "Try the same fetch by hand, as the user who runs Windlass.",
        }
    }

    pub(super) fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |source| match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull {
                detail: format!("{what}: {source}"),
            },
            _ => Self::Io { what, source },
        }
    }
}

impl From<GitError> for CheckoutError {
    /// For calls that reach no server.
    fn from(error: GitError) -> Self {
        from_git(error, "the repository")
    }
}

/// What the classes of git's complaints look like. The first line of the table that fits wins, so
/// causes stand before their consequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Complaint {
    DiskFull,
    DubiousOwnership,
    HostKey,
    Certificate,
    HostUnknown,
    Timeout,
    Refused,
    Authentication,
    NotFound,
    Connection,
    NoSuchRef,
    NoSuchObject,
    NoShallow,
    Unsafe,
    Damaged,
}

const COMPLAINTS: &[(Complaint, &[&str])] = &[
    (
        Complaint::DiskFull,
        &["No space left on device", "Disk quota exceeded"],
    ),
    (Complaint::DubiousOwnership, &["detected dubious ownership"]),
    (
        Complaint::HostKey,
        &[
            "Host key verification failed",
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
        ],
    ),
    (
        Complaint::Certificate,
        &[
            "SSL certificate problem",
            "certificate verification failed",
            "SSL: no alternative certificate subject",
            "SSL: certificate subject name",
            "error setting certificate",
            "certificate has expired",
        ],
    ),
    (
        Complaint::HostUnknown,
        &[
            "Could not resolve host",
            "Name or service not known",
            "Temporary failure in name resolution",
            "nodename nor servname provided",
            "unable to look up",
        ],
    ),
    (
        Complaint::Timeout,
        &[
            "Connection timed out",
            "Operation timed out",
            "Timeout was reached",
            "Operation too slow",
            "Resolving timed out",
            "Connection timeout",
        ],
    ),
    (
        Complaint::Authentication,
        &[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "unable to get password",
            "Permission denied (",
            "Too many authentication failures",
            "The requested URL returned error: 401",
            "The requested URL returned error: 403",
        ],
    ),
    (
        Complaint::NoShallow,
        &[
            "dumb http transport does not support shallow",
            "Server does not support shallow",
            "does not support --depth",
        ],
    ),
    (
        Complaint::NoSuchObject,
        &[
            "not our ref",
            "unadvertised object",
            "no such remote ref",
            "upload-pack: not our",
            "remote did not send all necessary objects for requested",
        ],
    ),
    (
        Complaint::NoSuchRef,
        &["couldn't find remote ref", "Couldn't find remote ref"],
    ),
    (
        Complaint::NotFound,
        &[
            "Repository not found",
            "' not found",
            "does not appear to be a git repository",
            "repository not exported",
            "The requested URL returned error: 404",
            "The requested URL returned error: 410",
            "could not be found or you don't have permission",
            "' does not exist",
        ],
    ),
    (
        Complaint::Connection,
        &[
            "Connection refused",
            "Couldn't connect to server",
            "Could not connect to server",
            "Failed to connect to",
            "No route to host",
            "Network is unreachable",
            "Connection reset by",
            "Connection closed by",
            "unable to connect to",
        ],
    ),
    (
        Complaint::Refused,
        &[
            "' not allowed",
            "is not allowed",
            "strange hostname",
            "strange pathname",
        ],
    ),
    (
        Complaint::Unsafe,
        &[
            "fsck error",
            "invalid path '",
            "Invalid path '",
            "File name too long",
            "is beyond a symbolic link",
            ": hasDotgit",
        ],
    ),
    (
        Complaint::Damaged,
        &[
            "not a git repository",
            "is corrupt",
            "corrupt loose object",
            "loose object",
            "bad object",
            "bad tree object",
            "failed to unpack tree object",
            "unable to read tree",
            "unable to read sha1 file",
            "failed to read object",
            "packfile /",
            "far too short to be a packfile",
            "is too small",
            "index not opened",
            "inflate: data stream error",
            "did not send all necessary objects",
            "bad config",
            "bad shallow line",
            "unexpected line in",
            "object file",
            "unknown error in object",
            "repository format version",
            "missing blob",
        ],
    ),
];

/// Finds the class and the line that says it. What the server's people say (`remote: ...`) is for
/// people only: a hostile server must not steer us by it.
pub(super) fn complaint(stderr: &str) -> Option<(Complaint, String)> {
    let lines = || stderr.lines().filter(|l| !l.starts_with("remote: "));
    COMPLAINTS.iter().find_map(|(class, patterns)| {
        lines()
            .find(|line| patterns.iter().any(|p| line.contains(p)))
            .map(|line| (*class, shorten(line)))
    })
}

/// Turns git's failure into ours. `url` has no credentials in it.
pub(super) fn from_git(error: GitError, url: &str) -> CheckoutError {
    let stderr = match error {
        GitError::Missing => return CheckoutError::GitMissing,
        GitError::TooOld { found } => return CheckoutError::GitTooOld { found },
        GitError::TimedOut { after } => return CheckoutError::TimedOut { after },
        GitError::Spawn(source) => {
            return CheckoutError::Io {
                what: "starting git".into(),
                source,
            };
        }
        GitError::Failed { stderr, status } if stderr.trim().is_empty() => {
            return CheckoutError::Other {
                stderr: format!("it said nothing ({status})"),
            };
        }
        GitError::Failed { stderr, .. } => stderr,
    };
    let url = url.to_owned();
    let Some((class, detail)) = complaint(&stderr) else {
        let from = stderr.len().saturating_sub(4096);
        let from = (from..stderr.len())
            .find(|&i| stderr.is_char_boundary(i))
            .unwrap_or(0);
        return CheckoutError::Other {
            stderr: stderr[from..].trim().to_owned(),
        };
    };
    match class {
        Complaint::DiskFull => CheckoutError::DiskFull { detail },
        Complaint::DubiousOwnership => CheckoutError::DubiousOwnership { url, detail },
        Complaint::HostKey => CheckoutError::HostKeyUnknown { url, detail },
        Complaint::Certificate => CheckoutError::CertificateInvalid { url, detail },
        Complaint::HostUnknown => CheckoutError::HostUnknown { url, detail },
        Complaint::Timeout => CheckoutError::ConnectionTimeout { url, detail },
        Complaint::Authentication => CheckoutError::AuthenticationFailed { url, detail },
        Complaint::NotFound => CheckoutError::RepositoryNotFound { url },
        Complaint::Connection => CheckoutError::ConnectionRefused { url, detail },
        Complaint::Refused => CheckoutError::Refused { what: detail },
        Complaint::Unsafe => CheckoutError::Refused {
            what: unsafe_objects(&stderr, detail),
        },
        Complaint::Damaged => CheckoutError::MirrorDamaged { detail },
        // The caller knows what it asked for, and has looked at these before.
        Complaint::NoSuchRef | Complaint::NoSuchObject | Complaint::NoShallow => {
            CheckoutError::Other { stderr: detail }
        }
    }
}

/// The line that names the object is worth more than the one that says that there was one.
fn unsafe_objects(stderr: &str, detail: String) -> String {
    match stderr
        .lines()
        .find(|l| l.contains("object ") && l.contains(": "))
    {
        Some(line) if !line.contains("fsck error") => {
            format!(
                "the repository holds what git calls unsafe: {}",
                shorten(line)
            )
        }
        _ => detail,
    }
}

fn shorten(line: &str) -> String {
    let line = line.trim();
    let line = line
        .strip_prefix("fatal: ")
        .or(line.strip_prefix("error: "))
        .unwrap_or(line);
    line.chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real sentences: of git 2.39 and 2.47, OpenSSH 9.2, GitHub, GitLab, Gitea.
    #[test]
    fn sentences_are_understood() {
        use Complaint as C;
        for (stderr, expected) in [
            (
                "fatal: unable to access 'https://nope.invalid/a/': Could not resolve host: nope.invalid",
                C::HostUnknown,
            ),
            (
                "ssh: Could not resolve hostname nope.invalid: Name or service not known\nfatal: Could not read from remote repository.",
                C::HostUnknown,
            ),
            (
                "fatal: unable to access 'http://127.0.0.1:1/a/': Failed to connect to 127.0.0.1 port 1 after 0 ms: Couldn't connect to server",
                C::Connection,
            ),
            (
                "ssh: connect to host 127.0.0.1 port 1: Connection refused\nfatal: Could not read from remote repository.",
                C::Connection,
            ),
            (
                "ssh: connect to host 10.255.255.1 port 22: Connection timed out\nfatal: Could not read from remote repository.",
                C::Timeout,
            ),
            (
                "No ED25519 host key is known for example.com and you have requested strict checking.\nHost key verification failed.\nfatal: Could not read from remote repository.",
                C::HostKey,
            ),
            (
                "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\nIT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!",
                C::HostKey,
            ),
            (
                "git@github.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                C::Authentication,
            ),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
                C::Authentication,
            ),
            (
                "remote: Invalid username or token.\nfatal: Authentication failed for 'https://github.com/a/b/'",
                C::Authentication,
            ),
            (
                "fatal: unable to access 'https://h/a/': The requested URL returned error: 403",
                C::Authentication,
            ),
            (
                "remote: Repository not found.\nfatal: repository 'https://github.com/a/b/' not found",
                C::NotFound,
            ),
            (
                "ERROR: Repository not found.\nfatal: Could not read from remote repository.",
                C::NotFound,
            ),
            (
                "fatal: '/srv/x' does not appear to be a git repository",
                C::NotFound,
            ),
            (
                "fatal: remote error: access denied or repository not exported: /x",
                C::NotFound,
            ),
            (
                "fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate",
                C::Certificate,
            ),
            (
                "fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none CRLfile: none",
                C::Certificate,
            ),
            (
                "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output",
                C::DiskFull,
            ),
            (
                "fatal: detected dubious ownership in repository at '/srv/a.git'",
                C::DubiousOwnership,
            ),
            ("fatal: unable to get password from user", C::Authentication),
            ("fatal: couldn't find remote ref refs/heads/x", C::NoSuchRef),
            (
                "fatal: remote error: upload-pack: not our ref 1234567890123456789012345678901234567890",
                C::NoSuchObject,
            ),
            (
                "error: Server does not allow request for unadvertised object 1234",
                C::NoSuchObject,
            ),
            ("fatal: transport 'ext' not allowed", C::Refused),
            (
                "error: object 1234: hasDotgit: contains '.git'\nfatal: fsck error in packed object",
                C::Unsafe,
            ),
            ("error: invalid path '.git/config'", C::Unsafe),
            (
                "error: inflate: data stream error (incorrect header check)",
                C::Damaged,
            ),
            (
                "fatal: packed object 12 (stored in /x/y.pack) is corrupt",
                C::Damaged,
            ),
            (
                "fatal: dumb http transport does not support shallow capabilities",
                C::NoShallow,
            ),
        ] {
            assert_eq!(complaint(stderr).map(|c| c.0), Some(expected), "{stderr}");
        }
        assert_eq!(complaint("fatal: something new"), None);
    }

    #[test]
    fn a_broken_conversation_is_not_a_broken_mirror() {
        for stderr in [
            "fatal: expected 'packfile'",
            "fatal: early EOF\nfatal: fetch-pack: invalid index-pack output",
            "fatal: Could not read from remote repository.",
            "fatal: the remote end hung up unexpectedly",
        ] {
            assert_eq!(complaint(stderr), None, "{stderr}");
        }
    }

    #[test]
    fn a_server_cannot_steer_us_by_what_it_says() {
        assert_eq!(complaint("remote: fatal: the packfile is corrupt"), None);
    }
}
