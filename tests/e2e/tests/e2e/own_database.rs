//! The server's own database: made at the first start, migrated only when told to, and waited for.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::lab::Lab;
use crate::servers::{Postgres, free_port};

/// Runs SQL on the data folder's database, which is made if it is not there.
async fn sql(lab: &Lab, text: &str) {
    std::fs::create_dir_all(lab.data()).unwrap();
    let options = SqliteConnectOptions::new()
        .filename(lab.data().join("windlass.db"))
        .create_if_missing(true)
        .foreign_keys(false);
    let mut conn = options.connect().await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()))
        .execute(&mut conn)
        .await
        .unwrap();
}

/// The data folder of a server whose newest migration was `0004_schedules.sql`.
async fn of_an_older_release() -> Lab {
    let lab = Lab::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/store/tests/fixtures");
    let fixtures = fixtures.join("sqlite");
    let dump = std::fs::read_to_string(fixtures.join("0004_schedules.sql")).unwrap();
    sql(&lab, &dump).await;
    std::fs::copy(fixtures.join("secret.key"), lab.data().join("secret.key")).unwrap();
    lab
}

#[tokio::test]
async fn a_server_waits_until_somebody_migrates_and_then_goes_on_by_itself() {
    let lab = of_an_older_release().await;
    let mut server = lab.serve_waiting(&[]);
    let ask = async |path: &str| {
        let answer = lab.http.get(format!("{}{path}", server.url)).send().await;
        let answer = answer.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for path in ["/healthz", "/", "/api/v1/builds"] {
        let (status, words) = ask(path).await;
        assert_eq!(status, 503, "{path}");
        assert!(words.contains("0005_retention.sql"), "{words}");
        assert!(words.contains("windlass db migrate"), "{words}");
        let is_json = serde_json::from_str::<Value>(&words).is_ok_and(|v| v["hint"].is_string());
        assert_eq!(is_json, path.starts_with("/api/"), "{words}");
    }
    let hook = lab.http.post(format!("{}/hooks/github", server.url));
    assert_eq!(hook.body("{}").send().await.unwrap().status(), 503);
    assert!(
        server.said().contains("The server waits"),
        "{}",
        server.said()
    );

    // Other commands say so and change nothing.
    let refused = lab.run(&["repo", "list"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("windlass db migrate"), "{said}");
    let status = lab.run(&["db", "status", "--check", "--json"]);
    assert_eq!(status.status.code(), Some(3));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["pending"], serde_json::json!([5, 6]));

    let done = lab.ok(&["db", "migrate"]);
    assert!(done.contains("applied 0006_archive.sql"), "{done}");
    lab.until(&server, "/api/v1/builds", |v| v["builds"].is_array())
        .await;
    assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
    let builds = lab.builds(&server).await;
    assert_eq!(builds.len(), 4, "{builds:#?}");
    assert_eq!(lab.run(&["db", "status", "--check"]).status.code(), Some(0));
    let verified = lab.ok(&["db", "verify", "--json"]);
    assert!(verified.contains("\"findings\": []"), "{verified}");
    assert!(lab.ok(&["db", "migrate"]).contains("nothing to do"));
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test]
async fn a_server_that_waits_stops_when_told_to_and_one_that_may_migrate_does() {
    let lab = of_an_older_release().await;
    let mut server = lab.serve_waiting(&[]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    drop(server);
    let server = lab.serve(&["--migrate"]);
    assert_eq!(lab.builds(&server).await.len(), 4);
    drop(server);
    let lab = of_an_older_release().await;
    let server = lab.serve_with(&[], &[("WINDLASS_MIGRATE", "1")]);
    assert_eq!(lab.builds(&server).await.len(), 4);
}

#[tokio::test]
async fn a_fresh_folder_needs_no_command_and_a_schema_that_is_too_new_is_said() {
    let lab = Lab::new();
    let empty = lab.run(&["db", "status", "--check"]);
    assert_eq!(empty.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&empty.stdout).contains("`windlass serve` fills it"));
    drop(lab.serve(&[]));
    assert_eq!(lab.run(&["db", "status", "--check"]).status.code(), Some(0));
    let newer = "insert into windlass_migrations (version, name, phase, checksum, app_floor, how, \
                 applied_ms, duration_ms, applied_by, token) values \
                 (9999, 'newer', 'contract', 'x', 'release:99.0', 'applied', 0, 0, '', 1)";
    sql(&lab, newer).await;
    let refused = lab.run(&["serve", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(said.contains("release 99.0 or newer"), "{said}");
}

#[tokio::test]
async fn a_server_waits_for_a_database_that_starts_later() {
    let mut lab = Lab::new();
    let port = free_port();
    lab.database = Some(format!("postgres://windlass@127.0.0.1:{port}/postgres"));
    let mut server = lab.serve_waiting(&[]);
    for path in ["/healthz", "/", "/api/v1/builds"] {
        let answer = lab.http.get(format!("{}{path}", server.url)).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status().as_u16(), 503, "{path}");
        let words = answer.text().await.unwrap();
        assert!(words.contains("refused"), "{words}");
        assert!(words.contains("start the database"), "{words}");
    }
    assert!(
        server.said().contains("The server waits for the database"),
        "{}",
        server.said()
    );
    let _postgres = Postgres::start_at(port, &[]).await;
    lab.until(&server, "/api/v1/builds", |v| v["builds"].is_array())
        .await;
    assert!(
        server.said().contains("the database answers after"),
        "{}",
        server.said()
    );
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
}

#[tokio::test]
async fn a_server_that_waits_for_its_database_stops_when_told_to_and_gives_up_in_time() {
    let mut lab = Lab::new();
    lab.database = Some(format!("postgres://windlass@127.0.0.1:{}/app", free_port()));
    let mut server = lab.serve_waiting(&[]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(), Some(0));
    for (wait, waits) in [("1s", true), ("0", false)] {
        let refused = lab.run(&["serve", "--listen", "127.0.0.1:0", "--database-wait", wait]);
        let said = [refused.stdout, refused.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!refused.status.success(), "{said}");
        assert!(
            said.contains("give it longer with --database-wait"),
            "{said}"
        );
        assert_eq!(said.contains("windlass waits at"), waits, "{said}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_database_are_errors_at_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let mut lab = Lab::new();
    let dir = tempfile::tempdir().unwrap();
    let hba = dir.path().join("hba");
    let rules = "host all windlass all trust\nhost all all all scram-sha-256\n";
    std::fs::write(&hba, rules).unwrap();
    for path in [dir.path(), &hba] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let setting = format!("hba_file={}", hba.display());
    let server = Postgres::start_with(&[&setting]).await;
    let port = server.port;
    for (who, name, words) in [
        ("ada:wrong", "app", "password authentication failed"),
        ("windlass", "nothing", "does not exist"),
    ] {
        lab.database = Some(format!("postgres://{who}@127.0.0.1:{port}/{name}"));
        // It would wait for 5 minutes, longer than a test may take.
        let refused = lab.run(&["serve", "--listen", "127.0.0.1:0"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(words), "{said}");
        assert!(!said.contains("waits"), "{said}");
    }
}
