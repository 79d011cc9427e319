//! What only MySQL and MariaDB do.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::statement::{Action, ActionKind, ConstraintKind, Stmt};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "algorithm-unpinned",
        title: "ALTER TABLE doesn't say how it may be done",
        severity: Severity::Warning,
        class: Class::Locks,
        on: true,
        why: "The server takes the cheapest way that it can, and silently falls back to copying the table while \
              writers wait: after an update, on another version, on a table with a full-text index. With \
              ALGORITHM=INSTANT, or ALGORITHM=INPLACE, LOCK=NONE, it fails at once instead.",
        elsewhere: "none",
        fix: Fix::None("which algorithm you expect is for you to say"),
        cases: &[case!(Mysql,
            locks: "What the server chooses.",
            rewrite: "Append ALGORITHM=INSTANT, or ALGORITHM=INPLACE, LOCK=NONE.",
            fails: "ALTER TABLE users ADD COLUMN plan varchar(20);",
            passes: "ALTER TABLE users ADD COLUMN plan varchar(20), ALGORITHM=INSTANT;")],
        check: Check::Statement(unpinned),
    },
    Rule {
        id: "algorithm-copy",
        title: "ALGORITHM=COPY",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "The table is copied row by row, and writers wait.",
        elsewhere: "strong_migrations copy_algorithm",
        fix: Fix::None("whether the change can be made in place depends on it"),
        cases: &[case!(Mysql,
            locks: "SHARED on the table for the whole copy: no writes.",
            rewrite: "INSTANT or INPLACE; gh-ost where neither will do.",
            fails: "ALTER TABLE users ADD COLUMN plan varchar(20), ALGORITHM=COPY;",
            passes: "ALTER TABLE users ADD COLUMN plan varchar(20), ALGORITHM=INSTANT;")],
        check: Check::Statement(copy),
    },
    Rule {
        id: "lock-clause",
        title: "LOCK=SHARED or LOCK=EXCLUSIVE",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "It asks for a lock that keeps writers, or everybody, out for as long as the change takes.",
        elsewhere: "strong_migrations lock_option",
        fix: Fix::None("whether the change can do without the lock depends on it"),
        cases: &[case!(Mysql,
            locks: "What it says, for the whole change.",
            rewrite: "LOCK=NONE.",
            fails: "ALTER TABLE users ADD KEY users_nick_idx (nick), ALGORITHM=INPLACE, LOCK=SHARED;",
            passes: "ALTER TABLE users ADD KEY users_nick_idx (nick), ALGORITHM=INPLACE, LOCK=NONE;")],
        check: Check::Statement(lock),
    },
    Rule {
        id: "rebuild-table",
        title: "the whole table is rebuilt",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "CONVERT TO CHARACTER SET, ENGINE=, ROW_FORMAT=, FORCE, ORDER BY, OPTIMIZE TABLE and changes of \
              partitions write every row anew; most of them by copying, while writers wait, and once more on \
              each replica.",
        elsewhere: "-",
        fix: Fix::None("a program such as gh-ost does it beside the work"),
        cases: &[case!(Mysql,
            locks: "SHARED for the whole copy, or none but heavy work on disk (INPLACE).",
            rewrite: "gh-ost or pt-online-schema-change; or a new table that is filled in batches.",
            fails: "ALTER TABLE users CONVERT TO CHARACTER SET utf8mb4;",
            passes: "CREATE TABLE people (id bigint PRIMARY KEY, nick varchar(50)) CHARACTER SET utf8mb4;")],
        check: Check::Statement(rebuild),
    },
    Rule {
        id: "fulltext-index",
        title: "a FULLTEXT or SPATIAL index is added",
        severity: Severity::Warning,
        class: Class::Locks,
        on: true,
        why: "These indexes can't be built beside writers (the first FULLTEXT index rebuilds the table as well).",
        elsewhere: "-",
        fix: Fix::None("MySQL has no way to build one beside writers"),
        cases: &[case!(Mysql,
            locks: "SHARED for the whole build: no writes.",
            rewrite: "Build it when few write, or fill a new table that has it.",
            fails: "CREATE FULLTEXT INDEX users_nick_text ON users (nick);",
            passes: "CREATE INDEX users_nick_idx ON users (nick) ALGORITHM=INPLACE LOCK=NONE;")],
        check: Check::Statement(fulltext),
    },
    Rule {
        id: "drop-primary-key",
        title: "a primary key is dropped without a new one in the same statement",
        severity: Severity::Error,
        class: Class::Locks,
        on: true,
        why: "The rows lie in the order of the key: dropping it alone copies the table, and adding the new one \
              copies it again. Together it is done once, and in place.",
        elsewhere: "-",
        fix: Fix::None("which columns the new key has is for you to say"),
        cases: &[case!(Mysql,
            locks: "SHARED for the whole copy: no writes.",
            rewrite: "DROP PRIMARY KEY, ADD PRIMARY KEY (...) in one ALTER TABLE.",
            fails: "-- windlass: phase contract\nALTER TABLE accounts DROP PRIMARY KEY;",
            passes: "-- windlass: phase contract\nALTER TABLE accounts DROP PRIMARY KEY, ADD PRIMARY KEY (id, name), ALGORITHM=INPLACE, LOCK=NONE;")],
        check: Check::Statement(drop_primary_key),
    },
    Rule {
        id: "inline-references",
        title: "REFERENCES in a column is read and ignored",
        severity: Severity::Error,
        class: Class::Correctness,
        on: true,
        why: "MySQL before 9.0 takes `REFERENCES` behind a column without a word and makes no foreign key. \
              (MariaDB from 10.5 on makes one; --server-version mariadb-10.11 says so.)",
        elsewhere: "Atlas MY102",
        fix: Fix::None("the constraint's name and its place are for you to say"),
        cases: &[case!(Mysql,
            locks: "None: nothing happens.",
            rewrite: "FOREIGN KEY (column) REFERENCES ... as a clause of the table.",
            fails: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint REFERENCES users (id));",
            passes: "CREATE TABLE posts (id bigint PRIMARY KEY, user_id bigint, FOREIGN KEY (user_id) REFERENCES users (id));")],
        check: Check::Statement(inline_references),
    },
    Rule {
        id: "several-ddl",
        title: "several DDL statements in one file",
        severity: Severity::Note,
        class: Class::Transactions,
        on: true,
        why: "Each of them commits. If the second fails, the first stays, and a runner without a journal fails \
              differently on the next try. Windlass's runner keeps a journal per statement and goes on where it \
              stopped; other runners don't.",
        elsewhere: "eugene W12 (several ALTERs)",
        fix: Fix::None("which statements belong together is for you to say"),
        cases: &[case!(Mysql,
            locks: "None.",
            rewrite: "One DDL statement per file; several clauses of one table in one ALTER TABLE.",
            fails: "CREATE TABLE a (id bigint PRIMARY KEY);\nCREATE TABLE b (id bigint PRIMARY KEY);",
            passes: "CREATE TABLE a (id bigint PRIMARY KEY);")],
        check: Check::Statement(several_ddl),
    },
];

/// Whether a pinned algorithm would guard the clause.
fn pinnable(action: &Action) -> bool {
    match &action.kind {
        ActionKind::AddColumn(column) => column.references.is_none(),
        ActionKind::AddIndex(index) => index.special.is_none(),
        ActionKind::AddConstraint(c) => matches!(
            c.kind,
            ConstraintKind::Unique { .. } | ConstraintKind::PrimaryKey { .. }
        ),
        ActionKind::DropColumn(_)
        | ActionKind::DropIndex(_)
        | ActionKind::DropForeignKey(_)
        | ActionKind::Redefine { .. } => true,
        _ => false,
    }
}

fn unpinned(context: &Context<'_>, hits: &mut Hits) {
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.fresh(table) => {
            let pinned = actions
                .iter()
                .any(|a| matches!(a.kind, ActionKind::Algorithm(_) | ActionKind::Lock(_)));
            let worth = actions.iter().any(pinnable)
                && !actions
                    .iter()
                    .any(|a| matches!(a.kind, ActionKind::Rebuild));
            if !pinned && worth {
                hits.at(
                    context.span(),
                    format!("this may copy `{}` without a word", table.key),
                    "no ALGORITHM and no LOCK",
                );
            }
        }
        Stmt::CreateIndex(create)
            if create.algorithm.is_none()
                && create.lock.is_none()
                && create.def.special.is_none()
                && !context.fresh(&create.table) =>
        {
            hits.at(
                context.span(),
                format!(
                    "this may stop writers of `{}` without a word",
                    create.table.key
                ),
                "no ALGORITHM and no LOCK",
            );
        }
        _ => {}
    }
}

fn copy(context: &Context<'_>, hits: &mut Hits) {
    let mut say = |span, table: &str| {
        hits.at(
            span,
            format!("`{table}` is copied while writers wait"),
            "ALGORITHM=COPY",
        );
    };
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.fresh(table) => {
            // What needs the copy has a rule of its own.
            let known = actions.iter().any(|a| match &a.kind {
                ActionKind::Redefine { .. } => true,
                ActionKind::AddColumn(c) => c.generated.is_some() || c.identity.is_some(),
                _ => false,
            });
            for action in actions {
                if matches!(&action.kind, ActionKind::Algorithm(word) if word == "copy") && !known {
                    say(action.span, &table.key);
                }
            }
        }
        Stmt::CreateIndex(create)
            if create.algorithm.as_deref() == Some("copy") && !context.fresh(&create.table) =>
        {
            say(context.span(), &create.table.key);
        }
        _ => {}
    }
}

fn lock(context: &Context<'_>, hits: &mut Hits) {
    let strong = |word: &str| word == "shared" || word == "exclusive";
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.fresh(table) => {
            for action in actions {
                if matches!(&action.kind, ActionKind::Lock(word) if strong(word)) {
                    hits.at(
                        action.span,
                        format!("this keeps others out of `{}`", table.key),
                        "for the whole change",
                    );
                }
            }
        }
        Stmt::CreateIndex(create)
            if create.lock.as_deref().is_some_and(strong) && !context.fresh(&create.table) =>
        {
            hits.at(
                context.span(),
                format!("this keeps others out of `{}`", create.table.key),
                "for the whole build",
            );
        }
        _ => {}
    }
}

fn rebuild(context: &Context<'_>, hits: &mut Hits) {
    match context.statement() {
        Stmt::AlterTable { table, actions } if !context.fresh(table) => {
            for action in actions {
                if matches!(action.kind, ActionKind::Rebuild) {
                    hits.at(
                        action.span,
                        format!("all rows of `{}` are written anew", table.key),
                        "here, and again on each replica",
                    );
                }
            }
        }
        Stmt::Optimize(table) if !context.fresh(table) => {
            hits.at(
                context.span(),
                format!("all rows of `{}` are written anew", table.key),
                "here, and again on each replica",
            );
        }
        _ => {}
    }
}

fn fulltext(context: &Context<'_>, hits: &mut Hits) {
    let mut say = |span, table: &str| {
        hits.at(
            span,
            format!("building this index stops writers of `{table}`"),
            "for the whole build",
        );
    };
    match context.statement() {
        Stmt::CreateIndex(create)
            if create.def.special.is_some() && !context.fresh(&create.table) =>
        {
            say(context.span(), &create.table.key);
        }
        Stmt::AlterTable { table, actions } if !context.fresh(table) => {
            for action in actions {
                if matches!(&action.kind, ActionKind::AddIndex(index) if index.special.is_some()) {
                    say(action.span, &table.key);
                }
            }
        }
        _ => {}
    }
}

fn drop_primary_key(context: &Context<'_>, hits: &mut Hits) {
    let Some((table, actions)) = context.alter() else {
        return;
    };
    let added = actions.iter().any(|a| match &a.kind {
        ActionKind::AddConstraint(c) => matches!(c.kind, ConstraintKind::PrimaryKey { .. }),
        ActionKind::AddColumn(c) => c.primary_key.is_some(),
        _ => false,
    });
    for action in actions {
        if matches!(action.kind, ActionKind::DropPrimaryKey) && !added {
            hits.at(
                action.span,
                format!("`{}` is copied while writers wait", table.key),
                "and copied again for the new key",
            );
        }
    }
}

fn inline_references(context: &Context<'_>, hits: &mut Hits) {
    if context.mariadb() || context.version.is_some_and(|v| v.at_least([9, 0, 0])) {
        return;
    }
    let columns: Vec<_> = match context.statement() {
        Stmt::CreateTable(create) => create.columns.iter().collect(),
        Stmt::AlterTable { actions, .. } => actions
            .iter()
            .filter_map(|a| match &a.kind {
                ActionKind::AddColumn(column) => Some(&**column),
                _ => None,
            })
            .collect(),
        _ => return,
    };
    for column in columns {
        if let Some((_, span)) = &column.references {
            hits.at(
                *span,
                format!("no foreign key comes of this on `{}`", column.name.key),
                "read and ignored",
            );
        }
    }
}

fn is_ddl(statement: &Stmt) -> bool {
    matches!(
        statement,
        Stmt::CreateTable(_)
            | Stmt::AlterTable { .. }
            | Stmt::RenameTables(_)
            | Stmt::CreateIndex(_)
            | Stmt::Drop { .. }
            | Stmt::Create { .. }
            | Stmt::Truncate { .. }
    )
}

fn several_ddl(context: &Context<'_>, hits: &mut Hits) {
    let before = context.statements[..context.index]
        .iter()
        .filter(|s| is_ddl(s))
        .count();
    if is_ddl(context.statement()) && before == 1 {
        hits.at(
            context.span(),
            "if this fails, what stands before it in the file stays",
            "each DDL statement commits",
        );
    }
}
