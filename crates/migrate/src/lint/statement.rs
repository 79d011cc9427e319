//! What statements say, as far as rules ask: one small tree for all dialects.

use super::Span;

/// A name as the database sees it (folded), and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// `users`, `app.users`; the default schemas `public` and `main` are left out.
    pub(crate) key: String,
    /// Whether a schema was written.
    pub(crate) qualified: bool,
    pub(crate) span: Span,
}

/// A column's type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Type {
    /// In its usual spelling, without arguments: `bigint`, `varchar`, `timestamptz`.
    pub(crate) base: String,
    pub(crate) args: Vec<u32>,
    /// Of an enumeration in MySQL.
    pub(crate) members: Vec<String>,
    pub(crate) array: bool,
    pub(crate) span: Span,
}

/// An expression, as far as anyone asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expr {
    pub(crate) span: Span,
    /// The functions that it calls, in small letters.
    pub(crate) calls: Vec<String>,
    /// One literal, or a signed one, perhaps with a cast.
    pub(crate) literal: bool,
    /// `NULL`.
    pub(crate) null: bool,
}

/// `REFERENCES`.
#[derive(Debug, Clone)]
pub(crate) struct Reference {
    pub(crate) table: Name,
    pub(crate) columns: Vec<Name>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generated {
    Stored,
    Virtual,
}

/// A column as `CREATE TABLE` and `ADD COLUMN` define it.
#[derive(Debug, Clone)]
pub(crate) struct ColumnDef {
    pub(crate) name: Name,
    pub(crate) ty: Type,
    pub(crate) not_null: Option<Span>,
    pub(crate) default: Option<Expr>,
    pub(crate) primary_key: Option<Span>,
    pub(crate) unique: Option<Span>,
    pub(crate) references: Option<(Reference, Span)>,
    pub(crate) check: Option<(Expr, Span)>,
    pub(crate) generated: Option<(Generated, Span)>,
    pub(crate) identity: Option<Span>,
    pub(crate) charset: Option<Span>,
    /// Names of its constraints, by the places of these.
    pub(crate) named: Vec<(Span, String)>,
    /// From the name to the last word.
    pub(crate) span: Span,
}

/// What a table constraint says.
#[derive(Debug, Clone)]
pub(crate) enum ConstraintKind {
    PrimaryKey {
        columns: Vec<Name>,
        index: Option<Name>,
    },
    Unique {
        columns: Vec<Name>,
        index: Option<Name>,
    },
    ForeignKey {
        columns: Vec<Name>,
        reference: Reference,
    },
    /// With the columns that it proves not to be null.
    Check {
        not_null: Vec<String>,
    },
    NotNull {
        column: Name,
    },
    Exclude,
}

#[derive(Debug, Clone)]
pub(crate) struct Constraint {
    pub(crate) name: Option<Name>,
    pub(crate) kind: ConstraintKind,
    pub(crate) not_valid: bool,
    pub(crate) not_enforced: bool,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) struct IndexDef {
    pub(crate) name: Option<Name>,
    /// Names; an expression is an empty name.
    pub(crate) columns: Vec<Name>,
    pub(crate) unique: bool,
    /// FULLTEXT or SPATIAL.
    pub(crate) special: Option<Span>,
    pub(crate) partial: bool,
}

/// One clause of `ALTER TABLE`.
#[derive(Debug, Clone)]
pub(crate) struct Action {
    pub(crate) kind: ActionKind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone)]
pub(crate) enum ActionKind {
    AddColumn(Box<ColumnDef>),
    DropColumn(Name),
    AddConstraint(Box<Constraint>),
    DropConstraint(Name),
    DropPrimaryKey,
    DropForeignKey(Name),
    AddIndex(IndexDef),
    DropIndex(Name),
    RenameIndex(Name, Name),
    RenameColumn(Name, Name),
    RenameConstraint(Name, Name),
    RenameTo(Name),
    SetSchema(Name),
    SetNotNull(Name),
    DropNotNull(Name),
    SetDefault(Name, Expr),
    DropDefault(Name),
    SetType {
        column: Name,
        ty: Type,
    },
    AddIdentity(Name),
    /// `MODIFY`, `CHANGE` of MySQL: the column as it shall be, and its old name.
    Redefine {
        old: Name,
        new: Box<ColumnDef>,
    },
    Validate(Name),
    AttachPartition(Name),
    DetachPartition {
        child: Name,
        concurrently: bool,
    },
    /// `SET LOGGED`, `SET TABLESPACE`, ...: the table is written anew.
    Move,
    RowSecurity,
    DisableTrigger,
    Algorithm(String),
    Lock(String),
    /// MySQL: `ENGINE=`, `ROW_FORMAT=`, `CONVERT TO`, `FORCE`, `ORDER BY`, partitions.
    Rebuild,
    /// Known, and of no danger.
    Cheap,
    Unknown,
}

/// What kind of thing `DROP` and `ALTER ... RENAME` speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    Table,
    View,
    MaterializedView,
    Index,
    Sequence,
    Type,
    Domain,
    Routine,
    Trigger,
    Schema,
    Database,
    Other,
}

impl ObjectKind {
    /// In a sentence.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Index => "index",
            Self::Sequence => "sequence",
            Self::Type => "type",
            Self::Domain => "domain",
            Self::Routine => "routine",
            Self::Trigger => "trigger",
            Self::Schema => "schema",
            Self::Database => "database",
            Self::Other => "object",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct CreateTable {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) temporary: bool,
    pub(crate) columns: Vec<ColumnDef>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) indexes: Vec<IndexDef>,
    /// Its columns come from elsewhere (`AS`, `LIKE`, `INHERITS`, `PARTITION OF`).
    pub(crate) open: bool,
    pub(crate) partition_of: Option<Name>,
}

#[derive(Debug, Clone)]
pub(crate) struct CreateIndex {
    pub(crate) table: Name,
    pub(crate) def: IndexDef,
    pub(crate) concurrently: bool,
    pub(crate) if_not_exists: Option<Span>,
    /// Where `CONCURRENTLY` goes: behind `INDEX`.
    pub(crate) after_index: usize,
    pub(crate) algorithm: Option<String>,
    pub(crate) lock: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    Begin,
    Commit,
    Rollback,
    Savepoint,
}

/// UPDATE and DELETE.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) delete: bool,
    pub(crate) table: Name,
    /// Columns that are assigned.
    pub(crate) assigned: Vec<Name>,
    pub(crate) filtered: bool,
    /// Columns compared in the condition with `=`, `IN`, `<`, `>`, `BETWEEN`.
    pub(crate) keys: Vec<String>,
    pub(crate) limited: bool,
}

/// A statement.
#[derive(Debug, Clone)]
pub(crate) enum Stmt {
    CreateTable(Box<CreateTable>),
    AlterTable {
        table: Name,
        actions: Vec<Action>,
    },
    RenameTables(Vec<(Name, Name)>),
    CreateIndex(Box<CreateIndex>),
    Drop {
        kind: ObjectKind,
        names: Vec<Name>,
        if_exists: bool,
        concurrently: bool,
        /// Of an index or trigger in MySQL, of a trigger in PostgreSQL.
        on: Option<Name>,
        after_kind: usize,
    },
    /// Views, routines, triggers, sequences, schemas, ...
    Create {
        kind: ObjectKind,
        name: Name,
        replace: bool,
        on: Option<Name>,
    },
    Rename {
        kind: ObjectKind,
        from: Name,
        to: Name,
    },
    CreateEnum {
        name: Name,
        labels: Vec<String>,
    },
    AddEnumValue {
        name: Name,
        value: String,
        placed: bool,
    },
    RenameEnumValue {
        name: Name,
    },
    CreateDomain {
        name: Name,
        constrained: bool,
    },
    AlterDomainConstraint {
        name: Name,
        not_valid: bool,
    },
    Truncate {
        tables: Vec<Name>,
    },
    Change(Change),
    Insert {
        table: Name,
        tolerant: bool,
        from_select: bool,
    },
    Set {
        name: String,
        value: String,
        local: bool,
        scope: Span,
    },
    Transaction(Transaction),
    Vacuum {
        full: bool,
    },
    Cluster,
    Reindex {
        concurrently: bool,
        after: usize,
    },
    Refresh {
        view: Name,
        concurrently: bool,
        after: usize,
    },
    /// `OPTIMIZE TABLE`.
    Optimize(Name),
    Grant,
    Revoke,
    Pragma {
        name: String,
        value: String,
    },
    /// CREATE DATABASE, ALTER SYSTEM, ...: never inside a transaction.
    Outside,
    /// What it does is hidden: DO, CALL, EXECUTE, psql's commands.
    Opaque,
    /// Understood as harmless to schema and locks: SELECT, COMMENT, ANALYZE, ...
    Harmless,
    /// Not understood.
    Unknown,
}
