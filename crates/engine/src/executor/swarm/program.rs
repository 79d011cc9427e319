//! The program in the container, as Docker configs. A config holds less than a megabyte and the shim
//! has more: it is cut into parts, which a starter of a few kilobytes joins (`crates/shim/stub`).

use std::collections::HashMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::Docker;
use bollard::models::{ConfigSpec, TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile1};
use bollard::query_parameters::ListConfigsOptions;
use sha2::{Digest as _, Sha256};

use super::super::ExecutorError;
use super::super::daemon::{Daemon, has_status};

/// Where the starter lies in a container; the parts have its path with `.0`, `.1` and so on.
pub(super) const STARTER: &str = "/.windlass/start";

/// The largest config of Docker 20.10 has 1,023,999 bytes.
pub(super) const PART: usize = 1_000_000;

/// The label of our configs. They are the same for all servers of one release, so nobody owns them.
const LABEL: &str = "windlass.program";

pub(super) struct Program {
    shim: PathBuf,
    starter: &'static [u8],
    /// The configs' ids, in the order of the parts, the starter first.
    made: tokio::sync::Mutex<Vec<(String, String)>>,
}

impl Program {
    pub(super) fn new(shim: PathBuf, starter: &'static [u8]) -> Self {
        Self {
            shim,
            starter,
            made: tokio::sync::Mutex::default(),
        }
    }

    /// Forgets what was made: somebody removed it.
    pub(super) async fn forget(&self) {
        self.made.lock().await.clear();
    }

    /// The configs as files of a container, made if they are not there.
    pub(super) async fn files(
        &self,
        daemon: &Daemon,
        docker: &Docker,
    ) -> Result<Vec<TaskSpecContainerSpecConfigs>, ExecutorError> {
        let mut made = self.made.lock().await;
        if made.is_empty() {
            *made = self.make(daemon, docker).await?;
            sweep(docker, &made).await;
        }
        let file = |number: usize, (id, name): &(String, String)| match number {
            0 => config_file(id, name, STARTER.to_owned(), 0o555),
            n => config_file(id, name, format!("{STARTER}.{}", n - 1), 0o444),
        };
        Ok(made.iter().enumerate().map(|(n, c)| file(n, c)).collect())
    }

    async fn make(
        &self,
        daemon: &Daemon,
        docker: &Docker,
    ) -> Result<Vec<(String, String)>, ExecutorError> {
        let shim = tokio::fs::read(&self.shim)
            .await
            .map_err(|source| ExecutorError::File {
                doing: "read",
                path: self.shim.clone(),
                source,
            })?;
        let parts = std::iter::once(self.starter).chain(shim.chunks(PART));
        let mut made = Vec::new();
        for part in parts {
            let digest = hex::encode(Sha256::digest(part));
            let name = format!("windlass-program-{}", &digest[..24]);
            let spec = ConfigSpec {
                name: Some(name.clone()),
                labels: Some(HashMap::from([(LABEL.to_owned(), String::new())])),
                data: Some(STANDARD.encode(part)),
                ..ConfigSpec::default()
            };
            let id = match docker.create_config(spec).await {
                Ok(created) => created.id,
                // Another server's, or of a time before: the name says that it is the same.
                Err(e) if has_status(&e, 409) => id_of(daemon, docker, &name).await?,
                Err(e) => return Err(daemon.failed("make a config of the shim", e)),
            };
            made.push((id, name));
        }
        Ok(made)
    }
}

/// A config as a file of a container, which is root's.
pub(super) fn config_file(
    id: &str,
    name: &str,
    path: String,
    mode: u32,
) -> TaskSpecContainerSpecConfigs {
    TaskSpecContainerSpecConfigs {
        config_id: Some(id.to_owned()),
        config_name: Some(name.to_owned()),
        file: Some(TaskSpecContainerSpecFile1 {
            name: Some(path),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            mode: Some(mode),
        }),
        ..TaskSpecContainerSpecConfigs::default()
    }
}

/// Removes what other releases left behind and nobody uses (Docker refuses those that are used).
async fn sweep(docker: &Docker, made: &[(String, String)]) {
    let label = vec![LABEL.to_owned()];
    let options = ListConfigsOptions {
        filters: Some(HashMap::from([("label".to_owned(), label)])),
    };
    for config in docker.list_configs(Some(options)).await.unwrap_or_default() {
        let id = config.id.unwrap_or_default();
        if !made.iter().any(|(ours, _)| *ours == id) {
            docker.delete_config(&id).await.unwrap_or_default();
        }
    }
}

async fn id_of(daemon: &Daemon, docker: &Docker, name: &str) -> Result<String, ExecutorError> {
    let found = docker.inspect_config(name).await;
    let found = found.map_err(|e| daemon.failed("look at a config of the shim", e))?;
    Ok(found.id.unwrap_or_default())
}
