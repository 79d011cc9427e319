//! Figures: `cargo run --release -p windlass-logs --example bench_seal -- FOLDER`
//!
//! Records every file of a folder of real logs as the log of a step, and seals it, as the server does
//! at the end of a job. The figures in docs/bench.md are of the 22 logs of Firefox's CI in
//! `tests/sample_data/logs` of Mozilla's Treeherder (github.com/mozilla/treeherder, MPL-2.0), unpacked.
//! Beside it the parts that nobody can leave out: the checksum, and zstd with the same level over the
//! same bytes in frames of the same size. MB/s are of the logs' bytes, by this thread's time on a
//! processor. With `--figures`, one `name<TAB>value` per line.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use windlass_logs::{LogReader, Recorder, seal, seekable};
use windlass_shim::journal::{Encoder, Record, StepEnded, StepResult, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    let mut folder = None;
    let mut figures = false;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--figures" => figures = true,
            _ => folder = Some(arg),
        }
    }
    let folder = folder.ok_or("name a folder with logs")?;
    let mut logs = Vec::new();
    collect(Path::new(&folder), &mut logs)?;
    let bytes: usize = logs.iter().map(Vec::len).sum();
    if bytes == 0 {
        return Err(format!("there is no log in {folder}").into());
    }
    let dir = std::env::temp_dir().join(format!("windlass-bench-seal-{}", std::process::id()));
    let mut sums = Sums::default();
    for log in &logs {
        let measured = one(&dir, log, &mut sums);
        fs::remove_dir_all(&dir)?;
        measured?;
    }
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    let ratio = |stored: u64| bytes as f64 / stored as f64;
    let tell = |name: &str, value: f64, unit: &str| match figures {
        true => println!("{name}\t{value}"),
        false => println!("{name:<32} {value:>8.1} {unit}"),
    };
    tell("logs", logs.len() as f64, "");
    tell("bytes", bytes as f64 / 1e6, "MB");
    tell("lines", sums.rows as f64, "");
    tell("record", rate(sums.record), "MB/s");
    tell("seal", rate(sums.seal), "MB/s");
    tell("sha256", rate(sums.sha), "MB/s");
    tell("zstd", rate(sums.zstd), "MB/s");
    tell("read", rate(sums.read), "MB/s");
    tell("ratio of the log", ratio(sums.log), "x");
    tell("ratio with the index", ratio(sums.stored), "x");
    Ok(())
}

#[derive(Default)]
struct Sums {
    rows: u64,
    record: Duration,
    seal: Duration,
    sha: Duration,
    zstd: Duration,
    read: Duration,
    /// Bytes on the disk: of the logs, and with their indices.
    log: u64,
    stored: u64,
}

fn collect(folder: &Path, logs: &mut Vec<Vec<u8>>) -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<_> = fs::read_dir(folder)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, logs)?;
        } else {
            logs.push(fs::read(&path)?);
        }
    }
    Ok(())
}

fn one(dir: &Path, log: &[u8], sums: &mut Sums) -> Result<(), Box<dyn Error>> {
    let journal = journal(log);
    let busy = processor_time();
    let mut recorder = Recorder::open(dir)?;
    for piece in journal.chunks(256 * 1024) {
        recorder.push(piece)?;
        recorder.confirm()?;
    }
    drop(recorder);
    sums.record += processor_time() - busy;

    let busy = processor_time();
    let sealed = seal(dir)?;
    sums.seal += processor_time() - busy;
    let meta = &sealed.first().ok_or("nothing was sealed")?.meta;
    sums.rows += meta.rows;
    sums.stored += meta.stored_bytes;
    let name = match dir.join("0.log.zst") {
        sealed if sealed.exists() => sealed,
        _ => dir.join("0.log"),
    };
    sums.log += fs::metadata(name)?.len();

    let busy = processor_time();
    let sum = hex::encode(Sha256::digest(log));
    sums.sha += processor_time() - busy;
    let busy = processor_time();
    seekable::compress(&mut &*log, &mut std::io::sink())?;
    sums.zstd += processor_time() - busy;
    let busy = processor_time();
    let mut reader = LogReader::open(dir, 0)?;
    let read = reader.copy_to(0..u64::MAX, &mut std::io::sink())?;
    sums.read += processor_time() - busy;
    if sum != meta.sha256 || read != log.len() as u64 {
        return Err("what was sealed is not what was printed".into());
    }
    Ok(())
}

/// A journal as the shim writes it for a program that prints some lines at a time.
fn journal(log: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut journal = Vec::new();
    let mut now = 1_764_000_000_000_000;
    let begin = Record::StepStarted {
        step: 0,
        background: false,
    };
    encoder.encode(now, &begin, &mut journal);
    let mut rest = log;
    let mut turn = 0_u64;
    while !rest.is_empty() {
        // Between one line and some dozens, and between microseconds and half a second.
        turn = turn.wrapping_mul(6_364_136_223_846_793_005) + 1_442_695_040_888_963_407;
        let wanted = 1 << (turn >> 33 & 7);
        let len = memchr::memchr_iter(b'\n', rest)
            .nth(wanted)
            .map_or(rest.len(), |at| at + 1)
            .min(64 * 1024);
        let (piece, later) = rest.split_at(len);
        now += (turn >> 40 & 0x7_ffff) as i64;
        encoder.output(now, 0, Stream::Merged, piece, &mut journal);
        rest = later;
    }
    let end = StepEnded {
        result: StepResult::Exited { code: 0 },
        output_bytes: log.len() as u64,
        left_out_bytes: 0,
        duration_us: 0,
        leftovers: 0,
    };
    encoder.encode(now, &Record::StepEnded { step: 0, end }, &mut journal);
    journal
}

/// Linux tells it in nanoseconds as the first number; elsewhere the figure is 0.
fn processor_time() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = schedstat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}
