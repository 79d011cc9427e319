//! Copies of logs in a cluster and in object storage, made by the real server: builds never wait for
//! them, an outage or `kill -9` doubles and loses nothing, and logs come back from there alone.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;
use windlass_archive::testing::{FakeCluster, Fault};

use crate::lab::{Lab, Server};
use crate::moto::Moto;

const LOG: &str = "/repos/r/builds/1/steps/1/log";

fn spec() -> &'static str {
    "steps:\n  - name: one\n    run: |\n      for i in $(seq 1 3000); do echo \"line $i of the \
     zebra log\"; done\n      printf '\\033[31mred\\033[0m no newline \\377\\000'\n  - name: two\n    \
     run: echo second\n"
}

fn expected() -> Vec<u8> {
    let mut bytes: Vec<u8> = (1..=3000)
        .flat_map(|i| format!("line {i} of the zebra log\n").into_bytes())
        .collect();
    bytes.extend(b"\x1b[31mred\x1b[0m no newline \xff\0");
    bytes
}

fn partners() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/archive/tests/partners")
}

/// How many copies are in this state.
async fn copies(lab: &Lab, state: &str) -> i64 {
    let mut db = SqliteConnectOptions::new()
        .filename(lab.data().join("windlass.db"))
        .read_only(true)
        .connect()
        .await
        .unwrap();
    sqlx::query_scalar("select count(*) from archive_copies where state = ?")
        .bind(state)
        .fetch_one(&mut db)
        .await
        .unwrap()
}

pub(crate) async fn until_copies(lab: &Lab, server: &Server, state: &str, wanted: i64) {
    let deadline = std::time::Instant::now() + crate::lab::PATIENCE;
    while copies(lab, state).await != wanted {
        assert!(
            std::time::Instant::now() < deadline,
            "{} copies are {state}, not {wanted}\n{}\nthe server said:\n{}",
            copies(lab, state).await,
            lab.ok(&["archive", "status"]),
            server.said()
        );
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// Every block of both steps, and each step's figures, once.
fn assert_whole(cluster: &FakeCluster) {
    let documents = cluster.documents();
    let of = |kind: &str| {
        let all = documents.values().filter(|d| d["kind"] == kind);
        all.cloned().collect::<Vec<Value>>()
    };
    let logs = of("log");
    assert_eq!(logs.len(), 2, "{logs:#?}");
    let blocks: u64 = logs.iter().filter_map(|log| log["blocks"].as_u64()).sum();
    assert_eq!(of("block").len() as u64, blocks);
    assert_eq!(documents.len() as u64, blocks + 2);
}

/// A file of keys that moto takes.
fn credentials(lab: &Lab) -> String {
    let file = lab.path("credentials");
    let keys = "[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = s3cret\n";
    std::fs::write(&file, keys).unwrap();
    file.to_str().unwrap().to_owned()
}

/// The options of a server whose logs go to moto.
fn s3<'a>(moto: &'a Moto, credentials: &'a str) -> [&'a str; 6] {
    [
        "--s3-endpoint",
        &moto.url,
        "--s3-bucket",
        "logs",
        "--s3-credentials-file",
        credentials,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_go_to_both_archives_and_come_back_from_each() {
    let cluster = FakeCluster::start().await;
    // windlass:secret word
    cluster.ask_for("Basic d2luZGxhc3M6c2VjcmV0IHdvcmQ=");
    let moto = Moto::start(&partners()).await;
    let lab = Lab::new();
    lab.hooked("r", spec());
    std::fs::write(lab.path("password"), "secret word\n").unwrap();
    let (url, password) = (cluster.url(), lab.path("password"));
    let credentials = credentials(&lab);
    let es = [
        "--elasticsearch",
        url.as_str(),
        "--elasticsearch-user",
        "windlass",
        "--elasticsearch-password-file",
        password.to_str().unwrap(),
    ];
    let s3 = s3(&moto, &credentials);
    let both = [es.as_slice(), &s3].concat();
    let server = lab.serve(&both);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    until_copies(&lab, &server, "kept", 4).await;
    assert_whole(&cluster);
    let windlass = |words: &[&str], options: &[&str]| {
        let output = lab.run(&[words, options].concat());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (code, said) = (output.status.code(), text(output.stderr));
        (code, output.stdout, said)
    };
    let (code, said, _) = windlass(&["archive", "status"], &both);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("elasticsearch 9.1.0 answers"), "{said}");
    assert!(said.contains("kept            2 logs"), "{said}");
    let (code, said, _) = windlass(&["archive", "verify", "r/1"], &both);
    assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&said));

    // The log's own files are lost. Whoever looks at it gets it from the archive.
    let log_folder = lab.data().join("logs/a1");
    std::fs::remove_dir_all(&log_folder).unwrap();
    let page = lab.text(&server, "/repos/r/builds/1/steps/1").await;
    assert!(page.contains("line 3000 of the zebra log"));
    assert!(lab.bytes(&server, LOG).await == expected());
    // And from the bucket, when the cluster is away.
    std::fs::remove_dir_all(&log_folder).unwrap();
    cluster.fail("/", usize::MAX, Fault::Proxy);
    assert!(lab.bytes(&server, LOG).await == expected());
    cluster.recover();

    // Without the server's data: on another machine, from each.
    for (from, options) in [("elasticsearch", es.as_slice()), ("s3", &s3)] {
        let elsewhere = lab.path("elsewhere");
        let into = lab.path(from);
        let mut words = vec!["archive", "fetch", "r/1", "--from", from, "--step", "1"];
        words.extend(["--data", elsewhere.to_str().unwrap()]);
        let (code, bytes, said) = windlass(&words, options);
        assert_eq!(code, Some(0), "{said}");
        assert!(bytes == expected(), "{from}");
        let words = ["archive", "fetch", "r/1", "--into", into.to_str().unwrap()];
        let (code, _, said) = windlass(&words, options);
        assert_eq!(code, Some(0), "{said}");
        let second = std::fs::read(into.join("attempt-1/1.log")).unwrap();
        assert_eq!(second, b"second\n", "{from}");
    }
    let (code, found, _) = windlass(&["archive", "search", "zebra", "2718"], &es);
    let found = String::from_utf8(found).unwrap();
    assert_eq!(code, Some(0));
    assert_eq!(
        found,
        "r/1 attempt 1 step 1 line 2718: line 2718 of the zebra log\n"
    );

    // Something is lost there: verify says so, and the server writes it again.
    let lost = cluster.documents();
    let lost = lost.keys().find(|id| id.ends_with(".0.3")).unwrap();
    cluster.lose(lost);
    let (code, said, _) = windlass(&["archive", "verify"], &es);
    let said = String::from_utf8(said).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the server will write it again"), "{said}");
    until_copies(&lab, &server, "kept", 4).await;
    assert_whole(&cluster);

    // What retention asks for: everything goes, from both. As `Store::remove_copies` does it.
    let mut db = SqliteConnectOptions::new()
        .filename(lab.data().join("windlass.db"))
        .connect()
        .await
        .unwrap();
    sqlx::query("update archive_copies set state = 'removing', next_ms = 0")
        .execute(&mut db)
        .await
        .unwrap();
    until_copies(&lab, &server, "removed", 4).await;
    assert!(cluster.documents().is_empty());
    let (code, _, said) = windlass(&["archive", "fetch", "r/1"], &s3);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("the archive has no log of r/1"), "{said}");
    // No password was told to anybody.
    let all = format!("{said}{}", server.said());
    assert!(
        !all.contains("secret word") && !all.contains("s3cret"),
        "{all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_do_not_wait_for_a_cluster_that_is_away() {
    let address = FakeCluster::start().await.address;
    let lab = Lab::new();
    lab.hooked("r", spec());
    let url = format!("http://{address}");
    let server = lab.serve_with(&[], &[("WINDLASS_ELASTICSEARCH_URL", &url)]);
    lab.push("r", &["HEAD:main"]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    assert!(lab.bytes(&server, LOG).await == expected());
    until_copies(&lab, &server, "waiting", 2).await;
    lab.wait("the server tells of the outage", || {
        lab.ok(&["archive", "status"]).contains("no connection")
    });
    // It comes up, half at first.
    let cluster = FakeCluster::listen(address).await;
    cluster.fail("_bulk", 2, Fault::Status(503));
    cluster.fail("_bulk", 1, Fault::OddItems(429));
    until_copies(&lab, &server, "kept", 2).await;
    assert_whole(&cluster);
    // A server that is started without it makes no more rows.
    drop(server);
    let server = lab.serve(&[]);
    lab.ok(&["retry", "r/1"]);
    lab.until(&server, "/api/v1/repos/r/builds/1", |build| {
        build["state"] == "passed" && build["attempts"].as_array().is_some_and(|a| a.len() == 2)
    })
    .await;
    lab.wait("the work folder is empty", || lab.work().is_empty());
    assert_eq!(copies(&lab, "waiting").await, 0);
    // With it again, what was missed follows.
    drop(server);
    let server = lab.serve_with(&[], &[("WINDLASS_ELASTICSEARCH_URL", &url)]);
    until_copies(&lab, &server, "kept", 4).await;
}

async fn killed_at(point: &str) {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    lab.hooked("r", spec());
    let url = cluster.url();
    let es = ("WINDLASS_ELASTICSEARCH_URL", url.as_str());
    let mut server = lab.serve_with(&[], &[es, ("WINDLASS_KILL_AT", point)]);
    lab.push("r", &["HEAD:main"]);
    assert_eq!(server.wait(), None, "nothing was killed at {point}");
    let server = lab.serve_with(&[], &[es]);
    let build = lab.ended(&server, "r", 1).await;
    assert_eq!(build["state"], "passed", "{build:#}");
    until_copies(&lab, &server, "kept", 2).await;
    assert_whole(&cluster);
    let said = lab.ok(&["archive", "verify", "--elasticsearch", &url]);
    assert!(
        said.contains("2 copies are as they were written, 0 are not"),
        "{said}"
    );
}

macro_rules! killed_at {
    ($($name:ident: $point:literal,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                killed_at($point).await;
            }
        )*
    };
}

killed_at! {
    killed_before_the_attempt_is_closed: "before-done",
    killed_after_the_attempt_is_closed: "after-done",
    killed_between_writing_and_checking: "after-archive-write",
    killed_between_checking_and_noting: "after-archive-check",
    killed_before_a_copy_is_noted: "before-copy_kept",
    killed_after_a_copy_is_noted: "after-copy_kept",
}

/// As if what the server has were this many days old.
pub(crate) async fn age(lab: &Lab, days: i64) {
    let options = SqliteConnectOptions::new().filename(lab.data().join("windlass.db"));
    let mut db = options.connect().await.unwrap();
    for update in [
        "update attempts set finished_ms = finished_ms - ?1",
        "update builds set created_ms = created_ms - ?1",
    ] {
        let ms = days * 86_400_000;
        sqlx::query(update).bind(ms).execute(&mut db).await.unwrap();
    }
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(days as u64 * 86_400);
    for attempt in std::fs::read_dir(lab.data().join("logs")).unwrap() {
        for file in std::fs::read_dir(attempt.unwrap().path()).unwrap() {
            let file = std::fs::File::options()
                .append(true)
                .open(file.unwrap().path())
                .unwrap();
            file.set_modified(then).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_with_copies_go_from_here_and_are_read_and_searched_all_the_same() {
    let cluster = FakeCluster::start().await;
    let lab = Lab::new();
    lab.hooked("r", spec());
    let refused = lab.run(&["serve", "--keep-local-log-days", "3"]);
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("there is none"), "{words}");
    let url = cluster.url();
    let archive = ["--elasticsearch", url.as_str()];
    let server = lab.serve(&[]);
    lab.push("r", &["HEAD:main"]);
    lab.ended(&server, "r", 1).await;
    let json = lab.data().join("logs/a1/0.json");
    lab.wait("the log is sealed", || {
        json.exists() && lab.work().is_empty()
    });
    drop(server);
    age(&lab, 5).await;
    let server = lab.serve(&archive);
    until_copies(&lab, &server, "kept", 2).await;
    drop(server);

    // An archive that is away removes nothing.
    let local = [archive.as_slice(), &["--keep-local-log-days", "3"]].concat();
    cluster.fail("/", usize::MAX, Fault::Proxy);
    let server = lab.serve(&local);
    lab.wait("the server tells why logs stay", || {
        server.said().contains("logs stay here")
    });
    assert!(json.exists());
    drop(server);
    cluster.recover();

    // With it, they go, one after the other, also if the server is killed between the check and the removal.
    let killing = [("WINDLASS_KILL_AT", "before-local-removal")];
    let mut server = lab.serve_with(&local, &killing);
    server.wait();
    assert!(json.exists());
    drop(server);
    let server = lab.serve(&local);
    let gone = || {
        let left = |suffix: &str| lab.data().join(format!("logs/a1/{suffix}")).exists();
        !["0.json", "0.log.zst", "0.idx.zst", "1.json", "1.log"]
            .iter()
            .any(|file| left(file))
    };
    lab.wait("the logs are not here", gone);
    assert_eq!(copies(&lab, "kept").await, 2);

    // Searched where they are: as the index here knows them, and line by line.
    let search = |q: &'static str| {
        let path = format!("/api/v1/search?q={q}");
        let (lab, server) = (&lab, &server);
        async move { lab.json(server, &path).await }
    };
    let found = search("line+777+zebra").await;
    assert_eq!(found["lines"].as_array().unwrap().len(), 1, "{found:#}");
    assert_eq!(found["lines"][0]["line"], 777);
    assert_eq!(found["archive"]["not_searched"], serde_json::json!([]));
    let page = lab.text(&server, "/search?q=line+777+zebra").await;
    assert!(
        page.contains("steps/1?") && page.contains("#L777"),
        "{page}"
    );
    let scan = lab.run(&["logs", "r", "--search", "line 778 of"]);
    let lines = String::from_utf8(scan.stdout).unwrap();
    assert_eq!(
        lines,
        "r/1 attempt 1 step 1:778: line 778 of the zebra log\n"
    );
    assert!(gone(), "searching brought a log back");

    // A cluster that is away is told, and what is here is found.
    cluster.fail("_search", usize::MAX, Fault::Status(503));
    let found = search("line+777+zebra").await;
    assert_eq!(found["lines"], serde_json::json!([]));
    assert!(found["archive"]["away"].is_string(), "{found:#}");
    assert_eq!(found["archive"]["not_searched"][0]["step"], 1, "{found:#}");
    let page = lab.text(&server, "/search?q=line+777+zebra").await;
    assert!(
        page.contains("were not searched") && page.contains("r #1 step 1"),
        "{page}"
    );
    let scan = lab.run(&["logs", "r", "--search", "line 778 of"]);
    let said = String::from_utf8(scan.stderr).unwrap();
    assert!(
        said.contains("2 logs that are only in the archive were not searched"),
        "{said}"
    );
    let answer = lab
        .http
        .get(format!("{}{LOG}", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    cluster.recover();

    // Whoever opens one has it, byte for byte, and it is here again.
    assert!(lab.bytes(&server, LOG).await == expected());
    assert!(json.exists());

    // What is erased is erased everywhere, also where it is not here.
    lab.ok(&["erase", "r/1", "--why", "a key"]);
    until_copies(&lab, &server, "removed", 2).await;
    assert!(cluster.documents().is_empty());
    let found = search("line+777+zebra").await;
    assert_eq!(found["lines"], serde_json::json!([]));
    let answer = lab
        .http
        .get(format!("{}{LOG}", server.url))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 410);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_which_only_object_storage_has_a_copy_go_from_here_and_come_back() {
    let moto = Moto::start(&partners()).await;
    let lab = Lab::new();
    lab.hooked("r", spec());
    let credentials = credentials(&lab);
    let s3 = s3(&moto, &credentials);
    let server = lab.serve(&s3);
    lab.push("r", &["HEAD:main"]);
    lab.ended(&server, "r", 1).await;
    until_copies(&lab, &server, "kept", 2).await;
    drop(server);
    age(&lab, 5).await;
    let local = [s3.as_slice(), &["--keep-local-log-days", "3"]].concat();
    let server = lab.serve(&local);
    let here = |file: &str| lab.data().join("logs/a1").join(file).exists();
    lab.wait("the logs are not here", || {
        !["0.json", "0.log.zst", "1.json", "1.log"]
            .iter()
            .any(|file| here(file))
    });
    // Nothing there can search: the page names what was not looked into.
    let found = lab.json(&server, "/api/v1/search?q=zebra+777").await;
    assert_eq!(found["lines"], serde_json::json!([]), "{found:#}");
    assert_eq!(found["archive"]["not_searched"][0]["step"], 1, "{found:#}");
    assert!(lab.bytes(&server, LOG).await == expected());
    assert!(here("0.json") && !here("1.json"));
    // Erased while it is there only: nothing is left, and nobody gets it.
    lab.ok(&["erase", "r/1", "--why", "a key"]);
    until_copies(&lab, &server, "removed", 2).await;
    let (code, said) = {
        let output = lab.run(&[&["archive", "fetch", "r/1"], s3.as_slice()].concat());
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(code, Some(4), "{said}");
    let answer = lab.http.get(format!("{}{LOG}", server.url));
    assert_eq!(answer.send().await.unwrap().status(), 410);
}
