//! A runner that dies where no transaction protects it: what took effect is found out, not guessed.

use nix::sys::signal::Signal;
use sqlx::{MySqlConnection, PgConnection};

use crate::scene::{Scene, until};
use crate::servers::{Mariadb, Postgres};

async fn run(conn: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(conn).await.unwrap();
}

async fn count(conn: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn an_index_that_was_being_built_is_built_again() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(
        &mut conn,
        "create schema s; create table t (a int); insert into t values (1)",
    )
    .await;
    let mut old = server.connect().await;
    run(
        &mut old,
        "begin isolation level repeatable read; select * from t",
    )
    .await;
    scene.file(
        "0001_i.sql",
        "set search_path = s, public;\ninsert into t values (2);\ncreate index concurrently i on t (a);\ninsert into t values (3);\ncreate table here (a int);",
    );
    let holder = scene.spawn(&["up"]);
    until("an unfinished index", async || {
        count(&mut conn, "select count(*) from pg_index i join pg_class c on c.oid = i.indexrelid where c.relname = 'i' and not indisvalid").await == 1
    })
    .await;
    holder.signal(Signal::SIGKILL);
    holder.end();
    run(&mut old, "commit").await;
    until("the server to notice", async || {
        count(
            &mut conn,
            "select count(*) from pg_stat_activity where application_name like 'windlass%'",
        )
        .await
            == 0
    })
    .await;
    scene.run(&["status", "--check"]).code(5).says("half done");
    let done = scene.run(&["up"]).code(0);
    assert!(done.err.contains("statement 3 was interrupted"), "{done:?}");
    let valid = "select count(*) from pg_index where indexrelid = 'i'::regclass and indisvalid";
    assert_eq!(count(&mut conn, valid).await, 1);
    assert_eq!(
        count(&mut conn, "select count(*) from t").await,
        3,
        "an insert ran twice"
    );
    // What the file set for its session counts also in the session that goes on with it.
    let here = "select count(*) from pg_class where oid = to_regclass('s.here')";
    assert_eq!(count(&mut conn, here).await, 1);
    scene.run(&["verify"]).code(0);
}

#[tokio::test]
async fn what_took_effect_before_the_crash_is_seen_in_the_catalog() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    run(&mut conn, "create table p (a int) partition by list (a); create table c partition of p for values in (1); create index gone on p (a)").await;
    run(
        &mut conn,
        "create table t (a int); create index gone_too on t (a)",
    )
    .await;
    scene.file(
        "0001_x.sql",
        "create index concurrently i on t (a);\ndrop index concurrently gone_too;\n\
         alter table p detach partition c concurrently;\nselect 1/0;",
    );
    scene.run(&["up"]).code(1).says("division by zero");
    // As if the runner had died after each statement and before it could say so.
    run(
        &mut conn,
        "update windlass_migrations_journal set state = 'running'",
    )
    .await;
    scene.file(
        "0001_x.sql",
        "create index concurrently i on t (a);\ndrop index concurrently gone_too;\n\
         alter table p detach partition c concurrently;\nselect 1/1;",
    );
    let done = scene.run(&["up"]).code(0);
    assert_eq!(done.err.matches("took effect").count(), 3, "{done:?}");
}

#[tokio::test]
async fn what_nobody_can_know_is_asked() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    scene
        .file(
            "0001_p.sql",
            "create procedure p() insert into t values (1);\ncreate table t (a int);",
        )
        .file(
            "0002_c.sql",
            "call p();\nalter table t add b int;\ncreate view v as select a from t;",
        );
    let mut conn = server.connect().await;
    scene.run(&["up"]).code(0);
    // The call ran, the rest ran: as if the runner had died before it said so, at each of them.
    let half = async |conn: &mut MySqlConnection| {
        let sql = "delete from windlass_migrations where version = 2";
        sqlx::raw_sql(sql).execute(conn).await.unwrap();
    };
    half(&mut conn).await;
    // Without a journal this is a migration that never ran.
    scene.run(&["status", "--check"]).code(3);
    for state in ["running", "done"] {
        let hash = |text: &str| {
            use sha2::{Digest as _, Sha256};
            hex::encode(Sha256::digest(text))
        };
        let sql = format!(
            "replace into windlass_migrations_journal values ('up', 2, 0, '{}', '{state}', null, 0, 1), \
             ('up', 2, 1, '{}', 'running', 'x', 0, 1), ('up', 2, 2, '{}', 'running', 'x', 0, 1)",
            hash("call p()"),
            hash("alter table t add b int"),
            hash("create view v as select a from t")
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .unwrap();
        if state == "running" {
            scene
                .run(&["up"])
                .code(5)
                .says("can't tell")
                .says("--done 2:1");
        }
    }
    let done = scene.run(&["up"]).code(0);
    assert_eq!(done.err.matches("took effect").count(), 2, "{done:?}");
    let rows: i64 = sqlx::query_scalar("select count(*) from t")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn a_person_says_what_happened() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    scene
        .file("0001_p.sql", "create table t (a int);\ncreate procedure p() begin insert into t values (1); select sleep(60); end;")
        .file("0002_c.sql", "call p();");
    let up = scene.spawn(&["up"]);
    let mut conn = server.connect().await;
    until("the call", async || {
        let sql = "select count(*) from information_schema.processlist where info like '%sleep(60)%' and info not like 'create%' and id <> connection_id()";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut conn).await.unwrap() > 0
    })
    .await;
    up.signal(Signal::SIGKILL);
    up.end();
    // The server goes on with the call of a client that is gone; `unlock` ends it.
    scene.run(&["unlock", "--force"]).code(0);
    let told = scene.run(&["up"]).code(5);
    assert!(
        told.err.contains("windlass migrate repair --done 2:1"),
        "{told:?}"
    );
    scene
        .run(&["repair", "--done", "2:2"])
        .code(1)
        .says("was not interrupted");
    scene
        .run(&["repair", "--done", "2:1"])
        .code(0)
        .says("taken as done");
    scene.run(&["up"]).code(0).says("applied 0002_c.sql");
}

#[tokio::test]
async fn an_empty_database_that_was_half_filled_is_filled() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene
        .file("0001_a.sql", "create table a (x int, old int);")
        .file(
            "0002_b.sql",
            "-- windlass: phase contract\nalter table a drop column old;",
        )
        .file("0003_c.sql", "select 1/0;");
    scene.run(&["up"]).code(1);
    scene.run(&["down"]).code(1).says("has no down section");
    scene
        .file("0003_c.sql", "select 1;")
        .file("0004_d.sql", "-- windlass: phase contract\nselect 1;");
    scene.run(&["up"]).code(0).says("applied 0004_d.sql");
    // From here on the database has a past.
    scene.file("0005_e.sql", "-- windlass: phase contract\nselect 1;");
    scene.run(&["up"]).code(0).says("waits: 0005_e.sql");
    // It has one too if the runner was killed after its last file and before it said so.
    let mut conn = server.connect().await;
    run(&mut conn, "update windlass_migrations_lock set filling = 4").await;
    scene.file("0006_f.sql", "create table f (x int);");
    scene
        .run(&["up"])
        .code(0)
        .says("applied 0006_f.sql")
        .says("waits: 0005_e.sql");
}
