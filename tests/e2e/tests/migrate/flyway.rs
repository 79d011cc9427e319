//! Flyway's users come to us. `partners/histories/flyway` has a folder, and what Flyway itself made of
//! it (`partners/make-histories`). Its program is in none of our registries: what it would say of our rows
//! is told by its own, for the same files, with a byte order mark and Windows' line ends among them.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

use crate::partners_rust::taken_over;
use crate::scene::Scene;
use crate::servers::Postgres;

/// In the order in which it ran them.
const FILES: [&str; 9] = [
    "V1__users.sql",
    "V2__orders.sql",
    "V3__email.sql",
    "V4__notes_of_users.sql",
    "V4.1__kinds_of_notes.sql",
    "more/V4_10__marks.sql",
    "V20260105__last.sql",
    "more/R__a_list.sql",
    "R__titles.sql",
];

/// When, by whom and how long it took is everybody's own.
const ROWS: &str = "select cast(installed_rank as varchar) || '|' || coalesce(version, '') || '|' || description || '|' || \
    type || '|' || script || '|' || coalesce(cast(checksum as varchar), '') || '|' || cast(success as varchar) \
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
    let mut scene = taken_over("flyway", theirs).await;
    // As make-histories gave it to Flyway.
    scene.env = vec![("FLYWAY_PLACEHOLDERS_KIND", "plain".to_owned())];
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
    assert!(
        !taken.out.contains("applied V") && !taken.out.contains("applied R"),
        "{taken:?}"
    );
    scene.run(&["status", "--check"]).code(0);
    scene.run(&["verify"]).code(0);
    assert_eq!(texts(theirs, ROWS).await, made, "its rows are as they were");

    // And on, beside it.
    scene.file(
        "V20260106__more.sql",
        "create table more (id bigint not null primary key);\n",
    );
    let list = scene.dir.path().join("migrations/more/R__a_list.sql");
    let first_list = std::fs::read_to_string(&list).unwrap();
    std::fs::write(&list, first_list.replace("text from", "id, text from")).unwrap();
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("applied V20260106__more.sql")
        .says("applied more/R__a_list.sql");
    let rows = texts(theirs, ROWS).await;
    assert_eq!(rows[..9], made);
    assert!(
        rows[9].starts_with("10|20260106|more|SQL|V20260106__more.sql|")
            && rows[10].starts_with("11||a list|SQL|more/R__a_list.sql|"),
        "{rows:?}"
    );
    // Another value is another text of what repeats, there and here, and the same file of what does not.
    scene.env[0].1 = "fancy".to_owned();
    let again = scene.run(&["up", "--beside", "flyway"]).code(0);
    assert!(
        again.out.contains("applied R__titles.sql") && again.out.matches("applied ").count() == 1,
        "{again:?}"
    );
    let rows = texts(theirs, ROWS).await;
    assert!(
        rows[11].starts_with("12||titles|SQL|R__titles.sql|"),
        "{rows:?}"
    );
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("nothing to do");
    scene.env[0].1 = "plain".to_owned();
    std::fs::write(&list, first_list).unwrap();

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

/// What else its history says: a baseline, what was taken out by its `repair`, what was undone, a view whose file is
/// of another text. Rows as DbRepair, BaselineMigrationInfo and the documentation of its table have them.
#[tokio::test]
async fn rows_of_flyway_that_are_no_applied_files() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let create = |table: &str| format!("create table {table} (a int);\n");
    for (name, table) in [
        ("V1__a.sql", "a"),
        ("V1.5__b.sql", "b"),
        ("V2__c.sql", "c"),
        ("V3__d.sql", "d"),
        ("V4__e.sql", "e"),
    ] {
        scene.file(name, &create(table));
    }
    scene.file("R__v.sql", "create or replace view v as select 1 as one;\n");
    scene.file("R__w.sql", "create or replace view w as select 1 as one;\n");
    let crc = |text: &str| crc32fast::hash(text.trim_end().as_bytes()).cast_signed();
    let mut conn = server.connect().await;
    let mut sql = String::from(
        "create table flyway_schema_history (installed_rank int not null, version varchar(50), \
         description varchar(200) not null, type varchar(20) not null, script varchar(1000) not null, \
         checksum int, installed_by varchar(100) not null, installed_on timestamp not null default now(), \
         execution_time int not null, success boolean not null, \
         constraint flyway_schema_history_pk primary key (installed_rank));\
         create index flyway_schema_history_s_idx on flyway_schema_history (success);",
    );
    for (rank, (version, words, kind, sum)) in [
        (
            "'1.9'",
            "<< Flyway Baseline >>",
            "BASELINE",
            "null".to_owned(),
        ),
        ("'2'", "c", "SQL", crc(&create("c")).to_string()),
        ("'3'", "d", "SQL", crc(&create("d")).to_string()),
        ("'3'", "d", "DELETE", crc(&create("d")).to_string()),
        ("'4'", "e", "SQL", crc(&create("e")).to_string()),
        ("'4'", "e", "UNDO_SQL", "7".to_owned()),
        ("null", "v", "SQL", "7".to_owned()),
        (
            "null",
            "w",
            "SQL",
            crc("create or replace view w as select 1 as one;").to_string(),
        ),
        ("null", "gone", "SQL", "7".to_owned()),
        ("null", "gone", "DELETE", "null".to_owned()),
        ("null", "left over", "SQL", "7".to_owned()),
        ("'2.1'", "java", "JDBC", "null".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        sql.push_str(&format!(
            "insert into flyway_schema_history (installed_rank, version, description, type, script, checksum, \
             installed_by, execution_time, success) values ({}, {version}, '{words}', '{kind}', 'x', {sum}, \
             'me', 1, true);",
            rank + 1
        ));
    }
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut conn)
        .await
        .unwrap();
    let taken = scene.run(&["baseline", "--from", "flyway"]).code(0);
    for (file, is_taken) in [
        ("V1__a.sql", true),
        ("V1.5__b.sql", true),
        ("V2__c.sql", true),
        ("V3__d.sql", false),
        ("V4__e.sql", false),
        ("R__v.sql", false),
        ("R__w.sql", true),
    ] {
        let words = format!("{file} counts as applied");
        assert_eq!(taken.out.contains(&words), is_taken, "{file}: {taken:?}");
    }
    for unknown in ["2.1", "R__left_over"] {
        let words = format!("{unknown} is applied there, and not in this folder");
        assert!(taken.out.contains(&words), "{unknown}: {taken:?}");
    }
    assert!(!taken.out.contains("gone"), "{taken:?}");
    // And on beside it: what it took out or undid is applied, and the view has the file's text.
    let up = scene.run(&["up", "--beside", "flyway"]).code(0);
    assert_eq!(up.out.matches("applied ").count(), 3, "{up:?}");
    let rows = texts(&server.url, ROWS).await;
    assert!(
        rows[12].starts_with("13|3|d|SQL|V3__d.sql|")
            && rows[13].starts_with("14|4|e|SQL|V4__e.sql|")
            && rows[14].starts_with("15||v|SQL|R__v.sql|"),
        "{rows:?}"
    );
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("nothing to do");
}

/// Rows as Flyway 9.22.3 wrote them for the same files.
#[tokio::test]
async fn an_empty_database_begins_with_a_baseline_of_flyway() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    for (name, text) in [
        ("V1__a.sql", "create table a (x int);\n"),
        ("V1.5__b.sql", "create table b (x int);\n"),
        ("V2__c.sql", "create table c (x int);\n"),
        (
            "B1.5__all_of_it.sql",
            "create table a (x int);\ncreate table b (x int);\n",
        ),
    ] {
        scene.file(name, text);
    }
    let up = scene.run(&["up", "--beside", "flyway"]).code(0);
    assert_eq!(up.out.matches("applied ").count(), 2, "{up:?}");
    let rows = [
        "1|1.5|all of it|SQL_BASELINE|B1.5__all_of_it.sql|1822964935|true",
        "2|2|c|SQL|V2__c.sql|1119029415|true",
    ];
    assert_eq!(texts(&server.url, ROWS).await, rows);
    scene
        .run(&["up", "--beside", "flyway"])
        .code(0)
        .says("nothing to do");
    // And from them.
    let theirs = Scene {
        dir: scene.dir,
        ..Scene::new(&server.url)
    };
    let mut conn = server.connect().await;
    sqlx::raw_sql("delete from windlass_migrations")
        .execute(&mut conn)
        .await
        .unwrap();
    let taken = theirs.run(&["up", "--beside", "flyway"]).code(0);
    assert_eq!(
        taken.out.matches("was applied by the other tool").count(),
        3,
        "{taken:?}"
    );
    assert_eq!(texts(&server.url, ROWS).await, rows);
    theirs.run(&["status", "--check"]).code(0);
}
