//! A step's log as text, for `curl` and for machines.
//!
//! | query | what comes |
//! | --- | --- |
//! | (none) | the log's bytes; `Range` works, also while the log grows |
//! | `follow=1` | from `from` (an offset, 0 by default) to the step's end, as it is written |
//! | `tail=N` | the last N rows; with `follow=1` everything after them, too |
//! | `lines=A-B` | these rows, the first is 1; `lines=A-` and `lines=A` work |
//! | `strip=ansi` | without colours and other terminal sequences; goes with all of the above |
//! | `timestamps=1` | the time at which it came before each line, RFC 3339 |
//! | `numbers=1` | its number and a `:` before each line |
//! | `grep=PATTERN` | only lines that match this regular expression; `case=1`, `literal=1` |
//! | `context=N` | with `grep`: N lines around each, too |
//!
//! A sealed log is kept compressed; whoever takes `Accept-Encoding: zstd` is sent it as it is kept. Who
//! takes only gzip is sent it compressed on the way, piece by piece.
//!
//! `X-Windlass-Log-Complete` says whether more may come, `X-Windlass-Next-Offset` from where: ask
//! with `Range: bytes=OFFSET-` or `follow=1&from=OFFSET`.
//!
//! Nothing is kept in memory but one piece of the log that is being sent and one that is being
//! read. A slow reader holds no thread: each piece is a short visit to the blocking pool.

use std::ops::Range;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::task::JoinHandle;
use tokio::time::{Duration, sleep};
use tokio_util::io::ReaderStream;
use windlass_logs::{LogError, LogReader, Stripper};

use crate::coding::{Coding, Gzip};
use crate::error::WebError;
use crate::log_find::{is_on, search};
use crate::log_lines::Lines;
use crate::places::{Place, StepPath, find_place, number_in};
use crate::state::App;

/// Bytes per piece: large enough that the work per piece does not count.
const PIECE: usize = 256 * 1024;
/// Bytes per piece of a log that is followed: every follower may hold one that it does not take.
const FOLLOWED_PIECE: usize = 64 * 1024;
/// Shorter logs are not compressed on the way.
const GZIP_FROM: u64 = 1024;
/// Lines around one that `grep` finds, at most.
const MOST_CONTEXT: u64 = 100;
/// How often a log is looked at, at least, while it is followed.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
    follow: Option<String>,
    from: Option<String>,
    tail: Option<String>,
    lines: Option<String>,
    strip: Option<String>,
    timestamps: Option<String>,
    numbers: Option<String>,
    grep: Option<String>,
    context: Option<String>,
    case: Option<String>,
    literal: Option<String>,
}

impl Asked {
    /// What is done row by row, if anything is.
    fn lines(&self, strip: Option<&Stripper>) -> Result<Option<Lines>, WebError> {
        let stamps = match self.timestamps.as_deref() {
            None | Some("" | "0" | "false") => false,
            Some("1" | "true" | "rfc3339") => true,
            Some(_) => {
                return Err(WebError::bad_request(
                    "`timestamps` knows only `1` and `rfc3339`",
                ));
            }
        };
        let numbers = is_on(self.numbers.as_ref());
        let context = number_in("context", self.context.as_ref())?.unwrap_or(0);
        if context > MOST_CONTEXT {
            return Err(WebError::bad_request(format!(
                "`context` is at most {MOST_CONTEXT}"
            )));
        }
        let pattern = self.grep.as_deref().filter(|pattern| !pattern.is_empty());
        if !stamps && !numbers && pattern.is_none() {
            return Ok(None);
        }
        let lines = Lines::new(strip.cloned(), stamps, numbers);
        let Some(pattern) = pattern else {
            return Ok(Some(lines));
        };
        let (case, literal) = (is_on(self.case.as_ref()), is_on(self.literal.as_ref()));
        let search = search(pattern, case, literal)?;
        Ok(Some(lines.grep(search, context)))
    }
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}/log`
pub(crate) async fn log(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    let place = find_place(&app, &path, asked.attempt.as_ref()).await?;
    let follow = asked
        .follow
        .as_deref()
        .is_some_and(|v| !matches!(v, "" | "0" | "false"));
    let strip = match asked.strip.as_deref() {
        None | Some("") => None,
        Some("ansi") => Some(Stripper::new()),
        Some(_) => return Err(WebError::bad_request("`strip` knows only `ansi`")),
    };
    let made = asked.lines(strip.as_ref())?;
    let tail: Option<u64> = number_in("tail", asked.tail.as_ref())?;
    let from: Option<u64> = number_in("from", asked.from.as_ref())?;
    let lines = asked
        .lines
        .as_deref()
        .filter(|l| !l.is_empty())
        .map(line_range)
        .transpose()?;
    let may_wait = follow && !place.is_over() && place.steps.is_empty();
    if place.step().is_none() && !may_wait {
        return Err(place.no_step());
    }

    let folder = app.log_folder(&place.attempt.attempt_id());
    let step = place.log_step();
    let hub_bell = app.hub.subscribe(place.attempt.attempt_id().as_str());
    let (reader, range) = tokio::task::spawn_blocking(move || {
        let mut reader = LogReader::open(&folder, step)?;
        let range = wanted(&mut reader, tail, from, lines)?;
        Ok::<_, LogError>((reader, range))
    })
    .await??;
    let complete = reader.is_complete() || place.is_over();
    let sections = tail.is_some() || from.is_some() || lines.is_some();

    let mut out = HeaderMap::new();
    let mut put = |name: HeaderName, value: String| {
        // Numbers and hex digits are always a legal header.
        if let Ok(value) = HeaderValue::try_from(value) {
            out.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned());
    put(LOG_COMPLETE, complete.to_string());
    put(NEXT_OFFSET, reader.len().to_string());
    // Not a page: no log of a build may run as one, whatever it holds.
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned());

    if follow {
        put(
            HeaderName::from_static("x-accel-buffering"),
            "no".to_owned(),
        );
        put(header::CACHE_CONTROL, "no-store".to_owned());
        let end = lines.and_then(|_| complete.then_some(range.end));
        let follower = Follower {
            app,
            place,
            hub_bell,
            source: Some(Source::new(reader, strip, made, true)),
            at: range.start,
            end: end.unwrap_or(u64::MAX),
        };
        return Ok((out, Body::from_stream(follower.stream())).into_response());
    }
    if strip.is_some() || made.is_some() {
        let source = Source::new(reader, strip, made, false);
        return Ok((out, Body::from_stream(pieces(source, range))).into_response());
    }
    let mut range = range;
    let mut status = StatusCode::OK;
    if !sections {
        put(header::ACCEPT_RANGES, "bytes".to_owned());
        put(header::VARY, "accept-encoding".to_owned());
        let compressed = reader.compressed();
        // A log that grows has no whole yet.
        let is_whole = complete && reader.len() >= GZIP_FROM;
        let coding = Coding::choose(&headers, compressed.is_some(), is_whole);
        let etag = reader
            .meta()
            .map(|meta| format!("\"{}{}\"", meta.sha256, coding.tag()));
        if let Some(etag) = &etag {
            put(header::ETAG, etag.clone());
            if text(&headers, header::IF_NONE_MATCH).is_some_and(|given| has_etag(given, etag)) {
                return Ok((StatusCode::NOT_MODIFIED, out).into_response());
            }
        }
        if let Some(name) = coding.name() {
            put(header::CONTENT_ENCODING, name.to_owned());
        }
        match (coding, compressed) {
            (Coding::Zstd, Some((file, len))) => {
                put(header::CONTENT_LENGTH, len.to_string());
                let file = tokio::fs::File::from_std(file);
                let body = Body::from_stream(ReaderStream::with_capacity(file, PIECE));
                return Ok((out, body).into_response());
            }
            (Coding::Gzip, _) => {
                let source = Source {
                    gzip: Some(Gzip::new()),
                    ..Source::new(reader, None, None, false)
                };
                return Ok((out, Body::from_stream(pieces(source, range))).into_response());
            }
            _ => {}
        }
        let same =
            text(&headers, header::IF_RANGE).is_none_or(|given| Some(given) == etag.as_deref());
        let asked = text(&headers, header::RANGE).filter(|_| same);
        match asked.map_or(Part::Whole, |asked| part(asked, reader.len())) {
            Part::Whole => {}
            Part::Bytes(bytes) => {
                let (first, last, len) = (bytes.start, bytes.end - 1, reader.len());
                put(header::CONTENT_RANGE, format!("bytes {first}-{last}/{len}"));
                status = StatusCode::PARTIAL_CONTENT;
                range = bytes;
            }
            Part::Outside => {
                put(header::CONTENT_RANGE, format!("bytes */{}", reader.len()));
                let error = WebError::new(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    format!("the log has {} bytes so far", reader.len()),
                );
                return Ok((out, error).into_response());
            }
        }
    }
    put(
        header::CONTENT_LENGTH,
        (range.end - range.start).to_string(),
    );
    let body = Body::from_stream(pieces(Source::new(reader, None, None, false), range));
    Ok((status, out, body).into_response())
}

const LOG_COMPLETE: HeaderName = HeaderName::from_static("x-windlass-log-complete");
const NEXT_OFFSET: HeaderName = HeaderName::from_static("x-windlass-next-offset");

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn has_etag(given: &str, etag: &str) -> bool {
    given
        .split(',')
        .map(str::trim)
        .any(|one| one == "*" || one.trim_start_matches("W/") == etag)
}

/// `10-20`, `10-` or `10`; from 1, both ends included.
pub(crate) fn line_range(text: &str) -> Result<(u64, Option<u64>), WebError> {
    let bad = || {
        WebError::bad_request(format!("`lines` is not a range of lines: {text}"))
            .hint("write lines=10-20, lines=10- or lines=10; the first line is 1")
    };
    let (first, last) = match text.split_once('-') {
        Some((first, "")) => (first, None),
        Some((first, last)) => (first, Some(last)),
        None => (text, Some(text)),
    };
    let first: u64 = first.parse().map_err(|_| bad())?;
    let last: Option<u64> = last.map(|l| l.parse().map_err(|_| bad())).transpose()?;
    if first == 0 || last.is_some_and(|last| last < first) {
        return Err(bad());
    }
    Ok((first, last))
}

/// The bytes that the query means.
fn wanted(
    reader: &mut LogReader,
    tail: Option<u64>,
    from: Option<u64>,
    lines: Option<(u64, Option<u64>)>,
) -> Result<Range<u64>, LogError> {
    let len = reader.len();
    let mut start_of = |row: u64| Ok::<_, LogError>(reader.row(row)?.map_or(len, |row| row.offset));
    let (start, end) = match (lines, tail) {
        (Some((first, last)), _) => {
            let end = last.map_or(Ok(len), &mut start_of)?;
            (start_of(first - 1)?, end)
        }
        (None, Some(tail)) => {
            let rows = reader.rows();
            let first = reader.row(rows.saturating_sub(tail))?;
            (
                first.filter(|_| tail > 0).map_or(len, |row| row.offset),
                len,
            )
        }
        // An offset behind the end is one that a recovering recorder has yet to reach again.
        (None, None) => (from.unwrap_or(0), len.max(from.unwrap_or(0))),
    };
    Ok(start..end)
}

/// What a `Range` header means. Anything but one range of bytes is answered with the whole, as
/// RFC 9110 (section 14.2) allows.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Bytes(Range<u64>),
    Outside,
}

fn part(header: &str, len: u64) -> Part {
    let Some((first, last)) = header
        .strip_prefix("bytes=")
        .and_then(|r| r.trim().split_once('-'))
    else {
        return Part::Whole;
    };
    match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Part::Whole,
        (Ok(first), _) if first >= len && (last.is_empty() || last.parse::<u64>().is_ok()) => {
            Part::Outside
        }
        (Ok(first), Ok(last)) => Part::Bytes(first..last.saturating_add(1).min(len)),
        (Ok(first), Err(_)) if last.is_empty() => Part::Bytes(first..len),
        (Err(_), Ok(0)) if first.is_empty() => Part::Outside,
        (Err(_), Ok(_)) if first.is_empty() && len == 0 => Part::Outside,
        (Err(_), Ok(n)) if first.is_empty() => Part::Bytes(len.saturating_sub(n)..len),
        _ => Part::Whole,
    }
}

/// A log and what is done with its bytes.
struct Source {
    reader: LogReader,
    strip: Option<Stripper>,
    /// What is done row by row; it strips, too.
    lines: Option<Lines>,
    /// What compresses the bytes as they are.
    gzip: Option<Gzip>,
    /// Whether more is waited for.
    grows: bool,
}

/// What was read: bytes to send, and where to read on.
struct Piece {
    bytes: Bytes,
    next: u64,
}

impl Source {
    fn new(reader: LogReader, strip: Option<Stripper>, lines: Option<Lines>, grows: bool) -> Self {
        Self {
            reader,
            strip,
            lines,
            gzip: None,
            grows,
        }
    }

    /// Reads a piece at `at`, not beyond `end`. Blocks.
    fn read(&mut self, at: u64, end: u64) -> Result<Piece, LogError> {
        let end = end.min(self.reader.len());
        if let Some(lines) = &mut self.lines {
            let (bytes, next) = lines.read(&mut self.reader, at, end, self.grows)?;
            let bytes = bytes.into();
            return Ok(Piece { bytes, next });
        }
        let room = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        let most = if self.grows { FOLLOWED_PIECE } else { PIECE };
        let mut buffer = vec![0; room.min(most)];
        let read = self.reader.read_at(at, &mut buffer)?;
        buffer.truncate(read);
        let Some(strip) = &mut self.strip else {
            let next = at + read as u64;
            let bytes = match &mut self.gzip {
                Some(gzip) => gzip.piece(&buffer, next == end).map_err(LogError::Output)?,
                None => buffer.into(),
            };
            return Ok(Piece { bytes, next });
        };
        // Only whole rows can be stripped; the rest of the piece is read again. What is behind
        // the last line end is whole if nothing can be added to it.
        let is_last = at + read as u64 == end;
        let line_end = buffer.iter().rposition(|b| *b == b'\n');
        let whole = match line_end {
            _ if is_last && (!self.grows || self.reader.is_complete()) => read,
            Some(last) => last + 1,
            // A line longer than a piece.
            None if read == most => read,
            None => 0,
        };
        let mut text = String::with_capacity(whole);
        for row in buffer[..whole].split_inclusive(|b| *b == b'\n') {
            strip.row(row, &mut text);
        }
        Ok(Piece {
            bytes: text.into(),
            next: at + whole as u64,
        })
    }
}

type Reading = JoinHandle<(Source, Result<Piece, LogError>)>;

fn begin(mut source: Source, at: u64, end: u64) -> Reading {
    tokio::task::spawn_blocking(move || {
        let piece = source.read(at, end);
        (source, piece)
    })
}

/// The bytes in `range`, the next piece being read while one is sent.
fn pieces(
    source: Source,
    range: Range<u64>,
) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let reading = (range.start < range.end).then(|| begin(source, range.start, range.end));
    stream::unfold((reading, range), |(reading, range)| async move {
        let (source, piece) = match reading?.await {
            Ok((source, Ok(piece))) => (source, piece),
            Ok((_, Err(error))) => {
                tracing::error!(%error, "a log could not be sent to its end");
                return Some((Err(std::io::Error::other(error)), (None, range)));
            }
            Err(error) => return Some((Err(std::io::Error::other(error)), (None, range))),
        };
        let is_made = source.strip.is_some() || source.lines.is_some();
        if piece.next == range.start {
            // Cut short (a recovering recorder), or the start of a row that is not whole yet.
            let short = !is_made && piece.next < range.end;
            let error = short.then(|| Err(std::io::Error::other("the log became shorter")));
            return error.map(|error| (error, (None, range)));
        }
        let range = piece.next..range.end;
        let next = (range.start < range.end).then(|| begin(source, range.start, range.end));
        Some((Ok(piece.bytes), (next, range)))
    })
}

/// A log that is sent as it is written.
struct Follower {
    app: App,
    place: Place,
    hub_bell: tokio::sync::watch::Receiver<u64>,
    /// `None` only while a piece is being read.
    source: Option<Source>,
    at: u64,
    end: u64,
}

impl Follower {
    fn stream(self) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
        stream::unfold(self, |mut follower| async {
            let item = follower.next().await?;
            Some((item, follower))
        })
    }

    async fn next(&mut self) -> Option<Result<Bytes, std::io::Error>> {
        loop {
            if self.app.shutdown.is_cancelled() || self.at >= self.end {
                return None;
            }
            // Both before reading: what comes later rings again, and what the store calls over is
            // in the file already.
            self.hub_bell.borrow_and_update();
            let over = self.place.is_over();
            let mut source = self.source.take()?;
            let (at, end) = (self.at, self.end);
            let done = tokio::task::spawn_blocking(move || {
                // Looking at the files again costs more than reading on in what is known.
                if at >= source.reader.len() || source.strip.is_some() || source.lines.is_some() {
                    source.reader.refresh()?;
                }
                let piece = source.read(at, end)?;
                Ok::<_, LogError>((source, piece))
            });
            let (source, piece) = match done.await.map_err(std::io::Error::other) {
                Ok(Ok(done)) => done,
                Ok(Err(error)) => return Some(Err(std::io::Error::other(error))),
                Err(error) => return Some(Err(error)),
            };
            let complete = source.reader.is_complete();
            self.source = Some(source);
            if piece.next > self.at {
                self.at = piece.next;
                return Some(Ok(piece.bytes));
            }
            if complete || over {
                return None;
            }
            tokio::select! {
                // The hub lives as long as the server: an error can't come.
                _ = self.hub_bell.changed() => {}
                () = sleep(LOOK_AGAIN) => self.read_store().await,
                () = self.app.shutdown.cancelled() => return None,
            }
        }
    }

    /// A step that never runs has no log that could say so.
    async fn read_store(&mut self) {
        let id = self.place.attempt.id;
        if let (Ok(attempt), Ok(steps)) = (
            self.app.store.attempt_by_id(id).await,
            self.app.store.steps(id).await,
        ) {
            (self.place.attempt, self.place.steps) = (attempt, steps);
            let unknown = !self.place.steps.is_empty() && self.place.step().is_none();
            if unknown {
                self.end = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_mean_what_rfc_9110_says() {
        for (header, part_) in [
            ("bytes=0-4", Part::Bytes(0..5)),
            ("bytes=2-", Part::Bytes(2..10)),
            ("bytes=-3", Part::Bytes(7..10)),
            ("bytes=-30", Part::Bytes(0..10)),
            ("bytes=9-99", Part::Bytes(9..10)),
            ("bytes=10-", Part::Outside),
            ("bytes=10-12", Part::Outside),
            ("bytes=-0", Part::Outside),
            ("bytes=5-4", Part::Whole),
            ("bytes=0-1,4-5", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("lines=1-2", Part::Whole),
            ("bytes=0-18446744073709551615", Part::Bytes(0..10)),
        ] {
            assert_eq!(part(header, 10), part_, "{header}");
        }
        assert_eq!(part("bytes=0-", 0), Part::Outside);
    }

    #[test]
    fn lines_are_counted_from_one() {
        assert_eq!(line_range("10-20").unwrap(), (10, Some(20)));
        assert_eq!(line_range("10-").unwrap(), (10, None));
        assert_eq!(line_range("10").unwrap(), (10, Some(10)));
        for bad in ["0-1", "2-1", "a", "-5", "1-2-3", "1-x"] {
            assert!(line_range(bad).is_err(), "{bad}");
        }
    }
}
