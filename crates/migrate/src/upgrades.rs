//! Upgrades of data: from each schema that was released, with a small fixture of rows, to the newest.
//!
//! A fresh install says little about an upgrade: its tables are empty, and nobody runs a `NOT NULL` or
//! a unique index over rows that are there. So for each release a scratch database is brought to its
//! schema, filled with the fixture, and upgraded; then its checks must find nothing, and its schema
//! must be the one of a fresh install.

use std::path::Path;

use crate::database::Database;
use crate::diff::{Difference, diff};
use crate::drift::{Place, in_scratch};
use crate::dump::{self, Schema};
use crate::error::Error;
use crate::folder::{Folder, FolderError};
use crate::release::Oldest;
use crate::run::{self, Finding, How};
use crate::version::Version;

/// Rows that a database of a release may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fixture {
    /// The newest migration that the release has.
    pub version: Version,
    /// The file's name.
    pub file: String,
    /// What fills the tables.
    pub sql: String,
}

/// Reads a folder of fixtures: `0007_release_1.4.sql` fills a database in which the migrations up to 7
/// are applied. There may be several for a version.
///
/// # Errors
/// [`Error::Folder`] if it can't be read; [`Error::Refused`] if a name has no number, or one that no
/// migration has.
pub fn fixtures(dir: &Path, folder: &Folder) -> Result<Vec<Fixture>, Error> {
    let failed = |source| {
        Error::from(FolderError::Io {
            path: dir.to_owned(),
            source,
        })
    };
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
        let Some(file) = name.filter(|n| n.ends_with(".sql") && !n.starts_with('.')) else {
            continue;
        };
        let number = file.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number = file[..number.unwrap_or(0)].trim_end_matches('.');
        let version = number.parse().ok();
        let version =
            version.filter(|v| folder.find(*v).is_some() || folder.runs(*v, Some(*v)).is_some());
        let Some(version) = version else {
            return Err(Error::Refused(format!(
                "{file}: a fixture's name begins with the number of the newest migration that its \
                 release has, such as 0007_release_1.4.sql"
            )));
        };
        let sql = std::fs::read_to_string(&path).map_err(failed)?;
        out.push(Fixture { version, file, sql });
    }
    out.sort_by(|a, b| (a.version, &a.file).cmp(&(b.version, &b.file)));
    Ok(out)
}

/// What came of one upgrade.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Upgrade {
    /// From this migration.
    pub from: Version,
    /// The fixture's file.
    pub fixture: String,
    /// What stopped it, in words.
    pub failed: Option<String>,
    /// What `verify` finds afterwards.
    pub findings: Vec<Finding>,
    /// First: a fresh install. Second: what was upgraded.
    pub differences: Vec<Difference>,
    /// Tables that have fewer rows than before. Perhaps they should.
    pub fewer_rows: Vec<FewerRows>,
}

/// A table that lost rows on the way.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FewerRows {
    /// Its name as SQL.
    pub table: String,
    /// Rows before.
    pub before: u64,
    /// Rows after.
    pub after: u64,
}

impl Upgrade {
    /// Whether all is well. Fewer rows alone are no failure.
    pub fn is_good(&self) -> bool {
        self.failed.is_none() && self.findings.is_empty() && self.differences.is_empty()
    }
}

/// Upgrades a scratch database for each fixture. `tell` hears of each as it is done.
///
/// # Errors
/// When the fresh install fails, and what the server says; what an upgrade fails with is in its
/// [`Upgrade::failed`].
pub async fn upgrades(
    folder: &Folder,
    fixtures: &[Fixture],
    place: &Place,
    tell: &mut (dyn FnMut(&Upgrade) + Send),
) -> Result<Vec<Upgrade>, Error> {
    let fresh = crate::drift::built(folder, place).await?;
    let mut out = Vec::new();
    for fixture in fixtures {
        let upgraded = in_scratch(place, async |database| {
            Ok(one(database, folder, fixture, &fresh).await)
        })
        .await?;
        let upgrade = upgraded.unwrap_or_else(|error| Upgrade {
            failed: Some(match error.hint() {
                Some(hint) => format!("{error} ({hint})"),
                None => error.to_string(),
            }),
            from: fixture.version,
            fixture: fixture.file.clone(),
            findings: Vec::new(),
            differences: Vec::new(),
            fewer_rows: Vec::new(),
        });
        tell(&upgrade);
        out.push(upgrade);
    }
    Ok(out)
}

async fn one(
    database: &Database,
    folder: &Folder,
    fixture: &Fixture,
    fresh: &Schema,
) -> Result<Upgrade, Error> {
    let mut released = folder.clone();
    released.files.retain(|f| f.version <= fixture.version);
    released.baselines.retain(|f| f.version <= fixture.version);
    let mut options = run::Options::default();
    run::up(database, &released, &options, &mut |_| {}).await?;
    dump::load(database, &mut fixture.sql.as_bytes())
        .await
        .map_err(|e| Error::Refused(format!("{}: {e}", fixture.file)))?;
    let before = dump::row_counts(database, &dump::Options::default()).await?;

    // Nothing older than the newest runs at the end: contract files take effect, too.
    options.rules.oldest = Some(Oldest::This);
    let mut report = run::up(database, folder, &options, &mut |_| {}).await?;
    // A contract may wait for data, and data for an expand that comes after it.
    while !report.data.is_empty() {
        let how = How::default();
        let data = run::data(database, folder, &options, &how, &mut |_| {}, None).await?;
        if data.done.is_empty() {
            break;
        }
        report = run::up(database, folder, &options, &mut |_| {}).await?;
    }
    if let Some(held) = report.held.first() {
        return Err(Error::Refused(format!("{} waits: {}", held.file, held.why)));
    }
    let after = dump::row_counts(database, &dump::Options::default()).await?;
    let fewer_rows = before
        .into_iter()
        .filter_map(|(table, before)| {
            let after = *after.get(&table)?;
            (after < before).then_some(FewerRows {
                table,
                before,
                after,
            })
        })
        .collect();
    let schema = dump::schema(database, &dump::Options::default()).await?;
    Ok(Upgrade {
        from: fixture.version,
        fixture: fixture.file.clone(),
        failed: None,
        findings: run::verify(database, folder, &options).await?,
        differences: diff(fresh, &schema),
        fewer_rows,
    })
}
