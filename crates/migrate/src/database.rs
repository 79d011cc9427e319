//! A database's address, and what the runner needs of each kind of database.

pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::future::Future;
use std::time::Duration;

use futures_util::TryStreamExt as _;

use crate::error::{Error, is_missing_table};
use crate::lock::{Attempt, Holder, Lease, Owner};
use crate::plan::{History, How, Row};
use crate::release::Floor;
use crate::sql::{Dialect, Outside};
use crate::version::Version;

/// Where a database is. Shown without its password.
#[derive(Clone)]
pub struct Database {
    dialect: Dialect,
    url: String,
}

impl Database {
    /// `postgres://`, `postgresql://`, `mysql://`, `mariadb://`, `sqlite:PATH` or `sqlite://PATH`.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn parse(url: &str) -> Result<Self, Error> {
        let (scheme, rest) = url
            .split_once(':')
            .ok_or_else(|| Error::Url("that is no database's address".to_owned()))?;
        let (dialect, url) = match scheme {
            "postgres" | "postgresql" => (Dialect::Postgres, url.to_owned()),
            "mysql" => (Dialect::Mysql, url.to_owned()),
            "mariadb" => (Dialect::Mysql, format!("mysql:{rest}")),
            "sqlite" | "sqlite3" => (Dialect::Sqlite, format!("sqlite:{rest}")),
            other => {
                return Err(Error::Url(format!(
                    "{other}: is no database that we know: PostgreSQL, MySQL, MariaDB and SQLite are"
                )));
            }
        };
        Ok(Self { dialect, url })
    }

    /// An SQLite file.
    ///
    /// # Errors
    /// [`Error::Url`] for a path that is not UTF-8.
    pub fn sqlite(path: &std::path::Path) -> Result<Self, Error> {
        let path = path.to_str().ok_or_else(|| {
            Error::Url(format!(
                "{} is not UTF-8: rename the folder",
                path.display()
            ))
        })?;
        // What would end the path, or begin a byte, in an address.
        let path = path.replace('%', "%25").replace('?', "%3F");
        Self::parse(&format!("sqlite:{path}"))
    }

    /// What kind it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The address for programs, with its password. To show it to people, print the database itself.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What the server calls it; SQLite: the file.
    pub fn name(&self) -> &str {
        let bare = self.url.split('?').next().unwrap_or(&self.url);
        if self.dialect == Dialect::Sqlite {
            let path = &bare["sqlite:".len()..];
            return path.strip_prefix("//").unwrap_or(path);
        }
        let place = bare.split_once("://").map_or("", |(_, rest)| rest);
        place.split_once('/').map_or("", |(_, name)| name)
    }

    /// The database of this name on the same server, with everything else of the address (user,
    /// TLS, parameters). SQLite: the file `name`, which begins with `/`.
    pub fn named(&self, name: &str) -> Self {
        let url = if self.dialect == Dialect::Sqlite {
            let rest = &self.url["sqlite:".len()..];
            // Programs differ in how many slashes stand before a path: as many as in the address.
            let slashes = match rest.len() - rest.trim_start_matches('/').len() {
                0 | 1 => "",
                2 => "//",
                _ => "///",
            };
            format!("sqlite:{slashes}{name}")
        } else {
            let (scheme, rest) = self.url.split_once("://").unwrap_or((&self.url, ""));
            let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
            let server = place.split('/').next().unwrap_or(place);
            // Of the ways to name a database, this one beats the path.
            let kept: Vec<&str> = parameters
                .split('&')
                .filter(|p| !p.is_empty() && !p.starts_with("dbname="))
                .collect();
            let mark = if kept.is_empty() { "" } else { "?" };
            format!("{scheme}://{server}/{name}{mark}{}", kept.join("&"))
        };
        Self {
            dialect: self.dialect,
            url,
        }
    }
}

/// An address as people may see it: without password and parameters.
pub(crate) fn without_secrets(url: &str) -> String {
    let url = url.split('?').next().unwrap_or(url);
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, rest)), Some((_, host))) => match rest.split([':', '@']).next() {
            None | Some("") => format!("{scheme}://{host}"),
            Some(user) => format!("{scheme}://{user}@{host}"),
        },
        _ => url.to_owned(),
    }
}

impl Database {
    /// Where it is, whoever asks: without the user.
    pub(crate) fn place(&self) -> String {
        let shown = self.to_string();
        match (shown.split_once("://"), shown.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => shown,
        }
    }
}

impl std::fmt::Display for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without_secrets(&self.url))
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Database({self})")
    }
}

/// Rows as text, whatever their columns' types.
pub(crate) type Texts = Vec<Vec<Option<String>>>;

/// A connection that takes SQL text, statement by statement. Never a prepared statement: through a
/// pooler those fail in ways that hide the reason.
pub(crate) trait Conn: Send + 'static {
    fn execute(&mut self, sql: &str) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
    /// Several statements in one message. How many were done, also when one of them failed.
    fn execute_all(
        &mut self,
        sql: &str,
    ) -> impl Future<Output = (usize, Result<(), sqlx::Error>)> + Send;
    fn texts(&mut self, sql: &str) -> impl Future<Output = Result<Texts, sqlx::Error>> + Send;
}

/// What [`Conn::execute_all`] does, for every database.
async fn count_done<'c, Db: sqlx::Database>(
    conn: impl sqlx::Executor<'c, Database = Db>,
    sql: &str,
) -> (usize, Result<(), sqlx::Error>) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    let mut results = sqlx::raw_sql(sql).execute_many(conn);
    let mut done = 0;
    loop {
        match results.try_next().await {
            Ok(Some(_)) => done += 1,
            Ok(None) => return (done, Ok(())),
            Err(error) => return (done, Err(error)),
        }
    }
}

/// Names of our tables, ready for SQL.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) schema: Option<String>,
    /// The bare name of the history table.
    pub(crate) name: String,
    /// Which lock: [`MAIN`], or [`DATA`].
    pub(crate) lane: &'static str,
    pub(crate) history: String,
    pub(crate) lock: String,
    pub(crate) journal: String,
    /// How far data migrations have come.
    pub(crate) progress: String,
    /// What the schema was when a run ended.
    pub(crate) recorded: String,
    /// The type of a version, which is a key. SQLite keeps an `integer` key in the table itself, and
    /// any other in an index beside it: one page more to write for each file.
    version: &'static str,
}

/// The lock of everything that changes the schema or the history.
pub(crate) const MAIN: &str = "";
/// The lock of data migrations: those take hours, and `up` must not wait for them.
pub(crate) const DATA: &str = "_data";

impl Tables {
    /// From `name` or `schema.name`.
    pub(crate) fn parse(text: &str, dialect: Dialect) -> Result<Self, Error> {
        let (schema, name) = match text.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, text),
        };
        let sound = |word: &str| {
            !word.is_empty()
                && word.len() <= 48
                && !word.starts_with(|c: char| c.is_ascii_digit())
                && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !sound(name) || !schema.is_none_or(sound) {
            return Err(Error::Refused(format!(
                "{text:?} is no table's name: letters, digits and _, at most 48 of them"
            )));
        }
        Ok(Self::of(schema.map(str::to_owned), name, MAIN, dialect))
    }

    pub(crate) fn of(
        schema: Option<String>,
        name: &str,
        lane: &'static str,
        dialect: Dialect,
    ) -> Self {
        let quote = |word: &str| identifier(word, dialect);
        let full = |suffix: &str| {
            let table = quote(&format!("{name}{suffix}"));
            match &schema {
                Some(schema) => format!("{}.{table}", quote(schema)),
                None => table,
            }
        };
        Self {
            history: full(""),
            lock: full(&format!("{lane}_lock")),
            journal: full("_journal"),
            progress: full("_progress"),
            recorded: full("_schema"),
            version: match dialect {
                Dialect::Sqlite => "integer",
                _ => "bigint",
            },
            name: name.to_owned(),
            lane,
            schema,
        }
    }

    /// Their bare names.
    pub(crate) fn bare_names(&self) -> [String; 6] {
        let names = [
            "",
            "_lock",
            "_journal",
            "_progress",
            "_data_lock",
            "_schema",
        ];
        names.map(|suffix| format!("{}{suffix}", self.name))
    }

    /// Their bare names, as a list for SQL.
    pub(crate) fn names(&self) -> String {
        self.bare_names().map(|name| format!("'{name}'")).join(", ")
    }

    /// The tables' definitions: nearly the same for every database. The last gives the lock its row.
    pub(crate) fn definitions(&self) -> [String; 5] {
        [
            format!(
                "create table if not exists {} (version {} not null primary key, \
                 name text not null, phase varchar(16) not null, checksum varchar(64) not null, \
                 app_floor text, how varchar(16) not null, applied_ms bigint not null, \
                 duration_ms bigint not null, applied_by text not null, token bigint not null)",
                self.history, self.version
            ),
            format!(
                "create table if not exists {} (id smallint not null primary key, \
                 token bigint not null, owner text, home text, pid bigint, born bigint, \
                 session_id bigint, started_ms bigint, heartbeat_ms bigint, doing text, \
                 filling bigint)",
                self.lock
            ),
            format!(
                "create table if not exists {} (direction varchar(8) not null, \
                 version bigint not null, step integer not null, hash varchar(64) not null, \
                 state varchar(16) not null, seen_before text, started_ms bigint not null, \
                 token bigint not null, primary key (direction, version, step))",
                self.journal
            ),
            format!(
                "create table if not exists {} (version {} not null primary key, \
                 hash varchar(64) not null, last_key text, batches bigint not null, \
                 seen bigint not null, part integer, eta_ms bigint, busy_ms bigint not null, \
                 started_ms bigint not null, updated_ms bigint not null, token bigint not null)",
                self.progress, self.version
            ),
            format!(
                "insert into {lock} (id, token) select 1, 0 where not exists \
                 (select 1 from {lock} where id = 1)",
                lock = self.lock
            ),
        ]
    }
}

/// A name as SQL.
pub(crate) fn identifier(name: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Mysql => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// A string as SQL. NUL, which no database takes, is left out.
pub(crate) fn literal(text: &str, dialect: Dialect) -> String {
    let mut text = text.replace('\0', "").replace('\'', "''");
    if dialect == Dialect::Mysql {
        text = text.replace('\\', "\\\\");
    }
    format!("'{text}'")
}

/// A name as the catalog has it: quotes removed, or folded to lower case.
pub(crate) fn folded(name: &str) -> String {
    match name.strip_prefix('"').and_then(|n| n.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => name.to_lowercase(),
    }
}

/// Limits for the statements of one file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) lock_timeout: Duration,
    pub(crate) statement_timeout: Duration,
    pub(crate) foreign_keys_off: bool,
}

/// SQL that begins a transaction for a file, before its first statement, in the same message.
pub(crate) struct Opening {
    /// It ends where the next statement may begin.
    pub(crate) sql: String,
    /// How many statements that is.
    pub(crate) statements: usize,
    /// SQL for the milliseconds since it ran.
    pub(crate) since: String,
}

/// Whether an interrupted statement took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Yes,
    No,
    Unknown,
}

/// The connection that holds the lock and runs the statements: one and the same.
pub(crate) trait Session: Sized + Send {
    /// The connection's type.
    type Conn: Conn;
    /// Whose SQL.
    const DIALECT: Dialect;
    /// SQL that begins a short transaction of ours, which writes.
    const BEGIN: &'static str;
    /// SQL before a write of ours: a file may have changed who this session is.
    const OURSELVES: &'static str;
    /// SQL for now, in milliseconds since 1970, by the database's clock.
    const NOW: &'static str;
    /// Whether files do the same in one transaction as in one each, as long as none of them fails:
    /// nothing lasts until the commit (`now()`, `set local`), and what is made may be used at once.
    const MAY_SHARE: bool;

    fn conn(&mut self) -> &mut Self::Conn;
    /// From here on, the lock is that of data migrations.
    fn beside(&mut self);
    fn tables(&self) -> &Tables;
    /// A second connection, for the heartbeat.
    fn another(&mut self) -> impl Future<Output = Result<Self::Conn, Error>> + Send;
    /// Whether the place of our tables holds no table of anybody.
    fn is_empty(&mut self) -> impl Future<Output = Result<bool, Error>> + Send;
    /// One try to take the lock; never waits. Our tables exist afterwards if it was got.
    fn try_lock(
        &mut self,
        me: &Owner,
        lease: Duration,
    ) -> impl Future<Output = Result<Attempt, Error>> + Send;
    /// Who has the lock now.
    fn holder(&mut self) -> impl Future<Output = Result<Option<Holder>, Error>> + Send;
    /// Takes the lock away from this holder, and ends its session.
    fn evict(&mut self, holder: &Holder) -> impl Future<Output = Result<(), Error>> + Send;
    /// Gives the lock back.
    fn release(&mut self, lease: &Lease) -> impl Future<Output = Result<(), Error>> + Send;
    /// SQL that is true only if this session has the lock.
    fn fence(&self) -> String;
    /// SQL of a row that has the lease's token only if the lock is ours, and NULL otherwise, in
    /// one message. `guard` is the update that tells, `lease` the table and the token, `row` writes
    /// the row around the token's SQL. `beat`: it is to be a sign of life as well. `None`: this
    /// takes several messages.
    fn closing(
        &self,
        guard: &str,
        lease: (&str, i64),
        beat: bool,
        row: impl FnOnce(&str) -> String,
    ) -> Option<String>;
    /// Ends what the file before has set for the session.
    fn fresh(&mut self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// SQL that does so after a commit, in the same message.
    fn fresh_sql(&self) -> String;
    /// `clean`: nobody has set anything for the session. `None`: this takes a message of its own,
    /// see [`Session::begin`].
    fn opening(&self, limits: &Limits, clean: bool) -> Option<Opening>;
    /// Begins a transaction for a file, or for a statement of it. `first`: and does what
    /// [`Session::fresh`] does.
    fn begin(
        &mut self,
        limits: &Limits,
        first: bool,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// Sets the limits for a statement outside of transactions.
    fn alone(
        &mut self,
        limits: &Limits,
        what: &Outside,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// The last word before a commit: rows that break foreign keys, in words.
    fn broken_keys(
        &mut self,
        limits: &Limits,
    ) -> impl Future<Output = Result<Option<String>, sqlx::Error>> + Send;
    /// After commit or rollback of a file.
    fn settle(&mut self, limits: &Limits) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
    /// A fingerprint to compare with after a crash.
    fn before(
        &mut self,
        what: &Outside,
    ) -> impl Future<Output = Result<Option<String>, Error>> + Send;
    /// Whether an interrupted statement took effect.
    fn effect(
        &mut self,
        what: &Outside,
        before: Option<&str>,
    ) -> impl Future<Output = Result<Effect, Error>> + Send;
    /// Removes what a failed or interrupted try left behind.
    fn clear(&mut self, what: &Outside) -> impl Future<Output = Result<(), Error>> + Send;
    /// What is broken without any file being at fault: invalid indexes.
    fn broken(&mut self) -> impl Future<Output = Result<Vec<String>, Error>> + Send;
}

/// Between the columns of a row that comes as one text.
const UNIT: char = '\u{1f}';

/// The history, in one round trip; a table that is not there is an empty history.
pub(crate) async fn history<S: Session>(session: &mut S) -> Result<History, Error> {
    let Tables { history, lock, .. } = session.tables();
    let filling = format!("(select filling from {lock} where id = 1)");
    // With nothing pending, this is all that is asked: one text for each row is less to take apart than
    // eleven. What may hold anything is the last.
    let columns = match S::DIALECT {
        Dialect::Postgres => format!(
            "pg_catalog.concat_ws(pg_catalog.chr(31), h.version, h.phase, h.checksum, \
             coalesce(h.app_floor, ''), h.how, h.applied_ms, h.duration_ms, \
             pg_catalog.replace(h.applied_by, pg_catalog.chr(31), ''), h.token, \
             coalesce({filling}::text, ''), h.name)"
        ),
        _ => format!(
            "h.version, h.phase, h.checksum, h.app_floor, h.how, h.applied_ms, h.duration_ms, \
             h.applied_by, h.token, {filling}, h.name"
        ),
    };
    let sql = format!("select {columns} from {history} h");
    let rows = match session.conn().texts(&sql).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => return Ok(History::default()),
        Err(error) => return Err(Error::database("read the history table")(error)),
    };
    let mut history = History::default();
    history.rows.reserve(rows.len());
    for row in &rows {
        match row.as_slice() {
            [Some(one)] => read_row(&mut history, one.splitn(11, UNIT)),
            columns => read_row(
                &mut history,
                columns
                    .iter()
                    .map(|text| text.as_deref().unwrap_or_default()),
            ),
        }
    }
    // Quicker here than in a session that is a few milliseconds old.
    history.rows.sort_by_key(|row| row.version);
    Ok(history)
}

fn read_row<'t>(history: &mut History, mut columns: impl Iterator<Item = &'t str>) {
    let mut text = || columns.next().unwrap_or_default();
    let number = |text: &str| text.parse::<i64>().unwrap_or(0);
    let key = number(text());
    let mut row = Row {
        version: Version::from(key),
        phase: text().to_owned(),
        checksum: text().to_owned(),
        floors: text()
            .split_whitespace()
            .filter_map(Floor::parse_stored)
            .collect(),
        how: if text() == "baseline" {
            How::Baseline
        } else {
            How::Applied
        },
        applied_ms: number(text()),
        duration_ms: number(text()),
        applied_by: text().to_owned(),
        token: number(text()),
        name: {
            history.filling = text().parse().ok();
            text().to_owned()
        },
    };
    if key < 0 {
        (row.version, row.name) = Version::from_row(key, &row.name, &row.checksum);
    }
    history.rows.push(row);
}

/// The lease row, whoever it names. `None`: no row, or free.
pub(crate) async fn lease_row<S: Session>(session: &mut S) -> Result<Option<Holder>, Error> {
    let sql = format!(
        "select owner, started_ms, {} - heartbeat_ms, doing, token, session_id, home, pid, born \
         from {} where id = 1 and owner is not null",
        S::NOW,
        session.tables().lock
    );
    let rows = match session.conn().texts(&sql).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => return Ok(None),
        Err(error) => return Err(Error::database("read the lock's row")(error)),
    };
    Ok(rows.into_iter().next().map(|row| {
        let text = |i: usize| row.get(i).cloned().flatten();
        let number = |i: usize| text(i).and_then(|t| t.parse::<i64>().ok());
        Holder {
            name: text(0).unwrap_or_default(),
            since_ms: number(1).unwrap_or(0),
            silent_ms: number(2).unwrap_or(i64::MAX),
            doing: text(3).unwrap_or_default(),
            token: number(4).unwrap_or(0),
            session: number(5),
            session_state: None,
            home: text(6).unwrap_or_default(),
            pid: number(7).unwrap_or(0),
            born: number(8).unwrap_or(0),
        }
    }))
}

/// SQL that makes the lease ours, under the next token.
pub(crate) fn take_lease<S: Session>(session: &S, me: &Owner, session_id: Option<i64>) -> String {
    format!(
        "update {} set token = token + 1, owner = {}, home = {}, pid = {}, born = {}, \
         session_id = {}, started_ms = {now}, heartbeat_ms = {now}, doing = {} where id = 1",
        session.tables().lock,
        literal(&me.name, S::DIALECT),
        literal(&me.home, S::DIALECT),
        me.pid,
        me.born,
        session_id.map_or_else(|| "null".to_owned(), |id| id.to_string()),
        literal(&me.doing, S::DIALECT),
        now = S::NOW,
    )
}

/// The token in the lease row.
pub(crate) async fn token<S: Session>(session: &mut S) -> Result<Lease, Error> {
    let sql = format!("select token from {} where id = 1", session.tables().lock);
    let rows = session
        .conn()
        .texts(&sql)
        .await
        .map_err(Error::database("read the lock's token"))?;
    let token = rows.first().and_then(|r| r.first().cloned().flatten());
    token
        .and_then(|t| t.parse().ok())
        .map(|token| Lease { token })
        .ok_or_else(|| Error::Refused("the lock's table has lost its row".to_owned()))
}

/// SQL that gives the lease back.
pub(crate) fn free_lease<S: Session>(session: &S, token: i64) -> String {
    format!(
        "update {} set owner = null, doing = null where id = 1 and token = {token}",
        session.tables().lock
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_and_shown_without_passwords() {
        let shown = |url: &str| Database::parse(url).unwrap().to_string();
        assert_eq!(
            shown("postgres://me:p%40ss@h:5/db?sslmode=require"),
            "postgres://me@h:5/db"
        );
        assert_eq!(shown("mariadb://root:x@h/db"), "mysql://root@h/db");
        assert_eq!(shown("sqlite:a/b.db"), "sqlite:a/b.db");
        assert_eq!(
            shown("postgres:///db?host=/run&password=x"),
            "postgres:///db"
        );
        let odd = Database::sqlite(std::path::Path::new("/a 100%?/b.db")).unwrap();
        let options: sqlx::sqlite::SqliteConnectOptions = odd.url.parse().unwrap();
        assert_eq!(
            options.get_filename(),
            std::path::Path::new("/a 100%?/b.db")
        );
        assert!(Database::parse("oracle://x").is_err());
        assert!(Database::parse("x.db").is_err());
    }

    #[test]
    fn another_database_of_the_same_server_keeps_the_rest_of_the_address() {
        let named = |url: &str, name: &str| Database::parse(url).unwrap().named(name).url;
        assert_eq!(
            named("postgres://me:p%2Fw@h:5/db?sslmode=require&dbname=x", "n"),
            "postgres://me:p%2Fw@h:5/n?sslmode=require"
        );
        assert_eq!(
            named("postgres:///db?host=/run", "n"),
            "postgres:///n?host=/run"
        );
        assert_eq!(named("mariadb://root@h", "n"), "mysql://root@h/n");
        assert_eq!(Database::parse("mysql://h/n?x=y").unwrap().name(), "n");
        assert_eq!(Database::parse("sqlite:///a/b").unwrap().name(), "/a/b");
        assert_eq!(named("sqlite:a.db", "/t/x"), "sqlite:/t/x");
        assert_eq!(named("sqlite://a.db", "/t/x"), "sqlite:///t/x");
        assert_eq!(named("sqlite:///a/b.db?mode=rwc", "/t/x"), "sqlite:////t/x");
    }

    #[test]
    fn names_and_strings_can_not_break_out() {
        assert!(Tables::parse("a\"; drop table b", Dialect::Postgres).is_err());
        assert!(Tables::parse("a.b.c", Dialect::Postgres).is_err());
        let tables = Tables::parse("s.m", Dialect::Postgres).unwrap();
        assert_eq!(tables.lock, "\"s\".\"m_lock\"");
        assert_eq!(literal("it's \\\0", Dialect::Postgres), "'it''s \\'");
        assert_eq!(literal("\\'", Dialect::Mysql), "'\\\\'''");
        assert_eq!(folded("\"A\"\"b\""), "A\"b");
        assert_eq!(folded("Ab"), "ab");
    }
}
