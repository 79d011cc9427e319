//! What can go wrong between a URL and a workspace, as people need to hear it.
//!
//! What git's own sentences mean is in `complaint.rs`.

use std::path::Path;
use std::time::Duration;

use windlass_model::Revision;

use super::complaint::{Complaint, complaint, shorten};
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
