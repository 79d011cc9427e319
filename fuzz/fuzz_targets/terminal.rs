//! Any bytes as the output of a step: rendered row by row, in blocks that are drawn over, stripped,
//! searched for findings. The HTML holds nothing but what is promised, and takes no room worth
//! mentioning.

#![no_main]

use libfuzzer_sys::fuzz_target;
use windlass_logs::findings::{Finder, Known, Learner};
use windlass_logs::{Renderer, strip};

#[path = "../../crates/logs/tests/logs/html.rs"]
mod html;

fn check(read: Result<String, String>, made: &str, from: &[u8]) {
    if let Err(wrong) = read {
        panic!("{wrong}: {made:?}");
    }
    // A movement of six bytes makes a row of at most 320 columns, and an address stands there twice.
    let most = 1000 + 400 * from.len();
    assert!(made.len() <= most, "{} bytes of {}", made.len(), from.len());
}

fuzz_target!(|bytes: &[u8]| {
    let rows: Vec<&[u8]> = bytes
        .split_inclusive(|b| *b == b'\n')
        .flat_map(|line| line.chunks(windlass_logs::folder::MAX_ROW as usize))
        .collect();
    let mut renderer = Renderer::new();
    let mut made = String::new();
    for row in &rows {
        made.clear();
        let mut skipped = renderer.clone();
        renderer.row(row, &mut made);
        check(html::check(&made), &made, row);
        skipped.skip(row);
        assert!(skipped.is_as(&renderer), "skipping leaves another state");
    }
    let mut renderer = Renderer::new();
    let lines = renderer.block(1, rows.iter().copied(), 16_384);
    assert!(lines.windows(2).all(|two| two[0].number < two[1].number));
    for line in &lines {
        check(html::check_lines(&line.html), &line.html, bytes);
    }
    assert!(strip(bytes).len() <= 1000 + 400 * bytes.len());

    let mut learner = Learner::default();
    bytes.chunks(7).for_each(|piece| learner.push(piece));
    let learnt = learner.finish();
    let mut known = Known::default();
    known.add("build 1", learnt);
    let mut finder = Finder::new(known);
    finder.push(bytes);
    let found = finder.finish(true);
    assert_eq!(found.rows, rows.len() as u64);
    assert_eq!(found.novelty.map_or(0, |new| new.rows), 0, "what was learnt is new");
    for finding in &found.findings {
        assert!((1..=found.rows).contains(&finding.line), "{finding:?}");
        assert!(finding.begin <= finding.line && finding.line <= finding.end);
        assert!(!finding.message.contains(char::is_control), "{finding:?}");
    }
});
