//! The page `docs/migrate-lint.md`, out of the table of rules.

use std::fmt::Write as _;

use super::rules::{self, Case, Class, Fix, Rule, example, setup};
use super::{Dialect, Severity};

const INTRODUCTION: &str = "\
<!-- Made from crates/migrate/src/lint. To change it, change the rules there and run
     `UPDATE=1 cargo test -p windlass-migrate --test lint`. -->

# windlass migrate lint

Says what is dangerous in a folder of SQL migrations before a database sees them: what breaks the
release that runs now, what keeps others waiting and for how long, what fails as soon as there are
rows. It reads the whole history, so it knows whether a table came with the same file, whether a
column may be NULL, whether a CHECK was validated, whether an index covers a foreign key. It needs no
database and changes none.

```sh
windlass migrate lint                                   # migrations/, PostgreSQL
windlass migrate lint --dir db/migrations --dialect mysql --server-version 8.0.36
windlass migrate lint --since 0041_orders.sql           # 0041 and before are applied: not reported
windlass migrate lint --only 0042_a.sql --only 0043_b.sql
windlass migrate lint --format sarif > lint.sarif       # also: json, github
windlass migrate lint --since 0041_orders.sql --fix     # writes the safe sequence as new files
windlass migrate lint --rules                           # the names of all rules
windlass migrate lint --explain create-index            # why, what instead, examples
```

Without `--dialect` the URL of `DATABASE_URL` says which database it is, and without that it is
PostgreSQL.

| exit code | meaning |
| --- | --- |
| 0 | nothing that fails: no errors, and with `--deny-warnings` no warnings |
| 1 | the folder can't be read, or `--since` or `--only` names no file of it |
| 2 | the command line was wrong, a rule that doesn't exist included |
| 7 | unsafe: at least one error (with `--deny-warnings`: or warning) |

With `--fix` the exit code is that of what is left: with `--in-place` of the files as they are then,
without it of the files as they were.

## Phases

A migration runs while the old release still works on the database, or after it. By default it is an
**expand** migration: it must only add, and what drops, renames or narrows is an error. A line in the
file's head makes it a **contract** migration, which runs when nothing old is left:

```sql
-- windlass: phase contract
ALTER TABLE users DROP COLUMN nick;
```

Rows are changed by **data** migrations, in batches (`-- windlass: phase data` and
`-- windlass: batch users.id`; see [migrate.md](migrate.md)). The same rules hold for them as for expand
migrations.

What an earlier file made that isn't applied yet (with `--since` or `--only`: any file behind) is new
to old code, and may be changed at will.

## Allowing

A finding that is known and meant is allowed with its reason, before the statement or behind it on its
line; for a whole file with `lint allow`:

```sql
-- windlass: allow mass-change: there are 20 plans
UPDATE plans SET price = price * 100;

-- windlass: lint allow create-index: the table is empty until release 2.0
```

An allow without a reason, and one that allows nothing, are findings of their own.

## Directives of other tools

`-- windlass: no-transaction`, dbmate's `transaction:false`, goose's `NO TRANSACTION`, sqlx's
`-- no-transaction` and Atlas's `txmode none` all say that a file runs outside a transaction. Sections
for the way down (`-- windlass: down`, `-- migrate:down`, `-- +goose Down`) and files `*.down.sql` are
not looked at.

## What is known, and what isn't

Locks of PostgreSQL were measured on version 15; those of MySQL are from its manual. How big a table
is no file says: every table that didn't come with the same file is taken for a big one, and the time
that a lock is held grows with it. Statements that hide what they do (`DO`, `CALL`) are noted. What
only a database can tell is told by rehearsing a migration on a copy.
";

/// The page in Markdown.
pub fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    // Writing to a String can't fail, so results are dropped here.
    for class in Class::ALL {
        let _ = writeln!(page, "\n## {}\n", class.title());
        let _ = writeln!(
            page,
            "| rule | finds | | databases |\n| --- | --- | --- | --- |"
        );
        for rule in of(class) {
            let databases: Vec<&str> = rule.cases.iter().map(|c| c.dialect.word()).collect();
            let _ = writeln!(
                page,
                "| [`{}`](#{}) | {} | {} | {} |",
                rule.id,
                rule.id,
                rule.title,
                rule.severity,
                databases.join(", ")
            );
        }
    }
    let _ = writeln!(
        page,
        "\n# The rules\n\nThe examples come after a migration `0001_setup.sql`, which is at the end of this page. A \
         test runs them all."
    );
    for class in Class::ALL {
        for rule in of(class) {
            one(&mut page, rule);
        }
    }
    let _ = writeln!(page, "\n# The migration before the examples");
    for dialect in Dialect::ALL {
        let _ = writeln!(
            page,
            "\n{}:\n\n```sql\n{}```",
            dialect.title(),
            setup(dialect)
        );
    }
    page
}

/// What the page says about one rule.
pub fn explain(rule: &Rule) -> String {
    let mut text = String::new();
    one(&mut text, rule);
    text.trim_start().to_owned()
}

fn of(class: Class) -> impl Iterator<Item = &'static Rule> {
    rules::all().filter(move |rule| rule.class == class)
}

fn one(page: &mut String, rule: &Rule) {
    let _ = writeln!(page, "\n## {}\n", rule.id);
    let title = rule.title;
    let first = title
        .chars()
        .next()
        .map(|c| c.to_uppercase().to_string())
        .unwrap_or_default();
    let _ = write!(
        page,
        "**{first}{}.** ",
        title.get(first.len()..).unwrap_or_default()
    );
    let _ = write!(
        page,
        "{}. ",
        match rule.severity {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
            Severity::Note => "Note",
        }
    );
    if !rule.on {
        let _ = write!(page, "Off; `--enable {}` switches it on. ", rule.id);
    }
    let _ = writeln!(page, "{}\n", rule.why);
    let _ = writeln!(
        page,
        "- `--fix`: {}.",
        match rule.fix {
            Fix::Sequence(what) => what.to_owned(),
            Fix::Contract => "moves the statement into a contract migration".to_owned(),
            Fix::None(why) => format!("nothing; {why}"),
        }
    );
    if !matches!(rule.elsewhere, "-" | "none") {
        let _ = writeln!(page, "- Elsewhere: {}.", rule.elsewhere);
    }
    for case in rule.cases {
        let server = case
            .server
            .map(|v| format!(" (server {v})"))
            .unwrap_or_default();
        let _ = writeln!(
            page,
            "\n**{}{server}.** Locks: {}",
            case.dialect.title(),
            case.locks
        );
        let _ = writeln!(page, "Instead: {}", case.rewrite);
        examples(page, case);
    }
}

fn examples(page: &mut String, case: &Case) {
    for (heading, text) in [("Fails", case.fails), ("Passes", case.passes)] {
        let files = example(text);
        let _ = writeln!(page, "\n{heading}:\n\n```sql");
        for (n, (name, text)) in files.iter().enumerate() {
            if files.len() > 1 {
                let gap = if n > 0 { "\n" } else { "" };
                let _ = writeln!(page, "{gap}-- {name}");
            }
            let _ = writeln!(page, "{}", text.trim_end());
        }
        let _ = writeln!(page, "```");
    }
}
