//! `windlass explain`: what a build would do, in words that a person can follow; or what a problem's
//! code means.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use windlass_engine::by_hand;
use windlass_spec::codes;

use super::event::EventArgs;
use super::{say, script};
use crate::report::{EXIT_OK, Problem};

/// What to explain.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A code that `windlass check` shows, such as E0130; without one, the plan of this checkout is
    /// explained
    code: Option<String>,
    /// List all codes
    #[arg(long, conflicts_with_all = ["code", "job"])]
    codes: bool,
    #[command(flatten)]
    event: EventArgs,
    /// The checkout
    #[arg(long, default_value = ".", value_name = "DIR")]
    dir: PathBuf,
    /// Only this job and those that it needs
    #[arg(long, value_name = "JOB")]
    job: Option<String>,
}

pub(crate) async fn run(args: &Args) -> Result<u8, Problem> {
    if args.codes {
        for code in codes::ALL {
            say(format_args!("{}  {}", code.code, code.title));
        }
        return Ok(EXIT_OK);
    }
    let Some(wanted) = &args.code else {
        let (event, job) = (&args.event, args.job.as_deref());
        let text = script::by_hand(&args.dir, event, job, by_hand::prose);
        say(text.await?.trim_end());
        return Ok(EXIT_OK);
    };
    let code = codes::ALL
        .iter()
        .find(|code| code.code.eq_ignore_ascii_case(wanted))
        .ok_or_else(|| {
            Problem::new(format!("there is no code {wanted}"))
                .hint("`windlass explain --codes` lists all of them")
        })?;
    let kind = if code.code.starts_with('W') {
        "a warning: the build goes on"
    } else {
        "an error: there is no build"
    };
    say(format_args!(
        "{}: {} ({kind})\n\n{}",
        code.code, code.title, code.explanation
    ));
    Ok(EXIT_OK)
}
