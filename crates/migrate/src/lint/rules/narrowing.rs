//! What old code writes must stay allowed: types, NOT NULL, constraints, defaults.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::schema::Rule as Kept;
use crate::lint::statement::{
    ActionKind, ColumnDef, Constraint, ConstraintKind, Name, ObjectKind, Stmt,
};
use crate::lint::types::{change, written};

const DUAL: &str = "Add a second column of the new type, write both, backfill in batches, read the new one, and \
     drop the old one in a contract migration.";
const OBEY: &str = "Let a release obey the rule first, then add it in a contract migration: NOT VALID spares the \
     old rows, but it checks every new one.";

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "change-column-type",
        title: "a column gets a type that old code doesn't know or whose values it exceeds",
        severity: Severity::Error,
        class: Class::OldCode,
        on: true,
        why: "Old code sends values that no longer fit, or reads values of a type that its driver takes for \
              another one. Besides, every row is written anew under a lock.",
        elsewhere: "squawk changing-column-type; strong_migrations change_column; eugene E5; \
                    django-migration-linter ALTER_COLUMN; Atlas (data-dependent changes)",
        fix: Fix::None(
            "two columns must live side by side while releases change, and only you know how values of one become values of the other",
        ),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while every row and every index is written anew.",
                rewrite: DUAL,
                fails: "ALTER TABLE users ALTER COLUMN bio TYPE varchar(10);",
                passes: "ALTER TABLE users ALTER COLUMN bio TYPE text;"),
            case!(Mysql,
                locks: "The table is copied; writers wait for the whole time.",
                rewrite: DUAL,
                fails: "ALTER TABLE users MODIFY nick varchar(10), ALGORITHM=INPLACE;",
                passes: "ALTER TABLE users MODIFY nick varchar(60), ALGORITHM=INPLACE;"),
        ],
        check: Check::Statement(change_column_type),
    },
    Rule {
        id: "add-required-column",
        title: "a NOT NULL column without a default is added",
        severity: Severity::Error,
        class: Class::OldCode,
        on: true,
        why: "It fails as soon as the table has a row (MySQL fills in 0 or '' instead and says nothing), and \
              each INSERT of old code, which doesn't know the column, fails after it. It is reported in contract \
              migrations too.",
        elsewhere: "squawk adding-required-field; Atlas MF103, MY101, LT101; django-migration-linter NOT_NULL",
        fix: Fix::None("which value the rows that are there get is for you to say"),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short; then it fails.",
                rewrite: "Give it a constant default and keep that in the database, or add it nullable, fill it, and set NOT NULL later.",
                fails: "ALTER TABLE users ADD COLUMN plan text NOT NULL;",
                passes: "ALTER TABLE users ADD COLUMN plan text NOT NULL DEFAULT 'free';"),
            case!(Mysql,
                locks: "None for long, but every row silently gets 0 or ''.",
                rewrite: "Give it a constant default and keep that in the database, or add it nullable, fill it, and make it NOT NULL later.",
                fails: "ALTER TABLE users ADD COLUMN plan varchar(20) NOT NULL, ALGORITHM=INSTANT;",
                passes: "ALTER TABLE users ADD COLUMN plan varchar(20) NOT NULL DEFAULT 'free', ALGORITHM=INSTANT;"),
            case!(Sqlite,
                locks: "None: \"Cannot add a NOT NULL column with default value NULL\".",
                rewrite: "Give it a constant default.",
                fails: "ALTER TABLE users ADD COLUMN plan TEXT NOT NULL;",
                passes: "ALTER TABLE users ADD COLUMN plan TEXT NOT NULL DEFAULT 'free';"),
        ],
        check: Check::Statement(add_required_column),
    },
    Rule {
        id: "tighten-in-expand",
        title: "a constraint is put on what old code writes",
        severity: Severity::Error,
        class: Class::OldCode,
        on: true,
        why: "From that moment rows of the old release are refused: NULLs, duplicates, orphans, other values. \
              Columns that are new to old code are free: it leaves them alone.",
        elsewhere: "django-migration-linter ADD_UNIQUE; Atlas MF101, MF102 (both for the rows that are there)",
        fix: Fix::Contract,
        cases: &[
            case!(Postgres,
                locks: "See the rule of each kind of constraint.",
                rewrite: OBEY,
                fails: "ALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0) NOT VALID;",
                passes: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0) NOT VALID;"),
            case!(Mysql,
                locks: "See the rule of each kind of constraint.",
                rewrite: OBEY,
                fails: "ALTER TABLE users ADD UNIQUE KEY users_nick_key (nick), ALGORITHM=INPLACE, LOCK=NONE;",
                passes: "-- windlass: phase contract\nALTER TABLE users ADD UNIQUE KEY users_nick_key (nick), ALGORITHM=INPLACE, LOCK=NONE;"),
            case!(Sqlite,
                locks: "The whole file, while the index is built.",
                rewrite: "Let a release obey the rule first, then add it in a contract migration.",
                fails: "CREATE UNIQUE INDEX users_nick_key ON users (nick);",
                passes: "-- windlass: phase contract\nCREATE UNIQUE INDEX users_nick_key ON users (nick);"),
        ],
        check: Check::Statement(tighten),
    },
    Rule {
        id: "set-not-null",
        title: "NOT NULL is set on a column without a proof that no row has NULL",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "All rows are looked at while nobody can read the table; it fails if one of them has NULL; and old \
              code that writes NULL fails after it. A CHECK (c IS NOT NULL) that is validated before, under a \
              lock that lets readers and writers pass, makes it a matter of milliseconds.",
        elsewhere: "squawk adding-not-nullable-field; strong_migrations change_column_null; eugene E2; Atlas MF104",
        fix: Fix::Sequence(
            "CHECK NOT VALID; VALIDATE; SET NOT NULL; DROP CONSTRAINT, as three contract migrations",
        ),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while all rows are read. With the CHECK (PostgreSQL 12 and newer): ACCESS EXCLUSIVE, short, no scan.",
                rewrite: "Backfill, ADD CONSTRAINT ... CHECK (c IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT in another transaction, SET NOT NULL, drop the CHECK.",
                fails: "ALTER TABLE users ALTER COLUMN nick SET NOT NULL;",
                passes: "-- file: 0002_check.sql
-- windlass: phase contract
ALTER TABLE users ADD CONSTRAINT users_nick_not_null CHECK (nick IS NOT NULL) NOT VALID;
-- file: 0003_validate.sql
-- windlass: phase contract
ALTER TABLE users VALIDATE CONSTRAINT users_nick_not_null;
-- file: 0004_not_null.sql
-- windlass: phase contract
ALTER TABLE users ALTER COLUMN nick SET NOT NULL;
ALTER TABLE users DROP CONSTRAINT users_nick_not_null;"),
            case!(Mysql,
                locks: "The table is rebuilt (INPLACE in strict mode, writers may go on). Without strict mode NULLs silently become 0 or ''.",
                rewrite: "Backfill first; then change the column in a contract migration, with ALGORITHM=INPLACE, LOCK=NONE and a strict sql_mode, and say in an allow that you did.",
                fails: "ALTER TABLE users MODIFY nick varchar(50) NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;",
                passes: "-- windlass: phase contract
-- windlass: allow set-not-null: filled by 0001, and the server runs in strict mode
ALTER TABLE users MODIFY nick varchar(50) NOT NULL, ALGORITHM=INPLACE, LOCK=NONE;"),
        ],
        check: Check::Statement(set_not_null),
    },
    Rule {
        id: "drop-not-null",
        title: "a column may be NULL that never was, and old code may not expect it",
        severity: Severity::Warning,
        class: Class::OldCode,
        on: true,
        why: "As soon as the new release writes a NULL, old code that reads it fails (many drivers can't put NULL \
              into a plain field).",
        elsewhere: "squawk ban-drop-not-null; django-migration-linter DROP_NOT_NULL",
        fix: Fix::Contract,
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "Release code that reads NULL first; drop NOT NULL in a contract migration.",
                fails: "ALTER TABLE users ALTER COLUMN email DROP NOT NULL;",
                passes: "-- windlass: phase contract\nALTER TABLE users ALTER COLUMN email DROP NOT NULL;"),
            case!(Mysql,
                locks: "The table is rebuilt (INPLACE).",
                rewrite: "Release code that reads NULL first; drop NOT NULL in a contract migration.",
                fails: "ALTER TABLE users MODIFY email varchar(100) NULL, ALGORITHM=INPLACE, LOCK=NONE;",
                passes: "-- windlass: phase contract\nALTER TABLE users MODIFY email varchar(100) NULL, ALGORITHM=INPLACE, LOCK=NONE;"),
        ],
        check: Check::Statement(drop_not_null),
    },
    Rule {
        id: "drop-default",
        title: "the default of a NOT NULL column is dropped",
        severity: Severity::Error,
        class: Class::OldCode,
        on: true,
        why: "INSERTs of old code that leave the column out fail.",
        elsewhere: "strong_migrations change_column_default (in part)",
        fix: Fix::Contract,
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "Keep the default until a contract migration.",
                fails: "ALTER TABLE users ALTER COLUMN age DROP DEFAULT;",
                passes: "-- windlass: phase contract\nALTER TABLE users ALTER COLUMN age DROP DEFAULT;"),
            case!(Mysql,
                locks: "An exclusive metadata lock, short.",
                rewrite: "Keep the default until a contract migration.",
                fails: "ALTER TABLE users ALTER COLUMN age DROP DEFAULT, ALGORITHM=INSTANT;",
                passes: "-- windlass: phase contract\nALTER TABLE users ALTER COLUMN age DROP DEFAULT, ALGORITHM=INSTANT;"),
        ],
        check: Check::Statement(drop_default),
    },
    Rule {
        id: "drop-unique",
        title: "a primary key, a UNIQUE constraint or a unique index is dropped",
        severity: Severity::Error,
        class: Class::OldCode,
        on: true,
        why: "`ON CONFLICT (column)` and `ON DUPLICATE KEY UPDATE` of old code need it: without it the first \
              fails and the second writes duplicates. Foreign keys to it fail, too.",
        elsewhere: "Atlas CD101 (foreign keys only)",
        fix: Fix::Contract,
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE, short.",
                rewrite: "Drop it in a contract migration.",
                fails: "-- windlass: no-transaction\nDROP INDEX CONCURRENTLY users_email_key;",
                passes: "-- windlass: phase contract\n-- windlass: no-transaction\nDROP INDEX CONCURRENTLY users_email_key;"),
            case!(Mysql,
                locks: "An exclusive metadata lock, short.",
                rewrite: "Drop it in a contract migration.",
                fails: "ALTER TABLE users DROP INDEX users_email_key, ALGORITHM=INPLACE, LOCK=NONE;",
                passes: "-- windlass: phase contract\nALTER TABLE users DROP INDEX users_email_key, ALGORITHM=INPLACE, LOCK=NONE;"),
            case!(Sqlite,
                locks: "The whole file, short.",
                rewrite: "Drop it in a contract migration.",
                fails: "DROP INDEX users_email_key;",
                passes: "-- windlass: phase contract\nDROP INDEX users_email_key;"),
        ],
        check: Check::Statement(drop_unique),
    },
];

/// The old and new types of columns whose type a statement changes.
fn change_column_type(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        let (column, ty) = match &action.kind {
            ActionKind::SetType { column, ty, .. } => (column, ty),
            ActionKind::Redefine { old, new } => (old, &new.ty),
            _ => continue,
        };
        if context.new_column(table, &column.key) {
            continue;
        }
        let from = context.column(table, column).map(|c| &c.ty);
        // A column that the history doesn't know: MySQL's MODIFY may be of anything.
        if from.is_none() && context.mysql() {
            continue;
        }
        if from.is_none_or(|from| !change(from, ty, context.dialect).compatible) {
            let was = from
                .map(|f| format!(" from {}", written(f)))
                .unwrap_or_default();
            hits.at(
                action.span,
                format!(
                    "this expand migration changes `{}.{}`{was} to {}",
                    table.key,
                    column.key,
                    written(ty)
                ),
                "old code's values may not fit, and every row is written anew",
            );
        }
    }
}

fn required(column: &ColumnDef) -> bool {
    column.not_null.is_some()
        && column.default.as_ref().is_none_or(|d| d.null)
        && column.identity.is_none()
        && column.generated.is_none()
}

fn add_required_column(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        if let ActionKind::AddColumn(column) = &action.kind
            && required(column)
        {
            hits.at(
                column.not_null.unwrap_or(action.span),
                format!(
                    "`{}.{}` is NOT NULL and has no default",
                    table.key, column.name.key
                ),
                if context.mysql() {
                    "rows get 0 or '' without a word"
                } else {
                    "fails if the table has rows"
                },
            );
        }
    }
}

/// Whether old code could break this constraint.
fn tightens(context: &Context<'_>, table: &Name, constraint: &Constraint) -> bool {
    let old = |columns: &[Name]| columns.iter().any(|c| !context.new_column(table, &c.key));
    match &constraint.kind {
        // The index came before, and was looked at then.
        ConstraintKind::Unique { index: Some(_), .. } | ConstraintKind::PrimaryKey { .. } => false,
        ConstraintKind::Unique { columns, .. } | ConstraintKind::ForeignKey { columns, .. } => {
            old(columns)
        }
        // NOT NULL itself has a rule of its own.
        ConstraintKind::NotNull { column } if constraint.not_valid => {
            tightens_null(context, table, &column.key)
        }
        ConstraintKind::NotNull { .. } => false,
        ConstraintKind::Exclude => true,
        ConstraintKind::Check { not_null } => {
            if constraint.not_enforced {
                return false;
            }
            let Some(known) = context.table(table).filter(|t| !t.open) else {
                return true;
            };
            let words = context.slice(constraint.span).to_lowercase();
            let mut words = words.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
            words.any(|word| {
                known.column(word).is_some_and(|_| {
                    if not_null.iter().any(|c| c == word) {
                        tightens_null(context, table, word)
                    } else {
                        !context.new_column(table, word)
                    }
                })
            })
        }
    }
}

/// Old code leaves a new column out: NULL, unless there is a default.
fn tightens_null(context: &Context<'_>, table: &Name, column: &str) -> bool {
    let known = context.table(table).and_then(|t| t.column(column));
    let default = known.is_some_and(|c| c.default);
    let harmless = context.new_column(table, column) && default;
    !harmless && !context.new_table(table) && known.is_none_or(|c| c.nullable)
}

fn tighten(context: &Context<'_>, hits: &mut Hits) {
    if !context.expand() {
        return;
    }
    let old = |table: &Name, columns: &[Name]| {
        !context.new_table(table)
            && columns
                .iter()
                .any(|c| c.key.is_empty() || !context.new_column(table, &c.key))
    };
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.new_table(table) => {
            for action in actions {
                match &action.kind {
                    ActionKind::AddConstraint(constraint)
                        if tightens(context, table, constraint) =>
                    {
                        hits.at(
                            action.span,
                            format!("this expand migration puts a constraint on `{}`", table.key),
                            "rows of the old release may be refused",
                        );
                    }
                    ActionKind::AddIndex(index) if index.unique && old(table, &index.columns) => {
                        hits.at(
                            action.span,
                            format!(
                                "this expand migration makes values of `{}` unique",
                                table.key
                            ),
                            "rows of the old release may be refused",
                        );
                    }
                    _ => {}
                }
            }
        }
        Stmt::CreateIndex(create)
            if create.def.unique && old(&create.table, &create.def.columns) =>
        {
            // A unique index on a view changes nothing for those who write.
            if context.schema.views.contains_key(&create.table.key) {
                return;
            }
            // A second index on what is unique already.
            let keys: Vec<String> = create.def.columns.iter().map(|c| c.key.clone()).collect();
            let known = context.table(&create.table).is_some_and(|t| {
                t.primary_key == keys
                    || t.indexes
                        .iter()
                        .any(|i| i.unique && !i.partial && i.columns == keys)
            });
            if !known {
                hits.at(
                    context.span(),
                    format!(
                        "this expand migration makes values of `{}` unique",
                        create.table.key
                    ),
                    "rows of the old release may be refused",
                );
            }
        }
        _ => {}
    }
}

fn set_not_null(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        match &action.kind {
            ActionKind::SetNotNull(column) => {
                let known = context.column(table, column);
                if known.is_some_and(|c| !c.nullable) {
                    continue;
                }
                let of = context.table(table);
                if of.is_some_and(|t| t.proves(&column.key, true)) && !context.older([12, 0, 0]) {
                    continue;
                }
                let hit = hits.at(
                    action.span,
                    format!("NOT NULL on `{}.{}` without a proof", table.key, column.key),
                    "reads all rows while nobody else can",
                );
                if of.is_some_and(|t| t.proves(&column.key, false)) && !context.older([12, 0, 0]) {
                    hit.help("A CHECK for it is there, but it isn't validated: VALIDATE CONSTRAINT in a migration before this one.");
                }
            }
            ActionKind::Redefine { old, new } if new.not_null.is_some() => {
                let known = context.column(table, old);
                if known.is_some_and(|c| c.nullable) {
                    hits.at(
                        new.not_null.unwrap_or(action.span),
                        format!("NOT NULL on `{}.{}` without a proof", table.key, old.key),
                        "fails on NULLs, or turns them into 0 or ''",
                    );
                }
            }
            ActionKind::AddConstraint(constraint) => {
                if let ConstraintKind::NotNull { column } = &constraint.kind
                    && !constraint.not_valid
                    && context.column(table, column).is_none_or(|c| c.nullable)
                {
                    hits.at(
                        action.span,
                        format!("NOT NULL on `{}.{}` without a proof", table.key, column.key),
                        "reads all rows while nobody else can",
                    )
                    .help("PostgreSQL 18 has ADD CONSTRAINT ... NOT NULL c NOT VALID; then VALIDATE CONSTRAINT.");
                }
            }
            _ => {}
        }
    }
}

fn drop_not_null(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        let column = match &action.kind {
            ActionKind::DropNotNull(column) => column,
            ActionKind::Redefine { old, new }
                if new.not_null.is_none()
                    && new.primary_key.is_none()
                    && context.column(table, old).is_some_and(|c| !c.nullable) =>
            {
                old
            }
            _ => continue,
        };
        if !context.new_column(table, &column.key) {
            hits.at(
                action.span,
                format!("`{}.{}` may be NULL from now on", table.key, column.key),
                "old code may not expect NULL",
            );
        }
    }
}

fn drop_default(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.expand()) else {
        return;
    };
    for action in actions {
        let column = match &action.kind {
            ActionKind::DropDefault(column) => column,
            ActionKind::Redefine { old, new }
                if new.default.is_none() && new.identity.is_none() && new.not_null.is_some() =>
            {
                old
            }
            _ => continue,
        };
        let known = context.column(table, column);
        if known.is_some_and(|c| !c.nullable && c.default)
            && !context.new_column(table, &column.key)
        {
            hits.at(
                action.span,
                format!(
                    "`{}.{}` is NOT NULL and loses its default",
                    table.key, column.key
                ),
                "INSERTs of old code that leave it out fail",
            );
        }
    }
}

fn drop_unique(context: &Context<'_>, hits: &mut Hits) {
    if !context.expand() {
        return;
    }
    let made_again = |columns: &[String]| {
        context.statements.iter().any(|s| match s {
            Stmt::CreateIndex(c) => {
                c.def.unique && c.def.columns.iter().map(|n| &n.key).eq(columns.iter())
            }
            Stmt::AlterTable { actions, .. } => actions.iter().any(|a| match &a.kind {
                ActionKind::AddConstraint(c) => match &c.kind {
                    ConstraintKind::PrimaryKey {
                        columns: names,
                        index,
                    }
                    | ConstraintKind::Unique {
                        columns: names,
                        index,
                    } => index.is_some() || names.iter().map(|n| &n.key).eq(columns.iter()),
                    _ => false,
                },
                ActionKind::AddIndex(i) => {
                    i.unique && i.columns.iter().map(|n| &n.key).eq(columns.iter())
                }
                _ => false,
            }),
            _ => false,
        })
    };
    match context.statement() {
        Stmt::Drop {
            kind: ObjectKind::Index,
            names,
            ..
        } => {
            for name in names {
                if let Some((table, index)) = context.schema.index(&name.key)
                    && index.unique
                    && !context.new_table(&Name {
                        key: table.to_owned(),
                        ..name.clone()
                    })
                    && !made_again(&index.columns)
                {
                    hits.at(
                        context.span(),
                        format!(
                            "this expand migration drops the unique index `{}` of `{table}`",
                            name.key
                        ),
                        "old code may need it",
                    );
                }
            }
        }
        Stmt::AlterTable { table, actions } if !context.new_table(table) => {
            let Some(known) = context.table(table) else {
                return;
            };
            for action in actions {
                let columns = match &action.kind {
                    ActionKind::DropPrimaryKey => known.primary_key.clone(),
                    ActionKind::DropConstraint(name) | ActionKind::DropIndex(name) => {
                        let index = known
                            .indexes
                            .iter()
                            .find(|i| i.unique && i.name == name.key);
                        match (known.constraint(&name.key).map(|c| &c.rule), index) {
                            (Some(Kept::PrimaryKey), _) => known.primary_key.clone(),
                            (_, Some(index)) => index.columns.clone(),
                            _ => continue,
                        }
                    }
                    _ => continue,
                };
                if !made_again(&columns) {
                    hits.at(
                        action.span,
                        format!(
                            "this expand migration drops what makes `{}` of `{}` unique",
                            columns.join(", "),
                            table.key
                        ),
                        "old code may need it",
                    );
                }
            }
        }
        _ => {}
    }
}
