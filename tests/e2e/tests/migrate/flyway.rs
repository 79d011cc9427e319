//! Flyway's users come to us. `partners/histories/flyway` has a folder, and what Flyway itself made of
//! it (`partners/make-histories`). Its program is in none of our registries: what it would say of our rows
//! is told by its own, for the same files, with a byte order mark and Windows' line ends among them.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::partners_rust::taken_over;
use crate::scene::Scene;
use crate::servers::Postgres;

const FILES: [&str; 5] = [
    "V1__users.sql",
    "V2__orders.sql",
    "V3__email.sql",
    "V4__notes_of_users.sql",
    "V20260105__last.sql",
];

/// When, by whom and how long it took is everybody's own.
const ROWS: &str = "select cast(installed_rank as varchar) || '|' || version || '|' || description || '|' || \
    type || '|' || script || '|' || cast(checksum as varchar) || '|' || cast(success as varchar) \
    from flyway_schema_history order by installed_rank";

async fn texts(url: &str, sql: &str) -> Vec<String> {
    let sql = AssertSqlSafe(sql.to_owned());
    let texts = if url.starts_with("postgres") {
        let mut conn = PgConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_all(&mut conn).await
    } else {
        let mut conn = SqliteConnection::connect(url).await.unwrap();
        sqlx::query_scalar(sql).fetch_all(&mut conn).await
    };
    texts.unwrap()
}

/// What the history's table and its indexes are made of.
fn shape(url: &str) -> &'static str {
    if url.starts_with("postgres") {
        "select concat_ws('|', column_name, data_type, character_maximum_length, is_nullable, column_default) \
         from information_schema.columns where table_name = 'flyway_schema_history' \
         union all select indexdef from pg_indexes where tablename = 'flyway_schema_history' order by 1"
    } else {
        "select name || '|' || upper(type) || '|' || \"notnull\" || '|' || pk || '|' || coalesce(dflt_value, '') \
         from pragma_table_info('flyway_schema_history') \
         union all select name from pragma_index_list('flyway_schema_history') order by 1"
    }
}

/// `theirs` and `ours` are empty databases.
async fn to_us_and_beside(theirs: &str, ours: &str) {
    let scene = taken_over("flyway", theirs).await;
    let made = texts(theirs, ROWS).await;
    assert_eq!(made.len(), FILES.len());

    // To us: what it applied is applied, and its checksums are those of the files.
    let taken = scene.run(&["up", "--beside", "flyway"]).code(0);
    for file in FILES {
        assert!(
            taken
                .out
                .contains(&format!("{file} was applied by the other tool")),
            "{taken:?}"
        );
    }
    assert!(!taken.out.contains("applied V"), "{taken:?}");
    scene.run(&["status", "--check"]).code(0);
    scene.run(&["verify"]).code(0);
    assert_eq!(texts(theirs, ROWS).await, made, "its rows are as they were");

    // And on, beside it.
    scene.file(
        "V20260106__more.sql",
        "create table more (id bigint not null primary key);\n",
    );
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("applied V20260106__more.sql");
    let rows = texts(theirs, ROWS).await;
    assert_eq!(rows[..5], made);
    assert!(
        rows[5].starts_with("6|20260106|more|SQL|V20260106__more.sql|"),
        "{rows:?}"
    );

    // From nothing: the table and the rows are those that it makes.
    let scene = Scene {
        url: ours.to_owned(),
        ..scene
    };
    std::fs::remove_file(scene.dir.path().join("migrations/V20260106__more.sql")).unwrap();
    scene.run(&["up", "--beside", "flyway"]).code(0);
    assert_eq!(texts(ours, ROWS).await, made);
    assert_eq!(
        texts(ours, shape(ours)).await,
        texts(theirs, shape(theirs)).await
    );
}

#[tokio::test]
async fn flyway_to_us_and_beside_on_postgres() {
    let (theirs, ours) = tokio::join!(Postgres::start(), Postgres::start());
    to_us_and_beside(&theirs.url, &ours.url).await;
}

#[tokio::test]
async fn flyway_to_us_and_beside_on_sqlite() {
    let dir = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("sqlite:{}", dir.path().join(name).display());
    to_us_and_beside(&url("theirs.db"), &url("ours.db")).await;
}
