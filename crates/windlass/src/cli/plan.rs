//! `windlass plan`: what a build would do for an event, and why.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, ValueEnum};
use windlass_engine::git::Git;
use windlass_engine::local::WorkingTree;
use windlass_model::plan::{OnResult, Plan};
use windlass_model::{Facts, JobPlan, Revision};
use windlass_spec::Spec;
use windlass_spec::spec::{Decision, Why};

use super::check;
use super::event::{EventArgs, repo_name};
use crate::report::{EXIT_OK, EXIT_SPEC, Problem};
use crate::spec_file;

/// Which plan to show, and how.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    event: EventArgs,
    /// The checkout
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// How to show it
    #[arg(long, default_value = "table", value_name = "FORMAT")]
    format: Format,
    /// Say condition by condition why this job runs or doesn't
    #[arg(long, value_name = "JOB", conflicts_with = "format")]
    why: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A line for each job
    Table,
    /// Which job waits for which
    Graph,
    /// The whole plan, for programs
    Json,
}

/// What `plan`, `script` and `explain` know of a checkout.
pub(super) struct Planned {
    /// The spec's file.
    pub(super) file: String,
    /// The checkout, if git knows it as one.
    pub(super) tree: Option<WorkingTree>,
    pub(super) spec: Spec,
    pub(super) facts: Facts,
    pub(super) plan: Plan,
}

/// Reads the spec of a folder and plans what it would do for an event.
pub(super) async fn planned(dir: &Path, event: &EventArgs) -> Result<Planned, Problem> {
    let folder = dir
        .canonicalize()
        .map_err(|e| Problem::new(format!("could not use {}: {e}", dir.display())))?;
    // A plan needs no git, but a checkout tells the branch.
    let tree = match Git::find() {
        Ok(git) => git.working_tree(&folder).await.ok().flatten(),
        Err(_) => None,
    };
    let root = tree.as_ref().map_or(&folder, |tree| &tree.root);
    let (file, text) = spec_file::read(root)?.ok_or_else(spec_file::missing)?;
    let included = spec_file::included_here(root, &file, &text).await?;
    let read = windlass_spec::read_with(&file, &text, &included);
    if !read.diagnostics.is_empty() {
        super::complain(check::render(&file, &text, &read.diagnostics).trim_end());
    }
    let spec = read
        .spec
        .ok_or_else(|| Problem::new(format!("{file} has errors")).code(EXIT_SPEC))?;
    let branch = tree.as_ref().and_then(|tree| tree.branch.as_deref());
    let revision = tree
        .as_ref()
        .map_or_else(Revision::zero, |tree| tree.head.clone());
    let repo = tree.as_ref().map(repo_name).unwrap_or_default();
    let facts = event.facts(&spec, event.trigger(branch, revision), &repo)?;
    let plan = spec.plan(&facts);
    Ok(Planned {
        file,
        tree,
        spec,
        facts,
        plan,
    })
}

pub(crate) async fn run(args: Args) -> Result<u8, Problem> {
    let Planned {
        file,
        spec,
        facts,
        plan,
        ..
    } = planned(&args.dir, &args.event).await?;
    if let Some(name) = &args.why {
        let whys = spec.why(&facts, name);
        if whys.is_empty() {
            let mut known: Vec<&str> = plan.jobs.iter().map(|job| job.base.as_str()).collect();
            known.dedup();
            return Err(Problem::new(format!("there is no job {name}"))
                .hint(format!("there are: {}", known.join(", "))));
        }
        super::say(why(&whys, &plan).trim_end());
        return Ok(EXIT_OK);
    }
    let kind = facts.trigger.event.kind();
    let shown = match args.format {
        Format::Json => serde_json::to_string_pretty(&plan)
            .map_err(|e| Problem::new(format!("could not write the plan: {e}")))?,
        Format::Graph => graph(&plan),
        Format::Table => {
            let place = match (facts.trigger.branch(), facts.trigger.tag()) {
                ("", "") => String::new(),
                ("", tag) => format!(" of tag {tag}"),
                (branch, _) => format!(" on {branch}"),
            };
            format!("{file}, {kind}{place}\n\n{}", table(&plan))
        }
    };
    super::say(shown.trim_end());
    Ok(EXIT_OK)
}

/// The names of the jobs that a job waits for.
fn needs(job: &JobPlan) -> String {
    let names: Vec<String> = job
        .needs
        .iter()
        .map(|need| format!("{}{}", need.job, if need.optional { "?" } else { "" }))
        .collect();
    names.join(", ")
}

/// What else decides about a job, in words.
fn remarks(job: &JobPlan) -> String {
    if let Some(reason) = &job.skipped {
        return format!("skipped: {reason}");
    }
    let mut words: Vec<String> = match job.on_result {
        OnResult::Success => Vec::new(),
        OnResult::Failure => vec!["only after a failure".to_owned()],
        OnResult::Always => vec!["in any case".to_owned()],
    };
    words.extend(job.when.iter().map(|clause| format!("if {}", clause.expr)));
    if let Some(question) = &job.approve {
        words.push(format!("asks: {question}"));
    }
    if job.allow_failure {
        words.push("may fail".to_owned());
    }
    if let Some(retry) = &job.retry {
        words.push(format!("up to {} retries", retry.count));
    }
    if let Some(group) = &job.concurrency {
        words.push(format!("one at a time in {}", group.group));
    }
    words.join("; ")
}

fn table(plan: &Plan) -> String {
    let mut text = String::new();
    if let Some(reason) = &plan.skipped {
        let _ = writeln!(text, "nothing is built: {reason}\n");
    }
    let rows: Vec<[String; 4]> = plan
        .jobs
        .iter()
        .map(|job| {
            [
                job.name.clone(),
                needs(job),
                job.steps.len().to_string(),
                remarks(job),
            ]
        })
        .collect();
    let heads = ["JOB", "NEEDS", "STEPS", ""];
    let width = |column: usize| {
        let longest = rows.iter().map(|row| row[column].chars().count()).max();
        longest.unwrap_or(0).max(heads[column].len())
    };
    let widths = [width(0), width(1), width(2)];
    let mut line = |cells: [&str; 4]| {
        let _ = writeln!(
            text,
            "{:a$}  {:b$}  {:>c$}  {}",
            cells[0],
            cells[1],
            cells[2],
            cells[3],
            a = widths[0],
            b = widths[1],
            c = widths[2]
        );
    };
    line(heads);
    for row in &rows {
        line([&row[0], &row[1], &row[2], &row[3]]);
    }
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    trimmed.join("\n")
}

/// Jobs in the order in which they can begin, each with those that wait for it below.
fn graph(plan: &Plan) -> String {
    let mut text = String::new();
    let mut bases: Vec<&JobPlan> = Vec::new();
    for job in &plan.jobs {
        if bases.last().is_none_or(|last| last.base != job.base) {
            bases.push(job);
        }
    }
    for job in &bases {
        let cells = plan
            .jobs
            .iter()
            .filter(|other| other.base == job.base)
            .count();
        let cells = if cells > 1 {
            format!(" ×{cells}")
        } else {
            String::new()
        };
        let skipped = if job.skipped.is_some() {
            " (skipped)"
        } else {
            ""
        };
        let _ = writeln!(text, "{}{cells}{skipped}", job.base);
        let after: Vec<&str> = bases
            .iter()
            .filter(|other| other.needs.iter().any(|need| need.job == job.base))
            .map(|other| other.base.as_str())
            .collect();
        for (number, name) in after.iter().enumerate() {
            let branch = if number + 1 == after.len() {
                "└─▶"
            } else {
                "├─▶"
            };
            let _ = writeln!(text, "  {branch} {name}");
        }
    }
    text
}

fn why(whys: &[Why], plan: &Plan) -> String {
    let mut text = String::new();
    for why in whys {
        let Some(job) = plan.jobs.iter().find(|job| job.name == why.job) else {
            continue;
        };
        let verdict = match (&plan.skipped, &job.skipped) {
            (Some(_), _) | (_, Some(_)) => "does not run",
            _ if job.when.is_empty() && job.needs.is_empty() => "runs",
            _ => "runs if what it waits for ends as it should",
        };
        let _ = writeln!(text, "{} {verdict}", job.name);
        if let Some(reason) = &plan.skipped {
            let _ = writeln!(text, "  ✗ {reason}");
        }
        if why.alternatives.is_empty() {
            let _ = writeln!(text, "  ✓ it has no conditions of its own");
        }
        for (number, decisions) in why.alternatives.iter().enumerate() {
            if number > 0 {
                let _ = writeln!(text, "  or");
            }
            decisions
                .iter()
                .for_each(|decision| decided(&mut text, decision));
        }
        for need in &job.needs {
            let wish = match job.on_result {
                OnResult::Success if need.optional => "passes, or is left out",
                OnResult::Success => "passes",
                OnResult::Failure | OnResult::Always => "is over",
            };
            let _ = writeln!(text, "  ? when `{}` {wish}", need.job);
        }
        if job.on_result == OnResult::Failure {
            let _ = writeln!(text, "  ? when at least one of them failed");
        }
        if let Some(question) = &job.approve {
            let _ = writeln!(text, "  ? when a person agrees: {question}");
        }
    }
    text
}

fn decided(text: &mut String, decision: &Decision) {
    let (mark, words) = match decision.holds {
        Some(true) => ("✓", "holds"),
        Some(false) => ("✗", "does not hold"),
        None => ("?", "is decided when the build runs"),
    };
    let because = match decision.because.as_str() {
        "" => String::new(),
        because => format!(": {because}"),
    };
    let _ = writeln!(
        text,
        "  {mark} line {}: `{}` {words}{because}",
        decision.line, decision.text
    );
}
