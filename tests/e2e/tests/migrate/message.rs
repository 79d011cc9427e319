//! A small file goes to the database as one message, with the row of the history and the commit. It is
//! still told which statement failed, and nothing of the file stays. While an empty SQLite file is
//! filled, several share a commit, and all is as if they did not.

use sqlx::{Connection as _, PgConnection, SqliteConnection};

use crate::scene::Scene;
use crate::servers::Postgres;

/// A file, and what is said of it. The first statement is good each time.
const BAD: [(&str, &str); 3] = [
    // Found while it runs.
    (
        "create table b (i int not null);\ninsert into b values (1);\n\ninsert into b\n  values (null);\n",
        "line 4",
    ),
    // Found before it runs.
    (
        "create table b (i int);\n\ncreate table c (i int)\n  nonsense and more;\n",
        "0100_bad.sql, line ",
    ),
    // The last one of the file.
    ("create table b (i int);\ndrop table c;", "line 2"),
];

/// PostgreSQL's first file of a run comes after a message that sets the session up: one for that.
fn before(scene: &Scene, number: usize) {
    scene.file(&format!("{number:04}_before.sql"), "select 1;\n");
}

async fn the_failed_statement_is_named(url: &str) -> Scene {
    let scene = Scene::new(url);
    for (number, (text, words)) in BAD.iter().enumerate() {
        before(&scene, number + 1);
        scene.file("0100_bad.sql", text);
        scene
            .run(&["up"])
            .code(1)
            .says("_before.sql")
            .says("0100_bad.sql")
            .says(words);
        // Nothing of it stayed: the same again fails at the same place.
        scene.run(&["up"]).code(1).says(words);
    }
    before(&scene, BAD.len() + 1);
    scene.file(
        "0100_bad.sql",
        "create table b (i int);\n-- Good now.\ncreate table c (i int) -- here, too",
    );
    scene.run(&["up"]).code(0).says("applied 0100_bad.sql");
    scene.run(&["up"]).code(0).says("nothing to do");
    scene
}

#[tokio::test]
async fn the_failed_statement_of_several_is_named_on_postgres() {
    let server = Postgres::start().await;
    let scene = the_failed_statement_is_named(&server.url).await;
    let next = |number: usize, text: &str| {
        before(&scene, number);
        scene.file("0300_place.sql", text);
        scene.run(&["up"])
    };
    // The server says at which character; lines are told of the file, not of the message.
    next(
        101,
        "create table d (i int);\n-- é: two bytes, one character\ninsert into d\n  (i)\nvalues ('é', nope);\n",
    )
    .code(1)
    .says("0300_place.sql, line 5");
    next(
        102,
        "create table d (i int);\nselect 1;\ncreate tabel e (i int);\n",
    )
    .code(1)
    .says("0300_place.sql, line 3");
    // Refused at the commit only: no statement of the file is to blame.
    let ran = next(
        103,
        "create table d (i int primary key, j int references d deferrable initially deferred);\n\
         insert into d values (1, 2);\n",
    )
    .code(1)
    .says("record a migration and commit");
    assert!(ran.err.contains("violates foreign key"), "{ran:?}");
    // How the server is to read the text after it: it must have done so by then.
    next(
        104,
        "create table d (t text);\nset standard_conforming_strings = off;\n\
         insert into d values ('a\\\\b');\n",
    )
    .code(0)
    .says("applied 0300_place.sql");
    let mut conn = PgConnection::connect(&server.url).await.unwrap();
    let text: String = sqlx::query_scalar("select t from d")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(text, "a\\b");
}

#[tokio::test]
async fn the_failed_statement_of_several_is_named_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    the_failed_statement_is_named(&url).await;
}

#[tokio::test]
async fn what_a_file_took_is_in_the_history() {
    let ask = "select duration_ms from windlass_migrations where version = 1";
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_slow.sql", "select pg_sleep(0.7);\nselect 1;");
    scene.run(&["up"]).code(0);
    // After one that left the session as it was, in one message.
    scene.file("0002_slow.sql", "select 2;");
    scene.file("0003_slow.sql", "select pg_sleep(0.7);\nselect 3;");
    scene.run(&["up"]).code(0);
    let mut conn = PgConnection::connect(&server.url).await.unwrap();
    for (version, least) in [(1, 700), (2, 0), (3, 700)] {
        let took: i64 =
            sqlx::query_scalar("select duration_ms from windlass_migrations where version = $1")
                .bind(version)
                .fetch_one(&mut conn)
                .await
                .unwrap();
        assert!((least..60_000).contains(&took), "{version}: {took} ms");
    }

    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    let scene = Scene::new(&url);
    scene.file(
        "0001_slow.sql",
        "create table t (n integer);\n\
         insert into t with recursive c(n) as (select 1 union all select n + 1 from c where n < 1000000) \
         select max(n) from c;",
    );
    scene.run(&["up"]).code(0);
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let took: i64 = sqlx::query_scalar(ask).fetch_one(&mut conn).await.unwrap();
    assert!((10..60_000).contains(&took), "{took} ms");
}

/// How many transactions have written to the file: the header's change counter
/// (<https://sqlite.org/fileformat2.html#file_change_counter>).
fn commits(file: &std::path::Path) -> u32 {
    let bytes = std::fs::read(file).unwrap();
    u32::from_be_bytes(bytes[24..28].try_into().unwrap())
}

#[tokio::test]
async fn files_share_commits_only_while_an_empty_file_is_filled() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.db");
    let url = format!("sqlite:{}", path.display());
    let scene = Scene::new(&url);
    for n in 1..=80 {
        let text = format!("create table t{n} (i int);\ninsert into t{n} values ({n});");
        scene.file(&format!("{n:04}_t.sql"), &text);
    }
    // The sixtieth fails: those before it stay, however they came.
    scene.file(
        "0060_t.sql",
        "create table t60 (i int);\ninsert into t61 values (1);",
    );
    let ran = scene.run(&["up"]).code(1).says("0060_t.sql, line 2");
    assert!(ran.err.contains("0059_t.sql"), "{ran:?}");
    let status = scene.run(&["status", "--json"]).json();
    assert_eq!(status["applied"].as_array().unwrap().len(), 59);
    // The first 32 in one, 27 one by one, and a few of our own.
    let after = commits(&path);
    assert!((28..45).contains(&after), "{after}");
    // Taken up again where the filling stopped.
    scene.file("0060_t.sql", "create table t60 (i int);");
    let ran = scene.run(&["up"]).code(0);
    assert_eq!(ran.out.matches("applied ").count(), 21, "{ran:?}");
    let filled = commits(&path);
    assert!((1..12).contains(&(filled - after)), "{filled}");
    scene.run(&["verify"]).code(0);
    // Now there may be an application on it: each file has its own.
    for n in 81..=100 {
        scene.file(
            &format!("{n:04}_t.sql"),
            &format!("create table t{n} (i int);"),
        );
    }
    scene.run(&["up"]).code(0);
    assert!(commits(&path) - filled >= 20);
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let (count, least, most): (i64, i64, i64) = sqlx::query_as(
        "select count(*), min(duration_ms), max(duration_ms) from windlass_migrations",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(count, 100);
    assert!(least >= 0 && most < 60_000, "{least} to {most} ms");
}

#[tokio::test]
async fn a_constraint_that_waits_for_the_commit_is_not_mended_by_the_next_file() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    let scene = Scene::new(&url);
    scene.file(
        "0001_t.sql",
        "create table t (i integer primary key, j int references t deferrable initially deferred);",
    );
    scene.file("0002_child.sql", "insert into t values (1, 2);");
    scene.file("0003_parent.sql", "insert into t values (2, null);");
    let ran = scene.run(&["up"]).code(1);
    assert!(ran.err.contains("FOREIGN KEY constraint failed"), "{ran:?}");
    let status = scene.run(&["status", "--json"]).json();
    assert_eq!(status["applied"].as_array().unwrap().len(), 1);
}
