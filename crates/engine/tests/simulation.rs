//! Ten thousand builds with random graphs, several at a time, that share groups; attempts end in any
//! way, people agree, refuse and cancel, and the server is killed between deciding and storing. The
//! scheduler never starts a job before its needs, never forgets one, never runs two in one group.
//!
//! `WINDLASS_SIMULATE=200000 cargo test -p windlass-engine --test simulation --release` runs more;
//! `WINDLASS_SEED=N` one other sequence. A failure names its seed.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use windlass_engine::schedule::{apply, decide};
use windlass_model::board::{AttemptEnd, Board, BoardJob, FailureCause, JobState, Move};
use windlass_model::expression::{Compare, Expr, Name, Value};
use windlass_model::plan::{Clause, Concurrency, Need, OnResult, Retry};
use windlass_model::{BuildState, JobPlan};

/// Builds that go on at the same time, of one repository.
const SIDE_BY_SIDE: usize = 4;

/// A small generator (xorshift64*): the same seed is the same world everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.roll(n) == 0
    }
}

struct Build {
    number: usize,
    board: Board,
    /// Jobs that were told to stop.
    stopping: HashSet<usize>,
    finished: Option<BuildState>,
}

fn plan(dice: &mut Dice, base: usize, cell: usize) -> JobPlan {
    JobPlan {
        name: format!("j{base} ({cell})"),
        base: format!("j{base}"),
        outputs: vec!["o".to_owned()],
        retry: dice.one_in(3).then(|| Retry {
            count: 1 + dice.roll(3) as u32,
            backoff: Duration::from_secs(1),
            exit_codes: if dice.one_in(2) { vec![75] } else { vec![] },
            infrastructure: dice.one_in(2),
            timeout: dice.one_in(3),
        }),
        allow_failure: dice.one_in(6),
        fail_fast: dice.one_in(5),
        max_parallel: dice.one_in(4).then(|| 1 + dice.roll(2) as u32),
        approve: dice.one_in(12).then(|| "Go on?".to_owned()),
        skipped: dice.one_in(12).then(|| "not for this event".to_owned()),
        on_result: [
            OnResult::Success,
            OnResult::Success,
            OnResult::Always,
            OnResult::Failure,
        ][dice.roll(4)],
        concurrency: dice.one_in(4).then(|| Concurrency {
            group: format!("g{}", dice.roll(3)),
            cancel_in_progress: dice.one_in(3),
        }),
        ..JobPlan::default()
    }
}

/// A random graph of jobs and matrices; needs only lead back, as the check of specs sees to.
fn build(dice: &mut Dice, number: usize) -> Build {
    let mut jobs = Vec::new();
    for base in 0..1 + dice.roll(6) {
        let proto = plan(dice, base, 0);
        let mut needs: Vec<Need> = Vec::new();
        for _ in 0..dice.roll(4).min(base) {
            let job = format!("j{}", dice.roll(base));
            if needs.iter().all(|need| need.job != job) {
                let optional = dice.one_in(3);
                needs.push(Need {
                    job,
                    optional,
                    artifacts: false,
                });
            }
        }
        if dice.one_in(8) {
            needs.push(Need {
                job: "missing".to_owned(),
                optional: true,
                artifacts: false,
            });
        }
        let when = needs
            .first()
            .filter(|n| n.job != "missing" && dice.one_in(4))
            .map(|need| {
                let name = Name::NeedOutput(need.job.clone(), "o".to_owned());
                let wanted = Value::Text(dice.roll(2).to_string());
                Clause {
                    text: format!("{name} == {wanted}"),
                    line: 1,
                    expr: Expr::Compare(
                        Compare::Equal,
                        Box::new(Expr::Name(name)),
                        Box::new(Expr::Value(wanted)),
                    ),
                }
            });
        for cell in 0..1 + dice.roll(3) {
            let mut plan = proto.clone();
            plan.name = format!("j{base} ({cell})");
            plan.needs.clone_from(&needs);
            plan.when = when.iter().cloned().collect();
            // What is stored is JSON, and is read again after every restart.
            let text = serde_json::to_string(&plan).unwrap();
            assert_eq!(serde_json::from_str::<JobPlan>(&text).unwrap(), plan);
            jobs.push(BoardJob::new(plan));
        }
    }
    Build {
        number,
        board: Board {
            jobs,
            ..Board::default()
        },
        stopping: HashSet::new(),
        finished: None,
    }
}

/// The groups that others hold.
fn held(builds: &[Build], own: usize) -> BTreeMap<String, String> {
    let mut held = BTreeMap::new();
    for (_, other) in builds.iter().enumerate().filter(|(i, _)| *i != own) {
        for job in other.board.jobs.iter().filter(|job| job.state.is_active()) {
            if let Some(group) = &job.plan.concurrency {
                held.insert(group.group.clone(), format!("#{}", other.number));
            }
        }
    }
    held
}

fn check_start(board: &Board, job: usize) {
    let plan = &board.jobs[job].plan;
    assert!(
        plan.skipped.is_none(),
        "{} was left out and begins",
        plan.name
    );
    for need in &plan.needs {
        let cells: Vec<&BoardJob> = board
            .jobs
            .iter()
            .filter(|j| j.plan.base == need.job)
            .collect();
        assert!(
            cells.iter().all(|cell| cell.state.is_final()),
            "{} begins before {} is over",
            plan.name,
            need.job
        );
        let bad = |cell: &&BoardJob| {
            matches!(cell.state, JobState::Failed | JobState::Error) && !cell.plan.allow_failure
        };
        if plan.on_result == OnResult::Success {
            assert!(
                !cells.iter().any(bad),
                "{} begins although {} failed",
                plan.name,
                need.job
            );
        }
    }
    assert!(plan.approve.is_none() || board.jobs[job].approved == Some(true));
}

/// What must always hold, over all builds.
fn check_all(builds: &[Build]) {
    let mut groups: BTreeMap<&str, &str> = BTreeMap::new();
    for build in builds {
        let mut active: BTreeMap<&str, u32> = BTreeMap::new();
        for job in &build.board.jobs {
            let plan = &job.plan;
            let most = plan.retry.as_ref().map_or(0, |retry| retry.count) + 1;
            assert!(
                job.tries <= most,
                "{} was tried {} times",
                plan.name,
                job.tries
            );
            if !job.state.is_active() {
                continue;
            }
            *active.entry(&plan.base).or_default() += 1;
            if let Some(group) = &plan.concurrency {
                let other = groups.insert(&group.group, &plan.name);
                assert!(
                    other.is_none(),
                    "two run in {}: {other:?}, {}",
                    group.group,
                    plan.name
                );
            }
        }
        for job in &build.board.jobs {
            let running = active
                .get(job.plan.base.as_str())
                .copied()
                .unwrap_or_default();
            assert!(running <= job.plan.max_parallel.unwrap_or(u32::MAX));
        }
    }
}

/// The build's end as the words of the documentation have it, computed in another way.
fn expected(board: &Board) -> BuildState {
    let states: BTreeSet<JobState> = board
        .jobs
        .iter()
        .filter(|job| !job.plan.allow_failure)
        .map(|job| job.state)
        .collect();
    let first_bad = board.jobs.iter().find(|job| {
        matches!(job.state, JobState::Failed | JobState::Error) && !job.plan.allow_failure
    });
    match first_bad.map(|job| job.state) {
        Some(JobState::Error) => BuildState::Error,
        Some(_) => BuildState::Failed,
        None if states.contains(&JobState::Cancelled) || board.cancelled => BuildState::Cancelled,
        None if board.jobs.iter().all(|job| job.state == JobState::Skipped) => BuildState::Skipped,
        None => BuildState::Passed,
    }
}

/// Decides for one build and stores what was decided, unless the server is killed before that.
fn advance(dice: &mut Dice, builds: &mut [Build], own: usize) -> bool {
    let held_groups = held(builds, own);
    let build = &mut builds[own];
    build.board.held_groups = held_groups;
    let moves = decide(&build.board);
    if dice.one_in(20) {
        // Killed: nothing of it was stored; deciding again says the same.
        assert_eq!(decide(&build.board), moves);
        return false;
    }
    let before: Vec<JobState> = build.board.jobs.iter().map(|job| job.state).collect();
    let mut after = build.board.clone();
    apply(&mut after, &moves);
    let mut changed = false;
    let mut cleared = Vec::new();
    for made in &moves {
        match made {
            Move::Start { job, .. } => {
                changed = true;
                check_start(&after, *job);
            }
            Move::End { job, .. } => {
                changed = true;
                build.stopping.remove(job);
            }
            Move::Stop { job, .. } => {
                build.stopping.insert(*job);
            }
            Move::ClearGroup { group, .. } => cleared.push(group.clone()),
            Move::AskApproval { .. } => changed = true,
            Move::Wait { .. } => {}
            Move::Finish { state, .. } => {
                assert!(
                    after.jobs.iter().all(|job| job.state.is_final()),
                    "a job was forgotten"
                );
                assert_eq!(*state, expected(&after), "{:?}", after.jobs);
                build.finished = Some(*state);
            }
        }
    }
    for (job, was) in after.jobs.iter().zip(before) {
        assert!(
            !was.is_final() || job.state == was,
            "{} ended twice",
            job.plan.name
        );
    }
    build.board = after;
    for group in cleared {
        for other in builds.iter_mut().filter(|other| other.finished.is_none()) {
            let asked = other.board.jobs.iter().enumerate().filter(|(_, job)| {
                let own = job.plan.concurrency.as_ref();
                job.state.is_active() && own.is_some_and(|c| c.group == group)
            });
            let asked: Vec<usize> = asked.map(|(job, _)| job).collect();
            other.stopping.extend(asked);
        }
    }
    check_all(builds);
    changed
}

fn end(dice: &mut Dice, stopping: bool) -> AttemptEnd {
    let (state, cause) = match dice.roll(12) {
        _ if stopping && !dice.one_in(5) => (JobState::Cancelled, None),
        0 => (JobState::Failed, Some(FailureCause::Exit { code: 75 })),
        1 => (JobState::Failed, Some(FailureCause::Exit { code: 1 })),
        2 => (JobState::Failed, Some(FailureCause::Timeout)),
        3 => (JobState::Error, Some(FailureCause::Infrastructure)),
        4 => (JobState::Failed, Some(FailureCause::Other)),
        _ => (JobState::Passed, None),
    };
    AttemptEnd {
        state,
        cause,
        summary: "an end".to_owned(),
        outputs: BTreeMap::from([("o".to_owned(), dice.roll(2).to_string())]),
    }
}

/// Something happens in the world. Whether anything could.
fn happen(dice: &mut Dice, build: &mut Build) -> bool {
    if dice.one_in(150) {
        build.board.cancelled = true;
        return true;
    }
    let asking = |job: &&mut BoardJob| job.state == JobState::Approval && job.approved.is_none();
    if let Some(job) = build.board.jobs.iter_mut().find(asking)
        && dice.one_in(2)
    {
        job.approved = Some(!dice.one_in(5));
        return true;
    }
    let active: Vec<usize> = (0..build.board.jobs.len())
        .filter(|job| build.board.jobs[*job].state.is_active())
        .filter(|job| build.board.jobs[*job].ended.is_none())
        .collect();
    if active.is_empty() {
        return build
            .board
            .jobs
            .iter()
            .any(|job| job.state == JobState::Approval);
    }
    let job = active[dice.roll(active.len())];
    let stopping = build.stopping.contains(&job);
    build.board.jobs[job].state = JobState::Running;
    if !dice.one_in(4) {
        build.board.jobs[job].ended = Some(end(dice, stopping));
    }
    true
}

fn world(seed: u64, wanted: usize) -> usize {
    let mut dice = Dice(seed | 1);
    let mut live: Vec<Build> = Vec::new();
    let (mut made, mut finished, mut idle) = (0, 0, 0);
    while finished < wanted {
        if live.len() < SIDE_BY_SIDE && made < wanted && (live.is_empty() || dice.one_in(3)) {
            made += 1;
            live.push(build(&mut dice, made));
        }
        let which = dice.roll(live.len());
        let changed = advance(&mut dice, &mut live, which);
        if live[which].finished.is_some() {
            live.swap_remove(which);
            finished += 1;
            idle = 0;
            continue;
        }
        let which = dice.roll(live.len());
        let happened = happen(&mut dice, &mut live[which]);
        idle = if changed || happened { 0 } else { idle + 1 };
        assert!(idle < 1000, "nothing goes on: {:#?}", live[which].board);
    }
    finished
}

#[test]
fn ten_thousand_builds_keep_the_rules_and_end() {
    let number = |name: &str, usual: usize| {
        let given = std::env::var(name).ok().and_then(|text| text.parse().ok());
        given.unwrap_or(usual)
    };
    let (wanted, seed) = (
        number("WINDLASS_SIMULATE", 10_000),
        number("WINDLASS_SEED", 1),
    );
    let worlds = 100;
    let mut finished = 0;
    for n in 0..worlds {
        let seed = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 17) ^ 0x5bd1;
        eprintln!("world {n}, seed {seed:#x}");
        finished += world(seed, wanted / worlds as usize);
    }
    assert_eq!(finished, wanted / worlds as usize * worlds as usize);
}
