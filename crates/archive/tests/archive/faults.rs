//! A cluster that is away, slow, full, half broken, or has lost things.

use std::time::Duration;

use serde_json::Value;
use windlass_archive::testing::{FakeCluster, Fault};
use windlass_archive::{ArchiveError, Elasticsearch};

use crate::lab::{self, Lab, assert_same, name, troublesome};

fn log(lines: usize) -> Vec<u8> {
    (0..lines)
        .flat_map(|i| format!("line {i} of a log that is long enough\n").into_bytes())
        .collect()
}

/// Writes, checks, and looks at every document: none twice, none missing.
async fn whole(es: &Elasticsearch, cluster: &FakeCluster, lab: &Lab, of: &str) {
    let (dir, meta) = lab.sealed(of, &log(20_000));
    let of = name("demo", 1, 0);
    let written = es.write(&of, &dir).await.unwrap();
    let found = es.verify(&of, &meta.sha256).await.unwrap();
    assert_eq!(cluster.documents().len() as u64, written.parts);
    let into = lab.path("back");
    es.restore(&found, &into).await.unwrap();
    assert_same(0, &dir, &into);
}

#[tokio::test]
async fn a_cluster_that_is_full_for_a_while() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    cluster.fail("_bulk", 2, Fault::Status(429));
    cluster.fail("_bulk", 1, Fault::RetryAfter(429, 0));
    cluster.fail("_bulk", 3, Fault::OddItems(429));
    cluster.fail("_count", 2, Fault::Proxy);
    cluster.fail("_search", 2, Fault::Status(503));
    whole(&lab::client(&cluster), &cluster, &lab, "log").await;
}

#[tokio::test]
async fn a_cluster_or_proxy_that_takes_small_bodies_only() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    cluster.take_at_most(20_000);
    whole(&lab::client(&cluster), &cluster, &lab, "log").await;
    let bulks = cluster.requests();
    assert!(bulks.iter().filter(|r| r.path == "/_bulk").count() > 10);
    // One document that is too large by itself is told, not tried for ever.
    cluster.take_at_most(3000);
    let (dir, _) = lab.sealed("large", &log(2_000));
    let refused = lab::client(&cluster)
        .write(&name("demo", 2, 0), &dir)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, ArchiveError::Refused { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("http.max_content_length"));
}

#[tokio::test]
async fn an_answer_that_is_lost_doubles_nothing() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let es = lab::client(&cluster);
    let (dir, _) = lab.sealed("log", &log(20_000));
    cluster.fail("_bulk", 1, Fault::Lost);
    let lost = es.write(&name("demo", 1, 0), &dir).await.unwrap_err();
    assert!(matches!(lost, ArchiveError::Outage { .. }), "{lost:?}");
    assert!(!cluster.documents().is_empty(), "it was written");
    whole(&es, &cluster, &lab, "log").await;
}

#[tokio::test]
async fn an_outage_ends_and_the_copy_is_made() {
    let lab = Lab::new();
    let address = {
        let cluster = FakeCluster::start().await;
        cluster.address
    };
    let es = Elasticsearch::new(lab::config(&format!("http://{address}"))).unwrap();
    let (dir, _) = lab.sealed("log", &log(100));
    let away = es.write(&name("demo", 1, 0), &dir).await.unwrap_err();
    assert!(matches!(away, ArchiveError::Outage { .. }), "{away:?}");
    let words = away.to_string();
    assert!(words.contains("no connection"), "{words}");
    let cluster = FakeCluster::listen(address).await;
    // Awake, but not recovered; behind a proxy; without rights.
    for fault in [Fault::Status(503), Fault::Proxy, Fault::Status(403)] {
        cluster.fail("/", 100, fault.clone());
        let away = es.write(&name("demo", 1, 0), &dir).await.unwrap_err();
        assert!(
            matches!(away, ArchiveError::Outage { .. }),
            "{fault:?}: {away:?}"
        );
        cluster.recover();
    }
    whole(&es, &cluster, &lab, "log").await;
}

#[tokio::test]
async fn a_slow_cluster_is_waited_for_but_not_for_ever() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let mut config = lab::config(&cluster.url());
    config.timeout = Duration::from_secs(2);
    let es = Elasticsearch::new(config).unwrap();
    let (dir, _) = lab.sealed("log", &log(100));
    cluster.fail("_bulk", 1, Fault::Slow(Duration::from_secs(30)));
    let slow = es.write(&name("demo", 1, 0), &dir).await.unwrap_err();
    assert!(matches!(slow, ArchiveError::Outage { .. }), "{slow:?}");
    assert!(slow.to_string().contains("no answer in time"), "{slow}");
    cluster.fail("_bulk", 1, Fault::Slow(Duration::from_millis(100)));
    whole(&es, &cluster, &lab, "log").await;
}

#[tokio::test]
async fn what_the_mapping_refuses_is_told() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let es = lab::client(&cluster);
    let (dir, meta) = lab.sealed("log", b"hello\n");
    // The cluster's month was made from somebody else's template.
    es.write(&name("demo", 1, 0), &dir).await.unwrap();
    es.verify(&name("demo", 1, 0), &meta.sha256).await.unwrap();
    cluster.fail("_bulk", 9, Fault::OddItems(400));
    let (many, _) = lab.sealed("many", &log(2_000));
    let refused = es.write(&name("demo", 2, 0), &many).await.unwrap_err();
    assert!(
        matches!(refused, ArchiveError::Refused { .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("400"), "{refused}");
    // An address that is no cluster at all.
    let lost = Elasticsearch::new(lab::config(&format!("{}/nowhere", cluster.url()))).unwrap();
    cluster.recover();
    let wrong = lost.info().await.unwrap_err();
    assert!(wrong.to_string().contains("no handler found"), "{wrong}");
}

#[tokio::test]
async fn what_was_lost_or_changed_behind_our_back_is_noticed() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let es = lab::client(&cluster);
    let (dir, meta) = lab.sealed("log", &log(3_000));
    let of = name("demo", 1, 0);
    es.write(&of, &dir).await.unwrap();
    es.verify(&of, &meta.sha256).await.unwrap();

    // A block is lost: seen, told, and written again.
    cluster.lose("0123456789ab.demo.1.1.0.3");
    let lost = es.verify(&of, &meta.sha256).await.unwrap_err();
    assert!(matches!(lost, ArchiveError::Differs { .. }), "{lost:?}");
    assert!(lost.to_string().contains("counts"), "{lost}");
    es.write(&of, &dir).await.unwrap();
    let log = es.verify(&of, &meta.sha256).await.unwrap();

    // A block is changed: its checksum says so, and nothing comes back from it.
    for (field, value) in [
        ("raw", Value::from("AAAA")),
        ("raw", Value::from("no base64!")),
        ("byte_count", 7.into()),
        ("line_count", 1.into()),
        ("crc32", 1.into()),
        ("seq", 77.into()),
        ("first_byte", 0.into()),
        ("index", "KLUv/SAAAQAA".into()),
    ] {
        cluster.change("0123456789ab.demo.1.1.0.3", |source| {
            source[field] = value.clone();
        });
        let changed = es.verify(&of, &meta.sha256).await.unwrap_err();
        assert!(
            matches!(changed, ArchiveError::Differs { .. }),
            "{field}: {changed:?}"
        );
        let into = lab.path("changed");
        let changed = es.restore(&log, &into).await.unwrap_err();
        assert!(
            matches!(changed, ArchiveError::Differs { .. }),
            "{changed:?}"
        );
        assert!(!windlass_logs::copy::has_log(&into, 0).unwrap());
        // The way that the archiver takes: away with it, and anew.
        es.remove(&of.selector()).await.unwrap();
        es.write(&of, &dir).await.unwrap();
        es.verify(&of, &meta.sha256).await.unwrap();
    }

    // The index is gone.
    cluster.drop_index("windlass-logs-2026.09");
    let gone = es.verify(&of, &meta.sha256).await.unwrap_err();
    assert!(matches!(gone, ArchiveError::Missing { .. }), "{gone:?}");
    es.write(&of, &dir).await.unwrap();
    es.verify(&of, &meta.sha256).await.unwrap();
}

#[tokio::test]
async fn no_copy_is_made_of_a_log_that_is_damaged_or_not_sealed() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let es = lab::client(&cluster);
    let (dir, _) = lab.sealed("log", b"hello\nworld\n");
    std::fs::write(dir.join("0.log"), b"hello\nw0rld\n").unwrap();
    let refused = es.write(&name("demo", 1, 0), &dir).await.unwrap_err();
    assert!(
        matches!(refused, ArchiveError::Refused { .. }),
        "{refused:?}"
    );
    let missing = es.write(&name("demo", 1, 4), &dir).await.unwrap_err();
    assert!(
        matches!(missing, ArchiveError::Missing { .. }),
        "{missing:?}"
    );
    assert!(
        es.find(&name("demo", 1, 0).selector())
            .await
            .unwrap()
            .is_empty()
    );
}

/// What is searched is text, whatever the log holds.
#[tokio::test]
async fn text_is_always_text() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let es = lab::client(&cluster);
    for (build, (kind, log)) in troublesome().into_iter().enumerate() {
        let (dir, _) = lab.sealed(kind, &log);
        es.write(&name("demo", build as i64, 0), &dir)
            .await
            .unwrap();
    }
    let mut blocks = 0;
    for (id, source) in cluster.documents() {
        let Some(text) = source["text"].as_str() else {
            continue;
        };
        blocks += 1;
        assert!(!text.contains(['\0', '\x1b']), "{id}");
        let lines = text.lines().count() as u64;
        assert_eq!(Some(lines), source["line_count"].as_u64(), "{id}");
        assert!(source["byte_count"].as_u64().unwrap() <= 64 * 1024, "{id}");
        assert!(lines <= 256, "{id}");
    }
    assert!(blocks > 40);
}
