//! The linter's own directives, and what it can't read. These are found while reading.

use super::{Check, Class, Fix, Rule, Severity, case};

const fn reader(
    id: &'static str,
    title: &'static str,
    severity: Severity,
    why: &'static str,
    fix: Fix,
    cases: &'static [super::Case],
) -> Rule {
    Rule {
        id,
        title,
        severity,
        class: Class::Hygiene,
        on: true,
        why,
        elsewhere: "-",
        fix,
        cases,
        check: Check::Reader,
    }
}

pub(super) const RULES: &[Rule] = &[
    reader(
        "syntax-error",
        "a statement isn't SQL of this database",
        Severity::Error,
        "PostgreSQL: squawk's parser, which knows the grammar up to version 19; SQLite: lemon-rs, made from \
         SQLite's own grammar. Nobody has such a parser for MySQL; there the server will tell.",
        Fix::None("what was meant is for you to say"),
        &[
            case!(Postgres, locks: "None: it fails.", rewrite: "What the database reads.",
                fails: "ALTER TABLE users ADD COLUMN plan text DEFAULT;",
                passes: "ALTER TABLE users ADD COLUMN plan text DEFAULT 'free';"),
            case!(Sqlite, locks: "None: it fails.", rewrite: "What the database reads.",
                fails: "CREATE TABLE a (id INTEGER PRIMARY KEY,);",
                passes: "CREATE TABLE a (id INTEGER PRIMARY KEY);"),
        ],
    ),
    reader(
        "not-understood",
        "what a statement does can't be seen",
        Severity::Note,
        "DO blocks, procedures and statements that this linter doesn't know may do anything: nothing is said \
         about them, and after them rules conclude less from what isn't there.",
        Fix::None("read it, or rehearse the migration on a copy; then allow it with the reason"),
        &[
            case!(Postgres, locks: "Not known.", rewrite: "Plain statements, or an allow with the reason.",
                fails: "DO $$ BEGIN PERFORM 1; END $$;",
                passes: "-- windlass: allow not-understood: reads only\nDO $$ BEGIN PERFORM 1; END $$;"),
            case!(Mysql, locks: "Not known.", rewrite: "Plain statements, or an allow with the reason.",
                fails: "CALL fill_in();",
                passes: "-- windlass: allow not-understood: fills an empty table\nCALL fill_in();"),
        ],
    ),
    reader(
        "bad-allow",
        "an allow without a reason, or of a rule that doesn't exist",
        Severity::Error,
        "`-- windlass: allow rule-id: reason` before a statement, or behind it on its line, covers that \
         statement; `-- windlass: lint allow rule-id: reason` covers the file. Without a reason nobody can say \
         later whether it still holds. It covers nothing until it is right.",
        Fix::None("the reason is yours"),
        &[
            case!(Postgres, locks: "None.", rewrite: "`-- windlass: allow rule-id: the reason`.",
                fails: "-- windlass: allow mass-change\nUPDATE users SET nick = email WHERE id = 1;",
                passes: "-- windlass: allow mass-change: there are 20 users\nUPDATE users SET nick = email;"),
            case!(Mysql, locks: "None.", rewrite: "`-- windlass: allow rule-id: the reason`.",
                fails: "-- windlass: allow mass-change\nUPDATE users SET nick = email WHERE id = 1;",
                passes: "-- windlass: allow mass-change: there are 20 users\nUPDATE users SET nick = email;"),
            case!(Sqlite, locks: "None.", rewrite: "`-- windlass: allow rule-id: the reason`.",
                fails: "-- windlass: allow no-such-rule: why not\nUPDATE users SET nick = email WHERE id = 1;",
                passes: "-- windlass: allow mass-change: there are 20 users\nUPDATE users SET nick = email;"),
        ],
    ),
    reader(
        "unused-allow",
        "an allow that allows nothing",
        Severity::Warning,
        "It would hide the next finding of that rule at this place, which nobody has looked at.",
        Fix::None("remove the line"),
        &[
            case!(Postgres, locks: "None.", rewrite: "Remove it.",
                fails: "-- windlass: allow mass-change: there are 20 users\nUPDATE users SET nick = email WHERE id = 1;",
                passes: "UPDATE users SET nick = email WHERE id = 1;"),
            case!(Mysql, locks: "None.", rewrite: "Remove it.",
                fails: "-- windlass: allow mass-change: there are 20 users\nUPDATE users SET nick = email WHERE id = 1;",
                passes: "UPDATE users SET nick = email WHERE id = 1;"),
            case!(Sqlite, locks: "None.", rewrite: "Remove it.",
                fails: "-- windlass: allow mass-change: there are 20 users\nUPDATE users SET nick = email WHERE id = 1;",
                passes: "UPDATE users SET nick = email WHERE id = 1;"),
        ],
    ),
    reader(
        "unknown-directive",
        "a `-- windlass:` line that nobody reads",
        Severity::Error,
        "A misspelt `phase` or `no-transaction` would change what the runner does without a word.",
        Fix::None("what was meant is for you to say"),
        &[
            case!(Postgres, locks: "None.", rewrite: "A directive that there is.",
                fails: "-- windlass: phase contrakt\nSELECT 1;",
                passes: "-- windlass: phase contract\nSELECT 1;"),
            case!(Mysql, locks: "None.", rewrite: "A directive that there is.",
                fails: "-- windlass: phase contrakt\nSELECT 1;",
                passes: "-- windlass: phase contract\nSELECT 1;"),
            case!(Sqlite, locks: "None.", rewrite: "A directive that there is.",
                fails: "-- windlass: phase contrakt\nSELECT 1;",
                passes: "-- windlass: phase contract\nSELECT 1;"),
        ],
    ),
];
