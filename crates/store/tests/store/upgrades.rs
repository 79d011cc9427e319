//! Databases of every released schema, with data, under the code of today; and whether a migration
//! leaves room for the code of the release before.
//!
//! `tests/fixtures/sqlite/NNNN_name.sql` is what a server left whose newest migration that was:
//! `sqlite3 windlass.db .dump`. The first six were made by a server of the first runner's time; their
//! secrets are sealed with `secret.key`, which protects nothing else.

use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};
use windlass_migrate::folder::Phase;
use windlass_migrate::{Options, lint};
use windlass_model::{BuildState, Secret};
use windlass_store::db::{DATABASE_FILE, KEY_FILE};
use windlass_store::queue::Willing;
use windlass_store::schema::SQLITE;
use windlass_store::{BuildFilter, OnPending, Schema, Standing, Store, StoreError};

use crate::lab::{Lab, finish, open, plan};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sqlite")
}

async fn connect(folder: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(folder.join(DATABASE_FILE))
        .create_if_missing(true)
        // A dump has its tables in the order of the alphabet.
        .foreign_keys(false);
    options.connect().await.unwrap()
}

async fn run(folder: &Path, sql: &str) {
    let mut conn = connect(folder).await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap();
}

/// A data folder as a server with this newest migration left it.
async fn left_by(name: &str) -> tempfile::TempDir {
    let file = fixtures().join(name);
    let dump = std::fs::read_to_string(&file).unwrap_or_else(|e| {
        panic!(
            "{}: {e}: put there what `sqlite3 windlass.db .dump` says of a server that has this \
             migration and some builds",
            file.display()
        )
    });
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &dump).await;
    std::fs::copy(fixtures().join(KEY_FILE), dir.path().join(KEY_FILE)).unwrap();
    dir
}

/// Table, and how many rows, for tables that were there before.
async fn counts(folder: &Path, tables: &[String]) -> Vec<(String, i64)> {
    let mut conn = connect(folder).await;
    let mut all = Vec::new();
    for table in tables {
        let count = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}")))
            .fetch_one(&mut conn)
            .await
            .unwrap();
        all.push((table.clone(), count));
    }
    all
}

async fn tables(folder: &Path) -> Vec<String> {
    let sql = "select name from sqlite_master where type = 'table' and name not like 'windlass_%' \
               and name not like 'sqlite_%' order by name";
    let mut conn = connect(folder).await;
    sqlx::query_scalar(sql).fetch_all(&mut conn).await.unwrap()
}

/// A column: its name, and all that SQLite says about it.
type Column = (String, String);

/// The product's tables, columns and indexes. The order of columns says nothing.
async fn schema(folder: &Path) -> Vec<(String, Vec<Column>)> {
    let mut all = Vec::new();
    let mut conn = connect(folder).await;
    for table in tables(folder).await {
        if table == "schema_history" {
            continue;
        }
        let rows = sqlx::query(
            "select name, type, \"notnull\" as nn, coalesce(dflt_value, '') as preset, pk \
             from pragma_table_info(?) union all \
             select name, coalesce(sql, ''), 0, '', 0 from sqlite_master \
             where type = 'index' and tbl_name = ? and sql is not null order by name",
        )
        .bind(&table)
        .bind(&table)
        .fetch_all(&mut conn)
        .await
        .unwrap();
        let columns = rows.iter().map(|row| {
            let (nn, pk): (i64, i64) = (row.get("nn"), row.get("pk"));
            let (kind, preset): (String, String) = (row.get("type"), row.get("preset"));
            (row.get("name"), format!("{kind} {nn} {preset:?} {pk}"))
        });
        all.push((table, columns.collect()));
    }
    all
}

/// What people see of the past, whatever the release.
async fn past(store: &Store) -> String {
    let mut text = String::new();
    let mut say = |line: String| text = format!("{text}{line}\n");
    for repo in store.repos().await.unwrap() {
        let secrets = store.secret_names(repo.id).await.unwrap();
        let names: Vec<String> = secrets.iter().map(|(name, _)| name.clone()).collect();
        let values = store.secret_values(repo.id, &names).await.unwrap();
        let hook = store.webhook_secret(repo.id).await.unwrap();
        let token = store.status_token(repo.id).await.unwrap();
        say(format!(
            "{} {:?} {:?} {:?}",
            repo.name,
            values.values().map(Secret::expose).collect::<Vec<_>>(),
            hook.as_ref().map(Secret::expose),
            token.as_ref().map(Secret::expose),
        ));
    }
    for build in store.builds(&BuildFilter::default(), 99).await.unwrap() {
        say(format!(
            "{} {} {} {} {:?}",
            build.repo, build.number, build.state, build.summary, build.trigger
        ));
        for attempt in store.attempts(build.id).await.unwrap() {
            let steps = store.steps(attempt.id).await.unwrap();
            let (state, error) = (attempt.state, attempt.error);
            say(format!("  {state} {error:?} {:?}", attempt.diagnostics));
            say(format!("  {steps:?}"));
        }
        for status in store.statuses_of_build(build.id).await.unwrap() {
            say(format!("  {status:?}"));
        }
    }
    for delivery in store.deliveries(None, 99).await.unwrap() {
        let body = store.delivery_body(delivery.id).await.unwrap();
        say(format!("{delivery:?} {}", body.len()));
    }
    text
}

/// What only newer releases have.
async fn also_readable(store: &Store) {
    for repo in store.repos().await.unwrap() {
        store.schedules(repo.id).await.unwrap();
        store.branches(repo.id).await.unwrap();
        store.kept_logs(repo.id).await.unwrap();
        store.keep_logs(repo.id).await.unwrap();
    }
    for build in store.builds(&BuildFilter::default(), 99).await.unwrap() {
        for run in 1..=build.run {
            store.jobs(build.id, run).await.unwrap();
        }
        store.artifacts(build.id).await.unwrap();
        store.copies("s3", Some(build.id)).await.unwrap();
        for attempt in store.attempts(build.id).await.unwrap() {
            store.reports(attempt.id).await.unwrap();
            store.tests(attempt.id).await.unwrap();
        }
    }
    store.archive_counts().await.unwrap();
}

/// A build from its beginning to its end.
async fn build_once(lab: &Lab) {
    let build = lab.manual().await;
    let store = &lab.store;
    let claim = loop {
        // What the fixture left in the queue comes first.
        let claim = store.claim("w", 60_000, Willing::Anything).await.unwrap();
        let claim = claim.expect("the new build is not in the queue");
        if claim.build.id == build.id {
            break claim;
        }
    };
    let id = claim.attempt.id;
    store
        .launched(id, "w", "process", "windlass.yml", &plan())
        .await
        .unwrap();
    store
        .finish(&claim, "w", &finish(BuildState::Passed), None)
        .await
        .unwrap();
    store.logs_sealed(id, 12).await.unwrap();
    store.done(id).await.unwrap();
    let ended = store.build_by_id(build.id).await.unwrap();
    assert_eq!(ended.state, BuildState::Passed);
    assert_eq!(store.steps(id).await.unwrap().len(), 2);
}

async fn upgraded(name: &str) -> (Lab, Vec<(String, i64)>) {
    let dir = left_by(name).await;
    let before = tables(dir.path()).await;
    let rows = counts(dir.path(), &before).await;
    let newest = SQLITE.last().unwrap().0;
    if name != newest {
        let refused = Store::open(dir.path(), OnPending::Refuse).await;
        let Err(StoreError::MigrationPending { files, .. }) = refused else {
            panic!("{name} was opened without asking");
        };
        let at = SQLITE.iter().position(|(n, _)| *n == name).unwrap();
        let rest: Vec<&str> = SQLITE[at + 1..].iter().map(|(n, _)| *n).collect();
        assert_eq!(files, rest);
        assert_eq!(counts(dir.path(), &before).await, rows);
    }
    let how = if name == newest {
        OnPending::Refuse
    } else {
        OnPending::Migrate
    };
    let store = Store::open(dir.path(), how).await.unwrap();
    assert_eq!(counts(dir.path(), &before).await, rows, "{name}: rows went");
    let repo = store.repo_by_name(&"app".parse().unwrap()).await.unwrap();
    let place = dir.path().into();
    let lab = Lab {
        dir,
        place,
        store,
        repo,
    };
    (lab, rows)
}

#[tokio::test]
async fn data_of_every_released_schema_is_read_and_written_by_this_release() {
    let fresh = Lab::new().await;
    let wanted = schema(fresh.dir.path()).await;
    let (newest, _) = upgraded(SQLITE.last().unwrap().0).await;
    let past_of_newest = past(&newest.store).await;
    assert!(past_of_newest.contains("the secret of the fixture"));
    for (name, _) in SQLITE {
        let (lab, _) = upgraded(name).await;
        assert_eq!(schema(lab.dir.path()).await, wanted, "{name}");
        assert_eq!(past(&lab.store).await, past_of_newest, "{name}");
        also_readable(&lab.store).await;
        build_once(&lab).await;
        // The first releases' own history stays as it was: they go on after a rollback.
        if tables(lab.dir.path())
            .await
            .contains(&"schema_history".to_owned())
        {
            let count = counts(lab.dir.path(), &["schema_history".to_owned()]).await[0].1;
            let version: i64 = name[..4].parse().unwrap();
            assert_eq!(count, version);
        }
        let again = open(lab.dir.path()).await;
        assert_eq!(again.repos().await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn a_history_that_does_not_fit_stops_everything() {
    let name = SQLITE[5].0;
    let refused = |dir: tempfile::TempDir| async move {
        let error = Store::open(dir.path(), OnPending::Migrate).await.err();
        let error = error.expect("it was opened");
        let names = counts(dir.path(), &["repos".to_owned()]).await;
        assert_eq!(names[0].1, 2);
        error
    };
    let dir = left_by(name).await;
    run(
        dir.path(),
        "update schema_history set checksum = 'x' where version = 3",
    )
    .await;
    let StoreError::Migrate { source, .. } = refused(dir).await else {
        panic!("another error");
    };
    assert!(source.to_string().contains("0003_results.sql was changed"));
    let dir = left_by(name).await;
    run(
        dir.path(),
        "insert into schema_history values (7, 'unknown', 'x', 0)",
    )
    .await;
    let StoreError::Migrate { source, .. } = refused(dir).await else {
        panic!("another error");
    };
    assert!(source.to_string().contains("migration 7"), "{source}");
    let dir = left_by(name).await;
    run(dir.path(), "drop table schema_history").await;
    let error = refused(dir).await;
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_used_as_far_as_its_floor_allows() {
    let lab = Lab::new().await;
    let newer = |floor: &str| {
        format!(
            "insert or replace into windlass_migrations (version, name, phase, checksum, app_floor, \
             how, applied_ms, duration_ms, applied_by, token) \
             values (9999, 'newer', 'contract', 'x', '{floor}', 'applied', 0, 0, '', 1)"
        )
    };
    run(lab.dir.path(), &newer("release:0.1")).await;
    assert_eq!(open(lab.dir.path()).await.repos().await.unwrap().len(), 1);
    let schema = Schema::of(&lab.place).unwrap();
    assert_eq!(
        schema.standing().await.unwrap(),
        Standing::Current { ahead: 1 }
    );
    run(lab.dir.path(), &newer("release:99.0")).await;
    for how in [OnPending::Refuse, OnPending::Migrate] {
        let error = Store::open(lab.dir.path(), how).await.err().unwrap();
        assert!(matches!(error, StoreError::SchemaTooNew { .. }), "{error}");
        assert!(
            error.to_string().contains("release 99.0 or newer"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_empty_database_whose_filling_was_interrupted_is_filled_without_asking() {
    let dir = tempfile::tempdir().unwrap();
    let schema = Schema::of(&dir.path().into()).unwrap();
    assert_eq!(schema.standing().await.unwrap(), Standing::Empty);
    let mut options = Options::default();
    options.rules.to = Some(3.into());
    schema.migrate(&options, &mut |_| {}).await.unwrap();
    // As it is between two files.
    run(
        dir.path(),
        "update windlass_migrations_lock set filling = 6",
    )
    .await;
    assert_eq!(schema.standing().await.unwrap(), Standing::Empty);
    open(dir.path()).await;
    assert_eq!(
        schema.standing().await.unwrap(),
        Standing::Current { ahead: 0 }
    );
}

/// What the code of the release before relies on is still there: the same tables, the same columns,
/// and nothing that its statements, which do not know it, would have to give a value.
#[tokio::test]
async fn each_migration_only_adds_unless_it_is_a_contract() {
    let folder = Schema::of(&"/x".into()).unwrap().folder;
    let mut before: Vec<(String, Vec<Column>)> = Vec::new();
    for (name, _) in SQLITE {
        let dir = left_by(name).await;
        let after = schema(dir.path()).await;
        let file = folder.files.iter().find(|f| f.file == *name).unwrap();
        for (table, columns) in before.iter().filter(|_| file.phase == Phase::Expand) {
            let (_, now) = after
                .iter()
                .find(|(t, _)| t == table)
                .unwrap_or_else(|| panic!("{name} takes the table {table} from older code"));
            for column in columns {
                assert!(
                    now.contains(column),
                    "{name} changes {table}.{column:?}, which older code uses"
                );
            }
            for (column, says) in now.iter().filter(|c| !columns.contains(c)) {
                let unique = says.to_lowercase().contains("create unique");
                let wanted = says.contains(" 1 \"\"");
                assert!(
                    !unique && !wanted,
                    "{name} adds {table}.{column} ({says}), which the inserts of older code break"
                );
            }
        }
        before = after;
    }
}

#[test]
fn our_own_migrations_pass_our_own_lint() {
    let dialect = lint::Dialect::Sqlite;
    let files: Vec<lint::Source<'_>> = SQLITE
        .iter()
        .map(|(name, text)| lint::Source { name, text })
        .collect();
    let options = lint::Options {
        // It is about removing rows that others point to: the store never does.
        disable: vec!["foreign-key-without-index".to_owned()],
        ..lint::Options::new(dialect)
    };
    let report = lint::lint(&files, &options);
    assert_eq!(report.files, SQLITE.len());
    let found: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{}: {}: {}", SQLITE[f.file].0, f.rule.id, f.message))
        .collect();
    assert_eq!(found, [] as [String; 0]);
}
