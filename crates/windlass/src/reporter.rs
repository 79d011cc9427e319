//! Sends what the outbox holds to the forges, until it is accepted.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_forge::github::statuses::{GithubStatuses, Sent, backoff};
use windlass_forge::{github, http_client};
use windlass_store::{OutboxRow, Store, StoreError, failpoint};

/// How often the outbox is looked at without any bell.
const TICK: Duration = Duration::from_secs(30);

/// How many rows are taken at once.
const BATCH: i64 = 100;

/// What telling the forges needs.
pub(crate) struct Reporter {
    pub(crate) store: Store,
    /// Instead of the address that follows from the repository's URL (`--github-api`).
    pub(crate) github_api: Option<String>,
}

impl Reporter {
    /// Sends for ever.
    pub(crate) async fn run(self) {
        let mut changes = self.store.changes();
        loop {
            changes.mark_unchanged();
            if let Err(error) = self.send_due().await {
                tracing::error!(%error, "could not work on the outbox");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let wait = self.until_next().await;
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn until_next(&self) -> Duration {
        match self.store.next_status_ms().await {
            Ok(Some(next)) => {
                let ms = (next - windlass_store::db::now_ms()).max(20);
                Duration::from_millis(ms as u64).min(TICK)
            }
            _ => TICK,
        }
    }

    /// Repositories side by side, each one's statuses one after the other: a commit's `pending`
    /// must not overtake its `success`.
    async fn send_due(&self) -> Result<(), StoreError> {
        let mut by_repo: BTreeMap<i64, Vec<OutboxRow>> = BTreeMap::new();
        for row in self.store.due_statuses(BATCH).await? {
            by_repo.entry(row.repo_id).or_default().push(row);
        }
        let sending = by_repo.into_iter().map(|(repo, rows)| async move {
            for row in rows {
                self.send(repo, &row).await?;
            }
            Ok::<(), StoreError>(())
        });
        futures_util::future::try_join_all(sending).await.map(drop)
    }

    async fn send(&self, repo: i64, row: &OutboxRow) -> Result<(), StoreError> {
        failpoint::hit(format_args!("before-status"));
        let sent = self.try_send(repo, row).await?;
        failpoint::hit(format_args!("after-status"));
        match sent {
            Sent::Accepted => self.store.status_sent(row.id).await,
            Sent::Refused { reason } => {
                tracing::warn!(status = row.id, %reason, "the forge refused a status");
                self.store.status_refused(row.id, &reason).await
            }
            Sent::Later { after, reason } => {
                let tries = u32::try_from(row.tries).unwrap_or(u32::MAX);
                let wait = backoff(tries, jitter(row.id)).max(after.unwrap_or_default());
                tracing::warn!(status = row.id, ?wait, %reason, "a status could not be sent yet");
                let next = windlass_store::db::now_ms() + wait.as_millis() as i64;
                self.store.status_later(row.id, next, &reason).await
            }
        }
    }

    async fn try_send(&self, repo: i64, row: &OutboxRow) -> Result<Sent, StoreError> {
        let repo = self.store.repo(repo).await?;
        let refused = |reason: &str| {
            Ok(Sent::Refused {
                reason: reason.to_owned(),
            })
        };
        let Some(token) = self.store.status_token(repo.id).await? else {
            return refused("the repository has no status token any more");
        };
        let Some(name) = &repo.forge_name else {
            return refused("the repository's URL does not name an owner and a repository");
        };
        let base = self
            .github_api
            .clone()
            .or_else(|| github::api_base_from_url(&repo.url));
        let Some(base) = base else {
            return refused("the repository's URL does not lead to GitHub; use --github-api URL");
        };
        let client = match http_client() {
            Ok(client) => client,
            Err(error) => {
                return Ok(Sent::Later {
                    after: None,
                    reason: error.to_string(),
                });
            }
        };
        match GithubStatuses::new(&base, client) {
            Ok(statuses) => Ok(statuses.send(name, &token, &row.status).await),
            Err(error) => refused(&format!("the address of GitHub's API is wrong: {error}")),
        }
    }
}

/// A number from 0 to 1 that differs from row to row, so that rows which failed together are not
/// tried again together.
fn jitter(row: i64) -> f64 {
    let mixed = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    mixed as f64 / f64::from(1 << 24)
}
