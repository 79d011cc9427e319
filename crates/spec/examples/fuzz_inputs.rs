//! Changes known specs at random and reads them: `cargo run --release -p windlass-spec --example
//! fuzz_inputs -- 100000 [SEED]`. CI runs 100,000, `.ci/nightly` millions. (With a nightly compiler,
//! `fuzz/` has a target for cargo-fuzz, which looks where no change of a known spec leads.)
//!
//! Whatever the bytes are: no panic, a spec exactly if there is no error, places inside of the file,
//! the same plan when planned twice or read back from JSON, and no more than a second.

#![expect(clippy::unwrap_used, reason = "an example for developers")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use windlass_model::{Event, Facts, Plan, Revision, Severity, Trigger};
use windlass_spec::{Included, import, read_with, render};

/// No input may take longer.
const LIMIT: Duration = Duration::from_secs(1);

/// Pieces that mean something to a parser or to a key.
const PIECES: &[&str] = &[
    "\n",
    "\t",
    " ",
    "  ",
    ": ",
    "- ",
    "? ",
    "|",
    ">-",
    "|2-",
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "!x ",
    "---\n",
    "%YAML 1.2\n",
    "#",
    "'",
    "\"",
    "\"\"\"",
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
    "steps:",
    "jobs:",
    "needs: [a, b?]",
    "when: ",
    "matrix:",
    "${{ matrix.a }}",
    "${{",
    "}}",
    "&&",
    "||",
    "==",
    "branch",
    "needs.a.outputs.b",
    "glob(",
    "changed(\"**\")",
    "!",
    "include: a.yml",
    "use: ",
    "cron: 0 0 31 2 *",
    "9999999999999999999",
    "-1",
    "1h",
    "~/",
    "../",
    "/",
    "**",
    "[a-",
    "\0",
];

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }
}

fn collect(folder: &Path, into: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            collect(&path, into);
        } else if matches!(ending, "yml" | "yaml" | "toml") {
            let bytes = std::fs::read(&path).unwrap();
            // The largest tests are about size alone.
            if bytes.len() < 20_000 {
                into.push((path.to_string_lossy().into_owned(), bytes));
            }
        }
    }
}

fn change(dice: &mut Dice, seeds: &[(String, Vec<u8>)], bytes: &mut Vec<u8>) {
    let at = dice.roll(bytes.len() + 1);
    let piece = |dice: &mut Dice| PIECES[dice.roll(PIECES.len())].as_bytes().to_vec();
    match dice.roll(8) {
        0..=2 => drop(bytes.splice(at..at, piece(dice))),
        3 => {
            let end = (at + dice.roll(30)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let end = (at + dice.roll(60)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            let to = dice.roll(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 if at < bytes.len() => bytes[at] = dice.roll(256) as u8,
        6 => {
            let (_, other) = &seeds[dice.roll(seeds.len())];
            let from = dice.roll(other.len());
            let end = (from + dice.roll(200)).min(other.len());
            bytes.splice(at..at, other[from..end].iter().copied());
        }
        _ => {
            let end = (at + dice.roll(12)).min(bytes.len());
            bytes.splice(at..end, piece(dice));
        }
    }
}

fn facts() -> Facts {
    let trigger = Trigger {
        event: Event::Push {
            branch: "main".to_owned(),
            forced: false,
        },
        revision: Revision::zero(),
        git_ref: "refs/heads/main".to_owned(),
        message: "A \"change\"".to_owned(),
        author: String::new(),
        url: None,
        before: None,
        skip: None,
        params: BTreeMap::new(),
    };
    let mut facts = Facts::new(trigger, "r");
    facts.changed = Some(vec!["src/a.rs".to_owned()]);
    facts
}

fn check(name: &str, source: &[u8], facts: &Facts) {
    let wanted = windlass_spec::includes(name, source);
    let part = |n: usize| match n % 2 {
        0 => Ok(b"templates: {t: {env: {A: 1}}}".to_vec()),
        _ => Err("there is none".to_owned()),
    };
    let included: Included = wanted
        .into_iter()
        .enumerate()
        .map(|(n, i)| (i, part(n)))
        .collect();
    let read = read_with(name, source, &included);
    let errors = read
        .diagnostics
        .iter()
        .any(|d| d.severity == Severity::Error);
    assert_eq!(read.spec.is_none(), errors);
    for diagnostic in &read.diagnostics {
        assert!(
            diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end <= source.len()
        );
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1 && !diagnostic.message.is_empty());
    }
    render::plain(source, name, &read.diagnostics);
    let Some(spec) = read.spec else { return };
    let mut facts = facts.clone();
    facts.params = windlass_spec::params::values(spec.params(), &BTreeMap::new()).unwrap();
    let plan = spec.plan(&facts);
    assert_eq!(plan, spec.plan(&facts));
    // What is stored is what was planned.
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
    let mut bases: Vec<&str> = plan.jobs.iter().map(|job| job.base.as_str()).collect();
    bases.dedup();
    bases.iter().for_each(|base| drop(spec.why(&facts, base)));
    for job in &plan.jobs {
        assert!(!job.steps.is_empty());
        let words = job.steps.iter().flat_map(|step| &step.argv);
        assert!(
            words
                .chain(job.env.values())
                .all(|word| !word.contains('\0'))
        );
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let count: u64 = args.next().map_or(100_000, |n| n.parse().unwrap());
    let seed: u64 = args.next().map_or(1, |n| n.parse().unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds = Vec::new();
    for folder in ["tests/ui", "tests/import", "examples", "../../examples"] {
        collect(&root.join(folder), &mut seeds);
    }
    assert!(seeds.len() > 100, "the seeds are missing");
    let facts = facts();
    let saved = std::env::temp_dir().join(format!("windlass-fuzz-{}", std::process::id()));
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut slowest, mut good) = (Duration::ZERO, 0u64);
    for n in 0..count {
        let (path, bytes) = &seeds[dice.roll(seeds.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=dice.roll(6) {
            change(&mut dice, &seeds, &mut bytes);
        }
        // Written first: a stack overflow or an endless loop says nothing itself.
        if n % 64 == 0 || cfg!(debug_assertions) {
            std::fs::write(&saved, &bytes).unwrap();
        }
        let begun = Instant::now();
        let name = if path.ends_with(".toml") {
            "windlass.toml"
        } else {
            "windlass.yml"
        };
        let tried = std::panic::catch_unwind(|| {
            check(name, &bytes, &facts);
            if path.contains("import") && n % 4 == 0 {
                let _ = import::import(path, &bytes);
            }
        });
        let took = begun.elapsed();
        if tried.is_err() || took > LIMIT {
            std::fs::write(&saved, &bytes).unwrap();
            eprintln!(
                "input {n} of seed {seed} ({took:?}), made of {path}, is in {}",
                saved.display()
            );
            std::process::exit(1);
        }
        slowest = slowest.max(took);
        good += u64::from(read_with(name, &bytes, &Included::new()).spec.is_some());
    }
    let _ = std::fs::remove_file(&saved);
    println!("{count} inputs, {good} of them specs, the slowest took {slowest:?}");
}
