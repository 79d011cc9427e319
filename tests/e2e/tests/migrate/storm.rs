//! Fifty processes at once, and whoever holds the lock is killed again and again: each migration
//! takes effect exactly once, and all that are not killed end well.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use sqlx::Connection as _;

use crate::scene::{Running, Scene};
use crate::servers::{Mariadb, Postgres};

const PROCESSES: usize = 50;
const KILLS: usize = 12;
const FILES: usize = 15;

/// `holder` says the process id of who has the lock now.
pub(crate) async fn storm(scene: &Scene, mut holder: impl AsyncFnMut() -> Option<i32>) {
    let mut running: Vec<Running> = (0..PROCESSES).map(|_| scene.spawn(&["up"])).collect();
    let mut kills = 0;
    let mut ended = 0;
    let end = Instant::now() + Duration::from_secs(150);
    while ended < PROCESSES {
        assert!(
            Instant::now() < end,
            "{ended} of {PROCESSES} ended, {kills} killed"
        );
        if kills < KILLS
            && let Some(pid) = holder().await
            && let Some(at) = running.iter().position(|r| r.pid == pid)
            && !running[at].is_over()
        {
            running[at].signal(Signal::SIGKILL);
            running.swap_remove(at).end();
            kills += 1;
            running.push(scene.spawn(&["up"]));
        }
        let mut at = 0;
        while at < running.len() {
            if running[at].is_over() {
                running.swap_remove(at).end().code(0);
                ended += 1;
            } else {
                at += 1;
            }
        }
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    assert!(
        kills >= 5,
        "only {kills} were killed while they had the lock"
    );
    scene.run(&["status", "--check"]).code(0);
    scene.run(&["verify"]).code(0);
}

/// `row`: how a file leaves its mark; `slow`: what makes it take a moment.
pub(crate) fn files(scene: &Scene, slow: &str) {
    scene.file("0001_marks.sql", "create table marks (n int);");
    for n in 2..=FILES {
        let text = format!(
            "create table t{n} (a int);\n{slow}\ninsert into marks values ({n});\nalter table t{n} add b int;"
        );
        scene.file(&format!("{n:04}_m.sql"), &text);
    }
}

pub(crate) fn all_marks() -> Vec<i32> {
    (2..=i32::try_from(FILES).unwrap()).collect()
}

pub(crate) const HOLDER: &str =
    "select cast(pid as char(20)) from windlass_migrations_lock where owner is not null";
pub(crate) const MARKS: &str = "select n from marks order by n";

#[tokio::test]
async fn l16_storm_on_postgres() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    files(&scene, "select pg_sleep(0.1);");
    // Two that no transaction covers.
    scene.file("0006_m.sql", "create table t6 (a int);\ninsert into marks values (6);\ncreate index concurrently i6 on t6 (a);");
    scene.file("0011_m.sql", "-- windlass: no-transaction\ncreate table t11 (a int);\ninsert into marks values (11);\nselect pg_sleep(0.1);\nalter table t11 add c int;");
    let mut conn = server.connect().await;
    storm(&scene, async || {
        let pid: Option<String> = sqlx::query_scalar(HOLDER)
            .fetch_optional(&mut conn)
            .await
            .ok()??;
        pid?.trim().parse().ok()
    })
    .await;
    let marks: Vec<i32> = sqlx::query_scalar(MARKS)
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(marks, all_marks());
}

#[tokio::test]
async fn l14_l16_storm_on_sqlite() {
    let scene = Scene::sqlite();
    files(
        &scene,
        "with recursive c(x) as (select 1 union all select x + 1 from c where x < 300000) select count(*) from c;",
    );
    let mut conn: Option<sqlx::SqliteConnection> = None;
    storm(&scene, async || {
        if conn.is_none() {
            conn = sqlx::SqliteConnection::connect(&scene.url).await.ok();
        }
        let conn = conn.as_mut()?;
        let pid: Option<String> = sqlx::query_scalar(HOLDER)
            .fetch_optional(conn)
            .await
            .ok()??;
        pid?.trim().parse().ok()
    })
    .await;
    let mut conn = sqlx::SqliteConnection::connect(&scene.url).await.unwrap();
    let marks: Vec<i32> = sqlx::query_scalar(MARKS)
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(marks, all_marks());
}

#[tokio::test]
async fn l16_storm_on_mariadb() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    files(&scene, "select sleep(0.1);");
    let mut conn = server.connect().await;
    storm(&scene, async || {
        let pid: Option<String> = sqlx::query_scalar(HOLDER)
            .fetch_optional(&mut conn)
            .await
            .ok()??;
        pid?.trim().parse().ok()
    })
    .await;
    let marks: Vec<i32> = sqlx::query_scalar(MARKS)
        .fetch_all(&mut conn)
        .await
        .unwrap();
    assert_eq!(marks, all_marks());
}
