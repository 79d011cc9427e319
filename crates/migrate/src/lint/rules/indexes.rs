//! Indexes.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::statement::{ActionKind, ConstraintKind, Name, ObjectKind, Stmt};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "create-index",
        title: "an index is built under a lock that stops writers",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "Building takes as long as reading and sorting the table takes, and nobody writes meanwhile.",
        elsewhere: "squawk require-concurrent-index-creation; strong_migrations add_index, add_reference; \
                    eugene E6; django-migration-linter CREATE_INDEX; Atlas PG101",
        fix: Fix::Sequence(
            "CREATE INDEX CONCURRENTLY in a file of its own with `-- windlass: no-transaction`",
        ),
        cases: &[case!(Postgres,
            locks: "SHARE on the table for the whole build: writers wait, readers don't.",
            rewrite: "CREATE INDEX CONCURRENTLY, alone in a file with `-- windlass: no-transaction`.",
            fails: "CREATE INDEX users_nick_idx ON users (nick);",
            passes: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);")],
        check: Check::Statement(create_index),
    },
    Rule {
        id: "drop-index-blocking",
        title: "an index is dropped under a lock that stops everybody",
        severity: Severity::Warning,
        class: Class::Locks,
        on: true,
        why: "The work is short, but the lock waits behind the longest query on the table, and everybody else \
              waits behind the lock.",
        elsewhere: "squawk require-concurrent-index-deletion; strong_migrations remove_index; \
                    django-migration-linter DROP_INDEX; Atlas PG102",
        fix: Fix::Sequence(
            "DROP INDEX CONCURRENTLY in a file of its own with `-- windlass: no-transaction`",
        ),
        cases: &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on the table, short; CONCURRENTLY: SHARE UPDATE EXCLUSIVE.",
            rewrite: "DROP INDEX CONCURRENTLY, alone in a file with `-- windlass: no-transaction`.",
            fails: "DROP INDEX users_account_id_idx;",
            passes: "-- windlass: no-transaction\nDROP INDEX CONCURRENTLY users_account_id_idx;")],
        check: Check::Statement(drop_index),
    },
    Rule {
        id: "index-if-not-exists",
        title: "CREATE INDEX CONCURRENTLY IF NOT EXISTS hides an index that was never finished",
        severity: Severity::Warning,
        class: Class::Transactions,
        on: true,
        why: "A build that fails leaves an invalid index behind, which costs writers and helps no reader. The \
              second try finds the name taken, does nothing, and succeeds. (squawk's prefer-robust-stmts asks \
              for this very form.) Windlass's runner drops an invalid index of that name before, and checks \
              the new one after.",
        elsewhere: "none; the opposite of squawk prefer-robust-stmts",
        fix: Fix::Sequence("leaves IF NOT EXISTS out"),
        cases: &[case!(Postgres,
            locks: "SHARE UPDATE EXCLUSIVE; readers and writers go on.",
            rewrite: "Leave IF NOT EXISTS out; for other runners, put DROP INDEX CONCURRENTLY IF EXISTS before it.",
            fails: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS users_nick_idx ON users (nick);",
            passes: "-- windlass: no-transaction\nDROP INDEX CONCURRENTLY IF EXISTS users_nick_idx;\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);")],
        check: Check::Statement(if_not_exists),
    },
    Rule {
        id: "concurrent-index-pg14",
        title: "CREATE INDEX CONCURRENTLY on PostgreSQL 14.0 to 14.3",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "These versions may build an index that misses rows (release notes of PostgreSQL 14.4). Reported \
              when --server-version says so.",
        elsewhere: "strong_migrations add_index_corruption",
        fix: Fix::None("the server must be updated"),
        cases: &[case!(Postgres,
            server: "14.2",
            locks: "None beyond the build; the index is wrong.",
            rewrite: "Update the server to 14.4 or newer first.",
            fails: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);",
            passes: "-- windlass: no-transaction\nDROP INDEX CONCURRENTLY users_account_id_idx;")],
        check: Check::Statement(corrupting),
    },
    Rule {
        id: "reindex",
        title: "REINDEX without CONCURRENTLY",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "Writers wait for the whole build, and so do readers who would use the index.",
        elsewhere: "squawk require-concurrent-reindex; django-migration-linter REINDEX",
        fix: Fix::Sequence(
            "REINDEX ... CONCURRENTLY in a file of its own with `-- windlass: no-transaction`",
        ),
        cases: &[case!(Postgres,
            locks: "SHARE on the table and ACCESS EXCLUSIVE on each index, for the whole build.",
            rewrite: "REINDEX ... CONCURRENTLY (PostgreSQL 12 and newer), alone in a file with `-- windlass: no-transaction`.",
            fails: "REINDEX TABLE users;",
            passes: "-- windlass: no-transaction\nREINDEX TABLE CONCURRENTLY users;")],
        check: Check::Statement(reindex),
    },
    Rule {
        id: "foreign-key-without-index",
        title: "a foreign key's columns have no index",
        severity: Severity::Warning,
        class: Class::Locks,
        on: true,
        why: "Each DELETE and each change of a key in the referenced table searches this table for rows that \
              refer to it: without an index by reading all of it, holding locks meanwhile. An index that comes \
              in a later file counts.",
        elsewhere: "eugene E15; strong_migrations add_reference (adds one)",
        fix: Fix::None("add the index in a file before: CREATE INDEX CONCURRENTLY"),
        cases: &[
            case!(Postgres,
                locks: "Row locks in the referenced table, as long as the search takes.",
                rewrite: "Create the index, concurrently, before the foreign key.",
                fails: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint REFERENCES users (id));",
                passes: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint REFERENCES users (id));\nCREATE INDEX posts_user_id_idx ON posts (user_id);"),
            case!(Sqlite,
                locks: "The whole file, as long as the search takes.",
                rewrite: "Create an index on the columns.",
                fails: "CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id));",
                passes: "CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER REFERENCES users (id));\nCREATE INDEX posts_user_id_idx ON posts (user_id);"),
        ],
        check: Check::Statement(without_index),
    },
];

fn create_index(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::CreateIndex(create) = context.statement()
        && context.pg()
        && !create.concurrently
        && !context.fresh(&create.table)
    {
        hits.at(
            context.span(),
            format!(
                "building this index stops writers of `{}`",
                create.table.key
            ),
            "holds SHARE for the whole build",
        );
    }
}

fn drop_index(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::Drop {
        kind: ObjectKind::Index,
        names,
        concurrently: false,
        ..
    } = context.statement()
        && context.pg()
        && let Some(name) = names.first()
    {
        let table = context.schema.index(&name.key).map(|(table, _)| table);
        let fresh = table.is_some_and(|t| context.schema.tables[t].file == context.file);
        // In a transaction with the index that takes its place, CONCURRENTLY isn't to be had; an
        // index that came with this file has no readers.
        let created = context.statements[..context.index].iter().any(|s| {
            matches!(s, Stmt::CreateIndex(c) if c.def.name.as_ref().is_some_and(|n| n.key == name.key))
        });
        if !fresh && !created {
            hits.at(
                context.span(),
                format!(
                    "dropping `{}` like this locks its table for everybody",
                    name.key
                ),
                "waits for ACCESS EXCLUSIVE",
            );
        }
    }
}

fn if_not_exists(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::CreateIndex(create) = context.statement()
        && create.concurrently
        && let Some(span) = create.if_not_exists
    {
        // Dropped just before: then nothing is left to hide.
        let dropped = context.statements[..context.index].iter().any(|s| match s {
            Stmt::Drop {
                kind: ObjectKind::Index,
                names,
                ..
            } => names
                .iter()
                .any(|n| create.def.name.as_ref().is_some_and(|c| c.key == n.key)),
            _ => false,
        });
        if !dropped {
            hits.at(
                span,
                "IF NOT EXISTS takes an invalid index for a finished one",
                "a second try after a failure does nothing",
            );
        }
    }
}

fn corrupting(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::CreateIndex(create) = context.statement()
        && create.concurrently
        && context
            .version
            .is_some_and(|v| v.numbers[0] == 14 && v.numbers[1] < 4)
    {
        hits.at(
            context.span(),
            "this server may build an index that misses rows",
            "fixed in PostgreSQL 14.4",
        );
    }
}

fn reindex(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::Reindex {
        concurrently: false,
        ..
    } = context.statement()
        && context.pg()
    {
        hits.at(
            context.span(),
            "REINDEX stops writers, and readers who would use the index",
            "holds its locks for the whole build",
        );
    }
}

/// The columns and tables of the foreign keys that a statement makes, with their places.
pub(super) fn foreign_keys<'a>(
    context: &Context<'a>,
) -> Vec<(
    &'a Name,
    Vec<&'a Name>,
    &'a crate::lint::statement::Reference,
    crate::lint::Span,
)> {
    let mut found = Vec::new();
    let mut column = |table: &'a Name, column: &'a crate::lint::statement::ColumnDef| {
        if let Some((reference, span)) = &column.references {
            found.push((table, vec![&column.name], reference, *span));
        }
    };
    match context.statement() {
        Stmt::CreateTable(create) => {
            for def in &create.columns {
                column(&create.name, def);
            }
        }
        Stmt::AlterTable { table, actions } => {
            for action in actions {
                if let ActionKind::AddColumn(def) = &action.kind {
                    column(table, def);
                }
            }
        }
        _ => {}
    }
    let mut constraint = |table: &'a Name, kind: &'a ConstraintKind, span| {
        if let ConstraintKind::ForeignKey { columns, reference } = kind {
            found.push((table, columns.iter().collect(), reference, span));
        }
    };
    match context.statement() {
        Stmt::CreateTable(create) => {
            for def in &create.constraints {
                constraint(&create.name, &def.kind, def.span);
            }
        }
        Stmt::AlterTable { table, actions } => {
            for action in actions {
                if let ActionKind::AddConstraint(def) = &action.kind {
                    constraint(table, &def.kind, def.span);
                }
            }
        }
        _ => {}
    }
    found
}

fn without_index(context: &Context<'_>, hits: &mut Hits) {
    // MySQL makes the index itself.
    if context.mysql() {
        return;
    }
    for (table, columns, reference, span) in foreign_keys(context) {
        let columns: Vec<String> = columns.iter().map(|c| c.key.clone()).collect();
        let hit = hits.at(
            span,
            format!(
                "no index begins with `{}` of `{}`",
                columns.join(", "),
                table.key
            ),
            format!(
                "each DELETE in `{}` reads all of `{}`",
                reference.table.key, table.key
            ),
        );
        hit.unless_indexed = Some((table.key.clone(), columns));
    }
}
