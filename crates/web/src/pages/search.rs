//! The page on which the output of all builds is searched.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use windlass_store::logs::AttemptPlace;

use super::{Frame, render};
use crate::auth::Visitor;
use crate::error::WebError;
use crate::search::{Asked, Found, count, find};
use crate::state::App;
use crate::{text, urls};

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    text: String,
    repo: String,
    repos: Vec<String>,
    found: Option<Found>,
    /// What is wrong with the question, and what to do.
    wrong: Option<(String, String)>,
    lines: usize,
    builds: usize,
}

impl SearchPage {
    fn more(&self) -> Option<String> {
        let before = self.found.as_ref()?.next?;
        Some(urls::search(&self.text, &self.repo, Some(before)))
    }

    /// Logs that are only in the archive: where they are, and what they are.
    fn elsewhere(&self) -> Vec<(String, String)> {
        let all = self.found.iter().flat_map(|found| &found.elsewhere);
        let link = |(place, step): &(AttemptPlace, i64)| {
            let (repo, build) = (&place.repo, place.build);
            (
                urls::attempt_step(repo, build, place.attempt, *step),
                format!("{repo} #{build} {}", place.log_words(*step)),
            )
        };
        all.map(link).collect()
    }
}

/// `GET /search`
pub(crate) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let text = asked.q.clone().unwrap_or_default();
    let (mut found, mut wrong) = (None, None);
    if asked.q.is_some() {
        match find(&app, &asked).await {
            Ok(all) => found = Some(all),
            // A question that can't be asked is answered where it is asked.
            Err(error) if error.status() == StatusCode::BAD_REQUEST => {
                wrong = Some(error.into_words());
            }
            Err(error) => return Err(error),
        }
    } else if app.index.is_none() {
        return Err(find(&app, &asked)
            .await
            .err()
            .unwrap_or_else(|| WebError::not_found("search here")));
    }
    let (lines, builds) = found.as_ref().map_or((0, 0), |found| count(&found.groups));
    let repos = app.store.repos().await?;
    let page = SearchPage {
        frame: Frame::of(&visitor, "none"),
        text,
        repo: asked.repo.unwrap_or_default(),
        repos: repos
            .into_iter()
            .map(|repo| repo.name.to_string())
            .collect(),
        found,
        wrong,
        lines,
        builds,
    };
    render(&page)
}
