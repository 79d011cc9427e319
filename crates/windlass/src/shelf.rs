//! The artifacts' files, as the web server asks for them.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use windlass_engine::results::artifacts::{self, ArtifactError};
use windlass_engine::results::beneath::Folder;
use windlass_engine::results::collect::collect;
use windlass_model::AttemptId;
use windlass_web::{ArtifactFile, Artifacts};

/// The data folder's `artifacts`.
pub(crate) struct Shelf(pub(crate) PathBuf);

impl Shelf {
    fn folder(&self, attempt: &AttemptId, name: &str) -> io::Result<PathBuf> {
        artifacts::folder(&self.0.join(attempt.as_str()), name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Artifacts for Shelf {
    fn list(&self, attempt: &AttemptId, name: &str, most: usize) -> io::Result<Vec<ArtifactFile>> {
        let folder = self.folder(attempt, name)?;
        let found = collect(&folder, &["**", ".git/**"]).map_err(io::Error::other)?;
        let files = found.files.into_iter().take(most);
        Ok(files
            .map(|file| ArtifactFile {
                path: file.path,
                bytes: file.bytes,
            })
            .collect())
    }

    fn open(&self, attempt: &AttemptId, name: &str, path: &str) -> io::Result<File> {
        let folder = Folder::open(&self.folder(attempt, name)?)?;
        // Whatever is wrong with the path: for the asker there is no such file.
        folder
            .file_at(Path::new(path))
            .map_err(|_| io::ErrorKind::NotFound.into())
    }

    fn archive(&self, attempt: &AttemptId, name: &str, out: &mut dyn Write) -> io::Result<()> {
        let folder = self.folder(attempt, name)?;
        artifacts::archive(&folder, out).map_err(|e| match e {
            ArtifactError::Io { error, .. } => error,
            other => io::Error::other(other),
        })
    }
}
