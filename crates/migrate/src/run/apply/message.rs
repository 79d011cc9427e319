//! A file, its row of the history and the commit as one message to the database: on its way to and
//! from another thread or machine, a small file would spend longer than in the database.

use std::time::Instant;

use super::super::locked::{Locked, lost_or, taken};
use super::{Direction, Job, insert_with, lines, position};
use crate::database::{Conn as _, Opening, Session};
use crate::error::{Error, is_gone, is_refused_token};

/// In bytes. What is longer takes its time in the database.
const MOST: usize = 64 * 1024;

/// Settings that change how PostgreSQL reads the text after them. It reads a message as a whole
/// before it does any of it.
const HOW_TEXT_IS_READ: [&str; 3] = [
    "standard_conforming_strings",
    "backslash_quote",
    "client_encoding",
];

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
    /// `None`: between this file's statements and the commit there is something to see to, or it
    /// is long.
    pub(super) fn message(
        &self,
        job: &Job<'_>,
        opening: &Opening,
        began: Instant,
    ) -> Option<Message> {
        let length: usize = job.steps.iter().map(|(s, _)| s.text.len()).sum();
        if job.direction != Direction::Up
            || job.steps.is_empty()
            || !job.verify.is_empty()
            || self.beside.is_some()
            || length > MOST
        {
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
            message.sql.push_str("\n;");
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
}
