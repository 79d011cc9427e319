//! A folder on disk: which of its files count, and what they hold.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Folder, FolderError, Pieces, Placeholders, name};
use crate::version::Version;

/// A file of 64 MiB and more is data, and belongs elsewhere.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// A folder on disk, and how it is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub dir: PathBuf,
    /// For the files that are named as Flyway's.
    pub placeholders: Placeholders,
}

impl From<&Path> for Source {
    fn from(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            placeholders: Placeholders::default(),
        }
    }
}

/// A file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its path from the folder.
    pub file: String,
    /// With values for placeholders in it.
    pub text: String,
    /// It has some.
    pub replaced: bool,
}

/// What lies beside a file: `V1__x.sql.conf`, as Flyway has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Conf {
    pub(super) no_transaction: bool,
    pub(super) literal: bool,
}

impl Conf {
    /// Whether values are put into the file.
    pub(super) fn replaces(self, named: &name::Named<'_>) -> bool {
        named.letter && !self.literal
    }
}

impl Source {
    /// Reads it: see [`Folder::read`].
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn read(self) -> Result<Folder, FolderError> {
        let (names, confs) = self.names()?;
        let mut pieces = self.pieces(&names, &confs)?;
        let origin = super::Origin(Some(Arc::new(self)));
        for file in pieces.files.iter_mut().chain(&mut pieces.baselines) {
            file.origin = origin.clone();
        }
        Folder::of(pieces)
    }

    /// The texts on the way up in their order, for a reader of its own: one that does not mind what a file is named.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn texts(&self) -> Result<Vec<Text>, FolderError> {
        let (names, confs) = self.names()?;
        let mut room = Room::new();
        let mut texts = Vec::new();
        let squashed = squashed(&names);
        for file in names {
            let parsed = name::parse(&file).ok();
            let passed = parsed.as_ref().is_some_and(|named| match named.role {
                name::Role::Down => true,
                // What it holds is in the other files, as long as they are there.
                name::Role::Baseline => Some(named.version) != squashed,
                name::Role::Up | name::Role::Repeatable => false,
            });
            if passed {
                continue;
            }
            let read = self.text(&file, &mut room)?;
            let conf = self.conf(&file, &confs)?;
            let has_values = parsed.as_ref().is_some_and(|named| conf.replaces(named));
            let text = match has_values {
                true => self.placeholders.put_in(read, &file)?,
                false => Cow::Borrowed(read),
            };
            // What has no version comes last.
            let at = (parsed.is_none(), parsed.map(|named| named.version));
            let replaced = matches!(text, Cow::Owned(_));
            let text = text.into_owned();
            let found = Text {
                file,
                text,
                replaced,
            };
            texts.push((at, found));
        }
        texts.sort_by_cached_key(|(at, text)| (*at, text.file.clone()));
        Ok(texts.into_iter().map(|(_, text)| text).collect())
    }

    /// The text of one of its files, as Flyway counts it: that of a repeatable file with the values in it.
    pub(crate) fn counted(&self, file: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.dir.join(file);
        let failed = |source| FolderError::Io {
            path: path.clone(),
            source,
        };
        let bytes = std::fs::read(&path).map_err(failed)?;
        let named = name::parse(file)?;
        if named.role != name::Role::Repeatable {
            return Ok(bytes);
        }
        let beside = format!("{file}.conf");
        let mut confs = HashSet::new();
        if self.dir.join(&beside).exists() {
            confs.insert(beside);
        }
        let replaces = self.conf(file, &confs)?.replaces(&named);
        Ok(match std::str::from_utf8(&bytes) {
            Ok(text) if replaces => self
                .placeholders
                .put_in(text, file)?
                .into_owned()
                .into_bytes(),
            _ => bytes,
        })
    }

    /// Files that count, sorted; and those with settings for them.
    fn names(&self) -> Result<(Vec<String>, HashSet<String>), FolderError> {
        let (mut names, mut confs) = (Vec::new(), HashSet::new());
        let mut dirs = vec![String::new()];
        while let Some(below) = dirs.pop() {
            let dir = self.dir.join(&below);
            let failed = |source| FolderError::Io {
                path: dir.clone(),
                source,
            };
            for entry in std::fs::read_dir(&dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                // That of a disk's own may not be read by everybody.
                if name.starts_with('.') || name == "lost+found" {
                    continue;
                }
                let is_sql = name.ends_with(".sql");
                let counts = is_sql && (below.is_empty() || name::has_letter(&name));
                // What it is costs nothing to ask, where it comes with the name; a link is not followed to a folder.
                let may_be_dir = !is_sql && !name.ends_with(".conf");
                if may_be_dir && entry.file_type().map_err(failed)?.is_dir() {
                    dirs.push(format!("{below}{name}/"));
                } else if counts {
                    names.push(format!("{below}{name}"));
                } else if name.strip_suffix(".conf").is_some_and(name::has_letter) {
                    confs.insert(format!("{below}{name}"));
                }
            }
        }
        names.sort();
        Ok((names, confs))
    }

    /// What the file beside it says.
    fn conf(&self, file: &str, confs: &HashSet<String>) -> Result<Conf, FolderError> {
        let mut conf = Conf::default();
        if confs.is_empty() {
            return Ok(conf);
        }
        let beside = format!("{file}.conf");
        if !confs.contains(&beside) {
            return Ok(conf);
        }
        let path = self.dir.join(&beside);
        let text =
            std::fs::read_to_string(&path).map_err(|source| FolderError::Io { path, source })?;
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let is_false = value.trim().eq_ignore_ascii_case("false");
            match (key.trim(), value.trim()) {
                ("executeInTransaction", _) => conf.no_transaction = is_false,
                ("placeholderReplacement", _) => conf.literal = is_false,
                ("encoding", value) if value.eq_ignore_ascii_case("utf-8") => {}
                (key, value) => {
                    return Err(FolderError::Directive {
                        file: beside,
                        line: i + 1,
                        problem: format!(
                            "{key}={value} is not known: executeInTransaction, placeholderReplacement and \
                             encoding=UTF-8 are"
                        ),
                    });
                }
            }
        }
        Ok(conf)
    }

    /// The text of a file. `room`: for its path and its bytes.
    fn text<'b>(&self, file: &str, room: &'b mut Room) -> Result<&'b str, FolderError> {
        let Room { path, bytes } = room;
        let content = |problem| FolderError::Content {
            file: file.to_owned(),
            problem,
        };
        bytes.clear();
        path.clear();
        path.push(&self.dir);
        path.push(file);
        std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(bytes))
            .map_err(|source| FolderError::Io {
                path: path.clone(),
                source,
            })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(content("is longer than 64 MiB: load data in another way"));
        }
        std::str::from_utf8(bytes).map_err(|_| content("is not UTF-8: save it as UTF-8"))
    }

    /// What the files hold. A thousand of them cost more than all else that `up` does when nothing is pending,
    /// so several threads read.
    fn pieces(&self, names: &[String], confs: &HashSet<String>) -> Result<Pieces, FolderError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (names.len() / FEW).min(processors).clamp(1, READERS);
        let mut parts = names.chunks(names.len().div_ceil(threads).max(1));
        let mine = parts.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = parts
                .map(|part| scope.spawn(move || self.some(part, confs)))
                .collect();
            let mut all = self.some(mine, confs)?;
            for other in others {
                let part = other.join();
                let part = part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                all.files.extend(part.files);
                all.baselines.extend(part.baselines);
                all.downs.extend(part.downs);
            }
            Ok(all)
        })
    }

    fn some(&self, names: &[String], confs: &HashSet<String>) -> Result<Pieces, FolderError> {
        let mut room = Room::new();
        let mut pieces = Pieces::default();
        pieces.files.reserve(names.len());
        for name in names {
            let text = self.text(name, &mut room)?;
            let conf = self.conf(name, confs)?;
            pieces.add(name.clone(), text, &self.placeholders, conf)?;
        }
        Ok(pieces)
    }
}

/// For one file after the other: it costs more to get memory for each than to copy what it holds.
struct Room {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Room {
    fn new() -> Self {
        Self {
            path: PathBuf::new(),
            // With room from the start, a file is not asked first how long it is.
            bytes: Vec::with_capacity(64 * 1024),
        }
    }
}

/// See [`Folder::squashed`].
fn squashed(names: &[String]) -> Option<Version> {
    let versions = |role| {
        let parsed = names.iter().filter_map(|name| name::parse(name).ok());
        let of_role = parsed.filter(move |named| named.role == role);
        of_role.map(|named| named.version)
    };
    let first = versions(name::Role::Up).min();
    let above = |version: &Version| first.is_none_or(|first| first > *version);
    versions(name::Role::Baseline).filter(above).max()
}

/// Files that one thread reads: fewer are not worth another one.
const FEW: usize = 100;
/// Threads that read: each takes a processor, and a database is waiting, too.
const READERS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_in_the_order_of_their_versions_whatever_they_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("below")).unwrap();
        for name in [
            "10_c.sql",
            "9_b.sql",
            "9_b.down.sql",
            "V2__a.sql",
            "readme.sql",
            "R__v.sql",
            "below/V2.1__d.sql",
            "below/9_e.sql",
        ] {
            std::fs::write(dir.path().join(name), "select '${x}'").unwrap();
        }
        let mut source = Source::from(dir.path());
        source.placeholders.set("x", "y");
        let texts = source.texts().unwrap();
        let files: Vec<_> = texts
            .iter()
            .map(|t| (t.file.as_str(), t.replaced))
            .collect();
        assert_eq!(
            files,
            [
                ("V2__a.sql", true),
                ("below/V2.1__d.sql", true),
                ("9_b.sql", false),
                ("10_c.sql", false),
                ("R__v.sql", true),
                ("readme.sql", false),
            ]
        );
        assert_eq!(texts[0].text, "select 'y'");
        assert_eq!(source.counted("R__v.sql").unwrap(), b"select 'y'");
        assert_eq!(source.counted("V2__a.sql").unwrap(), b"select '${x}'");
    }
}
