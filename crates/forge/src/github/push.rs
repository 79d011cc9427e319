//! The event `push`: a branch or a tag was made, moved or removed.

use std::collections::BTreeMap;

use windlass_model::{Event, Revision, Trigger};

use super::payload::{Commit, Payload, User, missing, revision, wrong};
use crate::git_ref::{self, RefKind};
use crate::incoming::{Meaning, PayloadError};
use crate::{people, skip};

const EVENT: &str = "push";

/// The branches that GitHub's merge queue makes for a moment ("Managing a merge queue"). They have
/// an event of their own.
const MERGE_QUEUE: &str = "gh-readonly-queue/";

pub(super) fn meaning(payload: &Payload) -> Result<Meaning, PayloadError> {
    if payload.git_ref.is_empty() {
        return Err(missing(EVENT, "ref"));
    }
    let kind =
        git_ref::classify(&payload.git_ref).map_err(|problem| wrong(EVENT, "ref", problem))?;
    let after = payload.after.parse::<Revision>();
    let gone = payload.deleted || after.as_ref().is_ok_and(Revision::is_zero);
    let head = payload.head_commit.as_ref();
    match kind {
        RefKind::Branch(branch) if branch.starts_with(MERGE_QUEUE) => {
            Ok(Meaning::ignored("branch of GitHub's merge queue"))
        }
        RefKind::Branch(_) if gone => Ok(Meaning::ignored("branch deleted")),
        RefKind::Tag(_) if gone => Ok(Meaning::ignored("tag deleted")),
        RefKind::Branch(branch) => {
            let event = Event::Push {
                branch: branch.to_owned(),
                forced: payload.forced,
            };
            let revision = revision(EVENT, "after", &payload.after)?;
            Ok(build(payload, event, revision))
        }
        RefKind::Tag(tag) => {
            let event = Event::Tag {
                tag: tag.to_owned(),
            };
            // `after` is the tag's own object if it is an annotated one. `head_commit` is what it
            // points to.
            let peeled = head.map_or("", |commit| &commit.id);
            let revision = revision(EVENT, "head_commit.id", peeled)
                .or_else(|_| revision(EVENT, "after", &payload.after))?;
            Ok(build(payload, event, revision))
        }
        RefKind::Other => {
            let name = people::one_line(&payload.git_ref, people::NAME);
            let reason = format!("{name} is neither a branch nor a tag");
            Ok(Meaning::ignored(reason))
        }
    }
}

fn build(payload: &Payload, event: Event, revision: Revision) -> Meaning {
    let nothing = Commit::default();
    let head = payload.head_commit.as_ref().unwrap_or(&nothing);
    // A tag has nothing that it could be compared with, and whoever makes one wants a build.
    let is_branch = matches!(event, Event::Push { .. });
    let before: Option<Revision> = payload.before.parse().ok();
    let before = before.filter(|before| is_branch && !before.is_zero());
    let skip = skip::marker(&head.message)
        .filter(|_| is_branch)
        .map(ToOwned::to_owned);
    Meaning::Build(Box::new(Trigger {
        event,
        revision,
        git_ref: payload.git_ref.clone(),
        message: people::first_line(&head.message, people::LINE),
        author: User::first_name_of([&payload.sender, &payload.pusher, &head.author]),
        url: people::link(&head.url).or_else(|| people::link(&payload.compare)),
        before,
        skip,
        params: BTreeMap::new(),
    }))
}
