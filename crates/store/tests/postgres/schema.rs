//! Both folders make the same schema, and it is migrated by the same rules.

use std::collections::BTreeMap;

use sqlx::{ConnectOptions as _, Row as _};
use windlass_migrate::lint;
use windlass_store::schema::POSTGRES;
use windlass_store::{OnPending, Schema, Standing, Store, StoreError};

use crate::home::{connect, place, sql};
use crate::lab::{Lab, open};

/// Table to columns: name, whether it may be null.
type Tables = BTreeMap<String, Vec<(String, bool)>>;

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let lab = Lab::new().await;
    let file = lab.dir.path().join(windlass_store::db::DATABASE_FILE);
    assert!(!file.exists(), "a file was made");
    let url = lab.place.database.clone().unwrap();
    let rows = sqlx::query(
        "select table_name::text, column_name::text, is_nullable = 'YES' \
         from information_schema.columns where table_schema = 'public' \
         and table_name not like 'windlass%' order by table_name, column_name",
    )
    .fetch_all(&mut connect(&url).await)
    .await
    .unwrap();
    let mut postgres = Tables::new();
    for row in rows {
        let columns = postgres.entry(row.get(0)).or_default();
        columns.push((row.get(1), row.get(2)));
    }
    let dir = tempfile::tempdir().unwrap();
    let file = open(dir.path()).await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file.path());
    // A primary key of one number is never null, and says so nowhere.
    let rows = sqlx::query(
        "select m.name, c.name, c.\"notnull\" = 0 and c.pk = 0 from sqlite_master m, \
         pragma_table_info(m.name) c where m.type = 'table' and m.name not like 'windlass%' \
         order by m.name, c.name",
    )
    .fetch_all(&mut options.connect().await.unwrap())
    .await
    .unwrap();
    let mut sqlite = Tables::new();
    for row in rows {
        let columns = sqlite.entry(row.get(0)).or_default();
        columns.push((row.get(1), row.get(2)));
    }
    assert_eq!(postgres, sqlite);
}

#[tokio::test]
async fn data_are_migrated_only_when_told_and_strange_tables_are_left_alone() {
    let lab = Lab::new().await;
    let url = lab.place.database.clone().unwrap();
    let schema = Schema::of(&lab.place).unwrap();
    let current = Standing::Current { ahead: 0 };
    assert_eq!(schema.standing().await.unwrap(), current);
    let newest = POSTGRES.last().unwrap().0;
    // As it would be after the migration before, whose file is not there any more.
    let forget = "update windlass_migrations set version = version - 1";
    sql(&url, forget).await;
    let refused = Store::open(lab.place.clone(), OnPending::Refuse).await;
    let Some(StoreError::MigrationPending { files, .. }) = refused.err() else {
        panic!("it was opened");
    };
    assert_eq!(files, [newest]);

    let dir = tempfile::tempdir().unwrap();
    let place = place(dir.path()).await;
    sql(place.database.as_ref().unwrap(), "create table theirs ()").await;
    let refused = Store::open(place, OnPending::Migrate).await.err().unwrap();
    assert!(matches!(refused, StoreError::Conflict(_)), "{refused}");
}

#[test]
fn our_own_migrations_pass_our_own_lint() {
    let files: Vec<lint::Source<'_>> = POSTGRES
        .iter()
        .map(|(name, text)| lint::Source { name, text })
        .collect();
    let options = lint::Options {
        // It is about removing rows that others point to: the store never does.
        disable: vec!["foreign-key-without-index".to_owned()],
        ..lint::Options::new(lint::Dialect::Postgres)
    };
    let report = lint::lint(&files, &options);
    let found: Vec<String> = report
        .findings
        .iter()
        .map(|f| format!("{}: {}: {}", POSTGRES[f.file].0, f.rule.id, f.message))
        .collect();
    assert_eq!(found, [] as [String; 0]);
}
