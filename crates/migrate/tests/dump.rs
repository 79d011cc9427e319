//! Dumps of rich schemas on real databases: loaded into an empty database and dumped again they are
//! the same bytes; PostgreSQL's own pg_dump says so, too.

#![expect(clippy::unwrap_used, reason = "a test that can not go on fails here")]

use std::process::Command;

use sqlx::Connection as _;
use windlass_migrate::Database;
use windlass_migrate::dump::{self, Options};

#[path = "../../../tests/e2e/tests/migrate/servers.rs"]
#[expect(dead_code, reason = "shared with the tests of the command")]
mod servers;

use servers::{Mariadb, Postgres, for_the_server};

const POSTGRES: &str = include_str!("../../../tests/e2e/tests/migrate/schemas/postgres.sql");
const POSTGRES_ROWS: &str =
    include_str!("../../../tests/e2e/tests/migrate/schemas/postgres_rows.sql");
const MARIADB: &str = include_str!("../../../tests/e2e/tests/migrate/schemas/mariadb.sql");
const MARIADB_ROWS: &str =
    include_str!("../../../tests/e2e/tests/migrate/schemas/mariadb_rows.sql");
const SQLITE: &str = include_str!("../../../tests/e2e/tests/migrate/schemas/sqlite.sql");
const SQLITE_ROWS: &str = include_str!("../../../tests/e2e/tests/migrate/schemas/sqlite_rows.sql");

async fn load(database: &Database, text: &str) {
    dump::load(database, &mut text.as_bytes()).await.unwrap();
}

async fn dumped(database: &Database, rows: bool) -> (String, Vec<String>) {
    let options = Options {
        rows,
        ..Options::default()
    };
    let mut out = Vec::new();
    let left_out = dump::dump(database, &options, &mut out).await.unwrap();
    (String::from_utf8(out).unwrap(), left_out)
}

/// Fails with the first lines that differ.
#[track_caller]
fn same(one: &str, two: &str) {
    let differ = one.lines().zip(two.lines()).find(|(a, b)| a != b);
    assert_eq!(differ.map(|d| d.0), differ.map(|d| d.1));
    assert_eq!(one, two);
}

/// `rows` by `first` into `second`, and then both dumped.
async fn round(first: &Database, second: &Database, rows: bool) -> String {
    let (one, _) = dumped(first, rows).await;
    load(second, &one).await;
    let (two, _) = dumped(second, rows).await;
    same(&one, &two);
    one
}

impl Postgres {
    async fn database(&self, name: &str) -> Database {
        let mut conn = self.connect().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("create database {name}")))
            .execute(&mut conn)
            .await
            .unwrap();
        Database::parse(&self.named(name)).unwrap()
    }

    fn named(&self, name: &str) -> String {
        self.url.replace("/app", &format!("/{name}"))
    }

    /// What pg_dump, the other witness, says.
    fn pg_dump(&self, name: &str, what: &[&str]) -> String {
        let done = Command::new("pg_dump")
            .args(what)
            .arg(self.named(name))
            .output()
            .expect("pg_dump is missing: run `apt-get install postgresql-client`");
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        let text = String::from_utf8(done.stdout).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .map(|line| format!("{line}\n"))
            .collect()
    }
}

#[tokio::test]
async fn a_postgres_schema_comes_back_as_it_was() {
    let server = Postgres::start().await;
    let [first, second] = [server.database("one").await, server.database("two").await];
    load(&first, POSTGRES).await;
    let text = round(&first, &second, false).await;
    // pg_dump writes `x IN ('a')` of a varchar in another way once it was loaded. So its own copy is
    // what ours is compared with.
    server.database("witness").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), server.pg_dump("one", &["--no-owner"])).unwrap();
    let loaded = Command::new("psql")
        .args(["-q", "-v", "ON_ERROR_STOP=1", "-f"])
        .arg(file.path())
        .arg(server.named("witness"))
        .output()
        .expect("psql is missing: run `apt-get install postgresql-client`");
    assert!(
        loaded.status.success(),
        "{}",
        String::from_utf8_lossy(&loaded.stderr)
    );
    // Lines in order: that of objects comes partly from their numbers.
    let sorted = |name| {
        let mut lines: Vec<String> = server
            .pg_dump(name, &["--schema-only", "--no-owner"])
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines.join("\n")
    };
    same(&sorted("witness"), &sorted("two"));
    assert!(
        text.contains("ARRAY[('a'::character varying)::text"),
        "{text}"
    );
}

#[tokio::test]
async fn postgres_rows_come_back_as_they_were() {
    let server = Postgres::start().await;
    let [first, second, third] = [
        server.database("one").await,
        server.database("two").await,
        server.database("three").await,
    ];
    load(&first, POSTGRES).await;
    load(&first, POSTGRES_ROWS).await;
    round(&first, &second, true).await;
    let data = ["--data-only", "--inserts", "--column-inserts"];
    let sorted = |name| {
        let text = server.pg_dump(name, &data);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    same(&sorted("one"), &sorted("two"));
    let options = Options {
        rows: true,
        ..Options::default()
    };
    dump::copy(&first, &third, &options).await.unwrap();
    same(&dumped(&first, true).await.0, &dumped(&third, true).await.0);
    let sql = "select sum from shop.totals";
    let mut conn = sqlx::PgConnection::connect(&server.named("three"))
        .await
        .unwrap();
    let sum: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap();
    assert_eq!(sum, [45]);
    // A sequence goes on where it stood.
    let next: i64 = sqlx::query_scalar("select nextval('shop.numbers')")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(next, 25);
}

#[tokio::test]
async fn what_no_dump_has_is_named() {
    let server = Postgres::start().await;
    let database = server.database("one").await;
    load(
        &database,
        "create publication p; create text search configuration c (copy = simple); \
         create table t (a int); insert into t values (1), (1);",
    )
    .await;
    let mut conn = sqlx::PgConnection::connect(&server.named("one"))
        .await
        .unwrap();
    sqlx::raw_sql("create unique index concurrently broken on t (a)")
        .execute(&mut conn)
        .await
        .unwrap_err();
    let (_, left_out) = dumped(&database, false).await;
    assert_eq!(
        left_out,
        [
            "index public.broken: it is invalid (a CREATE INDEX CONCURRENTLY that failed?)",
            "publication p",
            "text search configuration public.c"
        ]
    );
}

#[tokio::test]
async fn a_mariadb_schema_and_its_rows_come_back_as_they_were() {
    let server = Mariadb::start().await;
    let named = |name: &str| server.url.replace("/app", &format!("/{name}"));
    let mut conn = server.connect().await;
    sqlx::raw_sql("create database two; create database three; create database four")
        .execute(&mut conn)
        .await
        .unwrap();
    let [one, two, three, four] =
        ["app", "two", "three", "four"].map(|name| Database::parse(&named(name)).unwrap());
    let schema = for_the_server(MARIADB);
    load(&one, &format!("set foreign_key_checks = 0;\n{schema}")).await;
    let text = round(&one, &two, false).await;
    assert!(!text.contains("AUTO_INCREMENT=5"), "{text}");
    assert!(!text.contains("DEFINER="), "{text}");
    // It would be loaded into another database and still use this one's sequence.
    assert!(!text.contains("`app`"), "{text}");
    let view = |name: &str| text.find(&format!("VIEW `{name}`")).unwrap();
    assert!(view("c_base") < view("b_middle") && view("b_middle") < view("a_top"));
    load(&one, MARIADB_ROWS).await;
    round(&one, &three, true).await;
    let options = Options {
        rows: true,
        ..Options::default()
    };
    dump::copy(&one, &four, &options).await.unwrap();
    same(&dumped(&one, true).await.0, &dumped(&four, true).await.0);
    // As the server shows them.
    for table in ["zwei", "select", "parts", "numbered", "logged"] {
        let mut sums = Vec::new();
        for database in ["app", "three"] {
            let sql = format!("select * from `{database}`.`{table}`");
            let rows = bytes(&mut conn, &sql).await;
            sums.push(rows);
        }
        assert_eq!(sums[0], sums[1], "{table}");
        assert!(!sums[0].is_empty());
    }
}

/// Each row's bytes.
async fn bytes(conn: &mut sqlx::MySqlConnection, sql: &str) -> Vec<Vec<Option<Vec<u8>>>> {
    use sqlx::Row as _;
    let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .fetch_all(conn)
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            (0..row.len())
                .map(|i| row.try_get_unchecked::<Option<Vec<u8>>, _>(i).unwrap())
                .collect()
        })
        .collect()
}

/// SQLite's own program, as the other witness.
fn sqlite3(file: &std::path::Path, what: &str) -> String {
    let done = Command::new("sqlite3")
        .arg(file)
        .arg(what)
        .output()
        .expect("sqlite3 is missing: run `apt-get install sqlite3`");
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test]
async fn an_sqlite_schema_and_its_rows_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let [one, two, three, four] = ["1", "2", "3", "4"]
        .map(|name| Database::parse(&format!("sqlite:{}", file(name).display())).unwrap());
    load(&one, SQLITE).await;
    round(&one, &two, false).await;
    load(&one, SQLITE_ROWS).await;
    let (text, left_out) = dumped(&one, true).await;
    assert_eq!(left_out, ["rows of the virtual table \"words\""]);
    assert!(text.contains("CAST(X'610062' AS TEXT)"), "{text}");
    round(&one, &three, true).await;
    let lines = |name: &str| {
        let text = sqlite3(&file(name), ".dump");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    };
    same(&lines("1"), &lines("3"));
    let options = Options {
        rows: true,
        ..Options::default()
    };
    dump::copy(&one, &four, &options).await.unwrap();
    same(&lines("1"), &lines("4"));
    // Rows that point nowhere leave nothing behind.
    let broken =
        "create table a (id integer primary key, b int references a); insert into a values (1, 7);";
    let five = Database::parse(&format!("sqlite:{}", file("5").display())).unwrap();
    let error = dump::load(&five, &mut broken.as_bytes()).await.unwrap_err();
    assert!(error.to_string().contains("point nowhere"), "{error}");
    assert_eq!(sqlite3(&file("5"), ".schema"), "");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_no_empty_database() {
    let database = Database::parse("sqlite:/nowhere/at-all.db").unwrap();
    let error = dump::schema(&database, &Options::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "there is no file /nowhere/at-all.db");
}
