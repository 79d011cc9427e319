//! Scratch databases on MySQL and MariaDB.
//!
//! The keeper is a session with a named lock of the scratch database's name. Named locks belong to
//! the whole server.

use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Keeper, PREFIX, Scratch, fresh_name, is_ours, not_allowed};
use crate::database::{Conn as _, Database};
use crate::error::{Error, is_refused_database};

/// On Galera another node's lock is not seen: there only what is as old as this is swept.
const OLD: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn create(place: &Database) -> Result<Scratch, Error> {
    let options = MySqlConnectOptions::from_str(place.url())
        .map_err(Error::database("read the database's address"))?
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(None)
        .disable_statement_logging();
    let mut keeper = match options.connect().await {
        // The database does not exist yet: the server's own defaults, then.
        Err(error) if is_refused_database(&error) => options.database("").connect().await,
        other => other,
    }
    .map_err(Error::database("connect to the database"))?;
    let failed = |e| Error::database("set up the session")(e);
    // The keeper is silent for as long as the database is needed.
    keeper
        .execute("set session wait_timeout = 2147483")
        .await
        .map_err(failed)?;
    sweep(&mut keeper).await;
    let rows = keeper
        .texts("select @@character_set_database, @@collation_database")
        .await
        .map_err(failed)?;
    let row = rows.into_iter().next().unwrap_or_default();
    let like = match &row[..] {
        [Some(characters), Some(collation)] => {
            format!(" character set {characters} collate {collation}")
        }
        _ => String::new(),
    };
    let name = fresh_name();
    keeper
        .texts(&format!("select get_lock('{name}', 0)"))
        .await
        .map_err(Error::database("take the scratch database's lock"))?;
    match keeper
        .execute(&format!("create database {name}{like}"))
        .await
    {
        Ok(_) => {}
        Err(error) if is_refused_database(&error) => {
            return Err(not_allowed(&format!(
                "GRANT ALL ON `{}%`.* TO this user, or give the address of a server where it may",
                PREFIX.replace('_', "\\_")
            )));
        }
        Err(error) => return Err(Error::database("make a scratch database")(error)),
    }
    Ok(Scratch {
        database: place.named(&name),
        name,
        keeper: Keeper::Mysql(Box::new(keeper)),
    })
}

pub(super) async fn remove(mut keeper: MySqlConnection, name: &str) -> Result<(), Error> {
    drop_database(&mut keeper, name)
        .await
        .map_err(Error::database("remove the scratch database"))?;
    keeper.close().await.unwrap_or_default();
    Ok(())
}

/// `DROP DATABASE` waits for the transactions of others that use its tables: those sessions are
/// ended, as PostgreSQL's `WITH (FORCE)` does.
async fn drop_database(keeper: &mut MySqlConnection, name: &str) -> Result<(), sqlx::Error> {
    let sql = format!("select id from information_schema.processlist where db = '{name}'");
    for id in keeper.texts(&sql).await?.into_iter().flatten().flatten() {
        // It may be gone already.
        keeper.execute(&format!("kill {id}")).await.unwrap_or(0);
    }
    let sql = format!("drop database if exists {name}");
    keeper.execute(&sql).await.map(|_| ())
}

/// Removes what nobody holds, as far as we may.
async fn sweep(keeper: &mut MySqlConnection) {
    let galera = keeper.texts("show variables like 'wsrep_on'").await;
    let galera = galera.is_ok_and(|rows| {
        rows.first()
            .and_then(|r| r.get(1).cloned().flatten())
            .as_deref()
            == Some("ON")
    });
    let sql = format!(
        "select schema_name from information_schema.schemata where schema_name like '{}%' \
         and is_used_lock(schema_name) is null",
        PREFIX.replace('_', "\\_")
    );
    let rows = keeper.texts(&sql).await.unwrap_or_default();
    for name in rows.into_iter().flatten().flatten() {
        if is_ours(&name) && (!galera || is_old(&name)) {
            drop_database(keeper, &name).await.unwrap_or_default();
        }
    }
}

fn is_old(name: &str) -> bool {
    let made = name.strip_prefix(PREFIX).and_then(|rest| {
        let nanos = u64::from_str_radix(rest.split('_').next()?, 16).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))
    });
    made.and_then(|made| SystemTime::now().duration_since(made).ok())
        .is_some_and(|age| age > OLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_in_the_name() {
        assert!(!is_old(&fresh_name()));
        assert!(is_old(&format!(
            "{PREFIX}{:x}_1_0",
            1_700_000_000_000_000_000_u64
        )));
    }
}
