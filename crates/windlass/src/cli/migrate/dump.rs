//! `windlass migrate dump`: the schema as SQL text.

use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::{Database, dump};

use super::{Outcome, Where, refused};
use crate::cli::complain;
use crate::report::Problem;

/// Write the schema as SQL text that builds it again. Needs no pg_dump, mysqldump or sqlite3.
///
/// The text is canonical: the same schema gives the same bytes. Our own tables (history, lock,
/// journal; without --history), owners, grants and counters are left out. What can't be written is named on standard
/// error. Load it with `psql -f`, `mysql`, `sqlite3`, or as the first file of a folder of migrations.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    /// Rows as well, as they are in one moment
    #[arg(long)]
    rows: bool,
    /// Our own tables as well: with their rows, what `rehearse --from` this dump needs
    #[arg(long)]
    history: bool,
    /// Write into this file, which appears when it is complete; otherwise to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print objects, their statements and what was left out as JSON (without rows)
    #[arg(long, conflicts_with_all = ["rows", "output"])]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let options = dump::Options {
        table: args.place.table.clone(),
        rows: args.rows,
        ours: args.history,
    };
    if args.json {
        let schema = dump::schema(&database, &options).await?;
        let value = json!({
            "dialect": schema.dialect,
            "hash": schema.hash(),
            "objects": schema.objects,
            "left_out": schema.left_out,
        });
        return Ok(Outcome::new(Vec::new(), value));
    }
    let left_out = match &args.output {
        None => dump::dump(&database, &options, &mut std::io::stdout()).await?,
        Some(path) => into_file(&database, &options, path).await?,
    };
    for what in left_out {
        complain(format_args!("windlass: not in the dump: {what}"));
    }
    Ok(Outcome::new(Vec::new(), json!(null)))
}

/// Beside the file, then over it: a dump that failed half way replaces nothing.
async fn into_file(
    database: &Database,
    options: &dump::Options,
    path: &Path,
) -> Result<Vec<String>, Problem> {
    let failed = |e: std::io::Error| refused(format!("could not write {}: {e}", path.display()));
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut out = BufWriter::new(&mut file);
    let left_out = dump::dump(database, options, &mut out).await?;
    out.flush().map_err(failed)?;
    drop(out);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|e| failed(e.error))?;
    Ok(left_out)
}
