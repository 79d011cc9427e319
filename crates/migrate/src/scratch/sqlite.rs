//! Scratch databases of SQLite: a file in a folder of its own below the temporary folder, which
//! nobody else may read, with a locked file beside it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use super::{Keeper, Scratch, fresh_name, is_ours};
use crate::database::{Conn as _, Database};
use crate::error::Error;

/// How long a writer may keep us from copying.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder, with its lock. Goes when this is dropped.
pub(super) struct Folder {
    path: PathBuf,
    /// Locked; the kernel frees it when we die.
    _lock: File,
    removed: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.removed {
            std::fs::remove_dir_all(&self.path).ok();
        }
    }
}

impl Folder {
    pub(super) fn remove(mut self) -> Result<(), Error> {
        self.removed = true;
        std::fs::remove_dir_all(&self.path)
            .map_err(|e| Error::Refused(format!("could not remove {}: {e}", self.path.display())))
    }

    fn make() -> Result<Self, Error> {
        let temporary = std::env::temp_dir();
        let failed = |e: std::io::Error| {
            Error::Refused(format!(
                "could not make a scratch database in {}: {e}",
                temporary.display()
            ))
        };
        let path = temporary.join(fresh_name());
        // Data of a real database may come here: nobody else reads it.
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        let lock = File::create_new(lock_file(&path)).map_err(failed)?;
        // Whoever sweeps may have come between these two lines: then it takes the folder.
        lock.lock().map_err(failed)?;
        if !lock_file(&path).exists() {
            return Err(failed(std::io::ErrorKind::NotFound.into()));
        }
        Ok(Self {
            path,
            _lock: lock,
            removed: false,
        })
    }

    fn into_scratch(self, place: &Database) -> Scratch {
        let name = self.path.join("scratch.db").display().to_string();
        Scratch {
            database: place.named(&name),
            name,
            keeper: Keeper::Sqlite(self),
        }
    }
}

fn lock_file(folder: &Path) -> PathBuf {
    folder.join("lock")
}

pub(super) async fn create(place: &Database) -> Result<Scratch, Error> {
    sweep();
    Ok(Folder::make()?.into_scratch(place))
}

/// Copies the file and its write-ahead log while nobody can write. Not `VACUUM INTO`: that packs the
/// pages and may change row ids, so it would be another file.
pub(super) async fn copy(source: &Database) -> Result<Scratch, Error> {
    sweep();
    let folder = Folder::make()?;
    let options = SqliteConnectOptions::from_str(source.url())
        .map_err(Error::database("read the database's address"))?
        .create_if_missing(false)
        .busy_timeout(PATIENCE)
        .disable_statement_logging();
    let from = options.get_filename().to_path_buf();
    let mut conn = options
        .connect()
        .await
        .map_err(Error::database(format_args!("open {}", from.display())))?;
    conn.execute("begin immediate")
        .await
        .map_err(Error::database("keep writers away for a moment"))?;
    let to = folder.path.join("scratch.db");
    // The log second: whatever a checkpoint moves meanwhile stands in both. And nothing of this
    // process may open the database afterwards under this lock: closing a file drops its locks.
    let copied = tokio::task::spawn_blocking(move || {
        std::fs::copy(&from, &to)?;
        let log = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push("-wal");
            PathBuf::from(name)
        };
        match std::fs::copy(log(&from), log(&to)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
    .await;
    conn.execute("rollback").await.unwrap_or(0);
    match copied {
        Ok(Ok(())) => Ok(folder.into_scratch(source)),
        Ok(Err(error)) => Err(Error::Refused(format!(
            "could not copy the database: {error}"
        ))),
        Err(error) => Err(Error::Refused(format!(
            "could not copy the database: {error}"
        ))),
    }
}

/// Removes folders whose makers are dead.
fn sweep() {
    let temporary = std::env::temp_dir();
    let me = std::fs::metadata("/proc/self").ok().map(|m| m.uid());
    for entry in std::fs::read_dir(&temporary)
        .into_iter()
        .flatten()
        .flatten()
    {
        if !entry.file_name().to_str().is_some_and(is_ours) {
            continue;
        }
        let path = entry.path();
        // Not what somebody else has laid there for us.
        let ours =
            std::fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir() && Some(m.uid()) == me);
        if !ours {
            continue;
        }
        if let Ok(lock) = File::open(lock_file(&path))
            && lock.try_lock().is_ok()
        {
            std::fs::remove_dir_all(&path).ok();
        }
    }
}
