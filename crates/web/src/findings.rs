//! What went wrong in a step: found when the step has failed, kept beside its log, and made again
//! when somebody asks and it is gone.

use std::path::Path;

use tokio::sync::Semaphore;
use windlass_logs::LogError;
use windlass_logs::findings::{self, Baseline, Findings};
use windlass_store::{Attempt, Step, Store, StoreError};

/// A step is compared with so many passing runs: one alone calls everything new that happens to be
/// printed only now and then.
const BASELINES: usize = 3;

/// So many logs are read at once, whoever asks.
static READING: Semaphore = Semaphore::const_new(2);

/// Why nothing can be said about a step.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log can't be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Reading it was broken off.
    #[error("reading the log was broken off: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// What was found in the log of a step that has ended; `logs` is the folder with all logs. Takes at
/// most a minute, and goes on when it is no longer waited for.
///
/// # Errors
/// The database or the log can't be read.
pub async fn look(
    store: &Store,
    logs: &Path,
    attempt: &Attempt,
    step: &Step,
) -> Result<Findings, FindError> {
    let folder = logs.join(attempt.attempt_id().as_str());
    let number = step.log_number();
    let kept = {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || findings::read(&folder, number)).await??
    };
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let runs = store.passed_runs(attempt.id, &step.name, BASELINES).await?;
    let baselines = runs.into_iter().map(|run| Baseline {
        dir: logs.join(run.attempt.as_str()),
        step: u32::try_from(run.step).unwrap_or(u32::MAX),
        name: format!("build {}", run.build),
    });
    let baselines: Vec<Baseline> = baselines.collect();
    let reading = tokio::spawn(async move {
        // Nobody closes it.
        let _turn = READING.acquire().await;
        tokio::task::spawn_blocking(move || findings::find(&folder, number, &baselines)).await
    });
    Ok(reading.await???)
}
