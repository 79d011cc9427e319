//! Figures: `cargo run --release -p windlass-logs --example bench_record`
//!
//! A step that prints a million lines of 100 bytes; MB/s are of its output, by this thread's time
//! on a processor (which other work on the machine does not change) and by the clock.

use std::error::Error;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use windlass_logs::{LogReader, Recorder, Renderer, seal, strip};
use windlass_shim::journal::{Decoder, Encoder, Record, StepEnded, StepResult, Stream};

const LINES: usize = 1_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::temp_dir().join(format!("windlass-bench-{}", std::process::id()));
    // As the shim reads its pipe: up to 64 KiB at once; and the worst case, line by line.
    for (name, lines_per_record) in [("64 KiB writes", 650), ("line by line", 1)] {
        println!("{name}:");
        let done = bench(&dir, lines_per_record);
        fs::remove_dir_all(&dir)?;
        done?;
    }
    Ok(())
}

/// Both clocks at one moment.
struct Clocks(Duration, Instant);

impl Clocks {
    fn now() -> Self {
        Self(processor_time(), Instant::now())
    }
}

/// Linux tells it in nanoseconds as the first number; elsewhere the figure is 0.
fn processor_time() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = schedstat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

fn bench(dir: &std::path::Path, lines_per_record: usize) -> Result<(), Box<dyn Error>> {
    let (journal, bytes) = journal(lines_per_record);
    let report = |what: &str, began: Clocks, bytes: u64| {
        let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
        let (busy, clock) = (processor_time() - began.0, began.1.elapsed());
        println!(
            "  {what:<22} {:>7.0} MB/s busy, {:>7.0} MB/s by the clock",
            rate(busy),
            rate(clock)
        );
    };

    let began = Clocks::now();
    let (mut decoder, mut records) = (Decoder::default(), 0);
    for piece in journal.chunks(256 * 1024) {
        decoder.push(piece, |entry, _| records += u64::from(entry.is_ok()));
    }
    report("decode alone", began, bytes);
    println!("  {records} records");

    let began = Clocks::now();
    let mut recorder = Recorder::open(dir)?;
    for piece in journal.chunks(256 * 1024) {
        recorder.push(piece)?;
        recorder.confirm()?;
    }
    drop(recorder);
    report("record", began, bytes);

    let mut reader = LogReader::open(dir, 0)?;
    let began = Clocks::now();
    reader.copy_to(0..u64::MAX, &mut io::sink())?;
    report("read, raw", began, bytes);

    let began = Clocks::now();
    let sealed = seal(dir)?;
    report("seal", began, bytes);
    let stored = sealed.first().map_or(0, |s| s.meta.stored_bytes);
    println!(
        "  stored: {:.1} % of the output",
        stored as f64 * 100.0 / bytes as f64
    );

    let mut reader = LogReader::open(dir, 0)?;
    let began = Clocks::now();
    reader.copy_to(0..u64::MAX, &mut io::sink())?;
    report("read, sealed", began, bytes);

    let began = Clocks::now();
    let (mut renderer, mut row_bytes, mut html) = (Renderer::new(), Vec::new(), String::new());
    let mut from = 0;
    loop {
        let rows = reader.row_range(from, 500)?;
        if rows.is_empty() {
            break;
        }
        from += rows.len() as u64;
        html.clear();
        for row in rows {
            reader.row_bytes(&row, &mut row_bytes)?;
            renderer.row(&row_bytes, &mut html);
        }
    }
    report("read rows and render", began, bytes);

    let coloured = b"\x1b[32m   Compiling\x1b[0m serde v1.0.228 (https://docs.example/serde)\n";
    let coloured = coloured.repeat(100_000);
    let began = Clocks::now();
    for row in coloured.split_inclusive(|b| *b == b'\n') {
        html.clear();
        renderer.row(row, &mut html);
    }
    report("render colours, links", began, coloured.len() as u64);
    let began = Clocks::now();
    let stripped = strip(&coloured);
    report("strip", began, coloured.len() as u64);
    assert!(stripped.len() < coloured.len());

    let began = Clocks::now();
    let mut at = 12_345;
    for _ in 0..1000 {
        at = (at * 7919) % bytes;
        let row = reader.row_at_offset(at)?.ok_or("no row")?;
        reader.row_range(row.number, 500)?;
    }
    println!(
        "  a random window of 500 rows, sealed: {:.2} ms",
        began.1.elapsed().as_secs_f64()
    );
    Ok(())
}

fn journal(lines_per_record: usize) -> (Vec<u8>, u64) {
    let mut encoder = Encoder::new();
    let mut journal = Vec::new();
    let mut now = 1_764_000_000_000_000;
    encoder.encode(
        now,
        &Record::StepStarted {
            step: 0,
            background: false,
        },
        &mut journal,
    );
    let (mut pending, mut written) = (Vec::new(), 0);
    for i in 0..LINES {
        let number = i * 7919 % LINES;
        let line = format!(
            "{i:>8} test suite::module_{:04}::case_{number:07} ... ok",
            number % 977
        );
        pending.extend_from_slice(format!("{line:<99}\n").as_bytes());
        if (i + 1) % lines_per_record == 0 || i + 1 == LINES {
            now += 10;
            encoder.output(now, 0, Stream::Merged, &pending, &mut journal);
            written += pending.len() as u64;
            pending.clear();
        }
    }
    let end = StepEnded {
        result: StepResult::Exited { code: 0 },
        output_bytes: written,
        left_out_bytes: 0,
        duration_us: 0,
        leftovers: 0,
    };
    encoder.encode(now, &Record::StepEnded { step: 0, end }, &mut journal);
    (journal, written)
}
