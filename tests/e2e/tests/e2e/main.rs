//! The real program against real parts: a real git over HTTP, real processes that are killed, a
//! real browser. Only GitHub itself is a fake, which checks every request against GitHub's own
//! description.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

mod archive;
mod background;
#[expect(dead_code, reason = "the checkout tests use more of it")]
#[path = "../../../../crates/engine/tests/checkout/bridge.rs"]
mod bridge;
mod browser;
mod by_hand;
mod command_line;
mod containers;
mod demo;
mod example_migrations;
mod examples;
mod findings;
mod forge;
mod full_disk;
mod git_hook;
mod include;
mod jobs;
mod lab;
mod live;
mod migrate_lint;
#[path = "../../../../crates/archive/tests/archive/moto.rs"]
mod moto;
mod own_database;
mod registry;
mod remote_daemon;
mod restart;
mod results;
mod search;
#[expect(dead_code, reason = "the tests of migrations use more of it")]
#[path = "../migrate/servers.rs"]
mod servers;
mod service_logs;
mod swarm;
mod swarm_cut_off;
mod swarm_lab;
mod swarm_stack;
mod triggers;
