//! What can go wrong with a copy, sorted by what is to be done about it.

use std::time::Duration;

use windlass_logs::LogError;

/// A result with this crate's error.
pub type Result<T> = std::result::Result<T, ArchiveError>;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The other side does not work, or does not let us in: nothing else will do better there now.
    #[error("{reason}")]
    Outage {
        /// What was tried and what came of it.
        reason: String,
        /// How long the other side asked us to wait.
        after: Option<Duration>,
    },
    /// This one log could not be handled now; others may.
    #[error("{reason}")]
    Later {
        /// What was tried and what came of it.
        reason: String,
    },
    /// It will be refused again and again, until somebody changes something.
    #[error("{reason}")]
    Refused {
        /// What was refused and why.
        reason: String,
    },
    /// What was looked for is not there.
    #[error("{reason}")]
    Missing {
        /// What is missing.
        reason: String,
    },
    /// What is there is not what was written.
    #[error("{reason}")]
    Differs {
        /// What differs.
        reason: String,
    },
    /// What we were told can't be used.
    #[error("{reason}")]
    Setting {
        /// What is wrong with it, and how it should look.
        reason: String,
    },
    /// The local log could not be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ArchiveError {
    pub(crate) fn outage(reason: impl Into<String>) -> Self {
        Self::Outage {
            reason: reason.into(),
            after: None,
        }
    }

    pub(crate) fn later(reason: impl Into<String>) -> Self {
        Self::Later {
            reason: reason.into(),
        }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused {
            reason: reason.into(),
        }
    }

    pub(crate) fn missing(reason: impl Into<String>) -> Self {
        Self::Missing {
            reason: reason.into(),
        }
    }

    pub(crate) fn differs(reason: impl Into<String>) -> Self {
        Self::Differs {
            reason: reason.into(),
        }
    }

    pub(crate) fn setting(reason: impl Into<String>) -> Self {
        Self::Setting {
            reason: reason.into(),
        }
    }
}

/// Runs what blocks on a thread where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ArchiveError::later(format!(
            "a task of ours ended badly: {error}"
        ))),
    }
}
