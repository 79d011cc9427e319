//! What survives a crash of the recorder, and whether the files still fit it.
//!
//! The checkpoint is not synced to the disk: after a kill the page cache has everything, and after
//! a power loss (another boot id) the files are compared by checksum before they are believed.
//! Where they do not fit, everything is derived again from the journal's beginning.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use windlass_shim::journal::Position;

use crate::error::{Doing as _, LogError, Result};
use crate::folder::{self, CHECKPOINT_FILE, INDEX_ROW, StepFile, step_path};
use crate::seal;

const VERSION: u32 = 1;

/// Everything that deriving on depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// The boot in which it was written.
    boot: Option<String>,
    /// Where to read the journal on.
    pub(super) position: Position,
    /// Time of the last record, in microseconds since 1970.
    pub(super) time_us: i64,
    /// The step that runs, apart from those in the background.
    pub(super) running: Option<u32>,
    /// The steps that run beside it.
    #[serde(default)]
    pub(super) background: BTreeSet<u32>,
    /// The step that ran last, or runs.
    pub(super) latest: u32,
    /// The job's end was seen, or it is lost.
    pub(super) ended: bool,
    /// The job was declared lost.
    pub(super) lost: bool,
    /// Every step that was heard of.
    pub(super) steps: BTreeMap<u32, StepState>,
}

/// One step's part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StepState {
    /// Length and CRC-32 of the three files.
    pub(super) log: Extent,
    pub(super) index: Extent,
    pub(super) notes: Extent,
    /// First byte of the last row.
    pub(super) row_start: u64,
    /// The last row is not full and has no `\n`.
    pub(super) row_open: bool,
    /// The last row is full and has no `\n`: the next one continues its line.
    pub(super) line_open: bool,
    /// Output bytes that came, kept or not.
    pub(super) arrived: u64,
    /// Output bytes that were not kept.
    pub(super) dropped: u64,
    /// The limit is reached.
    pub(super) full: bool,
    /// Notes that came.
    pub(super) noted: u32,
    /// The step's end was seen.
    pub(super) ended: bool,
}

/// A file as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) bytes: u64,
    crc32: u32,
}

impl Extent {
    /// With `bytes` behind it.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let mut crc = crc32fast::Hasher::new_with_initial(self.crc32);
        crc.update(bytes);
        self.crc32 = crc.finalize();
        self.bytes += bytes.len() as u64;
    }

    fn fits(self, path: &Path, compare: bool) -> Result<bool> {
        let Some(file) = folder::open_if_exists(path)? else {
            return Ok(self.bytes == 0);
        };
        if file.metadata().doing("read", path)?.len() < self.bytes {
            return Ok(false);
        }
        if !compare {
            return Ok(true);
        }
        let mut found = Self::default();
        let mut file = file.take(self.bytes);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let n = file.read(&mut buffer).doing("read", path)?;
            if n == 0 {
                return Ok(found == self);
            }
            found.add(&buffer[..n]);
        }
    }
}

impl StepState {
    fn extents(&self) -> [(StepFile, Extent); 3] {
        [
            (StepFile::Log, self.log),
            (StepFile::Index, self.index),
            (StepFile::Notes, self.notes),
        ]
    }

    /// Rows in the index.
    pub(super) fn rows(&self) -> u64 {
        self.index.bytes / INDEX_ROW
    }
}

/// Writes the checkpoint.
pub(super) fn write(dir: &Path, state: &State) -> Result<()> {
    let path = dir.join(CHECKPOINT_FILE);
    let state = State {
        version: VERSION,
        boot: boot_id(),
        ..state.clone()
    };
    let json = serde_json::to_vec(&state).map_err(|e| LogError::damaged(&path, e.to_string()))?;
    folder::replace(&path, &json, false)
}

/// The state to go on from; the files are cut back to it.
pub(super) fn recover(dir: &Path) -> Result<State> {
    let state = match read(dir)? {
        Some(state) if files_fit(dir, &state)? => state,
        _ => start_over(dir)?,
    };
    for (step, file) in folder::step_files(dir)? {
        if is_sealed(dir, step) {
            continue;
        }
        let path = step_path(dir, step, file);
        let known = state.steps.get(&step).cloned().unwrap_or_default();
        let extent = known.extents().into_iter().find(|(f, _)| *f == file);
        match extent {
            Some((_, extent)) => cut(&path, extent.bytes)?,
            // The remains of a sealing that did not get to its end.
            None => folder::remove_if_exists(&path)?,
        }
    }
    Ok(state)
}

fn read(dir: &Path) -> Result<Option<State>> {
    let path = dir.join(CHECKPOINT_FILE);
    let Some(mut file) = folder::open_if_exists(&path)? else {
        return Ok(None);
    };
    let mut json = Vec::new();
    file.read_to_end(&mut json).doing("read", &path)?;
    let state = serde_json::from_slice(&json).ok();
    Ok(state.filter(|state: &State| state.version == VERSION))
}

fn files_fit(dir: &Path, state: &State) -> Result<bool> {
    let compare = state.boot.is_none() || state.boot != boot_id();
    for (step, known) in &state.steps {
        if is_sealed(dir, *step) {
            let meta = seal::read_meta(dir, *step)?;
            if meta.is_none_or(|meta| meta.bytes != known.log.bytes) {
                return Ok(false);
            }
            continue;
        }
        for (file, extent) in known.extents() {
            if !extent.fits(&step_path(dir, *step, file), compare)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn start_over(dir: &Path) -> Result<State> {
    let files = folder::step_files(dir)?;
    // The journal of a sealed log may be gone: never throw the log away.
    match files.iter().find(|(_, file)| *file == StepFile::Meta) {
        Some((step, _)) => Err(LogError::Sealed {
            dir: dir.to_owned(),
            step: *step,
        }),
        None => Ok(State::default()),
    }
}

fn is_sealed(dir: &Path, step: u32) -> bool {
    step_path(dir, step, StepFile::Meta).exists()
}

fn cut(path: &Path, bytes: u64) -> Result<()> {
    // Emptied, not removed: viewers that have the file open see it grow again.
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(bytes))
        .doing("cut", path)
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_from_before_background_steps_is_gone_on_from() {
        let state = State {
            running: Some(3),
            background: BTreeSet::from([1]),
            ..State::default()
        };
        let mut json = serde_json::to_value(&state).unwrap();
        json.as_object_mut().unwrap().remove("background");
        let old: State = serde_json::from_value(json).unwrap();
        assert_eq!((old.running, old.background.len()), (Some(3), 0));
    }

    #[test]
    fn after_another_boot_changed_bytes_are_noticed_and_recording_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = step_path(dir.path(), 0, StepFile::Log);
        fs::write(&path, b"what was on the disk").unwrap();
        let mut known = StepState::default();
        known.log.add(b"what was ");
        known.log.add(b"on the");
        let mut state = State {
            position: Position {
                offset: 77,
                ..Position::default()
            },
            steps: BTreeMap::from([(0, known)]),
            ..State::default()
        };
        write(dir.path(), &state).unwrap();
        assert_eq!(recover(dir.path()).unwrap().position.offset, 77);
        assert_eq!(fs::read(&path).unwrap(), b"what was on the");

        // Zeros where bytes should be: what some file systems leave after a power loss.
        fs::write(&path, [0; 15]).unwrap();
        assert_eq!(recover(dir.path()).unwrap().position.offset, 77);
        state = read(dir.path()).unwrap().unwrap();
        state.boot = Some("the boot before".to_owned());
        fs::write(
            dir.path().join(CHECKPOINT_FILE),
            serde_json::to_vec(&state).unwrap(),
        )
        .unwrap();
        assert_eq!(recover(dir.path()).unwrap(), State::default());
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
