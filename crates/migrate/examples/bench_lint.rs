//! How long the linter takes for a thousand files:
//! `cargo run --release -p windlass-migrate --example bench_lint`.

use std::time::Instant;

use windlass_migrate::lint::{Dialect, Options, Source, lint, rules};

const FILES: usize = 1000;

/// A history of the rules' own examples, each with tables of its own, and with as much that is
/// fine as that is not.
fn history(dialect: Dialect) -> Vec<(String, String)> {
    let cases: Vec<_> = rules::all().filter_map(|rule| rule.case(dialect)).collect();
    let mut files = Vec::with_capacity(FILES);
    for n in 0..FILES {
        let text = match n % 4 {
            0 => rules::setup(dialect).to_owned(),
            1 => cases[n / 4 % cases.len()].fails.to_owned(),
            _ => cases[n / 4 % cases.len()].passes.to_owned(),
        };
        let group = n / 4;
        let text = [
            "users", "accounts", "logs", "totals", "notes", "mood", "percent",
        ]
        .iter()
        .fold(text, |text, name| {
            text.replace(name, &format!("{name}_{group}"))
        });
        files.push((format!("{n:04}_change.sql"), text));
    }
    files
}

fn main() {
    for dialect in Dialect::ALL {
        let files = history(dialect);
        let sources: Vec<Source<'_>> = files
            .iter()
            .map(|(name, text)| Source { name, text })
            .collect();
        let options = Options::new(dialect);
        let mut times: Vec<u128> = Vec::new();
        let mut found = 0;
        for _ in 0..7 {
            let start = Instant::now();
            found = lint(&sources, &options).findings.len();
            times.push(start.elapsed().as_micros());
        }
        times.sort_unstable();
        let statements: usize = files
            .iter()
            .map(|(_, text)| text.matches(';').count())
            .sum();
        println!(
            "{dialect}: {FILES} files, about {statements} statements, {found} findings: \
             median {:.1} ms, worst {:.1} ms of {}",
            times[times.len() / 2] as f64 / 1000.0,
            times[times.len() - 1] as f64 / 1000.0,
            times.len()
        );
    }
}
