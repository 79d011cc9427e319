//! A small file goes to the database as one message, with the row of the history and the commit. It is
//! still told which statement failed, and nothing of the file stays.

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
