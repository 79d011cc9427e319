//! `windlass builds`: the newest builds.

use clap::Args as ClapArgs;
use serde_json::Value;
use windlass_model::{BuildState, RepoName};
use windlass_web::urls;

use super::{say, wants_colour};
use crate::client::{Client, ServerArgs};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};
use crate::terminal::{age, colour, duration, mark};

/// Which builds.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Only of this repository
    repo: Option<RepoName>,
    /// Only in this state: queued, running, passed, failed, error, cancelled
    #[arg(long)]
    state: Option<BuildState>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Print the server's JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args, folders: &Folders) -> Result<u8, Problem> {
    let client = Client::new(&args.server, folders)?;
    let mut path = format!("{}?limit={}", urls::api::builds(), args.limit);
    if let Some(repo) = &args.repo {
        path.push_str(&format!("&repo={repo}"));
    }
    if let Some(state) = args.state {
        path.push_str(&format!("&state={state}"));
    }
    let answer = client.json(&path).await?;
    if args.json {
        say(format_args!("{answer:#}"));
        return Ok(EXIT_OK);
    }
    let builds = answer
        .get("builds")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if builds.is_empty() {
        say("no builds");
    }
    for build in &builds {
        say(line(build));
    }
    Ok(EXIT_OK)
}

fn line(build: &Value) -> String {
    let text = |path: &str| {
        build
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let number = |path: &str| build.pointer(path).and_then(Value::as_i64);
    let state: BuildState = text("/state").parse().unwrap_or(BuildState::Error);
    let name = format!(
        "{}/{}",
        text("/repo"),
        number("/number").unwrap_or_default()
    );
    let took = match (number("/started_ms"), number("/finished_ms")) {
        (Some(from), Some(to)) => duration((to - from).max(0) as u64 * 1000),
        _ => String::new(),
    };
    let place = ["/trigger/branch", "/trigger/tag", "/trigger/head"].map(text);
    let place = place
        .iter()
        .find(|p| !p.is_empty())
        .copied()
        .unwrap_or(text("/trigger/event"));
    let revision = text("/trigger/revision").get(..10).unwrap_or_default();
    let words = match text("/summary") {
        "" => text("/trigger/message"),
        summary => summary,
    };
    let shown = format!("{} {:<9}", mark(state), state.as_str());
    let shown = if wants_colour() {
        format!("\x1b[{}m{shown}\x1b[0m", colour(state))
    } else {
        shown
    };
    let created = age(number("/created_ms").unwrap_or_default());
    format!("{shown} {name:<20} {created:>8} {took:>8}  {place:<16} {revision} {words}")
}
