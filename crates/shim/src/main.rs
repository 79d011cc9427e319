//! The program beside a job: `windlass-shim run <attempt folder>`, or `stream` where the journal is
//! to go to standard output, or `ship <assignment>` on a machine that is not the server's.
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
//! | the network between nodes, for `windlass cluster doctor` | `meet.rs` |
//! | on another machine: files from the server, the journal to it | `ship.rs`, `ship/server.rs` |
//! | the same while the server can't be reached | `ship/aloud.rs` |

mod cgroup;
mod control;
mod crew;
mod gate;
mod mask;
mod meet;
mod needles;
mod output;
mod program;
mod ready;
mod run;
mod ship;
mod spawn;
mod step;
mod tree;
mod writer;

use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::process::exit;
use std::time::Duration;

use windlass_shim::order::{PROBE, STREAM};
use windlass_shim::remote::{MEET, SHIP};

use crate::writer::Carrier;

/// The exit code for a wrong command line.
const EXIT_USAGE: i32 = 2;
/// The exit code when the journal is missing or not whole.
const EXIT_BROKEN: i32 = 1;
/// How long a connection may take.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [verb, folder] = &arguments[..] else {
        usage();
    };
    let carrier = match verb.to_str() {
        Some("run") => Carrier::File,
        Some(STREAM) => Carrier::Stdout,
        Some(SHIP) => exit(ship::ship(Path::new(folder))),
        Some(MEET) => exit(meet::meet(&folder.to_string_lossy())),
        Some(PROBE) => exit(probe(&folder.to_string_lossy())),
        _ => usage(),
    };
    let code = run::run(Path::new(folder), carrier).unwrap_or_else(|e| {
        eprintln!("windlass-shim: {}: {e}", Path::new(folder).display());
        EXIT_BROKEN
    });
    exit(code);
}

/// Whether something accepts connections there: 0, or [`EXIT_BROKEN`].
fn probe(address: &str) -> i32 {
    // A name (a service's own, for example) may have several addresses.
    let addresses = address.to_socket_addrs().into_iter().flatten();
    let mut tried = addresses.map(|at| TcpStream::connect_timeout(&at, PROBE_LIMIT));
    if tried.any(|connected| connected.is_ok()) {
        0
    } else {
        EXIT_BROKEN
    }
}

fn usage() -> ! {
    eprintln!(
        "usage: windlass-shim run|stream <attempt folder>, ship <assignment>, probe <HOST:PORT>, or meet <meeting>"
    );
    exit(EXIT_USAGE)
}
