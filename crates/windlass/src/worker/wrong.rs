//! What went wrong in a job that failed, for its summary and its page; what passing steps printed,
//! for the next one that fails.

use std::time::Duration;

use windlass_model::{BuildState, Outcome};
use windlass_store::queue::Finish;
use windlass_store::{Claim, Step};

use super::Worker;
use super::job::Setback;

/// A status for the forge waits no longer for the words that it could quote.
const PATIENCE: Duration = Duration::from_secs(2);

/// Characters of a quote in a summary. The forge cuts what is still too long for it.
const QUOTE: usize = 200;

impl Worker {
    /// Adds what the failing step's log says to the summary: `step "test": exit code 1:
    /// src/lib.rs:17:9: mismatched types`. Without it when that takes too long, or fails: the page
    /// tells it later.
    pub(super) async fn quote(&self, claim: &Claim, finish: &mut Finish, steps: &[Step]) {
        if finish.state != BuildState::Failed {
            return;
        }
        let failed = |step: &&Step| Some(step.index) == finish.failed_step;
        let Some(step) = steps.iter().find(failed) else {
            return;
        };
        let look = windlass_web::findings::look(&self.store, &self.logs, &claim.attempt, step);
        let found = match tokio::time::timeout(PATIENCE, look).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%error, "could not look for what went wrong");
                return;
            }
            Err(_) => {
                tracing::info!(
                    attempt = claim.attempt.id,
                    "the log is long: the status does not wait for what it says"
                );
                return;
            }
        };
        if let Some(first) = found.first() {
            finish.summary = quoted(&finish.summary, &first.quote());
        }
    }

    /// Keeps the lines that the steps which passed printed, beside their logs. Nothing depends on it.
    pub(super) async fn learn(&self, claim: &Claim) -> Result<(), Setback> {
        let steps = self.store.steps(claim.attempt.id).await?;
        let passed = steps.into_iter().filter(|step| {
            let outcome = step.outcome.as_ref();
            step.started_us.is_some() && outcome.is_some_and(Outcome::is_success)
        });
        let passed: Vec<u32> = passed
            .filter_map(|step| u32::try_from(step.index).ok())
            .collect();
        let dir = self.logs.join(claim.attempt.attempt_id().as_str());
        let learnt = tokio::task::spawn_blocking(move || {
            for step in passed {
                if let Err(error) = windlass_logs::findings::learn(&dir, step) {
                    tracing::warn!(%error, "could not keep the lines of a step that passed");
                }
            }
        });
        learnt.await.map_err(|e| Setback::Again(e.into()))
    }
}

/// A summary with the words of a log behind it.
pub(crate) fn quoted(summary: &str, quote: &str) -> String {
    let quote = quote.trim();
    if quote.is_empty() {
        return summary.to_owned();
    }
    let mut short: String = quote.chars().take(QUOTE).collect();
    if short.len() < quote.len() {
        short.push('…');
    }
    format!("{summary}: {short}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_quotes_at_most_two_hundred_characters() {
        assert_eq!(
            quoted("step \"a\": exit code 1", " a.c:3: no "),
            "step \"a\": exit code 1: a.c:3: no"
        );
        assert_eq!(quoted("x", ""), "x");
        let long = quoted("x", &"é".repeat(500));
        assert_eq!(long.chars().count(), 3 + QUOTE + 1);
        assert!(long.ends_with("é…"));
    }
}
