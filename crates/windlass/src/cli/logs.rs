//! `windlass logs`: a build's output, as it was written.

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
    /// The build: demo/12
    build: String,
    /// Go on until the build ends; the exit code is 0 only if it passed
    #[arg(long, short)]
    follow: bool,
    /// Only this step: its number, 1 for the first
    #[arg(long, value_name = "N")]
    step: Option<i64>,
    /// This attempt instead of the newest
    #[arg(long, value_name = "N")]
    attempt: Option<i64>,
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
    let (repo, number) = client.find(&args.build).await?;
    let path = urls::api::build(&repo, number);
    let mut build = client.json(&path).await?;
    let attempt = args
        .attempt
        .or_else(|| build.get("attempt")?.as_i64())
        .unwrap_or(1);
    while args.follow && steps(&build, attempt).is_empty() && !state(&build).is_final() {
        tokio::time::sleep(LOOK_AGAIN).await;
        build = client.json(&path).await?;
    }
    let all = steps(&build, attempt);
    if let Some(wanted) = args.step
        && !all.iter().any(|step| step.number == wanted)
    {
        return Err(
            Problem::new(format!("build {number} of {repo} has no step {wanted}"))
                .hint(format!("it has {} steps", all.len())),
        );
    }
    for step in &all {
        if args.step.is_some_and(|wanted| wanted != step.number) {
            continue;
        }
        // Without -f, steps that have nothing to show yet are left out.
        if !args.follow && matches!(step.state.as_str(), "waiting" | "skipped") {
            continue;
        }
        if all.len() > 1 && args.step.is_none() {
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
