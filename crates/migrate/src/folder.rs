//! A folder of SQL files: our own format, plain SQL that any client can run.
//!
//! `0007_add_email.sql` or `20260131120000_add_email.sql`; the number is the version. Optional:
//! `0007_add_email.down.sql`, or sections in one file. What the runner should know stands in
//! comments that begin a line with `-- windlass:`.

mod batch;
mod directives;
mod name;
mod placeholders;
mod source;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use name::{Named, Role};
use source::Conf;

use crate::release::{Floor, Release};
use crate::sql::{Dialect, SplitError, Statement, split};
use crate::version::Version;

pub use batch::Batch;
pub(crate) use batch::catalog_name;
pub use directives::parse_duration;
pub use placeholders::Placeholders;
pub use source::{Source, Text};

/// When a migration may run against code that is older than it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It only adds: old code goes on working.
    #[default]
    Expand,
    /// It removes what old code needed: it waits until no such code runs.
    Contract,
    /// It changes rows, in batches, for as long as that takes: `up` does not wait for it.
    Data,
}

impl Phase {
    /// The word in files, tables and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
            Self::Data => "data",
        }
    }
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// The file's name, for messages.
    pub file: String,
    /// Its first line's number in that file.
    pub line: usize,
    /// The SQL, with Unix line ends.
    pub text: String,
}

impl Section {
    /// Its statements.
    ///
    /// # Errors
    /// Text that can't be cut into statements.
    pub fn statements(&self, dialect: Dialect) -> Result<Vec<Statement>, FolderError> {
        split(&self.text, dialect, self.line).map_err(|source| FolderError::Split {
            file: self.file.clone(),
            source,
        })
    }
}

/// The folder that a file was read from. It says nothing of what the file is: all are equal.
#[derive(Debug, Clone, Default)]
pub struct Origin(pub Option<Arc<Source>>);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What the file's name begins with; of a repeatable file, its name and text.
    pub version: Version,
    /// The rest of the name, without `.sql`.
    pub name: String,
    /// The whole file name; of a file in a folder below, the path from the folder.
    pub file: String,
    /// The folder that it was read from, if it was.
    pub origin: Origin,
    /// `-- windlass: phase contract`.
    pub phase: Phase,
    /// `-- windlass: requires-release 1.4`: the oldest release that still runs on the result.
    pub requires_release: Option<Release>,
    /// `-- windlass: requires-migration 5`: the same, said by what a release's folder must have.
    pub requires_migration: Option<Version>,
    /// `-- windlass: requires-data 7`: a contract waits until these data migrations are finished.
    pub requires_data: Vec<Version>,
    /// `-- windlass: batch users.id`: the batches of a data migration.
    pub batch: Option<Batch>,
    /// `-- windlass: no-transaction`.
    pub no_transaction: bool,
    /// `-- windlass: foreign-keys off`: SQLite checks foreign keys at the end, not on the way.
    pub foreign_keys_off: bool,
    /// `-- windlass: lock-timeout 2s`. Zero: for as long as it takes.
    pub lock_timeout: Option<Duration>,
    /// `-- windlass: statement-timeout 10min`. Zero: none.
    pub statement_timeout: Option<Duration>,
    /// `-- windlass: retries 20`: how often a lock is tried for again.
    pub retries: Option<u32>,
    /// What it does.
    pub up: Section,
    /// What undoes it.
    pub down: Option<Section>,
    /// Queries that find rows only if something is wrong.
    pub verify: Option<Section>,
    /// SHA-256 (hex) of the up section, blind to line ends, byte order mark and directives.
    pub checksum: String,
}

impl File {
    /// What an application must be to run after it: for a contract migration that says nothing, one
    /// that has this very file.
    pub fn floors(&self) -> Vec<Floor> {
        let mut floors = Vec::new();
        if let Some(release) = &self.requires_release {
            floors.push(Floor::Release(release.clone()));
        }
        if let Some(version) = self.requires_migration {
            floors.push(Floor::Migration(version));
        }
        if floors.is_empty() && self.phase == Phase::Contract {
            floors.push(Floor::Migration(self.version));
        }
        floors
    }
}

/// A folder that can't be read as migrations.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk says no.
    #[error("could not read {}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A `.sql` file whose name has no number.
    #[error(
        "{file} is no migration's name: it must begin with a number, as 0007_add_email.sql, or be one of Flyway's, as \
         V1.4__add_email.sql or R__views.sql"
    )]
    Name {
        /// The file.
        file: String,
    },
    /// A file that Flyway would run around its work.
    #[error(
        "{file} is a callback of Flyway, and nothing here would call it: what it does belongs into a migration, or \
         behind `windlass migrate up` in the build"
    )]
    Callback {
        /// The file.
        file: String,
    },
    /// A placeholder of Flyway's that nobody gave a value.
    #[error(
        "{file}, line {line}: ${{{name}}} has no value: give it with --placeholder '{name}=...', or say \
         --no-placeholders if such text is no placeholder here"
    )]
    NoValue {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// Its name.
        name: String,
    },
    /// Two files with one number.
    #[error("{a} and {b} have the same number")]
    Twice {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// Two repeatable files with one name, in two folders.
    #[error("{a} and {b} have the same name, and a repeatable file is known by that")]
    NameTwice {
        /// One.
        a: String,
        /// The other.
        b: String,
    },
    /// A `down` file with nothing to undo.
    #[error("{file} undoes nothing: there is no migration with its number")]
    DownAlone {
        /// The file.
        file: String,
    },
    /// A directive that is not understood.
    #[error("{file}, line {line}: {problem}")]
    Directive {
        /// The file.
        file: String,
        /// From 1.
        line: usize,
        /// In words.
        problem: String,
    },
    /// Text that can't be cut into statements.
    #[error("{file}, {source}")]
    Split {
        /// The file.
        file: String,
        /// Where and why.
        source: SplitError,
    },
    /// Not text, or far too long.
    #[error("{file} {problem}")]
    Content {
        /// The file.
        file: String,
        /// In words.
        problem: &'static str,
    },
}

/// The migrations of a folder, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Folder {
    /// By version, rising.
    pub files: Vec<File>,
    /// `B7__all.sql`: what an empty database begins with, instead of all files up to its version. By version,
    /// rising.
    pub baselines: Vec<File>,
}

impl Folder {
    /// Reads a folder. Of what lies in folders below it, files with the names of Flyway and refinery count
    /// (`V1__x.sql`, `R__x.sql`). Files that don't end in `.sql` and hidden ones are passed over.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn read(dir: &Path) -> Result<Self, FolderError> {
        Source::from(dir).read()
    }

    /// The same from names and texts, for programs that carry their migrations.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn from_texts(
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, FolderError> {
        let mut pieces = Pieces::default();
        let none = Placeholders::default();
        for (file, text) in texts {
            pieces.add(file, &text, &none, Conf::default())?;
        }
        Self::of(pieces)
    }

    fn of(pieces: Pieces) -> Result<Self, FolderError> {
        let Pieces {
            mut files,
            mut baselines,
            downs,
        } = pieces;
        let mut places = HashMap::with_capacity(files.len());
        for (at, file) in files.iter().enumerate() {
            // Of a repeatable file, one with another text would be another one.
            let named = match file.version.repeats() {
                Some(name) => Version::repeatable(name, ""),
                None => file.version,
            };
            if let Some(other) = places.insert(named, at) {
                let (a, b) = (files[other].file.clone(), file.file.clone());
                return Err(match file.version.repeats() {
                    Some(_) => FolderError::NameTwice { a, b },
                    None => FolderError::Twice { a, b },
                });
            }
        }
        for (version, section) in downs {
            let Some(up) = places.get(&version).map(|at| &mut files[*at]) else {
                return Err(FolderError::DownAlone { file: section.file });
            };
            if up.down.is_some() {
                return Err(FolderError::Twice {
                    a: format!("the down section of {}", up.file),
                    b: section.file,
                });
            }
            up.down = Some(section);
        }
        files.sort_by_key(|f| f.version);
        baselines.sort_by_key(|f| f.version);
        for pair in baselines.windows(2) {
            if pair[0].version == pair[1].version {
                let (a, b) = (pair[0].file.clone(), pair[1].file.clone());
                return Err(FolderError::Twice { a, b });
            }
        }
        Ok(Self { files, baselines })
    }

    /// The newest version, [`Version::NONE`] for an empty folder. Repeatable files are neither new nor old.
    pub fn newest(&self) -> Version {
        let mut versions = self.files.iter().rev().map(|f| f.version);
        let newest = versions.find(|version| version.repeats().is_none());
        let newest = newest.unwrap_or(Version::NONE);
        newest.max(self.baselines.last().map_or(Version::NONE, |f| f.version))
    }

    /// What an empty database begins with, if nothing above `to` is to run.
    pub fn begin(&self, to: Option<Version>) -> Option<&File> {
        let mut baselines = self.baselines.iter().rev();
        baselines.find(|file| to.is_none_or(|to| file.version <= to))
    }

    /// The newest baseline that has taken the place of files: none of those that it holds is there any more.
    pub fn squashed(&self) -> Option<&File> {
        let first = self.files.first().map(|file| file.version);
        let mut baselines = self.baselines.iter().rev();
        baselines.find(|file| first.is_none_or(|first| first > file.version))
    }

    /// The file that is run for a version, if an empty database begins with `begin`.
    pub fn runs(&self, version: Version, begin: Option<Version>) -> Option<&File> {
        if begin == Some(version) {
            return self.baselines.iter().find(|file| file.version == version);
        }
        self.find(version)
    }

    /// The migration with this version; of a repeatable file, with this very text.
    pub fn find(&self, version: Version) -> Option<&File> {
        let at = self.files.binary_search_by_key(&version, |f| f.version);
        at.ok().and_then(|at| self.files.get(at))
    }

    /// The same, of a repeatable file with whichever text.
    pub fn named(&self, version: Version) -> Option<&File> {
        self.find(version)
            .or_else(|| self.files.iter().find(|f| f.version.is_of(version)))
    }

    /// Whose number in our tables this is.
    pub(crate) fn by_key(&self, key: i64) -> Version {
        let found = self.files.iter().map(|f| f.version);
        let mut found = found.filter(|_| key < 0);
        let found = found.find(|version| version.key() == key || version.journal_key() == key);
        found.unwrap_or_else(|| Version::from(key))
    }
}

/// What files of a folder give.
#[derive(Default)]
struct Pieces {
    files: Vec<File>,
    baselines: Vec<File>,
    /// What undoes a version.
    downs: Vec<(Version, Section)>,
}

impl Pieces {
    fn add(
        &mut self,
        file: String,
        text: &str,
        placeholders: &Placeholders,
        conf: Conf,
    ) -> Result<(), FolderError> {
        let named = name::parse(&file)?;
        let replaces = conf.replaces(&named);
        let Named {
            role,
            version,
            name,
            ..
        } = named;
        let raw = normalized(text);
        let text = if replaces {
            placeholders.put_in(&raw, &file)?
        } else {
            Cow::Borrowed(&*raw)
        };
        if role == Role::Down {
            let text = text.into_owned();
            let line = 1;
            self.downs.push((version, Section { file, line, text }));
            return Ok(());
        }
        let name = name.to_owned();
        // Values differ between databases, and the file is the same in all of them.
        let checksum = match (role, &text) {
            (Role::Up | Role::Baseline, Cow::Owned(_)) => {
                Some(directives::read(version, name.clone(), file.clone(), &raw)?.checksum)
            }
            _ => None,
        };
        let mut found = directives::read(version, name, file, &text)?;
        found.no_transaction |= conf.no_transaction;
        if role == Role::Repeatable {
            repeatable(&mut found)?;
        }
        found.checksum = checksum.unwrap_or(found.checksum);
        if role == Role::Baseline {
            baseline(&found)?;
            self.baselines.push(found);
        } else {
            self.files.push(found);
        }
        Ok(())
    }
}

/// A baseline is only run where nothing is.
fn baseline(file: &File) -> Result<(), FolderError> {
    if file.phase == Phase::Expand && file.down.is_none() {
        return Ok(());
    }
    Err(FolderError::Directive {
        file: file.file.clone(),
        line: 1,
        problem: "a baseline is what an empty database begins with: it has neither a phase nor a `down` section"
            .to_owned(),
    })
}

/// A repeatable file has the version of its text, and can't be what only happens once.
fn repeatable(file: &mut File) -> Result<(), FolderError> {
    let problem = if file.phase != Phase::Expand {
        format!(
            "a repeatable file runs with what expands: `phase {}` needs a file with a number",
            file.phase.as_str()
        )
    } else if file.down.is_some() {
        "a repeatable file is not undone: it runs again with another text".to_owned()
    } else {
        file.version = Version::repeatable(&file.name, &file.checksum);
        return Ok(());
    };
    Err(FolderError::Directive {
        file: file.file.clone(),
        line: 1,
        problem,
    })
}

/// Without the byte order mark, and with Unix line ends.
fn normalized(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> File {
        let texts = [("0007_x.sql".to_owned(), text.to_owned())];
        Folder::from_texts(texts).unwrap().files.remove(0)
    }

    #[test]
    fn a_folder_is_read_in_the_order_of_numbers() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("0010_ten.sql", "select 10"),
            ("0002-two.up.sql", "select 2"),
            ("0002_two.down.sql", "select -2"),
            ("README.md", "x"),
            (".0001_x.sql", "x"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let folder = Folder::read(dir.path()).unwrap();
        let versions: Vec<Version> = folder.files.iter().map(|f| f.version).collect();
        assert_eq!(versions, [2, 10]);
        assert_eq!(folder.files[0].name, "two");
        assert_eq!(folder.files[0].down.as_ref().unwrap().text, "select -2");
        assert_eq!(folder.find(10.into()).unwrap().name, "ten");
        std::fs::write(dir.path().join("02_again.sql"), "").unwrap();
        let error = Folder::read(dir.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "0002-two.up.sql and 02_again.sql have the same number"
        );
    }

    #[test]
    fn the_checksum_is_blind_to_line_ends_mark_and_directives() {
        let plain = one("create table a (b int);\n");
        assert_eq!(
            plain.checksum,
            one("\u{feff}create table a (b int);\r\n").checksum
        );
        assert_eq!(
            plain.checksum,
            one("-- windlass: phase contract\ncreate table a (b int);\n-- windlass: down\ndrop table a;").checksum
        );
        assert_ne!(plain.checksum, one("create table a (b text);\n").checksum);
    }

    #[test]
    fn a_contract_that_names_no_floor_asks_for_itself() {
        assert_eq!(
            one("-- windlass: phase contract\n").floors(),
            [Floor::Migration(7.into())]
        );
        assert!(one("select 1").floors().is_empty());
        assert_eq!(
            one("-- windlass: phase=contract\n-- windlass: requires-migration=5").floors(),
            [Floor::Migration(5.into())]
        );
    }

    #[test]
    fn flyways_folders_are_read_as_it_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("v1/old")).unwrap();
        std::fs::create_dir_all(dir.path().join("fixtures")).unwrap();
        for (name, text) in [
            ("V2__b.sql", "create table ${t}b (a int)"),
            ("v1/V1.10__c.sql", "select 110"),
            ("v1/old/V1.2__d.sql", "select '${t}'"),
            (
                "v1/old/V1.2__d.sql.conf",
                "# why\nplaceholderReplacement=false\nexecuteInTransaction=false\n",
            ),
            ("v1/U2__b.sql", "drop table ${t}b"),
            ("R__view.sql", "create view v as select '${t}'"),
            ("R__a_view.sql", "create view w as select 1"),
            // Not its own, and not in the folder itself.
            ("fixtures/0001_x.sql", "select 1"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let read = |value: &str| {
            let mut source = Source::from(dir.path());
            source.placeholders.set("t", value);
            source.read().unwrap()
        };
        let folder = read("x_");
        let files: Vec<&str> = folder.files.iter().map(|f| f.file.as_str()).collect();
        assert_eq!(
            files,
            [
                "v1/old/V1.2__d.sql",
                "v1/V1.10__c.sql",
                "V2__b.sql",
                "R__a_view.sql",
                "R__view.sql"
            ]
        );
        assert_eq!(folder.newest(), 2);
        let [d, _, b, _, view] = &folder.files[..] else {
            panic!("{files:?}")
        };
        assert_eq!(
            (d.up.text.as_str(), d.no_transaction),
            ("select '${t}'", true)
        );
        assert_eq!(b.up.text, "create table x_b (a int)");
        assert_eq!(b.down.as_ref().unwrap().text, "drop table x_b");
        assert_eq!(view.up.text, "create view v as select 'x_'");
        // A value changes what a file does there, not which file it is; a repeatable one it does.
        let other = read("y_");
        assert_eq!(other.files[2].checksum, b.checksum);
        assert_eq!(other.files[2].up.text, "create table y_b (a int)");
        assert!(other.find(view.version).is_none());
        assert_eq!(other.named(view.version).unwrap().file, "R__view.sql");
        let error = Folder::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("${t} has no value"), "{error}");
        std::fs::write(
            dir.path().join("v1/V1.10__c.sql.conf"),
            "shouldExecute=false\n",
        )
        .unwrap();
        let source = Source {
            placeholders: Placeholders::none(),
            ..Source::from(dir.path())
        };
        let error = source.read().unwrap_err().to_string();
        assert!(
            error.starts_with("v1/V1.10__c.sql.conf, line 1: shouldExecute=false"),
            "{error}"
        );
    }

    #[test]
    fn a_repeatable_file_is_its_name_and_text_and_happens_more_than_once() {
        let read = |files: &[(&str, &str)]| {
            let texts = files
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            Folder::from_texts(texts)
        };
        let version = |text| read(&[("R__v.sql", text)]).unwrap().files[0].version;
        assert_ne!(version("select 1"), version("select 2"));
        assert_eq!(version("select 1"), version("select 1"));
        for wrong in [
            "-- windlass: phase contract\n",
            "select 1;\n-- windlass: down\nselect 2",
        ] {
            let error = read(&[("R__v.sql", wrong)]).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("R__v.sql, line 1: a repeatable"),
                "{error}"
            );
        }
        let error = read(&[("a/R__v.sql", "select 1"), ("b/R__v.sql", "select 2")]).unwrap_err();
        assert!(matches!(error, FolderError::NameTwice { .. }), "{error}");
        let error = read(&[("U1__v.sql", "select 1")]).unwrap_err();
        assert!(matches!(error, FolderError::DownAlone { .. }), "{error}");
    }
}
