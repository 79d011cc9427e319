//! The store against a real PostgreSQL, which each test starts for itself: the same tests as against
//! files, and what only a server can do.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

#[path = "../store/archive.rs"]
mod archive;
mod connections;
#[path = "../store/deliveries.rs"]
mod deliveries;
mod home;
#[path = "../store/lab.rs"]
mod lab;
#[path = "../store/outbox.rs"]
mod outbox;
#[path = "../store/queue.rs"]
mod queue;
#[path = "../store/schedules.rs"]
mod schedules;
mod schema;
#[expect(dead_code, reason = "the tests of migrations use more of it")]
#[path = "../../../../tests/e2e/tests/migrate/servers.rs"]
mod servers;
#[path = "../store/states.rs"]
mod states;
