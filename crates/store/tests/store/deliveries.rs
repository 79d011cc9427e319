//! The inbox, and builds made from it.

use windlass_model::Event;
use windlass_model::status::StatusState;
use windlass_store::builds::dedupe_key;
use windlass_store::{
    DeliveryState, ForgeKind, NewBuild, NewDelivery, Receipt, StoreError, Submitted,
};

use crate::lab::{Lab, pull, push, status, trigger};

fn delivery<'a>(key: &'a str, body: &'a [u8]) -> NewDelivery<'a> {
    NewDelivery {
        forge: ForgeKind::Github,
        key,
        event: "push",
        repo_id: None,
        content_type: Some("application/json"),
        remote: "192.0.2.1",
        signature: Some("sha256=00"),
        body,
    }
}

#[tokio::test]
async fn a_received_delivery_is_on_the_disk_byte_for_byte() {
    let lab = Lab::new().await;
    let body: Vec<u8> = (0..26 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let id = lab.store.receive(&delivery("k", &body)).await.unwrap().id();
    let other = lab.other().await;
    assert!(other.delivery_body(id).await.unwrap() == body);
    assert_eq!(
        other.delivery(id).await.unwrap().state,
        DeliveryState::Received
    );
}

#[tokio::test]
async fn the_same_delivery_is_stored_once_and_read_again_only_if_it_failed() {
    let lab = Lab::new().await;
    let store = &lab.store;
    store
        .reject(&delivery("k", b"forged"), "bad signature")
        .await
        .unwrap();
    let id = match store.receive(&delivery("k", b"genuine")).await.unwrap() {
        Receipt::New(id) => id,
        other => panic!("a rejected delivery kept the genuine one out: {other:?}"),
    };
    assert_eq!(
        store.receive(&delivery("k", b"genuine")).await.unwrap(),
        Receipt::Known(id)
    );
    store
        .settle(id, DeliveryState::Failed, None, "no such repository")
        .await
        .unwrap();
    assert!(store.next_delivery().await.unwrap().is_none());
    assert_eq!(
        store.receive(&delivery("k", b"genuine")).await.unwrap(),
        Receipt::Again(id)
    );
    assert_eq!(store.next_delivery().await.unwrap().unwrap().1, b"genuine");
    store
        .settle(id, DeliveryState::Done, None, "ignored")
        .await
        .unwrap();
    assert_eq!(
        store.receive(&delivery("k", b"genuine")).await.unwrap(),
        Receipt::Known(id)
    );
    assert!(store.next_delivery().await.unwrap().is_none());
    store.replay(id).await.unwrap();
    assert!(store.next_delivery().await.unwrap().is_some());
}

#[tokio::test]
async fn forged_deliveries_can_not_fill_the_disk() {
    let lab = Lab::new().await;
    for n in 0..620 {
        let key = format!("k{n}");
        lab.store
            .reject(&delivery(&key, &[b'x'; 1000]), "bad signature")
            .await
            .unwrap();
    }
    let kept = lab.store.deliveries(None, 10_000).await.unwrap();
    assert_eq!(kept.len(), 500);
    assert_eq!(kept[0].key, "k619");
    assert!(
        lab.store
            .delivery_body(kept[0].id)
            .await
            .unwrap()
            .is_empty()
    );
    let refused = lab.store.replay(kept[0].id).await.unwrap_err();
    assert!(
        refused.to_string().contains("body was not kept"),
        "{refused}"
    );
}

#[tokio::test]
async fn old_bodies_are_dropped_but_never_one_that_is_still_to_be_read() {
    let lab = Lab::new().await;
    let store = &lab.store;
    let settled = store.receive(&delivery("a", b"one")).await.unwrap().id();
    store
        .settle(settled, DeliveryState::Done, None, "ignored")
        .await
        .unwrap();
    let open = store.receive(&delivery("b", b"two")).await.unwrap().id();
    assert_eq!(store.drop_bodies(0).await.unwrap(), 0);
    let later = windlass_store::db::now_ms() + 1;
    assert_eq!(store.drop_bodies(later).await.unwrap(), 1);
    assert_eq!(store.delivery_body(open).await.unwrap(), b"two");
    let refused = store.replay(settled).await.unwrap_err();
    assert!(refused.to_string().contains("age"), "{refused}");
    assert_eq!(store.delivery(settled).await.unwrap().verdict, "ignored");
}

#[tokio::test]
async fn a_build_comes_with_its_attempt_status_and_verdict_or_not_at_all() {
    let lab = Lab::new().await;
    let store = &lab.store;
    let delivery_id = store.receive(&delivery("k", b"x")).await.unwrap().id();
    let trigger = trigger(push("main"), 'a');
    let mut new = NewBuild {
        repo_id: 99,
        dedupe: dedupe_key(&trigger),
        trigger: trigger.clone(),
        delivery_id: Some(delivery_id),
    };
    let missing = store.submit(&new, |_| None).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotFound(_)), "{missing}");
    assert_eq!(store.queue_length().await.unwrap(), 0);
    assert_eq!(
        store.delivery(delivery_id).await.unwrap().state,
        DeliveryState::Received
    );

    new.repo_id = lab.repo.id;
    let pending = |_| Some(status(&trigger, StatusState::Pending));
    assert_eq!(
        store.submit(&new, pending).await.unwrap(),
        Submitted::New(1)
    );
    let settled = store.delivery(delivery_id).await.unwrap();
    assert_eq!(
        (settled.verdict.as_str(), settled.build_number),
        ("made build 1", Some(1))
    );
    assert_eq!(store.due_statuses(10).await.unwrap().len(), 1);
    // Read once more after a crash: the same verdict, nothing new.
    assert_eq!(
        store.submit(&new, |_| None).await.unwrap(),
        Submitted::Already(1)
    );
    assert_eq!(
        store.delivery(delivery_id).await.unwrap().verdict,
        "made build 1"
    );
}

#[tokio::test]
async fn one_build_per_branch_and_revision() {
    let lab = Lab::new().await;
    let table = [
        (trigger(push("main"), 'a'), Submitted::New(1)),
        (trigger(push("main"), 'a'), Submitted::Already(1)),
        (trigger(push("main"), 'b'), Submitted::New(2)),
        (trigger(push("topic"), 'a'), Submitted::New(3)),
        (trigger(pull(7, "topic", false), 'a'), Submitted::Already(3)),
        (trigger(pull(7, "topic", true), 'a'), Submitted::New(4)),
        (trigger(pull(8, "topic", true), 'a'), Submitted::New(5)),
        (
            trigger(
                Event::Tag {
                    tag: "main".to_owned(),
                },
                'a',
            ),
            Submitted::New(6),
        ),
        (trigger(Event::Manual, 'a'), Submitted::New(7)),
        (trigger(Event::Manual, 'a'), Submitted::New(8)),
    ];
    for (trigger, expected) in table {
        let event = trigger.event.clone();
        assert_eq!(lab.submit(trigger).await, expected, "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_have_no_gaps_whoever_submits_at_once() {
    let lab = Lab::new().await;
    let mut tasks = Vec::new();
    for n in 0..40 {
        let (store, repo) = (lab.other().await, lab.repo.id);
        tasks.push(tokio::spawn(async move {
            let event = push(&format!("b{n}"));
            let trigger = trigger(event, 'a');
            let dedupe = dedupe_key(&trigger);
            let new = NewBuild {
                repo_id: repo,
                dedupe,
                trigger,
                delivery_id: None,
            };
            store.submit(&new, |_| None).await.unwrap()
        }));
    }
    let mut numbers = Vec::new();
    for task in tasks {
        if let Submitted::New(number) = task.await.unwrap() {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
}
