//! `CREATE ...`.

use super::{CreateIndex, Cursor, ObjectKind, Stmt, outside};
use crate::lint::statement::{CreateTable, IndexDef, Name};

impl Cursor<'_> {
    pub(super) fn create(&mut self) -> Option<Stmt> {
        let replace = self.eat_all(&["OR", "REPLACE"]);
        let mut temporary = false;
        // Words between CREATE and what is created.
        loop {
            if self.eat_any(&["TEMP", "TEMPORARY"]) {
                temporary = true;
            } else if self.is("ALGORITHM") || self.is("DEFINER") {
                self.at += 1;
                self.eat_punct("=");
                self.part();
                // `a`@`b`, current_user()
                while self.punct("@")
                    || self.punct("(")
                    || self
                        .token(0)
                        .is_some_and(|t| self.slice(t.span).starts_with('@'))
                {
                    if self.eat_punct("@") {
                        self.part();
                    } else {
                        self.step();
                    }
                }
            } else if self.eat_all(&["SQL", "SECURITY"]) {
                self.at += 1;
            } else if !self.eat_any(&[
                "GLOBAL",
                "LOCAL",
                "UNLOGGED",
                "CONSTRAINT",
                "VIRTUAL",
                "TRUSTED",
                "PROCEDURAL",
                "ONLINE",
                "OFFLINE",
            ]) {
                break;
            }
        }
        let unique_at = self.here();
        let unique = self.eat("UNIQUE");
        let special = if self.is_any(&["FULLTEXT", "SPATIAL"]) {
            self.at += 1;
            Some(self.since(unique_at))
        } else {
            None
        };
        if self.is("INDEX") {
            return self.create_index(unique, special);
        }
        if self.is("TYPE") {
            return self.create_type();
        }
        if self.eat("DOMAIN") {
            let name = self.name()?;
            let mut constrained = false;
            while !self.done() {
                constrained |= self.is("CHECK") || (self.is("NOT") && self.is_at(1, "NULL"));
                self.step();
            }
            return Some(Stmt::CreateDomain { name, constrained });
        }
        let virtual_table = self.is("TABLE")
            && self
                .tokens
                .get(1)
                .is_some_and(|t| self.slice(t.span).eq_ignore_ascii_case("virtual"));
        let kind = self.object_kind()?;
        if outside(kind, self.dialect) {
            return Some(Stmt::Outside);
        }
        if kind == ObjectKind::Table && !virtual_table {
            return self.create_table(temporary);
        }
        let tablespace = self.tokens.get(1).is_some_and(|t| {
            let word = self.slice(t.span);
            word.eq_ignore_ascii_case("tablespace") || word.eq_ignore_ascii_case("subscription")
        });
        if tablespace && self.pg() {
            return Some(Stmt::Outside);
        }
        self.if_not_exists();
        if kind == ObjectKind::Schema && self.is("AUTHORIZATION") {
            return Some(Stmt::Harmless);
        }
        let name = self.name()?;
        let mut on = None;
        if kind == ObjectKind::Trigger {
            while !self.done() && !self.is("ON") {
                self.step();
            }
            if self.eat("ON") {
                on = self.name();
            }
        }
        Some(Stmt::Create {
            kind,
            name,
            replace,
            on,
        })
    }

    fn create_index(&mut self, unique: bool, special: Option<super::Span>) -> Option<Stmt> {
        self.at += 1;
        let after_index = self.since(0).end;
        let concurrently = self.eat("CONCURRENTLY");
        let if_not_exists = self.if_not_exists();
        let name = if self.is("ON") {
            None
        } else {
            Some(self.name()?)
        };
        if self.eat("USING") {
            self.at += 1;
        }
        if !self.eat("ON") {
            return None;
        }
        self.eat("ONLY");
        let table = self.name()?;
        if self.eat("USING") {
            self.at += 1;
        }
        let columns = self.within()?.columns();
        let (mut partial, mut algorithm, mut lock) = (false, None, None);
        while !self.done() {
            if self.eat("WHERE") {
                partial = true;
            } else if self.is_any(&["ALGORITHM", "LOCK"]) && self.mysql() {
                let algorithm_word = self.eat("ALGORITHM");
                if !algorithm_word {
                    self.at += 1;
                }
                self.eat_punct("=");
                let word = self.part().map(|(word, _)| word);
                *(if algorithm_word {
                    &mut algorithm
                } else {
                    &mut lock
                }) = word;
            } else {
                self.step();
            }
        }
        Some(Stmt::CreateIndex(Box::new(CreateIndex {
            table,
            def: IndexDef {
                name,
                columns,
                unique,
                special,
                partial,
            },
            concurrently,
            if_not_exists,
            after_index,
            algorithm,
            lock,
        })))
    }

    fn create_type(&mut self) -> Option<Stmt> {
        self.at += 1;
        let name = self.name()?;
        if !self.eat_all(&["AS", "ENUM"]) {
            return Some(Stmt::Create {
                kind: ObjectKind::Type,
                name,
                replace: false,
                on: None,
            });
        }
        let mut labels = Vec::new();
        if let Some(mut within) = self.within() {
            while !within.done() {
                labels.extend(within.string());
                within.skip_to_comma();
                within.eat_punct(",");
            }
        }
        Some(Stmt::CreateEnum { name, labels })
    }

    fn create_table(&mut self, temporary: bool) -> Option<Stmt> {
        let if_not_exists = self.if_not_exists().is_some();
        let name = self.name()?;
        let mut table = CreateTable {
            name,
            if_not_exists,
            temporary,
            columns: Vec::new(),
            constraints: Vec::new(),
            indexes: Vec::new(),
            open: false,
            partition_of: None,
        };
        if self.eat_all(&["PARTITION", "OF"]) {
            table.partition_of = Some(self.name()?);
            table.open = true;
        }
        if let Some(mut within) = self.within() {
            while !within.done() {
                within.element(&mut table);
            }
        }
        while !self.done() {
            table.open |= self.is_any(&["INHERITS", "AS", "LIKE", "SELECT", "OF"]);
            self.step();
        }
        Some(Stmt::CreateTable(Box::new(table)))
    }

    fn element(&mut self, table: &mut CreateTable) {
        let from = self.at;
        if self.eat("LIKE") {
            table.open = true;
        } else if self.at_constraint() {
            match self.constraint() {
                Some(constraint) => table.constraints.push(constraint),
                None => table.open = true,
            }
        } else if self.at_index() {
            table.indexes.extend(self.index());
        } else if self.eat_all(&["PERIOD", "FOR"]) {
            // MariaDB's system versioning, PostgreSQL's periods.
        } else {
            match self.column_def() {
                Some(column) => table.columns.push(column),
                None => table.open = true,
            }
        }
        self.skip_to_comma();
        self.eat_punct(",");
        // Whatever stood there, it is behind us.
        self.at = self.at.max(from + 1);
    }
}

/// For names that a rule makes up.
impl Name {
    /// The last part of the name.
    pub(crate) fn last(&self) -> &str {
        self.key.rsplit('.').next().unwrap_or(&self.key)
    }
}
