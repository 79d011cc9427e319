//! A server's state with builds in it, made through the same doors as in real life: triggers are
//! submitted, attempts claimed, journals recorded. Used by the tests and by
//! `examples/fixture_server.rs`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use windlass_logs::{Hub, LogEvent, Recorder};

use windlass_model::plan::ReportKind;
use windlass_model::{
    AttemptId, BuildState, Event, JobPlan, Plan, Revision, Secret, StepPlan, Trigger,
};
use windlass_shim::journal::{
    Encoder, JobEnded, JobStarted, Record, StepEnded, StepResult, Stream,
};
use windlass_store::OnPending;
use windlass_store::db::now_ms;
use windlass_store::queue::{Finish, Willing};
use windlass_store::results::{NewArtifact, Report, Results, Test, TestEnd};
use windlass_store::steps::Told;
use windlass_store::{
    Build, Claim, ForgeKind, NewBuild, NewRepo, Repo, SearchIndex, Store, Submitted,
};
use windlass_web::{AppState, ArtifactFile, Artifacts, RefError, Refs};

pub(crate) const TOKEN: &str = "correct horse battery staple";
pub(crate) const WORKER: &str = "worker";
pub(crate) const HOUR: i64 = 3_600_000;

pub(crate) struct Fixture {
    pub(crate) state: AppState,
    _dir: TempDir,
}

fn test(end: TestEnd, name: &str, log: Option<(i64, i64)>) -> Test {
    Test {
        end,
        suite: "suite".to_owned(),
        name: name.to_owned(),
        duration_ms: Some(3),
        message: Some("expected <1>".to_owned()),
        output: Some("what it said".to_owned()),
        file: Some("tests/a.py".to_owned()),
        line: Some(7),
        log,
    }
}

/// A server whose only branch is `main`.
struct NoRefs;

impl Refs for NoRefs {
    fn resolve<'a>(
        &'a self,
        _: &'a Repo,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(Revision, String), RefError>> {
        Box::pin(async move {
            match name {
                "" | "main" => Ok((
                    "a".repeat(40).parse().unwrap(),
                    "refs/heads/main".to_owned(),
                )),
                _ => Err(RefError {
                    message: format!("there is no branch or tag {name}"),
                    hint: None,
                }),
            }
        })
    }
}

/// Artifacts as plain folders: `<attempt>/<name>/<path>`.
struct Shelf(PathBuf);

impl Artifacts for Shelf {
    fn list(&self, id: &AttemptId, name: &str, most: usize) -> io::Result<Vec<ArtifactFile>> {
        let folder = self.0.join(id.as_str()).join(name);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder)?.take(most) {
            let entry = entry?;
            files.push(ArtifactFile {
                path: entry.file_name().into_string().unwrap(),
                bytes: entry.metadata()?.len(),
            });
        }
        Ok(files)
    }

    fn open(&self, id: &AttemptId, name: &str, path: &str) -> io::Result<File> {
        assert!(!path.contains(".."), "the real one is tested in the engine");
        File::open(self.0.join(id.as_str()).join(name).join(path))
    }

    fn archive(&self, id: &AttemptId, name: &str, out: &mut dyn Write) -> io::Result<()> {
        for file in self.list(id, name, usize::MAX)? {
            io::copy(&mut self.open(id, name, &file.path)?, out)?;
        }
        Ok(())
    }
}

impl Fixture {
    /// Keeps files as an artifact of an attempt.
    pub(crate) async fn artifact(
        &self,
        build: i64,
        attempt: i64,
        name: &str,
        files: &[(&str, &str)],
    ) {
        let root = self._dir.path().join("artifacts");
        let folder = root.join(AttemptId::from_row(attempt).as_str()).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for (path, text) in files {
            std::fs::write(folder.join(path), text).unwrap();
        }
        let results = Results {
            artifacts: vec![NewArtifact {
                name: name.to_owned(),
                files: files.len() as i64,
                bytes: files.iter().map(|(_, text)| text.len() as i64).sum(),
                retention_ms: None,
            }],
            reports: vec![Report {
                kind: ReportKind::Junit,
                tests: 2,
                failed: 1,
                skipped: 0,
                flaky: 0,
                duration_ms: 1500,
                lines: None,
                problems: String::new(),
            }],
            tests: vec![
                test(TestEnd::Failed, "<b>bad", Some((0, 1))),
                test(TestEnd::Passed, "good", None),
            ],
        };
        self.state
            .store
            .keep_results(build, attempt, &results)
            .await
            .unwrap();
    }

    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), OnPending::Refuse)
            .await
            .unwrap();
        let logs_root = dir.path().join("logs");
        std::fs::create_dir_all(&logs_root).unwrap();
        let index = SearchIndex::open(&dir.path().join("data")).await.unwrap();
        let state = AppState {
            store,
            index: Some(index),
            hub: Hub::new(),
            logs_root,
            schema: r#"{"title": "spec"}"#.into(),
            refs: Arc::new(NoRefs),
            artifacts: Arc::new(Shelf(dir.path().join("artifacts"))),
            cluster: None,
            copies: None,
            public_url: "http://ci.test:8080".to_owned(),
            token: Secret::new(TOKEN),
            shutdown: CancellationToken::new(),
            private: false,
        };
        Self { state, _dir: dir }
    }

    pub(crate) async fn repo(&self, name: &str, forge: ForgeKind, secret: Option<&str>) -> Repo {
        let github = forge == ForgeKind::Github;
        let new = NewRepo {
            name: name.parse().unwrap(),
            url: if github {
                format!("https://github.com/acme/{name}.git")
            } else {
                format!("/srv/git/{name}.git")
            },
            forge,
            forge_name: github.then(|| format!("acme/{name}")),
            webhook_secret: secret.map(Secret::new),
            status_token: github.then(|| Secret::new("ghp_nobody_may_see_this")),
            build_forks: false,
        };
        self.state.store.add_repo(&new).await.unwrap()
    }

    pub(crate) async fn queue(&self, repo: &Repo, trigger: Trigger) -> Build {
        let new = NewBuild {
            repo_id: repo.id,
            trigger,
            dedupe: None,
            delivery_id: None,
        };
        let submitted = self.state.store.submit(&new, |_| None).await.unwrap();
        let Submitted::New(number) = submitted else {
            panic!("the build is not new");
        };
        self.state.store.build(&repo.name, number).await.unwrap()
    }

    /// A worker takes the oldest queued build and starts a job with these steps.
    pub(crate) async fn job(&self, steps: &[&str]) -> Job {
        self.job_of(plan(steps)).await
    }

    /// The same for a whole plan.
    pub(crate) async fn job_of(&self, plan: Plan) -> Job {
        let store = &self.state.store;
        let claim = store
            .claim(WORKER, HOUR, Willing::Anything)
            .await
            .unwrap()
            .unwrap();
        store
            .launched(claim.attempt.id, WORKER, "process", "windlass.yml", &plan)
            .await
            .unwrap();
        let folder = self
            .state
            .logs_root
            .join(claim.attempt.attempt_id().as_str());
        let mut job = Job {
            state: self.state.clone(),
            recorder: Recorder::open(&folder).unwrap(),
            encoder: Encoder::new(),
            now_us: now_ms() * 1_000,
            written: BTreeMap::new(),
            claim,
        };
        job.push(&Record::JobStarted(JobStarted {
            version: 1,
            attempt: "a1".to_owned(),
            pid: 4711,
            limits: "cgroup v2".to_owned(),
        }))
        .await;
        job
    }
}

pub(crate) struct Job {
    pub(crate) state: AppState,
    pub(crate) claim: Claim,
    recorder: Recorder,
    encoder: Encoder,
    now_us: i64,
    /// By step.
    written: BTreeMap<u32, u64>,
}

impl Job {
    /// So much time passes in the journal.
    pub(crate) fn later(&mut self, ms: i64) {
        self.now_us += ms * 1_000;
    }

    pub(crate) async fn start(&mut self, step: u32) {
        let background = false;
        self.push(&Record::StepStarted { step, background }).await;
    }

    pub(crate) async fn out(&mut self, step: u32, bytes: impl AsRef<[u8]>) {
        let mut journal = Vec::new();
        *self.written.entry(step).or_default() += bytes.as_ref().len() as u64;
        self.encoder.output(
            self.now_us,
            step,
            Stream::Merged,
            bytes.as_ref(),
            &mut journal,
        );
        self.take(&journal).await;
    }

    pub(crate) async fn note(&mut self, step: u32, text: &str) {
        let text = text.to_owned();
        self.push(&Record::Note { step, text }).await;
    }

    pub(crate) async fn end(&mut self, step: u32, result: StepResult, duration_ms: u64) {
        let end = StepEnded {
            result,
            output_bytes: self.written.get(&step).copied().unwrap_or(0),
            left_out_bytes: 0,
            duration_us: duration_ms * 1_000,
            leftovers: 0,
        };
        self.push(&Record::StepEnded { step, end }).await;
    }

    pub(crate) async fn finish(
        mut self,
        state: BuildState,
        summary: &str,
        failed_step: Option<i64>,
    ) {
        self.push(&Record::JobEnded(JobEnded {
            records: 0,
            output_bytes: 0,
            crc32: 0,
        }))
        .await;
        let folder = self
            .state
            .logs_root
            .join(self.claim.attempt.attempt_id().as_str());
        drop(self.recorder);
        windlass_logs::seal(&folder).ok();
        finish(&self.state, &self.claim, state, summary, failed_step).await;
    }

    async fn push(&mut self, record: &Record<'_>) {
        let mut journal = Vec::new();
        self.encoder.encode(self.now_us, record, &mut journal);
        self.take(&journal).await;
    }

    async fn take(&mut self, journal: &[u8]) {
        let (store, attempt) = (&self.state.store, self.claim.attempt.id);
        let mut told = Vec::new();
        for event in self.recorder.push(journal).unwrap() {
            match event {
                LogEvent::StepStarted { step, time_us } => {
                    told.push(Told::Started { step, time_us });
                }
                LogEvent::StepEnded {
                    step,
                    time_us,
                    outcome,
                    duration_us,
                    output_bytes,
                    leftovers,
                } => told.push(Told::Ended {
                    step,
                    time_us,
                    outcome,
                    duration_us,
                    output_bytes,
                    leftovers,
                }),
                _ => {}
            }
        }
        store.record(attempt, &told).await.unwrap();
        self.recorder.confirm().unwrap();
        self.state
            .hub
            .bump(self.claim.attempt.attempt_id().as_str());
    }
}

pub(crate) async fn finish(
    state: &AppState,
    claim: &Claim,
    end: BuildState,
    summary: &str,
    failed_step: Option<i64>,
) {
    let finish = Finish {
        state: end,
        summary: summary.to_owned(),
        failed_step,
        error: None,
        hint: None,
        spec_problems: None,
    };
    let repo = state.store.repo(claim.build.repo_id).await.unwrap();
    let (revision, number) = (&claim.build.trigger.revision, claim.build.number);
    let status =
        windlass_web::actions::status_for_forge(state, &repo, revision, number, end, summary);
    let store = &state.store;
    store.finish(claim, WORKER, &finish, status).await.unwrap();
    store.done(claim.attempt.id).await.unwrap();
}

pub(crate) fn push(branch: &str, message: &str) -> Trigger {
    let mut revision = String::new();
    for (i, byte) in message
        .bytes()
        .chain(b"windlass windlass wi".iter().copied())
        .enumerate()
    {
        if revision.len() < 40 {
            revision += &format!("{:02x}", byte.wrapping_mul(151).wrapping_add(i as u8));
        }
    }
    revision.truncate(40);
    Trigger {
        event: Event::Push {
            branch: branch.to_owned(),
            forced: false,
        },
        revision: revision.parse().unwrap(),
        git_ref: format!("refs/heads/{branch}"),
        message: message.to_owned(),
        author: "mira".to_owned(),
        url: Some("https://github.com/acme/demo/commit/1".to_owned()),
        before: None,
        skip: None,
        params: BTreeMap::new(),
    }
}

pub(crate) fn plan(steps: &[&str]) -> Plan {
    let steps = steps.iter().map(|name| StepPlan {
        name: (*name).to_owned(),
        argv: vec!["/bin/sh".to_owned()],
        script: format!("make {name}"),
        ..StepPlan::default()
    });
    Plan {
        jobs: vec![JobPlan {
            steps: steps.collect(),
            ..JobPlan::default()
        }],
        ..Plan::default()
    }
}
