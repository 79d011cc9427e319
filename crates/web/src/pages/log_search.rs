//! What a search finds in a step's log, as a page: for browsers without a script, and for links.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use windlass_logs::{LogError, LogReader};
use windlass_store::{Attempt, Build, Step};

use super::{Frame, render};
use crate::auth::Visitor;
use crate::error::WebError;
use crate::log_find::{HitView, Wanted, view};
use crate::places::{StepPath, find_place, number_in};
use crate::state::App;
use crate::{text, urls};

/// Hits on one page.
const MOST: usize = 100;
/// Lines around each.
const CONTEXT: u64 = 2;

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
    from: Option<String>,
    #[serde(flatten)]
    wanted: Wanted,
}

/// A line of the page.
struct Line {
    number: u64,
    /// Pieces of its text, and whether they match.
    pieces: Vec<(String, bool)>,
    is_hit: bool,
    /// Lines are left out before it.
    gap: bool,
}

#[derive(Template)]
#[template(path = "log_search.html")]
struct SearchPage {
    frame: Frame,
    build: Build,
    attempt: Attempt,
    step: Step,
    wanted: Wanted,
    problem: Option<String>,
    lines: Vec<Line>,
    hits: usize,
    /// Where the next page begins, if there may be one.
    next: Option<u64>,
}

impl SearchPage {
    fn link(&self, line: &u64) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        let line = *line;
        urls::step_lines(
            repo,
            number,
            self.attempt.number,
            self.step.index,
            line,
            line,
        )
    }

    fn log(&self) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::attempt_step(repo, number, self.attempt.number, self.step.index)
    }

    fn form(&self) -> String {
        urls::step_search(&self.build.repo, self.build.number, self.step.index)
    }

    fn later(&self) -> Option<String> {
        let (repo, number) = (&self.build.repo, self.build.number);
        let wanted = &self.wanted;
        let mut link = format!(
            "{}?attempt={}&q={}&from={}",
            urls::step_search(repo, number, self.step.index),
            self.attempt.number,
            urls::encoded(&wanted.q),
            self.next?
        );
        if wanted.case_sensitive() {
            link.push_str("&case=1");
        }
        if wanted.literal() {
            link.push_str("&literal=1");
        }
        Some(link)
    }
}

/// The text cut at the matches.
fn pieces(hit: &HitView) -> Vec<(String, bool)> {
    let units: Vec<u16> = hit.text.encode_utf16().collect();
    let (mut out, mut at) = (Vec::new(), 0);
    let mut push = |from: usize, to: usize, matches: bool| {
        if from < to && to <= units.len() {
            out.push((String::from_utf16_lossy(&units[from..to]), matches));
        }
    };
    for (begin, end) in &hit.spans {
        push(at, *begin, false);
        push(*begin, *end, true);
        at = *end;
    }
    push(at, units.len(), false);
    out
}

fn lines(hits: &[HitView]) -> Vec<Line> {
    let is_hit = |line: u64| hits.binary_search_by_key(&line, |hit| hit.line).is_ok();
    let mut lines: Vec<Line> = Vec::new();
    for hit in hits {
        let mut around: Vec<Line> = hit
            .context
            .iter()
            .filter(|beside| !is_hit(beside.line))
            .map(|beside| Line {
                number: beside.line,
                pieces: vec![(beside.text.clone(), false)],
                is_hit: false,
                gap: false,
            })
            .collect();
        around.push(Line {
            number: hit.line,
            pieces: pieces(hit),
            is_hit: true,
            gap: false,
        });
        around.sort_by_key(|line| line.number);
        let shown = lines.last().map_or(0, |line| line.number);
        around.retain(|line| line.number > shown);
        lines.extend(around);
    }
    for at in 1..lines.len() {
        lines[at].gap = lines[at].number > lines[at - 1].number + 1;
    }
    lines
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}/search`
pub(crate) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    path: StepPath,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let from = number_in::<u64>("from", asked.from.as_ref())?.unwrap_or(1);
    let place = find_place(&app, &path, asked.attempt.as_ref()).await?;
    let Some(step) = place.step().cloned() else {
        return Err(place.no_step());
    };
    let (search, problem) = match asked.wanted.search() {
        Ok(search) => (search, None),
        Err(error) => (None, Some(error.words())),
    };
    let folder = app.log_folder(&place.attempt.attempt_id());
    let number = place.log_step();
    let (hits, next) = match search {
        None => (Vec::new(), None),
        Some(mut search) => {
            tokio::task::spawn_blocking(move || {
                let mut reader = LogReader::open(&folder, number)?;
                let (mut rows, mut at) = (Vec::new(), from.saturating_sub(1));
                while rows.len() < MOST {
                    let next = search.step(&mut reader, at, |hit| {
                        rows.push(hit.row);
                        rows.len() < MOST
                    })?;
                    if next == at {
                        break;
                    }
                    at = next;
                }
                let full = rows.len() == MOST && at < reader.rows();
                let mut hits = Vec::new();
                for row in rows {
                    hits.extend(view(&mut reader, &mut search, row, CONTEXT)?);
                }
                Ok::<_, LogError>((hits, full.then_some(at + 1)))
            })
            .await??
        }
    };
    render(&SearchPage {
        frame: Frame::of(&visitor, text::step_state(&step)),
        lines: lines(&hits),
        hits: hits.len(),
        next,
        problem,
        wanted: asked.wanted,
        step,
        build: place.build,
        attempt: place.attempt,
    })
}
