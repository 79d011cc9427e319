//! `windlass migrate verify --upgrades`: from each release's schema and rows to the newest.

use std::path::Path;

use serde_json::json;
use windlass_migrate::upgrades::{self, Upgrade};

use super::diff::{ScratchArgs, words};
use super::{Files, Outcome, Where, refused};
use crate::cli::complain;
use crate::report::{EXIT_MIGRATE_MISMATCH, EXIT_OK, Problem};

pub(super) async fn run(
    place: &Where,
    files: &Files,
    scratch: &ScratchArgs,
    fixtures: Option<&Path>,
) -> Result<Outcome, Problem> {
    let folder = files.read()?;
    let dir = fixtures.map_or_else(|| files.dir.join("fixtures"), Path::to_owned);
    let found = match upgrades::fixtures(&dir, &folder) {
        Ok(found) if !found.is_empty() => found,
        Err(windlass_migrate::Error::Folder(_)) | Ok(_) => {
            return Err(refused(format!("there are no fixtures in {}", dir.display())).hint(
                "write one for each release: 0007_release_1.4.sql, whose INSERTs fill a database \
                 in which the migrations up to 7 are applied",
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let server = place.database()?;
    let scratch = scratch.place(Some(&server))?;
    let mut tell = |upgrade: &Upgrade| {
        let word = if upgrade.is_good() { "good" } else { "BAD" };
        complain(format_args!(
            "windlass: from {} ({}): {word}",
            upgrade.from, upgrade.fixture
        ));
    };
    let done = upgrades::upgrades(&folder, &found, &scratch, &mut tell).await?;
    let mut text = Vec::new();
    for upgrade in &done {
        text.extend(lines(upgrade));
    }
    let is_good = done.iter().all(Upgrade::is_good);
    let newest = folder.newest();
    if is_good {
        text.push(format!(
            "{} upgrade(s) to {newest}: each is what a fresh install is",
            done.len()
        ));
    }
    let code = if is_good {
        EXIT_OK
    } else {
        EXIT_MIGRATE_MISMATCH
    };
    let json = json!({ "good": is_good, "newest": newest, "upgrades": done });
    Ok(Outcome::new(text, json).code(code))
}

fn lines(upgrade: &Upgrade) -> Vec<String> {
    let head = format!("from {} ({})", upgrade.from, upgrade.fixture);
    let mut out = Vec::new();
    if let Some(failed) = &upgrade.failed {
        out.push(format!("{head}: {failed}"));
    }
    for finding in &upgrade.findings {
        out.push(format!("{head}: {}", finding.problem));
    }
    if !upgrade.differences.is_empty() {
        out.push(format!("{head}: the schema is not a fresh install's"));
        out.extend(words(
            &upgrade.differences,
            "a fresh install",
            "the upgraded",
            false,
        ));
    }
    for fewer in &upgrade.fewer_rows {
        out.push(format!(
            "note: {head}: {} has {} row(s), and had {}",
            fewer.table, fewer.after, fewer.before
        ));
    }
    out
}
