//! sqlx's and refinery's users come to us. Their histories lie in `partners/histories`, as sqlx-cli and
//! refinery_cli left them (`partners/make-histories`). The ways back are judged by their own libraries, which
//! read the table, compare checksums and go on.

use std::path::{Path, PathBuf};

use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use refinery_core::{Migration, Runner, Target, load_sql_migrations};
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, SqliteConnection};
use windlass_migrate::{Database, load};

use crate::scene::Scene;
use crate::servers::Postgres;

#[derive(Debug, Clone, Copy)]
enum Tool {
    Sqlx,
    Refinery,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx",
            Self::Refinery => "refinery",
        }
    }

    /// A file's name, as the tool wants it.
    fn file(self, number: usize, name: &str) -> String {
        match self {
            Self::Sqlx => format!("2026010{number}000000_{name}.sql"),
            Self::Refinery => format!("V{number}__{name}.sql"),
        }
    }
}

/// sqlx's library on the scene.
async fn sqlx_run(scene: &Scene) {
    let files = Migrator::new(scene.dir.path().join("migrations"))
        .await
        .unwrap();
    match Conn::open(&scene.url).await {
        Conn::Postgres(mut conn) => files.run(&mut conn).await.unwrap(),
        Conn::Sqlite(mut conn) => files.run(&mut conn).await.unwrap(),
    }
}

/// refinery's library on the scene.
async fn refinery(scene: &Scene) {
    let dir = scene.dir.path().join("migrations");
    let mut conn = Conn::open(&scene.url).await;
    let files: Vec<Migration> = load_sql_migrations(dir).unwrap();
    let runner = Runner::new(&files)
        .set_abort_divergent(true)
        .set_abort_missing(true)
        .set_target(Target::Latest);
    runner.run_async(&mut conn).await.unwrap();
}

/// A connection on which refinery's library works, too.
enum Conn {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

impl Conn {
    async fn open(url: &str) -> Self {
        if url.starts_with("postgres") {
            Self::Postgres(PgConnection::connect(url).await.unwrap())
        } else {
            Self::Sqlite(SqliteConnection::connect(url).await.unwrap())
        }
    }

    async fn run(&mut self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Postgres(conn) => sql.execute(conn).await.map(|_| ()),
            Self::Sqlite(conn) => sql.execute(conn).await.map(|_| ()),
        }
    }

    async fn number(&mut self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        let found = match self {
            Self::Postgres(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
            Self::Sqlite(conn) => sqlx::query_scalar(sql).fetch_one(conn).await,
        };
        found.unwrap()
    }
}

impl AsyncTransaction for Conn {
    type Error = sqlx::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, sqlx::Error> {
        let mut count = 0;
        self.run("begin").await?;
        for sql in queries {
            self.run(sql).await?;
            count += 1;
        }
        self.run("commit").await?;
        Ok(count)
    }
}

/// What refinery asks of a row of its history. When it was applied, it does not compare.
macro_rules! migration {
    ($row:expr) => {
        Migration::applied(
            $row.try_get::<i32, _>(0)?,
            $row.try_get(1)?,
            time::OffsetDateTime::UNIX_EPOCH,
            $row.try_get::<String, _>(3)?.parse().unwrap(),
        )
    };
}

impl AsyncQuery<Vec<Migration>> for Conn {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, sqlx::Error> {
        let sql = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        let mut found = Vec::new();
        match self {
            Self::Postgres(conn) => {
                for row in sql.fetch_all(conn).await? {
                    found.push(migration!(row));
                }
            }
            Self::Sqlite(conn) => {
                for row in sql.fetch_all(conn).await? {
                    found.push(migration!(row));
                }
            }
        }
        Ok(found)
    }
}

impl AsyncMigrate for Conn {}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let to = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &to);
        } else {
            std::fs::copy(file.path(), to).unwrap();
        }
    }
}

/// The database and the folder as the tool of this name left them.
pub(crate) async fn taken_over(tool: &str, url: &str) -> Scene {
    let scene = Scene::new(url);
    let there: PathBuf =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/partners/histories")).join(tool);
    copy(
        &there.join("migrations"),
        &scene.dir.path().join("migrations"),
    );
    let dump = if url.starts_with("postgres") {
        "postgres.sql"
    } else {
        "sqlite.sql"
    };
    let database = Database::parse(url).unwrap();
    load::load(&database, &there.join(dump)).await.unwrap();
    scene
}

async fn to_us_and_on(tool: Tool, url: &str) {
    let scene = taken_over(tool.name(), url).await;
    // To us: all that they applied is applied, and only ours is not.
    let taken = scene.run(&["baseline", "--from", tool.name()]).code(0);
    for (number, name) in [(1, "users"), (2, "orders"), (3, "email")] {
        let file = tool.file(number, name);
        assert!(
            taken.out.contains(&format!("{file} counts as applied")),
            "{taken:?}"
        );
    }
    scene.run(&["status", "--check"]).code(0);
    scene.run(&["up"]).code(0).says("nothing to do");
    let ours = tool.file(4, "ours");
    scene.file(
        &ours,
        "create table ours (id bigint not null primary key);\n",
    );
    scene.run(&["status", "--check"]).code(3);
    let up = scene.run(&["up"]).code(0);
    assert!(
        up.out.contains(&format!("applied {ours}")) && up.out.matches("applied ").count() == 1,
        "{up:?}"
    );
    scene.run(&["verify"]).code(0);
    let mut conn = Conn::open(url).await;
    // Also rows with a semicolon came over, once.
    let rows = "select count(*) from users where name like '%;%'";
    assert_eq!(conn.number(rows).await, 1);
    // And back: their library finds its own checksums, runs what is new, and nothing twice.
    scene
        .run(&["baseline", "--into", tool.name()])
        .code(0)
        .says(&format!("{ours} counts as applied there"));
    let theirs = tool.file(5, "theirs");
    scene.file(
        &theirs,
        "create table theirs (id bigint not null primary key);\n",
    );
    match tool {
        Tool::Refinery => refinery(&scene).await,
        Tool::Sqlx => sqlx_run(&scene).await,
    }
    assert_eq!(conn.number("select count(*) from theirs").await, 0);
    // And to us again.
    scene
        .run(&["baseline", "--from", tool.name()])
        .code(0)
        .says(&format!("{theirs} counts as applied"));
    scene.run(&["up"]).code(0).says("nothing to do");
    // Beside each other: what we apply, they know.
    let last = tool.file(6, "last");
    scene.file(
        &last,
        "create table last (id bigint not null primary key);\n",
    );
    scene
        .run(&["up", "--beside", tool.name()])
        .code(0)
        .says(&format!("applied {last}"));
    match tool {
        Tool::Refinery => refinery(&scene).await,
        Tool::Sqlx => sqlx_run(&scene).await,
    }
}

#[tokio::test]
async fn sqlx_to_us_and_back_on_postgres() {
    to_us_and_on(Tool::Sqlx, &Postgres::start().await.url).await;
}

#[tokio::test]
async fn refinery_to_us_and_back_on_postgres() {
    to_us_and_on(Tool::Refinery, &Postgres::start().await.url).await;
}

#[tokio::test]
async fn sqlx_to_us_and_back_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    to_us_and_on(Tool::Sqlx, &url).await;
}

#[tokio::test]
async fn refinery_to_us_and_back_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", dir.path().join("app.db").display());
    to_us_and_on(Tool::Refinery, &url).await;
}
