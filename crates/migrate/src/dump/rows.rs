//! Rows as `INSERT`s of many rows each, read from the server as they come, so memory stays constant.

use std::io::Write;

use futures_util::TryStreamExt as _;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Column as _, Row as _, TypeInfo as _, ValueRef as _};

use super::load::Target;
use crate::error::Error;

/// A statement is sent once it is this long.
const LENGTH: usize = 64 * 1024;

/// Where a dump goes.
pub(super) enum Sink<'a> {
    /// Into a text.
    Text(&'a mut (dyn Write + Send)),
    /// Into another database.
    Target(&'a mut Target),
}

impl Sink<'_> {
    /// One statement, without `;`.
    pub(super) async fn statement(&mut self, sql: &str) -> Result<(), Error> {
        match self {
            Self::Text(out) => writeln!(out, "{sql};").map_err(Error::Output),
            Self::Target(target) => target.run(sql).await,
        }
    }

    fn title(&mut self, text: &str) -> Result<(), Error> {
        match self {
            Self::Text(out) => {
                let text = text.replace(['\n', '\r'], " ");
                writeln!(out, "\n-- {text}").map_err(Error::Output)
            }
            Self::Target(_) => Ok(()),
        }
    }
}

/// The rows of one table.
pub(super) struct Inserts {
    title: Option<String>,
    /// `INSERT INTO t (a, b) VALUES`
    head: String,
    pending: String,
}

impl Inserts {
    pub(super) fn new(table: &str, head: String) -> Self {
        Self {
            title: Some(format!("rows of {table}")),
            head,
            pending: String::new(),
        }
    }

    /// `row`: the values as SQL.
    async fn row(&mut self, row: &[String], sink: &mut Sink<'_>) -> Result<(), Error> {
        let open = if self.pending.is_empty() {
            self.pending.push_str(&self.head);
            "\n("
        } else {
            ",\n("
        };
        self.pending.push_str(open);
        for (i, value) in row.iter().enumerate() {
            if i > 0 {
                self.pending.push_str(", ");
            }
            self.pending.push_str(value);
        }
        self.pending.push(')');
        if self.pending.len() > LENGTH {
            self.send(sink).await?;
        }
        Ok(())
    }

    async fn send(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if let Some(title) = self.title.take() {
            sink.title(&title)?;
        }
        sink.statement(&self.pending).await?;
        self.pending.clear();
        Ok(())
    }

    /// The simple protocol answers in text, which is what the server reads again.
    pub(super) async fn postgres(
        &mut self,
        conn: &mut PgConnection,
        sql: &str,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(conn);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let mut values = Vec::with_capacity(row.len());
            for i in 0..row.len() {
                let value = row.try_get_raw(i).map_err(failed)?;
                values.push(if value.is_null() {
                    "NULL".to_owned()
                } else {
                    let text = value.as_str().map_err(|e| failed(sqlx::Error::Decode(e)))?;
                    format!("'{}'", text.replace('\'', "''"))
                });
            }
            self.row(&values, sink).await?;
        }
        self.send(sink).await
    }

    pub(super) async fn mysql(
        &mut self,
        conn: &mut MySqlConnection,
        sql: &str,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(conn);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let mut values = Vec::with_capacity(row.len());
            for i in 0..row.len() {
                let bytes = row
                    .try_get_unchecked::<Option<Vec<u8>>, _>(i)
                    .map_err(failed)?;
                let kind = row.column(i).type_info().name().to_owned();
                values.push(bytes.map_or_else(|| "NULL".to_owned(), |b| mysql_value(&kind, b)));
            }
            self.row(&values, sink).await?;
        }
        self.send(sink).await
    }

    /// `sql` gives values that are SQL already.
    pub(super) async fn sqlite(
        &mut self,
        conn: &mut SqliteConnection,
        sql: &str,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch(conn);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let mut values = Vec::with_capacity(row.len());
            for i in 0..row.len() {
                values.push(row.try_get_unchecked::<String, _>(i).map_err(failed)?);
            }
            self.row(&values, sink).await?;
        }
        self.send(sink).await
    }
}

fn failed(cause: sqlx::Error) -> Error {
    Error::database("read rows")(cause)
}

/// Numbers as they are, text quoted, everything else in hexadecimal.
fn mysql_value(kind: &str, bytes: Vec<u8>) -> String {
    let hexadecimal = |bytes: &[u8]| format!("X'{}'", hex::encode(bytes));
    let is_number = ["INT", "DECIMAL", "FLOAT", "DOUBLE", "YEAR", "BOOLEAN"]
        .iter()
        .any(|word| kind.contains(word));
    let is_text = ["CHAR", "TEXT", "DATE", "TIME", "ENUM", "SET", "JSON"]
        .iter()
        .any(|word| kind.contains(word));
    match String::from_utf8(bytes) {
        Ok(text) if is_number => text,
        Ok(text) if is_text => {
            let mut out = String::with_capacity(text.len() + 2);
            out.push('\'');
            for c in text.chars() {
                match c {
                    '\'' => out.push_str("''"),
                    '\\' => out.push_str("\\\\"),
                    '\0' => out.push_str("\\0"),
                    c => out.push(c),
                }
            }
            out.push('\'');
            out
        }
        Ok(text) => hexadecimal(text.as_bytes()),
        Err(error) => hexadecimal(error.as_bytes()),
    }
}
