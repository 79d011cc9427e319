//! Unpacking a cache: what is in it is believed no more than the workspace.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tar::EntryType;

use super::{CacheError, ENDING, MAX_ENTRIES, Root, stays_inside};
use crate::results::beneath::{Folder, split};
use crate::results::collect::{MAX_DEPTH, Patterns, skip};
use crate::results::{Skipped, text_of};

/// What a cache brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// How many files, folders and links.
    pub entries: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What was in the cache and was not unpacked.
    pub refused: Vec<Skipped>,
}

/// Unpacks a cache: only what is below `paths` (of the plan), and never through a link.
///
/// # Errors
/// When the file is no cache, or unpacks to more than the limit, or the disk fails; then some of it
/// may be there.
pub fn restore(
    file: &Path,
    workspace: &Path,
    home: &Path,
    paths: &[String],
    limit_bytes: u64,
) -> Result<Restored, CacheError> {
    let patterns = [
        Root::Workspace.patterns(paths)?,
        Root::Home.patterns(paths)?,
    ];
    let key = file.file_name().unwrap_or_default().to_string_lossy();
    let mut unpack = Unpack {
        roots: [(workspace, None), (home, None)],
        patterns,
        done: Restored::default(),
        folders: Vec::new(),
    };
    let mut read = || -> io::Result<Unpacked> {
        let decoder = zstd::Decoder::new(File::open(file)?)?;
        // The heads and paddings of small files count, too.
        let most = limit_bytes.saturating_add(2048 * MAX_ENTRIES as u64);
        let mut archive = tar::Archive::new(decoder.take(most));
        for entry in archive.entries()? {
            let mut entry = entry?;
            unpack.done.bytes = unpack.done.bytes.saturating_add(entry.size());
            if unpack.done.bytes > limit_bytes {
                return Ok(Unpacked::TooLarge);
            }
            if unpack.done.entries >= MAX_ENTRIES {
                return Ok(Unpacked::TooMany);
            }
            unpack.entry(&mut entry)?;
        }
        unpack.finish_folders();
        Ok(Unpacked::All)
    };
    let key = text_of(key.strip_suffix(ENDING).unwrap_or(&key)).unwrap_or_default();
    match read().map_err(CacheError::io("unpacking", file))? {
        Unpacked::All => Ok(unpack.done),
        Unpacked::TooLarge => Err(CacheError::TooLarge {
            key,
            limit: limit_bytes,
        }),
        Unpacked::TooMany => Err(CacheError::TooMany { key }),
    }
}

enum Unpacked {
    All,
    TooLarge,
    TooMany,
}

struct Unpack<'a> {
    /// The workspace and the home folder, opened when first needed.
    roots: [(&'a Path, Option<Folder>); 2],
    patterns: [Option<Patterns>; 2],
    done: Restored,
    /// Folders whose modes and times are set at the end: what is put into them changes both.
    folders: Vec<(usize, PathBuf, u32, SystemTime)>,
}

impl Unpack<'_> {
    /// Unpacks one entry or notes why not. Errors are only those of reading the archive.
    fn entry<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
        let bytes = entry.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        match self.unpack(entry, &bytes)? {
            Ok(()) => self.done.entries += 1,
            Err(reason) => skip(&mut self.done.refused, &shown, reason),
        }
        Ok(())
    }

    fn unpack<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        name: &[u8],
    ) -> io::Result<Result<(), String>> {
        let (root, path) = match self.place(name) {
            Ok(place) => place,
            Err(reason) => return Ok(Err(reason)),
        };
        let header = entry.header();
        let mode = header.mode()? & 0o777;
        let time = UNIX_EPOCH + Duration::from_secs(header.mtime()?.min(u64::from(u32::MAX)));
        let kind = header.entry_type();
        let link = entry
            .link_name_bytes()
            .map(|l| OsStr::from_bytes(&l).to_owned());
        let folder = match self.folder(root) {
            Ok(folder) => folder,
            Err(e) => return Ok(Err(format!("can't be put there: {e}"))),
        };
        let put = match kind {
            EntryType::Directory => folder.make(&path).map(drop),
            EntryType::Regular | EntryType::Continuous => {
                match new_file(folder, &path) {
                    Ok(mut target) => {
                        // A failure here is one of the archive or the disk and ends all.
                        io::copy(entry, &mut target)?;
                        set(&target, mode, time)
                    }
                    Err(e) => Err(e),
                }
            }
            EntryType::Symlink => match link {
                Some(link) if stays_inside(&path.to_string_lossy(), &link) => {
                    new_link(folder, &path, &link)
                }
                link => {
                    let link = link.unwrap_or_default();
                    return Ok(Err(format!(
                        "is a symbolic link to {link:?}, which leads out"
                    )));
                }
            },
            other => {
                return Ok(Err(format!(
                    "is of a kind that caches don't have ({other:?})"
                )));
            }
        };
        if put.is_ok() && kind == EntryType::Directory {
            self.folders.push((root, path, mode, time));
        }
        Ok(put.map_err(|e| format!("can't be put there: {e}")))
    }

    /// To which root an entry belongs, and where below it.
    fn place(&self, name: &[u8]) -> Result<(usize, PathBuf), String> {
        let name = std::str::from_utf8(name).map_err(|_| "has a name that is not UTF-8")?;
        let name = name.trim_end_matches('/');
        let proper = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !name.split('/').all(proper) || name.contains('\0') {
            return Err("has a path that leads out".into());
        }
        let (root, path) = match name.split_once('/') {
            Some(("workspace", path)) => (0, path),
            Some(("home", path)) => (1, path),
            _ => return Err("is neither of the workspace nor of the home folder".into()),
        };
        if path.split('/').count() > 2 * MAX_DEPTH {
            return Err("is too deep".into());
        }
        match &self.patterns[root] {
            Some(patterns) if patterns.take(path) => Ok((root, path.into())),
            _ => Err("is not below the cache's `paths`".into()),
        }
    }

    fn folder(&mut self, root: usize) -> io::Result<&Folder> {
        let (path, folder) = &mut self.roots[root];
        match folder {
            Some(folder) => Ok(folder),
            None => {
                std::fs::create_dir_all(*path)?;
                Ok(folder.insert(Folder::open(path)?))
            }
        }
    }

    fn finish_folders(&mut self) {
        // What is inside comes before what is around it, which may get read-only.
        for (root, path, mode, time) in std::mem::take(&mut self.folders).into_iter().rev() {
            let folder = self.folder(root).and_then(|root| root.down(&path));
            if let Err(e) = folder.and_then(|f| set(&f.as_file()?, mode, time)) {
                let path = path.to_string_lossy();
                skip(
                    &mut self.done.refused,
                    &path,
                    format!("keeps its mode and time: {e}"),
                );
            }
        }
    }
}

fn new_file(root: &Folder, path: &Path) -> io::Result<File> {
    let (folder, name) = split(path)?;
    let folder = root.make(folder)?;
    folder.remove_file(name)?;
    folder.create(name, 0o600)
}

fn new_link(root: &Folder, path: &Path, target: &OsString) -> io::Result<()> {
    let (folder, name) = split(path)?;
    let folder = root.make(folder)?;
    folder.remove_file(name)?;
    folder.make_link(name, target)
}

fn set(file: &File, mode: u32, time: SystemTime) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))?;
    file.set_times(FileTimes::new().set_modified(time))
}
