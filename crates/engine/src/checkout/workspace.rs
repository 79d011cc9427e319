//! A fresh folder with the files of one commit.
//!
//! The repository in it is written by hand: no template, no hook, no remote's password. It borrows
//! its objects from the mirror (`objects/info/alternates`), so the only thing that git does here is
//! to write the files: one process, however large the history is.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use windlass_model::Revision;
use windlass_model::plan::ClonePlan;

use super::error::from_git;
use super::mirror::{Origin, repository_config};
use super::{CheckoutError, Log, Mirror, Source, submodules};
use crate::git::{Access, Git, Output};

/// Brings `revision` into `workspace`, which must not exist yet or be an empty folder. What the
/// mirror lacks is fetched first, so calling [`Mirror::ensure`] before is not needed. A mirror that
/// turns out to be damaged is removed and fetched anew, once.
///
/// Afterwards `.git` has a detached `HEAD` at the revision, exactly as much history as the plan
/// says, with its tags if that is all of it, and a remote `origin` without credentials. It needs the
/// mirror to stay where it is.
///
/// # Errors
/// Everything in [`CheckoutError`]. The workspace is then empty or gone.
pub async fn checkout(
    git: &Git,
    mirror: &Mirror,
    source: &Source,
    revision: &Revision,
    plan: &ClonePlan,
    workspace: &Path,
    log: Log<'_>,
) -> Result<(), CheckoutError> {
    let origin = Origin::of(source)?;
    claim(workspace)?;
    let job = Job {
        git,
        plan,
        log,
        top: &origin,
    };
    let result = async {
        job.fill(mirror, &origin, revision, workspace).await?;
        if plan.depth.is_none() {
            job.tags(mirror, &origin, revision, workspace).await?;
        }
        if plan.submodules {
            submodules::checkout(&job, mirror, &origin, revision, workspace).await?;
        }
        Ok(())
    }
    .await;
    if result.is_err() {
        // Half a workspace is worse than none. If even this fails, the first error tells more.
        let _ = fs::remove_dir_all(workspace);
    }
    result
}

/// Gives the repositories of a workspace their own objects, so that it can leave this machine: into a
/// container that has no mirror. Done twice, it does the same.
///
/// # Errors
/// Git fails, or the disk.
pub async fn own_objects(git: &Git, workspace: &Path) -> Result<(), CheckoutError> {
    let mut folders = vec![workspace.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let borrowed = folder.join(".git/objects/info/alternates");
        if borrowed.exists() {
            let args = ["repack", "-a", "-d", "-q"];
            let packed = git.call(args).access(Access::None).dir(&folder).run().await;
            packed.map_err(|e| from_git(e, &folder.display().to_string()))?;
            fs::remove_file(&borrowed).map_err(CheckoutError::io("removing", &borrowed))?;
        }
        let entries = fs::read_dir(&folder).map_err(CheckoutError::io("reading", &folder))?;
        for entry in entries {
            let entry = entry.map_err(CheckoutError::io("reading", &folder))?;
            // Never through a link: only what the checkout itself made.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.file_name() != ".git" {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

/// What stays the same through all submodules of a checkout.
pub(super) struct Job<'a> {
    pub(super) git: &'a Git,
    pub(super) plan: &'a ClonePlan,
    pub(super) log: Log<'a>,
    /// The repository that the build is about: only its server gets its credential.
    pub(super) top: &'a Origin,
}

impl Job<'_> {
    /// Fetches what is missing, and writes the files of one repository into an empty folder.
    pub(super) async fn fill(
        &self,
        mirror: &Mirror,
        origin: &Origin,
        revision: &Revision,
        workspace: &Path,
    ) -> Result<(), CheckoutError> {
        let begun = SystemTime::now();
        mirror
            .ensure_from(self.git, origin, revision, self.plan, self.log)
            .await?;
        match self.write(mirror, origin, revision, workspace).await {
            Err(CheckoutError::MirrorDamaged { detail }) => {
                tracing::warn!(mirror = %mirror.path().display(), detail, "fetching it anew");
                (self.log)(&format!(
                    "The local mirror is damaged ({detail}); fetching it anew."
                ));
                mirror.heal(begun).await?;
                mirror
                    .ensure_from(self.git, origin, revision, self.plan, self.log)
                    .await?;
                empty(workspace)?;
                self.write(mirror, origin, revision, workspace).await
            }
            result => result,
        }
    }

    async fn write(
        &self,
        mirror: &Mirror,
        origin: &Origin,
        revision: &Revision,
        workspace: &Path,
    ) -> Result<(), CheckoutError> {
        let Some(ends) = mirror.note(revision, self.plan.depth) else {
            let detail = format!("its note about {revision} is gone");
            return Err(CheckoutError::MirrorDamaged { detail });
        };
        write_repository(mirror, origin, revision, &ends, workspace)?;
        if self.plan.lfs {
            share_lfs_store(mirror, workspace)?;
        }
        let mut call = self
            .git
            .call(["read-tree", "--reset", "-u", revision.as_str()]);
        if self.plan.lfs {
            self.check_lfs_urls(origin, revision, workspace).await?;
            // As `git lfs install` would have it, but without a line in anybody's configuration.
            call = call
                .setting("filter.lfs.process", "git-lfs filter-process")
                .setting("filter.lfs.smudge", "git-lfs smudge -- %f")
                .setting("filter.lfs.clean", "git-lfs clean -- %f")
                .setting("filter.lfs.required", "true")
                .access(origin.access())
                .log(self.log);
        } else {
            // Pointer files stay as they are, whether or not this machine has Git LFS.
            call = call
                .setting("filter.lfs.process", "")
                .setting("filter.lfs.smudge", "")
                .setting("filter.lfs.required", "false")
                .env("GIT_LFS_SKIP_SMUDGE", "1");
        }
        // git-lfs hands GIT_DIR on to the repository that it copies from, so it must do without.
        let call = if self.plan.lfs {
            call.dir(workspace)
        } else {
            self.inside(call, workspace)
        };
        match call.run().await {
            Ok(_) => Ok(()),
            Err(error) => Err(match from_git(error, &origin.location.url) {
                CheckoutError::Other { stderr } if is_full(workspace) => {
                    CheckoutError::DiskFull { detail: stderr }
                }
                error => error,
            }),
        }
    }

    /// `.lfsconfig` is the one file of a repository that configures something: where the large
    /// files come from. It may name a server, but no path of this machine.
    async fn check_lfs_urls(
        &self,
        origin: &Origin,
        revision: &Revision,
        workspace: &Path,
    ) -> Result<(), CheckoutError> {
        let blob = format!("{revision}:.lfsconfig");
        if !self.has_file(revision, ".lfsconfig", workspace).await? {
            return Ok(());
        }
        let out = self
            .ask(&["config", "-z", "--list", "--blob", &blob], workspace)
            .await?;
        for (key, value) in config_entries(&out.stdout) {
            if key.ends_with("url") {
                origin.location.submodule(&value)?;
            }
        }
        Ok(())
    }

    /// Whether the commit has a regular file of this name in its root.
    pub(super) async fn has_file(
        &self,
        revision: &Revision,
        name: &str,
        workspace: &Path,
    ) -> Result<bool, CheckoutError> {
        let out = self
            .ask(&["ls-tree", "-z", revision.as_str(), "--", name], workspace)
            .await?;
        Ok(out.stdout.starts_with(b"100"))
    }

    /// Runs a question to the repository in `workspace`.
    pub(super) async fn ask(
        &self,
        args: &[&str],
        workspace: &Path,
    ) -> Result<Output, CheckoutError> {
        Ok(self
            .inside(self.git.call(args).access(Access::None), workspace)
            .run()
            .await?)
    }

    fn inside<'c>(&self, call: crate::git::Call<'c>, workspace: &Path) -> crate::git::Call<'c> {
        call.dir(workspace)
            .git_dir(&workspace.join(".git"))
            .env("GIT_WORK_TREE", workspace)
    }
}

/// The entries of `git config -z --list`: keys as git normalises them.
pub(super) fn config_entries(stdout: &[u8]) -> Vec<(String, String)> {
    stdout
        .split(|&b| b == 0)
        .filter(|entry| !entry.is_empty())
        .map(|entry| {
            let entry = String::from_utf8_lossy(entry);
            let (key, value) = entry.split_once('\n').unwrap_or((&entry, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// A value in a git configuration file.
pub(super) fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Whether there is no room left. When git can't write a file, it does not say why.
fn is_full(dir: &Path) -> bool {
    nix::sys::statvfs::statvfs(dir).is_ok_and(|disk| {
        let free = disk.blocks_available() * disk.fragment_size();
        free < 1 << 20 || (disk.files() > 0 && disk.files_available() == 0)
    })
}

/// Takes the folder for us: it is new, or a real and empty folder.
fn claim(workspace: &Path) -> Result<(), CheckoutError> {
    match fs::symlink_metadata(workspace) {
        Err(e) if e.kind() == ErrorKind::NotFound => fs::create_dir_all(workspace)
            .map_err(CheckoutError::io("creating the workspace", workspace)),
        Err(e) => Err(CheckoutError::io("looking at", workspace)(e)),
        Ok(meta) => {
            let free = meta.is_dir()
                && fs::read_dir(workspace)
                    .map_err(CheckoutError::io("listing", workspace))?
                    .next()
                    .is_none();
            if free {
                return Ok(());
            }
            let what = format!(
                "the workspace {} is not an empty folder",
                workspace.display()
            );
            Err(CheckoutError::Refused { what })
        }
    }
}

/// Empties a folder, and keeps it.
fn empty(dir: &Path) -> Result<(), CheckoutError> {
    fs::remove_dir_all(dir)
        .and_then(|()| fs::create_dir(dir))
        .map_err(CheckoutError::io("emptying", dir))
}

/// Large files are kept in the mirror too. This stands in the workspace's configuration and not in
/// the environment of the call, because git-lfs hands that on to the repository it copies from.
fn share_lfs_store(mirror: &Mirror, workspace: &Path) -> Result<(), CheckoutError> {
    let store = mirror.path().join("lfs");
    fs::create_dir_all(&store).map_err(CheckoutError::io("creating", &store))?;
    let store = fs::canonicalize(&store).map_err(CheckoutError::io("finding", &store))?;
    let path = workspace.join(".git/config");
    let line = format!("[lfs]\n\tstorage = {}\n", quote(&store.to_string_lossy()));
    fs::File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .map_err(CheckoutError::io("writing", &path))
}

/// Writes `.git`: what `git init` and some calls of `git config` would, in half a millisecond.
fn write_repository(
    mirror: &Mirror,
    origin: &Origin,
    revision: &Revision,
    ends: &[String],
    workspace: &Path,
) -> Result<(), CheckoutError> {
    let dir = workspace.join(".git");
    for part in [
        "objects/info",
        "objects/pack",
        "refs/heads",
        "refs/tags",
        "info",
    ] {
        let part = dir.join(part);
        fs::create_dir_all(&part).map_err(CheckoutError::io("creating", &part))?;
    }
    let objects = mirror.path().join("objects");
    let objects = fs::canonicalize(&objects).map_err(|e| CheckoutError::MirrorDamaged {
        detail: format!("{}: {e}", objects.display()),
    })?;
    let mut alternates = objects.as_os_str().as_bytes().to_vec();
    alternates.push(b'\n');
    let config = format!(
        "{}[remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        repository_config(revision, false),
        quote(&origin.location.url),
    );
    let mut files = vec![
        ("objects/info/alternates", alternates),
        ("config", config.into_bytes()),
        ("HEAD", format!("{revision}\n").into_bytes()),
    ];
    if !ends.is_empty() {
        files.push(("shallow", (ends.join("\n") + "\n").into_bytes()));
    }
    for (name, bytes) in files {
        let path = dir.join(name);
        fs::write(&path, bytes).map_err(CheckoutError::io("writing", &path))?;
    }
    Ok(())
}
