//! Repositories: all of them, and one with its settings, how to hook it up, and its builds.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use windlass_model::BuildState;
use windlass_model::expression::Value;
use windlass_store::schedules::Schedule;
use windlass_store::{Build, BuildFilter, ForgeKind, Repo};

use super::builds::{Asked, List};
use super::{Frame, render};
use crate::auth::Visitor;
use crate::error::WebError;
use crate::places::RepoPath;
use crate::state::App;
use crate::{text, urls};

struct Line {
    repo: Repo,
    newest: Option<Build>,
}

#[derive(Template)]
#[template(path = "repos.html")]
struct ReposPage {
    frame: Frame,
    lines: Vec<Line>,
}

/// `GET /repos`
pub(crate) async fn list(State(app): State<App>, visitor: Visitor) -> Result<Response, WebError> {
    let mut lines = Vec::new();
    for repo in app.store.repos().await? {
        let newest = BuildFilter {
            repo_id: Some(repo.id),
            ..BuildFilter::default()
        };
        let newest = app.store.builds(&newest, 1).await?.pop();
        lines.push(Line { repo, newest });
    }
    let frame = Frame::of(&visitor, "none");
    render(&ReposPage { frame, lines })
}

#[derive(Template)]
#[template(path = "repo.html")]
struct RepoPage {
    frame: Frame,
    repo: Repo,
    is_github: bool,
    /// Names only.
    secrets: Vec<String>,
    hook_url: String,
    list: List,
    schedules: Vec<Schedule>,
    /// Branches whose specs are known.
    branches: Vec<String>,
    /// The one whose parameters the form has.
    branch: String,
    params: Vec<Param>,
    /// Removed repositories keep their pages.
    is_removed: bool,
}

/// A parameter of the spec, as the store keeps it.
#[derive(Deserialize)]
struct Param {
    name: String,
    kind: String,
    options: Vec<String>,
    description: String,
    default: Value,
}

impl Param {
    fn default_text(&self) -> String {
        self.default.plain()
    }

    /// What can be chosen, where something must be.
    fn choices(&self) -> Vec<String> {
        match self.kind.as_str() {
            "boolean" => vec!["false".to_owned(), "true".to_owned()],
            "choice" => self.options.clone(),
            _ => Vec::new(),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Form {
    /// Whose parameters the form has.
    branch: Option<String>,
}

impl RepoPage {
    fn all(&self) -> String {
        urls::repo_where(&self.repo.name, None, None)
    }

    fn filtered(&self, state: &BuildState) -> String {
        urls::repo_where(&self.repo.name, Some(*state), None)
    }

    fn newest(&self) -> String {
        urls::repo_where(&self.repo.name, self.list.state, None)
    }

    fn older(&self) -> Option<String> {
        let before = self.list.older?;
        Some(urls::repo_where(
            &self.repo.name,
            self.list.state,
            Some(before),
        ))
    }
}

/// `GET /repos/{repo}`
pub(crate) async fn one(
    State(app): State<App>,
    visitor: Visitor,
    RepoPath(name): RepoPath,
    Query(asked): Query<Asked>,
    Query(form): Query<Form>,
) -> Result<Response, WebError> {
    let repo = app.store.repo_by_name(&name).await?;
    let branches = app.store.branches(repo.id).await?;
    let usual = ["main", "master"]
        .into_iter()
        .find(|name| branches.iter().any(|branch| branch == name))
        .map(ToOwned::to_owned);
    let branch = form
        .branch
        .filter(|asked| branches.contains(asked))
        .or(usual)
        .or_else(|| branches.first().cloned())
        .unwrap_or_default();
    let params = app.store.params(repo.id, &branch).await?;
    let params = params.and_then(|text| serde_json::from_str(&text).ok());
    let list = List::load(&app, &asked, Some(repo.id)).await?;
    let names = app.store.secret_names(repo.id).await?;
    let newest = list.builds.first().filter(|_| list.is_first);
    let icon = newest.map_or("none", |build| build.state.as_str());
    let known = app.store.repos().await?;
    render(&RepoPage {
        frame: Frame::of(&visitor, icon).refreshing(list.is_going_on()),
        is_github: repo.forge == ForgeKind::Github,
        secrets: names.into_iter().map(|(name, _)| name).collect(),
        schedules: app.store.schedules(repo.id).await?,
        branches,
        branch,
        params: params.unwrap_or_default(),
        hook_url: app.public_url.clone() + &urls::github_hook(Some(&repo.name)),
        is_removed: !known.iter().any(|one| one.id == repo.id),
        list,
        repo,
    })
}
