//! `windlass migrate lint`: what is dangerous in a history of migrations, before a database sees it.
//!
//! - `dialect`, `token`, `script`: text to statements and directives, for three databases;
//! - `parse`, `statement`: statements to a small tree, by a reader of our own that gives up on
//!   nothing; `syntax`: the dialect's own grammar, for what isn't SQL at all;
//! - `schema`: what the history has made so far; `types`: what a change of type means;
//! - `rules`: the rules, each with reasons and examples; `context`: what they see;
//! - `engine`: file by file, with suppressions;
//! - `fix`: the safe sequence as files; `show`: text, JSON, SARIF, annotations; `page`: the manual.
//!
//! Pure: names and texts in, findings out.

mod context;
mod dialect;
mod engine;
mod fix;
mod page;
mod parse;
pub mod rules;
mod schema;
mod script;
pub mod show;
mod statement;
mod syntax;
mod token;
mod types;

pub use dialect::{BadVersion, Dialect, ServerVersion, UnknownDialect};
pub use fix::{Fixed, Fixes, NewFile, Unfixed, fix};
pub use page::{explain, page};
pub use rules::{Case, Class, Fix, Rule, Severity};

/// A part of a text, in bytes. Both ends are borders of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// The byte behind the last one.
    pub end: usize,
}

/// A migration as the linter takes it.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The file's name, for reports and `--since`.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// What to lint, and for which server.
#[derive(Debug, Clone)]
pub struct Options {
    /// The database.
    pub dialect: Dialect,
    /// The server's version; without it rules assume a current one.
    pub server_version: Option<ServerVersion>,
    /// Report only files behind this one; it and those before it are applied.
    pub since: Option<String>,
    /// Report only these files.
    pub only: Vec<String>,
    /// Rules that are on although they are off by default.
    pub enable: Vec<String>,
    /// Rules that are off.
    pub disable: Vec<String>,
}

impl Options {
    /// The default rules on every file.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            server_version: None,
            since: None,
            only: Vec::new(),
            enable: Vec::new(),
            disable: Vec::new(),
        }
    }

    /// The server's version. MySQL has none above 9, so what is higher is MariaDB.
    fn server(&self) -> Option<ServerVersion> {
        let version = self.server_version?;
        let mariadb = version.mariadb || (self.dialect == Dialect::Mysql && version.numbers[0] > 9);
        Some(ServerVersion { mariadb, ..version })
    }

    /// The first file that isn't applied, if that was said: old code doesn't know what it and those
    /// behind it make.
    fn first_new(&self, files: &[Source<'_>]) -> Option<usize> {
        if let Some(since) = &self.since {
            let last = files.iter().rposition(|f| f.name == since);
            return last.map(|last| last + 1);
        }
        if self.only.is_empty() {
            return None;
        }
        files
            .iter()
            .position(|f| self.only.iter().any(|name| name == f.name))
    }

    fn is_asked(&self, index: usize, name: &str, first_new: Option<usize>) -> bool {
        let new = self.since.is_none() || first_new.is_some_and(|first| index >= first);
        new && (self.only.is_empty() || self.only.iter().any(|only| only == name))
    }
}

/// Something that a rule found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// How bad it is.
    pub severity: Severity,
    /// The file, by its place in the list.
    pub file: usize,
    /// The place in the file.
    pub span: Span,
    /// What is wrong, in a sentence.
    pub message: String,
    /// A few words for the place; may be empty.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    /// The statement, by its place in the file.
    pub(crate) statement: Option<usize>,
    pub(crate) pending: Option<usize>,
}

/// A finding that the file allows.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// The finding.
    pub finding: Finding,
    /// Why it is allowed.
    pub reason: String,
    /// The line of the directive, from 1.
    pub line: usize,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Report {
    /// The database.
    pub dialect: Dialect,
    /// What rules found, by file and place.
    pub findings: Vec<Finding>,
    /// What they found and the files allow.
    pub allowed: Vec<Allowed>,
    /// How many files were reported on.
    pub files: usize,
    /// How many statements they have.
    pub statements: usize,
    /// Tables, columns and indexes at the end of the history.
    pub schema: (usize, usize, usize),
}

impl Default for Report {
    fn default() -> Self {
        Self {
            dialect: Dialect::Postgres,
            findings: Vec::new(),
            allowed: Vec::new(),
            files: 0,
            statements: 0,
            schema: (0, 0, 0),
        }
    }
}

impl Report {
    /// How many findings are this bad.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|f| f.severity == severity)
            .count()
    }
}

/// Lints a history: all files, in the order in which they are applied. Files that are not asked for
/// only build the schema.
pub fn lint(files: &[Source<'_>], options: &Options) -> Report {
    // The parsers of others call themselves for each level of nesting, of which `syntax` allows some
    // hundreds: more than the stack of any thread is sure to have room for.
    std::thread::scope(|scope| {
        let work = || engine::lint(files, options);
        let thread = std::thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => match thread.join() {
                Ok(report) => report,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            Err(_) => engine::lint(files, options),
        }
    })
}

/// Bytes of address space for the parsers' stack.
const STACK: usize = 64 << 20;
