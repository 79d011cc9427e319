//! Copies of sealed logs: which files a copy is made of, and how a log comes back from one.
//!
//! A log that comes back is built in a folder of its own, checked against the length and SHA-256
//! that sealing noted, and only then moved to its place; its `<step>.json` comes last, as in
//! sealing. A crash in between leaves files that the next try removes.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::error::{Doing as _, LogError, Result};
use crate::folder::{self, FolderLock, StepFile, step_path};
use crate::reader::LogReader;
use crate::seal::{self, LogMeta};

/// A file of a sealed log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Its name without the step: `log`, `log.zst`, `idx`, `idx.zst`, `notes`, `json`.
    pub suffix: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

/// The files of a step's sealed log, `json` last; empty if it is not sealed.
///
/// # Errors
/// I/O.
pub fn sealed_files(dir: &Path, step: u32) -> Result<Vec<SealedFile>> {
    let mut files = Vec::new();
    for kinds in [
        [StepFile::SealedLog, StepFile::Log],
        [StepFile::SealedIndex, StepFile::Index],
        [StepFile::Notes, StepFile::Notes],
        [StepFile::Meta, StepFile::Meta],
    ] {
        for kind in kinds {
            let path = step_path(dir, step, kind);
            if path.try_exists().doing("look for", &path)? {
                let suffix = kind.suffix();
                files.push(SealedFile { suffix, path });
                break;
            }
        }
    }
    match files.last() {
        Some(last) if last.suffix == StepFile::Meta.suffix() => Ok(files),
        _ => Ok(Vec::new()),
    }
}

/// Whether there is any file of a step's log.
///
/// # Errors
/// I/O.
pub fn has_log(dir: &Path, step: u32) -> Result<bool> {
    let files = folder::step_files(dir)?;
    Ok(files.into_iter().any(|(found, _)| found == step))
}

/// Whether a reader finds the log of a step: a sealed one has its figures, another one its bytes.
pub fn is_here(dir: &Path, step: u32) -> bool {
    [StepFile::Meta, StepFile::Log]
        .into_iter()
        .any(|file| step_path(dir, step, file).exists())
}

/// Steps whose sealed logs were put here, or brought back, before this time.
///
/// # Errors
/// I/O.
pub fn untouched_since(dir: &Path, before: SystemTime) -> Result<Vec<u32>> {
    let mut steps = Vec::new();
    for step in folder::steps(dir)? {
        let changed = |file| {
            let path = step_path(dir, step, file);
            fs::metadata(path).and_then(|meta| meta.modified()).ok()
        };
        // Of one that was half forgotten, other files may be left.
        let newest = StepFile::ALL.into_iter().filter_map(changed).max();
        if newest.is_some_and(|newest| newest < before) {
            steps.push(step);
        }
    }
    Ok(steps)
}

/// Removes the files of a step's log that is the one with this SHA-256, because a copy elsewhere is enough. What was
/// found in it stays. A crash in between leaves a log that is here, or one that is not ([`is_here`]); a further
/// call finishes the work. Says whether anything was removed.
///
/// # Errors
/// I/O; [`LogError::InUse`] while somebody else works on the folder.
pub fn forget(dir: &Path, step: u32, sha256: &str) -> Result<bool> {
    let _lock = folder::lock(dir)?;
    let same = match seal::read_meta(dir, step)? {
        Some(meta) => meta.sha256 == sha256,
        None if is_here(dir, step) => hash(&mut LogReader::open(dir, step)?)? == sha256,
        None => true,
    };
    if !same {
        return Ok(false);
    }
    let mut any = false;
    // The figures first, then the bytes: what has neither is not here.
    for kind in [
        StepFile::Meta,
        StepFile::Log,
        StepFile::SealedLog,
        StepFile::Index,
        StepFile::SealedIndex,
        StepFile::Notes,
    ] {
        let path = step_path(dir, step, kind);
        any |= path.exists();
        folder::remove_if_exists(&path)?;
        if kind == StepFile::Meta {
            folder::sync_dir(dir)?;
        }
    }
    folder::sync_dir(dir)?;
    Ok(any)
}

/// SHA-256 of the log's bytes, read through whatever it is stored as.
///
/// # Errors
/// I/O, or a damaged sealed log.
pub fn hash(reader: &mut LogReader) -> Result<String> {
    let mut sha = Sha256::new();
    reader.copy_to(0..u64::MAX, &mut sha)?;
    Ok(hex::encode(sha.finalize()))
}

/// A log that is coming back. Holds the folder's lock; dropped before [`Restore::finish`], it
/// leaves nothing.
#[derive(Debug)]
pub struct Restore {
    dir: PathBuf,
    step: u32,
    scratch: PathBuf,
    _lock: FolderLock,
}

impl Restore {
    /// Begins. `None` if the log is there, sealed.
    ///
    /// # Errors
    /// I/O; [`LogError::InUse`] while somebody else works on the folder.
    pub fn begin(dir: &Path, step: u32) -> Result<Option<Self>> {
        fs::create_dir_all(dir).doing("create", dir)?;
        let lock = folder::lock(dir)?;
        if seal::read_meta(dir, step)?.is_some() {
            return Ok(None);
        }
        let scratch = dir.join(format!("{step}.restore"));
        match fs::remove_dir_all(&scratch) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(e).doing("remove", &scratch);
            }
            _ => {}
        }
        fs::create_dir(&scratch).doing("create", &scratch)?;
        Ok(Some(Self {
            dir: dir.to_owned(),
            step,
            scratch,
            _lock: lock,
        }))
    }

    /// A new file for the contents of `suffix` (see [`SealedFile::suffix`]).
    ///
    /// # Errors
    /// I/O; [`LogError::Damaged`] for a name that no log has.
    pub fn file(&self, suffix: &str) -> Result<File> {
        let known = StepFile::ALL.into_iter().find(|f| f.suffix() == suffix);
        let Some(kind) = known else {
            return Err(LogError::damaged(
                &self.scratch,
                "a copy has a file that no log has",
            ));
        };
        let path = step_path(&self.scratch, self.step, kind);
        File::create(&path).doing("create", &path)
    }

    /// Checks what was written against the figures in `json`, and puts it into its place.
    ///
    /// # Errors
    /// I/O; [`LogError::Damaged`] if the log is not the one that was sealed; then nothing is
    /// left of it.
    pub fn finish(self) -> Result<LogMeta> {
        let damaged = |reason: String| Err(LogError::damaged(&self.scratch, reason));
        let mut reader = LogReader::open(&self.scratch, self.step)?;
        let Some(meta) = reader.meta().cloned() else {
            return damaged("the copy has no figures".to_owned());
        };
        if reader.len() != meta.bytes || reader.rows() != meta.rows {
            return damaged(format!(
                "the copy has {} bytes in {} rows, {} in {} were sealed",
                reader.len(),
                reader.rows(),
                meta.bytes,
                meta.rows
            ));
        }
        let found = hash(&mut reader)?;
        if found != meta.sha256 {
            return damaged(format!(
                "the copy's SHA-256 is {found}, {} was sealed",
                meta.sha256
            ));
        }
        drop(reader);
        for (raw, sealed) in [
            (StepFile::Log, StepFile::SealedLog),
            (StepFile::Index, StepFile::SealedIndex),
        ] {
            let raw_path = step_path(&self.scratch, self.step, raw);
            if raw_path.exists() {
                seal::store(&self.scratch, self.step, raw, sealed)?;
                if step_path(&self.scratch, self.step, sealed).exists() {
                    folder::remove_if_exists(&raw_path)?;
                }
            }
        }
        for kind in StepFile::ALL {
            let from = step_path(&self.scratch, self.step, kind);
            if kind == StepFile::Meta || !from.exists() {
                continue;
            }
            sync(&from)?;
            let to = step_path(&self.dir, self.step, kind);
            fs::rename(&from, &to).doing("rename to", &to)?;
        }
        folder::sync_dir(&self.dir)?;
        let from = step_path(&self.scratch, self.step, StepFile::Meta);
        sync(&from)?;
        let to = step_path(&self.dir, self.step, StepFile::Meta);
        fs::rename(&from, &to).doing("rename to", &to)?;
        folder::sync_dir(&self.dir)?;
        Ok(meta)
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        // What stays is removed by the next try.
        fs::remove_dir_all(&self.scratch).unwrap_or_default();
    }
}

fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .doing("sync", path)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::folder::{IndexRow, RowFlags, Stream};

    fn sealed(dir: &Path, log: &[u8]) -> LogMeta {
        fs::write(step_path(dir, 0, StepFile::Log), log).unwrap();
        let mut index = Vec::new();
        let mut offset = 0;
        for line in log.split_inclusive(|b| *b == b'\n') {
            let row = IndexRow {
                offset,
                stream: Stream::Stdout,
                flags: RowFlags::default(),
                time_us: 1_764_000_000_000_000 + offset as i64,
            };
            index.extend(row.to_bytes());
            offset += line.len() as u64;
        }
        fs::write(step_path(dir, 0, StepFile::Index), index).unwrap();
        crate::seal(dir).unwrap().remove(0).meta
    }

    fn copied(from: &Path, to: &Path, change: impl Fn(&str, &mut Vec<u8>)) -> Result<LogMeta> {
        let restore = Restore::begin(to, 0)?.unwrap();
        for file in sealed_files(from, 0)? {
            let mut bytes = fs::read(&file.path).unwrap();
            change(file.suffix, &mut bytes);
            restore.file(file.suffix)?.write_all(&bytes).unwrap();
        }
        restore.finish()
    }

    #[test]
    fn a_log_is_forgotten_wherever_that_is_broken_off() {
        for lines in [3_u64, 20_000] {
            let place = tempfile::tempdir().unwrap();
            let (dir, copy) = (place.path().join("a"), place.path().join("copy"));
            fs::create_dir_all(&dir).unwrap();
            let log: Vec<u8> = (0..lines)
                .flat_map(|i| format!("line {i}\n").into_bytes())
                .collect();
            let meta = sealed(&dir, &log);
            copied(&dir, &copy, |_, _| {}).unwrap();
            fs::write(dir.join("0.findings.json"), "{}").unwrap();
            assert!(!forget(&dir, 0, "another").unwrap());
            assert!(is_here(&dir, 0));
            let later = SystemTime::now() + std::time::Duration::from_secs(60);
            assert_eq!(untouched_since(&dir, later).unwrap(), [0]);
            assert_eq!(
                untouched_since(&dir, SystemTime::UNIX_EPOCH).unwrap(),
                [0_u32; 0]
            );

            // Killed behind each removal: it is here whole, or not at all; and the rest goes with the next try.
            let files = sealed_files(&dir, 0).unwrap();
            let order = ["json", "log", "log.zst", "idx", "idx.zst", "notes"];
            for done in 0..=order.len() {
                for file in &files {
                    let name = file.path.file_name().unwrap();
                    fs::copy(copy.join(name), &file.path).unwrap();
                }
                for suffix in &order[..done] {
                    fs::remove_file(dir.join(format!("0.{suffix}"))).unwrap_or_default();
                }
                if is_here(&dir, 0) {
                    let mut reader = LogReader::open(&dir, 0).unwrap();
                    assert_eq!(hash(&mut reader).unwrap(), meta.sha256);
                }
                forget(&dir, 0, &meta.sha256).unwrap();
                assert!(!is_here(&dir, 0) && !has_log(&dir, 0).unwrap(), "{done}");
                assert!(!forget(&dir, 0, &meta.sha256).unwrap());
                assert_eq!(copied(&copy, &dir, |_, _| {}).unwrap(), meta);
            }
            assert!(dir.join("0.findings.json").exists());
        }
    }

    #[test]
    fn a_copy_comes_back_and_a_wrong_one_does_not() {
        for lines in [0, 10, 20_000] {
            let place = tempfile::tempdir().unwrap();
            let (from, to) = (place.path().join("a"), place.path().join("b"));
            fs::create_dir_all(&from).unwrap();
            let log: Vec<u8> = (0..lines)
                .flat_map(|i| format!("line {i} \u{e4}\0\n").into_bytes())
                .collect();
            let meta = sealed(&from, &log);
            if lines > 0 {
                let wrong = copied(&from, &to, |suffix, bytes| {
                    if suffix == "json" {
                        let text = String::from_utf8(bytes.clone()).unwrap();
                        let other = "0".repeat(64);
                        *bytes = text.replace(&meta.sha256, &other).into_bytes();
                    }
                });
                assert!(matches!(wrong, Err(LogError::Damaged { .. })), "{wrong:?}");
                let cut = copied(&from, &to, |suffix, bytes| {
                    if suffix.starts_with("idx") {
                        bytes.clear();
                    }
                });
                assert!(cut.is_err(), "{cut:?}");
            }
            assert!(!has_log(&to, 0).unwrap());
            assert_eq!(copied(&from, &to, |_, _| {}).unwrap(), meta);
            for file in sealed_files(&from, 0).unwrap() {
                let name = file.path.file_name().unwrap();
                assert_eq!(
                    fs::read(&file.path).unwrap(),
                    fs::read(to.join(name)).unwrap(),
                    "{name:?} differs"
                );
            }
            assert!(!to.join("0.restore").exists());
            // A second time there is nothing to do.
            assert!(Restore::begin(&to, 0).unwrap().is_none());
        }
    }
}
