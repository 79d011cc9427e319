//! What people can do: stop a build, try it again, ask for one, read a delivery once more. Each
//! writes rows and returns; the worker acts on them. Forms and API end here.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use windlass_forge::report;
use windlass_model::status::CommitStatus;
use windlass_model::{BuildNumber, BuildState, Event, RepoName, Revision, Trigger};
use windlass_store::{Build, ForgeKind, NewBuild, Repo, Submitted};

use crate::error::WebError;
use crate::places::{BuildPath, JobPath};
use crate::state::{App, AppState};
use crate::urls;

/// What the forge is told when a build takes `state`: nothing if the repository's forge hears no
/// statuses or there is no token for them.
pub fn status_for_forge(
    app: &AppState,
    repo: &Repo,
    revision: &Revision,
    number: BuildNumber,
    state: BuildState,
    summary: &str,
) -> Option<CommitStatus> {
    (repo.forge == ForgeKind::Github && repo.has_status_token).then(|| {
        let page = app.public_url.clone() + &urls::build(&repo.name, number);
        report::commit_status(revision, number, state, summary, Some(page))
    })
}

/// Who knows where branches and tags stand.
pub trait Refs: Send + Sync {
    /// The commit of a branch, a tag or a full ref (`refs/heads/main`), and that full ref. Nothing
    /// is the default branch.
    fn resolve<'a>(
        &'a self,
        repo: &'a Repo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, String), RefError>>;
}

/// Why a name has no commit.
#[derive(Debug)]
pub struct RefError {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A build that somebody asks for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    /// A full commit id, a branch, a tag or a full ref; nothing is the default branch.
    #[serde(default)]
    pub(crate) revision: String,
    /// Through which ref a commit id can be fetched; `HEAD` if nothing is said.
    #[serde(default)]
    pub(crate) git_ref: String,
    /// Values for the spec's `params`.
    #[serde(default)]
    pub(crate) params: BTreeMap<String, String>,
}

pub(crate) async fn start(
    app: &App,
    name: &RepoName,
    wish: &Wish,
    event: Event,
) -> Result<i64, WebError> {
    let repo = app.store.repo_by_name(name).await?;
    // Removed repositories are found by name, for their old builds, but not listed.
    if !app
        .store
        .repos()
        .await?
        .iter()
        .any(|known| known.id == repo.id)
    {
        return Err(WebError::new(
            StatusCode::CONFLICT,
            format!("repository {name} was removed"),
        )
        .hint("add it again with `windlass repo add`"));
    }
    let named = wish.revision.trim();
    let (revision, git_ref) = match (named.parse::<Revision>(), wish.git_ref.trim()) {
        (Ok(revision), "") => (revision, "HEAD".to_owned()),
        (Ok(revision), git_ref) => (revision, git_ref.to_owned()),
        (Err(_), git_ref) => {
            let name = if named.is_empty() { git_ref } else { named };
            let found = app.refs.resolve(&repo, name).await;
            found.map_err(|e| {
                let error = WebError::new(StatusCode::UNPROCESSABLE_ENTITY, e.message);
                match e.hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                }
            })?
        }
    };
    if !is_full_ref(&git_ref) {
        return Err(
            WebError::bad_request(format!("git_ref {:?} is not a full ref", wish.git_ref))
                .hint("give HEAD, refs/heads/BRANCH or refs/tags/TAG"),
        );
    }
    let new = NewBuild {
        repo_id: repo.id,
        trigger: Trigger {
            params: wish.params.clone(),
            ..Trigger::new(event, revision.clone(), git_ref)
        },
        dedupe: None,
        delivery_id: None,
    };
    let status = |number| status_for_forge(app, &repo, &revision, number, BuildState::Queued, "");
    match app.store.submit(&new, status).await? {
        Submitted::New(number) | Submitted::Already(number) => Ok(number),
    }
}

/// The ref goes into a git command line: it must look like one, and never like an option.
fn is_full_ref(name: &str) -> bool {
    let legal =
        |c: char| !c.is_control() && !c.is_whitespace() && !"~^:?*[\\\"'`$;&|<>".contains(c);
    name == "HEAD"
        || name.starts_with("refs/")
            && name.len() <= 255
            && name.chars().all(legal)
            && !name.contains("..")
            && !name.contains("//")
            && !name.contains("@{")
            && !name.ends_with(['/', '.'])
}

async fn with_repo(app: &App, path: &BuildPath) -> Result<(Build, Repo), WebError> {
    let build = app.store.build(&path.repo, path.number).await?;
    let repo = app.store.repo(build.repo_id).await?;
    Ok((build, repo))
}

fn status(
    app: &App,
    build: &Build,
    repo: &Repo,
    state: BuildState,
    summary: &str,
) -> Option<CommitStatus> {
    status_for_forge(
        app,
        repo,
        &build.trigger.revision,
        build.number,
        state,
        summary,
    )
}

pub(crate) async fn cancel(app: &App, path: &BuildPath) -> Result<Build, WebError> {
    let (build, repo) = with_repo(app, path).await?;
    let words = "cancelled before it started";
    let status = status(app, &build, &repo, BuildState::Cancelled, words);
    app.store.cancel(&build, status).await?;
    Ok(app.store.build_by_id(build.id).await?)
}

pub(crate) async fn retry(app: &App, path: &BuildPath) -> Result<Build, WebError> {
    let (build, repo) = with_repo(app, path).await?;
    let status = status(app, &build, &repo, BuildState::Queued, "");
    app.store.retry(&build, status).await?;
    Ok(app.store.build_by_id(build.id).await?)
}

/// Keeps what a person said to a job that asks. The worker goes on from there.
pub(crate) async fn approve(app: &App, path: &JobPath, yes: bool) -> Result<Build, WebError> {
    let (build, _) = with_repo(app, &path.build).await?;
    app.store.approve(&build, path.job, yes).await?;
    Ok(build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_refs_go_into_a_command_line() {
        for good in [
            "HEAD",
            "refs/heads/main",
            "refs/heads/a/b-c",
            "refs/tags/v1.0",
            "refs/pull/7/head",
        ] {
            assert!(is_full_ref(good), "{good}");
        }
        for bad in [
            "main",
            "--upload-pack=x",
            "refs/heads/a b",
            "refs/heads/../x",
            "refs/heads/",
            "refs/a\n",
            "refs/heads/x:refs/heads/y",
            "refs/heads/@{u}",
            "",
        ] {
            assert!(!is_full_ref(bad), "{bad:?}");
        }
    }
}
