//! A word in all logs.

use windlass_archive::elasticsearch::SearchQuery;
use windlass_archive::testing::FakeCluster;
use windlass_archive::{ArchiveError, Elasticsearch, LogName};

use crate::lab::{self, Lab, SEPTEMBER, name};

/// What both the fake and a real cluster must find.
pub(crate) async fn suite(es: &Elasticsearch, mark: &str) {
    let lab = Lab::new();
    let log = |word: &str| -> Vec<u8> {
        let mut log: Vec<u8> = (1..=1000)
            .flat_map(|i| format!("step {i} is fine\n").into_bytes())
            .collect();
        log.extend(format!("\x1b[1;31mERROR\x1b[0m[E0308]: {word} {mark}zebra\n").into_bytes());
        log.extend(b"the end\n");
        log
    };
    let mut names = Vec::new();
    for (build, repo) in [(1, "one"), (2, "one"), (3, "two")] {
        let (dir, meta) = lab.sealed(&format!("{build}"), &log(&format!("mismatch{build}")));
        let of = LogName {
            instance: mark.to_owned(),
            started_ms: SEPTEMBER + build * 60_000,
            ..name(&format!("{mark}-{repo}"), build, 0)
        };
        es.write(&of, &dir).await.unwrap();
        es.verify(&of, &meta.sha256).await.unwrap();
        names.push(of);
    }
    let search = async |words: &str, repo: Option<&str>, limit, after| {
        let query = SearchQuery {
            words: words.to_owned(),
            repo: repo.map(|repo| format!("{mark}-{repo}")),
            instance: Some(mark.to_owned()),
            limit,
            after,
            made_before_ms: None,
        };
        es.search(&query).await.unwrap()
    };
    // The newest build first; the line and what a person sees of it, whatever the colours.
    let found = search(&format!("error {mark}zebra"), None, 100, None).await;
    assert_eq!(found.next, None);
    let places: Vec<_> = found.hits.iter().map(|h| (h.build, h.line)).collect();
    assert_eq!(places, [(3, 1001), (2, 1001), (1, 1001)]);
    assert_eq!(
        found.hits[0].text,
        format!("ERROR[E0308]: mismatch3 {mark}zebra")
    );
    assert_eq!(found.hits[0].step_name, names[2].step_name);
    // One repository.
    let found = search(&format!("{mark}zebra"), Some("one"), 100, None).await;
    assert_eq!(found.hits.len(), 2);
    // Words of different lines are no hit, though they are in one block.
    let found = search(&format!("{mark}zebra end"), None, 100, None).await;
    assert_eq!(found.hits, []);
    // Page by page, nothing twice and nothing left out.
    let first = search(&format!("{mark}zebra"), None, 1, None).await;
    assert_eq!(first.hits.len(), 1);
    let second = search(&format!("{mark}zebra"), None, 1, first.next).await;
    assert_eq!(second.hits[0].build, 2);
    // Many hits in one log stay in order.
    let found = search("fine", Some("two"), 600, None).await;
    let lines: Vec<u64> = found.hits.iter().map(|hit| hit.line).collect();
    assert!(lines.len() >= 600);
    assert!(lines.iter().copied().eq(1..=lines.len() as u64));
}

#[tokio::test]
async fn lines_are_found_in_all_logs() {
    let cluster = FakeCluster::start().await;
    suite(&lab::client(&cluster), "s").await;
}

#[tokio::test]
async fn a_search_that_makes_no_sense_is_told_so() {
    let cluster = FakeCluster::start().await;
    let es = lab::client(&cluster);
    for (words, after) in [
        ("", None),
        ("==>", None),
        ("x", Some("{}")),
        ("x", Some("[")),
    ] {
        let query = SearchQuery {
            words: words.to_owned(),
            limit: 10,
            after: after.map(ToOwned::to_owned),
            ..SearchQuery::default()
        };
        let refused = es.search(&query).await.unwrap_err();
        assert!(
            matches!(refused, ArchiveError::Setting { .. }),
            "{words} {after:?}: {refused:?}"
        );
    }
    // A shard that is away makes an answer that is not whole: it is none.
    cluster.make_index("windlass-logs-2026.09");
    cluster.fail("_search", 1, windlass_archive::testing::Fault::ShardFailed);
    let query = SearchQuery {
        words: "x".to_owned(),
        limit: 10,
        ..SearchQuery::default()
    };
    let es_error = es.search(&query).await.unwrap_err();
    assert!(es_error.to_string().contains("shards"), "{es_error}");
}
