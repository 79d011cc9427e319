//! What names a log in an archive, without the database that it came from.

use windlass_logs::LogMeta;
use windlass_model::plan::log_words;

/// Everything that is said about a step's log beside its contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogName {
    /// Which data folder it is from; see `Store::archive_instance`.
    pub instance: String,
    /// The repository.
    pub repo: String,
    /// The build's number in it.
    pub build: i64,
    /// The attempt's number in the build.
    pub attempt: i64,
    /// The job's name; may be empty.
    pub job: String,
    /// The step, from 0; from `windlass_model::plan::FIRST_SERVICE_LOG` on, a service of the job.
    pub step: u32,
    /// The step's or the service's name.
    pub step_name: String,
    /// When the build was made, milliseconds since 1970: it never changes, and chooses the index.
    pub started_ms: i64,
}

impl LogName {
    /// The log that has this name.
    pub fn selector(&self) -> Selector {
        Selector {
            instance: Some(self.instance.clone()),
            repo: self.repo.clone(),
            build: self.build,
            attempt: Some(self.attempt),
            step: Some(self.step),
        }
    }

    /// For messages: `demo/12, attempt 1, step 3`.
    pub fn describe(&self) -> String {
        self.selector().describe()
    }
}

/// Which logs: of a build, of an attempt, or one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// Only those of this data folder.
    pub instance: Option<String>,
    /// The repository.
    pub repo: String,
    /// The build's number in it.
    pub build: i64,
    /// Only this attempt.
    pub attempt: Option<i64>,
    /// Only this step, from 0.
    pub step: Option<u32>,
}

impl Selector {
    /// For messages; steps are counted from 1 there.
    pub fn describe(&self) -> String {
        let mut text = format!("{}/{}", self.repo, self.build);
        if let Some(attempt) = self.attempt {
            text.push_str(&format!(", attempt {attempt}"));
        }
        if let Some(step) = self.step {
            text.push_str(&format!(", {}", log_words(step)));
        }
        text
    }
}

/// What was written, and checked by reading it back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where: an index, a key.
    pub place: String,
    /// The log's figures.
    pub meta: LogMeta,
    /// Documents or objects that it is made of.
    pub parts: u64,
    /// Keys of objects that other logs may share.
    pub objects: Vec<String>,
}
