//! A lock in Redis in front of the database's own: l18 of docs/adr/0012-a-lock-and-a-lease.md.
//! What a lock in Redis can lose, it loses here: keys, the server, its memory, its holder.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::scene::{Scene, until};
use crate::servers::{Postgres, Redis, free_port};
use crate::storm;

const LOCK: &str = "WINDLASS_MIGRATE_LOCK";

fn scene(url: &str, redis: &Redis) -> Scene {
    let mut scene = Scene::new(url);
    scene.env.push((LOCK, redis.url()));
    scene
}

#[tokio::test]
async fn l18_storm_behind_a_redis_that_restarts() {
    let server = Postgres::start().await;
    let mut redis = Redis::start();
    let scene = scene(&server.url, &redis);
    storm::files(&scene, "select pg_sleep(0.1);");
    scene.file("0006_m.sql", "create table t6 (a int);\ninsert into marks values (6);\ncreate index concurrently i6 on t6 (a);");
    let mut conn = server.connect().await;
    let mut asked = 0;
    storm::storm(&scene, async || {
        asked += 1;
        if asked % 400 == 100 {
            redis.restart();
        }
        let pid: Option<String> = sqlx::query_scalar(storm::HOLDER)
            .fetch_optional(&mut conn)
            .await
            .ok()??;
        pid?.trim().parse().ok()
    })
    .await;
    assert!(asked > 100, "Redis was not restarted");
    let marks: Vec<i32> = sqlx::query_scalar(storm::MARKS)
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(marks, storm::all_marks());
}

#[tokio::test]
async fn l18_who_waits_asks_redis_and_a_killed_holders_key_goes_within_seconds() {
    let server = Postgres::start_with(&["log_statement=all", "log_line_prefix=<%a>"]).await;
    let redis = Redis::start();
    let scene = scene(&server.url, &redis);
    scene.file("0001_a.sql", "create table a (x int);");
    let holder = scene.spawn(&["run", "--", "sleep", "60"]);
    until("the lock", async || {
        let seen = scene.run(&["unlock"]).code(0);
        seen.out.contains("running sleep") && seen.out.contains("the lock in Redis is held by")
    })
    .await;
    scene
        .run(&["up", "--lock-wait", "1s"])
        .code(4)
        .says("has the lock in Redis")
        .says("key windlass-migrate:postgres://127.0.0.1:");
    // Longer than a key lives: it is renewed.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let waits = scene.spawn(&["up"]);
    waits.until_says("waiting for the lock in Redis").await;
    let log = std::fs::read_to_string(server.log()).unwrap();
    let of_it = format!(":{}>", waits.pid);
    assert!(
        !log.lines()
            .any(|l| l.contains(&of_it) && l.contains("pg_try_advisory_lock")),
        "who waits at the gate asked for the database's lock"
    );
    let json = scene.run(&["unlock", "--json"]).json();
    assert_eq!(json["redis"]["name"], json["holder"]["name"]);
    assert!(json["redis"]["expires_ms"].as_u64().unwrap() <= 5000);
    holder.signal(Signal::SIGKILL);
    holder.end();
    waits.end().code(0).says("applied 0001_a.sql");
    scene
        .run(&["unlock"])
        .code(0)
        .says("nobody has the lock in Redis");
    // Taken away by force: the holder is told by the database, and the key does not come back.
    let holder = scene.spawn(&["run", "--", "sleep", "60"]);
    until("the lock", async || {
        scene.run(&["unlock"]).out.contains("in Redis is held by")
    })
    .await;
    scene.run(&["unlock", "--force"]).code(0).says("taken away");
    holder.end().code(1).says("the lock was lost");
    scene.file("0002_b.sql", "create table b (x int);");
    scene.run(&["up", "--lock-wait", "10s"]).code(0);
}

#[tokio::test]
async fn l18_a_lost_key_never_lets_two_write() {
    let server = Postgres::start().await;
    let mut redis = Redis::start();
    let scene = scene(&server.url, &redis);
    let mut conn = server.connect().await;
    let lock = |sql: &'static str| sqlx::raw_sql(sql);
    lock("select pg_advisory_lock(42)")
        .execute(&mut conn)
        .await
        .unwrap();
    scene.file(
        "0001_waits.sql",
        "-- windlass: lock-timeout 0\nselect pg_advisory_xact_lock(42);\ncreate table once (a int);",
    );
    let holder = scene.spawn(&["up"]);
    holder.until_says("0001_waits.sql ...").await;
    // Redis forgets the key: its holder sets it again, and others go on waiting at the gate.
    redis.restart();
    until("the key to be set again", async || {
        scene.run(&["unlock"]).out.contains("in Redis is held by")
    })
    .await;
    scene
        .run(&["up", "--lock-wait", "0"])
        .code(4)
        .says("has the lock in Redis");
    // A paused holder's key goes, and the next process passes the gate: there stands the database.
    holder.signal(Signal::SIGSTOP);
    let second = scene.spawn(&["up"]);
    second.until_says("waiting for the lock in Redis").await;
    second.until_says("waiting for the lock of").await;
    holder.signal(Signal::SIGCONT);
    // It hears that the key is another's now, and goes on: the lock that counts is its own.
    tokio::time::sleep(Duration::from_secs(2)).await;
    lock("select pg_advisory_unlock(42)")
        .execute(&mut conn)
        .await
        .unwrap();
    holder
        .end()
        .code(0)
        .says("applied 0001_waits.sql")
        .says("the lock in Redis was lost");
    second.end().code(0).says("nothing to do");
}

#[tokio::test]
async fn l18_redis_away_or_shut_is_said_and_nothing_runs_without_it() {
    let server = Postgres::start().await;
    let port = free_port();
    let mut scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "create table a (x int);");
    scene
        .env
        .push((LOCK, format!("redis://:secret@127.0.0.1:{port}/3")));
    let away = scene.run(&["up", "--lock-wait", "0"]).code(1);
    assert!(!away.err.contains("secret"), "{away:?}");
    away.says("the lock in Redis can't be had")
        .says("hint: start this Redis");
    scene.run(&["status", "--check"]).code(3);
    // A container that starts before Redis waits for it.
    let early = scene.spawn_with(
        &["exec", "--", "echo", "started"],
        &[("WINDLASS_MIGRATE", "1")],
    );
    early.until_says("waiting for").await;
    let redis = Redis::start_with(port, &["--requirepass", "secret"]);
    early.end().code(0).says("started");
    scene.file("0002_b.sql", "create table b (x int);");
    let wrong = format!("redis://:wrong@127.0.0.1:{port}/3");
    scene
        .run(&["up", "--lock", &wrong])
        .code(1)
        .says("Password authentication failed");
    scene.run(&["up"]).code(0).says("applied 0002_b.sql");
    // Nothing pending: nobody is asked.
    drop(redis);
    scene.run(&["up"]).code(0).says("nothing to do");
    scene
        .run(&["up", "--lock", "http://127.0.0.1"])
        .code(1)
        .says("no address of a Redis");
}

/// A certificate for 127.0.0.1, signed by an authority of its own.
fn certificates(dir: &Path) {
    let openssl = |args: &str| {
        let done = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem");
    openssl("req -newkey rsa:2048 -nodes -subj /CN=redis -keyout server.key -out server.csr");
    std::fs::write(dir.join("san"), "subjectAltName=IP:127.0.0.1").unwrap();
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
    );
}

#[tokio::test]
async fn l18_the_way_to_redis_can_be_encrypted() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut scene = Scene::sqlite();
    let dir = scene.dir.path();
    certificates(dir);
    // Redis runs as another user.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(
        dir.join("server.key"),
        std::fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let port = free_port();
    let _redis = Redis::start_with(
        port,
        &[
            "--tls-port",
            &port.to_string(),
            "--port",
            "0",
            "--tls-auth-clients",
            "no",
            "--tls-cert-file",
            &path("server.pem"),
            "--tls-key-file",
            &path("server.key"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
        ],
    );
    let ca = path("ca.pem");
    scene.env.push((LOCK, format!("rediss://127.0.0.1:{port}")));
    scene.file("0001_a.sql", "create table a (x int);");
    scene
        .run(&["up", "--lock-wait", "0"])
        .code(1)
        .says("certificate");
    scene.env.push(("SSL_CERT_FILE", ca));
    scene.run(&["up"]).code(0).says("applied 0001_a.sql");
}
