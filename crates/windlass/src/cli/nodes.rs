//! `windlass nodes`: the machines of the Swarm, what is reserved of them, and what runs where.

use clap::Args as ClapArgs;
use windlass_engine::executor::daemon::Daemon;
use windlass_engine::executor::swarm::nodes;
use windlass_model::Node;
use windlass_model::node::decimal;

use super::say;
use crate::executors::ManagerArgs;
use crate::report::{EXIT_OK, Problem};

/// Whose nodes.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    manager: ManagerArgs,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: &Args) -> Result<u8, Problem> {
    let all = nodes::list(&Daemon::new(args.manager.host.clone())).await?;
    if args.json {
        // Structs with text keys: can't fail.
        say(serde_json::to_string_pretty(&all).unwrap_or_default());
        return Ok(EXIT_OK);
    }
    let width = all.iter().map(|n| n.name.len()).max().unwrap_or(4).max(4);
    say(format_args!(
        "{:<width$}  {:<8} {:<8} {:>12}  {:>20}  {:<16}  labels",
        "name", "state", "role", "cpus", "MiB", "engine"
    ));
    for node in &all {
        say(line(node, width));
        for job in &node.jobs {
            say(format_args!(
                "{:width$}  runs {} ({})",
                "", job.job, job.attempt
            ));
        }
    }
    Ok(EXIT_OK)
}

fn line(node: &Node, width: usize) -> String {
    let cpus = format!(
        "{} of {}",
        decimal(node.reserved_cpu_millis),
        decimal(node.cpu_millis)
    );
    let memory = format!(
        "{} of {}",
        node.reserved_memory_bytes >> 20,
        node.memory_bytes >> 20
    );
    let role = if node.leader { "leader" } else { &node.role };
    let labels = node.labels.iter().map(|(k, v)| format!("{k}={v}"));
    let labels = labels.collect::<Vec<_>>().join(" ");
    let text = format!(
        "{:<width$}  {:<8} {role:<8} {cpus:>12}  {memory:>20}  {:<16}  {labels}",
        node.name,
        node.word(),
        node.engine
    );
    text.trim_end().to_owned()
}
