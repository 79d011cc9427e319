//! A plan in words: numbered instructions that a person can follow when nothing else runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use windlass_model::plan::{ArtifactPlan, DEFAULT_TIMEOUT, OnResult, Ready, ReadyCheck, StepPlan};
use windlass_model::{Event, JobPlan, Trigger};

use super::shell::{line, quote};
use super::{ByHand, in_order};

/// How `shell: sh` runs a script; what people do when they type one.
const USUAL_SHELL: [&str; 3] = ["/bin/sh", "-e", "-c"];

/// Numbered instructions for everything that the plan does.
pub fn prose(by_hand: &ByHand<'_>) -> String {
    let plan = &in_order(by_hand.plan);
    let by_hand = &ByHand {
        plan,
        ..by_hand.clone()
    };
    let mut prose = Prose {
        by_hand,
        text: String::new(),
        number: 0,
        common: common(by_hand),
        numbers: BTreeMap::new(),
    };
    prose.introduction();
    prose.checkout();
    prose.variables();
    for (index, job) in plan.jobs.iter().enumerate() {
        prose.job(index, job);
    }
    prose.end();
    prose.text
}

struct Prose<'p, 'a> {
    by_hand: &'p ByHand<'a>,
    text: String,
    /// The newest instruction.
    number: usize,
    /// Variables that are the same in all jobs.
    common: BTreeMap<String, String>,
    /// The instruction of each job, by its place in the plan.
    numbers: BTreeMap<usize, usize>,
}

fn common(by_hand: &ByHand<'_>) -> BTreeMap<String, String> {
    let mut all = by_hand.planned().map(|job| by_hand.variables(job));
    let mut common = all.next().unwrap_or_default();
    for env in all {
        common.retain(|name, value| env.get(name) == Some(value));
    }
    // Each job has another.
    common.remove("WINDLASS_JOB");
    common
}

impl Prose<'_, '_> {
    fn say(&mut self, indent: usize, words: &str) {
        let _ = writeln!(self.text, "{}{}", " ".repeat(indent), words);
    }

    /// Begins an instruction.
    fn instruct(&mut self, words: &str) {
        self.number += 1;
        self.blank();
        let _ = writeln!(self.text, "{}. {words}", self.number);
    }

    /// What is to be typed: as it is, but for characters that a terminal would obey.
    fn typed(&mut self, indent: usize, text: &str) {
        self.blank();
        for row in text.trim_end_matches('\n').split('\n') {
            // Tabulators mean something in what is typed.
            let row: Vec<String> = row.split('\t').map(line).collect();
            let row = format!("{}{}", " ".repeat(indent), row.join("\t"));
            let _ = writeln!(self.text, "{}", row.trim_end());
        }
        self.blank();
    }

    /// An empty line, if there is none.
    fn blank(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn introduction(&mut self) {
        let trigger = self.by_hand.about.trigger;
        let (file, repo) = (self.by_hand.file, line(self.by_hand.about.repo));
        let what = line(&happened(trigger));
        self.say(
            0,
            &format!("What {file} of {repo} plans for {what}, by hand"),
        );
        if let Some(reason) = &self.by_hand.plan.skipped {
            let words = format!("\nOn the server nothing would be built: {}.", line(reason));
            self.say(0, &words);
        }
        let programs: BTreeSet<String> = self
            .by_hand
            .planned()
            .flat_map(|job| job.steps.iter().filter(|step| step.skipped.is_none()))
            .filter_map(|step| step.argv.first().map(|program| line(program)))
            .collect();
        let programs: Vec<String> = programs.into_iter().collect();
        self.say(
            0,
            &format!(
                "\nYou need git, {}, and whatever the commands below call. The commands of a step are one \
                 script, which ends at its first command that fails (`sh -e`). A step has failed when it \
                 ends with another exit code than 0. A job is over at its first failed step, and has \
                 failed then. `windlass script` prints all this as a shell script.",
                programs.join(", ")
            ),
        );
        let secrets: BTreeSet<&String> = self
            .by_hand
            .planned()
            .flat_map(|job| &job.secrets)
            .collect();
        if !secrets.is_empty() {
            let names: Vec<&str> = secrets.into_iter().map(String::as_str).collect();
            let words = format!(
                "\nHave the values of these secrets at hand: {}.",
                and(&names)
            );
            self.say(0, &words);
        }
    }

    fn checkout(&mut self) {
        if self.by_hand.planned().all(|job| job.clone.off) {
            return;
        }
        let revision = &self.by_hand.about.trigger.revision;
        let source = line(self.by_hand.source);
        self.instruct(&format!(
            "Check out the repository at {source}, commit {}. Each job below has a fresh copy of its own, \
             in a new folder:",
            revision.short()
        ));
        let commands = format!(
            "git clone --no-checkout {} FOLDER\ncd FOLDER\ngit checkout --detach {revision}",
            quote(self.by_hand.source)
        );
        self.typed(7, &commands);
    }

    fn variables(&mut self) {
        self.instruct(
            "Begin each job in a new shell, and set these variables, which all jobs have. FOLDER is the \
             job's folder; make an empty one beside it for temporary files:",
        );
        let mut commands = exports(&self.common);
        commands.push_str(
            "export WINDLASS_WORKSPACE=FOLDER\nexport TMPDIR=FOLDER-FOR-TEMPORARY-FILES\n\
             export WINDLASS_OUTPUT=\"$TMPDIR/windlass-output\"",
        );
        self.typed(7, &commands);
    }

    fn job(&mut self, index: usize, job: &JobPlan) {
        let name = line(&job.name);
        if let Some(reason) = &job.skipped {
            let words = format!("Leave out the job `{name}`: {}.", line(reason));
            self.instruct(&words);
            return;
        }
        self.instruct(&format!("Job `{name}`{}:", conditions(job)));
        self.numbers.insert(index, self.number);
        if let Some(question) = &job.approve {
            let words = format!(
                "Ask who is responsible, and begin only after a yes: {}",
                line(question)
            );
            self.say(3, &words);
        }
        self.surroundings(job);
        let env = self.by_hand.variables(job);
        let own = env
            .iter()
            .filter(|(name, value)| self.common.get(*name) != Some(*value));
        let own: BTreeMap<String, String> = own.map(|(n, v)| (n.clone(), v.clone())).collect();
        if !own.is_empty() {
            self.say(3, "Set:");
            self.typed(7, exports(&own).trim_end());
        }
        for (name, from) in &job.env_from {
            let words = format!(
                "Set {name} to the output {} of the job `{}`; it is empty if there is none.",
                line(&from.output),
                line(&from.job)
            );
            self.say(3, &words);
        }
        if !job.secrets.is_empty() {
            let names: Vec<&str> = job.secrets.iter().map(String::as_str).collect();
            let words = match names.as_slice() {
                [only] => format!("Set the secret {only} as a variable."),
                names => format!("Set the secrets {} as variables.", and(names)),
            };
            self.say(3, &words);
        }
        match self.same_as(index, job) {
            Some(other) => {
                let words = format!("Then do the same steps as in {other}.");
                self.say(3, &words);
            }
            None => self.steps(job),
        }
        self.results(job);
    }

    /// The instruction of another cell of the matrix that has the same steps.
    fn same_as(&self, index: usize, job: &JobPlan) -> Option<usize> {
        self.numbers
            .iter()
            .find(|(other, _)| {
                let other_job = &self.by_hand.plan.jobs[**other];
                **other != index && other_job.base == job.base && other_job.steps == job.steps
            })
            .map(|(_, number)| *number)
    }

    /// Where and in what the job runs.
    fn surroundings(&mut self, job: &JobPlan) {
        let mut words: Vec<String> = Vec::new();
        if job.clone.off {
            words.push("Its folder is empty: it needs no checkout.".to_owned());
        }
        if job.clone.submodules {
            words.push(
                "Check out the submodules: `git submodule update --init --recursive`.".to_owned(),
            );
        }
        if job.clone.lfs {
            words.push("Fetch the big files: `git lfs pull`.".to_owned());
        }
        for need in job.needs.iter().filter(|need| need.artifacts) {
            words.push(format!(
                "Copy the files that were kept of the job `{}` into the folder, at the same paths.",
                line(&need.job)
            ));
        }
        if let Some(image) = &job.image {
            words.push(format!("Work in a container of the image {}.", line(image)));
        }
        if !job.runs_on.is_empty() {
            words.push(format!(
                "Work on a machine with {}.",
                line(&job.runs_on.join(", "))
            ));
        }
        if let Some(user) = &job.user {
            words.push(format!("Work as the user {}.", line(user)));
        }
        if !job.network {
            words.push("It should work without network.".to_owned());
        }
        for service in &job.services {
            words.push(format!(
                "Start the service `{}` before, from the image {}.",
                line(&service.name),
                line(&service.image)
            ));
        }
        if let Some(group) = &job.concurrency {
            words.push(format!(
                "Make sure that nobody else is at the same now: only one job at a time in the group {}.",
                line(&group.group)
            ));
        }
        words.iter().for_each(|words| self.say(3, words));
    }

    fn steps(&mut self, job: &JobPlan) {
        for (letter, step) in letters().zip(&job.steps) {
            let name = line(&step.name);
            if let Some(reason) = &step.skipped {
                let words = format!("{letter}. Leave out \"{name}\": {}.", line(reason));
                self.say(3, &words);
                continue;
            }
            let mut said = match step.on_result {
                OnResult::Success => String::new(),
                OnResult::Failure => "only if a step before failed, ".to_owned(),
                OnResult::Always => "in any case, also after a failure, ".to_owned(),
            };
            let folder = step.workdir.as_ref().or(job.workdir.as_ref());
            if let Some(folder) = folder {
                let _ = write!(said, "in the folder {} ", quote(&line(folder)));
            }
            said.push_str("run");
            // A name that the script's own first line gave says nothing new.
            if !step.script.starts_with(step.name.trim_end_matches('…')) {
                let _ = write!(said, " \"{name}\"");
            }
            if !step.env.is_empty() {
                let set: Vec<String> = step
                    .env
                    .iter()
                    .map(|(name, value)| format!("{name}={}", line(&quote(value))))
                    .collect();
                let _ = write!(said, " with {}", set.join(" "));
            }
            let (shell, script) = script(step);
            said.push_str(&shell);
            said.push_str(&remarks(step));
            self.say(3, &format!("{letter}. {}:", sentence(&said)));
            self.typed(10, &script);
        }
    }

    /// What follows from the job.
    fn results(&mut self, job: &JobPlan) {
        for artifact in &job.artifacts {
            let words = kept(artifact);
            self.say(3, &words);
        }
        if !job.outputs.is_empty() {
            let names: Vec<&str> = job.outputs.iter().map(String::as_str).collect();
            let words = format!(
                "Note what the steps wrote to $WINDLASS_OUTPUT, as lines NAME=value: {}.",
                line(&and(&names))
            );
            self.say(3, &words);
        }
        if let Some(retry) = &job.retry {
            let words = format!(
                "If it fails{}, do it again in a fresh copy, {} at most{}.",
                causes(retry),
                times(retry.count),
                match retry.backoff {
                    Duration::ZERO => String::new(),
                    pause => format!("; wait {} before, twice as long each time", time(pause)),
                }
            );
            self.say(3, &words);
        }
        if job.fail_fast {
            let words = format!(
                "If it fails, the other variants of `{}` need not be done.",
                line(&job.base)
            );
            self.say(3, &words);
        }
        if job.timeout != DEFAULT_TIMEOUT {
            let words = format!(
                "If it isn't over after {}, stop it: it has failed.",
                time(job.timeout)
            );
            self.say(3, &words);
        }
    }

    fn end(&mut self) {
        let spared: Vec<String> = self
            .by_hand
            .planned()
            .filter(|job| job.allow_failure)
            .map(|job| format!("`{}`", line(&job.name)))
            .collect();
        let but = if spared.is_empty() {
            String::new()
        } else {
            let names: Vec<&str> = spared.iter().map(String::as_str).collect();
            format!(" other than {}", and(&names))
        };
        self.instruct(&format!(
            "The build has passed if no job{but} failed and everybody whom you asked agreed."
        ));
    }
}

/// The words with a capital letter at the beginning.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(chars).collect()
}

/// What happened, supposedly.
fn happened(trigger: &Trigger) -> String {
    match &trigger.event {
        Event::Push { branch, .. } => format!("a push to {branch}"),
        Event::Tag { tag } => format!("the tag {tag}"),
        Event::PullRequest { base, head, .. } => {
            format!("a pull request from {head} into {base}")
        }
        Event::Schedule { name } => format!("the schedule {name} on {}", trigger.branch()),
        Event::Manual | Event::Api => match (trigger.branch(), trigger.tag()) {
            ("", tag) => format!("a build by hand of the tag {tag}"),
            (branch, _) => format!("a build by hand of {branch}"),
        },
    }
}

/// When the job is to be done, in brackets.
fn conditions(job: &JobPlan) -> String {
    let mut words: Vec<String> = Vec::new();
    if !job.needs.is_empty() {
        let names: Vec<String> = job
            .needs
            .iter()
            .map(|need| {
                let optional = if need.optional { " if it is done" } else { "" };
                format!("`{}`{optional}", line(&need.job))
            })
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        words.push(format!("after {}", and(&names)));
        let many = job.needs.len() > 1;
        let some_optional = job.needs.iter().any(|need| need.optional);
        let ended = match (job.on_result, many, some_optional) {
            (OnResult::Success, false, false) => "only if it passed",
            (OnResult::Success, true, false) => "only if all of them passed",
            (OnResult::Success, _, true) => "not after a failure",
            (OnResult::Failure, false, _) => "only if it failed",
            (OnResult::Failure, true, _) => "only if at least one of them failed",
            (OnResult::Always, ..) => "also after a failure",
        };
        words.push(ended.to_owned());
    }
    for clause in &job.when {
        words.push(format!("only if {}", line(&clause.expr.to_string())));
    }
    if job.allow_failure {
        words.push("it may fail".to_owned());
    }
    if words.is_empty() {
        return String::new();
    }
    format!(" ({})", words.join("; "))
}

/// How a step is run if not by the usual shell, and what is to be typed.
fn script(step: &StepPlan) -> (String, String) {
    if let [before @ .., script] = step.argv.as_slice()
        && script.trim_end() == step.script.trim_end()
    {
        if before == USUAL_SHELL {
            return (String::new(), script.clone());
        }
        let before: Vec<String> = before.iter().map(|word| quote(word)).collect();
        return (
            format!(" (as the last argument of `{}`)", line(&before.join(" "))),
            script.clone(),
        );
    }
    let words: Vec<String> = step.argv.iter().map(|word| quote(word)).collect();
    (String::new(), words.join(" "))
}

/// What else is to be known of a step.
fn remarks(step: &StepPlan) -> String {
    let mut words: Vec<String> = Vec::new();
    if let Some(limit) = step.timeout {
        words.push(format!("stop it after {}", time(limit)));
    }
    if !step.expect.is_empty() {
        let codes: Vec<String> = step.expect.iter().map(ToString::to_string).collect();
        words.push(format!("good exit codes are {}", codes.join(" and ")));
    }
    if let Some(background) = &step.background {
        words.push("in the background, until the job is over".to_owned());
        if let Some(Ready { check, timeout }) = &background.ready {
            let holds = match check {
                ReadyCheck::Port(port) => format!("something listens on port {port}"),
                ReadyCheck::Output(text) => format!("it has printed {}", line(&quote(text))),
                ReadyCheck::Run(argv) => {
                    let last = argv.last().map_or("", String::as_str);
                    format!("`{}` succeeds", line(last))
                }
            };
            words.push(format!(
                "go on when {holds}, for which it has {}",
                time(*timeout)
            ));
        }
    }
    if words.is_empty() {
        return String::new();
    }
    format!(" ({})", words.join("; "))
}

fn kept(artifact: &ArtifactPlan) -> String {
    let (out, of): (Vec<&String>, Vec<&String>) = artifact
        .paths
        .iter()
        .partition(|path| path.starts_with('!'));
    let of: Vec<String> = of.into_iter().map(|path| line(path)).collect();
    let mut words = match artifact.when {
        OnResult::Success => "If it passed, keep",
        OnResult::Failure => "If it failed, keep",
        OnResult::Always => "Keep",
    }
    .to_owned();
    let _ = write!(words, " the files {}", of.join(", "));
    if !out.is_empty() {
        let out: Vec<String> = out.into_iter().map(|path| line(&path[1..])).collect();
        let _ = write!(words, " but not {}", out.join(", "));
    }
    let _ = write!(words, " as \"{}\"", line(&artifact.name));
    if artifact.required && artifact.when != OnResult::Failure {
        words.push_str("; if there are none, the job has failed");
    }
    words.push('.');
    words
}

fn causes(retry: &windlass_model::plan::Retry) -> String {
    let mut words: Vec<String> = Vec::new();
    if !retry.exit_codes.is_empty() {
        let codes: Vec<String> = retry.exit_codes.iter().map(ToString::to_string).collect();
        words.push(format!("with exit code {}", codes.join(" or ")));
    }
    if retry.timeout {
        words.push("because it took too long".to_owned());
    }
    if retry.infrastructure {
        words.push("because of the machine".to_owned());
    }
    match words.is_empty() {
        true => String::new(),
        false => format!(" {}", words.join(", or ")),
    }
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        n => format!("{n} times"),
    }
}

/// `export` lines for a shell.
fn exports(env: &BTreeMap<String, String>) -> String {
    env.iter()
        .map(|(name, value)| format!("export {name}={}\n", quote(value)))
        .collect()
}

fn time(duration: Duration) -> String {
    let seconds = super::seconds(duration);
    match seconds {
        0 => "no time".to_owned(),
        n if n % 3600 == 0 => format!("{} h", n / 3600),
        n if n % 60 == 0 => format!("{} min", n / 60),
        n => format!("{n} s"),
    }
}

/// "a", "a and b", "a, b and c".
fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// a, b, … z, aa, ab, …
fn letters() -> impl Iterator<Item = String> {
    (0_u32..).map(|mut n| {
        let mut letters = String::new();
        loop {
            letters.insert(0, char::from(b'a' + (n % 26) as u8));
            if n < 26 {
                return letters;
            }
            n = n / 26 - 1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_count_in_letters() {
        let some: Vec<String> = letters().take(703).collect();
        assert_eq!((some[0].as_str(), some[25].as_str()), ("a", "z"));
        assert_eq!((some[26].as_str(), some[702].as_str()), ("aa", "aaa"));
    }

    #[test]
    fn words_for_times_and_lists() {
        assert_eq!(time(Duration::from_secs(7200)), "2 h");
        assert_eq!(time(Duration::from_secs(90)), "90 s");
        assert_eq!(and(&["a", "b", "c"]), "a, b and c");
    }
}
