//! The file in which a job leaves the values that it hands on. A build wrote it: it may be anything.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use windlass_engine::order::{OUTPUT_FILE, OUTPUT_LIMIT};

/// Where it is, in the attempt's folder for temporary files.
pub(crate) fn path(tmp: &Path) -> PathBuf {
    tmp.join(OUTPUT_FILE)
}

/// What stands in it; nothing if it was not written. Never follows a link, waits for a FIFO or reads
/// a device.
///
/// # Errors
/// A sentence about what is wrong with it.
pub(crate) fn read(tmp: &Path) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("$WINDLASS_OUTPUT can't be read: {e}");
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path(tmp));
    let file = match opened {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err("$WINDLASS_OUTPUT is not a file any more".to_owned());
    }
    let mut text = Vec::new();
    // One byte more than is taken, so that too much is noticed.
    file.take(OUTPUT_LIMIT + 1)
        .read_to_end(&mut text)
        .map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_file_is_read() {
        let tmp = tempfile::tempdir().unwrap();
        assert_eq!(read(tmp.path()).unwrap(), b"");
        std::fs::write(path(tmp.path()), "a=1\n").unwrap();
        assert_eq!(read(tmp.path()).unwrap(), b"a=1\n");
        std::fs::remove_file(path(tmp.path())).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", path(tmp.path())).unwrap();
        assert!(read(tmp.path()).is_err());
        std::fs::remove_file(path(tmp.path())).unwrap();
        std::fs::create_dir(path(tmp.path())).unwrap();
        assert!(read(tmp.path()).is_err());
    }
}
