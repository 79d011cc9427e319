//! Rehearsals on PostgreSQL: what is measured is what happened, and what was not rehearsed is not
//! run.

use serde_json::Value;

use crate::scene::Scene;
use crate::servers::Postgres;

/// A table with rows in the database `app`, known to the history.
async fn production(server: &Postgres, scene: &Scene) {
    scene.file(
        "0001_users.sql",
        "create table users (id int primary key, name text, age int); \
         create function slow(t text) returns text immutable language plpgsql as $f$ begin \
         if t = 'n1' then perform pg_sleep(0.3); end if; return t; end $f$;\n\
         -- windlass: verify\nselect id from users where age < 0",
    );
    scene.run(&["up"]).code(0);
    let mut conn = server.connect().await;
    sqlx::raw_sql("insert into users select n, 'n' || n, n % 90 from generate_series(1, 20000) n; analyze users")
        .execute(&mut conn)
        .await
        .unwrap();
}

fn lock<'a>(report: &'a Value, statement: usize, table: &str) -> &'a Value {
    report["statements"][statement]["locks"]
        .as_array()
        .unwrap()
        .iter()
        .find(|l| l["table"] == table)
        .unwrap_or_else(|| panic!("no lock on {table}: {report:#}"))
}

#[tokio::test]
async fn rehearse_measures_locks_rewrites_and_scans_and_up_runs_only_that_plan() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    production(&server, &scene).await;
    scene
        .file(
            "0002_change.sql",
            "alter table users add column email text;\n\
             alter table users alter column age type bigint;\n\
             alter table users add check (age >= 0);\n\
             update users set email = 'x' where id <= 10;\n\
             select pg_sleep(0.4);",
        )
        .file(
            "0003_index.sql",
            // Long enough for its lock to be seen: no transaction keeps it.
            "create index concurrently users_name on users (slow(name));",
        )
        .file("0004_new.sql", "create table fresh (id int);");
    let url = server.url.clone();
    let report = scene
        .run(&["rehearse", "--from", &url, "--output", "r.json", "--json"])
        .code(0)
        .json();

    let first = lock(&report, 0, "users");
    assert_eq!(first["mode"], "AccessExclusiveLock");
    // Until the end of the transaction, the sleep included.
    let held = first["held_ms"].as_u64().unwrap();
    assert!((400..60_000).contains(&held), "{report:#}");
    let of = |n: usize, what: &str| report["statements"][n][what].to_string();
    assert_eq!(
        (of(0, "rewritten"), of(0, "scanned")),
        ("[]".into(), "[]".into())
    );
    assert_eq!(of(1, "rewritten"), "[\"users\"]");
    assert_eq!(
        (of(2, "rewritten"), of(2, "scanned")),
        ("[]".into(), "[\"users\"]".into())
    );
    assert!(
        report["statements"][1]["bytes"].as_u64().unwrap() > 500_000,
        "{report:#}"
    );
    assert_eq!(of(3, "rows"), "10");
    // CONCURRENTLY stops nobody; a table of the plan itself has no user to be stopped.
    assert_eq!(
        lock(&report, 5, "users")["mode"],
        "ShareUpdateExclusiveLock"
    );
    assert_eq!(of(6, "locks"), "[]");
    // The load was at work, and had to wait for the sleep, too.
    let load = &report["load"];
    assert!(load["reads"].as_u64().unwrap() > 10, "{load:#}");
    assert!(load["longest_read_ms"].as_u64().unwrap() >= 350, "{load:#}");
    let waiting = report["statements"][4]["blocked_sessions"]
        .as_u64()
        .unwrap();
    assert!((1..=4).contains(&waiting), "{report:#}");
    let plan = scene.run(&["plan", "--json"]).code(0).json();
    assert_eq!(report["hash"], plan["hash"]);

    // Only what was rehearsed, and within the budget.
    let up = |more: &[&str]| scene.run(&[&["up", "--rehearsed", "r.json"], more].concat());
    up(&["--max-hold", "100ms"])
        .code(7)
        .says("0002_change.sql, line 1: users was locked against reads and writes for");
    scene.file("0005_more.sql", "create table more (id int);");
    up(&[]).code(7).says("is not the one that was rehearsed");
    std::fs::remove_file(scene.dir.path().join("migrations/0005_more.sql")).unwrap();
    up(&["--max-hold", "1min"])
        .code(0)
        .says("applied 0004_new.sql");
    // Nothing is pending: nothing to rehearse.
    up(&[]).code(0).says("nothing to do");
    let mut conn = server.connect().await;
    let left: i64 =
        sqlx::query_scalar("select count(*) from pg_database where datname like 'windlass%'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn rehearse_on_a_dump_of_pg_dump_with_a_load_of_ones_own() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    production(&server, &scene).await;
    let dump = std::process::Command::new("pg_dump")
        .args(["--file", "dump.sql", &server.url])
        .current_dir(scene.dir.path())
        .output()
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    // Somebody reads the table in a long transaction: the lock has to be waited for.
    scene.file(
        "0002_add.sql",
        "-- windlass: lock-timeout 10s\nalter table users add column email text;",
    );
    let load = "psql -q \"$DATABASE_URL\" -c 'begin; select count(*) from users; select pg_sleep(3); commit'; sleep 60";
    let report = scene
        .run(&["rehearse", "--from", "dump.sql", "--load", load, "--json"])
        .code(0)
        .json();
    let one = &report["statements"][0];
    assert!(one["waited_ms"].as_u64().unwrap() > 300, "{report:#}");
    // It did not have the lock while it waited for it.
    let held = lock(&report, 0, "users")["held_ms"].as_u64().unwrap();
    assert!(held < 1000, "{report:#}");
    scene
        .run(&[
            "rehearse",
            "--from",
            "dump.sql",
            "--load",
            "echo broken; exit 3",
        ])
        .code(1)
        .says("broken");

    // What fails on real data fails here, and not there.
    scene.file("0003_unique.sql", "create unique index u on users (age);");
    scene
        .run(&["rehearse", "--from", "dump.sql"])
        .code(1)
        .says("0003_unique.sql, line 1");
    // A check that held before and does not afterwards.
    scene.file("0003_unique.sql", "update users set age = -1 where id = 1;");
    scene
        .run(&["rehearse", "--from", "dump.sql", "--no-load"])
        .code(7)
        .says("a check fails afterwards: 0001_users.sql, line 3: 1 row(s)");
    scene
        .run(&["rehearse", "--from", "template:app", "--no-load"])
        .code(7)
        .says("longest lock");
}

#[tokio::test]
async fn a_rehearsal_that_nobody_watched_is_none() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    production(&server, &scene).await;
    scene.file(
        "0002_ends_the_watcher.sql",
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid();\n\
         select pg_sleep(0.2);",
    );
    scene
        .run(&["rehearse", "--from", "template:app", "--no-load"])
        .code(1)
        .says("the session that watched for locks was ended");
}

/// The check was written for a column that the new release does without.
#[tokio::test]
async fn a_check_of_what_a_contract_removes_fails_no_rehearsal() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    production(&server, &scene).await;
    let drop = "alter table users drop column age;";
    scene.file(
        "0002_drop.sql",
        &format!("-- windlass: phase contract\n{drop}"),
    );
    let rehearse = [
        "rehearse",
        "--from",
        "template:app",
        "--no-load",
        "--oldest-running",
        "this",
    ];
    let report = scene.run(&[&rehearse[..], &["--json"]].concat());
    let report = report.code(0).json();
    assert_eq!(report["checks_before"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["checks_after"], serde_json::json!([]), "{report:#}");
    // One that is not said to be a contract breaks what others count on.
    scene.file("0002_drop.sql", drop);
    scene
        .run(&rehearse)
        .code(7)
        .says("a check fails afterwards: 0001_users.sql, line 3: column \"age\" does not exist");
}
