//! A folder of SQL files: our own format, plain SQL that any client can run.
//!
//! `0007_add_email.sql` or `20260131120000_add_email.sql`; the number is the version. Optional:
//! `0007_add_email.down.sql`, or sections in one file. What the runner should know stands in
//! comments that begin a line with `-- windlass:`.

mod batch;
mod directives;

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::release::{Floor, Release};
use crate::sql::{Dialect, SplitError, Statement, split};

pub use batch::Batch;
pub(crate) use batch::catalog_name;
pub use directives::parse_duration;

/// A file of 64 MiB and more is data, and belongs elsewhere.
const MAX_FILE_BYTES: u64 = 64 << 20;

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
pub struct Origin(pub Option<Arc<Path>>);

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Origin {}

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The number that the file's name begins with.
    pub version: i64,
    /// The rest of the name, without `.sql`.
    pub name: String,
    /// The whole file name.
    pub file: String,
    /// The folder that it was read from, if it was.
    pub origin: Origin,
    /// `-- windlass: phase contract`.
    pub phase: Phase,
    /// `-- windlass: requires-release 1.4`: the oldest release that still runs on the result.
    pub requires_release: Option<Release>,
    /// `-- windlass: requires-migration 5`: the same, said by what a release's folder must have.
    pub requires_migration: Option<i64>,
    /// `-- windlass: requires-data 7`: a contract waits until these data migrations are finished.
    pub requires_data: Vec<i64>,
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
    #[error("{file} is no migration's name: it must begin with a number, as 0007_add_email.sql")]
    Name {
        /// The file.
        file: String,
    },
    /// Two files with one number.
    #[error("{a} and {b} have the same number")]
    Twice {
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
}

impl Folder {
    /// Reads a folder; not what lies in folders below it. Files that don't end in `.sql` and hidden
    /// ones are passed over.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn read(dir: &Path) -> Result<Self, FolderError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| FolderError::Io { path, source }
        };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(failed(dir))? {
            let name = entry.map_err(failed(dir))?.file_name();
            match name.into_string() {
                Ok(name) if name.ends_with(".sql") && !name.starts_with('.') => names.push(name),
                _ => {}
            }
        }
        names.sort();
        Self::of(pieces(dir, &names)?)
    }

    /// The same from names and texts, for programs that carry their migrations.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn from_texts(
        texts: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, FolderError> {
        let mut pieces = Pieces::default();
        for (file, text) in texts {
            pieces.add(file, &text)?;
        }
        Self::of(pieces)
    }

    fn of(Pieces { mut files, downs }: Pieces) -> Result<Self, FolderError> {
        let mut places = HashMap::with_capacity(files.len());
        for (at, file) in files.iter().enumerate() {
            if let Some(other) = places.insert(file.version, at) {
                return Err(FolderError::Twice {
                    a: files[other].file.clone(),
                    b: file.file.clone(),
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
        Ok(Self { files })
    }

    /// The newest version, 0 for an empty folder.
    pub fn newest(&self) -> i64 {
        self.files.last().map_or(0, |f| f.version)
    }

    /// The migration with this number.
    pub fn find(&self, version: i64) -> Option<&File> {
        let at = self.files.binary_search_by_key(&version, |f| f.version);
        at.ok().and_then(|at| self.files.get(at))
    }
}

/// What files of a folder give.
#[derive(Default)]
struct Pieces {
    files: Vec<File>,
    /// What undoes a version.
    downs: Vec<(i64, Section)>,
}

impl Pieces {
    fn add(&mut self, file: String, text: &str) -> Result<(), FolderError> {
        let (version, name, is_down) = parse_name(&file)?;
        let text = normalized(text);
        if is_down {
            let section = Section {
                file,
                line: 1,
                text: text.into_owned(),
            };
            self.downs.push((version, section));
        } else {
            let file = directives::read(version, name, file, &text)?;
            self.files.push(file);
        }
        Ok(())
    }
}

/// Files that one thread reads: fewer are not worth another one.
const FEW: usize = 100;
/// Threads that read: each takes a processor, and a database is waiting, too.
const READERS: usize = 4;

/// What the files hold. A thousand of them cost more than all else that `up` does when nothing is pending,
/// so several threads read.
fn pieces(dir: &Path, names: &[String]) -> Result<Pieces, FolderError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (names.len() / FEW).min(processors).clamp(1, READERS);
    let mut parts = names.chunks(names.len().div_ceil(threads).max(1));
    let mine = parts.next().unwrap_or_default();
    let dir: &Arc<Path> = &Arc::from(dir);
    std::thread::scope(|scope| {
        let others: Vec<_> = parts
            .map(|part| scope.spawn(move || some_pieces(dir, part)))
            .collect();
        let mut all = some_pieces(dir, mine)?;
        for other in others {
            let part = other.join();
            let part = part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            all.files.extend(part.files);
            all.downs.extend(part.downs);
        }
        Ok(all)
    })
}

fn some_pieces(dir: &Arc<Path>, names: &[String]) -> Result<Pieces, FolderError> {
    // One for all: it costs more to get memory for each than to copy what it holds. With room from the
    // start, a file is not asked first how long it is.
    let mut bytes = Vec::with_capacity(64 * 1024);
    let mut path = dir.to_path_buf();
    let mut pieces = Pieces::default();
    pieces.files.reserve(names.len());
    for name in names {
        let content = |problem| FolderError::Content {
            file: name.clone(),
            problem,
        };
        bytes.clear();
        path.push(name);
        std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|source| FolderError::Io {
                path: path.clone(),
                source,
            })?;
        path.pop();
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(content("is longer than 64 MiB: load data in another way"));
        }
        let text =
            std::str::from_utf8(&bytes).map_err(|_| content("is not UTF-8: save it as UTF-8"))?;
        pieces.add(name.clone(), text)?;
    }
    for file in &mut pieces.files {
        file.origin = Origin(Some(Arc::clone(dir)));
    }
    Ok(pieces)
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

/// Version, name, whether it is a `down` file.
fn parse_name(file: &str) -> Result<(i64, String, bool), FolderError> {
    let wrong = || FolderError::Name {
        file: file.to_owned(),
    };
    let stem = file.strip_suffix(".sql").ok_or_else(wrong)?;
    // Flyway's and refinery's V7__name. Their other letters mean what we don't do.
    let stem = match stem.strip_prefix('V') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => stem,
    };
    let (stem, is_down) = match stem.strip_suffix(".down") {
        Some(stem) => (stem, true),
        None => (stem.strip_suffix(".up").unwrap_or(stem), false),
    };
    let digits = stem.len() - stem.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (version, rest) = stem.split_at(digits);
    let version: i64 = version.parse().map_err(|_| wrong())?;
    let name = match rest.strip_prefix(['_', '-']) {
        Some(name) if !name.is_empty() => name.trim_start_matches('_'),
        None if rest.is_empty() => "",
        _ => return Err(wrong()),
    };
    if version == 0 {
        return Err(wrong());
    }
    Ok((version, name.to_owned(), is_down))
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
        let versions: Vec<i64> = folder.files.iter().map(|f| f.version).collect();
        assert_eq!(versions, [2, 10]);
        assert_eq!(folder.files[0].name, "two");
        assert_eq!(folder.files[0].down.as_ref().unwrap().text, "select -2");
        assert_eq!(folder.find(10).unwrap().name, "ten");
        assert_eq!(
            parse_name("V7__add_email.sql").unwrap(),
            (7, "add_email".to_owned(), false)
        );
        for bad in [
            "x.sql",
            "R__x.sql",
            "V1.2__x.sql",
            "0_x.sql",
            "12x.sql",
            "99999999999999999999_x.sql",
        ] {
            assert!(
                matches!(parse_name(bad), Err(FolderError::Name { .. })),
                "{bad}"
            );
        }
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
            [Floor::Migration(7)]
        );
        assert!(one("select 1").floors().is_empty());
        assert_eq!(
            one("-- windlass: phase=contract\n-- windlass: requires-migration=5").floors(),
            [Floor::Migration(5)]
        );
    }
}
