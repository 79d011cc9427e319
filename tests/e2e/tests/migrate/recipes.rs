//! The recipes of docs/migrate-containers.md, run from the files that it shows: an image, Compose, a
//! Swarm, systemd.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use sqlx::PgConnection;
use tempfile::TempDir;

use crate::scene::{Scene, until, windlass};
use crate::servers::Postgres;

const RECIPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ops/migrate");

/// The application of the tests: says who it is, and answers SIGTERM in its own way.
const SERVER: &str = "#!/bin/sh\ntrap 'echo told to stop; exit 7' TERM\necho serving as $$\n\
    while :; do sleep 1 & wait $!; done\n";

fn lab() -> PathBuf {
    std::env::temp_dir().join("windlass-lab")
}

fn recipe(name: &str) -> String {
    std::fs::read_to_string(Path::new(RECIPES).join(name)).unwrap()
}

/// What a program says, on a Docker daemon.
fn run(program: &str, socket: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    assert!(
        socket.exists(),
        "no Docker daemon answers at {}: run `cargo xtask lab up` (`cargo xtask test` does)",
        socket.display()
    );
    Command::new(program)
        .args(args)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .envs(env.iter().copied())
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}: run `apt-get install {program}`"))
}

fn docker(args: &[&str]) -> String {
    docker_at(&lab().join("docker.sock"), args)
}

#[track_caller]
fn docker_at(socket: &Path, args: &[&str]) -> String {
    let done = run("docker", socket, args, &[]);
    assert!(done.status.success(), "docker {args:?}: {done:?}");
    let said = [done.stdout, done.stderr].concat();
    String::from_utf8(said).unwrap().trim().to_owned()
}

/// Images of the test's own, removed with it.
struct Images {
    names: Vec<String>,
    dir: TempDir,
}

impl Drop for Images {
    fn drop(&mut self) {
        for name in &self.names {
            run(
                "docker",
                &lab().join("docker.sock"),
                &["rmi", "-f", name],
                &[],
            );
        }
    }
}

impl Images {
    /// What the recipe's Dockerfile makes. There is no registry: its base is the tests' image with
    /// the libraries of this machine, and `windlass` is an image of the program under test.
    fn build(tag: &str, migrations: &[(&str, &str)]) -> Self {
        let images = Self {
            names: vec![format!("migrate-{tag}"), format!("migrate-{tag}-program")],
            dir: tempfile::tempdir().unwrap(),
        };
        let root = images.dir.path();
        let put = |from: &Path, to: PathBuf| {
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(from, to).unwrap();
        };
        let program = root.join("program/usr/local/bin/windlass");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        // Without what debuggers read it is a third as large.
        let stripped = Command::new("strip")
            .arg("-o")
            .args([&program, &windlass()])
            .status()
            .unwrap();
        assert!(stripped.success());
        let needs = Command::new("ldd").arg(windlass()).output().unwrap();
        let needs = String::from_utf8(needs.stdout).unwrap();
        for file in needs.split_whitespace().filter(|w| w.starts_with('/')) {
            put(Path::new(file), root.join("libraries").join(&file[1..]));
        }
        let tar = root.join("program.tar");
        let packed = Command::new("tar")
            .arg("-C")
            .arg(root.join("program"))
            .arg("-cf")
            .args([&tar, Path::new(".")])
            .status();
        assert!(packed.unwrap().success());
        docker(&["import", tar.to_str().unwrap(), &images.names[1]]);
        std::fs::write(root.join("server"), SERVER).unwrap();
        std::fs::create_dir(root.join("migrations")).unwrap();
        for (name, text) in migrations {
            std::fs::write(root.join("migrations").join(name), text).unwrap();
        }
        let text = recipe("Dockerfile");
        let here = text
            .replace(
                "FROM debian:12-slim\n",
                "FROM windlass-test/tiny:1\nCOPY libraries /\n",
            )
            .replace(
                "--from=windlass ",
                &format!("--from={} ", images.names[1]),
            )
            .replace("/app/server\nENV", "/app/server\nRUN chmod 755 /app/server\nENV PATH=/usr/local/bin:/usr/bin:/bin\nENV");
        assert_eq!(here.matches("tiny:1\n").count(), 1, "{here}");
        std::fs::write(root.join("Dockerfile"), here).unwrap();
        std::fs::write(root.join(".dockerignore"), "program\nprogram.tar\n").unwrap();
        docker(&[
            "build",
            "-q",
            "-t",
            &images.names[0],
            root.to_str().unwrap(),
        ]);
        images
    }

    fn app(&self) -> &str {
        &self.names[0]
    }
}

/// A container that goes with the test.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        run(
            "docker",
            &lab().join("docker.sock"),
            &["rm", "-f", &self.0],
            &[],
        );
    }
}

impl Container {
    /// With the folder of the database's socket: the daemon has a network of its own.
    fn start(image: &str, server: &Postgres, more: &[&str]) -> Self {
        let (mount, url) = (mount(server), socket_url(server));
        let url = format!("DATABASE_URL={url}");
        let args = ["run", "-d", "-v", &mount, "-e", &url];
        Self(docker(&[&args, more, &[image]].concat()))
    }

    fn logs(&self) -> String {
        docker(&["logs", &self.0])
    }

    async fn until_says(&self, words: &str) {
        until(words, async || self.logs().contains(words)).await;
    }

    /// Stops it as Docker does, and says its exit code.
    fn stop(&self) -> String {
        docker(&["stop", "-t", "25", &self.0]);
        docker(&["wait", &self.0])
    }
}

fn mount(server: &Postgres) -> String {
    format!("{}:/db", server.log().parent().unwrap().display())
}

fn socket_url(server: &Postgres) -> String {
    format!(
        "postgres://windlass@localhost/app?host=/db&port={}",
        server.port
    )
}

const FIRST: (&str, &str) = (
    "0001_a.sql",
    "create table a (x int);\nselect pg_sleep(0.5);\ninsert into a values (1);",
);

async fn count(conn: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn an_image_starts_its_application_as_process_1_once_the_schema_fits() {
    let server = Postgres::start().await;
    let images = Images::build("image", &[FIRST]);
    let waits = Container::start(images.app(), &server, &[]);
    waits.until_says("waiting for the schema: pending").await;
    // Process 1 has no signals by default: a stop must not take until it is killed (137).
    assert_eq!(waits.stop(), "143");
    let app = Container::start(images.app(), &server, &[]);
    app.until_says("waiting for the schema").await;
    let health = || docker(&["inspect", "-f", "{{.State.Health.Status}}", &app.0]);
    assert_eq!(health(), "starting");
    let scene = Scene::new(&server.url);
    scene.file(FIRST.0, FIRST.1);
    scene.run(&["up"]).code(0);
    app.until_says("serving as 1").await;
    until("it to be healthy", async || health() == "healthy").await;
    assert_eq!(app.stop(), "7");
    assert!(app.logs().contains("told to stop"));
    // Started again, it is not ready before it is.
    docker(&["start", &app.0]);
    until("it to serve again", async || {
        app.logs().matches("serving as 1").count() == 2
    })
    .await;
    let migrates = Container::start(images.app(), &server, &["-e", "WINDLASS_MIGRATE=1"]);
    migrates.until_says("serving as 1").await;
}

#[tokio::test]
async fn in_a_composition_one_service_migrates_and_the_others_wait() {
    let server = Postgres::start().await;
    let images = Images::build("compose", &[FIRST]);
    let over = images.dir.path().join("override.yml");
    let volumes = format!("{{ volumes: [\"{}\"] }}", mount(&server));
    let text = format!("version: \"3.8\"\nservices:\n  migrate: {volumes}\n  web: {volumes}\n");
    std::fs::write(&over, text).unwrap();
    let url = socket_url(&server);
    let env = [("APP_IMAGE", images.app()), ("DATABASE_URL", url.as_str())];
    let file = format!("{RECIPES}/compose.yml");
    let compose = |args: &[&str]| {
        let files = [
            "-p",
            "migraterecipe",
            "-f",
            &file,
            "-f",
            over.to_str().unwrap(),
        ];
        let socket = lab().join("docker.sock");
        let done = run("docker-compose", &socket, &[&files, args].concat(), &env);
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        assert!(done.status.success(), "{args:?}: {said}");
        said
    };
    compose(&["down", "-t", "1"]);
    // Three replicas of the application beside the one that migrates.
    compose(&["up", "-d", "--no-color", "--scale", "web=3"]);
    until("all three to serve", async || {
        compose(&["logs", "--no-color", "web"])
            .matches("serving as 1")
            .count()
            == 3
    })
    .await;
    let said = compose(&["logs", "--no-color", "migrate"]);
    assert!(said.contains("applied 0001_a.sql"), "{said}");
    let mut conn = server.connect().await;
    assert_eq!(count(&mut conn, "select count(*) from a").await, 1);
    compose(&["down", "-t", "20"]);
}

#[tokio::test]
async fn three_replicas_on_a_swarm_migrate_once_and_an_update_keeps_serving() {
    // The nodes know this machine by this address.
    let dir = tempfile::tempdir().unwrap();
    let hba = dir.path().join("hba");
    std::fs::write(&hba, "local all all trust\nhost all all all trust\n").unwrap();
    for path in [dir.path(), &hba] {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let hba = format!("hba_file={}", hba.display());
    let server = Postgres::start_with(&["listen_addresses=*", &hba]).await;
    let mut conn = server.connect().await;
    let second = (
        "0002_b.sql",
        "alter table a add y int;\nselect pg_sleep(0.5);\ninsert into a values (2, 2);",
    );
    let old = Images::build("swarm-old", &[FIRST]);
    let new = Images::build("swarm-new", &[FIRST, second]);
    let node = |n: u32| lab().join(format!("swarm/n{n}/docker.sock"));
    let archive = old.dir.path().join("images.tar");
    let archive = archive.to_str().unwrap();
    docker(&["save", "-o", archive, old.app(), new.app()]);
    for n in 1..=3 {
        docker_at(&node(n), &["load", "-i", archive]);
    }
    let url = format!("postgres://windlass@10.78.0.254:{}/app", server.port);
    let stack = format!("{RECIPES}/stack.yml");
    let deploy = |image: &str| {
        let args = [
            "stack",
            "deploy",
            "--resolve-image",
            "never",
            "-c",
            &stack,
            "migraterecipe",
        ];
        let env = [("APP_IMAGE", image), ("DATABASE_URL", url.as_str())];
        let done = run("docker", &node(1), &args, &env);
        assert!(done.status.success(), "{done:?}");
    };
    struct Gone<'a>(&'a dyn Fn());
    impl Drop for Gone<'_> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    let clean = || {
        run("docker", &node(1), &["stack", "rm", "migraterecipe"], &[]);
    };
    clean();
    let _gone = Gone(&clean);
    let running = |image: &str| {
        let format = "{{.Image}} {{.CurrentState}}";
        let args = ["service", "ps", "--format", format, "migraterecipe_web"];
        let said = docker_at(&node(1), &args);
        let of_it = said
            .lines()
            .filter(|l| l.starts_with(&format!("{image}:latest Running")));
        of_it.count()
    };
    deploy(old.app());
    let patience = async |what: &str, image: &str| {
        for _ in 0..120 {
            if running(image) == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let tasks = docker_at(
            &node(1),
            &["service", "ps", "--no-trunc", "migraterecipe_web"],
        );
        let logs = docker_at(&node(1), &["service", "logs", "migraterecipe_web"]);
        panic!("{what}: {tasks}\n{logs}");
    };
    patience("three replicas", old.app()).await;
    assert_eq!(count(&mut conn, "select count(*) from a").await, 1);
    deploy(new.app());
    patience("three new replicas", new.app()).await;
    assert_eq!(
        count(&mut conn, "select count(*) from a where y = 2").await,
        1
    );
    let rows = "select count(*) from windlass_migrations";
    assert_eq!(count(&mut conn, rows).await, 2);
    clean();
    for n in 1..=3 {
        for image in [old.app(), new.app()] {
            run("docker", &node(n), &["rmi", "-f", image], &[]);
        }
    }
}

#[tokio::test]
async fn the_unit_of_systemd_is_sound_and_its_lines_do_what_they_say() {
    let scene = Scene::sqlite();
    scene.file("0001_a.sql", "create table a (x int);");
    let dir = scene.dir.path();
    std::fs::write(dir.join("env"), format!("DATABASE_URL={}\n", scene.url)).unwrap();
    std::fs::write(dir.join("app"), "#!/bin/sh\necho served; exit 7\n").unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(dir.join("app"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let unit = recipe("app.service")
        .replace("/etc/app/env", &path("env"))
        .replace("/usr/local/bin/windlass", &windlass().display().to_string())
        .replace("/usr/share/app/migrations", &path("migrations"))
        .replace("/usr/bin/app", &path("app"));
    std::fs::write(dir.join("app.service"), &unit).unwrap();
    let checked = Command::new("systemd-analyze")
        .args(["verify", &path("app.service")])
        .output()
        .unwrap_or_else(|e| panic!("systemd-analyze: {e}: run `apt-get install systemd`"));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    let of_ours: Vec<_> = said.lines().filter(|l| l.contains("app.service")).collect();
    assert!(of_ours.is_empty(), "{said}");
    let line = |key: &str| {
        let found = unit.lines().find_map(|l| l.strip_prefix(key));
        let words: Vec<String> = found.unwrap().split(' ').map(str::to_owned).collect();
        let (program, args) = words.split_first().unwrap();
        let env = std::fs::read_to_string(path("env")).unwrap();
        let (name, value) = env.trim().split_once('=').unwrap();
        let mut command = Command::new(program);
        command.args(args).env_clear().env(name, value);
        command.output().unwrap()
    };
    // Not migrated, it waits; so the order of both lines matters.
    let before = line("ExecStartPre=");
    assert!(before.status.success(), "{before:?}");
    let start = line("ExecStart=");
    assert_eq!(start.status.code(), Some(7), "{start:?}");
    assert_eq!(String::from_utf8_lossy(&start.stdout), "served\n");
    scene.run(&["status", "--check"]).code(0);
}
