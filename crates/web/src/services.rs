//! The logs of a job's services as text: each alone, or all of them with the job's own steps, in the order of
//! time.

use std::path::{Path, PathBuf};

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use windlass_logs::LogReader;
use windlass_logs::copy::is_here;
use windlass_logs::service::stamped;
use windlass_store::queue::Phase;
use windlass_store::{Attempt, Step};

use crate::copies::bring_back;
use crate::error::WebError;
use crate::places::{BuildPath, find_attempt, service_index, service_steps, still_kept};
use crate::state::App;

/// More is not put into an order at once.
const MOST: u64 = 32 << 20;

/// Rows of a step that are read at once.
const ROWS: usize = 4096;

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
    /// Which one; all, with the steps, if none is named.
    service: Option<String>,
}

/// The services of an attempt whose logs are kept, here or elsewhere: the numbers of their logs, and their names.
pub(crate) fn kept(app: &App, attempt: &Attempt) -> Vec<(i64, String)> {
    if attempt.logs_removed.is_some() {
        return Vec::new();
    }
    let folder = app.log_folder(&attempt.attempt_id());
    let may_be_elsewhere = app.copies.is_some() && attempt.phase == Phase::Done;
    let kept = |step: &Step| {
        may_be_elsewhere
            || is_here(&folder, step.log_number())
            || old_file(&folder, &step.name).is_file()
    };
    let all = service_steps(attempt).into_iter().filter(kept);
    all.map(|step| (step.index, step.name)).collect()
}

/// Where servers before this kept what a service printed, each line with the engine's time stamp.
fn old_file(folder: &Path, service: &str) -> PathBuf {
    folder.join("services").join(format!("{service}.log"))
}

/// `GET /repos/{repo}/builds/{number}/services`
pub(crate) async fn log(
    State(app): State<App>,
    path: BuildPath,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let (_, attempt) = find_attempt(&app, &path, asked.attempt.as_ref()).await?;
    still_kept(&attempt)?;
    // Only names of the plan lead to files.
    let kept = kept(&app, &attempt);
    let services = service_steps(&attempt).into_iter();
    let services = services.filter(|step| kept.iter().any(|(index, _)| *index == step.index));
    let wanted = asked.service.filter(|name| !name.is_empty());
    let sources: Vec<Step> = match &wanted {
        Some(name) => services.filter(|step| step.name == *name).collect(),
        None => {
            let steps = app.store.steps(attempt.id).await?;
            steps.into_iter().chain(services).collect()
        }
    };
    if let (Some(name), []) = (&wanted, &sources[..]) {
        return Err(WebError::not_found(format!("log of a service {name} here"))
            .hint("the logs of services are kept when their job is over"));
    }
    let too_large = || {
        WebError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the logs are too large to be put into one order",
        )
        .hint("read each alone: `?service=NAME`, and the steps' own logs")
    };
    let known = sources.iter().filter_map(|step| step.output_bytes);
    if known.sum::<i64>() > MOST as i64 {
        return Err(too_large());
    }
    let folder = app.log_folder(&attempt.attempt_id());
    let mut missing = Vec::new();
    for step in &sources {
        if old_file(&folder, &step.name).is_file() && service_index(step.index).is_some() {
            continue;
        }
        match bring_back(&app, &attempt, step).await {
            // One that is lost hides no other.
            Err(error) if error.status() == StatusCode::GONE && wanted.is_none() => {
                missing.push(format!("{}: {}\n", who(step), error.into_words().0));
            }
            done => done?,
        }
    }
    let text = tokio::task::spawn_blocking(move || match wanted {
        Some(_) => alone(&folder, &sources),
        None => interleaved(&folder, &sources, &missing),
    })
    .await?
    .map_err(|e| match e.kind() {
        std::io::ErrorKind::FileTooLarge => too_large(),
        _ => WebError::internal(&e),
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, text).into_response())
}

/// Who printed a line.
fn who(step: &Step) -> String {
    match service_index(step.index) {
        Some(_) => step.name.clone(),
        None => format!("step {}", step.index + 1),
    }
}

/// A line with its time in microseconds since 1970, and whose it is.
type Line = (i64, String, Vec<u8>);

/// Adds the lines of a log, and counts its bytes.
fn read(folder: &Path, step: &Step, lines: &mut Vec<Line>, bytes: &mut u64) -> std::io::Result<()> {
    let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    let old = old_file(folder, &step.name);
    if service_index(step.index).is_some() && old.is_file() {
        let text = std::fs::read(old)?;
        *bytes += text.len() as u64;
        if *bytes > MOST {
            return Err(too_large());
        }
        let mut last = 0;
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let (stamp, rest) = stamped(line);
            // A line without a time belongs to the one before.
            last = stamp.unwrap_or(last);
            lines.push((last, who(step), rest.to_vec()));
        }
        return Ok(());
    }
    let mut reader = LogReader::open(folder, step.log_number()).map_err(std::io::Error::other)?;
    *bytes += reader.len();
    if *bytes > MOST {
        return Err(too_large());
    }
    let mut next = 0;
    loop {
        let rows = reader
            .row_range(next, ROWS)
            .map_err(std::io::Error::other)?;
        if rows.is_empty() {
            return Ok(());
        }
        next += rows.len() as u64;
        for row in rows {
            let mut text = Vec::new();
            reader
                .row_bytes(&row, &mut text)
                .map_err(std::io::Error::other)?;
            lines.push((row.time_us, who(step), text));
        }
    }
}

/// Logs one after the other, each line with its time.
fn alone(folder: &Path, sources: &[Step]) -> std::io::Result<Vec<u8>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for step in sources {
        read(folder, step, &mut lines, &mut bytes)?;
    }
    let mut out = Vec::new();
    for (time, _, text) in &lines {
        out.extend_from_slice(format!("{} ", clock(*time)).as_bytes());
        out.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        out.push(b'\n');
    }
    Ok(out)
}

fn clock(time_us: i64) -> String {
    let at = Timestamp::from_microsecond(time_us).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// All lines in the order of time, behind what is said of logs that are missing.
fn interleaved(folder: &Path, sources: &[Step], missing: &[String]) -> std::io::Result<Vec<u8>> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for step in sources {
        read(folder, step, &mut lines, &mut bytes)?;
    }
    // Lines of one time stay in the order in which they were read.
    lines.sort_by_key(|(time, ..)| *time);
    let width = lines.iter().map(|(_, who, _)| who.len()).max().unwrap_or(0);
    let mut out = missing.concat().into_bytes();
    for (time, who, text) in &lines {
        let at = clock(*time);
        out.extend_from_slice(format!("{at} {who:<width$} | ").as_bytes());
        out.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        out.push(b'\n');
    }
    Ok(out)
}
