//! What is asked of Swarm for a job. Pure.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, Limit, NetworkAttachmentConfig, Platform, ResourceObject,
    ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, TaskSpec, TaskSpecContainerSpec,
    TaskSpecContainerSpecConfigs, TaskSpecContainerSpecFile, TaskSpecContainerSpecSecrets,
    TaskSpecLogDriver, TaskSpecPlacement, TaskSpecResources, TaskSpecRestartPolicy,
    TaskSpecRestartPolicyConditionEnum,
};
use windlass_model::JobPlan;
use windlass_shim::remote::SHIP;

use super::super::daemon::{DROPPED, mounts, words};
use super::program::STARTER;

/// The label that tells jobs from what runs beside them.
pub(super) const ROLE_LABEL: &str = "windlass.role";
/// Its value for the container of the steps.
pub(super) const JOB_ROLE: &str = "job";
/// Its value for a container beside them.
pub(super) const SERVICE_ROLE: &str = "service";

/// Where a container finds its assignment.
const ASSIGNMENT: &str = "/run/secrets/windlass";

/// Beyond the steps' own grace period: the shim brings the rest home.
const GRACE: Duration = Duration::from_secs(30);

/// What the shim itself has of processes and threads.
const OWN_PROCESSES: u64 = 16;

/// What the container of a job is made of.
pub(super) struct Wanted<'a> {
    pub(super) name: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) image: String,
    /// Whether the container runs as root, and the shim becomes the user of the steps.
    pub(super) as_root: bool,
    /// The program, and what came with it.
    pub(super) files: Vec<TaskSpecContainerSpecConfigs>,
    pub(super) secret_id: String,
    pub(super) network: Option<String>,
    pub(super) constraints: &'a [String],
    pub(super) grace: Duration,
}

/// The one-shot service of an attempt.
pub(super) fn service(job: &JobPlan, wanted: Wanted<'_>) -> ServiceSpec {
    let mut labels = wanted.labels;
    labels.insert(ROLE_LABEL.to_owned(), JOB_ROLE.to_owned());
    let secret = TaskSpecContainerSpecSecrets {
        secret_id: Some(wanted.secret_id),
        secret_name: Some(wanted.name.clone()),
        file: Some(TaskSpecContainerSpecFile {
            name: Some("windlass".to_owned()),
            uid: Some("0".to_owned()),
            gid: Some("0".to_owned()),
            // Steps that run as root can read it: it opens nothing but their own attempt.
            mode: Some(0o400),
        }),
    };
    let container = TaskSpecContainerSpec {
        image: Some(wanted.image),
        labels: Some(labels.clone()),
        command: Some(words(&[STARTER, SHIP, ASSIGNMENT])),
        user: wanted.as_root.then(|| "0:0".to_owned()),
        dir: Some("/".to_owned()),
        configs: Some(wanted.files),
        secrets: Some(vec![secret]),
        stop_grace_period: Some(nanoseconds(wanted.grace + GRACE)),
        // The shim is the first process and reaps.
        init: Some(false),
        capability_drop: Some(words(DROPPED)),
        read_only: job.read_only.then_some(true),
        mounts: Some(mounts(job)),
        ..TaskSpecContainerSpec::default()
    };
    let mut constraints = wanted.constraints.to_vec();
    constraints.extend(
        job.runs_on
            .iter()
            .filter_map(|label| constraint(label).ok()?),
    );
    let mut spec = one_shot(
        wanted.name,
        labels,
        container,
        Some(resources(job)),
        constraints,
        wanted.network.map(|network| NetworkAttachmentConfig {
            target: Some(network),
            ..NetworkAttachmentConfig::default()
        }),
    );
    // What a shim prints while it can't reach the server is all that there is, and rotation would lose it. It
    // is as long as its journal, which lies on the same disk.
    let driver = spec
        .task_template
        .as_mut()
        .and_then(|task| task.log_driver.as_mut());
    if let Some(driver) = driver {
        driver.options = Some([("max-size".to_owned(), "1t".to_owned())].into());
    }
    spec
}

/// A service of one task that is never started again: not Swarm's job mode, which in engines before 24
/// neither ends at a drain nor notices a dead node (`../shared/research/swarm-lab.md`).
pub(super) fn one_shot(
    name: String,
    labels: HashMap<String, String>,
    container: TaskSpecContainerSpec,
    resources: Option<TaskSpecResources>,
    constraints: Vec<String>,
    network: Option<NetworkAttachmentConfig>,
) -> ServiceSpec {
    let log = [("max-size", "10m"), ("max-file", "2")];
    ServiceSpec {
        name: Some(name),
        labels: Some(labels),
        mode: Some(ServiceSpecMode {
            replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }),
            ..ServiceSpecMode::default()
        }),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            resources,
            restart_policy: Some(TaskSpecRestartPolicy {
                condition: Some(TaskSpecRestartPolicyConditionEnum::NONE),
                max_attempts: Some(0),
                ..TaskSpecRestartPolicy::default()
            }),
            placement: Some(TaskSpecPlacement {
                constraints: (!constraints.is_empty()).then_some(constraints),
                platforms: Some(vec![platform()]),
                ..TaskSpecPlacement::default()
            }),
            networks: network.map(|network| vec![network]),
            // For the words of the shim and of services. A job's journal has a way of its own.
            log_driver: Some(TaskSpecLogDriver {
                name: Some("json-file".to_owned()),
                options: Some(log.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            }),
            ..TaskSpec::default()
        }),
        endpoint_spec: Some(EndpointSpec {
            // Virtual addresses need a kernel with IPVS, and a job needs none.
            mode: Some(EndpointSpecModeEnum::DNSRR),
            ..EndpointSpec::default()
        }),
        ..ServiceSpec::default()
    }
}

/// The shim is made for one kind of processor.
fn platform() -> Platform {
    Platform {
        architecture: Some(std::env::consts::ARCH.to_owned()),
        os: Some("linux".to_owned()),
    }
}

fn resources(job: &JobPlan) -> TaskSpecResources {
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let limits = &job.limits;
    let memory = limits.memory_bytes.map(whole);
    let cpus = limits
        .cpu_millis
        .map(|n| whole(n).saturating_mul(1_000_000));
    TaskSpecResources {
        limits: Some(Limit {
            memory_bytes: memory,
            nano_cpus: cpus,
            pids: limits.pids.map(|n| whole(n.saturating_add(OWN_PROCESSES))),
        }),
        // What a job may use is there for it.
        reservations: Some(ResourceObject {
            memory_bytes: memory,
            nano_cpus: cpus,
            ..ResourceObject::default()
        }),
        ..TaskSpecResources::default()
    }
}

pub(super) fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// A label of `runs-on` as a placement constraint; `None` if every node has it that we can use.
///
/// # Errors
/// A sentence, if no node can have it.
fn constraint(label: &str) -> Result<Option<String>, String> {
    let fits = |text: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !text.is_empty() && text.chars().all(is_plain)
    };
    if crate::order::machine_labels()
        .iter()
        .any(|own| own == label)
    {
        return Ok(None);
    }
    let (key, value) = label.split_once('=').unwrap_or((label, "true"));
    if !fits(key) || !fits(value) {
        return Err(format!(
            "`runs-on: {label}` can't be a node's label: write `key=value` or a word, of letters, digits, `.`, `_` \
             and `-`"
        ));
    }
    Ok(Some(match key {
        "os" | "arch" => {
            return Err(format!(
                "`runs-on: {label}`: this server's jobs run on {} only: take it away",
                crate::order::machine_labels().join(", ")
            ));
        }
        "hostname" | "role" => format!("node.{key}=={value}"),
        key => format!("node.labels.{key}=={value}"),
    }))
}

/// What of a job Swarm can't do, each as a sentence that says what to do.
pub(crate) fn refusals(job: &JobPlan) -> Vec<String> {
    let mut refused = Vec::new();
    if job.limits.disk_bytes.is_some() {
        refused.push("`limits.disk` can't be kept by Swarm: take `disk` away".to_owned());
    }
    if !job.network {
        refused.push(
            "`network: none` is nothing that Swarm can do, and the steps' output goes over the network: take it \
             away, or write `executor: docker`"
                .to_owned(),
        );
    }
    if job.privileged {
        refused.push(
            "`privileged` is nothing that Swarm can do: take it away, or write `executor: docker`"
                .to_owned(),
        );
    }
    if let Some(executor) = job.executor.as_ref().filter(|name| *name != "swarm") {
        refused.push(format!(
            "`executor: {executor}` is not here: write `executor: swarm`, or take it away"
        ));
    }
    refused.extend(
        job.runs_on
            .iter()
            .filter_map(|label| constraint(label).err()),
    );
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_model::plan::Limits;

    #[test]
    fn labels_become_constraints() {
        assert_eq!(constraint("linux"), Ok(None));
        let gpu = constraint("gpu").unwrap().unwrap();
        assert_eq!(gpu, "node.labels.gpu==true");
        let disk = constraint("disk=ssd").unwrap().unwrap();
        assert_eq!(disk, "node.labels.disk==ssd");
        let name = constraint("hostname=n2").unwrap().unwrap();
        assert_eq!(name, "node.hostname==n2");
        assert!(
            constraint("arch=riscv")
                .unwrap_err()
                .contains("take it away")
        );
        assert!(constraint("a==b || c").is_err());
    }

    #[test]
    fn what_a_job_may_use_is_reserved_for_it() {
        let job = JobPlan {
            runs_on: vec!["gpu".to_owned(), "linux".to_owned()],
            limits: Limits {
                memory_bytes: Some(512 << 20),
                cpu_millis: Some(1500),
                pids: Some(100),
                ..Limits::default()
            },
            ..JobPlan::default()
        };
        let own = ["node.role==worker".to_owned()];
        let spec = service(
            &job,
            Wanted {
                name: "windlass-a1-0".to_owned(),
                labels: HashMap::new(),
                image: "sha256:0".to_owned(),
                as_root: true,
                files: Vec::new(),
                secret_id: "s".to_owned(),
                network: None,
                constraints: &own,
                grace: Duration::from_secs(10),
            },
        );
        let task = spec.task_template.unwrap();
        let resources = task.resources.unwrap();
        assert_eq!(
            resources.reservations.unwrap().nano_cpus,
            Some(1_500_000_000)
        );
        assert_eq!(resources.limits.unwrap().memory_bytes, Some(512 << 20));
        let constraints = task.placement.unwrap().constraints.unwrap();
        assert_eq!(constraints, ["node.role==worker", "node.labels.gpu==true"]);
        let container = task.container_spec.unwrap();
        assert_eq!(container.stop_grace_period, Some(40_000_000_000));
        assert_eq!(container.env, None);
    }

    #[test]
    fn what_swarm_can_not_do_is_said() {
        let job = JobPlan {
            network: false,
            executor: Some("process".to_owned()),
            ..JobPlan::default()
        };
        assert_eq!(refusals(&job).len(), 2);
        assert_eq!(refusals(&JobPlan::default()), [""; 0]);
    }
}
