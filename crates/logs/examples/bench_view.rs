//! Figures: `cargo run --release -p windlass-logs --example bench_view`
//!
//! Rendering logs full of colours and of progress bars, and searching a gigabyte, live and sealed.
//! MB/s are of the log's bytes, by this thread's time on a processor.

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use windlass_logs::{
    LogReader, Recorder, Renderer, Search, SearchOptions, blocks::blocks, seal, strip,
};
use windlass_shim::journal::{Encoder, Record, StepEnded, StepResult, Stream};

/// Linux tells it in nanoseconds as the first number; elsewhere the figure is 0.
fn busy() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = schedstat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

fn report(what: &str, bytes: u64, work: impl FnOnce() -> Result<u64, Box<dyn Error>>) {
    let (began, clock) = (busy(), Instant::now());
    let counted = work().unwrap_or_else(|e| panic!("{what}: {e}"));
    let (busy, clock) = (busy() - began, clock.elapsed());
    println!(
        "  {what:<44} {:>7.0} MB/s busy, {:>6.0} ms by the clock ({counted})",
        bytes as f64 / 1e6 / busy.as_secs_f64(),
        clock.as_secs_f64() * 1e3
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let cargo = "\x1b[1m\x1b[32m   Compiling\x1b[0m serde v1.0.228\n\
        \x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m: unused variable: `x`\x1b[0m\n \
        \x1b[1m\x1b[38;5;12m--> \x1b[0msrc/lib.rs:4:9\n\
        \x1b[0m \x1b[1m\x1b[38;5;12m|\x1b[0m     \x1b[1m\x1b[33m^\x1b[0m \x1b[1m\x1b[33mhelp: prefix it with an underscore\x1b[0m\n";
    let links =
        "\x1b[32mDownloading\x1b[0m https://files.example.org/packages/a1/b2/wheel-1.2.3.whl\n";
    let bar = |n: u32| format!("\x1b[33m{n:>3}%\x1b[0m|{}\r", "█".repeat(n as usize / 4));
    let bars: String = (0..=100).map(bar).collect::<String>() + "\n";
    println!("rendering:");
    for (what, piece) in [
        ("colours of cargo and rustc", cargo.to_owned()),
        ("an address in every line", links.to_owned()),
        ("progress bars with \\r (tqdm)", bars),
        (
            "true colour, every character",
            (0..40)
                .map(|n| format!("\x1b[38;2;{};{};{}mx", n * 6, 255 - n, n))
                .collect::<String>()
                + "\n",
        ),
    ] {
        let log = piece.repeat(20_000_000 / piece.len()).into_bytes();
        report(what, log.len() as u64, || {
            let (mut renderer, mut html, mut made) = (Renderer::new(), String::new(), 0);
            for row in log.split_inclusive(|b| *b == b'\n') {
                html.clear();
                renderer.row(row, &mut html);
                made += html.len() as u64;
            }
            Ok(made)
        });
    }
    let redraw = |n: u32| {
        let lines: String = (0..5)
            .map(|i| format!("\x1b[2K layer {i}: {n} of 1000 [====>    ]\n"))
            .collect();
        format!("\x1b[5A{lines}")
    };
    let drawn: String = (0..4_000).map(redraw).collect();
    let rows: Vec<&[u8]> = drawn.as_bytes().split_inclusive(|b| *b == b'\n').collect();
    report(
        "five lines drawn over and over (docker)",
        drawn.len() as u64,
        || {
            let lines = Renderer::new().block(0, rows.iter().copied(), 16_384);
            Ok(lines.len() as u64)
        },
    );
    let text = cargo.repeat(100_000);
    report("strip colours", text.len() as u64, || {
        Ok(strip(text.as_bytes()).len() as u64)
    });

    let dir = std::env::temp_dir().join(format!("windlass-bench-view-{}", std::process::id()));
    let done = gigabyte(&dir);
    fs::remove_dir_all(&dir)?;
    done
}

fn gigabyte(dir: &std::path::Path) -> Result<(), Box<dyn Error>> {
    let mut encoder = Encoder::new();
    let mut recorder = Recorder::open(dir)?;
    let (mut journal, mut piece, mut written) = (Vec::new(), Vec::new(), 0u64);
    let begin = Record::StepStarted {
        step: 0,
        background: false,
    };
    encoder.encode(1, &begin, &mut journal);
    for n in 0..10_000_000_u64 {
        let line = format!(
            "{n:>8} test suite::module_{:04}::case_{:07} ... ok",
            n % 977,
            n * 7919 % 9_999_991
        );
        let colour = if n % 4 == 0 { "\x1b[32m" } else { "" };
        let end = if n % 4 == 0 { "\x1b[0m" } else { "" };
        piece.extend_from_slice(format!("{colour}{line:<90}{end}\n").as_bytes());
        if piece.len() > 60_000 {
            encoder.output(n as i64, 0, Stream::Merged, &piece, &mut journal);
            written += piece.len() as u64;
            piece.clear();
            recorder.push(&journal)?;
            recorder.confirm()?;
            journal.clear();
        }
    }
    encoder.output(10_000_000, 0, Stream::Merged, &piece, &mut journal);
    written += piece.len() as u64;
    let end = StepEnded {
        result: StepResult::Exited { code: 0 },
        output_bytes: written,
        left_out_bytes: 0,
        duration_us: 0,
        leftovers: 0,
    };
    encoder.encode(
        10_000_001,
        &Record::StepEnded { step: 0, end },
        &mut journal,
    );
    recorder.push(&journal)?;
    recorder.confirm()?;
    drop(recorder);
    for kind in ["live", "sealed"] {
        println!("a log of 10,000,000 lines, {written} bytes, {kind}:");
        if kind == "sealed" {
            let sealed = seal(dir)?;
            println!("  stored: {} bytes", sealed[0].meta.stored_bytes);
        }
        let mut reader = LogReader::open(dir, 0)?;
        for pattern in [
            "case_0000042",
            "FAILED|panicked",
            r"module_00\d\d::case_\d+9999 ",
            r"\bok$",
            r"(?i)error|warning|fatal",
        ] {
            let mut search = Search::new(pattern, SearchOptions::default())?;
            report(&format!("search {pattern}"), written, || {
                let (mut from, mut hits) = (0, 0);
                loop {
                    let next = search.step(&mut reader, from, |_| {
                        hits += 1;
                        true
                    })?;
                    if next == from {
                        return Ok(hits);
                    }
                    from = next;
                }
            });
        }
        let mut renderer = Renderer::new();
        let (mut html, mut bytes) = (String::new(), Vec::new());
        let clock = Instant::now();
        for n in 0..200_u64 {
            let from = n * 7_919_000 % 9_999_000;
            let near = blocks(&mut reader, from..from + 500)?;
            assert!(near.is_empty());
            for row in reader.row_range(from, 500)? {
                reader.row_bytes(&row, &mut bytes)?;
                html.clear();
                renderer.row(&bytes, &mut html);
            }
        }
        println!(
            "  a window of 500 rows anywhere, rendered: {:.2} ms",
            clock.elapsed().as_secs_f64() * 5.0
        );
    }
    Ok(())
}
