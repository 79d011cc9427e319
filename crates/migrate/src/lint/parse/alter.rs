//! `ALTER ...`.

use super::{Cursor, Kind, Name, ObjectKind, Stmt, outside};
use crate::lint::statement::{Action, ActionKind};

/// Options of a table in MySQL whose change writes the table anew, unless the same value was set
/// before (MySQL manual, "Online DDL Operations").
const REBUILDING: [&str; 10] = [
    "ENGINE",
    "ROW_FORMAT",
    "KEY_BLOCK_SIZE",
    "CONVERT",
    "FORCE",
    "ORDER",
    "PARTITION",
    "REORGANIZE",
    "COALESCE",
    "REBUILD",
];

impl Cursor<'_> {
    pub(super) fn alter(&mut self) -> Option<Stmt> {
        self.eat_any(&["ONLINE", "OFFLINE", "IGNORE"]);
        if self.is("DEFAULT") || self.is("SYSTEM") {
            return Some(if self.is("SYSTEM") {
                Stmt::Outside
            } else {
                Stmt::Harmless
            });
        }
        let kind = self.object_kind()?;
        if outside(kind, self.dialect) {
            return Some(Stmt::Harmless);
        }
        self.if_exists();
        self.eat("ONLY");
        let name = self.name()?;
        self.eat_punct("*");
        match kind {
            ObjectKind::Table => {
                let actions = self.actions();
                Some(Stmt::AlterTable {
                    table: name,
                    actions,
                })
            }
            ObjectKind::Type => self.alter_type(name),
            ObjectKind::Domain => Some(self.alter_domain(name)),
            _ => {
                if self.punct("(") {
                    self.parens();
                }
                if self.eat_all(&["RENAME", "TO"]) {
                    let to = self.name()?;
                    return Some(Stmt::Rename {
                        kind,
                        from: name,
                        to,
                    });
                }
                if matches!(kind, ObjectKind::View | ObjectKind::MaterializedView)
                    && self.eat("RENAME")
                {
                    self.eat("COLUMN");
                    let from = self.name()?;
                    self.eat("TO");
                    let to = self.name()?;
                    return Some(Stmt::Rename { kind, from, to });
                }
                if self.eat_all(&["SET", "SCHEMA"]) {
                    let to = self.name()?;
                    return Some(Stmt::Rename {
                        kind,
                        from: name,
                        to,
                    });
                }
                Some(Stmt::Harmless)
            }
        }
    }

    fn alter_type(&mut self, name: Name) -> Option<Stmt> {
        if self.eat_all(&["ADD", "VALUE"]) {
            self.if_not_exists();
            let value = self.string()?;
            let placed = self.is_any(&["BEFORE", "AFTER"]);
            return Some(Stmt::AddEnumValue {
                name,
                value,
                placed,
            });
        }
        if self.eat_all(&["RENAME", "VALUE"]) {
            return Some(Stmt::RenameEnumValue { name });
        }
        if self.eat_all(&["RENAME", "TO"]) {
            let to = self.name()?;
            return Some(Stmt::Rename {
                kind: ObjectKind::Type,
                from: name,
                to,
            });
        }
        Some(Stmt::Harmless)
    }

    fn alter_domain(&mut self, name: Name) -> Stmt {
        let tightens = self.eat("ADD") || (self.is("SET") && self.is_at(1, "NOT"));
        let mut not_valid = false;
        while !self.done() {
            not_valid |= self.is("NOT") && self.is_at(1, "VALID");
            self.step();
        }
        if tightens {
            Stmt::AlterDomainConstraint { name, not_valid }
        } else {
            Stmt::Harmless
        }
    }

    fn actions(&mut self) -> Vec<Action> {
        if self.is_any(&["WAIT", "NOWAIT"]) {
            // MariaDB: how long to wait for the lock.
            self.at += 1 + usize::from(self.is("WAIT"));
        }
        let mut actions = Vec::new();
        while !self.done() {
            let (start, from) = (self.here(), self.at);
            let kind = self.action().unwrap_or(ActionKind::Unknown);
            // MySQL: `ADD COLUMN (a int, b int)` has made several already.
            if let ActionKind::Cheap = kind
                && self.mysql()
                && self.several(from, &mut actions)
            {
                self.eat_punct(",");
                continue;
            }
            self.skip_to_comma();
            let span = self.since(start);
            actions.push(Action { kind, span });
            self.eat_punct(",");
            self.at = self.at.max(from + 1);
        }
        actions
    }

    /// The columns of `ADD [COLUMN] ( ... )`.
    fn several(&mut self, from: usize, actions: &mut Vec<Action>) -> bool {
        let end = self.at;
        self.at = from;
        if self.eat("ADD") {
            self.eat("COLUMN");
            if let Some(mut within) = self.within() {
                while !within.done() {
                    let at = within.at;
                    if let Some(column) = within.column_def() {
                        let span = column.span;
                        let kind = ActionKind::AddColumn(Box::new(column));
                        actions.push(Action { kind, span });
                    }
                    within.skip_to_comma();
                    within.eat_punct(",");
                    within.at = within.at.max(at + 1);
                }
                return true;
            }
        }
        self.at = end;
        false
    }

    fn action(&mut self) -> Option<ActionKind> {
        let token = self.token(0)?;
        if token.kind != Kind::Word {
            return None;
        }
        let word = self.slice(token.span).to_ascii_uppercase();
        if self.mysql() && (self.is_any(&REBUILDING) || word == "REMOVE" || word == "TRUNCATE") {
            return Some(ActionKind::Rebuild);
        }
        self.at += 1;
        Some(match word.as_str() {
            "ADD" => self.add()?,
            "DROP" => self.drop_clause()?,
            "ALTER" => self.alter_column()?,
            "RENAME" => self.rename_clause()?,
            "MODIFY" if self.mysql() => {
                self.eat("COLUMN");
                self.if_exists();
                let new = Box::new(self.column_def()?);
                let old = new.name.clone();
                ActionKind::Redefine { old, new }
            }
            "CHANGE" if self.mysql() => {
                self.eat("COLUMN");
                self.if_exists();
                let old = self.name()?;
                let new = Box::new(self.column_def()?);
                ActionKind::Redefine { old, new }
            }
            "VALIDATE" => {
                self.eat("CONSTRAINT");
                ActionKind::Validate(self.name()?)
            }
            "ATTACH" => {
                self.eat("PARTITION");
                ActionKind::AttachPartition(self.name()?)
            }
            "DETACH" => {
                self.eat("PARTITION");
                let child = self.name()?;
                let concurrently = self.is("CONCURRENTLY") || self.is("FINALIZE");
                ActionKind::DetachPartition {
                    child,
                    concurrently,
                }
            }
            "SET" => {
                if self.eat("SCHEMA") {
                    return Some(ActionKind::SetSchema(self.name()?));
                }
                if self.is_any(&["LOGGED", "UNLOGGED", "TABLESPACE"])
                    || (self.is("ACCESS") && self.is_at(1, "METHOD"))
                {
                    return Some(ActionKind::Move);
                }
                ActionKind::Cheap
            }
            "ENABLE" | "FORCE" if self.is("ROW") => ActionKind::RowSecurity,
            "DISABLE" if self.is_any(&["TRIGGER", "RULE"]) => ActionKind::DisableTrigger,
            "ALGORITHM" | "LOCK" => {
                self.eat_punct("=");
                let (value, _) = self.part()?;
                if word == "LOCK" {
                    ActionKind::Lock(value)
                } else {
                    ActionKind::Algorithm(value)
                }
            }
            "ENABLE" | "DISABLE" | "NO" | "INHERIT" | "OWNER" | "REPLICA" | "RESET" | "CLUSTER"
            | "COMMENT" | "AUTO_INCREMENT" | "DEFAULT" | "CHARACTER" | "CHARSET" | "COLLATE"
            | "STATS_PERSISTENT" | "STATS_AUTO_RECALC" | "STATS_SAMPLE_PAGES" | "MAX_ROWS"
            | "MIN_ROWS" | "AVG_ROW_LENGTH" | "OPTIONS" | "OF" | "NOT" | "WITH" | "WITHOUT"
            | "ANALYZE" | "CHECK" | "EXCHANGE" | "INSERT_METHOD" | "DISCARD" | "IMPORT" => {
                ActionKind::Cheap
            }
            _ => ActionKind::Unknown,
        })
    }

    fn add(&mut self) -> Option<ActionKind> {
        if self.mysql() && self.is("PARTITION") {
            return Some(ActionKind::Rebuild);
        }
        if self.at_constraint() {
            return Some(ActionKind::AddConstraint(Box::new(self.constraint()?)));
        }
        if self.at_index() {
            return Some(ActionKind::AddIndex(self.index()?));
        }
        self.eat("COLUMN");
        self.if_not_exists();
        if self.punct("(") {
            return Some(ActionKind::Cheap);
        }
        Some(ActionKind::AddColumn(Box::new(self.column_def()?)))
    }

    fn drop_clause(&mut self) -> Option<ActionKind> {
        if self.eat_all(&["PRIMARY", "KEY"]) {
            return Some(ActionKind::DropPrimaryKey);
        }
        if self.eat_all(&["FOREIGN", "KEY"]) {
            self.if_exists();
            return Some(ActionKind::DropForeignKey(self.name()?));
        }
        if self.mysql() && self.is("PARTITION") {
            return Some(ActionKind::Rebuild);
        }
        if self.mysql() && self.is_any(&["INDEX", "KEY"]) {
            self.at += 1;
            self.if_exists();
            return Some(ActionKind::DropIndex(self.name()?));
        }
        if self.eat("CONSTRAINT")
            || (self.mysql() && self.is("CHECK") && self.at + 1 < self.tokens.len() && {
                self.at += 1;
                true
            })
        {
            self.if_exists();
            return Some(ActionKind::DropConstraint(self.name()?));
        }
        self.eat("COLUMN");
        self.if_exists();
        Some(ActionKind::DropColumn(self.name()?))
    }

    fn alter_column(&mut self) -> Option<ActionKind> {
        if self.is_any(&["INDEX", "CONSTRAINT", "CHECK"]) {
            return Some(ActionKind::Cheap);
        }
        self.eat("COLUMN");
        self.if_exists();
        let column = self.name()?;
        if self.eat_all(&["SET", "NOT", "NULL"]) {
            return Some(ActionKind::SetNotNull(column));
        }
        if self.eat_all(&["DROP", "NOT", "NULL"]) {
            return Some(ActionKind::DropNotNull(column));
        }
        if self.eat_all(&["SET", "DEFAULT"]) {
            let value = self.value();
            return Some(ActionKind::SetDefault(column, value));
        }
        if self.eat_all(&["DROP", "DEFAULT"]) {
            return Some(ActionKind::DropDefault(column));
        }
        if self.eat("TYPE") || self.eat_all(&["SET", "DATA", "TYPE"]) {
            let ty = self.ty();
            if self.eat("COLLATE") {
                self.name();
            }
            return Some(ActionKind::SetType { column, ty });
        }
        if self.is("ADD") && self.is_at(1, "GENERATED") {
            return Some(ActionKind::AddIdentity(column));
        }
        // SET STATISTICS, SET STORAGE, RESET, DROP EXPRESSION, DROP IDENTITY, ...
        Some(ActionKind::Cheap)
    }

    fn rename_clause(&mut self) -> Option<ActionKind> {
        let table = self.eat_any(&["TO", "AS"]);
        if table || (self.mysql() && self.at + 1 == self.tokens.len()) {
            return Some(ActionKind::RenameTo(self.name()?));
        }
        if self.eat("CONSTRAINT") {
            let from = self.name()?;
            self.eat("TO");
            return Some(ActionKind::RenameConstraint(from, self.name()?));
        }
        if self.mysql() && self.is_any(&["INDEX", "KEY"]) {
            self.at += 1;
            let from = self.name()?;
            self.eat("TO");
            return Some(ActionKind::RenameIndex(from, self.name()?));
        }
        self.eat("COLUMN");
        let from = self.name()?;
        if !self.eat("TO") {
            return None;
        }
        Some(ActionKind::RenameColumn(from, self.name()?))
    }
}
