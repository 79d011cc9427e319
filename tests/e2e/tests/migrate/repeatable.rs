//! Files in the manner of Flyway, run by us alone: versions of several parts, folders in the folder, placeholders,
//! files that are undone by `U` files, and repeatable ones.

use sqlx::{AssertSqlSafe, Connection as _, MySqlConnection, PgConnection, SqliteConnection};

use crate::scene::{Ran, Scene};
use crate::servers::{Mariadb, Postgres};

async fn one(url: &str, sql: &str) -> String {
    let sql = AssertSqlSafe(sql.to_owned());
    macro_rules! ask {
        ($kind:ty) => {{
            let mut conn = <$kind>::connect(url).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut conn).await.unwrap()
        }};
    }
    match url.split(':').next().unwrap() {
        "postgres" => ask!(PgConnection),
        "mysql" => ask!(MySqlConnection),
        _ => ask!(SqliteConnection),
    }
}

const PEOPLE: &str =
    "drop view if exists people;\ncreate view people as select id, name from users;\n";
const PEOPLE_WITH_AGE: &str =
    "drop view if exists people;\ncreate view people as select id, name, age from users;\n";

fn folder(scene: &Scene) {
    std::fs::create_dir_all(scene.dir.path().join("migrations/ages/old")).unwrap();
    for (name, text) in [
        (
            "V1__users.sql",
            "create table users (id int not null primary key, name varchar(50) not null);\n\
             insert into users (id, name) values (1, 'Ada'), (2, 'Grace');\n",
        ),
        (
            "V1.2__email.sql",
            "alter table users add column email varchar(50) default '${domain}';\n",
        ),
        (
            "ages/V1_10__age.sql",
            "alter table users add column age int;\n",
        ),
        (
            "ages/old/U1.10__age.sql",
            "drop view people;\nalter table users drop column age;\n",
        ),
        ("R__people.sql", PEOPLE),
    ] {
        scene.file(name, text);
    }
}

/// What was applied, in order.
fn applied(ran: &Ran) -> Vec<&str> {
    let lines = ran.out.lines().chain(ran.err.lines());
    let names = lines.filter_map(|line| {
        line.trim_start_matches("windlass: ")
            .strip_prefix("applied ")
    });
    names
        .map(|line| line.split([' ', ',']).next().unwrap())
        .collect()
}

/// `varchar`: what text is cast to.
async fn as_flyways_users_have_it(url: &str, varchar: &str) {
    let scene = Scene::new(url);
    folder(&scene);
    scene
        .run(&["up"])
        .code(1)
        .says("V1.2__email.sql, line 1: ${domain} has no value");
    let values = [("FLYWAY_PLACEHOLDERS_DOMAIN", "example.org")];
    let run = |args: &[&str]| scene.run_with(args, &values);
    let up = run(&["up"]).code(0);
    assert_eq!(
        applied(&up),
        [
            "V1__users.sql",
            "V1.2__email.sql",
            "ages/V1_10__age.sql",
            "R__people.sql"
        ],
        "{up:?}"
    );
    let email = format!("select cast(email as {varchar}) from users where id = 2");
    assert_eq!(one(url, &email).await, "example.org");
    run(&["up"]).code(0).says("nothing to do");
    run(&["status", "--check"]).code(0);
    run(&["verify"]).code(0).says("files, history and data fit");
    run(&["drift"]).code(0).says("up to 1.10");
    // Another value is no other file.
    let other = scene.run(&["up", "--placeholder", "Domain=example.com"]);
    other.code(0).says("nothing to do");
    let row = format!(
        "select cast(name as {varchar}) from windlass_migrations where version < 0 and name like 'V1.2%'"
    );
    assert_eq!(one(url, &row).await, "V1.2__email");

    // Its text changes: it runs again, alone, and statuses and waits know.
    scene.file("R__people.sql", PEOPLE_WITH_AGE);
    run(&["status", "--check"])
        .code(3)
        .says("pending    R__people.sql");
    run(&["wait", "--timeout", "0"]).code(3).says("R__people");
    let up = run(&["up"]).code(0);
    assert_eq!(applied(&up), ["R__people.sql"], "{up:?}");
    let age = format!("select cast(coalesce(max(age), 7) as {varchar}) from people");
    assert_eq!(one(url, &age).await, "7");
    let status = run(&["status"]).code(0);
    assert_eq!(status.out.matches("R__people").count(), 1, "{status:?}");
    assert_eq!(
        run(&["status", "--json"]).json()["applied"]
            .as_array()
            .unwrap()
            .len(),
        5
    );

    // The older release starts once more, and does not take the new view away from the newer one.
    scene.file("R__people.sql", PEOPLE);
    let start = [("WINDLASS_MIGRATE", "1"), values[0]];
    scene
        .run_with(&["exec", "--", "true"], &start)
        .code(0)
        .says("another text of it was applied since");
    assert_eq!(one(url, &age).await, "7");
    run(&["wait", "--timeout", "0"]).code(0).says("compatible");
    // Who says `up` has gone back to it.
    let up = run(&["up"]).code(0);
    assert_eq!(applied(&up), ["R__people.sql"], "{up:?}");
    run(&["up"]).code(0).says("nothing to do");
    run(&["repair", "--forget", "R__people"])
        .code(0)
        .says("migration R__people counts as not applied");
    assert_eq!(applied(&run(&["up"]).code(0)), ["R__people.sql"]);

    // Undone is what has a number; what repeats stays, and its file would fail without the column.
    run(&["down"]).code(0).says("undid ages/V1_10__age.sql");
    run(&["status", "--check"])
        .code(3)
        .says("pending    ages/V1_10__age.sql");
    run(&["up"]).code(0);
    // Below 1.10, although 1.9 is more than that for who reads them as numbers.
    scene.file("V1.9__late.sql", "create table late (a int);\n");
    run(&["up"])
        .code(6)
        .says("V1.9__late.sql is not applied, although 1.10 is");
    run(&["up", "--allow-out-of-order"])
        .code(0)
        .says("applied V1.9__late.sql");

    // Data, in batches, under a version of several parts.
    scene.file(
        "V2.1__ages.sql",
        "-- windlass: phase data\n-- windlass: batch users.id size 1\n\
         update users set age = 40 where id between :lo and :hi;\n",
    );
    run(&["up"]).code(0).says("V2.1__ages.sql");
    run(&["data", "2.1"]).code(0).says("V2.1__ages.sql");
    let ages = format!("select cast(sum(age) as {varchar}) from users");
    assert_eq!(one(url, &ages).await, "80");
    scene
        .run(&["new", "next", "one", "--placeholder", "domain=x"])
        .code(0)
        .says("V2.2__next_one.sql");
}

#[tokio::test]
async fn folders_of_flyway_on_postgres() {
    as_flyways_users_have_it(&Postgres::start().await.url, "varchar").await;
}

#[tokio::test]
async fn folders_of_flyway_on_mariadb() {
    as_flyways_users_have_it(&Mariadb::start().await.url, "char").await;
}

#[tokio::test]
async fn folders_of_flyway_on_sqlite() {
    let there = Scene::sqlite();
    as_flyways_users_have_it(&there.url, "text").await;
}

/// Statement by statement, with a journal; and its text is put right after a crash.
#[tokio::test]
async fn a_repeatable_file_without_a_transaction_goes_on_where_it_failed() {
    let server = Postgres::start().await;
    let scene = Scene::new(&server.url);
    let file = |second: &str| {
        let text = format!("-- windlass: no-transaction\ncreate table half (a int);\n{second};\n");
        scene.file("R__half.sql", &text);
    };
    scene.file("V1__a.sql", "create table a (b int);\n");
    file("select * from nowhere");
    scene.run(&["up"]).code(1).says("R__half.sql, line 3");
    scene
        .run(&["status", "--check"])
        .code(5)
        .says("migration R__half was interrupted");
    file("insert into half values (1)");
    let up = scene.run(&["up"]).code(0);
    assert_eq!(applied(&up), ["R__half.sql"], "{up:?}");
    assert_eq!(
        one(&server.url, "select count(*)::text from half").await,
        "1"
    );
    scene.run(&["status", "--check"]).code(0);
    // Interrupted again; a person says what happened.
    file("select * from nowhere where 1 = 1");
    scene.run(&["up"]).code(1).says("already exists");
    file("insert into half values (2)");
    scene
        .run(&["repair", "--done", "R__half:7"])
        .code(1)
        .says("was not interrupted");
}

/// All processes of two releases that start at once, with two texts of a view: the newer one stays.
#[tokio::test]
async fn replicas_of_two_releases_that_start_at_once_leave_the_newer_view() {
    let server = Postgres::start().await;
    let old = Scene::new(&server.url);
    old.file("V1__t.sql", "create table t (a int, b int);\n");
    old.file("R__v.sql", "create or replace view v as select a from t;\n");
    old.run(&["up"]).code(0);
    let new = Scene::new(&server.url);
    new.file("V1__t.sql", "create table t (a int, b int);\n");
    new.file(
        "R__v.sql",
        "create or replace view v as select a, b from t;\n",
    );
    let env = [("WINDLASS_MIGRATE", "1")];
    let all: Vec<_> = (0..12)
        .map(|n| {
            let scene = if n % 2 == 0 { &old } else { &new };
            scene.spawn_with(&["exec", "--", "true"], &env)
        })
        .collect();
    let all: Vec<Ran> = all
        .into_iter()
        .map(|running| running.end().code(0))
        .collect();
    let times: usize = all.iter().map(|ran| applied(ran).len()).sum();
    assert_eq!(times, 1, "{all:?}");
    let columns = "select count(*)::text from information_schema.columns where table_name = 'v'";
    assert_eq!(one(&server.url, columns).await, "2");
}

/// A file that stands for many: an empty database begins with it, and no other notices.
async fn a_baseline(fresh: &str, old: &str) {
    let scene = Scene::new(fresh);
    let create = |table: &str| format!("create table {table} (x int);\n");
    scene
        .file("V1__a.sql", &create("a"))
        .file("V2__b.sql", &create("b"))
        .file("V3__c.sql", &create("c"));
    let old = Scene {
        url: old.to_owned(),
        ..Scene::new(old)
    };
    for name in ["V1__a.sql", "V2__b.sql", "V3__c.sql"] {
        let text = std::fs::read_to_string(scene.dir.path().join("migrations").join(name)).unwrap();
        old.file(name, &text);
    }
    old.run(&["up", "--to", "1"]).code(0);
    let all = create("a") + &create("b");
    for scene in [&scene, &old] {
        scene.file("B2__all.sql", &all);
    }
    scene
        .run(&["status"])
        .code(0)
        .says("B2__all.sql")
        .says("an empty database begins with it");
    scene.run(&["plan"]).code(0).says("B2__all.sql");
    let up = scene.run(&["up"]).code(0);
    assert_eq!(applied(&up), ["B2__all.sql", "V3__c.sql"], "{up:?}");
    scene.run(&["up"]).code(0).says("nothing to do");
    scene
        .run(&["status", "--check"])
        .code(0)
        .says("baseline   V1__a.sql");
    scene.run(&["drift"]).code(0).says("no drift");
    // In a database that has the first of its files, the others run.
    let rest = old.run(&["up", "--to", "2"]).code(0);
    assert_eq!(applied(&rest), ["V2__b.sql"], "{rest:?}");
    old.run(&["drift"]).code(0).says("no drift");
    // Then the files go, with whatever else belongs to them.
    for scene in [&scene, &old] {
        for name in ["V1__a.sql", "V2__b.sql"] {
            std::fs::remove_file(scene.dir.path().join("migrations").join(name)).unwrap();
        }
    }
    let quiet = scene.run(&["up"]).code(0).says("nothing to do");
    assert!(!quiet.out.contains("does not have"), "{quiet:?}");
    assert_eq!(applied(&old.run(&["up"]).code(0)), ["V3__c.sql"]);
    old.run(&["drift"]).code(0).says("no drift");
    scene
        .run(&["wait", "--timeout", "0"])
        .code(0)
        .says("compatible");
}

#[tokio::test]
async fn a_baseline_on_postgres() {
    let (fresh, old) = tokio::join!(Postgres::start(), Postgres::start());
    a_baseline(&fresh.url, &old.url).await;
}

#[tokio::test]
async fn a_baseline_on_mariadb() {
    let (fresh, old) = tokio::join!(Mariadb::start(), Mariadb::start());
    a_baseline(&fresh.url, &old.url).await;
}

#[tokio::test]
async fn a_baseline_on_sqlite() {
    let (one, other) = (Scene::sqlite(), Scene::sqlite());
    a_baseline(&one.url, &other.url).await;
}

#[tokio::test]
async fn a_folder_that_begins_with_a_baseline_is_for_what_is_empty_or_new_enough() {
    let scene = Scene::sqlite();
    scene.file("V1__a.sql", "create table a (x int);\n");
    scene.run(&["up"]).code(0);
    std::fs::remove_file(scene.dir.path().join("migrations/V1__a.sql")).unwrap();
    scene
        .file(
            "B2__all.sql",
            "create table a (x int);\ncreate table b (x int);\n",
        )
        .file("V3__c.sql", "create table c (x int);\n");
    scene
        .run(&["up"])
        .code(6)
        .says("the database is at 1, and this folder begins with B2__all.sql")
        .says("with a release that still has those files");
    // Not empty, and of nobody that we know.
    let there = Scene::sqlite();
    let mut conn = SqliteConnection::connect(&format!("{}?mode=rwc", there.url))
        .await
        .unwrap();
    sqlx::raw_sql("create table a (x int); create table b (x int);")
        .execute(&mut conn)
        .await
        .unwrap();
    let strange = Scene {
        url: there.url.clone(),
        ..scene
    };
    strange
        .run(&["up"])
        .code(1)
        .says("is not empty")
        .says("windlass migrate baseline 2");
    strange
        .run(&["baseline", "2"])
        .code(0)
        .says("B2__all.sql counts as applied");
    assert_eq!(applied(&strange.run(&["up"]).code(0)), ["V3__c.sql"]);
}

/// Killed in the middle of a baseline where each statement takes effect by itself.
#[tokio::test]
async fn a_baseline_that_was_killed_goes_on() {
    let server = Mariadb::start().await;
    let scene = Scene::new(&server.url);
    scene
        .file("V1__a.sql", "create table a (x int);\n")
        .file("V2__b.sql", "create table b (x int);\n")
        .file(
            "B2__all.sql",
            "create table a (x int);\ninsert into a select sleep(3);\ncreate table b (x int);\n",
        );
    let up = scene.spawn(&["up"]);
    let mut conn = server.connect().await;
    crate::scene::until("the first table", async || {
        let sql =
            "select count(*) from information_schema.processlist where info like 'insert into a%'";
        sqlx::query_scalar::<_, i64>(sql)
            .fetch_one(&mut conn)
            .await
            .unwrap()
            > 0
    })
    .await;
    up.signal(nix::sys::signal::Signal::SIGKILL);
    up.end();
    let up = scene.run(&["up"]).code(0);
    assert_eq!(applied(&up), ["B2__all.sql"], "{up:?}");
    let rows: i64 = sqlx::query_scalar("select count(*) from a")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert_eq!(rows, 1);
    scene
        .run(&["status", "--check"])
        .code(0)
        .says("baseline   V1__a.sql");
}

/// What `dump` writes is a baseline as it is.
async fn a_dump(grown: &str, fresh: &str) {
    let scene = Scene::new(grown);
    scene
        .file(
            "V1__a.sql",
            "create table a (x int not null primary key, y varchar(20) default 'a;b');\n",
        )
        .file("V2__b.sql", "create table b (x int references a (x));\n")
        .file(
            "V3__c.sql",
            "create index b_x on b (x);\ncreate view c as select x from b;\n",
        );
    scene.run(&["up"]).code(0);
    let file = scene.dir.path().join("migrations/B3__all.sql");
    let dump = scene.run(&["dump"]).code(0);
    std::fs::write(file, dump.out).unwrap();
    let next = Scene {
        url: fresh.to_owned(),
        ..scene
    };
    let up = next.run(&["up"]).code(0);
    assert_eq!(applied(&up), ["B3__all.sql"], "{up:?}");
    next.run(&["diff", "--json", grown, fresh]).code(0);
    next.run(&["drift"]).code(0).says("no drift");
}

#[tokio::test]
async fn a_dump_is_a_baseline_on_postgres() {
    let (grown, fresh) = tokio::join!(Postgres::start(), Postgres::start());
    a_dump(&grown.url, &fresh.url).await;
}

#[tokio::test]
async fn a_dump_is_a_baseline_on_mariadb() {
    let (grown, fresh) = tokio::join!(Mariadb::start(), Mariadb::start());
    a_dump(&grown.url, &fresh.url).await;
}

#[tokio::test]
async fn a_dump_is_a_baseline_on_sqlite() {
    let (one, other) = (Scene::sqlite(), Scene::sqlite());
    a_dump(&one.url, &other.url).await;
}
