//! Figures: `cargo run --release -p windlass-engine --example bench_schedule`
//!
//! Prints `name microseconds`: what deciding costs for each of 10,000 jobs that are ready.

use std::hint::black_box;
use std::time::Instant;

use windlass_engine::schedule::{apply, decide};
use windlass_model::JobPlan;
use windlass_model::board::{Board, BoardJob};
use windlass_model::plan::Need;

const JOBS: usize = 10_000;

fn main() {
    let job = |n: usize| {
        BoardJob::new(JobPlan {
            name: format!("test ({n})"),
            base: "test".to_owned(),
            needs: vec![Need {
                job: "build".to_owned(),
                optional: true,
                artifacts: false,
            }],
            ..JobPlan::default()
        })
    };
    let mut times: Vec<_> = (0..21)
        .map(|_| {
            let mut board = Board {
                jobs: (0..JOBS).map(job).collect(),
                ..Board::default()
            };
            let begun = Instant::now();
            let moves = decide(&board);
            apply(&mut board, &moves);
            let took = begun.elapsed();
            assert_eq!(black_box(moves).len(), JOBS);
            took
        })
        .collect();
    times.sort();
    println!("decide {:.3}", times[10].as_secs_f64() * 1e6 / JOBS as f64);
}
