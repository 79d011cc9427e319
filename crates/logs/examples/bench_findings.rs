//! Figures: `cargo run --release -p windlass-logs --example bench_findings`
//!
//! Logs of about 200 MB. "A build" is what cargo, CMake, apt and a test runner print for a large
//! project, lines of all lengths, and a failure at the end. The next two are made of the corpus in
//! `tests/corpus` and harder than any build: every third line speaks of errors though nothing
//! failed, and nothing but failures. MB/s are of
//! the log's bytes, by this thread's time on a processor (which other work on the machine does not
//! change) and by the clock.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use windlass_logs::findings::{Finder, Known, Learner, Sketch};

const BYTES: usize = 200_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut passing, mut failing) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(corpus)? {
        let path = entry?.path();
        let is_green = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("green-"));
        if path.is_dir() {
            let log = fs::read(path.join("log"))?;
            if is_green { &mut passing } else { &mut failing }.push(log);
        }
    }
    let mut words = Vec::with_capacity(BYTES + 1_000_000);
    let mut round = 0;
    while words.len() < BYTES {
        round += 1;
        for log in &passing {
            words.extend_from_slice(log);
            words.extend_from_slice(format!("[{round}] step done in {round}.25s\n").as_bytes());
        }
    }
    let mut build = a_build();
    let learnt = learn(&build);
    build.extend_from_slice(&failing[0]);
    let mut errors = Vec::with_capacity(BYTES + 1_000_000);
    while errors.len() < BYTES {
        for log in &failing {
            errors.extend_from_slice(log);
        }
    }
    let plain = format!(
        "{}\n",
        "the quick brown fox 0123456789 jumps over the lazy dog; ".repeat(2)
    );
    let plain = plain.repeat(BYTES / plain.len());

    for (name, log) in [
        ("a build", &build),
        ("words of errors", &words),
        ("nothing but errors", &errors),
        ("plain lines", &plain.into_bytes()),
    ] {
        rate(&format!("{name}: learn"), log.len(), || {
            black_box(learn(log));
        });
        rate(&format!("{name}: find"), log.len(), || {
            let mut finder = Finder::new(Known::default());
            for piece in log.chunks(256 * 1024) {
                finder.push(piece);
            }
            black_box(finder.finish(true));
        });
        rate(&format!("{name}: find what is new"), log.len(), || {
            let mut known = Known::default();
            known.add("build 1", learnt.clone());
            let mut finder = Finder::new(known);
            for piece in log.chunks(256 * 1024) {
                finder.push(piece);
            }
            black_box(finder.finish(true));
        });
    }
    Ok(())
}

/// What a large build prints while all goes well, with a warning now and then.
fn a_build() -> Vec<u8> {
    use std::io::Write as _;
    let mut log = Vec::with_capacity(BYTES + 1_000_000);
    let mut n = 0_u64;
    while log.len() < BYTES {
        n += 1;
        let name = format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44);
        let lines = match n % 12 {
            0 => format!(
                "\x1b[1m\x1b[32m   Compiling\x1b[0m crate-{name} v{}.{}.0\n",
                n % 9,
                n % 7
            ),
            1 => format!(
                "[{:>3}%] Building CXX object src/{name}/CMakeFiles/{name}.dir/module_{n}.cc.o\n",
                n % 100
            ),
            2 => format!(
                "/usr/bin/c++ -DNDEBUG -I/build/include -I/build/third_party/{name}/include -O2 -g -fPIC -Wall -Wextra -std=c++20 -MD -MT src/{name}.cc.o -MF src/{name}.cc.o.d -o src/{name}.cc.o -c /build/src/{name}.cc\n"
            ),
            3 => format!(
                "        PASS [   0.{:03}s] project::{name} tests::reads_{name}_number_{n}\n",
                n % 1000
            ),
            4 => format!(
                "2026-11-28T00:47:{:02}.{:06}Z  INFO server::{name}: request finished status=200 path=/api/v1/{name}/{n} ms={}\n",
                n % 60,
                n % 1_000_000,
                n % 50
            ),
            5 => format!(
                "Get:{n} http://packages.test/debian bookworm/main amd64 lib{name} amd64 1.{n}-2 [{} kB]\n",
                n % 5000
            ),
            6 => format!("test {name}::tests::case_{n} ... ok\n"),
            7 => format!(
                "=== RUN   Test{name}/sub_{n}\n--- PASS: Test{name}/sub_{n} (0.{:02}s)\n",
                n % 100
            ),
            8 => format!(
                "copying build/lib/{name}/module_{n}.py -> build/bdist.linux-x86_64/wheel/{name}\n"
            ),
            9 => format!("  {name} 20% [===>      ]\r  {name} 100% [==========]\n"),
            10 if n % 300 == 10 => format!(
                "src/{name}.cc:{}:7: warning: unused variable 'x' [-Wunused-variable]\n",
                n % 900
            ),
            10 => format!(
                "    at com.example.{name}.Handler.lambda$handle$0(Handler.java:{})\n",
                n % 900
            ),
            _ => format!(
                "Step {n}: uploaded {name} ({} bytes, sha256 {:016x}{:016x})\n",
                n * 31,
                n.wrapping_mul(77_777_777_777),
                n
            ),
        };
        // Writing to memory can't fail.
        let _ = log.write_all(lines.as_bytes());
    }
    log
}

fn learn(log: &[u8]) -> Sketch {
    let mut learner = Learner::default();
    for piece in log.chunks(256 * 1024) {
        learner.push(piece);
    }
    learner.finish()
}

fn rate(what: &str, bytes: usize, work: impl FnOnce()) {
    let (busy, clock) = (processor_time(), Instant::now());
    work();
    let (busy, clock) = (processor_time() - busy, clock.elapsed());
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{what:<36} {:>6.0} MB/s busy, {:>6.0} MB/s by the clock",
        rate(busy),
        rate(clock)
    );
}

/// Linux tells it in nanoseconds as the first number; elsewhere the figure is 0.
fn processor_time() -> Duration {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = schedstat.split(' ').next().and_then(|n| n.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}
