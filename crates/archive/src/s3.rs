//! Logs in object storage, over the S3 API.
//!
//! A sealed log's files are objects named by the SHA-256 of their bytes, so logs that are the same
//! are stored once; a small manifest per step says which objects it is made of:
//!
//! ```text
//! <prefix>/<instance>/objects/<sha256>.<suffix>
//! <prefix>/<instance>/logs/<repo>/<build>/<attempt>/<step>.json
//! ```
//!
//! The manifest is written last. Removing a step removes its manifest, and those objects of which
//! the caller knows that no other step has them.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::{Method, Response, Url};
use rusty_s3::actions::{DeleteObject, GetObject, HeadObject, ListObjectsV2, PutObject};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use windlass_logs::LogReader;
use windlass_logs::copy::{Restore, SealedFile, hash, sealed_files};
use windlass_model::Secret;

use crate::error::{ArchiveError, Result, blocking};
use crate::http::{self, backoff, body, chain, retry_after};
use crate::name::{LogName, Selector, Written};

/// How long a signature holds.
const SIGNED_FOR: Duration = Duration::from_secs(15 * 60);
/// How often a request is sent that the storage has no room for.
const TRIES: u32 = 4;
/// S3 takes no larger object in one piece.
const MOST_OBJECT: u64 = 5 * 1024 * 1024 * 1024;
const VERSION: u32 = 1;

/// Which bucket, and who we are there.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The storage's address: `https://s3.eu-central-1.amazonaws.com`, `http://minio:9000`.
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// What the names of our objects begin with; may be empty.
    pub prefix: String,
    /// The region, which is part of every signature; `us-east-1` where there are none.
    pub region: String,
    /// The bucket is part of the host's name instead of the path.
    pub virtual_host: bool,
    /// The access key's id.
    pub key_id: String,
    /// The secret access key.
    pub secret: Secret,
    /// Of temporary credentials.
    pub session_token: Option<Secret>,
    /// Certificates (PEM) that may sign the storage's own, instead of the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// The first pause after being told to slow down.
    pub pause: Duration,
}

/// What a step's log is made of.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct Manifest {
    version: u32,
    repo: String,
    build: i64,
    attempt: i64,
    job: String,
    step: u32,
    step_name: String,
    started_ms: i64,
    /// Of the log itself.
    bytes: u64,
    lines: u64,
    sha256: String,
    /// By suffix: `log.zst`, `idx.zst`, `notes`, `json`.
    files: BTreeMap<String, ObjectName>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
struct ObjectName {
    key: String,
    sha256: String,
    bytes: u64,
}

/// A bucket that keeps logs.
pub struct S3 {
    http: reqwest::Client,
    bucket: Bucket,
    credentials: Credentials,
    prefix: String,
    pause: Duration,
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3").field(&self.address()).finish()
    }
}

impl S3 {
    /// Checks the settings; speaks to nobody yet.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`].
    pub fn new(config: S3Config) -> Result<Self> {
        let endpoint = match Url::parse(&config.endpoint) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            _ => {
                return Err(ArchiveError::setting(format!(
                    "{} is not the address of an object storage: give it as https://host",
                    config.endpoint
                )));
            }
        };
        if !endpoint.username().is_empty() || endpoint.password().is_some() {
            return Err(ArchiveError::setting(
                "the storage's address must not hold a user or a password",
            ));
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
        let in_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let name = &config.bucket;
        if !(3..=63).contains(&name.len()) || !name.bytes().all(in_bucket) || name.contains("..") {
            return Err(ArchiveError::setting(format!("{name} can't be a bucket")));
        }
        let prefix = config.prefix.trim_matches('/').to_owned();
        let in_prefix = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        let fits = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && part.bytes().all(in_prefix)
        };
        if !prefix.is_empty() && !prefix.split('/').all(fits) {
            return Err(ArchiveError::setting(format!(
                "{prefix} can't begin an object's name: use letters, digits, -, _, . and /"
            )));
        }
        let style = if config.virtual_host {
            UrlStyle::VirtualHost
        } else {
            UrlStyle::Path
        };
        let bucket = Bucket::new(endpoint, style, config.bucket, config.region)
            .map_err(|e| ArchiveError::setting(format!("the bucket has no address: {e}")))?;
        let (id, secret) = (config.key_id, config.secret.expose().to_owned());
        let credentials = match config.session_token {
            Some(token) => Credentials::new_with_token(id, secret, token.expose().to_owned()),
            None => Credentials::new(id, secret),
        };
        Ok(Self {
            http: http::client(config.ca_pem.as_deref(), config.timeout)?,
            bucket,
            credentials,
            prefix,
            pause: config.pause,
        })
    }

    /// The bucket's address, for people.
    pub fn address(&self) -> String {
        let base = self.bucket.base_url().as_str().trim_end_matches('/');
        format!("{base}/{}", self.prefix)
    }

    /// The key of a step's manifest.
    pub fn manifest_key(&self, name: &LogName) -> String {
        let LogName {
            repo,
            build,
            attempt,
            step,
            ..
        } = name;
        self.key(
            &name.instance,
            &format!("logs/{repo}/{build}/{attempt}/{}.json", step + 1),
        )
    }

    fn key(&self, instance: &str, rest: &str) -> String {
        if self.prefix.is_empty() {
            format!("{instance}/{rest}")
        } else {
            format!("{}/{instance}/{rest}", self.prefix)
        }
    }

    /// Writes a step's sealed log: what is there already is not sent again.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn write(&self, name: &LogName, dir: &Path) -> Result<Written> {
        let (at, step, of) = (dir.to_owned(), name.step, name.clone());
        let (meta, files) = blocking(move || {
            let mut reader = LogReader::open(&at, step)?;
            let Some(meta) = reader.meta().cloned() else {
                return Err(ArchiveError::missing(format!(
                    "{} has no sealed log of step {}",
                    at.display(),
                    step + 1
                )));
            };
            if hash(&mut reader)? != meta.sha256 || reader.len() != meta.bytes {
                return Err(ArchiveError::refused(format!(
                    "the log of {} is not the one that was sealed: no copy of it is made",
                    of.describe()
                )));
            }
            let mut files = Vec::new();
            for SealedFile { suffix, path } in sealed_files(&at, step)? {
                let (sha256, bytes) = hash_file(&path)?;
                files.push((suffix, path, sha256, bytes));
            }
            Ok((meta, files))
        })
        .await?;
        let mut manifest = Manifest {
            version: VERSION,
            repo: name.repo.clone(),
            build: name.build,
            attempt: name.attempt,
            job: name.job.clone(),
            step: name.step,
            step_name: name.step_name.clone(),
            started_ms: name.started_ms,
            bytes: meta.bytes,
            lines: meta.rows,
            sha256: meta.sha256.clone(),
            files: BTreeMap::new(),
        };
        for (suffix, path, sha256, bytes) in files {
            let key = self.key(&name.instance, &format!("objects/{sha256}.{suffix}"));
            if self.head(&key).await? != Some(bytes) {
                self.put(&key, Body::File(&path, bytes), &sha256).await?;
            }
            let object = ObjectName { key, sha256, bytes };
            manifest.files.insert(suffix.to_owned(), object);
        }
        let json = serde_json::to_vec_pretty(&manifest)
            .map_err(|e| ArchiveError::later(format!("could not write a manifest: {e}")))?;
        let sha256 = hex::encode(Sha256::digest(&json));
        let place = self.manifest_key(name);
        self.put(&place, Body::Bytes(json.into()), &sha256).await?;
        let objects: Vec<String> = manifest.files.into_values().map(|f| f.key).collect();
        Ok(Written {
            place,
            meta,
            parts: objects.len() as u64 + 1,
            objects,
        })
    }

    /// Reads a step's manifest and all its objects back.
    ///
    /// # Errors
    /// [`ArchiveError::Missing`] and [`ArchiveError::Differs`] if it is not there as it was
    /// written; see [`ArchiveError`] for the rest.
    pub async fn verify(&self, name: &LogName, sha256: &str) -> Result<()> {
        let manifest = self.manifest(name).await?;
        if manifest.sha256 != sha256 {
            return Err(ArchiveError::differs(format!(
                "the storage has another log under the name of {}",
                name.describe()
            )));
        }
        for object in manifest.files.values() {
            self.get(object, None).await?;
        }
        Ok(())
    }

    /// Puts a log into a folder of logs, byte for byte, from the storage alone. If it is there
    /// already, nothing is done.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn restore(&self, name: &LogName, dir: &Path) -> Result<()> {
        let manifest = self.manifest(name).await?;
        let (into, step) = (dir.to_owned(), name.step);
        let Some(restore) = blocking(move || Ok(Restore::begin(&into, step)?)).await? else {
            return Ok(());
        };
        for (suffix, object) in &manifest.files {
            let file = restore.file(suffix)?;
            self.get(object, Some(file)).await?;
        }
        let meta = blocking(move || Ok(restore.finish()?)).await?;
        if meta.sha256 == manifest.sha256 {
            return Ok(());
        }
        Err(ArchiveError::differs(format!(
            "the storage's log of {} is another one",
            name.describe()
        )))
    }

    /// The logs of a build that are there, in order, from the storage alone.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn find(&self, of: &Selector) -> Result<Vec<LogName>> {
        let instances = match &of.instance {
            Some(instance) => vec![instance.clone()],
            None => {
                let top = if self.prefix.is_empty() {
                    String::new()
                } else {
                    format!("{}/", self.prefix)
                };
                let found = self.list(&top, true).await?;
                let folders = found.iter().filter_map(|key| key.strip_prefix(&top));
                folders
                    .map(|folder| folder.trim_end_matches('/').to_owned())
                    .collect()
            }
        };
        let mut names = Vec::new();
        for instance in instances {
            let mut prefix = self.key(&instance, &format!("logs/{}/{}/", of.repo, of.build));
            if let Some(attempt) = of.attempt {
                prefix.push_str(&format!("{attempt}/"));
            }
            for key in self.list(&prefix, false).await? {
                let manifest = self.manifest_at(&instance, &key).await?;
                if of.step.is_none_or(|step| step == manifest.step) {
                    names.push(LogName {
                        instance: instance.clone(),
                        repo: manifest.repo,
                        build: manifest.build,
                        attempt: manifest.attempt,
                        job: manifest.job,
                        step: manifest.step,
                        step_name: manifest.step_name,
                        started_ms: manifest.started_ms,
                    });
                }
            }
        }
        names.sort_by(|a, b| {
            let key = |n: &LogName| (n.instance.clone(), n.attempt, n.step);
            key(a).cmp(&key(b))
        });
        Ok(names)
    }

    /// Keys that begin with `prefix`; or what they have in common up to the next `/`.
    async fn list(&self, prefix: &str, folders: bool) -> Result<Vec<String>> {
        let what = format!("listing {prefix}");
        let (mut keys, mut token) = (Vec::new(), None);
        loop {
            let kind = Kind::List {
                folders,
                token: token.clone(),
            };
            let answer = ok(self.send(prefix, kind, &what).await?, &what).await?;
            let text = body(answer, &what).await?;
            let text = String::from_utf8_lossy(&text);
            let page = ListObjectsV2::parse_response(&text).map_err(|e| {
                ArchiveError::outage(format!("{what}: the answer is not a list: {e}"))
            })?;
            if folders {
                keys.extend(page.common_prefixes.into_iter().map(|p| p.prefix));
            } else {
                keys.extend(page.contents.into_iter().map(|object| object.key));
            }
            token = page.next_continuation_token;
            if token.is_none() {
                return Ok(keys);
            }
        }
    }

    /// Removes a step's manifest, and these objects: only the caller knows which no other step
    /// has.
    ///
    /// # Errors
    /// See [`ArchiveError`].
    pub async fn remove(&self, name: &LogName, objects: &[String]) -> Result<()> {
        self.delete(&self.manifest_key(name)).await?;
        for key in objects {
            self.delete(key).await?;
        }
        Ok(())
    }

    async fn manifest(&self, name: &LogName) -> Result<Manifest> {
        self.manifest_at(&name.instance, &self.manifest_key(name))
            .await
    }

    async fn manifest_at(&self, instance: &str, key: &str) -> Result<Manifest> {
        let what = format!("reading {key}");
        let answer = self.send(key, Kind::Get, &what).await?;
        let bytes = body(ok(answer, &what).await?, &what).await?;
        let manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|e| ArchiveError::differs(format!("{key} is no manifest of ours: {e}")))?;
        let ours = self.key(instance, "objects/");
        let strange = |f: &ObjectName| !f.key.starts_with(&ours) || f.key.contains("..");
        if manifest.version != VERSION || manifest.files.values().any(strange) {
            return Err(ArchiveError::differs(format!(
                "{key} is no manifest of this release"
            )));
        }
        Ok(manifest)
    }

    /// How large an object is, if it is there.
    async fn head(&self, key: &str) -> Result<Option<u64>> {
        let what = format!("looking for {key}");
        let answer = self.send(key, Kind::Head, &what).await?;
        if answer.status() == 404 {
            return Ok(None);
        }
        let answer = ok(answer, &what).await?;
        let length = answer.headers().get("content-length");
        Ok(length.and_then(|l| l.to_str().ok()?.parse().ok()))
    }

    async fn put(&self, key: &str, content: Body<'_>, sha256: &str) -> Result<()> {
        let what = format!("writing {key}");
        let answer = self.send(key, Kind::Put(content, sha256), &what).await?;
        ok(answer, &what).await.map(drop)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        let what = format!("removing {key}");
        let answer = self.send(key, Kind::Delete, &what).await?;
        if answer.status() == 404 {
            return Ok(());
        }
        ok(answer, &what).await.map(drop)
    }

    /// Reads an object, piece by piece, and checks it.
    async fn get(&self, object: &ObjectName, mut into: Option<std::fs::File>) -> Result<()> {
        let what = format!("reading {}", object.key);
        let mut answer = ok(self.send(&object.key, Kind::Get, &what).await?, &what).await?;
        let (mut sha, mut bytes) = (Sha256::new(), 0_u64);
        loop {
            let chunk = answer
                .chunk()
                .await
                .map_err(|e| ArchiveError::outage(format!("{what}: {}", chain(&e))))?;
            let Some(chunk) = chunk else { break };
            bytes += chunk.len() as u64;
            if bytes > object.bytes {
                break;
            }
            (sha, into) = blocking(move || {
                sha.update(&chunk);
                if let Some(file) = &mut into {
                    file.write_all(&chunk)
                        .map_err(|e| ArchiveError::later(format!("could not write: {e}")))?;
                }
                Ok((sha, into))
            })
            .await?;
        }
        if bytes == object.bytes && hex::encode(sha.finalize()) == object.sha256 {
            return Ok(());
        }
        Err(ArchiveError::differs(format!(
            "{} is not what was written",
            object.key
        )))
    }

    /// Signs and sends, and sends again after a pause as long as the storage says that it has no
    /// room.
    async fn send(&self, key: &str, kind: Kind<'_>, what: &str) -> Result<Response> {
        let mut tries = 0;
        loop {
            let request = self.signed(key, &kind).await?;
            let answer = request
                .send()
                .await
                .map_err(|e| ArchiveError::outage(format!("{what}: {}", chain(&e))))?;
            let after = retry_after(&answer);
            if !matches!(answer.status().as_u16(), 429 | 500 | 502..=504) {
                return Ok(answer);
            }
            tries += 1;
            if tries >= TRIES || after.is_some_and(|wait| wait > Duration::from_secs(20)) {
                let reason = refusal(answer, what).await;
                return Err(ArchiveError::Outage { reason, after });
            }
            let pause = backoff(self.pause, tries, Duration::from_secs(20));
            tokio::time::sleep(after.unwrap_or(pause)).await;
        }
    }

    async fn signed(&self, key: &str, kind: &Kind<'_>) -> Result<reqwest::RequestBuilder> {
        let (bucket, who) = (&self.bucket, Some(&self.credentials));
        Ok(match kind {
            Kind::Get => {
                let url = GetObject::new(bucket, who, key).sign(SIGNED_FOR);
                self.http.request(Method::GET, url)
            }
            Kind::Head => {
                let url = HeadObject::new(bucket, who, key).sign(SIGNED_FOR);
                self.http.request(Method::HEAD, url)
            }
            Kind::Delete => {
                let url = DeleteObject::new(bucket, who, key).sign(SIGNED_FOR);
                self.http.request(Method::DELETE, url)
            }
            Kind::List { folders, token } => {
                let mut action = ListObjectsV2::new(bucket, who);
                action.with_prefix(key);
                if *folders {
                    action.with_delimiter("/");
                }
                if let Some(token) = token {
                    action.with_continuation_token(token);
                }
                self.http.request(Method::GET, action.sign(SIGNED_FOR))
            }
            Kind::Put(content, sha256) => {
                // The storage refuses what arrives damaged. Servers that know nothing of this
                // header ignore it; we read back anyway.
                let digest = hex::decode(sha256).unwrap_or_default();
                let checksum = STANDARD.encode(digest);
                let mut action = PutObject::new(bucket, who, key);
                action
                    .headers_mut()
                    .insert("x-amz-checksum-sha256", checksum.clone());
                let request = self
                    .http
                    .request(Method::PUT, action.sign(SIGNED_FOR))
                    .header("x-amz-checksum-sha256", checksum);
                match content {
                    Body::Bytes(bytes) => request
                        .header("content-length", bytes.len())
                        .body(bytes.clone()),
                    Body::File(path, length) => {
                        if *length > MOST_OBJECT {
                            return Err(ArchiveError::refused(format!(
                                "{} has {length} bytes, and an object at most {MOST_OBJECT}",
                                path.display()
                            )));
                        }
                        let file = tokio::fs::File::open(path).await.map_err(|e| {
                            ArchiveError::later(format!("could not read {}: {e}", path.display()))
                        })?;
                        let stream = tokio_util::io::ReaderStream::with_capacity(
                            file.take(*length),
                            256 * 1024,
                        );
                        request
                            .header("content-length", *length)
                            .body(reqwest::Body::wrap_stream(stream))
                    }
                }
            }
        })
    }
}

enum Body<'a> {
    Bytes(Bytes),
    File(&'a PathBuf, u64),
}

enum Kind<'a> {
    Get,
    Head,
    Delete,
    /// Keys that begin with this one.
    List {
        folders: bool,
        token: Option<String>,
    },
    /// The content and its SHA-256 in hex.
    Put(Body<'a>, &'a str),
}

/// An answer that says yes, or what is to be done about its no.
async fn ok(answer: Response, what: &str) -> Result<Response> {
    let status = answer.status().as_u16();
    if answer.status().is_success() {
        return Ok(answer);
    }
    let reason = refusal(answer, what).await;
    Err(match status {
        // A bucket that is missing is an outage; an object that is missing is not.
        404 if !reason.contains("NoSuchBucket") => ArchiveError::missing(reason),
        400 | 413 => ArchiveError::refused(reason),
        401 | 403 => ArchiveError::outage(format!(
            "{reason}; check the access key and what it may do, the bucket, the region, and this \
             machine's clock"
        )),
        _ => ArchiveError::outage(reason),
    })
}

/// S3's errors are XML with a `<Code>` and a `<Message>`.
async fn refusal(answer: Response, what: &str) -> String {
    let status = answer.status().as_u16();
    let text = body(answer, what).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        let (inside, _) = rest.split_once(&format!("</{tag}>"))?;
        Some(inside.chars().take(300).collect::<String>())
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{what}: {code}: {message} ({status})"),
        (Some(code), None) => format!("{what}: {code} ({status})"),
        _ => format!("{what}: the answer was {status}"),
    }
}

fn hash_file(path: &Path) -> Result<(String, u64)> {
    let failed =
        |e: std::io::Error| ArchiveError::later(format!("could not read {}: {e}", path.display()));
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut sha = Sha256::new();
    let bytes = std::io::copy(&mut file, &mut sha).map_err(failed)?;
    Ok((hex::encode(sha.finalize()), bytes))
}
