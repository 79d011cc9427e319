//! The nodes of the Swarm, for people: what they are, what they have, and what is free.

use std::collections::HashMap;

use bollard::models::{Node as Found, TaskState};
use bollard::query_parameters::{ListNodesOptions, ListTasksOptions};
use windlass_model::node::decimal;
use windlass_model::{JobPlan, Node, NodeJob};

use super::super::ExecutorError;
use super::super::daemon::Daemon;

/// All nodes, by name.
///
/// # Errors
/// The manager can't be reached, or is none.
pub async fn list(daemon: &Daemon) -> Result<Vec<Node>, ExecutorError> {
    let docker = daemon.docker()?;
    let found = docker
        .list_nodes(None::<ListNodesOptions>)
        .await
        .map_err(|e| daemon.failed("list the nodes of the Swarm", e))?;
    let running = HashMap::from([("desired-state".to_owned(), vec!["running".to_owned()])]);
    let options = ListTasksOptions {
        filters: Some(running),
    };
    let tasks = docker
        .list_tasks(Some(options))
        .await
        .map_err(|e| daemon.failed("list tasks", e))?;
    let mut nodes: Vec<Node> = found.into_iter().map(node).collect();
    for task in tasks {
        let over = matches!(
            task.status.as_ref().and_then(|s| s.state),
            Some(
                TaskState::COMPLETE | TaskState::FAILED | TaskState::REJECTED | TaskState::SHUTDOWN
            )
        );
        let Some(node) = nodes
            .iter_mut()
            .find(|n| Some(&n.id) == task.node_id.as_ref())
        else {
            continue;
        };
        let Some(spec) = task.spec.filter(|_| !over) else {
            continue;
        };
        if let Some(reserved) = spec.resources.and_then(|r| r.reservations) {
            node.reserved_cpu_millis += millis(reserved.nano_cpus);
            node.reserved_memory_bytes += positive(reserved.memory_bytes);
        }
        let labels = spec
            .container_spec
            .and_then(|c| c.labels)
            .unwrap_or_default();
        let label = |name: &str| labels.get(name).cloned();
        if let Some(attempt) = label(super::ATTEMPT_LABEL)
            && let Ok(attempt) = attempt.parse()
            && label(super::spec::ROLE_LABEL).as_deref() == Some(super::spec::JOB_ROLE)
        {
            node.jobs.push(NodeJob {
                owner: label(super::OWNER_LABEL).unwrap_or_default(),
                attempt,
                job: label(super::super::daemon::JOB_LABEL).unwrap_or_default(),
            });
        }
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

/// A node's host name, if it can be had.
pub(super) async fn name(daemon: &Daemon, id: &str) -> Option<String> {
    let found = daemon.docker().ok()?.inspect_node(id).await.ok()?;
    found.description?.hostname
}

/// The address of the manager that we speak to, as the other nodes know it.
///
/// # Errors
/// The manager can't be reached, or is none.
pub async fn own_address(daemon: &Daemon) -> Result<String, ExecutorError> {
    let info = daemon.docker()?.info().await;
    let info = info.map_err(|e| daemon.failed("ask the Docker daemon about itself", e))?;
    let address = info.swarm.and_then(|swarm| swarm.node_addr);
    Ok(address.unwrap_or_default())
}

fn node(found: Found) -> Node {
    let description = found.description.unwrap_or_default();
    let resources = description.resources.unwrap_or_default();
    let spec = found.spec.unwrap_or_default();
    let status = found.status.unwrap_or_default();
    let manager = found.manager_status.unwrap_or_default();
    Node {
        id: found.id.unwrap_or_default(),
        name: description.hostname.unwrap_or_default(),
        role: spec.role.map(|role| role.to_string()).unwrap_or_default(),
        leader: manager.leader.unwrap_or_default(),
        reachability: manager.reachability.map(|r| r.to_string()),
        state: status
            .state
            .map(|state| state.to_string())
            .unwrap_or_default(),
        availability: spec.availability.map(|a| a.to_string()).unwrap_or_default(),
        address: status.addr.unwrap_or_default(),
        arch: description
            .platform
            .and_then(|p| p.architecture)
            .unwrap_or_default(),
        engine: description
            .engine
            .and_then(|e| e.engine_version)
            .unwrap_or_default(),
        labels: spec.labels.unwrap_or_default().into_iter().collect(),
        cpu_millis: millis(resources.nano_cpus),
        memory_bytes: positive(resources.memory_bytes),
        ..Node::default()
    }
}

fn millis(nano: Option<i64>) -> u64 {
    positive(nano) / 1_000_000
}

fn positive(n: Option<i64>) -> u64 {
    n.unwrap_or_default().try_into().unwrap_or_default()
}

/// Why a job waits, in words: what it wants and what the nodes have. `reason` is the scheduler's.
pub(super) fn shortage(job: &JobPlan, nodes: &[Node], reason: &str) -> String {
    let (cpu, memory) = (job.limits.cpu_millis, job.limits.memory_bytes);
    let usable: Vec<&Node> = nodes.iter().filter(|node| node.is_usable()).collect();
    let mut wanted = Vec::new();
    wanted.extend(cpu.map(processors));
    wanted.extend(memory.map(mebibytes));
    if !reason.contains("insufficient resources") || wanted.is_empty() {
        let labels = match job.runs_on.as_slice() {
            [] => String::new(),
            labels => format!("; `runs-on` asks for {}", labels.join(", ")),
        };
        return format!("{reason}{labels}");
    }
    let too_big = usable.iter().all(|node| {
        cpu.is_some_and(|n| n > node.cpu_millis) || memory.is_some_and(|n| n > node.memory_bytes)
    });
    let each: Vec<String> = usable
        .iter()
        .map(|node| {
            let mut parts = Vec::new();
            if cpu.is_some() {
                let (free, all) = (decimal(node.free_cpu_millis()), processors(node.cpu_millis));
                parts.push(format!("{free} of {all}"));
            }
            if memory.is_some() {
                let (free, all) = (node.free_memory_bytes() >> 20, mebibytes(node.memory_bytes));
                parts.push(format!("{free} of {all}"));
            }
            format!("{} {}", node.name, parts.join(", "))
        })
        .collect();
    let (wanted, each) = (wanted.join(" and "), each.join("; "));
    if too_big {
        format!("no node has {wanted}: free and all are {each} ({reason})")
    } else {
        format!("no node has {wanted} free: free are {each} ({reason})")
    }
}

fn processors(millis: u64) -> String {
    format!("{} cpus", decimal(millis))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_model::plan::Limits;

    #[test]
    fn waiting_is_told_with_numbers() {
        let node = |name: &str, reserved| Node {
            name: name.to_owned(),
            state: "ready".to_owned(),
            availability: "active".to_owned(),
            cpu_millis: 2000,
            reserved_cpu_millis: reserved,
            ..Node::default()
        };
        let mut job = JobPlan {
            limits: Limits {
                cpu_millis: Some(1500),
                ..Limits::default()
            },
            ..JobPlan::default()
        };
        let full = "no suitable node (insufficient resources on 2 nodes)";
        let nodes = [node("n1", 1000), node("n2", 2000)];
        assert_eq!(
            shortage(&job, &nodes, full),
            format!("no node has 1.5 cpus free: free are n1 1 of 2 cpus; n2 0 of 2 cpus ({full})")
        );
        job.limits.cpu_millis = Some(4000);
        assert!(shortage(&job, &nodes, full).starts_with("no node has 4 cpus: "));
        job.runs_on = vec!["gpu".to_owned()];
        let other = "no suitable node (scheduling constraints not satisfied on 2 nodes)";
        assert_eq!(
            shortage(&job, &nodes, other),
            format!("{other}; `runs-on` asks for gpu")
        );
    }
}
