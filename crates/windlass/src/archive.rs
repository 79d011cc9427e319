//! The archive: which copies of logs the server keeps elsewhere, and how it speaks to them.
//!
//! Passwords and keys come from files or variables, never from the command line: that is visible to
//! every process of the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use windlass_archive::elasticsearch::SearchQuery;
use windlass_archive::{
    ArchiveError, Auth, Elasticsearch, ElasticsearchConfig, LogName, S3, S3Config,
};
use windlass_logs::copy;
use windlass_model::{AttemptId, RepoName, Secret};
use windlass_store::{ArchiveCopy, Store, failpoint};
use windlass_web::{CopiedLine, CopiedLines};

use crate::report::{EXIT_UNREACHABLE, Problem};

/// The sink's name in the store.
pub(crate) const ELASTICSEARCH: &str = "elasticsearch";
/// The sink's name in the store.
pub(crate) const OBJECTS: &str = "s3";

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Where copies of logs are kept. Nothing is kept anywhere unless it is asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct ArchiveArgs {
    /// Keep a searchable copy of all logs in this Elasticsearch or OpenSearch:
    /// `https://search.example.org:9200`
    #[arg(
        long,
        value_name = "URL",
        env = "WINDLASS_ELASTICSEARCH_URL",
        hide_env_values = true
    )]
    elasticsearch: Option<String>,
    /// Its user; the password is in --elasticsearch-password-file or WINDLASS_ELASTICSEARCH_PASSWORD
    #[arg(
        long,
        value_name = "NAME",
        env = "WINDLASS_ELASTICSEARCH_USER",
        hide_env_values = true
    )]
    elasticsearch_user: Option<String>,
    /// A file with the user's password
    #[arg(
        long,
        value_name = "FILE",
        env = "WINDLASS_ELASTICSEARCH_PASSWORD_FILE",
        hide_env_values = true
    )]
    elasticsearch_password_file: Option<PathBuf>,
    /// A file with an API key (or WINDLASS_ELASTICSEARCH_API_KEY), instead of user and password
    #[arg(
        long,
        value_name = "FILE",
        env = "WINDLASS_ELASTICSEARCH_API_KEY_FILE",
        hide_env_values = true
    )]
    elasticsearch_api_key_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that its certificate is signed by
    #[arg(long, value_name = "FILE")]
    elasticsearch_ca_file: Option<PathBuf>,
    /// What the names of its indices begin with
    #[arg(long, value_name = "PREFIX", default_value = "windlass-logs")]
    elasticsearch_prefix: String,
    /// How many days after the end of its month an index is dropped (`400d`), or `forever`
    #[arg(long, value_name = "DAYS", default_value = "400d", value_parser = parse_keep)]
    elasticsearch_keep: Keep,
    /// Keep a copy of all logs in this object storage (S3 API): `https://s3.example.org`
    #[arg(
        long,
        value_name = "URL",
        env = "WINDLASS_S3_ENDPOINT",
        hide_env_values = true,
        requires = "s3_bucket"
    )]
    s3_endpoint: Option<String>,
    /// The bucket; it must be there
    #[arg(
        long,
        value_name = "NAME",
        env = "WINDLASS_S3_BUCKET",
        hide_env_values = true
    )]
    s3_bucket: Option<String>,
    /// What the names of its objects begin with
    #[arg(long, value_name = "PREFIX", default_value = "windlass")]
    s3_prefix: String,
    /// The bucket's region
    #[arg(
        long,
        value_name = "REGION",
        env = "WINDLASS_S3_REGION",
        default_value = "us-east-1",
        hide_env_values = true
    )]
    s3_region: String,
    /// A file with `aws_access_key_id = ...` and `aws_secret_access_key = ...`, as in
    /// ~/.aws/credentials [default: the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
    /// AWS_SESSION_TOKEN]
    #[arg(
        long,
        value_name = "FILE",
        env = "WINDLASS_S3_CREDENTIALS_FILE",
        hide_env_values = true
    )]
    s3_credentials_file: Option<PathBuf>,
    /// The bucket's name is part of the host's name: `https://BUCKET.s3.example.org`
    #[arg(long)]
    s3_virtual_host: bool,
    /// A file with the certificates (PEM) that the storage's certificate is signed by
    #[arg(long, value_name = "FILE")]
    s3_ca_file: Option<PathBuf>,
}

/// For how long indices are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep(Option<u32>);

fn parse_keep(text: &str) -> Result<Keep, String> {
    if text == "forever" {
        return Ok(Keep(None));
    }
    let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
    match days {
        Some(days) if days > 0 => Ok(Keep(Some(days))),
        _ => Err("give a number of days such as 400d, or forever".to_owned()),
    }
}

/// The sinks that were asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sinks {
    pub(crate) elasticsearch: Option<Arc<Elasticsearch>>,
    pub(crate) objects: Option<Arc<S3>>,
}

impl ArchiveArgs {
    /// Reads files and variables, and makes the clients; speaks to nobody yet.
    pub(crate) fn sinks(&self) -> Result<Sinks, Problem> {
        let elasticsearch = match &self.elasticsearch {
            None => None,
            Some(url) => {
                let mut config = ElasticsearchConfig::new(url);
                config.auth = self.auth()?;
                config.ca_pem = self
                    .elasticsearch_ca_file
                    .as_deref()
                    .map(read)
                    .transpose()?;
                config.prefix.clone_from(&self.elasticsearch_prefix);
                config.keep_days = self.elasticsearch_keep.0;
                Some(Arc::new(Elasticsearch::new(config)?))
            }
        };
        let objects = match (&self.s3_endpoint, &self.s3_bucket) {
            (Some(endpoint), Some(bucket)) => Some(Arc::new(self.objects(endpoint, bucket)?)),
            _ => None,
        };
        Ok(Sinks {
            elasticsearch,
            objects,
        })
    }

    fn auth(&self) -> Result<Auth, Problem> {
        let key = secret(
            self.elasticsearch_api_key_file.as_deref(),
            "WINDLASS_ELASTICSEARCH_API_KEY",
        )?;
        let password = secret(
            self.elasticsearch_password_file.as_deref(),
            "WINDLASS_ELASTICSEARCH_PASSWORD",
        )?;
        match (key, &self.elasticsearch_user, password) {
            (Some(_), Some(_), _) => Err(Problem::new(
                "there is an API key and a user for Elasticsearch",
            )
            .hint("give one of them")),
            (Some(key), None, _) => Ok(Auth::ApiKey(key)),
            (None, Some(user), Some(password)) => Ok(Auth::Basic {
                user: user.clone(),
                password,
            }),
            (None, Some(user), None) => Err(Problem::new(format!(
                "there is no password for Elasticsearch's user {user}"
            ))
            .hint("put it into a file and name that with --elasticsearch-password-file")),
            (None, None, Some(_)) => Err(Problem::new(
                "there is a password for Elasticsearch, but no user",
            )
            .hint("name the user with --elasticsearch-user")),
            (None, None, None) => Ok(Auth::None),
        }
    }

    fn objects(&self, endpoint: &str, bucket: &str) -> Result<S3, Problem> {
        let var = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let (key_id, secret, session_token) = match &self.s3_credentials_file {
            Some(file) => {
                let text = String::from_utf8_lossy(&read(file)?).into_owned();
                (
                    setting(&text, "aws_access_key_id"),
                    setting(&text, "aws_secret_access_key"),
                    setting(&text, "aws_session_token"),
                )
            }
            None => (
                var("AWS_ACCESS_KEY_ID"),
                var("AWS_SECRET_ACCESS_KEY"),
                var("AWS_SESSION_TOKEN"),
            ),
        };
        let (Some(key_id), Some(secret)) = (key_id, secret) else {
            return Err(
                Problem::new(format!("there are no credentials for the bucket {bucket}"))
                    .hint("name a file with --s3-credentials-file"),
            );
        };
        Ok(S3::new(S3Config {
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            prefix: self.s3_prefix.clone(),
            region: self.s3_region.clone(),
            virtual_host: self.s3_virtual_host,
            key_id,
            secret: Secret::new(secret),
            session_token: session_token.map(Secret::new),
            ca_pem: self.s3_ca_file.as_deref().map(read).transpose()?,
            timeout: Duration::from_secs(60),
            pause: Duration::from_millis(250),
        })?)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|e| Problem::new(format!("could not read {}: {e}", path.display())))
}

fn secret(file: Option<&Path>, variable: &str) -> Result<Option<Secret>, Problem> {
    let text = match file {
        Some(file) => String::from_utf8_lossy(&read(file)?).into_owned(),
        None => std::env::var(variable).unwrap_or_default(),
    };
    let text = text.trim();
    match (text, file) {
        ("", Some(file)) => Err(Problem::new(format!("{} is empty", file.display()))),
        ("", None) => Ok(None),
        (text, _) => Ok(Some(Secret::new(text))),
    }
}

/// `name = value` in the section `[default]`, or before any.
fn setting(text: &str, name: &str) -> Option<String> {
    let mut ours = true;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            ours = line == "[default]";
        } else if ours
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == name
        {
            return Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        }
    }
    None
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        let problem = Self::new(error.to_string());
        match error {
            ArchiveError::Outage { .. } => problem.code(EXIT_UNREACHABLE),
            ArchiveError::Log(error) => error.into(),
            _ => problem,
        }
    }
}

impl Sinks {
    /// Their names in the store.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        let elasticsearch = self.elasticsearch.is_some().then_some(ELASTICSEARCH);
        let objects = self.objects.is_some().then_some(OBJECTS);
        elasticsearch.into_iter().chain(objects).collect()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.names().is_empty()
    }
}

/// What names a copy's log in an archive.
pub(crate) fn log_name(instance: &str, copy: &ArchiveCopy) -> LogName {
    LogName {
        instance: instance.to_owned(),
        repo: copy.repo.to_string(),
        build: copy.build,
        attempt: copy.attempt,
        job: copy.job.clone(),
        step: u32::try_from(copy.step).unwrap_or(u32::MAX),
        step_name: copy.step_name.clone(),
        started_ms: copy.build_ms,
    }
}

/// Brings logs back that are not here any more.
pub(crate) struct Fetcher {
    pub(crate) store: Store,
    pub(crate) sinks: Sinks,
    pub(crate) logs: PathBuf,
    pub(crate) instance: String,
    /// For how many days logs stay here that have copies elsewhere; `None`: for ever.
    pub(crate) keep_days: Option<i64>,
    /// One at a time: two readers of one log must not fetch it twice.
    pub(crate) turn: Mutex<()>,
}

impl Fetcher {
    /// Puts the log of a step into its folder, from whichever sink has it. Says whether one had.
    pub(crate) async fn fetch_step(&self, attempt: i64, step: u32) -> Result<bool, ArchiveError> {
        let _turn = self.turn.lock().await;
        let copies = self.store.copies_of_step(attempt, i64::from(step));
        let dir = self.logs.join(AttemptId::from_row(attempt).as_str());
        // Somebody else may have asked for it a moment ago.
        if windlass_logs::copy::is_here(&dir, step) {
            return Ok(true);
        }
        let mut failed = None;
        for copy in copies.await.map_err(later)? {
            if copy.state != "kept" {
                continue;
            }
            let name = log_name(&self.instance, &copy);
            let done = match (copy.sink.as_str(), &self.sinks) {
                (
                    ELASTICSEARCH,
                    Sinks {
                        elasticsearch: Some(es),
                        ..
                    },
                ) => from_cluster(es, &name, &dir).await,
                (
                    OBJECTS,
                    Sinks {
                        objects: Some(s3), ..
                    },
                ) => s3.restore(&name, &dir).await,
                _ => continue,
            };
            match done {
                Ok(()) => {
                    tracing::info!(log = %name.describe(), from = copy.sink, "a log came back");
                    return Ok(true);
                }
                Err(error) => {
                    tracing::warn!(log = %name.describe(), from = copy.sink, %error, "no log came back");
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(false), Err)
    }

    /// Removes the local files of an attempt's logs that lie here untouched since `before`, each after a copy was
    /// read back and is the same. Says how many.
    pub(crate) async fn drop_local(
        &self,
        attempt: i64,
        before: SystemTime,
    ) -> Result<u64, ArchiveError> {
        let dir = self.logs.join(AttemptId::from_row(attempt).as_str());
        let looked = dir.clone();
        let untouched = tokio::task::spawn_blocking(move || copy::untouched_since(&looked, before));
        let mut dropped = 0;
        for step in untouched.await.map_err(later)?? {
            let copies = self.store.copies_of_step(attempt, i64::from(step)).await;
            let copies = copies.map_err(later)?;
            // One that has still to be written needs the files.
            let waits = |copy: &ArchiveCopy| {
                matches!(copy.state.as_str(), "waiting" | "refused")
                    && self.sinks.names().contains(&copy.sink.as_str())
            };
            if copies.iter().any(waits) {
                continue;
            }
            let Some(sha256) = self.whole_copy(&copies).await? else {
                continue;
            };
            let _turn = self.turn.lock().await;
            failpoint::hit(format_args!("before-local-removal"));
            let at = dir.clone();
            let forget = move || copy::forget(&at, step, &sha256);
            if tokio::task::spawn_blocking(forget).await.map_err(later)?? {
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// The SHA-256 of a log of which one copy is what was written: it is read back now.
    async fn whole_copy(&self, copies: &[ArchiveCopy]) -> Result<Option<String>, ArchiveError> {
        let mut outage = None;
        for copy in copies.iter().filter(|copy| copy.state == "kept") {
            let name = log_name(&self.instance, copy);
            let verified = match (
                copy.sink.as_str(),
                &self.sinks.elasticsearch,
                &self.sinks.objects,
            ) {
                (ELASTICSEARCH, Some(es), _) => es.verify(&name, &copy.sha256).await.map(drop),
                (OBJECTS, _, Some(s3)) => s3.verify(&name, &copy.sha256).await,
                _ => continue,
            };
            match verified {
                Ok(()) => return Ok(Some(copy.sha256.clone())),
                Err(error @ (ArchiveError::Missing { .. } | ArchiveError::Differs { .. })) => {
                    // It is written again, from the files that are still here.
                    tracing::warn!(log = %name.describe(), sink = copy.sink, %error, "a copy is not what was kept");
                    self.store
                        .copy_again(copy.id, &error.to_string())
                        .await
                        .map_err(later)?;
                    return Ok(None);
                }
                Err(error) => outage = Some(error),
            }
        }
        outage.map_or(Ok(None), Err)
    }
}

fn later(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Later {
        reason: error.to_string(),
    }
}

/// Puts one log into a folder.
pub(crate) async fn from_cluster(
    es: &Elasticsearch,
    name: &LogName,
    dir: &Path,
) -> Result<(), ArchiveError> {
    match es.find(&name.selector()).await?.as_slice() {
        [log] => es.restore(log, dir).await,
        found => Err(ArchiveError::Missing {
            reason: format!(
                "the cluster has {} logs of {}",
                found.len(),
                name.describe()
            ),
        }),
    }
}

impl windlass_web::LogCopies for Fetcher {
    fn restore<'a>(
        &'a self,
        attempt: &'a AttemptId,
        step: u32,
    ) -> BoxFuture<'a, Result<bool, String>> {
        Box::pin(async move {
            match attempt.row() {
                Some(row) => self.fetch_step(row, step).await.map_err(|e| e.to_string()),
                None => Ok(false),
            }
        })
    }

    fn search<'a>(
        &'a self,
        words: &'a str,
        repo: Option<&'a RepoName>,
        limit: usize,
    ) -> BoxFuture<'a, Option<Result<CopiedLines, String>>> {
        Box::pin(async move {
            let es = self.sinks.elasticsearch.as_ref()?;
            let query = SearchQuery {
                words: words.to_owned(),
                repo: repo.map(ToString::to_string),
                instance: Some(self.instance.clone()),
                limit,
                after: None,
                // What is younger is here, and need not be looked through there.
                made_before_ms: self
                    .keep_days
                    .map(|days| windlass_store::db::now_ms() - days * DAY_MS),
            };
            let answer = match es.search(&query).await {
                Ok(answer) => answer,
                Err(error) => return Some(Err(error.to_string())),
            };
            let lines = answer.hits.into_iter().filter_map(|hit| {
                Some(CopiedLine {
                    repo: hit.repo.parse().ok()?,
                    build: hit.build,
                    attempt: hit.attempt,
                    step: hit.step,
                    line: hit.line,
                    text: hit.text,
                    made_ms: hit.started_ms,
                })
            });
            Some(Ok(CopiedLines {
                lines: lines.collect(),
                more: answer.next.is_some(),
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_credentials_are_read() {
        assert_eq!(parse_keep("400d"), Ok(Keep(Some(400))));
        assert_eq!(parse_keep("forever"), Ok(Keep(None)));
        for wrong in ["", "0d", "400", "d", "-1d", "1w"] {
            assert!(parse_keep(wrong).is_err(), "{wrong}");
        }
        let text = "[other]\naws_access_key_id = no\n[default]\naws_access_key_id=AK\n\
                    aws_secret_access_key = a=b \naws_session_token =\n";
        assert_eq!(setting(text, "aws_access_key_id").as_deref(), Some("AK"));
        assert_eq!(
            setting(text, "aws_secret_access_key").as_deref(),
            Some("a=b")
        );
        assert_eq!(setting(text, "aws_session_token"), None);
        assert_eq!(
            setting("aws_access_key_id = x", "aws_access_key_id").as_deref(),
            Some("x")
        );
    }
}
