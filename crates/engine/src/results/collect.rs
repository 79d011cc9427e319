//! Which files of a workspace the globs of a plan take.
//!
//! The patterns are those of [`windlass_model::glob`]: the last one that matches counts, and one
//! that begins with `!` takes out. A pattern that names a folder takes everything in it. The
//! `.git` folder in the root is left out unless a pattern names it: nobody who writes `**` means
//! it, and it may hold what a clone was made with.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use globset::GlobMatcher;
use windlass_model::glob::{BadGlob, compile};

use super::Skipped;
use super::beneath::{Folder, Kind};

/// So many files at most are taken by one set of patterns.
pub const MAX_FILES: usize = 100_000;

/// So many names at most are looked at on the way.
const MAX_VISITED: usize = 2_000_000;

/// So deep at most are folders looked into.
pub const MAX_DEPTH: usize = 64;

/// So many reasons at most are given; a build may make a million links.
const MAX_SKIPPED: usize = 200;

/// Why no files could be taken.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// One of the patterns is none.
    #[error("`{pattern}` is not a pattern: {reason}")]
    Pattern {
        /// As the spec has it.
        pattern: String,
        /// What is wrong with it.
        reason: BadGlob,
    },
    /// More than we want to handle.
    #[error(
        "more than {limit} files match {patterns}; make the patterns narrower, or pack the files into one archive in a step"
    )]
    TooMany {
        /// The limit.
        limit: usize,
        /// The patterns, for people.
        patterns: String,
    },
    /// More than we want to look through.
    #[error(
        "there are more than {limit} files where {patterns} may match; begin the patterns with a folder"
    )]
    Vast {
        /// The limit.
        limit: usize,
        /// The patterns, for people.
        patterns: String,
    },
    /// The folder itself can't be read.
    #[error("can't read {path}: {error}")]
    Io {
        /// Which folder.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
}

/// Patterns made ready.
#[derive(Debug)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug)]
struct Pattern {
    /// As the spec has it.
    text: String,
    takes: bool,
    itself: GlobMatcher,
    below: GlobMatcher,
    /// The folders before the first wildcard: only there and below can something match.
    prefix: Vec<String>,
}

impl Patterns {
    /// Makes patterns ready.
    ///
    /// # Errors
    /// When one can't be understood.
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, CollectError> {
        let ready = patterns.iter().map(|p| Pattern::new(p.as_ref()));
        Ok(Self(ready.collect::<Result<_, _>>()?))
    }

    /// Whether a path, relative and with `/`, is taken.
    pub fn take(&self, path: &str) -> bool {
        self.last_match(path).unwrap_or_else(|| self.only_out())
    }

    fn last_match(&self, path: &str) -> Option<bool> {
        let matching = self.0.iter().rev().find(|p| p.matches(path));
        matching.map(|p| p.takes)
    }

    fn only_out(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|p| !p.takes)
    }

    /// Whether something in a folder might be taken.
    fn may_take_below(&self, folder: &str) -> bool {
        if folder == ".git" {
            let named = |p: &Pattern| p.takes && p.prefix.first().is_some_and(|f| f == ".git");
            return self.0.iter().any(named);
        }
        self.only_out() || self.0.iter().any(|p| p.takes && p.reaches(folder))
    }

    /// Whether a thing that is no regular file would have been taken as one, or leads to what would.
    fn concern(&self, path: &str) -> bool {
        self.take(path)
            || self.0.iter().any(|p| {
                let folders = path.split('/').count();
                p.takes && folders <= p.prefix.len() && p.reaches(path)
            })
    }

    fn words(&self) -> String {
        let texts: Vec<_> = self.0.iter().map(|p| format!("`{}`", p.text)).collect();
        texts.join(", ")
    }
}

impl Pattern {
    fn new(text: &str) -> Result<Self, CollectError> {
        let (pattern, takes) = match text.strip_prefix('!') {
            Some(rest) => (rest, false),
            None => (text, true),
        };
        let mut pattern = pattern.trim_end_matches('/');
        while let Some(rest) = pattern.strip_prefix("./") {
            pattern = rest;
        }
        let pattern = if pattern == "." { "**" } else { pattern };
        let ready = |glob: &str| {
            compile(glob).map_err(|reason| CollectError::Pattern {
                pattern: text.to_owned(),
                reason,
            })
        };
        let wild = |part: &&str| !part.contains(['*', '?', '[', '{', '\\']);
        Ok(Self {
            text: text.to_owned(),
            takes,
            itself: ready(pattern)?,
            below: ready(&format!("{pattern}/**"))?,
            prefix: pattern
                .split('/')
                .take_while(wild)
                .map(str::to_owned)
                .collect(),
        })
    }

    fn matches(&self, path: &str) -> bool {
        self.itself.is_match(path) || self.below.is_match(path)
    }

    /// Whether the folder is on the way to where something can match, or below that.
    fn reaches(&self, folder: &str) -> bool {
        self.prefix
            .iter()
            .zip(folder.split('/'))
            .all(|(a, b)| a == b)
    }
}

/// Something that patterns take, in the walk's order: folders before what is in them.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Relative to the root, with `/`.
    pub(crate) path: &'a str,
    pub(crate) kind: Kind,
    /// The folder in which it is.
    pub(crate) folder: &'a Folder,
    pub(crate) name: &'a OsString,
}

/// Calls back with everything that the patterns take, and with every folder on the way to it (taken
/// or not). Returns what was left out on the way because it could not be looked at.
pub(crate) fn walk(
    root: &Folder,
    patterns: &Patterns,
    visit: &mut dyn FnMut(&Entry<'_>) -> Result<(), CollectError>,
) -> Result<Vec<Skipped>, CollectError> {
    let mut walk = Walk {
        patterns,
        visit,
        visited: 0,
        skipped: Vec::new(),
    };
    walk.folder(root, "", 0)?;
    Ok(walk.skipped)
}

struct Walk<'a> {
    patterns: &'a Patterns,
    visit: &'a mut dyn FnMut(&Entry<'_>) -> Result<(), CollectError>,
    visited: usize,
    skipped: Vec<Skipped>,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Folder, path: &str, depth: usize) -> Result<(), CollectError> {
        let room = MAX_VISITED - self.visited;
        let mut entries = Vec::new();
        let listed = folder.each(|name, kind| {
            entries.push((name, kind));
            entries.len() <= room
        });
        if let Err(error) = listed {
            if path.is_empty() {
                let path = PathBuf::from(".");
                return Err(CollectError::Io { path, error });
            }
            self.skip(path, format!("can't be read: {error}"));
        }
        self.visited += entries.len();
        if self.visited > MAX_VISITED {
            return Err(CollectError::Vast {
                limit: MAX_VISITED,
                patterns: self.patterns.words(),
            });
        }
        // The same order on every machine.
        entries.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        for (name, kind) in entries {
            self.entry(folder, path, &name, kind, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        folder: &Folder,
        above: &str,
        name: &OsString,
        kind: Kind,
        depth: usize,
    ) -> Result<(), CollectError> {
        let shown = name.to_string_lossy();
        let path = if above.is_empty() {
            shown.into_owned()
        } else {
            format!("{above}/{shown}")
        };
        let below = kind == Kind::Folder && self.patterns.may_take_below(&path);
        if name.to_str().is_none() {
            if below || self.patterns.concern(&path) {
                let reason = "has a name that is not UTF-8; rename it in a step to have it taken";
                self.skip(&path, reason.to_owned());
            }
            return Ok(());
        }
        if !below && !self.patterns.concern(&path) {
            return Ok(());
        }
        let entry = Entry {
            path: &path,
            kind,
            folder,
            name,
        };
        if kind != Kind::Folder || below {
            (self.visit)(&entry)?;
        }
        if !below {
            return Ok(());
        }
        if depth + 1 >= MAX_DEPTH {
            self.skip(&path, format!("is deeper than {MAX_DEPTH} folders"));
            return Ok(());
        }
        match folder.sub(name) {
            Ok(sub) => self.folder(&sub, &path, depth + 1),
            Err(e) => {
                self.skip(&path, format!("can't be read: {e}"));
                Ok(())
            }
        }
    }

    fn skip(&mut self, path: &str, reason: String) {
        skip(&mut self.skipped, path, reason);
    }
}

/// Notes a reason, as long as there are not too many.
pub(crate) fn skip(skipped: &mut Vec<Skipped>, path: &str, reason: String) {
    if skipped.len() < MAX_SKIPPED {
        let path = path.to_owned();
        skipped.push(Skipped { path, reason });
    }
}

/// One file that the patterns take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Relative to the workspace.
    pub path: String,
    /// Its size when it was found.
    pub bytes: u64,
}

/// What the patterns take.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Regular files, sorted by path.
    pub files: Vec<Found>,
    /// What matched and was left alone, the first 200 of it.
    pub skipped: Vec<Skipped>,
    /// Patterns that matched no file at all.
    pub unmatched: Vec<String>,
}

/// Walks the workspace for what the patterns take.
///
/// # Errors
/// [`CollectError`]: a pattern that is none, too many files, a workspace that can't be read.
pub fn collect<S: AsRef<str>>(workspace: &Path, globs: &[S]) -> Result<Collected, CollectError> {
    collect_within(workspace, globs, MAX_FILES)
}

fn collect_within<S: AsRef<str>>(
    workspace: &Path,
    globs: &[S],
    limit: usize,
) -> Result<Collected, CollectError> {
    let patterns = Patterns::new(globs)?;
    let io = |error| CollectError::Io {
        path: workspace.to_owned(),
        error,
    };
    let root = Folder::open(workspace).map_err(io)?;
    let mut files = Vec::new();
    let mut skipped = Vec::new();
    let mut matched = vec![false; patterns.0.len()];
    let walked = walk(&root, &patterns, &mut |entry| {
        match entry.kind {
            Kind::File => {
                for (pattern, matched) in patterns.0.iter().zip(&mut matched) {
                    *matched = *matched || pattern.matches(entry.path);
                }
                // A file may stand where the patterns expect a folder.
                if patterns.take(entry.path) {
                    push(&mut files, entry, &mut skipped);
                }
                if files.len() > limit {
                    let patterns = patterns.words();
                    return Err(CollectError::TooMany { limit, patterns });
                }
            }
            Kind::Folder => {}
            Kind::Link => skip(&mut skipped, entry.path, link_reason(entry)),
            Kind::Special(words) => {
                let reason = format!("is {words}; only regular files are taken");
                skip(&mut skipped, entry.path, reason);
            }
        }
        Ok(())
    })
    .map_err(|e| match e {
        CollectError::Io { error, .. } => io(error),
        other => other,
    })?;
    skipped.extend(walked);
    files.sort_by(|a: &Found, b| a.path.cmp(&b.path));
    skipped.sort();
    let unmatched = patterns.0.iter().zip(&matched);
    let unmatched = unmatched.filter(|(p, matched)| p.takes && !**matched);
    Ok(Collected {
        files,
        skipped,
        unmatched: unmatched.map(|(p, _)| p.text.clone()).collect(),
    })
}

fn push(files: &mut Vec<Found>, entry: &Entry<'_>, skipped: &mut Vec<Skipped>) {
    // Opening tells the size, and at once whether we may read it.
    match entry.folder.file(entry.name).and_then(|f| f.metadata()) {
        Ok(meta) => files.push(Found {
            path: entry.path.to_owned(),
            bytes: meta.len(),
        }),
        Err(e) => skip(skipped, entry.path, format!("can't be read: {e}")),
    }
}

fn link_reason(entry: &Entry<'_>) -> String {
    let target = entry.folder.link(entry.name).unwrap_or_default();
    format!("is a symbolic link to {target:?}; links are not followed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        dir
    }

    fn paths(dir: &Path, globs: &[&str]) -> Vec<String> {
        let collected = collect(dir, globs).unwrap();
        collected.files.into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn patterns_as_the_spec_has_them() {
        let dir = workspace(&[
            "dist/a.whl",
            "dist/sub/b.whl",
            "dist/sub/c.txt",
            "dist.txt",
            "src/x/junit.xml",
            ".git/config",
            ".gitignore",
        ]);
        let dir = dir.path();
        let all_dist = vec!["dist/a.whl", "dist/sub/b.whl", "dist/sub/c.txt"];
        for folder in ["dist", "dist/", "./dist", "dist/**", "d?s[t]"] {
            assert_eq!(paths(dir, &[folder]), all_dist, "{folder}");
        }
        assert_eq!(paths(dir, &["dist/*.whl"]), ["dist/a.whl"]);
        assert_eq!(paths(dir, &["**/junit.xml"]), ["src/x/junit.xml"]);
        assert_eq!(paths(dir, &["dist", "!dist/sub"]), ["dist/a.whl"]);
        assert_eq!(
            paths(dir, &["dist", "!dist/sub", "dist/sub/c.txt"]),
            ["dist/a.whl", "dist/sub/c.txt"]
        );
        assert_eq!(paths(dir, &["*.{txt,md}"]), ["dist.txt"]);
        assert_eq!(paths(dir, &["!dist", "!src"]), [".gitignore", "dist.txt"]);
        assert_eq!(paths(dir, &["."]).len(), 6);
        assert_eq!(paths(dir, &[".git/config"]), [".git/config"]);
        assert_eq!(paths(dir, &["../**", "/etc/passwd"]), [""; 0]);
        assert_eq!(paths(dir, &[]), [""; 0]);
    }

    #[test]
    fn patterns_that_match_nothing_are_named() {
        let dir = workspace(&["a/b"]);
        let collected = collect(dir.path(), &["a", "c/**", "!d"]).unwrap();
        assert_eq!(collected.unmatched, ["c/**"]);
        let error = collect(dir.path(), &["[a"]).unwrap_err().to_string();
        assert!(error.starts_with("`[a` is not a pattern: "), "{error}");
        assert!(collect(&dir.path().join("none"), &["a"]).is_err());
    }

    #[test]
    fn there_are_limits() {
        let dir = workspace(&["a", "b", "c"]);
        assert_eq!(
            collect_within(dir.path(), &["*"], 3).unwrap().files.len(),
            3
        );
        let error = collect_within(dir.path(), &["*"], 2).unwrap_err();
        assert!(error.to_string().starts_with("more than 2 files match `*`"));
        let deep = "d/".repeat(MAX_DEPTH + 3) + "f";
        let dir = workspace(&[&deep, "d/shallow"]);
        let collected = collect(dir.path(), &["**"]).unwrap();
        assert_eq!(collected.files.len(), 1);
        assert_eq!(collected.skipped[0].reason, "is deeper than 64 folders");
    }
}
