//! A file, its row of the history and the commit as one message to the database: on its way to and
//! from another thread or machine, a small file would spend longer than in the database.
//!
//! Only while an empty database is filled. Elsewhere a statement may take long, and who stops us in it
//! must not find that a server went on to the commit by itself.

use std::collections::HashMap;
use std::time::Instant;

use super::super::locked::{Locked, lost_or, taken};
use super::super::{Done, Event, Tell};
use super::{Direction, Job, insert_with, lines, position};
use crate::database::{Conn as _, Opening, Session};
use crate::error::{Error, is_gone, is_refused_token};
use crate::folder::Folder;

/// Between statements, whose text ends with their last token. SQLite keeps what stands before the `;`.
const END: &str = ";\n";

/// In bytes. What is longer takes its time in the database.
const MOST: usize = 64 * 1024;

/// Settings that change how PostgreSQL reads the text after them. It reads a message as a whole
/// before it does any of it.
const HOW_TEXT_IS_READ: [&str; 3] = [
    "standard_conforming_strings",
    "backslash_quote",
    "client_encoding",
];

/// Files that share a commit, at most.
const TOGETHER: usize = 32;

/// Who makes many rows out of nothing may take so long that people want to see the file's name
/// meanwhile.
const LONG: [&str; 2] = ["recursive", "generate_series"];

/// Whether files of a folder may share a commit at all. A constraint that is looked at only there is to
/// be looked at after each file.
pub(in crate::run) fn may_share(folder: &Folder) -> bool {
    let defers = |text: &str| text.to_ascii_lowercase().contains("defer");
    !folder.files.iter().any(|file| defers(&file.up.text))
}

impl Job<'_> {
    /// Whether nothing is to be done between its first statement and the commit, and it is short.
    fn is_straight(&self) -> bool {
        let length: usize = self.steps.iter().map(|(s, _)| s.text.len()).sum();
        self.direction == Direction::Up
            && self.stands_for.is_none()
            && self.verify.is_empty()
            && !self.alone
            && length <= MOST
    }

    fn may_be_long(&self) -> bool {
        let text = self.section.text.to_ascii_lowercase();
        LONG.iter().any(|word| text.contains(word))
    }
}

/// All of a file in one.
pub(super) struct Message {
    sql: String,
    /// How many statements come before the file's own.
    opening: usize,
    /// Where the file's statements begin, in bytes.
    starts: Vec<usize>,
    /// And where they end.
    closing: usize,
}

impl<S: Session> Locked<S> {
    /// `None`: between this file's statements and the commit there is something to see to, it is
    /// long, or the database may be in use.
    pub(super) fn message(
        &self,
        job: &Job<'_>,
        opening: &Opening,
        began: Instant,
    ) -> Option<Message> {
        if !self.filling || self.beside.is_some() || job.steps.is_empty() || !job.is_straight() {
            return None;
        }
        let mut message = Message {
            sql: opening.sql.clone(),
            opening: opening.statements,
            starts: Vec::with_capacity(job.steps.len()),
            closing: 0,
        };
        for (statement, _) in &job.steps {
            message.starts.push(message.sql.len());
            message.sql.push_str(&statement.text);
            message.sql.push_str(END);
        }
        let text = message.sql.to_ascii_lowercase();
        if HOW_TEXT_IS_READ.iter().any(|name| text.contains(name)) {
            return None;
        }
        // Tries before this one count, as the pauses between them do.
        let ms = format!("{} + {}", began.elapsed().as_millis(), opening.since);
        let row = |token: &str| insert_with(self, job.file, "applied", &ms, token);
        message.closing = message.sql.len();
        message.sql.push_str(&self.closing(row, &[])?);
        Some(message)
    }

    /// Sends it, and tells where it failed.
    pub(super) async fn send(&mut self, job: &Job<'_>, message: &Message) -> Result<(), Error> {
        let (done, ended) = self.session.conn().execute_all(&message.sql).await;
        let Err(cause) = ended else {
            self.clean = true;
            self.beat_if_silent().await;
            return Ok(());
        };
        if is_gone(&cause) {
            return Err(lost_or("run a statement", cause));
        }
        let at = position(&cause, &message.sql);
        // A text that can't be read is refused as a whole: its place tells what is wrong with it.
        let step = match at {
            Some(at) => message
                .starts
                .partition_point(|start| *start <= at)
                .checked_sub(1),
            None => done.checked_sub(message.opening),
        };
        let Some(step) = step else {
            return Err(lost_or("begin", cause));
        };
        if at.map_or(step >= job.steps.len(), |at| at >= message.closing) {
            if is_refused_token(&cause, &self.session.tables().name) {
                return Err(taken());
            }
            return Err(lost_or("record a migration and commit", cause));
        }
        let before = at.map_or("", |at| &message.sql[message.starts[step]..at]);
        Err(Error::Statement {
            file: job.section.file.clone(),
            line: job.steps[step].0.line + lines(before),
            kept: false,
            cause,
        })
    }

    /// How many of these files, from the first, can share a transaction. In a database that is in use
    /// others wait for each commit.
    pub(in crate::run) fn together<'j>(
        &self,
        jobs: impl Iterator<Item = Option<&'j Job<'j>>>,
    ) -> usize {
        if !S::MAY_SHARE || !self.filling || self.beside.is_some() {
            return 0;
        }
        jobs.take(TOGETHER)
            .take_while(|job| {
                job.is_some_and(|job| {
                    job.is_straight() && !job.limits.foreign_keys_off && !job.may_be_long()
                })
            })
            .count()
    }

    /// These files in one transaction: a commit is what takes the time in SQLite. `None`: one of
    /// them failed, and the database is as before; one by one tells which, and keeps the others.
    pub(in crate::run) async fn apply_together(
        &mut self,
        jobs: &[&Job<'_>],
        tell: Tell<'_>,
    ) -> Result<Option<Vec<Done>>, Error> {
        self.check()?;
        let (Some(first), Some(last)) = (jobs.first(), jobs.last()) else {
            return Ok(None);
        };
        self.heart.doing(format!(
            "applying {} to {}",
            first.file.file, last.file.file
        ));
        let Some(opening) = self.session.opening(&first.limits, self.clean) else {
            return Ok(None);
        };
        let history = self.session.tables().history.clone();
        let mut sql = opening.sql;
        let mut ms = opening.since;
        for job in jobs {
            for (statement, _) in &job.steps {
                sql.push_str(&statement.text);
                sql.push_str(END);
            }
            let row = |token: &str| insert_with(self, job.file, "applied", &ms, token);
            let Some(row) = self.row(row) else {
                return Ok(None);
            };
            sql.push_str(&row);
            sql.push_str(";\n");
            ms = format!(
                "max(0, {} - (select applied_ms from {history} where version = {}))",
                S::NOW,
                job.file.version.key()
            );
        }
        sql.push_str("commit");
        let sent = Instant::now();
        let (_, ended) = self.session.conn().execute_all(&sql).await;
        let all_took = sent.elapsed();
        if let Err(cause) = ended {
            if is_gone(&cause) {
                return Err(lost_or("run a statement", cause));
            }
            self.session.conn().execute("rollback").await.unwrap_or(0);
            return Ok(None);
        }
        self.beat_if_silent().await;
        let keys: Vec<String> = jobs
            .iter()
            .map(|job| job.file.version.key().to_string())
            .collect();
        let sql = format!(
            "select version, duration_ms from {history} where version in ({})",
            keys.join(", ")
        );
        // It is done, whether this can be read or not; then each is said to have taken the same.
        let rows = self.session.conn().texts(&sql).await.unwrap_or_default();
        let each = all_took.as_millis() / jobs.len() as u128;
        let each = u64::try_from(each).unwrap_or(u64::MAX);
        let number = |text: Option<&Option<String>>| text?.as_deref()?.parse::<i64>().ok();
        let took: HashMap<i64, u64> = rows
            .iter()
            .filter_map(|row| {
                let ms = u64::try_from(number(row.get(1))?).ok()?;
                Some((number(row.first())?, ms))
            })
            .collect();
        let mut all = Vec::with_capacity(jobs.len());
        for job in jobs {
            let file = job.file;
            let done = Done {
                version: file.version,
                file: file.file.clone(),
                phase: file.phase,
                ms: took.get(&file.version.key()).copied().unwrap_or(each),
            };
            tell(Event::Begin {
                version: file.version,
                file: file.file.clone(),
            });
            tell(Event::Done(done.clone()));
            all.push(done);
        }
        self.tell_of_gate(&mut *tell);
        Ok(Some(all))
    }
}
