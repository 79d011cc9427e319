//! A step's log: at most a thousand rows at a time, the last ones unless others are asked for. The
//! end is where the news is, whether a step failed, passed or still runs; the beginning is one
//! click away.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use windlass_logs::LogError;
use windlass_model::Outcome;
use windlass_store::{Attempt, Build, Step};

use super::{Frame, render};
use crate::auth::Visitor;
use crate::error::WebError;
use crate::log_rows::{self, NoteView, Row, Rows};
use crate::log_text::line_range;
use crate::places::{StepPath, find_place, number_in};
use crate::state::App;
use crate::{assets, text, urls};

/// Rows on one page.
const WINDOW: u64 = 1_000;
/// Lines shown before those that a link points at.
const BEFORE: u64 = 20;
/// About how many bytes of log are on one page.
const WINDOW_BYTES: usize = 2 * 1024 * 1024;

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
    from: Option<String>,
    /// Lines to point at: `10-20`, as a link that works without a script.
    lines: Option<String>,
}

enum Item {
    Row(Row),
    Note(NoteView),
}

/// What was read from the files.
struct Window {
    items: Vec<Item>,
    /// Numbers of the first and the last row, from 1; 0 and 0 if there is none.
    first: u64,
    last: u64,
    total: u64,
    len: u64,
    /// Where to read on.
    next_offset: u64,
    ended: Option<Outcome>,
    has_losses: bool,
}

fn read(folder: &std::path::Path, step: u32, from: Option<u64>) -> Result<Window, LogError> {
    let mut log = Rows::open(folder, step)?;
    let total = log.reader.rows();
    let start = match from {
        Some(line) => line.saturating_sub(1),
        None => {
            let tail = log.reader.tail_rows(WINDOW as usize)?;
            let mut shown = 0;
            let fitting = tail.iter().rev().take_while(|row| {
                let fits = shown == 0 || shown < WINDOW_BYTES;
                shown += log_rows::shown_len(row);
                fits
            });
            total - fitting.count() as u64
        }
    };
    log.seek(start.min(total))?;
    let batch = log.read(WINDOW as usize, WINDOW_BYTES, false)?;
    let (rows, last) = (batch.rows, batch.last);
    let first = if last > 0 { batch.first } else { 0 };
    let at_end = last == total;
    let mut notes = log_rows::notes(&log.reader, 0).into_iter().peekable();
    let mut items = Vec::with_capacity(rows.len());
    // Notes before the window belong to the page before.
    while notes.next_if(|note| note.after + 1 < first).is_some() {}
    for row in rows {
        while let Some(note) = notes.next_if(|note| note.after < row.n) {
            items.push(Item::Note(note));
        }
        items.push(Item::Row(row));
    }
    items.extend(
        notes
            .filter(|note| at_end || note.after == last)
            .map(Item::Note),
    );
    let next_offset = log.offset()?;
    let reader = &log.reader;
    Ok(Window {
        items,
        first,
        last,
        total,
        len: reader.len(),
        next_offset,
        ended: reader.end().map(|end| end.outcome.clone()),
        has_losses: reader.notes().iter().any(|note| note.kind.is_loss()),
    })
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    log_js: &'static str,
    build: Build,
    attempt: Attempt,
    steps: Vec<Step>,
    step: Step,
    is_service: bool,
    script: Option<String>,
    state: &'static str,
    words: String,
    window: Window,
    /// Microseconds since 1970.
    start_us: i64,
    /// Where the live rest comes from, if there may be one and this page shows the end.
    stream: Option<String>,
    /// The first and the last of the lines that are pointed at.
    marked: (u64, u64),
}

impl LogPage {
    fn step_link(&self, index: &i64) -> String {
        urls::attempt_step(
            &self.build.repo,
            self.build.number,
            self.attempt.number,
            *index,
        )
    }

    fn from(&self, line: u64) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::step_from(repo, number, self.attempt.number, self.step.index, line)
    }

    fn earlier(&self) -> Option<String> {
        let first = self.window.first;
        (first > 1).then(|| self.from(first.saturating_sub(WINDOW).max(1)))
    }

    fn later(&self) -> Option<String> {
        (self.window.last < self.window.total && self.window.last > 0)
            .then(|| self.from(self.window.last + 1))
    }

    fn raw(&self) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::log(repo, number, self.attempt.number, self.step.index)
    }

    fn raw_row(&self, row: &u64) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::log_lines(
            repo,
            number,
            self.attempt.number,
            self.step.index,
            *row,
            *row,
        )
    }

    fn part(&self, part: &str) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::api::log_part(repo, number, self.attempt.number, self.step.index, part)
    }

    fn findings(&self) -> String {
        let (repo, number) = (&self.build.repo, self.build.number);
        urls::api::findings(repo, number, self.attempt.number, self.step.index)
    }

    fn search_form(&self) -> String {
        urls::step_search(&self.build.repo, self.build.number, self.step.index)
    }

    fn is_marked(&self, row: &u64) -> bool {
        (self.marked.0..=self.marked.1).contains(row)
    }

    fn since_start(&self, time_us: &i64) -> String {
        text::since_start(time_us - self.start_us)
    }

    /// Why the step is not "passed", in one sentence.
    fn failure(&self) -> Option<String> {
        match self.state {
            "failed" | "error" | "cancelled" => Some(self.words.clone()),
            _ => None,
        }
    }
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}`
pub(crate) async fn page(
    State(app): State<App>,
    visitor: Visitor,
    path: StepPath,
    Query(asked): Query<Asked>,
) -> Result<Response, WebError> {
    let lines = asked.lines.as_deref().filter(|lines| !lines.is_empty());
    let marked = match lines.map(line_range).transpose()? {
        Some((first, last)) => (first, last.unwrap_or(first)),
        None => (1, 0),
    };
    // Some lines before those that are pointed at, for the sense.
    let pointed = lines.map(|_| marked.0.saturating_sub(BEFORE).max(1));
    let from = number_in("from", asked.from.as_ref())?.or(pointed);
    let place = find_place(&app, &path, asked.attempt.as_ref()).await?;
    let Some(step) = place.step().cloned() else {
        return Err(place.no_step());
    };
    let folder = app.log_folder(&place.attempt.attempt_id());
    let number = place.log_step();
    let window = tokio::task::spawn_blocking(move || read(&folder, number, from)).await??;
    if from.is_some_and(|line| line > window.total && line > 1) {
        return Err(WebError::not_found(format!("line {}", from.unwrap_or(0)))
            .hint(format!("this log has {} lines so far", window.total)));
    }
    let is_over = place.is_over() || window.ended.is_some();
    // The log may know the end a moment before the store does.
    let (state, words) = match (&step.outcome, &window.ended) {
        (None, Some(outcome)) => (text::outcome_state(outcome), outcome.to_string()),
        _ if place.is_service() => (text::step_state(&step), "beside the job".to_owned()),
        _ => (text::step_state(&step), text::step_words(&step)),
    };
    let first_row = window.items.iter().find_map(|item| match item {
        Item::Row(row) => Some(row.t),
        Item::Note(_) => None,
    });
    let (repo, build_number) = (&place.build.repo, place.build.number);
    let shows_end = window.last == window.total;
    let stream = (!is_over && shows_end).then(|| {
        let attempt = place.attempt.number;
        urls::stream(repo, build_number, attempt, step.index, window.next_offset)
    });
    let script = place.planned();
    let script = script.map(|planned| planned.script.trim_end().to_owned());
    render(&LogPage {
        frame: Frame::of(&visitor, state).refreshing(!is_over),
        log_js: assets::log_js(),
        is_service: place.is_service(),
        script,
        start_us: step.started_us.or(first_row).unwrap_or(0),
        state,
        words,
        step,
        window,
        stream,
        marked,
        build: place.build,
        attempt: place.attempt,
        steps: place.steps,
    })
}
