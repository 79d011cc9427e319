//! `windlass`: one program, from a pushed commit to a running release.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | a command | `cli/<command>.rs` |
//! | the life of a build on the server | `worker.rs` and below |
//! | a delivery becomes a build | `intake.rs` |
//! | statuses go out | `reporter.rs` |
//! | copies of logs go out, and come back | `archiver.rs`, `archive.rs` |
//! | pushes to a plain git repository | `spool.rs` |
//! | what the steps' ends mean for the build | `verdict.rs` |
//! | where data lies | `folders.rs` |
//! | words of errors, exit codes | `report.rs` |

mod archive;
mod archiver;
mod cli;
mod client;
mod demo;
mod door;
mod executors;
mod folders;
mod intake;
mod outputs;
mod report;
mod reporter;
mod results;
mod server;
mod shelf;
mod spec_file;
mod spool;
mod terminal;
mod verdict;
mod waiting;
mod worker;

fn main() -> std::process::ExitCode {
    cli::main()
}
