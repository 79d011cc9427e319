//! Opening: who may migrate, what is sealed, what is noticed, what a full disk does.

use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};
use windlass_model::Secret;
use windlass_store::db::KEY_FILE;
use windlass_store::{OnPending, Store, StoreError};

use crate::lab::{Lab, new_repo, open};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_that_open_a_fresh_folder_at_once_agree() {
    let dir = tempfile::tempdir().unwrap();
    let opened = (0..6).map(|_| {
        let path = dir.path().to_path_buf();
        tokio::spawn(async move { open(&path).await.repos().await.unwrap().len() })
    });
    for task in opened.collect::<Vec<_>>() {
        assert_eq!(task.await.unwrap(), 0);
    }
}

/// What the first release wrote, in its own words: it must work before and after the migration,
/// because that release may still run while the schema is newer already.
const FIRST_RELEASE: &str = "
    insert into repos (name, url, forge, created_ms) values ('old', 'file:///old', 'git', 1);
    insert into builds (repo_id, number, state, trigger, event, revision, git_ref, dedupe,
        delivery_id, attempt, created_ms)
        select id, 1, 'passed', '{\"event\":\"manual\",\"revision\":\"' || hex(zeroblob(20)) ||
        '\",\"git_ref\":\"HEAD\",\"message\":\"\",\"author\":\"\",\"url\":null}', 'manual',
        hex(zeroblob(20)), 'HEAD', null, null, 1, 1 from repos where name = 'old';
    insert into attempts (build_id, number, state, phase, created_ms)
        select id, 1, 'passed', 'done', 1 from builds;
    insert into steps (attempt_id, idx, name) select id, 0, 'make' from attempts;";

#[tokio::test]
async fn a_database_of_an_older_release_is_migrated_only_when_told() {
    use sqlx::ConnectOptions as _;
    let dir = tempfile::tempdir().unwrap();
    let schema = windlass_store::Schema::of(&dir.path().into()).unwrap();
    let mut options = windlass_migrate::Options::default();
    options.rules.to = Some(1.into());
    schema.migrate(&options, &mut |_| {}).await.unwrap();
    let file = dir.path().join("windlass.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&file);
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(FIRST_RELEASE)
        .execute(&mut conn)
        .await
        .unwrap();
    drop(conn);
    let refused = Store::open(dir.path(), OnPending::Refuse)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&refused, StoreError::MigrationPending { files, .. } if files.len() + 1 == windlass_store::schema::SQLITE.len()),
        "{refused}"
    );
    let store = Store::open(dir.path(), OnPending::Migrate).await.unwrap();
    let builds = store
        .builds(&windlass_store::BuildFilter::default(), 9)
        .await
        .unwrap();
    assert_eq!((builds.len(), builds[0].run), (1, 1));
    let attempt = store.attempt(builds[0].id, 1).await.unwrap();
    assert_eq!((attempt.job_id, attempt.run), (None, 1));
    assert_eq!(store.steps(attempt.id).await.unwrap().len(), 1);
    // The first release goes on with the newer schema.
    let mut conn = options.connect().await.unwrap();
    let again = FIRST_RELEASE
        .replace("'old'", "'older'")
        .replace("from builds;", "from builds where id = 2;");
    let again = again.replace("from attempts;", "from attempts where id = 2;");
    sqlx::raw_sql(sqlx::AssertSqlSafe(again))
        .execute(&mut conn)
        .await
        .unwrap();
    let builds = store
        .builds(&windlass_store::BuildFilter::default(), 9)
        .await
        .unwrap();
    assert_eq!(builds.len(), 2);
}

#[tokio::test]
async fn secrets_are_on_the_disk_only_sealed_and_open_only_with_their_key() {
    let lab = Lab::new().await;
    let secret = Secret::new("correct horse battery staple");
    lab.store
        .set_secret(lab.repo.id, "TOKEN", &secret)
        .await
        .unwrap();
    let names = ["TOKEN".to_owned()];
    let values = lab.store.secret_values(lab.repo.id, &names).await.unwrap();
    assert_eq!(values["TOKEN"].expose(), secret.expose());
    for entry in std::fs::read_dir(lab.dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for plain in ["correct horse", "ghp_sealed", "a webhook"] {
            let found = bytes.windows(plain.len()).any(|w| w == plain.as_bytes());
            assert!(!found, "{} holds {plain:?}", path.display());
        }
    }
    std::fs::remove_file(lab.dir.path().join(KEY_FILE)).unwrap();
    let other = open(lab.dir.path()).await;
    let wrong = other.secret_values(lab.repo.id, &names).await.unwrap_err();
    assert!(matches!(wrong, StoreError::WrongKey { .. }), "{wrong}");
}

#[tokio::test]
async fn a_removed_repository_frees_its_name_and_keeps_its_builds() {
    let lab = Lab::new().await;
    lab.manual().await;
    let taken = lab.store.add_repo(&new_repo("r")).await.unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    lab.store.remove_repo(lab.repo.id).await.unwrap();
    assert!(lab.store.repos().await.unwrap().is_empty());
    assert!(lab.store.build(&lab.repo.name, 1).await.is_ok());
    let back = lab.store.add_repo(&new_repo("r")).await.unwrap();
    assert_eq!((back.id, back.last_build), (lab.repo.id, 1));
}

#[tokio::test]
async fn what_another_process_writes_is_noticed() {
    let lab = Lab::new().await;
    let other = lab.other().await;
    let watcher = lab.store.clone();
    tokio::spawn(async move {
        watcher
            .watch_other_processes(Duration::from_millis(5))
            .await
    });
    let mut changes = lab.store.changes();
    // The watcher's first look counts as a change; wait it out.
    changes.changed().await.unwrap();
    other.add_repo(&new_repo("second")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), changes.changed())
        .await
        .unwrap()
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
        tokio::time::sleep(Duration::from_micros(n * 60)).await;
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
async fn after_a_full_disk_it_goes_on_without_being_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    mount(
        Some("tmpfs"),
        dir.path(),
        Some("tmpfs"),
        MsFlags::empty(),
        Some("size=2m"),
    )
    .expect("this test mounts a small tmpfs: run it as root");
    let store = open(dir.path()).await;
    let ballast = dir.path().join("ballast");
    let filled = std::fs::write(&ballast, vec![0; 4 << 20]);
    assert!(filled.is_err(), "the disk is not full");
    let mut full = None;
    for n in 0..200 {
        if let Err(error) = store.add_repo(&new_repo(&format!("r{n}"))).await {
            full = Some(error);
            break;
        }
    }
    let full = full.expect("a write on a full disk succeeded 200 times");
    assert!(full.is_disk_full(), "{full:?}");
    std::fs::remove_file(ballast).unwrap();
    store.add_repo(&new_repo("again")).await.unwrap();
    store.close().await;
    drop(store);
    umount(dir.path()).ok();
}
