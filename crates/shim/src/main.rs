//! The program beside a job: `windlass-shim run <attempt folder>`.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | the attempt from lock to last record | `run.rs` |
//! | all steps that run at a time: the loop around one `poll` | `crew.rs` |
//! | when a background step is ready | `ready.rs` |
//! | one step: its phases, timeouts, result | `step.rs` |
//! | finding the program, its environment, words for failures | `program.rs` |
//! | fork, exec, wait: the unsafe code | `spawn.rs` |
//! | finding and killing a process tree | `tree.rs` |
//! | limits | `cgroup.rs` |
//! | pipes and the terminal | `output.rs` |
//! | masking, and the forms of a secret | `mask.rs`, `needles.rs` |
//! | cancel, signals, waiting | `control.rs` |
//! | the journal file, a full disk | `writer.rs` |

mod cgroup;
mod control;
mod crew;
mod mask;
mod needles;
mod output;
mod program;
mod ready;
mod run;
mod spawn;
mod step;
mod tree;
mod writer;

use std::path::Path;
use std::process::exit;

/// The exit code for a wrong command line.
const EXIT_USAGE: i32 = 2;
/// The exit code when the journal is missing or not whole.
const EXIT_BROKEN: i32 = 1;

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [verb, folder] = &arguments[..] else {
        usage();
    };
    if verb != "run" {
        usage();
    }
    let code = run::run(Path::new(folder)).unwrap_or_else(|e| {
        eprintln!("windlass-shim: {}: {e}", Path::new(folder).display());
        EXIT_BROKEN
    });
    exit(code);
}

fn usage() -> ! {
    eprintln!("usage: windlass-shim run <attempt folder>");
    exit(EXIT_USAGE)
}
