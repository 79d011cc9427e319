//! What can go wrong with log files, always with the path and what was tried.

use std::io;
use std::path::{Path, PathBuf};

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, LogError>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The system refused something.
    #[error("can't {doing} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `write`, ...
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file of ours does not hold what it must hold.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another recorder, or a sealing, works on this folder right now.
    #[error("{} is in use by another recorder", dir.display())]
    InUse {
        /// The attempt's folder.
        dir: PathBuf,
    },
    /// The logs are sealed: nothing can be added any more.
    #[error("the log of step {step} in {} is sealed", dir.display())]
    Sealed {
        /// The attempt's folder.
        dir: PathBuf,
        /// The step.
        step: u32,
    },
    /// The recorder can't go on: it failed before (open it again), or the job was declared lost.
    #[error("the recorder of {} takes no more: {reason}", dir.display())]
    Closed {
        /// The attempt's folder.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// The log holds less or more than was recorded. Open a recorder: it repairs the log from the
    /// journal.
    #[error("{} holds {found} bytes, {expected} were recorded", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes that it should hold.
        expected: u64,
        /// Bytes that it holds.
        found: u64,
    },
    /// The caller's writer (a socket, a file) failed while a log was copied to it.
    #[error("can't pass the log on: {0}")]
    Output(#[source] io::Error),
}

impl LogError {
    /// Whether there is no room: the disk or a quota is full. Trying again later can help.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Adds what was tried, on which path, to the system's answer.
pub(crate) trait Doing<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| LogError::Io {
            doing,
            path: path.to_owned(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_recognised_and_the_path_is_named() {
        let full: io::Result<()> = Err(io::Error::from_raw_os_error(28));
        let error = full.doing("write", Path::new("/logs/0.log")).unwrap_err();
        assert!(error.is_disk_full());
        assert!(error.to_string().starts_with("can't write /logs/0.log: "));
        let denied: io::Result<()> = Err(io::Error::from_raw_os_error(13));
        assert!(
            !denied
                .doing("open", Path::new("x"))
                .unwrap_err()
                .is_disk_full()
        );
    }
}
