//! The event `pull_request`: its head is built when it is opened, reopened or has new commits, and
//! when it is to go into another branch.
//!
//! Drafts are built like any other, so that nobody has to give up the draft to see whether it
//! passes. Hence `ready_for_review` starts no build: the same commit was built already.

use std::collections::BTreeMap;

use windlass_model::{Event, Trigger};

use super::payload::{Payload, PullRequest, Repository, User, missing, revision, wrong};
use crate::incoming::{Meaning, PayloadError};
use crate::{git_ref, people};

const EVENT: &str = "pull_request";

pub(super) fn meaning(payload: &Payload) -> Result<Meaning, PayloadError> {
    let pull = &payload.pull_request;
    match payload.action.as_str() {
        "opened" | "reopened" | "synchronize" => build(payload, pull),
        // What is built may depend on the branch that it goes into.
        "edited" if payload.changes.base.is_some() => build(payload, pull),
        "closed" if pull.merged => Ok(Meaning::ignored("pull request merged")),
        "closed" => Ok(Meaning::ignored("pull request closed")),
        "ready_for_review" => Ok(Meaning::ignored(
            "action 'ready_for_review' starts no build: drafts are built, too",
        )),
        "" => Err(missing(EVENT, "action")),
        other => {
            let action = people::one_line(other, people::NAME);
            Ok(Meaning::ignored(format!(
                "action '{action}' starts no build"
            )))
        }
    }
}

fn build(payload: &Payload, pull: &PullRequest) -> Result<Meaning, PayloadError> {
    let number = [pull.number, payload.number]
        .into_iter()
        .find(|&number| number > 0)
        .ok_or_else(|| missing(EVENT, "pull_request.number"))?;
    let title = people::one_line(&pull.title, people::LINE);
    let event = Event::PullRequest {
        number,
        title: title.clone(),
        base: branch("pull_request.base.ref", &pull.base.branch)?,
        head: branch("pull_request.head.ref", &pull.head.branch)?,
        from_fork: is_from_fork(pull),
    };
    Ok(Meaning::Build(Box::new(Trigger {
        event,
        revision: revision(EVENT, "pull_request.head.sha", &pull.head.sha)?,
        git_ref: format!("refs/pull/{number}/head"),
        // The payload doesn't hold the commit's message.
        message: title,
        author: User::first_name_of([&pull.user, &payload.sender]),
        url: people::link(&pull.html_url),
        before: pull.base.sha.parse().ok(),
        skip: None,
        params: BTreeMap::new(),
    })))
}

/// By the repositories' numbers: names can be given away. Whatever can't be known counts as a
/// fork, because a fork's build gets nothing worth stealing.
fn is_from_fork(pull: &PullRequest) -> bool {
    let id = |repo: &Option<Repository>| repo.as_ref().and_then(|repo| repo.id);
    match (id(&pull.head.repo), id(&pull.base.repo)) {
        (Some(head), Some(base)) => head != base,
        _ => true,
    }
}

fn branch(field: &'static str, name: &str) -> Result<String, PayloadError> {
    if name.is_empty() {
        return Err(missing(EVENT, field));
    }
    git_ref::check_name(name).map_err(|problem| wrong(EVENT, field, problem))?;
    Ok(name.to_owned())
}
