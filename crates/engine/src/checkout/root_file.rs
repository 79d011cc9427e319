//! Reading the spec out of a workspace that a stranger has filled.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::CheckoutError;

/// Reads the first of `names` that is in the workspace's root: its name and its bytes. `None` if
/// there is none of them. Only a regular file of at most `max_bytes` is read; a symbolic link is
/// never followed, because it could lead to any file of this machine.
///
/// # Errors
/// [`CheckoutError::Refused`] for a link, a folder, a file that is too large, and for a name that
/// is more than a file name; [`CheckoutError::Io`] when it can't be read.
pub fn read_root_file(
    workspace: &Path,
    names: &[&str],
    max_bytes: u64,
) -> Result<Option<(String, Vec<u8>)>, CheckoutError> {
    let refused = |what| Err(CheckoutError::Refused { what });
    for &name in names {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return refused(format!("{name:?} is not the name of a file in the root"));
        }
        let path = workspace.join(name);
        // NONBLOCK, because opening a pipe would wait for a writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits())
            .open(&path);
        let mut file = match opened {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) if e.raw_os_error() == Some(Errno::ELOOP as i32) => {
                return refused(format!(
                    "{name} is a symbolic link; it must be a file of its own, because a link \
                     could lead out of the repository"
                ));
            }
            Err(e) => return Err(CheckoutError::io("opening", &path)(e)),
        };
        let meta = file
            .metadata()
            .map_err(CheckoutError::io("reading", &path))?;
        if !meta.is_file() {
            return refused(format!("{name} is not a regular file"));
        }
        let mut bytes = Vec::new();
        // One more than allowed: it may grow while we read, so the size alone proves nothing.
        Read::by_ref(&mut file)
            .take(max_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(CheckoutError::io("reading", &path))?;
        if bytes.len() as u64 > max_bytes {
            return refused(format!("{name} is larger than {max_bytes} bytes"));
        }
        return Ok(Some((name.to_owned(), bytes)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["windlass.yml", "windlass.yaml"];

    #[test]
    fn the_first_name_that_is_there_is_read() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_root_file(dir.path(), NAMES, 10).unwrap().is_none());
        std::fs::write(dir.path().join("windlass.yaml"), "b").unwrap();
        let found = read_root_file(dir.path(), NAMES, 10).unwrap();
        assert_eq!(found, Some(("windlass.yaml".into(), b"b".to_vec())));
        std::fs::write(dir.path().join("windlass.yml"), "a").unwrap();
        let found = read_root_file(dir.path(), NAMES, 10).unwrap();
        assert_eq!(found, Some(("windlass.yml".into(), b"a".to_vec())));
    }

    #[test]
    fn links_folders_pipes_and_giants_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("windlass.yml");
        let refused = |what: &str| {
            let error = read_root_file(dir.path(), NAMES, 10)
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("refused: ") && error.contains(what),
                "{error}"
            );
        };
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        refused("symbolic link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        refused("regular file");
        std::fs::remove_dir(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("regular file");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "01234567890").unwrap();
        refused("larger than 10 bytes");
        std::fs::write(&path, "0123456789").unwrap();
        assert!(read_root_file(dir.path(), NAMES, 10).unwrap().is_some());
        assert!(read_root_file(dir.path(), &["../x"], 10).is_err());
    }
}
