//! The migration tool as a library: read, plan, lock, apply.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | files, their names, directives, checksums | [`folder`] |
//! | versions: 7, 1.4.2, and those of repeatable files | [`version`] |
//! | what would run, and whether an application may start | [`plan`] |
//! | SQL cut into statements | [`sql`] |
//! | the lock, the lease, the fence | [`lock`] |
//! | a lock in Redis in front of it | [`gate`] |
//! | what each database needs | `database` |
//! | up, down, status, verify, repair | [`run`] |
//! | a schema as SQL text | [`dump`] |
//! | what differs between two | [`diff`] |
//! | what differs from what the files make | [`drift`] |
//! | upgrades from each release's schema and rows | [`upgrades`] |
//! | what is dangerous, and the safe way | [`lint`] |
//! | databases that are there for a while | [`scratch`], filled by [`load`] |
//! | old code on the new schema | [`prove`] |
//! | the plan on a copy, measured | [`rehearse`] |
//! | what stops it, and hints | [`error`] |
//!
//! A program that carries its migrations makes its [`Folder`] of texts (`include_str!`), and uses
//! the same runner: `crates/store/src/schema.rs` does that for Windlass's own tables.

mod database;
pub mod diff;
pub mod drift;
pub mod dump;
pub mod error;
pub mod folder;
pub mod gate;
pub mod lint;
pub mod load;
pub mod lock;
pub mod plan;
pub mod prove;
pub mod rehearse;
pub mod release;
pub mod run;
pub mod scratch;
pub mod sql;
pub mod upgrades;
pub mod version;

pub use database::Database;
pub use error::Error;
pub use folder::Folder;
pub use run::Options;
pub use scratch::Scratch;
pub use version::Version;
