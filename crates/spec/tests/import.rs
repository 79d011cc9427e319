//! Specs that are made of other systems' files: each file under tests/import beside what becomes of
//! it, all of them checked; and whatever the YAML is, the result is a spec.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use windlass_spec::import::{Dialect, Imported, Kind, import_files};
use windlass_spec::{Severity, load, read};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// The files of a dialect, by name.
fn fixtures(dialect: Dialect) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder().join(dialect.as_str()))
        .expect("a folder of fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "yml"))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.expect("a name in UTF-8").to_owned();
            (name, fs::read(&path).expect("a fixture"))
        })
        .collect();
    files.sort();
    files
}

fn is_good(name: &str, imported: &Imported) {
    let read = read("windlass.yml", imported.spec.as_bytes());
    let errors: Vec<String> = read
        .diagnostics
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .map(|d| format!("{}:{}: {} {}", d.line, d.column, d.code, d.message))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:?}\n{}", imported.spec);
    assert!(read.spec.is_some(), "{name}");
}

fn summary(imported: &Imported) -> String {
    let mut text = format!(
        "{} exact, {} approximate, {} not converted\n",
        imported.count(Kind::Exact),
        imported.count(Kind::Approximate),
        imported.count(Kind::NotConverted)
    );
    for note in &imported.notes {
        let kind = match note.kind {
            Kind::Exact => '=',
            Kind::Approximate => '~',
            Kind::NotConverted => '!',
        };
        let words = if note.words.is_empty() {
            String::new()
        } else {
            format!(": {}", note.words)
        };
        text.push_str(&format!("{kind} {} {}{words}\n", note.line, note.what));
    }
    text
}

/// To look at changes and keep them: `INSTA_UPDATE=always cargo test -p windlass-spec`, then
/// `git diff`.
#[test]
fn every_file_becomes_a_spec() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    for dialect in Dialect::ALL {
        let files = fixtures(dialect);
        assert!(files.len() >= 4, "{dialect}: {}", files.len());
        for (name, source) in files {
            let files = [(name.as_str(), source.as_slice())];
            let imported = import_files(&files, Some(dialect)).unwrap();
            is_good(&name, &imported);
            let refused =
                |note: &&windlass_spec::import::Note| note.words.contains("it would be no spec");
            let refused: Vec<_> = imported.notes.iter().filter(refused).collect();
            assert!(refused.is_empty(), "{name}: {refused:?}");
            let shown = format!("{}\n=== summary\n{}", imported.spec, summary(&imported));
            let folder = folder().join(dialect.as_str());
            insta::with_settings!({ snapshot_path => folder }, {
                insta::assert_snapshot!(name, shown);
            });
        }
    }
}

/// Nothing that others write may become a part of a script.
#[test]
fn no_script_has_an_expression_in_it() {
    for dialect in Dialect::ALL {
        for (name, source) in fixtures(dialect) {
            let files = [(name.as_str(), source.as_slice())];
            let imported = import_files(&files, Some(dialect)).unwrap();
            let plan = load("windlass.yml", imported.spec.as_bytes()).plan.unwrap();
            for step in plan.jobs.iter().flat_map(|job| &job.steps) {
                assert!(!step.script.contains("${{"), "{name}: {}", step.script);
            }
        }
    }
}

#[test]
fn all_files_of_a_dialect_become_one_spec() {
    for dialect in Dialect::ALL {
        let files = fixtures(dialect);
        let files: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(name, source)| (name.as_str(), source.as_slice()))
            .collect();
        let imported = import_files(&files, Some(dialect)).unwrap();
        is_good(dialect.as_str(), &imported);
    }
}

/// A file with pieces of it taken out, doubled or exchanged.
fn damaged(source: &str, changes: &[(usize, usize, usize)]) -> String {
    let mut lines: Vec<&str> = source.lines().collect();
    for (kind, a, b) in changes {
        if lines.is_empty() {
            break;
        }
        let (a, b) = (a % lines.len(), b % lines.len());
        match kind % 4 {
            0 => drop(lines.remove(a)),
            1 => lines.swap(a, b),
            2 => lines.insert(a, lines[b]),
            _ => {
                let (key, _) = lines[a].split_once(':').unwrap_or((lines[a], ""));
                let (_, value) = lines[b].split_once(':').unwrap_or(("", lines[b]));
                let mixed = format!("{key}:{value}");
                // The test's strings are few and short.
                lines[a] = Box::leak(mixed.into_boxed_str());
            }
        }
    }
    lines.join("\n")
}

fn any_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-zA-Z0-9_./*!$-]{0,12}",
        Just("${{ github.event.x }}".to_owned()),
        Just("\"${{ matrix.a }}\"".to_owned()),
        Just("$CI_COMMIT_SHA".to_owned()),
        Just("\"if ${{\"".to_owned()),
        Just("true".to_owned()),
        Just("99999999999".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop::sample::select(KEYS.to_vec());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|map| {
                let items: Vec<String> = map.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{{{}}}", items.join(", "))
            }),
        ]
    })
}

const KEYS: [&str; 50] = [
    "on",
    "jobs",
    "steps",
    "run",
    "uses",
    "with",
    "if",
    "needs",
    "strategy",
    "matrix",
    "include",
    "exclude",
    "env",
    "a",
    "b",
    "runs-on",
    "container",
    "services",
    "image",
    "outputs",
    "name",
    "concurrency",
    "script",
    "stages",
    "stage",
    "rules",
    "only",
    "except",
    "extends",
    "variables",
    "artifacts",
    "cache",
    "paths",
    "parallel",
    "retry",
    "timeout",
    "allow_failure",
    "when",
    "language",
    "python",
    "commands",
    "environment",
    "kind",
    "trigger",
    "depends_on",
    "default",
    "before_script",
    "settings",
    "changes",
    "workflow",
];

fn attempt(source: &str) {
    for dialect in Dialect::ALL {
        if let Ok(imported) = import_files(&[("x.yml", source.as_bytes())], Some(dialect)) {
            is_good(dialect.as_str(), &imported);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_yaml_is_no_panic(top in prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), any_value(), 1..6)) {
        let lines: Vec<String> = top.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        attempt(&lines.join("\n"));
    }

    #[test]
    fn any_text_is_no_panic(text in "([a-z]{1,6}|: |- |\n|\n  |[${}\\[\\],'\"&*!|>#])*") {
        attempt(&text);
    }

    #[test]
    fn damaged_files_are_no_panic(
        which in any::<prop::sample::Index>(),
        dialect in prop::sample::select(Dialect::ALL.to_vec()),
        changes in prop::collection::vec((0usize..4, 0usize..400, 0usize..400), 1..6),
    ) {
        let files = fixtures(dialect);
        let (_, source) = which.get(&files);
        let source = damaged(std::str::from_utf8(source).unwrap(), &changes);
        if let Ok(imported) = import_files(&[("x.yml", source.as_bytes())], Some(dialect)) {
            is_good(dialect.as_str(), &imported);
        }
    }
}
