//! The queue: each attempt has one worker, whatever happens to workers.

use std::collections::BTreeSet;

use windlass_model::BuildState;
use windlass_store::StoreError;
use windlass_store::queue::{Phase, Willing};

use crate::lab::{Lab, finish, plan};

const LEASE: i64 = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_claimers_exactly_one_gets_each_attempt() {
    let lab = Lab::new().await;
    for _ in 0..60 {
        lab.manual().await;
    }
    let mut workers = Vec::new();
    for n in 0..8 {
        let store = lab.other().await;
        workers.push(tokio::spawn(async move {
            let mut got = Vec::new();
            let owner = format!("w{n}");
            while let Some(claim) = store.claim(&owner, LEASE, Willing::Anything).await.unwrap() {
                got.push(claim.attempt.id);
                tokio::task::yield_now().await;
            }
            got
        }));
    }
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    assert_eq!(all.len(), 60);
    assert_eq!(
        all.iter().collect::<BTreeSet<_>>().len(),
        60,
        "one was claimed twice"
    );
}

#[tokio::test]
async fn a_living_lease_keeps_others_out_and_an_expired_one_does_not() {
    let lab = Lab::new().await;
    lab.manual().await;
    let store = &lab.store;
    let first = store
        .claim("a", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.attempt.phase, first.build.state),
        (Phase::Preparing, BuildState::Running)
    );
    assert!(
        store
            .claim("b", LEASE, Willing::Anything)
            .await
            .unwrap()
            .is_none()
    );
    // A's time is over (a lease of no length), so B takes it.
    store.renew_leases("a", -1).await.unwrap();
    let second = store
        .claim("b", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.attempt.id, first.attempt.id);

    // Whatever A writes now is refused and changes nothing.
    let id = first.attempt.id;
    let refused = store
        .launched(id, "a", "process", "windlass.yml", &plan())
        .await
        .unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    let passed = finish(BuildState::Passed);
    let refused = store.finish(&first, "a", &passed, None).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    assert_eq!(
        store.build_by_id(first.build.id).await.unwrap().state,
        BuildState::Running
    );
    assert!(store.steps(id).await.unwrap().is_empty());
    store
        .launched(id, "b", "process", "windlass.yml", &plan())
        .await
        .unwrap();
    assert_eq!(store.steps(id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_begun_comes_before_what_waits() {
    let lab = Lab::new().await;
    let store = &lab.store;
    lab.manual().await;
    lab.manual().await;
    let first = store
        .claim("a", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    let second = store
        .claim("a", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    store
        .launched(second.attempt.id, "a", "process", "windlass.yml", &plan())
        .await
        .unwrap();
    lab.manual().await;
    assert_eq!(store.release_leases(None).await.unwrap(), 2);
    // Somebody without a free slot takes the running job, and nothing else.
    let orphan = store
        .claim("b", LEASE, Willing::Orphans)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(orphan.attempt.id, second.attempt.id);
    assert!(
        store
            .claim("b", LEASE, Willing::Orphans)
            .await
            .unwrap()
            .is_none()
    );
    let next = store
        .claim("b", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.attempt.id, first.attempt.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cancelled_build_in_the_queue_is_never_run() {
    let lab = Lab::new().await;
    let other = lab.other().await;
    for _ in 0..40 {
        let build = lab.manual().await;
        let claiming = {
            let other = other.clone();
            tokio::spawn(async move { other.claim("w", LEASE, Willing::Anything).await.unwrap() })
        };
        lab.store.cancel(&build, None).await.unwrap();
        let claimed = claiming.await.unwrap();
        let now = lab.store.build_by_id(build.id).await.unwrap();
        match claimed {
            // The claim was first: its worker hears of the wish.
            Some(claim) => {
                assert_eq!(claim.build.id, build.id);
                assert!(lab.store.cancel_requested(build.id, None).await.unwrap());
                assert_eq!(now.state, BuildState::Running);
                let end = finish(BuildState::Cancelled);
                lab.store.finish(&claim, "w", &end, None).await.unwrap();
                lab.store.done(claim.attempt.id).await.unwrap();
            }
            None => assert_eq!(now.state, BuildState::Cancelled),
        }
    }
}

#[tokio::test]
async fn a_retry_is_a_new_attempt_and_a_running_build_can_not_be_retried() {
    let lab = Lab::new().await;
    let store = &lab.store;
    let build = lab.manual().await;
    let claim = store
        .claim("a", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    let refused = store.retry(&build, None).await.unwrap_err();
    assert!(
        refused.to_string().contains("has not ended yet"),
        "{refused}"
    );
    store
        .finish(&claim, "a", &finish(BuildState::Failed), None)
        .await
        .unwrap();
    assert_eq!(store.retry(&build, None).await.unwrap(), 2);
    // The first attempt is still being sealed; that must not disturb the second.
    store.done(claim.attempt.id).await.unwrap();
    let second = store
        .claim("a", LEASE, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.attempt.number, 2);
    store
        .finish(&second, "a", &finish(BuildState::Passed), None)
        .await
        .unwrap();
    let attempts = store.attempts(build.id).await.unwrap();
    let states: Vec<_> = attempts.iter().map(|a| a.state).collect();
    assert_eq!(states, [BuildState::Failed, BuildState::Passed]);
    assert_eq!(
        store.build_by_id(build.id).await.unwrap().state,
        BuildState::Passed
    );
}
