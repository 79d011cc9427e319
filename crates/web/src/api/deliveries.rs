//! Deliveries as JSON, their bodies as they came, and once more.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_store::Delivery;

use super::limit;
use crate::auth::Admin;
use crate::error::WebError;
use crate::places::{DeliveryPath, number_in};
use crate::state::{App, AppState};
use crate::urls;

#[derive(Deserialize)]
pub(crate) struct Asked {
    before: Option<String>,
    limit: Option<String>,
}

/// `GET /api/v1/deliveries`
pub(crate) async fn list(
    State(app): State<App>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, WebError> {
    let before = number_in("before", asked.before.as_ref())?;
    let limit = limit(number_in("limit", asked.limit.as_ref())?);
    let deliveries = app.store.deliveries(before, limit).await?;
    let full = deliveries.len() as i64 == limit;
    let next = deliveries.last().filter(|_| full).map(|d| d.id);
    let deliveries: Vec<Value> = deliveries.iter().map(|d| delivery_json(&app, d)).collect();
    Ok(Json(json!({"deliveries": deliveries, "next_before": next})))
}

/// `GET /api/v1/deliveries/{id}/body`
///
/// Only for the administrator: bodies hold names and addresses of people.
///
/// A stranger chose the content type, so it is told in another header and the body is a file to
/// save: it must never run as a page of this server.
pub(crate) async fn body(
    _: Admin,
    State(app): State<App>,
    DeliveryPath(id): DeliveryPath,
) -> Result<Response, WebError> {
    let body = app.store.delivery_body(id).await?;
    let delivery = app.store.delivery(id).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"delivery-{id}\""),
        ),
        (
            header::HeaderName::from_static("x-windlass-content-type"),
            delivery.content_type.unwrap_or_default(),
        ),
    ];
    Ok((headers, body).into_response())
}

/// `POST /api/v1/deliveries/{id}/replay`
pub(crate) async fn replay(
    _: Admin,
    State(app): State<App>,
    DeliveryPath(id): DeliveryPath,
) -> Result<(StatusCode, Json<Value>), WebError> {
    app.store.replay(id).await?;
    let delivery = app.store.delivery(id).await?;
    Ok((StatusCode::ACCEPTED, Json(delivery_json(&app, &delivery))))
}

fn delivery_json(app: &AppState, delivery: &Delivery) -> Value {
    json!({
        "id": delivery.id,
        "forge": delivery.forge.as_str(),
        "key": delivery.key,
        "event": delivery.event,
        "repo": delivery.repo_name,
        "build": delivery.build_number,
        "state": delivery.state.as_str(),
        "verdict": delivery.verdict,
        "received_ms": delivery.received_ms,
        "content_type": delivery.content_type,
        "remote": delivery.remote,
        "body_bytes": delivery.body_bytes,
        "receipts": delivery.receipts,
        "readings": delivery.readings,
        "body_url": format!("{}{}", app.public_url, urls::api::delivery_body(delivery.id)),
    })
}
