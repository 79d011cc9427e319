//! Rehearsals on SQLite and MariaDB: what these databases can tell of locks is measured, the rest is
//! said, and `up` refuses what was not rehearsed as on PostgreSQL.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::scene::{Scene, until};
use crate::servers::{Mariadb, is_mysql};

const USERS: &str = "create table users (id integer primary key, name varchar(40), age int);\n\
    -- windlass: verify\nselect id from users where age < 0";
/// Of each row something is kept that a rewrite has to write.
const ROWS: u64 = 60_000;

async fn lite(scene: &Scene, sql: &'static str) -> Option<String> {
    let mut conn = SqliteConnection::connect(&scene.url).await.unwrap();
    sqlx::query_scalar(sql)
        .fetch_optional(&mut conn)
        .await
        .unwrap()
}

/// A database with rows, known to the history, and a folder of its own for temporary files.
async fn sqlite(journal: &'static str, users: &str) -> Scene {
    let mut scene = Scene::sqlite();
    let temporary = scene.dir.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    scene.env = vec![("TMPDIR", temporary.display().to_string())];
    scene.file("0001_users.sql", users);
    scene.run(&["up"]).code(0);
    lite(&scene, journal).await;
    lite(
        &scene,
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000) \
         insert into users select i, 'n' || i, i % 90 from n",
    )
    .await;
    scene
}

fn left(scene: &Scene) -> Vec<String> {
    let names = std::fs::read_dir(scene.dir.path().join("tmp")).unwrap();
    names
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

fn report(scene: &Scene, from: &str) -> Value {
    scene
        .run(&["rehearse", "--from", from, "--output", "r.json", "--json"])
        .code(0)
        .json()
}

/// Modes and times of a statement's locks on a table.
fn locks(report: &Value, statement: usize, table: &str) -> Vec<(String, u64)> {
    let locks = report["statements"][statement]["locks"].as_array();
    let locks = locks.unwrap_or_else(|| panic!("no statement {statement}: {report:#}"));
    let of_it = locks.iter().filter(|l| l["table"] == table);
    of_it
        .map(|l| {
            let mode = l["mode"].as_str().unwrap().to_owned();
            (mode, l["held_ms"].as_u64().unwrap())
        })
        .collect()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}

/// What `up` refuses, and what it runs.
fn only_what_was_rehearsed(scene: &Scene, over_budget: &str, last: &str) {
    let up = |more: &[&str]| scene.run(&[&["up", "--rehearsed", "r.json"], more].concat());
    up(&["--max-hold", "20ms"]).code(7).says(over_budget);
    scene.file("0099_more.sql", "create table more (id int);");
    up(&[]).code(7).says("is not the one that was rehearsed");
    std::fs::remove_file(scene.dir.path().join("migrations/0099_more.sql")).unwrap();
    let elsewhere = ["--url", "postgres://nobody@127.0.0.1:1/x"];
    up(&elsewhere).code(7).says("another kind of database");
    up(&["--max-hold", "5min"])
        .code(0)
        .says(&format!("applied {last}"));
    up(&[]).code(0).says("nothing to do");
}

#[tokio::test]
async fn rehearse_on_sqlite_tells_what_adds_what_rewrites_and_who_waited() {
    // Not of the column that 0003 removes.
    let users = USERS.replace("age < 0", "name = ''");
    let scene = sqlite("pragma journal_mode = wal", &users).await;
    scene
        .file("0002_add.sql", "alter table users add column email text;")
        .file("0003_drop.sql", "alter table users drop column age;")
        .file("0004_index.sql", "create index users_name on users (name);")
        .file(
            "0005_rebuild.sql",
            "-- windlass: foreign-keys off\n\
             create table fresh (id integer primary key, name text not null, email text);\n\
             insert into fresh select id, name, email from users;\n\
             drop table users;\n\
             alter table fresh rename to users;",
        )
        .file(
            "0006_slow.sql",
            "update users set name = 'x' where id = 7;\n\
             create table big as with recursive n(i) as \
             (select 1 union all select i + 1 from n where i < 3000000) select i from n;",
        );
    let file = scene.dir.path().join("app.db");
    let content = || scene.run(&["dump", "--rows"]).code(0).out;
    let before = content();
    let report = report(&scene, file.to_str().unwrap());
    assert!(content() == before, "the source changed");
    assert_eq!(left(&scene), Vec::<String>::new());

    let whole = "the whole database";
    let of = |n: usize, what: &str| report["statements"][n][what].to_string();
    let add = locks(&report, 0, whole);
    assert_eq!(
        (add.len(), add[0].0.as_str()),
        (1, "RESERVED"),
        "{report:#}"
    );
    assert_eq!(
        (of(0, "rewritten"), of(0, "scanned"), of(0, "bytes")),
        ("[]".into(), "[]".into(), "0".into())
    );
    assert_eq!(of(1, "rewritten"), "[\"users\"]", "{report:#}");
    assert!(number(&report["statements"][1]["bytes"]) > ROWS * 8);
    assert_eq!(
        (of(2, "rewritten"), of(2, "scanned")),
        ("[]".into(), "[\"users\"]".into())
    );
    // The rebuild by hand: rows in the second statement, another table in its place in the last.
    assert_eq!(
        (of(4, "rows"), of(4, "scanned")),
        (ROWS.to_string(), "[\"users\"]".into())
    );
    assert_eq!(of(6, "rewritten"), "[\"users\"]", "{report:#}");
    assert_eq!(
        (of(7, "rows"), of(7, "rewritten")),
        ("1".into(), "[]".into())
    );
    // The first statement's lock is held to the commit. Writers waited, readers did not.
    let slow = number(&report["statements"][8]["ms"]);
    let held = locks(&report, 7, whole);
    assert_eq!(
        (held.len(), held[0].0.as_str()),
        (1, "RESERVED"),
        "{report:#}"
    );
    assert!(slow > 100 && held[0].1 >= slow, "{report:#}");
    assert_eq!(number(&report["statements"][8]["blocked_sessions"]), 2);
    let blocked = number(&report["statements"][8]["blocked_ms"]);
    assert!(blocked >= slow / 2, "{report:#}");
    let load = &report["load"];
    assert!(number(&load["reads"]) > 10, "{load:#}");
    assert!(number(&load["longest_write_ms"]) >= slow / 2, "{load:#}");
    let longest = number(&load["longest_read_ms"]);
    assert!(longest < slow / 2, "a reader waited: {report:#}");
    assert!(report["notes"].to_string().contains("one lock"));
    let plan = scene.run(&["plan", "--json"]).code(0).json();
    assert_eq!(report["hash"], plan["hash"]);

    only_what_was_rehearsed(
        &scene,
        "the whole database was locked against writes for",
        "0006_slow.sql",
    );
}

fn a_check_of_a_new_file_fails(scene: &Scene) {
    scene.file(
        "0002_bad.sql",
        "update users set age = -1 where id = 1;\n-- windlass: verify\n\
         select id from users where age < 0",
    );
    scene
        .run(&["rehearse", "--from", &scene.url])
        .code(6)
        .says("0002_bad.sql");
}

#[tokio::test]
async fn rehearse_on_sqlite_without_a_write_ahead_log_shuts_readers_out() {
    let scene = sqlite("pragma journal_mode = delete", USERS).await;
    scene.file(
        "0002_bad.sql",
        "update users set name = 'y';\nupdate users set age = -1 where id = 1;",
    );
    let url = scene.url.clone();
    let ran = scene.run(&["rehearse", "--from", &url, "--json"]).code(7);
    let report = ran.json();
    let all: Vec<String> = (0..2)
        .flat_map(|n| locks(&report, n, "the whole database"))
        .map(|(mode, _)| mode)
        .collect();
    assert_eq!(all, ["RESERVED", "EXCLUSIVE"], "{report:#}");
    assert_eq!(number(&report["statements"][0]["rows"]), ROWS);
    assert_eq!(
        report["statements"][0]["scanned"].to_string(),
        "[\"users\"]"
    );
    // A check that held before and does not afterwards.
    ran.says("a check fails afterwards: 0001_users.sql, line 3: 1 row(s)");
    a_check_of_a_new_file_fails(&scene);
    // From a dump, and without the source.
    scene.file("0002_bad.sql", "update users set age = 1;");
    scene
        .run(&["dump", "--rows", "--history", "--output", "dump.sql"])
        .code(0);
    scene
        .run(&["rehearse", "--from", "dump.sql", "--no-load"])
        .code(0)
        .says("longest lock");
    scene
        .run(&["rehearse", "--from", "template:app"])
        .code(1)
        .says("only PostgreSQL has templates");
    assert_eq!(left(&scene), Vec::<String>::new());
}

#[tokio::test]
async fn rehearse_on_sqlite_that_is_killed_leaves_nothing_for_long() {
    let scene = sqlite("pragma journal_mode = wal", USERS).await;
    let slow = "create table big as with recursive n(i) as \
        (select 1 union all select i + 1 from n where i < 300000000) select i from n;";
    scene.file("0002_slow.sql", slow);
    let url = scene.url.clone();
    let running = scene.spawn(&["rehearse", "--from", &url, "--no-load"]);
    running.until_says("0002_slow.sql").await;
    running.signal(Signal::SIGKILL);
    running.end();
    assert_eq!(left(&scene).len(), 1);
    scene.file("0002_slow.sql", "create table small (id int);");
    scene.run(&["rehearse", "--from", &url]).code(0);
    assert_eq!(left(&scene), Vec::<String>::new());
}

async fn my(server: &Mariadb, sql: &'static str) -> Vec<String> {
    let mut conn = server.connect().await;
    sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
}

const DATABASES: &str = "select schema_name from information_schema.schemata \
    where schema_name like 'windlass%'";

/// A table with rows in the database `app`, known to the history.
async fn production(server: &Mariadb, scene: &Scene) {
    // MySQL has it in its performance schema.
    let plugin = Path::new("/usr/lib/mysql/plugin/metadata_lock_info.so");
    assert!(
        is_mysql() || plugin.exists(),
        "{} is missing: apt-get install mariadb-server",
        plugin.display()
    );
    scene.file("0001_users.sql", USERS);
    scene.run(&["up"]).code(0);
    my(
        server,
        // The two have no other way to count in common.
        "insert into users with d (n) as (select 0 union select 1 union select 2 union select 3 union select 4 \
         union select 5 union select 6 union select 7 union select 8 union select 9), \
         all_of_them (i) as (select a.n + 10 * b.n + 100 * c.n + 1000 * e.n + 10000 * f.n + 1 \
         from d a, d b, d c, d e, d f where f.n < 6) \
         select i, concat('n', i), i % 90 from all_of_them",
    )
    .await;
}

#[tokio::test]
async fn rehearse_on_mariadb_tells_algorithms_locks_and_who_waited() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    production(&server, &scene).await;
    scene
        .file(
            "0002_change.sql",
            "alter table users add column email text;\n\
             alter table users modify age bigint;\n\
             create index users_name on users (name);",
        )
        .file(
            "0003_rows.sql",
            "update users set email = 'x' where id <= 10;\nupdate users set email = 'y';\n\
             select sleep(0.5);",
        );
    let url = server.url.clone();
    // Without the plugin it says so, and counts all of the time.
    let content = || scene.run(&["dump", "--rows"]).code(0).out;
    let before = content();
    if !is_mysql() {
        let blind = report(&scene, &url);
        assert!(
            blind["notes"].to_string().contains("INSTALL SONAME"),
            "{blind:#}"
        );
        let copied = locks(&blind, 1, "users");
        assert_eq!(copied[0].0, "EXCLUSIVE", "{blind:#}");
        my(&server, "install soname 'metadata_lock_info'").await;
    }
    let report = report(&scene, &url);
    assert!(
        !report["notes"].to_string().contains("INSTALL SONAME"),
        "{report:#}"
    );
    let of = |n: usize, what: &str| report["statements"][n][what].to_string();
    assert_eq!(
        (of(0, "algorithm"), of(0, "rewritten"), of(0, "scanned")),
        ("\"INSTANT\"".into(), "[]".into(), "[]".into())
    );
    assert_eq!(locks(&report, 0, "users")[0].0, "EXCLUSIVE", "{report:#}");
    assert_eq!(
        (of(1, "algorithm"), of(1, "rewritten"), of(1, "rows")),
        ("\"COPY\"".into(), "[\"users\"]".into(), ROWS.to_string())
    );
    assert!(number(&report["statements"][1]["bytes"]) > ROWS * 8);
    // While it copies nobody writes; at its end nobody reads for a moment.
    let copied = locks(&report, 1, "users");
    let time = |mode: &str| copied.iter().find(|l| l.0 == mode).map(|l| l.1);
    let ms = number(&report["statements"][1]["ms"]);
    let waited = number(&report["statements"][1]["waited_ms"]);
    assert!(
        time("SHARED_NO_WRITE").is_some_and(|t| t + waited >= ms / 3 && t <= ms),
        "{report:#}"
    );
    assert!(time("EXCLUSIVE").is_some(), "{report:#}");
    assert!(
        number(&report["statements"][1]["blocked_sessions"]) >= 1,
        "{report:#}"
    );
    assert_eq!(
        (of(2, "algorithm"), of(2, "rewritten"), of(2, "scanned")),
        ("\"INPLACE\"".into(), "[]".into(), "[\"users\"]".into())
    );
    // An index build lets others write.
    let built = locks(&report, 2, "users");
    assert!(
        !built.iter().any(|l| l.0 == "SHARED_NO_WRITE"),
        "{report:#}"
    );
    assert_eq!(
        (of(3, "rows"), of(3, "scanned")),
        ("10".into(), "[]".into())
    );
    assert_eq!(locks(&report, 3, "users")[0].0, "SHARED_WRITE");
    assert_eq!(
        (of(4, "rows"), of(4, "scanned")),
        (ROWS.to_string(), "[\"users\"]".into())
    );
    // The load waited for the rows.
    let load = &report["load"];
    assert!(number(&load["reads"]) > 10, "{load:#}");
    assert!(number(&load["longest_write_ms"]) >= 400, "{load:#}");
    assert!(
        number(&report["statements"][5]["blocked_sessions"]) >= 1,
        "{report:#}"
    );
    assert_eq!(my(&server, DATABASES).await, Vec::<String>::new());
    assert!(content() == before, "the source changed");

    only_what_was_rehearsed(
        &scene,
        "0002_change.sql, line 2: users was locked against writes for",
        "0003_rows.sql",
    );
}

#[tokio::test]
async fn rehearse_on_mariadb_fails_by_checks_and_a_killed_one_is_swept() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    production(&server, &scene).await;
    let url = server.url.clone();
    scene.file("0002_bad.sql", "update users set age = -1 where id = 1;");
    scene
        .run(&["rehearse", "--from", &url, "--no-load"])
        .code(7)
        .says("a check fails afterwards: 0001_users.sql, line 3: 1 row(s)");
    a_check_of_a_new_file_fails(&scene);

    scene.file("0002_bad.sql", "select sleep(100);");
    let running = scene.spawn(&["rehearse", "--from", &url]);
    running.until_says("0002_bad.sql").await;
    running.signal(Signal::SIGKILL);
    running.end();
    assert_eq!(my(&server, DATABASES).await.len(), 1);
    // The server has to notice that the keeper is gone.
    scene.file("0002_bad.sql", "create table small (id int);");
    until("the copy to be swept", async || {
        scene
            .run(&["rehearse", "--from", &url, "--no-load"])
            .code(0);
        my(&server, DATABASES).await.is_empty()
    })
    .await;

    // A transaction of somebody is in the way of the metadata lock: it is waited for.
    scene.file("0002_bad.sql", "alter table users add column email text;");
    let name = "\"$(echo \"$DATABASE_URL\" | sed 's,.*/,,')\"";
    let port = "\"$(echo \"$DATABASE_URL\" | sed 's,.*:\\([0-9]*\\)/.*,\\1,')\"";
    let load = format!(
        "mariadb --no-defaults --protocol=tcp -h127.0.0.1 -uroot -P{port} {name} -e \
         'start transaction; select count(*) from users; select sleep(3); commit'; sleep 60"
    );
    let report = scene
        .run(&[
            "rehearse",
            "--from",
            &url,
            "--load",
            &load,
            "--lock-timeout",
            "20s",
            "--json",
        ])
        .code(0)
        .json();
    let one = &report["statements"][0];
    assert!(number(&one["waited_ms"]) > 300, "{report:#}");
}
