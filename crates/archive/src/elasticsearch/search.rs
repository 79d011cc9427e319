//! Searching all logs. The cluster finds blocks that hold the words; which lines they are in is
//! seen here, in the blocks' text.

use serde::Deserialize;
use serde_json::{Value, json};

use super::read::Found;
use super::{Elasticsearch, by};
use crate::error::{ArchiveError, Result};

/// Blocks in one answer: each has at most 64 KiB of log.
const PAGE: usize = 20;
/// No search looks into more blocks at once; [`SearchAnswer::next`] goes on.
const MOST_PAGES: usize = 25;
/// The most characters of a line in an answer.
const MOST_TEXT: usize = 1000;

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct SearchQuery {
    /// Words, divided by spaces; a line is a hit if it holds all of them, in whatever case. The
    /// cluster knows whole words only: one word at least must stand in the log as it stands here.
    pub words: String,
    /// Only in this repository.
    pub repo: Option<String>,
    /// Only logs of this data folder.
    pub instance: Option<String>,
    /// How many hits are enough. The last block's hits are all given, so there may be more.
    pub limit: usize,
    /// From the answer before.
    pub after: Option<String>,
    /// Only logs of builds that were made before this time, in milliseconds since 1970.
    pub made_before_ms: Option<i64>,
}

/// A line that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The repository.
    pub repo: String,
    /// The build's number.
    pub build: i64,
    /// The attempt's number.
    pub attempt: i64,
    /// The job's name.
    pub job: String,
    /// The step, from 0.
    pub step: u32,
    /// The step's name.
    pub step_name: String,
    /// The line, from 1.
    pub line: u64,
    /// Its text without escape sequences, cut if it is long.
    pub text: String,
    /// When the build was made, milliseconds since 1970.
    pub started_ms: i64,
}

/// Hits, the newest builds first; within a log in order.
#[derive(Debug, Clone, Default)]
pub struct SearchAnswer {
    /// The lines.
    pub hits: Vec<Hit>,
    /// For [`SearchQuery::after`], if there may be more.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct TextBlock {
    repo: String,
    build: i64,
    attempt: i64,
    job: String,
    step: u32,
    step_name: String,
    started: i64,
    first_line: u64,
    text: String,
}

impl Elasticsearch {
    /// Looks for lines in all logs.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`] if there is no word to look for; see [`ArchiveError`] for the
    /// rest.
    pub async fn search(&self, search: &SearchQuery) -> Result<SearchAnswer> {
        let wanted: Vec<String> = search
            .words
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        if !search.words.chars().any(char::is_alphanumeric) {
            return Err(ArchiveError::setting(
                "there is no word to look for: give one with letters or digits",
            ));
        }
        let mut filters = vec![
            json!({"term": {"kind": {"value": "block"}}}),
            json!({"match": {"text": {"query": search.words, "operator": "and"}}}),
        ];
        for (field, value) in [("repo", &search.repo), ("instance", &search.instance)] {
            if let Some(value) = value {
                filters.push(json!({"term": {field: {"value": value}}}));
            }
        }
        if let Some(before) = search.made_before_ms {
            filters.push(json!({"range": {"started": {"lt": before}}}));
        }
        let mut query = json!({
            "size": PAGE,
            "query": {"bool": {"filter": filters}},
            "sort": [
                by("started", "desc", "date"),
                by("repo", "asc", "keyword"),
                by("build", "desc", "long"),
                by("attempt", "desc", "long"),
                by("step", "asc", "long"),
                by("seq", "asc", "long"),
                by("instance", "asc", "keyword")
            ],
            "_source": {"includes": [
                "repo", "build", "attempt", "job", "step", "step_name", "started", "first_line",
                "text"
            ]},
            "timeout": "20s",
        });
        if let Some(after) = &search.after {
            let after: Value = serde_json::from_str(after)
                .ok()
                .filter(Value::is_array)
                .ok_or_else(|| ArchiveError::setting("this is no place to go on at"))?;
            query["search_after"] = after;
        }
        let mut answer = SearchAnswer::default();
        for _ in 0..MOST_PAGES {
            let page: Vec<Found<TextBlock>> = self
                .search_page(&self.indices(), &query, "searching the logs")
                .await?;
            let full = page.len() == PAGE;
            for found in page {
                answer.hits.extend(hits(&found.source, &wanted));
                answer.next = Some(found.sort.to_string());
                query["search_after"] = found.sort;
                if answer.hits.len() >= search.limit {
                    return Ok(answer);
                }
            }
            if !full {
                answer.next = None;
                return Ok(answer);
            }
        }
        Ok(answer)
    }
}

fn hits(block: &TextBlock, wanted: &[String]) -> Vec<Hit> {
    let holds = |line: &str| {
        let line = line.to_lowercase();
        wanted.iter().all(|word| line.contains(word))
    };
    let lines = block.text.lines().zip(block.first_line..);
    lines
        .filter(|(line, _)| holds(line))
        .map(|(line, number)| Hit {
            repo: block.repo.clone(),
            build: block.build,
            attempt: block.attempt,
            job: block.job.clone(),
            step: block.step,
            step_name: block.step_name.clone(),
            line: number,
            text: line.chars().take(MOST_TEXT).collect(),
            started_ms: block.started,
        })
        .collect()
}
