//! Reads stored deliveries and makes builds of them. The web only stores; what a delivery means is
//! decided here, later, and as often as somebody replays it.

use std::time::Duration;

use windlass_engine::git::Git;
use windlass_forge::report::commit_status;
use windlass_forge::{Incoming, Meaning, github, plain_git, signature};
use windlass_model::{BuildState, Trigger};
use windlass_store::builds::dedupe_key;
use windlass_store::{
    Delivery, DeliveryState, ForgeKind, NewBuild, Repo, Store, StoreError, failpoint,
};

/// How often the inbox is looked at without any bell.
const TICK: Duration = Duration::from_secs(5);

/// What reading deliveries needs.
pub(crate) struct Intake {
    pub(crate) store: Store,
    pub(crate) git: Git,
    pub(crate) public_url: String,
}

/// What a delivery came to: builds settle it themselves, in their own transaction.
enum Verdict {
    Built,
    Settled(DeliveryState, Option<i64>, String),
}

impl Intake {
    /// Reads deliveries for ever.
    pub(crate) async fn run(self) {
        let mut changes = self.store.changes();
        loop {
            changes.mark_unchanged();
            while self.read_one().await {}
            tokio::select! {
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Reads the oldest delivery; `false` if there is none, or none can be read now.
    async fn read_one(&self) -> bool {
        let next = match self.store.next_delivery().await {
            Ok(Some(next)) => next,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "could not read the inbox");
                return false;
            }
        };
        let (delivery, body) = next;
        failpoint::hit(format_args!("before-reading"));
        let settled = match self.read(&delivery, &body).await {
            Ok(Verdict::Built) => Ok(()),
            Ok(Verdict::Settled(state, repo, verdict)) => {
                self.store.settle(delivery.id, state, repo, &verdict).await
            }
            Err(error) => Err(error),
        };
        match settled {
            Ok(()) => true,
            Err(error) => {
                // The store failed: the delivery stays in the inbox and is read again.
                tracing::error!(%error, delivery = delivery.id, "could not settle a delivery");
                tokio::time::sleep(Duration::from_secs(1)).await;
                false
            }
        }
    }

    async fn read(&self, delivery: &Delivery, body: &[u8]) -> Result<Verdict, StoreError> {
        match delivery.forge {
            ForgeKind::Git => self.read_git(delivery, body).await,
            ForgeKind::Github => self.read_github(delivery, body).await,
        }
    }

    async fn read_github(&self, delivery: &Delivery, body: &[u8]) -> Result<Verdict, StoreError> {
        let read = github::read(&delivery.event, delivery.content_type.as_deref(), body);
        let incoming = match read {
            Ok(incoming) => incoming,
            Err(error) => return Ok(failed(None, error.to_string())),
        };
        let repo = match self.repo_of(delivery, &incoming, body).await? {
            Ok(repo) => repo,
            Err(words) => {
                // A ping of an organisation's hook names no repository, and that is fine.
                return Ok(match incoming.meaning {
                    Meaning::Ping { .. } => done(None, "ping: the webhook works"),
                    Meaning::Build(_) => failed(None, words),
                    Meaning::Ignored { reason } => done(None, format!("ignored: {reason}")),
                });
            }
        };
        match incoming.meaning {
            Meaning::Ping { .. } => Ok(done(Some(repo.id), "ping: the webhook works")),
            Meaning::Ignored { reason } => Ok(done(Some(repo.id), format!("ignored: {reason}"))),
            Meaning::Build(trigger) => self.build(&repo, *trigger, delivery).await,
        }
    }

    /// The repository that the payload names, if the delivery may speak for it: its signature must
    /// be good by that very repository's secret. (When the hook was answered, it was good by some
    /// secret of this server.)
    async fn repo_of(
        &self,
        delivery: &Delivery,
        incoming: &Incoming,
        body: &[u8],
    ) -> Result<Result<Repo, String>, StoreError> {
        let named = incoming.repository.as_ref().map(|r| r.full_name.as_str());
        let repos = self.store.repos().await?;
        let is_named = |repo: &&Repo| {
            repo.forge == ForgeKind::Github
                && match (&repo.forge_name, named) {
                    (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
                    _ => false,
                }
        };
        let Some(repo) = repos.iter().find(is_named) else {
            let named = named.unwrap_or("no repository");
            return Ok(Err(format!(
                "the delivery is about {named}, which is not here: \
                 `windlass repo add NAME --forge github --url URL`, then replay this delivery"
            )));
        };
        let secret = self.store.webhook_secret(repo.id).await?;
        let genuine = secret.is_some_and(|secret| {
            signature::verify_sha256(&secret, delivery.signature.as_deref(), body).is_ok()
        });
        if genuine {
            Ok(Ok(repo.clone()))
        } else {
            Ok(Err(format!(
                "the signature is not good by the secret of {}: it was made with the secret of \
                 another repository, or the secret was changed since",
                repo.name
            )))
        }
    }

    async fn read_git(&self, delivery: &Delivery, body: &[u8]) -> Result<Verdict, StoreError> {
        let Some(repo_id) = delivery.repo_id else {
            return Ok(failed(
                None,
                "the hook does not say which repository it belongs to",
            ));
        };
        let repo = self.store.repo(repo_id).await?;
        let line = String::from_utf8_lossy(body);
        let commit = self.describe(&repo, &line).await;
        let about = plain_git::About {
            commit: commit.as_ref().map(|c| c.id.as_str()),
            message: commit.as_ref().map_or("", |c| c.message.as_str()),
            author: commit.as_ref().map_or("", |c| c.author.as_str()),
        };
        match plain_git::read(&line, &about) {
            Err(error) => Ok(failed(Some(repo_id), error.to_string())),
            Ok(Meaning::Ping { .. }) => Ok(done(Some(repo_id), "ping")),
            Ok(Meaning::Ignored { reason }) => {
                Ok(done(Some(repo_id), format!("ignored: {reason}")))
            }
            Ok(Meaning::Build(trigger)) => self.build(&repo, *trigger, delivery).await,
        }
    }

    /// What the repository on this machine says about the commit that was pushed, if it is there.
    async fn describe(&self, repo: &Repo, line: &str) -> Option<Described> {
        let new = line
            .split(' ')
            .nth(1)?
            .parse::<windlass_model::Revision>()
            .ok()?;
        let path = local_path(&repo.url)?;
        if new.is_zero() {
            return None;
        }
        let text = self.git.describe_commit(path.as_ref(), &new).await.ok()?;
        let mut fields = text.splitn(3, '\0');
        Some(Described {
            id: fields.next()?.to_owned(),
            author: fields.next()?.to_owned(),
            message: fields.next()?.to_owned(),
        })
    }

    async fn build(
        &self,
        repo: &Repo,
        trigger: Trigger,
        delivery: &Delivery,
    ) -> Result<Verdict, StoreError> {
        if trigger.event.is_untrusted() && !repo.build_forks {
            return Ok(done(
                Some(repo.id),
                format!(
                    "ignored: the pull request comes from a fork, whose code would run on this \
                     machine; `windlass repo set {} --build-forks true` allows that",
                    repo.name
                ),
            ));
        }
        let new = NewBuild {
            repo_id: repo.id,
            dedupe: dedupe_key(&trigger),
            trigger: trigger.clone(),
            delivery_id: Some(delivery.id),
        };
        let submitted = self
            .store
            .submit(&new, |number| {
                repo.has_status_token.then(|| {
                    let path = windlass_web::urls::build(&repo.name, number);
                    let url = Some(format!("{}{path}", self.public_url));
                    commit_status(&trigger.revision, number, BuildState::Queued, "", url)
                })
            })
            .await?;
        tracing::info!(repo = %repo.name, delivery = delivery.id, ?submitted, "read a delivery");
        Ok(Verdict::Built)
    }
}

struct Described {
    id: String,
    author: String,
    message: String,
}

/// The path of a repository on this machine, from its URL.
pub(crate) fn local_path(url: &str) -> Option<&str> {
    url.strip_prefix("file://")
        .or_else(|| url.starts_with('/').then_some(url))
}

fn done(repo: Option<i64>, verdict: impl Into<String>) -> Verdict {
    Verdict::Settled(DeliveryState::Done, repo, verdict.into())
}

fn failed(repo: Option<i64>, verdict: impl Into<String>) -> Verdict {
    Verdict::Settled(DeliveryState::Failed, repo, verdict.into())
}
