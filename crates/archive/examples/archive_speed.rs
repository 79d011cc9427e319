//! How fast a log of 200 MB goes to a cluster and comes back, with the cluster for tests on this
//! machine: what our own side costs. `cargo run --release -p windlass-archive --all-features
//! --example archive_speed`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::time::{Duration, Instant};

use windlass_archive::testing::FakeCluster;
use windlass_archive::{Elasticsearch, ElasticsearchConfig, LogName};
use windlass_logs::folder::{IndexRow, RowFlags, Stream};

#[tokio::main]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut index, mut n) = (Vec::new(), Vec::new(), 0_u64);
    while log.len() < 200_000_000 {
        let row = IndexRow {
            offset: log.len() as u64,
            stream: Stream::Stdout,
            flags: RowFlags::default(),
            time_us: 1_789_473_600_000_000 + (n * 997) as i64,
        };
        index.extend(row.to_bytes());
        let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let line = format!(
            "\x1b[32m   Compiling\x1b[0m crate-{n} v0.{}.0 ({word:x})\n",
            n % 97
        );
        log.extend(line.into_bytes());
        n += 1;
    }
    std::fs::write(dir.path().join("0.log"), &log).unwrap();
    std::fs::write(dir.path().join("0.idx"), &index).unwrap();
    let meta = windlass_logs::seal(dir.path()).unwrap().remove(0).meta;
    let cluster = FakeCluster::start().await;
    let mut config = ElasticsearchConfig::new(cluster.url());
    config.timeout = Duration::from_secs(600);
    let es = Elasticsearch::new(config).unwrap();
    let name = LogName {
        instance: "speed".to_owned(),
        repo: "demo".to_owned(),
        build: 1,
        attempt: 1,
        job: "build".to_owned(),
        step: 0,
        step_name: "compile".to_owned(),
        started_ms: 1_789_473_600_000,
    };
    let begun = Instant::now();
    let written = es.write(&name, dir.path()).await.unwrap();
    let wrote = begun.elapsed();
    let begun = Instant::now();
    let found = es.verify(&name, &meta.sha256).await.unwrap();
    let checked = begun.elapsed();
    let back = dir.path().join("back");
    let begun = Instant::now();
    es.restore(&found, &back).await.unwrap();
    let restored = begun.elapsed();
    let sizes: usize = cluster
        .documents()
        .values()
        .map(|document| document.to_string().len())
        .sum();
    println!(
        "{} bytes in {} lines: {} documents, {sizes} bytes of JSON; written in {wrote:?}, checked \
         in {checked:?}, restored in {restored:?}",
        meta.bytes, meta.rows, written.parts
    );
}
