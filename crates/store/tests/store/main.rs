//! The store against real SQLite files: many workers, dropped transactions, a wrong key, a full
//! disk.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

mod archive;
mod deliveries;
mod home;
mod lab;
mod opening;
mod outbox;
mod queue;
mod schedules;
mod states;
mod upgrades;
