//! From a spec and what is known of an event to the plan: conditions decided, matrices expanded,
//! names filled in.

use std::collections::{BTreeMap, HashSet};

use windlass_model::expression::{Expr, Lookup, Name, Value};
use windlass_model::plan::{Clause, JobPlan, Plan};
use windlass_model::{Event, Facts};

use super::{JobSpec, On, Spec};

/// Why a job runs or not, condition by condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The job's name in the plan.
    pub job: String,
    /// One list for each alternative of `when`; all conditions of one of them must hold.
    pub alternatives: Vec<Vec<Decision>>,
}

/// What became of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The condition as it is written.
    pub text: String,
    /// Its line in the spec.
    pub line: usize,
    /// Whether it holds; `None` if only a run can tell.
    pub holds: Option<bool>,
    /// The values of the names that it speaks of: `branch is "main"`.
    pub because: String,
}

/// What is known for one cell.
struct InCell<'a> {
    facts: &'a Facts,
    cell: &'a [(String, String)],
}

impl Lookup for InCell<'_> {
    fn value(&self, name: &Name) -> Option<Value> {
        match name {
            // A cell of `include` may lack an axis: an empty text, not an unknown one.
            Name::Matrix(axis) => {
                let value = self.cell.iter().find(|(name, _)| name == axis);
                Some(Value::Text(
                    value.map(|(_, value)| value.clone()).unwrap_or_default(),
                ))
            }
            other => self.facts.value(other),
        }
    }

    fn changed(&self, patterns: &[String]) -> Option<bool> {
        self.facts.changed(patterns)
    }
}

/// What conditions come to.
enum Decided {
    Runs,
    Skipped(String),
    Later(Vec<Clause>),
}

impl Spec {
    /// The plan for an event: what runs, in which order, under which conditions that only the run
    /// itself can decide.
    pub fn plan(&self, facts: &Facts) -> Plan {
        let whole = InCell { facts, cell: &[] };
        let concurrency = self.concurrency.as_ref().map(|(group, template)| {
            let mut group = group.clone();
            if let Some(filled) = template.as_ref().and_then(|t| t.fill(&whole)) {
                group.group = filled;
            }
            group
        });
        let mut jobs = Vec::with_capacity(self.jobs.iter().map(|job| job.cells.len()).sum());
        for job in &self.jobs {
            for cell in &job.cells {
                jobs.push(job.plan(&InCell { facts, cell }));
            }
        }
        unique_names(&mut jobs);
        let skipped = facts
            .trigger
            .skip
            .as_ref()
            .map(|marker| format!("the commit message says {marker}"));
        let skipped = skipped.or_else(|| self.on.as_ref()?.refuses(&whole));
        Plan {
            jobs,
            concurrency,
            skipped,
        }
    }

    /// Why the jobs of a name (in the spec or in the plan) run or not.
    pub fn why(&self, facts: &Facts, name: &str) -> Vec<Why> {
        let mut all = Vec::new();
        for job in &self.jobs {
            for cell in &job.cells {
                let known = InCell { facts, cell };
                let planned = cell_name(&job.proto.base, cell);
                if job.proto.base != name && planned != name {
                    continue;
                }
                let decide = |clause: &Clause| Decision {
                    text: clause.text.clone(),
                    line: clause.line,
                    holds: clause.expr.simplify(&known).truth(),
                    because: because(&clause.expr, &known),
                };
                all.push(Why {
                    job: planned,
                    alternatives: job
                        .when
                        .iter()
                        .map(|clauses| clauses.iter().map(decide).collect())
                        .collect(),
                });
            }
        }
        all
    }
}

impl On {
    /// Why the event makes no build, if it does not.
    fn refuses(&self, known: &InCell<'_>) -> Option<String> {
        match &known.facts.trigger.event {
            Event::Manual => (!self.manual).then(|| "`on` says `manual: false`".to_owned()),
            Event::Api => (!self.api).then(|| "`on` says `api: false`".to_owned()),
            Event::Schedule { name } => {
                let there = self.schedules.iter().any(|schedule| schedule.name == *name);
                // By hand one may suppose a schedule without a name.
                let there = there || name.is_empty() && !self.schedules.is_empty();
                (!there).then(|| format!("`on` has no schedule {name:?}"))
            }
            event => {
                let named = self.events.iter().find(|(kind, _)| *kind == event.kind());
                let Some((_, clauses)) = named else {
                    return Some(format!("`on` does not name `{}`", event.kind()));
                };
                match decide(std::slice::from_ref(clauses), known) {
                    Decided::Skipped(reason) => Some(format!("`on`: {reason}")),
                    Decided::Runs | Decided::Later(_) => None,
                }
            }
        }
    }
}

impl JobSpec {
    fn plan(&self, known: &InCell<'_>) -> JobPlan {
        let mut job = self.proto.clone();
        if !known.cell.is_empty() {
            job.name = cell_name(&job.base, known.cell);
            job.matrix = known.cell.iter().cloned().collect();
        }
        if !self.templates.is_empty() {
            each_text(&mut job, &mut |text, _| {
                if let Some(filled) = self
                    .templates
                    .get(text.as_str())
                    .and_then(|t| t.fill(known))
                {
                    // No program can be given a NUL, and strangers name branches.
                    *text = filled.replace('\0', "");
                }
            });
        }
        for step in &mut job.steps {
            if let Some(build) = &step.build {
                step.script = build.by_hand();
                step.argv = ["/bin/sh", "-e", "-c", &step.script]
                    .map(str::to_owned)
                    .to_vec();
            }
        }
        match decide(&self.when, known) {
            Decided::Runs => {}
            Decided::Skipped(reason) => job.skipped = Some(reason),
            Decided::Later(clauses) => job.when = clauses,
        }
        for (step, when) in job.steps.iter_mut().zip(&self.step_whens) {
            if let Decided::Skipped(reason) = decide(when, known) {
                step.skipped = Some(reason);
            }
        }
        for (name, value) in &known.facts.params {
            job.env
                .entry(format!("PARAM_{}", windlass_model::plan::variable(name)))
                .or_insert_with(|| value.plain());
        }
        job
    }
}

fn decide(alternatives: &[Vec<Clause>], known: &InCell<'_>) -> Decided {
    let mut refused = Vec::new();
    let mut open: Vec<Vec<Clause>> = Vec::new();
    for clauses in alternatives {
        let mut later = Vec::new();
        let mut fails = None;
        for clause in clauses {
            let expr = clause.expr.simplify(known);
            match expr.truth() {
                Some(true) => {}
                Some(false) => {
                    fails = Some(clause);
                    break;
                }
                None => later.push(Clause {
                    expr,
                    ..clause.clone()
                }),
            }
        }
        match fails {
            Some(clause) => {
                let because = because(&clause.expr, known);
                let because = if because.is_empty() {
                    because
                } else {
                    format!(": {because}")
                };
                refused.push(format!("`{}` does not hold{because}", clause.text));
            }
            None if later.is_empty() => return Decided::Runs,
            None => open.push(later),
        }
    }
    match open.len() {
        0 if refused.is_empty() => Decided::Runs,
        0 => Decided::Skipped(refused.join("; ")),
        1 => Decided::Later(open.remove(0)),
        _ => {
            let texts: Vec<String> = open
                .iter()
                .map(|clauses| {
                    let texts: Vec<&str> =
                        clauses.iter().map(|clause| clause.text.as_str()).collect();
                    texts.join(" and ")
                })
                .collect();
            let all =
                |clauses: Vec<Clause>| Expr::And(clauses.into_iter().map(|c| c.expr).collect());
            let line = open[0][0].line;
            Decided::Later(vec![Clause {
                text: texts.join(", or "),
                line,
                expr: Expr::Or(open.into_iter().map(all).collect()),
            }])
        }
    }
}

/// The values of the names in a condition.
fn because(expr: &Expr, known: &InCell<'_>) -> String {
    let mut words = Vec::new();
    for name in expr.names() {
        let value = match known.value(name) {
            None => continue,
            Some(Value::Text(text)) if text.is_empty() => format!("there is no {name}"),
            Some(value) => format!("{name} is {value}"),
        };
        if !words.contains(&value) {
            words.push(value);
        }
    }
    words.join(", ")
}

/// `test (3.10, linux)`.
fn cell_name(base: &str, cell: &[(String, String)]) -> String {
    if cell.is_empty() {
        return base.to_owned();
    }
    let mut name = String::with_capacity(base.len() + 24);
    name.push_str(base);
    name.push_str(" (");
    for (i, (_, value)) in cell.iter().enumerate() {
        if i > 0 {
            name.push_str(", ");
        }
        // A value may be long, and a name stands on pages and in URLs.
        name.extend(value.chars().filter(|c| !c.is_control()).take(60));
    }
    name.push(')');
    name
}

/// Cells whose values look alike when they are shortened still get names of their own.
fn unique_names(jobs: &mut [JobPlan]) {
    let mut seen = HashSet::with_capacity(jobs.len());
    if jobs.iter().all(|job| seen.insert(job.name.as_str())) {
        return;
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for job in jobs {
        let count = counts.entry(job.name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            job.name = format!("{} #{count}", job.name);
        }
    }
}

/// Every text of a job in which names are filled in, and whether it belongs to a step.
pub(super) fn each_text(job: &mut JobPlan, visit: &mut dyn FnMut(&mut String, bool)) {
    for text in [&mut job.image, &mut job.approve].into_iter().flatten() {
        visit(text, false);
    }
    if let Some(group) = &mut job.concurrency {
        visit(&mut group.group, false);
    }
    for service in &mut job.services {
        visit(&mut service.image, false);
        service.env.values_mut().for_each(|text| visit(text, false));
    }
    job.runs_on.iter_mut().for_each(|text| visit(text, false));
    for artifact in &mut job.artifacts {
        visit(&mut artifact.name, false);
        artifact
            .paths
            .iter_mut()
            .for_each(|text| visit(text, false));
    }
    for cache in &mut job.caches {
        visit(&mut cache.key, false);
        let lists = [&mut cache.paths, &mut cache.hash, &mut cache.restore];
        lists
            .into_iter()
            .flatten()
            .for_each(|text| visit(text, false));
    }
    for report in &mut job.reports {
        report.paths.iter_mut().for_each(|text| visit(text, false));
    }
    job.env.values_mut().for_each(|text| visit(text, false));
    for step in &mut job.steps {
        step.env.values_mut().for_each(|text| visit(text, true));
        if let Some(build) = &mut step.build {
            build.args.values_mut().for_each(|text| visit(text, true));
            build.tags.iter_mut().for_each(|text| visit(text, true));
        }
    }
}
