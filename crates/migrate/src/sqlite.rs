//! The runner for SQLite.

use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::{Applied, MigrateError, Migration, Standing, judge};

const HISTORY: &str = "create table if not exists schema_history (
    version integer primary key,
    name text not null,
    checksum text not null,
    applied_ms integer not null
) strict";

/// Where the database stands. Writes nothing.
///
/// # Errors
/// As [`judge`], and when the database can't be read.
pub async fn standing(
    conn: &mut SqliteConnection,
    list: &[Migration],
) -> Result<Standing, MigrateError> {
    judge(&applied(conn).await?, list)
}

async fn applied(conn: &mut SqliteConnection) -> Result<Vec<Applied>, MigrateError> {
    let there: i64 = sqlx::query_scalar(
        "select count(*) from sqlite_master where type = 'table' and name = 'schema_history'",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(MigrateError::database("look for the history table"))?;
    if there == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("select version, checksum from schema_history order by version")
        .fetch_all(conn)
        .await
        .map_err(MigrateError::database("read the history table"))?;
    Ok(rows
        .iter()
        .map(|r| Applied {
            version: r.get(0),
            checksum: r.get(1),
        })
        .collect())
}

/// Applies what is pending and returns the versions, in one transaction that takes SQLite's write
/// lock first and reads the history under it: of two processes that start together, the second
/// finds nothing to do. A failing statement rolls everything back.
///
/// `now_ms` is recorded as the time of application.
///
/// # Errors
/// As [`judge`], and when a statement fails.
pub async fn apply(
    conn: &mut SqliteConnection,
    list: &[Migration],
    now_ms: i64,
) -> Result<Vec<i64>, MigrateError> {
    let mut tx = conn
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(MigrateError::database("take the database's write lock"))?;
    let history = applied(&mut tx).await?;
    let pending = match judge(&history, list)? {
        Standing::Fresh => list.iter().map(|m| m.version).collect(),
        Standing::Current { .. } => Vec::new(),
        Standing::Pending(versions) => versions,
    };
    if pending.is_empty() {
        return Ok(pending);
    }
    sqlx::raw_sql(HISTORY)
        .execute(&mut *tx)
        .await
        .map_err(MigrateError::database("create the history table"))?;
    for migration in list.iter().filter(|m| pending.contains(&m.version)) {
        sqlx::raw_sql(migration.sql)
            .execute(&mut *tx)
            .await
            .map_err(MigrateError::database(format_args!(
                "apply migration {} ({})",
                migration.version, migration.name
            )))?;
        sqlx::query(
            "insert into schema_history (version, name, checksum, applied_ms) values (?, ?, ?, ?)",
        )
        .bind(migration.version)
        .bind(migration.name)
        .bind(migration.checksum())
        .bind(now_ms)
        .execute(&mut *tx)
        .await
        .map_err(MigrateError::database("record a migration"))?;
    }
    tx.commit()
        .await
        .map_err(MigrateError::database("commit the migrations"))?;
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    const ONE: Migration = Migration {
        version: 1,
        name: "one",
        sql: "create table a (x); insert into a values (1);",
    };
    const TWO: Migration = Migration {
        version: 2,
        name: "two",
        sql: "alter table a add column y;",
    };
    const BROKEN: Migration = Migration {
        version: 2,
        name: "broken",
        sql: "alter table a add column z; alter table nothing add column y;",
    };

    async fn open(path: &Path) -> SqliteConnection {
        SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .busy_timeout(Duration::from_secs(20))
            .connect()
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn each_file_is_applied_once_also_when_ten_processes_start_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        drop(open(&path).await);
        let mut tasks = Vec::new();
        for _ in 0..10 {
            let path = path.clone();
            tasks.push(tokio::spawn(async move {
                apply(&mut open(&path).await, &[ONE, TWO], 5)
                    .await
                    .unwrap()
                    .len()
            }));
        }
        let mut applied = 0;
        for task in tasks {
            applied += task.await.unwrap();
        }
        assert_eq!(applied, 2);
        let mut conn = open(&path).await;
        assert_eq!(
            standing(&mut conn, &[ONE, TWO]).await.unwrap(),
            Standing::Current { ahead: 0 }
        );
        let rows: i64 = sqlx::query_scalar("select count(*) from a")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(rows, 1);
    }

    #[tokio::test]
    async fn a_failing_statement_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut conn = open(&dir.path().join("db")).await;
        apply(&mut conn, &[ONE], 5).await.unwrap();
        let error = apply(&mut conn, &[ONE, BROKEN], 6).await.unwrap_err();
        assert_eq!(error.to_string(), "could not apply migration 2 (broken)");
        let columns: i64 = sqlx::query_scalar("select count(*) from pragma_table_info('a')")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert_eq!(
            columns, 1,
            "the first statement of the failed migration was kept"
        );
        assert_eq!(apply(&mut conn, &[ONE, TWO], 7).await.unwrap(), [2]);
    }
}
