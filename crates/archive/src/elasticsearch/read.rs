//! Reading back: which logs there are, whether one is whole, and a log from the cluster alone.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use windlass_logs::LogMeta;
use windlass_logs::copy::Restore;

use super::{Elasticsearch, by, filters};
use crate::block::{Joined, Joiner, Part, unframe};
use crate::error::{ArchiveError, Result, blocking};
use crate::name::{LogName, Selector};

/// Blocks in one answer: each has at most about 90 kB.
const PAGE: usize = 100;
/// `log` documents in one answer.
const LOGS_PAGE: usize = 200;
/// The most bytes of a log's figures, and of its notes.
const MOST_FIGURES: usize = 16 * 1024 * 1024;

/// A log's figures in the cluster.
#[derive(Debug, Clone, Deserialize)]
pub struct LogDocument {
    /// Which data folder it is from.
    pub instance: String,
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
    /// When the build was made, milliseconds since 1970.
    pub started: i64,
    /// How many blocks it has.
    pub blocks: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Its rows.
    pub lines: u64,
    /// Its SHA-256.
    pub sha256: String,
    meta: String,
    notes: Option<String>,
}

impl LogDocument {
    /// What names it.
    pub fn name(&self) -> LogName {
        LogName {
            instance: self.instance.clone(),
            repo: self.repo.clone(),
            build: self.build,
            attempt: self.attempt,
            job: self.job.clone(),
            step: self.step,
            step_name: self.step_name.clone(),
            started_ms: self.started,
        }
    }

    fn check(&self, found: &Joined) -> Result<()> {
        let same = found.blocks == self.blocks
            && found.bytes == self.bytes
            && found.rows == self.lines
            && found.sha256 == self.sha256;
        if same {
            return Ok(());
        }
        Err(ArchiveError::differs(format!(
            "the cluster holds {} bytes in {} blocks with SHA-256 {} of {}; it should be {} bytes \
             in {} blocks with {}",
            found.bytes,
            found.blocks,
            found.sha256,
            self.name().describe(),
            self.bytes,
            self.blocks,
            self.sha256
        )))
    }
}

/// A document that was found: its source, and where to go on behind it.
pub(super) struct Found<T> {
    pub(super) source: T,
    pub(super) sort: Value,
}

impl Elasticsearch {
    /// The logs of a build that are wholly there, in order.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn find(&self, of: &Selector) -> Result<Vec<LogDocument>> {
        let what = format!("looking for {}", of.describe());
        let mut filters = filters(of);
        filters.push(json!({"term": {"kind": {"value": "log"}}}));
        let mut query = json!({
            "size": LOGS_PAGE,
            "query": {"bool": {"filter": filters}},
            "sort": [
                by("instance", "asc", "keyword"),
                by("started", "asc", "date"),
                by("attempt", "asc", "long"),
                by("step", "asc", "long")
            ],
        });
        let mut logs = Vec::new();
        loop {
            let page: Vec<Found<LogDocument>> =
                self.search_page(&self.indices(), &query, &what).await?;
            let full = page.len() == LOGS_PAGE;
            if let Some(last) = page.last() {
                query["search_after"] = last.sort.clone();
            }
            logs.extend(page.into_iter().map(|found| found.source));
            if !full {
                return Ok(logs);
            }
        }
    }

    /// Reads a log back and compares it with what it must be. Makes what was just written visible
    /// first.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] and [`ArchiveError::Differs`] if it is not there as it was
    /// written; see [`ArchiveError`] for the rest.
    pub async fn verify(&self, name: &LogName, sha256: &str) -> Result<LogDocument> {
        let what = format!("checking {}", name.describe());
        let index = self.index(name.started_ms);
        let refresh = format!("/{index}/_refresh");
        self.client.post(&refresh, None, &what).await?;
        let mut found = self.find(&name.selector()).await?;
        let (Some(log), true) = (found.pop(), found.is_empty()) else {
            return Err(ArchiveError::missing(format!(
                "{what}: the cluster does not have it"
            )));
        };
        if log.sha256 != sha256 {
            return Err(ArchiveError::differs(format!(
                "{what}: the cluster has another log under this name"
            )));
        }
        let mut filters = filters(&name.selector());
        filters.push(json!({"term": {"kind": {"value": "block"}}}));
        let query = json!({"query": {"bool": {"filter": filters}}});
        let counted = self
            .client
            .post(&format!("/{index}/_count"), Some(&query), &what)
            .await?;
        whole(&counted, &what)?;
        if counted["count"].as_u64() != Some(log.blocks) {
            return Err(ArchiveError::differs(format!(
                "{what}: the cluster counts {} of {} blocks",
                counted["count"], log.blocks
            )));
        }
        let joined = self.join(&log, Joiner::default()).await?;
        log.check(&joined)?;
        Ok(log)
    }

    /// Puts a log into a folder of logs, byte for byte, from the cluster alone. If it is there
    /// already, nothing is done.
    ///
    /// # Errors
    /// [`ArchiveError::Differs`] if what the cluster has is not the log that was sealed; see
    /// [`ArchiveError`] for the rest.
    pub async fn restore(&self, log: &LogDocument, dir: &Path) -> Result<()> {
        let (into, step) = (dir.to_owned(), log.step);
        let begun = blocking(move || {
            let Some(restore) = Restore::begin(&into, step)? else {
                return Ok(None);
            };
            let joiner = Joiner::into_files(restore.file("log")?, restore.file("idx")?);
            Ok(Some((restore, joiner)))
        })
        .await?;
        let Some((restore, joiner)) = begun else {
            return Ok(());
        };
        let joined = self.join(log, joiner).await?;
        log.check(&joined)?;
        let (meta, notes) = (log.meta.clone(), log.notes.clone());
        blocking(move || {
            for (suffix, text) in [("json", Some(meta)), ("notes", notes)] {
                let Some(text) = text else { continue };
                let bytes = unframe(&text, MOST_FIGURES)?;
                let mut file = restore.file(suffix)?;
                std::io::Write::write_all(&mut file, &bytes).map_err(|e| {
                    ArchiveError::later(format!("could not write the log's {suffix}: {e}"))
                })?;
            }
            let sealed: LogMeta = restore.finish()?;
            tracing::debug!(bytes = sealed.bytes, "a log came back from the cluster");
            Ok(())
        })
        .await
    }

    async fn join(&self, log: &LogDocument, mut joiner: Joiner) -> Result<Joined> {
        let name = log.name();
        let what = format!("reading {}", name.describe());
        let mut filters = filters(&name.selector());
        filters.push(json!({"term": {"kind": {"value": "block"}}}));
        let mut query = json!({
            "size": PAGE,
            "query": {"bool": {"filter": filters}},
            "sort": [by("seq", "asc", "long")],
            "_source": {"includes": ["seq", "line_count", "first_byte", "byte_count", "raw", "index", "crc32"]},
        });
        let index = self.index(log.started);
        while joiner.blocks() < log.blocks {
            let page: Vec<Found<Part>> = self.search_page(&index, &query, &what).await?;
            let Some(last) = page.last() else { break };
            query["search_after"] = last.sort.clone();
            joiner = blocking(move || {
                for found in &page {
                    joiner.take(&found.source)?;
                }
                Ok(joiner)
            })
            .await?;
        }
        Ok(joiner.finish())
    }

    /// One page of a search; an answer of which a part is missing is none.
    pub(super) async fn search_page<T: DeserializeOwned>(
        &self,
        indices: &str,
        query: &Value,
        what: &str,
    ) -> Result<Vec<Found<T>>> {
        let path = format!(
            "/{indices}/_search?allow_partial_search_results=false\
             &ignore_unavailable=true&allow_no_indices=true"
        );
        let mut answer = self.client.post(&path, Some(query), what).await?;
        if answer["timed_out"] == true {
            return Err(ArchiveError::outage(format!(
                "{what}: the cluster ran out of time"
            )));
        }
        whole(&answer, what)?;
        let Value::Array(hits) = answer["hits"]["hits"].take() else {
            return Err(ArchiveError::outage(format!(
                "{what}: the answer has no hits, not even none"
            )));
        };
        hits.into_iter()
            .map(|mut hit| {
                let source = T::deserialize(hit["_source"].take());
                let source = source.map_err(|e| {
                    ArchiveError::differs(format!("{what}: {} is not one of ours: {e}", hit["_id"]))
                })?;
                let sort = hit["sort"].take();
                Ok(Found { source, sort })
            })
            .collect()
    }
}

fn whole(answer: &Value, what: &str) -> Result<()> {
    match answer["_shards"]["failed"].as_u64() {
        None | Some(0) => Ok(()),
        Some(failed) => Err(ArchiveError::outage(format!(
            "{what}: {failed} shards of the cluster did not answer"
        ))),
    }
}
