//! What the linter recommends, run on real databases with rows in them: every passing example, and
//! every sequence that `--fix` writes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{Connection as _, SqliteConnection};
use windlass_migrate::lint::rules::{self, example, setup};
use windlass_migrate::lint::{Case, Dialect, Options, Source, fix, lint};

/// What the examples take for granted beside the setup: rows, a schema, a role.
const POSTGRES_ROWS: &str = "
INSERT INTO accounts VALUES (1, 'acme');
INSERT INTO users SELECT n, n || '@example.org', 'n' || n, 1, 'bio', 1 FROM generate_series(1, 2500) n;
INSERT INTO logs_old VALUES (1, '2020-02-02');
REFRESH MATERIALIZED VIEW totals;
CREATE SCHEMA app;
CREATE SCHEMA billing;
";
const SQLITE_ROWS: &str = "
INSERT INTO accounts VALUES (1, 'acme');
INSERT INTO users VALUES (1, '1@example.org', 'n1', 1, 1), (2, '2@example.org', 'n2', 1, 1);
INSERT INTO notes VALUES (1, 'x');
";

/// Migrations to run in order, with the name of the example.
struct Sequence {
    what: String,
    files: Vec<(String, String)>,
}

/// The passing example, and the failing one as `--fix --in-place` leaves it.
fn sequences(dialect: Dialect) -> Vec<Sequence> {
    let mut all = Vec::new();
    for rule in rules::all() {
        let Some(case) = rule.case(dialect) else {
            continue;
        };
        all.push(Sequence {
            what: format!("{}, passing", rule.id),
            files: example(case.passes),
        });
        let mut options = Options::new(dialect);
        options.since = Some("0001_setup.sql".to_owned());
        options.enable.push(rule.id.to_owned());
        options.server_version = case.server.map(|v| v.parse().expect("a version"));
        if let Some(files) = fixed(case, &options) {
            all.push(Sequence {
                what: format!("{}, fixed", rule.id),
                files,
            });
        }
    }
    all
}

fn fixed(case: &Case, options: &Options) -> Option<Vec<(String, String)>> {
    let mut files = example(case.fails);
    let mut sources = vec![Source {
        name: "0001_setup.sql",
        text: setup(case.dialect),
    }];
    sources.extend(files.iter().map(|(name, text)| Source { name, text }));
    let fixes = fix(&sources, options, &lint(&sources, options), true);
    if fixes.fixed.is_empty() {
        return None;
    }
    for (name, text) in &mut files {
        if let Some(changed) = fixes.changed.iter().find(|c| c.name == *name) {
            text.clone_from(&changed.text);
        }
    }
    files.extend(fixes.new.into_iter().map(|file| (file.name, file.text)));
    Some(files)
}

fn in_transaction(text: &str) -> bool {
    !text.contains("-- windlass: no-transaction")
}

/// A PostgreSQL that listens on a socket in a folder of its own.
struct Postgres {
    bin: PathBuf,
    folder: tempfile::TempDir,
    server: Child,
}

impl Postgres {
    /// As the user `postgres`, where we are root: the server refuses to run as root.
    fn command(bin: &Path, program: &str) -> Command {
        let program = bin.join(program);
        if nix_is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        }
    }

    fn start() -> Self {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let bin = versions
            .map(|v| v.path().join("bin"))
            .filter(|bin| bin.join("initdb").exists())
            .max();
        let bin = bin.expect("PostgreSQL's server is missing: apt-get install postgresql");
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))
            .expect("our own folder");
        let data = folder.path().join("data");
        let made = Self::command(&bin, "initdb")
            .args([
                "--auth=trust",
                "--username=tester",
                "--no-sync",
                "--encoding=UTF8",
                "-D",
            ])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        let server = Self::command(&bin, "postgres")
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres starts");
        let postgres = Self {
            bin,
            folder,
            server,
        };
        let start = Instant::now();
        while let Err(why) = postgres.psql("postgres", "SELECT 1;", false) {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "PostgreSQL doesn't come up: {why}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
        postgres
    }

    fn psql(&self, database: &str, sql: &str, transaction: bool) -> Result<(), String> {
        let file = self.folder.path().join(format!("{database}.sql"));
        fs::write(&file, sql).expect("our own folder");
        let mut command = Command::new(self.bin.join("psql"));
        command.args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "tester",
            "-d",
            database,
            "-h",
        ]);
        command.arg(self.folder.path()).arg("-f").arg(&file);
        if transaction {
            command.arg("-1");
        }
        let done = command.output().expect("psql starts");
        if done.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&done.stderr).into_owned())
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        let stopped = Self::command(&self.bin, "pg_ctl")
            .args(["stop", "-m", "immediate", "-D"])
            .arg(data)
            .output();
        if stopped.is_err() {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

fn nix_is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id is there");
    id.stdout.trim_ascii() == b"0"
}

#[test]
fn postgres_does_what_is_recommended() {
    let postgres = Postgres::start();
    let ready = format!("{}{POSTGRES_ROWS}", setup(Dialect::Postgres));
    postgres
        .psql("postgres", "CREATE ROLE app; CREATE DATABASE ready;", false)
        .expect("a fresh server");
    postgres.psql("ready", &ready, true).expect("the setup");
    // `ready` for tables that aren't partitions yet, `parted` for those that are.
    let parted = "CREATE DATABASE parted TEMPLATE ready;";
    postgres.psql("postgres", parted, false).expect("a copy");
    let attach = "ALTER TABLE logs ATTACH PARTITION logs_old FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');";
    postgres.psql("parted", attach, true).expect("a partition");
    let mut wrong = Vec::new();
    for (n, sequence) in sequences(Dialect::Postgres).iter().enumerate() {
        let database = format!("try{n}");
        let detaches = sequence
            .files
            .iter()
            .any(|(_, text)| text.contains("DETACH PARTITION"));
        let template = if detaches { "parted" } else { "ready" };
        let create = format!("CREATE DATABASE {database} TEMPLATE {template};");
        postgres
            .psql("postgres", &create, false)
            .expect("a database");
        for (name, text) in &sequence.files {
            if let Err(why) = postgres.psql(&database, text, in_transaction(text)) {
                wrong.push(format!("{}: {name}: {why}{text}", sequence.what));
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn sqlite_does_what_is_recommended() {
    let mut wrong = Vec::new();
    for sequence in sequences(Dialect::Sqlite) {
        let mut database = SqliteConnection::connect("sqlite::memory:")
            .await
            .expect("memory");
        let ready = format!("{}{SQLITE_ROWS}", setup(Dialect::Sqlite));
        run(&mut database, &ready).await.expect("the setup");
        let rows = count(&mut database).await;
        let before = wrong.len();
        for (name, text) in &sequence.files {
            let off = text.contains("-- windlass: foreign-keys off");
            let keys = if off { "OFF" } else { "ON" };
            run(&mut database, &format!("PRAGMA foreign_keys = {keys};"))
                .await
                .expect("a pragma");
            let whole = if in_transaction(text) {
                format!("BEGIN;\n{text}\n;COMMIT;")
            } else {
                text.clone()
            };
            if let Err(why) = run(&mut database, &whole).await {
                wrong.push(format!("{}: {name}: {why}\n{text}", sequence.what));
                break;
            }
        }
        // What is rebuilt keeps its rows, and its children theirs.
        let rebuilt = sequence
            .files
            .iter()
            .any(|(_, text)| text.contains("_new RENAME TO"));
        if rebuilt && wrong.len() == before {
            assert_eq!(count(&mut database).await, rows, "{}", sequence.what);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn run(database: &mut SqliteConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(database)
        .await?;
    Ok(())
}

async fn count(database: &mut SqliteConnection) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM accounts)";
    sqlx::query_scalar(sql)
        .fetch_one(database)
        .await
        .expect("a number")
}
