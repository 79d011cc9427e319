//! Whatever workers, people and crashes do in whatever order, the rows agree with each other.

use proptest::prelude::*;
use windlass_model::BuildState;
use windlass_model::status::StatusState;
use windlass_store::queue::{Claim, Phase, Willing};
use windlass_store::steps::Told;

use crate::lab::{Lab, finish, plan, status, trigger};

#[derive(Debug, Clone, Copy)]
enum Move {
    Submit,
    Claim(u8),
    Launch(u8),
    Record(u8),
    Finish(u8, bool),
    Done(u8),
    Cancel,
    Retry,
    Crash,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        1 => Just(Move::Submit),
        4 => (0u8..2).prop_map(Move::Claim),
        4 => (0u8..2).prop_map(Move::Launch),
        2 => (0u8..2).prop_map(Move::Record),
        4 => (0u8..2, any::<bool>()).prop_map(|(w, p)| Move::Finish(w, p)),
        2 => (0u8..2).prop_map(Move::Done),
        1 => Just(Move::Cancel),
        2 => Just(Move::Retry),
        1 => Just(Move::Crash),
    ];
    proptest::collection::vec(one, 1..40)
}

async fn play(moves: &[Move]) {
    let lab = Lab::new().await;
    let store = &lab.store;
    let build = lab.manual().await;
    let mut claims: [Option<Claim>; 2] = [None, None];
    let mut before = store.build_by_id(build.id).await.unwrap().state;
    for mv in moves {
        // Every refusal is fine; what counts is what the rows say afterwards.
        match *mv {
            Move::Submit => drop(lab.manual().await),
            Move::Claim(w) => {
                let owner = format!("w{w}");
                let claim = store
                    .claim(&owner, 60_000, Willing::Anything)
                    .await
                    .unwrap();
                claims[usize::from(w)] = claim.or(claims[usize::from(w)].take());
            }
            Move::Launch(w) => {
                if let Some(claim) = &claims[usize::from(w)] {
                    let owner = format!("w{w}");
                    let id = claim.attempt.id;
                    store
                        .launched(id, &owner, "process", "windlass.yml", &plan())
                        .await
                        .ok();
                }
            }
            Move::Record(w) => {
                if let Some(claim) = &claims[usize::from(w)] {
                    let told = [Told::Started {
                        step: 0,
                        time_us: 5,
                    }];
                    store.record(claim.attempt.id, &told).await.unwrap();
                }
            }
            Move::Finish(w, passed) => {
                if let Some(claim) = &claims[usize::from(w)] {
                    let state = if passed {
                        BuildState::Passed
                    } else {
                        BuildState::Failed
                    };
                    let said = if passed {
                        StatusState::Success
                    } else {
                        StatusState::Failure
                    };
                    let said = Some(status(&claim.build.trigger, said));
                    store
                        .finish(claim, &format!("w{w}"), &finish(state), said)
                        .await
                        .ok();
                }
            }
            Move::Done(w) => {
                if let Some(claim) = &claims[usize::from(w)] {
                    let now = store.attempt_by_id(claim.attempt.id).await.unwrap();
                    if now.phase == Phase::Recorded {
                        store.done(claim.attempt.id).await.unwrap();
                    }
                }
            }
            Move::Cancel => {
                let now = store.build_by_id(build.id).await.unwrap();
                store.cancel(&now, None).await.ok();
            }
            Move::Retry => {
                let now = store.build_by_id(build.id).await.unwrap();
                let said = Some(status(&now.trigger, StatusState::Pending));
                store.retry(&now, said).await.ok();
            }
            Move::Crash => drop(store.release_leases(None).await.unwrap()),
        }
        let now = store.build_by_id(build.id).await.unwrap();
        assert!(
            now.state == before || before.may_become(now.state),
            "{mv:?}: {before} became {}",
            now.state
        );
        before = now.state;
        let attempts = store.attempts(build.id).await.unwrap();
        assert_eq!(attempts.len() as i64, now.attempt);
        let newest = attempts.last().unwrap();
        assert_eq!(
            newest.state, now.state,
            "{mv:?}: the build and its newest attempt differ"
        );
        for attempt in &attempts {
            let open = matches!(
                attempt.phase,
                Phase::Queued | Phase::Preparing | Phase::Launched
            );
            assert_eq!(open, !attempt.state.is_final(), "{mv:?}: {attempt:?}");
            let old = attempt.number < now.attempt;
            assert!(!(old && open), "{mv:?}: an old attempt goes on");
        }
        let waiting = store.statuses_of_build(build.id).await.unwrap();
        let waiting = waiting.iter().filter(|row| row.state == "waiting").count();
        assert!(
            waiting <= 1,
            "{waiting} statuses wait for one commit and context"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..Default::default() })]

    #[test]
    fn the_rows_always_agree(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(&moves));
    }
}

#[test]
fn the_trigger_of_these_tests_is_manual() {
    // Manual builds have no key, so each submission is a build of its own.
    let manual = trigger(windlass_model::Event::Manual, 'a');
    assert_eq!(windlass_store::builds::dedupe_key(&manual), None);
}
