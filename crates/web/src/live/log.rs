//! A step's log as it grows. The id of a message is the offset in the log of the first byte that
//! was not sent for good; a browser that reconnects sends it back, and nothing is lost or doubled.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until};
use windlass_logs::LogError;

use super::shared::{BLOCK_ROWS, Block, Shelf, shelf};
use super::{PACE, PING, message, ping};
use crate::error::WebError;
use crate::log_rows::{self, NoteView, Row, Rows};
use crate::places::{Place, StepPath, find_place, number_in};
use crate::state::App;
use crate::text;

/// About how many bytes of log are in one message.
const BATCH_BYTES: usize = 256 * 1024;
/// Followers that read at once: whatever their number, no more threads, and no more memory for what is
/// being rendered.
static LOOKS: Semaphore = Semaphore::const_new(4);
/// How often the store is asked at most whether the step is over.
const ASK_STORE: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Deserialize)]
pub(crate) struct Asked {
    attempt: Option<String>,
    from: Option<String>,
}

/// From row `first_row` on the rows are these, whatever was there before; numbers up to `last_row`
/// that none of them bears were drawn over.
#[derive(Serialize)]
struct RowsMessage<'a> {
    first_row: u64,
    last_row: u64,
    rows: &'a [Row],
}

#[derive(Serialize)]
struct EndMessage {
    state: &'static str,
    outcome: String,
    duration: String,
}

/// `GET /repos/{repo}/builds/{number}/steps/{step}/stream`
pub(crate) async fn stream(
    State(app): State<App>,
    path: StepPath,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    // Subscribed before anything is read: what comes in between wakes us.
    let store_bell = app.store.changes();
    let place = find_place(&app, &path, asked.attempt.as_ref()).await?;
    if place.step().is_none() {
        return Err(place.no_step());
    }
    let resumed = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let from = number_in("from", asked.from.as_ref())?;
    let start = resumed.or(from).unwrap_or(0);
    let hub_bell = app.hub.subscribe(place.attempt.attempt_id().as_str());
    let folder = app.log_folder(&place.attempt.attempt_id());
    let follower = Follower {
        shelf: shelf(&folder, place.log_step()),
        over: place.is_over(),
        place,
        app,
        hub_bell,
        store_bell,
        store_rang: false,
        asked_at: Instant::now(),
        offset: start,
        rows: None,
        notes: None,
        partial_len: 0,
        caught_up: false,
        spoke_at: Instant::now() - PACE,
        ended: false,
    };
    Ok(super::response(stream::unfold(
        follower,
        |mut follower| async {
            let bytes = follower.next().await?;
            Some((Ok::<_, Infallible>(bytes), follower))
        },
    )))
}

struct Follower {
    app: App,
    /// What was rendered for others who follow this log.
    shelf: Arc<Shelf>,
    place: Place,
    /// The store says that nothing more will come.
    over: bool,
    hub_bell: watch::Receiver<u64>,
    store_bell: watch::Receiver<u64>,
    store_rang: bool,
    asked_at: Instant,
    /// Where to begin, as long as `rows` is not there yet.
    offset: u64,
    rows: Option<Rows>,
    /// How many notes were sent; not known before the first reading.
    notes: Option<usize>,
    /// How much of the last row was sent.
    partial_len: u64,
    /// The last reading reached the end of the log, or came near to it.
    caught_up: bool,
    spoke_at: Instant,
    ended: bool,
}

/// What one look at the files gave.
#[derive(Default)]
struct Look {
    /// The rows as they are sent.
    message: Option<Bytes>,
    notes: Vec<NoteView>,
    partial_len: u64,
    at_end: bool,
    /// There is more, but less than a block, and a whole one was read: with some patience it becomes
    /// one that all followers share.
    near_end: bool,
    complete: bool,
}

impl Follower {
    /// The next bytes for the reader, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.ended || self.app.shutdown.is_cancelled() {
                return None;
            }
            if self.caught_up {
                let pace = self.spoke_at + PACE;
                tokio::select! {
                    () = sleep_until(pace) => {}
                    () = self.app.shutdown.cancelled() => return None,
                }
            }
            // Seen before reading: what rings from here on makes us look again.
            self.hub_bell.borrow_and_update();
            let over = self.over;
            let look = match self.look().await {
                Ok(look) => look,
                Err(error) => {
                    tracing::warn!(?error, "a live log ends early");
                    return None;
                }
            };
            self.caught_up = look.at_end || look.near_end;
            let mut bytes = look.message.unwrap_or_default();
            let mut more = Vec::new();
            self.partial_len = look.partial_len;
            for note in &look.notes {
                more.extend_from_slice(&message(Some(self.offset), "note", note));
            }
            if look.at_end && (look.complete || over) {
                let end = self.end().await;
                more.extend_from_slice(&message(Some(self.offset), "end", &end));
                self.ended = true;
            }
            if !more.is_empty() {
                bytes = [&bytes[..], &more[..]].concat().into();
            }
            if !bytes.is_empty() {
                self.spoke_at = Instant::now();
                return Some(bytes);
            }
            if look.at_end && !self.wait().await? {
                return Some(ping());
            }
        }
    }

    /// Waits until there may be news; false when it is time to say that we are alive, and `None`
    /// when the server stops.
    async fn wait(&mut self) -> Option<bool> {
        let ping_at = Instant::now() + PING;
        loop {
            let ask_at = self.asked_at + ASK_STORE;
            tokio::select! {
                // Both bells live as long as the server: an error can't come.
                _ = self.hub_bell.changed() => return Some(true),
                _ = self.store_bell.changed(), if !self.store_rang => self.store_rang = true,
                () = sleep_until(ask_at), if self.store_rang => {
                    self.store_rang = false;
                    self.asked_at = Instant::now();
                    if self.is_over().await {
                        self.over = true;
                        return Some(true);
                    }
                }
                () = sleep_until(ping_at) => return Some(false),
                () = self.app.shutdown.cancelled() => return None,
            }
        }
    }

    async fn is_over(&mut self) -> bool {
        self.read_store().await.is_ok_and(|()| self.place.is_over())
    }

    async fn read_store(&mut self) -> Result<(), WebError> {
        let id = self.place.attempt.id;
        self.place.steps = self.app.store.steps(id).await?;
        self.place.attempt = self.app.store.attempt_by_id(id).await?;
        Ok(())
    }

    async fn look(&mut self) -> Result<Look, WebError> {
        let folder = self.app.log_folder(&self.place.attempt.attempt_id());
        let step = self.place.log_step();
        let (rows, offset, notes) = (self.rows.take(), self.offset, self.notes);
        let (shelf, partial_len) = (Arc::clone(&self.shelf), self.partial_len);
        let turn = LOOKS.acquire().await;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let (mut rows, started) = match rows {
                Some(mut rows) => {
                    rows.reader.refresh()?;
                    (rows, true)
                }
                None => (Rows::open(&folder, step)?, false),
            };
            let first_note = notes.unwrap_or_else(|| {
                // A note at the very place may have been seen before: readers know its number.
                let known = rows.reader.notes();
                known.iter().take_while(|note| note.offset < offset).count()
            });
            let mut look = Look {
                at_end: true,
                complete: rows.reader.is_complete(),
                ..Look::default()
            };
            // After a crash the recorder may not yet be again where this reader was: it waits.
            if rows.reader.len() < offset {
                return Ok((None, look, offset, notes));
            }
            if !started {
                let row = rows.reader.row_at_offset(offset)?;
                let next = row.map_or(rows.reader.rows(), |row| row.number);
                rows.seek(next)?;
            }
            let (sent, end) = read(&mut rows, &shelf, partial_len, &mut look)?;
            // Notes behind rows that are still to come wait for them.
            let due = log_rows::notes(&rows.reader, first_note);
            look.notes = due
                .into_iter()
                .take_while(|note| look.at_end || note.after <= sent)
                .collect();
            let sent_notes = look.notes.last().map_or(first_note, |note| note.k + 1);
            // Sealed under two hundred followers, a log would take two hundred decoded frames.
            rows.reader.release();
            Ok((Some(rows), look, end, Some(sent_notes)))
        });
        let (rows, look, offset, notes) = done
            .await?
            .map_err(|error: LogError| WebError::from(error))?;
        (self.rows, self.offset, self.notes) = (rows, offset, notes);
        Ok(look)
    }

    async fn end(&mut self) -> EndMessage {
        // The log ends a moment before the store hears of it; the store's words come first where
        // they are there, because it alone knows of steps without a log.
        let _ = self.read_store().await;
        let by_log = self.rows.as_ref().and_then(|rows| rows.reader.end());
        let step = self.place.step();
        match (step.and_then(|s| s.outcome.as_ref()), by_log) {
            (Some(outcome), _) => EndMessage {
                state: text::outcome_state(outcome),
                outcome: outcome.to_string(),
                duration: step.map(text::step_duration).unwrap_or_default(),
            },
            (None, Some(end)) => EndMessage {
                state: text::outcome_state(&end.outcome),
                outcome: end.outcome.to_string(),
                duration: text::duration(&((end.duration_us / 1_000) as i64)),
            },
            (None, None) => EndMessage {
                state: self.place.attempt.state.as_str(),
                outcome: self.place.attempt.state.to_string(),
                duration: String::new(),
            },
        }
    }
}

/// Reads the next rows into `look`. Says up to which row (from 1), and the log's offset behind those
/// that won't change any more.
fn read(
    rows: &mut Rows,
    shelf: &Shelf,
    was_partial: u64,
    look: &mut Look,
) -> Result<(u64, u64), LogError> {
    let first = rows.next_row();
    let room = BLOCK_ROWS - first % BLOCK_ROWS;
    // One row more, because the last one may still grow.
    let is_block = room == BLOCK_ROWS && rows.reader.rows() > first + BLOCK_ROWS;
    let state = rows.state().filter(|_| is_block).cloned();
    if let Some(block) = state.as_ref().and_then(|state| shelf.find(first, state)) {
        let to = first + BLOCK_ROWS;
        rows.pass(to, block.after.clone());
        look.message = Some(block.message.clone());
        look.at_end = false;
        look.near_end = rows.reader.rows() < to + BLOCK_ROWS;
        return Ok((to, block.end));
    }
    let from = rows.offset()?;
    let batch = rows.read(room as usize, BATCH_BYTES, true)?;
    let end = rows.offset()?;
    look.partial_len = match batch.rows.last() {
        Some(row) if row.partial => rows.reader.len() - end,
        _ if end == from => rows.reader.len() - end,
        _ => 0,
    };
    look.at_end = batch.last >= rows.reader.rows();
    let grown = look.partial_len != was_partial;
    if batch.rows.iter().any(|row| !row.partial) || (grown && !batch.rows.is_empty()) {
        let data = RowsMessage {
            first_row: batch.first,
            last_row: batch.last,
            rows: &batch.rows,
        };
        look.message = Some(message(Some(end), "rows", &data));
    }
    // All of its rows are there, and none was drawn over or may still be.
    let is_whole = (batch.first, rows.next_row()) == (first + 1, first + BLOCK_ROWS)
        && (batch.rows.iter().map(|row| row.n)).eq(first + 1..=first + BLOCK_ROWS)
        && batch.rows.iter().all(|row| !row.partial);
    if let (Some(before), Some(after), Some(message)) = (state, rows.state(), &look.message)
        && is_whole
    {
        look.near_end = rows.reader.rows() < batch.last + BLOCK_ROWS;
        shelf.put(Block {
            first,
            before,
            after: after.clone(),
            end,
            message: message.clone(),
        });
    }
    Ok((batch.last, end))
}
