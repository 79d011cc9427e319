//! Builds as JSON: lists, one with everything, and what can be done with one.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_model::{BuildState, Event, RepoName};
use windlass_store::{Attempt, Build, BuildFilter, Job, Step};

use super::limit;
use crate::actions::{self, Wish};
use crate::auth::Admin;
use crate::error::WebError;
use crate::places::{BuildPath, JobPath, RepoPath, number_in};
use crate::state::{App, AppState};
use crate::{text, urls};

#[derive(Deserialize)]
pub(crate) struct Asked {
    repo: Option<String>,
    state: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// `GET /api/v1/builds`
pub(crate) async fn list(
    State(app): State<App>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, WebError> {
    let mut filter = BuildFilter {
        state: state_in(asked.state.as_ref())?,
        before: number_in("before", asked.before.as_ref())?,
        repo_id: None,
    };
    if let Some(name) = asked.repo.filter(|name| !name.is_empty()) {
        let name: RepoName = name
            .parse()
            .map_err(|_| WebError::not_found(format!("repository named {name}")))?;
        filter.repo_id = Some(app.store.repo_by_name(&name).await?.id);
    }
    let limit = limit(number_in("limit", asked.limit.as_ref())?);
    let builds = app.store.builds(&filter, limit).await?;
    let full = builds.len() as i64 == limit;
    let next = builds.last().filter(|_| full).map(|build| build.id);
    let builds: Vec<Value> = builds.iter().map(|build| build_json(&app, build)).collect();
    Ok(Json(json!({"builds": builds, "next_before": next})))
}

/// What a person or a program says to a job that asks.
#[derive(Deserialize)]
struct Approval {
    approve: bool,
}

/// A state in the query, or the words for what is wrong with it.
pub(crate) fn state_in(text: Option<&String>) -> Result<Option<BuildState>, WebError> {
    let text = text.filter(|text| !text.is_empty());
    text.map(|text| text.parse())
        .transpose()
        .map_err(|e: windlass_model::ids::InvalidId| WebError::bad_request(e.to_string()))
}

/// `GET /api/v1/repos/{repo}/builds/{number}`
pub(crate) async fn one(State(app): State<App>, path: BuildPath) -> Result<Json<Value>, WebError> {
    let build = app.store.build(&path.repo, path.number).await?;
    let mut json = build_json(&app, &build);
    let mut attempts = Vec::new();
    for attempt in app.store.attempts(build.id).await? {
        let steps = app.store.steps(attempt.id).await?;
        attempts.push(attempt_json(&app, &build, &attempt, &steps));
    }
    json["attempts"] = attempts.into();
    let jobs = app.store.jobs(build.id, build.run).await?;
    json["jobs"] = jobs.iter().map(job_json).collect();
    Ok(Json(json))
}

/// `POST /api/v1/repos/{repo}/builds`
pub(crate) async fn start(
    _: Admin,
    State(app): State<App>,
    RepoPath(repo): RepoPath,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let wish: Wish = serde_json::from_slice(&body).map_err(|e| {
        WebError::bad_request(format!("the body is not what it must be: {e}"))
            .hint(r#"send {"revision": "BRANCH, TAG OR COMMIT ID", "params": {"NAME": "VALUE"}}"#)
    })?;
    let number = actions::start(&app, &repo, &wish, Event::Api).await?;
    let build = app.store.build(&repo, number).await?;
    Ok((StatusCode::ACCEPTED, Json(build_json(&app, &build))))
}

/// `POST /api/v1/repos/{repo}/builds/{number}/cancel`
pub(crate) async fn cancel(
    _: Admin,
    State(app): State<App>,
    path: BuildPath,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let build = actions::cancel(&app, &path).await?;
    Ok((StatusCode::ACCEPTED, Json(build_json(&app, &build))))
}

/// `POST /api/v1/repos/{repo}/builds/{number}/retry`
pub(crate) async fn retry(
    _: Admin,
    State(app): State<App>,
    path: BuildPath,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let build = actions::retry(&app, &path).await?;
    Ok((StatusCode::ACCEPTED, Json(build_json(&app, &build))))
}

/// `POST /api/v1/repos/{repo}/builds/{number}/jobs/{job}/approve`
pub(crate) async fn approve(
    _: Admin,
    State(app): State<App>,
    path: JobPath,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), WebError> {
    let answer: Approval = serde_json::from_slice(&body).map_err(|e| {
        WebError::bad_request(format!("the body is not what it must be: {e}"))
            .hint(r#"send {"approve": true} or {"approve": false}"#)
    })?;
    let build = actions::approve(&app, &path, answer.approve).await?;
    Ok((StatusCode::ACCEPTED, Json(build_json(&app, &build))))
}

fn job_json(job: &Job) -> Value {
    json!({
        "job": job.index + 1,
        "name": job.plan.name,
        "state": job.state,
        "reason": job.reason,
        "tries": job.tries,
        "attempt": job.attempt,
        "outputs": job.outputs,
        "started_ms": job.started_ms,
        "finished_ms": job.finished_ms,
    })
}

/// The states of a build, its jobs and the steps of the attempt that its page shows, and nothing
/// that does not change.
pub(crate) fn states(build: &Build, jobs: &[Job], steps: &[Step]) -> Value {
    let jobs = jobs.iter().map(|job| {
        json!({
            "job": job.index + 1,
            "state": job.state,
            "reason": job.reason,
            "attempt": job.attempt,
        })
    });
    let steps = steps.iter().map(|step| {
        json!({
            "step": step.index + 1,
            "state": text::step_state(step),
            "words": text::step_words(step),
        })
    });
    json!({
        "state": build.state,
        "attempt": build.attempt,
        "cancel_requested": build.cancel_requested,
        "summary": build.summary,
        "jobs": jobs.collect::<Vec<_>>(),
        "steps": steps.collect::<Vec<_>>(),
    })
}

fn build_json(app: &AppState, build: &Build) -> Value {
    let page = urls::build(&build.repo, build.number);
    json!({
        "id": build.id,
        "repo": build.repo,
        "number": build.number,
        "state": build.state,
        "summary": build.summary,
        "trigger": build.trigger,
        "attempt": build.attempt,
        "cancel_requested": build.cancel_requested,
        "delivery": build.delivery_id,
        "failed_step": build.failed_step.map(|index| index + 1),
        "created_ms": build.created_ms,
        "started_ms": build.started_ms,
        "finished_ms": build.finished_ms,
        "url": format!("{}{page}", app.public_url),
        "api_url": format!("{}{}", app.public_url, urls::api::build(&build.repo, build.number)),
    })
}

fn attempt_json(app: &AppState, build: &Build, attempt: &Attempt, steps: &[Step]) -> Value {
    let (repo, number) = (&build.repo, build.number);
    let link = |path: String| format!("{}{path}", app.public_url);
    let steps = steps.iter().map(|step| {
        json!({
            "step": step.index + 1,
            "name": step.name,
            "state": text::step_state(step),
            "words": text::step_words(step),
            "outcome": step.outcome,
            "started_us": step.started_us,
            "ended_us": step.ended_us,
            "duration_us": step.duration_us,
            "output_bytes": step.output_bytes,
            "leftovers": step.leftovers,
            "url": link(urls::attempt_step(repo, number, attempt.number, step.index)),
            "log_url": link(urls::api::log(repo, number, attempt.number, step.index)),
        })
    });
    json!({
        "attempt": attempt.number,
        "id": attempt.attempt_id(),
        "state": attempt.state,
        "phase": attempt.phase.as_str(),
        "executor": attempt.executor,
        "spec_file": attempt.spec_file,
        "diagnostics": attempt.diagnostics,
        "error": attempt.error,
        "hint": attempt.hint,
        "remarks": attempt.remarks,
        "logs_removed": attempt.logs_removed.as_ref().map(|(ms, why)| json!({"removed_ms": ms, "why": why})),
        "created_ms": attempt.created_ms,
        "started_ms": attempt.started_ms,
        "finished_ms": attempt.finished_ms,
        "url": link(urls::attempt(repo, number, attempt.number)),
        "steps": steps.collect::<Vec<_>>(),
    })
}
