//! Several processes, lost connections, and what PostgreSQL keeps in another way than SQLite.

use std::time::Duration;

use windlass_model::Secret;
use windlass_store::builds::BuildFilter;
use windlass_store::{Store, StoreError};

use crate::home::{place, sql};
use crate::lab::{Lab, finish, new_repo, open, plan};

/// Ends every session of a database but the one that says so.
const END_ALL: &str = "select pg_terminate_backend(pid) from pg_stat_activity \
                       where datname = current_database() and pid <> pg_backend_pid()";

fn url(lab: &Lab) -> &str {
    lab.place.database.as_deref().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn six_that_open_an_empty_database_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path()).await;
    let opened = (0..6).map(|_| {
        let place = place.clone();
        tokio::spawn(async move { open(place).await.repos().await.unwrap().len() })
    });
    for task in opened.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_another_process_writes_is_noticed() {
    let lab = Lab::new().await;
    let other = lab.other().await;
    let watcher = lab.store.clone();
    tokio::spawn(async move { watcher.watch_other_processes(Duration::ZERO).await });
    let mut changes = lab.store.changes();
    // The first ring is that of the watcher itself: now it listens.
    changes.changed().await.unwrap();
    other.add_repo(&new_repo("second")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), changes.changed())
        .await
        .unwrap()
        .unwrap();
    // And again after its session was ended.
    sql(url(&lab), END_ALL).await;
    let noticed = async {
        for n in 0.. {
            let mut changes = lab.store.changes();
            other.add_repo(&new_repo(&format!("n{n}"))).await.ok();
            let heard = tokio::time::timeout(Duration::from_secs(1), changes.changed()).await;
            if heard.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_leaves_nothing_and_blocks_nobody() {
    let lab = Lab::new().await;
    let other = lab.other().await;
    for n in 0..30_u64 {
        let name = format!("gone{n}");
        let adding = lab.store.clone();
        let task = tokio::spawn(async move { adding.add_repo(&new_repo(&name)).await });
        tokio::time::sleep(Duration::from_micros(n * 150)).await;
        task.abort();
        let _ended = task.await;
    }
    let name = new_repo("after");
    let added = tokio::time::timeout(Duration::from_secs(10), other.add_repo(&name)).await;
    added.expect("a transaction was left open").unwrap();
    for repo in other.repos().await.unwrap() {
        assert!(
            repo.has_webhook_secret,
            "{} is half a repository",
            repo.name
        );
    }
}

#[tokio::test]
async fn sessions_that_are_ended_are_made_anew() {
    let lab = Lab::new().await;
    lab.store.take_for_server().await.unwrap();
    for n in 0..3 {
        sql(url(&lab), END_ALL).await;
        let added = lab.store.add_repo(&new_repo(&format!("again{n}"))).await;
        added.unwrap();
        assert_eq!(lab.store.repos().await.unwrap().len(), n + 2);
    }
}

#[tokio::test]
async fn one_server_has_a_database_until_it_is_gone() {
    let lab = Lab::new().await;
    lab.store.take_for_server().await.unwrap();
    let other = lab.other().await;
    let refused = other.take_for_server().await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
    lab.store.close().await;
    other.take_for_server().await.unwrap();
}

/// Many write at once through stores of their own: none waits for ever, none is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_several_processes_take_turns() {
    let lab = Lab::new().await;
    let mut tasks = Vec::new();
    for n in 0..6 {
        let store: Store = lab.other().await;
        let repo = lab.repo.id;
        tasks.push(tokio::spawn(async move {
            for m in 0..10 {
                let name = format!("S{n}_{m}");
                let value = Secret::new("x");
                store.set_secret(repo, &name, &value).await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let names = lab.store.secret_names(lab.repo.id).await.unwrap();
    assert_eq!(names.len(), 60);
}

#[tokio::test]
async fn names_are_equal_whatever_their_case_and_nul_is_no_harm() {
    let lab = Lab::new().await;
    let taken = lab.store.add_repo(&new_repo("R")).await.unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    let found = lab.store.repo_by_name(&"R".parse().unwrap()).await.unwrap();
    assert_eq!(found.id, lab.repo.id);
    lab.manual().await;
    let claim = lab
        .store
        .claim("w", 60_000, windlass_store::queue::Willing::Anything)
        .await
        .unwrap()
        .unwrap();
    let id = claim.attempt.id;
    lab.store
        .launched(id, "w", "process", "windlass.yml", &plan())
        .await
        .unwrap();
    let mut end = finish(windlass_model::BuildState::Failed);
    end.summary = "a\0b".to_owned();
    lab.store.finish(&claim, "w", &end, None).await.unwrap();
    let builds = lab.store.builds(&BuildFilter::default(), 9).await.unwrap();
    assert_eq!(builds[0].summary, "a\u{fffd}b");
    let places = lab.store.attempt_places(&[id, 77]).await.unwrap();
    assert_eq!(places[&id].steps, ["one", "two"]);
}
