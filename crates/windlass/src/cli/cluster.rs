//! `windlass cluster doctor`: what may be wrong with the Swarm, and how to mend it.

use clap::{Args as ClapArgs, Subcommand};
use windlass_engine::executor::daemon::Daemon;
use windlass_engine::executor::swarm::doctor::{self, Examination, Level};
use windlass_engine::executor::swarm::nodes;

use super::say;
use crate::executors::{ManagerArgs, STARTER};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};

/// The exit code when something does not work.
const EXIT_ILL: u8 = 1;

/// The port of `--nodes-listen`, if nobody chose another.
const PORT: u16 = 8081;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Look at managers, nodes, versions, the network between them, clocks and images
    Doctor(DoctorArgs),
}

/// What to look at.
#[derive(Debug, ClapArgs)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    manager: ManagerArgs,
    /// An image that every node should be able to run; it is started for a few seconds on each
    #[arg(long, value_name = "IMAGE", default_value = "busybox")]
    image: String,
    /// Where the nodes shall reach the server [default: this manager's address, port 8081]
    #[arg(long, value_name = "URL", env = "WINDLASS_NODES_URL")]
    nodes_url: Option<String>,
}

pub(crate) async fn run(command: Command, folders: &Folders) -> Result<u8, Problem> {
    let Command::Doctor(args) = command;
    let server = match &args.nodes_url {
        Some(url) => url
            .trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned(),
        None => {
            let own = nodes::own_address(&Daemon::new(args.manager.host.clone())).await?;
            format!("{own}:{PORT}")
        }
    };
    let findings = doctor::examine(&Examination {
        host: args.manager.host,
        image: args.image,
        server,
        shim: folders.shim()?,
        starter: STARTER,
    })
    .await?;
    for finding in &findings {
        let mark = match finding.level {
            Level::Good => "✓",
            Level::Doubtful => "!",
            Level::Bad => "✗",
        };
        say(format_args!("{mark} {}", finding.what));
        if !finding.mend.is_empty() {
            say(format_args!("    {}", finding.mend));
        }
    }
    let ill = findings.iter().any(|f| f.level == Level::Bad);
    Ok(if ill { EXIT_ILL } else { EXIT_OK })
}
