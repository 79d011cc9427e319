//! What the services of a job printed, kept as files when the job is over: one line of the engine's time stamp
//! and the text for each line of the service.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptions;
use futures_util::{Stream, StreamExt as _};

use super::ExecutorError;
use super::process;

/// The folder of an attempt on this machine in which the logs lie, as `NAME.log`.
const FOLDER: &str = "services";

/// More of one service is cut off.
const MOST: usize = 16 << 20;

/// How long one log may take: the daemon may be busy, and a node may be gone.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn options() -> LogsOptions {
    LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: "all".to_owned(),
        ..LogsOptions::default()
    }
}

/// The error of a service that can't be used, with what it printed last.
pub(super) fn not_ready(service: &str, reason: &str, log: &str) -> ExecutorError {
    let said = match log.trim() {
        "" => "it printed nothing".to_owned(),
        log => format!("its last lines:\n{log}"),
    };
    ExecutorError::Docker {
        doing: format!("use the service {service}"),
        message: format!("{reason}; {said}"),
        hint: "look at its `image`, `env` and `command`, or give `ready` a longer `timeout`"
            .to_owned(),
    }
}

/// Where the log of a service is kept in an attempt's folder.
pub fn file(folder: &Path, service: &str) -> PathBuf {
    folder.join(FOLDER).join(format!("{service}.log"))
}

/// Keeps a log. What can't be had is left out: it is no part of the job.
pub(super) async fn keep(
    stream: impl Stream<Item = Result<LogOutput, Error>>,
    path: &Path,
) -> Result<(), ExecutorError> {
    let mut text = Vec::new();
    let read = async {
        let mut stream = std::pin::pin!(stream);
        while let Some(Ok(item)) = stream.next().await {
            // Not of the service, but the daemon's own complaint.
            if matches!(item, LogOutput::Console { .. }) {
                continue;
            }
            text.extend_from_slice(&item.into_bytes());
            if text.last() != Some(&b'\n') {
                text.push(b'\n');
            }
            if text.len() > MOST {
                break;
            }
        }
    };
    tokio::time::timeout(LIMIT, read).await.unwrap_or(());
    let folder = path.parent().unwrap_or(path);
    process::create_dir(folder)?;
    std::fs::write(path, text).map_err(process::file("write", path))
}
