//! Columns whose adding or changing writes every row anew.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::dialect::Dialect;
use crate::lint::statement::{ActionKind, Expr, Generated};
use crate::lint::types::{change, written};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "add-column-volatile-default",
        title: "a column is added whose default is computed for each row",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "A constant default, or now(), is stored once; for gen_random_uuid(), clock_timestamp(), random() \
              or a function of your own every row and every index is written anew.",
        elsewhere: "squawk adding-field-with-default; strong_migrations add_column_default, add_column_default_callable; eugene E10",
        fix: Fix::Sequence(
            "adds the column, sets the default, fills the rows in batches, and makes it NOT NULL by way of a CHECK if it was",
        ),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while every row and every index is written anew. (Before PostgreSQL 11: for any default.)",
                rewrite: "Add the column without it, SET DEFAULT (for new rows), fill the old rows in batches.",
                fails: "ALTER TABLE users ADD COLUMN token uuid DEFAULT gen_random_uuid();",
                passes: "ALTER TABLE users ADD COLUMN token uuid;\nALTER TABLE users ALTER COLUMN token SET DEFAULT gen_random_uuid();"),
            case!(Mysql,
                locks: "The table is copied; writers wait.",
                rewrite: "Add the column without it, set the default, fill the old rows in batches.",
                fails: "ALTER TABLE users ADD COLUMN token varchar(36) DEFAULT (uuid()), ALGORITHM=INPLACE;",
                passes: "ALTER TABLE users ADD COLUMN token varchar(36), ALGORITHM=INSTANT;"),
        ],
        check: Check::Statement(volatile_default),
    },
    Rule {
        id: "add-column-generated",
        title: "a stored generated column is added",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "Its value is computed and written for every row.",
        elsewhere: "squawk adding-field-with-default; strong_migrations add_column_generated_stored; eugene E11",
        fix: Fix::None(
            "a trigger and a backfill take its place, and the expression must be written in another form for them",
        ),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while every row and every index is written anew.",
                rewrite: "A plain column, a trigger that keeps it, a backfill in batches; or a virtual column (PostgreSQL 18); or an index on the expression.",
                fails: "ALTER TABLE users ADD COLUMN lower_email text GENERATED ALWAYS AS (lower(email)) STORED;",
                passes: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY users_lower_email_idx ON users (lower(email));"),
            case!(Mysql,
                locks: "The table is copied; writers wait.",
                rewrite: "A virtual column, which costs nothing until it is read, with an index if need be.",
                fails: "ALTER TABLE users ADD COLUMN lower_email varchar(100) AS (lower(email)) STORED, ALGORITHM=COPY;",
                passes: "ALTER TABLE users ADD COLUMN lower_email varchar(100) AS (lower(email)) VIRTUAL, ALGORITHM=INSTANT;"),
        ],
        check: Check::Statement(generated),
    },
    Rule {
        id: "add-column-serial",
        title: "a column that numbers the rows is added",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "Every row gets its number: serial, identity and AUTO_INCREMENT alike write the whole table.",
        elsewhere: "squawk adding-serial-primary-key-field; strong_migrations add_column_auto_incrementing; eugene E11 (none names identity)",
        fix: Fix::None("rows must be numbered in batches, and only you know in which order"),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while every row and every index is written anew.",
                rewrite: "A plain bigint column, a sequence as its default, a backfill in batches.",
                fails: "ALTER TABLE logs_old ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;",
                passes: "CREATE SEQUENCE logs_number;\nALTER TABLE logs_old ADD COLUMN number bigint;\nALTER TABLE logs_old ALTER COLUMN number SET DEFAULT nextval('logs_number');"),
            case!(Mysql,
                locks: "The table is rebuilt and writers wait; replicas that replay statements may number the rows in another order.",
                rewrite: "A new table with the column, filled in batches.",
                fails: "ALTER TABLE accounts ADD COLUMN number bigint AUTO_INCREMENT UNIQUE, ALGORITHM=INPLACE;",
                passes: "ALTER TABLE accounts ADD COLUMN number bigint, ALGORITHM=INSTANT;"),
        ],
        check: Check::Statement(serial),
    },
    Rule {
        id: "add-column-domain",
        title: "a column of a domain with constraints is added",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "PostgreSQL checks the domain's constraint on every row, and writes the table anew for it.",
        elsewhere: "squawk ban-create-domain-with-constraint",
        fix: Fix::None("the domain's CHECK must be written for the column"),
        cases: &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE while every row is written anew.",
            rewrite: "A column of the plain type, with a CHECK that is added NOT VALID and validated later.",
            fails: "ALTER TABLE users ADD COLUMN score percent;",
            passes: "ALTER TABLE users ADD COLUMN score integer;")],
        check: Check::Statement(domain),
    },
    Rule {
        id: "rewrite-column-type",
        title: "a change of type writes every row anew",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "The new type holds all old values, so old code goes on, but the table is out of use while it is \
              written. Free in PostgreSQL: varchar to a longer one or to text, numeric to more digits at the \
              same scale. (In contract migrations this rule looks at every change of type.)",
        elsewhere: "squawk changing-column-type; strong_migrations change_column; eugene E5",
        fix: Fix::None("two columns must live side by side while releases change"),
        cases: &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while every row and every index is written anew.",
                rewrite: "A second column, written with the first by a trigger, filled in batches, swapped in a contract migration.",
                fails: "ALTER TABLE users ALTER COLUMN age TYPE bigint;",
                passes: "ALTER TABLE users ALTER COLUMN bio TYPE varchar(100);"),
            case!(Mysql,
                locks: "The table is copied; writers wait. (varchar: when its length in bytes crosses 255.)",
                rewrite: "gh-ost or pt-online-schema-change; or a second column.",
                fails: "ALTER TABLE users MODIFY nick varchar(200), ALGORITHM=COPY;",
                passes: "ALTER TABLE users MODIFY state enum('new', 'old', 'gone') NOT NULL DEFAULT 'new', ALGORITHM=INSTANT;"),
        ],
        check: Check::Statement(rewrite_type),
    },
    Rule {
        id: "move-table",
        title: "a table is moved: LOGGED, UNLOGGED, TABLESPACE, ACCESS METHOD",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "All its files are written anew while nobody can use it.",
        elsewhere: "none",
        fix: Fix::None("a new table must be filled while both are written"),
        cases: &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE for the whole copy.",
            rewrite: "A new table in the new place, filled in batches and swapped; or pg_repack --tablespace.",
            fails: "ALTER TABLE users SET TABLESPACE fast;",
            passes: "ALTER TABLE users SET (fillfactor = 90);")],
        check: Check::Statement(moved),
    },
];

/// Functions whose value is the same for all rows of a statement. A function that isn't here is
/// taken for volatile, which is what PostgreSQL takes one for that says nothing.
const STABLE: [&str; 58] = [
    "now",
    "current_timestamp",
    "transaction_timestamp",
    "statement_timestamp",
    "current_date",
    "current_time",
    "current_user",
    "current_role",
    "current_schema",
    "current_catalog",
    "current_setting",
    "current_database",
    "lower",
    "upper",
    "coalesce",
    "greatest",
    "least",
    "to_json",
    "to_jsonb",
    "jsonb_build_object",
    "jsonb_build_array",
    "json_build_object",
    "json_build_array",
    "array",
    "make_interval",
    "make_date",
    "md5",
    "sha256",
    "length",
    "abs",
    "round",
    "floor",
    "ceil",
    "date_trunc",
    "to_timestamp",
    "to_date",
    "extract",
    "row",
    "nullif",
    "cast",
    "format",
    "concat",
    "date",
    "timestamp",
    "numeric",
    "varchar",
    "char",
    "decimal",
    "bit",
    "interval",
    "time",
    "age",
    "timezone",
    "replace",
    "left",
    "right",
    "localtimestamp",
    "power",
];

/// Whether a default must be computed for each row.
pub(crate) fn is_volatile(value: &Expr, dialect: Dialect) -> bool {
    match dialect {
        // An expression, and not the literal or CURRENT_TIMESTAMP that MySQL always had.
        Dialect::Mysql => {
            !value.calls.is_empty()
                && !value
                    .calls
                    .iter()
                    .all(|c| c == "now" || c.starts_with("current_"))
        }
        _ => value
            .calls
            .iter()
            .any(|call| !STABLE.contains(&call.as_str())),
    }
}

fn volatile_default(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        let ActionKind::AddColumn(column) = &action.kind else {
            continue;
        };
        let Some(value) = &column.default else {
            continue;
        };
        let old_server = context.pg() && context.older([11, 0, 0]) && !value.null;
        if is_volatile(value, context.dialect) || old_server {
            hits.at(
                value.span,
                format!(
                    "all rows of `{}` are written anew for this default",
                    table.key
                ),
                if old_server {
                    "before PostgreSQL 11, any default"
                } else {
                    "computed for each row"
                },
            );
        }
    }
}

fn generated(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        if let ActionKind::AddColumn(column) = &action.kind
            && let Some((Generated::Stored, span)) = column.generated
        {
            hits.at(
                span,
                format!(
                    "all rows of `{}` are written anew for this column",
                    table.key
                ),
                "computed and stored for each row",
            );
        }
    }
}

fn serial(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        if let ActionKind::AddColumn(column) = &action.kind
            && let Some(span) = column.identity
        {
            hits.at(
                span,
                format!(
                    "all rows of `{}` are written anew for their numbers",
                    table.key
                ),
                "a number for each row",
            );
        }
    }
}

fn domain(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        if let ActionKind::AddColumn(column) = &action.kind
            && context.schema.domains.get(&column.ty.base) == Some(&true)
        {
            hits.at(
                column.ty.span,
                format!(
                    "all rows of `{}` are written anew for this domain",
                    table.key
                ),
                "the domain has a constraint",
            );
        }
    }
}

fn rewrite_type(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        let (column, ty) = match &action.kind {
            ActionKind::SetType { column, ty, .. } => (column, ty),
            ActionKind::Redefine { old, new } => (old, &new.ty),
            _ => continue,
        };
        let from = context.column(table, column).map(|c| &c.ty);
        if from.is_none() && context.mysql() {
            continue;
        }
        let told = context.expand() && !context.new_column(table, &column.key);
        let rewrites = match from.map(|from| change(from, ty, context.dialect)) {
            // An expand migration that isn't compatible has been told so.
            Some(change) => change.rewrites && (change.compatible || !told),
            None => !told,
        };
        if rewrites {
            hits.at(
                action.span,
                format!(
                    "all rows of `{}` are written anew to make `{}` {}",
                    table.key,
                    column.key,
                    written(ty)
                ),
                "nobody can use the table meanwhile",
            );
        }
    }
}

fn moved(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        if matches!(action.kind, ActionKind::Move) {
            hits.at(
                action.span,
                format!("all rows of `{}` are written anew", table.key),
                "nobody can use the table meanwhile",
            );
        }
    }
}
