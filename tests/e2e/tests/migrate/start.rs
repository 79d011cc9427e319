//! What runs when an application starts: wait, exec, and other migrators under our lock.

use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use crate::scene::{Scene, until};
use crate::servers::{Postgres, free_port};

#[tokio::test]
async fn exec_waits_until_somebody_migrated_and_becomes_the_application() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "create table a (x int);");
    let ready = scene.dir.path().join("ready");
    std::fs::write(&ready, "of the last run").unwrap();
    let ready = ready.to_str().unwrap();
    let app = [
        "exec",
        "--ready-file",
        ready,
        "--",
        "sh",
        "-c",
        "trap 'echo stopped; exit 9' TERM; echo $$; cat ready; while :; do sleep 0.1; done",
    ];
    let app = scene.spawn(&app);
    app.until_says("pending: 1 migration").await;
    assert!(!std::path::Path::new(ready).exists());
    let pid = app.pid;
    let first = scene.spawn_with(&["exec", "--", "true"], &[("WINDLASS_MIGRATE", "1")]);
    first.end().code(0).says("applied 0001_a.sql");
    until("the application", async || {
        std::path::Path::new(ready).exists()
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    app.signal(Signal::SIGTERM);
    let ran = app.end().code(9);
    // The same process, its own signals.
    assert_eq!(ran.out, format!("{pid}\nready\nstopped\n"));
}

#[tokio::test]
async fn three_replicas_that_all_may_migrate_start_once_each() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    for n in 1..6 {
        scene.file(
            &format!("000{n}_a.sql"),
            &format!("create table a{n} (x int); select pg_sleep(0.05);"),
        );
    }
    let env = [("WINDLASS_MIGRATE", "1")];
    let all: Vec<_> = (0..3)
        .map(|_| scene.spawn_with(&["exec", "--", "echo", "started"], &env))
        .collect();
    let mut applied = 0;
    for replica in all {
        let ran = replica.end().code(0);
        assert_eq!(ran.out, "started\n");
        applied += ran.err.matches("windlass: applied").count();
    }
    assert_eq!(applied, 5);
}

#[tokio::test]
async fn what_does_not_come_ends_with_its_own_code() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "create table a (x int);");
    let ran = scene
        .run(&["exec", "--timeout", "300ms", "--", "echo", "started"])
        .code(3);
    assert!(ran.out.is_empty(), "{ran:?}");
    scene
        .run(&["wait", "--timeout", "300ms", "--json"])
        .code(3)
        .says("pending");
    scene
        .run(&["wait", "--timeout", "0", "--needs", "7"])
        .code(3);
    scene
        .run_with(
            &["exec", "--", "echo", "x"],
            &[("WINDLASS_MIGRATE", "skip")],
        )
        .code(0)
        .says("x");
    scene
        .run_with(&["exec", "--", "echo", "x"], &[("WINDLASS_MIGRATE", "ys")])
        .code(1);
    scene.run(&["up"]).code(0);
    scene.run(&["exec", "--", "no-such-program"]).code(127);
    let text = scene.dir.path().join("text");
    std::fs::write(&text, "").unwrap();
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o600)).unwrap();
    scene.run(&["exec", "--", text.to_str().unwrap()]).code(126);
    // For programs, beside what is the application's.
    let app = ["exec", "--json", "--", "echo", "started"];
    let starts = scene.run(&app).code(0);
    assert_eq!(starts.out, "started\n");
    let said: serde_json::Value = serde_json::from_str(starts.err.trim()).unwrap();
    assert_eq!(
        said,
        serde_json::json!({"answer": "compatible", "ahead": 0, "starts": true, "exit_code": null})
    );
    let failed = scene
        .run(&["exec", "--json", "--", "no-such-program"])
        .code(127);
    let said: serde_json::Value = serde_json::from_str(failed.err.lines().last().unwrap()).unwrap();
    assert_eq!(
        (said["exit_code"].as_i64(), failed.out.as_str()),
        (Some(127), "")
    );
    let ran = scene
        .run(&["run", "--json", "--", "sh", "-c", "echo it; exit 5"])
        .code(5);
    let said: serde_json::Value = serde_json::from_str(ran.err.trim()).unwrap();
    assert_eq!(
        (said["exit_code"].as_i64(), ran.out.as_str()),
        (Some(5), "it\n")
    );
    // A stop while it waits.
    scene.file("0002_b.sql", "create table b (x int);");
    let waits = scene.spawn(&["exec", "--", "echo", "started"]);
    waits.until_says("pending").await;
    waits.signal(Signal::SIGTERM);
    waits.end().code(143);
}

#[tokio::test]
async fn a_database_that_comes_later_is_waited_for() {
    let scene = Scene::new(&format!("postgres://x@127.0.0.1:{}/x", free_port()));
    scene.file("0001_a.sql", "create table a (x int);");
    scene
        .run(&["wait", "--timeout", "500ms"])
        .code(1)
        .says("could not connect");
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    let app = scene.spawn(&["exec", "--", "echo", "started"]);
    app.until_says("waiting for the schema").await;
    scene.run(&["up"]).code(0);
    app.end().code(0).says("started");
}

#[tokio::test]
async fn another_migrator_runs_under_our_lock_and_dies_with_it() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene
        .run(&["run", "--", "sh", "-c", "echo \"$DATABASE_URL\"; exit 5"])
        .code(5);
    let said = scene.dir.path().join("pids");
    // Each would be seen by the other if they ran at once.
    let script = "mkdir busy || exit 1; sleep 0.3; rmdir busy";
    let all: Vec<_> = (0..4)
        .map(|_| scene.spawn(&["run", "--", "sh", "-c", script]))
        .collect();
    for one in all {
        one.end().code(0);
    }
    let holder = scene.spawn(&["run", "--", "sh", "-c", "echo $$ > pids; exec sleep 300"]);
    until("the command", async || {
        std::fs::read_to_string(&said).is_ok_and(|t| t.ends_with('\n'))
    })
    .await;
    let pid = std::fs::read_to_string(&said).unwrap();
    let process = std::path::PathBuf::from("/proc").join(pid.trim());
    holder.signal(Signal::SIGKILL);
    holder.end();
    until("the command to die with its lock", async || {
        std::fs::read_to_string(process.join("stat")).is_err_or_zombie()
    })
    .await;
    scene.run(&["run", "--", "true"]).code(0);
}

#[tokio::test]
async fn another_migrator_has_our_time_limits() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let shows = "psql -X \"$DATABASE_URL\" -Atc 'show lock_timeout' -c 'show statement_timeout' -c 'show search_path'";
    let limits = [
        "run",
        "--lock-timeout",
        "1500ms",
        "--statement-timeout",
        "2min",
    ];
    let shown = scene.run_with(
        &[&limits[..], &["--", "sh", "-c", shows]].concat(),
        &[("PGOPTIONS", "-c search_path=public,app -c lock_timeout=7")],
    );
    assert_eq!(shown.code(0).out, "1500ms\n2min\npublic,app\n");
    let began = std::time::Instant::now();
    let slow = [
        "run",
        "--time-limit",
        "300ms",
        "--",
        "sh",
        "-c",
        "sleep 60 & echo $!; sleep 60",
    ];
    let slow = scene.run(&slow).code(1);
    assert!(slow.err.contains("had not ended after 300 ms"), "{slow:?}");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(8),
        "{slow:?}"
    );
    let left = std::path::PathBuf::from("/proc").join(slow.out.trim());
    until("what it had started to end", async || {
        std::fs::read_to_string(left.join("stat")).is_err_or_zombie()
    })
    .await;
    // The lock is free again.
    scene
        .run(&["run", "--lock-wait", "0", "--", "true"])
        .code(0);
    Scene::sqlite()
        .run(&["run", "--lock-timeout", "1s", "--", "true"])
        .code(1)
        .says("are for PostgreSQL");
}

pub(crate) trait Gone {
    fn is_err_or_zombie(&self) -> bool;
}

impl Gone for std::io::Result<String> {
    /// Nobody may have waited for it yet.
    fn is_err_or_zombie(&self) -> bool {
        self.as_ref().map_or(true, |stat| stat.contains(") Z "))
    }
}
