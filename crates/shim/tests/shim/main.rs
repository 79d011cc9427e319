//! The shim as a real process, with real programs, by the journal that it leaves.
//!
//! Needs what CI has: Linux, root, cgroups and mounting. A test that lacks one of them fails and
//! says how to get it.

#![expect(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not their helpers"
)]

mod attempt;
mod background;
mod ends;
mod limits;
mod load;
mod output;
mod secrets;
mod start;
mod tree;
