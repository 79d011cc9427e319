//! `windlass deliveries`: what forges delivered, what became of it, and once more.

use clap::Args as ClapArgs;

use super::{open_store, say};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};
use crate::terminal::age;

/// Which deliveries.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Read this delivery once more; it makes no second build of what is built already
    #[arg(long, value_name = "ID")]
    replay: Option<i64>,
    /// Print this delivery's body as it came
    #[arg(long, value_name = "ID", conflicts_with = "replay")]
    body: Option<i64>,
    /// How many to list
    #[arg(long, default_value_t = 20)]
    limit: i64,
}

pub(crate) async fn run(args: &Args, folders: &Folders) -> Result<u8, Problem> {
    let store = open_store(folders).await?;
    if let Some(id) = args.replay {
        store.replay(id).await?;
        say(format_args!("delivery {id} is in the inbox again"));
    } else if let Some(id) = args.body {
        use std::io::Write as _;
        std::io::stdout().write_all(&store.delivery_body(id).await?)?;
    } else {
        let deliveries = store.deliveries(None, args.limit).await?;
        if deliveries.is_empty() {
            say("nothing was delivered yet");
        }
        for d in deliveries {
            let verdict = if d.verdict.is_empty() {
                d.state.as_str()
            } else {
                &d.verdict
            };
            let repo = d.repo_name.as_deref().unwrap_or("-");
            say(format_args!(
                "{:>6}  {:>8}  {:<6} {:<13} {repo:<16} {verdict}",
                d.id,
                age(d.received_ms),
                d.forge.as_str(),
                d.event,
            ));
        }
    }
    store.close().await;
    Ok(EXIT_OK)
}
