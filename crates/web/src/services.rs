//! The logs of a job's services as text: each alone, or all of them with the job's own steps, in the order of
//! time.

use std::path::Path;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use windlass_logs::LogReader;
use windlass_store::{Attempt, Step};

use crate::error::WebError;
use crate::places::{BuildPath, find_attempt};
use crate::state::App;

/// The folder in an attempt's logs in which they lie.
const FOLDER: &str = "services";

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

/// The services of an attempt whose logs were kept.
pub(crate) fn kept(app: &App, attempt: &Attempt) -> Vec<String> {
    let folder = app.log_folder(&attempt.attempt_id()).join(FOLDER);
    let jobs = attempt.plan.iter().flat_map(|plan| &plan.jobs);
    let names = jobs
        .flat_map(|job| &job.services)
        .map(|service| &service.name);
    names
        .filter(|name| folder.join(format!("{name}.log")).is_file())
        .cloned()
        .collect()
}

/// `GET /repos/{repo}/builds/{number}/services`
pub(crate) async fn log(
    State(app): State<App>,
    path: BuildPath,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let (_, attempt) = find_attempt(&app, &path, asked.attempt.as_ref()).await?;
    let steps = app.store.steps(attempt.id).await?;
    // Only names of the plan lead to files.
    let all = kept(&app, &attempt);
    let wanted = asked.service.filter(|name| !name.is_empty());
    if let Some(name) = &wanted
        && !all.contains(name)
    {
        return Err(WebError::not_found(format!("log of a service {name} here"))
            .hint("the logs of services are kept when their job is over"));
    }
    let folder = app.log_folder(&attempt.attempt_id());
    let text = tokio::task::spawn_blocking(move || match wanted {
        Some(name) => Ok(std::fs::read(
            folder.join(FOLDER).join(format!("{name}.log")),
        )?),
        None => interleaved(&folder, &all, &steps),
    })
    .await?
    .map_err(|e| match e.kind() {
        std::io::ErrorKind::FileTooLarge => WebError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the logs are too large to be put into one order",
        )
        .hint("read each alone: `?service=NAME`, and the steps' own logs"),
        _ => WebError::internal(&e),
    })?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, text).into_response())
}

/// A line with its time in microseconds since 1970, and whose it is.
type Line = (i64, String, Vec<u8>);

fn interleaved(folder: &Path, services: &[String], steps: &[Step]) -> std::io::Result<Vec<u8>> {
    let too_large = || std::io::Error::from(std::io::ErrorKind::FileTooLarge);
    let mut lines: Vec<Line> = Vec::new();
    let mut bytes = 0;
    for step in steps {
        let number = u32::try_from(step.index).unwrap_or(u32::MAX);
        let mut reader = LogReader::open(folder, number).map_err(std::io::Error::other)?;
        bytes += reader.len();
        if bytes > MOST {
            return Err(too_large());
        }
        let mut next = 0;
        loop {
            let rows = reader
                .row_range(next, ROWS)
                .map_err(std::io::Error::other)?;
            if rows.is_empty() {
                break;
            }
            next += rows.len() as u64;
            for row in rows {
                let mut text = Vec::new();
                reader
                    .row_bytes(&row, &mut text)
                    .map_err(std::io::Error::other)?;
                lines.push((row.time_us, format!("step {}", step.index + 1), text));
            }
        }
    }
    for name in services {
        let text = std::fs::read(folder.join(FOLDER).join(format!("{name}.log")))?;
        bytes += text.len() as u64;
        if bytes > MOST {
            return Err(too_large());
        }
        let mut last = 0;
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            let (stamp, rest) = stamped(line);
            // A line without a time belongs to the one before.
            last = stamp.unwrap_or(last);
            lines.push((last, name.clone(), rest.to_vec()));
        }
    }
    // Lines of one time stay in the order in which they were read.
    lines.sort_by_key(|(time, ..)| *time);
    let width = lines.iter().map(|(_, who, _)| who.len()).max().unwrap_or(0);
    let mut out = Vec::new();
    for (time, who, text) in &lines {
        let at = Timestamp::from_microsecond(*time).unwrap_or_default();
        let at = at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
        out.extend_from_slice(format!("{at} {who:<width$} | ").as_bytes());
        out.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
        out.push(b'\n');
    }
    Ok(out)
}

/// The engine's time stamp at the begin of a line, and the rest.
fn stamped(line: &[u8]) -> (Option<i64>, &[u8]) {
    let space = line.iter().position(|b| *b == b' ').unwrap_or(line.len());
    let stamp = std::str::from_utf8(&line[..space]).ok();
    match stamp.and_then(|text| text.parse::<Timestamp>().ok()) {
        Some(time) => {
            let rest = line.get(space + 1..).unwrap_or_default();
            (Some(time.as_microsecond()), rest)
        }
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_s_time_is_taken_off() {
        let (time, rest) = stamped(b"2026-11-27T22:45:46.442332123Z up and running");
        assert_eq!(time, Some(1_795_819_546_442_332));
        assert_eq!(rest, b"up and running");
        assert_eq!(stamped(b"no time here"), (None, &b"no time here"[..]));
        assert_eq!(stamped(b"2026-11-27T22:45:46.442332123Z").1, b"");
    }
}
