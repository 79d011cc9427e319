//! The logs of services, which are logs like steps' own: read, searched, removed, and brought back from an archive.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use windlass_logs::{LogReader, words};
use windlass_model::plan::{FIRST_SERVICE_LOG, ServicePlan};
use windlass_model::{AttemptId, BuildState, RepoName};
use windlass_shim::journal::StepResult;
use windlass_store::ForgeKind;
use windlass_store::search::NewBlock;
use windlass_web::{AppState, CopiedLines, LogCopies};

use crate::ask::get;
use crate::fixture::{Fixture, plan, push};
use crate::logs::LOG;

const SERVICE: &str = "/repos/demo/builds/1/steps/10001";
const ALL: &str = "/repos/demo/builds/1/services";

/// A build that is done, whose step and service `db` printed something. Its attempt's row and folder.
async fn built(fixture: &Fixture) -> (i64, PathBuf) {
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    fixture.queue(&demo, push("main", "x")).await;
    let mut plan = plan(&["test"]);
    plan.jobs[0].services.push(ServicePlan {
        name: "db".to_owned(),
        image: "postgres".to_owned(),
        env: Default::default(),
        command: None,
        ready: None,
    });
    let mut job = fixture.job_of(plan).await;
    let attempt = job.claim.attempt.id;
    let folder = fixture.state.logs_root.join(format!("a{attempt}"));
    job.start(0).await;
    job.out(0, "connected\n").await;
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    let early = "2020-01-01T00:00:00Z the pelican listens\n2020-01-01T00:00:01Z <b>ready\n";
    windlass_logs::service::write(&folder, FIRST_SERVICE_LOG, early.as_bytes()).unwrap();
    job.finish(BuildState::Passed, "", None).await;
    assert!(folder.join("10000.json").exists());
    (attempt, folder)
}

#[tokio::test]
async fn a_service_s_log_is_a_page_is_searched_and_has_a_tombstone() {
    let fixture = Fixture::new().await;
    let (attempt, folder) = built(&fixture).await;
    let state = &fixture.state;
    let build = get(state, "/repos/demo/builds/1").await.body;
    assert!(build.contains("/steps/10001?attempt=1\">db</a>"), "{build}");
    let page = get(state, SERVICE).await.body;
    for words in [
        "<span class=\"quiet\">service</span> db",
        "the pelican listens",
        "&lt;b&gt;ready",
        "beside the job",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let text = get(state, &format!("{SERVICE}/log?lines=2")).await;
    assert_eq!(text.body, "<b>ready\n");
    assert_eq!(text.header("x-windlass-log-complete"), "true");
    let alone = get(state, &format!("{ALL}?service=db")).await.body;
    assert!(alone.starts_with("2020-01-01T00:00:00.000000Z the pelican listens\n"));
    let all = get(state, ALL).await.body;
    assert!(all.contains("db     | <b>ready\n"), "{all}");
    assert!(all.ends_with("step 1 | connected\n"), "{all}");
    for nobody in [
        "/repos/demo/builds/1/steps/10002",
        "/repos/demo/builds/1/services?service=x",
    ] {
        assert_eq!(
            get(state, nobody).await.status,
            StatusCode::NOT_FOUND,
            "{nobody}"
        );
    }

    let mut reader = LogReader::open(&folder, FIRST_SERVICE_LOG).unwrap();
    let mut blocks = Vec::new();
    words::blocks(&mut reader, |block| {
        blocks.push(NewBlock {
            step: FIRST_SERVICE_LOG.into(),
            first_row: block.first_row as i64,
            rows: block.rows as i64,
            words: block.words,
        });
        Ok::<(), windlass_logs::LogError>(())
    })
    .unwrap();
    let index = state.index.as_ref().unwrap();
    index.put(attempt, 1, &blocks).await.unwrap();
    let json = get(state, "/api/v1/search?q=pelican").await.json();
    let line = &json["lines"][0];
    assert_eq!(
        (&line["service"], &line["step_name"]),
        (&"db".into(), &"db".into())
    );
    let url = line["url"].as_str().unwrap();
    assert!(url.contains("/steps/10001?attempt=1&from=1#L1"), "{url}");
    let page = get(state, "/search?q=pelican").await.body;
    assert!(page.contains("service db</a>"), "{page}");
    let scan = get(state, "/api/v1/repos/demo/scan?text=elican").await.body;
    assert!(scan.contains("\"service\":\"db\""), "{scan}");
    assert!(scan.contains("\"logs\":2"), "{scan}");

    let why = vec![(attempt, "it showed a key".to_owned())];
    state.store.bury_logs(&why).await.unwrap();
    for path in [SERVICE, ALL] {
        let gone = get(state, path).await;
        assert_eq!(gone.status, StatusCode::GONE, "{path}");
        assert!(gone.body.contains("it showed a key"), "{path}");
    }
    let json = get(state, "/api/v1/search?q=pelican").await.json();
    assert_eq!(json["lines"], serde_json::json!([]));
    let build = get(state, "/repos/demo/builds/1").await.body;
    assert!(!build.contains("Logs of services"), "{build}");
}

#[tokio::test]
async fn what_an_earlier_server_kept_of_a_service_is_still_shown() {
    let fixture = Fixture::new().await;
    let (_, folder) = built(&fixture).await;
    for file in files(&folder, FIRST_SERVICE_LOG) {
        std::fs::remove_file(file).unwrap();
    }
    std::fs::create_dir(folder.join("services")).unwrap();
    let old = "2020-01-01T00:00:00.5Z up and running\n";
    std::fs::write(folder.join("services/db.log"), old).unwrap();
    let alone = get(&fixture.state, &format!("{ALL}?service=db")).await.body;
    assert_eq!(alone, "2020-01-01T00:00:00.500000Z up and running\n");
    let all = get(&fixture.state, ALL).await.body;
    assert!(all.contains("db     | up and running\n"), "{all}");
}

/// The files of a log.
fn files(folder: &Path, log: u32) -> Vec<PathBuf> {
    let begin = format!("{log}.");
    let all = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap());
    all.filter(|entry| entry.file_name().to_str().unwrap().starts_with(&begin))
        .map(|entry| entry.path())
        .collect()
}

/// What an archive does with who asks.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    /// It takes longer than anybody waits.
    Slow,
    /// It has no copy.
    Lost,
    /// It does not work.
    Away,
    /// It brings the log.
    Brings,
}

struct Archive {
    answer: Mutex<Answer>,
    has: PathBuf,
    logs: PathBuf,
}

impl LogCopies for Archive {
    fn restore<'a>(
        &'a self,
        attempt: &'a AttemptId,
        step: u32,
    ) -> BoxFuture<'a, Result<bool, String>> {
        let answer = *self.answer.lock().unwrap();
        Box::pin(async move {
            match answer {
                Answer::Slow => std::future::pending().await,
                Answer::Lost => Ok(false),
                Answer::Away => Err("no connection".to_owned()),
                Answer::Brings => {
                    for file in files(&self.has, step) {
                        let name = file.file_name().unwrap();
                        std::fs::copy(&file, self.logs.join(attempt.as_str()).join(name)).unwrap();
                    }
                    Ok(true)
                }
            }
        })
    }

    fn search<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a RepoName>,
        _: usize,
    ) -> BoxFuture<'a, Option<Result<CopiedLines, String>>> {
        Box::pin(async { None })
    }
}

#[tokio::test]
async fn logs_that_are_not_here_are_asked_for_whoever_shows_them() {
    let fixture = Fixture::new().await;
    let (_, folder) = built(&fixture).await;
    let has = folder.with_extension("elsewhere");
    std::fs::rename(&folder, &has).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let archive = Arc::new(Archive {
        answer: Mutex::new(Answer::Slow),
        has,
        logs: fixture.state.logs_root.clone(),
    });
    let state = &AppState {
        copies: Some(archive.clone()),
        ..fixture.state.clone()
    };
    let service_log = &format!("{SERVICE}/log");
    let alone = &format!("{ALL}?service=db");
    let paths = [
        "/repos/demo/builds/1/steps/1",
        LOG,
        SERVICE,
        service_log,
        ALL,
        alone,
    ];
    // All at once: each waits ten seconds.
    let asked = paths.map(|path| get(state, path));
    for (path, answer) in paths
        .iter()
        .zip(futures_util::future::join_all(asked).await)
    {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(
            answer.body.contains("on its way back from the archive"),
            "{path}: {}",
            answer.body
        );
    }
    *archive.answer.lock().unwrap() = Answer::Away;
    for path in paths {
        let answer = get(state, path).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(
            answer.body.contains("no connection"),
            "{path}: {}",
            answer.body
        );
    }
    *archive.answer.lock().unwrap() = Answer::Lost;
    for path in paths.into_iter().filter(|path| *path != ALL) {
        let answer = get(state, path).await;
        assert_eq!(answer.status, StatusCode::GONE, "{path}");
        assert!(
            answer.body.contains("there is no copy of it"),
            "{path}: {}",
            answer.body
        );
    }
    // Where there are several logs, one that is lost hides no other.
    let all = get(state, ALL).await;
    assert_eq!(all.status, StatusCode::OK);
    assert!(
        all.body
            .contains("step 1: this output is not on the server any more"),
        "{}",
        all.body
    );
    assert!(
        all.body
            .contains("db: this output is not on the server any more"),
        "{}",
        all.body
    );

    *archive.answer.lock().unwrap() = Answer::Brings;
    let all = get(state, ALL).await;
    assert!(
        all.body.contains("db     | the pelican listens\n"),
        "{}",
        all.body
    );
    assert!(all.body.ends_with("step 1 | connected\n"), "{}", all.body);
    assert_eq!(get(state, LOG).await.body, "connected\n");
}
