//! What files do to databases: up, down, status, plan, verify, baseline, repair.

use sqlx::{Connection as _, SqliteConnection};

use crate::scene::Scene;
use crate::servers::{Mariadb, Postgres};

/// The same life of a folder, on each kind of database.
fn a_life(scene: &Scene) {
    scene
        .file("0001_users.sql", "create table users (id int primary key, name varchar(20));\n-- windlass: down\ndrop table users;")
        .file("0002_rows.sql", "insert into users values (1, 'a;b'), (2, '');\n-- windlass: down\ndelete from users;\n\
             -- windlass: verify\nselect id from users where name is null");
    scene.run(&["status", "--check"]).code(3).says("pending");
    scene.run(&["plan"]).code(0).says("0001_users.sql (expand");
    let done = scene.run(&["up", "--json"]).code(0).json();
    assert_eq!(done["done"][1]["file"], "0002_rows.sql");
    scene.run(&["up"]).code(0).says("nothing to do");
    scene.run(&["status", "--check"]).code(0).says("applied");
    scene.run(&["verify"]).code(0);

    // A change is found; its words may be taken as they are.
    scene.file("0001_users.sql", "create table users (id int primary key, name varchar(20)); -- more\n-- windlass: down\ndrop table users;");
    scene
        .run(&["up"])
        .code(6)
        .says("was changed after it was applied");
    scene.run(&["verify", "--json"]).code(6);
    scene
        .run(&["repair", "--checksums"])
        .code(0)
        .says("0001_users.sql");
    scene.run(&["up"]).code(0);

    // A failing file leaves nothing, and says where.
    scene.file(
        "0003_bad.sql",
        "insert into users values (3, 'c');\n\ninsert into nothing values (1);",
    );
    scene.run(&["up"]).code(1).says("0003_bad.sql, line 3");
    let status = scene.run(&["status", "--json"]).json();
    assert_eq!(status["applied"].as_array().unwrap().len(), 2);

    // A check that finds rows stops the file that it stands in.
    scene.file("0003_bad.sql", "insert into users values (4, null);\n-- windlass: verify\nselect id, name from users where name is null");
    scene.run(&["up"]).code(6).says("4 | NULL");
    std::fs::remove_file(scene.dir.path().join("migrations/0003_bad.sql")).unwrap();

    // Late files are told, and run only when asked for.
    scene.file(
        "0005_e.sql",
        "create table e (a int);\n-- windlass: down\ndrop table e;",
    );
    scene.run(&["up"]).code(0);
    scene.file(
        "0004_d.sql",
        "create table d (a int);\n-- windlass: down\ndrop table d;",
    );
    scene.run(&["up"]).code(6).says("0004_d.sql is not applied");
    scene
        .run(&["up", "--allow-out-of-order"])
        .code(0)
        .says("applied 0004_d.sql");

    scene.run(&["down"]).code(0).says("undid 0005_e.sql");
    scene
        .run(&["down", "--to", "0"])
        .code(0)
        .says("undid 0001_users.sql");
    let status = scene.run(&["status", "--json"]).json();
    assert_eq!(status["applied"].as_array().unwrap().len(), 0);
    assert_eq!(status["interrupted"].as_array().unwrap().len(), 0);
    scene.run(&["up"]).code(0);
}

/// Checks of applied files go on, but for those whose column a contract has removed.
fn checks_after_a_contract(scene: &Scene) {
    scene
        .file("0001_users.sql", "create table users (id int primary key, name varchar(20), mail varchar(20));\ninsert into users values (1, 'a', 'b');")
        .file("0002_checked.sql", "update users set mail = 'c';\n-- windlass: verify\n\
             select id from users where name is null;\nselect id from users where mail is null;");
    scene.run(&["up"]).code(0);
    // No contract took it away: that is told.
    scene.file("0003_lost.sql", "alter table users drop column name;");
    scene.run(&["up"]).code(0);
    scene.run(&["verify"]).code(6).says("0002_checked.sql");
    scene.file(
        "0004_back.sql",
        "alter table users add column name varchar(20) default 'a';",
    );
    scene.run(&["up"]).code(0);
    scene.run(&["verify"]).code(0);
    scene.file(
        "0005_no_name.sql",
        "-- windlass: phase contract\nalter table users drop column name;\n\
         -- windlass: verify\nselect id from users where mail = 'x'",
    );
    scene.run(&["up", "--oldest-running", "this"]).code(0);
    scene.run(&["verify"]).code(0);
    // The other query of that file, and the contract's own, still find what is wrong.
    for (n, wrong, file) in [
        (6, "null", "0002_checked.sql"),
        (7, "'x'", "0005_no_name.sql"),
    ] {
        scene.file(
            &format!("000{n}_wrong.sql"),
            &format!("update users set mail = {wrong};"),
        );
        scene.run(&["up"]).code(0);
        scene.run(&["verify"]).code(6).says(file);
    }
}

#[tokio::test]
async fn checks_end_with_a_contract_on_postgres() {
    let server = Postgres::start().await;
    checks_after_a_contract(&Scene::new(&server.url));
}

#[tokio::test]
async fn checks_end_with_a_contract_on_sqlite() {
    checks_after_a_contract(&Scene::sqlite());
}

#[tokio::test]
async fn checks_end_with_a_contract_on_mariadb() {
    let server = Mariadb::start().await;
    checks_after_a_contract(&Scene::new(&server.url));
}

#[tokio::test]
async fn a_folder_lives_on_postgres() {
    let server = Postgres::start().await;
    a_life(&Scene::new(&server.url));
}

#[tokio::test]
async fn a_folder_lives_on_sqlite() {
    a_life(&Scene::sqlite());
}

#[tokio::test]
async fn a_folder_lives_on_mariadb() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    scene
        .file("0001_p.sql", "delimiter //\ncreate procedure p() begin declare i int; set i = 1; end//\ndelimiter ;\n\
            create table t (a int auto_increment primary key, b int);\ninsert into t (b) values (7);\n-- windlass: down\ndrop procedure p; drop table t;");
    scene.run(&["up"]).code(0);
    scene.run(&["down"]).code(0);
    // DDL commits here: a file is kept as far as it came, and goes on from there.
    scene.file("0002_half.sql", "create table a (x int); insert into a values (1); insert into b values (1); create table c (x int);");
    scene
        .run(&["up"])
        .code(1)
        .says("what came before it in this file is kept");
    scene.run(&["status", "--check"]).code(5).says("half done");
    scene.file("0002_half.sql", "create table a (x int); insert into a values (1); insert into a values (2); create table c (x int);");
    scene.run(&["up"]).code(0);
    let mut conn = server.connect().await;
    let rows: i64 = sqlx::query_scalar("select count(*) from a")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 2);
    // A statement that ran already and was changed since is no resume.
    scene.file(
        "0003_x.sql",
        "create table y (a int); create table y (a int);",
    );
    scene.run(&["up"]).code(1);
    scene.file(
        "0003_x.sql",
        "create table y (b int); create table z (a int);",
    );
    scene
        .run(&["up"])
        .code(5)
        .says("changed after it had been run in part");
    scene.run(&["repair", "--forget", "3"]).code(0);
    sqlx::raw_sql("drop table y")
        .execute(&mut conn)
        .await
        .unwrap();
    scene.run(&["up"]).code(0);
}

#[tokio::test]
async fn what_postgres_can_say_is_run_as_it_is_said() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene
        .file(
            "1_all.sql",
            "create function f() returns trigger language plpgsql as $x$ begin new.a := 1; return new; end; $x$;\n\
             create function g() returns int begin atomic select 1; select 2; end;\n\
             do $$ begin perform 1; end $$;\n/* a /* nested; */ ; */\ncreate table t (a int, b text default E'it\\'s;');\n\
             create trigger x before insert on t for each row execute function f();\n\
             set search_path = pg_catalog; set role pg_monitor;",
        )
        // What the first set for its session is gone, and our tables are where they were.
        .file("2_more.sql", "create table t2 (a int); alter type pg_catalog.bool owner to windlass;")
        .file("3_alone.sql", "create role other; grant all on schema public to other; alter table t owner to other; set role other;\n create index concurrently i on t (a); vacuum t; create table t3 (a int);");
    scene.run(&["plan"]).code(0).says("outside of transactions");
    scene.run(&["up"]).code(0);
    let mut conn = server.connect().await;
    let owner: String = sqlx::query_scalar(
        "select tableowner::text from pg_tables where tablename = 't2' and schemaname = 'public'",
    )
    .fetch_one(&mut conn)
    .await
    .unwrap();
    assert_eq!(owner, "windlass");
    // Also between the statements of one file, whatever is written to our tables meanwhile.
    let owner: String =
        sqlx::query_scalar("select tableowner::text from pg_tables where tablename = 't3'")
            .fetch_one(&mut conn)
            .await
            .unwrap();
    assert_eq!(owner, "other");
    for (text, words) in [
        ("begin; select 1; commit;", "line 1: remove it"),
        ("\n\\connect x", "line 2: a backslash command"),
        ("copy t from stdin;", "needs a client"),
        (
            "create index concurrently on t (b)",
            "give the index a name",
        ),
        ("select 'x", "never ends"),
    ] {
        scene.file("4_bad.sql", text);
        scene.run(&["up"]).code(1).says(words);
    }
}

#[tokio::test]
async fn sqlite_rebuilds_a_table_without_losing_its_children() {
    let scene = Scene::sqlite();
    scene.file(
        "1_a.sql",
        "create table parent (id integer primary key, a int);\n\
         create table child (p int references parent on delete cascade);\n\
         insert into parent values (1, 2); insert into child values (1);\n\
         create table log (a); create trigger t after insert on log begin delete from child; delete from parent; end;",
    );
    scene.run(&["up"]).code(0);
    // In a transaction the pragma would do nothing, and the drop would empty the child.
    scene.file(
        "2_rebuild.sql",
        "pragma foreign_keys = off;\ncreate table new (id integer primary key, a text);\n\
         insert into new select * from parent; drop trigger t; drop table parent; alter table new rename to parent;",
    );
    scene.run(&["up"]).code(0);
    let mut conn = SqliteConnection::connect(&scene.url).await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from child")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    // What breaks keys is rolled back.
    scene.file(
        "3_break.sql",
        "-- windlass: foreign-keys off\ndelete from parent;",
    );
    scene.run(&["up"]).code(1).says("would point nowhere");
    let rows: i64 = sqlx::query_scalar("select count(*) from parent")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    // Outside of transactions.
    scene.file(
        "3_break.sql",
        "pragma journal_mode = wal; vacuum; create table z (a);",
    );
    scene.run(&["up"]).code(0);
}

#[tokio::test]
async fn contract_waits_until_somebody_says_what_runs() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    scene.file("1_a.sql", "create table a (x int, old int)");
    scene.run(&["up"]).code(0);
    scene
        .file("2_b.sql", "-- windlass: phase contract\n-- windlass: requires-release 2.0\nalter table a drop column old;")
        .file("3_c.sql", "alter table a add column new int");
    scene
        .run(&["up"])
        .code(0)
        .says("waits: 2_b.sql")
        .says("drops the column a.old");
    scene
        .run(&["up", "--oldest-running", "1.9"])
        .code(0)
        .says("older code still runs");
    scene
        .run(&["wait", "--release", "1.9", "--timeout", "0"])
        .code(0);
    scene
        .run(&["up", "--oldest-running", "2.0.1"])
        .code(0)
        .says("applied 2_b.sql");
    // The floor: an older image does not start on this schema, a newer one does.
    scene
        .run(&["wait", "--release", "1.9", "--timeout", "0"])
        .code(8)
        .says("release 2.0 or newer");
    scene
        .run(&["wait", "--release", "2.0", "--timeout", "0"])
        .code(0);
    std::fs::remove_file(scene.dir.path().join("migrations/2_b.sql")).unwrap();
    std::fs::remove_file(scene.dir.path().join("migrations/3_c.sql")).unwrap();
    scene
        .run(&["wait", "--timeout", "0"])
        .code(8)
        .says("too old");
    scene
        .run(&["wait", "--release", "2.1", "--timeout", "0"])
        .code(0)
        .says("leave room");
    scene.run(&["up"]).code(0).says("of a newer release");

    // A fresh database has no old code.
    let fresh = Scene::sqlite();
    fresh
        .file("1_a.sql", "create table a (x int, old int)")
        .file(
            "2_b.sql",
            "-- windlass: phase contract\nalter table a drop column old;",
        );
    fresh.run(&["up"]).code(0).says("applied 2_b.sql");
}

#[tokio::test]
async fn a_database_with_tables_is_taken_over() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let mut conn = server.connect().await;
    sqlx::raw_sql("create table a (x int)")
        .execute(&mut conn)
        .await
        .unwrap();
    scene
        .file("1_a.sql", "create table a (x int)")
        .file("2_b.sql", "alter table a add y int");
    scene.run(&["up"]).code(1).says("already exists");
    scene.run(&["baseline", "5"]).code(1);
    scene
        .run(&["baseline", "1"])
        .code(0)
        .says("1_a.sql counts as applied");
    scene.run(&["up"]).code(0).says("applied 2_b.sql");
    scene.run(&["status"]).code(0).says("baseline");
    scene.run(&["repair", "--forget", "1"]).code(0);
    scene.run(&["status", "--check"]).code(6);
}

/// The tables as those tools make them on PostgreSQL, and what they hold after two of three files.
const TOOLS: [(&str, &str, &str); 6] = [
    (
        "dbmate",
        "create table schema_migrations (version varchar primary key); \
         insert into schema_migrations values ('1'), ('2')",
        "1_a.sql 2_b.sql 3_c.sql",
    ),
    (
        "sqlx",
        "create table _sqlx_migrations (version bigint primary key, description text not null, \
         installed_on timestamptz not null default now(), success boolean not null, \
         checksum bytea not null, execution_time bigint not null); \
         insert into _sqlx_migrations (version, description, success, checksum, execution_time) \
         values (1, 'a', true, '', 1), (2, 'b', true, '', 1)",
        "1_a.up.sql 2_b.up.sql 3_c.up.sql",
    ),
    (
        "golang-migrate",
        "create table schema_migrations (version bigint not null primary key, dirty boolean not null); \
         insert into schema_migrations values (2, false)",
        "000001_a.up.sql 000002_b.up.sql 000003_c.up.sql",
    ),
    (
        "goose",
        "create table goose_db_version (id integer primary key generated by default as identity, \
         version_id bigint not null, is_applied boolean not null, tstamp timestamp not null default now()); \
         insert into goose_db_version (version_id, is_applied) \
         values (0, true), (1, true), (2, true), (3, true), (3, false)",
        "00001_a.sql 00002_b.sql 00003_c.sql",
    ),
    (
        "refinery",
        "create table refinery_schema_history (version int4 primary key, name varchar(255), \
         applied_on varchar(255), checksum varchar(255)); \
         insert into refinery_schema_history values (1, 'a', '', ''), (2, 'b', '', '')",
        "V1__a.sql V2__b.sql V3__c.sql",
    ),
    (
        "flyway",
        "create table flyway_schema_history (installed_rank int primary key, version varchar(50), \
         description varchar(200) not null, type varchar(20) not null, script varchar(1000) not null, \
         checksum int, installed_by varchar(100) not null, installed_on timestamp not null default now(), \
         execution_time int not null, success boolean not null); \
         insert into flyway_schema_history (installed_rank, version, description, type, script, \
         installed_by, execution_time, success) values (0, null, 's', 'SCHEMA', 's', 'x', 0, true), \
         (1, '1', 'a', 'SQL', 'V1__a.sql', 'x', 0, true), (2, '2', 'b', 'SQL', 'V2__b.sql', 'x', 0, true)",
        "V1__a.sql V2__b.sql V3__c.sql",
    ),
];

#[tokio::test]
async fn a_team_switches_from_another_tool() {
    let server = Postgres::start().await;
    let mut conn = server.connect().await;
    for (tool, table, files) in TOOLS {
        let name = format!("\"{tool}\"");
        let sql = format!("create schema {name}; set search_path = {name}; {table}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
            .execute(&mut conn)
            .await
            .unwrap();
        let scene = Scene::new(&format!("{}?options=-c%20search_path%3D{tool}", server.url));
        for (file, n) in files.split(' ').zip(1..) {
            let text = match tool {
                "dbmate" => format!(
                    "-- migrate:up\ncreate table t{n} (a int);\n-- migrate:down\ndrop table t{n};\n"
                ),
                "goose" => format!(
                    "-- +goose Up\ncreate table t{n} (a int);\n-- +goose Down\ndrop table t{n};\n"
                ),
                _ => format!("create table t{n} (a int);"),
            };
            scene.file(file, &text);
        }
        scene.run(&["baseline"]).code(2);
        let done = scene
            .run(&["baseline", "--from", tool, "--json"])
            .code(0)
            .json();
        assert_eq!(done["recorded"], serde_json::json!([1, 2]), "{tool}");
        // Only what is new runs.
        let done = scene.run(&["up", "--json"]).code(0).json();
        assert_eq!(done["done"][0]["version"], 3, "{tool}");
        if matches!(tool, "dbmate" | "goose") {
            scene.run(&["down"]).code(0);
        }
        scene.run(&["baseline", "--from", tool]).code(0);
    }
    let scene = Scene::sqlite();
    scene.file("1_a.sql", "create table a (x int);");
    scene
        .run(&["baseline", "--from", "dbmate"])
        .code(1)
        .says("history table is not in this database");
    scene
        .run(&["baseline", "--from", "rails"])
        .code(2)
        .says("there are: dbmate");
    let mut conn = SqliteConnection::connect(&format!("{}?mode=rwc", scene.url))
        .await
        .unwrap();
    let sql = "create table _sqlx_migrations (version bigint primary key, success boolean not null); \
               insert into _sqlx_migrations values (1, false)";
    sqlx::raw_sql(sql).execute(&mut conn).await.unwrap();
    scene
        .run(&["baseline", "--from", "sqlx"])
        .code(1)
        .says("left 1 half done");
}

#[test]
fn a_new_file_is_written_and_runs() {
    let scene = Scene::sqlite();
    let done = scene
        .run(&["new", "add", "E-mail", "--json"])
        .code(0)
        .json();
    let file = done["file"].as_str().unwrap();
    assert!(file.ends_with("_add_e_mail.sql"), "{file}");
    scene.run(&["up"]).code(0).says("applied");
}

#[test]
fn mistakes_are_told_with_a_cure() {
    let scene = Scene::sqlite();
    scene.file("x.sql", "");
    scene.run(&["up"]).code(1).says("must begin with a number");
    scene.run(&["up", "--url", "oracle://x"]).code(1);
    scene
        .run(&["up", "--lock-wait", "soon"])
        .code(2)
        .says("5min");
    let told = scene
        .run(&["status", "--dir", "nowhere", "--json"])
        .code(1)
        .json();
    assert!(told["error"].as_str().unwrap().contains("nowhere"));
    scene.run(&["--help"]).code(0).says("Exit codes");
}
