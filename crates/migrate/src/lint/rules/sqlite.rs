//! What only SQLite does.

use std::collections::BTreeSet;

use super::breaking::is_rebuilt;
use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::schema::{Rule as Kept, Table};
use crate::lint::statement::{ActionKind, Generated, ObjectKind, Stmt};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "add-column-limits",
        title: "ADD COLUMN with something that SQLite can't add",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "SQLite refuses PRIMARY KEY, UNIQUE and STORED columns, and REFERENCES together with a default that \
              isn't NULL. A default that isn't constant it takes while the table is empty and refuses when it \
              has rows: tests on empty databases prove nothing.",
        elsewhere: "-",
        fix: Fix::None(
            "a new table must take the place of the old one, and its definition is yours",
        ),
        cases: &[case!(Sqlite,
            locks: "None: it fails.",
            rewrite: "Add it plain or with a constant default; add a unique index in a statement of its own; fill it in batches.",
            fails: "ALTER TABLE users ADD COLUMN seen TEXT DEFAULT CURRENT_TIMESTAMP;",
            passes: "ALTER TABLE users ADD COLUMN seen TEXT;")],
        check: Check::Statement(add_column_limits),
    },
    Rule {
        id: "drop-column-referenced",
        title: "a column is dropped that an index, a key or a view needs",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "SQLite doesn't drop what depends on the column; it refuses.",
        elsewhere: "-",
        fix: Fix::None("whether the index or view goes or changes is for you to say"),
        cases: &[case!(Sqlite,
            locks: "None: it fails.",
            rewrite: "Drop the index or view before, in the same file.",
            fails: "-- windlass: phase contract\nALTER TABLE users DROP COLUMN email;",
            passes: "-- windlass: phase contract\nDROP VIEW emails;\nDROP INDEX users_email_key;\nALTER TABLE users DROP COLUMN email;")],
        check: Check::Statement(drop_column_referenced),
    },
    Rule {
        id: "unsupported-alter",
        title: "a clause of ALTER TABLE that SQLite doesn't have",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "SQLite renames tables and columns, and adds and drops columns; types, NOT NULL, defaults and \
              constraints are part of CREATE TABLE for good.",
        elsewhere: "-",
        fix: Fix::None(
            "a new table must take the place of the old one, and its definition is yours",
        ),
        cases: &[case!(Sqlite,
            locks: "None: it fails.",
            rewrite: "Create a new table, copy the rows, drop the old one, rename the new one; then indexes, triggers and views again.",
            fails: "ALTER TABLE users ALTER COLUMN nick SET NOT NULL;",
            passes: "ALTER TABLE users ADD COLUMN handle TEXT NOT NULL DEFAULT '';")],
        check: Check::Statement(unsupported_alter),
    },
    Rule {
        id: "pragma-in-transaction",
        title: "a PRAGMA that does nothing in a transaction",
        severity: Severity::Error,
        class: Class::Transactions,
        on: true,
        why: "`PRAGMA foreign_keys = OFF` inside a transaction does nothing and says nothing: a table that is \
              rebuilt after it takes the rows of its children along (seen on 3.40.1: all child rows were gone). \
              journal_mode can't be changed there either.",
        elsewhere: "none; Atlas does it right when it makes the statements itself",
        fix: Fix::None("what the file does in between decides"),
        cases: &[case!(Sqlite,
            locks: "None.",
            rewrite: "`-- windlass: foreign-keys off` in the file's head: the runner switches them off outside and checks them before COMMIT.",
            fails: "PRAGMA foreign_keys = OFF;",
            passes: "PRAGMA defer_foreign_keys = ON;")],
        check: Check::Statement(pragma),
    },
    Rule {
        id: "rebuild-loses",
        title: "a table is rebuilt, and its indexes or triggers aren't made again",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "DROP TABLE takes the table's indexes and triggers along. The new table has none until they are \
              made again; nothing fails, it only gets slow, or stops doing what the trigger did, or takes \
              duplicates.",
        elsewhere: "none",
        fix: Fix::None("the statements that made them may need to change with the table"),
        cases: &[case!(Sqlite,
            locks: "The whole file, while the rows are copied.",
            rewrite: "Make every index and trigger again in the same file.",
            fails: "DROP VIEW emails;
CREATE TABLE users_new (id INTEGER PRIMARY KEY, email TEXT NOT NULL, nick TEXT, age INTEGER NOT NULL DEFAULT 0, account_id INTEGER);
INSERT INTO users_new SELECT id, email, nick, age, account_id FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE VIEW emails AS SELECT id, email FROM users;",
            passes: "DROP VIEW emails;
CREATE TABLE users_new (id INTEGER PRIMARY KEY, email TEXT NOT NULL, nick TEXT, age INTEGER NOT NULL DEFAULT 0, account_id INTEGER REFERENCES accounts (id));
INSERT INTO users_new SELECT id, email, nick, age, account_id FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE INDEX users_account_id_idx ON users (account_id);
CREATE VIEW emails AS SELECT id, email FROM users;")],
        check: Check::Statement(rebuild_loses),
    },
    Rule {
        id: "rebuild-with-view",
        title: "a table is rebuilt while a view names it",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "Between DROP TABLE and RENAME TO the view names a table that isn't there, and SQLite (3.25 and newer) \
              refuses to rename anything while a view is wrong.",
        elsewhere: "none",
        fix: Fix::None("the view's text may need to change with the table"),
        cases: &[case!(Sqlite,
            locks: "None: \"error in view emails: no such table: main.users\".",
            rewrite: "Drop the view before, and make it again at the end of the file.",
            fails: "CREATE TABLE users_new (id INTEGER PRIMARY KEY, email TEXT NOT NULL, nick TEXT, age INTEGER NOT NULL DEFAULT 0, account_id INTEGER);
INSERT INTO users_new SELECT id, email, nick, age, account_id FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE INDEX users_account_id_idx ON users (account_id);",
            passes: "DROP VIEW emails;
CREATE TABLE users_new (id INTEGER PRIMARY KEY, email TEXT NOT NULL, nick TEXT, age INTEGER NOT NULL DEFAULT 0, account_id INTEGER);
INSERT INTO users_new SELECT id, email, nick, age, account_id FROM users;
DROP TABLE users;
ALTER TABLE users_new RENAME TO users;
CREATE UNIQUE INDEX users_email_key ON users (email);
CREATE INDEX users_account_id_idx ON users (account_id);
CREATE VIEW emails AS SELECT id, email FROM users;")],
        check: Check::Statement(rebuild_with_view),
    },
    Rule {
        id: "rebuild-cascades",
        title: "a table is rebuilt while foreign keys that lead to it are checked",
        severity: Severity::Error,
        class: Class::Data,
        on: true,
        why: "DROP TABLE first does an implicit DELETE FROM: with foreign keys on, ON DELETE CASCADE empties the \
              children, and other keys make it fail. Switching them off inside the transaction does nothing.",
        elsewhere: "none",
        fix: Fix::Sequence("adds `-- windlass: foreign-keys off` to the file's head"),
        cases: &[case!(Sqlite,
            locks: "The whole file, while the rows are copied.",
            rewrite: "`-- windlass: foreign-keys off` in the file's head.",
            fails: "CREATE TABLE accounts_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, plan TEXT);
INSERT INTO accounts_new (id, name) SELECT id, name FROM accounts;
DROP TABLE accounts;
ALTER TABLE accounts_new RENAME TO accounts;",
            passes: "-- windlass: foreign-keys off
CREATE TABLE accounts_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL, plan TEXT);
INSERT INTO accounts_new (id, name) SELECT id, name FROM accounts;
DROP TABLE accounts;
ALTER TABLE accounts_new RENAME TO accounts;")],
        check: Check::Statement(rebuild_cascades),
    },
];

fn add_column_limits(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::AlterTable { table, actions } = context.statement() else {
        return;
    };
    for action in actions {
        let ActionKind::AddColumn(column) = &action.kind else {
            continue;
        };
        let mut say = |span, what: &str| {
            hits.at(
                span,
                format!("SQLite can't add a column with {what} to `{}`", table.key),
                "fails",
            );
        };
        if let Some(span) = column.primary_key {
            say(span, "PRIMARY KEY");
        } else if let Some(span) = column.unique {
            say(span, "UNIQUE");
        } else if let Some((Generated::Stored, span)) = column.generated {
            say(span, "a stored value");
        } else if let Some(default) = &column.default {
            let constant = default.literal;
            if !constant {
                say(
                    default.span,
                    "a default that isn't constant, if it has rows,",
                );
            } else if !default.null
                && let Some((_, span)) = column.references
            {
                say(span, "REFERENCES and a default");
            }
        }
    }
}

/// What needs the column.
fn needs(context: &Context<'_>, table: &str, known: &Table, column: &str) -> Option<String> {
    if known.primary_key.iter().any(|c| c == column) {
        return Some("the primary key".to_owned());
    }
    if let Some(index) = known
        .indexes
        .iter()
        .find(|i| i.columns.iter().any(|c| c == column))
    {
        return Some(format!("the index `{}`", index.name));
    }
    for constraint in &known.constraints {
        if let Kept::ForeignKey { columns, .. } = &constraint.rule
            && columns.iter().any(|c| c == column)
        {
            return Some("a foreign key".to_owned());
        }
    }
    let views = &context.schema.views;
    let view = views
        .iter()
        .find(|(_, words)| words.contains(table) && words.contains(column));
    view.map(|(name, _)| format!("the view `{name}`, which names both,"))
}

fn drop_column_referenced(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::AlterTable { table, actions } = context.statement() else {
        return;
    };
    let Some(known) = context.table(table) else {
        return;
    };
    for action in actions {
        if let ActionKind::DropColumn(column) = &action.kind
            && (!context.expand() || context.new_column(table, &column.key))
            && let Some(what) = needs(context, &table.key, known, &column.key)
        {
            hits.at(
                action.span,
                format!("{what} needs `{}.{}`", table.key, column.key),
                "fails",
            );
        }
    }
}

fn unsupported_alter(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::AlterTable { table, actions } = context.statement() else {
        return;
    };
    for action in actions {
        let known = matches!(
            action.kind,
            ActionKind::AddColumn(_)
                | ActionKind::DropColumn(_)
                | ActionKind::RenameColumn(..)
                | ActionKind::RenameTo(_)
        );
        if !known || actions.len() > 1 {
            hits.at(
                action.span,
                format!("SQLite can't change `{}` like this", table.key),
                if known {
                    "one clause per ALTER TABLE"
                } else {
                    "fails"
                },
            );
            return;
        }
    }
}

fn pragma(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::Pragma { name, value } = context.statement()
        && context.in_transaction()
        && !value.is_empty()
        && matches!(
            name.as_str(),
            "foreign_keys" | "journal_mode" | "synchronous" | "page_size"
        )
    {
        hits.at(
            context.span(),
            format!("`PRAGMA {name}` does nothing inside a transaction"),
            "and says nothing",
        );
    }
}

fn rebuild_loses(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::AlterTable { table, actions } = context.statement() else {
        return;
    };
    for action in actions {
        let ActionKind::RenameTo(to) = &action.kind else {
            continue;
        };
        let Some((file, old)) = context.schema.dropped.get(&to.key) else {
            continue;
        };
        if *file != context.file {
            continue;
        }
        let mut made: BTreeSet<String> = BTreeSet::new();
        let mut columns: Vec<Vec<String>> = Vec::new();
        for statement in context.statements {
            match statement {
                Stmt::CreateIndex(create)
                    if create.table.key == to.key || create.table.key == table.key =>
                {
                    made.extend(create.def.name.as_ref().map(|n| n.last().to_owned()));
                    columns.push(create.def.columns.iter().map(|c| c.key.clone()).collect());
                }
                Stmt::Create {
                    kind: ObjectKind::Trigger,
                    name,
                    ..
                } => {
                    made.insert(name.last().to_owned());
                }
                _ => {}
            }
        }
        // An index on a column that is gone is meant to go.
        let new = context.table(table);
        let stays = |column: &String| {
            new.is_none_or(|t| t.open || column.is_empty() || t.column(column).is_some())
        };
        let indexes = old.indexes.iter().filter(|i| {
            !i.constraint
                && !made.contains(&i.name)
                && !columns.contains(&i.columns)
                && i.columns.iter().all(stays)
        });
        let triggers = old.triggers.iter().filter(|t| !made.contains(*t));
        let lost: Vec<String> = indexes
            .map(|i| format!("the index `{}`", i.name))
            .chain(triggers.map(|t| format!("the trigger `{t}`")))
            .collect();
        if !lost.is_empty() {
            hits.at(
                action.span,
                format!("the new `{}` lacks {}", to.key, lost.join(", ")),
                "gone with the old table",
            );
        }
    }
}

fn rebuild_with_view(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Drop {
        kind: ObjectKind::Table,
        names,
        ..
    } = context.statement()
    else {
        return;
    };
    let legacy = context.statements[..context.index].iter().any(|s| {
        matches!(s, Stmt::Pragma { name, value } if name == "legacy_alter_table" && value != "off" && value != "0")
    });
    for name in names {
        if legacy || context.older([3, 25, 0]) || !is_rebuilt(context, &name.key) {
            continue;
        }
        let view = context
            .schema
            .views
            .iter()
            .find(|(_, words)| words.contains(&name.key));
        if let Some((view, _)) = view {
            hits.at(
                context.span(),
                format!(
                    "the view `{view}` names `{}`, so the rename below fails",
                    name.key
                ),
                "drop the view first",
            );
        }
    }
}

fn rebuild_cascades(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Drop {
        kind: ObjectKind::Table,
        names,
        ..
    } = context.statement()
    else {
        return;
    };
    let off = context.script.directives("foreign-keys").any(|d| d.rest == "off")
        || (!context.in_transaction()
            && context.statements[..context.index].iter().any(|s| {
                matches!(s, Stmt::Pragma { name, value } if name == "foreign_keys" && matches!(value.as_str(), "off" | "0" | "false"))
            }));
    if off {
        return;
    }
    for name in names {
        if !is_rebuilt(context, &name.key) || context.fresh(name) {
            continue;
        }
        let child = context.schema.tables.iter().find(|(key, table)| {
            **key != name.key
                && table.constraints.iter().any(
                    |c| matches!(&c.rule, Kept::ForeignKey { table, .. } if *table == name.key),
                )
        });
        if let Some((child, _)) = child {
            hits.at(
                context.span(),
                format!(
                    "dropping `{}` deletes rows that `{child}` refers to",
                    name.key
                ),
                "foreign keys are checked here",
            );
        }
    }
}
