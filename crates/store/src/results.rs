//! What jobs left behind: rows about artifacts, whose files lie in the data folder, and about
//! reports of tests and coverage.

use windlass_model::plan::ReportKind;

use crate::db::{WriteTx, now_ms};
use crate::sql::{Row, query};
use crate::{Store, StoreError};

/// How one test ended, as pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TestEnd {
    /// Its assertion doesn't hold, or it broke.
    Failed,
    /// It failed first and passed in a further try.
    Flaky,
    /// It was left out.
    Skipped,
    /// Well.
    Passed,
}

impl TestEnd {
    const ALL: [Self; 4] = [Self::Failed, Self::Flaky, Self::Skipped, Self::Passed];

    /// The word in the database and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Flaky => "flaky",
            Self::Skipped => "skipped",
            Self::Passed => "passed",
        }
    }
}

/// An artifact that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewArtifact {
    /// Its name in the spec.
    pub name: String,
    /// How many files it has.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// How long it is kept; `None` is as long as the build.
    pub retention_ms: Option<i64>,
}

/// The summary of all reports of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was read.
    pub kind: ReportKind,
    /// How many tests there are.
    pub tests: i64,
    /// How many of them failed.
    pub failed: i64,
    /// How many were left out.
    pub skipped: i64,
    /// How many failed first and passed then.
    pub flaky: i64,
    /// The tests' own times together.
    pub duration_ms: i64,
    /// Lines of code that were run, and lines that could have been.
    pub lines: Option<(i64, i64)>,
    /// What was wrong with the files, a line each.
    pub problems: String,
}

/// One test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// How it ended.
    pub end: TestEnd,
    /// What it belongs to; may be empty.
    pub suite: String,
    /// Its name.
    pub name: String,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// What it says of its failure.
    pub message: Option<String>,
    /// What it printed.
    pub output: Option<String>,
    /// The source file, relative to the repository's root.
    pub file: Option<String>,
    /// The line in there.
    pub line: Option<i64>,
    /// Where the log speaks of it: step and row, from 0.
    pub log: Option<(i64, i64)>,
}

/// All that one attempt left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Results {
    /// What was kept.
    pub artifacts: Vec<NewArtifact>,
    /// What was understood.
    pub reports: Vec<Report>,
    /// The tests that are shown, failed ones first.
    pub tests: Vec<Test>,
}

/// An artifact of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Row number.
    pub id: i64,
    /// The attempt whose folder has the files.
    pub attempt_id: i64,
    /// That attempt's number in the build.
    pub attempt: i64,
    /// Its name in the spec.
    pub name: String,
    /// How many files it has.
    pub files: i64,
    /// Their bytes.
    pub bytes: i64,
    /// When it was kept.
    pub created_ms: i64,
    /// When it may be removed.
    pub expires_ms: Option<i64>,
    /// When it was removed.
    pub removed_ms: Option<i64>,
}

fn artifact(row: &Row) -> Artifact {
    Artifact {
        id: row.get("id"),
        attempt_id: row.get("attempt_id"),
        attempt: row.get("number"),
        name: row.get("name"),
        files: row.get("files"),
        bytes: row.get("bytes"),
        created_ms: row.get("created_ms"),
        expires_ms: row.get("expires_ms"),
        removed_ms: row.get("removed_ms"),
    }
}

const ARTIFACT: &str = "select artifacts.id, attempt_id, attempts.number, name, files, bytes,
    artifacts.created_ms, expires_ms, removed_ms
    from artifacts join attempts on attempts.id = attempt_id";

impl Store {
    /// Notes what an attempt left behind, in the place of what was noted of it before: after a
    /// crash it is done again.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_results(
        &self,
        build_id: i64,
        attempt: i64,
        results: &Results,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        for table in ["artifacts", "reports", "tests"] {
            let sql = format!("delete from {table} where attempt_id = ?");
            query(sql)
                .bind(attempt)
                .execute(tx.conn())
                .await
                .map_err(StoreError::db("forget older results"))?;
        }
        for kept in &results.artifacts {
            insert_artifact(&mut tx, build_id, attempt, kept).await?;
        }
        for report in &results.reports {
            insert_report(&mut tx, build_id, attempt, report).await?;
        }
        for (position, test) in (0i64..).zip(&results.tests) {
            insert_test(&mut tx, attempt, position, test).await?;
        }
        tx.commit("keep-results").await
    }

    /// The artifacts of a build, of all its attempts, oldest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifacts(&self, build_id: i64) -> Result<Vec<Artifact>, StoreError> {
        let sql = format!("{ARTIFACT} where artifacts.build_id = ? order by artifacts.id");
        let rows = query(sql)
            .bind(build_id)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the artifacts"))?;
        Ok(rows.iter().map(artifact).collect())
    }

    /// Artifacts whose time is over and whose files are still there; at most 100.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expired_artifacts(&self) -> Result<Vec<Artifact>, StoreError> {
        let sql = format!(
            "{ARTIFACT} where removed_ms is null and expires_ms <= ? order by expires_ms limit 100"
        );
        let rows = query(sql)
            .bind(now_ms())
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("look for old artifacts"))?;
        Ok(rows.iter().map(artifact).collect())
    }

    /// Notes that the files of an artifact are gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn artifact_removed(&self, id: i64) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        query("update artifacts set removed_ms = coalesce(removed_ms, ?) where id = ?")
            .bind(now_ms())
            .bind(id)
            .execute(tx.conn())
            .await
            .map_err(StoreError::db("note a removed artifact"))?;
        tx.commit("artifact-removed").await
    }

    /// The reports of an attempt.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn reports(&self, attempt: i64) -> Result<Vec<Report>, StoreError> {
        let rows = query("select * from reports where attempt_id = ? order by id")
            .bind(attempt)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the reports"))?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                let kind: &str = row.get("kind");
                let lines: (Option<i64>, Option<i64>) =
                    (row.get("lines_covered"), row.get("lines_total"));
                Some(Report {
                    kind: ReportKind::ALL.into_iter().find(|k| k.as_str() == kind)?,
                    tests: row.get("tests"),
                    failed: row.get("failed"),
                    skipped: row.get("skipped"),
                    flaky: row.get("flaky"),
                    duration_ms: row.get("duration_ms"),
                    lines: lines.0.zip(lines.1),
                    problems: row.get("problems"),
                })
            })
            .collect())
    }

    /// The tests of an attempt that are kept, failed ones first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tests(&self, attempt: i64) -> Result<Vec<Test>, StoreError> {
        let rows = query("select * from tests where attempt_id = ? order by position")
            .bind(attempt)
            .fetch_all(self.reader())
            .await
            .map_err(StoreError::db("list the tests"))?;
        let test = |row: &Row| {
            let end: &str = row.get("result");
            let log: (Option<i64>, Option<i64>) = (row.get("step"), row.get("log_row"));
            Some(Test {
                end: TestEnd::ALL.into_iter().find(|e| e.as_str() == end)?,
                suite: row.get("suite"),
                name: row.get("name"),
                duration_ms: row.get("duration_ms"),
                message: row.get("message"),
                output: row.get("output"),
                file: row.get("file"),
                line: row.get("line"),
                log: log.0.zip(log.1),
            })
        };
        Ok(rows.iter().filter_map(test).collect())
    }
}

async fn insert_artifact(
    tx: &mut WriteTx,
    build_id: i64,
    attempt: i64,
    kept: &NewArtifact,
) -> Result<(), StoreError> {
    let now = now_ms();
    query(
        "insert into artifacts (build_id, attempt_id, name, files, bytes, created_ms, expires_ms)
         values (?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(build_id)
    .bind(attempt)
    .bind(&kept.name)
    .bind(kept.files)
    .bind(kept.bytes)
    .bind(now)
    .bind(kept.retention_ms.map(|ms| now.saturating_add(ms)))
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("note an artifact"))
}

async fn insert_report(
    tx: &mut WriteTx,
    build_id: i64,
    attempt: i64,
    report: &Report,
) -> Result<(), StoreError> {
    query(
        "insert into reports (attempt_id, build_id, kind, tests, failed, skipped, flaky,
             duration_ms, lines_covered, lines_total, problems)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(attempt)
    .bind(build_id)
    .bind(report.kind.as_str())
    .bind(report.tests)
    .bind(report.failed)
    .bind(report.skipped)
    .bind(report.flaky)
    .bind(report.duration_ms)
    .bind(report.lines.map(|(covered, _)| covered))
    .bind(report.lines.map(|(_, total)| total))
    .bind(&report.problems)
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("note a report"))
}

async fn insert_test(
    tx: &mut WriteTx,
    attempt: i64,
    position: i64,
    test: &Test,
) -> Result<(), StoreError> {
    query(
        "insert into tests (attempt_id, position, result, suite, name, duration_ms, message,
             output, file, line, step, log_row)
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(attempt)
    .bind(position)
    .bind(test.end.as_str())
    .bind(&test.suite)
    .bind(&test.name)
    .bind(test.duration_ms)
    .bind(&test.message)
    .bind(&test.output)
    .bind(&test.file)
    .bind(test.line)
    .bind(test.log.map(|(step, _)| step))
    .bind(test.log.map(|(_, row)| row))
    .execute(tx.conn())
    .await
    .map(|_| ())
    .map_err(StoreError::db("note a test"))
}
