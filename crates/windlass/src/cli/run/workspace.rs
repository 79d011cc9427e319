//! The workspace of `windlass run`: fresh, as on the server, and then, unless a revision was named,
//! with the changes that are not committed yet.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use windlass_engine::checkout::{Mirror, Source, checkout};
use windlass_engine::git::Git;
use windlass_engine::local::WorkingTree;
use windlass_model::plan::ClonePlan;
use windlass_model::{AttemptId, Revision};

use crate::report::Problem;

/// The person's own repository as a source: nothing goes over the network.
pub(super) fn source(tree: &WorkingTree, git_ref: Option<String>) -> Source {
    Source {
        url: tree.git_dir.display().to_string(),
        credential: None,
        git_ref,
    }
}

/// Whether the `windlass run` that made this attempt still lives.
pub(super) fn is_living(attempt: &AttemptId) -> bool {
    let pid = attempt.as_str().strip_prefix("local-");
    let pid = pid.map(|rest| rest.split('-').next().unwrap_or(rest));
    pid.is_some_and(|pid| Path::new("/proc").join(pid).exists())
}

/// Checks the revision out as the spec wants it.
pub(super) async fn clone_further(
    git: &Git,
    tree: &WorkingTree,
    revision: &Revision,
    plan: &ClonePlan,
    cache: &Path,
    workspace: &Path,
) -> Result<(), Problem> {
    if workspace.exists() {
        std::fs::remove_dir_all(workspace)?;
    }
    let source = source(tree, None);
    let mirror = Mirror::open(&cache.join("mirrors"), &mirror_key(&tree.git_dir))?;
    let log = |_: &str| {};
    mirror.ensure(git, &source, revision, plan, &log).await?;
    checkout(git, &mirror, &source, revision, plan, workspace, &log).await?;
    Ok(())
}

/// One mirror per repository of this machine, named by its path.
fn mirror_key(git_dir: &Path) -> String {
    use sha2::{Digest as _, Sha256};
    let digest = Sha256::digest(git_dir.as_os_str().as_encoded_bytes());
    hex::encode(&digest[..8])
}

/// Copies changed and new files over the checkout, and removes deleted ones.
pub(super) fn overlay(tree: &WorkingTree, workspace: &Path) -> Result<(), Problem> {
    for path in &tree.changed {
        let failed = |e: std::io::Error| {
            Problem::new(format!(
                "could not copy {} to the workspace: {e}",
                path.display()
            ))
        };
        copy(&tree.root.join(path), &workspace.join(path)).map_err(failed)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &PathBuf) -> std::io::Result<()> {
    if let Ok(meta) = to.symlink_metadata() {
        if meta.is_dir() {
            std::fs::remove_dir_all(to)?;
        } else {
            std::fs::remove_file(to)?;
        }
    }
    let meta = match from.symlink_metadata() {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if meta.is_symlink() {
        symlink(std::fs::read_link(from)?, to)
    } else if meta.is_file() {
        std::fs::copy(from, to).map(drop)
    } else {
        // A nested repository or a socket: no content of this one.
        Ok(())
    }
}
