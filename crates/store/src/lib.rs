//! Everything durable in SQL: repositories, deliveries, builds, the queue, the outbox, secrets.
//!
//! The truth is here and never in memory: every part of the server can be killed at any moment and
//! goes on from these rows. What must happen together is one transaction here, one function of
//! [`Store`]: a build, its queue entry, its first status and the acknowledgement of its delivery.
//!
//! Log bytes are not here (files, see the `logs` crate), and neither are YAML, processes or HTTP.

pub mod archive;
pub mod builds;
pub mod db;
pub mod deliveries;
pub mod error;
pub mod failpoint;
pub mod jobs;
pub mod logs;
pub mod outbox;
pub mod queue;
pub mod repos;
pub mod results;
pub mod schedules;
pub mod schema;
pub mod seal;
pub mod search;
pub mod secrets;
mod sql;
pub mod steps;

pub use archive::{ArchiveCopy, ArchiveCount, KeptCopy};
pub use builds::{Attempt, Build, BuildFilter, NewBuild, Submitted};
pub use db::{Place, Store};
pub use deliveries::{Delivery, DeliveryState, NewDelivery, Receipt};
pub use error::StoreError;
pub use jobs::{BuildEnd, Job, Judge};
pub use outbox::OutboxRow;
pub use queue::{Claim, Phase};
pub use repos::{ForgeKind, NewRepo, Repo};
pub use schema::{OnPending, Schema, Standing};
pub use search::SearchIndex;
pub use steps::{PassedRun, Step};
