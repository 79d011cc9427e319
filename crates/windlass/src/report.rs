//! Errors as people see them, and the exit codes: the one place where both are decided.
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done; for `run` and `logs -f`: the build passed |
//! | 1 | the build failed |
//! | 2 | the command line was wrong |
//! | 3 | the build spec has errors |
//! | 4 | the thing can't be done as asked: no such build, a wrong folder, a bad configuration |
//! | 5 | the server can't be reached |
//! | 70 | we are broken |
//! | 130 | interrupted |
//!
//! `windlass migrate` stands beside other people's programs in scripts and images, and has its own,
//! which `windlass db` shares:
//!
//! | exit code | meaning |
//! | --- | --- |
//! | 0 | done, nothing to do, compatible |
//! | 1 | it failed |
//! | 2 | the command line was wrong |
//! | 3 | migrations are pending |
//! | 4 | somebody else has the lock |
//! | 5 | a migration is half done, and a person must look |
//! | 6 | files and history don't fit, or a check found something |
//! | 7 | unsafe (lint, prove, rehearse) |
//! | 8 | the schema is too new for the application |

use std::error::Error;
use std::fmt;

use windlass_engine::checkout::CheckoutError;
use windlass_engine::executor::ExecutorError;
use windlass_engine::git::GitError;
use windlass_store::StoreError;

/// The build passed, or the command did what was asked.
pub(crate) const EXIT_OK: u8 = 0;
/// The build failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The build spec has errors.
pub(crate) const EXIT_SPEC: u8 = 3;
/// It can't be done as asked.
pub(crate) const EXIT_PROBLEM: u8 = 4;
/// The server can't be reached.
pub(crate) const EXIT_UNREACHABLE: u8 = 5;
/// `windlass migrate`: it failed.
pub(crate) const EXIT_MIGRATE_FAILED: u8 = 1;
/// `windlass migrate`: migrations are pending.
pub(crate) const EXIT_MIGRATE_PENDING: u8 = 3;
/// `windlass migrate`: somebody else has the lock.
pub(crate) const EXIT_MIGRATE_LOCKED: u8 = 4;
/// `windlass migrate`: a migration is half done.
pub(crate) const EXIT_MIGRATE_HALF: u8 = 5;
/// `windlass migrate`: files and history don't fit.
pub(crate) const EXIT_MIGRATE_MISMATCH: u8 = 6;
/// `windlass migrate`: unsafe.
pub(crate) const EXIT_MIGRATE_UNSAFE: u8 = 7;
/// `windlass migrate`: the schema is too new for the application.
pub(crate) const EXIT_MIGRATE_TOO_OLD: u8 = 8;
/// We are broken.
pub(crate) const EXIT_INTERNAL: u8 = 70;
/// Interrupted.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Why a command can't do what was asked, what its reader can do about it, and the exit code.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: EXIT_PROBLEM,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n hint: {hint}")?;
        }
        Ok(())
    }
}

/// The message with those of its causes, each once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let words = e.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = e.source();
    }
    text
}

/// What to do about a server's database whose schema is older than the program.
pub(crate) const MIGRATE_HINT: &str = "make a copy of the data folder, then run `windlass db \
    migrate`, or start the server with --migrate (WINDLASS_MIGRATE=1)";

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = Self::new(chain(&error));
        match &error {
            StoreError::MigrationPending { .. } => problem.hint(MIGRATE_HINT),
            StoreError::SchemaTooNew { .. } => {
                problem.hint("use that release, or put back a copy of the database from before it")
            }
            StoreError::WrongKey { key_file, .. } => problem.hint(format!(
                "put the right {} back, or set the secrets anew",
                key_file.display()
            )),
            _ if error.is_disk_full() => problem.hint("the disk is full: free some space"),
            StoreError::NotFound(_) | StoreError::Conflict(_) => problem,
            StoreError::Migrate { source, .. } => {
                let fit = matches!(source, windlass_migrate::Error::Mismatch(_));
                let belongs = "this program does not belong to this database: use the release \
                               that made it, or a newer one";
                match source.hint() {
                    _ if fit => problem.hint(belongs),
                    Some(hint) => problem.hint(hint),
                    None => problem,
                }
            }
            _ => problem.code(EXIT_INTERNAL),
        }
    }
}

impl From<windlass_migrate::Error> for Problem {
    fn from(error: windlass_migrate::Error) -> Self {
        use windlass_migrate::Error;
        let code = match &error {
            Error::Locked { .. } | Error::LockedBeside { .. } | Error::Shut { .. } => {
                EXIT_MIGRATE_LOCKED
            }
            Error::Interrupted { .. } => EXIT_MIGRATE_HALF,
            Error::Mismatch(_) | Error::Verify { .. } => EXIT_MIGRATE_MISMATCH,
            Error::OtherPlan { .. } => EXIT_MIGRATE_UNSAFE,
            _ => EXIT_MIGRATE_FAILED,
        };
        let problem = Self::new(chain(&error)).code(code);
        match error.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl From<CheckoutError> for Problem {
    fn from(error: CheckoutError) -> Self {
        let hint = error.hint();
        Self::new(chain(&error)).hint(hint)
    }
}

impl From<ExecutorError> for Problem {
    fn from(error: ExecutorError) -> Self {
        let hint = error.hint();
        Self::new(chain(&error)).hint(hint)
    }
}

impl From<GitError> for Problem {
    fn from(error: GitError) -> Self {
        Self::new(chain(&error)).hint("install git 2.39 or newer: apt-get install git")
    }
}

impl From<windlass_logs::LogError> for Problem {
    fn from(error: windlass_logs::LogError) -> Self {
        let problem = Self::new(chain(&error));
        if error.is_disk_full() {
            problem.hint("the disk is full: free some space")
        } else {
            problem.code(EXIT_INTERNAL)
        }
    }
}

impl From<windlass_model::ids::InvalidId> for Problem {
    fn from(error: windlass_model::ids::InvalidId) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::io::Error> for Problem {
    fn from(error: std::io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<tokio::task::JoinError> for Problem {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::new(format!("a task of ours ended badly: {error}")).code(EXIT_INTERNAL)
    }
}
