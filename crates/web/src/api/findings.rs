//! What went wrong in a step, which of its lines are new, and where a text stands in the logs of a
//! repository. Streams are NDJSON: a JSON object per line.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use windlass_logs::grep::{self, Pattern};
use windlass_logs::{LogReader, Stripper};
use windlass_store::{Build, BuildFilter, Step};

use crate::error::WebError;
use crate::findings::{FindError, look};
use crate::places::{
    Place, RepoPath, StepPath, find_place, number_in, service_index, service_steps,
};
use crate::state::App;
use crate::urls;

/// Characters of a row that a stream tells.
const SHOWN: usize = 2000;
/// Rows that are read at once.
const ROWS: u64 = 500;
/// Rows that one search finds, if nothing is said.
const HITS: usize = 1000;
/// Rows that one search finds at most.
const MOST_HITS: usize = 100_000;
/// The longest text that is searched for, in bytes.
const LONGEST: usize = 1000;
/// So many searches run at once, whoever asks; others wait.
static SCANNING: Semaphore = Semaphore::const_new(2);
/// Builds that are asked for at once.
const BUILDS: i64 = 50;

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
}

impl From<FindError> for WebError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::Store(error) => error.into(),
            FindError::Log(error) => error.into(),
            FindError::Broken(error) => error.into(),
        }
    }
}

fn ended(place: &Place) -> Result<&Step, WebError> {
    let step = place.step().ok_or_else(|| place.no_step())?;
    if step.outcome.is_none() && !place.attempt.state.is_final() {
        return Err(
            WebError::new(StatusCode::CONFLICT, "the step has not ended yet")
                .hint("what went wrong is known when it has: ask again then"),
        );
    }
    Ok(step)
}

/// `GET /api/v1/repos/{repo}/builds/{number}/steps/{step}/findings`
pub(crate) async fn of_step(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, WebError> {
    let place = find_place(&app, &path, asked.attempt.as_ref()).await?;
    let step = ended(&place)?;
    let found = look(&app.store, &app.logs_root, &place.attempt, step).await?;
    let mut json = serde_json::to_value(&found).map_err(|e| WebError::internal(&e))?;
    let (repo, number, attempt) = (&place.build.repo, place.build.number, place.attempt.number);
    let link = |line: u64| {
        let path = urls::line(repo, number, attempt, step.index, line);
        format!("{}{path}", app.public_url)
    };
    json["attempt"] = attempt.into();
    json["step"] = (step.index + 1).into();
    json["first_url"] = found.first().map(|first| link(first.line)).into();
    Ok(Json(json))
}

/// `GET /api/v1/repos/{repo}/builds/{number}/steps/{step}/new`: the rows that no passing run
/// printed: `{"line": 12, "text": "..."}` each.
pub(crate) async fn new_rows(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let place = find_place(&app, &path, asked.attempt.as_ref()).await?;
    let step = ended(&place)?;
    let found = look(&app.store, &app.logs_root, &place.attempt, step).await?;
    let Some(novelty) = found.novelty else {
        return Err(WebError::new(
            StatusCode::CONFLICT,
            "there is nothing to compare this log with",
        )
        .hint("lines are new against an earlier run of the same step that passed: there is none"));
    };
    let folder = app.log_folder(&place.attempt.attempt_id());
    let number = place.log_step();
    let (lines, receiver) = mpsc::channel(16);
    tokio::task::spawn_blocking(move || {
        let done = tell_rows(folder, number, novelty.ranges, &lines);
        if let Err(error) = done {
            tracing::error!(%error, "a log could not be read to its end");
            let _ = lines.blocking_send(Err(std::io::Error::other(error)));
        }
    });
    Ok(ndjson(receiver))
}

type Lines = mpsc::Sender<Result<Bytes, std::io::Error>>;

fn ndjson(receiver: mpsc::Receiver<Result<Bytes, std::io::Error>>) -> Response {
    let body = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(body)).into_response()
}

fn line(value: &Value) -> Bytes {
    Bytes::from(format!("{value}\n"))
}

fn text_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    Stripper::new().row(bytes, &mut text);
    let text = text.trim_end();
    text.chars().take(SHOWN).collect()
}

/// Ends early, and well, when nobody listens any more.
fn tell_rows(
    folder: PathBuf,
    step: u32,
    ranges: Vec<(u64, u64)>,
    lines: &Lines,
) -> windlass_logs::Result<()> {
    let mut reader = LogReader::open(&folder, step)?;
    let mut bytes = Vec::new();
    for (first, last) in ranges {
        let mut next = first;
        while next <= last {
            let count = (last - next + 1).min(ROWS);
            let rows = reader.row_range(next - 1, count as usize)?;
            if rows.is_empty() {
                break;
            }
            let mut out = String::new();
            for row in &rows {
                reader.row_bytes(row, &mut bytes)?;
                let text = text_of(&bytes);
                out.push_str(&json!({"line": row.number + 1, "text": text}).to_string());
                out.push('\n');
            }
            next += rows.len() as u64;
            if lines.blocking_send(Ok(out.into())).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
pub(crate) struct Wanted {
    text: Option<String>,
    ignore_case: Option<String>,
    limit: Option<String>,
}

/// `GET /api/v1/repos/{repo}/scan?text=`: a scan through the logs of all builds, the newest
/// first. Each row with the text is told when it is found; the last line sums up:
/// `{"done": true, "builds": 12, "logs": 40, "bytes": 123456, "ms": 90, "more": false}`.
pub(crate) async fn scan(
    State(app): State<App>,
    RepoPath(repo): RepoPath,
    Query(wanted): Query<Wanted>,
) -> Result<Response, WebError> {
    let text = wanted.text.unwrap_or_default();
    if text.is_empty() || text.len() > LONGEST || text.contains('\n') {
        return Err(WebError::bad_request("`text` is not a text to search for")
            .hint("give a part of one line: scan?text=connection+refused"));
    }
    let limit = number_in("limit", wanted.limit.as_ref())?;
    let ignore_case = wanted
        .ignore_case
        .is_some_and(|v| !matches!(v.as_str(), "" | "0" | "false"));
    let repo = app.store.repo_by_name(&repo).await?;
    let (lines, receiver) = mpsc::channel(16);
    let pattern = Pattern::text(&text, ignore_case);
    let scan = Scan {
        app,
        repo: repo.id,
        repo_name: repo.name,
        text,
        ignore_case,
        elsewhere: 0,
        pattern,
        left: limit.unwrap_or(HITS).min(MOST_HITS),
        lines,
        builds: 0,
        logs: 0,
        bytes: 0,
    };
    tokio::spawn(scan.run());
    Ok(ndjson(receiver))
}

/// A search on its way.
struct Scan {
    app: App,
    repo: i64,
    repo_name: windlass_model::RepoName,
    text: String,
    ignore_case: bool,
    /// Logs that are only in the archive.
    elsewhere: u64,
    pattern: Pattern,
    /// Rows that may still be found.
    left: usize,
    lines: Lines,
    builds: u64,
    logs: u64,
    bytes: u64,
}

impl Scan {
    async fn run(mut self) {
        // Nobody closes it.
        let _turn = SCANNING.acquire().await;
        let began = Instant::now();
        if let Err(error) = self.all().await {
            let _ = self.lines.send(Err(std::io::Error::other(error))).await;
            return;
        }
        let away = match self.archived().await {
            Ok(away) => away,
            Err(error) => Some(error.to_string()),
        };
        let sum = json!({
            "done": true,
            "elsewhere": self.elsewhere,
            "archive_away": away,
            "builds": self.builds,
            "logs": self.logs,
            "bytes": self.bytes,
            "ms": began.elapsed().as_millis() as u64,
            "more": self.left == 0,
        });
        let _ = self.lines.send(Ok(line(&sum))).await;
    }

    async fn all(&mut self) -> Result<(), FindError> {
        let mut filter = BuildFilter {
            repo_id: Some(self.repo),
            ..BuildFilter::default()
        };
        let mut builds: VecDeque<Build> = VecDeque::new();
        loop {
            if builds.is_empty() {
                builds = self.app.store.builds(&filter, BUILDS).await?.into();
                filter.before = builds.back().map(|build| build.id);
            }
            let Some(build) = builds.pop_front() else {
                return Ok(());
            };
            self.builds += 1;
            let attempts = self.app.store.attempts(build.id).await?;
            let kept = attempts.iter().rev();
            for attempt in kept.filter(|attempt| attempt.logs_removed.is_none()) {
                let steps = self.app.store.steps(attempt.id).await?;
                for step in steps.into_iter().chain(service_steps(attempt)) {
                    if self.left == 0 || self.lines.is_closed() {
                        return Ok(());
                    }
                    // A log that is empty, as most are of steps that never ran.
                    let is_service = service_index(step.index).is_some();
                    if is_service || (step.started_us.is_some() && step.output_bytes != Some(0)) {
                        self.one(&build, attempt, step).await?;
                    }
                }
            }
        }
    }

    /// Asks the archive for logs that are not here; why it did not answer, if it did not.
    async fn archived(&mut self) -> Result<Option<String>, FindError> {
        if self.elsewhere == 0 || self.left == 0 {
            return Ok(None);
        }
        let words = self.text.split(|c: char| !c.is_alphanumeric());
        let words = words
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>()
            .join(" ");
        if words.is_empty() {
            return Ok(Some("it can only be asked for words".to_owned()));
        }
        let name = self.repo_name.clone();
        let found = crate::copies::search(&self.app, &words, Some(&name), self.left).await?;
        if !found.asked {
            return Ok(Some("nothing there can search".to_owned()));
        }
        let wanted = self.text.to_lowercase();
        for (place, step, lines) in found.logs {
            for found in lines {
                let holds = match self.ignore_case {
                    true => found.text.to_lowercase().contains(&wanted),
                    false => found.text.contains(&self.text),
                };
                if !holds || self.left == 0 {
                    continue;
                }
                self.left -= 1;
                let path = urls::line(&place.repo, place.build, place.attempt, step, found.line);
                let hit = json!({
                    "build": place.build,
                    "attempt": place.attempt,
                    "step": step + 1,
                    "name": place.log_name(step),
                    "service": place.service(step),
                    "line": found.line,
                    "text": found.text,
                    "url": format!("{}{path}", self.app.public_url),
                });
                if self.lines.send(Ok(line(&hit))).await.is_err() {
                    return Ok(None);
                }
            }
        }
        Ok(found.away)
    }

    async fn one(
        &mut self,
        build: &Build,
        attempt: &windlass_store::Attempt,
        step: Step,
    ) -> Result<(), FindError> {
        let folder = self.app.log_folder(&attempt.attempt_id());
        let number = step.log_number();
        if self.app.copies.is_some() && !windlass_logs::copy::is_here(&folder, number) {
            self.elsewhere += 1;
            return Ok(());
        }
        let head = json!({
            "build": build.number,
            "attempt": attempt.number,
            "step": step.index + 1,
            "name": step.name,
            "service": service_index(step.index).map(|_| &step.name),
        });
        let page = (build.repo.clone(), build.number, attempt.number, step.index);
        let url = self.app.public_url.clone();
        let (pattern, lines, most) = (self.pattern.clone(), self.lines.clone(), self.left);
        let scanned = tokio::task::spawn_blocking(move || {
            let mut reader = LogReader::open(&folder, number)?;
            let mut hits = 0;
            grep::scan(&mut reader, &pattern, |row, bytes| {
                hits += 1;
                let mut hit = head.clone();
                let path = urls::line(&page.0, page.1, page.2, page.3, row);
                hit["line"] = row.into();
                hit["text"] = text_of(bytes).into();
                hit["url"] = format!("{url}{path}").into();
                lines.blocking_send(Ok(line(&hit))).is_ok() && hits < most
            })?;
            Ok::<_, windlass_logs::LogError>((hits, reader.len()))
        });
        let (hits, bytes) = scanned.await??;
        self.left -= hits;
        self.logs += 1;
        self.bytes += bytes;
        Ok(())
    }
}
