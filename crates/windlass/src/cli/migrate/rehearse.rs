//! `windlass migrate rehearse`: the plan on a copy, under load, measured.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::rehearse::{Rehearsal, rehearse};
use windlass_migrate::run::Options;
use windlass_migrate::scratch::Scratches;
use windlass_migrate::sql::Dialect;
use windlass_migrate::{Database, Folder, dump, load};

use super::trial::{Trial, shell, stopped};
use super::{Allow, Files, Limits, Outcome, Where, duration, refused, tell};
use crate::cli::complain;
use crate::report::{EXIT_MIGRATE_UNSAFE, EXIT_OK, Problem};

const HELP: &str = "\
What `up` would run is run on a copy of the data, under load, and each statement is measured: which locks on
which tables it took, how long it held them and waited for them, whether it rewrote or read whole tables, and
who had to wait for it. PostgreSQL, MySQL, MariaDB and SQLite; the report says what each can't tell.

  windlass migrate rehearse --from backup.sql --output rehearsal.json
  windlass migrate up --rehearsed rehearsal.json --max-hold 500ms

--from: a plain SQL dump (pg_dump, mysqldump, sqlite3 .dump, windlass migrate dump --rows --history), the address
of a database (copied in one snapshot, while it works), a file of SQLite, or template:NAME (PostgreSQL), a database
on the server of --url that nobody uses meanwhile. The copy is made on that server (or that of --scratch), for SQLite
in the temporary folder, and removed afterwards.

MariaDB shows locks only with a plugin: INSTALL SONAME 'metadata_lock_info' on the server where the copy is made.
SQLite locks the whole database: measured is how long nobody else could write, or read.

Without --load, sessions of ours read and write the tables that the plan names. With it, your command does, with
DATABASE_URL; it is ended when the plan has run.

Exit codes: 0 done; 1 the plan fails on this data, or could not be tried; 6 files and history don't fit, or a
check found something; 7 a lock was held for longer than --max-hold, or a check fails afterwards; 130, 143 after
SIGINT, SIGTERM.";

/// Run the plan on a copy, under load, and measure it.
#[derive(Debug, ClapArgs)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    allow: Allow,
    #[command(flatten)]
    limits: Limits,
    /// What to copy: a dump's file, a database's address, an SQLite file, or template:NAME
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// Make the copy on the server of this address instead
    #[arg(
        long,
        value_name = "URL",
        env = "WINDLASS_SCRATCH_URL",
        hide_env_values = true
    )]
    scratch: Option<String>,
    /// A command that works on the copy meanwhile
    #[arg(long, value_name = "COMMAND")]
    load: Option<String>,
    /// No load at all
    #[arg(long, conflicts_with = "load")]
    no_load: bool,
    /// How long a table may be locked against reads or writes
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_hold: Option<Duration>,
    /// Write the report as JSON: to be kept, and for `up --rehearsed`
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let place = match &args.scratch {
        Some(url) => Database::parse(url)?,
        None => args.place.database()?,
    };
    let folder = args.files.read()?;
    let mut options = args.place.options();
    options.rules = args.allow.rules();
    args.limits.put(&mut options);
    let mut scratches = Scratches::default();
    let worked = tokio::select! {
        done = on_a_copy(args, &place, &folder, &options, &mut scratches) => done,
        problem = stopped() => Err(problem),
    };
    let removed = scratches.remove_all().await;
    let report = worked?;
    removed?;
    outcome(args, &report)
}

async fn on_a_copy(
    args: &Args,
    place: &Database,
    folder: &Folder,
    options: &Options,
    scratches: &mut Scratches,
) -> Result<Rehearsal, Problem> {
    complain(format_args!("windlass: copying ..."));
    let copy = copy(args, place, options, scratches).await?;
    let Some(command) = &args.load else {
        return Ok(rehearse(&copy, folder, options, !args.no_load, &mut tell).await?);
    };
    let here = std::env::current_dir().map_err(|e| refused(format!("no current folder: {e}")))?;
    let command = shell(command);
    let trial = Trial {
        command: &command,
        folder: &here,
        database: &copy,
        env: &[],
        time_limit: Duration::from_secs(365 * 24 * 3600),
        verbose: false,
    };
    let mut load = std::pin::pin!(trial.run());
    // It connects, and is at work, before the first statement runs.
    let begun = tokio::time::timeout(Duration::from_secs(1), &mut load).await;
    if let Ok(ended) = begun {
        let ended = ended?;
        return Err(refused(format!(
            "the load {} before the plan began: {}",
            ended.words(),
            ended.output
        )));
    }
    let mut tell = tell;
    let mut work = std::pin::pin!(rehearse(&copy, folder, options, false, &mut tell));
    tokio::select! {
        report = &mut work => Ok(report?),
        ended = &mut load => {
            let ended = ended?;
            complain(format_args!("windlass: the load {} on its way", ended.words()));
            Ok(work.await?)
        }
    }
}

async fn copy(
    args: &Args,
    place: &Database,
    options: &Options,
    scratches: &mut Scratches,
) -> Result<Database, Problem> {
    if let Some(name) = args.from.strip_prefix("template:") {
        if place.dialect() != Dialect::Postgres {
            return Err(refused(
                "only PostgreSQL has templates: give the database's address as --from".to_owned(),
            ));
        }
        return Ok(scratches.copy_of(&place.named(name)).await?);
    }
    let source = source(&args.from)?;
    if let Some(source) = &source
        && source.dialect() != place.dialect()
    {
        return Err(refused(format!(
            "{source} is another kind of database than {place}: rehearse on the kind that is migrated"
        )));
    }
    if let Some(source) = &source
        && source.dialect() == Dialect::Sqlite
    {
        return Ok(scratches.copy_of(source).await?);
    }
    let copy = scratches.create(place).await?;
    if let Some(source) = source {
        let how = dump::Options {
            table: options.table.clone(),
            rows: true,
            ours: true,
        };
        for left_out in dump::copy(&source, &copy, &how).await? {
            complain(format_args!("windlass: not copied: {left_out}"));
        }
    } else {
        let loaded = load::load(&copy, Path::new(&args.from)).await?;
        for left_out in &loaded.left_out {
            complain(format_args!("windlass: left out: {left_out}"));
        }
    }
    Ok(copy)
}

/// The database that is copied; `None`: it is a dump's file.
fn source(from: &str) -> Result<Option<Database>, Problem> {
    if from.contains("://") || from.starts_with("sqlite:") || from.starts_with("sqlite3:") {
        return Ok(Some(Database::parse(from)?));
    }
    let mut magic = [0; 16];
    let read = std::fs::File::open(from).and_then(|mut file| file.read_exact(&mut magic));
    if read.is_ok() && &magic == b"SQLite format 3\0" {
        return Ok(Some(Database::sqlite(Path::new(from))?));
    }
    Ok(None)
}

fn outcome(args: &Args, report: &Rehearsal) -> Result<Outcome, Problem> {
    let max = args
        .max_hold
        .map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
    let problem = report.problem(max);
    if let Some(file) = &args.output {
        let text = serde_json::to_string_pretty(report).unwrap_or_default();
        std::fs::write(file, text)
            .map_err(|e| refused(format!("could not write {}: {e}", file.display())))?;
    }
    let mut text = words(report);
    if let Some(problem) = &problem {
        text.push(format!("not good enough: {problem}"));
    }
    let code = if problem.is_some() {
        EXIT_MIGRATE_UNSAFE
    } else {
        EXIT_OK
    };
    let mut json = json!(report);
    json["problem"] = json!(problem);
    Ok(Outcome::new(text, json).code(code))
}

fn words(report: &Rehearsal) -> Vec<String> {
    let mut text = Vec::new();
    let mut file = "";
    for one in &report.statements {
        if one.file != file {
            file = &one.file;
            text.push(file.to_owned());
        }
        let first: String = one
            .sql
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(70)
            .collect();
        text.push(format!("  line {}: {first}", one.line));
        let mut facts = vec![format!("{} ms", one.ms)];
        if one.waited_ms > 0 {
            facts.push(format!("{} ms of it waiting", one.waited_ms));
        }
        if one.rows > 0 {
            facts.push(format!("{} rows", one.rows));
        }
        facts.extend(one.algorithm.clone());
        if !one.rewritten.is_empty() {
            facts.push(format!("rewrites {}", one.rewritten.join(", ")));
        }
        if !one.scanned.is_empty() {
            facts.push(format!("reads all of {}", one.scanned.join(", ")));
        }
        if one.bytes > 0 {
            facts.push(format!("{} KiB", one.bytes.div_ceil(1024)));
        }
        if one.blocked_sessions > 0 {
            facts.push(format!(
                "{} session(s) waited for it, for {} ms",
                one.blocked_sessions, one.blocked_ms
            ));
        }
        text.push(format!("    {}", facts.join("; ")));
        for lock in &one.locks {
            let blocks = lock
                .blocks()
                .map_or_else(String::new, |b| format!(", against {b}"));
            text.push(format!(
                "    {}: {} for {} ms{blocks}",
                lock.table, lock.mode, lock.held_ms
            ));
        }
    }
    if report.statements.is_empty() {
        text.push("nothing to do: no migration is pending in the copy".to_owned());
    }
    if report.retries > 0 {
        text.push(format!(
            "{} time(s) a lock did not come in time, and it was tried again",
            report.retries
        ));
    }
    if let Some(load) = &report.load {
        text.push(format!(
            "load: {} reads, the slowest {} ms; {} writes, the slowest {} ms; {} failed{}",
            load.reads,
            load.longest_read_ms,
            load.writes,
            load.longest_write_ms,
            load.errors,
            load.first_error
                .as_ref()
                .map_or_else(String::new, |e| format!(", the first: {e}"))
        ));
    }
    text.extend(
        report
            .checks_before
            .iter()
            .map(|c| format!("check before: {c}")),
    );
    text.extend(
        report
            .checks_after
            .iter()
            .map(|c| format!("check after: {c}")),
    );
    if let Some((statement, lock)) = report.longest() {
        text.push(format!(
            "longest lock: {} ms on {} ({}, line {})",
            lock.held_ms, lock.table, statement.file, statement.line
        ));
    }
    text.extend(report.notes.iter().map(|n| format!("note: {n}")));
    text.push(format!("plan {}", report.hash));
    text
}

/// Reads a report for `up`, and refuses it if it is over the budget, or about another kind of
/// database. The plan's hash that it is for.
pub(super) fn allowed(
    file: &Path,
    max_hold: Option<Duration>,
    database: &Database,
) -> Result<String, Problem> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| refused(format!("could not read {}: {e}", file.display())))?;
    let report: Rehearsal = serde_json::from_str(&text).map_err(|e| {
        refused(format!(
            "{} is no report of `windlass migrate rehearse --output`: {e}",
            file.display()
        ))
    })?;
    if report.is_of_another_kind(database) {
        return Err(refused(format!(
            "{} was rehearsed on another kind of database than {database}: its locks say nothing \
             here; rehearse again",
            file.display()
        ))
        .code(EXIT_MIGRATE_UNSAFE));
    }
    let max = max_hold.map(|max| u64::try_from(max.as_millis()).unwrap_or(u64::MAX));
    match report.problem(max) {
        Some(problem) => {
            Err(refused(format!("refused after the rehearsal: {problem}"))
                .code(EXIT_MIGRATE_UNSAFE))
        }
        None => Ok(report.hash),
    }
}
