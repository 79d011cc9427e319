//! Writing many documents at once. `_bulk` answers 200 even if it refused some of them: each item
//! has its own status.

use bytes::{BufMut as _, Bytes, BytesMut};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, TRIES, explain, ok, words};
use super::pause;
use crate::error::{ArchiveError, Result};

/// A document and its id.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) id: String,
    /// JSON without a line break.
    pub(super) source: Bytes,
}

impl Document {
    /// About how many bytes it takes in a body.
    pub(super) fn size(&self) -> usize {
        self.source.len() + self.id.len() + 100
    }
}

/// What became of a body.
enum Sent {
    /// These were not taken for want of room.
    Again(Vec<Document>, String),
    /// It is too large for the cluster, or for what stands before it.
    TooLarge(Vec<Document>),
}

/// Creates all documents; one that is there already is as good as created.
pub(super) async fn create(client: &Client, index: &str, documents: Vec<Document>) -> Result<()> {
    let mut bodies = vec![documents];
    while let Some(mut body) = bodies.pop() {
        let mut tries = 0;
        while !body.is_empty() {
            match send(client, index, body).await? {
                Sent::Again(rest, _) if rest.is_empty() => break,
                Sent::Again(rest, reason) => {
                    tries += 1;
                    if tries >= TRIES {
                        return Err(ArchiveError::outage(reason));
                    }
                    tokio::time::sleep(pause(client.pause, tries)).await;
                    body = rest;
                }
                Sent::TooLarge(mut large) if large.len() > 1 => {
                    bodies.push(large.split_off(large.len() / 2));
                    body = large;
                }
                Sent::TooLarge(large) => {
                    let size = large.first().map_or(0, Document::size);
                    return Err(ArchiveError::refused(format!(
                        "the cluster takes no document of {size} bytes (413): raise its \
                         http.max_content_length, or the limit of the proxy before it"
                    )));
                }
            }
        }
    }
    Ok(())
}

async fn send(client: &Client, index: &str, documents: Vec<Document>) -> Result<Sent> {
    let what = format!("writing {} documents to {index}", documents.len());
    let mut body = BytesMut::with_capacity(documents.iter().map(Document::size).sum());
    for document in &documents {
        let action = json!({"create": {"_index": index, "_id": document.id}});
        body.put_slice(action.to_string().as_bytes());
        body.put_u8(b'\n');
        body.put_slice(&document.source);
        body.put_u8(b'\n');
    }
    let content = Some(("application/x-ndjson", body.freeze()));
    let answer = client.call(Method::POST, "/_bulk", content, &what).await?;
    if answer.status == 413 {
        return Ok(Sent::TooLarge(documents));
    }
    let answer = ok(answer, &what)?;
    let items = answer["items"].as_array().map(Vec::as_slice);
    let items = items.unwrap_or_default();
    if items.len() != documents.len() {
        return Err(ArchiveError::outage(format!(
            "{what}: the answer speaks of {} documents",
            items.len()
        )));
    }
    let (mut again, mut reason) = (Vec::new(), String::new());
    for (document, item) in documents.into_iter().zip(items) {
        let item = &item["create"];
        let status = item["status"].as_u64().unwrap_or(0);
        match status {
            // 409: an earlier try wrote it.
            200..=299 | 409 => {}
            429 | 500..=599 => {
                reason = said(&what, item, status);
                again.push(document);
            }
            400 | 413 => return Err(ArchiveError::refused(said(&what, item, status))),
            404 => {
                return Err(ArchiveError::outage(format!(
                    "{}; allow the cluster to make indices with this name \
                     (action.auto_create_index)",
                    said(&what, item, status)
                )));
            }
            _ => return Err(ArchiveError::outage(said(&what, item, status))),
        }
    }
    Ok(Sent::Again(again, reason))
}

fn said(what: &str, item: &Value, status: u64) -> String {
    let words = words(&item["error"]);
    let body = json!({"error": words});
    let answer = super::client::Answer {
        status: u16::try_from(status).unwrap_or(0),
        body,
    };
    format!("{what}: {}", explain(&answer))
}
