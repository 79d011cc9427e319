//! The schema of MySQL and MariaDB: what `SHOW CREATE` says, without counters and definers.

use std::collections::BTreeSet;

use super::rows::{Inserts, Sink};
use super::{Kind, Object, Options, Schema, canonical, order};
use crate::database::mysql::Mysql;
use crate::database::{Conn as _, Database, Session as _, Texts, literal};
use crate::error::{Error, answer};
use crate::sql::{Dialect, TokenKind};

/// A session that reads, in one snapshot.
pub(super) struct Reader {
    session: Mysql,
    /// Names of tables that are our own.
    own: Vec<String>,
    /// The database.
    home: String,
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text(row: &[Option<String>], i: usize) -> &str {
    row.get(i).and_then(|v| v.as_deref()).unwrap_or("")
}

impl Reader {
    pub(super) async fn open(database: &Database, options: &Options) -> Result<Self, Error> {
        let mut session = Mysql::connect(database, &options.table, false)
            .await
            .map_err(Error::database("connect to the database"))?;
        session.look().await?;
        let settings = [
            // Backquotes, whatever the server's own rules are.
            "set session sql_mode = '', session time_zone = '+00:00', \
             session sql_quote_show_create = 1, session net_write_timeout = 3600",
            if session.is_mariadb() {
                "set session max_statement_time = 0"
            } else {
                "set session max_execution_time = 0"
            },
            "set session transaction isolation level repeatable read",
            "start transaction with consistent snapshot",
        ];
        for sql in settings {
            session
                .conn()
                .execute(sql)
                .await
                .map_err(Error::database("begin a snapshot"))?;
        }
        let own = if options.ours {
            Vec::new()
        } else {
            session.tables().bare_names().to_vec()
        };
        let mut reader = Self {
            session,
            own,
            home: String::new(),
        };
        let rows = reader
            .ask("the database's name", "select database()")
            .await?;
        reader.home = rows.first().map_or("", |row| text(row, 0)).to_owned();
        Ok(reader)
    }

    async fn ask(&mut self, what: &str, sql: &str) -> Result<Texts, Error> {
        let rows = self.session.conn().texts(sql).await;
        rows.map_err(Error::database(format_args!("read {what}")))
    }

    pub(super) async fn count(&mut self, sql: &str) -> Result<u64, Error> {
        Ok(super::first_number(&self.ask("rows", sql).await?))
    }

    pub(super) async fn schema(&mut self) -> Result<Schema, Error> {
        let mut schema = Schema::new(Dialect::Mysql);
        let mut edges = BTreeSet::new();
        self.defaults(&mut schema).await?;
        self.relations(&mut schema, &mut edges).await?;
        self.routines(&mut schema).await?;
        self.triggers(&mut schema, &mut edges).await?;
        self.events(&mut schema).await?;
        let order = match order::sort(&mut schema.objects, &edges) {
            Ok(order) => order,
            Err(circle) => {
                let names: Vec<&str> = circle
                    .iter()
                    .map(|&i| schema.objects[i].name.as_str())
                    .collect();
                return Err(Error::Refused(format!(
                    "these views name each other in a circle: {}",
                    names.join(", ")
                )));
            }
        };
        let mut objects: Vec<_> = schema.objects.into_iter().map(Some).collect();
        schema.objects = order.iter().filter_map(|&i| objects[i].take()).collect();
        Ok(schema)
    }

    /// What new tables get: to compare, not to write: it is the database's, not the schema's.
    async fn defaults(&mut self, schema: &mut Schema) -> Result<(), Error> {
        let rows = self
            .ask(
                "the database's defaults",
                "select default_character_set_name, default_collation_name \
                 from information_schema.schemata where schema_name = database()",
            )
            .await?;
        let mut object = Object::new(Kind::Schema, "the database");
        for row in &rows {
            object.part("character set", text(row, 0));
            object.part("collation", text(row, 1));
        }
        schema.objects.push(object);
        Ok(())
    }

    async fn relations(
        &mut self,
        schema: &mut Schema,
        edges: &mut BTreeSet<(usize, usize)>,
    ) -> Result<(), Error> {
        let rows = self
            .ask(
                "the list of tables",
                "select table_name, table_type from information_schema.tables \
                 where table_schema = database()",
            )
            .await?;
        let mut views = Vec::new();
        for row in &rows {
            let (raw, kind) = (text(row, 0), text(row, 1));
            if self.own.iter().any(|own| own == raw) {
                continue;
            }
            let name = quoted(raw);
            match kind {
                "VIEW" => {
                    let sql = format!("show create view {name}");
                    match self.session.conn().texts(&sql).await {
                        Ok(rows) => {
                            let sql = rows.first().map_or("", |row| text(row, 1));
                            views.push((schema.objects.len(), raw.to_owned()));
                            let sql = without_definer(sql);
                            schema.objects.push(Object::whole(Kind::View, name, sql));
                        }
                        Err(error) => schema
                            .left_out
                            .push(format!("view {name}: it can't be read: {}", answer(&error))),
                    }
                }
                "SEQUENCE" => {
                    let rows = self
                        .ask("a sequence", &format!("show create sequence {name}"))
                        .await?;
                    let sql = rows.first().map_or("", |row| text(row, 1));
                    schema
                        .objects
                        .push(Object::whole(Kind::Sequence, name, sql));
                }
                "BASE TABLE" | "SYSTEM VERSIONED" => {
                    let rows = self
                        .ask("a table", &format!("show create table {name}"))
                        .await?;
                    let sql = rows.first().map_or("", |row| text(row, 1));
                    let sql = without_home(sql, &self.home);
                    schema.objects.push(table(&name, &sql));
                }
                other => schema
                    .left_out
                    .push(format!("{} {name}", other.to_lowercase())),
            }
        }
        // Views of views: a view's text has every name in backquotes.
        for &(at, _) in &views {
            let sql = schema.objects[at].statements[0].clone();
            let used = used_names(&sql);
            for (other, name) in &views {
                if *other != at && used.contains(name) {
                    edges.insert((*other, at));
                }
            }
        }
        Ok(())
    }

    async fn routines(&mut self, schema: &mut Schema) -> Result<(), Error> {
        let rows = self
            .ask(
                "the list of routines",
                "select routine_name, routine_type from information_schema.routines \
                 where routine_schema = database()",
            )
            .await?;
        for row in &rows {
            let name = quoted(text(row, 0));
            let kind = match text(row, 1) {
                "FUNCTION" => Kind::Function,
                "PROCEDURE" => Kind::Procedure,
                other => {
                    let note = format!("{} {name}", other.to_lowercase());
                    schema.left_out.push(note);
                    continue;
                }
            };
            let sql = format!("show create {} {name}", kind.word());
            let rows = self.ask("a routine", &sql).await?;
            let (mode, sql) = rows
                .first()
                .map_or(("", ""), |row| (text(row, 1), text(row, 2)));
            if sql.is_empty() {
                schema.left_out.push(format!(
                    "{} {name}: this user may not see its body",
                    kind.word()
                ));
                continue;
            }
            schema.objects.push(program(kind, name, mode, None, sql));
        }
        Ok(())
    }

    async fn triggers(
        &mut self,
        schema: &mut Schema,
        edges: &mut BTreeSet<(usize, usize)>,
    ) -> Result<(), Error> {
        let rows = self
            .ask(
                "the list of triggers",
                "select trigger_name, event_object_table, action_timing, event_manipulation \
                 from information_schema.triggers where trigger_schema = database() \
                 order by 2, 3, 4, action_order",
            )
            .await?;
        let mut before: Option<(Vec<String>, usize)> = None;
        for row in &rows {
            let name = quoted(text(row, 0));
            let rows = self
                .ask("a trigger", &format!("show create trigger {name}"))
                .await?;
            let (mode, sql) = rows
                .first()
                .map_or(("", ""), |row| (text(row, 1), text(row, 2)));
            let name = format!("{name} on {}", quoted(text(row, 1)));
            let at = schema.objects.len();
            schema
                .objects
                .push(program(Kind::Trigger, name, mode, None, sql));
            // Several for the same moment run in the order of their creation.
            let moment: Vec<String> = (1..4).map(|i| text(row, i).to_owned()).collect();
            if let Some((same, first)) = &before
                && *same == moment
            {
                edges.insert((*first, at));
            }
            before = Some((moment, at));
        }
        Ok(())
    }

    async fn events(&mut self, schema: &mut Schema) -> Result<(), Error> {
        let rows = self
            .ask(
                "the list of events",
                "select event_name from information_schema.events \
                 where event_schema = database()",
            )
            .await?;
        for row in &rows {
            let name = quoted(text(row, 0));
            let rows = self
                .ask("an event", &format!("show create event {name}"))
                .await?;
            let row = rows.first().cloned().unwrap_or_default();
            schema.objects.push(program(
                Kind::Event,
                name,
                text(&row, 1),
                Some(text(&row, 2)),
                text(&row, 3),
            ));
        }
        Ok(())
    }

    pub(super) async fn rows(&mut self, sink: &mut Sink<'_>) -> Result<(), Error> {
        let tables = self
            .ask(
                "the list of tables",
                "select table_name from information_schema.tables where table_schema = database() \
                 and table_type in ('BASE TABLE', 'SYSTEM VERSIONED') order by 1",
            )
            .await?;
        for row in &tables {
            let raw = text(row, 0);
            if self.own.iter().any(|own| own == raw) {
                continue;
            }
            let is_table = format!(
                "table_schema = database() and table_name = {}",
                literal(raw, Dialect::Mysql)
            );
            let columns = self
                .ask(
                    "a table's columns",
                    &format!(
                        "select column_name, data_type from information_schema.columns \
                         where {is_table} and coalesce(generation_expression, '') = '' \
                         order by ordinal_position"
                    ),
                )
                .await?;
            let key = self
                .ask(
                    "a table's key",
                    &format!(
                        "select column_name from information_schema.statistics \
                         where {is_table} and index_name = 'PRIMARY' order by seq_in_index"
                    ),
                )
                .await?;
            let names: Vec<String> = columns.iter().map(|c| quoted(text(c, 0))).collect();
            let wanted: Vec<String> = columns
                .iter()
                .map(|c| match text(c, 1) {
                    // A float is printed with six digits; as a double, with all that it has.
                    "float" => format!("{} + 0e0", quoted(text(c, 0))),
                    _ => quoted(text(c, 0)),
                })
                .collect();
            let key: Vec<String> = key.iter().map(|c| quoted(text(c, 0))).collect();
            let name = quoted(raw);
            let mut sql = format!("select {} from {name}", wanted.join(", "));
            if !key.is_empty() {
                sql.push_str(&format!(" order by {}", key.join(", ")));
            }
            let head = format!("INSERT INTO {name} ({}) VALUES", names.join(", "));
            let mut inserts = Inserts::new(&name, head);
            inserts.mysql(self.session.conn(), &sql, sink).await?;
        }
        Ok(())
    }

    /// Sequences, where they stand.
    pub(super) async fn last_statements(&mut self) -> Result<Vec<String>, Error> {
        let sequences = self
            .ask(
                "the list of sequences",
                "select table_name from information_schema.tables where table_schema = database() \
                 and table_type = 'SEQUENCE' order by 1",
            )
            .await?;
        let mut out = Vec::new();
        for row in &sequences {
            let name = quoted(text(row, 0));
            let next = self
                .ask(
                    "a sequence",
                    &format!("select next_not_cached_value from {name}"),
                )
                .await?;
            let next = next.first().map_or("1", |row| text(row, 0)).to_owned();
            out.push(format!("SELECT SETVAL({name}, {next}, 0)"));
        }
        Ok(out)
    }
}

/// A routine, trigger or event: it runs under the rules that it was made under.
fn program(kind: Kind, name: String, mode: &str, zone: Option<&str>, sql: &str) -> Object {
    // MySQL keeps the `;` of a body that came in one message with other statements.
    let sql = without_definer(sql.trim_end_matches([';', ' ', '\n']));
    let mut object = Object::new(kind, name);
    let known = if kind == Kind::Event {
        without_start(&sql)
    } else {
        sql.clone()
    };
    object.part("definition", known);
    object.part("sql_mode", mode);
    object.run(format!("SET sql_mode = {}", literal(mode, Dialect::Mysql)));
    if let Some(zone) = zone {
        object.part("time_zone", zone);
        object.run(format!("SET time_zone = {}", literal(zone, Dialect::Mysql)));
    }
    object.run(sql);
    object.run("SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'");
    if zone.is_some() {
        object.run("SET time_zone = '+00:00'");
    }
    object
}

/// Without who made it: that belongs to a server, and whoever loads it becomes that.
fn without_definer(sql: &str) -> String {
    let tokens = canonical::tokens(sql, Dialect::Mysql);
    let word = |i: usize| {
        tokens
            .get(i)
            .map_or("", |t: &(TokenKind, usize, usize)| &sql[t.1..t.2])
    };
    let Some(at) = (0..tokens.len().min(12))
        .find(|&i| word(i).eq_ignore_ascii_case("DEFINER") && word(i + 1) == "=")
    else {
        return sql.to_owned();
    };
    let last = if word(at + 3) == "@" { at + 4 } else { at + 2 };
    let Some(next) = tokens.get(last + 1) else {
        return sql.to_owned();
    };
    format!("{}{}", &sql[..tokens[at].1], &sql[next.1..])
}

/// A table's text without the name of its own database: MariaDB writes it before a sequence that a
/// default takes its numbers from.
fn without_home(sql: &str, home: &str) -> String {
    let tokens = canonical::tokens(sql, Dialect::Mysql);
    let home = quoted(home);
    let mut out = String::with_capacity(sql.len());
    let mut copied = 0;
    for some in tokens.windows(4) {
        let [word, open, name, dot] = [0, 1, 2, 3].map(|i| &sql[some[i].1..some[i].2]);
        let is_call = ["nextval", "lastval", "setval"]
            .iter()
            .any(|function| word.eq_ignore_ascii_case(function));
        if is_call && open == "(" && name == home && dot == "." {
            out.push_str(&sql[copied..some[2].1]);
            copied = some[3].2;
        }
    }
    out.push_str(&sql[copied..]);
    out
}

/// An event without the moment from which it runs, which is the one of its creation if nothing else
/// was said.
fn without_start(sql: &str) -> String {
    let tokens = canonical::tokens(sql, Dialect::Mysql);
    let found = tokens
        .windows(2)
        .find(|pair| sql[pair[0].1..pair[0].2].eq_ignore_ascii_case("STARTS"));
    match found {
        Some(pair) if pair[1].0 == TokenKind::Text => {
            format!("{}{}", &sql[..pair[0].1], sql[pair[1].2..].trim_start())
        }
        _ => sql.to_owned(),
    }
}

/// Names in backquotes that may be tables' or views': no columns (`x`.`y`), no aliases.
fn used_names(sql: &str) -> BTreeSet<String> {
    let tokens = canonical::tokens(sql, Dialect::Mysql);
    let mut out = BTreeSet::new();
    for (i, &(kind, start, end)) in tokens.iter().enumerate() {
        let before = i
            .checked_sub(1)
            .map_or("", |b| &sql[tokens[b].1..tokens[b].2]);
        let is_name =
            kind == TokenKind::Name && before != "." && !before.eq_ignore_ascii_case("as");
        if is_name {
            out.insert(sql[start + 1..end - 1].replace("``", "`"));
        }
    }
    out
}

/// A table from `SHOW CREATE TABLE`: a line for each column and key.
fn table(name: &str, sql: &str) -> Object {
    let mut object = Object::new(Kind::Table, name);
    let mut columns = Vec::new();
    let mut tail: Vec<String> = Vec::new();
    let mut lines: Vec<String> = Vec::new();
    for line in sql.lines() {
        let line = if line.starts_with(") ") && tail.is_empty() {
            let line = without_counter(line);
            tail.push(line.clone());
            line
        } else {
            if !tail.is_empty() {
                tail.push(line.to_owned());
            } else if let Some(item) = line.strip_prefix("  ") {
                let item = item.strip_suffix(',').unwrap_or(item);
                let what = item_name(item);
                if let Some(column) = what.strip_prefix("column ") {
                    columns.push(column.to_owned());
                }
                object.part(what, item);
            }
            line.to_owned()
        };
        lines.push(line);
    }
    object.part("column order", columns.join(", "));
    object.part("options", tail.join("\n").trim_start_matches(") "));
    object.run(lines.join("\n"));
    object
}

/// `ENGINE=InnoDB AUTO_INCREMENT=7 ...` without the counter.
fn without_counter(line: &str) -> String {
    const WORD: &str = " AUTO_INCREMENT=";
    let Some(at) = line.find(WORD) else {
        return line.to_owned();
    };
    // Not inside a comment.
    if line[..at].contains('\'') {
        return line.to_owned();
    }
    let rest = line[at + WORD.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{rest}", &line[..at])
}

/// What a line of `SHOW CREATE TABLE` is about: ``column `a` ``, ``key `k` ``, `primary key`.
fn item_name(item: &str) -> String {
    let tokens = canonical::tokens(item, Dialect::Mysql);
    let word = |i: usize| {
        tokens
            .get(i)
            .map_or("", |t: &(TokenKind, usize, usize)| &item[t.1..t.2])
    };
    if tokens.first().is_some_and(|t| t.0 == TokenKind::Name) {
        return format!("column {}", word(0));
    }
    match word(0) {
        "PRIMARY" => "primary key".to_owned(),
        "CONSTRAINT" if word(2) == "FOREIGN" => format!("foreign key {}", word(1)),
        "CONSTRAINT" => format!("check {}", word(1)),
        "KEY" => format!("key {}", word(1)),
        _ if word(1) == "KEY" => format!("key {}", word(2)),
        _ => item.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_definers_go() {
        let line =
            ") ENGINE=InnoDB AUTO_INCREMENT=7 DEFAULT CHARSET=utf8mb4 COMMENT='a AUTO_INCREMENT=3'";
        assert_eq!(
            without_counter(line),
            ") ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='a AUTO_INCREMENT=3'"
        );
        let kept = ") ENGINE=InnoDB COMMENT='a AUTO_INCREMENT=3'";
        assert_eq!(without_counter(kept), kept);
        assert_eq!(
            without_definer("CREATE DEFINER=`a``b`@`%` PROCEDURE `p`() select 'DEFINER=`x`@`y`'"),
            "CREATE PROCEDURE `p`() select 'DEFINER=`x`@`y`'"
        );
        assert_eq!(
            without_definer(
                "CREATE ALGORITHM=MERGE DEFINER=`role` SQL SECURITY INVOKER VIEW `v` AS select 1"
            ),
            "CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW `v` AS select 1"
        );
        assert_eq!(
            without_start(
                "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 00:00:00' ON COMPLETION NOT PRESERVE ENABLE DO select 1"
            ),
            "CREATE EVENT `e` ON SCHEDULE EVERY 1 DAY ON COMPLETION NOT PRESERVE ENABLE DO select 1"
        );
    }

    #[test]
    fn a_sequence_is_the_own_databases() {
        assert_eq!(
            without_home(
                "`n` int DEFAULT nextval(`a``p`.`s`), `m` int DEFAULT (`x`.`y`)",
                "a`p"
            ),
            "`n` int DEFAULT nextval(`s`), `m` int DEFAULT (`x`.`y`)"
        );
    }

    #[test]
    fn a_table_is_known_by_its_lines() {
        let sql = "CREATE TABLE `t` (\n  `a,b` int(11) NOT NULL COMMENT 'x, y',\n  \
                   PRIMARY KEY (`a,b`),\n  UNIQUE KEY `u` (`a,b`),\n  CONSTRAINT `f` FOREIGN KEY \
                   (`a,b`) REFERENCES `t` (`a,b`)\n) ENGINE=InnoDB AUTO_INCREMENT=3\n PARTITION BY \
                   HASH (`a,b`)";
        let table = table("`t`", sql);
        let what: Vec<&str> = table.parts.iter().map(|p| p.what.as_str()).collect();
        assert_eq!(
            what,
            [
                "column `a,b`",
                "primary key",
                "key `u`",
                "foreign key `f`",
                "column order",
                "options"
            ]
        );
        assert!(!table.statements[0].contains("AUTO_INCREMENT"));
        assert!(table.parts[5].is.contains("PARTITION BY"));
    }

    #[test]
    fn views_are_found_in_views() {
        let used = used_names("CREATE VIEW `v` AS select `w`.`x` AS `y` from (`w` join `z` `q`)");
        let used: Vec<&str> = used.iter().map(String::as_str).collect();
        assert_eq!(used, ["q", "v", "w", "z"]);
    }
}
