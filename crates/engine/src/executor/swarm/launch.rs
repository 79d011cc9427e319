//! From an order to a container that runs: whatever was begun before, by this process or by one that is
//! dead, is taken up.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::Docker;
use bollard::models::SecretSpec;
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::order::{Limits, Order};
use windlass_shim::remote::Assignment;

use super::desk::{Place, new_token};
use super::standing::{Standing, waits_for_capacity};
use super::tasks::Subscription;
use super::turns::Turn;
use super::{MISSING, SwarmExecutor, nodes, spec};
use crate::executor::daemon::{has_status, is_missing};
use crate::executor::{ExecutorError, Said, Start};

/// The pause before another try while the managers are away.
const AWAY_PAUSE: Duration = Duration::from_secs(1);

/// So long a job may wait for its node without a word about it.
const SILENT_WAIT: Duration = Duration::from_secs(2);

/// A container that runs asks for its files at once; so long it may take before that is worth a word.
const ASKING: Duration = Duration::from_secs(10);

/// How often the reason for which a job waits is looked at.
const REASON_PAUSE: Duration = Duration::from_secs(10);

/// The words of a shim that never reached its server.
const UNREACHABLE: &str = "can't be reached";

/// The exit code of a shim that could not do its work.
const SHIM_FAILED: i64 = 1;

/// How long the task of a removed service may stay in Swarm's list: its container has ended.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// What came of a launch.
enum Launched {
    /// The steps run, or ran.
    Begun,
    /// The container found no way to this server: another one gets its files from the managers.
    Deaf,
}

/// A Docker secret has at most 500 KiB.
const SECRET_LIMIT: usize = 500 * 1024 - 1;

impl SwarmExecutor {
    /// Starts the attempt and returns when its shim has asked for its files. Waits for managers that are away as long
    /// as it takes.
    pub(super) async fn launch(
        &self,
        attempt: &AttemptId,
        start: Start<'_>,
    ) -> Result<(), ExecutorError> {
        let said = start.said;
        let (mut away, mut deaf) = (false, false);
        loop {
            match self.try_launch(attempt, start, deaf).await {
                Err(error @ ExecutorError::DaemonGone { .. }) => {
                    if !away {
                        said.line(format!("waiting for a manager of the Swarm: {error}"));
                        away = true;
                    }
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                Ok(Launched::Deaf) => {
                    deaf = true;
                    self.deafness.remember();
                    said.line(format!(
                        "its container can't reach {}: files and output go through the managers now, which is slower \
                         (`windlass cluster doctor` finds the node)",
                        self.settings.url
                    ));
                }
                Ok(Launched::Begun) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_launch(
        &self,
        attempt: &AttemptId,
        start: Start<'_>,
        deaf: bool,
    ) -> Result<Launched, ExecutorError> {
        let Start {
            job,
            order,
            secrets,
            registries,
            said,
        } = start;
        let place = Place::of(&self.local, attempt);
        if place.is_begun() {
            return Ok(Launched::Begun);
        }
        let docker = self.docker()?;
        let name = self.name_of(attempt);
        let mut turn = None;
        if self.service(&docker, &name).await?.is_none() {
            // Half of it may be there, and the secret's token is nobody's any more.
            self.clear(&docker, attempt).await?;
            let wanted = job.image.as_deref().unwrap_or_default();
            let image = self.image(&docker, wanted, start).await?;
            let network = self.start_services(&docker, attempt, start).await?;
            let order = Order {
                attempt: self.local.mark(attempt),
                inherit_env: true,
                // Swarm keeps them.
                limits: Limits::default(),
                ..order.clone()
            };
            let token = new_token()?;
            place.prepare(&order, &token)?;
            let mut carried = Vec::new();
            let archive = match (deaf, self.deafness.is_known()) {
                (true, _) => Some(self.archive(&place).await?),
                // Others could not reach us. This one's node may: what is too large is left to the first way.
                (false, true) => self.archive(&place).await.ok(),
                (false, false) => None,
            };
            if let Some(archive) = archive {
                carried = self.carry(&docker, attempt, job, &archive).await?;
                place.set_carried()?;
            }
            let user = job.user.clone().or(image.user);
            let assignment = Assignment {
                url: format!("{}/attempts/{attempt}", self.settings.url),
                token,
                user: user.clone(),
                carried: carried.len(),
                bring: Self::bring(job),
                secrets: secrets.clone(),
            };
            let secret_id = self.make_secret(&docker, attempt, job, &assignment).await?;
            // Jobs come to the scheduler one by one, in the order in which they came here.
            turn = Some(self.turn(attempt, said).await);
            let grace = Duration::from_millis(order.grace_ms);
            let mut tries = 0;
            loop {
                let mut files = self.program.files(&self.daemon, &docker).await?;
                files.extend(carried.iter().cloned());
                let wanted = spec::Wanted {
                    name: name.clone(),
                    labels: self.labels(attempt, job),
                    image: image.reference.clone(),
                    as_root: user.is_some(),
                    files,
                    secret_id: secret_id.clone(),
                    network: network.clone(),
                    constraints: &self.settings.constraints,
                    grace,
                };
                match docker
                    .create_service(
                        spec::service(job, wanted),
                        registries.login(&image.reference),
                    )
                    .await
                {
                    Ok(_) => break,
                    Err(e) if has_status(&e, 409) => break,
                    // Somebody removed the configs.
                    Err(e) if tries == 0 && e.to_string().contains("config") => {
                        self.program.forget().await;
                        tries += 1;
                    }
                    Err(e) => return Err(self.daemon.failed("make the service", e)),
                }
            }
        }
        self.await_container(&docker, attempt, job, turn, said)
            .await
    }

    /// Waits until all jobs that came before have their nodes.
    async fn turn(&self, attempt: &AttemptId, said: &Said) -> Turn {
        let begun = Instant::now();
        let mut turn = std::pin::pin!(self.turns.turn(attempt));
        if let Ok(turn) = tokio::time::timeout(SILENT_WAIT, turn.as_mut()).await {
            return turn;
        }
        said.line("waiting for its turn: jobs that came before it wait for a node");
        let turn = turn.await;
        let waited = begun.elapsed().as_secs();
        said.line(format!("its turn came after {waited} s"));
        turn
    }

    async fn make_secret(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        job: &JobPlan,
        assignment: &Assignment,
    ) -> Result<String, ExecutorError> {
        let data = serde_json::to_vec(assignment).unwrap_or_default();
        if data.len() > SECRET_LIMIT {
            return Err(ExecutorError::Docker {
                doing: "hand the secrets to the job".to_owned(),
                message: format!("they have {} bytes", data.len()),
                hint: format!(
                    "a Docker secret holds {SECRET_LIMIT} bytes: give the job fewer, or smaller ones"
                ),
            });
        }
        let spec = SecretSpec {
            name: Some(self.name_of(attempt)),
            labels: Some(self.labels(attempt, job)),
            data: Some(STANDARD.encode(data)),
            ..SecretSpec::default()
        };
        let made = docker.create_secret(spec).await;
        Ok(made
            .map_err(|e| self.daemon.failed("make the secret", e))?
            .id)
    }

    /// Waits until the container runs, and tells what is waited for meanwhile.
    async fn await_container(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        job: &JobPlan,
        mut turn: Option<Turn>,
        said: &Said,
    ) -> Result<Launched, ExecutorError> {
        let place = Place::of(&self.local, attempt);
        let mut tasks = self.tasks.subscribe();
        let mut wait = Wait {
            begun: Instant::now(),
            told: None,
            looked: None,
            trouble: false,
            node: None,
            runs_since: None,
            deaf: false,
        };
        loop {
            if place.is_begun() {
                return Ok(Launched::Begun);
            }
            let snapshot = tasks.latest();
            if let Some(trouble) = &snapshot.trouble
                && !std::mem::replace(&mut wait.trouble, true)
            {
                said.line(format!("waiting for a manager of the Swarm: {trouble}"));
            }
            match snapshot.standing(attempt) {
                Some(Standing::Waiting(reason)) => {
                    let reason = reason.unwrap_or("the scheduler has not looked at it yet");
                    if !waits_for_capacity(reason) && wait.begun.elapsed() > SILENT_WAIT {
                        // It may wait for a node that does not exist: the others need not.
                        drop(turn.take());
                    }
                    self.waiting(docker, attempt, job, reason, &mut wait, said)
                        .await?;
                }
                Some(Standing::Preparing { node }) => {
                    drop(turn.take());
                    self.tell_node(node, &mut wait, said).await;
                }
                Some(Standing::Running { node }) => {
                    drop(turn.take());
                    self.tell_node(node, &mut wait, said).await;
                    if place.is_carried() {
                        return Ok(Launched::Begun);
                    }
                    let since = *wait.runs_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > ASKING && !std::mem::replace(&mut wait.deaf, true) {
                        said.line(format!(
                            "its container runs, and has not asked for its files yet: can it reach {}?",
                            self.settings.url
                        ));
                    }
                }
                Some(Standing::Ended(_)) if place.is_begun() => return Ok(Launched::Begun),
                Some(Standing::Ended(end)) if end.is_passing() => {
                    self.stumbled(docker, attempt, &end).await?;
                }
                Some(Standing::Ended(end)) => {
                    let words = match end.ran {
                        true => self.shim_words(docker, attempt).await,
                        false => String::new(),
                    };
                    // It needs nothing of us to begin: only a shim that could not says so with this code.
                    if place.is_carried() && end.code != Some(SHIM_FAILED) {
                        return Ok(Launched::Begun);
                    }
                    if !place.is_carried() && words.contains(UNREACHABLE) {
                        self.clear(docker, attempt).await?;
                        // The next service's task must not be taken for this one.
                        let gone = async {
                            while tasks.latest().standing(attempt).is_some() {
                                tasks.changed().await;
                            }
                        };
                        tokio::time::timeout(GONE_LIMIT, gone).await.unwrap_or(());
                        return Ok(Launched::Deaf);
                    }
                    return Err(Self::not_started(job, &end, &words));
                }
                Some(Standing::Lost { node, .. }) => {
                    let reason = self.lost_words(node).await;
                    return Err(ExecutorError::Lost { reason });
                }
                None => self.look_for(docker, attempt, &mut tasks).await?,
            }
            // The shim may ask for its files before Swarm tells that it runs.
            let look = Duration::from_millis(100);
            tokio::time::timeout(look, tasks.changed())
                .await
                .unwrap_or(());
        }
    }

    async fn tell_node(&self, node: &str, wait: &mut Wait, said: &Said) {
        if wait.node.is_some() {
            return;
        }
        let name = nodes::name(&self.daemon, node).await;
        let name = name.unwrap_or_else(|| node.to_owned());
        let waited = match wait.told {
            Some(_) => format!(", after {} s of waiting", wait.begun.elapsed().as_secs()),
            None => String::new(),
        };
        said.line(format!("node: {name}{waited}"));
        wait.node = Some(name);
    }

    async fn waiting(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        job: &JobPlan,
        reason: &str,
        wait: &mut Wait,
        said: &Said,
    ) -> Result<(), ExecutorError> {
        let waited = wait.begun.elapsed();
        let recently = wait.looked.is_some_and(|at| at.elapsed() < REASON_PAUSE);
        if waited > SILENT_WAIT && !recently {
            wait.looked = Some(Instant::now());
            let all = nodes::list(&self.daemon).await.unwrap_or_default();
            let words = nodes::shortage(job, &all, reason);
            if wait.told.as_ref() != Some(&words) {
                said.line(format!("waiting for a node: {words}"));
                wait.told = Some(words);
            }
        }
        if waited < self.settings.placement_limit {
            return Ok(());
        }
        self.clear(docker, attempt).await?;
        let words = wait.told.take().unwrap_or_else(|| reason.to_owned());
        Err(ExecutorError::Docker {
            doing: "find a node for the job".to_owned(),
            message: format!("{words}; it waited for {} s", waited.as_secs()),
            hint: "`windlass nodes` shows what there is: add a node or a label (`docker node update \
                   --label-add`), or lower the job's `limits` and `runs-on`; `--placement-limit` says how \
                   long to wait"
                .to_owned(),
        })
    }

    /// A node did not start a container for a reason of its own: all of the attempt is made anew, soon.
    pub(super) async fn stumbled(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        end: &super::standing::End<'_>,
    ) -> Result<(), ExecutorError> {
        self.clear(docker, attempt).await?;
        Err(self.daemon.stumbled(end.error.to_owned()))
    }

    /// Why a task ended before its shim asked for anything, which has said this.
    fn not_started(job: &JobPlan, end: &super::standing::End<'_>, said: &str) -> ExecutorError {
        let image = job.image.as_deref().unwrap_or_default();
        let message = match said {
            "" => end.to_string(),
            said => format!("{end}; it said: {said}"),
        };
        let has = |text: &str| message.to_lowercase().contains(text);
        let hint = if has("no such image") || has("pull") || has("manifest") {
            "the node has not got the image and could not pull it: is its name right, can the nodes reach the \
             registry? If it is private: `windlass registry set`. An image that no registry has must be loaded on every \
             node"
        } else if has("user") {
            "write a user that the image has, or numbers: `user: \"1000:1000\"`"
        } else {
            "`docker service ps --no-trunc` and the log of dockerd on the node tell more"
        };
        ExecutorError::Docker {
            doing: format!("start a container of {image}"),
            message,
            hint: hint.to_owned(),
        }
    }

    /// There is no task: not yet, or not any more.
    async fn look_for(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        tasks: &mut Subscription,
    ) -> Result<(), ExecutorError> {
        if tasks.missing_for(attempt) < MISSING {
            return Ok(());
        }
        if self
            .service(docker, &self.name_of(attempt))
            .await?
            .is_some()
        {
            return Ok(());
        }
        Err(ExecutorError::Lost {
            reason: "its service was removed".to_owned(),
        })
    }

    /// How the nodes shall name the image, and the user that it names, if that can be known here.
    pub(super) async fn image(
        &self,
        docker: &Docker,
        name: &str,
        start: Start<'_>,
    ) -> Result<Image, ExecutorError> {
        let (reference, user) = match docker.inspect_image(name).await {
            Ok(found) => {
                let digest = found.repo_digests.and_then(|all| all.into_iter().next());
                let user = found.config.and_then(|config| config.user);
                // Without a digest it is of no registry: its id is the same on every node that loaded it.
                let reference = digest.or(found.id).unwrap_or_else(|| name.to_owned());
                let user = user.filter(|user| !user.is_empty());
                (reference, Some(user.unwrap_or_else(|| "0".to_owned())))
            }
            Err(e) if is_missing(&e) => {
                let asked = docker
                    .inspect_registry_image(name, start.registries.login(name))
                    .await;
                let digest = asked.ok().and_then(|found| found.descriptor.digest);
                let reference = match digest {
                    Some(digest) => pinned(name, &digest),
                    None => name.to_owned(),
                };
                (reference, None)
            }
            Err(e) => return Err(self.daemon.failed(format!("use the image {name}"), e)),
        };
        start.said.line(format!("image {name}: {reference}"));
        Ok(Image { reference, user })
    }
}

/// What a node needs to know of an image.
pub(super) struct Image {
    pub(super) reference: String,
    pub(super) user: Option<String>,
}

/// What is known, and was told, of a job that waits.
struct Wait {
    begun: Instant,
    told: Option<String>,
    looked: Option<Instant>,
    trouble: bool,
    node: Option<String>,
    runs_since: Option<Instant>,
    /// It was told that the container does not reach us.
    deaf: bool,
}

/// `name@digest`, without the tag: Swarm would keep both, and only the digest counts.
fn pinned(name: &str, digest: &str) -> String {
    let name = name.split('@').next().unwrap_or(name);
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let name = match name[last..].find(':') {
        Some(colon) => &name[..last + colon],
        None => name,
    };
    format!("{name}@{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_image_has_no_tag() {
        assert_eq!(pinned("alpine:3", "sha256:0"), "alpine@sha256:0");
        let port = pinned("r.example:5000/a/b", "sha256:0");
        assert_eq!(port, "r.example:5000/a/b@sha256:0");
        assert_eq!(pinned("a/b:1@sha256:1", "sha256:0"), "a/b@sha256:0");
    }
}
