//! The outbox to the archive: a row per step and sink, made with the end of the attempt, and settled
//! once.

use windlass_model::plan::{FIRST_SERVICE_LOG, ServicePlan};
use windlass_model::{BuildState, Plan};
use windlass_store::queue::Willing;
use windlass_store::steps::Told;
use windlass_store::{ArchiveCopy, KeptCopy};

use crate::lab::{Lab, finish, plan};

const ES: &str = "elasticsearch";

/// An attempt of two steps, of which the first began.
async fn attempt(lab: &Lab) -> i64 {
    attempt_of(lab, &plan()).await
}

async fn attempt_of(lab: &Lab, plan: &Plan) -> i64 {
    lab.manual().await;
    let store = &lab.store;
    let claim = store
        .claim("w", 60_000, Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    let id = claim.attempt.id;
    store
        .launched(id, "w", "process", "windlass.yml", plan)
        .await
        .unwrap();
    let started = Told::Started {
        step: 0,
        time_us: 5,
    };
    store.record(id, &[started]).await.unwrap();
    store
        .finish(&claim, "w", &finish(BuildState::Passed), None)
        .await
        .unwrap();
    id
}

async fn due(lab: &Lab, sink: &str) -> Vec<ArchiveCopy> {
    lab.store.due_copies(sink, 100).await.unwrap()
}

fn kept(place: &str, objects: &[&str]) -> KeptCopy {
    KeptCopy {
        place: place.to_owned(),
        bytes: 7,
        sha256: "abc".to_owned(),
        parts: 2,
        objects: objects.iter().map(ToString::to_string).collect(),
    }
}

#[tokio::test]
async fn rows_come_with_the_end_of_an_attempt_and_only_for_sinks_that_are_there() {
    let lab = Lab::new().await;
    let store = &lab.store;
    // Without a sink there is no row; the first one gets what it missed.
    let first = attempt(&lab).await;
    store.done(first).await.unwrap();
    assert!(store.archive_counts().await.unwrap().is_empty());
    store.set_archive_sinks(&[ES]).await.unwrap();
    let rows = due(&lab, ES).await;
    assert_eq!(rows.len(), 1, "only the step that began: {rows:?}");
    assert_eq!((rows[0].attempt_id, rows[0].step), (first, 0));
    assert_eq!(
        (rows[0].repo.as_str(), rows[0].build, rows[0].attempt),
        ("r", 1, 1)
    );
    assert_eq!(rows[0].step_name, "one");
    // Not before it is done, and once, however often it is done.
    let second = attempt(&lab).await;
    assert_eq!(due(&lab, ES).await.len(), 1);
    store.done(second).await.unwrap();
    store.done(second).await.unwrap();
    assert_eq!(due(&lab, ES).await.len(), 2);
    // A second sink gets both; one that is gone gets no more.
    store.set_archive_sinks(&["s3"]).await.unwrap();
    assert_eq!(due(&lab, "s3").await.len(), 2);
    let third = attempt(&lab).await;
    store.done(third).await.unwrap();
    assert_eq!(
        (due(&lab, ES).await.len(), due(&lab, "s3").await.len()),
        (2, 3)
    );
    let counts = store.archive_counts().await.unwrap();
    let brief: Vec<_> = counts
        .iter()
        .map(|c| (c.sink.as_str(), c.active, c.state.as_str(), c.copies))
        .collect();
    assert_eq!(
        brief,
        [(ES, false, "waiting", 2), ("s3", true, "waiting", 3)]
    );
    // The name of the data folder stays.
    let instance = store.archive_instance().await.unwrap();
    assert_eq!(instance.len(), 12);
    assert_eq!(
        lab.other().await.archive_instance().await.unwrap(),
        instance
    );
}

#[tokio::test]
async fn a_copy_is_put_off_refused_kept_and_lost() {
    let lab = Lab::new().await;
    let store = &lab.store;
    store.set_archive_sinks(&[ES]).await.unwrap();
    let attempt = attempt(&lab).await;
    store.done(attempt).await.unwrap();
    let id = due(&lab, ES).await[0].id;
    let later = windlass_store::db::now_ms() + 60_000;
    store.copy_later(id, later, "no connection").await.unwrap();
    assert!(due(&lab, ES).await.is_empty());
    assert_eq!(store.next_copy_ms(ES).await.unwrap(), Some(later));
    assert_eq!(
        store.archive_troubles(ES, 9).await.unwrap()[0].last_error,
        "no connection"
    );
    // A restart is a reason to try at once, also what was refused.
    store.set_archive_sinks(&[ES]).await.unwrap();
    assert_eq!(due(&lab, ES).await[0].tries, 1);
    store.copy_refused(id, "mapping").await.unwrap();
    assert!(due(&lab, ES).await.is_empty());
    store.set_archive_sinks(&[ES]).await.unwrap();
    assert_eq!(due(&lab, ES).await.len(), 1);
    store.copy_kept(id, &kept("index-1", &[])).await.unwrap();
    assert!(due(&lab, ES).await.is_empty());
    assert_eq!(store.next_copy_ms(ES).await.unwrap(), None);
    let copy = store.copies_of_step(attempt, 0).await.unwrap().remove(0);
    assert_eq!((copy.state.as_str(), copy.tries), ("kept", 0));
    assert_eq!((copy.place.as_str(), copy.bytes), ("index-1", 7));
    assert!(store.archive_troubles(ES, 9).await.unwrap().is_empty());
    // Found to be wrong: again.
    store.copy_again(id, "lost").await.unwrap();
    assert_eq!(due(&lab, ES).await.len(), 1);
    store.copy_kept(id, &kept("index-1", &[])).await.unwrap();
    // Its index is dropped for its age.
    assert_eq!(store.place_dropped(ES, "index-1").await.unwrap(), 1);
    assert_eq!(store.copies(ES, None).await.unwrap()[0].state, "removed");
    // That is for ever.
    store.set_archive_sinks(&[ES]).await.unwrap();
    assert!(due(&lab, ES).await.is_empty());
}

#[tokio::test]
async fn what_is_to_go_goes_also_if_it_was_just_written() {
    let lab = Lab::new().await;
    let store = &lab.store;
    store.set_archive_sinks(&["s3"]).await.unwrap();
    for _ in 0..2 {
        let attempt = attempt(&lab).await;
        store.done(attempt).await.unwrap();
    }
    let rows = due(&lab, "s3").await;
    let (one, two) = (&rows[0], &rows[1]);
    store
        .copy_kept(one.id, &kept("m1", &["same", "own"]))
        .await
        .unwrap();
    // The second is being written while somebody asks for its removal.
    let build = store.build(&lab.repo.name, 2).await.unwrap();
    assert_eq!(store.remove_copies(build.id, None).await.unwrap(), 1);
    store
        .copy_kept(two.id, &kept("m2", &["same"]))
        .await
        .unwrap();
    let removing = due(&lab, "s3").await;
    assert_eq!(removing.len(), 1);
    assert_eq!(
        (removing[0].id, removing[0].state.as_str()),
        (two.id, "removing")
    );
    // What the first has too stays.
    assert!(store.lone_objects(two.id).await.unwrap().is_empty());
    store.copy_removed(two.id).await.unwrap();
    assert_eq!(store.remove_copies(build.id, None).await.unwrap(), 0);
    assert_eq!(store.lone_objects(one.id).await.unwrap(), ["own", "same"]);
    let build = store.build(&lab.repo.name, 1).await.unwrap();
    let other = Some(two.attempt_id);
    assert_eq!(store.remove_copies(build.id, other).await.unwrap(), 0);
    assert_eq!(
        store
            .remove_copies(build.id, Some(one.attempt_id))
            .await
            .unwrap(),
        1
    );
}

#[tokio::test]
async fn services_have_copies_as_steps_have_also_in_a_sink_that_comes_later() {
    let lab = Lab::new().await;
    let store = &lab.store;
    store.set_archive_sinks(&[ES]).await.unwrap();
    let mut plan = plan();
    for name in ["db", "cache"] {
        plan.jobs[0].services.push(ServicePlan {
            name: name.to_owned(),
            image: "x".to_owned(),
            env: Default::default(),
            command: None,
            ready: None,
        });
    }
    let attempt = attempt_of(&lab, &plan).await;
    store.done(attempt).await.unwrap();
    let first = i64::from(FIRST_SERVICE_LOG);
    let found = |copies: Vec<ArchiveCopy>| -> Vec<(i64, String)> {
        let mut all: Vec<_> = copies.into_iter().map(|c| (c.step, c.step_name)).collect();
        all.sort();
        all.split_off(1)
    };
    let services = [(first, "db".to_owned()), (first + 1, "cache".to_owned())];
    assert_eq!(found(due(&lab, ES).await), services);
    store.set_archive_sinks(&[ES, "s3"]).await.unwrap();
    store.set_archive_sinks(&[ES, "s3"]).await.unwrap();
    assert_eq!(found(due(&lab, "s3").await), services);
    assert_eq!(found(due(&lab, ES).await), services);
    let place = store
        .attempt_places(&[attempt])
        .await
        .unwrap()
        .remove(&attempt)
        .unwrap();
    assert_eq!(place.log_words(first), "service db");
    assert_eq!(place.log_words(1), "step 2");
    assert_eq!(
        (place.log_name(first + 1), place.log_name(first + 2)),
        ("cache", "")
    );
    // With the attempt's logs go the copies of all.
    store
        .bury_logs(&[(attempt, "old".to_owned())])
        .await
        .unwrap();
    let all = store.copies(ES, None).await.unwrap();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|copy| copy.state == "removing"));
}
