//! Many who follow one log at once: each sees all of it, whenever and wherever it begins, though most
//! of it is rendered once for all.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_shim::journal::StepResult;

use crate::ask::{get, listen, open};
use crate::logs::{STREAM, Shown, running};

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
