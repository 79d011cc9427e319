//! Artifacts over HTTP: a list of files for people, the files themselves and an archive of all for
//! `curl`.
//!
//! A build made these files, so a browser must never run them: every file comes as an attachment of
//! no particular type.

use std::fs::File;
use std::io::{self, Read as _, Write};

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use windlass_model::AttemptId;
use windlass_store::Build;
use windlass_store::results::Artifact;

use crate::auth::Visitor;
use crate::error::WebError;
use crate::pages::{Frame, render};
use crate::places::{ArtifactPath, BuildPath};
use crate::state::App;
use crate::{text, urls};

/// Bytes per piece that is sent.
const PIECE: usize = 256 * 1024;
/// So many files are on the page of an artifact; the archive has all.
const LISTED: usize = 5000;

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactFile {
    /// Relative to the artifact, with `/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// Who has the artifacts' files. All functions block.
pub trait Artifacts: Send + Sync {
    /// The files of an artifact, sorted by path; at most so many.
    ///
    /// # Errors
    /// When the artifact's folder can't be read.
    fn list(&self, attempt: &AttemptId, name: &str, most: usize) -> io::Result<Vec<ArtifactFile>>;

    /// Opens a file. Only regular files of this artifact are ever opened.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] for everything else; what the disk says.
    fn open(&self, attempt: &AttemptId, name: &str, path: &str) -> io::Result<File>;

    /// Writes all files as `.tar.gz`.
    ///
    /// # Errors
    /// When a file can't be read, or the writer fails.
    fn archive(&self, attempt: &AttemptId, name: &str, out: &mut dyn Write) -> io::Result<()>;
}

#[derive(Template)]
#[template(path = "artifact.html")]
struct ArtifactPage {
    frame: Frame,
    build: Build,
    artifact: Artifact,
    files: Vec<ArtifactFile>,
    public_url: String,
}

impl ArtifactPage {
    fn file_link(&self, path: &str) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::artifact_file(
            repo,
            number,
            self.artifact.attempt,
            &self.artifact.name,
            path,
        )
    }

    fn archive_link(&self) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::artifact_archive(repo, number, self.artifact.attempt, &self.artifact.name)
    }
}

async fn find(app: &App, path: &ArtifactPath) -> Result<(Build, Artifact), WebError> {
    let build = app.store.build(&path.build.repo, path.build.number).await?;
    let artifacts = app.store.artifacts(build.id).await?;
    let found = artifacts
        .into_iter()
        .find(|a| a.attempt == path.attempt && a.name == path.name);
    let Some(artifact) = found else {
        let name = &path.name;
        return Err(WebError::not_found(format!("artifact named {name}")));
    };
    if artifact.removed_ms.is_some() {
        return Err(
            WebError::not_found(format!("artifact named {} any more", path.name))
                .hint("its `retention` was over; retry the build to have it made again"),
        );
    }
    Ok((build, artifact))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, WebError> {
    let done = tokio::task::spawn_blocking(work).await;
    match done.map_err(io::Error::other).and_then(|done| done) {
        Ok(value) => Ok(value),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(WebError::not_found("such file")),
        Err(e) => Err(WebError::internal(&e)),
    }
}

/// `GET /repos/{repo}/builds/{number}/artifacts/{attempt}/{name}`
pub(crate) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    path: ArtifactPath,
) -> Result<Response, WebError> {
    let (build, artifact) = find(&app, &path).await?;
    let (shelf, id) = (
        app.artifacts.clone(),
        AttemptId::from_row(artifact.attempt_id),
    );
    let name = artifact.name.clone();
    let files = blocking(move || shelf.list(&id, &name, LISTED)).await?;
    render(&ArtifactPage {
        frame: Frame::of(&visitor, ""),
        public_url: app.public_url.clone(),
        build,
        artifact,
        files,
    })
}

/// `GET /repos/{repo}/builds/{number}/artifacts/{attempt}/{name}/files/{*path}`
pub(crate) async fn file(State(app): State<App>, path: ArtifactPath) -> Result<Response, WebError> {
    let (_, artifact) = find(&app, &path).await?;
    let (shelf, id) = (
        app.artifacts.clone(),
        AttemptId::from_row(artifact.attempt_id),
    );
    let (name, within) = (artifact.name, path.path.clone());
    let (file, bytes) = blocking(move || {
        let file = shelf.open(&id, &name, &within)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    })
    .await?;
    let (send, receive) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut file = file.take(bytes);
        let mut pipe = Pipe(send);
        if let Err(e) = io::copy(&mut file, &mut pipe) {
            pipe.fail(e);
        }
    });
    let last = path.path.rsplit('/').next().unwrap_or_default();
    Ok(attachment(last, Some(bytes), receive))
}

/// `GET /repos/{repo}/builds/{number}/artifacts/{attempt}/{name}/archive`
pub(crate) async fn archive(
    State(app): State<App>,
    path: ArtifactPath,
) -> Result<Response, WebError> {
    let (build, artifact) = find(&app, &path).await?;
    let (shelf, id) = (
        app.artifacts.clone(),
        AttemptId::from_row(artifact.attempt_id),
    );
    let file_name = format!("{}-{}-{}.tar.gz", build.repo, build.number, artifact.name);
    let (send, receive) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let mut pipe = io::BufWriter::with_capacity(PIECE, Pipe(send));
        let done = shelf.archive(&id, &artifact.name, &mut pipe);
        // A download that breaks off says more than one that ends too early.
        if let Err(e) = done.and_then(|()| pipe.flush())
            && let Ok(pipe) = pipe.into_inner()
        {
            pipe.fail(e);
        }
    });
    Ok(attachment(&file_name, None, receive))
}

/// `GET /api/v1/repos/{repo}/builds/{number}/artifacts`
pub(crate) async fn api(State(app): State<App>, path: BuildPath) -> Result<Json<Value>, WebError> {
    let build = app.store.build(&path.repo, path.number).await?;
    let artifacts = app.store.artifacts(build.id).await?;
    let json = |artifact: Artifact| {
        let (repo, number) = (&build.repo, build.number);
        let url = urls::artifact_archive(repo, number, artifact.attempt, &artifact.name);
        json!({
            "name": artifact.name,
            "attempt": artifact.attempt,
            "files": artifact.files,
            "bytes": artifact.bytes,
            "created_ms": artifact.created_ms,
            "expires_ms": artifact.expires_ms,
            "removed_ms": artifact.removed_ms,
            "archive": format!("{}{url}", app.public_url),
        })
    };
    let artifacts: Vec<Value> = artifacts.into_iter().map(json).collect();
    Ok(Json(json!({ "artifacts": artifacts })))
}

/// What a thread writes, as pieces of a body. A slow reader holds the thread, not memory.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Pipe {
    fn fail(&self, error: io::Error) {
        tracing::warn!(%error, "could not send an artifact");
        // If nobody listens any more, nobody needs to know.
        let _ = self.0.blocking_send(Err(error));
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(piece)))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn attachment(
    name: &str,
    bytes: Option<u64>,
    receive: mpsc::Receiver<io::Result<Bytes>>,
) -> Response {
    let body = Body::from_stream(stream::unfold(receive, |mut receive| async move {
        let piece = receive.recv().await?;
        Some((piece, receive))
    }));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let encoded = urls::encode(name);
    // RFC 6266, section 4.3: `filename*` for all that is not ASCII.
    let disposition = format!("attachment; filename*=UTF-8''{encoded}");
    if let Ok(value) = disposition.parse() {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/octet-stream"),
    );
    if let Some(bytes) = bytes {
        headers.insert(header::CONTENT_LENGTH, bytes.into());
    }
    response
}
