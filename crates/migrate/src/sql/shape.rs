//! How a statement wants to be run: inside a transaction, or alone; and what to ask the catalog
//! when nobody knows whether it took effect.

use super::{Dialect, Statement, Token, TokenKind};

/// How a statement is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// In a transaction, together with the row that says that it ran.
    Inside,
    /// The server refuses it inside a transaction, or commits it at once.
    Outside(Outside),
    /// `BEGIN`, `COMMIT`, `ROLLBACK`: the runner's own business.
    Control,
    /// A client's command that the server can't run from a file: `COPY ... FROM STDIN`.
    Client,
    /// `SET`, `RESET`, `USE`: for this session. A file that is taken up again after an interruption
    /// needs it again.
    Setting,
    /// SQLite: `PRAGMA foreign_keys = off`, which inside a transaction silently does nothing.
    ForeignKeysOff,
}

/// A statement that no transaction covers, and how the catalog tells whether it took effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outside {
    /// PostgreSQL's `CREATE INDEX CONCURRENTLY`: a failure leaves an invalid index behind.
    CreateIndex {
        /// The index, as SQL; `None`: the server would choose one.
        name: Option<String>,
        /// Its table, as SQL.
        table: String,
    },
    /// PostgreSQL's `DROP INDEX CONCURRENTLY`.
    DropIndex {
        /// The index, as SQL.
        name: String,
    },
    /// PostgreSQL's `REINDEX ... CONCURRENTLY`: a failure leaves invalid `_ccnew` indexes behind.
    Reindex,
    /// PostgreSQL's `ALTER TABLE ... DETACH PARTITION ... CONCURRENTLY`.
    DetachPartition {
        /// The partitioned table, as SQL.
        parent: String,
        /// The partition, as SQL.
        child: String,
    },
    /// Doing it twice is as good as once: `VACUUM`, `ALTER SYSTEM`.
    Repeatable,
    /// MySQL's DDL: atomic, and committed at once. Whether it took effect is seen by comparing the
    /// catalog with a fingerprint taken before.
    Ddl {
        /// The one table that it changes, as SQL; `None`: several, or something else.
        table: Option<String>,
    },
    /// Nobody can know: a person decides.
    Unknown,
}

/// The statement's shape. What is not known is taken for [`Shape::Inside`].
pub fn shape(statement: &Statement, dialect: Dialect) -> Shape {
    let mut at = Cursor::new(&statement.tokens);
    match dialect {
        Dialect::Postgres => postgres(&mut at),
        Dialect::Sqlite => sqlite(&mut at),
        Dialect::Mysql => mysql(&mut at),
    }
}

/// Reads tokens from the left.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    rest: &'a [Token],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(tokens: &'a [Token]) -> Self {
        Self { rest: tokens }
    }

    /// Takes the keyword, if it is next.
    pub(super) fn eat(&mut self, keyword: &str) -> bool {
        let is = self.rest.first().is_some_and(|t| t.is(keyword));
        if is {
            self.rest = &self.rest[1..];
        }
        is
    }

    /// Takes all of these, or nothing.
    pub(super) fn eat_all(&mut self, keywords: &[&str]) -> bool {
        let is = keywords.len() <= self.rest.len()
            && keywords.iter().zip(self.rest).all(|(k, t)| t.is(k));
        if is {
            self.rest = &self.rest[keywords.len()..];
        }
        is
    }

    /// Takes one of these.
    pub(super) fn eat_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.eat(keyword))
    }

    pub(super) fn eat_sign(&mut self, sign: &str) -> bool {
        let is = self.rest.first().is_some_and(|t| t.is_sign(sign));
        if is {
            self.rest = &self.rest[1..];
        }
        is
    }

    /// Takes a name with its schema, as SQL.
    pub(super) fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            let token = self.rest.first()?;
            if !matches!(token.kind, TokenKind::Word | TokenKind::Name) {
                return None;
            }
            name.push_str(&token.text);
            self.rest = &self.rest[1..];
            if !self.eat_sign(".") {
                return Some(name);
            }
            name.push('.');
        }
    }

    pub(super) fn rest(&self) -> &'a [Token] {
        self.rest
    }

    fn has(&self, keyword: &str) -> bool {
        self.rest.iter().any(|t| t.is(keyword))
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

fn is_control(at: &Cursor<'_>) -> bool {
    let mut at = at.clone();
    if at.eat("ROLLBACK") {
        // To a savepoint is fine: it stays inside.
        at.eat_any(&["WORK", "TRANSACTION"]);
        return !at.eat("TO");
    }
    at.eat_any(&["BEGIN", "COMMIT", "END", "ABORT"]) && !at.eat("NOT")
        || at.eat_all(&["START", "TRANSACTION"])
        || at.eat_all(&["PREPARE", "TRANSACTION"])
}

fn postgres(at: &mut Cursor<'_>) -> Shape {
    if is_control(at) {
        return Shape::Control;
    }
    if at.eat("RESET") {
        return Shape::Setting;
    }
    if at.eat("SET") {
        return if at.eat_any(&["LOCAL", "TRANSACTION", "CONSTRAINTS"]) {
            Shape::Inside
        } else {
            Shape::Setting
        };
    }
    let outside = if at.eat("CREATE") {
        at.eat("UNIQUE");
        if at.eat_all(&["INDEX", "CONCURRENTLY"]) {
            at.eat_all(&["IF", "NOT", "EXISTS"]);
            let mut name = None;
            if !at.eat("ON") {
                name = at.name();
                at.eat("ON");
            }
            at.eat("ONLY");
            at.name().map(|table| Outside::CreateIndex { name, table })
        } else if at.eat_any(&["DATABASE", "TABLESPACE", "SUBSCRIPTION"]) {
            Some(Outside::Unknown)
        } else {
            None
        }
    } else if at.eat("DROP") {
        if at.eat_all(&["INDEX", "CONCURRENTLY"]) {
            at.eat_all(&["IF", "EXISTS"]);
            at.name().map(|name| Outside::DropIndex { name })
        } else if at.eat_any(&["DATABASE", "TABLESPACE", "SUBSCRIPTION"]) {
            Some(Outside::Unknown)
        } else {
            None
        }
    } else if at.eat("REINDEX") {
        if at.has("CONCURRENTLY") {
            Some(Outside::Reindex)
        } else if at.has("DATABASE") || at.has("SYSTEM") || at.has("SCHEMA") {
            Some(Outside::Repeatable)
        } else {
            None
        }
    } else if at.eat("ALTER") {
        if at.eat("SYSTEM") {
            Some(Outside::Repeatable)
        } else if at.eat("TABLE") {
            at.eat_all(&["IF", "EXISTS"]);
            at.eat("ONLY");
            detach(at)
        } else {
            None
        }
    } else if at.eat("VACUUM") || at.eat_all(&["DISCARD", "ALL"]) {
        Some(Outside::Repeatable)
    } else if at.eat("CLUSTER") {
        at.is_empty().then_some(Outside::Repeatable)
    } else if at.eat("COPY") {
        return if at.has("STDIN") || at.has("STDOUT") {
            Shape::Client
        } else {
            Shape::Inside
        };
    } else {
        None
    };
    outside.map_or(Shape::Inside, Shape::Outside)
}

fn detach(at: &mut Cursor<'_>) -> Option<Outside> {
    let parent = at.name()?;
    if !at.eat_all(&["DETACH", "PARTITION"]) {
        return None;
    }
    let child = at.name()?;
    at.eat("CONCURRENTLY")
        .then_some(Outside::DetachPartition { parent, child })
}

fn sqlite(at: &mut Cursor<'_>) -> Shape {
    if is_control(at) {
        return Shape::Control;
    }
    if at.eat_any(&["VACUUM", "DETACH"]) {
        return Shape::Outside(Outside::Repeatable);
    }
    if at.eat("ATTACH") {
        return Shape::Outside(Outside::Unknown);
    }
    if !at.eat("PRAGMA") {
        return Shape::Inside;
    }
    let name = at.name().unwrap_or_default().to_ascii_lowercase();
    let sets = at.eat_sign("=") || at.eat_sign("(");
    if name == "foreign_keys" && sets && at.eat_any(&["OFF", "0", "FALSE", "NO"]) {
        return Shape::ForeignKeysOff;
    }
    match name.as_str() {
        // Inside a transaction these fail, or do nothing.
        "journal_mode" | "auto_vacuum" | "page_size" | "synchronous" | "wal_checkpoint"
        | "incremental_vacuum" => Shape::Outside(Outside::Repeatable),
        _ => Shape::Inside,
    }
}

fn mysql(at: &mut Cursor<'_>) -> Shape {
    if is_control(at) {
        return Shape::Control;
    }
    if at.eat_any(&["SET", "USE"]) {
        return Shape::Setting;
    }
    let begins = |at: &mut Cursor<'_>, words: &[&str]| at.eat_any(words);
    if begins(
        at,
        &[
            "INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH", "DO",
        ],
    ) {
        return Shape::Inside;
    }
    if begins(at, &["OPTIMIZE", "ANALYZE", "CHECK", "REPAIR", "FLUSH"]) {
        return Shape::Outside(Outside::Repeatable);
    }
    if at.eat("LOAD") {
        return if at.has("LOCAL") {
            Shape::Client
        } else {
            Shape::Inside
        };
    }
    if begins(at, &["GRANT", "REVOKE"]) {
        return Shape::Outside(Outside::Repeatable);
    }
    if let Some(verb) = at.rest().first().filter(|t| {
        ["CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"]
            .iter()
            .any(|word| t.is(word))
    }) {
        at.eat(&verb.text);
        if at.eat_any(&["USER", "ROLE"]) {
            return Shape::Outside(Outside::Unknown);
        }
        let table = mysql_table(at, verb.is("TRUNCATE"));
        return Shape::Outside(Outside::Ddl { table });
    }
    if at.rest().first().is_some_and(|t| t.kind == TokenKind::Hint) {
        return Shape::Outside(Outside::Ddl { table: None });
    }
    Shape::Outside(Outside::Unknown)
}

/// The table of a DDL statement, after its verb.
fn mysql_table(at: &mut Cursor<'_>, truncate: bool) -> Option<String> {
    at.eat_all(&["OR", "REPLACE"]);
    while at.eat_any(&[
        "TEMPORARY",
        "ONLINE",
        "OFFLINE",
        "IGNORE",
        "UNIQUE",
        "FULLTEXT",
        "SPATIAL",
    ]) {}
    if at.eat("INDEX") {
        let on = at.rest().iter().position(|t| t.is("ON"))?;
        return Cursor::new(&at.rest()[on + 1..]).name();
    }
    if !at.eat("TABLE") && !truncate {
        return None;
    }
    at.eat_all(&["IF", "EXISTS"]);
    at.eat_all(&["IF", "NOT", "EXISTS"]);
    let name = at.name()?;
    // Of several tables none tells for all.
    (!at.eat_sign(",")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::super::split;
    use super::*;

    fn of(text: &str, dialect: Dialect) -> Shape {
        shape(&split(text, dialect, 1).unwrap()[0], dialect)
    }

    #[test]
    fn what_postgres_refuses_in_a_transaction_is_known() {
        let pg = |text: &str| of(text, Dialect::Postgres);
        assert_eq!(
            pg("create unique index concurrently if not exists \"I\" on only a.b (c)"),
            Shape::Outside(Outside::CreateIndex {
                name: Some("\"I\"".to_owned()),
                table: "a.b".to_owned()
            })
        );
        assert_eq!(
            pg("CREATE INDEX CONCURRENTLY ON t (c)"),
            Shape::Outside(Outside::CreateIndex {
                name: None,
                table: "t".to_owned()
            })
        );
        assert_eq!(pg("create index i on t (c)"), Shape::Inside);
        assert_eq!(
            pg("drop index concurrently if exists s.i"),
            Shape::Outside(Outside::DropIndex {
                name: "s.i".to_owned()
            })
        );
        assert_eq!(
            pg("reindex (verbose) table concurrently t"),
            Shape::Outside(Outside::Reindex)
        );
        assert_eq!(
            pg("alter table p detach partition c concurrently"),
            Shape::Outside(Outside::DetachPartition {
                parent: "p".to_owned(),
                child: "c".to_owned()
            })
        );
        assert_eq!(pg("alter table p detach partition c"), Shape::Inside);
        assert_eq!(pg("vacuum t"), Shape::Outside(Outside::Repeatable));
        assert_eq!(pg("begin"), Shape::Control);
        assert_eq!(pg("rollback to savepoint a"), Shape::Inside);
        assert_eq!(pg("copy t from stdin"), Shape::Client);
        assert_eq!(pg("set search_path = a"), Shape::Setting);
        assert_eq!(pg("set local search_path = a"), Shape::Inside);
        assert_eq!(pg("do $$ begin commit; end $$"), Shape::Inside);
    }

    #[test]
    fn sqlite_and_mysql_have_their_own() {
        let lite = |text: &str| of(text, Dialect::Sqlite);
        assert_eq!(lite("PRAGMA foreign_keys=OFF"), Shape::ForeignKeysOff);
        assert_eq!(lite("pragma foreign_keys = on"), Shape::Inside);
        assert_eq!(
            lite("pragma journal_mode = wal"),
            Shape::Outside(Outside::Repeatable)
        );
        let my = |text: &str| of(text, Dialect::Mysql);
        let ddl = |table: Option<&str>| {
            let table = table.map(str::to_owned);
            Shape::Outside(Outside::Ddl { table })
        };
        assert_eq!(my("alter table t add x int"), ddl(Some("t")));
        assert_eq!(
            my("create unique index i using btree on d.`t` (a)"),
            ddl(Some("d.`t`"))
        );
        assert_eq!(my("drop table if exists a, b"), ddl(None));
        assert_eq!(my("truncate t"), ddl(Some("t")));
        assert_eq!(my("create view v as select 1"), ddl(None));
        assert_eq!(my("insert into t values (1)"), Shape::Inside);
        assert_eq!(my("call p()"), Shape::Outside(Outside::Unknown));
    }
}
