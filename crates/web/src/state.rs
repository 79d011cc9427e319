//! What the server must be given. The binary makes it; every handler sees it.

use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use windlass_logs::Hub;
use windlass_model::{AttemptId, Secret};
use windlass_store::{SearchIndex, Store};

use crate::actions::Refs;
use crate::artifacts::Artifacts;
use crate::copies::LogCopies;
use crate::pages::nodes::Cluster;

/// Everything that pages, API and hooks stand on.
#[derive(Clone)]
pub struct AppState {
    /// Builds, deliveries, repositories.
    pub store: Store,
    /// Rings when an attempt's logs have grown; the key is the attempt's id (`a17`).
    pub hub: Hub,
    /// The index of words over all logs, if there is one.
    pub index: Option<SearchIndex>,
    /// The folder with a folder of logs for each attempt, named by its id.
    pub logs_root: PathBuf,
    /// The JSON Schema of the build spec, for editors.
    pub schema: Arc<str>,
    /// Who knows where branches and tags stand.
    pub refs: Arc<dyn Refs>,
    /// Who has the artifacts' files.
    pub artifacts: Arc<dyn Artifacts>,
    /// Who knows the nodes of the cluster, if jobs run on one.
    pub cluster: Option<Arc<dyn Cluster>>,
    /// Who has copies of logs elsewhere, if there is an archive.
    pub copies: Option<Arc<dyn LogCopies>>,
    /// Where people and forges reach this server: `https://ci.example.org`, without a slash at the
    /// end.
    pub public_url: String,
    /// The administrator's token. Nobody can log in while it is empty.
    pub token: Secret,
    /// Ends event streams and followed logs, which would otherwise hold up a shutdown for ever.
    pub shutdown: CancellationToken,
    /// Whether reading, too, needs the token.
    pub private: bool,
}

/// The state as handlers share it.
pub(crate) type App = Arc<AppState>;

impl AppState {
    /// The folder with an attempt's logs.
    pub(crate) fn log_folder(&self, attempt: &AttemptId) -> PathBuf {
        self.logs_root.join(attempt.as_str())
    }
}
