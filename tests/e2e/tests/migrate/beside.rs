//! Two migrators at one database, while a team changes from one to the other: both locks are held, and each
//! sees what the other has done. sqlx's own library is the other one; of the tools that can't be had here, the
//! numbers and names of their locks were computed apart (Python's zlib, from their sources).

use std::time::Duration;

use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};

use crate::scene::Scene;
use crate::servers::{Mariadb, Postgres};

fn table(scene: &Scene, n: u32) {
    let file = |way: &str, text: &str| {
        scene.file(&format!("000{n}_t.{way}.sql"), text);
    };
    file("up", &format!("create table t{n} (a int);\n"));
    file("down", &format!("drop table t{n};\n"));
}

/// sqlx's library on the scene, and how many migrations it knows as applied then.
async fn sqlx(scene: &Scene) -> Result<usize, sqlx::migrate::MigrateError> {
    let files = Migrator::new(scene.dir.path().join("migrations")).await?;
    macro_rules! run {
        ($kind:ty) => {{
            let mut conn = <$kind>::connect(&scene.url).await.unwrap();
            files.run(&mut conn).await?;
            conn.list_applied_migrations("_sqlx_migrations")
                .await?
                .len()
        }};
    }
    Ok(match scene.url.split(':').next().unwrap() {
        "postgres" => run!(PgConnection),
        "mysql" => run!(MySqlConnection),
        _ => run!(SqliteConnection),
    })
}

async fn in_turns(url: &str) {
    let scene = Scene::new(url);
    // A new database: their table is made, too. The transaction's row, a setting, a file without one.
    table(&scene, 1);
    scene.file(
        "0002_t.sql",
        "-- windlass: no-transaction\ncreate table t2 (a int);\n",
    );
    scene
        .run(&["up", "--beside", "sqlx"])
        .code(0)
        .says("applied 0002_t.sql");
    assert_eq!(sqlx(&scene).await.unwrap(), 2);
    // Theirs is taken for applied.
    table(&scene, 3);
    assert_eq!(sqlx(&scene).await.unwrap(), 3);
    scene.run(&["status", "--check"]).code(3);
    let up = scene.run(&["up", "--beside", "sqlx"]).code(0);
    let up = up.says("0003_t.up.sql was applied by the other tool");
    assert!(!up.out.contains("applied 0003_t"), "{up:?}");
    scene
        .run(&["up", "--beside", "sqlx"])
        .code(0)
        .says("nothing to do");
    // Undone here is undone there.
    scene.run(&["down", "--beside", "sqlx"]).code(0);
    assert_eq!(sqlx(&scene).await.unwrap(), 3);
    scene
        .run(&["up", "--beside", "sqlx"])
        .code(0)
        .says("0003_t.up.sql was applied by the other tool");
    // One that was applied without it: nobody can know who is right.
    table(&scene, 4);
    scene.run(&["up"]).code(0);
    scene
        .run(&["up", "--beside", "sqlx"])
        .code(1)
        .says("0004_t.up.sql is applied here, and not in the history of sqlx");
    scene
        .run(&["baseline", "--into", "sqlx"])
        .code(0)
        .says("0004_t.up.sql counts as applied there");
    assert_eq!(sqlx(&scene).await.unwrap(), 4);
    // A file that was changed since. Our checksum does not see line ends, theirs does: their library would refuse
    // the file, and we say so before.
    scene.file("0003_t.up.sql", "create table t3 (a int);\r\n");
    table(&scene, 5);
    scene
        .run(&["up", "--beside", "sqlx"])
        .code(1)
        .says("sqlx's history has another checksum for 0003_t.up.sql");
    let refused = sqlx(&scene).await.unwrap_err().to_string();
    assert!(refused.contains("has been modified"), "{refused}");
}

#[tokio::test]
async fn sqlx_and_windlass_take_turns_on_postgres() {
    in_turns(&Postgres::start().await.url).await;
}

#[tokio::test]
async fn sqlx_and_windlass_take_turns_on_mariadb() {
    in_turns(&Mariadb::start().await.url).await;
}

#[tokio::test]
async fn sqlx_and_windlass_take_turns_on_sqlite() {
    in_turns(&Scene::sqlite().url).await;
}

/// What a tool's own lock is, and how it is taken in another session.
struct Theirs {
    tool: &'static str,
    lock: &'static str,
    unlock: &'static str,
}

#[tokio::test]
async fn the_other_tool_s_lock_is_waited_for_and_held_on_postgres() {
    let server = Postgres::start().await;
    for theirs in [
        Theirs {
            tool: "golang-migrate",
            lock: "select pg_advisory_lock(1787120056)",
            unlock: "select pg_advisory_unlock(1787120056)",
        },
        Theirs {
            tool: "goose",
            lock: "select pg_advisory_lock(4097083626)",
            unlock: "select pg_advisory_unlock(4097083626)",
        },
        Theirs {
            tool: "flyway",
            lock: "select pg_advisory_lock(77433833903597)",
            unlock: "select pg_advisory_unlock(77433833903597)",
        },
    ] {
        let mut conn = server.connect().await;
        sqlx::raw_sql("drop schema public cascade; create schema public")
            .execute(&mut conn)
            .await
            .unwrap();
        let scene = Scene::new(&server.url);
        scene.file("V1__t.sql", "create table t (a int);");
        let up = ["up", "--beside", theirs.tool, "--lock-wait", "1s"];
        sqlx::raw_sql(theirs.lock).execute(&mut conn).await.unwrap();
        scene
            .run(&up)
            .code(4)
            .says(&format!("{} migrates this database", theirs.tool));
        sqlx::raw_sql(theirs.unlock)
            .execute(&mut conn)
            .await
            .unwrap();
        scene.run(&up).code(0).says("applied V1__t.sql");
        // And given back.
        let free = theirs
            .lock
            .replace("pg_advisory_lock", "pg_try_advisory_lock");
        let free: bool = sqlx::query_scalar(AssertSqlSafe(free))
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert!(free, "{}", theirs.tool);
    }
}

#[tokio::test]
async fn sqlx_waits_for_us_and_we_for_it_on_postgres() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    table(&scene, 1);
    assert_eq!(sqlx(&scene).await.unwrap(), 1);
    let mut conn = server.connect().await;
    conn.lock().await.unwrap();
    scene
        .run(&["up", "--beside", "sqlx", "--lock-wait", "0"])
        .code(4)
        .says("sqlx migrates this database");
    let waiting = scene.spawn(&["up", "--beside", "sqlx"]);
    waiting.until_says("waiting for the lock of sqlx").await;
    conn.unlock().await.unwrap();
    waiting
        .end()
        .code(0)
        .says("0001_t.up.sql was applied by the other tool");
    // While our file runs, their library waits, and then has nothing left to do.
    scene.file(
        "0002_slow.sql",
        "select pg_sleep(3); create table slow (a int);",
    );
    let ours = scene.spawn(&["up", "--beside", "sqlx"]);
    ours.until_says("0002_slow.sql ...").await;
    let began = std::time::Instant::now();
    assert_eq!(sqlx(&scene).await.unwrap(), 2);
    assert!(began.elapsed() > Duration::from_secs(1), "it did not wait");
    ours.end().code(0).says("applied 0002_slow.sql");
    // A file that makes names mean something else, as dumps of pg_dump do: their row comes where the others are.
    scene.file(
        "0003_elsewhere.sql",
        "create schema other; create table other._sqlx_migrations (x int); \
         select pg_catalog.set_config('search_path', 'other', false);",
    );
    scene.run(&["up", "--beside", "sqlx"]).code(0);
    assert_eq!(sqlx(&scene).await.unwrap(), 3);
}

#[tokio::test]
async fn the_other_tool_s_lock_is_waited_for_on_mariadb() {
    let server = Mariadb::start().await;
    for (tool, name) in [
        ("sqlx", "3027310f4fd382c2"),
        ("golang-migrate", "2938252834"),
        ("flyway", "Flyway--320650056"),
    ] {
        let mut conn = server.connect().await;
        sqlx::raw_sql("drop database app; create database app")
            .execute(&mut conn)
            .await
            .unwrap();
        let scene = Scene::new(&server.url);
        scene.file("V1__t.sql", "create table t (a int);");
        let up = ["up", "--beside", tool, "--lock-wait", "1s"];
        let ask = |word: &str| {
            AssertSqlSafe(format!(
                "select {word}_lock('{name}'{})",
                match word {
                    "get" => ", 0",
                    _ => "",
                }
            ))
        };
        let got: i64 = sqlx::query_scalar(ask("get"))
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(got, 1);
        scene
            .run(&up)
            .code(4)
            .says(&format!("{tool} migrates this database"));
        let _: i64 = sqlx::query_scalar(ask("release"))
            .fetch_one(&mut conn)
            .await
            .unwrap();
        scene.run(&up).code(0).says("applied V1__t.sql");
    }
}

/// Flyway is on Maven Central alone. Its table's columns, ranks and checksums are as its sources have them; the
/// checksum was computed by Python's zlib.
#[tokio::test]
async fn flyway_finds_ranks_and_checksums_of_its_own_kind() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file(
        "V1__first_table.sql",
        "\u{feff}create table t1 (a int);\r\n",
    );
    scene.file("V2__second.sql", "create table t2 (a int);\n");
    // Not one of Flyway's names.
    scene.file("0003_ours.sql", "create table t3 (a int);\n");
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("applied 0003_ours.sql");
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("nothing to do");
    let mut conn = server.connect().await;
    let rows: Vec<String> = sqlx::query_scalar(
        "select concat_ws(' | ', installed_rank, version, description, type, script, installed_by, success) \
         from flyway_schema_history order by installed_rank",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert_eq!(
        rows,
        [
            "1 | 1 | first table | SQL | V1__first_table.sql | windlass | t",
            "2 | 2 | second | SQL | V2__second.sql | windlass | t"
        ]
    );
    let sum: i32 =
        sqlx::query_scalar("select checksum from flyway_schema_history where version = '1'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(sum, -778_474_984);
}
