//! The schema of a database as SQL text that builds the same schema again, without any client
//! program of the database.
//!
//! The text is canonical: objects stand in an order that follows from their dependencies and names
//! alone, names are qualified and quoted by the database itself, and what belongs to a place and not
//! to a schema (owners, grants, tablespaces, counters) is left out. So two databases with the same
//! schema give the same bytes, and a dump loaded into an empty database and dumped again is the same
//! dump.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | the order | `order` |
//! | what each kind of database says about itself | `postgres`, `mysql`, `sqlite` |
//! | rows | `rows` |
//! | running a dump | [`load`], [`copy`] |

mod canonical;
mod load;
mod mysql;
mod order;
mod postgres;
mod rows;
mod sqlite;

use std::collections::BTreeMap;
use std::io::Write;

pub use load::load;

use load::Target;
use rows::Sink;

use crate::database::Database;
use crate::error::Error;
use crate::sql::Dialect;

/// What to dump.
#[derive(Debug, Clone)]
pub struct Options {
    /// The history table, as [`crate::run::Options::table`] has it: it and its companions are left
    /// out.
    pub table: String,
    /// Rows, too.
    pub rows: bool,
    /// Our own tables, too: the history, the lock, the journal.
    pub ours: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            table: crate::run::Options::default().table,
            rows: false,
            ours: false,
        }
    }
}

/// What an object is. The order is the one in which they are created where dependencies leave a
/// choice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A schema of PostgreSQL.
    Schema,
    /// An extension of PostgreSQL.
    Extension,
    /// A collation of PostgreSQL.
    Collation,
    /// An enum, domain, range or composite type.
    Type,
    /// A function.
    Function,
    /// A procedure.
    Procedure,
    /// An aggregate.
    Aggregate,
    /// A sequence.
    Sequence,
    /// A table, also a partitioned one, and a partition.
    Table,
    /// A piece of a table that has to wait for something else: a default, a check.
    Addition,
    /// A view.
    View,
    /// A materialized view.
    MaterializedView,
    /// A primary key, a unique or an exclusion constraint.
    Constraint,
    /// An index.
    Index,
    /// Extended statistics.
    Statistics,
    /// What makes of two tables or indexes a whole and its part.
    Attachment,
    /// A rule of PostgreSQL.
    Rule,
    /// A trigger.
    Trigger,
    /// A policy of row-level security.
    Policy,
    /// A foreign key.
    ForeignKey,
    /// An event trigger of PostgreSQL.
    EventTrigger,
    /// An event of MySQL.
    Event,
}

impl Kind {
    /// Its name for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Extension => "extension",
            Self::Collation => "collation",
            Self::Type => "type",
            Self::Function => "function",
            Self::Procedure => "procedure",
            Self::Aggregate => "aggregate",
            Self::Sequence => "sequence",
            Self::Table => "table",
            Self::Addition => "addition",
            Self::View => "view",
            Self::MaterializedView => "materialized view",
            Self::Constraint => "constraint",
            Self::Index => "index",
            Self::Statistics => "statistics",
            Self::Attachment => "attachment",
            Self::Rule => "rule",
            Self::Trigger => "trigger",
            Self::Policy => "policy",
            Self::ForeignKey => "foreign key",
            Self::EventTrigger => "event trigger",
            Self::Event => "event",
        }
    }

    /// Whether it comes after the rows: it would slow them down, refuse them, or react to them.
    fn is_late(self) -> bool {
        self > Self::MaterializedView
    }
}

/// One fact about an object, to compare it by.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Which: `column email`, `definition`, `comment`.
    pub what: String,
    /// The fact, as SQL.
    pub is: String,
}

/// One object of a schema.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its name as SQL, qualified.
    pub name: String,
    /// What builds it, in order, each without `;`.
    pub statements: Vec<String>,
    /// What to compare it by. None: it belongs to another object, which has the facts.
    pub parts: Vec<Part>,
    /// Whether it comes after the rows.
    pub late: bool,
}

impl Object {
    fn new(kind: Kind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            statements: Vec::new(),
            parts: Vec::new(),
            late: kind.is_late(),
        }
    }

    /// Adds a statement.
    fn run(&mut self, sql: impl Into<String>) {
        self.statements.push(sql.into());
    }

    /// Adds a fact.
    fn part(&mut self, what: impl Into<String>, is: impl Into<String>) {
        self.parts.push(Part {
            what: what.into(),
            is: is.into(),
        });
    }

    /// An object with one statement, which is also the one fact.
    fn whole(kind: Kind, name: impl Into<String>, sql: impl Into<String>) -> Self {
        let mut object = Self::new(kind, name);
        let sql = sql.into();
        object.part("definition", sql.clone());
        object.run(sql);
        object
    }
}

/// A schema: its objects, in an order in which they can be built.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Schema {
    /// Whose SQL.
    pub dialect: Dialect,
    /// Its objects.
    pub objects: Vec<Object>,
    /// What is there and is not in `objects`, in words.
    pub left_out: Vec<String>,
}

/// Reads the schema, in one snapshot.
///
/// # Errors
/// When the database can't be read; [`Error::Refused`] if its objects depend on each other in a
/// circle that no order of statements can build.
pub async fn schema(database: &Database, options: &Options) -> Result<Schema, Error> {
    match database.dialect() {
        Dialect::Postgres => {
            let mut reader = postgres::Reader::open(database, options).await?;
            reader.schema().await
        }
        Dialect::Mysql => {
            let mut reader = mysql::Reader::open(database, options).await?;
            reader.schema().await
        }
        Dialect::Sqlite => {
            let mut reader = sqlite::Reader::open(database, options).await?;
            reader.schema().await
        }
    }
}

/// How many rows each table has, by its name as SQL.
///
/// # Errors
/// When the database can't be read.
pub async fn row_counts(
    database: &Database,
    options: &Options,
) -> Result<BTreeMap<String, u64>, Error> {
    macro_rules! count {
        ($reader:expr) => {{
            let mut reader = $reader;
            let schema = reader.schema().await?;
            let mut out = BTreeMap::new();
            for table in schema.objects.iter().filter(|o| o.kind == Kind::Table) {
                let sql = format!("select count(*) from {}", table.name);
                let count = reader.count(&sql).await?;
                out.insert(table.name.clone(), count);
            }
            Ok(out)
        }};
    }
    match database.dialect() {
        Dialect::Postgres => count!(postgres::Reader::open(database, options).await?),
        Dialect::Mysql => count!(mysql::Reader::open(database, options).await?),
        Dialect::Sqlite => count!(sqlite::Reader::open(database, options).await?),
    }
}

fn first_number(rows: &crate::database::Texts) -> u64 {
    let first = rows.first().and_then(|row| row.first().cloned().flatten());
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Writes the dump: the schema, and the rows if asked for, in one snapshot and in constant memory.
/// Tells what it left out.
///
/// # Errors
/// As [`schema`]; [`Error::Output`] if the text can't be written.
pub async fn dump(
    database: &Database,
    options: &Options,
    out: &mut (dyn Write + Send),
) -> Result<Vec<String>, Error> {
    let left_out = pour(database, options, &mut Sink::Text(&mut *out)).await?;
    out.flush().map_err(Error::Output)?;
    Ok(left_out)
}

/// Copies the schema, and the rows if asked for, into an empty database of the same kind, as it is in
/// one moment, in constant memory. Tells what it left out.
///
/// # Errors
/// As [`schema`], and what the other database says; it may be left half filled then.
pub async fn copy(from: &Database, to: &Database, options: &Options) -> Result<Vec<String>, Error> {
    if from.dialect() != to.dialect() {
        return Err(Error::Refused(
            "a database can only be copied into one of the same kind".to_owned(),
        ));
    }
    let mut target = Target::open(to).await?;
    let left_out = pour(from, options, &mut Sink::Target(&mut target)).await?;
    target.finish().await?;
    Ok(left_out)
}

async fn pour(
    database: &Database,
    options: &Options,
    sink: &mut Sink<'_>,
) -> Result<Vec<String>, Error> {
    macro_rules! pour {
        ($reader:ident, $schema:ident, $before:expr) => {{
            let $schema = $reader.schema().await?;
            if options.rows {
                $before;
            }
            $schema.early(sink, options.rows).await?;
            if options.rows {
                $reader.rows(sink).await?;
            }
            $schema.late(sink).await?;
            if options.rows {
                for sql in $reader.last_statements().await? {
                    sink.statement(&sql).await?;
                }
            }
            Ok($schema.left_out)
        }};
    }
    match database.dialect() {
        Dialect::Postgres => {
            let mut reader = postgres::Reader::open(database, options).await?;
            pour!(reader, schema, reader.lock_tables(&schema).await?)
        }
        Dialect::Mysql => {
            let mut reader = mysql::Reader::open(database, options).await?;
            pour!(reader, schema, {})
        }
        Dialect::Sqlite => {
            let mut reader = sqlite::Reader::open(database, options).await?;
            pour!(reader, schema, {})
        }
    }
}

impl Schema {
    fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            objects: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// The whole text, without rows.
    pub fn to_sql(&self) -> String {
        let mut out = String::new();
        for setting in self.head(false) {
            out.push_str(&setting);
        }
        for object in self.objects.iter().filter(|o| !o.statements.is_empty()) {
            out.push_str(&self.text(object));
        }
        for setting in self.foot() {
            out.push_str(&format!("{setting};\n"));
        }
        out
    }

    /// SHA-256 (hex) of [`Schema::to_sql`].
    pub fn hash(&self) -> String {
        use sha2::{Digest as _, Sha256};
        hex::encode(Sha256::digest(self.to_sql().as_bytes()))
    }

    /// The object of this kind and name.
    pub fn find(&self, kind: Kind, name: &str) -> Option<&Object> {
        self.objects
            .iter()
            .find(|o| o.kind == kind && o.name == name)
    }

    /// The text before the first object, in lines.
    fn head(&self, rows: bool) -> Vec<String> {
        let name = match self.dialect {
            Dialect::Postgres => "PostgreSQL",
            Dialect::Mysql => "MySQL or MariaDB",
            Dialect::Sqlite => "SQLite",
        };
        let mut out = vec![format!(
            "-- A schema of {name}, as `windlass migrate dump` writes it.\n\n"
        )];
        let settings = settings(self.dialect, rows);
        out.extend(settings.iter().map(|setting| format!("{setting};\n")));
        out
    }

    /// What a dump ends with.
    fn foot(&self) -> &[&str] {
        match self.dialect {
            Dialect::Mysql => &["SET foreign_key_checks = 1", "SET unique_checks = 1"],
            _ => &[],
        }
    }

    /// An object's part of the text.
    fn text(&self, object: &Object) -> String {
        // A name may hold a line's end.
        let name = object.name.replace(['\n', '\r'], " ");
        let mut out = format!("\n-- {} {name}\n", object.kind.word());
        let compound = self.dialect == Dialect::Mysql
            && matches!(
                object.kind,
                Kind::Function | Kind::Procedure | Kind::Trigger | Kind::Event
            );
        for statement in &object.statements {
            let end = if canonical::ends_in_comment(statement, self.dialect) {
                "\n"
            } else {
                ""
            };
            if compound && statement.contains(';') {
                // For the database's own client; ours needs no delimiter.
                out.push_str(&format!("DELIMITER ;;\n{statement}{end};;\nDELIMITER ;\n"));
            } else {
                out.push_str(&format!("{statement}{end};\n"));
            }
        }
        out
    }

    /// Everything up to the rows.
    async fn early(&self, sink: &mut Sink<'_>, rows: bool) -> Result<(), Error> {
        match sink {
            Sink::Text(out) => {
                for line in self.head(rows) {
                    out.write_all(line.as_bytes()).map_err(Error::Output)?;
                }
            }
            Sink::Target(target) => {
                for setting in settings(self.dialect, rows) {
                    target.run(setting).await?;
                }
            }
        }
        self.put(sink, false).await
    }

    /// Everything after the rows.
    async fn late(&self, sink: &mut Sink<'_>) -> Result<(), Error> {
        self.put(sink, true).await?;
        for sql in self.foot() {
            sink.statement(sql).await?;
        }
        Ok(())
    }

    async fn put(&self, sink: &mut Sink<'_>, late: bool) -> Result<(), Error> {
        for object in self.objects.iter().filter(|o| o.late == late) {
            if object.statements.is_empty() {
                continue;
            }
            match sink {
                Sink::Text(out) => out
                    .write_all(self.text(object).as_bytes())
                    .map_err(Error::Output)?,
                Sink::Target(target) => {
                    for statement in &object.statements {
                        target.run(statement).await?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// What a dump begins with.
fn settings(dialect: Dialect, rows: bool) -> &'static [&'static str] {
    match dialect {
        Dialect::Postgres => &[
            "SET client_encoding = 'UTF8'",
            "SET standard_conforming_strings = on",
            // Bodies may name what comes later.
            "SET check_function_bodies = false",
        ],
        Dialect::Mysql => &[
            "SET NAMES utf8mb4",
            "SET time_zone = '+00:00'",
            "SET foreign_key_checks = 0",
            "SET unique_checks = 0",
            "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'",
        ],
        Dialect::Sqlite if rows => &["PRAGMA foreign_keys = OFF"],
        Dialect::Sqlite => &[],
    }
}
