//! The spec seen from outside: every input under tests/ui with the messages a person gets, files
//! that are made from the tables, and the examples.

use std::fs;
use std::path::{Path, PathBuf};

use windlass_spec::{Severity, load, reference, render, schema};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Each input has a snapshot beside it. To look at changes and keep them:
/// `INSTA_UPDATE=always cargo test -p windlass-spec`, then `git diff`.
#[test]
fn messages() {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut inputs: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "yml" || end == "toml")
        })
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 40, "{}", inputs.len());
    let _bound = settings.bind_to_scope();
    for path in inputs {
        let name = path.file_name().unwrap().to_str().unwrap();
        let source = fs::read(&path).unwrap();
        let loaded = load(name, &source);
        let errors = loaded
            .diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error);
        assert_eq!(loaded.plan.is_none(), errors, "{name}");
        let shown = match render::plain(&source, name, &loaded.diagnostics) {
            shown if shown.is_empty() => "nothing to complain of\n".to_owned(),
            shown => shown,
        };
        insta::with_settings!({ snapshot_path => &folder }, {
            insta::assert_snapshot!(name, shown);
        });
    }
}

/// Compares a file with what it is made from; `UPDATE=1` writes it.
fn is_current(path: &Path, made: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, made).expect("a file");
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == made,
        "{} is old: UPDATE=1 cargo test -p windlass-spec",
        path.display()
    );
}

#[test]
fn schema_file_is_current() {
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("windlass.schema.json");
    is_current(&path, &made);
}

#[test]
fn reference_page_is_current() {
    is_current(&root().join("docs/spec/reference.md"), &reference());
}

#[test]
fn examples_have_no_problems() {
    let mut count = 0;
    for folder in fs::read_dir(root().join("examples")).unwrap() {
        let folder = folder.unwrap().path();
        for name in windlass_spec::FILE_NAMES {
            let Ok(source) = fs::read(folder.join(name)) else {
                continue;
            };
            let loaded = load(name, &source);
            assert_eq!(loaded.diagnostics, [], "{}", folder.display());
            assert!(loaded.plan.is_some());
            count += 1;
        }
    }
    assert!(count >= 12, "{count}");
}

#[test]
fn yaml_toml_and_json_say_the_same() {
    let yaml = "env: {A: 3.10}\ntimeout: 5m\nsteps:\n- make\n- run: x\n  tty: true\n";
    let toml = "timeout = '5m'\nsteps = ['make', { run = 'x', tty = true }]\nenv.A = 3.10\n";
    let json =
        r#"{"env": {"A": 3.10}, "timeout": "5m", "steps": ["make", {"run": "x", "tty": true}]}"#;
    let plan = |name: &str, source: &str| {
        let loaded = load(name, source.as_bytes());
        assert_eq!(loaded.diagnostics, [], "{name}");
        loaded.plan.unwrap()
    };
    assert_eq!(plan("windlass.yml", yaml), plan("windlass.toml", toml));
    assert_eq!(plan("windlass.yml", yaml), plan("windlass.yaml", json));
}

/// Sources that are small and would like to be large.
#[test]
fn limits_hold() {
    let codes = |source: &[u8], name: &str| -> Vec<String> {
        load(name, source)
            .diagnostics
            .into_iter()
            .map(|d| d.code)
            .collect()
    };
    assert_eq!(
        codes(&vec![b'#'; 256 * 1024 + 1], "windlass.yml"),
        ["E0101"]
    );
    assert_eq!(codes(&vec![b'#'; 256 * 1024], "windlass.yml"), ["E0104"]);

    let mut laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, before) in ('b'..='i').zip('a'..) {
        let aliases = vec![format!("*{before}"); 9].join(",");
        laughs += &format!("{name}: &{name} [{aliases}]\n");
    }
    assert!(codes(laughs.as_bytes(), "windlass.yml").contains(&"E0118".to_owned()));

    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(20));
    assert!(codes(long.as_bytes(), "windlass.yml").contains(&"E0118".to_owned()));

    for name in ["windlass.yml", "windlass.toml"] {
        for open in ["[", "{", "- ", "? ", "{a: ", "[{a: "] {
            for prefix in ["", "a: ", "a = "] {
                let source = format!("{prefix}{}", open.repeat(20_000));
                assert!(!codes(source.as_bytes(), name).is_empty(), "{prefix}{open}");
            }
        }
    }
    let fits = format!("steps: {}x{}", "[".repeat(31), "]".repeat(31));
    assert_eq!(codes(fits.as_bytes(), "windlass.yml"), ["E0132"]);
    let beyond = format!("steps: {}x{}", "[".repeat(32), "]".repeat(32));
    assert!(codes(beyond.as_bytes(), "windlass.yml").contains(&"E0117".to_owned()));
    let beyond = format!("steps = {}1{}", "[".repeat(32), "]".repeat(32));
    assert!(codes(beyond.as_bytes(), "windlass.toml").contains(&"E0117".to_owned()));
}

/// Files of the largest size, made to take long: no step of ours may be quadratic. The limit is far
/// above what it takes, for slow machines.
#[test]
fn large_files_take_no_time() {
    let begin = std::time::Instant::now();
    for (prefix, piece) in [
        ("steps: [", "a, "),
        ("steps: [", "{a: "),
        ("steps:\n", "- a\n"),
        ("steps:\n", "- a: b\n"),
        ("env:\n", "  a: b\n"),
        ("steps = [", "a, "),
        ("steps = [", "'a', "),
        ("", "a.a = 1\n"),
        ("", "[[steps]]\n"),
        ("a: \"", "\u{301}"),
    ] {
        let mut source = prefix.to_owned() + &piece.repeat(256 * 1024 / piece.len());
        while source.len() > 256 * 1024 {
            source.pop();
        }
        for name in ["windlass.yml", "windlass.toml"] {
            let loaded = load(name, source.as_bytes());
            let shown = render::plain(source.as_bytes(), name, &loaded.diagnostics);
            assert!(shown.len() < 256 * 1024, "{name} {prefix}{piece}");
        }
    }
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}
