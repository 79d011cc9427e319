//! The local mirror of a repository: a bare repository that holds what builds have needed so far.
//!
//! It lies in `<root>/<key>.git`, its lock in `<root>/<key>.lock`. Each commit that was built has a
//! ref (`refs/windlass/<commit>`), which keeps git from fetching it again, and a note
//! (`windlass/<commit>.<depth>`) that says that this much history is complete, and where it ends.
//! The note makes the second build of a commit free: one file is read, git is not even started.
//!
//! A mirror is a cache. Whatever is wrong with it, it is removed and fetched anew. Objects are
//! never removed one by one, since running builds read them (see [`super::checkout`]).

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use windlass_model::Revision;
use windlass_model::plan::ClonePlan;

use super::error::from_git;
use super::fetch::{Fetch, INFINITE};
use super::history::{self, History};
use super::lock::Lock;
use super::url::{Location, check_ref};
use super::{CheckoutError, Credential, Log, Source};
use crate::git::{Access, Git};

/// How many of the newest commits keep their ref when a mirror is repacked.
const KEPT_REFS: usize = 200;

/// The mirror of one repository. Opening it touches nothing.
#[derive(Debug, Clone)]
pub struct Mirror {
    root: PathBuf,
    key: String,
    path: PathBuf,
}

/// What [`Mirror::ensure`] had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Whether a server (or another repository) was asked. `false`: everything was there.
    pub from_network: bool,
    /// Whether a damaged mirror was thrown away on the way.
    pub healed: bool,
}

/// A source whose URL was vetted, and what it may use.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) location: Location,
    pub(super) credential: Option<Credential>,
    pub(super) git_ref: Option<String>,
    /// The repository named it, not its owner.
    pub(super) stranger: bool,
}

impl Origin {
    pub(super) fn of(source: &Source) -> Result<Self, CheckoutError> {
        let (location, credential) = Location::of(source)?;
        if let Some(name) = &source.git_ref {
            check_ref(name)?;
        }
        Ok(Self {
            location,
            credential,
            git_ref: source.git_ref.clone(),
            stranger: false,
        })
    }

    pub(super) fn access(&self) -> Access<'_> {
        if self.location.is_local() {
            Access::Local
        } else if self.stranger {
            Access::Stranger
        } else {
            Access::Server(self.location.http_origin().zip(self.credential.as_ref()))
        }
    }

    pub(super) fn url(&self) -> &str {
        &self.location.url
    }
}

/// Asks the server for the commit at which a branch or tag stands now; `None` is its `HEAD`.
/// A plain name is a branch if there is one, else a tag.
///
/// # Errors
/// [`CheckoutError::NoSuchRef`] if there is none; otherwise whatever keeps us from the server.
pub async fn resolve_head(
    git: &Git,
    source: &Source,
    git_ref: Option<&str>,
) -> Result<Revision, CheckoutError> {
    let origin = Origin::of(source)?;
    let name = git_ref.unwrap_or("HEAD");
    check_ref(name)?;
    let candidates = if name == "HEAD" || name.starts_with("refs/") {
        vec![format!("{name}^{{}}"), name.to_owned()]
    } else {
        let (branch, tag) = (format!("refs/heads/{name}"), format!("refs/tags/{name}"));
        vec![branch, format!("{tag}^{{}}"), tag]
    };
    let out = git
        .call(["ls-remote", "--quiet", "--", origin.url()])
        .args(&candidates)
        .access(origin.access())
        .run()
        .await
        .map_err(|e| from_git(e, origin.url()))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let refs: Vec<_> = text.lines().filter_map(|l| l.split_once('\t')).collect();
    candidates
        .iter()
        .find_map(|wanted| refs.iter().find(|(_, name)| name == wanted))
        .and_then(|(id, _)| id.parse().ok())
        .ok_or_else(|| CheckoutError::NoSuchRef {
            git_ref: name.to_owned(),
            url: origin.url().to_owned(),
        })
}

/// Asks the server for the name of its default branch; `None` if its `HEAD` is no branch.
///
/// # Errors
/// Whatever keeps us from the server.
pub async fn default_branch(git: &Git, source: &Source) -> Result<Option<String>, CheckoutError> {
    let origin = Origin::of(source)?;
    let out = git
        .call([
            "ls-remote",
            "--quiet",
            "--symref",
            "--",
            origin.url(),
            "HEAD",
        ])
        .access(origin.access())
        .run()
        .await
        .map_err(|e| from_git(e, origin.url()))?;
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().find_map(|line| {
        let target = line.strip_prefix("ref: refs/heads/")?;
        Some(target.split_once('\t')?.0.to_owned())
    }))
}

impl Mirror {
    /// Names the mirror of the repository `key` below `root`. The key is a name as in
    /// [`windlass_model::RepoName`], so that it can't lead out of `root`.
    ///
    /// # Errors
    /// [`CheckoutError::Refused`] for a key that could.
    pub fn open(root: &Path, key: &str) -> Result<Self, CheckoutError> {
        let key: windlass_model::RepoName = key.parse().map_err(|e| CheckoutError::Refused {
            what: format!("the mirror's name: {e}"),
        })?;
        Ok(Self::named(root, key.as_str().to_owned()))
    }

    fn named(root: &Path, key: String) -> Self {
        Self {
            root: root.to_owned(),
            path: root.join(format!("{key}.git")),
            key,
        }
    }

    /// The mirror of a submodule. It belongs to the repository that names it: if repositories
    /// shared it, one could read through the cache what only another may fetch. (`+` is not legal
    /// in a key, so it never meets a repository's own.)
    pub(super) fn submodule(&self, url: &str) -> Self {
        use sha2::{Digest, Sha256};
        let hash = hex::encode(&Sha256::digest(url)[..12]);
        let family = self.key.split('+').next().unwrap_or_default();
        Self::named(&self.root, format!("{family}+{hash}"))
    }

    /// Where it lies: a bare repository.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sees to it that the mirror has `revision` with as much history as the plan wants.
    ///
    /// Safe to call from any number of tasks and processes at once: they take turns, and the first
    /// one's fetch serves the others. Dropping the future at any point leaves nothing behind that
    /// the next call does not clear away.
    ///
    /// # Errors
    /// Everything in [`CheckoutError`] that has to do with the server or the disk.
    pub async fn ensure(
        &self,
        git: &Git,
        source: &Source,
        revision: &Revision,
        plan: &ClonePlan,
        log: Log<'_>,
    ) -> Result<Fetched, CheckoutError> {
        self.ensure_from(git, &Origin::of(source)?, revision, plan, log)
            .await
    }

    pub(super) async fn ensure_from(
        &self,
        git: &Git,
        origin: &Origin,
        revision: &Revision,
        plan: &ClonePlan,
        log: Log<'_>,
    ) -> Result<Fetched, CheckoutError> {
        if plan.lfs && !git.has_lfs() {
            return Err(CheckoutError::LfsMissing);
        }
        let mut fetched = Fetched {
            from_network: false,
            healed: false,
        };
        if self.note(revision, plan.depth).is_some() {
            return Ok(fetched);
        }
        fs::create_dir_all(&self.root).map_err(CheckoutError::io("creating", &self.root))?;
        let lock = self.lock().await?;
        // Somebody may have fetched it while we waited.
        if self.note(revision, plan.depth).is_some() {
            return Ok(fetched);
        }
        self.sweep();
        let fresh = self.prepare(revision)?;
        match self
            .fetch(git, origin, revision, plan, (&lock, fresh), log)
            .await
        {
            Err(error) if !fresh && self.is_damaged(git, &error).await => {
                tracing::warn!(mirror = %self.path.display(), %error, "fetching a mirror anew");
                log(&format!(
                    "The local mirror is damaged ({error}); fetching it anew."
                ));
                self.delete()?;
                self.prepare(revision)?;
                fetched.healed = true;
                fetched.from_network = true;
                self.fetch(git, origin, revision, plan, (&lock, true), log)
                    .await?;
            }
            result => fetched.from_network = result?,
        }
        Ok(fetched)
    }

    /// The paths that differ between two revisions that the mirror has. A rename is both its paths.
    ///
    /// # Errors
    /// When git can't compare them.
    pub async fn changed_paths(
        &self,
        git: &Git,
        before: &Revision,
        after: &Revision,
    ) -> Result<Vec<String>, CheckoutError> {
        let args = ["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff"];
        let out = git
            .call(args)
            .args([before.as_str(), after.as_str(), "--"])
            .dir(&self.path)
            .git_dir(&self.path)
            .run()
            .await?;
        let paths = out.stdout.split(|byte| *byte == 0);
        Ok(paths
            .filter(|path| !path.is_empty())
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect())
    }

    /// The bytes of a file in a revision that the mirror has; `None` if there is no such file.
    ///
    /// # Errors
    /// [`CheckoutError::Refused`] for a file of more than `max_bytes`; when git fails.
    pub async fn file(
        &self,
        git: &Git,
        revision: &Revision,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, CheckoutError> {
        let object = format!("{revision}:{path}");
        let call = |args: [&'static str; 2]| {
            git.call(args)
                .args([object.as_str()])
                .dir(&self.path)
                .git_dir(&self.path)
        };
        let kind = match call(["cat-file", "-t"]).run().await {
            Ok(out) => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
            // Git has no other word for "there is none".
            Err(crate::git::GitError::Failed { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if kind != "blob" {
            return Ok(None);
        }
        let size = call(["cat-file", "-s"]).run().await?;
        let size = String::from_utf8_lossy(&size.stdout);
        if size.trim().parse::<u64>().unwrap_or(u64::MAX) > max_bytes {
            let what = format!("{path} is larger than {max_bytes} bytes");
            return Err(CheckoutError::Refused { what });
        }
        Ok(Some(call(["cat-file", "blob"]).run().await?.stdout))
    }

    /// Puts many packs together into one, if there are more than `max_packs`, and drops the refs
    /// of old builds. Returns whether there was something to do. To be called now and then, after
    /// a build; a fetch of the same repository waits meanwhile.
    ///
    /// # Errors
    /// [`CheckoutError::DiskFull`] and others that git may have. The mirror stays usable.
    pub async fn maintain(&self, git: &Git, max_packs: usize) -> Result<bool, CheckoutError> {
        if self.packs() <= max_packs {
            return Ok(false);
        }
        let lock = self.lock().await?;
        if self.packs() <= max_packs {
            return Ok(false);
        }
        self.sweep();
        self.drop_old_refs(git).await?;
        let started = |pid| lock.note(pid);
        for args in [
            &["pack-refs", "--all", "--prune"][..],
            // Unreachable objects stay: a workspace of a running build may need them.
            &["repack", "-a", "-d", "--keep-unreachable", "--quiet"],
        ] {
            git.call(args)
                .dir(&self.path)
                .git_dir(&self.path)
                .started(&started)
                .run()
                .await?;
        }
        Ok(true)
    }

    /// Throws the mirror away, once nobody is changing it. The next build fetches it anew.
    /// Workspaces that were made from it lose their history.
    ///
    /// # Errors
    /// [`CheckoutError::Io`] when it can't be removed.
    pub async fn remove(&self) -> Result<(), CheckoutError> {
        if !self.path.exists() {
            return Ok(());
        }
        let _lock = self.lock().await?;
        self.delete()
    }

    async fn lock(&self) -> Result<Lock, CheckoutError> {
        Lock::take(&self.root.join(format!("{}.lock", self.key))).await
    }

    /// The commits at which the history of `revision` ends, if the mirror has as much of it as
    /// `depth` says.
    pub(super) fn note(&self, revision: &Revision, depth: Option<u32>) -> Option<Vec<String>> {
        let path = self.note_path(revision, depth);
        let text = fs::read_to_string(&path).ok()?;
        let mut lines = text.lines();
        // The last line is the proof that the file was written to its end.
        if lines.next_back() != Some("complete") {
            return None;
        }
        // Its time is that of the last use: `maintain` forgets the oldest.
        if let Ok(file) = fs::File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        Some(lines.map(str::to_owned).collect())
    }

    fn note_path(&self, revision: &Revision, depth: Option<u32>) -> PathBuf {
        let depth = depth.map_or_else(|| "full".to_owned(), |d| d.max(1).to_string());
        self.path
            .join("windlass")
            .join(format!("{revision}.{depth}"))
    }

    /// Brings the commit here, or finds that it is here already. Returns whether it was fetched.
    async fn fetch(
        &self,
        git: &Git,
        origin: &Origin,
        revision: &Revision,
        plan: &ClonePlan,
        (lock, fresh): (&Lock, bool),
        log: Log<'_>,
    ) -> Result<bool, CheckoutError> {
        let full_mark = self.path.join("windlass/full");
        let has_all = full_mark.exists() && !self.is_cut();
        let depth = plan.depth.map(|d| d.max(1));

        // Another build may have brought it, as a part of its own history.
        if self.packs() > 0
            && (has_all || depth.is_some())
            && let History::Found {
                ends,
                missing: false,
            } = history::walk(git, &self.path, revision, depth.unwrap_or(1)).await?
        {
            let ends = if depth.is_some() { ends } else { Vec::new() };
            self.write_note(revision, plan.depth, &ends)?;
            return Ok(false);
        }

        // A mirror that has everything once is not cut again: what is new is little, and a cut
        // would make the next full build fetch everything again.
        let wanted = match depth {
            Some(_) if has_all => None,
            None if self.is_cut() => Some(INFINITE),
            depth => depth,
        };
        let fetch = Fetch {
            mirror: self,
            git,
            origin,
            lock,
            log,
            suspicious: AtomicBool::new(false),
        };
        fetch.run(revision, wanted).await?;
        if !fresh && fetch.suspicious.into_inner() {
            let detail = "git complains about it while fetching".into();
            return Err(CheckoutError::MirrorDamaged { detail });
        }

        let found = history::walk(git, &self.path, revision, depth.unwrap_or(1)).await?;
        let ends = match found {
            History::Found { ends, .. } if depth.is_some() => ends,
            History::Found { .. } => {
                if !self.is_cut() {
                    fs::write(&full_mark, "").map_err(CheckoutError::io("writing", &full_mark))?;
                }
                // The source itself may be cut; then so is everything made from it.
                self.cuts()
            }
            History::NotACommit => {
                return Err(CheckoutError::Refused {
                    what: format!("{revision} is not a commit"),
                });
            }
            History::Absent => {
                let url = origin.url().to_owned();
                return Err(CheckoutError::NoSuchRevision {
                    revision: revision.clone(),
                    url,
                });
            }
        };
        self.write_note(revision, plan.depth, &ends)?;
        Ok(true)
    }

    fn write_note(
        &self,
        revision: &Revision,
        depth: Option<u32>,
        ends: &[String],
    ) -> Result<(), CheckoutError> {
        let path = self.note_path(revision, depth);
        let mut text = ends.join("\n");
        text.push_str("\ncomplete\n");
        fs::write(&path, text.trim_start()).map_err(CheckoutError::io("writing", &path))
    }

    /// Where git's own idea of the history ends.
    fn cuts(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path.join("shallow")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn is_cut(&self) -> bool {
        fs::metadata(self.path.join("shallow")).is_ok_and(|m| m.len() > 0)
    }

    fn packs(&self) -> usize {
        let Ok(dir) = fs::read_dir(self.path.join("objects/pack")) else {
            return 0;
        };
        dir.flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "pack"))
            .count()
    }

    /// Makes an empty mirror if there is none that git would recognise. Written by hand instead of
    /// by `git init`: it is one process less, and no template can put a hook into it. Returns
    /// whether it is new.
    fn prepare(&self, revision: &Revision) -> Result<bool, CheckoutError> {
        let whole = ["HEAD", "config", "objects/pack", "refs", "windlass"]
            .iter()
            .all(|part| self.path.join(part).exists());
        let config = repository_config(revision, true);
        let same = |config: &str| {
            fs::read_to_string(self.path.join("config")).is_ok_and(|there| there == config)
        };
        if whole && same(&config) {
            return Ok(false);
        }
        self.delete()?;
        for part in ["objects/pack", "objects/info", "refs/heads", "windlass"] {
            let part = self.path.join(part);
            fs::create_dir_all(&part).map_err(CheckoutError::io("creating", &part))?;
        }
        for (name, text) in [
            ("config", config.as_str()),
            ("HEAD", "ref: refs/heads/none\n"),
        ] {
            let path = self.path.join(name);
            fs::write(&path, text).map_err(CheckoutError::io("writing", &path))?;
        }
        Ok(true)
    }

    fn delete(&self) -> Result<(), CheckoutError> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(CheckoutError::io("removing", &self.path)(e))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a killed git left behind. We hold the lock, so no living git owns it.
    pub(super) fn sweep(&self) {
        for dir in ["", "objects/pack", "objects/info", "windlass"] {
            sweep_dir(&self.path.join(dir), false);
        }
        sweep_dir(&self.path.join("refs"), true);
    }

    /// Whether it is the mirror's own fault that a fetch failed.
    async fn is_damaged(&self, git: &Git, error: &CheckoutError) -> bool {
        match error {
            CheckoutError::MirrorDamaged { .. } => true,
            // Something unheard of. It is rare enough to spend a check on it.
            CheckoutError::Other { .. } => git
                .call([
                    "fsck",
                    "--connectivity-only",
                    "--no-dangling",
                    "--no-progress",
                ])
                .git_dir(&self.path)
                .run()
                .await
                .is_err(),
            _ => false,
        }
    }

    /// Deletes a damaged mirror and fetches it anew, unless somebody else just did.
    pub(super) async fn heal(&self, seen: SystemTime) -> Result<(), CheckoutError> {
        let _lock = self.lock().await?;
        let born = fs::metadata(self.path.join("config")).and_then(|m| m.modified());
        if born.is_ok_and(|born| born > seen) {
            Ok(())
        } else {
            self.delete()
        }
    }

    /// Each ref costs a little in every fetch, and so does each end of history.
    async fn drop_old_refs(&self, git: &Git) -> Result<(), CheckoutError> {
        let notes = self.path.join("windlass");
        let listing = fs::read_dir(&notes).map_err(CheckoutError::io("listing", &notes))?;
        let mut found: Vec<(SystemTime, PathBuf, String)> = listing
            .flatten()
            .filter_map(|e| {
                let commit = e.file_name().to_str()?.split_once('.')?.0.to_owned();
                Some((e.metadata().ok()?.modified().ok()?, e.path(), commit))
            })
            .collect();
        found.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        if found.len() <= KEPT_REFS {
            return Ok(());
        }
        let old = found.split_off(KEPT_REFS);
        let kept = |commit: &str| found.iter().any(|(_, _, c)| c == commit);
        for (_, path, commit) in &old {
            fs::remove_file(path).map_err(CheckoutError::io("removing", path))?;
            if !kept(commit) {
                let name = format!("refs/windlass/{commit}");
                git.call(["update-ref", "-d", &name])
                    .git_dir(&self.path)
                    .run()
                    .await?;
            }
        }
        if self.is_cut() {
            let mut cuts: Vec<String> = found
                .iter()
                .filter_map(|(_, path, _)| fs::read_to_string(path).ok())
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
                .filter(|line| line != "complete")
                .collect();
            cuts.sort();
            cuts.dedup();
            let (path, new) = (self.path.join("shallow"), self.path.join("shallow.lock"));
            let text: String = cuts.iter().map(|c| format!("{c}\n")).collect();
            fs::write(&new, text)
                .and_then(|()| fs::rename(&new, &path))
                .map_err(CheckoutError::io("writing", &path))?;
        }
        Ok(())
    }
}

/// The configuration of a mirror or workspace. `format` is how its commit ids are made.
pub(super) fn repository_config(revision: &Revision, bare: bool) -> String {
    let (version, extension) = match revision.as_str().len() {
        64 => (1, "[extensions]\n\tobjectformat = sha256\n"),
        _ => (0, ""),
    };
    format!(
        "[core]\n\trepositoryformatversion = {version}\n\tfilemode = true\n\tbare = {bare}\n\
         {extension}"
    )
}

fn sweep_dir(dir: &Path, deep: bool) {
    let Ok(listing) = fs::read_dir(dir) else {
        return;
    };
    for entry in listing.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if deep {
                sweep_dir(&entry.path(), true);
            } else if name.starts_with("tmp_objdir") || name.starts_with("incoming-") {
                let _ = fs::remove_dir_all(entry.path());
            }
            continue;
        }
        let stale = name.ends_with(".lock")
            || name.ends_with(".keep")
            || name.starts_with("tmp_")
            || name.starts_with(".tmp-")
            || name.starts_with("shallow_");
        if stale {
            // What can't be removed will be in git's way, and git says it better than we could.
            let _ = fs::remove_file(entry.path());
        }
    }
}
