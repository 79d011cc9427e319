//! What a statement takes away from code that was written before it: said in words, so that
//! whoever lets a contract migration run knows what breaks. A list of known forms, not a proof; the
//! lint rules go further.

use super::shape::Cursor;
use super::{Statement, Token};

const OBJECTS: &[&str] = &[
    "TABLE",
    "VIEW",
    "FUNCTION",
    "PROCEDURE",
    "TYPE",
    "SCHEMA",
    "SEQUENCE",
    "DOMAIN",
    "TRIGGER",
    "DATABASE",
];

/// The same of all statements of a file, each with its losses: what is dropped to be made again, as views are, is not
/// lost. A table's rows are.
pub fn losses_of(statements: &[Statement]) -> Vec<String> {
    let mut found = Vec::new();
    for (i, statement) in statements.iter().enumerate() {
        let later = statements.get(i + 1..).unwrap_or_default();
        let again: Vec<String> = later.iter().filter_map(made).collect();
        let lost = losses(statement).into_iter();
        found.extend(lost.filter(|loss| {
            let dropped = loss.strip_prefix("drops the ").unwrap_or_default();
            !again.iter().any(|made| made == dropped)
        }));
    }
    found
}

/// What a statement makes that has no rows of its own: `view people`.
fn made(statement: &Statement) -> Option<String> {
    let mut at = Cursor::new(&statement.tokens);
    if !at.eat("CREATE") {
        return None;
    }
    at.eat_all(&["OR", "REPLACE"]);
    at.eat("MATERIALIZED");
    let kinds = ["VIEW", "FUNCTION", "PROCEDURE", "TRIGGER"];
    let kind = kinds.iter().find(|kind| at.eat(kind))?;
    at.eat_all(&["IF", "NOT", "EXISTS"]);
    Some(format!("{} {}", kind.to_lowercase(), at.name()?))
}

/// Sentences without a full stop: "drops the column users.name".
pub fn losses(statement: &Statement) -> Vec<String> {
    let mut at = Cursor::new(&statement.tokens);
    if at.eat("DROP") {
        at.eat("MATERIALIZED");
        let Some(kind) = OBJECTS.iter().find(|kind| at.eat(kind)) else {
            return Vec::new();
        };
        at.eat_all(&["IF", "EXISTS"]);
        let mut found = Vec::new();
        while let Some(name) = at.name() {
            found.push(format!("drops the {} {name}", kind.to_lowercase()));
            if !at.eat_sign(",") {
                break;
            }
        }
        return found;
    }
    if at.eat("TRUNCATE") {
        at.eat("TABLE");
        return at
            .name()
            .map(|name| format!("empties the table {name}"))
            .into_iter()
            .collect();
    }
    if at.eat_all(&["RENAME", "TABLE"]) {
        return at
            .name()
            .map(|name| format!("renames the table {name}"))
            .into_iter()
            .collect();
    }
    if at.eat_all(&["ALTER", "TABLE"]) {
        at.eat_all(&["IF", "EXISTS"]);
        at.eat("ONLY");
        let Some(table) = at.name() else {
            return Vec::new();
        };
        return clauses(at.rest())
            .into_iter()
            .filter_map(|clause| table_clause(&table, clause))
            .collect();
    }
    Vec::new()
}

/// `ALTER TABLE`'s clauses: cut at commas outside of parentheses.
fn clauses(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    let mut out = Vec::new();
    let mut start = 0;
    for (i, token) in tokens.iter().enumerate() {
        if token.is_sign("(") {
            depth += 1;
        } else if token.is_sign(")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 && token.is_sign(",") {
            out.push(&tokens[start..i]);
            start = i + 1;
        }
    }
    out.push(&tokens[start..]);
    out
}

fn table_clause(table: &str, tokens: &[Token]) -> Option<String> {
    let mut at = Cursor::new(tokens);
    if at.eat("DROP") {
        if at.eat_any(&[
            "CONSTRAINT",
            "INDEX",
            "KEY",
            "PRIMARY",
            "FOREIGN",
            "CHECK",
            "PARTITION",
            "EXPRESSION",
            "DEFAULT",
        ]) {
            return None;
        }
        at.eat("COLUMN");
        at.eat_all(&["IF", "EXISTS"]);
        return Some(format!("drops the column {table}.{}", at.name()?));
    }
    if at.eat("RENAME") {
        if at.eat_any(&["CONSTRAINT", "INDEX", "KEY"]) {
            return None;
        }
        if at.eat_any(&["TO", "AS"]) {
            return Some(format!("renames the table {table} to {}", at.name()?));
        }
        at.eat("COLUMN");
        let old = at.name()?;
        at.eat("TO");
        return Some(format!(
            "renames the column {table}.{old} to {}",
            at.name()?
        ));
    }
    if at.eat("CHANGE") {
        at.eat("COLUMN");
        let old = at.name()?;
        let new = at.name()?;
        return (old != new).then(|| format!("renames the column {table}.{old} to {new}"));
    }
    if at.eat_all(&["SET", "SCHEMA"]) {
        return Some(format!(
            "moves the table {table} to the schema {}",
            at.name()?
        ));
    }
    if at.eat("ALTER") {
        at.eat("COLUMN");
        let column = at.name()?;
        if at.eat("TYPE") || at.eat_all(&["SET", "DATA", "TYPE"]) {
            return Some(format!("changes the type of {table}.{column}"));
        }
        if at.eat_all(&["SET", "NOT", "NULL"]) {
            return Some(format!("refuses NULL in {table}.{column}"));
        }
        if at.eat_all(&["DROP", "DEFAULT"]) {
            return Some(format!("drops the default of {table}.{column}"));
        }
        return None;
    }
    if at.eat("ADD") {
        if at.eat_any(&[
            "CONSTRAINT",
            "INDEX",
            "KEY",
            "PRIMARY",
            "FOREIGN",
            "CHECK",
            "UNIQUE",
            "PARTITION",
            "FULLTEXT",
            "SPATIAL",
            "EXCLUDE",
        ]) {
            return None;
        }
        at.eat("COLUMN");
        at.eat_all(&["IF", "NOT", "EXISTS"]);
        let column = at.name()?;
        let rest = at.rest();
        let not_null = rest.windows(2).any(|w| w[0].is("NOT") && w[1].is("NULL"));
        let filled = [
            "DEFAULT",
            "GENERATED",
            "SERIAL",
            "BIGSERIAL",
            "AUTO_INCREMENT",
            "AS",
        ]
        .iter()
        .any(|word| rest.iter().any(|t| t.is(word)));
        return (not_null && !filled).then(|| {
            format!("adds the column {table}.{column}, which old code does not fill (NOT NULL, no default)")
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::{Dialect, split};
    use super::*;

    fn of(text: &str) -> Vec<String> {
        split(text, Dialect::Postgres, 1)
            .unwrap()
            .iter()
            .flat_map(losses)
            .collect()
    }

    #[test]
    fn what_is_made_again_is_not_lost() {
        let of = |text: &str| losses_of(&split(text, Dialect::Postgres, 1).unwrap());
        let again = "drop view if exists v; drop function f; drop table t; create or replace view v as select 1; \
                     create function f() returns int language sql as 'select 1'; create table t (a int);";
        assert_eq!(of(again), ["drops the table t"]);
        assert_eq!(
            of("create view v as select 1; drop view v"),
            ["drops the view v"]
        );
    }

    #[test]
    fn what_old_code_loses_is_named() {
        assert_eq!(
            of("drop table if exists a, s.b cascade; drop index i; truncate t"),
            [
                "drops the table a",
                "drops the table s.b",
                "empties the table t"
            ]
        );
        assert_eq!(
            of(
                "alter table u drop column x, drop constraint c, add y numeric(1,2) not null,
                add z int not null default 1, rename a to b, alter column t type text,
                alter n set not null, drop if exists w"
            ),
            [
                "drops the column u.x",
                "adds the column u.y, which old code does not fill (NOT NULL, no default)",
                "renames the column u.a to b",
                "changes the type of u.t",
                "refuses NULL in u.n",
                "drops the column u.w",
            ]
        );
        assert!(of("create table a (b int); alter table a add unique (b)").is_empty());
        assert_eq!(
            of("alter table a rename to b"),
            ["renames the table a to b"]
        );
    }
}
