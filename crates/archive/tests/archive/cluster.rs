//! What a cluster must do: against the fake, and against a real one if there is one.

use windlass_archive::testing::FakeCluster;
use windlass_archive::{ArchiveError, Auth, Elasticsearch, ElasticsearchConfig, LogName, Selector};
use windlass_model::Secret;

use crate::lab::{self, Lab, SEPTEMBER, assert_same, name, troublesome};

/// Everything that both must do. `mark` keeps tests on one real cluster apart.
async fn suite(es: &Elasticsearch, mark: &str) {
    let lab = Lab::new();
    let info = es.info().await.unwrap();
    assert!(!info.version.is_empty(), "{info:?}");

    // Every kind of log comes back byte for byte, from the cluster alone, index and notes and all.
    for (build, (kind, log)) in troublesome().into_iter().enumerate() {
        let (dir, meta) = lab.sealed(kind, &log);
        let of = LogName {
            instance: mark.to_owned(),
            ..name(mark, build as i64 + 1, 0)
        };
        let written = es.write(&of, &dir).await.unwrap();
        assert_eq!(written.meta, meta);
        es.verify(&of, &meta.sha256).await.unwrap();
        // A retry doubles nothing.
        assert_eq!(es.write(&of, &dir).await.unwrap(), written, "{kind}");
        let found = es.verify(&of, &meta.sha256).await.unwrap();
        assert_eq!(found.blocks + 1, written.parts);
        let into = lab.path(&format!("{kind}-back"));
        let only_names = Selector {
            instance: None,
            attempt: None,
            step: None,
            ..of.selector()
        };
        let logs = es.find(&only_names).await.unwrap();
        assert_eq!(logs.len(), 1, "{kind}");
        assert_eq!(logs[0].name(), of);
        es.restore(&logs[0], &into).await.unwrap();
        assert_same(0, &dir, &into);
        // Restoring what is there does nothing.
        es.restore(&logs[0], &into).await.unwrap();
        // Another log under the same name is noticed.
        let other = es.verify(&of, &"0".repeat(64)).await.unwrap_err();
        assert!(matches!(other, ArchiveError::Differs { .. }), "{other:?}");
    }

    // Removing one attempt leaves the others.
    let (dir, meta) = lab.sealed("removed", b"one\ntwo\n");
    let first = LogName {
        instance: mark.to_owned(),
        ..name(mark, 900, 0)
    };
    let second = LogName {
        attempt: 2,
        ..first.clone()
    };
    for of in [&first, &second] {
        es.write(of, &dir).await.unwrap();
        es.verify(of, &meta.sha256).await.unwrap();
    }
    assert_eq!(es.remove(&first.selector()).await.unwrap(), 2);
    assert_eq!(es.remove(&first.selector()).await.unwrap(), 0);
    assert!(es.find(&first.selector()).await.unwrap().is_empty());
    let gone = es.verify(&first, &meta.sha256).await.unwrap_err();
    assert!(matches!(gone, ArchiveError::Missing { .. }), "{gone:?}");
    es.verify(&second, &meta.sha256).await.unwrap();
}

#[tokio::test]
async fn logs_are_kept_found_and_removed() {
    let cluster = FakeCluster::start().await;
    suite(&lab::client(&cluster), "suite").await;
    // Every document once, all in the month's index.
    let indices = cluster.indices();
    assert_eq!(
        indices.keys().collect::<Vec<_>>(),
        ["windlass-logs-2026.09"]
    );
    // All bodies were within the limit, and none was refused.
    let bulks = cluster.requests().into_iter();
    let sizes = bulks.filter(|r| r.path == "/_bulk").map(|r| r.body.len());
    assert!(sizes.max().unwrap() < 6 * 1024 * 1024);
}

/// The same against a real cluster, if there is one: `WINDLASS_TEST_ELASTICSEARCH_URL`, with
/// `WINDLASS_TEST_ELASTICSEARCH_USER` and `_PASSWORD`, or `_API_KEY`, if it asks for them.
#[tokio::test]
async fn a_real_cluster_does_the_same() {
    let var = |name: &str| std::env::var(format!("WINDLASS_TEST_ELASTICSEARCH_{name}")).ok();
    let Some(url) = var("URL") else {
        // Said aloud, so that nobody takes the fake for more than it is.
        eprintln!("NOT RUN: no real cluster; set WINDLASS_TEST_ELASTICSEARCH_URL=http://host:9200");
        return;
    };
    let mark = format!("t{}", std::process::id());
    let mut config = ElasticsearchConfig::new(url);
    config.prefix = format!("windlass-test-{mark}");
    config.auth = match (var("API_KEY"), var("USER"), var("PASSWORD")) {
        (Some(key), ..) => Auth::ApiKey(Secret::new(key)),
        (_, Some(user), Some(password)) => Auth::Basic {
            user,
            password: Secret::new(password),
        },
        _ => Auth::None,
    };
    config.keep_days = Some(1);
    let es = Elasticsearch::new(config).unwrap();
    suite(&es, &mark).await;
    crate::search::suite(&es, &mark).await;
    let century = SEPTEMBER + 100 * 365 * 86_400_000;
    let dropped = es.drop_old(century).await.unwrap();
    assert!(!dropped.is_empty());
}

#[tokio::test]
async fn old_indices_are_dropped_and_nothing_else() {
    let cluster = FakeCluster::start().await;
    let mut config = lab::config(&cluster.url());
    config.keep_days = Some(30);
    let es = Elasticsearch::new(config.clone()).unwrap();
    assert!(es.drop_old(SEPTEMBER).await.unwrap().is_empty());
    for index in [
        "windlass-logs-2026.07",
        "windlass-logs-2026.08",
        "windlass-logs-2026.09",
        "windlass-logs-2026.01-copy",
        "windlass-logs-other",
        "windlass-logs2-2020.01",
        "else-2020.01",
    ] {
        cluster.make_index(index);
    }
    // On the 15th of September, 30 days after July's end have passed, and not 30 after August's.
    let dropped = es.drop_old(SEPTEMBER).await.unwrap();
    assert_eq!(dropped, ["windlass-logs-2026.07"]);
    assert_eq!(cluster.indices().len(), 6);
    config.keep_days = None;
    let es = Elasticsearch::new(config).unwrap();
    assert!(es.drop_old(SEPTEMBER * 2).await.unwrap().is_empty());
}

#[tokio::test]
async fn we_say_who_we_are_and_old_clusters_are_spoken_to_in_their_way() {
    let cluster = FakeCluster::start().await;
    cluster.ask_for("Basic d2luZGxhc3M6czNjcmV0");
    let mut config = lab::config(&cluster.url());
    let refused = Elasticsearch::new(config.clone())
        .unwrap()
        .info()
        .await
        .unwrap_err();
    let words = refused.to_string();
    assert!(
        words.contains("missing authentication credentials"),
        "{words}"
    );
    assert!(words.contains("API key"), "{words}");
    config.auth = Auth::Basic {
        user: "windlass".to_owned(),
        password: Secret::new("s3cret"),
    };
    let es = Elasticsearch::new(config.clone()).unwrap();
    es.info().await.unwrap();
    assert!(!format!("{es:?} {config:?}").contains("s3cret"));
    cluster.ask_for("ApiKey bm86dA==");
    config.auth = Auth::ApiKey(Secret::new("bm86dA=="));
    let es = Elasticsearch::new(config).unwrap();
    cluster.pretend(Some("opensearch"), "2.11.0");
    let info = es.info().await.unwrap();
    assert_eq!(
        (info.product.as_str(), info.version.as_str()),
        ("opensearch", "2.11.0")
    );
    let lab = Lab::new();
    let (dir, meta) = lab.sealed("log", b"hello\n");
    let of = name("demo", 1, 0);
    es.write(&of, &dir).await.unwrap();
    es.verify(&of, &meta.sha256).await.unwrap();
    let template = cluster.requests().into_iter();
    let mut template = template.filter(|r| r.path == "/_index_template/windlass-logs");
    let body: serde_json::Value = serde_json::from_slice(&template.next().unwrap().body).unwrap();
    let mapping = &body["template"]["mappings"];
    assert_eq!(mapping["properties"]["text"]["type"], "text");
    assert_eq!(mapping["dynamic"], "strict");
}
