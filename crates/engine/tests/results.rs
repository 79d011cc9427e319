//! What jobs leave behind: workspaces that a hostile build has made, and reports that real test
//! runners wrote.
//!
//! The reports are in `results/`. Those that are named after a schema, a source or a specification
//! are written by hand after it, because the tool could not be run here; the others are the output
//! of the tool that they are named after.

// All of this is test code, also the functions that are no tests themselves.
#![allow(clippy::unwrap_used)]

#[path = "results/artifacts.rs"]
mod artifacts;
#[path = "results/cache.rs"]
mod cache;
#[path = "results/reports.rs"]
mod reports;

use std::path::Path;

/// A folder with these files; each holds its own path.
fn workspace(files: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        write(dir.path(), file, file);
    }
    dir
}

fn write(dir: &Path, file: &str, text: impl AsRef<[u8]>) {
    let path = dir.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap()
}
