//! Containers beside a job on a Swarm: an overlay network of the job's own, on which each has its name on
//! whatever node it runs, and a wait until each can be used.
//!
//! Nothing can be executed in a container on another node. So a check becomes the service's health check,
//! which its node makes, and Swarm calls a task running only when it is healthy.

use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::{
    HealthConfig, NetworkAttachmentConfig, NetworkCreateRequest, TaskSpecContainerSpec,
};
use bollard::query_parameters::ListTasksOptions;
use windlass_model::plan::{ReadyCheck, ServicePlan};
use windlass_model::{AttemptId, JobPlan};
use windlass_shim::order::PROBE;

use super::program::STARTER;
use super::spec::{ROLE_LABEL, SERVICE_ROLE, nanoseconds, one_shot};
use super::standing::Standing;
use super::{SwarmExecutor, nodes};
use crate::executor::daemon::{DROPPED, words};
use crate::executor::{ExecutorError, Start, service_log};

/// The pause between two looks at a service that is not ready.
const PAUSE: Duration = Duration::from_millis(150);

/// The pause between two health checks on the node.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// How long one check may take.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// How long a service without `ready` may take: until it runs, or until its image's own check is content.
const USUAL_LIMIT: Duration = Duration::from_secs(120);

/// Lines of a service's log in the message that it did not become ready.
const LAST_LINES: &str = "15";

impl SwarmExecutor {
    /// Starts what runs beside the job, and waits until all of it can be used; the network's name, if
    /// there is one.
    pub(super) async fn start_services(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        start: Start<'_>,
    ) -> Result<Option<String>, ExecutorError> {
        let Start { job, said, .. } = start;
        if job.services.is_empty() {
            return Ok(None);
        }
        let network = self.name_of(attempt);
        let request = NetworkCreateRequest {
            name: network.clone(),
            driver: Some("overlay".to_owned()),
            attachable: Some(false),
            labels: Some(self.labels(attempt, job)),
            ..NetworkCreateRequest::default()
        };
        docker
            .create_network(request)
            .await
            .map_err(|e| self.daemon.failed("make a network for the services", e))?;
        for service in &job.services {
            self.start_service(docker, attempt, service, &network, start)
                .await?;
        }
        for service in &job.services {
            let begun = Instant::now();
            self.await_service(docker, attempt, service).await?;
            let took = begun.elapsed().as_secs_f64();
            said.line(format!("service {}: ready after {took:.1} s", service.name));
        }
        Ok(Some(network))
    }

    pub(super) fn service_name(&self, attempt: &AttemptId, service: &ServicePlan) -> String {
        format!("{}-{}", self.name_of(attempt), service.name)
    }

    async fn start_service(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        service: &ServicePlan,
        network: &str,
        start: Start<'_>,
    ) -> Result<(), ExecutorError> {
        let image = self.image(docker, &service.image, start).await?;
        let login = start.registries.login(&image.reference);
        let mut labels = self.labels(attempt, start.job);
        labels.insert(ROLE_LABEL.to_owned(), SERVICE_ROLE.to_owned());
        let env = service.env.iter().map(|(k, v)| format!("{k}={v}"));
        let health = health_check(service);
        let configs = match &health {
            // The check of a port is made by our program.
            Some(_) => Some(self.program.files(&self.daemon, docker).await?),
            None => None,
        };
        let container = TaskSpecContainerSpec {
            image: Some(image.reference),
            labels: Some(labels.clone()),
            args: service.command.clone(),
            env: Some(env.collect()),
            hostname: Some(service.name.clone()),
            health_check: health,
            configs,
            capability_drop: Some(words(DROPPED)),
            ..TaskSpecContainerSpec::default()
        };
        let attachment = NetworkAttachmentConfig {
            target: Some(network.to_owned()),
            aliases: Some(vec![service.name.clone()]),
            ..NetworkAttachmentConfig::default()
        };
        let name = self.service_name(attempt, service);
        let constraints = self.settings.constraints.clone();
        let spec = one_shot(name, labels, container, None, constraints, Some(attachment));
        docker
            .create_service(spec, login)
            .await
            .map(drop)
            .map_err(|e| {
                let doing = format!("make the service {}", service.name);
                self.daemon.failed(doing, e)
            })
    }

    async fn await_service(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        service: &ServicePlan,
    ) -> Result<(), ExecutorError> {
        let name = self.service_name(attempt, service);
        let limit = service.ready.as_ref().map_or(USUAL_LIMIT, |r| r.timeout);
        let end = Instant::now() + limit;
        let mut waits = None;
        loop {
            let options = ListTasksOptions {
                filters: Some([("service".to_owned(), vec![name.clone()])].into()),
            };
            let tasks = docker
                .list_tasks(Some(options))
                .await
                .map_err(|e| self.daemon.failed("list tasks", e))?;
            match tasks.first().map(Standing::of) {
                Some(Standing::Running { .. }) => match &service.ready {
                    Some(ready) => match &ready.check {
                        ReadyCheck::Output(text) => {
                            if self.last_words(docker, &name, "all").await.contains(text) {
                                return Ok(());
                            }
                        }
                        ReadyCheck::Port(_) | ReadyCheck::Run(_) => return Ok(()),
                    },
                    None => return Ok(()),
                },
                Some(Standing::Ended(end)) if end.is_passing() => {
                    return self.stumbled(docker, attempt, &end).await;
                }
                Some(Standing::Ended(end)) => {
                    let reason = end.to_string();
                    return Err(self.not_ready(docker, &name, service, reason).await);
                }
                Some(Standing::Lost { node, .. }) => {
                    let reason =
                        format!("service {}: {}", service.name, self.lost_words(node).await);
                    return Err(ExecutorError::Lost { reason });
                }
                Some(Standing::Waiting(reason)) => waits = reason.map(ToOwned::to_owned),
                Some(Standing::Preparing { .. }) | None => waits = None,
            }
            if Instant::now() > end {
                let reason = match waits {
                    Some(reason) => {
                        let all = nodes::list(&self.daemon).await.unwrap_or_default();
                        let words = nodes::shortage(&JobPlan::default(), &all, &reason);
                        format!("no node took it within {} s: {words}", limit.as_secs())
                    }
                    None => format!("it was not ready after {} s", limit.as_secs()),
                };
                return Err(self.not_ready(docker, &name, service, reason).await);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn not_ready(
        &self,
        docker: &Docker,
        name: &str,
        service: &ServicePlan,
        reason: String,
    ) -> ExecutorError {
        let log = self.last_words(docker, name, LAST_LINES).await;
        service_log::not_ready(&service.name, &reason, &log)
    }
}

/// The check that the service's node makes, for what can be checked in the container.
fn health_check(service: &ServicePlan) -> Option<HealthConfig> {
    let ready = service.ready.as_ref()?;
    let test = match &ready.check {
        // By its own name, and not the loopback address: others must reach it, too.
        ReadyCheck::Port(port) => {
            words(&["CMD", STARTER, PROBE, &format!("{}:{port}", service.name)])
        }
        ReadyCheck::Run(argv) => std::iter::once("CMD".to_owned())
            .chain(argv.clone())
            .collect(),
        ReadyCheck::Output(_) => return None,
    };
    Some(HealthConfig {
        test: Some(test),
        interval: Some(nanoseconds(CHECK_PAUSE)),
        timeout: Some(nanoseconds(CHECK_LIMIT)),
        // Until then a check that fails does not count; we have a limit of our own.
        start_period: Some(nanoseconds(ready.timeout + USUAL_LIMIT)),
        // Once it was ready, it is not ended for a check that fails under load.
        retries: Some(1_000_000),
        ..HealthConfig::default()
    })
}
