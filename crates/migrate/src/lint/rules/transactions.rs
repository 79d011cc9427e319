//! What must not, or must, run in the runner's transaction.

use super::{Check, Class, Fix, Rule, Severity, case};
use crate::lint::context::{Context, Hits};
use crate::lint::statement::{ActionKind, Stmt, Transaction};

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
        class: Class::Transactions,
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
        "needs-no-transaction",
        "a statement that can't run in a transaction, in a file that runs in one",
        Severity::Error,
        "The database refuses it: CONCURRENTLY, VACUUM, CREATE DATABASE, ALTER SYSTEM and their like.",
        "squawk ban-concurrent-index-creation-in-transaction; strong_migrations (disable_ddl_transaction!); Atlas PG103",
        Fix::Sequence("moves it into a file of its own with `-- windlass: no-transaction`"),
        &[
            case!(Postgres,
                locks: "None: it fails (SQLSTATE 25001).",
                rewrite: "Alone in a file with `-- windlass: no-transaction`.",
                fails: "CREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);",
                passes: "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);"),
            case!(Sqlite,
                locks: "None: \"cannot VACUUM from within a transaction\".",
                rewrite: "Alone in a file with `-- windlass: no-transaction`.",
                fails: "VACUUM;",
                passes: "-- windlass: no-transaction\nVACUUM;"),
        ],
        needs_none,
    ),
    rule(
        "nested-transaction",
        "BEGIN or COMMIT in a file that runs in a transaction",
        Severity::Error,
        "COMMIT ends the runner's own transaction: what follows commits statement by statement, and the history \
         is no longer written together with the change.",
        "squawk transaction-nesting",
        Fix::Sequence("leaves BEGIN and COMMIT out, where they enclose the whole file"),
        &[
            case!(Postgres,
                locks: "None.",
                rewrite: "Leave them out: the runner's transaction is around the file.",
                fails: "BEGIN;\nCREATE TABLE a (id bigint PRIMARY KEY);\nCOMMIT;",
                passes: "CREATE TABLE a (id bigint PRIMARY KEY);"),
            case!(Sqlite,
                locks: "None: \"cannot start a transaction within a transaction\".",
                rewrite: "Leave them out: the runner's transaction is around the file.",
                fails: "BEGIN;\nCREATE TABLE a (id INTEGER PRIMARY KEY);\nCOMMIT;",
                passes: "CREATE TABLE a (id INTEGER PRIMARY KEY);"),
        ],
        nested,
    ),
    rule(
        "uncommitted-transaction",
        "BEGIN without COMMIT in a file without a transaction of its own",
        Severity::Error,
        "The connection closes and everything is undone, without an error.",
        "squawk ban-uncommitted-transaction",
        Fix::None("where the transaction should end is for you to say"),
        &[
            case!(Postgres,
                locks: "Whatever was taken, until the connection closes.",
                rewrite: "COMMIT at the end, or no BEGIN.",
                fails: "-- windlass: no-transaction\nBEGIN;\nCREATE TABLE IF NOT EXISTS a (id bigint PRIMARY KEY);",
                passes: "-- windlass: no-transaction\nBEGIN;\nCREATE TABLE IF NOT EXISTS a (id bigint PRIMARY KEY);\nCOMMIT;"),
            case!(Mysql,
                locks: "Whatever was taken, until the connection closes.",
                rewrite: "COMMIT at the end, or no BEGIN.",
                fails: "BEGIN;\nINSERT INTO accounts (id, name) VALUES (1, 'a');",
                passes: "BEGIN;\nINSERT INTO accounts (id, name) VALUES (1, 'a');\nCOMMIT;"),
        ],
        uncommitted,
    ),
    rule(
        "no-transaction-mixed",
        "several statements that can't be run again, in a file without a transaction",
        Severity::Warning,
        "If the last one fails, the first ones stay, and the file can't simply run again. Windlass's runner \
         keeps a journal per statement; it still can't undo.",
        "squawk prefer-robust-stmts",
        Fix::None("which statements belong together is for you to say"),
        &[case!(Postgres,
            locks: "None.",
            rewrite: "Keep only what can't run in a transaction in such a file, or make statements repeatable (IF NOT EXISTS, IF EXISTS).",
            fails: "-- windlass: no-transaction\nCREATE TABLE a (id bigint PRIMARY KEY);\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);",
            passes: "-- windlass: no-transaction\nCREATE TABLE IF NOT EXISTS a (id bigint PRIMARY KEY);\nCREATE INDEX CONCURRENTLY users_nick_idx ON users (nick);")],
        mixed,
    ),
    rule(
        "set-scope",
        "SET that outlives the file, or SET LOCAL that does nothing",
        Severity::Warning,
        "SET without LOCAL stays for the connection, and with it for the migrations after this one; SET LOCAL \
         outside a transaction does nothing but warn.",
        "-",
        Fix::Sequence("writes SET LOCAL, or SET, in place"),
        &[case!(Postgres,
            locks: "None.",
            rewrite: "SET LOCAL in a transaction, SET outside.",
            fails: "SET search_path = app;",
            passes: "SET LOCAL search_path = app;")],
        set_scope,
    ),
];

/// What needs to be outside a transaction, in a word.
pub(crate) fn outside(context: &Context<'_>) -> Option<&'static str> {
    Some(match context.statement() {
        Stmt::CreateIndex(create) if create.concurrently => "CREATE INDEX CONCURRENTLY",
        Stmt::Drop {
            concurrently: true, ..
        } => "DROP INDEX CONCURRENTLY",
        Stmt::Drop {
            kind: crate::lint::statement::ObjectKind::Database,
            ..
        } if context.pg() => "DROP DATABASE",
        Stmt::Reindex {
            concurrently: true, ..
        } => "REINDEX CONCURRENTLY",
        Stmt::AlterTable { actions, .. }
            if actions.iter().any(|a| {
                matches!(
                    a.kind,
                    ActionKind::DetachPartition {
                        concurrently: true,
                        ..
                    }
                )
            }) =>
        {
            "DETACH PARTITION CONCURRENTLY"
        }
        Stmt::Vacuum { .. } => "VACUUM",
        Stmt::Outside => "this",
        _ => return None,
    })
}

fn needs_none(context: &Context<'_>, hits: &mut Hits) {
    if context.in_transaction()
        && let Some(what) = outside(context)
    {
        hits.at(
            context.span(),
            format!("{what} can't run in a transaction, and this file runs in one"),
            "fails",
        );
    }
}

fn nested(context: &Context<'_>, hits: &mut Hits) {
    if !context.in_transaction() {
        return;
    }
    let word = match context.statement() {
        Stmt::Transaction(Transaction::Begin) => "BEGIN",
        Stmt::Transaction(Transaction::Commit) => "COMMIT",
        Stmt::Transaction(Transaction::Rollback) => "ROLLBACK",
        _ => return,
    };
    // BEGIN and its COMMIT are told of once.
    let told = context.statements[..context.index].iter().any(|s| {
        matches!(
            s,
            Stmt::Transaction(Transaction::Begin | Transaction::Commit | Transaction::Rollback)
        )
    });
    if !told {
        hits.at(
            context.span(),
            format!("{word} in a file that runs in the runner's transaction"),
            "ends up ending the runner's own",
        );
    }
}

fn uncommitted(context: &Context<'_>, hits: &mut Hits) {
    if context.in_transaction()
        || !matches!(context.statement(), Stmt::Transaction(Transaction::Begin))
    {
        return;
    }
    let ends = context.later().iter().any(|s| {
        matches!(
            s,
            Stmt::Transaction(Transaction::Commit | Transaction::Rollback)
        )
    });
    if !ends {
        hits.at(
            context.span(),
            "this transaction is never committed",
            "everything after it is undone",
        );
    }
}

/// Whether a second try of the statement does no harm.
fn repeatable(context: &Context<'_>, statement: &Stmt, text: &str) -> bool {
    match statement {
        Stmt::CreateTable(create) => create.if_not_exists,
        Stmt::CreateIndex(create) => create.concurrently || create.if_not_exists.is_some(),
        Stmt::Drop {
            if_exists,
            concurrently,
            ..
        } => *if_exists || *concurrently,
        Stmt::Create { replace, .. } => *replace || text.contains("if not exists"),
        Stmt::AlterTable { actions, .. } => actions.iter().all(|a| match &a.kind {
            ActionKind::AddColumn(_)
            | ActionKind::DropColumn(_)
            | ActionKind::DropConstraint(_) => {
                let clause = context.slice(a.span).to_lowercase();
                clause.contains("if not exists") || clause.contains("if exists")
            }
            ActionKind::AddConstraint(_)
            | ActionKind::RenameColumn(..)
            | ActionKind::RenameTo(_)
            | ActionKind::AttachPartition(_) => false,
            _ => true,
        }),
        Stmt::Insert { tolerant, .. } => *tolerant,
        Stmt::CreateEnum { .. }
        | Stmt::CreateDomain { .. }
        | Stmt::Rename { .. }
        | Stmt::RenameTables(_) => false,
        _ => true,
    }
}

fn mixed(context: &Context<'_>, hits: &mut Hits) {
    if !context.script.no_transaction || context.statements.len() < 2 {
        return;
    }
    // Between BEGIN and COMMIT of its own it's all or nothing.
    if context
        .statements
        .iter()
        .any(|s| matches!(s, Stmt::Transaction(Transaction::Begin)))
    {
        return;
    }
    let text = context.slice(context.span()).to_lowercase();
    if !repeatable(context, context.statement(), &text) {
        hits.at(
            context.span(),
            "this can't be run again if another statement of the file fails",
            "and nothing undoes it",
        );
    }
}

fn set_scope(context: &Context<'_>, hits: &mut Hits) {
    let Stmt::Set { name, local, .. } = context.statement() else {
        return;
    };
    if context.in_transaction() && !local {
        hits.at(
            context.span(),
            format!("`{name}` stays set for the migrations after this one"),
            "SET LOCAL ends with the transaction",
        );
    } else if !context.in_transaction() && *local {
        let own = context
            .statements
            .iter()
            .any(|s| matches!(s, Stmt::Transaction(Transaction::Begin)));
        if !own {
            hits.at(
                context.span(),
                format!("`{name}` isn't set: there is no transaction"),
                "SET LOCAL does nothing here",
            );
        }
    }
}
