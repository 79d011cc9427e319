//! Forges: what they send becomes a trigger, what a build becomes is told to them.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | whether a delivery is genuine | [`signature`] |
//! | what a delivery is turned into | [`incoming`] |
//! | GitHub's webhooks, repository names, API addresses | [`github`] |
//! | GitHub's commit statuses: sending, retrying, back-off | [`github::statuses`] |
//! | a bare git repository with a post-receive hook | [`plain_git`] |
//! | `[skip ci]` | `skip.rs` |
//! | branch or tag, and names that no git accepts | `git_ref.rs` |
//! | cutting and cleaning what strangers wrote | `people.rs` |
//! | the HTTP client for all of it | [`http`] |
//! | a GitHub for tests (feature `testing`) | `testing.rs` |
//!
//! No database and no server: the caller stores, retries and answers.

mod git_ref;
pub mod github;
pub mod http;
pub mod incoming;
mod people;
pub mod plain_git;
pub mod report;
pub mod signature;
mod skip;
#[cfg(feature = "testing")]
pub mod testing;

pub use http::http_client;
pub use incoming::{Incoming, Meaning, PayloadError, RepositoryIdentity};
