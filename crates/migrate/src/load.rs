//! SQL that clients print and read: dumps of `pg_dump`, `mysqldump`, `sqlite3 .dump`, and files of
//! rows that somebody wrote. Read in pieces: a dump may be larger than memory.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::str::FromStr as _;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::database::{Conn, Database};
use crate::error::{Error, answer, code};
use crate::sql::{Dialect, Shape, Statement, shape, split};

/// Behind a statement that is over, this is one of its own.
const MARK: &str = "select windlass_mark";
/// Rows of `COPY` are sent in pieces of about this size.
const PIECE_BYTES: usize = 256 << 10;
/// One statement may be this long.
const MAX_STATEMENT_BYTES: usize = 1 << 30;

/// What was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Loaded {
    /// Statements that were run.
    pub statements: u64,
    /// Rows that `COPY` brought.
    pub copied_rows: u64,
    /// What was left out, and why: owners and grants of roles that this server does not have,
    /// settings that it does not know.
    pub left_out: Vec<String>,
}

/// Runs a file of SQL on a database that is ours. It may hold what files of migrations may not:
/// `COPY ... FROM STDIN` with its rows, `BEGIN` and `COMMIT`.
///
/// # Errors
/// A file that can't be read; a statement that fails; a statement that would leave this database
/// (`USE`, `\connect`, `CREATE DATABASE`).
pub async fn load(database: &Database, path: &Path) -> Result<Loaded, Error> {
    let file = File::open(path)
        .map_err(|e| Error::Refused(format!("could not read {}: {e}", path.display())))?;
    let mut script = Script {
        lines: BufReader::with_capacity(1 << 20, file),
        name: path.display().to_string(),
        dialect: database.dialect(),
        line: 1,
        buffer: String::new(),
        buffer_line: 1,
        delimiter: false,
        loaded: Loaded::default(),
    };
    let connecting = Error::database("connect to the scratch database");
    let url = database.url();
    match database.dialect() {
        Dialect::Postgres => {
            let options =
                PgConnectOptions::from_str(url).map_err(Error::database("read the address"))?;
            let options = options.extra_float_digits(None).disable_statement_logging();
            let mut conn = options.connect().await.map_err(connecting)?;
            conn.execute("set synchronous_commit = off")
                .await
                .map_err(Error::database("set up the session"))?;
            while let Some(statement) = script.next()? {
                script.postgres(&mut conn, &statement).await?;
            }
            conn.close().await.unwrap_or_default();
        }
        Dialect::Mysql => {
            let options =
                MySqlConnectOptions::from_str(url).map_err(Error::database("read the address"))?;
            let options = options
                .pipes_as_concat(false)
                .no_engine_substitution(false)
                .timezone(None);
            let mut conn = options
                .disable_statement_logging()
                .connect()
                .await
                .map_err(connecting)?;
            while let Some(statement) = script.next()? {
                script.run(&mut conn, &statement).await?;
            }
            conn.close().await.unwrap_or_default();
        }
        Dialect::Sqlite => {
            let options =
                SqliteConnectOptions::from_str(url).map_err(Error::database("read the address"))?;
            let mut conn = options
                .create_if_missing(true)
                .synchronous(sqlx::sqlite::SqliteSynchronous::Off)
                .disable_statement_logging()
                .connect()
                .await
                .map_err(connecting)?;
            while let Some(statement) = script.next()? {
                script.run(&mut conn, &statement).await?;
            }
            conn.close().await.unwrap_or_default();
        }
    }
    Ok(script.loaded)
}

/// A file that is read statement by statement.
struct Script {
    lines: BufReader<File>,
    name: String,
    dialect: Dialect,
    /// The next line's number.
    line: usize,
    /// What was read and not yet cut.
    buffer: String,
    buffer_line: usize,
    /// MySQL: `DELIMITER` is something else than `;` now, so all up to its end is one piece.
    delimiter: bool,
    loaded: Loaded,
}

impl Script {
    fn at(&self, line: usize, problem: impl std::fmt::Display) -> Error {
        Error::Refused(format!("{}, line {line}: {problem}", self.name))
    }

    /// The next line with its end; empty at the file's end.
    fn read_line(&mut self) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        let read = self.lines.read_until(b'\n', &mut line);
        read.map_err(|e| self.at(self.line, format_args!("could not be read: {e}")))?;
        self.line += 1;
        Ok(line)
    }

    /// The statements up to the next place where one is over; usually one.
    fn next(&mut self) -> Result<Option<Vec<Statement>>, Error> {
        loop {
            let at = self.line;
            let bytes = self.read_line()?;
            let end = bytes.is_empty();
            if at == 1 {
                self.is_text(&bytes)?;
            }
            let Ok(text) = std::str::from_utf8(&bytes) else {
                return Err(self.at(
                    at,
                    "is not UTF-8: dump it again with --encoding=UTF8, or --hex-blob for mysqldump",
                ));
            };
            // Nothing but comments so far.
            let mut before = self.buffer.lines().map(str::trim);
            let empty = before.all(|l| l.is_empty() || l.starts_with("--"));
            if empty && self.dialect == Dialect::Postgres && text.starts_with('\\') {
                // Newer pg_dump begins and ends with these, against injected commands of psql.
                if text.starts_with("\\restrict") || text.starts_with("\\unrestrict") {
                    continue;
                }
                return Err(self.at(at, "a command of psql: only SQL can be loaded"));
            }
            if empty {
                self.buffer.clear();
                self.buffer_line = at;
            }
            let text = text.replace('\0', "");
            self.buffer.push_str(&text);
            if self.buffer.len() > MAX_STATEMENT_BYTES {
                return Err(self.at(self.buffer_line, "this statement never ends"));
            }
            let trimmed = text.trim();
            if self.dialect == Dialect::Mysql
                && trimmed.to_ascii_lowercase().starts_with("delimiter")
            {
                self.delimiter = !trimmed.ends_with(" ;");
            }
            let over = end || (trimmed.ends_with(';') && !self.delimiter);
            if !over {
                continue;
            }
            if let Some(statements) = self.cut(end)? {
                self.buffer.clear();
                if !statements.is_empty() {
                    return Ok(Some(statements));
                }
            }
            if end {
                return Ok(None);
            }
        }
    }

    /// The buffer's statements, if the last of them is over.
    fn cut(&self, end: bool) -> Result<Option<Vec<Statement>>, Error> {
        if end {
            let cut = split(&self.buffer, self.dialect, self.buffer_line);
            return cut.map(Some).map_err(|e| self.at(e.line, e.problem));
        }
        let text = format!("{}\n{MARK}", self.buffer);
        // An error here is a quote or a comment that goes on in the next line.
        let Ok(mut statements) = split(&text, self.dialect, self.buffer_line) else {
            return Ok(None);
        };
        let over = statements.pop().is_some_and(|last| last.text == MARK);
        Ok(over.then_some(statements))
    }

    fn is_text(&self, first: &[u8]) -> Result<(), Error> {
        let problem = if first.starts_with(b"PGDMP") {
            "an archive of pg_dump: make SQL of it with pg_restore --file dump.sql, and give that"
        } else if first.starts_with(&[0x1f, 0x8b]) || first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            "is compressed: unpack it first"
        } else if first.starts_with(b"SQLite format 3") {
            "a database file of SQLite and no SQL: give sqlite:PATH"
        } else {
            return Ok(());
        };
        Err(Error::Refused(format!("{}: {problem}", self.name)))
    }

    /// What would lead out of the scratch database, perhaps into a real one.
    fn stays(&self, statement: &Statement) -> Result<(), Error> {
        let word = |i: usize, is: &str| statement.tokens.get(i).is_some_and(|t| t.is(is));
        let leaves = (self.dialect == Dialect::Mysql && word(0, "USE"))
            || ((word(0, "CREATE") || word(0, "DROP"))
                && (word(1, "DATABASE") || (self.dialect == Dialect::Mysql && word(1, "SCHEMA"))));
        if leaves {
            return Err(self.at(
                statement.line,
                "this leaves the scratch database: dump one database, without --databases, \
                 --all-databases or --create",
            ));
        }
        Ok(())
    }

    async fn run<C: Conn>(&mut self, conn: &mut C, statements: &[Statement]) -> Result<(), Error> {
        for statement in statements {
            self.stays(statement)?;
            let done = conn.execute(&statement.text).await;
            done.map_err(|e| self.at(statement.line, answer(&e)))?;
            self.loaded.statements += 1;
        }
        Ok(())
    }

    async fn postgres(
        &mut self,
        conn: &mut PgConnection,
        statements: &[Statement],
    ) -> Result<(), Error> {
        for statement in statements {
            self.stays(statement)?;
            let shape = shape(statement, self.dialect);
            if shape == Shape::Client {
                self.copy(conn, statement).await?;
                continue;
            }
            match conn.execute(&statement.text).await {
                Ok(_) => self.loaded.statements += 1,
                Err(error) if is_dispensable(statement, &shape, &code(&error)) => {
                    let first = statement.text.lines().next().unwrap_or_default();
                    let first: String = first.chars().take(100).collect();
                    self.loaded
                        .left_out
                        .push(format!("{first}: {}", answer(&error)));
                }
                Err(error) => return Err(self.at(statement.line, answer(&error))),
            }
        }
        Ok(())
    }

    /// The rows below a `COPY ... FROM STDIN`, up to the line `\.`.
    async fn copy(&mut self, conn: &mut PgConnection, statement: &Statement) -> Result<(), Error> {
        let at = statement.line;
        let begun = conn.copy_in_raw(&statement.text).await;
        let mut sink = begun.map_err(|e| self.at(at, answer(&e)))?;
        let mut piece = Vec::with_capacity(PIECE_BYTES + 4096);
        loop {
            let line = self.read_line()?;
            let end = line.is_empty() || line.trim_ascii_end() == b"\\.";
            if !end {
                piece.extend_from_slice(&line);
            }
            if piece.len() >= PIECE_BYTES || (end && !piece.is_empty()) {
                let sent = sink.send(&piece[..]).await;
                sent.map_err(|e| self.at(at, answer(&e)))?;
                piece.clear();
            }
            if end {
                break;
            }
        }
        let rows = sink.finish().await.map_err(|e| self.at(at, answer(&e)))?;
        self.loaded.copied_rows += rows;
        self.loaded.statements += 1;
        Ok(())
    }
}

/// Failures of a dump that change nothing which is tried here: another server has other roles, an
/// older one fewer settings, and `public` is there already.
fn is_dispensable(statement: &Statement, shape: &Shape, code: &str) -> bool {
    let words = &statement.tokens;
    let first = |word: &str| words.first().is_some_and(|t| t.is(word));
    let owner = words.windows(2).any(|w| w[0].is("OWNER") && w[1].is("TO"));
    match code {
        // undefined_object: a role, a setting.
        "42704" => {
            *shape == Shape::Setting
                || owner
                || ["GRANT", "REVOKE"].into_iter().any(first)
                || (first("ALTER") && words.get(1).is_some_and(|t| t.is("DEFAULT")))
        }
        // duplicate_schema.
        "42P06" => words.iter().any(|t| t.is("PUBLIC")),
        // insufficient_privilege: an extension's comment belongs to who installed it.
        "42501" => owner || (first("COMMENT") && words.get(2).is_some_and(|t| t.is("EXTENSION"))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, dialect: Dialect) -> Result<Vec<String>, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sql");
        std::fs::write(&path, text).unwrap();
        let mut script = Script {
            lines: BufReader::new(File::open(&path).unwrap()),
            name: "x.sql".to_owned(),
            dialect,
            line: 1,
            buffer: String::new(),
            buffer_line: 1,
            delimiter: false,
            loaded: Loaded::default(),
        };
        let mut all = Vec::new();
        while let Some(statements) = script.next()? {
            for statement in statements {
                script.stays(&statement)?;
                all.push(format!("{}: {}", statement.line, statement.text));
            }
        }
        Ok(all)
    }

    #[test]
    fn a_dump_is_cut_where_statements_end_and_nowhere_else() {
        let text = "--\n\\restrict x\n-- a; comment;\nset a = 1;\n\ncreate function f() returns int as $$\n\
            begin;\n return 1;\nend $$ language plpgsql;\ninsert into t values ('a;\nb;\n'), (1);\
            select 1; select 2\n;\n/* x;\ny; */ select 3";
        let found = pieces(text, Dialect::Postgres).unwrap();
        let starts: Vec<&str> = found.iter().map(|s| s.lines().next().unwrap()).collect();
        assert_eq!(
            starts,
            [
                "4: set a = 1",
                "6: create function f() returns int as $$",
                "10: insert into t values ('a;",
                "12: select 1",
                "12: select 2",
                "15: select 3"
            ]
        );
        let text = "create trigger x after insert on t begin\n update t set a = 1;\n delete from u;\nend;\nselect 1;";
        assert_eq!(pieces(text, Dialect::Sqlite).unwrap().len(), 2);
        let text =
            "delimiter //\ncreate procedure p() begin\n select 1;\nend//\ndelimiter ;\nselect 2;\n";
        assert_eq!(pieces(text, Dialect::Mysql).unwrap().len(), 2);
    }

    #[test]
    fn what_leads_out_of_the_database_is_refused() {
        for (text, dialect) in [
            ("select 1;\nuse production;", Dialect::Mysql),
            (
                "CREATE DATABASE /*!32312 IF NOT EXISTS*/ `app`;",
                Dialect::Mysql,
            ),
            ("drop database app;", Dialect::Postgres),
            ("\\connect app\n", Dialect::Postgres),
        ] {
            let error = pieces(text, dialect).unwrap_err().to_string();
            assert!(error.contains("x.sql, line"), "{error}");
        }
        assert!(pieces("PGDMP...", Dialect::Postgres).is_err());
    }
}
