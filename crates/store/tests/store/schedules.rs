//! Schedules and parameters: the newest spec of a branch counts, and a time makes one build.

use windlass_model::Event;
use windlass_store::NewBuild;
use windlass_store::Submitted;
use windlass_store::db::now_ms;
use windlass_store::results::{NewArtifact, Report, Results, Test, TestEnd};
use windlass_store::schedules::NewSchedule;

use crate::lab::{Lab, trigger};

fn schedule(name: &str, cron: &str, next_ms: i64) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        timezone: "UTC".to_owned(),
        next_ms,
    }
}

#[tokio::test]
async fn the_newest_spec_of_a_branch_counts() {
    let lab = Lab::new().await;
    let (repo, store) = (lab.repo.id, &lab.store);
    let (old, new) = (lab.manual().await.id, lab.manual().await.id);
    let far = now_ms() + 1_000_000;
    let first = [
        schedule("a", "0 0 * * *", far),
        schedule("b", "0 0 * * *", far),
    ];
    store
        .note_spec(repo, "main", old, "[1]", &first)
        .await
        .unwrap();
    store
        .note_spec(repo, "other", old, "[]", &first[..1])
        .await
        .unwrap();
    // `b` goes, `a` keeps its time as long as it means the same.
    let second = [schedule("a", "0 0 * * *", far + 5)];
    store
        .note_spec(repo, "main", new, "[2]", &second)
        .await
        .unwrap();
    let main = || async {
        let all = store.schedules(repo).await.unwrap();
        let main = all.into_iter().filter(|s| s.branch == "main");
        main.map(|s| (s.name, s.next_ms)).collect::<Vec<_>>()
    };
    assert_eq!(main().await, [("a".to_owned(), far)]);
    let third = [schedule("a", "0 1 * * *", far + 5)];
    store
        .note_spec(repo, "main", new, "[2]", &third)
        .await
        .unwrap();
    assert_eq!(main().await, [("a".to_owned(), far + 5)]);
    // An older build that comes late changes nothing.
    store
        .note_spec(repo, "main", old, "[1]", &first)
        .await
        .unwrap();
    assert_eq!(main().await.len(), 1);
    assert_eq!(store.params(repo, "main").await.unwrap().unwrap(), "[2]");
    assert_eq!(store.branches(repo).await.unwrap(), ["main", "other"]);
    assert_eq!(store.schedules(repo).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_time_makes_one_build_also_when_it_is_told_twice() {
    let lab = Lab::new().await;
    let store = &lab.store;
    let build = lab.manual().await.id;
    let now = [schedule("a", "* * * * *", now_ms() - 1)];
    store
        .note_spec(lab.repo.id, "main", build, "[]", &now)
        .await
        .unwrap();
    let due = store.due_schedules().await.unwrap().remove(0);
    let event = Event::Schedule {
        name: "a".to_owned(),
    };
    let new = NewBuild {
        repo_id: lab.repo.id,
        trigger: trigger(event, 'a'),
        dedupe: Some(format!("schedule:{}:{}", due.id, due.next_ms)),
        delivery_id: None,
    };
    assert_eq!(
        store.submit(&new, |_| None).await.unwrap(),
        Submitted::New(2)
    );
    assert_eq!(
        store.submit(&new, |_| None).await.unwrap(),
        Submitted::Already(2)
    );
    let next = now_ms() + 60_000;
    store.schedule_moved(&due, next, "").await.unwrap();
    assert_eq!(store.due_schedules().await.unwrap(), []);
    assert_eq!(store.next_schedule_ms().await.unwrap(), Some(next));
    // Somebody else moved it meanwhile: nothing happens.
    store.schedule_moved(&due, 1, "late").await.unwrap();
    assert_eq!(store.next_schedule_ms().await.unwrap(), Some(next));
    store.schedule_gone(due.id).await.unwrap();
    assert_eq!(store.next_schedule_ms().await.unwrap(), None);
}

#[tokio::test]
async fn results_told_again_are_the_same_and_old_artifacts_are_found() {
    let lab = Lab::new().await;
    let store = &lab.store;
    let build = lab.manual().await;
    let attempt = store.attempt(build.id, 1).await.unwrap().id;
    let results = Results {
        artifacts: vec![
            NewArtifact {
                name: "short".to_owned(),
                files: 1,
                bytes: 2,
                retention_ms: Some(0),
            },
            NewArtifact {
                name: "long".to_owned(),
                files: 3,
                bytes: 4,
                retention_ms: None,
            },
        ],
        reports: vec![Report {
            kind: windlass_model::plan::ReportKind::Lcov,
            tests: 0,
            failed: 0,
            skipped: 0,
            flaky: 0,
            duration_ms: 0,
            lines: Some((3, 4)),
            problems: "a line".to_owned(),
        }],
        tests: vec![Test {
            end: TestEnd::Failed,
            suite: "s".to_owned(),
            name: "n".to_owned(),
            duration_ms: None,
            message: Some("m".to_owned()),
            output: None,
            file: None,
            line: Some(7),
            log: Some((1, 2)),
        }],
    };
    for _ in 0..2 {
        store
            .keep_results(build.id, attempt, &results)
            .await
            .unwrap();
    }
    assert_eq!(store.reports(attempt).await.unwrap(), results.reports);
    assert_eq!(store.tests(attempt).await.unwrap(), results.tests);
    let all = store.artifacts(build.id).await.unwrap();
    let names: Vec<&str> = all.iter().map(|a| a.name.as_str()).collect();
    assert_eq!(names, ["short", "long"]);
    let old = store.expired_artifacts().await.unwrap();
    assert_eq!(old.len(), 1);
    assert_eq!((old[0].name.as_str(), old[0].attempt), ("short", 1));
    store.artifact_removed(old[0].id).await.unwrap();
    assert_eq!(store.expired_artifacts().await.unwrap(), []);
    assert!(
        store.artifacts(build.id).await.unwrap()[0]
            .removed_ms
            .is_some()
    );
}
