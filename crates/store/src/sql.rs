//! One set of queries for two databases.
//!
//! Queries are written in the SQL that both understand, with `?` and `?1` for values. What differs is
//! here and in [`crate::db`]: the sign for a value, how values travel, and a few words ([`Dialect`]).
//! Truth values are numbers (0, 1) in both schemas, so that one comparison serves both.

use std::borrow::Cow;
use std::marker::PhantomData;

use sqlx::postgres::{PgConnection, PgPool, PgRow};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{AssertSqlSafe, Error, Postgres, Row as _, Sqlite};

/// Whose SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// A query for the numbers in a JSON list, which is its one value: a list of any length in one
    /// value, so that the statement stays the same.
    pub(crate) fn numbers_of_list(self) -> &'static str {
        match self {
            Self::Sqlite => "select value from json_each(?)",
            Self::Postgres => {
                "select cast(n as bigint) from json_array_elements_text(cast(? as json)) as t (n)"
            }
        }
    }
}

/// A connection to either.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Connections to either.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// Where a query runs.
pub(crate) enum On<'c> {
    Sqlite(&'c mut SqliteConnection),
    SqlitePool(&'c SqlitePool),
    Postgres(&'c mut PgConnection),
    PostgresPool(&'c PgPool),
}

impl<'c> From<&'c mut Connection> for On<'c> {
    fn from(connection: &'c mut Connection) -> Self {
        match connection {
            Connection::Sqlite(conn) => Self::Sqlite(conn),
            Connection::Postgres(conn) => Self::Postgres(conn),
        }
    }
}

impl<'c> From<&'c Pool> for On<'c> {
    fn from(pool: &'c Pool) -> Self {
        match pool {
            Pool::Sqlite(pool) => Self::SqlitePool(pool),
            Pool::Postgres(pool) => Self::PostgresPool(pool),
        }
    }
}

/// A value on its way into a query.
#[derive(Debug, Clone)]
pub(crate) enum Value<'q> {
    Number(Option<i64>),
    Text(Option<Cow<'q, str>>),
    Bytes(Option<Cow<'q, [u8]>>),
}

/// What can be bound.
pub(crate) trait Bind<'q>: Sized {
    /// As a value; `None` keeps its type.
    fn value(this: Option<Self>) -> Value<'q>;
}

macro_rules! bind {
    ($($type:ty => |$v:ident| $kind:ident($made:expr),)*) => {$(
        impl<'q> Bind<'q> for $type {
            fn value(this: Option<Self>) -> Value<'q> {
                Value::$kind(this.map(|$v| $made))
            }
        }
    )*};
}

bind! {
    i64 => |n| Number(n),
    u32 => |n| Number(i64::from(n)),
    bool => |b| Number(i64::from(b)),
    &'q i64 => |n| Number(*n),
    &'q u32 => |n| Number(i64::from(*n)),
    &'q str => |s| Text(Cow::Borrowed(s)),
    &'q String => |s| Text(Cow::Borrowed(s.as_str())),
    String => |s| Text(Cow::Owned(s)),
    &'q [u8] => |b| Bytes(Cow::Borrowed(b)),
    Vec<u8> => |b| Bytes(Cow::Owned(b)),
}

impl<'q, T: Bind<'q>> Bind<'q> for Option<T> {
    fn value(this: Option<Self>) -> Value<'q> {
        T::value(this.flatten())
    }
}

impl<'q, T> Bind<'q> for &'q Option<T>
where
    &'q T: Bind<'q>,
{
    fn value(this: Option<Self>) -> Value<'q> {
        <&'q T>::value(this.and_then(Option::as_ref))
    }
}

/// A row of either.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// A column, by name or by place from 0.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a> {
    Name(&'a str),
    At(usize),
}

impl<'a> From<&'a str> for Column<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Column<'_> {
    fn from(at: usize) -> Self {
        Self::At(at)
    }
}

/// What can be read from a row.
pub(crate) trait FromCell<'r>: Sized {
    fn from_cell(row: &'r Row, column: Column<'_>) -> Result<Self, Error>;
}

macro_rules! cell {
    ($row:expr, $column:expr, $type:ty) => {
        match ($row, $column) {
            (Row::Sqlite(row), Column::Name(name)) => row.try_get::<$type, _>(name),
            (Row::Sqlite(row), Column::At(at)) => row.try_get::<$type, _>(at),
            (Row::Postgres(row), Column::Name(name)) => row.try_get::<$type, _>(name),
            (Row::Postgres(row), Column::At(at)) => row.try_get::<$type, _>(at),
        }
    };
}

macro_rules! from_cell {
    ($($type:ty,)*) => {$(
        impl<'r> FromCell<'r> for $type {
            fn from_cell(row: &'r Row, column: Column<'_>) -> Result<Self, Error> {
                cell!(row, column, $type)
            }
        }
        impl<'r> FromCell<'r> for Option<$type> {
            fn from_cell(row: &'r Row, column: Column<'_>) -> Result<Self, Error> {
                cell!(row, column, Option<$type>)
            }
        }
    )*};
}

from_cell! {
    i64,
    String,
    &'r str,
    Vec<u8>,
}

impl<'r> FromCell<'r> for Option<bool> {
    /// A column is a number in both; what a comparison gives is a truth value in PostgreSQL.
    fn from_cell(row: &'r Row, column: Column<'_>) -> Result<Self, Error> {
        match cell!(row, column, Option<bool>) {
            Err(Error::ColumnDecode { .. }) => {
                let number = cell!(row, column, Option<i64>)?;
                Ok(number.map(|n| n != 0))
            }
            other => other,
        }
    }
}

impl<'r> FromCell<'r> for bool {
    fn from_cell(row: &'r Row, column: Column<'_>) -> Result<Self, Error> {
        let read = Option::<bool>::from_cell(row, column)?;
        read.ok_or_else(|| Error::ColumnDecode {
            index: format!("{column:?}"),
            source: Box::new(sqlx::error::UnexpectedNullError),
        })
    }
}

impl Row {
    /// A column that the query names and that has this type. Anything else is a mistake in the query
    /// beside it, which the first test finds.
    #[track_caller]
    pub(crate) fn get<'r, T: FromCell<'r>, C: Into<Column<'r>>>(&'r self, column: C) -> T {
        self.try_get(column)
            .unwrap_or_else(|error| panic!("a query and its reader don't fit: {error}"))
    }

    fn try_get<'r, T: FromCell<'r>, C: Into<Column<'r>>>(&'r self, column: C) -> Result<T, Error> {
        T::from_cell(self, column.into())
    }
}

/// A query and its values.
#[must_use]
pub(crate) struct Query<'q> {
    sql: Cow<'static, str>,
    values: Vec<Value<'q>>,
}

/// A query. Its text is made of constants of this crate, never of anything from outside.
pub(crate) fn query<'q>(sql: impl Into<Cow<'static, str>>) -> Query<'q> {
    Query {
        sql: sql.into(),
        values: Vec::new(),
    }
}

/// A query for one column.
pub(crate) fn query_scalar<'q, T>(sql: impl Into<Cow<'static, str>>) -> Scalar<'q, T> {
    Scalar {
        query: query(sql),
        of: PhantomData,
    }
}

/// Runs the body with the query of the connection's kind, and wraps its rows.
macro_rules! run {
    ($self:ident, $on:expr, |$query:ident, $conn:ident, $row:ident| $body:expr) => {
        match $on.into() {
            On::Sqlite($conn) => {
                let ($query, $row) = ($self.sqlite(), Row::Sqlite);
                $body
            }
            On::SqlitePool($conn) => {
                let ($query, $row) = ($self.sqlite(), Row::Sqlite);
                $body
            }
            On::Postgres($conn) => {
                let ($query, $row) = ($self.postgres(), Row::Postgres);
                $body
            }
            On::PostgresPool($conn) => {
                let ($query, $row) = ($self.postgres(), Row::Postgres);
                $body
            }
        }
    };
}

impl<'q> Query<'q> {
    pub(crate) fn bind(mut self, value: impl Bind<'q>) -> Self {
        self.values.push(Bind::value(Some(value)));
        self
    }

    fn sqlite(self) -> sqlx::query::Query<'q, Sqlite, sqlx::sqlite::SqliteArguments> {
        let made = sqlx::query(AssertSqlSafe(self.sql));
        self.values
            .into_iter()
            .fold(made, |made, value| match value {
                Value::Number(number) => made.bind(number),
                Value::Text(text) => made.bind(text),
                Value::Bytes(bytes) => made.bind(bytes),
            })
    }

    fn postgres(self) -> sqlx::query::Query<'q, Postgres, sqlx::postgres::PgArguments> {
        let made = sqlx::query(AssertSqlSafe(numbered(&self.sql)));
        self.values
            .into_iter()
            .fold(made, |made, value| match value {
                Value::Number(number) => made.bind(number),
                Value::Text(text) => made.bind(text.map(without_nul)),
                Value::Bytes(bytes) => made.bind(bytes),
            })
    }

    /// How many rows it changed.
    pub(crate) async fn execute<'c>(self, on: impl Into<On<'c>>) -> Result<Done, Error> {
        run!(self, on, |query, conn, _row| {
            let done = query.execute(conn).await?;
            Ok(Done(done.rows_affected()))
        })
    }

    pub(crate) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<Row>, Error> {
        run!(self, on, |query, conn, row| {
            let rows = query.fetch_all(conn).await?;
            Ok(rows.into_iter().map(row).collect())
        })
    }

    pub(crate) async fn fetch_optional<'c>(
        self,
        on: impl Into<On<'c>>,
    ) -> Result<Option<Row>, Error> {
        run!(self, on, |query, conn, row| {
            Ok(query.fetch_optional(conn).await?.map(row))
        })
    }

    pub(crate) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<Row, Error> {
        self.fetch_optional(on).await?.ok_or(Error::RowNotFound)
    }
}

/// What a statement did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done(u64);

impl Done {
    pub(crate) fn rows_affected(self) -> u64 {
        self.0
    }
}

/// A query for one column.
#[must_use]
pub(crate) struct Scalar<'q, T> {
    query: Query<'q>,
    of: PhantomData<fn() -> T>,
}

impl<'q, T: for<'r> FromCell<'r>> Scalar<'q, T> {
    pub(crate) fn bind(mut self, value: impl Bind<'q>) -> Self {
        self.query = self.query.bind(value);
        self
    }

    pub(crate) async fn fetch_all<'c>(self, on: impl Into<On<'c>>) -> Result<Vec<T>, Error> {
        let rows = self.query.fetch_all(on).await?;
        rows.iter().map(|row| row.try_get(0)).collect()
    }

    pub(crate) async fn fetch_optional<'c>(
        self,
        on: impl Into<On<'c>>,
    ) -> Result<Option<T>, Error> {
        let row = self.query.fetch_optional(on).await?;
        row.map(|row| row.try_get(0)).transpose()
    }

    pub(crate) async fn fetch_one<'c>(self, on: impl Into<On<'c>>) -> Result<T, Error> {
        self.query.fetch_one(on).await?.try_get(0)
    }
}

/// PostgreSQL keeps no NUL in a text; output of programs may have some. SQLite keeps them.
fn without_nul(text: Cow<'_, str>) -> Cow<'_, str> {
    if text.contains('\0') {
        return Cow::Owned(text.replace('\0', "\u{fffd}"));
    }
    text
}

/// `?` and `?3` become `$1` and `$3`; what stands in quotes stays.
fn numbered(sql: &str) -> String {
    let mut made = String::with_capacity(sql.len() + 16);
    let mut next = 0;
    let mut quoted = false;
    let mut rest = sql.chars().peekable();
    while let Some(c) = rest.next() {
        if c == '\'' {
            quoted = !quoted;
        }
        if c != '?' || quoted {
            made.push(c);
            continue;
        }
        made.push('$');
        if !rest.peek().is_some_and(char::is_ascii_digit) {
            next += 1;
            made.push_str(&next.to_string());
        }
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_and_quotes_stay() {
        assert_eq!(
            numbered("select '?', ? from t where a = ? and b = 'it''s ?'"),
            "select '?', $1 from t where a = $2 and b = 'it''s ?'"
        );
        assert_eq!(numbered("x = ?12 or y = ?1"), "x = $12 or y = $1");
    }

    #[test]
    fn a_null_keeps_its_type() {
        let value = <Option<String>>::value(Some(None));
        assert!(matches!(value, Value::Text(None)));
        let none: Option<bool> = None;
        assert!(matches!(Bind::value(Some(none)), Value::Number(None)));
    }

    #[test]
    fn what_postgresql_can_not_keep_is_replaced() {
        assert_eq!(without_nul("a\0b".into()), "a\u{fffd}b");
        assert!(matches!(without_nul("ab".into()), Cow::Borrowed("ab")));
    }
}
