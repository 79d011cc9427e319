//! What a shim on another machine and its server say to each other: HTTP requests of the shim to the
//! attempt's address, each with the attempt's token.
//!
//! | request | what it does |
//! | --- | --- |
//! | `GET files` | a tar archive of what the attempt begins with: `shim/order.json`, `src/`, `home/` |
//! | `POST journal?at=N` | the journal's bytes from offset N on; the answer is how many bytes the server has |
//! | `GET orders` | waits until there is something to do, or for a while: [`CANCEL`](crate::order::CANCEL) or nothing |
//! | `PUT results` | a tar archive of what the job leaves behind |
//! | `POST ended` | the program that runs the steps is dead, and why: the journal stays without an end |
//!
//! An offset that the server acknowledged is the server's; nothing else is ever dropped. The first
//! runner (a random word, chosen by a shim when it starts) that asks for anything has the attempt; any other
//! one is refused with [`TAKEN`]. An attempt that is over is [`GONE`].
//!
//! A shim that was not answered for [`SILENCE`] prints what it has to tell, too ([`crate::frame`]); a server
//! that heard nothing for as long reads it through the managers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::order::Secrets;

/// The shim's verb for a container that can't be reached: it asks the server for everything. Its
/// argument is the path of an [`Assignment`].
pub const SHIP: &str = "ship";

/// The folder in the container below which everything is unpacked.
pub const ROOT: &str = "/windlass";

/// The header with the runner's word.
pub const RUNNER: &str = "windlass-runner";

/// The status for a token that is wrong.
pub const DENIED: u16 = 401;
/// The status for a second container of one attempt.
pub const TAKEN: u16 = 409;
/// The status for an attempt that is over, or was never there.
pub const GONE: u16 = 410;

/// The status for results that can't be unpacked: trying again would be in vain.
pub const USELESS: u16 = 422;

/// The most that one `POST journal` may carry, in bytes.
pub const MOST: usize = 1 << 20;

/// Without a word for so long, either side takes the second way beside the first. A shim asks for orders
/// at least every 20 s.
pub const SILENCE: Duration = Duration::from_secs(25);

/// Where the archive of what the attempt begins with lies in a container that has no other way to it, in
/// parts: this with `.0`, `.1` and so on.
pub const CARRIED: &str = "/.windlass/files";

/// What a shim gets to begin with, as a file that only its container can read.
#[derive(Clone, Serialize, Deserialize)]
pub struct Assignment {
    /// The attempt's address, without a slash at the end: `http://ci.example:8081/attempts/a17`.
    pub url: String,
    /// Proves that this is the attempt's shim.
    pub token: String,
    /// As whom the steps run, as Docker writes it (`name`, `1000:1000`); `None` is as whom the
    /// container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// In so many parts lies what the attempt begins with, at [`CARRIED`]; 0: the server is asked for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub carried: usize,
    /// What goes back to the server after the end: paths below [`ROOT`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bring: Vec<String>,
    /// For the steps.
    pub secrets: Secrets,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl std::fmt::Debug for Assignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assignment")
            .field("url", &self.url)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

/// The shim's verb with which it looks at the network between the nodes of a cluster. Its argument is a
/// [`Meeting`] as JSON; it prints a [`Met`].
pub const MEET: &str = "meet";

/// Whom to meet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meeting {
    /// A name that stands for the addresses of all who meet.
    pub peers: String,
    /// The port on which each listens.
    pub port: u16,
    /// How long each stays.
    pub seconds: u64,
    /// `host:port` of the server, which each tries, too.
    pub server: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// For each that was met (also oneself): by how many microseconds its clock is ahead.
    pub skews_us: Vec<i64>,
    /// Why the server could not be reached, if it could not.
    pub server: Option<String>,
}
