//! What is done to rows.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::statement::{Change, Stmt};

const BATCHES: &str = "Change ranges of the key in batches, each in its own transaction, outside the schema migrations: \
                       `-- windlass: phase data`, which `windlass migrate data` runs.";

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "mass-change",
        title: "UPDATE or DELETE of many rows at once",
        severity: Severity::Warning,
        class: Class::Data,
        on: true,
        why: "All its rows stay locked until the end of the transaction; dead rows, undo and the log of changes \
              grow by the whole table; replicas fall behind; and the deployment waits for it. A condition on a \
              column that leads a key or an index counts as a range.",
        elsewhere: "strong_migrations and online_migrations (in their guides; neither finds it)",
        fix: Fix::None(
            "by which key the batches go, and whether triggers must catch new rows, is for you to say",
        ),
        cases: &[
            case!(Postgres,
                locks: "Row locks on all of them until COMMIT.",
                rewrite: BATCHES,
                fails: "UPDATE users SET nick = email;",
                passes: "UPDATE users SET nick = email WHERE id BETWEEN 1 AND 1000;"),
            case!(Mysql,
                locks: "Row and gap locks on all of them until COMMIT.",
                rewrite: BATCHES,
                fails: "DELETE FROM users WHERE nick IS NULL;",
                passes: "DELETE FROM users WHERE nick IS NULL LIMIT 1000;"),
            case!(Sqlite,
                locks: "The whole file: there is one writer.",
                rewrite: BATCHES,
                fails: "UPDATE users SET nick = email WHERE nick IS NULL;",
                passes: "UPDATE users SET nick = email WHERE id BETWEEN 1 AND 1000;"),
        ],
        check: Check::Statement(mass_change),
    },
    Rule {
        id: "truncate",
        title: "TRUNCATE",
        severity: Severity::Error,
        class: Class::Data,
        on: true,
        why: "All rows go, at once; with CASCADE also those of every table that refers to them.",
        elsewhere: "squawk ban-truncate-cascade",
        fix: Fix::None("whether the rows may go is for you to say, in an allow with the reason"),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "DELETE in batches, or an allow that says why the rows may go.",
                fails: "TRUNCATE users CASCADE;",
                passes: "DELETE FROM users WHERE id = 1;"),
            case!(Mysql,
                locks: "An exclusive metadata lock; it can't be rolled back.",
                rewrite: "DELETE in batches, or an allow that says why the rows may go.",
                fails: "TRUNCATE TABLE users;",
                passes: "DELETE FROM users WHERE id = 1;"),
        ],
        check: Check::Statement(truncate),
    },
    Rule {
        id: "drop-then-create",
        title: "a table is dropped and made again empty",
        severity: Severity::Error,
        class: Class::Data,
        on: true,
        why: "The table is there after as it was before; its rows aren't. (Rows that are copied to a new table, \
              which then takes the old name, are kept, and are no finding.)",
        elsewhere: "strong_migrations create_table with force",
        fix: Fix::None("whether the rows may go is for you to say"),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "ALTER TABLE; or a new name and a copy of the rows.",
                fails: "DROP TABLE logs_old;\nCREATE TABLE logs_old (id bigint PRIMARY KEY);",
                passes: "CREATE TABLE logs_newer (id bigint PRIMARY KEY);"),
            case!(Mysql,
                locks: "An exclusive metadata lock, short.",
                rewrite: "ALTER TABLE; or a new name and a copy of the rows.",
                fails: "-- windlass: lint allow several-ddl: an example\nDROP TABLE users;\nCREATE TABLE users (id bigint PRIMARY KEY);",
                passes: "CREATE TABLE people (id bigint PRIMARY KEY);"),
            case!(Sqlite,
                locks: "The whole file, short.",
                rewrite: "ALTER TABLE; or a new name and a copy of the rows.",
                fails: "DROP TABLE notes;\nCREATE TABLE notes (id INTEGER PRIMARY KEY);",
                passes: "CREATE TABLE people (id INTEGER PRIMARY KEY);"),
        ],
        check: Check::Statement(drop_then_create),
    },
];

/// Whether the statement may touch many rows.
pub(super) fn is_mass(context: &Context<'_>, change: &Change) -> bool {
    if context.fresh(&change.table) || change.limited {
        return false;
    }
    if !change.filtered {
        return true;
    }
    match context.table(&change.table) {
        // A table that the history doesn't know: a condition is taken for a narrow one.
        None => false,
        Some(table) => !change.keys.iter().any(|key| table.leads(key)),
    }
}

fn mass_change(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Change(change) = context.statement() else {
        return;
    };
    // Under a lock it is worse, and another rule says so.
    let locked = context.pg() && context.in_transaction() && !context.held.is_empty();
    if !locked && is_mass(context, change) {
        let verb = if change.delete { "deletes" } else { "changes" };
        hits.at(
            context.span(),
            format!(
                "this {verb} rows of `{}` without a range of a key",
                change.table.key
            ),
            "all in one transaction",
        );
    }
}

fn truncate(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::Truncate { tables } = context.statement()
        && let Some(table) = tables.iter().find(|t| !context.fresh(t))
    {
        hits.at(
            context.span(),
            format!("all rows of `{}` go", table.key),
            "and with CASCADE those that refer to them",
        );
    }
}

fn drop_then_create(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::CreateTable(create) = context.statement()
        && let Some((file, old)) = context.schema.dropped.get(&create.name.key)
        && *file == context.file
        && old.file != context.file
    {
        hits.at(
            create.name.span,
            format!("`{}` is made again, without its rows", create.name.key),
            "dropped above",
        );
    }
}
