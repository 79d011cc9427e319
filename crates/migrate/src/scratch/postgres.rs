//! Scratch databases on PostgreSQL.
//!
//! The keeper is a session on another database of the server, with an advisory lock whose key is
//! the hash of the scratch database's name. `pg_locks` shows it to everybody.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};

use super::{Keeper, Scratch, fresh_name, is_ours, not_allowed};
use crate::database::{Conn as _, Database, literal, postgres};
use crate::error::{Error, code};
use crate::lock::Owner;
use crate::sql::Dialect;

/// How long to wait for sessions of others to leave a database that is copied.
const PATIENCE: Duration = Duration::from_secs(10);

/// Settings whose value is a list that is quoted already (`variable_is_guc_list_quote` of
/// PostgreSQL's `pg_dump`).
const LISTS: &[&str] = &[
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

pub(super) async fn create(place: &Database) -> Result<Scratch, Error> {
    let options = options(place)?;
    let here = options.get_database().unwrap_or_default().to_owned();
    let mut keeper = keeper(&options, &[&here, "postgres", "template1"]).await?;
    sweep(&mut keeper).await;
    let like = likeness(&mut keeper, &here).await?;
    make(keeper, place, &like, &here, false).await
}

pub(super) async fn copy(source: &Database, force: bool) -> Result<Scratch, Error> {
    let options = options(source)?;
    let here = options.get_database().unwrap_or_default().to_owned();
    // Not from the source itself: nobody may be connected to it.
    let others: Vec<&str> = ["postgres", "template1"]
        .into_iter()
        .filter(|name| *name != here)
        .collect();
    let mut keeper = keeper(&options, &others).await?;
    if !force {
        sweep(&mut keeper).await;
    }
    let like = format!(" template {}", identifier(&here));
    make(keeper, source, &like, &here, force).await
}

fn options(place: &Database) -> Result<PgConnectOptions, Error> {
    Ok(PgConnectOptions::from_str(place.url())
        .map_err(Error::database("read the database's address"))?
        .application_name(&format!("windlass scratch {}", Owner::me("").name))
        .extra_float_digits(None)
        .disable_statement_logging())
}

/// A session on the first of these databases that lets us in.
async fn keeper(options: &PgConnectOptions, databases: &[&str]) -> Result<PgConnection, Error> {
    let mut first = None;
    for name in databases {
        match options.clone().database(name).connect().await {
            Ok(mut conn) => {
                let settings = postgres::settings(conn.server_version_num().unwrap_or(0));
                conn.execute(&format!(
                    "{settings}set statement_timeout = 0; set lock_timeout = 0"
                ))
                .await
                .map_err(Error::database("set up the session"))?;
                return Ok(conn);
            }
            // invalid_catalog_name, insufficient_privilege, invalid_authorization_specification
            // (no line of pg_hba.conf for this database).
            Err(error) if matches!(code(&error).as_str(), "3D000" | "42501" | "28000") => {
                first.get_or_insert(error);
            }
            Err(error) => return Err(Error::database("connect to the database")(error)),
        }
    }
    let error = first.unwrap_or(sqlx::Error::Configuration(
        "no database to connect to".into(),
    ));
    Err(Error::database("connect to the server")(error))
}

/// What a new database needs to be like this one. The server's own template is used if it is like
/// it already: a site may have put things there.
async fn likeness(keeper: &mut PgConnection, name: &str) -> Result<String, Error> {
    let icu = match keeper.server_version_num().unwrap_or(0) {
        170_000.. => "datlocprovider::text, datlocale",
        150_000.. => "datlocprovider::text, daticulocale",
        _ => "'c', null",
    };
    let sql = format!(
        "select pg_encoding_to_char(encoding), datcollate, datctype, {icu}, \
         datname = 'template1' from pg_catalog.pg_database where datname in ({}, 'template1')",
        literal(name, Dialect::Postgres)
    );
    let rows = keeper
        .texts(&sql)
        .await
        .map_err(Error::database("look at the server's databases"))?;
    let of = |template: &str| {
        let row = rows
            .iter()
            .find(|r| r.get(5).cloned().flatten().as_deref() == Some(template));
        row.map(|r| r[..5].to_vec())
    };
    let (Some(model), Some(template)) = (of("f"), of("t")) else {
        return Ok(String::new());
    };
    if model == template {
        return Ok(String::new());
    }
    let text = |i: usize| {
        literal(
            model.get(i).and_then(|t| t.as_deref()).unwrap_or_default(),
            Dialect::Postgres,
        )
    };
    let mut like = format!(
        " template template0 encoding {} lc_collate {} lc_ctype {}",
        text(0),
        text(1),
        text(2)
    );
    if model[3].as_deref() == Some("i") {
        like.push_str(&format!(" locale_provider icu icu_locale {}", text(4)));
    }
    Ok(like)
}

async fn make(
    mut keeper: PgConnection,
    place: &Database,
    like: &str,
    model: &str,
    force: bool,
) -> Result<Scratch, Error> {
    let name = fresh_name();
    let sql = format!("select pg_catalog.pg_try_advisory_lock({})", key(&name));
    let locked = keeper.texts(&sql).await;
    locked.map_err(Error::database("take the scratch database's lock"))?;
    let end = tokio::time::Instant::now() + PATIENCE;
    let sql = format!("create database {name}{like}");
    loop {
        if force {
            end_sessions(&mut keeper, model).await?;
        }
        match keeper.execute(&sql).await {
            Ok(_) => break,
            // object_in_use: somebody is connected to the template, as those are for a moment that
            // have just closed their connection.
            Err(error) if code(&error) == "55006" => {
                if tokio::time::Instant::now() > end {
                    return Err(Error::Refused(format!(
                        "others are connected to the database {model}, so the server does not copy \
                         it: end those sessions, or give a dump of it"
                    )));
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) if code(&error) == "42501" => {
                return Err(not_allowed(&format!(
                    "ALTER ROLE ... CREATEDB (and to copy {model}, its owner's rights), or give the \
                     address of a server where it may"
                )));
            }
            Err(error) => return Err(Error::database("make a scratch database")(error)),
        }
    }
    settings(&mut keeper, model, &name).await?;
    Ok(Scratch {
        database: place.named(&name),
        name,
        keeper: Keeper::Postgres(Box::new(keeper)),
    })
}

/// What `ALTER DATABASE ... SET` has set for the model. Belongs to no template.
async fn settings(keeper: &mut PgConnection, model: &str, name: &str) -> Result<(), Error> {
    let failed = |e| Error::database("copy the database's settings")(e);
    let sql = format!(
        "select unnest(s.setconfig) from pg_catalog.pg_db_role_setting s \
         join pg_catalog.pg_database d on d.oid = s.setdatabase \
         where s.setrole = 0 and d.datname = {}",
        literal(model, Dialect::Postgres)
    );
    for row in keeper.texts(&sql).await.map_err(failed)? {
        let Some((setting, value)) = row.first().and_then(|t| t.as_deref()?.split_once('=')) else {
            continue;
        };
        let value = if LISTS.contains(&setting) && !value.is_empty() {
            value.to_owned()
        } else {
            literal(value, Dialect::Postgres)
        };
        let sql = format!(
            "alter database {name} set {} to {value}",
            identifier(setting)
        );
        keeper.execute(&sql).await.map_err(failed)?;
    }
    Ok(())
}

pub(super) async fn remove(mut keeper: PgConnection, name: &str) -> Result<(), Error> {
    drop_database(&mut keeper, name)
        .await
        .map_err(Error::database("remove the scratch database"))?;
    // The lock goes with the session.
    keeper.close().await.unwrap_or_default();
    Ok(())
}

async fn drop_database(keeper: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    let forced = keeper.server_version_num().unwrap_or(0) >= 130_000;
    let with = if forced { " with (force)" } else { "" };
    let sql = format!("drop database if exists {name}{with}");
    let mut tries = 0;
    loop {
        if !forced {
            // What fails here fails below, with better words.
            end_sessions(keeper, name).await.unwrap_or_default();
        }
        match keeper.execute(&sql).await {
            Err(error) if code(&error) == "55006" && tries < 50 => {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => return other.map(|_| ()),
        }
    }
}

async fn end_sessions(keeper: &mut PgConnection, name: &str) -> Result<(), Error> {
    let sql = format!(
        "select pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where datname = {}",
        literal(name, Dialect::Postgres)
    );
    let ended = keeper.texts(&sql).await;
    ended.map(|_| ()).map_err(Error::database("end sessions"))
}

/// Removes what nobody holds. What can't be removed belongs to another role, which will.
async fn sweep(keeper: &mut PgConnection) {
    // The lock is taken before the database is made and given back after it is gone, so a database
    // without a lock has no owner.
    let sql = format!(
        "select d.datname from pg_catalog.pg_database d where starts_with(d.datname, '{}') \
         and not exists(select from pg_catalog.pg_locks l where l.locktype = 'advisory' \
         and l.objsubid = 1 and ((l.classid::bigint << 32) | l.objid::bigint) = {})",
        super::PREFIX,
        KEY.replace("$name", "d.datname")
    );
    let rows = keeper.texts(&sql).await.unwrap_or_default();
    for name in rows.into_iter().flatten().flatten().filter(|n| is_ours(n)) {
        drop_database(keeper, &name).await.unwrap_or_default();
    }
}

/// SQL: the lock's key. The same text for whoever takes it and whoever looks for it.
const KEY: &str = "hashtextextended($name::text, 5947834)";

fn key(name: &str) -> String {
    KEY.replace("$name", &literal(name, Dialect::Postgres))
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
