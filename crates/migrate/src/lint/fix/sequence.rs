//! What becomes of each kind of statement.

use super::{Part, Plan, alter};
use crate::lint::context::{Context, Phase};
use crate::lint::rules::Fix;
use crate::lint::statement::{ObjectKind, Stmt, Transaction};
use crate::lint::{Dialect, Finding, Span};

/// The plan for a statement, or why there is none.
pub(super) fn plan(context: &Context<'_>, findings: &[&Finding]) -> Result<Plan, String> {
    // One that can't be fixed spoils the others of the statement: what is left would break it still.
    for finding in findings {
        if let Fix::None(why) = finding.rule.fix {
            return Err(why.to_owned());
        }
    }
    let only_contract = findings.iter().all(|f| f.rule.fix == Fix::Contract);
    let has = |id: &str| findings.iter().any(|f| f.rule.id == id);
    match context.statement() {
        Stmt::AlterTable { table, actions } => {
            return alter::plan(context, table, actions, findings);
        }
        // Moving it as it is will do for what is only too early.
        _ if only_contract => return Ok(contract(context, "contract")),
        _ => {}
    }
    if has("nested-transaction") {
        return enclosing(context);
    }
    if has("rebuild-cascades") {
        return Ok(Plan {
            here: Some(own(context)),
            head: Some("foreign-keys off".to_owned()),
            ..Plan::default()
        });
    }
    if has("json-column") {
        return jsonb(context, findings);
    }
    if context.dialect != Dialect::Postgres && !has("needs-no-transaction") && !has("rename-table")
    {
        return Err("the sequence is known for PostgreSQL only".to_owned());
    }
    let contract_phase = context.phase == Phase::Contract;
    match context.statement() {
        Stmt::CreateIndex(create) => {
            let early = findings.iter().any(|f| f.rule.fix == Fix::Contract);
            let mut sql = String::new();
            let (start, end) = (context.span().start, context.span().end);
            let after = create.after_index;
            sql.push_str(&context.text[start..after]);
            sql.push_str(" CONCURRENTLY");
            // Without the word itself, and without IF NOT EXISTS.
            let mut rest = context.text[after..end].trim_start();
            if create.concurrently {
                rest = rest
                    .get("CONCURRENTLY".len()..)
                    .unwrap_or_default()
                    .trim_start();
            }
            if let Some(span) = create.if_not_exists {
                rest = context.text[span.end..end].trim_start();
            }
            sql.push_str(&format!(" {rest};"));
            let name = create.def.name.as_ref().map(|n| n.last().to_owned());
            Ok(Plan {
                parts: vec![Part {
                    slug: name
                        .clone()
                        .unwrap_or_else(|| format!("{}_index", create.table.last())),
                    contract: contract_phase || early,
                    no_transaction: true,
                    sql,
                    ..Part::default()
                }],
                names: name.into_iter().collect(),
                ..Plan::default()
            })
        }
        Stmt::Drop {
            kind: ObjectKind::Index,
            names,
            after_kind,
            ..
        } => {
            let text = context.slice(context.span());
            if text.to_lowercase().contains("cascade") {
                return Err("DROP INDEX CONCURRENTLY knows no CASCADE".to_owned());
            }
            let early = findings.iter().any(|f| f.rule.fix == Fix::Contract);
            let if_exists = if text.to_lowercase().contains("if exists") {
                " IF EXISTS"
            } else {
                ""
            };
            let word = &context.text[context.span().start..*after_kind];
            let parts = names.iter().map(|name| Part {
                slug: format!("drop_{}", name.last()),
                contract: contract_phase || early,
                no_transaction: true,
                sql: format!(
                    "{word} CONCURRENTLY{if_exists} {};",
                    context.slice(name.span)
                ),
                ..Part::default()
            });
            Ok(Plan {
                parts: parts.collect(),
                names: names.iter().map(|n| n.last().to_owned()).collect(),
                ..Plan::default()
            })
        }
        Stmt::Reindex {
            after,
            concurrently: false,
        } => {
            let word = &context.text[context.span().start..*after];
            if word.to_lowercase().ends_with("system") {
                return Err("REINDEX SYSTEM can't run concurrently".to_owned());
            }
            let rest = context.text[*after..context.span().end].trim_start();
            Ok(Plan {
                parts: vec![Part {
                    slug: "reindex".to_owned(),
                    contract: contract_phase,
                    no_transaction: true,
                    sql: format!("{word} CONCURRENTLY {rest};"),
                    ..Part::default()
                }],
                ..Plan::default()
            })
        }
        Stmt::Refresh { view, after, .. } => {
            let unique = context
                .table(view)
                .is_some_and(|t| t.indexes.iter().any(|i| i.unique && !i.partial));
            if !unique {
                return Err(format!(
                    "`{}` has no unique index, which CONCURRENTLY needs",
                    view.key
                ));
            }
            let (start, end) = (context.span().start, context.span().end);
            let (word, rest) = (
                &context.text[start..*after],
                context.text[*after..end].trim_start(),
            );
            Ok(Plan {
                parts: vec![Part {
                    slug: format!("refresh_{}", view.last()),
                    contract: contract_phase,
                    sql: format!("{word} CONCURRENTLY {rest};"),
                    ..Part::default()
                }],
                ..Plan::default()
            })
        }
        Stmt::Set { scope, local, .. } => {
            let (start, end) = (context.span().start, context.span().end);
            let before = context.text[start..scope.start].trim_end();
            let rest = context.text[scope.end..end].trim_start();
            Ok(Plan {
                here: Some(if *local {
                    format!("{before} {rest};")
                } else {
                    format!("{before} LOCAL {rest};")
                }),
                ..Plan::default()
            })
        }
        _ if has("needs-no-transaction") => Ok(Plan {
            parts: vec![Part {
                slug: "no_transaction".to_owned(),
                contract: contract_phase,
                no_transaction: true,
                sql: own(context),
                ..Part::default()
            }],
            ..Plan::default()
        }),
        _ => Err("there is no sequence for this form of the statement".to_owned()),
    }
}

/// The statement as it stands.
pub(super) fn own(context: &Context<'_>) -> String {
    format!("{};", context.slice(context.span()))
}

/// The statement, later.
fn contract(context: &Context<'_>, what: &str) -> Plan {
    let names = match context.statement() {
        Stmt::Drop { names, .. } => names.iter().map(|n| n.last().to_owned()).collect(),
        _ => Vec::new(),
    };
    let first: String = names.iter().map(|n: &String| format!("_{n}")).collect();
    let words = context.slice(context.span()).split_whitespace().take(2);
    let verb: Vec<&str> = words.collect();
    Plan {
        parts: vec![Part {
            slug: format!("{what}_{}{first}", verb.join("_")),
            contract: true,
            no_transaction: context.script.no_transaction,
            sql: own(context),
            ..Part::default()
        }],
        names,
        ..Plan::default()
    }
}

/// BEGIN at the start and COMMIT at the end: both go. Seen at the BEGIN.
fn enclosing(context: &Context<'_>) -> Result<Plan, String> {
    let control = |s: &Stmt| {
        matches!(
            s,
            Stmt::Transaction(Transaction::Begin | Transaction::Commit | Transaction::Rollback)
        )
    };
    let all = context.statements.iter().filter(|s| control(s)).count();
    let last = context.statements.last();
    if context.index != 0
        || all != 2
        || !matches!(last, Some(Stmt::Transaction(Transaction::Commit)))
    {
        return Err("it doesn't enclose the whole file, so leaving it out would change what belongs together".to_owned());
    }
    let commit = context.script.statements.last();
    Ok(Plan {
        here: Some(String::new()),
        remove: commit.map(|raw| Span {
            start: raw.span.start,
            end: raw.end,
        }),
        ..Plan::default()
    })
}

/// `json` to `jsonb` where it stands.
fn jsonb(context: &Context<'_>, findings: &[&Finding]) -> Result<Plan, String> {
    if findings.iter().any(|f| f.rule.id != "json-column") {
        return Err("the statement breaks other rules, too: fix those first".to_owned());
    }
    let (start, end) = (context.span().start, context.span().end);
    let mut sql = String::new();
    let mut at = start;
    for finding in findings {
        sql.push_str(&context.text[at..finding.span.start]);
        sql.push_str("jsonb");
        at = finding.span.end;
    }
    sql.push_str(&context.text[at..end]);
    sql.push(';');
    Ok(Plan {
        here: Some(sql),
        ..Plan::default()
    })
}
