//! Logging in with the administrator's token, and out.

use askama::Template;
use axum::extract::rejection::FormRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form};
use serde::Deserialize;

use super::{Frame, render};
use crate::auth::{self, OwnPage, Visitor, safe_next};
use crate::error::{WebError, Whole};
use crate::state::App;
use crate::urls;

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    next: String,
    wrong: bool,
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    next: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Given {
    #[serde(default)]
    token: String,
    next: Option<String>,
}

/// `GET /login`
pub(crate) async fn page(
    visitor: Visitor,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let next = safe_next(asked.next.as_deref());
    if visitor.logged_in {
        return Ok(Redirect::to(next).into_response());
    }
    render(&LoginPage {
        frame: Frame::new(next, false, "none"),
        next: next.to_owned(),
        wrong: false,
    })
}

/// `POST /login`
pub(crate) async fn login(
    _: OwnPage,
    State(app): State<App>,
    form: Result<Form<Given>, FormRejection>,
) -> Result<Response, WebError> {
    let Form(given) = form.map_err(|_| WebError::bad_request("this is not the login form"))?;
    let next = safe_next(given.next.as_deref());
    if !auth::is_token(&app.token, given.token.trim()) {
        let page = render(&LoginPage {
            frame: Frame::new(next, false, "none"),
            next: next.to_owned(),
            wrong: true,
        })?;
        return Ok((StatusCode::UNAUTHORIZED, Extension(Whole), page).into_response());
    }
    let cookie = [(header::SET_COOKIE, auth::session_cookie(&app))];
    Ok((cookie, Redirect::to(next)).into_response())
}

/// `POST /logout`
pub(crate) async fn logout(_: OwnPage, State(app): State<App>) -> Response {
    let cookie = [(header::SET_COOKIE, auth::no_cookie(&app))];
    (cookie, Redirect::to(&urls::builds())).into_response()
}
