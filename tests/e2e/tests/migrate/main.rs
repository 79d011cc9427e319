//! `windlass migrate` as a program, against real databases, which each test starts for itself on a
//! free port: PostgreSQL, PgBouncer, MariaDB, SQLite. Processes are really killed and really paused.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

mod beside;
mod crash;
mod data;
mod dump;
mod files;
mod flyway;
mod gate;
mod history;
mod locks;
mod locks_elsewhere;
mod message;
mod partners;
mod partners_rust;
mod prove;
mod recipes;
mod rehearse;
mod rehearse_elsewhere;
mod repeatable;
mod scene;
mod scratch;
mod servers;
mod start;
mod storm;
