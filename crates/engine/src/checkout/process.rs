//! A process of git: its group, which ends with us, and what it prints, within bounds.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::Log;
use crate::git::GitError;

/// How much of git's stderr is kept: its end, in bytes.
const STDERR_KEPT: usize = 64 * 1024;

/// How much of git's stdout is kept: its beginning, in bytes.
const STDOUT_KEPT: usize = 16 * 1024 * 1024;

/// Kills a process group when dropped.
pub(crate) struct Group(Option<Pid>);

impl Group {
    /// Starts a command that is to be a group of its own.
    pub(crate) fn start(mut command: Command) -> Result<(Child, Self), GitError> {
        let child = command.spawn().map_err(|e| match e.kind() {
            // The working directory is always ours and there, so it is the program.
            std::io::ErrorKind::NotFound => GitError::Missing,
            _ => GitError::Spawn(e),
        })?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .map(Pid::from_raw);
        Ok((child, Self(pid)))
    }

    /// The leader has been waited for: its number may soon belong to somebody else.
    pub(crate) fn forget(&mut self) {
        self.0 = None;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // It may have ended by itself just now; then there is nothing to do.
            let _ = killpg(pid, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Reads to the end, so that git never waits for us, and keeps the beginning.
pub(crate) async fn keep_head(pipe: Option<impl AsyncRead + Unpin>, out: &mut Vec<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        let room = STDOUT_KEPT.saturating_sub(out.len());
        out.extend_from_slice(&buffer[..n.min(room)]);
    }
}

/// The end of stderr, and its lines on their way to the log.
pub(crate) struct Tail<'a> {
    kept: Vec<u8>,
    line: Vec<u8>,
    log: Option<Log<'a>>,
    secret: Option<&'a str>,
    last_progress: Option<Instant>,
}

impl<'a> Tail<'a> {
    pub(crate) fn new(log: Option<Log<'a>>, secret: Option<&'a str>) -> Self {
        Self {
            kept: Vec::new(),
            line: Vec::new(),
            log,
            secret,
            last_progress: None,
        }
    }

    pub(crate) async fn read(&mut self, pipe: Option<impl AsyncRead + Unpin>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 8 * 1024];
        while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
            self.take(&buffer[..n]);
        }
        self.say(b'\n');
    }

    fn take(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() > 2 * STDERR_KEPT {
            self.kept.drain(..self.kept.len() - STDERR_KEPT);
        }
        if self.log.is_none() {
            return;
        }
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.say(byte);
            } else if self.line.len() < 4096 {
                self.line.push(byte);
            }
        }
    }

    /// Hands one line to the log. `\r` ends a line that the next one is to overwrite: progress.
    fn say(&mut self, end: u8) {
        let line = clean(&self.line, self.secret);
        self.line.clear();
        let Some(log) = self.log else { return };
        if line.trim().is_empty() {
            return;
        }
        if end == b'\r' {
            let now = Instant::now();
            if self
                .last_progress
                .is_some_and(|t| now - t < Duration::from_secs(1))
            {
                return;
            }
            self.last_progress = Some(now);
        }
        log(line.trim_end());
    }

    pub(crate) fn into_text(self) -> String {
        let from = self.kept.len().saturating_sub(STDERR_KEPT);
        clean(&self.kept[from..], self.secret)
    }
}

/// Text for people: no control characters but line ends and tabs, no secret.
pub(crate) fn clean(bytes: &[u8], secret: Option<&str>) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    match secret {
        Some(secret) if !secret.is_empty() => text.replace(secret, "***"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_see_holds_no_secret_and_no_control_character() {
        assert_eq!(
            clean(b"a\x1b[31mb hunter2\n", Some("hunter2")),
            "a[31mb ***\n"
        );
        assert_eq!(clean(b"as it is", Some("")), "as it is");
    }
}
