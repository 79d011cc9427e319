//! The spec after defaults, conditions and matrix expansion: data, with nothing left to decide but
//! what only a run can tell (how the jobs that a job needs ended, and what they put out).
//!
//! Plans are stored and read again by later releases: a new field has a `serde` default.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::expression::Expr;

/// The job of every spec that has only `steps`.
pub const DEFAULT_JOB: &str = "build";

/// The limit of a job whose spec names none.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// The logs of an attempt are numbered. Below this, the number is a step's index; from here on, it is this plus
/// the index of a service in its job. No job has so many steps, and no shim may speak of them.
pub const FIRST_SERVICE_LOG: u32 = 10_000;

/// What people call a log by its number: `step 2` (from 1), or `service 1`.
pub fn log_words(number: u32) -> String {
    match number.checked_sub(FIRST_SERVICE_LOG) {
        Some(service) => format!("service {}", service.saturating_add(1)),
        None => format!("step {}", number + 1),
    }
}

/// What to do for one build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Every job, in the order of the file, cells of one matrix side by side. Also those that this
    /// event leaves out: they say why.
    pub jobs: Vec<JobPlan>,
    /// The group of builds of which only one runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Why this event builds nothing at all (`on`, `[skip ci]`); then no job runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// One environment in which steps run in order; the unit of scheduling.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Its name, unique in the plan: `test`, or with a matrix `test (3.10, linux)`.
    pub name: String,
    /// Its name in the spec, shared by all cells of a matrix. `needs` speaks of this one.
    #[serde(default)]
    pub base: String,
    /// The cell of the matrix: names and values. Steps see them as `MATRIX_<NAME>`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matrix: BTreeMap<String, String>,
    /// The jobs that must have ended before this one begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// Why the job is left out whatever else happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// How the needed jobs must have ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_result: OnResult,
    /// Conditions that only a run can decide; all must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Clause>,
    /// A person must agree before it begins; the text tells what to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<String>,
    /// The container image in which the steps run. Not for the `process` executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Which executor must run it (`process`, `docker`, `swarm`); `None` is the server's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executor: Option<String>,
    /// Labels (`key=value` or a word) that the machine must have (spec key `runs-on`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs_on: Vec<String>,
    /// Variables for all steps.
    pub env: BTreeMap<String, String>,
    /// Variables that take their value from an output of a needed job.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env_from: BTreeMap<String, OutputRef>,
    /// Names of secrets that the steps get as variables.
    pub secrets: Vec<String>,
    /// The folder below the workspace in which steps run, if not its root. Relative, without `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The user as whom steps run. Not for the `process` executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether the steps may use the network.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub network: bool,
    /// The container has all rights on its machine. Only if the server allows it for the repository.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// The image's files can't be changed; the workspace can.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Absolute paths of the container that lie in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tmpfs: Vec<String>,
    /// Files of the machine in the container. Only if the server allows them for the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountPlan>,
    /// The whole job's limit.
    pub timeout: Duration,
    /// How the revision is brought into the workspace.
    pub clone: ClonePlan,
    /// What the job may use.
    pub limits: Limits,
    /// When a failed attempt is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Its failure doesn't fail the build, and those that need it go on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_failure: bool,
    /// When one cell of its matrix fails, the others are cancelled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fail_fast: bool,
    /// How many cells of its matrix run at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_parallel: Option<u32>,
    /// The group of jobs, across builds of the repository, of which only one runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Containers beside the job. Not for the `process` executor.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServicePlan>,
    /// Files that are kept for people and for other jobs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactPlan>,
    /// Files that are kept for speed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caches: Vec<CachePlan>,
    /// Files that are understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reports: Vec<ReportPlan>,
    /// Names of the values that steps hand to other jobs through the file `$WINDLASS_OUTPUT`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// What to run, in order; the first that fails ends the job.
    pub steps: Vec<StepPlan>,
}

impl Default for JobPlan {
    fn default() -> Self {
        Self {
            name: DEFAULT_JOB.to_owned(),
            base: DEFAULT_JOB.to_owned(),
            matrix: BTreeMap::new(),
            needs: Vec::new(),
            skipped: None,
            on_result: OnResult::default(),
            when: Vec::new(),
            approve: None,
            image: None,
            executor: None,
            runs_on: Vec::new(),
            env: BTreeMap::new(),
            env_from: BTreeMap::new(),
            secrets: Vec::new(),
            workdir: None,
            user: None,
            network: true,
            privileged: false,
            read_only: false,
            tmpfs: Vec::new(),
            mounts: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            clone: ClonePlan::default(),
            limits: Limits::default(),
            retry: None,
            allow_failure: false,
            fail_fast: false,
            max_parallel: None,
            concurrency: None,
            services: Vec::new(),
            artifacts: Vec::new(),
            caches: Vec::new(),
            reports: Vec::new(),
            outputs: Vec::new(),
            steps: Vec::new(),
        }
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_true(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !*value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A name as the part of a variable's name behind `MATRIX_` or `PARAM_`: capitals, digits, `_`.
pub fn variable(name: &str) -> String {
    let upper = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    };
    name.chars().map(upper).collect()
}

/// A job that must have ended before another begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// Its [`JobPlan::base`]: all cells of a matrix.
    pub job: String,
    /// It may be missing from the plan or skipped; a failure still counts.
    #[serde(default, skip_serializing_if = "is_false")]
    pub optional: bool,
    /// Its artifacts are put into the workspace, at the paths from which they came.
    #[serde(default, skip_serializing_if = "is_false")]
    pub artifacts: bool,
}

/// How the needed jobs, or the steps before, must have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnResult {
    /// All well.
    #[default]
    Success,
    /// At least one badly.
    Failure,
    /// In any way, but not when the build was cancelled.
    Always,
}

/// One condition as the spec has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clause {
    /// For people: `branch: main`, `if: needs.build.outputs.changed == "yes"`.
    pub text: String,
    /// 1-based line in the spec.
    pub line: usize,
    /// What must be true.
    pub expr: Expr,
}

/// An output of another job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OutputRef {
    /// The other job's [`JobPlan::base`].
    pub job: String,
    /// The output's name.
    pub output: String,
}

/// One at a time (spec key `concurrency`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// The group's name within the repository.
    pub group: String,
    /// A newcomer stops who is in the group, instead of waiting for it.
    pub cancel_in_progress: bool,
}

/// When a failed attempt is tried again (spec key `retry`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// How often at most, beyond the first attempt.
    pub count: u32,
    /// The pause before the first retry; it doubles with each.
    pub backoff: Duration,
    /// Exit codes of the failed step that are worth a retry. Empty with both flags false: any
    /// failure is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exit_codes: Vec<i32>,
    /// When we or the machine failed.
    #[serde(default)]
    pub infrastructure: bool,
    /// When a limit of time was over.
    #[serde(default)]
    pub timeout: bool,
}

/// A file or folder of the machine in the container (spec key `mounts`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Where it is on the machine: absolute, without detours.
    pub from: String,
    /// Where it is in the container.
    pub to: String,
    /// It can't be written.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

impl Plan {
    /// The numbers of the logs of the services beside the job of an attempt's plan, and the services' names.
    pub fn service_logs(&self) -> impl Iterator<Item = (u32, &str)> {
        let services = self.jobs.first().map_or(&[][..], |job| &job.services);
        let names = services.iter().map(|service| service.name.as_str());
        (FIRST_SERVICE_LOG..).zip(names)
    }
}

/// A container beside the job (spec key `services`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name, and its host name for the steps.
    pub name: String,
    /// What it runs.
    pub image: String,
    /// Its variables.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Its command, if not the image's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// When steps may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

/// How one sees that something that runs beside can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The check; it is repeated until it succeeds.
    #[serde(flatten)]
    pub check: ReadyCheck,
    /// How long it may take.
    pub timeout: Duration,
}

/// What is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadyCheck {
    /// Something accepts TCP connections on this port of the local host.
    Port(u16),
    /// This command, run by the step's shell, exits with 0. Program and arguments.
    Run(Vec<String>),
    /// A line of the output contains this text.
    Output(String),
}

/// Files that are kept (spec key `artifacts`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactPlan {
    /// The name under which they are found; unique in the job.
    pub name: String,
    /// Globs relative to the workspace; one that begins with `!` takes files out.
    pub paths: Vec<String>,
    /// After this they may be deleted; `None` keeps them with the build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Duration>,
    /// That no file matches is a failure of the job.
    #[serde(default = "yes")]
    pub required: bool,
    /// When they are kept: after success, after failure, or both.
    #[serde(default, skip_serializing_if = "is_default")]
    pub when: OnResult,
}

/// Files that make later builds faster (spec key `cache`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePlan {
    /// The text of the key before the hash.
    pub key: String,
    /// Globs of files whose contents go into the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hash: Vec<String>,
    /// Folders and files relative to the workspace, or to the home folder with `~/`.
    pub paths: Vec<String>,
    /// Beginnings of other keys that are good enough to start from, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore: Vec<String>,
    /// It is read and never written: always so for pull requests.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
}

/// The kinds of files that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// JUnit's XML, as dozens of test runners write it.
    Junit,
    /// The Test Anything Protocol, <https://testanything.org>.
    Tap,
    /// Coverage as `lcov` traces.
    Lcov,
    /// Coverage as Cobertura's XML.
    Cobertura,
}

impl ReportKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Junit, Self::Tap, Self::Lcov, Self::Cobertura];

    /// The word in the spec, the database and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Junit => "junit",
            Self::Tap => "tap",
            Self::Lcov => "lcov",
            Self::Cobertura => "cobertura",
        }
    }
}

/// Files that are understood (spec key `reports`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportPlan {
    /// What they are.
    pub kind: ReportKind,
    /// Globs relative to the workspace.
    pub paths: Vec<String>,
}

/// How the revision is brought into the workspace (spec key `clone`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClonePlan {
    /// How many commits of history; `None` is all of it.
    pub depth: Option<u32>,
    /// Whether submodules are checked out too, recursively.
    pub submodules: bool,
    /// Whether Git LFS files are fetched. Needs `git-lfs` on the machine.
    pub lfs: bool,
    /// The workspace stays empty.
    #[serde(default, skip_serializing_if = "is_false")]
    pub off: bool,
}

impl Default for ClonePlan {
    fn default() -> Self {
        Self {
            depth: Some(1),
            submodules: false,
            lfs: false,
            off: false,
        }
    }
}

/// What a job may use. `None` is "no limit of ours".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory for all processes of a step together.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads of a step together.
    pub pids: Option<u64>,
    /// Thousandths of a processor for all processes of a step together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Bytes of disk for the workspace. Not for the `process` executor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
}

/// How a step's output is captured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputMode {
    /// stdout and stderr are one pipe: the order is exactly the order of the writes.
    #[default]
    Merged,
    /// Two pipes: each byte knows its stream; the order between the two is that of our reads.
    Separate,
    /// A pseudo-terminal: one stream, and programs think that a person looks on.
    Tty,
}

/// One command or script; the unit of log, timeout and result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepPlan {
    /// For people; unique in its job.
    pub name: String,
    /// The program and its arguments, the script being the last. For `shell: sh` it is
    /// `["/bin/sh", "-e", "-c", script]`.
    pub argv: Vec<String>,
    /// What a person would type: shown at the head of the log.
    pub script: String,
    /// Variables on top of the job's.
    pub env: BTreeMap<String, String>,
    /// The step's limit; `None` leaves only the job's.
    pub timeout: Option<Duration>,
    /// How its output is captured.
    pub output: OutputMode,
    /// The folder below the workspace, if not the job's. Relative, without `..`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Why the step is left out whatever else happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// How the steps before must have ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_result: OnResult,
    /// It runs beside the steps that follow and is stopped at the job's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<Background>,
    /// The exit codes that count as success; empty is 0 only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<i32>,
    /// It makes a container image. Then `argv` is what a person would do for that with Docker's client, and
    /// the job has only such steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<ImageBuild>,
}

/// A container image to make (spec key `build`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageBuild {
    /// The folder that the daemon gets: below the workspace, without `..`.
    pub context: String,
    /// The file that says how, below the workspace; `None` is `Dockerfile` in the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The stage of the file that is wanted, if not the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Values of the file's `ARG`s.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, String>,
    /// The image's names.
    pub tags: Vec<String>,
    /// All names are pushed to their registries.
    #[serde(default, skip_serializing_if = "is_false")]
    pub push: bool,
}

impl ImageBuild {
    /// What goes behind `docker build`. Nothing here can be taken for another option: each value is part of
    /// the word of its option, or comes behind `--`.
    pub fn arguments(&self) -> Vec<String> {
        let mut all: Vec<String> = self.tags.iter().map(|tag| format!("--tag={tag}")).collect();
        all.extend(self.file.iter().map(|file| format!("--file={file}")));
        all.extend(self.target.iter().map(|name| format!("--target={name}")));
        let args = self.args.iter();
        all.extend(args.map(|(name, value)| format!("--build-arg={name}={value}")));
        all
    }

    /// The same with Docker's client, as a script for the POSIX shell.
    pub fn by_hand(&self) -> String {
        let mut script = "docker build".to_owned();
        for word in self.arguments() {
            script = format!("{script} {}", quoted(&word));
        }
        script = format!("{script} -- {}\n", quoted(&self.context));
        if self.push {
            for tag in &self.tags {
                script = format!("{script}docker push -- {}\n", quoted(tag));
            }
        }
        script
    }
}

/// One word of a POSIX shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+,=-".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}

/// A step that runs beside the following ones (spec key `background`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Background {
    /// The next step begins when this holds; `None` is at once.
    pub ready: Option<Ready>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_by_hand_is_what_docker_s_client_takes() {
        let build = ImageBuild {
            context: "web".to_owned(),
            file: Some("web/Dockerfile.prod".to_owned()),
            args: [("TITLE".to_owned(), "it's $(id)".to_owned())].into(),
            tags: vec!["r.example:5000/web:1".to_owned()],
            push: true,
            ..ImageBuild::default()
        };
        let script = build.by_hand();
        assert_eq!(
            script,
            "docker build --tag=r.example:5000/web:1 --file=web/Dockerfile.prod \
             '--build-arg=TITLE=it'\\''s $(id)' -- web\ndocker push -- r.example:5000/web:1\n"
        );
    }
}
