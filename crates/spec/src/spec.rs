//! A whole spec, checked: from the tree to what is the same for every event, and from there to the
//! plan for one.

mod graph;
mod plan;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use windlass_model::expression::Expr;
use windlass_model::plan::{Clause, Concurrency, DEFAULT_JOB, JobPlan, OutputRef, variable};

pub use self::plan::{Decision, Why};
use crate::codes;
use crate::draft::{ConcurrencyDraft, JobDraft, OnDraft, SpecDraft, WhenDraft};
use crate::expression::{self, Fault, Kind, Scope};
use crate::include::{self, Included};
use crate::key;
use crate::keys::{self, use_template};
use crate::limits;
use crate::node::{Entry, Node, Value, shorten};
use crate::params::{Param, ParamType};
use crate::problems::{Problem, Problems};
use crate::schedules::Schedule;
use crate::template::{self, Template};
use crate::value;

/// A spec without errors: everything but what an event decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    params: Vec<Param>,
    concurrency: Option<(Concurrency, Option<Template>)>,
    on: Option<On>,
    jobs: Vec<JobSpec>,
}

/// Which events make builds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct On {
    events: Vec<(&'static str, Vec<Clause>)>,
    schedules: Vec<Schedule>,
    manual: bool,
    api: bool,
}

/// A job before it is planned.
#[derive(Debug, Clone, PartialEq, Eq)]
struct JobSpec {
    /// What is the same for every event and cell; texts with names in them as they were written.
    proto: JobPlan,
    /// The values of each cell, in the order of the axes; one empty cell without a matrix.
    cells: Vec<Vec<(String, String)>>,
    /// Conditions: one of the alternatives must hold, if there are any.
    when: Vec<Vec<Clause>>,
    /// The steps' conditions.
    step_whens: Vec<Vec<Vec<Clause>>>,
    /// What to fill into the texts of `proto` that have names in them.
    templates: HashMap<String, Template>,
}

impl Spec {
    /// The times at which builds are to be made.
    pub fn schedules(&self) -> &[Schedule] {
        self.on.as_ref().map_or(&[], |on| &on.schedules)
    }

    /// The parameters of builds that are asked for.
    pub fn params(&self) -> &[Param] {
        &self.params
    }

    /// Whether any condition asks which paths changed: finding out costs time.
    pub fn asks_for_changes(&self) -> bool {
        let events = self.on.iter().flat_map(|on| &on.events);
        if events
            .flat_map(|(_, clauses)| clauses)
            .any(|clause| clause.expr.asks_for_changes())
        {
            return true;
        }
        let whens = |job: &JobSpec| {
            let steps = job.step_whens.iter().flatten().flatten();
            job.when
                .iter()
                .flatten()
                .chain(steps)
                .any(|clause| clause.expr.asks_for_changes())
        };
        self.jobs.iter().any(whens)
    }

    /// The names of all secrets that any job gets.
    pub fn secrets(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .jobs
            .iter()
            .flat_map(|job| job.proto.secrets.iter().map(String::as_str))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A job's name, where it stands, and all its entries.
struct Named {
    name: String,
    span: Range<usize>,
    entries: Vec<Entry>,
}

/// Makes the spec of the top level's entries. Reports everything that is wrong with it; then the
/// spec may be incomplete and is not used.
pub(crate) fn read(entries: &[Entry], included: &Included, problems: &mut Problems<'_>) -> Spec {
    let mut draft = SpecDraft::default();
    let mut own = Vec::new();
    let mut known = key::names(keys::SPEC);
    known.extend(
        key::names(keys::JOB)
            .into_iter()
            .filter(|name| *name != "concurrency"),
    );
    for entry in entries {
        // `concurrency` is a key of both: at the top level of a spec it means the whole build.
        if let Some(key) = keys::SPEC.iter().find(|key| key.about.name == entry.key) {
            (key.lower)(&mut draft, entry, problems);
        } else if keys::JOB.iter().any(|key| key.about.name == entry.key) {
            own.push(entry.clone());
        } else {
            problems.push(crate::suggest::unknown_key(entry, &known, keys::TOP));
        }
    }
    include::take(&mut draft, included, problems);
    let single = draft.jobs_at.is_none();
    let named = if single {
        key::require(entries, keys::JOB, 0..0, keys::TOP, problems);
        vec![Named {
            name: DEFAULT_JOB.to_owned(),
            span: 0..0,
            entries: own,
        }]
    } else {
        several(&draft, own, problems)
    };
    let templates = &draft.templates;
    check_templates(&draft, &named, problems);
    let drafts: Vec<(Named, JobDraft)> = named
        .into_iter()
        .map(|named| job(named, templates, single, problems))
        .collect();
    graph::check(&drafts, problems);
    let outputs: BTreeMap<String, Vec<String>> = drafts
        .iter()
        .map(|(named, draft)| (named.name.clone(), draft.outputs.clone()))
        .collect();
    let kinds: BTreeMap<String, Kind> = draft
        .params
        .iter()
        .map(|param| {
            let kind = match param.kind {
                ParamType::Text | ParamType::Choice => Kind::Text,
                ParamType::Number => Kind::Number,
                ParamType::Boolean => Kind::Truth,
            };
            (param.name.clone(), kind)
        })
        .collect();
    let mut jobs = Vec::with_capacity(drafts.len());
    let mut count = 0;
    for (named, draft) in drafts {
        let job = finish(&named, draft, &kinds, &outputs, problems);
        count += job.cells.len();
        if count > limits::CELLS && count - job.cells.len() <= limits::CELLS {
            problems.push(
                Problem::new(
                    codes::TOO_MANY_JOBS,
                    named.span,
                    format!("{count} jobs with all cells"),
                )
                .label(format!("at most {}", limits::CELLS))
                .help("make the matrices smaller"),
            );
        }
        jobs.push(job);
    }
    let scope = Scope {
        params: kinds,
        ..Scope::default()
    };
    let concurrency = draft
        .concurrency
        .and_then(|group| whole(group, &scope, problems));
    let on = draft.on.map(|on| on_events(on, &scope, problems));
    Spec {
        params: draft.params,
        concurrency,
        on,
        jobs,
    }
}

/// The group of the whole build.
fn whole(
    draft: ConcurrencyDraft,
    scope: &Scope,
    problems: &mut Problems<'_>,
) -> Option<(Concurrency, Option<Template>)> {
    let span = draft.group.as_ref()?.span.clone();
    let group = draft.finish()?;
    let mut template = None;
    if template::is_template(&group.group) {
        match template::parse(&group.group, scope) {
            Ok(parsed) => template = Some(parsed),
            Err(fault) => push_fault(fault, &span, &group.group, problems),
        }
    }
    Some((group, template))
}

/// The jobs below `jobs`, each with the defaults of the top level below its own entries.
fn several(draft: &SpecDraft, own: Vec<Entry>, problems: &mut Problems<'_>) -> Vec<Named> {
    for entry in &own {
        if keys::DEFAULTS.contains(&entry.key.as_str()) {
            continue;
        }
        let key = &entry.key;
        problems.push(if key == "steps" {
            Problem::new(
                codes::STEPS_AND_JOBS,
                entry.key_span.clone(),
                "both `steps` and `jobs`",
            )
            .label("belongs to no job")
            .help("put these steps into a job of their own, or into one of the others")
        } else {
            Problem::new(
                codes::JOB_KEY_AT_TOP,
                entry.key_span.clone(),
                format!("`{key}` stands above all jobs"),
            )
            .label("belongs into a job")
            .help(format!("move `{key}` into the job that it is meant for"))
        });
    }
    if draft.jobs.is_empty() && !draft.jobs_broken && !problems.is_cut_off() {
        problems.push(
            Problem::new(
                codes::NO_JOBS,
                draft.jobs_at.clone().unwrap_or_default(),
                "`jobs` is empty",
            )
            .label("expected at least one job")
            .help("write a name, and `steps` below it"),
        );
    }
    if let Some(beyond) = draft.jobs.get(limits::JOBS) {
        problems.push(
            Problem::new(
                codes::TOO_MANY_JOBS,
                beyond.key_span.clone(),
                format!("{} jobs are too many", draft.jobs.len()),
            )
            .label(format!("at most {}", limits::JOBS))
            .help("put what is alike into a `matrix`"),
        );
    }
    let mut named = Vec::new();
    for entry in draft.jobs.iter().take(limits::JOBS) {
        let good = value::word(&entry.key, &entry.key_span, "a job", problems);
        let name = format!("the job `{}`", shorten(&entry.key, 40));
        let Some(entries) = key::entries(&entry.value, &name, "a map with `steps`", problems)
        else {
            continue;
        };
        if good {
            named.push(Named {
                name: entry.key.clone(),
                span: entry.key_span.clone(),
                entries: overlay(&below(&own, entries), entries),
            });
        }
    }
    named
}

/// The defaults that a job takes over: one that makes images needs none about where scripts run.
fn below(own: &[Entry], job: &[Entry]) -> Vec<Entry> {
    let steps = job.iter().find(|entry| entry.key == "steps");
    let makes_images = steps.is_some_and(|entry| match &entry.value.value {
        Value::List(items) => items.iter().any(|item| match &item.value {
            Value::Map(entries) => keys::steps::builds(entries),
            _ => false,
        }),
        _ => false,
    });
    let about_scripts = ["image", "user", "executor", "network", "shell", "workdir"];
    let mut own = own.to_vec();
    own.retain(|entry| !makes_images || !about_scripts.contains(&entry.key.as_str()));
    own
}

/// `over` on top of `below`: its entries count, and variables are merged one by one.
fn overlay(below: &[Entry], over: &[Entry]) -> Vec<Entry> {
    let mut all: Vec<Entry> = below.to_vec();
    for entry in over {
        match all.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => {
                let merged = match (&known.value.value, &entry.value.value) {
                    (Value::Map(below), Value::Map(over)) if entry.key == "env" => {
                        Value::Map(overlay(below, over))
                    }
                    _ => entry.value.value.clone(),
                };
                *known = Entry {
                    key: entry.key.clone(),
                    key_span: entry.key_span.clone(),
                    value: Node {
                        span: entry.value.span.clone(),
                        value: merged,
                    },
                };
            }
            None => all.push(entry.clone()),
        }
    }
    all
}

/// Looks at templates by themselves, so that one that nobody uses is checked too.
fn check_templates(draft: &SpecDraft, jobs: &[Named], problems: &mut Problems<'_>) {
    let used: HashSet<String> = jobs
        .iter()
        .flat_map(|job| &job.entries)
        .filter(|entry| entry.key == "use")
        .flat_map(|entry| use_template::names(entry, problems))
        .map(|name| name.value)
        .collect();
    for template in &draft.templates {
        let name = shorten(&template.key, 40);
        value::word(&template.key, &template.key_span, "a template", problems);
        let what = format!("the template `{name}`");
        let Some(entries) =
            key::entries(&template.value, &what, "a map with keys of a job", problems)
        else {
            continue;
        };
        if let Some(entry) = entries.iter().find(|entry| entry.key == "use") {
            problems.push(
                Problem::new(
                    codes::CONFLICT,
                    entry.key_span.clone(),
                    "a template can't use another one",
                )
                .label("only jobs can")
                .help("list both templates in the job: `use: [first, second]`"),
            );
        }
        key::lower_map(
            entries,
            keys::JOB,
            &what,
            &mut JobDraft::default(),
            problems,
        );
        if !used.contains(&template.key) && !draft.borrowed.contains(&template.key) {
            problems.push(
                Problem::new(
                    codes::UNUSED_TEMPLATE,
                    template.key_span.clone(),
                    format!("the template `{name}` is not used"),
                )
                .label("no job has `use` with this name")
                .help("use it, or take it away"),
            );
        }
    }
}

/// One job's entries, read.
fn job(
    mut named: Named,
    templates: &[Entry],
    single: bool,
    problems: &mut Problems<'_>,
) -> (Named, JobDraft) {
    let uses: Vec<Entry> = named
        .entries
        .iter()
        .filter(|e| e.key == "use")
        .cloned()
        .collect();
    if !uses.is_empty() {
        let mut below: Vec<Entry> = Vec::new();
        let names: Vec<value::At<String>> = uses
            .iter()
            .flat_map(|entry| use_template::names(entry, problems))
            .collect();
        for name in names {
            let Some(template) = templates.iter().find(|t| t.key == name.value) else {
                unknown_template(&name, templates, problems);
                continue;
            };
            if let Value::Map(entries) = &template.value.value {
                below = overlay(&below, entries);
            }
        }
        named.entries = overlay(&below, &named.entries);
    }
    let mut draft = JobDraft::default();
    let place = if single { keys::TOP } else { keys::IN_JOB };
    key::lower_map(&named.entries, keys::JOB, place, &mut draft, problems);
    if !single {
        let place = format!("the job `{}`", named.name);
        key::require(
            &named.entries,
            keys::JOB,
            named.span.clone(),
            &place,
            problems,
        );
    }
    (named, draft)
}

fn unknown_template(name: &value::At<String>, templates: &[Entry], problems: &mut Problems<'_>) {
    let known: Vec<&str> = templates.iter().map(|t| t.key.as_str()).collect();
    let shown = shorten(&name.value, 40);
    let problem = Problem::new(
        codes::UNKNOWN_TEMPLATE,
        name.span.clone(),
        format!("there is no template `{shown}`"),
    );
    let label = crate::suggest::nearest(&name.value, &known).map_or_else(
        || "no such template".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    problems.push(problem.label(label).help(match known.as_slice() {
        [] => "write it below `templates` at the top level".to_owned(),
        known => format!("the templates are {}", known.join(", ")),
    }));
}

fn on_events(on: OnDraft, scope: &Scope, problems: &mut Problems<'_>) -> On {
    let mut events = Vec::new();
    for (event, conditions) in on.events {
        let when = WhenDraft {
            alternatives: vec![conditions],
            result: None,
        };
        let clauses = clauses(when, scope, problems);
        events.push((event, clauses.into_iter().flatten().collect()));
    }
    On {
        events,
        schedules: on
            .schedules
            .into_iter()
            .map(|(_, schedule)| schedule)
            .collect(),
        manual: on.manual.unwrap_or(true),
        api: on.api.unwrap_or(true),
    }
}

/// Reads what could not be read before all names were known: conditions and texts.
fn finish(
    named: &Named,
    mut draft: JobDraft,
    params: &BTreeMap<String, Kind>,
    outputs: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems<'_>,
) -> JobSpec {
    let needs = draft
        .needs
        .iter()
        .filter_map(|need| {
            Some((
                need.value.job.clone(),
                outputs.get(&need.value.job)?.clone(),
            ))
        })
        .collect();
    let step_scope = Scope {
        params: params.clone(),
        matrix: draft
            .matrix
            .as_ref()
            .map(super::draft::MatrixDraft::names)
            .unwrap_or_default(),
        needs: None,
    };
    let scope = Scope {
        needs: Some(needs),
        ..step_scope.clone()
    };
    let cells = match &draft.matrix {
        Some(matrix) => matrix.expand(problems),
        None => {
            for at in [
                draft.fail_fast.as_ref().map(|at| &at.span),
                draft.max_parallel.as_ref().map(|at| &at.span),
            ]
            .into_iter()
            .flatten()
            {
                problems.push(
                    Problem::new(
                        codes::NO_MATRIX,
                        at.clone(),
                        "this has no effect without a `matrix`",
                    )
                    .label("the job has only one cell")
                    .help("take it away, or add a `matrix`"),
                );
            }
            vec![Vec::new()]
        }
    };
    let spans = spans(&draft);
    let when = draft.when.take().unwrap_or_default();
    if let Some(result) = &when.result
        && draft.needs.is_empty()
        && result.value == windlass_model::plan::OnResult::Failure
    {
        problems.push(
            Problem::new(
                codes::NEVER_FAILS,
                result.span.clone(),
                "the job needs no other, so none of those can fail",
            )
            .label("never runs")
            .help("add `needs`"),
        );
    }
    draft.when = Some(WhenDraft {
        alternatives: Vec::new(),
        result: when.result.clone(),
    });
    let when = clauses(when, &scope, problems);
    let mut proto = draft.finish(problems);
    proto.name.clone_from(&named.name);
    proto.base.clone_from(&named.name);
    for artifact in proto.artifacts.iter_mut().filter(|a| a.name.is_empty()) {
        artifact.name.clone_from(&named.name);
    }
    if let Some(failure) = draft.step_whens.first().and_then(|w| w.result.as_ref())
        && failure.value == windlass_model::plan::OnResult::Failure
    {
        problems.push(
            Problem::new(
                codes::NEVER_FAILS,
                failure.span.clone(),
                "no step comes before this one",
            )
            .label("never runs")
            .help("move it below the steps that may fail"),
        );
    }
    let step_whens = std::mem::take(&mut draft.step_whens)
        .into_iter()
        .map(|when| clauses(when, &step_scope, problems))
        .collect();
    for (step, span) in proto.steps.iter().zip(&draft.scripts) {
        check_script(&step.script, span, problems);
    }
    for check in &draft.checks {
        check_script(&check.value, &check.span, problems);
    }
    let mut templates = HashMap::new();
    let mut from = BTreeMap::new();
    for (name, text) in &proto.env {
        if template::is_template(text)
            && let Ok(parsed) = template::parse(text, &scope)
            && let Some((job, output)) = parsed.output()
        {
            let (job, output) = (job.to_owned(), output.to_owned());
            from.insert(name.clone(), OutputRef { job, output });
        }
    }
    proto.env.retain(|name, _| !from.contains_key(name));
    proto.env_from = from;
    plan::each_text(&mut proto, &mut |text, in_step| {
        if template::is_template(text) && !templates.contains_key(text.as_str()) {
            let scope = if in_step { &step_scope } else { &scope };
            match template::parse(text, scope) {
                Ok(parsed) => {
                    templates.insert(text.clone(), parsed);
                }
                Err(fault) => {
                    let span = spans.get(text.as_str()).cloned();
                    push_fault(fault, &span.unwrap_or(named.span.clone()), text, problems);
                }
            }
        }
    });
    JobSpec {
        proto,
        cells,
        when,
        step_whens,
        templates,
    }
}

/// Where the texts stand that may have names in them.
fn spans(draft: &JobDraft) -> HashMap<String, Range<usize>> {
    draft
        .texts()
        .filter(|at| template::is_template(&at.value))
        .map(|at| (at.value.clone(), at.span.clone()))
        .collect()
}

fn check_script(script: &str, span: &Range<usize>, problems: &mut Problems<'_>) {
    let Some(open) = script.find("${{") else {
        return;
    };
    let close = script[open..]
        .find("}}")
        .map_or(open + 3, |end| open + end + 2);
    let name = script[open + 3..close].trim_end_matches('}').trim();
    let variable = match name.split_once('.') {
        Some(("matrix", name)) => format!("$MATRIX_{}", variable(name)),
        Some(("params", name)) => format!("$PARAM_{}", variable(name)),
        _ => match name {
            "branch" => "$WINDLASS_BRANCH".to_owned(),
            "tag" => "$WINDLASS_TAG".to_owned(),
            "revision" => "$WINDLASS_REVISION".to_owned(),
            _ => "a variable of `env`".to_owned(),
        },
    };
    problems.push(
        Problem::new(
            codes::INTERPOLATION_IN_SCRIPT,
            problems.within(span, script, &(open..close)),
            "names are not replaced in scripts",
        )
        .label("would make text of others a part of the script")
        .help(format!("read {variable}, in double quotes")),
    );
}

/// Conditions, read.
fn clauses(when: WhenDraft, scope: &Scope, problems: &mut Problems<'_>) -> Vec<Vec<Clause>> {
    let mut alternatives = Vec::new();
    for alternative in when.alternatives {
        let mut clauses = Vec::new();
        for clause in alternative.clauses {
            let expr = match clause.expr {
                Some(expr) => expr,
                None => match expression::condition(&clause.text, scope) {
                    Ok(expr) => expr,
                    Err(fault) => {
                        push_fault(fault, &clause.span, &clause.text, problems);
                        continue;
                    }
                },
            };
            if expr == Expr::Value(windlass_model::expression::Value::Bool(false)) {
                problems.push(
                    Problem::new(
                        codes::NEVER_RUNS,
                        clause.span.clone(),
                        "the condition is never true",
                    )
                    .label("never runs")
                    .help("take it away when you want it to run again"),
                );
            }
            let (line, _) = problems.place(clause.span.start);
            clauses.push(Clause {
                text: clause.text,
                line,
                expr,
            });
        }
        alternatives.push(clauses);
    }
    alternatives
}

/// A fault inside of a value as a problem of the file.
fn push_fault(fault: Fault, span: &Range<usize>, text: &str, problems: &mut Problems<'_>) {
    let place = problems.within(span, text, &fault.span);
    problems.push(
        Problem::new(*fault.code, place, fault.message)
            .label(fault.label)
            .help(fault.help),
    );
}
