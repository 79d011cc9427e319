//! `windlass run`: the build of this checkout, here, through the same spec, plan, shim and journal
//! as on the server.

mod display;
mod workspace;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};
use windlass_engine::checkout::resolve_head;
use windlass_engine::executor::process::ProcessExecutor;
use windlass_engine::executor::{Executor, Followed, Follower};
use windlass_engine::git::Git;
use windlass_engine::order::{self, About};
use windlass_logs::{LogEvent, LogReader, Recorder};
use windlass_model::{AttemptId, Event, JobPlan, Outcome, Secret, StopCause, Trigger};

use self::display::Display;
use super::check;
use crate::folders::{install_shim, xdg};
use crate::report::{EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, EXIT_SPEC, Problem};
use crate::spec_file;

/// What to run.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Build exactly this revision (a branch, tag or commit id) instead of the files as they are
    #[arg(long, value_name = "REVISION")]
    rev: Option<String>,
    /// The checkout
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// A file of NAME=value lines: the secrets that the spec asks for
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
    /// A further variable of this machine that steps may see (may be given several times)
    #[arg(long, value_name = "NAME")]
    pass_env: Vec<String>,
    /// Keep the workspace and the logs, and say where they are
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(args: Args) -> Result<u8, Problem> {
    let git = Git::find()?;
    let folder = args
        .dir
        .canonicalize()
        .map_err(|e| Problem::new(format!("could not use {}: {e}", args.dir.display())))?;
    let tree = git.working_tree(&folder).await?.ok_or_else(|| {
        Problem::new(format!(
            "{} is not in a git checkout with commits",
            folder.display()
        ))
        .hint("run `git init`, `git add .` and `git commit` first")
    })?;
    // A spec with mistakes is told before anything is copied.
    if args.rev.is_none() {
        let (file, text) = spec_file::read(&tree.root)?.ok_or_else(spec_file::missing)?;
        plan_of(&file, &text)?;
    }

    let root = xdg("XDG_CACHE_HOME", ".cache")?.join("windlass/run");
    std::fs::create_dir_all(&root)
        .map_err(|e| Problem::new(format!("could not create {}: {e}", root.display())))?;
    let executor = ProcessExecutor::new(root.join("work"), install_shim(&root.join("bin"))?);
    // What runs of yesterday that were killed left behind.
    for dead in executor
        .present()?
        .iter()
        .filter(|a| !workspace::is_living(a))
    {
        executor.discard(dead).await?;
    }
    let attempt: AttemptId = format!("local-{}", std::process::id()).parse()?;

    let revision = match &args.rev {
        None => tree.head.clone(),
        Some(name) => match name.parse() {
            Ok(revision) => revision,
            Err(_) => resolve_head(&git, &workspace::source(&tree, None), Some(name)).await?,
        },
    };
    let workspace = executor.workspace(&attempt);
    workspace::fill(
        &git,
        &tree,
        &revision,
        args.rev.is_none(),
        &root,
        &workspace,
    )
    .await?;
    let (file, text) = spec_file::read(&workspace)?.ok_or_else(spec_file::missing)?;
    let job = plan_of(&file, &text)?;
    if job.clone != windlass_model::plan::ClonePlan::default() {
        workspace::clone_further(&git, &tree, &revision, &job.clone, &root, &workspace).await?;
        if args.rev.is_none() {
            workspace::overlay(&tree, &workspace)?;
        }
    }

    let trigger = Trigger {
        event: match &tree.branch {
            Some(branch) if args.rev.is_none() => Event::Push {
                branch: branch.clone(),
                forced: false,
            },
            _ => Event::Manual,
        },
        git_ref: tree
            .branch
            .as_ref()
            .map(|b| format!("refs/heads/{b}"))
            .unwrap_or_default(),
        revision,
        message: String::new(),
        author: String::new(),
        url: None,
        before: None,
        skip: None,
        params: BTreeMap::new(),
    };
    let repo = tree
        .root
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let about = About {
        repo: &repo,
        number: 0,
        trigger: &trigger,
        url: None,
    };
    let mut env = order::machine_env(&args.pass_env);
    env.extend(order::build_env(
        &about,
        &workspace,
        &executor.tmp(&attempt),
    ));
    let order = order::order(&attempt, &job, &workspace, env);
    let secrets = order::secrets(&secrets(args.secrets_file.as_deref(), &job)?, &[]);
    let logs = root.join("logs").join(attempt.as_str());
    if logs.exists() {
        std::fs::remove_dir_all(&logs)?;
    }

    let changed = if args.rev.is_none() {
        tree.changed.len()
    } else {
        0
    };
    let mut display = Display::new(&job);
    display.begin(&trigger.revision, changed);
    executor.start(&attempt, &order, &secrets).await?;
    let follower = executor.follow(&attempt, 0)?;
    let end = follow(&executor, &attempt, follower, &logs, display).await?;

    if args.keep {
        super::say(format_args!("workspace {}", workspace.display()));
        super::say(format_args!("logs      {}", logs.display()));
    } else {
        executor.remove(&attempt).await?;
        std::fs::remove_dir_all(&logs)?;
    }
    Ok(match end {
        None => EXIT_OK,
        Some(Outcome::Stopped {
            cause: StopCause::Cancelled,
        }) => EXIT_INTERRUPTED,
        Some(_) => EXIT_FAILED,
    })
}

fn plan_of(file: &str, text: &[u8]) -> Result<JobPlan, Problem> {
    let loaded = windlass_spec::load(file, text);
    if !loaded.diagnostics.is_empty() {
        super::say(check::render(file, text, &loaded.diagnostics).trim_end());
    }
    let job = loaded.plan.and_then(|plan| plan.jobs.into_iter().next());
    job.ok_or_else(|| Problem::new(format!("{file} has errors")).code(EXIT_SPEC))
}

/// The values for the secrets that the job names, from a file of `NAME=value` lines.
fn secrets(file: Option<&Path>, job: &JobPlan) -> Result<BTreeMap<String, Secret>, Problem> {
    let mut values = BTreeMap::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Problem::new(format!("could not read {}: {e}", path.display())))?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| {
                Problem::new(format!("{}:{}: no `=`", path.display(), number + 1))
                    .hint("each line is NAME=value; `#` begins a comment")
            })?;
            if job.secrets.iter().any(|wanted| wanted == name.trim()) {
                values.insert(name.trim().to_owned(), Secret::new(value));
            }
        }
    }
    let missing: Vec<&str> = job
        .secrets
        .iter()
        .filter(|n| !values.contains_key(*n))
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(values);
    }
    Err(Problem::new(format!(
        "the spec asks for secrets that are not given: {}",
        missing.join(", ")
    ))
    .hint("put NAME=value lines into a file outside the repository: --secrets-file FILE"))
}

/// Shows the job until it ends; the first outcome that was no success, if there is one. The first
/// Ctrl-C stops the job in its tidy way, the second leaves it to the shim.
async fn follow(
    executor: &ProcessExecutor,
    attempt: &AttemptId,
    follower: Box<dyn Follower>,
    logs: &Path,
    display: Display,
) -> Result<Option<Outcome>, Problem> {
    let dir = logs.to_path_buf();
    let mut showing = tokio::task::spawn_blocking(move || show(follower, &dir, display));
    let (mut interrupt, mut term) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut asked = false;
    loop {
        let signalled = tokio::select! {
            shown = &mut showing => return shown?,
            _ = interrupt.recv() => true,
            _ = term.recv() => true,
        };
        if signalled && asked {
            return Err(Problem::new("interrupted").code(EXIT_INTERRUPTED));
        }
        asked = true;
        executor.stop(attempt).await?;
    }
}

fn show(
    mut follower: Box<dyn Follower>,
    dir: &Path,
    mut display: Display,
) -> Result<Option<Outcome>, Problem> {
    let mut recorder = Recorder::open(dir)?;
    let mut bytes = Vec::new();
    let mut reading: Option<(u32, LogReader, u64)> = None;
    let mut worst = None;
    while !recorder.is_ended() {
        bytes.clear();
        let events = match follower.read(&mut bytes, Duration::from_millis(100))? {
            Followed::Quiet => {
                display.tick();
                continue;
            }
            Followed::Bytes => recorder.push(&bytes)?,
            Followed::Gone => recorder.lost("the program beside the job was killed")?,
        };
        recorder.confirm()?;
        for event in events {
            match event {
                LogEvent::StepStarted { step, .. } => {
                    print_new(&mut reading, &mut display)?;
                    display.step_began(step);
                    reading = Some((step, LogReader::open(dir, step)?, 0));
                }
                LogEvent::StepEnded {
                    step,
                    outcome,
                    duration_us,
                    leftovers,
                    ..
                } => {
                    print_new(&mut reading, &mut display)?;
                    display.step_ended(step, &outcome, duration_us, leftovers);
                    if !outcome.is_success() && outcome != Outcome::Skipped && worst.is_none() {
                        worst = Some(outcome);
                    }
                }
                LogEvent::Damage { text, .. } => display.note(&text),
                LogEvent::JobStarted { limits, .. } => display.limits(&limits),
                LogEvent::JobEnded { .. } => {}
            }
        }
        print_new(&mut reading, &mut display)?;
    }
    display.end(worst.as_ref());
    Ok(worst)
}

/// Prints what the running step's log holds beyond what was printed.
fn print_new(
    reading: &mut Option<(u32, LogReader, u64)>,
    display: &mut Display,
) -> Result<(), Problem> {
    let Some((_, reader, printed)) = reading else {
        return Ok(());
    };
    reader.refresh()?;
    let mut buf = vec![0; 64 * 1024];
    loop {
        let n = reader.read_at(*printed, &mut buf)?;
        if n == 0 {
            return Ok(());
        }
        display.output(&buf[..n]);
        *printed += n as u64;
    }
}
