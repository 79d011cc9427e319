//! One fetch into a mirror, by whatever way the server allows.
//!
//! The commit alone, by its id, is tried first: it can't move between the trigger and the fetch,
//! and brings nothing that is not needed. Old servers refuse that, and plain web servers know
//! nothing but whole repositories.

use std::sync::atomic::{AtomicBool, Ordering};

use windlass_model::Revision;

use super::complaint::{Complaint, complaint};
use super::error::from_git;
use super::history::{self, History};
use super::lock::Lock;
use super::mirror::Origin;
use super::{CheckoutError, Log, Mirror};
use crate::git::{Git, GitError};

/// git's word for "all of it", where the history has been cut before.
pub(super) const INFINITE: u32 = 0x7fff_ffff;

/// One fetch, by whatever way the server allows.
pub(super) struct Fetch<'a> {
    pub(super) mirror: &'a Mirror,
    pub(super) git: &'a Git,
    pub(super) origin: &'a Origin,
    pub(super) lock: &'a Lock,
    pub(super) log: Log<'a>,
    /// git has found damage on its way, though it got what it wanted.
    pub(super) suspicious: AtomicBool,
}

impl Fetch<'_> {
    pub(super) async fn run(
        &self,
        revision: &Revision,
        depth: Option<u32>,
    ) -> Result<(), CheckoutError> {
        let by_id = format!("+{revision}:refs/windlass/{revision}");
        let mut depth = depth;
        let error = match self.attempt(&by_id, depth).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match self.class(&error) {
            Some(Complaint::NoShallow) => {
                // Plain files on a web server: all or nothing.
                depth = None;
                if self.attempt(&by_id, None).await.is_ok() {
                    return Ok(());
                }
            }
            Some(Complaint::NoSuchObject | Complaint::NoSuchRef) => {}
            _ => return Err(self.fail(error)),
        }
        // The server doesn't give out commits by their ids, or doesn't have it. What leads to it
        // can be fetched; it may have moved on since, so look further and further back.
        let spec = match &self.origin.git_ref {
            Some(name) => format!("+{name}:refs/windlass/via/{revision}"),
            None => "+refs/heads/*:refs/windlass/via/heads/*".to_owned(),
        };
        let tries = match depth {
            Some(INFINITE) | None => vec![depth],
            Some(d) => {
                let all = self.mirror.is_cut().then_some(INFINITE);
                vec![Some(d), Some(d.saturating_add(50)), all]
            }
        };
        for depth in tries {
            match self.attempt(&spec, depth).await {
                Ok(()) => {}
                Err(e) => match self.class(&e) {
                    Some(Complaint::NoSuchRef | Complaint::NoSuchObject) => break,
                    Some(Complaint::NoShallow) => continue,
                    _ => return Err(self.fail(e)),
                },
            }
            let found = history::walk(self.git, self.mirror.path(), revision, 1).await?;
            if found != History::Absent {
                return Ok(());
            }
        }
        Err(CheckoutError::NoSuchRevision {
            revision: revision.clone(),
            url: self.origin.url().to_owned(),
        })
    }

    async fn attempt(&self, spec: &str, depth: Option<u32>) -> Result<(), GitError> {
        let started = |pid| self.lock.note(pid);
        let mut call = self
            .git
            .call([
                "fetch",
                "--progress",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-auto-maintenance",
                "--update-shallow",
            ])
            .dir(self.mirror.path())
            .git_dir(self.mirror.path())
            .access(self.origin.access())
            .log(self.log)
            .started(&started);
        if let Some(depth) = depth {
            call = call.arg(format!("--depth={depth}"));
        }
        let out = call.args(["--", self.origin.url(), spec]).run().await?;
        if matches!(complaint(&out.stderr), Some((Complaint::Damaged, _))) {
            self.suspicious.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn class(&self, error: &GitError) -> Option<Complaint> {
        match error {
            GitError::Failed { stderr, .. } => complaint(stderr).map(|(class, _)| class),
            _ => None,
        }
    }

    fn fail(&self, error: GitError) -> CheckoutError {
        let error = from_git(error, self.origin.url());
        if matches!(error, CheckoutError::DiskFull { .. }) {
            // What was written in vain is in everybody's way.
            self.mirror.sweep();
        }
        error
    }
}
