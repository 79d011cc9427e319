//! What a rule sees, and what it says.

use super::Span;
use super::dialect::{Dialect, ServerVersion};
use super::schema::{Column, Schema, Table};
use super::script::{Raw, Script};
use super::statement::{Action, ActionKind, Name, Stmt};

/// When a migration runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// While the old release runs: it must only add.
    #[default]
    Expand,
    /// When the old release is gone.
    Contract,
}

/// A strong lock that the file's transaction holds.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) table: String,
    pub(crate) span: Span,
}

/// One statement in its file, its history and its schema.
pub(crate) struct Context<'a> {
    pub(crate) dialect: Dialect,
    pub(crate) version: Option<ServerVersion>,
    pub(crate) text: &'a str,
    pub(crate) file: usize,
    /// The first file that isn't known to be applied, if that was said.
    pub(crate) first_new: Option<usize>,
    pub(crate) phase: Phase,
    pub(crate) script: &'a Script,
    pub(crate) statements: &'a [Stmt],
    pub(crate) index: usize,
    /// As it is before the statement.
    pub(crate) schema: &'a Schema,
    /// Locks that earlier statements of the same transaction took.
    pub(crate) held: &'a [Held],
}

impl<'a> Context<'a> {
    pub(crate) fn statement(&self) -> &'a Stmt {
        &self.statements[self.index]
    }

    pub(crate) fn raw(&self) -> &'a Raw {
        &self.script.statements[self.index]
    }

    pub(crate) fn span(&self) -> Span {
        self.raw().span
    }

    pub(crate) fn pg(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    pub(crate) fn mysql(&self) -> bool {
        self.dialect == Dialect::Mysql
    }

    pub(crate) fn expand(&self) -> bool {
        self.phase == Phase::Expand
    }

    /// Whether the statements run in one transaction.
    pub(crate) fn in_transaction(&self) -> bool {
        !self.script.no_transaction && self.dialect.has_transactional_ddl()
    }

    /// Whether the server may be older than this. Without a version: no.
    pub(crate) fn older(&self, numbers: [u32; 3]) -> bool {
        self.version.is_some_and(|v| !v.at_least(numbers))
    }

    pub(crate) fn mariadb(&self) -> bool {
        self.version.is_some_and(|v| v.mariadb)
    }

    pub(crate) fn table(&self, name: &Name) -> Option<&'a Table> {
        self.schema.table(name)
    }

    pub(crate) fn column(&self, table: &Name, column: &Name) -> Option<&'a Column> {
        self.table(table)?.column(&column.key)
    }

    /// Whether the table came with this file: nobody reads it, and it has few rows. A table that
    /// the history doesn't know is taken for an old one.
    pub(crate) fn fresh(&self, name: &Name) -> bool {
        self.table(name)
            .is_some_and(|t| t.file == self.file || t.temporary)
    }

    /// Whether the release that runs now can't know it: it came with this file, or with one that
    /// isn't applied yet.
    fn unknown_to_old_code(&self, file: usize) -> bool {
        file == self.file || self.first_new.is_some_and(|first| file >= first)
    }

    pub(crate) fn new_table(&self, name: &Name) -> bool {
        self.table(name)
            .is_some_and(|t| self.unknown_to_old_code(t.file) || t.temporary)
    }

    /// A new table, or a new column of an old one. A column that the schema doesn't have yet comes
    /// with this very statement.
    pub(crate) fn new_column(&self, table: &Name, column: &str) -> bool {
        if self.new_table(table) {
            return true;
        }
        let added_here = match self.statement() {
            Stmt::AlterTable { actions, .. } => actions
                .iter()
                .any(|a| matches!(&a.kind, ActionKind::AddColumn(c) if c.name.key == column)),
            _ => false,
        };
        let known = self.table(table).and_then(|t| t.column(column));
        added_here || known.is_some_and(|c| self.unknown_to_old_code(c.file))
    }

    /// The clauses of an ALTER TABLE on a table that was there before this file.
    pub(crate) fn alter(&self) -> Option<(&'a Name, &'a [Action])> {
        match self.statement() {
            Stmt::AlterTable { table, actions } if !self.fresh(table) => Some((table, actions)),
            _ => None,
        }
    }

    pub(crate) fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    /// The statements of the file behind this one.
    pub(crate) fn later(&self) -> &'a [Stmt] {
        &self.statements[self.index + 1..]
    }
}

/// Something that a rule found.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) help: Option<String>,
    /// Forgotten if an index on these columns comes later in the history.
    pub(crate) unless_indexed: Option<(String, Vec<String>)>,
}

/// All that a rule found at a statement.
#[derive(Debug, Default)]
pub(crate) struct Hits(pub(crate) Vec<Hit>);

impl Hits {
    /// A place, what is wrong there, and a word or two under the place.
    pub(crate) fn at(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> &mut Hit {
        self.0.push(Hit {
            span,
            message: message.into(),
            label: label.into(),
            help: None,
            unless_indexed: None,
        });
        let last = self.0.len() - 1;
        &mut self.0[last]
    }
}

impl Hit {
    /// What to do, where that is more than the rule says.
    pub(crate) fn help(&mut self, help: impl Into<String>) {
        self.help = Some(help.into());
    }
}
