//! Watching over HTTP: live, through a restart, and by those who read slowly.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::lab::{Lab, Server};

/// A spec that prints numbered lines as long as a file is not there.
fn ticking(lab: &Lab) -> String {
    format!(
        "steps:\n  - |\n    i=0\n    while [ ! -e {} ]; do i=$((i+1)); echo line $i; sleep 0.01; \
         done\n    echo end\n",
        lab.path("enough").display()
    )
}

async fn started(lab: &Lab, server: &Server) {
    let running = |b: &serde_json::Value| b["attempts"][0]["steps"][0]["state"] == "running";
    lab.until(server, "/api/v1/repos/r/builds/1", running).await;
}

#[tokio::test]
async fn curl_follows_a_log_through_a_restart_and_misses_nothing() {
    let lab = Lab::new();
    lab.hooked("r", &ticking(&lab));
    let mut server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    started(&lab, &server).await;
    let log = "/repos/r/builds/1/steps/1/log?follow=1";
    let mut seen = Vec::new();
    let mut answer = lab
        .http
        .get(format!("{}{log}", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    while seen.len() < 400 {
        seen.extend(
            answer
                .chunk()
                .await
                .unwrap()
                .expect("the log ended while the step runs"),
        );
    }
    server.kill();
    while let Ok(Some(chunk)) = answer.chunk().await {
        seen.extend(chunk);
    }
    let server = lab.serve(&[]);
    started(&lab, &server).await;
    let rest = format!("{}{log}&from={}", server.url, seen.len());
    let mut answer = lab.http.get(rest).send().await.unwrap();
    std::fs::write(lab.path("enough"), "").unwrap();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        seen.extend(chunk);
    }
    let text = String::from_utf8(seen).unwrap();
    assert!(text.ends_with("\nend\n"));
    for (i, line) in text.lines().enumerate() {
        assert!(
            line == format!("line {}", i + 1) || line == "end",
            "{line:?} after {i} lines"
        );
    }
    lab.ended(&server, "r", 1).await;
    assert_eq!(
        lab.text(&server, "/repos/r/builds/1/steps/1/log").await,
        text
    );
}

#[tokio::test]
async fn a_reader_that_reads_nothing_holds_nobody_up() {
    let lab = Lab::new();
    lab.hooked("r", "steps: ['seq 1 2000000']\n");
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    let address = server.url.strip_prefix("http://").unwrap();
    let readers: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            let request =
                "GET /repos/r/builds/1/steps/1/log?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    assert_eq!(lab.ended(&server, "r", 1).await["state"], "passed");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let rss = status.lines().find(|l| l.starts_with("VmRSS")).unwrap();
    let kib: u64 = rss.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kib < 150 * 1024, "{rss} with readers that don't read");
    assert_eq!(
        lab.http.get(&server.url).send().await.unwrap().status(),
        200
    );
    drop(readers);
}

#[test]
fn a_request_for_another_host_is_refused() {
    let lab = Lab::new();
    let server = lab.serve(&[]);
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}
