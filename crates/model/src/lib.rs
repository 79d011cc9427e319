//! The vocabulary of Windlass as data: what a build is, why it exists, which states it may take.
//!
//! Everybody may use this crate; it uses nobody. There is no I/O, no clock and no async here.
//! Read it in this order: [`trigger`] (why), [`plan`] (what; its conditions are [`expression`]s
//! over [`facts`]), [`state`] and [`board`] (how far), [`outcome`]
//! (how it ended), [`node`] (on which machine), [`diagnostic`] (what is wrong with a file), [`ids`] and [`secret`].

pub mod board;
pub mod diagnostic;
pub mod expression;
pub mod facts;
pub mod glob;
pub mod ids;
pub mod node;
pub mod outcome;
pub mod plan;
pub mod secret;
pub mod state;
pub mod status;
pub mod trigger;

pub use board::JobState;
pub use diagnostic::{Diagnostic, Severity};
pub use facts::Facts;
pub use ids::{AttemptId, BuildNumber, RepoName};
pub use node::{Node, NodeJob};
pub use outcome::{Outcome, StopCause};
pub use plan::{JobPlan, Plan, StepPlan};
pub use secret::Secret;
pub use state::BuildState;
pub use trigger::{Event, Revision, Trigger};
