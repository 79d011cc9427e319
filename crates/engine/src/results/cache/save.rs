//! Packing a cache.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tar::EntryType;
use windlass_model::plan::CachePlan;

use super::{CacheError, MAX_ENTRIES, Root, file, seconds, stays_inside};
use crate::results::Skipped;
use crate::results::artifacts::Exact;
use crate::results::beneath::{Folder, Kind};
use crate::results::collect::{CollectError, Entry, Patterns, skip, walk};

/// A file that was begun so long ago belongs to a process that has died.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// What became of saving a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saved {
    /// The plan says that it is only read.
    ReadOnly,
    /// There is one with this key.
    AlreadyThere,
    /// None of the paths exists, or nothing of what is there can be saved.
    Nothing {
        /// What was left out.
        skipped: Vec<Skipped>,
    },
    /// It is there now.
    Stored {
        /// Its file.
        file: PathBuf,
        /// The file's size.
        bytes: u64,
        /// How many files, folders and links are in it.
        entries: usize,
        /// What was left out.
        skipped: Vec<Skipped>,
    },
}

/// Saves what the plan names under a key in `store`, unless it is there. The file appears when it
/// is whole and on the disk.
///
/// # Errors
/// [`CacheError`]; then nothing is left behind.
pub fn save(
    workspace: &Path,
    home: &Path,
    plan: &CachePlan,
    key: &str,
    store: &Path,
    limit_bytes: u64,
) -> Result<Saved, CacheError> {
    if plan.read_only {
        return Ok(Saved::ReadOnly);
    }
    let bad_key = || CacheError::Key {
        key: key.to_owned(),
    };
    let target = file(store, key).ok_or_else(bad_key)?;
    if target.exists() {
        return Ok(Saved::AlreadyThere);
    }
    std::fs::create_dir_all(store).map_err(CacheError::io("making", store))?;
    remove_abandoned(store);
    let partial = Partial::new(&target).map_err(CacheError::io("making", &target))?;
    let roots = [
        (
            Root::Workspace,
            workspace,
            Root::Workspace.patterns(&plan.paths)?,
        ),
        (Root::Home, home, Root::Home.patterns(&plan.paths)?),
    ];
    let output = partial.file.try_clone();
    let encoder = output.and_then(|file| zstd::Encoder::new(file, 0));
    let mut pack = Pack {
        tar: tar::Builder::new(encoder.map_err(CacheError::io("packing", &target))?),
        key,
        limit: limit_bytes,
        bytes: 0,
        entries: 0,
        skipped: Vec::new(),
        file: target.clone(),
    };
    pack.tar.mode(tar::HeaderMode::Complete);
    for (root, path, patterns) in roots {
        pack.root(root, path, patterns.as_ref())?;
    }
    let Pack {
        tar,
        entries,
        skipped,
        ..
    } = pack;
    let finish = || -> io::Result<u64> {
        tar.into_inner()?.finish()?.flush()?;
        partial.file.sync_all()?;
        partial.file.metadata().map(|m| m.len())
    };
    let bytes = finish().map_err(CacheError::io("packing", &target))?;
    if entries == 0 {
        return Ok(Saved::Nothing { skipped });
    }
    partial
        .finish(&target)
        .map_err(CacheError::io("renaming", &target))?;
    Ok(Saved::Stored {
        file: target,
        bytes,
        entries,
        skipped,
    })
}

/// A file that is removed again unless it is finished.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn new(target: &Path) -> io::Result<Self> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The target's own name may be as long as names get.
        let name = format!(".{}-{count}.partial", std::process::id());
        let path = target.with_file_name(name);
        // From a process of the same id, before the machine was started anew.
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        let file = File::create_new(&path)?;
        Ok(Self { path, file })
    }

    fn finish(self, target: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, target)?;
        match target.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After a rename there is nothing to remove.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes what processes that died have begun.
fn remove_abandoned(store: &Path) {
    for entry in std::fs::read_dir(store).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name
            .to_str()
            .is_some_and(|n| n.starts_with('.') && n.ends_with(".partial"));
        let modified = entry.metadata().and_then(|m| m.modified());
        let age = modified.ok().and_then(|m| m.elapsed().ok());
        if ours && age.is_some_and(|age| age > ABANDONED) {
            // The next save tries again.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

struct Pack<'a> {
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    key: &'a str,
    limit: u64,
    bytes: u64,
    entries: usize,
    skipped: Vec<Skipped>,
    file: PathBuf,
}

impl Pack<'_> {
    fn root(
        &mut self,
        root: Root,
        path: &Path,
        patterns: Option<&Patterns>,
    ) -> Result<(), CacheError> {
        let Some(patterns) = patterns else {
            return Ok(());
        };
        let folder = match Folder::open(path) {
            Ok(folder) => folder,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(CacheError::io("opening", path)(e)),
        };
        let mut ours = None;
        let walked = walk(&folder, patterns, &mut |entry| {
            if !patterns.take(entry.path) {
                // A folder on the way is one; a link in its place is not followed.
                if entry.kind == Kind::Link {
                    let reason = "is a symbolic link; what is behind it is not saved";
                    self.skip(root, entry.path, reason.to_owned());
                }
            } else {
                self.entry(root, entry).map_err(|e| {
                    ours = Some(e);
                    // Ends the walk; the error itself is told below.
                    let error = io::ErrorKind::Interrupted.into();
                    CollectError::Io {
                        path: path.to_owned(),
                        error,
                    }
                })?;
            }
            Ok(())
        });
        if let Some(error) = ours {
            return Err(error);
        }
        for skipped in walked? {
            self.skip(root, &skipped.path, skipped.reason);
        }
        Ok(())
    }

    fn entry(&mut self, root: Root, entry: &Entry<'_>) -> Result<(), CacheError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(CacheError::TooMany {
                key: self.key.to_owned(),
            });
        }
        let name = format!("{}/{}", root.in_archive(), entry.path);
        match entry.kind {
            Kind::File => return self.add_file(root, entry, &name),
            Kind::Folder => {
                let meta = entry
                    .folder
                    .sub(entry.name)
                    .and_then(|f| f.as_file()?.metadata());
                match meta {
                    Ok(meta) => {
                        let mut header = header(EntryType::Directory, &meta);
                        let added = self.tar.append_data(&mut header, &name, io::empty());
                        return added.map_err(CacheError::io("packing", &self.file));
                    }
                    Err(e) => self.leave_out(root, entry, format!("can't be read: {e}")),
                }
            }
            Kind::Link => {
                let target = entry.folder.link(entry.name).unwrap_or_default();
                if stays_inside(entry.path, &target) {
                    let mut header = tar::Header::new_gnu();
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    header.set_uid(0);
                    header.set_gid(0);
                    header.set_mtime(0);
                    header.set_size(0);
                    let added = self.tar.append_link(&mut header, &name, &target);
                    return added.map_err(CacheError::io("packing", &self.file));
                }
                let reason = format!("is a symbolic link to {target:?}, which leads out");
                self.leave_out(root, entry, reason);
            }
            Kind::Special(words) => self.leave_out(root, entry, format!("is {words}")),
        }
        Ok(())
    }

    fn add_file(&mut self, root: Root, entry: &Entry<'_>, name: &str) -> Result<(), CacheError> {
        let opened = entry
            .folder
            .file(entry.name)
            .and_then(|f| Ok((f.metadata()?, f)));
        let (meta, file) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.leave_out(root, entry, format!("can't be read: {e}"));
                return Ok(());
            }
        };
        self.bytes = self.bytes.saturating_add(meta.len());
        if self.bytes > self.limit {
            let key = self.key.to_owned();
            return Err(CacheError::TooLarge {
                key,
                limit: self.limit,
            });
        }
        let mut header = header(EntryType::Regular, &meta);
        header.set_size(meta.len());
        // As long as it is now: one that grows is cut, one that shrinks ends the saving.
        let exact = Exact {
            inner: file.take(meta.len()),
            path: Path::new(entry.path),
        };
        let added = self.tar.append_data(&mut header, name, exact);
        added.map_err(CacheError::io("packing", &self.file))
    }

    fn leave_out(&mut self, root: Root, entry: &Entry<'_>, reason: String) {
        self.entries -= 1;
        self.skip(root, entry.path, reason);
    }

    fn skip(&mut self, root: Root, path: &str, reason: String) {
        skip(
            &mut self.skipped,
            &format!("{}{path}", root.for_people()),
            reason,
        );
    }
}

fn header(kind: EntryType, meta: &std::fs::Metadata) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(meta.permissions().mode() & 0o777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(meta.modified().map_or(0, seconds));
    header
}
