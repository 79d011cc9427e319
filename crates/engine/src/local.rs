//! Questions to a repository on this machine: what a commit says, what a checkout has changed.

use std::path::{Path, PathBuf};

use windlass_model::Revision;

use crate::git::{Git, GitError};

/// A checkout that a person works in.
#[derive(Debug, Clone)]
pub struct WorkingTree {
    /// Its root folder.
    pub root: PathBuf,
    /// Its repository (`.git`, or where a linked worktree keeps it).
    pub git_dir: PathBuf,
    /// The commit that is checked out.
    pub head: Revision,
    /// The branch that is checked out; `None` if it is a bare commit.
    pub branch: Option<String>,
    /// Files that differ from `head` or are new and not ignored, relative to the root. One that is
    /// not there was deleted.
    pub changed: Vec<PathBuf>,
}

impl Git {
    /// The commit behind an object id of a repository on this machine: its id, its author's name
    /// and its whole message, with NUL between them.
    ///
    /// # Errors
    /// When git fails: no repository there, no such object.
    pub async fn describe_commit(
        &self,
        repository: &Path,
        object: &Revision,
    ) -> Result<String, GitError> {
        let commit = format!("{object}^{{commit}}");
        let args = [
            "log",
            "-1",
            "--no-show-signature",
            "--format=%H%x00%an%x00%B",
            &commit,
            "--",
        ];
        let said = self.call(args).dir(repository).run().await?;
        Ok(String::from_utf8_lossy(&said.stdout).trim_end().to_owned())
    }

    /// The files of a checkout that are there and not ignored: relative paths with `/`.
    ///
    /// # Errors
    /// When git fails.
    pub async fn files(&self, tree: &WorkingTree) -> Result<Vec<String>, GitError> {
        let args = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        let out = self.call(args).dir(&tree.root).run().await?;
        let paths = out.stdout.split(|byte| *byte == 0);
        Ok(paths
            .filter(|path| !path.is_empty())
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect())
    }

    /// The checkout that `folder` lies in, or `None` if it lies in none, or in one without commits.
    ///
    /// # Errors
    /// When git can't be run, or the checkout can't be read.
    pub async fn working_tree(&self, folder: &Path) -> Result<Option<WorkingTree>, GitError> {
        let ask = |args: Vec<&'static str>, dir: PathBuf| async move {
            let said = self
                .call(args)
                .dir(&dir)
                .env("GIT_LITERAL_PATHSPECS", "0")
                .run()
                .await?;
            Ok::<_, GitError>(said.stdout)
        };
        let line = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let here = vec!["rev-parse", "--show-toplevel", "--absolute-git-dir", "HEAD"];
        let facts = match ask(here, folder.to_path_buf()).await {
            Ok(said) => line(said),
            Err(GitError::Failed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut facts = facts.lines();
        let (Some(root), Some(git_dir), Some(head)) = (facts.next(), facts.next(), facts.next())
        else {
            return Ok(None);
        };
        let Ok(head) = head.parse() else {
            return Ok(None);
        };
        let root = PathBuf::from(root);
        let branch = ask(
            vec!["symbolic-ref", "--quiet", "--short", "HEAD"],
            root.clone(),
        )
        .await;
        let status = vec![
            "status",
            "--porcelain",
            "-z",
            "--no-renames",
            "--untracked-files=all",
        ];
        let changed = ask(status, root.clone()).await?;
        Ok(Some(WorkingTree {
            git_dir: PathBuf::from(git_dir),
            head,
            branch: branch.ok().map(line),
            changed: changed
                .split(|b| *b == 0)
                // "XY path"; a path is bytes.
                .filter_map(|entry| entry.get(3..))
                .map(|path| {
                    use std::os::unix::ffi::OsStrExt as _;
                    PathBuf::from(std::ffi::OsStr::from_bytes(path))
                })
                .collect(),
            root,
        }))
    }
}
