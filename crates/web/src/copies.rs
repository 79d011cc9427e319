//! Logs of which only a copy elsewhere is left: they come back to the folder of logs when somebody
//! looks at them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use windlass_logs::copy::is_here;
use windlass_model::{AttemptId, RepoName};
use windlass_store::logs::AttemptPlace;
use windlass_store::queue::Phase;
use windlass_store::{Attempt, Step, StoreError};

use crate::error::WebError;
use crate::places::service_index;
use crate::state::{App, AppState};

/// Who has copies of logs.
pub trait LogCopies: Send + Sync {
    /// Puts the log of a step, or of a service, into the folder of logs, if there is a copy of it; says whether there
    /// was. The error is for people.
    fn restore<'a>(
        &'a self,
        attempt: &'a AttemptId,
        step: u32,
    ) -> BoxFuture<'a, Result<bool, String>>;

    /// Lines with all these words in logs elsewhere, the newest builds first. `None` if nobody can search there; the
    /// error is for people.
    fn search<'a>(
        &'a self,
        words: &'a str,
        repo: Option<&'a RepoName>,
        limit: usize,
    ) -> BoxFuture<'a, Option<Result<CopiedLines, String>>>;
}

/// A line that was found in a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedLine {
    /// The repository.
    pub repo: RepoName,
    /// The build's number.
    pub build: i64,
    /// The attempt's number.
    pub attempt: i64,
    /// The step, from 0.
    pub step: u32,
    /// The line, from 1.
    pub line: u64,
    /// Its text, cut if it is long.
    pub text: String,
    /// When the build was made, in milliseconds since 1970.
    pub made_ms: i64,
}

/// What was found in copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopiedLines {
    /// The lines.
    pub lines: Vec<CopiedLine>,
    /// There may be more.
    pub more: bool,
}

/// A page waits no longer for a log that comes back.
const PATIENCE: Duration = Duration::from_secs(10);

/// A search waits no longer for the archive.
const SEARCH_PATIENCE: Duration = Duration::from_secs(3);

/// Sees to it that the log of a step, or of a service, is here, if it is anywhere.
pub(crate) async fn bring_back(app: &App, of: &Attempt, step: &Step) -> Result<(), WebError> {
    let Some(copies) = &app.copies else {
        return Ok(());
    };
    // How much a service printed, nobody knows.
    let wrote = service_index(step.index).is_some() || step.output_bytes.is_some_and(|n| n > 0);
    let attempt = of.attempt_id();
    let number = step.log_number();
    if !wrote || of.phase != Phase::Done || is_here(&app.log_folder(&attempt), number) {
        return Ok(());
    }
    let copies = Arc::clone(copies);
    // It goes on when nobody waits any longer.
    let restoring = tokio::spawn(async move { copies.restore(&attempt, number).await });
    let away = |words: String| WebError::new(StatusCode::SERVICE_UNAVAILABLE, words);
    match tokio::time::timeout(PATIENCE, restoring).await {
        Ok(Ok(Ok(true))) => Ok(()),
        Ok(Ok(Ok(false))) => Err(WebError::new(
            StatusCode::GONE,
            "this output is not on the server any more, and there is no copy of it",
        )
        .hint("logs stay here for `--keep-local-log-days`, and copies as long as the archive keeps them")),
        Ok(Ok(Err(reason))) => Err(away(format!(
            "this log is in the archive, and could not be had from there: {reason}"
        ))
        .hint("try again later; `windlass archive status` says how the archive is")),
        Ok(Err(broken)) => Err(WebError::internal(&broken)),
        Err(_) => Err(away(
            "this log is on its way back from the archive, which takes a while".to_owned(),
        )
        .hint("load this page again in a moment")),
    }
}

/// What copies elsewhere know of logs that are not here.
#[derive(Default)]
pub(crate) struct Archived {
    /// Attempt, step, and the lines there; the newest builds first.
    pub(crate) logs: Vec<(AttemptPlace, i64, Vec<CopiedLine>)>,
    /// Whether somebody could be asked.
    pub(crate) asked: bool,
    /// There may be more.
    pub(crate) more: bool,
    /// Why there was no answer.
    pub(crate) away: Option<String>,
}

/// Looks for lines in the copies of logs that are not here. An archive that is away is an answer, not an error, and
/// none is waited for longer than [`SEARCH_PATIENCE`].
pub(crate) async fn search(
    app: &AppState,
    words: &str,
    repo: Option<&RepoName>,
    limit: usize,
) -> Result<Archived, StoreError> {
    let mut archived = Archived::default();
    let Some(copies) = &app.copies else {
        return Ok(archived);
    };
    let found = match tokio::time::timeout(SEARCH_PATIENCE, copies.search(words, repo, limit)).await
    {
        Ok(None) => return Ok(archived),
        Ok(Some(Ok(found))) => found,
        Ok(Some(Err(reason))) => {
            (archived.asked, archived.away) = (true, Some(reason));
            return Ok(archived);
        }
        Err(_) => {
            let reason = format!("no answer within {} seconds", SEARCH_PATIENCE.as_secs());
            (archived.asked, archived.away) = (true, Some(reason));
            return Ok(archived);
        }
    };
    (archived.asked, archived.more) = (true, found.more);
    let mut rows: HashMap<(RepoName, i64, i64), Option<i64>> = HashMap::new();
    let mut at: BTreeMap<(i64, u32), usize> = BTreeMap::new();
    for line in found.lines {
        let key = (line.repo.clone(), line.build, line.attempt);
        let row = match rows.get(&key) {
            Some(row) => *row,
            None => {
                let row = shown(app, &line).await?;
                rows.insert(key, row);
                row
            }
        };
        let Some(row) = row else { continue };
        let id = AttemptId::from_row(row);
        match at.get(&(row, line.step)) {
            Some(place) => archived.logs[*place].2.push(line),
            // What is here was looked through here.
            None if is_here(&app.log_folder(&id), line.step) => {}
            None => {
                let Some(place) = app.store.attempt_places(&[row]).await?.remove(&row) else {
                    continue;
                };
                at.insert((row, line.step), archived.logs.len());
                archived
                    .logs
                    .push((place, i64::from(line.step), vec![line]));
            }
        }
    }
    Ok(archived)
}

/// The attempt's row, if its logs may be shown: an archive may know builds that this server does not.
async fn shown(app: &AppState, line: &CopiedLine) -> Result<Option<i64>, StoreError> {
    let found = async {
        let build = app.store.build(&line.repo, line.build).await?;
        app.store.attempt(build.id, line.attempt).await
    };
    match found.await {
        Ok(attempt) if attempt.logs_removed.is_none() => Ok(Some(attempt.id)),
        Ok(_) | Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
