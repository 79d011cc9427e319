//! Tokens to statements. It reads what rules ask for and steps over the rest; what it can't place
//! is [`Stmt::Unknown`] or [`ActionKind::Unknown`], never an error: whether a statement is right is
//! the business of the dialect's own parser (`syntax.rs`).

use super::Span;
use super::dialect::Dialect;
use super::statement::{Change, CreateIndex, Expr, Name, ObjectKind, Stmt, Transaction};
use super::token::{Kind, Token};

mod alter;
mod change;
mod create;
mod define;

/// Reads one statement.
pub(crate) fn parse(text: &str, tokens: &[Token], dialect: Dialect) -> Stmt {
    let mut cursor = Cursor {
        text,
        tokens,
        at: 0,
        dialect,
    };
    cursor.statement().unwrap_or(Stmt::Unknown)
}

pub(crate) struct Cursor<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    dialect: Dialect,
}

/// The name as the database sees it.
fn fold(name: &str, quoted: bool, dialect: Dialect) -> String {
    if quoted && dialect == Dialect::Postgres {
        name.to_owned()
    } else {
        name.to_lowercase()
    }
}

impl<'a> Cursor<'a> {
    fn mysql(&self) -> bool {
        self.dialect == Dialect::Mysql
    }

    fn pg(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    fn token(&self, ahead: usize) -> Option<Token> {
        self.tokens.get(self.at + ahead).copied()
    }

    fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.start..span.end).unwrap_or_default()
    }

    fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    /// Whether the token so far ahead is this keyword.
    fn is_at(&self, ahead: usize, word: &str) -> bool {
        self.token(ahead)
            .is_some_and(|t| t.kind == Kind::Word && self.slice(t.span).eq_ignore_ascii_case(word))
    }

    fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }

    fn eat(&mut self, word: &str) -> bool {
        let is = self.is(word);
        self.at += usize::from(is);
        is
    }

    /// All of the words, or none.
    fn eat_all(&mut self, words: &[&str]) -> bool {
        let all = words
            .iter()
            .enumerate()
            .all(|(n, word)| self.is_at(n, word));
        if all {
            self.at += words.len();
        }
        all
    }

    fn eat_any(&mut self, words: &[&str]) -> bool {
        words.iter().any(|word| self.eat(word))
    }

    fn punct_at(&self, ahead: usize, sign: &str) -> bool {
        self.token(ahead)
            .is_some_and(|t| t.kind == Kind::Punct && self.slice(t.span) == sign)
    }

    fn punct(&self, sign: &str) -> bool {
        self.punct_at(0, sign)
    }

    fn eat_punct(&mut self, sign: &str) -> bool {
        let is = self.punct(sign);
        self.at += usize::from(is);
        is
    }

    /// Where the next token begins, or the last one ends.
    fn here(&self) -> usize {
        match self.token(0) {
            Some(token) => token.span.start,
            None => self.tokens.last().map_or(0, |t| t.span.end),
        }
    }

    /// From a place to the end of the last token read.
    fn since(&self, start: usize) -> Span {
        let last = self.at.checked_sub(1).and_then(|n| self.tokens.get(n));
        let end = last.map_or(start, |t| t.span.end);
        Span {
            start,
            end: end.max(start),
        }
    }

    /// One part of a name.
    fn part(&mut self) -> Option<(String, Span)> {
        let token = self.token(0)?;
        let written = self.slice(token.span);
        let name = match token.kind {
            Kind::Word => fold(written, false, self.dialect),
            Kind::Ident => {
                let quote = &written[written.len() - 1..];
                let inner = written.get(1..written.len() - 1).unwrap_or_default();
                let inner = inner.replace(&quote.repeat(2), quote);
                fold(&inner, true, self.dialect)
            }
            // SQLite takes a string for a name.
            Kind::Str if self.dialect == Dialect::Sqlite => {
                written.trim_matches('\'').to_lowercase()
            }
            _ => return None,
        };
        self.at += 1;
        Some((name, token.span))
    }

    /// `a`, `"a"."b"`.
    fn name(&mut self) -> Option<Name> {
        let (mut key, mut span) = self.part()?;
        let mut qualified = false;
        while self.punct(".") {
            self.at += 1;
            let (next, at) = self.part()?;
            let default = match self.dialect {
                Dialect::Postgres => key == "public",
                Dialect::Sqlite => key == "main",
                Dialect::Mysql => false,
            };
            key = if default {
                next
            } else {
                format!("{key}.{next}")
            };
            span.end = at.end;
            qualified = true;
        }
        Some(Name {
            key,
            qualified,
            span,
        })
    }

    /// Steps over `( ... )`; where it stands at none, over nothing. Gives the tokens within.
    fn parens(&mut self) -> Option<&'a [Token]> {
        if !self.punct("(") {
            return None;
        }
        let from = self.at + 1;
        let mut depth = 0;
        while let Some(token) = self.token(0) {
            if token.kind == Kind::Punct {
                match self.slice(token.span) {
                    "(" => depth += 1,
                    ")" => depth -= 1,
                    _ => {}
                }
            }
            self.at += 1;
            if depth == 0 {
                return Some(&self.tokens[from..self.at - 1]);
            }
        }
        self.tokens.get(from..)
    }

    /// A cursor of its own for what stands in parentheses.
    fn within(&mut self) -> Option<Cursor<'a>> {
        let tokens = self.parens()?;
        Some(Cursor {
            text: self.text,
            tokens,
            at: 0,
            dialect: self.dialect,
        })
    }

    /// Steps over one token, or over parentheses.
    fn step(&mut self) {
        if self.punct("(") {
            self.parens();
        } else {
            self.at += 1;
        }
    }

    /// Steps to a `,` outside parentheses, or to the end.
    fn skip_to_comma(&mut self) {
        // A stray `)` is stepped over like anything else.
        while !self.done() && !self.punct(",") {
            self.step();
        }
    }

    fn if_exists(&mut self) -> bool {
        self.eat_all(&["IF", "EXISTS"])
    }

    fn if_not_exists(&mut self) -> Option<Span> {
        let start = self.here();
        self.eat_all(&["IF", "NOT", "EXISTS"])
            .then(|| self.since(start))
    }

    fn names(&mut self) -> Vec<Name> {
        let mut names = Vec::new();
        loop {
            self.eat("ONLY");
            let Some(name) = self.name() else { break };
            names.push(name);
            self.eat_punct("*");
            // The arguments of a function.
            if self.punct("(") {
                self.parens();
            }
            if !self.eat_punct(",") {
                break;
            }
        }
        names
    }

    fn string(&mut self) -> Option<String> {
        let token = self.token(0)?;
        if token.kind != Kind::Str {
            return None;
        }
        self.at += 1;
        let written = self.slice(token.span);
        let quote = written.chars().last()?;
        let inner = written
            .get(1..written.len().saturating_sub(1))
            .unwrap_or_default();
        Some(inner.replace(&format!("{quote}{quote}"), &quote.to_string()))
    }

    /// What an expression of these tokens is.
    fn expression(&self, tokens: &[Token]) -> Expr {
        let span = match (tokens.first(), tokens.last()) {
            (Some(first), Some(last)) => Span {
                start: first.span.start,
                end: last.span.end,
            },
            _ => Span::default(),
        };
        let word = |t: &Token| self.slice(t.span).to_lowercase();
        let mut calls = Vec::new();
        for (n, token) in tokens.iter().enumerate() {
            let called = tokens.get(n + 1).is_some_and(|t| self.slice(t.span) == "(");
            let cast = n > 0 && self.slice(tokens[n - 1].span) == "::";
            if token.kind == Kind::Word && called && !cast {
                calls.push(word(token));
            }
            // Functions without parentheses.
            if token.kind == Kind::Word && !called && word(token).starts_with("current_") {
                calls.push(word(token));
            }
        }
        // A cast's type is no part of the value.
        let mut plain = tokens;
        if let Some(cast) = plain.iter().position(|t| self.slice(t.span) == "::") {
            plain = &plain[..cast];
        }
        while plain.len() > 2
            && self.slice(plain[0].span) == "("
            && self.slice(plain[plain.len() - 1].span) == ")"
        {
            plain = &plain[1..plain.len() - 1];
        }
        if let [sign, number] = plain
            && matches!(self.slice(sign.span), "-" | "+")
            && number.kind == Kind::Number
        {
            plain = &plain[1..];
        }
        let only = match plain {
            [token] => Some(token),
            _ => None,
        };
        let null = only.is_some_and(|t| word(t) == "null");
        let literal = only.is_some_and(|t| {
            matches!(t.kind, Kind::Str | Kind::Number | Kind::Dollar)
                || matches!(word(t).as_str(), "true" | "false" | "null")
                || (self.dialect == Dialect::Mysql && t.kind == Kind::Ident)
        });
        Expr {
            span,
            calls,
            literal,
            null,
        }
    }

    fn statement(&mut self) -> Option<Stmt> {
        let first = self.token(0)?;
        if first.kind == Kind::Client {
            return Some(Stmt::Opaque);
        }
        if first.kind == Kind::Punct && self.punct("(") {
            return Some(Stmt::Harmless);
        }
        if first.kind != Kind::Word {
            return None;
        }
        let start = self.at;
        self.at += 1;
        Some(match self.slice(first.span).to_ascii_uppercase().as_str() {
            "CREATE" => self.create()?,
            "ALTER" => self.alter()?,
            "DROP" => self.drop()?,
            "RENAME" => self.rename()?,
            "TRUNCATE" => {
                self.eat("TABLE");
                Stmt::Truncate {
                    tables: self.names(),
                }
            }
            "UPDATE" => self.update()?,
            "DELETE" => self.delete()?,
            "INSERT" | "REPLACE" => self.insert(start)?,
            "WITH" => self.with(),
            "SET" => self.set()?,
            "RESET" | "USE" | "SELECT" | "TABLE" | "VALUES" | "COMMENT" | "ANALYZE" | "ANALYSE"
            | "NOTIFY" | "LISTEN" | "SHOW" | "DESCRIBE" | "EXPLAIN" | "CHECKPOINT" | "FLUSH"
            | "SECURITY" | "MERGE" | "REASSIGN" | "FETCH" | "DECLARE" | "CLOSE" | "DISCARD"
            | "UNLOCK" | "IMPORT" | "LOAD" | "HANDLER" | "ATTACH" | "DETACH" | "CHECK" | "COPY" => {
                Stmt::Harmless
            }
            "BEGIN" | "START" => Stmt::Transaction(Transaction::Begin),
            "COMMIT" | "END" => Stmt::Transaction(Transaction::Commit),
            "ROLLBACK" | "ABORT" if self.is("TO") => Stmt::Transaction(Transaction::Savepoint),
            "ROLLBACK" | "ABORT" => Stmt::Transaction(Transaction::Rollback),
            "SAVEPOINT" | "RELEASE" => Stmt::Transaction(Transaction::Savepoint),
            "VACUUM" => Stmt::Vacuum {
                full: self.is("FULL")
                    || self.within().is_some_and(|within| {
                        let full = |t: &Token| within.slice(t.span).eq_ignore_ascii_case("full");
                        within.tokens.iter().any(full)
                    }),
            },
            "CLUSTER" => Stmt::Cluster,
            "REINDEX" => self.reindex(),
            "REFRESH" => self.refresh()?,
            "OPTIMIZE" => {
                self.eat_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
                self.eat("TABLE");
                Stmt::Optimize(self.name()?)
            }
            "REPAIR" => {
                self.eat("TABLE");
                Stmt::Optimize(self.name()?)
            }
            "GRANT" => Stmt::Grant,
            "REVOKE" => Stmt::Revoke,
            "PRAGMA" => self.pragma()?,
            "LOCK" => Stmt::Harmless,
            "DO" | "CALL" | "EXECUTE" | "PREPARE" | "DEALLOCATE" => Stmt::Opaque,
            _ => return None,
        })
    }

    fn rename(&mut self) -> Option<Stmt> {
        if !self.eat_any(&["TABLE", "TABLES"]) {
            return Some(Stmt::Harmless);
        }
        let mut pairs = Vec::new();
        loop {
            self.if_exists();
            let from = self.name()?;
            if self.is_any(&["WAIT", "NOWAIT"]) {
                self.at += 1 + usize::from(self.is("WAIT"));
            }
            if !self.eat("TO") {
                return None;
            }
            pairs.push((from, self.name()?));
            if !self.eat_punct(",") {
                break;
            }
        }
        Some(Stmt::RenameTables(pairs))
    }

    fn reindex(&mut self) -> Stmt {
        let options = self.within();
        let in_options = options.is_some_and(|o| {
            let is = |t: &Token| o.slice(t.span).eq_ignore_ascii_case("concurrently");
            o.tokens.iter().any(is)
        });
        self.eat_any(&["INDEX", "TABLE", "SCHEMA", "DATABASE", "SYSTEM"]);
        Stmt::Reindex {
            after: self.since(0).end,
            concurrently: in_options || self.is("CONCURRENTLY"),
        }
    }

    fn refresh(&mut self) -> Option<Stmt> {
        if !self.eat_all(&["MATERIALIZED", "VIEW"]) {
            return Some(Stmt::Harmless);
        }
        let after = self.since(0).end;
        let concurrently = self.eat("CONCURRENTLY");
        let view = self.name()?;
        // Nothing is read, so nothing takes long.
        if self.eat_all(&["WITH", "NO", "DATA"]) {
            return Some(Stmt::Harmless);
        }
        Some(Stmt::Refresh {
            view,
            concurrently,
            after,
        })
    }

    fn drop(&mut self) -> Option<Stmt> {
        self.eat_any(&["TEMPORARY", "ONLINE", "OFFLINE"]);
        let kind = self.object_kind()?;
        let after_kind = self.since(0).end;
        let concurrently = self.eat("CONCURRENTLY");
        let if_exists = self.if_exists();
        let names = self.names();
        if names.is_empty() {
            return None;
        }
        let on = if self.eat("ON") { self.name() } else { None };
        Some(Stmt::Drop {
            kind,
            names,
            if_exists,
            concurrently,
            on,
            after_kind,
        })
    }

    /// The words behind CREATE, ALTER and DROP that say of what.
    fn object_kind(&mut self) -> Option<ObjectKind> {
        if self.eat_all(&["MATERIALIZED", "VIEW"]) {
            return Some(ObjectKind::MaterializedView);
        }
        if self.eat_all(&["FOREIGN", "TABLE"]) {
            return Some(ObjectKind::Table);
        }
        self.eat("RECURSIVE");
        let kinds = [
            ("TABLE", ObjectKind::Table),
            ("TABLES", ObjectKind::Table),
            ("VIEW", ObjectKind::View),
            ("INDEX", ObjectKind::Index),
            ("SEQUENCE", ObjectKind::Sequence),
            ("TYPE", ObjectKind::Type),
            ("DOMAIN", ObjectKind::Domain),
            ("FUNCTION", ObjectKind::Routine),
            ("PROCEDURE", ObjectKind::Routine),
            ("ROUTINE", ObjectKind::Routine),
            ("AGGREGATE", ObjectKind::Routine),
            ("TRIGGER", ObjectKind::Trigger),
            (
                "SCHEMA",
                if self.mysql() {
                    ObjectKind::Database
                } else {
                    ObjectKind::Schema
                },
            ),
            ("DATABASE", ObjectKind::Database),
        ];
        if let Some((_, kind)) = kinds.iter().find(|(word, _)| self.is(word)) {
            self.at += 1;
            return Some(*kind);
        }
        let others = [
            "EXTENSION",
            "ROLE",
            "USER",
            "POLICY",
            "RULE",
            "PUBLICATION",
            "SUBSCRIPTION",
            "EVENT",
            "SERVER",
            "COLLATION",
            "OPERATOR",
            "CAST",
            "STATISTICS",
            "TABLESPACE",
            "LANGUAGE",
            "FOREIGN",
            "TEXT",
            "CONVERSION",
            "ACCESS",
            "OWNED",
            "GROUP",
            "TRANSFORM",
            "LARGE",
            "DEFAULT",
            "SYSTEM",
            "PACKAGE",
            "RESOURCE",
            "SPATIAL",
            "LOGFILE",
            "INSTANCE",
            "UNDO",
        ];
        if others.iter().any(|word| self.is(word)) {
            self.at += 1;
            // `DROP OPERATOR CLASS`, `ACCESS METHOD`, ...: a second word.
            self.eat_any(&["CLASS", "FAMILY", "METHOD", "SEARCH", "WRAPPER", "MAPPING"]);
            return Some(ObjectKind::Other);
        }
        None
    }
}

/// Whether an object of this kind is only made or changed outside a transaction.
pub(crate) fn outside(kind: ObjectKind, dialect: Dialect) -> bool {
    kind == ObjectKind::Database && dialect == Dialect::Postgres
}
