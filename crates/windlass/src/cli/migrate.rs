//! `windlass migrate`: database migrations, decoupled from the start of applications.
//!
//! Needs nothing but a folder of SQL files and a database's address: no data folder, no server.

mod baseline;
mod data;
mod diff;
mod down;
mod drift;
mod dump;
mod exec;
mod new;
mod old_image;
mod old_release;
mod plan;
mod prove;
mod rehearse;
mod repair;
mod run;
pub(super) mod status;
mod trial;
mod unlock;
mod up;
mod upgrades;
pub(super) mod verify;
mod wait;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use windlass_migrate::folder::{Placeholders, Source, parse_duration};
use windlass_migrate::gate::Gate;
use windlass_migrate::plan::Rules;
use windlass_migrate::release::Oldest;
use windlass_migrate::run::{Event, Options, Report, Tool};
use windlass_migrate::{Database, Folder, Version};

use super::{complain, say};
use crate::report::{EXIT_INTERNAL, EXIT_MIGRATE_FAILED, EXIT_OK, Problem};

const HELP: &str = "\
A migration is a file NNNN_name.sql (or YYYYMMDDHHMMSS_name.sql) in a folder. Each runs once, in order,
in a transaction together with its row in the history, under a lock that many processes may want at once.

  windlass migrate new add_email            write the next file
  windlass migrate plan                     see what would run, and how
  windlass migrate up                       run it
  windlass migrate exec -- my-app           start an application once the schema fits it

A file that removes what older code needs begins with `-- windlass: phase contract`. It waits until you say
which is the oldest release that still runs: up --oldest-running 1.4.0

A file that changes many rows begins with `-- windlass: phase data`: see `windlass migrate data --help`.

Exit codes: 0 done, or nothing to do; 1 it failed; 2 the command line is wrong; 3 migrations are pending;
4 somebody else has the lock; 5 a migration is half done; 6 files and history don't fit, a check found
something, or schemas differ; 7 unsafe (lint, prove, rehearse); 8 the schema is too new for this application.

More: docs/migrate.md";

/// Migrate databases: one command, a lock, and files in order
#[derive(Debug, ClapArgs)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the next migration's file
    New(new::Args),
    /// Show what is applied, what is pending, what waits, and who has the lock
    Status(status::Args),
    /// Show what `up` would run: each statement, and how
    Plan(plan::Args),
    /// Apply what is pending
    Up(up::Args),
    /// Change rows in batches, beside everything else: data migrations
    Data(data::Args),
    /// Undo the newest migration, or those above a version
    Down(down::Args),
    /// Check that files, history and data fit
    Verify(verify::Args),
    /// Take over a database that has the tables already: record files as applied, run nothing
    Baseline(baseline::Args),
    /// Put the history right after something went wrong
    Repair(repair::Args),
    /// Show who has the lock, since when, doing what; take it away
    Unlock(unlock::Args),
    /// Wait until an application may start on the schema
    Wait(wait::Args),
    /// Wait (or migrate, with WINDLASS_MIGRATE=1), then become the application
    Exec(exec::Args),
    /// Run another migrator under our lock
    Run(run::Args),
    /// Write the schema as SQL text that builds it again; with --rows the rows, too
    Dump(dump::Args),
    /// Say what differs between two schemas: databases, folders, dumps
    Diff(diff::Args),
    /// Say whether the database is what its migrations make, and what was changed by hand
    Drift(drift::Args),
    /// Prove that the old release runs on the new schema, and the new one on what it meets
    Prove(prove::Args),
    /// Run the plan on a copy of the data, under load, and measure its locks
    Rehearse(Box<rehearse::Args>),
    /// Say what is dangerous in a folder of migrations
    Lint(super::migrate_lint::LintArgs),
    /// Not for people: becomes the command, and dies with its parent
    #[command(hide = true)]
    RunChild(run::ChildArgs),
}

/// Which database, which folder.
#[derive(Debug, ClapArgs)]
struct Where {
    /// The database: postgres://user:password@host/name, mysql://... or sqlite:PATH
    #[arg(long, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    url: String,
    /// The history table: NAME or SCHEMA.NAME; the lock's and the journal's are named after it
    #[arg(
        long,
        value_name = "NAME",
        default_value = "windlass_migrations",
        env = "WINDLASS_MIGRATE_TABLE"
    )]
    table: String,
    /// MySQL behind Galera or a proxy: no named lock of a session, only the lock's row
    #[arg(long)]
    lease_only: bool,
}

/// The folder.
#[derive(Debug, ClapArgs)]
struct Files {
    /// The folder of SQL files
    #[arg(
        long,
        value_name = "DIR",
        default_value = "migrations",
        env = "WINDLASS_MIGRATE_DIR"
    )]
    dir: PathBuf,
    #[command(flatten)]
    placeholders: PlaceholderArgs,
}

/// `${name}` in the files of Flyway.
#[derive(Debug, ClapArgs)]
pub(super) struct PlaceholderArgs {
    /// In files named as Flyway's (V1.4__x.sql, R__x.sql), what ${NAME} stands for; may be given again. Flyway's own
    /// FLYWAY_PLACEHOLDERS_NAME in the environment says the same
    #[arg(long, value_name = "NAME=VALUE", value_parser = placeholder)]
    placeholder: Vec<(String, String)>,
    /// ${NAME} is text like any other, as with refinery; Flyway's own FLYWAY_PLACEHOLDER_REPLACEMENT=false says the
    /// same
    #[arg(long, conflicts_with = "placeholder")]
    no_placeholders: bool,
}

impl PlaceholderArgs {
    pub(super) fn source(&self, dir: &Path) -> Source {
        let mut source = Source::from(dir);
        let off = std::env::var_os("FLYWAY_PLACEHOLDER_REPLACEMENT");
        if self.no_placeholders || off.is_some_and(|value| value.eq_ignore_ascii_case("false")) {
            source.placeholders = Placeholders::none();
            return source;
        }
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
                && let Some(name) = name.strip_prefix("FLYWAY_PLACEHOLDERS_")
            {
                source.placeholders.set(name, value);
            }
        }
        for (name, value) in &self.placeholder {
            source.placeholders.set(name, value);
        }
        source
    }
}

fn placeholder(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("say NAME=VALUE, such as schema=app".to_owned()),
    }
}

/// A lock in Redis.
#[derive(Debug, ClapArgs)]
struct GateArgs {
    /// A lock in Redis to ask for before the database's own, so that those who wait do not ask the
    /// database: redis://USER:PASSWORD@HOST:PORT/DB (HOST is enough), rediss://... for TLS, unix:///SOCKET. The
    /// database's lock is taken all the same
    #[arg(
        long = "lock",
        value_name = "URL",
        env = "WINDLASS_MIGRATE_LOCK",
        hide_env_values = true
    )]
    gate: Option<String>,
    /// Its key's name; by default the database's address and the history table
    #[arg(long, value_name = "NAME", env = "WINDLASS_MIGRATE_LOCK_NAME")]
    lock_name: Option<String>,
}

impl GateArgs {
    fn gate(&self, place: &Where) -> Result<Option<Gate>, Problem> {
        let Some(url) = &self.gate else {
            return Ok(None);
        };
        let name = self.lock_name.as_deref();
        Ok(Some(Gate::new(
            url,
            name,
            &place.database()?,
            &place.table,
        )?))
    }
}

/// Waiting for the lock.
#[derive(Debug, ClapArgs)]
struct Lock {
    #[command(flatten)]
    gate: GateArgs,
    /// How long to wait while somebody else migrates, such as 30s, 5min; 0: not at all
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = duration)]
    lock_wait: Duration,
    /// How long a holder may be silent before its lock is taken
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = lease)]
    lease: Duration,
}

/// Another migrator at the same database.
#[derive(Debug, ClapArgs)]
struct Beside {
    /// While a team changes from another tool to this one, or back: take its lock too, take what it has applied
    /// for applied, and write into its history table what is applied here: dbmate, sqlx, golang-migrate, goose,
    /// refinery or flyway
    #[arg(long, value_name = "TOOL", env = "WINDLASS_MIGRATE_BESIDE", value_parser = baseline::tool)]
    beside: Option<Tool>,
}

/// Limits for statements.
#[derive(Debug, ClapArgs)]
struct Limits {
    /// How long a statement may wait for locks of other sessions before it lets them pass and is
    /// tried again; 0: as long as it takes
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration)]
    lock_timeout: Duration,
    /// How often it is tried again
    #[arg(long, value_name = "N", default_value_t = 20)]
    retries: u32,
    /// How long a statement may run; 0: as long as it takes
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration)]
    statement_timeout: Duration,
}

/// What may run.
#[derive(Debug, ClapArgs)]
struct Allow {
    /// The oldest release that still runs: 1.4.0, or migration:NUMBER (the newest that it has), or
    /// this (nothing older than this folder). Lets contract migrations run that it satisfies
    #[arg(long, value_name = "RELEASE", env = "WINDLASS_OLDEST_RUNNING")]
    oldest_running: Option<Oldest>,
    /// Run files also whose numbers are below those of applied ones
    #[arg(long)]
    allow_out_of_order: bool,
    /// Nothing above this version; repeatable files wait for a run up to the newest
    #[arg(long, value_name = "VERSION")]
    to: Option<Version>,
}

impl Where {
    fn database(&self) -> Result<Database, Problem> {
        Ok(Database::parse(&self.url)?)
    }

    fn options(&self) -> Options {
        Options {
            table: self.table.clone(),
            lease_only: self.lease_only,
            ..Options::default()
        }
    }
}

impl Files {
    fn source(&self) -> Source {
        self.placeholders.source(&self.dir)
    }

    fn read(&self) -> Result<Folder, Problem> {
        let read = self.source().read();
        Ok(read.map_err(windlass_migrate::Error::from)?)
    }
}

impl Lock {
    fn put(&self, options: &mut Options, place: &Where) -> Result<(), Problem> {
        options.lock_wait = self.lock_wait;
        options.lease = self.lease;
        options.gate = self.gate.gate(place)?;
        Ok(())
    }
}

impl Limits {
    fn put(&self, options: &mut Options) {
        options.lock_timeout = self.lock_timeout;
        options.statement_timeout = self.statement_timeout;
        options.retries = self.retries;
    }
}

impl Allow {
    fn rules(&self) -> Rules {
        Rules {
            allow_out_of_order: self.allow_out_of_order,
            oldest: self.oldest_running.clone(),
            to: self.to,
            go_back: true,
        }
    }
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "say 500ms, 30s, 5min, 1h, or 0".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    // Below that, a holder that is merely slow would lose it.
    if lease < Duration::from_secs(8) {
        return Err("a holder says every 2 s that it lives: give it 8s at least".to_owned());
    }
    Ok(lease)
}

/// What a command has to say: for people, for programs, and as exit code.
pub(super) struct Outcome {
    pub(super) text: Vec<String>,
    json: Value,
    code: u8,
}

impl Outcome {
    pub(super) fn new(text: Vec<String>, json: Value) -> Self {
        Self {
            text,
            json,
            code: EXIT_OK,
        }
    }

    fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

/// Parsed arguments to exit code. Not with the other commands: this one needs no data folder, and
/// may become another program.
pub(crate) fn main(args: Args) -> ExitCode {
    let form = args.command.form();
    let code = match args.command {
        Command::RunChild(args) => run::child(&args),
        Command::Lint(args) => super::migrate_lint::run(&args),
        Command::Exec(args) => exec::main(args),
        // It has something to tidy up when it is stopped.
        Command::Prove(args) => return conclude(form, prove::run(&args)),
        Command::Rehearse(args) => return conclude(form, rehearse::run(&args)),
        other => return finish(form, other.run()),
    };
    end(form, code)
}

/// How a command says what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Words,
    Json,
    /// On one line of standard error: standard output is another program's.
    JsonAside,
}

impl From<bool> for Form {
    fn from(json: bool) -> Self {
        if json { Self::Json } else { Self::Words }
    }
}

impl Form {
    /// Says it, if it is to be JSON.
    fn say(self, value: &Value) -> bool {
        match self {
            Self::Words => return false,
            Self::Json => say(serde_json::to_string_pretty(value).unwrap_or_default()),
            Self::JsonAside => complain(value),
        }
        true
    }
}

/// Works until there is something to say, and says it.
pub(super) fn finish(
    form: impl Into<Form>,
    work: impl Future<Output = Result<Outcome, Problem>>,
) -> ExitCode {
    conclude(form.into(), interruptible(work))
}

/// The same for work that hears signals by itself.
fn conclude(form: Form, work: impl Future<Output = Result<Outcome, Problem>>) -> ExitCode {
    let done = block_on(work).and_then(|done| {
        let outcome = done?;
        if !form.say(&outcome.json) {
            outcome.text.iter().for_each(say);
        }
        Ok(outcome.code)
    });
    end(form, done)
}

/// The exit code; an error in words or as JSON.
fn end(form: Form, code: Result<u8, Problem>) -> ExitCode {
    match code {
        Ok(code) => ExitCode::from(code),
        Err(problem) => {
            let error = json!({
                "error": problem.message(),
                "hint": problem.hint_text(),
                "exit_code": problem.exit_code(),
            });
            if !form.say(&error) {
                complain(&problem);
            }
            ExitCode::from(problem.exit_code())
        }
    }
}

impl Command {
    fn form(&self) -> Form {
        let json = match self {
            Self::New(args) => args.json,
            Self::Status(args) => args.json,
            Self::Plan(args) => args.json,
            Self::Up(args) => args.json,
            Self::Data(args) => args.json,
            Self::Down(args) => args.json,
            Self::Verify(args) => args.json,
            Self::Baseline(args) => args.json,
            Self::Repair(args) => args.json,
            Self::Unlock(args) => args.json,
            Self::Wait(args) => args.json,
            Self::Dump(args) => args.json,
            Self::Diff(args) => args.json,
            Self::Drift(args) => args.json,
            Self::Prove(args) => args.json,
            Self::Rehearse(args) => args.json,
            Self::Exec(args) if args.json => return Form::JsonAside,
            Self::Run(args) if args.json => return Form::JsonAside,
            Self::Exec(_) | Self::Run(_) | Self::RunChild(_) | Self::Lint(_) => false,
        };
        Form::from(json)
    }

    async fn run(self) -> Result<Outcome, Problem> {
        match self {
            Self::New(args) => new::run(&args),
            Self::Status(args) => status::run(&args).await,
            Self::Plan(args) => plan::run(&args).await,
            Self::Up(args) => up::run(&args).await,
            Self::Data(args) => data::run(&args).await,
            Self::Down(args) => down::run(&args).await,
            Self::Verify(args) => verify::run(&args).await,
            Self::Baseline(args) => baseline::run(&args).await,
            Self::Repair(args) => repair::run(&args).await,
            Self::Unlock(args) => unlock::run(&args).await,
            Self::Wait(args) => wait::run(&args).await,
            Self::Run(args) => run::run(&args).await,
            Self::Dump(args) => dump::run(&args).await,
            Self::Diff(args) => diff::run(&args).await,
            Self::Drift(args) => drift::run(&args).await,
            // Handled before: they become other programs, ask no database, or tidy up.
            Self::Prove(_)
            | Self::Rehearse(_)
            | Self::Exec(_)
            | Self::RunChild(_)
            | Self::Lint(_) => Err(Problem::new("not here").code(EXIT_INTERNAL)),
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::new(format!("could not start: {e}")).code(EXIT_INTERNAL))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(done)
}

/// Ends the work at SIGINT and SIGTERM, also as process 1, where they have no effect by default.
/// Connections are dropped: transactions roll back, sessions' locks are freed.
async fn interruptible<T>(work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let stopped = |name: &str, number: u8| {
        Problem::new(format!(
            "stopped by {name}; what was not recorded is rolled back"
        ))
        .code(128 + number)
    };
    let failed = |e: std::io::Error| Problem::new(format!("could not listen for signals: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => Err(stopped("SIGINT", 2)),
        _ = terminate.recv() => Err(stopped("SIGTERM", 15)),
    }
}

/// Says on standard error what happens.
pub(super) fn tell(event: Event) {
    match event {
        Event::Waiting { holder } => match holder {
            Some(holder) => complain(format_args!("windlass: waiting for the lock of {holder}")),
            None => complain("windlass: waiting for the lock"),
        },
        Event::Gate { why } => complain(format_args!(
            "windlass: waiting for the lock in Redis: {why}"
        )),
        Event::Beside { tool } => {
            complain(format_args!("windlass: waiting for the lock of {tool}"));
        }
        Event::GateLost { why } => complain(format_args!(
            "windlass: the lock in Redis was lost ({why}); going on under the database's own"
        )),
        Event::Begin { file, .. } => complain(format_args!("windlass: {file} ...")),
        Event::Retry {
            file,
            line,
            attempt,
            pause_ms,
            why,
        } => complain(format_args!(
            "windlass: {file}, line {line}: {why}; try {attempt} in {pause_ms} ms"
        )),
        Event::Resumed {
            file,
            step,
            took_effect,
        } => complain(format_args!(
            "windlass: {file}: statement {step} was interrupted, and {}",
            if took_effect {
                "took effect: going on after it"
            } else {
                "did not take effect: running it again"
            }
        )),
        Event::Batch { .. } => {}
        Event::Done(done) => complain(format_args!("windlass: {} {} ms", done.file, done.ms)),
    }
}

/// What came of a run, in words. `verb`: "applied".
pub(super) fn report(
    report: &Report,
    folder: &Folder,
    database: &Database,
    verb: &str,
) -> Vec<String> {
    let dialect = database.dialect();
    let mut text: Vec<String> = report
        .done
        .iter()
        .map(|done| format!("{verb} {} ({} ms)", done.file, done.ms))
        .collect();
    for file in report.taken.iter().filter_map(|v| folder.find(*v)) {
        text.push(format!("{} was applied by the other tool", file.file));
    }
    if report.done.is_empty() {
        text.push(format!("nothing to do: {database}"));
    }
    for held in &report.held {
        text.push(format!("waits: {}: {}", held.file, held.why));
        if let Some(file) = folder.find(held.version) {
            for loss in plan::losses(file, dialect) {
                text.push(format!("       it {loss}"));
            }
        }
    }
    for version in &report.data {
        let file = folder.find(*version).map(|f| f.file.as_str());
        text.push(format!(
            "data is to be changed: {}: windlass migrate data",
            file.unwrap_or_default()
        ));
    }
    if report.held.iter().any(|h| h.data.is_empty()) {
        text.push("       let it run with --oldest-running RELEASE".to_owned());
    }
    if !report.ahead.is_empty() {
        text.push(format!(
            "the database has {} migration(s) of a newer release",
            report.ahead.len()
        ));
    }
    text.extend(report.warnings.iter().map(|w| format!("note: {w}")));
    text
}

/// A moment, as people read it.
fn moment(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| ms.to_string(),
        |t| t.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

fn refused(text: impl Into<String>) -> Problem {
    Problem::new(text).code(EXIT_MIGRATE_FAILED)
}
