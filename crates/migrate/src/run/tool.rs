//! Other migrators: how they name their files, keep their history and lock the database. Pure.
//!
//! As of dbmate 2.36, sqlx 0.9, golang-migrate 4.19, goose 3.27, refinery 0.10 and Flyway 9.22 to 11; their own
//! programs and libraries check it where they can be had (tests/e2e/tests/migrate/partners*.rs, flyway.rs).

use std::borrow::Cow;

use sha2::{Digest as _, Sha384};

use crate::database::literal;
use crate::error::Error;
use crate::folder::File;
use crate::sql::Dialect;
use crate::version::Version;

/// Another migrator, and how it keeps its history. Formats: see docs/migrate.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `schema_migrations(version)`: a row is an applied file.
    Dbmate,
    /// `_sqlx_migrations(version, success, checksum)`.
    Sqlx,
    /// `schema_migrations(version, dirty)`: one row, and everything up to it counts as applied.
    GolangMigrate,
    /// `goose_db_version(id, version_id, is_applied)`: the newest row of a version counts.
    Goose,
    /// `refinery_schema_history(version, checksum)`.
    Refinery,
    /// `flyway_schema_history(installed_rank, version, description, type, success, checksum)`: a repeatable file
    /// has no version, and a row for each time.
    Flyway,
}

/// A lock that both take, if the other program takes one at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// PostgreSQL: an advisory lock.
    Number(i64),
    /// MySQL: a named lock.
    Name(String),
}

/// What else a tool writes of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What the tool calls the version. `None`: a repeatable file has none.
    pub(super) version: Option<String>,
    /// What it calls the file.
    pub(super) description: String,
    /// Its file name.
    script: String,
    /// As text; hex where it is bytes. `None`: it keeps none.
    pub(super) checksum: Option<String>,
    /// Flyway: what kind of row it is.
    pub(super) kind: &'static str,
}

/// refinery with its feature `int8-versions` computes other checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Narrow,
    Wide,
}

impl Tool {
    /// Its name on the command line.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("dbmate", Self::Dbmate),
        ("sqlx", Self::Sqlx),
        ("golang-migrate", Self::GolangMigrate),
        ("goose", Self::Goose),
        ("refinery", Self::Refinery),
        ("flyway", Self::Flyway),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(_, tool)| *tool == self);
        found.map_or("", |(name, _)| name)
    }

    /// Its history table, under its usual name.
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Dbmate | Self::GolangMigrate => "schema_migrations",
            Self::Sqlx => "_sqlx_migrations",
            Self::Goose => "goose_db_version",
            Self::Refinery => "refinery_schema_history",
            Self::Flyway => "flyway_schema_history",
        }
    }

    /// Two columns: the version as text, and whether it is applied: `1`, or `0` for half done. `sums`: and the
    /// checksum as [`Entry`] has it. Of Flyway always that, and description and type, in the order in which they
    /// were written.
    pub(super) fn query(self, sums: bool, dialect: Dialect) -> String {
        let (columns, sum, rest) = match self {
            Self::Dbmate => ("version, 1", "null", ""),
            Self::Sqlx => (
                "version, case when success then 1 else 0 end",
                match dialect {
                    Dialect::Postgres => "encode(checksum, 'hex')",
                    _ => "lower(hex(checksum))",
                },
                "",
            ),
            Self::GolangMigrate => ("version, case when dirty then 0 else 1 end", "null", ""),
            Self::Goose => (
                "version_id, 1",
                "null",
                " g where is_applied and version_id > 0 and not exists (select 1 from goose_db_version n \
                 where n.version_id = g.version_id and n.id > g.id)",
            ),
            Self::Refinery => ("version, 1", "checksum", ""),
            Self::Flyway => (
                "version, case when success then 1 else 0 end, checksum",
                "description, type",
                " where installed_rank > 0 order by installed_rank",
            ),
        };
        let sums = sums || self == Self::Flyway;
        let sum = if sums {
            format!(", {sum}")
        } else {
            String::new()
        };
        format!("select {columns}{sum} from {}{rest}", self.table())
    }

    /// What the table is made with by the tool itself, where it is not there.
    pub(super) fn definition(self, dialect: Dialect) -> Vec<String> {
        let table = self.table();
        let columns = match (self, dialect) {
            (Self::Dbmate, Dialect::Postgres) => "version varchar not null primary key",
            (Self::Dbmate, _) => "version varchar(128) not null primary key",
            (Self::Sqlx, Dialect::Postgres) => {
                "version bigint primary key, description text not null, \
                 installed_on timestamptz not null default now(), success boolean not null, \
                 checksum bytea not null, execution_time bigint not null"
            }
            (Self::Sqlx, _) => {
                "version bigint primary key, description text not null, \
                 installed_on timestamp not null default current_timestamp, \
                 success boolean not null, checksum blob not null, execution_time bigint not null"
            }
            (Self::GolangMigrate, Dialect::Sqlite) => "version uint64, dirty bool",
            (Self::GolangMigrate, _) => {
                "version bigint not null primary key, dirty boolean not null"
            }
            (Self::Goose, Dialect::Postgres) => {
                "id integer primary key generated by default as identity, version_id bigint not null, \
                 is_applied boolean not null, tstamp timestamp not null default now()"
            }
            (Self::Goose, Dialect::Mysql) => {
                "id bigint unsigned not null auto_increment primary key, version_id bigint not null, \
                 is_applied boolean not null, tstamp timestamp null default now()"
            }
            (Self::Goose, Dialect::Sqlite) => {
                "id integer primary key autoincrement, version_id integer not null, \
                 is_applied integer not null, tstamp timestamp default (datetime('now'))"
            }
            (Self::Refinery, _) => {
                "version int4 primary key, name varchar(255), applied_on varchar(255), \
                 checksum varchar(255)"
            }
            (Self::Flyway, Dialect::Sqlite) => {
                "installed_rank int not null primary key, version varchar(50), \
                 description varchar(200) not null, type varchar(20) not null, \
                 script varchar(1000) not null, checksum int, installed_by varchar(100) not null, \
                 installed_on text not null default (strftime('%Y-%m-%d %H:%M:%f','now')), \
                 execution_time int not null, success boolean not null"
            }
            (Self::Flyway, _) => {
                // MySQL knows now() for current_timestamp, too, and both for the same default.
                "installed_rank int not null, version varchar(50), \
                 description varchar(200) not null, type varchar(20) not null, \
                 script varchar(1000) not null, checksum int, installed_by varchar(100) not null, \
                 installed_on timestamp not null default now(), \
                 execution_time int not null, success boolean not null, \
                 constraint flyway_schema_history_pk primary key (installed_rank)"
            }
        };
        let mut sql = vec![format!("create table {table} ({columns})")];
        match (self, dialect) {
            (Self::GolangMigrate, Dialect::Sqlite) => {
                sql.push(format!(
                    "create unique index version_unique on {table} (version)"
                ));
            }
            (Self::Goose, _) => {
                sql.push(format!(
                    "insert into {table} (version_id, is_applied) values (0, true)"
                ));
            }
            (Self::Flyway, _) => {
                sql.push(format!("create index {table}_s_idx on {table} (success)"));
            }
            _ => {}
        }
        sql
    }

    /// Whether it would take a file of this name.
    pub(super) fn takes(self, file: &File) -> bool {
        self.words(file).is_some()
    }

    /// What the name says after the number.
    fn words(self, file: &File) -> Option<&str> {
        let name = base(file);
        let after = |letter| name.strip_prefix(letter)?.strip_suffix(".sql");
        match self {
            // Their names have a V, all others begin with the number.
            Self::Refinery => {
                file.version.number()?;
                let (_, words) = after('V')?.split_once("__")?;
                Some(words).filter(|words| is_word(words))
            }
            Self::Flyway if file.version.repeats().is_some() => after('R')?.strip_prefix("__"),
            Self::Flyway => {
                let rest = after('V').or_else(|| after('B'));
                let (version, words) = rest.map(|v| v.split_once("__").unwrap_or((v, "")))?;
                version.parse::<Version>().is_ok().then_some(words)
            }
            _ if !name.starts_with(|c: char| c.is_ascii_digit()) => None,
            Self::Sqlx => {
                let (_, rest) = name.split_once('_')?;
                Some(
                    rest.strip_suffix(".up.sql")
                        .or(rest.strip_suffix(".sql"))
                        .unwrap_or(rest),
                )
            }
            _ => Some(""),
        }
    }

    /// What it writes of a file. `None`: its name is none that the tool would take.
    ///
    /// # Errors
    /// The file can't be read: their checksums are of its bytes.
    pub(super) fn entry(self, file: &File, width: Width) -> Result<Option<Entry>, Error> {
        let Some(words) = self.words(file) else {
            return Ok(None);
        };
        let name = base(file);
        let version = match self {
            // Compared as text.
            Self::Dbmate => Some(name.chars().take_while(char::is_ascii_digit).collect()),
            Self::Flyway if file.version.repeats().is_some() => None,
            // As the file has it, with dots.
            Self::Flyway => {
                let version = name.strip_prefix(['V', 'B']).unwrap_or(name);
                let version = version.strip_suffix(".sql").unwrap_or(version);
                let end = version.find("__").unwrap_or(version.len());
                Some(version[..end].replace('_', "."))
            }
            _ => Some(file.version.to_string()),
        };
        let checksum = match self {
            Self::Sqlx => Some(hex::encode(Sha384::digest(bytes(file)?))),
            Self::Refinery => {
                let text = bytes(file)?;
                let version = file.version.number().unwrap_or_default();
                Some(sip(words, version, &text, width).to_string())
            }
            Self::Flyway => Some(lines_crc(&bytes(file)?).to_string()),
            _ => None,
        };
        let description = match self {
            Self::Flyway | Self::Sqlx => words.replace('_', " "),
            _ => words.to_owned(),
        };
        Ok(Some(Entry {
            version,
            description,
            script: file.file.clone(),
            checksum,
            kind: if name.starts_with('B') {
                "SQL_BASELINE"
            } else {
                "SQL"
            },
        }))
    }

    /// SQL that records a file as applied in its table, which has this name. Not for golang-migrate, which
    /// remembers one number.
    pub(super) fn insert(self, table: &str, entry: &Entry, ms: u128, dialect: Dialect) -> String {
        let text = |text: &str| literal(text, dialect);
        let (version, sum) = (
            entry.version.as_deref().unwrap_or_default(),
            entry.checksum.as_deref().unwrap_or_default(),
        );
        match self {
            Self::Dbmate => format!("insert into {table} (version) values ({})", text(version)),
            Self::Goose => {
                format!("insert into {table} (version_id, is_applied) values ({version}, true)")
            }
            Self::GolangMigrate => {
                format!("insert into {table} (version, dirty) values ({version}, false)")
            }
            Self::Sqlx => {
                let sum = match dialect {
                    Dialect::Postgres => format!("decode('{sum}', 'hex')"),
                    _ => format!("X'{sum}'"),
                };
                format!(
                    "insert into {table} (version, description, success, checksum, execution_time) \
                     values ({version}, {}, true, {sum}, {})",
                    text(&entry.description),
                    // In nanoseconds.
                    ms * 1_000_000
                )
            }
            Self::Refinery => format!(
                "insert into {table} (version, name, applied_on, checksum) values ({version}, {}, {}, '{sum}')",
                text(&entry.description),
                text(&jiff::Timestamp::now().to_string())
            ),
            Self::Flyway => {
                let user = match dialect {
                    Dialect::Sqlite => "''",
                    // Without the host, as its driver tells it.
                    Dialect::Mysql => "substring_index(current_user(), '@', 1)",
                    Dialect::Postgres => "current_user",
                };
                format!(
                    "insert into {table} (installed_rank, version, description, type, script, \
                     checksum, installed_by, execution_time, success) \
                     select coalesce(max(case when installed_rank > 0 then installed_rank end), 0) + 1, \
                     {}, {}, '{}', {}, {sum}, {user}, {ms}, true from {table}",
                    entry
                        .version
                        .as_deref()
                        .map_or_else(|| "null".to_owned(), text),
                    text(&shortened(&entry.description, 200, false)),
                    entry.kind,
                    text(&shortened(&entry.script, 1000, true))
                )
            }
        }
    }

    /// SQL after which it does not count as applied. Not for golang-migrate.
    pub(super) fn delete(self, table: &str, entry: &Entry, dialect: Dialect) -> String {
        let bare = entry.version.as_deref().unwrap_or_default();
        let version = literal(bare, dialect);
        match self {
            Self::Dbmate => format!("delete from {table} where version = {version}"),
            Self::Flyway => {
                format!("delete from {table} where version = {version} and type = 'SQL'")
            }
            Self::Goose => format!("delete from {table} where version_id = {bare}"),
            _ => format!("delete from {table} where version = {bare}"),
        }
    }

    /// The lock that it takes around its work: dbmate, refinery and the programs `sqlx` and `goose` take none,
    /// the libraries of the last two do. `schema`: of its table.
    pub(super) fn key(self, database: &str, schema: &str, dialect: Dialect) -> Option<Key> {
        let crc = |text: &str| crc32fast::hash(text.as_bytes());
        match (self, dialect) {
            (_, Dialect::Sqlite) | (Self::Dbmate | Self::Refinery, _) => None,
            (Self::Sqlx, _) => {
                let number = 0x3d32_ad9e * i64::from(crc(database));
                Some(match dialect {
                    Dialect::Mysql => Key::Name(format!("{number:x}")),
                    _ => Key::Number(number),
                })
            }
            (Self::GolangMigrate, Dialect::Mysql) => Some(Key::Name(
                salted(crc(&format!("{database}:{}", self.table()))).to_string(),
            )),
            (Self::GolangMigrate, _) => Some(Key::Number(i64::from(salted(crc(&format!(
                "{schema}\0{}\0{database}",
                self.table()
            )))))),
            (Self::Goose, Dialect::Postgres) => Some(Key::Number(4_097_083_626)),
            (Self::Goose, _) => None,
            (Self::Flyway, Dialect::Mysql) => {
                let table = format!("`{database}`.`{}`", self.table());
                Some(Key::Name(format!("Flyway-{}", java_hash(&table))))
            }
            (Self::Flyway, _) => {
                let table = format!("\"{schema}\".\"{}\"", self.table());
                // "Flyway" in ASCII.
                Some(Key::Number(0x466c_7977_6179 + i64::from(java_hash(&table))))
            }
        }
    }
}

/// golang-migrate: so that its numbers are not those of others.
fn salted(crc: u32) -> u32 {
    crc.wrapping_mul(1_486_364_155)
}

/// The bytes of a file, as the other tool reads it.
fn bytes(file: &File) -> Result<Vec<u8>, Error> {
    let source = file.origin.0.as_deref().ok_or_else(|| {
        Error::Refused(format!(
            "{} is not read from a folder: the other tool's checksum can't be known",
            file.file
        ))
    })?;
    Ok(source.counted(&file.file)?)
}

/// A file's name without the folder that it is in.
fn base(file: &File) -> &str {
    file.file.rsplit('/').next().unwrap_or(&file.file)
}

/// Flyway: what its table has room for.
fn shortened(text: &str, most: usize, in_front: bool) -> Cow<'_, str> {
    let length = text.chars().count();
    let kept = most - 3;
    if length <= most {
        Cow::Borrowed(text)
    } else if in_front {
        let rest: String = text.chars().skip(3).take(kept).collect();
        Cow::Owned(format!("...{rest}"))
    } else {
        let start: String = text.chars().take(kept).collect();
        Cow::Owned(format!("{start}..."))
    }
}

/// What a regular expression calls `\w+`.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// refinery: SipHash-1-3 over what Rust's `Hash` makes of name, version and text.
fn sip(name: &str, version: i64, text: &[u8], width: Width) -> u64 {
    use std::hash::Hasher as _;
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(name.as_bytes());
    hasher.write_u8(0xff);
    match (width, i32::try_from(version)) {
        (Width::Narrow, Ok(version)) => hasher.write_i32(version),
        _ => hasher.write_i64(version),
    }
    hasher.write(text);
    hasher.write_u8(0xff);
    hasher.finish()
}

/// Flyway: CRC-32 over the lines without their ends and without the byte order mark, as a signed number.
fn lines_crc(text: &[u8]) -> i32 {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let mut crc = crc32fast::Hasher::new();
    // Java ends a line at \n, \r and \r\n: whatever the split between, the ends add nothing.
    for line in text.split(|b| matches!(b, b'\n' | b'\r')) {
        crc.update(line);
    }
    crc.finalize().cast_signed()
}

/// Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn locks_are_those_that_their_own_tests_name() {
        // golang-migrate, database/util_test.go.
        let id = |names: &[&str]| salted(crc32fast::hash(names.join("\0").as_bytes()));
        assert_eq!(id(&["database_name"]), 1_764_327_054);
        assert_eq!(
            id(&["schema_name_1", "schema_name_2", "database_name"]),
            3_743_845_847
        );
        let key = |tool: Tool, dialect| tool.key("app", "public", dialect);
        assert_eq!(
            key(Tool::GolangMigrate, Dialect::Postgres),
            Some(Key::Number(i64::from(id(&[
                "public",
                "schema_migrations",
                "app"
            ]))))
        );
        // Java's documentation of hashCode: s[0]*31^(n-1) + ... in 32 bits.
        assert_eq!(java_hash("Flyway"), 2_107_503_036);
        assert_eq!(java_hash(""), 0);
        assert_eq!(key(Tool::Dbmate, Dialect::Postgres), None);
        assert_eq!(key(Tool::Sqlx, Dialect::Sqlite), None);
    }

    #[test]
    fn flyway_s_checksum_does_not_see_line_ends_and_mark() {
        let sum = lines_crc(b"create table a (b int);\ninsert into a values (1);");
        assert_eq!(
            sum,
            lines_crc(
                "\u{feff}create table a (b int);\r\ninsert into a values (1);\r\n".as_bytes()
            )
        );
        assert_eq!(
            sum,
            crc32fast::hash(b"create table a (b int);insert into a values (1);").cast_signed()
        );
        assert_ne!(
            sum,
            lines_crc(b"create table a (b int);\ninsert into a values (2);")
        );
    }

    #[test]
    fn files_that_a_tool_would_not_take_are_not_written_into_its_history() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "0001_a_b.sql",
            "0002.sql",
            "0003_c.up.sql",
            "V4__d_e.sql",
            "V04_1__f.sql",
            "R__g_h.sql",
        ] {
            std::fs::write(dir.path().join(name), "select 1;\n").unwrap();
        }
        let folder = Folder::read(dir.path()).unwrap();
        let known = |tool: Tool| -> Vec<(String, String)> {
            let entries = folder.files.iter().map(|f| tool.entry(f, Width::Narrow));
            let entries = entries.filter_map(|e| e.unwrap());
            entries
                .map(|e| (e.version.unwrap_or_default(), e.description))
                .collect()
        };
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            let list = list.iter();
            list.map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        assert_eq!(known(Tool::Sqlx), pairs(&[("1", "a b"), ("3", "c")]));
        assert_eq!(known(Tool::Refinery), pairs(&[("4", "d_e")]));
        let flyway = [("4", "d e"), ("04.1", "f"), ("", "g h")];
        assert_eq!(known(Tool::Flyway), pairs(&flyway));
        assert_eq!(
            known(Tool::Dbmate),
            pairs(&[("0001", ""), ("0002", ""), ("0003", "")])
        );
        let text = [("0001_a.sql".to_owned(), String::new())];
        let carried = Folder::from_texts(text).unwrap();
        assert!(Tool::Sqlx.entry(&carried.files[0], Width::Narrow).is_err());
    }
}
