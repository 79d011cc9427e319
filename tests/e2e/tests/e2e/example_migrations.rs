//! The example with PostgreSQL, on a server, in containers: two releases, the database of production,
//! and a migration that the release of before does not bear.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::containers::{daemon, docker};
use crate::examples::examples;
use crate::lab::{Lab, Server, windlass};

/// PostgreSQL and what the example's own image has besides `windlass`; `cargo xtask lab up` makes it.
const POSTGRES: &str = "windlass-test/postgres:1";
/// Six runs of tests in containers, on a machine that does other things, too.
const PATIENCE: Duration = Duration::from_secs(300);
const NAME: &str = "people";

/// Images and containers of the test's own, removed with it.
struct Things {
    host: String,
    image: String,
    production: String,
    /// Production's.
    port: String,
}

impl Drop for Things {
    fn drop(&mut self) {
        for args in [["rm", "-f", &self.production], ["rmi", "-f", &self.image]] {
            Command::new("docker")
                .args(args)
                .env("DOCKER_HOST", &self.host)
                .output()
                .ok();
        }
    }
}

impl Things {
    /// The image of the example's Dockerfile, and a PostgreSQL that is production's.
    fn make(lab: &Lab) -> Self {
        let host = daemon();
        let own = format!("{}-{}", std::process::id(), lab.data().display());
        let own: String = own.chars().filter(char::is_ascii_alphanumeric).collect();
        let own = own.to_lowercase();
        let things = Self {
            image: format!("windlass-test/people-{own}"),
            production: format!("production-{own}"),
            port: (20_000 + std::process::id() % 10_000).to_string(),
            host,
        };
        things.build(lab);
        things.docker(&[
            "run",
            "-d",
            // A container's network is shut off from those of jobs; the daemon's own is not.
            "--network=host",
            "--name",
            &things.production,
            "-e",
            "POSTGRES_PASSWORD=real",
            POSTGRES,
            "start-postgres",
            "-p",
            &things.port,
        ]);
        lab.wait("production is ready", || {
            let ready = Command::new("docker")
                .args(["exec", &things.production, "pg_isready", "-p", &things.port])
                .env("DOCKER_HOST", &things.host)
                .output()
                .unwrap();
            ready.status.success()
        });
        things
    }

    #[track_caller]
    fn docker(&self, args: &[&str]) -> String {
        docker(&self.host, args)
    }

    /// There is no registry: the lab's image takes the place of Debian and its packages.
    fn build(&self, lab: &Lab) {
        let context = lab.path("image");
        let bin = context.join("usr/local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        // Without what debuggers read it is a third as large.
        let stripped = Command::new("strip")
            .arg("-o")
            .args([&bin.join("windlass"), &windlass()])
            .status();
        assert!(stripped.unwrap().success());
        let needs = Command::new("ldd").arg(windlass()).output().unwrap();
        let needs = String::from_utf8(needs.stdout).unwrap();
        for file in needs.split_whitespace().filter(|w| w.starts_with('/')) {
            let to = context.join("libraries").join(&file[1..]);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(file, to).unwrap();
        }
        let text = std::fs::read_to_string(examples().join("migrations/Dockerfile")).unwrap();
        let debian = text.find("FROM debian:12-slim\n").unwrap();
        let program = text.find("COPY --from=windlass ").unwrap();
        assert!(
            text[debian..program].contains(" python3-psycopg2\n"),
            "{text}"
        );
        let ours = format!("FROM {POSTGRES}\nCOPY libraries /\n");
        let text = text[..debian].to_owned() + &ours + &text[program..];
        let text = text.replace("--from=windlass ", "");
        let text = text.replace("COPY /usr", "COPY usr");
        std::fs::write(context.join("Dockerfile"), text).unwrap();
        let context = context.to_str().unwrap();
        self.docker(&["build", "-q", "-t", &self.image, context]);
    }

    /// What production's database says.
    #[track_caller]
    fn sql(&self, sql: &str) -> String {
        let psql = ["exec", &self.production, "psql", "-U", "postgres"];
        self.docker(&[&psql[..], &["-p", &self.port, "-Atc", sql]].concat())
    }

    /// Where jobs reach it.
    fn url(&self) -> String {
        // `docker network inspect` leaves the gateway out where the daemon was told an address.
        let ask = ["run", "--rm", "--network=host", POSTGRES];
        let said = self.docker(&[&ask[..], &["ip", "-4", "addr", "show", "docker0"]].concat());
        let address = said
            .split_once("inet ")
            .and_then(|(_, rest)| rest.split_once('/'));
        let address = address
            .unwrap_or_else(|| panic!("docker0 has no address: {said}"))
            .0;
        format!("postgres://postgres:real@{address}:{}/postgres", self.port)
    }
}

/// The example's two releases as a repository that the server knows, its images the lab's.
fn repository(lab: &Lab, things: &Things) {
    let from = lab.path("example");
    crate::examples::copy(&examples().join("migrations"), &from);
    let spec = std::fs::read_to_string(from.join("windlass.yml")).unwrap();
    let own = "image: registry.example.org/people/ci ";
    let service = "image: postgres:17\n";
    assert_eq!(
        (spec.matches(own).count(), spec.matches(service).count()),
        (1, 2)
    );
    let spec = spec
        .replace(own, &format!("image: {} ", things.image))
        .replace(
            service,
            &format!("image: {POSTGRES}\n        command: [start-postgres]\n"),
        );
    std::fs::write(from.join("windlass.yml"), spec).unwrap();
    let work = lab.path(NAME);
    let made = lab
        .command("sh")
        .arg(from.join("history.sh"))
        .arg(&work)
        .env("GIT_AUTHOR_NAME", "Ada")
        .env("GIT_AUTHOR_EMAIL", "ada@windlass.invalid")
        .env("GIT_COMMITTER_NAME", "Ada")
        .env("GIT_COMMITTER_EMAIL", "ada@windlass.invalid")
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let bare = lab.path(&format!("{NAME}.git"));
    let bare = bare.to_str().unwrap();
    lab.git(&work, &["init", "-q", "--bare", bare]);
    // Before the server knows the repository: 1.0 was built long ago.
    lab.push(NAME, &["v1.0"]);
    lab.ok(&["repo", "add", NAME, "--url", bare]);
    lab.ok(&["hook", "install", bare]);
    let file = lab.path("secret");
    std::fs::write(&file, things.url()).unwrap();
    let from = ["--from-file", file.to_str().unwrap()];
    lab.ok(&[&["secret", "set", NAME, "DATABASE_URL"], &from[..]].concat());
}

async fn ended(lab: &Lab, server: &Server, number: i64) -> Value {
    let path = format!("/api/v1/repos/{NAME}/builds/{number}");
    let end = Instant::now() + PATIENCE;
    loop {
        let build = lab.json(server, &path).await;
        let state = build["state"].as_str().unwrap_or("queued");
        if !matches!(state, "queued" | "running") {
            return build;
        }
        assert!(Instant::now() < end, "{build:#}\n{}", server.said());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn job<'a>(build: &'a Value, name: &str) -> &'a Value {
    let jobs = build["jobs"].as_array().unwrap();
    jobs.iter().find(|job| job["name"] == name).unwrap()
}

/// What the steps of a job said.
async fn log(lab: &Lab, server: &Server, build: &Value, name: &str) -> String {
    let attempt = &job(build, name)["attempt"];
    let number = &build["number"];
    let mut all = String::new();
    for step in 1..=4 {
        let url = format!(
            "{}/repos/{NAME}/builds/{number}/steps/{step}/log?attempt={attempt}",
            server.url
        );
        let answer = lab.http.get(url).send().await.unwrap();
        if answer.status().is_success() {
            all += &answer.text().await.unwrap();
        }
    }
    all
}

#[tokio::test]
async fn a_release_is_proved_and_rehearsed_before_it_reaches_the_data() {
    let lab = Lab::new();
    let things = Things::make(&lab);
    repository(&lab, &things);
    let server = lab.serve(&["--docker", &things.host, "--docker-pull", "never"]);
    let old_people = "select string_agg(name, ',' order by id) from people";

    // 1.0 is in production, and somebody uses it.
    let work = lab.path(NAME);
    lab.git(&work, &["checkout", "-q", "-b", "breaks"]);
    lab.git(&work, &["checkout", "-q", "v1.0"]);
    let files = format!("{}:/files", work.join("migrations").display());
    let up = ["migrate", "up", "--dir", "/files", "--url", &things.url()];
    let run = [
        "run",
        "--rm",
        "--network=host",
        "-v",
        &files,
        &things.image,
        "windlass",
    ];
    things.docker(&[&run[..], &up].concat());
    things.sql("insert into people (name) values ('Grace Hopper'), ('Plato')");

    // A 2.0 that 1.0 does not bear, though nothing in it looks unsafe.
    lab.git(&work, &["checkout", "-q", "breaks"]);
    let file = work.join("migrations/0002_given_and_family.sql");
    let text = std::fs::read_to_string(&file).unwrap();
    let splits = "new.given := split_part(new.name, ' ', 1);";
    assert_eq!(text.matches(splits).count(), 1, "{text}");
    let text = text.replace(splits, "raise exception 'a given name, please';");
    std::fs::write(&file, text).unwrap();
    lab.git(&work, &["commit", "-q", "-a", "-m", "Breaks 1.0"]);
    lab.push(NAME, &["breaks:refs/heads/main"]);
    let build = ended(&lab, &server, 1).await;
    let said = log(&lab, &server, &build, "test").await;
    assert_eq!(build["state"], "failed", "{build:#}\n{said}");
    assert_eq!(job(&build, "test")["state"], "failed", "{said}");
    let words = "not proved: old code does not run after expand";
    assert!(said.contains(words), "{said}");
    assert!(said.contains("a given name, please"), "{said}");
    assert_eq!(things.sql(old_people), "Grace Hopper,Plato");
    let columns = "select count(*) from information_schema.columns where table_name = 'people'";
    assert_eq!(things.sql(columns), "2");

    // The real 2.0: proved though old code fails where it may, rehearsed, and then in production.
    lab.push(NAME, &["+breaks~1:refs/heads/main"]);
    let build = ended(&lab, &server, 2).await;
    let said = log(&lab, &server, &build, "test").await;
    assert_eq!(build["state"], "passed", "{build:#}\n{said}");
    assert!(
        said.contains("proved: old code runs on the new schema"),
        "{said}"
    );
    assert!(
        said.contains("--- old code, after contract: failed"),
        "{said}"
    );
    let rehearsed = log(&lab, &server, &build, "rehearse").await;
    assert!(
        rehearsed.contains("0002_given_and_family.sql"),
        "{rehearsed}"
    );
    let page = format!("/api/v1/repos/{NAME}/builds/2/artifacts");
    let artifacts = lab.json(&server, &page).await;
    let kept = &artifacts["artifacts"][0];
    // The table, and what `up --rehearsed` reads.
    assert_eq!(kept["name"], "rehearse", "{artifacts}");
    assert_eq!(kept["files"], 2, "{artifacts}");
    let people = "select string_agg(given || '+' || family, ',' order by id) from people";
    assert_eq!(things.sql(people), "Grace+Hopper,Plato+");
    // 1.0 still runs, so its column is there.
    assert_eq!(things.sql(old_people), "Grace Hopper,Plato");
}
