//! Database servers of a test's own. They die with the test, and their folders go.
//!
//! Other versions take their place where a variable names a folder with them, as `cargo xtask test` does
//! for the second and third time that it runs these tests: [`OTHER_POSTGRES`], [`OTHER_MYSQL`].

use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{User, chown, geteuid};
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection, PgConnection};
use tempfile::TempDir;

/// A folder with `bin/initdb` and `bin/postgres`, used instead of Debian's PostgreSQL.
const OTHER_POSTGRES: &str = "WINDLASS_TEST_POSTGRES";
/// A folder with `sbin/mysqld` of MySQL (and `lib/`, `share/`), used instead of Debian's MariaDB.
const OTHER_MYSQL: &str = "WINDLASS_TEST_MYSQL";

fn other(variable: &str) -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os(variable)?))
}

/// Whether [`Mariadb`] is MySQL.
pub(crate) fn is_mysql() -> bool {
    other(OTHER_MYSQL).is_some()
}

/// SQL for MariaDB, without what MySQL does not have.
pub(crate) fn for_the_server(mariadb: &str) -> String {
    if !is_mysql() {
        return mariadb.to_owned();
    }
    mariadb
        .replace("INVISIBLE DEFAULT 5", "DEFAULT 5 INVISIBLE")
        .replace("ENGINE=Aria", "ENGINE=MyISAM")
        .replace("CREATE SEQUENCE numbers START WITH 10 INCREMENT BY 5;", "")
        .replace("DEFAULT nextval(numbers)", "DEFAULT (10 + 5)")
}

/// A server program, run as `user` if we are root: servers of databases refuse root.
struct Process {
    child: Child,
    dir: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A port that nobody has, and that no other test is given before this process ends: until the server is up, the
/// system could give it away again.
pub(crate) fn free_port() -> u16 {
    let taken = std::env::temp_dir().join("windlass-test-ports");
    std::fs::create_dir_all(&taken).unwrap();
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let file = std::fs::File::create(taken.join(port.to_string())).unwrap();
        if file.try_lock().is_ok() {
            // Locked as long as the process lives.
            std::mem::forget(file);
            return port;
        }
    }
}

fn folder(user: &str, package: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    if geteuid().is_root() {
        let user = User::from_name(user).unwrap().unwrap_or_else(|| {
            panic!("there is no user {user}: run `apt-get install {package}`, which makes it")
        });
        chown(dir.path(), Some(user.uid), Some(user.gid)).unwrap();
    }
    dir
}

/// The command as that user; it dies with the thread that starts it.
fn command(user: &str, program: &Path, package: &str) -> Command {
    assert!(
        program.is_file(),
        "{} is missing: run `apt-get install {package}`",
        program.display()
    );
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if geteuid().is_root() {
        command.args([
            &format!("--reuid={user}"),
            "--init-groups",
            &format!("--regid={user}"),
        ]);
    }
    command.arg(program).stdin(Stdio::null()).process_group(0);
    command
}

fn quiet(command: &mut Command) {
    let done = command.output().unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

fn log(dir: &TempDir) -> Stdio {
    std::fs::File::create(dir.path().join("log"))
        .unwrap()
        .into()
}

/// PostgreSQL, with a database `app` and a superuser `windlass`.
pub(crate) struct Postgres {
    process: Process,
    pub(crate) port: u16,
    pub(crate) url: String,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// `settings`: such as `log_statement=all`.
    pub(crate) async fn start_with(settings: &[&str]) -> Self {
        Self::start_at(free_port(), settings).await
    }

    /// At an address that others know already.
    pub(crate) async fn start_at(port: u16, settings: &[&str]) -> Self {
        let bin = postgres_bin();
        let dir = folder("postgres", "postgresql");
        let data = dir.path().join("data");
        quiet(
            command("postgres", &bin.join("initdb"), "postgresql")
                .args([
                    "-A",
                    "trust",
                    "-U",
                    "windlass",
                    "-E",
                    "UTF8",
                    "--locale=C",
                    "--no-sync",
                ])
                .arg("-D")
                .arg(&data),
        );
        let mut server = command("postgres", &bin.join("postgres"), "postgresql");
        server
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-k"])
            .arg(dir.path())
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        for setting in settings {
            server.args(["-c", setting]);
        }
        let child = server.stdout(log(&dir)).stderr(log(&dir)).spawn().unwrap();
        let server = Self {
            process: Process { child, dir },
            port,
            url: format!("postgres://windlass@127.0.0.1:{port}/app"),
        };
        let first = format!("postgres://windlass@127.0.0.1:{port}/postgres");
        let mut conn = patient(async || PgConnection::connect(&first).await, server.log()).await;
        sqlx::raw_sql("create database app")
            .execute(&mut conn)
            .await
            .unwrap();
        server
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.process.dir.path().join("log")
    }

    pub(crate) async fn connect(&self) -> PgConnection {
        let options: sqlx::postgres::PgConnectOptions = self.url.parse().unwrap();
        options.application_name("test").connect().await.unwrap()
    }
}

fn postgres_bin() -> PathBuf {
    if let Some(folder) = other(OTHER_POSTGRES) {
        return folder.join("bin");
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    found
        .pop()
        .expect("PostgreSQL's server is missing: run `apt-get install postgresql`")
}

/// PgBouncer in front of a PostgreSQL.
pub(crate) struct Pooler {
    process: Process,
    pub(crate) url: String,
}

impl Pooler {
    pub(crate) async fn start(server: &Postgres, mode: &str, more: &str) -> Self {
        let dir = folder("postgres", "pgbouncer");
        let port = free_port();
        let file = dir.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\napp = host=127.0.0.1 port={} dbname=app user=windlass\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n\
             pool_mode = {mode}\n{more}\n",
            server.port
        );
        std::fs::write(&file, text).unwrap();
        let child = command("postgres", Path::new("/usr/sbin/pgbouncer"), "pgbouncer")
            .arg(&file)
            .stdout(log(&dir))
            .stderr(log(&dir))
            .spawn()
            .unwrap();
        let process = Process { child, dir };
        let url = format!("postgres://windlass@127.0.0.1:{port}/app");
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let options = options.extra_float_digits(None);
        patient(
            async || options.connect().await,
            process.dir.path().join("log"),
        )
        .await;
        Self { process, url }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.process.dir.path().join("log")).unwrap()
    }
}

/// MySQL's server in that folder, which brings its libraries.
fn mysqld(folder: &Path) -> Command {
    let package = "mariadb-server` and `sh tests/e2e/partners/install-databases";
    let mut server = command("mysql", &folder.join("sbin/mysqld"), package);
    server
        .env("LD_LIBRARY_PATH", folder.join("lib/x86_64-linux-gnu"))
        .arg("--no-defaults")
        .arg(format!("--basedir={}", folder.display()));
    server
}

/// MariaDB with a database `app`; MySQL where [`OTHER_MYSQL`] names it.
pub(crate) struct Mariadb {
    _process: Process,
    pub(crate) url: String,
}

impl Mariadb {
    pub(crate) async fn start() -> Self {
        let dir = folder("mysql", "mariadb-server");
        let data = format!("--datadir={}", dir.path().join("data").display());
        // A server that starts removes temporary tables of others from a shared folder.
        let own = format!("--tmpdir={}", dir.path().display());
        let port = free_port();
        let mut server = match other(OTHER_MYSQL) {
            Some(mysql) => {
                quiet(mysqld(&mysql).args(["--initialize-insecure", &data, &own]));
                let mut server = mysqld(&mysql);
                server.args(["--mysqlx=OFF", "--sync-binlog=0", "--secure-file-priv=NULL"]);
                server
            }
            None => {
                let package = "mariadb-server";
                quiet(
                    command("mysql", Path::new("/usr/bin/mariadb-install-db"), package).args([
                        "--no-defaults",
                        "--skip-test-db",
                        "--auth-root-authentication-method=normal",
                        &data,
                        &own,
                    ]),
                );
                let mut server = command("mysql", Path::new("/usr/sbin/mariadbd"), package);
                server.arg("--no-defaults");
                server
            }
        };
        let child = server
            .args([&data, &own])
            .args([
                "--bind-address=127.0.0.1",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .arg(format!("--socket={}", dir.path().join("s").display()))
            .arg(format!("--pid-file={}", dir.path().join("pid").display()))
            .arg(format!("--port={port}"))
            .stdout(log(&dir))
            .stderr(log(&dir))
            .spawn()
            .unwrap();
        let process = Process { child, dir };
        let root = format!("mysql://root@127.0.0.1:{port}");
        let said = process.dir.path().join("log");
        let first = format!("{root}/mysql");
        let mut conn = patient(async || MySqlConnection::connect(&first).await, said).await;
        sqlx::raw_sql("create database app; create database other")
            .execute(&mut conn)
            .await
            .unwrap();
        Self {
            _process: process,
            url: format!("{root}/app"),
        }
    }

    pub(crate) async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.url).await.unwrap()
    }
}

/// Redis, which keeps nothing on disk.
pub(crate) struct Redis {
    process: Process,
    settings: Vec<String>,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(free_port(), &[])
    }

    /// `settings`: such as `--requirepass x`. The port may be one of TLS: then they say so.
    pub(crate) fn start_with(port: u16, settings: &[&str]) -> Self {
        let settings: Vec<String> = settings.iter().map(|&s| s.to_owned()).collect();
        let process = Self::process(port, &settings);
        Self {
            process,
            settings,
            port,
        }
    }

    fn process(port: u16, settings: &[String]) -> Process {
        let dir = folder("redis", "redis-server");
        let tls = settings.iter().any(|s| s == "--tls-port");
        let mut server = command("redis", Path::new("/usr/bin/redis-server"), "redis-server");
        if !tls {
            server.args(["--port", &port.to_string()]);
        }
        let child = server
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(dir.path())
            .args(settings)
            .stdout(log(&dir))
            .stderr(log(&dir))
            .spawn()
            .unwrap();
        let process = Process { child, dir };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = std::fs::read_to_string(process.dir.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "Redis did not come up: {said}");
            std::thread::sleep(Duration::from_millis(30));
        }
        process
    }

    /// Killed and started again: it has forgotten everything.
    pub(crate) fn restart(&mut self) {
        self.process.child.kill().unwrap();
        self.process.child.wait().unwrap();
        self.process = Self::process(self.port, &self.settings);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/3", self.port)
    }
}

async fn patient<T>(mut connect: impl AsyncFnMut() -> Result<T, sqlx::Error>, log: PathBuf) -> T {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        match connect().await {
            Ok(conn) => return conn,
            Err(error) if Instant::now() > end => {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                panic!("the server did not come up: {error}\n{log}");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
