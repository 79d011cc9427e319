//! A dump into an empty database.

use std::io::BufRead;

use crate::database::mysql::Mysql;
use crate::database::postgres::Postgres;
use crate::database::sqlite::Sqlite;
use crate::database::{Conn as _, Database, Session as _};
use crate::error::Error;
use crate::sql::{Dialect, split};

/// Text is sent once it is this long and a statement ends.
const LENGTH: usize = 64 * 1024;

/// The database that is filled.
pub(super) enum Target {
    Postgres(Box<Postgres>),
    Mysql(Box<Mysql>),
    /// In one transaction: each one costs a write to the disk.
    Sqlite(Box<Sqlite>),
}

impl Target {
    /// Creates the file of SQLite if it is not there.
    pub(super) async fn open(database: &Database) -> Result<Self, Error> {
        let table = crate::run::Options::default().table;
        let failed = Error::database("connect to the database to fill");
        let mut target = match database.dialect() {
            Dialect::Postgres => {
                let session = Postgres::connect(database, &table).await;
                Self::Postgres(Box::new(session.map_err(failed)?))
            }
            Dialect::Mysql => {
                let session = Mysql::connect(database, &table, false).await;
                Self::Mysql(Box::new(session.map_err(failed)?))
            }
            Dialect::Sqlite => {
                let session = Sqlite::connect(database, &table, true).await;
                Self::Sqlite(Box::new(session.map_err(failed)?))
            }
        };
        match target {
            Self::Sqlite(_) => {
                target.run("pragma foreign_keys = off").await?;
                target.run("begin immediate").await?;
            }
            // The role's limits are for its application.
            Self::Postgres(_) => {
                target
                    .run("set statement_timeout = 0; set lock_timeout = 0")
                    .await?;
            }
            Self::Mysql(_) => {}
        }
        Ok(target)
    }

    /// One statement, or several.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Error> {
        let done = match self {
            Self::Postgres(session) => session.conn().execute(sql).await,
            Self::Mysql(session) => session.conn().execute(sql).await,
            Self::Sqlite(session) => session.conn().execute(sql).await,
        };
        let begin: String = sql.trim_start().chars().take(120).collect();
        done.map(|_| ())
            .map_err(Error::database(format_args!("run {begin:?}")))
    }

    pub(super) async fn finish(mut self) -> Result<(), Error> {
        if let Self::Sqlite(session) = &mut self {
            let broken = session
                .conn()
                .texts("pragma foreign_key_check")
                .await
                .map_err(Error::database("check foreign keys"))?;
            if let Some(row) = broken.first() {
                let table = row.first().cloned().flatten().unwrap_or_default();
                return Err(Error::Refused(format!(
                    "{} row(s) of the dump point nowhere, the first in {table}",
                    broken.len()
                )));
            }
            self.run("commit").await?;
        }
        Ok(())
    }
}

/// Runs a dump (or any other SQL text) against a database, which should be empty, in pieces as they
/// are read. A file of SQLite is created if it is not there.
///
/// # Errors
/// [`Error::Output`] if the text can't be read; what the database says, and then the database may
/// be left half filled (SQLite: as it was).
pub async fn load(database: &Database, text: &mut (dyn BufRead + Send)) -> Result<(), Error> {
    let dialect = database.dialect();
    let mut target = Target::open(database).await?;
    let mut pending = String::new();
    let mut enough = LENGTH;
    loop {
        let read = text.read_line(&mut pending).map_err(Error::Output)?;
        let is_end = read == 0;
        if !is_end && (pending.len() < enough || !pending.ends_with(";\n")) {
            continue;
        }
        if !is_end && !ends_with_statement(&pending, dialect) {
            // Inside a body, or a string: look again when there is a good part more.
            enough = pending.len() + pending.len() / 4;
            continue;
        }
        let statements = split(&pending, dialect, 1)
            .map_err(|e| Error::Refused(format!("the dump can't be cut into statements: {e}")))?;
        let statements: Vec<&str> = statements.iter().map(|s| s.text.as_str()).collect();
        for some in statements.chunks(100) {
            let mut sql = some.join(";\n");
            if dialect == Dialect::Postgres && some.iter().any(|s| needs_to_stand_alone(s)) {
                for statement in some {
                    target.run(statement).await?;
                }
                sql.clear();
            }
            if !sql.is_empty() {
                target.run(&sql).await?;
            }
        }
        pending.clear();
        enough = LENGTH;
        if is_end {
            return target.finish().await;
        }
    }
}

/// What no transaction may cover: somebody else's script may hold it.
fn needs_to_stand_alone(statement: &str) -> bool {
    let upper = statement.get(..200).unwrap_or(statement).to_uppercase();
    upper.contains("CONCURRENTLY")
        || ["VACUUM", "BEGIN", "COMMIT"]
            .iter()
            .any(|word| upper.starts_with(word))
}

/// Whether the text can be cut here: what would follow is a statement of its own.
fn ends_with_statement(text: &str, dialect: Dialect) -> bool {
    const NEXT: &str = "windlass_next";
    split(&format!("{text}{NEXT}"), dialect, 1)
        .is_ok_and(|all| all.last().is_some_and(|s| s.text == NEXT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_only_where_a_statement_ends() {
        let is = |text: &str| ends_with_statement(text, Dialect::Postgres);
        assert!(is("select 1;\n"));
        assert!(!is("select 1"));
        assert!(!is("select ';\n"));
        assert!(!is(
            "create function f() returns int begin atomic select 1;\n"
        ));
        assert!(!is("do $$ begin null;\n"));
        let mysql = "DELIMITER ;;\ncreate procedure p() begin select 1;\n";
        assert!(!ends_with_statement(mysql, Dialect::Mysql));
        let mysql = format!("{mysql}end;;\nDELIMITER ;\nselect 1;\n");
        assert!(ends_with_statement(&mysql, Dialect::Mysql));
    }
}
