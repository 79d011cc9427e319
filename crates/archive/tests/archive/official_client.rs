//! Elastic's own JavaScript client speaks to the cluster for tests: our fake is no more lenient and
//! no more strict than that client expects of a real one, and what we write it can read.

use std::path::Path;
use std::process::Command;

use serde_json::json;
use windlass_archive::testing::FakeCluster;

use crate::lab::{self, Lab, name};

/// The folder with the programs of others.
pub(crate) fn partners() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/partners"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_finds_the_fake_to_be_elasticsearch() {
    assert!(
        partners()
            .join("node_modules/@elastic/elasticsearch")
            .is_dir(),
        "Elastic's client is missing: run crates/archive/tests/partners/install \
         (needs `apt-get install nodejs npm python3-venv`)"
    );
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    let log: Vec<u8> = (0..3_000)
        .flat_map(|i| format!("compiling crate number {i}\n").into_bytes())
        .collect();
    let (dir, meta) = lab.sealed("log", &log);
    let es = lab::client(&cluster);
    let of = name("official", 1, 0);
    es.write(&of, &dir).await.unwrap();
    es.verify(&of, &meta.sha256).await.unwrap();
    let written = json!({"repo": of.repo, "sha256": meta.sha256}).to_string();
    let url = cluster.url();
    let ran = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg("official_client.mjs")
            .args([url, written])
            .current_dir(partners())
            .output()
            .expect("node is missing: apt-get install nodejs npm")
    });
    let output = ran.await.unwrap();
    assert!(output.status.success(), "{output:#?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("\"checked\":true"), "{said}");
}
