//! What the services of a job printed, kept as files when the job is over: one line of the engine's time stamp
//! and the text for each line of the service.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptions;
use futures_util::{Stream, StreamExt as _};

use super::ExecutorError;
use super::process;

/// The folder of an attempt on this machine in which the logs lie, as `NAME.log`.
const FOLDER: &str = "services";

/// Of a service that prints more, the begin and the end are kept, with a line in between that says so.
const HEAD: usize = 12 << 20;
const TAIL: usize = 4 << 20;

/// How long one log may take: the daemon may be busy, and a node may be gone.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn options() -> LogsOptions {
    LogsOptions {
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: "all".to_owned(),
        ..LogsOptions::default()
    }
}

/// The error of a service that can't be used, with what it printed last.
pub(super) fn not_ready(service: &str, reason: &str, log: &str) -> ExecutorError {
    let said = match log.trim() {
        "" => "it printed nothing".to_owned(),
        log => format!("its last lines:\n{log}"),
    };
    ExecutorError::Docker {
        doing: format!("use the service {service}"),
        message: format!("{reason}; {said}"),
        hint: "look at its `image`, `env` and `command`, or give `ready` a longer `timeout`"
            .to_owned(),
    }
}

/// Where the log of a service is kept in an attempt's folder.
pub fn file(folder: &Path, service: &str) -> PathBuf {
    folder.join(FOLDER).join(format!("{service}.log"))
}

/// Keeps a log. What can't be had is left out, and the log says so: it is no part of the job.
pub(super) async fn keep(
    stream: impl Stream<Item = Result<LogOutput, Error>>,
    path: &Path,
) -> Result<(), ExecutorError> {
    let text = read(stream, HEAD, TAIL, LIMIT).await;
    let folder = path.parent().unwrap_or(path);
    process::create_dir(folder)?;
    std::fs::write(path, text).map_err(process::file("write", path))
}

async fn read(
    stream: impl Stream<Item = Result<LogOutput, Error>>,
    head: usize,
    tail: usize,
    limit: Duration,
) -> Vec<u8> {
    let mut text = Vec::new();
    let (mut last, mut last_bytes, mut left_out) = (VecDeque::new(), 0, 0_u64);
    let reading = async {
        let mut stream = std::pin::pin!(stream);
        while let Some(item) = stream.next().await {
            let item = match item {
                // Not of the service, but the daemon's own complaint.
                Ok(LogOutput::Console { .. }) => continue,
                Ok(item) => item.into_bytes(),
                Err(error) => return Some(error.to_string()),
            };
            let mut line = item.to_vec();
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            if left_out == 0 && last.is_empty() && text.len() + line.len() <= head {
                text.append(&mut line);
                continue;
            }
            last_bytes += line.len();
            last.push_back(line);
            while last_bytes > tail
                && let Some(line) = last.pop_front()
            {
                last_bytes -= line.len();
                left_out += line.len() as u64;
            }
        }
        None
    };
    let missing = tokio::time::timeout(limit, reading)
        .await
        .unwrap_or_else(|_| {
            let seconds = limit.as_secs();
            Some(format!("the daemon took longer than {seconds} s for it"))
        });
    if left_out > 0 {
        let words = format!("{left_out} bytes of what this service printed are left out here");
        text.extend(marker(&words));
    }
    for line in last {
        text.extend(line);
    }
    if let Some(why) = missing {
        let words = format!("what this service printed after this could not be had: {why}");
        text.extend(marker(&words));
    }
    text
}

fn marker(words: &str) -> Vec<u8> {
    format!("--- windlass: {} ---\n", words.replace('\n', " ")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn lines(texts: &[&str]) -> Vec<Result<LogOutput, Error>> {
        let line = |text: &&str| {
            Ok(LogOutput::StdOut {
                message: text.to_string().into(),
            })
        };
        texts.iter().map(line).collect()
    }

    async fn kept(items: Vec<Result<LogOutput, Error>>) -> String {
        let text = read(futures_util::stream::iter(items), 12, 8, LONG).await;
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn a_short_log_is_kept_as_it_is() {
        assert_eq!(kept(lines(&[])).await, "");
        assert_eq!(kept(lines(&["one\n", "two"])).await, "one\ntwo\n");
        // Both parts full to the brim: nothing is left out, and nothing is said.
        let full = ["aaa\n", "bbb\n", "ccc\n", "ddd\n", "eee\n"];
        assert_eq!(kept(lines(&full)).await, full.concat());
    }

    #[tokio::test]
    async fn of_a_long_log_begin_and_end_are_kept_and_the_gap_is_told() {
        let texts: Vec<String> = (1000..1100).map(|n| format!("{n}\n")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert_eq!(
            kept(lines(&texts)).await,
            "1000\n1001\n\
             --- windlass: 485 bytes of what this service printed are left out here ---\n1099\n"
        );
    }

    #[tokio::test]
    async fn what_could_not_be_had_is_told_at_the_end() {
        let mut items = lines(&["one\n"]);
        items.push(Err(Error::RequestTimeoutError));
        items.extend(lines(&["never\n"]));
        let text = kept(items).await;
        assert!(
            text.starts_with(
                "one\n--- windlass: what this service printed after this could not be had: "
            ),
            "{text}"
        );
        assert!(!text.contains("never"), "{text}");

        let one = futures_util::stream::iter(lines(&["one\n"]));
        let endless = one.chain(futures_util::stream::pending());
        let text = read(endless, 12, 8, Duration::ZERO).await;
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("the daemon took longer than 0 s"), "{text}");
    }
}
