//! What an attempt begins with, for a container that can't fetch it from this server: as Docker configs, which
//! the managers hand to its node.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::Docker;
use bollard::models::{ConfigSpec, TaskSpecContainerSpecConfigs};
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::remote::CARRIED;

use super::SwarmExecutor;
use super::desk::Place;
use super::program::{PART, config_file};
use crate::executor::ExecutorError;

/// The managers keep all configs in memory, and hand each other every byte: more than this is not theirs
/// to carry.
pub(super) const LIMIT: usize = 16 * PART;

/// So long a container that could not reach us speaks for all.
const MEMORY: Duration = Duration::from_secs(600);

/// Whether containers on the nodes have lately failed to reach this server.
#[derive(Default)]
pub(super) struct Deafness {
    until: Mutex<Option<Instant>>,
}

impl Deafness {
    pub(super) fn remember(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + MEMORY);
    }

    pub(super) fn is_known(&self) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

impl SwarmExecutor {
    /// Makes the configs of an attempt's files.
    pub(super) async fn carry(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        job: &JobPlan,
        archive: &[u8],
    ) -> Result<Vec<TaskSpecContainerSpecConfigs>, ExecutorError> {
        let mut files = Vec::new();
        for (number, part) in archive.chunks(PART).enumerate() {
            let name = format!("{}-files-{number}", self.name_of(attempt));
            let spec = ConfigSpec {
                name: Some(name.clone()),
                labels: Some(self.labels(attempt, job)),
                data: Some(STANDARD.encode(part)),
                ..ConfigSpec::default()
            };
            let made = docker.create_config(spec).await;
            let id = made
                .map_err(|e| {
                    self.daemon
                        .failed("hand the workspace to the managers as configs", e)
                })?
                .id;
            files.push(config_file(
                &id,
                &name,
                format!("{CARRIED}.{number}"),
                0o400,
            ));
        }
        Ok(files)
    }

    /// The archive of what an attempt begins with.
    pub(super) async fn archive(&self, place: &Place) -> Result<Vec<u8>, ExecutorError> {
        let packing = place.clone();
        let packed = tokio::task::spawn_blocking(move || {
            let mut archive = Limited(Vec::new());
            packing.pack(&mut archive).map(|()| archive.0)
        });
        let packed = packed.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        packed.map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => ExecutorError::Docker {
                doing: "hand the workspace to a container that can't reach this server".to_owned(),
                message: format!(
                    "it has more than {} MB, which is the most that goes through the managers",
                    LIMIT / 1_000_000
                ),
                hint: format!(
                    "the nodes must reach {} (`--nodes-url`): `windlass cluster doctor` finds the one that does not",
                    self.settings.url
                ),
            },
            _ => ExecutorError::File {
                doing: "read",
                path: place.folder().to_owned(),
                source: error,
            },
        })
    }
}

/// An archive that does not get too long.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
