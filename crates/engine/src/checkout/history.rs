//! How far back a mirror's history reaches from one commit.
//!
//! Commits are read as they are stored, without regard to the mirror's `shallow` file, which is
//! only what git and the server have agreed on and changes with every fetch. Where a workspace's
//! history ends must depend on the spec alone.

use std::collections::HashSet;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use windlass_model::Revision;

use super::CheckoutError;
use super::process::Group;
use crate::git::Git;

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum History {
    /// The commit is there. `ends` are the commits whose parents are not part of the history asked
    /// for; `missing`: some that should be part of it are not in the mirror.
    Found { ends: Vec<String>, missing: bool },
    /// No such object.
    Absent,
    /// There is an object of this name, but it is no commit.
    NotACommit,
}

/// How many names are asked for at once. The answers wait in git until we read them, so the
/// questions must fit into a pipe.
const BATCH: usize = 64;

/// More of a commit than any header has; the rest is its message.
const HEADER: u64 = 64 * 1024;

/// Walks from `revision` through `depth` generations.
pub(super) async fn walk(
    git: &Git,
    mirror: &Path,
    revision: &Revision,
    depth: u32,
) -> Result<History, CheckoutError> {
    let mut command = git
        .call(["cat-file", "--batch"])
        .git_dir(mirror)
        .into_command();
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let (mut child, _group) = Group::start(command)?;
    let (Some(mut ask), Some(answer)) = (child.stdin.take(), child.stdout.take()) else {
        return Ok(History::Absent);
    };
    let mut answer = BufReader::new(answer);

    let mut seen = HashSet::from([revision.as_str().to_owned()]);
    let mut level = vec![(revision.as_str().to_owned(), None)];
    let (mut ends, mut missing) = (Vec::new(), false);
    for generation in 1..=depth.max(1) {
        let mut next = Vec::new();
        for batch in level.chunks(BATCH) {
            let names: String = batch.iter().map(|(name, _)| format!("{name}\n")).collect();
            ask.write_all(names.as_bytes()).await.map_err(broken)?;
            for (name, child) in batch {
                let parents = match read_commit(&mut answer).await.map_err(broken)? {
                    Found::Commit(parents) => parents,
                    found if generation == 1 => {
                        return Ok(match found {
                            Found::Absent => History::Absent,
                            _ => History::NotACommit,
                        });
                    }
                    // A commit whose parent is not here ends the history, wanted or not.
                    _ => {
                        missing = true;
                        ends.extend(child.clone());
                        continue;
                    }
                };
                if generation == depth.max(1) {
                    if !parents.is_empty() {
                        ends.push(name.clone());
                    }
                    continue;
                }
                for parent in parents {
                    if seen.insert(parent.clone()) {
                        next.push((parent, Some(name.clone())));
                    }
                }
            }
        }
        if next.is_empty() {
            break;
        }
        level = next;
    }
    ends.sort();
    ends.dedup();
    Ok(History::Found { ends, missing })
}

enum Found {
    Commit(Vec<String>),
    Other,
    Absent,
}

/// Reads one answer: `NAME TYPE SIZE\n`, the object, `\n`; or `NAME missing\n`.
async fn read_commit(answer: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Found> {
    let mut line = String::new();
    if answer.read_line(&mut line).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let mut words = line.split_whitespace().skip(1);
    let kind = words.next().unwrap_or("missing");
    let Some(size) = words.next().and_then(|s| s.parse::<u64>().ok()) else {
        return Ok(Found::Absent);
    };
    let mut head = Vec::new();
    let kept = size.min(HEADER);
    (&mut *answer).take(kept).read_to_end(&mut head).await?;
    tokio::io::copy(
        &mut (&mut *answer).take(size - kept + 1),
        &mut tokio::io::sink(),
    )
    .await?;
    if kind != "commit" {
        return Ok(Found::Other);
    }
    let head = String::from_utf8_lossy(&head);
    let parents = head
        .lines()
        .take_while(|l| !l.is_empty())
        .filter_map(|l| l.strip_prefix("parent "))
        .map(str::to_owned)
        .collect();
    Ok(Found::Commit(parents))
}

fn broken(error: std::io::Error) -> CheckoutError {
    CheckoutError::MirrorDamaged {
        detail: format!("git cat-file ended early: {error}"),
    }
}
