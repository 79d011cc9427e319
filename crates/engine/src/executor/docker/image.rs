//! Images: had already, or pulled under a time limit; one pull for all who wait for the same image.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptions;
use futures_util::TryStreamExt as _;

use crate::executor::daemon::{Daemon, is_missing};
use crate::executor::registry::Registries;
use crate::executor::{ExecutorError, Said};

/// When an image is pulled from its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Before each job.
    Always,
    /// When the daemon does not have it.
    #[default]
    IfNotPresent,
    /// Never: what the daemon has must do.
    Never,
}

impl std::str::FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "if-not-present" => Ok(Self::IfNotPresent),
            "never" => Ok(Self::Never),
            other => Err(format!(
                "{other:?} is not one of always, if-not-present, never"
            )),
        }
    }
}

/// What a container needs to know of its image.
pub(super) struct Image {
    /// Its id: what is named so can't become another image between two calls.
    pub(super) id: String,
    /// The user that it names.
    pub(super) user: String,
}

pub(super) enum Failure {
    Unreachable(Error),
    Refused {
        doing: String,
        message: String,
        hint: String,
    },
}

impl Failure {
    pub(super) fn into_error(self, daemon: &Daemon) -> ExecutorError {
        match self {
            Self::Unreachable(error) => daemon.unreachable(&error),
            Self::Refused {
                doing,
                message,
                hint,
            } => ExecutorError::Docker {
                doing,
                message,
                hint,
            },
        }
    }
}

pub(super) struct Images {
    policy: PullPolicy,
    limit: Duration,
    pulling: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Images {
    pub(super) fn new(policy: PullPolicy, limit: Duration) -> Self {
        Self {
            policy,
            limit,
            pulling: Mutex::default(),
        }
    }

    /// The image, pulled if the policy says so. Adds lines for people to `said`.
    pub(super) async fn have(
        &self,
        docker: &Docker,
        name: &str,
        registries: &Registries,
        said: &Said,
    ) -> Result<Image, Failure> {
        let here = match self.policy {
            PullPolicy::Always => None,
            PullPolicy::IfNotPresent | PullPolicy::Never => inspect(docker, name).await?,
        };
        let found = match here {
            Some(found) => found,
            None if self.policy == PullPolicy::Never => {
                return Err(Failure::Refused {
                    doing: format!("use the image {name}"),
                    message: "it is not on the daemon's machine".to_owned(),
                    hint: "this server never pulls images (`--docker-pull never`): bring it there \
                           with `docker pull`, `docker load` or `docker build`"
                        .to_owned(),
                });
            }
            None => self.pull(docker, name, registries, said).await?,
        };
        let id = found.id.clone().unwrap_or_else(|| name.to_owned());
        check_platform(docker, name, &found).await?;
        let digest = found.repo_digests.and_then(|all| all.into_iter().next());
        said.line(match digest {
            Some(digest) => format!("image {name}: {digest}"),
            None => format!("image {name}: {id}"),
        });
        Ok(Image {
            id,
            user: found.config.and_then(|c| c.user).unwrap_or_default(),
        })
    }

    async fn pull(
        &self,
        docker: &Docker,
        name: &str,
        registries: &Registries,
        said: &Said,
    ) -> Result<ImageInspect, Failure> {
        let gate = {
            let mut pulling = self.pulling.lock().unwrap_or_else(PoisonError::into_inner);
            pulling.retain(|_, gate| Arc::strong_count(gate) > 1);
            Arc::clone(pulling.entry(name.to_owned()).or_default())
        };
        let _alone = gate.lock().await;
        // Somebody else may have brought it while we waited.
        if self.policy == PullPolicy::IfNotPresent
            && let Some(found) = inspect(docker, name).await?
        {
            return Ok(found);
        }
        let begun = Instant::now();
        let options = CreateImageOptions {
            from_image: Some(with_tag(name)),
            ..CreateImageOptions::default()
        };
        let pulled = docker
            .create_image(Some(options), None, registries.login(name))
            .try_fold(Progress::new(name, said), |mut progress, news| {
                progress.note(&news);
                futures_util::future::ready(Ok(progress))
            });
        let refused = |message: String, hint: &str| Failure::Refused {
            doing: format!("pull the image {name}"),
            message,
            hint: hint.to_owned(),
        };
        match tokio::time::timeout(self.limit, pulled).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let message = match error {
                    Error::DockerResponseServerError { message, .. } => message,
                    Error::DockerStreamError { error } => error,
                    error => return Err(Failure::Unreachable(error)),
                };
                let hint = hint(&message);
                return Err(refused(message, hint));
            }
            Err(_) => {
                let words = format!("it took longer than {} s", self.limit.as_secs());
                return Err(refused(
                    words,
                    "is the registry slow or out of reach? Pull it by hand on the daemon's machine, \
                     or raise `--docker-pull-limit`",
                ));
            }
        }
        let took = begun.elapsed().as_secs_f64();
        said.line(format!("image {name}: pulled in {took:.1} s"));
        inspect(docker, name).await?.ok_or_else(|| {
            refused(
                "it was pulled, and is not there".to_owned(),
                "somebody removes images while builds run (`docker image prune`)? Retry the build",
            )
        })
    }
}

/// How far a pull is, told now and then.
struct Progress<'a> {
    image: &'a str,
    said: &'a Said,
    told: Instant,
    /// By layer: bytes that are here, bytes that there are.
    layers: HashMap<String, (i64, i64)>,
}

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(5);

impl<'a> Progress<'a> {
    fn new(image: &'a str, said: &'a Said) -> Self {
        Self {
            image,
            said,
            told: Instant::now(),
            layers: HashMap::new(),
        }
    }

    fn note(&mut self, news: &CreateImageInfo) {
        let detail = news.progress_detail.as_ref();
        let counts = detail.and_then(|d| Some((d.current?, d.total?)));
        // Unpacking has counts of its own, which are not those of the network.
        if let (Some(id), Some(counts), Some("Downloading")) =
            (&news.id, counts, news.status.as_deref())
        {
            self.layers.insert(id.clone(), counts);
        }
        if self.told.elapsed() < PROGRESS || self.layers.is_empty() {
            return;
        }
        self.told = Instant::now();
        let sum = |part: fn(&(i64, i64)) -> i64| self.layers.values().map(part).sum::<i64>();
        let (here, all) = (sum(|l| l.0) / 1_000_000, sum(|l| l.1) / 1_000_000);
        let image = self.image;
        self.said.line(format!(
            "image {image}: pulling, {here} MB of {all} MB or more"
        ));
    }
}

fn hint(message: &str) -> &'static str {
    let has = |text: &str| message.to_lowercase().contains(text);
    if has("no space left") {
        "the disk of the Docker daemon is full: `docker system prune` frees what nobody uses"
    } else if has("no matching manifest") {
        "the image is not made for the kind of processor that the daemon's machine has"
    } else if has("denied")
        || has("no basic auth")
        || has("not found")
        || has("unauthorized")
        || has("unknown")
    {
        "is the name right? If it is private: `windlass registry set REPO HOST --user NAME --password-file FILE`; \
         on a laptop: `docker login`"
    } else {
        "can the daemon's machine reach the registry? `docker pull` there shows the same"
    }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, Failure> {
    match docker.inspect_image(name).await {
        Ok(found) => Ok(Some(found)),
        Err(e) if is_missing(&e) => Ok(None),
        Err(Error::DockerResponseServerError { message, .. }) => Err(Failure::Refused {
            doing: format!("use the image {name}"),
            message,
            hint: "write it as for `docker pull`: NAME:TAG or NAME@sha256:DIGEST".to_owned(),
        }),
        Err(e) => Err(Failure::Unreachable(e)),
    }
}

/// An image for another processor starts and then says "exec format error": better told before.
async fn check_platform(docker: &Docker, name: &str, image: &ImageInspect) -> Result<(), Failure> {
    let ours = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let arch = image.architecture.as_deref().unwrap_or(ours);
    if arch == ours || arch.is_empty() {
        return Ok(());
    }
    let daemon = docker.version().await.map_err(Failure::Unreachable)?;
    let daemon = daemon.arch.unwrap_or_default();
    Err(Failure::Refused {
        doing: format!("use the image {name}"),
        message: format!(
            "it is made for {arch}, the daemon's machine is {daemon}, Windlass is {ours}"
        ),
        hint: format!("name an image for {ours}, or one for several platforms"),
    })
}

/// Without a tag, Docker's API would pull every tag that there is.
fn with_tag(name: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.contains(':') || last.contains('@') {
        return name.to_owned();
    }
    format!("{name}:latest")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_one_image() {
        assert_eq!(with_tag("alpine"), "alpine:latest");
        assert_eq!(with_tag("r.example:5000/a/b"), "r.example:5000/a/b:latest");
        assert_eq!(with_tag("alpine:3"), "alpine:3");
        assert_eq!(with_tag("a/b@sha256:00"), "a/b@sha256:00");
    }
}
