//! Whether a job begins, and what it takes from others.

use std::fmt::Write as _;

use windlass_model::JobPlan;
use windlass_model::expression::{Expr, Lookup, Name, Value};
use windlass_model::plan::{Need, OnResult};

use super::Script;
use crate::by_hand::condition;
use crate::by_hand::shell::{line, quote};

impl Script<'_, '_> {
    /// Sets `$reason` if the job must not begin.
    pub(super) fn conditions(&self, text: &mut String, index: usize, job: &JobPlan) {
        self.fail_fast(text, index, job);
        match job.on_result {
            OnResult::Success => self.all_well(text, job),
            OnResult::Failure => self.one_failed(text, job),
            OnResult::Always => {}
        }
        let names = self.asked_for(job);
        for (n, name) in (1..).zip(&names) {
            match name {
                Name::NeedResult(base) => {
                    let _ = writeln!(text, "{}; asked_{n}=$worst", self.worst(base));
                }
                Name::NeedOutput(base, output) => {
                    self.value(text, "", &format!("asked_{n}"), base, output);
                }
                _ => {}
            }
        }
        let word = |name: &Name| {
            let n = names.iter().position(|known| known == name)?;
            Some(format!("\"$asked_{}\"", n + 1))
        };
        for clause in &job.when {
            let reason = quote(&format!("`{}` does not hold", line(&clause.text)));
            let command = condition::command(&self.simplified(&clause.expr), &word);
            let _ = writeln!(
                text,
                "[ -n \"$reason\" ] || {{ {command}; }} || reason={reason}"
            );
        }
        if let Some(question) = &job.approve {
            let _ = writeln!(text, "approve {}", quote(&line(question)));
        }
    }

    /// One failed cell cancels those that come after it.
    fn fail_fast(&self, text: &mut String, index: usize, job: &JobPlan) {
        let jobs = &self.by_hand.plan.jobs;
        let before = self.by_hand.cells(&job.base);
        for cell in before.into_iter().take_while(|cell| *cell < index) {
            let other = &jobs[cell];
            if !other.fail_fast || other.allow_failure || other.skipped.is_some() {
                continue;
            }
            let reason = quote(&format!("fail-fast: {} failed", line(&other.name)));
            let _ = writeln!(
                text,
                "case $result_{} in failed | error) reason={reason} result=cancelled ;; esac",
                cell + 1
            );
        }
    }

    fn all_well(&self, text: &mut String, job: &JobPlan) {
        for need in &job.needs {
            let how = if need.optional {
                "optional"
            } else {
                "required"
            };
            let flags = flags(&self.by_hand.cells(&need.job));
            let name = quote(&line(&need.job));
            let _ = writeln!(
                text,
                "{}; needs {name} {how} \"{flags}\"",
                self.worst(&need.job)
            );
        }
    }

    fn one_failed(&self, text: &mut String, job: &JobPlan) {
        text.push_str("any=\n");
        for Need { job, .. } in &job.needs {
            let cells = self.by_hand.cells(job);
            let _ = writeln!(text, "any=\"$any{}\"", flags(&cells));
            let above: Vec<usize> = self.upstream(job, &cells);
            if !above.is_empty() {
                let _ = writeln!(
                    text,
                    "{}; [ \"$worst\" != skipped ] || any=\"$any{}\"",
                    self.worst(job),
                    flags(&above)
                );
            }
        }
        text.push_str(
            "case $any in *1*) ;; *) \
             [ -n \"$reason\" ] || reason='nothing that it needs failed' ;; esac\n",
        );
    }

    fn upstream(&self, base: &str, cells: &[usize]) -> Vec<usize> {
        let mut above = self.by_hand.upstream(base);
        above.retain(|place| !cells.contains(place));
        above
    }

    /// The command that sets `$worst` to how a job ended.
    fn worst(&self, base: &str) -> String {
        let mut command = "worst".to_owned();
        for cell in self.by_hand.cells(base) {
            let _ = write!(command, " \"$result_{}\"", cell + 1);
        }
        command
    }

    /// What the conditions ask of other jobs.
    fn asked_for(&self, job: &JobPlan) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        for clause in &job.when {
            for name in self.simplified(&clause.expr).names() {
                let told = matches!(name, Name::NeedResult(_) | Name::NeedOutput(..));
                if told && !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    /// The expression with everything worked out that doesn't depend on how jobs end.
    fn simplified(&self, expr: &Expr) -> Expr {
        struct Absent<'s, 'a>(&'s Script<'s, 'a>);
        impl Lookup for Absent<'_, '_> {
            fn value(&self, name: &Name) -> Option<Value> {
                let missing = |job: &str| self.0.by_hand.cells(job).is_empty();
                match name {
                    Name::NeedResult(job) if missing(job) => {
                        Some(Value::Text("skipped".to_owned()))
                    }
                    Name::NeedOutput(job, _) if missing(job) => Some(Value::Text(String::new())),
                    _ => None,
                }
            }
            fn changed(&self, _: &[String]) -> Option<bool> {
                None
            }
        }
        expr.simplify(&Absent(self))
    }

    /// Sets `$value_1` and so on to what other jobs handed on for the job's variables.
    pub(super) fn take_values(&self, text: &mut String, job: &JobPlan) {
        for (n, from) in (1..).zip(job.env_from.values()) {
            self.value(text, "    ", &format!("value_{n}"), &from.job, &from.output);
        }
    }

    /// Sets a variable to an output: that of the last cell that has it.
    fn value(&self, text: &mut String, indent: &str, variable: &str, base: &str, output: &str) {
        let _ = writeln!(text, "{indent}{variable}=");
        for cell in self.by_hand.cells(base) {
            let outputs = &self.by_hand.plan.jobs[cell].outputs;
            if let Some(n) = outputs.iter().position(|name| name == output) {
                let name = format!("output_{}_{}", cell + 1, n + 1);
                let _ = writeln!(
                    text,
                    "{indent}[ -z \"${{{name}+set}}\" ] || {variable}=${name}"
                );
            }
        }
    }
}

/// The flags that say which of these jobs failed so that it counts.
fn flags(cells: &[usize]) -> String {
    let flags = cells.iter().map(|cell| format!("$failed_{}", cell + 1));
    flags.collect()
}
