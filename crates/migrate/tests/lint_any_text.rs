//! Any text: the linter reads it without a panic, and every place that it names is one of the text.

use proptest::prelude::*;
use windlass_migrate::lint::{Dialect, Options, Source, fix, lint, rules, show};

/// Words, names, punctuation and noise that together look like migrations.
const PIECES: &[&str] = &[
    "CREATE",
    "TABLE",
    "INDEX",
    "UNIQUE",
    "CONCURRENTLY",
    "IF",
    "NOT",
    "EXISTS",
    "ALTER",
    "ADD",
    "COLUMN",
    "CONSTRAINT",
    "CHECK",
    "FOREIGN",
    "KEY",
    "REFERENCES",
    "PRIMARY",
    "DROP",
    "RENAME",
    "TO",
    "SET",
    "NULL",
    "DEFAULT",
    "TYPE",
    "VALIDATE",
    "VALID",
    "UPDATE",
    "DELETE",
    "FROM",
    "WHERE",
    "INSERT",
    "INTO",
    "VALUES",
    "SELECT",
    "BEGIN",
    "COMMIT",
    "END",
    "CASE",
    "TRIGGER",
    "VIEW",
    "AS",
    "ON",
    "USING",
    "GENERATED",
    "ALWAYS",
    "IDENTITY",
    "STORED",
    "MODIFY",
    "CHANGE",
    "ALGORITHM",
    "=",
    "INSTANT",
    "COPY",
    "PRAGMA",
    "foreign_keys",
    "OFF",
    "ATTACH",
    "DETACH",
    "PARTITION",
    "TRUNCATE",
    "REFRESH",
    "MATERIALIZED",
    "ENUM",
    "DOMAIN",
    "FUNCTION",
    "ATOMIC",
    "users",
    "accounts",
    "a",
    "\"b\"\"c\"",
    "`d`",
    "[e]",
    "bigint",
    "varchar(10)",
    "text[]",
    "numeric(10, 2)",
    "(",
    ")",
    ",",
    ";",
    ".",
    "::",
    "'x'",
    "E'\\''",
    "$$",
    "$t$",
    "--",
    "\n",
    "/*",
    "*/",
    "-- windlass: allow drop-table: x\n",
    "-- windlass: phase contract\n",
    "ü",
    "\u{feff}",
    "DELIMITER //\n",
    "\\d\n",
    "\"",
    "'",
    "`",
    "[",
    ":lo",
    "AND",
    "OR",
    "IS",
];

fn noise() -> impl Strategy<Value = String> {
    let pieces = |most| prop::collection::vec(prop::sample::select(PIECES), 0..most);
    prop_oneof![
        4 => pieces(60).prop_map(|pieces| pieces.join(" ")),
        2 => pieces(40).prop_map(|pieces| pieces.concat()),
        1 => ".{0,200}".prop_map(|text: String| text),
    ]
}

/// An example of a rule, broken: a part cut out, and another one put in.
fn broken() -> impl Strategy<Value = String> {
    let cases = rules::all().flat_map(|rule| rule.cases);
    let examples: Vec<&'static str> = cases.flat_map(|case| [case.fails, case.passes]).collect();
    let place = any::<prop::sample::Index>;
    let parts = (
        prop::sample::select(examples),
        place(),
        place(),
        prop::sample::select(PIECES),
    );
    parts.prop_map(|(example, from, to, piece)| {
        let whole = |n: &usize| example.is_char_boundary(*n);
        let borders: Vec<usize> = (0..=example.len()).filter(whole).collect();
        let (a, b) = (
            borders[from.index(borders.len())],
            borders[to.index(borders.len())],
        );
        format!("{}{piece}{}", &example[..a.min(b)], &example[a.max(b)..])
    })
}

fn holds(text: &str, more: &str) {
    for dialect in Dialect::ALL {
        let mut options = Options::new(dialect);
        options.enable = rules::all().map(|rule| rule.id.to_owned()).collect();
        let files = [
            Source {
                name: "1.sql",
                text: rules::setup(dialect),
            },
            Source {
                name: "2.sql",
                text,
            },
            Source {
                name: "3.sql",
                text: more,
            },
        ];
        let report = lint(&files, &options);
        for finding in &report.findings {
            let of = files[finding.file].text;
            assert!(finding.span.start <= finding.span.end, "{finding:?}");
            let place = of.get(finding.span.start..finding.span.end);
            assert!(place.is_some(), "{finding:?} in {of:?}");
        }
        for in_place in [false, true] {
            let fixes = fix(&files, &options, &report, in_place);
            for file in &fixes.new {
                assert!(file.name.as_str() > "3", "{file:?}");
            }
        }
        let shown = show::text_report(&files, &report, show::Style::Plain, "");
        assert!(report.findings.iter().all(|f| shown.contains(f.rule.id)));
        show::json_report(&files, &report, "");
        show::sarif_report(&files, &report, "", "1");
        let lines = show::github_report(&files, &report, "").lines().count();
        assert_eq!(lines, report.findings.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn noise_is_read(text in noise(), more in noise()) {
        holds(&text, &more);
    }

    #[test]
    fn broken_examples_are_read(text in broken(), more in broken()) {
        holds(&text, &more);
    }
}

#[test]
fn deep_nesting_is_read() {
    for open in [
        "(",
        "CASE WHEN ",
        "NOT ",
        "- ",
        "[",
        "/*",
        "BEGIN ",
        "SELECT (",
        "a.",
        "a::",
        ")",
        "CONSTRAINT a ",
        "a+",
        "a AND ",
        ",",
    ] {
        holds(&format!("SELECT {}", open.repeat(5_000)), "");
        holds(
            &format!("ALTER TABLE users ADD CHECK ({}", open.repeat(5_000)),
            "",
        );
    }
}
