//! Every rule of the scheduler by name, and all of them together by property.

use std::collections::BTreeMap;

use proptest::prelude::*;
use windlass_model::JobPlan;
use windlass_model::board::{AttemptEnd, FailureCause};
use windlass_model::plan::{Concurrency, Need, Retry};

use super::*;

/// Jobs written as `name: need need? …`.
fn board(jobs: &[&str]) -> Board {
    let jobs = jobs.iter().map(|line| {
        let (name, needs) = line.split_once(':').unwrap_or((line, ""));
        let needs = needs.split_whitespace().map(|need| Need {
            job: need.trim_end_matches('?').to_owned(),
            optional: need.ends_with('?'),
            artifacts: false,
        });
        BoardJob::new(JobPlan {
            name: name.to_owned(),
            base: name.split(' ').next().unwrap().to_owned(),
            needs: needs.collect(),
            ..JobPlan::default()
        })
    });
    Board {
        jobs: jobs.collect(),
        ..Board::default()
    }
}

fn end(state: JobState, cause: Option<FailureCause>) -> AttemptEnd {
    AttemptEnd {
        state,
        cause,
        summary: format!("{state} indeed"),
        outputs: BTreeMap::new(),
    }
}

/// Decides, makes the moves, and says what happened in short.
fn step(board: &mut Board) -> Vec<String> {
    let moves = decide(board);
    apply(board, &moves);
    assert_eq!(
        decide(board)
            .iter()
            .filter(|m| !matches!(
                m,
                Move::Wait { .. }
                    | Move::Stop { .. }
                    | Move::Finish { .. }
                    | Move::ClearGroup { .. }
            ))
            .count(),
        0,
        "deciding again finds more"
    );
    let name = |job: &usize| board.jobs[*job].plan.name.clone();
    moves
        .iter()
        .map(|m| match m {
            Move::Start { job, after } if after.is_zero() => format!("start {}", name(job)),
            Move::Start { job, after } => format!("again {} in {}s", name(job), after.as_secs()),
            Move::AskApproval { job } => format!("ask {}", name(job)),
            Move::Wait { job, reason } => format!("wait {}: {reason}", name(job)),
            Move::End { job, state, reason } => format!("end {} {state}: {reason}", name(job)),
            Move::Stop { job, .. } => format!("stop {}", name(job)),
            Move::ClearGroup { group, .. } => format!("clear {group}"),
            Move::Finish { state, summary, .. } => format!("finish {state}: {summary}"),
        })
        .collect()
}

fn ends(board: &mut Board, job: usize, state: JobState) {
    board.jobs[job].ended = Some(end(state, Some(FailureCause::Exit { code: 1 })));
}

#[test]
fn a_job_waits_for_those_it_needs() {
    let mut b = board(&["a", "b: a", "c"]);
    assert_eq!(step(&mut b), ["start a", "start c"]);
    ends(&mut b, 0, JobState::Passed);
    assert_eq!(step(&mut b), ["end a passed: passed indeed", "start b"]);
    ends(&mut b, 1, JobState::Passed);
    ends(&mut b, 2, JobState::Passed);
    assert_eq!(step(&mut b).last().unwrap(), "finish passed: ");
}

#[test]
fn a_failure_leaves_out_what_needs_it_and_wakes_who_waits_for_it() {
    let mut b = board(&["a", "b: a", "c: b", "tell: c", "clean: a"]);
    b.jobs[3].plan_mut().on_result = OnResult::Failure;
    b.jobs[4].plan_mut().on_result = OnResult::Always;
    step(&mut b);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(
        step(&mut b),
        [
            "end a failed: failed indeed",
            "end b skipped: needs `a`, which failed",
            "end c skipped: needs `b`, which was skipped",
            "start tell",
            "start clean",
        ]
    );
    ends(&mut b, 3, JobState::Passed);
    ends(&mut b, 4, JobState::Passed);
    assert_eq!(
        step(&mut b).last().unwrap(),
        "finish failed: job \"a\" failed"
    );
}

#[test]
fn optional_needs_may_be_missing_but_not_fail() {
    let mut b = board(&["a", "b: a? z?"]);
    b.jobs[0].plan_mut().skipped = Some("not today".to_owned());
    assert_eq!(step(&mut b), ["end a skipped: not today", "start b"]);
    let mut b = board(&["a", "b: a?"]);
    step(&mut b);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(step(&mut b)[1], "end b skipped: needs `a`, which failed");
}

#[test]
fn an_allowed_failure_stops_nobody() {
    let mut b = board(&["a", "b: a"]);
    b.jobs[0].plan_mut().allow_failure = true;
    step(&mut b);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(step(&mut b)[1], "start b");
    ends(&mut b, 1, JobState::Passed);
    assert_eq!(step(&mut b).last().unwrap(), "finish passed: ");
}

#[test]
fn retries_have_a_pause_that_doubles_and_a_cause() {
    let mut b = board(&["a"]);
    b.jobs[0].plan_mut().retry = Some(Retry {
        count: 2,
        backoff: Duration::from_secs(10),
        exit_codes: vec![1],
        infrastructure: false,
        timeout: false,
    });
    step(&mut b);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(step(&mut b), ["again a in 10s"]);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(step(&mut b), ["again a in 20s"]);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(
        step(&mut b),
        [
            "end a failed: failed indeed",
            "finish failed: failed indeed"
        ]
    );
    let mut b2 = b.clone();
    b2.jobs[0].tries = 1;
    b2.jobs[0].state = JobState::Queued;
    b2.jobs[0].ended = Some(end(JobState::Failed, Some(FailureCause::Timeout)));
    assert_eq!(step(&mut b2)[0], "end a failed: failed indeed");
}

#[test]
fn one_failed_cell_ends_the_others_if_asked_to() {
    let mut b = board(&["a (1)", "a (2)", "a (3)"]);
    for job in &mut b.jobs {
        job.plan_mut().fail_fast = true;
        job.plan_mut().max_parallel = Some(2);
    }
    assert_eq!(step(&mut b), ["start a (1)", "start a (2)"]);
    ends(&mut b, 0, JobState::Failed);
    assert_eq!(
        step(&mut b),
        [
            "end a (1) failed: failed indeed",
            "stop a (2)",
            "end a (3) cancelled: fail-fast: a (1) failed"
        ]
    );
    ends(&mut b, 1, JobState::Cancelled);
    assert_eq!(
        step(&mut b).last().unwrap(),
        "finish failed: job \"a (1)\" failed"
    );
}

#[test]
fn a_person_is_asked_when_everything_else_is_ready() {
    let mut b = board(&["a", "b: a"]);
    b.jobs[1].plan_mut().approve = Some("Sure?".to_owned());
    step(&mut b);
    ends(&mut b, 0, JobState::Passed);
    assert_eq!(step(&mut b)[1], "ask b");
    assert_eq!(step(&mut b), [""; 0]);
    let mut no = b.clone();
    no.jobs[1].approved = Some(false);
    assert_eq!(
        step(&mut no),
        [
            "end b cancelled: was not approved",
            "finish cancelled: job \"b\": was not approved"
        ]
    );
    b.jobs[1].approved = Some(true);
    assert_eq!(step(&mut b), ["start b"]);
}

#[test]
fn a_group_has_one_at_a_time_here_and_in_other_builds() {
    let group = |cancel| {
        Some(Concurrency {
            group: "deploy".to_owned(),
            cancel_in_progress: cancel,
        })
    };
    let mut b = board(&["a", "b"]);
    b.jobs[0].plan_mut().concurrency = group(false);
    b.jobs[1].plan_mut().concurrency = group(false);
    assert_eq!(
        step(&mut b),
        [
            "start a",
            "wait b: waits for another job in the group deploy"
        ]
    );
    ends(&mut b, 0, JobState::Passed);
    assert_eq!(step(&mut b)[1], "start b");

    let mut b = board(&["a"]);
    b.jobs[0].plan_mut().concurrency = group(true);
    b.held_groups.insert("deploy".to_owned(), "#7".to_owned());
    assert_eq!(
        step(&mut b),
        [
            "clear deploy",
            "wait a: waits for #7, which has the group deploy"
        ]
    );
    b.held_groups.clear();
    assert_eq!(step(&mut b), ["start a"]);
}

#[test]
fn a_build_that_is_cancelled_ends() {
    let mut b = board(&["a", "b: a", "c: a"]);
    b.jobs[2].plan_mut().on_result = OnResult::Always;
    step(&mut b);
    b.cancelled = true;
    assert_eq!(
        step(&mut b),
        [
            "stop a",
            "end b cancelled: cancelled",
            "end c cancelled: cancelled"
        ]
    );
    ends(&mut b, 0, JobState::Cancelled);
    assert!(step(&mut b).last().unwrap().starts_with("finish cancelled"));
}

#[test]
fn conditions_over_other_jobs_are_decided_when_those_are_over() {
    use windlass_model::expression::{Compare, Expr, Name, Value};
    let mut b = board(&["a", "b: a"]);
    let expr = Expr::Compare(
        Compare::Equal,
        Box::new(Expr::Name(Name::NeedOutput(
            "a".to_owned(),
            "go".to_owned(),
        ))),
        Box::new(Expr::Value(Value::Text("yes".to_owned()))),
    );
    b.jobs[1].plan_mut().when = vec![windlass_model::plan::Clause {
        text: "needs.a.outputs.go == \"yes\"".to_owned(),
        line: 1,
        expr,
    }];
    step(&mut b);
    let mut yes = b.clone();
    let mut good = end(JobState::Passed, None);
    good.outputs.insert("go".to_owned(), "yes".to_owned());
    yes.jobs[0].ended = Some(good);
    assert_eq!(step(&mut yes)[1], "start b");
    ends(&mut b, 0, JobState::Passed);
    assert_eq!(
        step(&mut b)[1],
        "end b skipped: `needs.a.outputs.go == \"yes\"` does not hold"
    );
}

proptest! {
    /// Whatever the graph and however attempts end: no job begins before its needs are over, none
    /// is forgotten, limits hold, and the build ends.
    #[test]
    fn every_build_ends_and_keeps_the_rules(
        needs in proptest::collection::vec(proptest::collection::vec((0usize..12, any::<bool>()), 0..3), 1..12),
        kinds in proptest::collection::vec((0u8..6, 0u8..3, 0u8..3), 12),
        fates in proptest::collection::vec((0usize..12, 0u8..6), 200),
    ) {
        let mut b = board(&[]);
        for (i, needs) in needs.iter().enumerate() {
            let (kind, group, retries) = kinds[i];
            let mut plan = JobPlan {
                // Pairs of jobs are cells of one matrix.
                base: format!("j{}", i / 2),
                name: format!("j{i}"),
                ..JobPlan::default()
            };
            plan.needs = needs.iter().filter(|(n, _)| n / 2 < i / 2).map(|(n, optional)| Need {
                job: format!("j{}", n / 2), optional: *optional, artifacts: false,
            }).collect();
            plan.on_result = [OnResult::Success, OnResult::Failure, OnResult::Always][usize::from(kind % 3)];
            plan.allow_failure = kind == 3;
            plan.fail_fast = kind == 4;
            plan.max_parallel = (kind == 5).then_some(1);
            plan.approve = (kind == 1).then(|| "?".to_owned());
            plan.concurrency = (group > 0).then(|| Concurrency { group: format!("g{group}"), cancel_in_progress: false });
            plan.retry = (retries > 0).then(|| Retry {
                count: u32::from(retries), backoff: Duration::from_secs(1), exit_codes: vec![], infrastructure: false, timeout: false,
            });
            b.jobs.push(BoardJob::new(plan));
        }
        let mut fates = fates.into_iter();
        let mut rounds = 0;
        loop {
            let before = b.clone();
            let moves = decide(&b);
            for m in &moves {
                if let Move::Start { job, .. } = m {
                    let plan = &before.jobs[*job].plan;
                    let after = { let mut after = before.clone(); apply(&mut after, &moves); after };
                    for need in &plan.needs {
                        let over = after.jobs.iter().filter(|j| j.plan.base == need.job).all(|j| j.state.is_final());
                        prop_assert!(over, "{} began before {}", plan.name, need.job);
                    }
                }
            }
            apply(&mut b, &moves);
            for group in b.groups() {
                let holders = b.jobs.iter().filter(|j| j.state.is_active()
                    && j.plan.concurrency.as_ref().is_some_and(|c| c.group == group)).count();
                prop_assert!(holders <= 1);
            }
            for job in &b.jobs {
                prop_assert!(job.tries <= job.plan.retry.as_ref().map_or(0, |r| r.count) + 1);
            }
            if moves.iter().any(|m| matches!(m, Move::Finish { .. })) {
                prop_assert!(b.jobs.iter().all(|job| job.state.is_final()));
                break;
            }
            rounds += 1;
            prop_assert!(rounds < 300, "the build does not end: {:?}", b.jobs.iter().map(|j| j.state).collect::<Vec<_>>());
            // The world goes on: somebody agrees, an attempt ends, rarely everything is cancelled.
            let (which, fate) = fates.next().unwrap_or((0, 0));
            let active: Vec<usize> = (0..b.jobs.len()).filter(|i| b.jobs[*i].state.is_active()).collect();
            if let Some(job) = b.jobs.iter_mut().find(|job| job.state == JobState::Approval && job.approved.is_none()) {
                job.approved = Some(fate != 5);
            } else if let Some(&job) = active.get(which % active.len().max(1)) {
                let state = match fate {
                    0..=2 => JobState::Passed,
                    3 => JobState::Failed,
                    4 => JobState::Error,
                    _ => JobState::Cancelled,
                };
                b.jobs[job].ended = Some(end(state, None));
            } else {
                prop_assert!(false, "nothing runs, and nothing ends");
            }
            if which == 11 && fate == 5 {
                b.cancelled = true;
            }
        }
    }
}
