//! The lines of a file that begin with `-- windlass:`.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::{Batch, File, FolderError, Phase, Section};
use crate::release::Release;
use crate::version::Version;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Up,
    Down,
    Verify,
}

/// Takes a file apart. `text` has Unix line ends and no byte order mark.
pub(super) fn read(
    version: Version,
    name: String,
    file: String,
    text: &str,
) -> Result<File, FolderError> {
    let section = |line| Section {
        file: file.clone(),
        line,
        text: String::new(),
    };
    let mut found = File {
        version,
        name,
        file: file.clone(),
        origin: super::Origin::default(),
        phase: Phase::default(),
        requires_release: None,
        requires_migration: None,
        requires_data: Vec::new(),
        batch: None,
        no_transaction: false,
        foreign_keys_off: false,
        lock_timeout: None,
        statement_timeout: None,
        retries: None,
        up: section(1),
        down: None,
        verify: None,
        checksum: String::new(),
    };
    let mut part = Part::Up;
    let mut command = None;
    let mut hash = Sha256::new();
    for (i, line) in text.split_inclusive('\n').enumerate() {
        // sqlx takes this for its own only as the very first bytes.
        if i == 0 && line.starts_with("-- no-transaction") {
            found.no_transaction = true;
        }
        if let Some(words) = directive(line) {
            let next = match words.strip_prefix("command ") {
                Some(words) => {
                    command = Some((i + 1, words.trim().to_owned()));
                    Ok(None)
                }
                None => apply(&mut found, words),
            };
            let next = next.map_err(|problem| FolderError::Directive {
                file: file.clone(),
                line: i + 1,
                problem,
            })?;
            if let Some(next) = next {
                part = next;
                // The directive's own line stays in the section: line numbers go on from it.
                match part {
                    Part::Down if found.down.is_none() => found.down = Some(section(i + 1)),
                    Part::Verify if found.verify.is_none() => found.verify = Some(section(i + 1)),
                    Part::Up => {}
                    _ => {
                        return Err(FolderError::Directive {
                            file,
                            line: i + 1,
                            problem: format!("a second section `{words}`"),
                        });
                    }
                }
            }
        } else if part == Part::Up {
            hash.update(line.as_bytes());
        }
        let target = match part {
            Part::Up => Some(&mut found.up),
            Part::Down => found.down.as_mut(),
            Part::Verify => found.verify.as_mut(),
        };
        if let Some(target) = target {
            target.text.push_str(line);
        }
    }
    let wrong = |line, problem: &str| FolderError::Directive {
        file: file.clone(),
        line,
        problem: problem.to_owned(),
    };
    if let Some((line, command)) = command {
        // What is run is what the migration does: it counts as its text.
        hash.update(command.as_bytes());
        let Some(batch) = &mut found.batch else {
            return Err(wrong(
                line,
                "a command needs batches: `-- windlass: batch users.id`",
            ));
        };
        batch.command = Some(command);
    }
    match (found.phase, &found.batch) {
        (Phase::Data, None) => {
            return Err(wrong(
                1,
                "a data migration says by which key its batches go: \
                 `-- windlass: batch users.id size 1000`",
            ));
        }
        (Phase::Expand | Phase::Contract, Some(_)) => {
            return Err(wrong(1, "batches are for `-- windlass: phase data`"));
        }
        _ => {}
    }
    if found.phase != Phase::Contract && !found.requires_data.is_empty() {
        return Err(wrong(
            1,
            "only a contract migration can wait for data: `-- windlass: phase contract`",
        ));
    }
    // Not `hex::encode`: it goes letter by letter, which is felt with a thousand files.
    let mut checksum = [0; 64];
    if hex::encode_to_slice(hash.finalize(), &mut checksum).is_ok() {
        found.checksum = String::from_utf8_lossy(&checksum).into_owned();
    }
    Ok(found)
}

/// What follows `-- windlass:` on a line that begins with it; or our word for what dbmate and goose
/// say in their own way.
fn directive(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("--")?.trim_start();
    if let Some(words) = rest.strip_prefix("windlass:") {
        return Some(words.trim());
    }
    if let Some(words) = rest.strip_prefix("migrate:") {
        return match words.trim() {
            "up" => Some("up"),
            "down" => Some("down"),
            "up transaction:false" => Some("up no-transaction"),
            "down transaction:false" => Some("down no-transaction"),
            // An option that we don't know is told with its line; another word is a comment.
            other => (other.starts_with("up ") || other.starts_with("down ")).then_some(other),
        };
    }
    let words = rest.strip_prefix("+goose")?.trim();
    let is = |word: &str| words.eq_ignore_ascii_case(word);
    if is("up") {
        Some("up")
    } else if is("down") {
        Some("down")
    } else if is("no transaction") {
        Some("no-transaction")
    } else if is("statementbegin") || is("statementend") {
        // We find a statement's end by ourselves.
        None
    } else {
        Some(words)
    }
}

fn apply(file: &mut File, words: &str) -> Result<Option<Part>, String> {
    let end = words.find([' ', '\t', '=']).unwrap_or(words.len());
    let (key, value) = words.split_at(end);
    let value = value.trim_start();
    let value = value.strip_prefix('=').unwrap_or(value).trim();
    let duration = || {
        parse_duration(value)
            .ok_or_else(|| format!("{value:?} is no time: say 500ms, 2s, 10min, 1h, or 0 for none"))
    };
    match key {
        "phase" => {
            file.phase = match value {
                "expand" => Phase::Expand,
                "contract" => Phase::Contract,
                "data" => Phase::Data,
                other => {
                    return Err(format!(
                        "the phase is expand or contract or data, not {other:?}"
                    ));
                }
            };
        }
        "no-transaction" => file.no_transaction = true,
        "foreign-keys" if value == "off" => file.foreign_keys_off = true,
        "lock-timeout" => file.lock_timeout = Some(duration()?),
        "statement-timeout" => file.statement_timeout = Some(duration()?),
        "retries" => {
            file.retries = Some(
                value
                    .parse()
                    .map_err(|_| format!("{value:?} is no number of retries"))?,
            );
        }
        "requires-release" => {
            let release = Release::parse(value);
            file.requires_release =
                Some(release.ok_or_else(|| format!("{value:?} is no release such as 1.4.0"))?);
        }
        "requires-migration" => {
            let version: Version = value
                .parse()
                .map_err(|_| format!("{value:?} is no migration's number"))?;
            if version > file.version {
                return Err(format!("migration {version} is newer than this file"));
            }
            file.requires_migration = Some(version);
        }
        "requires-data" => {
            let version: Version = value
                .parse()
                .map_err(|_| format!("{value:?} is no migration's number"))?;
            if version >= file.version {
                return Err(format!("migration {version} is not older than this file"));
            }
            file.requires_data.push(version);
        }
        "batch" => file.batch = Some(Batch::parse(value)?),
        "command" => return Err("say which command: `-- windlass: command ./fill.sh`".to_owned()),
        "up" | "down" => {
            match value {
                "" => {}
                "no-transaction" => file.no_transaction = true,
                other => return Err(format!("{other:?} is not known after {key}")),
            }
            let part = if key == "up" { Part::Up } else { Part::Down };
            return Ok(Some(part));
        }
        "verify" => return Ok(Some(Part::Verify)),
        // `windlass migrate lint` reads these.
        "allow" | "lint" => {}
        other => {
            return Err(format!(
                "{other:?} is not known: phase, no-transaction, foreign-keys off, lock-timeout, \
                 statement-timeout, retries, requires-release, requires-migration, requires-data, batch, \
                 command, allow, up, down, verify are"
            ));
        }
    }
    Ok(None)
}

/// `500ms`, `2s`, `10min` (or `10m`), `1h`; `0` and `off` are zero.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "off" || text == "0" {
        return Some(Duration::ZERO);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit.trim() {
        "ms" => 1,
        "s" | "sec" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    // No database's setting takes more than a 32-bit number of milliseconds.
    let millis = number.checked_mul(millis)?;
    (millis <= i32::MAX.unsigned_abs().into()).then(|| Duration::from_millis(millis))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<File, FolderError> {
        read(7.into(), "x".to_owned(), "0007_x.sql".to_owned(), text)
    }

    #[test]
    fn directives_and_sections_are_read_with_their_lines() {
        let found = file(
            "-- windlass: phase contract\n--windlass: no-transaction\n-- windlass: lock-timeout=500ms\n\
             -- windlass: retries 3\n-- windlass: requires-release v1.4\nselect 1;\n\
             -- windlass: down\nselect 2;\n-- windlass: verify\nselect 3;\n",
        )
        .unwrap();
        assert_eq!(found.phase, Phase::Contract);
        assert!(found.no_transaction);
        assert_eq!(found.lock_timeout, Some(Duration::from_millis(500)));
        assert_eq!(found.retries, Some(3));
        let line =
            |section: &Section| section.statements(crate::sql::Dialect::Sqlite).unwrap()[0].line;
        assert_eq!(line(&found.up), 6);
        assert_eq!(line(&found.down.unwrap()), 8);
        assert_eq!(line(&found.verify.unwrap()), 10);
    }

    #[test]
    fn a_typing_error_is_not_passed_over() {
        for (text, words) in [
            (
                "select 1;\n-- windlass: phase contracted",
                "expand or contract",
            ),
            ("-- windlass: no-transactions", "is not known"),
            ("-- windlass: lock-timeout 2 days", "is no time"),
            ("-- windlass: requires-migration 8", "newer"),
            ("-- windlass: down\n-- windlass: down", "second section"),
            ("-- windlass: phase data", "by which key"),
            ("-- windlass: batch t.id", "are for"),
            ("-- windlass: command x", "needs batches"),
            ("-- windlass: requires-data 3", "only a contract"),
            (
                "-- windlass: phase contract\n-- windlass: requires-data 7",
                "not older",
            ),
        ] {
            let error = file(text).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(error.starts_with("0007_x.sql, line "), "{error}");
        }
        assert!(file("-- windlass: allow drop-column because of 5\n").is_ok());
    }

    #[test]
    fn directives_of_dbmate_goose_and_sqlx_mean_what_they_mean_there() {
        let ours = file("create table a (b int);\n-- windlass: down\ndrop table a;\n").unwrap();
        let dbmate =
            file("-- migrate:up\ncreate table a (b int);\n-- migrate:down\ndrop table a;\n")
                .unwrap();
        assert_eq!(dbmate.checksum, ours.checksum);
        assert!(dbmate.down.unwrap().text.contains("drop table"));
        assert!(!dbmate.no_transaction);
        let alone = file("-- migrate:up transaction:false\nvacuum;\n-- migrate:down\n").unwrap();
        assert!(alone.no_transaction);
        let goose = file(
            "-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose StatementBegin\nselect 1;\n\
             -- +goose StatementEnd\n-- +goose down\nselect 2;\n",
        )
        .unwrap();
        assert!(goose.no_transaction);
        assert!(goose.down.unwrap().text.contains("select 2"));
        assert!(file("-- no-transaction\nvacuum;").unwrap().no_transaction);
        assert!(file("-- migrate: the users\nselect 1;").is_ok());
        // What we can't do is not passed over.
        for text in ["-- +goose ENVSUB ON\n", "-- migrate:up foo:bar\n"] {
            assert!(file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn data_migrations_say_their_batches_and_contracts_wait_for_them() {
        let found =
            file("-- windlass: phase data\n-- windlass: batch t.id size 10\nselect 1;").unwrap();
        assert_eq!(found.phase, Phase::Data);
        assert_eq!(found.batch.unwrap().size, 10);
        let text = "-- windlass: phase data\n-- windlass: batch t.id\n-- windlass: command ./fill ";
        let found = file(text).unwrap();
        let other = file(&text.replace("fill", "full")).unwrap();
        assert_ne!(found.checksum, other.checksum);
        assert_eq!(found.batch.unwrap().command.as_deref(), Some("./fill"));
        let contract = "-- windlass: phase contract\n-- windlass: requires-data 0006\nselect 1;";
        assert_eq!(file(contract).unwrap().requires_data, [6]);
    }

    #[test]
    fn times_are_read() {
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("off"), Some(Duration::ZERO));
        assert_eq!(parse_duration("99999999h"), None);
        assert_eq!(parse_duration("s"), None);
    }
}
