//! Puts the words of logs into the index when their attempts are over: the newest first, so that an index that
//! is made anew is of use at once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use windlass_logs::{LogError, LogReader, words};
use windlass_model::AttemptId;
use windlass_store::search::NewBlock;
use windlass_store::{SearchIndex, Store};

use crate::report::Problem;

/// Not more often than this: the store's bell rings for everything.
const PACE: Duration = Duration::from_secs(2);
/// Also without a bell.
const TICK: Duration = Duration::from_secs(60);

/// The task that fills the index.
pub(crate) struct Indexer {
    pub(crate) store: Store,
    pub(crate) index: SearchIndex,
    pub(crate) logs: PathBuf,
}

impl Indexer {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut bell = self.store.changes();
        let mut done: Option<HashSet<i64>> = None;
        // All attempts up to this one are in the index.
        let mut settled = 0;
        loop {
            bell.borrow_and_update();
            if let Err(problem) = self.catch_up(&mut done, &mut settled).await {
                tracing::error!(%problem, "the index of words could not be written; searching may miss newer output");
                tokio::time::sleep(TICK).await;
            }
            tokio::time::sleep(PACE).await;
            tokio::select! {
                _ = bell.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    async fn catch_up(
        &self,
        done: &mut Option<HashSet<i64>>,
        settled: &mut i64,
    ) -> Result<(), Problem> {
        let done = match done {
            Some(done) => done,
            None => done.insert(self.index.attempts().await?.into_iter().collect()),
        };
        // Asked first: what ends meanwhile is looked at the next time.
        let below = self.store.all_over_below().await?;
        for (attempt, repo) in self.store.attempts_over(*settled).await? {
            if done.contains(&attempt) {
                continue;
            }
            self.put(attempt, repo).await?;
            done.insert(attempt);
        }
        *settled = below - 1;
        done.retain(|attempt| *attempt > *settled);
        Ok(())
    }

    async fn put(&self, attempt: i64, repo: i64) -> Result<(), Problem> {
        let folder = self.logs.join(AttemptId::from_row(attempt).as_str());
        // A log may be larger than memory: it is read as fast as the index takes it.
        let (sender, mut blocks) = tokio::sync::mpsc::channel(16);
        let reading = tokio::task::spawn_blocking(move || read(&folder, &sender));
        let mut writing = self.index.begin(attempt, repo).await?;
        while let Some(block) = blocks.recv().await {
            writing.add(&block).await?;
        }
        reading.await??;
        writing.finish().await?;
        // Removed while it was read: then it must not stay.
        if !self.store.buried_logs(&[attempt]).await?.is_empty() {
            self.index.remove(attempt).await?;
        }
        Ok(())
    }
}

/// Hands out the blocks of all steps of an attempt. A log that can't be read is left out: its own page says why.
fn read(folder: &Path, sender: &Sender<NewBlock>) -> Result<(), Problem> {
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    for step in windlass_logs::folder::steps(folder)? {
        let read = LogReader::open(folder, step).and_then(|mut reader| {
            words::blocks(&mut reader, |block| {
                let block = NewBlock {
                    step: step.into(),
                    first_row: whole(block.first_row),
                    rows: whole(block.rows),
                    words: block.words,
                };
                // If nobody takes them, writing has failed, and says so.
                sender.blocking_send(block).unwrap_or_default();
                Ok::<(), LogError>(())
            })
        });
        if let Err(error) = read {
            tracing::warn!(%error, folder = %folder.display(), step, "a log is not in the index");
        }
    }
    Ok(())
}
