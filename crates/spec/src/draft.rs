//! A job while its keys are read, and the plan that is made of it when all are known.
//!
//! Keys may stand in any order, so what one means for another is decided here, at the end.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use windlass_model::plan::{ClonePlan, DEFAULT_JOB, JobPlan, Limits, OutputMode, Plan, StepPlan};

use crate::codes;
use crate::keys::shell::Shell;
use crate::limits;
use crate::node::shorten;
use crate::problems::{Problem, Problems};
use crate::value::At;

/// The limit of a job whose spec names none.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60 * 60);

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
}

impl JobDraft {
    /// The plan. Reports what only shows when everything is known; then the plan may be
    /// incomplete and is not used.
    pub(crate) fn finish(self, problems: &mut Problems<'_>) -> Plan {
        self.check_secrets(problems);
        let names = step_names(&self.steps, problems);
        let timeout = self.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let shell = self.shell.unwrap_or_default();
        let output = self.output.unwrap_or_default();
        let mut steps = Vec::with_capacity(self.steps.len());
        for (step, name) in self.steps.into_iter().zip(names) {
            step.check(timeout, problems);
            steps.push(step.finish(name, &shell, output));
        }
        Plan {
            jobs: vec![JobPlan {
                base: DEFAULT_JOB.to_owned(),
                name: DEFAULT_JOB.to_owned(),
                env: values(self.env),
                secrets: self
                    .secrets
                    .into_iter()
                    .map(|secret| secret.value)
                    .collect(),
                timeout,
                clone: self.clone,
                limits: self.limits,
                steps,
                ..JobPlan::default()
            }],
            ..Plan::default()
        }
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
        let output = match (self.output, self.tty.map(|tty| tty.value)) {
            (Some(own), _) => own.value,
            (None, Some(true)) => OutputMode::Tty,
            (None, Some(false)) if output == OutputMode::Tty => OutputMode::Merged,
            (None, _) => output,
        };
        StepPlan {
            name,
            argv: self.shell.as_ref().unwrap_or(shell).argv(&script),
            script,
            env: values(self.env),
            timeout: self.timeout.map(|timeout| timeout.value),
            output,
            ..StepPlan::default()
        }
    }
}

fn values(env: Env) -> BTreeMap<String, String> {
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
            None => shorten(step.script.as_deref().unwrap_or_default(), 60),
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
