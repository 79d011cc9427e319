//! `windlass migrate new`: the next file.

use std::io::Write as _;

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::Folder;

use super::{Files, Outcome, refused};
use crate::report::Problem;

/// The next file.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// What it does, in a few words
    #[arg(required = true)]
    name: Vec<String>,
    #[command(flatten)]
    files: Files,
    /// It removes what older code needs
    #[arg(long)]
    contract: bool,
    /// It changes rows in batches over this key
    #[arg(long, value_name = "TABLE.COLUMN", conflicts_with = "contract")]
    batch: Option<String>,
    /// Print the file's name as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(args: &Args) -> Result<Outcome, Problem> {
    let dir = &args.files.dir;
    let failed = |e: std::io::Error| refused(format!("could not write to {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let folder = args.files.read()?;
    let words = args.name.join("_");
    let name: String = words
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    let name = name.trim_matches('_');
    if name.is_empty() {
        return Err(refused("the name needs a letter or digit"));
    }
    let path = dir.join(named(&folder, name));
    let mut file = std::fs::File::create_new(&path).map_err(failed)?;
    let text = match &args.batch {
        Some(key) => data_template(key),
        None => template(args.contract).to_owned(),
    };
    file.write_all(text.as_bytes()).map_err(failed)?;
    let path = path.display().to_string();
    Ok(Outcome::new(vec![path.clone()], json!({ "file": path })))
}

/// The file's name: of the kind that the folder has.
fn named(folder: &Folder, name: &str) -> String {
    let mut files = folder.files.iter().rev();
    let newest = files.find(|file| file.version.repeats().is_none());
    let base = newest.map(|file| file.file.rsplit('/').next().unwrap_or(&file.file));
    if base.is_some_and(|base| base.starts_with('V')) || !folder.baselines.is_empty() {
        // Flyway and refinery.
        let version = match folder.newest().number() {
            Some(number) => next(number, base.unwrap_or_default()),
            None => folder.newest().next().to_string(),
        };
        return format!("V{version}__{name}.sql");
    }
    let newest = folder.newest().number().unwrap_or(0);
    format!("{}_{name}.sql", next(newest, base.unwrap_or_default()))
}

/// The next number: of the kind that the folder has, and a time in an empty one, because times of
/// two branches don't collide.
fn next(newest: i64, last: &str) -> String {
    let now = jiff::Zoned::now()
        .with_time_zone(jiff::tz::TimeZone::UTC)
        .strftime("%Y%m%d%H%M%S")
        .to_string();
    match last.strip_prefix('V').unwrap_or(last) {
        last if !last.is_empty() && newest < 1_000_000_000_000 => {
            let rest = last.trim_start_matches(|c: char| c.is_ascii_digit());
            let width = last.len() - rest.len();
            format!("{:0width$}", newest + 1)
        }
        // A clock that stands behind the newest file must not put this one below it.
        _ if now.parse::<i64>().is_ok_and(|now| now <= newest) => (newest + 1).to_string(),
        _ => now,
    }
}

/// Nothing follows its last line, and no section is begun: what is appended is what the file does.
fn template(contract: bool) -> &'static str {
    if contract {
        "-- windlass: phase contract\n\
         -- The oldest release that no longer needs what this removes:\n\
         -- windlass: requires-release 0.0.0\n\
         -- What undoes it goes to the end, below a line `-- windlass: down`.\n\n"
    } else {
        "-- Only adds: code that runs now goes on working.\n\
         -- What undoes it goes to the end, below a line `-- windlass: down`.\n\n"
    }
}

fn data_template(key: &str) -> String {
    let (table, column) = key.rsplit_once('.').unwrap_or((key, "id"));
    format!(
        "-- windlass: phase data\n\
         -- windlass: batch {table}.{column} size 1000 pause 50ms target 1s\n\
         -- New rows must be right by themselves (a default, a trigger, the new code): those with keys\n\
         -- behind the one that the run has reached are not visited.\n\
         update {table} set ... where {column} between :lo and :hi;\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> Folder {
        let texts = names.iter().map(|n| ((*n).to_owned(), String::new()));
        Folder::from_texts(texts).unwrap()
    }

    #[test]
    fn the_next_number_is_of_the_folders_kind_and_above_all() {
        let next = |names: &[&str]| named(&folder(names), "x");
        assert_eq!(next(&["0009_a.sql"]), "0010_x.sql");
        assert_eq!(next(&["7_a.sql"]), "8_x.sql");
        assert_eq!(next(&[]).len(), 20);
        assert_eq!(next(&["29990101000000_a.sql"]), "29990101000001_x.sql");
        assert_eq!(next(&["V09__a.sql", "R__b.sql"]), "V10__x.sql");
        assert_eq!(next(&["V1__a.sql", "a/V1_9__b.sql"]), "V1.10__x.sql");
        assert_eq!(next(&["7_a.sql", "R__b.sql"]), "8_x.sql");
    }

    #[test]
    fn what_is_written_can_be_read() {
        for contract in [true, false] {
            let text = template(contract).to_owned() + "create table a (b int);\n";
            let folder = Folder::from_texts([("1_a.sql".to_owned(), text.clone())]).unwrap();
            let file = &folder.files[0];
            assert!(file.up.text.contains("create table a"), "{text}");
            assert!(file.down.is_none(), "{text}");
            let text = text + "-- windlass: down\ndrop table a;\n";
            let folder = Folder::from_texts([("1_a.sql".to_owned(), text)]).unwrap();
            let down = folder.files[0].down.as_ref().unwrap();
            assert!(down.text.contains("drop table a"), "{down:?}");
        }
        let text = data_template("users.id");
        let folder = Folder::from_texts([("1_a.sql".to_owned(), text)]).unwrap();
        assert_eq!(folder.files[0].batch.as_ref().unwrap().key(), "users.id");
    }
}
