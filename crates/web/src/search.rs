//! Searching the output of all builds: what the page and the API share, and the API itself.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use windlass_logs::words::{self, Line, Question};
use windlass_logs::{LogError, LogReader};
use windlass_model::{AttemptId, RepoName};
use windlass_store::logs::AttemptPlace;
use windlass_store::search::IndexedBlock;

use crate::error::WebError;
use crate::places::number_in;
use crate::state::{App, AppState};
use crate::urls;

/// Lines of one answer, if not asked otherwise, and at most.
const USUAL: usize = 100;
const MOST: usize = 1_000;
/// Blocks that are read at a time.
const BLOCKS: i64 = 64;
/// After this an answer is given, with what there is: whoever wants more asks for it.
const PATIENCE: Duration = Duration::from_millis(1500);

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    pub(crate) q: Option<String>,
    pub(crate) repo: Option<String>,
    before: Option<String>,
    limit: Option<String>,
}

/// Lines of one step, or of a service.
pub(crate) struct Group {
    pub(crate) place: AttemptPlace,
    /// The step's index, or the number of the service's log.
    pub(crate) step: i64,
    pub(crate) lines: Vec<Line>,
}

impl Group {
    pub(crate) fn step_name(&self) -> &str {
        self.place.log_name(self.step)
    }

    /// Where a line is in its log.
    pub(crate) fn link(&self, line: &Line) -> String {
        let place = &self.place;
        let number = line.row + 1;
        // Some lines before it are of use, too.
        let from = number.saturating_sub(50).max(1);
        let page = urls::step_from(&place.repo, place.build, place.attempt, self.step, from);
        format!("{page}#L{number}")
    }
}

/// An answer.
#[derive(Default)]
pub(crate) struct Found {
    /// The newest builds first; the lines of a step in their order.
    pub(crate) groups: Vec<Group>,
    /// Where to look on, if not all was looked through.
    pub(crate) next: Option<i64>,
    /// Logs with these words that are only in the archive, and could not be looked into.
    pub(crate) elsewhere: Vec<(AttemptPlace, i64)>,
    /// The archive has more.
    pub(crate) more_elsewhere: bool,
    /// Why the archive did not answer.
    pub(crate) away: Option<String>,
}

/// Logs of [`Found::elsewhere`], at most.
const MOST_ELSEWHERE: usize = 50;

/// Looks for lines.
pub(crate) async fn find(app: &AppState, asked: &Asked) -> Result<Found, WebError> {
    let index = app.index.as_ref().ok_or_else(|| {
        WebError::not_found("search here").hint("this server was started with `--no-search`")
    })?;
    let text = asked.q.as_deref().unwrap_or_default();
    let question = Question::parse(text).map_err(|e| {
        WebError::bad_request(e.to_string()).hint(
            "lines with all words are found, whatever their case: `refused 5432`; `\"in this order\"`; `refus*`",
        )
    })?;
    let mut repo_name = None;
    let repo = match asked.repo.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let name: RepoName = name
                .parse()
                .map_err(|_| WebError::not_found(format!("repository named {name}")))?;
            let id = app.store.repo_by_name(&name).await?.id;
            repo_name = Some(name);
            Some(id)
        }
        None => None,
    };
    let limit = match number_in::<i64>("limit", asked.limit.as_ref())? {
        Some(limit) => usize::try_from(limit).unwrap_or(USUAL).clamp(1, MOST),
        None => USUAL,
    };
    let mut before = number_in("before", asked.before.as_ref())?;
    let begun = Instant::now();
    let mut found = Found::default();
    let mut lines = 0;
    loop {
        let blocks = index.find(question.words(), repo, before, BLOCKS).await?;
        let is_last = (blocks.len() as i64) < BLOCKS;
        let attempts: Vec<i64> = blocks.iter().map(|block| block.attempt).collect();
        let mut places = app.store.attempt_places(&attempts).await?;
        for step in steps_of(&blocks) {
            before = step.iter().map(|block| block.id).min();
            let Some(first) = step.first().copied() else {
                continue;
            };
            let folder = app.log_folder(&AttemptId::from_row(first.attempt));
            let number = u32::try_from(first.step).unwrap_or(u32::MAX);
            if app.copies.is_some() && !windlass_logs::copy::is_here(&folder, number) {
                if let Some(place) = places.get(&first.attempt)
                    && found.elsewhere.len() < MOST_ELSEWHERE
                    && !found
                        .elsewhere
                        .iter()
                        .any(|(p, s)| p == place && *s == first.step)
                {
                    found.elsewhere.push((place.clone(), first.step));
                }
                continue;
            }
            let question = question.clone();
            let read = move || read(folder, &question, &step);
            let mut answer = tokio::task::spawn_blocking(read).await?;
            if answer.is_empty() {
                continue;
            }
            // What the index knows of a build that was removed meanwhile is nobody's business.
            let Some(place) = places.get_mut(&first.attempt) else {
                continue;
            };
            lines += answer.len();
            match found.groups.last_mut() {
                Some(last) if last.step == first.step && last.place == *place => {
                    answer.append(&mut last.lines);
                    last.lines = answer;
                }
                _ => found.groups.push(Group {
                    place: place.clone(),
                    step: first.step,
                    lines: answer,
                }),
            }
            if lines >= limit || begun.elapsed() > PATIENCE {
                found.next = before;
                return Ok(found);
            }
        }
        if is_last {
            // What is not here is older than what is.
            ask_archive(app, text, &question, repo_name.as_ref(), limit, &mut found).await?;
            return Ok(found);
        }
        if begun.elapsed() > PATIENCE {
            found.next = before;
            return Ok(found);
        }
    }
}

/// Adds what the archive finds in logs that are not here.
async fn ask_archive(
    app: &AppState,
    text: &str,
    question: &Question,
    repo: Option<&RepoName>,
    limit: usize,
    found: &mut Found,
) -> Result<(), WebError> {
    if app.copies.is_none() {
        return Ok(());
    }
    // A cluster knows whole words, as they stand in the text.
    let plain = text.replace('"', " ");
    let whole = plain.split_whitespace().filter(|word| !word.ends_with('*'));
    let words = whole.collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        found.away = Some("it knows whole words only: add one".to_owned());
        return Ok(());
    }
    let archived = crate::copies::search(app, &words, repo, limit).await?;
    (found.away, found.more_elsewhere) = (archived.away, archived.more);
    for (place, step, copied) in archived.logs {
        let lines = copied.into_iter().filter_map(|line| {
            Some(Line {
                row: line.line.saturating_sub(1),
                time_us: line.made_ms.saturating_mul(1000),
                places: question.find(&line.text)?,
                text: line.text,
            })
        });
        let lines: Vec<Line> = lines.collect();
        if !lines.is_empty() {
            found.elsewhere.retain(|(p, s)| *p != place || *s != step);
            found.groups.push(Group { place, step, lines });
        }
    }
    Ok(())
}

/// Blocks of one step each, in the order in which the index has them.
fn steps_of(blocks: &[IndexedBlock]) -> Vec<Vec<IndexedBlock>> {
    let of_one = blocks.chunk_by(|a, b| (a.attempt, a.step) == (b.attempt, b.step));
    of_one.map(<[IndexedBlock]>::to_vec).collect()
}

/// The lines of some blocks of one step, in their order. A log that can't be read has none: its page says why.
fn read(folder: PathBuf, question: &Question, blocks: &[IndexedBlock]) -> Vec<Line> {
    let mut all = Vec::new();
    let reading = || -> Result<(), LogError> {
        let Some(first) = blocks.first() else {
            return Ok(());
        };
        let mut reader = LogReader::open(&folder, u32::try_from(first.step).unwrap_or(u32::MAX))?;
        for block in blocks.iter().rev() {
            let whole = |n: i64| u64::try_from(n).unwrap_or_default();
            let (first, rows) = (whole(block.first_row), whole(block.rows));
            all.append(&mut words::lines(&mut reader, question, first, rows)?);
        }
        Ok(())
    };
    let mut reading = reading;
    if let Err(error) = reading() {
        tracing::debug!(%error, folder = %folder.display(), "not searched");
    }
    all
}

/// A line in pieces: text, and whether it was looked for.
pub(crate) fn pieces(line: &Line) -> Vec<(&str, bool)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    for place in &line.places {
        pieces.push((&line.text[at..place.start], false));
        pieces.push((&line.text[place.clone()], true));
        at = place.end;
    }
    pieces.push((&line.text[at..], false));
    pieces.retain(|(text, _)| !text.is_empty());
    pieces
}

/// `GET /api/v1/search?q=WORDS`
pub(crate) async fn api(
    State(app): State<App>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, WebError> {
    let found = find(&app, &asked).await?;
    let mut lines = Vec::new();
    for group in &found.groups {
        let place = &group.place;
        lines.extend(group.lines.iter().map(|line| {
            json!({
                "repo": place.repo,
                "build": place.build,
                "state": place.state,
                "attempt": place.attempt,
                "job": place.job,
                "step": group.step + 1,
                "step_name": group.step_name(),
                "service": place.service(group.step),
                "line": line.row + 1,
                "time_us": line.time_us,
                "text": line.text,
                "places": line.places.iter().map(|p| [p.start, p.end]).collect::<Vec<_>>(),
                "url": format!("{}{}", app.public_url, group.link(line)),
            })
        }));
    }
    let elsewhere = found.elsewhere.iter().map(|(place, step)| {
        let page = urls::attempt_step(&place.repo, place.build, place.attempt, *step);
        json!({
            "repo": place.repo,
            "build": place.build,
            "attempt": place.attempt,
            "step": step + 1,
            "service": place.service(*step),
            "url": format!("{}{page}", app.public_url),
        })
    });
    Ok(Json(json!({
        "lines": lines,
        "next_before": found.next,
        "archive": {
            "away": found.away,
            "more": found.more_elsewhere,
            "not_searched": elsewhere.collect::<Vec<_>>(),
        },
    })))
}

/// Counts what is shown, for the page.
pub(crate) fn count(groups: &[Group]) -> (usize, usize) {
    let builds: HashMap<_, ()> = groups
        .iter()
        .map(|group| ((&group.place.repo, group.place.build), ()))
        .collect();
    (
        groups.iter().map(|group| group.lines.len()).sum(),
        builds.len(),
    )
}
