//! Files beneath a folder, without ever leaving it.
//!
//! A path is walked one component at a time, each opened in the folder before it without following
//! a link. So nobody who can write there, not even while we walk, leads us elsewhere.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bytes to read.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, wherever it leads.
    Link,
    /// What must never be opened; the words for it.
    Special(&'static str),
}

impl Kind {
    fn of(stat: &FileStat) -> Self {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Self::File,
            SFlag::S_IFDIR => Self::Folder,
            SFlag::S_IFLNK => Self::Link,
            SFlag::S_IFIFO => Self::Special("a pipe (FIFO)"),
            SFlag::S_IFSOCK => Self::Special("a socket"),
            SFlag::S_IFCHR | SFlag::S_IFBLK => Self::Special("a device"),
            _ => Self::Special("of no kind that we know"),
        }
    }

    fn from_listing(kind: Type) -> Self {
        match kind {
            Type::File => Self::File,
            Type::Directory => Self::Folder,
            Type::Symlink => Self::Link,
            Type::Fifo => Self::Special("a pipe (FIFO)"),
            Type::Socket => Self::Special("a socket"),
            Type::CharacterDevice | Type::BlockDevice => Self::Special("a device"),
        }
    }

    /// The end of a sentence: "is …".
    pub fn words(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Special(words) => words,
        }
    }
}

/// An open folder. It stays the same folder, whatever happens to its name.
#[derive(Debug)]
pub struct Folder(OwnedFd);

const FOLDER: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

impl Folder {
    /// Opens a folder of ours: links in this path itself are followed.
    ///
    /// # Errors
    /// When it can't be opened, or is no folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?))
    }

    /// What stands at a name; `None` if nothing.
    ///
    /// # Errors
    /// When the folder can't be searched.
    pub fn kind(&self, name: &OsStr) -> io::Result<Option<Kind>> {
        match self.stat(name) {
            Ok(stat) => Ok(Some(Kind::of(&stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn stat(&self, name: &OsStr) -> Result<FileStat, Errno> {
        fstatat(&self.0, one(name)?, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Calls back with every name in the folder, in no order, until told to stop with `false`.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn each(&self, mut visit: impl FnMut(OsString, Kind) -> bool) -> io::Result<()> {
        // A second descriptor, because a listing has a position.
        let fd = openat(&self.0, ".", FOLDER, Mode::empty())?;
        for entry in Dir::from_fd(fd)?.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            // Some file systems don't tell the kind in the listing.
            let kind = match entry.file_type() {
                Some(kind) => Some(Kind::from_listing(kind)),
                None => self.kind(name)?,
            };
            if let Some(kind) = kind
                && !visit(name.to_owned(), kind)
            {
                break;
            }
        }
        Ok(())
    }

    /// The folder at a name.
    ///
    /// # Errors
    /// When there is none, or a link.
    pub fn sub(&self, name: &OsStr) -> io::Result<Self> {
        let opened = openat(&self.0, one(name)?, FOLDER, Mode::empty());
        match opened {
            Ok(fd) => Ok(Self(fd)),
            // The kernel says ENOTDIR for a link, too: tell people which it is.
            Err(Errno::ENOTDIR | Errno::ELOOP) => Err(self.not_a("folder", name)),
            Err(e) => Err(e.into()),
        }
    }

    /// The folder at a path of names.
    ///
    /// # Errors
    /// As [`Folder::sub`].
    pub fn down(&self, names: &Path) -> io::Result<Self> {
        let mut here = Self(self.0.try_clone()?);
        for name in names {
            here = here.sub(name)?;
        }
        Ok(here)
    }

    /// The folder at a path of names; those that are missing are made.
    ///
    /// # Errors
    /// When something else than a folder stands there, or it can't be made.
    pub fn make(&self, names: &Path) -> io::Result<Self> {
        let mut here = Self(self.0.try_clone()?);
        for name in names {
            match mkdirat(&here.0, one(name)?, Mode::from_bits_truncate(0o777)) {
                Ok(()) | Err(Errno::EEXIST) => here = here.sub(name)?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(here)
    }

    /// Opens a regular file to read. Nothing else is ever opened: a pipe would wait for its writer,
    /// and a device may do anything.
    ///
    /// # Errors
    /// When there is none, or something else.
    pub fn file(&self, name: &OsStr) -> io::Result<File> {
        let name = one(name)?;
        if Kind::of(&self.stat(name)?) != Kind::File {
            return Err(self.not_a("regular file", name));
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(&self.0, name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::ELOOP | Errno::ENXIO) => return Err(self.not_a("regular file", name)),
            Err(e) => return Err(e.into()),
        };
        // Between the two calls it may have become something else.
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            Err(self.not_a("regular file", name))
        }
    }

    /// Opens the regular file at a path of names.
    ///
    /// # Errors
    /// As [`Folder::file`].
    pub fn file_at(&self, path: &Path) -> io::Result<File> {
        let (folder, name) = split(path)?;
        self.down(folder)?.file(name)
    }

    /// Makes a file that must not be there yet, to write.
    ///
    /// # Errors
    /// When something is there, or it can't be made.
    pub fn create(&self, name: &OsStr, mode: u32) -> io::Result<File> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(mode);
        Ok(openat(&self.0, one(name)?, flags, mode)?.into())
    }

    /// Where a link leads, as it is written in it.
    ///
    /// # Errors
    /// When there is no link.
    pub fn link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(readlinkat(&self.0, one(name)?)?)
    }

    /// Makes a link.
    ///
    /// # Errors
    /// When something is there, or it can't be made.
    pub fn make_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, one(name)?)?)
    }

    /// Puts what is at one name at another one, in place of what is there.
    ///
    /// # Errors
    /// When a folder is there, or it can't be done.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.0, one(from)?, &self.0, one(to)?)?)
    }

    /// Removes whatever is at a name, folders with all in them; links are not followed. That
    /// nothing is there is fine.
    ///
    /// # Errors
    /// When it can't be removed.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        match self.kind(name)? {
            None => return Ok(()),
            Some(Kind::Folder) => {
                let folder = self.sub(name)?;
                let mut names = Vec::new();
                folder.each(|name, _| {
                    names.push(name);
                    true
                })?;
                for name in names {
                    folder.remove(&name)?;
                }
                unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?;
            }
            Some(_) => unlinkat(&self.0, name, UnlinkatFlags::NoRemoveDir)?,
        }
        Ok(())
    }

    /// Removes what is at a name, but no folder.
    ///
    /// # Errors
    /// When a folder is there, or it can't be removed.
    pub fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.0, one(name)?, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => Err(io::Error::other("a folder of this name is there")),
            Err(e) => Err(e.into()),
        }
    }

    /// The folder as a file, for its times, its mode and to have it written to the disk.
    ///
    /// # Errors
    /// When there are too many open files.
    pub fn as_file(&self) -> io::Result<File> {
        Ok(self.0.try_clone()?.into())
    }

    /// Whether something is there, and what, as an error for people.
    fn not_a(&self, wanted: &str, name: &OsStr) -> io::Error {
        match self.kind(name) {
            Ok(Some(kind)) => io::Error::other(format!(
                "{} is {}, not a {wanted}",
                Path::new(name).display(),
                kind.words()
            )),
            Ok(None) => io::ErrorKind::NotFound.into(),
            Err(e) => e,
        }
    }
}

/// Only what is one name: no path, and no way up.
fn one(name: &OsStr) -> Result<&OsStr, Errno> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') {
        return Err(Errno::EINVAL);
    }
    Ok(name)
}

/// A path's folder and its last name.
///
/// # Errors
/// When it has no last name.
pub fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(name)) => Ok((folder, name)),
        _ => Err(io::Error::other(format!("{path:?} names no file"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::fs::write(dir.path().join("in/a"), "a").unwrap();
        std::os::unix::fs::symlink("..", dir.path().join("in/up")).unwrap();
        std::os::unix::fs::symlink("../secret", dir.path().join("in/link")).unwrap();
        let folder = Folder::open(&dir.path().join("in")).unwrap();
        assert!(folder.file_at(Path::new("a")).is_ok());
        for path in [
            "../secret",
            "up/secret",
            "link",
            "/etc/passwd",
            "up",
            "",
            "..",
        ] {
            assert!(folder.file_at(Path::new(path)).is_err(), "{path}");
            assert!(
                folder.make(Path::new(path)).is_err() || path.is_empty(),
                "{path}"
            );
        }
        let error = folder.file_at(Path::new("up/secret")).unwrap_err();
        assert_eq!(error.to_string(), "up is a symbolic link, not a folder");
    }
}
