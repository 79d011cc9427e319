//! What a viewer asks: windows of rows, searches, groups; and logs as text, line by line.

use axum::http::StatusCode;
use serde_json::{Value, json};
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;
use windlass_store::ForgeKind;

use crate::ask::{get, get_with, listen, open};
use crate::fixture::{Fixture, Job, push};
use crate::html;

const STEP: &str = "/repos/demo/builds/1/steps/1";
const LOG: &str = "/repos/demo/builds/1/steps/1/log";
const API: &str = "/api/v1/repos/demo/builds/1/steps/1/log";

async fn running() -> (Fixture, Job) {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let mut job = fixture.job(&["test"]).await;
    job.start(0).await;
    (fixture, job)
}

async fn ended(text: &str) -> Fixture {
    let (fixture, mut job) = running().await;
    for piece in text.as_bytes().chunks(50_000) {
        job.later(1_000);
        job.out(0, piece).await;
    }
    job.end(0, StepResult::Exited { code: 1 }, 10).await;
    job.finish(BuildState::Failed, "", Some(0)).await;
    fixture
}

fn numbers(answer: &Value) -> Vec<u64> {
    let rows = answer["rows"].as_array().unwrap();
    rows.iter().map(|row| row["n"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_window_holds_rows_notes_and_what_was_drawn_over() {
    let (fixture, mut job) = running().await;
    let state = &fixture.state;
    job.out(0, "\x1b[32mone\ntwo <b>\x1b[0m\n").await;
    job.note(0, "a note").await;
    job.out(0, "a 1\nb 1\n\x1b[2Aa 2\nb 2\n::group::G\n").await;
    let window = get(state, &format!("{API}/rows?from=1&count=500"))
        .await
        .json();
    assert_eq!(numbers(&window), [1, 2, 5, 6, 7]);
    assert_eq!((&window["first"], &window["last"]), (&json!(1), &json!(7)));
    assert_eq!(
        window["rows"][1]["html"],
        "<span class=\"fg-2\">two &lt;b&gt;</span>"
    );
    assert_eq!(window["rows"][2]["html"], "a 2");
    assert_eq!(
        window["rows"][4]["group"],
        json!({"mark": "begin", "title": "G", "closed": true, "heading": false})
    );
    assert_eq!(window["notes"][0]["text"], "a note");
    assert_eq!(window["complete"], false);
    // From the middle of what was drawn over, the same.
    let part = get(state, &format!("{API}/rows?from=4&count=2"))
        .await
        .json();
    assert_eq!(numbers(&part), [5]);
    assert_eq!((&part["first"], &part["last"]), (&json!(4), &json!(5)));
    let raw = get(state, &format!("{API}/rows?from=1&count=5&raw=1"))
        .await
        .json();
    assert_eq!(numbers(&raw), [1, 2, 3, 4, 5]);
    assert_eq!(raw["rows"][2]["html"], "a 1");
    // The page says it, too.
    let page = get(state, STEP).await.body;
    html::check(&page);
    assert!(!page.contains("id=\"L3\"") && page.contains("id=\"L5\"") && !page.contains("a 1<"));
    let marked = get(state, &format!("{API}/rows?q=two")).await.json();
    assert_eq!(marked["rows"][1]["spans"], json!([[0, 3]]));
    let beyond = get(state, &format!("{API}/rows?from=99")).await.json();
    assert_eq!(numbers(&beyond), [0_u64; 0]);
}

#[tokio::test]
async fn progress_is_sent_in_place_to_who_follows() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    job.out(0, "before\na 0\nb 0\n").await;
    let mut stream = open(address, &format!("{STEP}/stream?from=0"), &[]).await;
    stream.until("b 0").await;
    for n in 1..=5 {
        job.out(0, format!("\x1b[2Aa {n}\nb {n}\n")).await;
        stream.until(&format!("b {n}\"")).await;
    }
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    let text = stream.end().await.to_owned();
    // As a browser would take it over.
    let mut rows = std::collections::BTreeMap::new();
    let mut ids = Vec::new();
    for message in text.split("\n\n") {
        let field = |name: &str| message.lines().find_map(|l| l.strip_prefix(name));
        if field("event: ") != Some("rows") {
            continue;
        }
        ids.push(field("id: ").unwrap().parse::<u64>().unwrap());
        let data: Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
        rows.split_off(&data["first_row"].as_u64().unwrap());
        for row in data["rows"].as_array().unwrap() {
            rows.insert(
                row["n"].as_u64().unwrap(),
                row["html"].as_str().unwrap().to_owned(),
            );
        }
    }
    let rows: Vec<_> = rows.into_iter().collect();
    assert_eq!(
        rows,
        [
            (1, "before".to_owned()),
            (12, "a 5".to_owned()),
            (13, "b 5".to_owned())
        ]
    );
    // Who comes back with any of these ids sees the same end.
    for id in ids {
        let mut again = open(
            address,
            &format!("{STEP}/stream"),
            &[("last-event-id", &id.to_string())],
        )
        .await;
        assert!(again.end().await.contains("\"b 5\""), "from {id}");
    }
}

#[tokio::test]
async fn a_search_tells_hits_as_lines_of_json() {
    let text: String = (1..=40_000)
        .map(|n| match n % 10_000 {
            77 => format!("\u{1f600} an \x1b[31mErr\x1b[0mor <{n}>\n"),
            _ => format!("line {n}\n"),
        })
        .collect();
    let fixture = ended(&text).await;
    let state = &fixture.state;
    let answer = get(state, &format!("{API}/search?q=error%20%3C")).await;
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = answer
        .body
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let hits: Vec<&Value> = lines.iter().filter(|l| l["line"].is_u64()).collect();
    let found: Vec<u64> = hits
        .iter()
        .map(|hit| hit["line"].as_u64().unwrap())
        .collect();
    assert_eq!(found, [77, 10_077, 20_077, 30_077]);
    assert_eq!(hits[0]["text"], "\u{1f600} an Error <77>");
    // A smiley is two units for JavaScript.
    assert_eq!(hits[0]["spans"], json!([[6, 13]]));
    let done = lines.last().unwrap();
    assert_eq!((&done["hits"], &done["rows"]), (&json!(4), &json!(40_000)));
    let parts = done["parts"].as_array().unwrap();
    assert_eq!(parts.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), 4);
    assert_eq!(parts[100], 1);

    let near = |query: &str| format!("{API}/search?q=error&{query}");
    for (query, line) in [
        ("from=77", 77),
        ("from=78", 10_077),
        ("from=78&dir=prev", 77),
        ("from=40001&dir=prev", 30_077),
    ] {
        assert_eq!(
            get(state, &near(query)).await.json()["hit"]["line"],
            line,
            "{query}"
        );
    }
    for query in ["from=30078", "from=77&dir=prev"] {
        assert_eq!(
            get(state, &near(query)).await.json(),
            json!({"hit": null}),
            "{query}"
        );
    }
    let few = get(state, &near("limit=1&context=1")).await.body;
    assert_eq!(
        few.matches("\"line\":").count(),
        3,
        "a hit and its two neighbours: {few}"
    );
    assert!(few.contains("\"hits\":4"));
    assert!(
        get(state, &near("case=1"))
            .await
            .body
            .contains("\"hits\":0")
    );
    assert!(
        get(state, &format!("{API}/search?q=r%20.&literal=1"))
            .await
            .body
            .contains("\"hits\":0")
    );

    let bad = get(state, &format!("{API}/search?q=(a")).await;
    assert_eq!(bad.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        bad.json()["error"]
            .as_str()
            .unwrap()
            .contains("unclosed group")
    );
    assert!(bad.json()["hint"].as_str().unwrap().contains("plain text"));
    for (query, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("q=x&dir=up&from=1", StatusCode::BAD_REQUEST),
        ("q=x&from=y", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(
            get(state, &format!("{API}/search?{query}")).await.status,
            status,
            "{query}"
        );
    }
}

#[tokio::test]
async fn without_a_script_a_search_is_a_page() {
    let mut text: String = (1..=5_000).map(|n| format!("line {n}\n")).collect();
    text.push_str("<script>alert(1)</script> \"needle\" & more\n");
    let fixture = ended(&text).await;
    let state = &fixture.state;
    let page = get(state, STEP).await.body;
    assert!(page.contains(&format!("action=\"{STEP}/search\"")) && page.contains("name=\"q\""));
    let found = get(
        state,
        &format!("{STEP}/search?attempt=1&q=%3Cscript%3E.*needle"),
    )
    .await;
    assert_eq!(found.status, StatusCode::OK);
    html::check(&found.body);
    assert!(
        found
            .body
            .contains("<mark>&#60;script&#62;alert(1)&#60;/script&#62; &#34;needle</mark>"),
        "{}",
        found.body
    );
    assert!(found.body.contains("lines=5001-5001#L5001") && found.body.contains(">line 4999<"));
    let many = get(state, &format!("{STEP}/search?q=line")).await.body;
    html::check(&many);
    assert!(many.contains("100 lines on this page") && many.contains("from=101"));
    let later = get(state, &format!("{STEP}/search?q=line&from=4950"))
        .await
        .body;
    assert!(later.contains("51 lines") && !later.contains("rel=\"next\""));
    let bad = get(state, &format!("{STEP}/search?q=%2A%3Cb")).await;
    html::check(&bad.body);
    assert!(bad.body.contains("repetition operator") && bad.body.contains("*&#60;b"));
    for path in ["", "?q="] {
        let empty = get(state, &format!("{STEP}/search{path}")).await;
        assert_eq!(empty.status, StatusCode::OK);
        html::check(&empty.body);
    }
    let marked = get(state, &format!("{STEP}?lines=4000-4002")).await.body;
    html::check(&marked);
    assert_eq!(marked.matches("class=\"r hit\"").count(), 3);
    assert!(marked.contains("id=\"L3980\"") && !marked.contains("id=\"L3979\""));
}

#[tokio::test]
async fn groups_are_counted_like_lines() {
    let fixture = ended("a\n::group::Set up <b>\nb\n::endgroup::\nc\n").await;
    let groups = get(&fixture.state, &format!("{API}/groups")).await.json();
    assert_eq!(
        groups["groups"],
        json!([{
            "kind": "group", "first": 2, "last": 4, "title": "Set up <b>", "closed": true, "level": 0, "ended": true,
            "duration_us": 0,
        }])
    );
}

#[tokio::test]
async fn text_comes_line_by_line_where_it_is_asked_for() {
    let mut text: String = (1..=9_000)
        .map(|n| format!("\x1b[32mline\x1b[0m {n}\n"))
        .collect();
    text.push_str("no end");
    let fixture = ended(&text).await;
    let state = &fixture.state;
    let ask = async |query: &str| get(state, &format!("{LOG}?{query}")).await.body;
    assert_eq!(ask("grep=900$&strip=ansi").await.lines().count(), 9);
    assert_eq!(
        ask("grep=line%20500$&strip=ansi&context=1&numbers=1").await,
        "499:line 499\n500:line 500\n501:line 501\n"
    );
    assert_eq!(
        ask("grep=line%20(10|12|8999)$&strip=ansi&context=1").await,
        "line 9\nline 10\nline 11\nline 12\nline 13\n--\nline 8998\nline 8999\nline 9000\n"
    );
    assert_eq!(
        ask("grep=no%20end&context=1&strip=ansi").await,
        "line 9000\nno end"
    );
    assert_eq!(
        ask("grep=line%20[67]$&lines=1-6").await,
        "\x1b[32mline\x1b[0m 6\n"
    );
    assert_eq!(ask("grep=nothing").await, "");
    let stamped = ask("timestamps=1&tail=2&strip=ansi").await;
    let first = stamped.lines().next().unwrap();
    let (time, line) = first.split_once(' ').unwrap();
    assert_eq!(line, "line 9000");
    assert!(
        time.parse::<jiff::Timestamp>().is_ok() && time.len() == 27,
        "{time}"
    );
    // All of it, with numbers: nothing is lost between the pieces.
    let all = ask("numbers=1&strip=ansi").await;
    for (i, line) in all.lines().take(9_000).enumerate() {
        assert_eq!(line, format!("{n}:line {n}", n = i + 1));
    }
    assert_eq!(all.lines().count(), 9_001);
    for (query, word) in [
        ("grep=(", "unclosed"),
        ("timestamps=yes", "timestamps"),
        ("grep=x&context=1000", "at most"),
    ] {
        let answer = get(state, &format!("{LOG}?{query}")).await;
        assert!(
            answer.status.is_client_error() && answer.body.contains(word),
            "{}",
            answer.body
        );
    }
}

#[tokio::test]
async fn grep_and_time_stamps_follow_a_log_that_grows() {
    let (fixture, mut job) = running().await;
    let address = listen(&fixture.state).await;
    let mut grep = open(
        address,
        &format!("{LOG}?follow=1&grep=error&context=1&strip=ansi"),
        &[],
    )
    .await;
    let mut stamped = open(address, &format!("{LOG}?follow=1&timestamps=1"), &[]).await;
    job.out(0, "one\ntwo\nan err").await;
    stamped.until("two\n").await;
    job.out(0, "or\n").await;
    grep.until("two\nan error\n").await;
    job.out(0, "behind\nfar\n").await;
    grep.until("behind\n").await;
    job.out(0, "error again").await;
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    assert_eq!(grep.end().await, "two\nan error\nbehind\nfar\nerror again");
    let stamped = stamped.end().await;
    assert_eq!(stamped.lines().count(), 6);
    assert!(
        stamped
            .lines()
            .all(|line| line.as_bytes()[10] == b'T' && line.as_bytes()[26] == b'Z')
    );
}

#[tokio::test]
async fn a_sealed_log_goes_out_as_it_is_kept() {
    let text: String = (1..=60_000).map(|n| format!("line {n}\n")).collect();
    let fixture = ended(&text).await;
    let state = &fixture.state;
    let plain = get(state, LOG).await;
    assert_eq!(plain.header("vary"), "accept-encoding");
    assert!(plain.header("content-encoding").is_empty() && plain.body == text);
    let packed = get_with(state, LOG, &[("accept-encoding", "gzip, zstd")]).await;
    assert_eq!(packed.header("content-encoding"), "zstd");
    assert_ne!(packed.header("etag"), plain.header("etag"));
    let len: usize = packed.header("content-length").parse().unwrap();
    assert!(len < text.len() / 2, "{len}");
    let again = [
        ("accept-encoding", "zstd"),
        ("if-none-match", packed.header("etag")),
    ];
    assert_eq!(
        get_with(state, LOG, &again).await.status,
        StatusCode::NOT_MODIFIED
    );
    let gzipped = get_with(state, LOG, &[("accept-encoding", "gzip, deflate, br")]).await;
    assert_eq!(gzipped.header("content-encoding"), "gzip");
    assert_eq!(gzipped.header("vary"), "accept-encoding");
    assert!(gzipped.header("content-length").is_empty());
    for other in [&plain, &packed] {
        assert_ne!(gzipped.header("etag"), other.header("etag"));
        let known = [
            ("accept-encoding", "gzip"),
            ("if-none-match", other.header("etag")),
        ];
        assert_eq!(get_with(state, LOG, &known).await.status, StatusCode::OK);
    }
    let known = [
        ("accept-encoding", "gzip"),
        ("if-none-match", gzipped.header("etag")),
    ];
    let unchanged = get_with(state, LOG, &known).await;
    assert_eq!(unchanged.status, StatusCode::NOT_MODIFIED);
    // A range of one representation is no range of another.
    let mixed = [("range", "bytes=0-3"), ("if-range", gzipped.header("etag"))];
    let whole = get_with(state, LOG, &mixed).await;
    assert_eq!(
        (whole.status, whole.body.len()),
        (StatusCode::OK, text.len())
    );
    // Ranges are of the text, and who does not take it is not sent it.
    for headers in [
        [("accept-encoding", "zstd"), ("range", "bytes=0-3")],
        [("accept-encoding", "gzip"), ("range", "bytes=0-3")],
        [("accept-encoding", "zstd;q=0"), ("x-none", "")],
    ] {
        let answer = get_with(state, LOG, &headers).await;
        assert!(answer.header("content-encoding").is_empty() && answer.body.starts_with("line"));
    }
}
