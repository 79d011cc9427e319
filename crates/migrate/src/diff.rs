//! What differs between two schemas, object by object.
//!
//! Objects are compared by their facts (columns, keys, definitions), as the database itself says
//! them, never by text that somebody wrote. What is said is what differs; SQL is offered only where it
//! follows without a guess.

use std::collections::{BTreeMap, BTreeSet};

use crate::dump::{Kind, Object, Schema};
use crate::sql::Dialect;

/// How an object differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Only the first has it.
    OnlyFirst,
    /// Only the second has it.
    OnlySecond,
    /// Both have it, and it is not the same.
    Changed,
}

/// One fact that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Which: `column email`, `definition`, `column order`.
    pub what: String,
    /// In the first; none: it has no such thing.
    pub first: Option<String>,
    /// In the second.
    pub second: Option<String>,
}

/// One object that differs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// Its name, as SQL.
    pub name: String,
    /// How.
    pub how: How,
    /// What differs in it, if both have it.
    pub changes: Vec<Change>,
    /// What makes the second like the first, if that follows without a guess and loses nothing.
    pub sql: Vec<String>,
}

/// What differs. Empty: the schemas are the same, except for what no dump has.
pub fn diff(first: &Schema, second: &Schema) -> Vec<Difference> {
    let index = |schema: &'_ Schema| -> BTreeMap<(Kind, String), Object> {
        schema
            .objects
            .iter()
            .filter(|o| !o.parts.is_empty())
            .map(|o| ((o.kind, o.name.clone()), o.clone()))
            .collect()
    };
    let (ours, theirs) = (index(first), index(second));
    let keys: BTreeSet<&(Kind, String)> = ours.keys().chain(theirs.keys()).collect();
    keys.into_iter()
        .filter_map(|key| {
            let (how, changes, sql) = match (ours.get(key), theirs.get(key)) {
                (Some(object), None) => {
                    (How::OnlyFirst, Vec::new(), creation(object, first, &theirs))
                }
                (None, Some(_)) => (How::OnlySecond, Vec::new(), Vec::new()),
                (Some(a), Some(b)) => {
                    let changes = changes(a, b);
                    if changes.is_empty() {
                        return None;
                    }
                    let sql = alteration(a, &changes, first.dialect);
                    (How::Changed, changes, sql)
                }
                (None, None) => return None,
            };
            Some(Difference {
                kind: key.0,
                name: key.1.clone(),
                how,
                changes,
                sql,
            })
        })
        .collect()
}

fn changes(a: &Object, b: &Object) -> Vec<Change> {
    let facts = |object: &Object| -> BTreeMap<String, String> {
        object
            .parts
            .iter()
            .map(|p| (p.what.clone(), p.is.clone()))
            .collect()
    };
    let (first, second) = (facts(a), facts(b));
    let columns = |facts: &BTreeMap<String, String>| -> BTreeSet<String> {
        facts
            .keys()
            .filter(|what| what.starts_with("column "))
            .cloned()
            .collect()
    };
    // Another order is a difference of its own only if the columns are the same ones.
    let same_columns = columns(&first) == columns(&second);
    let names: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    names
        .into_iter()
        .filter(|what| same_columns || *what != "column order")
        .filter(|what| first.get(*what) != second.get(*what))
        .map(|what| Change {
            what: what.clone(),
            first: first.get(what).cloned(),
            second: second.get(what).cloned(),
        })
        .collect()
}

/// An object that the second lacks: its own statements, unless they belong to a whole that is there
/// only in part.
fn creation(
    object: &Object,
    schema: &Schema,
    theirs: &BTreeMap<(Kind, String), Object>,
) -> Vec<String> {
    // Something on a table that the second lacks, too, comes after it; that is a sequence, and the
    // dump has it.
    let on_missing = object.name.split_once(" on ").is_some_and(|(_, table)| {
        let is = |kind| theirs.contains_key(&(kind, table.to_owned()));
        !(is(Kind::Table) || is(Kind::View) || is(Kind::MaterializedView))
    });
    // A partition, or a table that a circle cuts into pieces, is more than its own statements.
    let in_pieces = object.kind == Kind::Table
        && (object.parts.iter().any(|p| p.what == "partition of")
            || schema.objects.iter().any(|o| {
                o.parts.is_empty()
                    && o.name
                        .strip_prefix(&object.name)
                        .is_some_and(|rest| rest.starts_with(' '))
            }));
    if on_missing || in_pieces {
        return Vec::new();
    }
    object.statements.clone()
}

/// A change that adds and takes nothing away: a column that may be null or has a default.
fn alteration(object: &Object, changes: &[Change], dialect: Dialect) -> Vec<String> {
    if object.kind != Kind::Table {
        return Vec::new();
    }
    let mut out = Vec::new();
    for change in changes {
        let (Some(column), Some(is), None) = (
            change.what.strip_prefix("column "),
            &change.first,
            &change.second,
        ) else {
            return Vec::new();
        };
        let upper = is.to_uppercase();
        let has = |word: &str| upper.contains(word);
        // An INSERT that does not name the column goes on working only then.
        let may_be_left_out = !has("NOT NULL") || has(" DEFAULT ");
        let safe = match dialect {
            // A default that is a call may be another one for each row: that rewrites the table.
            Dialect::Postgres => {
                let is_call = has(" DEFAULT ") && has("(");
                may_be_left_out && !has("GENERATED") && !is_call
            }
            Dialect::Mysql => may_be_left_out,
            Dialect::Sqlite => {
                let words = ["PRIMARY KEY", "UNIQUE", "GENERATED", " AS (", "NOT NULL"];
                !words.iter().any(|word| has(word)) && !has("REFERENCES")
            }
        };
        if !safe {
            return Vec::new();
        }
        let definition = match dialect {
            Dialect::Postgres => format!("{column} {is}"),
            // There the fact has the name already.
            Dialect::Mysql | Dialect::Sqlite => is.clone(),
        };
        out.push(format!(
            "ALTER TABLE {} ADD COLUMN {definition}",
            object.name
        ));
    }
    out
}

impl Difference {
    /// In words, a line for each thing. `first` and `second`: what the two are called.
    pub fn words(&self, first: &str, second: &str) -> Vec<String> {
        let what = format!("{} {}", self.kind.word(), self.name);
        match self.how {
            How::OnlyFirst => vec![format!("{what}: only in {first}")],
            How::OnlySecond => vec![format!("{what}: only in {second}")],
            How::Changed => self
                .changes
                .iter()
                .flat_map(|change| change.words(&what, first, second))
                .collect(),
        }
    }
}

impl Change {
    fn words(&self, object: &str, first: &str, second: &str) -> Vec<String> {
        let head = format!("{object}: {}", self.what);
        match (&self.first, &self.second) {
            (Some(_), None) => vec![format!("{head}: only in {first}")],
            (None, Some(_)) => vec![format!("{head}: only in {second}")],
            (Some(a), Some(b)) if a.contains('\n') || b.contains('\n') => {
                let mut out = vec![format!("{head} differs: - {first}, + {second}")];
                out.extend(lines(a, b));
                out
            }
            (Some(a), Some(b)) => vec![
                format!("{head} differs"),
                format!("    {first}: {}", or_nothing(a)),
                format!("    {second}: {}", or_nothing(b)),
            ],
            (None, None) => Vec::new(),
        }
    }
}

fn or_nothing(text: &str) -> &str {
    if text.is_empty() { "nothing" } else { text }
}

/// Lines that only one of the texts has, between the ones that both begin and end with.
fn lines(a: &str, b: &str) -> Vec<String> {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..]
        .iter()
        .rev()
        .zip(b[head..].iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let show = |sign: &str, lines: &[&str]| -> Vec<String> {
        lines.iter().map(|l| format!("    {sign} {l}")).collect()
    };
    let mut out = show("-", &a[head..a.len() - tail]);
    out.extend(show("+", &b[head..b.len() - tail]));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::Part;

    fn table(name: &str, parts: &[(&str, &str)]) -> Object {
        Object {
            kind: Kind::Table,
            name: name.to_owned(),
            statements: vec![format!("CREATE TABLE {name} ()")],
            parts: parts
                .iter()
                .map(|(what, is)| Part {
                    what: (*what).to_owned(),
                    is: (*is).to_owned(),
                })
                .collect(),
            late: false,
        }
    }

    fn schema(objects: Vec<Object>) -> Schema {
        Schema {
            dialect: Dialect::Postgres,
            objects,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn each_difference_is_named() {
        let first = schema(vec![
            table(
                "t",
                &[
                    ("column a", "integer"),
                    ("column b", "text"),
                    ("column order", "a, b"),
                ],
            ),
            table("only", &[("column a", "integer")]),
        ]);
        let second = schema(vec![
            table("t", &[("column a", "bigint"), ("column order", "a")]),
            table("more", &[("column a", "integer")]),
        ]);
        let found = diff(&first, &second);
        let words: Vec<String> = found.iter().flat_map(|d| d.words("one", "two")).collect();
        assert_eq!(
            words,
            [
                "table more: only in two",
                "table only: only in one",
                "table t: column a differs",
                "    one: integer",
                "    two: bigint",
                "table t: column b: only in one"
            ]
        );
        assert_eq!(found[1].sql, ["CREATE TABLE only ()"]);
        // A type was changed: that has no obvious way.
        assert!(found[2].sql.is_empty());
        assert!(diff(&first, &first).is_empty());
    }

    #[test]
    fn a_column_that_may_be_null_can_be_added_and_no_other() {
        let with = |is: &str| {
            let first = schema(vec![table("t", &[("column a", is)])]);
            let second = schema(vec![table("t", &[("column order", "")])]);
            diff(&first, &second)[0].sql.clone()
        };
        // `column order` is the same thing: only the column is said.
        assert!(with("text NOT NULL").is_empty());
        assert_eq!(with("text"), ["ALTER TABLE t ADD COLUMN a text"]);
        assert_eq!(
            with("text DEFAULT 'x' NOT NULL"),
            ["ALTER TABLE t ADD COLUMN a text DEFAULT 'x' NOT NULL"]
        );
    }

    #[test]
    fn other_order_of_the_same_columns_is_said() {
        let with = |order: &str| {
            schema(vec![table(
                "t",
                &[
                    ("column a", "x"),
                    ("column b", "y"),
                    ("column order", order),
                ],
            )])
        };
        let found = diff(&with("a, b"), &with("b, a"));
        assert_eq!(found[0].changes.len(), 1);
        assert_eq!(found[0].changes[0].what, "column order");
    }

    #[test]
    fn of_long_texts_the_lines_that_differ_are_shown() {
        assert_eq!(
            lines("a\nb\nc\nd", "a\nx\ny\nd"),
            ["    - b", "    - c", "    + x", "    + y"]
        );
        assert_eq!(lines("a\na", "a\na\na"), ["    + a"]);
    }
}
