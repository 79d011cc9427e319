//! The steps of a job.

use std::fmt::Write as _;

use windlass_model::JobPlan;
use windlass_model::plan::{Background, OnResult, OutputMode, Ready, ReadyCheck, StepPlan};

use super::Script;
use crate::by_hand::seconds;
use crate::by_hand::shell::{assignment, comment, line, quote};

impl Script<'_, '_> {
    pub(super) fn steps(&self, text: &mut String, number: usize, job: &JobPlan) {
        let beside = || {
            let beside = |s: &&StepPlan| s.background.is_some() && s.skipped.is_none();
            (1..).zip(job.steps.iter().filter(beside))
        };
        for (n, _) in beside() {
            let _ = writeln!(text, "    beside_{n}=");
        }
        let mut besides = 0;
        for (n, step) in (1..).zip(&job.steps) {
            let name = line(&step.name);
            *text += &comment("    ", &format!("Step {n}: {name}"));
            if let Some(reason) = &step.skipped {
                *text += &comment("    ", &format!("It is left out: {reason}"));
                let words = format!("-- {name}: left out, {}", line(reason));
                let _ = writeln!(text, "    say {}\n", quote(&words));
                continue;
            }
            for (n, other) in beside().take(besides) {
                let _ = writeln!(text, "    look_beside {} || beside_{n}=", watched(n, other));
            }
            let when = match step.on_result {
                OnResult::Success => "success",
                OnResult::Failure => "failure",
                OnResult::Always => "always",
            };
            let limit = step.timeout.map_or(0, |limit| seconds(limit).max(1));
            let _ = writeln!(
                text,
                "    if begin_step {when} {limit} {}; then",
                quote(&name)
            );
            match &step.background {
                None => {
                    let call = call(number, job, step, &step.argv);
                    let _ = writeln!(text, "        step() {{\n{call}        }}");
                    let _ = writeln!(text, "        run_step {}", expected(step));
                }
                Some(background) => {
                    besides += 1;
                    begin_beside(text, number, job, step, background, besides);
                }
            }
            text.push_str("    fi\n\n");
        }
        for (n, step) in beside() {
            let _ = writeln!(text, "    end_beside {}", watched(n, step));
        }
    }
}

/// What the functions want to know of a step that runs beside the others.
fn watched(n: usize, step: &StepPlan) -> String {
    format!(
        "\"$beside_{n}\" {} \"$folder/beside-{n}\" {}",
        quote(&line(&step.name)),
        expected(step)
    )
}

/// The exit codes that are well.
fn expected(step: &StepPlan) -> String {
    if step.expect.is_empty() {
        return "0".to_owned();
    }
    let codes: Vec<String> = step.expect.iter().map(ToString::to_string).collect();
    codes.join(" ")
}

/// The lines, for a shell of their own, that become these words in the step's folder and
/// environment.
fn call(number: usize, job: &JobPlan, step: &StepPlan, argv: &[String]) -> String {
    let folder = step.workdir.as_ref().or(job.workdir.as_ref());
    let folder = folder.map_or(".", String::as_str);
    let program = argv.first().map_or("", String::as_str);
    let mut enter = format!("enter {} {}", quote(folder), quote(program));
    let path = step.env.get("PATH").or_else(|| job.env.get("PATH"));
    if let Some(path) = path {
        let _ = write!(enter, " {}", quote(path));
    }
    let mut words: Vec<String> = Vec::new();
    let has_terminal = step.output == OutputMode::Tty;
    let knows = |name: &str| {
        step.env.contains_key(name)
            || job.env.contains_key(name)
            || job.secrets.iter().any(|secret| secret == name)
    };
    if has_terminal && !knows("TERM") {
        words.push("TERM=xterm-256color".to_owned());
    }
    words.extend(step.env.iter().map(|(name, value)| assignment(name, value)));
    if program.contains('=') {
        // `env` would take it for a variable.
        words.extend(["sh", "-c", "'exec \"$@\"'", "sh"].map(str::to_owned));
    }
    words.extend(argv.iter().map(|word| quote(word)));
    format!(
        "            {enter}\n            job_{number}_env {}\n",
        words.join(" ")
    )
}

fn begin_beside(
    text: &mut String,
    number: usize,
    job: &JobPlan,
    step: &StepPlan,
    background: &Background,
    n: usize,
) {
    let file = format!("\"$folder/beside-{n}\"");
    let begin = call(number, job, step, &step.argv);
    // What it writes is shown when it ends: otherwise nobody could look for a text in it.
    let _ = writeln!(
        text,
        "        mark=$folder/beside-{n}.not-started\n        (\n{begin}        ) </dev/null >{file} \
         2>&1 &\n        beside_{n}=$!\n        \
         running=\"$running $beside_{n}\""
    );
    let Some(Ready { check, timeout }) = &background.ready else {
        return;
    };
    let check = match check {
        ReadyCheck::Port(port) => format!("port_is_open {port}"),
        ReadyCheck::Output(wanted) => format!("grep -qF -e {} {file}", quote(wanted)),
        ReadyCheck::Run(argv) => format!(
            "(\n{}        ) </dev/null >/dev/null 2>&1",
            call(number, job, step, argv)
        ),
    };
    let _ = writeln!(
        text,
        "        until {check}; do\n            wait_longer \"$beside_{n}\" {} || break\n        done",
        seconds(*timeout)
    );
}
