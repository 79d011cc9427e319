//! A plan as a POSIX shell script.

mod artifacts;
mod begin;
mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use windlass_model::JobPlan;
use windlass_model::plan::{OnResult, Retry};
use windlass_shim::order::ATTEMPT_VARIABLE;

use super::shell::{assignment, comment, line, quote};
use super::{ByHand, PLACES, in_order};
use crate::order::{self, PASSED_ON};

/// Names that a shell gives a meaning of its own: they are never set in it, only handed on.
const SHELL_S_OWN: &[&str] = &[
    "PATH",
    "IFS",
    "PPID",
    "UID",
    "EUID",
    "GROUPS",
    "LINENO",
    "OPTIND",
    "OPTARG",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "BASHOPTS",
    "BASH_VERSINFO",
    "DIRSTACK",
    "ENV",
    "BASH_ENV",
    "PWD",
    "OLDPWD",
    "FUNCNAME",
    "HISTCMD",
    "_",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
];

/// The script that does what the plan does, job after job, on the machine on which it is started.
/// It ends with 0 or 1 as `windlass run` does, and with 2 when something is missing.
pub fn script(by_hand: &ByHand<'_>) -> String {
    let plan = &in_order(by_hand.plan);
    let by_hand = &ByHand {
        plan,
        ..by_hand.clone()
    };
    let secrets: BTreeSet<&str> = by_hand
        .planned()
        .flat_map(|job| job.secrets.iter().map(String::as_str))
        .collect();
    let script = Script {
        by_hand,
        secrets: secrets.into_iter().collect(),
    };
    let mut text = script.head();
    for (index, job) in plan.jobs.iter().enumerate() {
        script.job(&mut text, index, job);
    }
    text.push_str(
        "\n# --- The end -----------------------------------------------------------------\n\n\
         say '' \"$summary\"\nexit \"$bad\"\n",
    );
    text
}

/// What is worth another attempt.
fn causes(retry: &Retry) -> String {
    if retry.exit_codes.is_empty() && !retry.infrastructure && !retry.timeout {
        return "any".to_owned();
    }
    let mut causes: Vec<String> = retry.exit_codes.iter().map(ToString::to_string).collect();
    causes.extend(retry.infrastructure.then(|| "infrastructure".to_owned()));
    causes.extend(retry.timeout.then(|| "timeout".to_owned()));
    causes.join(" ")
}

struct Script<'s, 'a> {
    by_hand: &'s ByHand<'a>,
    /// All secrets that any job gets: `secret_1` is the first.
    secrets: Vec<&'a str>,
}

impl Script<'_, '_> {
    fn head(&self) -> String {
        let ByHand {
            plan,
            about,
            source,
            file,
        } = self.by_hand;
        let trigger = about.trigger;
        let mut text = "#!/bin/sh\n".to_owned();
        text += &comment(
            "",
            &format!(
                "What {file} of {} plans for the event {} of {}, done by hand.\n\
                 \n\
                 Made by `windlass script`. It needs no Windlass: only a POSIX shell, git, and what the \
                 steps call.\nEach job runs in a fresh copy of the commit; what is not committed is not \
                 in it.\nExit code 0: passed; 1: failed; 2: something is missing, nothing more was done.\n",
                about.repo,
                trigger.event.kind(),
                trigger.git_ref,
            ),
        );
        if let Some(reason) = &plan.skipped {
            text += &comment(
                "",
                &format!("On the server this would not be built: {reason}\n"),
            );
        }
        text += include_str!("settings.sh");
        self.missing(&mut text);
        let _ = writeln!(text, "source={}", quote(source));
        let _ = writeln!(text, "revision={}", trigger.revision);
        let _ = writeln!(text, "passed_on='{}'", PASSED_ON.join(" "));
        let _ = writeln!(text, "secrets='{}'", self.secrets.join(" "));
        let refused = self.by_hand.planned().find_map(|job| {
            let refused = order::process_refusals(job).into_iter().next()?;
            Some(format!("the job {} can't run here: {refused}", job.name))
        });
        let _ = writeln!(
            text,
            "refused={}",
            quote(&line(&refused.unwrap_or_default()))
        );
        text.push('\n');
        text += include_str!("functions.sh");
        text.push('\n');
        for (number, name) in (1..).zip(&self.secrets) {
            let _ = writeln!(text, "secret_{number}=${name}");
        }
        let handed_on: Vec<&str> = self
            .secrets
            .iter()
            .copied()
            .filter(|n| *n != "PATH")
            .collect();
        if !handed_on.is_empty() {
            let _ = writeln!(text, "unset {}", handed_on.join(" "));
        }
        for number in 1..=plan.jobs.len() {
            let _ = writeln!(text, "result_{number}=skipped failed_{number}=0");
        }
        if let Some(reason) = &plan.skipped {
            let words = format!("on the server this would not be built: {reason}");
            let _ = writeln!(text, "say {}", quote(&line(&words)));
        }
        text
    }

    /// What must be there before anything begins.
    fn missing(&self, text: &mut String) {
        if self.by_hand.planned().any(|job| !job.clone.off) {
            text.push_str("command -v git >/dev/null || stop 'git is not installed here'\n");
        }
        if self.secrets.is_empty() {
            return;
        }
        text.push_str(
            "\n# Secrets are variables that whoever starts this script sets.\nmissing=\n",
        );
        for name in &self.secrets {
            let _ = writeln!(
                text,
                "[ -n \"${{{name}+set}}\" ] || missing=\"$missing {name}\""
            );
        }
        text.push_str(
            "[ -z \"$missing\" ] || stop \"set and export the secrets that are missing:$missing\"\n\n",
        );
    }

    fn job(&self, text: &mut String, index: usize, job: &JobPlan) {
        let number = index + 1;
        let all = self.by_hand.plan.jobs.len();
        let _ = write!(
            text,
            "\n# {}\n{}",
            "=".repeat(77),
            comment("", &format!("Job {number} of {all}: {}", line(&job.name)))
        );
        self.remarks(text, job);
        if let Some(reason) = &job.skipped {
            *text += &comment("", &format!("It is left out: {reason}"));
            self.say_left_out(text, job, reason);
            return;
        }
        text.push('\n');
        self.environment(text, number, job);
        self.outputs(text, number, job);
        self.attempt(text, number, job);
        let _ = writeln!(text, "reason= result=skipped");
        self.conditions(text, index, job);
        let name = quote(&line(&job.name));
        let _ = writeln!(text, "if [ -z \"$reason\" ]; then");
        self.take_values(text, job);
        let heading = format!("== {}", line(&job.name));
        let _ = writeln!(text, "    say '' {}", quote(&heading));
        let _ = writeln!(text, "    tries=1\n    attempt job_{number}");
        if let Some(retry) = &job.retry {
            let _ = writeln!(
                text,
                "    while [ \"$result\" != passed ] && worth_a_retry {} {} {}; do\n        \
                 tries=$((tries + 1))\n        attempt job_{number}\n    done",
                retry.count,
                super::seconds(retry.backoff),
                causes(retry)
            );
        }
        text.push_str("fi\n");
        let allowed = if job.allow_failure {
            "may-fail"
        } else {
            "must-pass"
        };
        let _ = writeln!(text, "judge {name} {allowed}");
        let _ = writeln!(text, "result_{number}=$result failed_{number}=$counts");
    }

    fn say_left_out(&self, text: &mut String, job: &JobPlan, reason: &str) {
        let name = line(&job.name);
        let words = format!("== {name}: skipped, {}", line(reason));
        let _ = writeln!(text, "say '' {}", quote(&words));
        let row = quote(&format!("  skipped  {name}"));
        let _ = writeln!(text, "summary=$summary{row}$nl");
    }

    /// What a person should know of a job before it begins.
    fn remarks(&self, text: &mut String, job: &JobPlan) {
        let mut say = |words: String| *text += &comment("", &words);
        for need in &job.needs {
            let optional = if need.optional {
                ", if there is such a job"
            } else {
                ""
            };
            let artifacts = if need.artifacts {
                ", with its artifacts"
            } else {
                ""
            };
            say(format!("after {}{artifacts}{optional}", line(&need.job)));
        }
        match job.on_result {
            OnResult::Success => {}
            OnResult::Failure => say("only if something that it needs failed".to_owned()),
            OnResult::Always => say("however that what it needs ended".to_owned()),
        }
        for clause in &job.when {
            say(format!("if {}", line(&clause.expr.to_string())));
        }
        if job.allow_failure {
            say("it may fail".to_owned());
        }
        if let Some(group) = &job.concurrency {
            say(format!(
                "only one at a time in the group {}: make sure that nobody else is at it",
                line(&group.group)
            ));
        }
        if let Some(image) = &job.image {
            say(format!("on the server in a container of {}", line(image)));
        }
        if let Some(user) = &job.user {
            say(format!("on the server as the user {}", line(user)));
        }
        if !job.network {
            say("on the server without network".to_owned());
        }
        if !job.runs_on.is_empty() {
            say(format!(
                "on a machine with {}",
                line(&job.runs_on.join(", "))
            ));
        }
        let limits = &job.limits;
        if let Some(bytes) = limits.memory_bytes {
            say(format!(
                "on the server with at most {bytes} bytes of memory, here without that limit"
            ));
        }
        if let Some(pids) = limits.pids {
            say(format!(
                "on the server with at most {pids} processes, here without that limit"
            ));
        }
        for service in &job.services {
            say(format!(
                "beside it the service {} must run, from the image {}: start it before this script",
                line(&service.name),
                line(&service.image)
            ));
        }
        for cache in &job.caches {
            say(format!(
                "the cache {} only saves time: it is not used here",
                line(&cache.key)
            ));
        }
        for report in &job.reports {
            let paths = line(&report.paths.join(", "));
            say(format!(
                "its {} report is read by the server: {paths}",
                report.kind.as_str()
            ));
        }
    }

    /// `job_1_env`: replaces the shell by a program with the job's variables.
    fn environment(&self, text: &mut String, number: usize, job: &JobPlan) {
        let mut words: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.by_hand.variables(job) {
            words.insert(name.clone(), assignment(&name, &value));
        }
        // What is known only when it runs.
        for (name, value) in PLACES
            .iter()
            .zip(["$workspace", "$tmp", "$tmp/windlass-output"])
        {
            if !job.env.contains_key(*name) {
                words.insert((*name).to_owned(), format!("\"{name}={value}\""));
            }
        }
        for (n, name) in (1..).zip(job.env_from.keys()) {
            words.insert(name.clone(), format!("\"{name}=$value_{n}\""));
        }
        let mut exported = String::new();
        for name in &job.secrets {
            let Some(n) = self.secrets.iter().position(|known| known == name) else {
                continue;
            };
            let n = n + 1;
            if SHELL_S_OWN.contains(&name.as_str()) {
                words.insert(name.clone(), format!("\"{name}=$secret_{n}\""));
            } else {
                // Not among the arguments: every process of the machine can see those.
                words.remove(name);
                let _ = writeln!(exported, "    export {name}=\"$secret_{n}\"");
            }
        }
        words.insert(
            ATTEMPT_VARIABLE.to_owned(),
            format!("\"{ATTEMPT_VARIABLE}=by-hand-$$-{number}\""),
        );
        let _ = writeln!(
            text,
            "job_{number}_env() {{\n{exported}    exec $limit env \\"
        );
        for word in words.values() {
            let _ = writeln!(text, "        {word} \\");
        }
        text.push_str("        \"$@\"\n}\n\n");
    }

    /// `job_1_output`: takes one output.
    fn outputs(&self, text: &mut String, number: usize, job: &JobPlan) {
        if job.outputs.is_empty() {
            return;
        }
        let _ = writeln!(text, "job_{number}_output() {{\n    case $1 in");
        for (n, name) in (1..).zip(&job.outputs) {
            let _ = writeln!(text, "    {}) output_{number}_{n}=$2 ;;", quote(name));
        }
        text.push_str("    *) return 1 ;;\n    esac\n}\n\n");
    }

    /// `job_1`: one attempt from the checkout to the artifacts.
    fn attempt(&self, text: &mut String, number: usize, job: &JobPlan) {
        let _ = writeln!(
            text,
            "job_{number}() {{\n    fresh_folder {number} || return"
        );
        let clone = &job.clone;
        if clone.off {
            text.push_str("    # The workspace stays empty (clone: off).\n");
        } else {
            let depth = clone.depth.map_or("all".to_owned(), |n| n.to_string());
            let submodules = if clone.submodules { " submodules" } else { "" };
            let lfs = if clone.lfs { " lfs" } else { "" };
            let _ = writeln!(text, "    check_out {depth}{submodules}{lfs} || return");
        }
        self.needed_artifacts(text, job);
        let _ = writeln!(text, "    begin_steps {}\n", super::seconds(job.timeout));
        self.steps(text, number, job);
        text.push_str("    end_steps\n");
        self.kept_artifacts(text, job);
        for n in 1..=job.outputs.len() {
            let _ = writeln!(text, "    unset output_{number}_{n}");
        }
        if job.outputs.is_empty() {
            text.push_str("    take_outputs no_output || :\n}\n\n");
        } else {
            let names: Vec<String> = (1..=job.outputs.len())
                .map(|n| format!("output_{number}_{n}"))
                .collect();
            let _ = writeln!(
                text,
                "    take_outputs job_{number}_output || unset {}\n}}\n",
                names.join(" ")
            );
        }
    }
}
