//! `windlass retry`: the same revision again, as a new attempt.

use clap::Args as ClapArgs;
use windlass_web::urls;

use super::say;
use crate::client::{Client, ServerArgs};
use crate::folders::Folders;
use crate::report::{EXIT_OK, Problem};

/// Which build.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// The build: demo/12
    build: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) async fn run(args: &Args, folders: &Folders) -> Result<u8, Problem> {
    let client = Client::new(&args.server, folders)?;
    let (repo, number) = client.find(&args.build).await?;
    client
        .post(&format!("{}/retry", urls::api::build(&repo, number)))
        .await?;
    say(format_args!("build {number} of {repo} is queued again"));
    Ok(EXIT_OK)
}
