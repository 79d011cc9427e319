//! Logs: as text with ranges, followed, and as events that lose and double nothing.

use std::time::Duration;

use axum::http::StatusCode;
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;
use windlass_store::ForgeKind;

use crate::ask::{get, get_with, listen, open};
use crate::fixture::{Fixture, Job, push};

pub(crate) const LOG: &str = "/repos/demo/builds/1/steps/1/log";
pub(crate) const STREAM: &str = "/repos/demo/builds/1/steps/1/stream";

pub(crate) async fn running() -> (Fixture, Job) {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let job = fixture.job(&["test", "deploy"]).await;
    (fixture, job)
}

#[tokio::test]
async fn a_log_is_text_with_ranges() {
    let (fixture, mut job) = running().await;
    let state = &fixture.state;
    job.start(0).await;
    job.out(0, "one\n\x1b[31mtwo\x1b[0m\nthree\n").await;
    let live = get(state, LOG).await;
    assert_eq!(live.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(live.header("x-windlass-log-complete"), "false");
    assert_eq!(live.header("x-windlass-next-offset"), "23");
    assert!(live.header("etag").is_empty());
    job.out(0, "part").await;
    let plain = get(state, &format!("{LOG}?strip=ansi")).await;
    assert_eq!(plain.body, "one\ntwo\nthree\npart");
    job.out(0, "\n").await;
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    job.finish(BuildState::Passed, "", None).await;
    let whole = "one\n\x1b[31mtwo\x1b[0m\nthree\npart\n";
    let sealed = get(state, LOG).await;
    assert_eq!(sealed.body, whole);
    assert_eq!(sealed.header("x-windlass-log-complete"), "true");
    assert_eq!(sealed.header("accept-ranges"), "bytes");
    assert_eq!(sealed.header("content-length"), "28");
    let etag = sealed.header("etag").to_owned();
    assert!(etag.len() > 60);
    let cached = get_with(state, LOG, &[("if-none-match", &etag)]).await;
    assert_eq!(cached.status, StatusCode::NOT_MODIFIED);
    for (range, status, body, content_range) in [
        ("bytes=0-2", 206, "one", "bytes 0-2/28"),
        ("bytes=23-", 206, "part\n", "bytes 23-27/28"),
        ("bytes=-5", 206, "part\n", "bytes 23-27/28"),
        ("bytes=0-0,2-2", 200, whole, ""),
        ("nonsense", 200, whole, ""),
    ] {
        let answer = get_with(state, LOG, &[("range", range)]).await;
        assert_eq!(answer.status.as_u16(), status, "{range}");
        assert_eq!(answer.body, body, "{range}");
        assert_eq!(answer.header("content-range"), content_range);
    }
    let outside = get_with(state, LOG, &[("range", "bytes=28-")]).await;
    assert_eq!(outside.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(outside.header("content-range"), "bytes */28");
    let other = [("range", "bytes=0-2"), ("if-range", "\"other\"")];
    assert_eq!(get_with(state, LOG, &other).await.status, StatusCode::OK);
    for (query, body) in [
        ("tail=1", "part\n"),
        ("tail=0", ""),
        ("tail=99", whole),
        ("lines=1-1", "one\n"),
        ("lines=3", "three\n"),
        ("lines=2-", "\x1b[31mtwo\x1b[0m\nthree\npart\n"),
        ("lines=9-10", ""),
        ("strip=ansi", "one\ntwo\nthree\npart\n"),
        ("strip=ansi&lines=2-2", "two\n"),
        ("follow=1", whole),
        ("follow=1&from=17", "three\npart\n"),
        ("follow=1&from=99", ""),
        ("from=17", "three\npart\n"),
    ] {
        let answer = get(state, &format!("{LOG}?{query}")).await;
        assert_eq!(answer.body, body, "{query}");
    }
    for query in ["lines=0", "lines=x", "tail=x", "strip=colour"] {
        let answer = get(state, &format!("{LOG}?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.body.starts_with("error: "));
    }
    let api = get(state, "/api/v1/repos/demo/builds/1/steps/1/log?attempt=1").await;
    assert_eq!(api.body, whole);
    // A step that never ran has an empty log, not an error.
    let skipped = get(state, "/repos/demo/builds/1/steps/2/log?follow=1").await;
    assert_eq!(
        (skipped.status, skipped.body.as_str()),
        (StatusCode::OK, "")
    );
}

#[tokio::test]
async fn large_logs_arrive_whole_live_and_sealed() {
    let (fixture, mut job) = running().await;
    let text: String = (0..200_000)
        .map(|n| format!("\x1b[3{}mline {n}\x1b[0m\n", n % 8))
        .collect();
    job.start(0).await;
    job.out(0, &text).await;
    assert!(get(&fixture.state, LOG).await.body == text);
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    job.finish(BuildState::Passed, "", None).await;
    assert!(get(&fixture.state, LOG).await.body == text);
    assert!(get(&fixture.state, &format!("{LOG}?follow=1")).await.body == text);
    let plain: String = (0..200_000).map(|n| format!("line {n}\n")).collect();
    assert!(get(&fixture.state, &format!("{LOG}?strip=ansi")).await.body == plain);
}

#[tokio::test]
async fn a_followed_log_comes_as_it_is_written_and_ends() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    // Before the step has begun.
    let mut reader = open(address, &format!("{LOG}?follow=1"), &[]).await;
    let mut plain = open(address, &format!("{LOG}?follow=1&strip=ansi"), &[]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    job.start(0).await;
    for n in 0..20 {
        job.out(0, format!("line {n}\n")).await;
        reader.until(&format!("line {n}\n")).await;
    }
    job.out(0, "\x1b[1mno line end").await;
    reader.until("no line end").await;
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    assert!(reader.end().await.ends_with("line 19\n\x1b[1mno line end"));
    assert!(plain.end().await.ends_with("line 19\nno line end"));
    // The second step never runs; who waits for it is told so by the end.
    let mut second = open(address, "/repos/demo/builds/1/steps/2/log?follow=1", &[]).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(BuildState::Passed, "", None).await;
    assert_eq!(second.end().await, "");
}

#[tokio::test]
async fn one_may_wait_for_a_build_that_is_not_planned_yet_and_shutdown_ends_all() {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    assert_eq!(get(&fixture.state, LOG).await.status, StatusCode::NOT_FOUND);
    let address = listen(&fixture.state).await;
    let mut early = open(address, &format!("{LOG}?follow=1"), &[]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut job = fixture.job(&["test"]).await;
    job.start(0).await;
    job.out(0, "hello\n").await;
    early.until("hello\n").await;
    let mut stream = open(address, STREAM, &[]).await;
    let mut events = open(address, "/repos/demo/builds/1/events", &[]).await;
    let mut list = open(address, "/events", &[]).await;
    stream.until("hello").await;
    events.until("running").await;
    list.until("change").await;
    fixture.state.shutdown.cancel();
    for open in [&mut early, &mut stream, &mut events, &mut list] {
        open.end().await;
    }
}

/// What a browser would have shown: rows by number, the last version of each; how often each was
/// sent for good; the last id.
#[derive(Default)]
pub(crate) struct Shown {
    pub(crate) rows: std::collections::BTreeMap<u64, String>,
    sent: std::collections::BTreeMap<u64, u32>,
    notes: std::collections::BTreeSet<u64>,
    pub(crate) end: Option<serde_json::Value>,
    id: String,
    /// Rows of the largest message.
    most_rows: usize,
}

impl Shown {
    pub(crate) fn take(&mut self, text: &str) {
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // The last message may be cut off, as when a connection breaks.
        let whole = body.rfind("\n\n").map_or("", |at| &body[..at]);
        for message in whole.split("\n\n").filter(|m| !m.starts_with(':')) {
            let field = |name: &str| {
                let prefix = format!("{name}: ");
                message
                    .lines()
                    .find_map(|l| l.strip_prefix(&prefix))
                    .unwrap_or("")
            };
            let data: serde_json::Value = serde_json::from_str(field("data")).unwrap_or_default();
            match field("event") {
                "rows" => {
                    let first = data["first_row"].as_u64().unwrap();
                    self.rows.retain(|n, _| *n < first);
                    for row in data["rows"].as_array().unwrap() {
                        let n = row["n"].as_u64().unwrap();
                        self.rows
                            .insert(n, row["html"].as_str().unwrap().to_owned());
                        if row["partial"] == false {
                            *self.sent.entry(n).or_default() += 1;
                        }
                    }
                    let rows = data["rows"].as_array().unwrap().len();
                    self.most_rows = self.most_rows.max(rows);
                }
                "note" => {
                    self.notes.insert(data["k"].as_u64().unwrap());
                }
                "end" => self.end = Some(data),
                other => panic!("unknown event {other:?} in {message}"),
            }
            self.id = field("id").to_owned();
        }
    }
}

#[tokio::test]
async fn who_reconnects_with_the_last_id_misses_and_doubles_nothing() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    job.start(0).await;
    let writer = tokio::spawn(async move {
        for n in 0..3_000_u32 {
            if n % 7 == 0 {
                job.out(0, format!("line {n} in two ")).await;
                job.out(0, "parts\n").await;
            } else {
                job.out(0, format!("line {n}\n")).await;
            }
            if n % 1_000 == 500 {
                job.note(0, "a note").await;
            }
            if n % 50 == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        job.out(0, "the end, without a line end").await;
        job.end(0, StepResult::Exited { code: 7 }, 1_000).await;
        job
    });
    let mut shown = Shown::default();
    while shown.end.is_none() {
        let id = shown.id.clone();
        let headers = [("last-event-id", id.as_str())];
        let headers: &[(&str, &str)] = if id.is_empty() { &[] } else { &headers };
        let mut stream = open(address, &format!("{STREAM}?from=0"), headers).await;
        stream.until("data: ").await;
        tokio::time::sleep(Duration::from_millis(30)).await;
        stream.until("\n\n").await;
        shown.take(&stream.text);
    }
    let _job = writer.await.unwrap();
    assert_eq!(shown.rows.len(), 3_001);
    for (n, html) in &shown.rows {
        let n = n - 1;
        let expected = match n {
            3_000 => "the end, without a line end".to_owned(),
            _ if n % 7 == 0 => format!("line {n} in two parts"),
            _ => format!("line {n}"),
        };
        assert_eq!(*html, expected);
    }
    assert!(
        shown.sent.values().all(|times| *times == 1),
        "a row was sent twice for good"
    );
    assert!(shown.most_rows <= 500, "{} rows at once", shown.most_rows);
    assert_eq!(shown.notes.len(), 3);
    assert_eq!(shown.end.unwrap()["outcome"], "exit code 7");
}

#[tokio::test]
async fn events_are_few_while_lines_are_many() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    job.start(0).await;
    let mut stream = open(address, STREAM, &[]).await;
    let began = std::time::Instant::now();
    for n in 0..300 {
        job.out(0, format!("line {n}\n")).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    stream.end().await;
    let events = stream.text.matches("event: rows").count();
    let most = began.elapsed().as_millis() / 50 + 3;
    assert!(
        (events as u128) <= most,
        "{events} events, at most {most} are allowed"
    );
    assert!(stream.text.to_lowercase().contains("x-accel-buffering: no"));
    assert!(
        stream
            .text
            .to_lowercase()
            .contains("cache-control: no-store")
    );
}

#[tokio::test]
async fn states_are_sent_when_they_change() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    let mut events = open(address, "/repos/demo/builds/1/events", &[]).await;
    events.until("\"words\":\"waiting\"").await;
    job.start(0).await;
    events.until("\"words\":\"running\"").await;
    job.end(0, StepResult::Exited { code: 2 }, 1).await;
    events.until("exit code 2").await;
    job.finish(BuildState::Failed, "step \"test\": exit code 2", Some(0))
        .await;
    events.until("\"state\":\"failed\",\"steps\"").await;
}
