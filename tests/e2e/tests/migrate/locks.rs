//! The ways in which locks of migrators fail on PostgreSQL, one test each: `lN` as numbered in
//! docs/adr/0012-a-lock-and-a-lease.md.

use std::time::Duration;

use nix::sys::signal::Signal;
use sqlx::{Connection as _, PgConnection};

use crate::scene::{Scene, until};
use crate::servers::{Pooler, Postgres};

async fn count(conn: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

async fn run(conn: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(conn).await.unwrap();
}

/// Sessions of ours that hold an advisory lock, besides those of tests (42).
const HOLDERS: &str = "select count(*) from pg_locks where locktype = 'advisory' and granted \
    and objid <> 42";

/// A file that runs until the test lets go of the lock 42.
const WAITS: &str = "-- windlass: lock-timeout 0\nselect pg_advisory_xact_lock(42);\n\
    create table waited (a int);";

/// A migrator in the middle of a statement, and the connection that keeps it there.
async fn in_a_statement(
    server: &Postgres,
    scene: &Scene,
    more: &[&str],
) -> (crate::scene::Running, PgConnection) {
    let mut gate = server.connect().await;
    run(&mut gate, "select pg_advisory_lock(42)").await;
    scene.file("0001_waits.sql", WAITS);
    let running = scene.spawn(&[&["up"], more].concat());
    until("the statement to wait", async || {
        count(
            &mut gate,
            "select count(*) from pg_locks where not granted and objid = 42",
        )
        .await
            == 1
    })
    .await;
    (running, gate)
}

#[tokio::test]
async fn l1_waiting_migrators_do_not_deadlock_create_index_concurrently() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(
        &mut conn,
        "create table t (a int); insert into t select generate_series(1, 1000)",
    )
    .await;
    // An old transaction keeps the index from being finished while others wait for our lock.
    let mut old = server.connect().await;
    run(
        &mut old,
        "begin isolation level repeatable read; select 1 from t limit 1",
    )
    .await;
    scene.file("0001_i.sql", "create index concurrently i on t (a);");
    let all: Vec<_> = (0..4).map(|_| scene.spawn(&["up"])).collect();
    until("others to wait", async || {
        all.iter()
            .filter(|r| r.err().contains("waiting for the lock"))
            .count()
            == 3
    })
    .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    run(&mut old, "commit").await;
    for running in all {
        running.end().code(0);
    }
    let valid = "select count(*) from pg_index where indexrelid = 'i'::regclass and indisvalid";
    assert_eq!(count(&mut conn, valid).await, 1);
}

#[tokio::test]
async fn l2_the_lock_is_no_open_transaction() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(&mut conn, "create table t (a int)").await;
    let holder = scene.spawn(&["run", "--", "sleep", "30"]);
    until("the lock", async || count(&mut conn, HOLDERS).await == 1).await;
    // Would wait for any transaction that is open.
    run(&mut conn, "set statement_timeout = '10s'").await;
    run(&mut conn, "create index concurrently i on t (a)").await;
    holder.signal(Signal::SIGTERM);
    holder.end().code(143);
}

#[tokio::test]
async fn l3_an_invalid_index_is_never_taken_for_done() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(
        &mut conn,
        "create table t (a int); insert into t values (1), (1)",
    )
    .await;
    let by_hand = sqlx::raw_sql("create unique index concurrently \"I\" on t (a)")
        .execute(&mut conn)
        .await;
    assert!(by_hand.is_err());
    scene.run(&["verify"]).code(6).says("is invalid");
    scene.file(
        "0001_i.sql",
        "create unique index concurrently if not exists \"I\" on t (a);",
    );
    // Still doubled: it fails, and leaves nothing behind.
    scene
        .run(&["up"])
        .code(1)
        .says("could not create unique index");
    assert_eq!(
        count(
            &mut conn,
            "select count(*) from pg_class where relname = 'I'"
        )
        .await,
        0
    );
    scene.run(&["status", "--check"]).code(3);
    run(&mut conn, "delete from t").await;
    // An invalid one again, which IF NOT EXISTS would take for the real one.
    run(&mut conn, "create unique index \"I\" on t (a); update pg_index set indisvalid = false where indexrelid = '\"I\"'::regclass").await;
    scene.run(&["up"]).code(0);
    let valid = "select count(*) from pg_index where indexrelid = '\"I\"'::regclass and indisvalid";
    assert_eq!(count(&mut conn, valid).await, 1);
    scene.run(&["verify"]).code(0);
}

#[tokio::test]
async fn l4_a_transaction_pooler_is_refused_and_no_lock_stays_behind() {
    let server = Postgres::start().await;
    let mut conn = server.connect().await;
    for more in ["", "server_round_robin = 1\nmin_pool_size = 5"] {
        let pooler = Pooler::start(&server, "transaction", more).await;
        let scene = Scene::new(&pooler.url);
        scene.file("0001_a.sql", "create table a (x int);");
        for _ in 0..3 {
            scene
                .run(&["up"])
                .code(1)
                .says("pooler in transaction mode")
                .says("own address");
            let said = pooler.log();
            until(&said, async || count(&mut conn, HOLDERS).await == 0).await;
        }
        assert_eq!(
            count(
                &mut conn,
                "select count(*) from pg_class where relname in ('a', 'windlass_migrations')"
            )
            .await,
            0
        );
        // Looking works through it.
        scene.run(&["status", "--check"]).code(3);
    }
    let pooler = Pooler::start(&server, "session", "").await;
    let scene = Scene::new(&pooler.url);
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
}

#[tokio::test]
async fn l5_a_killed_holder_frees_the_lock_within_seconds_also_in_a_statement() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let (holder, mut gate) = in_a_statement(&server, &scene, &[]).await;
    assert_eq!(count(&mut gate, HOLDERS).await, 1);
    holder.signal(Signal::SIGKILL);
    // The statement still waits for the gate: only the server's look at the socket ends it.
    until("the server to notice", async || {
        count(&mut gate, HOLDERS).await == 0
    })
    .await;
    run(&mut gate, "select pg_advisory_unlock(42)").await;
    scene.run(&["up"]).code(0);
}

#[tokio::test]
async fn l6_l7_a_failure_gives_the_lock_back() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    scene.file("0001_a.sql", "select 1/0;");
    scene.run(&["up"]).code(1).says("division by zero");
    assert_eq!(count(&mut conn, HOLDERS).await, 0);
    scene.run(&["unlock"]).code(0).says("nobody has the lock");
    // A file that throws the lock away is noticed before anything of it is kept.
    scene.file(
        "0001_a.sql",
        "create table a (x int); select pg_advisory_unlock_all();",
    );
    scene.run(&["up"]).code(1).says("the lock was lost");
    assert_eq!(
        count(
            &mut conn,
            "select count(*) from pg_class where relname = 'a'"
        )
        .await,
        0
    );
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up", "--lock-wait", "0"]).code(0);
}

#[tokio::test]
async fn l8_timeouts_of_the_role_end_neither_the_wait_nor_the_work() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(
        &mut conn,
        "alter role windlass set statement_timeout = '400ms'",
    )
    .await;
    run(
        &mut conn,
        "alter role windlass set idle_in_transaction_session_timeout = '400ms'",
    )
    .await;
    run(
        &mut conn,
        "alter role windlass set idle_session_timeout = '800ms'",
    )
    .await;
    let holder = scene.spawn(&["run", "--", "sleep", "2"]);
    until("the lock", async || count(&mut conn, HOLDERS).await == 1).await;
    scene.file("0001_a.sql", "select pg_sleep(1);");
    let waits = scene.spawn(&["up"]);
    holder.end().code(0);
    waits.end().code(0);
}

#[tokio::test]
async fn l9_a_paused_holder_can_not_write_after_it_lost_the_lock() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let (holder, mut gate) = in_a_statement(&server, &scene, &[]).await;
    holder.signal(Signal::SIGSTOP);
    run(&mut gate, "select pg_advisory_unlock(42)").await;
    let other = scene.spawn(&["up", "--lease", "8s"]);
    let other = other.end().code(0);
    assert!(other.out.contains("applied 0001_waits.sql"), "{other:?}");
    holder.signal(Signal::SIGCONT);
    holder.end().code(1).says("the lock was lost");
    let rows = "select count(*) from windlass_migrations where token = 2";
    assert_eq!(count(&mut gate, rows).await, 1);
    assert_eq!(
        count(&mut gate, "select count(*) from windlass_migrations").await,
        1
    );
}

#[tokio::test]
async fn l10_l11_a_row_without_a_session_blocks_nobody() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
    // As a killed pod, or a restored dump, would leave it.
    run(
        &mut conn,
        "update windlass_migrations_lock set owner = 'ghost', session_id = 1, \
         heartbeat_ms = (extract(epoch from now()) * 1000)::bigint + 99999999",
    )
    .await;
    scene.file("0002_b.sql", "create table b (x int);");
    scene.run(&["up", "--lock-wait", "0"]).code(0);
}

#[tokio::test]
async fn l15_the_first_start_of_many_makes_the_tables_once() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "create table a (x int);");
    let all: Vec<_> = (0..12).map(|_| scene.spawn(&["up"])).collect();
    let ends: Vec<_> = all.into_iter().map(|r| r.end().code(0)).collect();
    let applied = ends.iter().filter(|e| e.out.contains("applied 0001_a.sql"));
    assert_eq!(applied.count(), 1);
}

#[tokio::test]
async fn l17_nothing_pending_takes_no_lock_and_one_round_trip() {
    let server = Postgres::start_with(&["log_statement=all", "log_line_prefix=<%a>"]).await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    scene.file("0001_a.sql", "create table a (x int);");
    scene.run(&["up"]).code(0);
    let holder = scene.spawn(&["run", "--", "sleep", "30"]);
    until("the lock", async || count(&mut conn, HOLDERS).await == 1).await;
    // The session's name has the process id.
    let statements = |pid: i32| {
        let log = std::fs::read_to_string(server.log()).unwrap();
        let of_it = format!(":{pid}>");
        let ours = log
            .lines()
            .filter(|l| l.contains(&of_it) && l.contains("statement:"));
        ours.count()
    };
    for args in [&["up", "--lock-wait", "0"][..], &["wait", "--timeout", "0"]] {
        let running = scene.spawn(args);
        let pid = running.pid;
        running.end().code(0);
        assert_eq!(statements(pid), 1, "{args:?}");
    }
    scene.run(&["up"]).code(0).says("nothing to do");
    // Something pending: now the lock counts, and its holder is named.
    scene.file("0002_b.sql", "create table b (x int);");
    scene
        .run(&["up", "--lock-wait", "0"])
        .code(4)
        .says("running sleep 30");
    scene
        .run(&["unlock"])
        .code(0)
        .says("held by")
        .says("--force");
    scene.run(&["unlock", "--force"]).code(0).says("taken away");
    holder.end().code(1).says("the lock was lost");
    scene.run(&["up"]).code(0);
}

#[tokio::test]
async fn a_statement_that_waits_for_a_lock_lets_others_pass_and_tries_again() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(&mut conn, "create table t (a int)").await;
    let mut reader = server.connect().await;
    run(&mut reader, "begin; select * from t").await;
    scene.file(
        "0001_a.sql",
        "create table u (a int);\nalter table t add b int;",
    );
    let up = scene.spawn(&["up", "--lock-timeout", "200ms"]);
    up.until_says("0001_a.sql, line 2").await;
    up.until_says("try 3").await;
    // Readers are not stuck behind it for longer than one try.
    run(&mut conn, "set statement_timeout = '5s'; select * from t").await;
    run(&mut reader, "commit").await;
    up.end().code(0);
    run(&mut reader, "begin; select * from t").await;
    scene.file(
        "0002_b.sql",
        "-- windlass: retries 1\nalter table t add c int;",
    );
    scene
        .run(&["up", "--lock-timeout", "100ms"])
        .code(1)
        .says("hint: other sessions hold locks");
    scene.file(
        "0002_b.sql",
        "-- windlass: statement-timeout 100ms\nselect pg_sleep(10);",
    );
    scene.run(&["up"]).code(1).says("statement timeout");
}

#[tokio::test]
async fn two_histories_in_a_database_do_not_block_each_other() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(&mut conn, "create schema tenant").await;
    let _holder = scene.spawn(&["run", "--", "sleep", "30"]);
    until("the lock", async || count(&mut conn, HOLDERS).await == 1).await;
    scene.file("0001_a.sql", "create table if not exists tenant.a (x int);");
    for table in ["other", "tenant.windlass_migrations"] {
        scene
            .run(&["up", "--lock-wait", "0", "--table", table])
            .code(0)
            .says("applied");
    }
    // The same table, named in two ways, is one lock.
    scene
        .run(&[
            "up",
            "--lock-wait",
            "0",
            "--table",
            "public.windlass_migrations",
        ])
        .code(4);
    let url = format!("{}?options=-c%20search_path%3Dtenant", server.url);
    let by_path = Scene::new(&url);
    std::fs::copy(
        scene.dir.path().join("migrations/0001_a.sql"),
        by_path.dir.path().join("migrations/0001_a.sql"),
    )
    .unwrap();
    by_path
        .run(&["up", "--lock-wait", "0"])
        .code(0)
        .says("nothing to do");
    conn.close().await.unwrap();
}
