//! The program beside a job, and the formats that it shares with the server.
//!
//! The server places one shim per job attempt, with an [`order`], and then only follows. The shim
//! runs the steps, owns their output, enforces their limits, kills whole process trees, masks
//! secrets and writes the [`journal`]. It needs no server to finish its job.
//!
//! This crate uses no other crate of ours and no async runtime: the program must stay small and
//! static, because later it is copied into containers.

pub mod archive;
pub mod frame;
pub mod journal;
pub mod order;
pub mod remote;
