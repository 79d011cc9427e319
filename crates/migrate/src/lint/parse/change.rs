//! Statements that change rows and settings.

use super::{Change, Cursor, Name, Span, Stmt};
use crate::lint::token::{Kind, Token};

impl Cursor<'_> {
    pub(super) fn update(&mut self) -> Option<Stmt> {
        self.eat_any(&["LOW_PRIORITY", "IGNORE"]);
        if self.eat("OR") {
            self.at += 1;
        }
        self.eat("ONLY");
        let table = self.name()?;
        while !self.done() && !self.is("SET") {
            self.step();
        }
        self.at += 1;
        let mut assigned = Vec::new();
        loop {
            let name = self.name();
            if !self.punct("=") {
                // `(a, b) = (...)`
                self.step();
            }
            assigned.extend(name);
            while !self.done()
                && !self.punct(",")
                && !self.is_any(&["WHERE", "FROM", "RETURNING", "LIMIT", "ORDER"])
            {
                self.step();
            }
            if !self.eat_punct(",") {
                break;
            }
        }
        Some(self.condition(false, table, assigned))
    }

    pub(super) fn delete(&mut self) -> Option<Stmt> {
        self.eat_any(&["LOW_PRIORITY", "QUICK", "IGNORE"]);
        self.eat("FROM");
        self.eat("ONLY");
        let table = self.name()?;
        Some(self.condition(true, table, Vec::new()))
    }

    /// WHERE and LIMIT.
    fn condition(&mut self, delete: bool, table: Name, assigned: Vec<Name>) -> Stmt {
        while !self.done() && !self.is_any(&["WHERE", "LIMIT"]) {
            self.step();
        }
        let filtered = self.eat("WHERE");
        let from = self.at.min(self.tokens.len());
        let mut limited = false;
        while !self.done() {
            limited |= self.is("LIMIT");
            self.at += 1;
        }
        let keys = self.keys(&self.tokens[from..]);
        Stmt::Change(Change {
            delete,
            table,
            assigned,
            filtered,
            keys,
            limited,
        })
    }

    /// Names that stand before `=`, `<`, `>`, `IN` or `BETWEEN`.
    fn keys(&self, tokens: &[Token]) -> Vec<String> {
        let mut keys = Vec::new();
        for pair in tokens.windows(2) {
            let compared = match pair[1].kind {
                Kind::Punct => matches!(self.slice(pair[1].span), "=" | "<" | ">"),
                Kind::Word => {
                    let word = self.slice(pair[1].span);
                    word.eq_ignore_ascii_case("in") || word.eq_ignore_ascii_case("between")
                }
                _ => false,
            };
            if compared && matches!(pair[0].kind, Kind::Word | Kind::Ident) {
                let name = self.slice(pair[0].span);
                keys.push(name.trim_matches(['"', '`', '[', ']']).to_lowercase());
            }
        }
        keys
    }

    /// Whether the token at a place is this word.
    fn word_is(&self, at: usize, word: &str) -> bool {
        let token = self.tokens.get(at);
        token.is_some_and(|t| self.slice(t.span).eq_ignore_ascii_case(word))
    }

    pub(super) fn insert(&mut self, start: usize) -> Option<Stmt> {
        let replace = self.word_is(start, "replace");
        self.eat_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY"]);
        let mut tolerant = self.eat("IGNORE") || replace;
        if self.eat("OR") {
            tolerant |= self.is_any(&["IGNORE", "REPLACE"]);
            self.at += 1;
        }
        self.eat("INTO");
        let table = self.name()?;
        let mut from_select = false;
        while !self.done() {
            tolerant |= self.is("ON") && (self.is_at(1, "CONFLICT") || self.is_at(1, "DUPLICATE"));
            // `WHERE NOT EXISTS (...)` makes it repeatable by hand.
            tolerant |= self.is("NOT") && self.is_at(1, "EXISTS");
            from_select |= self.is("FROM");
            self.at += 1;
        }
        Some(Stmt::Insert {
            table,
            tolerant,
            from_select,
        })
    }

    /// `WITH ... UPDATE`: the statement behind the queries.
    pub(super) fn with(&mut self) -> Stmt {
        self.eat("RECURSIVE");
        while !self.done() {
            let start = self.at;
            let found = if self.eat("UPDATE") {
                self.update()
            } else if self.eat("DELETE") {
                self.delete()
            } else if self.eat("INSERT") {
                self.insert(start)
            } else {
                self.step();
                continue;
            };
            return found.unwrap_or(Stmt::Unknown);
        }
        Stmt::Harmless
    }

    pub(super) fn set(&mut self) -> Option<Stmt> {
        const OTHER: [&str; 7] = [
            "TRANSACTION",
            "CONSTRAINTS",
            "ROLE",
            "NAMES",
            "CHARACTER",
            "AUTHORIZATION",
            "CHARACTERISTICS",
        ];
        let start = self.here();
        let local = self.eat("LOCAL");
        let scope = if local || self.eat_any(&["SESSION", "GLOBAL"]) {
            self.since(start)
        } else {
            Span { start, end: start }
        };
        if self.is_any(&OTHER) {
            return Some(Stmt::Harmless);
        }
        let name = if self.eat_all(&["TIME", "ZONE"]) {
            "timezone".to_owned()
        } else {
            let name = self.name()?.key;
            let name = name.trim_start_matches('@');
            name.strip_prefix("session.").unwrap_or(name).to_owned()
        };
        self.eat_punct(":");
        if !self.eat_punct("=") {
            self.eat("TO");
        }
        let value = self.rest();
        Some(Stmt::Set {
            name,
            value,
            local,
            scope,
        })
    }

    pub(super) fn pragma(&mut self) -> Option<Stmt> {
        let name = self.name()?.key;
        let value = if self.eat_punct("=") || self.punct("(") {
            self.rest()
        } else {
            String::new()
        };
        Some(Stmt::Pragma { name, value })
    }

    /// What is left, without quotes and parentheses, in small letters.
    fn rest(&mut self) -> String {
        let from = self.here();
        self.at = self.tokens.len();
        let rest = self.slice(self.since(from));
        rest.trim_matches(['(', ')', '\'', '"', ' ']).to_lowercase()
    }
}
