//! Constraints, partitions, and locks that are held for longer than they need be.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::schema::Rule as Kept;
use crate::lint::statement::{ActionKind, ConstraintKind, Name, Stmt};

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
        class: Class::Locks,
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
        "add-foreign-key",
        "a foreign key is added and checked under a lock",
        Severity::Error,
        "All rows are looked up in the other table while neither table can be written to.",
        "squawk adding-foreign-key-constraint; strong_migrations add_foreign_key; eugene E1; Atlas",
        Fix::Sequence("ADD CONSTRAINT ... NOT VALID, and VALIDATE CONSTRAINT in the next file"),
        &[
            case!(Postgres,
                locks: "SHARE ROW EXCLUSIVE on both tables while all rows are checked. NOT VALID: the same, short; VALIDATE: readers and writers go on.",
                rewrite: "ADD CONSTRAINT ... NOT VALID; VALIDATE CONSTRAINT in another migration.",
                fails: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_account_fk FOREIGN KEY (account_id) REFERENCES accounts (id);",
                passes: "-- file: 0002_add.sql
-- windlass: phase contract
ALTER TABLE users ADD CONSTRAINT users_account_fk FOREIGN KEY (account_id) REFERENCES accounts (id) NOT VALID;
-- file: 0003_validate.sql
-- windlass: phase contract
ALTER TABLE users VALIDATE CONSTRAINT users_account_fk;"),
            case!(Mysql,
                locks: "The table is copied; writers wait. With foreign_key_checks = 0 it is added in place, but the rows that are there are never checked.",
                rewrite: "Look for orphans with a query, then SET foreign_key_checks = 0 and add it with ALGORITHM=INPLACE, LOCK=NONE.",
                fails: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_account_fk FOREIGN KEY (account_id) REFERENCES accounts (id);",
                passes: "-- windlass: phase contract\nSET foreign_key_checks = 0;\nALTER TABLE users ADD CONSTRAINT users_account_fk FOREIGN KEY (account_id) REFERENCES accounts (id), ALGORITHM=INPLACE, LOCK=NONE;"),
        ],
        add_foreign_key,
    ),
    rule(
        "add-check",
        "a CHECK is added and checked under a lock",
        Severity::Error,
        "All rows are read while nobody else can read or write.",
        "squawk constraint-missing-not-valid; strong_migrations add_check_constraint; eugene E1",
        Fix::Sequence("ADD CONSTRAINT ... NOT VALID, and VALIDATE CONSTRAINT in the next file"),
        &[
            case!(Postgres,
                locks: "ACCESS EXCLUSIVE while all rows are read. NOT VALID: short; VALIDATE: SHARE UPDATE EXCLUSIVE, readers and writers go on.",
                rewrite: "ADD CONSTRAINT ... NOT VALID; VALIDATE CONSTRAINT in another migration.",
                fails: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0);",
                passes: "-- file: 0002_add.sql
-- windlass: phase contract
ALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0) NOT VALID;
-- file: 0003_validate.sql
-- windlass: phase contract
ALTER TABLE users VALIDATE CONSTRAINT users_age_check;"),
            case!(Mysql,
                locks: "The table is copied; writers wait.",
                rewrite: "Check in the application or in a trigger; or add it NOT ENFORCED as documentation (MySQL; MariaDB doesn't know the words).",
                fails: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0);",
                passes: "ALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0) NOT ENFORCED;"),
        ],
        add_check,
    ),
    rule(
        "add-unique-constraint",
        "a UNIQUE constraint builds its index under a lock",
        Severity::Error,
        "Building the index takes as long as reading and sorting the table takes, and nobody reads or writes \
         meanwhile.",
        "squawk disallowed-unique-constraint; strong_migrations add_unique_constraint; eugene E7; Atlas",
        Fix::Sequence(
            "CREATE UNIQUE INDEX CONCURRENTLY, and ADD CONSTRAINT ... USING INDEX in the next file",
        ),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE for the whole build. USING INDEX: ACCESS EXCLUSIVE, short.",
            rewrite: "CREATE UNIQUE INDEX CONCURRENTLY in a file of its own; then ADD CONSTRAINT ... UNIQUE USING INDEX.",
            fails: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_nick_key UNIQUE (nick);",
            passes: "-- file: 0002_index.sql
-- windlass: phase contract
-- windlass: no-transaction
CREATE UNIQUE INDEX CONCURRENTLY users_nick_key ON users (nick);
-- file: 0003_constraint.sql
-- windlass: phase contract
ALTER TABLE users ADD CONSTRAINT users_nick_key UNIQUE USING INDEX users_nick_key;")],
        add_unique,
    ),
    rule(
        "add-primary-key",
        "a primary key builds its index, or looks for NULLs, under a lock",
        Severity::Error,
        "The index is built, and columns that may be NULL are read in full, while nobody reads or writes.",
        "squawk adding-serial-primary-key-field; eugene W14",
        Fix::Sequence(
            "CREATE UNIQUE INDEX CONCURRENTLY, and ADD CONSTRAINT ... USING INDEX in the next file, if the columns are NOT NULL",
        ),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE for the whole build. USING INDEX on NOT NULL columns: ACCESS EXCLUSIVE, short.",
            rewrite: "Make the columns NOT NULL (see set-not-null), CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT ... PRIMARY KEY USING INDEX.",
            fails: "ALTER TABLE logs_old ADD CONSTRAINT logs_old_pkey PRIMARY KEY (id);",
            passes: "-- file: 0002_index.sql
-- windlass: phase contract
-- windlass: no-transaction
CREATE UNIQUE INDEX CONCURRENTLY logs_old_pkey ON logs_old (id);
-- file: 0003_key.sql
-- windlass: phase contract
ALTER TABLE logs_old ADD CONSTRAINT logs_old_pkey PRIMARY KEY USING INDEX logs_old_pkey;")],
        add_primary_key,
    ),
    rule(
        "add-exclusion",
        "an exclusion constraint is added to a table with rows",
        Severity::Error,
        "Its index is built and all rows are compared while nobody reads or writes; there is no NOT VALID and no \
         USING INDEX for it.",
        "strong_migrations add_exclusion_constraint; eugene E8",
        Fix::None("PostgreSQL has no way to add one without the lock"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE for the whole build.",
            rewrite: "Create a new table with the constraint and move the rows, or plan for a pause.",
            fails: "-- windlass: phase contract\nALTER TABLE logs_old ADD CONSTRAINT logs_old_excl EXCLUDE USING gist (at WITH =);",
            passes: "CREATE TABLE bookings (id bigint PRIMARY KEY, during tstzrange, EXCLUDE USING gist (during WITH &&));")],
        add_exclusion,
    ),
    rule(
        "validate-same-transaction",
        "a constraint is validated in the transaction that added it",
        Severity::Error,
        "The lock of ADD CONSTRAINT is kept until the end of the transaction, so NOT VALID has gained nothing: \
         the rows are read while the table is locked.",
        "squawk constraint-missing-not-valid (in a transaction); strong_migrations validate_check_constraint, validate_foreign_key",
        Fix::Sequence("moves VALIDATE CONSTRAINT into the next file"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE (CHECK) or SHARE ROW EXCLUSIVE (foreign key), held while all rows are read.",
            rewrite: "Put VALIDATE CONSTRAINT into a migration of its own.",
            fails: "-- windlass: phase contract\nALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0) NOT VALID;\nALTER TABLE users VALIDATE CONSTRAINT users_age_check;",
            passes: "-- file: 0002_add.sql
-- windlass: phase contract
ALTER TABLE users ADD CONSTRAINT users_age_check CHECK (age >= 0) NOT VALID;
-- file: 0003_validate.sql
-- windlass: phase contract
ALTER TABLE users VALIDATE CONSTRAINT users_age_check;")],
        validate_same_transaction,
    ),
    rule(
        "drop-foreign-key",
        "a foreign key is dropped together with other work",
        Severity::Warning,
        "Dropping it locks both tables for everybody, also the one that the statement doesn't name. With other \
         work in the same transaction both stay locked until that is done.",
        "none",
        Fix::Sequence("puts it into a file of its own"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on both tables, until the end of the transaction.",
            rewrite: "Drop it alone in a migration.",
            fails: "-- file: 0002_posts.sql
CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint CONSTRAINT posts_user_fk REFERENCES users (id));
CREATE INDEX posts_user_id_idx ON posts (user_id);
-- file: 0003_drop.sql
ALTER TABLE posts DROP CONSTRAINT posts_user_fk;
ALTER TABLE posts ADD COLUMN body text;",
            passes: "-- file: 0002_posts.sql
CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint CONSTRAINT posts_user_fk REFERENCES users (id));
CREATE INDEX posts_user_id_idx ON posts (user_id);
-- file: 0003_drop.sql
ALTER TABLE posts DROP CONSTRAINT posts_user_fk;")],
        drop_foreign_key,
    ),
    rule(
        "vacuum-full",
        "VACUUM FULL or CLUSTER writes a table anew under a lock",
        Severity::Error,
        "Nobody reads or writes the table until all its rows have been copied.",
        "squawk prefer-repack",
        Fix::None("pg_repack is a program of its own, and no SQL"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE for the whole copy.",
            rewrite: "pg_repack or pg_squeeze; REPACK (CONCURRENTLY) from PostgreSQL 19 on. Plain VACUUM locks nobody out.",
            fails: "-- windlass: no-transaction\nVACUUM FULL users;",
            passes: "-- windlass: no-transaction\nVACUUM users;")],
        vacuum_full,
    ),
    rule(
        "detach-partition",
        "a partition is detached without CONCURRENTLY",
        Severity::Error,
        "Parent and partition are locked for everybody; the lock waits behind the longest query on the parent.",
        "squawk require-concurrent-partition-detach",
        Fix::Sequence(
            "DETACH PARTITION ... CONCURRENTLY in a file of its own with `-- windlass: no-transaction`",
        ),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on parent and partition; CONCURRENTLY: SHARE UPDATE EXCLUSIVE.",
            rewrite: "DETACH PARTITION ... CONCURRENTLY (PostgreSQL 14 and newer), alone in a file with `-- windlass: no-transaction`.",
            fails: "ALTER TABLE logs DETACH PARTITION logs_old;",
            passes: "-- windlass: no-transaction\nALTER TABLE logs DETACH PARTITION logs_old CONCURRENTLY;")],
        detach_partition,
    ),
    rule(
        "attach-partition",
        "a table with rows becomes a partition without a CHECK that proves its bounds",
        Severity::Warning,
        "All its rows are read under a lock to see whether they belong there, unless a valid CHECK says so.",
        "none",
        Fix::None("the CHECK must say what the bounds say, in your types"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on the new partition while all its rows are read; SHARE UPDATE EXCLUSIVE on the parent.",
            rewrite: "Add a CHECK with the bounds NOT VALID, validate it, attach, drop it.",
            fails: "ALTER TABLE logs ATTACH PARTITION logs_old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');",
            passes: "-- file: 0002_check.sql
-- windlass: phase contract
ALTER TABLE logs_old ADD CONSTRAINT bounds CHECK (at IS NOT NULL AND at >= '2020-01-01' AND at < '2021-01-01') NOT VALID;
-- file: 0003_validate.sql
ALTER TABLE logs_old VALIDATE CONSTRAINT bounds;
-- file: 0004_attach.sql
ALTER TABLE logs ATTACH PARTITION logs_old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');")],
        attach_partition,
    ),
    rule(
        "refresh-materialized-view",
        "a materialized view is refreshed without CONCURRENTLY",
        Severity::Warning,
        "Readers of the view wait until the query behind it is done.",
        "none",
        Fix::Sequence("adds CONCURRENTLY, if the view has a unique index"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on the view while the query runs; CONCURRENTLY: EXCLUSIVE, readers go on.",
            rewrite: "REFRESH MATERIALIZED VIEW CONCURRENTLY; it needs a unique index.",
            fails: "REFRESH MATERIALIZED VIEW totals;",
            passes: "REFRESH MATERIALIZED VIEW CONCURRENTLY totals;")],
        refresh,
    ),
    rule(
        "lock-held-by-slow-statement",
        "slow work follows a strong lock in the same transaction",
        Severity::Error,
        "A lock is kept until COMMIT: a change of all rows behind an ALTER TABLE keeps everybody out of that \
         table until it is done.",
        "eugene E4; django-migration-linter CREATE_INDEX_EXCLUSIVE",
        Fix::None("move the slow statement into a migration of its own, after this one"),
        &[case!(Postgres,
            locks: "What the earlier statement took, until the end of the transaction.",
            rewrite: "One migration for the ALTER TABLE, another one for the rows.",
            fails: "ALTER TABLE users ADD COLUMN plan text;\nUPDATE users SET plan = 'free';",
            passes: "-- file: 0002_column.sql
ALTER TABLE users ADD COLUMN plan text;
-- file: 0003_rows.sql
UPDATE users SET plan = 'free' WHERE id = 1;")],
        slow_under_lock,
    ),
    rule(
        "several-tables",
        "strong locks on several tables in one transaction",
        Severity::Warning,
        "The first table stays locked while the second one's lock is waited for, which may take as long as the \
         longest query; and a query that takes them in the other order makes a deadlock.",
        "online_migrations multiple_foreign_keys (in part)",
        Fix::None("put each table's statements into a file of their own"),
        &[case!(Postgres,
            locks: "ACCESS EXCLUSIVE on all of them, until the end of the transaction.",
            rewrite: "One table per migration.",
            fails: "ALTER TABLE users ADD COLUMN plan text;\nALTER TABLE accounts ADD COLUMN plan text;",
            passes: "-- file: 0002_users.sql
ALTER TABLE users ADD COLUMN plan text;
-- file: 0003_accounts.sql
ALTER TABLE accounts ADD COLUMN plan text;")],
        several_tables,
    ),
    rule(
        "alter-domain-constraint",
        "a constraint is added to a domain that tables use",
        Severity::Error,
        "Every table with a column of the domain is read in full.",
        "squawk ban-alter-domain-with-add-constraint",
        Fix::None(
            "a domain's constraint must be validated by a statement whose name only you know",
        ),
        &[case!(Postgres,
            locks: "SHARE on every table that uses the domain, while all its rows are read.",
            rewrite: "ADD CONSTRAINT ... NOT VALID; ALTER DOMAIN ... VALIDATE CONSTRAINT in another migration.",
            fails: "ALTER DOMAIN percent ADD CONSTRAINT not_all CHECK (VALUE < 100);",
            passes: "ALTER DOMAIN percent ADD CONSTRAINT not_all CHECK (VALUE < 100) NOT VALID;")],
        alter_domain,
    ),
    rule(
        "lock-timeout-disabled",
        "the time limit for waiting for a lock is switched off or made long",
        Severity::Warning,
        "Whoever waits for a strong lock makes everybody behind wait, too: a one-row SELECT behind an ALTER that \
         waited for a 6 s query took 5.4 s. The runner sets a short limit and tries again; this undoes it.",
        "squawk require-lock-timeout; eugene E9; strong_migrations (timeouts)",
        Fix::None("whether the long wait is meant is for you to say"),
        &[
            case!(Postgres,
                locks: "None itself; every lock after it may be waited for without end.",
                rewrite: "Leave it to the runner, or `-- windlass: lock-timeout 10s`.",
                fails: "SET LOCAL lock_timeout = 0;",
                passes: "SET LOCAL lock_timeout = '2s';"),
            case!(Mysql,
                locks: "None itself; MySQL's own limit for metadata locks is a year.",
                rewrite: "SET SESSION lock_wait_timeout to a few seconds.",
                fails: "SET SESSION lock_wait_timeout = 86400;",
                passes: "SET SESSION lock_wait_timeout = 2;"),
        ],
        lock_timeout,
    ),
];

fn name_of(table: &Name) -> &str {
    &table.key
}

fn add_foreign_key(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    let unchecked = context.mysql()
        && context.statements[..context.index].iter().any(|s| {
            matches!(s, Stmt::Set { name, value, .. } if name == "foreign_key_checks" && matches!(value.as_str(), "0" | "off" | "false"))
        });
    for action in actions {
        let (reference, span) = match &action.kind {
            ActionKind::AddConstraint(c) if !c.not_valid && !c.not_enforced => match &c.kind {
                ConstraintKind::ForeignKey { reference, .. } => (reference, action.span),
                _ => continue,
            },
            // Without a default all rows have NULL, and PostgreSQL knows that it need not look.
            ActionKind::AddColumn(column)
                if context.pg() && column.default.as_ref().is_some_and(|d| !d.null) =>
            {
                match &column.references {
                    Some((reference, span)) => (reference, *span),
                    None => continue,
                }
            }
            _ => continue,
        };
        if !unchecked {
            hits.at(
                span,
                format!(
                    "this foreign key stops writers of `{}` and `{}`",
                    name_of(table),
                    reference.table.key
                ),
                "checks all rows under a lock on both tables",
            );
        }
    }
}

fn add_check(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        let span = match &action.kind {
            ActionKind::AddConstraint(c)
                if !c.not_valid
                    && !c.not_enforced
                    && matches!(c.kind, ConstraintKind::Check { .. }) =>
            {
                action.span
            }
            ActionKind::AddColumn(column) => match &column.check {
                Some((_, span)) => *span,
                None => continue,
            },
            _ => continue,
        };
        hits.at(
            span,
            format!("this CHECK keeps everybody out of `{}`", table.key),
            "reads all rows under a lock",
        );
    }
}

fn add_unique(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        let span = match &action.kind {
            ActionKind::AddConstraint(c) => match &c.kind {
                ConstraintKind::Unique { index: None, .. } => action.span,
                _ => continue,
            },
            ActionKind::AddColumn(column) => match column.unique {
                Some(span) => span,
                None => continue,
            },
            _ => continue,
        };
        hits.at(
            span,
            format!("building this index keeps everybody out of `{}`", table.key),
            "holds ACCESS EXCLUSIVE for the whole build",
        );
    }
}

fn add_primary_key(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        match &action.kind {
            ActionKind::AddConstraint(c) => {
                match &c.kind {
                    ConstraintKind::PrimaryKey { index: None, .. } => {
                        hits.at(
                            action.span,
                            format!("building this index keeps everybody out of `{}`", table.key),
                            "holds ACCESS EXCLUSIVE for the whole build",
                        );
                    }
                    ConstraintKind::PrimaryKey {
                        index: Some(index), ..
                    } => {
                        let Some(known) = context.table(table) else {
                            continue;
                        };
                        let index = known.indexes.iter().find(|i| i.name == index.last());
                        let nullable = index.into_iter().flat_map(|i| &i.columns).find(|c| {
                            known.column(c).is_some_and(|c| c.nullable) && !known.proves(c, true)
                        });
                        if let Some(column) = nullable {
                            hits.at(
                            action.span,
                            format!("`{}.{column}` may be NULL, so all rows are read", table.key),
                            "holds ACCESS EXCLUSIVE meanwhile",
                        )
                        .help("Set NOT NULL first, by way of a validated CHECK (see set-not-null).");
                        }
                    }
                    _ => {}
                }
            }
            ActionKind::AddColumn(column) => {
                // A serial or generated key has its own rule, and that is the worse part.
                if let Some(span) = column.primary_key
                    && column.identity.is_none()
                    && column.generated.is_none()
                {
                    hits.at(
                        span,
                        format!("building this index keeps everybody out of `{}`", table.key),
                        "holds ACCESS EXCLUSIVE for the whole build",
                    );
                }
            }
            _ => {}
        }
    }
}

fn add_exclusion(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| !context.expand()) else {
        exclusion_in_expand(context, hits);
        return;
    };
    for action in actions {
        if let ActionKind::AddConstraint(c) = &action.kind
            && matches!(c.kind, ConstraintKind::Exclude)
        {
            hits.at(
                action.span,
                format!("this constraint keeps everybody out of `{}`", table.key),
                "compares all rows under a lock",
            );
        }
    }
}

/// In an expand migration on a new table of an earlier file nothing else speaks up.
fn exclusion_in_expand(context: &Context<'_>, hits: &mut Hits) {
    if let Some((table, actions)) = context.alter()
        && context.new_table(table)
        && let Some(action) = actions.iter().find(|a| {
            matches!(&a.kind, ActionKind::AddConstraint(c) if matches!(c.kind, ConstraintKind::Exclude))
        })
    {
        hits.at(
            action.span,
            format!("this constraint keeps everybody out of `{}`", table.key),
            "compares all rows under a lock",
        );
    }
}

fn validate_same_transaction(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.in_transaction()) else {
        return;
    };
    for action in actions {
        let ActionKind::Validate(name) = &action.kind else {
            continue;
        };
        let before = context.table(table).and_then(|t| t.constraint(&name.key));
        let here = actions.iter().any(|a| {
            matches!(&a.kind, ActionKind::AddConstraint(c) if c.name.as_ref().is_some_and(|n| n.key == name.key))
        });
        if here || before.is_some_and(|c| c.file == context.file) {
            hits.at(
                action.span,
                format!(
                    "`{}` is validated under the lock that adding it took",
                    name.key
                ),
                "all rows are read meanwhile",
            );
        }
    }
}

fn drop_foreign_key(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter().filter(|_| context.in_transaction()) else {
        return;
    };
    let others = context
        .statements
        .iter()
        .filter(|s| !matches!(s, Stmt::Set { .. }))
        .count()
        > 1;
    for action in actions {
        let ActionKind::DropConstraint(name) = &action.kind else {
            continue;
        };
        let rule = context
            .table(table)
            .and_then(|t| t.constraint(&name.key))
            .map(|c| &c.rule);
        if let Some(Kept::ForeignKey { table: other, .. }) = rule
            && others
        {
            hits.at(
                action.span,
                format!(
                    "dropping `{}` locks `{}` and `{other}` until this file is done",
                    name.key, table.key
                ),
                "together with other work",
            );
        }
    }
}

fn vacuum_full(context: &Context<'_>, hits: &mut Hits) {
    if matches!(
        context.statement(),
        Stmt::Vacuum { full: true } | Stmt::Cluster
    ) {
        hits.at(
            context.span(),
            "the table is copied while nobody can use it",
            "holds ACCESS EXCLUSIVE for the whole copy",
        );
    }
}

fn detach_partition(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    for action in actions {
        if let ActionKind::DetachPartition {
            concurrently: false,
            child,
        } = &action.kind
        {
            hits.at(
                action.span,
                format!(
                    "detaching `{}` locks `{}` for everybody",
                    child.key, table.key
                ),
                "waits for ACCESS EXCLUSIVE on both",
            );
        }
    }
}

fn attach_partition(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::AlterTable { table, actions } = context.statement() else {
        return;
    };
    for action in actions {
        let ActionKind::AttachPartition(child) = &action.kind else {
            continue;
        };
        let proved = context.table(child).is_some_and(|t| {
            t.constraints
                .iter()
                .any(|c| c.valid && matches!(c.rule, Kept::Check { .. }))
        });
        if !context.fresh(child) && !proved && context.pg() {
            hits.at(
                action.span,
                format!(
                    "attaching `{}` to `{}` reads all its rows",
                    child.key, table.key
                ),
                "under ACCESS EXCLUSIVE",
            );
        }
    }
}

fn refresh(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::Refresh {
        view,
        concurrently: false,
        ..
    } = context.statement()
        && !context.fresh(view)
    {
        hits.at(
            context.span(),
            format!("readers of `{}` wait until the query is done", view.key),
            "holds ACCESS EXCLUSIVE",
        );
    }
}

fn slow_under_lock(context: &Context<'_>, hits: &mut Hits) {
    let Some(held) = context.held.first().filter(|_| context.in_transaction()) else {
        return;
    };
    let slow = match context.statement() {
        Stmt::Change(change) => super::data::is_mass(context, change)
            .then(|| format!("changing many rows of `{}`", change.table.key)),
        Stmt::Insert {
            table,
            from_select: true,
            ..
        } => Some(format!("copying rows into `{}`", table.key)),
        Stmt::AlterTable { table, actions } if !context.fresh(table) => actions
            .iter()
            .any(|a| match &a.kind {
                // Of what this file added, another rule tells.
                ActionKind::Validate(name) => context
                    .table(table)
                    .and_then(|t| t.constraint(&name.key))
                    .is_none_or(|c| c.file != context.file),
                _ => false,
            })
            .then(|| format!("validating rows of `{}`", table.key)),
        _ => None,
    };
    if let Some(slow) = slow {
        let line = context.text[..held.span.start].matches('\n').count() + 1;
        hits.at(
            context.span(),
            format!("{slow} while `{}` is locked since line {line}", held.table),
            "everybody waits until this is done",
        );
    }
}

fn several_tables(context: &Context<'_>, hits: &mut Hits) {
    if !context.in_transaction() {
        return;
    }
    let Some((table, span)) = crate::lint::engine::strong(context).into_iter().next() else {
        return;
    };
    // Once is enough: at the second table.
    let mut held: Vec<&str> = context.held.iter().map(|h| h.table.as_str()).collect();
    held.dedup();
    if let [first] = held.as_slice()
        && *first != table
    {
        hits.at(
            span,
            format!("`{first}` stays locked while the lock of `{table}` is waited for"),
            "one table per migration",
        );
    }
}

fn alter_domain(context: &Context<'_>, hits: &mut Hits) {
    if let Stmt::AlterDomainConstraint {
        name,
        not_valid: false,
    } = context.statement()
    {
        hits.at(
            context.span(),
            format!("all tables that use `{}` are read under a lock", name.key),
            "writers wait",
        );
    }
}

fn lock_timeout(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Set { name, value, .. } = context.statement() else {
        return;
    };
    let number: Option<u64> = value.parse().ok();
    let bad = match context.dialect {
        crate::lint::Dialect::Postgres => {
            name == "lock_timeout" && (number == Some(0) || value == "default")
        }
        crate::lint::Dialect::Mysql => {
            name == "lock_wait_timeout" && number.is_some_and(|seconds| seconds > 60)
        }
        crate::lint::Dialect::Sqlite => false,
    };
    if bad {
        hits.at(
            context.span(),
            "locks may be waited for without end",
            "everybody else waits behind",
        );
    }
}
