//! 1,000 small migrations on PostgreSQL and SQLite, beside psql and sqlite3 that get the same in one
//! file, and beside other migrators from their registries, in turns. Nothing pending. The linter.
//!
//! Flyway's program is on Maven Central alone, which not every machine reaches:
//! `WINDLASS_BENCH_FLYWAY=/path/to/flyway` puts it among them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Goal, Row, median, milliseconds};
use crate::command::{output, program, run as run_command};

const FILES: usize = 1000;
const ROUNDS: usize = 9;

/// The folder of a measurement, removed with everything in it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap_or_default();
    }
}

/// A PostgreSQL with the settings that it comes with: it syncs its log at each commit.
struct Postgres {
    child: Child,
    port: u16,
    /// How many databases there were.
    used: Cell<u32>,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().map(|_| ()).unwrap_or_default();
    }
}

impl Postgres {
    fn start(dir: &Path) -> Result<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql");
        let bin = versions
            .context("PostgreSQL's server is missing: run `apt-get install postgresql`")?
            .flatten()
            .map(|entry| entry.path().join("bin"))
            .find(|bin| bin.join("postgres").is_file())
            .context("PostgreSQL's server is missing: run `apt-get install postgresql`")?;
        let home = dir.join("postgres");
        std::fs::create_dir(&home)?;
        // It refuses to run as root.
        let root = output(program("id", &["-u"]))? == "0";
        if root {
            run_quietly(Command::new("chown").arg("postgres").arg(&home))?;
        }
        let as_user = |name: &str| {
            let mut command = Command::new("setpriv");
            if root {
                command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]);
            }
            command.args(["--pdeathsig", "KILL"]).arg(bin.join(name));
            command.current_dir(&home).stdin(Stdio::null());
            command
        };
        let data = home.join("data");
        run_quietly(
            as_user("initdb")
                .args([
                    "-A",
                    "trust",
                    "-U",
                    "bench",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "-D",
                ])
                .arg(&data),
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = as_user("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .arg("-k")
            .arg(&home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            child,
            port,
            used: Cell::new(0),
        };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err()
            || server.sql("postgres", "select 1").is_err()
        {
            if Instant::now() > end {
                bail!("PostgreSQL did not start");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(server)
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://bench@127.0.0.1:{}/{database}", self.port)
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            &self.url(database),
        ]);
        command
    }

    fn sql(&self, database: &str, sql: &str) -> Result<()> {
        run_quietly(self.psql(database).args(["-c", sql]))
    }

    /// An empty database. The one before stays under another name: ext4 gives no inode again in the
    /// five seconds after its file was removed, and searching past those of a thousand tables would
    /// cost whoever comes next as much as the migrations.
    fn fresh(&self) -> Result<String> {
        let before = self.used.get();
        if before > 0 {
            let rename = format!("alter database app rename to app_{before}");
            self.sql("postgres", &rename)?;
        }
        self.used.set(before + 1);
        self.sql("postgres", "create database app")?;
        Ok(self.url("app"))
    }
}

fn run_quietly(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let done = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .with_context(|| format!("could not run {shown}"))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        bail!("{shown} failed: {said}");
    }
    Ok(())
}

fn timed(command: &mut Command) -> Result<Duration> {
    let began = Instant::now();
    run_quietly(command)?;
    Ok(began.elapsed())
}

fn statement(n: usize) -> String {
    format!("create table t{n} (id bigint not null primary key, name text not null);\n")
}

/// The same history for everybody, in each one's own way.
fn write(dir: &Path) -> Result<()> {
    for name in ["ours", "dbmate", "refinery", "alembic/versions"] {
        std::fs::create_dir_all(dir.join(name))?;
    }
    let mut all = String::new();
    for n in 1..=FILES {
        let sql = statement(n);
        write!(all, "begin;\n{sql}commit;\n")?;
        std::fs::write(dir.join(format!("ours/{n:04}_t.sql")), &sql)?;
        // sqlx reads the same names as we do.
        std::fs::write(dir.join(format!("refinery/V{n}__t.sql")), &sql)?;
        let text = format!("-- migrate:up\n{sql}\n-- migrate:down\ndrop table t{n};\n");
        std::fs::write(dir.join(format!("dbmate/{n:04}_t.sql")), text)?;
        let below = if n == 1 {
            "None".to_owned()
        } else {
            format!("'{:04}'", n - 1)
        };
        let text = format!(
            "from alembic import op\nrevision = '{n:04}'\ndown_revision = {below}\n\
             def upgrade():\n    op.execute(\"\"\"{sql}\"\"\")\n"
        );
        std::fs::write(dir.join(format!("alembic/versions/v{n:04}.py")), text)?;
    }
    std::fs::write(dir.join("all.sql"), all)?;
    let env = "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine, pool\n\
               engine = create_engine(os.environ['URL'], poolclass=pool.NullPool)\n\
               with engine.connect() as connection:\n    \
               context.configure(connection=connection, transaction_per_migration=True)\n    \
               with context.begin_transaction():\n        context.run_migrations()\n";
    std::fs::write(dir.join("alembic/env.py"), env)?;
    let ini = format!(
        "[alembic]\nscript_location = {}\n",
        dir.join("alembic").display()
    );
    std::fs::write(dir.join("alembic.ini"), ini)?;
    Ok(())
}

/// An empty database.
enum Target {
    Postgres { port: u16, url: String },
    Sqlite { file: PathBuf },
}

impl Target {
    fn url(&self) -> String {
        match self {
            Self::Postgres { url, .. } => url.clone(),
            Self::Sqlite { file } => format!("sqlite:{}", file.display()),
        }
    }
}

/// Who applies the history.
#[derive(Clone, Copy)]
enum Peer {
    Dbmate,
    Sqlx,
    Refinery,
    Alembic,
    Flyway,
}

/// Where Flyway's program is.
const FLYWAY: &str = "WINDLASS_BENCH_FLYWAY";

impl Peer {
    /// Those that are here.
    fn all() -> Vec<Self> {
        let mut all = vec![Self::Dbmate, Self::Sqlx, Self::Refinery, Self::Alembic];
        if std::env::var_os(FLYWAY).is_some() {
            all.push(Self::Flyway);
        }
        all
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dbmate => "dbmate",
            Self::Sqlx => "sqlx",
            Self::Refinery => "refinery",
            Self::Alembic => "alembic",
            Self::Flyway => "Flyway",
        }
    }

    /// Its program with all that it is told; each has a transaction for every file.
    fn command(self, dir: &Path, target: &Target) -> Result<Command> {
        let partners = crate::root().join("tests/e2e/partners");
        let program = |name: &str| Command::new(partners.join(name));
        Ok(match self {
            Self::Dbmate => {
                let url = match target {
                    Target::Postgres { url, .. } => format!("{url}?sslmode=disable"),
                    Target::Sqlite { .. } => target.url(),
                };
                let mut dbmate = program("node_modules/.bin/dbmate");
                dbmate.args(["--no-dump-schema", "--url", &url, "--migrations-dir"]);
                dbmate.arg(dir.join("dbmate")).arg("up");
                dbmate
            }
            Self::Sqlx => {
                let url = match target {
                    Target::Postgres { url, .. } => url.clone(),
                    Target::Sqlite { .. } => format!("{}?mode=rwc", target.url()),
                };
                let mut sqlx = program("cargo/bin/sqlx");
                sqlx.args(["migrate", "run", "--database-url", &url, "--source"]);
                sqlx.arg(dir.join("ours"));
                sqlx
            }
            Self::Refinery => {
                let config = dir.join("refinery.toml");
                let text = match target {
                    Target::Postgres { port, .. } => format!(
                        "[main]\ndb_type = \"Postgres\"\ndb_host = \"127.0.0.1\"\ndb_port = \"{port}\"\n\
                         db_user = \"bench\"\ndb_name = \"app\"\n"
                    ),
                    Target::Sqlite { file } => {
                        // It opens a file, and makes none.
                        std::fs::write(file, "")?;
                        let file = file.display();
                        format!("[main]\ndb_type = \"Sqlite\"\ndb_path = \"{file}\"\n")
                    }
                };
                std::fs::write(&config, text)?;
                let mut refinery = program("cargo/bin/refinery");
                refinery.arg("migrate").arg("-c").arg(config);
                refinery.arg("-p").arg(dir.join("refinery"));
                refinery
            }
            Self::Alembic => {
                let url = match target {
                    Target::Postgres { url, .. } => {
                        url.replacen("postgres:", "postgresql+psycopg2:", 1)
                    }
                    Target::Sqlite { file } => format!("sqlite:///{}", file.display()),
                };
                let mut alembic = program("venv/bin/alembic");
                alembic.arg("-c").arg(dir.join("alembic.ini"));
                alembic.args(["upgrade", "head"]).env("URL", url);
                alembic
            }
            Self::Flyway => {
                let url = match target {
                    Target::Postgres { port, .. } => {
                        format!("jdbc:postgresql://127.0.0.1:{port}/app?user=bench")
                    }
                    Target::Sqlite { .. } => format!("jdbc:{}", target.url()),
                };
                let mut flyway = Command::new(std::env::var_os(FLYWAY).unwrap_or_default());
                let files = dir.join("refinery");
                flyway
                    .arg(format!("-url={url}"))
                    .arg(format!("-locations=filesystem:{}", files.display()))
                    .arg("migrate")
                    // It leaves a report where it runs.
                    .current_dir(dir);
                flyway
            }
        })
    }
}

/// How long each try took.
#[derive(Default)]
struct Times {
    ours: Vec<Duration>,
    client: Vec<Duration>,
    peers: Vec<(Peer, Vec<Duration>)>,
}

/// `fresh` makes an empty database. `client`: the database's own program, with the one file.
fn turns(
    dir: &Path,
    fresh: &dyn Fn() -> Result<Target>,
    client: &dyn Fn() -> Result<Duration>,
) -> Result<Times> {
    let mut times = Times {
        peers: Peer::all().into_iter().map(|p| (p, Vec::new())).collect(),
        ..Times::default()
    };
    for _ in 0..ROUNDS {
        let url = fresh()?.url();
        times.ours.push(timed(
            windlass()
                .args(["up", "--url", &url, "--dir"])
                .arg(dir.join("ours")),
        )?);
        fresh()?;
        times.client.push(client()?);
        for (peer, times) in &mut times.peers {
            times.push(timed(&mut peer.command(dir, &fresh()?)?)?);
        }
    }
    Ok(times)
}

fn windlass() -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::root().join("target"), PathBuf::from);
    let mut command = Command::new(target.join("release/windlass"));
    command.arg("migrate");
    command
}

fn rows(database: &str, client: &str, mut times: Times) -> Vec<Row> {
    let ours = median(&mut times.ours);
    let row = |beside: Duration, name: &str, most: f64, unit: &'static str| {
        let ratio = ours.as_secs_f64() / beside.as_secs_f64();
        Row {
            what: format!("{FILES} small migrations on {database}, median of {ROUNDS}"),
            ours: milliseconds(ours),
            beside: format!("{} {name}", milliseconds(beside)),
            ratio: Some(ratio),
            goal: Goal::AtMost(most, unit),
            value: ratio,
        }
    };
    let mut rows = vec![row(median(&mut times.client), client, 1.5, "x")];
    for (peer, times) in &mut times.peers {
        rows.push(row(median(times), peer.name(), 1.0, "x"));
    }
    rows
}

fn alone(what: &str, time: Duration, most: f64, beside: String) -> Row {
    let value = time.as_secs_f64() * 1e3;
    Row {
        what: what.to_owned(),
        ours: milliseconds(time),
        beside,
        ratio: None,
        goal: Goal::AtMost(most, " ms"),
        value,
    }
}

pub(super) fn run() -> Result<Vec<Row>> {
    if std::env::var_os(FLYWAY).is_none() {
        eprintln!("Flyway is not measured: {FLYWAY}=/path/to/flyway says where its program is");
    }
    for install in ["install", "install-cargo"] {
        let install = crate::root().join("tests/e2e/partners").join(install);
        run_command(program(&install.to_string_lossy(), &[]))?;
    }
    let name = format!("windlass-bench-{}-migrate", std::process::id());
    let folder = Folder(std::env::temp_dir().join(name));
    let dir = folder.0.as_path();
    std::fs::create_dir_all(dir)?;
    write(dir)?;
    let all = dir.join("all.sql");
    let server = Postgres::start(dir)?;
    let fresh = || {
        let url = server.fresh()?;
        Ok(Target::Postgres {
            port: server.port,
            url,
        })
    };
    let client = || timed(server.psql("app").arg("-f").arg(&all));
    let mut table = rows("PostgreSQL", "psql", turns(dir, &fresh, &client)?);

    let file = dir.join("app.db");
    let fresh = || {
        for end in ["", "-wal", "-shm", "-journal"] {
            let file = dir.join(format!("app.db{end}"));
            if file.exists() {
                std::fs::remove_file(file)?;
            }
        }
        Ok(Target::Sqlite { file: file.clone() })
    };
    let client = || {
        let read = format!(".read {}", all.display());
        timed(Command::new("sqlite3").arg("-bail").arg(&file).arg(read))
    };
    table.extend(rows("SQLite", "sqlite3", turns(dir, &fresh, &client)?));

    // Another server: the first has tens of thousands of new tables to look after.
    drop(server);
    let second = dir.join("second");
    std::fs::create_dir(&second)?;
    let server = Postgres::start(&second)?;
    let url = server.fresh()?;
    let ours = dir.join("ours");
    let up = || {
        let mut up = windlass();
        up.args(["up", "--url", &url, "--dir"]).arg(&ours);
        timed(&mut up)
    };
    up()?;
    let mut times = (0..30).map(|_| up()).collect::<Result<Vec<_>>>()?;
    let mut psql = (0..30)
        .map(|_| timed(server.psql("app").args(["-c", "select 1"])))
        .collect::<Result<Vec<_>>>()?;
    table.push(alone(
        "nothing pending of 1000, the whole process, PostgreSQL, median of 30",
        median(&mut times),
        15.0,
        format!("{} psql -c 'select 1'", milliseconds(median(&mut psql))),
    ));
    let lint = || {
        let mut lint = windlass();
        lint.args(["lint", "--dialect", "postgres", "--dir"])
            .arg(&ours);
        timed(&mut lint)
    };
    let mut times = (0..5).map(|_| lint()).collect::<Result<Vec<_>>>()?;
    table.push(alone(
        "lint of 1000 files, median of 5",
        median(&mut times),
        1000.0,
        String::new(),
    ));
    Ok(table)
}
