//! Deliveries: what forges sent and what became of it, so that nobody has to guess why there is no
//! build.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::{Redirect, Response};
use serde::Deserialize;
use windlass_model::RepoName;
use windlass_store::{Delivery, DeliveryState};

use super::{Frame, render};
use crate::auth::{Admin, Visitor};
use crate::error::WebError;
use crate::places::{DeliveryPath, number_in};
use crate::state::App;
use crate::{text, urls};

const PAGE: i64 = 50;

#[derive(Deserialize)]
pub(crate) struct Asked {
    before: Option<String>,
}

struct Line {
    delivery: Delivery,
    repo: Option<RepoName>,
    /// The word for sign and colour.
    mood: &'static str,
    can_be_replayed: bool,
}

impl Line {
    fn new(delivery: Delivery) -> Self {
        Self {
            repo: delivery
                .repo_name
                .as_ref()
                .and_then(|name| name.parse().ok()),
            mood: match delivery.state {
                DeliveryState::Received => "queued",
                DeliveryState::Done => "passed",
                DeliveryState::Failed => "failed",
                DeliveryState::Rejected => "error",
            },
            can_be_replayed: delivery.state != DeliveryState::Rejected,
            delivery,
        }
    }
}

#[derive(Template)]
#[template(path = "deliveries.html")]
struct DeliveriesPage {
    frame: Frame,
    lines: Vec<Line>,
    is_first: bool,
    older: Option<i64>,
    hook_url: String,
}

/// `GET /deliveries`
pub(crate) async fn list(
    State(app): State<App>,
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let before = number_in("before", asked.before.as_ref())?;
    let mut found = app.store.deliveries(before, PAGE + 1).await?;
    let more = found.len() as i64 > PAGE;
    found.truncate(PAGE as usize);
    let waiting = found.iter().any(|d| d.state == DeliveryState::Received);
    render(&DeliveriesPage {
        frame: Frame::of(&visitor, "none").refreshing(waiting),
        is_first: before.is_none(),
        older: found.last().filter(|_| more).map(|delivery| delivery.id),
        lines: found.into_iter().map(Line::new).collect(),
        hook_url: app.public_url.clone() + &urls::github_hook(None),
    })
}

/// `POST /deliveries/{id}/replay`
pub(crate) async fn replay(
    _: Admin,
    State(app): State<App>,
    DeliveryPath(id): DeliveryPath,
) -> Result<Redirect, WebError> {
    app.store.replay(id).await?;
    Ok(Redirect::to(&urls::deliveries()))
}
