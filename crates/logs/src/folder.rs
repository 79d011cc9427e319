//! The folder of one attempt: which files are in it, and what a row of the index is.
//!
//! | file | what it is |
//! | --- | --- |
//! | `<step>.log` | the step's output, masked, byte for byte |
//! | `<step>.idx` | 16 bytes per row, see [`IndexRow`]; always at least as far as the log |
//! | `<step>.notes` | a JSON [`crate::Note`] per line: what happened between the lines; grows only |
//! | `<step>.log.zst`, `<step>.idx.zst` | the same after sealing, see [`crate::seekable`] |
//! | `<step>.json` | written by sealing: the [`crate::LogMeta`]; its existence means "sealed" |
//! | `<step>.findings.json`, `<step>.lines` | what was found, and which lines a passing step printed; see [`crate::findings::sidecar`] |
//! | `recorder.json` | how far the recorder is, for going on after a crash |
//! | `recorder.lock` | held with `flock` by the recorder, or while sealing |
//!
//! A step is a number here. From `windlass_model::plan::FIRST_SERVICE_LOG` on, the numbers are those of services.
//!
//! A row is a line with its `\n`, or a piece of [`MAX_ROW`] bytes of a longer line.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::{Doing as _, LogError, Result};

/// The longest row in bytes; the rest of a longer line follows in rows with
/// [`RowFlags::continues`].
pub const MAX_ROW: u64 = 64 * 1024;
/// Bytes of one row in the index.
pub const INDEX_ROW: u64 = 16;
/// File name of the recorder's checkpoint.
pub const CHECKPOINT_FILE: &str = "recorder.json";
/// File name of the lock.
pub const LOCK_FILE: &str = "recorder.lock";

/// Where a row's first byte came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// stdout and stderr in one pipe, or a terminal.
    Merged,
    /// stdout alone.
    Stdout,
    /// stderr alone.
    Stderr,
}

impl Stream {
    fn code(self) -> u64 {
        match self {
            Self::Merged => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    fn from_code(code: u64) -> Self {
        match code {
            1 => Self::Stdout,
            2 => Self::Stderr,
            _ => Self::Merged,
        }
    }
}

impl From<windlass_shim::journal::Stream> for Stream {
    fn from(stream: windlass_shim::journal::Stream) -> Self {
        match stream {
            windlass_shim::journal::Stream::Merged => Self::Merged,
            windlass_shim::journal::Stream::Stdout => Self::Stdout,
            windlass_shim::journal::Stream::Stderr => Self::Stderr,
        }
    }
}

/// What is special about a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowFlags(u8);

impl RowFlags {
    const CONTINUES: u8 = 1;

    /// The flags of a row that goes on with the line of the row before it.
    pub(crate) fn continuing(continues: bool) -> Self {
        Self(if continues { Self::CONTINUES } else { 0 })
    }

    /// Whether the row goes on with the line of the row before it.
    pub fn continues(self) -> bool {
        self.0 & Self::CONTINUES != 0
    }

    /// The byte in the index.
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// A row as a reader knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMeta {
    /// Its number, from 0.
    pub number: u64,
    /// Its first byte in the log.
    pub offset: u64,
    /// Its bytes, with the `\n` if there is one. The last row of a live log may still grow.
    pub len: u64,
    /// Microseconds since 1970: when its first byte came.
    pub time_us: i64,
    /// Where its first byte came from.
    pub stream: Stream,
    /// What is special about it.
    pub flags: RowFlags,
}

/// One record of the index: two little-endian words of 64 bits. The first is
/// `offset (48 bits) | stream << 48 | flags << 56`, the second the time in microseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexRow {
    /// The row's first byte in the log.
    pub offset: u64,
    /// Where that byte came from.
    pub stream: Stream,
    /// What is special about the row.
    pub flags: RowFlags,
    /// When that byte came, in microseconds since 1970.
    pub time_us: i64,
}

impl IndexRow {
    /// The 16 bytes in the file.
    pub fn to_bytes(self) -> [u8; INDEX_ROW as usize] {
        let word = self.offset | self.stream.code() << 48 | u64::from(self.flags.0) << 56;
        let mut bytes = [0; INDEX_ROW as usize];
        bytes[..8].copy_from_slice(&word.to_le_bytes());
        bytes[8..].copy_from_slice(&self.time_us.to_le_bytes());
        bytes
    }

    /// The row behind 16 bytes.
    pub fn from_bytes(bytes: &[u8; INDEX_ROW as usize]) -> Self {
        let (mut word, mut time) = ([0; 8], [0; 8]);
        word.copy_from_slice(&bytes[..8]);
        time.copy_from_slice(&bytes[8..]);
        let word = u64::from_le_bytes(word);
        Self {
            offset: word & ((1 << 48) - 1),
            stream: Stream::from_code(word >> 48 & 0xff),
            flags: RowFlags((word >> 56) as u8),
            time_us: i64::from_le_bytes(time),
        }
    }
}

/// A file of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepFile {
    Log,
    Index,
    Notes,
    SealedLog,
    SealedIndex,
    Meta,
}

impl StepFile {
    pub(crate) const ALL: [Self; 6] = [
        Self::Log,
        Self::Index,
        Self::Notes,
        Self::SealedLog,
        Self::SealedIndex,
        Self::Meta,
    ];

    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Index => "idx",
            Self::Notes => "notes",
            Self::SealedLog => "log.zst",
            Self::SealedIndex => "idx.zst",
            Self::Meta => "json",
        }
    }
}

/// The path of a step's file.
pub(crate) fn step_path(dir: &Path, step: u32, file: StepFile) -> PathBuf {
    dir.join(format!("{step}.{}", file.suffix()))
}

/// The steps and kinds of all files of ours in `dir`, in no order.
pub(crate) fn step_files(dir: &Path) -> Result<Vec<(u32, StepFile)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries.doing("list", dir)?,
    };
    for entry in entries {
        let name = entry.doing("list", dir)?.file_name();
        let Some((step, suffix)) = name.to_str().and_then(|n| n.split_once('.')) else {
            continue;
        };
        let kind = StepFile::ALL.into_iter().find(|f| f.suffix() == suffix);
        if let (Ok(step), Some(kind)) = (step.parse(), kind) {
            found.push((step, kind));
        }
    }
    Ok(found)
}

/// The steps that have a log in an attempt's folder, in order.
///
/// # Errors
/// I/O.
pub fn steps(dir: &Path) -> Result<Vec<u32>> {
    let mut steps: Vec<u32> = step_files(dir)?.into_iter().map(|(step, _)| step).collect();
    steps.sort_unstable();
    steps.dedup();
    Ok(steps)
}

/// Opens for reading; `None` if there is no such file.
pub(crate) fn open_if_exists(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).doing("open", path),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_exists(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.doing("remove", path),
    }
}

/// Replaces a file so that every reader sees the old or the new contents, never a part. With
/// `durable`, also after a power loss.
pub(crate) fn replace(path: &Path, contents: &[u8], durable: bool) -> Result<()> {
    let temporary = temporary_path(path);
    let mut file = File::create(&temporary).doing("create", &temporary)?;
    file.write_all(contents).doing("write", &temporary)?;
    if durable {
        file.sync_all().doing("sync", &temporary)?;
    }
    fs::rename(&temporary, path).doing("rename to", path)
}

/// Where a file is written before it gets its name.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Makes names (creations, renames, removals) in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .doing("sync", dir)
}

/// A folder's lock, held as long as this lives.
#[derive(Debug)]
pub(crate) struct FolderLock(File);

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a process that is just being forked elsewhere in this
        // program shares the lock until it calls exec.
        self.0.unlock().unwrap_or_default();
    }
}

/// Takes the folder's lock.
pub(crate) fn lock(dir: &Path) -> Result<FolderLock> {
    let path = dir.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .doing("open", &path)?;
    match file.try_lock() {
        Ok(()) => Ok(FolderLock(file)),
        Err(fs::TryLockError::WouldBlock) => Err(LogError::InUse {
            dir: dir.to_owned(),
        }),
        Err(fs::TryLockError::Error(source)) => Err(source).doing("lock", &path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_row_is_sixteen_bytes_and_comes_back() {
        let row = IndexRow {
            offset: (1 << 48) - 2,
            stream: Stream::Stderr,
            flags: RowFlags::continuing(true),
            time_us: 1_764_000_000_000_000,
        };
        assert_eq!(IndexRow::from_bytes(&row.to_bytes()), row);
        assert_eq!(row.to_bytes()[6..8], [2, 1]);
    }
}
