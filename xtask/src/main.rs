//! Developer commands: `cargo xtask ci`, `test`, `tidy`, `bench`.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | what CI runs, in which order | `ci.rs` |
//! | what a machine needs, and how it gets it | `machine.rs` |
//! | the rules about files, words and crates | `tidy.rs`, `tidy/` |
//! | the measurements | `bench.rs`, `bench/` |
//! | other versions of PostgreSQL and MySQL for the tests | `databases.rs` |
//! | the tests' Docker daemon, Swarm and images | `lab.rs`, `tests/lab/swarm.sh` |
//! | how a command is run and timed | `command.rs` |

mod bench;
mod ci;
mod command;
mod databases;
mod lab;
mod machine;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask ci              everything that CI runs, after installing what it needs
cargo xtask test [ARGS]     build and test, ARGS go to cargo nextest run
cargo xtask lab up|down     the tests' Docker daemon and Swarm; `test` starts it, `ci` also stops it
cargo xtask databases [NAME...]  the tests of migrations on postgres-14, postgres-18 and mysql-8.0
cargo xtask tidy            the rules about files, words and crates
cargo xtask bench [NAME...] measure the release build: noop lines window idle throughput shim
                            spec docker swarm";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match args.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", &[][..]),
    };
    let done = match verb {
        "ci" if rest.is_empty() => return ci::ci(),
        "test" => ci::test(rest),
        "lab" if *rest == ["up"] => lab::up(),
        "lab" if *rest == ["down"] => lab::down(),
        "databases" => databases::run_all(rest),
        "tidy" if rest.is_empty() => tidy::run(),
        "bench" => bench::run(rest),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(anyhow::anyhow!("{} is not known\n{USAGE}", args.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
fn target_dir() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    root().join(named.unwrap_or_else(|| "target".into()))
}
