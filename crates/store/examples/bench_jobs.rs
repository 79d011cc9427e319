//! Figures: `cargo run --release -p windlass-store --example bench_jobs`
//!
//! Prints `name microseconds`: a plan of 10,000 jobs that are all ready, stored and queued, for each
//! job; one of them ends; a transaction that writes one row, for comparison.

#![expect(clippy::unwrap_used, reason = "an example for developers")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use windlass_model::board::{AttemptEnd, Board, Move};
use windlass_model::{BuildState, Event, JobPlan, JobState, Plan, StepPlan, Trigger};
use windlass_store::OnPending;
use windlass_store::queue::{Finish, Willing};
use windlass_store::{ForgeKind, Judge, NewBuild, NewRepo, Store};

const JOBS: usize = 10_000;
const ENDS: usize = 200;

fn job(n: usize) -> JobPlan {
    let step = |name: &str| StepPlan {
        name: name.to_owned(),
        argv: ["/bin/sh", "-e", "-c", "make test"]
            .map(ToOwned::to_owned)
            .into(),
        script: "make test".to_owned(),
        ..StepPlan::default()
    };
    JobPlan {
        name: format!("test ({n})"),
        base: "test".to_owned(),
        matrix: BTreeMap::from([("n".to_owned(), n.to_string())]),
        steps: vec![step("make"), step("test")],
        ..JobPlan::default()
    }
}

/// All begin at once; what ended, ended. (The real rules are measured in the engine.)
fn decide(board: &Board) -> Vec<Move> {
    let moves = board.jobs.iter().enumerate();
    moves
        .filter_map(|(job, on)| match (&on.ended, on.state) {
            (Some(end), _) => Some(Move::End {
                job,
                state: end.state,
                reason: String::new(),
            }),
            (None, JobState::Waiting) => Some(Move::Start {
                job,
                after: Duration::ZERO,
            }),
            _ => None,
        })
        .collect()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = std::env::temp_dir().join(format!("windlass-bench-jobs-{}", std::process::id()));
    let store = Store::open(&dir, OnPending::Refuse).await.unwrap();
    let repo = NewRepo {
        name: "app".parse().unwrap(),
        url: "/srv/git/app.git".to_owned(),
        forge: ForgeKind::Git,
        forge_name: None,
        webhook_secret: None,
        status_token: None,
        build_forks: false,
    };
    let repo_id = store.add_repo(&repo).await.unwrap().id;
    let trigger = Trigger::new(
        Event::Manual,
        "a".repeat(40).parse().unwrap(),
        "HEAD".to_owned(),
    );
    let new = NewBuild {
        repo_id,
        trigger,
        dedupe: None,
        delivery_id: None,
    };
    store.submit(&new, |_| None).await.unwrap();
    let judge = Judge {
        decide: &decide,
        status: &|_| None,
    };
    let claim = || store.claim("bench", 60_000, Willing::Anything);
    let planning = claim().await.unwrap().unwrap();
    let plan = Plan {
        jobs: (0..JOBS).map(job).collect(),
        ..Plan::default()
    };
    let begun = Instant::now();
    let planned = store.planned(&planning, "bench", "windlass.yml", &plan, judge);
    planned.await.unwrap();
    println!(
        "planned {:.2}",
        begun.elapsed().as_secs_f64() * 1e6 / JOBS as f64
    );

    let (mut ends, mut writes) = (Vec::new(), Vec::new());
    for n in 0..ENDS {
        let claim = claim().await.unwrap().unwrap();
        let id = claim.attempt.id;
        let one = Plan {
            jobs: vec![job(n)],
            ..Plan::default()
        };
        store
            .launched(id, "bench", "process", "windlass.yml", &one)
            .await
            .unwrap();
        let finish = Finish {
            state: BuildState::Passed,
            summary: String::new(),
            failed_step: None,
            error: None,
            hint: None,
            spec_problems: None,
        };
        let end = AttemptEnd {
            state: JobState::Passed,
            cause: None,
            summary: String::new(),
            outputs: BTreeMap::new(),
        };
        let begun = Instant::now();
        store
            .finish_job(&claim, "bench", &finish, &end, judge)
            .await
            .unwrap();
        ends.push(begun.elapsed());
        let begun = Instant::now();
        store.renew_leases("bench", 60_000).await.unwrap();
        writes.push(begun.elapsed());
    }
    for (name, mut times) in [("finished", ends), ("write", writes)] {
        times.sort();
        println!("{name} {:.1}", times[ENDS / 2].as_secs_f64() * 1e6);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
