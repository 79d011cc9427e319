//! Dump, diff and drift by the command.

use crate::scene::Scene;
use crate::servers::{Mariadb, Postgres, for_the_server};

const SQLITE: &str = include_str!("schemas/sqlite.sql");

#[test]
fn a_dump_is_a_migration_that_builds_the_same() {
    let scene = Scene::sqlite();
    scene.file("0001_first.sql", SQLITE);
    scene.run(&["up"]).code(0);
    let text = scene.run(&["dump"]).code(0).out;
    assert!(!text.contains("windlass_migrations"), "{text}");
    let other = Scene::sqlite();
    other.file("0001_squashed.sql", &text);
    other.run(&["up"]).code(0);
    assert_eq!(other.run(&["dump"]).code(0).out, text);
    let json = other.run(&["dump", "--json"]).code(0).json();
    assert_eq!(json["dialect"], "sqlite");
    assert_eq!(json["objects"][0]["kind"], "table");
    // Into a file: complete, or not at all.
    other.run(&["dump", "-o", "schema.sql"]).code(0);
    let file = other.dir.path().join("schema.sql");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    let nowhere = format!("sqlite:{}/none.db", other.dir.path().display());
    other
        .run(&["dump", "--url", &nowhere, "-o", "schema.sql"])
        .code(1)
        .says("there is no file");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn folders_files_and_databases_are_compared() {
    let scene = Scene::sqlite();
    scene.file(
        "0001_a.sql",
        "create table a (id integer primary key, b text);",
    );
    scene.run(&["up"]).code(0);
    scene.run(&["dump", "-o", "schema.sql"]).code(0);
    // The same, written by another hand.
    let by_hand = "CREATE TABLE \"a\" (\n  \"ID\" INTEGER PRIMARY KEY, -- the key\n  b TEXT\n);\n";
    std::fs::write(scene.dir.path().join("other.sql"), by_hand).unwrap();
    for (one, two) in [
        ("migrations", "app.db"),
        ("schema.sql", "migrations"),
        ("app.db", "other.sql"),
        ("migrations", scene.url.as_str()),
    ] {
        scene
            .run(&["diff", one, two])
            .code(0)
            .says("the same schema");
    }
    scene.file(
        "0002_b.sql",
        "alter table a add column c int; create table b (x int); create index i on a (b);\n\
         create view v as select 1;",
    );
    let ran = scene
        .run(&["diff", "migrations", "app.db", "--sql"])
        .code(6);
    for line in [
        "table \"a\": column c: only in the first",
        "table \"b\": only in the first",
        "index \"i\" on \"a\": only in the first",
        "ALTER TABLE \"a\" ADD COLUMN c int;",
        "CREATE TABLE b (x int);",
    ] {
        assert!(ran.out.lines().any(|l| l == line), "{line:?}: {ran:#?}");
    }
    // What is offered, run, leaves no difference.
    let sql: Vec<&str> = ran
        .out
        .lines()
        .filter(|l| l.starts_with("ALTER ") || l.starts_with("CREATE ") || l.starts_with("create "))
        .collect();
    scene.file("0002_b.sql", &sql.join("\n"));
    scene.run(&["up"]).code(0);
    scene.run(&["diff", "migrations", "app.db"]).code(0);
    let json = scene
        .run(&["diff", "schema.sql", "app.db", "--json"])
        .code(6)
        .json();
    assert_eq!(json["equal"], false);
    let table = &json["differences"][0];
    assert_eq!(
        (&table["kind"], &table["how"]),
        (&"table".into(), &"changed".into())
    );
    assert_eq!(table["changes"][0]["what"], "column c");
    assert_eq!(table["changes"][0]["second"], "c int");
    // What can't be: said, with another code.
    scene
        .run(&["diff", "nowhere", "app.db"])
        .code(1)
        .says("no folder, no file");
    scene
        .run_with(
            &["diff", "schema.sql", "migrations"],
            &[("DATABASE_URL", "")],
        )
        .code(1);
}

#[tokio::test]
async fn each_change_by_hand_is_named_on_postgres() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("0001_first.sql", include_str!("schemas/postgres.sql"));
    scene.file(
        "0002_contract.sql",
        "-- windlass: phase contract\n-- windlass: requires-release 2.0\ndrop table shop.nothing;",
    );
    scene.run(&["up", "--to", "1"]).code(0);
    // What is pending, or waits, is no drift.
    scene.run(&["drift"]).code(0).says("no drift");
    let mut conn = server.connect().await;
    sqlx::raw_sql(
        "alter table shop.customers add column hand int;
         alter table shop.\"Order\" alter column \"from\" type varchar(3);
         drop index shop.tags_gin;
         create index by_hand on shop.orders (room);
         alter table shop.orders drop constraint positive;
         alter table shop.notes add constraint n check (event > 0);
         create or replace function shop.twice(a integer) returns integer language sql immutable strict
           parallel safe as $$ SELECT a * 3; $$;
         alter type shop.state add value 'more';
         drop trigger checked on shop.orders;
         alter table shop.customers enable trigger \"stamp it\";
         drop policy own on shop.customers;
         alter table shop.\"Order\" set logged;
         comment on table shop.customers is 'other';
         create view shop.hand as select 1 as one;
         alter sequence shop.numbers increment by 7",
    )
    .execute(&mut conn)
    .await
    .unwrap();
    let ran = scene.run(&["drift", "--sql"]).code(6);
    for words in [
        "table shop.\"Order\": column \"from\" differs",
        "    the database: character varying(3)",
        "table shop.customers: column hand: only in the database",
        "table shop.customers: comment differs",
        "index shop.tags_gin: only in the migrations",
        "index shop.by_hand: only in the database",
        "table shop.orders: check positive: only in the migrations",
        "table shop.notes: check n: only in the database",
        "function shop.twice(a integer): definition differs",
        "    + AS $function$ SELECT a * 3; $function$",
        "type shop.state: definition differs",
        "trigger checked on shop.orders: only in the migrations",
        "trigger \"stamp it\" on shop.customers: state: only in the migrations",
        "policy own on shop.customers: only in the migrations",
        "table shop.\"Order\": options differs",
        "view shop.hand: only in the database",
        "    the database: nothing",
        "sequence shop.numbers: definition differs",
        "CREATE INDEX tags_gin ON shop.customers USING gin (tags) WITH (fastupdate=off);",
    ] {
        assert!(ran.out.contains(words), "{words:?}: {ran:#?}");
    }
    let json = scene.run(&["drift", "--json"]).code(6).json();
    assert_eq!(
        json["differences"].as_array().unwrap().len(),
        13,
        "{json:#}"
    );
    assert!(!ran.out.contains("not compared"), "{ran:#?}");
    // Nothing stays behind on the server.
    let left: Vec<String> =
        sqlx::query_scalar("select datname::text from pg_database where datname like 'windlass%'")
            .fetch_all(&mut conn)
            .await
            .unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn each_change_by_hand_is_named_on_mariadb() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    let first = format!(
        "set foreign_key_checks = 0;\n{}",
        for_the_server(include_str!("schemas/mariadb.sql"))
    );
    scene.file("0001_first.sql", &first);
    scene.run(&["up"]).code(0);
    scene.run(&["drift"]).code(0).says("no drift");
    let mut conn = server.connect().await;
    for sql in [
        "alter table zwei add column hand int, comment 'by hand'",
        "alter table `select` drop key backwards, modify bits bit(6)",
        "drop trigger a_second",
        "create or replace view b_middle as select 1 as t, 2 as n",
        "drop function twice",
        "create function twice(a int) returns int deterministic return a * 3",
        "drop event cleaning",
        "alter database character set utf8mb4",
    ] {
        sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    }
    let ran = scene.run(&["drift", "--sql"]).code(6);
    for words in [
        "table `zwei`: column `hand`: only in the database",
        "table `zwei`: options differs",
        "table `select`: column `bits` differs",
        "table `select`: key `backwards`: only in the migrations",
        "trigger `a_second` on `zwei`: only in the migrations",
        "view `b_middle`: definition differs",
        "function `twice`: definition differs",
        "event `cleaning`: only in the migrations",
    ] {
        assert!(ran.out.contains(words), "{words:?}: {ran:#?}");
    }
    let left: Vec<String> = sqlx::query_scalar(
        "select schema_name from information_schema.schemata where schema_name like 'windlass%'",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn drift_says_when_nobody_can_know() {
    let scene = Scene::sqlite();
    scene
        .file("0001_a.sql", "create table a (b int);")
        .file("0002_b.sql", "create table b (c int);");
    scene.run(&["up", "--to", "1"]).code(0);
    scene.run(&["drift"]).code(0).says("up to 1");
    scene.file("0001_a.sql", "create table a (b int, c int);");
    scene.run(&["drift"]).code(6).says("was changed after");
    std::fs::remove_file(scene.dir.path().join("migrations/0001_a.sql")).unwrap();
    scene.run(&["drift"]).code(6).says("does not have it");
    let empty = Scene::sqlite();
    empty.file("0001_a.sql", "create table a (b int);");
    empty
        .run(&["drift"])
        .code(1)
        .says("nothing to compare with");
}

/// Another migrator: SQL by hand, under our lock, with the schema kept in mind.
async fn another_migrator(scene: &Scene, psql: &[&str], by_hand: impl AsyncFnOnce()) {
    let run = |accept: bool, sql: &str| {
        let mut args = vec!["run", "--drift"];
        if accept {
            args.push("--accept-drift");
        }
        args.push("--");
        args.extend(psql);
        args.push(sql);
        scene.run(&args)
    };
    scene.run(&["drift", "--recorded"]).code(6).says("--record");
    run(false, "create table a (id int)")
        .code(0)
        .says("no schema is recorded yet");
    scene
        .run(&["drift", "--recorded"])
        .code(0)
        .says("no drift since");
    run(false, "create table b (id int)").code(0);
    // A command that fails records nothing.
    let failed = run(false, "create table b (id int)");
    assert_ne!(failed.code, 0);
    scene.run(&["drift", "--recorded"]).code(0);
    by_hand().await;
    scene
        .run(&["drift", "--recorded"])
        .code(6)
        .says("column hand")
        .says("only in the database");
    run(false, "create table c (id int)")
        .code(6)
        .says("column hand")
        .says("--accept-drift");
    assert!(!scene.run(&["dump"]).code(0).out.contains("TABLE c"));
    run(true, "create table c (id int)")
        .code(0)
        .says("column hand");
    scene.run(&["drift", "--recorded"]).code(0);
    let dump = scene.run(&["dump"]).code(0).out;
    assert!(
        dump.contains("hand") && !dump.contains("windlass_"),
        "{dump}"
    );
}

#[tokio::test]
async fn another_migrators_schema_is_watched() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let psql = ["psql", "-q", "-v", "ON_ERROR_STOP=1", &server.url, "-c"];
    another_migrator(&scene, &psql, async || {
        let mut conn = server.connect().await;
        sqlx::raw_sql("alter table a add column hand int")
            .execute(&mut conn)
            .await
            .unwrap();
    })
    .await;
    let scene = Scene::sqlite();
    let file = scene.url.replace("sqlite:", "");
    another_migrator(&scene, &["sqlite3", &file], async || {
        let done = std::process::Command::new("sqlite3")
            .args([&file, "alter table a add column hand int"])
            .status()
            .unwrap();
        assert!(done.success());
    })
    .await;
}

const USERS: &str = "create table users (id integer primary key, name text not null, mail text);";

/// Three releases, each with its rows.
fn releases(scene: &Scene) {
    let fixtures = scene.dir.path().join("migrations/fixtures");
    std::fs::create_dir(&fixtures).unwrap();
    let fixture = |name: &str, sql: &str| std::fs::write(fixtures.join(name), sql).unwrap();
    scene
        .file("0001_users.sql", USERS)
        .file(
            "0002_lower.sql",
            "alter table users add column lower_mail text;\n-- windlass: verify\n\
             select id from users where lower_mail <> lower(lower_mail);",
        )
        .file(
            "0003_fill.sql",
            "-- windlass: phase data\n-- windlass: batch users.id\n\
             update users set lower_mail = lower(mail) where id between :lo and :hi;",
        )
        .file(
            "0004_drop.sql",
            "-- windlass: phase contract\n-- windlass: requires-data 3\n\
             alter table users drop column mail;\n-- windlass: verify\n\
             select id from users where lower_mail is null;",
        );
    fixture(
        "0001_release_1.0.sql",
        "insert into users (id, name, mail) values (1, 'a', 'A@x'), (2, 'b', 'b@x');",
    );
    fixture(
        "0003_release_1.1.sql",
        "insert into users (id, name, mail, lower_mail) values (5, 'c', 'C@x', 'c@x');",
    );
}

async fn each_release_is_upgraded(scene: &Scene) {
    releases(scene);
    let json = scene
        .run(&["verify", "--upgrades", "--json"])
        .code(0)
        .json();
    assert_eq!(json["good"], true, "{json:#}");
    assert_eq!(json["newest"], 4);
    assert_eq!(json["upgrades"].as_array().unwrap().len(), 2);
    // A row that the newest schema does not take.
    let fixtures = scene.dir.path().join("migrations/fixtures");
    let third = fixtures.join("0001_without_mail.sql");
    std::fs::write(&third, "insert into users (id, name) values (1, 'a');").unwrap();
    scene
        .run(&["verify", "--upgrades"])
        .code(6)
        .says("from 1 (0001_without_mail.sql): ")
        .says("0004_drop.sql");
    std::fs::remove_file(&third).unwrap();
    // A fixture that does not fit its own schema, and one of no release.
    std::fs::write(&third, "insert into nothing values (1);").unwrap();
    scene
        .run(&["verify", "--upgrades"])
        .code(6)
        .says("0001_without_mail.sql");
    std::fs::rename(&third, fixtures.join("0009_none.sql")).unwrap();
    scene
        .run(&["verify", "--upgrades"])
        .code(1)
        .says("the number of the newest migration");
    std::fs::remove_file(fixtures.join("0009_none.sql")).unwrap();
}

#[tokio::test]
async fn upgrades_of_data_are_checked() {
    let server = Postgres::start().await;
    each_release_is_upgraded(&Scene::new(&server.url)).await;
    let server = Mariadb::start().await;
    each_release_is_upgraded(&Scene::new(&server.url)).await;
    let scene = Scene::sqlite();
    each_release_is_upgraded(&scene).await;
    // Rows that vanish are said.
    scene.file("0005_clean.sql", "delete from users where id = 1;");
    scene
        .run(&["verify", "--upgrades"])
        .code(0)
        .says("note: from 1 (0001_release_1.0.sql): \"users\" has 1 row(s), and had 2");
    let empty = Scene::sqlite();
    empty.file("0001_users.sql", USERS);
    empty
        .run(&["verify", "--upgrades"])
        .code(1)
        .says("there are no fixtures");
}

#[test]
fn an_upgrade_that_ends_in_another_schema_is_found() {
    let scene = Scene::sqlite();
    releases(&scene);
    // What depends on rows: there is another schema where there were some.
    scene.file(
        "0005_odd.sql",
        "create table odd as select id from users where id = 1;\n\
         drop table odd; create table if not exists extra (a int);",
    );
    let fixture = scene.dir.path().join("migrations/fixtures/0001_hand.sql");
    std::fs::write(&fixture, "create table extra (b int);").unwrap();
    scene
        .run(&["verify", "--upgrades"])
        .code(6)
        .says("from 1 (0001_hand.sql): the schema is not a fresh install's")
        .says("column a: only in a fresh install");
}
