//! Every rule's examples, suppressions, selection of files, and the manual page.

use std::fs;
use std::path::{Path, PathBuf};

use windlass_migrate::lint::rules::{self, Fix, example, setup};
use windlass_migrate::lint::{
    Case, Dialect, Options, Report, Rule, Severity, Source, fix, lint, page, show,
};

const SETUP: &str = "0001_setup.sql";

type File = (String, String);

/// The options for a rule's example: the setup is applied, the rule is on.
fn options(rule: &Rule, case: &Case) -> Options {
    let mut options = Options::new(case.dialect);
    options.since = Some(SETUP.to_owned());
    options.server_version = case.server.map(|v| v.parse().expect("a version"));
    options
        .enable
        .extend((!rule.on).then(|| rule.id.to_owned()));
    options
}

fn sources(dialect: Dialect, files: &[File]) -> Vec<Source<'_>> {
    let first = Source {
        name: SETUP,
        text: setup(dialect),
    };
    let rest = files.iter().map(|(name, text)| Source { name, text });
    std::iter::once(first).chain(rest).collect()
}

fn ids(report: &Report) -> Vec<&'static str> {
    let mut ids: Vec<_> = report.findings.iter().map(|f| f.rule.id).collect();
    ids.dedup();
    ids
}

fn in_words(report: &Report) -> Vec<String> {
    let words = |f: &windlass_migrate::lint::Finding| format!("{}: {}", f.rule.id, f.message);
    report.findings.iter().map(words).collect()
}

fn cases() -> impl Iterator<Item = (&'static Rule, &'static Case)> {
    rules::all().flat_map(|rule| rule.cases.iter().map(move |case| (rule, case)))
}

#[test]
fn each_example_breaks_its_rule_or_none() {
    let mut wrong = Vec::new();
    for (rule, case) in cases() {
        let what = format!("{} on {}", rule.id, case.dialect);
        let report = |text| lint(&sources(case.dialect, &example(text)), &options(rule, case));
        let fails = report(case.fails);
        if ids(&fails) != [rule.id] {
            wrong.push(format!(
                "{what}: the failing example breaks {:?}",
                in_words(&fails)
            ));
        }
        let passes = report(case.passes);
        if !passes.findings.is_empty() {
            wrong.push(format!(
                "{what}: the passing example breaks {:?}",
                in_words(&passes)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_setup_of_the_examples_has_no_findings() {
    for dialect in Dialect::ALL {
        let report = lint(&sources(dialect, &[]), &Options::new(dialect));
        let worse = report
            .findings
            .iter()
            .filter(|f| f.severity != Severity::Note)
            .count();
        assert_eq!(worse, 0, "{dialect}: {:?}", in_words(&report));
    }
}

#[test]
fn names_of_rules_are_unique_and_plain() {
    let mut ids: Vec<&str> = rules::all().map(|rule| rule.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "two rules have the same name");
    for rule in rules::all() {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(rule.id.chars().all(plain), "{}", rule.id);
        assert!(!rule.cases.is_empty(), "{} has no example", rule.id);
    }
}

/// What `--fix --in-place` makes of a failing example breaks no rule any more; and what is said to
/// be fixable is fixed, at least on PostgreSQL.
#[test]
fn what_is_fixed_has_no_findings_left() {
    let mut wrong = Vec::new();
    for (rule, case) in cases() {
        let what = format!("{} on {}", rule.id, case.dialect);
        let files = example(case.fails);
        let options = options(rule, case);
        let before = sources(case.dialect, &files);
        let report = lint(&before, &options);
        let fixes = fix(&before, &options, &report, true);
        let must = match rule.fix {
            Fix::Sequence(_) => case.dialect == Dialect::Postgres,
            Fix::Contract => true,
            Fix::None(_) => false,
        };
        if fixes.fixed.is_empty() {
            if must {
                wrong.push(format!("{what}: not fixed: {:?}", fixes.unfixed));
            }
            if fixes.unfixed.is_empty() {
                wrong.push(format!("{what}: neither fixed nor said why not"));
            }
            continue;
        }
        let mut after = files.clone();
        for (name, text) in &mut after {
            if let Some(changed) = fixes.changed.iter().find(|c| c.name == *name) {
                text.clone_from(&changed.text);
            }
        }
        after.extend(fixes.new.iter().map(|f| (f.name.clone(), f.text.clone())));
        assert!(
            after.is_sorted_by_key(|(name, _)| name.clone()),
            "{what}: {after:?}"
        );
        let left = lint(&sources(case.dialect, &after), &options);
        if !left.findings.is_empty() {
            wrong.push(format!(
                "{what}: fixed to {after:#?}, which breaks {:?}",
                in_words(&left)
            ));
        }
        // Without --in-place nothing that is there is changed.
        assert!(
            fix(&before, &options, &report, false).changed.is_empty(),
            "{what}"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn pg(files: &[(&str, &str)], since: Option<&str>) -> Report {
    let mut options = Options::new(Dialect::Postgres);
    options.since = since.map(str::to_owned);
    let sources: Vec<Source<'_>> = files
        .iter()
        .map(|(name, text)| Source { name, text })
        .collect();
    lint(&sources, &options)
}

#[test]
fn what_came_with_the_same_file_is_free() {
    let report = pg(
        &[(
            "1.sql",
            "CREATE TABLE a (id bigint PRIMARY KEY, b text);
             CREATE INDEX a_b ON a (b);
             ALTER TABLE a ALTER COLUMN b SET NOT NULL;
             ALTER TABLE a ADD CONSTRAINT c CHECK (b <> '');
             UPDATE a SET b = 'x';
             ALTER TABLE a DROP COLUMN b;
             DROP TABLE a;",
        )],
        None,
    );
    assert!(report.findings.is_empty(), "{:?}", in_words(&report));
}

#[test]
fn what_is_not_applied_yet_is_new_to_old_code() {
    let files = [
        ("1.sql", "CREATE TABLE a (id bigint PRIMARY KEY);"),
        ("2.sql", "ALTER TABLE a ADD COLUMN b text;"),
        ("3.sql", "ALTER TABLE a DROP COLUMN b;"),
    ];
    assert_eq!(ids(&pg(&files, Some("1.sql"))), Vec::<&str>::new());
    assert_eq!(ids(&pg(&files, Some("2.sql"))), ["drop-column"]);
    assert_eq!(ids(&pg(&files, Some("3.sql"))), Vec::<&str>::new());
}

#[test]
fn a_version_above_9_is_mariadb() {
    let text = "CREATE TABLE a (id bigint PRIMARY KEY, b bigint REFERENCES a (id));";
    for (version, found) in [("8.0.36", 1), ("10.11", 0), ("mariadb-11.4", 0)] {
        let mut options = Options::new(Dialect::Mysql);
        options.server_version = Some(version.parse().expect("a version"));
        let report = lint(
            &[Source {
                name: "1.sql",
                text,
            }],
            &options,
        );
        assert_eq!(
            report.findings.len(),
            found,
            "{version}: {:?}",
            in_words(&report)
        );
    }
}

#[test]
fn an_index_of_a_later_file_covers_a_foreign_key() {
    let table = "CREATE TABLE b (id bigint PRIMARY KEY, a_id bigint REFERENCES a (id));";
    let index = "-- windlass: no-transaction\nCREATE INDEX CONCURRENTLY b_a ON b (a_id);";
    let mut files = vec![
        ("1.sql", "CREATE TABLE a (id bigint PRIMARY KEY);"),
        ("2.sql", table),
    ];
    assert_eq!(ids(&pg(&files, None)), ["foreign-key-without-index"]);
    files.push(("3.sql", index));
    assert_eq!(ids(&pg(&files, None)), Vec::<&str>::new());
}

#[test]
fn an_allow_covers_one_statement_or_the_file() {
    let table = ("1.sql", "CREATE TABLE a (id bigint PRIMARY KEY, b text);");
    let count = |text: &str| {
        let report = pg(&[table, ("2.sql", text)], Some("1.sql"));
        (ids(&report), report.allowed.len())
    };
    let both = "UPDATE a SET b = '';\nUPDATE a SET b = 'x';";
    assert_eq!(count(both), (vec!["mass-change"], 0));
    let first = format!("-- windlass: allow mass-change: few rows\n{both}");
    assert_eq!(count(&first), (vec!["mass-change"], 1));
    let second = "UPDATE a SET b = '' WHERE id = 1;\n\
                  UPDATE a SET b = 'x'; -- windlass: allow mass-change: few rows";
    assert_eq!(count(second), (vec![], 1));
    let file = format!("-- windlass: lint allow mass-change: few rows\n{both}");
    assert_eq!(count(&file), (vec![], 2));
    let bare = format!("-- windlass: lint allow mass-change\n{both}");
    assert_eq!(count(&bare), (vec!["bad-allow", "mass-change"], 0));
}

#[test]
fn places_are_those_of_the_clause() {
    let text = "-- ä comment\nSELECT 1;\n\nALTER TABLE \"Tüte\" DROP COLUMN \"größe\";";
    let report = pg(&[("1.sql", text)], None);
    let [finding] = report.findings.as_slice() else {
        panic!("{:?}", in_words(&report))
    };
    assert_eq!(
        &text[finding.span.start..finding.span.end],
        "DROP COLUMN \"größe\""
    );
    let source = [Source {
        name: "1.sql",
        text,
    }];
    let json = show::json_report(&source, &report, "db/");
    let found = &json["findings"][0];
    assert_eq!((&found["line"], &found["column"]), (&4.into(), &20.into()));
    assert_eq!(
        (&found["end_line"], &found["end_column"]),
        (&4.into(), &39.into())
    );
    assert_eq!(found["file"], "db/1.sql");
    let github = show::github_report(&source, &report, "db/");
    let start = "::error file=db/1.sql,line=4,endLine=4,col=20,endColumn=39,title=drop-column::";
    assert!(github.starts_with(start), "{github}");
    assert_eq!(github.lines().count(), 1);
    let shown = show::text_report(&source, &report, show::Style::Plain, "db/");
    assert!(
        shown.contains("drop-column") && shown.contains("db/1.sql:4:"),
        "{shown}"
    );
}

/// The parts of SARIF's schema that the log uses: what must be there, of which kind, and that each
/// rule is where its index says.
#[test]
fn sarif_is_sound() {
    let text = "ALTER TABLE b DROP COLUMN d;\n-- windlass: allow drop-column: nobody uses it\n\
                ALTER TABLE b DROP COLUMN c;";
    let report = pg(&[("a b.sql", text)], None);
    let source = [Source {
        name: "a b.sql",
        text,
    }];
    let log = show::sarif_report(&source, &report, "", "1.0.0");
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().expect("rules");
    let results = run["results"].as_array().expect("results");
    assert_eq!(results.len(), 2);
    for result in results {
        let index = result["ruleIndex"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok());
        assert_eq!(rules[index.expect("an index")]["id"], result["ruleId"]);
        assert!(
            !result["message"]["text"]
                .as_str()
                .expect("words")
                .is_empty()
        );
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a%20b.sql");
        let number = |key: &str| place["region"][key].as_u64().expect(key);
        let start = (number("startLine"), number("startColumn"));
        assert!(start.0 >= 1 && start.1 >= 1);
        assert!((number("endLine"), number("endColumn")) > start);
    }
    assert_eq!(
        results[1]["suppressions"][0]["justification"],
        "nobody uses it"
    );
    assert!(results[0].get("suppressions").is_none());
}

#[test]
fn a_later_statement_that_needs_the_moved_one_stops_the_fix() {
    let sources = [
        Source {
            name: "1.sql",
            text: "CREATE TABLE a (id bigint PRIMARY KEY, b text);",
        },
        Source {
            name: "2.sql",
            text: "CREATE INDEX a_b ON a (b);",
        },
        Source {
            name: "3.sql",
            text: "-- windlass: no-transaction\nDROP INDEX CONCURRENTLY a_b;",
        },
    ];
    let mut options = Options::new(Dialect::Postgres);
    options.since = Some("1.sql".to_owned());
    let report = lint(&sources, &options);
    let fixes = fix(&sources, &options, &report, false);
    assert!(fixes.new.is_empty() && fixes.fixed.is_empty());
    assert!(
        fixes.unfixed[0].why.contains("3.sql"),
        "{:?}",
        fixes.unfixed
    );
}

#[test]
fn new_files_take_the_next_numbers_in_the_folders_own_way() {
    for (old, new) in [
        ("0007_a.sql", "0008_a_b.sql"),
        ("20260131235959_a.up.sql", "20260131235960_a_b.up.sql"),
        ("V9__a.sql", "V10__a_b.sql"),
        ("below/V1_9__a.sql", "V1.10__a_b.sql"),
    ] {
        let sources = [Source {
            name: old,
            text: "CREATE INDEX a_b ON a (b);",
        }];
        let options = Options::new(Dialect::Postgres);
        let report = lint(&sources, &options);
        let fixes = fix(&sources, &options, &report, false);
        assert_eq!(fixes.new[0].name, new);
        let text = &fixes.new[0].text;
        assert!(
            text.contains("\nCREATE INDEX CONCURRENTLY a_b ON a (b);\n"),
            "{text}"
        );
    }
}

#[test]
fn the_page_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path: PathBuf = root.join("docs/migrate-lint.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, page()).expect("docs is a folder");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page(),
        "{} is old: UPDATE=1 cargo test -p windlass-migrate --test lint",
        path.display()
    );
}
