//! The machines of the cluster: what they are, what is reserved of them, what runs where.

use askama::Template;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use windlass_model::Node;
use windlass_model::node::decimal;
use windlass_store::Build;

use super::{Frame, render};
use crate::auth::Visitor;
use crate::error::WebError;
use crate::state::App;
use crate::text;

/// Who knows the nodes.
pub trait Cluster: Send + Sync {
    /// All nodes, by name; or why they can't be known just now.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<Node>, String>>;

    /// What this server is called in [`windlass_model::NodeJob::owner`].
    fn owner(&self) -> String;
}

struct Line {
    node: Node,
    /// The state whose colour and icon it has.
    mood: &'static str,
    jobs: Vec<Job>,
}

struct Job {
    name: String,
    /// `None` if it is another server's.
    build: Option<Build>,
}

#[derive(Template)]
#[template(path = "nodes.html")]
struct NodesPage {
    frame: Frame,
    summary: String,
    lines: Vec<Line>,
    problem: Option<String>,
}

/// `GET /nodes`
pub(crate) async fn page(State(app): State<App>, visitor: Visitor) -> Result<Response, WebError> {
    let cluster = app.cluster.as_ref();
    let cluster = cluster.ok_or_else(no_cluster)?;
    let (nodes, problem) = match cluster.nodes().await {
        Ok(nodes) => (nodes, None),
        Err(problem) => (Vec::new(), Some(problem)),
    };
    let owner = cluster.owner();
    let summary = summary(&nodes);
    let mut lines = Vec::new();
    for node in nodes {
        let mut jobs = Vec::new();
        for job in &node.jobs {
            let row = job.attempt.row().filter(|_| job.owner == owner);
            let build = match row {
                Some(row) => build_of(&app, row).await?,
                None => None,
            };
            jobs.push(Job {
                name: job.job.clone(),
                build,
            });
        }
        let mood = mood(&node);
        lines.push(Line { node, mood, jobs });
    }
    let frame = Frame::of(&visitor, "none").refreshing(true);
    render(&NodesPage {
        frame,
        summary,
        lines,
        problem,
    })
}

/// `GET /api/v1/nodes`
pub(crate) async fn api(State(app): State<App>) -> Result<Json<Value>, WebError> {
    let cluster = app.cluster.as_ref();
    let cluster = cluster.ok_or_else(no_cluster)?;
    let nodes = cluster.nodes().await.map_err(|problem| {
        WebError::new(StatusCode::SERVICE_UNAVAILABLE, problem)
            .hint("is a manager of the Swarm there? `windlass cluster doctor` looks")
    })?;
    Ok(Json(json!({ "nodes": nodes })))
}

fn no_cluster() -> WebError {
    WebError::not_found("cluster here").hint(
        "jobs run on this machine; `windlass serve --executor swarm` runs them on a Docker Swarm",
    )
}

async fn build_of(app: &App, row: i64) -> Result<Option<Build>, WebError> {
    // It may have ended and been removed since the node was asked.
    let Ok(attempt) = app.store.attempt_by_id(row).await else {
        return Ok(None);
    };
    Ok(app.store.build_by_id(attempt.build_id).await.ok())
}

fn mood(node: &Node) -> &'static str {
    match node.word() {
        "ready" => "passed",
        "drained" | "paused" => "skipped",
        "unknown" => "error",
        _ => "failed",
    }
}

fn summary(nodes: &[Node]) -> String {
    let usable: Vec<&Node> = nodes.iter().filter(|node| node.is_usable()).collect();
    let jobs: usize = nodes.iter().map(|node| node.jobs.len()).sum();
    let cpus: u64 = usable.iter().map(|node| node.cpu_millis).sum();
    format!(
        "{} of {} nodes take jobs; they have {} processors. {jobs} {} running.",
        usable.len(),
        nodes.len(),
        decimal(cpus),
        if jobs == 1 { "job is" } else { "jobs are" },
    )
}
