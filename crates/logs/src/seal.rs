//! After the job's end: checks, compresses and closes its logs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Doing as _, LogError, Result};
use crate::folder::{self, CHECKPOINT_FILE, StepFile, step_path};
use crate::note::{Note, StepEnd};
use crate::reader::LogReader;
use crate::seekable;

const VERSION: u32 = 1;
/// Smaller files stay as they are.
const COMPRESS_FROM: u64 = 64 * 1024;

/// A sealed log's figures: the contents of `<step>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMeta {
    /// The format of this file and of the files beside it: 1.
    pub version: u32,
    /// Bytes of the log.
    pub bytes: u64,
    /// Rows of the log.
    pub rows: u64,
    /// SHA-256 of the log's bytes, in hex.
    pub sha256: String,
    /// Bytes on the disk, log and index together.
    pub stored_bytes: u64,
    /// Microseconds since 1970 of the first row; `None` for an empty log.
    pub first_us: Option<i64>,
    /// Microseconds since 1970 of the last row; `None` for an empty log.
    pub last_us: Option<i64>,
    /// The step's end, if it was seen.
    pub end: Option<StepEnd>,
    /// The notes about missing output; empty for a whole log.
    pub losses: Vec<Note>,
}

/// One step's sealed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedStep {
    /// The step.
    pub step: u32,
    /// Its figures.
    pub meta: LogMeta,
}

/// Seals all logs in the attempt's folder, in the order of the steps. A crash at any point leaves
/// readable logs, and sealing again finishes the work; sealing what is sealed does nothing.
///
/// # Errors
/// I/O; [`crate::LogError::InUse`] while a recorder has the folder (drop it first);
/// [`crate::LogError::Length`] if a log does not hold what was recorded (open a recorder, push the
/// rest of the journal, and seal again).
pub fn seal(dir: &Path) -> Result<Vec<SealedStep>> {
    let files = folder::step_files(dir)?;
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let _lock = folder::lock(dir)?;
    if let Some(checkpoint) = folder::open_if_exists(&dir.join(CHECKPOINT_FILE))? {
        let path = dir.join(CHECKPOINT_FILE);
        checkpoint.sync_all().doing("sync", &path)?;
    }
    let steps: BTreeSet<u32> = files.into_iter().map(|(step, _)| step).collect();
    steps
        .into_iter()
        .map(|step| {
            let meta = seal_step(dir, step)?;
            Ok(SealedStep { step, meta })
        })
        .collect()
}

fn seal_step(dir: &Path, step: u32) -> Result<LogMeta> {
    if let Some(meta) = read_meta(dir, step)? {
        // A crash came between the last two acts.
        remove_raw(dir, step)?;
        return Ok(meta);
    }
    let mut reader = LogReader::open(dir, step)?;
    if let Some(end) = reader.end()
        && end.log_bytes != reader.len()
    {
        return Err(LogError::Length {
            path: step_path(dir, step, StepFile::Log),
            expected: end.log_bytes,
            found: reader.len(),
        });
    }
    let time_of = |row: Option<crate::RowMeta>| row.map(|row| row.time_us);
    let first_us = time_of(reader.row(0)?);
    let last_us = time_of(reader.tail_rows(1)?.pop());
    let (sha256, log_stored) = store(dir, step, StepFile::Log, StepFile::SealedLog)?;
    let (_, index_stored) = store(dir, step, StepFile::Index, StepFile::SealedIndex)?;
    let notes = step_path(dir, step, StepFile::Notes);
    if let Some(file) = folder::open_if_exists(&notes)? {
        file.sync_all().doing("sync", &notes)?;
    }
    // The names of the compressed files must be durable before anything says that they are there.
    folder::sync_dir(dir)?;
    let meta = LogMeta {
        version: VERSION,
        bytes: reader.len(),
        rows: reader.rows(),
        sha256,
        stored_bytes: log_stored + index_stored,
        first_us,
        last_us,
        end: reader.end().cloned(),
        losses: reader
            .notes()
            .iter()
            .filter(|note| note.kind.is_loss())
            .cloned()
            .collect(),
    };
    let path = step_path(dir, step, StepFile::Meta);
    let json =
        serde_json::to_vec_pretty(&meta).map_err(|e| LogError::damaged(&path, e.to_string()))?;
    folder::replace(&path, &json, true)?;
    folder::sync_dir(dir)?;
    remove_raw(dir, step)?;
    Ok(meta)
}

/// Makes one raw file durable: compressed beside it, or, if it is small, as it is. Returns the
/// SHA-256 of the contents and the bytes on the disk.
pub(crate) fn store(
    dir: &Path,
    step: u32,
    raw: StepFile,
    sealed: StepFile,
) -> Result<(String, u64)> {
    let (raw, sealed) = (step_path(dir, step, raw), step_path(dir, step, sealed));
    let Some(file) = folder::open_if_exists(&raw)? else {
        return Ok((hex::encode(Sha256::digest([])), 0));
    };
    let len = file.metadata().doing("read", &raw)?.len();
    let mut source = Hashed {
        file: file.take(len),
        hash: Sha256::new(),
    };
    let stored = if len < COMPRESS_FROM {
        io::copy(&mut source, &mut io::sink()).doing("read", &raw)?;
        source.file.get_ref().sync_all().doing("sync", &raw)?;
        folder::remove_if_exists(&sealed)?;
        len
    } else {
        let temporary = folder::temporary_path(&sealed);
        let target = File::create(&temporary).doing("create", &temporary)?;
        let mut target = io::BufWriter::with_capacity(1 << 20, target);
        let (_, stored) = seekable::compress(&mut source, &mut target)
            .and_then(|sizes| target.flush().map(|()| sizes))
            .doing("compress to", &temporary)?;
        target.get_ref().sync_all().doing("sync", &temporary)?;
        fs::rename(&temporary, &sealed).doing("rename to", &sealed)?;
        stored
    };
    Ok((hex::encode(source.hash.finalize()), stored))
}

fn remove_raw(dir: &Path, step: u32) -> Result<()> {
    let mut removed = false;
    for (raw, sealed) in [
        (StepFile::Log, StepFile::SealedLog),
        (StepFile::Index, StepFile::SealedIndex),
    ] {
        let raw = step_path(dir, step, raw);
        if step_path(dir, step, sealed).exists() && raw.exists() {
            folder::remove_if_exists(&raw)?;
            removed = true;
        }
    }
    if removed {
        folder::sync_dir(dir)?;
    }
    Ok(())
}

/// The figures of a sealed log; `None` if it is not sealed.
pub(crate) fn read_meta(dir: &Path, step: u32) -> Result<Option<LogMeta>> {
    let path = step_path(dir, step, StepFile::Meta);
    match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        read => serde_json::from_slice(&read.doing("read", &path)?)
            .map(Some)
            .map_err(|e| LogError::damaged(&path, e.to_string())),
    }
}

/// Hashes what is read through it.
struct Hashed {
    file: io::Take<File>,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}
