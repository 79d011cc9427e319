//! Drift: whether a database has the schema that it should have.
//!
//! What it should have is what its applied files make ([`drift`], built in a scratch database), or
//! what the last run left ([`recorded`], for migrators that are not ours). What was changed by hand in
//! between is named object by object.

use crate::database::{Conn as _, Database, Session, literal};
use crate::diff::{Difference, diff};
use crate::dump::{self, Schema};
use crate::error::{Error, is_missing_table};
use crate::folder::Folder;
use crate::plan::{How, Mismatch};
use crate::run::{self, Options, with_session};
use crate::scratch::Scratch;
use crate::sql::Dialect;
use crate::version::Version;

/// Grows when the same schema gives another text: then a record of before says nothing.
const FORMAT: u32 = 1;

/// Where and how to build.
#[derive(Debug, Clone)]
pub struct Place {
    /// The server on which scratch databases are made.
    pub server: Database,
    /// SQL to run before the first file: extensions and the like that the files take for granted.
    pub prepare: Option<String>,
}

impl Place {
    /// On this server, with nothing before the first file.
    pub fn on(server: Database) -> Self {
        Self {
            server,
            prepare: None,
        }
    }
}

/// The schema that a folder's files make in an empty database, contract files included.
///
/// # Errors
/// What the scratch database says; see [`Error`].
pub async fn built(folder: &Folder, place: &Place) -> Result<Schema, Error> {
    in_scratch(place, async |database| {
        // Our tables under their usual name, whatever they are called elsewhere.
        run::up(database, folder, &Options::default(), &mut |_| {}).await?;
        dump::schema(database, &dump::Options::default()).await
    })
    .await
}

/// The schema that a dump (or any other SQL text) makes in an empty database.
///
/// # Errors
/// What the scratch database says; see [`Error`].
pub async fn loaded(text: &str, place: &Place) -> Result<Schema, Error> {
    in_scratch(place, async |database| {
        dump::load(database, &mut text.as_bytes()).await?;
        dump::schema(database, &dump::Options::default()).await
    })
    .await
}

/// Works in a scratch database, which is removed afterwards, however that ends.
pub(crate) async fn in_scratch<T>(
    place: &Place,
    work: impl AsyncFnOnce(&Database) -> Result<T, Error>,
) -> Result<T, Error> {
    let scratch = Scratch::create(&place.server).await?;
    let worked = async {
        if let Some(sql) = &place.prepare {
            dump::load(scratch.database(), &mut sql.as_bytes()).await?;
        }
        work(scratch.database()).await
    }
    .await;
    let removed = scratch.remove().await;
    let worked = worked?;
    removed?;
    Ok(worked)
}

/// What came of a look for drift.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Drift {
    /// Up to which migration the database is, by its history.
    pub version: Option<Version>,
    /// First: what should be. Second: what is.
    pub differences: Vec<Difference>,
    /// What is in the database and can't be compared.
    pub left_out: Vec<String>,
}

/// Whether the database has the schema that its applied migrations make.
///
/// # Errors
/// [`Error::Mismatch`] if files changed since, or are missing: then nobody knows what should be;
/// [`Error::Refused`] if nothing is applied; and what the databases say.
pub async fn drift(
    database: &Database,
    folder: &Folder,
    options: &Options,
    place: &Place,
) -> Result<Drift, Error> {
    let status = run::status(database, folder, options).await?;
    let rows = &status.history.rows;
    if rows.is_empty() {
        return Err(Error::Refused(
            "the history has no applied migration, so there is nothing to compare with: for \
             another tool's migrations see `windlass migrate run --drift`"
                .to_owned(),
        ));
    }
    let changed = status.plan.stops.into_iter();
    let changed = changed.filter(|stop| matches!(stop, Mismatch::Changed { .. }));
    let missing = rows
        .iter()
        .filter(|row| folder.find(row.version).is_none() && status.history.is_last(row))
        .filter(|row| !folder.baselines.iter().any(|b| row.version <= b.version))
        .map(|row| Mismatch::Missing {
            version: row.version,
            name: row.name.clone(),
        });
    let unknown: Vec<Mismatch> = changed.chain(missing).collect();
    if !unknown.is_empty() {
        return Err(Error::Mismatch(unknown));
    }
    let mut applied = folder.clone();
    // Built as the database was: with the baseline only if it began with that.
    let by_files = |version| {
        let ran = rows.iter().filter(|row| row.how == How::Applied);
        let mut ran = ran.filter(|row| folder.find(row.version).is_some());
        ran.any(|row| row.version <= version)
    };
    applied.baselines.retain(|file| !by_files(file.version));
    applied
        .files
        .retain(|file| status.history.stands(file.version));
    let should = built(&applied, place).await?;
    let is = dump::schema(database, &dump_options(options)).await?;
    Ok(Drift {
        version: Some(status.history.newest()),
        differences: diff(&should, &is),
        left_out: is.left_out,
    })
}

fn dump_options(options: &Options) -> dump::Options {
    dump::Options {
        table: options.table.clone(),
        ..dump::Options::default()
    }
}

/// The schema as a run left it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Recorded {
    /// The schema then.
    pub schema: Schema,
    /// When, in milliseconds since 1970 by the database's clock.
    pub when_ms: i64,
    /// Who recorded it.
    pub by: String,
}

/// What [`record`] wrote last; nothing if it never did, or by a version of this library that wrote
/// schemas in another way.
///
/// # Errors
/// When the database can't be read.
pub async fn recorded(database: &Database, options: &Options) -> Result<Option<Recorded>, Error> {
    with_session!(database, options, create: false, |session| {
        let mut session = session;
        read(&mut session).await
    })
}

async fn read<S: Session>(session: &mut S) -> Result<Option<Recorded>, Error> {
    let table = session.tables().recorded.clone();
    let sql = format!(
        "select schema_text, recorded_ms, recorded_by from {table} where id = 1 and format = {FORMAT}"
    );
    let rows = match session.conn().texts(&sql).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => return Ok(None),
        Err(error) => return Err(Error::database("read the recorded schema")(error)),
    };
    let Some(row) = rows.into_iter().next() else {
        return Ok(None);
    };
    let text = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
    let schema = serde_json::from_str(&text(0))
        .map_err(|e| Error::Refused(format!("the recorded schema in {table} is broken: {e}")))?;
    Ok(Some(Recorded {
        schema,
        when_ms: text(1).parse().unwrap_or(0),
        by: text(2),
    }))
}

/// Records the schema as it is now, for the next look. Hold the lock around it, as `run` does.
///
/// # Errors
/// When the database can't be read or written.
pub async fn record(database: &Database, options: &Options) -> Result<Schema, Error> {
    let schema = dump::schema(database, &dump_options(options)).await?;
    let text = serde_json::to_string(&schema)
        .map_err(|e| Error::Refused(format!("could not write the schema down: {e}")))?;
    with_session!(database, options, create: true, |session| {
        let mut session = session;
        write(&mut session, &text).await
    })?;
    Ok(schema)
}

async fn write<S: Session>(session: &mut S, text: &str) -> Result<(), Error> {
    let table = session.tables().recorded.clone();
    let long = if S::DIALECT == Dialect::Mysql {
        "longtext"
    } else {
        "text"
    };
    let by = crate::lock::Owner::me("").name;
    let statements = [
        format!(
            "create table if not exists {table} (id smallint not null primary key, \
             format integer not null, schema_text {long} not null, recorded_ms bigint not null, \
             recorded_by text not null)"
        ),
        S::BEGIN.to_owned(),
        format!("delete from {table} where id = 1"),
        format!(
            "insert into {table} (id, format, schema_text, recorded_ms, recorded_by) \
             values (1, {FORMAT}, {}, {}, {})",
            literal(text, S::DIALECT),
            S::NOW,
            literal(&by, S::DIALECT)
        ),
        "commit".to_owned(),
    ];
    for sql in &statements {
        session
            .conn()
            .execute(sql)
            .await
            .map_err(Error::database("record the schema"))?;
    }
    Ok(())
}

/// What changed since the schema was recorded; nothing is recorded: `None`.
///
/// # Errors
/// When the database can't be read.
pub async fn since_recorded(
    database: &Database,
    options: &Options,
) -> Result<Option<(Recorded, Vec<Difference>)>, Error> {
    let Some(then) = recorded(database, options).await? else {
        return Ok(None);
    };
    let now = dump::schema(database, &dump_options(options)).await?;
    let differences = diff(&then.schema, &now);
    Ok(Some((then, differences)))
}
