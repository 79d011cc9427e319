//! Files into a container and out of it: tar archives that go through the Docker API or over HTTP, so
//! that nothing of the host is mounted and the image needs no tool. Never follows a link of the
//! workspace.

use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// Who owns what is put into a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
}

/// Something to be put into a container.
#[derive(Debug, Clone)]
pub enum Item {
    /// An empty folder with these permissions.
    Folder(String, u32),
    /// A file with these permissions.
    File(String, u32, Vec<u8>),
    /// A file of this machine.
    Copy(String, u32, PathBuf),
    /// A folder of this machine with everything in it, or a single file.
    Tree(String, PathBuf),
}

/// Writes the items as one archive. Blocking.
///
/// # Errors
/// A file can't be read, or nobody takes the archive any more.
pub fn pack(items: &[Item], owner: Owner, out: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(out);
    for item in items {
        match item {
            Item::Folder(at, mode) => folder(&mut tar, Path::new(at), *mode, owner)?,
            Item::File(at, mode, bytes) => {
                let mut header = header(owner, EntryType::Regular, *mode, 0);
                header.set_size(bytes.len() as u64);
                tar.append_data(&mut header, at, &bytes[..])?;
            }
            Item::Copy(at, mode, from) => {
                let file = std::fs::File::open(from)?;
                let mut header = header(owner, EntryType::Regular, *mode, 0);
                header.set_size(file.metadata()?.len());
                tar.append_data(&mut header, at, file)?;
            }
            Item::Tree(at, from) => tree(&mut tar, Path::new(at), from, owner)?,
        }
    }
    tar.into_inner()?.flush()
}

fn header(owner: Owner, kind: EntryType, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.uid);
    header.set_gid(owner.gid);
    header.set_mtime(mtime);
    header.set_size(0);
    header
}

fn folder(tar: &mut Builder<impl Write>, at: &Path, mode: u32, owner: Owner) -> io::Result<()> {
    let mut header = header(owner, EntryType::Directory, mode, 0);
    tar.append_data(&mut header, at, io::empty())
}

fn tree(tar: &mut Builder<impl Write>, at: &Path, from: &Path, owner: Owner) -> io::Result<()> {
    let meta = from.symlink_metadata()?;
    let (mode, mtime) = (meta.mode() & 0o7777, meta.mtime().unsigned_abs());
    if meta.is_dir() {
        let mut header = header(owner, EntryType::Directory, mode, mtime);
        tar.append_data(&mut header, at, io::empty())?;
        let mut entries = std::fs::read_dir(from)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        for name in entries {
            tree(tar, &at.join(&name), &from.join(&name), owner)?;
        }
    } else if meta.is_symlink() {
        let mut header = header(owner, EntryType::Symlink, 0o777, mtime);
        tar.append_link(&mut header, at, std::fs::read_link(from)?)?;
    } else if meta.is_file() {
        let mut header = header(owner, EntryType::Regular, mode, mtime);
        header.set_size(meta.len());
        let file = std::fs::File::open(from)?;
        tar.append_data(&mut header, at, file.take(meta.len()))?;
    }
    // A socket, FIFO or device is no content of a repository.
    Ok(())
}

/// Unpacks an archive below `into`, which is made anew: what was there belongs to another time.
/// Entries that lead out of it are left out, owners are ours. Blocking.
///
/// # Errors
/// The disk, or an archive that breaks off.
pub fn unpack(archive: impl Read, into: &Path) -> io::Result<()> {
    std::fs::create_dir_all(into)?;
    let mut tar = tar::Archive::new(archive);
    // Permissions without set-user-id: a stranger's file becomes ours here.
    tar.set_preserve_permissions(false);
    tar.set_preserve_mtime(true);
    tar.set_overwrite(true);
    tar.unpack(into)?;
    whole(tar.into_inner())
}

/// Unpacks an archive of our own making below `into`, for an owner that may be another user than
/// this process. Blocking.
///
/// # Errors
/// The disk, an archive that breaks off, or a user who may not give files away.
pub fn unpack_for(archive: impl Read, into: &Path, owner: Option<Owner>) -> io::Result<()> {
    let number = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("no such user number"));
    let mut tar = tar::Archive::new(archive);
    tar.set_preserve_permissions(true);
    tar.set_preserve_mtime(true);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = into.join(entry.path()?);
        if entry.unpack_in(into)?
            && let Some(owner) = owner
        {
            let (uid, gid) = (number(owner.uid)?, number(owner.gid)?);
            std::os::unix::fs::lchown(&path, Some(uid), Some(gid))?;
        }
    }
    whole(tar.into_inner())
}

/// Makes sure that a folder which a job handed back is one. A link in its place would lead whoever reads there
/// to files of this machine: then, and if it is anything else, there is an empty folder instead.
///
/// # Errors
/// The disk.
pub fn only_folder(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => std::fs::remove_file(path)?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    }
    std::fs::create_dir(path)
}

/// An archive ends with two empty blocks, of which one is still to be read: one that was cut off
/// between two files must not be taken for a whole one.
fn whole(mut rest: impl Read) -> io::Result<()> {
    match io::copy(&mut rest, &mut io::sink())? {
        0 => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the archive breaks off",
        )),
        _ => Ok(()),
    }
}

/// The ids of a user as a container has it: a number or a name, with or without `:group`. Names are
/// looked up in the image's own `passwd` and `group`.
///
/// # Errors
/// A name that the image doesn't know.
pub fn owner(user: &str, passwd: &str, group: &str) -> Result<Owner, String> {
    let field = |line: &str, n: usize| line.split(':').nth(n).map(ToOwned::to_owned);
    let number = |text: &str, what: &str| {
        text.parse()
            .map_err(|_| format!("the image's {what} has {text:?} where a number should be"))
    };
    let (name, group_name) = match user.split_once(':') {
        Some((name, group)) => (name, Some(group)),
        None => (user, None),
    };
    if name.is_empty() && group_name.is_none() {
        return Ok(Owner::default());
    }
    let known = passwd.lines().find(|line| {
        field(line, 0).as_deref() == Some(name) || field(line, 2).as_deref() == Some(name)
    });
    let uid = match (name.parse(), known) {
        (Ok(uid), _) => uid,
        (Err(_), Some(line)) => number(&field(line, 2).unwrap_or_default(), "/etc/passwd")?,
        (Err(_), None) if name.is_empty() => 0,
        (Err(_), None) => return Err(format!("the image has no user {name:?} in /etc/passwd")),
    };
    let gid = match group_name {
        None => match known {
            Some(line) => number(&field(line, 3).unwrap_or_default(), "/etc/passwd")?,
            None => 0,
        },
        Some(name) => match name.parse() {
            Ok(gid) => gid,
            Err(_) => {
                let line = group
                    .lines()
                    .find(|line| field(line, 0).as_deref() == Some(name));
                let line =
                    line.ok_or_else(|| format!("the image has no group {name:?} in /etc/group"))?;
                number(&field(line, 2).unwrap_or_default(), "/etc/group")?
            }
        },
    };
    Ok(Owner { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_as_the_engine_finds_them() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n";
        let group = "root:x:0:\nci:x:77:\n";
        let found = |user| owner(user, passwd, group).map(|o| (o.uid, o.gid));
        assert_eq!(found(""), Ok((0, 0)));
        assert_eq!(found("node"), Ok((1000, 1001)));
        assert_eq!(found("1000"), Ok((1000, 1001)));
        assert_eq!(found("5"), Ok((5, 0)));
        assert_eq!(found("node:ci"), Ok((1000, 77)));
        assert_eq!(found("7:8"), Ok((7, 8)));
        assert!(found("nobody").unwrap_err().contains("no user \"nobody\""));
        assert!(found("node:x").unwrap_err().contains("no group"));
    }

    #[test]
    fn what_is_packed_is_unpacked_and_nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::write(from.join("sub/a"), "1").unwrap();
        std::os::unix::fs::symlink("/etc", from.join("link")).unwrap();
        let items = [
            Item::Folder("x".to_owned(), 0o755),
            Item::File("x/f".to_owned(), 0o600, b"secret".to_vec()),
            Item::Tree("x/src".to_owned(), from),
        ];
        let mut archive = Vec::new();
        pack(&items, Owner { uid: 5, gid: 6 }, &mut archive).unwrap();
        // A file through a link that the archive itself brings.
        let mut evil = Builder::new(Vec::new());
        let mut link = header(Owner::default(), EntryType::Symlink, 0o777, 0);
        evil.append_link(&mut link, "out", dir.path()).unwrap();
        let mut file = header(Owner::default(), EntryType::Regular, 0o644, 0);
        file.set_size(1);
        evil.append_data(&mut file, "out/escaped", &b"x"[..])
            .unwrap();
        let evil = evil.into_inner().unwrap();

        let into = dir.path().join("into");
        unpack(&archive[..], &into).unwrap();
        assert_eq!(
            std::fs::read_to_string(into.join("x/src/sub/a")).unwrap(),
            "1"
        );
        assert!(into.join("x/src/link").is_symlink());
        assert_eq!(into.join("x/f").metadata().unwrap().mode() & 0o777, 0o600);
        let refused = unpack(&evil[..], &dir.path().join("other"));
        assert!(refused.is_err() || !dir.path().join("escaped").exists());
        assert!(!dir.path().join("escaped").exists());
    }
}
