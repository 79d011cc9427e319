//! `ALTER TABLE`, clause by clause.

use super::{Part, Plan};
use crate::lint::context::{Context, Phase};
use crate::lint::rules::Fix;
use crate::lint::statement::{Action, ActionKind, ColumnDef, Constraint, ConstraintKind, Name};
use crate::lint::{Dialect, Finding};

/// Rows that a batch of a backfill changes.
const BATCH: u32 = 1000;

pub(super) fn plan(
    context: &Context<'_>,
    table: &Name,
    actions: &[Action],
    findings: &[&Finding],
) -> Result<Plan, String> {
    let mut plan = Plan::default();
    let mut rest: Vec<&str> = Vec::new();
    // Everything up to the first clause: `ALTER TABLE IF EXISTS ONLY users`.
    let head = actions
        .first()
        .map_or(context.span().start, |a| a.span.start);
    let head = context.text[context.span().start..head].trim_end();
    if findings.iter().any(|f| f.rule.id == "json-column") {
        if findings.iter().any(|f| f.rule.id != "json-column") {
            return Err("the statement breaks other rules, too: fix those first".to_owned());
        }
        let (mut sql, mut at) = (String::new(), context.span().start);
        for finding in findings {
            sql.push_str(&context.text[at..finding.span.start]);
            sql.push_str("jsonb");
            at = finding.span.end;
        }
        sql.push_str(&context.text[at..context.span().end]);
        plan.here = Some(format!("{sql};"));
        return Ok(plan);
    }
    for action in actions {
        let of: Vec<&&Finding> = findings
            .iter()
            .filter(|f| action.span.start <= f.span.start && f.span.end <= action.span.end)
            .collect();
        // A finding of the statement as a whole is one of its only clause.
        let whole: Vec<&&Finding> = if of.is_empty() && actions.len() == 1 {
            findings.iter().collect()
        } else {
            of
        };
        let clause = context.slice(action.span);
        if whole.is_empty() {
            // MySQL's ALGORITHM and LOCK belong to all clauses.
            rest.push(clause);
            continue;
        }
        let mut maker = Maker {
            context,
            table,
            head,
            early: whole.iter().any(|f| f.rule.fix == Fix::Contract),
            plan: &mut plan,
        };
        if whole.iter().all(|f| f.rule.fix == Fix::Contract) {
            maker.later(action, clause, actions);
        } else if context.dialect != Dialect::Postgres
            && !matches!(action.kind, ActionKind::RenameTo(_))
        {
            return Err("the sequence is known for PostgreSQL only".to_owned());
        } else {
            maker.clause(action, clause)?;
        }
    }
    let pinned = |clause: &&str| {
        let lower = clause.to_lowercase();
        lower.starts_with("algorithm") || lower.starts_with("lock")
    };
    if rest.iter().any(|clause| !pinned(clause)) {
        let here = format!("{head} {};", rest.join(", "));
        plan.here = Some(match plan.here.take() {
            Some(more) => format!("{here}\n{more}"),
            None => here,
        });
    }
    Ok(plan)
}

struct Maker<'a, 'b> {
    context: &'a Context<'b>,
    table: &'a Name,
    head: &'a str,
    /// A rule says that it must wait for the contract phase.
    early: bool,
    plan: &'a mut Plan,
}

impl Maker<'_, '_> {
    fn contract(&self) -> bool {
        self.early || self.context.phase == Phase::Contract
    }

    fn written(&self) -> &str {
        self.context.slice(self.table.span)
    }

    fn part(&mut self, slug: impl std::fmt::Display, contract: bool, sql: String) -> &mut Part {
        self.plan.parts.push(Part {
            slug: format!("{}_{slug}", self.table.last()),
            contract,
            sql,
            ..Part::default()
        });
        let last = self.plan.parts.len() - 1;
        &mut self.plan.parts[last]
    }

    /// The clause as it is, in a contract migration, with what MySQL was told about the way.
    fn later(&mut self, action: &Action, clause: &str, actions: &[Action]) {
        let pins: String = actions
            .iter()
            .filter(|a| matches!(a.kind, ActionKind::Algorithm(_) | ActionKind::Lock(_)))
            .map(|a| format!(", {}", self.context.slice(a.span)))
            .collect();
        let name = match &action.kind {
            ActionKind::DropColumn(name) | ActionKind::DropConstraint(name) => Some(name),
            _ => None,
        };
        let words: Vec<&str> = clause.split_whitespace().take(2).collect();
        let slug = match name {
            Some(name) => format!("drop_{}", name.last()),
            None => words.join("_"),
        };
        self.plan.names.extend(name.map(|n| n.key.clone()));
        let sql = format!("{} {clause}{pins};", self.head);
        let no_transaction = self.context.script.no_transaction;
        self.part(slug, true, sql).no_transaction = no_transaction;
    }

    fn clause(&mut self, action: &Action, clause: &str) -> Result<(), String> {
        match &action.kind {
            ActionKind::AddConstraint(constraint) => self.constraint(constraint),
            ActionKind::SetNotNull(column) => {
                let written = self.context.slice(column.span).to_owned();
                self.not_null(&column.key, &written);
                Ok(())
            }
            ActionKind::AddColumn(column) => self.column(column),
            ActionKind::Validate(name) => {
                let contract = self.contract();
                let sql = format!("{} {clause};", self.head);
                self.part(format_args!("validate_{}", name.last()), contract, sql);
                Ok(())
            }
            ActionKind::DropConstraint(name) => {
                let contract = self.contract();
                let sql = format!("{} {clause};", self.head);
                self.part(format_args!("drop_{}", name.last()), contract, sql);
                self.plan.names.push(name.key.clone());
                Ok(())
            }
            ActionKind::DetachPartition { child, .. } => {
                let contract = self.contract();
                let sql = format!("{} {clause} CONCURRENTLY;", self.head);
                self.part(format_args!("detach_{}", child.last()), contract, sql)
                    .no_transaction = true;
                Ok(())
            }
            ActionKind::RenameTo(to) => {
                let view = format!(
                    "{} {clause};\nCREATE VIEW {} AS SELECT * FROM {};",
                    self.head,
                    self.written(),
                    self.context.slice(to.span)
                );
                let here = self.plan.here.get_or_insert_default();
                if !here.is_empty() {
                    here.push('\n');
                }
                here.push_str(&view);
                Ok(())
            }
            _ => Err("there is no sequence for this form of the clause".to_owned()),
        }
    }

    fn constraint(&mut self, constraint: &Constraint) -> Result<(), String> {
        let clause = self.context.slice(constraint.span);
        let given = constraint.name.as_ref().map(|n| n.key.clone());
        match &constraint.kind {
            ConstraintKind::ForeignKey { .. } | ConstraintKind::Check { .. } => {
                let made = match &constraint.kind {
                    ConstraintKind::ForeignKey { columns, .. } => {
                        let columns: Vec<&str> = columns.iter().map(|c| c.key.as_str()).collect();
                        format!("{}_{}_fkey", self.table.last(), columns.join("_"))
                    }
                    _ => format!("{}_check", self.table.last()),
                };
                let clause = match &given {
                    Some(_) => clause.to_owned(),
                    None => format!("CONSTRAINT {made} {clause}"),
                };
                let name = given.unwrap_or(made);
                self.unvalidated(&name, &clause);
                Ok(())
            }
            ConstraintKind::Unique {
                columns,
                index: None,
            } => self.by_index(constraint, columns, "UNIQUE"),
            ConstraintKind::PrimaryKey {
                columns,
                index: None,
            } => {
                let nullable = columns.iter().find(|c| {
                    self.context
                        .column(self.table, c)
                        .is_none_or(|known| known.nullable)
                });
                if let Some(column) = nullable {
                    return Err(format!(
                        "`{}` may be NULL: make it NOT NULL first (see set-not-null)",
                        column.key
                    ));
                }
                self.by_index(constraint, columns, "PRIMARY KEY")
            }
            _ => Err("there is no sequence for this form of the constraint".to_owned()),
        }
    }

    /// NOT VALID, and VALIDATE in the next migration.
    fn unvalidated(&mut self, name: &str, clause: &str) {
        let (head, contract) = (self.head.to_owned(), self.contract());
        self.part(
            format_args!("add_{name}"),
            contract,
            format!("{head} ADD {clause} NOT VALID;"),
        );
        self.part(
            format_args!("validate_{name}"),
            contract,
            format!("{head} VALIDATE CONSTRAINT {};", quoted(name)),
        );
        self.plan.names.push(name.to_owned());
    }

    /// The index concurrently, and the constraint on it in the next migration.
    fn by_index(
        &mut self,
        constraint: &Constraint,
        columns: &[Name],
        kind: &str,
    ) -> Result<(), String> {
        let clause = self.context.slice(constraint.span);
        let lower = clause.to_lowercase();
        for word in [
            "include",
            "deferrable",
            "initially",
            "nulls",
            " with",
            "tablespace",
        ] {
            if lower.contains(word) {
                return Err(format!("the index would need its `{}`, too", word.trim()));
            }
        }
        let written: Vec<&str> = columns.iter().map(|c| self.context.slice(c.span)).collect();
        let keys: Vec<&str> = columns.iter().map(|c| c.key.as_str()).collect();
        let name = match &constraint.name {
            Some(name) => name.key.clone(),
            None if kind == "UNIQUE" => format!("{}_{}_key", self.table.last(), keys.join("_")),
            None => format!("{}_pkey", self.table.last()),
        };
        let list = written.join(", ");
        self.indexed(&name, &list, kind);
        Ok(())
    }

    fn indexed(&mut self, name: &str, list: &str, kind: &str) {
        let name_written = quoted(name);
        let (head, table) = (self.head.to_owned(), self.written().to_owned());
        // Uniqueness binds old code, which the index already does.
        self.part(
            format_args!("index_{name}"),
            true,
            format!("CREATE UNIQUE INDEX CONCURRENTLY {name_written} ON {table} ({list});"),
        )
        .no_transaction = true;
        self.part(
            format_args!("add_{name}"),
            true,
            format!("{head} ADD CONSTRAINT {name_written} {kind} USING INDEX {name_written};"),
        );
        self.plan.names.push(name.to_owned());
    }

    /// A CHECK, its validation, then NOT NULL, which then needs no scan.
    fn not_null(&mut self, key: &str, written: &str) {
        let name = format!("{}_{key}_not_null", self.table.last());
        let (head, check) = (self.head.to_owned(), quoted(&name));
        self.part(
            format_args!("{key}_check"),
            true,
            format!("{head} ADD CONSTRAINT {check} CHECK ({written} IS NOT NULL) NOT VALID;"),
        );
        self.part(
            format_args!("{key}_validate"),
            true,
            format!("{head} VALIDATE CONSTRAINT {check};"),
        );
        self.part(
            format_args!("{key}_not_null"),
            true,
            format!("{head} ALTER COLUMN {written} SET NOT NULL;\n{head} DROP CONSTRAINT {check};"),
        );
    }

    fn column(&mut self, column: &ColumnDef) -> Result<(), String> {
        let context = self.context;
        if column.charset.is_some() {
            return Err("the column's COLLATE must be kept by hand".to_owned());
        }
        let (name, ty) = (
            context.slice(column.name.span),
            context.slice(column.ty.span),
        );
        let head = self.head.to_owned();
        let default = column.default.as_ref().filter(|d| !d.null);
        let volatile = default.is_some_and(|d| crate::lint::rules::is_volatile(d, context.dialect))
            || (default.is_some() && context.older([11, 0, 0]));
        let mut first = format!("{head} ADD COLUMN {name} {ty}");
        if let Some(default) = default.filter(|_| !volatile) {
            first.push_str(&format!(" DEFAULT {}", context.slice(default.span)));
            if column.not_null.is_some() {
                first.push_str(" NOT NULL");
            }
        }
        // With NULL in all rows the key needs no look at them.
        let references = column
            .references
            .as_ref()
            .map(|(_, span)| context.slice(*span));
        let references_now = default.is_none() || volatile;
        if let Some(references) = references.filter(|_| references_now) {
            first.push_str(&format!(" {references}"));
        }
        first.push(';');
        if let Some(default) = default.filter(|_| volatile) {
            first.push_str(&format!(
                "\n{head} ALTER COLUMN {name} SET DEFAULT {};",
                context.slice(default.span)
            ));
        }
        let here = self.plan.here.get_or_insert_default();
        if !here.is_empty() {
            here.push('\n');
        }
        here.push_str(&first);
        self.plan.names.push(column.name.key.clone());
        if let Some(default) = default.filter(|_| volatile) {
            let sql = self.backfill(name, context.slice(default.span));
            let contract = self.context.phase == Phase::Contract;
            let part = self.part(
                format_args!("{}_backfill", column.name.last()),
                contract,
                sql,
            );
            part.no_transaction = true;
            part.directives = vec![
                "statement-timeout 0".to_owned(),
                format!(
                    "allow not-understood: fills `{}` in batches of {BATCH} rows, each in a transaction of its own",
                    column.name.key
                ),
            ];
        }
        if let Some(references) = references.filter(|_| !references_now) {
            let constraint = format!("{}_{}_fkey", self.table.last(), column.name.last());
            let clause = format!(
                "CONSTRAINT {} FOREIGN KEY ({name}) {references}",
                quoted(&constraint)
            );
            self.early = true;
            self.unvalidated(&constraint, &clause);
        }
        if let Some((_, span)) = &column.check {
            let constraint = format!("{}_{}_check", self.table.last(), column.name.last());
            let clause = context.slice(*span);
            let clause = if clause.to_lowercase().starts_with("constraint") {
                return Err(
                    "the CHECK has a name: write it as a constraint of the table first".to_owned(),
                );
            } else {
                format!("CONSTRAINT {} {clause}", quoted(&constraint))
            };
            self.early = true;
            self.unvalidated(&constraint, &clause);
        }
        if column.not_null.is_some() && (volatile || default.is_none()) {
            self.not_null(&column.name.key, name);
        }
        if column.unique.is_some() {
            let constraint = format!("{}_{}_key", self.table.last(), column.name.last());
            self.indexed(&constraint, name, "UNIQUE");
        }
        Ok(())
    }

    /// Rows in batches by the primary key, or by their places where there is no plain key.
    fn backfill(&self, column: &str, value: &str) -> String {
        let table = self.written();
        let key = self
            .context
            .table(self.table)
            .and_then(|t| match t.primary_key.as_slice() {
                [key] => Some(quoted(key)),
                _ => None,
            });
        match key {
            Some(key) => format!(
                "DO $$
DECLARE
    lo {table}.{key}%TYPE;
    hi {table}.{key}%TYPE;
BEGIN
    SELECT {key} INTO lo FROM {table} ORDER BY {key} LIMIT 1;
    WHILE lo IS NOT NULL LOOP
        SELECT {key} INTO hi FROM {table} WHERE {key} >= lo ORDER BY {key} OFFSET {BATCH} LIMIT 1;
        UPDATE {table} SET {column} = {value}
        WHERE {key} >= lo AND (hi IS NULL OR {key} < hi) AND {column} IS NULL;
        COMMIT;
        lo := hi;
    END LOOP;
END $$;"
            ),
            None => format!(
                "DO $$
BEGIN
    LOOP
        UPDATE {table} SET {column} = {value}
        WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE {column} IS NULL LIMIT {BATCH}));
        EXIT WHEN NOT FOUND;
        COMMIT;
    END LOOP;
END $$;"
            ),
        }
    }
}

/// A folded name as SQL.
fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}
