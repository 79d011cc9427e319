//! Whatever the bytes are: no panic, a plan or an error, and diagnostics that point into the file.

use proptest::collection::vec;
use proptest::prelude::*;
use windlass_spec::{Severity, load, render};

const SPECS: [(&str, &str); 3] = [
    (
        "windlass.yml",
        "# all keys\nenv: &e\n  A: 3.10\n  B: \"é\\t日本\"\nsecrets: [TOKEN, KEY_2]\ntimeout: 1h30m\n\
         shell: [perl, -e]\noutput: separate\nclone: {depth: full, submodules: true, lfs: no}\n\
         limits:\n  memory: 1.5g\n  pids: 64\nsteps:\n  - &s make\n  - *s\n  - run: |\n      a\n      \
         b\n    name: 'it''s'\n    env:\n      <<: *e\n      C: >-\n        x\n    timeout: 90s\n    \
         shell: bash\n    output: tty\n    tty: true\n",
    ),
    (
        "windlass.toml",
        "timeout = '1h30m'\nsecrets = [\"TOKEN\"]\nshell = ['perl', '-e']\n[env]\nA = 3.10\nB = \
         \"é\\t\"\nC = 1979-05-27T07:32:00Z\n[clone]\ndepth = 0x10\n[[steps]]\nrun = '''\na\nb'''\n\
         tty = true\n[[steps]]\nrun = \"\"\"x\"\"\"\nenv.A = 1_000\n",
    ),
    (
        "windlass.yml",
        "{\"steps\": [\"make\", {\"run\": \"\\u00e9\", \"timeout\": \"90s\"}], \"env\": {\"A\": null}}",
    ),
];

/// Pieces that mean something to one of the parsers.
const PIECES: [&str; 40] = [
    "\t",
    "\n",
    "\r\n",
    "\r",
    " ",
    "  ",
    ": ",
    ":",
    "- ",
    "-",
    "? ",
    "|",
    ">-",
    "|2",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x",
    "%YAML 1.2\n",
    "---\n",
    "...\n",
    "#",
    "'",
    "\"",
    "\"\"\"",
    "'''",
    "[",
    "]",
    "{",
    "}",
    ",",
    "=",
    "[[steps]]\n",
    "\\u0000",
    "\u{feff}",
    "\u{202e}",
    "日",
    "steps",
    "run",
];

fn check(name: &str, source: &[u8]) -> Result<(), TestCaseError> {
    let loaded = load(name, source);
    let errors = loaded
        .diagnostics
        .iter()
        .any(|d| d.severity == Severity::Error);
    prop_assert_eq!(loaded.plan.is_none(), errors);
    for diagnostic in &loaded.diagnostics {
        prop_assert!(diagnostic.span.start <= diagnostic.span.end);
        prop_assert!(diagnostic.span.end <= source.len());
        prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
        prop_assert!(!diagnostic.message.is_empty() && !diagnostic.message.ends_with('.'));
    }
    for step in loaded.plan.iter().flat_map(|plan| &plan.jobs[0].steps) {
        prop_assert!(!step.name.is_empty() && !step.script.trim().is_empty());
        prop_assert_eq!(step.argv.last(), Some(&step.script));
        prop_assert!(!step.argv.iter().any(|word| word.contains('\0')));
    }
    render::plain(source, name, &loaded.diagnostics);
    Ok(())
}

fn name() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("windlass.yml"), Just("windlass.toml")]
}

/// What one mutation does, at a place that is taken modulo the length.
#[derive(Debug, Clone)]
enum Mutation {
    Insert(usize, &'static str),
    Byte(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = 0..1000usize;
    prop_oneof![
        4 => (at.clone(), 0..PIECES.len()).prop_map(|(at, i)| Mutation::Insert(at, PIECES[i])),
        1 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Mutation::Byte(at, byte)),
        2 => (at.clone(), 1..30usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        1 => (at, 1..60usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
    ]
}

fn mutate(source: &mut Vec<u8>, mutation: &Mutation) {
    let place = |at: usize| at % (source.len() + 1);
    match *mutation {
        Mutation::Insert(at, piece) => {
            let at = place(at);
            source.splice(at..at, piece.bytes());
        }
        Mutation::Byte(at, byte) => {
            let at = place(at);
            source.splice(at..(at + 1).min(source.len()), [byte]);
        }
        Mutation::Cut(at, length) => {
            let at = place(at);
            source.drain(at..(at + length).min(source.len()));
        }
        Mutation::Repeat(at, length) => {
            let at = place(at);
            let part = source[at..(at + length).min(source.len())].to_vec();
            source.splice(at..at, part);
        }
    }
}

/// What an earlier and longer run of these properties found.
#[test]
fn found_before() {
    let (name, source) = SPECS[1];
    let mut source = source.as_bytes().to_vec();
    for mutation in [
        Mutation::Cut(43, 25),
        Mutation::Insert(603, "...\n"),
        Mutation::Insert(7, " "),
    ] {
        mutate(&mut source, &mutation);
    }
    check(name, &source).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(name in name(), source in vec(any::<u8>(), 0..200)) {
        check(name, &source)?;
    }

    #[test]
    fn pieces(name in name(), picks in vec(0..PIECES.len(), 0..40)) {
        let source: String = picks.into_iter().map(|pick| PIECES[pick]).collect();
        check(name, source.as_bytes())?;
    }

    #[test]
    fn mutations(spec in 0..SPECS.len(), mutations in vec(mutation(), 1..5)) {
        let (name, source) = SPECS[spec];
        let mut source = source.as_bytes().to_vec();
        for mutation in &mutations {
            mutate(&mut source, mutation);
        }
        check(name, &source)?;
    }
}
