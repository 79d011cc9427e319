//! Which logs are not kept any longer, and that they go: files, words in the index, everything but the
//! tombstone.

use std::path::Path;
use std::time::{Duration, SystemTime};

use windlass_archive::ArchiveError;
use windlass_model::{AttemptId, BuildNumber};
use windlass_store::logs::{KeepLogs, KeptLog};
use windlass_store::{SearchIndex, Store};

use super::Worker;
use crate::report::Problem;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const MIB: i64 = 1 << 20;

/// The attempts whose logs go, and why. `kept` has the newest build first, and `last` is the number of the repository's
/// last build, which may still run. The newest logs that there are always stay. Pure.
pub(crate) fn overdue(
    kept: &[KeptLog],
    last: BuildNumber,
    keep: KeepLogs,
    now_ms: i64,
) -> Vec<(i64, String)> {
    let Some(newest) = kept.first().map(|log| log.build) else {
        return Vec::new();
    };
    let mut bytes = 0;
    let mut gone = Vec::new();
    for log in kept {
        bytes += log.bytes.unwrap_or_default();
        if log.build == newest {
            continue;
        }
        let old = |days: &i64| now_ms - log.finished_ms > days.saturating_mul(DAY_MS);
        let beyond = |most: &i64| last - log.build >= *most;
        let why = if let Some(days) = keep.days.filter(old) {
            format!("output is kept for {days} days")
        } else if let Some(most) = keep.builds.filter(beyond) {
            format!("output of the newest {most} builds is kept")
        } else if let Some(mib) = keep.mib.filter(|mib| bytes > mib.saturating_mul(MIB)) {
            format!("{mib} MiB of output are kept")
        } else {
            continue;
        };
        gone.push((log.attempt, why));
    }
    gone
}

/// Removes the logs of these attempts: first the tombstones, then the files. Killed between the two, the files are
/// found by [`Worker::finish_removals`].
pub(crate) async fn remove(
    store: &Store,
    index: Option<&SearchIndex>,
    logs: &Path,
    attempts: &[(i64, String)],
) -> Result<(), Problem> {
    store.bury_logs(attempts).await?;
    for (attempt, _) in attempts {
        remove_files(index, logs, *attempt).await?;
    }
    Ok(())
}

async fn remove_files(
    index: Option<&SearchIndex>,
    logs: &Path,
    attempt: i64,
) -> Result<(), Problem> {
    if let Some(index) = index {
        index.remove(attempt).await?;
    }
    let folder = logs.join(AttemptId::from_row(attempt).as_str());
    tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    })
    .await??;
    Ok(())
}

/// Bytes of the files in a folder and below it.
fn size_of(folder: &Path) -> i64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => size_of(&entry.path()),
            _ => entry
                .metadata()
                .map_or(0, |m| i64::try_from(m.len()).unwrap_or(i64::MAX)),
        })
        .sum()
}

impl Worker {
    /// Removes logs whose time is over. Every hour.
    pub(crate) async fn drop_old_logs(&self) -> Result<(), Problem> {
        self.finish_removals().await?;
        for repo in self.store.all_repo_ids().await? {
            let keep = self.store.keep_logs(repo).await?.or(self.keep_logs);
            if keep == KeepLogs::default() {
                continue;
            }
            let mut kept = self.store.kept_logs(repo).await?;
            if keep.mib.is_some() {
                for log in kept.iter_mut().filter(|log| log.bytes.is_none()) {
                    let folder = self.logs.join(AttemptId::from_row(log.attempt).as_str());
                    let bytes = tokio::task::spawn_blocking(move || size_of(&folder)).await?;
                    self.store.logs_sealed(log.attempt, bytes).await?;
                    log.bytes = Some(bytes);
                }
            }
            let last = self.store.repo(repo).await?.last_build;
            let gone = overdue(&kept, last, keep, windlass_store::db::now_ms());
            if gone.is_empty() {
                continue;
            }
            remove(&self.store, self.index.as_ref(), &self.logs, &gone).await?;
            tracing::info!(repo, attempts = gone.len(), "removed old logs");
        }
        Ok(())
    }

    /// Removes the files of logs here whose copies elsewhere are enough. Every hour.
    pub(crate) async fn drop_local_logs(&self) -> Result<(), Problem> {
        let Some((archive, days)) = self
            .archive
            .as_ref()
            .and_then(|archive| Some((archive, archive.keep_days?)))
        else {
            return Ok(());
        };
        let ended_before = windlass_store::db::now_ms() - days.saturating_mul(DAY_MS);
        // What somebody has looked at stays for a day.
        let before = SystemTime::now() - Duration::from_millis(DAY_MS.unsigned_abs());
        let mut dropped = 0;
        for repo in self.store.all_repo_ids().await? {
            for log in self.store.kept_logs(repo).await? {
                if log.finished_ms > ended_before {
                    continue;
                }
                match archive.drop_local(log.attempt, before).await {
                    Ok(logs) => dropped += logs,
                    Err(error @ ArchiveError::Outage { .. }) => {
                        tracing::warn!(%error, "logs stay here: the archive can't say now whether it has them");
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::warn!(attempt = log.attempt, %error, "logs stay here");
                    }
                }
            }
        }
        if dropped > 0 {
            tracing::info!(
                logs = dropped,
                "removed logs here of which the archive has copies"
            );
        }
        Ok(())
    }

    /// Removes the files of logs that have a tombstone already: a crash came between the two.
    async fn finish_removals(&self) -> Result<(), Problem> {
        let logs = self.logs.clone();
        let present = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<i64>> {
            let mut present = Vec::new();
            for entry in std::fs::read_dir(&logs)? {
                let name = entry?.file_name();
                let id = name
                    .to_str()
                    .and_then(|name| name.parse::<AttemptId>().ok());
                present.extend(id.and_then(|id| id.row()));
            }
            Ok(present)
        })
        .await??;
        for attempt in self.store.buried_logs(&present).await? {
            remove_files(self.index.as_ref(), &self.logs, attempt).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(attempt: i64, build: i64, days_ago: i64, mib: i64) -> KeptLog {
        KeptLog {
            attempt,
            build,
            finished_ms: -days_ago * DAY_MS - 1,
            bytes: Some(mib * MIB),
        }
    }

    fn gone(kept: &[KeptLog], keep: KeepLogs) -> Vec<i64> {
        let gone = overdue(kept, 4, keep, 0);
        gone.into_iter().map(|(attempt, _)| attempt).collect()
    }

    #[test]
    fn each_rule_removes_and_the_newest_build_stays() {
        let kept = [
            log(9, 4, 50, 100),
            log(8, 4, 50, 100),
            log(5, 3, 60, 10),
            log(4, 2, 70, 10),
            log(3, 1, 5, 10),
        ];
        let keep = |days, builds, mib| KeepLogs { days, builds, mib };
        assert_eq!(gone(&kept, keep(None, None, None)), [0_i64; 0]);
        assert_eq!(gone(&kept, keep(Some(30), None, None)), [5, 4]);
        assert_eq!(gone(&kept, keep(Some(65), None, None)), [4]);
        assert_eq!(gone(&kept, keep(None, Some(2), None)), [4, 3]);
        assert_eq!(gone(&kept, keep(None, Some(0), None)), [5, 4, 3]);
        assert_eq!(gone(&kept, keep(None, None, Some(215))), [4, 3]);
        assert_eq!(gone(&kept, keep(None, None, Some(1))), [5, 4, 3]);
        assert_eq!(
            gone(&kept, keep(Some(i64::MAX), Some(i64::MAX), Some(i64::MAX))),
            [0_i64; 0]
        );
        // One that still runs counts, too.
        let only = |last| overdue(&kept[2..], last, keep(None, Some(2), None), 0).len();
        assert_eq!((only(3), only(4)), (1, 2));
        assert_eq!(gone(&[], keep(Some(1), Some(1), Some(1))), [0_i64; 0]);
    }
}
