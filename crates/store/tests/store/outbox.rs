//! The outbox: the newest state of a commit, once, in the end.

use windlass_model::status::StatusState;
use windlass_store::db::now_ms;
use windlass_store::repos::RepoChange;

use crate::lab::{Lab, push, status, trigger};
use windlass_model::Secret;

#[tokio::test]
async fn a_newer_status_takes_the_place_of_one_that_was_not_sent() {
    let lab = Lab::new().await;
    let store = &lab.store;
    let trigger = trigger(push("main"), 'a');
    lab.submit(trigger.clone()).await;
    let pending = store.due_statuses(10).await.unwrap().remove(0);
    let build = store.build(&lab.repo.name, 1).await.unwrap();
    store
        .cancel(&build, Some(status(&trigger, StatusState::Error)))
        .await
        .unwrap();

    // The pending one was in flight and fails now: it must not come back.
    store
        .status_later(pending.id, now_ms(), "502")
        .await
        .unwrap();
    let due = store.due_statuses(10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].status.state, StatusState::Error);

    store
        .status_later(due[0].id, now_ms() + 60_000, "429")
        .await
        .unwrap();
    assert!(store.due_statuses(10).await.unwrap().is_empty());
    assert!(store.next_status_ms().await.unwrap().unwrap() > now_ms() + 50_000);
    // A new token may change everything: try at once.
    let change = RepoChange {
        status_token: Some(Secret::new("ghp_new")),
        ..Default::default()
    };
    store.change_repo(lab.repo.id, &change).await.unwrap();
    assert_eq!(store.due_statuses(10).await.unwrap().len(), 1);
    store.status_sent(due[0].id).await.unwrap();
    assert_eq!(store.next_status_ms().await.unwrap(), None);
    let told = store.statuses_of_build(build.id).await.unwrap();
    let states: Vec<_> = told.iter().map(|row| row.state.as_str()).collect();
    assert_eq!(states, ["sent", "replaced"]);
    assert_eq!(told[0].tries, 2);
}
