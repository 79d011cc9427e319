//! The rules: each with its reasons, and with an example that breaks it and one that keeps it. The
//! examples are run by a test, and the page `docs/migrate-lint.md` is made from this table.

use std::fmt;

use super::Span;
use super::context::{Context, Hits};
use super::dialect::Dialect;

mod breaking;
mod correctness;
mod data;
mod hygiene;
mod indexes;
mod locks;
mod mysql;
mod narrowing;
mod rewrites;
mod sqlite;
mod style;
mod transactions;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; nothing fails for it.
    Note,
    /// Likely to hurt; fails only if asked (`--deny-warnings`).
    Warning,
    /// Will hurt or fail.
    Error,
}

impl Severity {
    /// In reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a rule protects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// The release that runs now. Reported in `expand` migrations only: in a `contract` migration
    /// nothing runs any more that could break.
    OldCode,
    /// Everybody who waits for a table.
    Locks,
    /// The migration itself, which would fail on a database with rows in it.
    Correctness,
    /// What is left behind when a migration stops halfway.
    Transactions,
    /// Rows.
    Data,
    /// Those who come later. Off unless asked for.
    Style,
    /// The linter's own directives.
    Hygiene,
}

impl Class {
    /// All, in the order of the page.
    pub const ALL: [Self; 7] = [
        Self::OldCode,
        Self::Locks,
        Self::Correctness,
        Self::Transactions,
        Self::Data,
        Self::Style,
        Self::Hygiene,
    ];

    /// The chapter's heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::OldCode => "What breaks the release that runs now",
            Self::Locks => "What blocks others",
            Self::Correctness => "What fails, or does something else than it seems",
            Self::Transactions => "What leaves things half done",
            Self::Data => "What is done to rows",
            Self::Style => "Matters of style (off unless switched on)",
            Self::Hygiene => "Directives, and what can't be read",
        }
    }
}

/// What a rule means for one database.
#[derive(Debug)]
pub struct Case {
    /// Which.
    pub dialect: Dialect,
    /// The server's version in the examples, if it matters.
    pub server: Option<&'static str>,
    /// What is locked, and for how long; for rules that aren't about locks: what happens.
    pub locks: &'static str,
    /// What to write instead.
    pub rewrite: &'static str,
    /// Migrations on [`setup`] that break this rule and no other.
    pub fails: &'static str,
    /// Migrations that break none.
    pub passes: &'static str,
}

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name in reports and directives.
    pub id: &'static str,
    /// What it finds, in a line.
    pub title: &'static str,
    /// How bad that is.
    pub severity: Severity,
    /// What it protects.
    pub class: Class,
    /// Whether it is on without being asked for.
    pub on: bool,
    /// Why.
    pub why: &'static str,
    /// Its names in other tools.
    pub elsewhere: &'static str,
    /// What `--fix` does about it, or why it can't do anything.
    pub fix: Fix,
    /// Each database that it is for.
    pub cases: &'static [Case],
    pub(crate) check: Check,
}

/// What `--fix` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fix {
    /// Writes the safe sequence; says it in words.
    Sequence(&'static str),
    /// Moves the statement into a contract migration.
    Contract,
    /// Nothing, and why.
    None(&'static str),
}

/// How a rule looks.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Check {
    /// At each statement.
    Statement(fn(&Context<'_>, &mut Hits)),
    /// It is found while reading.
    Reader,
}

impl Rule {
    /// What the rule means for a database, if it is for it.
    pub fn case(&self, dialect: Dialect) -> Option<&'static Case> {
        self.cases.iter().find(|case| case.dialect == dialect)
    }
}

/// All rules.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [
        breaking::RULES,
        narrowing::RULES,
        indexes::RULES,
        locks::RULES,
        rewrites::RULES,
        mysql::RULES,
        sqlite::RULES,
        correctness::RULES,
        transactions::RULES,
        data::RULES,
        style::RULES,
        hygiene::RULES,
    ]
    .into_iter()
    .flatten()
}

/// The rule of this name.
pub fn find(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

/// The migration that comes before those of the examples.
pub fn setup(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "CREATE TABLE accounts (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE users (
    id bigint PRIMARY KEY,
    email text NOT NULL,
    nick text,
    age integer NOT NULL DEFAULT 0,
    bio varchar(50),
    account_id bigint
);
CREATE INDEX users_account_id_idx ON users (account_id);
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE DOMAIN percent AS integer CHECK (VALUE BETWEEN 0 AND 100);
CREATE MATERIALIZED VIEW totals AS SELECT account_id, count(*) AS n FROM users GROUP BY account_id;
CREATE UNIQUE INDEX totals_account_id_idx ON totals (account_id);
CREATE VIEW nicks AS SELECT id, nick FROM users;
CREATE TABLE logs (id bigint NOT NULL, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE logs_old (id bigint NOT NULL, at timestamptz NOT NULL);
"
        }
        Dialect::Mysql => {
            "CREATE TABLE accounts (id bigint PRIMARY KEY, name varchar(100) NOT NULL);
CREATE TABLE users (
    id bigint PRIMARY KEY,
    email varchar(100) NOT NULL,
    nick varchar(50),
    age int NOT NULL DEFAULT 0,
    state enum('new', 'old') NOT NULL DEFAULT 'new',
    account_id bigint,
    UNIQUE KEY users_email_key (email),
    KEY users_account_id_idx (account_id)
);
CREATE VIEW nicks AS SELECT id, nick FROM users;
"
        }
        Dialect::Sqlite => {
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE users (
    id INTEGER PRIMARY KEY,
    email TEXT NOT NULL,
    nick TEXT,
    age INTEGER NOT NULL DEFAULT 0,
    account_id INTEGER REFERENCES accounts (id)
);
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE INDEX users_account_id_idx ON users (account_id);
CREATE VIEW emails AS SELECT id, email FROM users;
CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT);
"
        }
    }
}

/// The files of an example: parts that begin with `-- file: name`, or one file.
pub fn example(text: &str) -> Vec<(String, String)> {
    const MARK: &str = "-- file: ";
    if !text.starts_with(MARK) {
        return vec![("0002_change.sql".to_owned(), text.to_owned())];
    }
    let parts = text.split(MARK).skip(1);
    let file = |part: &str| {
        let (name, text) = part.split_once('\n').unwrap_or((part, ""));
        (name.trim().to_owned(), text.to_owned())
    };
    parts.map(file).collect()
}

/// From one place to another.
fn joined(from: Span, to: Span) -> Span {
    Span {
        start: from.start,
        end: to.end,
    }
}

pub(crate) use rewrites::is_volatile;

macro_rules! case {
    ($dialect:ident, locks: $locks:expr, rewrite: $rewrite:expr, fails: $fails:expr, passes: $passes:expr $(,)?) => {
        $crate::lint::rules::Case {
            dialect: $crate::lint::dialect::Dialect::$dialect,
            server: None,
            locks: $locks,
            rewrite: $rewrite,
            fails: $fails,
            passes: $passes,
        }
    };
    ($dialect:ident, server: $server:expr, locks: $locks:expr, rewrite: $rewrite:expr, fails: $fails:expr, passes: $passes:expr $(,)?) => {
        $crate::lint::rules::Case {
            dialect: $crate::lint::dialect::Dialect::$dialect,
            server: Some($server),
            locks: $locks,
            rewrite: $rewrite,
            fails: $fails,
            passes: $passes,
        }
    };
}
use case;

/// Keeps `joined` and `case` together with those who use them.
pub(crate) fn span_of(from: Span, to: Span) -> Span {
    joined(from, to)
}
