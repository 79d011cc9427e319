//! Containers beside a job: a network of the job's own, in which each service has its name, and a
//! wait until each can be used.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, EndpointSettings, ExecConfig, HealthStatusEnum, HostConfig,
    NetworkCreateRequest, NetworkingConfig,
};
use bollard::query_parameters::{InspectContainerOptions, LogsOptions, StartContainerOptions};
use futures_util::StreamExt as _;
use windlass_model::AttemptId;
use windlass_model::plan::{Ready, ReadyCheck, ServicePlan};
use windlass_shim::archive::{Item, Owner};
use windlass_shim::order::PROBE;

use super::{DockerExecutor, NAME_PATIENCE, log_config};
use crate::executor::daemon::{DROPPED, is_conflict, words};
use crate::executor::{ExecutorError, Start, service_log};

/// The pause between two looks at a service that is not ready.
const PAUSE: Duration = Duration::from_millis(200);

/// How long a service with a health check of its image's own may take.
const HEALTH_LIMIT: Duration = Duration::from_secs(120);

/// Lines of a service's log in the message that it did not become ready.
const LAST_LINES: &str = "15";

/// Where the program that tries a port lies in a service's container.
const PROBE_PROGRAM: &str = "/windlass/windlass-shim";

impl DockerExecutor {
    /// The network of a job with services.
    pub(super) fn network(&self, attempt: &AttemptId) -> String {
        self.container(attempt)
    }

    /// Starts what runs beside the job, and waits until all of it can be used. Adds lines for people.
    pub(super) async fn start_services(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        start: Start<'_>,
    ) -> Result<(), ExecutorError> {
        let Start { job, said, .. } = start;
        if job.services.is_empty() {
            return Ok(());
        }
        let network = NetworkCreateRequest {
            name: self.network(attempt),
            driver: Some("bridge".to_owned()),
            // Without a way out, but the services can be reached.
            internal: Some(!job.network),
            labels: Some(self.labels(attempt, job)),
            ..NetworkCreateRequest::default()
        };
        self.make_network(docker, network).await?;
        for service in &job.services {
            self.start_service(docker, attempt, service, start).await?;
        }
        for service in &job.services {
            let begun = Instant::now();
            self.await_service(docker, attempt, service).await?;
            let took = begun.elapsed().as_secs_f64();
            said.line(format!("service {}: ready after {took:.1} s", service.name));
        }
        Ok(())
    }

    /// Makes a network of this name, which is ours alone: as with containers, the daemon may finish
    /// a killed server's request after the next server looked. Nothing is in such a network yet.
    async fn make_network(
        &self,
        docker: &Docker,
        network: NetworkCreateRequest,
    ) -> Result<(), ExecutorError> {
        let end = Instant::now() + NAME_PATIENCE;
        loop {
            match docker.create_network(network.clone()).await {
                Ok(_) => return Ok(()),
                Err(e) if is_conflict(&e) && Instant::now() < end => {
                    self.remove_network(docker, &network.name).await?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(e) => return Err(self.failed("make a network for the services", e)),
            }
        }
    }

    pub(super) fn service_container(&self, attempt: &AttemptId, service: &ServicePlan) -> String {
        format!("{}-{}", self.container(attempt), service.name)
    }

    async fn start_service(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        service: &ServicePlan,
        start: Start<'_>,
    ) -> Result<(), ExecutorError> {
        let Start {
            job,
            registries,
            said,
            ..
        } = start;
        let image = self
            .images
            .have(docker, &service.image, registries, said)
            .await;
        let image = image.map_err(|failure| failure.into_error(&self.daemon))?;
        let name = self.service_container(attempt, service);
        let endpoint = EndpointSettings {
            aliases: Some(vec![service.name.clone()]),
            ..EndpointSettings::default()
        };
        let network = self.network(attempt);
        let env = service.env.iter().map(|(k, v)| format!("{k}={v}"));
        let body = ContainerCreateBody {
            image: Some(image.id),
            cmd: service.command.clone(),
            env: Some(env.collect()),
            hostname: Some(service.name.clone()),
            labels: Some(self.labels(attempt, job)),
            host_config: Some(HostConfig {
                network_mode: Some(network.clone()),
                log_config: Some(log_config()),
                security_opt: Some(words(&["no-new-privileges:true"])),
                cap_drop: Some(words(DROPPED)),
                ..HostConfig::default()
            }),
            networking_config: Some(NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network, endpoint)])),
            }),
            ..ContainerCreateBody::default()
        };
        let doing = format!("make the service {}", service.name);
        self.make_container(docker, &name, body, doing).await?;
        if let Some(Ready {
            check: ReadyCheck::Port(_),
            ..
        }) = service.ready
        {
            let items = vec![
                Item::Folder("windlass".to_owned(), 0o755),
                Item::Copy(
                    "windlass/windlass-shim".to_owned(),
                    0o755,
                    self.shim.clone(),
                ),
            ];
            self.upload(docker, &name, "/", items, Owner::default(), &self.shim)
                .await?;
        }
        docker
            .start_container(&name, None::<StartContainerOptions>)
            .await
            .map_err(|e| self.failed(format!("start the service {}", service.name), e))
    }

    /// Waits until the service can be used.
    async fn await_service(
        &self,
        docker: &Docker,
        attempt: &AttemptId,
        service: &ServicePlan,
    ) -> Result<(), ExecutorError> {
        let name = self.service_container(attempt, service);
        let limit = match &service.ready {
            Some(ready) => ready.timeout,
            None => HEALTH_LIMIT,
        };
        let end = Instant::now() + limit;
        loop {
            let found = docker
                .inspect_container(&name, None::<InspectContainerOptions>)
                .await
                .map_err(|e| self.failed(format!("look at the service {}", service.name), e))?;
            let state = found.state.unwrap_or_default();
            if state.running != Some(true) {
                let code = state.exit_code.unwrap_or_default();
                let reason = format!("it ended with exit code {code}");
                return Err(self.not_ready(docker, &name, service, reason).await);
            }
            let ready = match &service.ready {
                Some(ready) => {
                    let networks = found.network_settings.and_then(|n| n.networks);
                    let address = networks
                        .unwrap_or_default()
                        .remove(&self.network(attempt))
                        .and_then(|endpoint| endpoint.ip_address)
                        .unwrap_or_default();
                    let check = self.check(docker, &name, &ready.check, &address);
                    let checked = tokio::time::timeout(limit, check).await;
                    checked.unwrap_or(Ok(false)).map_err(|e| {
                        self.failed(format!("check the service {}", service.name), e)
                    })?
                }
                // Its image may have a check of its own; otherwise it is ready when it runs.
                None => matches!(
                    state.health.and_then(|health| health.status),
                    None | Some(
                        HealthStatusEnum::HEALTHY
                            | HealthStatusEnum::NONE
                            | HealthStatusEnum::EMPTY
                    )
                ),
            };
            if ready {
                return Ok(());
            }
            if Instant::now() > end {
                let reason = format!("it was not ready after {} s", limit.as_secs());
                return Err(self.not_ready(docker, &name, service, reason).await);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn check(
        &self,
        docker: &Docker,
        container: &str,
        check: &ReadyCheck,
        address: &str,
    ) -> Result<bool, Error> {
        match check {
            ReadyCheck::Output(text) => Ok(log_of(docker, container, "all").await.contains(text)),
            ReadyCheck::Run(argv) => succeeds(docker, container, argv.clone()).await,
            ReadyCheck::Port(port) => {
                let target = format!("{address}:{port}");
                let argv = [PROBE_PROGRAM, PROBE, &target].map(ToOwned::to_owned);
                succeeds(docker, container, argv.to_vec()).await
            }
        }
    }

    async fn not_ready(
        &self,
        docker: &Docker,
        container: &str,
        service: &ServicePlan,
        reason: String,
    ) -> ExecutorError {
        let log = log_of(docker, container, LAST_LINES).await;
        service_log::not_ready(&service.name, &reason, &log)
    }
}

/// Whether a command in the container ends with 0.
async fn succeeds(docker: &Docker, container: &str, argv: Vec<String>) -> Result<bool, Error> {
    let config = ExecConfig {
        cmd: Some(argv),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let ran = async {
        let exec = docker.create_exec(container, config).await?.id;
        let started = docker.start_exec(&exec, None::<StartExecOptions>).await?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while output.next().await.is_some() {}
        }
        Ok(docker.inspect_exec(&exec).await?.exit_code == Some(0))
    };
    match ran.await {
        // The program is not there; or the container has just ended, which the next look at it tells
        // better than this answer.
        Err(Error::DockerResponseServerError { .. }) => Ok(false),
        ran => ran,
    }
}

/// What a service printed, in as far as it can be had.
async fn log_of(docker: &Docker, container: &str, tail: &str) -> String {
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        tail: tail.to_owned(),
        ..LogsOptions::default()
    };
    let mut stream = std::pin::pin!(docker.logs(container, Some(options)));
    let mut text = Vec::new();
    while let Some(Ok(item)) = stream.next().await {
        let bytes = LogOutput::into_bytes(item);
        text.extend_from_slice(&bytes);
        // A service that prints without end is not looked through for ever.
        if text.len() > 4 << 20 {
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}
