//! A revision becomes a workspace: a local mirror per repository, and fresh folders out of it.
//!
//! What is fetched is written by strangers, and what is asked for may be too (a submodule's URL, a
//! branch name). So every name is vetted before git sees it, every object is checked by git when it
//! arrives (`transfer.fsckObjects`), and nothing that a repository holds is ever configuration.
//!
//! | I look for | it is in |
//! | --- | --- |
//! | what may stand as URL or ref | `checkout/url.rs` |
//! | what went wrong, and what helps | `checkout/error.rs` |
//! | which words of git mean what | `checkout/complaint.rs` |
//! | the mirror: lock, healing, repacking | `checkout/mirror.rs`, `lock.rs` |
//! | fetching, and how deep the history is | `checkout/fetch.rs`, `history.rs` |
//! | how git runs | `../git.rs`, `checkout/process.rs` |
//! | the workspace | `checkout/workspace.rs` |
//! | submodules | `checkout/submodules.rs` |
//! | tags of a whole history | `checkout/tags.rs` |
//! | reading the spec out of a workspace | `checkout/root_file.rs` |

use windlass_model::Secret;

mod complaint;
mod error;
mod fetch;
mod history;
mod lock;
mod mirror;
pub(crate) mod process;
mod root_file;
mod submodules;
mod tags;
mod url;
mod workspace;

pub use error::CheckoutError;
pub use mirror::{Fetched, Mirror, default_branch, resolve_head};
pub use root_file::read_root_file;
pub use workspace::{checkout, own_objects};

/// Who we are for the server of a [`Source`]. Sent to exactly that scheme, host and port.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The user name: `x-access-token` for a GitHub App's token, `git` or anything for most others.
    pub username: String,
    /// The password or token.
    pub password: Secret,
}

/// Where a repository is fetched from.
#[derive(Debug, Clone)]
pub struct Source {
    /// `https://`, `http://`, `ssh://`, `git://`, `file://`, `user@host:path` or an absolute path.
    pub url: String,
    /// For http and https only; ssh uses the agent and the keys of the user who runs Windlass.
    pub credential: Option<Credential>,
    /// The ref through which the revision can be fetched when the server refuses bare commit ids:
    /// `refs/heads/main`, `refs/pull/7/head`.
    pub git_ref: Option<String>,
}

/// Where lines for people go while it happens: what git says about its progress, one line a call,
/// without line end, at most one progress line per second.
pub type Log<'a> = &'a (dyn Fn(&str) + Send + Sync);
