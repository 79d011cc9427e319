//! What a viewer asks about a step's log, as JSON: windows of rendered rows, searches, groups.
//!
//! | path | query | what comes |
//! | --- | --- | --- |
//! | `.../log/rows` | `from`, `count`, `raw=1`, and as for a search | rows as HTML, notes, figures |
//! | `.../log/search` | `q`, `case=1`, `literal=1`, `limit`, `context` | a line of JSON per hit, as they are found, then the figures |
//! | `.../log/search` | the same with `from=N` and `dir=next` or `dir=prev` | the nearest hit |
//! | `.../log/groups` | | the folds of the log |
//!
//! A search is a scan that goes on as long as somebody reads: a closed connection ends it. It holds
//! one piece of the log.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use windlass_logs::{Fold, Folds, LogError, LogReader, NoteKind, Search, SearchOptions};

use crate::error::WebError;
use crate::log_rows::{self, NoteView, ROW_SHOWN, Row, Rows};
use crate::places::{Place, StepPath, find_place, number_in};
use crate::state::App;

/// Rows in one window, at most.
const MOST_ROWS: usize = 2_000;
/// About how many bytes of log are in one window.
const WINDOW_BYTES: usize = 2 * 1024 * 1024;
/// Hits that are told one by one; the rest is counted.
const MOST_HITS: u64 = 10_000;
/// Characters of a hit's text.
const TEXT_SHOWN: usize = 1_000;
/// Parts of the log for which hits are counted: what a map beside the log shows.
const PARTS: usize = 400;

/// What is looked for, in a query.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Wanted {
    #[serde(default)]
    pub(crate) q: String,
    case: Option<String>,
    literal: Option<String>,
}

impl Wanted {
    /// The search; `None` if nothing is looked for.
    pub(crate) fn search(&self) -> Result<Option<Search>, WebError> {
        if self.q.is_empty() {
            return Ok(None);
        }
        search(&self.q, self.case_sensitive(), self.literal()).map(Some)
    }

    pub(crate) fn case_sensitive(&self) -> bool {
        is_on(self.case.as_ref())
    }

    pub(crate) fn literal(&self) -> bool {
        is_on(self.literal.as_ref())
    }
}

/// A pattern of a query, compiled.
pub(crate) fn search(pattern: &str, case: bool, literal: bool) -> Result<Search, WebError> {
    let options = SearchOptions {
        case_sensitive: case,
        literal,
    };
    Search::new(pattern, options).map_err(|error| {
        let words = error.to_string();
        let (message, hint) = words.rsplit_once('\n').unwrap_or((&words, ""));
        WebError::new(StatusCode::UNPROCESSABLE_ENTITY, message).hint(hint)
    })
}

/// Whether a switch in a query is on.
pub(crate) fn is_on(value: Option<&String>) -> bool {
    value.is_some_and(|v| !matches!(v.as_str(), "" | "0" | "false"))
}

#[derive(Deserialize)]
pub(crate) struct RowsAsked {
    attempt: Option<String>,
    from: Option<String>,
    count: Option<String>,
    raw: Option<String>,
    #[serde(flatten)]
    wanted: Wanted,
}

#[derive(Serialize)]
struct RowsAnswer {
    /// The first and the last row that were looked at, from 1. Numbers between them that no row
    /// bears were drawn over.
    first: u64,
    last: u64,
    /// Rows and bytes of the log so far, and whether more may come.
    total: u64,
    bytes: u64,
    complete: bool,
    rows: Vec<Row>,
    notes: Vec<NoteView>,
}

async fn place_of(app: &App, path: &StepPath, attempt: Option<&String>) -> Result<Place, WebError> {
    let place = find_place(app, path, attempt).await?;
    if place.step().is_none() {
        return Err(place.no_step());
    }
    Ok(place)
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}/log/rows`
pub(crate) async fn rows(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<RowsAsked>,
) -> Result<Response, WebError> {
    let from = number_in::<u64>("from", asked.from.as_ref())?.unwrap_or(1);
    let count = number_in::<usize>("count", asked.count.as_ref())?.unwrap_or(500);
    let search = asked.wanted.search()?;
    let place = place_of(&app, &path, asked.attempt.as_ref()).await?;
    let folder = app.log_folder(&place.attempt.attempt_id());
    let (step, raw) = (place.log_step(), is_on(asked.raw.as_ref()));
    let over = place.is_over();
    let answer = tokio::task::spawn_blocking(move || {
        let mut log = Rows::open(&folder, step)?.raw(raw).marking(search);
        let total = log.reader.rows();
        log.seek(from.saturating_sub(1).min(total))?;
        let batch = log.read(count.min(MOST_ROWS), WINDOW_BYTES, false)?;
        let mut notes = log_rows::notes(&log.reader, 0);
        let at_end = batch.last >= total;
        notes.retain(|note| {
            note.after + 1 >= batch.first && (note.after < batch.last || at_end)
                || note.after == batch.last
        });
        Ok::<_, LogError>(RowsAnswer {
            first: batch.first,
            last: batch.last,
            total,
            bytes: log.reader.len(),
            complete: log.reader.is_complete() || over,
            rows: batch.rows,
            notes,
        })
    })
    .await??;
    Ok(Json(answer).into_response())
}

/// The groups of sealed logs that were looked at last, by step and SHA-256: every page that is opened asks for
/// them. The bytes alone would not do: the times of another step with the same output are others.
static KNOWN: Mutex<VecDeque<(String, Vec<Fold>)>> = Mutex::new(VecDeque::new());
const MOST_KNOWN: usize = 32;

/// Scans that go on at the same time: they work, and must not keep the readers of logs waiting.
static SCANS: Semaphore = Semaphore::const_new(4);

fn known_folds(log: &str) -> Option<Vec<Fold>> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let found = known.iter().find(|(known, _)| known == log)?;
    Some(found.1.clone())
}

#[derive(Deserialize)]
pub(crate) struct GroupsAsked {
    attempt: Option<String>,
}

#[derive(Serialize)]
struct GroupsAnswer {
    /// Rows of the log that were looked at.
    rows: u64,
    groups: Vec<Fold>,
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}/log/groups`
pub(crate) async fn groups(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<GroupsAsked>,
) -> Result<Response, WebError> {
    let place = place_of(&app, &path, asked.attempt.as_ref()).await?;
    let attempt = place.attempt.attempt_id();
    let folder = app.log_folder(&attempt);
    let step = place.log_step();
    let traced = place
        .planned()
        .is_some_and(|step| windlass_logs::group::traces(&step.argv, &step.script));
    let mut folds = Folds::new(traced).map_err(|error| WebError::internal(&error))?;
    let mut reader = tokio::task::spawn_blocking(move || LogReader::open(&folder, step)).await??;
    let rows = reader.rows();
    // What a sealed log holds never changes.
    let sealed = reader.meta();
    let sealed = sealed.map(|meta| format!("{attempt}/{step} {}", meta.sha256));
    let ended = reader.notes().iter().rev();
    let ended = ended.filter(|note| matches!(note.kind, NoteKind::Ended(_)));
    let end_us = ended.map(|note| note.time_us).next();
    if let Some(known) = sealed.as_deref().and_then(known_folds) {
        return Ok(Json(GroupsAnswer {
            rows,
            groups: known,
        })
        .into_response());
    }
    // Piece by piece: who goes away stops it, and no other reader waits for a thread.
    loop {
        let turn = SCANS.acquire().await;
        let more;
        (reader, folds, more) = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let more = folds.step(&mut reader)?;
            Ok::<_, LogError>((reader, folds, more))
        })
        .await??;
        if !more {
            break;
        }
    }
    // Counted from 1, as everywhere outside.
    let groups = folds.folds(rows, end_us).into_iter().map(|fold| Fold {
        first: fold.first + 1,
        last: fold.last + 1,
        ..fold
    });
    let groups: Vec<Fold> = groups.collect();
    if let Some(sealed) = sealed {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(log, _)| *log != sealed);
        if known.len() >= MOST_KNOWN {
            known.pop_front();
        }
        known.push_back((sealed, groups.clone()));
    }
    Ok(Json(GroupsAnswer { rows, groups }).into_response())
}

#[derive(Deserialize)]
pub(crate) struct SearchAsked {
    attempt: Option<String>,
    from: Option<String>,
    dir: Option<String>,
    limit: Option<String>,
    context: Option<String>,
    #[serde(flatten)]
    wanted: Wanted,
}

/// A hit, as it is told.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HitView {
    /// The row, from 1.
    pub(crate) line: u64,
    /// Its text without colours, cut where it is long.
    pub(crate) text: String,
    /// Where the matches are in it: begin and end in UTF-16 units, as JavaScript counts. Empty
    /// where the text that was found was overwritten within its row.
    pub(crate) spans: Vec<(usize, usize)>,
    /// Rows around it, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) context: Vec<ContextView>,
}

/// A row beside a hit.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ContextView {
    pub(crate) line: u64,
    pub(crate) text: String,
}

#[derive(Serialize)]
struct Nearest {
    hit: Option<HitView>,
}

/// How far a search is.
#[derive(Serialize)]
struct Progress {
    /// Rows that were looked at.
    at: u64,
    /// Rows of the log.
    of: u64,
    /// Rows that matched.
    hits: u64,
}

/// The last line of a search.
#[derive(Serialize)]
struct Done {
    done: bool,
    hits: u64,
    rows: u64,
    /// Hits in each of the log's parts, which are equally long.
    parts: Vec<u32>,
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}/log/search`
pub(crate) async fn find(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<SearchAsked>,
) -> Result<Response, WebError> {
    let Some(search) = asked.wanted.search()? else {
        return Err(WebError::bad_request("there is nothing to search for")
            .hint("write it into `q`: a regular expression, or text with `literal=1`"));
    };
    let from: Option<u64> = number_in("from", asked.from.as_ref())?;
    let limit = number_in("limit", asked.limit.as_ref())?.unwrap_or(MOST_HITS);
    let context: u64 = number_in("context", asked.context.as_ref())?.unwrap_or(0);
    let back = match asked.dir.as_deref() {
        None | Some("" | "next") => false,
        Some("prev") => true,
        Some(_) => return Err(WebError::bad_request("`dir` is `next` or `prev`")),
    };
    let place = place_of(&app, &path, asked.attempt.as_ref()).await?;
    let folder = app.log_folder(&place.attempt.attempt_id());
    let step = place.log_step();
    let reader = tokio::task::spawn_blocking(move || LogReader::open(&folder, step)).await??;
    let mut scan = Scan {
        rows: reader.rows(),
        reader,
        search,
        next: 0,
        hits: 0,
        limit: limit.min(MOST_HITS),
        context: context.min(20),
        parts: vec![0; PARTS],
        told_at: Instant::now(),
        done: false,
    };
    if let Some(from) = from {
        let hit = nearest(scan, from, back).await?;
        return Ok(Json(Nearest { hit }).into_response());
    }
    // What is found at once goes out at once.
    scan.told_at -= std::time::Duration::from_secs(1);
    let lines = stream::unfold(Some(scan), |scan| async {
        let (bytes, scan) = scan?.next().await?;
        Some((Ok::<_, Infallible>(bytes), scan))
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// A search that is under way.
struct Scan {
    reader: LogReader,
    search: Search,
    rows: u64,
    next: u64,
    hits: u64,
    limit: u64,
    context: u64,
    parts: Vec<u32>,
    told_at: Instant,
    done: bool,
}

impl Scan {
    /// The next lines for the reader: hits, or how far it is.
    async fn next(mut self) -> Option<(Bytes, Option<Self>)> {
        loop {
            let turn = SCANS.acquire().await;
            let stepped = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                let lines = self.step()?;
                Ok::<_, LogError>((self, lines))
            });
            let lines;
            (self, lines) = match stepped.await.map_err(|e| e.to_string()) {
                Ok(Ok(stepped)) => stepped,
                Ok(Err(error)) => return Some(failed(&error.to_string())),
                Err(error) => return Some(failed(&error)),
            };
            if self.done {
                return Some((lines.into(), None));
            }
            if !lines.is_empty() {
                return Some((lines.into(), Some(self)));
            }
        }
    }

    /// Looks at one piece of the log. Blocks.
    fn step(&mut self) -> Result<Vec<u8>, LogError> {
        let mut found = Vec::new();
        let next = self.search.step(&mut self.reader, self.next, |hit| {
            found.push(hit.row);
            true
        })?;
        let mut out = Vec::new();
        for row in found {
            let part = row * PARTS as u64 / self.rows.max(1);
            if let Some(part) = self.parts.get_mut(part as usize) {
                *part += 1;
            }
            self.hits += 1;
            if self.hits <= self.limit
                && let Some(hit) = view(&mut self.reader, &mut self.search, row, self.context)?
            {
                line(&mut out, &hit);
            }
        }
        if next == self.next || next >= self.rows {
            self.done = true;
            let parts = std::mem::take(&mut self.parts);
            line(
                &mut out,
                &Done {
                    done: true,
                    hits: self.hits,
                    rows: self.rows,
                    parts,
                },
            );
        } else if self.told_at.elapsed().as_millis() >= 100 {
            self.told_at = Instant::now();
            line(
                &mut out,
                &Progress {
                    at: next,
                    of: self.rows,
                    hits: self.hits,
                },
            );
        }
        self.next = next;
        Ok(out)
    }
}

fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    // These types have nothing that JSON has not.
    if serde_json::to_writer(&mut *out, value).is_ok() {
        out.push(b'\n');
    }
}

fn failed(error: &str) -> (Bytes, Option<Scan>) {
    tracing::error!(error, "a search ends early");
    let words =
        "{\"error\":\"the log could not be read to its end: the reason is in the server's log\"}\n";
    (Bytes::from_static(words.as_bytes()), None)
}

/// A hit with its text.
pub(crate) fn view(
    reader: &mut LogReader,
    search: &mut Search,
    row: u64,
    context: u64,
) -> Result<Option<HitView>, LogError> {
    let first = row.saturating_sub(context);
    let metas = reader.row_range(first, (row + context + 1 - first) as usize)?;
    let (mut hit, mut around, mut bytes) = (None, Vec::new(), Vec::new());
    for meta in metas {
        reader.row_bytes(&meta, &mut bytes)?;
        bytes.truncate(ROW_SHOWN);
        let (text, spans) = log_rows::spans(search, &bytes);
        let line = meta.number + 1;
        // What lies behind the cut is not pointed at.
        let text = crate::text::cut(&text, TEXT_SHOWN);
        if meta.number == row {
            let units = text.encode_utf16().count();
            hit = Some(HitView {
                line,
                spans: spans.into_iter().filter(|(_, end)| *end <= units).collect(),
                text,
                context: Vec::new(),
            });
        } else {
            around.push(ContextView { line, text });
        }
    }
    Ok(hit.map(|hit| HitView {
        context: around,
        ..hit
    }))
}

/// The nearest hit at `from` or behind it, or before it. (Rows from 1.)
async fn nearest(mut scan: Scan, from: u64, back: bool) -> Result<Option<HitView>, WebError> {
    scan.next = from.saturating_sub(1);
    loop {
        let turn = SCANS.acquire().await;
        let found;
        (scan, found) = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let mut row = None;
            let over = if back {
                match scan.search.step_back(&mut scan.reader, scan.next)? {
                    Ok(hit) => row = Some(hit),
                    Err(next) => scan.next = next,
                }
                scan.next == 0
            } else {
                let next = scan.search.step(&mut scan.reader, scan.next, |hit| {
                    row = Some(hit.row);
                    false
                })?;
                let over = next == scan.next;
                scan.next = next;
                over
            };
            let found = match row {
                Some(row) => Some(view(&mut scan.reader, &mut scan.search, row, 0)?),
                None if over => Some(None),
                None => None,
            };
            Ok::<_, LogError>((scan, found))
        })
        .await??;
        if let Some(answer) = found {
            return Ok(answer);
        }
    }
}
