//! `windlass migrate diff`: what differs between two schemas.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::diff::{Difference, diff};
use windlass_migrate::drift::{self, Place};
use windlass_migrate::dump::{self, Schema};
use windlass_migrate::{Database, Folder};

use super::{Outcome, refused};
use crate::report::{EXIT_MIGRATE_MISMATCH, EXIT_OK, Problem};

/// Say what differs between two schemas, object by object.
///
/// Each is a database's address, a folder of migrations, or a file with a dump. Folders and dumps are
/// built in a scratch database, which is removed afterwards.
///
/// Exit codes: 0 the same; 6 they differ; 1 it could not be found out.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// postgres://..., mysql://..., sqlite:PATH, a folder, or a file of SQL
    #[arg(value_name = "FIRST")]
    first: String,
    /// The same
    #[arg(value_name = "SECOND")]
    second: String,
    #[command(flatten)]
    scratch: ScratchArgs,
    /// The history table, which is left out, with its companions
    #[arg(
        long,
        value_name = "NAME",
        default_value = "windlass_migrations",
        env = "WINDLASS_MIGRATE_TABLE"
    )]
    table: String,
    /// Print SQL, too, that makes the second like the first, where it follows without a guess
    #[arg(long)]
    sql: bool,
    /// Print the differences as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Where to build.
#[derive(Debug, ClapArgs)]
pub(super) struct ScratchArgs {
    /// A server for scratch databases; otherwise the one that is asked about, or DATABASE_URL
    #[arg(long, value_name = "URL")]
    scratch: Option<String>,
    /// SQL to run in a scratch database first: extensions and the like that files take for granted
    #[arg(long, value_name = "FILE")]
    prepare: Option<PathBuf>,
}

impl ScratchArgs {
    pub(super) fn place(&self, otherwise: Option<&Database>) -> Result<Place, Problem> {
        let server = match (&self.scratch, otherwise) {
            (Some(url), _) => Database::parse(url)?,
            (None, Some(database)) => database.clone(),
            (None, None) => match std::env::var("DATABASE_URL") {
                Ok(url) => Database::parse(&url)?,
                Err(_) => {
                    return Err(refused("a scratch database is needed to build this").hint(
                        "say on which server: --scratch postgres://user:password@host/database, \
                         mysql://... or sqlite:",
                    ));
                }
            },
        };
        let prepare = self.prepare.as_deref().map(text).transpose()?;
        Ok(Place { server, prepare })
    }
}

fn text(path: &Path) -> Result<String, Problem> {
    std::fs::read_to_string(path)
        .map_err(|e| refused(format!("could not read {}: {e}", path.display())))
}

/// One of the two.
enum Side {
    Database(Database),
    Folder(Folder),
    Dump(String),
}

impl Side {
    fn parse(word: &str) -> Result<Self, Problem> {
        let path = Path::new(word);
        if path.is_dir() {
            let folder = Folder::read(path).map_err(windlass_migrate::Error::from)?;
            if folder.files.is_empty() {
                return Err(refused(format!("{word} has no migrations")));
            }
            return Ok(Self::Folder(folder));
        }
        if path.is_file() {
            let mut begin = Vec::new();
            let file = std::fs::File::open(path);
            let read = file.and_then(|f| f.take(16).read_to_end(&mut begin));
            read.map_err(|e| refused(format!("could not read {word}: {e}")))?;
            return Ok(if begin.starts_with(b"SQLite format 3") {
                Self::Database(Database::parse(&format!("sqlite:{word}"))?)
            } else {
                Self::Dump(text(path)?)
            });
        }
        let known = ["postgres", "mysql", "mariadb", "sqlite"];
        if !known.iter().any(|scheme| word.starts_with(scheme)) {
            return Err(refused(format!(
                "{word} is no folder, no file, and no database's address"
            )));
        }
        Ok(Self::Database(Database::parse(word)?))
    }

    fn database(&self) -> Option<&Database> {
        match self {
            Self::Database(database) => Some(database),
            _ => None,
        }
    }

    async fn schema(
        &self,
        options: &dump::Options,
        place: Option<&Place>,
    ) -> Result<Schema, Problem> {
        Ok(match (self, place) {
            (Self::Database(database), _) => dump::schema(database, options).await?,
            (Self::Folder(folder), Some(place)) => drift::built(folder, place).await?,
            (Self::Dump(text), Some(place)) => drift::loaded(text, place).await?,
            (_, None) => return Err(refused("nowhere to build")),
        })
    }
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let (one, two) = (Side::parse(&args.first)?, Side::parse(&args.second)?);
    let place = match (one.database(), two.database()) {
        (Some(_), Some(_)) => None,
        (first, second) => Some(args.scratch.place(first.or(second))?),
    };
    let options = dump::Options {
        table: args.table.clone(),
        ..dump::Options::default()
    };
    let first = one.schema(&options, place.as_ref()).await?;
    let second = two.schema(&options, place.as_ref()).await?;
    if first.dialect != second.dialect {
        return Err(refused("databases of different kinds can't be compared"));
    }
    let name = |side: &Side, word: &str| match side.database() {
        Some(database) => database.to_string(),
        None => word.to_owned(),
    };
    let (a, b) = (name(&one, &args.first), name(&two, &args.second));
    let found = diff(&first, &second);
    let mut text = words(&found, "the first", "the second", args.sql);
    if found.is_empty() {
        text.push(format!("the same schema: {a} and {b}"));
    } else {
        text.insert(0, format!("first:  {a}\nsecond: {b}"));
    }
    for (which, schema) in [("first", &first), ("second", &second)] {
        let left_out = schema.left_out.iter();
        text.extend(left_out.map(|what| format!("not compared: in the {which}: {what}")));
    }
    let json = json!({
        "equal": found.is_empty(),
        "first": a,
        "second": b,
        "differences": found,
        "not_compared": { "first": first.left_out, "second": second.left_out },
    });
    Ok(Outcome::new(text, json).code(code(&found)))
}

/// The differences in words, and the SQL that is offered.
pub(super) fn words(found: &[Difference], first: &str, second: &str, sql: bool) -> Vec<String> {
    let mut out: Vec<String> = found.iter().flat_map(|d| d.words(first, second)).collect();
    let offered: Vec<&String> = found.iter().flat_map(|d| &d.sql).collect();
    if sql && !offered.is_empty() {
        out.push(format!("makes {second} like {first}, as far as it goes:"));
        out.extend(offered.iter().map(|sql| format!("{sql};")));
    }
    out
}

pub(super) fn code(found: &[Difference]) -> u8 {
    if found.is_empty() {
        EXIT_OK
    } else {
        EXIT_MIGRATE_MISMATCH
    }
}
