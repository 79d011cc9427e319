//! Many who follow one log at once: each sees all of it, whenever and wherever it begins, though most
//! of it is rendered once for all.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use windlass_shim::journal::StepResult;

use crate::ask::{get, listen, open};
use crate::logs::{LOG, STREAM, Shown, running};

const FOLLOWERS: u64 = 24;

/// What is printed at once, the `n`th time: lines, colours that hold on, lines in parts, and now and then
/// a block that is drawn over.
fn output(n: u64) -> String {
    let mut out = String::new();
    for line in 0..n * 7 % 90 {
        out += &match (n + line) % 13 {
            0 => format!("\x1b[3{}mfrom here on in colour {n}.{line}\n", n % 8),
            1 => format!("10%\r100% of {n}.{line}\x1b[0m\n"),
            2 => format!("\x1b]8;;https://a.example/{n}\x07a link that stays open\n"),
            3 => "closed\x1b]8;;\x07\n".to_owned(),
            4 => format!("see https://b.example/{n}?a=1&b=2 <now>\n"),
            _ => format!("line {n}.{line}\n"),
        };
    }
    if n.is_multiple_of(37) {
        out += &format!("one\ntwo\n\x1b[2Adrawn over {n}\n\n");
    }
    if n.is_multiple_of(5) {
        out += "a part ";
    }
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sees_all_of_it_wherever_and_whenever_it_begins() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    job.start(0).await;
    job.out(0, "the first line\n").await;
    let followers: Vec<_> = (0..FOLLOWERS)
        .map(|n| {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(n * 23)).await;
                let from = if n % 3 == 0 { 0 } else { n * n * 97 };
                let mut stream = open(address, &format!("{STREAM}?from={from}"), &[]).await;
                if n % 4 == 1 {
                    // A slow one.
                    tokio::time::sleep(Duration::from_millis(400)).await;
                }
                stream.end().await;
                let mut shown = Shown::default();
                shown.take(&stream.text);
                (n, from, shown)
            })
        })
        .collect();
    for n in 0..160 {
        job.out(0, output(n)).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    job.out(0, "\nthe last line").await;
    job.end(0, StepResult::Exited { code: 0 }, 1_000).await;

    let mut expected = BTreeMap::new();
    let mut from = 1;
    loop {
        let path = format!("/api/v1/repos/demo/builds/1/steps/1/log/rows?from={from}&count=777");
        let window = get(&fixture.state, &path).await.json();
        for row in window["rows"].as_array().unwrap() {
            let html = row["html"].as_str().unwrap().to_owned();
            expected.insert(row["n"].as_u64().unwrap(), html);
        }
        from += 777;
        if from > window["total"].as_u64().unwrap() {
            break;
        }
    }
    assert!(expected.len() > 5_000, "{} rows", expected.len());
    for follower in followers {
        let (n, from, shown) = follower.await.unwrap();
        assert!(shown.end.is_some(), "{n} was not told of the end");
        let first = if from == 0 {
            1
        } else {
            *shown.rows.keys().next().unwrap()
        };
        let wanted: BTreeMap<_, _> = expected.range(first..).collect();
        let seen: BTreeMap<_, _> = shown.rows.iter().collect();
        for (row, html) in &wanted {
            assert_eq!(
                seen.get(row),
                Some(html),
                "row {row} of follower {n} from {from}"
            );
        }
        assert_eq!(seen.len(), wanted.len(), "follower {n} from {from}");
    }
}

/// The memory of this process in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}

/// Asks, and never reads; little of the answer fits into the sockets.
async fn asleep(address: std::net::SocketAddr, path: &str) -> tokio::net::TcpStream {
    use tokio::io::AsyncWriteExt as _;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_costs_little_and_misses_nothing() {
    const ASLEEP: usize = 64;
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    job.start(0).await;
    let line = |n: u64| format!("line {n} {}\n", "of a step that prints a lot ".repeat(4));
    let text: String = (0..40_000).map(line).collect();
    job.out(0, &text).await;
    // One reader first: what it makes the server hold is not what is measured.
    for path in [STREAM, LOG] {
        let mut one = open(address, &format!("{path}?from=0&follow=1"), &[]).await;
        one.until("line 39990 ").await;
    }
    let before = resident();
    let mut streams = Vec::new();
    for n in 0..ASLEEP {
        // From other places each, so that they share nothing.
        let from = n * 60_000;
        streams.push(asleep(address, &format!("{STREAM}?from={from}")).await);
        streams.push(asleep(address, &format!("{LOG}?follow=1&from={from}")).await);
    }
    // Until nothing moves any more.
    let mut grown = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = resident().saturating_sub(before);
        if now <= grown + 100_000 {
            break;
        }
        grown = now;
    }
    let each = grown / streams.len();
    assert!(each < 250_000, "{each} bytes for each of them");

    job.end(0, StepResult::Exited { code: 0 }, 1_000).await;
    let mut late = streams.swap_remove(1);
    let mut read = Vec::new();
    let reading = late.read_to_end(&mut read);
    let reading = tokio::time::timeout(Duration::from_secs(60), reading);
    reading.await.expect("all of it within 60 s").unwrap();
    let read = String::from_utf8(read).unwrap();
    assert_eq!(read.matches("of a step that prints a lot").count(), 160_000);
}
