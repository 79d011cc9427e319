//! Repositories as JSON, without their secrets.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use windlass_store::Repo;

use crate::error::WebError;
use crate::places::RepoPath;
use crate::state::{App, AppState};
use crate::urls;

/// `GET /api/v1/repos`
pub(crate) async fn list(State(app): State<App>) -> Result<Json<Value>, WebError> {
    let repos = app.store.repos().await?;
    let repos: Vec<Value> = repos.iter().map(|repo| repo_json(&app, repo)).collect();
    Ok(Json(json!({"repos": repos})))
}

/// `GET /api/v1/repos/{repo}`
pub(crate) async fn one(
    State(app): State<App>,
    RepoPath(name): RepoPath,
) -> Result<Json<Value>, WebError> {
    let repo = app.store.repo_by_name(&name).await?;
    Ok(Json(repo_json(&app, &repo)))
}

fn repo_json(app: &AppState, repo: &Repo) -> Value {
    json!({
        "name": repo.name,
        "git_url": repo.url,
        "forge": repo.forge.as_str(),
        "forge_name": repo.forge_name,
        "build_forks": repo.build_forks,
        "has_webhook_secret": repo.has_webhook_secret,
        "has_status_token": repo.has_status_token,
        "last_build": repo.last_build,
        "created_ms": repo.created_ms,
        "url": format!("{}{}", app.public_url, urls::repo(&repo.name)),
        "api_url": format!("{}{}", app.public_url, urls::api::repos(Some(&repo.name))),
    })
}
