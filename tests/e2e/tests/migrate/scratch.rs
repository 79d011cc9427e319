//! Databases that are there for a while: like the real one, gone afterwards, also when whoever made
//! them was killed, and never taken from somebody who still needs them.

use sqlx::{Connection as _, MySqlConnection, PgConnection, SqliteConnection};
use windlass_migrate::{Database, Scratch};

use crate::scene::Scene;
use crate::servers::{Mariadb, Postgres};

async fn pg_databases(server: &Postgres) -> Vec<String> {
    let mut conn = server.connect().await;
    sqlx::query_scalar("select datname::text from pg_database where datname like 'windlass%'")
        .fetch_all(&mut conn)
        .await
        .unwrap()
}

async fn pg_text(url: &str, sql: &'static str) -> String {
    let mut conn = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
}

#[tokio::test]
async fn scratch_on_postgres_is_like_the_real_one_and_swept_only_when_nobody_holds_it() {
    let server = Postgres::start().await;
    let first = format!("postgres://windlass@127.0.0.1:{}/postgres", server.port);
    let mut conn = PgConnection::connect(&first).await.unwrap();
    for sql in [
        "create database old template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'",
        "alter database old set search_path = mine, \"$user\", public",
        "alter database old set work_mem = '5MB'",
    ] {
        sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    }
    let place = Database::parse(&first.replace("/postgres", "/old?application_name=x")).unwrap();
    let scratch = Scratch::create(&place).await.unwrap();
    let url = scratch.database().url().to_owned();
    assert_eq!(
        pg_text(
            &url,
            "select current_setting('server_encoding') || current_setting('search_path') \
             || current_setting('work_mem')"
        )
        .await,
        "LATIN1mine, \"$user\", public5MB"
    );

    // Its maker is gone without a word: the next one sweeps it, but not what is still held.
    let held = Scratch::create(&place).await.unwrap();
    let left = scratch.name().to_owned();
    drop(scratch);
    let mut somebody = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("create database windlass_scratch_of_anna")
        .execute(&mut conn)
        .await
        .unwrap();
    crate::scene::until("the server to notice", async || {
        Scratch::create(&place)
            .await
            .unwrap()
            .remove()
            .await
            .unwrap();
        !pg_databases(&server).await.contains(&left)
    })
    .await;
    assert!(
        sqlx::raw_sql("select 1")
            .execute(&mut somebody)
            .await
            .is_err()
    );
    let mut names = pg_databases(&server).await;
    names.sort();
    let mut expected = [held.name(), "windlass_scratch_of_anna"];
    expected.sort_unstable();
    assert_eq!(names, expected);

    // A copy has the rows, although somebody was just connected.
    let mut conn = PgConnection::connect(held.database().url()).await.unwrap();
    sqlx::raw_sql("create schema mine; create table t (a text); insert into t values ('kept')")
        .execute(&mut conn)
        .await
        .unwrap();
    let copy = held.copy().await.unwrap().unwrap();
    assert_eq!(
        pg_text(copy.database().url(), "select a from mine.t").await,
        "kept"
    );
    copy.remove().await.unwrap();
    held.remove().await.unwrap();
    assert_eq!(pg_databases(&server).await, ["windlass_scratch_of_anna"]);
}

#[tokio::test]
async fn scratch_of_a_role_that_may_not_make_databases_says_what_to_do() {
    let server = Postgres::start().await;
    let mut conn = server.connect().await;
    sqlx::raw_sql("create role poor login")
        .execute(&mut conn)
        .await
        .unwrap();
    let place = Database::parse(&server.url.replace("windlass@", "poor@")).unwrap();
    let error = Scratch::create(&place).await.unwrap_err().to_string();
    assert!(error.contains("CREATEDB"), "{error}");
    // A database that does not exist yet is no obstacle for those who may.
    let place = Database::parse(&server.url.replace("/app", "/not_yet")).unwrap();
    let scratch = Scratch::create(&place).await.unwrap();
    scratch.remove().await.unwrap();
    // Somebody at work in the source: said after some patience.
    let error = Scratch::copy_of(&Database::parse(&server.url).unwrap())
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("others are connected to the database app"),
        "{error}"
    );
    drop(conn);
}

#[tokio::test]
async fn scratch_on_mariadb_is_like_the_real_one_and_swept_only_when_nobody_holds_it() {
    let server = Mariadb::start().await;
    let mut conn = server.connect().await;
    sqlx::raw_sql("alter database app character set latin1 collate latin1_german2_ci")
        .execute(&mut conn)
        .await
        .unwrap();
    let place = Database::parse(&server.url).unwrap();
    let scratch = Scratch::create(&place).await.unwrap();
    let held = Scratch::create(&place).await.unwrap();
    let mut inside = MySqlConnection::connect(scratch.database().url())
        .await
        .unwrap();
    let collation: String = sqlx::query_scalar("select @@collation_database")
        .fetch_one(&mut inside)
        .await
        .unwrap();
    assert_eq!(collation, "latin1_german2_ci");
    // Left behind in the middle of a transaction, with a table locked.
    sqlx::raw_sql(
        "create table t (a int) engine=innodb; start transaction; insert into t values (1)",
    )
    .execute(&mut inside)
    .await
    .unwrap();
    let left = scratch.name().to_owned();
    drop(scratch);
    crate::scene::until("the server to notice", async || {
        Scratch::create(&place).await.unwrap().remove().await.unwrap();
        let names: Vec<String> = sqlx::query_scalar(
            "select schema_name from information_schema.schemata where schema_name like 'windlass%'",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap();
        assert!(names.iter().any(|n| n == held.name()));
        !names.contains(&left)
    })
    .await;
    assert!(held.copy().await.unwrap().is_none());
    held.remove().await.unwrap();
}

#[tokio::test]
async fn scratch_of_sqlite_is_a_file_that_nobody_else_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let scene = Scene::sqlite();
    let place = Database::parse(&scene.url).unwrap();
    // What a killed process left.
    let orphan = std::env::temp_dir().join("windlass_scratch_1_2_3");
    std::fs::create_dir_all(&orphan).unwrap();
    std::fs::write(orphan.join("lock"), "").unwrap();
    let scratch = Scratch::create(&place).await.unwrap();
    assert!(!orphan.exists());
    let folder = std::path::Path::new(scratch.name())
        .parent()
        .unwrap()
        .to_owned();
    let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // A copy of a file that is being written to, with a log beside it.
    let options: sqlx::sqlite::SqliteConnectOptions = scene.url.parse().unwrap();
    let options = options
        .create_if_missing(true)
        .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut conn = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql("create table t (a); insert into t values (7); begin; insert into t values (8)")
        .execute(&mut conn)
        .await
        .unwrap();
    let (copy, ()) = tokio::join!(Scratch::copy_of(&place), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        sqlx::raw_sql("commit").execute(&mut conn).await.unwrap();
    });
    let copy = copy.unwrap();
    let mut inside = SqliteConnection::connect(copy.database().url())
        .await
        .unwrap();
    let sum: i64 = sqlx::query_scalar("select sum(a) from t")
        .fetch_one(&mut inside)
        .await
        .unwrap();
    assert_eq!(sum, 15);
    let other = std::path::Path::new(copy.name())
        .parent()
        .unwrap()
        .to_owned();
    copy.remove().await.unwrap();
    drop(scratch);
    assert!(!folder.exists() && !other.exists());
}
