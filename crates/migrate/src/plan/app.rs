//! Whether an application may start on a schema.

use super::{History, Row};
use crate::folder::{Folder, Phase};
use crate::release::{Floor, Release};
use crate::version::Version;

/// Whether an application may start on this schema.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It may. `ahead` migrations of newer releases are applied too.
    Compatible {
        /// How many.
        ahead: usize,
    },
    /// These are still to be applied.
    Pending {
        /// In order.
        versions: Vec<Version>,
    },
    /// A contract migration removed what this application needs.
    TooOld {
        /// That migration.
        version: Version,
        /// Its name.
        name: String,
        /// What the application must be: any of these.
        floors: Vec<Floor>,
    },
}

/// The application, as far as the schema cares.
#[derive(Debug, Clone, Default)]
pub struct App {
    /// The migrations that it needs, contract ones excluded.
    pub needs: Vec<Version>,
    /// The newest migration that it knows.
    pub newest: Version,
    /// Its release, if it says so.
    pub release: Option<Release>,
}

impl App {
    /// An application that carries this folder.
    pub fn of(folder: &Folder, release: Option<Release>) -> Self {
        Self {
            needs: {
                let files = folder.files.iter().filter(|f| f.phase == Phase::Expand);
                // Of files that are not there any more, the last is what the baseline is named after.
                folder.squashed().into_iter().chain(files)
            }
            .map(|f| f.version)
            .collect(),
            newest: folder.newest(),
            release,
        }
    }

    /// Holds the application against the history.
    pub fn judge(&self, history: &History) -> Answer {
        for row in history.rows.iter().filter(|row| history.is_last(row)) {
            let reached = |floor: &Floor| match (floor, &self.release) {
                (Floor::Migration(version), _) => self.newest >= *version,
                (Floor::Release(floor), Some(release)) => release.reaches(floor),
                // Without a release's name: who has the contract's file is newer than its floor.
                (Floor::Release(_), None) => self.newest >= row.version,
            };
            if !row.floors.is_empty() && !row.floors.iter().any(reached) {
                return Answer::TooOld {
                    version: row.version,
                    name: row.name.clone(),
                    floors: row.floors.clone(),
                };
            }
        }
        let missing = |version: &&Version| history.find(**version).is_none();
        let versions: Vec<Version> = self.needs.iter().filter(missing).copied().collect();
        if versions.is_empty() {
            let newer = |r: &&Row| r.version > self.newest && r.version.repeats().is_none();
            let ahead = history.rows.iter().filter(newer);
            Answer::Compatible {
                ahead: ahead.count(),
            }
        } else {
            Answer::Pending { versions }
        }
    }
}
