//! A plan becomes running steps: checkout, orders, executors.
//!
//! Knows no database and no HTTP server. `windlass run` on a laptop and the server's worker go
//! through the same functions here.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | how the git command is called | [`git`] |
//! | a revision brought into a workspace, mirrors, hostile repositories | [`checkout`] |
//! | what a person's checkout has changed, what a local commit says | [`local`] |
//! | a plan's job as the shim's order; what a step's environment holds | [`order`] |
//! | the four verbs of an executor | [`executor`] |
//! | processes on this machine | [`executor::process`] |
//! | what a job leaves behind: artifacts, caches, reports | [`results`] |
//! | steps that make container images | [`image_build`] |
//! | a plan as a shell script, or in words | [`by_hand`] |

pub mod by_hand;
pub mod checkout;
pub mod executor;
pub mod git;
pub mod image_build;
pub mod local;
pub mod order;
pub mod results;
pub mod schedule;
