//! Data migrations: rows in batches. Their runners are killed at any moment, and each batch takes
//! effect once.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};

use crate::scene::{Scene, until};
use crate::servers::{Mariadb, Postgres};
use crate::start::Gone as _;

/// A connection of the test's own.
enum Db {
    Postgres(PgConnection),
    Mariadb(MySqlConnection),
    Sqlite(SqliteConnection),
}

impl Db {
    async fn open(url: &str) -> Self {
        match url.split(':').next().unwrap() {
            "postgres" => Self::Postgres(PgConnection::connect(url).await.unwrap()),
            "mysql" => Self::Mariadb(MySqlConnection::connect(url).await.unwrap()),
            _ => {
                let url = format!("{url}?mode=rwc");
                Self::Sqlite(SqliteConnection::connect(&url).await.unwrap())
            }
        }
    }

    async fn run(&mut self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(conn) => drop(sql.execute(conn).await.unwrap()),
            Self::Mariadb(conn) => drop(sql.execute(conn).await.unwrap()),
            Self::Sqlite(conn) => drop(sql.execute(conn).await.unwrap()),
        }
    }

    async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        let found = match self {
            Self::Postgres(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
            Self::Mariadb(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
            Self::Sqlite(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
        };
        found.unwrap()
    }

    /// 3,000 rows with every third id.
    async fn fill(&mut self) {
        let rows: Vec<String> = (1..=3000).map(|n| format!("({}, 0)", n * 3)).collect();
        let sql = format!("insert into items (id, n) values {}", rows.join(", "));
        self.run(&sql).await;
    }
}

const TABLE: &str = "create table items (id bigint not null primary key, n bigint not null);";
/// A batch that takes effect twice, or not at all, shows.
const COUNTS: &str = "-- windlass: phase data\n-- windlass: batch items.id size 60 pause 5ms\n\
    update items set n = n + 1 where id between :lo and :hi;\n";
const CONTRACT: &str = "-- windlass: phase contract\n-- windlass: requires-release 2.0\n\
    -- windlass: requires-data 2\ndrop table old;\n";

fn progress(scene: &Scene) -> Value {
    scene.run(&["status", "--json"]).json()["progress"][0].clone()
}

async fn killed_again_and_again(url: &str) {
    let scene = Scene::new(url);
    scene.file(
        "0001_items.sql",
        &format!("{TABLE}\ncreate table old (x int);"),
    );
    scene.run(&["up"]).code(0);
    let mut db = Db::open(&scene.url).await;
    db.fill().await;
    scene.file("0002_count.sql", COUNTS);
    scene.file("0003_contract.sql", CONTRACT);
    scene.file("0004_more.sql", "create table more (x int);");
    // Neither the data nor what waits for it stops the rest.
    scene
        .run(&["up", "--oldest-running", "2.1"])
        .code(0)
        .says("applied 0004_more.sql")
        .says("data is to be changed: 0002_count.sql")
        .says("data migration 2 has to be finished first");
    scene.run(&["wait", "--timeout", "0"]).code(0);
    let mut last = 0;
    for kill in 0..6_u64 {
        let runner = scene.spawn(&["data", "--lease", "8s"]);
        let mut seen = last;
        until("a batch", async || {
            seen = progress(&scene)["batches"].as_i64().unwrap_or(0);
            seen > last
        })
        .await;
        tokio::time::sleep(Duration::from_millis(kill * 3)).await;
        runner.signal(Signal::SIGKILL);
        runner.end();
        last = seen;
        let visited = db.number("select count(*) from items where n > 0").await;
        assert!(visited < 3000, "it was over before it could be killed");
    }
    assert!(last >= 6, "{last} batches in six runs");
    // New rows behind the end are visited too.
    db.run("insert into items (id, n) values (99991, 0), (99992, 0)")
        .await;
    scene.run(&["data"]).code(0).says("finished 0002_count.sql");
    for (sql, rows) in [
        ("select count(*) from items where n = 1", 3002),
        ("select count(*) from items where n <> 1", 0),
        ("select count(*) from windlass_migrations_progress", 0),
    ] {
        assert_eq!(db.number(sql).await, rows, "{sql}");
    }
    scene.run(&["data"]).code(0).says("nothing to do");
    scene
        .run(&["up", "--oldest-running", "2.1"])
        .code(0)
        .says("applied 0003_contract.sql");
}

#[tokio::test]
async fn data_is_changed_once_on_postgres_however_often_the_runner_is_killed() {
    killed_again_and_again(&Postgres::start().await.url).await;
}

#[tokio::test]
async fn data_is_changed_once_on_mariadb_however_often_the_runner_is_killed() {
    killed_again_and_again(&Mariadb::start().await.url).await;
}

#[tokio::test]
async fn data_is_changed_once_on_sqlite_however_often_the_runner_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    killed_again_and_again(&url).await;
}

#[tokio::test]
async fn data_runs_beside_up_and_beside_itself() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_items.sql", TABLE);
    scene.run(&["up"]).code(0);
    let mut db = Db::open(&scene.url).await;
    db.fill().await;
    scene.file(
        "0002_slow.sql",
        "-- windlass: phase data\n-- windlass: batch items.id size 100 pause 20ms\n\
         update items set n = n + 1 where id between :lo and :hi and pg_sleep(0.001) is not null;\n",
    );
    let first = scene.spawn(&["data"]);
    let second = scene.spawn(&["data"]);
    until("a batch", async || {
        progress(&scene)["batches"].as_i64().unwrap_or(0) > 1
    })
    .await;
    // `up` neither waits nor is in the way, also with a change of the same table.
    scene.file("0003_more.sql", "alter table items add column more int;");
    scene
        .run(&["up", "--lock-wait", "0"])
        .code(0)
        .says("applied 0003_more.sql");
    scene
        .run(&["data", "--lock-wait", "0"])
        .code(4)
        .says("changing data");
    scene.run(&["unlock"]).code(0).says("nobody has the lock");
    scene
        .run(&["unlock", "--of-data"])
        .code(0)
        .says("changing data");
    let status = scene.run(&["status"]).code(0);
    assert!(status.out.contains(" %, about "), "{status:?}");
    status.says("data is being changed by");
    // Taken away, it stops; the other one goes on from there.
    scene.run(&["unlock", "--of-data", "--force"]).code(0);
    let ends = [first.end(), second.end()];
    let mut codes = ends.each_ref().map(|ran| ran.code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 1], "{ends:?}");
    assert_eq!(
        db.number("select count(*) from items where n = 1").await,
        3000
    );
}

#[tokio::test]
async fn data_goes_by_keys_that_are_no_numbers() {
    let server = Postgres::start().await;
    let mariadb = Mariadb::start().await;
    let sqlite = Scene::sqlite();
    for (url, kind, key) in [
        (&server.url, "uuid", "md5(g::text)::uuid"),
        (
            &server.url,
            "timestamptz",
            "now() + g * interval '1 microsecond'",
        ),
        (&mariadb.url, "varchar(40)", "concat('it''s ', seq)"),
        (&sqlite.url, "text", "'it''s ' || value"),
    ] {
        let mut scene = Scene::new(url);
        let history = kind.split('(').next().unwrap().to_owned();
        scene
            .env
            .push(("WINDLASS_MIGRATE_TABLE", format!("of_{history}")));
        let mut db = Db::open(url).await;
        db.run("drop table if exists named").await;
        db.run(&format!(
            "create table named (k {kind} not null primary key, n int not null)"
        ))
        .await;
        let series = match db {
            Db::Postgres(_) => "generate_series(1, 500) g",
            Db::Mariadb(_) => "seq_1_to_500",
            Db::Sqlite(_) => {
                "(with recursive s(value) as (select 1 union all select value + 1 from s where value < 500) select value from s)"
            }
        };
        db.run(&format!("insert into named select {key}, 0 from {series}"))
            .await;
        scene.file("0001_first.sql", "select 1;");
        scene.file(
            "0002_named.sql",
            "-- windlass: phase data\n-- windlass: batch named.k size 7 pause 0\n\
             update named set n = n + 1 where k between :lo and :hi;\n",
        );
        scene.run(&["up"]).code(0);
        scene.run(&["data", "--time-limit", "0"]).code(3);
        assert_eq!(progress(&scene)["keys"], 7, "{kind}");
        scene.run(&["data"]).code(0);
        assert_eq!(
            db.number("select count(*) from named where n = 1").await,
            500,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_fresh_database_takes_data_on_the_way_and_up_can_wait_for_it() {
    let scene = Scene::sqlite();
    scene
        .file(
            "0001_items.sql",
            &format!(
                "{TABLE}\ncreate table old (x int);\ninsert into items values (1, 0), (5, 0);"
            ),
        )
        .file("0002_count.sql", COUNTS)
        .file("0003_contract.sql", CONTRACT);
    scene
        .run(&["up"])
        .code(0)
        .says("applied 0002_count.sql")
        .says("applied 0003_contract.sql");
    let mut db = Db::open(&scene.url).await;
    assert_eq!(db.number("select sum(n) from items").await, 2);
    scene.file("0004_again.sql", COUNTS);
    let contract = CONTRACT.replace("requires-data 2", "requires-data 4");
    scene.file(
        "0005_last.sql",
        &contract.replace("drop table old", "drop table items"),
    );
    let up = ["up", "--oldest-running", "2.0"];
    scene.run(&up).code(0).says("data migration 4 has to be");
    assert_eq!(db.number("select sum(n) from items").await, 2);
    scene
        .run(&[&up[..], &["--with-data"]].concat())
        .code(0)
        .says("applied 0004_again.sql")
        .says("applied 0005_last.sql");
}

#[tokio::test]
async fn data_that_can_not_run_is_refused_and_what_was_done_is_kept() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_items.sql", TABLE);
    let mut db = Db::open(&scene.url).await;
    let file = |text: &str| {
        scene.file(
            "0002_count.sql",
            &format!("-- windlass: phase data\n-- windlass: batch items.id size 1000\n{text}"),
        );
    };
    file("update items set n = 1;");
    db.run("create table there_is_one (x int)").await;
    scene.run(&["data"]).code(1).says("windlass migrate up");
    scene.run(&["up"]).code(0);
    scene
        .run(&["data"])
        .code(1)
        .says("0002_count.sql, line 3: a statement that runs in batches says of which rows: `where id between :lo and :hi`");
    scene.run(&["plan"]).code(1).says("between :lo and :hi");
    file("vacuum;");
    scene
        .run(&["data"])
        .code(1)
        .says("only what a transaction covers");
    db.fill().await;
    file("update items set n = n + 1 / (3000 - :hi) where id between :lo and :hi;");
    scene
        .run(&["data", "--size", "100"])
        .code(1)
        .says("division by zero")
        .says("what came before it in this file is kept");
    assert_eq!(progress(&scene)["batches"], 9);
    // Another text is another migration: not from the middle.
    file("update items set n = 5 where id between :lo and :hi;");
    scene
        .run(&["data"])
        .code(1)
        .says("was changed after 9 of its batches had taken effect")
        .says("repair --forget 2");
    scene.run(&["repair", "--forget", "2"]).code(0);
    // A batch that takes too long makes the next ones smaller.
    scene.file(
        "0002_count.sql",
        "-- windlass: phase data\n-- windlass: batch items.id size 1000 pause 0 target 1ms\n\
         update items set n = 5 where id between :lo and :hi and pg_sleep(0.0002) is not null;\n\
         -- windlass: verify\nselect id from items where n <> 5;\n",
    );
    scene.run(&["data", "--time-limit", "2s"]);
    let seen = progress(&scene);
    let done = db
        .number("select count(*) from windlass_migrations where version = 2")
        .await
        == 1;
    assert!(
        done || seen["keys"].as_i64().unwrap() / seen["batches"].as_i64().unwrap() < 500,
        "{seen}"
    );
    assert!(
        !done || db.number("select count(*) from items where n = 5").await == 3000,
        "recorded before its end"
    );
    scene.run(&["data", "--pause", "0"]).code(0);
    scene.run(&["verify"]).code(0);
    // What is undone below it takes its progress along.
    scene.file(
        "0003_more.sql",
        "create table more (x int);\n-- windlass: down\ndrop table more;",
    );
    scene.file("0004_count.sql", COUNTS);
    scene.run(&["up"]).code(0);
    scene.run(&["data", "--time-limit", "0"]).code(3);
    scene.run(&["down"]).code(0).says("0003_more.sql");
    assert_eq!(progress(&scene), Value::Null);
}

#[tokio::test]
async fn a_command_is_told_the_keys_and_dies_with_its_runner() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_items.sql", TABLE);
    scene.run(&["up"]).code(0);
    let mut db = Db::open(&scene.url).await;
    db.fill().await;
    let script = |text: &str| {
        std::fs::write(scene.dir.path().join("fill.sh"), text).unwrap();
    };
    scene.file(
        "0002_fill.sql",
        "-- windlass: phase data\n-- windlass: batch items.id size 1000 pause 0\n-- windlass: command sh ./fill.sh\n",
    );
    script("echo $WINDLASS_BATCH $WINDLASS_LO $WINDLASS_HI >> said; test $WINDLASS_BATCH != 2");
    scene.run(&["data"]).code(1).says("--allow-commands");
    scene
        .run(&["data", "--allow-commands"])
        .code(1)
        .says("the command of batch 2 (up to 6000) ended with code 1");
    // Killed while the command runs: the command is killed, too, and told the same keys again.
    script("echo $$ > pid; sleep 60; true");
    let runner = scene.spawn(&["data", "--allow-commands"]);
    let pid = scene.dir.path().join("pid");
    until("the command", async || {
        std::fs::read_to_string(&pid).is_ok_and(|t| t.ends_with('\n'))
    })
    .await;
    runner.signal(Signal::SIGKILL);
    runner.end();
    let pid: i32 = std::fs::read_to_string(&pid)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    until("the command's end", async || {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_err_or_zombie()
    })
    .await;
    script("echo $WINDLASS_BATCH $WINDLASS_LO $WINDLASS_HI >> said; test -n \"$DATABASE_URL\"");
    scene.run(&["data", "--allow-commands"]).code(0);
    let said = std::fs::read_to_string(scene.dir.path().join("said")).unwrap();
    assert_eq!(said, "1 3 3000\n2 3003 6000\n2 3003 6000\n3 6003 9000\n");
}
