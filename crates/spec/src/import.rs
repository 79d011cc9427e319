//! Build descriptions of other systems as a `windlass.yml`.
//!
//! Nothing is dropped silently: what has no counterpart becomes a comment in the result and a
//! [`Note`] with its line. What can't be translated never makes more run than before: a condition
//! that isn't understood becomes `when: "false"`, a value that isn't known stops its script.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | how a dialect is understood | `import/<dialect>.rs`, and the folder of that name |
//! | what all of them are turned into | `import/pipeline.rs`, conditions in `import/when.rs` |
//! | how that becomes text | `import/write.rs`, `import/yaml_text.rs` |
//! | variables of other systems in scripts | `import/variables.rs` |
//! | several files at once | `import/several.rs` |
//! | keys that our specs don't have yet | `import/not_yet.rs` |
//! | that the result is a spec in any case | `import/checked.rs` |

mod checked;
mod container;
mod drone;
mod github;
mod gitlab;
mod not_yet;
mod notes;
mod pipeline;
mod several;
mod source;
mod travis;
mod tree;
mod variables;
mod when;
mod woodpecker;
mod write;
mod yaml_text;

use std::fmt;
use std::str::FromStr;

use windlass_model::diagnostic::Diagnostic;

use self::notes::Notes;
use self::pipeline::Pipeline;
use self::source::{Document, documents};

/// A system whose files can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// GitHub Actions: `.github/workflows/*.yml`.
    Github,
    /// Woodpecker: `.woodpecker.yml`, `.woodpecker/*.yml`.
    Woodpecker,
    /// Drone: `.drone.yml`.
    Drone,
    /// GitLab CI/CD: `.gitlab-ci.yml`.
    Gitlab,
    /// Travis CI: `.travis.yml`.
    Travis,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Github,
        Self::Woodpecker,
        Self::Drone,
        Self::Gitlab,
        Self::Travis,
    ];

    /// The word of the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Woodpecker => "woodpecker",
            Self::Drone => "drone",
            Self::Gitlab => "gitlab",
            Self::Travis => "travis",
        }
    }

    /// What its people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Github => "GitHub Actions",
            Self::Woodpecker => "Woodpecker",
            Self::Drone => "Drone",
            Self::Gitlab => "GitLab CI/CD",
            Self::Travis => "Travis CI",
        }
    }

    /// The dialect that a file of this path has, if the path tells.
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.replace('\\', "/");
        let mut parts = path.rsplit('/');
        let name = parts.next().unwrap_or_default();
        let folder = parts.next().unwrap_or_default();
        let above = parts.next().unwrap_or_default();
        let stem = name
            .strip_suffix(".yml")
            .or_else(|| name.strip_suffix(".yaml"))?;
        match (stem, folder, above) {
            (".travis", ..) => Some(Self::Travis),
            (".drone", ..) => Some(Self::Drone),
            (".woodpecker", ..) | (_, ".woodpecker", _) => Some(Self::Woodpecker),
            (_, "workflows", ".github" | ".gitea" | ".forgejo") => Some(Self::Github),
            (stem, ..) if stem.ends_with(".gitlab-ci") => Some(Self::Gitlab),
            _ => None,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|d| d.as_str() == text);
        found.ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|d| d.as_str()).collect();
            format!("choose one of {}", known.join(", "))
        })
    }
}

/// How well something could be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// It means the same.
    Exact,
    /// It means nearly the same; the words say what differs.
    Approximate,
    /// It has no counterpart; the words say what to do.
    NotConverted,
}

/// What became of one construct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file, as it was named.
    pub file: String,
    /// 1-based line in it.
    pub line: usize,
    /// The construct: `jobs.test.steps[2].uses`.
    pub what: String,
    /// How well it went.
    pub kind: Kind,
    /// For a person: what differs, and what to do. Empty for what is exact.
    pub words: String,
}

/// A converted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The text of a `windlass.yml`.
    pub spec: String,
    /// What became of everything, in the order of the files.
    pub notes: Vec<Note>,
}

impl Imported {
    /// How many notes are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.notes.iter().filter(|note| note.kind == kind).count()
    }
}

/// Why nothing could be converted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportError {
    /// Neither path nor contents tell what it is.
    UnknownDialect {
        /// The file.
        file: String,
    },
    /// It can't be read.
    Unreadable {
        /// The file.
        file: String,
        /// What is wrong with it; places are those of the file.
        diagnostics: Vec<Diagnostic>,
    },
    /// There is no job in it.
    NoJobs {
        /// The file.
        file: String,
        /// The dialect as which it was read.
        dialect: Dialect,
    },
    /// Files of different systems can't become one spec.
    SeveralDialects,
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownDialect { file } => write!(
                f,
                "{file}: neither the path nor the contents tell which system it is for"
            ),
            Self::Unreadable { file, diagnostics } => match diagnostics.first() {
                Some(d) => write!(f, "{file}:{}:{}: {}", d.line, d.column, d.message),
                None => write!(f, "{file}: can't be read as YAML"),
            },
            Self::NoJobs { file, dialect } => {
                write!(f, "{file}: no job of {} in it", dialect.title())
            }
            Self::SeveralDialects => write!(f, "files of different systems"),
        }
    }
}

impl std::error::Error for ImportError {}

/// Converts one file. The path, or else the contents, tell what it is.
///
/// # Errors
/// When it can't be read, or isn't known, or has no job.
pub fn import(path: &str, source: &[u8]) -> Result<Imported, ImportError> {
    import_files(&[(path, source)], None)
}

/// Converts one file or several into one spec, read as `from` if that is given.
///
/// # Errors
/// As [`import`]; and when the files are of different systems.
pub fn import_files(
    files: &[(&str, &[u8])],
    from: Option<Dialect>,
) -> Result<Imported, ImportError> {
    let mut pipelines: Vec<Pipeline> = Vec::new();
    let mut all = Vec::new();
    let mut dialects: Vec<Dialect> = Vec::new();
    for (path, source) in files {
        let documents = documents(path, source)?;
        let dialect = from
            .or_else(|| Dialect::of_path(path))
            .or_else(|| documents.iter().find_map(of_contents))
            .ok_or_else(|| ImportError::UnknownDialect {
                file: (*path).to_owned(),
            })?;
        dialects.push(dialect);
        let mut notes = Notes::new(path);
        let mut read = match dialect {
            Dialect::Github => github::read(&documents, &mut notes),
            Dialect::Woodpecker => woodpecker::read(path, &documents, &mut notes),
            Dialect::Drone => drone::read(&documents, &mut notes),
            Dialect::Gitlab => gitlab::read(&documents, &mut notes),
            Dialect::Travis => travis::read(&documents, &mut notes),
        };
        if read.jobs.is_empty() {
            return Err(ImportError::NoJobs {
                file: (*path).to_owned(),
                dialect,
            });
        }
        for document in &documents {
            document.report(&mut read.comments, &mut notes);
        }
        read.finish();
        all.extend(notes.into_notes());
        pipelines.push(read);
    }
    dialects.sort_unstable();
    dialects.dedup();
    let [dialect] = dialects[..] else {
        return Err(ImportError::SeveralDialects);
    };
    let mut pipeline = several::merge(pipelines);
    pipeline.join(files[0].0, &mut all);
    not_yet::lower(&mut pipeline, files[0].0, &mut all);
    let names: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    Ok(Imported {
        spec: checked::spec(pipeline, dialect, &names, &mut all),
        notes: all,
    })
}

/// The dialect that keys at the top level show.
fn of_contents(document: &Document) -> Option<Dialect> {
    use self::tree::Tree;
    let root = &document.root;
    let has = |key: &str| root.get(key).is_some();
    let runs_on = |entry: &crate::node::Entry| {
        let value = &entry.value;
        value.get("runs-on").is_some() || value.get("uses").is_some()
    };
    let jobs = root.get("jobs").map(Tree::entries).unwrap_or_default();
    if has("on") || jobs.iter().any(runs_on) {
        return Some(Dialect::Github);
    }
    if has("kind") {
        return Some(Dialect::Drone);
    }
    let commands = |node: &crate::node::Node| node.get("image").is_some();
    if let Some(steps) = root.get("steps").or_else(|| root.get("pipeline")) {
        let named = steps.entries().iter().any(|entry| commands(&entry.value));
        if named || steps.list().iter().any(|step| commands(step)) {
            return Some(Dialect::Woodpecker);
        }
    }
    let script_inside = |entry: &crate::node::Entry| entry.value.get("script").is_some();
    if has("stages") && !has("language") || root.entries().iter().any(script_inside) {
        return Some(Dialect::Gitlab);
    }
    (has("language") || has("script") || has("os") || has("dist")).then_some(Dialect::Travis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tell_the_dialect() {
        let of = |path| Dialect::of_path(path).map(Dialect::as_str);
        assert_eq!(of(".github/workflows/ci.yml"), Some("github"));
        assert_eq!(of("/a/b/.gitea/workflows/x.yaml"), Some("github"));
        assert_eq!(of(".woodpecker.yaml"), Some("woodpecker"));
        assert_eq!(of("x/.woodpecker/test.yml"), Some("woodpecker"));
        assert_eq!(of(".drone.yml"), Some("drone"));
        assert_eq!(of(".gitlab-ci.yml"), Some("gitlab"));
        assert_eq!(of("ci/rust.gitlab-ci.yml"), Some("gitlab"));
        assert_eq!(of(".travis.yml"), Some("travis"));
        assert_eq!(of("workflows/ci.yml"), None);
        assert_eq!(of(".travis.toml"), None);
    }

    #[test]
    fn contents_tell_it_where_the_path_does_not() {
        let spec = |text: &str| import("ci.yml", text.as_bytes());
        let title = |text: &str| {
            let spec = spec(text).unwrap().spec;
            spec.lines().next().unwrap_or_default().to_owned()
        };
        assert!(title("on: push\njobs: {a: {runs-on: x, steps: [{run: y}]}}").contains("GitHub"));
        assert!(title("kind: pipeline\nsteps: [{name: a, commands: [y]}]").contains("Drone"));
        assert!(title("steps: {a: {image: x, commands: [y]}}").contains("Woodpecker"));
        assert!(title("a: {script: [y]}").contains("GitLab"));
        assert!(title("language: c\nscript: make").contains("Travis"));
        assert!(matches!(
            spec("a: b"),
            Err(ImportError::UnknownDialect { .. })
        ));
    }

    #[test]
    fn what_can_not_be_read_says_where() {
        let error = import(".travis.yml", b"script:\n  - a\n - b: [\n").unwrap_err();
        assert!(error.to_string().starts_with(".travis.yml:3:"), "{error}");
        let error = import(".travis.yml", b"\xff\xfe").unwrap_err();
        assert!(matches!(error, ImportError::Unreadable { .. }));
    }
}
