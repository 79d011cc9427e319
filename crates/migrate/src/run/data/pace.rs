//! How far a data migration is, how fast it goes, and how large its next batch is.

use std::time::Duration;

use tokio::time::Instant;

use super::Batches;
use crate::database::{Conn as _, Session, literal};
use crate::error::{Error, is_missing_table};
use crate::run::locked::{Locked, lost_or};
use crate::version::Version;

/// How a data migration that has begun stands.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Progress {
    /// The migration.
    pub version: Version,
    /// How many batches took effect.
    pub batches: i64,
    /// How many keys were in them.
    pub keys: i64,
    /// The last of them.
    pub last_key: Option<String>,
    /// How much of the table that is, from 0 to 1, if it can be told.
    pub part: Option<f64>,
    /// How long the rest takes, in milliseconds, if it goes on as it went.
    pub eta_ms: Option<i64>,
    /// How long the batches took together, in milliseconds, without pauses.
    pub busy_ms: i64,
    /// When it began, in milliseconds since 1970.
    pub started_ms: i64,
    /// When the last batch took effect.
    pub updated_ms: i64,
    #[serde(skip)]
    pub(super) hash: String,
}

/// What data migrations have begun and not finished.
/// `called`: whose number in our tables a number is.
pub(in crate::run) async fn progress<S: Session>(
    session: &mut S,
    called: impl Fn(i64) -> Version,
) -> Result<Vec<Progress>, Error> {
    let sql = format!(
        "select version, batches, seen, last_key, part, eta_ms, busy_ms, started_ms, updated_ms, \
         hash from {} order by version",
        session.tables().progress
    );
    let rows = match session.conn().texts(&sql).await {
        Ok(rows) => rows,
        Err(error) if is_missing_table(&error) => return Ok(Vec::new()),
        Err(error) => return Err(lost_or("read how far data migrations have come", error)),
    };
    Ok(rows
        .into_iter()
        .map(|row| {
            let text = |i: usize| row.get(i).cloned().flatten();
            let number = |i: usize| text(i).and_then(|t| t.parse::<i64>().ok());
            Progress {
                version: called(number(0).unwrap_or(0)),
                batches: number(1).unwrap_or(0),
                keys: number(2).unwrap_or(0),
                last_key: text(3),
                part: text(4)
                    .and_then(|t| t.parse::<u32>().ok())
                    .map(|p| f64::from(p) / f64::from(WHOLE)),
                eta_ms: number(5),
                busy_ms: number(6).unwrap_or(0),
                started_ms: number(7).unwrap_or(0),
                updated_ms: number(8).unwrap_or(0),
                hash: text(9).unwrap_or_default(),
            }
        })
        .collect())
}

/// How the table keeps [`Progress::part`].
const WHOLE: u32 = 10_000;

/// What a run knows of the table.
pub(super) struct Table {
    /// Keys are numbers: they stand bare in SQL, and tell how far we are.
    pub(super) numbers: bool,
    pub(super) first: Option<f64>,
    pub(super) last: Option<f64>,
    /// About how many rows, where keys are not numbers.
    pub(super) rows: Option<f64>,
}

impl Table {
    pub(super) fn literal<S: Session>(&self, key: &str) -> String {
        if self.numbers && key.parse::<i128>().is_ok() {
            key.to_owned()
        } else {
            literal(key, S::DIALECT)
        }
    }

    pub(super) fn part(&self, key: &str, keys: i64) -> Option<f64> {
        let part = match (key.parse::<f64>(), self.first, self.last, self.rows) {
            (Ok(at), Some(first), Some(last), _) if last > first => (at - first) / (last - first),
            #[expect(clippy::cast_precision_loss, reason = "a part, for people")]
            (_, _, _, Some(rows)) if rows > 0.0 => keys as f64 / rows,
            _ => return None,
        };
        Some(part.clamp(0.0, 1.0))
    }
}

/// How fast a run goes.
pub(super) struct Pace<'a> {
    pub(super) table: &'a Table,
    /// Which part was done when it began.
    pub(super) from: f64,
    pub(super) began: Instant,
}

impl Pace<'_> {
    /// How long the rest takes, if it goes on like this.
    fn eta_ms(&self, part: f64) -> Option<i64> {
        let done = part - self.from;
        if done <= 0.0 {
            return None;
        }
        let rest = self.began.elapsed().as_secs_f64() * 1000.0 * (1.0 - part) / done;
        #[expect(clippy::cast_possible_truncation, reason = "an estimate")]
        Some(rest as i64)
    }
}

/// Moves the state on, and gives the SQL that does the same in the database, if nobody else did.
pub(super) fn moved<S: Session>(
    locked: &Locked<S>,
    state: &mut Progress,
    hi: &str,
    keys: u64,
    took: Duration,
    pace: &Pace<'_>,
) -> String {
    let before = state.batches;
    state.batches += 1;
    state.keys += i64::try_from(keys).unwrap_or(i64::MAX);
    state.busy_ms += i64::try_from(took.as_millis()).unwrap_or(0);
    state.part = pace.table.part(hi, state.keys);
    state.eta_ms = state.part.and_then(|part| pace.eta_ms(part));
    let number = |n: Option<i64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 10,000")]
    let part = state.part.map(|p| (p * f64::from(WHOLE)) as i64);
    format!(
        "update {} set last_key = {}, batches = {}, seen = {}, part = {}, eta_ms = {}, busy_ms = {}, \
         updated_ms = {}, token = {} where version = {} and batches = {before}",
        locked.session.tables().progress,
        literal(hi, S::DIALECT),
        state.batches,
        state.keys,
        number(part),
        number(state.eta_ms),
        state.busy_ms,
        S::NOW,
        locked.lease.token,
        state.version.key(),
    )
}

/// The next batch is smaller if this one took longer than the target, and larger again, up to what
/// the file says, if it took less than half of that.
pub(super) fn next_size(size: u32, took: Duration, job: &Batches<'_>) -> u32 {
    let target = job.batch.target;
    if target.is_zero() {
        return size;
    }
    if took > target {
        let part = target.as_secs_f64() / took.as_secs_f64();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "smaller than size"
        )]
        let smaller = (f64::from(size) * part.max(0.25)) as u32;
        return smaller.max(1);
    }
    if took < target / 2 {
        return size.saturating_mul(2).min(job.size);
    }
    size
}
