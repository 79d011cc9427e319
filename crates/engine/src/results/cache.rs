//! Spec key `cache`: files of a job that make later jobs faster.
//!
//! A cache is one `.tar.zst` file. Its entries are below `workspace/` or `home/`, so that `~/…`
//! comes back to the home folder of whoever restores it. What is in it was written by a build: on
//! the way back it is trusted no more than on the way in.

mod restore;
mod save;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use windlass_model::plan::CachePlan;

pub use self::restore::{Restored, restore};
pub use self::save::{Saved, save};
use super::beneath::Folder;
use super::collect::{CollectError, Patterns, collect};
use super::{file_name, size, text_of};

/// So many bytes at most go into the hash of a key.
const MAX_HASHED: u64 = 1024 * 1024 * 1024;

/// So many things at most are in one cache.
const MAX_ENTRIES: usize = 1_000_000;

/// What a cache file's name ends in.
const ENDING: &str = ".tar.zst";

/// Why a cache could not be saved or restored. Never a reason for a job to fail.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The key can't be a file's name.
    #[error("the cache key {key:?} is empty or too long; use at most 200 characters")]
    Key {
        /// As the plan has it.
        key: String,
    },
    /// The files that go into the key are too large.
    #[error("the files that `hash` names have more than {}; name lock files, not what they lead to", size(*limit))]
    HashTooLarge {
        /// The limit.
        limit: u64,
    },
    /// More bytes than allowed.
    #[error("cache `{key}` has more than {}; take out of `paths` what is quickly made again", size(*limit))]
    TooLarge {
        /// Which cache.
        key: String,
        /// The limit.
        limit: u64,
    },
    /// More entries than we want to handle.
    #[error("cache `{key}` has more than {MAX_ENTRIES} files; take folders out of `paths`")]
    TooMany {
        /// Which cache.
        key: String,
    },
    /// The files could not be found.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A file or the disk.
    #[error("{action} {path}: {error}")]
    Io {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

impl CacheError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io {
            action,
            path: path.to_owned(),
            error,
        }
    }
}

/// The key under which a cache is saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The plan's key, and the hash of the files if it names some.
    pub text: String,
    /// Patterns that match nothing, and files that were left alone.
    pub warnings: Vec<String>,
}

/// The key of a cache: the plan's, and 16 hexadecimal digits over the paths and contents of the
/// files that it names.
///
/// # Errors
/// When the files can't be found or read, or are too large.
pub fn key(workspace: &Path, plan: &CachePlan) -> Result<Key, CacheError> {
    if plan.hash.is_empty() {
        return Ok(Key {
            text: plan.key.clone(),
            warnings: Vec::new(),
        });
    }
    let found = collect(workspace, &plan.hash)?;
    let missing = found.unmatched.iter();
    let mut warnings: Vec<_> = missing
        .map(|p| {
            format!(
                "no file matches `{p}` of the cache `{}`: its contents are not in the key",
                plan.key
            )
        })
        .collect();
    warnings.extend(found.skipped.iter().map(ToString::to_string));
    let root = Folder::open(workspace).map_err(CacheError::io("opening", workspace))?;
    let mut hash = Sha256::new();
    let mut left = MAX_HASHED;
    for file in &found.files {
        let path = Path::new(&file.path);
        // The lengths keep `a` + `bc` apart from `ab` + `c`.
        hash.update((file.path.len() as u64).to_le_bytes());
        hash.update(&file.path);
        let contents = root.file_at(path).and_then(|f| hash_of(&f, left));
        let (digest, bytes) = contents.map_err(CacheError::io("reading", path))?;
        let rest = left.checked_sub(bytes);
        left = rest.ok_or(CacheError::HashTooLarge { limit: MAX_HASHED })?;
        hash.update(digest);
    }
    let hash = hex::encode(&hash.finalize()[..8]);
    Ok(Key {
        text: format!("{}-{hash}", plan.key),
        warnings,
    })
}

/// The hash of a file of at most so many bytes; one more byte is read to tell that there are more.
fn hash_of(file: &File, most: u64) -> io::Result<([u8; 32], u64)> {
    let mut hash = Sha256::new();
    let bytes = io::copy(&mut file.take(most.saturating_add(1)), &mut hash)?;
    Ok((hash.finalize().into(), bytes))
}

/// The cache to take: the wanted one, else the newest of the first prefix that has one.
pub fn choose<'a>(
    wanted: &str,
    prefixes: &[String],
    have: &'a [(String, SystemTime)],
) -> Option<&'a str> {
    if let Some((key, _)) = have.iter().find(|(key, _)| key == wanted) {
        return Some(key);
    }
    prefixes.iter().find_map(|prefix| {
        let fitting = have.iter().filter(|(key, _)| key.starts_with(prefix));
        // The key decides between two of one moment, so that every call says the same.
        let newest = fitting.max_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        newest.map(|(key, _)| key.as_str())
    })
}

/// The file of a cache. `None` if the key can't be a file's name.
pub fn file(store: &Path, key: &str) -> Option<PathBuf> {
    let name = file_name(key)?;
    Some(store.join(format!("{name}{ENDING}")))
}

/// The caches in a folder: their keys and when they were made.
///
/// # Errors
/// When the folder can't be read; that there is none is an empty list.
pub fn list(store: &Path) -> Result<Vec<(String, SystemTime)>, CacheError> {
    let entries = match std::fs::read_dir(store) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(CacheError::io("reading", store)(e)),
    };
    let mut have = Vec::new();
    for entry in entries {
        let entry = entry.map_err(CacheError::io("reading", store))?;
        let name = entry.file_name();
        let key = name.to_str().and_then(|n| n.strip_suffix(ENDING));
        let key = key.filter(|n| !n.starts_with('.')).and_then(text_of);
        // One that goes away meanwhile is not there.
        if let (Some(key), Ok(meta)) = (key, entry.metadata()) {
            have.push((key, meta.modified().unwrap_or(UNIX_EPOCH)));
        }
    }
    have.sort();
    Ok(have)
}

/// The two folders to which the paths of a plan are relative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Workspace,
    Home,
}

impl Root {
    fn in_archive(self) -> &'static str {
        match self {
            Self::Workspace => "workspace",
            Self::Home => "home",
        }
    }

    fn for_people(self) -> &'static str {
        match self {
            Self::Workspace => "",
            Self::Home => "~/",
        }
    }

    /// The paths that are relative to it; `None` if there is none.
    fn patterns(self, paths: &[String]) -> Result<Option<Patterns>, CacheError> {
        let mut own = Vec::new();
        for path in paths {
            let (out, path) = match path.strip_prefix('!') {
                Some(rest) => ("!", rest),
                None => ("", path.as_str()),
            };
            let at_home = path.strip_prefix("~/");
            match (self, at_home) {
                (Self::Home, Some(rest)) => own.push(format!("{out}{rest}")),
                (Self::Workspace, None) => own.push(format!("{out}{path}")),
                _ => {}
            }
        }
        if own.iter().all(|p| p.starts_with('!')) {
            return Ok(None);
        }
        Ok(Some(Patterns::new(&own)?))
    }
}

/// Whole seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// Whether a link at a path leads to somewhere below the root, going by its text alone. It is
/// never followed by us; this is for the steps that find it.
fn stays_inside(path: &str, target: &OsStr) -> bool {
    let target = Path::new(target);
    let mut depth = path.split('/').count() - 1;
    for component in target.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    !target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn which_cache_is_taken() {
        let at = |s| UNIX_EPOCH + Duration::from_secs(s);
        let have = [
            ("cargo-1".to_owned(), at(1)),
            ("cargo-2".to_owned(), at(3)),
            ("cargo-3".to_owned(), at(2)),
            ("npm-1".to_owned(), at(9)),
        ];
        let choose = |wanted: &str, prefixes: &[&str]| {
            let prefixes: Vec<_> = prefixes.iter().map(|p| (*p).to_owned()).collect();
            super::choose(wanted, &prefixes, &have)
        };
        assert_eq!(choose("cargo-1", &["npm"]), Some("cargo-1"));
        assert_eq!(choose("cargo-9", &["cargo-"]), Some("cargo-2"));
        assert_eq!(choose("cargo-9", &["x", "npm", "cargo"]), Some("npm-1"));
        assert_eq!(choose("cargo", &[]), None);
        assert_eq!(choose("cargo-9", &["x"]), None);
    }

    #[test]
    fn where_links_lead() {
        let inside = |path, target| stays_inside(path, OsStr::new(target));
        assert!(inside("a/b", "c"));
        assert!(inside("a/b", "../c"));
        assert!(inside("a/b", "./../a/../c"));
        assert!(!inside("a/b", "../../c"));
        assert!(!inside("a", ".."));
        assert!(!inside("a/b", "/etc/passwd"));
        assert!(!inside("a/b", "x/../../../y"));
        assert!(!inside("a", ""));
    }
}
