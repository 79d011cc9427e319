//! HTTP: hooks in; pages, the API and live logs out.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | which URL is answered by what | [`routes`] |
//! | how a path is written: nothing else builds paths | [`urls`] |
//! | what the server must be given | [`state`] |
//! | webhooks | `hooks.rs` |
//! | a page | `pages/<page>.rs` and `templates/<page>.html` |
//! | the JSON API | `api/<resource>.rs` |
//! | cancel, retry, build by hand, replay | [`actions`] |
//! | what a path names: repository, build, attempt, step | `places.rs` |
//! | a log as text: ranges, tail, follow | `log_text.rs` |
//! | what went wrong in a step, first | [`findings`]; its API and the search over builds: `api/findings.rs` |
//! | a log as text: ranges, tail, follow; lines, grep, time stamps | `log_text.rs`, `log_lines.rs` |
//! | a log's rows as HTML | `log_rows.rs` |
//! | windows of a log, searches in it, its groups, as JSON | `log_find.rs` |
//! | server-sent events: a log, states, lists | `live/log.rs`, `live/states.rs` |
//! | what many followers of one log share | `live/shared.rs` |
//! | who may do what; login, sessions, CSRF | `auth.rs` |
//! | searching the output of all builds | `search.rs` |
//! | the logs of services, alone and interleaved | `services.rs` |
//! | artifacts: pages, files, archives | `artifacts.rs` |
//! | logs that are in the archive only | `copies.rs` |
//! | headers on everything, which `Host` is ours | `headers.rs` |
//! | as what a whole log is sent: zstd, gzip | `coding.rs` |
//! | what an error looks like: page, JSON or text | `error.rs` |
//! | ages, durations, sizes, icons and words of states | `text.rs` |
//! | style sheet, script, icons | `assets.rs` and `assets/` |
//!
//! Everything here reads the store and the log files, and writes rows: it starts no build and
//! reaches into no process.

pub mod actions;
pub mod findings;
pub mod routes;
pub mod serve;
pub mod state;
pub mod urls;

mod api;
mod artifacts;
mod assets;
mod auth;
mod coding;
mod copies;
mod error;
mod headers;
mod hooks;
mod live;
mod log_find;
mod log_lines;
mod log_rows;
mod log_text;
mod pages;
mod places;
mod search;
mod services;
mod text;

pub use actions::{RefError, Refs};
pub use artifacts::{ArtifactFile, Artifacts};
pub use copies::{CopiedLine, CopiedLines, LogCopies};
pub use pages::nodes::Cluster;
pub use routes::router;
pub use serve::serve;
pub use state::AppState;
