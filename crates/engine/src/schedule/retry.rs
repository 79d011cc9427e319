//! Whether a failed attempt is worth another one.

use std::time::Duration;

use windlass_model::board::{AttemptEnd, BoardJob, FailureCause, JobState};

/// Nobody waits longer for a retry.
const LONGEST: Duration = Duration::from_secs(3600);

/// The pause before the next attempt, if there is to be one.
pub(super) fn pause(job: &BoardJob, end: &AttemptEnd) -> Option<Duration> {
    let retry = job.plan.retry.as_ref()?;
    if !matches!(end.state, JobState::Failed | JobState::Error) || job.tries > retry.count {
        return None;
    }
    let any = retry.exit_codes.is_empty() && !retry.infrastructure && !retry.timeout;
    let worth = match end.cause {
        _ if any => true,
        Some(FailureCause::Exit { code }) => retry.exit_codes.contains(&code),
        Some(FailureCause::Timeout) => retry.timeout,
        Some(FailureCause::Infrastructure) => retry.infrastructure,
        Some(FailureCause::Other) | None => false,
    };
    let doublings = job.tries.saturating_sub(1).min(16);
    worth.then(|| retry.backoff.saturating_mul(1 << doublings).min(LONGEST))
}
