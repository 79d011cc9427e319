//! `windlass run`: the build of this checkout, here, through the same spec, plan, shim and journal
//! as on the server.

mod display;
mod sequence;
mod workspace;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};
use windlass_engine::checkout::{own_objects, resolve_head};
use windlass_engine::executor::registry::Registries;
use windlass_engine::executor::{
    Executor as _, ExecutorError, Executors, Followed, Follower, Said, Start,
};
use windlass_engine::git::Git;
use windlass_engine::image_build;
use windlass_engine::local::WorkingTree;
use windlass_engine::order::{self, About, Grants};
use windlass_logs::{LogEvent, LogReader, Recorder, RecorderLimits};
use windlass_model::plan::ClonePlan;
use windlass_model::{AttemptId, JobPlan, Outcome, Plan, Secret, Trigger};
use windlass_spec::Spec;

use self::display::Display;
use self::sequence::Sequence;
use super::check;
use super::event::{EventArgs, repo_name};
use crate::executors::{self, DockerArgs};
use crate::folders::{install_shim, xdg};
use crate::report::{EXIT_INTERRUPTED, EXIT_SPEC, Problem};
use crate::results::Places;
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
    #[command(flatten)]
    docker: DockerArgs,
    /// Push the images that `build` steps make
    #[arg(long)]
    push: bool,
    /// Let jobs have `privileged` containers
    #[arg(long)]
    allow_privileged: bool,
    /// Let jobs mount exactly this path of this machine (may be given several times)
    #[arg(long, value_name = "PATH")]
    allow_mount: Vec<String>,
    #[command(flatten)]
    event: EventArgs,
    /// Run only this job and those that it needs
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
    /// Agree to whatever the spec asks (`approve`)
    #[arg(long)]
    yes: bool,
    /// Copy the artifacts of all jobs into this folder
    #[arg(long, value_name = "DIR")]
    artifacts: Option<PathBuf>,
    /// Keep the workspace and the logs, and say where they are
    #[arg(long)]
    keep: bool,
}

/// Everything that all jobs of this build share.
struct Build {
    args: Args,
    git: Git,
    tree: WorkingTree,
    root: PathBuf,
    executors: Executors,
    trigger: Trigger,
    repo: String,
    /// Set when somebody pressed Ctrl-C: no further job begins.
    interrupted: AtomicBool,
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
        spec_of(&tree.root, &file, &text, true).await?;
    }

    let root = xdg("XDG_CACHE_HOME", ".cache")?.join("windlass/run");
    std::fs::create_dir_all(&root)
        .map_err(|e| Problem::new(format!("could not create {}: {e}", root.display())))?;
    let executors = executors::new(
        root.join("work"),
        install_shim(&root.join("bin"))?,
        args.pass_env.clone(),
        args.docker.clone().into(),
        None,
    );
    // What runs of yesterday that were killed left behind.
    for executor in executors.all() {
        let present = match executor.present().await {
            Err(ExecutorError::DaemonGone { .. }) => continue,
            present => present?,
        };
        for dead in present.iter().filter(|a| !workspace::is_living(a)) {
            executor.discard(dead).await?;
        }
    }
    let revision = match &args.rev {
        None => tree.head.clone(),
        Some(name) => match name.parse() {
            Ok(revision) => revision,
            Err(_) => resolve_head(&git, &workspace::source(&tree, None), Some(name)).await?,
        },
    };
    // A revision that is named has no branch of its own.
    let branch = tree.branch.as_deref().filter(|_| args.rev.is_none());
    let trigger = args.event.trigger(branch, revision);
    let repo = repo_name(&tree);
    let build = Build {
        args,
        git,
        tree,
        root,
        executors,
        trigger,
        repo,
        interrupted: AtomicBool::new(false),
    };
    build.run().await
}

/// Who this person is to registries, if Docker's own client knows it.
fn own_logins() -> Registries {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let file = folder
        .or_else(home)
        .map(|folder| folder.join("config.json"));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    Registries::of_docker_client(&text.unwrap_or_default())
}

/// The spec without errors. The file as it is now was complained of already.
async fn spec_of(root: &Path, file: &str, text: &[u8], complain: bool) -> Result<Spec, Problem> {
    let included = spec_file::included_here(root, file, text).await?;
    let read = windlass_spec::read_with(file, text, &included);
    if complain && !read.diagnostics.is_empty() {
        super::say(check::render(file, text, &read.diagnostics).trim_end());
    }
    let spec = read.spec;
    spec.ok_or_else(|| Problem::new(format!("{file} has errors")).code(EXIT_SPEC))
}

impl Build {
    async fn run(&self) -> Result<u8, Problem> {
        let first = self.attempt(0)?;
        self.fill(&first, &ClonePlan::default()).await?;
        let workspace = self.executors.process.workspace(&first);
        let (file, text) = spec_file::read(&workspace)?.ok_or_else(spec_file::missing)?;
        let spec = spec_of(&workspace, &file, &text, self.args.rev.is_some()).await?;
        let facts = self
            .args
            .event
            .facts(&spec, self.trigger.clone(), &self.repo)?;
        let mut plan = spec.plan(&facts);
        if let Some(only) = &self.args.job {
            keep_only(&mut plan, only)?;
        }
        let here = self.executors.here(Grants {
            privileged: self.args.allow_privileged,
            mounts: self.args.allow_mount.clone(),
        });
        for job in plan.jobs.iter().filter(|job| job.skipped.is_none()) {
            if let Some(refused) = order::refusals(job, &here).into_iter().next() {
                return Err(
                    Problem::new(format!("the job {} can't run here", job.name)).hint(refused)
                );
            }
            secrets(self.args.secrets_file.as_deref(), job)?;
        }
        let changed = if self.args.rev.is_none() {
            self.tree.changed.len()
        } else {
            0
        };
        let containers = plan.jobs.iter().any(|job| job.image.is_some());
        let mut sequence = Sequence::new(plan, changed);
        let code = sequence.run(self, first).await;
        if !self.args.keep {
            for attempt in sequence.attempts() {
                if containers {
                    // One whose start was cut off; of the others nothing is left.
                    match self.executors.docker.remove(attempt).await {
                        Err(ExecutorError::DaemonGone { .. }) | Ok(()) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                self.executors.process.remove(attempt).await?;
                let logs = self.logs(attempt);
                if logs.exists() {
                    std::fs::remove_dir_all(&logs)?;
                }
            }
        }
        for attempt in sequence.attempts() {
            let artifacts = self.artifacts(attempt);
            if artifacts.exists() {
                std::fs::remove_dir_all(&artifacts)?;
            }
        }
        code
    }

    fn attempt(&self, number: usize) -> Result<AttemptId, Problem> {
        let pid = std::process::id();
        Ok(match number {
            0 => format!("local-{pid}").parse()?,
            n => format!("local-{pid}-{n}").parse()?,
        })
    }

    /// Where an attempt's files are. Caches outlive the run; artifacts don't, unless asked for.
    fn places(&self, attempt: &AttemptId, job: &JobPlan) -> Places {
        let mut checkout = DefaultHasher::new();
        self.tree.root.hash(&mut checkout);
        let caches = format!("{}-{:016x}", self.repo, checkout.finish());
        Places {
            workspace: self.executors.process.workspace(attempt),
            home: self.executors.home(attempt, job),
            caches: self.root.join("caches").join(caches),
            artifacts: self.artifacts(attempt),
        }
    }

    fn artifacts(&self, attempt: &AttemptId) -> PathBuf {
        self.root.join("artifacts").join(attempt.as_str())
    }

    fn logs(&self, attempt: &AttemptId) -> PathBuf {
        self.root.join("logs").join(attempt.as_str())
    }

    /// A fresh workspace for an attempt, with the changes that are not committed.
    async fn fill(&self, attempt: &AttemptId, clone: &ClonePlan) -> Result<(), Problem> {
        let workspace = self.executors.process.workspace(attempt);
        if clone.off {
            if workspace.exists() {
                std::fs::remove_dir_all(&workspace)?;
            }
            return Ok(std::fs::create_dir_all(&workspace)?);
        }
        let (tree, revision) = (&self.tree, &self.trigger.revision);
        workspace::clone_further(&self.git, tree, revision, clone, &self.root, &workspace).await?;
        if self.args.rev.is_none() {
            workspace::overlay(tree, &workspace)?;
        }
        Ok(())
    }

    /// Runs one attempt at a job in its workspace, and shows it.
    async fn run_job(
        &self,
        attempt: &AttemptId,
        job: &JobPlan,
        mut display: Display,
    ) -> Result<(Vec<Ended>, Display), Problem> {
        let workspace = self.executors.process.workspace(attempt);
        let executor = self.executors.of(job);
        if job.image.is_some() && !job.clone.off {
            own_objects(&self.git, &workspace).await?;
        }
        let about = About {
            repo: &self.repo,
            number: 0,
            trigger: &self.trigger,
            url: None,
        };
        let mut order = order::order(attempt, job, &about, executor.inside(attempt, job));
        let mut secrets = order::secrets(&secrets(self.args.secrets_file.as_deref(), job)?, &[]);
        let logs = self.logs(attempt);
        if logs.exists() {
            std::fs::remove_dir_all(&logs)?;
        }
        let registries = own_logins();
        let push = match self.args.push {
            true => Ok(()),
            false => Err("`windlass run --push` does".to_owned()),
        };
        let program = executors::own_program()?;
        // Docker's client knows by itself who this person is.
        let builder = self.executors.builder(&program, push, None);
        image_build::prepare(&mut order, &mut secrets, job, &builder);
        let (said, mut lines) = Said::channel();
        let starting = async {
            let mut starting = executor.start(
                attempt,
                Start {
                    job,
                    order: &order,
                    secrets: &secrets,
                    registries: &registries,
                    said: &said,
                },
            );
            loop {
                tokio::select! {
                    biased;
                    Some(line) = lines.recv() => display.said(&line),
                    started = &mut starting => break started,
                }
            }
        };
        self.unless_interrupted(starting).await??;
        while let Ok(line) = lines.try_recv() {
            display.said(&line);
        }
        let follower = executor.follow(attempt, 0)?;
        let shown = self.follow(attempt, job, follower, &logs, display).await?;
        if self.args.keep {
            super::say(format_args!("workspace {}", workspace.display()));
            super::say(format_args!("logs      {}", logs.display()));
        }
        Ok(shown)
    }

    /// Waits for something that may take long (an image that is pulled), or for Ctrl-C.
    async fn unless_interrupted<T>(&self, work: impl Future<Output = T>) -> Result<T, Problem> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            done = work => Ok(done),
            _ = interrupt.recv() => {
                self.interrupted.store(true, Ordering::SeqCst);
                Err(Problem::new("interrupted").code(EXIT_INTERRUPTED))
            }
        }
    }

    /// Shows the job until it ends. The first Ctrl-C stops the job in its tidy way, the second
    /// leaves it to the shim.
    async fn follow(
        &self,
        attempt: &AttemptId,
        job: &JobPlan,
        follower: Box<dyn Follower>,
        logs: &Path,
        display: Display,
    ) -> Result<(Vec<Ended>, Display), Problem> {
        let dir = logs.to_path_buf();
        let mut showing = tokio::task::spawn_blocking(move || show(follower, &dir, display));
        let (mut interrupt, mut term) = (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
        );
        loop {
            tokio::select! {
                shown = &mut showing => return shown?,
                _ = interrupt.recv() => {}
                _ = term.recv() => {}
            }
            if self.interrupted.swap(true, Ordering::SeqCst) {
                return Err(Problem::new("interrupted").code(EXIT_INTERRUPTED));
            }
            self.executors.of(job).stop(attempt).await?;
        }
    }
}

/// Takes everything out of the plan but a job and what it needs.
pub(super) fn keep_only(plan: &mut Plan, name: &str) -> Result<(), Problem> {
    let mut wanted: Vec<String> = plan
        .jobs
        .iter()
        .filter(|job| job.name == name || job.base == name)
        .map(|job| job.base.clone())
        .collect();
    if wanted.is_empty() {
        let mut known: Vec<&str> = plan.jobs.iter().map(|job| job.base.as_str()).collect();
        known.dedup();
        return Err(Problem::new(format!("there is no job {name}"))
            .hint(format!("there are: {}", known.join(", "))));
    }
    let mut next = 0;
    while let Some(base) = wanted.get(next).cloned() {
        next += 1;
        for job in plan.jobs.iter().filter(|job| job.base == base) {
            for need in &job.needs {
                if !wanted.contains(&need.job) {
                    wanted.push(need.job.clone());
                }
            }
        }
    }
    let is_cell = plan
        .jobs
        .iter()
        .any(|job| job.name == name && job.base != name);
    plan.jobs.retain(|job| {
        wanted.contains(&job.base) && (!is_cell || job.base != wanted[0] || job.name == name)
    });
    Ok(())
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

/// How a step ended.
struct Ended {
    step: u32,
    outcome: Outcome,
}

fn show(
    mut follower: Box<dyn Follower>,
    dir: &Path,
    mut display: Display,
) -> Result<(Vec<Ended>, Display), Problem> {
    let limits = RecorderLimits {
        log_bytes: order::OUTPUT_KEPT + (1 << 20),
        ..RecorderLimits::default()
    };
    let mut recorder = Recorder::open_with(dir, limits)?;
    let mut bytes = Vec::new();
    let mut reading = Vec::new();
    let mut ends = Vec::new();
    while !recorder.is_ended() {
        bytes.clear();
        let events = match follower.read(&mut bytes, Duration::from_millis(100))? {
            Followed::Quiet => {
                display.tick();
                continue;
            }
            Followed::Bytes => recorder.push(&bytes)?,
            Followed::Gone => {
                let usual = "the program beside the job was killed";
                recorder.lost(follower.epitaph().as_deref().unwrap_or(usual))?
            }
        };
        recorder.confirm()?;
        for event in events {
            match event {
                LogEvent::StepStarted { step, .. } => {
                    print_new(&mut reading, &mut display)?;
                    display.step_began(step);
                    reading.push(Reading {
                        step,
                        reader: LogReader::open(dir, step)?,
                        printed: 0,
                    });
                }
                LogEvent::StepEnded {
                    step,
                    outcome,
                    duration_us,
                    leftovers,
                    ..
                } => {
                    print_new(&mut reading, &mut display)?;
                    reading.retain(|reading| reading.step != step);
                    display.step_ended(step, &outcome, duration_us, leftovers);
                    ends.push(Ended { step, outcome });
                }
                LogEvent::Damage { text, .. } => display.note(&text),
                LogEvent::JobStarted { limits, .. } => display.limits(&limits),
                LogEvent::JobEnded { .. } => {}
            }
        }
        print_new(&mut reading, &mut display)?;
    }
    Ok((ends, display))
}

/// A step that runs, and how much of its log was printed.
struct Reading {
    step: u32,
    reader: LogReader,
    printed: u64,
}

/// Prints what the logs of the running steps hold beyond what was printed.
fn print_new(running: &mut [Reading], display: &mut Display) -> Result<(), Problem> {
    let mut buf = vec![0; 64 * 1024];
    for Reading {
        step,
        reader,
        printed,
    } in running
    {
        reader.refresh()?;
        loop {
            let n = reader.read_at(*printed, &mut buf)?;
            if n == 0 {
                break;
            }
            display.output(*step, &buf[..n]);
            *printed += n as u64;
        }
    }
    Ok(())
}
