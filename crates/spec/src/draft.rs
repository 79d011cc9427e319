//! A job while its keys are read, and the plan that is made of it when all are known.
//!
//! Keys may stand in any order, so what one means for another is decided here, at the end.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use windlass_model::expression::Expr;
use windlass_model::plan::{
    Background, ClonePlan, Concurrency, DEFAULT_TIMEOUT, ImageBuild, JobPlan, Limits, MountPlan,
    Need, OnResult, OutputMode, ReportKind, ReportPlan, Retry, StepPlan,
};

use crate::codes;
use crate::include::Include;
use crate::keys::shell::Shell;
use crate::limits;
use crate::node::{Entry, shorten};
use crate::params::{Param, ParamType};
use crate::problems::{Problem, Problems};
use crate::schedules::Schedule;
use crate::value::At;

/// Variables and where each was written.
pub(crate) type Env = BTreeMap<String, At<String>>;

/// What is known of a job so far.
#[derive(Debug, Default)]
pub(crate) struct JobDraft {
    pub(crate) steps: Vec<StepDraft>,
    pub(crate) env: Env,
    pub(crate) secrets: Vec<At<String>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) shell: Option<Shell>,
    pub(crate) clone: ClonePlan,
    pub(crate) limits: Limits,
    pub(crate) output: Option<OutputMode>,
    pub(crate) needs: Vec<At<Need>>,
    pub(crate) matrix: Option<MatrixDraft>,
    pub(crate) fail_fast: Option<At<bool>>,
    pub(crate) max_parallel: Option<At<u32>>,
    pub(crate) when: Option<WhenDraft>,
    pub(crate) approve: Option<At<String>>,
    pub(crate) image: Option<At<String>>,
    pub(crate) user: Option<At<String>>,
    pub(crate) executor: Option<String>,
    pub(crate) runs_on: Vec<String>,
    pub(crate) workdir: Option<At<String>>,
    pub(crate) network: Option<bool>,
    pub(crate) privileged: Option<bool>,
    pub(crate) read_only: Option<bool>,
    pub(crate) tmpfs: Vec<String>,
    pub(crate) mounts: Vec<MountPlan>,
    pub(crate) retry: Option<Retry>,
    pub(crate) allow_failure: Option<At<bool>>,
    pub(crate) concurrency: Option<ConcurrencyDraft>,
    pub(crate) outputs: Vec<String>,
    pub(crate) services: Vec<ServiceDraft>,
    pub(crate) artifacts: Vec<ArtifactDraft>,
    pub(crate) caches: Vec<CacheDraft>,
    pub(crate) reports: Vec<(ReportKind, Vec<At<String>>)>,
    /// The steps' conditions and scripts, once the steps are finished.
    pub(crate) step_whens: Vec<WhenDraft>,
    pub(crate) scripts: Vec<Range<usize>>,
    /// The scripts that say whether a background step is ready.
    pub(crate) checks: Vec<At<String>>,
}

/// What is known of a whole spec so far.
#[derive(Debug, Default)]
pub(crate) struct SpecDraft {
    pub(crate) jobs_at: Option<Range<usize>>,
    pub(crate) jobs_broken: bool,
    pub(crate) jobs: Vec<Entry>,
    pub(crate) templates: Vec<Entry>,
    pub(crate) params: Vec<Param>,
    pub(crate) concurrency: Option<ConcurrencyDraft>,
    pub(crate) on: Option<OnDraft>,
    pub(crate) includes: Vec<At<Include>>,
    /// Templates that come from included files: not all need to be used.
    pub(crate) borrowed: Vec<String>,
}

/// Which events make builds.
#[derive(Debug, Default)]
pub(crate) struct OnDraft {
    pub(crate) events: Vec<(&'static str, Alternative)>,
    pub(crate) schedules: Vec<(At<String>, Schedule)>,
    pub(crate) manual: Option<bool>,
    pub(crate) api: Option<bool>,
}

/// A schedule.
#[derive(Debug, Default)]
pub(crate) struct ScheduleDraft {
    pub(crate) name: Option<At<String>>,
    pub(crate) cron: Option<String>,
    pub(crate) timezone: Option<String>,
    pub(crate) branch: Option<String>,
}

/// One entry of `include` or `exclude`: names, values, and where the values stand.
pub(crate) type Cell = Vec<(String, String, Range<usize>)>;

/// A matrix before it is expanded.
#[derive(Debug)]
pub(crate) struct MatrixDraft {
    pub(crate) span: Range<usize>,
    pub(crate) axes: Vec<(String, Vec<String>)>,
    pub(crate) include: Vec<At<Cell>>,
    pub(crate) exclude: Vec<At<Cell>>,
}

/// Conditions: one of the alternatives must hold; none at all is true.
#[derive(Debug, Default)]
pub(crate) struct WhenDraft {
    pub(crate) alternatives: Vec<Alternative>,
    pub(crate) result: Option<At<OnResult>>,
}

/// Conditions of which all must hold.
#[derive(Debug, Default)]
pub(crate) struct Alternative {
    pub(crate) clauses: Vec<ClauseDraft>,
    pub(crate) result: Option<At<OnResult>>,
}

/// One condition; without an expression, its text is one that is still to be read.
#[derive(Debug)]
pub(crate) struct ClauseDraft {
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
    pub(crate) expr: Option<Expr>,
}

/// A group.
#[derive(Debug, Default)]
pub(crate) struct ConcurrencyDraft {
    pub(crate) group: Option<At<String>>,
    pub(crate) cancel: bool,
}

/// An artifact; without a name, it gets the job's.
#[derive(Debug, Default)]
pub(crate) struct ArtifactDraft {
    pub(crate) name: Option<At<String>>,
    pub(crate) paths: Vec<At<String>>,
    pub(crate) retention: Option<Duration>,
    pub(crate) optional: bool,
    pub(crate) when: OnResult,
}

/// A service.
#[derive(Debug, Default)]
pub(crate) struct ServiceDraft {
    pub(crate) name: String,
    pub(crate) image: Option<At<String>>,
    pub(crate) env: Env,
    pub(crate) command: Vec<String>,
    pub(crate) ready: Option<ReadyDraft>,
}

/// A cache.
#[derive(Debug, Default)]
pub(crate) struct CacheDraft {
    pub(crate) key: Option<At<String>>,
    pub(crate) hash: Vec<At<String>>,
    pub(crate) paths: Vec<At<String>>,
    pub(crate) restore: Vec<At<String>>,
    pub(crate) read_only: bool,
}

/// A parameter.
#[derive(Debug, Default)]
pub(crate) struct ParamDraft {
    pub(crate) kind: Option<ParamType>,
    pub(crate) default: Option<At<String>>,
    pub(crate) options: Vec<String>,
    pub(crate) description: String,
}

/// A step that runs beside the others.
#[derive(Debug, Default)]
pub(crate) struct BackgroundDraft {
    /// The key.
    pub(crate) span: Range<usize>,
    pub(crate) ready: Option<ReadyDraft>,
}

/// A container image that a step makes.
#[derive(Debug, Default)]
pub(crate) struct BuildDraft {
    /// The key.
    pub(crate) span: Range<usize>,
    pub(crate) context: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) args: Env,
    pub(crate) tags: Vec<At<String>>,
    pub(crate) push: bool,
}

/// When something that runs beside can be used: one check.
#[derive(Debug, Default)]
pub(crate) struct ReadyDraft {
    pub(crate) port: Option<u16>,
    pub(crate) run: Option<At<String>>,
    pub(crate) output: Option<String>,
    pub(crate) timeout: Option<Duration>,
}

/// What is known of a step so far.
#[derive(Debug, Default)]
pub(crate) struct StepDraft {
    pub(crate) script: Option<String>,
    pub(crate) name: Option<At<String>>,
    pub(crate) env: Env,
    pub(crate) timeout: Option<At<Duration>>,
    pub(crate) shell: Option<Shell>,
    pub(crate) output: Option<At<OutputMode>>,
    pub(crate) tty: Option<At<bool>>,
    pub(crate) when: Option<WhenDraft>,
    pub(crate) expect: Vec<i32>,
    pub(crate) workdir: Option<At<String>>,
    pub(crate) background: Option<BackgroundDraft>,
    pub(crate) build: Option<BuildDraft>,
    /// Where `expect` stands.
    pub(crate) expect_span: Range<usize>,
    pub(crate) script_span: Range<usize>,
    pub(crate) result: OnResult,
}

impl JobDraft {
    /// The job as far as it is the same for every event and every cell of its matrix. Reports what
    /// only shows when everything is known; then the plan may be incomplete and is not used.
    pub(crate) fn finish(&mut self, problems: &mut Problems<'_>) -> JobPlan {
        self.check_secrets(problems);
        self.check_builds(problems);
        let drafts = std::mem::take(&mut self.steps);
        let names = step_names(&drafts, problems);
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let shell = self.shell.take().unwrap_or_default();
        let output = self.output.unwrap_or_default();
        let mut steps = Vec::with_capacity(drafts.len());
        for (mut step, name) in drafts.into_iter().zip(names) {
            step.check(timeout, problems);
            let when = step.when.take().unwrap_or_default();
            step.result = when.result.as_ref().map(|at| at.value).unwrap_or_default();
            self.step_whens.push(when);
            self.scripts.push(step.script_span.clone());
            let ready = step.background.as_ref().and_then(|b| b.ready.as_ref());
            self.checks
                .extend(ready.and_then(|ready| ready.run.clone()));
            steps.push(step.finish(name, &shell, output));
        }
        let text = |at: Option<At<String>>| at.map(|at| at.value);
        JobPlan {
            env: values(std::mem::take(&mut self.env)),
            secrets: std::mem::take(&mut self.secrets)
                .into_iter()
                .map(|secret| secret.value)
                .collect(),
            timeout,
            clone: self.clone.clone(),
            limits: self.limits,
            needs: self.needs.iter().map(|need| need.value.clone()).collect(),
            fail_fast: self.fail_fast.as_ref().is_some_and(|at| at.value),
            max_parallel: self.max_parallel.as_ref().map(|at| at.value),
            approve: text(self.approve.take()),
            image: text(self.image.take()),
            user: text(self.user.take()),
            executor: self.executor.take(),
            runs_on: std::mem::take(&mut self.runs_on),
            workdir: text(self.workdir.take()),
            network: self.network.unwrap_or(true),
            privileged: self.privileged.unwrap_or(false),
            read_only: self.read_only.unwrap_or(false),
            tmpfs: std::mem::take(&mut self.tmpfs),
            mounts: std::mem::take(&mut self.mounts),
            retry: self.retry.take(),
            allow_failure: self.allow_failure.as_ref().is_some_and(|at| at.value),
            concurrency: self.concurrency.take().and_then(ConcurrencyDraft::finish),
            outputs: std::mem::take(&mut self.outputs),
            services: take(&mut self.services, ServiceDraft::finish),
            artifacts: take(&mut self.artifacts, ArtifactDraft::finish),
            caches: take(&mut self.caches, CacheDraft::finish),
            reports: take(&mut self.reports, |(kind, paths)| ReportPlan {
                kind,
                paths: paths.into_iter().map(|at| at.value).collect(),
            }),
            on_result: self
                .when
                .as_ref()
                .and_then(|when| Some(when.result.as_ref()?.value))
                .unwrap_or_default(),
            steps,
            ..JobPlan::default()
        }
    }

    /// Every text that may have `${{ }}`, with its place.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &At<String>> {
        let env = self
            .env
            .values()
            .chain(self.steps.iter().flat_map(|step| step.env.values()));
        let builds = self.steps.iter().filter_map(|step| step.build.as_ref());
        let builds = builds.flat_map(|build| build.args.values().chain(&build.tags));
        let services = self
            .services
            .iter()
            .flat_map(|service| service.image.iter().chain(service.env.values()));
        let single = [&self.image, &self.approve].into_iter().flatten();
        let group = self.concurrency.iter().filter_map(|g| g.group.as_ref());
        let artifacts = self
            .artifacts
            .iter()
            .flat_map(|artifact| artifact.name.iter().chain(&artifact.paths));
        let caches = self.caches.iter().flat_map(|cache| {
            let lists = cache.paths.iter().chain(&cache.hash).chain(&cache.restore);
            cache.key.iter().chain(lists)
        });
        let reports = self.reports.iter().flat_map(|(_, paths)| paths);
        env.chain(single)
            .chain(group)
            .chain(artifacts)
            .chain(caches)
            .chain(reports)
            .chain(services)
            .chain(builds)
    }

    /// Where an image is made, nothing else is done: the login that it is pushed with must be out of the reach
    /// of scripts, and the daemon is asked from the server's machine.
    fn check_builds(&self, problems: &mut Problems<'_>) {
        let Some(build) = self.steps.iter().find_map(|step| step.build.as_ref()) else {
            return;
        };
        let other = if self.steps.iter().any(|step| step.build.is_none()) {
            "other steps"
        } else if self.image.is_some() {
            "an `image`"
        } else if self.user.is_some() {
            "a `user`"
        } else if !self.services.is_empty() {
            "`services`"
        } else {
            return;
        };
        problems.push(
            Problem::new(
                codes::BUILD_WITH_OTHERS,
                build.span.clone(),
                format!("a job that makes images has {other}"),
            )
            .label("is done by the server, not in the job's surroundings")
            .help(
                "put it into a job of its own, which gets files of this one with `needs: [{job: …, artifacts: \
                 true}]`",
            ),
        );
    }

    /// A variable can't be a secret and stand in the file.
    fn check_secrets(&self, problems: &mut Problems<'_>) {
        let secrets: HashSet<&str> = self.secrets.iter().map(|s| s.value.as_str()).collect();
        for env in std::iter::once(&self.env).chain(self.steps.iter().map(|step| &step.env)) {
            for (name, at) in env
                .iter()
                .filter(|(name, _)| secrets.contains(name.as_str()))
            {
                let message = format!("`{name}` is a secret and a variable");
                problems.push(
                    Problem::new(codes::CONFLICT, at.span.clone(), message)
                        .label("would hide the secret of this name")
                        .help("take it away here or from `secrets`, or rename it"),
                );
            }
        }
    }
}

impl ConcurrencyDraft {
    /// The group, its name not filled in yet.
    pub(crate) fn finish(self) -> Option<Concurrency> {
        Some(Concurrency {
            group: self.group?.value,
            cancel_in_progress: self.cancel,
        })
    }
}

impl StepDraft {
    fn check(&self, job_timeout: Duration, problems: &mut Problems<'_>) {
        if let Some(timeout) = &self.timeout
            && timeout.value > job_timeout
        {
            let message = "the step has more time than its job";
            problems.push(
                Problem::new(codes::TIMEOUT_NO_EFFECT, timeout.span.clone(), message)
                    .label("the job's `timeout` comes first")
                    .help("give the job a longer `timeout` at the top level (it is 1h by default)"),
            );
        }
        if let (Some(background), false) = (&self.background, self.expect.is_empty()) {
            let (line, _) = problems.place(background.span.start);
            let message = "a background step has no exit code to expect";
            problems.push(
                Problem::new(
                    codes::EXPECT_IN_BACKGROUND,
                    self.expect_span.clone(),
                    message,
                )
                .label(format!("`background` is on line {line}"))
                .help("take `expect` away: it is stopped at the end, and that is success"),
            );
        }
        if let Some(build) = &self.build {
            let others = [
                ("run", self.script.is_some()),
                ("shell", self.shell.is_some()),
                ("env", !self.env.is_empty()),
                ("expect", !self.expect.is_empty()),
                ("workdir", self.workdir.is_some()),
                ("background", self.background.is_some()),
            ];
            if let Some((other, _)) = others.iter().find(|(_, is_there)| *is_there) {
                problems.push(
                    Problem::new(
                        codes::CONFLICT,
                        build.span.clone(),
                        format!("a step has `build` and `{other}`"),
                    )
                    .label("makes an image, and runs no script")
                    .help(format!(
                        "take `{other}` away, or put it into a step of another job"
                    )),
                );
            }
        }
        if let (Some(output), Some(tty)) = (&self.output, &self.tty)
            && tty.value != (output.value == OutputMode::Tty)
        {
            problems.push(
                Problem::new(
                    codes::CONFLICT,
                    tty.span.clone(),
                    "`tty` contradicts `output`",
                )
                .label("only one of them can count")
                .help("take one of them away; `tty: true` is short for `output: tty`"),
            );
        }
    }

    fn finish(self, name: String, shell: &Shell, output: OutputMode) -> StepPlan {
        let script = self.script.unwrap_or_default();
        let shell = self.shell.as_ref().unwrap_or(shell);
        let output = match (self.output, self.tty.map(|tty| tty.value)) {
            (Some(own), _) => own.value,
            (None, Some(true)) => OutputMode::Tty,
            (None, Some(false)) if output == OutputMode::Tty => OutputMode::Merged,
            (None, _) => output,
        };
        StepPlan {
            name,
            // What an image is made with stands here when names are filled in.
            argv: match self.build {
                Some(_) => Vec::new(),
                None => shell.argv(&script),
            },
            script,
            build: self.build.map(BuildDraft::finish),
            env: values(self.env),
            timeout: self.timeout.map(|timeout| timeout.value),
            output,
            workdir: self.workdir.map(|at| at.value),
            on_result: self.result,
            expect: self.expect,
            background: self.background.map(|background| Background {
                ready: background.ready.and_then(|ready| ready.finish(shell)),
            }),
            ..StepPlan::default()
        }
    }
}

impl BuildDraft {
    fn finish(self) -> ImageBuild {
        ImageBuild {
            context: self.context.unwrap_or_else(|| ".".to_owned()),
            file: self.file,
            target: self.target,
            args: values(self.args),
            tags: self.tags.into_iter().map(|at| at.value).collect(),
            push: self.push,
        }
    }
}

fn take<T, U>(all: &mut Vec<T>, finish: impl FnMut(T) -> U) -> Vec<U> {
    std::mem::take(all).into_iter().map(finish).collect()
}

/// Variables without their places.
pub(crate) fn values(env: Env) -> BTreeMap<String, String> {
    env.into_iter().map(|(name, at)| (name, at.value)).collect()
}

/// A name for each step, no name twice. Given names come first: what a person wrote is kept if
/// that is possible, whatever a script's first line happens to be.
fn step_names(steps: &[StepDraft], problems: &mut Problems<'_>) -> Vec<String> {
    let mut first_places: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
    let mut keeps = vec![false; steps.len()];
    for (keep, step) in keeps.iter_mut().zip(steps) {
        let Some(name) = &step.name else { continue };
        let Some(first) = first_places.get(name.value.as_str()) else {
            first_places.insert(&name.value, &name.span);
            *keep = true;
            continue;
        };
        let (line, _) = problems.place(first.start);
        let message = format!("another step is named `{}`", shorten(&name.value, 60));
        problems.push(
            Problem::new(codes::DUPLICATE_NAME, name.span.clone(), message)
                .label(format!("the first one is on line {line}"))
                .help("give each step a name of its own"),
        );
    }
    let mut taken: HashSet<String> = first_places.into_keys().map(str::to_owned).collect();
    let mut names = Vec::with_capacity(steps.len());
    for (keep, step) in keeps.into_iter().zip(steps) {
        let wanted = match &step.name {
            Some(name) => name.value.clone(),
            None => match &step.build {
                Some(build) => {
                    let context = build.context.as_deref().unwrap_or(".");
                    format!("build {}", shorten(context, 60))
                }
                None => shorten(step.script.as_deref().unwrap_or_default(), 60),
            },
        };
        let name = if keep { wanted } else { unique(wanted, &taken) };
        taken.insert(name.clone());
        names.push(name);
    }
    debug_assert!(names.len() <= limits::STEPS);
    names
}

/// `name`, or the first of `name (2)`, `name (3)`, … that is free.
fn unique(name: String, taken: &HashSet<String>) -> String {
    if !taken.contains(&name) {
        return name;
    }
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    numbered
        .into_iter()
        .find(|numbered| !taken.contains(numbered))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use crate::value::testing::{codes, job};

    fn names(source: &str) -> Vec<String> {
        let loaded = crate::load("windlass.yml", source.as_bytes());
        let job = loaded.plan.unwrap().jobs.remove(0);
        job.steps.into_iter().map(|step| step.name).collect()
    }

    #[test]
    fn names_come_from_the_first_line_and_are_unique() {
        assert_eq!(
            names("steps: [make, make, make]"),
            ["make", "make (2)", "make (3)"]
        );
        let script = "steps:\n- |\n  \n  one\n  two\n";
        assert_eq!(names(script), ["one"]);
    }

    #[test]
    fn a_given_name_is_kept_even_if_a_script_looks_like_it() {
        assert_eq!(names("steps: [b, {name: b, run: a}]"), ["b (2)", "b"]);
        assert_eq!(
            names("steps: [b, b, {name: b (2), run: a}]"),
            ["b", "b (3)", "b (2)"]
        );
    }

    #[test]
    fn defaults_of_the_job_reach_the_steps_from_below() {
        let job = job("steps: [make, {run: x, tty: false}]\noutput: tty\nshell: bash\n");
        assert_eq!(job.steps[0].argv[0], "bash");
        assert_eq!(job.steps[0].output, windlass_model::plan::OutputMode::Tty);
        assert_eq!(
            job.steps[1].output,
            windlass_model::plan::OutputMode::Merged
        );
        assert_eq!(job.timeout, super::DEFAULT_TIMEOUT);
    }

    #[test]
    fn secrets_are_not_variables() {
        let source = "secrets: [A]\nenv: {A: x}\nsteps: [{run: x, env: {A: y}}]";
        assert_eq!(codes(source), ["E0140", "E0140"]);
    }
}
