//! `windlass logs`: a build's output, as it was written; or what went wrong in it, what is new in
//! it, and where a text stands in all of a repository's.

pub(crate) mod found;

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args as ClapArgs;
use serde_json::Value;
use windlass_model::{BuildState, RepoName};
use windlass_web::urls;

use crate::client::{Client, ServerArgs};
use crate::folders::Folders;
use crate::report::{EXIT_FAILED, EXIT_OK, Problem};

/// How often a build that has no steps yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Which output.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The build: demo/12; with --search the repository: demo
    build: String,
    /// Only this job or step: its name, or the step's number, 1 for the first
    #[arg(value_name = "JOB|STEP", conflicts_with_all = ["step", "search"])]
    part: Option<String>,
    /// Go on until the build ends; the exit code is 0 only if it passed
    #[arg(long, short)]
    follow: bool,
    /// Only this step: its number, 1 for the first
    #[arg(long, value_name = "N")]
    step: Option<i64>,
    /// This attempt instead of the newest
    #[arg(long, value_name = "N")]
    attempt: Option<i64>,
    /// Only what went wrong: the first failure with the lines around it, then other errors
    #[arg(long, conflicts_with_all = ["follow", "new", "search"])]
    errors: bool,
    /// Only lines that no earlier run of the same step that passed has printed
    #[arg(long, conflicts_with_all = ["follow", "search"])]
    new: bool,
    /// Lines with this text in all logs of the repository, the newest build first: a scan, which
    /// reads them all
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["follow", "step", "attempt"])]
    search: Option<String>,
    /// Upper and lower case are the same to --search
    #[arg(long, short, requires = "search")]
    ignore_case: bool,
    /// At most so many lines of --search
    #[arg(long, value_name = "N", requires = "search", default_value_t = found::HITS)]
    limit: usize,
    #[command(flatten)]
    server: ServerArgs,
}

struct Step {
    number: i64,
    name: String,
    state: String,
}

pub(crate) async fn run(args: &Args, folders: &Folders) -> Result<u8, Problem> {
    let client = Client::new(&args.server, folders)?;
    if let Some(text) = &args.search {
        let repo: RepoName = args.build.parse()?;
        return found::search(&client, &repo, text, args.ignore_case, args.limit).await;
    }
    let (repo, number) = client.find(&args.build).await?;
    let path = urls::api::build(&repo, number);
    let mut build = client.json(&path).await?;
    let named = args.part.as_deref();
    let attempt = args
        .attempt
        .or_else(|| attempt_of_job(&build, named?))
        .or_else(|| build.get("attempt")?.as_i64())
        .unwrap_or(1);
    while args.follow && steps(&build, attempt).is_empty() && !state(&build).is_final() {
        tokio::time::sleep(LOOK_AGAIN).await;
        build = client.json(&path).await?;
    }
    let all = steps(&build, attempt);
    let wanted = match named {
        Some(name) if attempt_of_job(&build, name).is_none() => Some(step_named(&all, name)?),
        _ => args.step,
    };
    if let Some(wanted) = wanted
        && !all.iter().any(|step| step.number == wanted)
    {
        return Err(
            Problem::new(format!("build {number} of {repo} has no step {wanted}"))
                .hint(format!("it has {} steps", all.len())),
        );
    }
    for step in &all {
        if wanted.is_some_and(|wanted| wanted != step.number) {
            continue;
        }
        // Without -f, steps that have nothing to show yet are left out.
        if !args.follow && matches!(step.state.as_str(), "waiting" | "skipped") {
            continue;
        }
        let place = found::Place {
            repo: &repo,
            number,
            attempt,
            step,
        };
        if args.errors || args.new {
            // Nothing went wrong in a step that passed.
            let asked = wanted.is_some() || !matches!(step.state.as_str(), "passed" | "running");
            if asked && all.len() > 1 {
                headline(step, all.len())?;
            }
            match asked {
                true if args.errors => found::errors(&client, &place).await?,
                true => found::new(&client, &place).await?,
                false => {}
            }
            continue;
        }
        if all.len() > 1 && wanted.is_none() {
            headline(step, all.len())?;
        }
        print_log(&client, &repo, number, attempt, step.number, args.follow).await?;
    }
    if !args.follow {
        return Ok(EXIT_OK);
    }
    end(&client, &path, &args.build).await
}

fn steps(build: &Value, attempt: i64) -> Vec<Step> {
    let attempts = build.get("attempts").and_then(Value::as_array);
    let of = |a: &&Value| a.get("attempt").and_then(Value::as_i64) == Some(attempt);
    let found = attempts.and_then(|list| list.iter().find(of));
    let steps = found.and_then(|a| a.get("steps")).and_then(Value::as_array);
    let text = |s: &Value, key: &str| s.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    steps
        .map(|steps| {
            steps
                .iter()
                .enumerate()
                .map(|(i, s)| Step {
                    number: i as i64 + 1,
                    name: text(s, "name"),
                    state: text(s, "state"),
                })
                .collect()
        })
        .unwrap_or_default()
}

/// The newest attempt of the job with this name, where the build has several jobs.
fn attempt_of_job(build: &Value, name: &str) -> Option<i64> {
    let jobs = build.get("jobs")?.as_array()?;
    let job = jobs
        .iter()
        .find(|job| job.get("name").and_then(Value::as_str) == Some(name))?;
    job.get("attempt")?.as_i64()
}

fn step_named(steps: &[Step], name: &str) -> Result<i64, Problem> {
    let named = steps.iter().find(|step| step.name == name);
    if let Some(number) = named.map(|step| step.number).or_else(|| name.parse().ok()) {
        return Ok(number);
    }
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    Err(
        Problem::new(format!("there is no job and no step named {name:?}"))
            .hint(format!("the steps are: {}", names.join(", "))),
    )
}

fn state(build: &Value) -> BuildState {
    let text = build
        .get("state")
        .and_then(Value::as_str)
        .unwrap_or_default();
    text.parse().unwrap_or(BuildState::Error)
}

/// To stderr, so that standard output holds exactly what the steps wrote.
fn headline(step: &Step, of: usize) -> Result<(), Problem> {
    let line = format!("── [{}/{of}] {}", step.number, step.name);
    let mut err = std::io::stderr();
    if err.is_terminal() {
        writeln!(err, "\x1b[1m{line}\x1b[0m")?;
    } else {
        writeln!(err, "{line}")?;
    }
    Ok(())
}

async fn print_log(
    client: &Client,
    repo: &RepoName,
    number: i64,
    attempt: i64,
    step: i64,
    follow: bool,
) -> Result<(), Problem> {
    let mut path = urls::api::log(repo, number, attempt, step - 1);
    if follow {
        path.push(if path.contains('?') { '&' } else { '?' });
        path.push_str("follow=1");
    }
    let mut answer = client.get(&path).await?;
    let mut out = std::io::stdout();
    loop {
        let chunk = answer.chunk().await.map_err(|e| {
            Problem::new(format!("the log broke off: {e}"))
                .hint("the server may have been restarted; run the command again")
        })?;
        let Some(chunk) = chunk else { return Ok(()) };
        if out.write_all(&chunk).and_then(|()| out.flush()).is_err() {
            // The reader (a pager, `head`) has seen enough.
            std::process::exit(i32::from(EXIT_OK));
        }
    }
}

async fn end(client: &Client, path: &str, name: &str) -> Result<u8, Problem> {
    loop {
        let build = client.json(path).await?;
        let state = state(&build);
        if state.is_final() {
            let summary = build
                .get("summary")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let mut line = format!("build {name} {state}");
            if !summary.is_empty() {
                line.push_str(&format!(": {summary}"));
            }
            writeln!(std::io::stderr(), "{line}")?;
            return Ok(if state == BuildState::Passed {
                EXIT_OK
            } else {
                EXIT_FAILED
            });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
