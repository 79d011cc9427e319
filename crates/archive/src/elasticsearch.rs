//! Logs in Elasticsearch or OpenSearch, over plain HTTP.
//!
//! Two kinds of documents, in one index per month of the builds' making
//! (`windlass-logs-2026.09`): a `block` for each piece of a log ([`crate::block`]), and a `log` with
//! its figures, written last. Their ids follow from what they are about, and they are written with
//! `create`: writing again finds them there (409) and doubles nothing. That is why there is no data
//! stream: a retry after its rollover would write the same document into another index.

mod bulk;
mod client;
mod read;
mod search;
mod template;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;
use windlass_logs::LogMeta;
use windlass_logs::copy::sealed_files;
use windlass_model::Secret;

use crate::block::{Block, Cutter, frame};
use crate::error::{ArchiveError, Result, blocking};
use crate::http::backoff;
use crate::name::{LogName, Selector, Written};
use bulk::Document;
use client::Client;

pub use read::LogDocument;
pub use search::{Hit, SearchAnswer, SearchQuery};

/// How often the template is written again: somebody may have removed it.
const TEMPLATE_EVERY: Duration = Duration::from_secs(600);

/// How we prove who we are.
#[derive(Debug, Clone)]
pub enum Auth {
    /// The cluster asks for nothing.
    None,
    /// HTTP's basic authentication.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// Elasticsearch's API key, as it was handed out: base64 of id and key.
    ApiKey(Secret),
}

/// Which cluster, and how to use it.
#[derive(Debug, Clone)]
pub struct ElasticsearchConfig {
    /// Its address, perhaps with a path; without user and password.
    pub url: String,
    /// Who we are.
    pub auth: Auth,
    /// Certificates (PEM) that may sign its own, instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// What the names of our indices begin with.
    pub prefix: String,
    /// How many days an index is kept after the end of its month; for ever if there is none.
    pub keep_days: Option<u32>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// The first pause after being told to slow down.
    pub pause: Duration,
    /// The most bytes in one body, but for a single document that is larger.
    pub most_body: usize,
}

impl ElasticsearchConfig {
    /// With everything but the address as it should be.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            auth: Auth::None,
            ca_pem: None,
            prefix: "windlass-logs".to_owned(),
            keep_days: Some(400),
            timeout: Duration::from_secs(60),
            pause: Duration::from_millis(250),
            most_body: 5 * 1024 * 1024,
        }
    }
}

/// What a cluster says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its name.
    pub name: String,
    /// `elasticsearch`, `opensearch`, or what else it calls itself.
    pub product: String,
    /// Its version.
    pub version: String,
}

/// A cluster that keeps logs.
#[derive(Debug)]
pub struct Elasticsearch {
    client: Client,
    prefix: String,
    keep_days: Option<u32>,
    most_body: usize,
    template_at: Mutex<Option<Instant>>,
}

impl Elasticsearch {
    /// Checks the settings; speaks to nobody yet.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`].
    pub fn new(config: ElasticsearchConfig) -> Result<Self> {
        let prefix = config.prefix.clone();
        let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
        let starts_well = prefix
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !starts_well || prefix.len() > 100 || !prefix.bytes().all(legal) {
            return Err(ArchiveError::setting(format!(
                "{prefix} can't begin an index's name: use lower-case letters, digits, -, _ and ."
            )));
        }
        Ok(Self {
            keep_days: config.keep_days,
            most_body: config.most_body,
            client: Client::new(config)?,
            prefix,
            template_at: Mutex::new(None),
        })
    }

    /// The cluster's address, for people.
    pub fn address(&self) -> &str {
        self.client.address()
    }

    /// The index of a build that was made at this time.
    pub fn index(&self, started_ms: i64) -> String {
        let time = jiff::Timestamp::from_millisecond(started_ms).unwrap_or_default();
        let month = time.to_zoned(jiff::tz::TimeZone::UTC);
        format!("{}-{:04}.{:02}", self.prefix, month.year(), month.month())
    }

    /// All indices of ours.
    fn indices(&self) -> String {
        format!("{}-*", self.prefix)
    }

    /// What the cluster is.
    ///
    /// # Errors
    /// When it does not answer, or refuses us.
    pub async fn info(&self) -> Result<ClusterInfo> {
        let answer = self.client.get("/", "asking the cluster").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let version = &answer["version"];
        let product = text(&version["distribution"]);
        Ok(ClusterInfo {
            name: text(&answer["cluster_name"]),
            version: text(&version["number"]),
            product: if product.is_empty() {
                "elasticsearch".to_owned()
            } else {
                product
            },
        })
    }

    /// Writes the template of our indices, unless that was just done.
    async fn ensure_template(&self) -> Result<()> {
        let mut done_at = self.template_at.lock().await;
        if done_at.is_some_and(|at| at.elapsed() < TEMPLATE_EVERY) {
            return Ok(());
        }
        let info = self.info().await?;
        let template = template::template(&self.prefix, &info);
        let path = format!("/_index_template/{}", self.prefix);
        self.client
            .put(&path, &template, "writing the index template")
            .await?;
        *done_at = Some(Instant::now());
        Ok(())
    }

    /// Writes a step's sealed log. Done again, it changes nothing; [`Elasticsearch::verify`] says
    /// whether what is there now is what was to be written.
    ///
    /// # Errors
    /// See [`ArchiveError`]. What was written before an error stays; the next try finds it there.
    pub async fn write(&self, name: &LogName, dir: &Path) -> Result<Written> {
        self.ensure_template().await?;
        let index = self.index(name.started_ms);
        let (at, step) = (dir.to_owned(), name.step);
        let mut cutter = blocking(move || Cutter::open(&at, step)).await?;
        loop {
            let (of, most) = (name.clone(), self.most_body);
            let (back, batch) = blocking(move || {
                let batch = cut(&mut cutter, &of, most)?;
                Ok((cutter, batch))
            })
            .await?;
            cutter = back;
            if batch.is_empty() {
                break;
            }
            self.create(&index, batch).await?;
        }
        let (meta, blocks) = (cutter.meta().clone(), cutter.blocks());
        let (at, of, figures) = (dir.to_owned(), name.clone(), meta.clone());
        let last = blocking(move || log_document(&of, &at, &figures, blocks)).await?;
        self.create(&index, vec![last]).await?;
        Ok(Written {
            place: index,
            meta,
            parts: blocks + 1,
            objects: Vec::new(),
        })
    }

    /// Removes the documents of these logs and says how many there were.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn remove(&self, of: &Selector) -> Result<u64> {
        let what = format!("removing {}", of.describe());
        let indices = self.indices();
        // Only what can be found is deleted.
        self.client
            .post(
                &format!("/{indices}/_refresh?ignore_unavailable=true&allow_no_indices=true"),
                None,
                &what,
            )
            .await?;
        let query = json!({"query": {"bool": {"filter": filters(of)}}});
        let path = format!(
            "/{indices}/_delete_by_query?conflicts=proceed&refresh=true\
             &ignore_unavailable=true&allow_no_indices=true"
        );
        let answer = self.client.post(&path, Some(&query), &what).await?;
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        let failures = answer["failures"].as_array().map_or(0, Vec::len);
        if failures > 0 || number("version_conflicts") > 0 || answer["timed_out"] == true {
            return Err(ArchiveError::later(format!(
                "{what}: {} removed, {failures} failures, {} conflicts: {}",
                number("deleted"),
                number("version_conflicts"),
                answer["failures"][0],
            )));
        }
        Ok(number("deleted"))
    }

    /// Drops indices whose month ended more than the wanted number of days before `now_ms`; says
    /// which.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn drop_old(&self, now_ms: i64) -> Result<Vec<String>> {
        let Some(keep_days) = self.keep_days else {
            return Ok(Vec::new());
        };
        let path = format!("/_cat/indices/{}?format=json&h=index", self.indices());
        let listed = self.client.get(&path, "listing the indices").await?;
        let names = listed.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut dropped = Vec::new();
        for name in names.iter().filter_map(|row| row["index"].as_str()) {
            let end_ms = name
                .strip_prefix(&self.prefix)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(end_of_month_ms);
            let day_ms = 24 * 60 * 60 * 1000;
            if end_ms.is_some_and(|end| end + i64::from(keep_days) * day_ms <= now_ms) {
                let what = format!("dropping the index {name}");
                match self.client.delete(&format!("/{name}"), &what).await {
                    Ok(_) | Err(ArchiveError::Missing { .. }) => dropped.push(name.to_owned()),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(dropped)
    }

    async fn create(&self, index: &str, documents: Vec<Document>) -> Result<()> {
        bulk::create(&self.client, index, documents).await
    }
}

/// `2026.09` -> the first millisecond of October; `None` for what is no month.
fn end_of_month_ms(text: &str) -> Option<i64> {
    let (year, month) = text.split_once('.')?;
    if year.len() != 4 || month.len() != 2 {
        return None;
    }
    let first = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, 1).ok()?;
    let next = first.last_of_month().tomorrow().ok()?;
    let zoned = next.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(zoned.timestamp().as_millisecond())
}

/// Blocks for one body.
fn cut(cutter: &mut Cutter, name: &LogName, most: usize) -> Result<Vec<Document>> {
    let (mut batch, mut size) = (Vec::new(), 0);
    while size < most
        && let Some(block) = cutter.next_block()?
    {
        let document = block_document(name, &block);
        size += document.size();
        batch.push(document);
    }
    Ok(batch)
}

fn id(name: &LogName, part: &str) -> String {
    let LogName {
        instance,
        repo,
        build,
        attempt,
        step,
        ..
    } = name;
    format!("{instance}.{repo}.{build}.{attempt}.{step}.{part}")
}

fn document(name: &LogName, part: &str, time_ms: i64, fields: Value) -> Document {
    let mut source = json!({
        "@timestamp": time_ms,
        "instance": name.instance,
        "repo": name.repo,
        "build": name.build,
        "attempt": name.attempt,
        "job": name.job,
        "step": name.step,
        "step_name": name.step_name,
        "started": name.started_ms,
    });
    if let (Value::Object(source), Value::Object(fields)) = (&mut source, fields) {
        source.extend(fields);
    }
    Document {
        id: id(name, part),
        source: Bytes::from(source.to_string()),
    }
}

fn block_document(name: &LogName, block: &Block) -> Document {
    let fields = json!({
        "kind": "block",
        "seq": block.seq,
        "first_line": block.first_row + 1,
        "line_count": block.rows,
        "first_byte": block.first_byte,
        "byte_count": block.bytes,
        "text": block.text,
        "raw": block.raw,
        "index": block.index,
        "crc32": block.crc32,
    });
    document(name, &block.seq.to_string(), block.time_us / 1000, fields)
}

fn log_document(name: &LogName, dir: &Path, meta: &LogMeta, blocks: u64) -> Result<Document> {
    let mut files = json!({});
    for file in sealed_files(dir, name.step)? {
        if matches!(file.suffix, "json" | "notes") {
            let bytes = std::fs::read(&file.path).map_err(|e| {
                ArchiveError::later(format!("could not read {}: {e}", file.path.display()))
            })?;
            files[file.suffix] = frame(&bytes)?.into();
        }
    }
    let fields = json!({
        "kind": "log",
        "blocks": blocks,
        "bytes": meta.bytes,
        "lines": meta.rows,
        "sha256": meta.sha256,
        "meta": files["json"],
        "notes": files["notes"],
    });
    let time_ms = meta.first_us.map_or(name.started_ms, |us| us / 1000);
    Ok(document(name, "log", time_ms, fields))
}

/// What a query must hold for documents of these logs.
fn filters(of: &Selector) -> Vec<Value> {
    let mut filters = vec![
        json!({"term": {"repo": {"value": of.repo}}}),
        json!({"term": {"build": {"value": of.build}}}),
    ];
    if let Some(instance) = &of.instance {
        filters.push(json!({"term": {"instance": {"value": instance}}}));
    }
    if let Some(attempt) = of.attempt {
        filters.push(json!({"term": {"attempt": {"value": attempt}}}));
    }
    if let Some(step) = of.step {
        filters.push(json!({"term": {"step": {"value": step}}}));
    }
    filters
}

/// Part of an order. An index that somebody else made under a name of ours must not spoil a search:
/// it may lack the field.
fn by(field: &str, order: &str, kind: &str) -> Value {
    json!({field: {"order": order, "unmapped_type": kind}})
}

/// The pause before another try of what was asked to slow down.
fn pause(base: Duration, tries: u32) -> Duration {
    backoff(base, tries, Duration::from_secs(20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let ms = |text: &str| {
            let time: jiff::Timestamp = text.parse().expect("a time");
            Some(time.as_millisecond())
        };
        assert_eq!(end_of_month_ms("2026.09"), ms("2026-10-01T00:00:00Z"));
        assert_eq!(end_of_month_ms("2027.12"), ms("2028-01-01T00:00:00Z"));
        for wrong in ["2026", "2026.9", "2026.13", "2026.09-1", "abcd.ef", ""] {
            assert_eq!(end_of_month_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_build_is_in_the_index_of_its_month() {
        let made = |config| Elasticsearch::new(config);
        let es = made(ElasticsearchConfig::new("http://127.0.0.1:9")).expect("legal");
        // The last millisecond of August 2026.
        assert_eq!(es.index(1_788_220_799_999), "windlass-logs-2026.08");
        assert_eq!(es.index(1_788_220_800_000), "windlass-logs-2026.09");
        for wrong in ["", "A", "-x", "a*", "a,b", "_x", "a b", "../x"] {
            let mut config = ElasticsearchConfig::new("http://127.0.0.1:9");
            wrong.clone_into(&mut config.prefix);
            assert!(made(config).is_err(), "{wrong} was accepted");
        }
        for wrong in ["127.0.0.1", "ftp://x", "http://user:pw@x", "http://x/?a=b"] {
            assert!(
                made(ElasticsearchConfig::new(wrong)).is_err(),
                "{wrong} was accepted"
            );
        }
    }
}
