//! Figures: `cargo run --release -p windlass-spec --example bench_spec`
//!
//! Prints `name microseconds` lines, medians: a typical spec of 60 lines, read, checked and planned;
//! the YAML parser alone over the same bytes; a matrix of 10,000 cells, read and planned.

#![expect(clippy::unwrap_used, reason = "an example for developers")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use windlass_model::{Event, Facts, Revision, Trigger};

/// What a team writes: a graph, a matrix, conditions, caches, artifacts.
const TYPICAL: &str = include_str!("typical.yml");

fn facts() -> Facts {
    let trigger = Trigger {
        event: Event::Push {
            branch: "main".to_owned(),
            forced: false,
        },
        revision: Revision::zero(),
        git_ref: "refs/heads/main".to_owned(),
        message: "A change".to_owned(),
        author: "somebody".to_owned(),
        url: None,
        before: None,
        skip: None,
        params: BTreeMap::new(),
    };
    let mut facts = Facts::new(trigger, "app");
    facts.changed = Some(vec!["src/main.rs".to_owned(), "docs/index.md".to_owned()]);
    facts
}

/// The time until the result is there; what is done with it afterwards does not count.
fn median<T>(name: &str, rounds: usize, mut work: impl FnMut() -> T) {
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let begun = Instant::now();
            let result = black_box(work());
            let took = begun.elapsed();
            drop(result);
            took
        })
        .collect();
    times.sort();
    println!("{name} {:.1}", times[rounds / 2].as_secs_f64() * 1e6);
}

fn main() {
    let facts = facts();
    let plan = |source: &str, jobs: usize| {
        let read = windlass_spec::read("windlass.yml", black_box(source.as_bytes()));
        assert!(read.diagnostics.is_empty(), "{:?}", read.diagnostics);
        let mut facts = facts.clone();
        let spec = read.spec.unwrap();
        facts.params = windlass_spec::params::values(spec.params(), &BTreeMap::new()).unwrap();
        let plan = spec.plan(&facts);
        assert_eq!(plan.jobs.len(), jobs);
        (spec, plan)
    };
    assert!((55..=65).contains(&TYPICAL.lines().count()));
    median("typical", 2001, || plan(TYPICAL, 9));
    median("parser", 2001, || {
        let events = granit_parser::Parser::new_from_str(black_box(TYPICAL));
        events.filter(Result::is_ok).count()
    });
    let axis = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(", ");
    let cells = format!(
        "matrix:\n  a: [{}]\n  b: [{}]\nenv:\n  NAME: x-${{{{ matrix.a }}}}-${{{{ matrix.b }}}}\nsteps:\n  - make \
         \"$MATRIX_A\"\n  - make test\n",
        axis(100),
        axis(100)
    );
    median("cells", 51, || plan(&cells, 10_000));
}
