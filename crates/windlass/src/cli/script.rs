//! `windlass script`: what a build would do, as a shell script that needs no Windlass.

use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use windlass_engine::by_hand::{self, ByHand};
use windlass_engine::order::About;

use super::event::EventArgs;
use super::plan::{Planned, planned};
use super::run::keep_only;
use crate::report::{EXIT_OK, Problem};

/// Which plan to do by hand.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    #[command(flatten)]
    event: EventArgs,
    /// The checkout
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Only this job and those that it needs
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<u8, Problem> {
    let text = by_hand(&args.dir, &args.event, args.job.as_deref(), by_hand::script);
    super::say(text.await?.trim_end());
    Ok(EXIT_OK)
}

/// What `make` says about the plan of a checkout.
pub(super) async fn by_hand(
    dir: &Path,
    event: &EventArgs,
    job: Option<&str>,
    make: fn(&ByHand<'_>) -> String,
) -> Result<String, Problem> {
    let Planned {
        file,
        tree,
        facts,
        mut plan,
        ..
    } = planned(dir, event).await?;
    let tree = tree.ok_or_else(|| {
        Problem::new(format!(
            "{} is not in a git checkout with commits",
            dir.display()
        ))
        .hint("run `git init`, `git add .` and `git commit` first")
    })?;
    if let Some(only) = job {
        keep_only(&mut plan, only)?;
    }
    let about = About {
        repo: &facts.repo,
        number: 0,
        trigger: &facts.trigger,
        url: None,
    };
    Ok(make(&ByHand {
        plan: &plan,
        about,
        source: &tree.root.to_string_lossy(),
        file: &file,
    }))
}
