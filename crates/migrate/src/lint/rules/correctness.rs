//! What fails, or does something else than it seems.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::Span;
use crate::lint::context::{Context, Hits};
use crate::lint::dialect::Dialect;
use crate::lint::statement::{ActionKind, ColumnDef, Generated, Name, Stmt};
use crate::lint::types::written;

const YOURS: &str = "what was meant is for you to say";

#[expect(clippy::too_many_arguments, reason = "the columns of a table")]
const fn rule(
    id: &'static str,
    title: &'static str,
    severity: Severity,
    why: &'static str,
    elsewhere: &'static str,
    fix: Fix,
    cases: &'static [super::Case],
    check: fn(&Context<'_>, &mut Hits),
) -> Rule {
    Rule {
        id,
        title,
        severity,
        class: Class::Correctness,
        on: true,
        why,
        elsewhere,
        fix,
        cases,
        check: Check::Statement(check),
    }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "duplicate-column",
        "a column is named twice, or is there already",
        Severity::Error,
        "The statement fails when it runs. The whole history is read to know what is there.",
        "squawk ban-duplicate-column-assignments",
        Fix::None(YOURS),
        &[
            case!(Postgres,
                locks: "None: it fails.",
                rewrite: "Name it once; ADD COLUMN IF NOT EXISTS where it may be there.",
                fails: "ALTER TABLE users ADD COLUMN nick text;",
                passes: "ALTER TABLE users ADD COLUMN IF NOT EXISTS nick text;"),
            case!(Mysql,
                locks: "None: it fails.",
                rewrite: "Name it once.",
                fails: "ALTER TABLE users ADD COLUMN nick varchar(50), ALGORITHM=INSTANT;",
                passes: "ALTER TABLE users ADD COLUMN nick2 varchar(50), ALGORITHM=INSTANT;"),
            case!(Sqlite,
                locks: "None: it fails.",
                rewrite: "Name it once.",
                fails: "ALTER TABLE users ADD COLUMN nick TEXT;",
                passes: "ALTER TABLE users ADD COLUMN nick2 TEXT;"),
        ],
        duplicate_column,
    ),
    rule(
        "unknown-column",
        "a column is named that the table doesn't have",
        Severity::Error,
        "The statement fails when it runs. Only told of tables whose whole history is known, and where no \
         statement hides what it does.",
        "-",
        Fix::None(YOURS),
        &[
            case!(Postgres,
                locks: "None: it fails.",
                rewrite: "Name a column that is there.",
                fails: "ALTER TABLE users ALTER COLUMN nikc SET DEFAULT '';",
                passes: "ALTER TABLE users ALTER COLUMN nick SET DEFAULT '';"),
            case!(Mysql,
                locks: "None: it fails.",
                rewrite: "Name a column that is there.",
                fails: "CREATE INDEX users_nikc_idx ON users (nikc) ALGORITHM=INPLACE;",
                passes: "CREATE INDEX users_nick_idx ON users (nick) ALGORITHM=INPLACE;"),
            case!(Sqlite,
                locks: "None: it fails.",
                rewrite: "Name a column that is there.",
                fails: "CREATE INDEX users_nikc_idx ON users (nikc);",
                passes: "CREATE INDEX users_nick_idx ON users (nick);"),
        ],
        unknown_column,
    ),
    rule(
        "mismatched-foreign-key",
        "a foreign key's columns have another type than those that they lead to",
        Severity::Warning,
        "MySQL refuses it. PostgreSQL casts at every check, and may find no index for it; and the smaller type \
         runs out first.",
        "online_migrations mismatched_foreign_key_type",
        Fix::None("which of the two types is right is for you to say"),
        &[
            case!(Postgres,
                locks: "Row locks in the referenced table, longer than need be.",
                rewrite: "The same type on both sides.",
                fails: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id integer REFERENCES users (id));\nCREATE INDEX posts_user_id_idx ON posts (user_id);",
                passes: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint REFERENCES users (id));\nCREATE INDEX posts_user_id_idx ON posts (user_id);"),
            case!(Mysql,
                locks: "None: it fails.",
                rewrite: "The same type on both sides.",
                fails: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id int, FOREIGN KEY (user_id) REFERENCES users (id));",
                passes: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint, FOREIGN KEY (user_id) REFERENCES users (id));"),
        ],
        mismatched,
    ),
    rule(
        "identifier-too-long",
        "a name is longer than the database keeps",
        Severity::Warning,
        "PostgreSQL cuts names after 63 bytes and says so only in a notice: two long names may become one. MySQL \
         refuses more than 64 characters.",
        "squawk identifier-too-long",
        Fix::None("the shorter name is for you to choose"),
        &[
            case!(Postgres,
                locks: "None.",
                rewrite: "A shorter name.",
                fails: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY index_on_the_nick_names_of_all_users_who_ever_signed_up_for_an_account ON users (nick);",
                passes: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);"),
            case!(Mysql,
                locks: "None: it fails.",
                rewrite: "A shorter name.",
                fails: "CREATE INDEX index_on_the_nick_names_of_all_users_who_ever_signed_up_for_an_account ON users (nick) ALGORITHM=INPLACE;",
                passes: "CREATE INDEX users_nick_idx ON users (nick) ALGORITHM=INPLACE;"),
        ],
        too_long,
    ),
    rule(
        "enum-value-in-transaction",
        "a new value of an enumeration is used in the transaction that adds it",
        Severity::Error,
        "PostgreSQL refuses to use it before the COMMIT; before version 12 it can't even be added in a \
         transaction.",
        "squawk (transactions); Flyway's list of statements",
        Fix::None("move the statement that uses the value into the next migration"),
        &[case!(Postgres,
            locks: "None: it fails.",
            rewrite: "Add the value in a migration of its own.",
            fails: "ALTER TYPE mood ADD VALUE 'great';\nCREATE TABLE days (id bigint PRIMARY KEY, mood mood NOT NULL DEFAULT 'great');",
            passes: "ALTER TYPE mood ADD VALUE 'great';")],
        enum_value,
    ),
    rule(
        "json-column",
        "a column of type json",
        Severity::Warning,
        "json has no equality: SELECT DISTINCT, GROUP BY and UNION of old code over all columns of the table \
         fail as soon as the column is there.",
        "strong_migrations add_column_json; eugene E3",
        Fix::Sequence("writes jsonb instead"),
        &[case!(Postgres,
            locks: "None.",
            rewrite: "jsonb.",
            fails: "ALTER TABLE users ADD COLUMN settings json;",
            passes: "ALTER TABLE users ADD COLUMN settings jsonb;")],
        json,
    ),
    rule(
        "newer-than-server",
        "the server is too old for this",
        Severity::Error,
        "The statement fails when it runs, or is silently ignored (CHECK in MySQL before 8.0.16). Reported when \
         --server-version says which server there is.",
        "strong_migrations and squawk ask for the version, too",
        Fix::None("the server decides what it can do"),
        &[
            case!(Postgres,
                server: "13",
                locks: "None: it fails.",
                rewrite: "What this version has.",
                fails: "-- windlass: no-transaction\nALTER TABLE logs DETACH PARTITION logs_old CONCURRENTLY;",
                passes: "-- windlass: no-transaction\nREINDEX TABLE CONCURRENTLY users;"),
            case!(Mysql,
                server: "5.7.44",
                locks: "None: it fails, or is ignored.",
                rewrite: "What this version has.",
                fails: "CREATE TABLE ages (age int PRIMARY KEY, CHECK (age >= 0));",
                passes: "CREATE TABLE ages (age int PRIMARY KEY);"),
            case!(Sqlite,
                server: "3.34.1",
                locks: "None: it fails.",
                rewrite: "What this version has.",
                fails: "-- windlass: phase contract\nALTER TABLE users DROP COLUMN nick;",
                passes: "ALTER TABLE users ADD COLUMN handle TEXT;"),
        ],
        newer,
    ),
];

fn added(statement: &Stmt) -> Vec<(&ColumnDef, Span)> {
    match statement {
        Stmt::CreateTable(create) => create.columns.iter().map(|c| (c, c.span)).collect(),
        Stmt::AlterTable { actions, .. } => actions
            .iter()
            .filter_map(|a| match &a.kind {
                ActionKind::AddColumn(column) => Some((&**column, a.span)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn duplicate_column(context: &Context<'_>, hits: &mut Hits) {
    let mut seen: Vec<&str> = Vec::new();
    for (column, span) in added(context.statement()) {
        let key = column.name.key.as_str();
        let tolerant = context.slice(span).to_lowercase().contains("if not exists");
        let there = match context.statement() {
            Stmt::AlterTable { table, actions } => {
                // Dropped first, in the same statement.
                let dropped = actions.iter().any(|a| {
                    a.span.start < span.start
                        && matches!(&a.kind, ActionKind::DropColumn(name) if name.key == key)
                });
                !dropped
                    && !context.schema.open
                    && context
                        .table(table)
                        .is_some_and(|t| t.column(key).is_some())
            }
            _ => false,
        };
        if !tolerant && (there || seen.contains(&key)) {
            hits.at(
                column.name.span,
                format!("there is a column `{key}` already"),
                "fails",
            );
        }
        seen.push(key);
    }
    if let Stmt::Change(change) = context.statement() {
        for (n, name) in change.assigned.iter().enumerate() {
            if change.assigned[..n]
                .iter()
                .any(|other| other.key == name.key)
            {
                hits.at(
                    name.span,
                    format!("`{}` is assigned twice", name.key),
                    "fails",
                );
            }
        }
    }
}

fn unknown_column(context: &Context<'_>, hits: &mut Hits) {
    if context.schema.open {
        return;
    }
    let mut check = |table: &Name, columns: &[&Name], new: &[&str]| {
        let Some(known) = context.table(table).filter(|t| !t.open) else {
            return;
        };
        for column in columns {
            if !column.key.is_empty()
                && known.column(&column.key).is_none()
                && !new.contains(&column.key.as_str())
            {
                hits.at(
                    column.span,
                    format!("`{}` has no column `{}`", table.key, column.key),
                    "fails",
                );
            }
        }
    };
    match context.statement() {
        Stmt::CreateIndex(create) => {
            let columns: Vec<&Name> = create.def.columns.iter().collect();
            check(&create.table, &columns, &[]);
        }
        Stmt::AlterTable { table, actions } => {
            let mut new: Vec<&str> = Vec::new();
            for action in actions {
                let named = match &action.kind {
                    ActionKind::AddColumn(column) => {
                        new.push(&column.name.key);
                        continue;
                    }
                    ActionKind::RenameColumn(from, to) => {
                        check(table, &[from], &new);
                        new.push(&to.key);
                        continue;
                    }
                    ActionKind::Redefine { old, new: def } => {
                        check(table, &[old], &new);
                        new.push(&def.name.key);
                        continue;
                    }
                    ActionKind::DropColumn(name) => {
                        let tolerant = context
                            .slice(action.span)
                            .to_lowercase()
                            .contains("if exists");
                        if tolerant {
                            continue;
                        }
                        name
                    }
                    ActionKind::SetNotNull(name)
                    | ActionKind::DropNotNull(name)
                    | ActionKind::SetDefault(name, _)
                    | ActionKind::DropDefault(name) => name,
                    ActionKind::SetType { column, .. } => column,
                    ActionKind::AddIndex(index) => {
                        let columns: Vec<&Name> = index.columns.iter().collect();
                        check(table, &columns, &new);
                        continue;
                    }
                    _ => continue,
                };
                check(table, &[name_ref(named)], &new);
            }
        }
        _ => {}
    }
}

fn name_ref(name: &Name) -> &Name {
    name
}

fn mismatched(context: &Context<'_>, hits: &mut Hits) {
    for (table, columns, reference, span) in super::indexes::foreign_keys(context) {
        let Some(there) = context.table(&reference.table) else {
            continue;
        };
        let theirs: Vec<String> = if reference.columns.is_empty() {
            there.primary_key.clone()
        } else {
            reference.columns.iter().map(|c| c.key.clone()).collect()
        };
        for (column, other) in columns.iter().zip(&theirs) {
            let defined = added(context.statement())
                .into_iter()
                .find(|(c, _)| c.name.key == column.key)
                .map(|(c, _)| c.ty.clone());
            let ty = defined.or_else(|| context.column(table, column).map(|c| c.ty.clone()));
            let (Some(ty), Some(other_ty)) = (ty, there.column(other).map(|c| &c.ty)) else {
                continue;
            };
            let plain = |base: &str| match base {
                "serial" => "integer".to_owned(),
                "bigserial" => "bigint".to_owned(),
                "smallserial" => "smallint".to_owned(),
                "text" if context.pg() => "varchar".to_owned(),
                other => other.to_owned(),
            };
            if plain(&ty.base) != plain(&other_ty.base) {
                hits.at(
                    span,
                    format!(
                        "`{}.{}` is {}, but `{}.{other}` is {}",
                        table.key,
                        column.key,
                        written(&ty),
                        reference.table.key,
                        written(other_ty)
                    ),
                    "two types",
                );
            }
        }
    }
}

fn too_long(context: &Context<'_>, hits: &mut Hits) {
    let long = |name: &Name| match context.dialect {
        Dialect::Postgres => name.last().len() > 63,
        _ => name.last().chars().count() > 64,
    };
    let mut names: Vec<&Name> = added(context.statement())
        .into_iter()
        .map(|(c, _)| &c.name)
        .collect();
    match context.statement() {
        Stmt::CreateTable(create) => {
            names.push(&create.name);
            names.extend(create.constraints.iter().filter_map(|c| c.name.as_ref()));
        }
        Stmt::CreateIndex(create) => names.extend(&create.def.name),
        Stmt::Create { name, .. } => names.push(name),
        Stmt::AlterTable { actions, .. } => {
            for action in actions {
                match &action.kind {
                    ActionKind::AddConstraint(c) => names.extend(&c.name),
                    ActionKind::RenameColumn(_, to) | ActionKind::RenameTo(to) => names.push(to),
                    ActionKind::AddIndex(index) => names.extend(&index.name),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    for name in names.into_iter().filter(|n| long(n)) {
        hits.at(
            name.span,
            format!("`{}` is too long a name", name.last()),
            if context.pg() {
                "cut after 63 bytes"
            } else {
                "refused"
            },
        );
    }
}

fn enum_value(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::AddEnumValue { value, name, .. } = context.statement() else {
        return;
    };
    if !context.in_transaction() {
        return;
    }
    if context.older([12, 0, 0]) {
        hits.at(
            context.span(),
            format!(
                "before PostgreSQL 12 a value can't be added to `{}` in a transaction",
                name.key
            ),
            "fails",
        );
        return;
    }
    // A type that came with the same transaction is free.
    let created = context
        .statements
        .iter()
        .any(|s| matches!(s, Stmt::CreateEnum { name: other, .. } if other.key == name.key));
    let quoted = format!("'{value}'");
    let rest = &context.text[context.raw().end.min(context.text.len())..];
    if !created && rest.contains(&quoted) {
        hits.at(
            context.span(),
            format!("'{value}' is used below, before this transaction ends"),
            "can't be used before COMMIT",
        );
    }
}

fn json(context: &Context<'_>, hits: &mut Hits) {
    for (column, _) in added(context.statement()) {
        if column.ty.base == "json" {
            hits.at(
                column.ty.span,
                format!("`{}` is json, which can't be compared", column.name.key),
                "write jsonb",
            );
        }
    }
}

/// What is new, since when, and where it stands.
fn newer(context: &Context<'_>, hits: &mut Hits) {
    let Some(version) = context.version else {
        return;
    };
    let mut need = |numbers: [u32; 3], span: Span, what: &str| {
        if !version.at_least(numbers) {
            let wanted = crate::lint::ServerVersion {
                mariadb: version.mariadb,
                numbers,
            };
            hits.at(
                span,
                format!("{what} needs {wanted}, and the server is {version}"),
                "not on this server",
            );
        }
    };
    let by_server =
        |mysql: [u32; 3], mariadb: [u32; 3]| if version.mariadb { mariadb } else { mysql };
    let span = context.span();
    let statement = context.statement();
    let actions: &[_] = match statement {
        Stmt::AlterTable { actions, .. } => actions,
        _ => &[],
    };
    match context.dialect {
        Dialect::Postgres => {
            if let Stmt::Reindex {
                concurrently: true, ..
            } = statement
            {
                need([12, 0, 0], span, "REINDEX CONCURRENTLY");
            }
            for (column, _) in added(statement) {
                match column.generated {
                    Some((Generated::Stored, at)) => need([12, 0, 0], at, "a generated column"),
                    Some((Generated::Virtual, at)) => need([18, 0, 0], at, "a virtual column"),
                    None => {}
                }
            }
            for action in actions {
                if let ActionKind::DetachPartition {
                    concurrently: true, ..
                } = &action.kind
                {
                    need([14, 0, 0], action.span, "DETACH PARTITION CONCURRENTLY");
                }
            }
            let text = context.slice(span).to_lowercase();
            if text.contains("nulls not distinct") {
                need([15, 0, 0], span, "NULLS NOT DISTINCT");
            }
            if text.starts_with("merge") {
                need([15, 0, 0], span, "MERGE");
            }
        }
        Dialect::Mysql => {
            for action in actions {
                match &action.kind {
                    ActionKind::RenameColumn(..) => {
                        need(
                            by_server([8, 0, 0], [10, 5, 2]),
                            action.span,
                            "RENAME COLUMN",
                        );
                    }
                    ActionKind::Algorithm(word) if word == "instant" => {
                        need(
                            by_server([8, 0, 12], [10, 3, 7]),
                            action.span,
                            "ALGORITHM=INSTANT",
                        );
                    }
                    _ => {}
                }
            }
            if let Stmt::CreateTable(create) = statement {
                for constraint in &create.constraints {
                    if matches!(
                        constraint.kind,
                        crate::lint::statement::ConstraintKind::Check { .. }
                    ) {
                        need(by_server([8, 0, 16], [10, 2, 1]), constraint.span, "CHECK");
                    }
                }
            }
            for (column, _) in added(statement) {
                if let Some((_, at)) = &column.check {
                    need(by_server([8, 0, 16], [10, 2, 1]), *at, "CHECK");
                }
                if let Some(default) = &column.default
                    && super::rewrites::is_volatile(default, context.dialect)
                {
                    need(
                        by_server([8, 0, 13], [10, 2, 1]),
                        default.span,
                        "a default that is an expression",
                    );
                }
            }
        }
        Dialect::Sqlite => {
            for action in actions {
                match &action.kind {
                    ActionKind::RenameColumn(..) => need([3, 25, 0], action.span, "RENAME COLUMN"),
                    ActionKind::DropColumn(_) => need([3, 35, 0], action.span, "DROP COLUMN"),
                    _ => {}
                }
            }
            for (column, _) in added(statement) {
                if let Some((_, at)) = column.generated {
                    need([3, 31, 0], at, "a generated column");
                }
            }
            let text = context.slice(span).to_lowercase();
            if matches!(statement, Stmt::CreateTable(_)) && text.ends_with("strict") {
                need([3, 37, 0], span, "STRICT");
            }
            if matches!(statement, Stmt::Insert { .. } | Stmt::Change(_))
                && text.contains("returning")
            {
                need([3, 35, 0], span, "RETURNING");
            }
        }
    }
}
