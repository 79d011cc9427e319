//! Old code on the new schema: the matrix on each kind of database, and what is left behind when it
//! goes wrong.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::scene::{Scene, until};
use crate::servers::{Mariadb, Postgres};

/// A client that fails at the first failing statement.
fn client(kind: &str, sql: &str) -> String {
    match kind {
        "postgres" => format!("psql -qAt -v ON_ERROR_STOP=1 \"$DATABASE_URL\" -c \"{sql}\""),
        "mariadb" => format!(
            "hostport=${{DATABASE_URL#mysql://root@}}; hostport=${{hostport%%/*}}; \
             mariadb --no-defaults -uroot -h127.0.0.1 -P${{hostport#*:}} \"$WINDLASS_DATABASE\" -e \"{sql}\""
        ),
        _ => format!(
            "python3 -c \"import sqlite3,os; c=sqlite3.connect(os.environ['WINDLASS_DATABASE']); \
             c.executescript('''{sql} '''); c.commit()\""
        ),
    }
}

/// The same release on each kind of database: a column comes, and one goes.
fn a_release(scene: &Scene, kind: &str) -> Value {
    let dir = scene.dir.path();
    std::fs::create_dir(dir.join("old")).unwrap();
    let first = "create table users (id int primary key, name varchar(20) not null default '');";
    std::fs::write(dir.join("old/0001_users.sql"), first).unwrap();
    std::fs::write(
        dir.join("seed.sql"),
        "insert into users (id, name) values (1, 'anna');",
    )
    .unwrap();
    scene
        .file("0001_users.sql", first)
        .file("0002_email.sql", "alter table users add column email varchar(20) default 'none';\n-- windlass: verify\nselect id from users where email is null")
        .file("0003_no_name.sql", "-- windlass: phase contract\nalter table users drop column name;");
    // Each cell begins with the seed's row alone: a second 99 would break the key.
    let old = client(
        kind,
        "insert into users (id, name) values (99, 'x'); delete from users where name = 'anna'",
    );
    let new = client(
        kind,
        "insert into users (id, email) values (99, 'x'); delete from users where email = 'none'",
    );
    let args = [
        "prove",
        "--old-dir",
        "old",
        "--seed",
        "seed.sql",
        "--old-test",
        &old,
        "--new-test",
        &new,
    ];
    let ran = scene.run(&args).code(0);
    assert!(
        ran.out.contains("proved: old code runs on the new schema"),
        "{ran:?}"
    );
    let json = scene.run(&[&args[..], &["--json"]].concat()).code(0).json();
    let cells: Vec<(String, bool)> = json["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            let name = format!(
                "{} {}",
                c["code"].as_str().unwrap(),
                c["stage"].as_str().unwrap()
            );
            (name, c["outcome"]["passed"].as_bool().unwrap())
        })
        .collect();
    let expected = [
        ("old before", true),
        ("new before", false),
        ("old after-expand", true),
        ("new after-expand", true),
        ("old after-contract", false),
        ("new after-contract", true),
    ];
    assert_eq!(
        cells,
        expected.map(|(name, passed)| (name.to_owned(), passed))
    );

    // The column goes at once: that is what this command is for.
    scene.file("0003_no_name.sql", "alter table users drop column name;");
    let ran = scene.run(&args).code(7);
    assert!(
        ran.out
            .contains("not proved: old code does not run after expand"),
        "{ran:?}"
    );
    // What the failing test said is shown.
    assert!(
        ran.out.contains("--- old code, after expand: failed"),
        "{ran:?}"
    );
    assert!(ran.out.contains("name"), "{ran:?}");
    json
}

async fn scratches(server: &Postgres) -> i64 {
    let mut conn = server.connect().await;
    sqlx::query_scalar("select count(*) from pg_database where datname like 'windlass_scratch%'")
        .fetch_one(&mut conn)
        .await
        .unwrap()
}

#[tokio::test]
async fn prove_on_postgres() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let json = a_release(&scene, "postgres");
    assert_eq!(json["expand"][0], "0002_email.sql");
    assert_eq!(json["contract"][0], "0003_no_name.sql");
    assert_eq!(json["hash"].as_str().unwrap().len(), 64);
    assert_eq!(scratches(&server).await, 0);
    // The database of the address was not touched.
    let mut conn = server.connect().await;
    let tables: i64 =
        sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(tables, 0);
}

#[tokio::test]
async fn prove_on_mariadb() {
    let server = Mariadb::start().await;
    a_release(&Scene::new(&server.url), "mariadb");
    let mut conn = server.connect().await;
    let left: i64 = sqlx::query_scalar(
        "select count(*) from information_schema.schemata where schema_name like 'windlass%'",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn prove_on_sqlite() {
    let scene = Scene::sqlite();
    a_release(&scene, "sqlite");
    assert!(!scene.dir.path().join("app.db").exists());
}

fn git(scene: &Scene, args: &[&str]) {
    let done = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b.c"])
        .args(args)
        .current_dir(scene.dir.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

/// The old release is a revision: its files, its tests, and nothing of ours is touched.
#[tokio::test]
async fn prove_reads_the_old_release_from_git() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    let test = scene.dir.path().join("test.sh");
    std::fs::write(&test, "echo old; test \"$WINDLASS_PROVE_CODE\" = old").unwrap();
    git(&scene, &["init", "-q"]);
    git(&scene, &["add", "-A"]);
    git(&scene, &["commit", "-q", "-m", "one"]);
    git(&scene, &["tag", "v1"]);
    scene.file("0002_b.sql", "alter table a add column y int;");
    std::fs::write(&test, "echo new; test \"$WINDLASS_PROVE_CODE\" = new").unwrap();
    git(&scene, &["add", "-A"]);
    let args = [
        "prove",
        "--old-rev",
        "v1",
        "--old-test",
        "sh test.sh",
        "--new-test",
        "sh test.sh",
    ];
    let json = scene.run(&[&args[..], &["--json"]].concat()).code(0).json();
    assert_eq!(json["verdict"], "proved");
    assert_eq!(json["old_commit"].as_str().unwrap().len(), 40);
    assert_eq!(json["cells"][0]["outcome"]["output"], "old\n");
    // What was staged is staged.
    git(&scene, &["diff", "--quiet"]);
    let lines = scene.run(&args).code(0);
    assert!(lines.out.contains("after contract"), "{lines:?}");

    scene
        .run(&[
            "prove",
            "--old-rev",
            "v9",
            "--old-test",
            "true",
            "--new-test",
            "true",
        ])
        .code(1)
        .says("clone: {depth: full}");
    scene
        .run(&[
            "prove",
            "--old-rev",
            "v1",
            "--old-dir",
            "elsewhere",
            "--old-test",
            "true",
            "--new-test",
            "true",
        ])
        .code(1)
        .says("elsewhere");
    // A released file that was changed does not fit.
    scene.file("0001_a.sql", "create table a (z int);");
    scene
        .run(&args)
        .code(6)
        .says("0001_a.sql was changed after it was applied");
}

#[tokio::test]
async fn prove_says_when_it_says_nothing() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    std::fs::create_dir(scene.dir.path().join("old")).unwrap();
    std::fs::write(
        scene.dir.path().join("old/0001_a.sql"),
        "create table a (x int);",
    )
    .unwrap();
    let with = |old: &str, new: &str, more: &[&str]| {
        let args = [
            "prove",
            "--old-dir",
            "old",
            "--old-test",
            old,
            "--new-test",
            new,
        ];
        scene.run(&[&args[..], more].concat())
    };
    with("true", "true", &[])
        .code(0)
        .says("nothing new since the old release");
    scene.file("0002_b.sql", "alter table a add column y int;");
    with("echo broken; exit 3", "true", &[])
        .code(1)
        .says("failed (3)")
        .says("that says nothing about the migrations");
    with("true", "echo sorry; exit 4", &[])
        .code(7)
        .says("new code does not run after expand");
    // Time is limited, also for what a test has left behind.
    let ran = with(
        "true",
        "sleep 60 & sleep 61; true",
        &["--time-limit", "1s", "--only-required"],
    );
    assert!(ran.out.contains("timed out"), "{ran:?}");
    ran.code(7);
    with("true", "no-such-program", &[])
        .code(7)
        .says("failed (127)");
    scene
        .run(&["prove", "--new-test", "true", "--old-test", "true"])
        .code(2);
    // A seed that does not fit is told with its place.
    std::fs::write(
        scene.dir.path().join("seed.sql"),
        "insert into a values (1);\n\ninsert into b values (2);\n",
    )
    .unwrap();
    with("true", "true", &["--seed", "seed.sql"])
        .code(1)
        .says("seed.sql, line 3");
}

/// However it ends, no database stays for long, and no process.
#[tokio::test]
async fn prove_leaves_nothing_behind_when_it_is_stopped_or_killed() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_a.sql", "create table a (x int);");
    std::fs::create_dir(scene.dir.path().join("old")).unwrap();
    let mark = scene.dir.path().join("mark");
    let test = format!("sleep 300 & echo $! > {}; wait", mark.display());
    let args = [
        "prove",
        "--old-dir",
        "old",
        "--old-test",
        &test,
        "--new-test",
        "true",
    ];
    let gone = async |mark: &std::path::Path| {
        let pid = std::fs::read_to_string(mark).unwrap();
        let pid: i32 = pid.trim().parse().unwrap();
        until("the test's process to go", async || {
            // A zombie that init has not fetched yet is gone, too.
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |s| s.contains(") Z "))
        })
        .await;
        std::fs::remove_file(mark).unwrap();
    };
    let written = async || std::fs::read_to_string(&mark).is_ok_and(|t| t.ends_with('\n'));

    let running = scene.spawn(&args);
    until("the test to run", written).await;
    assert!(scratches(&server).await >= 1);
    running.signal(Signal::SIGTERM);
    running.end().code(143).says("stopped by SIGTERM");
    assert_eq!(scratches(&server).await, 0);
    gone(&mark).await;

    let running = scene.spawn(&args);
    until("the test to run", written).await;
    running.signal(Signal::SIGKILL);
    running.end().code(-1);
    gone(&mark).await;
    assert!(scratches(&server).await >= 1);
    // Whoever comes next sweeps.
    until("the next run to sweep", async || {
        scene
            .run(&[
                "prove",
                "--old-dir",
                "old",
                "--old-test",
                "true",
                "--new-test",
                "true",
            ])
            .code(0);
        scratches(&server).await == 0
    })
    .await;
}

/// The release that runs now is an image: its migrations and its tests are there, and nowhere else.
#[tokio::test]
async fn prove_runs_the_tests_of_the_old_release_s_image() {
    let socket = std::env::temp_dir().join("windlass-lab/docker.sock");
    assert!(
        socket.exists(),
        "no Docker daemon answers at {}: run `cargo xtask lab up` (`cargo xtask test` does)",
        socket.display()
    );
    let mut scene = Scene::sqlite();
    scene.env = vec![("DOCKER_HOST", format!("unix://{}", socket.display()))];
    let docker = |args: &[&str]| {
        let done = Command::new("docker")
            .args(args)
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .output()
            .unwrap();
        assert!(done.status.success(), "docker {args:?}: {done:?}");
        String::from_utf8(done.stdout).unwrap()
    };
    let image = "windlass-test/old-release:1";
    let there = scene.dir.path().join("image");
    std::fs::create_dir_all(there.join("migrations")).unwrap();
    let users = "create table users (id integer primary key, name text);\n";
    std::fs::write(there.join("migrations/0001_users.sql"), users).unwrap();
    std::fs::write(
        there.join("Dockerfile"),
        "FROM windlass-test/tiny:1\nCOPY migrations /app/migrations\nWORKDIR /app\n",
    )
    .unwrap();
    docker(&["build", "-q", "-t", image, there.to_str().unwrap()]);
    scene.file("0001_users.sql", users);
    scene.file(
        "0002_email.sql",
        "alter table users add column email text;\n",
    );
    // In the image's folder, with its database, and with nothing of this machine.
    let test = "test -e migrations/0001_users.sql && test -s \"$WINDLASS_DATABASE\" && \
                test \"$WINDLASS_PROVE_CODE $WINDLASS_MIGRATE\" = 'old skip' && test ! -e /etc/debian_version";
    let prove = |test: &str| {
        scene.run(&[
            "prove",
            "--old-image",
            image,
            "--old-dir",
            "/app/migrations",
            "--old-test",
            test,
            "--new-test",
            "test -e migrations/0002_email.sql",
        ])
    };
    let proved = prove(test).code(0).says("proved: old code runs");
    assert!(proved.out.contains("expand: 0002_email.sql"), "{proved:?}");
    prove("test \"$WINDLASS_PROVE_STAGE\" = before || grep -q email /nowhere")
        .code(7)
        .says("old code does not run after expand");
    // What can't be had is said, and not taken for a failed test.
    let no_folder = [
        "prove",
        "--old-image",
        image,
        "--old-dir",
        "/nowhere",
        "--old-test",
        "true",
        "--new-test",
        "true",
    ];
    scene
        .run(&no_folder)
        .code(1)
        .says("--old-dir is a folder in");
    let no_image = [
        "prove",
        "--old-image",
        "windlass-test/none:1",
        "--old-dir",
        "/x",
        "--old-test",
        "true",
        "--new-test",
        "true",
    ];
    scene.run(&no_image).code(1).says("docker create");
    // Stopped in the middle of a test: the container goes with it.
    let name = "WINDLASS_STOPPED_HERE=1";
    let slow = format!("test -n {name} && sleep 60");
    let running = scene.spawn(&[
        "prove",
        "--old-image",
        image,
        "--old-dir",
        "/app/migrations",
        "--old-test",
        &slow,
        "--new-test",
        "true",
    ]);
    let here = || docker(&["ps", "--no-trunc", "--format", "{{.Command}}"]).contains(name);
    until("the container", async || here()).await;
    running.signal(Signal::SIGTERM);
    running.end().code(143);
    assert!(!here());
    docker(&["rmi", "-f", image]);
}
