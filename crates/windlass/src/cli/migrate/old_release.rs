//! A revision of the repository as a folder of its own: the release that runs now, with its
//! migrations and its tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::refused;
use crate::report::Problem;

/// A revision's files.
pub(super) struct OldRelease {
    /// Goes at the end.
    _folder: TempDir,
    /// The full commit id.
    pub(super) commit: String,
    /// The place in it that is ours here.
    pub(super) here: PathBuf,
}

impl OldRelease {
    /// Writes the files of `revision` into a temporary folder; the repository that we are in does
    /// not change. Submodules stay empty.
    ///
    /// # Errors
    /// When we are in no repository, it does not have the revision, or the disk is full.
    pub(super) fn check_out(revision: &str) -> Result<Self, Problem> {
        let root = git(&["rev-parse", "--show-toplevel"], None)
            .map_err(|e| e.hint("--old-rev needs a git repository; or say --old-dir DIR"))?;
        let prefix = git(&["rev-parse", "--show-prefix"], None)?;
        let name = format!("{revision}^{{commit}}");
        let commit = git(
            &[
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                &name,
            ],
            None,
        )
        .map_err(|_| {
            refused(format!("this clone has no revision {revision}")).hint(
                "fetch it first; in a build, the workspace has one revision unless windlass.yml \
                 says `clone: {depth: full}`",
            )
        })?;
        let folder = tempfile::Builder::new()
            .prefix("windlass-old-release-")
            .tempdir()
            .map_err(|e| refused(format!("could not make a temporary folder: {e}")))?;
        // An index of our own: that of the repository stays as it is.
        let index = folder.path().join("index");
        let code = folder.path().join("code");
        let to = format!("--prefix={}/", code.display());
        let root = Path::new(&root);
        let at = |args: &[&str]| {
            let mut all = vec!["-C", root.to_str().unwrap_or(".")];
            all.extend(args);
            git(&all, Some(&index))
        };
        at(&["read-tree", &commit])?;
        at(&["checkout-index", "--all", "--quiet", &to])?;
        let here = code.join(prefix);
        if !here.is_dir() {
            return Err(refused(format!(
                "the revision {revision} does not have the folder that this is called in"
            )));
        }
        Ok(Self {
            _folder: folder,
            commit,
            here,
        })
    }
}

fn git(args: &[&str], index: Option<&Path>) -> Result<String, Problem> {
    let mut command = Command::new("git");
    command
        // Nothing of the repository runs.
        .args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "core.fsmonitor=false",
        ])
        .args(args)
        .stdin(Stdio::null());
    if let Some(index) = index {
        command.env("GIT_INDEX_FILE", index);
    }
    let done = command
        .output()
        .map_err(|e| refused(format!("could not run git: {e}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(refused(format!("git {}: {}", args.join(" "), said.trim())));
    }
    let text = String::from_utf8_lossy(&done.stdout);
    Ok(text.trim_end_matches('\n').to_owned())
}
