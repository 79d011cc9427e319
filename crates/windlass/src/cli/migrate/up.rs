//! `windlass migrate up`: applies what is pending.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::json;
use windlass_migrate::run::{self, How, Report};

use super::data::News;
use super::{Allow, Beside, Files, Limits, Lock, Outcome, Where, duration, rehearse, report, tell};
use crate::report::Problem;

/// Apply what is pending.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    allow: Allow,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    beside: Beside,
    /// Then run data migrations too, and wait for them; and what waited for those
    #[arg(long)]
    with_data: bool,
    /// Run only the plan that was rehearsed: a report of `windlass migrate rehearse --output`
    #[arg(long, value_name = "FILE")]
    rehearsed: Option<PathBuf>,
    /// With --rehearsed: how long the rehearsal may have locked a table against reads or writes
    #[arg(long, value_name = "TIME", value_parser = duration, requires = "rehearsed")]
    max_hold: Option<Duration>,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(args: &Args) -> Result<Outcome, Problem> {
    let database = args.place.database()?;
    let mut options = args.place.options();
    options.rules = args.allow.rules();
    args.lock.put(&mut options, &args.place)?;
    args.limits.put(&mut options);
    options.beside = args.beside.beside;
    if let Some(file) = &args.rehearsed {
        options.only_plan = Some(rehearse::allowed(file, args.max_hold, &database)?);
    }
    let source = args.files.source();
    let (folder, mut done) = run::up_at(&database, source, &options, &mut tell).await?;
    if args.with_data && !done.data.is_empty() {
        let mut news = News::default();
        let mut tell_data = |event| news.tell(event);
        let how = How::default();
        let moved = run::data(&database, &folder, &options, &how, &mut tell_data, None).await?;
        let after = run::up(&database, &folder, &options, &mut tell).await?;
        done.done.extend(moved.done);
        done.done.extend(after.done);
        done = Report {
            done: done.done,
            ..after
        };
    }
    let text = report(&done, &folder, &database, "applied");
    let json = json!(done);
    // The process ends after this: to give back the memory of a thousand files, piece by piece, would be a good
    // part of what is left to do when nothing is pending.
    std::mem::forget(folder);
    Ok(Outcome::new(text, json))
}
