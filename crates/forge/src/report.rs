//! What a forge is told about a build: one context per repository, the failing step by name.

use windlass_model::status::{CommitStatus, StatusState};
use windlass_model::{BuildNumber, BuildState, Revision};

/// The name of our check on a commit. The forge keeps the newest status per commit and context.
pub const CONTEXT: &str = "windlass";

/// The status for a build in `state`. `summary` is the build's one line about its end, such as
/// `step "test": exit code 1`; `target_url` the page that the forge links to: the failing step's
/// log, or the build.
pub fn commit_status(
    revision: &Revision,
    number: BuildNumber,
    state: BuildState,
    summary: &str,
    target_url: Option<String>,
) -> CommitStatus {
    let (status, words) = match state {
        BuildState::Queued => (StatusState::Pending, "waits for a free slot"),
        BuildState::Running => (StatusState::Pending, "is running"),
        BuildState::Passed => (StatusState::Success, "passed"),
        BuildState::Failed => (StatusState::Failure, "failed"),
        BuildState::Error => (StatusState::Error, "could not be run"),
        BuildState::Cancelled => (StatusState::Error, "was cancelled"),
        BuildState::Skipped => (StatusState::Success, "was skipped"),
    };
    let description = if summary.is_empty() {
        format!("build {number} {words}")
    } else {
        format!("build {number} {words}: {summary}")
    };
    CommitStatus {
        revision: revision.to_string(),
        context: CONTEXT.to_owned(),
        state: status,
        description,
        target_url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_names_the_failing_step() {
        let revision = "a".repeat(40).parse().unwrap();
        let status = commit_status(
            &revision,
            12,
            BuildState::Failed,
            "step \"test\": exit code 1",
            Some("http://ci/x".to_owned()),
        );
        assert_eq!(status.state, StatusState::Failure);
        assert_eq!(
            status.description,
            "build 12 failed: step \"test\": exit code 1"
        );
        let waiting = commit_status(&revision, 12, BuildState::Queued, "", None);
        assert_eq!(waiting.description, "build 12 waits for a free slot");
        assert_eq!(waiting.state, StatusState::Pending);
    }
}
