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
fn before(scene: &Scene) {
    scene.file("0001_before.sql", "select 1;\n");
}

async fn the_failed_statement_is_named(url: &str) {
    let scene = Scene::new(url);
    before(&scene);
    for (text, words) in BAD {
        scene.file("0100_bad.sql", text);
        scene.run(&["up"]).code(1).says("0100_bad.sql").says(words);
        // Nothing of it stayed: the same again fails at the same place.
        scene.run(&["up"]).code(1).says(words);
    }
    scene.file(
        "0100_bad.sql",
        "create table b (i int);\n-- Good now.\ncreate table c (i int) -- here, too",
    );
    scene.run(&["up"]).code(0).says("applied 0100_bad.sql");
    scene.run(&["up"]).code(0).says("nothing to do");
}

#[tokio::test]
async fn the_failed_statement_of_several_is_named_on_postgres() {
    let server = Postgres::start().await;
    the_failed_statement_is_named(&server.url).await;
    let mut conn = PgConnection::connect(&server.url).await.unwrap();
    for (text, words) in [
        // The server says at which character; lines are told of the file, not of the message.
        (
            "create table d (i int);\n-- é: two bytes, one character\ninsert into d\n  (i)\nvalues ('é', nope);\n",
            "0100_bad.sql, line 5",
        ),
        (
            "create table d (i int);\nselect 1;\ncreate tabel e (i int);\n",
            "0100_bad.sql, line 3",
        ),
        // Found while it runs, at no character.
        (
            "create table d (i int);\nselect 1;\nselect i / 0 from (values (1)) v (i);\n",
            "0100_bad.sql, line 3",
        ),
        // Refused at the commit only: no statement of the file is to blame.
        (
            "create table d (i int primary key, j int references d deferrable initially deferred);\n\
             insert into d values (1, 2);\n",
            "record a migration and commit",
        ),
    ] {
        empty(&mut conn).await;
        let scene = Scene::new(&server.url);
        before(&scene);
        scene.file("0100_bad.sql", text);
        scene
            .run(&["up"])
            .code(1)
            .says("0001_before.sql")
            .says(words);
        let status = scene.run(&["status", "--json"]).json();
        assert_eq!(status["applied"].as_array().unwrap().len(), 1, "{text}");
    }
    // How the server is to read the text after it: it must have done so by then.
    empty(&mut conn).await;
    let scene = Scene::new(&server.url);
    before(&scene);
    scene.file(
        "0100_text.sql",
        "create table d (t text);\nset standard_conforming_strings = off;\n\
         insert into d values ('a\\\\b');\n",
    );
    scene.run(&["up"]).code(0).says("applied 0100_text.sql");
    let text: String = sqlx::query_scalar("select t from d")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(text, "a\\b");
}

/// In a database that is in use, where a statement goes alone: what is missing is missing at its end.
#[tokio::test]
async fn what_is_missing_at_the_end_is_told_of_the_last_line() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    before(&scene);
    scene.run(&["up"]).code(0);
    scene.file("0002_open.sql", "select 1;\ncreate table b (\n  i int\n");
    scene.run(&["up"]).code(1).says("0002_open.sql, line 3");
}

async fn empty(conn: &mut PgConnection) {
    sqlx::raw_sql("drop schema public cascade; create schema public")
        .execute(conn)
        .await
        .unwrap();
}

/// In a database that is in use, whoever stops a run has stopped it: the server, which is still at the
/// statement and may not notice for a while, must not go on to the commit by itself.
#[tokio::test]
async fn a_stopped_run_is_not_committed_by_the_server() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "create table a (i int);");
    scene.run(&["up"]).code(0);
    scene.file("0002_b.sql", "select 1;");
    scene.file(
        "0003_slow.sql",
        "create table c (i int);\nselect pg_sleep(1);",
    );
    let up = scene.spawn(&["up"]);
    up.until_says("0003_slow.sql ...").await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    up.signal(nix::sys::signal::Signal::SIGKILL);
    // Longer than the statement takes.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let status = scene.run(&["status", "--json"]).json();
    assert_eq!(status["applied"].as_array().unwrap().len(), 2, "{status}");
    scene.run(&["up"]).code(0).says("applied 0003_slow.sql");
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
    // In one message.
    scene.file("0002_quick.sql", "select 2;");
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

#[tokio::test]
async fn a_filling_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    const FILES: i64 = 1500;
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    let scene = Scene::new(&url);
    scene.file("0001_marks.sql", "create table marks (n int);");
    for n in 2..=FILES {
        let text = format!("create table t{n} (a int);\ninsert into marks values ({n});");
        scene.file(&format!("{n:04}_m.sql"), &text);
    }
    let mut partly = 0;
    for wait in (10..).step_by(7) {
        let up = scene.spawn(&["up"]);
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        up.signal(nix::sys::signal::Signal::SIGKILL);
        let code = up.end().code;
        // Also while it is made, or after all was done.
        let Ok(mut conn) = SqliteConnection::connect(&url).await else {
            continue;
        };
        let counts = "select (select count(*) from windlass_migrations), (select count(*) from marks), \
             (select count(distinct n) from marks), \
             (select count(*) from sqlite_master where type = 'table' and name glob 't[0-9]*')";
        let Ok((rows, marks, apart, tables)) = sqlx::query_as::<_, (i64, i64, i64, i64)>(counts)
            .fetch_one(&mut conn)
            .await
        else {
            continue;
        };
        assert_eq!((marks, apart, tables), (rows - 1, rows - 1, rows - 1));
        partly += usize::from(rows > 0 && rows < FILES);
        if code == 0 || rows == FILES {
            break;
        }
    }
    assert!(partly >= 3, "only {partly} were killed on the way");
    scene.run(&["up"]).code(0);
    scene.run(&["verify"]).code(0);
    let mut conn = SqliteConnection::connect(&url).await.unwrap();
    let marks: Vec<i64> = sqlx::query_scalar("select n from marks order by n")
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(marks, (2..=FILES).collect::<Vec<_>>());
}
