//! Any history, applied by any runners that are killed at any point, comes to the same as applied
//! once: schema, rows, what the history table says.
//!
//! A runner is this program again, as the ignored test `runner`: it counts how often the library's
//! future is polled, and kills itself (SIGKILL) just before or just after a given poll. That is
//! between two messages to the database: before a statement, while the database works on it, before
//! a commit, or when the commit has been sent and not yet answered. The points are parts of what one
//! whole run needs, so they lie all over it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, raise};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tokio::runtime::Runtime;
use windlass_migrate::sql::Dialect;
use windlass_migrate::{Database, Folder, Options, dump, run};

use crate::servers::{Mariadb, Postgres};

/// No case begins later than this. `HISTORY_SECONDS=600` looks longer.
const SECONDS: u64 = 15;
/// A machine that does fewer in that time tells nothing, and should say so.
const FEWEST: u32 = 3;
/// What a runner says that came to its end, before the number.
const STEPS: &str = "steps taken: ";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[ignore = "the runner that the other tests here start, and that kills itself"]
fn runner() {
    let set = |name| std::env::var(name).unwrap();
    let database = Database::parse(&set("HISTORY_URL")).unwrap();
    let folder = Folder::read(Path::new(&set("HISTORY_DIR"))).unwrap();
    let last: u64 = set("HISTORY_KILL").parse().unwrap();
    let options = Options::default();
    let mut step = 0;
    let mut count = || {
        step += 1;
        if step == last {
            raise(Signal::SIGKILL).unwrap();
        }
    };
    runtime().block_on(async {
        let mut work = pin!(async {
            run::up(&database, &folder, &options, &mut |_| {})
                .await
                .unwrap();
            let how = run::How::default();
            let tell: run::Tell<'_> = &mut |_| {};
            run::data(&database, &folder, &options, &how, tell, None)
                .await
                .unwrap();
        });
        poll_fn(|context| {
            count();
            let polled = work.as_mut().poll(context);
            count();
            polled
        })
        .await;
    });
    println!("{STEPS}{step}");
}

/// Starts a runner. `kill`: at which step; 0: never.
fn start(url: &str, dir: &Path, kill: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "history::runner", "--nocapture"])
        .env("HISTORY_URL", url)
        .env("HISTORY_DIR", dir)
        .env("HISTORY_KILL", kill.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The steps that it took; `None`: it was killed.
fn end(runner: Child) -> Result<Option<u64>, TestCaseError> {
    use std::os::unix::process::ExitStatusExt as _;
    let done = runner.wait_with_output().unwrap();
    if done.status.signal() == Some(Signal::SIGKILL as i32) {
        return Ok(None);
    }
    let out = String::from_utf8_lossy(&done.stdout);
    let steps = out
        .split_once(STEPS)
        .and_then(|(_, rest)| rest.lines().next()?.parse().ok());
    if !done.status.success() || steps.is_none() {
        let err = String::from_utf8_lossy(&done.stderr);
        return Err(TestCaseError::fail(format!(
            "a runner failed: {out}\n{err}"
        )));
    }
    Ok(steps)
}

/// One statement, or a few rows. On a table that is not there: it is created.
#[derive(Debug, Clone, Copy)]
enum Op {
    Insert {
        rows: u8,
    },
    /// Twice would show.
    Update,
    AddColumn,
    DropColumn,
    AddIndex,
    DropIndex,
    Drop,
}

#[derive(Debug, Clone)]
enum Kind {
    Schema {
        no_transaction: bool,
        ops: Vec<(u8, Op)>,
    },
    /// In batches of this size.
    Data { table: u8, size: u8 },
}

#[derive(Debug, Clone)]
struct Case {
    /// Whether the database has no table before: then `up` runs data migrations, too.
    empty: bool,
    files: Vec<Kind>,
    /// Versions of two parts, in Flyway's names.
    parts: bool,
    /// A repeatable file, and whether it runs without a transaction. What it does would fail if it were done twice.
    repeatable: Option<bool>,
    /// A baseline that stands for so many of the files, if none of them changes data.
    baseline: usize,
    /// Runners that are started at once, and after how many thousandths of a whole run each is
    /// killed. The next group comes when all of the one before have ended.
    runners: Vec<Vec<u64>>,
}

fn cases() -> impl Strategy<Value = Case> {
    let op = prop_oneof![
        3 => (1..6_u8).prop_map(|rows| Op::Insert { rows }),
        3 => Just(Op::Update),
        2 => Just(Op::AddColumn),
        1 => Just(Op::DropColumn),
        2 => Just(Op::AddIndex),
        1 => Just(Op::DropIndex),
        1 => Just(Op::Drop),
    ];
    let ops = prop::collection::vec((0..3_u8, op), 1..5);
    let file = prop_oneof![
        4 => (any::<bool>(), ops)
            .prop_map(|(no_transaction, ops)| Kind::Schema { no_transaction, ops }),
        1 => (0..3_u8, 1..4_u8).prop_map(|(table, size)| Kind::Data { table, size }),
    ];
    let runners = prop::collection::vec(prop::collection::vec(0..1000_u64, 1..4), 1..4);
    let more = (any::<bool>(), any::<Option<bool>>(), 0..4_usize);
    (
        any::<bool>(),
        prop::collection::vec(file, 1..6),
        more,
        runners,
    )
        .prop_map(
            |(empty, files, (parts, repeatable, baseline), runners)| Case {
                empty,
                files,
                parts,
                repeatable,
                baseline,
                runners,
            },
        )
}

/// What a history has made so far.
#[derive(Default)]
struct Table {
    rows: u32,
    columns: BTreeSet<usize>,
    indexes: BTreeSet<usize>,
    /// A data migration will visit it, perhaps after all other files.
    visited: bool,
}

/// The files of a case: always such that each can be applied after those before it.
fn files(case: &Case, dialect: Dialect) -> Vec<String> {
    let mut tables = BTreeMap::new();
    let mut out = Vec::new();
    for kind in &case.files {
        let mut text = String::new();
        match kind {
            Kind::Schema {
                no_transaction,
                ops,
            } => {
                if *no_transaction {
                    text.push_str("-- windlass: no-transaction\n");
                }
                for (table, op) in ops {
                    let sql = statement(&mut tables, *table, *op, dialect, *no_transaction);
                    writeln!(text, "{sql};").unwrap();
                }
            }
            Kind::Data { table, size } => match tables.get_mut(table) {
                Some(found) => {
                    found.visited = true;
                    write!(
                        text,
                        "-- windlass: phase data\n\
                         -- windlass: batch t{table}.id size {size} pause 0ms\n\
                         update t{table} set n = n + 1 where id between :lo and :hi;\n"
                    )
                    .unwrap();
                }
                None => {
                    let sql = statement(&mut tables, *table, Op::Update, dialect, false);
                    writeln!(text, "{sql};").unwrap();
                }
            },
        }
        out.push(text);
    }
    out
}

fn statement(
    tables: &mut BTreeMap<u8, Table>,
    name: u8,
    op: Op,
    dialect: Dialect,
    no_transaction: bool,
) -> String {
    let Some(table) = tables.get_mut(&name) else {
        tables.insert(name, Table::default());
        return format!("create table t{name} (id bigint not null primary key, n bigint not null)");
    };
    let concurrently = if dialect == Dialect::Postgres && no_transaction {
        " concurrently"
    } else {
        ""
    };
    match op {
        Op::Insert { rows } => {
            let rows: Vec<String> = (0..rows)
                .map(|_| {
                    table.rows += 1;
                    format!("({0}, {0})", table.rows)
                })
                .collect();
            format!("insert into t{name} (id, n) values {}", rows.join(", "))
        }
        Op::AddColumn => {
            let new = table.columns.last().map_or(0, |last| last + 1);
            table.columns.insert(new);
            format!("alter table t{name} add column c{new} int default 7")
        }
        Op::DropColumn if let Some(old) = table.columns.pop_first() => {
            format!("alter table t{name} drop column c{old}")
        }
        Op::AddIndex => {
            let new = table.indexes.last().map_or(0, |last| last + 1);
            table.indexes.insert(new);
            format!("create index{concurrently} t{name}_i{new} on t{name} (n)")
        }
        Op::DropIndex if let Some(old) = table.indexes.pop_first() => {
            let on = match dialect {
                Dialect::Mysql => format!(" on t{name}"),
                _ => String::new(),
            };
            format!("drop index{concurrently} t{name}_i{old}{on}")
        }
        Op::Drop if !table.visited => {
            tables.remove(&name);
            format!("drop table t{name}")
        }
        Op::Update | Op::DropColumn | Op::DropIndex | Op::Drop => {
            format!("update t{name} set n = n * 2 + 1")
        }
    }
}

/// Where databases are made.
enum Server {
    Postgres(Postgres),
    Mariadb(Mariadb),
    Sqlite(tempfile::TempDir),
}

impl Server {
    fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Mariadb(_) => Dialect::Mysql,
            Self::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// An empty database of this name; the one that had it before is gone.
    async fn fresh(&self, name: &str) -> String {
        let sql = |text: &str| AssertSqlSafe(text.replace("NAME", name));
        match self {
            Self::Postgres(server) => {
                let mut conn = server.connect().await;
                // Each alone: neither may be in a transaction.
                for text in [
                    "drop database if exists NAME with (force)",
                    "create database NAME",
                ] {
                    sqlx::raw_sql(sql(text)).execute(&mut conn).await.unwrap();
                }
                conn.close().await.unwrap();
                server.url.replace("/app", &format!("/{name}"))
            }
            Self::Mariadb(server) => {
                let mut conn = server.connect().await;
                let text = "drop database if exists NAME; create database NAME";
                sqlx::raw_sql(sql(text)).execute(&mut conn).await.unwrap();
                conn.close().await.unwrap();
                server.url.replace("/app", &format!("/{name}"))
            }
            Self::Sqlite(dir) => {
                for end in ["", "-wal", "-shm", "-journal"] {
                    std::fs::remove_file(dir.path().join(format!("{name}{end}"))).ok();
                }
                format!("sqlite:{}", dir.path().join(name).display())
            }
        }
    }
}

/// Makes the database one that had a table before us.
async fn settle(url: &str) {
    let sql = sqlx::raw_sql("create table elsewhere (id bigint not null primary key)");
    if url.starts_with("postgres") {
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let mut conn = options.connect().await.unwrap();
        sql.execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    } else if url.starts_with("mysql") {
        let mut conn = sqlx::MySqlConnection::connect(url).await.unwrap();
        sql.execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    } else {
        let options: sqlx::sqlite::SqliteConnectOptions = url.parse().unwrap();
        let mut conn = options.create_if_missing(true).connect().await.unwrap();
        sql.execute(&mut conn).await.unwrap();
        conn.close().await.unwrap();
    }
}

/// Schema and rows as SQL, and the history without times: what must be the same.
async fn outcome(url: &str, folder: &Folder) -> Result<String, TestCaseError> {
    let database = Database::parse(url).unwrap();
    let mut text = Vec::new();
    let how = dump::Options {
        rows: true,
        ..dump::Options::default()
    };
    dump::dump(&database, &how, &mut text).await.unwrap();
    let mut text = String::from_utf8(text).unwrap();
    let status = run::status(&database, folder, &Options::default())
        .await
        .unwrap();
    // Not who has the lock: whoever was killed with the work done and the lock not yet given back is
    // named there until somebody has a reason to take it.
    prop_assert!(
        status.plan.run.is_empty()
            && status.plan.data.is_empty()
            && status.plan.stops.is_empty()
            && status.interrupted.is_empty()
            && status.progress.is_empty(),
        "something is left: {status:#?}"
    );
    prop_assert_eq!(status.history.rows.len(), folder.files.len());
    for row in &status.history.rows {
        writeln!(
            text,
            "-- applied: {} {} {:?} {} {:?}",
            row.version, row.name, row.phase, row.checksum, row.how
        )
        .unwrap();
    }
    Ok(text)
}

/// How many were killed.
fn check(server: &Server, runtime: &Runtime, case: &Case) -> Result<u32, TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: String, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let texts = files(case, server.dialect());
    for (n, text) in texts.iter().enumerate() {
        match case.parts {
            true => write(format!("V1.{}__h.sql", n + 1), text),
            false => write(format!("{:04}_h.sql", n + 1), text),
        }
    }
    if let Some(no_transaction) = case.repeatable {
        let how = if no_transaction {
            "-- windlass: no-transaction\n"
        } else {
            ""
        };
        let text =
            "create table again (a int not null primary key);\ninsert into again values (1);\n";
        write("R__again.sql".to_owned(), &format!("{how}{text}"));
    }
    if (1..=texts.len()).contains(&case.baseline) {
        let all = texts[..case.baseline].concat();
        let part = if case.parts { "1." } else { "" };
        if !all.contains("phase data") {
            write(format!("B{part}{}__all.sql", case.baseline), &all);
        }
    }
    let dir = dir.path();
    let folder = Folder::read(dir).unwrap();
    let fresh = |name: &str| {
        runtime.block_on(async {
            let url = server.fresh(name).await;
            if !case.empty {
                settle(&url).await;
            }
            url
        })
    };
    let once = fresh("once");
    let steps = end(start(&once, dir, 0))?.unwrap();
    let often = fresh("often");
    let mut kills = 0;
    for group in &case.runners {
        let group: Vec<Child> = group
            .iter()
            .map(|part| start(&often, dir, 1 + steps * part / 1000))
            .collect();
        for runner in group {
            kills += u32::from(end(runner)?.is_none());
        }
    }
    // Whoever comes last finds what is left.
    end(start(&often, dir, 0))?;
    let expected = runtime.block_on(outcome(&once, &folder))?;
    let found = runtime.block_on(outcome(&often, &folder))?;
    prop_assert_eq!(found, expected);
    Ok(kills)
}

fn any_history(server: &Server, runtime: &Runtime) {
    let seconds = std::env::var("HISTORY_SECONDS").map_or(SECONDS, |s| s.parse().unwrap());
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 5_000,
        max_shrink_time: 120_000,
        ..ProptestConfig::with_source_file(file!())
    });
    let counted = std::cell::Cell::new((0_u32, 0_u32));
    let failed = std::cell::Cell::new(false);
    let done = runner.run(&cases(), |case| {
        // A failure is made smaller, however long it takes.
        if Instant::now() > until && counted.get().0 >= FEWEST && !failed.get() {
            return Ok(());
        }
        let kills = check(server, runtime, &case).inspect_err(|_| failed.set(true))?;
        let (cases, before) = counted.get();
        counted.set((cases + 1, before + kills));
        Ok(())
    });
    if let Err(TestError::Fail(why, case)) = &done {
        let files = files(case, server.dialect());
        panic!("{why}\n{case:#?}\n{}", files.join("\n-- the next file\n"));
    }
    done.unwrap();
    let (cases, kills) = counted.get();
    println!("{cases} histories, {kills} runners killed");
    assert!(kills >= cases, "{kills} kills in {cases} histories");
}

#[test]
fn any_history_with_any_crashes_on_postgres() {
    let runtime = runtime();
    let server = Server::Postgres(runtime.block_on(Postgres::start()));
    any_history(&server, &runtime);
}

#[test]
fn any_history_with_any_crashes_on_mariadb() {
    let runtime = runtime();
    let server = Server::Mariadb(runtime.block_on(Mariadb::start()));
    any_history(&server, &runtime);
}

#[test]
fn any_history_with_any_crashes_on_sqlite() {
    let server = Server::Sqlite(tempfile::tempdir().unwrap());
    any_history(&server, &runtime());
}
