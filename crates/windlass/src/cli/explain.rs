//! `windlass explain`: what a problem's code means.

use clap::Args as ClapArgs;
use windlass_spec::codes;

use super::say;
use crate::report::{EXIT_OK, Problem};

/// Which code.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// A code that `windlass check` shows, such as E0130; without one, all of them are listed
    code: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8, Problem> {
    let Some(wanted) = &args.code else {
        for code in codes::ALL {
            say(format_args!("{}  {}", code.code, code.title));
        }
        return Ok(EXIT_OK);
    };
    let code = codes::ALL
        .iter()
        .find(|code| code.code.eq_ignore_ascii_case(wanted))
        .ok_or_else(|| {
            Problem::new(format!("there is no code {wanted}"))
                .hint("`windlass explain` lists all of them")
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
