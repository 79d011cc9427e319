//! The ways in which locks fail on SQLite and MariaDB.

use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection as _, SqliteConnection};

use crate::scene::{Scene, until};
use crate::servers::Mariadb;

#[tokio::test]
async fn l9_a_paused_holder_on_sqlite_can_not_write_after_it_lost_the_lock() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
    let holder = scene.spawn(&["run", "--", "sleep", "60"]);
    until("the lock", async || {
        scene.run(&["unlock"]).out.contains("running sleep")
    })
    .await;
    holder.signal(Signal::SIGSTOP);
    scene.file("0002_b.sql", "create table b (x int);");
    // A living process of this machine keeps it, however silent.
    scene
        .run(&["up", "--lock-wait", "1s", "--lease", "8s"])
        .code(4);
    scene.run(&["unlock", "--force"]).code(0);
    scene.run(&["up"]).code(0);
    holder.signal(Signal::SIGCONT);
    holder.end().code(1).says("the lock was lost");
}

#[tokio::test]
async fn l10_l11_a_lease_of_elsewhere_blocks_only_while_it_is_fresh() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
    let mut conn = SqliteConnection::connect(&scene.url).await.unwrap();
    let now = "cast((julianday('now') - 2440587.5) * 86400000 as integer)";
    for (n, age, code) in [(2, 0, 4), (2, 60_000, 0), (3, -3_600_000, 0)] {
        let sql = format!(
            "update windlass_migrations_lock set owner = 'pod', home = 'elsewhere', \
             heartbeat_ms = {now} - {age}"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .unwrap();
        scene.file(&format!("000{n}_x.sql"), "select 1;");
        scene.run(&["up", "--lock-wait", "0"]).code(code);
    }
}

#[tokio::test]
async fn l14_a_writer_on_sqlite_is_waited_for() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
    scene.file("0002_b.sql", "alter table a add y int;");
    let mut conn = SqliteConnection::connect(&scene.url).await.unwrap();
    sqlx::raw_sql("begin immediate; insert into a values (1)")
        .execute(&mut conn)
        .await
        .unwrap();
    scene.run(&["up", "--lock-wait", "0"]).code(4);
    let up = scene.spawn(&["up"]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    sqlx::raw_sql("commit").execute(&mut conn).await.unwrap();
    up.end().code(0);
}

#[tokio::test]
async fn a_killed_holder_on_sqlite_loses_the_lock_at_once() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    let holder = scene.spawn(&["run", "--", "sleep", "60"]);
    until("the lock", async || {
        scene.run(&["unlock"]).out.contains("running sleep")
    })
    .await;
    scene.run(&["up", "--lock-wait", "0"]).code(4);
    holder.signal(Signal::SIGKILL);
    holder.end();
    scene.run(&["up", "--lock-wait", "0"]).code(0);
}

#[tokio::test]
async fn l12_the_lease_alone_excludes_where_named_locks_do_not_reach() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    scene.file(
        "0001_a.sql",
        "create table a (x int); select sleep(0.3); insert into a values (1);",
    );
    let all: Vec<_> = (0..6)
        .map(|_| scene.spawn(&["up", "--lease-only"]))
        .collect();
    for running in all {
        running.end().code(0);
    }
    let mut conn = server.connect().await;
    let rows: i64 = sqlx::query_scalar("select count(*) from a")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    // No named lock was taken.
    let holder = scene.spawn(&["run", "--lease-only", "--", "sleep", "30"]);
    until("the lease", async || {
        scene
            .run(&["unlock", "--lease-only"])
            .out
            .contains("running sleep")
    })
    .await;
    let named: i64 = sqlx::query_scalar("select count(*) from information_schema.processlist where is_used_lock('windlass:') is not null")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(named, 0);
    scene.file("0002_b.sql", "create table b (x int);");
    scene
        .run(&["up", "--lease-only", "--lock-wait", "0"])
        .code(4);
    scene.run(&["unlock", "--lease-only", "--force"]).code(0);
    holder.end().code(1).says("the lock was lost");
}

#[tokio::test]
async fn l13_two_databases_of_a_server_do_not_block_each_other() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    let holder = scene.spawn(&["run", "--", "sleep", "30"]);
    until("the lock", async || {
        scene.run(&["unlock"]).out.contains("running sleep")
    })
    .await;
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up", "--lock-wait", "0"]).code(4);
    let other = server.url.replace("/app", "/other");
    scene
        .run(&["up", "--lock-wait", "0", "--url", &other])
        .code(0);
    // A killed holder's session ends with its connection.
    holder.signal(Signal::SIGKILL);
    holder.end();
    scene.run(&["up", "--lock-wait", "10s"]).code(0);
}

#[tokio::test]
async fn l9_a_paused_holder_on_mariadb_can_not_write_after_it_lost_the_lock() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "select sleep(2); create table a (x int);");
    let holder = scene.spawn(&["up"]);
    until("the lock", async || {
        scene.run(&["unlock"]).out.contains("session")
    })
    .await;
    holder.until_says("0001_a.sql ...").await;
    holder.signal(Signal::SIGSTOP);
    let other = scene.spawn(&["up", "--lease", "8s"]).end().code(0);
    assert!(other.out.contains("applied 0001_a.sql"), "{other:?}");
    holder.signal(Signal::SIGCONT);
    holder.end().code(1).says("the lock was lost");
}

/// Without a write-ahead log a reader is in the way of every commit: it is waited for, whether it
/// was there before us or comes in the middle.
#[tokio::test]
async fn a_long_reader_of_sqlite_is_waited_for() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
    let mut reader = SqliteConnection::connect(&scene.url).await.unwrap();
    let mut read = async |sql| {
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(String::from(sql)));
        done.fetch_all(&mut reader).await.unwrap();
    };
    read("begin; select * from a").await;
    scene.file("0002_b.sql", "create table b (x int);");
    let mut waiting = scene.spawn(&["up"]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!waiting.is_over(), "{:#?}", waiting.end());
    read("commit").await;
    waiting.end().code(0).says("applied 0002_b.sql");

    // So slow that the reader comes while it runs.
    scene.file(
        "0003_c.sql",
        "create table c as with recursive n(i) as \
         (select 1 union all select i + 1 from n where i < 10000000) select count(*) as n from n;",
    );
    let slow = scene.spawn(&["up"]);
    slow.until_says("0003_c.sql ...").await;
    read("begin; select * from a").await;
    slow.until_says("database is locked").await;
    read("commit").await;
    slow.end().code(0).says("applied 0003_c.sql");
    scene.run(&["verify"]).code(0);
}

#[tokio::test]
async fn a_rollback_journal_is_kept_only_while_the_lock_is_held() {
    let scene = Scene::sqlite();
    let journal = scene.dir.path().join("app.db-journal");
    let mode = async || -> String {
        let mut conn = SqliteConnection::connect(&scene.url).await.unwrap();
        sqlx::query_scalar("pragma journal_mode")
            .fetch_one(&mut conn)
            .await
            .unwrap()
    };
    scene
        .file("0001_a.sql", "create table a (x int);")
        .file("0002_b.sql", "insert into a values (1), (2);");
    scene.run(&["up"]).code(0);
    assert!(!journal.exists());
    assert_eq!(mode().await, "delete");

    // A killed holder leaves it, blank: others read and write as ever.
    let holder = scene.spawn(&["run", "--", "sleep", "60"]);
    until("the lock", async || {
        scene.run(&["unlock"]).out.contains("running sleep")
    })
    .await;
    holder.signal(Signal::SIGKILL);
    holder.end();
    let mut conn = SqliteConnection::connect(&scene.url).await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from a")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 2);
    scene.file("0003_c.sql", "create table c (x int);");
    scene.run(&["up"]).code(0);
    assert!(!journal.exists());

    // Another kind of journal is none of our business, and stays what a file has made it.
    scene.file(
        "0004_wal.sql",
        "-- windlass: no-transaction\npragma journal_mode = wal;",
    );
    scene.run(&["up"]).code(0);
    assert_eq!(mode().await, "wal");
    scene.file("0005_d.sql", "create table d (x int);");
    scene.run(&["up"]).code(0);
    assert_eq!(mode().await, "wal");
}
