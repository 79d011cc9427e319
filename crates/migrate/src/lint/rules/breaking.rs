//! What old code names must stay: dropping and renaming.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::statement::{ActionKind, ObjectKind, Stmt};

const LATER: &str = "Move it into a contract migration (`-- windlass: phase contract`), which runs when no \
     release that uses it is left.";
const NOT_ALONE: &str =
    "a new name alone helps nobody: the application must change between the steps";

macro_rules! breaking {
    ($id:literal, $title:literal, $why:literal, $elsewhere:literal, $fix:expr, $check:expr, $cases:expr) => {
        Rule {
            id: $id,
            title: $title,
            severity: Severity::Error,
            class: Class::OldCode,
            on: true,
            why: $why,
            elsewhere: $elsewhere,
            fix: $fix,
            cases: $cases,
            check: Check::Statement($check),
        }
    };
}

pub(super) const RULES: &[Rule] = &[
    breaking!(
        "drop-table",
        "a table is dropped while old code may use it",
        "Every statement of the old release that names the table fails from that moment, and its rows \
         are gone.",
        "squawk ban-drop-table; Atlas DS102; django-migration-linter DROP_TABLE",
        Fix::Contract,
        drop_table,
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE on the table, and on each table that its foreign keys lead to or come from; short.",
                rewrite: LATER,
                fails: "DROP TABLE logs_old;",
                passes: "-- windlass: phase contract\nDROP TABLE logs_old;"),
            case!(Mysql,
                locks: "An exclusive metadata lock; short, but it waits for every open transaction on the table.",
                rewrite: LATER,
                fails: "DROP TABLE users;",
                passes: "-- windlass: phase contract\nDROP TABLE users;"),
            case!(Sqlite,
                locks: "The whole file, for as long as it takes to free the pages.",
                rewrite: LATER,
                fails: "DROP TABLE notes;",
                passes: "-- windlass: phase contract\nDROP TABLE notes;"),
        ]
    ),
    breaking!(
        "drop-column",
        "a column is dropped while old code may use it",
        "Old code names the column in SELECT and INSERT; mappers of objects cache the list of columns.",
        "squawk ban-drop-column; strong_migrations remove_column; Atlas DS103; django-migration-linter DROP_COLUMN",
        Fix::Contract,
        drop_column,
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short: the column is only marked. Its indexes go with it.",
                rewrite: "First let the code ignore the column (it must be nullable or have a default); release; then drop it in a contract migration.",
                fails: "ALTER TABLE users DROP COLUMN age;",
                passes: "-- windlass: phase contract\nALTER TABLE users DROP COLUMN age;"),
            case!(Mysql,
                locks: "MySQL 8.0.29 and MariaDB 10.4 only mark it (INSTANT); older servers write the table anew.",
                rewrite: "First let the code ignore the column (it must be nullable or have a default); release; then drop it in a contract migration.",
                fails: "ALTER TABLE users DROP COLUMN age, ALGORITHM=INSTANT;",
                passes: "-- windlass: phase contract\nALTER TABLE users DROP COLUMN age, ALGORITHM=INSTANT;"),
            case!(Sqlite,
                locks: "The whole file, while every row is written anew.",
                rewrite: "First let the code ignore the column (it must be nullable or have a default); release; then drop it in a contract migration.",
                fails: "ALTER TABLE users DROP COLUMN age;",
                passes: "-- windlass: phase contract\nALTER TABLE users DROP COLUMN age;"),
        ]
    ),
    breaking!(
        "drop-schema",
        "a schema or a database is dropped while old code may use it",
        "Everything in it is gone at once, and all that old code says about it fails.",
        "squawk ban-drop-database; Atlas DS101",
        Fix::Contract,
        drop_schema,
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE on everything in it.",
                rewrite: LATER,
                fails: "DROP SCHEMA billing CASCADE;",
                passes: "-- windlass: phase contract\nDROP SCHEMA billing CASCADE;"),
            case!(Mysql,
                locks: "Exclusive metadata locks on everything in it.",
                rewrite: LATER,
                fails: "DROP DATABASE billing;",
                passes: "-- windlass: phase contract\nDROP DATABASE billing;"),
        ]
    ),
    breaking!(
        "rename-table",
        "a table is renamed while old code may use it",
        "Every statement with the old name fails. A view that has the old name hides the change from old \
         code; both in one transaction.",
        "squawk renaming-table; strong_migrations rename_table; Atlas BC101; django-migration-linter RENAME_TABLE",
        Fix::Sequence(
            "renames, and puts a view with the old name in the old place, in one transaction"
        ),
        rename_table,
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "Rename and create a view with the old name in the same file (simple views can be written to); drop the view in a contract migration.",
                fails: "ALTER TABLE users RENAME TO people;",
                passes: "ALTER TABLE users RENAME TO people;\nCREATE VIEW users AS SELECT * FROM people;"),
            case!(Mysql,
                locks: "An exclusive metadata lock, short. There is no transaction around the two statements: between them the old name is gone.",
                rewrite: "Rename in a contract migration, or make a new table and write to both for a while.",
                fails: "RENAME TABLE users TO people;",
                passes: "-- windlass: phase contract\nRENAME TABLE users TO people;"),
            case!(Sqlite,
                locks: "The whole file, short.",
                rewrite: "Rename and create a view with the old name in the same file, with INSTEAD OF triggers where old code writes; drop it in a contract migration.",
                fails: "ALTER TABLE users RENAME TO people;",
                passes: "ALTER TABLE users RENAME TO people;\nCREATE VIEW users AS SELECT * FROM people;"),
        ]
    ),
    breaking!(
        "rename-column",
        "a column is renamed while old code may use it",
        "Every statement with the old name fails, from that moment to the end of the deployment.",
        "squawk renaming-column; strong_migrations rename_column; Atlas BC102; django-migration-linter RENAME_COLUMN",
        Fix::None(
            "a new column, writes to both, a backfill and a release stand between the old name and the new"
        ),
        rename_column,
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "Add a column with the new name, keep both alike with a trigger, backfill, release code that reads the new one, drop the old one in a contract migration.",
                fails: "ALTER TABLE users RENAME COLUMN nick TO handle;",
                passes: "ALTER TABLE users ADD COLUMN handle text;"),
            case!(Mysql,
                locks: "An exclusive metadata lock, short.",
                rewrite: "Add a column with the new name, keep both alike with a trigger, backfill, release code that reads the new one, drop the old one in a contract migration.",
                fails: "ALTER TABLE users RENAME COLUMN nick TO handle, ALGORITHM=INSTANT;",
                passes: "ALTER TABLE users ADD COLUMN handle varchar(50), ALGORITHM=INSTANT;"),
            case!(Sqlite,
                locks: "The whole file, short: only the schema's text changes.",
                rewrite: "Add a column with the new name, keep both alike with a trigger, backfill, release code that reads the new one, drop the old one in a contract migration.",
                fails: "ALTER TABLE users RENAME COLUMN nick TO handle;",
                passes: "ALTER TABLE users ADD COLUMN handle TEXT;"),
        ]
    ),
    breaking!(
        "rename-schema",
        "a schema is renamed, or a table is moved into another",
        "Old code and its search_path look in the old place.",
        "strong_migrations rename_schema",
        Fix::None(NOT_ALONE),
        rename_schema,
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on a table that moves, short.",
            rewrite: "Create views in the old schema that show what is in the new one, or wait for a contract migration.",
            fails: "ALTER TABLE users SET SCHEMA app;",
            passes: "-- windlass: phase contract\nALTER TABLE users SET SCHEMA app;")]
    ),
    breaking!(
        "rename-enum-value",
        "a value of an enumeration is renamed",
        "Old code goes on writing the old value, which the database now refuses.",
        "strong_migrations rename_enum_value",
        Fix::None(NOT_ALONE),
        rename_enum_value,
        &[case!(Postgres,
            locks: "A lock on the type, short.",
            rewrite: "Add the new value, release code that knows both, change the rows, and stop using the old value.",
            fails: "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';",
            passes: "ALTER TYPE mood ADD VALUE 'fine';")]
    ),
    breaking!(
        "drop-object",
        "a view, routine, trigger, sequence or type is dropped while old code may use it",
        "Callers of the old release fail, or what the trigger did for them is no longer done.",
        "-",
        Fix::Contract,
        drop_object,
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE on a view or on a trigger's table, short.",
                rewrite: "Replace it in the same file (CREATE OR REPLACE keeps callers happy), give the new one a new name, or drop it in a contract migration.",
                fails: "DROP VIEW nicks;",
                passes: "CREATE OR REPLACE VIEW nicks AS SELECT id, nick, age FROM users;"),
            case!(Mysql,
                locks: "A metadata lock, short.",
                rewrite: "Replace it in the same file (CREATE OR REPLACE keeps callers happy), give the new one a new name, or drop it in a contract migration.",
                fails: "DROP VIEW nicks;",
                passes: "CREATE OR REPLACE VIEW nicks AS SELECT id, nick, age FROM users;"),
            case!(Sqlite,
                locks: "The whole file, short.",
                rewrite: "Make it again in the same file, or drop it in a contract migration.",
                fails: "DROP VIEW emails;",
                passes: "DROP VIEW emails;\nCREATE VIEW emails AS SELECT id, email, nick FROM users;"),
        ]
    ),
    breaking!(
        "revoke",
        "a right is taken away",
        "The role that old code connects with may need it until the old release is gone.",
        "-",
        Fix::Contract,
        revoke,
        &[
            case!(Postgres,
                locks: "None that blocks readers or writers.",
                rewrite: LATER,
                fails: "REVOKE SELECT ON users FROM app;",
                passes: "-- windlass: phase contract\nREVOKE SELECT ON users FROM app;"),
            case!(Mysql,
                locks: "None.",
                rewrite: LATER,
                fails: "REVOKE SELECT ON shop.users FROM app;",
                passes: "-- windlass: phase contract\nREVOKE SELECT ON shop.users FROM app;"),
        ]
    ),
    breaking!(
        "row-security",
        "row security is switched on for a table that old code reads",
        "Without a policy that fits, old code sees no rows, and no error says why.",
        "-",
        Fix::Contract,
        row_security,
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE, short.",
            rewrite: "Create the policies first and switch it on in a contract migration.",
            fails: "ALTER TABLE users ENABLE ROW LEVEL SECURITY;",
            passes: "-- windlass: phase contract\nALTER TABLE users ENABLE ROW LEVEL SECURITY;")]
    ),
    breaking!(
        "disable-trigger",
        "a trigger is switched off under old code",
        "What the trigger did for the rows of the old release is silently no longer done.",
        "-",
        Fix::Contract,
        disable_trigger,
        &[case!(Postgres,
            locks: "SHARE ROW EXCLUSIVE, short: writers wait.",
            rewrite: LATER,
            fails: "ALTER TABLE users DISABLE TRIGGER ALL;",
            passes: "-- windlass: phase contract\nALTER TABLE users DISABLE TRIGGER ALL;")]
    ),
];

/// SQLite's way to change a table: a new one, the rows copied, the old one dropped, the new one
/// renamed into its place. Seen from the statement that drops.
pub(super) fn is_rebuilt(context: &Context<'_>, table: &str) -> bool {
    context.later().iter().any(|statement| match statement {
        Stmt::AlterTable { actions, .. } => actions
            .iter()
            .any(|a| matches!(&a.kind, ActionKind::RenameTo(to) if to.key == table)),
        Stmt::RenameTables(pairs) => pairs.iter().any(|(_, to)| to.key == table),
        _ => false,
    })
}

/// Whether a view takes the name later in the file.
fn has_view(context: &Context<'_>, name: &str) -> bool {
    context.later().iter().any(|statement| {
        matches!(statement, Stmt::Create { kind: ObjectKind::View, name: view, .. } if view.key == name)
    })
}

fn drop_table(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Drop {
        kind: ObjectKind::Table,
        names,
        ..
    } = context.statement()
    else {
        return;
    };
    if !context.expand() {
        return;
    }
    for name in names {
        let made_again = context
            .later()
            .iter()
            .any(|s| matches!(s, Stmt::CreateTable(t) if t.name.key == name.key));
        if context.new_table(name)
            || is_rebuilt(context, &name.key)
            || made_again
            || has_view(context, &name.key)
        {
            continue;
        }
        hits.at(
            name.span,
            format!("this expand migration drops the table `{}`", name.key),
            "old code may still use it",
        );
    }
}

fn drop_column(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        if let ActionKind::DropColumn(column) = &action.kind
            && !context.new_column(table, &column.key)
        {
            hits.at(
                action.span,
                format!(
                    "this expand migration drops the column `{}` of `{}`",
                    column.key, table.key
                ),
                "old code may still use it",
            );
        }
    }
}

fn drop_schema(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::Drop {
        kind: kind @ (ObjectKind::Schema | ObjectKind::Database),
        names,
        ..
    } = context.statement()
        && context.expand()
        && let Some(name) = names.first()
    {
        hits.at(
            context.span(),
            format!(
                "this expand migration drops the {} `{}`",
                kind.word(),
                name.key
            ),
            "with everything in it",
        );
    }
}

fn rename_table(context: &Context<'_>, hits: &mut Hits) {
    if !context.expand() {
        return;
    }
    let mut say = |span, from: &str| {
        hits.at(
            span,
            format!("this expand migration renames the table `{from}`"),
            "old code looks for the old name",
        );
    };
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.new_table(table) => {
            for action in actions {
                let ActionKind::RenameTo(_) = &action.kind else {
                    continue;
                };
                if !has_view(context, &table.key) && !takes_place(context, &table.key) {
                    say(action.span, &table.key);
                }
            }
        }
        Stmt::RenameTables(pairs) => {
            for (from, to) in pairs {
                // `RENAME TABLE t TO old, new TO t`: the name is taken over at once.
                let swapped = pairs.iter().any(|(_, name)| name.key == from.key);
                if !context.new_table(from) && !swapped {
                    say(super::span_of(from.span, to.span), &from.key);
                }
            }
        }
        _ => {}
    }
}

/// Whether another table takes the name in this file.
fn takes_place(context: &Context<'_>, name: &str) -> bool {
    is_rebuilt(context, name)
        || context
            .later()
            .iter()
            .any(|s| matches!(s, Stmt::CreateTable(t) if t.name.key == name))
}

fn rename_column(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        let (from, to) = match &action.kind {
            ActionKind::RenameColumn(from, to) => (from, to),
            ActionKind::Redefine { old, new } if old.key != new.name.key => (old, &new.name),
            _ => continue,
        };
        if !context.new_column(table, &from.key) {
            hits.at(
                action.span,
                format!(
                    "this expand migration renames the column `{}` of `{}` to `{}`",
                    from.key, table.key, to.key
                ),
                "old code looks for the old name",
            );
        }
    }
}

fn rename_schema(context: &Context<'_>, hits: &mut Hits) {
    if !context.expand() {
        return;
    }
    if let Some((table, actions)) = context.alter()
        && !context.new_table(table)
    {
        for action in actions {
            if let ActionKind::SetSchema(to) = &action.kind {
                hits.at(
                    action.span,
                    format!(
                        "this expand migration moves `{}` into the schema `{}`",
                        table.key, to.key
                    ),
                    "old code looks in the old place",
                );
            }
        }
    }
    if let Stmt::Rename {
        kind: kind @ (ObjectKind::Schema | ObjectKind::Database),
        from,
        ..
    } = context.statement()
    {
        hits.at(
            context.span(),
            format!(
                "this expand migration renames the {} `{}`",
                kind.word(),
                from.key
            ),
            "old code looks for the old name",
        );
    }
}

fn rename_enum_value(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::RenameEnumValue { name } = context.statement()
        && context.expand()
    {
        hits.at(
            context.span(),
            format!("this expand migration renames a value of `{}`", name.key),
            "old code still writes the old value",
        );
    }
}

fn drop_object(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Drop { kind, names, .. } = context.statement() else {
        return;
    };
    let watched = matches!(
        kind,
        ObjectKind::View
            | ObjectKind::MaterializedView
            | ObjectKind::Routine
            | ObjectKind::Trigger
            | ObjectKind::Sequence
            | ObjectKind::Type
            | ObjectKind::Domain
    );
    if !watched || !context.expand() {
        return;
    }
    let made = |statement: &Stmt, key: &str| match statement {
        Stmt::Create { name, .. } => name.key == key,
        Stmt::CreateEnum { name, .. } | Stmt::CreateDomain { name, .. } => name.key == key,
        Stmt::CreateTable(table) => table.name.key == key,
        _ => false,
    };
    for name in names {
        let here = context.statements.iter().any(|s| made(s, &name.key));
        if !here && !context.new_table(name) && !is_rebuilt(context, &name.key) {
            hits.at(
                context.span(),
                format!(
                    "this expand migration drops the {} `{}`",
                    kind.word(),
                    name.key
                ),
                "old code may still use it",
            );
        }
    }
}

fn revoke(context: &Context<'_>, hits: &mut Hits) {
    if matches!(context.statement(), Stmt::Revoke) && context.expand() {
        // `REVOKE ALL ... FROM PUBLIC` closes what PostgreSQL opens by default, on new objects.
        let words = context.slice(context.span()).to_lowercase();
        let here = context.statements.iter().any(|s| match s {
            Stmt::Create { name, .. } => words.contains(name.last()),
            Stmt::CreateTable(table) => words.contains(table.name.last()),
            _ => false,
        });
        if !here {
            hits.at(
                context.span(),
                "this expand migration takes a right away",
                "old code may need it",
            );
        }
    }
}

fn row_security(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        if matches!(action.kind, ActionKind::RowSecurity) && !context.new_table(table) {
            hits.at(
                action.span,
                format!(
                    "this expand migration switches row security on for `{}`",
                    table.key
                ),
                "old code may see no rows",
            );
        }
    }
}

fn disable_trigger(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        if matches!(action.kind, ActionKind::DisableTrigger) && !context.new_table(table) {
            hits.at(
                action.span,
                format!(
                    "this expand migration switches a trigger of `{}` off",
                    table.key
                ),
                "old code may need it",
            );
        }
    }
}
