//! Much output in flat memory.

use crate::attempt::{Attempt, Journal, sh};

/// The last step asks for the shim's own highest memory use; between the two is the step's keeper.
const PEAK: &str = "shim=$(sed -n 's/^PPid:\t*//p' /proc/$PPID/status); \
                    grep VmHWM /proc/$shim/status";

/// In kilobytes.
fn peak(journal: &Journal) -> u64 {
    let (_, _, bytes) = journal.output.last().unwrap();
    let text = String::from_utf8_lossy(bytes);
    text.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

fn flat(script: &str, bytes: u64, secret: Option<&str>) {
    let mut attempt = Attempt::new(vec![sh(script), sh(PEAK)]);
    if let Some(secret) = secret {
        attempt = attempt.secret("TOKEN", secret);
    }
    let journal = attempt.run();
    assert_eq!(journal.ends[0].output_bytes, bytes);
    let peak = peak(&journal);
    println!("{bytes} bytes, peak {peak} kB");
    assert!(peak < 32 * 1024, "{peak} kB");
}

#[test]
fn a_line_of_100_megabytes() {
    flat(
        "head -c 100000000 /dev/zero | tr '\\0' x",
        100_000_000,
        None,
    );
}

#[test]
fn a_line_of_100_megabytes_through_the_mask() {
    let secret = Some("xxxxxxxx-hunter2");
    flat(
        "head -c 100000000 /dev/zero | tr '\\0' x",
        100_000_000,
        secret,
    );
}

#[test]
fn ten_million_lines() {
    flat("yes x | head -n 10000000", 20_000_000, None);
}

#[test]
fn ten_million_lines_through_the_mask() {
    flat(
        "yes ab | head -n 10000000",
        30_000_000,
        Some("abab-hunter2"),
    );
}
