//! SQLite's schema, as `sqlite_schema` keeps it: the text of each object's own statement.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnectOptions;
use std::str::FromStr as _;

use super::rows::{Inserts, Sink};
use super::{Kind, Object, Options, Schema, canonical, order};
use crate::database::sqlite::Sqlite;
use crate::database::{Conn as _, Database, Session as _, Texts, literal};
use crate::error::Error;
use crate::sql::Dialect;

/// A session that reads, in one snapshot.
pub(super) struct Reader {
    session: Sqlite,
    own: Vec<String>,
    rows: bool,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(row: &[Option<String>], i: usize) -> &str {
    row.get(i).and_then(|v| v.as_deref()).unwrap_or("")
}

impl Reader {
    pub(super) async fn open(database: &Database, options: &Options) -> Result<Self, Error> {
        let failed = Error::database("open the database");
        let file = SqliteConnectOptions::from_str(database.url()).map_err(failed)?;
        let name = file.get_filename();
        let is_uri = name.to_string_lossy().starts_with("file:");
        if !is_uri && !name.exists() {
            return Err(Error::Refused(format!(
                "there is no file {}",
                name.display()
            )));
        }
        let mut session = Sqlite::connect(database, &options.table, is_uri)
            .await
            .map_err(Error::database("open the database"))?;
        session
            .conn()
            .execute("begin")
            .await
            .map_err(Error::database("begin a snapshot"))?;
        let own = if options.ours {
            Vec::new()
        } else {
            session.tables().bare_names().to_vec()
        };
        Ok(Self {
            session,
            own,
            rows: options.rows,
        })
    }

    async fn ask(&mut self, what: &str, sql: &str) -> Result<Texts, Error> {
        let rows = self.session.conn().texts(sql).await;
        rows.map_err(Error::database(format_args!("read {what}")))
    }

    fn is_own(&self, table: &str) -> bool {
        self.own.iter().any(|own| own.eq_ignore_ascii_case(table))
    }

    /// Tables that a virtual table keeps for itself.
    async fn shadows(&mut self) -> Result<BTreeSet<String>, Error> {
        let rows = self
            .ask(
                "the list of tables",
                "select name from pragma_table_list where schema = 'main' and type = 'shadow'",
            )
            .await?;
        Ok(rows.iter().map(|row| text(row, 0).to_owned()).collect())
    }

    pub(super) async fn count(&mut self, sql: &str) -> Result<u64, Error> {
        Ok(super::first_number(&self.ask("rows", sql).await?))
    }

    pub(super) async fn schema(&mut self) -> Result<Schema, Error> {
        let shadows = self.shadows().await?;
        let rows = self
            .ask(
                "the schema",
                "select type, name, tbl_name, sql from sqlite_schema where sql is not null \
                 and name not like 'sqlite~_%' escape '~'",
            )
            .await?;
        let mut schema = Schema::new(Dialect::Sqlite);
        for row in &rows {
            let (kind, raw, table, sql) = (
                text(row, 0),
                text(row, 1),
                text(row, 2),
                text(row, 3).trim_end(),
            );
            if shadows.contains(table) || self.is_own(table) {
                continue;
            }
            let name = quoted(raw);
            schema.objects.push(match kind {
                "table" => {
                    if self.rows && is_virtual(sql) {
                        let note = format!("rows of the virtual table {name}");
                        schema.left_out.push(note);
                    }
                    create_table(&name, sql)
                }
                other => {
                    let kind = match other {
                        "index" => Kind::Index,
                        "view" => Kind::View,
                        _ => Kind::Trigger,
                    };
                    let name = if kind == Kind::View {
                        name
                    } else {
                        format!("{name} on {}", quoted(table))
                    };
                    let mut object = Object::new(kind, name);
                    object.part("definition", canonical::sqlite(sql));
                    object.run(sql);
                    object
                }
            });
        }
        let order = order::sort(&mut schema.objects, &BTreeSet::new()).unwrap_or_default();
        let mut objects: Vec<_> = schema.objects.into_iter().map(Some).collect();
        schema.objects = order.iter().filter_map(|&i| objects[i].take()).collect();
        Ok(schema)
    }

    pub(super) async fn rows(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let shadows = self.shadows().await?;
        let tables = self
            .ask(
                "the list of tables",
                "select name, sql from sqlite_schema where type = 'table' \
                 and name not like 'sqlite~_%' escape '~' order by name",
            )
            .await?;
        for row in &tables {
            let raw = text(row, 0);
            if shadows.contains(raw) || self.is_own(raw) || is_virtual(text(row, 1)) {
                continue;
            }
            let sql = format!(
                "select name from pragma_table_xinfo({}) where hidden = 0 order by cid",
                literal(raw, Dialect::Sqlite)
            );
            let columns: Vec<String> = self
                .ask("a table's columns", &sql)
                .await?
                .iter()
                .map(|column| quoted(text(column, 0)))
                .collect();
            // `quote` ends a text at its first NUL.
            let values: Vec<String> = columns
                .iter()
                .map(|c| {
                    format!(
                        "case when typeof({c}) = 'text' and instr({c}, char(0)) > 0 \
                         then 'CAST(X''' || hex({c}) || ''' AS TEXT)' else quote({c}) end"
                    )
                })
                .collect();
            let name = quoted(raw);
            let sql = format!("select {} from {name}", values.join(", "));
            let head = format!("INSERT INTO {name} ({}) VALUES", columns.join(", "));
            let mut inserts = Inserts::new(&name, head);
            inserts.sqlite(self.session.conn(), &sql, sink).await?;
        }
        Ok(())
    }

    /// Counters of `AUTOINCREMENT`.
    pub(super) async fn last_statements(&mut self) -> Result<Vec<String>, Error> {
        let there = self
            .ask(
                "counters",
                "select 1 from sqlite_schema where name = 'sqlite_sequence'",
            )
            .await?;
        if there.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self
            .ask(
                "counters",
                "select name, seq from sqlite_sequence order by name",
            )
            .await?;
        let mut out = vec!["DELETE FROM sqlite_sequence".to_owned()];
        for row in rows.iter().filter(|row| !self.is_own(text(row, 0))) {
            out.push(format!(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ({}, {})",
                literal(text(row, 0), Dialect::Sqlite),
                text(row, 1)
            ));
        }
        Ok(out)
    }
}

fn is_virtual(sql: &str) -> bool {
    canonical::sqlite(sql).starts_with("create virtual table")
}

fn create_table(name: &str, sql: &str) -> Object {
    let mut object = Object::new(Kind::Table, name);
    let items = (!is_virtual(sql))
        .then(|| canonical::sqlite_table(sql))
        .flatten();
    match items {
        None => object.part("definition", canonical::sqlite(sql)),
        Some((items, tail)) => {
            let mut columns = Vec::new();
            for item in items {
                let first = item.split(' ').next().unwrap_or("");
                let words = ["constraint", "primary", "unique", "check", "foreign"];
                if words.contains(&first) {
                    // Named by itself: two databases may name it differently, or not at all.
                    object.part(format!("constraint {item}"), item);
                } else {
                    let column = if first.starts_with('"') {
                        item[1..]
                            .find('"')
                            .map_or(first, |end| &item[..end + 2])
                            .to_owned()
                    } else {
                        first.to_owned()
                    };
                    object.part(format!("column {column}"), item);
                    columns.push(column);
                }
            }
            object.part("column order", columns.join(", "));
            object.part("options", tail);
        }
    }
    object.run(sql);
    object
}
