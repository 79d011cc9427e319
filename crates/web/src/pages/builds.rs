//! The first page: all builds, the newest first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use windlass_model::BuildState;
use windlass_store::{Build, BuildFilter};

use super::{Frame, render};
use crate::api::builds::state_in;
use crate::auth::Visitor;
use crate::error::WebError;
use crate::places::number_in;
use crate::state::App;
use crate::{text, urls};

/// Builds on one page.
pub(crate) const PAGE: i64 = 50;

#[derive(Deserialize)]
pub(crate) struct Asked {
    state: Option<String>,
    before: Option<String>,
}

/// Builds, and what they were filtered by: also a part of a repository's page.
pub(crate) struct List {
    pub(crate) builds: Vec<Build>,
    pub(crate) state: Option<BuildState>,
    pub(crate) is_first: bool,
    /// Where older builds are.
    pub(crate) older: Option<i64>,
}

impl List {
    pub(crate) async fn load(
        app: &App,
        asked: &Asked,
        repo_id: Option<i64>,
    ) -> Result<Self, WebError> {
        let filter = BuildFilter {
            repo_id,
            state: state_in(asked.state.as_ref())?,
            before: number_in("before", asked.before.as_ref())?,
        };
        let mut builds = app.store.builds(&filter, PAGE + 1).await?;
        let more = builds.len() as i64 > PAGE;
        builds.truncate(PAGE as usize);
        Ok(Self {
            older: builds.last().filter(|_| more).map(|build| build.id),
            builds,
            state: filter.state,
            is_first: filter.before.is_none(),
        })
    }

    pub(crate) fn is_state(&self, state: &BuildState) -> bool {
        self.state == Some(*state)
    }

    pub(crate) fn is_going_on(&self) -> bool {
        self.builds.iter().any(|build| !build.state.is_final())
    }
}

#[derive(Template)]
#[template(path = "builds.html")]
struct BuildsPage {
    frame: Frame,
    list: List,
    has_repos: bool,
}

impl BuildsPage {
    fn all(&self) -> String {
        urls::builds_where(None, None)
    }

    fn filtered(&self, state: &BuildState) -> String {
        urls::builds_where(Some(*state), None)
    }

    fn newest(&self) -> String {
        urls::builds_where(self.list.state, None)
    }

    fn older(&self) -> Option<String> {
        let before = self.list.older?;
        Some(urls::builds_where(self.list.state, Some(before)))
    }
}

/// `GET /`
pub(crate) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let list = List::load(&app, &asked, None).await?;
    let newest = list.builds.first().filter(|_| list.is_first);
    let icon = newest.map_or("none", |build| build.state.as_str());
    render(&BuildsPage {
        frame: Frame::of(&visitor, icon).refreshing(list.is_going_on()),
        has_repos: !list.builds.is_empty() || !app.store.repos().await?.is_empty(),
        list,
    })
}
