//! What the ends of the steps mean for the job. Pure.

use std::collections::BTreeMap;

use windlass_model::board::{AttemptEnd, FailureCause};
use windlass_model::{BuildState, JobState, Outcome, StopCause};
use windlass_store::Step;
use windlass_store::queue::Finish;

/// The attempt's end as the scheduler takes it.
pub(crate) fn attempt_end(
    finish: &Finish,
    steps: &[Step],
    outputs: BTreeMap<String, String>,
) -> AttemptEnd {
    let outcome = finish
        .failed_step
        .and_then(|index| steps.iter().find(|step| step.index == index))
        .and_then(|step| step.outcome.as_ref());
    AttemptEnd {
        state: match finish.state {
            BuildState::Passed => JobState::Passed,
            BuildState::Failed => JobState::Failed,
            BuildState::Cancelled => JobState::Cancelled,
            BuildState::Skipped => JobState::Skipped,
            BuildState::Error | BuildState::Queued | BuildState::Running => JobState::Error,
        },
        cause: (finish.state != BuildState::Passed).then(|| cause(finish.state, outcome)),
        summary: finish.summary.clone(),
        outputs,
    }
}

/// Makes a failure of a good end: something that the job promised is missing or broken.
pub(crate) fn spoil(finish: &mut Finish, problem: &str) {
    if finish.state == BuildState::Passed {
        finish.state = BuildState::Failed;
        finish.summary = problem.to_owned();
        finish.error = Some(problem.to_owned());
    }
}

/// The shim was told to stop, and not by us: a Docker daemon that restarts, a machine that goes down
/// and `docker stop` all send TERM. Nobody cancelled anything: the attempt is lost, as if by KILL.
pub(crate) fn stopped_from_outside(finish: &mut Finish) {
    if finish.state == BuildState::Cancelled {
        finish.state = BuildState::Error;
        finish.summary = "stopped from outside, by a signal that Windlass did not send".to_owned();
        finish.error = Some(finish.summary.clone());
        finish.hint = Some(
            "dockerd or the machine was restarted, or somebody stopped the container or the shim: \
             retry the build (`retry: {on: [infrastructure]}` does it by itself)"
                .to_owned(),
        );
    }
}

/// A job that somebody cancelled has lost what ran it: a shim that could not be told any more was ended from
/// outside, or a machine went down at that moment. Nothing is in error, and nobody waits for another attempt.
pub(crate) fn lost_when_cancelled(finish: &mut Finish, steps: &[Step]) {
    let index = finish.failed_step;
    let is_lost = steps
        .iter()
        .find(|step| Some(step.index) == index)
        .is_some_and(|step| matches!(step.outcome, None | Some(Outcome::Lost { .. })));
    if finish.state == BuildState::Error && is_lost {
        finish.state = BuildState::Cancelled;
        finish.summary = format!("cancelled; {}", finish.summary);
        finish.error = None;
        finish.hint = None;
    }
}

fn cause(state: BuildState, outcome: Option<&Outcome>) -> FailureCause {
    match outcome {
        Some(Outcome::Exited { code } | Outcome::Unexpected { code }) => {
            FailureCause::Exit { code: *code }
        }
        Some(Outcome::Stopped {
            cause: StopCause::StepTimeout | StopCause::JobTimeout,
        })
        | Some(Outcome::NotReady { .. }) => FailureCause::Timeout,
        Some(Outcome::OutOfMemory { .. } | Outcome::NotStarted { .. } | Outcome::Lost { .. }) => {
            FailureCause::Infrastructure
        }
        Some(Outcome::Stopped {
            cause: StopCause::Cancelled,
        })
        | None
            if state == BuildState::Error =>
        {
            FailureCause::Infrastructure
        }
        _ => FailureCause::Other,
    }
}

/// The build's end, given those of its steps.
pub(crate) fn verdict(steps: &[Step]) -> Finish {
    let decisive = steps.iter().find(|step| {
        step.outcome
            .as_ref()
            .is_none_or(|o| !o.is_success() && *o != Outcome::Skipped)
    });
    let mut finish = Finish {
        state: BuildState::Passed,
        summary: String::new(),
        failed_step: None,
        error: None,
        hint: None,
        spec_problems: None,
    };
    let Some(step) = decisive else {
        return finish;
    };
    let outcome = step.outcome.clone().unwrap_or_else(|| Outcome::Lost {
        reason: "the job ended without this step".to_owned(),
    });
    finish.failed_step = Some(step.index);
    finish.summary = format!("step \"{}\": {outcome}", step.name);
    finish.state = match &outcome {
        Outcome::Exited { .. }
        | Outcome::AsExpected { .. }
        | Outcome::Unexpected { .. }
        | Outcome::NotNeeded { .. }
        | Outcome::Signaled { .. }
        | Outcome::OutOfMemory { .. }
        | Outcome::Stopped {
            cause: StopCause::StepTimeout | StopCause::JobTimeout | StopCause::JobOver,
        }
        | Outcome::NotReady { .. }
        | Outcome::Skipped => BuildState::Failed,
        Outcome::Stopped {
            cause: StopCause::Cancelled,
        } => BuildState::Cancelled,
        Outcome::NotStarted { .. } => {
            finish.error = Some(finish.summary.clone());
            finish.hint = Some(
                "is the program installed on the machine that runs the builds, and in its PATH? \
                 Does the step's `shell` exist there?"
                    .to_owned(),
            );
            BuildState::Error
        }
        Outcome::Lost { .. } => {
            finish.error = Some(finish.summary.clone());
            finish.hint = Some(
                "the program beside the job was killed, or the machine went down; \
                 retry the build"
                    .to_owned(),
            );
            BuildState::Error
        }
    };
    finish
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_after_a_cancel_is_cancelled() {
        let lost = Outcome::Lost {
            reason: "its service was removed".to_owned(),
        };
        let broken = Outcome::NotStarted {
            reason: "no such program".to_owned(),
        };
        for (outcome, state) in [
            (Some(lost), BuildState::Cancelled),
            (None, BuildState::Cancelled),
            (Some(broken), BuildState::Error),
            (Some(Outcome::Exited { code: 1 }), BuildState::Failed),
        ] {
            let steps = steps(&[outcome]);
            let mut finish = verdict(&steps);
            lost_when_cancelled(&mut finish, &steps);
            assert_eq!(finish.state, state, "{finish:?}");
        }
    }

    fn steps(outcomes: &[Option<Outcome>]) -> Vec<Step> {
        outcomes
            .iter()
            .enumerate()
            .map(|(i, outcome)| Step::untimed(i as i64, format!("s{i}"), outcome.clone()))
            .collect()
    }

    #[test]
    fn the_first_step_that_did_not_pass_decides() {
        let ok = Some(Outcome::Exited { code: 0 });
        let table = [
            (vec![ok.clone(), ok.clone()], BuildState::Passed, ""),
            (
                vec![
                    ok.clone(),
                    Some(Outcome::Exited { code: 2 }),
                    Some(Outcome::Skipped),
                ],
                BuildState::Failed,
                "step \"s1\": exit code 2",
            ),
            (
                vec![Some(Outcome::Stopped {
                    cause: StopCause::Cancelled,
                })],
                BuildState::Cancelled,
                "step \"s0\": cancelled",
            ),
            (
                vec![
                    ok.clone(),
                    Some(Outcome::Stopped {
                        cause: StopCause::StepTimeout,
                    }),
                ],
                BuildState::Failed,
                "step \"s1\": timed out",
            ),
            (
                vec![
                    Some(Outcome::Stopped {
                        cause: StopCause::JobOver,
                    }),
                    ok.clone(),
                ],
                BuildState::Passed,
                "",
            ),
            (
                vec![
                    Some(Outcome::NotReady {
                        reason: "nothing came within 30 s".to_owned(),
                    }),
                    Some(Outcome::Skipped),
                ],
                BuildState::Failed,
                "step \"s0\": not ready: nothing came within 30 s",
            ),
            (
                vec![Some(Outcome::Lost {
                    reason: "killed".to_owned(),
                })],
                BuildState::Error,
                "step \"s0\": lost: killed",
            ),
            (
                vec![ok, None],
                BuildState::Error,
                "step \"s1\": lost: the job ended without this step",
            ),
        ];
        for (outcomes, state, summary) in table {
            let finish = verdict(&steps(&outcomes));
            assert_eq!((finish.state, finish.summary.as_str()), (state, summary));
        }
    }
}
